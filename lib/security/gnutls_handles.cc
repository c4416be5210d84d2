// What GnuTLS reports, as statuses and values of ours.
#include "security/gnutls_handles.h"

#include <fmt/format.h>

namespace haul::security {

Status gnutls_failure(StatusCode code, std::string_view what, int gnutls_code) {
  return Status(code, fmt::format("{}: GnuTLS says \"{}\" ({})", what, gnutls_strerror(gnutls_code), gnutls_code));
}

Result<Fingerprint> fingerprint_of(gnutls_x509_crt_t certificate) {
  const auto key = make_handle<PublicKey>(gnutls_pubkey_init);
  if (!key) return Status(StatusCode::exhausted, "no memory for a public key: free some");
  Datum der;
  int code = gnutls_pubkey_import_x509(key.get(), certificate, 0);
  if (code >= 0) code = gnutls_pubkey_export2(key.get(), GNUTLS_X509_FMT_DER, der.out());
  if (code < 0) return gnutls_failure(StatusCode::invalid, "cannot read the public key in a certificate", code);
  return Fingerprint::of_public_key(der.bytes());
}

}  // namespace haul::security
