#!/usr/bin/env bash
# In the guest of scripts/soft-roce.sh: a controller finds what a long and what a narrow cable holds:
# congestion.sh HAUL_CONTRACT_TESTS
set -euo pipefail
tests=$1

# The way there, then the way back, which carries answers only.
cable() {
  tc qdisc replace dev veth0 root netem $1
  tc qdisc replace dev veth1 root netem $2
}

drops() { tc -s qdisc show dev veth0 | sed -n 's/.*dropped \([0-9]*\).*/\1/p' | head -1; }

cable "limit 10000 rate 100mbit delay 40ms" "limit 10000 delay 40ms"
failed=0
timeout 100 "$tests" "[long-cable]" || failed=1
echo "congestion: the long cable dropped $(drops) packets"

cable "limit 400 rate 100mbit delay 4ms" "limit 10000 delay 4ms"
timeout 100 "$tests" "[narrow-cable]" || failed=1
dropped=$(drops)
echo "congestion: the narrow cable dropped $dropped packets"
# Of some 25,000. Each costs a queue pair all that it had under way behind it.
((dropped < 500 && failed == 0)) || { echo "congestion: failed"; exit 1; }
