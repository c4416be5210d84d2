// Making the two ends, and moving things between them.
#include "quic_sim/scene.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "base/crc32c.h"

namespace haul::quic_sim {

using namespace std::chrono_literals;

namespace {

constexpr uint64_t gap_bytes = 3;

contract::QuicSimHarness& prepared(contract::QuicSimHarness& harness, const Scene::Options& options) {
  harness.network().set_links(options.links);
  harness.quic_options().dead_after = options.dead_after;
  harness.quic_options().hello_timeout = 5s;
  harness.quic_options().controller = options.controller;
  harness.quic_options().renew_keys_bytes = options.renew_keys_bytes;
  harness.quic_options().renew_keys_after = options.renew_keys_after;
  harness.quic_options().resets_across_restarts = options.resets_across_restarts;
  harness.quic_options().qlog_folder = options.qlog_folder;
  harness.quic_options().log = options.log;
  harness.quic_options().udp_payload_bytes = options.udp_payload_bytes;
  return harness;
}

/// The first transport is made by the rig: only then has its host a name.
contract::Rig::Link connected(Scene& scene, bool translated) {
  if (translated) scene.network().rebind(scene.x_host(), false);
  return scene.rig.connect();
}

}  // namespace

Scene::Scene(const Options& options)
    : harness(options.seed),
      rig(prepared(harness, options)),
      link(connected(*this, options.translated)),
      x_local(rig.region(rig.x, options.arena_bytes, 1)),
      x_arena(rig.region(rig.x, options.arena_bytes, 2)),
      y_local(rig.region(rig.y, options.arena_bytes, 3)),
      y_arena(rig.region(rig.y, options.arena_bytes, 4)),
      x_granted(rig.grant(rig.x, link.at_x, x_arena)),
      y_granted(rig.grant(rig.y, link.at_y, y_arena)) {}

bool Scene::run(const std::function<bool()>& until, Duration limit) {
  const TimePoint end = now() + limit;
  while (!faults_.empty() && faults_.begin()->first <= end) {
    const auto next = faults_.begin()->first;
    if (next > now() && rig.run(until, next - now())) return true;
    const auto fault = faults_.extract(faults_.begin());
    fault.mapped()();
  }
  return rig.run(until, end - now());
}

Traffic::Traffic(Scene& scene, bool from_x, Kind kind, uint64_t bytes, uint64_t seed)
    : scene_(scene),
      from_x_(from_x),
      here_(from_x ? scene.rig.x : scene.rig.y),
      there_(from_x ? scene.rig.y : scene.rig.x),
      random_(seed),
      local_(from_x ? scene.x_local : scene.y_local),
      remote_((from_x ? scene.y_arena : scene.x_arena).bytes()),
      granted_((from_x ? scene.y_granted : scene.x_granted).remote),
      expected_here_(local_.bytes().begin(), local_.bytes().end()),
      expected_there_(remote_.begin(), remote_.end()) {
  constexpr uint32_t large = 200'000;
  constexpr uint32_t middle = 9000;
  constexpr uint32_t small = 1500;
  for (uint64_t planned = 0; planned < bytes;) {
    const auto turn = kind == Kind::mixed ? random_.below(6) : uint64_t{6};
    const bool message = kind == Kind::messages || turn == 0;
    const bool read = kind == Kind::reads || turn == 1 || turn == 2 || (kind == Kind::small && random_.chance(0.3));
    const uint32_t most = kind == Kind::small || turn == 3 ? small : turn == 4 || turn == 1 ? middle : large;
    const auto length = static_cast<uint32_t>(1 + random_.below(message ? 4000 : most));
    if (message) {
      add_message(length);
    } else if (place_ + length + gap_bytes <= remote_.size()) {
      add_operation(read ? Op::read : Op::write, length);
    }
    planned += length;
  }
}

void Traffic::add_operation(Op op, uint32_t length) {
  Operation made;
  made.op = op;
  made.id = scene_.rig.next_id();
  made.local = &local_;
  made.local_offset = place_;
  made.remote = &granted_;
  made.remote_offset = place_;
  made.length = length;
  const auto here = std::span(expected_here_).subspan(place_, length);
  const auto there = std::span(expected_there_).subspan(place_, length);
  if (op == Op::write) {
    made.crc32c = base::crc32c(here);
    std::copy(here.begin(), here.end(), there.begin());
  } else {
    std::copy(there.begin(), there.end(), here.begin());
  }
  operations_.push_back(made);
  place_ += length + gap_bytes;
}

void Traffic::add_message(size_t bytes) {
  messages_.emplace_back(bytes);
  random_.fill(messages_.back());
}

void Traffic::pump() {
  const ConnectionId connection = from_x_ ? scene_.link.at_x : scene_.link.at_y;
  if (posted_ < operations_.size()) {
    posted_ += here_.transport->post(connection, std::span(operations_).subspan(posted_), scene_.now());
  }
  while (sent_ < messages_.size() && here_.transport->send(connection, messages_[sent_], scene_.now())) ++sent_;
  for (; looked_here_ < here_.seen.size(); ++looked_here_) {
    if (here_.seen[looked_here_].event.kind == Event::Kind::completed) ++ended_;
  }
  for (; looked_there_ < there_.seen.size(); ++looked_there_) {
    if (there_.seen[looked_there_].event.kind == Event::Kind::message) ++delivered_;
  }
}

bool Traffic::done() const noexcept {
  return posted_ == operations_.size() && sent_ == messages_.size() && ended_ == operations_.size() &&
         delivered_ == messages_.size();
}

void Traffic::check() const {
  size_t failed = 0;
  for (const contract::End::Seen& each : here_.seen) {
    if (each.event.kind != Event::Kind::completed || each.event.status.ok()) continue;
    UNSCOPED_INFO(each.event.status.to_string());
    ++failed;
  }
  CHECK(failed == 0);
  const auto here = local_.bytes();
  CHECK(std::equal(here.begin(), here.end(), expected_here_.begin(), expected_here_.end()));
  CHECK(std::equal(remote_.begin(), remote_.end(), expected_there_.begin(), expected_there_.end()));
  CHECK(there_.messages() == messages_);
}

void finish(Scene& scene, std::vector<Traffic*> all, Duration limit) {
  const auto done = [&] {
    for (Traffic* each : all) each->pump();
    return std::all_of(all.begin(), all.end(), [](const Traffic* each) { return each->done(); });
  };
  const bool whole = scene.run(done, limit);
  for (const auto* end : {&scene.rig.x, &scene.rig.y}) {
    for (const auto& each : end->seen) {
      if (each.event.kind == Event::Kind::closed) UNSCOPED_INFO(end->name << " closed: " << each.event.status.to_string());
    }
  }
  for (const Traffic* each : all) UNSCOPED_INFO(each->ended() << " of " << each->operations() << " operations ended");
  REQUIRE(whole);
  for (const Traffic* each : all) each->check();
  CHECK(scene.network().spins() == 0);
}

}  // namespace haul::quic_sim
