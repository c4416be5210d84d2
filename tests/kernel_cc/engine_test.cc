// An engine's congestion controller drives the kernel sockets of a peer's lanes, by the program in the kernel.
#include "haul/engine.h"

#include <cstdio>
#include <cstring>

#include "base/random.h"
#include "haul/tcp.h"
#include "stream.h"

using namespace haul;
using namespace haul::tcp::test;
using namespace std::chrono_literals;
using haul::tcp::KernelController;

namespace {

constexpr uint64_t mib = 1U << 20;

std::unique_ptr<Engine> make_engine(EngineOptions options, KernelController wanted) {
  tcp::Options tcp;
  tcp.io = tcp::Io::prefer_uring;
  tcp.kernel_controller = wanted;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(tcp::make_transport(std::move(tcp)).value());
  auto engine = Engine::create(std::move(options), std::move(transports));
  INFO(engine.status().to_string());
  REQUIRE(engine.ok());
  return std::move(*engine);
}

/// Two engines in one thread: `a` puts into memory of `b`.
struct Engines {
  Engines(const CongestionPolicy& policy, KernelController wanted, uint32_t lanes) {
    EngineOptions to_serve;
    to_serve.on_peer = [this](Peer peer) {
      remote = peer.grant(target.slice(), Rights::write).value();
      REQUIRE(peer.send(remote.serialize()).ok());
    };
    b = make_engine(to_serve, KernelController::off);
    target = b->allocate(size).value();
    EngineOptions to_send;
    to_send.congestion = policy;
    to_send.on_message = [this](Peer, const Message&) { granted = true; };
    a = make_engine(to_send, wanted);
    source = a->allocate(size).value();
    base::Random(1).fill(source.bytes());
    PeerOptions peer;
    peer.lanes = lanes;
    to_b = a->connect(b->listen({"127.0.0.1", 0}).value(), peer).value();
    REQUIRE(run([&] { return granted && to_b.stats().lanes.size() == lanes; }));
  }

