// An engine's own identity and its trust: loaded once, used by every connection.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "haul/credentials.h"
#include "haul/status.h"
#include "security/authorized_peers.h"
#include "security/fingerprint.h"

struct gnutls_certificate_credentials_st;
struct gnutls_x509_trust_list_st;

namespace haul {

/// Opaque outside of lib/security and the backends that authenticate by TLS. Thread-safe.
class SecurityContext {
 public:
  /// Seconds since 1970 UTC.
  using WallClock = std::function<int64_t()>;

  /// Reads all files. Errors: invalid (missing, malformed, readable by others, or that do not belong together: names the file).
  static Result<std::shared_ptr<const SecurityContext>> load(const Credentials& credentials, WallClock clock = {});
  ~SecurityContext();
  SecurityContext(const SecurityContext&) = delete;
  SecurityContext& operator=(const SecurityContext&) = delete;

  const security::Fingerprint& own_fingerprint() const noexcept { return own_; }
  const Credentials& credentials() const noexcept { return files_; }
  /// For messages: the file in which the other side's operator adds a line.
  std::string trust_files() const;

  /// Why a peer was turned away, as TLS can tell it.
  enum class Refusal : uint8_t { unknown, expired, revoked, bad };
  struct Verdict {
    Status status;
    Refusal refusal = Refusal::bad;
    PeerIdentity identity;
  };
  enum class End : uint8_t { dialed, connected_to_us };
  /// Whether whoever holds the key of this certificate (DER, its issuers behind it) is trusted at this end of a connection.
  /// `host`: the name or address under which it was dialed, which an authority must have certified; empty: the caller compares
  /// it with a peer that it knows.
  Verdict judge(std::span<const std::span<const std::byte>> chain, End end, std::string_view host) const;

  gnutls_certificate_credentials_st* tls_credentials() const noexcept { return tls_; }

  using DerivedSecret = std::array<std::byte, 32>;
  /// The same for the same private key and purpose, in every process; without that key nobody can tell it.
  DerivedSecret derive_secret(std::string_view purpose) const;

 private:
  explicit SecurityContext(Credentials files, WallClock clock);
  Status load_own();
  Status load_authorities();
  Status refresh_authorized() const;
  Verdict judge_known(const security::AuthorizedPeer& known, const std::string& fingerprint, int64_t now_s) const;

  Credentials files_;
  WallClock clock_;
  security::Fingerprint own_;
  DerivedSecret root_{};  // of derived secrets: made of the private key, which is not kept
  gnutls_certificate_credentials_st* tls_ = nullptr;
  gnutls_x509_trust_list_st* authorities_ = nullptr;

  mutable std::mutex mutex_;  // guards the following: another thread's connection may find the file changed
  mutable std::shared_ptr<const security::AuthorizedPeers> authorized_;
  mutable struct ::stat read_as_ {};  // what the file was when it was read
};

}  // namespace haul
