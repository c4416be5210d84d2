// How the quic backend's world is made and stepped, over simulated links.
#include "contract/backends.h"

#ifdef HAUL_CONTRACT_QUIC

#include <algorithm>
#include <catch2/catch.hpp>

namespace haul::contract {

using namespace std::chrono_literals;

QuicSimHarness::QuicSimHarness(uint64_t seed) : network_(seed) {
  options_.dead_after = 2s;
  options_.hello_timeout = 1s;
}

QuicSimHarness::~QuicSimHarness() { stop_all(); }

const std::string& QuicSimHarness::host(const std::string& node) const {
  const auto found = hosts_.find(node);
  REQUIRE(found != hosts_.end());
  return found->second;
}

std::unique_ptr<Transport> QuicSimHarness::make_transport(const std::string& node) {
  if (!hosts_.contains(node)) hosts_[node] = network_.add_host();
  auto transport = quic::make_transport(options_, network_.surroundings(hosts_[node]));
  INFO(transport.status().to_string());
  REQUIRE(transport.ok());
  REQUIRE((*transport)->secure(shared_identity(), Protection::encrypted).ok());
  return std::move(transport).value();
}

Address QuicSimHarness::listen_address(const std::string& node) const { return {host(node), 0}; }

bool QuicSimHarness::run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) {
  return network_.run(
      [engines] {
        size_t handled = 0;
        for (Engine* engine : engines) handled += engine->poll();
        return handled;
      },
      [engines] {
        std::optional<TimePoint> next;
        for (const Engine* engine : engines) {
          if (const auto at = engine->next_deadline()) next = std::min(*at, next.value_or(*at));
        }
        return next;
      },
      until, limit);
}

// `until` polls, so that what it did is not known here.
bool QuicSimHarness::run_transports(std::span<Transport* const> transports, const std::function<bool()>& until,
                                    Duration limit) {
  return network_.run([] { return size_t{0}; },
                      [transports] {
                        std::optional<TimePoint> next;
                        for (const Transport* transport : transports) {
                          if (const auto at = transport->next_deadline()) next = std::min(*at, next.value_or(*at));
                        }
                        return next;
                      },
                      until, limit);
}

std::vector<std::string> QuicSimHarness::defects() const {
  auto all = Harness::defects();
  if (network_.spins() > 0) all.emplace_back("a transport wanted to be polled at once, time and again, with nothing to do");
  return all;
}

}  // namespace haul::contract

#endif
