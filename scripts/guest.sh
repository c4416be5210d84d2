#!/usr/bin/env bash
# Runs a command in a virtual machine with Debian's own kernel, which has what this machine's kernel may lack (kernel TLS, RDMA,
# netem): guest.sh [options] COMMAND [ARGUMENT...]
#   --modules "a b"  kernel modules to load, with what they depend on
#   --timeout S      the guest ends after so many seconds (default 300)
#   --memory MIB     of the guest (default 4096)
#   --cpus N         of the guest (default 2)
#   --write DIR      a folder of the host, at the same path in the guest and writable there; everything else is read-only
#
# The guest sees the host's files, read-only; /tmp, /run and /dev/shm are its own and empty, but this project is there wherever
# it lies. It has no network but its own lo. The command runs as root, in the folder this was called from; its output comes as
# it is written, errors too, on standard output. What it leaves running ends with it.
#
# Exit codes: the command's; 124 after the timeout; 125 when the guest did not run it; 77 when QEMU or the kernel can't be had.
# Nothing is installed: the kernel's package is unpacked in build/guest and stays there for the next time.
set -euo pipefail
project=$(readlink -f "$(dirname "$0")/..")
cache=$project/build/guest

timeout_s=300 memory_mib=4096 cpus=2 modules="" writable=""
while (($# > 0)); do
  case $1 in
    --modules) modules=$2; shift 2 ;;
    --timeout) timeout_s=$2; shift 2 ;;
    --memory) memory_mib=$2; shift 2 ;;
    --cpus) cpus=$2; shift 2 ;;
    --write) mkdir -p "$2"; writable=$(readlink -f "$2"); shift 2 ;;
    --*) echo "guest: unknown option $1" >&2; exit 2 ;;
    *) break ;;
  esac
