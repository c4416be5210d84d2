"""What arrives is what was sent: files, trees, odd names, many, large; and what haul tells about it."""
import os

from harness import Haul, HaulTest, as_json


class Moves(HaulTest):
    def round_trip(self, source, name, *arguments):
        server = self.serve()
        self.succeeds(Haul.run("push", *arguments, source, server.url("in/")))
        self.same(source, self.root / "in" / name)
        self.succeeds(Haul.run("pull", *arguments, server.url(f"in/{name}"), self.folder / "back"))
        self.same(source, self.folder / "back" / name)
        self.no_leftovers()
        self.assertEqual(server.stop().code, 143)

    def test_small_file(self):
        self.round_trip(self.file("small", 10), "small")

    def test_empty_file(self):
        self.round_trip(self.file("empty", 0), "empty")

    def test_large_file(self):
        self.round_trip(self.file("large", 300_000_000), "large")

    def test_several_lanes(self):
        self.round_trip(self.file("file", 50_000_001), "file", "--lanes", 4)

    def test_epoll(self):
        self.round_trip(self.file("file", 20_000_001), "file", "--io", "epoll")

    def test_without_checksums(self):
        self.round_trip(self.file("file", 20_000_001), "file", "--integrity", "off")

    def test_tree(self):
        for name, size in (("tree/a", 5), ("tree/b/c", 5_000_000), ("tree/b/d/e/f", 0), ("tree/z", 70_000)):
            self.file(name, size)
        (self.folder / "tree/nothing in it").mkdir()
        (self.folder / "tree/a").chmod(0o751)
        (self.folder / "tree/z").chmod(0o400)
        self.round_trip(self.folder / "tree", "tree")

    def test_odd_names(self):
        tree = os.fsencode(self.folder / "odd")
        os.mkdir(tree)
        for name in (b" ", b"new\nline", b"\xff\xfe", "ünï ☃".encode(), b"-rf", b"%41", b"a?b#c", b"x" * 255, b"..a",
                     b"back\\slash"):
            with open(os.path.join(tree, name), "wb") as out:
                out.write(name)
        self.round_trip(self.folder / "odd", "odd")

    def test_many_small_files(self):
        for number in range(2000):
            self.file(f"many/{number % 20}/{number}", number % 300)
        self.round_trip(self.folder / "many", "many")

    def test_percent_encoding(self):
        source = self.file("file", 100)
        server = self.serve()
        self.succeeds(Haul.run("push", source, server.url("a%20b/c%25d")))
        self.same(source, self.root / "a b" / "c%d")

    def test_links_are_skipped_with_a_warning(self):
        self.file("tree/a", 5)
        (self.folder / "tree/link").symlink_to("a")
        server = self.serve()
        outcome = self.succeeds(Haul.run("push", self.folder / "tree", server.url("tree")))
        self.assertIn("symbolic link", outcome.err)
        self.assertFalse((self.root / "tree/link").is_symlink())
        self.assertTrue((self.root / "tree/a").exists())


class Destinations(HaulTest):
    def test_exact_name(self):
        source = self.file("file")
        server = self.serve()
        self.succeeds(Haul.run("push", source, server.url("some/where/else")))
        self.same(source, self.root / "some/where/else")

    def test_root_itself(self):
        source = self.file("file")
        server = self.serve()
        self.succeeds(Haul.run("push", source, f"haul://127.0.0.1:{server.port}"))
        self.same(source, self.root / "file")

    def test_folder_that_exists(self):
        source = self.file("file")
        (self.root / "there").mkdir()
        server = self.serve()
        self.succeeds(Haul.run("push", source, server.url("there")))
        self.same(source, self.root / "there/file")

    def test_several_sources(self):
        sources = [self.file("a"), self.file("b"), self.file("tree/c").parent]
        server = self.serve()
        self.succeeds(Haul.run("push", *sources, server.url("all")))
        for source in sources:
            self.same(source, self.root / "all" / source.name)

    def test_pull_everything(self):
        self.file("root/a")
        self.file("root/b/c")
        server = self.serve()
        self.succeeds(Haul.run("pull", server.url(), self.folder / "back"))
        self.same(self.root, self.folder / "back")

    def test_server_for_one_job(self):
        source = self.file("file")
        server = self.serve("--once")
        self.succeeds(Haul.run("push", source, server.url("file")))
        self.assertEqual(server.end(20).code, 0)

    def test_many_clients_at_a_time(self):
        server = self.serve()
        sources = [self.file(f"file{number}", 5_000_000) for number in range(6)]
        clients = [Haul.start("push", source, server.url()) for source in sources]
        for client in clients:
            self.succeeds(client.end())
        for source in sources:
            self.same(source, self.root / source.name)
        self.no_leftovers()


class Reports(HaulTest):
    def test_json_of_moves(self):
        source = self.file("file", 123_456)
        server = self.serve()
        pushed = as_json(self.succeeds(Haul.run("push", "--json", source, server.url("file"))))
        self.assertEqual((pushed["ok"], pushed["command"], pushed["bytes"], pushed["files"]), (True, "push", 123_456, 1))
        pulled = as_json(self.succeeds(Haul.run("pull", "--json", server.url("file"), self.folder / "back")))
        self.assertEqual((pulled["ok"], pulled["command"], pulled["bytes"], pulled["files"]), (True, "pull", 123_456, 1))

    def test_json_of_failures(self):
        server = self.serve()
        outcome = Haul.run("pull", "--json", server.url("missing"), self.folder / "back")
        self.assertEqual(outcome.code, 7, str(outcome))
        failure = as_json(outcome)
        self.assertEqual((failure["ok"], failure["exit_code"]), (False, 7))
        self.assertEqual((failure["error"]["kind"], failure["error"]["side"]), ("missing", "there"))

    def test_probe(self):
        server = self.serve()
        address = f"127.0.0.1:{server.port}"
        result = as_json(self.succeeds(Haul.run("probe", "--json", "--seconds", "0.2", address)))
        self.assertGreater(result["round_trip_us"], 0)
        self.assertGreater(result["rate_bytes_s"], 0)
        self.assertIn("haul", result["software"])
        text = self.succeeds(Haul.run("probe", "--seconds", "0.1", address))
        self.assertIn("round trip", text.out)

    def test_explain(self):
        self.assertIn("tcp", self.succeeds(Haul.run("explain")).out)
        server = self.serve()
        result = as_json(self.succeeds(Haul.run("explain", "--json", f"127.0.0.1:{server.port}")))
        self.assertIn("tcp", result["peer"])

    def test_version_and_help(self):
        self.assertRegex(self.succeeds(Haul.run("--version")).out, r"^haul \d+\.\d+\.\d+\n$")
        text = self.succeeds(Haul.run("--help")).out
        for word in ("serve", "push", "pull", "probe", "explain", "Exit codes"):
            self.assertIn(word, text)

    def test_insecure_is_warned_about(self):
        server = self.serve("--insecure")
        self.assertIn("--insecure", server.stop().err)
