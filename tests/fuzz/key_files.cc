// Key and certificate files, and certificates that peers show.
#include <array>

#include "fuzz/identities.h"
#include "fuzz/script.h"
#include "fuzz/targets.h"
#include "security/certificate.h"
#include "security/context.h"
#include "security/keys.h"

namespace haul::fuzz {

namespace {

// Made for this corpus; nobody trusts it.
constexpr std::string_view key_pem = R"(-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJR/Wyt6yUHRJrE2aMK69DaygjKmts63jyOcY+aeQI52
-----END PRIVATE KEY-----
)";
constexpr std::string_view certificate_pem = R"(-----BEGIN CERTIFICATE-----
MIIBRTCB+KADAgECAhRfohTWU5jstayyPpgcgcQV3B8tZjAFBgMrZXAwDzENMAsG
A1UEAwwEZnV6ejAgFw0yNjExMjcwMzQ2NTRaGA8yMTI2MTEwMzAzNDY1NFowDzEN
MAsGA1UEAwwEZnV6ejAqMAUGAytlcAMhALKmF/KZznFyJeI6lI9RKEUhbI98HmhE
F7hmt7U56fg1o2QwYjAdBgNVHQ4EFgQUCGVS4Fg7vmmhdNWjoqSLaomUHRwwHwYD
VR0jBBgwFoAUCGVS4Fg7vmmhdNWjoqSLaomUHRwwDwYDVR0TAQH/BAUwAwEB/zAP
BgNVHREECDAGggRmdXp6MAUGAytlcANBAIQ6dxJoIoXpC1maPkxs5sNFCoJeoWXq
bTpu5jn+0JL7OI/o4eB+w7E9S9fdjUQX4dHTTuoddpONWu2GBaKsMgM=
-----END CERTIFICATE-----
)";

void pem(std::span<const std::byte> input) {
  const std::string text(to_text(input));
  for (const auto& found : {security::fingerprint_of_private_key(text), security::fingerprint_of_certificate(text, "file")}) {
    if (!found.ok()) continue;
    const auto again = security::Fingerprint::parse(found->to_string());
    require(again.ok() && *again == *found, "a fingerprint is not what its text says");
  }
}

/// The input as each of an identity's files, with good ones in the other places.
void files(Script& script) {
  const size_t place = script.below(5);
  const std::string text(to_text(script.bytes(1U << 16U)));
  const MemoryFile odd(text);
  const MemoryFile key(key_pem);
  const MemoryFile certificate(certificate_pem);
  const MemoryFile peers("");
  Credentials credentials{.certificate_file = certificate.path(),
                          .key_file = key.path(),
                          .authorized_peers_file = peers.path(),
                          .ca_file = {},
                          .crl_file = {}};
  std::string* const places[] = {&credentials.certificate_file, &credentials.key_file, &credentials.authorized_peers_file,
                                 &credentials.ca_file, &credentials.crl_file};
  *places[place] = odd.path();
  const auto loaded = SecurityContext::load(credentials, [] { return int64_t{1'800'000'000}; });
  if (!loaded.ok()) require(!loaded.status().message().empty(), "files are refused without a word");
}

/// A chain of up to three certificates, as a peer shows it.
void shown(Script& script) {
  std::array<std::span<const std::byte>, 3> chain;
  const size_t count = script.below(chain.size() + 1);
  for (size_t i = 0; i < count; ++i) chain[i] = script.bytes(script.number16());
  const auto end = script.flag() ? SecurityContext::End::dialed : SecurityContext::End::connected_to_us;
  const auto verdict = identities().accepts->judge(std::span(chain).first(count), end, script.flag() ? "host" : "");
  require(!verdict.status.ok(), "a certificate that nobody made is trusted");
}

}  // namespace

void key_files_run(std::span<const std::byte> input) {
  Script script(input);
  switch (script.below(3)) {
    case 0: return pem(script.bytes(input.size()));
    case 1: return files(script);
    default: return shown(script);
  }
}

void key_files_seeds(const SeedSink& sink) {
  const auto put = [&sink](std::string_view name, std::initializer_list<uint8_t> lead, std::string_view text) {
    Bytes seed;
    for (const uint8_t byte : lead) seed.push_back(std::byte{byte});
    const Bytes rest = to_bytes(text);
    seed.insert(seed.end(), rest.begin(), rest.end());
    sink(name, seed);
  };
  put("key", {0}, key_pem);
  put("certificate", {0}, certificate_pem);
  put("own-certificate", {1, 0}, certificate_pem);
  put("own-key", {1, 1}, key_pem);
  put("key-as-certificate", {1, 0}, key_pem);
  put("authorized-peers", {1, 2}, "a sha256:0123\n");
  put("authority", {1, 3}, certificate_pem);
  put("revocations", {1, 4}, "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n");
  put("cut", {0}, certificate_pem.substr(0, certificate_pem.size() / 2));
  put("shown", {2, 1, 4, 0}, std::string_view("\x30\x02\x05\x00", 4));
}

}  // namespace haul::fuzz
