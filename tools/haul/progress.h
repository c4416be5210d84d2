// How far a transfer is: a bar that is redrawn on a terminal, a line every few seconds elsewhere. Written to stderr.
#pragma once

#include <string>

#include "object/job.h"

namespace haul::tool {

class Progress {
 public:
  explicit Progress(bool enabled);

  void update(const object::JobReport& report, TimePoint now);
  /// Removes the bar, so that what is printed next stands on a line of its own.
  void end();

 private:
  std::string facts(const object::JobReport& report, double part) const;
  std::string line(const object::JobReport& report) const;

  bool enabled_;
  bool terminal_;
  bool drawn_ = false;
  double rate_bytes_s_ = 0;  ///< smoothed
  uint64_t last_bytes_ = 0;
  TimePoint last_sample_{};
  TimePoint last_shown_{};
};

}  // namespace haul::tool
