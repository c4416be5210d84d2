// Writes files and trees under one folder: to temporary names, renamed when complete and on stable storage.
// Blocking; for one worker thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "object/failure.h"
#include "object/messages.h"

namespace haul::object {

struct SinkOptions {
  std::string destination{};  ///< under the folder; "" is the folder itself
  bool into = true;           ///< destination is a folder to put entries into; else the name of the one top entry
  std::string name{};         ///< a single file's own name, used if destination turns out to be a folder
  bool overwrite = false;     ///< replace files that exist (atomically)
  Totals totals{};
  std::string shown_folder{};  ///< how messages call the folder: "" or a path with a slash at its end
};

/// Nothing that was there before is touched until a file is complete; then rename(2) puts it in place. Until complete() ran, a
/// crash of the machine may lose the names; the files that exist are whole.
class Sink {
 public:
  Sink(base::UniqueFd folder, SinkOptions options);
  ~Sink();  ///< discards
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  /// Checks names and room. Call first.
  Failure prepare();
  /// Makes a folder, or a temporary file with all of its space.
  Failure begin(const Entry& entry);
  Failure write(uint32_t index, uint64_t offset, std::span<const std::byte> bytes);
  /// Every byte was written: makes it durable and gives it its name.
  Failure finish(uint32_t index);
  /// Every entry was finished: makes the names durable.
  Failure complete();
  /// Removes temporary files, and folders that were made and are empty.
  void discard() noexcept;

 private:
  struct Folder {
    base::UniqueFd fd;
    std::string path;
  };
  struct Open {
    base::UniqueFd fd;
    std::shared_ptr<Folder> folder;
    std::string temporary;
    std::string name;
    std::string path;
    uint16_t mode = 0;
  };

  std::string shown(std::string_view path) const;
  Failure check_room() const;
  /// The folder `path`, made if it is missing.
  Failure open_folder(std::string_view path, std::shared_ptr<Folder>& out);
  Failure make_folder(std::string_view path, mode_t mode, bool may_exist);
  Failure begin_file(const Entry& entry, const std::string& path);
  Failure check_absent(const Folder& folder, const std::string& name, std::string_view path) const;
  Failure create_temporary(Open& open) const;
  Failure rename_into_place(const Open& open) const;
  Failure mark_changed(const std::shared_ptr<Folder>& folder);
  Failure sync_folder(const Folder& folder) const;

  base::UniqueFd root_;
  SinkOptions options_;
  std::shared_ptr<Folder> last_folder_;     ///< of the last file begun
  std::shared_ptr<Folder> changed_folder_;  ///< at most one waits for its fsync
  std::map<uint32_t, Open> open_;
  std::vector<std::string> made_;  ///< folders, oldest first; the first few thousand
};

}  // namespace haul::object
