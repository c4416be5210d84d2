// Driving ngtcp2: its callbacks, its errors, its packets.
#include "quic/session.h"

#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/printable.h"
#include "quic/library.h"
#include "quic/packet_size.h"
#include "quic/shown_address.h"

namespace haul::quic {

namespace {

constexpr uint64_t stream_window_bytes = 1U << 20;
// What the library takes for the size of a packet, and its controller counts in, instead of what the path carries: its window
// begins with two of them, and is never less than four: more than max_window_bytes. It is the most that it accepts
// (NGTCP2_HARD_MAX_UDP_PAYLOAD_SIZE). Packets are as large as the room that they are written to.
constexpr size_t most_counted_bytes = (size_t{1} << 24) - 1;
constexpr uint64_t max_datagram_frame_bytes = 65535;
// RFC 9001 section 6.6: AES-GCM protects 2^23 packets with one key, of any size. Beyond them the library ends the connection.
constexpr uint64_t max_packets_with_key = 1U << 21;
constexpr uint64_t crypto_error = 0x100;  // RFC 9001 section 4.8

// For messages and logs: a peer, perhaps a stranger, may write anything.
Status closed_by_peer(std::string_view why) { return Status(StatusCode::peer_lost, std::string(why)); }

}  // namespace

struct Session::Link {
  ngtcp2_crypto_conn_ref reference{};
  ngtcp2_path_storage written{};
  ngtcp2_pkt_info info{};
};

struct Session::Callbacks {
  static Session& of(void* user) { return *static_cast<Session*>(user); }
  static int result(Session& self, Status status) {
    if (status.ok()) return 0;
    self.callback_failure_ = std::move(status);
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }

