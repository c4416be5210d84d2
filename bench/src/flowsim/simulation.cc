// The loop: the sender whose next moment comes first takes a step. Points are taken in between, at regular times.
#include "flowsim/simulation.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "congestion/budget.h"
#include "congestion/numbers.h"
#include "flowsim/link.h"
#include "flowsim/sender.h"
#include "flowsim/steered.h"

namespace flowsim {

namespace {

using haul::congestion::Budget;

// Not zero, so that nothing works only because a time happens to be zero.
constexpr TimePoint simulation_start = TimePoint(std::chrono::seconds(1000));

/// The earliest of many times, found in constant time and changed in logarithmic time.
class Tournament {
 public:
  explicit Tournament(size_t size) {
    while (leaves_ < size) leaves_ *= 2;
    winners_.assign(2 * leaves_, 0);
    times_.assign(leaves_, TimePoint::max());
    for (size_t i = 0; i < leaves_; ++i) winners_[leaves_ + i] = i;
    for (size_t i = leaves_ - 1; i > 0; --i) winners_[i] = winners_[2 * i];
  }
  size_t first() const { return winners_[1]; }
  TimePoint time(size_t index) const { return times_[index]; }
  void set(size_t index, TimePoint time) {
    times_[index] = time;
    for (size_t node = (leaves_ + index) / 2; node > 0; node /= 2) {
      const size_t left = winners_[2 * node];
      const size_t right = winners_[2 * node + 1];
      winners_[node] = times_[right] < times_[left] ? right : left;
    }
  }

 private:
  size_t leaves_ = 2;
  std::vector<size_t> winners_;
  std::vector<TimePoint> times_;
};

class Simulation {
 public:
  explicit Simulation(const Scenario& scenario)
      : scenario_(scenario),
        end_(simulation_start + scenario.duration),
        bottleneck_(scenario.link, simulation_start, scenario.seed),
        wire_{&bottleneck_, &scenario.link, scenario.payload_bytes, scenario.header_bytes, scenario.burst_packets},
        turns_(scenario.flows.size()),
        senders_(scenario.flows.size()) {
    // Fine enough for the shortest of times that are judged, and bounded.
    point_every_ = std::max<Duration>(std::chrono::milliseconds(1), scenario.duration / 20000);
    for (const Tenant& tenant : scenario.tenants) {
      Budget::Options options;
      options.rate_bytes_s = tenant.rate_bytes_s;
      budgets_.push_back(std::make_unique<Budget>(options, simulation_start));
    }
  }

  haul::Status prepare() {
    for (size_t i = 0; i < scenario_.flows.size(); ++i) {
      const Flow& flow = scenario_.flows[i];
      FlowResult& flow_result = result_.flows.emplace_back();
      flow_result.name = flow.name;
      flow_result.controller = flow.controller;
      flow_result.rival = flow.rival;
      if (!flow.resumes.empty()) continue;
      if (haul::Status status = add(i, simulation_start + flow.start, {}); !status.ok()) return status;
    }
    return {};
  }

  haul::Status run() {
    while (next_point_ <= end_) {
      const size_t first = turns_.first();
      const TimePoint now = turns_.time(first);
      while (next_point_ <= end_ && next_point_ < now) {
        take_point();
        if (all_over()) return finish();
      }
      if (now > end_) break;
      senders_[first]->step(now);
      turns_.set(first, senders_[first]->next());
      if (senders_[first]->finished()) {
        if (haul::Status status = start_successors(first, now); !status.ok()) return status;
      }
    }
    return finish();
  }

  SimulationResult take() { return std::move(result_); }

 private:
  haul::Status add(size_t index, TimePoint at, const std::optional<haul::PathMemory>& memory) {
    const Flow& flow = scenario_.flows[index];
    haul::ControllerOptions options = flow.options;
    options.packet_bytes = scenario_.payload_bytes;
    if (memory) options.memory = memory;
    auto controller = haul::congestion::make(flow.controller, options);
    if (!controller) return controller.status();
    if (flow.steered)
      *controller = std::make_unique<Steered>(std::move(*controller), haul::congestion::initial_window(options));
    Budget* budget = nullptr;
    for (size_t i = 0; i < scenario_.tenants.size(); ++i) {
      if (scenario_.tenants[i].name == flow.tenant) budget = budgets_[i].get();
    }
    senders_[index] = std::make_unique<Sender>(flow, wire_, std::move(*controller), at, budget);
    result_.flows[index].started_at = at - simulation_start;
    turns_.set(index, at);
    return {};
  }

