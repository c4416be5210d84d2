// Puts answered by puts, one at a time.
#include "haul_bench/ping_pong.h"

#include <utility>

namespace bench {

namespace {

constexpr auto answer_limit = std::chrono::seconds(15);

class PingPong {
 public:
  PingPong(Session& session, uint64_t block_bytes, const DriveLimits& limits, uint64_t& sequence)
      : session_(session), block_bytes_(block_bytes), limits_(limits), sequence_(sequence) {
    session_.on_ping([this](const Ping& pong) { on_pong(pong); });
  }
  ~PingPong() { session_.on_ping({}); }
  PingPong(const PingPong&) = delete;
  PingPong& operator=(const PingPong&) = delete;

  haul::Result<DriveResult> run() {
    const haul::TimePoint begin = clock_.now();
    end_ = begin + limits_.duration;
    ping(begin);
    const haul::Status over = session_.run_until([this] { return over_ && unfinished_ == 0; }, limits_.duration + answer_limit,
                                                 "the answer to a put");
    if (!over.ok()) return over;
    result_.elapsed = last_ - begin;
    return result_;
  }

 private:
  void ping(haul::TimePoint now) {
    const uint64_t blocks = session_.local().size() / block_bytes_;
    const uint64_t offset = sequence_ % blocks * block_bytes_;
    const EncodedMessage message = encode(Ping{static_cast<uint32_t>(sequence_ % Ping::sequences)});
    haul::TransferOptions options;
    options.notify = message.bytes();
    options.on_done = [this](const haul::TransferResult& result) {
      --unfinished_;
      if (!result.status.ok()) session_.fail(result.status);
    };
    started_at_ = now;
    ++unfinished_;
    session_.peer().put(session_.local(offset, block_bytes_), session_.remote(offset, block_bytes_), std::move(options));
  }

  void on_pong(const Ping& pong) {
    if (pong.sequence != sequence_ % Ping::sequences) {
      return session_.fail({haul::StatusCode::protocol, "the receiver answered another put than the last one"});
    }
    last_ = clock_.now();
    ++sequence_;
    ++result_.transfers;
    result_.bytes += block_bytes_;
    result_.latency.record(last_ - started_at_);
    over_ = last_ >= end_ || result_.transfers >= limits_.transfers;
    if (!over_) ping(last_);
  }

  Session& session_;
  const uint64_t block_bytes_;
  const DriveLimits& limits_;
  uint64_t& sequence_;
  const haul::Clock& clock_ = haul::system_clock();
  haul::TimePoint end_;
  haul::TimePoint last_;
  haul::TimePoint started_at_;
  uint64_t unfinished_ = 0;  // puts whose completion has not come; the answer may come before it
  bool over_ = false;
  DriveResult result_;
};

}  // namespace

haul::Result<DriveResult> ping_pong(Session& session, uint64_t block_bytes, const DriveLimits& limits, uint64_t& sequence) {
  return PingPong(session, block_bytes, limits, sequence).run();
}

}  // namespace bench
