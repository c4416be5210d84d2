"""Trouble with files on either side: nothing that was there is lost, nothing half is left, the message says what to do."""
import subprocess
import unittest

from harness import NOBODY, Haul, HaulTest, needs_root, tree_of


class Sources(HaulTest):
    def test_missing(self):
        server = self.serve()
        missing = self.folder / "missing"
        self.fails(Haul.run("push", missing, server.url("x")), 5, str(missing), "check the name")
        self.fails(Haul.run("pull", server.url("missing"), self.folder / "back"), 7, "the other side", "missing")
        self.assertFalse((self.folder / "back").exists())
        self.assertEqual(tree_of(self.root), {})

    @needs_root
    def test_unreadable_here(self):
        tree = self.file("tree/fine").parent
        self.file("tree/secret").chmod(0)
        server = self.serve()
        self.fails(Haul.run("push", tree, server.url("x"), prefix=NOBODY), 5, "secret", "permissions")
        self.assertEqual(tree_of(self.root), {})

    @needs_root
    def test_unreadable_there(self):
        self.file("root/secret").chmod(0)
        server = self.serve(prefix=NOBODY)
        self.fails(Haul.run("pull", server.url("secret"), self.folder / "back"), 7, "secret", "permissions")
        self.assertFalse((self.folder / "back").exists())

    def test_special_file(self):
        server = self.serve()
        self.fails(Haul.run("push", "/dev/zero", server.url("x")), 5, "neither a file nor a folder")


class Destinations(HaulTest):
    def test_exists_there(self):
        source = self.file("file")
        self.file("root/file", 10)
        self.file("root/tree/x", 10)
        before = tree_of(self.root)
        server = self.serve()
        self.fails(Haul.run("push", source, server.url("file")), 7, "exists", "--overwrite")
        self.fails(Haul.run("push", self.file("other/tree/y").parent, server.url("tree")), 7, "exists", "--overwrite")
        self.assertEqual(tree_of(self.root), before)
        self.succeeds(Haul.run("push", "--overwrite", source, server.url("file")))
        self.same(source, self.root / "file")

    def test_exists_here(self):
        self.file("root/file", 2000)
        (self.folder / "back").mkdir()
        self.file("back/file", 10)
        before = tree_of(self.folder / "back")
        server = self.serve()
        self.fails(Haul.run("pull", server.url("file"), self.folder / "back"), 5, "exists", "--overwrite")
        self.assertEqual(tree_of(self.folder / "back"), before)
        self.succeeds(Haul.run("pull", "--force", server.url("file"), self.folder / "back"))
        self.same(self.root / "file", self.folder / "back/file")

    def test_folder_in_the_way(self):
        (self.root / "x/file").mkdir(parents=True)
        server = self.serve()
        self.fails(Haul.run("push", "--overwrite", self.file("file"), server.url("x")), 7, "folder")
        self.assertTrue((self.root / "x/file").is_dir())

    def test_file_in_the_way(self):
        self.file("root/x", 10)
        server = self.serve()
        self.fails(Haul.run("push", self.file("file"), server.url("x/y")), 7, "x")
        self.fails(Haul.run("pull", server.url("x"), self.file("back")), 5, "back")

    def test_missing_root(self):
        outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.folder / "missing")
        self.fails(outcome, 5, "missing", within_s=5)

    @needs_root
    def test_unwritable_root(self):
        self.root.chmod(0o555)
        server = self.serve(prefix=NOBODY)
        self.fails(Haul.run("push", self.file("file"), server.url("file")), 7, "permissions")
        self.fails(Haul.run("push", self.file("tree/x").parent, server.url("tree")), 7, "permissions")
        self.assertEqual(tree_of(self.root), {})

    @needs_root
    def test_unwritable_folder_here(self):
        self.file("root/file")
        (self.folder / "back").mkdir(mode=0o555)
        server = self.serve()
        self.fails(Haul.run("pull", server.url("file"), self.folder / "back", prefix=NOBODY), 5, "permissions")
        self.fails(Haul.run("pull", server.url("file"), self.folder / "other", prefix=NOBODY), 5, "permissions")


class Escapes(HaulTest):
    def setUp(self):
        super().setUp()
        self.outside = self.folder / "outside"
        self.outside.mkdir()
        self.file("outside/secret")
        (self.root / "out").symlink_to(self.outside)
        (self.root / "secret").symlink_to(self.outside / "secret")

    def test_push(self):
        source = self.file("file")
        server = self.serve()
        before = tree_of(self.outside)
        for path in ("../file", "../outside/file", "a/../../outside/file", "%2e%2e/outside/file", "out/file", "out/new/file",
                     "secret/x"):
            with self.subTest(path=path):
                outcome = Haul.run("push", "--overwrite", source, server.url(path))
                self.assertIn(outcome.code, (4, 7), str(outcome))
        self.assertEqual(tree_of(self.outside), before)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["file", "outside", "root"])

    def test_overwriting_a_link_replaces_the_link(self):
        source = self.file("file")
        server = self.serve()
        before = tree_of(self.outside)
        self.succeeds(Haul.run("push", "--overwrite", source, server.url("secret")))
        self.assertEqual(tree_of(self.outside), before)
        self.assertFalse((self.root / "secret").is_symlink())
        self.same(source, self.root / "secret")

    def test_pull(self):
        server = self.serve()
        for path in ("../outside/secret", "%2E%2E/outside/secret", "out/secret", "out", "secret", "out/../../outside/secret"):
            with self.subTest(path=path):
                self.fails(Haul.run("pull", server.url(path), self.folder / "back"), 4, "the other side")
                self.assertFalse((self.folder / "back").exists())

    def test_pull_through_a_link_here(self):
        self.file("root/tree/x")
        back = self.folder / "back"
        back.mkdir()
        (back / "tree").symlink_to(self.outside)
        before = tree_of(self.outside)
        server = self.serve()
        outcome = Haul.run("pull", "--overwrite", server.url("tree"), back)
        self.assertEqual(outcome.code, 5, str(outcome))
        self.assertEqual(tree_of(self.outside), before)


@needs_root
class FullDisk(HaulTest):
    def setUp(self):
        super().setUp()
        self.small = self.folder / "small"
        self.small.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.small]
        mounted = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False)
        if mounted.returncode != 0:
            raise unittest.SkipTest("may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", self.small], check=True)

    def test_push_that_is_too_large(self):
        server = self.serve(root=self.small)
        self.fails(Haul.run("push", self.file("big", 20_000_000), server.url("big")), 7, "no room", "free some space")
        self.assertEqual(tree_of(self.small), {})

    def test_pull_that_is_too_large(self):
        self.file("root/big", 20_000_000)
        server = self.serve()
        self.fails(Haul.run("pull", server.url("big"), self.small), 5, "no room", "free some space")
        self.assertEqual(tree_of(self.small), {})

    def test_disk_that_others_fill_meanwhile(self):
        server = self.serve(root=self.small)
        gate = self.gate(server, 1_000_000)
        for number in range(300):  # more than are under way at a time, so that some come to a full disk
            self.file(f"tree/{number}", 20_000)
        client = Haul.start("push", self.folder / "tree", gate.url("tree"))
        gate.wait_reached()
        (self.small / "others").write_bytes(b"")
        # Unbuffered: what found no room would be tried again by close(), and fail outside of what expects it.
        with open(self.small / "others", "wb", buffering=0) as out, self.assertRaises(OSError):
            while True:
                out.write(bytes(1 << 16))
        gate.open()
        self.fails(client.end(), 7, "no room")
        self.no_leftovers(self.small)
        self.assertTrue((self.small / "others").exists())
