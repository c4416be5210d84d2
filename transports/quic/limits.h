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

/// What a connection's controller may have in flight: less than the least window of the library's (`most_counted_bytes` in
/// session.cc), which so never decides, nor is ever full of what was lost. More takes more lanes.
inline constexpr uint64_t max_window_bytes = 60U << 20;

/// Runs of bytes that arrived apart from each other, of all operations of one side of a connection. A well-behaved peer leaves
/// a gap for each piece that was lost, so this is more than a hundred megabytes in flight with every other piece lost.
inline constexpr size_t max_runs_apart = 1U << 17;

}  // namespace haul::quic
