// Contract: congestion control changes when bytes go, never whether they arrive.
#include "haul/congestion.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "contract/fixture.h"

namespace haul::contract {
namespace {

constexpr uint64_t MiB = 1U << 20;

Pair controlled_pair(Harness& harness, const CongestionPolicy& policy, uint32_t lanes = 2) {
  EngineOptions options = harness.options();
  options.congestion = policy;
  Node& a = harness.start("a", options);
  Node& b = harness.start("b", options);
  PeerOptions peer;
  peer.lanes = lanes;
  return harness.connect(a, b, peer);
}

void moves_both_ways(Harness& harness, Pair& pair) {
  const uint64_t size = 12 * MiB + 5;
  const Buffer source = allocate_filled(pair.a, size, 1);
  const Buffer target = allocate(pair.b, size);
  const Buffer back = allocate(pair.a, size);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  TransferOptions options;
  options.notify = bytes_of("all there");
  finish_ok(harness, pair.to_b.put(source.slice(), remote.slice(), std::move(options)));
  REQUIRE(harness.run([&] { return !pair.b.inbox.letters.empty(); }));
  CHECK(same(source.bytes(), target.bytes()));
  finish_ok(harness, pair.to_b.get(back.slice(), remote.slice()));
  CHECK(same(back.bytes(), target.bytes()));
  std::vector<Piece> pieces;
  for (uint64_t i = 0; i < 500; ++i) pieces.push_back({source.slice(i * 4096, 4000), remote.slice((499 - i) * 4096, 4000)});
  finish_ok(harness, pair.to_b.put_batch(pieces));
  CHECK(same(source.bytes().first(4000), target.bytes().subspan(499 * 4096, 4000)));
}

/// What a controller was told.
struct Told {
  int silences = 0;
  int acks = 0;
  int limited = 0;  ///< of those, by what was to be sent
};

/// Doubles whatever is lost: what a user brings. Over real sockets the kernel may lose something, and sends it again.
class Doubling final : public CongestionController {
 public:
  explicit Doubling(const ControllerOptions& options, Told* told = nullptr)
      : window_(2 * uint64_t{options.packet_bytes}), options_(options), told_(told) {}
  std::string_view name() const noexcept override { return "doubling"; }
  std::string_view phase() const noexcept override { return "doubling"; }
  void on_ack(TimePoint, const AckSample& sample) override {
    window_ = std::min(window_ + sample.acked_bytes, options_.max_window_bytes);
    if (told_ == nullptr) return;
    ++told_->acks;
    told_->limited += sample.app_limited ? 1 : 0;
  }
  void on_loss(TimePoint, const LossSample&) override {}
  void on_silence(TimePoint) override {
    if (told_ != nullptr) ++told_->silences;
  }
  uint64_t window_bytes() const noexcept override { return window_; }
  std::optional<uint64_t> pacing_rate() const noexcept override { return std::nullopt; }

 private:
  uint64_t window_;
  ControllerOptions options_;
  Told* told_;
};

bool says(const Peer& peer, std::string_view text) { return peer.explain().find(text) != std::string::npos; }

/// `told` outlives the engines.
CongestionPolicy telling(Told& told) {
  return {"off", [&told](const ControllerOptions& options) { return std::make_unique<Doubling>(options, &told); }};
}

}  // namespace

BACKEND_TEST_CASE("bytes arrive under every congestion controller", "[contract][congestion]") {
  std::vector<std::string> names(congestion::names().begin(), congestion::names().end());
  names.emplace_back("automatic");
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto made = backend.make();
    Harness& harness = *made;
    Pair pair = controlled_pair(harness, {name, {}});
    moves_both_ways(harness, pair);
    // Whoever takes packets into its own hands is left alone.
    const auto who = harness.abilities().transport;
    const auto paths = pair.to_b.stats().paths;
    if (who != "rdma" && who != "tcp") {
      CHECK(paths.empty());
    } else if (name == "automatic") {
      CHECK(says(pair.to_b, "(automatic: "));
    } else {
      CHECK(paths.size() == (who == "rdma" ? 2 : 1));
      for (const PathStats& path : paths) CHECK(path.controller == name);
    }
  }
}

TEST_CASE("automatic is hub from a round trip of 2 ms on, below nobody", "[contract][congestion]") {
  const Duration rtt = GENERATE(Duration(2ms) - 1us, Duration(2ms));
  TcpHarness harness;
  EngineOptions options = harness.options();
  options.congestion.controller = "automatic";
  Node& a = harness.start("a", options);
  a.record->lowest_rtt = rtt;
  Pair pair = harness.connect(a, harness.start("b", options));
  REQUIRE(harness.run([&] { return says(pair.to_b, "(automatic: "); }));
  const auto paths = pair.to_b.stats().paths;
  if (rtt == 2ms) {
    CHECK(says(pair.to_b, "(automatic: the lowest round trip is 2000 us)"));
    REQUIRE(paths.size() == 1);
    CHECK(paths[0].controller == "hub");
  } else {
    CHECK(says(pair.to_b, "nobody but the backend (automatic: a round trip of 1999 us is a rack's)"));
    CHECK(paths.empty());
  }
  moves_both_ways(harness, pair);
}

