// What others wrote, as it can be shown to people.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace haul::base {

/// Every byte that is no printable character of ASCII is a question mark: what comes from outside must not command terminals.
inline std::string printable(std::string_view text) {
  std::string shown(text);
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

}  // namespace haul::base
