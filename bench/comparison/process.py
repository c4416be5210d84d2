"""Child processes with a time limit and their processor time; ended by pid, never left behind."""

import os
import select
import signal
import socket
import subprocess
import tempfile
import time


class Failed(Exception):
    """A measurement that could not be taken; the text says why."""


class Process:
    """A child whose output is kept. Use as a context manager: it is dead at the end."""

    def __init__(self, command, environment=None):
        self.command = command
        self._output = tempfile.TemporaryFile()
        self._errors = tempfile.TemporaryFile()
        merged = {**os.environ, **(environment or {})}
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._errors, env=merged)
        self._fd = os.pidfd_open(self._child.pid)
        self.returncode = None
        self.cpu_s = 0.0

    @property
    def pid(self):
        return self._child.pid

    def wait(self, limit_s):
        """True when it ended within the limit."""
        if self.returncode is not None:
            return True
        waiter = select.poll()
        waiter.register(self._fd, select.POLLIN)
        if not waiter.poll(max(0, limit_s) * 1000):
            return False
        _, status, usage = os.wait4(self.pid, 0)
        self.returncode = self._child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        return True

    def output(self):
        return self._read(self._output)

    def errors(self):
        return self._read(self._errors)

    def complaint(self):
        """The last line that it said before it failed."""
        lines = (self.errors().strip() or self.output().strip()).splitlines()
        return lines[-1].strip() if lines else "no message"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for ending in (signal.SIGTERM, signal.SIGKILL):
            if not self.wait(0):
                os.kill(self.pid, ending)
                self.wait(2)
        os.close(self._fd)
        self._output.close()
        self._errors.close()

    @staticmethod
    def _read(file):
        file.seek(0)
        return file.read().decode(errors="replace")


def finish(process, limit_s):
    """Waits for a good end; Failed otherwise."""
    name = os.path.basename(process.command[0])
    if not process.wait(limit_s):
        raise Failed(f"{name} did not end within {limit_s:.0f} s")
    if process.returncode != 0:
        raise Failed(f"{name} ended with {process.returncode}: {process.complaint()}")


def run(command, limit_s, environment=None):
    """The output of one command."""
    with Process(command, environment) as process:
        finish(process, limit_s)
        return process.output()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(process, port, limit_s=10):
    """Looks into the process's own network namespace, so that no test connection disturbs it."""
    wanted = f":{port:04X}"
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.wait(0):
            raise Failed(f"{process.command[0]} ended before it listened: {process.complaint()}")
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{process.pid}/net/{table}", encoding="ascii") as file:
                for line in file:
                    fields = line.split()
                    if fields[1].endswith(wanted) and fields[3] == "0A":
                        return
        time.sleep(0.02)
    raise Failed(f"{process.command[0]} did not listen on port {port} within {limit_s} s")


def run_pair(server_command, client_command, port, limit_s, environment=None):
    """A server and its client. Returns the client's output and the processor seconds of both together."""
    with Process(server_command, environment) as server:
        wait_until_listening(server, port)
        with Process(client_command, environment) as client:
            finish(client, limit_s)
            server.wait(5)
            return client.output(), client.cpu_s + server.cpu_s


class Namespace:
    """A network namespace of our own, whose loopback uses one congestion control for every program in it."""

    def __init__(self, congestion):
        self.congestion = congestion
        self.name = f"haul-compare-{os.getpid()}"
        self.prefix = ["ip", "netns", "exec", self.name]

    def __enter__(self):
        run(["ip", "netns", "add", self.name], 10)
        try:
            run(["ip", "-n", self.name, "link", "set", "lo", "up"], 10)
            setting = "/proc/sys/net/ipv4/tcp_congestion_control"
            run(self.prefix + ["sh", "-c", f"echo {self.congestion} > {setting}"], 10)
        except Failed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        run(["ip", "netns", "del", self.name], 10)