TEST_CASE("automatic lets rdma's operations measure before it decides", "[contract][congestion]") {
  RdmaHarness harness;
  Pair pair = controlled_pair(harness, {"automatic", {}});
  harness.run_for(10ms);
  CHECK(says(pair.to_b, "automatic, not decided before the round trip is known"));
  REQUIRE(pair.to_b.stats().paths.size() == 2);
  CHECK(pair.to_b.stats().paths[0].controller == "none");
  moves_both_ways(harness, pair);
  CHECK(says(pair.to_b, "nobody but the backend (automatic: a round trip of "));
  CHECK(pair.to_b.stats().paths.empty());
}

BACKEND_TEST_CASE("a controller of one's own is told of what arrives", "[contract][congestion]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair =
      controlled_pair(harness, {"off", [](const ControllerOptions& options) { return std::make_unique<Doubling>(options); }});
  if (skip_unless(harness.abilities().transport == "rdma" || harness.abilities().transport == "tcp",
                  "the engine controls the path"))
    return;
  moves_both_ways(harness, pair);
  const auto paths = pair.to_b.stats().paths;
  REQUIRE_FALSE(paths.empty());
  for (const PathStats& path : paths) {
    CHECK(path.controller == "doubling");
    CHECK(path.window_bytes > 6 * MiB);
  }
}

