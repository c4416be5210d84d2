// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

#include "haul/time.h"

namespace haul::tool {

std::string bytes_text(double bytes);          ///< "1.25 GB" (powers of 1000)
std::string duration_text(Duration duration);  ///< "31 µs", "1.2 s", "2 min 5 s"
double seconds(Duration duration);

}  // namespace haul::tool
