// Little-endian fields in bounded byte spans: how every wire format here is written and read.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace haul::base {

/// To and from the wire's order of bytes. On most machines it is the processor's own, and a field is one load or store.
template <std::unsigned_integral T>
constexpr T little_endian(T value) noexcept {
  if constexpr (std::endian::native == std::endian::little) return value;
  auto bytes = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
  std::reverse(bytes.begin(), bytes.end());
  return std::bit_cast<T>(bytes);
}

/// Appends to a span that the caller owns. Once something did not fit, ok() is false and nothing more is written.
class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> out) noexcept : out_(out) {}

  template <std::unsigned_integral T>
  void put(T value) noexcept {
    if (!fits(sizeof(T))) return;
    const T ordered = little_endian(value);
    std::memcpy(out_.data() + used_, &ordered, sizeof(T));
    used_ += sizeof(T);
  }
  void put_bytes(std::span<const std::byte> bytes) noexcept {
    if (!fits(bytes.size()) || bytes.empty()) return;
    std::memcpy(out_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  /// A 16-bit length, then the bytes.
  void put_text(std::string_view text) noexcept {
    put(static_cast<uint16_t>(text.size()));
    put_bytes(std::as_bytes(std::span(text)));
  }

  bool ok() const noexcept { return ok_; }
  size_t size() const noexcept { return used_; }
  std::span<const std::byte> written() const noexcept { return out_.first(used_); }

 private:
  bool fits(size_t bytes) noexcept {
    ok_ = ok_ && out_.size() - used_ >= bytes;
    return ok_;
  }
  std::span<std::byte> out_;
  size_t used_ = 0;
  bool ok_ = true;
};

/// Reads from a span that the caller owns. Past the end every read gives zero or nothing, and ok() is false from then on.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> in) noexcept : in_(in) {}

  template <std::unsigned_integral T>
  T get() noexcept {
    if (!has(sizeof(T))) return 0;
    T value = 0;
    std::memcpy(&value, in_.data() + used_, sizeof(T));
    used_ += sizeof(T);
    return little_endian(value);
  }
  /// A view into the input.
  std::span<const std::byte> get_bytes(size_t bytes) noexcept {
    if (!has(bytes)) return {};
    const auto view = in_.subspan(used_, bytes);
    used_ += bytes;
    return view;
  }
  std::string_view get_text() noexcept {
    const auto view = get_bytes(get<uint16_t>());
    return {reinterpret_cast<const char*>(view.data()), view.size()};
  }

  bool ok() const noexcept { return ok_; }
  /// Everything was read and nothing was missing.
  bool finished() const noexcept { return ok_ && used_ == in_.size(); }
  size_t left() const noexcept { return in_.size() - used_; }

 private:
  bool has(size_t bytes) noexcept {
    ok_ = ok_ && left() >= bytes;
    return ok_;
  }
  std::span<const std::byte> in_;
  size_t used_ = 0;
  bool ok_ = true;
};

}  // namespace haul::base
