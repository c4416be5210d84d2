// Identities in files of a folder that goes with the test.
#pragma once

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "haul/credentials.h"
#include "security/context.h"
#include "security/keys.h"

namespace haul::security::test {

inline constexpr int64_t day_s = 86400;

inline int64_t today_s() { return static_cast<int64_t>(std::time(nullptr)); }

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "haul-security-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(file(name)) << text; }

 private:
  std::filesystem::path path_;
};

/// One party: a key, a certificate, and a list of whom it knows.
struct Party {
  Party(const Folder& folder, std::string name_of_it, int64_t begins_s = today_s(), int64_t valid_s = 365 * day_s)
      : name(std::move(name_of_it)), where(&folder) {
    auto made = make_identity(name, begins_s, valid_s);
    REQUIRE(made.ok());
    fingerprint = made->fingerprint;
    files = {.certificate_file = folder.file(name + ".crt"),
             .key_file = folder.file(name + ".key"),
             .authorized_peers_file = folder.file(name + ".peers"),
             .ca_file = {},
             .crl_file = {}};
    REQUIRE(write_identity(*made, files.key_file, files.certificate_file).ok());
    knows("");
  }
  void knows(const std::string& lines) const { where->write(name + ".peers", lines); }
  void knows(const Party& other, const std::string& what = "push pull") const {
    knows(other.name + " " + other.fingerprint.to_string() + " " + what + "\n");
  }
  std::shared_ptr<const SecurityContext> context(SecurityContext::WallClock clock = {}) const {
    auto loaded = SecurityContext::load(files, std::move(clock));
    INFO(loaded.status().to_string());
    REQUIRE(loaded.ok());
    return *loaded;
  }

  std::string name;
  const Folder* where;
  Fingerprint fingerprint;
  Credentials files;
};

}  // namespace haul::security::test
