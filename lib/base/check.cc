// Reports a defect and aborts.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace haul::base {

void check_failed(const char* what, const char* file, int line, const char* function) noexcept {
  std::fprintf(stderr, "haul: defect: %s (%s:%d, %s)\n", what, file, line, function);
  std::abort();
}

}  // namespace haul::base
