// The side of a job that gets the files: a server that is pushed to, or a pulling client.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/range_set.h"
#include "haul/engine.h"
#include "object/job.h"
#include "object/sink.h"
#include "object/worker.h"

namespace haul::object {

/// Offers slots of staging memory. What lands in one is written to the file by the worker, then the slot is offered again. The
/// sender is not trusted: it can spoil its own files only, and hold only what JobLimits allow.
class Receiver final : public Job {
 public:
  /// `request`: a client's, sent by start(); the Offer that answers it has the totals. Without, `options.totals` has them.
  Receiver(Channel& channel, Engine& engine, base::UniqueFd folder, SinkOptions options, std::unique_ptr<Worker> worker,
           const JobLimits& limits, std::optional<PullRequest> request);
  ~Receiver() override;

  void start() override;

 private:
  /// An entry that is announced and not done.
  struct Incoming {
    uint64_t size = 0;
    base::RangeSet landed;
    uint64_t written = 0;
    bool ended = false;
    bool finishing = false;
  };

  void handle(const FileMessage& message) override;
  void work() override;
  bool busy() const override;
  void clean_up() override;

  void prepare(const Totals& totals);
  void on_prepared(Failure failure);
  void on_entry(const Entry& entry);
  void on_data(const Data& data);
  void accept_data(const Data& data);
  void accept_early_data();
  void on_written(const Data& data, Failure failure);
  void on_entry_end(uint32_t index);
  void on_end(const End& end);
  void finish_entry_if_whole(uint32_t index, Incoming& incoming);
  void on_entry_finished(uint32_t index, Failure failure);
  void complete_if_all_done();
  void give_back_staging();

  Engine& engine_;
  base::UniqueFd folder_;
  SinkOptions options_;
  std::optional<PullRequest> request_;
  std::unique_ptr<Sink> sink_;
  Buffer staging_;
  std::optional<RemoteBuffer> grant_;
  std::vector<bool> offered_;  ///< by slot: the sender may write to it
  std::map<uint32_t, Incoming> incoming_;
  std::vector<Data> early_;  ///< landed before their entry was announced
  uint32_t entries_announced_ = 0;
  uint32_t entries_told_ = 0;
  std::optional<uint32_t> end_;
  bool completing_ = false;
  std::unique_ptr<Worker> worker_;  ///< last: its work uses the others
};

}  // namespace haul::object
