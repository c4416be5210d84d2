// A key pair for a run of haul-bench.
#include "haul_bench/credentials.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <utility>

#include "security/keys.h"

namespace bench {

using haul::Status;
using haul::StatusCode;

haul::Credentials credentials_in(const std::string& folder) {
  return {.certificate_file = folder + "/haul.crt",
          .key_file = folder + "/haul.key",
          .authorized_peers_file = folder + "/authorized_peers",
          .ca_file = {},
          .crl_file = {}};
}

TemporaryCredentials::TemporaryCredentials(std::string folder) noexcept : folder_(std::move(folder)) {}

TemporaryCredentials::TemporaryCredentials(TemporaryCredentials&& other) noexcept
    : folder_(std::exchange(other.folder_, std::string())) {}

TemporaryCredentials::~TemporaryCredentials() {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

haul::Result<TemporaryCredentials> TemporaryCredentials::make() {
  constexpr int64_t valid_s = 7 * 86400;
  std::string name = (std::filesystem::temp_directory_path() / "haul-bench-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr)
    return Status::from_errno(StatusCode::unavailable, errno, "cannot make a folder for keys");
  TemporaryCredentials credentials(name);
  const haul::Credentials files = credentials_in(name);
  auto identity = haul::security::make_identity("haul-bench", std::time(nullptr), valid_s);
  if (!identity) return identity.status();
  if (Status status = haul::security::write_identity(*identity, files.key_file, files.certificate_file); !status.ok()) {
    return status;
  }
  std::ofstream(files.authorized_peers_file) << fmt::format("haul-bench {}\n", identity->fingerprint.to_string());
  return credentials;
}

}  // namespace bench
