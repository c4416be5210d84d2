// The two ways to carry bulk data over one connection: from memory at the sender to the same place at the receiver.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "quic/coverage.h"
#include "quic/pieces.h"
#include "quic_carriers/endpoint.h"

namespace carriers {

/// A packet that was written.
struct Written {
  size_t bytes = 0;
  size_t fresh_bytes = 0;  ///< of the payload, for the first time
};

class Carrier : public Listener {
 public:
  /// The next packet of the sender's: of payload, or where none could be put into one, of what the library has to say.
  virtual Written write(Endpoint& sender, std::span<std::byte> out, haul::TimePoint now) = 0;
  /// The connection is there.
  virtual void begin(Endpoint& sender) = 0;
  virtual bool done() const = 0;
  /// Bookkeeping outside of the library.
  virtual size_t sender_bytes() const = 0;
  virtual size_t receiver_bytes() const = 0;
};

/// DATAGRAM frames with our own bookkeeping: that of transports/quic.
class Datagrams final : public Carrier {
 public:
  Datagrams(std::span<const std::byte> source, std::span<std::byte> target) : source_(source), target_(target) {}

  void begin(Endpoint&) override {}
  Written write(Endpoint& sender, std::span<std::byte> out, haul::TimePoint now) override;
  bool done() const override { return arrived_.covers(0, target_.size()); }
  size_t sender_bytes() const override;
  size_t receiver_bytes() const override;

  void on_stream_data(int64_t, uint64_t, std::span<const std::byte>) override {}
  void on_datagram(std::span<const std::byte> datagram) override;
  void on_datagram_acknowledged(uint64_t number) override;
  void on_datagram_lost(uint64_t number) override;

 private:
  void repeat_what_is_overdue(Endpoint& sender, haul::TimePoint now);

  std::span<const std::byte> source_;
  std::span<std::byte> target_;
  haul::quic::PieceLedger ledger_;
  size_t under_way_ = 0;
  uint64_t next_ = 0;  // of the payload
  haul::TimePoint looked_{};
  haul::quic::Coverage arrived_;
};

/// Streams, each of which carries a stripe of the payload: stripes need no headers.
class Streams final : public Carrier {
 public:
  Streams(size_t streams, std::span<const std::byte> source, std::span<std::byte> target);

  void begin(Endpoint& sender) override;
  Written write(Endpoint& sender, std::span<std::byte> out, haul::TimePoint now) override;
  bool done() const override { return delivered_ == target_.size(); }
  size_t sender_bytes() const override { return 0; }
  size_t receiver_bytes() const override { return 0; }

  void on_stream_data(int64_t stream, uint64_t offset, std::span<const std::byte> bytes) override;
  void on_datagram(std::span<const std::byte>) override {}
  void on_datagram_acknowledged(uint64_t) override {}
  void on_datagram_lost(uint64_t) override {}

 private:
  struct Stripe {
    int64_t stream = -1;
    uint64_t next = 0;  // of the payload
    uint64_t end = 0;
    haul::TimePoint blocked{};  // when flow control was found to hold it
  };
  std::span<const std::byte> source_;
  std::span<std::byte> target_;
  std::vector<Stripe> stripes_;
  uint64_t stripe_bytes_;
  size_t turn_ = 0;
  uint64_t delivered_ = 0;
};

}  // namespace carriers
