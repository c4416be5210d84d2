"""--controller and --rate of haul: who controls what is sent, how fast it may go, what is told of it, and mistakes."""
import json
import signal
from pathlib import Path

from harness import Haul, HaulTest, as_json

CONTROLLERS = ("hub", "bbr", "cubic", "swift", "fixed")
RATE = "16M"  # 2 MB/s; bits per second, as everywhere
RATE_BYTES_S = 2_000_000
SIZE = 6_000_000
# One operation (1 MiB) may overdraw the budget.
MOST_BYTES_S = RATE_BYTES_S * SIZE / (SIZE - (1 << 20)) * 1.1


class Steering(HaulTest):
    def serve_json(self, *arguments):
        """A server that tells JSON, and what it said when it listened."""
        server = Haul.start("serve", "--json", "--listen", "127.0.0.1:0", "--root", self.root, *arguments)
        self.addCleanup(lambda: server.child.poll() is None and server.child.kill())
        listening = json.loads(server.child.stdout.readline())
        return server, f"haul://{listening['address']}/", listening

    def events_of(self, server):
        server.signal(signal.SIGTERM)
        return [json.loads(line) for line in server.end(15).out.splitlines()]

    def move(self, command, *arguments):
        return as_json(self.succeeds(Haul.run(command, "--json", "--overwrite", *arguments)))


class Controllers(Steering):
    def test_push_under_each(self):
        source = self.file("file", 5_000_000)
        server = self.serve()
        for name in CONTROLLERS:
            with self.subTest(name=name):
                told = self.move("push", "--controller", name, source, server.url("file"))
                self.assertEqual(told["controller"], name)
                path, = told["congestion"]
                self.assertEqual((path["transport"], path["direction"], path["controller"]), ("tcp", "out", name))
                self.assertGreater(path["window_bytes"], 0)
                self.same(source, self.root / "file")

    def test_off_by_default_and_automatic_within_a_rack(self):
        source = self.file("file")
        server = self.serve()
        for arguments, name in (((), "off"), (("--controller", "off"), "off"), (("--controller", "automatic"), "automatic")):
            with self.subTest(arguments=arguments):
                told = self.move("push", *arguments, source, server.url("file"))
                self.assertEqual((told["controller"], told["congestion"], told["rate_limit_bytes_s"]), (name, [], None))

    def test_what_is_pulled_is_the_servers_to_control(self):
        source = self.file("root/file", 5_000_000)
        server, url, listening = self.serve_json("--controller", "hub")
        self.assertEqual((listening["controller"], listening["rate_limit_bytes_s"]), ("hub", None))
        self.assertEqual(self.move("pull", url + "file", self.folder / "back")["congestion"], [])
        self.same(source, self.folder / "back/file")
        job, = self.events_of(server)
        self.assertEqual((job["what"], job["congestion"][0]["controller"], job["congestion"][0]["direction"]),
                         ("pull of /file", "hub", "out"))
        refused = Haul.run("pull", "--controller", "hub", url + "file", self.folder / "back")
        self.fails(refused, 2, "give --controller to haul serve")
        refused = Haul.run("pull", "--remember", self.folder / "paths", url + "file", self.folder / "back")
        self.fails(refused, 2, "give --remember to haul serve")

    def test_explain(self):
        told = self.succeeds(Haul.run("explain", "--controller", "hub", "--rate", "500M")).out
        self.assertIn("congestion control: hub; rate limit: 62500000 bytes/s", told)
        self.assertIn("congestion control: off; rate limit: no bound", self.succeeds(Haul.run("explain")).out)
        server = self.serve()
        address = f"127.0.0.1:{server.port}"
        self.assertIn("tcp out: cubic", self.succeeds(Haul.run("explain", "--controller", "cubic", address)).out)
        self.assertIn("nobody but the backend (automatic",
                      self.succeeds(Haul.run("explain", "--controller", "automatic", address)).out)


class Rates(Steering):
    def within(self, told):
        self.assertLess(told["rate_bytes_s"], MOST_BYTES_S, told)
        self.assertGreater(told["rate_bytes_s"], RATE_BYTES_S / 2, told)

    def test_a_push(self):
        source = self.file("file", SIZE)
        server = self.serve()
        told = self.move("push", "--rate", RATE, source, server.url("file"))
        self.assertEqual(told["rate_limit_bytes_s"], RATE_BYTES_S)
        self.within(told)
        self.same(source, self.root / "file")

    def test_a_pull_asks_the_server(self):
        source = self.file("root/file", SIZE)
        server = self.serve()
        told = self.move("pull", "--rate", RATE, server.url("file"), self.folder / "back")
        self.assertEqual(told["rate_limit_bytes_s"], RATE_BYTES_S)
        self.within(told)
        self.same(source, self.folder / "back/file")

    def test_a_server(self):
        source = self.file("root/file", SIZE)
        server, url, listening = self.serve_json("--rate", RATE)
        self.assertEqual(listening["rate_limit_bytes_s"], RATE_BYTES_S)
        self.within(self.move("pull", "--rate", "8G", url + "file", self.folder / "back"))
        # What comes is bounded by whoever sends it.
        self.assertGreater(self.move("push", source, url + "other")["rate_bytes_s"], 2 * RATE_BYTES_S)

    def test_with_a_controller(self):
        source = self.file("file", SIZE)
        server = self.serve()
        told = self.move("push", "--rate", RATE, "--controller", "hub", source, server.url("file"))
        self.within(told)
        self.assertEqual(told["congestion"][0]["controller"], "hub")


class Kernel(Steering):
    def test_what_is_not_installed(self):
        if "haul" in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split():
            self.skipTest("haul's congestion control is installed in this kernel")
        source = self.file("file")
        server = self.serve("--kernel-controller", "auto")
        self.move("push", "--kernel-controller", "auto", "--controller", "hub", source, server.url("file"))
        self.same(source, self.root / "file")
        refused = Haul.run("push", "--overwrite", "--kernel-controller", "require", source, server.url("file"))
        self.fails(refused, 1, "congestion control")


class Mistakes(Steering):
    def test_wrong_names_list_those_that_exist(self):
        serve = ("serve", "--listen", "127.0.0.1:0", "--root", "/")
        for command in (("push", "a", "haul://127.0.0.1:1/"), serve, ("explain",)):
            for name in ("pigeon", "", "HUB"):
                with self.subTest(command=command, name=name):
                    outcome = Haul.run(*command, "--controller", name)
                    self.assertEqual(outcome.code, 2, str(outcome))
                    for word in ("--controller", "off", "automatic", *CONTROLLERS):
                        self.assertIn(word, outcome.err, str(outcome))

    def test_wrong_kernel_controller(self):
        outcome = Haul.run("explain", "--kernel-controller", "on")
        self.fails(outcome, 2, "--kernel-controller: on not in {auto,off,require}\n")

    def test_wrong_rates(self):
        for rate in ("fast", "0", "-5M", "500MB", "1e14", "", "nan"):
            with self.subTest(rate=rate):
                outcome = Haul.run("push", f"--rate={rate}", "a", "haul://127.0.0.1:1/")
                self.assertEqual(outcome.code, 2, str(outcome))
                self.assertIn("--rate", outcome.err, str(outcome))
