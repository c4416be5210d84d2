// The messages between the two sides of haul-bench, and their bytes.
//
// Every message is one byte of kind, then its fields in little-endian order:
//   1 setup    u16 version, u64 working_set_bytes, u64 block_bytes, 40 bytes remote buffer (the client's memory)
//   2 ready    40 bytes remote buffer (the server's memory), u16 length and text: the server's settings
//   3 refused  u16 length and text: why there is no run
//   4 ask_usage   no fields; answered by 5
//   5 usage    u64 cpu_time_ns, u64 peak_resident_bytes (0: unknown), u64 retransmits
//   6 ping     u24 sequence; the notification of a put, answered by a put whose notification is the same. Four bytes in all,
//              which a backend may carry in the write itself.
// The client sends setup first. A remote buffer is haul's own format (RemoteBuffer::serialize).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "haul/buffer.h"

namespace bench {

constexpr uint16_t protocol_version = 2;

struct Setup {
  uint16_t version = protocol_version;
  uint64_t working_set_bytes = 0;
  uint64_t block_bytes = 0;
  haul::RemoteBuffer client_memory;
};
struct Ready {
  haul::RemoteBuffer server_memory;
  std::string settings;
};
struct Refused {
  std::string why;
};
struct AskUsage {};
struct Usage {
  uint64_t cpu_time_ns = 0;
  uint64_t peak_resident_bytes = 0;
  uint64_t retransmits = 0;
};
struct Ping {
  static constexpr uint32_t sequences = 1U << 24;  ///< Further ones begin again at 0.
  uint32_t sequence = 0;
};

/// monostate: the bytes are no message of ours.
using BenchMessage = std::variant<std::monostate, Setup, Ready, Refused, AskUsage, Usage, Ping>;

/// A message as bytes. Texts are cut to fit.
struct EncodedMessage {
  std::array<std::byte, 512> data;
  size_t size = 0;

  std::span<const std::byte> bytes() const noexcept { return {data.data(), size}; }
};

EncodedMessage encode(const BenchMessage& message);
BenchMessage decode(std::span<const std::byte> bytes);

}  // namespace bench
