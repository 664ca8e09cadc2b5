#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whole conversations with the real imap-login and auth, before a session
begins. login-harness plays master, holder and spare; what it takes from the
login queue it prints.

    test_login.py LOGIN-HARNESS AUTH IMAP-LOGIN [NAME...]

Runs as root (then the programs change their user) or as anybody."""
import base64, os, queue, resource, select, shutil, signal, socket, subprocess, sys, tempfile
import threading, time, traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scram_client import Scram, b64, stored

HARNESS, AUTH, LOGIN = sys.argv[1:4]
ROOT = os.geteuid() == 0
UID = 12345 if ROOT else os.getuid()
PATIENCE = 20       # seconds until something that must happen counts as missing

# crypt(3) of "secret": SHA-512 with few rounds, SHA-256, and one that costs
# thousands of times more, some seconds.
def crypt(password, setting):
    import ctypes, ctypes.util
    lib = ctypes.CDLL("libcrypt.so.1")
    lib.crypt.restype = ctypes.c_char_p
    return lib.crypt(password.encode(), setting.encode()).decode()

SHA512 = crypt("secret", "$6$rounds=1000$abcdefgh")
SHA256 = crypt("secret", "$5$rounds=1000$abcdefgh")
SLOW = crypt("secret", "$6$rounds=9000000$abcdefgh")


def s_status(server, which):
    return server.say("status " + which, "status ")


class Server:
    """One harness with its programs, and a thread that reads its lines."""

    def __init__(self, users=None, descriptors=None, **settings):
        self.dir = tempfile.TemporaryDirectory(prefix="dm-login-")
        os.chmod(self.dir.name, 0o755)
        self.passwd = os.path.join(self.dir.name, "passwd")
        ids = "%d:%d" % (UID, UID if ROOT else os.getgid()) if ROOT else ":"
        self.write_users([u.replace("IDS", ids) for u in users] if users else [
            "anna:{SHA512-CRYPT}%s:%s::/home/anna::" % (SHA512, ids),
            "bert:{PLAIN}with \"quotes\" \\ and blanks:%s::/home/bert::" % ids,
            "carl:{SHA256-CRYPT}%s:%s::/home/carl::" % (SHA256, ids),
            "slow:%s:%s::/home/slow::" % (SLOW, ids),
            "locked:!:%s::/home/locked::" % ids,
        ])
        self.ids = ids
        args = dict(base_dir=self.dir.name, passwd_file=self.passwd, login_timeout_ms=60000,
                    log_level="info")
        if ROOT:
            args.update(auth_user="nobody", login_user="nobody")
        args.update(settings)
        if "pam_service" in settings:
            pam_files(self.dir.name)
            args["pam_service"] = settings["pam_service"].replace("DIR", self.dir.name)
        self.log = open(os.path.join(self.dir.name, "log"), "w+")
        self.proc = subprocess.Popen(
            [HARNESS, AUTH, LOGIN] + ["%s=%s" % (k, one) for k, v in args.items()
                                      for one in (v if isinstance(v, list) else [v])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            preexec_fn=descriptors and (lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (descriptors, descriptors))))
        self.lines, self.ports, self.kept = queue.Queue(), {}, []
        threading.Thread(target=self.read, daemon=True).start()
        while True:
            line = self.line()
            words = line.split()
            if words[0] == "listen":
                self.ports[words[1]] = int(words[2])
            elif words[0] == "ready":
                self.auth_pid, self.login_pid = int(words[1]), int(words[2])
                break

    def read(self):
        for line in self.proc.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def write_users(self, lines):
        with open(self.passwd + ".new", "w") as f:
            f.write("# test users\n\n" + "\n".join(lines) + "\n")
        os.rename(self.passwd + ".new", self.passwd)

    def line(self):
        line = self.lines.get(timeout=PATIENCE)
        assert line is not None, "the harness has ended"
        return line

    def expect(self, prefix):
        """The next line that begins so; others are kept for later."""
        for i, line in enumerate(self.kept):
            if line.startswith(prefix):
                return self.kept.pop(i)
        while True:
            line = self.line()
            if line.startswith(prefix):
                return line
            self.kept.append(line)

    def say(self, text, answer=None):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()
        return self.expect(answer) if answer else None

    def session(self):
        """What a spare has taken from the login queue, as a dictionary."""
        line = self.expect("LOGIN ")
        assert line.endswith(" complete"), line
        return dict(w.split("=", 1) for w in line.split()[1:-1])

    def log_text(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()

    def wait_log(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.log_text():
            assert time.monotonic() < end, "never logged: %r" % text
            time.sleep(0.02)

    def wait_pending(self):
        """Until auth is at a log-in."""
        end = time.monotonic() + PATIENCE
        while "pending=0 " in s_status(self, "auth"):
            assert time.monotonic() < end, "auth was never asked"
            time.sleep(0.02)

    def wait_sessions(self, n):
        """Until auth knows of so many."""
        end = time.monotonic() + PATIENCE
        while not s_status(self, "auth").startswith("status sessions=%d " % n):
            assert time.monotonic() < end, s_status(self, "auth")
            time.sleep(0.02)

    def client(self, address="127.0.0.1", port=None, greet=True):
        return Client(address, port or self.ports["127.0.0.1"], greet)

    def close(self):
        self.proc.stdin.close()
        status = self.proc.wait(timeout=PATIENCE)
        text = self.log_text()
        self.log.close()
        self.dir.cleanup()
        for bad in ("AddressSanitizer", "LeakSanitizer", "runtime error", "refused syscall",
                    "crash signal"):
            assert bad not in text, text
        assert status == 0, "harness: %d\n%s" % (status, text)


class Client:
    def __init__(self, address, port, greet=True):
        self.sock = socket.create_connection((address, port), timeout=PATIENCE)
        self.buffer = b""
        if greet:
            self.greeting = self.line()
            assert self.greeting.startswith("* OK [CAPABILITY "), self.greeting

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            assert data, "end of connection, after %r" % self.buffer
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), line
        return line[:-1].decode("utf-8", "replace")

    def ask(self, command):
        """Sends one command and returns its lines; the last is tagged."""
        tag = command.split(" ", 1)[0]
        self.send(command + "\r\n")
        return self.until(tag)

    def until(self, tag):
        lines = [self.line()]
        while not lines[-1].startswith(tag + " "):
            lines.append(self.line())
        return lines

    def at_end(self):
        """True when the server ends the connection; what came before stays."""
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    return True
                self.buffer += data
        except ConnectionResetError:
            return True

    def silent(self):
        return not select.select([self.sock], [], [], 0)[0] and not self.buffer

    def close(self):
        self.sock.close()


def plain(user, password, authzid=""):
    return base64.b64encode(("%s\0%s\0%s" % (authzid, user, password)).encode()).decode()


TESTS = []


def test(**settings):
    def add(fn):
        TESTS.append((fn.__name__, fn, settings))
        return fn
    return add


# ---- log-ins that succeed ----

@test()
def login_gives_the_client_away(s):
    c = s.client()
    before = int(time.time())
    assert c.ask("a1 LOGIN anna secret") == ["a1 OK Logged in."]
    t = s.session()
    assert t["user"] == "anna" and t["home"] == "/home/anna", t
    assert t["uid"] == str(UID) and t["cookie"] == "good", t
    assert t["remote"] == "127.0.0.1" and t["local"] == "127.0.0.1", t
    assert t["rport"] == str(c.sock.getsockname()[1]), t
    assert t["lport"] == str(s.ports["127.0.0.1"]), t
    assert t["tag"] == "a1" and t["input"] == "" and t["tls"] == "0", t
    assert before - 1 <= int(t["time"]) <= int(time.time()) + 1, t
    assert int(t["sid"], 16) != 0
    s.wait_log("login id=%s user=anna remote=127.0.0.1" % t["sid"])


@test()
def login_works_byte_by_byte(s):
    c = s.client()
    for byte in b'x LOGIN "carl" secret\r\n':
        c.send(bytes([byte]))
        time.sleep(0.002)
    assert c.line() == "x OK Logged in."
    assert s.session()["user"] == "carl"


@test()
def passwords_may_be_quoted_or_literals(s):
    c = s.client()
    assert c.ask('a LOGIN bert "with \\"quotes\\" \\\\ and blanks"')[-1] == "a OK Logged in."
    c = s.client()
    c.send("b LOGIN {4}\r\n")
    assert c.line().startswith("+ ")
    c.send("anna {6}\r\n")
    assert c.line().startswith("+ ")
    c.send("secret\r\n")
    assert c.line() == "b OK Logged in."
    c = s.client()
    c.send("c LOGIN {4+}\r\nanna {6+}\r\nsecret\r\n")
    assert c.line() == "c OK Logged in."
    assert [s.session()["user"] for _ in range(3)] == ["bert", "anna", "anna"]


@test()
def authenticate_plain_with_and_without_initial_response(s):
    c = s.client()
    assert c.ask("a AUTHENTICATE PLAIN " + plain("anna", "secret"))[-1] == "a OK Logged in."
    c = s.client()
    c.send("b authenticate plain\r\n")
    assert c.line() == "+ "
    c.send(plain("anna", "secret", "anna") + "\r\n")
    assert c.line() == "b OK Logged in."
    assert [s.session()["tag"] for _ in range(2)] == ["a", "b"]


@test()
def sasl_line_may_come_in_pieces_and_with_commands_behind(s):
    c = s.client()
    c.send("b AUTHENTICATE PLAIN\r\n" + plain("anna", "secret")[:7])
    assert c.line() == "+ "
    time.sleep(0.05)
    c.send(plain("anna", "secret")[7:] + "\r\nc SELECT INBOX\r\n")
    assert c.line() == "b OK Logged in."
    assert bytes.fromhex(s.session()["input"]) == b"c SELECT INBOX\r\n"


@test()
def what_is_pipelined_behind_login_goes_to_imap(s):
    c = s.client()
    behind = b"c SELECT INBOX\r\nd NOOP\r\ne IDL"
    c.send(b"a NOOP\r\nb LOGIN anna secret\r\n" + behind)
    assert c.line() == "a OK NOOP completed."
    assert c.line() == "b OK Logged in."
    t = s.session()
    assert bytes.fromhex(t["input"]) == behind and t["tag"] == "b", t


@test()
def much_behind_login_stays_in_the_socket(s):
    c = s.client()
    behind = b"".join(b"c%d NOOP\r\n" % i for i in range(5000))
    c.send(b"b LOGIN anna secret\r\n" + behind)
    assert c.line() == "b OK Logged in."
    got = bytes.fromhex(s.session()["input"])
    assert 0 < len(got) <= 8192 and behind.startswith(got), len(got)


@test()
def mapped_ipv4_is_shown_as_ipv4_and_ipv6_works(s):
    if "::" not in s.ports:
        return "no IPv6 here"
    c = s.client("127.0.0.1", s.ports["::"])
    assert c.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    t = s.session()
    assert t["remote"] == "127.0.0.1" and t["local"] == "127.0.0.1", t
    try:
        c = s.client("::1", s.ports["::"])
    except OSError:
        return "no ::1 here"
    assert c.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    assert s.session()["remote"] == "::1"


@test()
def half_closed_connection_still_logs_in(s):
    c = s.client()
    c.send("a LOGIN anna secret\r\n")
    c.sock.shutdown(socket.SHUT_WR)
    assert c.line() == "a OK Logged in."
    s.session()


# ---- log-ins that fail ----

@test()
def wrong_password_and_unknown_user_look_the_same(s):
    answers = []
    for user in ("anna", "nobody-knows"):
        c = s.client()
        answers.append(c.ask("a LOGIN %s wrong" % user)[-1])
    assert answers == ["a NO [AUTHENTICATIONFAILED] Authentication failed."] * 2, answers
    s.wait_log("auth: passwd-file(anna,127.0.0.1): Password mismatch")
    s.wait_log("auth: passwd-file(nobody-knows,127.0.0.1): unknown user")
    s.wait_log("login-failed id=")


@test()
def right_password_works_after_a_wrong_one(s):
    c = s.client()
    start = time.monotonic()
    assert " NO [AUTHENTICATIONFAILED]" in c.ask("a LOGIN anna wrong")[-1]
    assert time.monotonic() - start >= 0.9, "the answer was not delayed"
    assert c.ask("b LOGIN anna secret")[-1] == "b OK Logged in."
    s.session()


@test()
def commands_behind_a_failed_login_are_answered(s):
    c = s.client()
    c.send("a LOGIN anna wrong\r\nb NOOP\r\nc LOGIN anna secret\r\nd NOOP\r\n")
    assert c.line().startswith("a NO ")
    assert c.line() == "b OK NOOP completed."
    assert c.line() == "c OK Logged in."
    assert bytes.fromhex(s.session()["input"]) == b"d NOOP\r\n"


@test()
def nobody_logs_in_with_odd_credentials(s):
    for command in ('a LOGIN "" ""', "a LOGIN locked !", 'a LOGIN locked ""',
                    'a LOGIN anna ""', "a LOGIN anna/../anna secret",
                    "a AUTHENTICATE PLAIN " + plain("anna", "secret", "bert"),
                    "a AUTHENTICATE PLAIN =",
                    "a AUTHENTICATE PLAIN " + base64.b64encode(b"anna").decode(),
                    "a LOGIN anna " + "s" * 600, "a LOGIN " + "u" * 600 + " secret"):
        c = s.client()
        answer = c.ask(command)[-1]
        assert answer.startswith("a NO [AUTHENTICATIONFAILED]"), (command, answer)
        c.close()
    s.wait_log("invalid credentials (authorization as another user)")


@test()
def names_cannot_forge_log_lines(s):
    c = s.client()
    c.send('a LOGIN {38+}\r\nx,1.2.3.4): Password mismatch\r\nauth: x wrong\r\n')
    assert c.line().startswith("a NO [AUTHENTICATIONFAILED]")
    s.wait_log("unknown user")
    for line in s.log_text().splitlines():
        assert not line.startswith("auth: x"), line
        assert "(x,1.2.3.4)" not in line, line


@test()
def authenticate_can_be_cancelled(s):
    c = s.client()
    c.send("a AUTHENTICATE PLAIN\r\n")
    assert c.line() == "+ "
    c.send("*\r\n")
    assert c.line().startswith("a BAD ")
    c.send("b AUTHENTICATE PLAIN\r\n")
    assert c.line() == "+ "
    c.send("!!!!\r\n")
    assert c.line().startswith("b BAD ")
    assert c.ask("c AUTHENTICATE CRAM-MD5")[-1].startswith("c NO ")
    assert c.ask("d AUTHENTICATE")[-1].startswith("d BAD ")
    assert c.ask("e LOGIN anna secret")[-1] == "e OK Logged in."
    s.session()


@test()
def passwords_are_refused_in_the_clear(s):
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))     # sends nothing
        own = probe.getsockname()[0]
    except OSError:
        return "no address but loopback here"
    if own.startswith("127."):
        return "no address but loopback here"
    c = s.client(own, s.ports["0.0.0.0"])
    assert "LOGINDISABLED" in c.greeting and "AUTH=" not in c.greeting
    assert c.ask("a LOGIN anna secret")[-1].startswith("a NO [PRIVACYREQUIRED]")
    answer = c.ask("b AUTHENTICATE PLAIN " + plain("anna", "secret"))[-1]
    assert answer.startswith("b NO [PRIVACYREQUIRED]"), answer
    assert "LOGINDISABLED" in c.ask("c CAPABILITY")[0]


@test(max_user_sessions=2)
def sessions_of_a_user_are_counted(s):
    sids = []
    for _ in range(2):
        assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
        sids.append(s.session()["sid"])
    assert s.client().ask("a LOGIN anna secret")[-1].startswith("a NO [LIMIT] ")
    assert s.client().ask("a LOGIN carl secret")[-1] == "a OK Logged in."
    s.session()
    s.say("session 1 %s anna %d" % (sids[0], UID), "sent")        # asleep: counts
    assert s.client().ask("a LOGIN anna secret")[-1].startswith("a NO [LIMIT] ")
    s.say("session 2 %s anna %d" % (sids[0], UID), "sent")        # gone
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()


@test(max_user_sessions=2)
def sessions_that_another_uid_claims_are_not_counted(s):
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    sid = s.session()["sid"]
    for n in range(5):
        s.say("session %d b%d anna %d" % (n % 2, n, UID + 1), "sent")
    # Nor does it end one, or make it another user's.
    s.say("session 1 %s bert %d" % (sid, UID), "sent")
    s.say("session 2 %s bert %d" % (sid, UID + 1), "sent")
    s.wait_log("auth: session id=00000000000000b4 user=anna uid=%d reason=\"not that user's\"" %
               (UID + 1))
    assert s.client().ask("b LOGIN anna secret")[-1] == "b OK Logged in."
    s.session()
    assert s.client().ask("c LOGIN anna secret")[-1].startswith("c NO [LIMIT] ")


# ---- the other commands ----

@test()
def commands_before_login(s):
    c = s.client()
    caps = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN"
    assert c.greeting == "* OK [CAPABILITY %s] Dormouse ready." % caps, c.greeting
    assert c.ask("a capability") == ["* CAPABILITY " + caps, "a OK Capability completed."]
    assert c.ask("b NOOP") == ["b OK NOOP completed."]
    lines = c.ask('c ID ("name" "Test" "version" "1\\"0" "x y" "odd" "nil" NIL)')
    assert lines[0].startswith('* ID ("name" "Dormouse"') and lines[1].startswith("c OK")
    assert c.ask("d ID NIL")[-1].startswith("d OK ")
    assert c.ask("e ID (name)")[-1].startswith("e BAD ")
    assert c.ask("f ENABLE CONDSTORE")[-1] == "f BAD Log in first."
    assert c.ask("g SELECT INBOX")[-1] == "g BAD Log in first."
    assert c.ask("h FROBNICATE")[-1] == "h BAD Unknown command."
    assert c.ask("i NOOP now")[-1].startswith("i BAD ")
    assert c.ask("j STARTTLS")[-1].startswith("j BAD ")
    assert c.ask("k LOGIN anna")[-1].startswith("k BAD ")
    assert c.ask("l NOOP")[-1] == "l OK NOOP completed."
    lines = c.ask("m LOGOUT")
    assert lines[0].startswith("* BYE ") and lines[1].startswith("m OK "), lines
    assert c.at_end()
    s.wait_log('id-name=Test id-version="1\\"0"')
    s.wait_log('reason="logged out"')


@test()
def bad_commands_end_the_connection(s):
    c = s.client()
    for i in range(9):
        assert c.ask("a%d WHAT" % i)[-1].startswith("a%d BAD " % i)
    assert c.ask("b NOOP")[-1].startswith("b OK ")      # only those in a row count
    for i in range(10):
        assert c.ask("c%d WHAT" % i)[-1].startswith("c%d BAD " % i)
    assert c.line().startswith("* BYE ")
    assert c.at_end() and not c.buffer
    s.wait_log('reason="too many bad commands"')


@test()
def hostile_input_ends_in_bye_or_bad(s):
    for data in (b"\0\0\0\0\r\n", b"a" * 100000, b"a LOGIN {99999999999999999999}\r\n",
                 b"a LOGIN {5000}\r\n", b"a LOGIN {5000+}\r\n" + b"x" * 5000 + b" y\r\n",
                 b"a LOGIN {4294967295+}\r\nx y\r\n", b"\r\n" * 100,
                 b"a LOGIN " + b"(" * 1000 + b"\r\n", b"a ID " + b"(" * 40 + b"\r\n",
                 b"a AUTHENTICATE PLAIN\r\n" + b"A" * 20000 + b"\r\n",
                 b"GET / HTTP/1.0\r\nHost: x\r\n\r\n" * 10, os.urandom(3000) + b"\r\n" * 12,
                 b'a ID ("' + b"n" * 31 + b'" "v")\r\n', b'a LOGIN "\xff\xfe" "\x80"\r\n',
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\n"):
        c = s.client()
        try:
            c.send(data)
            c.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        assert c.at_end()
        text = c.buffer.decode("latin-1")
        # A broken pipe may eat the last words; but never an OK to any of it.
        assert " OK " not in text.replace("* OK", ""), (data[:40], text)
        c.close()
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()


@test()
def a_client_that_never_reads_is_bounded(s):
    c = s.client()
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.sock.settimeout(2)
    sent, block = 0, b"a CAPABILITY\r\n" * 1000
    try:
        for _ in range(4000):
            sent += c.sock.send(block)
    except TimeoutError:
        pass
    assert sent < 4000 * len(block), "everything was taken, unread"
    # It is served on when it reads, and others are all the time.
    assert s.client().ask("b LOGIN anna secret")[-1] == "b OK Logged in."
    s.session()
    c.sock.settimeout(PATIENCE)
    for _ in range(1000):
        assert c.line().startswith("* CAPABILITY ") and c.line().startswith("a OK ")


# ---- time ----

@test(login_timeout_ms=700)
def silence_ends_in_bye(s):
    c, d = s.client(), s.client()
    for byte in b"a LOGIN anna":        # bytes do not buy time
        try:
            d.send(bytes([byte]))
        except OSError:
            break
        time.sleep(0.1)
    for x in (c, d):
        assert x.line() == "* BYE [UNAVAILABLE] Disconnected for inactivity."
        assert x.at_end()
    s.wait_log('reason="login timeout"')


@test(login_timeout_ms=300)
def waiting_for_auth_is_not_idleness(s):
    c, idle = s.client(), s.client()
    c.send("a LOGIN slow secret\r\n")
    assert idle.line().startswith("* BYE ")
    assert c.silent(), "the slow hash was not slow"
    assert c.line() == "a OK Logged in."
    s.session()


@test()
def a_slow_hash_blocks_nobody(s):
    slow = [s.client() for _ in range(3)]
    for c in slow:
        c.send("a LOGIN slow wrong\r\n")
    # Three of one name would keep two workers busy; all others pass them.
    for _ in range(3):
        assert s.client().ask("b LOGIN anna secret")[-1] == "b OK Logged in."
        assert s.client().ask("b LOGIN carl secret")[-1] == "b OK Logged in."
        s.session()
        s.session()
    assert all(c.silent() for c in slow), "the slow ones were not slow"
    for c in slow:
        assert c.line().startswith("a NO ")


# ---- auth comes and goes ----

@test()
def auth_killed_in_mid_request(s):
    c = s.client()
    c.send("a LOGIN slow secret\r\nb NOOP\r\n")
    s.wait_pending()
    s.say("kill-auth", "exited auth 137")
    assert c.line().startswith("a NO [UNAVAILABLE]")
    assert c.line() == "b OK NOOP completed."
    # Asked while there is none: held until there is one.
    c.send("c LOGIN anna secret\r\n")
    time.sleep(0.1)
    s.say("start-auth", "started")
    assert c.line() == "c OK Logged in."
    assert s.session()["tag"] == "c"
    s.wait_log('reason="auth ended while it was asked"')


@test()
def without_auth_log_ins_are_refused_for_the_time(s):
    s.say("kill-auth", "exited auth 137")
    c = s.client()
    assert c.ask("a LOGIN anna secret")[-1].startswith("a NO [UNAVAILABLE]")
    assert c.ask("b NOOP")[-1].startswith("b OK ")
    s.say("start-auth", "started")
    assert c.ask("c LOGIN anna secret")[-1] == "c OK Logged in."
    s.session()


@test()
def auth_is_replaced_without_anybody_noticing(s):
    c = s.client()
    c.send("a LOGIN slow secret\r\n")
    s.wait_pending()
    s.say("replace-auth", "replaced")
    d = s.client()
    assert d.ask("b LOGIN anna secret")[-1] == "b OK Logged in."
    assert c.line() == "a OK Logged in."
    assert s.expect("exited old-auth") == "exited old-auth 0"
    assert sorted(s.session()["user"] for _ in range(2)) == ["anna", "slow"]


@test(max_user_sessions=2)
def registry_is_told_again_after_a_restart(s):
    s.say("kill-auth", "exited auth 137")
    s.say("start-auth", "started")
    s.say("session 3 0 ", "sent")
    s.say("session 1 a1 anna %d" % UID, "sent")
    s.say("session 0 a2 anna %d" % UID, "sent")
    s.say("session 4 0 ", "sent")
    assert s.client().ask("a LOGIN anna secret")[-1].startswith("a NO [LIMIT] ")
    s.say("session 3 0 ", "sent")
    s.say("session 1 a1 anna %d" % UID, "sent")
    s.say("session 4 0 ", "sent")                       # a2 was not named: gone
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()
    rows = []
    s.say("control sessions")
    while not (line := s.line()).startswith("end "):
        rows.append(line)
    assert line == "end ok=1 " and len(rows) == 2, rows
    assert "row id=00000000000000a1 user=anna phase=asleep" in rows, rows
    assert any("phase=login" in r for r in rows), rows


@test()
def users_can_be_looked_up(s):
    assert s.say("user anna", "user ") == \
        "user id=77 found=1 uid=%d gid=%d home=/home/anna" % (UID, UID if ROOT else os.getgid())
    # The file has just changed (an hour ahead: so it stays, however slow we are):
    # nobody is said to be gone. That anna is answered proves the silence.
    os.utime(s.passwd, (time.time() + 3600,) * 2)
    s.say("ask-user dora", "asked")
    assert " found=1 " in s.say("user anna", "user ")
    os.utime(s.passwd, (time.time() - 60,) * 2)
    assert s.say("user dora", "user ") == "user id=77 found=0 uid=0 gid=0 home="
    row = s.say("control user anna", "row ")
    assert "user=anna" in row and "uid=%d" % UID in row and "home=/home/anna" in row, row
    assert s.expect("end ") == "end ok=1 "
    assert s.say("control user dora", "end ") == "end ok=0 no such user"
    assert s.say("control frobnicate", "end ").startswith("end ok=0 ")
    assert s.say("status auth", "status ").startswith("status sessions=0 ")
    assert "auth=yes" in s.say("status login", "status ")


@test()
def many_rows_reach_a_reader(s):
    for i in range(1, 2001):
        s.say("session 1 %x user%d" % (i, i % 7), "sent")
    s.say("control sessions")
    rows = set()
    while not (line := s.line()).startswith("end "):
        rows.add(line)
    assert line == "end ok=1 " and len(rows) == 2000, len(rows)


@test()
def messages_that_a_role_may_not_send_end_its_channel(s):
    assert s.say("nonsense", "nonsense ") == "nonsense ended"
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()


@test()
def the_passwd_file_is_read_again(s):
    assert s.client().ask("a LOGIN dora new")[-1].startswith("a NO ")
    s.write_users(["dora:{PLAIN}new:%s::/home/dora::" % s.ids, "broken line",
                   "root:{PLAIN}new:0:0::/root::"])
    assert s.client().ask("b LOGIN dora new")[-1] == "b OK Logged in."
    assert s.session()["home"] == "/home/dora"
    assert s.client().ask("c LOGIN anna secret")[-1].startswith("c NO ")
    assert s.client().ask("d LOGIN root new")[-1].startswith("d NO ")
    s.wait_log("passwd:4: ")
    s.wait_log("has uid 0: mail of root is not served")
    os.unlink(s.passwd)                                 # the last good one holds
    assert s.client().ask("e LOGIN dora new")[-1] == "e OK Logged in."
    s.session()


@test()
def a_passwd_file_for_root_only_is_read_again(s):
    if not ROOT:
        return "not root"
    private = os.path.join(s.dir.name, "private")
    os.mkdir(private, 0o700)
    path = os.path.join(private, "passwd")

    def write(text):
        with open(path + ".new", "w") as f:
            os.chmod(path + ".new", 0o600)
            f.write(text)
        os.rename(path + ".new", path)
    write("eva:{PLAIN}one:12345:12345::/home/eva::\n")
    t = Server(passwd_file=path)
    try:
        assert t.client().ask("a LOGIN eva one")[-1] == "a OK Logged in."
        t.session()
        write("eva:{PLAIN}two:12345:12345::/home/eva::\n")
        assert t.client().ask("b LOGIN eva two")[-1] == "b OK Logged in."
        t.session()
        status = open("/proc/%d/status" % t.auth_pid).read()
        assert "Uid:\t65534\t65534\t65534\t65534" in status, status
        assert "CapEff:\t0000000000000004" in status, status
    finally:
        t.close()


@test(static_password="load", static_home="STATIC/%u")
def static_password_is_for_load_tests(s):
    c = s.client()
    assert c.ask("a LOGIN user.17 load")[-1] == "a OK Logged in."
    t = s.session()
    assert t["uid"] == str(UID) and t["home"].endswith("/user.17"), t
    assert s.client().ask("b LOGIN user.17 x")[-1].startswith("b NO ")
    assert s.client().ask("c LOGIN anna load")[-1].startswith("c NO ")   # has his own
    assert s.client().ask("d LOGIN ../x load")[-1].startswith("d NO ")
    s.wait_log("static(user.17,127.0.0.1): Password mismatch")


# ---- many ----

@test(login_max_clients=400, max_user_sessions=0)
def three_hundred_connections(s):
    clients = [s.client() for _ in range(300)]
    for i, c in enumerate(clients):
        c.send("t%d LOGIN %s\r\n" % (i, "anna secret" if i % 3 else 'bert "with \\"quotes\\" '
                                     '\\\\ and blanks"'))
    for i, c in enumerate(clients):
        assert c.line() == "t%d OK Logged in." % i
    tags = {s.session()["tag"] for _ in clients}
    assert tags == {"t%d" % i for i in range(300)}
    assert "clients=0 accepted=300 handed_over=300" in s.say("status login", "status ")


@test(login_max_clients=5)
def above_max_clients_the_longest_here_makes_room(s):
    first = [s.client() for _ in range(5)]
    assert first[0].ask("a NOOP")[-1].startswith("a OK")
    sixth = s.client()
    assert first[0].line() == "* BYE [UNAVAILABLE] Too many connections."
    assert first[0].at_end()
    for c in first[1:] + [sixth]:
        assert c.ask("b NOOP")[-1].startswith("b OK")
    assert sixth.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()
    assert "clients=4 " in s.say("status login", "status ")


@test(login_max_clients=3)
def who_waits_for_a_refusal_keeps_his_place(s):
    first = [s.client() for _ in range(3)]
    for c in first:
        c.send("a LOGIN bert wrong\r\n")
    for n in range(3):
        s.wait_log("failures=0")
        while s.log_text().count("login-failed") < n + 1:
            time.sleep(0.01)
    fourth = s.client(greet=False)
    cpu = cpu_of(s.login_pid)
    # Nobody is sent away before he has his answer; then the first one is.
    for c in first:
        assert c.line().startswith("a NO [AUTHENTICATIONFAILED]")
    assert cpu_of(s.login_pid) - cpu <= 2, "busy while it is full"
    assert fourth.line().startswith("* OK ")
    assert [c.at_end() for c in first[:1]] == [True]
    assert fourth.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()


@test(login_max_clients=400, descriptors=40)
def out_of_descriptors_new_clients_wait(s):
    clients = [s.client(greet=False) for _ in range(60)]
    s.wait_log("accept reason=")
    cpu = cpu_of(s.login_pid)
    time.sleep(0.5)
    assert cpu_of(s.login_pid) - cpu <= 2, "busy while it cannot accept"
    # Every one is served in the end, as others leave.
    for c in clients:
        assert c.line().startswith("* OK ")
        c.close()
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


@test()
def a_worker_that_dies_takes_one_check_with_it(s):
    workers = children_of(s.auth_pid)
    assert len(workers) == 2, workers
    c = s.client()
    c.send("a LOGIN slow secret\r\n")
    s.wait_pending()
    os.kill(workers[0], signal.SIGKILL)
    s.wait_log("a process that checks passwords has died")
    assert s.client().ask("b LOGIN anna secret")[-1] == "b OK Logged in."
    s.session()
    answer = c.line()                   # was it that one or the other one?
    assert answer == "a OK Logged in." or answer.startswith("a NO [UNAVAILABLE]"), answer
    os.kill(workers[1], signal.SIGKILL)
    assert s.say("wait-auth", "exited auth") == "exited auth 1"
    s.say("start-auth", "started")
    assert s.client().ask("d LOGIN anna secret")[-1] == "d OK Logged in."


def cpu_of(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@test(login_max_clients=2000, max_user_sessions=0)
def a_full_queue_keeps_everybody_in_line(s):
    s.say("queue off", "queue off")
    clients = []
    for i in range(1500):
        c = s.client()
        c.send(b"t%d LOGIN bert \"with \\\"quotes\\\" \\\\ and blanks\"\r\n" % i +
               b"x NOOP\r\n" * 200)
        clients.append(c)
    end = time.monotonic() + PATIENCE
    while "queue=0 " in s.say("status login", "status "):
        assert time.monotonic() < end, "the queue was never full"
        time.sleep(0.1)
    cpu = cpu_of(s.login_pid)
    time.sleep(0.5)
    assert cpu_of(s.login_pid) - cpu <= 2, "busy while the queue is full"
    s.say("queue on", "queue on")
    for i, c in enumerate(clients):
        assert c.line() == "t%d OK Logged in." % i
    tags = [s.session()["tag"] for _ in clients]
    assert len(set(tags)) == 1500


@test()
def logged_in_client_is_out_of_login_s_hands(s):
    s.say("queue off", "queue off")
    c = s.client()
    c.send("a LOGIN anna secret\r\n")
    s.wait_log("login id=")
    c.send("b NOOP\r\n")                # nobody reads this yet
    time.sleep(0.2)
    assert c.silent()
    assert "clients=0 " in s.say("status login", "status ")
    s.say("queue on", "queue on")
    assert c.line() == "a OK Logged in."
    assert s.session()["input"] == ""


# ---- the end ----

@test()
def stop_says_bye(s):
    c, d = s.client(), s.client()
    d.send("a LOG")
    s.say("stop-login 1")
    for x in (c, d):
        assert x.line() == "* BYE [UNAVAILABLE] Server is shutting down."
        assert x.at_end()
        x.close()
    assert s.expect("exited imap-login") == "exited imap-login 0"


@test()
def without_master_those_who_are_here_may_log_in(s):
    c = s.client()
    s.say("leave-login", "left")
    end = time.monotonic() + PATIENCE
    while listening(s):                 # the harness holds the listener too
        assert time.monotonic() < end
        time.sleep(0.02)
    assert c.ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()
    s.say("wait-login")
    assert s.expect("exited imap-login") == "exited imap-login 0"


def listening(s):
    """Does imap-login still greet?"""
    x = s.client(greet=False)
    try:
        x.sock.settimeout(0.3)
        return bool(x.sock.recv(1))
    except TimeoutError:
        return False
    finally:
        x.close()


@test()
def programs_give_up_their_rights(s):
    if not ROOT:
        return "not root"
    for pid, name in ((s.auth_pid, "auth"), (s.login_pid, "imap-login")):
        status = dict(l.split(":\t", 1) for l in open("/proc/%d/status" % pid)
                      .read().splitlines() if ":\t" in l)
        assert status["Uid"] == "65534\t65534\t65534\t65534", (name, status["Uid"])
        assert status["CapEff"] == "0000000000000000", (name, status["CapEff"])
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", name
        assert status["Groups"].strip() == "", name
    assert os.listdir("/proc/%d/root" % s.login_pid) == []


# ---- SASL exchanges: SCRAM (RFC 5802, RFC 7677), LOGIN, EXTERNAL ----

SCRAM_USERS = ["fred:%s:IDS::/home/fred::" % stored("geheim"),
               "gina:{PLAIN}offen:IDS::/home/gina::",
               "carl:{SHA256-CRYPT}%s:IDS::/home/carl::" % SHA256]
SCRAM = dict(mechanisms="plain login scram-sha-256", users=SCRAM_USERS)


def challenge(c):
    line = c.line()
    assert line.startswith("+ "), line
    return base64.b64decode(line[2:]).decode()


def scram_login(c, tag, user, password, ir=True, **lies):
    """Tagged answer; None of it is believed."""
    s = Scram(user, password)
    if ir:
        c.send("%s AUTHENTICATE SCRAM-SHA-256 %s\r\n" % (tag, b64(s.first)))
    else:
        c.send("%s AUTHENTICATE SCRAM-SHA-256\r\n" % tag)
        assert c.line() == "+ "
        c.send(b64(s.first) + "\r\n")
    c.send(b64(s.final(challenge(c), **lies)) + "\r\n")
    line = c.line()
    if line.startswith("+ "):
        assert base64.b64decode(line[2:]).decode() == s.wanted, line
        # RFC 5802 section 3: nothing more to say, but it has to be said.
        c.send("\r\n")
        line = c.line()
    return line


@test(**SCRAM)
def scram_logs_in_with_stored_keys_and_from_plain(s):
    caps = s.client().ask("a CAPABILITY")[0]
    assert " AUTH=SCRAM-SHA-256" in caps and "-PLUS" not in caps, caps
    for user, password, ir in (("fred", "geheim", True), ("fred", "geheim", False),
                               ("gina", "offen", True)):
        assert scram_login(s.client(), "a", user, password, ir) == "a OK Logged in."
        assert s.session()["user"] == user
    assert s.client().ask("a LOGIN fred geheim")[-1] == "a OK Logged in."
    assert s.client().ask("a AUTHENTICATE PLAIN " + plain("fred", "geheim"))[-1] == \
        "a OK Logged in."
    assert s.session()["user"] == s.session()["user"] == "fred"
    assert s.client().ask("a LOGIN fred wrong")[-1].startswith("a NO [AUTHENTICATIONFAILED]")


@test(**SCRAM)
def scram_refuses_what_is_not_the_password(s):
    c = s.client()
    assert scram_login(c, "a", "fred", "wrong").startswith("a NO [AUTHENTICATIONFAILED]")
    s.wait_log("auth: passwd-file(fred,127.0.0.1): Password mismatch")
    assert scram_login(c, "b", "fred", "geheim") == "b OK Logged in."
    s.session()
    for user, password in (("gina", "geheim"), ("gina", ""), ("carl", "secret"),
                           ("nobody", "geheim"), ("nobody", "offen"), ("", "")):
        c = s.client()
        if not user:
            assert c.ask("a AUTHENTICATE SCRAM-SHA-256 " + b64(Scram("", "").first))[-1] \
                .startswith("a NO [AUTHENTICATIONFAILED]")
            continue
        answer = scram_login(c, "a", user, password)
        assert answer.startswith("a NO [AUTHENTICATIONFAILED]"), (user, password, answer)
        c.close()
    s.wait_log("auth: passwd-file(nobody,127.0.0.1): unknown user")
    s.wait_log("auth: passwd-file(carl,127.0.0.1): this user has no keys for SCRAM")


@test(**SCRAM)
def scram_messages_cannot_be_replayed(s):
    x, y = s.client(), s.client()
    one = Scram("fred", "geheim")
    for c in (x, y):
        c.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(one.first))
    final = one.final(challenge(x))
    x.send(b64(final) + "\r\n")
    assert x.line().startswith("+ ")
    challenge(y)
    y.send(b64(final) + "\r\n")
    assert y.line().startswith("a NO [AUTHENTICATIONFAILED]")
    x.send("\r\n")
    assert x.line() == "a OK Logged in."
    s.session()


@test(**SCRAM)
def scram_exchanges_can_be_cancelled_at_each_step(s):
    c, one = s.client(), Scram("fred", "geheim")
    for steps in range(3):
        c.send("a AUTHENTICATE SCRAM-SHA-256\r\n")
        assert c.line() == "+ "
        if steps > 0:
            c.send(b64(one.first) + "\r\n")
            first = challenge(c)
        if steps > 1:
            c.send(b64(one.final(first)) + "\r\n")
            assert challenge(c) == one.wanted
        c.send("*\r\n")
        assert c.line().startswith("a BAD "), steps
        assert c.ask("b NOOP") == ["b OK NOOP completed."]
    # What is no base64 ends it as well; and whoever hangs up leaves nothing.
    c.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(one.first))
    challenge(c)
    c.send("!!!\r\n")
    assert c.line().startswith("a BAD ")
    d = s.client()
    d.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(one.first))
    challenge(d)
    assert " exchanges=1 " in s_status(s, "auth")
    d.close()
    end = time.monotonic() + PATIENCE
    while " exchanges=0 " not in s_status(s, "auth"):
        assert time.monotonic() < end, s_status(s, "auth")
        time.sleep(0.02)
    assert scram_login(c, "c", "fred", "geheim") == "c OK Logged in."
    s.session()


@test(mechanisms="scram-sha-256", users=SCRAM_USERS + [
    "h%d:%s:IDS::/home/h::" % (n, stored("p%d" % n, 5000, b"another salt, of 26 bytes!"))
    for n in range(5)])
def who_does_not_exist_has_a_salt_of_his_own(s):
    def told(user):
        c, x = s.client(), Scram(user, "x")
        c.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(x.first))
        a = dict(p.split("=", 1) for p in challenge(c).split(","))
        c.close()
        return a["s"], a["i"]
    names = ["nobody%d" % n for n in range(60)] + ["carl"]
    before = {name: told(name) for name in names}
    assert len({salt for salt, _ in before.values()}) == len(names), "salts are shared"
    # In all that can be seen they are like those who exist.
    kinds = {(len(base64.b64decode(salt)), i) for salt, i in before.values()}
    assert kinds == {(16, "4096"), (26, "5000")}, kinds
    assert told("h1") == (b64(b"another salt, of 26 bytes!"), "5000")
    # And stay so, also for another auth process.
    s.say("kill-auth", "exited auth 137")
    s.say("start-auth", "started")
    assert {name: told(name) for name in names} == before
    assert "AUTH=PLAIN" not in s.client().greeting and "LOGINDISABLED" in s.client().greeting
    assert s.client().ask("a LOGIN fred geheim")[-1].startswith("a NO [CANNOT]")
    assert s.client().ask("a AUTHENTICATE PLAIN " + plain("fred", "geheim"))[-1] \
        .startswith("a NO [CANNOT]")


@test(**SCRAM)
def auth_that_ends_in_mid_exchange_is_told(s):
    c, one = s.client(), Scram("fred", "geheim")
    c.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(one.first))
    challenge(c)
    s.say("kill-auth", "exited auth 137")
    assert c.line().startswith("a NO [UNAVAILABLE]")
    s.say("start-auth", "started")
    assert scram_login(c, "b", "fred", "geheim") == "b OK Logged in."
    s.session()
    # One that is replaced in order answers what it has begun.
    c = s.client()
    c.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(one.first))
    final = one.final(challenge(c))
    s.say("replace-auth", "replaced")
    c.send(b64(final) + "\r\n")
    assert challenge(c) == one.wanted
    c.send("\r\n")
    assert c.line() == "a OK Logged in."
    s.session()
    s.expect("exited old-auth")


@test(users=["anna:{SHA512-CRYPT}%s:IDS::/home/anna::" % SHA512])
def authenticate_login_asks_for_two_things(s):
    c = s.client()
    c.send("a AUTHENTICATE LOGIN\r\n")
    assert challenge(c) == "Username:"
    c.send(b64("anna") + "\r\n")
    assert challenge(c) == "Password:"
    c.send(b64("secret") + "\r\n")
    assert c.line() == "a OK Logged in."
    c = s.client()
    c.send("a AUTHENTICATE LOGIN %s\r\n" % b64("anna"))
    assert challenge(c) == "Password:"
    c.send("*\r\n")
    assert c.line().startswith("a BAD ")
    c.send("a AUTHENTICATE LOGIN %s\r\n" % b64("u" * 300))
    assert challenge(c) == "Password:"
    c.send(b64("secret") + "\r\n")
    assert c.line().startswith("a NO [AUTHENTICATIONFAILED]")
    c.send("b AUTHENTICATE LOGIN %s\r\n" % b64("an\0na"))
    assert c.line().startswith("b NO [AUTHENTICATIONFAILED]")
    assert c.ask("c AUTHENTICATE SCRAM-SHA-256")[-1].startswith("c NO [CANNOT]")
    assert c.ask("d AUTHENTICATE EXTERNAL =")[-1].startswith("d NO [CANNOT]")
    s.session()


# ---- asked as an imap-login would, from addresses that are not ours ----

def word(text):
    return "hex:" + (text if isinstance(text, bytes) else text.encode()).hex() if text else "-"


def ask(s, n, user, password, remote="192.0.2.1", mechanism="PLAIN", authzid="", external=""):
    s.say("ask %d %s %s %s %s %s %s" % (n, mechanism, word(authzid), word(user),
                                        word(password), remote, word(external)), "sent ok")


def answer(s, n):
    return s.expect("direct %d " % n).split(" ", 2)[2]


def plus(s, n, client, exporter, remote="192.0.2.1", mechanism="SCRAM-SHA-256-PLUS",
         endpoint=b""):
    """The exchange's last word, after the proof."""
    s.say("begin %d %s %s 1 %s %s %s" % (n, mechanism, remote, word(exporter), word(endpoint),
                                         word(client.first)), "sent ok")
    first = answer(s, n)
    if not first.startswith("challenge "):
        return first
    s.say("step %d %s" % (n, word(client.final(first.split(" ")[1]))), "sent ok")
    last = answer(s, n)
    if not last.startswith("challenge "):
        return last
    assert last == "challenge %s last=1" % client.wanted, last
    s.say("step %d -" % n, "sent ok")
    return answer(s, n)