  static int stream_ended(ngtcp2_conn*, uint32_t, int64_t, uint64_t, void* user, void*) {
    return result(of(user), Status(StatusCode::protocol, "the peer broke the protocol: it ended the stream of records"));
  }
  static int stream_data(ngtcp2_conn* conn, uint32_t flags, int64_t stream, uint64_t, const uint8_t* data, size_t bytes,
                         void* user, void*) {
    Session& self = of(user);
    if (self.stream_ < 0) self.stream_ = stream;
    if (stream != self.stream_) {
      return result(self,
                    Status(StatusCode::protocol, "the peer broke the protocol: it opened a stream beside that of records"));
    }
    if ((flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0) return stream_ended(conn, 0, stream, 0, user, nullptr);
    ngtcp2_conn_extend_max_stream_offset(conn, stream, bytes);
    ngtcp2_conn_extend_max_offset(conn, bytes);
    return result(self, self.setup_.owner->on_stream_bytes(std::as_bytes(std::span(data, bytes))));
  }
  static int stream_reset(ngtcp2_conn* conn, int64_t stream, uint64_t, uint64_t, void* user, void*) {
    return stream_ended(conn, 0, stream, 0, user, nullptr);
  }
  static int stream_acknowledged(ngtcp2_conn*, int64_t, uint64_t offset, uint64_t bytes, void* user, void*) {
    of(user).setup_.owner->on_stream_acknowledged(offset + bytes);
    return 0;
  }
  static int datagram(ngtcp2_conn*, uint32_t, const uint8_t* data, size_t bytes, void* user) {
    Session& self = of(user);
    return result(self, self.setup_.owner->on_datagram(std::as_bytes(std::span(data, bytes))));
  }
  static int datagram_acknowledged(ngtcp2_conn*, uint64_t number, void* user) {
    of(user).setup_.owner->on_datagram_acknowledged(number);
    return 0;
  }
  static int datagram_lost(ngtcp2_conn*, uint64_t number, void* user) {
    of(user).setup_.owner->on_datagram_lost(number);
    return 0;
  }
  static int handshake_done(ngtcp2_conn*, void* user) {
    of(user).setup_.owner->on_handshake_done();
    return 0;
  }
  static int new_cid(ngtcp2_conn*, ngtcp2_cid* cid, uint8_t* token, size_t bytes, void* user) {
    Session& self = of(user);
    *cid = random_cid(*self.setup_.random, bytes);
    const Secret& secret = *self.setup_.secret;
    if (ngtcp2_crypto_generate_stateless_reset_token(token, as_u8(std::span<const std::byte>(secret)), secret.size(), cid) !=
        0) {
      return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    self.setup_.owner->on_cid(text_of(*cid));
    return 0;
  }
  static int cid_gone(ngtcp2_conn*, const ngtcp2_cid* cid, void* user) {
    of(user).setup_.owner->on_cid_gone(text_of(*cid));
    return 0;
  }
  static int stateless_reset(ngtcp2_conn*, const ngtcp2_pkt_stateless_reset*, void* user) {
    of(user).reset_ = true;
    return 0;
  }
  static int update_key(ngtcp2_conn* conn, uint8_t* rx_secret, uint8_t* tx_secret, ngtcp2_crypto_aead_ctx* rx, uint8_t* rx_iv,
                        ngtcp2_crypto_aead_ctx* tx, uint8_t* tx_iv, const uint8_t* old_rx, const uint8_t* old_tx, size_t bytes,
                        void* user) {
    ++of(user).key_generations_;
    return ngtcp2_crypto_update_key_cb(conn, rx_secret, tx_secret, rx, rx_iv, tx, tx_iv, old_rx, old_tx, bytes, user);
  }
  static void qlog(void* user, uint32_t, const void* data, size_t bytes) {
    of(user).qlog_->write(std::as_bytes(std::span(static_cast<const uint8_t*>(data), bytes)));
  }
  static void random(uint8_t* out, size_t bytes, const ngtcp2_rand_ctx* context) {
    (*static_cast<const FillRandom*>(context->native_handle))(std::as_writable_bytes(std::span(out, bytes)));
  }
  static int path_challenge(ngtcp2_conn*, uint8_t* out, void* user) {
    (*of(user).setup_.random)(std::as_writable_bytes(std::span(out, NGTCP2_PATH_CHALLENGE_DATALEN)));
    return 0;
  }
  // The only place where frames are seen. Whose packet it is, the library does not say.
  static inline thread_local Session* reading = nullptr;
  static int decrypt(uint8_t* out, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context, const uint8_t* in,
                     size_t bytes, const uint8_t* nonce, size_t nonce_bytes, const uint8_t* header, size_t header_bytes) {
    const int error = ngtcp2_crypto_decrypt_cb(out, aead, context, in, bytes, nonce, nonce_bytes, header, header_bytes);
    constexpr uint8_t long_header = 0x80;  // RFC 9000 section 17.2: of a handshake, whose marks are counted apart
    if (error != 0 || reading == nullptr || header_bytes == 0 || (header[0] & long_header) != 0) return error;
    const auto frames = std::as_bytes(std::span(out, bytes - std::min(bytes, aead->max_overhead)));
    if (const auto ack = read_ack(frames)) reading->on_ack(*ack);
    return 0;
  }
  static ngtcp2_conn* connection(ngtcp2_crypto_conn_ref* reference) { return of(reference->user_data).conn_; }

  static ngtcp2_callbacks all(bool dials) {
    ngtcp2_callbacks callbacks = crypto_callbacks(dials);
    callbacks.handshake_completed = &Callbacks::handshake_done;
    callbacks.decrypt = &Callbacks::decrypt;
    callbacks.recv_stream_data = &Callbacks::stream_data;
    callbacks.stream_close = &Callbacks::stream_ended;
    callbacks.stream_reset = &Callbacks::stream_reset;
    callbacks.acked_stream_data_offset = &Callbacks::stream_acknowledged;
    callbacks.recv_stateless_reset = &Callbacks::stateless_reset;
    callbacks.rand = &Callbacks::random;
    callbacks.get_new_connection_id = &Callbacks::new_cid;
    callbacks.remove_connection_id = &Callbacks::cid_gone;
    callbacks.update_key = &Callbacks::update_key;
    callbacks.recv_datagram = &Callbacks::datagram;
    callbacks.ack_datagram = &Callbacks::datagram_acknowledged;
    callbacks.lost_datagram = &Callbacks::datagram_lost;
    callbacks.get_path_challenge_data = &Callbacks::path_challenge;
    return callbacks;
  }

  static ngtcp2_settings settings(const Setup& setup, TimePoint now) {
    ngtcp2_settings settings;
    ngtcp2_settings_default(&settings);
    // Its own controller is kept out of the way: this one is the least in it while it believes that there is too little to
    // send (Session::write_rest).
    settings.cc_algo = NGTCP2_CC_ALGO_BBR2;
    settings.initial_ts = stamp(now);
    settings.rand_ctx.native_handle = const_cast<FillRandom*>(setup.random);  // NOLINT: const again where it is used
    if (setup.driven) {
      settings.max_tx_udp_payload_size = most_counted_bytes;
      settings.no_tx_udp_payload_size_shaping = 1;
    }
    return settings;
  }

  static ngtcp2_transport_params parameters(const Setup& setup, bool dials) {
    ngtcp2_transport_params parameters;
    ngtcp2_transport_params_default(&parameters);
    parameters.initial_max_stream_data_bidi_local = stream_window_bytes;
    parameters.initial_max_stream_data_bidi_remote = stream_window_bytes;
    parameters.initial_max_data = stream_window_bytes;
    parameters.initial_max_streams_bidi = dials ? 0 : 1;  // the one of records, which the side that dialed opens
    parameters.max_idle_timeout = static_cast<ngtcp2_duration>(setup.idle_timeout.count());
    parameters.max_datagram_frame_size = max_datagram_frame_bytes;
    return parameters;
  }
};

Session::Session(Setup setup) : setup_(std::move(setup)), link_(std::make_unique<Link>()) {
  link_->reference = {.get_conn = &Callbacks::connection, .user_data = this};
  gnutls_session_set_ptr(setup_.tls->native(), &link_->reference);
}

Session::~Session() {
  if (conn_ != nullptr) ngtcp2_conn_del(conn_);
}

void Session::open_qlog(std::string_view original_dcid, bool dials) {
  if (setup_.qlog != nullptr) qlog_ = setup_.qlog->open(original_dcid, dials);
}

Result<std::unique_ptr<Session>> Session::dial(Setup setup, TimePoint now) {
  std::unique_ptr<Session> session(new Session(std::move(setup)));
  const Setup& own = session->setup_;
  if (ngtcp2_crypto_gnutls_configure_client_session(own.tls->native()) != 0) {
    return Status(StatusCode::internal, "GnuTLS can't be used for QUIC");
  }
  const ngtcp2_cid dcid = random_cid(*own.random, NGTCP2_MIN_INITIAL_DCIDLEN + 8);
  const ngtcp2_cid scid = random_cid(*own.random, own_cid_bytes);
  const net::Endpoint shown = shown_as(own.remote, 0);
  const ngtcp2_path path = path_of(own.local, shown);
  const ngtcp2_callbacks callbacks = Callbacks::all(true);
  ngtcp2_settings settings = Callbacks::settings(own, now);
  session->open_qlog(text_of(dcid), true);
  if (session->qlog_) settings.qlog.write = &Callbacks::qlog;
  const ngtcp2_transport_params parameters = Callbacks::parameters(own, true);
  const int error = ngtcp2_conn_client_new(&session->conn_, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &callbacks, &settings,
                                           &parameters, nullptr, session.get());
  if (error != 0) return Status(StatusCode::exhausted, ngtcp2_strerror(error));
  ngtcp2_conn_set_tls_native_handle(session->conn_, own.tls->native());
  own.owner->on_cid(text_of(scid));
  return session;
}

Result<std::unique_ptr<Session>> Session::accept(Setup setup, const Initial& initial, TimePoint now) {
  std::unique_ptr<Session> session(new Session(std::move(setup)));
  const Setup& own = session->setup_;
  if (ngtcp2_crypto_gnutls_configure_server_session(own.tls->native()) != 0) {
    return Status(StatusCode::internal, "GnuTLS can't be used for QUIC");
  }
  const ngtcp2_cid client = cid_of(initial.scid);
  const ngtcp2_cid scid = random_cid(*own.random, own_cid_bytes);
  const net::Endpoint shown = shown_as(own.remote, 0);
  const ngtcp2_path path = path_of(own.local, shown);
  const ngtcp2_callbacks callbacks = Callbacks::all(false);
  ngtcp2_settings settings = Callbacks::settings(own, now);
  ngtcp2_transport_params parameters = Callbacks::parameters(own, false);
  parameters.original_dcid = settings.qlog.odcid = cid_of(initial.original_dcid.value_or(initial.dcid));
  session->open_qlog(text_of(parameters.original_dcid), false);
  if (session->qlog_) settings.qlog.write = &Callbacks::qlog;
  if (initial.original_dcid) {
    parameters.retry_scid = cid_of(initial.dcid);
    parameters.retry_scid_present = 1;
    auto* token = const_cast<std::byte*>(initial.token.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
    settings.token = {reinterpret_cast<uint8_t*>(token), initial.token.size()};
  }
  parameters.stateless_reset_token_present = 1;
  const Secret& secret = *own.secret;
  if (ngtcp2_crypto_generate_stateless_reset_token(parameters.stateless_reset_token, as_u8(std::span<const std::byte>(secret)),
                                                   secret.size(), &scid) != 0) {
    return Status(StatusCode::internal, "no stateless reset token could be made");
  }
  const int error = ngtcp2_conn_server_new(&session->conn_, &client, &scid, &path, initial.version, &callbacks, &settings,
                                           &parameters, nullptr, session.get());
  if (error != 0) return Status(StatusCode::exhausted, ngtcp2_strerror(error));
  ngtcp2_conn_set_tls_native_handle(session->conn_, own.tls->native());
  own.owner->on_cid(text_of(scid));
  own.owner->on_cid(initial.dcid);
  return session;
}

// Packets that waited for this thread came before the last ones left.
uint64_t Session::stamp_of(TimePoint now) noexcept { return stamp(latest_ = std::max(latest_, now)); }

void Session::on_ack(const AckFrame& ack) {
  if (ack.counts) marks_.on_report(*ack.counts);
  if (ack.largest < largest_acknowledged_) return;  // overtaken
  largest_acknowledged_ = ack.largest;
  ack_delay_ = ack.delay;
}

Duration Session::take_ack_delay() noexcept {
  const uint64_t units = std::exchange(ack_delay_, 0);
  const ngtcp2_transport_params* peer = ngtcp2_conn_get_remote_transport_params(conn_);
  if (units == 0 || peer == nullptr) return Duration::zero();
  const double us = static_cast<double>(units) * std::exp2(static_cast<double>(peer->ack_delay_exponent));
  return Duration(static_cast<int64_t>(std::min(us * NGTCP2_MICROSECONDS, static_cast<double>(peer->max_ack_delay))));
}

void Session::read(std::span<const std::byte> packet, uint8_t ecn, const net::Endpoint& local, const net::Endpoint& remote,
                   TimePoint now) {
  if (ending_) return;
  const net::Endpoint shown = shown_as(remote, peer_name_);
  const ngtcp2_path path = path_of(local, shown);
  const ngtcp2_pkt_info info{.ecn = ecn};
  Callbacks::reading = this;
  const int error = ngtcp2_conn_read_pkt(conn_, &path, &info, as_u8(packet), packet.size(), stamp_of(now));
  Callbacks::reading = nullptr;
  failed(error);
}

void Session::on_expiry(TimePoint now) {
  handled_ = now;
  if (!ending_) failed(ngtcp2_conn_handle_expiry(conn_, stamp_of(now)));
}

std::optional<TimePoint> Session::expiry() const {
  const ngtcp2_tstamp at = ngtcp2_conn_get_expiry(conn_);
  if (ending_ || at == UINT64_MAX) return {};
  // Ids that were given up it forgets after the time that it names for that, not at it.
  return std::max(TimePoint(Duration(static_cast<int64_t>(at))), handled_ + Duration(1));
}

void Session::fail_by(Status status) { ending_ = Ending{.status = std::move(status), .silent = true}; }

// Nothing where `error` is none.
void Session::failed(int error) {
  if (error >= 0 || ending_) return;
  switch (error) {
    case NGTCP2_ERR_DRAINING: return peer_closed();
    case NGTCP2_ERR_NO_VIABLE_PATH:
      // Asked again by a larger packet whether it is at its new address, the peer did not answer: that may be an outage, and
      // the idle timeout tells whether it ends. The library would have nothing but this error until the peer moves again.
      return rename_peer();
    case NGTCP2_ERR_IDLE_CLOSE: return fail_by(closed_by_peer("the peer has fallen silent"));
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT: return fail_by(Status(StatusCode::timed_out, "the QUIC handshake was not over in time"));
    case NGTCP2_ERR_RETRY:
    case NGTCP2_ERR_DROP_CONN:
      return fail_by(Status(StatusCode::protocol, "the peer does not speak QUIC as it is meant to be"));
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
      return fail_by(Status(StatusCode::protocol, "the peer speaks another version of QUIC only"));
    default: break;
  }
  Ending ending;
  ending.library_error = error;
  if (error == NGTCP2_ERR_CALLBACK_FAILURE && !callback_failure_.ok()) {
    ending.status = callback_failure_;
  } else if (const Status refusal = setup_.tls->refusal(); !refusal.ok()) {
    ending.status = refusal;
    ending.alert = setup_.tls->refusal_alert();
  } else if (error == NGTCP2_ERR_CRYPTO || ngtcp2_conn_get_tls_alert(conn_) != 0) {
    ending.alert = ngtcp2_conn_get_tls_alert(conn_);
    const Status meaning =
        ending.alert == GNUTLS_A_NO_APPLICATION_PROTOCOL ? setup_.tls->alert_meaning(ending.alert) : Status();
    ending.status = !meaning.ok() ? meaning : Status(StatusCode::protocol, "the TLS handshake failed");
  } else {
    ending.status = Status(StatusCode::protocol, fmt::format("QUIC failed: {}", ngtcp2_strerror(error)));
  }
  ending_ = std::move(ending);
}

void Session::peer_closed() {
  if (reset_) return fail_by(closed_by_peer("the peer does not know the connection any more: its process may have ended"));
  ngtcp2_connection_close_error error{};
  ngtcp2_conn_get_connection_close_error(conn_, &error);
  const std::string_view reason(reinterpret_cast<const char*>(error.reason), error.reasonlen);
  Ending ending;
  ending.silent = true;
  if (error.type == NGTCP2_CONNECTION_CLOSE_ERROR_CODE_TYPE_APPLICATION) {
    const bool known = error.error_code <= static_cast<uint64_t>(CloseCode::refused);
    ending.said = known ? static_cast<CloseCode>(error.error_code) : CloseCode::aborted;
    ending.status = closed_by_peer("the peer ended the connection");
  } else if (error.error_code >= crypto_error && error.error_code < 2 * crypto_error) {
    ending.status = setup_.tls->alert_meaning(static_cast<int>(error.error_code - crypto_error));
  } else {
    ending.status = Status(StatusCode::protocol, fmt::format("the peer ended the QUIC connection by error {:#x} \"{}\"",
                                                             error.error_code, base::printable(reason.substr(0, 100))));
  }
  ending_ = std::move(ending);
}

Session::Packet Session::packet_of(int64_t written) {
  if (written < 0) failed(static_cast<int>(written));
  if (written <= 0) return {};
  Packet packet{.bytes = static_cast<size_t>(written), .ecn = static_cast<uint8_t>(link_->info.ecn), .remote = {}};
  packet.remote = real_of(endpoint_of(link_->written.path.remote));
  if (packet.ecn != NGTCP2_ECN_NOT_ECT) marks_.on_sent();
  bytes_with_key_ += packet.bytes;
  ++packets_with_key_;
  return packet;
}

Session::Packet Session::write_stream(std::span<std::byte> out, std::span<const std::byte> bytes, size_t& taken,
                                      TimePoint now) {
  taken = 0;
  if (ending_) return {};
  auto* data = const_cast<std::byte*>(bytes.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
  const ngtcp2_vec range{reinterpret_cast<uint8_t*>(data), bytes.size()};
  ngtcp2_ssize accepted = -1;
  ngtcp2_path_storage_zero(&link_->written);
  const ngtcp2_ssize written =
      ngtcp2_conn_writev_stream(conn_, &link_->written.path, &link_->info, as_u8(out), out.size(), &accepted,
                                NGTCP2_WRITE_STREAM_FLAG_NONE, stream_, &range, 1, stamp_of(now));
  if (written == NGTCP2_ERR_STREAM_DATA_BLOCKED) return write_rest(out, now);
  if (accepted > 0) taken = static_cast<size_t>(accepted);
  return packet_of(written);
}

Session::Packet Session::write_datagram(std::span<std::byte> out, uint64_t number, std::span<const std::byte> header,
                                        std::span<const std::byte> payload, bool& taken, TimePoint now) {
  taken = false;
  if (ending_) return {};
  const auto vec = [](std::span<const std::byte> bytes) {
    auto* data = const_cast<std::byte*>(bytes.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
    return ngtcp2_vec{reinterpret_cast<uint8_t*>(data), bytes.size()};
  };
  const std::array<ngtcp2_vec, 2> parts = {vec(header), vec(payload)};
  int accepted = 0;
  ngtcp2_path_storage_zero(&link_->written);
  const ngtcp2_ssize written =
      ngtcp2_conn_writev_datagram(conn_, &link_->written.path, &link_->info, as_u8(out), out.size(), &accepted,
                                  NGTCP2_WRITE_DATAGRAM_FLAG_NONE, number, parts.data(), parts.size(), stamp_of(now));
  taken = accepted != 0;
  return packet_of(written);
}

Session::Packet Session::write_rest(std::span<std::byte> out, TimePoint now) {
  if (ending_) return {};
  ngtcp2_path_storage_zero(&link_->written);
  return packet_of(ngtcp2_conn_write_pkt(conn_, &link_->written.path, &link_->info, as_u8(out), out.size(), stamp_of(now)));
}

Session::Packet Session::write_close(std::span<std::byte> out, CloseCode code, std::string_view reason, TimePoint now) {
  if (ending_ && ending_->silent) return {};
  const auto* text = reinterpret_cast<const uint8_t*>(reason.data());
  ngtcp2_connection_close_error error{};
  ngtcp2_connection_close_error_default(&error);
  if (ending_ && ending_->alert >= 0) {
    ngtcp2_connection_close_error_set_transport_error_tls_alert(&error, static_cast<uint8_t>(ending_->alert), nullptr, 0);
  } else if (ending_ && ending_->library_error != NGTCP2_ERR_CALLBACK_FAILURE) {
    ngtcp2_connection_close_error_set_transport_error_liberr(&error, ending_->library_error, nullptr, 0);
  } else {
    ngtcp2_connection_close_error_set_application_error(&error, static_cast<uint64_t>(code), text, reason.size());
  }
  ngtcp2_path_storage_zero(&link_->written);
  const ngtcp2_ssize written = ngtcp2_conn_write_connection_close(conn_, &link_->written.path, &link_->info, as_u8(out),
                                                                  out.size(), &error, stamp_of(now));
  return written > 0 ? packet_of(written) : Packet();
}

size_t Session::max_datagram_bytes(size_t limit_bytes) const {
  // First byte, the peer's id, a packet number of up to four bytes, the frame's type and length, the tag.
  constexpr size_t two_byte_lengths = 16384;
  const size_t others = 1 + 4 + (limit_bytes < two_byte_lengths ? 3 : 5) + 16;
  return std::max(limit_bytes, safe_packet_bytes) - others - ngtcp2_conn_get_dcid(conn_)->datalen;
}

bool Session::handshake_done() const noexcept { return ngtcp2_conn_get_handshake_completed(conn_) != 0; }

net::Endpoint Session::remote() const { return real_of(endpoint_of(ngtcp2_conn_get_path(conn_)->remote)); }

void Session::watch_flight() {
  ngtcp2_conn_stat stat{};
  ngtcp2_conn_get_conn_stat(conn_, &stat);
  // The stream's own window bounds what is kept, so that the connection's may be any.
  if (stat.loss_detection_timer == UINT64_MAX) ngtcp2_conn_extend_max_offset(conn_, stream_window_bytes);
}

void Session::rename_peer() {
  peer_name_ = static_cast<uint16_t>(name_of(endpoint_of(ngtcp2_conn_get_path(conn_)->remote)) + 1);
}

bool Session::open_stream() { return ngtcp2_conn_open_bidi_stream(conn_, &stream_, nullptr) == 0; }

void Session::keep_alive(Duration every) {
  ngtcp2_conn_set_keep_alive_timeout(conn_, static_cast<ngtcp2_duration>(every.count()));
}

void Session::renew_keys_if_due(TimePoint now) {
  if (ending_ || !handshake_done()) return;
  if (!key_since_) key_since_ = now;
  const bool due = bytes_with_key_ >= setup_.renew_keys_bytes || packets_with_key_ >= max_packets_with_key ||
                   now - *key_since_ >= setup_.renew_keys_after;
  // Not before the peer has followed the last renewal (RFC 9001 section 6.1): then it is tried again.
  if (!due || ngtcp2_conn_initiate_key_update(conn_, stamp_of(now)) != 0) return;
  key_since_ = now;
  bytes_with_key_ = packets_with_key_ = 0;
}

Session::Stats Session::stats() const {
  ngtcp2_conn_stat stat{};
  ngtcp2_conn_get_conn_stat(conn_, &stat);
  const auto duration = [](uint64_t ns) { return Duration(ns == UINT64_MAX ? 0 : static_cast<int64_t>(ns)); };
  return {.rtt_smoothed = duration(stat.smoothed_rtt),
          .rtt_min = duration(stat.min_rtt),
          .rtt_latest = duration(stat.latest_rtt),
          .library_window_bytes = stat.cwnd,
          .bytes_in_flight = stat.bytes_in_flight,
          .probe_timeout = duration(ngtcp2_conn_get_pto(conn_)),
          .probe_timeouts = stat.pto_count};
}

}  // namespace haul::quic
