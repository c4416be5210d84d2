// Transfers, messages and grants through thread-safe handles.
#include <catch2/catch.hpp>

#include "runtime/runtime_pair.h"

using namespace haul;
using namespace haul::test;

namespace {

/// Holds an engine's thread until it is let go.
class Hold {
 public:
  Hold(Runtime& runtime, size_t engine) {
    std::promise<void> entered;
    const Status status = runtime.post(engine, [&entered, gate = released_.get_future().share()](Engine&) {
      entered.set_value();
      gate.wait();
    });
    if (!status.ok()) throw std::runtime_error(status.to_string());
    entered.get_future().wait();
  }
  ~Hold() { let_go(); }
  void let_go() {
    if (std::exchange(holding_, false)) released_.set_value();
  }

 private:
  std::promise<void> released_;
  bool holding_ = true;
};

}  // namespace

TEST_CASE("put with a notification, then get", "[runtime]") {
  RuntimePair pair;
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(pair.target.size())).value();
  const SharedBuffer back = take(pair.client->allocate(pair.target.size())).value();
  fill(source.bytes(), 3);

  std::atomic<bool> called = false;
  TransferOptions options;
  options.on_done = [&](const TransferResult& result) { called = result.status.ok(); };
  {
    const std::vector<std::byte> note(10);
    options.notify = note;
    const RemoteBuffer copy_that_ends_here = to.remote;
    auto put = to.peer.put(source.slice(), copy_that_ends_here.slice(), options);
    REQUIRE(put.status().to_string() == "ok");
    const TransferResult result = take(put->future());
    CHECK(result.status.to_string() == "ok");
    CHECK(result.bytes == source.size());
    CHECK(put->done());
  }
  CHECK(called);
  REQUIRE(RuntimePair::eventually([&] { return pair.notifications == 1; }));
  CHECK(std::memcmp(source.data(), pair.target.data(), source.size()) == 0);

  auto get = to.peer.get(back.slice(), to.remote.slice());
  REQUIRE(get.ok());
  CHECK(take(get->future()).status.to_string() == "ok");
  CHECK(std::memcmp(source.data(), back.data(), source.size()) == 0);
}

TEST_CASE("batches move scattered pieces", "[runtime]") {
  RuntimePair pair(1, 256 << 10);
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(pair.target.size())).value();
  fill(source.bytes(), 5);
  constexpr uint64_t piece_bytes = 1024;
  std::vector<SharedPiece> pieces;
  for (uint64_t offset = 0; offset < source.size(); offset += piece_bytes) {
    const uint64_t mirrored = source.size() - piece_bytes - offset;
    pieces.push_back({source.slice(offset, piece_bytes), to.remote.slice(mirrored, piece_bytes)});
  }
  auto put = to.peer.put_batch(pieces);
  REQUIRE(put.ok());
  CHECK(take(put->future()).status.to_string() == "ok");
  pair.see_what_landed();
  CHECK(std::memcmp(source.data(), pair.target.data() + source.size() - piece_bytes, piece_bytes) == 0);

  const std::vector<std::byte> put_bytes(source.bytes().begin(), source.bytes().end());
  fill(source.bytes(), 6);
  auto get = to.peer.get_batch(pieces);
  REQUIRE(get.ok());
  CHECK(take(get->future()).status.to_string() == "ok");
  CHECK(std::memcmp(source.data(), put_bytes.data(), put_bytes.size()) == 0);
}

TEST_CASE("threads put at the same time into several engines", "[runtime]") {
  constexpr size_t threads = 4;
  constexpr size_t puts = 32;
  constexpr uint64_t part_bytes = 64 << 10;
  RuntimePair pair(2, threads * puts * part_bytes, tcp_runtime(2));
  const SharedBuffer source = take(pair.client->allocate(pair.target.size())).value();
  fill(source.bytes(), 11);
  const std::vector<Connected> connections = {pair.connect(), pair.connect(), pair.connect(), pair.connect()};
  std::atomic<size_t> ok = 0;
  std::vector<std::thread> workers;
  for (size_t thread = 0; thread < threads; ++thread) {
    workers.emplace_back([&, thread] {
      std::vector<SharedTransfer> running;
      for (size_t i = 0; i < puts; ++i) {
        const uint64_t offset = (thread * puts + i) * part_bytes;
        const Connected& to = connections[(thread + i) % connections.size()];
        auto put = to.peer.put(source.slice(offset, part_bytes), to.remote.slice(offset, part_bytes));
        if (put) running.push_back(std::move(*put));
      }
      for (const SharedTransfer& transfer : running) ok += take(transfer.future()).status.ok() ? 1U : 0U;
    });
  }
  for (std::thread& worker : workers) worker.join();
  CHECK(ok == threads * puts);
  pair.see_what_landed();
  CHECK(std::memcmp(source.data(), pair.target.data(), source.size()) == 0);
}

