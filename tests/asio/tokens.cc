// Completion tokens: where, when and with what the handlers are called.
#include <asio/bind_executor.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/use_future.hpp>
#include <catch2/catch.hpp>

#include "asio/engine_pair.h"

using namespace haul;
using haul::test::EnginePair;

namespace {

/// Counts what is allocated through it.
template <typename T>
struct CountingAllocator {
  using value_type = T;
  explicit CountingAllocator(std::pair<int, int>* counted) : counts(counted) {}
  template <typename U>
  explicit CountingAllocator(const CountingAllocator<U>& other) : counts(other.counts) {}
  T* allocate(size_t count) {
    ++counts->first;
    return std::allocator<T>().allocate(count);
  }
  void deallocate(T* memory, size_t count) {
    ++counts->second;
    std::allocator<T>().deallocate(memory, count);
  }
  bool operator==(const CountingAllocator&) const = default;
  std::pair<int, int>* counts;
};

/// A handler with an allocator and an executor of its own, that cannot be copied.
struct OwnHandler {
  using allocator_type = CountingAllocator<int>;
  using executor_type = asio::io_context::executor_type;
  allocator_type get_allocator() const noexcept { return allocator_type(counts); }
  executor_type get_executor() const noexcept { return context->get_executor(); }
  void operator()(const Status& status) { *outcome = status; }

  std::pair<int, int>* counts;
  asio::io_context* context;
  std::unique_ptr<std::optional<Status>*> keeps_it_unique;
  std::optional<Status>* outcome;
};

}  // namespace

TEST_CASE("a callback gets the status, never from inside the call", "[asio]") {
  EnginePair pair;
  pair.connect();
  std::optional<Status> put, bad;
  pair.peer.async_put(pair.source.slice(), pair.remote.slice(), [&](Status status) { put = status; });
  pair.peer.async_put(pair.source.slice(1, pair.source.size()), pair.remote.slice(), [&](Status status) { bad = status; });
  CHECK_FALSE(put);
  CHECK_FALSE(bad);
  REQUIRE(pair.run_until([&] { return put && bad; }));
  CHECK(put->to_string() == "ok");
  CHECK(bad->code() == StatusCode::invalid);
  CHECK(pair.target_is_source());
}

TEST_CASE("the caller's on_done comes first, with the bytes", "[asio]") {
  EnginePair pair;
  pair.connect();
  std::optional<uint64_t> bytes;
  std::optional<Status> got;
  TransferOptions options;
  options.on_done = [&](const TransferResult& result) {
    CHECK_FALSE(got);
    bytes = result.bytes;
  };
  pair.peer.async_get(pair.source.slice(), pair.remote.slice(), options, [&](Status status) { got = status; });
  REQUIRE(pair.run_until([&] { return got.has_value(); }));
  CHECK(got->to_string() == "ok");
  CHECK(bytes == pair.source.size());
  CHECK(pair.target_is_source());
}

TEST_CASE("use_future gives the status", "[asio]") {
  EnginePair pair;
  pair.connect();
  std::future<Status> put = pair.peer.async_put(pair.source.slice(), pair.remote.slice(), asio::use_future);
  const auto ready = [&] { return put.wait_for(std::chrono::seconds(0)) == std::future_status::ready; };
  CHECK_FALSE(ready());
  REQUIRE(pair.run_until(ready));
  CHECK(put.get().to_string() == "ok");
  CHECK(pair.target_is_source());
}

TEST_CASE("deferred starts nothing until it is called", "[asio]") {
  EnginePair pair;
  pair.connect();
  auto put = pair.peer.async_put(pair.source.slice(), pair.remote.slice(), asio::experimental::deferred);
  CHECK(pair.sender->stats().transfers_started == 0);
  std::optional<Status> done;
  std::move(put)([&](Status status) { done = status; });
  REQUIRE(pair.run_until([&] { return done.has_value(); }));
  CHECK(done->to_string() == "ok");
}

