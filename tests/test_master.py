#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""launcher, keeper, master and the dormouse command, the real ones, with
master_fake.py in place of the other programs.

    test_master.py BUILD-DIR/master [unittest arguments]

Runs as root (then also once more as an ordinary user) or as anybody. Nothing
is timed: it waits for events, and gives up after WAIT seconds."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import master_fake as fake

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = None
WAIT = 30
PROGRAMS = ("auth", "imap-hibernate", "imap", "imap-login")
PARTNERS = ("launcher", "master", "keeper")

LISTEN = 'listen imap { address = "127.0.0.1" port = 0 tls = no }\n'
USERS = "user = nobody\nlogin_user = daemon\nauth_user = mail\n"


def wait_for(what, condition):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("waited in vain for " + what)


def is_alive(pid):
    """A zombie is not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Tree:
    """An installation in a directory of its own."""

    def __init__(self, config=LISTEN, programs=PROGRAMS):
        self.dir = tempfile.mkdtemp(prefix="dm-test-master-")
        os.chmod(self.dir, 0o755)
        self.base = os.path.join(self.dir, "run")
        self.conf = os.path.join(self.dir, "dormouse.conf")
        self.libexec = os.path.join(self.dir, "libexec", "dormouse")
        self.log_path = os.path.join(self.dir, "log")
        os.makedirs(self.libexec)
        os.mkdir(os.path.join(self.dir, "bin"))
        shutil.copy(os.path.join(BUILD, "dormouse"), os.path.join(self.dir, "bin"))
        for name in PARTNERS:
            shutil.copy(os.path.join(BUILD, name), self.libexec)
        for name in programs:
            path = os.path.join(self.libexec, name)
            shutil.copy(os.path.join(HERE, "master_fake.py"), path)
            os.chmod(path, 0o755)
        self.write_config(config)
        self.process = None
        self.env = None
        self.seen_pids = set()

    def write_config(self, text, path=None):
        with open(path or self.conf, "w") as f:
            f.write('base_dir = "%s"\nlog_level = debug\n%s%s' % (
                self.base, USERS if os.geteuid() == 0 else "", text))

    def dormouse(self, *args, stdin=subprocess.DEVNULL, **more):
        return subprocess.run([os.path.join(self.dir, "bin", "dormouse"), "-c", self.conf, *args],
                              stdin=stdin, capture_output=True, timeout=WAIT, text=True, **more)

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.dir, "bin", "dormouse"), "-F", "-c", self.conf],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        self.wait_ready()

    def wait_ready(self):
        wait_for("the server", lambda: self.server().get("state") == "ready")
        self.remember()

    def remember(self):
        """For a tidy end, whatever the test did."""
        for s in self.rows():
            self.seen_pids.update(int(s[k]) for k in ("pid", "launcher_pid", "keeper_pid") if s.get(k))

    def rows(self):
        done = self.dormouse("status", "--json")
        return json.loads(done.stdout)["rows"] if done.returncode == 0 else []

    def server(self):
        return next((r for r in self.rows() if r["kind"] == "server"), {})

    def programs(self):
        return {r["program"]: r for r in self.rows() if r["kind"] == "program"}

    def all_ready(self):
        programs = self.programs()
        return programs and all(p["state"] == "ready" for p in programs.values()) and programs

    def pid_of(self, name):
        s = self.server()
        if name == "master":
            return int(s.get("pid", 0))
        if name in ("launcher", "keeper"):
            return int(s.get(name + "_pid", 0))
        p = self.programs().get(name)
        return int(p["pid"]) if p else 0

    def kill(self, name):
        """kill -9, and wait until another one has its place."""
        pid = self.pid_of(name)
        assert pid > 1, name
        os.kill(pid, signal.SIGKILL)
        wait_for("the end of " + name, lambda: not is_alive(pid))
        wait_for("another " + name, lambda: self.pid_of(name) not in (0, pid))
        wait_for("all", self.all_ready)
        self.remember()
        return pid, self.pid_of(name)

    def fake_log(self, **like):
        try:
            with open(os.path.join(self.base, "fake.log")) as f:
                lines = [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []
        return [l for l in lines if all(l.get(k) == v for k, v in like.items())]

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def ports(self):
        with open(os.path.join(self.base, "ports")) as f:
            return {line.split()[0]: (line.split()[1], int(line.split()[2])) for line in f}

    def close(self, show):
        self.dormouse("stop", "--now")
        for pid in self.seen_pids:
            if pid > 1 and is_alive(pid):
                self.kill_leftover(pid)
        if self.process:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        if show and os.path.exists(self.log_path):
            sys.stderr.write(self.log())
        shutil.rmtree(self.dir, ignore_errors=True)

    def kill_leftover(self, pid):
        """Only what runs from this tree."""
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                words = f.read().split(b"\0")
            if words[0].decode() in PARTNERS + PROGRAMS or self.dir.encode() in b" ".join(words):
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


class Case(unittest.TestCase):
    def tree(self, **more):
        t = Tree(**more)
        self.addCleanup(lambda: t.close(show=self.failed()))
        return t

    def failed(self):
        outcome = getattr(self, "_outcome", None)
        return bool(outcome and getattr(outcome, "result", None) and
                    any(test is self for test, _ in outcome.result.failures + outcome.result.errors))

    def started(self, **more):
        t = self.tree(**more)
        t.start()
        return t


class TestConfig(Case):
    """Each bad file: what is said, and where. Line 1 is the one that matters
    unless a row says otherwise; what the tree adds stands behind it."""

    ROWS = [
        ('hibernate_aftr = 30s', 1, 'unknown setting "hibernate_aftr"; did you mean hibernate_after?'),
        ('nonsense = 1', 1, 'unknown setting "nonsense"'),
        ('hibernate_after = 3x', 1, 'hibernate_after = "3x" is not a time'),
        ('hibernate_after = -1', 1, 'is not a time'),
        ('\nlogin_timeout = 500ms', 2, 'out of range; 1s to 1h will do'),
        ('hibernate = maybe', 1, 'neither yes nor no'),
        ('login_processes = 0', 1, 'out of range; 1 to 64 will do'),
        ('login_processes = 65', 1, 'out of range; 1 to 64 will do'),
        ('login_processes = many', 1, 'not a number'),
        ('log_level = loud', 1, '"debug", "info", "warn" or "error"'),
        ('log = "file:relative"', 1, 'no place for the log'),
        ('mail = "Maildir"', 1, 'no absolute path'),
        ('spares = 1\nspares = 2', 2, 'spares is given twice; the first one is in line 1'),
        ('listen a {\n  address = "127.0.0.1"\n  port = 0\n', 1, 'never closed; add a }'),
        ('listen a { address = "127.0.0.1" port = 0 } }', 1, 'closes nothing'),
        ('listen a {\n address = "localhost"\n port = 0\n}', 2, 'no IP address'),
        ('listen a {\n address = "127.0.0.1"\n port = 65536\n}', 3, 'no port'),
        ('listen a { address = "127.0.0.1" }', 1, 'listen a has no port'),
        ('listen a { port = 1 }', 1, 'listen a has no address'),
        ('listen a {\n adress = "::1"\n port = 1\n}', 2, 'did you mean address?'),
        ('listen a {\n address = "127.0.0.1" port = 0\n tls = yes\n}', 3, 'no certificate; add ssl_cert'),
        ('listen a { address = "::1" port = 0 }\nlisten a { address = "::1" port = 0 }', 2, 'there twice'),
        ('listen a { address = "::1" port = 7 }\nlisten b { address = "::1" port = 7 }', 2,
         'listen b has the address and port of listen a'),
        ('listen "a b" { address = "::1" port = 0 }', 1, 'letters, digits'),
        ('listen a { address = "0.0.0.0" port = 0 }\nauth {\n static_password = "x"\n}', 3,
         'can be reached from outside'),
        ('auth {\n passwd_file = "relative"\n}', 2, 'begin with /'),
        ('auth {\n pasword_file = "/x"\n}', 2, 'did you mean passwd_file?'),
        ('include("missing.conf")', 1, 'No such file'),
        ('mail = "~/Maildir # no listen', 1, 'never ends; add a quote'),
        ('/* no listen', 1, 'never ends; add */'),
        ('spares 3', 1, "settings look like"),
        ('spares =', 2, ''),
        ('# a\n\n// b\nspaers = 3', 4, 'did you mean spares?'),
        ('spares = 3 # x\n/* y\n\n */ spaers = 3', 4, 'did you mean spares?'),
    ]

    def test_errors_name_file_and_line(self):
        t = self.tree()
        for text, line, said in self.ROWS:
            with self.subTest(text=text):
                with open(t.conf, "w") as f:
                    f.write(text + "\n")
                    if "listen" not in text:
                        f.write('base_dir = "%s"\n' % t.base)
                for args in (["check-config"], ["-F"], ["start"], ["who"]):
                    done = t.dormouse(*args)
                    self.assertEqual(done.returncode, 1, done)
                    self.assertTrue(done.stderr.startswith("%s:%d: " % (t.conf, line)), done.stderr)
                    self.assertIn(said, done.stderr)
                    self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                    self.assertEqual(done.stdout, "")
        self.assertFalse(os.path.exists(t.base))

    def test_errors_in_included_files_name_those(self):
        t = self.tree()
        inner = os.path.join(t.dir, "inner.conf")
        t.write_config('include("inner.conf")\nspares = x\n' + LISTEN)
        with open(t.conf) as f:
            offset = f.read().split("\n").index("spares = x") + 1
        for text, said in (("spares = 3\nspaers = 4\n", inner + ":2: unknown setting"),
                           ("# x\n# y\nspaers = 4\n", inner + ":3: unknown setting"),
                           ("poll_interval = 1s\n", "%s:%d: spares = " % (t.conf, offset)),
                           ("listen x {\n", inner + ":1: the section"),
                           ('include("inner.conf")\n', ":")):
            with self.subTest(text=text):
                with open(inner, "w") as f:
                    f.write(text)
                done = t.dormouse("check-config")
                self.assertEqual(done.returncode, 1)
                self.assertTrue(done.stderr.startswith(said) or said == ":", done.stderr)

    def test_files_that_cannot_be_read(self):
        t = self.tree()
        for path, said in ((t.dir + "/none", "No such file"), (t.dir, "not a plain file"),
                           ("/dev/zero", "not a plain file")):
            done = subprocess.run([t.dir + "/bin/dormouse", "check-config", "-c", path],
                                  capture_output=True, text=True, timeout=WAIT)
            self.assertEqual(done.returncode, 1)
            self.assertTrue(done.stderr.startswith(path + ": "), done.stderr)
            self.assertIn(said, done.stderr)

    def test_no_listener(self):
        t = self.tree(config="")
        done = t.dormouse("check-config")
        self.assertEqual(done.returncode, 1)
        self.assertIn("has no listen section", done.stderr)

    def test_passwd_file_that_is_not_there(self):
        t = self.tree(config=LISTEN + 'auth { passwd_file = "/no/such/file" }\n')
        done = t.dormouse("check-config")
        self.assertEqual(done.returncode, 1)
        self.assertIn('passwd_file = "/no/such/file": No such file', done.stderr)

    def test_good(self):
        t = self.tree(config='# x\nhibernate_after = 500ms\n' + LISTEN +
                      'auth { static_password = "x" /* } */ }\n')
        done = t.dormouse("check-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("good (1 listener,", done.stdout)

    @unittest.skipUnless(os.geteuid() == 0, "as an ordinary user nobody else is needed")
    def test_missing_user_says_how_to_make_it(self):
        t = self.tree()
        with open(t.conf, "w") as f:
            f.write('user = "no-such-user-here"\n' + LISTEN)
        done = t.dormouse("check-config")
        self.assertEqual(done.returncode, 1)
        self.assertIn("useradd --system", done.stderr)
        with open(t.conf, "w") as f:
            f.write('user = root\nlogin_user = daemon\nauth_user = mail\n' + LISTEN)
        self.assertIn("is root", t.dormouse("check-config").stderr)


class TestCommand(Case):
    def test_usage_errors_are_2(self):
        t = self.tree()
        for args in ([], ["nonsense"], ["who", "a", "b"], ["kick"], ["--nonsense"], ["status", "--now"],
                     ["check-config", "--json"], ["help", "nonsense"]):
            with self.subTest(args=args):
                done = t.dormouse(*args)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn("dormouse", done.stderr)

    def test_help_has_an_example_for_each_command(self):
        t = self.tree()
        done = t.dormouse("help")
        self.assertEqual(done.returncode, 0)
        names = [l.split()[0] for l in done.stdout.split("Commands:\n")[1].split("\n\n")[0].split("\n")]
        self.assertIn("state-dump", names)
        for name in names:
            for args in (["help", name], [name, "--help"], ["--help", name]):
                done = t.dormouse(*args)
                self.assertEqual(done.returncode, 0)
                self.assertIn("Usage: dormouse " + name, done.stdout)
                if name != "version":
                    self.assertIn("dormouse", done.stdout.split("Example")[1])

    def test_no_server(self):
        t = self.tree()
        for name in ("status", "who", "stop"):
            done = t.dormouse(name)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("no server runs there", done.stderr)

    def test_version(self):
        t = self.tree()
        self.assertRegex(t.dormouse("version").stdout, r"^dormouse \d+\.\d+\.\d+\n$")

    def test_state_dump_refuses_what_is_no_state(self):
        t = self.tree()
        path = os.path.join(t.dir, "state")
        with open(path, "wb") as f:
            f.write(b"nonsense")
        done = t.dormouse("state-dump", path)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(path, done.stderr)


class TestServer(Case):
    def test_programs_get_what_the_contract_says(self):
        t = self.started(config=LISTEN + 'listen six { address = "::1" port = 0 }\nlogin_processes = 3\n')
        setups = t.fake_log(what="setup")
        self.assertEqual({(s["name"], s["fds"]) for s in setups},
                         {("auth", 1), ("imap", 3), ("imap-hibernate", 2), ("imap-login", 3)})
        self.assertEqual(sum(s["name"] == "imap-login" for s in setups), 3)
        for s in setups:
            self.assertEqual(s["inherited"], [], s)
            self.assertLessEqual(set(s["env"]), {"PATH", "LANG", "LC_CTYPE", "TZ", "FAULTS", "DORMOUSE_CORE",
                                                 "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",
                                                 "ASAN_SYMBOLIZER_PATH"})
        # who talks to whom: login x 3 and the holder with auth, the holder with the keeper
        wait_for("channels", lambda: len(t.fake_log(what="channel")) == 4 + 4 + 1)
        self.assertEqual(sorted(c["role"] for c in t.fake_log(what="channel", name="auth")), [4, 4, 4, 6])
        self.assertEqual(sorted(c["role"] for c in t.fake_log(what="channel", name="imap-hibernate")), [2, 3])
        self.assertEqual(sorted(os.listdir(t.base)),
                         ["control", "fake.log", "holder", "keeper", "keeper.pid", "lock", "ports"])
        for name, mode in (("keeper", 0o600), ("control", 0o600), ("holder", 0o666), (".", 0o755)):
            self.assertEqual(os.stat(os.path.join(t.base, name)).st_mode & 0o777, mode, name)
        self.assertEqual(set(t.ports()), {"imap", "six"})
        for address, port in t.ports().values():
            socket.create_connection((address, port), timeout=WAIT).close()
        self.assertEqual(t.programs()["imap"]["report"], "hello=imap")

    def test_each_program_is_restarted_and_introduced_again(self):
        t = self.started(config=LISTEN + "login_processes = 1\n")
        wait_for("channels", lambda: len(t.fake_log(what="channel")) == 2 + 2 + 1)
        for name, roles in (("auth", [4, 6]), ("imap-hibernate", [2, 3]), ("imap", []), ("imap-login/1", [3])):
            with self.subTest(name=name):
                old, new = t.kill(name)
                wait_for("channels of " + name, lambda: sorted(
                    c["role"] for c in t.fake_log(what="channel", pid=new)) == roles)
                self.assertEqual(t.programs()[name]["restarts"], "1")
                self.assertIn("died program=%s pid=%d signal=9" % (name, old), t.log())
        # auth met both partners again when it was new, and each of them when they were
        auth = t.pid_of("auth")
        self.assertEqual(sorted(c["role"] for c in t.fake_log(what="channel", pid=auth)), [4, 4, 6, 6])

    def test_kill_9_of_launcher_then_master_then_keeper(self):
        t = self.tree()
        t.start()
        with open(os.path.join(t.base, "dup.imap-hibernate"), "w") as f:
            f.write("700")
        os.chmod(os.path.join(t.base, "dup.imap-hibernate"), 0o644)
        t.kill("imap-hibernate")
        kept = wait_for("duplicates", lambda: t.fake_log(what="dupped"))[0]["inodes"]
        self.assertEqual(len(kept), 700 - 700 // 3)
        os.unlink(os.path.join(t.base, "dup.imap-hibernate"))
        ports = t.ports()

        keeper, master = t.pid_of("keeper"), t.pid_of("master")
        t.kill("launcher")
        self.assertEqual((t.pid_of("keeper"), t.pid_of("master")), (keeper, master))

        t.kill("master")
        self.assertEqual(t.pid_of("keeper"), keeper)
        self.assertEqual(t.ports(), ports)
        holder = t.pid_of("imap-hibernate")
        adopted = wait_for("adoption", lambda: t.fake_log(what="adopted", pid=holder))[0]
        self.assertEqual(adopted["inodes"], kept)
        self.assertEqual(adopted["items"], ["table"])

        t.kill("keeper")
        self.assertEqual(t.ports(), ports)
        wait_for("the keeper's connection", lambda: t.server()["keeper_connected"] == "yes")
        # another keeper knows of no sleeper, but has what master keeps
        wait_for("the introduction", lambda: len(t.fake_log(what="adopted", pid=holder)) == 2)
        self.assertEqual(t.fake_log(what="adopted", pid=holder)[1]["inodes"], {})
        t.kill("master")
        self.assertEqual(t.ports(), ports)
        for address, port in ports.values():
            socket.create_connection((address, port), timeout=WAIT).close()

    def test_all_three_deaths_again_after_adoption(self):
        t = self.started()
        for name in ("launcher", "launcher", "keeper", "master", "launcher", "master", "keeper"):
            t.kill(name)
        self.assertEqual(t.dormouse("stop").returncode, 0)
        self.assertFalse(os.path.exists(os.path.join(t.base, "control")))

    def test_keeper_outlives_launcher_and_master_and_is_adopted(self):
        t = self.started()
        with open(os.path.join(t.base, "dup.imap-hibernate"), "w") as f:
            f.write("10")
        os.chmod(os.path.join(t.base, "dup.imap-hibernate"), 0o644)
        t.kill("imap-hibernate")
        kept = wait_for("duplicates", lambda: t.fake_log(what="dupped"))[0]["inodes"]
        os.unlink(os.path.join(t.base, "dup.imap-hibernate"))
        ports, keeper, master = t.ports(), t.pid_of("keeper"), t.pid_of("master")
        # neither may see the other one's end
        os.kill(master, signal.SIGSTOP)
        os.kill(t.process.pid, signal.SIGKILL)
        os.kill(master, signal.SIGKILL)
        t.process.wait()
        wait_for("the end of master", lambda: not is_alive(master))
        self.assertTrue(is_alive(keeper))
        t.start()
        self.assertEqual(t.ports(), ports)
        self.assertEqual(t.pid_of("keeper"), keeper)
        holder = t.pid_of("imap-hibernate")
        adopted = wait_for("adoption", lambda: t.fake_log(what="adopted", pid=holder))[0]
        self.assertEqual(adopted["inodes"], kept)
        # and this one too is started again when it dies
        t.kill("keeper")
        t.kill("launcher")
        t.kill("keeper")
        self.assertEqual(t.dormouse("stop").returncode, 0)

    def test_an_upgrade_after_a_restart_that_kept(self):
        t = self.started()
        keeper = t.pid_of("keeper")
        self.assertEqual(t.dormouse("stop", "--keep").returncode, 0)
        t.process.wait(WAIT)
        t.start()
        self.assertEqual(t.pid_of("keeper"), keeper)
        for _ in range(2):
            done = t.dormouse("upgrade")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            t.remember()
        self.assertNotEqual(t.pid_of("keeper"), keeper)

    def test_the_keeper_is_known_after_a_reload(self):
        t = self.started()
        keeper = t.pid_of("keeper")
        self.assertEqual(t.dormouse("reload").returncode, 0)
        self.assertEqual(t.pid_of("keeper"), keeper)
        t.kill("launcher")
        self.assertEqual(t.pid_of("keeper"), keeper)
        self.assertTrue(is_alive(keeper))
        launcher = t.pid_of("launcher")
        self.assertEqual(t.dormouse("upgrade").returncode, 0)
        self.assertFalse(is_alive(keeper))
        # not the father of a master that was adopted
        self.assertEqual(t.pid_of("launcher"), launcher)
        keeper = t.pid_of("keeper")
        self.assertEqual(t.dormouse("stop", "--now").returncode, 0)
        wait_for("the end of the keeper", lambda: not is_alive(keeper))

    def test_second_instance_is_refused(self):
        t = self.started()
        done = t.dormouse("-F")
        self.assertEqual(done.returncode, 1)
        self.assertIn("already-running", done.stderr)
        self.assertIn("pid=%d" % t.pid_of("launcher"), done.stderr)
        # the lock goes on with whoever lives
        t.kill("launcher")
        done = t.dormouse("start")
        self.assertEqual(done.returncode, 1)
        self.assertIn("already-running", done.stderr)
        self.assertIn("pid=%d" % t.pid_of("launcher"), done.stderr)
        self.assertTrue(t.all_ready())

    def test_a_program_that_ends_in_its_own_time_is_not_killed(self):
        t = self.started()
        open(os.path.join(t.base, "slow-end.auth"), "w").close()
        self.assertEqual(t.dormouse("stop").returncode, 0)
        self.assertRegex(t.log(), r"died program=auth pid=\d+ status=3 ")

    def test_stop_goes_in_order_and_ends_everything(self):
        t = self.started()
        done = t.dormouse("stop")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(t.process.wait(WAIT), 0)
        order = [(l["name"], l["how"]) for l in t.fake_log(what="stop")]
        self.assertEqual(set(order[:3]), {("imap-hibernate", 1), ("imap-login", 1)})
        self.assertEqual(order[3:], [("imap", 1), ("auth", 0)])
        self.assertEqual(sorted(os.listdir(t.base)), ["fake.log", "lock"])
        t.start()	# at once

    def test_stop_now(self):
        t = self.started()
        self.assertEqual(t.dormouse("stop", "--now").returncode, 0)
        self.assertEqual({l["how"] for l in t.fake_log(what="stop")}, {0})
        self.assertEqual(t.process.wait(WAIT), 0)

    def test_stop_does_not_wait_for_ever(self):
        t = self.started(config="stop_timeout = 100ms\n" + LISTEN)
        for name in PROGRAMS:
            open(os.path.join(t.base, "hang." + name), "w").close()
        pids = [int(p["pid"]) for p in t.programs().values()]
        self.assertEqual(t.dormouse("stop").returncode, 0)
        self.assertEqual(t.process.wait(WAIT), 0)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])

    def test_signals_to_the_launcher(self):
        for signo in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signo=signo):
                t = self.started()
                keeper = t.pid_of("keeper")
                os.kill(t.pid_of("launcher"), signal.SIGHUP)
                wait_for("the answer to HUP", lambda: "reloaded version=" in t.log())
                os.kill(t.pid_of("launcher"), signo)
                self.assertEqual(t.process.wait(WAIT), 0)
                self.assertFalse(is_alive(keeper))
                self.assertEqual({l["how"] for l in t.fake_log(what="stop", name="imap-hibernate")}, {1, 3})

    def test_background(self):
        t = self.tree()
        t.write_config('log = "file:%s"\n' % t.log_path + LISTEN)
        done = t.dormouse("start")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(t.server()["state"], "ready")
        t.remember()
        self.assertIn("master: ready", t.log())
        t.kill("launcher")
        t.kill("master")
        self.assertEqual(t.dormouse("stop").returncode, 0)
        self.assertEqual(t.dormouse("start").returncode, 0)
        t.remember()

    def test_start_fails_if_the_port_is_taken(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            t = self.tree(config='listen x { address = "127.0.0.1" port = %d }\n' % s.getsockname()[1])
            for args in (["-F"], ["start"]):
                done = t.dormouse(*args)
                self.assertEqual(done.returncode, 1)
                self.assertIn("Address already in use", done.stderr)
                self.assertNotIn("control", os.listdir(t.base) if os.path.isdir(t.base) else [])

    def test_a_port_that_is_no_longer_configured_is_closed(self):
        t = self.started(config=LISTEN + 'listen six { address = "::1" port = 0 }\n')
        address, port = t.ports()["six"]
        t.write_config(LISTEN)
        t.kill("master")
        self.assertEqual(set(t.ports()), {"imap"})
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=WAIT)

    def test_bad_configuration_does_not_end_a_running_server(self):
        t = self.started()
        keeper, master = t.pid_of("keeper"), t.pid_of("master")
        t.write_config("nonsense = 1\n" + LISTEN)
        os.kill(master, signal.SIGKILL)
        wait_for("the complaint", lambda: t.log().count("unknown setting") >= 2)
        self.assertTrue(is_alive(keeper))
        t.write_config(LISTEN)
        wait_for("master", lambda: t.all_ready())
        self.assertEqual(t.pid_of("keeper"), keeper)
        t.remember()

    def test_a_program_that_dies_at_once_is_tried_more_and_more_slowly(self):
        t = self.started()
        open(os.path.join(t.base, "die.imap"), "w").close()
        os.kill(t.pid_of("imap"), signal.SIGKILL)
        wait_for("a longer delay", lambda: "program-wait program=imap delay_ms=400" in t.log())
        self.assertEqual(t.programs()["auth"]["state"], "ready")
        os.unlink(os.path.join(t.base, "die.imap"))
        wait_for("imap", t.all_ready)

    def test_a_missing_program_is_named(self):
        t = self.tree(programs=PROGRAMS[:3])
        with open(t.log_path, "a") as log:
            t.process = subprocess.Popen([t.dir + "/bin/dormouse", "-F", "-c", t.conf], stderr=log)
        wait_for("the complaint", lambda: 'start program=imap-login/1 error="No such file' in t.log())
        self.assertEqual(t.server()["state"], "starting")
        t.remember()

    def test_base_dir_that_others_may_write_to_is_refused(self):
        t = self.tree()
        os.mkdir(t.base)
        os.chmod(t.base, 0o777)
        done = t.dormouse("-F")
        self.assertEqual(done.returncode, 1)
        self.assertIn("base-dir", done.stderr)


class ServiceManager:
    """As systemd to those it starts: a socket for what they say."""

    def __init__(self, t, name, watchdog_us=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(WAIT)
        self.said = []
        t.env = dict(os.environ, NOTIFY_SOCKET=name.replace("\0", "@"))
        if watchdog_us:
            t.env["WATCHDOG_USEC"] = str(watchdog_us)

    def hear(self, wanted):
        """All lines up to and with the wanted one."""
        lines = []
        while wanted not in lines:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            for fd in fds:
                os.close(fd)
            lines += [l for l in data.decode().split("\n") if l]
        return lines

    def close(self):
        self.socket.close()


class TestServiceManager(Case):
    def manager(self, t, abstract=False, **more):
        name = "\0dm-test-%d" % os.getpid() if abstract else os.path.join(t.dir, "notify")
        m = ServiceManager(t, name, **more)
        self.addCleanup(m.close)
        return m

    def environment(self, pid):
        with open("/proc/%d/environ" % pid, "rb") as f:
            return {v.split(b"=")[0].decode() for v in f.read().split(b"\0")}

    def test_life_as_it_is_told(self):
        for abstract in (False, True):
            with self.subTest(abstract=abstract):
                t = self.tree()
                m = self.manager(t, abstract)
                t.start()
                self.assertNotIn("MAINPID=%d" % t.pid_of("launcher"), m.hear("READY=1"))
                m.hear("STATUS=ready")
                self.assertEqual(t.dormouse("reload").returncode, 0)
                m.hear("RELOADING=1")
                m.hear("READY=1")
                launcher = t.pid_of("launcher")
                t.write_config("nonsense = 1\n" + LISTEN)
                os.kill(launcher, signal.SIGHUP)
                m.hear("RELOADING=1")
                m.hear("READY=1")
                t.write_config(LISTEN)
                self.assertEqual(t.dormouse("upgrade").returncode, 0)
                m.hear("RELOADING=1")
                m.hear("READY=1")
                self.assertEqual(t.pid_of("launcher"), launcher)
                _, launcher = t.kill("launcher")
                m.hear("MAINPID=%d" % launcher)
                m.hear("READY=1")
                t.kill("master")
                m.hear("READY=1")
                self.assertEqual(t.dormouse("stop").returncode, 0)
                m.hear("STOPPING=1")

    def test_only_launcher_and_master_know_of_it(self):
        t = self.tree()
        self.manager(t, watchdog_us=10**9)
        t.start()
        self.assertEqual(t.dormouse("upgrade").returncode, 0)
        t.kill("launcher")
        t.kill("master")
        known = {"NOTIFY_SOCKET", "WATCHDOG_USEC"}
        for name in ("launcher", "master"):
            self.assertLessEqual(known, self.environment(t.pid_of(name)), name)
        if os.geteuid() == 0:   # others are not dumpable
            for name in ("keeper", "auth", "imap-login/1", "imap", "imap-hibernate"):
                self.assertFalse(known & self.environment(t.pid_of(name)), name)

    def test_a_master_that_hangs_is_replaced(self):
        t = self.tree()
        m = self.manager(t, watchdog_us=2000000)
        t.start()
        m.hear("WATCHDOG=1")
        m.hear("STATUS=ready")
        keeper, master = t.pid_of("keeper"), t.pid_of("master")
        os.kill(master, signal.SIGSTOP)
        wait_for("its end", lambda: not is_alive(master))
        m.hear("READY=1")
        m.hear("WATCHDOG=1")
        wait_for("another", t.all_ready)
        self.assertIn("hangs program=master pid=%d " % master, t.log())
        self.assertEqual(t.pid_of("keeper"), keeper)
        t.remember()
        # The one that follows a launcher's death is watched, too, and so is one
        # that a reload has made.
        t.kill("launcher")
        self.assertEqual(t.dormouse("reload").returncode, 0)
        master = t.pid_of("master")
        os.kill(master, signal.SIGSTOP)
        wait_for("its end", lambda: not is_alive(master))
        wait_for("another", t.all_ready)
        t.remember()

    def test_a_start_while_it_runs_points_the_manager_to_it(self):
        t = self.tree()
        m = self.manager(t)
        t.start()
        m.hear("READY=1")
        _, launcher = t.kill("launcher")
        m.hear("READY=1")
        with open(t.log_path, "a") as log:
            second = subprocess.Popen([t.dir + "/bin/dormouse", "-F", "-c", t.conf], env=t.env,
                                      stdin=subprocess.DEVNULL, stderr=log)
            self.assertIn("READY=1", m.hear("MAINPID=%d" % launcher))
            m.hear("BARRIER=1")
            self.assertEqual(second.wait(WAIT), 0)
        self.assertEqual(t.pid_of("launcher"), launcher)
        self.assertTrue(t.all_ready())


# Descriptors 3, 4, ... and whom they are for, as systemd passes them.
ACTIVATE = """import os, sys
fds = [os.dup(int(a)) for a in sys.argv[1].split(",")]
high = [os.dup2(fd, 50 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid() + int(sys.argv[2])), LISTEN_FDS=str(len(fds)),
                  LISTEN_FDNAMES=":".join("x" for _ in fds))
