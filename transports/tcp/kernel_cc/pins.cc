// How a map is known for ours.
#include "tcp/kernel_cc/pins.h"

#include <bpf/bpf.h>

namespace haul::tcp::pins {

namespace {

// Without a name where it is no map.
bpf_map_info info_of(int map) {
  bpf_map_info info{};
  uint32_t bytes = sizeof(info);
  if (bpf_obj_get_info_by_fd(map, &info, &bytes) != 0) return {};
  return info;
}

}  // namespace

bool is_ours(int map, Kind kind) {
  const bpf_map_info info = info_of(map);
  if (std::string_view(info.name) != map_name(kind)) return false;
  if (kind == Kind::samples) return info.value_size == sizeof(KernelSamples);
  return kind == Kind::operations || info.value_size == sizeof(KernelCommand);
}

bool is_of_some_version(int map, Kind kind) {
  const bpf_map_info info = info_of(map);
  return std::string_view(info.name).starts_with(name_begin(kind)) &&
         (kind != Kind::operations || info.type == BPF_MAP_TYPE_STRUCT_OPS);
}

}  // namespace haul::tcp::pins
