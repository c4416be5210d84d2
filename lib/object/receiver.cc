// The side of a job that gets the files.
#include "object/receiver.h"

#include <fmt/format.h>

#include <algorithm>

namespace haul::object {

namespace {
constexpr size_t max_gaps = 8192;  // a sender reads in order, so there are no more gaps than slots
}

Receiver::Receiver(Channel& channel, Engine& engine, base::UniqueFd folder, SinkOptions options, std::unique_ptr<Worker> worker,
                   const JobLimits& limits, std::optional<PullRequest> request)
    : Job(channel, limits),
      engine_(engine),
      folder_(std::move(folder)),
      options_(std::move(options)),
      request_(std::move(request)),
      worker_(std::move(worker)) {}

Receiver::~Receiver() { give_back_staging(); }

void Receiver::start() {
  if (request_) {
    channel_.send(*request_);
  } else {
    prepare(options_.totals);
  }
}

void Receiver::handle(const FileMessage& message) {
  if (const auto* offer = std::get_if<Offer>(&message)) {
    if (!request_ || sink_) return fail_protocol("an offer at the wrong time");
    return prepare(offer->totals);
  }
  if (!grant_) return fail_protocol("data before there were slots");
  if (const auto* data = std::get_if<Data>(&message)) return on_data(*data);
  if (const auto* entry = std::get_if<Entry>(&message)) return on_entry(*entry);
  if (const auto* end = std::get_if<EntryEnd>(&message)) return on_entry_end(end->index);
  if (const auto* end = std::get_if<End>(&message)) return on_end(*end);
  fail_protocol("a message that only a receiver sends");
}

void Receiver::prepare(const Totals& totals) {
  report_.totals = totals;
  report_.totals_known = true;
  options_.totals = totals;
  sink_ = std::make_unique<Sink>(std::move(folder_), options_);
  worker_->ask<Failure>([this] { return sink_->prepare(); }, [this](Failure failure) { on_prepared(std::move(failure)); });
}

void Receiver::on_prepared(Failure failure) {
  if (failing()) return;
  if (failure.failed()) return fail(std::move(failure));
  auto staging = engine_.allocate(uint64_t{limits_.slots} * limits_.slot_bytes);
  if (!staging)
    return fail({.kind = FailureKind::limit, .message = fmt::format("no staging memory: {}", staging.status().message())});
  staging_ = std::move(*staging);
  auto grant = channel_.peer().grant(staging_.slice(), Rights::write);
  if (!grant) return fail(connection_failure(grant.status(), "cannot grant staging memory"));
  grant_ = *grant;
  offered_.assign(limits_.slots, true);
  channel_.send(Ready{
      .slot_bytes = limits_.slot_bytes, .slots = limits_.slots, .entry_window = limits_.entry_window, .staging = *grant_});
}

void Receiver::on_entry(const Entry& entry) {
  if (end_ || entry.index != entries_announced_) return fail_protocol("entries out of order");
  if (incoming_.size() >= limits_.entry_window) return fail_protocol("more entries at a time than the window allows");
  ++entries_announced_;
  Incoming& incoming = incoming_[entry.index];
  incoming.size = entry.size;
  worker_->ask<Failure>([this, entry] { return sink_->begin(entry); },
                        [this](Failure failure) {
                          if (failure.failed()) fail(std::move(failure));
                        });
  if (entry.kind == EntryKind::folder) {
    if (entry.size != 0) return fail_protocol("a folder with a size");
    incoming.finishing = true;
    worker_->post([] {}, [this, index = entry.index] { on_entry_finished(index, {}); });
  }
  accept_early_data();
}

// Puts and messages may overtake each other: data of entries that are announced soon is kept.
void Receiver::on_data(const Data& data) {
  if (data.slot >= offered_.size() || !offered_[data.slot]) return fail_protocol("data in a slot that was not free");
  offered_[data.slot] = false;
  if (data.index < entries_announced_) return accept_data(data);
  if (data.index - entries_announced_ >= limits_.entry_window) return fail_protocol("data of an entry far ahead");
  early_.push_back(data);
}

void Receiver::accept_early_data() {
  const auto ready = std::stable_partition(early_.begin(), early_.end(),
                                           [this](const Data& data) { return data.index >= entries_announced_; });
  const std::vector<Data> accepted(ready, early_.end());
  early_.erase(ready, early_.end());
  for (const Data& data : accepted) {
    if (!failing()) accept_data(data);
  }
}

void Receiver::accept_data(const Data& data) {
  const auto it = incoming_.find(data.index);
  if (it == incoming_.end() || it->second.finishing) return fail_protocol("data of an entry that is over");
  Incoming& incoming = it->second;
  const bool fits = data.length > 0 && data.length <= limits_.slot_bytes && data.offset <= incoming.size &&
                    data.length <= incoming.size - data.offset;
  if (!fits) return fail_protocol("data beyond the end of a file or a slot");
  if (incoming.landed.add(data.offset, data.offset + data.length) != data.length) return fail_protocol("the same data twice");
  if (incoming.landed.ranges() > max_gaps) return fail_protocol("data scattered over a file");
  const auto bytes = staging_.bytes().subspan(size_t{data.slot} * limits_.slot_bytes, data.length);
  worker_->ask<Failure>([this, data, bytes] { return sink_->write(data.index, data.offset, bytes); },
                        [this, data](Failure failure) { on_written(data, std::move(failure)); });
}

void Receiver::on_written(const Data& data, Failure failure) {
  if (failing()) return;
  if (failure.failed()) return fail(std::move(failure));
  report_.bytes_done += data.length;
  offered_[data.slot] = true;
  channel_.send(SlotFree{data.slot});
  const auto it = incoming_.find(data.index);
  it->second.written += data.length;
  finish_entry_if_whole(data.index, it->second);
}

void Receiver::on_entry_end(uint32_t index) {
  const auto it = incoming_.find(index);
  if (it == incoming_.end() || it->second.ended || it->second.finishing)
    return fail_protocol("the end of an entry that is not open");
  it->second.ended = true;
  finish_entry_if_whole(index, it->second);
}

void Receiver::finish_entry_if_whole(uint32_t index, Incoming& incoming) {
  if (!incoming.ended || incoming.finishing || incoming.written != incoming.size) return;
  incoming.finishing = true;
  worker_->ask<Failure>([this, index] { return sink_->finish(index); },
                        [this, index](Failure failure) { on_entry_finished(index, std::move(failure)); });
}

void Receiver::on_entry_finished(uint32_t index, Failure failure) {
  if (failing()) return;
  if (failure.failed()) return fail(std::move(failure));
  incoming_.erase(index);
  ++report_.entries_done;
  complete_if_all_done();
}

void Receiver::on_end(const End& end) {
  if (end_ || end.entries != entries_announced_) return fail_protocol("an end that does not fit what was announced");
  end_ = end.entries;
  complete_if_all_done();
}

void Receiver::complete_if_all_done() {
  if (!end_ || completing_ || !incoming_.empty()) return;
  if (!early_.empty()) return fail_protocol("data of an entry that was never announced");
  completing_ = true;
  worker_->ask<Failure>([this] { return sink_->complete(); },
                        [this](Failure failure) {
                          if (failing()) return;
                          if (failure.failed()) return fail(std::move(failure));
                          give_back_staging();
                          channel_.send(Done{.entries = report_.entries_done, .bytes = report_.bytes_done});
                          finish();
                        });
}

void Receiver::work() {
  worker_->collect();
  if (failing() || finished() || report_.entries_done == entries_told_) return;
  entries_told_ = report_.entries_done;
  channel_.send(EntriesDone{entries_told_});
}

bool Receiver::busy() const { return worker_->pending() > 0; }

void Receiver::clean_up() {
  worker_->drop_waiting();
  worker_->post(
      [this] {
        if (sink_) sink_->discard();
      },
      [this] {
        if (!peer_lost()) channel_.send(Failed{.kind = report_.failure.kind, .text = report_.failure.message});
        give_back_staging();
        finish();
      });
}

// The worker may still read the memory, so the buffer itself stays until we go.
void Receiver::give_back_staging() {
  if (grant_ && !peer_lost()) static_cast<void>(channel_.peer().revoke(*grant_));
  grant_.reset();
}

}  // namespace haul::object
