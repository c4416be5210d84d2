// The entry of libFuzzer, compiled once for each target: HAUL_FUZZ_TARGET is its name.
#include <cstdint>

#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const haul::fuzz::Target* const target = haul::fuzz::find_target(HAUL_FUZZ_TARGET);
  haul::fuzz::require(target != nullptr, "the target is not in the list");
  target->run(std::as_bytes(std::span(data, size)));
  return 0;
}
