// In place of everything that needs libbpf, where this build has no program for the kernel (HAUL_TCP_BPF).
#include "haul/kernel_congestion.h"
#include "tcp/kernel_cc/controller.h"

namespace haul::tcp {

namespace {

Status not_built() {
  return Status(
      StatusCode::unsupported,
      "this haul was built without its congestion control for the kernel (needs clang and libbpf-dev; HAUL_TCP_BPF=on "
      "insists on them)");
}

}  // namespace

Result<std::shared_ptr<const KernelMaps>> KernelMaps::open(const std::string&) { return not_built(); }
// Nobody has maps to call them on.
bool KernelMaps::has(int) const { return false; }
Result<KernelSamples> KernelMaps::read(int) const { return not_built(); }
Status KernelMaps::write(int, const KernelCommand&) const { return not_built(); }

namespace kernel_congestion {

Status install(const InstallOptions&) { return not_built(); }
Result<bool> uninstall(const std::string&, Reach) { return not_built(); }
State status(const std::string&) {
  State state;
  state.text = not_built().message();
  return state;
}

}  // namespace kernel_congestion
}  // namespace haul::tcp
