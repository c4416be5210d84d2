// A program as users write them: moves a buffer between two engines, over each backend of the installed haul.
#include <haul/engine.h>
#include <haul/sim.h>
#include <haul/tcp.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

constexpr uint64_t size_bytes = 300'000;
constexpr haul::Duration time_limit = std::chrono::seconds(20);

using Run = std::function<bool(std::array<haul::Engine*, 2>, const std::function<bool()>& until)>;

bool failed(const char* what, const haul::Status& status) {
  std::fprintf(stderr, "consumer: %s: %s\n", what, status.to_string().c_str());
  return false;
}

std::unique_ptr<haul::Engine> make_engine(haul::EngineOptions options, std::unique_ptr<haul::Transport> transport) {
  std::vector<std::unique_ptr<haul::Transport>> transports;
  transports.push_back(std::move(transport));
  auto engine = haul::Engine::create(std::move(options), std::move(transports));
  if (engine.ok()) return std::move(engine).value();
  failed("create", engine.status());
  return nullptr;
}

/// One put from a to b; true when the bytes are there. The receiver grants its buffer to whoever connects.
bool move_bytes(haul::EngineOptions options, std::array<std::unique_ptr<haul::Transport>, 2> transports,
                const haul::Address& address, const Run& run) {
  haul::Buffer target;
  std::optional<haul::RemoteBuffer> granted;
  haul::EngineOptions receiving = options;
  receiving.on_peer = [&](haul::Peer peer) {
    auto grant = peer.grant(target.slice(), haul::Rights::write);
    if (grant.ok()) granted = *grant;
  };
  const auto sender = make_engine(std::move(options), std::move(transports[0]));
  const auto receiver = make_engine(std::move(receiving), std::move(transports[1]));
  if (!sender || !receiver) return false;

  auto source = sender->allocate(size_bytes);
  auto memory = receiver->allocate(size_bytes);
  if (!source.ok()) return failed("allocate", source.status());
  if (!memory.ok()) return failed("allocate", memory.status());
  target = std::move(memory).value();
  std::fill(source->bytes().begin(), source->bytes().end(), std::byte{0x5a});

  const auto bound = receiver->listen(address);
  if (!bound.ok()) return failed("listen", bound.status());
  auto peer = sender->connect(*bound);
  if (!peer.ok()) return failed("connect", peer.status());
  const std::array engines = {sender.get(), receiver.get()};
  if (!run(engines, [&] { return granted && peer->state() != haul::PeerState::connecting; }))
    return failed("connecting", peer->status());

  const haul::Transfer transfer = peer->put(source->slice(), granted->slice());
  run(engines, [&] { return transfer.done(); });
  if (!transfer.status().ok()) return failed("put", transfer.status());
  return std::equal(source->bytes().begin(), source->bytes().end(), target.bytes().begin());
}

bool over_sim() {
  haul::sim::World world(1);
  world.add_node("a");
  world.add_node("b");
  world.link("a", "b", {});
  haul::EngineOptions options;
  options.clock = &world.clock();
  options.seed = 1;
  options.security = haul::SecurityPolicy::insecure;  // simulated names are not loopback
  return move_bytes(std::move(options), {world.make_transport("a"), world.make_transport("b")}, {"b", 7000},
                    [&](std::array<haul::Engine*, 2> engines, const std::function<bool()>& until) {
                      return world.run(engines, until, time_limit);
                    });
}

bool over_tcp() {
  haul::tcp::Options tcp;
  tcp.io = haul::tcp::Io::prefer_uring;
  auto one = haul::tcp::make_transport(tcp);
  auto other = haul::tcp::make_transport(tcp);
  if (!one.ok()) return failed("tcp", one.status());
  if (!other.ok()) return failed("tcp", other.status());
  return move_bytes({}, {std::move(one).value(), std::move(other).value()}, {"127.0.0.1", 0},
                    [](std::array<haul::Engine*, 2> engines, const std::function<bool()>& until) {
                      const auto end = haul::system_clock().now() + time_limit;
                      while (!until() && haul::system_clock().now() < end) {
                        for (haul::Engine* engine : engines) engine->wait(std::chrono::milliseconds(1));
                      }
                      return until();
                    });
}

}  // namespace

int main() {
  const bool sim = over_sim();
  const bool tcp = over_tcp();
  std::printf("haul %s: sim %s, tcp %s\n", std::string(haul::version()).c_str(), sim ? "ok" : "failed", tcp ? "ok" : "failed");
  return sim && tcp ? 0 : 1;
}
