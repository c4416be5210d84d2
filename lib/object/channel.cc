// Messages to one peer, in order.
#include "object/channel.h"

namespace haul::object {

namespace {
constexpr size_t max_waiting = 4096;  // far above what the windows of the protocol allow
}

void Channel::send(const FileMessage& message) {
  auto bytes = encode(message);
  if (waiting_.empty() && pass_on(bytes)) return;
  if (waiting_.size() == max_waiting) {
    overflowed_ = true;
    return;
  }
  waiting_.push_back(std::move(bytes));
}

void Channel::flush() {
  while (!waiting_.empty() && pass_on(waiting_.front())) waiting_.pop_front();
}

// A lost peer takes everything: its closing is reported to the job by other ways.
bool Channel::pass_on(const std::vector<std::byte>& bytes) { return peer_.send(bytes).code() != StatusCode::busy; }

}  // namespace haul::object
