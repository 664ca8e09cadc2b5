# SPDX-License-Identifier: MIT
"""Log-ins over real TLS, by what TLS knows of the connection: SCRAM with channel
binding, and EXTERNAL with a client's certificate.

    sasl.py [-v] [NAME...]
"""
import base64
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
from dm import Failure, Server  # noqa: E402
from scram_client import Scram, b64, stored, tls_exporter  # noqa: E402


def check(ok, why):
    if not ok:
        raise Failure(str(why))


class Client(dm.Client):
    """Over TLS, with a context of its own."""

    def __init__(self, server, context, name="localhost", session=None):
        super().__init__(server, tls=False)
        self.sock.close()
        self.sock = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
        self.local_port = self.sock.getsockname()[1]
        self.buffer = b""
        self._wire = dm.Wire(self.sock)
        self.wire.start_tls(context, name, session)
        self.greeting = self.line()

    def challenge(self):
        line = self.line()
        check(line.startswith("+ "), line)
        return base64.b64decode(line[2:]).decode()

    def scram(self, mechanism, scram):
        """The tagged answer."""
        self.send("s1 AUTHENTICATE %s %s\r\n" % (mechanism, b64(scram.first)))
        line = self.line()
        if line.startswith("s1 "):
            return line
        first = base64.b64decode(line[2:]).decode()
        self.send(b64(scram.final(first)) + "\r\n")
        line = self.line()
        if line.startswith("+ "):
            check(base64.b64decode(line[2:]).decode() == scram.wanted, "the server is another")
            self.send("\r\n")
            line = self.line()
        return line


def context(server, version=ssl.TLSVersion.TLSv1_3):
    ctx = ssl.create_default_context(cafile=server.pem + ".crt")
    ctx.minimum_version = ctx.maximum_version = version
    return ctx


def bound(server, n):
    """A connection of TLS 1.3, and its tls-exporter as the client computes it."""
    ctx = context(server)
    ctx.keylog_filename = os.path.join(server.dir, "keylog%d" % n)
    c = Client(server, ctx)
    suite = c.wire.tls.cipher()[0]
    return c, tls_exporter(ctx.keylog_filename, "sha384" if "384" in suite else "sha256")


def endpoint(c, hash_name="sha256"):
    """tls-server-end-point (RFC 5929 section 4): of the certificate as it was shown."""
    return hashlib.new(hash_name, c.wire.tls.getpeercert(binary_form=True)).digest()


def served(c):
    """As good as any other session: it sleeps, and wakes."""
    c.ok("SELECT INBOX")
    c.idle()
    c.must_sleep()
    _, tagged = c.done()
    check(" OK" in tagged, tagged)


def test_scram_plus_is_bound_to_tls(server):
    c, key = bound(server, 1)
    check("AUTH=SCRAM-SHA-256-PLUS" in c.greeting, c.greeting)
    plus = "p=tls-exporter,,"
    answer = c.scram("SCRAM-SHA-256-PLUS", Scram("sara", "geheim", plus, key))
    check(answer.startswith("s1 OK"), answer)
    served(c)
    # From plain text as well, and after STARTTLS.
    c, key = bound(server, 2)
    answer = c.scram("SCRAM-SHA-256-PLUS", Scram("anna", "secret", plus, key))
    check(answer.startswith("s1 OK"), answer)
    served(c)
    # Somebody in between has another connection to us than the client has to him.
    c, key = bound(server, 3)
    other, other_key = bound(server, 4)
    answer = c.scram("SCRAM-SHA-256-PLUS", Scram("sara", "geheim", plus, other_key))
    check(answer.startswith("s1 NO [AUTHENTICATIONFAILED]"), answer)
    answer = other.scram("SCRAM-SHA-256", Scram("sara", "geheim", "y,,"))
    check(answer.startswith("s1 NO [AUTHENTICATIONFAILED]"), answer)
    for x in (c, other):
        answer = x.scram("SCRAM-SHA-256", Scram("sara", "geheim"))
        check(answer.startswith("s1 OK"), answer)


