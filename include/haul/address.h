// Where a peer is reached: a host (name, IPv4, IPv6, or a simulator's node name) and a port.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "haul/export.h"
#include "haul/status.h"

namespace haul {

/// A value type. The host is kept as written; backends resolve it.
struct HAUL_API Address {
  std::string host;
  uint16_t port = 0;

  /// "host:port", "1.2.3.4:port", "[v6]:port", "[v6%scope]:port". An empty host (":port") means every local
  /// address, for listening. Errors: invalid, with what is missing.
  static Result<Address> parse(std::string_view text);

  /// The inverse of parse(); IPv6 hosts get brackets.
  std::string to_string() const;

  /// True for "localhost", 127.0.0.0/8, ::1 and IPv4-mapped loopback. Names other than localhost are never loopback here,
  /// whatever they resolve to. A backend checks the resolved address again.
  bool is_loopback() const noexcept;

  auto operator<=>(const Address&) const = default;
};

}  // namespace haul