@test(**SCRAM)
def scram_plus_is_bound_to_its_connection(s):
    key = os.urandom(32)
    good = lambda **kw: Scram("fred", "geheim", **dict(
        dict(header="p=tls-exporter,,", binding=key), **kw))
    assert plus(s, 1, good(), key).startswith("ok ")
    assert plus(s, 2, Scram("gina", "offen", "p=tls-exporter,,", key), key).startswith("ok ")
    for n, (client, exporter, mechanism) in enumerate((
            (good(binding=os.urandom(32)), key, "SCRAM-SHA-256-PLUS"),  # somebody in between
            (good(binding=b""), key, "SCRAM-SHA-256-PLUS"),
            (good(), b"", "SCRAM-SHA-256-PLUS"),                        # no TLS
            (good(header="n,,", binding=b""), key, "SCRAM-SHA-256-PLUS"),
            (good(header="p=tls-unique,,"), key, "SCRAM-SHA-256-PLUS"),
            (good(), key, "SCRAM-SHA-256"),
            # RFC 5802 section 6: it could, and was told that we cannot.
            (good(header="y,,", binding=b""), key, "SCRAM-SHA-256"))):
        last = plus(s, 10 + n, client, exporter, "192.0.3.%d" % n, mechanism)
        assert last.startswith("fail code=1 "), (n, last)
    assert plus(s, 30, good(header="y,,", binding=b""), b"", mechanism="SCRAM-SHA-256") \
        .startswith("ok ")
    assert plus(s, 31, good(header="n,,", binding=b""), key, mechanism="SCRAM-SHA-256") \
        .startswith("ok ")


