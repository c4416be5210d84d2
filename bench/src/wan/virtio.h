// The header in front of each frame of a TUN device with IFF_VNET_HDR. <linux/virtio_net.h> has it, but is no C++ on Debian 12.
#pragma once

#include <cstdint>

namespace wan {

struct VirtioHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;       ///< what the frame is to be segmented as
  uint16_t header_bytes = 0;  ///< of all headers in the frame; a hint
  uint16_t gso_size = 0;      ///< payload of a segment
  uint16_t csum_start = 0;    ///< from the IP header on
  uint16_t csum_offset = 0;   ///< from csum_start on
};
static_assert(sizeof(VirtioHeader) == 10);

constexpr uint8_t virtio_needs_csum = 1;
constexpr uint8_t virtio_gso_none = 0;
constexpr uint8_t virtio_gso_tcp4 = 1;
constexpr uint8_t virtio_gso_udp = 5;     ///< VIRTIO_NET_HDR_GSO_UDP_L4: datagrams of one size, the last one perhaps shorter
constexpr uint8_t virtio_gso_ecn = 0x80;  ///< beside a type: the first segment carries CWR

}  // namespace wan
