# SPDX-License-Identifier: MIT
"""Nothing the operator does hangs up on a client.

    upgrade.py [--upgrades N] [--kills N] [--clients N] [TEST ...]

A real server with many clients, some in IDLE and some quiet between commands, on
mailboxes that get mail all the time. Then: upgrades in a row (the new programs
differ in their version), each program killed at random moments, stop --keep and
start, reloads. No sleeping session may be disconnected, no notice lost or told
twice, and no sequence number may be wrong. Prints its seed and takes SEED=.
"""
import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

LIBEXEC = ("launcher", "keeper", "master", "auth", "imap-login", "imap", "imap-hibernate")


class Installation:
    """A copy of the programs that can be replaced by ones of another version."""

    def __init__(self, where):
        self.stage = os.path.join(where, "stage")
        self.version = subprocess.run([os.path.join(dm.STAGE, "bin", "dormouse"), "--version"],
                                      capture_output=True, text=True).stdout.split()[1]
        self.first = self.version
        for sub in ("bin", "libexec/dormouse"):
            shutil.copytree(os.path.join(dm.STAGE, sub), os.path.join(self.stage, sub))
        os.chmod(where, 0o755)

    def paths(self):
        return [os.path.join(self.stage, "bin/dormouse")] + \
               [os.path.join(self.stage, "libexec/dormouse", n) for n in LIBEXEC]

    def install(self, version):
        """As a package manager does: another file under the same name. The programs differ
        in the version that they have in them."""
        old, new = self.version.encode() + b"\0", version.encode() + b"\0"
        if len(old) != len(new):
            raise dm.Failure("versions of unequal length")
        for path in self.paths():
            with open(path, "rb") as f:
                data = f.read()
            if old not in data:
                raise dm.Failure("%s does not name its version" % path)
            with open(path + ".new", "wb") as f:
                f.write(data.replace(old, new))
            os.chmod(path + ".new", 0o755)
            os.rename(path + ".new", path)
        self.version = version

    def next(self):
        head, last = self.version.rsplit(".", 1)
        self.install("%s.%d" % (head, (int(last) + 1) % 10))
        return self.version


class World(dm.Server):
    """A server from an installation of its own, that can be told to upgrade."""

    def __init__(self, name, **options):
        super().__init__(name, users=(), tls=True, **options)
        self.installation = Installation(self.dir)
        self.stage = self.installation.stage

    def dormouse(self, *args, timeout=120):
        return subprocess.run([self.program("dormouse"), "-c", self.conf] + list(args),
                              capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)

    def must(self, *args):
        done = self.dormouse(*args)
        if done.returncode != 0:
            raise dm.Failure("dormouse %s: %s%s" % (" ".join(args), done.stdout, done.stderr))
        return done.stdout

    def old_files(self):
        """Processes that run a file which is no longer there."""
        found = []
        for pid, name in self.processes().items():
            try:
                if os.readlink("/proc/%d/exe" % pid).endswith(" (deleted)"):
                    found.append((pid, name))
            except OSError:
                pass
        return found


