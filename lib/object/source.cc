// Reading files block by block.
#include "object/source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

namespace haul::object {

Source::Source(std::vector<Top> tops, Root root, base::UniqueFd owned_root)
    : tops_(std::move(tops)), owned_root_(std::move(owned_root)), root_(root), walk_(tops_, root_) {}

Survey Source::survey() {
  Walk walk(tops_, root_);
  Survey survey;
  while (true) {
    auto step = walk.next();
    if (stopped_.load(std::memory_order_relaxed)) survey.failure = {.kind = FailureKind::interrupted, .message = "interrupted"};
    if (step.failure.failed()) survey.failure = std::move(step.failure);
    if (survey.failure.failed() || !step.found) break;
    if (step.found->is_folder()) continue;
    ++survey.totals.files;
    survey.totals.bytes += static_cast<uint64_t>(step.found->info.st_size);
  }
  survey.totals.skipped = walk.skipped();
  survey.remarks = walk.remarks();
  return survey;
}

Block Source::read(std::span<std::byte> into) {
  Block block;
  if (!file_) {
    auto step = walk_.next();
    block.failure = std::move(step.failure);
    block.ends_all = !step.found;
    if (!step.found) return block;
    if (entries_ == std::numeric_limits<uint32_t>::max()) {
      block.failure = {.kind = FailureKind::limit, .message = "more files than one transfer can name: send them in parts"};
      return block;
    }
    Found& found = *step.found;
    block.entry = Entry{.index = entries_++,
                        .kind = found.is_folder() ? EntryKind::folder : EntryKind::file,
                        .mode = static_cast<uint16_t>(found.info.st_mode & 0777U),
                        .size = found.is_folder() ? 0 : static_cast<uint64_t>(found.info.st_size),
                        .path = found.name};
    block.index = block.entry->index;
    if (found.is_folder()) return block;
    file_ = std::move(found);
    offset_ = 0;
    static_cast<void>(posix_fadvise(file_->fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL));
  }
  block.index = entries_ - 1;
  block.offset = offset_;
  const uint64_t left = static_cast<uint64_t>(file_->info.st_size) - offset_;
  block.length = static_cast<uint32_t>(std::min<uint64_t>(left, into.size()));
  block.failure = read_fully(into.first(block.length));
  offset_ += block.length;
  if (!block.failure.failed() && offset_ == static_cast<uint64_t>(file_->info.st_size)) {
    block.failure = unchanged();
    block.ends_file = true;
    file_.reset();
  }
  return block;
}

Failure Source::read_fully(std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = pread(file_->fd.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset_ + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_failure(errno, fmt::format("cannot read \"{}\" at byte {}", file_->shown, offset_ + done));
    if (got == 0) return changed_failure();
    done += static_cast<size_t>(got);
  }
  return {};
}

Failure Source::unchanged() const {
  struct stat now {};
  if (fstat(file_->fd.get(), &now) != 0) return file_failure(errno, fmt::format("cannot read \"{}\"", file_->shown));
  const auto& before = file_->info;
  const bool same = now.st_size == before.st_size && now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
                    now.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
  return same ? Failure{} : changed_failure();
}

Failure Source::changed_failure() const {
  return {.kind = FailureKind::changed,
          .message = fmt::format("\"{}\" changed while it was read: send it again once nobody writes to it", file_->shown)};
}

}  // namespace haul::object
