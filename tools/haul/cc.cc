// haul cc: haul's congestion control in this machine's kernel.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "commands.h"
#include "haul/kernel_congestion.h"
#include "object/failure.h"
#include "outcome.h"
#include "print.h"

namespace haul::tool {

namespace kernel = tcp::kernel_congestion;

namespace {

constexpr const char* command_name = "cc";

int failed(const Status& status, bool json) {
  if (status.code() == StatusCode::invalid)
    return report_failure(command_name, usage_failure(status.message()), exit_usage, json);
  const int code = status.code() == StatusCode::refused ? exit_refused : exit_transfer;
  const object::Failure failure{
      .kind = object::FailureKind::connection, .message = std::string(status.message()), .status = status.code()};
  return report_failure(command_name, failure, code, json);
}

int tell(const CommonOptions& common, const CcOptions& options) {
  const kernel::State state = kernel::status(options.directory);
  if (common.json) {
    print_json({{"command", command_name},
                {"ok", true},
                {"exit_code", 0},
                {"built", state.built},
                {"presence", kernel::to_string(state.presence)},
                {"registered", state.registered},
                {"permitted", state.permitted},
                {"group", state.group},
                {"directory", options.directory},
                {"text", state.text}});
  } else {
    print(stdout, "{}\n", state.text);
    if (!state.group.empty()) print(stdout, "group: {}\n", state.group);
  }
  return exit_ok;
}

}  // namespace

int cc(const CommonOptions& common, const CcOptions& options) {
  Status status;
  if (options.action == CcAction::install) status = kernel::install({.directory = options.directory, .group = options.group});
  if (options.action == CcAction::uninstall) {
    const kernel::Reach reach = options.wherever ? kernel::Reach::machine : kernel::Reach::folder;
    status = kernel::uninstall(options.directory, reach).status();
  }
  return status.ok() ? tell(common, options) : failed(status, common.json);
}

}  // namespace haul::tool
