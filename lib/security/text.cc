// Text of files in messages.
#include "security/text.h"

namespace haul::security {

std::string quoted(std::string_view text) {
  constexpr size_t max_bytes = 100;
  std::string out = "\"";
  for (const char c : text.substr(0, max_bytes)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  out += text.size() > max_bytes ? "…\"" : "\"";
  return out;
}

}  // namespace haul::security
