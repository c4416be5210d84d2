// Names of the codes, and messages.
#include "haul/status.h"

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace haul {

std::string_view to_string(StatusCode code) noexcept {
  switch (code) {
    case StatusCode::ok: return "ok";
    case StatusCode::invalid: return "invalid";
    case StatusCode::busy: return "busy";
    case StatusCode::unavailable: return "unavailable";
    case StatusCode::refused: return "refused";
    case StatusCode::unsupported: return "unsupported";
    case StatusCode::exhausted: return "exhausted";
    case StatusCode::cancelled: return "cancelled";
    case StatusCode::timed_out: return "timed_out";
    case StatusCode::peer_lost: return "peer_lost";
    case StatusCode::corrupt: return "corrupt";
    case StatusCode::protocol: return "protocol";
    case StatusCode::internal: return "internal";
  }
  return "unknown";
}

Status::Status(StatusCode code, std::string message, int system_error)
    : code_(code), system_error_(system_error), message_(std::make_shared<const std::string>(std::move(message))) {}

Status Status::from_errno(StatusCode code, int system_error, std::string message) {
  message += ": ";
  message += std::system_category().message(system_error);
  return Status(code, std::move(message), system_error);
}

std::string Status::to_string() const {
  std::string text(haul::to_string(code_));
  if (!message().empty()) {
    text += ": ";
    text += message();
  }
  return text;
}

namespace detail {

void result_misused(const Status& status) noexcept {
  std::fprintf(stderr, "haul: the value of a failed Result was used: %s\n", status.to_string().c_str());
  std::abort();
}

}  // namespace detail
}  // namespace haul
