// Printing that never throws: a reader that went away, or a full disk behind stdout, must not end a transfer.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace haul::tool {

/// What cannot be written is dropped; std::ferror() tells.
template <typename... Args>
void print(std::FILE* stream, fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fwrite(text.data(), 1, text.size(), stream);
}

}  // namespace haul::tool