@test(**SCRAM)
def scram_plus_is_bound_to_the_certificate(s):
    key, hashed = os.urandom(32), os.urandom(48)
    header = "p=tls-server-end-point,,"
    good = lambda user="fred", password="geheim", **kw: Scram(user, password, **dict(
        dict(header=header, binding=hashed), **kw))
    for n, exporter in ((1, key), (2, b"")):
        assert plus(s, n, good(), exporter, endpoint=hashed).startswith("ok ")
        assert plus(s, n, good("gina", "offen"), exporter, endpoint=hashed).startswith("ok ")
    assert plus(s, 3, good(header="p=tls-exporter,,", binding=key), key, endpoint=hashed) \
        .startswith("ok ")
    own = "p=tls-server-end-point,a=fred,"
    assert plus(s, 4, good(header=own), key, endpoint=hashed).startswith("ok ")
    other = "p=tls-server-end-point,a=gina,"
    for n, (client, endpoint, mechanism) in enumerate((
            (good(binding=os.urandom(48)), hashed, "SCRAM-SHA-256-PLUS"),
            (good(binding=hashed[:32]), hashed, "SCRAM-SHA-256-PLUS"),
            (good(binding=key), hashed, "SCRAM-SHA-256-PLUS"),
            (good(password="falsch"), hashed, "SCRAM-SHA-256-PLUS"),
            (good("gina", "falsch"), hashed, "SCRAM-SHA-256-PLUS"),
            (good("nobody"), hashed, "SCRAM-SHA-256-PLUS"),
            (good("carl", "secret"), hashed, "SCRAM-SHA-256-PLUS"),
            (good(header=other), hashed, "SCRAM-SHA-256-PLUS"),
            (good(binding=b""), b"", "SCRAM-SHA-256-PLUS"),     # no certificate to bind to
            (good(), b"", "SCRAM-SHA-256-PLUS"),
            (good(), hashed, "SCRAM-SHA-256"))):
        last = plus(s, 10 + n, client, key, "192.0.4.%d" % n, mechanism, endpoint)
        assert last.startswith("fail code=1 "), (n, last)
    s.wait_log("passwd-file(fred,192.0.4.0): Password mismatch")
    s.wait_log("passwd-file(nobody,192.0.4.5): unknown user")
    s.wait_log("passwd-file(carl,192.0.4.6): this user has no keys for SCRAM")
    s.wait_log("passwd-file(fred,192.0.4.7): invalid credentials (authorization as another user)")
    # PLUS is offered where there is no tls-exporter, too: nobody may hide it.
    unbound = lambda header: Scram("fred", "geheim", header)
    assert plus(s, 30, unbound("y,,"), b"", "192.0.5.1", "SCRAM-SHA-256", hashed) \
        .startswith("fail code=1 ")
    assert plus(s, 31, unbound("n,,"), b"", "192.0.5.2", "SCRAM-SHA-256", hashed) \
        .startswith("ok ")

    def begin(n, client):
        s.say("begin %d SCRAM-SHA-256-PLUS 192.0.2.1 1 - %s %s" % (n, word(hashed), word(
            client.first)), "sent ok")
        first = answer(s, n)
        assert first.startswith("challenge "), first
        return first.split(" ")[1]
    # The same salt each time and by each binding, for nobody as for somebody.
    for n, user in ((40, "nobody"), (50, "fred")):
        salts = set()
        for i in range(2):
            salts.add(begin(n + i, good(user)).split(",", 1)[1])
        s.say("begin %d SCRAM-SHA-256 192.0.2.1 1 - - %s" % (n + 2, word(
            unbound("n,,").first.replace("fred", user))), "sent ok")
        salts.add(answer(s, n + 2).split(" ")[1].split(",", 1)[1])
        assert len(salts) == 1, salts
    # Too much after the end; out of step; given up.
    one = good()
    s.say("step 50 %s" % word(one.final(begin(60, one))), "sent ok")
    assert answer(s, 50).startswith("fail code=1 ")         # of another exchange
    s.say("step 60 %s" % word(one.final(one.server_first)), "sent ok")
    assert answer(s, 60) == "challenge %s last=1" % one.wanted
    s.say("step 60 %s" % word("more"), "sent ok")
    assert answer(s, 60).startswith("fail code=1 ")
    begin(61, good())
    for n in (40, 41, 42, 51, 52, 61):
        s.say("cancel %d" % n, "sent ok")
    s.say("step 61 %s" % word("c=biws,r=x,p=y"), "sent ok")
    assert answer(s, 61).startswith("fail code=2 ")
    assert " exchanges=0 " in s_status(s, "auth")
    # Guesses cost what they cost elsewhere.
    late = []
    for n in range(6):
        last = plus(s, 70 + n, good("gina", "no%d" % n), key, "192.0.6.%d" % n, endpoint=hashed)
        late.append(int(last.split("fail code=1 late=")[1].split()[0]))
    assert late[0] == 0 < late[-1] and late == sorted(late), late


