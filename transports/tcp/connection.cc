// A connection's life: set-up, the calls of the core, and the end.
#include "tcp/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "tcp/ktls.h"

namespace haul::tcp {

namespace {

constexpr Duration misuse_farewell = std::chrono::milliseconds(500);

// What a lane may carry at least between its aging and the end of its keys.
constexpr uint64_t renewal_bytes = 64U << 20;

}  // namespace

Connection::Connection(Context& context, ConnectionId id)
    : context_(context), id_(id), dialer_(context, *this), outbound_(context, id), inbound_(context, id), receiver_(*this) {
  send_.handler = this;
  send_.kind = IoKind::send;
  receive_.handler = this;
  receive_.kind = IoKind::receive;
}

Connection::~Connection() = default;

void Context::make_hot(Connection* connection) {
  hot_heard = now;
  if (hot == connection) return;
  Connection* before = std::exchange(hot, connection);
  if (before != nullptr) before->mark_dirty();  // it waits by other means from now on
}

void Connection::mark_dirty() {
  if (dirty_) return;
  dirty_ = true;
  context_.dirty.push_back(this);
}

void Connection::begin_dialing(std::string target, const wire::Preface& own, const Security& security, Duration timeout) {
  state_ = State::dialing;
  target_ = std::move(target);
  own_preface_ = own;
  security_ = security;
  deadline_ = context_.now + timeout;
  context_.arm_timer(*deadline_);
}

void Connection::dial(std::vector<Endpoint> endpoints) {
  if (state_ == State::dialing) dialer_.start(std::move(endpoints), target_);
}

void Connection::expect(Duration timeout) {
  state_ = State::expecting;
  target_ = "the peer's lane";
  deadline_ = context_.now + timeout;
  context_.arm_timer(*deadline_);
}

Status Connection::use_socket(base::UniqueFd socket) {
  socket_ = std::move(socket);
  set_nonblocking(socket_.get(), context_.io->wants_nonblocking_sockets());
  const Distance distance = distance_of(socket_.get());
  Status status = tune(distance);
  target_ = remote_endpoint(socket_.get()).to_string();
  send_.fd = socket_.get();
  receive_.fd = socket_.get();
  zero_copy_off_ = why_copied(context_.options->zero_copy, context_.io->has_zero_copy(), distance);
  if (rate_bytes_s_) pace(socket_.get(), rate_bytes_s_);
  mark_dirty();
  return status;
}

// Errors: unsupported (what Options::kernel_controller requires can't be had any more).
Status Connection::tune(Distance distance) {
  const Options& options = *context_.options;
  Congestion congestion = tune_socket(socket_.get(), distance, options, context_.kernel_maps != nullptr);
  const bool selected = context_.kernel_maps && congestion.name == kernel_congestion::name;
  if (selected) take_control();
  // What this process can't drive is not better than what the lists have.
  if (selected && !steering_) congestion = tune_socket(socket_.get(), distance, options, false);
  congestion_ = congestion.name;
  if (options.kernel_controller == KernelController::require && !steering_) {
    return Status(StatusCode::unsupported,
                  fmt::format("kernel_controller requires haul's congestion control, but {}",
                              selected ? context_.no_kernel_maps
                                       : fmt::format("it was taken out since this transport was made: {} is in force (haul cc "
                                                     "install)",
                                                     congestion.name)));
  }
  if (congestion.as_asked || std::exchange(context_.told_of_congestion[congestion.rack ? 1 : 0], true)) return {};
  context_.log(LogLevel::warning, congestion_warning(congestion, options));
  return {};
}

// Somebody may have installed it anew since the maps were opened: then the socket belongs to other maps.
void Connection::take_control() {
  auto maps = KernelMaps::of(socket_.get(), context_.kernel_maps, context_.options->kernel_controller_directory);
  context_.no_kernel_maps = maps.status().message();
  if (!maps.ok()) return;
  context_.kernel_maps = std::move(*maps);
  steering_.emplace(context_.kernel_maps, socket_.get());
}

void Connection::on_dialed(base::UniqueFd socket) {
  state_ = State::greeting;
  if (Status status = use_socket(std::move(socket)); !status.ok()) return fail(std::move(status));
  begin_greeting();
}

void Connection::begin_greeting() {
  std::unique_ptr<security::TlsSession> tls;
  if (context_.security) {
    auto session =
        security::TlsSession::start(security::TlsSession::Role::dials, context_.security, security_.weakest, security_.host);
    if (!session.ok()) return fail(session.status());
    tls = std::move(*session);
  }
  greeting_ = std::make_unique<Greeting>(std::move(tls), context_.security);
  continue_greeting({});
}

void Connection::continue_greeting(Status status) {
  if (status.ok() && greeting_->secured() && preface_unsent_) {
    preface_unsent_ = false;
    status = greeting_->send_preface(own_preface());
  }
  const bool sent = send_now(socket_.get(), greeting_->outgoing());
  greeting_->take_outgoing();
  if (status.ok() && !sent) status = Status(StatusCode::peer_lost, "the connection broke while it was being set up");
  if (!status.ok()) return fail(Status(status.code(), fmt::format("{}: {}", target_, status.message()), status.system_error()));
  if (!greeting_->done()) return;
  const std::unique_ptr<Greeting> over = std::move(greeting_);
  become_ready(over->peer(), over->take_link(), Event::Kind::connected);
}

void Connection::adopt(Arrival arrival, Event::Kind event) {
  own_preface_ = {.kind = arrival.preface.kind, .token = arrival.preface.token};
  state_ = State::greeting;
  if (Status status = use_socket(std::move(arrival.socket)); !status.ok()) return fail(std::move(status));
  preface_unsent_ = false;
  std::vector<std::byte> preface;
  Status status = seal_preface(arrival.link, own_preface(), preface);
  if (status.ok() && !send_now(socket_.get(), preface)) {
    status = Status(StatusCode::peer_lost, "the connection broke while it was being set up");
  }
  if (!status.ok()) return fail(std::move(status));
  become_ready(arrival.preface, std::move(arrival.link), event);
}

void Connection::become_ready(const wire::Preface& peer, Link link, Event::Kind event) {
  if (Status status = protect(std::move(link)); !status.ok()) {
    return fail(Status(status.code(), fmt::format("{}: {}", target_, status.message())));
  }
  state_ = State::ready;
  deadline_.reset();
  // Not before the peer is known: it may fill what it is offered.
  if (distance_of(socket_.get()) == Distance::wan) open_window(socket_.get());
  outbound_.set_peer(peer);
  context_.emit(event, id_);
  mark_dirty();
}

// What was agreed on comes into force; both prefaces are behind.
Status Connection::protect(Link link) {
  identity_ = std::move(link.identity);
  protection_ = link.protection;
  if (!link.sealer) return {};
  if (protection_ == Protection::plain) {
    protected_by_ = "authenticated by TLS 1.3, then plain";
    return {};
  }
  zero_copy_off_ = "off (protected)";
  const auto name = to_string(link.sealer->keys().cipher);
  if (protection_ == Protection::encrypted) {
    const KernelTls wanted = context_.options->kernel_tls;
    Status kernel = wanted == KernelTls::off ? Status(StatusCode::unsupported, "switched off")
                                             : use_kernel_tls(socket_.get(), link.sealer->keys(), link.opener->keys());
    if (kernel.ok()) {
      kernel_tls_ = true;
      send_.whole = false;
      protected_by_ = fmt::format("TLS 1.3 {} by the kernel", name);
      return {};
    }
    if (kernel.code() != StatusCode::unsupported || wanted == KernelTls::require) return kernel;
    protected_by_ = fmt::format("TLS 1.3 {} by the library (kernel TLS: {})", name, kernel.message());
  } else {
    auto sealer = security::RecordCipher::make(*link.integrity_sends, Protection::integrity_only);
    if (!sealer.ok()) return sealer.status();
    auto opener = security::RecordCipher::make(*link.integrity_receives, Protection::integrity_only);
    if (!opener.ok()) return opener.status();
    link.sealer.emplace(std::move(*sealer));
    link.opener.emplace(std::move(*opener));
    protected_by_ = "authenticated by TLS 1.3, integrity only (GMAC)";
  }
  stream_ = std::make_unique<ProtectedStream>(std::move(*link.sealer), std::move(*link.opener),
                                              context_.options->direct_threshold_bytes);
  return {};
}

// The peer counts the same bytes, so that both sides notice at about the same time.
void Connection::count_protected(size_t bytes) {
  protected_bytes_ += bytes;
  if (protected_by_.empty() || protection_ == Protection::plain) return;
  const uint64_t renew_bytes = context_.options->renew_keys_after_bytes;
  if (!aging_ && protected_bytes_ >= renew_bytes) {
    aging_ = true;
    context_.emit(Event::Kind::aging, id_);
  }
  // Nobody replaced it: also where the kernel seals, which does not count.
  if (protected_bytes_ < 2 * renew_bytes + renewal_bytes) return;
  fail(Status(StatusCode::exhausted,
              fmt::format("{}: the keys of this connection are used up, and it was not replaced in time", target_)));
}

wire::Preface Connection::own_preface() const {
  wire::Preface preface = own_preface_;
  preface.max_payload_bytes = context_.capabilities->max_operation_bytes;
  preface.max_message_bytes = context_.capabilities->max_message_bytes;
  preface.credits = context_.capabilities->max_operations;
  return preface;
}

void Connection::on_timer() {
  if (state_ == State::dialing) dialer_.on_timer();
  if (!deadline_) return;
  if (context_.now < *deadline_) {
    context_.arm_timer(*deadline_);
    return;
  }
  deadline_.reset();
  switch (state_) {
    case State::dialing:
      fail(Status(StatusCode::timed_out, fmt::format("connecting to {}: no answer in time", target_)));
      break;
    case State::expecting: fail(Status(StatusCode::timed_out, "the peer did not connect the lane in time")); break;
    case State::greeting:
      fail(Status(StatusCode::timed_out,
                  fmt::format("{} accepted the connection but did not introduce itself in time: it may speak something else",
                              target_)));
      break;
    // A drain whose peer does not close its side, or a peer that was refused and does not listen.
    case State::ready: tear_down(inbound_.misuse(), true); break;
    default: break;
  }
}

void Connection::service() {
  dirty_ = false;
  if (state_ != State::ready && state_ != State::greeting) return;
  deliver_records();
  if (state_ != State::ready && state_ != State::greeting) return;
  send_more();
  if (!inbound_.misuse().ok()) end_misuse();
  if (state_ >= State::ending) return;
  receive_more();
  outbound_.announce_room();
}

// The peer is told that it was refused, if it takes the answer.
void Connection::end_misuse() {
  const bool told = !send_.busy() && batch_.done() && (!stream_ || stream_->unsent().empty()) && inbound_.idle();
  if (told || send_error_ != 0) return fail(inbound_.misuse());
  if (deadline_) return;
  deadline_ = context_.now + misuse_farewell;
  context_.arm_timer(*deadline_);
}

void Connection::close(CloseMode mode) {
  if (mode == CloseMode::drain && state_ == State::ready) {
    draining_ = true;
    mark_dirty();
  } else {
    tear_down({}, mode == CloseMode::abort);
  }
}

size_t Connection::post(std::span<const Operation> operations) {
  if (state_ == State::over) return 0;  // `closed` was raised: nothing comes after it
  if (draining_ || state_ >= State::ending) {
    for (const Operation& operation : operations) {
      context_.emit(Event::Kind::completed, id_, operation.id).status = lost();
    }
    return operations.size();
  }
  const size_t taken = outbound_.post(operations);
  mark_dirty();
  return taken;
}

bool Connection::send(std::span<const std::byte> message) {
  if (draining_ || state_ >= State::ending) return true;  // nobody is there to read it; `closed` tells
  if (message.empty() || message.size() > context_.capabilities->max_message_bytes) return false;
  const bool taken = outbound_.send(message);
  mark_dirty();
  return taken;
}

void Connection::answer(uint64_t id, StatusCode code) {
  if (state_ >= State::ending) return;
  inbound_.answer(id, code);
  mark_dirty();
}

void Connection::cancel(uint64_t id) {
  if (state_ < State::ending) outbound_.cancel(id);
}

Result<LocalGrant> Connection::grant(std::span<std::byte> memory, Rights rights) {
  if (state_ >= State::ending) return lost();
  return inbound_.grant(memory, rights);
}

void Connection::revoke(uint64_t grant_id) {
  if (state_ >= State::ending) return;
  inbound_.revoke(grant_id);
  if (inbound_.landing_revoked()) {
    // What is received into a buffer of the stream cannot land any more.
    if (receive_.busy() && !stream_) {
      context_.io->cancel(receive_);
    } else {
      receiver_.discard_payload();
      inbound_.detach_landing();
    }
  }
  mark_dirty();
}

void Connection::tear_down(Status status, bool reset) {
  if (state_ >= State::ending) return;
  state_ = State::ending;
  end_status_ = std::move(status);
  deadline_.reset();
  if (context_.hot == this) context_.hot = nullptr;
  dialer_.stop();
  const bool sends_wait =
      std::any_of(zero_copy_sends_.begin(), zero_copy_sends_.end(), [](const auto& send) { return send->taken; });
  if (socket_) {
    if (reset || sends_wait) {
      reset_socket(socket_.get());
    } else {
      shutdown(socket_.get(), SHUT_RDWR);
    }
  }
  context_.io->cancel(send_);
  context_.io->cancel(receive_);
  for (const auto& send : zero_copy_sends_) context_.io->cancel(send->operation);
  finish_if_quiet();
}

// Only when the kernel refers to no memory of operations or grants any more.
void Connection::finish_if_quiet() {
  if (state_ != State::ending || send_.busy() || receive_.busy() || dialer_.busy()) return;
  for (const auto& send : zero_copy_sends_) {
    if (send->operation.busy()) return;
  }
  if (socket_) {
    context_.io->forget(socket_.get());
    steering_.reset();
    socket_.reset();
  }
  outbound_.end_all(lost());
  state_ = State::over;
  over_in_poll_ = context_.poll_number;
  context_.ended.push_back(id_);
  context_.emit(Event::Kind::closed, id_).status = end_status_;
}

// What an operation ends with that the connection's end cut off.
Status Connection::lost() const {
  if (end_status_.ok()) return Status(StatusCode::peer_lost, "the connection was closed");
  if (end_status_.code() == StatusCode::peer_lost) return end_status_;
  return Status(StatusCode::peer_lost, std::string(end_status_.message()), end_status_.system_error());
}

void Connection::set_limits(const Limits& limits) {
  outbound_.set_window(limits.window_bytes);
  const bool changed = rate_bytes_s_ != limits.rate_bytes_s;
  rate_bytes_s_ = limits.rate_bytes_s;
  if (changed && socket_) pace(socket_.get(), rate_bytes_s_);
  make_room_for(limits.path_bytes.value_or(0));
  mark_dirty();
}

// The send buffer never shrinks again.
void Connection::make_room_for(uint64_t path_bytes) {
  if (!socket_ || path_bytes <= path_bytes_) return;
  path_bytes_ = path_bytes;
  buffer_limited_ = !hold_path(socket_.get(), path_bytes_);
}

std::optional<LaneReport> Connection::take_report() { return steering_ ? steering_->take_report() : std::nullopt; }

Status Connection::steer(uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s, Duration valid_for) {
  if (!steering_) return {};
  make_room_for(window_bytes);
  if (rate_bytes_s) rate_bytes_s = endurable_rate(socket_.get(), *rate_bytes_s);
  Status status = steering_->command(window_bytes, rate_bytes_s, valid_for);
  const auto in_force = status.ok() ? rate_bytes_s : std::nullopt;
  if (in_force != steered_rate_bytes_s_) bound_unsent(socket_.get(), in_force);
  steered_rate_bytes_s_ = in_force;
  return status;
}

PathSample Connection::sample() const {
  PathSample sample;
  if (socket_) sample_socket(socket_.get(), outbound_.unsent_bytes(), sample);
  sample.bytes_unsent += outbound_.unsent_bytes();
  return sample;
}

std::string Connection::describe() const {
  if (!socket_) return state_ < State::greeting ? fmt::format("tcp, connecting to {}", target_) : "tcp, closed";
  std::string congestion = congestion_;
  if (steering_) {
    congestion += steering_->driven() ? " (driven from here)" : " (nobody drives it: RFC 5681)";
  } else if (!context_.no_kernel_maps.empty()) {
    congestion += fmt::format(" (not the kernel's haul: {})", context_.no_kernel_maps);
  }
  return fmt::format("tcp {} to {}, {}, congestion control {}, zero copy {}, {}{}", local_endpoint(socket_.get()).to_string(),
                     remote_endpoint(socket_.get()).to_string(), context_.io->name(), congestion,
                     zero_copy_off_ != nullptr ? zero_copy_off_ : "on",
                     protected_by_.empty() ? "not authenticated, plain text" : protected_by_,
                     buffer_limited_ ? fmt::format(", {}", send_buffer_limit(path_bytes_)) : "");
}

}  // namespace haul::tcp
