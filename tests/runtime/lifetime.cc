// Starting, shutting down, and who keeps memory alive.
#include <catch2/catch.hpp>

#include "runtime/runtime_pair.h"

using namespace haul;
using namespace haul::test;

namespace {

/// Memory of the test's own, and whether haul still needs it.
struct OwnMemory {
  explicit OwnMemory(size_t bytes) : data(std::make_shared<std::vector<std::byte>>(bytes)), watch(data) {}
  std::span<std::byte> span() const { return *watch.lock(); }
  std::shared_ptr<std::vector<std::byte>> data;
  std::weak_ptr<std::vector<std::byte>> watch;
};

/// Starts transfers to one place from several threads until they are refused, and waits for the ones that were taken.
struct Load {
  explicit Load(const Connected& to, const SharedBuffer& source, uint64_t place = 0) {
    for (int thread = 0; thread < 3; ++thread) {
      workers.emplace_back([this, &to, source, place] {
        const auto end = std::chrono::steady_clock::now() + patience;
        std::vector<SharedTransfer> taken;
        while (std::chrono::steady_clock::now() < end) {
          auto put = to.peer.put(source.slice(), to.remote.slice(place, source.size()));
          if (put) {
            taken.push_back(*put);
            ++started;
          } else if (put.status().code() == StatusCode::busy) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          } else {
            unavailable += put.status().code() == StatusCode::unavailable ? 1 : 0;
            break;
          }
        }
        for (const SharedTransfer& transfer : taken) {
          const StatusCode code = take(transfer.future()).status.code();
          ok += code == StatusCode::ok ? 1 : 0;
          lost += code == StatusCode::peer_lost ? 1 : 0;
        }
      });
    }
  }
  void join() {
    for (std::thread& worker : workers) worker.join();
  }

  std::atomic<int> started = 0, ok = 0, lost = 0, unavailable = 0;
  std::vector<std::thread> workers;
};

}  // namespace

TEST_CASE("options that make no sense are refused", "[runtime]") {
  RuntimeOptions none = tcp_runtime(0);
  CHECK(Runtime::create(std::move(none)).status().code() == StatusCode::invalid);
  RuntimeOptions no_queue = tcp_runtime(1);
  no_queue.max_queued_calls = 0;
  CHECK(Runtime::create(std::move(no_queue)).status().code() == StatusCode::invalid);
  CHECK(Runtime::create(RuntimeOptions{}).status().code() == StatusCode::invalid);
}

TEST_CASE("an engine that cannot be made is reported, and the others end", "[runtime]") {
  RuntimeOptions options = tcp_runtime(3);
  options.make_engine = [make = options.make_engine](size_t index) -> Result<EngineParts> {
    if (index == 2) return Status(StatusCode::unsupported, "not this one");
    return make(index);
  };
  CHECK(Runtime::create(std::move(options)).status().to_string() == "unsupported: not this one");
}

TEST_CASE("what cannot be connected or listened on is reported", "[runtime]") {
  RuntimePair pair;
  CHECK(take(pair.client->connect({"127.0.0.1", 1})).status().code() == StatusCode::unavailable);
  CHECK(take(pair.client->connect({"192.0.2.1", 1})).status().code() == StatusCode::refused);
  CHECK(take(pair.client->listen({"127.0.0.1", pair.address.port})).status().code() == StatusCode::unavailable);
  CHECK(take(pair.client->listen({"127.0.0.1", 0}, 7)).status().code() == StatusCode::invalid);
  CHECK(pair.client->post(7, [](Engine&) {}).code() == StatusCode::invalid);
}

TEST_CASE("shutdown is not for engine threads", "[runtime]") {
  RuntimePair pair;
  std::promise<Status> answer;
  REQUIRE(pair.client->post(0, [&](Engine&) { answer.set_value(pair.client->shutdown(ShutdownMode::abort)); }).ok());
  CHECK(take(answer.get_future()).code() == StatusCode::invalid);
}

TEST_CASE("draining under load: what was taken ends ok, then calls are refused", "[runtime]") {
  RuntimePair pair;
  const Connected to = pair.connect();
  {
    const SharedBuffer source = take(pair.client->allocate(256 << 10)).value();
    Load load(to, source);
    REQUIRE(RuntimePair::eventually([&] { return load.started > 50; }));
    CHECK(pair.client->shutdown(ShutdownMode::drain).to_string() == "ok");
    load.join();
    CHECK(load.ok == load.started);
    CHECK(load.unavailable == 3);
  }
  CHECK(pair.client->shutdown(ShutdownMode::abort).ok());
  CHECK(take(pair.client->allocate(4096)).status().code() == StatusCode::unavailable);
  CHECK(RuntimePair::eventually([&] { return pair.closed == 1; }));
}