@test(**SCRAM)
def odd_scram_messages_are_refused(s):
    numbers = iter(range(1, 1000))

    def begin(first):
        n = next(numbers)
        s.say("begin %d SCRAM-SHA-256 192.0.%d.1 1 - - %s" % (n, n % 250, word(first)), "sent ok")
        return n, answer(s, n)

    def refused(what, n, last):
        assert last.startswith("fail code=1 "), (what, last)
    good = Scram("fred", "geheim").first
    for first in ["", "n", "n,,", "n,,n=fred", "n,,n=fred,r=", "y", "x,,n=fred,r=abcdef",
                  "p=tls-unique,,n=fred,r=abcdefgh", "p=tls-exporter,,n=fred,r=abcdefgh",
                  "n,,m=1,n=fred,r=abcdefgh", "n,a=gina,n=fred,r=abcdefgh\0",
                  "n,,n=fred\0,r=abcdefgh", "\xff\xfe" * 20, "," * 2000,
                  good + "x" * 2000 + "\0"] + [good[:n] for n in range(10)]:
        refused(first, *begin(first))
    # A name that is nobody's has a challenge, too.
    n, first = begin("n,,n=%s,r=abcdefgh" % ("u" * 1500))
    assert first.startswith("challenge "), first
    s.say("step %d %s" % (n, word("c=biws,r=x,p=AAAA")), "sent ok")
    refused("long", n, answer(s, n))
    one = Scram("fred", "geheim")
    changes = [lambda m: m[:-1], lambda m: m[:20], lambda m: "", lambda m: "x" * 2048,
               lambda m: m.replace("c=biws", "c=eSws"), lambda m: m.replace(",p=", ",q="),
               lambda m: m.replace("c=biws", "c="), lambda m: m + "\0", lambda m: m + "AAAA",
               lambda m: "a=1," + m, lambda m: m.replace(",r=", ",m=1,r=")]
    lies = [dict(proof=p) for p in (bytes(32), b"", bytes(31), bytes(33), os.urandom(32))] + \
        [dict(nonce="x" * 40)]      # another nonce, even if the proof is made for it
    for change, lie in [(c, {}) for c in changes] + [(lambda m: m, lie) for lie in lies]:
        n, first = begin(one.first)
        message = change(one.final(first.split(" ")[1], **lie))
        s.say("step %d %s" % (n, word(message)), "sent ok")
        refused(message, n, answer(s, n))
    # Another user in the name of this one; and too much after the end.
    last = plus(s, next(numbers), Scram("fred", "geheim", header="n,a=gina,"), b"",
                "192.0.251.1", "SCRAM-SHA-256")
    assert last.startswith("fail code=1 "), last
    s.wait_log("invalid credentials (authorization as another user)")
    own = Scram("fred", "geheim", header="n,a=fred,")
    n, first = begin(own.first)
    s.say("step %d %s" % (n, word(own.final(first.split(" ")[1]))), "sent ok")
    assert answer(s, n) == "challenge %s last=1" % own.wanted
    s.say("step %d %s" % (n, word("more")), "sent ok")
    refused("more", n, answer(s, n))
    # One that is too long does not reach auth.
    c = s.client()
    c.send("a AUTHENTICATE SCRAM-SHA-256 %s\r\n" % b64(good + "x" * 3000))
    assert c.line().startswith("a NO [AUTHENTICATIONFAILED]")


