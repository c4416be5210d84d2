// The name of a public key.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "haul/status.h"

namespace haul::security {

/// SHA-256 of a public key (SubjectPublicKeyInfo in DER, RFC 5280 section 4.1.2.7), so that it survives renewal of the
/// certificate.
struct Fingerprint {
  std::array<std::byte, 32> bytes{};

  /// "sha256:" and 64 hexadecimal digits, in lower case.
  std::string to_string() const;
  /// As to_string() writes it; the digits may be in upper case. Errors: invalid.
  static Result<Fingerprint> parse(std::string_view text);
  /// Errors: internal.
  static Result<Fingerprint> of_public_key(std::span<const std::byte> der);

  auto operator<=>(const Fingerprint&) const = default;
};

}  // namespace haul::security
