// Fingerprints as text, and of keys.
#include "security/fingerprint.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <algorithm>

#include "security/gnutls_handles.h"
#include "security/text.h"

namespace haul::security {

namespace {

constexpr std::string_view prefix = "sha256:";

/// -1: no hexadecimal digit.
int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Status bad_fingerprint(std::string_view text, std::string_view why) {
  return Status(StatusCode::invalid, fmt::format("fingerprint {}: {}; expected {} and 64 hexadecimal digits, as `haul "
                                                 "fingerprint` prints it",
                                                 quoted(text), why, prefix));
}

}  // namespace

std::string Fingerprint::to_string() const {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text(prefix);
  for (const std::byte byte : bytes) {
    text += digits[std::to_integer<size_t>(byte >> 4)];
    text += digits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

Result<Fingerprint> Fingerprint::parse(std::string_view text) {
  if (!text.starts_with(prefix)) return bad_fingerprint(text, fmt::format("it does not begin with {}", prefix));
  const std::string_view digits = text.substr(prefix.size());
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return digit_value(c) >= 0; }))
    return bad_fingerprint(text, "it has a character that is no hexadecimal digit");
  Fingerprint out;
  if (digits.size() != 2 * out.bytes.size()) return bad_fingerprint(text, fmt::format("it has {} digits", digits.size()));
  for (size_t i = 0; i < out.bytes.size(); ++i)
    out.bytes[i] = static_cast<std::byte>(digit_value(digits[2 * i]) * 16 + digit_value(digits[2 * i + 1]));
  return out;
}

Result<Fingerprint> Fingerprint::of_public_key(std::span<const std::byte> der) {
  Fingerprint out;
  const int code = gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data(), der.size(), out.bytes.data());
  if (code < 0) return gnutls_failure(StatusCode::internal, "cannot compute SHA-256 of a public key", code);
  return out;
}

}  // namespace haul::security
