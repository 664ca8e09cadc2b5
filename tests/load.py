# SPDX-License-Identifier: MIT
"""Thousands of IMAP clients in one single-threaded process, for bench.py.

A process of its own, so that its memory and its pauses are not the server's.
Reads one JSON array [verb, {arguments}] a line on stdin and answers each with
one JSON object on stdout: {"ok": ...} or {"error": "..."}. Clients are
numbered; client i is user `user` % i, with a Maildir at `maildir` % i.

Each client comes from a loopback address of its own (127.1.x.y), as real ones
do. Latencies are taken with nothing else in flight, by blocking reads; what is
done to many at once goes through epoll. A connection that the server ends is
an error, whatever was asked.

Over TLS the handshake and the rest of a record are waited for, which a server on
the same machine does not make long.
"""
import gc
import json
import os
import re
import select
import signal
import socket
import ssl
import sys
import time
import zlib

PATIENCE = 60
# What a phone says before it idles: 30 commands, with SELECT and IDLE.
PHONE = [b'ID ("name" "phone" "version" "1.0" "os" "any" "os-version" "17.1")',
         b"CAPABILITY", b"NAMESPACE", b'LIST "" "*"', b'LSUB "" "*"'] + \
    [b"STATUS %s (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)" % box for box in
     (b"INBOX", b"Drafts", b"Sent", b"Trash", b"Archive", b'"Sent Messages"')] + \
    [b"UID FETCH 1:* (FLAGS)", b"UID SEARCH RETURN (ALL) UNSEEN",
     b"UID FETCH 1:50 (UID FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (DATE FROM TO "
     b"CC SUBJECT MESSAGE-ID REFERENCES IN-REPLY-TO CONTENT-TYPE)])", b"NOOP"] + \
    [command for uid in range(101, 106) for command in
     (b"UID FETCH %d (BODYSTRUCTURE)" % uid, b"UID FETCH %d (BODY.PEEK[1])" % uid)] + \
    [b"UID STORE 101 +FLAGS.SILENT (\\Seen)", b"UID SEARCH SINCE 1-Nov-2025", b"NOOP"]
# Of mailboxes that are not there.
PHONE_MAY_FAIL = {b"STATUS"}


class Trouble(Exception):
    pass


class Client:
    __slots__ = ("number", "sock", "buffer", "exists", "tag", "phase", "want", "at", "idle",
                 "tls", "come", "go", "deflate", "inflate", "asked", "may_fail", "todo")

    def __init__(self, number):
        self.number = number
        self.buffer = b""
        self.exists = 0         # as the server last told
        self.tag = 0
        self.phase = 0          # of logging in
        self.want = None        # what ends the step in flight: bytes or number of messages
        self.at = 0
        self.idle = False
        self.tls = self.deflate = self.inflate = None
        self.asked = self.may_fail = False
        self.todo = []

    def start_tls(self, context, session):
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.go, server_hostname="localhost",
                                    session=session)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(self.go.read())
                # No more than a record: epoll must see what is behind the last one.
                head = self.exactly(5)
                self.come.write(head + self.exactly(int.from_bytes(head[3:], "big")))
        self.sock.sendall(self.go.read())

    def exactly(self, size):
        data = self.sock.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise Trouble("client %d: end in the handshake" % self.number)
        return data

    def start_deflate(self):
        # Small ones: there are thousands.
        self.deflate = zlib.compressobj(6, zlib.DEFLATED, -12, 5)
        self.inflate = zlib.decompressobj(-15)

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        if self.tls:
            self.tls.write(data)
            data = self.go.read()
        self.sock.sendall(data)

    def receive(self):
        """What came, perhaps nothing; None at the end."""
        data = self.sock.recv(65536)
        if not data:
            return None
        if self.tls:
            self.come.write(data)
            data = b""
            try:
                while more := self.tls.read(65536):
                    data += more
            except ssl.SSLWantReadError:
                pass
        return self.inflate.decompress(data) if self.inflate and data else data


