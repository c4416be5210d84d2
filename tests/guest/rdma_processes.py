#!/usr/bin/env python3
"""haul over soft-RoCE, process against process, in the guest of scripts/soft-roce.sh --pairs 2:
rdma_processes.py --haul PROGRAM --bench PROGRAM [--only PART]

Control messages cross lo, payload the veth pairs: rail 0 is rxe0 on veth0 (the client's) and rxe1 on veth1 (the server's),
rail 1 rxe2 on veth2 and rxe3 on veth3.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

project = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(project / "tests/integration"))

from harness import NOBODY, Haul, HaulTest, Process, as_json, tree_of  # noqa: E402

CLIENT = ("--rdma-device", "rxe0", "--rdma-device", "rxe2")
SERVER = ("--rdma-device", "rxe1", "--rdma-device", "rxe3")
RDMA = ("--transport", "rdma")
AUTO = ("--transport", "auto")
ENDS = ("veth0", "veth1", "veth2", "veth3")
MB = 1_000_000
BIG = 32 * MB  # with SLOW, two seconds over both rails
SLOW = "netem limit 10000 rate 80mbit"


def system(command):
    subprocess.run(command.split(), check=True, timeout=20)


def sent(device):
    return int(Path(f"/sys/class/net/{device}/statistics/tx_bytes").read_text())


def address(end):
    return f"10.77.{end // 2}.{end % 2 + 1}"


def rail_up(rail):
    near, far = 2 * rail, 2 * rail + 1
    system(f"ip link set veth{near} up")
    # What went with the link; scripts/soft-roce.sh tells what it is for.
    mac = Path(f"/sys/class/net/veth{far}/address").read_text().strip()
    table = 101 + 10 * rail
    system(f"ip route replace {address(far)} dev veth{near} src {address(near)} table {table}")
    system(f"ip neighbour replace {address(far)} lladdr {mac} dev veth{near} nud permanent")


def port_up(device):
    return "ACTIVE" in Path(f"/sys/class/infiniband/{device}/ports/1/state").read_text()


class RdmaTest(HaulTest):
    def setUp(self):
        super().setUp()
        self.down, self.shaped = set(), set()
        self.addCleanup(self.mend)

    def rail_down(self, *rails):
        self.down.update(rails)
        for rail in rails:
            system(f"ip link set veth{2 * rail} down")
        self.eventually(lambda: not any(port_up(f"rxe{2 * rail + end}") for rail in rails for end in (0, 1)))

    def shape(self, discipline, ends=ENDS):
        self.shaped.update(ends)
        for end in ends:
            system(f"tc qdisc replace dev {end} root {discipline}")

    def mend(self):
        while self.down:
            rail_up(self.down.pop())
        while self.shaped:
            system(f"tc qdisc del dev {self.shaped.pop()} root")
        self.eventually(lambda: all(port_up(f"rxe{end}") for end in range(4)))

    def serve_rdma(self, *arguments):
        return self.serve(*SERVER, *(arguments or RDMA))

    def refused(self, outcome, *words):
        """It failed in time, whatever the exit code, and nothing came to be there."""
        self.fails(outcome, outcome.code, *words)
        self.assertNotEqual(outcome.code, 0)
        self.assertEqual(tree_of(self.root), {})

    def push(self, *arguments):
        return Haul.run("push", *CLIENT, *arguments)

    def begin_push(self, transport, *arguments):
        """A slow push over both rails that is under way: its temporary file is there, and payload has crossed both."""
        self.shape(SLOW)
        self.file("root/old", 100)
        self.before = tree_of(self.root)
        self.big = self.file("big", BIG)
        self.server = self.serve_rdma(*transport, *arguments)
        began = {end: sent(end) for end in ("veth0", "veth2")}
        self.client = Haul.start("push", *CLIENT, *transport, *arguments, "--lanes", 2, self.big, self.server.url("big"))
        self.eventually(lambda: all(sent(end) > began[end] + 3 * MB for end in began) and list(self.root.glob(".haul-*.part")))
        self.assertFalse((self.root / "big").exists(), "it was over too soon")

    def nothing_is_left(self):
        return not list(self.root.glob(".haul-*")) and tree_of(self.root) == self.before

    def server_still_works(self, transport=RDMA):
        """It takes a push, whose payload goes over rdma."""
        source = self.file("another", 2 * MB)
        before = sent("veth0") + sent("veth2")
        self.succeeds(self.push(*transport, "--overwrite", source, self.server.url("another")))
        self.same(source, self.root / "another")
        self.assertGreater(sent("veth0") + sent("veth2") - before, 2 * MB)
        (self.root / "another").unlink()


class Moves(RdmaTest):
    def setUp(self):
        super().setUp()
        self.file("tree/a", 5 * MB + 1)
        self.file("tree/empty", 0)
        for number in range(12):
            self.file(f"tree/b/{number}", 1000 * number)

    def push_tree(self, server, *client):
        """Returns how many bytes crossed the pairs meanwhile."""
        before = sum(map(sent, ENDS))
        self.succeeds(Haul.run("push", *client, "--lanes", 2, self.folder / "tree", server.url("in/")))
        self.same(self.folder / "tree", self.root / "in/tree")
        return sum(map(sent, ENDS)) - before

    def pull_tree(self, server, *client):
        before = sum(map(sent, ENDS))
        self.succeeds(Haul.run("pull", *client, server.url("in/tree"), self.folder / "back"))
        self.same(self.folder / "tree", self.folder / "back/tree")
        return sum(map(sent, ENDS)) - before

    def test_push_and_pull(self):
        server = self.serve_rdma()
        self.assertGreater(self.push_tree(server, *CLIENT, *RDMA), 5 * MB)
        self.assertGreater(self.pull_tree(server, *CLIENT, *RDMA), 5 * MB)
        self.assertEqual(server.stop().code, 143)
        self.no_leftovers()

    def test_without_integrity(self):
        server = self.serve_rdma(*RDMA, "--integrity", "off")
        self.push_tree(server, *CLIENT, *RDMA, "--integrity", "off")
        self.pull_tree(server, *CLIENT, *RDMA, "--integrity", "off")

    def test_every_port_that_there_is(self):
        self.push_tree(self.serve(*RDMA), *RDMA)

    def test_auto_uses_it(self):
        self.assertGreater(self.push_tree(self.serve_rdma(*AUTO), *CLIENT, *AUTO), 5 * MB)

    def test_auto_to_a_server_without(self):
        self.assertLess(self.push_tree(self.serve(), *CLIENT, *AUTO), MB)

    def test_required_of_a_server_without(self):
        server = self.serve()
        self.refused(self.push(*RDMA, "--timeout", 3, self.folder / "tree", server.url("in/")), "rdma")

    def test_no_way_between_the_devices(self):
        """The lane can't stand, and tcp is no choice: it fails before anything is made."""
        server = self.serve("--rdma-device", "rxe3", *RDMA)
        arguments = ("--rdma-device", "rxe0", *RDMA, "--timeout", 3)
        self.refused(Haul.run("push", *arguments, self.folder / "tree", server.url("in")), "rdma")

    def test_auto_with_no_way_between_the_devices(self):
        server = self.serve("--rdma-device", "rxe3", *AUTO)
        self.push_tree(server, "--rdma-device", "rxe0", *AUTO)

    def test_several_paths_behind_the_device(self):
        server = self.serve_rdma()
        self.succeeds(Haul.run("push", *RDMA, "--rdma-device", "rxe0", self.folder / "tree/a", self.folder / "tree/b",
                               server.url("in/")))

    def test_explain(self):
        told = self.succeeds(Haul.run("explain", *CLIENT, *RDMA)).out
        for device, number in (("rxe0", "10.77.0.1"), ("rxe2", "10.77.1.1")):
            self.assertRegex(told, rf"{device} port 1, GID 1 \(RoCE v2, {number}\), MTU 4096, .*: used")
        self.assertNotIn("rxe1", told)

    def test_explain_the_way_to_a_server(self):
        server = self.serve_rdma()
        told = self.succeeds(Haul.run("explain", *CLIENT, *RDMA, f"127.0.0.1:{server.port}")).out
        way = told.partition("\npeer ")[2]
        for words in ("rxe0", "10.77.0.1", "10.77.0.2", "RoCE v2", "4096"):
            self.assertIn(words, way, told)

    def test_explain_a_server_behind_the_device(self):
        server = self.serve_rdma()
        self.succeeds(Haul.run("explain", *RDMA, "--rdma-device", "rxe0", f"127.0.0.1:{server.port}"))


