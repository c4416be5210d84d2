#!/usr/bin/env bash
# Runs a command in a guest that has RDMA over Ethernet in software (rxe, "soft-RoCE"):
# soft-roce.sh [--pairs N] [options of guest.sh] COMMAND [ARGUMENT...]
#
# Each pair (default 1) is two devices at the ends of a veth pair: pair 0 has rxe0 on veth0 (10.77.0.1) and rxe1 on veth1
# (10.77.0.2), pair 1 has rxe2 on veth2 (10.77.1.1) and rxe3 on veth3 (10.77.1.2), and so on. What the two addresses say to each
# other really crosses the pair, though both live in one namespace (rxe works in no other): `tc qdisc add dev veth0 root netem
# delay 5ms` and `ip link set veth0 down` in the command do what they say. GID index 1 of each device is its IPv4 address.
set -euo pipefail

if [[ ${1:-} != --in-guest ]]; then
  pairs=1
  options=()
  while [[ ${1:-} == --* ]]; do
    if [[ $1 == --pairs ]]; then pairs=$2; else options+=("$1" "$2"); fi
    shift 2
  done
  # crc32_generic: without it rxe finds no checksum algorithm.
  modules="crc32_generic rdma_rxe ib_uverbs rdma_ucm veth sch_netem sch_fq tls"
  exec "$(dirname "$0")/guest.sh" --modules "$modules" "${options[@]}" "$(readlink -f "$0")" --in-guest "$pairs" "$@"
fi

pairs=$2
shift 2

set_up_pair() {
  local a=veth$((2 * $1)) b=veth$((2 * $1 + 1)) address_a=10.77.$1.1 address_b=10.77.$1.2
  # Room for RDMA's largest packets, 4096 bytes, and their headers.
  ip link add "$a" mtu 4500 type veth peer name "$b" mtu 4500
  local side near far
  for side in "$a $address_a $address_b" "$b $address_b $address_a"; do
    read -r device near far <<<"$side"
    # A packet from one of our own addresses is welcome.
    echo 1 >"/proc/sys/net/ipv4/conf/$device/accept_local"
    echo 0 >"/proc/sys/net/ipv4/conf/$device/rp_filter"
    ip address add "$near/24" dev "$device"
    ip link set "$device" up
    # What comes in is for us; what goes out between the two leaves by its own device, not by lo.
    local table=$((100 + 10 * $1 + ${near##*.}))
    ip rule add priority 10 iif "$device" lookup local
    ip rule add priority 20 from "$near" to "$far" lookup "$table"
    ip route add "$far" dev "$device" src "$near" table "$table"
  done
  # Neither end would answer an ARP question for an address that is its own machine's.
  ip neighbour add "$address_b" lladdr "$(<"/sys/class/net/$b/address")" dev "$a" nud permanent
  ip neighbour add "$address_a" lladdr "$(<"/sys/class/net/$a/address")" dev "$b" nud permanent
  rdma link add "rxe$((2 * $1))" type rxe netdev "$a"
  rdma link add "rxe$((2 * $1 + 1))" type rxe netdev "$b"
}

echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
for ((pair = 0; pair < pairs; ++pair)); do set_up_pair "$pair"; done
# The rules above come before the one that finds every local address on lo.
ip rule add priority 100 lookup local
ip rule del priority 0
exec "$@"
