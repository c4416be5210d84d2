"""What the integration tests share: running haul, a gate that holds traffic in mid-transfer, folders and comparisons."""
import ctypes
import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

LIMIT_S = 60  # of any single wait
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


IO_URING_SETUP = 425  # the same number on every architecture
ENGINES = ("serve", "push", "pull", "probe", "explain")


def io_uring_refusal():
    """Why processes may have no io_uring here; None: they may. Without parameters the call fails elsewhere, too, but later."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(IO_URING_SETUP, 1, None) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        return None
    return f"io_uring is refused here: {os.strerror(ctypes.get_errno())}"


REFUSAL = io_uring_refusal()


def skip_without_io_uring(arguments):
    """What runs an engine as it does by default can't be tested where io_uring is refused."""
    command, *options = map(str, arguments or ("",))
    io = options[options.index("--io") + 1] if "--io" in options[:-1] else "uring"
    if REFUSAL and command in ENGINES and io == "uring":
        raise unittest.SkipTest(REFUSAL)


class Outcome:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def __str__(self):
        return f"exit {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Haul:
    program = "haul"
    bench = None  # haul-bench, where it is built
    carriers = None  # haul-bench-quic-carriers, where it is built

    @classmethod
    def run(cls, *arguments, prefix=(), limit_s=LIMIT_S):
        return cls.start(*arguments, prefix=prefix).end(limit_s)

    @classmethod
    def start(cls, *arguments, prefix=()):
        skip_without_io_uring(arguments)
        return Process([*prefix, cls.program, *map(os.fsencode, map(str, arguments))])


class Process:
    """A started haul."""

    def __init__(self, command):
        self.began = time.monotonic()
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self, limit_s=LIMIT_S):
        try:
            out, err = self.child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            out, err = self.child.communicate()
            raise AssertionError(f"still running after {limit_s} s: {self.child.args}\n{out!r}\n{err!r}") from None
        took_s = time.monotonic() - self.began
        return Outcome(self.child.returncode, out.decode(errors="replace"), err.decode(errors="replace"), took_s)

    def signal(self, number):
        self.began = time.monotonic()  # how soon it ends is counted from here, however long it took to get there
        self.child.send_signal(number)


class Server(Process):
    """haul serve on a port of the system's choice."""

    def __init__(self, root, *arguments, prefix=()):
        skip_without_io_uring(("serve", *arguments))
        super().__init__([*prefix, Haul.program, "serve", "--listen", "127.0.0.1:0", "--root", str(root), *arguments])
        line = self.child.stdout.readline().decode()
        if not line.startswith("listening on "):
            raise AssertionError(f"no listening line: {line!r} {self.child.communicate()[1]!r}")
        self.port = int(line.rsplit(":", 1)[1])

    def url(self, path=""):
        return f"haul://127.0.0.1:{self.port}/{path}"

    def stop(self):
        """Ends it as an operator does, and checks that it went."""
        if self.child.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.end(15)


class Gate:
    """A TCP relay that lets `limit` bytes through, and more until `ready()` holds, then holds everything until open()."""

    def __init__(self, port, limit, ready=lambda: True):
        self.target, self.limit, self.ready = port, limit, ready
        self.passed = 0
        self.lock = threading.Lock()
        self.reached, self.opened = threading.Event(), threading.Event()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def url(self, path=""):
        return f"haul://127.0.0.1:{self.port}/{path}"

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(source, target), daemon=True).start()

    def pump(self, source, target):
        try:
            while data := source.recv(65536):
                with self.lock:
                    self.passed += len(data)
                    # What has passed may wait in sockets still: only `ready` tells what the receiver made of it.
                    over = self.passed > self.limit and (self.reached.is_set() or self.ready())
                if over:
                    self.reached.set()
                    self.opened.wait(LIMIT_S)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_reached(self):
        if not self.reached.wait(LIMIT_S):
            raise AssertionError("the transfer never got to the middle")

    def open(self):
        self.opened.set()

    def close(self):
        self.opened.set()
        self.listener.close()
        for end in self.sockets:
            end.close()


class HaulTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="haul-test-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.root = self.folder / "root"
        self.root.mkdir()

    def serve(self, *arguments, root=None, prefix=()):
        server = Server(root or self.root, *arguments, prefix=prefix)

        def end():
            if server.child.poll() is None:
                server.child.kill()
                server.child.communicate()

        self.addCleanup(end)
        return server

    def gate(self, server, limit, ready=lambda: True):
        gate = Gate(server.port, limit, ready)
        self.addCleanup(gate.close)
        return gate

    def file(self, name, size=1000):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as out:
            left = size
            while left > 0:
                left -= out.write(os.urandom(min(left, 1 << 20)))
        return path

    def succeeds(self, outcome):
        self.assertEqual(outcome.code, 0, str(outcome))
        return outcome

    def fails(self, outcome, code, *words, within_s=20):
        """It ended with `code` in time, and its message has all of `words`."""
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertLess(outcome.seconds, within_s, str(outcome))
        self.assertTrue(outcome.err.startswith("haul: ") or "\nhaul: " in outcome.err or "--help" in outcome.err, str(outcome))
        for word in words:
            self.assertIn(word, outcome.err, str(outcome))
        return outcome

    def same(self, a, b):
        self.assertEqual(tree_of(a), tree_of(b))

    def no_leftovers(self, *folders):
        for folder in folders or (self.folder,):
            self.assertEqual([str(path) for path in Path(folder).rglob(".haul-*")], [])

    def eventually(self, holds, limit_s=20):
        """Waits for something that another process does in its own time."""
        deadline = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > deadline:
                self.fail("it did not happen in time")
            time.sleep(0.02)


def digest(path):
    value = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value.update(block)
    return value.hexdigest()


def tree_of(path):
    """Everything below a folder (or one file), with contents and permissions of files. Files may vanish meanwhile."""
    path = os.fsencode(path)
    if os.path.isfile(path):
        return {b"": (os.stat(path).st_mode & 0o777, digest(path))}
    found = {}
    for folder, folders, files in os.walk(path):
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), path)] = "folder"
        for name in files:
            full = os.path.join(folder, name)
            try:
                found[os.path.relpath(full, path)] = (os.stat(full).st_mode & 0o777, digest(full))
            except FileNotFoundError:
                pass  # a process removed it between the listing and the look
    return found


def as_json(outcome):
    return json.loads(outcome.out)


needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root to become nobody, mount or unshare")
