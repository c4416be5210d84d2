// The transport's loop, and the calls that go to one connection.
#include "quic/quic_transport.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "quic/region.h"

namespace haul::quic {

namespace {

Capabilities quic_capabilities() {
  Capabilities capabilities;
  capabilities.name = "quic";
  capabilities.carries_checksums = true;
  capabilities.reports_landed = true;
  capabilities.bootstraps = true;
  capabilities.acknowledged_by = Acknowledgements::own;
  capabilities.preferred_operation_bytes = 256U << 10;
  capabilities.max_operation_bytes = 1U << 20;
  capabilities.max_message_bytes = 16U << 10;
  capabilities.max_operations = 4096;
  return capabilities;
}

}  // namespace

QuicTransport::QuicTransport(Options options, Surroundings surroundings, base::UniqueFd watch,
                             std::shared_ptr<Resolutions> resolutions)
    : options_(std::move(options)),
      capabilities_(quic_capabilities()),
      watch_(std::move(watch)),
      resolutions_(std::move(resolutions)),
      resolver_([put = resolutions_](net::Resolution found) { put->put(std::move(found)); }),
      packet_memory_(max_burst_bytes) {
  context_.options = &options_;
  context_.capabilities = &capabilities_;
  context_.surroundings = std::move(surroundings);
  context_.surroundings.random(secret_);
  context_.qlog = std::make_unique<QlogFolder>(options_.qlog_folder, options_.log);
  epoll_event event{.events = EPOLLIN, .data = {}};
  epoll_ctl(watch_.get(), EPOLL_CTL_ADD, resolutions_->fd(), &event);
}

QuicTransport::~QuicTransport() {
  for (const auto& connection : connections_) connection->close(CloseMode::abort);
  connections_.clear();
}

Connection* QuicTransport::find(ConnectionId connection) const noexcept {
  const auto found = by_id_.find(connection);
  const bool there = found != by_id_.end() && found->second->state() != Connection::State::over;
  return there ? found->second : nullptr;
}

Connection* QuicTransport::wake(ConnectionId connection, TimePoint now) {
  context_.now = std::max(context_.now, now);
  work_ = true;
  return find(connection);
}

Status QuicTransport::secure(std::shared_ptr<const SecurityContext> security, Protection) {
  context_.security = std::move(security);
  return {};
}

PeerIdentity QuicTransport::identity(ConnectionId connection) const {
  const Connection* found = find(connection);
  return found != nullptr ? found->identity() : PeerIdentity{};
}

Result<std::unique_ptr<MemoryRegion>> QuicTransport::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  if (kind != MemoryKind::host) return Status(StatusCode::unsupported, "the quic transport moves host memory only");
  if (memory.empty()) return Status(StatusCode::invalid, "an empty range of memory cannot be registered");
  return std::unique_ptr<MemoryRegion>(std::make_unique<Region>(memory));
}

void QuicTransport::close(ConnectionId connection, CloseMode mode, TimePoint now) {
  if (Connection* found = wake(connection, now)) found->close(mode);
  end_opened(connection, {});
}

Result<LocalGrant> QuicTransport::grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                                        TimePoint now) {
  Connection* found = wake(connection, now);
  if (found == nullptr) return Status(StatusCode::peer_lost, "there is no such connection to grant memory to");
  const auto memory = region.bytes();
  if (range.length == 0 || range.offset > memory.size() || range.length > memory.size() - range.offset) {
    return Status(StatusCode::invalid, fmt::format("a grant of {} bytes at {} is not within the region of {} bytes",
                                                   range.length, range.offset, memory.size()));
  }
  if (rights == Rights::none) return Status(StatusCode::invalid, "a grant without rights");
  return found->grant(memory.subspan(range.offset, range.length), rights);
}

void QuicTransport::revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) {
  if (Connection* found = wake(connection, now)) found->revoke(grant_id);
}

size_t QuicTransport::post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) {
  context_.now = std::max(context_.now, now);
  Connection* found = find(connection);
  const size_t taken = found != nullptr ? found->post(operations) : 0;
  // A refusal is no work: who tries again and again need not be polled for that.
  work_ = work_ || taken > 0;
  return taken;
}

