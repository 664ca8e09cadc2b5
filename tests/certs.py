# SPDX-License-Identifier: MIT
"""Certificates of a whole server: read, refused, renewed under sessions that stay,
chosen by name; session tickets through the deaths of programs.

    certs.py [-v] [NAME...]
"""
import os
import socket
import ssl
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
from dm import Failure, Server  # noqa: E402


def check(ok, why):
    if not ok:
        raise Failure(str(why))


def certificate(server, name, cn, *extra):
    """DIR/NAME.crt, .key, and both in DIR/NAME."""
    path = os.path.join(server.dir, name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=" + cn,
                    "-addext", "subjectAltName=DNS:" + cn, "-keyout", path + ".key",
                    "-out", path + ".crt", *extra], check=True, capture_output=True)
    join(path, path + ".crt", path + ".key")
    return path


def join(to, *parts):
    """Replaced by a rename, as programs that renew certificates do."""
    with open(to + ".new", "w") as f:
        for part in parts:
            f.write(open(part).read())
    os.rename(to + ".new", to)


def reach(server, trust, name="localhost", session=None):
    """The greeting, over a connection of its own; None if the certificate is another."""
    ctx = ssl.create_default_context(cafile=trust + ".crt")
    raw = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
    try:
        with ctx.wrap_socket(raw, server_hostname=name, session=session) as s:
            check(s.recv(100).startswith(b"* OK "), "no greeting")
            return s
    except ssl.SSLCertVerificationError:
        return None


def logged(server, text, times=1):
    def there():
        with open(server.log_path, errors="replace") as f:
            return f.read().count(text) >= times
    server.wait(there, "the log to say: " + text)


def two_sessions(server):
    awake, asleep = dm.Client(server, "anna"), dm.Client(server, "anna")
    for c in (awake, asleep):
        c.ok("SELECT INBOX")
    asleep.idle()
    asleep.must_sleep()
    return awake, asleep


def still_there(awake, asleep):
    awake.ok("NOOP")
    _, tagged = asleep.done()
    check(" OK" in tagged, tagged)
    asleep.idle()
    asleep.must_sleep()


def test_renewed_under_sessions_that_stay(server):
    awake, asleep = two_sessions(server)
    check(reach(server, server.pem), "not reached at first")
    new = certificate(server, "new", "localhost")
    join(server.pem, new + ".crt", new + ".key")
    server.wait(lambda: reach(server, new), "the new certificate to be shown")
    still_there(awake, asleep)
    # Half of a renewal: told once, and without effect.
    other = certificate(server, "other", "localhost")
    join(server.pem, other + ".crt", new + ".key")
    logged(server, "do not belong together")
    check(reach(server, new) and not reach(server, other), "half a renewal is shown")
    join(server.pem, other + ".crt", other + ".key")
    server.wait(lambda: reach(server, other), "the other half")
    with open(server.log_path) as f:
        check(f.read().count("do not belong together") == 1, "told at each look")
    still_there(awake, asleep)


def test_master_dies_while_files_are_broken(server):
    awake, asleep = two_sessions(server)
    with open(server.pem) as f:
        good = f.read()
    with open(server.pem, "w") as f:
        f.write("nothing\n")
    server.kill("master")
    server.wait(server.recovered, "everything to be there again")
    still_there(awake, asleep)
    # Nobody is served in clear text on the port of TLS; clients wait.
    waiting = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
    waiting.sendall(b"a NOOP\r\n")
    waiting.settimeout(0.5)
    try:
        check(not waiting.recv(100), "served in clear text")
    except TimeoutError:
        pass
    with open(server.pem, "w") as f:
        f.write(good)
    trust = server.pem
    server.wait(lambda: reach(server, trust), "the repaired certificate")
    still_there(awake, asleep)


def test_names_choose_certificates(server):
    check(reach(server, server.pem), "the first one")
    check(reach(server, server.other, "mail.example.org"), "by name")
    check(reach(server, server.star, "a.example.net"), "by star")
    check(not reach(server, server.star, "localhost"), "the wrong one")