@test(**SCRAM)
def exchanges_obey_their_phases(s):
    one = Scram("fred", "geheim")
    s.say("begin 1 SCRAM-SHA-256 192.0.2.1 0 - - %s" % word(one.first), "sent ok")
    assert answer(s, 1).startswith("fail code=4 ")          # not encrypted
    s.say("begin 2 SCRAM-SHA-1 192.0.2.1 1 - - %s" % word(one.first), "sent ok")
    assert answer(s, 2).startswith("fail code=4 ")
    s.say("step 3 -", "sent ok")
    assert answer(s, 3).startswith("fail code=2 ")          # of none
    s.say("begin 4 SCRAM-SHA-256 192.0.2.1 1 - - %s" % word(one.first), "sent ok")
    assert answer(s, 4).startswith("challenge ")
    s.say("cancel 4", "sent ok")
    s.say("step 4 %s" % word("c=biws,r=x,p=y"), "sent ok")
    assert answer(s, 4).startswith("fail code=2 ")
    # The same number twice is a mistake of imap-login's.
    for _ in range(2):
        s.say("begin 6 SCRAM-SHA-256 192.0.2.1 1 - - %s" % word(one.first), "sent ok")
    s.expect("direct ended")
    assert " exchanges=0 " in s_status(s, "auth")


