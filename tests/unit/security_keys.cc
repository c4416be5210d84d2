// Keys and certificates: made, written, read back, and refused.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <string>

#include "security/authorized_peers.h"
#include "security/keys.h"
#include "security/peer_name.h"
#include "tests/object/temporary_folder.h"

namespace haul::security {
namespace {

using object_test::TemporaryFolder;

constexpr int64_t now_s = 1800000000;
constexpr int64_t year_s = 31536000;

NewIdentity identity(const std::string& name = "alice") {
  auto made = make_identity(name, now_s, year_s);
  INFO(made.status().to_string());
  REQUIRE(made.ok());
  return std::move(*made);
}

template <typename T>
void refused(const Result<T>& result, const std::string& why) {
  REQUIRE_FALSE(result.ok());
  CHECK(result.status().code() == StatusCode::invalid);
  CHECK_THAT(std::string(result.status().message()), Catch::Contains(why));
}

void refused(const Status& status, const std::string& why) {
  CHECK(status.code() == StatusCode::invalid);
  CHECK_THAT(std::string(status.message()), Catch::Contains(why));
}

mode_t mode_of(const std::filesystem::path& path) {
  struct stat found {};
  REQUIRE(stat(path.c_str(), &found) == 0);
  return found.st_mode & 07777U;
}

TEST_CASE("a new identity has a key, a certificate and a fingerprint of its own", "[security][keys]") {
  const NewIdentity a = identity();
  const NewIdentity b = identity();
  CHECK_THAT(a.key_pem, Catch::StartsWith("-----BEGIN PRIVATE KEY-----\n"));
  CHECK_THAT(a.certificate_pem, Catch::StartsWith("-----BEGIN CERTIFICATE-----\n"));
  CHECK(a.key_pem != b.key_pem);
  CHECK(a.fingerprint != b.fingerprint);
  const auto read = fingerprint_of_certificate(a.certificate_pem, "file");
  REQUIRE(read.ok());
  CHECK(*read == a.fingerprint);
  CHECK(*fingerprint_of_certificate(a.certificate_pem + b.certificate_pem, "file") == a.fingerprint);
  CHECK(*fingerprint_of_certificate("a comment\n" + a.certificate_pem, "file") == a.fingerprint);
}

TEST_CASE("a fingerprint is that of the public key in its standard form", "[security][keys]") {
  // Made by `openssl req -x509 -newkey ed25519`; the digits by `openssl pkey -pubin -outform DER | sha256sum`.
  const std::string pem = R"(-----BEGIN CERTIFICATE-----
MIIBOjCB7aADAgECAhQHfkKHGNqbUXueS0hzXWVrFkg+BzAFBgMrZXAwEjEQMA4G
A1UEAwwHZXhhbXBsZTAgFw0yNjExMjQwNTE4MDFaGA8yMTI2MTAzMTA1MTgwMVow
EjEQMA4GA1UEAwwHZXhhbXBsZTAqMAUGAytlcAMhAE9LbQT0T4LZZXiYKGCqp/0N
uTfe2vKairfdUofUy1ono1MwUTAdBgNVHQ4EFgQUhwkQWTRw0jzRzi0T0q65qDSe
Z+EwHwYDVR0jBBgwFoAUhwkQWTRw0jzRzi0T0q65qDSeZ+EwDwYDVR0TAQH/BAUw
AwEB/zAFBgMrZXADQQCkZT9h414Q8LTKa//bJ4ELMuN3wzl72/BWVmgBQinqKcyt
qibW6PbOo6e12yFviTfQIirDwVlU1V2rvSynxx4I
-----END CERTIFICATE-----
)";
  const auto found = fingerprint_of_certificate(pem, "file");
  INFO(found.status().to_string());
  REQUIRE(found.ok());
  CHECK(found->to_string() == "sha256:b4f292263a9d75aba8754548bf664ed096d666c8a15c3afdf26cabba373f306e");
}

TEST_CASE("names and times that no certificate has", "[security][keys]") {
  for (const char* name : {"", "*", "a b", "a/b", "\xc3\xa9", "a\n"})
    refused(make_identity(name, now_s, year_s), "cannot be a peer's name");
  refused(make_identity(std::string(65, 'a'), now_s, year_s), "1 to 64 letters");
  refused(make_identity("alice", now_s, 0), "valid for 0 s");
  refused(make_identity("alice", now_s, -1), "valid for -1 s");
  refused(make_identity("alice", now_s, INT64_MAX), "before the year 10000");
  refused(make_identity("alice", -1, year_s), "set the clock");
  refused(make_identity("alice", INT64_MAX, 1), "set the clock");
  CHECK(make_identity("alice", now_s, 253402300799 - now_s).ok());
  CHECK(make_identity(std::string(64, 'a'), now_s, year_s).ok());
  CHECK(make_identity("a_@-.", now_s, year_s).ok());
}

TEST_CASE("names that a certificate can carry as DNS names", "[security][keys]") {
  for (const char* name : {"a", "alice", "node-7.example.com", "7.example", "a1", "xn--bcher-kva.example"}) {
    CAPTURE(name);
    CHECK(is_dns_name(name));
  }
  for (const char* name : {"", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a@b", "10.0.0.1", "7", "*"}) {
    CAPTURE(name);
    CHECK_FALSE(is_dns_name(name));
  }
  CHECK(is_dns_name(std::string(63, 'a')));
  CHECK_FALSE(is_dns_name(std::string(64, 'a')));
}

TEST_CASE("what is no certificate is refused, with the file's name", "[security][keys]") {
  const NewIdentity made = identity();
  std::string damaged = made.certificate_pem;
  damaged[60] = damaged[60] == 'A' ? 'B' : 'A';
  const std::string begin = "-----BEGIN CERTIFICATE-----\n";
  const std::string end = "-----END CERTIFICATE-----\n";
  for (const std::string& text : {std::string(), std::string("hello"), made.key_pem, begin, begin + end, begin + "AAAA\n" + end,
                                  begin + "!\n" + end, made.certificate_pem.substr(0, 200), std::string(1000, '\0')}) {
    CAPTURE(text);
    refused(fingerprint_of_certificate(text, "some.crt"), "some.crt: ");
  }
  const auto other = fingerprint_of_certificate(damaged, "some.crt");
  if (!other.ok()) refused(other, "some.crt: ");
}

TEST_CASE("an identity is written for its owner and read back", "[security][keys]") {
  const TemporaryFolder folder;
  const NewIdentity made = identity();
  const std::string key = folder.path() / "haul.key";
  const std::string certificate = folder.path() / "haul.crt";
  const mode_t before = umask(0);
  const Status written = write_identity(made, key, certificate);
  umask(before);
  INFO(written.to_string());
  REQUIRE(written.ok());
  CHECK(mode_of(key) == 0600);
  CHECK(mode_of(certificate) == 0644);
  const auto key_text = read_private_file(key);
  REQUIRE(key_text.ok());
  CHECK(*key_text == made.key_pem);
  const auto certificate_text = read_text_file(certificate, 4096);
  REQUIRE(certificate_text.ok());
  CHECK(*certificate_text == made.certificate_pem);
}

TEST_CASE("existing files are kept, and half an identity is not left behind", "[security][keys]") {
  const TemporaryFolder folder;
  const NewIdentity made = identity();
  const std::string key = folder.path() / "haul.key";
  const std::string certificate = folder.path() / "haul.crt";
  SECTION("the key exists") {
    folder.write("haul.key", "mine");
    const Status written = write_identity(made, key, certificate);
    refused(written, key);
    CHECK(written.system_error() == EEXIST);
    CHECK(folder.read("haul.key") == "mine");
    CHECK_FALSE(folder.has("haul.crt"));
  }
  SECTION("the certificate exists") {
    folder.write("haul.crt", "mine");
    const Status written = write_identity(made, key, certificate);
    refused(written, certificate);
    CHECK(written.system_error() == EEXIST);
    CHECK(folder.read("haul.crt") == "mine");
    CHECK_FALSE(folder.has("haul.key"));
  }
  SECTION("the key is a link that leads nowhere") {
    std::filesystem::create_symlink("elsewhere", key);
    refused(write_identity(made, key, certificate), key);
    CHECK(folder.entries() == 1);
  }
  SECTION("both have one name") {
    refused(write_identity(made, key, key), key);
    CHECK(folder.entries() == 0);
  }
  SECTION("the folder is missing") {
    const Status written = write_identity(made, folder.path() / "missing/haul.key", certificate);
    refused(written, "check the folder");
    CHECK(written.system_error() == ENOENT);
    CHECK(folder.entries() == 0);
  }
  SECTION("the certificate's folder is missing") {
    refused(write_identity(made, key, folder.path() / "missing/haul.crt"), "missing/haul.crt");
    CHECK(folder.entries() == 0);
  }
}

TEST_CASE("a full disk leaves nothing behind", "[security][keys]") {
  const TemporaryFolder folder;
  const NewIdentity made = identity();
  const rlim_t limit = GENERATE(rlim_t{50}, rlim_t{300});  // within the key; within the certificate
  REQUIRE(made.key_pem.size() < 300);
  REQUIRE(made.certificate_pem.size() > 300);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = limit;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Status written = write_identity(made, folder.path() / "haul.key", folder.path() / "haul.crt");
  const bool restored = setrlimit(RLIMIT_FSIZE, &before) == 0;
  std::signal(SIGXFSZ, handler);
  REQUIRE(restored);
  CHECK(written.system_error() == EFBIG);
  refused(written, limit == 50 ? "haul.key" : "haul.crt");
  CHECK(folder.entries() == 0);
}

TEST_CASE("a private file that others can open is refused, with the remedy", "[security][keys]") {
  const TemporaryFolder folder;
  folder.write("key", "secret");
  const std::string path = folder.path() / "key";
  for (const mode_t mode : {0600U, 0400U, 0700U}) {
    CAPTURE(mode);
    REQUIRE(chmod(path.c_str(), mode) == 0);
    CHECK(read_private_file(path).ok());
  }
  for (const mode_t mode : {0640U, 0604U, 0644U, 0660U, 0620U, 0602U, 0777U}) {
    CAPTURE(mode);
    REQUIRE(chmod(path.c_str(), mode) == 0);
    refused(read_private_file(path), "chmod 600 " + path);
    CHECK(read_text_file(path, 100).ok());
  }
}

TEST_CASE("what is no file of a sensible size is refused", "[security][keys]") {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "file";
  refused(read_private_file(path), path);
  CHECK(read_private_file(path).status().system_error() == ENOENT);
  refused(read_text_file(path, 100), path);
  refused(read_private_file(folder.path()), "no regular file");
  refused(read_text_file(folder.path(), 100), "no regular file");
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  refused(read_private_file(path), "no regular file");
  refused(read_private_file("/dev/null"), "no regular file");
  REQUIRE(unlink(path.c_str()) == 0);

  folder.write("file", std::string(max_private_file_bytes, 'x'));
  REQUIRE(chmod(path.c_str(), 0600) == 0);
  REQUIRE(read_private_file(path).ok());
  CHECK(read_private_file(path)->size() == max_private_file_bytes);
  CHECK(read_text_file(path, max_private_file_bytes).ok());
  refused(read_text_file(path, max_private_file_bytes - 1), "larger than 65535 bytes");
  folder.write("file", std::string(max_private_file_bytes + 1, 'x'));
  refused(read_private_file(path), "larger than 65536 bytes");
  // Its size is given as zero.
  refused(read_text_file("/proc/self/maps", 100), "larger than 100 bytes");
  folder.write("file", "");
  CHECK(read_private_file(path)->empty());
}

TEST_CASE("what keygen tells the other side is a line of its file", "[security][keys]") {
  const NewIdentity made = identity("node-7@lab_1");
  const auto peers = AuthorizedPeers::parse("node-7@lab_1 " + made.fingerprint.to_string() + " push pull\n", "peers");
  REQUIRE(peers.ok());
  CHECK(peers->by_fingerprint(made.fingerprint) != nullptr);
}

}  // namespace
}  // namespace haul::security
