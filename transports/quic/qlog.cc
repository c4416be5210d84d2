// Files are written in pieces of 64 KiB, by plain calls: whoever asks for them has time.
#include "quic/qlog.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace haul::quic {

namespace {

constexpr size_t buffer_bytes = 64U << 10;
constexpr int owner_only = 0600;

std::string hexadecimal(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return text;
}

}  // namespace

std::unique_ptr<QlogFile> QlogFolder::open(std::string_view original_dcid, bool dials) {
  if (path_.empty()) return nullptr;
  // The ending that readers take for JSON text sequences (RFC 7464).
  std::string file = fmt::format("{}/{}_{}.sqlog", path_, hexadecimal(original_dcid), dials ? "client" : "server");
  base::UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, owner_only));
  if (!fd) {
    failed(file, errno);
    return nullptr;
  }
  return std::make_unique<QlogFile>(*this, std::move(file), std::move(fd));
}

void QlogFolder::failed(const std::string& file, int error) {
  if (told_) return;
  told_ = true;
  if (!log_) return;
  const std::string text = fmt::format("{} can't be written ({}); later ones that can't are not told of. Connections go on",
                                       file, std::generic_category().message(error));
  log_({LogLevel::warning, "quic", text});
}

void QlogFile::write(std::span<const std::byte> bytes) {
  if (!fd_) return;
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  if (buffer_.size() >= buffer_bytes) flush();
}

void QlogFile::flush() {
  std::span<const std::byte> rest = buffer_;
  while (fd_ && !rest.empty()) {
    const ssize_t written = ::write(fd_.get(), rest.data(), rest.size());
    if (written >= 0) {
      rest = rest.subspan(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      folder_.failed(path_, errno);
      fd_.reset();
    }
  }
  buffer_.clear();
}

}  // namespace haul::quic
