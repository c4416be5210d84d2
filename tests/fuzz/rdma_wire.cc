// What the rdma backend reads of a peer's bytes: endpoints, keys of granted memory, bundles of records.
#include <algorithm>

#include "fuzz/script.h"
#include "fuzz/targets.h"
#include "rdma/wire.h"

namespace haul::fuzz {

namespace {

using namespace rdma;

void endpoint(std::span<const std::byte> bytes) {
  const auto decoded = wire::decode_endpoint(bytes);
  if (!decoded.ok()) return;
  require(same(wire::encode(*decoded), bytes), "an endpoint changes when it is encoded again");
  require(decoded->queue_pair < (1U << 24U) && decoded->packet_number < (1U << 24U),
          "a number has more bits than devices take");
}

/// Every request that a write or read by this key could be cut into.
void walk(const wire::RemoteKey& key) {
  uint64_t at = key.address;
  const uint64_t end = key.address + key.length;
  require(end > at, "a granted range overflows");
  size_t pieces = 0;
  for (; at != end; ++pieces) {
    require(pieces < wire::max_pieces, "a granted range has more pieces than keys");
    require(key.key_at(at) == key.keys[pieces], "a piece has another's key");
    const uint64_t left_in_piece = wire::piece_end(at, key.shift) - at;
    require(left_in_piece > 0, "a piece is empty");
    at += std::min(left_in_piece, end - at);
  }
}

void key(std::span<const std::byte> bytes) {
  RemoteRegion region;
  region.size = static_cast<uint8_t>(std::min(bytes.size(), RemoteRegion::max_bytes));
  std::copy_n(bytes.begin(), region.size, region.data.begin());
  const auto decoded = wire::decode_key(region);
  if (!decoded.ok()) return;
  walk(*decoded);
  const RemoteRegion encoded = wire::encode(*decoded);
  require(encoded.size == region.size, "a key is longer or shorter than what it was decoded from");
  const auto again = wire::decode_key(encoded);
  require(again.ok() && again->address == decoded->address && again->length == decoded->length &&
              again->keys == decoded->keys && again->rights == decoded->rights && again->number == decoded->number,
          "a key is not decoded from its own encoding");
}

Bytes encode(std::span<const wire::Record> records, uint32_t received) {
  Bytes slot(wire::slot_bytes);
  wire::BundleWriter writer(slot);
  for (const wire::Record& record : records) {
    require(writer.fits(record), "records take more room than what they were decoded from");
    writer.add(record);
  }
  const auto bundle = writer.finish(received);
  return {bundle.begin(), bundle.end()};
}

void bundle(std::span<const std::byte> bytes) {
  wire::BundleReader reader(bytes);
  std::vector<wire::Record> records;
  while (auto record = reader.next()) records.push_back(*record);
  if (!reader.sound()) return;
  const Bytes once = encode(records, reader.received());
  require(once.size() == bytes.size(), "records are longer or shorter than what they were decoded from");
  wire::BundleReader second(once);
  std::vector<wire::Record> again;
  while (auto record = second.next()) again.push_back(*record);
  require(second.sound() && again.size() == records.size(), "records are not decoded from their own encoding");
  require(same(encode(again, second.received()), once), "records change when they are encoded again");
}

}  // namespace

void rdma_wire_run(std::span<const std::byte> input) {
  Script script(input);
  const size_t what = script.below(3);
  const auto bytes = script.bytes(wire::slot_bytes);
  switch (what) {
    case 0: return endpoint(bytes);
    case 1: return key(bytes);
    default: return bundle(bytes);
  }
}

void rdma_wire_seeds(const SeedSink& sink) {
  const auto put = [&sink](std::string_view name, uint8_t what, std::span<const std::byte> bytes) {
    Bytes seed{std::byte{what}};
    seed.insert(seed.end(), bytes.begin(), bytes.end());
    sink(name, seed);
  };
  wire::Endpoint made;
  made.gid.raw[15] = 1;
  made.mtu_bytes = 4096;
  made.queue_pair = 0x11;
  made.packet_number = 0xabcdef;
  made.max_reads = 16;
  made.secret = 7;
  put("endpoint", 0, wire::encode(made));
  made.link = LinkLayer::infiniband;
  made.gid_type = GidType::infiniband;
  made.lid = 3;
  put("endpoint-infiniband", 0, wire::encode(made));
  for (const uint8_t shift : {uint8_t{63}, uint8_t{12}}) {
    wire::RemoteKey remote;
    remote.queue_pair = 0x11;
    remote.number = 1;
    remote.rights = Rights::read_write;
    remote.address = (uint64_t{1} << 32U) + 100;
    remote.length = 30'000;
    remote.shift = shift;
    for (size_t i = 0; i < remote.keys.size(); ++i) remote.keys[i] = static_cast<uint32_t>(0x100 * (i + 1));
    put("key-" + std::to_string(shift), 1, wire::encode(remote).bytes());
  }
  const Bytes payload = to_bytes("payload");
  const std::vector<wire::Record> all{wire::Hello{7},
                                      wire::Landing{1, 1, 0, 100, 5, 0xcccc},
                                      wire::Landing{2, 1, 8, 100, 5, {}},
                                      wire::Answer{1},
                                      wire::Question{3, 1, 0, 100},
                                      wire::Message{payload},
                                      wire::GrantsBound{1},
                                      wire::Revoke{1},
                                      wire::Released{1},
                                      wire::Fence{1},
                                      wire::Fenced{1},
                                      wire::Bye{}};
  put("bundle", 2, encode(all, 9));
  for (size_t i = 0; i < all.size(); ++i) put("record-" + std::to_string(i), 2, encode(std::span(all).subspan(i, 1), 0));
}

}  // namespace haul::fuzz
