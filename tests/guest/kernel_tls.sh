#!/usr/bin/env bash
# Everything that needs the kernel's TLS, in the guest: kernel_tls.sh CONTRACT_TESTS UNIT_TESTS HAUL
set -u
failed=0
# Without the cases about time, which take minutes in an emulated machine, and the one that computes for longer than a peer may
# be silent.
"$1" --warn NoTests "~[endings]~[lanes]~[huge]*KernelTls*" || failed=1
"$2" --warn NoTests "[kernel-tls]" || failed=1
python3 "$(dirname "$0")/../integration/run.py" --haul "$3" kernel_tls 2>&1 || failed=1
exit "$failed"
