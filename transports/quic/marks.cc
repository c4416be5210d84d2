// Finding an ACK frame at the beginning of a packet (RFC 9000 section 19).
#include "quic/marks.h"

namespace haul::quic {

namespace {

enum FrameType : uint8_t {
  padding = 0x00,
  ping = 0x01,
  ack = 0x02,
  ack_with_counts = 0x03,
  max_data = 0x10,
  max_stream_data = 0x11,
  retire_connection_id = 0x19,
  path_challenge = 0x1a,
  path_response = 0x1b,
};
constexpr size_t path_data_bytes = 8;

/// What is read beyond the end is none, and so is all that follows.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  bool good() const noexcept { return good_; }
  bool empty() const noexcept { return bytes_.empty(); }
  uint8_t first() const noexcept { return static_cast<uint8_t>(bytes_.front()); }
  void skip(size_t bytes) noexcept {
    good_ = good_ && bytes <= bytes_.size();
    bytes_ = good_ ? bytes_.subspan(bytes) : std::span<const std::byte>();
  }
  // RFC 9000 section 16: the two highest bits tell the length.
  uint64_t number() noexcept {
    if (bytes_.empty()) {
      good_ = false;
      return 0;
    }
    const size_t bytes = size_t{1} << (first() >> 6U);
    uint64_t value = first() & 0x3fU;
    for (size_t i = 1; i < bytes && i < bytes_.size(); ++i) value = (value << 8U) | static_cast<uint8_t>(bytes_[i]);
    skip(bytes);
    return good_ ? value : 0;
  }

 private:
  std::span<const std::byte> bytes_;
  bool good_ = true;
};

std::optional<AckFrame> read_frame(Reader& frame, bool has_counts) noexcept {
  AckFrame ack;
  ack.largest = frame.number();
  ack.delay = frame.number();
  const uint64_t ranges = frame.number();
  frame.number();  // the first range
  for (uint64_t i = 0; i < ranges && frame.good(); ++i) {
    frame.number();
    frame.number();
  }
  if (has_counts) {
    MarkCounts& counts = ack.counts.emplace();
    counts.ect0 = frame.number();
    counts.ect1 = frame.number();
    counts.ce = frame.number();
  }
  return frame.good() ? std::optional(ack) : std::nullopt;
}

}  // namespace

std::optional<AckFrame> read_ack(std::span<const std::byte> frames) noexcept {
  Reader reader(frames);
  while (!reader.empty()) {
    const uint8_t type = reader.first();
    reader.skip(1);
    switch (type) {
      case padding:
      case ping: break;
      case ack:
      case ack_with_counts: return read_frame(reader, type == ack_with_counts);
      case max_stream_data: reader.number(); [[fallthrough]];
      case max_data:
      case retire_connection_id: reader.number(); break;
      case path_challenge:
      case path_response: reader.skip(path_data_bytes); break;
      default: return {};
    }
  }
  return {};
}

}  // namespace haul::quic
