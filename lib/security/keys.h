// Keys and certificates in files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "haul/status.h"
#include "security/fingerprint.h"

namespace haul::security {

inline constexpr size_t max_private_file_bytes = 64U << 10;

/// The text of a file with a private key. Errors: invalid (missing, a folder, too large, or open to others than its owner: the
/// message has the chmod that mends it).
Result<std::string> read_private_file(const std::string& path);
/// Of any other regular file. Errors: invalid (with the path and the reason).
Result<std::string> read_text_file(const std::string& path, size_t max_bytes);

struct NewIdentity {
  std::string key_pem;
  std::string certificate_pem;
  Fingerprint fingerprint;
};

/// An Ed25519 key and a self-signed certificate for it, with `name` as its common name (and DNS name, where it can be one) and
/// usages for both ends of TLS. `now_s`: seconds since 1970; the certificate is valid from five minutes earlier, for peers
/// whose clocks are late, and for `valid_s` from now. Errors: invalid (name, times), internal.
Result<NewIdentity> make_identity(const std::string& name, int64_t now_s, int64_t valid_s);

/// Writes both files, the key readable by its owner only; on an error neither is left behind. Existing ones are an error and
/// stay as they are. Errors: invalid (exists, cannot be written; system_error() tells which).
Status write_identity(const NewIdentity& identity, const std::string& key_file, const std::string& certificate_file);

/// Of the first certificate in a PEM text. `file` is for messages. Errors: invalid.
Result<Fingerprint> fingerprint_of_certificate(const std::string& pem, const std::string& file);

}  // namespace haul::security
