// What peers can be called.
#pragma once

#include <string_view>

namespace haul::security {

inline constexpr std::string_view peer_name_rule = "1 to 64 letters, digits and . _ - @";

/// Letters and digits of ASCII. The length is that of a certificate's common name (RFC 5280 appendix A.1).
bool is_peer_name(std::string_view name) noexcept;

/// Whether a certificate can carry this name as a DNS name too: labels of letters, digits and inner hyphens, and no address.
bool is_dns_name(std::string_view name) noexcept;

}  // namespace haul::security
