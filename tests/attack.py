#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server under attack: attack.py [-v] [SCENARIO...]

Three attackers: a client that keeps to no rule; another local user's process
that talks to the holder; and a holder or imap process that is no longer ours
(its descriptors taken, its system calls made by ptrace). What is asked each
time: nobody else notices, nothing leaks, nobody gets what is not his.

The second and third need root (a user of its own for each program), and x86-64
for ptrace; run by an ordinary user those scenarios are left out, and named.
"""
import array
import ctypes
import errno
import fcntl
import os
import pickle
import platform
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import traceback
import zlib

from dm import Client, Failure, Server, pack, unpack

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
rng = random.Random(SEED)
ROOT = os.geteuid() == 0
X86 = platform.machine() == "x86_64"
HELLO, WATCH, WATCHED, CHANGED, NOTICE, SLEEP, KEPT, REFUSED, HAVE, HAVE_NOT, TAKEN, \
    WAKE_FAILED, DO, DONE_DO, DUMPED = range(40, 55)
SO_COOKIE = 57


def check(good, what):
    if not good:
        raise Failure(what)


# ---- the attacker's tools ----

def as_uid(uid, fn, *args):
    """fn's result, from a child that is that user and nobody else."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(r)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with os.fdopen(w, "wb") as f:
                try:
                    f.write(pickle.dumps((True, fn(*args))))
                except BaseException:
                    f.write(pickle.dumps((False, traceback.format_exc())))
            code = 0
        finally:
            os._exit(code)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        data = f.read()
    os.waitpid(pid, 0)
    good, value = pickle.loads(data)
    if not good:
        raise Failure("in the child:\n" + value)
    return value


class Ipc:
    """A connection to the holder, as any local process can have one."""

    def __init__(self, server, name="holder"):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        self.sock.connect(os.path.join(server.base, name))

    def raw(self, data, fds=()):
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        return self.sock.sendmsg([data], anc)

    def send(self, *fields, fds=()):
        return self.raw(pack(list(fields)), fds)

    def recv(self):
        """One message, or None at the end."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            return None
        return unpack(data)[0] if data else None

    def ended(self):
        try:
            while self.recv() is not None:
                pass
        except (socket.timeout, TimeoutError):
            return False
        return True

    def close(self):
        self.sock.close()


def try_send(ipc, *fields, fds=()):
    """False: the other side has hung up."""
    try:
        ipc.send(*fields, fds=fds)
        return True
    except (BrokenPipeError, ConnectionResetError):
        return False


libc = ctypes.CDLL(None, use_errno=True)


def fd_of(pid, number):
    """A duplicate of another process's descriptor (pidfd_getfd)."""
    pidfd = os.pidfd_open(pid)
    try:
        fd = libc.syscall(438, pidfd, number, 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return fd
    finally:
        os.close(pidfd)


def fds(pid):
    found = {}
    for n in os.listdir("/proc/%d/fd" % pid):
        try:
            found[int(n)] = os.readlink("/proc/%d/fd/%s" % (pid, n))
        except FileNotFoundError:
            pass            # closed since it was listed
    return found


def fd_count(pid):
    if not ROOT:
        return 0        # not dumpable: root's to see
    return len(os.listdir("/proc/%d/fd" % pid))


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def processes_of(server, user):
    """Awake sessions' processes, by the name that they give themselves."""
    found = []
    for pid in server.pids("imap"):
        try:
            with open("/proc/%d/comm" % pid) as f:
                if f.read().strip() == "imap:" + user:
                    found.append(pid)
        except OSError:
            pass
    return found


def holder_socket(server, client):
    """The server's end of a sleeping client, out of the holder."""
    pid = server.pids("imap-hibernate")[0]
    for number, what in fds(pid).items():
        if not what.startswith("socket:"):
            continue
        try:
            fd = fd_of(pid, number)
        except OSError:
            continue        # an earlier session's, closed since it was listed
        with socket.socket(fileno=fd) as s:
            try:
                if s.family == socket.AF_INET and s.getpeername()[1] == client.local_port:
                    return os.dup(fd)
            except OSError:
                pass
    raise Failure("the holder has no such socket")


def cookie_of(fd):
    with socket.socket(fileno=os.dup(fd)) as s:
        return struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]


class Calm:
    """At the end all is as it was: same processes, same descriptors, no crash."""
    PROGRAMS = ("imap-hibernate", "keeper", "auth", "imap-login", "master", "launcher")

    def __init__(self, server):
        self.server = server
        self.log_at = os.path.getsize(server.log_path)

    def __enter__(self):
        # Whoever said LOGOUT just now is still on his way out.
        self.server.wait(lambda: self.server.ctl("holder")[0][0]["awake"] == "0",
                         "the earlier sessions to end")
        self.server.wait(lambda: len({str(self.look()) for _ in range(3)}) == 1, "rest")
        self.before = self.look()
        return self

    def look(self):
        ps = self.server.processes()
        return {pid: (name, fd_count(pid)) for pid, name in ps.items()
                if name in self.PROGRAMS}

    def as_before(self):
        """The same processes, none with more descriptors. With fewer: something
        of before had not come to rest."""
        now = self.look()
        return now.keys() == self.before.keys() and \
            all(now[p][1] <= self.before[p][1] for p in now)

    def __exit__(self, kind, value, trace):
        if kind is None:
            try:
                self.server.wait(self.as_before, "", 15)
            except Failure:
                raise Failure("processes and descriptors were %r, are %r" %
                              (self.before, self.look()))
            with open(self.server.log_path, "rb") as f:
                f.seek(self.log_at)
                text = f.read()
            bad = re.search(rb"(?m)^.*(Sanitizer|runtime error|ended by a signal|refused "
                            rb"syscall|assert|backtrace).*$", text)
            check(not bad, "in the log: %r" % (bad and bad.group(0)))
        return False


def served(server, user="anna"):
    """An honest client gets what it wants, asleep and awake."""
    c = Client(server, user)
    c.ok("SELECT INBOX")
    c.idle()
    c.must_sleep()
    _, tagged = c.done()
    check(" OK" in tagged, tagged)
    c.ok("LOGOUT")
    c.close()


# ---- a hostile client, before login ----

def connect(server):
    s = socket.create_connection(("127.0.0.1", server.port), 30)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def until_end(s, limit=1 << 24):
    """Everything the server says until it hangs up."""
    data = b""
    s.settimeout(30)
    try:
        while len(data) < limit:
            more = s.recv(65536)
            if not more:
                break
            data += more
    except ConnectionResetError:
        pass
    return data


def bursts_before_login(server):
    """Each ends by itself, or by our half-close, with a word of the server."""
    inputs = [
        b"",
        b"\0" * 70000,
        b"a" * 200000,
        b"a LOGIN {99999999999999999999}\r\n",
        b"a LOGIN {4294967296+}\r\n" + b"x" * 5000,
        b"a LOGIN {-1}\r\n",
        b"a LOGIN {4097}\r\n",
        b"a LOGIN {4+}\r\nanna {4096+}\r\n" + b"p" * 5000 + b"\r\n",
        b"a LOGIN " + b"{1+}\r\nx " * 3000 + b"\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + b"=" * 70000,
        b"a AUTHENTICATE PLAIN " + b"AGFubmEAc2VjcmV0" * 4000 + b"\r\n",
        b"a AUTHENTICATE PLAIN AAAA\r\n*\r\n",
        b"a AUTHENTICATE X\r\n" * 100,
        b"a LOGIN " + b"(" * 60000 + b"\r\n",
        b"a " * 40000 + b"\r\n",
        b"a NOOP\r\n" * 5000,
        b"* BAD\r\n" * 3000,
        b"\r\n" * 30000,
        b"\xff\xfe\x80" * 9000 + b"\r\n",
        b'a LOGIN "anna\0" "secret"\r\n',
        b'a LOGIN "an\\"na" "se\\xcret"\r\n',
        b"a ID (" + b'"k" "v" ' * 5000 + b")\r\n",
    ]
    for data in inputs:
        s = connect(server)
        try:
            s.settimeout(30)
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass        # it has hung up already
        said = until_end(s)
        check(len(said) < (1 << 21), "an answer of %d bytes to %r" % (len(said), data[:40]))
        check(b"Logged in" not in said, "logged in by %r" % data[:60])
        s.close()


def dribble(server):
    """Byte by byte, a whole session is the same as in one piece."""
    s = connect(server)
    for byte in b'a LOGIN {4}\r\nanna {6}\r\nsecret\r\nb SELECT INBOX\r\nc IDLE\r\nDONE\r\nd LOGOUT\r\n':
        s.sendall(bytes([byte]))
    said = until_end(s)
    for tag in (b"a OK", b"b OK", b"c OK", b"d OK"):
        check(tag in said, "no %r in %r" % (tag, said))
    s.close()


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def reset_at_every_moment(server):
    steps = [b"a LOGIN anna sec", b"ret\r\n", b"b SELECT INBOX\r\n", b"c FETCH 1:* BODY[]\r\n",
             b"d IDLE\r\n", b"DO", b"NE\r\n", b"e APPEND INBOX {100000+}\r\nxxxx",
             b"y" * 5000]
    for n in range(len(steps) + 1):
        for wait in (False, True):
            s = connect(server)
            for step in steps[:n]:
                s.sendall(step)
                if wait:
                    s.settimeout(0.03)
                    try:
                        s.recv(65536)
                    except (socket.timeout, TimeoutError):
                        pass
            reset(s)


