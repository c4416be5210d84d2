// The life of a connection: set-up, what the peer says, timers, the end.
#include "quic/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace haul::quic {

namespace {

// An address that says nothing for so long may be the wrong one of several.
constexpr Duration try_next_after = std::chrono::milliseconds(700);
// RFC 9000 section 10.2: three probe timeouts.
constexpr int64_t linger_probes = 3;
// So long after it was sent nothing is heard any more of a piece that was overtaken; losses are known within one or two.
constexpr int64_t overtaken_probes = 3;
// What is answered to packets that come after the end: the 1st, 2nd, 4th, 8th … of them.
constexpr bool power_of_two(uint64_t n) noexcept { return (n & (n - 1)) == 0; }
constexpr size_t max_reason_bytes = 100;
// Of `dead_after`: only what is silent for longer than all of it is given up, so that the end of every shorter outage is seen,
// however far apart the library's probes have become: they double their distance.
constexpr int64_t idle_times = 2;
constexpr int64_t pings_in_idle_time = 3;
// While something is under way the library's own probes stay away where its window is full, or go to where the peer was before
// a translator changed its mind: then only the other side's pings tell.
constexpr int64_t pings_under_way = 10;

}  // namespace

Connection::Connection(Context& context, Host& host, const Secret& secret, ConnectionId id)
    : context_(context),
      host_(host),
      secret_(secret),
      id_(id),
      reader_(context.capabilities->max_message_bytes),
      size_(safe_packet_bytes) {}

Connection::~Connection() { forget_cids(); }

void Connection::forget_cids() {
  for (const Cid& cid : cids_) host_.unroute(cid);
  cids_.clear();
}

void Connection::on_cid(const Cid& cid) {
  cids_.push_back(cid);
  host_.route(cid, *this);
}

void Connection::on_cid_gone(const Cid& cid) {
  std::erase(cids_, cid);
  host_.unroute(cid);
}

void Connection::begin_resolving(std::string target, Duration timeout) {
  state_ = State::resolving;
  target_ = std::move(target);
  deadline_ = context_.now + timeout;
}

void Connection::dial(std::vector<net::Endpoint> endpoints, std::vector<Outlet*> outlets, Dial dial) {
  endpoints_ = std::move(endpoints);
  outlets_ = std::move(outlets);
  dial_ = std::move(dial);
  dialed_ = true;
  state_ = State::greeting;
  if (Status status = begin_session(0); !status.ok()) fail(std::move(status));
}

Status Connection::begin_session(size_t place) {
  forget_cids();
  session_.reset();
  place_ = place;
  outlet_ = outlets_[place];
  remote_ = endpoints_[place];
  size_ = PacketSize(most_packet_bytes());
  next_attempt_ = place + 1 < endpoints_.size() ? std::optional(context_.now + try_next_after) : std::nullopt;
  auto tls = security::QuicSession::start(true, context_.security, dial_.host);
  if (!tls.ok()) return tls.status();
  auto session = Session::dial({.local = outlet_->local(),
                                .remote = remote_,
                                .idle_timeout = idle_times * context_.options->dead_after,
                                .driven = true,
                                .renew_keys_bytes = context_.options->renew_keys_bytes,
                                .renew_keys_after = context_.options->renew_keys_after,
                                .qlog = context_.qlog.get(),
                                .secret = &secret_,
                                .random = &context_.surroundings.random,
                                .owner = this,
                                .tls = std::move(*tls)},
                               context_.now);
  if (!session.ok()) return session.status();
  session_ = std::move(*session);
  return {};
}

Status Connection::accept(Outlet& outlet, const net::Endpoint& remote, const Session::Initial& initial) {
  state_ = State::greeting;
  outlet_ = &outlet;
  remote_ = remote;
  size_ = PacketSize(most_packet_bytes());
  target_ = remote.to_string();
  heard_ = true;
  deadline_ = context_.now + context_.options->hello_timeout;
  auto tls = security::QuicSession::start(false, context_.security, {});
  if (!tls.ok()) return tls.status();
  auto session = Session::accept({.local = outlet.local(),
                                  .remote = remote,
                                  .idle_timeout = idle_times * context_.options->dead_after,
                                  .driven = true,
                                  .renew_keys_bytes = context_.options->renew_keys_bytes,
                                  .renew_keys_after = context_.options->renew_keys_after,
                                  .qlog = context_.qlog.get(),
                                  .secret = &secret_,
                                  .random = &context_.surroundings.random,
                                  .owner = this,
                                  .tls = std::move(*tls)},
                                 initial, context_.now);
  if (!session.ok()) return session.status();
  session_ = std::move(*session);
  return {};
}

