// The form of cong_control(), by the kernel's BTF.
#include "tcp/kernel_cc/variant.h"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <string_view>

namespace haul::tcp {

namespace {

// Null: no such member, or it is no pointer to a function.
const btf_type* function_of(const btf* types, const btf_type* operations, std::string_view name) {
  const btf_member* members = btf_members(operations);
  for (int i = 0; i < btf_vlen(operations); ++i) {
    if (btf__name_by_offset(types, members[i].name_off) != name) continue;
    const btf_type* pointer = btf__type_by_id(types, members[i].type);
    if (pointer == nullptr || !btf_is_ptr(pointer)) return nullptr;
    const btf_type* function = btf__type_by_id(types, pointer->type);
    return function != nullptr && btf_is_func_proto(function) ? function : nullptr;
  }
  return nullptr;
}

}  // namespace

Result<int> cong_control_arguments(const btf* kernel) {
  const int32_t id = btf__find_by_name_kind(kernel, "tcp_congestion_ops", BTF_KIND_STRUCT);
  const btf_type* function =
      id > 0 ? function_of(kernel, btf__type_by_id(kernel, static_cast<uint32_t>(id)), "cong_control") : nullptr;
  if (function == nullptr) {
    return Status(StatusCode::unsupported,
                  "this kernel's BTF does not describe tcp_congestion_ops::cong_control (needs CONFIG_INET, and Linux 5.13)");
  }
  const int count = btf_vlen(function);
  if (count == 2 || count == 4) return count;
  return Status(
      StatusCode::unsupported,
      fmt::format("this kernel's tcp_congestion_ops::cong_control takes {} arguments; haul knows the forms with 2 (Linux "
                  "6.1) and 4 (6.18): a newer haul may know this one",
                  count));
}

Result<int> cong_control_arguments_here() {
  const std::unique_ptr<btf, decltype(&btf__free)> kernel(btf__load_vmlinux_btf(), btf__free);
  if (kernel == nullptr) {
    return Status::from_errno(
        StatusCode::unsupported, errno,
        "this kernel has no BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF), without which no program "
        "can be loaded");
  }
  return cong_control_arguments(kernel.get());
}

}  // namespace haul::tcp
