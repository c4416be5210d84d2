// What may be sent, and when: a congestion controller of ours fed by the fate of each packet with payload, and a pacer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "congestion/pacer.h"
#include "congestion/path_model.h"
#include "haul/congestion.h"

namespace haul::quic {

class Gate {
 public:
  explicit Gate(std::unique_ptr<CongestionController> controller)
      : controller_(std::move(controller)), pacer_(congestion::Pacer::Options()) {}

  /// A packet with payload may leave. Packets leave in bursts, as large as the pacer likes them (Pacer::quantum_bytes()).
  bool open(TimePoint now) noexcept;
  /// No more packets for the moment: the burst is over.
  void pause(TimePoint now);
  /// When it opens, if only pacing keeps it closed.
  std::optional<TimePoint> opens() const noexcept {
    const bool may = window_open() && !path_.silent();
    return may ? std::optional(pacer_.next()) : std::nullopt;
  }

  /// A packet with payload leaves; what is returned belongs with it.
  congestion::SentPacket on_sent(TimePoint now, uint64_t bytes);
  /// Another packet leaves, whose fate nobody tells: it takes its share of the rate.
  void on_other_sent(TimePoint now, uint64_t bytes);
  /// There is nothing to send, although the gate is open.
  void on_idle(TimePoint now) {
    if (window_open() && pacer_.may_send(now)) path_.on_app_limited();
  }

  /// It is open, and the library takes nothing, as while it looks for the peer at a new address. What arrives then says nothing
  /// of the path's rate.
  void on_held_back() { path_.on_app_limited(true); }

  // What came of packets; take() tells the controller of all of them at once.
  /// `came`: when that was told, perhaps some time ago.
  void acknowledged(const congestion::SentPacket& packet, TimePoint came) {
    acknowledged_.push_back(packet);
    told_at_ = came;
  }
  /// So long the peer had held back the acknowledgement of the newest packet.
  void delayed(Duration by) noexcept { ack_delay_ = by; }
  void lost(const congestion::SentPacket& packet) { lost_.push_back(packet); }
  /// So many packets, with payload or not, arrived with a congestion mark.
  void marked(uint64_t packets) { marked_packets_ += packets; }
  /// It is sent again without anybody knowing whether it was lost.
  void withdrawn(congestion::SentPacket packet) { path_.withdrawn(packet); }
  void take(TimePoint now);

  /// No faster than this, whatever the controller says.
  void set_rate_limit(std::optional<uint64_t> bytes_s);

  std::optional<TimePoint> deadline() const noexcept { return path_.deadline(); }
  /// True: one packet should leave now as a probe.
  bool on_timer(TimePoint now);

  const congestion::PathModel& path() const noexcept { return path_; }
  const CongestionController& controller() const noexcept { return *controller_; }
  std::optional<uint64_t> rate() const noexcept { return pacer_.rate(); }
  uint64_t last_delivery_rate() const noexcept { return delivery_rate_; }

 private:
  bool window_open() const noexcept { return path_.in_flight_bytes() < controller_->window_bytes(); }
  void apply_rate();

  std::unique_ptr<CongestionController> controller_;
  congestion::PathModel path_;
  congestion::Pacer pacer_;
  std::optional<uint64_t> rate_limit_;
  std::vector<congestion::SentPacket> acknowledged_;
  std::vector<congestion::SentPacket> lost_;
  TimePoint told_at_;
  Duration ack_delay_ = Duration::zero();
  uint64_t marked_packets_ = 0;  // that the controller has not heard of
  uint64_t delivery_rate_ = 0;
  uint64_t burst_left_ = 0;  // of this burst
  uint64_t burst_sent_ = 0;
  bool waits_for_window_ = false;   // since the last burst
  bool waited_for_window_ = false;  // before it
  bool probe_due_ = false;
};

}  // namespace haul::quic