void Connection::introduce() {
  const Capabilities& can = *context_.capabilities;
  wire::Record hello{.type = wire::RecordType::hello};
  hello.code = static_cast<uint16_t>(dial_.lane ? wire::HelloKind::lane : wire::HelloKind::bootstrap);
  hello.token = dial_.token;
  hello.max_payload_bytes = can.max_operation_bytes;
  hello.max_message_bytes = can.max_message_bytes;
  hello.credits = can.max_operations;
  stream_.put(hello, {});
  introduced_ = true;
}

Status Connection::on_hello(const wire::Record& hello) {
  if (peer_hello_) return Status(StatusCode::protocol, "the peer introduced itself twice");
  if (hello.version != wire::version) {
    return Status(StatusCode::protocol, fmt::format("the peer speaks version {} of haul's protocol, and this side version {}",
                                                    hello.version, wire::version));
  }
  if (hello.credits == 0 || hello.max_payload_bytes == 0 || hello.max_message_bytes == 0) {
    return Status(StatusCode::protocol, "the peer introduced itself as one that takes nothing");
  }
  peer_hello_ = hello;
  return {};
}

void Connection::settle(ConnectionId id, Event::Kind event) {
  id_ = id;
  introduce();
  if (Status status = become_ready(event); !status.ok()) fail(std::move(status));
}

Status Connection::become_ready(Event::Kind event) {
  if (!session_->tls().trusted()) return Status(StatusCode::refused, target_ + " showed no certificate that could be judged");
  if (Status status = make_gate(); !status.ok()) return status;
  outbound_.emplace(context_, id_);
  inbound_.emplace(context_, id_);
  outbound_->set_peer(*peer_hello_);
  state_ = State::ready;
  deadline_.reset();
  next_attempt_.reset();
  identity_ = session_->tls().peer();
  cipher_ = session_->tls().cipher();
  context_.emit(event, id_);
  return {};
}

void Connection::on_stream_acknowledged(uint64_t offset) {
  stream_.acknowledged(offset);
  if (inbound_) inbound_->acknowledged(stream_.acknowledged_to());
}

Status Connection::on_stream_bytes(std::span<const std::byte> bytes) {
  return reader_.take(
      bytes, [this](const wire::Record& record, std::span<const std::byte> payload) { return on_record(record, payload); });
}

Status Connection::on_record(const wire::Record& record, std::span<const std::byte> payload) {
  if (record.type == wire::RecordType::hello) {
    if (Status status = on_hello(record); !status.ok()) return status;
    return dialed_ ? become_ready(Event::Kind::connected) : Status();
  }
  if (!established()) return Status(StatusCode::protocol, "the peer sent something before it introduced itself");
  switch (record.type) {
    case wire::RecordType::write: return inbound_->write(record, payload);
    case wire::RecordType::read: return inbound_->read(record);
    case wire::RecordType::cancel: return inbound_->cancel(record);
    case wire::RecordType::read_data: return outbound_->read_data(record, payload);
    case wire::RecordType::answers: return outbound_->answered(record.sequence, record.length, record.code);
    case wire::RecordType::message: context_.emit_message(id_, {payload.begin(), payload.end()}); return {};
    case wire::RecordType::hello: break;
  }
  return {};
}

Status Connection::on_datagram(std::span<const std::byte> datagram) {
  if (!established()) return {};  // it overtook the peer's introduction, or is of nobody's
  const auto piece = wire::decode_piece(datagram);
  if (!piece.ok()) return piece.status();
  return piece->write ? inbound_->piece(*piece) : outbound_->piece(*piece);
}

void Connection::on_datagram_acknowledged(uint64_t number) {
  const auto entry = ledger_.acknowledged(number);
  if (!entry || !gate_) return;
  if (entry->packet.bytes > 0) gate_->acknowledged(entry->packet, came_);
  size_.acknowledged(entry->packet.bytes);
  if (entry->id.reply) inbound_->piece_arrived(entry->id);
}

void Connection::on_datagram_lost(uint64_t number) {
  if (const auto entry = ledger_.finish(number)) lose(*entry);
}

void Connection::lose(const PieceLedger::Entry& entry) {
  if (!gate_) return;
  if (size_.is_probe(entry.packet.bytes)) {
    gate_->withdrawn(entry.packet);
  } else if (entry.packet.bytes > 0) {
    gate_->lost(entry.packet);
  }
  size_.lost(context_.now, entry.packet.bytes);
  ledger_.lost(entry.id);
  ++pieces_lost_;
}

// A probe timeout of the library makes it forget the fate of packets whose other frames it repeats.
void Connection::give_up_overtaken() {
  if (!ledger_.overtaken()) return;
  const Duration patience = overtaken_probes * session_->stats().probe_timeout;
  while (const auto entry = ledger_.give_up_overtaken(context_.now - patience)) lose(*entry);
}

