// The side of a job that has the files.
#include "object/sender.h"

#include <fmt/format.h>

#include <algorithm>

namespace haul::object {

Sender::Sender(Channel& channel, Engine& engine, std::unique_ptr<Source> source, std::unique_ptr<Worker> worker,
               const JobLimits& limits, std::optional<PushRequest> request)
    : Job(channel, limits),
      engine_(engine),
      source_(std::move(source)),
      request_(std::move(request)),
      worker_(std::move(worker)) {}

Sender::~Sender() { source_->stop(); }

void Sender::start() {
  worker_->ask<Survey>([this] { return source_->survey(); }, [this](Survey survey) { on_survey(std::move(survey)); });
}

void Sender::on_survey(Survey survey) {
  if (failing()) return;
  report_.totals = survey.totals;
  report_.totals_known = true;
  report_.remarks = std::move(survey.remarks);
  if (survey.failure.failed()) {
    fail(std::move(survey.failure));
  } else if (request_) {
    request_->totals = survey.totals;
    channel_.send(*request_);
  } else {
    channel_.send(Offer{survey.totals});
  }
}

void Sender::handle(const FileMessage& message) {
  if (const auto* ready = std::get_if<Ready>(&message)) return on_ready(*ready);
  if (const auto* free = std::get_if<SlotFree>(&message)) return on_slot_free(free->slot);
  if (const auto* count = std::get_if<EntriesDone>(&message)) return on_entries_done(count->count);
  if (const auto* done = std::get_if<Done>(&message)) return on_done(*done);
  fail_protocol("a message that only a sender sends");
}

void Sender::on_ready(const Ready& ready) {
  constexpr uint32_t max_remote_slots = 4096;
  if (ready_ || !report_.totals_known) return fail_protocol("it was ready at the wrong time");
  if (ready.slots > max_remote_slots || !allows(ready.staging.rights(), Rights::write)) return fail_protocol("unusable slots");
  ready_ = ready;
  block_bytes_ = std::min(limits_.slot_bytes, ready.slot_bytes);
  const uint32_t slots = std::min(limits_.slots, ready.slots);
  auto pool = engine_.allocate(uint64_t{slots} * block_bytes_);
  if (!pool) {
    fail({.kind = FailureKind::limit, .message = fmt::format("no memory for staging: {}", pool.status().message())});
    return;
  }
  pool_ = std::move(*pool);
  transfers_.resize(slots);
  remote_slot_is_free_.assign(ready.slots, true);
  for (uint32_t slot = slots; slot > 0; --slot) free_slots_.push_back(slot - 1);
  for (uint32_t slot = ready.slots; slot > 0; --slot) free_remote_slots_.push_back(slot - 1);
}

void Sender::on_slot_free(uint32_t slot) {
  if (slot >= remote_slot_is_free_.size() || remote_slot_is_free_[slot])
    return fail_protocol("it freed a slot that is not in use");
  remote_slot_is_free_[slot] = true;
  free_remote_slots_.push_back(slot);
}

void Sender::on_entries_done(uint32_t count) {
  if (count < report_.entries_done || count > entries_announced_)
    return fail_protocol("it finished entries that it was not sent");
  report_.entries_done = count;
}

void Sender::on_done(const Done& done) {
  if (!end_sent_ || done.entries != entries_announced_) return fail_protocol("it was done before everything was sent");
  report_.entries_done = done.entries;
  finish();
}

void Sender::work() {
  worker_->collect();
  if (failing()) return finish_if_quiet();
  if (!ready_) return;
  send_filled();
  read_ahead();
}

void Sender::read_ahead() {
  while (!source_ended_ && !free_slots_.empty()) {
    const uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    const auto into = pool_.bytes().subspan(size_t{slot} * block_bytes_, block_bytes_);
    // The end is known only when it was read, so reads behind it may have been asked for: they find nothing.
    worker_->ask<Block>([this, into] { return source_->read(into); },
                        [this, slot](Block block) { on_block(slot, std::move(block)); });
  }
}

void Sender::on_block(uint32_t slot, Block block) {
  if (failing() || source_ended_) return;
  if (block.failure.failed()) {
    source_ended_ = true;
    return fail(std::move(block.failure));
  }
  source_ended_ = block.ends_all;
  filled_.push_back({.slot = slot, .block = std::move(block)});
}

void Sender::send_filled() {
  while (!filled_.empty() && !failing() && send_block(filled_.front())) filled_.pop_front();
}

// False: it has to wait for the receiver.
bool Sender::send_block(Filled& filled) {
  Block& block = filled.block;
  if (block.ends_all) {
    channel_.send(End{entries_announced_});
    end_sent_ = true;
    free_slots_.push_back(filled.slot);
    return true;
  }
  if (block.entry) {
    if (entries_announced_ - report_.entries_done >= ready_->entry_window) return false;
    channel_.send(*block.entry);
    ++entries_announced_;
    block.entry.reset();
  }
  if (block.length > 0) {
    if (free_remote_slots_.empty()) return false;
    put(filled);
  } else {
    free_slots_.push_back(filled.slot);
  }
  if (block.ends_file) channel_.send(EntryEnd{block.index});
  return true;
}

void Sender::put(const Filled& filled) {
  const uint32_t remote_slot = free_remote_slots_.back();
  free_remote_slots_.pop_back();
  remote_slot_is_free_[remote_slot] = false;
  const Block& block = filled.block;
  const auto notification =
      encode(Data{.index = block.index, .slot = remote_slot, .offset = block.offset, .length = block.length});
  TransferOptions options;
  options.notify = notification;
  options.on_done = [this, alive = std::weak_ptr<char>(alive_), slot = filled.slot,
                     length = block.length](const TransferResult& result) {
    if (!alive.expired()) on_put_done(slot, length, result);
  };
  ++puts_outstanding_;
  transfers_[filled.slot] =
      channel_.peer().put(pool_.slice(uint64_t{filled.slot} * block_bytes_, block.length),
                          ready_->staging.slice(uint64_t{remote_slot} * ready_->slot_bytes, block.length), std::move(options));
}

void Sender::on_put_done(uint32_t slot, uint32_t length, const TransferResult& result) {
  --puts_outstanding_;
  note_activity();
  free_slots_.push_back(slot);
  if (failing()) return;
  if (!result.status.ok()) return fail(connection_failure(result.status, "sending failed"));
  report_.bytes_done += length;
}

bool Sender::busy() const { return !failing() && (worker_->pending() > 0 || puts_outstanding_ > 0); }

void Sender::clean_up() {
  source_->stop();
  worker_->drop_waiting();
  filled_.clear();
  for (auto& transfer : transfers_) {
    if (transfer.valid() && !transfer.done()) transfer.cancel();
  }
  if (!told() && !peer_lost()) channel_.send(Failed{.kind = report_.failure.kind, .text = report_.failure.message});
}

// The receiver's word that its temporary files are gone ends a failed job; or its silence, or the loss of it.
void Sender::finish_if_quiet() {
  if (worker_->pending() == 0 && (told() || peer_lost() || !ready_)) finish();
}

}  // namespace haul::object
