// GnuTLS's objects, owned. Only files of this room include this.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "haul/status.h"
#include "security/fingerprint.h"

namespace haul::security {

template <auto deinit>
struct Deinit {
  template <typename T>
  void operator()(T* object) const noexcept {
    deinit(object);
  }
};

template <typename Handle, auto deinit>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Deinit<deinit>>;

using Certificate = Owned<gnutls_x509_crt_t, gnutls_x509_crt_deinit>;
using PrivateKey = Owned<gnutls_x509_privkey_t, gnutls_x509_privkey_deinit>;
using PublicKey = Owned<gnutls_pubkey_t, gnutls_pubkey_deinit>;

/// Makes one with GnuTLS's init function. Null where memory ran out.
template <typename Owner>
Owner make_handle(int (*init)(typename Owner::pointer*)) {
  typename Owner::pointer handle = nullptr;
  return init(&handle) < 0 ? Owner() : Owner(handle);
}

/// Bytes that GnuTLS allocated. They may be a key: they are wiped before they are freed.
class Datum {
 public:
  Datum() = default;
  ~Datum() {
    if (datum_.data == nullptr) return;
    gnutls_memset(datum_.data, 0, datum_.size);
    gnutls_free(datum_.data);
  }
  Datum(const Datum&) = delete;
  Datum& operator=(const Datum&) = delete;

  gnutls_datum_t* out() noexcept { return &datum_; }
  std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span(datum_.data, datum_.size)); }
  std::string text() const { return {reinterpret_cast<const char*>(datum_.data), datum_.size}; }

 private:
  gnutls_datum_t datum_{};
};

/// "what: GnuTLS says …".
Status gnutls_failure(StatusCode code, std::string_view what, int gnutls_code);

/// Of the key in a certificate. Errors: invalid (a key that GnuTLS does not know).
Result<Fingerprint> fingerprint_of(gnutls_x509_crt_t certificate);

}  // namespace haul::security
