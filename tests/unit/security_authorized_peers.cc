// The file of authorized peers: what it can say, and how its faults are told.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "security/authorized_peers.h"

namespace haul::security {
namespace {

std::string fingerprint(char digit) { return "sha256:" + std::string(64, digit); }

AuthorizedPeers good(const std::string& text) {
  auto parsed = AuthorizedPeers::parse(text, "peers");
  INFO(parsed.status().to_string());
  REQUIRE(parsed.ok());
  return std::move(*parsed);
}

std::string error_of(const std::string& text) {
  const auto parsed = AuthorizedPeers::parse(text, "peers");
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.status().code() == StatusCode::invalid);
  return std::string(parsed.status().message());
}

TEST_CASE("a file of every kind of line", "[security][authorized_peers]") {
  const auto peers = good(
      "# name  identity  what\n"
      "\n"
      "alice " +
      fingerprint('1') +
      " push=/incoming pull   # a comment\n"
      "\tbob\t" +
      fingerprint('2') +
      "\tpull=/models expires=2027-06-30\r\n"
      "carol ca push pull\n"
      "  \t \r\n"
      "* ca pull=/public\n"
      "mallory " +
      fingerprint('a') +
      " revoked push\n"
      "a-_.@9 " +
      fingerprint('b') + " pull=/a#b pull=/c run-job2=/x/y/");
  REQUIRE(peers.all().size() == 6);
  const auto& alice = peers.all()[0];
  CHECK(alice.name == "alice");
  CHECK(alice.line == 3);
  REQUIRE(alice.fingerprint);
  CHECK(alice.fingerprint->to_string() == fingerprint('1'));
  CHECK(alice.permissions == std::vector<Permission>{{"push", "/incoming"}, {"pull", ""}});
  CHECK_FALSE(alice.revoked);
  CHECK_FALSE(alice.expires_at_s);
  const auto& bob = peers.all()[1];
  CHECK(bob.line == 4);
  CHECK(bob.permissions == std::vector<Permission>{{"pull", "/models"}});
  CHECK(bob.expires_at_s == 1814400000);  // date -u -d 2027-07-01 +%s
  const auto& carol = peers.all()[2];
  CHECK(carol.name == "carol");
  CHECK_FALSE(carol.fingerprint);
  CHECK(peers.all()[3].name == "*");
  CHECK(peers.all()[3].line == 7);
  const auto& mallory = peers.all()[4];
  CHECK(mallory.revoked);
  CHECK(mallory.permissions.size() == 1);
  const auto& last = peers.all()[5];
  CHECK(last.name == "a-_.@9");
  CHECK(last.permissions == std::vector<Permission>{{"pull", "/a#b"}, {"pull", "/c"}, {"run-job2", "/x/y"}});
}

TEST_CASE("files that name nobody", "[security][authorized_peers]") {
  const std::string text = GENERATE("", "\n", "\r\n", "\n\n\n", "#", "# alice", "  # alice\n", " ", "\t");
  CHECK(good(text).all().empty());
}

TEST_CASE("peers are found by what they prove", "[security][authorized_peers]") {
  const auto peers =
      good("* ca\nalice " + fingerprint('1') + "\nalice " + fingerprint('2') + " pull\nalice ca push\neve ca revoked\n");
  const auto find = [&](char digit) { return peers.by_fingerprint(*Fingerprint::parse(fingerprint(digit))); };
  REQUIRE(find('1') != nullptr);
  CHECK(find('1')->line == 2);
  CHECK(find('1')->permissions.empty());
  REQUIRE(find('2') != nullptr);
  CHECK(find('2')->line == 3);
  CHECK(find('3') == nullptr);
  REQUIRE(peers.by_certified_name("alice") != nullptr);
  CHECK(peers.by_certified_name("alice")->line == 4);
  REQUIRE(peers.by_certified_name("eve") != nullptr);
  CHECK(peers.by_certified_name("eve")->revoked);
  for (const char* name : {"bob", "Alice", "", "*"}) {
    CAPTURE(name);
    REQUIRE(peers.by_certified_name(name) != nullptr);
    CHECK(peers.by_certified_name(name)->line == 1);
  }
  CHECK(good("alice " + fingerprint('1')).by_certified_name("alice") == nullptr);
}

TEST_CASE("everywhere and the root are one scope", "[security][authorized_peers]") {
  CHECK(good("alice ca push=/").all()[0].permissions == std::vector<Permission>{{"push", ""}});
  CHECK_THAT(error_of("alice ca push push=/"), Catch::Contains("already"));
}

TEST_CASE("a day of expiry means its end", "[security][authorized_peers]") {
  const auto [day, end_s] = GENERATE(table<std::string, int64_t>({
      {"1970-01-01", 86400},
      {"2024-02-29", 1709251200},
      {"2000-12-31", 978307200},
      {"9999-12-31", 253402300800},
      {"0001-01-01", -62135510400},
  }));
  CAPTURE(day);
  CHECK(good("alice ca expires=" + day).all()[0].expires_at_s == end_s);
}

TEST_CASE("faults are told with their line and how it should look", "[security][authorized_peers]") {
  const std::string one = fingerprint('1');
  const auto [line, why] = GENERATE_COPY(table<std::string, std::string>({
      {"alice", "has no identity: expected NAME sha256:"},
      {"alice # " + one, "has no identity"},
      {"al/ice ca", "\"al/ice\" cannot be a name: expected 1 to 64"},
      {"alice#x ca", "cannot be a name"},
      {"al\xc3\xa9 ca", "cannot be a name"},
      {"** ca", "cannot be a name"},
      {std::string(65, 'a') + " ca", "cannot be a name"},
      {"* " + one, "* stands only before ca"},
      {"alice md5:0123", "\"md5:0123\" is no identity: expected sha256: and 64"},
      {"alice CA", "is no identity"},
      {"alice push", "is no identity"},
      {"alice sha256:0123", "has 4 digits; expected"},
      {"alice " + one + "0", "has 65 digits"},
      {"alice ca Push", "\"Push\" is nothing that a peer may do: expected a verb"},
      {"alice ca 1push", "is nothing that a peer may do"},
      {"alice ca -push", "is nothing that a peer may do"},
      {"alice ca pu_sh", "is nothing that a peer may do"},
      {"alice ca =/x", "is nothing that a peer may do"},
      {"alice ca push,pull", "is nothing that a peer may do"},
      {"alice ca " + std::string(33, 'v'), "is nothing that a peer may do"},
      {"alice ca push=", "expected an absolute path"},
      {"alice ca push=models", "expected an absolute path without empty, . and .. parts, as in push=/models/llama"},
      {"alice ca push=/a/../b", "expected an absolute path"},
      {"alice ca push=/..", "expected an absolute path"},
      {"alice ca push=/../", "expected an absolute path"},
      {"alice ca push=/a/./b", "expected an absolute path"},
      {"alice ca push=//", "expected an absolute path"},
      {"alice ca push=/a//b", "expected an absolute path"},
      {"alice ca push=/a//", "expected an absolute path"},
      {"alice ca push push", "has this permission already"},
      {"alice ca push=/a pull push=/a", "has this permission already"},
      {"alice ca push=/a push=/a/", "has this permission already"},
      {"alice ca expires", "expected the last day, as in expires=2027-06-30"},
      {"alice ca expires=", "expected the last day"},
      {"alice ca expires=2027-02-29", "expected the last day"},
      {"alice ca expires=2027-13-01", "expected the last day"},
      {"alice ca expires=2027-00-01", "expected the last day"},
      {"alice ca expires=2027-6-30", "expected the last day"},
      {"alice ca expires=20270630", "expected the last day"},
      {"alice ca expires=2027-06-3x", "expected the last day"},
      {"alice ca expires=-027-06-30", "expected the last day"},
      {"alice ca expires=2027-06-30T00:00", "expected the last day"},
      {"alice ca expires=2027-06-30 expires=2027-06-30", "keep one"},
      {"alice ca revoked=yes", "expected the word revoked alone"},
      {"alice ca revoked revoked", "expected the word revoked alone, once"},
      {std::string("alice ca push\0", 14), "byte 14 of the line is the control character 0x00"},
      {"# \x1b[2J", "control character 0x1b"},
      {"alice ca\rpush", "control character 0x0d"},
      {"alice ca push\r\r", "control character 0x0d"},
      {"alice ca \x7f", "control character 0x7f"},
      {"alice ca push=/" + std::string(4096, 'x'), "the line has 4111 bytes, more than 4096"},
      {"#" + std::string(4096, 'x'), "more than 4096"},
      {"first ca", "stands in line 1 already"},
      {"second " + fingerprint('f'), "stands in line 2 already"},
  }));
  const std::string before = "first ca pull\nother " + fingerprint('f') + "\n# comment\n\n";
  const std::string after = GENERATE("", "\n", "\r\n", "\nlater ca\n");
  CAPTURE(line, after);
  const std::string message = error_of(before + line + after);
  CHECK_THAT(message, Catch::StartsWith("peers:5: "));
  CHECK_THAT(message, Catch::Contains(why));
  for (const char c : message) CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
}

TEST_CASE("the limits are what is still accepted", "[security][authorized_peers]") {
  CHECK(good(std::string(64, 'a') + " ca " + std::string(32, 'v')).all().size() == 1);
  std::string line = "alice ca push=/";
  line += std::string(AuthorizedPeers::max_line_bytes - line.size(), 'x');
  CHECK(good(line + "\r\n" + "bob ca").all().size() == 2);
  std::string text(AuthorizedPeers::max_bytes, '\n');
  CHECK(good(text).all().empty());
  text += '\n';
  CHECK_THAT(error_of(text), Catch::StartsWith("peers: 4194305 bytes, more than 4194304"));
}

TEST_CASE("large files of distinct words are read in reasonable time", "[security][authorized_peers]") {
  std::string text;
  for (uint64_t peer = 0; text.size() < AuthorizedPeers::max_bytes - AuthorizedPeers::max_line_bytes - 1; ++peer) {
    std::string line = "p" + std::to_string(peer) + " ca";
    for (unsigned verb = 0; line.size() < AuthorizedPeers::max_line_bytes - 8; ++verb) {
      line += " a" + std::to_string(verb);
    }
    text += line + "\n";
  }
  CHECK(good(text).all().size() > 1000);
}

/// What parses has to keep what the rest of the program relies on.
void check_invariants(const AuthorizedPeers& peers) {
  for (const AuthorizedPeer& peer : peers.all()) {
    CHECK(!peer.name.empty());
    CHECK(peer.name.size() <= 64);
    CHECK((peer.name != "*" || !peer.fingerprint));
    for (const Permission& permission : peer.permissions) {
      CHECK(!permission.verb.empty());
      const PeerIdentity identity{peer.name, "x", {permission}};
      CHECK(identity.may(permission.verb, permission.scope.empty() ? "/" : permission.scope));
    }
  }
}

TEST_CASE("mangled files are refused or read, and never believed wrongly", "[security][authorized_peers]") {
  const std::string whole = "# comment\nalice " + fingerprint('1') + " push=/incoming/x pull\r\n* ca pull=/public # x\nbob " +
                            fingerprint('2') + " expires=2027-06-30 revoked\ncarol ca push\n";
  const std::string pieces = std::string("\0\n\r\t #=/.*-:cas09\x7f\xff", 20);
  base::Random random(5);
  int read = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole;
    for (uint64_t edits = 1 + random.below(4); edits > 0; --edits) {
      const size_t at = random.below(text.size());
      switch (random.below(4)) {
        case 0: text.erase(at, 1 + random.below(8)); break;
        case 1: text.insert(at, 1, pieces[random.below(pieces.size())]); break;
        case 2: text[at] = pieces[random.below(pieces.size())]; break;
        default: text.insert(at, text.substr(random.below(text.size()), random.below(40)));
      }
    }
    const auto parsed = AuthorizedPeers::parse(text, "peers");
    if (!parsed.ok()) continue;
    ++read;
    check_invariants(*parsed);
  }
  CHECK(read > 100);
}

}  // namespace
}  // namespace haul::security
