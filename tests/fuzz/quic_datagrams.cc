// Somebody on the way between two ends of the quic transport, in virtual time: sends what nobody made, real datagrams that were
// changed, cut or lengthened, and real ones once more from anywhere. Whoever has no keys can't end a connection, nor change
// what arrives.
#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "base/random.h"
#include "contract/links/network.h"
#include "fuzz/identities.h"
#include "fuzz/scripted_core.h"
#include "fuzz/targets.h"

namespace haul::fuzz {

namespace {

using namespace std::chrono_literals;

constexpr size_t memory_bytes = 64U << 10;
constexpr size_t kept_datagrams = 64;
constexpr size_t most_steps = 48;

/// One end, with the events that matter here.
struct End {
  std::unique_ptr<Transport> transport;
  ConnectionId connection = 0;
  bool ready = false;
  bool closed = false;
  uint64_t completed = 0;
  uint64_t messages = 0;

  size_t poll(TimePoint now) {
    std::array<Event, 16> events{};
    const size_t count = transport->poll(now, NextPoll::at_once, events);
    for (const Event& event : std::span(events).first(count)) take(event, now);
    return count;
  }
  void take(const Event& event, TimePoint now) {
    const bool begins = event.kind == Event::Kind::accepted || event.kind == Event::Kind::connected;
    if (begins) connection = event.connection;
    ready = ready || begins;
    if (event.kind == Event::Kind::closed && event.connection == connection) closed = true;
    if (event.kind == Event::Kind::message) ++messages;
    if (event.kind == Event::Kind::landed) transport->answer(event.connection, event.id, {}, now);
    if (event.kind != Event::Kind::completed) return;
    require(event.status.ok(), "an operation failed");
    ++completed;
  }
};

class Attacked {
 public:
  explicit Attacked(Script& script) : script_(script), network_(1), network_host_(network_.add_host()) {
    network_.set_tap([this](links::Place from, links::Place to, std::span<const std::byte> bytes) {
      if (injecting_) return;
      if (heard_.size() == kept_datagrams) heard_.pop_front();
      heard_.push_back({from, to, {bytes.begin(), bytes.end()}});
    });
    const std::string listener_host = network_host_;
    make(listener_, listener_host, identities().accepts);
    make(dialer_, network_.add_host(), identities().dials);
    const auto bound = listener_.transport->listen({listener_host, 0});
    require(bound.ok(), "a listener can't be made");
    const auto opened = dialer_.transport->open({.address = *bound}, now());
    require(opened.ok(), "an end can't be opened");
    require(dialer_.transport->join(opened->connection, {}, now()).ok(), "an end can't be joined");
  }

  void run() {
    // As long as nothing is established, whoever is on the way can keep a peer away: only what goes to the
    // listener is attacked.
    for (size_t early = script_.below(8); early > 0 && !script_.done(); --early) step(true);
    run_until([&] { return dialer_.ready && listener_.ready; }, 10s);
    require(dialer_.ready && listener_.ready, "two ends can't be joined");
    prepare();
    for (size_t steps = 0; steps < most_steps && !script_.done(); ++steps) step(false);
    write(memory_bytes);
    send();
    run_until([&] { return dialer_.completed == posted_ && listener_.messages == sent_; }, 20s);
    require(!dialer_.closed && !listener_.closed, "a connection was ended by somebody without its keys");
    require(dialer_.completed == posted_, "an operation did not end");
    require(listener_.messages == sent_, "a message did not arrive");
    require(same(source_->bytes(), target_->bytes()), "something else arrived than what was sent");
    require(network_.spins() == 0, "an end asked to be polled for nothing");
  }

 private:
  struct Heard {
    links::Place from;
    links::Place to;
    Bytes bytes;
  };

  void make(End& end, const std::string& host, const std::shared_ptr<const SecurityContext>& security) {
    quic::Options options;
    options.hello_timeout = 2s;
    auto made = quic::make_transport(options, network_.surroundings(host));
    require(made.ok(), "a transport can't be made");
    end.transport = std::move(*made);
    require(end.transport->secure(security, Protection::encrypted).ok(), "a transport can't be secured");
  }

  TimePoint now() const { return network_.clock().now(); }

