// ngtcp2's callbacks and parameters.
#include "quic_carriers/endpoint.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <malloc.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "quic/library.h"
#include "quic_carriers/pipe.h"

namespace carriers {

using haul::quic::as_u8;
using haul::quic::cid_of;
using haul::quic::stamp;

namespace {

// Both ends are there: the library only compares them.
haul::net::Endpoint address() {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(1);
  haul::net::Endpoint endpoint;
  std::memcpy(&endpoint.storage, &v4, sizeof(v4));
  endpoint.bytes = sizeof(v4);
  return endpoint;
}

// The library only reads.
ngtcp2_vec vec(std::span<const std::byte> bytes) {
  auto* data = const_cast<std::byte*>(bytes.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  return {reinterpret_cast<uint8_t*>(data), bytes.size()};
}

// NOLINTBEGIN(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): what the library asks for
void* counted(void* memory, void* count) {
  auto& of = *static_cast<MemoryCount*>(count);
  of.now += malloc_usable_size(memory);
  of.most = std::max(of.most, of.now);
  return memory;
}
void* forgotten(void* memory, void* count) {
  static_cast<MemoryCount*>(count)->now -= malloc_usable_size(memory);
  return memory;
}
ngtcp2_mem allocator(MemoryCount& count) {
  return {.user_data = &count,
          .malloc = [](size_t bytes, void* user) { return counted(std::malloc(bytes), user); },
          .free = [](void* memory, void* user) { std::free(forgotten(memory, user)); },
          .calloc = [](size_t n, size_t bytes, void* user) { return counted(std::calloc(n, bytes), user); },
          .realloc = [](void* memory, size_t bytes,
                        void* user) { return counted(std::realloc(forgotten(memory, user), bytes), user); }};
}
// NOLINTEND(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory)

}  // namespace

struct Endpoint::Callbacks {
  static Endpoint& of(void* user) { return *static_cast<Endpoint*>(user); }

  static int stream_data(ngtcp2_conn* conn, uint32_t, int64_t stream, uint64_t offset, const uint8_t* data, size_t bytes,
                         void* user, void*) {
    of(user).setup_.listener->on_stream_data(stream, offset, std::as_bytes(std::span(data, bytes)));
    ngtcp2_conn_extend_max_stream_offset(conn, stream, bytes);
    ngtcp2_conn_extend_max_offset(conn, bytes);
    return 0;
  }
  static int datagram(ngtcp2_conn*, uint32_t, const uint8_t* data, size_t bytes, void* user) {
    of(user).setup_.listener->on_datagram(std::as_bytes(std::span(data, bytes)));
    return 0;
  }
  static int datagram_acknowledged(ngtcp2_conn*, uint64_t number, void* user) {
    of(user).setup_.listener->on_datagram_acknowledged(number);
    return 0;
  }
  static int datagram_lost(ngtcp2_conn*, uint64_t number, void* user) {
    of(user).setup_.listener->on_datagram_lost(number);
    return 0;
  }
  static void random(uint8_t* out, size_t bytes, const ngtcp2_rand_ctx* context) {
    static_cast<haul::base::Random*>(context->native_handle)->fill(std::as_writable_bytes(std::span(out, bytes)));
  }
  static int new_cid(ngtcp2_conn*, ngtcp2_cid* cid, uint8_t* token, size_t bytes, void* user) {
    *cid = of(user).draw_cid(bytes);
    of(user).random_.fill(std::as_writable_bytes(std::span(token, NGTCP2_STATELESS_RESET_TOKENLEN)));
    return 0;
  }
  static int path_challenge(ngtcp2_conn*, uint8_t* out, void* user) {
    of(user).random_.fill(std::as_writable_bytes(std::span(out, NGTCP2_PATH_CHALLENGE_DATALEN)));
    return 0;
  }
  static ngtcp2_conn* connection(ngtcp2_crypto_conn_ref* reference) { return of(reference->user_data).conn_; }

