// haul://HOST:PORT/PATH: where a file is on another machine. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "haul/address.h"
#include "haul/status.h"

namespace haul::object {

struct Url {
  Address address;
  std::string path;     ///< percent-decoded, without leading, trailing and doubled slashes; "" is the served folder itself
  bool folder = false;  ///< it ended in a slash, or the path is empty

  std::string to_string() const;
};

/// Only '%' is special in PATH: "%20" is a space, "%25" a percent sign. Dot components are kept: the side that owns the folder
/// judges them. Errors: invalid, with what is wrong and the form expected.
Result<Url> parse_url(std::string_view text);

/// For sorting out arguments: begins with "haul:".
bool looks_like_url(std::string_view text) noexcept;

}  // namespace haul::object
