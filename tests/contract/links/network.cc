// What becomes of each datagram: translators, queues, losses, arrivals.
#include "contract/links/network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace haul::links {

namespace {

constexpr uint32_t first_address = 0x0a000001;             // 10.0.0.1
constexpr uint32_t first_translated_address = 0xc0000201;  // 192.0.2.1
constexpr uint16_t first_port = 40000;
constexpr size_t inbox_bytes = 8U << 20;
// What found nothing to do so often at one instant, and wants to be polled at once again, gets it a little later.
constexpr int max_rounds_in_vain = 16;
constexpr Duration smallest_step = std::chrono::microseconds(1);

Place place_of(const net::Endpoint& endpoint) {
  base::check(endpoint.family() == AF_INET, "links join IPv4 addresses only");
  sockaddr_in v4{};
  std::memcpy(&v4, &endpoint.storage, sizeof(v4));
  return {ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port)};
}

net::Endpoint endpoint_of(Place place) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(place.address);
  v4.sin_port = htons(place.port);
  net::Endpoint endpoint;
  std::memcpy(&endpoint.storage, &v4, sizeof(v4));
  endpoint.bytes = sizeof(v4);
  return endpoint;
}

uint64_t mix(uint64_t hash, uint64_t value) noexcept {
  hash = (std::rotl(hash, 5) ^ value) * 0x9e3779b97f4a7c15U;
  return hash ^ (hash >> 32);
}

// The codepoints of RFC 3168, section 5.
constexpr uint8_t not_ect = 0;
constexpr uint8_t ect1 = 1;
constexpr uint8_t ce = 3;

uint8_t after(Marks marks, uint8_t ecn) noexcept {
  switch (marks) {
    case Marks::kept: break;
    case Marks::bleached: return not_ect;
    case Marks::changed: return ecn == not_ect ? not_ect : ect1;
    case Marks::spoilt: return ce;
  }
  return ecn;
}

