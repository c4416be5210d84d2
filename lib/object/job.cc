// What every job does: failing, watching the time.
#include "object/job.h"

#include <fmt/format.h>

namespace haul::object {

namespace {
constexpr Duration sign_interval = std::chrono::seconds(2);
}

Job::~Job() = default;

void Job::on_message(const FileMessage& message) {
  if (finished_) return;
  active_ = true;
  if (const auto* failed = std::get_if<Failed>(&message)) {
    told_ = true;
    // A receiver that fails takes its memory back, which may reach us as a failed put before its reason does.
    const bool was_consequence = report_.failure.kind == FailureKind::connection && failed->kind != FailureKind::connection;
    if (was_consequence) report_.failure = {.kind = failed->kind, .message = failed->text, .side = Side::there};
    fail({.kind = failed->kind, .message = failed->text, .side = Side::there});
    return;
  }
  if (!failing() && !std::holds_alternative<Working>(message)) handle(message);
}

void Job::on_peer_lost(const Status& status) {
  peer_lost_ = true;
  if (finished_) return;
  fail(status.ok() ? Failure{.kind = FailureKind::connection,
                             .message = "the other side closed the connection before the end",
                             .side = Side::there,
                             .status = StatusCode::peer_lost}
                   : connection_failure(status, "the connection was lost"));
}

void Job::step(TimePoint now) {
  if (finished_) return;
  work();
  channel_.flush();
  if (!finished_) watch(now);
}

void Job::watch(TimePoint now) {
  if (active_ || last_active_ == TimePoint{}) {
    active_ = false;
    last_active_ = now;
    if (last_sign_ == TimePoint{}) last_sign_ = now;
  }
  if (busy() && now - last_sign_ >= sign_interval) {
    last_sign_ = now;
    channel_.send(Working{});
  }
  const Duration silence = now - last_active_;
  if (failing() && silence >= limits_.farewell) told_ = true;  // its last word does not come
  if (failing() || busy() || silence < limits_.stall) return;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(silence).count();
  fail({.kind = FailureKind::connection,
        .message = fmt::format("the other side is connected but did nothing for {} s", seconds),
        .status = StatusCode::timed_out});
}

void Job::fail(Failure failure) {
  if (finished_ || failing()) return;
  report_.failure = std::move(failure);
  active_ = true;
  clean_up();
}

void Job::fail_protocol(std::string_view what) {
  fail({.kind = FailureKind::protocol, .message = fmt::format("the other side broke the file protocol: {}", what)});
}

void Job::finish() {
  finished_ = true;
  report_.controlled_paths = channel_.peer().stats().paths;
}

}  // namespace haul::object