// The path has fallen silent: with nothing else to be sent the oldest piece is the probe, which also helps where its fate is
// the one that the library forgot.
void Connection::repeat_oldest() {
  const auto entry = ledger_.give_up_oldest(context_.now - session_->stats().probe_timeout);
  if (!entry) return;
  gate_->withdrawn(entry->packet);
  size_.lost(context_.now, entry->packet.bytes);
  ledger_.lost(entry->id);
  ++pieces_lost_;
}

void Connection::receive(std::span<const std::byte> packet, uint8_t ecn, const Outlet& from, const net::Endpoint& remote,
                         TimePoint came) {
  if (state_ == State::over) {
    const bool answer = !last_words_.empty() && power_of_two(++heard_after_end_);
    if (answer) outlet_->answer({.bytes = last_words_, .datagram_bytes = last_words_.size(), .ecn = 0, .remote = remote_});
    return;
  }
  if (!session_) return;
  heard_ = true;
  bytes_received_ += packet.size();
  came_ = came;
  session_->read(packet, ecn, from.local(), remote, came);
}

bool Connection::receive_reset(std::span<const std::byte> packet, const Outlet& from, const net::Endpoint& remote) {
  if (state_ == State::over || !session_ || session_->ending()) return false;
  session_->read(packet, 0, from.local(), remote, context_.now);
  return session_->ending().has_value();
}

void Connection::received() {
  library_blocked_ = false;
  if (gate_ && session_) give_up_overtaken();
  if (gate_ && session_) gate_->marked(session_->take_marks());
  if (gate_ && session_) gate_->delayed(session_->take_ack_delay());
  if (gate_) gate_->take(context_.now);
  if (state_ != State::greeting || !session_ || session_->ending()) return;
  if (dialed_ && handshake_done_ && !introduced_) {
    if (!session_->open_stream()) return fail(Status(StatusCode::protocol, "the peer permits no stream"));
    introduce();
  } else if (!dialed_ && peer_hello_ && handshake_done_) {
    host_.on_hello(*this, *peer_hello_);
  }
}

void Connection::service() {
  if (state_ == State::over) return;
  run_timers();
  if (state_ == State::over) return;
  if (session_ && session_->ending()) return on_session_ended();
  write();
  if (state_ == State::over || !session_) return;
  if (!dialed_) {
    const net::Endpoint before = std::exchange(remote_, session_->remote());
    if (!same(before, remote_)) path_changed(before);
  }
  if (session_->ending()) return on_session_ended();
  if (!established()) return;
  if (!inbound_->misuse().ok()) {
    // It hears of the refusal first, if it listens.
    if (!misused_until_) misused_until_ = context_.now + linger_probes * session_->stats().probe_timeout;
    const bool told = stream_.all_acknowledged() || *misused_until_ <= context_.now;
    if (told) return fail(inbound_->misuse(), CloseCode::refused);
  }
  drain();
  if (!established()) return;
  outbound_->announce_room();
  const bool under_way = !outbound_->idle() || !inbound_->idle() || !stream_.all_acknowledged();
  session_->keep_alive(context_.options->dead_after / (under_way ? pings_under_way : pings_in_idle_time));
}

void Connection::run_timers() {
  const TimePoint now = context_.now;
  if (session_ && session_->expiry() && *session_->expiry() <= now) {
    session_->on_expiry(now);
    size_.timeouts(now, session_->stats().probe_timeouts);
    library_blocked_ = false;
    if (gate_) gate_->take(now);
  }
  const bool silent = gate_ && gate_->deadline() && *gate_->deadline() <= now && gate_->on_timer(now);
  if (silent && !has_pieces()) repeat_oldest();
  if (next_attempt_ && *next_attempt_ <= now && !heard_) {
    if (Status status = begin_session(place_ + 1); !status.ok()) return fail(std::move(status));
  }
  if (!deadline_ || now < *deadline_) return;
  if (draining_) return fail(Status(StatusCode::peer_lost, fmt::format("{} did not finish in time", target_)));
  if (id_ == 0) return end(Status(), CloseCode::aborted);
  fail(Status(heard_ ? StatusCode::timed_out : StatusCode::unavailable,
              fmt::format("{} did not answer in time: check the address, that a quic listener runs there, and that UDP passes",
                          target_)));
}

