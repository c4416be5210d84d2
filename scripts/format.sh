#!/usr/bin/env bash
# Checks that our C++ sources are formatted (.clang-format), or formats them: format.sh [--fix] [FILE...]
set -euo pipefail
cd "$(dirname "$0")/.."

# Other versions format differently.
if ! command -v clang-format-14 >/dev/null; then
  echo "format: clang-format-14 is missing: run scripts/packages.sh" >&2
  exit 77
fi

options=(--dry-run -Werror)
if [[ ${1:-} == --fix ]]; then
  options=(-i)
  shift
fi

if (($# > 0)); then
  clang-format-14 "${options[@]}" "$@"
else
  find include lib transports tools examples bench tests \( -name '*.h' -o -name '*.cc' \) -print0 |
    xargs -0 -n 20 -P "$(nproc)" clang-format-14 "${options[@]}"
fi
