// Packets that belong to no connection: what they are, and what they are answered with.
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <array>

#include "quic/library.h"

namespace haul::quic {

namespace {

constexpr ngtcp2_duration token_valid_ns = 10 * NGTCP2_SECONDS;

const uint8_t* as_u8(std::string_view text) noexcept { return reinterpret_cast<const uint8_t*>(text.data()); }

size_t bytes_or_none(ngtcp2_ssize written) noexcept { return written > 0 ? static_cast<size_t>(written) : 0; }

const ngtcp2_sockaddr* sockaddr_of(const net::Endpoint& endpoint) noexcept {
  return reinterpret_cast<const ngtcp2_sockaddr*>(&endpoint.storage);
}

}  // namespace

Envelope read_envelope(std::span<const std::byte> packet) noexcept {
  ngtcp2_version_cid ids{};
  const int error = ngtcp2_pkt_decode_version_cid(&ids, as_u8(packet), packet.size(), own_cid_bytes);
  Envelope envelope;
  envelope.wants_version = error == NGTCP2_ERR_VERSION_NEGOTIATION;
  envelope.readable = error == 0 || envelope.wants_version;
  if (!envelope.readable) return envelope;
  envelope.is_long = ids.scid != nullptr;
  envelope.version = ids.version;
  envelope.dcid = {reinterpret_cast<const char*>(ids.dcid), ids.dcidlen};
  if (envelope.is_long) envelope.scid = {reinterpret_cast<const char*>(ids.scid), ids.scidlen};
  return envelope;
}

std::optional<Session::Initial> read_initial(std::span<const std::byte> packet) {
  ngtcp2_pkt_hd header{};
  const int error = ngtcp2_accept(&header, as_u8(packet), packet.size());
  if (error != 0) return {};
  Session::Initial initial;
  initial.version = header.version;
  initial.dcid = text_of(header.dcid);
  initial.scid = text_of(header.scid);
  initial.token = std::as_bytes(std::span(header.token.base, header.token.len));
  return initial;
}

size_t write_version_negotiation(std::span<std::byte> out, const Envelope& envelope, const FillRandom& random) {
  std::array<std::byte, 1> unused{};
  random(unused);
  const std::array<uint32_t, 1> versions = {NGTCP2_PROTO_VER_V1};
  return bytes_or_none(ngtcp2_pkt_write_version_negotiation(as_u8(out), out.size(), static_cast<uint8_t>(unused[0]),
                                                            as_u8(envelope.scid), envelope.scid.size(), as_u8(envelope.dcid),
                                                            envelope.dcid.size(), versions.data(), versions.size()));
}

size_t write_stateless_reset(std::span<std::byte> out, std::string_view dcid, const Secret& secret, const FillRandom& random) {
  std::array<uint8_t, NGTCP2_STATELESS_RESET_TOKENLEN> token{};
  const ngtcp2_cid cid = cid_of(dcid);
  if (ngtcp2_crypto_generate_stateless_reset_token(token.data(), as_u8(std::span<const std::byte>(secret)), secret.size(),
                                                   &cid) != 0) {
    return 0;
  }
  std::array<std::byte, NGTCP2_MIN_STATELESS_RESET_RANDLEN> bytes{};
  random(bytes);
  return bytes_or_none(ngtcp2_pkt_write_stateless_reset(as_u8(out), out.size(), token.data(),
                                                        as_u8(std::span<const std::byte>(bytes)), bytes.size()));
}

size_t write_retry(std::span<std::byte> out, const Session::Initial& initial, const net::Endpoint& remote, const Secret& secret,
                   const FillRandom& random, TimePoint now) {
  std::array<std::byte, own_cid_bytes + 8> bytes{};
  random(bytes);
  const ngtcp2_cid own = cid_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const ngtcp2_cid first = cid_of(initial.dcid);
  const ngtcp2_cid client = cid_of(initial.scid);
  std::array<uint8_t, NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN> token{};
  const ngtcp2_ssize token_bytes =
      ngtcp2_crypto_generate_retry_token(token.data(), as_u8(std::span<const std::byte>(secret)), secret.size(),
                                         initial.version, sockaddr_of(remote), remote.bytes, &own, &first, stamp(now));
  if (token_bytes < 0) return 0;
  return bytes_or_none(ngtcp2_crypto_write_retry(as_u8(out), out.size(), initial.version, &client, &own, &first, token.data(),
                                                 static_cast<size_t>(token_bytes)));
}

std::optional<Cid> check_retry_token(const Session::Initial& initial, const net::Endpoint& remote, const Secret& secret,
                                     TimePoint now) {
  ngtcp2_cid first{};
  const ngtcp2_cid own = cid_of(initial.dcid);
  const int error = ngtcp2_crypto_verify_retry_token(&first, as_u8(initial.token), initial.token.size(),
                                                     as_u8(std::span<const std::byte>(secret)), secret.size(), initial.version,
                                                     sockaddr_of(remote), remote.bytes, &own, token_valid_ns, stamp(now));
  if (error != 0) return {};
  return text_of(first);
}

size_t write_refusal(std::span<std::byte> out, const Session::Initial& initial) {
  const ngtcp2_cid client = cid_of(initial.scid);
  const ngtcp2_cid own = cid_of(initial.dcid);
  return bytes_or_none(ngtcp2_crypto_write_connection_close(as_u8(out), out.size(), initial.version, &client, &own,
                                                            NGTCP2_INVALID_TOKEN, nullptr, 0));
}

}  // namespace haul::quic
