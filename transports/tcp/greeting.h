// How a connected socket begins: a TLS handshake where this side has credentials, then the peer's preface.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "haul/credentials.h"
#include "haul/status.h"
#include "security/tls_session.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// What a greeting agreed on, for the connection that follows.
struct Link {
  PeerIdentity identity;                         ///< empty without credentials
  Protection protection = Protection::plain;     ///< of what follows the prefaces
  std::optional<security::RecordCipher> sealer;  ///< of the prefaces, and of all that follows if encrypted
  std::optional<security::RecordCipher> opener;
  std::optional<security::RecordKeys> integrity_sends;  ///< of what follows the prefaces, for integrity only
  std::optional<security::RecordKeys> integrity_receives;
};

/// No I/O of its own: the owner receives exactly into wanted(), so that nothing behind the preface is taken from the socket,
/// and sends outgoing(), also after an error.
class Greeting {
 public:
  /// `context` null: plain. `tls` null: this side was dialed, and accepts no less than `weakest`; nothing is made of TLS before
  /// the other side said something.
  Greeting(std::unique_ptr<security::TlsSession> tls, std::shared_ptr<const SecurityContext> context,
           Protection weakest = Protection::encrypted);

  std::span<std::byte> wanted() noexcept;
  /// Errors: refused, protocol.
  Status received(size_t bytes);
  /// Whether received(bytes) would work on a handshake, which takes processor time.
  bool would_handshake(size_t bytes) const noexcept;
  std::span<const std::byte> outgoing() const noexcept { return outgoing_; }
  void take_outgoing() noexcept { outgoing_.clear(); }

  /// The handshake is over (or there is none): send_preface() may be called.
  bool secured() const noexcept { return secured_; }
  /// Queues this side's preface.
  Status send_preface(const wire::Preface& preface);
  bool done() const noexcept { return done_; }
  const wire::Preface& peer() const noexcept { return peer_; }
  /// Once done().
  Link take_link() noexcept { return std::move(link_); }

 private:
  Status plain_preface(std::span<const std::byte, wire::preface_bytes> bytes);
  Status header_received();
  Status record_received();
  Status advance_handshake(std::span<const std::byte> received);
  Status open_preface(std::span<const std::byte> record);
  Status agree();

  std::unique_ptr<security::TlsSession> tls_;
  std::shared_ptr<const SecurityContext> context_;  // null: plain
  Protection weakest_;
  std::vector<std::byte> in_;  // one record, or one plain preface
  size_t filled_ = 0;
  std::vector<std::byte> outgoing_;
  Link link_;
  wire::Preface peer_;
  bool begun_ = false;  // a record came
  bool secured_ = false;
  bool done_ = false;
};

/// Seals this side's preface for a link whose greeting another transport did.
Status seal_preface(Link& link, const wire::Preface& preface, std::vector<std::byte>& out);

}  // namespace haul::tcp
