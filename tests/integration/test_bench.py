"""haul-bench: every mode runs, its JSON has the promised keys with figures in them, and wrong arguments are named."""
import signal
import socket
import unittest

from harness import REFUSAL, Haul, HaulTest, Process, as_json

PROMISED = {"goodput_gbytes_s", "cpu_s_per_gb_sender", "cpu_s_per_gb_receiver", "p50_us", "p99_us", "p999_us", "half_rtt_us",
            "ops_per_s", "retransmits", "transport", "lanes", "block_bytes"}
BRIEF = ("--duration", "0.1", "--warmup", "0.02", "--working-set", "4M")


def bench(*arguments):
    if REFUSAL and arguments and "--io" not in arguments:
        arguments += ("--io", "epoll")
    return Process([Haul.bench, *map(str, arguments)])


class Bench(HaulTest):
    def measure(self, *arguments):
        return as_json(self.succeeds(bench(*arguments, *BRIEF, "--json").end()))

    def has_figures(self, result, *without):
        self.assertEqual(PROMISED - result.keys(), set())
        missing = {key for key in PROMISED if result[key] is None}
        self.assertEqual(missing, set(without), result)


class Alone(Bench):
    def test_the_second_half_and_a_series(self):
        figures = self.measure("throughput", "--series", "0.01")
        self.assertGreater(figures["steady_goodput_gbytes_s"], 0)
        self.assertGreater(figures["series"]["began_ns"], 0)
        self.assertEqual(figures["series"]["columns"][:2], ["at_s", "window_bytes"])
        times = [point[0] for point in figures["series"]["points"]]
        self.assertGreater(len(times), 3)
        self.assertTrue(all(0.009 < later - earlier < 0.5 for earlier, later in zip(times, times[1:])), times)
        self.assertIsNone(self.measure("throughput")["series"])

    def test_throughput(self):
        for op in ("put", "get"):
            with self.subTest(op=op):
                result = self.measure("throughput", "--op", op, "--block", "64K", "--lanes", "2", "--integrity", "off")
                self.has_figures(result, "half_rtt_us")
                self.assertEqual((result["transport"], result["lanes"], result["block_bytes"]), ("tcp", 2, 65536))
                self.assertEqual((result["op"], result["working_set_bytes"]), (op, 4 << 20))
                self.assertTrue(result["verified"])

    def test_latency(self):
        self.has_figures(self.measure("latency"))
        self.has_figures(self.measure("latency", "--op", "get", "--io", "epoll"), "half_rtt_us")

    def test_descriptors(self):
        for op in ("put", "get"):
            with self.subTest(op=op):
                result = self.measure("descriptors", "--op", op, "--transport", "tcp")
                self.has_figures(result, "half_rtt_us")
                self.assertEqual((result["block_bytes"], result["descriptors_per_batch"]), (1024, 256))
                self.assertTrue(result["verified"])

    def test_idle(self):
        result = self.measure("idle")
        self.assertIsNotNone(result["cpu_percent_client"])
        self.assertIsNotNone(result["cpu_percent_server"])

    def test_size(self):
        result = as_json(self.succeeds(bench("throughput", "--size", "10M", "--working-set", "4M", "--json").end()))
        self.assertGreaterEqual(result["bytes_moved"], 10 << 20)

    @unittest.skipIf(REFUSAL, REFUSAL)
    def test_zero_copy(self):
        for wanted, words in (("auto", "zero copy off on loopback"), ("off", "zero copy off,"), ("always", "zero copy on")):
            with self.subTest(wanted=wanted):
                result = self.measure("throughput", "--zero-copy", wanted)
                self.assertEqual(result["zero_copy"], wanted)
                self.assertIn(words, result["path"])

    def test_controllers(self):
        for wanted, in_force in (("hub", "hub"), ("bbr", "bbr"), ("off", None), ("automatic", None)):
            with self.subTest(wanted=wanted):
                result = self.measure("throughput", "--controller", wanted)
                self.assertEqual((result["controller"], result["controller_in_force"]), (wanted, in_force))
                self.assertIsNone(result["congestion"], "the kernel's was not asked for")
        # What is read over tcp is sent, and so controlled, by the other side.
        self.assertIsNone(self.measure("throughput", "--op", "get", "--controller", "hub")["controller_in_force"])

    def test_rate(self):
        for op in ("put", "get"):
            with self.subTest(op=op):
                result = self.measure("throughput", "--op", op, "--block", "64K", "--rate", "80M")
                self.assertEqual(result["rate_limit_bytes_s"], 10_000_000)
                self.assertLess(result["goodput_gbytes_s"], 0.013)
        self.assertIsNone(self.measure("latency")["rate_limit_bytes_s"])

    def test_text(self):
        outcome = self.succeeds(bench("throughput", *BRIEF).end())
        for words in ("working set 4 MiB", "goodput", "s/GB", "99.9 %", "retransmits"):
            self.assertIn(words, outcome.out)