def half_close_is_served(server):
    """What was asked before a half-close is answered, then comes the end."""
    s = connect(server)
    s.sendall(b"a LOGIN anna secret\r\nb SELECT INBOX\r\n" + b"n NOOP\r\n" * 200 +
              b"c STATUS INBOX (MESSAGES)\r\n")
    s.shutdown(socket.SHUT_WR)
    said = until_end(s)
    check(b"c OK" in said and said.count(b"n OK") == 200, "answers: %r" % said[-200:])
    s.close()


def log_injection(server):
    """Whatever a client calls himself, a line of the log stays one line."""
    name = "x\r\n2026-01-01T00:00:00.000Z auth: login user=root\x1b[31m\x07\x7f"
    s = connect(server)
    data = name.encode()
    s.sendall(b"a LOGIN {%d+}\r\n" % len(data) + data + b" {3+}\r\nabc\r\n" +
              b"b LOGOUT\r\n")
    until_end(s)
    s.close()
    c = Client(server, "anna")
    c.command('CREATE "evil\x1b[31m"')
    data = b"evil \xe2\x80\xae\x1b]0;x\x07"
    c.send(b"q SELECT {%d+}\r\n" % len(data) + data + b"\r\n")
    c.answer("q")
    c.ok("LOGOUT")
    with open(server.log_path, "rb") as f:
        text = f.read()
    check(b"login user=root" not in [l[26:41] for l in text.split(b"\n")], "a forged line")
    check(not re.search(rb"(?m)^2026-01-01T00:00:00.000Z", text), "a forged line")
    check(not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text), "control characters in the log")
    check(b"secret" not in text, "a password in the log")


def many_connections(server):
    """More connections than there are places, all silent: others still log in."""
    crowd = []
    for _ in range(1500):
        try:
            s = socket.create_connection(("127.0.0.1", server.port), 10)
        except OSError:
            break
        crowd.append(s)
    check(len(crowd) > 1000, "only %d connections" % len(crowd))
    served(server)
    for s in crowd:
        s.close()


# ---- a hostile client, after login ----

def bursts_after_login(server):
    """What makes no sense is refused, and the session goes on or says BYE."""
    c = Client(server, "anna")
    c.ok("SELECT INBOX")
    c.close()
    uidset = ",".join(str(2 * n + 1) for n in range(5000))
    commands = [
        "FETCH 0 FLAGS", "FETCH 4294967296 FLAGS", "FETCH -1 FLAGS", "FETCH *:* FLAGS",
        "FETCH 1:4294967295 FLAGS", "UID FETCH 1:4294967295 FLAGS",
        "FETCH %s FLAGS" % uidset, "UID FETCH %s (FLAGS UID)" % uidset,
        "FETCH " + "1:*," * 8000 + "1 FLAGS",
        "UID FETCH 1:* " + "(" * 100 + "FLAGS" + ")" * 100,
        "FETCH 1:* (" + "BODY.PEEK[] " * 500 + ")",
        "FETCH 1:* BODY[" + "1." * 2000 + "MIME]",
        "FETCH 1:* BODY[4294967295.4294967296]",
        "FETCH 1:* BODY[]<4294967295.4294967295>", "FETCH 1:* BODY[]<0.0>",
        "FETCH 1:* BODY[]<-1.5>", "FETCH 1:* BODY[]<99999999999999999999.1>",
        "FETCH 1:* BODY[HEADER.FIELDS (" + "X-A " * 5000 + ")]",
        "FETCH 1:* BODY[HEADER.FIELDS ()]", "FETCH 1:* BODY[TEXT",
        "SEARCH " + "NOT " * 8000 + "ALL", "SEARCH " + "OR " * 8000 + "ALL ALL",
        "SEARCH " + "(" * 30 + "ALL" + ")" * 30, "SEARCH " + "(" * 30000,
        "SEARCH " + "TEXT a " * 5000, "SEARCH CHARSET X-NONE TEXT a",
        "SEARCH BEFORE 99-Xxx-99999", "SEARCH LARGER 99999999999999999999999",
        "SEARCH MODSEQ 99999999999999999999", "UID SEARCH UID 1:*,*:1,%s" % uidset,
        "STORE 1:* +FLAGS (%s)" % " ".join("k%d" % n for n in range(3000)),
        "STORE 1:* FLAGS (" + "\\Seen " * 8000 + ")",
        "STORE 1 +FLAGS (%s)" % ("k" * 60000), "STORE 1 +FLAGS (\\Recent \\Foo)",
        "STORE 1:* (UNCHANGEDSINCE 99999999999999999999) FLAGS ()",
        "SELECT INBOX (QRESYNC (1 1 1:* (1:* 1:*)))",
        "SELECT INBOX (QRESYNC (99999999999 1))",
        "ENABLE " + "QRESYNC " * 5000,
        "LIST \"\" " + "%" * 3000, "LIST \"\" " + "*%" * 3000, "LIST \"*\" \"*\"",
        'LIST "" "' + "*a" * 500 + '"',
        "STATUS INBOX (" + "MESSAGES " * 8000 + ")", "STATUS INBOX ()",
        "APPEND INBOX {0+}\r\n", "APPEND INBOX (\\Seen \"",
        "APPEND INBOX \"99-Foo-2026 99:99:99 +9999\" {1+}\r\nx",
        "APPEND nosuch {5+}\r\nhello", "APPEND INBOX {18446744073709551616}",
        "APPEND INBOX {-5}", "APPEND INBOX {9223372036854775807}",
        "X" * 60000, "UID", "UID UID FETCH 1 FLAGS", "UID LOGOUT", "\0", "\x80\xff",
        "IDLE x", "LOGIN anna secret", "AUTHENTICATE PLAIN",
        "ID (" + '"k" "v" ' * 6000 + ")", "ID (" + "NIL " * 3001 + ")",
    ]
    c = Client(server, "anna")
    c.ok("SELECT INBOX")
    for text in commands:
        try:
            if c is None:
                c = Client(server, "anna")
                c.ok("SELECT INBOX")
            c.tag += 1
            c.send(("t%d " % c.tag).encode() + text.encode("latin-1") + b"\r\n")
            # A second one behind it must be answered, whatever the first was.
            c.send("z%d NOOP\r\n" % c.tag)
            while True:
                line = c.line()
                if line.startswith("z%d OK" % c.tag):
                    break
                if line.startswith("+ "):       # a literal it waits for: not given
                    reset(c.sock)
                    c = None
                    break
                check(not line.startswith("* BYE Internal"), line)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            c = None
        except (socket.timeout, TimeoutError):
            raise Failure("no answer to %r" % text[:80])
        except Failure as e:
            raise Failure("%r: %s" % (text[:80], e))
    if c:
        c.close()
    served(server)


def nothing_but_blocks(server):
    """COMPRESS: what never becomes text would keep the process from everything else."""
    c = Client(server, "anna")
    c.compress(zlib.Z_SYNC_FLUSH)       # which ends with a whole byte
    c.ok("NOOP")
    empty = b"\x00\x00\x00\xff\xff" * 4000
    sent = 0
    try:
        while sent < 1 << 24:
            c.sock.sendall(empty)
            sent += len(empty)
        raise Failure("%d bytes of empty blocks were taken" % sent)
    except (BrokenPipeError, ConnectionResetError):
        pass
    c.close()
    server.wait(lambda: not processes_of(server, "anna"), "the session to end")
    # A few, now and then, are a client that flushes.
    c = Client(server, "anna")
    c.compress(zlib.Z_SYNC_FLUSH)       # which ends with a whole byte
    for _ in range(8):
        for _ in range(3000):
            c.sock.sendall(b"\x00\x00\x00\xff\xff")
        c.ok("NOOP")
    c.must_sleep()
    c.ok("LOGOUT")
    c.close()


