"""Who is let in, and what both sides are told who are not: pins, authorities, and TLS peers that are not ours."""
import os
import shutil
import socket
import ssl
import subprocess
import time
import unittest

from harness import LIMIT_S, Haul, HaulTest, as_json

needs_openssl = unittest.skipUnless(shutil.which("openssl"), "needs the openssl program")
needs_gnutls = unittest.skipUnless(shutil.which("gnutls-cli"), "needs the gnutls-cli program")


def openssl(*arguments, cwd=None):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=cwd)


class Authority:
    """A certificate authority made with the openssl program."""

    def __init__(self, folder, name="Test CA"):
        self.folder = folder
        folder.mkdir()
        (folder / "index").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "crlnumber").write_text("1000\n")
        (folder / "ca.cnf").write_text(f"""
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index
serial = {folder}/serial
crlnumber = {folder}/crlnumber
new_certs_dir = {folder}
certificate = {folder}/ca.crt
private_key = {folder}/ca.key
default_md = sha256
default_crl_days = 30
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = none
[none]
""")
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "30", "-subj", f"/CN={name}",
                "-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-config", folder / "ca.cnf",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,cRLSign")

    def certify(self, folder, name, *, san="IP:127.0.0.1", usage="serverAuth,clientAuth", begin="-1", end="30", kind="ed25519"):
        """Writes haul.key and haul.crt; `begin` and `end` are days from now."""
        folder.mkdir()
        key = ("-newkey", "rsa:2048") if kind == "rsa" else ("-newkey", kind)
        extensions = [f"extendedKeyUsage={usage}"] + ([f"subjectAltName={san}"] if san else [])
        openssl("req", "-new", *key, "-nodes", "-subj", f"/CN={name}", "-keyout", folder / "haul.key",
                "-out", folder / "request", "-config", self.folder / "ca.cnf",
                *(part for extension in extensions for part in ("-addext", extension)))
        openssl("ca", "-batch", "-notext", "-config", self.folder / "ca.cnf", "-in", folder / "request",
                "-out", folder / "haul.crt", "-startdate", day(begin), "-enddate", day(end))
        (folder / "haul.key").chmod(0o600)

    def revoke(self, certificate, crl):
        openssl("ca", "-config", self.folder / "ca.cnf", "-revoke", certificate)
        self.list_revoked(crl)

    def list_revoked(self, crl):
        openssl("ca", "-config", self.folder / "ca.cnf", "-gencrl", "-out", crl)


def day(offset):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + float(offset) * 86400))


class Identities(HaulTest):
    def setUp(self):
        super().setUp()
        self.server_folder, self.client_folder = self.folder / "server", self.folder / "client"

    def keygen(self, folder, *arguments):
        return as_json(self.succeeds(Haul.run("keygen", "--json", "--out", folder, *arguments)))["fingerprint"]

    def pins(self, *arguments):
        """Two identities that know each other."""
        self.server = self.keygen(self.server_folder, "--name", "hub", *arguments)
        self.client = self.keygen(self.client_folder, "--name", "trainer", *arguments)
        self.server_knows(f"trainer {self.client} push pull\n")
        self.client_knows(f"hub {self.server}\n")

    def server_knows(self, lines):
        (self.server_folder / "authorized_peers").write_text(lines)

    def client_knows(self, lines):
        (self.client_folder / "authorized_peers").write_text(lines)

    def serve_with(self, *arguments):
        return self.serve("--credentials", self.server_folder, *arguments)

    def probe(self, server, *arguments, host="127.0.0.1"):
        return Haul.run("probe", "--seconds", "0", "--credentials", self.client_folder, "--timeout", "5", *arguments,
                        f"{host}:{server.port}")

    def refused(self, server, *of_client, host="127.0.0.1", code=4):
        """The client fails, with these words; what the server says is returned."""
        self.fails(self.probe(server, host=host), code, *of_client)
        return server.stop().err


