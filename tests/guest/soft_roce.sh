#!/usr/bin/env bash
# In the guest of scripts/soft-roce.sh --pairs 2: the devices are there, RDMA crosses each pair, and netem's delay shows in it.
set -euo pipefail

fail() {
  echo "soft_roce: $*"
  exit 1
}

# The least time of a write and its answer's way back, halved, in microseconds.
least_us() {
  local there=$1 back=$2
  timeout 60 ib_write_lat -d "$back" -x 1 -s 64 -n 20 >/dev/null &
  local server=$!
  for ((i = 0; i < 100; ++i)); do
    ss -Hltn sport = 18515 | grep -q . && break
    sleep 0.1
  done
  timeout 60 ib_write_lat -d "$there" -x 1 -s 64 -n 20 127.0.0.1 | awk '$1 == 64 { print int($3) }'
  wait "$server"
}

for device in rxe0 rxe1 rxe2 rxe3; do
  ibv_devinfo -d "$device" | grep -q PORT_ACTIVE || fail "$device is not active"
done
for pair in "rxe0 rxe1" "rxe3 rxe2"; do
  read -r there back <<<"$pair"
  us=$(least_us "$there" "$back")
  [[ -n $us ]] || fail "$there does not reach $back"
  echo "soft_roce: $there to $back takes $us us at least"
done

delay_ms=30
for device in veth0 veth1; do tc qdisc add dev "$device" root netem delay "${delay_ms}ms"; done
us=$(least_us rxe0 rxe1)
echo "soft_roce: with a delay of $delay_ms ms each way $us us"
((us >= delay_ms * 1000 * 9 / 10)) || fail "netem's delay does not show"