def kicked_in_mid_command(server):
    """Who is kicked is gone, whatever the session is in the middle of, and though the
    client never lets it wait in vain."""
    server.deliver("bob", "Subject: x\n\n" + "y\n" * 4000000)

    def drip(c):
        c.sock.send(b"x")

    def read(size):
        return lambda c: c.sock.recv(size)

    def stream(c):
        c.sock.send(b"x" * 65536)
    for begin, go_on in (("APPEND INBOX {100000000+}\r\nx", drip),
                         ("APPEND INBOX {100000000+}\r\nx", stream),
                         ("APPEND INBOX {1000000+}\r\nx", None),
                         ("FETCH 1:* " + "(%s)" % " ".join(["BODY.PEEK[]"] * 100), None),
                         ("FETCH 1:* BODY.PEEK[]", read(1000)),
                         ("FETCH 1:* " + "(%s)" % " ".join(["BODY.PEEK[]"] * 100), read(1 << 20)),
                         ("SEARCH TEXT {10000+}\r\n", drip), ("FETCH", drip)):
        server.wait(lambda: not processes_of(server, "bob"), "bob's last session to end")
        c = Client(server, "bob", tls=False, deflate=False)
        c.ok("SELECT INBOX")
        sid = c.id()
        c.send("a " + begin + ("" if "{" in begin or begin == "FETCH" else "\r\n"))
        end = time.monotonic() + 20
        kicked = False
        while processes_of(server, "bob"):
            check(time.monotonic() < end, "%s: not gone" % begin[:40])
            try:
                for _ in range(10):
                    if go_on:
                        go_on(c)
            except OSError:
                pass
            if not kicked:
                kicked = server.ctl("kick", sid)[1]
        check(kicked, "it was not kicked")
        c.close()
    c = Client(server, "bob", tls=False, deflate=False)
    c.ok("SELECT INBOX")
    c.ok("STORE * +FLAGS (\\Deleted)")
    c.ok("EXPUNGE")
    c.ok("LOGOUT")
    c.close()


def records_byte_by_byte(_):
    """TLS: a byte that wakes a session and says nothing keeps it awake for a while,
    or each byte of a record would be a wake."""
    with Server("attack-tls", users=("anna",), tls=True) as server:
        server.make_maildir("anna")

        def wakes():
            with open(server.log_path) as f:
                return len(re.findall(r"(?m)^\S+ imap: wake id=", f.read()))
        c = Client(server, "anna", tls=True)
        c.ok("SELECT INBOX")
        c.idle()
        c.must_sleep()
        c.wire.tls.write(b"DONE\r\n")
        record = c.wire.go.read()
        before = wakes()
        c.sock.sendall(record[:1])
        server.wait(lambda: wakes() == before + 1, "the first byte to wake it")
        for byte in record[1:-1]:
            c.sock.sendall(bytes([byte]))
            time.sleep(0.01)
        check(not c.asleep(), "it sleeps in mid-record at once")
        check(wakes() == before + 1, "%d wakes" % (wakes() - before))
        c.must_sleep()          # though it can
        c.sock.sendall(record[-1:])
        _, tagged = c.answer(c.idle_tag)
        check(" OK" in tagged, tagged)
        c.ok("LOGOUT")
        c.close()


def many_field_names(server):
    """As many as go into a line, against as many as go into a header: neither
    memory nor time is their product."""
    server.deliver("anna", "a:\n" * 1000000 + "Q: yes\n\nx\n")
    c = Client(server, "anna", tls=False, deflate=False)
    c.ok("SELECT INBOX")
    uid = c.ok("UID SEARCH *")[0].split()[-1]
    for section in ("HEADER.FIELDS", "HEADER.FIELDS.NOT"):
        names = " ".join(chr(98 + n % 25) for n in range(32000)) if section[-1] == "S" else \
            " ".join("x%d" % n for n in range(8000)) + ' "a" A'
        (pid,) = processes_of(server, "anna")
        untagged = c.ok("UID FETCH %s BODY.PEEK[%s (%s)]" % (uid, section, names))
        check("Q: yes\r\n\r\n" in untagged[0], "%s: %r" % (section, untagged[0][-80:]))
        check(len(untagged[0]) < 200000, "%s: %d bytes" % (section, len(untagged[0])))
        check(rss_kb(pid) < 300000, "%s took %d kB" % (section, rss_kb(pid)))
    c.ok("UID STORE %s +FLAGS (\\Deleted)" % uid)
    c.ok("UID EXPUNGE %s" % uid)
    c.ok("LOGOUT")
    c.close()


def mailbox_names(server):
    """No name leaves the user's mail directory, whatever it is made of."""
    server.make_maildir("bob", "secret")
    server.deliver("bob", mailbox="secret", subject="bobs own")
    c = Client(server, "anna")
    home = server.users["anna"][1]
    names = [
        "../bob/Maildir/.secret", "..", ".", "...", "../../../etc", "/etc/passwd", "a/../../b",
        ".secret", "&AC8-etc", "&AC4ALg-", "&AC4ALgAv-bob", "&AAA-", "a&AAA-b", "&AC", "&", "&-&-&",
        "&2AA-", "&3AA-", "&AGE-", "&,,,,-", "INBOX/../../bob", "INBOX.", ".INBOX", "a..b", "a//b", "a/",
        "/a", "~bob/Maildir", "~", "#news", "%", "*", "a*b", "\\", "new", "cur", "tmp",
        ".dormouse", "dormouse-uidlist", "dormouse-uidlist.lock", "a" * 300, "a/" * 400 + "a",
        "x" * 1030, "\x01\x02", "\r\n", " ", "", "a\nb", "\xff\xfe", "\xc3\x28",
    ]
    for name in names:
        data = name.encode("latin-1")
        for verb in (b"SELECT %s", b"CREATE %s", b"STATUS %s (MESSAGES)", b"DELETE %s",
                     b"RENAME INBOX %s", b"RENAME %s zz", b"LIST \"\" %s", b"LIST %s %%",
                     b"APPEND %s {3+}\r\nabc"):
            c.tag += 1
            tag = "t%d" % c.tag
            literal = b"{%d+}\r\n" % len(data) + data
            c.send(tag.encode() + b" " + verb.replace(b"%s", literal).replace(b"%%", b"%") + b"\r\n")
            lines, tagged = c.answer(tag)
            text = "\n".join(lines) + tagged
            check("bobs" not in text and "root:" not in text, "%r: %s" % (name, text))
    c.ok("LOGOUT")
    for top, dirs, files in os.walk(os.path.join(server.dir, "home", "bob")):
        for each in dirs + files:
            st = os.lstat(os.path.join(top, each))
            check(st.st_uid != server.users["anna"][0] or not ROOT, "anna's file at bob's")
    check(sorted(os.listdir(home)) == ["Maildir"], "files beside the mail: %r" % os.listdir(home))
    check(len(server.files("bob", "secret")) == 1, "bob's mail changed")
    for each in os.listdir(os.path.join(home, "Maildir")):
        check("\n" not in each and "\r" not in each, "a name with a line end: %r" % each)


def symlinks_in_the_maildir(server):
    """A link that the user (or who was he) planted leads nowhere else."""
    if not ROOT:
        return
    server.make_maildir("anna")
    m = server.maildir("anna")
    bob = server.maildir("bob")
    server.make_maildir("bob")
    server.deliver("bob", "Subject: bobs own\n\nx\n")
    links = {".evil": bob, ".etc": "/etc", "cur/1.1.x:2,": "/etc/shadow",
             "new/1.2.x": server.passwd, ".dormouse-x": "/"}
    os.chmod(server.passwd, 0o644)
    for name, to in links.items():
        os.symlink(to, os.path.join(m, name))
    c = Client(server, "anna")
    for text in ("LIST \"\" *", "SELECT evil", "SELECT etc", "SELECT INBOX",
                 "FETCH 1:* BODY.PEEK[]", "STATUS evil (MESSAGES)", "DELETE evil",
                 "RENAME evil good", "STORE 1:* +FLAGS (\\Deleted)"):
        try:
            lines, tagged = c.command(text)
        except (EOFError, ConnectionResetError):
            c = Client(server, "anna")
            continue
        all_text = "\n".join(lines)
        check("bobs own" not in all_text and "{PLAIN}" not in all_text and
              "root:" not in all_text, "%s: %s" % (text, all_text[:300]))
    c.close()
    for name in links:
        if os.path.islink(os.path.join(m, name)):
            os.unlink(os.path.join(m, name))
    for top in (m,):
        for sub in ("cur", "new"):
            for name in os.listdir(os.path.join(top, sub)):
                if os.path.islink(os.path.join(top, sub, name)):
                    os.unlink(os.path.join(top, sub, name))
    check(len(os.listdir(os.path.join(bob, "new"))) >= 1, "bob's mail is gone")


def pipeline(server):
    """Thousands of commands in one go: each answered, in order."""
    c = Client(server, "anna")
    n = 5000
    c.send(b"".join(b"p%d NOOP\r\n" % i for i in range(n)))
    for i in range(n):
        _, tagged = c.answer("p%d" % i)
        check(tagged.startswith("p%d OK" % i), tagged)
    c.ok("LOGOUT")


