// Packets on links: what becomes of each, in which order they arrive, and the trace of it.
#include "network.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/crc32c.h"
#include "transport.h"

namespace haul::sim {
namespace {

std::string_view name_of(PacketKind kind) {
  switch (kind) {
    case PacketKind::open: return "open";
    case PacketKind::open_reply: return "open_reply";
    case PacketKind::reset: return "reset";
    case PacketKind::data: return "data";
    case PacketKind::ack: return "ack";
  }
  return "unknown";
}

uint64_t mix(uint64_t hash, uint64_t value) noexcept {
  hash = (std::rotl(hash, 5) ^ value) * 0x9e3779b97f4a7c15U;
  return hash ^ (hash >> 32);
}

/// How long a link takes for this many bytes.
Duration time_for(uint64_t bytes, uint64_t rate_bytes_s) {
  return Duration(static_cast<int64_t>(bytes * 1'000'000'000U / rate_bytes_s));
}

}  // namespace

std::optional<NodeIndex> World::State::find_node(std::string_view name) const {
  const auto found = std::find_if(nodes.begin(), nodes.end(), [&](const Node& node) { return node.name == name; });
  if (found == nodes.end()) return std::nullopt;
  return static_cast<NodeIndex>(found - nodes.begin());
}

NodeIndex World::State::require_node(std::string_view name) const {
  const auto node = find_node(name);
  base::check(node.has_value(), "no such node in the simulated world: add_node() comes first");
  return *node;
}

uint32_t World::State::mtu(NodeIndex from, NodeIndex to) const {
  const auto link = links.find({from, to});
  return link == links.end() ? LinkOptions{}.mtu_bytes : link->second.options.mtu_bytes;
}

bool World::State::partitioned(NodeIndex a, NodeIndex b) const { return partitions.contains(std::minmax(a, b)); }

void World::State::send(Packet packet) {
  ++packets;
  packet.sent_at = now();
  const auto found = links.find({packet.from, packet.to});
  if (found == links.end()) return record("no link", packet);
  if (partitioned(packet.from, packet.to)) return record("partitioned", packet);

  Link& link = found->second;
  const LinkOptions& options = link.options;
  const Duration own = time_for(packet.wire_bytes(), options.rate_bytes_s);
  const Duration waiting = std::max(Duration::zero(), link.busy_until - now());
  if (waiting > Duration::zero() && waiting + own > time_for(options.queue_bytes, options.rate_bytes_s))
    return record("queue full", packet);
  link.busy_until = now() + waiting + own;
  if (random.chance(options.loss)) return record("lost", packet);

  TimePoint arrives = link.busy_until + options.delay;
  const bool held_back = random.chance(options.reorder);
  if (held_back) arrives += options.reorder_delay;
  if (!packet.payload.empty() && packet.frame.kind != FrameKind::message && random.chance(options.corrupt)) corrupt(packet);
  record(held_back ? "held back" : "sent", packet);
  if (random.chance(options.duplicate)) {
    record("duplicated", packet);
    schedule(arrives + own, packet);
  }
  schedule(arrives, std::move(packet));
}

void World::State::corrupt(Packet& packet) {
  const uint64_t bit = random.below(packet.payload.size() * 8);
  packet.payload[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  record("corrupted", packet);
}

void World::State::schedule(TimePoint time, Packet packet) {
  size_t slot = slots_.size();
  if (free_slots_.empty()) {
    slots_.push_back(std::move(packet));
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = std::move(packet);
  }
  arrivals_.push_back({time, next_order_++, slot});
  std::push_heap(arrivals_.begin(), arrivals_.end(), std::greater<>());
}

std::optional<TimePoint> World::State::next_event() const {
  if (arrivals_.empty()) return std::nullopt;
  return arrivals_.front().time;
}

void World::State::advance_to(TimePoint time) {
  while (!arrivals_.empty() && arrivals_.front().time <= time) {
    std::pop_heap(arrivals_.begin(), arrivals_.end(), std::greater<>());
    const Arrival arrival = arrivals_.back();
    arrivals_.pop_back();
    clock.time = std::max(clock.time, arrival.time);
    Packet packet = std::move(slots_[arrival.slot]);
    slots_[arrival.slot] = Packet{};
    free_slots_.push_back(arrival.slot);
    deliver(std::move(packet));
  }
  clock.time = std::max(clock.time, time);
}

void World::State::deliver(Packet packet) {
  const Node& node = nodes[packet.to];
  if (!node.up) return record("node down", packet);
  if (partitioned(packet.from, packet.to)) return record("partitioned", packet);

  SimTransport* receiver = nullptr;
  if (packet.destination == 0) {
    const auto listener = node.listeners.find(packet.port);
    if (listener != node.listeners.end()) receiver = listener->second;
  } else {
    const auto owner = owners.find(packet.destination);
    if (owner != owners.end()) receiver = owner->second;
  }
  if (receiver == nullptr) {
    record("nobody there", packet);
    return reply_reset(packet);
  }
  if (receiver->inbox_full()) return record("receiver full", packet);
  record("arrived", packet);
  receiver->receive(std::move(packet));
}

void World::State::reply_reset(const Packet& packet) {
  if (packet.kind == PacketKind::reset) return;
  Packet reset;
  reset.kind = PacketKind::reset;
  reset.from = packet.to;
  reset.to = packet.from;
  reset.source = packet.destination;
  reset.destination = packet.source;
  send(std::move(reset));
}

void World::State::record(std::string_view fate, const Packet& packet) {
  hash = mix(hash, static_cast<uint64_t>(now().time_since_epoch().count()));
  hash = mix(hash, (uint64_t{packet.from} << 32) | packet.to);
  hash = mix(hash, (packet.source << 32) ^ packet.destination);
  hash = mix(hash, (uint64_t{packet.wire_bytes()} << 8) | static_cast<uint64_t>(packet.kind));
  hash = mix(hash, (packet.transmission << 8) | static_cast<uint64_t>(packet.frame.kind));
  hash = mix(hash, base::crc32c(std::as_bytes(std::span(fate)), base::crc32c(packet.payload)));
  if (!trace) return;
  trace(fmt::format("{} {} > {} {} {} > {} packet {} frame {}.{} {} bytes: {}", now().time_since_epoch().count(),
                    nodes[packet.from].name, nodes[packet.to].name, name_of(packet.kind), packet.source, packet.destination,
                    packet.transmission, packet.frame.number, packet.frame.offset, packet.wire_bytes(), fate));
}

}  // namespace haul::sim