class Phone(threading.Thread):
    """A client with a mailbox of its own that gets mail, and counts what it is told. Every
    so often it says something; it never expects to be hung up on."""

    def __init__(self, world, user, kind, wire, seed):
        super().__init__(daemon=True)
        self.world, self.user, self.kind, self.wire = world, user, kind, wire
        self.random = random.Random(seed)
        self.delivered = self.told = self.commands = 0
        self.longest = 0
        self.error = None
        self.stopping = False

    def check_exists(self, line):
        m = re.match(r"\* (\d+) EXISTS", line)
        if not m:
            if not re.match(r"\* (\d+ RECENT|OK Still here|\d+ FETCH)", line):
                raise dm.Failure("unexpected: " + line)
            return
        n = int(m.group(1))
        if n > self.delivered or n < self.told:
            raise dm.Failure("EXISTS %d, told %d, delivered %d" % (n, self.told, self.delivered))
        if n == self.told:
            raise dm.Failure("EXISTS %d told twice" % n)
        self.told = n

    def deliver(self):
        self.delivered += 1
        self.world.deliver(self.user, subject="n%d" % self.delivered)

    def until_told(self):
        since = time.monotonic()
        while self.told < self.delivered:
            self.check_exists(self.client.line())
        self.longest = max(self.longest, time.monotonic() - since)

    def converse(self):
        since = time.monotonic()
        untagged, tagged = self.client.command("NOOP")
        self.longest = max(self.longest, time.monotonic() - since)
        for line in untagged:
            self.check_exists(line)
        if " OK" not in tagged:
            raise dm.Failure(tagged)
        self.commands += 1
        if self.told and self.random.random() < .3:
            n = self.random.randint(1, self.told)
            lines, tagged = self.client.command("FETCH %d (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])" % n)
            news = [l for l in lines if "SUBJECT" not in l]
            text = "".join(l for l in lines if "SUBJECT" in l)
            for line in news:
                self.check_exists(line)
            if "Subject: n%d\r\n" % n not in text or "UID %d " % n not in text + " ":
                raise dm.Failure("FETCH %d: %s" % (n, lines))

    def step(self):
        if self.kind == "idle":
            self.deliver()
            self.until_told()
            if self.random.random() < .2:
                untagged, tagged = self.client.done()
                for line in untagged:
                    self.check_exists(line)
                if " OK" not in tagged:
                    raise dm.Failure(tagged)
                self.converse()
                self.until_idle()
        else:
            if self.random.random() < .5:
                self.deliver()
            self.converse()
            if self.told != self.delivered:
                self.converse()
                if self.told != self.delivered:
                    raise dm.Failure("%d delivered, %d told" % (self.delivered, self.told))

    def until_idle(self):
        for line in self.client.idle():
            self.check_exists(line)

    def run(self):
        try:
            while not self.stopping:
                time.sleep(self.random.uniform(.05, 1.5))
                self.step()
        except Exception as e:      # told by World's owner
            self.error = "%s (%s, %s): %s: %s" % (self.user, self.kind, self.wire, type(e).__name__, e)

    def begin(self):
        self.world.make_maildir(self.user)
        self.client = self.connect()
        self.client.ok("SELECT INBOX")
        if self.kind == "idle":
            self.until_idle()

    def connect(self):
        """Plain, TLS or COMPRESS or both; TLS is 1.3 or 1.2 by chance (dm.Client)."""
        return dm.Client(self.world, self.user, tls=self.wire in ("tls", "both"),
                         deflate=self.wire in ("deflate", "both"))

    def end(self):
        self.stopping = True
        self.join(dm.PATIENCE + 5)
        if self.is_alive() and not self.error:
            self.error = "%s (%s): hangs" % (self.user, self.kind)
        if self.error:
            return
        try:
            if self.kind == "idle":
                for line in self.client.done()[0]:
                    self.check_exists(line)
            self.converse()
            lines = self.client.ok("UID SEARCH ALL")
            uids = lines[-1].split()[2:]
            if uids != [str(i + 1) for i in range(self.delivered)]:
                raise dm.Failure("%d delivered, UIDs %s" % (self.delivered, uids))
            self.client.ok("LOGOUT")
        except Exception as e:
            self.error = "%s (%s, %s), at the end: %s: %s" % (self.user, self.kind, self.wire,
                                                              type(e).__name__, e)
        finally:
            self.client.close()


class Crowd:
    def __init__(self, world, n, seed):
        self.world = world
        kinds, wires = ("idle", "idle", "quiet"), ("plain", "tls", "deflate", "both")
        self.phones = []
        for i in range(n):
            world.add_user("p%d" % i)
            self.phones.append(Phone(world, "p%d" % i, kinds[i % len(kinds)],
                                     wires[i % len(wires)], seed + i))
        for p in self.phones:
            p.begin()
        for p in self.phones:
            p.start()

    def look(self, what):
        errors = [p.error for p in self.phones if p.error]
        if errors:
            raise dm.Failure("after %s: %d of %d clients failed:\n%s" % (
                what, len(errors), len(self.phones), "\n".join(errors[:10])))

    def end(self):
        for p in self.phones:
            p.stopping = True
        for p in self.phones:
            p.end()
        self.look("the end")
        return "%d notices, %d commands, longest wait %.0f ms" % (
            sum(p.told for p in self.phones), sum(p.commands for p in self.phones),
            1e3 * max(p.longest for p in self.phones))