TEST_CASE("operations outstanding stay within the controller's window", "[contract][congestion]") {
  RdmaHarness harness;
  constexpr uint64_t window = 3 * (256U << 10);
  const auto fixed = [](const ControllerOptions& given) {
    ControllerOptions options = given;
    options.fixed_rate = uint64_t{1} << 40;
    options.fixed_window_bytes = window;
    return congestion::make_fixed(options);
  };
  Pair pair = controlled_pair(harness, {"off", fixed}, 4);
  const Buffer source = allocate_filled(pair.a, 16 * MiB, 1);
  const Buffer target = allocate(pair.b, 16 * MiB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  for (const bool put : {true, false}) {
    CAPTURE(put);
    uint64_t most = 0;
    const Transfer transfer =
        put ? pair.to_b.put(source.slice(), remote.slice()) : pair.to_b.get(source.slice(), remote.slice());
    REQUIRE(harness.run([&] {
      uint64_t outstanding = 0;
      for (const LaneStats& lane : pair.to_b.stats().lanes) outstanding += lane.bytes_outstanding;
      most = std::max(most, outstanding);
      return transfer.done();
    }));
    CHECK(transfer.status().ok());
    CHECK(most == window);
  }
}

TEST_CASE("a lane that dies leaves nothing in the controller's books", "[contract][congestion]") {
  RdmaHarness harness;
  Pair pair = controlled_pair(harness, {"cubic", {}}, 3);
  const Buffer source = allocate_filled(pair.a, 16 * MiB, 1);
  const Buffer target = allocate(pair.b, 16 * MiB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const Transfer put = pair.to_b.put(source.slice(), remote.slice());
  const auto in_flight = [&pair] {
    const auto paths = pair.to_b.stats().paths;
    return paths.size() == 2 ? std::optional(paths[0].in_flight_bytes + paths[1].in_flight_bytes) : std::nullopt;
  };
  REQUIRE(harness.run([&] { return put.progress().bytes_done > MiB && in_flight() > 0; }));
  harness.fabric().fail_next("a", rdma::Outcome::retry_exceeded);
  finish_ok(harness, put);
  CHECK(same(source.bytes(), target.bytes()));
  CHECK(pair.a.record->connections_lost == 1);
  CHECK(in_flight() == 0);
}

TEST_CASE("a controller hears that a budget held back what its path would have carried", "[contract][congestion]") {
  Told told;
  RdmaHarness harness;
  Pair pair = controlled_pair(harness, telling(told));
  pair.to_b.limit_rate(10'000'000);
  const Buffer source = allocate_filled(pair.a, 8 * MiB, 1);
  const Buffer target = allocate(pair.b, 8 * MiB);
  Transfer put = pair.to_b.put(source.slice(), grant(pair.to_a, target.slice()).slice());
  harness.run_for(300ms);
  REQUIRE_FALSE(put.done());
  const auto paths = pair.to_b.stats().paths;
  REQUIRE(paths.size() == 2);
  CHECK(paths[0].limited_by == "budget");
  CHECK(paths[1].limited_by == "nothing to send");
  put.cancel();
  REQUIRE(harness.run([&] { return put.done(); }));
  harness.run_for(1ms);
  CHECK(pair.to_b.stats().paths[0].limited_by == "nothing to send");
  CHECK(says(pair.to_b, "none limits now"));
  REQUIRE(told.acks >= 5);
  CHECK(told.limited >= told.acks - 1);
}

TEST_CASE("a budget is said to limit tcp, too", "[contract][congestion]") {
  TcpHarness harness;
  Pair pair = controlled_pair(harness, {"cubic", {}});
  pair.to_b.limit_rate(10'000'000);
  const Buffer source = allocate_filled(pair.a, 8 * MiB, 1);
  const Buffer target = allocate(pair.b, 8 * MiB);
  const Transfer put = pair.to_b.put(source.slice(), grant(pair.to_a, target.slice()).slice());
  CHECK(harness.run([&] {
    const auto stats = pair.to_b.stats();
    return !stats.paths.empty() && stats.paths[0].limited_by == "budget";
  }));
  pair.to_b.limit_rate(std::nullopt);
  finish_ok(harness, put);
}

TEST_CASE("an engine that comes late takes for silence only what it has not heard by then", "[contract][congestion]") {
  Told told;
  RdmaHarness harness;
  Pair pair = controlled_pair(harness, telling(told), 1);
  const Buffer source = allocate_filled(pair.a, 100'000, 1);
  const Buffer target = allocate(pair.b, 100'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const Transfer put = pair.to_b.put(source.slice(), remote.slice());
  REQUIRE(harness.run([&] { return put.progress().operations_outstanding > 0; }));
  pair.a.stalled = true;
  harness.run_for(1500ms);  // a second is silence before the first round trip is known
  pair.a.stalled = false;
  finish_ok(harness, put);
  CHECK(told.acks > 0);
  CHECK(told.silences == 0);
}

TEST_CASE("a paced path whose lanes are all gone does not keep the engine awake", "[contract][congestion]") {
  RdmaHarness harness;
  const auto slow = [](const ControllerOptions& given) {
    ControllerOptions options = given;
    options.fixed_rate = 10'000'000;
    options.fixed_window_bytes = uint64_t{1} << 30;
    return congestion::make_fixed(options);
  };
  EngineOptions options = harness.options();
  options.congestion = {"off", slow};
  PeerOptions peer;
  peer.lanes = 2;
  peer.policy.require = {"rdma"};
  Pair pair = harness.connect(harness.start("a", options), harness.start("b", options), peer);
  const Buffer source = allocate_filled(pair.a, 16 * MiB, 1);
  const Buffer target = allocate(pair.b, 16 * MiB);
  const Transfer put = pair.to_b.put(source.slice(), grant(pair.to_a, target.slice()).slice());
  const auto paths = [&pair] { return pair.to_b.stats().paths; };
  REQUIRE(harness.run([&] { return !paths().empty() && paths()[0].limited_by == "pacing"; }));
  harness.fabric().partition("a", "b");
  harness.fabric().break_queue_pairs("a");
  const auto over_rdma = [](const LaneStats& lane) { return lane.description.find("rdma over") != std::string::npos; };
  REQUIRE(harness.run([&] {
    const auto lanes = pair.to_b.stats().lanes;
    return std::none_of(lanes.begin(), lanes.end(), over_rdma);
  }));
  harness.run_for(100ms);  // the next operation's turn would have come
  REQUIRE_FALSE(put.done());
  uint64_t rounds = 0;
  harness.run([&rounds] { return ++rounds > 100'000; }, 100ms);
  CHECK(rounds < 1000);
}

TEST_CASE("who reads slowly what we send is not silent", "[contract][congestion]") {
  TcpHarness harness;
  const auto slow = [](const ControllerOptions& given) {
    ControllerOptions options = given;
    options.fixed_rate = 1;  // what the backend goes down to, some MB/s
    options.fixed_window_bytes = uint64_t{1} << 30;
    return congestion::make_fixed(options);
  };
  Pair pair = controlled_pair(harness, {"off", slow}, 1);
  const Buffer back = allocate(pair.a, 6 * MiB);
  const Buffer source = allocate_filled(pair.b, 6 * MiB, 1);
  // Longer than the peer's timeout, in which the reader has nothing to say.
  finish_ok(harness, pair.to_b.get(back.slice(), grant(pair.to_a, source.slice()).slice()));
  CHECK(same(source.bytes(), back.bytes()));
}

BACKEND_TEST_CASE("a controller that does not exist is refused", "[contract][congestion]") {
  const auto made = backend.make();
  Harness& harness = *made;
  EngineOptions options = harness.options();
  options.congestion.controller = "reno";
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(harness.make_transport("a"));
  const auto engine = Engine::create(options, std::move(transports));
  REQUIRE_FALSE(engine.ok());
  CHECK(engine.status().code() == StatusCode::invalid);
  CHECK(engine.status().message().find("there are: hub bbr") != std::string_view::npos);
  Node& b = harness.start("b");
  PeerOptions peer;
  peer.congestion = CongestionPolicy{"reno", {}};
  CHECK(b.engine->connect(b.address, peer).status().code() == StatusCode::invalid);
}

}  // namespace haul::contract
