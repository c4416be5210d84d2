// Exit codes, messages, JSON.
#include "outcome.h"

#include <fmt/format.h>

#include <cstdio>

#include "print.h"

namespace haul::tool {

using object::Failure;
using object::FailureKind;
using object::Side;

namespace {

int connection_exit_code(StatusCode status, Reached reached) {
  // What this machine cannot do, or has too little of, says nothing about the server.
  if (reached == Reached::server || status == StatusCode::unsupported || status == StatusCode::exhausted) return exit_transfer;
  if (status == StatusCode::refused) return exit_refused;
  if (status == StatusCode::invalid) return exit_usage;
  return reached == Reached::nothing ? exit_transfer : exit_unreachable;
}

}  // namespace

int exit_code(const Failure& failure, Reached reached, int signal) {
  const bool here = failure.side == Side::here;
  switch (failure.kind) {
    case FailureKind::none: return exit_ok;
    case FailureKind::interrupted: return here && signal != 0 ? exit_signal + signal : exit_transfer;
    case FailureKind::corrupt: return exit_corrupt;
    case FailureKind::connection: return connection_exit_code(failure.status, reached);
    case FailureKind::protocol: return reached == Reached::server ? exit_transfer : exit_unreachable;
    case FailureKind::bad_name: return here ? exit_local_file : exit_refused;
    case FailureKind::limit: return here ? exit_transfer : exit_refused;
    case FailureKind::missing:
    case FailureKind::not_permitted:
    case FailureKind::exists:
    case FailureKind::no_space:
    case FailureKind::changed:
    case FailureKind::unsuitable:
    case FailureKind::io: return here ? exit_local_file : exit_remote_file;
  }
  return exit_transfer;  // a kind of a later version
}

Failure usage_failure(std::string_view message) {
  return {.kind = FailureKind::connection, .message = std::string(message), .status = StatusCode::invalid};
}

int report_failure(std::string_view command, const Failure& failure, int code, bool json) {
  const bool there = failure.side == Side::there;
  print(stderr, "haul: {}{}\n", there ? "the other side: " : "", object::printable(failure.message));
  if (json) print_failure(command, failure, code);
  return code;
}

void print_failure(std::string_view command, const Failure& failure, int code) {
  nlohmann::json error{{"kind", code == exit_usage ? "usage" : object::to_string(failure.kind)},
                       {"side", failure.side == Side::there ? "there" : "here"},
                       {"message", object::printable(failure.message)}};
  if (failure.status != StatusCode::ok) error["status"] = to_string(failure.status);
  print_json({{"command", command}, {"ok", false}, {"exit_code", code}, {"error", error}});
}

void print_json(const nlohmann::json& object) {
  print(stdout, "{}\n", object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  std::fflush(stdout);
}

}  // namespace haul::tool
