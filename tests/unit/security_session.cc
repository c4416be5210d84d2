// Handshakes between two sessions in memory: who is trusted, what the other side is told, which keys come out.
#include <array>
#include <catch2/catch.hpp>
#include <cstring>

#include "security/tls_session.h"
#include "unit/security_support.h"

namespace haul::security::test {
namespace {

// Hands whole records from one side to the other until nobody has anything to say.
struct Handshake {
  Handshake(std::shared_ptr<const SecurityContext> a, std::shared_ptr<const SecurityContext> b,
            Protection weakest_a = Protection::encrypted, Protection weakest_b = Protection::encrypted, std::string host = {})
      : dials(TlsSession::start(TlsSession::Role::dials, std::move(a), weakest_a, std::move(host)).value()),
        accepts(TlsSession::start(TlsSession::Role::accepts, std::move(b), weakest_b, {}).value()) {
    dial_status = dials->advance({});
    for (int turn = 0; turn < 10; ++turn) {
      const bool there = move(*dials, *accepts, accept_status);
      const bool back = move(*accepts, *dials, dial_status);
      if (!there && !back) break;
    }
  }

  static bool move(TlsSession& from, TlsSession& to, Status& outcome) {
    if (from.outgoing().empty() || !outcome.ok() || to.done()) return false;
    const std::vector<std::byte> bytes(from.outgoing().begin(), from.outgoing().end());
    from.take_outgoing();
    outcome = to.advance(bytes);
    return true;
  }

  bool agreed() const { return dial_status.ok() && accept_status.ok() && dials->done() && accepts->done(); }

  std::unique_ptr<TlsSession> dials;
  std::unique_ptr<TlsSession> accepts;
  Status dial_status;
  Status accept_status;
};

bool equal(const RecordKeys& a, const RecordKeys& b) {
  return a.cipher == b.cipher && a.key == b.key && a.iv == b.iv && a.sequence == b.sequence;
}

TEST_CASE("derived secrets are those of a key and a purpose", "[security]") {
  const Folder folder;
  const Party one(folder, "one");
  const Party other(folder, "other");
  const auto secret = one.context()->derive_secret("this");
  CHECK(one.context()->derive_secret("this") == secret);  // the files are read anew
  CHECK(one.context()->derive_secret("that") != secret);
  CHECK(other.context()->derive_secret("this") != secret);
  CHECK(secret != SecurityContext::DerivedSecret{});
}

}  // namespace

TEST_CASE("two parties that know each other agree, and get each other's keys", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob, "pull=/models");
  bob.knows(alice);
  const Handshake made(alice.context(), bob.context());
  INFO(made.dial_status.to_string() << " / " << made.accept_status.to_string());
  REQUIRE(made.agreed());
  CHECK(made.dials->peer().name == "bob");
  CHECK(made.dials->peer().fingerprint == bob.fingerprint.to_string());
  CHECK(made.dials->peer().may("pull", "/models/x"));
  CHECK_FALSE(made.dials->peer().may("push", "/models/x"));
  CHECK(made.accepts->peer().name == "alice");
  CHECK(made.dials->protection() == Protection::encrypted);
  for (const bool sending : {true, false}) {
    CHECK(equal(made.dials->keys(sending).value(), made.accepts->keys(!sending).value()));
    CHECK(equal(made.dials->integrity_keys(sending).value(), made.accepts->integrity_keys(!sending).value()));
    CHECK(made.dials->keys(sending).value().sequence == 0);
  }
  CHECK_FALSE(equal(made.dials->keys(true).value(), made.dials->keys(false).value()));
}

TEST_CASE("a link gets the stronger protection of what its sides accept", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob);
  bob.knows(alice);
  for (const auto a : {Protection::encrypted, Protection::integrity_only, Protection::plain}) {
    for (const auto b : {Protection::encrypted, Protection::integrity_only, Protection::plain}) {
      const Handshake made(alice.context(), bob.context(), a, b);
      REQUIRE(made.agreed());
      CHECK(made.dials->protection() == std::min(a, b));
      CHECK(made.accepts->protection() == std::min(a, b));
    }
  }
}

TEST_CASE("an unknown dialer is refused, and both sides say what to do", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob);
  Handshake made(alice.context(), bob.context());
  CHECK(made.accept_status.code() == StatusCode::refused);
  CHECK_THAT(std::string(made.accept_status.message()), Catch::Contains(alice.fingerprint.to_string()));
  CHECK_THAT(std::string(made.accept_status.message()), Catch::Contains(bob.files.authorized_peers_file));
  // The dialer is done before the other side judged it: it learns by an alert instead of data.
  REQUIRE(made.dials->done());
  const auto refused = std::vector<std::byte>(made.accepts->outgoing().begin(), made.accepts->outgoing().end());
  REQUIRE(record_size(refused).value() == refused.size());
  auto opener = RecordCipher::make(made.dials->keys(false).value(), Protection::encrypted).value();
  std::vector<std::byte> content(refused.size());
  const auto opened = opener.open(refused, content);
  INFO(opened.status().to_string());
  REQUIRE(opened.ok());
  CHECK(opened->type == ContentType::alert);
  const Status told = TlsSession::alert_status(std::span(content).first(opened->bytes), *alice.context());
  CHECK(told.code() == StatusCode::refused);
  CHECK_THAT(std::string(told.message()), Catch::Contains(alice.fingerprint.to_string()));
  CHECK_THAT(std::string(told.message()), Catch::Contains("authorized_peers"));
}

