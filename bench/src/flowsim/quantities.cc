// Queues by their link.
#include "flowsim/quantities.h"

namespace flowsim {

std::optional<uint64_t> parse_buffer(std::string_view text, const Link& link) {
  constexpr std::string_view products = "bdp";
  const auto rate = static_cast<double>(link.rate_bytes_s);
  if (text.ends_with(products)) {
    text.remove_suffix(products.size());
    while (text.ends_with(' ')) text.remove_suffix(1);
    const auto number = parse_number(text);
    if (!number) return std::nullopt;
    return static_cast<uint64_t>(*number * rate * static_cast<double>(link.rtt.count()) * 1e-9);
  }
  if (const auto time = parse_duration(text)) return static_cast<uint64_t>(rate * static_cast<double>(time->count()) * 1e-9);
  return parse_size(text);
}

}  // namespace flowsim
