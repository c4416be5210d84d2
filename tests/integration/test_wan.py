"""haul-bench wan: the emulated link is what it claims, runs have figures, mistakes are named, nothing stays behind."""
import json
import os
import shutil
import signal
import time
import unittest
from pathlib import Path

from harness import NOBODY, Haul, HaulTest, Process, needs_root

NOT_PERMITTED = 77
REJECTED = 3
LINK = ("--rate", "100M", "--rtt", "20ms")


def wan(*arguments, prefix=()):
    return Process([*prefix, Haul.bench, "wan", *map(str, arguments)])


def children(pid):
    """The living processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Wan(HaulTest):
    def refused(self, outcome, code, *words):
        self.assertEqual(outcome.code, code, str(outcome))
        for word in words:
            self.assertIn(word, outcome.err, str(outcome))


@needs_root
class Link(Wan):
    """Needs namespaces and /dev/net/tun; where a container has neither, says so."""

    @classmethod
    def setUpClass(cls):
        outcome = wan("--rate", "10M", "--rtt", "4ms", "--queue-bdp", "10", "--calibrate-only").end()
        if outcome.code == NOT_PERMITTED:
            raise unittest.SkipTest(f"no emulated links here: {outcome.err}")

    def counts(self, *arguments):
        """The JSON of a run that counts. A busy machine makes it late, which it says; then it is run again."""
        for _ in range(3):
            outcome = wan(*arguments, "--json").end()
            if outcome.code != REJECTED:
                self.assertEqual(outcome.code, 0, str(outcome))
                return json.loads(outcome.out)
        if " late" in outcome.err:
            self.skipTest(f"this machine is too busy for an emulated link: {outcome.err}")
        self.fail(str(outcome))

    def test_the_link_is_what_it_claims_to_be(self):
        disturbance = ("--loss", "2%", "--burst-loss", "1%,50%")
        loss = 1 - (1 - 0.02) * (1 - 0.01 / 0.51)
        link, = self.counts("--rate", "200M", "--rtt", "20ms", *disturbance, "--calibrate-only")["links"]
        measured = link["calibration"]
        self.assertAlmostEqual(measured["rate_bits_s"] / 200e6, 1, delta=0.015)
        self.assertAlmostEqual(measured["delay_forward_ms"], 10, delta=0.2)
        self.assertAlmostEqual(measured["delay_back_ms"], 10, delta=0.2)
        self.assertAlmostEqual(measured["loss_wanted"], loss)
        self.assertAlmostEqual(measured["loss"], loss, delta=measured["loss_tolerance"])
        self.assertLess(measured["loss_tolerance"], loss)
        self.assertGreater(measured["loss"], 0)

    def test_haul_beside_iperf3(self):
        if not shutil.which("iperf3"):
            self.skipTest("iperf3 is not installed: apt-get install iperf3")
        page = self.folder / "report.html"
        result = self.counts(*LINK, "--duration", "2", "--congestion", "cubic", "--beside", "reno:2", "--report", page)
        link, = result["links"]
        self.assertEqual(result["skipped"], [])
        self.assertEqual([run["program"] for run in link["runs"]], ["haul over cubic", "iperf3 reno ×2"])
        self.assertEqual([run["controller"] for run in link["runs"]], ["cubic", "reno"])
        self.assertIn("zero copy off beyond the rack", link["runs"][0]["path"])
        for run in link["runs"]:
            with self.subTest(program=run["program"]):
                # TCP's headers leave 0.965; a start in slow start costs some of two seconds.
                self.assertTrue(0.4 < run["use"] < 0.97, run["use"])
                self.assertGreater(run["round_trip_ms"], 20)
                flow, = run["series"]["flows"]
                self.assertEqual(flow["controller"], run["controller"])
                # What arrived at the far end is what the program counts, but for what was sent twice and the end of the run.
                self.assertAlmostEqual(flow["delivered_bytes"] * 8 / 2 / run["goodput_bits_s"], 1, delta=0.15)
                self.assertGreater(max(point[1] for point in flow["points"]), 50_000, "no window was seen")
                self.assertGreater(run["emulator"]["sending"]["packets"], 5000)
        page = page.read_text()
        for words in ("<svg", "Goodput", "Queue", "Window", "Round trip", "iperf3 reno ×2"):
            self.assertIn(words, page)

    def test_haul_under_its_own_controllers(self):
        link, = self.counts(*LINK, "--duration", "1", "--controller", "off,hub", "--congestion", "cubic")["links"]
        told = [(run["program"], run["controller"], run["congestion"]) for run in link["runs"]]
        self.assertEqual(told, [("haul off over cubic", "cubic", "cubic"), ("haul hub over cubic", "hub", "cubic")])
        self.assertEqual([run["series"]["flows"][0]["controller"] for run in link["runs"]], ["cubic", "hub"])
        for run in link["runs"]:
            self.assertGreater(run["goodput_bits_s"], 1e6)

    def test_lanes_that_are_asked_for_and_such_that_haul_finds(self):
        for asked, name, most in ((2, "haul ×2", 2), (0, "haul ×?", 64)):
            with self.subTest(lanes=asked):
                result = self.counts(*LINK, "--duration", "1", "--lanes", asked)
                self.assertEqual(result["lanes"], asked)
                run, = result["links"][0]["runs"]
                self.assertEqual(run["program"], name)
                self.assertTrue(max(asked, 1) <= run["connections"] <= most, run["connections"])
                self.assertGreater(run["goodput_bits_s"], 1e6)

    def quic_is_built(self):
        outcome = Process([Haul.bench, "throughput", "--transport", "quic", "--duration", "0.1", "--working-set", "4M"]).end()
        if "built without QUIC" in outcome.err:
            self.skipTest("haul-bench was built without QUIC")

    def test_haul_over_quic(self):
        self.quic_is_built()
        links = self.folder / "links.toml"
        links.write_text('duration = "3s"\nbeside = []\ntransport = "quic"\n'
                         '[[link]]\nrate = "100M"\nrtt = "20ms"\nloss = "0.5%"\n')
        result = self.counts("--matrix", links)
        self.assertEqual(result["transport"], "quic")
        link, = result["links"]
        run, = link["runs"]
        self.assertEqual((run["program"], run["controller"], run["congestion"]), ("haul", "hub", None))
        self.assertIn("TLS 1.3", run["path"])
        # Headers of 74 bytes a packet of 1480 leave 0.95.
        self.assertTrue(0.2 < run["use"] < 0.96, run["use"])
        self.assertTrue(0.2 < run["steady_goodput_bits_s"] / 100e6 < 0.96, run["steady_goodput_bits_s"])
        self.assertGreater(run["lost_packets"], 10)
        self.assertGreater(run["retransmits"], 10)
        flow, = run["series"]["flows"]
        self.assertEqual(flow["controller"], "hub")
        # haul's own view of its path: the kernel has none.
        window, in_flight = (max(point[column] for point in flow["points"]) for column in (1, 2))
        self.assertGreater(window, 50_000)
        self.assertGreater(in_flight, 50_000)
        self.assertGreater(run["round_trip_ms"], 20)
        self.assertGreater(link["memory_asked_bytes"], 64 << 20)
        for side in ("sender", "receiver"):
            self.assertTrue(1 << 20 < run[f"peak_resident_bytes_{side}"] < link["memory_asked_bytes"])

    def test_an_outage_over_quic_under_another_controller(self):
        self.quic_is_built()
        link, = self.counts(*LINK, "--transport", "quic", "--controller", "cubic", "--duration", "2",
                            "--outage", "500ms@700ms")["links"]
        run, = link["runs"]
        self.assertEqual((run["program"], run["controller"]), ("haul cubic", "cubic"))
        self.assertGreater(run["series"]["figures"]["longest_stall_s"], 0.4)

    def test_an_outage_and_a_rival(self):
        if not shutil.which("iperf3"):
            self.skipTest("iperf3 is not installed: apt-get install iperf3")
        link, = self.counts(*LINK, "--duration", "2", "--outage", "500ms@700ms", "--rival", "cubic")["links"]
        run, = link["runs"]
        self.assertGreater(run["lost_packets"], 0)
        self.assertGreater(run["rival_goodput_bits_s"], 1e6)
        self.assertGreater(run["series"]["figures"]["longest_stall_s"], 0.4)
        self.assertEqual([flow["rival"] for flow in run["series"]["flows"]], [False, True])

    def test_a_matrix(self):
        links = self.folder / "links.toml"
        links.write_text('duration = "1s"\nbeside = []\ncontrollers = ["automatic"]\n' + "".join(
            f'[[link]]\nrate = "50M"\nrtt = "10ms"\nloss = "{loss}"\n' for loss in ("0", "1%")) +
            '[[link]]\nrate = "50M"\nrtt = "10ms"\nloss = "2%"\njitter = "1ms"\n')
        result = self.counts("--matrix", links)
        self.assertEqual([link["loss"] for link in result["links"]], [0, 0.01, 0.02])
        for link in result["links"]:
            self.assertEqual([(run["program"], run["controller"]) for run in link["runs"]], [("haul automatic", "hub")])
        # A link that differs in more than that has no place on the map.
        heat_map, = result["heat_maps"]
        self.assertEqual((heat_map["losses"], heat_map["rtts_ms"]), ([0, 0.01], [10]))

    def test_without_iperf3(self):
        nowhere = ("env", f"PATH={self.folder}")
        env = shutil.which("env")
        outcome = wan(*LINK, "--duration", "1", "--beside", "cubic", "--json", prefix=(env, *nowhere[1:])).end()
        self.assertIn("SKIPPED iperf3 cubic: iperf3 is not installed", outcome.err)
        if outcome.code != REJECTED:
            self.assertEqual(len(json.loads(outcome.out)["skipped"]), 1)
        self.refused(wan(*LINK, "--rival", "cubic", prefix=(env, *nowhere[1:])).end(), 1, "rival", "apt-get install iperf3")

    def test_what_keeps_the_emulator_from_reading_shows_on_a_slow_link_too(self):
        if "bbr" not in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split():
            self.skipTest("the kernel has no bbr, which goes on sending while nothing is delivered: modprobe tcp_bbr")
        process = wan("--rate", "10M", "--rtt", "20ms", "--duration", "2", "--controller", "bbr", "--json")
        self.addCleanup(process.child.kill)
        self.eventually(lambda: len(children(process.child.pid)) >= 2)
        for _ in range(60):
            process.signal(signal.SIGSTOP)
            time.sleep(0.02)
            process.signal(signal.SIGCONT)
            time.sleep(0.02)
        outcome = process.end()
        self.assertEqual(outcome.code, REJECTED, str(outcome))
        reading = json.loads(outcome.out)["links"][0]["runs"][0]["emulator"]["reading"]
        self.assertGreater(reading["packets"], 1000)
        self.assertGreater(reading["p99_us"], 2000)

    def test_more_than_the_machine_can_do_is_rejected(self):
        outcome = wan("--rate", "10G", "--rtt", "10ms", "--duration", "1").end()
        self.assertEqual(outcome.code, REJECTED, str(outcome))
        self.assertIn("REJECTED", outcome.out)

    def test_what_fails_is_told(self):
        for option in ("--transport", "--congestion"):
            with self.subTest(option=option):
                outcome = wan(*LINK, option, "pigeon").end()
                if outcome.code != REJECTED:
                    self.assertEqual(outcome.code, 1, str(outcome))
                    self.assertIn("FAILED", outcome.out)
                    self.assertIn("pigeon", outcome.out)

    def test_a_run_that_cannot_start_costs_no_other(self):
        links = self.folder / "links.toml"
        links.write_text('beside = []\n' + 2 * '[[link]]\nrate = "50M"\nrtt = "10ms"\n')
        page = self.folder / "report.html"
        outcome = wan("--matrix", links, "--transport", "pigeon", "--json", "--report", page).end()
        if outcome.code == REJECTED:
            self.skipTest(f"this machine is too busy for an emulated link: {outcome.err}")
        self.assertEqual(outcome.code, 1, str(outcome))
        result = json.loads(outcome.out)
        self.assertEqual(len(result["links"]), 2)
        self.assertIn("pigeon", [run["failed"] for link in result["links"] for run in link["runs"]][-1])
        self.assertIsNone(result["incomplete"])
        self.assertIn("pigeon", page.read_text())

    def test_an_interruption_keeps_what_was_measured(self):
        process = wan(*LINK, "--duration", "2", "--congestion", "cubic,reno", "--json")
        self.addCleanup(process.child.kill)
        self.eventually(lambda: len(children(process.child.pid)) >= 2)
        first = children(process.child.pid)
        self.eventually(lambda: len(set(children(process.child.pid)) - set(first)) >= 2)
        process.signal(signal.SIGINT)
        outcome = process.end(10)
        self.refused(outcome, 130, "interrupted by SIGINT")
        result = json.loads(outcome.out)
        self.assertEqual([run["program"] for run in result["links"][0]["runs"]], ["haul over cubic"])
        self.assertIn("SIGINT", result["incomplete"])

    def test_nothing_stays_behind(self):
        for ending, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            with self.subTest(ending=ending):
                process = wan(*LINK, "--duration", "30")
                self.addCleanup(process.child.kill)
                self.eventually(lambda: len(children(process.child.pid)) >= 2)
                started = children(process.child.pid)
                time.sleep(0.2)
                process.signal(ending)
                outcome = process.end(10)
                self.assertEqual(outcome.code, code, str(outcome))
                if ending != signal.SIGKILL:
                    self.assertIn("interrupted by SIG", outcome.err)
                # Namespaces and devices have no names: they live as long as these processes.
                self.eventually(lambda: not any(map(alive, started)), 5)

    def test_a_machine_that_has_run_out_is_not_one_that_may_not(self):
        outcome = wan(*LINK, "--calibrate-only", prefix=(shutil.which("prlimit"), "--nofile=5")).end()
        self.refused(outcome, 1, "exhausted", "ulimit -n")

    def test_an_interrupt_from_a_terminal(self):
        """It reaches the programs at the ends, too: they are gone before haul-bench looks, and did not fail."""
        process = wan(*LINK, "--duration", "30", prefix=(shutil.which("setsid"),))
        self.addCleanup(process.child.kill)
        self.eventually(lambda: len(children(process.child.pid)) >= 2)
        started = children(process.child.pid)
        time.sleep(0.2)
        os.killpg(process.child.pid, signal.SIGINT)
        outcome = process.end(10)
        self.refused(outcome, 130, "interrupted by SIGINT")
        self.assertNotIn("FAILED", outcome.out)
        self.eventually(lambda: not any(map(alive, started)), 5)


class Arguments(Wan):
    def test_wrong(self):
        links = self.folder / "links.toml"
        links.write_text('[[link]]\nrate = "500M"\nrrt = "1ms"\n')
        for arguments, words in (
                (("--rate", "fast"), ("--rate fast", "500M")), (("--rate", "100T"), ("rate",)),
                (("--rate", "400G"), ("10G", "haul-bench sim")), (("--rtt", "0ms"), ("above 0",)),
                (("--rtt", "3ms"), ("at least 4ms",)),
                (("--rtt", "5"), ("100ms",)), (("--queue-bdp", "0"), ("--queue-bdp",)),
                (("--queue-bdp", "nan"), ("--queue-bdp",)),
                (("--queue-bdp", "1e5"), ("under way",)), (("--loss", "150%"), ("0.1%",)),
                (("--burst-loss", "1%"), ("ENTER,LEAVE",)), (("--burst-loss", "1%,0"), ("turning good",)),
                (("--outage", "5s"), ("5s@10s",)), (("--rival", "Reno?"), ("bbr:8",)), (("--beside", "bbr:0"), ("bbr:8",)),
                (("--duration", "0"), ("1s to 3600s",)), (("--matrix", links, "--rate", "1G"), ("--matrix",)),
                (("--matrix", links), (f"{links}:3:", "rtt")), (("--io", "rust"), ("uring",)),
                (("--kernel-controller", "on"), ("require",)), (("--lanes", "65"), ("--lanes", "64")),

                (("--kernel-controller", "on"), ("require",)),
                (("--transport", "quic", "--kernel-controller", "require"), ("--kernel-controller", "tcp", "quic")),
                (("--transport", "quic", "--congestion", "cubic"), ("--congestion", "tcp", "quic")),
                (("--transport", "quic", "--controller", "hub,off"), ("never without", "off")),
                (("--controller", "hub,pigeon"), ("pigeon", "off,automatic,hub,bbr,cubic,swift,fixed"))):
            with self.subTest(arguments=arguments):
                self.refused(wan(*arguments).end(), 2, *words)
        self.refused(wan("--matrix", self.folder / "none.toml").end(), 1, "none.toml")

    @needs_root
    def test_not_root(self):
        # The program may lie where only root can read.
        program = self.folder / "haul-bench"
        shutil.copy(Haul.bench, program)
        libraries = Path(Haul.bench).resolve().parent.parent
        outcome = Process([*NOBODY, str(program), "wan", *LINK]).end()
        if outcome.code == 127:
            self.skipTest(f"the libraries in {libraries} are not readable for others")
        self.refused(outcome, NOT_PERMITTED, "as root", "CAP_SYS_ADMIN")


if os.geteuid() != 0:
    class NotRoot(Wan):
        def test_says_so(self):
            self.refused(wan(*LINK).end(), NOT_PERMITTED, "as root")