class Pins(Identities):
    def test_known(self):
        self.pins()
        server = self.serve_with()
        told = self.succeeds(Haul.run("explain", "--credentials", self.client_folder, f"127.0.0.1:{server.port}")).out
        self.assertIn(f'authenticated as "hub", {self.server}', told)
        self.assertIn("TLS 1.3", told)

    def test_protections_are_told(self):
        self.pins()
        for least, words in (("encrypted", "TLS 1.3 AES"), ("integrity", "integrity only"), ("plain", "then plain")):
            with self.subTest(least=least):
                server = self.serve_with("--protection", least)
                told = self.succeeds(Haul.run("explain", "--credentials", self.client_folder, "--protection", least,
                                              f"127.0.0.1:{server.port}")).out
                self.assertIn(words, told)
                server.stop()

    def test_unknown_client(self):
        self.pins()
        self.server_knows("")
        told = self.refused(self.serve_with(), self.client, "authorized_peers", str(self.client_folder / "haul.crt"))
        self.assertIn(self.client, told)
        self.assertIn(str(self.server_folder / "authorized_peers"), told)

    def test_unknown_server(self):
        self.pins()
        self.client_knows("")
        told = self.refused(self.serve_with(), self.server, str(self.client_folder / "authorized_peers"))
        self.assertIn(self.server, told)
        self.assertIn("authorized_peers", told)

    def test_revoked_client(self):
        self.pins()
        self.server_knows(f"# gone\ntrainer {self.client} revoked\n")
        told = self.refused(self.serve_with(), self.client, "revoked")
        self.assertIn(self.client, told)
        self.assertIn(f"{self.server_folder / 'authorized_peers'}:2", told)

    def test_line_that_expired(self):
        self.pins()
        self.server_knows(f"trainer {self.client} push expires=2020-01-01\n")
        told = self.refused(self.serve_with(), self.client, "expired")
        self.assertIn(f"{self.server_folder / 'authorized_peers'}:1", told)

    def test_revocation_needs_no_restart(self):
        self.pins()
        server = self.serve_with()
        self.succeeds(self.probe(server))
        self.server_knows(f"trainer {self.client} revoked\n")
        self.refused(server, "revoked")

    def test_malformed_lines(self):
        self.pins()
        server = self.serve_with()
        self.server_knows(f"# one\ntrainer {self.client} push\nnonsense\n")
        self.assertIn(f"{self.server_folder / 'authorized_peers'}:3", self.refused(server, "does not know"))
        for lines, line in (("x\n", 1), ("\n\nbob sha256:12 push\n", 3), (f"a {self.client}\nb {self.client}\n", 2)):
            with self.subTest(lines=lines):
                self.server_knows(lines)
                outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.root, "--credentials", self.server_folder)
                self.assertNotEqual(outcome.code, 0)
                self.assertIn(f"authorized_peers:{line}", outcome.err)

    def test_malformed_keys_and_certificates(self):
        self.pins()
        key, certificate = self.server_folder / "haul.key", self.server_folder / "haul.crt"
        whole_key, whole_certificate = key.read_bytes(), certificate.read_bytes()
        garbage = os.urandom(500)
        for file, contents in ((key, b""), (key, garbage), (key, whole_key[:-40]), (key, whole_certificate),
                               (key, (self.client_folder / "haul.key").read_bytes()),
                               (certificate, b""), (certificate, garbage), (certificate, whole_certificate[:-60]),
                               (certificate, whole_key)):
            with self.subTest(file=file.name, contents=contents[:30]):
                key.write_bytes(whole_key)
                certificate.write_bytes(whole_certificate)
                file.write_bytes(contents)
                outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.root, "--credentials", self.server_folder)
                self.assertNotEqual(outcome.code, 0, str(outcome))
                self.assertIn(str(file), outcome.err)
                self.assertNotIn("PRIVATE KEY", outcome.err.replace("BEGIN PRIVATE KEY", ""))

    def test_keys_that_others_can_read(self):
        self.pins()
        key = self.server_folder / "haul.key"
        for mode in (0o640, 0o604, 0o620, 0o601, 0o660):
            with self.subTest(mode=oct(mode)):
                key.chmod(mode)
                outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.root, "--credentials", self.server_folder)
                self.assertNotEqual(outcome.code, 0)
                self.assertIn(f"chmod 600 {key}", outcome.err)
        key.chmod(0o400)
        self.succeeds(self.probe(self.serve_with()))

    def test_one_side_without_credentials(self):
        self.pins()
        server = self.serve_with()
        self.fails(Haul.run("probe", "--timeout", "5", f"127.0.0.1:{server.port}"), 4, "credentials")
        self.assertIn("speaks no TLS", server.stop().err)
        server = self.serve()
        self.fails(self.probe(server), 4, "credentials")
        self.assertIn("wants TLS", server.stop().err)

    def test_insecure_is_warned_about_and_told(self):
        for arguments in (("explain", "--insecure"), ("probe", "--insecure", "--timeout", "1", "127.0.0.1:9")):
            with self.subTest(arguments=arguments):
                self.assertIn("warning: --insecure", Haul.run(*arguments).err)
        self.assertIn("insecure", self.succeeds(Haul.run("explain", "--insecure")).out)
        self.assertIn("loopback", self.succeeds(Haul.run("explain")).out)
        self.pins()
        self.fails(Haul.run("probe", "--insecure", "--credentials", self.client_folder, "127.0.0.1:9"), 2, "contradict")