  static ngtcp2_callbacks all(bool dials) {
    ngtcp2_callbacks callbacks = haul::quic::crypto_callbacks(dials);
    callbacks.recv_stream_data = &Callbacks::stream_data;
    callbacks.rand = &Callbacks::random;
    callbacks.get_new_connection_id = &Callbacks::new_cid;
    callbacks.recv_datagram = &Callbacks::datagram;
    callbacks.ack_datagram = &Callbacks::datagram_acknowledged;
    callbacks.lost_datagram = &Callbacks::datagram_lost;
    callbacks.get_path_challenge_data = &Callbacks::path_challenge;
    return callbacks;
  }
};

ngtcp2_cid Endpoint::draw_cid(size_t bytes) {
  return haul::quic::random_cid([this](std::span<std::byte> out) { random_.fill(out); }, bytes);
}

ngtcp2_settings Endpoint::settings(haul::TimePoint now) {
  ngtcp2_settings settings;
  ngtcp2_settings_default(&settings);
  settings.cc_algo = NGTCP2_CC_ALGO_BBR2;  // kept out of the way, see write_rest() of transports/quic
  settings.initial_ts = stamp(now);
  settings.rand_ctx.native_handle = &random_;
  settings.max_tx_udp_payload_size = packet_bytes;
  settings.no_tx_udp_payload_size_shaping = 1;
  settings.no_pmtud = 1;
  return settings;
}

ngtcp2_transport_params Endpoint::parameters(bool dials) const {
  ngtcp2_transport_params parameters;
  ngtcp2_transport_params_default(&parameters);
  parameters.initial_max_stream_data_uni = setup_.window_bytes;
  parameters.initial_max_data = setup_.window_bytes;
  parameters.initial_max_streams_uni = dials ? 0 : setup_.streams;
  parameters.max_idle_timeout = 30 * NGTCP2_SECONDS;
  parameters.max_datagram_frame_size = 65535;
  return parameters;
}

Endpoint::Endpoint(const Setup& setup, bool dials) : setup_(setup), allocator_(allocator(memory_)), random_(setup.seed) {
  auto tls = haul::security::QuicSession::start(dials, setup.security, "");
  if (!tls) throw std::runtime_error(tls.status().to_string());
  tls_ = std::move(*tls);
  reference_ = {.get_conn = &Callbacks::connection, .user_data = this};
  gnutls_session_set_ptr(tls_->native(), &reference_);
  const int error = dials ? ngtcp2_crypto_gnutls_configure_client_session(tls_->native())
                          : ngtcp2_crypto_gnutls_configure_server_session(tls_->native());
  if (error != 0) throw std::runtime_error("GnuTLS can't be used for QUIC");
}

Endpoint::Endpoint(const Setup& setup, haul::TimePoint now) : Endpoint(setup, true) {
  const ngtcp2_cid dcid = draw_cid(haul::quic::own_cid_bytes);
  const ngtcp2_cid scid = draw_cid(haul::quic::own_cid_bytes);
  const auto place = address();
  const ngtcp2_path path = haul::quic::path_of(place, place);
  const auto callbacks = Callbacks::all(true);
  const auto settings = this->settings(now);
  const auto parameters = this->parameters(true);
  const int error = ngtcp2_conn_client_new(&conn_, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &callbacks, &settings, &parameters,
                                           &allocator_, this);
  if (error != 0) throw std::runtime_error(ngtcp2_strerror(error));
  ngtcp2_conn_set_tls_native_handle(conn_, tls_->native());
}

Endpoint::Endpoint(const Setup& setup, const haul::quic::Session::Initial& initial, haul::TimePoint now)
    : Endpoint(setup, false) {
  const ngtcp2_cid client = cid_of(initial.scid);
  const ngtcp2_cid scid = draw_cid(haul::quic::own_cid_bytes);
  const auto place = address();
  const ngtcp2_path path = haul::quic::path_of(place, place);
  const auto callbacks = Callbacks::all(false);
  const auto settings = this->settings(now);
  auto parameters = this->parameters(false);
  parameters.original_dcid = cid_of(initial.dcid);
  const int error = ngtcp2_conn_server_new(&conn_, &client, &scid, &path, initial.version, &callbacks, &settings, &parameters,
                                           &allocator_, this);
  if (error != 0) throw std::runtime_error(ngtcp2_strerror(error));
  ngtcp2_conn_set_tls_native_handle(conn_, tls_->native());
}

Endpoint::~Endpoint() {
  if (conn_ != nullptr) ngtcp2_conn_del(conn_);
}

void Endpoint::note(int error) {
  if (error < 0 && failure_.empty()) failure_ = ngtcp2_strerror(error);
}

size_t Endpoint::written(ngtcp2_ssize bytes) {
  note(bytes < 0 ? static_cast<int>(bytes) : 0);
  return bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

void Endpoint::read(std::span<const std::byte> packet, haul::TimePoint now) {
  if (!failure_.empty()) return;
  const auto place = address();
  const ngtcp2_path path = haul::quic::path_of(place, place);
  const ngtcp2_pkt_info info{};
  note(ngtcp2_conn_read_pkt(conn_, &path, &info, as_u8(packet), packet.size(), stamp(now)));
}

void Endpoint::expire(haul::TimePoint now) {
  if (failure_.empty() && ngtcp2_conn_get_expiry(conn_) <= stamp(now)) note(ngtcp2_conn_handle_expiry(conn_, stamp(now)));
}

size_t Endpoint::write_stream(std::span<std::byte> out, int64_t stream, std::span<const std::byte> bytes, size_t& taken,
                              bool& blocked, haul::TimePoint now) {
  taken = 0;
  if (!failure_.empty()) return 0;
  const ngtcp2_vec range = vec(bytes);
  ngtcp2_ssize accepted = -1;
  ngtcp2_pkt_info info{};
  const ngtcp2_ssize written = ngtcp2_conn_writev_stream(conn_, nullptr, &info, as_u8(out), out.size(), &accepted,
                                                         NGTCP2_WRITE_STREAM_FLAG_NONE, stream, &range, 1, stamp(now));
  blocked = written == NGTCP2_ERR_STREAM_DATA_BLOCKED;
  if (blocked) return 0;
  if (accepted > 0) taken = static_cast<size_t>(accepted);
  return this->written(written);
}

size_t Endpoint::write_datagram(std::span<std::byte> out, uint64_t number, std::span<const std::byte> header,
                                std::span<const std::byte> payload, bool& taken, haul::TimePoint now) {
  taken = false;
  if (!failure_.empty()) return 0;
  watch_flight();
  const std::array<ngtcp2_vec, 2> parts = {vec(header), vec(payload)};
  int accepted = 0;
  ngtcp2_pkt_info info{};
  const ngtcp2_ssize written =
      ngtcp2_conn_writev_datagram(conn_, nullptr, &info, as_u8(out), out.size(), &accepted, NGTCP2_WRITE_DATAGRAM_FLAG_NONE,
                                  number, parts.data(), parts.size(), stamp(now));
  taken = accepted != 0;
  return this->written(written);
}

size_t Endpoint::write_rest(std::span<std::byte> out, haul::TimePoint now) {
  ngtcp2_pkt_info info{};
  return failure_.empty() ? written(ngtcp2_conn_write_pkt(conn_, nullptr, &info, as_u8(out), out.size(), stamp(now))) : 0;
}

// As Session::watch_flight(): the library sets no timer for datagrams.
void Endpoint::watch_flight() {
  ngtcp2_conn_stat stat{};
  ngtcp2_conn_get_conn_stat(conn_, &stat);
  if (stat.loss_detection_timer == UINT64_MAX) ngtcp2_conn_extend_max_offset(conn_, setup_.window_bytes);
}

int64_t Endpoint::open_stream() {
  int64_t stream = -1;
  note(ngtcp2_conn_open_uni_stream(conn_, &stream, nullptr));
  return stream;
}

haul::Duration Endpoint::probe_timeout() const noexcept {
  return haul::Duration(static_cast<int64_t>(ngtcp2_conn_get_pto(conn_)));
}

}  // namespace carriers
