// Two identities that know each other, in files that exist in memory only.
#pragma once

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "security/context.h"

namespace haul::fuzz {

/// A file without a name in any folder, for code that wants a path. Readable by its owner only.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content);
  std::string path() const;

 private:
  base::UniqueFd fd_;
};

struct Identities {
  std::shared_ptr<const SecurityContext> dials;
  std::shared_ptr<const SecurityContext> accepts;
};

/// Made at the first call: keys are expensive.
const Identities& identities();

}  // namespace haul::fuzz
