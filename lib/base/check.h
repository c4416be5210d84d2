// Checks of things that only a defect in this library can make false. They stay on in every build.
#pragma once

namespace haul::base {

[[noreturn]] void check_failed(const char* what, const char* file, int line, const char* function) noexcept;

/// Aborts with the place and `what` when `condition` is false. Never for bad input: that is a Status.
/// The last three arguments are filled in with the caller's place (clang 14 lacks std::source_location).
inline void check(bool condition, const char* what, const char* file = __builtin_FILE(), int line = __builtin_LINE(),
                  const char* function = __builtin_FUNCTION()) noexcept {
  if (!condition) [[unlikely]]
    check_failed(what, file, line, function);
}

}  // namespace haul::base