def test_scram_plus_is_bound_to_the_certificate(server):
    plus, mechanism = "p=tls-server-end-point,,", "SCRAM-SHA-256-PLUS"

    def good(c, user="sara", password="geheim", header=plus, hash_name="sha256", **kw):
        return Scram(user, password, header, endpoint(c, hash_name), **kw)
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        ctx = context(server, version)
        for user, password in (("sara", "geheim"), ("anna", "secret")):
            c = Client(server, ctx)
            check("AUTH=SCRAM-SHA-256-PLUS" in c.greeting, c.greeting)
            answer = c.scram(mechanism, good(c, user, password))
            check(answer.startswith("s1 OK"), answer)
            served(c)
        # A stronger signature has its own hash; a session that is resumed shows nothing,
        # and is bound to what was shown before.
        session = None
        for turn in range(2):
            c = Client(server, ctx, "strong.example.org", session)
            check(c.wire.tls.session_reused == (turn > 0), turn)
            strong = endpoint(c, "sha384")
            answer = c.scram(mechanism, good(c, hash_name="sha384"))
            check(answer.startswith("s1 OK"), answer)
            session = c.wire.tls.session
        # Refused, on connections and users that have had few failures, since those are
        # late: another certificate is another server; "y" is what somebody in between
        # makes of an offer; the password.
        c = Client(server, ctx)
        for name, scram in ((mechanism, Scram("anna", "secret", plus, strong)),
                            ("SCRAM-SHA-256", Scram("sara", "geheim", "y,,")),
                            (mechanism, good(c, password="falsch"))):
            c = Client(server, ctx)
            answer = c.scram(name, scram)
            check(answer.startswith("s1 NO [AUTHENTICATIONFAILED]"), answer)
        c.send("c AUTHENTICATE %s %s\r\n" % (mechanism, b64(good(c).first)))
        c.challenge()
        c.send("*\r\n")
        line = c.line()
        check(line.startswith("c BAD"), line)
        answer = c.scram(mechanism, good(c))
        check(answer.startswith("s1 OK"), answer)


def test_plus_without_the_extended_master_secret(server):
    """No exporter then, and after a resumption no certificate either (RFC 7677 section 4)."""
    ctx = context(server, ssl.TLSVersion.TLSv1_2)
    ctx.options |= 1            # SSL_OP_NO_EXTENDED_MASTER_SECRET
    c = Client(server, ctx)
    check("AUTH=SCRAM-SHA-256-PLUS" in c.greeting, c.greeting)
    session = c.wire.tls.session
    answer = c.scram("SCRAM-SHA-256", Scram("anna", "secret", "y,,"))
    check(answer.startswith("s1 NO [AUTHENTICATIONFAILED]"), answer)
    answer = c.scram("SCRAM-SHA-256-PLUS",
                     Scram("sara", "geheim", "p=tls-server-end-point,,", endpoint(c)))
    check(answer.startswith("s1 OK"), answer)
    served(c)
    c = Client(server, ctx, session=session)
    check(c.wire.tls.session_reused, "not resumed")
    check("AUTH=SCRAM-SHA-256" in c.greeting and "-PLUS" not in c.greeting, c.greeting)
    c.send("a AUTHENTICATE SCRAM-SHA-256-PLUS\r\n")
    line = c.line()
    check(line.startswith("a NO [CANNOT]"), line)
    answer = c.scram("SCRAM-SHA-256", Scram("sara", "geheim", "y,,"))
    check(answer.startswith("s1 OK"), answer)


def test_without_tls_there_is_no_plus(server):
    c = dm.Client(server, tls=False)
    check("AUTH=SCRAM-SHA-256" in c.greeting and "-PLUS" not in c.greeting, c.greeting)
    c.send("a AUTHENTICATE SCRAM-SHA-256-PLUS\r\n")
    line = c.line()
    check(line.startswith("a NO [CANNOT]"), line)


