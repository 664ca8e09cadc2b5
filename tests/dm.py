# SPDX-License-Identifier: MIT
"""A real Dormouse in a temporary directory, and clients that talk to it.

Used by talk.py and by the longer tests. Nothing here imitates a part of the
server: all programs are the installed ones, started by `dormouse -F`.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAGE = os.environ.get("DORMOUSE_STAGE", os.path.join(ROOT, "build", "stage"))
PATIENCE = float(os.environ.get("DORMOUSE_PATIENCE", "30"))
CTL_REQUEST, CTL_ROW, CTL_END = 80, 81, 82


# ---- msgpack, as much as the control channel needs ----

def pack(value):
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if value < 128:
            return bytes([value])
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(pack(v) for v in value)


def unpack(data, at=0):
    """(value, next position)"""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xe0:
        return kind - 256, at
    if 0xa0 <= kind <= 0xbf:
        n = kind & 31
        return data[at:at + n].decode("utf-8", "replace"), at + n
    if 0x90 <= kind <= 0x9f:
        return _unpack_array(data, at, kind & 15)
    if kind in (0xc2, 0xc3):
        return kind == 0xc3, at
    if kind == 0xc0:
        return None, at
    for code, fmt in ((0xcc, ">B"), (0xcd, ">H"), (0xce, ">I"), (0xcf, ">Q")):
        if kind == code:
            n = struct.calcsize(fmt)
            return struct.unpack(fmt, data[at:at + n])[0], at + n
    for code, fmt, text in ((0xd9, ">B", 1), (0xda, ">H", 1), (0xdb, ">I", 1),
                            (0xc4, ">B", 0), (0xc5, ">H", 0), (0xc6, ">I", 0)):
        if kind == code:
            n = struct.calcsize(fmt)
            size = struct.unpack(fmt, data[at:at + n])[0]
            at += n
            value = data[at:at + size]
            return (value.decode("utf-8", "replace") if text else value), at + size
    for code, fmt in ((0xdc, ">H"), (0xdd, ">I")):
        if kind == code:
            n = struct.calcsize(fmt)
            return _unpack_array(data, at + n, struct.unpack(fmt, data[at:at + n])[0])
    raise ValueError("msgpack kind 0x%02x" % kind)


def _unpack_array(data, at, count):
    values = []
    for _ in range(count):
        value, at = unpack(data, at)
        values.append(value)
    return values, at


# ---- the server ----

class Failure(Exception):
    pass


class Server:
    """`dormouse -F` with a configuration of its own, on loopback, port 0.

    As root every program runs as a user of its own, and each mail user has an
    own uid (numbers without an entry in passwd); as an ordinary user everything
    is that user's.
    """
    HOLDER_UID, LOGIN_UID, AUTH_UID, MAIL_UID = 64101, 64102, 64103, 64200

    def __init__(self, name="dm", users=("anna",), stage=STAGE, keep=False, env=None, tls=False,
                 deflate=False, **options):
        self.tls, self.deflate = tls, deflate   # how its clients come
        self.contexts = {}
        self.dir = tempfile.mkdtemp(prefix="dormouse-%s-" % name)
        os.chmod(self.dir, 0o755)
        self.stage = stage
        self.keep = keep
        self.env = dict(os.environ, **(env or {}))
        self.root = os.geteuid() == 0
        self.options = options
        self.users = {}
        self.process = None
        self.known = {}
        self.base = os.path.join(self.dir, "run")
        self.conf = os.path.join(self.dir, "dormouse.conf")
        self.passwd = os.path.join(self.dir, "passwd")
        self.log_path = os.path.join(self.dir, "log")
        os.mkdir(os.path.join(self.dir, "home"), 0o755)
        open(self.passwd, "w").close()
        if tls:
            self.make_certificate()
        for user in users:
            self.add_user(user)
        self.write_conf()

    def add_user(self, user):
        uid = self.MAIL_UID + len(self.users) if self.root else os.geteuid()
        home = os.path.join(self.dir, "home", user)
        os.mkdir(home, 0o700)
        if self.root:
            os.chown(home, uid, uid)
        self.users[user] = (uid, home)
        with open(self.passwd, "a") as f:
            f.write("%s:{PLAIN}secret:%d:%d::%s::\n" % (user, uid, uid if self.root
                                                        else os.getegid(), home))

    def make_certificate(self):
        """Of its own for "localhost", good for a day; certificate and key in one file."""
        self.pem = os.path.join(self.dir, "pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", self.pem + ".key", "-out", self.pem + ".crt"],
                       check=True, capture_output=True)
        with open(self.pem, "w") as f:
            for part in (".crt", ".key"):
                with open(self.pem + part) as g:
                    f.write(g.read())

    def context(self, version=None, ciphers=None):
        """For its clients; of any version if none is named."""
        key = (version, ciphers)
        if key not in self.contexts:
            context = ssl.create_default_context(cafile=self.pem + ".crt")
            if version:
                context.minimum_version = context.maximum_version = version
            if ciphers:
                context.set_ciphers(ciphers)
            self.contexts[key] = context
        return self.contexts[key]

    def write_conf(self):
        options = {"hibernate_after": "1h", "keepalive_interval": "2m", "log_level": "debug"}
        options.update(self.options)
        lines = ['base_dir = "%s"' % self.base]
        if self.root:
            lines += ['user = "#%d"' % self.HOLDER_UID, 'login_user = "#%d"' % self.LOGIN_UID,
                      'auth_user = "#%d"' % self.AUTH_UID]
        auth = ['passwd_file = "%s"' % self.passwd]
        for key, value in options.items():
            if key in ("static_password", "static_home", "mechanisms", "pam_service",
                       "first_valid_uid"):
                auth.append('%s = "%s"' % (key, value))
            else:
                lines.append('%s = "%s"' % (key, value) if isinstance(value, str)
                             and not re.fullmatch(r"[0-9]+[a-z]*|yes|no", value)
                             else "%s = %s" % (key, value))
        lines.append("auth {\n\t" + "\n\t".join(auth) + "\n}")
        lines.append('listen imap {\n\taddress = "127.0.0.1"\n\tport = 0\n}')
        if self.tls:
            lines.append('listen imaps {\n\taddress = "127.0.0.1"\n\tport = 0\n\ttls = yes\n}')
            lines += ['ssl_%s = "%s"' % (key, self.pem) for key in ("cert", "key")]
        with open(self.conf, "w") as f:
            f.write("\n".join(lines) + "\n")

    def program(self, name):
        return os.path.join(self.stage, "bin", name)

    def start(self):
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen([self.program("dormouse"), "-F", "-c", self.conf],
                                        stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=self.log_file, env=self.env,
                                        start_new_session=True)
        ports = os.path.join(self.base, "ports")

        def up():
            if self.process.poll() is not None:
                raise Failure("the server ended at start:\n" + self.tail())
            return os.path.exists(ports) and self.recovered()
        self.wait(up, "the server to start")
        with open(ports) as f:
            for name, _, port in (line.split() for line in f):
                setattr(self, "tls_port" if name == "imaps" else "port", int(port))
        return self

    def ready(self):
        try:
            rows, ok, _ = self.ctl("holder")
            return ok
        except OSError:
            return False

    def wait(self, condition, what, patience=None):
        end = time.monotonic() + (patience or PATIENCE)
        pause = 0.0005
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise Failure("waited in vain for " + what)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def ctl(self, verb, *args):
        """(rows as dicts, ok, text)"""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(PATIENCE)
        try:
            s.connect(os.path.join(self.base, "control"))
            s.send(pack([CTL_REQUEST, verb, list(args)]))
            rows = []
            while True:
                data = s.recv(1 << 20)
                if not data:
                    raise OSError("control connection ended")
                message = unpack(data)[0]
                if message[0] == CTL_ROW:
                    rows.append({k: v for k, v in message[1]})
                elif message[0] == CTL_END:
                    return rows, message[1], message[2]
        finally:
            s.close()

    def who(self, user=None):
        return self.ctl("who", *([user] if user else []))[0]

    PROGRAMS = ("launcher", "master", "keeper", "imap-hibernate", "imap", "auth", "imap-login")

    def processes(self):
        """{pid: program} of all living processes of this server."""
        exe, parent, ours = {}, {}, set()
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            try:
                with open("/proc/%s/stat" % pid) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    words = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            # The exe link of a process that is not dumpable is root's to read.
            name = os.path.basename(words[0])
            if fields[0] == "Z" or name not in self.PROGRAMS:
                continue
            exe[int(pid)] = name
            parent[int(pid)] = int(fields[1])
            # launcher, master and keeper are told where they are at home;
            # the others are their children, or were when we last looked.
            if self.base in words or self.conf in words or self.known.get(int(pid)) == name:
                ours.add(int(pid))
        size = -1
        while size != len(ours):
            size = len(ours)
            ours |= {pid for pid in exe if parent[pid] in ours}
        self.known = {pid: exe[pid] for pid in ours}
        return dict(self.known)

    def pids(self, program):
        return sorted(pid for pid, name in self.processes().items() if name == program)

    def recovered(self):
        """Everything is there and ready, and the launcher too."""
        try:
            rows, ok, _ = self.ctl("status")
        except OSError:
            return False
        return ok and self.ready() and rows[0]["keeper_connected"] == "yes" and \
            all(r["state"] == "ready" for r in rows if r["kind"] == "program") and \
            {"launcher", "keeper", "master"} <= set(self.processes().values())

    def kill(self, program, sig=signal.SIGKILL):
        pids = self.pids(program)
        for pid in pids:
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass        # a worker that ended with its parent
        if sig == signal.SIGKILL:
            # On a busy machine a killed process lives on for a moment, and all
            # would look well.
            self.wait(lambda: not any(self.lives(pid) for pid in pids), program + " to die")
        return pids

    @staticmethod
    def lives(pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
        except OSError:
            return False

    def tail(self, lines=40):
        with open(self.log_path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def stop(self):
        if self.process is None:
            return
        self.processes()
        self.kill("launcher", signal.SIGTERM)
        end = time.monotonic() + 15
        while self.processes() and time.monotonic() < end:
            self.process.poll()
            time.sleep(0.02)
        # Whoever is left: by pid, of this server only.
        for _ in range(5):
            for pid in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.05)
        self.process.wait()
        self.log_file.close()
        self.process = None

    def remove(self):
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind, value, trace):
        self.stop()
        if kind is not None or self.keep:
            print("logs and mail are kept in " + self.dir, file=sys.stderr)
        else:
            self.remove()

    # ---- mail, as other programs change it ----

    def maildir(self, user, mailbox="INBOX"):
        path = os.path.join(self.users[user][1], "Maildir")
        return path if mailbox == "INBOX" else os.path.join(path, "." + mailbox)

    def own(self, user, path):
        if self.root:
            os.chown(path, self.users[user][0], self.users[user][0])

    def make_maildir(self, user, mailbox="INBOX"):
        path = self.maildir(user, mailbox)
        missing = []
        at = path
        while not os.path.exists(at):
            missing.append(at)
            at = os.path.dirname(at)
        for at in reversed(missing):
            os.mkdir(at, 0o700)
            self.own(user, at)
        for sub in ("tmp", "new", "cur"):
            if not os.path.exists(os.path.join(path, sub)):
                os.mkdir(os.path.join(path, sub), 0o700)
                self.own(user, os.path.join(path, sub))

    delivered = 0

    def deliver(self, user, text=None, mailbox="INBOX", subject=None):
        """As an LDA does: tmp, rename to new. Returns the base name."""
        path = self.maildir(user, mailbox)
        Server.delivered += 1
        now = time.time()
        name = "%d.M%06dP%dQ%d.test" % (now, now % 1 * 1e6, os.getpid(), Server.delivered)
        if text is None:
            text = "From: a@example.org\nSubject: %s\n\nbody %d\n" % (subject or "test",
                                                                   Server.delivered)
        data = text.encode() if isinstance(text, str) else text
        tmp = os.path.join(path, "tmp", name)
        with open(tmp, "wb") as f:
            f.write(data)
        self.own(user, tmp)
        os.rename(tmp, os.path.join(path, "new", name))
        return name

    def files(self, user, mailbox="INBOX"):
        path = self.maildir(user, mailbox)
        return sorted(os.path.join(path, sub, name) for sub in ("new", "cur")
                      for name in os.listdir(os.path.join(path, sub)))


# ---- a client ----

class Wire:
    """What is between a client and its socket: TLS and COMPRESS, or nothing.

    Both are done in memory, so that a test sees what is on the wire, and can
    send a record in pieces.
    """
    FLUSHES = (zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_FULL_FLUSH)

    def __init__(self, sock):
        self.sock = sock
        self.tls = self.deflate = None
        self.pieces = 0.0       # so many of the writes come in two pieces
        self.ended = False      # close_notify came

    def start_tls(self, context, name="localhost", session=None):
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.go, server_hostname=name, session=session)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.pass_out()
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError("the server closed the connection in the handshake")
                self.come.write(data)
        self.pass_out()

    def start_deflate(self, flush=None):
        self.flush = random.choice(self.FLUSHES) if flush is None else flush
        self.deflate = zlib.compressobj(random.randrange(1, 10), zlib.DEFLATED,
                                        -random.randrange(9, 16))
        self.inflate = zlib.decompressobj(-15)

    def pass_out(self):
        data = self.go.read()
        if data:
            self.sock.sendall(data)

    def sendall(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(self.flush)
        if self.tls:
            self.tls.write(data)
            data = self.go.read()
        if self.pieces and len(data) > 1 and random.random() < self.pieces:
            at = random.randrange(1, len(data))
            self.sock.sendall(data[:at])
            time.sleep(random.choice((0, 0.002, 0.01)))
            try:
                self.sock.sendall(data[at:])
            except (BrokenPipeError, ConnectionResetError):
                pass    # the first piece woke the session, to a BYE: it is there to read
            return
        self.sock.sendall(data)

    def recv_tls(self, size):
        while True:
            try:
                data = self.tls.read(size)
                self.pass_out()
                self.ended |= not data
                return data
            except ssl.SSLZeroReturnError:
                self.ended = True
                return b""
            except ssl.SSLWantReadError:
                self.pass_out()
            data = self.sock.recv(65536)
            if not data:
                return b""
            self.come.write(data)

    def recv(self, size):
        while True:
            data = self.recv_tls(size) if self.tls else self.sock.recv(size)
            if self.deflate and data:
                data = self.inflate.decompress(data)
                if not data:
                    continue
            return data


class Client:
    """tls, deflate: None means what the server was made for. TLS is 1.3 or 1.2, by chance."""

    def __init__(self, server, user=None, password="secret", tls=None, deflate=None):
        self.server = server
        self.user = user
        tls = server.tls if tls is None else tls
        self.wants_deflate = server.deflate if deflate is None else deflate
        self.sock = socket.create_connection(
            ("127.0.0.1", server.tls_port if tls else server.port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local_port = self.sock.getsockname()[1]
        self.buffer = b""
        self.tag = 0
        if tls:
            self.wire.start_tls(server.context(random.choice((None, ssl.TLSVersion.TLSv1_2))))
            self.wire.pieces = 0.1
        self.greeting = self.line()
        if user is not None:
            self.ok("LOGIN %s %s" % (user, password))
            if self.wants_deflate:
                self.compress()

    @property
    def wire(self):
        if "_wire" not in self.__dict__:
            self._wire = Wire(self.sock)
        return self._wire

    def compress(self, flush=None):
        self.send("zz COMPRESS DEFLATE\r\n")
        line = self.line()
        if not line.startswith("zz OK"):
            raise Failure("COMPRESS: " + line)
        self.wire.start_deflate(flush)

    def send(self, data):
        self.wire.sendall(data.encode() if isinstance(data, str) else data)

    def _more(self):
        data = self.wire.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self.buffer += data

    def line(self, patience=None):
        """One response line, literals included, without its CRLF."""
        self.sock.settimeout(patience or PATIENCE)
        result = b""
        while True:
            while b"\r\n" not in self.buffer:
                self._more()
            line, self.buffer = self.buffer.split(b"\r\n", 1)
            result += line
            literal = re.search(rb"\{(\d+)\}$", line)
            if not literal:
                return result.decode("utf-8", "surrogateescape")
            size = int(literal.group(1))
            while len(self.buffer) < size:
                self._more()
            result += b"\r\n" + self.buffer[:size]
            self.buffer = self.buffer[size:]

    def quiet(self, seconds):
        """True if nothing comes for so long."""
        if self.buffer:
            return False
        self.sock.settimeout(seconds)
        try:
            self._more()
            return False
        except (socket.timeout, TimeoutError):
            return True
        finally:
            self.sock.settimeout(PATIENCE)

    def command(self, text):
        """(untagged lines, tagged line)"""
        self.tag += 1
        tag = "t%d" % self.tag
        self.send("%s %s\r\n" % (tag, text))
        return self.answer(tag)

    def answer(self, tag):
        untagged = []
        while True:
            line = self.line()
            if line.startswith(tag + " "):
                return untagged, line
            untagged.append(line)

    def ok(self, text):
        untagged, tagged = self.command(text)
        if tagged.split(" ", 2)[1] != "OK":
            raise Failure("%s: %s" % (text, tagged))
        return untagged

    def idle(self):
        self.tag += 1
        self.idle_tag = "t%d" % self.tag
        self.send(self.idle_tag + " IDLE\r\n")
        lines = []
        while True:
            line = self.line()
            if line.startswith("+"):
                return lines
            lines.append(line)

    def done(self):
        self.send("DONE\r\n")
        return self.answer(self.idle_tag)

    def row(self):
        """This session's row of `who`."""
        for row in self.server.who(self.user):
            if str(row.get("remote", "")).endswith(":%d" % self.local_port):
                return row
        return None

    def id(self):
        return self.server.wait(lambda: (self.row() or {}).get("id"), "the session in `who`")

    def asleep(self):
        row = self.row()
        return row is not None and str(row.get("state", "")).startswith("asleep")

    def sleep(self):
        """Have it sleep now. (slept, why not)"""
        _, ok, text = self.server.ctl("sleep", self.id())
        return ok, text

    def must_sleep(self):
        def attempt():
            if self.asleep():
                return True
            ok, self.why = self.sleep()
            return ok
        self.why = ""
        try:
            self.server.wait(attempt, "the session to sleep")
        except Failure:
            raise Failure("the session does not sleep: " + self.why)

    def close(self):
        self.sock.close()
