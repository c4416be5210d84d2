// Operations whose completions are a path's acknowledgements: window, pace, silence, and nonsense.
#include "congestion/operation_path.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <string>
#include <vector>

#include "base/random.h"
#include "congestion/recorder.h"

namespace {

using namespace std::chrono_literals;
using haul::CongestionController;
using haul::Duration;
using haul::TimePoint;
using haul::base::Random;
using haul::congestion::OperationPath;
using haul::congestion::PathLimit;

constexpr TimePoint start(1000s);
constexpr uint32_t operation = 1U << 18;
constexpr uint64_t max_window = uint64_t{1} << 30;

std::unique_ptr<CongestionController> controller(std::string_view name, uint64_t rate = 125'000'000, uint64_t window = 0) {
  haul::ControllerOptions options;
  options.packet_bytes = operation;
  options.max_window_bytes = max_window;
  options.fixed_rate = rate;
  options.fixed_window_bytes = window;
  return haul::congestion::make(name, options).value();
}

/// What is posted goes through a link of a rate and comes back after a delay, in virtual time.
struct Link {
  OperationPath path{operation};
  double bytes_s = 125e6;
  Duration delay = 100ms;
  TimePoint now = start;
  TimePoint free_at = start;
  std::deque<std::pair<TimePoint, OperationPath::Ticket>> under_way;
  uint64_t delivered = 0;
  uint64_t most_outstanding = 0;
  bool dead = false;

  void post() {
    const auto takes = Duration(static_cast<int64_t>(operation * 1e9 / bytes_s));
    free_at = std::max(free_at, now) + takes;
    under_way.emplace_back(free_at + delay, path.posted(now, operation));
    most_outstanding = std::max(most_outstanding, path.in_flight_bytes());
  }
  void run_for(Duration time) {
    const TimePoint end = now + time;
    while (now < end) {
      while (!dead && !under_way.empty() && under_way.front().first <= now) {
        path.ended(now, under_way.front().second, OperationPath::End::arrived);
        delivered += operation;
        under_way.pop_front();
      }
      path.settle();
      path.notice_silence(now);
      while (path.admits(now, 0, operation)) post();
      TimePoint next = end;
      if (!dead && !under_way.empty()) next = std::min(next, under_way.front().first);
      if (const auto deadline = path.deadline(true)) next = std::min(next, *deadline);
      REQUIRE(next >= now);
      now = std::max(next, now + 1ns);
    }
  }
};

}  // namespace