OPTIONS = {"hibernate_after": "300ms", "keepalive_interval": "1s", "upgrade_grace": "8s",
           "log_level": "info"}


def upgrades(a, seed):
    """Several in a row under load."""
    with World("upgrade", **OPTIONS) as world:
        crowd = Crowd(world, a.clients, seed)
        time.sleep(1)
        pids = {n: world.pids(n) for n in ("launcher", "master")}
        for i in range(a.upgrades):
            version = world.installation.next()
            said = world.must("upgrade")
            if version not in said:
                raise dm.Failure("upgrade to %s said: %s" % (version, said))
            time.sleep(random.uniform(.3, 1))
            crowd.look("upgrade %d" % (i + 1))
            server = world.ctl("status")[0][0]
            if server["version"] != version:
                raise dm.Failure("status says %s, not %s" % (server["version"], version))
            with_id = dm.Client(world, "p0", tls=False)
            told = with_id.ok("ID NIL")
            with_id.ok("LOGOUT")
            if version not in "".join(told):
                raise dm.Failure("ID says %s" % told)
        if {n: world.pids(n) for n in pids} != pids:
            raise dm.Failure("launcher or master are not the same processes")
        world.wait(lambda: not world.old_files(), "the old files to be left (%s)" %
                   world.old_files(), 30)
        return crowd.end()


def capabilities(a, seed):
    """The next version can do something else: a session is told when it wakes, and once."""
    with World("upgrade-capa", **OPTIONS) as world:
        world.add_user("p0")
        world.make_maildir("p0")
        clients = [dm.Client(world, "p0", tls=False) for _ in range(2)]
        for c in clients:
            c.ok("SELECT INBOX")
        clients[1].idle()
        path = os.path.join(world.stage, "libexec/dormouse/imap")
        world.installation.next()
        with open(path, "rb") as f:
            data = f.read()
        if b" ENABLE " not in data:
            raise dm.Failure("no capabilities in " + path)
        with open(path + ".new", "wb") as f:
            f.write(data.replace(b" ENABLE ", b" XENABL "))
        os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)
        world.must("upgrade")
        # A session may go on a little in its old process.
        world.wait(lambda: not world.old_files(), "the old processes to end")
        for c in clients:
            c.must_sleep()
        lines, _ = clients[0].command("NOOP")
        if len([l for l in lines if l.startswith("* CAPABILITY ") and "XENABL" in l]) != 1:
            raise dm.Failure("between commands: %s" % lines)
        lines, _ = clients[0].command("NOOP")
        if lines:
            raise dm.Failure("told twice: %s" % lines)
        world.deliver("p0")
        line = clients[1].line()
        while line == "* OK Still here":
            line = clients[1].line()
        if not line.startswith("* CAPABILITY ") or "XENABL" not in line:
            raise dm.Failure("in IDLE: " + line)
        if not clients[1].line().startswith("* 1 EXISTS"):
            raise dm.Failure("no EXISTS")
        return "told"


