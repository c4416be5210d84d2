// A connection's life: queue pair and buffers, joining, liveness, the end.
#include "rdma/connection.h"

#include <fmt/format.h>

#include <algorithm>

namespace haul::rdma {

namespace {

constexpr uint32_t send_slots = 16;
constexpr uint32_t wanted_send_requests = 512;
constexpr uint32_t inline_bytes = 256;
constexpr Duration reason_patience = std::chrono::milliseconds(10);

// Seven would be endless with soft-RoCE.
constexpr uint8_t retries = 6;
uint8_t timeout_exponent(Duration dead_after) {
  constexpr uint8_t most = 21;
  uint8_t exponent = 10;
  while (exponent < most && Duration(int64_t{4096} << exponent) * (retries + 1) < dead_after) ++exponent;
  return exponent;
}

}  // namespace

Connection::Connection(Context& context, ConnectionId id, Port& port, const ConnectOptions& options)
    : context_(context), id_(id), port_(port), options_(options) {
  ++port_.connections;
}

Connection::~Connection() {
  --port_.connections;
  let_go();
  queue_pair_.reset();  // waits for what connects it
  if (own_memory_) context_.book->remove(*own_memory_);
}

Status Connection::open(uint64_t secret, uint32_t packet_number) {
  Device& device = *port_.owner->device;
  ProtectionDomain* domain = port_.owner->domain.get();
  if (!has_windows()) {
    auto made = device.make_domain();
    if (!made) return made.status();
    own_domain_ = std::move(*made);
    domain = own_domain_.get();
    own_memory_ = std::make_unique<DomainMemory>(device, *own_domain_, false, context_.options);
    context_.book->add(*own_memory_);
  }
  buffers_.resize(size_t{wire::slots + send_slots} * wire::slot_bytes);
  Access local;
  local.local_write = true;
  auto range = device.register_range(*domain, buffers_, local);
  if (!range) return registration_failed(range.status(), buffers_.size(), device.info().name);
  buffers_range_ = std::move(*range);

  send_requests_ = std::min(wanted_send_requests, device.info().max_requests);
  auto completions = device.make_completion_queue(send_requests_ + wire::slots);
  if (!completions) return completions.status();
  completions_ = std::move(*completions);
  auto pair = device.make_queue_pair(*domain, *completions_, {send_requests_, wire::slots, inline_bytes});
  if (!pair) return pair.status();
  queue_pair_ = std::move(*pair);
  Access remote;
  remote.local_write = remote.remote_read = remote.remote_write = true;
  remote.windows = has_windows();
  if (Status status = queue_pair_->initialise(port_.number, remote); !status.ok()) return status;
  for (uint32_t slot = 0; slot < wire::slots; ++slot) {
    const auto bytes = receive_slot(slot);
    const Element element{bytes.data(), wire::slot_bytes, buffers_range_->local_key()};
    if (Status status = queue_pair_->post_receive(receive_id(slot), element); !status.ok()) return status;
  }
  for (uint32_t slot = send_slots; slot > 0; --slot) free_slots_.push_back(slot - 1);

  own_.link = port_.info.link;
  own_.gid_type = port_.gid.type;
  own_.lid = port_.info.lid;
  own_.gid = port_.gid.gid;
  own_.mtu_bytes = std::min(port_.info.mtu_bytes, context_.options.mtu_bytes);
  own_.queue_pair = queue_pair_->number();
  own_.packet_number = packet_number & 0xffffffU;
  own_.max_reads = device.info().max_reads;
  own_.secret = secret;
  return {};
}

std::span<std::byte> Connection::receive_slot(uint32_t slot) {
  return std::span(buffers_).subspan(size_t{slot} * wire::slot_bytes, wire::slot_bytes);
}

std::span<std::byte> Connection::send_slot(uint32_t slot) { return receive_slot(wire::slots + slot); }

Status Connection::join(std::span<const std::byte> peer_endpoint, TimePoint now) {
  if (state_ != State::opened) return Status(StatusCode::invalid, "the connection was joined before");
  if (peer_endpoint.empty()) {
    return Status(StatusCode::invalid, "rdma cannot connect by address alone: endpoints travel over another transport");
  }
  auto peer = wire::decode_endpoint(peer_endpoint);
  if (!peer) return peer.status();
  if (peer->link != own_.link) {
    return Status(StatusCode::invalid,
                  fmt::format("the peer's port is {}, {} is not", peer->link == LinkLayer::ethernet ? "Ethernet" : "InfiniBand",
                              port_.name()));
  }
  peer_ = *peer;
  state_ = State::connecting;
  now_ = now;
  join_deadline_ = now + options_.timeout;
  connecting_ = true;
  queue_pair_->connect(path_to_peer());
  return {};
}

PathTo Connection::path_to_peer() const {
  PathTo path;
  path.port = port_.number;
  path.gid_index = port_.gid.index;
  // Within an InfiniBand subnet the LID is enough, and works with ports whose GIDs nobody configured.
  path.global = own_.link == LinkLayer::ethernet;
  path.gid = peer_.gid;
  path.lid = peer_.lid;
  path.mtu_bytes = std::min(own_.mtu_bytes, peer_.mtu_bytes);
  path.queue_pair = peer_.queue_pair;
  path.packet_number = peer_.packet_number;
  path.own_packet_number = own_.packet_number;
  path.reads_served = own_.max_reads;
  path.reads_asked = std::min(port_.owner->device->info().max_reads_asked, peer_.max_reads);
  path.timeout_exponent = timeout_exponent(context_.options.dead_after);
  path.retries = retries;
  path.traffic_class = context_.options.traffic_class;
  path.service_level = context_.options.service_level;
  return path;
}

void Connection::look_for_connected() {
  const auto outcome = queue_pair_->connected();
  if (!outcome) return;
  connecting_ = false;
  if (state_ == State::connecting) on_queue_pair_connected(*outcome);
}

void Connection::on_queue_pair_connected(const Status& outcome) {
  if (!outcome.ok()) {
    fail_port();
    return end(Status(StatusCode::unavailable,
                      fmt::format("{} cannot reach {}: {}", port_.describe(), to_string(peer_.gid), outcome.message()),
                      outcome.system_error()));
  }
  state_ = State::joining;
  last_heard_ = last_sent_ = now_;
  // The passive side answers: its peer may not be listening yet.
  if (options_.address) records_.emplace_back(wire::Hello{peer_.secret});
  dirty_ = true;
}

void Connection::become_ready() {
  state_ = State::ready;
  answered_hello_ = false;
  port_.avoid_until = TimePoint();
  report(Event::Kind::connected, 0);
}

void Connection::close(CloseMode mode) {
  if (state_ == State::over) return;
  if (mode == CloseMode::abort || state_ != State::ready) return end(Status());
  closing_ = true;
  dirty_ = true;
}

void Connection::report(Event::Kind kind, uint64_t id, Status status) {
  Event event;
  event.kind = kind;
  event.connection = id_;
  event.id = id;
  event.status = std::move(status);
  context_.events.push(std::move(event));
}

void Connection::finish(Outgoing& operation, Status status) {
  Event event;
  event.kind = Event::Kind::completed;
  event.connection = id_;
  event.id = operation.id;
  event.tag = operation.tag;
  if (operation.op == Op::read && status.ok()) event.crc32c = operation.told_crc32c;
  event.status = std::move(status);
  context_.events.push(std::move(event));
  unfinished_bytes_ -= operation.local.size();
}

Status Connection::access_error() const {
  if (forced_) {
    return Status(StatusCode::peer_lost,
                  fmt::format("the peer was still using a revoked grant when its time was over ({})", port_.name()));
  }
  return Status(StatusCode::refused, fmt::format("the peer used memory that it was not granted ({})", port_.name()));
}

/// Others go first for a while: nothing came back over this one.
void Connection::fail_port() {
  constexpr auto avoided_for = std::chrono::seconds(5);
  port_.avoid_until = now_ + avoided_for;
}

void Connection::set_limits(const Limits& limits) {
  limits_ = limits;
  next_post_ = now_;
  dirty_ = true;
}

void Connection::end(const Status& why) {
  if (state_ == State::over) return;
  const bool clean = why.ok() || (bye_sent_ && bye_heard_);
  const std::string reason = clean ? "the connection was closed" : std::string(why.message());
  const Status lost(StatusCode::peer_lost, reason, why.system_error());
  state_ = State::over;
  let_go();
  for (auto& [number, operation] : flying_) finish(operation, operation.outcome.ok() ? lost : operation.outcome);
  for (auto& node : queued_) finish(node.mapped(), lost);
  flying_.clear();
  queued_.clear();
  spare_.clear();
  messages_.clear();
  records_.clear();
  report(Event::Kind::closed, 0, clean ? Status() : why);
}

/// The device lets go of all memory before anybody is told that it did. In this order: to a queue pair that still answers, a
/// window that is gone is the peer's misuse of it; windows keep soft-RoCE's queue pairs alive, and messages that are under way
/// over a queue pair its registrations.
void Connection::let_go() {
  if (queue_pair_ && !connecting_) queue_pair_->stop();
  for (auto& [number, grant] : grants_) grant.windows.clear();
  if (!connecting_) queue_pair_.reset();
  grants_.clear();
}

void Connection::check_bye() {
  if (state_ != State::ready || !(closing_ || bye_heard_)) return;
  const bool done = queued_.empty() && flying_.empty() && messages_.empty() && landed_.empty();
  if (!bye_sent_ && done) {
    records_.emplace_back(wire::Bye{});
    bye_sent_ = true;
    dirty_ = true;
  }
  if (bye_sent_ && bye_heard_ && records_.empty() && posted_.empty()) end(Status());
}

void Connection::check_time(TimePoint now) {
  if ((state_ == State::connecting || state_ == State::joining) && now >= join_deadline_) {
    fail_port();
    return end(Status(StatusCode::unavailable, fmt::format("no answer from {} over {} within the connect timeout",
                                                           to_string(peer_.gid), port_.describe())));
  }
  if (state_ != State::ready) return;
  if (now - std::max(last_heard_, last_sent_) >= context_.options.probe_every && posted_.empty()) {
    probe_ = dirty_ = true;
  }
  for (auto it = grants_.begin(); state_ == State::ready && it != grants_.end();) {
    const uint32_t number = it->first;
    Grant& grant = (it++)->second;
    if (grant.deadline != TimePoint() && now >= grant.deadline) force_back(number, grant);
  }
}

void Connection::progress(TimePoint now, NextPoll next) {
  now_ = now;
  if (connecting_) look_for_connected();
  if (state_ == State::over || state_ == State::opened) return;
  if (state_ != State::connecting) {
    if (!emptied_.empty()) post_receives();
    read_deferred();
    take_completions(next);
  }
  if (state_ == State::over) return;
  if (!async_error_.ok()) return end(async_error_);
  if (flushed_at_) {
    // The device's own word on why may come a moment later.
    if (now - *flushed_at_ < reason_patience) return;
    return end(Status(StatusCode::peer_lost, fmt::format("the queue pair on {} failed", port_.name())));
  }
  check_time(now);
  check_bye();
  if (state_ == State::over) return;
  const bool paced = limits_.rate_bytes_s && !queued_.empty() && now >= next_post_;
  if (dirty_ || paced) flush(now);
  tell_writable();
}

std::optional<TimePoint> Connection::next_deadline() const {
  if (state_ == State::over || state_ == State::opened) return std::nullopt;
  if (flushed_at_ && async_error_.ok()) return *flushed_at_ + reason_patience;
  if (dirty_ || !deferred_.empty() || !emptied_.empty() || !async_error_.ok()) return TimePoint();
  if (state_ == State::connecting) return queue_pair_->connected() ? TimePoint() : join_deadline_;
  if (state_ == State::joining) return join_deadline_;
  // What waits for the peer's credits, or for its word on a grant, waits for an arrival.
  const bool probes = posted_.empty() && credits() > 0;
  TimePoint next = probes ? std::max(last_heard_, last_sent_) + context_.options.probe_every : TimePoint::max();
  for (const auto& [number, grant] : grants_) {
    if (grant.deadline != TimePoint()) next = std::min(next, grant.deadline);
  }
  if (limits_.rate_bytes_s && !queued_.empty() && next_post_ > now_) next = std::min(next, next_post_);
  return next == TimePoint::max() ? std::nullopt : std::optional(next);
}

PathSample Connection::sample() const {
  PathSample sample;
  sample.bytes_sent = bytes_sent_;
  sample.bytes_received = bytes_received_;
  sample.bytes_unsent = unfinished_bytes_;
  sample.progress_bytes = bytes_acknowledged_ + bytes_received_;
  return sample;
}

std::string Connection::describe() const {
  std::string text = fmt::format("rdma over {}", port_.describe());
  if (state_ == State::opened) return text;
  return text + fmt::format("; to {}, path MTU {}, queue pairs {} and {}", to_string(peer_.gid),
                            std::min(own_.mtu_bytes, peer_.mtu_bytes), own_.queue_pair, peer_.queue_pair);
}

}  // namespace haul::rdma
