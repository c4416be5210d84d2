// Texts from users, files and peers: addresses, URLs, names of files, authorized_peers.
#include <algorithm>
#include <string>

#include "fuzz/targets.h"
#include "haul/address.h"
#include "object/failure.h"
#include "object/names.h"
#include "object/url.h"
#include "security/authorized_peers.h"
#include "security/peer_name.h"

namespace haul::fuzz {

void address_run(std::span<const std::byte> input) {
  const auto parsed = Address::parse(to_text(input));
  if (!parsed.ok()) return;
  static_cast<void>(parsed->is_loopback());
  const auto again = Address::parse(parsed->to_string());
  require(again.ok() && *again == *parsed, "an address that was parsed is not what its text says");
}

void address_seeds(const SeedSink& sink) {
  sink("name", to_bytes("node-7.rack2.example:7440"));
  sink("v4", to_bytes("127.0.0.1:65535"));
  sink("v6", to_bytes("[::1]:7440"));
  sink("scope", to_bytes("[fe80::1%eth0]:1"));
  sink("mapped", to_bytes("[::ffff:127.0.0.1]:1"));
  sink("any", to_bytes(":0"));
  sink("bare-v6", to_bytes("::1:80"));
  sink("open", to_bytes("[::1"));
  sink("large-port", to_bytes("a:65536"));
}

void url_run(std::span<const std::byte> input) {
  const std::string_view text = to_text(input);
  const auto parsed = object::parse_url(text);
  require(!parsed.ok() || object::looks_like_url(text), "a URL that does not look like one was parsed");
  if (!parsed.ok()) return;
  const auto again = object::parse_url(parsed->to_string());
  const bool equal = again.ok() && again->address == parsed->address && again->path == parsed->path;
  require(equal && again->folder == parsed->folder, "a URL that was parsed is not what its text says");
}

void url_seeds(const SeedSink& sink) {
  sink("file", to_bytes("haul://127.0.0.1:7440/models/llama-2/model-00001.safetensors"));
  sink("folder", to_bytes("haul://hub-a.example:7000/models/"));
  sink("root", to_bytes("haul://[::1]:7440"));
  sink("escaped", to_bytes("haul://a:1/with%20space/100%25/x"));
  sink("slashes", to_bytes("haul://a:1///b//c//"));
  sink("bad-escape", to_bytes("haul://a:1/%4"));
  sink("nul", to_bytes("haul://a:1/%00"));
}

void file_name_run(std::span<const std::byte> input) {
  const std::string_view name = to_text(input);
  static_cast<void>(object::printable(name));
  const bool good = object::name_fault(name).empty();
  const auto [folder, last] = object::split(name);
  if (!good) return;
  require(object::join(folder, last) == name, "a name is not its folder and its last component");
  require(name.size() <= object::max_path_bytes, "a name that is too long is accepted");
  require(name.find('\0') == std::string_view::npos, "a name with a NUL is accepted");
  const std::string inside = "/" + std::string(name) + "/";
  const bool climbs = inside.find("/../") != std::string::npos || inside.find("/./") != std::string::npos;
  require(name.empty() || !climbs, "a name that leads out of its folder is accepted");
  require(name.empty() || inside.find("//") == std::string::npos, "a name with an empty component is accepted");
}

void file_name_seeds(const SeedSink& sink) {
  sink("file", to_bytes("models/llama-2/model-00001-of-00002.safetensors"));
  sink("climbs", to_bytes("a/../../etc/passwd"));
  sink("dot", to_bytes("a/./b"));
  sink("absolute", to_bytes("/etc/passwd"));
  sink("empty-component", to_bytes("a//b"));
  sink("temporary", to_bytes("a/" + object::temporary_name(0x0123456789abcdef)));
  sink("long-component", to_bytes(std::string(256, 'a')));
  sink("bytes", to_bytes("\xff\xfe/\x01\x1b[31m"));
}

namespace {

void check_peer(const security::AuthorizedPeers& peers, const security::AuthorizedPeer& peer) {
  require(peer.name == "*" || security::is_peer_name(peer.name), "a peer has a name that none can have");
  require(peer.name != "*" || !peer.fingerprint, "a fingerprint belongs to nobody in particular");
  if (!peer.fingerprint) {
    require(peers.by_certified_name(peer.name) == &peer, "a peer is not found by its certified name");
    return;
  }
  require(peers.by_fingerprint(*peer.fingerprint) == &peer, "a peer is not found by its fingerprint");
  const auto again = security::Fingerprint::parse(peer.fingerprint->to_string());
  require(again.ok() && *again == *peer.fingerprint, "a fingerprint is not what its text says");
}

}  // namespace

void authorized_peers_run(std::span<const std::byte> input) {
  const std::string_view text = to_text(input);
  const auto parsed = security::AuthorizedPeers::parse(text, "peers");
  if (!parsed.ok()) {
    require(parsed.status().message().starts_with("peers"), "a message does not name the file");
    return;
  }
  for (const auto& peer : parsed->all()) {
    check_peer(*parsed, peer);
    PeerIdentity identity{.name = peer.name, .fingerprint = "sha256:", .permissions = peer.permissions};
    for (const Permission& permission : peer.permissions) {
      const std::string place = permission.scope.empty() ? "/" : permission.scope;
      require(identity.may(permission.verb, place), "a permission does not cover its own place");
      const std::string other = permission.verb + "x";
      const bool other_too = std::any_of(peer.permissions.begin(), peer.permissions.end(),
                                         [&](const Permission& one) { return one.verb == other; });
      require(other_too || !identity.may(other, place), "a permission covers another verb");
    }
  }
}

void authorized_peers_seeds(const SeedSink& sink) {
  const std::string first = "sha256:" + std::string(64, '0');
  const std::string second = "sha256:" + std::string(32, 'a') + std::string(32, 'B');
  sink("two", to_bytes("# name identity what\nalice " + first + " push=/incoming pull\nbob " + second +
                       " pull=/models expires=2027-06-30\r\n"));
  sink("authority", to_bytes("carol ca push pull\n*\tca pull=/public # everyone\n"));
  sink("revoked", to_bytes("mallory " + first + " revoked\n"));
  sink("twice", to_bytes("a " + first + "\nb " + first + "\n"));
  sink("short-fingerprint", to_bytes("a sha256:0123\n"));
  sink("bad-day", to_bytes("a " + first + " expires=2027-02-30\n"));
  sink("relative", to_bytes("a " + first + " push=models\n"));
  sink("control", to_bytes("a\x01 " + first + "\n"));
  sink("everywhere", to_bytes("a " + first + " push=/\n"));
}

}  // namespace haul::fuzz