TEST_CASE("a handler runs on its associated executor, which stays alive for it", "[asio]") {
  EnginePair pair;
  pair.connect();
  asio::io_context other;
  std::optional<Status> put;
  pair.peer.async_put(pair.source.slice(), pair.remote.slice(),
                      asio::bind_executor(other, [&](Status status) { put = status; }));
  CHECK(other.poll() == 0);
  CHECK_FALSE(other.stopped());  // the operation counts as its work
  REQUIRE(pair.run_until([&] { return pair.sender->stats().transfers_completed == 1; }));
  CHECK_FALSE(put);
  CHECK(other.poll() == 1);
  REQUIRE(put);
  CHECK(put->to_string() == "ok");
  CHECK(other.stopped());
}

TEST_CASE("a handler's memory comes from its associated allocator", "[asio]") {
  EnginePair pair;
  pair.connect();
  std::pair<int, int> counts{0, 0};
  std::optional<Status> put;
  pair.peer.async_put(pair.source.slice(), pair.remote.slice(), OwnHandler{&counts, &pair.io, nullptr, &put});
  REQUIRE(pair.run_until([&] { return put.has_value(); }));
  CHECK(put->to_string() == "ok");
  CHECK(counts.first > 0);
  CHECK(counts.first == counts.second);
}

TEST_CASE("a batch with a notification", "[asio]") {
  EnginePair pair(256 << 10);
  pair.connect();
  std::vector<Piece> pieces;
  constexpr uint64_t piece_bytes = 1024;
  for (uint64_t offset = 0; offset < pair.source.size(); offset += piece_bytes) {
    pieces.push_back({pair.source.slice(offset, piece_bytes), pair.remote.slice(offset, piece_bytes)});
  }
  TransferOptions options;
  const std::byte note[] = {std::byte{1}};
  options.notify = note;
  std::optional<Status> put;
  pair.peer.async_put_batch(pieces, options, [&](Status status) { put = status; });
  REQUIRE(pair.run_until([&] { return put && pair.notifications == 1; }));
  CHECK(put->to_string() == "ok");
  CHECK(pair.target_is_source());
}

TEST_CASE("a batch that reads", "[asio]") {
  EnginePair pair(256 << 10);
  pair.connect();
  EnginePair::fill(pair.target, 99);
  const std::vector<Piece> halves{{pair.source.slice(0, 128 << 10), pair.remote.slice(0, 128 << 10)},
                                  {pair.source.slice(128 << 10, 128 << 10), pair.remote.slice(128 << 10, 128 << 10)}};
  std::optional<uint64_t> bytes;
  std::optional<Status> got;
  TransferOptions options;
  options.on_done = [&](const TransferResult& result) { bytes = result.bytes; };
  pair.peer.async_get_batch(halves, options, [&](Status status) { got = status; });
  CHECK_FALSE(got);
  REQUIRE(pair.run_until([&] { return got.has_value(); }));
  CHECK(got->to_string() == "ok");
  CHECK(bytes == pair.source.size());
  CHECK(pair.target_is_source());

  got.reset();
  const std::vector<Piece> too_far{halves[0], {pair.source.slice(), pair.remote.slice(1, pair.source.size())}};
  pair.peer.async_get_batch(too_far, {}, [&](Status status) { got = status; });
  REQUIRE(pair.run_until([&] { return got.has_value(); }));
  CHECK(got->code() == StatusCode::invalid);
}

TEST_CASE("an engine that ends destroys its handlers without calling them", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  pair.receiver_loop->stop();
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> kept = token;
  bool called = false;
  const auto pieces = pair.more_than_fits(256 << 20);
  pair.peer.async_put_batch(pieces, {}, [&, token = std::move(token)](Status) { called = true; });
  CHECK_FALSE(pair.run_until([&] { return called; }, std::chrono::milliseconds(100)));
  CHECK_FALSE(kept.expired());
  pair.sender_loop->stop();
  pair.source = {};
  pair.sender.reset();
  CHECK(kept.expired());
  CHECK_FALSE(called);
}
