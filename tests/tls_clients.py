# SPDX-License-Identifier: MIT
"""TLS of clients that other people wrote, while their sessions change hands.

    tls_clients.py [--short] [-v] [NAME...]
    tls_clients.py --bridge PORT CA VERSION     (used by itself)

openssl s_client, curl, gnutls-cli, Python, Node, Java, NSS (tstclnt) and Go,
each with TLS 1.3 and 1.2 and the three suites that Dormouse has; what is not
installed is skipped by name. Each client has one conversation: log in, NOOPs,
FETCH of 1.2 MB, APPEND of 900 kB, IDLE with keepalives and mail, LOGOUT; it
must see every byte, a close_notify at the end, and nothing else. KeyUpdates
come from the client where it can, and from the server in builds with
-Dfaults=true (it does so by itself only after 2^23 records). Twice: with
debug_hop every command and every keepalive that was due is another process's;
and with sessions that sleep when they were quiet for a moment.

--short: Python, s_client and curl, with debug_hop; NAME picks tests by a part
of their names.
"""
import argparse
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
import faults  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
KEEPALIVE = b"* OK Still here"
TURNS = 3           # of IDLE in a conversation
SUITES = ("AES128", "AES256", "CHACHA20")
VERSIONS = ("1.3", "1.2")
OPENSSL = {
    ("1.3", "AES128"): "TLS_AES_128_GCM_SHA256",
    ("1.3", "AES256"): "TLS_AES_256_GCM_SHA384",
    ("1.3", "CHACHA20"): "TLS_CHACHA20_POLY1305_SHA256",
    ("1.2", "AES128"): "ECDHE-ECDSA-AES128-GCM-SHA256",
    ("1.2", "AES256"): "ECDHE-ECDSA-AES256-GCM-SHA384",
    ("1.2", "CHACHA20"): "ECDHE-ECDSA-CHACHA20-POLY1305",
}
IANA = {
    "AES128": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "AES256": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "CHACHA20": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}
# As `who` names it.
NAMES = {
    ("1.3", "AES128"): "TLSv1.3 TLS_AES_128_GCM_SHA256",
    ("1.3", "AES256"): "TLSv1.3 TLS_AES_256_GCM_SHA384",
    ("1.3", "CHACHA20"): "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256",
    ("1.2", "AES128"): "TLSv1.2 AES128-GCM",
    ("1.2", "AES256"): "TLSv1.2 AES256-GCM",
    ("1.2", "CHACHA20"): "TLSv1.2 CHACHA20-POLY1305",
}
# No line begins with a letter that s_client takes for a command.
BIG = b"Subject: big\r\n\r\n" + b"".join(
    b"x line %d of many, %x\r\n" % (i, i * 2654435761 % 2 ** 32) for i in range(40000))
LARGE = b"Subject: large\r\n\r\n" + b"".join(
    b"x line %d, %x\r\n" % (i, i * 40503 % 2 ** 32) for i in range(40000))


class Skipped(Exception):
    pass


def check(true, what):
    if not true:
        raise dm.Failure(what if isinstance(what, str) else repr(what))


def need(program):
    path = shutil.which(program)
    if path is None:
        raise Skipped(program + " is not installed")
    return path


# ---- the server ----

def has_faults():
    with open(os.path.join(dm.STAGE, "libexec", "dormouse", "imap"), "rb") as f:
        return b"FAULTS_FILE" in f.read()


class Server(faults.World if has_faults() else dm.Server):
    def __init__(self, name, **options):
        options.setdefault("keepalive_interval", "60ms")
        if has_faults():
            super().__init__(name, tls=True, **options)
        else:
            super().__init__(name, users=(), tls=True, **options)
        self.updates = 0
        self.lock = threading.Lock()

    def new_user(self, user):
        self.add_user(user)
        self.make_maildir(user)
        self.make_maildir(user, "Drop")
        self.deliver(user, BIG)
        return user

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wakes(self, user):
        return len(re.findall(r" imap: wake .*user=%s " % user, self.log()))

    def owe_update(self, client=None):
        """Our next record comes behind a KeyUpdate of ours."""
        if has_faults() and (client is None or client.takes_update()):
            self.arm("tls-update", "fail")

    def updated(self):
        if has_faults():
            self.updates += bool(self.struck())
            self.disarm()


# ---- a client that is a program with stdin and stdout ----