TEST_CASE("operations stay within the window, one at least goes") {
  OperationPath path(operation);
  path.steer_by(controller("fixed", 1'000'000'000, 2 * operation));
  CHECK(path.admits(start, 0, operation));
  const auto first = path.posted(start, operation);
  CHECK(path.admits(start + 1s, 0, operation));
  CHECK_FALSE(path.admits(start + 1s, 1, operation));
  path.posted(start + 1s, operation);
  CHECK_FALSE(path.admits(start + 2s, 0, 1));
  CHECK(path.limit() == PathLimit::window);
  path.ended(start + 2s, first, OperationPath::End::arrived);
  path.settle();
  CHECK(path.in_flight_bytes() == operation);
  CHECK(path.admits(start + 2s, 0, operation));
  // One of more than the window has its turn when it is alone.
  CHECK_FALSE(path.admits(start + 2s, 0, 3 * operation));
  OperationPath empty(operation);
  empty.steer_by(controller("fixed", 1'000'000'000, 2 * operation));
  CHECK(empty.admits(start, 0, 100 * operation));
  CHECK_FALSE(empty.admits(start, 100 * operation, 1));
}

TEST_CASE("without a controller a path measures and limits nothing") {
  OperationPath path(operation);
  std::vector<OperationPath::Ticket> tickets;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(path.admits(start, 0, operation));
    tickets.push_back(path.posted(start, operation));
  }
  for (const auto ticket : tickets) path.ended(start + 7ms, ticket, OperationPath::End::arrived);
  path.settle();
  CHECK(path.rtt().lowest() == 7ms);
  CHECK(path.arrived_operations() == 100);
  CHECK_FALSE(path.deadline(true));
}

TEST_CASE("operations leave at the pace of the rate") {
  for (const uint64_t rate : {uint64_t{1'000'000}, uint64_t{125'000'000}, uint64_t{5'000'000'000}}) {
    CAPTURE(rate);
    OperationPath path(operation);
    path.steer_by(controller("fixed", rate, max_window));
    TimePoint now = start;
    uint64_t sent = 0;
    std::deque<OperationPath::Ticket> under_way;
    while (now < start + 2s) {
      while (path.admits(now, 0, operation)) {
        under_way.push_back(path.posted(now, operation));
        sent += operation;
      }
      const auto deadline = path.deadline(true);
      REQUIRE(deadline);
      REQUIRE(*deadline > now);
      now = *deadline;
      path.notice_silence(now);
    }
    const uint64_t allowed = 2 * rate + 4 * operation;  // a burst, and the last one before the end
    CHECK(sent <= allowed);
    CHECK(sent + 4 * operation >= std::min(2 * rate, max_window));
  }
}

TEST_CASE("a fast pace is kept by an engine that looks five times a millisecond") {
  constexpr uint64_t rate = 12'500'000'000;
  OperationPath path(operation);
  path.steer_by(controller("fixed", rate, max_window));
  uint64_t sent = 0;
  for (TimePoint now = start; now < start + 1s; now += 200us) {
    while (path.admits(now, 0, operation)) {
      path.ended(now, path.posted(now, operation), OperationPath::End::arrived);
      sent += operation;
    }
  }
  CHECK(sent >= rate / 100 * 99);
  CHECK(sent <= rate / 100 * 101);
}

TEST_CASE("no pace holds the only operation back for long") {
  OperationPath path(operation);
  path.steer_by(controller("fixed", 1, max_window));
  const auto first = path.posted(start, operation);
  CHECK_FALSE(path.admits(start + 5s, 0, operation));
  path.ended(start + 10ms, first, OperationPath::End::arrived);
  path.settle();
  CHECK_FALSE(path.admits(start + 20ms, 0, operation));
  const auto deadline = path.deadline(true);
  REQUIRE(deadline);
  CHECK(*deadline <= start + 1s);
  CHECK(path.admits(start + 1s, 0, operation));
  // Whoever does not post then has another reason, which the path does not know of: no moment that has passed is a deadline.
  CHECK_FALSE(path.deadline(true));
}

TEST_CASE("the window grows to what the path holds, and the path is used") {
  for (const std::string_view name : {"hub", "bbr", "cubic"}) {
    CAPTURE(name);
    Link link;  // 1 Gbit/s and 100 ms hold 12.5 MB
    link.path.steer_by(controller(name));
    link.run_for(5s);
    const uint64_t before = link.delivered;
    link.most_outstanding = 0;
    link.run_for(10s);
    CHECK(static_cast<double>(link.delivered - before) > 0.9 * 10 * link.bytes_s);
    CHECK(link.most_outstanding > 12'500'000);
    if (name == "hub") CHECK(link.most_outstanding < 16'000'000);
  }
}

TEST_CASE("silence lets single operations through, and what follows it all") {
  Link link;
  link.path.steer_by(controller("hub"));
  link.run_for(5s);
  link.dead = true;
  link.run_for(1s);
  CHECK(link.path.silent());
  const size_t before = link.under_way.size();
  link.run_for(2s);
  const size_t probes = link.under_way.size() - before;
  CHECK(probes >= 3);
  CHECK(probes <= 21);  // one each tenth of a second
  link.dead = false;
  link.run_for(1s);
  CHECK_FALSE(link.path.silent());
  const uint64_t delivered = link.delivered;
  link.run_for(5s);
  CHECK(static_cast<double>(link.delivered - delivered) > 0.8 * 5 * link.bytes_s);
}

TEST_CASE("what ended while nobody looked is no silence") {
  OperationPath path(operation);
  path.steer_by(controller("hub"));
  const auto first = path.posted(start, operation);
  path.ended(start + 10ms, first, OperationPath::End::arrived);
  path.settle();
  const auto second = path.posted(start + 10ms, operation);
  // Its owner comes two seconds late, and learns of the end only now.
  const TimePoint late = start + 2s;
  path.settle();
  CHECK(path.admits(late, 0, operation));
  path.ended(late, second, OperationPath::End::arrived);
  CHECK_FALSE(path.notice_silence(late));
  CHECK_FALSE(path.silent());
  path.posted(late, operation);
  CHECK_FALSE(path.notice_silence(late + 2s - 1ns));
  CHECK(path.notice_silence(late + 5s));
  CHECK(path.silent());
}

TEST_CASE("a silent path with nothing outstanding wakes nobody") {
  OperationPath path(operation);
  path.steer_by(controller("hub"));
  const auto ticket = path.posted(start, operation);
  CHECK(path.notice_silence(start + 5s));
  CHECK(path.deadline(false));
  path.ended(start + 6s, ticket, OperationPath::End::lost);
  CHECK_FALSE(path.deadline(false));
  CHECK_FALSE(path.notice_silence(start + 1h));
  // The next one is the probe, and what it meets decides.
  REQUIRE(path.admits(start + 1h, 0, operation));
  const auto probe = path.posted(start + 1h, operation);
  CHECK(path.deadline(false));
  path.ended(start + 1h + 10ms, probe, OperationPath::End::arrived);
  path.settle();
  CHECK_FALSE(path.silent());
  CHECK_FALSE(path.deadline(false));
}

TEST_CASE("lost operations are no longer in flight, and slow cubic down") {
  OperationPath path(operation);
  path.steer_by(controller("cubic"));
  TimePoint now = start;
  for (int round = 0; round < 8; ++round, now += 10ms) {
    std::vector<OperationPath::Ticket> tickets;
    while (path.window_bytes() >= path.in_flight_bytes() + operation) tickets.push_back(path.posted(now, operation));
    for (const auto ticket : tickets) path.ended(now + 10ms, ticket, OperationPath::End::arrived);
    path.settle();
  }
  const uint64_t before = path.window_bytes();
  const auto ticket = path.posted(now, operation);
  path.ended(now + 10ms, ticket, OperationPath::End::lost);
  CHECK(path.in_flight_bytes() == 0);
  CHECK(path.window_bytes() < before);
  const uint64_t after = path.window_bytes();
  const auto wrong = path.posted(now + 20ms, operation);
  path.ended(now + 30ms, wrong, OperationPath::End::withdrawn);
  CHECK(path.in_flight_bytes() == 0);
  CHECK(path.window_bytes() == after);
  path.ended(now + 30ms, wrong, OperationPath::End::arrived);  // once only
  path.ended(now + 30ms, 77, OperationPath::End::arrived);
  path.ended(now + 30ms, 0, OperationPath::End::arrived);
  CHECK(path.arrived_operations() > 0);
  CHECK(path.in_flight_bytes() == 0);
}

TEST_CASE("what lanes do not take is told as held back, and as nothing else what there is too little of") {
  const auto why = GENERATE(PathLimit::backend, PathLimit::budget, PathLimit::nothing_to_send);
  OperationPath path(operation);
  auto recorder = std::make_unique<haul::congestion::Recorder>();
  const auto* told = recorder.get();
  recorder->window = max_window;
  recorder->rate.reset();
  path.steer_by(std::move(recorder));
  TimePoint now = start;
  const auto round = [&](PathLimit limit) {
    const auto first = path.posted(now, operation);
    path.on_unused(limit);
    const auto second = path.posted(now, operation);
    path.ended(now + 1ms, first, OperationPath::End::arrived);
    path.ended(now + 2ms, second, OperationPath::End::arrived);
    path.settle();
    now += 10ms;
    return told->acks.back();
  };
  CHECK(round(why).app_limited);
  CHECK(told->acks.back().held_back == (why == PathLimit::backend));
  // Too little to send, and then lanes that take no more, is too little until all of that has arrived.
  const auto before = path.posted(now, operation);
  path.on_unused(PathLimit::nothing_to_send);
  CHECK_FALSE(round(PathLimit::backend).held_back);
  path.ended(now, before, OperationPath::End::arrived);
  path.settle();
  round(PathLimit::backend);
  CHECK(round(PathLimit::backend).held_back);
  CHECK(told->acks.back().app_limited);
}

TEST_CASE("a random walk leaves no operation unaccounted for") {
  for (const std::string_view name : haul::congestion::names()) {
    for (uint64_t seed = 1; seed <= 30; ++seed) {
      CAPTURE(name, seed);
      Random random(seed);
      OperationPath path(operation);
      path.steer_by(controller(name));
      TimePoint now = start;
      std::vector<std::pair<OperationPath::Ticket, uint64_t>> open;
      uint64_t outstanding = 0;
      for (int step = 0; step < 3000; ++step) {
        // The clock runs, stands still, and now and then goes back.
        if (random.chance(0.6)) now += Duration(static_cast<int64_t>(random.below(20'000'000)));
        if (random.chance(0.01)) now -= Duration(static_cast<int64_t>(random.below(1'000'000'000)));
        const uint64_t bytes = 1 + random.below(operation);
        if (random.chance(0.5) && path.admits(now, 0, bytes)) {
          REQUIRE((outstanding == 0 || outstanding + bytes <= path.window_bytes() || path.silent()));
          open.emplace_back(path.posted(now, bytes), bytes);
          outstanding += bytes;
        } else if (!open.empty()) {
          const size_t which = random.below(open.size());
          const auto end = random.chance(0.9) ? OperationPath::End::arrived : static_cast<OperationPath::End>(random.below(3));
          path.ended(now, open[which].first, end);
          outstanding -= open[which].second;
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
        }
        if (random.chance(0.3)) path.settle();
        if (random.chance(0.3)) path.notice_silence(now);
        if (random.chance(0.1)) path.on_unused(PathLimit::nothing_to_send);
        REQUIRE(path.in_flight_bytes() == outstanding);
        REQUIRE(path.window_bytes() >= 1);
      }
      for (const auto& [ticket, bytes] : open) path.ended(now, ticket, OperationPath::End::arrived);
      path.settle();
      REQUIRE(path.in_flight_bytes() == 0);
      REQUIRE(path.admits(now + 2h, 0, operation));
    }
  }
}