@test(**SCRAM)
def exchanges_are_bounded(s):
    one = Scram("fred", "geheim")
    for n in range(1, 4300):
        s.say("begin %d SCRAM-SHA-256 192.0.2.1 1 - - %s" % (n, word(one.first)))
    # Those that have waited longest have made room.
    for n in range(1, 204):
        assert answer(s, n).startswith("challenge ")
        assert answer(s, n).startswith("fail code=2 "), n
    assert answer(s, 4299).startswith("challenge ")
    assert " exchanges=4096 " in s_status(s, "auth"), s_status(s, "auth")
    s.say("end-direct", "direct closed")
    end = time.monotonic() + PATIENCE
    while " exchanges=0 " not in s_status(s, "auth"):
        assert time.monotonic() < end
        time.sleep(0.02)


@test()
def external_is_whom_the_certificate_names(s):
    ask(s, 1, "", "", mechanism="EXTERNAL", external="anna")
    assert " user=anna uid=%d " % UID in answer(s, 1)
    ask(s, 2, "", "", mechanism="EXTERNAL", authzid="anna", external="anna")
    assert answer(s, 2).startswith("ok ")
    for n, (authzid, external) in enumerate((("bert", "anna"), ("anna", ""), ("", ""),
                                             ("", "nobody"), ("", "locked"), ("", "an\nna"))):
        ask(s, 10 + n, "anna", "secret", mechanism="EXTERNAL", authzid=authzid,
            external=external, remote="192.0.3.%d" % n)
        assert answer(s, 10 + n).startswith("fail code=1 "), (authzid, external)
    s.wait_log("auth: passwd-file(locked,192.0.3.4): invalid credentials")


