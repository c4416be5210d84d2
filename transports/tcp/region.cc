// Pins regions when they are first sent without copying.
#include "tcp/region.h"

#include <fmt/format.h>

namespace haul::tcp {

int PinnedMemory::pin(std::span<std::byte> memory) {
  auto place = io_.register_buffer(memory);
  if (place.ok()) return *place;
  if (!told_ && log_) {
    const std::string text = fmt::format("zero-copy sends go without registered buffers: {}", place.status().message());
    log_({LogLevel::warning, "tcp", text});
  }
  told_ = true;
  return -1;
}

Region::~Region() {
  if (place_ < 0) return;
  if (const auto pins = pins_.lock()) pins->unpin(place_);
}

int Region::pinned() const {
  if (tried_) return place_;
  tried_ = true;
  if (const auto pins = pins_.lock()) place_ = pins->pin(memory_);
  return place_;
}

}  // namespace haul::tcp
