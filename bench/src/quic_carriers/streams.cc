// The payload in stripes, one a stream: what is lost the library sends again, and what lies behind a gap it keeps.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "quic_carriers/carrier.h"

namespace carriers {

namespace {

// RFC 9000 section 2.1: the lowest two bits of the id of a stream say who opened it, and of what kind it is.
size_t index_of(int64_t stream) { return static_cast<size_t>(stream >> 2); }
constexpr uint64_t most_offered_bytes = 64U << 10;

}  // namespace

Streams::Streams(size_t streams, std::span<const std::byte> source, std::span<std::byte> target)
    : source_(source), target_(target), stripes_(streams), stripe_bytes_((source.size() + streams - 1) / streams) {
  uint64_t begin = 0;
  for (Stripe& stripe : stripes_) {
    stripe.next = begin;
    stripe.end = begin = std::min<uint64_t>(begin + stripe_bytes_, source.size());
  }
}

void Streams::begin(Endpoint& sender) {
  for (Stripe& stripe : stripes_) stripe.stream = sender.open_stream();
}

Written Streams::write(Endpoint& sender, std::span<std::byte> out, haul::TimePoint now) {
  for (size_t tried = 0; tried < stripes_.size(); ++tried) {
    Stripe& stripe = stripes_[turn_];
    turn_ = (turn_ + 1) % stripes_.size();
    if (stripe.next == stripe.end || stripe.blocked == now) continue;
    size_t taken = 0;
    bool blocked = false;
    const auto offered = source_.subspan(stripe.next, std::min(stripe.end - stripe.next, most_offered_bytes));
    const size_t bytes = sender.write_stream(out, stripe.stream, offered, taken, blocked, now);
    if (blocked) {
      stripe.blocked = now;
      continue;
    }
    stripe.next += taken;
    return {.bytes = bytes, .fresh_bytes = taken};
  }
  return {.bytes = sender.write_rest(out, now)};
}

void Streams::on_stream_data(int64_t stream, uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t place = index_of(stream) * stripe_bytes_ + offset;
  if (place + bytes.size() > target_.size()) throw std::runtime_error("stream data that was never sent");
  std::memcpy(target_.data() + place, bytes.data(), bytes.size());
  delivered_ += bytes.size();
}

}  // namespace carriers
