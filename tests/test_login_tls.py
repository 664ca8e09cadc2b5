#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS with the real imap-login and auth, before a session begins and up to the
hand-over: login-harness plays master and a spare, which goes on with the TLS
state that it was given and answers each line with its tag.

    test_login_tls.py LOGIN-HARNESS AUTH IMAP-LOGIN [NAME...]

The client does TLS in memory, so that a test can say which bytes go when."""
import hashlib, hmac, os, random, socket, ssl, subprocess, sys, tempfile, time, warnings

import test_login
from test_login import PATIENCE, ROOT, Client, s_status

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SUITES = [(V13, None), (V12, "ECDHE-ECDSA-AES128-GCM-SHA256"),
          (V12, "ECDHE-ECDSA-AES256-GCM-SHA384"), (V12, "ECDHE-ECDSA-CHACHA20-POLY1305")]
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
RANDOM = random.Random(SEED)

DIR = tempfile.TemporaryDirectory(prefix="dm-login-tls-")


def at(name):
    return os.path.join(DIR.name, name)


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def certificate(name, cn, alt=None, issuer=None):
    """NAME.key, NAME.crt, and both in NAME.pem."""
    extra = ["-addext", "subjectAltName=" + alt] if alt else []
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            "/CN=" + cn, "-keyout", at(name + ".key"), "-out", at(name + ".csr"), *extra)
    sign = ["-signkey", at(name + ".key")]
    if issuer:
        sign = ["-CA", at(issuer + ".crt"), "-CAkey", at(issuer + ".key"), "-CAcreateserial"]
    openssl("x509", "-req", "-in", at(name + ".csr"), "-days", "2", "-out", at(name + ".crt"),
            "-copy_extensions", "copy", *sign)
    with open(at(name + ".pem"), "w") as f:
        for part in (".crt", ".key"):
            f.write(open(at(name + part)).read())


certificate("one", "localhost", "DNS:localhost")
certificate("two", "mail.example.org", "DNS:mail.example.org")
certificate("renewed", "localhost", "DNS:localhost")
openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", "/CN=authority", "-days", "2", "-keyout", at("ca.key"), "-out", at("ca.crt"))
certificate("anna", "anna", issuer="ca")
certificate("stranger", "anna")


def context(version=None, suite=None, trust="one", keylog=None, client=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.load_verify_locations(at(trust + ".crt"))
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    if suite:
        ctx.set_ciphers(suite)
    if keylog:
        ctx.keylog_filename = keylog
    if client:
        ctx.load_cert_chain(at(client + ".pem"))
    return ctx


class TlsClient(Client):
    """TLS over memory. What it has to say waits in `out` until it is sent."""

    def __init__(self, server, ctx, name="localhost", session=None, start="tls", hello=True):
        if start == "tls":
            super().__init__("127.0.0.1", server.ports["tls"], greet=False)
        else:
            super().__init__("127.0.0.1", server.ports["127.0.0.1"])
        self.come, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.come, self.out, server_hostname=name, session=session)
        if start == "starttls":
            assert self.ask("s STARTTLS")[-1] == "s OK Begin TLS negotiation now."
        if hello:
            self.handshake()

    def handshake(self):
        """Up to its end; the client's last bytes are left in `out`."""
        while True:
            try:
                return self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
            self.feed()

    def flush(self):
        self.sock.sendall(self.out.read())

    def feed(self):
        data = self.sock.recv(65536)
        if data:
            self.come.write(data)
        else:
            self.come.write_eof()

    def drip(self, sizes):
        """All that waits, in pieces of these sizes, again and again."""
        data, i = self.out.read(), 0
        while data:
            n = sizes[i % len(sizes)]
            self.sock.sendall(data[:n])
            data, i = data[n:], i + 1

    def send(self, data):
        if not hasattr(self, "tls") or not self.tls.version() or self.plain_text:
            return super().send(data)
        self.tls.write(data if isinstance(data, bytes) else data.encode())
        self.flush()

    plain_text = False

    def recv(self):
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()

    def line(self):
        if not hasattr(self, "tls") or not self.tls.version():
            return super().line()
        while b"\n" not in self.buffer:
            data = self.recv()
            assert data, "end of connection, after %r" % self.buffer
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode()

    def ended(self):
        """Only close_notify is an end here; a bare EOF raises."""
        try:
            return self.recv() == b""
        except ssl.SSLZeroReturnError:
            return True


