// Who this engine is, whom it trusts, and who a peer proved to be. docs/security.md is the guide.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "haul/export.h"

namespace haul {

/// Which peers may connect when no credentials are configured.
enum class SecurityPolicy : uint8_t {
  loopback_only,  ///< The default: without credentials only loopback addresses are spoken to or listened on.
  insecure,       ///< Any address, unauthenticated and in plain text. Logged as a warning, shown by explain().
};

/// How the bytes of an authenticated link are protected, from the strongest. As an option it is the weakest that a side
/// accepts; a link gets the stronger one of what its two sides accept.
enum class Protection : uint8_t {
  encrypted,       ///< The default: nobody reads or alters them.
  integrity_only,  ///< Whoever is on the path can read them, but not alter them. For trusted racks.
  plain,           ///< Only the peer was authenticated. For trusted racks with nobody on the path.
};

/// As spelled above.
HAUL_API std::string_view to_string(Protection protection) noexcept;

/// Files with this engine's identity and its trust. `haul keygen` makes the first two. Read when the engine is made; the
/// authorized peers are read again when their file changed, for connections made from then on.
struct Credentials {
  std::string certificate_file;       ///< PEM, this side's first
  std::string key_file;               ///< PEM; refused when others than its owner can read it
  std::string authorized_peers_file;  ///< who else is known, and may do what
  std::string ca_file;                ///< PEM; optional: certificates that these authorities signed are trusted too
  std::string crl_file;               ///< PEM; optional: certificates that they revoked

  bool empty() const {
    return certificate_file.empty() && key_file.empty() && authorized_peers_file.empty() && ca_file.empty() && crl_file.empty();
  }
};

/// Something that a peer may do: a word and, where it has one, what it is limited to. "push=/models" in the file of
/// authorized peers has the verb "push" and the scope "/models". The command knows push and pull; services choose their own.
struct Permission {
  std::string verb;
  std::string scope;  ///< empty: everywhere

  bool operator==(const Permission&) const = default;
};

/// Who a peer proved to be.
struct PeerIdentity {
  std::string name;         ///< as the file of authorized peers calls it
  std::string fingerprint;  ///< of its public key: "sha256:" and 64 hexadecimal digits; empty: not authenticated
  std::vector<Permission> permissions;

  bool authenticated() const noexcept { return !fingerprint.empty(); }
  /// Whether a permission covers this. Scopes are paths: "/models" covers "/models" and "/models/x", not "/models2". A path
  /// that is not absolute, ends in a slash, or has a component that is empty, "." or ".." is never covered; "/" is, by a
  /// permission for everywhere.
  HAUL_API bool may(std::string_view verb, std::string_view path = "/") const noexcept;
};

}  // namespace haul
