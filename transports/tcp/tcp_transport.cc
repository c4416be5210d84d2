// The transport's loop, and the calls that go to one connection.
#include "tcp/tcp_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace haul::tcp {

namespace {

// Turns of one poll(): enough to finish what completes at once, without starving the caller.
constexpr int max_turns = 16;

// Longer than most answers take.
constexpr Duration hot_for = std::chrono::milliseconds(2);

Capabilities tcp_capabilities() {
  Capabilities capabilities;
  capabilities.name = "tcp";
  capabilities.carries_checksums = true;
  capabilities.reports_landed = true;
  capabilities.bootstraps = true;
  capabilities.acknowledged_by = Acknowledgements::samples;
  capabilities.preferred_operation_bytes = 1U << 20;
  capabilities.max_operation_bytes = 4U << 20;
  capabilities.max_message_bytes = 16U << 10;
  capabilities.max_operations = 4096;
  return capabilities;
}

}  // namespace

TcpTransport::TcpTransport(Options options, std::unique_ptr<IoLoop> io, std::shared_ptr<Inbox> inbox, Steering steering)
    : options_(std::move(options)),
      capabilities_(tcp_capabilities()),
      acceptor_(options_.acceptor ? options_.acceptor : make_acceptor()),
      inbox_(std::move(inbox)),
      io_(std::move(io)),
      pins_(std::make_shared<PinnedMemory>(*io_, options_.log)),
      context_(options_, capabilities_, *io_),
      reception_(context_, *this),
      resolver_([inbox = inbox_](Resolution found) { inbox->put(std::move(found)); }) {
  context_.kernel_maps = std::move(steering.maps);
  context_.no_kernel_maps = std::move(steering.why_not);
  acceptor_->attach(inbox_);
  watch_inbox();
}

TcpTransport::~TcpTransport() {
  stopping_ = true;
  acceptor_->detach(inbox_);
  reception_.stop();
  io_->cancel(inbox_watch_);
  for (const auto& [id, connection] : connections_) connection->close(CloseMode::abort);
  // Until the kernel refers to no memory of ours. It does so at once; the bound is for what it should never do.
  constexpr int max_waits = 100;
  constexpr int wait_ms = 50;
  for (int i = 0; i < max_waits && busy(); ++i) {
    if (!io_->wait(wait_ms)) break;
    io_->poll();
  }
  io_.reset();  // whatever is left ends here, before the memory goes
}

bool TcpTransport::busy() const noexcept {
  if (inbox_watch_.busy() || reception_.busy()) return true;
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& entry) { return entry.second->state() != Connection::State::over; });
}

Connection* TcpTransport::find(ConnectionId connection) const noexcept {
  const auto found = connections_.find(connection);
  const bool there = found != connections_.end() && found->second->state() != Connection::State::over;
  return there ? found->second.get() : nullptr;
}

Connection& TcpTransport::add_connection() {
  const ConnectionId id = ++last_id_;
  return *connections_.emplace(id, std::make_unique<Connection>(context_, id)).first->second;
}

Status TcpTransport::secure(std::shared_ptr<const SecurityContext> security, Protection weakest) {
  context_.security = std::move(security);
  context_.protection = weakest;
  return {};
}

PeerIdentity TcpTransport::identity(ConnectionId connection) const {
  const Connection* found = find(connection);
  return found != nullptr ? found->identity() : PeerIdentity{};
}

Result<std::unique_ptr<MemoryRegion>> TcpTransport::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  if (kind != MemoryKind::host) return Status(StatusCode::unsupported, "the tcp transport moves host memory only");
  if (memory.empty()) return Status(StatusCode::invalid, "an empty range of memory cannot be registered");
  return std::unique_ptr<MemoryRegion>(std::make_unique<Region>(memory, pins_));
}

void TcpTransport::close(ConnectionId connection, CloseMode mode, TimePoint now) {
  context_.now = now;
  if (Connection* found = find(connection)) found->close(mode);
}

Result<LocalGrant> TcpTransport::grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                                       TimePoint now) {
  context_.now = now;
  Connection* found = find(connection);
  if (found == nullptr) return Status(StatusCode::peer_lost, "there is no such connection to grant memory to");
  const auto memory = region.bytes();
  if (range.length == 0 || range.offset > memory.size() || range.length > memory.size() - range.offset) {
    return Status(StatusCode::invalid, fmt::format("a grant of {} bytes at {} is not within the region of {} bytes",
                                                   range.length, range.offset, memory.size()));
  }
  if (rights == Rights::none) return Status(StatusCode::invalid, "a grant without rights");
  return found->grant(memory.subspan(range.offset, range.length), rights);
}

