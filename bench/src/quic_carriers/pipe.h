// One direction of a long link, in virtual time: packets leave at its rate, and arrive after its delay, late, or not at all.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/random.h"
#include "haul/time.h"

namespace carriers {

inline constexpr size_t packet_bytes = 1452;

class Pipe {
 public:
  struct Options {
    uint64_t rate_bytes_s = 0;
    haul::Duration delay{};
    double loss = 0;
    double reorder = 0;  ///< of being held back, so that others overtake
    haul::Duration held_back{};
  };
  Pipe(const Options& options, uint64_t seed) : options_(options), random_(seed) {}

  /// Where the next packet is to be written: nothing else copies it.
  std::span<std::byte> room() {
    if (free_.empty()) {
      slots_.push_back(std::make_unique<Slot>());
      free_.push_back(slots_.back().get());
    }
    return *free_.back();
  }
  /// What room() gave holds a packet of so many bytes.
  void push(size_t bytes, haul::TimePoint now) {
    busy_until_ = std::max(busy_until_, now) + time_for(bytes);
    const bool lost = random_.chance(options_.loss);
    const bool late = random_.chance(options_.reorder);
    if (lost) return;
    auto& way = late ? late_ : straight_;
    way.push_back({busy_until_ + options_.delay + (late ? options_.held_back : haul::Duration::zero()), free_.back(), bytes});
    free_.pop_back();
  }
  /// The next packet that has arrived, until the next room(); empty: none has.
  std::span<const std::byte> pop(haul::TimePoint now) {
    const bool late_next = !late_.empty() && (straight_.empty() || late_.front().at < straight_.front().at);
    auto& way = late_next ? late_ : straight_;
    if (way.empty() || way.front().at > now) return {};
    const Packet packet = way.front();
    way.pop_front();
    free_.push_front(packet.slot);
    return std::span(*packet.slot).first(packet.bytes);
  }
  /// Until when what was sent keeps the link busy.
  haul::TimePoint busy_until() const noexcept { return busy_until_; }

 private:
  using Slot = std::array<std::byte, packet_bytes>;
  struct Packet {
    haul::TimePoint at;
    Slot* slot;
    size_t bytes;
  };
  haul::Duration time_for(size_t bytes) const noexcept {
    return haul::Duration(static_cast<int64_t>(bytes * 1'000'000'000U / options_.rate_bytes_s));
  }

  Options options_;
  haul::base::Random random_;
  haul::TimePoint busy_until_{};
  std::deque<Packet> straight_;
  std::deque<Packet> late_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::deque<Slot*> free_;
};

}  // namespace carriers
