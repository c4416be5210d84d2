"""haul keygen and haul fingerprint: what other programs say of the key and the certificate, and that nothing is overwritten."""
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
import unittest
from datetime import datetime, timezone

from harness import NOBODY, Haul, HaulTest, as_json, needs_root

needs_openssl = unittest.skipUnless(shutil.which("openssl"), "needs the openssl program")
needs_certtool = unittest.skipUnless(shutil.which("certtool"), "needs certtool")
CLOCK_SKEW_S = 300


def run(*command, given=b""):
    return subprocess.run(list(map(str, command)), input=given, check=True, capture_output=True).stdout


def time_of(text):
    return datetime.strptime(text.strip(), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=timezone.utc).timestamp()


class Keygen(HaulTest):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "keys"
        self.key, self.certificate = self.out / "haul.key", self.out / "haul.crt"

    def keygen(self, *arguments):
        return as_json(self.succeeds(Haul.run("keygen", "--json", "--out", self.out, *arguments)))

    def contents(self):
        return {path.name: path.read_bytes() for path in self.out.iterdir()}

    def test_files_and_text(self):
        outcome = self.succeeds(Haul.run("keygen", "--out", self.out, "--name", "alice"))
        self.assertEqual({path.name: path.stat().st_mode & 0o777 for path in self.out.iterdir()},
                         {"haul.key": 0o600, "haul.crt": 0o666 & ~current_umask() & 0o644})
        self.assertEqual(self.out.stat().st_mode & 0o777, 0o700)
        fingerprint = self.succeeds(Haul.run("fingerprint", self.certificate)).out.strip()
        self.assertRegex(fingerprint, r"^sha256:[0-9a-f]{64}$")
        self.assertIn(f"\n{fingerprint}\n", outcome.out)
        self.assertEqual(outcome.out.splitlines()[-1], f"alice {fingerprint} push pull")
        self.assertNotIn("PRIVATE", outcome.out + outcome.err)

    def test_for_programs(self):
        made = self.keygen("--name", "bob", "--days", "1")
        self.assertEqual((made["name"], made["key_file"], made["certificate_file"]),
                         ("bob", str(self.key), str(self.certificate)))
        self.assertEqual(made["authorized_peers_line"], f"bob {made['fingerprint']} push pull")
        told = as_json(self.succeeds(Haul.run("fingerprint", "--json", self.certificate)))
        self.assertEqual(told["fingerprint"], made["fingerprint"])

    def test_name_is_the_hosts(self):
        name = socket.gethostname()
        if not re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", name):
            self.skipTest(f"a host called {name!r}")
        self.assertEqual(self.keygen()["name"], name)

    @needs_openssl
    def test_fingerprint_as_openssl_computes_it(self):
        made = self.keygen()
        public = run("openssl", "x509", "-in", self.certificate, "-noout", "-pubkey")
        der = run("openssl", "pkey", "-pubin", "-outform", "DER", given=public)
        self.assertEqual(made["fingerprint"], "sha256:" + hashlib.sha256(der).hexdigest())
        self.assertEqual(run("openssl", "pkey", "-in", self.key, "-pubout"), public)

    @needs_openssl
    def test_fingerprint_of_other_keys(self):
        self.out.mkdir()
        for kind in (("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
            run("openssl", "req", "-x509", "-nodes", "-newkey", *kind, "-keyout", self.key, "-out", self.certificate,
                "-subj", "/CN=other")
            public = run("openssl", "x509", "-in", self.certificate, "-noout", "-pubkey")
            der = run("openssl", "pkey", "-pubin", "-outform", "DER", given=public)
            told = self.succeeds(Haul.run("fingerprint", self.certificate)).out.strip()
            self.assertEqual(told, "sha256:" + hashlib.sha256(der).hexdigest())

    @needs_openssl
    def test_certificate_as_openssl_reads_it(self):
        before = int(time.time())
        made = self.keygen("--name", "node-7.example.com", "--days", "30")
        after = time.time()
        run("openssl", "verify", "-x509_strict", "-CAfile", self.certificate, self.certificate)
        for purpose in ("sslserver", "sslclient"):
            run("openssl", "verify", "-purpose", purpose, "-CAfile", self.certificate, self.certificate)
        text = run("openssl", "x509", "-in", self.certificate, "-noout", "-text").decode()
        for words in ("Version: 3", "Subject: CN = node-7.example.com", "Issuer: CN = node-7.example.com", "CA:FALSE",
                      "DNS:node-7.example.com", "Digital Signature",
                      "TLS Web Server Authentication, TLS Web Client Authentication", "ED25519"):
            self.assertIn(words, text)
        begin, end = (time_of(re.search(f"{name} *: (.*)", text)[1]) for name in ("Not Before", "Not After"))
        self.assertTrue(before - CLOCK_SKEW_S <= begin <= after - CLOCK_SKEW_S, text)
        self.assertEqual(end - begin, 30 * 86400 + CLOCK_SKEW_S)
        self.assertEqual(made["valid_until"], datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%d"))
        serial = run("openssl", "x509", "-in", self.certificate, "-noout", "-serial").decode().strip()
        self.assertRegex(serial, "^serial=[4-7][0-9A-F]{31}$")

    @needs_openssl
    def test_names_that_are_no_dns_names(self):
        self.keygen("--name", "rack_7@lab")
        text = run("openssl", "x509", "-in", self.certificate, "-noout", "-text").decode()
        self.assertIn("Subject: CN = rack_7@lab", text)
        self.assertNotIn("DNS:", text)

    @needs_certtool
    def test_certificate_as_certtool_reads_it(self):
        made = self.keygen("--name", "alice")
        text = run("certtool", "--certificate-info", "--infile", self.certificate).decode()
        self.assertIn("EdDSA (Ed25519)", text)
        self.assertIn(made["fingerprint"], text)
        self.assertIn("EdDSA", run("certtool", "--key-info", "--infile", self.key).decode())

    def test_nothing_is_overwritten(self):
        self.keygen()
        before = self.contents()
        self.fails(Haul.run("keygen", "--out", self.out), 5, "haul.key", "it is kept")
        self.assertEqual(self.contents(), before)
        self.key.unlink()
        self.fails(Haul.run("keygen", "--out", self.out), 5, "haul.crt", "it is kept")
        self.assertEqual(self.contents(), {"haul.crt": before["haul.crt"]})
        outcome = Haul.run("keygen", "--json", "--out", self.out)
        error = as_json(outcome)
        self.assertEqual((outcome.code, error["exit_code"], error["error"]["kind"]), (5, 5, "exists"))

    def test_wrong_command_lines(self):
        for arguments in (("--name", "a b"), ("--name", "*"), ("--name", "x" * 65), ("--days", "0"), ("--days", "-1"),
                          ("--days", "x"), ("--days", "40000"), ("extra",)):
            with self.subTest(arguments=arguments):
                self.assertEqual(Haul.run("keygen", "--out", self.out, *arguments).code, 2)
        self.assertEqual(Haul.run("keygen").code, 2)
        self.assertEqual(Haul.run("fingerprint").code, 2)
        self.assertFalse(self.out.exists())

    def test_folders_that_cannot_be(self):
        self.fails(Haul.run("keygen", "--out", self.folder / "missing" / "keys"), 5, "missing/keys")
        self.fails(Haul.run("keygen", "--out", self.file("file")), 5, "cannot make the folder")
        self.fails(Haul.run("keygen", "--out", ""), 5, "cannot make the folder")

    @needs_root
    def test_unwritable_folder(self):
        self.out.mkdir(mode=0o555)
        self.fails(Haul.run("keygen", "--out", self.out, prefix=NOBODY), 5, str(self.key), "permissions")
        self.fails(Haul.run("keygen", "--out", self.folder / "other", prefix=NOBODY), 5, "other", "permissions")
        self.assertEqual(self.contents(), {})

    def test_no_space(self):
        for limit in (50, 300):
            self.fails(Haul.run("keygen", "--out", self.out, prefix=["prlimit", f"--fsize={limit}"]), 5, str(self.out))
            self.assertEqual(self.contents(), {})

    def test_fingerprint_of_what_is_no_certificate(self):
        self.keygen()
        self.fails(Haul.run("fingerprint", self.key), 5, str(self.key), "BEGIN CERTIFICATE")
        self.fails(Haul.run("fingerprint", self.out), 5, str(self.out), "no regular file")
        self.fails(Haul.run("fingerprint", self.folder / "missing"), 5, "missing", "check the name")
        self.fails(Haul.run("fingerprint", self.file("noise", 5000)), 5, "noise")
        self.fails(Haul.run("fingerprint", self.file("large", 2_000_000)), 5, "large", "larger than")


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
