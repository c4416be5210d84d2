#!/usr/bin/env bash
# Many more random schedules than the tests run, side by side on all processors: schedules.sh [--preset NAME] [SEEDS [FIRST]]
#   schedules.sh                          200000 schedules of a release build, from a seed that nobody ran before (by the clock)
#   schedules.sh --preset asan 20000 1    20000 with the sanitizers, from seed 1
# A schedule that breaks the contract is printed with its seed: haul_schedules --first SEED --seeds 1 --verbose runs it again.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
if [[ ${1:-} == --preset ]]; then
  preset=${2:?schedules: --preset needs a name}
  shift 2
fi
seeds=${1:-200000}
first=${2:-$(date +%s%6N)}
if [[ ! $seeds$first =~ ^[0-9]+$ ]] || ((seeds == 0 || $# > 2)); then
  echo "usage: schedules.sh [--preset NAME] [SEEDS [FIRST]]" >&2
  exit 2
fi

cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" --target haul_schedules
program=$(find "build/$preset" -name haul_schedules -type f -executable)

jobs=$(nproc)
each=$(((seeds + jobs - 1) / jobs))
echo "schedules: $((each * jobs)) from seed $first, $jobs at a time"
running=()
finish() { ((${#running[@]} == 0)) || kill "${running[@]}" 2>/dev/null || true; }
trap finish EXIT
for ((job = 0; job < jobs; ++job)); do
  "$program" --seeds "$each" --first $((first + job * each)) &
  running+=($!)
done
failed=0
for process in "${running[@]}"; do wait "$process" || failed=1; done
running=()
exit "$failed"
