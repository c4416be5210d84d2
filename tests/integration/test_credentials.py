"""Moves between sides that authenticate each other, and refusals of those that may not."""
import shutil

from harness import Haul, HaulTest, as_json


class Credentials(HaulTest):
    def setUp(self):
        super().setUp()
        self.server_keys, self.client_keys = self.identity("server"), self.identity("client")

    def identity(self, name):
        folder = self.folder / f"keys-{name}"
        self.succeeds(Haul.run("keygen", "--out", folder, "--name", name))
        (folder / "authorized_peers").write_text("")
        return folder

    def fingerprint(self, keys):
        return as_json(self.succeeds(Haul.run("fingerprint", "--json", keys / "haul.crt")))["fingerprint"]

    def know(self, keys, other, verbs=""):
        (keys / "authorized_peers").write_text(f"{other.name} {self.fingerprint(other)} {verbs}\n")

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
