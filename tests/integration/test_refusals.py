"""Wrong command lines, addresses that lead nowhere, ports that speak something else: a clear message in bounded time."""
import socket
import threading

from harness import Haul, HaulTest, as_json, needs_root


class Speaker:
    """A TCP server that is no haul: says `words` to everybody, over and over if `flood`, and reads nothing."""

    def __init__(self, words=b"", flood=False):
        self.words, self.flood = words, flood
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.speak, args=(connection,), daemon=True).start()

    def speak(self, connection):
        try:
            connection.sendall(self.words)
            while self.flood:
                connection.sendall(self.words)
        except OSError:
            pass

    def close(self):
        self.flood = False
        for end in [self.listener, *self.connections]:
            end.close()


class CommandLine(HaulTest):
    def test_usage(self):
        for arguments in ((), ("fly",), ("push",), ("push", "x"), ("serve",), ("serve", "--listen", "127.0.0.1:0"),
                          ("probe", "--lanes", "0", "h:1"), ("probe", "--io", "magic", "h:1"),
                          ("probe", "--timeout", "-1", "h:1"),
                          ("pull", "haul://127.0.0.1:1/x")):
            with self.subTest(arguments=arguments):
                self.assertEqual(Haul.run(*arguments).code, 2)

    def test_wrong_names_list_those_that_exist(self):
        for option, names in (("--io", "epoll,prefer,uring"), ("--kernel-tls", "auto,off,require"), ("--integrity", "off,on"),
                              ("--protection", "encrypted,integrity,plain"), ("--transport", "tcp,quic,rdma,auto")):
            with self.subTest(option=option):
                self.fails(Haul.run("explain", option, "magic"), 2, f"{option}: magic not in {{{names}}}\n")

    def test_list_before_the_paths(self):
        """An option that takes a list takes no path for one of its values."""
        sources = self.file("file"), self.file("other")
        outcome = Haul.run("push", "--rdma-device", "a,b:1", "--rdma-device", "c", *sources, "haul://127.0.0.1:1/x/")
        self.fails(outcome, 3, "127.0.0.1:1")

    def test_wrong_addresses(self):
        source = self.file("file")
        for url in ("http://127.0.0.1:1/x", "haul://127.0.0.1/x", "haul://127.0.0.1:99999/x", "haul://127.0.0.1:0/x",
                    "haul://::1:5/x", "haul://:5/x", "haul://127.0.0.1:5/%zz", "nonsense"):
            with self.subTest(url=url):
                self.fails(Haul.run("push", source, url), 2, "expected haul://HOST:PORT/PATH", within_s=5)
                self.fails(Haul.run("pull", url, self.folder / "back"), 2, within_s=5)
        self.fails(Haul.run("probe", "127.0.0.1"), 2, "the port is missing", within_s=5)
        self.fails(Haul.run("serve", "--listen", "here", "--root", self.root), 2, "the port is missing", within_s=5)
        self.assertFalse((self.folder / "back").exists())

    def test_errors_for_programs(self):
        outcome = Haul.run("push", "--json", self.file("file"), "haul://nowhere/x")
        failure = as_json(outcome)
        self.assertEqual((failure["exit_code"], failure["error"]["kind"]), (2, "usage"))
        for command, arguments in (("push", ("push", "x", "--json")), ("probe", ("--json", "probe")), ("", ("fly", "--json")),
                                   ("probe", ("probe", "--lanes", "0", "h:1", "--json")),
                                   ("cc", ("cc", "status", "--json", "x"))):
            with self.subTest(arguments=arguments):
                outcome = Haul.run(*arguments)
                failure = as_json(outcome)
                self.assertEqual((outcome.code, failure["exit_code"], failure["error"]["kind"]), (2, 2, "usage"))
                self.assertEqual((failure["command"], failure["ok"]), (command, False))
                self.assertIn(failure["error"]["message"].partition("\n")[0], outcome.err)

    def test_help_names_each_argument_once(self):
        told = self.succeeds(Haul.run("push", "--help")).out
        self.assertIn("push [OPTIONS] PATH...", told)
        self.assertNotIn("2x", told)