  haul::Status start_successors(size_t ended, TimePoint now) {
    for (size_t i = 0; i < scenario_.flows.size(); ++i) {
      const Flow& flow = scenario_.flows[i];
      if (senders_[i] || flow.resumes != scenario_.flows[ended].name) continue;
      if (haul::Status status = add(i, now + flow.start, senders_[ended]->controller().memory()); !status.ok()) return status;
    }
    return {};
  }

  bool all_over() const {
    for (const auto& sender : senders_) {
      if (!sender || !sender->finished()) return false;
    }
    return true;
  }

  void take_point() {
    result_.times.push_back(next_point_ - simulation_start);
    result_.queue_delays.push_back(bottleneck_.queue_delay(next_point_));
    result_.capacity_bytes.push_back(bottleneck_.capacity_bytes(simulation_start, next_point_));
    for (size_t i = 0; i < senders_.size(); ++i) {
      FlowPoint point;
      if (senders_[i]) {
        const Sender& sender = *senders_[i];
        point.delivered_bytes = sender.delivered_bytes();
        point.window_bytes = sender.controller().window_bytes();
        point.in_flight_bytes = sender.path().in_flight_bytes();
        point.pacing_bytes_s = sender.controller().pacing_rate().value_or(0);
        point.rtt = sender.path().rtt().latest();
        point.phase = sender.controller().phase();
        point.running = next_point_ >= sender.started_at() && !sender.finished();
      }
      result_.flows[i].points.push_back(point);
    }
    next_point_ += point_every_;
  }

  haul::Status finish() {
    result_.elapsed = std::min(next_point_, end_) - simulation_start;
    for (size_t i = 0; i < senders_.size(); ++i) {
      if (!senders_[i]) continue;
      const Sender& sender = *senders_[i];
      FlowResult& flow = result_.flows[i];
      if (const auto at = sender.finished_at()) flow.took = *at - sender.started_at();
      flow.delivered_bytes = sender.delivered_bytes();
      flow.sent_bytes = sender.sent_bytes();
      flow.lost_bytes = sender.lost_bytes();
      flow.spurious_bytes = sender.spurious_bytes();
      flow.longest_stall = sender.longest_stall();
      flow.memory = sender.controller().memory();
      flow.memory_failed = sender.controller().memory_failed();
    }
    result_.passed_packets = bottleneck_.passed_packets();
    result_.dropped_packets = bottleneck_.dropped_packets();
    result_.lost_packets = bottleneck_.lost_packets();
    return {};
  }

  const Scenario& scenario_;
  TimePoint end_;
  Bottleneck bottleneck_;
  Wire wire_;
  Tournament turns_;
  std::vector<std::unique_ptr<Budget>> budgets_;
  std::vector<std::unique_ptr<Sender>> senders_;
  TimePoint next_point_ = simulation_start;
  Duration point_every_ = Duration::zero();
  SimulationResult result_;
};

}  // namespace

haul::Result<SimulationResult> simulate(const Scenario& scenario) {
  for (const Flow& flow : scenario.flows) {
    const bool known = flow.resumes.empty() || std::any_of(scenario.flows.begin(), scenario.flows.end(),
                                                           [&](const Flow& other) { return other.name == flow.resumes; });
    if (!known) {
      return haul::Status(haul::StatusCode::invalid,
                          "flow \"" + flow.name + "\" resumes \"" + flow.resumes + "\", and no flow has that name");
    }
  }
  Simulation simulation(scenario);
  if (haul::Status status = simulation.prepare(); !status.ok()) return status;
  if (haul::Status status = simulation.run(); !status.ok()) return status;
  return simulation.take();
}

}  // namespace flowsim
