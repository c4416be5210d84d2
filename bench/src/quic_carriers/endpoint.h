// One end of a QUIC connection by ngtcp2 0.12 and GnuTLS, set up as transports/quic does it, with all its memory counted.
#pragma once

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/random.h"
#include "haul/time.h"
#include "quic/session.h"
#include "security/quic_session.h"

namespace carriers {

/// What a way of carrying hears of both ends.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void on_stream_data(int64_t stream, uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void on_datagram(std::span<const std::byte> datagram) = 0;
  virtual void on_datagram_acknowledged(uint64_t number) = 0;
  virtual void on_datagram_lost(uint64_t number) = 0;
};

/// What the library holds, and the most of it since a point in time.
struct MemoryCount {
  size_t now = 0;
  size_t most = 0;
};

class Endpoint {
 public:
  struct Setup {
    std::shared_ptr<const haul::SecurityContext> security;
    Listener* listener = nullptr;
    uint64_t seed = 0;
    uint64_t window_bytes = 0;  ///< of flow control: of the connection, and of each stream
    uint64_t streams = 0;       ///< that the side that dials may open
  };
  /// The side that dials; with the first packet of one, the other. They throw std::runtime_error.
  Endpoint(const Setup& setup, haul::TimePoint now);
  Endpoint(const Setup& setup, const haul::quic::Session::Initial& initial, haul::TimePoint now);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  void read(std::span<const std::byte> packet, haul::TimePoint now);
  void expire(haul::TimePoint now);

  // They write a packet, and return its size; 0: there is nothing that may be sent now.
  size_t write_stream(std::span<std::byte> out, int64_t stream, std::span<const std::byte> bytes, size_t& taken, bool& blocked,
                      haul::TimePoint now);
  size_t write_datagram(std::span<std::byte> out, uint64_t number, std::span<const std::byte> header,
                        std::span<const std::byte> payload, bool& taken, haul::TimePoint now);
  size_t write_rest(std::span<std::byte> out, haul::TimePoint now);

  int64_t open_stream();
  bool handshake_done() const noexcept { return ngtcp2_conn_get_handshake_completed(conn_) != 0; }
  haul::Duration probe_timeout() const noexcept;
  std::string cipher() const { return tls_->cipher(); }
  /// Why the library gave up; empty: it did not.
  const std::string& failure() const noexcept { return failure_; }
  MemoryCount& memory() noexcept { return memory_; }

 private:
  struct Callbacks;
  Endpoint(const Setup& setup, bool dials);
  ngtcp2_settings settings(haul::TimePoint now);
  ngtcp2_transport_params parameters(bool dials) const;
  ngtcp2_cid draw_cid(size_t bytes);
  void note(int error);
  size_t written(ngtcp2_ssize bytes);
  void watch_flight();

  Setup setup_;
  MemoryCount memory_;
  ngtcp2_mem allocator_{};
  haul::base::Random random_;
  std::unique_ptr<haul::security::QuicSession> tls_;
  ngtcp2_crypto_conn_ref reference_{};
  ngtcp2_conn* conn_ = nullptr;
  std::string failure_;
};

}  // namespace carriers
