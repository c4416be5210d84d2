// Landing tracker, operation pool, cutting.
#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "base/random.h"
#include "transfer/landing.h"
#include "transfer/state.h"
#include "transfer/tag.h"

namespace haul::transfer {
namespace {

const std::vector<std::byte> payload{std::byte{1}, std::byte{2}};

class PlainRegion final : public MemoryRegion {
 public:
  std::span<std::byte> bytes() const noexcept override { return {}; }
};

/// Memory that the first of two transports can hold, and the second only if it is the host's.
struct Registered : detail::Registration {
  explicit Registered(MemoryKind of = MemoryKind::host) {
    kind = of;
    regions.push_back(std::make_unique<PlainRegion>());
    regions.push_back(of == MemoryKind::host ? std::make_unique<PlainRegion>() : nullptr);
  }
};

constexpr LaneName first_lane{0, 0};

}  // namespace

TEST_CASE("a tag carries its serial and index") {
  const uint64_t tag = make_tag(987654321, max_operations_per_transfer - 1);
  CHECK(tag_serial(tag) == 987654321);
  CHECK(tag_index(tag) == max_operations_per_transfer - 1);
  CHECK(make_tag(1, 0) != untracked_tag);
}

TEST_CASE("a notification is held back until all writes landed, in any order, repeated ones counted once") {
  base::Random random(5);
  for (uint32_t count = 1; count < 40; ++count) {
    LandingTracker tracker;
    std::vector<uint32_t> indices(count);
    std::iota(indices.begin(), indices.end(), 0U);
    for (size_t i = indices.size(); i > 1; --i) std::swap(indices[i - 1], indices[random.below(i)]);
    const size_t announced_at = random.below(count);
    for (size_t i = 0; i < indices.size(); ++i) {
      if (i == announced_at) REQUIRE_FALSE(tracker.announced(1, count, payload));
      const bool last = i + 1 == indices.size();
      const auto ready = tracker.landed(1, indices[i]);
      REQUIRE(ready.has_value() == last);
      if (last) CHECK(*ready == payload);
      if (!last) REQUIRE_FALSE(tracker.landed(1, indices[i]));
    }
    CHECK(tracker.open() == 0);
    CHECK_FALSE(tracker.landed(1, 0));  // a late repetition opens nothing
    CHECK(tracker.open() == 0);
  }
}

TEST_CASE("a notification after its writes, or without any, is ready at once") {
  LandingTracker tracker;
  CHECK(tracker.announced(1, 0, payload));
  CHECK_FALSE(tracker.landed(2, 0));
  CHECK(tracker.announced(2, 1, payload));
}

TEST_CASE("an abandoned transfer delivers nothing and leaves nothing") {
  LandingTracker tracker;
  CHECK_FALSE(tracker.landed(1, 0));
  tracker.abandoned(1);
  CHECK(tracker.open() == 0);
  CHECK_FALSE(tracker.landed(1, 1));
  CHECK_FALSE(tracker.announced(1, 1, payload));
  CHECK(tracker.open() == 0);
}

TEST_CASE("a peer that opens too many notified transfers is noticed") {
  LandingTracker tracker;
  for (uint64_t serial = 1; serial <= LandingTracker::max_open; ++serial) tracker.landed(serial, 0);
  CHECK_FALSE(tracker.overflowed());
  tracker.landed(LandingTracker::max_open + 1, 0);
  CHECK(tracker.overflowed());
}

TEST_CASE("a peer that only announces is noticed too") {
  LandingTracker tracker;
  for (uint64_t serial = 1; serial <= LandingTracker::max_open + 1; ++serial) tracker.announced(serial, 1, payload);
  CHECK(tracker.overflowed());
}

TEST_CASE("a peer whose notified transfers leave gaps for ever is noticed") {
  LandingTracker tracker;
  const bool in_one = GENERATE(false, true);
  const uint64_t most = in_one ? LandingTracker::max_gaps : LandingTracker::max_open + 1;
  for (uint64_t i = 0; i < most; ++i) {
    REQUIRE_FALSE(tracker.overflowed());
    if (in_one) tracker.landed(1, static_cast<uint32_t>(2 * i));
    if (!in_one) tracker.abandoned(2 * i);
  }
  CHECK_FALSE(tracker.overflowed());
  in_one ? static_cast<void>(tracker.landed(1, static_cast<uint32_t>(2 * most))) : tracker.abandoned(2 * most);
  CHECK(tracker.overflowed());
}

TEST_CASE("gaps that are closed, or whose transfer is over, count no more") {
  LandingTracker tracker;
  constexpr uint32_t writes = 1000;
  for (uint64_t serial = 1; serial * writes <= 2 * uint64_t{LandingTracker::max_gaps}; ++serial) {
    for (uint32_t index = 0; index < writes; ++index) tracker.landed(serial, 2 * index);
    if (serial % 2 == 0) tracker.abandoned(serial);
    if (serial % 2 == 1) CHECK(tracker.announced(serial, writes, payload));
    REQUIRE_FALSE(tracker.overflowed());
  }
}

TEST_CASE("the id of an ended operation finds nothing, also after its slot is used again") {
  OperationPool pool;
  OperationRecord& first = pool.take();
  first.state = OperationState::posted;
  const uint64_t id = first.id;
  CHECK(pool.find(id) == &first);
  pool.give_back(first);
  CHECK(pool.find(id) == nullptr);
  OperationRecord& again = pool.take();
  again.state = OperationState::posted;
  CHECK(&again == &first);
  CHECK(again.id != id);
  CHECK(pool.find(id) == nullptr);
  CHECK(pool.find(again.id) == &again);
  CHECK(pool.find(uint64_t{1} << 31) == nullptr);
  CHECK(pool.in_use() == 1);
}

TEST_CASE("cutting covers every byte of every piece once") {
  base::Random random(11);
  for (int round = 0; round < 50; ++round) {
    detail::TransferState transfer;
    Registered local;
    memory::HeldGrant grant;
    grant.lanes.push_back({0, {}});
    const auto pieces = 1 + random.below(20);
    for (uint64_t i = 0; i < pieces; ++i) {
      transfer.pieces.push_back({&local, 0, &grant, 1, 0, 1 + random.below(5000)});
      transfer.bytes_total += transfer.pieces.back().length;
    }
    const auto max_bytes = static_cast<uint32_t>(1 + random.below(2000));
    OperationPool pool;
    std::vector<uint64_t> covered(pieces);
    uint32_t count = 0;
    while (OperationRecord* record = next_operation(transfer, pool, first_lane, max_bytes)) {
      REQUIRE(record->index == count++);
      REQUIRE(record->length <= max_bytes);
      REQUIRE(record->piece_offset == covered[record->piece]);
      covered[record->piece] += record->length;
      pool.give_back(*record);
    }
    for (uint64_t i = 0; i < pieces; ++i) CHECK(covered[i] == transfer.pieces[i].length);
    CHECK(count == count_operations(transfer.pieces, max_bytes));
    CHECK_FALSE(transfer.has_work());
  }
}

TEST_CASE("nothing is cut for a lane on which the grant is not known") {
  detail::TransferState transfer;
  memory::HeldGrant grant;
  Registered local;
  grant.lanes.push_back({4, {}});
  transfer.pieces.push_back({&local, 0, &grant, 1, 0, 100});
  OperationPool pool;
  CHECK_FALSE(has_operation_for(transfer, first_lane));
  CHECK(next_operation(transfer, pool, first_lane, 10) == nullptr);
  CHECK(has_operation_for(transfer, {4, 0}));
  OperationRecord* record = next_operation(transfer, pool, {4, 0}, 10);
  REQUIRE(record != nullptr);
  pool.give_back(*record);
}

TEST_CASE("nothing of device memory is cut, or sent again, over a transport that can't hold it, and it has no checksum") {
  constexpr LaneName unfit{1, 1};
  detail::TransferState transfer;
  memory::HeldGrant grant;
  grant.lanes = {{0, {}}, {1, {}}};
  Registered host;
  Registered device(MemoryKind::device);
  transfer.pieces = {{&host, 0, &grant, 1, 0, 10}, {&device, 0, &grant, 1, 10, 10}};
  OperationPool pool;
  OperationRecord* of_host = next_operation(transfer, pool, unfit, 10);
  REQUIRE(of_host != nullptr);
  CHECK(is_checked(*of_host));
  CHECK_FALSE(has_operation_for(transfer, unfit));
  CHECK(next_operation(transfer, pool, unfit, 10) == nullptr);
  OperationRecord* of_device = next_operation(transfer, pool, first_lane, 10);
  REQUIRE(of_device != nullptr);
  CHECK_FALSE(is_checked(*of_device));
  transfer.again.push_back(*of_device);
  CHECK(next_operation(transfer, pool, unfit, 10) == nullptr);
  CHECK(next_operation(transfer, pool, first_lane, 10) == of_device);
  grant.on_device = true;
  CHECK_FALSE(is_checked(*of_host));
  pool.give_back(*of_host);
  pool.give_back(*of_device);
}

TEST_CASE("an operation whose checksum failed goes again only when alone") {
  detail::TransferState transfer;
  memory::HeldGrant grant;
  Registered local;
  grant.lanes.push_back({0, {}});
  transfer.pieces.push_back({&local, 0, &grant, 1, 0, 20});
  OperationPool pool;
  OperationRecord* first = next_operation(transfer, pool, first_lane, 10);
  first->alone = true;
  transfer.again.push_back(*first);
  OperationRecord* second = next_operation(transfer, pool, first_lane, 10);
  REQUIRE(second != first);
  transfer.outstanding.push_back(*second);
  CHECK(next_operation(transfer, pool, first_lane, 10) == nullptr);
  transfer.outstanding.remove(*second);
  CHECK(next_operation(transfer, pool, first_lane, 10) == first);
  pool.give_back(*first);
  pool.give_back(*second);
}

}  // namespace haul::transfer
