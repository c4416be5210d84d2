// One QUIC connection by ngtcp2 0.12: the only place that knows the library, and so all that depends on its version.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "haul/status.h"
#include "haul/time.h"
#include "net/endpoint.h"
#include "quic/marks.h"
#include "quic/qlog.h"
#include "quic/surroundings.h"
#include "quic/wire.h"
#include "security/quic_session.h"

struct ngtcp2_conn;

namespace haul::quic {

/// Ours are of this length; others' have up to twenty.
inline constexpr size_t own_cid_bytes = 8;
/// Of connections and of what they leave behind: as it stands in packets.
using Cid = std::string;

/// For stateless resets (RFC 9000 section 10.3) and tokens: known to one transport only.
using Secret = std::array<std::byte, 32>;

/// What the peer, or this side, is told by a CONNECTION_CLOSE of the application's.
enum class CloseCode : uint8_t {
  farewell = 0,  ///< all is done
  aborted = 1,
  protocol = 2,    ///< the other side broke the protocol
  unexpected = 3,  ///< nobody expects this lane
  refused = 4,     ///< memory was used that was never granted
};

class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
  virtual void on_handshake_done() = 0;
  /// Errors end the connection.
  virtual Status on_stream_bytes(std::span<const std::byte> bytes) = 0;
  virtual void on_stream_acknowledged(uint64_t offset) = 0;
  virtual Status on_datagram(std::span<const std::byte> datagram) = 0;
  virtual void on_datagram_acknowledged(uint64_t number) = 0;
  virtual void on_datagram_lost(uint64_t number) = 0;
  /// Packets with this id are for this connection from now on, or no more.
  virtual void on_cid(const Cid& cid) = 0;
  virtual void on_cid_gone(const Cid& cid) = 0;
};

class Session {
 public:
  struct Setup {
    net::Endpoint local;
    net::Endpoint remote = {};
    Duration idle_timeout{};
    bool driven = false;  ///< whoever writes packets decides on their size, and when they leave; else the library does
    uint64_t renew_keys_bytes = UINT64_MAX;
    Duration renew_keys_after = Duration::max();
    QlogFolder* qlog = nullptr;  ///< null: no file
    const Secret* secret = nullptr;
    const FillRandom* random = nullptr;
    SessionOwner* owner = nullptr;
    std::unique_ptr<security::QuicSession> tls;
  };
  /// The first packet of a client, as a server reads it before there is a connection.
  struct Initial {
    uint32_t version = 0;
    Cid dcid;
    Cid scid;
    std::span<const std::byte> token;
    std::optional<Cid> original_dcid;  ///< of a client that answered a Retry
  };

  /// Errors: internal, exhausted.
  static Result<std::unique_ptr<Session>> dial(Setup setup, TimePoint now);
  static Result<std::unique_ptr<Session>> accept(Setup setup, const Initial& initial, TimePoint now);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// How it ended, once it did.
  struct Ending {
    Status status;
    bool silent = false;                 ///< nothing may be sent any more: the peer said so, or is gone
    std::optional<CloseCode> said = {};  ///< what the peer's application gave as its reason
    int library_error = 0;
    int alert = -1;  ///< of TLS, to be told to the peer
  };
  const std::optional<Ending>& ending() const noexcept { return ending_; }

  /// A packet came, at `now` or a little before: what the peer is told of how long it waited for its acknowledgement counts
  /// from then. May call the owner.
  void read(std::span<const std::byte> packet, uint8_t ecn, const net::Endpoint& local, const net::Endpoint& remote,
            TimePoint now);
  /// Something is due.
  void on_expiry(TimePoint now);
  std::optional<TimePoint> expiry() const;

  /// A packet to be sent; of no bytes: there is nothing that may be sent now.
  struct Packet {
    size_t bytes = 0;
    uint8_t ecn = 0;
    net::Endpoint remote = {};
  };
  // They write one packet into `out`. What else is due goes with it, or instead of what was asked for.
  /// `taken`: how many bytes of the stream went with it.
  Packet write_stream(std::span<std::byte> out, std::span<const std::byte> bytes, size_t& taken, TimePoint now);
  /// `taken`: whether the datagram, which has `number`, went with it. Its parts are `header` and `payload`.
  Packet write_datagram(std::span<std::byte> out, uint64_t number, std::span<const std::byte> header,
                        std::span<const std::byte> payload, bool& taken, TimePoint now);
  /// Before datagrams are written: the library sets no timer for what it would not repeat. Without one, and with nothing but
  /// lost datagrams in its window, it would be silent for ever. If none is set, the next packet has something to be repeated.
  void watch_flight();
  Packet write_rest(std::span<std::byte> out, TimePoint now);
  /// The last one. Nothing may be called but this again afterwards.
  Packet write_close(std::span<std::byte> out, CloseCode code, std::string_view reason, TimePoint now);