def test_gsasl_logs_in(server):
    """GNU SASL's own client, with GnuTLS."""
    if not shutil.which("gsasl"):
        return "gsasl is not installed"
    for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"):
        for password, good in (("geheim", True), ("falsch", False)):
            r = subprocess.run(
                ["gsasl", "--imap", "--starttls", "--x509-ca-file=" + server.pem + ".crt",
                 "--hostname=localhost", "-m", mechanism, "-a", "sara", "-z", "sara", "-p", password,
                 *(["--no-cb"] if mechanism == "SCRAM-SHA-256" else []),
                 "--connect=localhost:%d" % server.port],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            ok = ". OK" in r.stdout.split("AUTHENTICATE")[-1]
            check(ok == good, (mechanism, password, r.stdout, r.stderr))
    return None


def test_external_is_the_certificate_s_user(server):
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        ctx = context(server, version)
        ctx.load_cert_chain(server.anna)
        c = Client(server, ctx)
        check("AUTH=EXTERNAL" in c.greeting, c.greeting)
        for wrong in ("sara", "nobody"):
            c.send("a AUTHENTICATE EXTERNAL %s\r\n" % b64(wrong))
            line = c.line()
            check(line.startswith("a NO [AUTHENTICATIONFAILED]"), line)
        c.send("b AUTHENTICATE EXTERNAL =\r\n")
        line = c.line()
        check(line.startswith("b OK"), line)
        served(c)
        check(server.who("anna"), "not anna's session")
        c = Client(server, ctx)
        c.send("c AUTHENTICATE EXTERNAL\r\n")
        check(c.line() == "+ ", "no prompt")
        c.send(b64("anna") + "\r\n")
        line = c.line()
        check(line.startswith("c OK"), line)
    # Without one it is not offered, nor served.
    c = Client(server, context(server))
    check("EXTERNAL" not in c.greeting, c.greeting)
    c.send("a AUTHENTICATE EXTERNAL %s\r\n" % b64("anna"))
    line = c.line()
    check(line.startswith("a NO [CANNOT]"), line)


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def prepare(server):
    """An authority, and a certificate of anna's; a second one of the server's, signed
    with SHA-384; a user with stored keys."""
    ca, anna = (os.path.join(server.dir, name) for name in ("ca", "anna"))
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *ec, "-days", "2", "-subj", "/CN=An authority", "-keyout",
            ca + ".key", "-out", ca + ".crt")
    openssl("req", *ec, "-subj", "/CN=anna", "-keyout", anna + ".key", "-out", anna + ".csr")
    openssl("x509", "-req", "-in", anna + ".csr", "-CA", ca + ".crt", "-CAkey", ca + ".key",
            "-CAcreateserial", "-days", "2", "-out", anna + ".crt")
    server.anna = anna
    with open(anna, "w") as f:
        for part in (".crt", ".key"):
            f.write(open(anna + part).read())
    strong = os.path.join(server.dir, "strong")
    openssl("req", "-x509", *ec, "-sha384", "-days", "2", "-subj", "/CN=strong", "-addext",
            "subjectAltName=DNS:strong.example.org", "-keyout", strong + ".key",
            "-out", strong + ".crt")
    with open(server.pem + ".crt", "a") as f:       # trusted as well
        f.write(open(strong + ".crt").read())
    with open(server.conf, "a") as f:
        f.write('ssl_ca = "%s"\n' % (ca + ".crt"))
        f.write('tls_name "strong.example.org" {\n\tcert = "%s.crt"\n\tkey = "%s.key"\n}\n' %
                (strong, strong))
    server.add_user("sara")
    with open(server.passwd) as f:
        text = f.read()
    with open(server.passwd, "w") as f:
        f.write(text.replace("sara:{PLAIN}secret", "sara:" + stored("geheim")))


def main():
    names = [a for a in sys.argv[1:] if a != "-v"]
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_")]
    failed = passed = 0
    for name, fn in tests:
        if names and name not in names and name[5:] not in names:
            continue
        server = Server("sasl", users=("anna",), tls=True,
                        mechanisms="plain login scram-sha-256")
        try:
            prepare(server)
            with server:
                skipped = fn(server)
            print("%s %s" % ("skipped" if skipped else "ok", name) +
                  (": " + skipped if skipped else ""))
            passed += 1
        except Exception:
            failed += 1
            print("FAILED " + name)
            traceback.print_exc(file=sys.stdout)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


sys.exit(main())
