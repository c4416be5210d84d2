// The file that names known peers and what each may do.
//
//   # name  identity           what it may do
//   alice   sha256:0123…       push=/incoming pull
//   bob     sha256:4567…       pull=/models expires=2027-06-30
//   carol   ca                 push pull          (whoever an authority of ca_file certified under this name)
//   *       ca                 pull=/public       (whoever it certified under another name)
//   mallory sha256:89ab…       revoked
//
// Words stand between blanks (spaces, tabs); a line may end in CR LF. '#' begins a comment where a word would begin. Names
// have letters, digits and . _ - @, at most 64. What a peer may do is a verb, [a-z][a-z0-9-]*, at most 32, alone or with the
// absolute path that it is limited to; one verb may come with several paths. A line without any lets the peer connect, and no
// more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "haul/credentials.h"
#include "haul/status.h"
#include "security/fingerprint.h"

namespace haul::security {

struct AuthorizedPeer {
  std::string name;                        ///< "*" only with a certificate authority
  std::optional<Fingerprint> fingerprint;  ///< absent: by certificate authority
  std::vector<Permission> permissions;     ///< scopes as PeerIdentity::may() needs them; "/" became everywhere
  std::optional<int64_t> expires_at_s;     ///< seconds since 1970 UTC; from then on it is unknown. A day means its end.
  bool revoked = false;
  size_t line = 0;
};

class AuthorizedPeers {
 public:
  static constexpr size_t max_bytes = 4U << 20;
  static constexpr size_t max_line_bytes = 4096;

  /// `file` is for messages: "FILE:LINE: what is wrong and how it should look". Errors: invalid. Two lines for one
  /// fingerprint, or for one name by authority, are an error; two fingerprints may have one name.
  static Result<AuthorizedPeers> parse(std::string_view text, std::string_view file);

  /// Null: unknown. Whether it is revoked or has expired is for the caller to see, here and below.
  const AuthorizedPeer* by_fingerprint(const Fingerprint& fingerprint) const noexcept;
  /// Of those by certificate authority: the line with this name, else the one for "*", else null.
  const AuthorizedPeer* by_certified_name(std::string_view name) const noexcept;
  const std::vector<AuthorizedPeer>& all() const noexcept { return peers_; }

 private:
  std::vector<AuthorizedPeer> peers_;  // few and read rarely: searched one by one
};

}  // namespace haul::security
