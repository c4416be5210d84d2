// Why a file or tree was not moved, typed for people and programs; and on which side.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "haul/status.h"

namespace haul::object {

/// The numbers are part of the file protocol (docs/wire-format.md): never reuse one.
enum class FailureKind : uint8_t {
  none = 0,
  missing = 1,        ///< no such file or folder
  not_permitted = 2,  ///< rights, a read-only file system
  exists = 3,         ///< the destination is there and may not be replaced
  no_space = 4,       ///< disk or quota
  bad_name = 5,       ///< malformed, or leads out of the folder that is served or written to
  changed = 6,        ///< the source changed while it was read
  unsuitable = 7,     ///< a folder where a file is needed, or the other way round
  io = 8,             ///< the disk or file system failed
  limit = 9,          ///< sessions, descriptors, memory
  interrupted = 10,   ///< somebody stopped it
  protocol = 11,      ///< the other side sent what it must not
  connection = 12,    ///< the way to the other side; Failure::status has the code
  corrupt = 13,       ///< a checksum failed for good
};

/// As spelled above; "unknown" for numbers of a later version. Never null.
std::string_view to_string(FailureKind kind) noexcept;

enum class Side : uint8_t { here, there };

struct Failure {
  FailureKind kind = FailureKind::none;
  std::string message{};  ///< names the thing and the remedy
  Side side = Side::here;
  StatusCode status = StatusCode::ok;  ///< of the library, for kind connection

  bool failed() const noexcept { return kind != FailureKind::none; }
};

/// From an errno: `what` says what was tried ("cannot open \"x\""); the errno's text and a remedy are appended.
Failure file_failure(int error, std::string_view what);

/// From the library.
Failure connection_failure(const Status& status, std::string_view what);

/// Text of a peer made fit for a terminal: control characters become '?'.
std::string printable(std::string_view text);

}  // namespace haul::object
