// The receiving side of haul-bench.
#include "haul_bench/server.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "haul/engine.h"
#include "haul_bench/engine_setup.h"
#include "haul_bench/protocol.h"
#include "measure/durations.h"
#include "measure/usage.h"

namespace bench {

namespace {

constexpr uint64_t server_seed = 2;

std::atomic<bool> stop_asked = false;  // a signal handler can reach nothing else

extern "C" void ask_stop(int /*signal*/) { stop_asked.store(true); }

/// What one client uses.
struct Client {
  haul::Buffer memory;
  haul::RemoteBuffer client_memory;
  uint64_t block_bytes = 0;
};

class Server {
 public:
  explicit Server(const Settings& settings) : settings_(settings) {}

  haul::Status start() {
    haul::EngineOptions options;
    options.accept_policy.require = {settings_.transport};
    options.on_message = [this](haul::Peer peer, const haul::Message& message) { on_message(peer, message); };
    options.on_peer_closed = [this](haul::Peer peer, const haul::Status& why) { on_peer_closed(peer, why); };
    auto engine = make_engine(settings_, std::move(options));
    if (!engine) return engine.status();
    engine_ = std::move(engine).value();
    const auto address = haul::Address::parse(settings_.listen);
    if (!address) return address.status();
    const auto bound = engine_->listen(*address);
    if (!bound) return bound.status();
    fmt::print("haul-bench server: listening on {}\n", bound->to_string());
    std::fflush(stdout);
    return {};
  }

  void serve() {
    const haul::Clock& clock = haul::system_clock();
    const auto lifetime = from_seconds(settings_.lifetime_s);
    const haul::TimePoint end = clock.now() + lifetime;
    while (!stop_asked.load() && !(settings_.once && client_left_)) {
      if (settings_.lifetime_s > 0 && clock.now() >= end) break;
      engine_->wait(std::chrono::seconds(1));
    }
  }

 private:
  void on_message(haul::Peer peer, const haul::Message& message) {
    const BenchMessage decoded = decode(message.payload);
    if (const auto* ping = std::get_if<Ping>(&decoded)) return answer_ping(peer, *ping);
    if (std::holds_alternative<AskUsage>(decoded)) return reply(peer, usage(peer));
    if (const auto* setup = std::get_if<Setup>(&decoded)) return reply(peer, set_up(peer, *setup));
    reply(peer, Refused{"unknown message: is the other side another version of haul-bench?"});
  }

  BenchMessage set_up(haul::Peer peer, const Setup& setup) {
    if (setup.version != protocol_version) {
      return Refused{
          fmt::format("the client speaks version {}, this server {}: use the same build", setup.version, protocol_version)};
    }
    if (setup.block_bytes == 0 || setup.block_bytes > setup.working_set_bytes)
      return Refused{"block and working set do not fit"};
    auto memory = make_working_set(*engine_, setup.working_set_bytes, server_seed);
    if (!memory) return Refused{memory.status().to_string()};
    const auto granted = peer.grant(memory->slice(), haul::Rights::read_write);
    if (!granted) return Refused{granted.status().to_string()};
    clients_[peer.id()] = Client{std::move(memory).value(), setup.client_memory, setup.block_bytes};
    return Ready{*granted, shared_settings(settings_)};
  }

  static Usage usage(const haul::Peer& peer) { return {cpu_time_ns(), peak_resident_bytes().value_or(0), retransmits(peer)}; }

  void answer_ping(haul::Peer peer, const Ping& ping) {
    const auto found = clients_.find(peer.id());
    if (found == clients_.end()) return;
    const Client& client = found->second;
    const uint64_t blocks = client.memory.size() / client.block_bytes;
    const uint64_t offset = ping.sequence % blocks * client.block_bytes;
    const EncodedMessage pong = encode(ping);
    haul::TransferOptions options;
    options.notify = pong.bytes();
    peer.put(client.memory.slice(offset, client.block_bytes), client.client_memory.slice(offset, client.block_bytes),
             std::move(options));
  }

  void reply(haul::Peer peer, const BenchMessage& message) {
    const haul::Status sent = peer.send(encode(message).bytes());
    if (!sent.ok()) fmt::print(stderr, "haul-bench server: cannot answer {}: {}\n", peer.name(), sent.to_string());
  }

  void on_peer_closed(haul::Peer peer, const haul::Status& why) {
    clients_.erase(peer.id());
    client_left_ = true;
    if (!why.ok()) fmt::print(stderr, "haul-bench server: client lost: {}\n", why.to_string());
  }

  const Settings& settings_;
  std::map<uint64_t, Client> clients_;  // by peer id
  bool client_left_ = false;
  std::unique_ptr<haul::Engine> engine_;  // after what its callbacks use
};

}  // namespace

int run_server(const Settings& settings) {
  std::signal(SIGINT, ask_stop);
  std::signal(SIGTERM, ask_stop);
  if (settings.once) ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  Server server(settings);
  if (const haul::Status started = server.start(); !started.ok()) {
    fmt::print(stderr, "haul-bench server: {}\n", started.to_string());
    return 1;
  }
  server.serve();
  return 0;
}

}  // namespace bench