  /// The longest datagram that fits into a packet of `limit_bytes` (at least 1200) to this peer now.
  size_t max_datagram_bytes(size_t limit_bytes) const;
  bool handshake_done() const noexcept;
  /// Where packets go now. The peer's address may change.
  net::Endpoint remote() const;
  /// Opens the connection's one stream. For the side that dialed, after the handshake. False: the peer permits none.
  bool open_stream();
  /// Says something after so long without a packet.
  void keep_alive(Duration every);
  /// Renews the keys if they have protected enough or are old, and the library finds that the last renewal is over. Between
  /// packets, every now and then.
  void renew_keys_if_due(TimePoint now);
  /// By either side.
  uint64_t key_renewals() const noexcept { return key_generations_ > 0 ? key_generations_ - 1 : 0; }
  /// Packets that the peer got with a congestion mark, since the last call.
  uint64_t take_marks() noexcept { return marks_.take(); }
  /// How long the peer had the newest packet that it acknowledged before it said so, by its own account and as far as RFC 9002
  /// section 5.3 believes it; zero if it acknowledged none since the last call.
  Duration take_ack_delay() noexcept;

  struct Stats {
    Duration rtt_smoothed{};
    Duration rtt_min{};
    Duration rtt_latest{};
    uint64_t library_window_bytes = 0;
    uint64_t bytes_in_flight = 0;
    Duration probe_timeout{};
    uint64_t probe_timeouts = 0;  ///< since something was acknowledged
  };
  Stats stats() const;
  const security::QuicSession& tls() const noexcept { return *setup_.tls; }
  /// For tests that misbehave.
  ngtcp2_conn* native() const noexcept { return conn_; }

 private:
  struct Callbacks;
  struct Link;
  explicit Session(Setup setup);
  void failed(int error);
  void on_ack(const AckFrame& ack);
  uint64_t stamp_of(TimePoint now) noexcept;
  void peer_closed();
  void rename_peer();
  Packet packet_of(int64_t written);
  void fail_by(Status status);
  void open_qlog(std::string_view original_dcid, bool dials);

  Setup setup_;
  std::unique_ptr<Link> link_;  // what the library's TLS glue finds us by, and addresses it writes to
  std::unique_ptr<QlogFile> qlog_;
  ngtcp2_conn* conn_ = nullptr;
  int64_t stream_ = -1;
  Marks marks_;
  TimePoint latest_;  // that the library was told: for it time does not go back
  uint64_t largest_acknowledged_ = 0;
  uint64_t ack_delay_ = 0;  // in the peer's units
  // Since this side renewed the keys.
  uint64_t bytes_with_key_ = 0;
  uint64_t packets_with_key_ = 0;
  std::optional<TimePoint> key_since_;
  uint64_t key_generations_ = 0;  // beside the first: the next one is made when the last renewal is over
  uint16_t peer_name_ = 0;        // under which the library is shown the peer's address
  TimePoint handled_{};           // when the library did last what was due
  std::optional<Ending> ending_;
  Status callback_failure_;
  bool reset_ = false;
};

// Packets without a connection.
/// What a packet says of itself.
struct Envelope {
  bool readable = false;
  bool wants_version = false;  ///< it is of another version: answer by write_version_negotiation()
  bool is_long = false;
  uint32_t version = 0;
  std::string_view dcid;
  std::string_view scid;
};
Envelope read_envelope(std::span<const std::byte> packet) noexcept;
/// Absent: no packet that a connection could begin with.
std::optional<Session::Initial> read_initial(std::span<const std::byte> packet);

size_t write_version_negotiation(std::span<std::byte> out, const Envelope& envelope, const FillRandom& random);
size_t write_stateless_reset(std::span<std::byte> out, std::string_view dcid, const Secret& secret, const FillRandom& random);
size_t write_retry(std::span<std::byte> out, const Session::Initial& initial, const net::Endpoint& remote, const Secret& secret,
                   const FillRandom& random, TimePoint now);
/// The id that the client had chosen first, if the token is ours, of this client and fresh.
std::optional<Cid> check_retry_token(const Session::Initial& initial, const net::Endpoint& remote, const Secret& secret,
                                     TimePoint now);
/// Tells a client without a connection that it can't have one (a token that is none).
size_t write_refusal(std::span<std::byte> out, const Session::Initial& initial);

}  // namespace haul::quic