void QuicTransport::answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) {
  if (Connection* found = wake(connection, now)) found->answer(id, status.code());
}

void QuicTransport::cancel(ConnectionId connection, uint64_t id, TimePoint now) {
  if (Connection* found = wake(connection, now)) found->cancel(id);
}

bool QuicTransport::send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) {
  context_.now = std::max(context_.now, now);
  Connection* found = find(connection);
  const bool taken = found == nullptr || found->send(message);
  work_ = work_ || taken;
  return taken;
}

PathSample QuicTransport::sample(ConnectionId connection) const {
  const Connection* found = find(connection);
  return found != nullptr ? found->sample() : PathSample{};
}

std::string QuicTransport::describe(ConnectionId connection) const {
  if (const Connection* found = find(connection)) return found->describe();
  return opened_.contains(connection) ? "quic, waiting for the peer" : std::string();
}

void QuicTransport::set_limits(ConnectionId connection, const Limits& limits) {
  work_ = true;
  if (Connection* found = find(connection)) found->set_limits(limits);
}

void QuicTransport::recall(ConnectionId connection, const PathMemory& memory) {
  if (Connection* found = find(connection)) found->recall(memory);
}

PathLesson QuicTransport::lesson(ConnectionId connection) const {
  if (const Connection* found = find(connection)) return found->lesson();
  const auto& last = context_.last_lessons;
  const auto told = std::find_if(last.begin(), last.end(), [connection](const auto& each) { return each.first == connection; });
  return told != last.end() ? told->second : PathLesson{};
}

size_t QuicTransport::poll(TimePoint now, NextPoll, std::span<Event> events) {
  context_.now = std::max(context_.now, now);
  // Events that did not fit the last time go first, and alone: what they view stays until the poll after them.
  if (!context_.has_events()) {
    context_.events.clear();
    context_.lent.clear();
    context_.last_lessons.clear();
    context_.next_event = 0;
    run();
  }
  const size_t count = std::min(events.size(), context_.events.size() - context_.next_event);
  std::move(context_.events.begin() + static_cast<ptrdiff_t>(context_.next_event),
            context_.events.begin() + static_cast<ptrdiff_t>(context_.next_event + count), events.begin());
  context_.next_event += count;
  return count;
}

void QuicTransport::run() {
  work_ = false;
  take_resolutions();
  run_opened();
  for (const auto& outlet : outlets_) {
    if (outlet->blocked() && outlet->flush()) watch(*outlet, false);
  }
  receive();
  for (const auto& connection : connections_) {
    if (connection->outlet() != nullptr) context_.now = connection->outlet()->socket().time(context_.now);
    connection->service();
  }
  for (const auto& outlet : outlets_) {
    if (outlet->blocked()) watch(*outlet, true);
  }
  remove_ended();
}

void QuicTransport::watch(Outlet& outlet, bool writable) {
  if (outlet.socket().fd() < 0) return;
  epoll_event event{.events = EPOLLIN | (writable ? uint32_t{EPOLLOUT} : 0U), .data = {}};
  epoll_ctl(watch_.get(), EPOLL_CTL_MOD, outlet.socket().fd(), &event);
}

void QuicTransport::remove_ended() {
  for (auto it = connections_.begin(); it != connections_.end();) {
    Connection& connection = **it;
    if (connection.state() == Connection::State::over) {
      by_id_.erase(connection.id());
      opened_.erase(connection.id());
      for (auto& [id, opened] : opened_) {
        // Whoever came for this end went again: it may come once more.
        if (opened.arrival == &connection) opened.arrival = nullptr;
      }
    }
    if (!connection.removable()) {
      ++it;
      continue;
    }
    std::erase(strangers_, &connection);
    it = connections_.erase(it);
  }
}

std::optional<TimePoint> QuicTransport::next_deadline() const {
  if (context_.has_events() || more_to_receive_ || work_) return context_.now;
  std::optional<TimePoint> earliest;
  const auto include = [&](std::optional<TimePoint> at) {
    if (at) earliest = std::min(*at, earliest.value_or(*at));
  };
  for (const auto& connection : connections_) include(connection->deadline());
  for (const auto& [id, opened] : opened_) include(opened.deadline);
  return earliest;
}

}  // namespace haul::quic