def broken(a, seed):
    """New programs that cannot be loaded, do not read the configuration, or die at their
    start: the old ones go on, and say why."""
    with World("upgrade-broken", **OPTIONS) as world:
        crowd = Crowd(world, min(a.clients, 30), seed)
        inst = world.installation
        good = inst.version
        pids = world.pids("master")

        def refused(what, reason):
            done = world.dormouse("upgrade")
            if done.returncode == 0 or not re.search(reason, done.stderr):
                raise dm.Failure("%s: %d %s%s" % (what, done.returncode, done.stdout, done.stderr))
            time.sleep(.5)
            crowd.look(what)
            world.wait(world.recovered, "the server to be whole after " + what)
            if world.ctl("status")[0][0]["version"] != good or world.pids("master") != pids:
                raise dm.Failure("after %s it is another version or process" % what)
            inst.version = good

        def replace(name, text):
            path = os.path.join(world.stage, "libexec/dormouse", name)
            with open(path + ".new", "wb") as f:
                f.write(text)
            os.chmod(path + ".new", 0o755)
            os.rename(path, path + ".good")
            os.rename(path + ".new", path)

        def back(name):
            path = os.path.join(world.stage, "libexec/dormouse", name)
            os.rename(path + ".good", path)

        for name in LIBEXEC:
            replace(name, b"no program")
            refused("a file that is none: " + name, "the new %s (cannot be started|does not start)" % name)
            back(name)
        with open(world.conf) as f:
            conf = f.read()
        with open(world.conf, "a") as f:
            f.write("nonsense = 1\n")
        done = world.dormouse("reload")
        if done.returncode == 0 or "dormouse.conf:" not in done.stderr:
            raise dm.Failure("reload of nonsense: %d %s" % (done.returncode, done.stderr))
        os.kill(pids[0], signal.SIGUSR2)
        world.wait(lambda: "upgrade error=" in world.tail(400) and "nonsense" in world.tail(400),
                   "the refusal of an upgrade with a broken configuration")
        crowd.look("a broken configuration")
        with open(world.conf, "w") as f:
            f.write(conf)
        # They answer --check, and then die, or say nothing.
        for name in ("auth", "imap-hibernate", "imap", "imap-login"):
            replace(name, b"#!/bin/sh\n[ \"$1\" = --check ] && exit 0\nexit 3\n")
            refused("one that dies at its start: " + name, "dies at its start")
            back(name)
        # The keeper does not take over.
        replace("keeper", b"#!/bin/sh\n[ \"$1\" = --check ] && exit 0\nexit 3\n")
        refused("a keeper that does not take over", "keeper did not take over")
        back("keeper")
        return crowd.end()


def restart(a, seed):
    """stop --keep and start: what clients send meanwhile is answered, what comes meanwhile
    is announced."""
    with World("upgrade-keep", **OPTIONS) as world:
        crowd = Crowd(world, min(a.clients, 100), seed)
        time.sleep(1)
        for i in range(2):
            version = world.installation.next()
            world.must("stop", "--keep")
            world.process.wait(30)
            left = set(world.processes().values())
            if left != {"keeper"}:
                raise dm.Failure("after stop --keep there are still: %s" % left)
            time.sleep(random.uniform(.5, 1.5))
            world.log_file.close()
            world.start()
            time.sleep(1)
            crowd.look("stop --keep and start")
            if world.ctl("status")[0][0]["version"] != version:
                raise dm.Failure("the new version was not started")
        return crowd.end()


def kept_too_long(a, seed):
    """No start comes: the keeper ends after keep_grace, and closes what it has."""
    with World("upgrade-alone", **dict(OPTIONS, keep_grace="1s")) as world:
        world.add_user("p0")
        world.make_maildir("p0")
        client = dm.Client(world, "p0", tls=False)
        client.ok("SELECT INBOX")
        world.must("stop", "--keep")
        try:
            client.line()
            raise dm.Failure("something was said")
        except EOFError:
            pass
        world.wait(lambda: not world.processes(), "the keeper to end")
        world.log_file.close()
        world.start()
        dm.Client(world, "p0", tls=False).ok("LOGOUT")
        return "ended"


def kills(a, seed):
    """Each program, at random moments. A session that was asleep goes on; one that was
    awake is lost only with its own imap process."""
    with World("upgrade-kills", **dict(OPTIONS, hibernate_after="50ms")) as world:
        crowd = Crowd(world, min(a.clients, 60), seed)
        n = 0
        for name in ("launcher", "master", "keeper", "imap-hibernate", "auth", "imap-login"):
            for _ in range(a.kills):
                pids = world.pids(name)
                if not pids:
                    raise dm.Failure("no " + name)
                os.kill(random.choice(pids), signal.SIGKILL)
                n += 1
                # keeper and holder dying together is not promised.
                time.sleep(random.uniform(.02, .2))
                world.wait(world.recovered, "the server to be whole after a kill of " + name)
                crowd.look("a kill of " + name)
        return "%d kills, %s" % (n, crowd.end())


