// What a contract test drives: engines on named nodes over one backend, stepped until something is true, and its faults.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "contract/checked_transport.h"
#include "haul/engine.h"

namespace haul::contract {

/// What a backend under test can be made to suffer. Cases that need more are skipped, with a warning.
struct Abilities {
  std::string_view transport;  ///< Capabilities::name
  bool virtual_time = false;
  bool silences = false;       ///< silence() and heal()
  bool crashes = false;        ///< crash()
  bool corrupts_wire = false;  ///< corrupt_wire()
  bool control_apart = false;  ///< the first lane is not of this backend, and outlives it
};

/// What one engine's callbacks told.
struct Inbox {
  struct Letter {
    std::vector<std::byte> payload;
    bool notification = false;
    uint64_t peer = 0;
  };
  std::vector<Letter> letters;
  std::vector<Peer> arrived;
  std::vector<std::pair<Peer, Status>> closed;
  std::function<void(Peer)> on_peer;                     ///< in addition, while its arrival is told
  std::function<void(Peer, const Message&)> on_message;  ///< in addition, while the message is delivered
};

/// One engine with what surrounds it. Buffers made by the engine must go before it.
struct Node {
  std::string name;
  Address address;
  Inbox inbox;
  std::shared_ptr<TransportRecord> record;
  std::unique_ptr<Engine> engine;
  bool stalled = false;  ///< its engine is not polled

  Engine& operator*() const { return *engine; }
  Engine* operator->() const { return engine.get(); }
};

/// Two engines that know each other.
struct Pair {
  Node& a;
  Node& b;
  Peer to_b;  ///< a's handle
  Peer to_a;  ///< b's handle
};

class Harness {
 public:
  virtual ~Harness();

  virtual Abilities abilities() const = 0;
  virtual const Clock& clock() const = 0;
  /// Two transports of different nodes reach each other at these addresses.
  virtual std::unique_ptr<Transport> make_transport(const std::string& node) = 0;
  /// A backend that does not connect by address needs another one beside it, which carries control messages.
  virtual std::unique_ptr<Transport> make_control_transport(const std::string&) { return nullptr; }
  virtual Address listen_address(const std::string& node) const = 0;

  virtual void silence(const std::string& a, const std::string& b);
  virtual void heal(const std::string& a, const std::string& b);
  virtual void crash(const std::string& node);
  /// Flips bits on the way from now on (or no longer), with this probability a packet or operation.
  virtual void corrupt_wire(double probability);

  /// Steps everything until `until` is true or `limit` of this backend's time passed; returns until().
  virtual bool run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) = 0;

  /// The same below the engine: `until` polls the transports itself.
  virtual bool run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) = 0;

  /// Engine options that suit this backend: small time-outs in its own time.
  virtual EngineOptions options() const;

  /// Makes an engine that listens. Callbacks in `options` are replaced by those that fill the inbox.
  Node& start(const std::string& name) { return start(name, options()); }
  Node& start(const std::string& name, EngineOptions options);
  /// The same, over these transports.
  Node& start(const std::string& name, EngineOptions options, std::vector<std::unique_ptr<Transport>> transports);
  /// Destroys a node's engine; the inbox and the record stay.
  void stop(Node& node) { node.engine.reset(); }

  /// Connects and waits for both sides.
  Pair connect(Node& a, Node& b, PeerOptions options = {});
  Pair connected_pair(PeerOptions options = {}) { return connect(start("a"), start("b"), std::move(options)); }

  /// Steps the engines that are neither stopped nor stalled.
  bool run(const std::function<bool()>& until, Duration limit);
  bool run(const std::function<bool()>& until) { return run(until, patience()); }
  /// For as long as it takes when all is well; failing to end by then is a failure.
  Duration patience() const { return std::chrono::seconds(30); }
  void run_for(Duration time) {
    run([] { return false; }, time);
  }

  base::Random& random() { return random_; }

  /// Broken promises of the transport contract and of backend-specific kinds, over all nodes that ever were.
  virtual std::vector<std::string> defects() const;

 protected:
  Harness() = default;
  /// Derived destructors call this before what the engines use goes away.
  void stop_all();
  std::vector<std::unique_ptr<Node>> nodes_;

 private:
  base::Random random_{0x5eed};
};

/// Whether a test needs more than the backend has: says so, once a case.
bool skip_unless(bool able, std::string_view what);

/// Fills with bytes that depend on position and seed.
void fill_pattern(std::span<std::byte> memory, uint64_t seed);
bool all_bytes_are(std::span<const std::byte> memory, std::byte value);
std::span<const std::byte> bytes_of(std::string_view text);
std::string text_of(std::span<const std::byte> bytes);

}  // namespace haul::contract
