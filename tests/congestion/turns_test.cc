// Whose turn it is among those that share a budget.
#include "congestion/turns.h"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

namespace {

using haul::congestion::Turns;

/// Flows over one budget that lets one request through at a time.
struct Flow {
  uint64_t request_bytes = 1000;
  bool wants = true;
  bool held_elsewhere = false;  ///< it has something to send, and may not
  uint64_t taken = 0;
  Turns::Place place;
};

struct Shared {
  Turns turns;
  std::vector<Flow> flows;

  explicit Shared(size_t count) : flows(count) {}
  void run(uint64_t bytes) {
    for (uint64_t moved = 0; moved < bytes;) {
      Flow* next = nullptr;
      for (Flow& flow : flows) {
        turns.settle(flow.place, flow.wants && !flow.held_elsewhere);
        if (!flow.wants || flow.held_elsewhere) continue;
        if (next == nullptr || flow.place.bytes() < next->place.bytes()) next = &flow;
      }
      REQUIRE(next != nullptr);
      turns.took(next->place, next->request_bytes);
      next->taken += next->request_bytes;
      moved += next->request_bytes;
    }
  }
  /// What each takes of so many bytes.
  std::vector<uint64_t> shares(uint64_t bytes) {
    for (Flow& flow : flows) flow.taken = 0;
    run(bytes);
    std::vector<uint64_t> taken;
    for (const Flow& flow : flows) taken.push_back(flow.taken);
    return taken;
  }
};

}  // namespace

TEST_CASE("those that share get the same bytes, whatever the size of their requests") {
  Shared shared(3);
  shared.flows[0].request_bytes = 1'000'000;
  shared.flows[1].request_bytes = 700;
  for (const uint64_t share : shared.shares(30'000'000)) CHECK(share == Approx(1e7).margin(1e6));
}

TEST_CASE("nobody saves up turns that it did not want") {
  Shared shared(2);
  shared.flows[1].wants = false;
  shared.run(50'000'000);
  shared.flows[1].wants = true;
  for (const uint64_t share : shared.shares(100'000)) CHECK(share == Approx(50'000).margin(1000));
}

TEST_CASE("nobody saves up turns that it could not have used") {
  Shared shared(2);
  shared.run(10'000);
  shared.flows[1].held_elsewhere = true;
  shared.run(50'000'000);
  shared.flows[1].held_elsewhere = false;
  for (const uint64_t share : shared.shares(100'000)) CHECK(share == Approx(50'000).margin(1000));
}

TEST_CASE("who waited is owed what others took meanwhile") {
  Turns turns;
  std::array<Turns::Place, 2> places;
  turns.took(places[0], 5000);
  turns.took(places[0], 5000);
  for (auto& place : places) turns.settle(place, true);
  CHECK(places[1].bytes() + 10'000 == places[0].bytes());
  turns.settle(places[1], false);
  CHECK(places[1].bytes() + 5000 == places[0].bytes());
}

TEST_CASE("who comes is owed nothing and owes nothing") {
  Shared shared(2);
  shared.run(1'000'000);
  shared.flows.emplace_back().place = shared.turns.join();
  for (const uint64_t share : shared.shares(300'000)) CHECK(share == Approx(100'000).margin(2000));
}
