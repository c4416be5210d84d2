"""What surrounds the command: terminals, readers that go away, full disks, too few descriptors and threads, no io_uring."""
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unittest
from pathlib import Path

from harness import Haul, HaulTest, as_json, needs_root

FORBID_IO_URING = [sys.executable, str(Path(__file__).parent / "without_io_uring.py")]


def sanitized():
    with open(Haul.program, "rb") as program:
        text = program.read()
    return b"__asan_init" in text or b"__tsan_init" in text


class Terminal(HaulTest):
    def drawn(self, columns):
        """What a push draws on a terminal of that width: the lines, each as it stood there."""
        server = self.serve()
        gate = self.gate(server, 20_000_000)
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        push = [Haul.program, "push", self.file("a file", 60_000_000), self.file("another"), gate.url(columns)]
        with subprocess.Popen(push, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=follower) as child:
            os.close(follower)
            text = b""
            while True:
                try:
                    chunk = os.read(leader, 65536)
                except OSError:  # the terminal's other end is closed
                    break
                if not chunk:
                    break
                text += chunk
                if text.count(b"\r") > 3:
                    gate.open()
            self.assertEqual(child.wait(60), 0, text)
        os.close(leader)
        lines = re.split(r"\r|\n", text.decode().replace("\x1b[K", ""))
        return [line for line in lines if line]

    def test_the_bar_fits(self):
        for columns in (80, 40):
            with self.subTest(columns=columns):
                lines = self.drawn(columns)
                self.assertTrue(lines)
                self.assertLess(max(map(len, lines)), columns, lines)
                self.assertIn(" of 60.0 MB", lines[-1])
                if columns == 40:
                    self.assertTrue(lines[0].lstrip()[0].isdigit(), "no room for a bar")

    def test_rate_and_time_left(self):
        lines = self.drawn(120)
        self.assertTrue(any(re.fullmatch(r"\[#*\.*\] +\d+ %  .* of 60\.0 MB .*/s .* left", line) for line in lines), lines)


class Readers(HaulTest):
    def with_closed_stderr(self, *arguments):
        """Runs haul with a stderr whose reader is gone."""
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as gone:
            return subprocess.run([Haul.program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=gone, timeout=60,
                                  check=False)

    def test_stderr_that_nobody_reads(self):
        server = self.serve()
        source = self.file("file")
        self.assertEqual(self.with_closed_stderr("push", "--verbose", source, server.url("file")).returncode, 0)
        self.same(source, self.root / "file")
        self.assertEqual(self.with_closed_stderr("push", source, server.url("file")).returncode, 7)

    def test_stdout_that_nobody_reads(self):
        server = self.serve()
        server.child.stdout.close()
        source = self.file("file")
        for name in ("a", "b"):
            self.succeeds(Haul.run("push", source, server.url(name)))
        server.child.stdout = open(os.devnull, "rb")
        self.assertEqual(server.stop().code, 143)

    def test_full_stdout(self):
        server = self.serve()
        with open("/dev/full", "wb") as full:
            outcome = subprocess.run([Haul.program, "explain", "--json", f"127.0.0.1:{server.port}"], stdout=full,
                                     stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(outcome.returncode, 1)
        self.assertIn(b"output", outcome.stderr)


class Shortage(HaulTest):
    def setUp(self):
        super().setUp()
        if sanitized():
            raise unittest.SkipTest("sanitizers need descriptors and threads of their own")

    def test_descriptors(self):
        for limit in range(4, 20):
            with self.subTest(limit=limit):
                outcome = Haul.run("explain", prefix=["prlimit", f"--nofile={limit}:{limit}"])
                if outcome.code == 127:
                    continue  # not even its libraries could be opened
                if outcome.code != 0:
                    self.fails(outcome, 1, "ulimit -n")
        for limit in range(6, 20):
            with self.subTest(limit=limit, command="push"):
                outcome = Haul.run("push", self.file("file"), "haul://127.0.0.1:1/x",
                                   prefix=["prlimit", f"--nofile={limit}:{limit}"])
                if outcome.code not in (3, 127):
                    self.fails(outcome, 1, "ulimit -n")

    def as_lonely_user(self, processes):
        """A user without other processes, who may have so many threads."""
        return ["prlimit", f"--nproc={processes}:{processes}", "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]

    @needs_root
    def test_threads_here(self):
        server = self.serve()
        for limit, code in ((1, 1), (2, 1), (3, 0)):
            with self.subTest(limit=limit):
                outcome = Haul.run("push", self.file("file"), server.url("file"), prefix=self.as_lonely_user(limit))
                self.assertEqual(outcome.code, code, str(outcome))
                if code != 0:
                    self.assertIn("thread", outcome.err)

    @needs_root
    def test_threads_of_the_server(self):
        self.root.chmod(0o777)
        server = self.serve(prefix=self.as_lonely_user(2))
        for _ in range(2):
            self.fails(Haul.run("push", self.file("file"), server.url("file")), 4, "thread")
            self.fails(Haul.run("pull", server.url(), self.folder / "back"), 4, "thread")
        self.assertEqual(server.stop().code, 143)


class NoIoUring(HaulTest):
    """As container runtimes forbid it."""

    def test_forbidden(self):
        server = self.serve()
        for arguments in (("explain",), ("push", self.file("file"), server.url("x")), ("probe", f"127.0.0.1:{server.port}"),
                          ("serve", "--listen", "127.0.0.1:0", "--root", self.root)):
            with self.subTest(arguments=arguments):
                self.fails(Haul.run(*arguments, prefix=FORBID_IO_URING), 1, "io_uring is forbidden", "--io epoll", within_s=5)
        failure = as_json(Haul.run("push", "--json", self.file("file"), server.url("x"), prefix=FORBID_IO_URING))
        self.assertEqual((failure["exit_code"], failure["error"]["status"]), (1, "unsupported"))

    def test_epoll_when_asked_for(self):
        source = self.file("file", 3_000_000)
        for io in ("epoll", "prefer"):
            with self.subTest(io=io):
                server = self.serve("--io", io, prefix=FORBID_IO_URING)
                outcome = self.succeeds(Haul.run("push", "--io", io, source, server.url(io), prefix=FORBID_IO_URING))
                self.same(source, self.root / io)
                self.assertEqual("epoll instead of io_uring" in outcome.err, io == "prefer", str(outcome))
                text = self.succeeds(Haul.run("explain", "--io", io, f"127.0.0.1:{server.port}", prefix=FORBID_IO_URING)).out
                self.assertRegex(text, r"lane 0: .*\bepoll\b")
                self.assertEqual("epoll instead of io_uring" in server.stop().err, io == "prefer")
