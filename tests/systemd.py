# SPDX-License-Identifier: MIT
"""The server under a real systemd, in a container of its own.

    systemd.py [--keep] [--tree DIR] [STEP ...]

Needs root, debootstrap and systemd-nspawn; no systemd need run here. The tree is made
once; everything that a run changes is in an overlay that goes with it. In the container
there is no network but its own loopback; the same file, called with --inside, is a unit
that makes the others do things and watches clients meanwhile.
"""
import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
import upgrade  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "openssl", "procps", "libssl3",
            "libmsgpackc2", "libsqlite3-0", "libconfuse2", "libseccomp2", "zlib1g", "libgsasl18",
            "libargon2-1", "libpam0g", "libinotifytools0")
# A run takes three quarters of a minute, a tree one and a half.
BOUND_S, TREE_BOUND_S = 270, 270
WATCHDOG_S = 6
PREFIX = "/usr/local"


# ---- outside ----

def tree_make(tree):
    if os.path.exists(os.path.join(tree, "ready")):
        return
    with open("/proc/self/mountinfo") as f:
        if any(line.split()[4].startswith(os.path.abspath(tree) + "/") for line in f):
            sys.exit("something is mounted below %s: umount it first" % tree)
    print("making %s (once)" % tree, flush=True)
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(tree)
    done = subprocess.run(["timeout", "-k", "10", str(TREE_BOUND_S), "debootstrap",
                           "--variant=minbase", "--include=" + ",".join(PACKAGES), "bookworm", tree,
                           "http://deb.debian.org/debian"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit("debootstrap failed:\n" + done.stdout[-3000:] + done.stderr[-1000:])
    open(os.path.join(tree, "etc/machine-id"), "w").close()
    open(os.path.join(tree, "ready"), "w").close()


UNIT = """[Unit]
Description=The test
DefaultDependencies=no
After=basic.target dbus.service
Requires=basic.target dbus.service
[Service]
Type=exec
ExecStart=/usr/bin/python3 -B /tests/systemd.py --inside %s
ExecStopPost=/bin/systemctl --no-block --force poweroff
StandardOutput=file:/result/out
StandardError=file:/result/out
Environment=PYTHONUNBUFFERED=1
"""


def cgroups(before=None):
    """What nspawn makes below our own group, and leaves."""
    found = set()
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if " - cgroup" in line:
            for sub in ("payload", "supervisor"):
                if os.path.isdir(os.path.join(fields[4], sub)):
                    found.add(os.path.join(fields[4], sub))
    if before is not None:
        for path in found - before:
            for at, _, _ in os.walk(path, topdown=False):
                try:
                    os.rmdir(at)
                except OSError as e:
                    print("left behind: %s: %s" % (at, e))
    return found


def container_end(process):
    """By its own way first: nspawn takes the container along."""
    for sig, wait in ((signal.SIGTERM, 15), (signal.SIGKILL, 10)):
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                pass


def outside(args):
    if os.geteuid() != 0:
        sys.exit("systemd.py: needs root, to boot a container")
    tree_make(args.tree)
    result = tempfile.mkdtemp(prefix="dormouse-systemd-")
    out = os.path.join(result, "out")
    with open(os.path.join(result, "test.service"), "w") as f:
        f.write(UNIT % " ".join(args.steps))
    before = cgroups()
    bound = [("ro", dm.STAGE, "/stage"), ("ro", HERE, "/tests"), ("rw", result, "/result"),
             ("ro", os.path.join(dm.ROOT, "systemd/postinst.example"), "/postinst"),
             ("ro", os.path.join(result, "test.service"), "/etc/systemd/system/dormouse-test.service")]
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
               "--directory=" + args.tree, "--volatile=overlay", "--console=pipe",
               "--kill-signal=SIGRTMIN+3", "--machine=dormouse-test", "--tmpfs=/home:mode=755",
               "--hostname=dormouse-test"]
    command += ["--bind%s=%s:%s" % ("-ro" if how == "ro" else "", a, b) for how, a, b in bound]
    # nspawn of bookworm filters system calls by a list that is older than Landlock.
    command += ["--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
                "--boot",
                "systemd.log_target=journal", "systemd.wants=dormouse-test.service"]
    with open(os.path.join(result, "console"), "w") as console:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                   start_new_session=True,
                                   env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"))
    for sig in (signal.SIGTERM, signal.SIGHUP):     # whatever ends us ends it
        signal.signal(sig, lambda *_: sys.exit(1))
    told = 0
    end = time.monotonic() + BOUND_S
    try:
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
            told = show(out, told)
    finally:
        late = process.poll() is None
        container_end(process)
        show(out, told)
        cgroups(before)
        for sub in ("propagate/dormouse-test", "propagate", "unix-export/dormouse-test", "locks", ""):
            try:
                os.rmdir(os.path.join("/run/systemd/nspawn", sub))
            except OSError:
                pass
    if os.path.ismount(args.tree):
        print("left behind: a mount on " + args.tree)
    text = open(out).read() if os.path.exists(out) else ""
    if re.search(r"^[1-9][0-9]* passed, 0 failed$", text, re.M) and not late and not args.keep:
        shutil.rmtree(result)
        return 0
    if not text or late:
        print("the container %s:\n%s" % ("did not end in time" if late else "said nothing",
                                        open(os.path.join(result, "console")).read()[-3000:]))
    print("out, console, journal are in " + result)
    return 0 if args.keep and not late and ", 0 failed" in text else 1


def show(path, at):
    if os.path.exists(path):
        with open(path) as f:
            f.seek(at)
            sys.stdout.write(f.read())
            sys.stdout.flush()
            at = f.tell()
    return at


# ---- inside ----

def systemctl(*args, good=True):
    done = subprocess.run(["systemctl", "--no-pager"] + list(args), capture_output=True, text=True,
                          timeout=150)
    if good and done.returncode != 0:
        raise dm.Failure("systemctl %s: %s%s" % (" ".join(args), done.stdout, done.stderr))
    return done


def shown(name, unit="dormouse.service"):
    return systemctl("show", "-p", name, "--value", unit).stdout.strip()


class Installed(upgrade.Installation):
    def __init__(self, stage):
        self.stage = stage
        self.version = self.first = subprocess.run(
            [os.path.join(stage, "bin/dormouse"), "--version"], capture_output=True,
            text=True).stdout.split()[1]


class Machine(dm.Server):
    """The server that systemd runs here, with the configuration in /etc."""

    def __init__(self):
        self.tls = self.deflate = self.keep = False
        self.root, self.process, self.known, self.users = True, None, {}, {}
        self.stage, self.dir = PREFIX, "/"
        self.base, self.conf = "/run/dormouse", "/etc/dormouse/dormouse.conf"
        self.passwd, self.port = "/etc/dormouse/passwd", 143
        shutil.copytree("/stage", self.stage, dirs_exist_ok=True)
        self.installation = Installed(self.stage)
        os.makedirs("/etc/dormouse", exist_ok=True)
        open(self.passwd, "w").close()
        os.chmod(self.passwd, 0o600)
        self.configure("")

    def configure(self, more, port=143):
        with open(self.conf, "w") as f:
            f.write('log = "syslog"\nhibernate_after = 1h\nauth {\n\tpasswd_file = "%s"\n'
                    '\tpam_service = "dormouse"\n}\n'
                    'listen imap {\n\taddress = "127.0.0.1"\n\tport = %d\n}\n%s' % (
                        self.passwd, port, more))

    def add_user(self, user):
        uid = self.MAIL_UID + len(self.users)
        home = "/home/" + user
        os.mkdir(home, 0o700)
        os.chown(home, uid, uid)
        self.users[user] = (uid, home)
        with open(self.passwd, "a") as f:
            f.write("%s:{PLAIN}secret:%d:%d::%s::\n" % (user, uid, uid, home))
        self.make_maildir(user)

    def install_units(self):
        units = os.path.join(self.stage, "lib/systemd/system")
        with open(os.path.join(units, "dormouse.service")) as f:
            text = f.read()
        # As if they had been installed here: a stage may be where no service may look.
        text = text.replace(re.search(r"^ExecStart=(\S+)/bin/dormouse ", text, re.M).group(1), PREFIX)
        with open(os.path.join(units, "dormouse.service"), "w") as f:
            f.write(text)
        subprocess.run(["systemd-sysusers", os.path.join(self.stage, "lib/sysusers.d/dormouse.conf")],
                       check=True)
        self.drop_in("dormouse.service", "[Service]\nWatchdogSec=%d\n"
                     "ExecStartPre=/bin/sh -c 'while [ -e /run/hold ]; do sleep .05; done'\n" % WATCHDOG_S)

    def drop_in(self, unit, text):
        where = "/etc/systemd/system/%s.d" % unit
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "test.conf"), "w") as f:
            f.write(text)
        systemctl("daemon-reload")

    def dormouse(self, *args):
        return subprocess.run([self.program("dormouse")] + list(args), capture_output=True, text=True,
                              timeout=150)

    def must(self, *args):
        done = self.dormouse(*args)
        if done.returncode != 0:
            raise dm.Failure("dormouse %s: %s%s" % (" ".join(args), done.stdout, done.stderr))
        return done.stdout

    def whole(self):
        return shown("ActiveState") == "active" and self.recovered() and \
            int(shown("MainPID")) in self.pids("launcher")

    def settle(self, what):
        self.wait(self.whole, "the server to be whole after " + what)

    def journal(self):
        return subprocess.run(["journalctl", "-b", "--no-pager", "-o", "short-precise"], capture_output=True,
                              text=True).stdout

    def cgroup(self):
        """{pid: name} of what systemd counts as this service's."""
        found = {}
        for at, _, _ in os.walk("/sys/fs/cgroup/system.slice/dormouse.service"):
            for pid in open(os.path.join(at, "cgroup.procs")).read().split():
                try:
                    with open("/proc/%s/comm" % pid) as f:
                        found[int(pid)] = f.read().strip()
                except OSError:
                    pass
        return found


