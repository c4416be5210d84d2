// What is the same whether or not this build has the program.
#include "haul/kernel_congestion.h"

namespace haul::tcp::kernel_congestion {

const char* to_string(Presence presence) noexcept {
  switch (presence) {
    case Presence::absent: return "absent";
    case Presence::installed: return "installed";
    case Presence::other_version: return "other_version";
    case Presence::incomplete: return "incomplete";
  }
  return "unknown";
}

}  // namespace haul::tcp::kernel_congestion
