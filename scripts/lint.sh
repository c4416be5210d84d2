#!/usr/bin/env bash
# Format and clang-tidy over our sources (not the tests), in parallel: lint.sh [--deep] [BUILD_FOLDER] [PATH_PATTERN]
#   lint.sh                                    everything, with the compile commands of build/release
#   lint.sh build/release 'lib/base/.*'        some of it
#   lint.sh --deep                             with clang's static analyzer, which doubles the time
set -euo pipefail
cd "$(dirname "$0")/.."

checks=()
if [[ ${1:-} == --deep ]]; then
  # Not dead stores (benchmark loops; compilers warn about the rest), nor padding (members are in the order that reads best).
  checks=(-checks='clang-analyzer-*,-clang-analyzer-deadcode.DeadStores,-clang-analyzer-optin.performance.Padding')
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

# Without GCC's precompiled headers, which clang would try to read.
commands=$(mktemp -d)
log=$commands/log
trap 'rm -rf "$commands"' EXIT
sed -E 's/ -Winvalid-pch//; s/ -include [^ ]*cmake_pch\.hxx//' "$build/compile_commands.json" >"$commands/compile_commands.json"
run-clang-tidy-14 -clang-tidy-binary clang-tidy-14 -p "$commands" -j "$(nproc)" -quiet "${checks[@]}" \
  "^$PWD/$pattern\.cc\$" >"$log" 2>&1 </dev/null || failed=1

# A line a file would hide the findings. Each finding in a header comes once for every file that includes it.
sed 's/\x1b\[[0-9;]*m//g' "$log" |
  grep -Ev '^clang-tidy-14 |warnings? generated\.?$|^Suppressed |^Use -header-filter|^$' | awk '!seen[$0]++' || true
files=$(grep -c '^clang-tidy-14 ' "$log" || true)
echo "lint: $files files"
if ((files == 0)); then
  echo "lint: no file of the compile commands matches $pattern" >&2
  exit 2
fi
exit "$failed"