class Sleepers:
    """Clients, half of them in IDLE, all asleep before each thing that happens."""

    def __init__(self, m, n=8):
        self.m, self.n = m, n
        self.told = 0
        self.clients = []

    def begin(self):
        for i in range(self.n):
            user = "s%d" % i
            if user not in self.m.users:
                self.m.add_user(user)
        self.told = 0
        for i in range(self.n):
            for path in self.m.files("s%d" % i):
                os.unlink(path)
            c = dm.Client(self.m, "s%d" % i)
            c.ok("SELECT INBOX")
            if i % 2:
                c.idle()
            self.clients.append(c)
        self.sleep()

    def sleep(self):
        for c in self.clients:
            c.must_sleep()

    def deliver(self):
        """Mail that comes while something happens."""
        self.told += 1
        for i in range(self.n):
            self.m.deliver("s%d" % i)

    def look(self, what, asleep=True):
        """Each is told of each message exactly once, over the connection that it had."""
        if asleep:
            rows = {r["user"]: r for r in self.m.who()}
            lost = [c.user for c in self.clients if c.user not in rows]
            if lost:
                raise dm.Failure("after %s these are gone: %s" % (what, lost))
        for i, c in enumerate(self.clients):
            wanted = "* %d EXISTS" % self.told
            try:
                lines = [c.line()] if i % 2 else c.ok("NOOP")
            except (EOFError, OSError) as e:
                raise dm.Failure("after %s: %s: %s" % (what, c.user, e))
            if i % 2:
                while "EXISTS" not in lines[-1]:
                    lines.append(c.line())
            if [l for l in lines if "EXISTS" in l] != [wanted]:
                raise dm.Failure("after %s: %s was told %s, not %s" % (what, c.user, lines, wanted))
        self.sleep()

    def expect_bye(self):
        for c in self.clients:
            try:
                while not c.line().startswith("* BYE"):
                    pass
            except (EOFError, OSError) as e:
                raise dm.Failure("%s got no BYE: %s" % (c.user, e))
            c.close()
        self.clients = []


