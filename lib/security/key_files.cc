// Files with keys and certificates: read with care for who else could, written whole or not at all.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "security/keys.h"

namespace haul::security {

namespace {

constexpr mode_t open_to_others = S_IRWXG | S_IRWXO;

Status file_error(int error, std::string_view tried, const std::string& path, std::string_view remedy) {
  return Status::from_errno(StatusCode::invalid, error, fmt::format("cannot {} \"{}\" ({})", tried, path, remedy));
}

Status too_large(const std::string& path, size_t max_bytes) {
  return Status(StatusCode::invalid,
                fmt::format("\"{}\" is larger than {} bytes, the most that is read: is it the right file?", path, max_bytes),
                EFBIG);
}

/// The descriptor is looked at, not the path, which may lead elsewhere a moment later.
Status check_file(int fd, const std::string& path, size_t max_bytes, bool is_private) {
  struct stat found {};
  if (fstat(fd, &found) != 0) return file_error(errno, "look at", path, "check the file system");
  if (!S_ISREG(found.st_mode)) return Status(StatusCode::invalid, fmt::format("\"{}\" is no regular file: name one", path));
  if (is_private && (found.st_mode & open_to_others) != 0) {
    return Status(StatusCode::invalid,
                  fmt::format("\"{}\" has a private key and is open to others than its owner (mode {:04o}): "
                              "chmod 600 {}",
                              path, found.st_mode & 07777U, path));
  }
  return found.st_size > 0 && static_cast<uint64_t>(found.st_size) > max_bytes ? too_large(path, max_bytes) : Status();
}

Result<std::string> read_checked(const std::string& path, size_t max_bytes, bool is_private) {
  // Without waiting, if it is a pipe; and no terminal becomes ours.
  const base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return file_error(errno, "open", path, "check the name and the permissions");
  if (Status good = check_file(fd.get(), path, max_bytes, is_private); !good.ok()) return good;
  std::string text;
  while (text.size() <= max_bytes) {
    char block[4096];
    const ssize_t got = read(fd.get(), block, sizeof(block));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(errno, "read", path, "check the disk");
    if (got == 0) return text;
    text.append(block, static_cast<size_t>(got));
  }
  return too_large(path, max_bytes);  // it grew since
}

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t wrote = write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return file_error(errno, "write", path, "check the space and the limits there");
    text.remove_prefix(static_cast<size_t>(wrote));
  }
  return fsync(fd) == 0 ? Status() : file_error(errno, "write", path, "check the disk");
}

Status write_new_file(const std::string& path, std::string_view text, mode_t mode) {
  const base::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd && errno == EEXIST)
    return file_error(EEXIST, "write", path, "it is kept: choose another folder, or move it away first");
  if (!fd) return file_error(errno, "write", path, "check the folder and its permissions");
  Status written = write_all(fd.get(), text, path);
  if (!written.ok()) unlink(path.c_str());
  return written;
}

}  // namespace

Result<std::string> read_private_file(const std::string& path) { return read_checked(path, max_private_file_bytes, true); }

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) { return read_checked(path, max_bytes, false); }

Status write_identity(const NewIdentity& identity, const std::string& key_file, const std::string& certificate_file) {
  if (Status written = write_new_file(key_file, identity.key_pem, S_IRUSR | S_IWUSR); !written.ok()) return written;
  Status written = write_new_file(certificate_file, identity.certificate_pem, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
  if (!written.ok()) unlink(key_file.c_str());  // a key without its certificate would stand in the way of the next attempt
  return written;
}

}  // namespace haul::security
