// What a peer may do.
#include <catch2/catch.hpp>
#include <string>

#include "haul/credentials.h"

namespace haul {
namespace {

PeerIdentity with(std::vector<Permission> permissions) { return {"alice", "sha256:00", std::move(permissions)}; }

TEST_CASE("a scope covers itself and what is below it", "[vocabulary][credentials]") {
  const auto peer = with({{"push", "/models"}});
  for (const char* path : {"/models", "/models/x", "/models/x/y.bin", "/models/..x", "/models/..."}) {
    CAPTURE(path);
    CHECK(peer.may("push", path));
    CHECK_FALSE(peer.may("pull", path));
  }
  for (const char* path : {"/", "/models2", "/model", "/Models", "/other", "/other/models"}) {
    CAPTURE(path);
    CHECK_FALSE(peer.may("push", path));
  }
  CHECK_FALSE(peer.may("push"));
}

TEST_CASE("without a scope, or with the root as scope, everything is covered", "[vocabulary][credentials]") {
  const std::string scope = GENERATE("", "/");
  const auto peer = with({{"pull", scope}});
  for (const char* path : {"/", "/x", "/x/y"}) CHECK(peer.may("pull", path));
  CHECK(peer.may("pull"));
  CHECK_FALSE(peer.may("pul"));
  CHECK_FALSE(peer.may("pulls"));
  CHECK_FALSE(peer.may(""));
}

TEST_CASE("paths that could mean another place are never covered", "[vocabulary][credentials]") {
  const std::string path =
      GENERATE("", "models", "models/x", "..", "/..", "/models/..", "/models/../etc", "/models/../models", "//", "//models",
               "/models//x", "/models/", "/models/./x", "/.", "/models/x/", "/models/x/..");
  CAPTURE(path);
  CHECK_FALSE(with({{"push", "/models"}}).may("push", path));
  CHECK_FALSE(with({{"push", ""}}).may("push", path));
  CHECK_FALSE(with({{"push", "/"}}).may("push", path));
}

TEST_CASE("scopes that are no normal paths cover nothing", "[vocabulary][credentials]") {
  const std::string scope = GENERATE("models", "/models/", "//models", "/x/../models", "/..", "//", "/./models", ".", "..");
  CAPTURE(scope);
  const auto peer = with({{"push", scope}});
  for (const char* path : {"/", "/models", "/models/x", "/x"}) CHECK_FALSE(peer.may("push", path));
  CHECK_FALSE(peer.may("push", scope));
}

TEST_CASE("one of several permissions is enough, and none is none", "[vocabulary][credentials]") {
  const auto peer = with({{"pull", "/a"}, {"push", "/b"}, {"pull", "/b/c"}});
  CHECK(peer.may("pull", "/a/x"));
  CHECK(peer.may("pull", "/b/c"));
  CHECK_FALSE(peer.may("pull", "/b"));
  CHECK(peer.may("push", "/b/c"));
  CHECK_FALSE(with({}).may("push"));
  CHECK_FALSE(PeerIdentity{}.may("push"));
  CHECK_FALSE(PeerIdentity{}.authenticated());
  CHECK(peer.authenticated());
}

TEST_CASE("credentials are empty until one file is named", "[vocabulary][credentials]") {
  CHECK(Credentials{}.empty());
  Credentials credentials;
  credentials.crl_file = "x";
  CHECK_FALSE(credentials.empty());
}

}  // namespace
}  // namespace haul