def idle_garbage(server):
    """Anything but DONE: one BAD, and it is not run as a command."""
    for data in (b"GARBAGE\r\n", b"x DELETE INBOX\r\n", b"\r\n", b"DONE DONE\r\n", b"\0\r\n",
                 b"D" * 70000 + b"\r\n", b"DONE" + b" " * 100000 + b"\r\n"):
        for asleep in (False, True):
            c = Client(server, "anna")
            c.ok("SELECT INBOX")
            c.idle()
            if asleep:
                c.must_sleep()
            try:
                c.send(data)
                c.send(b"y NOOP\r\n")
                lines, tagged = c.answer("y")
                bad = [l for l in lines if " BAD" in l]
                check(len(bad) == 1, "%r: %r %r" % (data[:20], lines[:5], tagged))
                check(" OK" in tagged, "%r: %r" % (data[:20], tagged))
            except (EOFError, ConnectionResetError, BrokenPipeError):
                check(len(data) > 60000, "hung up on %r" % data[:20])
            c.close()


def never_reading(server):
    """Who does not read is waited for with bounded memory, then let go."""
    for _ in range(4):
        server.deliver("carl", b"Subject: big\n\n" + b"x" * 76 * 1000 + b"\n")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", server.port))
    s.sendall(b"a LOGIN carl secret\r\nb SELECT INBOX\r\n")
    s.settimeout(30)
    while b"b OK" not in s.recv(65536):
        pass
    pid = server.wait(lambda: processes_of(server, "carl"), "carl's process")[0]
    s.setblocking(False)
    command = b"f FETCH 1:* (BODY.PEEK[] BODY.PEEK[])\r\n" * 50
    sent = 0
    peak = 0
    for _ in range(300):
        try:
            sent += s.send(command)
        except (BlockingIOError, ConnectionResetError, BrokenPipeError):
            break
        try:
            peak = max(peak, rss_kb(pid))
        except OSError:
            break
    first = None
    def gone():
        nonlocal first, peak
        try:
            now = rss_kb(pid)
        except (OSError, AttributeError):
            return True
        first = first or now
        peak = max(peak, now)
        return False
    server.wait(gone, "the session of a client that does not read to end")
    check(first is None or peak < first + 32 * 1024, "grew from %s to %s kB" % (first, peak))
    s.close()
    served(server)


# ---- another user's process at the holder ----

def hello(sid, cookie, user="bob"):
    return (HELLO, sid, cookie, user, "10.0.0.1:1", 1, "INBOX", False)


def sleep_fields(sid, cookie, user="bob", ticket=b"T" * 90, state=b"S" * 100, written=0,
                 consumed=0, flags=0, keepalives=()):
    return (SLEEP, sid, cookie, 1, flags, written, consumed, [len(k) for k in keepalives],
            b"".join(keepalives), user, "10.0.0.1:1", 1, "INBOX", ticket, state)


def somebody_elses_session(server):
    """Session id and cookie of a sleeper are of no use to another user."""
    c = Client(server, "anna")
    c.ok("SELECT INBOX")
    c.idle()
    c.must_sleep()
    sid = int(c.id(), 16)
    fd = holder_socket(server, c)
    cookie = cookie_of(fd)
    os.close(fd)

    def attack():
        results = []
        pair = socket.socketpair()
        for message, with_fd in [
                (hello(sid, cookie), False), (hello(sid, cookie, "anna"), False),
                ((HAVE, sid, cookie, 0, 0), False), ((TAKEN, sid, cookie), False),
                ((WAKE_FAILED, sid, cookie, "x", True), False),
                ((DUMPED, sid, cookie, "x"), False),
                (sleep_fields(sid, cookie), True), (sleep_fields(sid, cookie, "anna"), True)]:
            ipc = Ipc(server)
            ipc.send(*message, fds=[pair[0].fileno()] if with_fd else ())
            results.append((message[0], ipc.ended()))
        # A connection that is known under its own name may not change it.
        ipc = Ipc(server)
        ipc.send(*hello(77, 78))
        ipc.send(TAKEN, sid, cookie)
        results.append(("changed", ipc.ended()))
        return results
    for name, ended in as_uid(server.users["bob"][0], attack):
        check(ended, "message %s was not refused" % name)
    check(c.asleep(), "anna's session was touched")
    _, tagged = c.done()
    check(" OK" in tagged, tagged)
    c.close()


def tcp_pair():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        a = socket.create_connection(listener.getsockname())
        return a, listener.accept()[0]


def forged_sleepers(server):
    """A stranger's socket with a ticket of his own making is never served, and
    ends with him; meanwhile others wake."""
    held = int(server.ctl("holder")[0][0]["held"])
    victims = [Client(server, "anna") for _ in range(3)]
    for c in victims:
        c.ok("SELECT INBOX")
        c.idle()
        c.must_sleep()

    r, w = os.pipe()
    r2, w2 = os.pipe()

    def attack():
        kept, ends = 0, []
        for n in range(20):
            mine, theirs = tcp_pair()
            ipc = Ipc(server)
            cookie = cookie_of(theirs.fileno())
            ticket = b"DT\1\0\x5a" + rng.randbytes(85) if n % 2 else rng.randbytes(90)
            ipc.send(*sleep_fields(1000 + n, cookie, ticket=ticket), fds=[theirs.fileno()])
            theirs.close()
            answer = ipc.recv()
            kept += bool(answer and answer[0] == KEPT)
            mine.sendall(b"wake up\r\n")
            ends.append((mine, ipc))
        os.write(w, b"x")
        os.read(r2, 1)
        got = b""
        for mine, ipc in ends:
            mine.setblocking(False)
            try:
                got += mine.recv(1000)
            except (BlockingIOError, ConnectionResetError):
                pass
            mine.close()
        return kept, got

    pid = os.fork()
    if pid == 0:
        try:
            kept, got = as_uid(server.users["bob"][0], attack)
            os._exit(1 if got else 0)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    os.read(r, 1)
    for c in victims:
        _, tagged = c.done()
        check(" OK" in tagged, tagged)
        c.close()
    os.write(w2, b"x")
    check(os.waitpid(pid, 0)[1] == 0, "the stranger was told something")
    server.wait(lambda: int(server.ctl("holder")[0][0]["held"]) == held,
                "the forged sleepers to be gone", 100)
    for fd in (r, w, r2, w2):
        os.close(fd)


def forged_sleepers_are_limited(server):
    """However many one user lays down, most places stay for others, and when he
    goes they are free again."""
    def attack():
        kept = refused = 0
        mine = []
        for n in range(400):
            a, b = tcp_pair()
            mine.append(a)
            ipc = Ipc(server)
            ipc.send(*sleep_fields(3000 + n, cookie_of(b.fileno())), fds=[b.fileno()])
            b.close()
            answer = ipc.recv()
            kept += answer[0] == KEPT
            refused += answer[0] == REFUSED
            ipc.close()
        return kept, refused
    kept, refused = as_uid(server.users["bob"][0], attack)
    check(0 < kept < 350 and kept + refused == 400, "kept %d, refused %d" % (kept, refused))
    server.wait(lambda: server.ctl("holder")[0][0]["held"] == "0", "the forged sleepers to be gone")


def watches_need_a_right_to_read(server):
    """A directory is watched for who shows that he may read it."""
    server.make_maildir("anna")
    server.make_maildir("bob")
    foreign = os.path.join(server.maildir("anna"), "new")
    own = os.path.join(server.maildir("bob"), "new")
    path_fd = os.open(foreign, os.O_PATH)       # as it might leak, or be passed

    def watch(ipc, fds, mailbox=b"m" * 16):
        ipc.send(WATCH, 1, mailbox, 0, fds=fds)
        answer = ipc.recv()
        return answer and answer[3]

    def attack():
        results = {}
        ipc = Ipc(server)
        results["own"] = watch(ipc, [os.open(own, os.O_RDONLY)])
        results["foreign O_PATH"] = watch(ipc, [path_fd])
        results["own O_PATH"] = watch(ipc, [os.open(own, os.O_PATH)])
        name = os.path.join(server.users["bob"][1], "file")
        results["file"] = watch(ipc, [os.open(name, os.O_RDWR | os.O_CREAT)])
        results["null"] = watch(ipc, [os.open("/dev/null", os.O_RDONLY)])
        results["socket"] = watch(ipc, [socket.socket().detach()])
        os.unlink(name)
        gone = os.path.join(server.users["bob"][1], "gone")
        os.mkdir(gone)
        fd = os.open(gone, os.O_RDONLY)
        os.rmdir(gone)
        results["removed"] = watch(ipc, [fd])
        results["both"] = watch(ipc, [os.open(own, os.O_RDONLY), path_fd])
        ipc2 = Ipc(server)
        results["three"] = watch(ipc2, [os.open(own, os.O_RDONLY)] * 3)
        ipc3 = Ipc(server)
        results["short id"] = watch(ipc3, [os.open(own, os.O_RDONLY)], b"m" * 15)
        return results
    results = as_uid(server.users["bob"][0], attack)
    os.close(path_fd)
    want = {"own": 0, "foreign O_PATH": 2, "own O_PATH": 2, "file": 2, "null": 2,
            "socket": 2, "removed": 2, "both": 2, "three": None, "short id": None}
    check(results == want, "statuses: %r" % results)


