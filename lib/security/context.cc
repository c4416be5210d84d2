// Loading credentials, and judging peers.
#include "security/context.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "security/certificate.h"
#include "security/keys.h"

namespace haul {

using security::AuthorizedPeer;
using security::AuthorizedPeers;
using security::ShownCertificate;

namespace {

constexpr size_t max_certificates_bytes = 16U << 20;

int64_t system_seconds() { return static_cast<int64_t>(std::time(nullptr)); }

std::string day(int64_t seconds) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

Status invalid(const std::string& file, std::string_view what, int error) {
  return Status(StatusCode::invalid, fmt::format("{}: {} ({})", file, what, gnutls_strerror(error)));
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec && a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

SecurityContext::Verdict refuse(SecurityContext::Refusal why, std::string message) {
  return {Status(StatusCode::refused, std::move(message)), why, {}};
}

}  // namespace

SecurityContext::SecurityContext(Credentials files, WallClock clock)
    : files_(std::move(files)), clock_(clock ? std::move(clock) : WallClock(system_seconds)) {}

SecurityContext::~SecurityContext() {
  if (tls_ != nullptr) gnutls_certificate_free_credentials(tls_);
  if (authorities_ != nullptr) gnutls_x509_trust_list_deinit(authorities_, 1);
}

Result<std::shared_ptr<const SecurityContext>> SecurityContext::load(const Credentials& credentials, WallClock clock) {
  if (credentials.certificate_file.empty() || credentials.key_file.empty()) {
    return Status(StatusCode::invalid,
                  "credentials need a certificate_file and a key_file (`haul keygen` makes both), besides whom to trust");
  }
  if (credentials.authorized_peers_file.empty() && credentials.ca_file.empty()) {
    return Status(StatusCode::invalid, "credentials need an authorized_peers_file or a ca_file: nobody would be trusted");
  }
  if (!credentials.crl_file.empty() && credentials.ca_file.empty()) {
    return Status(StatusCode::invalid, "a crl_file needs the ca_file whose authorities signed it");
  }
  std::shared_ptr<SecurityContext> context(new SecurityContext(credentials, std::move(clock)));
  if (Status status = context->load_own(); !status.ok()) return status;
  if (Status status = context->load_authorities(); !status.ok()) return status;
  if (Status status = context->refresh_authorized(); !status.ok()) return status;
  return std::shared_ptr<const SecurityContext>(std::move(context));
}

Status SecurityContext::load_own() {
  auto certificate = security::read_text_file(files_.certificate_file, max_certificates_bytes);
  if (!certificate) return certificate.status();
  auto key = security::read_private_file(files_.key_file);
  if (!key) return key.status();
  auto fingerprint = security::fingerprint_of_certificate(*certificate, files_.certificate_file);
  if (!fingerprint) return fingerprint.status();
  own_ = *fingerprint;
  if (const int error = gnutls_certificate_allocate_credentials(&tls_); error < 0) {
    return Status(StatusCode::exhausted, gnutls_strerror(error));
  }
  const gnutls_datum_t certificate_pem = security::as_datum(*certificate);
  const gnutls_datum_t key_pem = security::as_datum(*key);
  const int error = gnutls_certificate_set_x509_key_mem2(tls_, &certificate_pem, &key_pem, GNUTLS_X509_FMT_PEM, nullptr, 0);
  // GnuTLS itself does not compare Ed25519 keys.
  const auto of_key = security::fingerprint_of_private_key(*key);
  // HMAC as in HKDF-Extract (RFC 5869), with the purpose in place of the salt.
  constexpr std::string_view extracts = "haul derived secrets";
  gnutls_hmac_fast(GNUTLS_MAC_SHA256, extracts.data(), extracts.size(), key->data(), key->size(), root_.data());
  gnutls_memset(key->data(), 0, key->size());
  if (error < 0 && error != GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
    return invalid(files_.key_file, "the private key, or the certificate with it, cannot be used", error);
  }
  if (!of_key || *of_key != own_) {
    return invalid(files_.key_file, fmt::format("this key does not belong to the certificate {}", files_.certificate_file),
                   GNUTLS_E_CERTIFICATE_KEY_MISMATCH);
  }
  return {};
}

SecurityContext::DerivedSecret SecurityContext::derive_secret(std::string_view purpose) const {
  DerivedSecret secret{};
  gnutls_hmac_fast(GNUTLS_MAC_SHA256, root_.data(), root_.size(), purpose.data(), purpose.size(), secret.data());
  return secret;
}

Status SecurityContext::load_authorities() {
  if (files_.ca_file.empty()) return {};
  auto authorities = security::read_text_file(files_.ca_file, max_certificates_bytes);
  if (!authorities) return authorities.status();
  if (const int error = gnutls_x509_trust_list_init(&authorities_, 0); error < 0) {
    return Status(StatusCode::exhausted, gnutls_strerror(error));
  }
  const gnutls_datum_t pem = security::as_datum(*authorities);
  gnutls_datum_t revoked{nullptr, 0};
  std::string list;
  if (!files_.crl_file.empty()) {
    auto text = security::read_text_file(files_.crl_file, max_certificates_bytes);
    if (!text) return text.status();
    list = std::move(*text);
    revoked = security::as_datum(list);
  }
  const int count = gnutls_x509_trust_list_add_trust_mem(authorities_, &pem, nullptr, GNUTLS_X509_FMT_PEM, 0, 0);
  if (count <= 0) return invalid(files_.ca_file, "no certificate of an authority could be read", count);
  if (revoked.size == 0) return {};
  const int lists =
      gnutls_x509_trust_list_add_trust_mem(authorities_, nullptr, &revoked, GNUTLS_X509_FMT_PEM, 0, GNUTLS_TL_VERIFY_CRL);
  if (lists <= 0) return invalid(files_.crl_file, "no revocation list of these authorities could be read", lists);
  return {};
}

// An operator who revokes a peer need not restart anything. A file that became unreadable or wrong lets nobody in: it may
// hold a revocation.
Status SecurityContext::refresh_authorized() const {
  const std::string& file = files_.authorized_peers_file;
  const std::lock_guard lock(mutex_);
  if (file.empty()) {
    if (!authorized_) authorized_ = std::make_shared<const AuthorizedPeers>();
    return {};
  }
  struct stat now {};
  if (stat(file.c_str(), &now) != 0) return Status::from_errno(StatusCode::invalid, errno, fmt::format("cannot read {}", file));
  if (authorized_ && same_file(now, read_as_)) return {};
  auto text = security::read_text_file(file, AuthorizedPeers::max_bytes);
  if (!text) return text.status();
  auto parsed = AuthorizedPeers::parse(*text, file);
  if (!parsed) return parsed.status();
  authorized_ = std::make_shared<const AuthorizedPeers>(std::move(*parsed));
  read_as_ = now;
  return {};
}

std::string SecurityContext::trust_files() const {
  if (files_.ca_file.empty()) return files_.authorized_peers_file;
  if (files_.authorized_peers_file.empty()) return files_.ca_file;
  return fmt::format("{} or {}", files_.authorized_peers_file, files_.ca_file);
}

SecurityContext::Verdict SecurityContext::judge_known(const AuthorizedPeer& known, const std::string& fingerprint,
                                                      int64_t now_s) const {
  if (known.revoked) {
    return refuse(Refusal::revoked,
                  fmt::format("{} is revoked ({}:{})", fingerprint, files_.authorized_peers_file, known.line));
  }
  if (known.expires_at_s && now_s >= *known.expires_at_s) {
    return refuse(Refusal::expired, fmt::format("the line of {} expired at {} ({}:{})", fingerprint, day(*known.expires_at_s),
                                                files_.authorized_peers_file, known.line));
  }
  return {Status(), {}, PeerIdentity{known.name, fingerprint, known.permissions}};
}

SecurityContext::Verdict SecurityContext::judge(std::span<const std::span<const std::byte>> chain, End end,
                                                std::string_view host) const {
  auto certificates = ShownCertificate::import(chain);
  if (!certificates) return {certificates.status(), Refusal::bad, {}};
  const ShownCertificate& leaf = certificates->front();
  const auto key = leaf.fingerprint();
  if (!key) return {key.status(), Refusal::bad, {}};
  const std::string fingerprint = key->to_string();
  if (Status status = refresh_authorized(); !status.ok()) {
    return refuse(Refusal::unknown, fmt::format("nobody is let in: {}", status.message()));
  }
  const auto authorized = [this] { return std::lock_guard(mutex_), authorized_; }();
  const int64_t now_s = clock_();
  if (now_s < leaf.valid_from_s()) {
    return refuse(Refusal::bad, fmt::format("the certificate of {} is not valid before {}: compare the clocks of both sides",
                                            fingerprint, day(leaf.valid_from_s())));
  }
  if (now_s > leaf.valid_to_s()) {
    return refuse(Refusal::expired,
                  fmt::format("the certificate of {} expired at {}: its owner has to renew it (`haul keygen`); if "
                              "that time is to come, set this side's clock",
                              fingerprint, day(leaf.valid_to_s())));
  }
  if (const AuthorizedPeer* known = authorized->by_fingerprint(*key)) return judge_known(*known, fingerprint, now_s);
  if (authorities_ == nullptr) {
    return refuse(Refusal::unknown, fmt::format("{} is not known: add a line \"NAME {} ...\" to {} to trust it", fingerprint,
                                                fingerprint, files_.authorized_peers_file));
  }
  const bool server = end == End::dialed;
  const std::string problem = security::verify_chain(authorities_, *certificates, std::string(host), server);
  if (!problem.empty()) {
    const bool revoked = problem.find("revoked") != std::string::npos;
    return refuse(revoked ? Refusal::revoked : Refusal::unknown,
                  fmt::format("{} is not trusted: {} (by {}; or add its fingerprint to an authorized_peers file)", fingerprint,
                              problem, files_.ca_file));
  }
  const std::string name = leaf.name();
  if (const AuthorizedPeer* known = authorized->by_certified_name(name)) {
    Verdict verdict = judge_known(*known, fingerprint, now_s);
    verdict.identity.name = name;
    return verdict;
  }
  // A server that is certified for the name it was dialed by is the right one; on a further lane the caller compares.
  if (server || files_.authorized_peers_file.empty()) return {Status(), {}, PeerIdentity{name, fingerprint, {}}};
  return refuse(Refusal::unknown, fmt::format("\"{}\" ({}) is certified, but {} has no line \"{} ca ...\" and none for \"*\"",
                                              name, fingerprint, files_.authorized_peers_file, name));
}

}  // namespace haul