# ---- delays and limits ----

@test()
def failures_of_an_address_make_it_wait(s):
    for n in range(3):
        ask(s, n, "anna", "wrong%d" % n, "192.0.2.1")
        assert answer(s, n).startswith("fail code=1 late=")
    start = time.monotonic()
    ask(s, 10, "carl", "secret", "192.0.2.1")       # right or wrong, whoever it is
    ask(s, 11, "anna", "secret", "192.0.2.2")       # others do not wait
    assert answer(s, 11).startswith("ok ")
    ask(s, 12, "bert", "wrong", "2001:db8:1:2::1")
    answer(s, 12)
    assert not [l for l in s.kept if l.startswith("direct 10 ")], "it did not wait"
    assert answer(s, 10).startswith("ok ")
    assert time.monotonic() - start >= 0.9
    # An IPv6 network of 64 bits is one address.
    for n in range(20, 23):
        ask(s, n, "bert", "wrong%d" % n, "2001:db8:1:3::%x" % n)
        answer(s, n)
    start = time.monotonic()
    ask(s, 30, "bert", "wrong", "2001:db8:1:3:ffff::1")
    answer(s, 30)
    assert time.monotonic() - start >= 0.9
    # A telephone with the old password is one failure.
    for n in range(40, 50):
        ask(s, n, "carl", "last year's", "192.0.2.50")
        answer(s, n)
    ask(s, 50, "carl", "secret", "192.0.2.50")
    ask(s, 51, "anna", "secret", "192.0.2.3")
    assert answer(s, 50).startswith("ok ") and answer(s, 51).startswith("ok ")


@test()
def many_tries_at_once_are_no_way_around_the_line(s):
    for n in range(200):
        ask(s, n, "anna", "guess%d" % n, "192.0.2.9")
    ask(s, 200, "anna", "secret", "192.0.2.10")
    assert answer(s, 200).startswith("ok ")
    # Of all of them a few are answered, the line is soon full.
    told = [l for l in s.kept if l.startswith("direct ")]
    wrong = [l for l in told if " fail code=1 " in l]
    end = time.monotonic() + PATIENCE
    while len([l for l in s.kept if " fail code=2 " in l]) < 150:
        assert time.monotonic() < end, s.kept
        s.kept.append(s.line())
    wrong = [l for l in s.kept if " fail code=1 " in l]
    assert len(wrong) <= 12, wrong
    s.wait_log('reason="too many failures from there"')


@test()
def a_user_who_is_guessed_at_is_not_locked_out(s):
    late = []
    for n in range(12):
        ask(s, n, "anna", "guess%d" % n, "198.51.100.%d" % n)
        late.append(int(answer(s, n).split("late=")[1].split()[0]))
    assert late[0] == late[1] == 0 and late == sorted(late) and late[-1] == 15000, late
    ask(s, 100, "anna", "secret", "192.0.2.77")
    ask(s, 101, "carl", "wrong", "192.0.2.78")
    assert answer(s, 100).startswith("ok ")
    assert " late=0 " in answer(s, 101)


@test()
def lateness_of_a_refusal_reaches_the_client(s):
    for n in range(5):
        ask(s, n, "anna", "guess%d" % n, "198.51.100.%d" % n)
        answer(s, n)
    start = time.monotonic()
    assert s.client().ask("a LOGIN anna wrong")[-1].startswith("a NO [AUTHENTICATIONFAILED]")
    assert time.monotonic() - start >= 3.5
    start = time.monotonic()
    assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
    s.session()


@test(max_address_sessions=2, max_user_sessions=0)
def sessions_of_an_address_are_limited(s):
    sids = []
    for n, user in enumerate(("anna", "carl")):
        ask(s, n, user, "secret", "2001:db8::%x" % n)
        sids.append(answer(s, n).split("sid=")[1].split()[0])
    ask(s, 10, "anna", "secret", "2001:db8::10")
    assert answer(s, 10).startswith("fail code=3 ")
    ask(s, 11, "anna", "secret", "2001:db8:0:1::10")
    assert answer(s, 11).startswith("ok ")
    # Asleep it counts, wherever the holder thinks it comes from; gone it does not.
    s.say("session 1 %s anna %d 192.0.2.1:99" % (sids[0], UID), "sent")
    ask(s, 12, "anna", "secret", "2001:db8::10")
    assert answer(s, 12).startswith("fail code=3 ")
    s.say("session 2 %s anna %d" % (sids[0], UID), "sent")
    ask(s, 13, "anna", "secret", "2001:db8::10")
    assert answer(s, 13).startswith("ok ")
    # Loopback is many.
    for _ in range(4):
        assert s.client().ask("a LOGIN anna secret")[-1] == "a OK Logged in."
        s.session()


@test(max_address_sessions=2)
def addresses_are_told_again_after_a_restart(s):
    s.say("kill-auth", "exited auth 137")
    s.say("start-auth", "started")
    s.say("session 3 0 ", "sent")
    s.say("session 1 a1 anna %d 192.0.2.7:4711" % UID, "sent")
    s.say("session 0 a2 carl %d 192.0.2.7:4712" % UID, "sent")
    s.say("session 4 0 ", "sent")
    s.wait_sessions(2)
    ask(s, 1, "anna", "secret", "192.0.2.7")
    assert answer(s, 1).startswith("fail code=3 ")
    ask(s, 2, "anna", "secret", "192.0.2.8")
    assert answer(s, 2).startswith("ok ")
    s.say("session 2 a2 carl %d" % UID, "sent")
    s.wait_sessions(2)
    ask(s, 3, "anna", "secret", "192.0.2.7")
    assert answer(s, 3).startswith("ok ")


# ---- ARGON2 ----

def argon2(password, kib, passes):
    import ctypes
    lib, text = ctypes.CDLL("libargon2.so.1"), ctypes.create_string_buffer(256)
    size = ctypes.c_size_t
    assert lib.argon2id_hash_encoded(passes, kib, 1, password.encode(), size(len(password)),
                                     b"saltsaltsalt", size(12), size(32), text, size(256)) == 0
    return "{ARGON2ID}" + text.value.decode()


@test(users=["quick:%s:IDS::/home/q::" % argon2("secret", 64, 1),
             # Many times what is usual.
             "slow:{ARGON2ID}$argon2id$v=19$m=262144,t=8,p=4$c2FsdHNhbHRzYWx0$"
             "bm90IHJlYWxseSBhIGhhc2g:IDS::/home/s::",
             "huge:{ARGON2ID}$argon2id$v=19$m=2097152,t=1,p=1$c2FsdHNhbHRzYWx0$"
             "bm90IHJlYWxseSBhIGhhc2g:IDS::/home/h::"])
def a_slow_argon2_hash_blocks_nobody(s):
    s.wait_log("password of user huge: the hash asks for more than 1 GiB of memory")
    ask(s, 1, "slow", "wrong", "192.0.2.1")
    ask(s, 2, "slow", "wrong again", "192.0.2.2")
    for n in range(10, 15):
        ask(s, n, "quick", "secret", "192.0.2.3")
        assert answer(s, n).startswith("ok ")
    assert not [l for l in s.kept if l.startswith("direct ")], "the slow one was not slow"
    ask(s, 20, "quick", "wrong", "192.0.2.4")
    assert answer(s, 20).startswith("fail code=1 ")


# ---- system users, through PAM ----

