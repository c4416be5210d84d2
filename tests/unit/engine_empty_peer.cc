// An empty Peer: its transfers end at once, and say so the way every transfer does.
#include <catch2/catch.hpp>
#include <optional>

#include "haul/peer.h"

using namespace haul;

namespace {

void check_refused(const Transfer& transfer, const std::optional<TransferResult>& told) {
  REQUIRE(transfer.valid());
  CHECK(transfer.done());
  CHECK(transfer.status().code() == StatusCode::invalid);
  CHECK_THAT(std::string(transfer.status().message()), Catch::StartsWith("an empty Peer"));
  CHECK(transfer.waiting_for().empty());
  CHECK(transfer.progress().operations_outstanding == 0);
  REQUIRE(told);
  CHECK(told->status.to_string() == transfer.status().to_string());
  CHECK(told->bytes == 0);
}

}  // namespace

TEST_CASE("transfers of an empty peer end at once as invalid, and are told once", "[engine][peer]") {
  Peer empty;
  const std::vector<Piece> pieces(2);
  int calls = 0;
  std::optional<TransferResult> told;
  const auto options = [&] {
    told.reset();
    TransferOptions made;
    made.on_done = [&](const TransferResult& result) {
      ++calls;
      told = result;
    };
    return made;
  };
  check_refused(empty.put({}, {}, options()), told);
  check_refused(empty.get({}, {}, options()), told);
  check_refused(empty.put_batch(pieces, options()), told);
  check_refused(empty.get_batch(pieces, options()), told);
  CHECK(calls == 4);
}

TEST_CASE("a transfer of an empty peer needs no callback, and cannot be cancelled", "[engine][peer]") {
  Transfer put = Peer().put({}, {});
  put.cancel();
  CHECK(put.status().code() == StatusCode::invalid);
}
