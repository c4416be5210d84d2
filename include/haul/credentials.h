// Who this engine is and whom it trusts.
#pragma once

#include <cstdint>
#include <string>

namespace haul {

/// Which peers may connect when no credentials are configured.
enum class SecurityPolicy : uint8_t {
  loopback_only,  ///< The default: without credentials only loopback addresses are spoken to or listened on.
  insecure,       ///< Any address, unauthenticated and in plain text. Logged as a warning, shown by explain().
};

/// Files with this engine's identity and its trust. Their place in the options is fixed now so that programs need not change;
/// authentication itself is not implemented yet: engines refuse non-empty credentials with `unsupported` rather than
/// ignore them.
struct Credentials {
  std::string certificate_file;
  std::string key_file;
  std::string authorized_peers_file;

  bool empty() const { return certificate_file.empty() && key_file.empty() && authorized_peers_file.empty(); }
};

}  // namespace haul
