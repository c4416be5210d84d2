// Temporary files that become real ones.
#include "object/sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/check.h"
#include "base/random.h"
#include "object/beneath.h"
#include "object/names.h"

namespace haul::object {

namespace {

Failure exists_failure(const std::string& shown) {
  return {.kind = FailureKind::exists,
          .message = fmt::format("\"{}\" exists already: choose another name, or use --overwrite", shown)};
}

}  // namespace

Sink::Sink(base::UniqueFd folder, SinkOptions options) : root_(std::move(folder)), options_(std::move(options)) {}

Sink::~Sink() { discard(); }

std::string Sink::shown(std::string_view path) const { return options_.shown_folder + printable(path.empty() ? "." : path); }

Failure Sink::prepare() {
  for (const auto& name : {options_.destination, options_.name}) {
    if (const auto fault = name_fault(name); !fault.empty()) {
      return {.kind = FailureKind::bad_name,
              .message = fmt::format("the destination \"{}\" is refused: {}", printable(name), fault)};
    }
  }
  if (options_.destination.empty()) options_.into = true;
  if (!options_.into) {
    struct stat info {};
    const auto there = open_beneath(root_.get(), options_.destination, O_PATH | O_NOFOLLOW, Follow::nothing);
    const bool is_folder = there && fstat(there.get(), &info) == 0 && S_ISDIR(info.st_mode);
    if (is_folder && !options_.name.empty()) options_.destination = join(options_.destination, options_.name);
  }
  return check_room();
}

Failure Sink::check_room() const {
  struct statvfs info {};
  if (fstatvfs(root_.get(), &info) != 0) return file_failure(errno, fmt::format("cannot examine \"{}\"", shown("")));
  const uint64_t available = uint64_t{info.f_bavail} * info.f_frsize;
  // File systems that report no size at all (some FUSE ones) can't tell.
  if (info.f_blocks == 0 || options_.totals.bytes <= available) return {};
  return {.kind = FailureKind::no_space,
          .message = fmt::format("no room for {} bytes in \"{}\": {} bytes are free; free some space, or choose another place",
                                 options_.totals.bytes, shown(""), available)};
}

Failure Sink::begin(const Entry& entry) {
  const std::string path = join(options_.destination, entry.path);
  if (const auto fault = name_fault(path); !fault.empty()) {
    return {.kind = FailureKind::bad_name, .message = fmt::format("the name \"{}\" is refused: {}", printable(path), fault)};
  }
  if (path.empty()) return {.kind = FailureKind::bad_name, .message = "an entry has no name"};
  if (entry.kind == EntryKind::file) return begin_file(entry, path);
  const bool nested = entry.path.find('/') != std::string::npos;
  return make_folder(path, entry.mode, nested || options_.overwrite);
}

Failure Sink::begin_file(const Entry& entry, const std::string& path) {
  const auto [folder, name] = split(path);
  Open open{.fd = {}, .folder = {}, .temporary = {}, .name = std::string(name), .path = path, .mode = entry.mode};
  if (auto failure = open_folder(folder, open.folder); failure.failed()) return failure;
  if (auto failure = check_absent(*open.folder, open.name, path); failure.failed()) return failure;
  if (auto failure = create_temporary(open); failure.failed()) return failure;
  const int fd = open.fd.get();
  open_.insert_or_assign(entry.index, std::move(open));
  if (entry.size == 0) return {};
  if (entry.size > static_cast<uint64_t>(INT64_MAX)) return file_failure(EFBIG, fmt::format("cannot make \"{}\"", shown(path)));
  int error = 0;
  do {
    error = fallocate(fd, 0, 0, static_cast<off_t>(entry.size)) == 0 ? 0 : errno;
  } while (error == EINTR);
  // Not every file system can reserve space; there, room was checked by prepare() and write() reports what is left.
  if (error == 0 || error == EOPNOTSUPP || error == ENOSYS) return {};
  return file_failure(error, fmt::format("no room for \"{}\" ({} bytes)", shown(path), entry.size));
}

Failure Sink::check_absent(const Folder& folder, const std::string& name, std::string_view path) const {
  struct stat info {};
  if (fstatat(folder.fd.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Failure{} : file_failure(errno, fmt::format("cannot examine \"{}\"", shown(path)));
  }
  if (S_ISDIR(info.st_mode)) {
    return {.kind = FailureKind::exists, .message = fmt::format("\"{}\" is a folder: a file can't replace it", shown(path))};
  }
  return options_.overwrite ? Failure{} : exists_failure(shown(path));
}

// A living process holds a lock on each of its temporary files, so that remove_stale() can tell them from a dead one's.
Failure Sink::create_temporary(Open& open) const {
  for (int attempt = 0; attempt < 16; ++attempt) {
    open.temporary = temporary_name(base::system_random_u64());
    open.fd.reset(
        openat(open.folder->fd.get(), open.temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!open.fd && errno == EEXIST) continue;
    if (!open.fd) return file_failure(errno, fmt::format("cannot write to \"{}\"", shown(open.folder->path)));
    struct stat info {};
    const bool locked = flock(open.fd.get(), LOCK_EX | LOCK_NB) == 0;
    if (locked && fstat(open.fd.get(), &info) == 0 && info.st_nlink > 0) return {};
    // Somebody's clean-up was between our open and our lock: it removes that name.
  }
  return {.kind = FailureKind::io, .message = fmt::format("cannot make a temporary file in \"{}\"", shown(open.folder->path))};
}

Failure Sink::write(uint32_t index, uint64_t offset, std::span<const std::byte> bytes) {
  const auto it = open_.find(index);
  if (it == open_.end()) return {.kind = FailureKind::protocol, .message = "data for a file that is not open"};
  while (!bytes.empty()) {
    const ssize_t put = pwrite(it->second.fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return file_failure(errno, fmt::format("cannot write \"{}\" at byte {}", shown(it->second.path), offset));
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Failure Sink::finish(uint32_t index) {
  const auto it = open_.find(index);
  if (it == open_.end()) return {.kind = FailureKind::protocol, .message = "the end of a file that is not open"};
  const Open& open = it->second;
  if (fchmod(open.fd.get(), open.mode & 0777U) != 0) {
    return file_failure(errno, fmt::format("cannot set the permissions of \"{}\"", shown(open.path)));
  }
  if (fsync(open.fd.get()) != 0) return file_failure(errno, fmt::format("cannot make \"{}\" durable", shown(open.path)));
  if (auto failure = rename_into_place(open); failure.failed()) return failure;
  const auto folder = open.folder;
  open_.erase(it);
  return mark_changed(folder);
}

Failure Sink::rename_into_place(const Open& open) const {
  const int folder_fd = open.folder->fd.get();
  const char* from = open.temporary.c_str();
  const char* to = open.name.c_str();
  const auto failed = [&](int error) {
    return error == EEXIST ? exists_failure(shown(open.path))
                           : file_failure(error, fmt::format("cannot name \"{}\"", shown(open.path)));
  };
  if (options_.overwrite) return renameat(folder_fd, from, folder_fd, to) == 0 ? Failure{} : failed(errno);
  if (renameat2(folder_fd, from, folder_fd, to, RENAME_NOREPLACE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS) return failed(errno);
  // File systems without RENAME_NOREPLACE: a hard link doesn't replace either.
  if (linkat(folder_fd, from, folder_fd, to, 0) != 0) return failed(errno);
  return unlinkat(folder_fd, from, 0) == 0 ? Failure{} : failed(errno);
}

Failure Sink::complete() {
  base::check(open_.empty(), "a sink is complete while files are open");
  const auto folder = std::move(changed_folder_);
  made_.clear();
  return folder ? sync_folder(*folder) : Failure{};
}

void Sink::discard() noexcept {
  for (const auto& [index, open] : open_) unlinkat(open.folder->fd.get(), open.temporary.c_str(), 0);
  open_.clear();
  while (!made_.empty()) {
    const auto [folder, name] = split(made_.back());
    const auto parent = open_beneath(root_.get(), std::string(folder), O_PATH | O_DIRECTORY, Follow::nothing);
    if (parent) unlinkat(parent.get(), std::string(name).c_str(), AT_REMOVEDIR);
    made_.pop_back();
  }
}

}  // namespace haul::object