TESTS = []


def test(certs=("one.pem", "mail.example.org:two.pem"), **settings):
    def add(fn):
        names = [c.split(":") for c in certs]
        settings["cert"] = [":".join(n[:-1] + [at(n[-1])]) for n in names]
        settings.setdefault("users", ["anna:{PLAIN}secret:%s::/home/anna::" %
                                      ("12345:12345" if ROOT else ":")])
        TESTS.append((fn.__name__, fn, settings))
        return fn
    return add


def greeted(c):
    line = c.line()
    assert line.startswith("* OK [CAPABILITY "), line
    return line


# ---- up to the hand-over, and on ----

@test()
def each_suite_goes_on_after_the_hand_over(s):
    for version, suite in SUITES:
        for start in ("tls", "starttls"):
            c = TlsClient(s, context(version, suite), start=start)
            c.flush()
            if start == "tls":
                greeted(c)
            assert c.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
            t = s.session()
            assert t["user"] == "anna" and int(t["tls"]) >= 96, t
            assert c.ask("b NOOP")[-1] == "b OK 8 bytes"
            assert c.ask("c " + "x" * 40000)[-1] == "c OK 40004 bytes"
            assert c.ask("d LOGOUT")[-1] == "d OK 10 bytes"
            assert c.ended()
    log = s.log_text()
    assert "tls=TLSv1.3 suite=TLS_AES_256_GCM_SHA384" in log, log
    assert "tls=TLSv1.2 suite=CHACHA20-POLY1305" in log or "CHACHA20" in log, log


