// The backends that the contract suite is run over.
#include <array>

#include "contract/backend_case.h"
#include "contract/backends.h"

namespace haul::contract {

std::span<const Backend> every_backend() {
  static constexpr std::array backends = {
      backend_of<SimHarness>("SimHarness"),
      backend_of<TcpHarness>("TcpHarness"),
      backend_of<TcpEpollHarness>("TcpEpollHarness"),
      backend_of<TcpEncryptedHarness>("TcpEncryptedHarness"),
      backend_of<TcpIntegrityHarness>("TcpIntegrityHarness"),
      backend_of<TcpKernelTlsHarness>("TcpKernelTlsHarness"),
      backend_of<TcpHalfKernelTlsHarness>("TcpHalfKernelTlsHarness"),
      backend_of<OneSidedHarness>("OneSidedHarness"),
#ifdef HAUL_CONTRACT_QUIC
      backend_of<QuicHarness>("QuicHarness"),
      backend_of<QuicSimHarness>("QuicSimHarness"),
#endif
#ifdef HAUL_CONTRACT_RDMA
      backend_of<RdmaHarness>("RdmaHarness"),
      // Hidden: for machines that have devices.
      backend_of<RdmaDeviceHarness>("RdmaDeviceHarness", "[.][devices]"),
#endif
  };
  return backends;
}

}  // namespace haul::contract
