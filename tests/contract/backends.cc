// How each backend's world is made and stepped.
#include "contract/backends.h"

#include <poll.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "unit/security_support.h"

namespace haul::contract {

using namespace std::chrono_literals;

SimHarness::SimHarness(uint64_t seed) : world_(seed) {}

std::unique_ptr<Transport> SimHarness::make_transport(const std::string& node) {
  if (std::find(known_.begin(), known_.end(), node) == known_.end()) {
    world_.add_node(node);
    for (const std::string& other : known_) world_.link(node, other, links_);
    known_.push_back(node);
  }
  sim::TransportOptions options;
  options.dead_after = 1s;
  return world_.make_transport(node, options);
}

void SimHarness::set_links(const sim::LinkOptions& options) {
  links_ = options;
  for (size_t i = 0; i < known_.size(); ++i) {
    for (size_t j = 0; j < i; ++j) world_.link(known_[i], known_[j], links_);
  }
}

void SimHarness::corrupt_wire(double probability) {
  sim::LinkOptions options = links_;
  options.corrupt = probability;
  set_links(options);
}

bool SimHarness::run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) {
  return world_.run(engines, until, limit);
}

bool SimHarness::run_transports(std::span<Transport* const>, const std::function<bool()>& until, Duration limit) {
  return world_.run({}, until, limit);
}

TcpHarnessBase::TcpHarnessBase(tcp::Io io) {
  options_.io = io;
  options_.dead_after = 2s;
  options_.preface_timeout = 1s;
}

std::unique_ptr<Transport> TcpHarnessBase::make_transport(const std::string&) {
  auto transport = tcp::make_transport(options_);
  INFO(transport.status().to_string());
  REQUIRE(transport.ok());
  return std::move(transport).value();
}

std::shared_ptr<const SecurityContext> shared_identity() {
  static const security::test::Folder folder;
  static const std::shared_ptr<const SecurityContext> context = [] {
    const security::test::Party party(folder, "node");
    party.knows(party);
    return party.context();
  }();
  return context;
}

std::unique_ptr<Transport> TcpProtectedHarness::make_transport(const std::string& node) {
  auto transport = TcpHarnessBase::make_transport(node);
  REQUIRE(transport->secure(shared_identity(), protection_).ok());
  return transport;
}

#ifdef HAUL_CONTRACT_QUIC
QuicHarness::QuicHarness() : TcpHarnessBase(tcp::Io::epoll) {
  options_.dead_after = 2s;
  options_.hello_timeout = 1s;
}

std::unique_ptr<Transport> QuicHarness::make_transport(const std::string&) {
  auto transport = quic::make_transport(options_);
  INFO(transport.status().to_string());
  REQUIRE(transport.ok());
  REQUIRE((*transport)->secure(shared_identity(), Protection::encrypted).ok());
  return std::move(transport).value();
}
#endif

bool TcpHarnessBase::run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) {
  const TimePoint end = clock().now() + limit;
  std::vector<pollfd> ready;
  for (const Engine* engine : engines) ready.push_back({engine->wakeup_fd(), POLLIN, 0});
  while (!until()) {
    if (clock().now() >= end) return false;
    size_t handled = 0;
    for (Engine* engine : engines) handled += engine->poll();
    constexpr int pause_ms = 1;
    if (handled == 0) ::poll(ready.data(), ready.size(), pause_ms);
  }
  return true;
}

bool TcpHarnessBase::run_transports(std::span<Transport* const> transports, const std::function<bool()>& until,
                                    Duration limit) {
  const TimePoint end = clock().now() + limit;
  std::vector<pollfd> ready;
  for (const Transport* transport : transports) ready.push_back({transport->wakeup_fd(), POLLIN, 0});
  while (!until()) {
    if (clock().now() >= end) return false;
    constexpr int pause_ms = 1;
    ::poll(ready.data(), ready.size(), pause_ms);
  }
  return true;
}

bool OneSidedHarness::run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) {
  constexpr Duration step = 1us;  // of a round in which something may go on
  const TimePoint end = clock().now() + limit;
  while (!until()) {
    if (clock().now() >= end) return false;
    size_t handled = 0;
    TimePoint next = end;
    for (Engine* engine : engines) handled += engine->poll();
    for (const Engine* engine : engines) next = std::min(next, engine->next_deadline().value_or(end));
    fabric_.advance(handled > 0 ? step : std::max(step, Duration(next - clock().now())));
  }
  return true;
}

bool OneSidedHarness::run_transports(std::span<Transport* const> transports, const std::function<bool()>& until,
                                     Duration limit) {
  constexpr Duration step = 1us;
  const TimePoint end = clock().now() + limit;
  while (!until()) {
    if (clock().now() >= end) return false;
    TimePoint next = end;
    for (const Transport* transport : transports) next = std::min(next, transport->next_deadline().value_or(end));
    fabric_.advance(std::max(step, Duration(next - clock().now())));
  }
  return true;
}

std::vector<std::string> OneSidedHarness::defects() const {
  auto all = Harness::defects();
  all.insert(all.end(), fabric_.defects().begin(), fabric_.defects().end());
  return all;
}

}  // namespace haul::contract
