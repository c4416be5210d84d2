// Fake queue pairs: requests are carried out in order, with the checks that a device makes.
#include <algorithm>
#include <cstring>

#include "contract/verbs/device.h"

namespace haul::verbs {

using namespace rdma;

namespace {

bool within(std::span<const std::byte> outer, const std::byte* begin, uint64_t length) {
  const auto from = reinterpret_cast<uint64_t>(outer.data());
  const auto at = reinterpret_cast<uint64_t>(begin);
  return at >= from && at - from <= outer.size() && length <= outer.size() - (at - from);
}

}  // namespace

FakeQueuePair::FakeQueuePair(FakeDevice& device, FakeDomain& domain, FakeCompletionQueue& completions, const QueueSizes& sizes)
    : device_(device), domain_(domain), completions_(completions), sizes_(sizes), number_(device.fabric.next_number_++) {
  device_.fabric.queue_pairs_.emplace(number_, this);
  ++domain_.users;
}

FakeQueuePair::~FakeQueuePair() {
  if (state_ == State::connecting) ++device_.fabric.waits_for_connects_;
  device_.fabric.queue_pairs_.erase(number_);
  --domain_.users;
}

Status FakeQueuePair::initialise(uint8_t, Access access) {
  state_ = State::initialised;
  access_ = access;
  return {};
}

void FakeQueuePair::connect(const PathTo& path) {
  if (state_ != State::initialised) {
    connected_ = Status(StatusCode::internal, "the queue pair is not initialised");
    return;
  }
  state_ = State::connecting;
  path_ = path;
  if (!device_.fabric.slow_connects_.contains(device_.node_)) finish_connect();
}

void FakeQueuePair::finish_connect() {
  const auto failing = device_.fabric.failing_connects_.find(device_.node_);
  connected_ = failing == device_.fabric.failing_connects_.end() ? Status() : failing->second;
  state_ = connected_->ok() ? State::connected : State::initialised;
}

Status FakeQueuePair::post(std::span<const WorkRequest> requests) {
  if (state_ < State::connected) return Status(StatusCode::internal, "not ready to send");
  if (unretired_ + requests.size() > sizes_.send_requests) return Status(StatusCode::exhausted, "the send queue is full");
  unretired_ += requests.size();
  for (const WorkRequest& request : requests) {
    Request& added = requests_.emplace_back();
    added.request = request;
    if (!request.inlined) continue;
    if (request.local.length > sizes_.inline_bytes) return Status(StatusCode::invalid, "too much to be inlined");
    added.inlined.assign(request.local.address, request.local.address + request.local.length);
  }
  return {};
}

Status FakeQueuePair::post_receive(uint64_t id, const Element& element) {
  if (receives_.size() >= sizes_.receive_requests) return Status(StatusCode::exhausted, "the receive queue is full");
  receives_.push_back({id, element});
  return {};
}

void FakeQueuePair::stop() {
  state_ = State::fresh;
  requests_.clear();
  receives_.clear();
}

void FakeQueuePair::fail() {
  if (state_ == State::connecting) {
    connected_ = Status(StatusCode::internal, "the queue pair failed");
    device_.wake_connecting();
  }
  state_ = State::failed;
  for (const Request& each : requests_) completions_.push({each.request.id, Outcome::flushed, 0, {}, false});
  for (const Receive& each : receives_) completions_.push({each.id, Outcome::flushed, 0, {}, false});
  requests_.clear();
  receives_.clear();
}

/// Success of an unsignalled request is not told; failure always is, and takes the queue pair with it.
void FakeQueuePair::end_front(Outcome outcome) {
  const Request done = std::move(requests_.front());
  requests_.pop_front();
  if (outcome == Outcome::ok && !done.request.signalled) return;
  completions_.push({done.request.id, outcome, 0, {}, false});
  unretired_ = requests_.size();
  if (outcome != Outcome::ok) fail();
}

/// The request can't go on. False as long as it may yet.
bool FakeQueuePair::wait_front(Outcome outcome) {
  Request& front = requests_.front();
  const TimePoint now = device_.fabric.clock_.now();
  if (!front.tried) front.tried = now;
  if (now < *front.tried + device_.fabric.options_.gives_up_after) return false;
  end_front(outcome);
  return true;
}

std::optional<TimePoint> FakeQueuePair::gives_up_at() const {
  if (requests_.empty() || !requests_.front().tried) return std::nullopt;
  return *requests_.front().tried + device_.fabric.options_.gives_up_after;
}

FakeQueuePair* FakeQueuePair::peer() const {
  const auto found = device_.fabric.queue_pairs_.find(path_.queue_pair);
  if (found == device_.fabric.queue_pairs_.end() || found->second->state_ != State::connected) return nullptr;
  return device_.fabric.reaches(*this, *found->second) ? found->second : nullptr;
}

bool FakeQueuePair::step() {
  Fabric& fabric = device_.fabric;
  if (state_ == State::connecting && !fabric.slow_connects_.contains(device_.node_)) {
    finish_connect();
    device_.wake_connecting();
    return true;
  }
  if (state_ == State::failed && !requests_.empty()) {
    fail();
    return true;
  }
  if (state_ != State::connected || requests_.empty() || fabric.dead_.contains(device_.node_) || device_.removed())
    return false;
  if (fabric.held_.contains(device_.node_)) return false;
  if (fabric.random_.chance(0.25)) return true;  // the wire was busy with something else
  bool moved = false;
  for (uint32_t i = 0; i < fabric.options_.pieces_a_step && state_ == State::connected && !requests_.empty(); ++i) {
    if (const auto failing = fabric.fail_next_.find(device_.node_); failing != fabric.fail_next_.end()) {
      const Outcome outcome = failing->second;
      fabric.fail_next_.erase(failing);
      end_front(outcome);
      return true;
    }
    if (!step_front(peer())) return moved;
    moved = true;
  }
  return moved;
}

bool FakeQueuePair::step_front(FakeQueuePair* peer) {
  const WorkRequest& request = requests_.front().request;
  if (request.kind == WorkRequest::Kind::bind || request.kind == WorkRequest::Kind::invalidate) return step_window(request);
  if (peer == nullptr) return wait_front(Outcome::retry_exceeded);
  return request.kind == WorkRequest::Kind::send ? step_send(*peer) : step_access(*peer);
}

bool FakeQueuePair::step_window(const WorkRequest& request) {
  if (request.kind == WorkRequest::Kind::invalidate) {
    for (FakeWindow* window : device_.windows) {
      if (window->key != request.remote_key || window->queue_pair != number_ || window->range == nullptr) continue;
      window->unbind();
      end_front(Outcome::ok);
      return true;
    }
    end_front(Outcome::local_error);
    return true;
  }
  auto& window = static_cast<FakeWindow&>(*request.window);
  const auto& range = static_cast<const FakeRange&>(*request.range);
  const bool sound = window.range == nullptr && &window.domain == &domain_ && &range.domain == &domain_ &&
                     range.access.windows && (!request.access.remote_write || range.access.local_write) &&
                     within(range.memory, request.address, request.length) &&
                     (request.remote_key >> 8U) == (window.key >> 8U) && request.remote_key != window.key;
  if (!sound) {
    end_front(Outcome::local_error);
    return true;
  }
  window.range = &range;
  ++range.bound;
  window.key = request.remote_key;
  window.queue_pair = number_;
  window.access = request.access;
  const auto offset = static_cast<size_t>(request.address - range.memory.data());
  window.memory = range.memory.subspan(offset, static_cast<size_t>(request.length));
  end_front(Outcome::ok);
  return true;
}

bool FakeQueuePair::step_send(FakeQueuePair& peer) {
  if (peer.receives_.empty()) return wait_front(Outcome::receiver_not_ready);
  Request& front = requests_.front();
  const Receive receive = peer.receives_.front();
  const uint32_t length = front.request.local.length;
  const std::byte* from = front.request.inlined ? front.inlined.data() : find_local(front.request.local, false);
  std::byte* to = peer.find_local(receive.element, true);
  if ((from == nullptr && length > 0) || length > receive.element.length || to == nullptr) {
    end_front(Outcome::local_error);
    return true;
  }
  peer.receives_.pop_front();
  if (device_.fabric.immediate_next_.erase(device_.node_) > 0) {
    peer.completions_.push({receive.id, Outcome::ok, 0, {}, true});
    end_front(Outcome::ok);
    return true;
  }
  std::copy_n(from, length, to);
  peer.completions_.push({receive.id, Outcome::ok, length, {}, false});
  end_front(Outcome::ok);
  return true;
}

bool FakeQueuePair::step_access(FakeQueuePair& peer) {
  Fabric& fabric = device_.fabric;
  Request& front = requests_.front();
  const WorkRequest& request = front.request;
  const bool writes = request.kind == WorkRequest::Kind::write;
  std::byte* local = request.inlined ? front.inlined.data() : find_local(request.local, !writes);
  if (local == nullptr) {
    end_front(Outcome::local_error);
    return true;
  }
  if (request.immediate && peer.receives_.empty()) return wait_front(Outcome::receiver_not_ready);
  local += front.placed;
  // A device that doesn't promise to stop messages looks at the key when a message begins, and not again.
  if (front.remote == nullptr || fabric.options_.stops_messages) front.remote = peer.find_remote(request, writes);
  if (front.remote == nullptr) {
    refuse_access(peer);
    return true;
  }
  if (!writes && fabric.lost_reads_left_ > 0) {
    --fabric.lost_reads_left_;
    end_front(Outcome::ok);
    return true;
  }
  const uint32_t bytes = std::min(request.local.length - front.placed, fabric.options_.piece_bytes);
  std::byte* remote = front.remote + front.placed;
  std::byte* to = writes ? remote : local;
  std::memcpy(to, writes ? local : remote, bytes);
  front.placed += bytes;
  front.tried.reset();
  if (front.placed < request.local.length) return true;
  if (writes && fabric.corrupt_left_ > 0) {
    --fabric.corrupt_left_;
    to[fabric.random_.below(bytes)] ^= std::byte{4};
  }
  if (request.immediate) {
    peer.completions_.push({peer.receives_.front().id, Outcome::ok, request.local.length, request.immediate, false});
    peer.receives_.pop_front();
  }
  end_front(Outcome::ok);
  return true;
}

/// Null: its key is not good for that.
std::byte* FakeQueuePair::find_local(const Element& element, bool written) const {
  for (const FakeRange* range : device_.ranges) {
    if (range->key == element.local_key && &range->domain == &domain_ && (!written || range->access.local_write) &&
        within(range->memory, element.address, element.length))
      return range->reach(element.address);
  }
  return nullptr;
}

/// Where a peer's request goes, if its key is good here.
std::byte* FakeQueuePair::find_remote(const WorkRequest& request, bool written) const {
  auto* address = reinterpret_cast<std::byte*>(request.remote_address);
  const auto good = [&](const Access& access, std::span<std::byte> memory) {
    return (written ? access.remote_write : access.remote_read) && within(memory, address, request.local.length);
  };
  for (const FakeWindow* window : device_.windows) {
    if (window->key != request.remote_key || window->range == nullptr || window->queue_pair != number_) continue;
    return good(window->access, window->memory) && good(access_, window->memory) ? window->range->reach(address) : nullptr;
  }
  for (const FakeRange* range : device_.ranges) {
    if (range->key != request.remote_key || &range->domain != &domain_) continue;
    return good(range->access, range->memory) && good(access_, range->memory) ? range->reach(address) : nullptr;
  }
  return nullptr;
}

void FakeQueuePair::refuse_access(FakeQueuePair& peer) {
  AsyncEvent event;
  event.kind = AsyncEvent::Kind::access_error;
  event.queue_pair = peer.number_;
  peer.fail();
  peer.device_.tell(event);
  end_front(Outcome::remote_access);
}

}  // namespace haul::verbs
