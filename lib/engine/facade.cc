// The public classes: each call goes to the core.
#include "engine/core.h"
#include "haul/engine.h"

namespace haul {

std::string_view version() noexcept { return HAUL_VERSION; }

Engine::Engine(std::unique_ptr<detail::EngineCore> core) noexcept : core_(std::move(core)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports) {
  auto core = detail::EngineCore::create(std::move(options), std::move(transports));
  if (!core) return core.status();
  return std::unique_ptr<Engine>(new Engine(std::move(*core)));
}

Result<Buffer> Engine::allocate(uint64_t bytes) { return core_->allocate(bytes); }
Result<Buffer> Engine::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  return core_->register_memory(memory, kind);
}
Result<Address> Engine::listen(const Address& address) { return core_->listen(address); }
Result<Peer> Engine::connect(const Address& address, PeerOptions options) {
  return core_->connect(address, std::move(options));
}
size_t Engine::poll() { return core_->poll(); }
size_t Engine::wait(Duration limit) { return core_->wait(limit); }
int Engine::wakeup_fd() const noexcept { return core_->wakeup_fd(); }
void Engine::wake() noexcept { core_->wake(); }
std::optional<TimePoint> Engine::next_deadline() const { return core_->next_deadline(); }
uint64_t Engine::incarnation() const noexcept { return core_->incarnation(); }
std::vector<Peer> Engine::peers() const { return core_->peers(); }
EngineStats Engine::stats() const { return core_->stats(); }
void Engine::limit_rate(std::optional<uint64_t> bytes_s) { core_->limit_rate(bytes_s); }
Status Engine::limit_tenant(std::string_view name, std::optional<uint64_t> bytes_s) {
  return core_->limit_tenant(name, bytes_s);
}

std::string Engine::explain() const { return core_->explain(); }

namespace {

Status no_peer() { return Status(StatusCode::peer_lost, "an empty Peer handle was used"); }

}  // namespace

PeerState Peer::state() const noexcept { return core_ != nullptr ? core_->peer_state(id_) : PeerState::closed; }
Status Peer::status() const { return core_ != nullptr ? core_->peer_status(id_) : no_peer(); }
PeerIdentity Peer::identity() const { return core_ != nullptr ? core_->peer_identity(id_) : PeerIdentity(); }
std::string Peer::name() const { return core_ != nullptr ? core_->peer_name(id_) : std::string(); }

Transfer Peer::put(Slice local, RemoteSlice remote, TransferOptions options) {
  const Piece piece{local, remote};
  return put_batch(std::span(&piece, 1), std::move(options));
}

Transfer Peer::get(Slice local, RemoteSlice remote, TransferOptions options) {
  const Piece piece{local, remote};
  return get_batch(std::span(&piece, 1), std::move(options));
}

Transfer Peer::put_batch(std::span<const Piece> pieces, TransferOptions options) {
  if (core_ == nullptr) return detail::EngineCore::start_nowhere(Op::write, options);
  return core_->start(id_, Op::write, pieces, std::move(options));
}

Transfer Peer::get_batch(std::span<const Piece> pieces, TransferOptions options) {
  if (core_ == nullptr) return detail::EngineCore::start_nowhere(Op::read, options);
  return core_->start(id_, Op::read, pieces, std::move(options));
}

Status Peer::send(std::span<const std::byte> message) {
  return core_ != nullptr ? core_->send_message(id_, message) : no_peer();
}

Result<RemoteBuffer> Peer::grant(Slice slice, Rights rights, GrantOptions options) {
  if (core_ == nullptr) return no_peer();
  return core_->grant(id_, slice, rights, options);
}

Status Peer::revoke(const RemoteBuffer& granted, std::function<void()> on_revoked) {
  return core_ != nullptr ? core_->revoke(id_, granted, std::move(on_revoked)) : no_peer();
}

void Peer::close(bool graceful) {
  if (core_ != nullptr) core_->close_peer(id_, graceful);
}

void Peer::limit_rate(std::optional<uint64_t> bytes_s) {
  if (core_ != nullptr) core_->limit_peer_rate(id_, bytes_s);
}

Status Peer::set_tenant(std::string_view name) { return core_ != nullptr ? core_->set_tenant(id_, name) : no_peer(); }

std::string Peer::explain() const { return core_ != nullptr ? core_->explain_peer(id_) : std::string(); }
PeerStats Peer::stats() const { return core_ != nullptr ? core_->peer_stats(id_) : PeerStats(); }

void Peer::wake() const noexcept {
  if (core_ != nullptr) core_->wake();
}

Transfer::Transfer() noexcept = default;
Transfer::~Transfer() = default;
Transfer::Transfer(Transfer&&) noexcept = default;
Transfer& Transfer::operator=(Transfer&&) noexcept = default;
Transfer::Transfer(std::shared_ptr<detail::TransferState> state) noexcept : state_(std::move(state)) {}

uint64_t Transfer::id() const noexcept { return state_ ? state_->id : 0; }
bool Transfer::done() const noexcept { return !state_ || state_->phase == transfer::Phase::done; }

Status Transfer::status() const {
  if (!state_) return Status(StatusCode::invalid, "an empty Transfer handle was asked for its status");
  if (!done()) return Status(StatusCode::busy, "the transfer is running");
  return state_->status;
}

Progress Transfer::progress() const noexcept {
  if (!state_) return {};
  return Progress{state_->bytes_total, state_->bytes_done, state_->outstanding.size()};
}

void Transfer::cancel() {
  if (!done()) state_->core->cancel(*state_);
}

std::string Transfer::waiting_for() const { return done() ? std::string() : state_->core->waiting_for(*state_); }

}  // namespace haul
