#!/usr/bin/env bash
# Format and clang-tidy over our sources (not the tests), in parallel: lint.sh [--deep] [BUILD_FOLDER] [PATH_PATTERN]
#   lint.sh                                    everything, with the compile commands of build/release
#   lint.sh build/release 'lib/base/.*'        some of it
#   lint.sh --deep                             with clang's static analyzer, which doubles the time
set -euo pipefail
cd "$(dirname "$0")/.."

options=()
if [[ ${1:-} == --deep ]]; then
  # Not dead stores (benchmark loops; compilers warn about the rest), nor padding (members are in the order that reads best).
  options=(--alone --checks 'clang-analyzer-*,-clang-analyzer-deadcode.DeadStores,-clang-analyzer-optin.performance.Padding')
  shift
fi

build=${1:-build/release}
pattern=${2:-(lib|transports|tools|bench|examples)/.*}

if [[ ! -f $build/compile_commands.json ]]; then
  echo "lint: $build/compile_commands.json is missing: configure first (cmake --preset release)" >&2
  exit 2
fi

failed=0
scripts/format.sh || failed=1

python3 scripts/clang_tidy.py "${options[@]}" "$build" "$pattern\.cc" || exit
exit "$failed"
