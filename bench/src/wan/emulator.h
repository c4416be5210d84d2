// Carries packets between the two ends of an emulated path, each when it is due.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "wan/end.h"
#include "wan/lateness.h"
#include "wan/one_way.h"

namespace wan {

/// One moment of a run.
struct Point {
  Duration queue = Duration::zero();        ///< of the direction of the payload
  std::array<uint64_t, 2> arrived_bytes{};  ///< payload that reached the far end: of everybody but the rival; of the rival
};

/// What happened since the beginning.
struct Record {
  std::vector<Point> points;  ///< every `point_every` from the beginning on
  Duration point_every = Duration::zero();
  uint64_t passed_packets = 0;
  uint64_t dropped_packets = 0;  ///< by the queue
  uint64_t lost_packets = 0;     ///< as the link was asked to
  uint64_t failed_writes = 0;    ///< packets that the emulator could not deliver
  Lateness sending;              ///< how far a packet was delivered from when it was due, late or early
  Lateness reading;              ///< how far off the time may be, at most, at which a packet is taken to have come
  bool real_time = false;        ///< the scheduler let the emulator go before everything else
};

struct EmulatorOptions {
  flowsim::Link link;
  uint64_t seed = 1;
  uint16_t rival_port = 0;  ///< what goes to this port is the rival's
  Duration point_every = std::chrono::milliseconds(10);
  /// The run begins when so much payload has come from the near end.
  uint64_t begin_after_bytes = 4096;
};

/// A thread of its own, from start() to stop(), at real-time priority where that is permitted. It sleeps between packets: under
/// load it wakes every `turn`, and what falls due in between goes out together. Machines wake a sleeper late, virtual ones by
/// 0.2 ms; so it learns to go to work that much earlier, and packets are as often early as late.
class Emulator {
 public:
  /// The ends must outlive it.
  Emulator(const End& near, const End& far, EmulatorOptions options);
  ~Emulator() { stop(); }
  Emulator(const Emulator&) = delete;
  Emulator& operator=(const Emulator&) = delete;

  void start();
  /// Begins at once, whatever has come.
  void begin() { begin_asked_.store(true); }
  /// Since when the link is disturbed and points are taken. Any thread.
  std::optional<TimePoint> began() const;
  void stop();
  /// After stop().
  const Record& record() const { return record_; }
  Record& record() { return record_; }

  static constexpr Duration turn = std::chrono::microseconds(50);

 private:
  struct Side {
    int in;   // device that packets come from
    int out;  // … and go to
    OneWay way;
    TimePoint seen_empty;  // when there was nothing to read
    TimePoint last_came;   // when the last packet is taken to have come
    Side(const End& from, const End& to, const flowsim::Link& link, uint64_t seed, TimePoint now)
        : in(from.tun()), out(to.tun()), way(link, seed, now), seen_empty(now), last_came(now) {}
  };

  void run();
  void read_all(Side& side, bool slept);
  void deliver(Side& side, TimePoint now);
  void maybe_begin();
  void take_points(TimePoint now);
  void learn(Duration late);
  /// True when it slept without watching the devices.
  bool rest(TimePoint turn_began);

  EmulatorOptions options_;
  const haul::Clock& clock_;
  Side forward_;
  Side back_;
  std::vector<std::byte> frame_;
  std::array<uint64_t, 2> arrived_{};
  uint64_t came_bytes_ = 0;
  Duration lead_ = Duration::zero();     // what is due so soon goes out now
  std::optional<TimePoint> next_point_;  // absent: not begun
  Record record_;
  std::atomic<bool> stop_asked_ = false;
  std::atomic<bool> begin_asked_ = false;
  std::atomic<int64_t> began_ns_ = 0;
  std::thread thread_;
};

}  // namespace wan
