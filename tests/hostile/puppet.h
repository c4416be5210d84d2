// A peer that is played by hand: a real transport with an identity, below engine messages that a test makes itself.
#pragma once

#include "engine/codec.h"
#include "host.h"
#include "unit/tcp_support.h"

namespace haul::hostile {

class Puppet {
 public:
  /// `other` is stepped together with it.
  Puppet(const Party& who, Host& other) : side_(options()), other_(&other) {
    REQUIRE(side_.transport->secure(who.context(), Protection::encrypted).ok());
  }

  /// Connects, introduces itself, and waits for the answer.
  void greet(const Address& address) {
    dial(address);
    send(engine::Hello{.incarnation = 77, .max_message_bytes = 8192, .max_lanes = 64, .name = "puppet", .library_version = {}});
    REQUIRE(run_until([&] { return find<engine::Hello>() != nullptr && !other_->arrived.empty(); }));
  }
  void dial(const Address& address) {
    const auto end = side_.transport->open({.address = address}, side_.now());
    REQUIRE(end.ok());
    first_ = end->connection;
    REQUIRE(side_.transport->join(first_, {}, side_.now()).ok());
    REQUIRE(run_until([&] { return connected(first_); }));
  }
  ConnectionId join_lane(std::span<const std::byte> endpoint, const Address& address) {
    const auto end = side_.transport->open({.address = address, .beside = first_}, side_.now());
    REQUIRE(end.ok());
    REQUIRE(side_.transport->join(end->connection, endpoint, side_.now()).ok());
    return end->connection;
  }

  /// Waits for room.
  void send(const engine::Control& message) { send(first_, message); }
  void send(ConnectionId lane, const engine::Control& message) {
    const auto bytes = engine::encode(message);
    REQUIRE(run_until([&] { return ended(lane) || side_.transport->send(lane, bytes, side_.now()); }));
  }
  ConnectionId first() const { return first_; }
  tcp::test::Side& side() { return side_; }

  bool connected(ConnectionId connection) const { return happened(connection, Event::Kind::connected); }
  bool ended(ConnectionId connection) const { return happened(connection, Event::Kind::closed); }
  bool ended() const { return ended(first_); }

  /// The `number`th message of its kind that came; null: not yet.
  template <typename T>
  const T* find(size_t number = 0) const {
    for (const engine::Control& message : came_) {
      if (const T* found = std::get_if<T>(&message); found != nullptr && number-- == 0) return found;
    }
    return nullptr;
  }
  template <typename T>
  size_t count() const {
    return static_cast<size_t>(
        std::count_if(came_.begin(), came_.end(), [](const auto& message) { return std::holds_alternative<T>(message); }));
  }

  bool run_until(const std::function<bool()>& until, Duration limit = patience) {
    return run({other_->engine.get()}, until, limit, [this] { step(); });
  }

 private:
  static tcp::Options options() {
    tcp::Options options = with_io(tcp::Io::epoll);
    options.kernel_tls = tcp::KernelTls::off;
    return options;
  }
  void step() {
    side_.step();
    for (; looked_at_ < side_.seen.size(); ++looked_at_) {
      const auto& event = side_.seen[looked_at_];
      if (event.kind != Event::Kind::message) continue;
      auto message = engine::decode(event.payload);  // which may view the event's bytes: they stay
      REQUIRE(message.ok());
      came_.push_back(std::move(*message));
    }
  }
  bool happened(ConnectionId connection, Event::Kind kind) const {
    return std::any_of(side_.seen.begin(), side_.seen.end(),
                       [&](const auto& event) { return event.connection == connection && event.kind == kind; });
  }

  tcp::test::Side side_;
  Host* other_;
  ConnectionId first_ = 0;
  size_t looked_at_ = 0;
  std::vector<engine::Control> came_;
};

}  // namespace haul::hostile
