// haul push and haul pull.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "client_run.h"
#include "commands.h"
#include "object/names.h"
#include "object/receiver.h"
#include "object/sender.h"
#include "object/stale.h"
#include "object/url.h"
#include "outcome.h"
#include "print.h"
#include "steering.h"
#include "text.h"

namespace haul::tool {

using object::Failure;

namespace {

/// The last component of a path that a user wrote; "." and "dir/.." are looked up. Empty: it has none.
std::string own_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const auto last = object::split(path).second;
  if (!last.empty() && last != "." && last != "..") return std::string(last);
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  return real ? std::string(object::split(real.get()).second) : std::string();
}

struct PushPlan {
  std::vector<object::Top> tops;
  object::PushRequest request;
  Failure failure;
};

PushPlan plan_push(const MoveOptions& options, const object::Url& url) {
  PushPlan plan;
  plan.request.overwrite = options.overwrite;
  plan.request.destination = url.path;
  plan.request.into = url.folder || options.paths.size() > 1;
  std::set<std::string> names;
  for (const auto& path : options.paths) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) {
      plan.failure = object::file_failure(errno, fmt::format("cannot read \"{}\"", path));
      return plan;
    }
    const std::string name = own_name(path);
    if (name.empty() || !names.insert(name).second) {
      plan.failure =
          usage_failure(name.empty() ? fmt::format("\"{}\" has no name to send it under: name a file or folder in it", path)
                                     : fmt::format("two of the paths are named \"{}\": push them one at a time", name));
      return plan;
    }
    if (!plan.request.into && S_ISREG(info.st_mode)) plan.request.name = name;
    plan.tops.push_back({.path = path, .name = plan.request.into ? name : std::string()});
  }
  return plan;
}

int report(std::string_view command, const CommonOptions& common, const object::Url& url, const ClientOutcome& outcome,
           const object::JobReport& job) {
  for (const auto& remark : job.remarks) print(stderr, "haul: warning: {}\n", remark);
  if (job.totals.skipped > job.remarks.size()) print(stderr, "haul: warning: {} entries skipped in all\n", job.totals.skipped);
  if (outcome.failure.failed()) {
    return report_failure(command, outcome.failure, exit_code(outcome.failure, outcome.reached, outcome.signal), common.json);
  }
  const double taken_s = seconds(outcome.duration);
  const double rate = taken_s > 0 ? static_cast<double>(job.bytes_done) / taken_s : 0;
  if (common.json) {
    nlohmann::json json{{"command", command},
                        {"ok", true},
                        {"exit_code", 0},
                        {"url", url.to_string()},
                        {"files", job.totals.files},
                        {"entries", job.entries_done},
                        {"bytes", job.bytes_done},
                        {"skipped", job.totals.skipped},
                        {"seconds", taken_s},
                        {"rate_bytes_s", rate}};
    tell_steering(json, common, job.controlled_paths);
    print_json(json);
  } else {
    print(stdout, "{} {}: {} files, {} in {} ({}/s)\n", command == "push" ? "pushed to" : "pulled from", url.to_string(),
          job.totals.files, bytes_text(static_cast<double>(job.bytes_done)), duration_text(outcome.duration), bytes_text(rate));
  }
  return exit_ok;
}

/// The folder to pull into, made if it is missing.
struct Target {
  base::UniqueFd fd;
  bool made = false;
  Failure failure;
};

Target open_target(const std::string& folder) {
  Target target;
  if (mkdir(folder.c_str(), 0777) == 0) {
    target.made = true;
  } else if (errno != EEXIST) {
    target.failure = object::file_failure(errno, fmt::format("cannot make the folder \"{}\"", folder));
    return target;
  }
  target.fd.reset(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!target.fd) target.failure = object::file_failure(errno, fmt::format("cannot use the folder \"{}\"", folder));
  return target;
}

void remove_stale_in_target(const Target& target, const object::Url& url) {
  object::remove_stale(target.fd.get(), 0);
  const auto name = object::split(url.path).second;
  if (name.empty() || !object::name_fault(name).empty()) return;
  const auto below = object::open_beneath(target.fd.get(), std::string(name), O_RDONLY | O_DIRECTORY, object::Follow::nothing);
  if (below) object::remove_stale(below.get(), object::stale_depth);
}

}  // namespace

int push(const CommonOptions& common, const MoveOptions& options) {
  const auto url = object::parse_url(options.url);
  if (!url) return report_failure("push", usage_failure(url.status().message()), exit_usage, common.json);
  PushPlan plan = plan_push(options, *url);
  if (plan.failure.failed())
    return report_failure("push", plan.failure, exit_code(plan.failure, Reached::nothing, 0), common.json);
  const object::Root here{.folder_fd = AT_FDCWD, .follow = object::Follow::anywhere};
  object::JobReport job;
  const auto outcome = run_client(
      common, url->address, !common.json && !options.quiet,
      [&](object::Channel& channel, Engine& engine) -> std::unique_ptr<object::Job> {
        auto worker = object::make_thread_worker([&engine] { engine.wake(); });
        if (!worker) return nullptr;
        auto source = std::make_unique<object::Source>(plan.tops, here);
        return std::make_unique<object::Sender>(channel, engine, std::move(source), std::move(worker), object::JobLimits{},
                                                plan.request);
      },
      [&](const object::FileClient& client, Engine&) {
        if (client.job() != nullptr) job = client.job()->report();
      });
  return report("push", common, *url, outcome, job);
}

int pull(const CommonOptions& common, const MoveOptions& options) {
  const auto url = object::parse_url(options.url);
  if (!url) return report_failure("pull", usage_failure(url.status().message()), exit_usage, common.json);
  if (common.controller != CongestionPolicy().controller) {
    constexpr std::string_view why = "the server sends what is pulled, and controls it: give --controller to haul serve";
    return report_failure("pull", usage_failure(why), exit_usage, common.json);
  }
  if (!common.remembered_paths.empty()) {
    constexpr std::string_view why = "the server sends what is pulled, and remembers the path: give --remember to haul serve";
    return report_failure("pull", usage_failure(why), exit_usage, common.json);
  }
  Target target = open_target(options.folder);
  if (target.failure.failed()) return report_failure("pull", target.failure, exit_local_file, common.json);
  remove_stale_in_target(target, *url);
  object::SinkOptions sink;
  sink.overwrite = options.overwrite;
  sink.shown_folder = options.folder.ends_with('/') ? options.folder : options.folder + "/";
  object::JobReport job;
  const auto outcome = run_client(
      common, url->address, !common.json && !options.quiet,
      [&](object::Channel& channel, Engine& engine) -> std::unique_ptr<object::Job> {
        auto worker = object::make_thread_worker([&engine] { engine.wake(); });
        if (!worker) return nullptr;
        return std::make_unique<object::Receiver>(
            channel, engine, std::move(target.fd), sink, std::move(worker), object::JobLimits{},
            object::PullRequest{.path = url->path, .rate_bytes_s = common.rate_limit_bytes_s});
      },
      [&](const object::FileClient& client, Engine&) {
        if (client.job() != nullptr) job = client.job()->report();
      });
  if (outcome.failure.failed() && target.made) rmdir(options.folder.c_str());
  return report("pull", common, *url, outcome, job);
}

}  // namespace haul::tool
