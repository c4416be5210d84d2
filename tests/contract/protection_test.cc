// Contract of protected lanes: which protection is in force, keys that are renewed, bytes that are altered on the way.
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <fstream>
#include <map>

#include "contract/fixture.h"
#include "unit/tcp_support.h"

namespace haul::contract {
namespace {

#define HAUL_EVERY_PROTECTION TcpEncryptedHarness, TcpIntegrityHarness, TcpKernelTlsHarness, TcpHalfKernelTlsHarness

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// Who seals a peer's first lane, as the library tells it.
bool by_kernel(const Peer& peer) { return has(peer.stats().lanes.at(0).description, "TLS 1.3 AES-128-GCM by the kernel"); }
bool by_library(const Peer& peer) {
  const std::string description = peer.stats().lanes.at(0).description;
  return has(description, "TLS 1.3 AES-128-GCM by the library (kernel TLS: switched off)");
}
bool integrity_only(const Peer& peer) { return has(peer.stats().lanes.at(0).description, "integrity only (GMAC)"); }

/// The kernel's own counters: sockets that send and receive by its TLS at the moment, records that failed since it started.
std::map<std::string, uint64_t> kernel_counters() {
  std::ifstream file("/proc/net/tls_stat");
  REQUIRE(file);
  std::map<std::string, uint64_t> counters;
  std::string name;
  uint64_t value = 0;
  while (file >> name >> value) counters[name] = value;
  return counters;
}

void check_put_and_get(Harness& harness, Pair& pair, uint64_t bytes, uint64_t seed) {
  const Buffer source = allocate_filled(pair.a, bytes, seed);
  const Buffer target = allocate(pair.b, bytes);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  TransferOptions options;
  options.notify = bytes_of("all there");
  const size_t letters = pair.b.inbox.letters.size();
  finish_ok(harness, pair.to_b.put(source.slice(), remote.slice(), options));
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == letters + 1; }));
  CHECK(same(source.bytes(), target.bytes()));
  const Buffer back = allocate(pair.a, bytes);
  finish_ok(harness, pair.to_b.get(back.slice(), remote.slice()));
  CHECK(same(back.bytes(), source.bytes()));
}

TEST_CASE("the library's protection is named by both sides", "[contract][protection]") {
  TcpEncryptedHarness encrypted;
  const Pair pair = encrypted.connected_pair();
  CHECK(by_library(pair.to_b));
  CHECK(by_library(pair.to_a));
  TcpIntegrityHarness integrity;
  const Pair other = integrity.connected_pair();
  CHECK(integrity_only(other.to_b));
  CHECK(integrity_only(other.to_a));
}

TEMPLATE_TEST_CASE("keys are renewed under transfers by lanes that replace each other", "[contract][protection]",
                   HAUL_EVERY_PROTECTION) {
  TestType harness;
  harness.transport_options().renew_keys_after_bytes = 1U << 20;
  Pair pair = harness.connected_pair();
  uint32_t newest_lane = 0;
  for (uint64_t round = 0; round < 100 && newest_lane < 4; ++round) {
    CAPTURE(round);
    check_put_and_get(harness, pair, 1'200'000, round);
    for (const LaneStats& lane : pair.to_b.stats().lanes) newest_lane = std::max(newest_lane, lane.lane);
  }
  CHECK(newest_lane >= 4);
  // Those that were replaced go.
  CHECK(harness.run([&] { return pair.to_b.stats().lanes.size() <= 3 && pair.to_a.stats().lanes.size() <= 3; }));
  CHECK(pair.a.inbox.closed.empty());
  CHECK(pair.b.inbox.closed.empty());
}

TEMPLATE_TEST_CASE("the kernel seals and opens what both sides send", "[contract][protection]", TcpKernelTlsHarness) {
  const auto before = kernel_counters();
  TestType harness;
  Pair pair = harness.connected_pair();
  CHECK(by_kernel(pair.to_b));
  CHECK(by_kernel(pair.to_a));
  CHECK(has(pair.a->explain() + pair.to_b.explain(), "by the kernel"));
  auto counters = kernel_counters();
  CHECK(counters["TlsCurrTxSw"] == before.at("TlsCurrTxSw") + 2);
  CHECK(counters["TlsCurrRxSw"] == before.at("TlsCurrRxSw") + 2);
  check_put_and_get(harness, pair, 3'000'000, 1);
  CHECK(kernel_counters()["TlsDecryptError"] == before.at("TlsDecryptError"));
}

