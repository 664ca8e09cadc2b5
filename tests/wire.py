# SPDX-License-Identifier: MIT
"""TLS and COMPRESS of a session that sleeps: what the talks cannot say.

    wire.py [-v] [NAME...]

Each test is a function test_*; NAME picks those that contain it.
"""
import argparse
import hmac
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)
CIPHERS = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
           "ECDHE-ECDSA-CHACHA20-POLY1305")
KEEPALIVE = "* OK Still here"


def check(ok, why):
    if not ok:
        raise dm.Failure(str(why))


def lines_are(lines, wanted):
    """Keepalives left out."""
    got = [line for line in lines if line != KEEPALIVE]
    check(got == wanted, "expected %r, got %r" % (wanted, got))


def sanitized():
    with open(os.path.join(dm.STAGE, "libexec", "dormouse", "imap"), "rb") as f:
        return b"__asan_init" in f.read()


def client_of(server, version=None, ciphers=None, deflate=False, user="anna"):
    """A client over TLS of that kind, logged in."""
    c = dm.Client.__new__(dm.Client)
    c.server, c.user, c.buffer, c.tag, c.wants_deflate = server, user, b"", 0, deflate
    c.sock = socket.create_connection(("127.0.0.1", server.tls_port), dm.PATIENCE)
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.local_port = c.sock.getsockname()[1]
    c.wire.start_tls(server.context(version, ciphers))
    c.greeting = c.line()
    c.ok("LOGIN %s secret" % user)
    if deflate:
        c.compress()
    return c


def test_every_version_and_suite_sleeps_after_each_command(server):
    for version in VERSIONS:
        for ciphers in CIPHERS:
            for deflate in (False, True):
                c = client_of(server, version, None if version == VERSIONS[0] else ciphers,
                              deflate)
                for command in ("NOOP", "SELECT INBOX", "UID SEARCH ALL", "STORE 1 +FLAGS (x)",
                                "FETCH 1 (FLAGS BODY[])", "UNSELECT"):
                    c.ok(command)
                    c.must_sleep()
                name = c.row()["security"]
                check(name.startswith("TLSv1.3 TLS_AES_" if version == VERSIONS[0] else
                                      "TLSv1.2 ") and name.endswith("DEFLATE") == deflate, name)
                c.ok("LOGOUT")
                check(c.wire.recv(1) == b"" and c.wire.ended, "no close_notify after LOGOUT")


def test_keepalives_decrypt_in_order(server):
    """Those that the holder wrote, those that went first at waking, and the answer."""
    for version in VERSIONS:
        for deflate in (False, True):
            c = client_of(server, version, None, deflate)
            c.ok("SELECT INBOX")
            c.idle()
            c.must_sleep()
            seen = 0
            while seen < 7:         # two are made ahead: it wakes for more in between
                line = c.line()
                check(line == KEEPALIVE, line)
                seen += 1
            lines, tagged = c.done()
            lines_are(lines, [])
            check(" OK " in tagged, tagged)
            c.close()


def reload(server):
    """One that is not over yet is waited for."""
    def attempt():
        _, ok, server.reason = server.ctl("reload")
        return ok
    server.reason = ""
    try:
        server.wait(attempt, "the reload", 10)
    except dm.Failure:
        raise dm.Failure("reload: " + server.reason)


def test_keepalives_begin_with_a_byte_after_a_reload(server):
    """A state that has none may be in a late WAKE: the first ones must not lie
    where that one's answer would, so one goes out at once, before they are made."""
    for deflate in (False, True):
        server.options["keepalive_interval"] = "0"
        server.write_conf()
        reload(server)
        server.wait(server.recovered, "the reload")
        c = client_of(server, None, None, deflate)
        c.ok("SELECT INBOX")
        c.idle()
        c.must_sleep()
        server.options["keepalive_interval"] = "1h"
        server.write_conf()
        reload(server)

        def told():
            server.ctl("wake", c.id())
            return not c.quiet(0.2)
        server.wait(told, "the keepalive that moves the fence")
        check(c.line() == KEEPALIVE, "something else")
        c.must_sleep()
        server.ctl("wake", c.id())
        c.must_sleep()
        check(c.quiet(0.2), "a needless wake said something")
        # Both that were made ahead go first.
        lines, tagged = c.done()
        check(lines == [KEEPALIVE, KEEPALIVE] and " OK " in tagged, "%r %r" % (lines, tagged))
        c.close()


