// The loop over two ends and the two directions between them, in steps of virtual time.
#include "quic_carriers/run.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "measure/durations.h"
#include "measure/usage.h"

namespace carriers {

using bench::seconds;
using haul::Duration;
using haul::TimePoint;
using namespace std::chrono_literals;

namespace {

// Packets are handed over in bunches, as sockets with segmentation offload do: at 500 Mbit/s 22 of them.
constexpr Duration step = 500us;
// The library's clock must not begin at zero.
constexpr TimePoint start{1000s};
constexpr Duration patience = 10min;
// Of a packet with payload: at most so much are headers, ours included.
constexpr size_t most_header_bytes = 64;

class Transfer {
 public:
  explicit Transfer(const Run& run)
      : run_(run), forth_(run.link, run.seed), back_(run.link, run.seed + 1), carrier_(carrier_of(run)) {
    const double bdp_bytes = static_cast<double>(run.link.rate_bytes_s) * 2 * seconds(run.link.delay);
    // Enough for what is lost twice: flow control is not what is measured.
    constexpr uint64_t least_window_bytes = 1U << 20;
    window_bytes_ = 4 * static_cast<uint64_t>(bdp_bytes) + least_window_bytes;
    sender_ = std::make_unique<Endpoint>(setup(1), now_);
  }

  Figures run() {
    while (!began_ && move_on()) {
    }
    const TimePoint began = now_;
    const uint64_t cpu_ns = bench::cpu_time_ns();
    while (!carrier_->done() && move_on()) {
    }
    figures_.cpu_s = static_cast<double>(bench::cpu_time_ns() - cpu_ns) / 1e9;
    figures_.virtual_s = seconds(now_ - began);
    figures_.cipher = sender_->cipher();
    if (!carrier_->done()) {
      figures_.failure = !sender_->failure().empty()                  ? "sender: " + sender_->failure()
                         : receiver_ && !receiver_->failure().empty() ? "receiver: " + receiver_->failure()
                                                                      : "not over in time";
    }
    return figures_;
  }

 private:
  static std::unique_ptr<Carrier> carrier_of(const Run& run) {
    if (run.streams > 0) return std::make_unique<Streams>(run.streams, run.source, run.target);
    return std::make_unique<Datagrams>(run.source, run.target);
  }
  Endpoint::Setup setup(uint64_t end) const {
    return {.security = run_.security,
            .listener = carrier_.get(),
            .seed = run_.seed * 2 + end,
            .window_bytes = window_bytes_,
            .streams = run_.streams};
  }

  // False: nothing more will come of it.
  bool move_on() {
    now_ += step;
    deliver();
    for (Endpoint* end : {sender_.get(), receiver_.get()}) {
      if (end != nullptr) end->expire(now_);
    }
    if (receiver_) flush(*receiver_, back_);
    if (!began_ && sender_->handshake_done()) begin();
    if (began_) send();
    flush(*sender_, forth_);
    if (began_) weigh();
    return now_ - start < patience && sender_->failure().empty() && (!receiver_ || receiver_->failure().empty());
  }

  void deliver() {
    for (auto packet = forth_.pop(now_); !packet.empty(); packet = forth_.pop(now_)) {
      if (!receiver_) {
        const auto initial = haul::quic::read_initial(packet);
        if (!initial) throw std::runtime_error("the first packet begins no connection");
        receiver_ = std::make_unique<Endpoint>(setup(0), *initial, now_);
      }
      receiver_->read(packet, now_);
    }
    for (auto packet = back_.pop(now_); !packet.empty(); packet = back_.pop(now_)) sender_->read(packet, now_);
  }

  void begin() {
    began_ = true;
    carrier_->begin(*sender_);
    for (Endpoint* end : {sender_.get(), receiver_.get()}) end->memory().most = end->memory().now;
    idle_sender_bytes_ = sender_->memory().now;
    idle_receiver_bytes_ = receiver_->memory().now;
  }

  // Payload at the rate of the link, so that no queue is needed: what a controller that knows the path would do.
  void send() {
    while (forth_.busy_until() < now_ + step) {
      const Written packet = carrier_->write(*sender_, forth_.room(), now_);
      if (packet.bytes == 0) return;
      push(packet);
    }
  }

  // Also so that the library's own controller believes that there is too little to send, as transports/quic does.
  void flush(Endpoint& end, Pipe& way) {
    for (size_t bytes = end.write_rest(way.room(), now_); bytes > 0; bytes = end.write_rest(way.room(), now_)) {
      if (&way == &forth_ && began_) {
        push({.bytes = bytes});
      } else {
        way.push(bytes, now_);
      }
    }
  }

  void push(const Written& packet) {
    figures_.sent_bytes += packet.bytes;
    figures_.repeated_bytes += packet.bytes - std::min(packet.bytes, packet.fresh_bytes + most_header_bytes);
    forth_.push(packet.bytes, now_);
  }

  void weigh() {
    const auto beside = [](MemoryCount& count, size_t idle_bytes) {
      return std::max(std::exchange(count.most, count.now), idle_bytes) - idle_bytes;
    };
    figures_.sender_bytes =
        std::max(figures_.sender_bytes, beside(sender_->memory(), idle_sender_bytes_) + carrier_->sender_bytes());
    figures_.receiver_bytes =
        std::max(figures_.receiver_bytes, beside(receiver_->memory(), idle_receiver_bytes_) + carrier_->receiver_bytes());
  }

  const Run& run_;
  Pipe forth_;
  Pipe back_;
  std::unique_ptr<Carrier> carrier_;
  uint64_t window_bytes_ = 0;
  std::unique_ptr<Endpoint> sender_;
  std::unique_ptr<Endpoint> receiver_;
  TimePoint now_ = start;
  bool began_ = false;
  size_t idle_sender_bytes_ = 0;
  size_t idle_receiver_bytes_ = 0;
  Figures figures_;
};

}  // namespace

Figures transfer(const Run& run) {
  std::ranges::fill(run.target, std::byte{0});
  Figures figures = Transfer(run).run();
  if (figures.failure.empty() && !std::ranges::equal(run.source, run.target)) {
    throw std::runtime_error("what arrived is not what was sent");
  }
  return figures;
}

}  // namespace carriers
