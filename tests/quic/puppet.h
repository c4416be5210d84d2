// A peer that speaks QUIC as it must, and haul as it likes.
#pragma once

#include <sys/socket.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/unique_fd.h"
#include "loopback.h"
#include "quic/session.h"
#include "quic/stream.h"
#include "quic/wire.h"
#include "unit/security_support.h"

namespace haul::quic::test {

/// Dials a listener at loopback. Nothing moves but in move().
class Puppet final : public SessionOwner {
 public:
  Puppet(const security::test::Party& party, uint16_t port) {
    base::system_random(secret_);
    sockaddr_in any = haul::test::loopback(0);
    REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0);
    to_ = haul::test::loopback(port);
    std::memcpy(&remote_.storage, &to_, sizeof(to_));
    remote_.bytes = sizeof(to_);
    local_ = net::local_endpoint(socket_.get());
    auto tls = security::QuicSession::start(true, party.context(), {});
    REQUIRE(tls.ok());
    auto made = Session::dial({.local = local_,
                               .remote = remote_,
                               .idle_timeout = std::chrono::seconds(10),
                               .driven = false,
                               .secret = &secret_,
                               .random = &random_,
                               .owner = this,
                               .tls = std::move(*tls)},
                              system_clock().now());
    REQUIRE(made.ok());
    session_ = std::move(*made);
  }

  Session& session() noexcept { return *session_; }
  bool handshake_done() const noexcept { return handshake_done_; }
  const std::vector<wire::Record>& records() const noexcept { return records_; }

  void hello() {
    REQUIRE(session_->open_stream());
    wire::Record hello{.type = wire::RecordType::hello, .code = static_cast<uint16_t>(wire::HelloKind::bootstrap)};
    hello.max_payload_bytes = hello.max_message_bytes = hello.credits = 4096;
    stream_.put(hello, {});
  }
  void put(const wire::Record& record) { stream_.put(record, {}); }

  /// Receives and sends what there is.
  void move() {
    const TimePoint now = system_clock().now();
    std::array<std::byte, 2048> packet{};
    for (ssize_t got = 0; (got = ::recv(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT)) > 0;) {
      session_->read(std::span(packet).first(static_cast<size_t>(got)), 0, local_, remote_, now);
    }
    if (session_->expiry() && *session_->expiry() <= now) session_->on_expiry(now);
    for (;;) {
      Session::Packet written;
      if (handshake_done_ && stream_.has_unsent()) {
        size_t taken = 0;
        written = session_->write_stream(packet, stream_.unsent(), taken, now);
        stream_.sent(taken);
      } else {
        written = session_->write_rest(packet, now);
      }
      if (written.bytes == 0) return;
      send(std::span(packet).first(written.bytes));
    }
  }
  void send(std::span<const std::byte> packet) {
    ::sendto(socket_.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to_), sizeof(to_));
  }

  void on_handshake_done() override { handshake_done_ = true; }
  Status on_stream_bytes(std::span<const std::byte> bytes) override {
    return reader_.take(bytes, [this](const wire::Record& record, std::span<const std::byte>) {
      records_.push_back(record);
      return Status();
    });
  }
  void on_stream_acknowledged(uint64_t offset) override { stream_.acknowledged(offset); }
  Status on_datagram(std::span<const std::byte>) override { return {}; }
  void on_datagram_acknowledged(uint64_t) override {}
  void on_datagram_lost(uint64_t) override {}
  void on_cid(const Cid&) override {}
  void on_cid_gone(const Cid&) override {}

 private:
  Secret secret_{};
  FillRandom random_ = base::system_random;
  base::UniqueFd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_in to_{};
  net::Endpoint local_;
  net::Endpoint remote_;
  StreamSender stream_;
  RecordReader reader_{16384};
  std::vector<wire::Record> records_;
  bool handshake_done_ = false;
  std::unique_ptr<Session> session_;
};

}  // namespace haul::quic::test
