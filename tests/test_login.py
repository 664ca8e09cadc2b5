#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whole conversations with the real imap-login and auth, before a session
begins. login-harness plays master, holder and spare; what it takes from the
login queue it prints.

    test_login.py LOGIN-HARNESS AUTH IMAP-LOGIN [NAME...]

Runs as root (then the programs change their user) or as anybody."""
import base64, os, queue, resource, select, signal, socket, subprocess, sys, tempfile, threading, time, traceback

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
        self.write_users(users or [
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
    assert "LOGINDISABLED" in c.greeting and "AUTH=PLAIN" not in c.greeting
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
    caps = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN"
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
        print("not ok - %s" % name)
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
