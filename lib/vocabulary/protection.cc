// Names of protections.
#include "haul/credentials.h"

namespace haul {

std::string_view to_string(Protection protection) noexcept {
  switch (protection) {
    case Protection::encrypted: return "encrypted";
    case Protection::integrity_only: return "integrity only";
    case Protection::plain: return "plain";
  }
  return "unknown";
}

}  // namespace haul