done
if (($# == 0)); then
  echo 'usage: guest.sh [--modules "a b"] [--timeout S] [--memory MIB] [--cpus N] [--write DIR] COMMAND...' >&2
  exit 2
fi

cannot() {
  echo "guest: SKIPPED: $1" >&2
  exit 77
}

# Debian keeps some of these where only root looks.
PATH=$PATH:/usr/sbin:/sbin
for program in qemu-system-x86_64 busybox modprobe depmod cpio; do
  command -v "$program" >/dev/null || cannot "no $program here (scripts/packages.sh --guest)"
done

# The package of the kernel that apt would install.
download_kernel() {
  local package
  package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
  [[ -n $package ]] || return
  # The sandbox's user may not write here.
  timeout 300 apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$package" >/dev/null
}

have_kernel() {
  flock 9  # several may start at one time
  [[ ! -d $cache/kernel ]] || return 0
  rm -rf "$cache/unpacking" && mkdir "$cache/unpacking" && cd "$cache/unpacking" || return
  # A fresh machine has no package lists yet.
  download_kernel || { ((EUID == 0)) && apt-get -qq update >/dev/null && download_kernel; } || return
  dpkg-deb -x linux-image-*.deb . && rm linux-image-*.deb && depmod -b . "$(ls lib/modules)" || return
  mv -T "$cache/unpacking" "$cache/kernel"
}

mkdir -p "$cache"
(have_kernel) 9>"$cache/lock" || cannot "Debian's kernel package can't be had (apt-get download linux-image-6.1.*-amd64)"
version=$(ls "$cache/kernel/lib/modules")

work=$(mktemp -d)
qemu=""
clean_up() {
  # Killing `timeout` kills QEMU.
  [[ -z $qemu ]] || kill "$qemu" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

# --- the first file system: busybox, the modules in the order in which they must be loaded, and the command
initial=$work/initial
mkdir -p "$initial"/{bin,dev,proc,sys,host,modules}
cp "$(command -v busybox)" "$initial/bin/"
for module in virtio_pci virtio_console virtio-rng 9pnet_virtio 9p $modules; do
  if ! modprobe -C /dev/null -d "$cache/kernel" -S "$version" --show-depends "$module"; then
    echo "guest: the kernel has no module $module" >&2
    exit 2
  fi
done >"$work/depends"
awk '$1 == "insmod" && !seen[$2]++ { print $2 }' "$work/depends" | while read -r file; do
  cp "$file" "$initial/modules/"
  basename "$file"
done >"$initial/modules/order"
{
  printf 'cd %q || exit 125\n' "$PWD"
  printf '%q ' "$@"
  # Not the script's last command: bash stays, and reaps what the command leaves behind.
  printf '\nexit $?\n'
} >"$initial/command"
printf '%s\n' "$project" ${writable:+"$writable"} >"$initial/shares"

cat >"$initial/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
fail() {
  echo "guest: this failed: $*" >/dev/console
  poweroff -f
}
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev || fail "mount"
while read -r module; do
  insmod "/modules/$module" || fail "insmod $module"
done </modules/order

# The host's files don't change while a guest runs: they may be cached. What the guest writes must be there at once.
nine=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "$nine,ro,cache=loose" host /host || fail "mount of the host's files"
mount -t proc proc /host/proc && mount -t sysfs sysfs /host/sys && mount -t devtmpfs devtmpfs /host/dev || fail "mount"
mkdir -p /host/dev/shm /host/dev/pts
mount -t devpts devpts /host/dev/pts || fail "mount of /dev/pts"
for folder in tmp run dev/shm; do mount -t tmpfs tmpfs "/host/$folder" || fail "mount of /$folder"; done
{
  read -r project
  mkdir -p "/host$project" && mount -t 9p -o "$nine,ro,cache=loose" project "/host$project" || fail "mount of $project"
  if read -r writable; then
    mkdir -p "/host$writable" && mount -t 9p -o "$nine" writable "/host$writable" || fail "mount of $writable"
  fi
} </shares
ip link set lo up
hostname guest

for port in /sys/class/virtio-ports/*; do
  case $(cat "$port/name") in
    output) output=/dev/${port##*/} ;;
    result) result=/dev/${port##*/} ;;
  esac
done
mkdir /host/run/guest
cp /command /host/run/guest/
# A port can be opened once, so the command gets a pipe. In a process namespace of its own nothing outlives it, pipe in hand.
{
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 \
    chroot /host unshare --fork --pid --mount-proc bash /run/guest/command </dev/null 2>&1
  echo $? >/code
} | cat >"$output"
cat /code >"$result"
poweroff -f
INIT
chmod +x "$initial/init"
(cd "$initial" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initrd"

# --- the machine
share() {  # TAG PATH OPTIONS; a comma in a path is doubled
  echo "local,path=${2//,/,,},mount_tag=$1,security_model=none,multidevs=remap$3"
}
arguments=(
  # Emulated: /dev/kvm may be there and not work, in a machine that is a guest itself.
  -machine q35 -accel "tcg,thread=multi" -cpu max -smp "$cpus" -m "$memory_mib" -nic none -nodefaults -display none -no-reboot
  # no_timer_check: an emulator on a busy machine is late with ticks, which the kernel would take for a broken timer.
  # mitigations: emulated, they cost more than what is measured, and guard nothing here.
  # tsc: else every look at the clock would be one at an emulated HPET.
  -kernel "$cache/kernel/boot/vmlinuz-$version" -initrd "$work/initrd"
  -append "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable clocksource=tsc mitigations=off"
  -virtfs "$(share host / ,readonly=on)" -virtfs "$(share project "$project" ,readonly=on)"
  -device virtio-rng-pci -serial "file:$work/console"
  # The serial console would pass a few hundred kilobytes a second; these ports do not limit.
  -device virtio-serial-pci
  -chardev stdio,id=output,signal=off -device virtserialport,chardev=output,name=output
  -chardev "file,id=result,path=$work/result" -device virtserialport,chardev=result,name=result
)
[[ -z $writable ]] || arguments+=(-virtfs "$(share writable "$writable" "")")

# QEMU takes the end of its standard input for a closed port; this one never ends.
mkfifo "$work/input"
# Should this script be killed outright, the guest ends too.
setpriv --pdeathsig TERM timeout --kill-after=5 "$timeout_s" qemu-system-x86_64 "${arguments[@]}" <>"$work/input" &
qemu=$!
code=0
wait "$qemu" || code=$?
qemu=""
[[ ! -s $work/result ]] || exit "$(<"$work/result")"

tail -n 40 "$work/console" >&2 || true
if ((code == 124 || code == 137)); then
  echo "guest: ended after $timeout_s seconds" >&2
  exit 124
fi
echo "guest: the guest ended without an exit code of the command (QEMU's was $code)" >&2
exit 125