TEST_CASE("errors in a transfer reach its future", "[runtime]") {
  RuntimePair pair;
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(4096)).value();
  auto too_long = to.peer.put(source.slice(1, 4096), to.remote.slice(0, 4096));
  REQUIRE(too_long.ok());
  CHECK(take(too_long->future()).status.code() == StatusCode::invalid);

  CHECK(to.peer.put(SharedSlice{}, to.remote.slice()).status().code() == StatusCode::invalid);
  CHECK(to.peer.put(source.slice(), RemoteSlice{}).status().code() == StatusCode::invalid);
  CHECK(to.peer.put(pair.target.slice(), to.remote.slice()).status().code() == StatusCode::invalid);  // the server's buffer
  CHECK(SharedPeer().put(source.slice(), to.remote.slice()).status().code() == StatusCode::invalid);
  CHECK(take(SharedPeer().send({})).code() == StatusCode::invalid);
}

TEST_CASE("cancel from another thread, before and after the start", "[runtime]") {
  RuntimePair pair(1, 8 << 20);
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(pair.target.size())).value();
  {
    Hold client_waits(*pair.client, 0);
    auto put = to.peer.put(source.slice(), to.remote.slice());
    REQUIRE(put.ok());
    put->cancel();
    put->cancel();
    CHECK_FALSE(put->done());
    client_waits.let_go();
    CHECK(take(put->future()).status.code() == StatusCode::cancelled);
  }
  {
    // While the server stands still the transfer cannot end: more bytes than the sockets between can hold.
    Hold server_waits(*pair.server, 0);
    const std::vector<SharedPiece> pieces(32, SharedPiece{source.slice(), to.remote.slice()});
    auto put = to.peer.put_batch(pieces);
    REQUIRE(put.ok());
    std::promise<void> started;
    REQUIRE(pair.client->post(0, [&](Engine&) { started.set_value(); }).ok());
    take(started.get_future());
    put->cancel();
    CHECK_FALSE(put->done());
    server_waits.let_go();
    CHECK(take(put->future()).status.code() == StatusCode::cancelled);
    put->cancel();  // over: does nothing
  }
  auto put = to.peer.put(source.slice(), to.remote.slice());
  REQUIRE(put.ok());
  CHECK(take(put->future()).status.to_string() == "ok");
}

TEST_CASE("a snapshot tells how far a transfer is, and what it waits for", "[runtime]") {
  RuntimePair pair(1, 8 << 20);
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(pair.target.size())).value();
  const std::vector<SharedPiece> pieces(32, SharedPiece{source.slice(), to.remote.slice()});
  const uint64_t total = pieces.size() * source.size();
  // While the server stands still the transfer cannot end.
  Hold server_waits(*pair.server, 0);
  auto put = to.peer.put_batch(pieces);
  REQUIRE(put.ok());
  const auto running = take(put->snapshot());
  REQUIRE(running.status().to_string() == "ok");
  CHECK(running->progress.bytes_total == total);
  CHECK(running->progress.bytes_done < total);
  CHECK_FALSE(running->waiting_for.empty());
  server_waits.let_go();
  REQUIRE(take(put->future()).status.to_string() == "ok");
  const auto over = take(put->snapshot());
  REQUIRE(over.status().to_string() == "ok");
  CHECK(over->progress.bytes_done == total);
  CHECK(over->progress.operations_outstanding == 0);
  CHECK(over->waiting_for.empty());

  CHECK(take(SharedTransfer().snapshot()).status().code() == StatusCode::invalid);
  REQUIRE(pair.client->shutdown(ShutdownMode::drain).ok());
  CHECK(take(put->snapshot()).status().code() == StatusCode::unavailable);
}

TEST_CASE("a full queue answers busy, and forgets nothing that it took", "[runtime]") {
  RuntimeOptions small = tcp_runtime(1);
  small.max_queued_calls = 8;
  RuntimePair pair(1, 1 << 20, std::move(small));
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(4096)).value();
  std::vector<SharedTransfer> taken;
  {
    Hold hold(*pair.client, 0);
    Status refused;
    for (int i = 0; i < 100 && refused.ok(); ++i) {
      auto put = to.peer.put(source.slice(), to.remote.slice(0, source.size()));
      if (put) taken.push_back(*put);
      refused = put.status();
    }
    CHECK(refused.code() == StatusCode::busy);
    CHECK(taken.size() == 8);
    CHECK(take(to.peer.send(source.bytes())).code() == StatusCode::busy);
    CHECK(take(pair.client->connect(pair.address)).status().code() == StatusCode::busy);
    CHECK(take(pair.client->allocate(4096)).status().code() == StatusCode::busy);
  }
  for (const SharedTransfer& transfer : taken) CHECK(take(transfer.future()).status.to_string() == "ok");
}

TEST_CASE("messages go both ways, and a revoked grant is refused", "[runtime]") {
  RuntimePair pair;
  const Connected to = pair.connect();
  const std::vector<std::byte> text(16);
  CHECK(take(to.peer.send(text)).to_string() == "ok");
  CHECK(take(to.peer.send(std::vector<std::byte>(1 << 20))).code() == StatusCode::invalid);

  SharedPeer seen_by_server;
  {
    const std::lock_guard lock(pair.mutex);
    seen_by_server = pair.accepted.front();
  }
  CHECK(take(seen_by_server.revoke(to.remote)).to_string() == "ok");
  CHECK(take(seen_by_server.revoke(to.remote)).code() == StatusCode::invalid);
  const SharedBuffer source = take(pair.client->allocate(4096)).value();
  auto put = to.peer.put(source.slice(), to.remote.slice(0, 4096));
  REQUIRE(put.ok());
  CHECK(take(put->future()).status.code() == StatusCode::refused);
}