class Against(Bench):
    def test_a_server(self):
        server = bench("server", "--listen", "127.0.0.1:0")
        self.addCleanup(server.child.kill)
        address = server.child.stdout.readline().decode().split()[-1]
        for mode in ("throughput", "latency", "descriptors"):
            with self.subTest(mode=mode):
                self.has_figures(self.measure(mode, "--peer", address), *(() if mode == "latency" else ("half_rtt_us",)))
        server.signal(signal.SIGINT)
        self.succeeds(server.end(10))

    def test_sides_that_are_controlled_differently(self):
        server = bench("server", "--listen", "127.0.0.1:0", "--controller", "cubic")
        self.addCleanup(server.child.kill)
        address = server.child.stdout.readline().decode().split()[-1]
        outcome = self.succeeds(bench("throughput", "--peer", address, "--controller", "hub", "--rate", "1G", *BRIEF).end())
        for words in ("controller=hub kernel-controller=off rate=125000000 bytes/s", "controller=cubic"):
            self.assertIn(words, outcome.err)
        for words in ("controller: hub", "rate limit: 125000000 bytes/s"):
            self.assertIn(words, outcome.out)

    def test_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        outcome = bench("throughput", "--peer", f"127.0.0.1:{port}", *BRIEF).end(20)
        self.assertEqual(outcome.code, 1, str(outcome))
        self.assertIn(f"127.0.0.1:{port}", outcome.err)

    def test_not_loopback(self):
        for arguments in (("server", "--listen", "0.0.0.0:0"), ("throughput", "--peer", "192.0.2.1:5")):
            with self.subTest(arguments=arguments):
                outcome = bench(*arguments).end(20)
                self.assertEqual(outcome.code, 1, str(outcome))
                self.assertIn("insecure", outcome.err)


class Arguments(Bench):
    def test_wrong(self):
        for arguments in ((), ("fly",), ("throughput", "--op", "swap"), ("throughput", "--block", "0"),
                          ("throughput", "--block", "8M", "--working-set", "4M"), ("throughput", "--lanes", "0"),
                          ("throughput", "--integrity", "maybe"), ("throughput", "--transport", "pigeon"),
                          ("throughput", "--duration", "-1"), ("throughput", "--zero-copy", "maybe"),
                          ("throughput", "--controller", "pigeon"), ("server", "--controller", ""),
                          ("throughput", "--rate", "fast"), ("throughput", "--kernel-controller", "on"),
                          ("latency", "--rate", "0"), ("server", "--peer", "127.0.0.1:1")):
            with self.subTest(arguments=arguments):
                outcome = bench(*arguments).end(10)
                self.assertEqual(outcome.code, 2, str(outcome))
                self.assertNotEqual(outcome.err, "")
        self.assertIn("off,automatic,hub,bbr,cubic,swift,fixed", bench("throughput", "--controller", "pigeon").end(10).err)
        self.assertIn("500M", bench("throughput", "--rate", "500MB").end(10).err)