def test_pieces_of_records_only_wake(server):
    """No command came: it sleeps again, and nothing is lost."""
    for deflate in (False, True):
        c = client_of(server, None, None, deflate)
        c.ok("SELECT INBOX")
        c.idle()
        c.must_sleep()
        data = b"DONE\r\n"
        if deflate:
            data = c.wire.deflate.compress(data) + c.wire.deflate.flush(zlib.Z_SYNC_FLUSH)
        c.wire.tls.write(data)
        data = c.wire.go.read()
        for i in range(len(data) - 1):
            c.sock.sendall(data[i:i + 1])
            server.settled(c)
            c.must_sleep()
        c.sock.sendall(data[-1:])
        lines, tagged = c.answer(c.idle_tag)
        lines_are(lines, [])
        check(" OK " in tagged, tagged)
        c.close()


class SClient:
    """openssl s_client: K and k send KeyUpdates, with and without a wish for an answer."""

    def __init__(self, server):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", "127.0.0.1:%d" % server.tls_port, "-CAfile",
             server.pem + ".crt", "-servername", "localhost", "-tls1_3", "-crlf", "-brief"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.until("* OK")

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def until(self, start):
        while True:
            line = self.process.stdout.readline().decode()
            check(line, "s_client ended before " + start)
            if line.startswith(start):
                return line

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def test_key_updates_only_wake(server):
    c = SClient(server)
    c.say("a1 LOGIN anna secret")
    check(" OK " in c.until("a1 "), "login")
    c.say("a2 SELECT INBOX")
    c.until("a2 OK")
    for turn in range(3):
        c.say("b%d IDLE" % turn)
        c.until("+ idling")
        for letter in "KkKKk":
            # s_client looks for K only where a read() begins.
            server.wait(lambda: server.ctl("sleep", server.who("anna")[0]["id"])[1] or
                        server.who("anna")[0]["state"] == "asleep-idle", "it to sleep")
            wakes = server.log().count(" imap: wake ")
            c.say(letter)
            server.wait(lambda: server.log().count(" imap: wake ") > wakes, "the wake")
            # It stays awake for a while, as after any input, and can sleep.
            server.wait(lambda: server.ctl("sleep", server.who("anna")[0]["id"])[1],
                        "it to be able to sleep again")
        c.say("DONE")
        check(" OK " in c.until("b%d " % turn), "DONE")
    check(len(re.findall(r" imap: wake .*cause=input told=0 ", server.log())) >= 15,
          "no wake that said nothing")
    c.close()


def test_hop_serves_every_command_by_another_process(server):
    for deflate in (False, True):
        c = client_of(server, None, None, deflate)
        before = server.log().count(" imap: wake ")
        for n in range(10):
            server.wait(c.asleep, "the session to hop")
            c.ok("NOOP" if n % 2 else "SELECT INBOX")
        c.ok("LOGOUT")
        wakes = server.log().count(" imap: wake ") - before
        check(wakes >= 10, "%d wakes for 10 commands" % wakes)
    check("debug_hop=yes" in server.log(), "no warning in the log")


def test_close_notify_while_asleep_ends_the_session(server):
    c = client_of(server)
    c.ok("SELECT INBOX")
    c.idle()
    c.must_sleep()
    try:
        c.wire.tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    c.wire.pass_out()
    while c.wire.recv(100):
        pass
    check(c.wire.ended, "close_notify was not answered")
    server.wait(lambda: not server.who("anna"), "the session to be forgotten")


def expand_label(digest, secret, label, n):
    """HKDF-Expand-Label of RFC 8446 7.1, for one block."""
    full = b"tls13 " + label
    info = struct.pack(">HB", n, len(full)) + full + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:n]


