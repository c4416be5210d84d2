// The destructors of the interfaces: where their tables live.
#include "haul/transport.h"

namespace haul {

MemoryRegion::~MemoryRegion() = default;
Transport::~Transport() = default;

}  // namespace haul