def mailbox_id(server, sid):
    rows, ok, text = server.ctl("state-dump", sid)
    check(ok, text)
    for row in rows:
        if row["line"].startswith("mailbox_id: "):
            return bytes.fromhex(row["line"][12:])
    raise Failure("no mailbox id")


def notices_of_strangers(server):
    """Many notices for a mailbox that is not the sender's wake nobody."""
    c = Client(server, "anna")
    c.ok("SELECT INBOX")
    c.idle()
    c.must_sleep()
    mailbox = mailbox_id(server, c.id())
    woken = int(server.ctl("holder")[0][0]["woken"])
    own = os.path.join(server.maildir("bob"), "new")
    server.make_maildir("bob")

    def attack():
        ipc = Ipc(server)
        # Even with a directory of his own that he calls by her mailbox's id.
        ipc.send(WATCH, 1, mailbox, 0, fds=[os.open(own, os.O_RDONLY)])
        ipc.recv()
        for n in range(5000):
            ipc.send(NOTICE, mailbox if n % 2 else rng.randbytes(16), n)
        ipc.send(WATCH, 2, b"", 0)
        while True:
            answer = ipc.recv()
            if answer is None or (answer[0] == WATCHED and answer[1] == 2):
                return answer is not None
    check(as_uid(server.users["bob"][0], attack), "the connection was ended")
    check(c.asleep(), "anna was woken")
    check(int(server.ctl("holder")[0][0]["woken"]) == woken, "somebody was woken")
    _, tagged = c.done()
    check(" OK" in tagged, tagged)
    c.close()


def nested(depth):
    return b"\x91" * depth + b"\x01"


def garbage_at_the_holder(server):
    """Nonsense ends its connection, and every descriptor that came along goes."""
    def attack():
        messages = [b"", b"\xc1", b"\x90", b"\x91\xc0", nested(5000), b"\xdd\xff\xff\xff\xff",
                    b"\xdf\xff\xff\xff\xff", b"\x92\x28\xc6\xff\xff\xff\xff", b"\x92\x28\xdb\x7f\xff\xff\xff",
                    pack([0]), pack([99]), pack([1]), pack([80, "who", []]), pack([SLEEP]),
                    pack(list(hello(1, 2)) + [1]), pack([HELLO, "a", "b"]),
                    pack(list(hello(1, 0))), pack([HELLO, 1, 2, "u" * 300, "r", 1, "m", False]),
                    pack([HELLO, 1, 2, "u", "r" * 3000, 1, "m", False]),
                    pack([HELLO, 1, 2, "u\0v", "r", 1, "m", False]),
                    pack([WATCH, 1, b"", 0, 0]), pack([NOTICE, b"", 1]), pack([HAVE, 1]),
                    pack([DO, 1]), pack([KEPT, 1, 2, 3, 4]), pack([80, "kick", ["anna"]])]
        messages += [rng.randbytes(rng.randrange(1, 400)) for _ in range(200)]
        base = pack(list(sleep_fields(5, 6, keepalives=(b"* OK\r\n",) * 8)))
        for _ in range(300):
            data = bytearray(base)
            for _ in range(rng.randrange(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            messages.append(bytes(data[:rng.randrange(len(data))] if rng.random() < .3 else data))
        files = [os.open("/dev/null", os.O_RDONLY) for _ in range(253)]
        for data in messages:
            ipc = Ipc(server)
            try:
                ipc.raw(data, files[:rng.choice((0, 1, 2, 3, 253))])
            except OSError as e:
                if e.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ETOOMANYREFS):
                    raise
            ipc.close()
        ipc = Ipc(server)
        ipc.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        for size in (100000, 270000, 300000, 1000000):
            try:
                ipc.raw(pack(list(sleep_fields(5, 6, state=b"s" * size))), files[:1])
            except OSError:
                pass
            ipc.close()
            ipc = Ipc(server)
    as_uid(server.users["bob"][0], attack)


def never_reading_at_the_holder(server):
    """Who asks and does not read is cut off; the holder does not wait or grow."""
    pid = server.pids("imap-hibernate")[0]
    before = rss_kb(pid)

    def attack():
        ipc = Ipc(server)
        for n in range(200000):
            if not try_send(ipc, WATCH, n, b"", 0):
                return n
        return None
    n = as_uid(server.users["bob"][0], attack)
    check(n is not None, "200000 questions were taken without an answer read")
    check(rss_kb(pid) < before + 4096, "grew from %d to %d kB" % (before, rss_kb(pid)))


def connections_to_the_holder(server):
    """One user's connections are limited; others still get in."""
    def attack():
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
        open_ones = []
        for _ in range(3000):
            try:
                open_ones.append(Ipc(server))
            except OSError:
                break
        living = 0
        for ipc in open_ones:
            if not try_send(ipc, WATCH, 1, b"", 0):
                continue
            living += ipc.recv() is not None
        os.write(w, b"x")
        os.read(r2, 1)
        return living
    r, w = os.pipe()
    r2, w2 = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            living = as_uid(server.users["bob"][0], attack)
            os._exit(0 if 0 < living <= 400 else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    os.read(r, 1)
    served(server)
    os.write(w2, b"x")
    status = os.waitpid(pid, 0)[1]
    for fd in (r, w, r2, w2):
        os.close(fd)
    check(status == 0, "not limited: %d" % status)


def names_of_others(server):
    """A stranger who says that he serves anna's sessions does not use up what
    anna may have, nor is he taken for her."""
    uid = server.users["bob"][0]
    r, w = os.pipe()
    r2, w2 = os.pipe()

    def attack():
        ipcs = []
        for n in range(100):
            ipc = Ipc(server)
            ipc.send(*hello(5000 + n, 9000 + n, "anna"))
            ipc.send(WATCH, 1, b"", 0)
            ipc.recv()
            ipcs.append(ipc)
        mine = []
        for n in range(60):
            a, b = tcp_pair()
            mine.append(a)
            ipcs[n].close()
            ipc = Ipc(server)
            ipc.send(*sleep_fields(7000 + n, cookie_of(b.fileno()), "anna"), fds=[b.fileno()])
            b.close()
            ipc.recv()
        os.write(w, b"x")
        os.read(r2, 1)
        return True
    pid = os.fork()
    if pid == 0:
        try:
            as_uid(uid, attack)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    os.read(r, 1)
    try:
        served(server)
        # The operator sees whose they are.
        check(any(row["uid"] == str(uid) for row in server.who("anna")), "no stranger in who")
    finally:
        os.write(w2, b"x")
        status = os.waitpid(pid, 0)[1]
        for fd in (r, w, r2, w2):
            os.close(fd)
    check(status == 0, "the attack itself failed")
    server.wait(lambda: server.ctl("holder")[0][0]["held"] == "0", "the strangers to be gone")


def other_sockets_are_closed_to_users(server):
    """keeper and control are for root and the server; both say nothing."""
    def attack():
        results = []
        for name in ("control", "keeper"):
            try:
                ipc = Ipc(server, name)
            except OSError as e:
                results.append(e.errno)
                continue
            for message in ([80, "who", []], [22], [20, "x"]):
                try_send(ipc, *message)
            results.append("ended" if ipc.ended() else "answered")
        return results
    for result in as_uid(server.users["bob"][0], attack):
        check(result in (errno.EACCES, errno.EPERM, errno.ENOENT, "ended"), "got %r" % result)


# ---- a holder that is no longer ours ----

class Queue:
    """The wake queue in the hands of somebody else: the packets that the holder
    sends are taken out of it, and ours are put in. The spares are stopped
    while we take."""

    def __init__(self, server):
        self.server = server
        # Which socket of the holder is the queue: the spares have its other end.
        spare = self.idle_spares()[0]
        theirs = sorted(int(n) for n, what in fds(spare).items() if what.startswith("socket:"))
        self.login_in, self.wake_in = (socket.socket(fileno=fd_of(spare, n)) for n in theirs)
        self.wake_in.settimeout(20)
        self.wake_out = self.end("imap-hibernate", self.wake_in)
        self.login_out = self.end("imap-login", self.login_in)

    def idle_spares(self):
        def ready():
            spares = []
            for pid in self.server.pids("imap"):
                try:
                    with open("/proc/%d/status" % pid) as f:
                        status = f.read()
                except OSError:
                    continue
                if "Seccomp:\t2" in status and "Uid:\t0\t" in status:
                    spares.append(pid)
            return spares if len(spares) >= 2 else None
        return self.server.wait(ready, "two idle spares")

    def end(self, program, theirs):
        """The program's socket whose peer is the spares'."""
        pid = self.server.pids(program)[0]
        for number in sorted(n for n, what in fds(pid).items() if what.startswith("socket:")):
            if number <= 3:
                continue
            s = socket.socket(fileno=fd_of(pid, number))
            if s.family == socket.AF_UNIX and s.type & 0xf == socket.SOCK_SEQPACKET and \
                    not s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                if peer_inode(os.fstat(s.fileno()).st_ino) == os.fstat(theirs.fileno()).st_ino:
                    return s
            s.close()
        raise Failure("%s has no queue" % program)

    def stop(self, sig):
        """Twice over all of them: while the zygote is not stopped yet it may
        fork one that the first list does not have."""
        for _ in range(2):
            for pid in self.server.pids("imap"):
                try:
                    if os.stat("/proc/%d" % pid).st_uid == 0:
                        os.kill(pid, sig)
                except OSError:
                    pass

    def take(self, client, wake):
        """(packet, client's descriptor, reply end) of a sleeper's WAKE."""
        self.idle_spares()
        self.stop(signal.SIGSTOP)
        try:
            wake()
            data, anc, _, _ = self.wake_in.recvmsg(1 << 20, socket.CMSG_SPACE(64))
        finally:
            self.stop(signal.SIGCONT)
        got = array.array("i")
        for level, kind, bytes_ in anc:
            if kind == socket.SCM_RIGHTS:
                got.frombytes(bytes_[:len(bytes_) - len(bytes_) % 4])
        return Packet(data), got[0], got[1]

    def put(self, data, fds_, queue=None):
        (queue or self.wake_out).sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                                  array.array("i", fds_))])

    def answer(self, data, client_fd, queue=None):
        """What a spare says to this packet on the reply end: a list, until EOF
        or until it serves the session."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.put(data, [client_fd, theirs.fileno()] if queue is None else [client_fd], queue)
        theirs.close()
        mine.settimeout(20)
        said = []
        if queue is None:
            while True:
                try:
                    part = mine.recv(1 << 20)
                except ConnectionResetError:
                    break
                if not part:
                    break
                said.append(unpack(part)[0])
                if said[-1][0] in (TAKEN, WATCH, HELLO, SLEEP):
                    break
        return said, mine

    def close(self):
        for s in (self.login_in, self.wake_in, self.wake_out, self.login_out):
            s.close()


class Packet:
    """RAW_WAKE, lib/ipc-proto.h."""

    def __init__(self, data):
        self.data = data
        self.ticket_len = struct.unpack(">H", data[4:6])[0]
        at = 1 + self.ticket_len
        self.counts_at = at
        self.written, self.consumed = struct.unpack(">QQ", data[at:at + 16])
        at += 16
        n = data[at]
        lens = struct.unpack(">%dH" % n, data[at + 1:at + 1 + 2 * n])
        self.n_at = at
        self.keepalives_at = at + 1 + 2 * n
        at = self.keepalives_at + sum(lens)
        self.cause_at = at
        at += 2 + 8
        self.state_len = struct.unpack(">I", data[at:at + 4])[0]
        self.state_len_at = at
        self.state_at = at + 4
        assert self.state_at + self.state_len == len(data)

    @property
    def ticket(self):
        return self.data[1:1 + self.ticket_len]

    @property
    def head(self):
        """After the ticket, before the state's length."""
        return self.data[self.counts_at:self.state_len_at]

    @property
    def state(self):
        return self.data[self.state_len_at:]

    def with_byte(self, at, xor=1):
        d = bytearray(self.data)
        d[at] ^= xor
        return bytes(d)

    def with_cause(self, cause):
        d = bytearray(self.data)
        d[self.cause_at] = cause
        return bytes(d)


