// X.509 by GnuTLS.
#include "security/certificate.h"

#include <fmt/format.h>

#include <array>

#include "base/printable.h"

namespace haul::security {

namespace {

constexpr size_t max_chain = 8;

}  // namespace

gnutls_datum_t as_datum(const std::string& text) noexcept {
  return {const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(text.data())),  // NOLINT: GnuTLS only reads
          static_cast<unsigned>(text.size())};
}

Result<std::vector<ShownCertificate>> ShownCertificate::import(std::span<const std::span<const std::byte>> chain) {
  if (chain.empty()) return Status(StatusCode::refused, "the peer showed no certificate");
  if (chain.size() > max_chain) return Status(StatusCode::refused, "the peer's certificate has too many issuers");
  std::vector<ShownCertificate> certificates;
  for (const std::span<const std::byte> bytes : chain) {
    const gnutls_datum_t der{const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data())),  // NOLINT
                             static_cast<unsigned>(bytes.size())};
    auto handle = make_handle<Certificate>(gnutls_x509_crt_init);
    if (!handle) return Status(StatusCode::exhausted, "no memory for the peer's certificate");
    const int error = gnutls_x509_crt_import(handle.get(), &der, GNUTLS_X509_FMT_DER);
    if (error < 0) {
      return Status(StatusCode::refused, fmt::format("the peer's certificate is malformed ({})", gnutls_strerror(error)));
    }
    certificates.push_back(ShownCertificate(std::move(handle)));
  }
  return certificates;
}

Result<Fingerprint> fingerprint_of_private_key(const std::string& pem) {
  gnutls_privkey_t key = nullptr;
  if (const int error = gnutls_privkey_init(&key); error < 0) return gnutls_failure(StatusCode::exhausted, "a key", error);
  const Owned<gnutls_privkey_t, gnutls_privkey_deinit> owned(key);
  const auto public_key = make_handle<PublicKey>(gnutls_pubkey_init);
  if (!public_key) return Status(StatusCode::exhausted, "no memory for a key");
  const gnutls_datum_t text = as_datum(pem);
  Datum der;
  int error = gnutls_privkey_import_x509_raw(key, &text, GNUTLS_X509_FMT_PEM, nullptr, 0);
  if (error >= 0) error = gnutls_pubkey_import_privkey(public_key.get(), key, GNUTLS_KEY_DIGITAL_SIGNATURE, 0);
  if (error >= 0) error = gnutls_pubkey_export2(public_key.get(), GNUTLS_X509_FMT_DER, der.out());
  if (error < 0) return gnutls_failure(StatusCode::invalid, "the private key cannot be read", error);
  return Fingerprint::of_public_key(der.bytes());
}

Result<Fingerprint> ShownCertificate::fingerprint() const {
  auto fingerprint = fingerprint_of(get());
  if (fingerprint) return fingerprint;
  return Status(StatusCode::refused, fmt::format("the peer's public key: {}", fingerprint.status().message()));
}

int64_t ShownCertificate::valid_from_s() const noexcept { return gnutls_x509_crt_get_activation_time(get()); }

int64_t ShownCertificate::valid_to_s() const noexcept { return gnutls_x509_crt_get_expiration_time(get()); }

std::string ShownCertificate::name() const {
  std::array<char, 256> text{};
  for (unsigned i = 0;; ++i) {
    size_t size = text.size();
    const int type = gnutls_x509_crt_get_subject_alt_name(get(), i, text.data(), &size, nullptr);
    if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) break;
    if (type == GNUTLS_SAN_DNSNAME) return base::printable({text.data(), size});
  }
  size_t size = text.size();
  if (gnutls_x509_crt_get_dn_by_oid(get(), GNUTLS_OID_X520_COMMON_NAME, 0, 0, text.data(), &size) < 0) return "(no name)";
  return base::printable({text.data(), size});
}

std::string verify_chain(gnutls_x509_trust_list_t authorities, const std::vector<ShownCertificate>& chain,
                         const std::string& host, bool server) {
  std::vector<gnutls_x509_crt_t> handles;
  handles.reserve(chain.size());
  for (const ShownCertificate& certificate : chain) handles.push_back(certificate.get());
  std::string purpose = server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
  gnutls_typed_vdata_st wanted{};
  wanted.type = GNUTLS_DT_KEY_PURPOSE_OID;
  wanted.data = reinterpret_cast<unsigned char*>(purpose.data());
  unsigned status = 0;
  const int error = gnutls_x509_trust_list_verify_crt2(authorities, handles.data(), static_cast<unsigned>(handles.size()),
                                                       &wanted, 1, 0, &status, nullptr);
  if (error < 0) return gnutls_strerror(error);
  if (status != 0) {
    Datum text;
    if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, text.out(), 0) < 0)
      return "it cannot be verified";
    std::string problem = text.text();
    while (!problem.empty() && (problem.back() == ' ' || problem.back() == '.')) problem.pop_back();
    return problem;
  }
  if (!host.empty() && gnutls_x509_crt_check_hostname(chain.front().get(), host.c_str()) == 0) {
    return fmt::format("its certificate is for \"{}\", not for {}", chain.front().name(), host);
  }
  return {};
}

}  // namespace haul::security
