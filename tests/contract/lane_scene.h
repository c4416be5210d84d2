// Two engines over real sockets whose number of lanes is left open, and streams of transfers between them.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "contract/fixture.h"

namespace haul::contract {

inline constexpr uint64_t piece = 8U << 20;
inline constexpr uint64_t slow_lane = 8'000'000;  // bytes per second

/// Nothing bounds what it steers but the rate, where there is one.
inline CongestionPolicy steady(uint64_t rate_bytes_s = uint64_t{1} << 40) {
  return {"off", [rate_bytes_s](const ControllerOptions& given) {
            ControllerOptions options = given;
            options.fixed_rate = rate_bytes_s;
            options.fixed_window_bytes = uint64_t{1} << 30;
            return congestion::make_fixed(options);
          }};
}

/// One side keeps putting, or getting, each time other bytes, and looks at each that arrived.
struct Stream {
  Stream(Node& from, Node& to, Peer there, Peer back, uint64_t seed, Op op = Op::write)
      : op(op),
        there(there),
        back(back),
        local(allocate_filled(from, piece, seed)),
        target(allocate(to, piece)),
        remote(grant(this->back, target.slice())) {}
  void go_on() {
    if (puts > 0 && !put.done()) return;
    if (puts > 0) {
      INFO(put.status().to_string());
      REQUIRE(put.status().ok());
      REQUIRE(same(local.bytes(), target.bytes()));
      fill_pattern((op == Op::write ? local : target).bytes(), puts);
    }
    put = op == Op::write ? there.put(local.slice(), remote.slice()) : there.get(local.slice(), remote.slice());
    ++puts;
  }

  Op op;
  Peer there;
  Peer back;
  Buffer local;
  Buffer target;
  RemoteBuffer remote;
  Transfer put;
  uint64_t puts = 0;
};

struct Scene {
  explicit Scene(const CongestionPolicy& policy, PeerOptions peer = {}, uint32_t most_lanes = 64) {
    EngineOptions options = harness.options();
    options.congestion = policy;
    a = &harness.start("a", options);
    EngineOptions other = harness.options();
    other.max_lanes_per_peer = most_lanes;
    b = &harness.start("b", other);
    peer_options = std::move(peer);
  }
  /// As buffers would on a long way.
  void hold_lanes() const { hold_lanes_of(*a); }
  static void hold_lanes_of(const Node& node) {
    node.record->lane_rate = slow_lane;
    node.record->held_by_buffers = true;
    node.record->lowest_rtt = 10ms;
  }
  void connect() { pair.emplace(harness.connect(*a, *b, peer_options)); }
  Stream stream_there() { return {*a, *b, pair->to_b, pair->to_a, 1}; }
  Stream stream_of_gets() { return {*a, *b, pair->to_b, pair->to_a, 2, Op::read}; }
  Stream stream_back() { return {*b, *a, pair->to_a, pair->to_b, 1000}; }
  uint64_t wanted() const { return pair->to_b.stats().lanes_wanted; }
  /// All streams go on until then. False: it did not come in time.
  bool run(std::initializer_list<Stream*> streams, const std::function<bool()>& until) {
    return harness.run([&] {
      for (Stream* stream : streams) stream->go_on();
      return until();
    });
  }
  bool says(std::string_view text) const { return pair->to_b.explain().find(text) != std::string::npos; }

  TcpHarness harness;
  Node* a = nullptr;
  Node* b = nullptr;
  PeerOptions peer_options;
  std::optional<Pair> pair;
};

}  // namespace haul::contract