def peer_inode(inode):
    """Of a Unix socket, from the kernel's own table (sock_diag, UNIX_DIAG_PEER)."""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    req = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xffffffff, inode, 4, 0xffffffff, 0xffffffff)
    s.send(struct.pack("=IHHII", 16 + len(req), 20, 1, 1, 0) + req)
    data = s.recv(65536)
    s.close()
    length, kind = struct.unpack("=IH", data[:6])
    if kind != 20:
        return None
    at = 16 + 16
    while at < length:
        size, attr = struct.unpack("=HH", data[at:at + 4])
        if attr == 2:
            return struct.unpack("=I", data[at + 4:at + 8])[0]
        at += (size + 3) & ~3
    return None


def is_refusal(said):
    """Not served: hung up on without a word, or with one that names nobody."""
    return said == [] or [m[:3] for m in said] == [[WAKE_FAILED, 0, 0]]


def sleeper(server, user="anna", idle=True):
    c = Client(server, user)
    c.ok("SELECT INBOX")
    if idle:
        c.idle()
    c.must_sleep()
    return c


def nothing_was_said(c):
    check(c.quiet(0.05), "the client was told: %r" % c.buffer)


def altered_packets_are_refused(server):
    """Ticket, numbers or state altered by one bit: nobody is served by it."""
    q = Queue(server)
    c = sleeper(server)
    packet, client_fd, reply = q.take(c, lambda: c.send("DONE\r\n"))
    # The real holder is out of the game: its wake is in our hands (reply open).
    for at in [0, 1, 2, 3, 4, 5, 6, 13, 14, 29, 30, 37, 38, 41, 42, 45, 46, 47, 48,
               packet.ticket_len - 33, packet.ticket_len - 32, packet.ticket_len]:
        said, mine = q.answer(packet.with_byte(at), client_fd)
        check(is_refusal(said), "a ticket altered at %d: %r" % (at, said))
        mine.close()
    for data in (b"", packet.data[:1], packet.data[:50], packet.data[:packet.ticket_len],
                 packet.data[:packet.counts_at + 10], b"\1" + packet.data[1:],
                 b"\3" + packet.data[1:], b"\2" * 5000):
        if data:
            said, mine = q.answer(data, client_fd)
            check(is_refusal(said), "%d bytes: %r" % (len(data), said))
            mine.close()
    # More written or consumed than the state says, or less: the fence.
    for what, field in (("written", 0), ("consumed", 8)):
        for delta in (-1, 1):
            if what == "written" and delta == -1 and packet.data[packet.n_at]:
                continue        # within the keepalives: the sealed numbers tell, below
            at = packet.counts_at + field
            value = struct.unpack(">Q", packet.data[at:at + 8])[0] + delta
            if value < 0:
                continue
            said, mine = q.answer(packet.data[:at] + struct.pack(">Q", value) +
                                  packet.data[at + 8:], client_fd)
            check(is_refusal(said), "%s %+d: %r" % (what, delta, said))
            mine.close()
    nothing_was_said(c)
    # Untouched it is good, once.
    said, mine = q.answer(packet.data, client_fd)
    check(said and said[0][0] in (TAKEN, WATCH, HELLO), "the true packet was refused: %r" % said)
    again, mine2 = q.answer(packet.data, client_fd)
    check(again == [], "the same packet a second time: %r" % again)
    mine2.close()
    while said[-1][0] != TAKEN:
        if said[-1][0] == WATCH:        # it subscribes before it speaks
            mine.send(pack([WATCHED, said[-1][1], 1, 0]))
        said.append(unpack(mine.recv(1 << 20))[0])
    _, tagged = c.answer(c.idle_tag)
    check(" OK" in tagged, tagged)
    again, mine2 = q.answer(packet.data, client_fd)
    check(again == [], "an old packet: %r" % again)
    for s in (mine, mine2):
        s.close()
    os.close(client_fd)
    os.close(reply)
    c.close()
    q.close()


def states_of_others_are_refused(server):
    """Swapped sockets, states, tickets: at worst the client is hung up on."""
    q = Queue(server)
    anna, bob = sleeper(server, "anna"), sleeper(server, "bob")
    pa, fa, ra = q.take(anna, lambda: anna.send("DONE\r\n"))
    pb, fb, rb = q.take(bob, lambda: bob.send("DONE\r\n"))
    said, mine = q.answer(pa.data, fb)
    check(is_refusal(said), "anna's packet, bob's socket: %r" % said)
    mine.close()
    said, mine = q.answer(b"\2" + pb.ticket + pa.data[1 + pa.ticket_len:], fa)
    check(is_refusal(said), "bob's ticket, anna's socket: %r" % said)
    mine.close()
    nothing_was_said(anna)
    nothing_was_said(bob)
    # Anna's own ticket and numbers, bob's state.
    said, mine = q.answer(b"\2" + pa.ticket + pa.head + pb.state, fa)
    check(said and all(m[0] == WAKE_FAILED for m in said), "bob's state: %r" % said)
    mine.close()
    check(until_end(anna.sock) == b"", "anna was told something")
    # A packet of one queue in the other.
    said, mine = q.answer(b"\1" + pb.data[1:], fb, q.login_out)
    mine.close()
    q.idle_spares()
    for s in (anna, bob):
        s.close()
    for fd in (fa, ra, fb, rb):
        os.close(fd)
    q.close()


