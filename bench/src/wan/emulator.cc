// The loop: read what came, deliver what is due, sleep.
#include "wan/emulator.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

namespace wan {

namespace {

constexpr int frames_a_turn = 256;  // then what is due must go out
constexpr Duration watch_beyond = std::chrono::microseconds(200);
constexpr Duration longest_rest = std::chrono::microseconds(300);  // when a packet came is known no better than this
constexpr Duration longest_lead = std::chrono::microseconds(500);
constexpr int64_t lead_smoothing = 32;  // deliveries

bool become_real_time() {
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);  // for where the next line is not permitted
  sched_param parameter{};
  parameter.sched_priority = 10;
  return ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameter) == 0;
}

timespec to_timespec(Duration duration) {
  return {static_cast<time_t>(duration.count() / 1'000'000'000), static_cast<long>(duration.count() % 1'000'000'000)};
}

}  // namespace

Emulator::Emulator(const End& near, const End& far, EmulatorOptions options)
    : options_(std::move(options)),
      clock_(haul::system_clock()),
      forward_(near, far, options_.link, options_.seed, clock_.now()),
      back_(far, near, backward(options_.link), options_.seed + 1, clock_.now()),
      frame_(max_frame_bytes) {}

void Emulator::start() {
  thread_ = std::thread([this] { run(); });
}

void Emulator::stop() {
  if (!thread_.joinable()) return;
  stop_asked_.store(true);
  thread_.join();
  const flowsim::Bottleneck& bottleneck = forward_.way.bottleneck();
  record_.passed_packets = bottleneck.passed_packets();
  record_.dropped_packets = bottleneck.dropped_packets();
  record_.lost_packets = bottleneck.lost_packets();
}

std::optional<TimePoint> Emulator::began() const {
  const int64_t ns = began_ns_.load();
  return ns == 0 ? std::nullopt : std::optional(TimePoint(Duration(ns)));
}

void Emulator::run() {
  record_.real_time = become_real_time();
  record_.point_every = options_.point_every;
  bool slept = false;
  while (!stop_asked_.load(std::memory_order_relaxed)) {
    const TimePoint turn_began = clock_.now();
    read_all(forward_, slept);
    read_all(back_, slept);
    maybe_begin();
    deliver(forward_, clock_.now());
    deliver(back_, clock_.now());
    // The kernel answers within our writes: those answers have not waited.
    read_all(forward_, false);
    read_all(back_, false);
    take_points(clock_.now());
    slept = rest(turn_began);
  }
}

void Emulator::read_all(Side& side, bool slept) {
  for (int frames = 0; frames < frames_a_turn; ++frames) {
    const ssize_t size = ::read(side.in, frame_.data(), frame_.size());
    const TimePoint read_at = clock_.now();
    if (size <= 0) {
      side.seen_empty = read_at;
      return;
    }
    const auto packet = Packet::parse({frame_.data(), static_cast<size_t>(size)});
    if (!packet) continue;
    const Coming came = coming(read_at, side.seen_empty, slept);
    if (next_point_) record_.reading.record(came.off, packet->segments());
    side.last_came = std::max(came.at, side.last_came);
    if (&side == &forward_) {
      for (uint32_t i = 0; i < packet->segments(); ++i) came_bytes_ += packet->payload_bytes(i);
    }
    side.way.enter(side.last_came, packet);
  }
}

void Emulator::deliver(Side& side, TimePoint now) {
  Run run;
  while (side.way.take(now + lead_, run)) {
    const size_t size = run.packet->cut(run.first, run.count, frame_);
    const TimePoint sent_at = clock_.now();
    const bool delivered = ::write(side.out, frame_.data(), size) == static_cast<ssize_t>(size);
    learn(sent_at - run.due);
    if (!next_point_) continue;
    record_.sending.record(std::chrono::abs(sent_at - run.due), run.count);
    if (!delivered) {
      record_.failed_writes += run.count;
    } else if (&side == &forward_) {
      uint64_t& arrived = arrived_[options_.rival_port != 0 && run.packet->destination_port() == options_.rival_port ? 1 : 0];
      for (uint32_t i = 0; i < run.count; ++i) arrived += run.packet->payload_bytes(run.first + i);
    }
  }
}

void Emulator::learn(Duration late) { lead_ = std::clamp(lead_ + late / lead_smoothing, Duration::zero(), longest_lead); }

void Emulator::maybe_begin() {
  if (next_point_ || (came_bytes_ < options_.begin_after_bytes && !begin_asked_.load(std::memory_order_relaxed))) return;
  const TimePoint now = clock_.now();
  forward_.way.begin(now);
  back_.way.begin(now);
  next_point_ = now;
  began_ns_.store(now.time_since_epoch().count());
}

void Emulator::take_points(TimePoint now) {
  while (next_point_ && *next_point_ <= now) {
    record_.points.push_back({forward_.way.queue_delay(now), arrived_});
    *next_point_ += options_.point_every;
  }
}

bool Emulator::rest(TimePoint turn_began) {
  const TimePoint now = clock_.now();
  TimePoint wake = now + longest_rest;
  for (const Side* side : {&forward_, &back_}) {
    if (const auto due = side->way.next_due()) wake = std::min(wake, *due - lead_);
  }
  if (next_point_) wake = std::min(wake, *next_point_);
  if (wake - now > watch_beyond) {
    std::array<pollfd, 2> devices{pollfd{forward_.in, POLLIN, 0}, pollfd{back_.in, POLLIN, 0}};
    const timespec limit = to_timespec(wake - now);
    ::ppoll(devices.data(), devices.size(), &limit, nullptr);
    return false;
  }
  // Under load: not for every packet, which would cost more than the packet.
  wake = std::max(wake, turn_began + turn);
  if (wake <= now) return true;
  const timespec until = to_timespec(wake.time_since_epoch());
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
  return true;
}

}  // namespace wan
