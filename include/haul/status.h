// Status and Result: what happened, typed by what the caller can do about it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "haul/export.h"

namespace haul {

/// What the caller can do. Each code is a different reaction, not a different cause.
enum class StatusCode : uint8_t {
  ok = 0,
  invalid,      ///< The call itself is wrong (a range, an address, an option): mend the argument.
  busy,         ///< A queue or limit is full: call again after progress.
  unavailable,  ///< Not reachable or not there at this moment: try later, or another address.
  refused,      ///< The peer or a policy says no: rights, trust or configuration must change.
  unsupported,  ///< This build, machine or peer cannot do it: choose another way.
  exhausted,    ///< Memory, file descriptors, locked memory or disk ran out: give more, or ask for less.
  cancelled,    ///< Ended by cancel(); both sides are proven quiet, every buffer may be reused.
  timed_out,    ///< The deadline passed; both sides are proven quiet, every buffer may be reused.
  peer_lost,    ///< The peer is gone. Our side is quiet; remote memory is suspect until its owner reports the loss too.
  corrupt,      ///< A checksum still failed after retries: the destination must not be used.
  protocol,     ///< The other side broke the protocol, or speaks another one; the connection was closed.
  internal,     ///< A defect in haul: please report it, with the message.
};

/// The code's name as it is spelled above. Never null.
HAUL_API std::string_view to_string(StatusCode code) noexcept;

/// The outcome of an operation. A value type; copying shares the message. An ok status allocates nothing.
/// Threading: immutable after construction, so copies may be read from any thread.
class HAUL_API Status {
 public:
  Status() noexcept = default;  ///< ok

  /// `message` names the thing and the remedy. `system_error` is an errno (0: none) kept beside it for programs.
  Status(StatusCode code, std::string message, int system_error = 0);

  /// As above, with ": " and the errno's text appended to the message.
  static Status from_errno(StatusCode code, int system_error, std::string message);

  bool ok() const noexcept { return code_ == StatusCode::ok; }
  StatusCode code() const noexcept { return code_; }
  int system_error() const noexcept { return system_error_; }
  /// Empty for ok. Valid as long as this status or a copy of it lives.
  std::string_view message() const noexcept { return message_ ? std::string_view(*message_) : std::string_view(); }
  /// "ok", or "code: message".
  std::string to_string() const;

 private:
  StatusCode code_ = StatusCode::ok;
  int32_t system_error_ = 0;
  std::shared_ptr<const std::string> message_;
};

/// Either a value or the status that explains its absence (never an ok status).
/// value() on an error, or status() misuse, is a programming error and aborts with the status printed.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}       // NOLINT(google-explicit-constructor)
  Result(Status error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & {
    require();
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    require();
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    require();
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  /// ok when a value is there.
  Status status() const { return ok() ? Status() : *std::get_if<1>(&state_); }

 private:
  void require() const;
  std::variant<T, Status> state_;
};

namespace detail {
[[noreturn]] HAUL_API void result_misused(const Status& status) noexcept;
}  // namespace detail

template <typename T>
void Result<T>::require() const {
  if (!ok()) detail::result_misused(*std::get_if<1>(&state_));
}

}  // namespace haul
