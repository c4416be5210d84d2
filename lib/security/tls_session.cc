// The handshake by GnuTLS.
#include "security/tls_session.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "security/handshake.h"

namespace haul::security {

namespace {

// By Protection's value. RFC 7301.
constexpr std::array<std::string_view, 3> protocols = {"haul/1", "haul/1-integrity", "haul/1-plain"};
}  // namespace

TlsSession::TlsSession(Role role, std::shared_ptr<const SecurityContext> context, std::string host)
    : role_(role), context_(std::move(context)), host_(std::move(host)) {}

TlsSession::~TlsSession() {
  if (session_ != nullptr) gnutls_deinit(session_);
}

Result<std::unique_ptr<TlsSession>> TlsSession::start(Role role, std::shared_ptr<const SecurityContext> context,
                                                      Protection weakest, std::string host) {
  std::unique_ptr<TlsSession> session(new TlsSession(role, std::move(context), std::move(host)));
  if (Status status = session->set_up(weakest); !status.ok()) return status;
  return session;
}

Status TlsSession::set_up(Protection weakest) {
  const unsigned side = role_ == Role::dials ? GNUTLS_CLIENT : GNUTLS_SERVER;
  int error = gnutls_init(&session_, side | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS);
  if (error >= 0) error = require_certificates(session_, *context_);
  // The server's order counts: the weakest that both accept comes first, since each side names what it accepts.
  std::array<gnutls_datum_t, protocols.size()> offered{};
  unsigned count = 0;
  for (size_t level = static_cast<size_t>(weakest) + 1; level-- > 0;) {
    offered[count++] = {reinterpret_cast<unsigned char*>(const_cast<char*>(protocols[level].data())),  // NOLINT: only read
                        static_cast<unsigned>(protocols[level].size())};
  }
  if (error >= 0) {
    error = gnutls_alpn_set_protocols(session_, offered.data(), count, GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE);
  }
  if (error < 0) return Status(StatusCode::internal, fmt::format("TLS cannot be set up: {}", gnutls_strerror(error)));
  gnutls_session_set_ptr(session_, this);
  gnutls_session_set_verify_function(session_, &TlsSession::verify);
  gnutls_transport_set_ptr(session_, this);
  gnutls_transport_set_pull_function(session_, &TlsSession::pull);
  gnutls_transport_set_push_function(session_, &TlsSession::push);
  gnutls_handshake_set_timeout(session_, 0);  // who does the I/O keeps the time
  return {};
}

ssize_t TlsSession::pull(void* self, void* to, size_t bytes) {
  auto& session = *static_cast<TlsSession*>(self);
  if (session.incoming_.empty()) {
    gnutls_transport_set_errno(session.session_, EAGAIN);
    return -1;
  }
  const size_t taken = std::min(bytes, session.incoming_.size());
  std::memcpy(to, session.incoming_.data(), taken);
  session.incoming_ = session.incoming_.subspan(taken);
  return static_cast<ssize_t>(taken);
}

ssize_t TlsSession::push(void* self, const void* from, size_t bytes) {
  auto& outgoing = static_cast<TlsSession*>(self)->outgoing_;
  const auto* begin = static_cast<const std::byte*>(from);
  outgoing.insert(outgoing.end(), begin, begin + bytes);
  return static_cast<ssize_t>(bytes);
}

int TlsSession::verify(gnutls_session_int* session) {
  auto& self = *static_cast<TlsSession*>(gnutls_session_get_ptr(session));
  self.verdict_ = judge_shown(session, *self.context_, self.role_ == Role::dials, self.host_);
  return self.verdict_.status.ok() ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

Status TlsSession::advance(std::span<const std::byte> received) {
  incoming_ = received;
  int error = GNUTLS_E_AGAIN;
  do {
    error = gnutls_handshake(session_);
    // Interrupted also stands for warnings; what remains to be read decides.
  } while (error < 0 && gnutls_error_is_fatal(error) == 0 && !incoming_.empty());
  if (error == GNUTLS_E_AGAIN || error == GNUTLS_E_INTERRUPTED) return {};
  if (error < 0) return failed(error);
  if (!incoming_.empty()) return Status(StatusCode::protocol, "the peer sent more than its handshake");
  return agreed();
}

Status TlsSession::failed(int error) {
  if (!verdict_.status.ok()) {
    gnutls_alert_send(session_, GNUTLS_AL_FATAL, static_cast<gnutls_alert_description_t>(alert_for(verdict_.refusal)));
    return verdict_.status;
  }
  if (error == GNUTLS_E_FATAL_ALERT_RECEIVED) return alert_meaning(gnutls_alert_get(session_), *context_);
  gnutls_alert_send_appropriate(session_, error);
  if (error == GNUTLS_E_NO_APPLICATION_PROTOCOL) return alert_meaning(GNUTLS_A_NO_APPLICATION_PROTOCOL, *context_);
  if (error == GNUTLS_E_NO_CERTIFICATE_FOUND || error == GNUTLS_E_CERTIFICATE_REQUIRED) {
    return Status(StatusCode::refused, "the peer showed no certificate");
  }
  return Status(StatusCode::protocol, fmt::format("the TLS handshake failed: {}", gnutls_strerror(error)));
}

Status TlsSession::agreed() {
  gnutls_datum_t chosen{nullptr, 0};
  if (gnutls_alpn_get_selected_protocol(session_, &chosen) < 0) {
    return Status(StatusCode::protocol, "the peer speaks TLS but not haul (it chose no application protocol)");
  }
  const std::string_view name(reinterpret_cast<const char*>(chosen.data), chosen.size);
  for (size_t level = 0; level < protocols.size(); ++level) {
    if (protocols[level] != name) continue;
    protection_ = static_cast<Protection>(level);
    done_ = true;
    return {};
  }
  return Status(StatusCode::protocol, "the peer chose an application protocol that was not offered");
}

Result<RecordKeys> TlsSession::keys(bool sending) const {
  RecordKeys keys;
  switch (gnutls_cipher_get(session_)) {
    case GNUTLS_CIPHER_AES_128_GCM: keys.cipher = Cipher::aes_128_gcm; break;
    case GNUTLS_CIPHER_AES_256_GCM: keys.cipher = Cipher::aes_256_gcm; break;
    case GNUTLS_CIPHER_CHACHA20_POLY1305: keys.cipher = Cipher::chacha20_poly1305; break;
    default: return Status(StatusCode::unsupported, "the handshake chose a cipher that haul does not know");
  }
  gnutls_datum_t mac{};
  gnutls_datum_t iv{};
  gnutls_datum_t key{};
  std::array<unsigned char, 8> sequence{};
  const int error = gnutls_record_get_state(session_, sending ? 0 : 1, &mac, &iv, &key, sequence.data());
  if (error < 0 || iv.size != keys.iv.size() || key.size != keys.key_bytes()) {
    return Status(StatusCode::internal, "the keys of the session cannot be had from GnuTLS");
  }
  std::memcpy(keys.key.data(), key.data, key.size);
  std::memcpy(keys.iv.data(), iv.data, iv.size);
  for (const unsigned char byte : sequence) keys.sequence = (keys.sequence << 8U) | byte;
  return keys;
}

Result<RecordKeys> TlsSession::integrity_keys(bool sending) const {
  constexpr std::string_view label = "EXPORTER-haul-integrity";
  constexpr size_t key_bytes = 16;
  constexpr size_t side_bytes = key_bytes + 12;
  std::array<char, 2 * side_bytes> material{};
  const int error = gnutls_prf_rfc5705(session_, label.size(), label.data(), 0, nullptr, material.size(), material.data());
  if (error < 0) return Status(StatusCode::internal, gnutls_strerror(error));
  // First the keys of the side that dialed.
  const bool first = sending == (role_ == Role::dials);
  const char* own = material.data() + (first ? 0 : side_bytes);
  RecordKeys keys;
  std::memcpy(keys.key.data(), own, key_bytes);
  std::memcpy(keys.iv.data(), own + key_bytes, keys.iv.size());
  gnutls_memset(material.data(), 0, material.size());
  return keys;
}

std::array<std::byte, 7> TlsSession::no_credentials_alert() noexcept {
  constexpr auto alert = std::byte{21};
  constexpr auto fatal = std::byte{2};
  return {alert, std::byte{3}, std::byte{3}, std::byte{0}, std::byte{2}, fatal, std::byte{GNUTLS_A_INSUFFICIENT_SECURITY}};
}

Status speaks_no_tls() {
  return Status(
      StatusCode::refused,
      "it speaks no TLS, and this side has credentials: give it credentials too (`haul keygen`), or none to this side");
}

Status TlsSession::alert_status(std::span<const std::byte> alert, const SecurityContext& context) {
  if (alert.size() != 2) return Status(StatusCode::protocol, "the peer sent a malformed TLS alert");
  return alert_meaning(static_cast<int>(alert[1]), context);
}

}  // namespace haul::security