class Load:
    def __init__(self, port, user, password, maildir, ca=None, version=None, deflate=False,
                 phone=False, resume=False):
        self.port, self.user, self.password, self.maildir = port, user, password, maildir
        self.deflate, self.phone, self.resume, self.session = deflate, phone, resume, None
        self.context = None
        if ca:
            self.context = ssl.create_default_context(cafile=ca)
            if version:
                self.context.minimum_version = self.context.maximum_version = \
                    {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        self.resumed = 0
        self.clients = {}
        self.epoll = select.epoll()
        self.by_fd = {}
        self.delivered = 0

    # ---- one client ----

    def open(self, number):
        c = Client(number)
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Closed with a reset: nothing stays in TIME_WAIT for the next run.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.bind(("127.1.%d.%d" % (number // 200 % 250, number % 200 + 1), 0))
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", self.port))
        c.sock = s
        if self.context:
            c.start_tls(self.context, self.session)
            self.resumed += c.tls.session_reused
        self.clients[number] = c
        self.by_fd[s.fileno()] = c
        self.epoll.register(s.fileno(), select.EPOLLIN)
        return c

    def lines(self, c):
        """Complete lines of what has arrived; at least one read."""
        data = c.receive()
        if data is None:
            raise Trouble("client %d: the server ended the connection" % c.number)
        parts = (c.buffer + data).split(b"\r\n")
        c.buffer = parts.pop()
        for line in parts:
            if line.endswith(b" EXISTS") and line.startswith(b"* "):
                c.exists = int(line.split()[1])
            elif line.startswith(b"* BYE"):
                raise Trouble("client %d: %s" % (c.number, line.decode("utf-8", "replace")))
        return parts

    def command(self, c, text):
        c.tag += 1
        c.send(b"a%d %s\r\n" % (c.tag, text))
        return b"a%d OK" % c.tag

    def wait(self, c):
        """Blocking, for this client alone, until c.want; the time then."""
        while True:
            parts = self.lines(c)
            now = time.monotonic_ns()
            if self.reached(c, parts):
                return now

    def reached(self, c, parts):
        if isinstance(c.want, int):
            return c.exists >= c.want
        for line in parts:
            if line.startswith(c.want):
                return True
            if c.may_fail and line.startswith(c.want.split(b" ")[0] + b" NO"):
                return True
            if re.match(rb"a\d+ (NO|BAD)", line):
                raise Trouble("client %d: %s" % (c.number, line.decode("utf-8", "replace")))
        return False

    # ---- many at once ----

    def gather(self, pending, arrived):
        """Until each of `pending` has what it wants; arrived(client) may begin
        another step by returning True."""
        end = time.monotonic() + PATIENCE
        while pending:
            events = self.epoll.poll(1.0, 4096)
            if events:
                end = time.monotonic() + PATIENCE
            elif time.monotonic() > end:
                raise Trouble("%d clients waited in vain for %d s, client %d among them" % (
                    len(pending), PATIENCE, next(iter(pending))))
            for fd, _ in events:
                c = self.by_fd[fd]
                parts = self.lines(c)
                if c.number in pending and self.reached(c, parts):
                    c.at = time.monotonic_ns()
                    if not arrived(c):
                        pending.discard(c.number)

    def log_in_further(self, c):
        if c.deflate is None and self.deflate and c.phase == 1 and c.asked:
            c.start_deflate()
        if c.todo:
            text = c.todo.pop(0)
            c.may_fail = text.split()[0] in PHONE_MAY_FAIL
            c.want = self.command(c, text)
            return True
        c.may_fail = False
        c.phase += 1
        if c.phase == 1:
            c.want = self.command(c, b"LOGIN %s %s" % ((self.user % c.number).encode(),
                                                        self.password.encode()))
            # Tickets have come by now.
            if self.resume and not self.session:
                self.session = c.tls.session
        elif c.phase == 2 and self.deflate and not c.deflate:
            c.phase, c.asked = 1, True
            c.want = self.command(c, b"COMPRESS DEFLATE")
        elif c.phase == 2:
            c.want = self.command(c, b"SELECT INBOX")
            c.todo = PHONE[:] if self.phone else []
        elif c.phase == 3 and self.idling:
            self.command(c, b"IDLE")
            c.want = b"+"
            c.idle = True
        else:
            return False
        return True

    def connect(self, first, count, at_once=16, idle=True):
        """Log in, select, and (idle) IDLE."""
        self.idling = idle
        start = time.monotonic()
        left = list(range(first + count - 1, first - 1, -1))
        flying = set()

        def begin():
            if left:
                c = self.open(left.pop())
                c.want = b"* OK"
                flying.add(c.number)

        def arrived(c):
            if self.log_in_further(c):
                return True
            flying.discard(c.number)
            begin()
            return False

        for _ in range(at_once):
            begin()
        self.gather(flying, arrived)
        return {"seconds": time.monotonic() - start}

    def storm(self, first, count, start_one, stop_at=None):
        """start_one(client) for each at once; when each was served, and how far
        out of turn."""
        clients = [self.clients[i] for i in range(first, first + count)]
        gc.collect()
        begun = time.monotonic_ns()
        started = {}
        for c in clients:
            started[c.number] = time.monotonic_ns()
            start_one(c)
        all_started = time.monotonic_ns()
        self.gather({c.number for c in clients}, lambda c: False)
        order = sorted(clients, key=lambda c: c.at)
        out_of_turn = [abs(rank - (c.number - first)) for rank, c in enumerate(order)]
        return {"seconds": (order[-1].at - begun) / 1e9,
                "start_seconds": (all_started - begun) / 1e9,
                "ms": [(c.at - started[c.number]) / 1e6 for c in clients],
                "out_of_turn": sorted(out_of_turn)}

    def storm_done(self, first, count):
        def start(c):
            c.want = b"a%d OK" % c.tag
            c.idle = False
            c.send(b"DONE\r\n")
        return self.storm(first, count, start)

    def storm_mail(self, first, count):
        files = {i: self.prepare(i) for i in range(first, first + count)}

        def start(c):
            c.want = c.exists + 1
            os.rename(*files[c.number])
        return self.storm(first, count, start)

    def idle(self, first, count):
        """IDLE again, for those who are not in it."""
        clients = [c for c in (self.clients[i] for i in range(first, first + count))
                   if not c.idle]
        for c in clients:
            self.command(c, b"IDLE")
            c.want = b"+"
            c.idle = True
        self.gather({c.number for c in clients}, lambda c: False)
        return {}

    # ---- one after the other ----

    def done(self, first, count, pause_ms=0, idle=True):
        """DONE -> tagged OK, milliseconds, one client after the other."""
        took = []
        for i in range(first, first + count):
            c = self.clients[i]
            c.want = b"a%d OK" % c.tag
            began = time.monotonic_ns()
            c.send(b"DONE\r\n")
            took.append((self.wait(c) - began) / 1e6)
            c.idle = False
            if idle:
                self.command(c, b"IDLE")
                c.want = b"+"
                self.wait(c)
                c.idle = True
            time.sleep(pause_ms / 1e3)
        return {"ms": took}

    def login(self, first, count, noops=0, pause_ms=0):
        """One connection after the other: LOGIN -> tagged OK, then `noops` NOOPs;
        milliseconds of both, and of connecting up to the greeting."""
        took, noop, greeted = [], [], []
        for i in range(first, first + count):
            began = time.monotonic_ns()
            c = self.open(i)
            c.want = b"* OK"
            greeted.append((self.wait(c) - began) / 1e6)
            if self.resume and not self.session:
                self.session = c.tls.session
            began = time.monotonic_ns()
            c.want = self.command(c, b"LOGIN %s %s" % ((self.user % i).encode(),
                                                        self.password.encode()))
            took.append((self.wait(c) - began) / 1e6)
            for _ in range(noops):
                time.sleep(pause_ms / 1e3)
                began = time.monotonic_ns()
                c.want = self.command(c, b"NOOP")
                noop.append((self.wait(c) - began) / 1e6)
            self.close(i, 1)
        return {"login": took, "noop": noop, "greeting": greeted, "resumed": self.resumed}

    def prepare(self, number):
        """A message in tmp/; (its path, where it has to go)."""
        self.delivered += 1
        box = self.maildir % number
        name = "%d.M%dP%dQ%d.bench" % (time.time(), time.time() % 1 * 1e6, os.getpid(),
                                       self.delivered)
        tmp = os.path.join(box, "tmp", name)
        with open(tmp, "w") as f:
            f.write("From: bench@example.org\nTo: you@example.org\nSubject: number %d\n"
                    "Message-ID: <%s@example.org>\n\nhello\n" % (self.delivered, name))
        if os.geteuid() == 0:
            st = os.stat(box)
            os.chown(tmp, st.st_uid, st.st_gid)
        return tmp, os.path.join(box, "new", name)

    def exists(self, first, count, pause_ms=0):
        """rename into new/ -> EXISTS, milliseconds, one client after the other."""
        took = []
        for i in range(first, first + count):
            c = self.clients[i]
            tmp, new = self.prepare(i)
            c.want = c.exists + 1
            began = time.monotonic_ns()
            os.rename(tmp, new)
            took.append((self.wait(c) - began) / 1e6)
            time.sleep(pause_ms / 1e3)
        return {"ms": took}

    def kill_done(self, pid, client):
        """kill -9 of a process and DONE at once: until the tagged OK."""
        c = self.clients[client]
        c.want = b"a%d OK" % c.tag
        began = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        c.send(b"DONE\r\n")
        took = (self.wait(c) - began) / 1e6
        self.command(c, b"IDLE")
        c.want = b"+"
        self.wait(c)
        return {"ms": took}

    def alive(self, first, count):
        """Clients whose connection has not ended (nothing is sent)."""
        ended = 0
        for i in range(first, first + count):
            sock = self.clients[i].sock
            sock.settimeout(0)      # with another one Python waits whatever the flags say
            try:
                ended += sock.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                pass
            except OSError:
                ended += 1
            sock.settimeout(PATIENCE)
        return {"alive": count - ended}

    def close(self, first, count):
        for i in range(first, first + count):
            c = self.clients.pop(i)
            self.epoll.unregister(c.sock.fileno())
            del self.by_fd[c.sock.fileno()]
            c.sock.close()
        return {}


VERBS = {"login", "connect", "storm_done", "storm_mail", "idle", "done", "exists", "kill_done", "alive",
         "close"}


def main():
    gc.disable()        # no pause of ours in a latency
    load = None
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            if verb == "begin":
                load = Load(**arguments)
                answer = {}
            elif verb in VERBS:
                answer = getattr(load, verb)(**arguments)
            else:
                raise Trouble("no such verb: " + verb)
            reply = {"ok": answer}
        except (Trouble, OSError) as e:
            reply = {"error": "%s: %s: %s" % (verb, type(e).__name__, e)}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
        gc.collect()


if __name__ == "__main__":
    main()