class Refusals(RdmaTest):
    def setUp(self):
        super().setUp()
        self.source = self.file("file", 2 * MB)

    def push_as_nobody(self, limit, transport, server):
        system("chmod -R a+rwX /dev/infiniband")
        return Haul.run("push", *CLIENT, *transport, "--overwrite", self.source, server.url("file"),
                        prefix=("prlimit", f"--memlock={limit}", *NOBODY))

    def push_by(self, device, transport, server):
        return Haul.run("push", "--rdma-device", device, *transport, self.source, server.url("file"))

    def test_mistyped_device(self):
        server = self.serve_rdma()
        for transport in (RDMA, AUTO):
            with self.subTest(transport=transport[1]):
                self.refused(self.push_by("rxe9", transport, server), "no RDMA device rxe9", "rxe0")
        self.refused(self.push_by("rxe0:7", RDMA, server), "rxe0", "no port 7")
        self.refused(self.push_by("rxe0:1:99", RDMA, server), "rxe0", "no GID 99", "10.77.0.1")
        self.refused(self.push_by("rxe0:x", RDMA, server), '"rxe0:x"', "DEVICE:PORT")

    def test_mistyped_device_of_a_server(self):
        outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.root, *RDMA, "--rdma-device", "rxe9")
        self.fails(outcome, 1, "no RDMA device rxe9")

    def test_port_down_at_the_start(self):
        self.rail_down(0)
        server = self.serve(*RDMA)
        for transport in (RDMA, AUTO):
            with self.subTest(transport=transport[1]):
                self.refused(self.push_by("rxe0", transport, server), "rxe0", "down")
        outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.root, *RDMA, "--rdma-device", "rxe0")
        self.fails(outcome, 1, "rxe0", "down")
        told = self.succeeds(Haul.run("explain", *RDMA)).out
        self.assertRegex(told, "rxe0 port 1.*down.*not used")

    def test_exit_code_without_the_device(self):
        server = self.serve_rdma()
        # Not 3: that is a server which can't be reached.
        self.fails(self.push_by("rxe9", RDMA, server), 1)

    def test_no_port_up(self):
        server = self.serve_rdma(*AUTO)
        self.rail_down(0, 1)
        self.refused(Haul.run("push", *RDMA, self.source, server.url("file")), "no RDMA port can be used", "down")
        outcome = self.succeeds(Haul.run("push", *AUTO, self.source, server.url("file")))
        self.assertIn("goes without rdma", outcome.err)
        self.assertIn("down", outcome.err)
        self.same(self.source, self.root / "file")

    def test_little_locked_memory(self):
        server = self.serve_rdma()
        # What a connection itself needs does not fit, or what is staged does not.
        for limit in (16384, 1048576):
            outcome = self.push_as_nobody(limit, RDMA, server)
            self.refused(outcome, f"RLIMIT_MEMLOCK is {limit} bytes", "ulimit -l", "LimitMEMLOCK=")
        self.succeeds(self.push_as_nobody(256 << 20, RDMA, server))
        self.same(self.source, self.root / "file")

    def test_auto_with_little_locked_memory(self):
        """Told, as for rdma: going over tcp for want of a limit would be a slow transfer that nobody understands."""
        server = self.serve_rdma(*AUTO)
        for limit in (16384, 1048576):
            self.refused(self.push_as_nobody(limit, AUTO, server), f"RLIMIT_MEMLOCK is {limit} bytes", "ulimit -l")

    def test_little_locked_memory_of_a_server(self):
        system("chmod -R a+rwX /dev/infiniband")
        server = self.serve(*SERVER, *RDMA, prefix=("prlimit", f"--memlock={1 << 20}", *NOBODY))
        outcome = self.push(*RDMA, self.source, server.url("file"))
        self.refused(outcome, "the other side", f"RLIMIT_MEMLOCK is {1 << 20} bytes", "ulimit -l")


