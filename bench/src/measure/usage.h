// What this process has used so far: processor time and memory.
#pragma once

#include <cstdint>
#include <optional>

namespace bench {

/// User and system time of all threads since the process began.
uint64_t cpu_time_ns() noexcept;

/// The most memory that was ever resident (VmHWM). Absent where /proc does not tell.
std::optional<uint64_t> peak_resident_bytes();

/// Ties the whole process to one processor. False, with errno set, when the system refuses.
bool pin_to_processor(int processor) noexcept;

}  // namespace bench
