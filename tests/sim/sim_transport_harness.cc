// The stepping and the bookkeeping behind the simulated transport's tests.
#include "sim_transport_harness.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "base/crc32c.h"
#include "base/random.h"
#include "sim/network.h"

namespace haul::sim::test {

std::vector<std::byte> pattern(size_t bytes, uint64_t seed) {
  std::vector<std::byte> out(bytes);
  base::Random(seed).fill(out);
  return out;
}

std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

End::End(World& world, std::string_view node, const TransportOptions& options)
    : world_(world), transport_(world.make_transport(node, options)) {}

bool End::poll() {
  std::vector<Event> batch(span_size);
  const size_t filled = transport_->poll(now(), NextPoll::when_woken, batch);
  for (size_t i = 0; i < filled; ++i) take(batch[i]);
  return filled > 0;
}

void End::take(const Event& event) {
  events.push_back(event);
  if (event.kind == Event::Kind::message)
    messages.emplace_back(reinterpret_cast<const char*>(event.payload.data()), event.payload.size());
  if (event.kind != Event::Kind::landed || !answers) return;
  const bool intact = !event.crc32c || base::crc32c(event.payload) == *event.crc32c;
  transport_->answer(event.connection, event.id, intact ? Status() : Status(StatusCode::corrupt, "checksum differs"), now());
}

std::unique_ptr<MemoryRegion> End::memory(std::vector<std::byte>& bytes) {
  return std::move(transport_->register_memory(bytes, MemoryKind::host)).value();
}

ConnectionId End::connect(const Address& address, Duration timeout) {
  ConnectOptions options;
  options.address = address;
  options.timeout = timeout;
  const ConnectionId id = transport_->open(options, now()).value().connection;
  CHECK(transport_->join(id, {}, now()).ok());
  return id;
}

RemoteRegion End::grant(ConnectionId connection, const MemoryRegion& region, Rights rights) {
  const auto granted = transport_->grant(connection, region, {0, region.bytes().size()}, rights, now());
  last_grant = granted.value().id;
  return granted.value().remote;
}

bool End::post(ConnectionId connection, uint64_t id, Op op, const MemoryRegion& local, const RemoteRegion& remote,
               uint64_t offset, uint32_t length) {
  Operation operation;
  operation.op = op;
  operation.id = id;
  operation.tag = id * 10;
  operation.local = &local;
  operation.local_offset = offset;
  operation.remote = &remote;
  operation.remote_offset = offset;
  operation.length = length;
  const auto memory = local.bytes();
  const bool inside = offset <= memory.size() && length <= memory.size() - offset;
  operation.crc32c = op == Op::write && inside ? base::crc32c(memory.subspan(offset, length)) : 0;
  return transport_->post(connection, std::span(&operation, 1), now()) == 1;
}

size_t End::count(Event::Kind kind) const {
  return static_cast<size_t>(
      std::count_if(events.begin(), events.end(), [&](const Event& event) { return event.kind == kind; }));
}

const Event& End::first(Event::Kind kind) const {
  const auto found = std::find_if(events.begin(), events.end(), [&](const Event& event) { return event.kind == kind; });
  REQUIRE(found != events.end());
  return *found;
}

bool End::completed(uint64_t id) const {
  return std::any_of(events.begin(), events.end(),
                     [&](const Event& event) { return event.kind == Event::Kind::completed && event.id == id; });
}

const Event& End::completion(uint64_t id) const {
  const Event* found = nullptr;
  for (const Event& event : events) {
    if (event.kind != Event::Kind::completed || event.id != id) continue;
    REQUIRE(found == nullptr);
    found = &event;
  }
  REQUIRE(found != nullptr);
  return *found;
}

bool run(World& world, std::initializer_list<End*> ends, const std::function<bool()>& until, Duration limit) {
  const TimePoint stop = world.clock().now() + limit;
  while (true) {
    bool active = true;
    for (int round = 0; active; ++round) {
      REQUIRE(round < 100'000);
      active = false;
      for (End* end : ends) active = end->poll() || active;
      if (until()) return true;
    }
    TimePoint next = std::min(stop, world.state().next_event().value_or(stop));
    for (End* end : ends) next = std::min(next, end->transport().next_deadline().value_or(stop));
    if (world.clock().now() >= stop) return false;
    // A transport that wants time now, though it was just polled without effect, would stop the world.
    REQUIRE(next > world.clock().now());
    world.state().advance_to(next);
  }
}

void settle(World& world, std::initializer_list<End*> ends, Duration time) {
  CHECK_FALSE(run(
      world, ends, [] { return false; }, time));
}

namespace {

World& with_nodes(World& world, const LinkOptions& link) {
  world.add_node("a");
  world.add_node("b");
  world.link("a", "b", link);
  return world;
}

}  // namespace

Pair::Pair(uint64_t seed, const LinkOptions& link, const TransportOptions& options, size_t bytes)
    : world(seed), near(pattern(bytes, seed)), far(bytes), a(with_nodes(world, link), "a", options), b(world, "b", options) {
  const Address address = b.transport().listen(Address{"b", 0}).value();
  from_a = a.connect(address);
  REQUIRE(run([&] { return a.count(Event::Kind::connected) == 1 && b.count(Event::Kind::accepted) == 1; }));
  from_b = b.first(Event::Kind::accepted).connection;
  near_region = a.memory(near);
  far_region = b.memory(far);
  remote = b.grant(from_b, *far_region);
}

void Pair::post_all(Op op, uint32_t piece, uint64_t& next, uint64_t operations) {
  while (next < operations) {
    const uint64_t offset = next * piece;
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(piece, near.size() - offset));
    if (!a.post(from_a, next + 1, op, *near_region, remote, offset, length)) return;
    ++next;
  }
}

bool Pair::move(Op op, uint32_t piece, Duration limit) {
  const uint64_t operations = (near.size() + piece - 1) / piece;
  uint64_t next = 0;
  return run(
      [&] {
        post_all(op, piece, next, operations);
        return a.count(Event::Kind::completed) == operations;
      },
      limit);
}

}  // namespace haul::sim::test
