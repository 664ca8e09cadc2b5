# SPDX-License-Identifier: MIT
"""What secrets are in whose memory: residue.py [-v]

Clients of both versions of TLS, with key logs, so that the test knows every
secret, key and iv of their connections, before and after KeyUpdates; their
passwords (which the server has as hashes only); the server's own keys, read
from the memfds that hold them. While sessions are awake, asleep and gone, all
memory of all processes is searched, and all memfds that they have open:

    secret                        belongs to
    a connection's keys           the imap process that serves it now
    session key (seals states)    the same, while it is awake
    a password                    nobody, once it was checked
    key of tickets (boot)         auth, the spares; memfd in master and keeper
    keys of TLS session tickets   imap-login, master's handing out; memfd likewise

Root only; not in builds with sanitizers, which keep what was freed.
"""
import argparse
import ctypes
import hashlib
import hmac
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
import tls_clients  # noqa: E402
from tls_clients import check  # noqa: E402

SO_COOKIE = 57
PIDFD_OPEN, PIDFD_GETFD = 434, 438      # on every architecture
libc = ctypes.CDLL(None, use_errno=True)


# ---- what can be known ----

def expand_label(secret, label, n):
    """HKDF-Expand-Label of RFC 8446 7.1, one block."""
    digest = {32: "sha256", 48: "sha384"}[len(secret)]
    full = b"tls13 " + label
    info = struct.pack(">HB", n, len(full)) + full + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:n]


def generation13(name, secret, key_bytes):
    """A traffic secret and what is made of it."""
    return {name: secret, name + " key": expand_label(secret, b"key", key_bytes),
            name + " iv": expand_label(secret, b"iv", 12)}


def updated(secret):
    """RFC 8446 7.2"""
    return expand_label(secret, b"traffic upd", len(secret))


def prf12(digest, secret, seed, n):
    """RFC 5246 5"""
    out, a = b"", seed
    while len(out) < n:
        a = hmac.new(secret, a, digest).digest()
        out += hmac.new(secret, a + seed, digest).digest()
    return out[:n]


def secrets12(name, master, client_random, server_random):
    """Of ECDHE-ECDSA-AES256-GCM-SHA384. The iv's 4 bytes are too few to look for."""
    block = prf12("sha384", master, b"key expansion" + server_random + client_random, 72)
    return {name + " master": master, name + " read key": block[:32],
            name + " write key": block[32:64]}


def key_log(path):
    with open(path) as f:
        return {w[0]: (bytes.fromhex(w[1]), bytes.fromhex(w[2]))
                for w in (line.split() for line in f if not line.startswith("#"))}


# ---- what is there ----

def writable(pid):
    """Memory that a process may have written, shared mappings included."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" not in rights:
                continue
            low, high = (int(x, 16) for x in span.split("-"))
            try:
                mem.seek(low)
                yield mem.read(high - low)
            except OSError:
                pass


def memfds(pid):
    """(name, contents) of all that it has open."""
    base = "/proc/%d/fd" % pid
    for fd in os.listdir(base):
        try:
            name = os.readlink(os.path.join(base, fd))
            if name.startswith("/memfd:"):
                with open(os.path.join(base, fd), "rb") as f:
                    yield name[7:].split(" ")[0], f.read()
        except OSError:
            pass


class Look:
    """Who had what: {name of secret: {(program, pid, where)}}"""

    def __init__(self, server, wanted):
        self.found = {name: set() for name in wanted}
        self.processes = server.processes()
        for pid, program in self.processes.items():
            try:
                for block in writable(pid):
                    self.note(wanted, block, (program, pid, "memory"))
                for memfd, block in memfds(pid):
                    self.note(wanted, block, (program, pid, memfd))
            except OSError:
                pass        # it ended

    def note(self, wanted, block, place):
        for name, value in wanted.items():
            if value in block:
                self.found[name].add(place)

    def programs(self, name):
        return {place[0] for place in self.found[name] if place[2] == "memory"}

    def pids(self, name):
        return {place[1] for place in self.found[name] if place[2] == "memory"}


# ---- clients whose secrets are known ----

class Tap:
    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def recv(self, size):
        data = self.sock.recv(size)
        self.data += data
        return data


class Known:
    """A dm.Client with what its connection is sealed with."""

    def __init__(self, server, user, password, version, log_in=True):
        self.user, self.password = user, password
        path = os.path.join(server.dir, "keylog-" + user)
        context = ssl.create_default_context(cafile=server.pem + ".crt")
        context.minimum_version = context.maximum_version = version
        context.keylog_filename = path
        if version == ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        c = dm.Client.__new__(dm.Client)
        c.server, c.user, c.buffer, c.tag, c.wants_deflate = server, user, b"", 0, False
        c.sock = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.local_port = c.sock.getsockname()[1]
        tap = c.wire.sock = Tap(c.sock)
        c.wire.start_tls(context)
        c.greeting = c.line()
        log = key_log(path)
        if version == ssl.TLSVersion.TLSv1_3:
            self.secrets = {}
            for side in ("CLIENT", "SERVER"):
                self.secrets.update(generation13("%s %s" % (user, side.lower()),
                                                 log[side + "_TRAFFIC_SECRET_0"][1], 32))
            self.not_kept = {"%s %s" % (user, label): pair[1] for label, pair in log.items()
                             if "TRAFFIC_SECRET_0" not in label}
        else:
            client_random, master = log["CLIENT_RANDOM"]
            # Record header, handshake header, version; then the server's random.
            check(tap.data[0] == 22 and tap.data[5] == 2, "no ServerHello")
            self.secrets = secrets12(user, master, client_random, tap.data[11:43])
            # 1.2 has no use for it any more, once the keys are made.
            self.not_kept = {user + " master": self.secrets.pop(user + " master")}
        self.c = c
        if log_in:
            c.ok("LOGIN %s %s" % (user, password))
            c.ok("SELECT INBOX")

    def inode(self):
        """Of the server's end."""
        port = self.c.sock.getpeername()[1]
        with open("/proc/net/tcp") as f:
            for w in map(str.split, f):
                if w[1].endswith(":%04X" % port) and w[2].endswith(":%04X" % self.c.local_port):
                    return w[9]
        raise dm.Failure("%s is not connected" % self.user)

    def served_by(self):
        """(the imap process that has it, its descriptor)"""
        link = "socket:[%s]" % self.inode()
        for pid in self.c.server.pids("imap"):
            for fd in os.listdir("/proc/%d/fd" % pid):
                if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == link:
                    return pid, int(fd)
        raise dm.Failure("no imap serves " + self.user)

    def cookie(self):
        pid, fd = self.served_by()
        pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
        got = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
        os.close(pidfd)
        check(got >= 0, "pidfd_getfd: %s" % os.strerror(ctypes.get_errno()))
        with socket.socket(fileno=got) as s:
            return struct.unpack("Q", s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]

    def session_key(self, boot_key):
        """HKDF of the boot key (state/ticket.c)."""
        salt = struct.pack(">QQ", int(self.c.id(), 16), self.cookie())
        prk = hmac.new(salt, boot_key, "sha256").digest()
        return hmac.new(prk, b"dormouse session\1", "sha256").digest()