  bool run(const std::function<bool()>& until, std::chrono::seconds limit = 30s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!until()) {
      if (std::chrono::steady_clock::now() > end) return false;
      if (a->poll() + b->poll() == 0) std::this_thread::sleep_for(100us);
    }
    return true;
  }
  /// Returns bytes a second.
  double put(
      uint64_t bytes, const std::function<void()>& each = [] {}) {
    const auto begin = std::chrono::steady_clock::now();
    const Transfer transfer = to_b.put(source.slice(0, bytes), remote.slice(0, bytes));
    REQUIRE(run([&] {
      each();
      return transfer.done();
    }));
    INFO(transfer.status().to_string());
    REQUIRE(transfer.status().ok());
    REQUIRE(std::memcmp(source.data(), target.data(), bytes) == 0);
    return static_cast<double>(bytes) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  PathStats path() const {
    const auto paths = to_b.stats().paths;
    REQUIRE(paths.size() == 1);
    return paths.front();
  }

  static constexpr uint64_t size = 32 * mib;
  bool granted = false;
  RemoteBuffer remote;
  std::unique_ptr<Engine> b;
  Buffer target;
  std::unique_ptr<Engine> a;
  Buffer source;
  Peer to_b;
};

// Bytes a second that sanitized code on a busy machine keeps up with, too.
constexpr uint64_t rate = 5'000'000;

CongestionPolicy fixed(uint64_t rate_bytes_s, uint64_t window) {
  return {"off", [=](const ControllerOptions& given) {
            ControllerOptions options = given;
            options.fixed_rate = rate_bytes_s;
            options.fixed_window_bytes = window;
            return congestion::make_fixed(options);
          }};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("kernel engine: lanes that the program steers keep one controller's rate together", "[kernel-cc]") {
  const Installed installed;
  constexpr uint32_t lanes = 3;
  Engines engines(fixed(rate, 4 * mib), KernelController::require, lanes);
  engines.put(mib);
  uint64_t most_obeying = 0;
  const double measured = engines.put(6 * mib, [&] { most_obeying = std::max(most_obeying, engines.path().lanes_obeying); });
  CHECK(measured < 1.06 * static_cast<double>(rate));
  CHECK(measured > 0.7 * static_cast<double>(rate));
  const PathStats path = engines.path();
  CHECK(path.steers == "window and pacing");
  CHECK(path.lanes == lanes);
  CHECK(most_obeying == lanes);
  CHECK(path.controller == "fixed");
  CHECK(path.rtt_min);
  const std::string text = engines.to_b.explain();
  INFO(text);
  CHECK(has(text, "congestion control haul (driven from here)"));
  CHECK(has(text, "it steers window and pacing, obeyed by"));
}

TEST_CASE("kernel engine: one controller's window is divided among the lanes", "[kernel-cc]") {
  const Installed installed;
  constexpr uint64_t window = mib;
  constexpr uint64_t packets_of_all = 4 * 1448;
  for (const uint32_t lanes : {1U, 4U}) {
    CAPTURE(lanes);
    Engines engines(fixed(50'000'000, window), KernelController::require, lanes);
    // A lane takes its share with its next acknowledgement, so that not every look finds all of them at their newest one.
    bool seen = false;
    engines.put(24 * mib, [&] {
      uint64_t windows = 0;
      for (const LaneStats& lane : engines.to_b.stats().lanes) windows += lane.path.congestion_window_bytes.value_or(0);
      seen |= windows <= window && windows + packets_of_all > window;
    });
    CHECK(seen);
  }
}

TEST_CASE("kernel engine: hub drives the kernel, and learns of the path", "[kernel-cc]") {
  const Installed installed;
  Engines engines({"hub", {}}, KernelController::require, 2);
  uint64_t widest = 0;
  for (int i = 0; i < 4; ++i) engines.put(Engines::size, [&] { widest = std::max(widest, engines.path().window_bytes); });
  const PathStats path = engines.path();
  CHECK(path.controller == "hub");
  CHECK(path.rtt_min);
  CHECK(path.rate_bytes_s.value_or(0) > 1'000'000);
  CHECK(widest > 10 * 1448);  // it began with that, and loopback need not hold more than a little more
}

TEST_CASE("kernel engine: hub drives lanes over a long path, also one that loses packets", "[kernel-cc]") {
  const auto lost = GENERATE(as<std::string>{}, "0%", "1%");
  const Netem path("10ms rate 40mbit loss " + lost);  // both ways: a round trip of 20 ms
  if (!path.works) {
    std::puts("SKIPPED: this kernel has no netem");
    return;
  }
  CAPTURE(lost);
  const Installed installed;
  Engines engines({"hub", {}}, KernelController::require, 3);
  const double measured = engines.put(12 * mib);
  // More than the window that it begins with brings. How much of such a path it fills shows where processors are not emulated
  // (tests/integration/test_kernel_cc.py): here a tenth of a second without one of them counts as the path's.
  CHECK(measured > 10 * 1448 / 0.020);
  const PathStats stats = engines.path();
  CHECK(stats.rtt_min.value_or(0ms) > 19ms);
  CHECK(stats.rtt_min.value_or(1s) < 60ms);
  CHECK(stats.lanes_obeying == stats.lanes);
}

TEST_CASE("kernel engine: an engine that is late loses its command, and takes over again", "[kernel-cc]") {
  const Installed installed;
  Engines engines(fixed(rate, 4 * mib), KernelController::require, 2);
  engines.put(2 * mib);
  std::this_thread::sleep_for(1500ms);  // longer than a command holds
  const double measured = engines.put(6 * mib);
  CHECK(measured < 1.06 * static_cast<double>(rate));
  CHECK(measured > 0.7 * static_cast<double>(rate));
  CHECK(engines.path().lanes_obeying > 0);
}

TEST_CASE("kernel engine: where the program is not installed, the kernel's own is paced", "[kernel-cc]") {
  Engines engines(fixed(rate, 4 * mib), KernelController::automatic, 2);
  engines.put(mib);
  const double measured = engines.put(4 * mib);
  CHECK(measured < 1.06 * static_cast<double>(rate));
  CHECK(engines.path().steers == "pacing");
  CHECK(engines.path().lanes_obeying == 0);
  CHECK(has(engines.to_b.explain(), "it steers the pacing over the backend's own congestion control"));
}