class Network(RdmaTest):
    def push_some(self, discipline, size):
        self.shape(discipline)
        server = self.serve_rdma()
        source = self.file("file", size)
        before = sent("veth0") + sent("veth2")
        self.succeeds(self.push(*RDMA, "--lanes", 2, source, server.url("file")))
        self.same(source, self.root / "file")
        self.assertGreater(sent("veth0") + sent("veth2") - before, size)

    def test_delay(self):
        self.push_some("netem limit 10000 delay 10ms", 20 * MB)

    def test_loss(self):
        self.push_some("netem limit 10000 loss 1%", 8 * MB)

    def test_delay_and_loss(self):
        self.push_some("netem limit 10000 delay 5ms loss 1%", 4 * MB)


class Rails(RdmaTest):
    def ends_well(self):
        self.succeeds(self.client.end())
        self.same(self.big, self.root / "big")
        self.no_leftovers(self.root)

    def test_one_rail_down(self):
        self.begin_push(RDMA)
        self.rail_down(0)
        other = sent("veth2")
        self.ends_well()
        self.assertGreater(sent("veth2") - other, BIG // 4)
        # And back: both sides use it again.
        self.mend()
        next_file = self.file("next", 8 * MB)
        before = {end: sent(end) for end in ("veth0", "veth2")}
        self.succeeds(self.push(*RDMA, "--lanes", 2, next_file, self.server.url("next")))
        self.same(next_file, self.root / "next")
        for end, sent_before in before.items():
            self.assertGreater(sent(end) - sent_before, MB, end)

    def test_a_rail_down_and_up_again(self):
        self.begin_push(RDMA)
        self.rail_down(1)
        rail_up(1)
        self.ends_well()

    def test_both_rails_down_for_a_while(self):
        self.begin_push(RDMA)
        self.rail_down(0, 1)
        time.sleep(1)  # in which nothing can move
        rail_up(0)
        rail_up(1)
        self.ends_well()

    def test_both_rails_down_goes_on_over_tcp(self):
        self.begin_push(AUTO)
        before = sent("lo")
        self.rail_down(0, 1)
        self.ends_well()
        self.assertGreater(sent("lo") - before, BIG // 4)

    def test_both_rails_down_fails(self):
        self.begin_push(RDMA, "--timeout", "4")
        self.client.began = time.monotonic()
        self.rail_down(0, 1)
        self.fails(self.client.end(), 1, "rxe0 port 1 is down", "rxe2 port 1 is down", within_s=8)
        self.eventually(self.nothing_is_left)
        self.mend()
        self.server_still_works()

    def test_silent_rail(self):
        """Every packet of one rail is lost, though its link is up."""
        self.begin_push(RDMA)
        self.shape("netem loss 100%", ENDS[:2])
        self.ends_well()


class Interruptions(RdmaTest):
    def test_server_killed(self):
        self.begin_push(RDMA, "--timeout", "4")
        self.client.began = time.monotonic()
        self.server.signal(signal.SIGKILL)
        self.server.end()
        self.fails(self.client.end(), 1, "connection", within_s=8)
        self.assertFalse((self.root / "big").exists())
        self.server = self.serve_rdma()  # which cleans up
        self.assertEqual(tree_of(self.root), self.before)
        self.server_still_works()

    def test_client_killed(self):
        self.begin_push(RDMA, "--timeout", "4")
        self.client.signal(signal.SIGKILL)
        self.client.end()
        self.eventually(self.nothing_is_left, limit_s=8)
        self.server_still_works()

    def test_server_stopped(self):
        self.begin_push(RDMA, "--timeout", "3")
        self.client.began = time.monotonic()
        self.server.signal(signal.SIGSTOP)
        self.fails(self.client.end(), 1, within_s=8)
        self.server.signal(signal.SIGCONT)
        self.eventually(self.nothing_is_left)
        self.server_still_works()

    def test_client_stopped(self):
        self.begin_push(RDMA, "--timeout", "3")
        self.client.signal(signal.SIGSTOP)
        self.eventually(self.nothing_is_left, limit_s=8)
        self.server_still_works()
        self.client.signal(signal.SIGCONT)
        self.fails(self.client.end(), 1)

    def test_client_interrupted(self):
        self.begin_push(RDMA)
        self.client.signal(signal.SIGINT)
        self.fails(self.client.end(10), 130, "interrupted")
        self.eventually(self.nothing_is_left)
        self.server_still_works()


class Bench(RdmaTest):
    def test_throughput(self):
        for op in ("put", "get"):
            for integrity in ("on", "off"):
                with self.subTest(op=op, integrity=integrity):
                    result = as_json(self.succeeds(Process([
                        Haul.bench, "throughput", *RDMA, "--rdma-device", "rxe0,rxe2",
                        "--receiver-rdma-device", "rxe1,rxe3", "--op", op, "--integrity", integrity,
                        "--size", "8M", "--warmup", "0", "--working-set", "4M", "--json"]).end()))
                    self.assertEqual(result["transport"], "rdma")
                    self.assertGreaterEqual(result["bytes_moved"], 8 << 20)
                    self.assertTrue(result["verified"])

    def test_reads_of_many_queue_pairs(self):
        """So many that the veth pair drops answers: rxe then ends reads as done that brought nothing. The run compares."""
        result = subprocess.run([Haul.bench, "throughput", *RDMA, "--rdma-device", "rxe0", "--receiver-rdma-device", "rxe1",
                                 "--integrity", "off", "--lanes", "8", "--working-set", "16M", "--duration", "0.5", "--json"],
                                capture_output=True, text=True, timeout=100)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(json.loads(result.stdout)["verified"])

    def test_comparison(self):
        """It runs to its end and has all figures; how good they are says nothing here."""
        file = self.folder / "figures.json"
        self.succeeds(Process([
            sys.executable, project / "bench/compare", "--bin", Path(Haul.bench).parent, "--rdma", "rxe0,rxe1",
            "--rounds", "1", "--seconds", "1", "--json", file]).end())
        rows = {row["key"]: row for row in json.loads(file.read_text())["rows"]}
        self.assertEqual(set(rows), {"rdma-put", "rdma-latency"})
        for row in rows.values():
            for tool, measured in row["measurements"].items():
                self.assertEqual(measured["problems"], [], tool)
                self.assertGreater(measured["value"], 0, tool)
            for target in row["targets"]:
                self.assertIsNotNone(target["ratio"], target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--haul", required=True)
    parser.add_argument("--bench", required=True, help="haul-bench; haul-bench-verbs lies beside it")
    parser.add_argument("--only", help="a part of the names of the tests to run")
    arguments = parser.parse_args()
    Haul.program = str(Path(arguments.haul).resolve())
    Haul.bench = str(Path(arguments.bench).resolve())
    os.environ.pop("HAUL_CREDENTIALS", None)
    loader = unittest.TestLoader()
    if arguments.only:
        loader.testNamePatterns = [f"*{arguments.only}*"]
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
