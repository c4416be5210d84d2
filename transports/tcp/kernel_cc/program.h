// The program in the kernel: loading, registering, and finding it again.
#pragma once

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "haul/status.h"

struct bpf_object;
struct bpf_link;

namespace haul::tcp::kernel_congestion {

/// A loaded program. Registered only from do_register() on, and to the end of this unless it is released.
class Program {
 public:
  /// The variant for this kernel. Errors: unsupported, refused, exhausted, internal.
  static Result<Program> load();

  /// The name is in a bpf file system. Errors: as of the kernel.
  Status pin(const std::string& directory) const;
  /// Errors: refused (the name is taken), internal.
  Status do_register();
  /// From here on the registration is the machine's.
  void release() noexcept;

 private:
  struct Free {
    void operator()(bpf_object* object) const noexcept;
    void operator()(bpf_link* link) const noexcept;
  };

  explicit Program(bpf_object* object) : object_(object) {}

  std::unique_ptr<bpf_object, Free> object_;
  std::unique_ptr<bpf_link, Free> registration_;
};

/// Whether sockets can select it, by the kernel's list.
bool registered();
/// Ends a registration by its map. False: it was none.
bool unregister(int operations_map);
/// Ends those of any version on the whole machine, wherever the names of their maps are. Needs CAP_SYS_ADMIN.
bool unregister_everywhere();

}  // namespace haul::tcp::kernel_congestion
