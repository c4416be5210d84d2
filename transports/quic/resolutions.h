// Where helper threads leave what names resolved to.
#pragma once

#include <sys/eventfd.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "net/resolver.h"

namespace haul::quic {

/// Thread-safe. Outlives its transport while a look-up runs; what comes then is dropped with it.
class Resolutions {
 public:
  explicit Resolutions(base::UniqueFd event) : event_(std::move(event)) {}

  void put(net::Resolution resolution) {
    const std::lock_guard lock(mutex_);
    items_.push_back(std::move(resolution));
    eventfd_write(event_.get(), 1);
  }
  std::vector<net::Resolution> take() {
    const std::lock_guard lock(mutex_);
    if (items_.empty()) return {};
    eventfd_t count = 0;
    eventfd_read(event_.get(), &count);
    return std::exchange(items_, {});
  }
  /// Readable when something is there.
  int fd() const noexcept { return event_.get(); }

 private:
  base::UniqueFd event_;
  std::mutex mutex_;
  std::vector<net::Resolution> items_;
};

}  // namespace haul::quic
