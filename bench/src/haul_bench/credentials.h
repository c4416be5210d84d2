// Credentials of a run: in a folder, or made for it.
#pragma once

#include <string>

#include "haul/credentials.h"
#include "haul/status.h"
#include "haul_bench/temporary_folder.h"

namespace bench {

/// haul.crt, haul.key and authorized_peers in a folder.
haul::Credentials credentials_in(const std::string& folder);

/// One identity that both sides of a run share, in a folder that goes with this object.
class TemporaryCredentials {
 public:
  static haul::Result<TemporaryCredentials> make();

  const std::string& folder() const noexcept { return folder_.path(); }

 private:
  explicit TemporaryCredentials(TemporaryFolder folder) noexcept;
  TemporaryFolder folder_;
};

}  // namespace bench
