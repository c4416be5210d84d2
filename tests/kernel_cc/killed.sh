#!/usr/bin/env bash
# Kills alone.sh, as ctest does after a timeout, while its command has haul in the kernel: killed.sh HAUL
# The command must end too, and the next test must run.
set -euo pipefail
haul=$1
alone=$(dirname "$0")/alone.sh
ready=$(mktemp)
trap 'rm -f "$ready"' EXIT

"$alone" "$haul" bash -c '"$0" cc install >/dev/null && echo $$ >"$1" && exec sleep 100' "$haul" "$ready" &
script=$!
while [[ ! -s $ready ]]; do
  if ! kill -0 "$script" 2>/dev/null; then
    code=0
    wait "$script" || code=$?
    exit "$((code > 0 ? code : 1))"
  fi
  sleep 0.1
done
command=$(<"$ready")
kill -KILL "$script"
wait "$script" 2>/dev/null || true
ended() { [[ ! -e /proc/$command ]] || grep -q "^State:.Z" "/proc/$command/status" 2>/dev/null; }
for ((i = 0; i < 50; ++i)); do
  ended && break
  sleep 0.1
done
if ! ended; then
  echo "kernel_cc: the command goes on although its script was killed"
  kill -KILL "$command"
  exit 1
fi
"$alone" "$haul" true || {
  echo "kernel_cc: the test after one that was killed ended with $?"
  exit 1
}