def memory_of(pid):
    """What a process has written: its anonymous and private memory."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            w = line.split()
            if "w" not in w[1]:
                continue
            start, end = (int(x, 16) for x in w[0].split("-"))
            try:
                mem.seek(start)
                yield mem.read(end - start)
            except OSError:
                pass


def test_secrets_are_where_the_session_is_and_nowhere_else(server):
    """Traffic secrets and keys, known from the client's key log: in one imap while
    it is awake, nowhere while it sleeps (the state is sealed)."""
    if not server.root or sanitized():
        return      # nobody else may look; too much to look through
    path = os.path.join(server.dir, "keylog")
    context = ssl.create_default_context(cafile=server.pem + ".crt")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = path
    server.contexts[(None, None)] = context
    c = client_of(server)
    with open(path) as f:
        secrets = [bytes.fromhex(line.split()[2]) for line in f if "_TRAFFIC_SECRET_0" in line]
    check(len(secrets) == 2, "the key log has %d secrets" % len(secrets))
    digest, key = ("sha384", 32) if len(secrets[0]) == 48 else ("sha256", 32)
    if "AES_128" in c.wire.tls.cipher()[0]:
        key = 16
    wanted = secrets + [expand_label(digest, s, b"key", key) for s in secrets]

    def holders():
        found = {}
        for pid, name in server.processes().items():
            try:
                if any(w in block for block in memory_of(pid) for w in wanted):
                    found[pid] = name
            except OSError:
                pass        # it ended
        return found

    c.ok("SELECT INBOX")
    found = holders()
    check(list(found.values()) == ["imap"], "awake: %r" % found)
    for _ in range(2):
        c.idle()
        c.must_sleep()
        server.wait(lambda: not holders(), "the secrets to be gone")
        c.done()
        found = holders()
        check(list(found.values()) == ["imap"], "awake again: %r" % found)
    c.close()


def test_sleepers_are_told_their_end(server):
    """BYE and close_notify, behind the keepalives, from a process that woke for it."""
    for version in VERSIONS:
        for deflate in (False, True):
            c = client_of(server, version, None, deflate)
            c.ok("SELECT INBOX")
            c.idle()
            c.must_sleep()
            check(server.ctl("kick", c.id())[1], "kick")
            line = KEEPALIVE
            while line == KEEPALIVE:
                line = c.line()
            check(line.startswith("* BYE "), line)
            check(c.wire.recv(1) == b"" and c.wire.ended, "no close_notify after BYE")
            c.close()


def test_forged_record_ends_with_an_alert_and_a_log_line(server):
    for asleep in (False, True):
        c = client_of(server)
        c.ok("NOOP")
        if asleep:
            c.must_sleep()
        c.sock.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        try:
            while c.wire.recv(100):
                pass
            raise dm.Failure("no alert")
        except ssl.SSLError as e:
            check("BAD_RECORD_MAC" in str(e).upper(), e)
        server.wait(lambda: not server.who("anna"), "the session to be forgotten")
    check(len(re.findall(r'disconnect .*reason="TLS alert 20"', server.log())) == 2,
          "the log does not name the alert")


def test_compress_is_refused_as_it_should(server):
    for tls in (False, True):
        c = dm.Client(server, tls=tls, deflate=False)
        check("COMPRESS" not in c.greeting, c.greeting)
        _, tagged = c.command("COMPRESS DEFLATE")
        check(re.search(r" (NO|BAD) ", tagged), tagged)
        c.ok("LOGIN anna secret")
        for bad in ("COMPRESS", "COMPRESS LZW", "COMPRESS DEFLATE X", 'COMPRESS (DEFLATE)'):
            _, tagged = c.command(bad)
            check(" BAD " in tagged, tagged)
        check("COMPRESS=DEFLATE" in c.ok("CAPABILITY")[0], "not offered")
        c.compress()
        check("COMPRESS" not in c.ok("CAPABILITY")[0], "offered though active")
        _, tagged = c.command("COMPRESS DEFLATE")
        check(" NO [COMPRESSIONACTIVE] " in tagged, tagged)
        c.must_sleep()
        check("COMPRESS" not in c.ok("CAPABILITY")[0], "offered though active, after a sleep")
        c.ok("LOGOUT")


def test_a_large_window_keeps_it_awake_until_it_is_small(server):
    """A window of 32 KiB of noise; then as much of what packs well."""
    c = client_of(server, None, None, True)
    noise = "".join(random.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345")
                    for _ in range(40000))
    c.ok("APPEND INBOX {%d+}\r\nSubject: x\r\n\r\n%s" % (len(noise) + 14, noise))
    ok, why = c.sleep()
    check(not ok and "compress_window_max" in why, why)
    c.ok("NOOP")
    check(re.search(r'imap: awake .*reason="COMPRESS window above', server.log()),
          "the log does not say so")
    text = "Subject: y\r\n\r\n" + "z" * 40000
    c.ok("APPEND INBOX {%d+}\r\n%s" % (len(text), text))
    c.must_sleep()
    c.ok("NOOP")
    c.ok("LOGOUT")


def test_half_a_block_keeps_it_awake(server):
    c = dm.Client(server, "anna", tls=False, deflate=True)
    z = c.wire.deflate
    data = z.compress(b"t9 NOOP\r\n" * 10) + z.flush(zlib.Z_SYNC_FLUSH)
    c.sock.sendall(data[:12])
    server.settled(c)
    ok, why = c.sleep()
    check(not ok, "slept in the middle of a block")
    c.sock.sendall(data[12:])
    for _ in range(10):
        check(c.line() == "t9 OK NOOP completed.", "wrong answer")
    c.must_sleep()
    c.ok("NOOP")
    c.close()


def test_plain_text_after_compress_ends_the_session(server):
    for asleep in (False, True):
        c = dm.Client(server, "anna", tls=False, deflate=True)
        if asleep:
            c.must_sleep()
        c.sock.sendall(b"\xff\xff a1 NOOP\r\n")
        check(c.wire.recv(1) == b"", "an answer")
        server.wait(lambda: not server.who("anna"), "the session to be forgotten")
    check(server.log().count('reason="what the client sent is not compressed"') == 2, "the log")


def test_large_mail_both_ways(server):
    body = "Subject: big\r\n\r\n" + "".join("line %d of many, and %x\r\n" % (i, i * 7919)
                                            for i in range(40000))
    for deflate in (False, True):
        c = client_of(server, None, None, deflate)
        before = len(server.files("anna"))
        c.ok("APPEND INBOX {%d+}\r\n%s" % (len(body), body))
        c.must_sleep()
        c.ok("SELECT INBOX")
        c.must_sleep()
        lines = c.ok("FETCH %d BODY.PEEK[]" % (before + 1))
        check(body in lines[0], "the mail came back otherwise")
        c.must_sleep()
        c.ok("LOGOUT")


def test_bombs_cost_no_memory(server):
    """32 MiB of one letter in 32 KiB: it is stored, and its process stays small."""
    c = dm.Client(server, "anna", tls=False, deflate=True)
    size = 32 << 20
    c.send("t1 APPEND INBOX {%d+}\r\n" % size)
    server.settled(c)
    c.send("x" * size + "\r\n")
    _, tagged = c.answer("t1")
    check(" OK " in tagged, tagged)
    peaks = []
    for pid in server.pids("imap"):
        with open("/proc/%d/status" % pid) as f:
            peaks.append(int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)))
    most = (100 if sanitized() else 24) << 10
    check(peaks and max(peaks) < most, "peaks: %r kB" % peaks)
    c.ok("LOGOUT")


def test_pieces_at_every_place_of_a_login(server):
    """What comes behind the log-in, coalesced and cut anywhere, is not lost."""
    for _ in range(40):
        c = dm.Client(server, tls=True, deflate=False)
        text = b"a1 LOGIN anna secret\r\na2 NOOP\r\na3 SELECT INBOX\r\na4 UNSELECT\r\n"
        cuts = sorted(random.randrange(1, len(text)) for _ in range(random.randrange(4)))
        data = b""
        for i, j in zip([0] + cuts, cuts + [len(text)]):
            if i < j:
                c.wire.tls.write(text[i:j])
                data += c.wire.go.read()
        at = random.randrange(1, len(data))
        c.sock.sendall(data[:at])
        time.sleep(random.choice((0, 0.003)))
        c.sock.sendall(data[at:])
        for tag in ("a1", "a2", "a3", "a4"):
            _, tagged = c.answer(tag)
            check(" OK " in tagged, tagged)
        c.close()


class Server(dm.Server):
    """Knows how much of what a client sent was read: what is unread stands in
    /proc/net/tcp, at the server's end."""

    def unread(self, c):
        local = c.sock.getpeername()[1]
        with open("/proc/net/tcp") as f:
            for line in f:
                w = line.split()
                if w[1].endswith(":%04X" % local) and w[2].endswith(":%04X" % c.local_port):
                    return int(w[4].split(":")[1], 16)
        return -1

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def settled(self, c):
        self.wait(lambda: self.unread(c) <= 0, "what was sent to be read")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    passed = failed = 0
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("SEED=%d" % seed)
    random.seed(seed)
    for name, test in sorted(globals().items()):
        if not name.startswith("test_") or (a.names and not any(n in name for n in a.names)):
            continue
        options = {"keepalive_interval": "50ms"} if "keepalives" in name else \
            {"debug_hop": "yes"} if "hop" in name else {}
        start = time.monotonic()
        try:
            with Server("wire", tls=True, **options) as server:
                server.make_maildir("anna")
                server.deliver("anna")
                test(server)
            passed += 1
        except Exception as e:
            failed += 1
            if not isinstance(e, dm.Failure):
                traceback.print_exc()
            print("FAIL %s: %s" % (name, e))
            if a.verbose:
                with open(server.log_path, errors="replace") as f:
                    print(f.read()[-6000:])
        if a.verbose:
            print("%s (%.1f s)" % (name, time.monotonic() - start))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
