// New keys, and certificates for them.
#include "security/keys.h"

#include <fmt/format.h>

#include <array>

#include "base/random.h"
#include "security/gnutls_handles.h"
#include "security/peer_name.h"
#include "security/text.h"

namespace haul::security {

namespace {

constexpr int64_t clock_skew_s = 300;
constexpr int64_t last_second_s = 253402300799;  // 9999-12-31T23:59:59Z, the last that a certificate can name

/// Keeps the first failure of several calls, so that they can be made one after the other.
class Calls {
 public:
  void check(const char* what, int code) {
    if (code_ >= 0 && code < 0) {
      what_ = what;
      code_ = code;
    }
  }
  Status status() const {
    return code_ >= 0 ? Status() : gnutls_failure(StatusCode::internal, fmt::format("cannot make a key: {}", what_), code_);
  }

 private:
  const char* what_ = "";
  int code_ = 0;
};

std::array<std::byte, 16> random_serial() {
  std::array<std::byte, 16> serial{};
  base::system_random(serial);
  // The highest bit is the sign; the next keeps the first byte from being zero, which DER would have to leave out.
  serial[0] = (serial[0] & std::byte{0x3f}) | std::byte{0x40};
  return serial;
}

void describe(gnutls_x509_crt_t certificate, const std::string& name, int64_t now_s, int64_t valid_s, Calls& calls) {
  const auto serial = random_serial();
  const auto name_bytes = static_cast<unsigned>(name.size());
  calls.check("version", gnutls_x509_crt_set_version(certificate, 3));
  calls.check("serial number", gnutls_x509_crt_set_serial(certificate, serial.data(), serial.size()));
  calls.check("name", gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name.data(), name_bytes));
  if (is_dns_name(name)) {
    calls.check("DNS name", gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, name.data(), name_bytes,
                                                                 GNUTLS_FSAN_SET));
  }
  calls.check("begin", gnutls_x509_crt_set_activation_time(certificate, now_s - clock_skew_s));
  calls.check("end", gnutls_x509_crt_set_expiration_time(certificate, now_s + valid_s));
  calls.check("constraints", gnutls_x509_crt_set_basic_constraints(certificate, 0, -1));
  calls.check("usage", gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_DIGITAL_SIGNATURE));
  calls.check("purpose", gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_SERVER, 0));
  calls.check("purpose", gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_CLIENT, 0));
}

Status check_identity(const std::string& name, int64_t now_s, int64_t valid_s) {
  if (!is_peer_name(name))
    return Status(StatusCode::invalid, fmt::format("{} cannot be a peer's name: use {}", quoted(name), peer_name_rule));
  if (now_s < clock_skew_s || now_s > last_second_s)
    return Status(StatusCode::invalid, fmt::format("{} s since 1970 cannot be the time: set the clock", now_s));
  if (valid_s <= 0 || valid_s > last_second_s - now_s) {
    return Status(
        StatusCode::invalid,
        fmt::format("a certificate cannot be valid for {} s: it is to end in the future and before the year 10000", valid_s));
  }
  return {};
}

}  // namespace

Result<NewIdentity> make_identity(const std::string& name, int64_t now_s, int64_t valid_s) {
  if (Status good = check_identity(name, now_s, valid_s); !good.ok()) return good;
  const auto key = make_handle<PrivateKey>(gnutls_x509_privkey_init);
  const auto certificate = make_handle<Certificate>(gnutls_x509_crt_init);
  if (!key || !certificate) return Status(StatusCode::internal, "cannot make a key: no memory; free some");

  Calls calls;
  calls.check("key", gnutls_x509_privkey_generate(key.get(), GNUTLS_PK_EDDSA_ED25519, 0, 0));
  calls.check("public key", gnutls_x509_crt_set_key(certificate.get(), key.get()));
  describe(certificate.get(), name, now_s, valid_s, calls);
  // Ed25519 has its hash built in, and it is this one: GnuTLS refuses any other.
  calls.check("signature", gnutls_x509_crt_sign2(certificate.get(), certificate.get(), key.get(), GNUTLS_DIG_SHA512, 0));
  Datum key_pem;
  Datum certificate_pem;
  // PKCS #8 (RFC 8410): GnuTLS's own form is no standard for keys of this kind, and other programs cannot read it.
  calls.check("key as text",
              gnutls_x509_privkey_export2_pkcs8(key.get(), GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN, key_pem.out()));
  calls.check("certificate as text", gnutls_x509_crt_export2(certificate.get(), GNUTLS_X509_FMT_PEM, certificate_pem.out()));
  if (Status good = calls.status(); !good.ok()) return good;
  const auto fingerprint = fingerprint_of(certificate.get());
  if (!fingerprint) return Status(StatusCode::internal, std::string(fingerprint.status().message()));
  return NewIdentity{key_pem.text(), certificate_pem.text(), *fingerprint};
}

Result<Fingerprint> fingerprint_of_certificate(const std::string& pem, const std::string& file) {
  const auto certificate = make_handle<Certificate>(gnutls_x509_crt_init);
  if (!certificate) return Status(StatusCode::invalid, fmt::format("{}: no memory for a certificate; free some", file));
  std::string text = pem;  // GnuTLS's type for bytes is not const
  const gnutls_datum_t datum{reinterpret_cast<unsigned char*>(text.data()), static_cast<unsigned>(text.size())};
  if (const int code = gnutls_x509_crt_import(certificate.get(), &datum, GNUTLS_X509_FMT_PEM); code < 0) {
    return gnutls_failure(StatusCode::invalid,
                          fmt::format("{}: no certificate is in there; expected PEM, which begins with "
                                      "\"-----BEGIN CERTIFICATE-----\"",
                                      file),
                          code);
  }
  auto fingerprint = fingerprint_of(certificate.get());
  if (!fingerprint) return Status(StatusCode::invalid, fmt::format("{}: {}", file, fingerprint.status().message()));
  return fingerprint;
}

}  // namespace haul::security
