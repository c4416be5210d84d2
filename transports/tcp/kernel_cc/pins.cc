// How a map is known for ours.
#include "tcp/kernel_cc/pins.h"

#include <bpf/bpf.h>

namespace haul::tcp::pins {

bool is_ours(int map, Kind kind) {
  bpf_map_info info{};
  uint32_t bytes = sizeof(info);
  if (bpf_obj_get_info_by_fd(map, &info, &bytes) != 0) return false;
  if (std::string_view(info.name) != map_name(kind)) return false;
  if (kind == Kind::samples) return info.value_size == sizeof(KernelSamples);
  return kind == Kind::operations || info.value_size == sizeof(KernelCommand);
}

}  // namespace haul::tcp::pins