def unit_text(m, s):
    """systemd-analyze has nothing to say of the units, and says how much they give away."""
    for name in ("dormouse.service", "dormouse.socket"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                               os.path.join(PREFIX, "lib/systemd/system", name)], capture_output=True, text=True)
        if done.returncode != 0 or done.stderr.strip():
            raise dm.Failure("verify %s: %s" % (name, done.stderr))
    done = subprocess.run(["systemd-analyze", "security", "--no-pager", "dormouse.service"],
                          capture_output=True, text=True, env=dict(os.environ, LANG="C.UTF-8"))
    print("\n".join(l for l in done.stdout.split("\n") if "\u2717" in l))
    return re.search(r"Overall exposure level.*", done.stdout).group(0)


def system_user():
    with open("/etc/pam.d/dormouse", "w") as f:
        f.write("@include common-auth\n@include common-account\n")
    subprocess.run(["useradd", "--create-home", "clara"], check=True)
    subprocess.run(["chpasswd"], input="clara:clara's\n", text=True, check=True)


def start(m, s):
    """READY comes when it is ready, and everything works with the rights that the unit leaves."""
    systemctl("start", "dormouse.service")
    if not m.recovered():
        raise dm.Failure("systemctl start returned before the server was ready")
    if m.pids("launcher") != [int(shown("MainPID"))]:
        raise dm.Failure("MAINPID")
    s.begin()
    m.wait(lambda: "%d asleep" % s.n in shown("StatusText"), "STATUS= to say who sleeps", 15)
    m.add_user("worker")
    c = dm.Client(m, "worker")
    c.ok("CREATE Box")
    c.send('a1 APPEND Box {14+}\r\nSubject: x\r\n\r\n\r\n')
    c.answer("a1")
    c.ok("SELECT Box")
    c.ok("STORE 1 +FLAGS (\\Flagged $Word)")
    c.ok("COPY 1 INBOX")
    if "FLAGGED" not in "".join(c.ok("FETCH 1 (FLAGS BODY[])")).upper():
        raise dm.Failure("FETCH")
    done = subprocess.run([m.program("dormouse"), "deliver", "-u", "worker"], input="Subject: y\n\nz\n",
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise dm.Failure("deliver: " + done.stderr)
    c.ok("SELECT INBOX")
    if not any("* 2 EXISTS" == l for l in c.ok("SELECT INBOX")):
        raise dm.Failure("copy and delivery")
    c.ok("LOGOUT")
    # A server that is not this unit's is none that a start of another one points to.
    done = subprocess.run([m.program("dormouse"), "-F"], capture_output=True, text=True,
                          env=dict(os.environ, NOTIFY_SOCKET="/run/systemd/notify"))
    if done.returncode == 0 or "already-running" not in done.stderr:
        raise dm.Failure("a second server: %d %s" % (done.returncode, done.stderr))
    said = [l for l in m.journal().split("\n") if re.search(r"dormouse\[.*(refused|landlock|not permitted)", l)]
    if said:
        raise dm.Failure("the journal complains:\n" + "\n".join(said[:10]))
    # PAM and /etc/shadow, too.
    system_user()
    dm.Client(m, "clara", "clara's").ok("SELECT INBOX")
    try:
        dm.Client(m, "clara", "wrong")
        raise dm.Failure("a wrong password will do for PAM")
    except dm.Failure as e:
        if " NO " not in str(e):
            raise
    s.deliver()
    s.look("the start")
    return shown("StatusText")


def restart(m, s):
    """systemctl restart leaves those who sleep."""
    for command in ("restart", "try-restart", "reload-or-restart"):
        keeper = m.pids("keeper")
        main = shown("MainPID")
        systemctl(command, "dormouse.service")
        if command == "reload-or-restart":
            continue
        if m.pids("keeper") != keeper or shown("MainPID") == main:
            raise dm.Failure("%s: keeper %s then %s, main %s then %s" % (
                command, keeper, m.pids("keeper"), main, shown("MainPID")))
        s.deliver()
        m.settle(command)
        s.look(command)
    # Mail that comes while nothing but the keeper runs, and a client that comes.
    open("/run/hold", "w").close()
    systemctl("restart", "--no-block", "dormouse.service")
    m.wait(lambda: set(m.processes().values()) == {"keeper"}, "the keeper alone")
    s.deliver()
    early = socket.create_connection(("127.0.0.1", m.port), dm.PATIENCE)
    os.unlink("/run/hold")
    m.settle("a restart")
    s.look("a restart")
    if not early.recv(100).startswith(b"* OK"):
        raise dm.Failure("no greeting for who came in between")
    early.close()


def reload(m, s):
    """systemctl reload takes the configuration over, and fails if it is wrong."""
    m.configure('listen more {\n\taddress = "127.0.0.1"\n\tport = 1143\n}\n')
    systemctl("reload", "dormouse.service")
    m.port = 1143
    dm.Client(m, "worker").ok("LOGOUT")
    m.port = 143
    with open(m.conf, "a") as f:
        f.write("nonsense = 1\n")
    if systemctl("reload", "dormouse.service", good=False).returncode == 0:
        raise dm.Failure("a reload of nonsense went well")
    m.settle("a reload that failed")
    m.configure("")
    os.kill(int(shown("MainPID")), signal.SIGHUP)
    m.wait(lambda: "reloaded" in m.journal().rsplit("signal=", 1)[-1] or m.whole(), "SIGHUP")
    s.deliver()
    m.settle("a reload")
    s.look("a reload")


def upgrades(m, s):
    """What a package does: other files, then its maintainer script."""
    main = shown("MainPID")
    for _ in range(2):
        version = m.installation.next()
        done = subprocess.run(["sh", "/postinst", "configure", "0.0"], capture_output=True, text=True,
                              env=dict(os.environ, PATH=m.stage + "/bin:" + os.environ["PATH"]))
        if done.returncode != 0:
            raise dm.Failure("postinst: %s%s" % (done.stdout, done.stderr))
        if version not in m.must("status", "--json"):
            raise dm.Failure("not upgraded to " + version)
        s.deliver()
        m.settle("an upgrade")
        s.look("an upgrade")
    if shown("MainPID") != main:
        raise dm.Failure("the main process changed")
    return m.installation.version


def kills(m, s):
    """kill -9 of each, the launcher most often: systemd sees its main process die."""
    for name in ("launcher", "launcher", "master", "keeper", "imap-hibernate", "launcher", "auth",
                 "imap-login", "launcher", "master"):
        m.kill(name)
        s.deliver()
        m.settle("a kill of " + name)
        s.look("a kill of " + name)
    # Both at once, so that only the keeper is left: systemd starts the server anew.
    for pid in m.pids("master"):
        os.kill(pid, signal.SIGSTOP)
    pids = m.pids("launcher") + m.pids("master")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    m.wait(lambda: not any(m.lives(pid) for pid in pids), "launcher and master to die")
    s.deliver()
    m.wait(m.whole, "a new server beside the keeper", 3 * WATCHDOG_S + dm.PATIENCE)
    s.look("a kill of launcher and master")
    return "NRestarts=" + shown("NRestarts")


def watchdog(m, s):
    """Who hangs is replaced: master by the launcher, the launcher by systemd."""
    for name in ("master", "launcher"):
        pid = m.pids(name)[0]
        os.kill(pid, signal.SIGSTOP)
        m.wait(lambda: not m.lives(pid), name + " that hangs to be killed", 4 * WATCHDOG_S + 30)
        s.deliver()
        m.settle("a hang of " + name)
        s.look("a hang of " + name)


def stop(m, s):
    """systemctl stop says BYE to everybody, and leaves nothing."""
    systemctl("stop", "dormouse.service")
    s.expect_bye()
    # A spare that was killed at the very end may still be dying.
    m.wait(lambda: not m.cgroup() and not m.processes(), "the last process to end", 5)
    if shown("ActiveState") != "inactive" or shown("Result") != "success":
        raise dm.Failure("%s %s" % (shown("ActiveState"), shown("Result")))
    # By hand: systemd must not start it again.
    systemctl("start", "dormouse.service")
    s.begin()
    m.must("stop")
    s.expect_bye()
    m.wait(lambda: shown("ActiveState") == "inactive", "the unit to be inactive")
    if shown("Result") != "success":
        raise dm.Failure(shown("Result"))
    # --keep by hand, then the unit.
    systemctl("start", "dormouse.service")
    s.begin()
    m.must("stop", "--keep")
    m.wait(lambda: shown("ActiveState") == "inactive", "the unit to be inactive")
    s.deliver()
    systemctl("start", "dormouse.service")
    s.look("stop --keep and a start")
    systemctl("stop", "dormouse.service")
    s.expect_bye()


def broken(m, s):
    """A start that cannot be fails, and says why. Who sleeps waits for one that can."""
    systemctl("start", "dormouse.service")
    s.begin()
    m.configure("nonsense = 1\n")
    done = systemctl("restart", "dormouse.service", good=False)
    if done.returncode == 0 or 'unknown setting "nonsense"' not in m.journal():
        raise dm.Failure("%d %s" % (done.returncode, m.journal()[-1000:]))
    s.deliver()
    m.configure("")
    m.settle("a repair of the configuration")
    s.look("a restart with a broken configuration")
    m.configure("nonsense = 1\n")
    systemctl("stop", "dormouse.service")
    s.expect_bye()
    done = systemctl("start", "dormouse.service", good=False)
    if done.returncode == 0:
        raise dm.Failure("it starts with nonsense")
    systemctl("stop", "dormouse.service")
    m.configure("")


def activation(m, s):
    """The ports are systemd's; the first client starts the server."""
    systemctl("stop", "dormouse.service")
    if s.clients:
        s.expect_bye()
    m.drop_in("dormouse.socket", "[Socket]\nListenStream=\nListenStream=127.0.0.1:143\n"
              "ListenStream=127.0.0.1:1999\n")
    systemctl("start", "dormouse.socket")
    s.begin()
    said = m.journal()
    if "port=143 activated=yes" not in said or "activation address=127.0.0.1 port=1999" not in said:
        raise dm.Failure("activation is not in the journal:\n" + said[-2000:])
    systemctl("restart", "dormouse.service")
    s.deliver()
    m.settle("a restart")
    s.look("a restart with sockets of systemd's")
    m.must("upgrade")
    s.deliver()
    s.look("an upgrade with sockets of systemd's")
    m.kill("launcher")
    m.settle("a kill of the launcher")
    systemctl("stop", "dormouse.service")
    s.expect_bye()
    dm.Client(m, "worker").ok("LOGOUT")
    systemctl("stop", "dormouse.socket", "dormouse.service")
    try:
        socket.create_connection(("127.0.0.1", 143), 5).close()
        raise dm.Failure("port 143 is still open")
    except ConnectionRefusedError:
        pass


STEPS = {f.__name__: f for f in (unit_text, start, restart, reload, upgrades, kills, watchdog, stop,
                                 broken, activation)}


def inside(names):
    failed = 0
    m = Machine()
    m.install_units()
    s = Sleepers(m)
    for name in names or STEPS:
        since = time.monotonic()
        try:
            said = STEPS[name](m, s)
            print("ok    %s (%.0f s)%s" % (name, time.monotonic() - since,
                                           ": " + said if said else ""), flush=True)
        except Exception as e:      # whatever it is, the container is to end
            print("FAIL  %s: %s: %s" % (name, type(e).__name__, e), flush=True)
            failed = 1
            break                   # the next steps need what this one leaves
    with open("/result/journal", "w") as f:
        f.write(m.journal())
    n = list(names or STEPS).index(name) + (0 if failed else 1)
    print("%d passed, %d failed" % (n, failed), flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--inside", action="store_true")
    p.add_argument("--keep", action="store_true", help="keep out, console and journal")
    p.add_argument("--tree", default=os.path.join(dm.ROOT, "build", "systemd-tree"))
    p.add_argument("steps", nargs="*")
    args = p.parse_args()
    return inside(args.steps) if args.inside else outside(args)


if __name__ == "__main__":
    sys.exit(main())