TEMPLATE_TEST_CASE("the kernel on one side and the library on the other understand each other", "[contract][protection]",
                   TcpHalfKernelTlsHarness) {
  TestType harness;
  Pair pair = harness.connected_pair();
  CHECK(by_kernel(pair.to_b) != by_kernel(pair.to_a));
  CHECK(by_library(pair.to_b) != by_library(pair.to_a));
  check_put_and_get(harness, pair, 3'000'000, 1);
  Pair reversed = harness.connect(pair.b, pair.a);
  check_put_and_get(harness, reversed, 3'000'000, 2);
}

TEMPLATE_TEST_CASE("with integrity only the kernel is not asked", "[contract][protection]", TcpKernelTlsHarness) {
  TestType harness(tcp::Io::epoll, Protection::integrity_only);
  const auto before = kernel_counters();
  Pair pair = harness.connected_pair();
  CHECK(integrity_only(pair.to_b));
  CHECK(integrity_only(pair.to_a));
  CHECK(kernel_counters()["TlsCurrTxSw"] == before.at("TlsCurrTxSw"));
  check_put_and_get(harness, pair, 1'000'000, 1);
}

/// Passes one connection on, and flips a bit of a byte that the side that dials sends.
class Meddler {
 public:
  Meddler(const Address& target, uint64_t at) : target_(target), at_(at) { listening_.emplace(listen()); }
  Address address;

  /// Moves what there is. Called between polls of the engines.
  void step() {
    if (!ends_[0] && !listening_->readable()) return;
    if (!ends_[0]) {
      ends_[0].emplace(listening_->accept_one());
      ends_[1].emplace(tcp::test::RawSocket::connect_to(target_));
    }
    for (const size_t from : {0U, 1U}) pass(from);
  }
  bool flipped() const { return passed_ > at_; }

 private:
  tcp::test::RawSocket listen() { return tcp::test::RawSocket::listen_on_loopback(address); }
  void pass(size_t from) {
    std::array<std::byte, 4096> block{};
    const ssize_t got = ::recv(ends_[from]->fd(), block.data(), block.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) ::shutdown(ends_[1 - from]->fd(), SHUT_WR);
    if (got <= 0) return;
    const auto bytes = static_cast<uint64_t>(got);
    if (from == 0 && passed_ <= at_ && passed_ + bytes > at_) block[at_ - passed_] ^= std::byte{1};
    if (from == 0) passed_ += bytes;
    ends_[1 - from]->send(std::span<const std::byte>(block).first(bytes));
  }

  Address target_;
  uint64_t at_;
  uint64_t passed_ = 0;
  std::optional<tcp::test::RawSocket> listening_;
  std::array<std::optional<tcp::test::RawSocket>, 2> ends_;
};

TEMPLATE_TEST_CASE("who receives altered records says that they were altered", "[contract][protection]", TcpEncryptedHarness,
                   TcpIntegrityHarness, TcpKernelTlsHarness) {
  TestType harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  constexpr uint64_t well_behind_the_handshake = 200'000;
  Meddler meddler(b.address, well_behind_the_handshake);
  bool ready = false;
  PeerOptions peer_options;
  peer_options.on_ready = [&ready](Peer, const Status& status) { ready = status.ok(); };
  Peer to_b = a->connect(meddler.address, std::move(peer_options)).value();
  const auto run = [&](const std::function<bool()>& until) {
    return harness.run([&] {
      meddler.step();
      return until();
    });
  };
  REQUIRE(run([&] { return ready && b.inbox.arrived.size() == 1; }));
  const Buffer source = allocate_filled(a, 1'000'000, 1);
  const Buffer target = allocate(b, 1'000'000);
  const RemoteBuffer remote = grant(b.inbox.arrived[0], target.slice());
  const Transfer put = to_b.put(source.slice(), remote.slice());
  REQUIRE(run([&] { return put.done() && !b.inbox.closed.empty(); }));
  CHECK(meddler.flipped());
  CHECK_FALSE(put.status().ok());
  const Status& why = b.inbox.closed[0].second;
  INFO(why.to_string());
  CHECK(why.code() == StatusCode::protocol);
  CHECK(has(std::string(why.message()), "altered"));
}

}  // namespace
}  // namespace haul::contract
