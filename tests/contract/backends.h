// The harness of each backend.
#pragma once

#include <chrono>

#include "contract/harness.h"
#include "contract/onesided/fabric.h"
#include "haul/sim.h"
#include "haul/tcp.h"
#include "io_ways.h"
#ifdef HAUL_CONTRACT_QUIC
#include "contract/links/network.h"
#include "haul/quic.h"
#endif
#ifdef HAUL_CONTRACT_RDMA
#include "contract/verbs/fabric.h"
#include "haul/rdma.h"
#endif

namespace haul::contract {

class SimHarness final : public Harness {
 public:
  explicit SimHarness(uint64_t seed = 1);
  ~SimHarness() override { stop_all(); }
  Abilities abilities() const override { return {"sim", true, true, true, true}; }
  const Clock& clock() const override { return world_.clock(); }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;
  Address listen_address(const std::string& node) const override { return {node, 1}; }
  void silence(const std::string& a, const std::string& b) override { world_.partition(a, b); }
  void heal(const std::string& a, const std::string& b) override { world_.heal(a, b); }
  void crash(const std::string& node) override { world_.crash(node); }
  void corrupt_wire(double probability) override;
  bool run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) override;
  bool run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) override;

  sim::World& world() { return world_; }
  /// Of every link, also of those to nodes that start later.
  void set_links(const sim::LinkOptions& options);

 private:
  sim::World world_;
  sim::LinkOptions links_;
  std::vector<std::string> known_;
};

/// One identity for all nodes, made once: what is tested here is the contract, not who is trusted.
std::shared_ptr<const SecurityContext> shared_identity();

/// Real sockets over loopback, in real time.
class TcpHarnessBase : public Harness {
 public:
  explicit TcpHarnessBase(tcp::Io io);
  Abilities abilities() const override { return {"tcp", false, false, false, false}; }
  const Clock& clock() const override { return system_clock(); }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;
  Address listen_address(const std::string&) const override { return {"127.0.0.1", 0}; }
  bool run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) override;
  bool run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) override;

  /// Of the transports made from now on.
  tcp::Options& transport_options() { return options_; }

 private:
  tcp::Options options_;
};

class TcpHarness final : public TcpHarnessBase {
 public:
  static constexpr bool over_uring = true;
  TcpHarness() : TcpHarnessBase(test::uring_or_epoll()) {}
  ~TcpHarness() override { stop_all(); }
};

class TcpEpollHarness final : public TcpHarnessBase {
 public:
  TcpEpollHarness() : TcpHarnessBase(tcp::Io::epoll) {}
  ~TcpEpollHarness() override { stop_all(); }
};

/// tcp between nodes that authenticate each other, with records sealed by the library.
class TcpProtectedHarness : public TcpHarnessBase {
 public:
  TcpProtectedHarness(tcp::Io io, Protection protection) : TcpHarnessBase(io), protection_(protection) {
    transport_options().kernel_tls = tcp::KernelTls::off;
  }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;

 private:
  Protection protection_;
};

class TcpEncryptedHarness final : public TcpProtectedHarness {
 public:
  static constexpr bool over_uring = true;
  TcpEncryptedHarness() : TcpProtectedHarness(test::uring_or_epoll(), Protection::encrypted) {}
  ~TcpEncryptedHarness() override { stop_all(); }
};

class TcpIntegrityHarness final : public TcpProtectedHarness {
 public:
  TcpIntegrityHarness() : TcpProtectedHarness(tcp::Io::epoll, Protection::integrity_only) {}
  ~TcpIntegrityHarness() override { stop_all(); }
};

/// Records sealed and opened by the kernel, which may lack that: cases over this harness and the next are run where the kernel
/// has it (tests/guest), and left out elsewhere by their names.
class TcpKernelTlsHarness final : public TcpProtectedHarness {
 public:
  static constexpr bool over_uring = true;
  explicit TcpKernelTlsHarness(tcp::Io io = test::uring_or_epoll(), Protection protection = Protection::encrypted)
      : TcpProtectedHarness(io, protection) {
    transport_options().kernel_tls = tcp::KernelTls::require;
  }
  ~TcpKernelTlsHarness() override { stop_all(); }
};

/// One node by the kernel, the next by the library, and so on.
class TcpHalfKernelTlsHarness final : public TcpProtectedHarness {
 public:
  TcpHalfKernelTlsHarness() : TcpProtectedHarness(tcp::Io::epoll, Protection::encrypted) {}
  ~TcpHalfKernelTlsHarness() override { stop_all(); }
  std::unique_ptr<Transport> make_transport(const std::string& node) override {
    auto& kernel_tls = transport_options().kernel_tls;
    kernel_tls = kernel_tls == tcp::KernelTls::off ? tcp::KernelTls::require : tcp::KernelTls::off;
    return TcpProtectedHarness::make_transport(node);
  }
};

