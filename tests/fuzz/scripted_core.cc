// What the core does and checks.
#include "fuzz/scripted_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/random.h"

namespace haul::fuzz {

ScriptedCore::ScriptedCore(Script& script) : script_(script) {
  base::Random(1).fill(memory_);
  before_ = memory_;
}

void ScriptedCore::begin(Transport& transport) {
  transport_ = &transport;
  region_ = transport.register_memory(memory_, MemoryKind::host).value();
}

Status ScriptedCore::grant(TimePoint now) {
  if (grants.size() == max_grants) return {};
  const auto rights = static_cast<Rights>(1 + script_.below(3));
  const Range range{grants.size() * grant_bytes, grant_bytes};
  auto made = transport_->grant(connection, *region_, range, rights, now);
  if (!made.ok()) return made.status();
  grants.push_back({.local = *made, .rights = rights, .memory = std::span(memory_).subspan(range.offset, range.length)});
  return {};
}

void ScriptedCore::revoke(TimePoint now) {
  if (grants.empty()) return;
  Grant& grant = grants[script_.below(grants.size())];
  if (std::exchange(grant.revoking, true)) return;
  transport_->revoke(connection, grant.local.id, now);
}

void ScriptedCore::send(TimePoint now) {
  const auto message = script_.bytes(1U + script_.byte());
  if (!message.empty()) transport_->send(connection, message, now);
}

void ScriptedCore::answer_one(TimePoint now) {
  if (landed.empty()) return;
  const size_t chosen = script_.below(landed.size());
  const Status status = script_.flag() ? Status() : Status(StatusCode::corrupt, "so the script wants");
  transport_->answer(connection, landed[chosen], status, now);
  landed.erase(landed.begin() + static_cast<ptrdiff_t>(chosen));
}

void ScriptedCore::close_perhaps(TimePoint now) {
  if (script_.below(4) == 0) transport_->close(connection, script_.flag() ? CloseMode::drain : CloseMode::abort, now);
}

void ScriptedCore::post(const Operation& operation, TimePoint now) {
  if (transport_->post(connection, std::span(&operation, 1), now) == 1) outstanding_.insert(operation.id);
}

void ScriptedCore::take(const Event& event, TimePoint now) {
  require(!closed, "an event after `closed`");
  switch (event.kind) {
    case Event::Kind::landed: return take_landed(event, now);
    case Event::Kind::completed:
      require(outstanding_.erase(event.id) == 1, "an operation completed twice, or was never posted");
      return;
    case Event::Kind::revoked:
      for (Grant& grant : grants) {
        if (grant.local.id != event.id) continue;
        require(grant.revoking && !grant.over, "a grant is gone that nobody took back, or gone twice");
        end(grant);
      }
      return;
    case Event::Kind::message:
      require(!event.payload.empty() && event.payload.size() <= transport_->capabilities().max_message_bytes,
              "a message is longer than allowed");
      return;
    case Event::Kind::closed:
      closed = true;
      for (Grant& grant : grants) end(grant);
      return;
    default: return;
  }
}

void ScriptedCore::end(Grant& grant) {
  if (!std::exchange(grant.over, true)) grant.at_the_end.assign(grant.memory.begin(), grant.memory.end());
}

void ScriptedCore::take_landed(const Event& event, TimePoint now) {
  const auto within = [&event](const Grant& grant) {
    const std::byte* begin = event.payload.data();
    return begin >= grant.memory.data() && begin + event.payload.size() <= grant.memory.data() + grant.memory.size();
  };
  const auto grant = std::find_if(grants.begin(), grants.end(), within);
  require(grant != grants.end() && !event.payload.empty(), "a write landed outside of every grant");
  require(allows(grant->rights, Rights::write) && !grant->over, "a write landed that its grant does not allow");
  landed.push_back(event.id);
  require(landed.size() <= most_landed, "more landings wait for an answer than a peer may have");
  if (!answers_) return;
  landed.pop_back();
  transport_->answer(event.connection, event.id, {}, now);
}

void ScriptedCore::check_quiet() const {
  for (const Grant& grant : grants) {
    require(!grant.over || same(grant.memory, grant.at_the_end), "memory changed whose grant was revoked");
  }
}

void ScriptedCore::check_end() const {
  require(closed, "a connection that was aborted does not close");
  require(outstanding_.empty(), "an operation never completed");
  const auto intact = [this](size_t begin, size_t bytes) {
    return same(std::span(memory_).subspan(begin, bytes), std::span(before_).subspan(begin, bytes));
  };
  require(intact(source_begin, target_begin - source_begin), "memory changed that was never granted");
  for (size_t i = 0; i < max_grants; ++i) {
    const bool writable = i < grants.size() && allows(grants[i].rights, Rights::write);
    require(writable || intact(i * grant_bytes, grant_bytes), "memory changed that was granted for reading at most");
  }
}

void draw_scripts(const SeedSink& sink, size_t bytes, size_t longer, void (*mark)(Bytes&)) {
  constexpr size_t seeds = 24;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    Bytes script(bytes + longer * seed);
    base::Random(seed + 1).fill(script);
    script[0] = std::byte{static_cast<uint8_t>(seed)};
    if (mark != nullptr) mark(script);
    sink(std::to_string(seed), script);
  }
}

}  // namespace haul::fuzz
