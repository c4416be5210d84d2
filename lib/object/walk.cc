// The walk through trees that are to be sent.
#include "object/walk.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <string_view>

#include "object/names.h"

namespace haul::object {

namespace {

constexpr size_t max_depth = 64;  // one descriptor a level
constexpr size_t max_remarks = 16;
constexpr int read_flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;  // never blocks on a FIFO

}  // namespace

Walk::Step Walk::next() {
  while (true) {
    if (levels_.empty()) {
      if (next_top_ == tops_.size()) return {};
      const Top& top = tops_[next_top_++];
      auto step = open_top(top);
      if (step.failure.failed() || !top.only_what_is_in_it) return step;
      continue;
    }
    Level& level = levels_.back();
    errno = 0;
    const dirent* child = readdir(level.directory.get());
    if (child == nullptr) {
      if (errno != 0) return {.found = {}, .failure = file_failure(errno, fmt::format("cannot list \"{}\"", level.shown))};
      levels_.pop_back();
      continue;
    }
    if (auto step = open_child(level, child->d_name)) return std::move(*step);
  }
}

Walk::Step Walk::open_top(const Top& top) {
  const std::string& shown = top.path.empty() ? std::string("/") : top.path;
  Found found{.fd = open_beneath(root_.folder_fd, top.path, read_flags, root_.follow), .name = top.name, .shown = shown};
  if (!found.fd) return {.found = {}, .failure = file_failure(errno, fmt::format("cannot read \"{}\"", shown))};
  if (fstat(found.fd.get(), &found.info) != 0) {
    return {.found = {}, .failure = file_failure(errno, fmt::format("cannot read \"{}\"", shown))};
  }
  if (!S_ISDIR(found.info.st_mode) && !S_ISREG(found.info.st_mode)) {
    return {
        .found = {},
        .failure = {.kind = FailureKind::unsuitable, .message = fmt::format("\"{}\" is neither a file nor a folder", shown)}};
  }
  if (const auto fault = name_fault(top.name); !fault.empty()) {
    return {.found = {},
            .failure = {.kind = FailureKind::bad_name, .message = fmt::format("\"{}\" cannot be sent: {}", shown, fault)}};
  }
  if (found.is_folder()) {
    if (auto failure = descend(found); failure.failed()) return {.found = {}, .failure = std::move(failure)};
  }
  return {.found = std::move(found), .failure = {}};
}

std::optional<Walk::Step> Walk::open_child(const Level& level, const char* child) {
  const std::string_view name = child;
  if (name == "." || name == ".." || is_temporary_name(name)) return std::nullopt;
  Found found{.fd = {}, .name = join(level.name, name), .shown = join(level.shown, name)};
  const auto failed = [&](Failure failure) { return Step{.found = {}, .failure = std::move(failure)}; };
  const auto cannot_read = [&] { return failed(file_failure(errno, fmt::format("cannot read \"{}\"", found.shown))); };
  const int folder_fd = dirfd(level.directory.get());
  if (fstatat(folder_fd, child, &found.info, AT_SYMLINK_NOFOLLOW) != 0) return cannot_read();
  if (S_ISLNK(found.info.st_mode)) {
    skip(found.shown, "a symbolic link");
    return std::nullopt;
  }
  if (!S_ISDIR(found.info.st_mode) && !S_ISREG(found.info.st_mode)) {
    skip(found.shown, "neither a file nor a folder");
    return std::nullopt;
  }
  if (const auto fault = name_fault(found.name); !fault.empty()) {
    return failed({.kind = FailureKind::bad_name, .message = fmt::format("\"{}\" cannot be sent: {}", found.shown, fault)});
  }
  found.fd = open_beneath(folder_fd, std::string(name), read_flags | O_NOFOLLOW, Follow::nothing);
  if (!found.fd || fstat(found.fd.get(), &found.info) != 0) return cannot_read();
  if (found.is_folder()) {
    if (auto failure = descend(found); failure.failed()) return failed(std::move(failure));
  }
  return Step{.found = std::move(found), .failure = {}};
}

Failure Walk::descend(const Found& folder) {
  if (levels_.size() == max_depth) {
    return {.kind = FailureKind::limit, .message = fmt::format("\"{}\" is more than {} folders deep", folder.shown, max_depth)};
  }
  base::UniqueFd copy(fcntl(folder.fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return file_failure(errno, fmt::format("cannot list \"{}\"", folder.shown));
  std::unique_ptr<DIR, CloseDirectory> directory(fdopendir(copy.get()));
  if (!directory) return file_failure(errno, fmt::format("cannot list \"{}\"", folder.shown));
  static_cast<void>(copy.release());
  levels_.push_back({.directory = std::move(directory), .name = folder.name, .shown = folder.shown});
  return {};
}

void Walk::skip(const std::string& shown, const char* why) {
  ++skipped_;
  if (remarks_.size() < max_remarks) remarks_.push_back(fmt::format("skipped \"{}\": {}", printable(shown), why));
}

}  // namespace haul::object