#ifdef HAUL_CONTRACT_QUIC
/// UDP sockets over loopback, in real time.
class QuicHarness final : public TcpHarnessBase {
 public:
  QuicHarness();
  ~QuicHarness() override { stop_all(); }
  Abilities abilities() const override { return {"quic", false, false, false, false}; }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;

  /// Of the transports made from now on.
  quic::Options& quic_options() { return options_; }

 private:
  quic::Options options_;
};

/// The quic backend over simulated links, in virtual time.
class QuicSimHarness final : public Harness {
 public:
  explicit QuicSimHarness(uint64_t seed = 1);
  ~QuicSimHarness() override;
  Abilities abilities() const override {
    return {.transport = "quic", .virtual_time = true, .silences = true, .crashes = true};
  }
  const Clock& clock() const override { return network_.clock(); }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;
  Address listen_address(const std::string& node) const override;
  void silence(const std::string& a, const std::string& b) override { network_.cut(host(a), host(b)); }
  void heal(const std::string& a, const std::string& b) override { network_.heal(host(a), host(b)); }
  void crash(const std::string& node) override { network_.crash(host(node)); }
  bool run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) override;
  bool run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) override;
  std::vector<std::string> defects() const override;

  links::Network& network() { return network_; }
  /// The address of a node that has, or had, a transport.
  const std::string& host(const std::string& node) const;
  /// Of the transports made from now on.
  quic::Options& quic_options() { return options_; }

 private:
  links::Network network_;
  std::map<std::string, std::string> hosts_;
  quic::Options options_;
};
#endif

class OneSidedHarness final : public Harness {
 public:
  explicit OneSidedHarness(uint64_t seed = 1) : fabric_(seed) {}
  ~OneSidedHarness() override { stop_all(); }
  Abilities abilities() const override { return {"onesided", true, true, true, true}; }
  const Clock& clock() const override { return fabric_.clock(); }
  std::unique_ptr<Transport> make_transport(const std::string& node) override { return fabric_.make_transport(node); }
  Address listen_address(const std::string& node) const override { return {node, 0}; }
  void silence(const std::string& a, const std::string& b) override { fabric_.partition(a, b); }
  void heal(const std::string& a, const std::string& b) override { fabric_.heal(a, b); }
  void crash(const std::string& node) override { fabric_.crash(node); }
  void corrupt_wire(double probability) override { fabric_.corrupt_operations(probability > 0 ? UINT32_MAX : 0); }
  bool run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) override;
  bool run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) override;
  std::vector<std::string> defects() const override;

  onesided::Fabric& fabric() { return fabric_; }

 private:
  onesided::Fabric fabric_;
};

#ifdef HAUL_CONTRACT_RDMA
/// The rdma backend over fake devices, in virtual time. Engines get a second transport, "control", that connects by address.
class RdmaHarness final : public Harness {
 public:
  explicit RdmaHarness(uint64_t seed = 1, const verbs::FabricOptions& devices = {}, const rdma::Options& options = {});
  ~RdmaHarness() override { stop_all(); }
  Abilities abilities() const override { return {"rdma", true, true, true, true, true}; }
  const Clock& clock() const override { return control_.clock(); }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;
  std::unique_ptr<Transport> make_control_transport(const std::string& node) override { return control_.make_transport(node); }
  Address listen_address(const std::string& node) const override { return {node, 1}; }
  void silence(const std::string& a, const std::string& b) override;
  void heal(const std::string& a, const std::string& b) override;
  void crash(const std::string& node) override;
  void corrupt_wire(double probability) override { fabric_.corrupt_writes(probability > 0 ? UINT32_MAX : 0); }
  bool run_world(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) override;
  bool run_transports(std::span<Transport* const> transports, const std::function<bool()>& until, Duration limit) override;
  std::vector<std::string> defects() const override;

  verbs::Fabric& fabric() { return fabric_; }
  onesided::Fabric& control() { return control_; }

 private:
  template <typename Each>
  bool step_until(std::span<Each* const> all, const std::function<bool()>& until, Duration limit);

  onesided::Fabric control_;
  verbs::Fabric fabric_;
  rdma::Options options_;
};

/// The rdma backend over this machine's devices, in real time, beside tcp. Nodes use every other device in turn: those of
/// scripts/soft-roce.sh are the two ends of cables.
class RdmaDeviceHarness final : public TcpHarnessBase {
 public:
  RdmaDeviceHarness() : TcpHarnessBase(tcp::Io::epoll) {}
  ~RdmaDeviceHarness() override { stop_all(); }
  Abilities abilities() const override { return {"rdma", false, false, false, false, true}; }
  std::unique_ptr<Transport> make_transport(const std::string& node) override;
  std::unique_ptr<Transport> make_control_transport(const std::string& node) override {
    return TcpHarnessBase::make_transport(node);
  }

 private:
  std::vector<std::string> known_;
};
#endif

}  // namespace haul::contract
