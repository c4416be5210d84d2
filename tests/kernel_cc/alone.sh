#!/usr/bin/env bash
# Runs a test that puts haul's congestion control into this machine's kernel: alone.sh HAUL COMMAND [ARGUMENT...]
# In network and mount namespaces of its own, with a bpf file system, one at a time. Whatever way the command ends, nothing of
# haul's stays in the kernel; where this script itself is killed, the next one removes it. 77, with the reason, where it can't
# run or where an installation is in use.
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
registered() { grep -qw haul /proc/sys/net/ipv4/tcp_available_congestion_control; }
take_out() { "$haul" cc uninstall --wherever 2>&1; }

# There while a test runs, which begins without a registration: so what is registered while it is there, and has no maps here,
# is of a test that was killed. The names of its maps went with its mount namespace.
running=/run/haul-kernel-cc-test.running
boot=$(</proc/sys/kernel/random/boot_id)
was_killed() {
  [[ -e $running && $(<"$running") == "$boot" && $("$haul" cc status --json) == *'"incomplete"'* ]]
}
if registered && was_killed; then
  echo "kernel_cc: left behind by a test that was killed: $(take_out)"
fi
! registered || cannot "haul is installed in this kernel, maybe in use: haul cc uninstall"
echo "$boot" >"$running"

clean_up() {
  if registered; then
    echo "kernel_cc: left behind by the test: $(take_out)"
  fi
  rm -f "$running"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

code=0
# The lock is not the command's: what it leaves running must not keep it. The command ends with this script.
setpriv --pdeathsig KILL unshare --mount --net --kill-child --fork bash -c \
  'mount -t bpf bpf /sys/fs/bpf && ip link set lo mtu 1500 up && exec "$@"' bash "$@" 9>&- || code=$?
if ((code == 0)) && registered; then
  echo "kernel_cc: the test left a registration behind"
  code=1
fi
exit "$code"
