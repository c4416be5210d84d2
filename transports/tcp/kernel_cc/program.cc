// Loading and registering, over libbpf.
#include "tcp/kernel_cc/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <fstream>

#include "haul/kernel_congestion.h"
#include "tcp/kernel_cc/embedded.h"
#include "tcp/kernel_cc/loader_log.h"
#include "tcp/kernel_cc/pins.h"
#include "tcp/kernel_cc/variant.h"

namespace haul::tcp::kernel_congestion {

namespace {

Status not_loaded(int error) {
  if (error == EPERM) {
    return Status::from_errno(
        StatusCode::refused, error,
        "putting haul's congestion control into the kernel needs CAP_BPF and CAP_PERFMON: run this as root");
  }
  if (error == ENOMEM) return Status::from_errno(StatusCode::exhausted, error, "the kernel has no memory for haul's program");
  return Status::from_errno(StatusCode::unsupported, error,
                            fmt::format("this kernel does not take haul's program; it says: {}", LoaderLog::text()));
}

bpf_map* map_of(bpf_object* object, pins::Kind kind) { return bpf_object__find_map_by_name(object, pins::map_name(kind)); }

}  // namespace

void Program::Free::operator()(bpf_object* object) const noexcept { bpf_object__close(object); }
void Program::Free::operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }

Result<Program> Program::load() {
  const LoaderLog log;
  const auto arguments = cong_control_arguments_here();
  if (!arguments) return arguments.status();
  const auto code = *arguments == 2 ? embedded::with_2_arguments : embedded::with_4_arguments;
  bpf_object_open_opts options{};
  options.sz = sizeof(options);
  options.object_name = name;
  Program program(bpf_object__open_mem(code.data(), code.size_bytes(), &options));
  if (!program.object_) return not_loaded(errno);
  if (const int failed = bpf_object__load(program.object_.get()); failed != 0) return not_loaded(-failed);
  return program;
}

Status Program::pin(const std::string& directory) const {
  const LoaderLog log;
  for (const pins::Kind kind : pins::kinds) {
    const std::string path = pins::path_of(directory, kind);
    const int failed = bpf_map__pin(map_of(object_.get(), kind), path.c_str());
    if (failed != 0) return Status::from_errno(StatusCode::refused, -failed, fmt::format("cannot name a map {}", path));
  }
  return {};
}

Status Program::do_register() {
  const LoaderLog log;
  registration_.reset(bpf_map__attach_struct_ops(map_of(object_.get(), pins::Kind::operations)));
  if (registration_) return {};
  if (errno == EEXIST) {
    return Status(
        StatusCode::refused,
        "a congestion control called haul is registered already, maybe from another folder or another mount namespace: "
        "haul cc status");
  }
  return Status::from_errno(errno == EPERM ? StatusCode::refused : StatusCode::internal, errno,
                            "the kernel did not register haul's congestion control");
}

void Program::release() noexcept { bpf_link__disconnect(registration_.get()); }

bool registered() {
  std::ifstream available("/proc/sys/net/ipv4/tcp_available_congestion_control");
  for (std::string word; available >> word;) {
    if (word == name) return true;
  }
  return false;
}

bool unregister(int operations_map) {
  constexpr int only_key = 0;
  return bpf_map_delete_elem(operations_map, &only_key) == 0;
}

bool unregister_everywhere() {
  bool any = false;
  uint32_t id = 0;
  while (bpf_map_get_next_id(id, &id) == 0) {
    const base::UniqueFd map(bpf_map_get_fd_by_id(id));
    if (map && pins::is_of_some_version(map.get(), pins::Kind::operations) && unregister(map.get())) any = true;
  }
  return any;
}

}  // namespace haul::tcp::kernel_congestion