std::optional<TimePoint> Connection::deadline() const {
  if (state_ == State::over) return linger_until_;
  std::optional<TimePoint> earliest = deadline_;
  const auto include = [&](std::optional<TimePoint> at) {
    if (at) earliest = std::min(*at, earliest.value_or(*at));
  };
  if (!heard_) include(next_attempt_);
  include(misused_until_);
  // While the socket is full, what is due for sending waits for it, not for the time.
  const bool blocked = outlet_ != nullptr && outlet_->blocked();
  if (session_ && (!blocked || session_->expiry() > context_.now)) include(session_->expiry());
  if (gate_) include(gate_->deadline());
  if (has_pieces() && !library_blocked_ && !blocked) include(gate_->opens());
  return earliest;
}

Status Connection::prefixed(const Status& status) const {
  return Status(status.code(), fmt::format("{}: {}", target_, status.message()), status.system_error());
}

void Connection::on_session_ended() {
  const Session::Ending& ending = *session_->ending();
  if (ending.said == CloseCode::farewell && established()) {
    // The peer, which says farewell, has what it read; its acknowledgements may not have come.
    const bool idle = outbound_->idle() && inbound_->served();
    return end(idle ? Status()
                    : Status(StatusCode::peer_lost,
                             fmt::format("{} closed the connection while operations were outstanding", target_)),
               {});
  }
  Status status = ending.status;
  if (ending.said == CloseCode::unexpected) status = Status(StatusCode::unavailable, "nobody expects this lane there");
  if (ending.said == CloseCode::protocol) status = Status(StatusCode::protocol, "for the peer this side broke the protocol");
  end(prefixed(status), ending.silent ? std::nullopt : std::optional(CloseCode::protocol));
}

void Connection::fail(Status status, CloseCode code) { end(std::move(status), code); }

// `say`: what the peer is told; absent: nothing, it knows or is gone.
void Connection::end(Status status, std::optional<CloseCode> say) {
  if (state_ == State::over) return;
  if (outbound_) {
    const std::string_view why = status.ok() ? "the connection was closed" : status.message();
    outbound_->end_all(Status(StatusCode::peer_lost, std::string(why)));
  }
  if (session_ && say) {
    std::vector<std::byte>& memory = host_.packet_memory();
    const std::string_view reason = status.message().substr(0, max_reason_bytes);
    const Session::Packet packet = session_->write_close(memory, *say, reason, context_.now);
    last_words_.assign(memory.begin(), memory.begin() + static_cast<ptrdiff_t>(packet.bytes));
    if (packet.bytes > 0) {
      outlet_->send({.bytes = last_words_, .datagram_bytes = packet.bytes, .ecn = 0, .remote = remote_});
      linger_until_ = context_.now + linger_probes * session_->stats().probe_timeout;
    }
  }
  if (id_ == 0) {
    if (!status.ok()) context_.log(LogLevel::warning, fmt::format("{} was turned away: {}", target_, status.message()));
  } else {
    context_.emit(Event::Kind::closed, id_).status = std::move(status);
    context_.last_lessons.emplace_back(id_, lesson());
  }
  state_ = State::over;
  deadline_.reset();
  session_.reset();
}

void Connection::push_out() {
  close(CloseMode::abort);
  linger_until_ = context_.now;
}

void Connection::drain() {
  if (!draining_ || !outbound_->idle() || !inbound_->idle() || !stream_.all_acknowledged()) return;
  end({}, CloseCode::farewell);
}

void Connection::close(CloseMode mode) {
  if (mode == CloseMode::abort || !established()) return end({}, CloseCode::aborted);
  if (draining_) return;
  draining_ = true;
  deadline_ = context_.now + context_.options->dead_after;
}

size_t Connection::post(std::span<const Operation> operations) {
  if (!established()) return 0;
  if (!draining_) return outbound_->post(operations);
  for (const Operation& operation : operations) {
    context_.emit(Event::Kind::completed, id_, operation.id).status =
        Status(StatusCode::peer_lost, "the connection is being closed");
  }
  return operations.size();
}

bool Connection::send(std::span<const std::byte> message) { return established() && !draining_ && outbound_->send(message); }

void Connection::answer(uint64_t id, StatusCode code) {
  if (established()) inbound_->answer(id, code);
}

void Connection::cancel(uint64_t id) {
  if (established()) outbound_->cancel(id);
}

Result<LocalGrant> Connection::grant(std::span<std::byte> memory, Rights rights) {
  if (!established()) return Status(StatusCode::peer_lost, "the connection is not ready, or closed");
  return inbound_->grant(memory, rights);
}

void Connection::revoke(uint64_t grant_id) {
  if (established()) inbound_->revoke(grant_id);
}

void Connection::set_limits(const Limits& limits) {
  rate_limit_ = limits.rate_bytes_s;
  if (gate_) gate_->set_rate_limit(rate_limit_);
  if (outbound_) outbound_->set_window(limits.window_bytes);
}

}  // namespace haul::quic
