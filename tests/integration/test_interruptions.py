"""Processes killed, stopped or interrupted in mid-transfer, and files that change under way."""
import os
import signal

from harness import Haul, HaulTest, tree_of

BIG = 80_000_000      # far more than all buffers on the way hold
MIDDLE = 10_000_000


def temporary_files(folder):
    return list(folder.glob(".haul-*.part"))


class Interruptions(HaulTest):
    def begin_push(self, *arguments):
        """A push that stands still in the middle: its temporary file is there, and most of the bytes are still to come."""
        self.file("root/there/old", 100)
        self.before = tree_of(self.root)
        self.server = self.serve(*arguments)
        self.through = self.gate(self.server, MIDDLE, ready=lambda: temporary_files(self.root / "there"))
        self.client = Haul.start("push", *arguments, self.file("big", BIG), self.through.url("there/big"))
        self.through.wait_reached()
        self.assertEqual(len(temporary_files(self.root / "there")), 1)
        self.assertFalse((self.root / "there/big").exists())

    def begin_pull(self, *arguments):
        """Likewise a pull."""
        self.file("root/big", BIG)
        self.back = self.folder / "back"
        self.file("back/old", 100)
        self.before = tree_of(self.back)
        self.server = self.serve(*arguments)
        self.through = self.gate(self.server, MIDDLE, ready=lambda: temporary_files(self.back))
        self.client = Haul.start("pull", *arguments, self.through.url("big"), self.back)
        self.through.wait_reached()
        self.assertEqual(len(temporary_files(self.back)), 1)

    def server_still_works(self):
        source = self.file("another", 1000)
        self.succeeds(Haul.run("push", source, self.server.url("another")))
        self.same(source, self.root / "another")

    # Killed.

    def test_pushing_client_killed(self):
        self.begin_push()
        self.client.signal(signal.SIGKILL)
        self.client.end()
        self.through.open()
        self.eventually(lambda: tree_of(self.root) == self.before)
        self.server_still_works()

    def test_server_killed_during_push(self):
        self.begin_push()
        self.server.signal(signal.SIGKILL)
        self.server.end()
        self.through.open()
        self.fails(self.client.end(), 1, "connection")
        self.assertFalse((self.root / "there/big").exists())
        self.serve()  # which cleans up
        self.assertEqual(tree_of(self.root), self.before)

    def test_server_killed_during_pull(self):
        self.begin_pull()
        self.server.signal(signal.SIGKILL)
        self.server.end()
        self.through.open()
        self.fails(self.client.end(), 1, "connection")
        self.assertEqual(tree_of(self.back), self.before)

    def test_pulling_client_killed(self):
        self.begin_pull()
        self.client.signal(signal.SIGKILL)
        self.client.end()
        self.through.open()
        self.server_still_works()
        self.succeeds(Haul.run("pull", self.server.url("another"), self.back))  # which cleans up
        self.no_leftovers(self.back)
        self.assertTrue((self.back / "old").exists())

    def test_a_second_server_leaves_the_first_ones_files_alone(self):
        self.begin_push()
        second = self.serve()
        self.assertEqual(len(temporary_files(self.root / "there")), 1)
        second.stop()
        self.through.open()
        self.succeeds(self.client.end())
        self.same(self.folder / "big", self.root / "there/big")

    # Stopped: alive for the kernel, silent for us.

    def test_server_stopped(self):
        self.begin_push("--timeout", "2")
        self.server.signal(signal.SIGSTOP)
        self.through.open()
        self.fails(self.client.end(), 1, within_s=30)
        self.server.signal(signal.SIGCONT)
        self.eventually(lambda: tree_of(self.root) == self.before)
        self.server_still_works()

    def test_client_stopped(self):
        self.begin_push("--timeout", "2")
        self.client.signal(signal.SIGSTOP)
        self.through.open()
        self.eventually(lambda: tree_of(self.root) == self.before, limit_s=30)
        self.server_still_works()
        self.client.signal(signal.SIGCONT)
        self.fails(self.client.end(), 1, within_s=60)

    # Interrupted.

    def test_pushing_client_interrupted(self):
        self.begin_push()
        self.client.signal(signal.SIGINT)
        self.through.open()
        self.fails(self.client.end(10), 130, "interrupted")
        self.eventually(lambda: tree_of(self.root) == self.before)
        self.server_still_works()

    def test_pushing_client_interrupted_while_nothing_moves(self):
        self.begin_push()
        self.client.signal(signal.SIGTERM)
        self.fails(self.client.end(10), 143, "interrupted")
        self.through.open()
        self.eventually(lambda: tree_of(self.root) == self.before)

    def test_pulling_client_interrupted(self):
        self.begin_pull()
        self.client.signal(signal.SIGINT)
        self.fails(self.client.end(10), 130, "interrupted")
        self.assertEqual(tree_of(self.back), self.before)
        self.through.open()
        self.server_still_works()

    def test_server_interrupted_during_push(self):
        self.begin_push()
        self.server.signal(signal.SIGINT)
        self.through.open()
        self.assertEqual(self.server.end(10).code, 130)
        self.assertEqual(tree_of(self.root), self.before)
        self.fails(self.client.end(), 1)

    def test_server_interrupted_during_pull(self):
        self.begin_pull()
        self.server.signal(signal.SIGTERM)
        self.through.open()
        self.assertEqual(self.server.end(10).code, 143)
        self.fails(self.client.end(), 1)
        self.assertEqual(tree_of(self.back), self.before)

    def test_idle_server_interrupted(self):
        server = self.serve()
        server.signal(signal.SIGINT)
        self.assertEqual(server.end(5).code, 130)

    # Changed.

    def test_source_shrinks(self):
        self.begin_push()
        os.truncate(self.folder / "big", BIG // 2)
        self.through.open()
        self.fails(self.client.end(), 5, "changed while it was read")
        self.eventually(lambda: tree_of(self.root) == self.before)

    def test_source_grows(self):
        self.begin_push()
        with open(self.folder / "big", "ab") as out:
            out.write(b"more")
        self.through.open()
        self.fails(self.client.end(), 5, "changed while it was read")
        self.eventually(lambda: tree_of(self.root) == self.before)

    def test_destination_appears(self):
        self.begin_push()
        (self.root / "there/big").write_bytes(b"somebody else's")
        self.through.open()
        self.fails(self.client.end(), 7, "exists")
        self.assertEqual((self.root / "there/big").read_bytes(), b"somebody else's")
        self.no_leftovers(self.root)
