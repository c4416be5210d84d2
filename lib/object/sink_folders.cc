// The folders of a Sink: opened beneath the root, made when missing, synced when names in them changed.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "object/beneath.h"
#include "object/names.h"
#include "object/sink.h"

namespace haul::object {

namespace {

constexpr size_t max_folders_remembered = 4096;
constexpr mode_t default_folder_mode = 0777;  // as the umask leaves it

}  // namespace

Failure Sink::open_folder(std::string_view path, std::shared_ptr<Folder>& out) {
  if (last_folder_ && last_folder_->path == path) {
    out = last_folder_;
    return {};
  }
  const std::string name(path);
  auto fd = open_beneath(root_.get(), name, O_RDONLY | O_DIRECTORY, Follow::nothing);
  if (!fd && errno == ENOENT && !path.empty()) {
    if (auto failure = make_folder(path, default_folder_mode, true); failure.failed()) return failure;
    fd = open_beneath(root_.get(), name, O_RDONLY | O_DIRECTORY, Follow::nothing);
  }
  if (!fd) return file_failure(errno, fmt::format("cannot use the folder \"{}\"", shown(path)));
  last_folder_ = std::make_shared<Folder>(Folder{.fd = std::move(fd), .path = name});
  out = last_folder_;
  return {};
}

Failure Sink::make_folder(std::string_view path, mode_t mode, bool may_exist) {
  const auto [parent_path, name] = split(path);
  std::shared_ptr<Folder> parent;
  if (auto failure = open_folder(parent_path, parent); failure.failed()) return failure;
  // The owner keeps all rights: we have to write into it.
  if (mkdirat(parent->fd.get(), std::string(name).c_str(), mode | S_IRWXU) != 0) {
    if (errno != EEXIST) return file_failure(errno, fmt::format("cannot make the folder \"{}\"", shown(path)));
    if (!may_exist) {
      return {.kind = FailureKind::exists,
              .message = fmt::format("\"{}\" exists already: choose another name, or use --overwrite", shown(path))};
    }
    const auto there = open_beneath(root_.get(), std::string(path), O_PATH | O_DIRECTORY, Follow::nothing);
    return there ? Failure{} : file_failure(errno, fmt::format("cannot use the folder \"{}\"", shown(path)));
  }
  if (made_.size() < max_folders_remembered) made_.emplace_back(path);
  return mark_changed(parent);
}

// Files of a tree arrive folder by folder, so keeping one folder unsynced at a time costs about one fsync a folder.
Failure Sink::mark_changed(const std::shared_ptr<Folder>& folder) {
  if (changed_folder_ == folder) return {};
  const auto before = std::exchange(changed_folder_, folder);
  return before ? sync_folder(*before) : Failure{};
}

Failure Sink::sync_folder(const Folder& folder) const {
  if (fsync(folder.fd.get()) == 0) return {};
  return file_failure(errno, fmt::format("cannot make the folder \"{}\" durable", shown(folder.path)));
}

}  // namespace haul::object
