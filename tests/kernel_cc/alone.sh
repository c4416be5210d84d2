#!/usr/bin/env bash
# Runs a test that puts haul's congestion control into this machine's kernel: alone.sh HAUL COMMAND [ARGUMENT...]
# In network and mount namespaces of its own, with a bpf file system, one at a time. Whatever way the command ends, nothing of
# haul's stays in the kernel. 77, with the reason, where it can't run or where an installation is in use.
set -euo pipefail
haul=$1
shift

cannot() {
  echo "kernel_cc: SKIPPED: $1"
  exit 77
}
((EUID == 0)) || cannot "needs root: CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN"
[[ -r /sys/kernel/btf/vmlinux ]] || cannot "this kernel has no BTF"
[[ -d /sys/fs/bpf ]] || cannot "this kernel has no bpf file system"
unshare --mount --net true 2>/dev/null || cannot "no namespaces may be made here"

exec 9>/run/haul-kernel-cc-test.lock
flock 9
available=/proc/sys/net/ipv4/tcp_available_congestion_control
! grep -qw haul "$available" || cannot "haul is installed in this kernel, maybe in use: haul cc uninstall"

clean_up() {
  if grep -qw haul "$available"; then
    echo "kernel_cc: left behind by the test: $("$haul" cc uninstall 2>&1)"
  fi
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

code=0
# The lock is not the command's: what it leaves running must not keep it.
unshare --mount --net --kill-child --fork bash -c \
  'mount -t bpf bpf /sys/fs/bpf && ip link set lo mtu 1500 up && exec "$@"' bash "$@" 9>&- || code=$?
if ((code == 0)) && grep -qw haul "$available"; then
  echo "kernel_cc: the test left a registration behind"
  code=1
fi
exit "$code"
