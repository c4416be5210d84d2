// Two bare transports: making, connecting and stepping them.
#include "contract/transport_rig.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>

namespace haul::contract {

using namespace std::chrono_literals;

size_t End::count(Event::Kind kind, ConnectionId connection) const {
  return static_cast<size_t>(std::count_if(seen.begin(), seen.end(), [&](const Seen& each) {
    return each.event.kind == kind && (connection == 0 || each.event.connection == connection);
  }));
}

std::optional<Status> End::completed(uint64_t id) const {
  for (const Seen& each : seen) {
    if (each.event.kind == Event::Kind::completed && each.event.id == id) return each.event.status;
  }
  return std::nullopt;
}

std::optional<Status> End::closed(ConnectionId connection) const {
  for (const Seen& each : seen) {
    if (each.event.kind == Event::Kind::closed && each.event.connection == connection) return each.event.status;
  }
  return std::nullopt;
}

std::vector<std::vector<std::byte>> End::messages() const {
  std::vector<std::vector<std::byte>> all;
  for (const Seen& each : seen) {
    if (each.event.kind == Event::Kind::message) all.push_back(each.payload);
  }
  return all;
}

void End::poll(TimePoint now) {
  std::vector<Event> events(events_a_poll);
  size_t count = events.size();
  while (transport && count == events.size()) {
    // Callers spin for a while, then block, then spin.
    const NextPoll next = ++polls % 8 < 4 ? NextPoll::at_once : NextPoll::when_woken;
    count = transport->poll(now, next, events);
    for (Event& event : std::span(events).first(count)) {
      if (on_event) on_event(event);
      if (event.kind == Event::Kind::landed && answers) transport->answer(event.connection, event.id, answer, now);
      Seen one;
      const bool small = event.kind == Event::Kind::message || event.kind == Event::Kind::immediate;
      if (small) one.payload.assign(event.payload.begin(), event.payload.end());
      one.event = std::move(event);
      one.event.payload = {};
      seen.push_back(std::move(one));
    }
  }
}

Rig::Rig(Harness& harness) : harness_(harness) {
  start(x, "x");
  start(y, "y");
  address = harness.listen_address("y");
  if (!capabilities().bootstraps) return;
  const auto bound = y.transport->listen(address);
  INFO(bound.status().to_string());
  REQUIRE(bound.ok());
  address = bound.value();
}

Rig::~Rig() {
  // As the engine does it: connections first, then what they used, then the transports.
  for (End* end : {&x, &y}) {
    if (!end->transport) continue;
    for (const ConnectionId connection : end->record->connections) end->transport->close(connection, CloseMode::abort, now());
  }
  run([&] { return x.record->connections.empty() && y.record->connections.empty(); }, 5s);
  regions_.clear();
  x.transport.reset();
  y.transport.reset();
  CHECK(x.record->defects == std::vector<std::string>());
  CHECK(y.record->defects == std::vector<std::string>());
}

void Rig::start(End& end, const std::string& name) {
  end.name = name;
  end.transport = std::make_unique<CheckedTransport>(harness_.make_transport(name), end.record);
}

bool Rig::run(const std::function<bool()>& until, Duration limit) {
  std::vector<Transport*> transports;
  for (const End* end : {&x, &y}) {
    if (end->transport) transports.push_back(end->transport.get());
  }
  return harness_.run_transports(
      transports,
      [&] {
        x.poll(now());
        y.poll(now());
        return until();
      },
      limit);
}

Rig::Link Rig::connect() {
  if (!capabilities().bootstraps) return join_beside({});
  ConnectOptions options;
  options.address = address;
  const auto endpoint = x.transport->open(options, now());
  INFO(endpoint.status().to_string());
  REQUIRE(endpoint.ok());
  const size_t accepted = y.count(Event::Kind::accepted);
  const ConnectionId at_x = endpoint.value().connection;
  REQUIRE(x.transport->join(at_x, {}, now()).ok());
  REQUIRE(run([&] { return x.count(Event::Kind::connected, at_x) == 1 && y.count(Event::Kind::accepted) > accepted; }));
  for (auto it = y.seen.rbegin(); it != y.seen.rend(); ++it) {
    if (it->event.kind == Event::Kind::accepted) return {at_x, it->event.connection};
  }
  return {};
}

Rig::Link Rig::join_beside(const Link& link) {
  ConnectOptions active;
  active.address = address;
  active.beside = link.at_x;
  ConnectOptions passive;
  passive.beside = link.at_y;
  const auto at_x = x.transport->open(active, now());
  INFO(at_x.status().to_string());
  REQUIRE(at_x.ok());
  passive.peer_endpoint = at_x.value().bytes;
  const auto at_y = y.transport->open(passive, now());
  REQUIRE(at_y.ok());
  REQUIRE(y.transport->join(at_y.value().connection, at_x.value().bytes, now()).ok());
  REQUIRE(x.transport->join(at_x.value().connection, at_y.value().bytes, now()).ok());
  const Link joined{at_x.value().connection, at_y.value().connection};
  REQUIRE(run(
      [&] { return x.count(Event::Kind::connected, joined.at_x) == 1 && y.count(Event::Kind::connected, joined.at_y) == 1; }));
  return joined;
}

const MemoryRegion& Rig::region(End& end, size_t bytes, uint64_t seed) {
  memories_.push_back(std::make_unique<std::vector<std::byte>>(bytes));
  fill_pattern(*memories_.back(), seed);
  auto region = end.transport->register_memory(*memories_.back(), MemoryKind::host);
  INFO(region.status().to_string());
  REQUIRE(region.ok());
  regions_.push_back(std::move(region).value());
  return *regions_.back();
}

LocalGrant Rig::grant(End& end, ConnectionId connection, const MemoryRegion& region, Rights rights) {
  const auto granted = end.transport->grant(connection, region, {0, region.bytes().size()}, rights, now());
  INFO(granted.status().to_string());
  REQUIRE(granted.ok());
  return granted.value();
}

void Rig::post_all(End& end, ConnectionId connection, std::span<const Operation> operations) {
  const bool taken = run([&] {
    operations = operations.subspan(end.transport->post(connection, operations, now()));
    return operations.empty();
  });
  REQUIRE(taken);
}

Status Rig::finish(End& end, ConnectionId connection, const Operation& operation) {
  post_all(end, connection, std::span(&operation, 1));
  REQUIRE(run([&] { return end.completed(operation.id).has_value(); }));
  return *end.completed(operation.id);
}

}  // namespace haul::contract
