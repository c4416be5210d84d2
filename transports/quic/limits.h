// Sizes that several parts agree on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace haul::quic {

/// Payload up to this size travels in its record, on the stream, and is copied once more.
inline constexpr uint32_t max_inline_bytes = 1024;
/// What a stream holds before no more is put into it. With one packet for each such record that is less than a thousand
/// packets, which is as much reordering as the library stands on one stream.
inline constexpr uint64_t max_stream_bytes = 256U << 10;

}  // namespace haul::quic
