// The kernel's TLS against the library's records, cipher by cipher. Hidden: tests/guest runs these where the kernel has TLS.
#include <array>
#include <cerrno>

#include "security/records.h"
#include "tcp/ktls.h"
#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;

namespace {

security::RecordKeys keys_of(security::Cipher cipher, uint64_t seed, uint64_t sequence) {
  security::RecordKeys keys;
  keys.cipher = cipher;
  base::Random random(seed);
  random.fill(keys.key);
  random.fill(keys.iv);
  keys.sequence = sequence;
  return keys;
}

security::RecordCipher cipher_of(const security::RecordKeys& keys) {
  auto made = security::RecordCipher::make(keys, Protection::encrypted);
  REQUIRE(made.ok());
  return std::move(*made);
}

std::vector<std::byte> sealed(security::RecordCipher& cipher, std::vector<std::byte> content) {
  std::vector<std::byte> record(content.size() + security::record_overhead_bytes);
  const iovec part{content.data(), content.size()};
  REQUIRE(cipher.seal(std::span(&part, 1), record).ok());
  return record;
}

std::vector<std::byte> random_bytes(size_t bytes, uint64_t seed) {
  std::vector<std::byte> made(bytes);
  base::Random(seed).fill(made);
  return made;
}

/// Two ends of a connection: one of the kernel's TLS, one that carries the bytes of the wire.
struct Wire {
  Address address;
  RawSocket listening = RawSocket::listen_on_loopback(address);
  RawSocket kernel = RawSocket::connect_to(address);
  RawSocket plain = listening.accept_one();
};

constexpr auto both = {security::Cipher::aes_128_gcm, security::Cipher::aes_256_gcm};
// The counter's upper bytes count too.
constexpr uint64_t late_sequence = 0x0102030405060708;

}  // namespace

TEST_CASE("kernel tls: what the kernel seals the library opens, and the other way round", "[.kernel-tls]") {
  for (const auto cipher : both) {
    CAPTURE(security::to_string(cipher));
    const auto sends = keys_of(cipher, 1, late_sequence);
    const auto receives = keys_of(cipher, 2, 3);
    Wire wire;
    const Status used = tcp::use_kernel_tls(wire.kernel.fd(), sends, receives);
    INFO(used.to_string());
    REQUIRE(used.ok());
    auto opener = cipher_of(sends);
    auto sealer = cipher_of(receives);
    for (const size_t bytes : {1U, 100U, 16384U}) {
      CAPTURE(bytes);
      const auto content = random_bytes(bytes, bytes);
      REQUIRE(wire.kernel.send(content));
      const auto record = wire.plain.receive(bytes + security::record_overhead_bytes);
      REQUIRE(record.size() == bytes + security::record_overhead_bytes);
      std::vector<std::byte> opened(bytes + 1);
      const auto result = opener.open(record, opened);
      INFO(result.status().to_string());
      REQUIRE(result.ok());
      opened.resize(result->bytes);
      CHECK(opened == content);
      REQUIRE(wire.plain.send(sealed(sealer, content)));
      CHECK(wire.kernel.receive(bytes) == content);
    }
  }
}

TEST_CASE("kernel tls: what came before the keys is opened with them", "[.kernel-tls]") {
  const auto keys = keys_of(security::Cipher::aes_128_gcm, 1, 0);
  auto sealer = cipher_of(keys);
  Wire wire;
  const auto content = random_bytes(50000, 1);
  for (size_t at = 0; at < content.size(); at += 10000) {
    REQUIRE(wire.plain.send(
        sealed(sealer, {content.begin() + static_cast<ptrdiff_t>(at), content.begin() + static_cast<ptrdiff_t>(at) + 10000})));
  }
  REQUIRE(tcp::use_kernel_tls(wire.kernel.fd(), keys, keys).ok());
  CHECK(wire.kernel.receive(content.size()) == content);
}

TEST_CASE("kernel tls: an altered record is named as such, whichever byte it was", "[.kernel-tls]") {
  const auto keys = keys_of(security::Cipher::aes_128_gcm, 1, 0);
  constexpr size_t content_bytes = 1000;
  constexpr size_t last = content_bytes + security::record_overhead_bytes - 1;
  // Not the very first: the kernel ignores the outer content type, and takes the one that was sealed with the content.
  for (const size_t at : {size_t{1}, size_t{3}, size_t{5}, size_t{500}, last}) {
    CAPTURE(at);
    Wire wire;
    REQUIRE(tcp::use_kernel_tls(wire.kernel.fd(), keys, keys).ok());
    auto sealer = cipher_of(keys);
    auto record = sealed(sealer, random_bytes(content_bytes, 1));
    record[at] ^= std::byte{0x80};
    REQUIRE(wire.plain.send(record));
    std::array<std::byte, content_bytes> got{};
    CHECK(recv(wire.kernel.fd(), got.data(), got.size(), 0) < 0);
    const Status why = tcp::kernel_tls_failure(errno);
    INFO(why.to_string());
    CHECK(why.code() == StatusCode::protocol);
    CHECK(why.message().find("altered") != std::string_view::npos);
  }
}

TEST_CASE("kernel tls: other errors are a lost peer", "[tcp]") {
  CHECK(tcp::kernel_tls_failure(EIO).code() == StatusCode::peer_lost);
  CHECK(tcp::kernel_tls_failure(ECONNRESET).code() == StatusCode::peer_lost);
  CHECK(tcp::kernel_tls_failure(ECONNRESET).message().find("reset") != std::string_view::npos);
}

TEST_CASE("kernel tls: a cipher that is left to the library leaves the socket as it was", "[tcp]") {
  const auto keys = keys_of(security::Cipher::chacha20_poly1305, 1, 0);
  Wire wire;
  CHECK(tcp::use_kernel_tls(wire.kernel.fd(), keys, keys).code() == StatusCode::unsupported);
  const auto content = random_bytes(1000, 1);
  REQUIRE(wire.kernel.send(content));
  CHECK(wire.plain.receive(content.size()) == content);
}
