// A key pair for a run of haul-bench.
#include "haul_bench/credentials.h"

#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <utility>

#include "security/keys.h"

namespace bench {

using haul::Status;

haul::Credentials credentials_in(const std::string& folder) {
  return {.certificate_file = folder + "/haul.crt",
          .key_file = folder + "/haul.key",
          .authorized_peers_file = folder + "/authorized_peers",
          .ca_file = {},
          .crl_file = {}};
}

TemporaryCredentials::TemporaryCredentials(TemporaryFolder folder) noexcept : folder_(std::move(folder)) {}

haul::Result<TemporaryCredentials> TemporaryCredentials::make() {
  constexpr int64_t valid_s = 7 * 86400;
  auto folder = TemporaryFolder::make();
  if (!folder) return folder.status();
  TemporaryCredentials credentials(std::move(*folder));
  const haul::Credentials files = credentials_in(credentials.folder());
  auto identity = haul::security::make_identity("haul-bench", std::time(nullptr), valid_s);
  if (!identity) return identity.status();
  if (Status status = haul::security::write_identity(*identity, files.key_file, files.certificate_file); !status.ok()) {
    return status;
  }
  std::ofstream(files.authorized_peers_file) << fmt::format("haul-bench {}\n", identity->fingerprint.to_string());
  return credentials;
}

}  // namespace bench
