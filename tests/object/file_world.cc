// A file server and clients on simulated machines.
#include "file_world.h"

#include <catch2/catch.hpp>

#include "object/receiver.h"
#include "object/sender.h"

namespace haul::object_test {

using namespace object;

namespace {

std::unique_ptr<Engine> engine_on(sim::World& world, const std::string& node, uint64_t seed, EngineOptions options) {
  options.name = node;
  options.clock = &world.clock();
  options.seed = seed;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(world.make_transport(node));
  auto engine = Engine::create(std::move(options), std::move(transports));
  REQUIRE(engine.ok());
  return std::move(*engine);
}

}  // namespace

JobLimits FileWorld::limits() { return {.slot_bytes = 64U << 10, .slots = 4, .entry_window = 4}; }

FileWorld::FileWorld(uint64_t seed, const sim::LinkOptions& link) : world_(seed), link_(link) {
  world_.add_node("server");
  ServiceOptions options;
  options.folder = folder_.open();
  options.max_sessions = 3;
  options.limits = limits();
  options.make_worker = [] { return make_inline_worker(); };
  options.on_job_done = [this](const std::string&, const JobReport& report) { reports_.push_back(report); };
  service_ = std::make_unique<FileService>(std::move(options));
  EngineOptions engine_options;
  engine_options.security = SecurityPolicy::insecure;
  engine_options.on_peer = [this](Peer peer) {
    if (service_) service_->on_peer(peer);
  };
  engine_options.on_message = [this](Peer peer, const Message& message) {
    if (service_) service_->on_message(peer, message);
  };
  engine_options.on_peer_closed = [this](Peer peer, const Status& status) {
    if (service_) service_->on_peer_closed(peer, status);
  };
  engine_ = engine_on(world_, "server", 1000, std::move(engine_options));
  service_->attach(*engine_);
  REQUIRE(engine_->listen(address()).ok());
}

FileWorld::~FileWorld() { service_.reset(); }

std::unique_ptr<ClientNode> FileWorld::make_node() {
  const std::string name = "client" + std::to_string(++nodes_);
  world_.add_node(name);
  world_.link(name, "server", link_);
  auto node = std::make_unique<ClientNode>();
  EngineOptions options;
  options.security = SecurityPolicy::insecure;
  options.on_message = [raw = node.get()](Peer peer, const Message& message) {
    if (raw->client) return raw->client->on_message(peer, message);
    auto decoded = decode(message.payload);
    REQUIRE(decoded.ok());
    raw->received.push_back(std::move(*decoded));
  };
  options.on_peer_closed = [raw = node.get()](Peer peer, const Status& status) {
    raw->closed = true;
    if (raw->client) raw->client->on_peer_closed(peer, status);
  };
  node->engine = engine_on(world_, name, nodes_, std::move(options));
  return node;
}

std::unique_ptr<ClientNode> FileWorld::push(const std::filesystem::path& from, const std::string& name, PushRequest request) {
  auto node = make_node();
  Engine& engine = *node->engine;
  node->client = std::make_unique<FileClient>(
      engine, world_.clock(), ClientOptions{.address = address()},
      [&engine, from, name, request](Channel& channel) -> std::unique_ptr<Job> {
        auto source = std::make_unique<Source>(std::vector<Top>{{.path = from.string(), .name = name}},
                                               Root{.folder_fd = AT_FDCWD, .follow = Follow::anywhere});
        return std::make_unique<Sender>(channel, engine, std::move(source), make_inline_worker(), limits(), request);
      });
  node->client->start();
  return node;
}

std::unique_ptr<ClientNode> FileWorld::pull(const std::string& path, const std::filesystem::path& to, bool overwrite) {
  auto node = make_node();
  Engine& engine = *node->engine;
  node->client = std::make_unique<FileClient>(engine, world_.clock(), ClientOptions{.address = address()},
                                              [&engine, path, to, overwrite](Channel& channel) -> std::unique_ptr<Job> {
                                                base::UniqueFd folder(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                                                return std::make_unique<Receiver>(
                                                    channel, engine, std::move(folder), SinkOptions{.overwrite = overwrite},
                                                    make_inline_worker(), limits(), PullRequest{.path = path});
                                              });
  node->client->start();
  return node;
}

std::unique_ptr<ClientNode> FileWorld::raw() {
  auto node = make_node();
  auto peer = node->engine->connect(address());
  REQUIRE(peer.ok());
  node->peer = *peer;
  REQUIRE(run({node.get()}, [&] { return !node->received.empty() || node->closed; }));
  return node;
}

bool FileWorld::run(const std::vector<ClientNode*>& nodes, const std::function<bool()>& until, Duration limit) {
  std::vector<Engine*> engines{engine_.get()};
  for (ClientNode* node : nodes) engines.push_back(node->engine.get());
  // In slices, so that the protocol's own timers run although the engines know nothing of them.
  constexpr Duration slice = std::chrono::milliseconds(200);
  const TimePoint end = world_.clock().now() + limit;
  const auto step = [&] {
    const TimePoint now = world_.clock().now();
    service_->step(now);
    for (ClientNode* node : nodes) {
      if (node->client) node->client->step(now);
    }
    return until();
  };
  while (world_.clock().now() < end) {
    if (world_.run(engines, step, slice)) return true;
  }
  return false;
}

}  // namespace haul::object_test