TEST_CASE("an unknown acceptor is refused, and both sides say what to do", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  bob.knows(alice);
  const Handshake made(alice.context(), bob.context());
  CHECK(made.dial_status.code() == StatusCode::refused);
  CHECK_THAT(std::string(made.dial_status.message()), Catch::Contains(bob.fingerprint.to_string()));
  CHECK_THAT(std::string(made.dial_status.message()), Catch::Contains(alice.files.authorized_peers_file));
  CHECK(made.accept_status.code() == StatusCode::refused);
  CHECK_THAT(std::string(made.accept_status.message()), Catch::Contains(bob.fingerprint.to_string()));
}

TEST_CASE("revoked, expired and not yet valid identities are refused", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob);
  const auto refusal = [&](const std::shared_ptr<const SecurityContext>& judge) {
    const Handshake made(alice.context(), judge);
    CHECK(made.accept_status.code() == StatusCode::refused);
    return std::string(made.accept_status.message());
  };
  bob.knows(alice, "revoked");
  CHECK_THAT(refusal(bob.context()), Catch::Contains("revoked"));
  bob.knows(alice, "push expires=2020-01-01");
  CHECK_THAT(refusal(bob.context()), Catch::Contains("expired"));
  bob.knows(alice);
  CHECK_THAT(refusal(bob.context([] { return today_s() + 3650 * day_s; })), Catch::Contains("expired"));
  CHECK_THAT(refusal(bob.context([] { return today_s() - 30 * day_s; })), Catch::Contains("clock"));
}

TEST_CASE("a revocation counts for the next handshake, and a broken file lets nobody in", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob);
  bob.knows(alice);
  const auto judge = bob.context();
  CHECK(Handshake(alice.context(), judge).agreed());
  bob.knows(alice, "revoked");
  CHECK_FALSE(Handshake(alice.context(), judge).agreed());
  bob.knows("nonsense\n");
  const Handshake made(alice.context(), judge);
  CHECK_THAT(std::string(made.accept_status.message()), Catch::Contains("bob.peers:1"));
  bob.knows(alice);
  CHECK(Handshake(alice.context(), judge).agreed());
}

TEST_CASE("credentials that do not belong together are refused by name", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  const auto message = [](const Credentials& files) {
    const auto loaded = SecurityContext::load(files);
    CHECK_FALSE(loaded.ok());
    CHECK(loaded.status().code() == StatusCode::invalid);
    return std::string(loaded.status().message());
  };
  Credentials files = alice.files;
  files.key_file = bob.files.key_file;
  CHECK_THAT(message(files), Catch::Contains(bob.files.key_file));
  files = alice.files;
  files.certificate_file = folder.file("missing");
  CHECK_THAT(message(files), Catch::Contains("missing"));
  files = alice.files;
  folder.write("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  files.certificate_file = folder.file("garbage");
  CHECK_THAT(message(files), Catch::Contains("garbage"));
  files = alice.files;
  files.authorized_peers_file.clear();
  CHECK_THAT(message(files), Catch::Contains("authorized_peers_file"));
  files = alice.files;
  files.ca_file = folder.file("garbage");
  CHECK_THAT(message(files), Catch::Contains("garbage"));
}

TEST_CASE("an alert of any number ends the handshake with words", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  for (int alert = 0; alert < 256; ++alert) {
    const auto session = TlsSession::start(TlsSession::Role::accepts, alice.context(), Protection::encrypted, {}).value();
    const std::array<std::byte, 7> record{
        std::byte{21}, std::byte{3}, std::byte{3}, std::byte{0}, std::byte{2}, std::byte{2}, static_cast<std::byte>(alert)};
    const Status status = session->advance(record);
    CAPTURE(alert);
    CHECK_FALSE(status.ok());
    CHECK_FALSE(status.message().empty());
  }
}

TEST_CASE("what is no handshake fails, at every length", "[security]") {
  const Folder folder;
  const Party alice(folder, "alice");
  for (const size_t bytes : {1UL, 5UL, 6UL, 100UL, 16384UL}) {
    const auto session = TlsSession::start(TlsSession::Role::accepts, alice.context(), Protection::encrypted, {}).value();
    std::vector<std::byte> noise(bytes, std::byte{0x16});
    const Status status = session->advance(noise);
    CHECK_FALSE(session->done());
    if (bytes > 5) CHECK_FALSE(status.ok());
  }
}

}  // namespace haul::security::test