TEST_CASE("aborting under load: every future is ready", "[runtime]") {
  RuntimePair pair;
  const Connected to = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(256 << 10)).value();
  Load load(to, source);
  REQUIRE(RuntimePair::eventually([&] { return load.started > 50; }));
  CHECK(pair.client->shutdown(ShutdownMode::abort).to_string() == "ok");
  load.join();
  CHECK(load.ok + load.lost == load.started);
  CHECK(load.unavailable == 3);
}

TEST_CASE("both sides may be shut down at once", "[runtime]") {
  RuntimePair pair(2, 1 << 20, tcp_runtime(2));
  const Connected to = pair.connect();
  const Connected too = pair.connect();
  const SharedBuffer source = take(pair.client->allocate(256 << 10)).value();
  Load load(to, source), more(too, source, source.size());
  REQUIRE(RuntimePair::eventually([&] { return load.started > 20 && more.started > 20; }));
  std::thread other([&] { pair.server->shutdown(ShutdownMode::abort); });
  pair.client->shutdown(ShutdownMode::abort);
  other.join();
  load.join();
  more.join();
  CHECK(load.ok + load.lost == load.started);
  CHECK(more.ok + more.lost == more.started);
}

TEST_CASE("a connection attempt that shutdown meets is answered", "[runtime]") {
  auto client = make_runtime(tcp_runtime(1));
  std::promise<void> entered, release;
  REQUIRE(client
              ->post(0,
                     [&](Engine&) {
                       entered.set_value();
                       release.get_future().wait();
                     })
              .ok());
  take(entered.get_future());
  auto peer = client->connect({"127.0.0.1", 1});
  release.set_value();
  client->shutdown(ShutdownMode::abort);
  CHECK_FALSE(take(peer).ok());
}

TEST_CASE("handles may outlive the runtime", "[runtime]") {
  Connected to;
  SharedBuffer source;
  SharedTransfer put;
  {
    RuntimePair pair;
    to = pair.connect();
    source = take(pair.client->allocate(4096)).value();
    put = to.peer.put(source.slice(), to.remote.slice(0, 4096)).value();
    take(put.future());
  }
  CHECK(put.done());
  put.cancel();
  CHECK(source.size() == 4096);
  CHECK(to.peer.put(source.slice(), to.remote.slice(0, 4096)).status().code() == StatusCode::unavailable);
  CHECK(to.peer.close().code() == StatusCode::unavailable);
}

TEST_CASE("the caller's memory is held by handles and transfers, then let go", "[runtime]") {
  RuntimePair pair(1, 1 << 20, tcp_runtime(2));
  const Connected to = pair.connect();
  OwnMemory own(1 << 20);
  auto registered = take(pair.client->register_memory(own.span(), own.data));
  REQUIRE(registered.ok());
  own.data.reset();
  CHECK_FALSE(own.watch.expired());
  auto put = to.peer.put(registered->slice(), to.remote.slice());
  REQUIRE(put.ok());
  *registered = SharedBuffer();
  CHECK(take(put->future()).status.to_string() == "ok");
  CHECK(RuntimePair::eventually([&] { return own.watch.expired(); }));
  CHECK(take(pair.client->allocate(0)).status().code() == StatusCode::invalid);
}

TEST_CASE("a grant holds its memory until it is revoked, or its peer is gone", "[runtime]") {
  RuntimePair pair;
  const Connected to = pair.connect();
  SharedPeer seen_by_server;
  {
    const std::lock_guard lock(pair.mutex);
    seen_by_server = pair.accepted.front();
  }
  OwnMemory first(4096), second(4096);
  std::vector<RemoteBuffer> grants;
  for (OwnMemory* own : {&first, &second}) {
    auto registered = take(pair.server->register_memory(own->span(), own->data));
    REQUIRE(registered.ok());
    own->data.reset();
    auto granted = take(seen_by_server.grant(registered->slice(), Rights::read));
    REQUIRE(granted.status().to_string() == "ok");
    grants.push_back(*granted);
  }
  std::promise<void> settled;
  REQUIRE(pair.server->post(0, [&](Engine&) { settled.set_value(); }).ok());
  take(settled.get_future());
  CHECK_FALSE(first.watch.expired());
  CHECK(take(seen_by_server.revoke(grants[0])).to_string() == "ok");
  CHECK(RuntimePair::eventually([&] { return first.watch.expired(); }));
  CHECK_FALSE(second.watch.expired());
  CHECK(to.peer.close().ok());
  CHECK(RuntimePair::eventually([&] { return second.watch.expired(); }));
}