class NobodyThere(HaulTest):
    def test_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for arguments in (("push", self.file("file"), f"haul://127.0.0.1:{port}/x"), ("probe", f"127.0.0.1:{port}"),
                          ("pull", f"haul://127.0.0.1:{port}/x", self.folder / "back")):
            with self.subTest(arguments=arguments):
                self.fails(Haul.run(*arguments), 3, f"127.0.0.1:{port}", "check the port, and that the server runs")
        self.assertFalse((self.folder / "back").exists())

    def test_name_that_does_not_resolve(self):
        outcome = Haul.run("push", "--insecure", "--timeout", "5", self.file("file"), "haul://no-such-host.invalid:5/x")
        self.fails(outcome, 3, "no-such-host.invalid", "check its spelling")

    @needs_root
    def test_unreachable(self):
        outcome = Haul.run("probe", "--insecure", "--timeout", "3", "192.0.2.1:5", prefix=["unshare", "-n"])
        self.fails(outcome, 3, "192.0.2.1:5", "check the address and the network")

    def test_not_loopback(self):
        for arguments in (("push", self.file("file"), "haul://192.0.2.1:5/x"), ("probe", "192.0.2.1:5"),
                          ("serve", "--listen", "0.0.0.0:0", "--root", self.root)):
            with self.subTest(arguments=arguments):
                self.fails(Haul.run(*arguments), 4, "--insecure", within_s=5)

    @needs_root
    def test_localhost_is_this_machine(self):
        """Whatever the name leads to here: without credentials nothing else is spoken to."""
        hosts = self.folder / "hosts"
        hosts.write_text("192.0.2.1 localhost\n")
        prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$0" "$@"']
        outcome = Haul.run("probe", "--timeout", "3", "localhost:5", prefix=prefix)
        self.fails(outcome, 3, "localhost", "does not resolve")

    def test_address_in_use(self):
        server = self.serve()
        outcome = Haul.run("serve", "--listen", f"127.0.0.1:{server.port}", "--root", self.root)
        self.fails(outcome, 3, f"127.0.0.1:{server.port}", "choose another port")


class SomethingElseThere(HaulTest):
    def speaker(self, *arguments, **options):
        speaker = Speaker(*arguments, **options)
        self.addCleanup(speaker.close)
        return speaker

    def check(self, speaker):
        for arguments in (("push", "--timeout", "3", self.file("file"), f"haul://127.0.0.1:{speaker.port}/x"),
                          ("pull", "--timeout", "3", f"haul://127.0.0.1:{speaker.port}/x", self.folder / "back")):
            with self.subTest(arguments=arguments):
                self.fails(Haul.run(*arguments), 3, f"127.0.0.1:{speaker.port}")
        self.assertFalse((self.folder / "back").exists())

    def test_http(self):
        self.check(self.speaker(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))

    def test_garbage(self):
        self.check(self.speaker(bytes(range(256)) * 64, flood=True))

    def test_silence(self):
        self.check(self.speaker())

    def test_server_survives_garbage(self):
        server = self.serve()
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100_000, b"\xff" * 100_000, b""):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                try:
                    connection.sendall(words)
                except OSError:
                    pass
        source = self.file("file")
        self.succeeds(Haul.run("push", source, server.url("file")))
        self.same(source, self.root / "file")

    def test_server_with_all_its_sessions(self):
        server = self.serve("--max-sessions", "1")
        gate = self.gate(server, 2_000_000)
        first = Haul.start("push", self.file("big", 50_000_000), gate.url("big"))
        gate.wait_reached()
        self.fails(Haul.run("push", self.file("file"), server.url("file")), 4, "sessions")
        gate.open()
        self.succeeds(first.end())
