// What a connection knows of its path: the controller made for it, how large packets may be, and what is told of both.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "quic/connection.h"
#include "quic/limits.h"

namespace haul::quic {

namespace {

bool same_host(net::Endpoint a, net::Endpoint b) noexcept {
  a.set_port(0);
  b.set_port(0);
  return same(a, b);
}

}  // namespace

Status Connection::make_gate(std::optional<PathMemory> memory) {
  ControllerOptions path{.packet_bytes = static_cast<uint32_t>(std::min(most_packet_bytes(), ethernet_packet_bytes))};
  path.memory = memory;
  path.max_window_bytes = max_window_bytes;
  auto controller = context_.options->make_controller
                        ? Result<std::unique_ptr<CongestionController>>(context_.options->make_controller(path))
                        : congestion::make(context_.options->controller, path);
  if (!controller.ok()) return controller.status();
  if (!*controller) return Status(StatusCode::invalid, "no congestion controller was made for a quic connection");
  gate_.emplace(std::move(*controller));
  gate_->set_rate_limit(rate_limit_);
  return {};
}

void Connection::recall(const PathMemory& memory) {
  const bool sent_payload = gate_ && gate_->path().in_flight_bytes() + gate_->path().delivered_bytes() > 0;
  if (!established() || sent_payload) return;
  if (Status status = make_gate(memory); !status.ok()) fail(std::move(status));
}

PathLesson Connection::lesson() const {
  if (!gate_) return {};
  return {.memory = gate_->controller().memory(), .failed = gate_->controller().memory_failed()};
}

size_t Connection::most_packet_bytes() const {
  if (context_.options->udp_payload_bytes > 0) return context_.options->udp_payload_bytes;
  return remote_.is_loopback() ? max_burst_bytes : jumbo_packet_bytes;
}

// RFC 9000 section 9.4: with another address, not only another port, nothing counts of what was learned, nor of what is under
// way.
void Connection::path_changed(const net::Endpoint& before) {
  if (same_host(before, remote_)) return;
  ledger_.forget_path();
  size_ = PacketSize(most_packet_bytes());
  if (!gate_) return;
  delivered_before_ += gate_->path().delivered_bytes();
  lost_before_ += gate_->path().lost_bytes();
  if (!make_gate().ok()) fail(Status(StatusCode::internal, "no second congestion controller was made"));
}

PathSample Connection::sample() const {
  PathSample sample;
  if (!session_ || !gate_) return sample;
  const Session::Stats stats = session_->stats();
  sample.rtt_smoothed = stats.rtt_smoothed;
  sample.rtt_min = stats.rtt_min;
  sample.rtt_latest = stats.rtt_latest;
  if (gate_->last_delivery_rate() > 0) sample.delivery_rate_bytes_s = gate_->last_delivery_rate();
  sample.congestion_window_bytes = gate_->controller().window_bytes();
  sample.bytes_sent = bytes_sent_;
  sample.bytes_received = bytes_received_;
  sample.bytes_unsent = outbound_->unsent_bytes() + stream_.held_bytes();
  sample.retransmits = pieces_lost_;
  sample.bytes_delivered = delivered_before_ + gate_->path().delivered_bytes();
  sample.bytes_lost = lost_before_ + gate_->path().lost_bytes();
  sample.bytes_in_flight = gate_->path().in_flight_bytes();
  sample.progress_bytes = sample.bytes_delivered + bytes_received_;
  return sample;
}

std::string Connection::describe() const {
  if (!session_ || !gate_) return fmt::format("quic, connecting to {}", target_);
  const uint64_t renewals = session_->key_renewals();
  return fmt::format("quic {} to {}, {} bytes a packet, congestion control {} ({}), TLS 1.3 {} with {}{}",
                     outlet_->local().to_string(), remote_.to_string(), size_.bytes(), gate_->controller().name(),
                     gate_->controller().phase(), cipher_, identity_.name,
                     renewals > 0 ? fmt::format(", keys renewed {} times", renewals) : std::string());
}

}  // namespace haul::quic
