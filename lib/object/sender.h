// The side of a job that has the files: a pushing client, or a server that is pulled from.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "haul/engine.h"
#include "object/job.h"
#include "object/source.h"
#include "object/worker.h"

namespace haul::object {

/// Counts what there is, announces it, and once the receiver is ready keeps every free slot of it filled. Reading happens on
/// the worker, into a pool of our own; puts take the blocks from there straight into the receiver's slots.
class Sender final : public Job {
 public:
  /// `request`: a client's, sent with the totals filled in; without, an Offer announces them.
  Sender(Channel& channel, Engine& engine, std::unique_ptr<Source> source, std::unique_ptr<Worker> worker,
         const JobLimits& limits, std::optional<PushRequest> request);
  ~Sender() override;

  void start() override;

 private:
  struct Filled {
    uint32_t slot = 0;  ///< of our pool
    Block block;
  };

  void handle(const FileMessage& message) override;
  void work() override;
  bool busy() const override;
  void clean_up() override;

  void on_survey(Survey survey);
  void on_ready(const Ready& ready);
  void on_slot_free(uint32_t slot);
  void on_entries_done(uint32_t count);
  void on_done(const Done& done);
  void on_block(uint32_t slot, Block block);
  void on_put_done(uint32_t slot, uint32_t length, const TransferResult& result);
  void read_ahead();
  void send_filled();
  bool send_block(Filled& filled);
  void put(const Filled& filled);
  void finish_if_quiet();

  Engine& engine_;
  std::unique_ptr<Source> source_;
  std::optional<PushRequest> request_;
  std::optional<Ready> ready_;
  Buffer pool_;
  uint32_t block_bytes_ = 0;
  std::vector<uint32_t> free_slots_;  ///< of our pool
  std::vector<uint32_t> free_remote_slots_;
  std::vector<bool> remote_slot_is_free_;
  std::deque<Filled> filled_;
  std::vector<Transfer> transfers_;  ///< by slot of our pool
  uint32_t puts_outstanding_ = 0;
  uint32_t entries_announced_ = 0;
  bool source_ended_ = false;
  bool end_sent_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();  ///< callbacks of transfers look whether we are still there
  std::unique_ptr<Worker> worker_;                          ///< last: its work uses the others
};

}  // namespace haul::object
