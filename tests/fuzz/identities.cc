// Making identities.
#include "fuzz/identities.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>

#include "fuzz/target.h"
#include "security/keys.h"

namespace haul::fuzz {

MemoryFile::MemoryFile(std::string_view content) : fd_(memfd_create("haul-fuzz", MFD_CLOEXEC)) {
  require(static_cast<bool>(fd_) && fchmod(fd_.get(), S_IRUSR | S_IWUSR) == 0, "no file in memory could be made");
  const ssize_t put = write(fd_.get(), content.data(), content.size());
  require(put == static_cast<ssize_t>(content.size()), "a file in memory could not be written");
}

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }

namespace {

struct Party {
  security::NewIdentity identity;
  MemoryFile key;
  MemoryFile certificate;

  explicit Party(security::NewIdentity made)
      : identity(std::move(made)), key(identity.key_pem), certificate(identity.certificate_pem) {}

  std::shared_ptr<const SecurityContext> knowing(const Party& other) const {
    static std::vector<std::unique_ptr<MemoryFile>> lists;  // read again when their time changes: they must stay
    lists.push_back(std::make_unique<MemoryFile>("other " + other.identity.fingerprint.to_string() + " push pull\n"));
    return SecurityContext::load({.certificate_file = certificate.path(),
                                  .key_file = key.path(),
                                  .authorized_peers_file = lists.back()->path(),
                                  .ca_file = {},
                                  .crl_file = {}})
        .value();
  }
};

Party make_party(const std::string& name) {
  constexpr int64_t year_s = 365 * 86400;
  return Party(security::make_identity(name, static_cast<int64_t>(std::time(nullptr)), year_s).value());
}

}  // namespace

const Identities& identities() {
  static const Party dials = make_party("dials");
  static const Party accepts = make_party("accepts");
  static const Identities both{dials.knowing(accepts), accepts.knowing(dials)};
  return both;
}

}  // namespace haul::fuzz
