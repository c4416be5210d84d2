// What happens on a connection, as a file for qvis and its like (draft-ietf-quic-qlog), on request.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "haul/telemetry.h"

namespace haul::quic {

class QlogFile;

/// Where the files are, and who hears that one can't be written. Must outlive its files. Threading: as its transport.
class QlogFolder {
 public:
  /// An empty path: no files.
  QlogFolder(std::string path, LogSink log) : path_(std::move(path)), log_(std::move(log)) {}

  /// Named after the connection and the side: both sides may share a folder. Absent: none is wanted, or it can't be made.
  std::unique_ptr<QlogFile> open(std::string_view original_dcid, bool dials);
  /// Logs the first of them.
  void failed(const std::string& file, int error);

 private:
  std::string path_;
  LogSink log_;
  bool told_ = false;
};

/// What can't be written ends the file, and nothing else.
class QlogFile {
 public:
  QlogFile(QlogFolder& folder, std::string path, base::UniqueFd fd)
      : folder_(folder), path_(std::move(path)), fd_(std::move(fd)) {}
  ~QlogFile() { flush(); }
  QlogFile(const QlogFile&) = delete;
  QlogFile& operator=(const QlogFile&) = delete;

  void write(std::span<const std::byte> bytes);

 private:
  void flush();

  QlogFolder& folder_;
  std::string path_;
  base::UniqueFd fd_;
  std::vector<std::byte> buffer_;
};

}  // namespace haul::quic