os.closerange(3 + len(fds), 100)
os.execv(sys.argv[3], sys.argv[3:])
"""


class TestActivation(Case):
    def sockets(self):
        """One that will be configured, one that listens, one that does not, one of UDP."""
        made = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0)),
                socket.socket(), socket.socket(type=socket.SOCK_DGRAM)]
        made[2].bind(("127.0.0.1", 0))
        made[3].bind(("127.0.0.1", 0))
        for s in made:
            self.addCleanup(s.close)
        return made

    def activate(self, t, sockets, *args, other=0):
        fds = [s.fileno() for s in sockets]
        command = [sys.executable, "-c", ACTIVATE, ",".join(map(str, fds)), str(other),
                   t.dir + "/bin/dormouse", *args, "-c", t.conf]
        log = open(t.log_path, "a")
        self.addCleanup(log.close)
        return subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def test_sockets_that_are_configured_are_used(self):
        for args in (("-F",), ("start",)):
            with self.subTest(args=args):
                t = self.tree()
                made = self.sockets()
                port = made[1].getsockname()[1]
                t.write_config('log = "file:%s"\nlisten a { address = "127.0.0.1" port = %d }\n' %
                               (t.log_path, port))
                process = self.activate(t, made, *args)
                if args == ("-F",):
                    t.process = process
                else:
                    self.assertEqual(process.wait(WAIT), 0)
                t.wait_ready()
                for s in made:      # whoever has them now is the server
                    s.close()
                log = t.log()
                self.assertIn("listen name=a address=127.0.0.1 port=%d activated=yes" % port, log)
                self.assertEqual(log.count("activation address=127.0.0.1 port="), 3)
                socket.create_connection(("127.0.0.1", port), WAIT).close()
                t.kill("master")
                self.assertEqual(t.dormouse("upgrade").returncode, 0)
                t.remember()
                self.assertEqual(t.ports(), {"a": ("127.0.0.1", port)})
                self.assertEqual(t.log().count("activated=yes"), 1)     # then the keeper has it
                socket.create_connection(("127.0.0.1", port), WAIT).close()
                self.assertEqual(t.dormouse("stop").returncode, 0)
                with self.assertRaises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), WAIT)

    def test_sockets_for_another_process_are_not(self):
        t = self.tree()
        made = self.sockets()
        t.write_config('listen a { address = "127.0.0.1" port = %d }\n' % made[1].getsockname()[1])
        process = self.activate(t, made, "-F", other=1)
        self.assertEqual(process.wait(WAIT), 1)
        self.assertIn("Address already in use", t.log())


class TestControl(Case):
    def test_verbs_reach_those_who_serve_them(self):
        t = self.started()
        for args, name in ((["who"], "imap-hibernate"), (["who", "anna"], "imap-hibernate"),
                           (["kick", "a1"], "imap-hibernate"), (["sleep", "a1"], "imap-hibernate"),
                           (["wake", "a1"], "imap-hibernate"), (["holder"], "imap-hibernate"),
                           (["state-dump", "a1"], "imap-hibernate"), (["sessions"], "auth")):
            with self.subTest(args=args):
                done = t.dormouse(*args)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertTrue(t.fake_log(what="control", name=name, verb=args[0], args=args[1:]))

    def test_rows_for_people_and_for_machines(self):
        t = self.started()
        out = t.dormouse("who").stdout
        self.assertNotIn("\x1b", out)
        self.assertEqual(out.split("\n")[0].split(), ["id", "user"])
        rows = json.loads(t.dormouse("who", "--json").stdout)
        self.assertEqual(rows["ok"], True)
        self.assertEqual(rows["rows"], [{"id": "00000000000000a1", "user": "an\"na\n\x1b[31m"},
                                        {"id": "00000000000000a2", "user": "b\u00e9a"}])

    def test_a_dumped_state_is_plain_text(self):
        t = self.started()
        self.assertEqual(t.dormouse("state-dump", "a1").stdout, "format: 1\nuids: 1:?4 (4)\n")

    def test_a_program_that_does_not_run_is_said(self):
        t = self.started()
        open(os.path.join(t.base, "die.imap-hibernate"), "w").close()
        os.kill(t.pid_of("imap-hibernate"), signal.SIGKILL)
        wait_for("the delay", lambda: "program-wait program=imap-hibernate" in t.log())
        done = t.dormouse("who")
        self.assertEqual(done.returncode, 1)
        self.assertIn("imap-hibernate does not run", done.stderr)
        done = t.dormouse("who", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["ok"], False)
        os.unlink(os.path.join(t.base, "die.imap-hibernate"))

    def test_nonsense_ends_its_own_connection_only(self):
        t = self.started()
        for packet in (b"x", b"\x91\x01", b"\x93\x50\xa3foo\x90", b"\xdc\xff\xff", b"\x93\x50\xa6status\x01",
                       os.urandom(60000)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.settimeout(WAIT)
                s.connect(os.path.join(t.base, "control"))
                s.send(packet)
                while True:
                    try:
                        if not s.recv(65536):
                            break
                    except ConnectionResetError:
                        break
        self.assertEqual(t.server()["state"], "ready")

    @unittest.skipUnless(os.geteuid() == 0, "needs another user")
    def test_other_users_are_refused(self):
        t = self.started()
        os.chmod(os.path.join(t.base, "control"), 0o666)
        os.chmod(os.path.join(t.base, "keeper"), 0o666)

        def as_other():
            os.setgroups([])
            os.setgid(65533)
            os.setuid(65533)
        done = subprocess.run([t.dir + "/bin/dormouse", "-b", t.base, "status"], preexec_fn=as_other,
                              capture_output=True, text=True, timeout=WAIT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("only root and the server's own user", done.stderr)
        self.assertIn("control-refused uid=65533", t.log())


class TestDeliver(Case):
    def deliver(self, t, *args, text="Subject: x\r\n\r\nhello\r\n"):
        with tempfile.TemporaryFile() as f:
            f.write(text.encode())
            f.seek(0)
            return t.dormouse("deliver", *args, stdin=f)

    def test_into_a_maildir(self):
        t = self.tree()
        box = os.path.join(t.dir, "Maildir")
        os.mkdir(box)
        self.assertEqual(self.deliver(t, "-m", box).returncode, 0)
        self.assertEqual(self.deliver(t, "-m", box).returncode, 0)
        names = os.listdir(box + "/new")
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertRegex(name, r"^\d+\.M\d+P\d+(Q\d+)?\.[^,:/]+,S=18,W=21$")
            with open(os.path.join(box, "new", name), "rb") as f:
                self.assertEqual(f.read(), b"Subject: x\n\nhello\n")
            self.assertEqual(os.stat(os.path.join(box, "new", name)).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(box + "/tmp"), [])
        done = self.deliver(t, "-m", box, "Lists")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such mailbox", done.stderr)
        for part in ("", "/tmp", "/new", "/cur"):
            os.mkdir(box + "/.Lists" + part)
        self.assertEqual(self.deliver(t, "-m", box, "Lists").returncode, 0)
        self.assertEqual(len(os.listdir(box + "/.Lists/new")), 1)
        done = self.deliver(t, "-m", box, text="")
        self.assertEqual(done.returncode, 1)
        self.assertIn("empty", done.stderr)
        self.assertEqual(self.deliver(t, "-m", box, "a/../b").returncode, 1)
        self.assertEqual(self.deliver(t, "-m", t.dir + "/none").returncode, 1)

    def test_as_the_user_whom_auth_names(self):
        t = self.started(config='mail = "~/Mail"\n' + LISTEN)
        root = os.geteuid() == 0
        home = os.path.join(t.dir, "home")
        os.mkdir(home)
        uid, gid = (65533, 65533) if root else (os.geteuid(), os.getegid())
        if root:
            os.chown(home, uid, gid)
        path = os.path.join(t.base, "users.auth")
        with open(path, "w") as f:
            json.dump({"anna": {"uid": uid, "gid": gid, "home": home}}, f)
        os.chmod(path, 0o644)
        self.assertEqual(self.deliver(t, "-u", "anna").returncode, 0)
        names = os.listdir(home + "/Mail/new")
        self.assertEqual(len(names), 1)
        st = os.stat(home + "/Mail/new/" + names[0])
        self.assertEqual((st.st_uid, st.st_gid), (uid, gid))
        done = self.deliver(t, "-u", "berta")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such user", done.stderr)
        if root:
            # what only root may write to stays as it is
            with open(path, "w") as f:
                json.dump({"anna": {"uid": uid, "gid": gid, "home": t.dir}}, f)
            done = self.deliver(t, "-u", "anna")
            self.assertEqual(done.returncode, 1)
            self.assertIn("Permission denied", done.stderr)


def as_ordinary_user(rest):
    """All of it, from a copy: the checkout may lie where nobody else can look.
    So may the interpreter in use: in root's home."""
    with tempfile.TemporaryDirectory(prefix="dm-test-master-") as top:
        os.chmod(top, 0o755)
        for name in ("dormouse",) + PARTNERS:
            shutil.copy(os.path.join(BUILD, name), top)
        for name in ("test_master.py", "master_fake.py"):
            shutil.copy(os.path.join(HERE, name), top)
            os.chmod(os.path.join(top, name), 0o755)
        return subprocess.call(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                "/usr/bin/python3", "-B", os.path.join(top, "test_master.py"),
                                top, *rest], cwd=top)


def main():
    global BUILD
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    rest = sys.argv[2:]
    if os.geteuid() == 0 and "--not-again" not in rest:
        again = as_ordinary_user(rest)
        if again:
            sys.exit(again)
    unittest.main(argv=[sys.argv[0]] + [a for a in rest if a != "--not-again"])


if __name__ == "__main__":
    main()
