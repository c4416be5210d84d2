// What libbpf and the kernel's verifier say.
#pragma once

#include <bpf/libbpf.h>

#include <mutex>
#include <string>

namespace haul::tcp {

/// While one lives, what libbpf says is kept here, and not written to stderr. libbpf has one such setting for the process: a
/// second one waits for the end of the first.
class LoaderLog {
 public:
  LoaderLog();
  ~LoaderLog();
  LoaderLog(const LoaderLog&) = delete;
  LoaderLog& operator=(const LoaderLog&) = delete;

  /// In one line. Of a long text its end, where the verifier gives the reason.
  static const std::string& text();

 private:
  std::lock_guard<std::mutex> lock_;
  libbpf_print_fn_t before_;
};

}  // namespace haul::tcp
