// Segments wait here from the moment at which the bottleneck decided until they arrive.
#include "wan/one_way.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace wan {

namespace {

constexpr uint64_t least_rate_bytes_s = 8'000;         // 64 kbit/s
constexpr uint64_t most_rate_bytes_s = 1'250'000'000;  // 10 Gbit/s
constexpr auto least_rtt = std::chrono::milliseconds(4);
constexpr auto most_rtt = std::chrono::seconds(10);
constexpr uint64_t least_buffer_bytes = 1500;
constexpr double most_memory_bytes = 1e9;

flowsim::Link without_disturbance(const flowsim::Link& link) {
  flowsim::Link quiet;
  quiet.rate_bytes_s = link.rate_bytes_s;
  quiet.rtt = link.rtt;
  quiet.buffer_bytes = link.buffer_bytes;
  return quiet;
}

}  // namespace

std::string complaint(const flowsim::Link& link) {
  const auto out_of_range = [](uint64_t rate) { return rate < least_rate_bytes_s || rate > most_rate_bytes_s; };
  uint64_t highest = link.rate_bytes_s;
  bool wrong = out_of_range(link.rate_bytes_s) || (link.back_rate_bytes_s != 0 && out_of_range(link.back_rate_bytes_s));
  for (const flowsim::RateStep& step : link.steps) {
    wrong = wrong || out_of_range(step.rate_bytes_s);
    highest = std::max(highest, step.rate_bytes_s);
  }
  if (wrong) return "the rate must be from 64K to 10G; beyond that haul-bench sim has virtual time";
  if (std::string wrong = flowsim::contradiction(link); !wrong.empty()) return wrong;
  if (link.rtt < least_rtt) return "the round trip must be at least 4ms: below that too much of it would be the emulator's own";
  if (link.rtt > most_rtt) return "the round trip must be at most 10s";
  if (link.buffer_bytes < least_buffer_bytes) return "the queue must hold at least one packet of 1500 bytes: give it more";
  const double held =
      static_cast<double>(highest) * static_cast<double>(link.rtt.count()) * 1e-9 + 2 * static_cast<double>(link.buffer_bytes);
  if (held > most_memory_bytes) {
    return fmt::format("{:.1f} GB would be under way: at most 1 GB; take less rate, round trip or queue, or haul-bench sim",
                       held * 1e-9);
  }
  if (link.mark_above > Duration::zero()) return "marks (ECN) are not emulated: leave mark_above to haul-bench sim";
  return {};
}

flowsim::Link backward(const flowsim::Link& link) {
  flowsim::Link back = without_disturbance(link);
  if (link.back_rate_bytes_s != 0) {
    back.rate_bytes_s = link.back_rate_bytes_s;
  } else {
    back.steps = link.steps;
  }
  back.outages = link.outages;
  return back;
}

OneWay::OneWay(const flowsim::Link& link, uint64_t seed, TimePoint now)
    : link_(link),
      quiet_(without_disturbance(link)),
      seed_(seed),
      bottleneck_(std::make_unique<flowsim::Bottleneck>(quiet_, now, seed)) {}

void OneWay::begin(TimePoint now) {
  auto disturbed = std::make_unique<flowsim::Bottleneck>(link_, now, seed_);
  disturbed->follow(*bottleneck_);
  bottleneck_ = std::move(disturbed);
}

void OneWay::enter(TimePoint now, const std::shared_ptr<const Packet>& packet) {
  for (uint32_t index = 0; index < packet->segments(); ++index) {
    const flowsim::Passage passage = bottleneck_->pass(now, 1, packet->wire_bytes(index));
    if (passage.arrived_packets > 0) under_way_.push({passage.arrives_at, entered_++, index, packet});
  }
}

std::optional<TimePoint> OneWay::next_due() const {
  return under_way_.empty() ? std::nullopt : std::optional(under_way_.top().due);
}

bool OneWay::take(TimePoint now, Run& run) {
  if (under_way_.empty() || under_way_.top().due > now) return false;
  run = {under_way_.top().packet, under_way_.top().index, 1, under_way_.top().due};
  under_way_.pop();
  while (!under_way_.empty() && under_way_.top().due <= now && under_way_.top().packet == run.packet &&
         under_way_.top().index == run.first + run.count) {
    ++run.count;
    under_way_.pop();
  }
  return true;
}

}  // namespace wan
