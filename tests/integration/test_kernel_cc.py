"""haul cc: its answers and exit codes. tests/kernel_cc/alone.sh gives it a bpf file system, and cleans up whatever comes."""
import json
import os
import unittest
from pathlib import Path

from harness import NOBODY, Haul, HaulTest, Process, as_json

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
NAMES = Path("/sys/fs/bpf/haul")
REJECTED = 3  # by haul-bench wan: the machine was too busy
NOT_PERMITTED = 77


def registered():
    return "haul" in AVAILABLE.read_text().split()


@unittest.skipUnless(os.path.ismount("/sys/fs/bpf"), "needs tests/kernel_cc/alone.sh")
class KernelCongestion(HaulTest):
    def tearDown(self):
        Haul.run("cc", "uninstall", "--wherever")
        super().tearDown()

    def status(self, *arguments, prefix=()):
        return as_json(self.succeeds(Haul.run("cc", "status", "--json", *arguments, prefix=prefix)))

    def test_life(self):
        self.assertEqual(self.status()["presence"], "absent")
        installed = as_json(self.succeeds(Haul.run("cc", "install", "--json", "--group", "nogroup")))
        self.assertEqual((installed["command"], installed["ok"], installed["presence"], installed["group"]),
                         ("cc", True, "installed", "nogroup"))
        self.assertTrue(registered())
        self.assertEqual(sorted(path.name for path in NAMES.iterdir()), ["commands", "operations", "samples"])
        self.assertTrue(self.status(prefix=NOBODY)["permitted"])  # nobody's group is nogroup
        told = self.succeeds(Haul.run("cc", "status")).out
        self.assertIn("this process may drive its sockets", told)
        self.assertIn("group: nogroup", told)
        self.succeeds(Haul.run("cc", "uninstall"))
        self.assertFalse(registered())
        self.assertFalse(NAMES.exists())
        self.assertEqual(self.succeeds(Haul.run("cc", "uninstall")).out, "not installed\n")

    def test_from_another_folder(self):
        elsewhere = ("--directory", "/sys/fs/bpf/haul-elsewhere")
        self.succeeds(Haul.run("cc", "install", *elsewhere))
        refused = Haul.run("cc", "uninstall")
        self.assertEqual(refused.code, 4, refused)
        self.assertIn("--wherever", refused.err)
        self.assertTrue(registered())
        self.succeeds(Haul.run("cc", "uninstall", "--wherever"))
        self.assertFalse(registered())
        self.succeeds(Haul.run("cc", "uninstall", *elsewhere))

    def test_haul_bench_tells_the_path_as_it_ended(self):
        if Haul.bench is None:
            self.skipTest("haul-bench is not built")
        self.succeeds(Haul.run("cc", "install"))
        steered = ("--kernel-controller", "require", "--controller", "hub")
        brief = ("--duration", "0.2", "--warmup", "0.05", "--working-set", "4M", "--json")
        told = as_json(self.succeeds(Process([Haul.bench, "throughput", *steered, *brief]).end()))
        # Before anything was sent nobody drove it.
        self.assertIn("congestion control haul (driven from here)", told["path"])

    def test_hub_fills_a_path_that_loses_packets(self):
        """Beside what the program does by itself without commands (RFC 5681), which every loss halves."""
        if Haul.bench is None:
            self.skipTest("haul-bench is not built")
        self.succeeds(Haul.run("cc", "install"))
        link = ("--rate", "40M", "--rtt", "20ms", "--loss", "1%", "--duration", "5")
        haul = ("--lanes", "3", "--kernel-controller", "require", "--controller", "off,hub")
        for _ in range(3):
            outcome = Process([Haul.bench, "wan", *link, *haul, "--json"]).end()
            if outcome.code != REJECTED:
                break
        if outcome.code in (REJECTED, NOT_PERMITTED):
            self.skipTest(f"no emulated links here, or the machine is too busy for one: {outcome.err}")
        self.assertEqual(outcome.code, 0, str(outcome))
        alone, hub = json.loads(outcome.out)["links"][0]["runs"]
        self.assertEqual([run["congestion"] for run in (alone, hub)], ["haul", "haul"])
        # 18 and 37 Mbit/s on two processors.
        self.assertGreater(hub["goodput_bits_s"], 1.3 * alone["goodput_bits_s"])

    def test_without_rights(self):
        refused = Haul.run("cc", "install", "--json", prefix=NOBODY)
        self.assertEqual(refused.code, 4, refused)
        self.assertIn("CAP_BPF", as_json(refused)["error"]["message"])
        self.assertFalse(registered())

    def test_wrong_command_lines(self):
        elsewhere = ["install", "--directory", self.folder / "haul"]
        relative = ["install", "--directory", "haul"]
        for arguments in ([], ["mend"], ["install", "--group", "no_such_group"], elsewhere, relative):
            outcome = Haul.run("cc", *arguments)
            self.assertEqual(outcome.code, 2, outcome)
        self.assertFalse(registered())
