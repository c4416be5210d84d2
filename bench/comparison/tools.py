"""One class for each program that is measured: how it is called, and how its output is read."""

import json
import re
import shutil

from .process import Failed, free_port, run, run_pair

MIB = 1 << 20


class Sample(dict):
    """`value` (GB/s, or microseconds), `cpu_s_per_gb` of both sides or None, `congestion`, and more."""


def system_congestion():
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        return file.read().strip()


class Tool:
    """A measurement that can be repeated. `needs` names a program; without it the measurement is skipped."""

    unit = "GB/s"

    def __init__(self, name, needs):
        self.name = name
        self.needs = needs

    def missing(self):
        return None if shutil.which(self.needs) else f"{self.needs} is not installed or not built"

    def measure(self, seconds):
        raise NotImplementedError


class HaulBench(Tool):
    def __init__(self, name, program, arguments, key="goodput_gbytes_s"):
        super().__init__(name, program)
        self.arguments = arguments
        self.key = key
        self.unit = "us" if key == "half_rtt_us" else "GB/s"

    def measure(self, seconds):
        command = [self.needs, *self.arguments, "--duration", str(seconds), "--json"]
        figures = json.loads(run(command, seconds + 90))
        in_force = re.search(r"congestion control (\w+)", figures["path"])
        return Sample(value=figures[self.key], cpu_s_per_gb=both_sides(figures),
                      congestion=in_force.group(1) if in_force else "unknown", path=figures["path"], figures=figures)


class PlainVerbs(Tool):
    unit = "us"

    def __init__(self, name, program, arguments):
        super().__init__(name, program)
        self.arguments = arguments

    def measure(self, seconds):
        figures = json.loads(run([self.needs, *self.arguments, "--duration", str(seconds), "--json"], seconds + 30))
        return Sample(value=figures["half_rtt_us"], cpu_s_per_gb=None, congestion="none", figures=figures)


class Perftest(Tool):
    """ib_write_bw and ib_write_lat, between two devices of this machine."""

    def __init__(self, name, program, rails, block_bytes):
        super().__init__(name, program)
        self.rails = rails
        self.block_bytes = block_bytes
        self.unit = "us" if program.endswith("_lat") else "GB/s"

    def measure(self, seconds):
        port = free_port()
        common = [self.needs, "-F", "-p", str(port), "-s", str(self.block_bytes), "-D", str(seconds)]
        if self.unit == "GB/s":
            # -Q 1: by default it looks at every hundredth completion, which may be none at all of a slow device's in a second.
            common += ["--report_gbits", "-Q", "1"]
        client, server = [common + rail_arguments(rail) for rail in self.rails]
        output, _ = run_pair(server, client + ["127.0.0.1"], port, seconds + 60)
        rows = [line.split() for line in output.splitlines() if line.split()[:1] == [str(self.block_bytes)]]
        if len(rows) != 1:
            raise Failed(f"{self.needs} printed no figures: {output.strip()[-200:]}")
        # With -D, ib_write_lat prints size, iterations, average; ib_write_bw size, iterations, peak, average, messages.
        value = float(rows[0][2]) if self.unit == "us" else float(rows[0][3]) / 8
        if value <= 0:
            raise Failed(f"{self.needs} measured nothing: {' '.join(rows[0])}")
        return Sample(value=value, cpu_s_per_gb=None, congestion="none")


def rail_arguments(rail):
    """DEVICE[:PORT[:GID]] in perftest's options. GID 1 is where Linux puts the RoCE v2 one of an interface's IPv4 address."""
    device, port, gid = (rail.split(":") + ["1", "1"][rail.count(":"):])[:3]
    return ["-d", device, "-i", port, "-x", gid]


class PlainSockets(Tool):
    def __init__(self, name, program, arguments, key="goodput_gbytes_s"):
        super().__init__(name, program)
        self.arguments = arguments
        self.key = key
        self.unit = "us" if key == "half_rtt_us" else "GB/s"

    def measure(self, seconds):
        figures = json.loads(run([self.needs, *self.arguments, "--duration", str(seconds), "--json"], seconds + 30))
        return Sample(value=figures[self.key], cpu_s_per_gb=both_sides(figures), congestion=figures["congestion"],
                      figures=figures)


def both_sides(figures):
    sides = (figures["cpu_s_per_gb_sender"], figures["cpu_s_per_gb_receiver"])
    return None if None in sides else sum(sides)