def test_tickets_outlive_programs(server):
    ctx = server.context()

    def connect(session=None):
        raw = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
        s = ctx.wrap_socket(raw, server_hostname="localhost", session=session)
        check(s.recv(100).startswith(b"* OK "), "no greeting")
        return s
    first = connect()
    for program in (None, "imap-login", "master", "keeper"):
        if program:
            server.kill(program)
            server.wait(server.recovered, "everything to be there after " + program)
        s = connect(first.session)
        check(s.session_reused, "not resumed after the death of %s" % program)
        first.close()
        first = s


def test_mistakes_are_told_before_the_start(server):
    key = os.path.join(server.dir, "locked")
    subprocess.run(["openssl", "ec", "-in", server.pem + ".key", "-aes128", "-passout",
                    "pass:x", "-out", key], check=True, capture_output=True)
    short = os.path.join(server.dir, "short")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "2",
                    "-subj", "/CN=x", "-keyout", short, "-out", short + ".crt"],
                   check=True, capture_output=True)
    other = certificate(server, "other", "localhost")
    pem = server.pem
    for cert, k, words in (
            (pem + ".crt", other + ".key", "do not belong together"),
            (pem + ".crt", "/nonexistent", "No such file"),
            (pem + ".crt", pem + ".crt", "no private key"),
            (pem + ".key", pem + ".key", "no certificate"),
            (pem + ".crt", key, "encrypted"),
            (short + ".crt", short, "too short"),
            (pem + ".crt", server.dir, "not a plain file")):
        conf = os.path.join(server.dir, "try.conf")
        with open(server.conf) as f:
            text = f.read().replace('ssl_cert = "%s"' % pem, 'ssl_cert = "%s"' % cert)
        with open(conf, "w") as f:
            f.write(text.replace('ssl_key = "%s"' % pem, 'ssl_key = "%s"' % k))
        line = text.split("ssl_cert")[0].count("\n") + 1
        for command in (["check-config"], ["start"]):
            r = subprocess.run([server.program("dormouse"), *command, "-c", conf],
                               capture_output=True, text=True, timeout=60)
            check(r.returncode == 1 and words in r.stderr and
                  r.stderr.startswith("%s:%d: " % (conf, line)), (command, words, r.stderr))
    for line, words in (('ssl_ca = "relative"', "no absolute path"),
                        ('tls_name "x" { cert = "/a" key = "/b" }', "no host name"),
                        ('tls_name "x.y" { cert = "/a" }', "has no key"),
                        ('tls_name "x.y" { cert = "a" key = "/b" }', "no absolute path"),
                        ('tls_name "x.y" { certs = "/a" }', "did you mean cert?")):
        with open(server.conf) as f, open(conf, "w") as g:
            g.write(line + "\n" + f.read())
        r = subprocess.run([server.program("dormouse"), "check-config", "-c", conf],
                           capture_output=True, text=True, timeout=60)
        check(r.returncode == 1 and words in r.stderr, (line, r.stderr))


def prepare(server):
    """Two more names, for all tests."""
    server.other = certificate(server, "mail", "mail.example.org")
    server.star = certificate(server, "star", "*.example.net")
    with open(server.conf, "a") as f:
        for name, path in (("mail.example.org", server.other), ("*.example.net", server.star)):
            f.write('tls_name "%s" {\n\tcert = "%s"\n\tkey = "%s"\n}\n' % (name, path, path))


def main():
    names = [a for a in sys.argv[1:] if a != "-v"]
    passed = failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_") or (names and not any(n in name for n in names)):
            continue
        start = time.monotonic()
        try:
            server = Server("certs", tls=True)
            prepare(server)
            with server:
                server.make_maildir("anna")
                test(server)
            passed += 1
        except Exception as e:
            failed += 1
            if not isinstance(e, Failure):
                traceback.print_exc()
            print("FAIL %s: %s" % (name, e))
        if "-v" in sys.argv:
            print("%s (%.1f s)" % (name, time.monotonic() - start))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
