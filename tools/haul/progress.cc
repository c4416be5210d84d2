// The progress bar and the progress lines.
#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "text.h"

namespace haul::tool {

namespace {

constexpr Duration sample_interval = std::chrono::milliseconds(200);
constexpr Duration line_interval = std::chrono::seconds(3);
constexpr double smoothing = 0.2;  // of one sample: about a second of memory

}  // namespace

Progress::Progress(bool enabled) : enabled_(enabled), terminal_(isatty(STDERR_FILENO) == 1) {}

void Progress::update(const object::JobReport& report, TimePoint now) {
  if (!enabled_ || !report.totals_known) return;
  if (last_sample_ == TimePoint{}) {
    last_sample_ = last_shown_ = now;
    return;
  }
  if (now - last_sample_ < sample_interval) return;
  const double rate = static_cast<double>(report.bytes_done - last_bytes_) / seconds(now - last_sample_);
  rate_bytes_s_ = rate_bytes_s_ == 0 ? rate : rate_bytes_s_ + smoothing * (rate - rate_bytes_s_);
  last_bytes_ = report.bytes_done;
  last_sample_ = now;
  if (terminal_) {
    fmt::print(stderr, "\r{}\x1b[K", line(report));
    drawn_ = true;
  } else if (now - last_shown_ >= line_interval) {
    last_shown_ = now;
    fmt::print(stderr, "{}\n", line(report));
  }
  std::fflush(stderr);
}

std::string Progress::line(const object::JobReport& report) const {
  const auto total = static_cast<double>(report.totals.bytes);
  const double done = std::min(static_cast<double>(report.bytes_done), total);
  const double part = total > 0 ? done / total : 1;
  std::string text;
  if (terminal_) {
    constexpr size_t width = 28;
    const auto full = static_cast<size_t>(part * width);
    text = fmt::format("[{}{}] ", std::string(full, '#'), std::string(width - full, '.'));
  }
  text += fmt::format("{:3.0f} %  {} of {}", part * 100, bytes_text(done), bytes_text(total));
  if (report.totals.files > 1) text += fmt::format("  {} entries", report.entries_done);
  text += fmt::format("  {}/s", bytes_text(rate_bytes_s_));
  if (rate_bytes_s_ > 0) {
    const double left_s = std::min((total - done) / rate_bytes_s_, 1e8);
    text +=
        fmt::format("  {} left", duration_text(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left_s))));
  }
  return text;
}

void Progress::end() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
  drawn_ = false;
}

}  // namespace haul::tool
