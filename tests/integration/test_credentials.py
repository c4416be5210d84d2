"""Moves between sides that authenticate each other, refusals of those that may not, and rates of clients by name."""
import json
import shutil
import signal
import time

from harness import Haul, HaulTest, as_json


class Identities(HaulTest):
    def identity(self, name):
        folder = self.folder / f"keys-{name}"
        self.succeeds(Haul.run("keygen", "--out", folder, "--name", name))
        (folder / "authorized_peers").write_text("")
        return folder

    def fingerprint(self, keys):
        return as_json(self.succeeds(Haul.run("fingerprint", "--json", keys / "haul.crt")))["fingerprint"]

    def line(self, other, verbs=""):
        return f"{other.name} {self.fingerprint(other)} {verbs}\n"

    def know(self, keys, other, verbs=""):
        (keys / "authorized_peers").write_text(self.line(other, verbs))


class Credentials(Identities):
    def setUp(self):
        super().setUp()
        self.server_keys, self.client_keys = self.identity("server"), self.identity("client")

    def know_each_other(self, verbs="push pull"):
        self.know(self.server_keys, self.client_keys, verbs)
        self.know(self.client_keys, self.server_keys)

    def round_trip(self, server, *options, prefix=()):
        source = self.file("file", 3_000_000)
        self.succeeds(Haul.run("push", source, server.url("file"), *options, prefix=prefix))
        self.same(source, self.root / "file")
        self.succeeds(Haul.run("pull", server.url("file"), self.folder / "back", *options, prefix=prefix))
        self.same(source, self.folder / "back/file")
        text = self.succeeds(Haul.run("explain", f"127.0.0.1:{server.port}", *options, prefix=prefix)).out
        self.assertIn(f'authenticated as "{self.server_keys.name}", {self.fingerprint(self.server_keys)}', text)

    def test_both_sides_known(self):
        self.know_each_other()
        for io in ("uring", "epoll"):
            with self.subTest(io=io):
                server = self.serve("--credentials", self.server_keys, "--io", io)
                self.round_trip(server, "--credentials", self.client_keys, "--io", io)
                (self.root / "file").unlink()
                shutil.rmtree(self.folder / "back")

    def test_the_environment(self):
        """It counts where the command line says nothing, for every command."""
        self.know_each_other()
        for server_says, client_says in ((("HAUL_CREDENTIALS", self.server_keys), ()),
                                         ((), ("HAUL_CREDENTIALS", self.client_keys))):
            with self.subTest(server=server_says, client=client_says):
                # On both sides the environment names the client's or the server's; the command line corrects the other.
                name, keys = server_says or client_says
                prefix = ["env", f"{name}={keys}"]
                server = self.serve(*([] if server_says else ["--credentials", self.server_keys]), prefix=prefix)
                self.round_trip(server, *([] if client_says else ["--credentials", self.client_keys]), prefix=prefix)
                (self.root / "file").unlink()
                shutil.rmtree(self.folder / "back")

    def test_strangers(self):
        self.know(self.client_keys, self.server_keys)
        server = self.serve("--credentials", self.server_keys)
        push = ("push", self.file("file"), server.url("file"))
        self.fails(Haul.run(*push, "--credentials", self.client_keys), 4, "authorized_peers")
        self.assertNotEqual(Haul.run(*push).code, 0)
        stranger = self.identity("stranger")
        self.fails(Haul.run(*push, "--credentials", stranger), 4, self.fingerprint(self.server_keys), "is not known")
        self.assertEqual(list(self.root.iterdir()), [])

    def test_permissions(self):
        self.know_each_other("push=/in")
        server = self.serve("--credentials", self.server_keys)
        source = self.file("file")
        known = ("--credentials", self.client_keys)
        self.succeeds(Haul.run("push", source, server.url("in/file"), *known))
        self.fails(Haul.run("push", source, server.url("out/file"), *known), 7, "may not push")
        self.fails(Haul.run("pull", server.url("in/file"), self.folder / "back", *known), 7, "may not pull")
        self.assertFalse((self.folder / "back").exists())