@test()
def nothing_behind_finished_is_lost(s):
    """Commands in the same segment as Finished, in pieces, byte by byte; in 1.2 that
    is possible when a session is resumed."""
    print("SEED=%d" % SEED)
    shapes = [[1 << 20], [1], [97], [5, 3, 60, 1, 1000], None]
    for i in range(30):
        version, suite = SUITES[i % 2]
        ctx, session = context(version, suite), None
        if version == V12:
            c = TlsClient(s, ctx)
            c.flush()
            greeted(c)
            session = c.tls.session
            c.close()
        c = TlsClient(s, ctx, session=session, start=("tls", "starttls")[i // 2 % 2])
        assert c.tls.session_reused == (version == V12)
        n = RANDOM.randrange(60)
        c.tls.write(b"a LOGIN anna secret\r\n")
        whole = b"".join(b"%d NOOP\r\n" % k for k in range(n)) + b"x " + b"y" * (
            RANDOM.choice((1, 500, 16000, 16384, 40000))) + b"\r\nz LOGOUT\r\n"
        if RANDOM.randrange(2):
            c.tls.write(whole)
        else:
            for k in range(0, len(whole), 700):
                c.tls.write(whole[k:k + 700])
        c.drip(shapes[i % 5] or [RANDOM.randrange(1, 3000) for _ in range(9)])
        c.until("a")
        for k in range(n):
            assert c.line().startswith("%d OK " % k)
        assert c.line().startswith("x OK ") and c.line().startswith("z OK ")
        assert c.ended()
        s.session()


@test()
def login_in_the_middle_of_a_full_record(s):
    """The rest of the record goes along as text, what is behind it as records."""
    c = TlsClient(s, context(V13))
    c.flush()
    greeted(c)
    for before in (0, 900, 16300):
        c = TlsClient(s, context(V13))
        c.flush()
        greeted(c)
        first = b"0 NOOP\r\n" * (before // 8) + b"a LOGIN anna secret\r\n"
        rest = b"b NOOP\r\n" * ((16384 - len(first)) // 8)
        c.tls.write(first + rest)
        c.tls.write(b"c NOOP\r\nd LOGOUT\r\n")
        c.flush()
        c.until("a")
        for _ in range(len(rest) // 8):
            assert c.line() == "b OK 8 bytes"
        assert c.line() == "c OK 8 bytes" and c.line() == "d OK 10 bytes"
        assert c.ended()
        s.session()


@test()
def end_of_a_tls_connection_is_said(s):
    c = TlsClient(s, context())
    c.flush()
    greeted(c)
    assert c.ask("a LOGOUT")[-1] == "a OK Logout completed."
    assert c.ended()
    s.wait_log('reason="logged out"')
    assert "tls=TLSv1.3 suite=TLS_" in s.log_text()


@test()
def half_closed_and_broken_records_end_the_connection(s):
    c = TlsClient(s, context(V13))
    c.flush()
    greeted(c)
    c.sock.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    try:
        assert c.recv() == b"", "data after a broken record"
    except ssl.SSLError as e:
        assert "BAD_RECORD_MAC" in str(e).upper().replace(" ", "_"), e
    c = TlsClient(s, context(V13))
    c.flush()
    greeted(c)
    c.sock.shutdown(socket.SHUT_WR)
    assert c.at_end()


# ---- what TLS changes ----

@test()
def capabilities_change_with_tls(s):
    c = s.client()
    assert " STARTTLS" in c.greeting and " AUTH=PLAIN" in c.greeting
    own = own_address()
    if own:
        c = Client(own, s.ports["0.0.0.0"])
        assert " STARTTLS" in c.greeting and " LOGINDISABLED" in c.greeting
        assert " AUTH=" not in c.greeting
    c = TlsClient(s, context(), start="starttls")
    c.flush()
    for line in (c.ask("a CAPABILITY")[0], greeted(tls_client(s))):
        assert " AUTH=PLAIN" in line and "LOGINDISABLED" not in line, line
        assert "STARTTLS" not in line, line
    assert c.ask("b STARTTLS")[-1].startswith("b BAD ")


def tls_client(s, *args, **kw):
    c = TlsClient(s, context(*args, **kw))
    c.flush()
    return c


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as x:
        try:
            x.connect(("192.0.2.1", 9))
            return x.getsockname()[0]
        except OSError:
            return None


# ---- what is refused ----

def refused(s, data, alert, start="tls"):
    """Sends data; returns what came back in clear text."""
    c = s.client() if start != "tls" else Client("127.0.0.1", s.ports["tls"], greet=False)
    c.sock.sendall(data)
    assert c.at_end()
    assert c.buffer.endswith(bytes([21, 3, 1, 0, 2, 2, alert])), c.buffer
    return c.buffer


@test()
def commands_behind_starttls_are_never_run(s):
    """CVE-2011-0411 and its kin: whoever sits between puts text behind STARTTLS."""
    for text in (b"b NOOP\r\n", b"b LOGIN anna secret\r\n", b"\r\n", b"b NOOP"):
        got = refused(s, b"a STARTTLS\r\n" + text, 10, "starttls")
        assert got.startswith(b"a OK Begin TLS negotiation now.\r\n\x15"), got
    s.wait_log("TLS: not a TLS record")
    assert "auth:" not in s.log_text().split("passwd-file read", 1)[1].split("\n", 1)[1]
    # Before, in and after the handshake.
    c = TlsClient(s, context(V13), start="starttls", hello=False)
    try:
        c.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    c.sock.sendall(c.out.read() + b"b NOOP\r\n")
    assert c.at_end() and b"b OK" not in c.buffer and b"b BAD" not in c.buffer
    # The first bytes of a handshake may be there with STARTTLS itself.
    c = TlsClient(s, context(V13), start="plain", hello=False)
    try:
        c.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    c.sock.sendall(b"a STARTTLS\r\n" + c.out.read())
    assert Client.line(c) == "a OK Begin TLS negotiation now."
    c.come.write(c.buffer)
    c.buffer = b""
    c.handshake()
    c.flush()
    assert c.ask("b NOOP") == ["b OK NOOP completed."]


@test()
def text_on_the_tls_port_gets_an_alert(s):
    for text in (b"a LOGIN anna secret\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\0\2\0\x15"):
        refused(s, text, 10)
    s.wait_log("TLS: not a TLS record")
    refused(s, b"\x16\x03\x01\x7f\xff", 22)
    s.wait_log("TLS: record too long")
    s.wait_log("tls=no suite=-")


@test()
def weak_clients_get_the_alert_that_fits(s):
    def attempt(ctx, alert, reason):
        try:
            TlsClient(s, ctx)
            assert False, "handshake succeeded"
        except ssl.SSLError as e:
            assert alert in str(e).upper().replace(" ", "_"), e
        s.wait_log(reason)
    attempt(context(V12, "ECDHE-ECDSA-AES128-SHA"), "HANDSHAKE_FAILURE", "TLS: no shared cipher")
    warnings.simplefilter("ignore", DeprecationWarning)
    attempt(context(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"), "PROTOCOL_VERSION",
            "TLS: unsupported protocol")
    ctx = context()
    ctx.set_alpn_protocols(["h2"])
    attempt(ctx, "NO_APPLICATION_PROTOCOL", "TLS: no application protocol")
    assert "tls_failed=3" in s_status(s, "login")


@test(login_timeout_ms=1000)
def a_client_that_is_slow_with_its_handshake_is_sent_away(s):
    for start in ("tls", "starttls"):
        c = TlsClient(s, context(), start=start, hello=False)
        assert c.at_end() and c.buffer == b"", c.buffer
    s.wait_log('reason="login timeout"')


# ---- certificates ----

@test()
def names_choose_certificates(s):
    c = TlsClient(s, context(trust="two"), name="mail.example.org")
    c.flush()
    greeted(c)
    for name in ("localhost",):
        c = TlsClient(s, context(trust="one"), name=name)
        c.flush()
        greeted(c)
    ctx = context(trust="one")
    ctx.check_hostname = False
    c = TlsClient(s, ctx, name="unknown.example.net")
    c.flush()
    greeted(c)


@test(certs=("now.pem",))
def certificates_are_renewed_and_sessions_stay(s):
    c = tls_client(s)
    greeted(c)
    half = TlsClient(s, context(), hello=False)
    write("now.pem", "renewed.pem")
    s.say("certs", "status ")
    assert c.ask("a NOOP") == ["a OK NOOP completed."]
    greeted(tls_client(s, trust="renewed"))
    try:
        TlsClient(s, context())
        assert False, "the old certificate is shown still"
    except ssl.SSLCertVerificationError:
        pass
    # Its handshake had begun: it gets what there was.
    half.handshake()
    half.flush()
    greeted(half)
    # One that will not do: the one before stays.
    with open(at("now.pem"), "w") as f:
        f.write(open(at("one.crt")).read() + open(at("two.key")).read())
    s.say("certs", "status ")
    s.wait_log("do not belong together")
    greeted(tls_client(s, trust="renewed"))
    write("now.pem", "one.pem")


def write(to, source):
    with open(at(source)) as f, open(at(to), "w") as g:
        g.write(f.read())


write("now.pem", "one.pem")


@test()
def tickets_are_good_in_another_process_and_for_a_while(s):
    for version in (V13, V12):
        ctx = context(version)
        c = TlsClient(s, ctx)
        c.flush()
        greeted(c)
        first = c.tls.session
        s.say("restart-login", "restarted ")
        for word, reused in (("", True), ("certs rotate", True), ("certs rotate", True)):
            if word:
                s.say(word, "status ")
            c = TlsClient(s, ctx, session=c.tls.session)
            c.flush()
            greeted(c)
            assert c.tls.session_reused == reused, (version, word)
        # The first one's key has been renewed twice.
        c = TlsClient(s, ctx, session=first)
        c.flush()
        greeted(c)
        assert not c.tls.session_reused, version
    assert "tls_resumed=3" in s_status(s, "login")


@test(ca=at("ca.crt"))
def client_certificates_are_asked_for_and_checked(s):
    greeted(tls_client(s))
    for version in (V12, V13):
        greeted(tls_client(s, version, client="anna"))
    for version in (V12, V13):
        try:
            c = tls_client(s, version, client="stranger")
            greeted(c)
            assert False, "a stranger's certificate was taken"
        except ssl.SSLError as e:
            assert "UNKNOWN_CA" in str(e), e
    s.wait_log("TLS: self")


# ---- secrets ----

def expand(secret, label, n):
    algorithm = {32: "sha256", 48: "sha384"}[len(secret)]
    full = b"tls13 " + label
    info = n.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return hmac.new(secret, info + b"\1", getattr(hashlib, algorithm)).digest()[:n]


def secrets_of(keylog):
    """What the client knows: each secret of each line, and keys made of them."""
    found = {}
    for line in open(keylog):
        if line.startswith("#"):
            continue
        label, _, secret = line.split()
        found[label] = bytes.fromhex(secret)
        if "TRAFFIC" in label:
            found[label + " key"] = expand(found[label], b"key", 32)
    return found


def memory_of(pid):
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            low, high = (int(x, 16) for x in span.split("-"))
            try:
                mem.seek(low)
                yield mem.read(high - low)
            except OSError:
                pass


def held(pid, secrets):
    found = set()
    for part in memory_of(pid):
        found |= {name for name, value in secrets.items() if value in part}
    return found


@test()
def nothing_of_a_client_is_left_after_the_hand_over(s):
    if not ROOT:
        return "not root"
    if b"__asan_init" in open(test_login.LOGIN, "rb").read():
        return "a sanitizer keeps what was freed"
    for version in (V13, V12):
        keylog = at("keylog")
        if os.path.exists(keylog):
            os.unlink(keylog)
        c = TlsClient(s, context(version, keylog=keylog))
        c.flush()
        greeted(c)
        secrets = secrets_of(keylog)
        # The search finds what is there: the state that this client still needs.
        before = held(s.login_pid, secrets)
        if version == V13:
            assert before == {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0",
                              "CLIENT_TRAFFIC_SECRET_0 key", "SERVER_TRAFFIC_SECRET_0 key"}, before
        else:
            assert before == set(), before      # keys alone are kept
        secrets["password"] = b"a LOGIN anna secret"
        assert c.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
        s.session()
        # It may have been stopped between giving the client away and forgetting it.
        end = time.monotonic() + 5
        left = held(s.login_pid, secrets)
        while left and time.monotonic() < end:
            time.sleep(0.05)
            left = held(s.login_pid, secrets)
        assert left == set(), left
        c.send("b LOGOUT\r\n")
    # Who leaves without a log-in leaves nothing either.
    c = TlsClient(s, context(keylog=at("keylog2")))
    c.flush()
    greeted(c)
    secrets = secrets_of(at("keylog2"))
    c.ask("a LOGOUT")
    assert c.ended()
    c.close()
    s.wait_log('reason="logged out"')
    end = time.monotonic() + PATIENCE
    while held(s.login_pid, secrets):
        assert time.monotonic() < end, held(s.login_pid, secrets)
        time.sleep(0.05)


def main():
    wanted = sys.argv[4:]
    failed = [name for name, fn, settings in TESTS
              if (not wanted or name in wanted) and not test_login.run(name, fn, settings)]
    print("%d failed%s" % (len(failed), ": " + " ".join(failed) if failed else ""))
    return 1 if failed else 0


sys.exit(main())
