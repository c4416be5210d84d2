// Programs that run at the ends of the path.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "haul/status.h"
#include "haul/time.h"
#include "wan/end.h"

namespace wan {

/// Catches SIGINT, SIGTERM and SIGHUP for as long as it lives; what waits looks here. One at a time.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  /// The signal that came; 0: none.
  static int signal() noexcept;
  /// cancelled, with the signal's name, when one came.
  static haul::Status status();
};

/// Owns a process: its end is the end of the process, and so is the end of this program, however that comes about.
class Child {
 public:
  /// `command[0]` is a path. Its output is kept in memory.
  static haul::Result<Child> start(const std::vector<std::string>& command, const End& end);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  pid_t pid() const noexcept { return pid_; }
  /// True when it has ended; exit_code() is known from then on.
  bool ended();
  /// As a shell tells it: 128 + the signal that ended it.
  int exit_code() const noexcept { return exit_code_; }
  std::string output() const;
  std::string errors() const;
  /// The end of what it said, in one line, for messages.
  std::string complaint() const;

 private:
  Child() = default;
  void wait_briefly();

  std::string name_;
  pid_t pid_ = -1;
  bool ended_ = false;
  int exit_code_ = -1;
  haul::base::UniqueFd output_;
  haul::base::UniqueFd errors_;
};

/// Until `done`, the limit (timed_out) or an interruption (cancelled, even when it is done). Looks every few milliseconds.
haul::Status wait_until(const std::function<bool()>& done, haul::Duration limit, const std::string& waiting_for);

/// The path of a program, from PATH. Empty: it is not installed.
std::string program_path(const std::string& name);

/// Whether anybody listens on this TCP port at this end.
bool listens(const End& end, uint16_t port);

}  // namespace wan