class Piped:
    """One that copies between its stdin and stdout and a TLS connection."""
    newline = b"\r\n"   # what it wants at the end of a line
    exact = True        # stdout has the server's bytes and no others
    update = None       # what to write for a KeyUpdate
    update_gap = 0      # seconds between two of ours that it puts up with
    ends_well = (0,)

    def __init__(self, command, **environment):
        self.command = command
        self.trace = os.path.join(os.environ["TLS_CLIENTS_DIR"], "stderr-%d" % id(self))
        with open(self.trace, "wb") as trace:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=trace,
                                            env=dict(os.environ, **environment))
        self.watchdog = threading.Timer(40, self.process.kill)
        self.watchdog.start()
        self.keepalives = self.updates = self.last_update = 0

    def told(self):
        with open(self.trace, errors="replace") as f:
            return f.read()

    def send(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def line(self):
        while True:
            line = self.process.stdout.readline()
            check(line, "%s ended: %s" % (" ".join(self.command[:2]), self.told()[-2000:]))
            if line.rstrip(b"\r\n") == KEEPALIVE:
                self.keepalives += 1
                continue
            return line.rstrip(b"\r\n") if not self.exact else self.whole(line)

    def whole(self, line):
        check(line.endswith(b"\r\n"), "a line without CRLF: %r" % line)
        return line[:-2]

    def bytes(self, n):
        return self.process.stdout.read(n)

    def until(self, start):
        """Lines before the one that begins so, and it."""
        lines = []
        while True:
            line = self.line()
            if line.startswith(start):
                return lines, line
            check(not re.match(rb"a\d+ ", line), "out of turn: %r" % line)
            lines.append(line)

    def say(self, tag, command):
        self.send(tag + b" " + command + self.newline)

    def ok(self, tag, command):
        self.say(tag, command)
        lines, line = self.until(tag + b" ")
        check(line.startswith(tag + b" OK"), "%r: %r" % (command, line))
        return lines

    def takes_update(self):
        due = time.monotonic() - self.last_update >= self.update_gap
        if due:
            self.last_update = time.monotonic()
        return due

    def key_update(self):
        if self.update is not None:
            # Some look for it only at the beginning of what they read.
            time.sleep(0.05)
            self.send(self.update)
            time.sleep(0.05)
            self.updates += 1

    def finish(self):
        """After LOGOUT: its own end, which must be a good one."""
        rest = self.process.stdout.read()
        check(not self.exact or rest == b"", "behind the end: %r" % rest)
        self.process.stdin.close()
        code = self.process.wait(30)
        check(code in self.ends_well, "%s ended with %d: %s" % (
            self.command[0], code, self.told()[-2000:]))

    def close(self):
        self.watchdog.cancel()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                pass
        if os.path.exists(self.trace):
            os.unlink(self.trace)


class Openssl(Piped):
    newline = b"\n"

    def __init__(self, server, version, suite, *more):
        super().__init__([need("openssl"), "s_client", "-connect", "127.0.0.1:%d" %
                          server.tls_port, "-CAfile", server.pem + ".crt", "-servername",
                          "localhost", "-verify_return_error", "-crlf", "-quiet",
                          "-no_ign_eof", "-tls1_3" if version == "1.3" else "-tls1_2",
                          "-ciphersuites" if version == "1.3" else "-cipher",
                          OPENSSL[version, suite], *more])
        self.update = b"K\n" if version == "1.3" else None


class Python(Piped):
    """Suites of 1.3 can be chosen by OpenSSL's configuration only."""

    def __init__(self, server, version, suite):
        conf = os.path.join(os.environ["TLS_CLIENTS_DIR"], "openssl-%s-%s" % (version, suite))
        with open(conf, "w") as f:
            f.write("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\n"
                    "system_default = it\n[it]\nCiphersuites = %s\n" % OPENSSL["1.3", suite])
        super().__init__([sys.executable, os.path.abspath(__file__), "--bridge",
                          str(server.tls_port), server.pem + ".crt", version, suite],
                         OPENSSL_CONF=conf)


class Gnutls(Piped):
    update_gap = 0.4    # more than eight a second end the connection
    CIPHER = {"AES128": "AES-128-GCM", "AES256": "AES-256-GCM",
              "CHACHA20": "CHACHA20-POLY1305"}

    def __init__(self, server, version, suite, *more):
        # It buffers what it writes to a pipe.
        super().__init__(["stdbuf", "-o0", need("gnutls-cli"), "127.0.0.1", "-p",
                          str(server.tls_port),
                          "--x509cafile", server.pem + ".crt", "--sni-hostname", "localhost",
                          "--verify-hostname", "localhost", "--inline-commands",
                          "--logfile", os.path.join(os.environ["TLS_CLIENTS_DIR"], "gnutls"),
                          "--priority", "NORMAL:-VERS-ALL:+VERS-TLS%s:-CIPHER-ALL:+%s" % (
                              version, self.CIPHER[suite]), *more])
        self.update = b"^rekey^\n" if version == "1.3" else None


class Node(Piped):
    def __init__(self, server, version, suite):
        super().__init__([need("node"), os.path.join(HERE, "clients", "tls-bridge.js"),
                          str(server.tls_port), server.pem + ".crt", "TLSv" + version,
                          OPENSSL[version, suite]])


class Java(Piped):
    """With a limit of 256 KiB for a key it asks for KeyUpdates during a FETCH."""
    LIMIT = "jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate 2^18, " \
        "ChaCha20-Poly1305 KeyUpdate 2^18\n"

    def __init__(self, server, version, suite):
        where = os.environ["TLS_CLIENTS_DIR"]
        java = need("java")
        if not os.path.exists(os.path.join(where, "TlsBridge.class")):
            subprocess.run([need("javac"), "-d", where,
                            os.path.join(HERE, "clients", "TlsBridge.java")], check=True)
        with open(os.path.join(where, "java.security"), "w") as f:
            f.write(self.LIMIT)
        super().__init__([java, "-Xmx128m", "-XX:TieredStopAtLevel=1",
                          "-Djava.security.properties=" + os.path.join(where, "java.security"),
                          "-Djavax.net.debug=ssl:handshake", "-cp", where, "TlsBridge",
                          str(server.tls_port), server.pem + ".crt", "TLSv" + version,
                          IANA[suite] if version == "1.2" else OPENSSL[version, suite]])

    def finish(self):
        super().finish()
        asked = self.told().count("Produced KeyUpdate") + self.told().count("KeyUpdate: write key")
        if "TLSv1.3" in self.command:
            check(asked > 0, "Java sent no KeyUpdate: %s" % self.told()[-1500:])
            self.updates = asked


class Nss(Piped):
    HEX = {("1.3", "AES128"): "1301", ("1.3", "AES256"): "1302", ("1.3", "CHACHA20"): "1303",
           ("1.2", "AES128"): "C02B", ("1.2", "AES256"): "C02C", ("1.2", "CHACHA20"): "CCA9"}

    def __init__(self, server, version, suite):
        path = shutil.which("tstclnt") or "/usr/lib/nss/tstclnt"
        if not os.path.exists(path):
            raise Skipped("tstclnt is not installed")
        super().__init__([path, "-4", "-h", "127.0.0.1", "-a", "localhost", "-p",
                          str(server.tls_port), "-D", "-o", "-V",
                          "tls%s:tls%s" % (version, version), "-c",
                          ":" + self.HEX[version, suite]])

    def finish(self):
        """It goes on, waiting for stdin; and when that ends it spins."""


class Go(Piped):
    def __init__(self, server, version, suite):
        if version == "1.3" and suite != "AES128":
            raise Skipped("Go chooses the suite of 1.3 itself")
        binary = os.path.join(os.environ["TLS_CLIENTS_DIR"], "go-bridge")
        if not os.path.exists(binary):
            subprocess.run([need("go"), "build", "-o", binary,
                            os.path.join(HERE, "clients", "tls-bridge.go")], check=True,
                           env=dict(os.environ, GOCACHE=binary + "-cache", GO111MODULE="off"))
        super().__init__([binary, str(server.tls_port), server.pem + ".crt", version,
                          IANA[suite]])


def bridge(port, ca, version, suite):
    """The same with Python's ssl."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = \
        ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2
    if version == "1.2":
        context.set_ciphers(OPENSSL[version, suite])
    plain = socket.create_connection(("127.0.0.1", int(port)))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
    print(s.version(), s.cipher()[0], file=sys.stderr)

    def send():
        while data := os.read(0, 65536):
            s.sendall(data)
    threading.Thread(target=send, daemon=True).start()
    while data := s.recv(65536):
        os.write(1, data)
    os._exit(0)     # the other thread still reads


# ---- the conversation ----

def row_of(server, user):
    return (server.who(user) or [{}])[0]


def converse(server, make, version, suite, hop):
    """What every piped client has to get through. (wakes, keepalives, updates)"""
    user = server.new_user("%s%s%s%d" % (make.__name__.lower(), version.replace(".", ""),
                                         suite.lower(), hop))
    c = make(server, version, suite)
    try:
        talk(server, user, c, NAMES[version, suite], hop)
        return server.wakes(user), c.keepalives, c.updates
    finally:
        c.close()


def quiet(server, user):
    """Until it sleeps; a fast client would speak before it does."""
    server.wait(lambda: row_of(server, user).get("state", "").startswith("asleep"),
                "the session of %s to sleep" % user)


def talk(server, user, c, name, hop):
    c.until(b"* OK")
    c.ok(b"a0", b"LOGIN %s secret" % user.encode())
    seen = row_of(server, user)["security"]
    check(seen == name or c.__class__ is Go, "%r, not %r" % (seen, name))
    for i in range(4):
        if hop:
            quiet(server, user)
        server.owe_update(c)
        c.ok(b"a1", b"NOOP")
        server.updated()
        if i == 1:
            c.key_update()
    quiet(server, user)
    c.ok(b"a2", b"SELECT INBOX")
    quiet(server, user)
    server.owe_update(c)
    c.say(b"a3", b"FETCH 1 (BODY.PEEK[])")
    _, line = c.until(b"* 1 FETCH")
    check(line.endswith(b"{%d}" % len(BIG)), line)
    got = c.bytes(len(BIG))
    check(got == BIG, "the message came otherwise")
    check(c.until(b"a3 ")[0] == [b")"], "no end of FETCH")
    server.updated()
    c.key_update()
    quiet(server, user)
    c.say(b"a4", b"APPEND Drop {%d}" % len(LARGE))
    c.until(b"+ ")
    c.send((LARGE if c.newline == b"\r\n" else LARGE.replace(b"\r\n", b"\n")) + c.newline)
    check(c.until(b"a4 ")[1].startswith(b"a4 OK"), "APPEND")
    with open(server.files(user, "Drop")[0], "rb") as f:
        check(f.read().replace(b"\r\n", b"\n") == LARGE.replace(b"\r\n", b"\n"),
              "the message that was appended is another")
    for turn in range(TURNS):
        idle_once(server, user, c, turn)
    c.say(b"a9", b"LOGOUT")
    c.until(b"* BYE")
    c.until(b"a9 OK")
    c.finish()
    wakes = server.wakes(user)
    check(wakes >= (7 + TURNS if hop else 3), "only %d wakes" % wakes)


def idle_once(server, user, c, turn):
    """Five keepalives are more than are made ahead; mail arrives; then DONE."""
    server.owe_update(c)
    c.say(b"a5", b"IDLE")
    c.until(b"+ ")
    server.updated()
    server.wait(lambda: row_of(server, user).get("state") == "asleep-idle", "it to sleep in IDLE")
    c.key_update()
    server.owe_update(c)
    while c.keepalives < 5 * (turn + 1):
        line = c.process.stdout.readline()
        check(line.rstrip(b"\r\n") == KEEPALIVE, "while it idles: %r %s" % (line, c.told()[-500:]))
        c.keepalives += 1
    server.updated()
    server.deliver(user)
    c.until(b"* %d EXISTS" % (turn + 2))
    c.send(b"DONE" + c.newline)
    check(c.until(b"a5 ")[1].startswith(b"a5 OK"), "DONE")


# ---- curl makes its own conversation ----

class Relay:
    """Between curl and the server: curl is often quicker than the hand-off, so what it
    says after an answer waits until the session sleeps, or plainly does not (it is
    not logged in, or in the middle of a command)."""
    TRY = .5

    def __init__(self, server, user, waits):
        self.server, self.user, self.waits = server, user, waits
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", self.server.tls_port))
            self.answered = False
            for come, go in ((client, theirs), (theirs, client)):
                threading.Thread(target=self.copy, args=(come, go, come is client),
                                 daemon=True).start()

    def until_asleep(self):
        end = time.monotonic() + self.TRY
        while time.monotonic() < end:
            rows = self.server.who(self.user)
            if not rows or rows[0]["state"].startswith("asleep"):
                return
            time.sleep(.005)

    def copy(self, come, go, from_client):
        try:
            while True:
                data = come.recv(65536)
                if not data:
                    break
                if from_client and self.waits and self.answered:
                    self.until_asleep()
                self.answered = not from_client
                go.sendall(data)
            go.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


def curl_once(server, version, suite, hop):
    user = server.new_user("curl%s%s%d" % (version.replace(".", ""), suite.lower(), hop))
    relay = Relay(server, user, hop)
    base = [need("curl"), "-sS", "--user", user + ":secret", "--cacert", server.pem + ".crt",
            "--resolve", "localhost:%d:127.0.0.1" % relay.port]
    base += ["--tlsv1.3", "--tls13-ciphers", OPENSSL[version, suite]] if version == "1.3" else \
        ["--tlsv1.2", "--tls-max", "1.2", "--ciphers", OPENSSL[version, suite]]
    url = "imaps://localhost:%d/" % relay.port
    server.owe_update()
    out = subprocess.run(base + [url + "INBOX;MAILINDEX=1"], capture_output=True, timeout=60)
    check(out.returncode == 0 and out.stdout == BIG, "curl: %r, %d of %d bytes" % (
        out.stderr, len(out.stdout), len(BIG)))
    server.updated()
    path = os.path.join(os.environ["TLS_CLIENTS_DIR"], "large.eml")
    with open(path, "wb") as f:
        f.write(LARGE)
    out = subprocess.run(base + [url + "Drop", "--upload-file", path], capture_output=True,
                         timeout=60)
    check(out.returncode == 0, "curl APPEND: %r" % out.stderr)
    with open(server.files(user, "Drop")[0], "rb") as f:
        check(f.read().replace(b"\r\n", b"\n") == LARGE.replace(b"\r\n", b"\n"), "another text")
    relay.close()
    check(server.wakes(user) >= 2 or not hop, "curl's session did not change hands")
    return server.wakes(user), 0, 0


# ---- resumption ----

def resumed(server):
    return server.log().count("resumed=1")


def resume_openssl(server):
    for version in VERSIONS:
        path = os.path.join(os.environ["TLS_CLIENTS_DIR"], "session")
        user = server.new_user("sresume" + version.replace(".", ""))
        for turn in range(3):
            before = resumed(server)
            c = Openssl(server, version, "AES256", "-sess_out", path,
                        *(["-sess_in", path] if turn else []))
            try:
                c.until(b"* OK")
                c.ok(b"a1", b"LOGIN %s secret" % user.encode())
                c.key_update()
                c.ok(b"a2", b"SELECT INBOX")
                c.ok(b"a3", b"NOOP")
                c.say(b"a4", b"LOGOUT")
                c.until(b"a4 OK")
                c.finish()
            finally:
                c.close()
            check(resumed(server) - before == (turn > 0), "%s, turn %d: resumed %d times" % (
                version, turn, resumed(server) - before))


def resume_gnutls(server):
    """It asks for both connections itself; the second one is the conversation."""
    for version in VERSIONS:
        before = resumed(server)
        user = server.new_user("gresume" + version.replace(".", ""))
        c = Gnutls(server, version, "AES256", "-r", "--waitresumption")
        try:
            c.until(b"* OK")
            c.ok(b"a1", b"LOGIN %s secret" % user.encode())
            c.ok(b"a2", b"NOOP")
            c.say(b"a3", b"LOGOUT")
            c.until(b"a3 OK")
            c.finish()
        finally:
            c.close()
        check(resumed(server) == before + 1, "%s: not resumed" % version)


class Records:
    """Bytes from the server, as records: what 1.2 shows of its nonces."""

    def __init__(self):
        self.data = b""
        self.nonces = []

    def add(self, data):
        self.data += data
        while len(self.data) >= 5:
            size = 5 + int.from_bytes(self.data[3:5], "big")
            if len(self.data) < size:
                break
            if self.data[0] in (21, 23):
                self.nonces.append(int.from_bytes(self.data[5:13], "big"))
            self.data = self.data[size:]


def client_of(server, user, version, deflate, session=None):
    """dm.Client, with a session to resume, and what is on the wire."""
    c = dm.Client.__new__(dm.Client)
    c.server, c.user, c.buffer, c.tag, c.wants_deflate = server, user, b"", 0, deflate
    c.sock = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.local_port = c.sock.getsockname()[1]
    c.wire.start_tls(server.context(version), session=session)
    c.records = Records()
    recv = c.sock.recv

    class Tap:
        """The socket, with an ear on it."""
        def __getattr__(self, name):
            return getattr(c.plain, name)

        def recv(self, size):
            data = recv(size)
            c.records.add(data)
            return data
    c.plain = c.sock
    c.wire.sock = Tap()
    c.greeting = c.line()
    c.ok("LOGIN %s secret" % user)
    if deflate:
        c.compress()
    return c


def python_compress(server, hop, turns=2):
    """COMPRESS over TLS, and resumption; on the wire of 1.2 with GCM each
    record's explicit nonce is the one before plus one, whoever sealed it."""
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        user = server.new_user("pycompress%d%d" % (version & 0xf, hop))
        session = None
        for turn in range(turns):
            c = client_of(server, user, version, True, session)
            check(c.wire.tls.session_reused == (turn > 0), "resumption, turn %d" % turn)
            c.ok("NOOP")
            c.ok("SELECT INBOX")
            lines = c.ok("FETCH 1 BODY.PEEK[]")
            check(BIG.decode() in lines[0], "the message came otherwise")
            for _ in range(2 * TURNS):
                server.wait(c.asleep, "the session to sleep")
                c.ok("NOOP")
                c.idle()
                for _ in range(3):
                    check(c.line() == KEEPALIVE.decode(), "no keepalive")
                c.done()
            # Now the window is too large for it to sleep.
            c.send(b"t90 APPEND Drop {%d+}\r\n%s\r\n" % (len(LARGE), LARGE))
            check(c.answer("t90")[1].startswith("t90 OK"), "APPEND")
            session = c.wire.tls.session
            c.ok("LOGOUT")
            check(c.wire.recv(1) == b"" and c.wire.ended, "no close_notify")
            if version == ssl.TLSVersion.TLSv1_2:
                n = c.records.nonces
                check(len(n) > 10 * TURNS and n == list(range(n[0], n[0] + len(n))),
                      "nonces out of order: %r" % n)
            c.close()
        check(server.wakes(user) >= 3 * TURNS * turns, "only %d wakes" % server.wakes(user))


# ---- which of them, and when ----

def tests(short):
    """(name, needs hop server, function)"""
    piped = (Python, Openssl) if short else (Python, Openssl, Gnutls, Node, Java, Nss, Go)
    found = []

    def add(name, hop, function, *arguments):
        found.append(("%s %s" % (name, "hop" if hop else "quiet"), hop, function, arguments))
    for hop in (True,) if short else (True, False):
        for make in piped:
            for version in VERSIONS:
                for suite in SUITES:
                    add("%s-%s-%s" % (make.__name__.lower(), version, suite), hop,
                        converse, make, version, suite, hop)
        for version in VERSIONS:
            for suite in SUITES:
                add("curl-%s-%s" % (version, suite), hop, curl_once, version, suite, hop)
        add("python-compress", hop, python_compress, hop)
    add("resume-openssl", True, resume_openssl)
    if not short:
        add("resume-gnutls", True, resume_gnutls)
    return found


def run(server, name, function, arguments, verbose):
    start = time.monotonic()
    try:
        facts = function(server, *arguments)
    except Skipped as e:
        print("skipped %s: %s" % (name, e), flush=True)
        return None
    except Exception as e:
        if not isinstance(e, dm.Failure):
            traceback.print_exc()
        print("FAIL %s: %s: %s" % (name, type(e).__name__, e), flush=True)
        server.keep = True
        return False
    if verbose:
        print("ok %s (%.1f s)%s" % (name, time.monotonic() - start, "" if not facts else
                                    " wakes %d, keepalives %d, its KeyUpdates %d" % facts),
              flush=True)
    return True


def main():
    global TURNS
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--short", action="store_true")
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    if a.short:
        TURNS = 1
    results = []
    for hop in (True, False):
        mine = [t for t in tests(a.short) if t[1] == hop and
                (not a.names or any(n in t[0] for n in a.names))]
        if not mine:
            continue
        options = {"debug_hop": "yes"} if hop else {"hibernate_after": "80ms"}
        with Server("tls-clients", **options) as server:
            os.environ["TLS_CLIENTS_DIR"] = server.dir
            for name, _, function, arguments in mine:
                results.append(run(server, name, function, arguments, a.verbose))
            if False in results:
                print("--- the server's log ends ---\n" + server.tail(30))
            if has_faults():
                print("KeyUpdates of the server: %d" % server.updates)
                if not server.updates and any(t[2] is converse for t in mine):
                    results.append(False)
    if not has_faults():
        print("skipped the server's own KeyUpdates: not a build with -Dfaults=true")
    print("%d passed, %d failed" % (results.count(True), results.count(False)))
    return 0 if True in results and False not in results else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bridge"]:
        bridge(*sys.argv[2:])
    try:
        sys.exit(main())
    except dm.Failure as e:
        print(e)
        sys.exit(1)
