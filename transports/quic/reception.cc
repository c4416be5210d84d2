// From datagrams to connections, and strangers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "quic/quic_transport.h"

namespace haul::quic {

namespace {

// Of one poll(): enough to be worth the call, without starving the caller.
constexpr int max_bursts = 32;
constexpr size_t enough_events = 256;

/// `bytes` of them were written, for whoever sent the burst; none: no answer.
void answer_stranger(Outlet& outlet, std::span<const std::byte> written, size_t bytes, const Burst& burst) {
  if (bytes == 0) return;
  outlet.answer({.bytes = written.first(bytes), .datagram_bytes = bytes, .ecn = 0, .remote = burst.remote});
}

}  // namespace

void QuicTransport::receive() {
  more_to_receive_ = false;
  touched_.clear();
  for (const auto& outlet : outlets_) {
    int bursts = 0;
    for (; bursts < max_bursts && context_.events.size() < enough_events; ++bursts) {
      const Burst burst = outlet->socket().receive();
      if (burst.bytes.empty()) break;
      context_.now = outlet->socket().time(context_.now);
      handle(burst, *outlet);
    }
    more_to_receive_ = more_to_receive_ || bursts == max_bursts || context_.events.size() >= enough_events;
  }
  for (Connection* connection : touched_) connection->received();
}

void QuicTransport::handle(const Burst& burst, Outlet& outlet) {
  for (size_t begin = 0; begin < burst.bytes.size(); begin += burst.datagram_bytes) {
    const auto packet = burst.bytes.subspan(begin, std::min(burst.datagram_bytes, burst.bytes.size() - begin));
    const Envelope envelope = read_envelope(packet);
    if (!envelope.readable) continue;
    const auto found = routes_.find(Cid(envelope.dcid));
    if (found == routes_.end()) {
      handle_stranger(packet, burst, outlet);
      continue;
    }
    Connection& connection = *found->second;
    if (touched_.empty() || touched_.back() != &connection) {
      if (std::find(touched_.begin(), touched_.end(), &connection) == touched_.end()) touched_.push_back(&connection);
    }
    connection.receive(packet, burst.ecn, outlet, burst.remote, burst.came.value_or(context_.now));
  }
}

void QuicTransport::handle_stranger(std::span<const std::byte> packet, const Burst& burst, Outlet& outlet) {
  const Envelope envelope = read_envelope(packet);
  constexpr size_t least_initial_bytes = 1200;  // RFC 9000 section 14.1: less is not worth an answer that could be larger
  const bool expects = context_.security && (outlet.listens() || !opened_.empty());
  if (envelope.is_long) {
    if (!expects || packet.size() < least_initial_bytes) return;
    if (envelope.wants_version) {
      const size_t bytes = write_version_negotiation(packet_memory_, envelope, context_.surroundings.random);
      return answer_stranger(outlet, packet_memory_, bytes, burst);
    }
    if (const auto initial = read_initial(packet)) admit(*initial, burst, outlet);
    const auto made = routes_.find(Cid(envelope.dcid));
    if (made == routes_.end()) return;
    touched_.push_back(made->second);
    made->second->receive(packet, burst.ecn, outlet, burst.remote, context_.now);
    return;
  }
  if (told_by_reset(packet, burst, outlet)) return;
  // RFC 9000 section 10.3.3: always shorter than what it answers, so that two such sides fall silent.
  constexpr size_t least_reset_bytes = 43;
  if (packet.size() <= least_reset_bytes) return;
  const size_t most = packet.size() - 1;
  const size_t bytes =
      write_stateless_reset(std::span(packet_memory_).first(most), envelope.dcid, secret_, context_.surroundings.random);
  answer_stranger(outlet, packet_memory_, bytes, burst);
}

// A stateless reset has an id that nobody knows: whoever sends to where it comes from has to look at its end (RFC 9000 section
// 10.3.1).
bool QuicTransport::told_by_reset(std::span<const std::byte> packet, const Burst& burst, Outlet& outlet) {
  for (const auto& connection : connections_) {
    if (!same(connection->remote(), burst.remote) || connection->outlet() != &outlet) continue;
    if (!connection->receive_reset(packet, outlet, burst.remote)) continue;
    touched_.push_back(connection.get());
    return true;
  }
  return false;
}

void QuicTransport::admit(const Session::Initial& initial, const Burst& burst, Outlet& outlet) {
  Session::Initial accepted = initial;
  const size_t strangers = strangers_.size();
  if (!initial.token.empty()) {
    accepted.original_dcid = check_retry_token(initial, burst.remote, secret_, context_.now);
    if (!accepted.original_dcid) return answer_stranger(outlet, packet_memory_, write_refusal(packet_memory_, initial), burst);
  } else if (strangers >= options_.retry_from) {
    const size_t bytes =
        write_retry(packet_memory_, initial, burst.remote, secret_, context_.surroundings.random, context_.now);
    return answer_stranger(outlet, packet_memory_, bytes, burst);
  }
  if (strangers >= options_.max_unidentified) make_room_for_stranger();
  auto connection = std::make_unique<Connection>(context_, host(), secret_, 0);
  if (Status status = connection->accept(outlet, burst.remote, accepted); !status.ok()) {
    context_.log(LogLevel::warning, fmt::format("{} was turned away: {}", burst.remote.to_string(), status.message()));
    return;
  }
  strangers_.push_back(connection.get());
  connections_.push_back(std::move(connection));
}

// One that is over and only repeats its last words, or one of the network address that has the most; the oldest of them.
void QuicTransport::make_room_for_stranger() {
  const auto over = [](const Connection* stranger) { return stranger->state() == Connection::State::over; };
  auto victim = std::find_if(strangers_.begin(), strangers_.end(), over);
  if (victim == strangers_.end()) {
    std::map<uint64_t, size_t> networks;
    for (const Connection* stranger : strangers_) ++networks[stranger->remote().network()];
    const auto most =
        std::max_element(networks.begin(), networks.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    victim = std::find_if(strangers_.begin(), strangers_.end(),
                          [&](const Connection* stranger) { return stranger->remote().network() == most->first; });
  }
  (*victim)->push_out();
  strangers_.erase(victim);
}

void QuicTransport::on_hello(Connection& connection, const wire::Record& hello) {
  if (hello.code == static_cast<uint16_t>(wire::HelloKind::bootstrap) && connection.outlet()->listens()) {
    const ConnectionId id = ++last_id_;
    by_id_[id] = &connection;
    std::erase(strangers_, &connection);
    connection.settle(id, Event::Kind::accepted);
    return;
  }
  for (auto& [id, opened] : opened_) {
    if (!opened.passive || opened.token != hello.token || opened.arrival != nullptr) continue;
    std::erase(strangers_, &connection);
    if (!opened.joined) {
      opened.arrival = &connection;
      connection.wait_for_join();
      return;
    }
    by_id_[id] = &connection;
    connection.settle(id, Event::Kind::connected);
    opened_.erase(id);
    return;
  }
  connection.fail(Status(StatusCode::refused, "nobody expects its lane"), CloseCode::unexpected);
}

}  // namespace haul::quic
