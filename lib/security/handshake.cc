// Ciphers, certificates, alerts.
#include "security/handshake.h"

#include <fmt/format.h>

#include <array>
#include <span>
#include <string>

#include "security/tls_session.h"

namespace haul::security {

namespace {

// AES-128-GCM first: the fastest where the processor helps, which is where bulk data moves.
constexpr const char* priorities =
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:%DISABLE_TLS13_COMPAT_MODE";

constexpr size_t max_certificates = 8;
// Room for as many certificates; GnuTLS would keep four times as much of a stranger.
constexpr size_t max_handshake_message_bytes = 32U << 10;

}  // namespace

int require_certificates(gnutls_session_t session, const SecurityContext& context) {
  int error = gnutls_priority_set_direct(session, priorities, nullptr);
  if (error >= 0) error = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, context.tls_credentials());
  gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);  // of no effect on the side that dials
  gnutls_handshake_set_max_packet_length(session, max_handshake_message_bytes);
  return error;
}

SecurityContext::Verdict judge_shown(gnutls_session_t session, const SecurityContext& context, bool dialed,
                                     std::string_view host) {
  unsigned count = 0;
  const gnutls_datum_t* chain = gnutls_certificate_get_peers(session, &count);
  std::array<std::span<const std::byte>, max_certificates> certificates;
  if (count > max_certificates) count = 0;
  for (unsigned i = 0; i < count; ++i) certificates[i] = std::as_bytes(std::span(chain[i].data, chain[i].size));
  return context.judge(std::span(certificates).first(count),
                       dialed ? SecurityContext::End::dialed : SecurityContext::End::connected_to_us, host);
}

int alert_for(SecurityContext::Refusal refusal) {
  switch (refusal) {
    case SecurityContext::Refusal::unknown: return GNUTLS_A_ACCESS_DENIED;
    case SecurityContext::Refusal::expired: return GNUTLS_A_CERTIFICATE_EXPIRED;
    case SecurityContext::Refusal::revoked: return GNUTLS_A_CERTIFICATE_REVOKED;
    case SecurityContext::Refusal::bad: break;
  }
  return GNUTLS_A_BAD_CERTIFICATE;
}

Status alert_meaning(int alert, const SecurityContext& context) {
  const std::string own = context.own_fingerprint().to_string();
  switch (alert) {
    case GNUTLS_A_ACCESS_DENIED:
    case GNUTLS_A_UNKNOWN_CA:
    case GNUTLS_A_CERTIFICATE_UNKNOWN:
      return Status(StatusCode::refused, fmt::format("the peer does not know this side's identity {} ({}): its operator has to "
                                                     "add it to the peer's authorized_peers file",
                                                     own, context.credentials().certificate_file));
    case GNUTLS_A_CERTIFICATE_EXPIRED:
      return Status(StatusCode::refused,
                    fmt::format("for the peer this side's identity {} ({}) has expired: compare the clocks, "
                                "renew the certificate, or its line in the peer's authorized_peers file",
                                own, context.credentials().certificate_file));
    case GNUTLS_A_CERTIFICATE_REVOKED:
      return Status(StatusCode::refused,
                    fmt::format("the peer revoked this side's identity {} ({})", own, context.credentials().certificate_file));
    case GNUTLS_A_BAD_CERTIFICATE:
    case GNUTLS_A_CERTIFICATE_REQUIRED:
      return Status(StatusCode::refused,
                    fmt::format("the peer cannot accept this side's certificate {} ({}): its log says why; compare the clocks",
                                context.credentials().certificate_file, own));
    case GNUTLS_A_NO_APPLICATION_PROTOCOL:
      return Status(StatusCode::refused,
                    "both sides speak TLS, but not haul's protocol in the same version, or they do not accept "
                    "the same protection of the link");
    case GNUTLS_A_INSUFFICIENT_SECURITY: return speaks_no_tls();
    default: break;
  }
  const char* name = gnutls_alert_get_name(static_cast<gnutls_alert_description_t>(alert));  // null: GnuTLS knows none
  return Status(StatusCode::protocol, name != nullptr ? fmt::format("the peer ended the TLS handshake: {}", name)
                                                      : fmt::format("the peer ended the TLS handshake by alert {}", alert));
}

}  // namespace haul::security
