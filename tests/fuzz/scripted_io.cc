// Operations that end as the script wants.
#include "fuzz/scripted_io.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace haul::fuzz {

void ScriptedIo::submit(tcp::IoOperation& operation) {
  require(!operation.in_progress, "an operation was submitted twice");
  operation.in_progress = true;
  pending_.push_back({&operation, false});
  submitted_ = true;
}

void ScriptedIo::cancel(tcp::IoOperation& operation) {
  for (Pending& pending : pending_) {
    if (pending.operation == &operation) pending.cancelled = true;
  }
}

size_t ScriptedIo::poll() {
  submitted_ = false;
  size_t reports = 0;
  // Handlers submit and cancel others meanwhile, which may move the elements.
  for (size_t i = 0; i < pending_.size();) {
    const auto result = progress(pending_[i]);
    if (!result) {
      ++i;
      continue;
    }
    tcp::IoOperation& operation = *pending_[i].operation;
    pending_.erase(pending_.begin() + static_cast<ptrdiff_t>(i));
    operation.in_progress = false;
    operation.handler->on_io(operation, *result);
    ++reports;
    i = 0;
  }
  return reports;
}

std::optional<int> ScriptedIo::progress(const Pending& pending) {
  if (pending.cancelled) return -ECANCELED;
  tcp::IoOperation& operation = *pending.operation;
  switch (operation.kind) {
    case tcp::IoKind::receive: return receive(operation.message);
    case tcp::IoKind::send: return send(operation.message);
    case tcp::IoKind::readable: {
      pollfd watched{operation.fd, POLLIN, 0};
      if (::poll(&watched, 1, 0) == 1) return 1;
      return std::nullopt;
    }
    default: return std::nullopt;
  }
}

std::optional<int> ScriptedIo::receive(msghdr& message) {
  if (incoming.empty()) return ended ? std::optional(0) : std::nullopt;
  size_t left = std::min(incoming.size(), std::max<size_t>(receive_most, 1));
  size_t received = 0;
  for (size_t i = 0; i < message.msg_iovlen && left > 0; ++i) {
    const size_t bytes = std::min(left, message.msg_iov[i].iov_len);
    const auto end = incoming.begin() + static_cast<ptrdiff_t>(bytes);
    std::copy(incoming.begin(), end, static_cast<std::byte*>(message.msg_iov[i].iov_base));
    incoming.erase(incoming.begin(), end);
    left -= bytes;
    received += bytes;
  }
  require(received > 0, "a receive of nothing");
  return static_cast<int>(received);
}

std::optional<int> ScriptedIo::send(const msghdr& message) {
  if (send_most == 0) return std::nullopt;
  size_t left = send_most;
  size_t taken = 0;
  for (size_t i = 0; i < message.msg_iovlen && left > 0; ++i) {
    const size_t bytes = std::min(left, message.msg_iov[i].iov_len);
    const auto* from = static_cast<const std::byte*>(message.msg_iov[i].iov_base);
    sent.insert(sent.end(), from, from + bytes);
    left -= bytes;
    taken += bytes;
  }
  return static_cast<int>(taken);
}

}  // namespace haul::fuzz
