// What an engine remembers of the paths to its peers: offered to the next connection's controller, and kept in a file.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/path_memory.h"
#include "haul/engine.h"
#include "haul/tcp.h"

namespace {

using namespace std::chrono_literals;
using namespace haul;
using haul::engine::PathMemories;

constexpr PathMemory learned{1'000'000, 20ms};

/// Has learned something, or failed with what it was given.
struct Learned final : CongestionController {
  explicit Learned(std::optional<PathMemory> given, bool fails = false) : memory_(given), failed_(fails) {}
  std::string_view name() const noexcept override { return "learned"; }
  std::string_view phase() const noexcept override { return "steady"; }
  void on_ack(TimePoint, const AckSample&) override {}
  void on_loss(TimePoint, const LossSample&) override {}
  void on_silence(TimePoint) override {}
  uint64_t window_bytes() const noexcept override { return 10'000'000; }
  std::optional<uint64_t> pacing_rate() const noexcept override { return std::nullopt; }
  std::optional<PathMemory> memory() const noexcept override { return memory_; }
  bool memory_failed() const noexcept override { return failed_; }

 private:
  std::optional<PathMemory> memory_;
  bool failed_;
};

struct Folder {
  Folder() : path(std::filesystem::temp_directory_path() / ("haul_path_memory." + std::to_string(getpid()))) {
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path path;
};

std::unique_ptr<Engine> make_engine(EngineOptions options) {
  tcp::Options tcp;
  tcp.io = tcp::Io::epoll;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(tcp::make_transport(std::move(tcp)).value());
  auto engine = Engine::create(std::move(options), std::move(transports));
  INFO(engine.status().to_string());
  REQUIRE(engine.ok());
  return std::move(*engine);
}

/// Connects, lets the controller be made, and closes.
void meet(Engine& from, Engine& to, const Address& address) {
  bool ready = false;
  PeerOptions options;
  options.on_ready = [&ready](Peer, const Status& status) { ready = status.ok(); };
  Peer peer = from.connect(address, options).value();
  const auto run = [&](const auto& until) {
    for (int i = 0; i < 10'000 && !until(); ++i) {
      if (from.poll() + to.poll() == 0) std::this_thread::sleep_for(200us);
    }
    return until();
  };
  REQUIRE(run([&] { return ready; }));
  peer.close();
  REQUIRE(run([&] { return peer.state() == PeerState::closed && to.peers().empty(); }));
}

}  // namespace

TEST_CASE("remembered paths: what a connection learned is for the next one, and what failed for nobody") {
  int64_t now_s = 1000;
  PathMemories memories([&now_s] { return now_s; });
  CHECK_FALSE(memories.start("b/tcp/out"));
  const Learned good(learned);
  memories.ended("b/tcp/out", false, &good);
  CHECK(memories.start("b/tcp/out") == learned);
  CHECK_FALSE(memories.start("b/tcp/out"));  // lent
  memories.ended("b/tcp/out", true, nullptr);
  CHECK(memories.start("b/tcp/out") == learned);
  const Learned nothing({});
  memories.ended("b/tcp/out", true, &nothing);
  CHECK(memories.start("b/tcp/out") == learned);
  const Learned failed({}, true);
  memories.ended("b/tcp/out", true, &failed);
  CHECK(memories.size() == 0);
  const Learned anew(learned, true);
  memories.ended("b/tcp/out", true, &anew);
  now_s += 25 * 3600;
  CHECK_FALSE(memories.start("b/tcp/out"));
  memories.ended("", false, &good);
  CHECK(memories.size() == 0);
}

TEST_CASE("remembered paths: names are of who was proved to be there, or of where we connect to") {
  PeerIdentity proved;
  proved.fingerprint = "sha256:12";
  CHECK(engine::path_name(proved, "host:1", "tcp", "out") == "sha256:12/tcp/out");
  CHECK(engine::path_name({}, "host:1", "rdma", "in") == "host:1/rdma/in");
  CHECK(engine::path_name({}, "", "tcp", "out").empty());
}

TEST_CASE("remembered paths: an engine offers them to the next connection, also after it was made anew") {
  const Folder folder;
  const std::string file = folder.path / "paths";
  std::vector<std::optional<PathMemory>> given;
  EngineOptions options;
  options.remembered_paths_file = file;
  options.wall_clock_s = [] { return int64_t{5000}; };
  options.congestion.make = [&given](const ControllerOptions& made) {
    given.push_back(made.memory);
    return std::make_unique<Learned>(learned);
  };
  const auto to = make_engine({});
  const Address address = to->listen({"127.0.0.1", 0}).value();
  auto from = make_engine(options);
  meet(*from, *to, address);
  meet(*from, *to, address);
  from.reset();
  from = make_engine(options);
  meet(*from, *to, address);
  REQUIRE(given.size() == 3);
  CHECK_FALSE(given[0]);
  CHECK(given[1] == learned);
  CHECK(given[2] == learned);
}

TEST_CASE("remembered paths: a file that is something else is refused, and left as it is") {
  const Folder folder;
  const std::string file = folder.path / "notes";
  std::ofstream(file) << "shopping list\n";
  PathMemories memories({});
  const Status status = memories.load(file);
  CHECK(status.code() == StatusCode::invalid);
  CHECK(status.message().find(file) != std::string_view::npos);
  CHECK(memories.save().ok());
  std::string line;
  std::getline(std::ifstream(file), line);
  CHECK(line == "shopping list");

  PathMemories elsewhere({});
  REQUIRE(elsewhere.load(folder.path / "no_such_folder" / "paths").ok());
  const Learned good(learned);
  elsewhere.ended("b/tcp/out", false, &good);
  CHECK(elsewhere.save().code() == StatusCode::internal);
}

TEST_CASE("remembered paths: the file has what a connection learned when it ends, once a second") {
  const Folder folder;
  const std::string file = folder.path / "paths";
  int64_t now_s = 5000;
  const auto clock = [&now_s] { return now_s; };
  PathMemories memories(clock);
  REQUIRE(memories.load(file).ok());
  const auto in_file = [&] {
    PathMemories reader(clock);
    REQUIRE(reader.load(file).ok());
    return reader.size();
  };
  const Learned good(learned);
  const Learned failed(std::nullopt, true);
  CHECK_FALSE(memories.save_soon());
  memories.ended("a/tcp/out", false, &good);
  memories.ended("a/tcp/in", false, &good);
  CHECK_FALSE(memories.save_soon());
  CHECK(in_file() == 2);
  memories.ended("b/tcp/out", false, &good);
  CHECK(memories.save_soon());  // again, when the second is over
  CHECK(in_file() == 2);
  ++now_s;
  CHECK_FALSE(memories.save_soon());
  CHECK(in_file() == 3);
  now_s -= 100;  // the clock was set
  memories.ended("b/tcp/out", true, &failed);
  CHECK_FALSE(memories.save_soon());
  CHECK(in_file() == 2);
  memories.ended("a/tcp/in", true, &failed);
  CHECK(memories.save_soon());
  CHECK(memories.save().ok());
  CHECK(in_file() == 1);
  CHECK_FALSE(memories.save_soon());
}

TEST_CASE("remembered paths: an engine that is killed has written what its connections learned") {
  const Folder folder;
  const std::string file = folder.path / "paths";
  EngineOptions options;
  options.remembered_paths_file = file;
  options.congestion.make = [](const ControllerOptions&) { return std::make_unique<Learned>(learned); };
  const auto from = make_engine(options);
  // The second one ends within a second of the first.
  for (int i = 0; i < 2; ++i) {
    const auto to = make_engine({});
    meet(*from, *to, to->listen({"127.0.0.1", 0}).value());
  }
  const auto in_file = [&] {
    PathMemories reader({});
    REQUIRE(reader.load(file).ok());
    return reader.size();
  };
  for (int i = 0; i < 10'000 && in_file() < 2; ++i) {
    if (from->poll() == 0) std::this_thread::sleep_for(200us);
  }
  CHECK(in_file() == 2);
}