def older_states_are_refused(server):
    """A state from before the last word, dressed up with today's numbers."""
    q = Queue(server)
    c = sleeper(server, "anna")
    old, fd, reply = q.take(c, lambda: c.send("DONE\r\n"))
    os.close(reply)         # the holder tries again, with a spare of its own
    _, tagged = c.answer(c.idle_tag)
    check(" OK" in tagged, tagged)
    c.idle()
    c.must_sleep()
    new, fd2, reply2 = q.take(c, lambda: c.send("DONE\r\n"))
    said, mine = q.answer(old.data, fd2)
    check(is_refusal(said), "the older packet: %r" % said)
    mine.close()
    nothing_was_said(c)
    said, mine = q.answer(b"\2" + new.ticket + new.head + old.state, fd2)
    check(said and all(m[0] == WAKE_FAILED for m in said), "an older state: %r" % said)
    mine.close()
    check(until_end(c.sock) == b"", "the client was told something")
    for each in (fd, fd2, reply2):
        os.close(each)
    c.close()
    q.close()


# ---- what each program can do: system calls made in its name ----

PTRACE_ATTACH, PTRACE_DETACH, PTRACE_GETREGS, PTRACE_SETREGS = 16, 17, 12, 13
PTRACE_SINGLESTEP, PTRACE_PEEK, PTRACE_POKE = 9, 1, 4


class Regs(ctypes.Structure):
    _fields_ = [(n, ctypes.c_ulonglong) for n in
                "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs "
                "eflags rsp ss fs_base gs_base ds es fs gs".split()]


libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Possessed:
    """A process that waits in a system call, made to call others."""

    def __init__(self, pid):
        self.pid = pid

    def trace(self, what, addr=0, data=0):
        ctypes.set_errno(0)
        r = libc.ptrace(what, self.pid, addr, data)
        if r == -1 and ctypes.get_errno():
            raise OSError(ctypes.get_errno(), "ptrace %d" % what)
        return r

    def __enter__(self):
        self.trace(PTRACE_ATTACH)
        os.waitpid(self.pid, 0)
        self.saved = Regs()
        self.trace(PTRACE_GETREGS, 0, ctypes.addressof(self.saved))
        return self

    def __exit__(self, *_):
        self.call(SYS["getpid"])        # no trap may be left
        self.trace(PTRACE_SETREGS, 0, ctypes.addressof(self.saved))
        self.trace(PTRACE_DETACH)

    def call(self, nr, *args):
        """The result (-errno), or "refused" when seccomp would have none of it.
        Byte strings go onto its stack."""
        regs = Regs.from_buffer_copy(self.saved)
        at = (self.saved.rsp - 16384) & ~15
        values = []
        for arg in args:
            if isinstance(arg, bytes):
                data = arg + b"\0" * (8 - len(arg) % 8)
                for i in range(0, len(data), 8):
                    self.trace(PTRACE_POKE, at + i, struct.unpack("<Q", data[i:i + 8])[0])
                values.append(at)
                at += len(data) + 64
            else:
                values.append(arg & 0xffffffffffffffff)
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), values):
            setattr(regs, name, value)
        regs.rax, regs.orig_rax = nr, 0xffffffffffffffff
        regs.rip = self.saved.rip - 2
        self.trace(PTRACE_SETREGS, 0, ctypes.addressof(regs))
        after = Regs()
        after.rip = regs.rip
        # A trap that is left from a call before comes first, with nothing done.
        while after.rip == regs.rip:
            self.trace(PTRACE_SINGLESTEP)
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                raise Failure("the process ended: %x" % status)
            if os.WSTOPSIG(status) == signal.SIGSYS:
                return "refused"
            self.trace(PTRACE_GETREGS, 0, ctypes.addressof(after))
        value = after.rax
        return value - (1 << 64) if value >> 63 else value


SYS = dict(getpid=39, read=0, open=2, close=3, socket=41, connect=42, kill=62, ptrace=101, setuid=105,
           setresuid=117, openat=257, execve=59, fork=57, clone=56, process_vm_readv=310,
           open_by_handle_at=304, mount=165, bpf=321, io_uring_setup=425, pidfd_getfd=438,
           keyctl=250, symlink=88, unlink=87, mknod=133, chroot=161, setns=308, unshare=272,
           tgkill=234, inotify_init1=294, memfd_create=319, prctl=157)


def what_a_compromised_program_can_do(server):
    """Landlock and seccomp as they are in the running processes."""
    server.make_maildir("bob")
    server.deliver("bob", "Subject: bobs own\n\nx\n")
    bobs = server.files("bob")[0]
    outside = os.path.join(server.dir, "everybody")
    with open(outside, "w") as f:
        f.write("x")
    os.chmod(outside, 0o666)
    # Readable for every user, and yet not for these.
    for path in (server.users["bob"][1], server.maildir("bob"), os.path.dirname(bobs)):
        os.chmod(path, 0o755)
    os.chmod(bobs, 0o644)
    c = Client(server, "anna")
    c.ok("SELECT INBOX")
    z = Client(server)          # before login
    me = processes_of(server, "anna")[0]
    programs = {"imap": me, "imap-hibernate": server.pids("imap-hibernate")[0],
                "keeper": server.pids("keeper")[0], "imap-login": server.pids("imap-login")[0]}
    never = ("execve", "fork", "kill", "ptrace", "process_vm_readv", "open_by_handle_at", "mount",
             "bpf", "io_uring_setup", "pidfd_getfd", "keyctl", "chroot", "setns", "unshare",
             "symlink", "mknod")
    files = [bobs, outside, "/etc/passwd", "/etc/hostname", "/proc/self/mem", "/proc/%d/mem" %
             programs["keeper"], "/proc/%d/maps" % programs["imap-hibernate"],
             server.passwd, "/dev/mem", "/proc/1/environ"]
    for name, pid in programs.items():
        with Possessed(pid) as p:
            for path in files:
                for flags in (os.O_RDONLY, os.O_RDWR, os.O_PATH):
                    r = p.call(SYS["openat"], -100, path.encode() + b"\0", flags, 0)
                    if r != "refused" and r >= 0 and flags == os.O_PATH:
                        # Landlock lets paths be looked up; nothing can be read there.
                        n = p.call(SYS["openat"], -100, b"/proc/self/fd/%d\0" % r, 0, 0)
                        p.call(SYS["close"], r)
                        r = n
                    check(r == "refused" or r < 0, "%s opens %s (%o)" % (name, path, flags))
            for call in never:
                r = p.call(SYS[call], 0, 0, 0, 0, 0, 0)
                check(r == "refused", "%s may call %s: %r" % (name, call, r))
            r = p.call(SYS["setresuid"], 0, 0, 0)
            check(r == "refused" or r < 0, "%s becomes root" % name)
            r = p.call(SYS["setresuid"], *[server.users["bob"][0]] * 3)
            check(r == "refused" or r < 0, "%s becomes bob" % name)
            for family, kind in ((2, 1), (2, 2), (16, 3), (17, 3), (1, 1)):
                r = p.call(SYS["socket"], family, kind, 0)
                check(r == "refused", "%s gets a socket of family %d" % (name, family))
    c.ok("NOOP")
    c.ok("LOGOUT")
    z.close()
    os.unlink(outside)
    os.chmod(server.users["bob"][1], 0o700)