class ClientRates(Identities):
    """haul serve --client-rate. Rates are at most so much: a floor of time, whatever this machine does meanwhile."""
    RATE, RATE_BYTES_S = "8M", 1_000_000
    SPARE = (1 << 20) + 1_000_000 // 10  # one operation may overdraw the budget, which lends a little at the beginning

    def setUp(self):
        super().setUp()
        self.keys = {name: self.identity(name) for name in ("server", "slow", "other")}
        lines = [self.line(self.keys[name], "push pull") for name in ("slow", "other")]
        (self.keys["server"] / "authorized_peers").write_text("".join(lines))
        for name in ("slow", "other"):
            self.know(self.keys[name], self.keys["server"])

    def serve_json(self, *arguments):
        server = Haul.start("serve", "--json", "--listen", "127.0.0.1:0", "--root", self.root, "--credentials",
                            self.keys["server"], *arguments)
        self.addCleanup(lambda: server.child.poll() is None and server.child.kill())
        listening = json.loads(server.child.stdout.readline())
        return server, f"haul://{listening['address']}/", listening

    def pull(self, name, url, folder):
        pull = Haul.start("pull", "--json", "--credentials", self.keys[name], url, self.folder / folder)
        self.addCleanup(lambda: pull.child.poll() is None and pull.child.kill())
        return pull

    def test_the_named_one_is_held_to_it_and_others_are_not(self):
        size = 60 * self.RATE_BYTES_S
        source = self.file("root/file", size)
        server, url, listening = self.serve_json("--client-rate", f"{self.keys['slow'].name}={self.RATE}")
        self.assertEqual(listening["client_rates_bytes_s"], {self.keys["slow"].name: self.RATE_BYTES_S})
        began = time.monotonic()
        slow = self.pull("slow", url + "file", "slow")
        self.succeeds(self.pull("other", url + "file", "other").end())
        self.same(source, self.folder / "other/file")
        self.assertIsNone(slow.child.poll())  # as much to pull as the other, and a minute to go
        slow.signal(signal.SIGINT)
        slow.end()
        server.signal(signal.SIGTERM)
        jobs = {job["peer"]: job for job in map(json.loads, server.end(15).out.splitlines())}
        took_s = time.monotonic() - began
        self.assertEqual(jobs[self.keys["other"].name]["bytes"], size)
        self.assertLess(jobs[self.keys["slow"].name]["bytes"], self.RATE_BYTES_S * took_s + self.SPARE)

    def test_its_connections_share_it(self):
        size = 2 * self.RATE_BYTES_S
        source = self.file("root/file", size)
        _, url, _ = self.serve_json("--client-rate", f"{self.keys['slow'].name}={self.RATE}")
        began = time.monotonic()
        pulls = [self.pull("slow", url + "file", f"slow-{i}") for i in range(2)]
        for i, pull in enumerate(pulls):
            self.succeeds(pull.end())
            self.same(source, self.folder / f"slow-{i}/file")
        self.assertGreater(time.monotonic() - began, (2 * size - self.SPARE) / self.RATE_BYTES_S)

    def test_several(self):
        rates = ("--client-rate", "a=8M", "--client-rate=b@hub-1.example=1G")
        self.assertEqual(self.serve_json(*rates)[2]["client_rates_bytes_s"], {"a": 1_000_000, "b@hub-1.example": 125_000_000})

    def test_more_than_there_can_be(self):
        rates = [f"--client-rate=client-{i}=1M" for i in range(257)]
        serve = ("serve", "--listen", "127.0.0.1:0", "--root", self.root, "--credentials", self.keys["server"])
        self.fails(Haul.run(*serve, *rates), 1, "client-256", "256 tenants")

    def test_clients_beyond_them_are_served_and_told_of(self):
        self.file("root/file")
        rates = [f"--client-rate=client-{i}=1M" for i in range(256)]
        server = self.serve("--credentials", self.keys["server"], *rates)
        self.succeeds(self.pull("other", server.url("file"), "other").end())
        err, other = server.stop().err, self.keys["other"].name
        self.assertIn(f'haul: client "{other}" is served without a rate or share of its own', err)

    def test_mistakes(self):
        serve = ("serve", "--listen", "127.0.0.1:0", "--root", self.root)
        known = ("--credentials", self.keys["server"])
        self.fails(Haul.run(*serve, "--client-rate", "a=8M"), 2, "--client-rate a: without credentials", "--credentials")
        for text, word in (("a", '"a" has no "="'), ("=8M", '"" in "=8M" cannot be a client\'s name'), ("a b=8M", '"a b"'),
                           ("a=", '"" in "a="'), ("a=fast", '"fast" in "a=fast" is not a rate in bits'), ("a=0", '"0"')):
            with self.subTest(text=text):
                self.fails(Haul.run(*serve, *known, "--client-rate", text), 2, "--client-rate", word, "hub-b=500M")
        twice = Haul.run(*serve, *known, "--client-rate", "a=8M", "--client-rate", "a=9M")
        self.fails(twice, 2, '"a" has a rate already')
