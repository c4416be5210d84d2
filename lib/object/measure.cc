// Measurements, both parts.
#include "object/measure.h"

#include <fmt/format.h>

#include <algorithm>

namespace haul::object {

namespace {
constexpr size_t round_trips_wanted = 64;
}

MeasureHost::~MeasureHost() = default;

void MeasureHost::start() {
  auto staging = engine_.allocate(uint64_t{limits_.slots} * limits_.slot_bytes);
  if (!staging)
    return fail({.kind = FailureKind::limit, .message = fmt::format("no staging memory: {}", staging.status().message())});
  staging_ = std::move(*staging);
  auto grant = channel_.peer().grant(staging_.slice(), Rights::write);
  if (!grant) return fail(connection_failure(grant.status(), "cannot grant staging memory"));
  grant_ = *grant;
  channel_.send(Ready{
      .slot_bytes = limits_.slot_bytes, .slots = limits_.slots, .entry_window = limits_.entry_window, .staging = *grant_});
}

void MeasureHost::handle(const FileMessage&) { fail_protocol("a message in the middle of a measurement"); }

void MeasureHost::clean_up() {
  if (peer_lost()) report_.failure = {};  // that is how measurements end
  if (grant_ && !peer_lost()) {
    static_cast<void>(channel_.peer().revoke(*grant_));
    channel_.send(Failed{.kind = report_.failure.kind, .text = report_.failure.message});
  }
  finish();
}

Measurer::Measurer(Channel& channel, Engine& engine, const Clock& clock, const JobLimits& limits, Duration duration)
    : Job(channel, limits), engine_(engine), clock_(clock), duration_(duration) {}

Measurer::~Measurer() = default;

void Measurer::start() { ping(); }

void Measurer::ping() {
  sent_ = clock_.now();
  channel_.send(Ping{round_trips_.size()});
}

void Measurer::handle(const FileMessage& message) {
  if (const auto* pong = std::get_if<Pong>(&message)) return on_pong(pong->token);
  if (const auto* ready = std::get_if<Ready>(&message)) return on_ready(*ready);
  fail_protocol("a message that does not belong to a measurement");
}

void Measurer::on_pong(uint64_t token) {
  if (token != round_trips_.size() || round_trips_.size() == round_trips_wanted)
    return fail_protocol("an echo of something else");
  round_trips_.push_back(clock_.now() - sent_);
  if (round_trips_.size() < round_trips_wanted) return ping();
  std::sort(round_trips_.begin(), round_trips_.end());
  measurement_.round_trip_min = round_trips_.front();
  measurement_.round_trip_median = round_trips_[round_trips_.size() / 2];
  channel_.send(Measure{});
}

void Measurer::on_ready(const Ready& ready) {
  constexpr uint32_t max_remote_slots = 4096;
  if (ready_ || round_trips_.size() < round_trips_wanted) return fail_protocol("it was ready at the wrong time");
  if (ready.slots > max_remote_slots || !allows(ready.staging.rights(), Rights::write)) return fail_protocol("unusable slots");
  ready_ = ready;
  auto pool = engine_.allocate(std::min(ready.slot_bytes, limits_.slot_bytes));
  if (!pool) return fail({.kind = FailureKind::limit, .message = fmt::format("no memory: {}", pool.status().message())});
  pool_ = std::move(*pool);
  began_ = clock_.now();
  for (uint32_t slot = 0; slot < std::min(ready.slots, limits_.slots); ++slot) put(slot);
}

void Measurer::put(uint32_t slot) {
  TransferOptions options;
  options.on_done = [this, alive = std::weak_ptr<char>(alive_), slot](const TransferResult& result) {
    if (!alive.expired()) on_put_done(slot, pool_.size(), result);
  };
  ++puts_outstanding_;
  static_cast<void>(channel_.peer().put(pool_.slice(), ready_->staging.slice(uint64_t{slot} * ready_->slot_bytes, pool_.size()),
                                        std::move(options)));
}

void Measurer::on_put_done(uint32_t slot, uint64_t bytes, const TransferResult& result) {
  --puts_outstanding_;
  note_activity();
  if (failing()) return;
  if (!result.status.ok()) return fail(connection_failure(result.status, "sending failed"));
  measurement_.bytes += bytes;
  measurement_.duration = clock_.now() - began_;
  if (measurement_.duration < duration_) put(slot);
}

void Measurer::work() {
  if (measurement_.bytes > 0 && puts_outstanding_ == 0 && !failing()) finish();
}

}  // namespace haul::object
