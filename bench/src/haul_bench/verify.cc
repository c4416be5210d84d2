// Compares what was moved with where it came from: a fast transfer of wrong bytes is no result.
#include "haul_bench/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace bench {

namespace {

constexpr auto fetch_limit = std::chrono::seconds(120);

haul::Result<haul::Buffer> fetch(Session& session) {
  auto copy = session.engine().allocate(session.remote().size());
  if (!copy) return copy.status();
  bool done = false;
  haul::TransferOptions options;
  options.on_done = [&](const haul::TransferResult& result) {
    done = true;
    if (!result.status.ok()) session.fail(result.status);
  };
  session.peer().get(copy->slice(), session.remote().slice(), std::move(options));
  const haul::Status fetched = session.run_until([&done] { return done; }, fetch_limit, "the receiver's working set");
  if (!fetched.ok()) return fetched;
  return copy;
}

}  // namespace

haul::Status verify(Session& session, const Workload& workload, uint64_t transfers) {
  const auto copy = fetch(session);
  if (!copy) return copy.status();
  const uint64_t groups = std::min(transfers, workload.groups());
  for (uint64_t index = 0; index < groups; ++index) {
    for (const haul::Piece& piece : workload.group(index)) {
      const std::byte* here = session.local().data() + piece.local.offset;
      const std::byte* there = copy->data() + piece.remote.offset;
      if (std::memcmp(here, there, piece.local.length) != 0) {
        return {haul::StatusCode::corrupt, fmt::format("{} bytes at offset {} of the receiver's memory differ from ours at {}",
                                                       piece.local.length, piece.remote.offset, piece.local.offset)};
      }
    }
  }
  return {};
}

}  // namespace bench