@needs_openssl
class Authorities(Identities):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder / "authority")

    def certified(self, server=None, client=None):
        self.authority.certify(self.server_folder, "hub", **(server or {}))
        self.authority.certify(self.client_folder, "trainer", **(client or {}))
        for folder in (self.server_folder, self.client_folder):
            shutil.copy(self.authority.folder / "ca.crt", folder)
        self.server_knows("trainer ca push pull\n")

    def fingerprint(self, folder):
        return self.succeeds(Haul.run("fingerprint", folder / "haul.crt")).out.strip()

    def test_certified(self):
        self.certified()
        server = self.serve_with()
        self.succeeds(self.probe(server))
        source = self.file("file", 100_000)
        self.succeeds(Haul.run("push", "--credentials", self.client_folder, source, server.url("file")))
        self.same(source, self.root / "file")

    def test_keys_of_other_kinds(self):
        self.certified(server={"kind": "rsa"}, client={"kind": "rsa"})
        self.succeeds(self.probe(self.serve_with()))

    def test_several_lanes_to_a_server_certified_for_serving_only(self):
        self.certified(server={"usage": "serverAuth"}, client={"usage": "clientAuth"})
        self.client_knows("")  # the server has no line there: its host name is enough
        server = self.serve_with()
        told = as_json(self.succeeds(self.probe(server, "--lanes", "4", "--json")))
        self.assertEqual(told["path"].count("lane "), 4, told["path"])
        self.assertNotIn("turned away", server.stop().err)

    def test_wrong_usage(self):
        self.certified(server={"usage": "clientAuth"})
        self.refused(self.serve_with(), self.fingerprint(self.server_folder), "not trusted")

    def test_wrong_host(self):
        self.certified(server={"san": "DNS:elsewhere.example,IP:127.0.0.9"})
        told = self.refused(self.serve_with(), self.fingerprint(self.server_folder), 'certificate is for "elsewhere.example"',
                            "127.0.0.1", str(self.client_folder / "ca.crt"))
        self.assertIn(self.fingerprint(self.server_folder), told)

    def test_host_by_name(self):
        self.certified(server={"san": "DNS:localhost"})
        server = self.serve_with()
        self.succeeds(self.probe(server, host="localhost"))
        self.refused(server, 'certificate is for "localhost"')

    def test_expired(self):
        self.certified(server={"begin": "-20", "end": "-10"})
        told = self.refused(self.serve_with(), self.fingerprint(self.server_folder), "expired at", "keygen")
        self.assertIn("expired", told)

    def test_client_expired(self):
        self.certified(client={"begin": "-20", "end": "-10"})
        told = self.refused(self.serve_with(), self.fingerprint(self.client_folder), "expired", "clocks")
        self.assertIn(self.fingerprint(self.client_folder), told)

    def test_clock_skew(self):
        self.certified(client={"begin": "1"})
        told = self.refused(self.serve_with(), str(self.client_folder / "haul.crt"), "compare the clocks")
        self.assertIn("compare the clocks", told)
        self.assertIn(self.fingerprint(self.client_folder), told)

    def test_revoked_by_list(self):
        self.certified()
        self.authority.list_revoked(self.server_folder / "ca.crl")
        self.succeeds(self.probe(server := self.serve_with()))
        server.stop()
        self.authority.revoke(self.client_folder / "haul.crt", self.server_folder / "ca.crl")
        told = self.refused(self.serve_with(), self.fingerprint(self.client_folder), "revoked")
        self.assertIn(self.fingerprint(self.client_folder), told)
        self.assertIn("revoked", told)

    def test_server_revoked_by_list(self):
        self.certified()
        self.authority.revoke(self.server_folder / "haul.crt", self.client_folder / "ca.crl")
        told = self.refused(self.serve_with(), self.fingerprint(self.server_folder), "revoked")
        self.assertIn("revoked", told)

    def test_revoked_by_line(self):
        self.certified()
        self.server_knows("* ca push\ntrainer ca revoked\n")
        self.assertIn("authorized_peers:2", self.refused(self.serve_with(), "revoked"))

    def test_another_authority(self):
        self.certified()
        other = Authority(self.folder / "other")  # of the same name
        shutil.rmtree(self.client_folder)
        other.certify(self.client_folder, "trainer")
        shutil.copy(self.authority.folder / "ca.crt", self.client_folder)
        told = self.refused(self.serve_with(), self.fingerprint(self.client_folder), "does not know")
        self.assertIn(self.fingerprint(self.client_folder), told)
        self.assertIn(str(self.server_folder / "ca.crt"), told)

    def test_certified_without_a_line(self):
        self.certified()
        self.server_knows("somebody ca push\n")
        told = self.refused(self.serve_with(), self.fingerprint(self.client_folder))
        self.assertIn('no line "trainer ca', told)

    def test_broken_files(self):
        self.certified()
        for name in ("ca.crt", "ca.crl"):
            with self.subTest(name=name):
                (self.server_folder / name).write_text("-----BEGIN NOTHING-----\n")
                outcome = Haul.run("serve", "--listen", "127.0.0.1:0", "--root", self.root, "--credentials", self.server_folder)
                self.assertNotEqual(outcome.code, 0)
                self.assertIn(str(self.server_folder / name), outcome.err)
                shutil.copy(self.authority.folder / "ca.crt", self.server_folder)


