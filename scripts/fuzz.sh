#!/usr/bin/env bash
# Fuzzes haul's parsers and its engine with libFuzzer: fuzz.sh [OPTION]... [SECONDS] [TARGET]...
#   fuzz.sh                    every target for 60 seconds, one after the other
#   fuzz.sh 3600 tcp_wire      one target for an hour
#   --merge                    afterwards adds the new inputs that reach new code to tests/fuzz/corpus
#   --seeds                    only writes the seeds of the corpus anew (after a change of a format)
#   --build DIR                a build made with HAUL_FUZZ; without, build/asan is made
#   --seed N                   the same mutations every time, as far as the clock allows
# New inputs and crashes go to build/asan/found/TARGET. A crash is run again with: build/asan/tests/fuzz/haul_fuzz_TARGET FILE.
set -euo pipefail
cd "$(dirname "$0")/.."

build= merge=no seeds=no seed=0 seconds=60 targets=()
while (($# > 0)); do
  case $1 in
    --merge) merge=yes ;;
    --seeds) seeds=yes ;;
    --build) build=${2:?} && shift ;;
    --seed) seed=${2:?} && shift ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *[!0-9]*) targets+=("$1") ;;
    *) seconds=$1 ;;
  esac
  shift
done

if [[ -z $build ]]; then
  build=build/asan
  cmake --preset asan >/dev/null
  cmake --build --preset asan --target haul_fuzz
fi
programs=$build/tests/fuzz
corpus=tests/fuzz/corpus
if [[ $seeds == yes ]]; then
  exec "$programs/haul_fuzz_seeds" "$corpus"
fi

if ((${#targets[@]} == 0)); then
  for folder in "$corpus"/*/; do targets+=("$(basename "$folder")"); done
fi

# Found inputs are longer than what the corpus needs; a leak is a finding, an allocation of more than this too.
options=(-seed="$seed" -max_total_time="$seconds" -max_len=4096 -timeout=25 -rss_limit_mb=2048 -malloc_limit_mb=512
  -print_final_stats=1)
telling="^stat::(number_of_executed_units|average_exec_per_sec)|ERROR|SUMMARY|fuzz: broken|Test unit written"
failed=()
for target in "${targets[@]}"; do
  program=$programs/haul_fuzz_$target
  if [[ ! -x $program || ! -d $corpus/$target ]]; then
    echo "fuzz: no target is called $target; there are: $(ls "$corpus" | tr '\n' ' ')" >&2
    exit 2
  fi
  found=$build/found/$target
  mkdir -p "$found/inputs"
  echo "fuzz: $target for $seconds s"
  "$program" "${options[@]}" -artifact_prefix="$found/" "$found/inputs" "$corpus/$target" >"$found/log" 2>&1 ||
    failed+=("$target")
  grep -E "$telling" "$found/log" || tail -n 20 "$found/log"
  if [[ $merge == yes ]]; then
    "$program" -merge=1 "$corpus/$target" "$found/inputs" >"$found/merge.log" 2>&1
    echo "fuzz: $target: the corpus has $(ls "$corpus/$target" | wc -l) inputs, $(du -sb "$corpus/$target" | cut -f1) bytes"
  fi
done
if ((${#failed[@]} > 0)); then
  echo "fuzz: failed: ${failed[*]} (logs and inputs: $build/found/TARGET)" >&2
  exit 1
fi
