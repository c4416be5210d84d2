// What the cases of budgets share: engines with a rate, transfers that run, and what they move. In virtual time.
#pragma once

#include <catch2/catch.hpp>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "contract/fixture.h"

namespace haul::contract {

constexpr uint64_t MB = 1'000'000;

/// Rates are measured only where time is the test's own.
inline bool cannot_measure(const Harness& harness) {
  return skip_unless(harness.abilities().virtual_time, "measured in virtual time");
}

/// An engine whose peers share this rate.
inline Node& start_limited(Harness& harness, const std::string& name, std::optional<uint64_t> bytes_s) {
  EngineOptions options = harness.options();
  options.rate_limit_bytes_s = bytes_s;
  return harness.start(name, std::move(options));
}

inline double seconds_of(Duration time) { return static_cast<double>(time.count()) * 1e-9; }

/// What is moved in this time while the transfers run, in bytes per second.
inline double rate_over(Harness& harness, Node& node, Duration time) {
  const auto moved = [&node] {
    const EngineStats stats = node->stats();
    return stats.bytes_put + stats.bytes_got;
  };
  const uint64_t before = moved();
  const TimePoint from = harness.clock().now();
  harness.run_for(time);
  return static_cast<double>(moved() - before) / seconds_of(harness.clock().now() - from);
}

/// A transfer of so many bytes from (or, not `put`, to) memory of `pair.a`, started.
struct Moving {
  Moving(Harness& harness, Pair& pair, uint64_t bytes, bool put, uint8_t priority = 128)
      : source(allocate_filled(pair.a, bytes, 1)), target(allocate(pair.b, bytes)) {
    const RemoteBuffer remote = grant(pair.to_a, target.slice());
    TransferOptions options;
    options.priority = priority;
    transfer = put ? pair.to_b.put(source.slice(), remote.slice(), std::move(options))
                   : pair.to_b.get(source.slice(), remote.slice(), std::move(options));
    harness.run([this] { return transfer.progress().operations_outstanding > 0; });
  }
  uint64_t done() const { return transfer.progress().bytes_done; }

  Buffer source;
  Buffer target;
  Transfer transfer;
};

/// What each of them moves in this time, in bytes per second.
inline std::vector<double> rates_over(Harness& harness, std::initializer_list<const Moving*> all, Duration time) {
  std::vector<uint64_t> before;
  for (const Moving* moving : all) before.push_back(moving->done());
  const TimePoint from = harness.clock().now();
  harness.run_for(time);
  const double seconds = seconds_of(harness.clock().now() - from);
  std::vector<double> rates;
  for (const Moving* moving : all) rates.push_back(static_cast<double>(moving->done() - before[rates.size()]) / seconds);
  return rates;
}

}  // namespace haul::contract
