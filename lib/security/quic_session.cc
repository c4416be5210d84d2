// GnuTLS's session for QUIC.
#include "security/quic_session.h"

#include <fmt/format.h>
#include <gnutls/gnutls.h>

#include <string_view>
#include <utility>

#include "security/handshake.h"

namespace haul::security {

namespace {

constexpr std::string_view protocol = "haul/1";

}  // namespace

QuicSession::QuicSession(bool dials, std::shared_ptr<const SecurityContext> context, std::string host)
    : dials_(dials), context_(std::move(context)), host_(std::move(host)) {}

QuicSession::~QuicSession() {
  if (session_ != nullptr) gnutls_deinit(session_);
}

Result<std::unique_ptr<QuicSession>> QuicSession::start(bool dials, std::shared_ptr<const SecurityContext> context,
                                                        std::string host) {
  std::unique_ptr<QuicSession> session(new QuicSession(dials, std::move(context), std::move(host)));
  if (Status status = session->set_up(); !status.ok()) return status;
  return session;
}

Status QuicSession::set_up() {
  const unsigned side = dials_ ? GNUTLS_CLIENT : GNUTLS_SERVER;
  int error = gnutls_init(&session_, side | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS | GNUTLS_NO_END_OF_EARLY_DATA);
  if (error >= 0) error = require_certificates(session_, *context_);
  const gnutls_datum_t offered{reinterpret_cast<unsigned char*>(const_cast<char*>(protocol.data())),  // NOLINT: only read
                               static_cast<unsigned>(protocol.size())};
  if (error >= 0) error = gnutls_alpn_set_protocols(session_, &offered, 1, GNUTLS_ALPN_MANDATORY);
  if (error < 0) return Status(StatusCode::internal, fmt::format("TLS cannot be set up: {}", gnutls_strerror(error)));
  // The session's own pointer is the QUIC library's; that of its transport, which QUIC has no use for, is ours.
  gnutls_transport_set_ptr(session_, this);
  gnutls_session_set_verify_function(session_, &QuicSession::verify);
  gnutls_handshake_set_timeout(session_, 0);  // who does the I/O keeps the time
  return {};
}

int QuicSession::verify(gnutls_session_int* session) {
  auto& self = *static_cast<QuicSession*>(gnutls_transport_get_ptr(session));
  self.verdict_ = judge_shown(session, *self.context_, self.dials_, self.host_);
  self.judged_ = true;
  return self.verdict_.status.ok() ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

int QuicSession::refusal_alert() const noexcept { return alert_for(verdict_.refusal); }

Status QuicSession::alert_meaning(int alert) const { return security::alert_meaning(alert, *context_); }

std::string QuicSession::cipher() const {
  const char* name = gnutls_cipher_get_name(gnutls_cipher_get(session_));
  return name != nullptr ? name : "no cipher";
}

}  // namespace haul::security
