// The progress bar and the progress lines.
#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "print.h"
#include "text.h"

namespace haul::tool {

namespace {

constexpr Duration sample_interval = std::chrono::milliseconds(200);
constexpr Duration line_interval = std::chrono::seconds(3);
constexpr double smoothing = 0.2;  // of one sample: about a second of memory
constexpr size_t min_bar = 5;
constexpr size_t max_bar = 28;
constexpr size_t bar_frame = 3;  // "[] "

size_t terminal_columns() {
  constexpr size_t usual = 80;
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual;
}

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
    print(stderr, "\r{}\x1b[K", line(report));
    drawn_ = true;
  } else if (now - last_shown_ >= line_interval) {
    last_shown_ = now;
    print(stderr, "{}\n", line(report));
  }
  std::fflush(stderr);
}

std::string Progress::facts(const object::JobReport& report, double part) const {
  const auto total = static_cast<double>(report.totals.bytes);
  const double done = part * total;
  std::string text = fmt::format("{:3.0f} %  {} of {}", part * 100, bytes_text(done), bytes_text(total));
  if (report.totals.files > 1) text += fmt::format("  {} entries", report.entries_done);
  text += fmt::format("  {}/s", bytes_text(rate_bytes_s_));
  if (rate_bytes_s_ > 0) {
    const double left_s = std::min((total - done) / rate_bytes_s_, 1e8);
    text +=
        fmt::format("  {} left", duration_text(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left_s))));
  }
  return text;
}

std::string Progress::line(const object::JobReport& report) const {
  const auto total = static_cast<double>(report.totals.bytes);
  const double part = total > 0 ? std::min(static_cast<double>(report.bytes_done) / total, 1.0) : 1;
  std::string text = facts(report, part);
  if (!terminal_) return text;
  // A line that the terminal wraps could not be drawn over.
  const size_t room = terminal_columns() - 1;
  if (text.size() + min_bar + bar_frame > room) return text.substr(0, room);
  const size_t width = std::min(room - text.size() - bar_frame, max_bar);
  const auto full = static_cast<size_t>(part * static_cast<double>(width));
  return fmt::format("[{}{}] {}", std::string(full, '#'), std::string(width - full, '.'), text);
}

void Progress::end() {
  if (drawn_) print(stderr, "\r\x1b[K");
  drawn_ = false;
}

}  // namespace haul::tool
