// A short measurement of the way to a peer: round trips, then puts into memory that the other side forgets.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "haul/engine.h"
#include "object/job.h"

namespace haul::object {

/// The server's part: offers slots until the client is gone.
class MeasureHost final : public Job {
 public:
  MeasureHost(Channel& channel, Engine& engine, const JobLimits& limits) : Job(channel, limits), engine_(engine) {}
  ~MeasureHost() override;
  void start() override;

 private:
  void handle(const FileMessage& message) override;
  void work() override {}
  bool busy() const override { return false; }
  void clean_up() override;

  Engine& engine_;
  Buffer staging_;
  std::optional<RemoteBuffer> grant_;
};

struct Measurement {
  Duration round_trip_median{};
  Duration round_trip_min{};
  uint64_t bytes = 0;
  Duration duration{};
};

/// The client's part.
class Measurer final : public Job {
 public:
  Measurer(Channel& channel, Engine& engine, const Clock& clock, const JobLimits& limits, Duration duration);
  ~Measurer() override;
  void start() override;
  const Measurement& measurement() const noexcept { return measurement_; }

 private:
  void handle(const FileMessage& message) override;
  void work() override;
  bool busy() const override { return puts_outstanding_ > 0; }
  void clean_up() override { finish(); }

  void ping();
  void on_pong(uint64_t token);
  void on_ready(const Ready& ready);
  void put(uint32_t slot);
  void on_put_done(uint32_t slot, uint64_t bytes, const TransferResult& result);

  Engine& engine_;
  const Clock& clock_;
  Duration duration_;
  TimePoint sent_{};
  TimePoint began_{};
  std::vector<Duration> round_trips_;
  std::optional<Ready> ready_;
  Buffer pool_;
  uint32_t puts_outstanding_ = 0;
  Measurement measurement_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace haul::object
