// The steps of a greeting.
#include "tcp/greeting.h"

#include <sys/uio.h>

#include <utility>

namespace haul::tcp {

namespace {

constexpr auto tls_change_cipher_spec = std::byte{20};  // without meaning; some send it (RFC 8446 appendix D.4)
constexpr auto tls_alert = std::byte{21};
constexpr auto tls_handshake = std::byte{22};
constexpr auto tls_data = std::byte{23};

}  // namespace

Greeting::Greeting(std::unique_ptr<security::TlsSession> tls, std::shared_ptr<const SecurityContext> context,
                   Protection weakest)
    : tls_(std::move(tls)),
      context_(std::move(context)),
      weakest_(weakest),
      in_(context_ ? security::record_header_bytes : wire::preface_bytes),
      secured_(context_ == nullptr) {
  if (!tls_) return;
  // The side that dials has something to say at once.
  const Status begun = tls_->advance({});
  outgoing_.assign(tls_->outgoing().begin(), tls_->outgoing().end());
  tls_->take_outgoing();
}

std::span<std::byte> Greeting::wanted() noexcept { return std::span(in_).subspan(filled_); }

Status Greeting::received(size_t bytes) {
  filled_ += bytes;
  if (filled_ < in_.size()) return {};
  if (!context_) return plain_preface(std::span<const std::byte, wire::preface_bytes>(in_.data(), wire::preface_bytes));
  if (in_.size() == security::record_header_bytes) return header_received();
  Status status = record_received();
  in_.resize(security::record_header_bytes);
  filled_ = 0;
  return status;
}

bool Greeting::would_handshake(size_t bytes) const noexcept {
  return !secured_ && in_.size() > security::record_header_bytes && filled_ + bytes == in_.size();
}

Status Greeting::plain_preface(std::span<const std::byte, wire::preface_bytes> bytes) {
  if (bytes[0] == tls_handshake && bytes[1] == std::byte{3}) {
    // In the peer's language (RFC 8446 section 6).
    const auto alert = security::TlsSession::no_credentials_alert();
    outgoing_.assign(alert.begin(), alert.end());
    return Status(StatusCode::refused, "it wants TLS, and this side has no credentials: give it some, or both sides none");
  }
  auto preface = wire::decode_preface(bytes);
  if (!preface.ok()) {
    // So that a peer of another version can say both versions too. What speaks something else sees a closed connection.
    if (wire::is_other_version(bytes)) {
      const Status sent = send_preface({.max_payload_bytes = 1, .max_message_bytes = 1, .credits = 1});
    }
    return preface.status();
  }
  peer_ = *preface;
  done_ = true;
  return {};
}

// RFC 8446 section 5.1.
Status Greeting::header_received() {
  if (wire::begins_preface(in_)) {
    // In plain text, since that is what the peer understands.
    std::array<std::byte, wire::preface_bytes> answer{};
    wire::encode({.kind = wire::PrefaceKind::needs_credentials}, answer);
    outgoing_.assign(answer.begin(), answer.end());
    return security::speaks_no_tls();
  }
  const std::byte type = in_[0];
  const size_t bytes = (static_cast<size_t>(in_[3]) << 8U) | static_cast<size_t>(in_[4]);
  const bool known =
      type == tls_alert || type == tls_handshake || type == tls_data || (type == tls_change_cipher_spec && begun_ && !secured_);
  const bool version = in_[1] == std::byte{3} && (in_[2] == std::byte{3} || (in_[2] == std::byte{1} && !begun_));
  begun_ = true;
  if (!known || !version || bytes == 0 || bytes > security::max_record_bytes) {
    return Status(StatusCode::protocol, "it speaks something else than TLS");
  }
  in_.resize(security::record_header_bytes + bytes);
  return {};
}

Status Greeting::record_received() {
  if (!secured_) return advance_handshake(in_);
  if (auto size = security::record_size(in_); !size.ok()) return size.status();
  return open_preface(in_);
}

Status Greeting::advance_handshake(std::span<const std::byte> received) {
  if (!tls_) {
    auto session = security::TlsSession::start(security::TlsSession::Role::accepts, context_, weakest_, {});
    if (!session.ok()) return session.status();
    tls_ = std::move(*session);
  }
  Status status = tls_->advance(received);
  outgoing_.insert(outgoing_.end(), tls_->outgoing().begin(), tls_->outgoing().end());
  tls_->take_outgoing();
  if (status.ok() && tls_->done()) status = agree();
  return status;
}

Status Greeting::agree() {
  for (const bool sends : {true, false}) {
    auto keys = tls_->keys(sends);
    if (!keys.ok()) return keys.status();
    auto cipher = security::RecordCipher::make(*keys, Protection::encrypted);
    if (!cipher.ok()) return cipher.status();
    (sends ? link_.sealer : link_.opener).emplace(std::move(*cipher));
    if (tls_->protection() != Protection::integrity_only) continue;
    auto integrity = tls_->integrity_keys(sends);
    if (!integrity.ok()) return integrity.status();
    (sends ? link_.integrity_sends : link_.integrity_receives) = *integrity;
  }
  link_.identity = tls_->peer();
  link_.protection = tls_->protection();
  secured_ = true;
  return {};
}

Status Greeting::open_preface(std::span<const std::byte> record) {
  std::array<std::byte, wire::preface_bytes + 1> content{};
  if (record.size() > security::record_overhead_bytes + wire::preface_bytes) {
    return Status(StatusCode::protocol, "it speaks something else than haul's TCP framing within TLS");
  }
  auto opened = link_.opener->open(record, content);
  if (!opened.ok()) return opened.status();
  const auto bytes = std::span<const std::byte>(content).first(opened->bytes);
  if (opened->type == security::ContentType::alert) return security::TlsSession::alert_status(bytes, *context_);
  if (bytes.size() != wire::preface_bytes) {
    return Status(StatusCode::protocol, "it speaks something else than haul's TCP framing within TLS");
  }
  auto preface = wire::decode_preface(bytes.first<wire::preface_bytes>());
  if (!preface.ok()) return preface.status();
  peer_ = *preface;
  done_ = true;
  return {};
}

Status Greeting::send_preface(const wire::Preface& preface) { return seal_preface(link_, preface, outgoing_); }

Status seal_preface(Link& link, const wire::Preface& preface, std::vector<std::byte>& out) {
  std::array<std::byte, wire::preface_bytes> bytes{};
  wire::encode(preface, bytes);
  if (!link.sealer) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  }
  std::array<std::byte, wire::preface_bytes + security::record_overhead_bytes> record{};
  const iovec part{bytes.data(), bytes.size()};
  auto sealed = link.sealer->seal(std::span(&part, 1), record);
  if (!sealed.ok()) return sealed.status();
  out.insert(out.end(), record.begin(), record.end());
  return {};
}

}  // namespace haul::tcp