def pam_files(directory):
    """Services of our own, so that nothing in /etc is touched."""
    check = os.path.join(directory, "check")
    with open(check, "w") as f:
        f.write("#!/bin/sh\nread -r p\n[ \"$p\" = 'richtig' ]\n")
    hang = os.path.join(directory, "hang")
    with open(hang, "w") as f:
        f.write("#!/bin/sh\nread -r p\ncase $p in hang) exec sleep 600 ;; esac\nexit 0\n")
    for path in (check, hang):
        os.chmod(path, 0o755)
    exec_line = ("auth [success=1 default=ignore] pam_exec.so quiet expose_authtok %s\n"
                 "auth requisite pam_deny.so\n")
    for name, text in (("check", exec_line % check + "auth required pam_permit.so\n"
                        "account required pam_permit.so\n"),
                       ("hang", exec_line % hang + "auth required pam_permit.so\n"
                        "account required pam_permit.so\n"),
                       ("expired", "auth required pam_permit.so\naccount required pam_deny.so\n")):
        with open(os.path.join(directory, "pam-" + name), "w") as f:
            f.write(text)


def system_user():
    """A user of this system with an ordinary uid, or anyone but root."""
    import pwd
    if not ROOT:
        return pwd.getpwuid(os.getuid())
    for p in pwd.getpwall():
        if p.pw_uid >= 1 and p.pw_gid != 0 and p.pw_dir.startswith("/"):
            return p
    return None


PAM = dict(pam_service="DIR/pam-check", first_valid_uid=1)


@test(**PAM)
def system_users_log_in_through_pam(s):
    p = system_user()
    if not p:
        return "no system user to try"
    ask(s, 1, p.pw_name, "richtig")
    assert answer(s, 1).endswith("user=%s uid=%d gid=%d home=%s" %
                                 (p.pw_name, p.pw_uid, p.pw_gid, p.pw_dir))
    ask(s, 2, p.pw_name, "falsch")
    assert answer(s, 2).startswith("fail code=1 ")
    s.wait_log("auth: pam(%s,192.0.2.1): Password mismatch" % p.pw_name)
    ask(s, 3, "nobody-knows", "richtig")
    assert answer(s, 3).startswith("fail code=1 ")
    s.wait_log("auth: pam(nobody-knows,192.0.2.1): unknown user")
    ask(s, 4, "root", "richtig", "192.0.2.4")
    assert answer(s, 4).startswith("fail code=1 ")
    s.wait_log("uid 0: mail of root is not served")
    for n, (user, password) in enumerate(((p.pw_name, "richtig" + "x" * 600), ("", "richtig"),
                                          (p.pw_name + "\n", "richtig"), ("x" * 300, "richtig"))):
        ask(s, 10 + n, user, password, "192.0.3.%d" % n)
        assert answer(s, 10 + n).startswith("fail code=1 "), (user, password)
    # The file comes first; its users are none of PAM's.
    ask(s, 20, "anna", "secret", "192.0.2.20")
    assert " user=anna " in answer(s, 20)
    ask(s, 21, "anna", "richtig", "192.0.2.20")
    assert answer(s, 21).startswith("fail code=1 ")
    # A certificate needs no password, but an account.
    ask(s, 22, "", "", "192.0.2.22", "EXTERNAL", external=p.pw_name)
    assert answer(s, 22).startswith("ok ")
    assert s.say("user " + p.pw_name, "user ") == "user id=77 found=1 uid=%d gid=%d home=%s" % (
        p.pw_uid, p.pw_gid, p.pw_dir)
    row = s.say("control user " + p.pw_name, "row ")
    assert "uid=%d" % p.pw_uid in row and "source=pam" in row, row
    assert s.expect("end ") == "end ok=1 "


@test(pam_service="DIR/pam-expired", first_valid_uid=1)
def what_pam_denies_is_denied(s):
    p = system_user()
    if not p:
        return "no system user to try"
    ask(s, 1, p.pw_name, "anything")
    assert answer(s, 1).startswith("fail code=1 ")
    ask(s, 2, "", "", "192.0.2.2", "EXTERNAL", external=p.pw_name)
    assert answer(s, 2).startswith("fail code=1 ")


@test(pam_service="DIR/pam-check", first_valid_uid=4000000000)
def system_users_below_first_valid_uid_are_refused(s):
    p = system_user()
    if not p or not ROOT:
        return "not root"
    ask(s, 1, p.pw_name, "richtig")
    assert answer(s, 1).startswith("fail code=1 ")
    s.wait_log("its uid is below first_valid_uid")


@test(pam_service="DIR/pam-missing")
def a_service_that_is_not_there_lets_nobody_in(s):
    p = system_user()
    if not p:
        return "no system user to try"
    ask(s, 1, p.pw_name, "richtig")
    assert answer(s, 1).startswith("fail code="), "in"
    assert "cannot be used" in s.log_text() or "pam_" in s.log_text(), s.log_text()


def children(pid):
    out = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as f:
            out += [int(x) for x in f.read().split()]
    return out


@test(pam_service="DIR/pam-hang", first_valid_uid=1)
def a_module_that_hangs_costs_one_answer(s):
    p = system_user()
    if not p:
        return "no system user to try"
    ask(s, 1, p.pw_name, "hang")
    end = time.monotonic() + PATIENCE
    while True:         # auth's child, whose child asks PAM
        asking = [(c, g) for c in children(s.auth_pid) for g in children(c)]
        if asking:
            break
        assert time.monotonic() < end, "PAM was never asked"
        time.sleep(0.02)
    # Others are answered meanwhile: those of the file, and another of PAM's.
    ask(s, 2, "anna", "secret", "192.0.2.2")
    assert answer(s, 2).startswith("ok ")
    ask(s, 3, "nobody-knows", "free", "192.0.2.3")
    assert answer(s, 3).startswith("fail code=1 ")
    # It is killed, here by us and not after SYSUSER_TIMEOUT_MS.
    parent, child = asking[0]
    for g in children(child):
        os.kill(g, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    assert answer(s, 1).startswith("fail code=2 ")
    s.wait_log("a process that asked PAM ended by signal 9")
    ask(s, 4, p.pw_name, "free", "192.0.2.4")
    assert answer(s, 4).startswith("ok ")
    # Without the process that asks, auth is of no use: master starts it again.
    os.kill(parent, signal.SIGKILL)
    s.say("wait-auth", "exited auth 1")
    s.say("start-auth", "started")
    s.say("end-direct")
    ask(s, 5, p.pw_name, "free", "192.0.2.5")
    assert answer(s, 5).startswith("ok ")


# ---- fail2ban ----

# What its stock filter for Dovecot asks of a line, in our words: a name of
# letters and dashes, (user,ADDRESS), and how it begins to tell what was wrong.
FAIL2BAN = r"(?:^|\s)auth: [a-z-]{3,15}\(\S*,([0-9a-fA-F.:]+)(?:,\S*)?\): " \
           r"(?:[Uu]nknown user|[Ii]nvalid credentials|[Pp]assword mismatch)"


@test(**dict(SCRAM, pam_service="DIR/pam-check", first_valid_uid=1))
def fail2ban_s_filter_finds_each_failure_and_nothing_else(s):
    import re
    ask(s, 1, "fred", "wrong", "192.0.2.1")
    ask(s, 2, "nobody knows", "x", "2001:db8::2")
    ask(s, 3, "fred", "geheim", "192.0.2.3", authzid="gina")
    ask(s, 4, "x,192.0.2.99): Password mismatch", "x", "192.0.2.4")
    ask(s, 5, "x\nauth: passwd-file(y,192.0.2.98): Password mismatch", "x", "192.0.2.5")
    ask(s, 6, "fred", "geheim", "192.0.2.6")
    for n in range(1, 7):
        assert answer(s, n).startswith("fail code=1 " if n < 6 else "ok "), n
    assert plus(s, 7, Scram("fred", "wrong"), b"", "192.0.2.7", "SCRAM-SHA-256") \
        .startswith("fail ")
    assert plus(s, 8, Scram("carl", "secret"), b"", "192.0.2.8", "SCRAM-SHA-256") \
        .startswith("fail ")
    s.wait_log("192.0.2.8): this user")
    found = [m.group(1) for line in s.log_text().splitlines()
             for m in re.finditer(FAIL2BAN, line)]
    assert sorted(found) == ["192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.7",
                             "2001:db8::2"], found
    tool = shutil.which("fail2ban-regex")
    if tool:        # the real thing, where it is
        with open(os.path.join(s.dir.name, "fail2ban.log"), "w") as f:
            for line in s.log_text().splitlines():
                f.write(time.strftime("%b %d %H:%M:%S ") + "host " +
                        re.sub(r"^.*?\bauth: ", "auth: ", line) + "\n")
        out = subprocess.run([tool, f.name, "dovecot"], capture_output=True, text=True).stdout
        assert re.search(r"\b6 matched\b", out), out


def run(name, fn, settings):
    settings = dict(settings)
    static = tempfile.TemporaryDirectory(prefix="dm-login-")
    if "static_home" in settings:
        settings["static_home"] = settings["static_home"].replace("STATIC", static.name)
        os.chmod(static.name, 0o755)
        if ROOT:
            os.chown(static.name, UID, UID)
    s = Server(**settings)
    try:
        skipped = fn(s)
    except BaseException:
        print("not ok - %s" % name, flush=True)
        traceback.print_exc(file=sys.stdout)
        print("---- log\n%s----" % s.log_text())
        s.proc.kill()
        return False
    try:
        s.close()
    except BaseException:
        print("not ok - %s (at the end)" % name)
        traceback.print_exc(file=sys.stdout)
        return False
    print("ok - %s%s" % (name, " # SKIP " + skipped if skipped else ""), flush=True)
    return True


def main():
    wanted = sys.argv[4:]
    failed = [name for name, fn, settings in TESTS
              if (not wanted or name in wanted) and not run(name, fn, settings)]
    print("%d failed%s" % (len(failed), ": " + " ".join(failed) if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
