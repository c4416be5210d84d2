// The raw peer: its queue pair, and what goes over it.
#include "contract/verbs/raw_peer.h"

#include <array>
#include <utility>
#include <variant>

namespace haul::verbs {

using namespace rdma;

namespace {

// Ids of requests: what completes is told apart by them.
constexpr uint64_t id_receive = uint64_t{1} << 32;
constexpr uint64_t id_bundle = uint64_t{1} << 33;
constexpr uint64_t id_other = uint64_t{1} << 34;
constexpr uint32_t send_requests = 8192;

}  // namespace

RawPeer::RawPeer(Fabric& fabric, const std::string& node, uint32_t arena_bytes)
    : arena_bytes_(arena_bytes),
      device_(fabric.make_verbs(node)->open("fake0").value()),
      domain_(device_->make_domain().value()),
      memory_(size_t{wire::slots} * wire::slot_bytes + arena_bytes) {
  Access access;
  access.local_write = access.windows = true;
  range_ = device_->register_range(*domain_, memory_, access).value();
  completions_ = device_->make_completion_queue(send_requests + wire::slots).value();
  pair_ = device_->make_queue_pair(*domain_, *completions_, {send_requests, wire::slots, wire::slot_bytes}).value();
  access.remote_read = access.remote_write = true;
  [[maybe_unused]] const Status status = pair_->initialise(1, access);
  for (uint32_t number = 0; number < wire::slots; ++number) post_receive(number);
  const PortInfo port = device_->query_port(1).value();
  own_.gid_type = GidType::roce_v2;
  own_.gid = port.gids.back().gid;
  own_.mtu_bytes = port.mtu_bytes;
  own_.queue_pair = pair_->number();
  own_.secret = 0x5ec4e7;
}

RawPeer::~RawPeer() {
  window_.reset();
  pair_.reset();
}

void RawPeer::join(std::span<const std::byte> endpoint) {
  peer_ = wire::decode_endpoint(endpoint).value();
  PathTo path;
  path.gid = peer_.gid;
  path.queue_pair = peer_.queue_pair;
  pair_->connect(path);
}

void RawPeer::say(std::span<const wire::Record> records) {
  std::array<std::byte, wire::slot_bytes> slot{};
  wire::BundleWriter bundle(slot);
  for (const wire::Record& record : records) {
    if (bundle.fits(record)) bundle.add(record);
  }
  say_bytes(bundle.finish(received_));
}

void RawPeer::say_bytes(std::span<const std::byte> bundle) {
  WorkRequest request;
  request.id = id_bundle;
  request.inlined = true;
  request.local = {bundle.data(), static_cast<uint32_t>(bundle.size()), 0};
  post(request);
}

void RawPeer::access(bool writes, uint64_t address, uint32_t key, uint32_t length) {
  WorkRequest request;
  request.kind = writes ? WorkRequest::Kind::write : WorkRequest::Kind::read;
  request.id = id_other;
  request.local = {arena().data(), length, range_->local_key()};
  request.remote_address = address;
  request.remote_key = key;
  post(request);
}

wire::RemoteKey RawPeer::lend() {
  wire::RemoteKey key;
  key.queue_pair = own_.queue_pair;
  key.number = 1;
  key.rights = Rights::read_write;
  key.address = reinterpret_cast<uint64_t>(arena().data());
  key.length = arena_bytes_;
  auto window = device_->make_window(*domain_);
  if (!window) {
    Access access;
    access.local_write = access.remote_read = access.remote_write = true;
    lent_range_ = device_->register_range(*domain_, arena(), access).value();
    key.keys[0] = lent_range_->remote_key();
    return key;
  }
  window_ = std::move(*window);
  key.keys[0] = window_->remote_key() + 1;
  WorkRequest request;
  request.kind = WorkRequest::Kind::bind;
  request.id = id_other;
  request.window = window_.get();
  request.range = range_.get();
  request.address = arena().data();
  request.length = arena_bytes_;
  request.access.remote_read = request.access.remote_write = true;
  request.remote_key = key.keys[0];
  post(request);
  return key;
}

void RawPeer::post(const WorkRequest& request) {
  if (failed_) return;
  WorkRequest signalled = request;
  signalled.signalled = true;
  failed_ = !pair_->post(std::span(&signalled, 1)).ok();
}

void RawPeer::post_receive(uint32_t number) {
  const Element element{slot(number).data(), wire::slot_bytes, range_->local_key()};
  failed_ = !pair_->post_receive(id_receive | number, element).ok() || failed_;
}

void RawPeer::listen() {
  std::array<Completion, 16> completions;
  for (size_t count = completions.size(); count == completions.size();) {
    count = completions_->poll(completions).value();
    for (const Completion& each : std::span(completions).first(count)) {
      if (each.outcome != Outcome::ok) {
        failed_ = true;
        continue;
      }
      if ((each.id & id_bundle) != 0) ++bundles_taken_;
      if ((each.id & id_receive) == 0) continue;
      const auto number = static_cast<uint32_t>(each.id & ~id_receive);
      hear(slot(number).first(each.bytes));
      if (!failed_) post_receive(number);
    }
  }
}

void RawPeer::hear(std::span<const std::byte> bundle) {
  ++received_;
  wire::BundleReader reader(bundle);
  while (auto record = reader.next()) {
    size_t bytes = 0;
    if (auto* message = std::get_if<wire::Message>(&*record)) bytes = std::exchange(message->payload, {}).size();
    heard_.push_back({*record, bytes});
  }
  malformed_ = malformed_ || !reader.sound();
}

}  // namespace haul::verbs
