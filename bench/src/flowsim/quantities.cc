// Queues by their link, and whole numbers.
#include "flowsim/quantities.h"

#include <cmath>

namespace flowsim {

namespace {

std::optional<uint64_t> to_bytes(double bytes) {
  constexpr double most = 1e15;
  if (!(bytes <= most)) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

}  // namespace

std::optional<uint64_t> parse_buffer(std::string_view text, const Link& link) {
  constexpr std::string_view products = "bdp";
  const auto rate = static_cast<double>(link.rate_bytes_s);
  if (text.ends_with(products)) {
    text.remove_suffix(products.size());
    while (text.ends_with(' ')) text.remove_suffix(1);
    const auto number = parse_number(text);
    if (!number) return std::nullopt;
    return to_bytes(*number * rate * static_cast<double>(link.rtt.count()) * 1e-9);
  }
  if (const auto time = parse_duration(text)) return to_bytes(rate * static_cast<double>(time->count()) * 1e-9);
  return parse_size(text);
}

std::optional<uint64_t> parse_whole(std::string_view text, uint64_t low, uint64_t high) {
  const auto number = parse_number(text);
  if (!number || *number != std::floor(*number)) return std::nullopt;
  if (*number < static_cast<double>(low) || *number > static_cast<double>(high)) return std::nullopt;
  return static_cast<uint64_t>(*number);
}

}  // namespace flowsim