Duration time_for(uint64_t bytes, uint64_t rate_bytes_s) {
  return Duration(static_cast<int64_t>(bytes * 1'000'000'000U / rate_bytes_s));
}

}  // namespace

struct Network::Host {
  explicit Host(uint64_t seed) : random(seed) {}

  std::string name;
  uint32_t address = 0;
  base::Random random;
  std::map<uint16_t, Socket*> sockets;
  uint16_t next_port = first_port;
  // The translator, where there is one.
  uint32_t translated_address = 0;
  uint16_t next_translated_port = first_port;
  std::map<uint16_t, uint16_t> translations;  // from ports of the host to those outside
};

class Network::Socket final : public quic::DatagramSocket {
 public:
  Socket(Network& network, Host& host, const net::Endpoint& local)
      : network_(network), host_(host), local_(local), port_(local.port()) {
    host_.sockets[port_] = this;
  }
  ~Socket() override {
    if (const auto found = host_.sockets.find(port_); found != host_.sockets.end() && found->second == this) {
      host_.sockets.erase(found);
    }
  }

  quic::Burst receive() override {
    if (inbox_.empty()) return {};
    current_ = std::move(inbox_.front());
    inbox_.pop_front();
    inbox_bytes_ -= current_.bytes.size();
    return {.bytes = current_.bytes,
            .datagram_bytes = current_.bytes.size(),
            .ecn = current_.ecn,
            .remote = endpoint_of(current_.from)};
  }
  bool send(const quic::Burst& burst) override {
    if (!dead_) network_.send(host_, port_, burst);
    return true;
  }
  const net::Endpoint& local() const noexcept override { return local_; }
  int fd() const noexcept override { return -1; }

  void put(Arrival arrival) {
    if (dead_ || inbox_bytes_ + arrival.bytes.size() > inbox_bytes) return;
    inbox_bytes_ += arrival.bytes.size();
    inbox_.push_back(std::move(arrival));
  }
  void kill() {
    dead_ = true;
    inbox_.clear();
    inbox_bytes_ = 0;
  }

 private:
  Network& network_;
  Host& host_;
  net::Endpoint local_;
  uint16_t port_;
  std::deque<Arrival> inbox_;
  size_t inbox_bytes_ = 0;
  Arrival current_;
  bool dead_ = false;
};

Network::Network(uint64_t seed) : random_(seed) {}
Network::~Network() = default;

std::string Network::add_host() {
  hosts_.push_back(std::make_unique<Host>(random_.next()));
  Host& host = *hosts_.back();
  host.address = first_address + static_cast<uint32_t>(hosts_.size() - 1);
  host.name = endpoint_of({host.address, 0}).address().host;
  return host.name;
}

Network::Host& Network::host_named(const std::string& name) {
  const auto found = std::find_if(hosts_.begin(), hosts_.end(), [&](const auto& host) { return host->name == name; });
  base::check(found != hosts_.end(), "no such host: add_host() comes first");
  return **found;
}

Network::Host* Network::host_at(uint32_t address) {
  for (const auto& host : hosts_) {
    const uint32_t outside = host->translated_address != 0 ? host->translated_address : host->address;
    if (outside == address) return host.get();
  }
  return nullptr;
}

quic::Surroundings Network::surroundings(const std::string& name) {
  Host& host = host_named(name);
  return {.open_socket = [this, &host](const net::Endpoint& local, bool, uint32_t) { return open(host, local); },
          .random = [&host](std::span<std::byte> out) { host.random.fill(out); }};
}

Result<std::unique_ptr<quic::DatagramSocket>> Network::open(Host& host, const net::Endpoint& local) {
  if (local.family() != AF_INET) return Status(StatusCode::unavailable, "links join IPv4 addresses only");
  Place place = place_of(local);
  if (place.address != 0 && place.address != host.address) {
    return Status(StatusCode::unavailable, local.to_string() + " is not an address of this host");
  }
  if (place.port == 0) {
    while (host.sockets.contains(host.next_port)) ++host.next_port;
    place.port = host.next_port++;
  }
  if (host.sockets.contains(place.port)) return Status(StatusCode::unavailable, local.to_string() + " is taken");
  return std::unique_ptr<quic::DatagramSocket>(std::make_unique<Socket>(*this, host, endpoint_of(place)));
}

void Network::set_link(const std::string& from, const std::string& to, const LinkOptions& options) {
  Link& way = links_[{host_named(from).address, host_named(to).address}];
  way.options = options;
  way.own = true;
}

Network::Link& Network::link(const Host& from, const Host& to) {
  Link& way = links_[{from.address, to.address}];
  if (!way.own) way.options = everywhere_;
  return way;
}

void Network::cut(const std::string& a, const std::string& b) {
  cuts_.insert(std::minmax({host_named(a).address, host_named(b).address}));
}

void Network::heal(const std::string& a, const std::string& b) {
  cuts_.erase(std::minmax({host_named(a).address, host_named(b).address}));
}

bool Network::is_cut(uint32_t a, uint32_t b) const { return cuts_.contains(std::minmax({a, b})); }

void Network::crash(const std::string& name) {
  Host& host = host_named(name);
  for (const auto& [port, socket] : host.sockets) socket->kill();
  host.sockets.clear();
}

void Network::rebind(const std::string& name, bool moves) {
  Host& host = host_named(name);
  host.translations.clear();
  if (host.translated_address == 0) {
    const auto place = std::find_if(hosts_.begin(), hosts_.end(), [&](const auto& each) { return each.get() == &host; });
    constexpr uint32_t addresses_a_host = 1U << 16;
    host.translated_address = first_translated_address + addresses_a_host * static_cast<uint32_t>(place - hosts_.begin());
  } else if (moves) {
    ++host.translated_address;
  }
}

Place Network::outside(Host& host, uint16_t port) {
  if (host.translated_address == 0) return {host.address, port};
  const auto [found, fresh] = host.translations.try_emplace(port);
  if (fresh) found->second = host.next_translated_port++;
  return {host.translated_address, found->second};
}

void Network::note(const Seen& seen) {
  hash_ = mix(hash_, static_cast<uint64_t>(seen.at.time_since_epoch().count()));
  hash_ = mix(hash_, (uint64_t{seen.from.address} << 32) | seen.to.address);
  hash_ = mix(hash_, (uint64_t{seen.from.port} << 32) | seen.to.port);
  hash_ = mix(hash_, seen.bytes);
  ++datagrams_;
  if (recording_) recorded_.push_back(seen);
}

void Network::send(Host& host, uint16_t port, const quic::Burst& burst) {
  const Place from = outside(host, port);
  const Place to = place_of(burst.remote);
  for (size_t begin = 0; begin < burst.bytes.size(); begin += burst.datagram_bytes) {
    const size_t bytes = std::min(burst.datagram_bytes, burst.bytes.size() - begin);
    note({.at = clock_.time, .from = from, .to = to, .bytes = bytes});
    send_one(host, from, to, burst.bytes.subspan(begin, bytes), burst.ecn);
  }
}

void Network::send_one(Host& host, Place from, Place to, std::span<const std::byte> bytes, uint8_t ecn) {
  const Host* receiver = host_at(to.address);
  if (receiver == nullptr || is_cut(host.address, receiver->address)) return;
  Link& way = link(host, *receiver);
  const LinkOptions& options = way.options;
  // As much is drawn for each, so that one seed's fates stay comparable when options change.
  const bool lost = random_.chance(options.loss);
  const bool turns = random_.chance(way.in_burst ? options.burst_end : options.burst);
  const bool over = way.in_burst && (turns || clock_.time - way.burst_began > options.burst_longest);
  if (!way.in_burst && turns) way.burst_began = clock_.time;
  way.in_burst = way.in_burst ? !over : turns;
  const bool held_back = random_.chance(options.reorder);
  const bool doubled = random_.chance(options.duplicate);
  const bool changed = random_.chance(options.corrupt);
  const uint64_t bit = random_.below(bytes.size() * 8);
  const auto jitter = Duration(static_cast<int64_t>(random_.below(static_cast<uint64_t>(options.jitter.count()) + 1)));

  if (bytes.size() > options.most_payload_bytes) return;
  const Duration own = time_for(bytes.size(), options.rate_bytes_s);
  const Duration waiting = std::max(Duration::zero(), way.busy_until - clock_.time);
  if (waiting > Duration::zero() && waiting + own > time_for(options.queue_bytes, options.rate_bytes_s)) {
    ++refused_;
    return;
  }
  if (waiting > options.mark_above && ecn != not_ect) {
    ecn = ce;
    ++marked_;
  }
  way.busy_until = clock_.time + waiting + own;
  if (lost || way.in_burst) return;

  Arrival arrival{.from = from, .to = to, .ecn = after(options.marks, ecn), .bytes = {bytes.begin(), bytes.end()}};
  if (changed) arrival.bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  TimePoint at = std::max(way.busy_until + options.delay + jitter, way.last_arrival);
  way.last_arrival = at;
  if (held_back) at += options.reorder_delay;
  if (doubled) schedule(at + own, arrival);
  schedule(at, std::move(arrival));
}

void Network::schedule(TimePoint at, Arrival arrival) { ways_.emplace(std::pair(at, next_order_++), std::move(arrival)); }

void Network::deliver(Arrival arrival) {
  Host* host = host_at(arrival.to.address);
  if (host == nullptr) return;
  uint16_t port = arrival.to.port;
  if (host->translated_address != 0) {
    const auto found = std::find_if(host->translations.begin(), host->translations.end(),
                                    [&](const auto& each) { return each.second == arrival.to.port; });
    if (found == host->translations.end()) return;
    port = found->first;
  }
  const Host* sender = host_at(arrival.from.address);
  if (sender != nullptr && is_cut(sender->address, host->address)) return;
  const auto socket = host->sockets.find(port);
  if (socket == host->sockets.end()) return;
  ++delivered_;
  if (tap_) tap_(arrival.from, arrival.to, arrival.bytes);
  socket->second->put(std::move(arrival));
}

void Network::advance_to(TimePoint time) {
  while (!ways_.empty() && ways_.begin()->first.first <= time) {
    auto next = ways_.extract(ways_.begin());
    clock_.time = std::max(clock_.time, next.key().first);
    deliver(std::move(next.mapped()));
  }
  clock_.time = std::max(clock_.time, time);
}

bool Network::run(const std::function<size_t()>& poll, const std::function<std::optional<TimePoint>()>& next,
                  const std::function<bool()>& until, Duration limit) {
  const TimePoint end = clock_.time + limit;
  int rounds_in_vain = 0;
  while (true) {
    const uint64_t moved_before = datagrams_ + delivered_;
    advance_to(clock_.time);
    const size_t handled = poll();
    if (until()) return true;
    if (clock_.time >= end) return false;
    const bool in_vain = handled == 0 && datagrams_ + delivered_ == moved_before;
    rounds_in_vain = in_vain ? rounds_in_vain + 1 : 0;
    TimePoint at = std::min(end, next().value_or(end));
    if (!ways_.empty()) at = std::min(at, ways_.begin()->first.first);
    if (handled > 0) continue;
    if (at <= clock_.time) {
      if (rounds_in_vain < max_rounds_in_vain) continue;
      ++spins_;
      at = clock_.time + smallest_step;
    }
    advance_to(at);
    rounds_in_vain = 0;
  }
}

}  // namespace haul::links
