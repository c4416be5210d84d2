#!/usr/bin/env bash
# Installs the Debian 12 packages that building and testing need, where they are missing:
# packages.sh [--bench] [--demo] [--guest]
#   --bench   also what bench/compare measures beside haul
#   --demo    also the trained weights that scripts/demo.sh moves
#   --guest   also what scripts/guest.sh and scripts/soft-roce.sh need, and RDMA's own programs to use in the guest
set -euo pipefail

packages=(
  build-essential g++ cmake ninja-build pkg-config ccache
  libfmt-dev liburing-dev libbpf-dev libibverbs-dev libisal-dev libgnutls28-dev libasio-dev libcli11-dev nlohmann-json3-dev
  libngtcp2-dev libngtcp2-crypto-gnutls-dev libtomlplusplus-dev
  catch2 libbenchmark-dev
  clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev
  python3 iproute2 iperf3 openssl gnutls-bin
)
for argument in "$@"; do
  case $argument in
    --bench) packages+=(ucx-utils libfabric-bin) ;;
    --demo) packages+=(tesseract-ocr-eng tesseract-ocr-script-latn tesseract-ocr-script-cyrl tesseract-ocr-script-grek) ;;
    --guest) packages+=(qemu-system-x86 busybox-static kmod cpio rdma-core ibverbs-providers ibverbs-utils perftest) ;;
    *) echo "usage: packages.sh [--bench] [--demo] [--guest]" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "packages: all ${#packages[@]} are there"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! sudo -n true 2>/dev/null; then
    echo "packages: missing: ${missing[*]}" >&2
    echo "packages: run this as root, or allow sudo: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  # Another apt may hold the lock; a mirror may stumble.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1
}
echo "packages: installing ${missing[*]}"
if ! { apt update && apt install --no-install-recommends -y "${missing[@]}"; }; then
  tail -n 20 "$log" >&2
  echo "packages: apt-get failed; is this Debian 12, with its mirror in reach?" >&2
  exit 1
fi
