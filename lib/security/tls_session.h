// One TLS 1.3 handshake in memory: who does the I/O hands bytes in and takes bytes out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/credentials.h"
#include "haul/status.h"
#include "security/context.h"
#include "security/records.h"

struct gnutls_session_int;

namespace haul::security {

/// Both sides show certificates (RFC 8446 section 4.4.2). The protection of the link is agreed on by ALPN (RFC 7301), which
/// the handshake authenticates: nobody on the path can weaken it.
class TlsSession {
 public:
  enum class Role : uint8_t { dials, accepts };

  /// `weakest`: the weakest protection that this side accepts. `host`: for the side that dials, what it dialed; empty: any
  /// peer that is known. Errors: exhausted, internal.
  static Result<std::unique_ptr<TlsSession>> start(Role role, std::shared_ptr<const SecurityContext> context,
                                                   Protection weakest, std::string host);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /// Goes as far as the bytes reach; `received` are whole TLS records (or none, to begin). What is to be sent collects in
  /// outgoing(), after an error too (the alert that tells the peer). Errors: refused (either side does not trust the other:
  /// names fingerprints and files), protocol.
  Status advance(std::span<const std::byte> received);
  bool done() const noexcept { return done_; }

  std::span<const std::byte> outgoing() const noexcept { return outgoing_; }
  void take_outgoing() noexcept { outgoing_.clear(); }

  // Once done():
  const PeerIdentity& peer() const noexcept { return verdict_.identity; }
  Protection protection() const noexcept { return protection_; }
  /// Of the application data: `sending` ours or the peer's. Errors: unsupported, internal.
  Result<RecordKeys> keys(bool sending) const;
  /// Keys for Protection::integrity_only, derived from the session (RFC 8446 section 7.5). Errors: internal.
  Result<RecordKeys> integrity_keys(bool sending) const;

  /// The record that tells a TLS client that this side has no credentials. Anybody on the path can say so: it explains a
  /// connection that fails, and changes nothing else.
  static std::array<std::byte, 7> no_credentials_alert() noexcept;
  /// What an alert that the peer sent instead of data means. `alert`: two bytes (RFC 8446 section 6).
  static Status alert_status(std::span<const std::byte> alert, const SecurityContext& context);

 private:
  TlsSession(Role role, std::shared_ptr<const SecurityContext> context, std::string host);
  Status set_up(Protection weakest);
  Status failed(int error);
  Status agreed();
  static int verify(gnutls_session_int* session);
  static ssize_t pull(void* self, void* to, size_t bytes);
  static ssize_t push(void* self, const void* from, size_t bytes);

  Role role_;
  std::shared_ptr<const SecurityContext> context_;
  std::string host_;
  gnutls_session_int* session_ = nullptr;
  std::span<const std::byte> incoming_;
  std::vector<std::byte> outgoing_;
  SecurityContext::Verdict verdict_;
  Protection protection_ = Protection::encrypted;
  bool done_ = false;
};

/// Why a side with credentials does not speak with one that has none, in the words of either.
Status speaks_no_tls();

}  // namespace haul::security
