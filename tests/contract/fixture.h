// Short forms that the engine-level cases share.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "contract/backend_case.h"
#include "contract/backends.h"

namespace haul::contract {

using namespace std::chrono_literals;

inline Buffer allocate(Node& node, uint64_t bytes) {
  auto buffer = node->allocate(bytes);
  INFO(buffer.status().to_string());
  REQUIRE(buffer.ok());
  return std::move(buffer).value();
}

/// Filled with a pattern of its own.
inline Buffer allocate_filled(Node& node, uint64_t bytes, uint64_t seed) {
  Buffer buffer = allocate(node, bytes);
  fill_pattern(buffer.bytes(), seed);
  return buffer;
}

/// `owner` is the owner's handle to the peer that may use the range.
inline RemoteBuffer grant(Peer& owner, Slice slice, Rights rights = Rights::read_write, GrantOptions options = {}) {
  const auto granted = owner.grant(slice, rights, options);
  INFO(granted.status().to_string());
  REQUIRE(granted.ok());
  return granted.value();
}

/// Runs until the transfer is over, which must be within the harness's patience.
inline Status finish(Harness& harness, const Transfer& transfer) {
  const bool over = harness.run([&] { return transfer.done(); });
  INFO("waits for: " << transfer.waiting_for());
  REQUIRE(over);
  return transfer.status();
}

inline void finish_ok(Harness& harness, const Transfer& transfer) {
  const Status status = finish(harness, transfer);
  INFO(status.to_string());
  REQUIRE(status.ok());
}

inline bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  // Not std::equal: byte by byte, without optimisation and with sanitizers, it takes a large part of a test's time.
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

inline std::vector<std::byte> copy_of(const Buffer& buffer) { return {buffer.bytes().begin(), buffer.bytes().end()}; }

/// Counts the ends of transfers, so that "exactly once" can be checked.
struct Ends {
  std::vector<TransferResult> results;
  TransferCallback counter() {
    return [this](const TransferResult& result) { results.push_back(result); };
  }
};

/// Stops after a number of rounds: the random moments of these tests.
inline void run_rounds(Harness& harness, uint64_t rounds) {
  harness.run([&rounds] { return rounds-- == 0; }, harness.patience());
}

inline bool is_one_of(const Status& status, std::initializer_list<StatusCode> codes) {
  return std::find(codes.begin(), codes.end(), status.code()) != codes.end();
}

}  // namespace haul::contract