  void run_until(const std::function<bool()>& until, Duration limit) {
    network_.run([&] { return listener_.poll(now()) + dialer_.poll(now()); },
                 [&] {
                   const auto a = listener_.transport->next_deadline();
                   const auto b = dialer_.transport->next_deadline();
                   return a && b ? std::optional(std::min(*a, *b)) : a ? a : b;
                 },
                 until, limit);
  }
  void run_for(Duration time) {
    run_until([] { return false; }, time);
  }

  void prepare() {
    base::Random(1).fill(source_memory_);
    source_ = region(dialer_, source_memory_);
    target_ = region(listener_, target_memory_);
    const auto granted = listener_.transport->grant(listener_.connection, *target_, {0, memory_bytes}, Rights::write, now());
    require(granted.ok(), "memory can't be granted");
    granted_ = granted->remote;
  }
  static std::unique_ptr<MemoryRegion> region(End& end, std::span<std::byte> memory) {
    auto made = end.transport->register_memory(memory, MemoryKind::host);
    require(made.ok(), "memory can't be registered");
    return std::move(*made);
  }

  void write(size_t bytes) {
    Operation operation;
    operation.id = ++posted_;
    operation.local = source_.get();
    operation.remote = &granted_;
    operation.length = static_cast<uint32_t>(bytes);
    require(dialer_.transport->post(dialer_.connection, std::span(&operation, 1), now()) == 1, "nothing can be posted");
  }
  void send() {
    const std::array<std::byte, 100> message{};
    if (dialer_.transport->send(dialer_.connection, message, now())) ++sent_;
  }

  void step(bool early) {
    const size_t what = script_.below(8);
    if (what == 0) return run_for(std::chrono::milliseconds(script_.below(50)));
    if (what == 1 && !early) return write(1 + script_.number16() % memory_bytes);
    if (what == 2 && !early) return send();
    if (what == 3) return invent(early);
    if (heard_.empty()) return run_for(1ms);
    Heard datagram = heard_[script_.below(heard_.size())];
    if (early && datagram.to.address == heard_.front().from.address) return;
    if (what == 4) return inject(elsewhere(datagram));
    change(datagram.bytes);
    inject(what == 5 ? elsewhere(datagram) : datagram);
  }

  /// Something that nobody made, to where something went before.
  void invent(bool early) {
    if (heard_.empty()) return run_for(1ms);
    Heard datagram = early ? heard_.front() : heard_[script_.below(heard_.size())];
    const auto begin = script_.bytes(script_.below(64));
    datagram.bytes.assign(begin.begin(), begin.end());
    datagram.bytes.resize(std::max<size_t>(script_.number16() % 1500U, 1));
    inject(datagram);
  }

  /// Never what it was before.
  void change(Bytes& bytes) {
    const size_t size = bytes.size();
    if (script_.flag()) bytes.resize(1 + script_.number16() % size);
    if (script_.flag()) bytes.resize(std::min<size_t>(bytes.size() + script_.byte(), 1500), std::byte{script_.byte()});
    const size_t at = script_.number16() % bytes.size();
    if (bytes.size() == size) bytes[at] ^= std::byte{static_cast<uint8_t>(1U + script_.below(255))};
  }

  Heard elsewhere(Heard datagram) {
    datagram.from.port = static_cast<uint16_t>(1 + script_.byte());
    if (script_.flag()) datagram.from.address ^= 0x00010000U;
    return datagram;
  }

  void inject(const Heard& datagram) {
    injecting_ = true;
    network_.inject(datagram.from, datagram.to, datagram.bytes);
    run_for(Duration::zero());
    injecting_ = false;
  }

  Script& script_;
  links::Network network_;
  std::string network_host_;
  std::deque<Heard> heard_;
  bool injecting_ = false;
  End listener_;
  End dialer_;
  Bytes source_memory_ = Bytes(memory_bytes);
  Bytes target_memory_ = Bytes(memory_bytes);
  std::unique_ptr<MemoryRegion> source_;
  std::unique_ptr<MemoryRegion> target_;
  RemoteRegion granted_;
  uint64_t posted_ = 0;
  uint64_t sent_ = 0;
};

}  // namespace

void quic_datagrams_run(std::span<const std::byte> input) {
  Script script(input);
  Attacked(script).run();
}

void quic_datagrams_seeds(const SeedSink& sink) { draw_scripts(sink, 60, 20); }

}  // namespace haul::fuzz