void TcpTransport::revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) {
  context_.now = now;
  if (Connection* found = find(connection)) found->revoke(grant_id);
}

size_t TcpTransport::post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) {
  context_.now = now;
  Connection* found = find(connection);
  return found != nullptr ? found->post(operations) : 0;
}

void TcpTransport::answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) {
  context_.now = now;
  if (Connection* found = find(connection)) found->answer(id, status.code());
}

void TcpTransport::cancel(ConnectionId connection, uint64_t id, TimePoint now) {
  context_.now = now;
  if (Connection* found = find(connection)) found->cancel(id);
}

bool TcpTransport::send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) {
  context_.now = now;
  Connection* found = find(connection);
  return found == nullptr || found->send(message);
}

PathSample TcpTransport::sample(ConnectionId connection) const {
  const Connection* found = find(connection);
  return found != nullptr ? found->sample() : PathSample{};
}

bool TcpTransport::steerable(ConnectionId connection) const noexcept {
  const Connection* found = find(connection);
  return found != nullptr && found->steerable();
}

std::optional<LaneReport> TcpTransport::take_report(ConnectionId connection) {
  Connection* found = find(connection);
  return found != nullptr ? found->take_report() : std::nullopt;
}

Status TcpTransport::steer(ConnectionId connection, uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s,
                           Duration valid_for) {
  Connection* found = find(connection);
  return found != nullptr ? found->steer(window_bytes, rate_bytes_s, valid_for) : Status();
}

std::string TcpTransport::describe(ConnectionId connection) const {
  const Connection* found = find(connection);
  return found != nullptr ? found->describe() : std::string();
}

void TcpTransport::set_limits(ConnectionId connection, const Limits& limits) {
  if (Connection* found = find(connection)) found->set_limits(limits);
}

size_t TcpTransport::poll(TimePoint now, NextPoll next, std::span<Event> events) {
  context_.now = now;
  context_.spinning = next == NextPoll::at_once;
  if (!context_.spinning || now - context_.hot_heard > hot_for) context_.make_hot(nullptr);
  ++context_.poll_number;
  // Events that did not fit the last time go first, and alone: receiving could overwrite the messages that they view.
  if (!context_.has_events()) {
    context_.events.clear();
    context_.next_event = 0;
    run();
  }
  const size_t count = std::min(events.size(), context_.events.size() - context_.next_event);
  std::move(context_.events.begin() + static_cast<ptrdiff_t>(context_.next_event),
            context_.events.begin() + static_cast<ptrdiff_t>(context_.next_event + count), events.begin());
  context_.next_event += count;
  return count;
}

void TcpTransport::run() {
  context_.received_bytes = 0;
  run_timers();
  for (int turn = 0; turn < max_turns; ++turn) {
    if (inbox_ready_) take_inbox();
    working_.swap(context_.dirty);
    for (Connection* connection : working_) connection->service();
    working_.clear();
    context_.streaming = false;
    const size_t reports = io_->poll() + (context_.hot != nullptr ? context_.hot->receive_now() : 0);
    if (reports == 0 || !context_.worth_receiving()) break;
  }
  if (!context_.ended.empty()) remove_ended();
}

void TcpTransport::run_timers() {
  if (!context_.next_timer || context_.now < *context_.next_timer) return;
  context_.next_timer.reset();
  reception_.on_timer();
  for (const auto& [id, connection] : connections_) connection->on_timer();
}

void TcpTransport::remove_ended() {
  std::erase_if(context_.ended, [this](ConnectionId id) {
    const auto found = connections_.find(id);
    if (!found->second->removable(context_.poll_number)) return false;
    connections_.erase(found);
    if (const auto opened = opened_.find(id); opened != opened_.end()) {
      acceptor_->forget(opened->second.token);
      expected_.erase(opened->second.token);
      opened_.erase(opened);
    }
    return true;
  });
}

std::optional<TimePoint> TcpTransport::next_deadline() const {
  const bool work = context_.has_events() || !context_.dirty.empty() || io_->has_queued() || inbox_ready_;
  return work ? std::optional(context_.now) : context_.next_timer;
}

void TcpTransport::watch_inbox() {
  inbox_watch_.handler = this;
  inbox_watch_.kind = IoKind::readable;
  inbox_watch_.fd = inbox_->fd();
  io_->submit(inbox_watch_);
}

void TcpTransport::on_io(IoOperation&, int result) {
  if (result < 0 || stopping_) return;
  inbox_ready_ = true;
}

}  // namespace haul::tcp
