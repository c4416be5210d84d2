// The list of targets.
#include "fuzz/targets.h"

#include <algorithm>
#include <array>

namespace haul::fuzz {

namespace {

constexpr std::array list{
    Target{"address", address_run, address_seeds},
    Target{"url", url_run, url_seeds},
    Target{"file_name", file_name_run, file_name_seeds},
    Target{"authorized_peers", authorized_peers_run, authorized_peers_seeds},
    Target{"key_files", key_files_run, key_files_seeds},
    Target{"engine_message", engine_message_run, engine_message_seeds},
    Target{"remote_buffer", remote_buffer_run, remote_buffer_seeds},
    Target{"file_message", file_message_run, file_message_seeds},
    Target{"tcp_wire", tcp_wire_run, tcp_wire_seeds},
    Target{"greeting", greeting_run, greeting_seeds},
    Target{"tcp_connection", tcp_connection_run, tcp_connection_seeds},
#ifdef HAUL_FUZZ_QUIC
    Target{"quic_datagrams", quic_datagrams_run, quic_datagrams_seeds},
#endif
#ifdef HAUL_FUZZ_RDMA
    Target{"rdma_wire", rdma_wire_run, rdma_wire_seeds},
    Target{"rdma_connection", rdma_connection_run, rdma_connection_seeds},
#endif
    Target{"hostile_peer", hostile_peer_run, hostile_peer_seeds},
};

}  // namespace

std::span<const Target> targets() noexcept { return list; }

const Target* find_target(std::string_view name) noexcept {
  const auto found = std::find_if(list.begin(), list.end(), [name](const Target& target) { return target.name == name; });
  return found == list.end() ? nullptr : found;
}

}  // namespace haul::fuzz
