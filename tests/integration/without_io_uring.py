#!/usr/bin/env python3
"""Runs a command to which the kernel refuses io_uring, as container runtimes do with seccomp: without_io_uring.py COMMAND..."""
import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x35, 0x06
ALLOW, ERRNO = 0x7fff0000, 0x00050000
IO_URING_SETUP, AFTER_IO_URING_REGISTER = 425, 428  # the same numbers on every architecture

PROGRAM = b"".join(struct.pack("=HBBI", code, if_true, if_false, value) for code, if_true, if_false, value in (
    (LOAD_WORD, 0, 0, 0),  # the number of the system call
    (JUMP_IF_AT_LEAST, 0, 2, IO_URING_SETUP),
    (JUMP_IF_AT_LEAST, 1, 0, AFTER_IO_URING_REGISTER),
    (RETURN, 0, 0, ERRNO | errno.EPERM),
    (RETURN, 0, 0, ALLOW)))

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = ctypes.create_string_buffer(PROGRAM, len(PROGRAM))
    program = struct.pack("@HP", len(PROGRAM) // 8, ctypes.addressof(instructions))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) != 0:
        sys.exit(f"without_io_uring: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])
