// How many lanes a path is worth: tried, and kept by what they bring.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "haul/time.h"

namespace haul::congestion {

/// Watches what arrives in windows of time. Now and then it wants another number of lanes, waits until they stand and what they
/// carry has settled, and compares the medians of some windows before and after. More lanes stay where they bring a twentieth
/// more and noise does not explain it; fewer where they, and those taken away before them, cost less than a fiftieth together,
/// and noise hides no twentieth, by all trials of that step together. After a trial that failed, the next one of its kind waits
/// twice as long. Only windows in which there was enough to send and all wanted lanes stood count, also for the waits; a trial
/// with too few of them, or during which a lane is lost, is void.
class LaneCount {
 public:
  /// What one window brought.
  struct Look {
    uint64_t delivered_bytes = 0;  ///< since the last look, over all lanes
    bool busy = false;             ///< there was more to send than the lanes took
    /// Whether more lanes than the usual ones would take nothing that isn't theirs. Where that ends, those are taken away.
    bool may_add = false;
    uint32_t ready = 0;  ///< lanes that carry
    uint32_t most = 1;   ///< that are allowed
  };
  enum class Outcome : uint8_t {
    kept,
    taken_back,   ///< it did not bring enough, or cost too much
    not_enough,   ///< void: too little was to be sent
    not_opened,   ///< the lanes did not stand in time
    lane_lost,    ///< void: fewer stood than were to be compared
    not_allowed,  ///< void: may_add ended
    shed,         ///< no trial: lanes were taken away since may_add ended
  };
  struct Trial {
    uint32_t from = 1;
    uint32_t to = 1;
    Outcome outcome = Outcome::kept;
    double before_bytes_s = 0;  ///< medians; 0: not measured
    double after_bytes_s = 0;
  };

  /// Begins with as many as the backend does best with.
  explicit LaneCount(uint32_t usual) noexcept;

  uint32_t wanted() const noexcept { return wanted_; }
  uint32_t usual() const noexcept { return usual_; }
  /// "watching", "opening", "settling" or "measuring": for people.
  std::string_view state() const noexcept;
  const std::optional<Trial>& last_trial() const noexcept { return last_; }

  /// At the end of each window. The first look only begins one, as does one at a time that is not later than the last.
  void look(TimePoint now, const Look& look) noexcept;
  /// How long a window is to be: some round trips, so that a controller's swings are within it.
  static Duration window(std::optional<Duration> rtt) noexcept;

 private:
  enum class State : uint8_t { watching, opening, settling, measuring };
  static constexpr size_t compared = 9;  // windows, before and after

  /// The newest rates, of windows that count.
  struct Rates {
    std::array<double, compared> rates{};
    size_t size = 0;
    size_t next = 0;

    void add(double rate) noexcept;
    void clear() noexcept { size = next = 0; }
    bool full() const noexcept { return size == compared; }
    double median() const noexcept;
    /// The standard error of the median, robust against single windows.
    double error() const noexcept;
  };
  /// What trials of the same step brought.
  struct Evidence {
    double gain = 0;
    double variance = 0;  // of that; 0: none was made

    void add(double seen, double noise) noexcept;
  };
  /// Trials of one kind.
  struct Patience {
    uint32_t wait;   // windows until the next one
    uint32_t first;  // to be waited after a failure …
    uint32_t next;   // … and after the next one

    void succeed() noexcept {
      wait = 0;
      next = first;
    }
    void fail() noexcept;
  };

  bool adding() const noexcept { return wanted_ > from_; }
  void watch(const Look& look, double rate) noexcept;
  void watch_idle() noexcept;
  void start_trial(uint32_t count) noexcept;
  void await_lanes(const Look& look) noexcept;
  void miss_lane() noexcept;
  void decide() noexcept;
  void decide_fewer(double gain, double noise) noexcept;
  void forget_costs() noexcept;
  void keep(double gain) noexcept;
  void take_back() noexcept;
  void end_trial(Outcome outcome) noexcept;
  void shed() noexcept;
  void settle_again() noexcept;

  uint32_t usual_;
  uint32_t wanted_;
  uint32_t step_ = 1;    // lanes added by the next trial
  Evidence step_down_;   // of one from the present number
  Evidence steps_down_;  // of all since the best number
  State state_ = State::watching;
  Patience more_{20, 100, 100};
  Patience fewer_{200, 400, 400};
  Rates before_;  // of the number that a trial compares with
  Rates rates_;
  uint32_t from_ = 1;       // of the trial
  uint32_t unsettled_ = 0;  // windows until what the lanes carry has settled
  uint32_t opening_ = 0;    // windows, while opening
  uint32_t idle_ = 0;       // windows without enough to send: in a row while watching, else of the trial
  uint32_t denied_ = 0;     // windows in a row without may_add
  std::optional<TimePoint> looked_at_;
  std::optional<Trial> last_;
};

}  // namespace haul::congestion
