// What peers can be called.
#include "security/peer_name.h"

#include <algorithm>

namespace haul::security {

namespace {

constexpr size_t max_name_bytes = 64;
constexpr size_t max_label_bytes = 63;  // RFC 1035 section 2.3.4

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The locale has no say in names.
bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c); }

bool is_label(std::string_view label) {
  if (label.empty() || label.size() > max_label_bytes || label.front() == '-' || label.back() == '-') return false;
  return std::all_of(label.begin(), label.end(), [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

}  // namespace

bool is_peer_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > max_name_bytes) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter_or_digit(c) || std::string_view("._-@").find(c) != std::string_view::npos;
  });
}

bool is_dns_name(std::string_view name) noexcept {
  std::string_view last;
  for (size_t at = 0; at <= name.size(); at += last.size() + 1) {
    last = name.substr(at, name.find('.', at) - at);
    if (!is_label(last)) return false;
  }
  // "10.0.0.1" is an address: no top-level domain has only digits.
  return !std::all_of(last.begin(), last.end(), is_digit);
}

}  // namespace haul::security
