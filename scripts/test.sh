#!/usr/bin/env bash
# From a fresh clone to all tests passed: installs, builds, tests, and tells how long each stage took.
#   test.sh                all stages
#   test.sh unit tsan      only these (the builds they need are made); unit, contract and so on are parts of the stage tests
# The last line is "N passed, N failed, N skipped", counted in test cases. The exit code is 0 when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
exec </dev/null

all_stages=(packages build lint tests guest libfuzzer asan tsan)
parts=(tidy unit contract simulation integration fuzz others)  # of them, for those who ask
results=$PWD/build/results
jobs=$(nproc)
stage_limit=60m  # of one stage; a hang is a failure

wanted=("$@")
for stage in "${wanted[@]}"; do
  if [[ " ${all_stages[*]} ${parts[*]} " != *" $stage "* ]]; then
    echo "test: no stage is called $stage; there are: ${all_stages[*]}; and parts of them: ${parts[*]}" >&2
    exit 2
  fi
done
((${#wanted[@]} > 0)) || wanted=("${all_stages[@]}")

# Quiet when it goes well; the end of the log when it does not.
quietly() {
  local log=$results/$1.log
  shift
  if ! timeout --kill-after=30s "$stage_limit" "$@" >"$log" 2>&1; then
    tail -n 80 "$log"
    echo "test: failed: $* (all of it: $log)"
    return 1
  fi
}

# Who builds once compiles several files together, which takes a third of the time off; who builds again and again would wait
# for more than what changed.
once=()
[[ ${CI:-} == true ]] && once=(-DHAUL_UNITY=ON)
build() {
  local preset=$1
  quietly "configure-$preset" cmake --preset "$preset" "${once[@]}" &&
    quietly "build-$preset" cmake --build --preset "$preset" -- -j "$jobs"
}

# run_tests NAME PRESET CTEST_ARGUMENT...: the report goes to NAME.xml, for count_tests.py.
run_tests() {
  local name=$1 preset=$2
  shift 2
  timeout --kill-after=30s "$stage_limit" ctest --preset "$preset" -j "$jobs" --no-tests=ignore \
    --test-output-size-passed 10000000 --test-output-size-failed 10000000 --output-junit "$results/$name.xml" "$@"
}

stage_packages() { scripts/packages.sh; }
stage_build() { build release; }
# All of the release build but the guests, together: many wait more than they compute, and others have the processors then.
stage_tests() { run_tests tests release -LE '^guest$' -j "$((jobs + 1))"; }
stage_tidy() { run_tests tidy release -L '^tidy$'; }
stage_lint() { quietly lint scripts/lint.sh build/release; }
stage_unit() { run_tests unit release -L '^unit$'; }
stage_contract() { run_tests contract release -L '^contract$' -LE '^(schedules|guest)$'; }
stage_simulation() { run_tests simulation release -L '^(sim|schedules)$'; }
# The corpus in the release build, then some time of libFuzzer with each target.
stage_fuzz() {
  run_tests fuzz release -L '^fuzz$' || return 1
  stage_libfuzzer
}
stage_libfuzzer() { build asan && run_tests libfuzzer asan -L '^libfuzzer$'; }
stage_integration() { run_tests integration release -L '^integration$'; }
# Where the guest's packages can't be had, its tests say so and count as skipped.
stage_guest() {
  scripts/packages.sh --guest
  run_tests guest release -L '^guest$'
}
stage_others() { run_tests others release -LE '^(tidy|unit|contract|sim|schedules|integration|guest|fuzz)$'; }
stage_asan() { build asan && run_tests asan asan -LE '^libfuzzer$' -j "$((jobs + 1))"; }
stage_tsan() { build tsan && run_tests tsan tsan; }

rm -rf "$results"
mkdir -p "$results"
names=() seconds=() outcomes=() broken=0
run_stage() {
  local began=$SECONDS outcome=ok
  echo "--- $1"
  if ! "stage_$1"; then
    outcome=failed
    # A stage that failed without a report of its tests counts as one failure.
    [[ -f $results/$1.xml ]] || broken=$((broken + 1))
  fi
  names+=("$1") seconds+=($((SECONDS - began))) outcomes+=("$outcome")
}

needs_build=" lint tests guest ${parts[*]} "
built=no
for stage in "${wanted[@]}"; do
  if [[ $needs_build == *" $stage "* && $built == no ]]; then
    run_stage build
    built=yes
  fi
  [[ $stage == build && $built == yes ]] && continue
  [[ $stage == build ]] && built=yes
  # Without packages or a build, the rest would only repeat the failure.
  if [[ " ${outcomes[*]} " == *" failed "* && ! -f build/release/CTestTestfile.cmake ]]; then
    echo "--- $stage: not run, since an earlier stage failed"
    broken=$((broken + 1))
    continue
  fi
  run_stage "$stage"
done

echo
total=0
for duration in "${seconds[@]}"; do total=$((total + duration)); done
for i in "${!names[@]}"; do
  share=$((total > 0 ? 100 * seconds[i] / total : 0))
  printf '%-12s %-6s %4d min %02d s %4d %%\n' "${names[i]}" "${outcomes[i]}" $((seconds[i] / 60)) $((seconds[i] % 60)) "$share"
done
printf '%-12s %-6s %4d min %02d s\n\n' total "" $((total / 60)) $((total % 60))
exec python3 scripts/count_tests.py --failed "$broken" "$results"/*.xml
