// The handles: SharedPeer, SharedTransfer, SharedBuffer.
#include <utility>

#include "haul/runtime.h"
#include "runtime/answer.h"
#include "runtime/worker.h"

namespace haul {

namespace detail {

SharedMemory::~SharedMemory() {
  for (Place& place : places) {
    if (place.worker) place.worker->release(std::move(place.registration));
  }
}

}  // namespace detail

std::span<std::byte> SharedBuffer::bytes() const noexcept { return memory_ ? memory_->bytes : std::span<std::byte>(); }
SharedSlice SharedBuffer::slice() const { return {*this, 0, size()}; }
SharedSlice SharedBuffer::slice(uint64_t offset, uint64_t length) const { return {*this, offset, length}; }

std::shared_future<TransferResult> SharedTransfer::future() const { return operation_->future; }
bool SharedTransfer::done() const {
  return operation_ && operation_->future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}
void SharedTransfer::cancel() const {
  if (operation_) operation_->worker->cancel(operation_);
}

std::future<Result<TransferSnapshot>> SharedTransfer::snapshot() const {
  return detail::as_future<Result<TransferSnapshot>>([&](auto reply) { return snapshot(std::move(reply)); });
}

Status SharedTransfer::snapshot(Reply<Result<TransferSnapshot>> reply) const {
  if (!operation_) return Status(StatusCode::invalid, "the SharedTransfer is empty: take it from a call of SharedPeer");
  return operation_->worker->post([operation = operation_, reply = std::move(reply)](Engine&) {
    const Transfer& transfer = operation->transfer;
    if (transfer.valid()) return reply(TransferSnapshot{transfer.progress(), transfer.waiting_for()});
    reply(TransferSnapshot{operation->last, {}});
  });
}

namespace {

Status no_peer() { return Status(StatusCode::invalid, "the SharedPeer is empty: take it from Runtime::connect or on_peer"); }

}  // namespace

size_t SharedPeer::engine() const noexcept { return worker_ ? worker_->index() : 0; }

Result<SharedTransfer> SharedPeer::put(const SharedSlice& local, RemoteSlice remote, TransferOptions options) const {
  const SharedPiece piece{local, remote};
  return start(true, {&piece, 1}, std::move(options));
}

Result<SharedTransfer> SharedPeer::get(const SharedSlice& local, RemoteSlice remote, TransferOptions options) const {
  const SharedPiece piece{local, remote};
  return start(false, {&piece, 1}, std::move(options));
}

Result<SharedTransfer> SharedPeer::put_batch(std::span<const SharedPiece> pieces, TransferOptions options) const {
  return start(true, pieces, std::move(options));
}

Result<SharedTransfer> SharedPeer::get_batch(std::span<const SharedPiece> pieces, TransferOptions options) const {
  return start(false, pieces, std::move(options));
}

Result<SharedTransfer> SharedPeer::start(bool is_put, std::span<const SharedPiece> pieces, TransferOptions options) const {
  if (!worker_) return no_peer();
  auto operation = std::make_shared<detail::SharedOperation>();
  operation->work.reserve(pieces.size());
  for (const SharedPiece& piece : pieces) {
    if (Status status = worker_->check(piece.local.buffer); !status.ok()) return status;
    if (piece.remote.buffer == nullptr)
      return Status(StatusCode::invalid, "the remote slice has no buffer: take it from a RemoteBuffer");
    operation->work.push_back({piece.local, *piece.remote.buffer, piece.remote.offset, piece.remote.length});
  }
  operation->is_put = is_put;
  operation->peer = peer_;
  operation->worker = worker_;
  if (options.notify) operation->notify.emplace(options.notify->begin(), options.notify->end());
  operation->on_done = std::move(options.on_done);
  operation->options.timeout = options.timeout;
  operation->options.priority = options.priority;
  Status accepted = worker_->post([worker = worker_.get(), operation](Engine&) { worker->begin(operation); });
  if (!accepted.ok()) return accepted;
  return SharedTransfer(std::move(operation));
}

std::future<Status> SharedPeer::send(std::span<const std::byte> message) const {
  return detail::as_future<Status>([&](auto reply) { return send(message, std::move(reply)); });
}

Status SharedPeer::send(std::span<const std::byte> message, Reply<Status> reply) const {
  if (!worker_) return no_peer();
  return worker_->post([peer = peer_, copy = std::vector(message.begin(), message.end()),
                        reply = std::move(reply)](Engine&) mutable { reply(peer.send(copy)); });
}

std::future<Result<RemoteBuffer>> SharedPeer::grant(const SharedSlice& slice, Rights rights, GrantOptions options) const {
  return detail::as_future<Result<RemoteBuffer>>([&](auto reply) { return grant(slice, rights, options, std::move(reply)); });
}

Status SharedPeer::grant(const SharedSlice& slice, Rights rights, GrantOptions options,
                         Reply<Result<RemoteBuffer>> reply) const {
  if (!worker_) return no_peer();
  if (Status status = worker_->check(slice.buffer); !status.ok()) return status;
  return worker_->post([worker = worker_.get(), peer = peer_, slice, rights, options, reply = std::move(reply)](Engine&) {
    reply(worker->grant(peer, slice, rights, options));
  });
}

std::future<Status> SharedPeer::revoke(const RemoteBuffer& granted) const {
  return detail::as_future<Status>([&](auto reply) { return revoke(granted, std::move(reply)); });
}

Status SharedPeer::revoke(const RemoteBuffer& granted, Reply<Status> reply) const {
  if (!worker_) return no_peer();
  // A grant that ends with its peer or its engine is gone all the same: then the answer is ok, too.
  auto answer = std::make_shared<detail::Answer<Status>>(std::move(reply), Status());
  Status accepted = worker_->post([worker = worker_.get(), peer = peer_, granted, answer](Engine&) {
    worker->revoke(peer, granted, [answer](Status status) { answer->give(std::move(status)); });
  });
  if (!accepted.ok()) answer->withdraw();
  return accepted;
}

Status SharedPeer::close(bool graceful) const {
  return post([graceful](Peer peer) { peer.close(graceful); });
}

Status SharedPeer::post(std::function<void(Peer)> call) const {
  if (!worker_) return no_peer();
  return worker_->post([peer = peer_, call = std::move(call)](Engine&) { call(peer); });
}

}  // namespace haul
