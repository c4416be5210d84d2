// Kinds of failure, their texts and remedies.
#include "object/failure.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace haul::object {

namespace {

FailureKind kind_of(int error) {
  switch (error) {
    case ENOENT: return FailureKind::missing;
    case EACCES:
    case EPERM:
    case EROFS: return FailureKind::not_permitted;
    case EEXIST: return FailureKind::exists;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return FailureKind::no_space;
    case EXDEV:
    case ELOOP:
    case ENAMETOOLONG: return FailureKind::bad_name;
    case ENOTDIR:
    case EISDIR: return FailureKind::unsuitable;
    case EMFILE:
    case ENFILE:
    case ENOMEM: return FailureKind::limit;
    default: return FailureKind::io;
  }
}

std::string_view remedy(int error) {
  switch (error) {
    case ENOENT: return "check the name";
    case EACCES:
    case EPERM: return "check the owner and the permissions";
    case EROFS: return "choose a writable file system";
    case ENOSPC:
    case EDQUOT: return "free some space, or choose another place";
    case EFBIG: return "the file system or the file size limit does not allow files of this size";
    case EXDEV: return "the path leads out of the folder";
    case ELOOP: return "symbolic links are not followed here";
    case EMFILE:
    case ENFILE: return "raise the limit of open files (ulimit -n)";
    default: return "";
  }
}

}  // namespace

std::string_view to_string(FailureKind kind) noexcept {
  switch (kind) {
    case FailureKind::none: return "none";
    case FailureKind::missing: return "missing";
    case FailureKind::not_permitted: return "not_permitted";
    case FailureKind::exists: return "exists";
    case FailureKind::no_space: return "no_space";
    case FailureKind::bad_name: return "bad_name";
    case FailureKind::changed: return "changed";
    case FailureKind::unsuitable: return "unsuitable";
    case FailureKind::io: return "io";
    case FailureKind::limit: return "limit";
    case FailureKind::interrupted: return "interrupted";
    case FailureKind::protocol: return "protocol";
    case FailureKind::connection: return "connection";
    case FailureKind::corrupt: return "corrupt";
  }
  return "unknown";
}

Failure file_failure(int error, std::string_view what) {
  std::string message = fmt::format("{}: {}", what, std::system_category().message(error));
  if (const auto hint = remedy(error); !hint.empty()) message += fmt::format(" ({})", hint);
  return {.kind = kind_of(error), .message = std::move(message)};
}

Failure connection_failure(const Status& status, std::string_view what) {
  const FailureKind kind = status.code() == StatusCode::corrupt ? FailureKind::corrupt : FailureKind::connection;
  return {.kind = kind,
          .message = fmt::format("{}: {}", what, status.message().empty() ? to_string(status.code()) : status.message()),
          .status = status.code()};
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

}  // namespace haul::object