# ---- the server ----

class Server(dm.Server):
    def add_user(self, user):
        """With a hash: nothing of the server's has to know the password."""
        super().add_user(user)
        self.passwords = getattr(self, "passwords", {})
        self.passwords[user] = "pw-%s-%s" % (user, os.urandom(9).hex())
        coded = subprocess.run(["openssl", "passwd", "-6", self.passwords[user]], check=True,
                               capture_output=True, text=True).stdout.strip()
        with open(self.passwd) as f:
            text = f.read()
        with open(self.passwd, "w") as f:
            f.write(text.replace("%s:{PLAIN}secret:" % user,
                                 "%s:{SHA512-CRYPT}%s:" % (user, coded)))
        self.make_maildir(user)

    def memfd(self, program, name):
        for pid in self.pids(program):
            for memfd, data in memfds(pid):
                if memfd == name:
                    return data
        raise dm.Failure("%s has no memfd %s: %r" % (program, name, [
            m for p in self.pids(program) for m, _ in memfds(p)]))


class Test:
    def __init__(self, server, verbose):
        self.server, self.verbose = server, verbose
        self.boot_key = server.memfd("keeper", "dormouse-ticket-key")
        tickets = server.memfd("keeper", "dormouse-tls-tickets")
        # Format, made_s, then twice: name, AES key, HMAC key.
        at = 1 + 8 + 16
        self.tls_tickets = {"TLS tickets AES": tickets[at:at + 32],
                            "TLS tickets HMAC": tickets[at + 32:at + 64]}
        check(len(self.boot_key) == 32 and len(tickets) == 1 + 8 + 2 * 80, "memfds")

    def serving(self, k):
        """The imap that serves it now."""
        return k.served_by()[0]

    def expect(self, when, awake, asleep, gone=()):
        """Looks until everything is where it belongs; what it may take a moment to
        be rid of is told by the last look."""
        wanted = {"boot key": self.boot_key, **self.tls_tickets}
        for k in [*awake, *asleep, *gone]:
            wanted.update(k.secrets)
            wanted.update(k.not_kept)
            wanted[k.user + " password"] = k.password.encode()
            if hasattr(k, "sealing"):
                wanted[k.user + " session key"] = k.sealing
        end = time.monotonic() + 10
        while True:
            look = Look(self.server, wanted)
            wrong = self.wrong(look, awake, asleep, gone)
            if not wrong:
                break
            check(time.monotonic() < end, "%s: %s" % (when, "; ".join(wrong)))
            time.sleep(0.3)
        if self.verbose:
            print("ok %s: %d secrets in %d processes" % (when, len(wanted), len(look.processes)))

    def wrong(self, look, awake, asleep, gone):
        wrong = []

        def only(name, pids):
            if look.pids(name) != pids or any(p[2] != "memory" for p in look.found[name]):
                wrong.append("%s is in %s, not in %s" % (name, sorted(look.found[name]),
                                                         sorted(pids)))
        for k in awake:
            pid = self.serving(k)
            for name in k.secrets:
                only(name, {pid})
            if hasattr(k, "sealing"):
                only(k.user + " session key", {pid})
        for k in [*asleep, *gone]:
            for name in k.secrets:
                only(name, set())
            if hasattr(k, "sealing"):
                only(k.user + " session key", set())
        for k in [*awake, *asleep, *gone]:
            for name in [*k.not_kept, k.user + " password"]:
                only(name, set())
        wrong += self.wrong_of_the_server(look, awake)
        return wrong

    def wrong_of_the_server(self, look, awake):
        wrong = []
        sessions = {self.serving(k) for k in awake}
        if not {"auth"} <= look.programs("boot key") <= {"auth", "imap"} or \
                look.pids("boot key") & sessions:
            wrong.append("boot key is in %s" % sorted(look.found["boot key"]))
        for name in self.tls_tickets:
            if look.programs(name) != {"imap-login"}:
                wrong.append("%s is in %s" % (name, sorted(look.found[name])))
        for name in ["boot key", *self.tls_tickets]:
            holders = {p[0] for p in look.found[name] if p[2] != "memory"}
            may = {"keeper", "master"} | ({"imap", "auth"} if name == "boot key" else set())
            if not {"keeper"} <= holders <= may or any(
                    p[1] in sessions for p in look.found[name]):
                wrong.append("a memfd with %s is open in %s" % (name, sorted(look.found[name])))
        return wrong

    def run(self):
        server = self.server
        kinds = [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2] * 2
        users = sorted(server.users)
        known = [Known(server, u, server.passwords[u], v) for u, v in zip(users, kinds)]
        for k in known:
            k.sealing = k.session_key(self.boot_key)
        self.expect("awake", known, [])
        for k in known[2:]:
            k.c.idle()
            k.c.must_sleep()
        self.expect("two asleep", known[:2], known[2:])
        for k in known[2:]:
            k.c.done()
            k.c.ok("NOOP")
        self.expect("awake again", known, [])
        for k in known[1:]:
            k.c.idle()
            k.c.must_sleep()
        for k in known[:2]:
            k.c.close()
        server.wait(lambda: len(server.who()) == 2, "two sessions to end")
        self.expect("left", [], known[2:], known[:2])
        stranger = Known(server, users[0], server.passwords[users[0]],
                         ssl.TLSVersion.TLSv1_3, log_in=False)
        check("NO" in stranger.c.command("LOGIN %s %s-wrong" % (users[0], stranger.password))[1],
              "a wrong password was taken")
        stranger.c.close()
        self.expect("left without a session", [], known[2:], known[:2] + [stranger])
        server.kill("imap-hibernate")
        server.wait(server.recovered, "imap-hibernate to come back")
        self.expect("adopted", [], known[2:], known[:2] + [stranger])
        for k in known[2:]:
            k.c.done()
            k.c.close()
        self.key_updates(users[0])

    def key_updates(self, user):
        """The secrets of s_client's first generation are gone after its K."""
        server = self.server
        path = os.path.join(server.dir, "keylog-s_client")
        os.environ["TLS_CLIENTS_DIR"] = server.dir
        server.wait(lambda: not server.who(), "the others to be gone")
        c = tls_clients.Openssl(server, "1.3", "AES256", "-keylogfile", path)
        try:
            c.until(b"* OK")
            c.ok(b"a1", b"LOGIN %s %s" % (user.encode(), server.passwords[user].encode()))
            c.ok(b"a2", b"SELECT INBOX")
            log = key_log(path)
            old, new = {}, {}
            for side in ("CLIENT", "SERVER"):
                secret = log[side + "_TRAFFIC_SECRET_0"][1]
                old.update(generation13(side + " before", secret, 32))
                new.update(generation13(side + " after", updated(secret), 32))
            for there, gone in ((old, new), (new, old)):
                look = Look(server, {**old, **new})
                check(all(len(look.found[n]) == 1 and look.programs(n) == {"imap"}
                          for n in there), "not there: %r" % look.found)
                check(not any(look.found[n] for n in gone), "there: %r" % look.found)
                c.key_update()
                c.ok(b"a3", b"NOOP")
        finally:
            c.close()
        if self.verbose:
            print("ok KeyUpdate")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-v", "--verbose", action="store_true")
    a = p.parse_args()
    with open(os.path.join(dm.STAGE, "libexec", "dormouse", "imap"), "rb") as f:
        why = "not root" if os.geteuid() != 0 else \
            "a build with sanitizers" if b"__asan_init" in f.read() else None
    if why:
        print("skipped: %s\n0 passed, 0 failed" % why)
        return 0
    with Server("residue", users=["anna", "bert", "cleo", "dora"], tls=True) as server:
        try:
            Test(server, a.verbose).run()
        except Exception as e:
            if not isinstance(e, dm.Failure):
                traceback.print_exc()
            server.keep = True
            print("FAIL %s: %s\n0 passed, 1 failed" % (type(e).__name__, e))
            return 1
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
