// A mutex, a vector and an eventfd.
#include "tcp/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace haul::tcp {

Result<std::shared_ptr<Inbox>> Inbox::create() {
  auto inbox = std::make_shared<Inbox>();
  inbox->event_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!inbox->event_) return Status::from_errno(StatusCode::exhausted, errno, "an eventfd could not be made (`ulimit -n`)");
  return inbox;
}

void Inbox::put(Item item) {
  const std::lock_guard lock(mutex_);
  items_.push_back(std::move(item));
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable already.
  [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof(one));
}

std::vector<Inbox::Item> Inbox::take() {
  const std::lock_guard lock(mutex_);
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_.get(), &count, sizeof(count));
  return std::exchange(items_, {});
}

}  // namespace haul::tcp
