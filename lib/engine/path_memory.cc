// Remembered paths, and their file.
#include "engine/path_memory.h"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <utility>

namespace haul::engine {

PathMemories::PathMemories(std::function<int64_t()> wall_clock_s) : wall_clock_s_(std::move(wall_clock_s)) {}

int64_t PathMemories::now_s() const {
  if (wall_clock_s_) return wall_clock_s_();
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(since).count();
}

Status PathMemories::load(std::string file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream && errno != ENOENT)
    return Status::from_errno(StatusCode::invalid, errno, fmt::format("cannot read the remembered paths in {}", file));
  if (stream) {
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    if (stream.bad()) return Status(StatusCode::invalid, fmt::format("cannot read the remembered paths in {}", file));
    if (Status status = cache_.parse(text, file); !status.ok()) return status;
  }
  file_ = std::move(file);
  return {};
}

Status PathMemories::save() {
  if (file_.empty() || !unsaved_) return {};
  const std::string fresh = file_ + ".new";
  std::ofstream stream(fresh, std::ios::binary | std::ios::trunc);
  stream << cache_.to_text();
  stream.close();
  if (stream && std::rename(fresh.c_str(), file_.c_str()) == 0) {
    unsaved_ = false;
    return {};
  }
  const int error = errno;
  static_cast<void>(std::remove(fresh.c_str()));
  return Status::from_errno(StatusCode::internal, error,
                            fmt::format("cannot write the remembered paths to {}: check its folder and the disk", file_));
}

std::optional<PathMemory> PathMemories::start(const std::string& path) {
  return path.empty() ? std::nullopt : cache_.lend(path, now_s());
}

void PathMemories::ended(const std::string& path, bool was_given, const CongestionController* controller) {
  ended(path, was_given, controller != nullptr ? PathLesson{controller->memory(), controller->memory_failed()} : PathLesson{});
}

void PathMemories::ended(const std::string& path, bool was_given, const PathLesson& lesson) {
  if (path.empty()) return;
  if (lesson.memory) {
    cache_.remember(path, *lesson.memory, now_s());
    unsaved_ = true;
  } else if (lesson.failed) {
    cache_.forget(path);
    unsaved_ = true;
  } else if (was_given) {
    cache_.give_back(path);
  }
}

bool PathMemories::save_soon() {
  if (file_.empty() || !unsaved_) return false;
  const int64_t now = now_s();
  if (saved_s_ == now) return true;
  saved_s_ = now;
  static_cast<void>(save());  // it is tried again, and told of, at the end
  return false;
}

std::string path_name(const PeerIdentity& identity, std::string_view address, std::string_view transport,
                      std::string_view direction) {
  const std::string_view peer = identity.authenticated() ? std::string_view(identity.fingerprint) : address;
  return peer.empty() ? std::string() : fmt::format("{}/{}/{}", peer, transport, direction);
}

}  // namespace haul::engine
