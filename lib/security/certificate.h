// X.509 certificates, as far as judging peers needs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "haul/status.h"
#include "security/fingerprint.h"
#include "security/gnutls_handles.h"

namespace haul::security {

/// `text` must outlive it.
gnutls_datum_t as_datum(const std::string& text) noexcept;

/// The fingerprint of the public key that belongs to a private one (PEM). Errors: invalid.
Result<Fingerprint> fingerprint_of_private_key(const std::string& pem);

/// A certificate that a peer showed.
class ShownCertificate {
 public:
  /// A chain in DER, the peer's own first. Errors: refused (malformed, none, more than 8).
  static Result<std::vector<ShownCertificate>> import(std::span<const std::span<const std::byte>> chain);

  Result<Fingerprint> fingerprint() const;
  int64_t valid_from_s() const noexcept;
  int64_t valid_to_s() const noexcept;
  /// Its first DNS name, else its common name; control characters replaced.
  std::string name() const;
  gnutls_x509_crt_t get() const noexcept { return handle_.get(); }

 private:
  explicit ShownCertificate(Certificate handle) noexcept : handle_(std::move(handle)) {}
  Certificate handle_;
};

/// Empty: the chain leads to an authority, is within its time, not revoked, and meant for this end of TLS. `host`: it must be
/// for this name or address. Otherwise what is wrong with it.
std::string verify_chain(gnutls_x509_trust_list_t authorities, const std::vector<ShownCertificate>& chain,
                         const std::string& host, bool server);

}  // namespace haul::security
