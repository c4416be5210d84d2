// How the rdma backend's world is made and stepped, over fake devices.
#include "contract/backends.h"

#ifdef HAUL_CONTRACT_RDMA

#include <algorithm>
#include <catch2/catch.hpp>

#include "rdma/rdma_transport.h"

namespace haul::contract {

using namespace std::chrono_literals;

namespace {

onesided::FabricOptions control_options() {
  onesided::FabricOptions options;
  options.name = "control";
  options.max_operation_bytes = 1U << 20;
  return options;
}

}  // namespace

RdmaHarness::RdmaHarness(uint64_t seed, const verbs::FabricOptions& devices, const rdma::Options& options)
    : control_(seed, control_options()), fabric_(control_.clock(), seed, devices), options_(options) {}

std::unique_ptr<Transport> RdmaHarness::make_transport(const std::string& node) {
  auto transport = rdma::RdmaTransport::make(fabric_.make_verbs(node), options_);
  INFO(transport.status().to_string());
  REQUIRE(transport.ok());
  return std::move(transport).value();
}

void RdmaHarness::silence(const std::string& a, const std::string& b) {
  control_.partition(a, b);
  fabric_.partition(a, b);
}

void RdmaHarness::heal(const std::string& a, const std::string& b) {
  control_.heal(a, b);
  fabric_.heal(a, b);
}

void RdmaHarness::crash(const std::string& node) {
  control_.crash(node);
  fabric_.crash(node);
}

namespace {

size_t poll_once(Engine& engine) { return engine.poll(); }
size_t poll_once(Transport&) { return 0; }  // `until` polls

}  // namespace

template <typename Each>
bool RdmaHarness::step_until(std::span<Each* const> all, const std::function<bool()>& until, Duration limit) {
  constexpr Duration step = 1us;  // of a round in which something may go on
  const TimePoint end = clock().now() + limit;
  while (!until()) {
    if (clock().now() >= end) return false;
    size_t handled = 0;
    TimePoint next = end;
    for (Each* each : all) handled += poll_once(*each);
    const bool moved = fabric_.step();
    for (const Each* each : all) next = std::min(next, each->next_deadline().value_or(end));
    next = std::min(next, fabric_.next_deadline().value_or(end));
    control_.advance(handled > 0 || moved ? step : std::max(step, Duration(next - clock().now())));
  }
  return true;
}

bool RdmaHarness::run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) {
  return step_until(engines, until, limit);
}

bool RdmaHarness::run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) {
  return step_until(transports, until, limit);
}

std::vector<std::string> RdmaHarness::defects() const {
  auto all = Harness::defects();
  all.insert(all.end(), control_.defects().begin(), control_.defects().end());
  all.insert(all.end(), fabric_.defects().begin(), fabric_.defects().end());
  return all;
}

std::unique_ptr<Transport> RdmaDeviceHarness::make_transport(const std::string& node) {
  const auto devices = rdma::make_ibverbs()->device_names();
  INFO(devices.status().to_string());
  REQUIRE(devices.ok());
  if (std::find(known_.begin(), known_.end(), node) == known_.end()) known_.push_back(node);
  const auto place = static_cast<size_t>(std::find(known_.begin(), known_.end(), node) - known_.begin());
  rdma::Options options;
  for (size_t i = place % 2; i < devices.value().size(); i += 2) options.rails.push_back({devices.value()[i], 1, std::nullopt});
  auto transport = rdma::make_transport(options);
  INFO(transport.status().to_string());
  REQUIRE(transport.ok());
  return std::move(transport).value();
}

}  // namespace haul::contract

#endif