class OtherPrograms(Identities):
    """TLS by somebody else, against haul serve with pins."""

    def setUp(self):
        super().setUp()
        self.pins()
        self.served = self.serve_with()

    def s_client(self, *arguments, words=b"", limit_s=20):
        """What openssl says; its input stays open until it ends by itself."""
        child = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{self.served.port}", *map(str, arguments)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(child.kill)
        if words:
            child.stdin.write(words)
            child.stdin.flush()
        try:
            out = child.stdout.read() if limit_s is None else self.read_all(child, limit_s)
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        return out.decode(errors="replace")

    def read_all(self, child, limit_s):
        os.set_blocking(child.stdout.fileno(), False)
        out, deadline = b"", time.monotonic() + limit_s
        while time.monotonic() < deadline:
            part = child.stdout.read()
            if part:
                out += part
            elif part == b"" or child.poll() is not None:
                return out + (child.stdout.read() or b"")
            time.sleep(0.02)
        raise AssertionError(f"openssl s_client was not hung up on:\n{out.decode(errors='replace')}")

    def identity(self, folder):
        return ("-cert", folder / "haul.crt", "-key", folder / "haul.key")

    def still_serves(self):
        self.succeeds(self.probe(self.served))
        return self.served.stop().err

    @needs_openssl
    def test_handshake_with_openssl(self):
        out = self.s_client("-alpn", "haul/1", *self.identity(self.client_folder), words=b"GET / HTTP/1.1\r\n\r\n" * 10)
        self.assertIn("TLSv1.3", out)
        self.assertIn("ALPN protocol: haul/1", out)
        self.assertIn("something else than haul", self.still_serves())

    @needs_openssl
    def test_weaker_than_the_policy(self):
        for offered in ("haul/1-plain", "haul/1-integrity", "haul/1-plain,haul/1-integrity", "h2", "haul/2"):
            with self.subTest(offered=offered):
                out = self.s_client("-alpn", offered, *self.identity(self.client_folder))
                self.assertIn("no application protocol", out)
        self.assertIn("do not accept the same protection", self.still_serves())

    @needs_openssl
    def test_no_application_protocol(self):
        self.s_client(*self.identity(self.client_folder))
        self.assertIn("turned away", self.still_serves())

    @needs_openssl
    def test_older_tls(self):
        for version in ("-tls1_2", "-tls1_1"):
            with self.subTest(version=version):
                out = self.s_client(version, "-alpn", "haul/1", *self.identity(self.client_folder))
                self.assertNotIn("ALPN protocol: haul/1", out)
        self.assertIn("turned away", self.still_serves())

    @needs_openssl
    def test_client_without_certificate(self):
        out = self.s_client("-alpn", "haul/1")
        self.assertIn("alert", out)
        self.assertIn("showed no certificate", self.still_serves())

    @needs_openssl
    def test_stranger_with_openssl(self):
        folder = self.folder / "stranger"
        fingerprint = self.keygen(folder, "--name", "stranger")
        out = self.s_client("-alpn", "haul/1", *self.identity(folder))
        self.assertIn("access denied", out)
        self.assertIn(fingerprint, self.still_serves())

    @needs_gnutls
    def test_handshake_with_gnutls(self):
        child = subprocess.run(
            ["gnutls-cli", "--insecure", "--alpn=haul/1", "--port", str(self.served.port),
             f"--x509certfile={self.client_folder / 'haul.crt'}", f"--x509keyfile={self.client_folder / 'haul.key'}",
             "127.0.0.1"], input=b"nonsense\n" * 10, capture_output=True, timeout=LIMIT_S)
        out = child.stdout.decode(errors="replace")
        self.assertIn("TLS1.3", out)
        self.assertIn("haul/1", out)
        self.still_serves()

    @needs_gnutls
    def test_older_tls_with_gnutls(self):
        child = subprocess.run(
            ["gnutls-cli", "--insecure", "--alpn=haul/1", "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", "--port",
             str(self.served.port), "127.0.0.1"], input=b"", capture_output=True, timeout=LIMIT_S)
        self.assertNotEqual(child.returncode, 0)
        self.still_serves()

    @needs_openssl
    def test_haul_at_a_server_that_is_openssl(self):
        """It is authenticated, and yet no haul: a clear message, in time."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        child = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-alpn", "haul/1", "-Verify", "2",
                                  "-quiet", *map(str, self.identity(self.server_folder))],
                                 stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.kill)
        self.eventually(lambda: answers(port))
        outcome = Haul.run("probe", "--credentials", self.client_folder, "--timeout", "2", f"127.0.0.1:{port}")
        self.fails(outcome, 3, f"127.0.0.1:{port}")

    def test_server_of_an_older_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server_folder / "haul.crt", self.server_folder / "haul.key")
        context.set_alpn_protocols(["haul/1"])
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(LIMIT_S)
            client = Haul.start("probe", "--credentials", self.client_folder, "--timeout", "5",
                                f"127.0.0.1:{listener.getsockname()[1]}")
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                with self.assertRaises((ssl.SSLError, OSError)):
                    context.wrap_socket(connection, server_side=True).recv(1)
            self.fails(client.end(), 3, "TLS")


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