def what_each_program_holds(server):
    """The rights in doc/architecture.md's table, read from /proc."""
    c = Client(server, "anna")
    c.ok("SELECT INBOX")
    d = sleeper(server, "bob")
    z = Client(server)
    me = server.wait(lambda: len(processes_of(server, "anna")) == 1 and
                     processes_of(server, "anna"), "anna's one process")
    check(len(me) == 1, "anna's processes: %r" % me)
    q = Queue(server)
    spare = q.idle_spares()[0]
    q.close()
    uid = {"imap-hibernate": server.HOLDER_UID, "keeper": server.HOLDER_UID,
           "imap-login": server.LOGIN_UID, "auth": server.AUTH_UID}
    caps = {"imap-hibernate": 1 << 2}
    for pid, name in [(p, n) for p, n in server.processes().items() if n in uid] + \
            [(me[0], "anna")]:
        with open("/proc/%d/status" % pid) as f:
            st = dict(l.rstrip("\n").split(":\t", 1) for l in f if ":\t" in l)
        want = uid.get(name, server.users["anna"][0])
        check(st["Uid"].split() == [str(want)] * 4, "%s: Uid %s" % (name, st["Uid"]))
        check(st["Gid"].split() == [str(want)] * 4, "%s: Gid %s" % (name, st["Gid"]))
        check(st["Groups"].split() == [], "%s: Groups %s" % (name, st["Groups"]))
        check(int(st["CapEff"], 16) == caps.get(name, 0), "%s: CapEff %s" % (name, st["CapEff"]))
        check(int(st["CapPrm"], 16) == caps.get(name, 0), "%s: CapPrm %s" % (name, st["CapPrm"]))
        check(int(st["CapBnd"], 16) == 0 and int(st["CapInh"], 16) == 0, "%s: caps" % name)
        check(st["NoNewPrivs"] == "1" and st["Seccomp"] == "2", "%s: no sandbox" % name)
        if name in ("imap-login", "keeper"):
            check("/.empty-" in os.readlink("/proc/%d/root" % pid), "%s: root" % name)
        held = fds(pid).values()
        if name != "keeper":
            check(not any("ticket-key" in x for x in held), "%s has the key" % name)
        if name not in ("keeper", "imap-hibernate"):
            check(not any("sleepers" in x or "inotify" in x for x in held), "%s: table" % name)
        if name not in ("anna",):
            check(not any("/home/" in x for x in held), "%s: mail %r" % (name, held))
    # A spare: root still, but with the rights to become somebody and no other.
    with open("/proc/%d/status" % spare) as f:
        st = dict(l.rstrip("\n").split(":\t", 1) for l in f if ":\t" in l)
    check(int(st["CapPrm"], 16) == (1 << 6 | 1 << 7), "a spare's CapPrm %s" % st["CapPrm"])
    check(int(st["CapBnd"], 16) == 0 and st["Seccomp"] == "2", "a spare's sandbox")
    # The awake session: its client, its holder connection, its own mail.
    sockets = [n for n, what in fds(me[0]).items() if what.startswith("socket:")]
    kinds = []
    for n in sockets:
        with socket.socket(fileno=fd_of(me[0], n)) as s:
            kinds.append((s.family, s.getpeername()[1] if s.family == socket.AF_INET else None))
    check(sorted(k[0] for k in kinds) == [socket.AF_UNIX, socket.AF_INET], "sockets %r" % kinds)
    check(all("/home/anna/" in what for what in fds(me[0]).values()
              if what.startswith(server.dir) and not what.endswith("/log")), "foreign files")
    for c in (c, d, z):
        c.close()


# ---- what root runs in a user's directory ----

def dormouse(server, *args, **more):
    return subprocess.run([server.program("dormouse"), *args], input=b"Subject: x\n\nx\n",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          env=server.env, **more)


def roots_own(server, name, mode=0o755):
    """A Maildir of root's, in a directory of root's; all that is in it."""
    path = os.path.join(server.dir, name)
    for part in ("", "/cur", "/new", "/tmp"):
        os.mkdir(path + part)
    os.chmod(path, mode)
    return path


def everything(path):
    return sorted(os.path.join(d, f) for d, ds, fs in os.walk(path) for f in ds + fs)


def links_lead_root_nowhere(server):
    """Somebody's ~/Maildir is a link, when root delivers or exports by directory."""
    roots = roots_own(server, "roots")
    server.make_maildir("bob", "Aim")
    bobs = server.maildir("bob", "Aim")
    home = server.users["anna"][1]
    nested = os.path.join(home, "nested")
    link = os.path.join(home, "link")
    as_uid(server.users["anna"][0], os.symlink, server.dir, nested)
    for aim in (roots, bobs):
        before = everything(aim)
        as_uid(server.users["anna"][0], os.symlink, aim, link)
        for path in (link, link + "/", nested + aim[len(server.dir):], link + "/cur/.."):
            for command in (["export-uidlist", path], ["deliver", "-m", path]):
                out = dormouse(server, *command)
                check(out.returncode == 1 and re.search(b"link|root's", out.stdout),
                      "%r: %r" % (command, out))
        check(everything(aim) == before, "in %s: %r" % (aim, set(everything(aim)) - set(before)))
        os.unlink(link)
    # What is root's, but can be replaced by the user while we look.
    os.rename(roots, os.path.join(home, "roots"))
    roots = os.path.join(home, "roots")
    before = everything(roots)
    for command in (["export-uidlist", roots], ["deliver", "-m", roots]):
        out = dormouse(server, *command)
        check(out.returncode == 1, "%r: %r" % (command, out))
    check(everything(roots) == before, "in root's directory")
    shutil.rmtree(roots)
    # Root's own link is good, and the owner's.
    for uid in (0, server.users["bob"][0]):
        link = os.path.join(server.users["bob"][1], "link-%d" % uid)
        as_uid(uid, os.symlink, bobs, link) if uid else os.symlink(bobs, link)
        check(dormouse(server, "deliver", "-m", link).returncode == 0, "by a good link")
        check(dormouse(server, "export-uidlist", link).returncode == 0, "by a good link")
        os.unlink(link)
    for path in everything(bobs):
        check(os.lstat(path).st_uid == server.users["bob"][0], path + " is not bob's")
    os.unlink(nested)
    shutil.rmtree(bobs)


def stolen(pid):
    """What the user can take out of a process that runs as him."""
    found = []
    try:
        with open("/proc/%d/environ" % pid, "rb") as f:
            if b"ROOTS_OWN" in f.read():
                found.append("environment")
    except PermissionError:
        pass
    for number in range(10):
        try:
            fd = fd_of(pid, number)
        except OSError:
            continue
        if os.isatty(fd):
            found.append("terminal as %d" % number)
        os.close(fd)
    return found


def roots_terminal_is_not_the_users(server):
    """Who traces what root runs as him gets neither terminal nor environment; and
    the names of his mailboxes are no words to the terminal."""
    maildir = server.maildir("anna")
    server.make_maildir("anna", "a\x1b]0;x\x07")
    lock = os.path.join(maildir, "dovecot-uidlist.lock")
    with open(lock, "w") as f:
        f.write("1:elsewhere")
    try:
        master, slave = os.openpty()
    except OSError as e:
        print("skipped: no terminal to be had (%s)" % e)
        return
    p = subprocess.Popen([server.program("dormouse"), "export-uidlist", maildir], stdin=slave,
                         stdout=slave, stderr=slave, start_new_session=True,
                         env=dict(server.env, ROOTS_OWN="secret"),
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)

    def running():
        for pid in (int(n) for n in os.listdir("/proc") if n.isdigit()):
            try:
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    words = f.read().split(b"\0")
                if words[0].endswith(b"export-uidlist") and maildir.encode() in words and \
                        os.stat("/proc/%d" % pid).st_uid == server.users["anna"][0]:
                    return pid
            except OSError:
                pass
        return None
    pid = server.wait(running, "the export to run as anna")
    got = as_uid(server.users["anna"][0], stolen, pid)
    os.unlink(lock)
    said = b""
    try:
        while True:
            data = os.read(master, 65536)
            if not data:
                break
            said += data
    except OSError:         # the end of a terminal
        pass
    os.close(master)
    check(p.wait(60) == 0, "it failed: %r" % said)
    check(got == [], "the user gets: %r" % got)
    check(b"uidvalidity" in said, "it said %r" % said)
    check(not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f]", said), "to the terminal: %r" % said)
    shutil.rmtree(server.maildir("anna", "a\x1b]0;x\x07"))


SCENARIOS = [
    # name, needs root
    (bursts_before_login, False), (dribble, False), (reset_at_every_moment, False),
    (half_close_is_served, False), (log_injection, False), (many_connections, False),
    (bursts_after_login, False), (nothing_but_blocks, False),
    (many_field_names, False), (records_byte_by_byte, False), (kicked_in_mid_command, False),
    (mailbox_names, False), (symlinks_in_the_maildir, True),
    (pipeline, False), (idle_garbage, False), (never_reading, False),
    (somebody_elses_session, True), (forged_sleepers, True), (forged_sleepers_are_limited, True),
    (watches_need_a_right_to_read, True), (notices_of_strangers, True),
    (garbage_at_the_holder, True), (never_reading_at_the_holder, True),
    (connections_to_the_holder, True), (names_of_others, True),
    (other_sockets_are_closed_to_users, True),
    (altered_packets_are_refused, True), (states_of_others_are_refused, True),
    (older_states_are_refused, True),
    (links_lead_root_nowhere, True), (roots_terminal_is_not_the_users, True),
    (what_a_compromised_program_can_do, True), (what_each_program_holds, True),
]


def main():
    args = [a for a in sys.argv[1:] if a != "-v"]
    verbose = "-v" in sys.argv
    passed = failed = 0
    print("seed %d" % SEED)
    with Server("attack", users=("anna", "bob", "carl"), max_user_sessions=40,
                client_timeout="2s", login_timeout="60s",
                login_max_clients="300") as server:
        for user in server.users:
            server.make_maildir(user)
            for _ in range(5):
                server.deliver(user)
        served(server)
        for fn, needs_root in SCENARIOS:
            if args and fn.__name__ not in args:
                continue
            if needs_root and not (ROOT and X86):
                print("left out (needs root): " + fn.__name__)
                continue
            start = time.monotonic()
            try:
                with Calm(server):
                    fn(server)
                passed += 1
                if verbose:
                    print("ok %s (%.1f s)" % (fn.__name__, time.monotonic() - start))
            except Exception as e:
                failed += 1
                print("FAIL %s: %s" % (fn.__name__, e))
                if verbose:
                    traceback.print_exc()
                server.keep = True
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
