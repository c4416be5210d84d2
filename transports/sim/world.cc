// The world as tests see it: nodes, links and failures.
#include <algorithm>

#include "base/check.h"
#include "network.h"
#include "transport.h"

namespace haul::sim {
namespace {

/// A node talks to itself over this: in effect instantly.
LinkOptions local_link() {
  LinkOptions options;
  options.rate_bytes_s = 100'000'000'000;
  options.delay = std::chrono::microseconds(5);
  options.queue_bytes = 1U << 30;
  return options;
}

constexpr size_t max_name_bytes = 255;
constexpr uint64_t max_queue_bytes = 16ULL << 30;

bool is_probability(double value) { return value >= 0 && value <= 1; }

void check_options(const LinkOptions& options) {
  base::check(options.rate_bytes_s > 0, "a simulated link needs a rate above zero");
  base::check(options.queue_bytes <= max_queue_bytes, "a simulated link's queue holds at most 16 GiB");
  base::check(options.delay >= Duration::zero() && options.reorder_delay >= Duration::zero(),
              "a simulated link cannot deliver into the past");
  base::check(options.mtu_bytes >= 2 * Packet::header_bytes, "a simulated link needs an MTU of at least 128 bytes");
  base::check(is_probability(options.loss) && is_probability(options.reorder) && is_probability(options.duplicate) &&
                  is_probability(options.corrupt),
              "a simulated link's probabilities lie between 0 and 1");
}

}  // namespace

World::World(uint64_t seed) : state_(std::make_unique<State>(seed)) {}

World::~World() { base::check(state_->transports.empty(), "a simulated world must outlive its transports"); }

const Clock& World::clock() const noexcept { return state_->clock; }

void World::add_node(std::string name) {
  base::check(!name.empty() && name.size() <= max_name_bytes, "a simulated node's name has 1 to 255 bytes");
  base::check(!state_->find_node(name), "a simulated node's name is taken");
  const auto index = static_cast<NodeIndex>(state_->nodes.size());
  state_->nodes.push_back(Node{.name = std::move(name), .up = true, .listeners = {}, .next_port = 49152});
  state_->links[{index, index}].options = local_link();
}

void World::link(std::string_view a, std::string_view b, const LinkOptions& options) {
  link_one_way(a, b, options);
  link_one_way(b, a, options);
}

void World::link_one_way(std::string_view from, std::string_view to, const LinkOptions& options) {
  check_options(options);
  state_->links[{state_->require_node(from), state_->require_node(to)}].options = options;
}

void World::partition(std::string_view a, std::string_view b) {
  state_->partitions.insert(std::minmax({state_->require_node(a), state_->require_node(b)}));
}

void World::heal(std::string_view a, std::string_view b) {
  state_->partitions.erase(std::minmax({state_->require_node(a), state_->require_node(b)}));
}

void World::crash(std::string_view name) {
  const NodeIndex index = state_->require_node(name);
  state_->nodes[index].up = false;
  const std::vector<SimTransport*> transports = state_->transports;
  for (SimTransport* transport : transports) {
    if (transport->node() == index) transport->silence();
  }
}

void World::restart(std::string_view name) { state_->nodes[state_->require_node(name)].up = true; }

std::unique_ptr<Transport> World::make_transport(std::string_view name, const TransportOptions& options) {
  const NodeIndex index = state_->require_node(name);
  base::check(state_->nodes[index].up, "a crashed simulated node needs restart() before a new transport");
  base::check(options.dead_after > Duration::zero() && options.max_operation_bytes > 0 && options.max_operations > 0,
              "a simulated transport needs limits above zero");
  return std::make_unique<SimTransport>(*state_, index, options);
}

uint64_t World::trace_hash() const noexcept { return state_->hash; }

uint64_t World::packets() const noexcept { return state_->packets; }

void World::set_trace(std::function<void(std::string_view)> sink) { state_->trace = std::move(sink); }

}  // namespace haul::sim
