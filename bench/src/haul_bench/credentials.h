// Credentials of a run: in a folder, or made for it.
#pragma once

#include <string>

#include "haul/credentials.h"
#include "haul/status.h"

namespace bench {

/// haul.crt, haul.key and authorized_peers in a folder.
haul::Credentials credentials_in(const std::string& folder);

/// One identity that both sides of a run share, in a folder that goes with this object.
class TemporaryCredentials {
 public:
  static haul::Result<TemporaryCredentials> make();
  ~TemporaryCredentials();
  TemporaryCredentials(TemporaryCredentials&& other) noexcept;
  TemporaryCredentials& operator=(TemporaryCredentials&&) = delete;

  const std::string& folder() const noexcept { return folder_; }

 private:
  explicit TemporaryCredentials(std::string folder) noexcept;
  std::string folder_;
};

}  // namespace bench