class Iperf3(Tool):
    def __init__(self, name, arguments=()):
        super().__init__(name, "iperf3")
        self.arguments = list(arguments)

    def measure(self, seconds):
        port = free_port()
        server = ["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", str(port)]
        client = ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-t", str(seconds), "-J", *self.arguments]
        output, cpu_s = run_pair(server, client, port, seconds + 20)
        end = json.loads(output)["end"]
        received = end["sum_received"]
        return Sample(value=received["bytes"] / received["seconds"] / 1e9, cpu_s_per_gb=cpu_s / (received["bytes"] / 1e9),
                      congestion=end["sender_tcp_congestion"])


class CountedTool(Tool):
    """A program that takes a number of iterations, not a time: the number follows from the last rate."""

    first_iterations = 300

    def __init__(self, name, needs, namespace=None):
        super().__init__(name, needs)
        self.prefix = namespace.prefix if namespace else []
        self.congestion = namespace.congestion if namespace else system_congestion()
        self._per_second = None

    def measure(self, seconds):
        if self._per_second is None:
            self._run(self.first_iterations, 30)
        return self._run(max(100, int(self._per_second * seconds)), seconds * 8 + 15)

    def _run(self, iterations, limit_s):
        value, per_second, moved_bytes, cpu_s = self.run_iterations(iterations, limit_s)
        self._per_second = per_second
        return Sample(value=value, cpu_s_per_gb=cpu_s / (moved_bytes / 1e9), congestion=self.congestion, iterations=iterations)

    def run_iterations(self, iterations, limit_s):
        """Returns the value, the iterations a second, all bytes moved, and the processor seconds of both sides."""
        raise NotImplementedError


class UcxPerftest(CountedTool):
    warmup = 100  # iterations; its own default would take longer than the measurement
    environment = {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo", "UCX_WARN_UNUSED_ENV_VARS": "n"}

    def __init__(self, name, test, block_bytes, namespace=None):
        super().__init__(name, "ucx_perftest", namespace)
        self.test = test
        self.block_bytes = block_bytes
        self.unit = "us" if test.endswith("_lat") else "GB/s"
        self.first_iterations = 300 if block_bytes >= MIB else 5000

    def run_iterations(self, iterations, limit_s):
        port = free_port()
        server = [*self.prefix, "ucx_perftest", "-p", str(port)]
        client = [*self.prefix, "ucx_perftest", "127.0.0.1", "-p", str(port), "-t", self.test, "-s", str(self.block_bytes),
                  "-n", str(iterations), "-w", str(self.warmup), "-f", "-v"]
        output, cpu_s = run_pair(server, client, port, limit_s, self.environment)
        lines = [line.split(",") for line in output.splitlines() if line.count(",") == 7]
        if len(lines) != 2 or lines[0][0] != "iterations":
            raise Failed(f"ucx_perftest printed no figures: {output.strip()[-200:]}")
        figures = dict(zip(lines[0], lines[1]))
        per_second = float(figures["overall_mr"])
        moved = (iterations + self.warmup) * self.block_bytes
        if self.unit == "us":
            return float(figures["50.0_percentile_lat"]), per_second, 2 * moved, cpu_s
        return float(figures["overall_bw"]) * MIB / 1e9, per_second, moved, cpu_s


class FiPingpong(CountedTool):
    def __init__(self, name, block_bytes, unit, namespace=None):
        super().__init__(name, "fi_pingpong", namespace)
        self.block_bytes = block_bytes
        self.unit = unit

    def run_iterations(self, iterations, limit_s):
        port = free_port()
        common = [*self.prefix, "fi_pingpong", "-p", "tcp", "-e", "msg", "-S", str(self.block_bytes), "-I", str(iterations)]
        output, cpu_s = run_pair([*common, "-B", str(port)], [*common, "-P", str(port), "127.0.0.1"], port, limit_s)
        lines = output.strip().splitlines()
        if len(lines) < 2 or not lines[-2].startswith("bytes"):
            raise Failed(f"fi_pingpong printed no figures: {output.strip()[-200:]}")
        half_rtt_us = float(dict(zip(lines[-2].split(), lines[-1].split()))["usec/xfer"])
        if half_rtt_us <= 0:
            raise Failed("fi_pingpong's run was too short to time")
        value = half_rtt_us if self.unit == "us" else self.block_bytes / half_rtt_us / 1e3
        return value, 1e6 / (2 * half_rtt_us), 2 * iterations * self.block_bytes, cpu_s
