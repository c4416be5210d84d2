// Exit codes, and how an outcome is told to people and programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "object/failure.h"

namespace haul::tool {

/// Documented in `haul --help`; never change one's meaning.
enum ExitCode : int {
  exit_ok = 0,
  exit_transfer = 1,     ///< the transfer failed under way
  exit_usage = 2,        ///< the command line is wrong
  exit_unreachable = 3,  ///< no connection to a haul server there
  exit_refused = 4,      ///< policy, or the server says no
  exit_local_file = 5,   ///< a file or folder on this machine
  exit_corrupt = 6,      ///< a checksum failed for good
  exit_remote_file = 7,  ///< a file or folder on the other machine
  exit_signal = 128,     ///< plus the signal's number
};

/// How far a command got before it failed.
enum class Reached {
  nothing,  ///< this machine could not even begin
  engine,   ///< it was on the way to the server
  server,   ///< a haul file server had answered
};

/// `signal`: the one that was caught, or 0.
int exit_code(const object::Failure& failure, Reached reached, int signal);

/// A failure of the command line or of this program's set-up.
object::Failure usage_failure(std::string_view message);

/// Prints "haul: …" to stderr and, with `json`, the object with the error to stdout. Returns `code`.
int report_failure(std::string_view command, const object::Failure& failure, int code, bool json);

/// The object with the error, to stdout.
void print_failure(std::string_view command, const object::Failure& failure, int code);

/// One object on one line; bytes that are no UTF-8 are replaced.
void print_json(const nlohmann::json& object);

}  // namespace haul::tool
