// The TLS 1.3 handshake within QUIC (RFC 9001): a session that a QUIC library drives.
#pragma once

#include <memory>
#include <string>

#include "haul/credentials.h"
#include "haul/status.h"
#include "security/context.h"

struct gnutls_session_int;

namespace haul::security {

/// Both sides show certificates; the application protocol is `haul/1` (RFC 7301); no tickets, so no early data.
class QuicSession {
 public:
  /// `host`: for the side that dials, what it dialed; empty: any peer that is known. Errors: exhausted, internal.
  static Result<std::unique_ptr<QuicSession>> start(bool dials, std::shared_ptr<const SecurityContext> context,
                                                    std::string host);
  ~QuicSession();
  QuicSession(const QuicSession&) = delete;
  QuicSession& operator=(const QuicSession&) = delete;

  /// For the QUIC library, which sets the session's pointer to what it needs.
  gnutls_session_int* native() const noexcept { return session_; }

  /// The other side's certificates were judged, and are trusted.
  bool trusted() const noexcept { return judged_ && verdict_.status.ok(); }
  const PeerIdentity& peer() const noexcept { return verdict_.identity; }
  /// Why this side turned the peer away; ok where it did not.
  Status refusal() const { return judged_ ? verdict_.status : Status(); }
  /// The alert that tells the peer, where refusal() is not ok.
  int refusal_alert() const noexcept;
  /// What an alert of the peer's means.
  Status alert_meaning(int alert) const;
  /// The cipher that the handshake chose, for people.
  std::string cipher() const;

 private:
  QuicSession(bool dials, std::shared_ptr<const SecurityContext> context, std::string host);
  Status set_up();
  static int verify(gnutls_session_int* session);

  bool dials_;
  std::shared_ptr<const SecurityContext> context_;
  std::string host_;
  gnutls_session_int* session_ = nullptr;
  SecurityContext::Verdict verdict_;
  bool judged_ = false;
};

}  // namespace haul::security
