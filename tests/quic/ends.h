// Transports over loopback, driven by hand.
#pragma once

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "haul/quic.h"
#include "unit/security_support.h"

namespace haul::quic::test {

struct End {
  std::unique_ptr<Transport> transport;
  std::vector<Event> seen;

  explicit End(const security::test::Party* party, Options options = {}) {
    auto made = make_transport(std::move(options));
    REQUIRE(made.ok());
    transport = std::move(*made);
    if (party != nullptr) REQUIRE(transport->secure(party->context(), Protection::encrypted).ok());
  }
  void poll() {
    std::array<Event, 32> events;
    const size_t count = transport->poll(system_clock().now(), NextPoll::when_woken, events);
    for (Event& event : std::span(events).first(count)) seen.push_back(std::move(event));
  }
  std::optional<Event> last(Event::Kind kind) const {
    for (auto it = seen.rbegin(); it != seen.rend(); ++it) {
      if (it->kind == kind) return *it;
    }
    return {};
  }
};

inline bool run(std::vector<End*> ends, const std::function<bool()>& until, Duration limit = std::chrono::seconds(5)) {
  const TimePoint end = system_clock().now() + limit;
  while (!until()) {
    if (system_clock().now() >= end) return false;
    for (End* each : ends) each->poll();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

inline ConnectionId dial(End& end, const Address& address, Duration timeout = std::chrono::seconds(2)) {
  ConnectOptions options;
  options.address = address;
  options.timeout = timeout;
  const auto opened = end.transport->open(options, system_clock().now());
  REQUIRE(opened.ok());
  REQUIRE(end.transport->join(opened->connection, {}, system_clock().now()).ok());
  return opened->connection;
}

}  // namespace haul::quic::test