def refused(world, why):
    done = subprocess.run([world.program("dormouse"), "-b", world.base, "reload"],
                          capture_output=True, text=True, timeout=60)
    if done.returncode == 0 or why not in done.stderr:
        raise dm.Failure("%d %s%s" % (done.returncode, done.stdout, done.stderr))


def reload(a, seed):
    """Listeners come and go, limits change, sessions stay."""
    with World("upgrade-reload", **OPTIONS) as world:
        crowd = Crowd(world, min(a.clients, 60), seed)
        with open(world.conf) as f:
            conf = f.read()
        for i in range(3):
            with open(world.conf, "w") as f:
                f.write(conf + 'listen second {\n\taddress = "127.0.0.1"\n\tport = 0\n}\n')
            world.must("reload")
            with open(os.path.join(world.base, "ports")) as f:
                ports = {l.split()[0]: int(l.split()[2]) for l in f}
            if ports.get("imap") != world.port or len(ports) != 3:
                raise dm.Failure("ports: %s" % ports)
            first, world.port = world.port, ports["second"]
            dm.Client(world, "p0", tls=False).ok("LOGOUT")
            world.port = first
            with open(world.conf, "w") as f:
                f.write(conf)
            world.must("reload")
            try:
                s = dm.socket.create_connection(("127.0.0.1", ports["second"]), 2)
                s.settimeout(2)
                if s.recv(1):
                    raise dm.Failure("the listener that was removed still greets")
                raise dm.Failure("the listener that was removed still accepts")
            except ConnectionError:
                pass
            dm.Client(world, "p0", tls=False).ok("LOGOUT")
            crowd.look("a reload")
        # A new certificate: who is there stays, who comes sees it.
        address = ("127.0.0.1", world.tls_port)
        old = dm.ssl.get_server_certificate(address)
        stays = dm.Client(world, "p0")
        world.make_certificate()
        world.contexts.clear()
        world.must("reload")
        if dm.ssl.get_server_certificate(address) == old:
            raise dm.Failure("the old certificate is still shown")
        dm.Client(world, "p0").ok("LOGOUT")
        stays.ok("NOOP")
        stays.must_sleep()
        stays.ok("NOOP")
        stays.close()
        crowd.look("a new certificate")
        # What cannot be taken over, and what can only in part.
        with open(world.conf, "w") as f:
            f.write(conf.replace('base_dir = "', 'base_dir = "/nowhere'))
        refused(world, "base_dir cannot be changed")
        taken = dm.socket.create_server(("127.0.0.1", 0))
        with open(world.conf, "w") as f:
            f.write(conf + 'listen taken {\n\taddress = "127.0.0.1"\n\tport = %d\n}\n' %
                    taken.getsockname()[1])
        refused(world, "listener taken cannot be opened")
        taken.close()
        crowd.look("reloads that were refused")
        world.must("reload")
        return crowd.end()


TESTS = {f.__name__: f for f in (upgrades, capabilities, broken, restart, kept_too_long, kills, reload)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--upgrades", type=int, default=5)
    p.add_argument("--kills", type=int, default=20)
    p.add_argument("--clients", type=int, default=200)
    p.add_argument("tests", nargs="*")
    a = p.parse_args()
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    random.seed(seed)
    print("SEED=%d" % seed)
    failed = 0
    for name in a.tests or TESTS:
        start = time.monotonic()
        try:
            said = TESTS[name](a, seed)
            print("ok    %s (%.0f s): %s" % (name, time.monotonic() - start, said), flush=True)
        except (dm.Failure, OSError, EOFError) as e:
            failed += 1
            print("FAIL  %s: %s" % (name, e), flush=True)
    print("%d passed, %d failed" % (len(a.tests or TESTS) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
