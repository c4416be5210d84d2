"""Files moved over links that the kernel seals and opens (--kernel-tls require); tests/guest runs this where the kernel can."""
import unittest
from pathlib import Path

from harness import Haul, HaulTest, as_json

COUNTERS = Path("/proc/net/tls_stat")


def sealing_sockets():
    """How many sockets the kernel has sealed records for since it started."""
    return int(dict(line.split() for line in COUNTERS.read_text().splitlines())["TlsTxSw"])


@unittest.skipUnless(COUNTERS.exists(), "this kernel has no TLS (modprobe tls)")
class KernelTls(HaulTest):
    def setUp(self):
        super().setUp()
        lines = {}
        for name in ("hub", "laptop"):
            made = as_json(self.succeeds(Haul.run("keygen", "--json", "--out", self.folder / name, "--name", name)))
            lines[name] = made["authorized_peers_line"]
        (self.folder / "hub/authorized_peers").write_text(lines["laptop"] + "\n")
        (self.folder / "laptop/authorized_peers").write_text(lines["hub"] + "\n")
        self.file("tree/a", 5_000_001)
        for number in range(30):
            self.file(f"tree/b/{number}", 1000 * number)

    def round_trip(self, server_tls, client_tls):
        server = self.serve("--credentials", self.folder / "hub", "--kernel-tls", server_tls)
        common = ("--credentials", self.folder / "laptop", "--kernel-tls", client_tls)
        told = self.succeeds(Haul.run("explain", *common, f"127.0.0.1:{server.port}")).out
        self.assertIn("by the kernel" if client_tls == "require" else "by the library (kernel TLS: switched off)", told)
        self.succeeds(Haul.run("push", *common, "--lanes", 2, self.folder / "tree", server.url("in/")))
        self.same(self.folder / "tree", self.root / "in/tree")
        self.succeeds(Haul.run("pull", *common, server.url("in/tree"), self.folder / "back"))
        self.same(self.folder / "tree", self.folder / "back/tree")
        self.assertEqual(server.stop().code, 143)

    def test_kernel_on_both_sides(self):
        before = sealing_sockets()
        self.round_trip("require", "require")
        # explain, push and pull have a link each, push a second lane: both ends of each.
        self.assertGreaterEqual(sealing_sockets() - before, 8)

    def test_kernel_on_the_clients_side(self):
        before = sealing_sockets()
        self.round_trip("off", "require")
        self.assertGreaterEqual(sealing_sockets() - before, 3)

    def test_kernel_on_the_servers_side(self):
        before = sealing_sockets()
        self.round_trip("require", "off")
        self.assertGreaterEqual(sealing_sockets() - before, 3)
