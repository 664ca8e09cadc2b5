# SPDX-License-Identifier: MIT
"""Upgrades and kills with thousands of sessions.

    upgrade_soak.py [--sessions N] [--upgrades N] [--kills N] [--many N] [PART ...]
                    [--programs NAME ...]

upgrades: N in a row while all sessions stay and some get mail; kills: each program, N
times; many: as many sleeping TLS sessions as the descriptor limit allows, then one
upgrade, one stop --keep and start, and one kill of imap-hibernate. The crowd is served
by one loop: every so often a session gets mail, or ends its IDLE and says something;
each is a model of its own mailbox. Lost, wrong or hung up on: failed. "Silent" is for
how long at most nobody was served though somebody waited: more than a second is failed
too. Prints SEED, and figures for doc/figures.md.
"""
import argparse
import os
import random
import re
import resource
import selectors
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
import upgrade  # noqa: E402

PROGRAMS = ("imap-hibernate", "keeper", "master", "launcher", "auth", "imap-login")
SILENT_SECONDS_MAX = 1
WIRES = ("plain", "tls", "deflate", "both")


class Session:
    """One client: a small machine that never waits."""

    def __init__(self, crowd, number, wire):
        self.crowd, self.number, self.wire = crowd, number, wire
        self.user = "s%d" % number
        self.delivered = self.told = 0
        self.since = None       # when what it waits for was asked or delivered
        self.state = "idle"     # idle, done, noop, begin
        self.ended = False

    def connect(self):
        world = self.crowd.world
        world.make_maildir(self.user)
        self.client = dm.Client(world, self.user, tls=self.wire in ("tls", "both"),
                                deflate=self.wire in ("deflate", "both"))
        self.client.ok("SELECT INBOX")
        self.client.idle()
        self.client.wire.pieces = 0
        self.client.sock.settimeout(dm.PATIENCE)

    def wait(self):
        if self.since is None:
            self.since = time.monotonic()
            self.crowd.begins_to_wait(self.since)

    def deliver(self):
        self.wait()
        self.delivered += 1
        self.crowd.world.deliver(self.user)

    def speak(self):
        if self.state != "idle" or self.since is not None:
            return
        self.wait()
        self.state = "done"
        self.client.send("DONE\r\n")

    def settled(self):
        """What it waited for has come."""
        if self.since is not None and self.state == "idle" and self.told == self.delivered:
            took = time.monotonic() - self.since
            self.since = None
            self.crowd.took(took)

    def line(self, line):
        m = re.match(r"\* (\d+) EXISTS", line)
        if m:
            n = int(m.group(1))
            if not self.told < n <= self.delivered:
                raise dm.Failure("%s: EXISTS %d, told %d, delivered %d" % (
                    self.user, n, self.told, self.delivered))
            self.told = n
        elif self.state == "done" and line.startswith(self.client.idle_tag + " OK"):
            self.state = "noop"
            self.client.tag += 1
            self.tag = "t%d" % self.client.tag
            self.client.send(self.tag + " UID SEARCH ALL\r\n")
        elif self.state == "noop" and line.startswith("* SEARCH"):
            uids = line.split()[2:]
            if uids != [str(i + 1) for i in range(len(uids))] or \
                    not self.told <= len(uids) <= self.delivered:
                raise dm.Failure("%s: %s, told %d, delivered %d" % (
                    self.user, line, self.told, self.delivered))
        elif self.state == "noop" and line.startswith(self.tag + " OK"):
            self.state = "begin"
            self.client.tag += 1
            self.client.idle_tag = "t%d" % self.client.tag
            self.client.send(self.client.idle_tag + " IDLE\r\n")
        elif self.state == "begin" and line.startswith("+"):
            self.state = "idle"
        elif not re.match(r"\* (\d+ RECENT|OK Still here)", line):
            raise dm.Failure("%s (%s, %s): unexpected: %s" % (self.user, self.wire, self.state,
                                                              line))
        self.settled()

    def readable(self):
        """All that is here: more records than one may have come at once."""
        wire, more = self.client.wire, True
        while more:
            self.client._more()
            while b"\r\n" in self.client.buffer:
                line, self.client.buffer = self.client.buffer.split(b"\r\n", 1)
                self.line(line.decode("utf-8", "replace"))
            more = wire.tls is not None and (wire.tls.pending() or wire.come.pending)


class Crowd:
    def __init__(self, world, n, rate, wires=WIRES):
        self.world, self.rate = world, rate
        self.times = []
        self.waiting, self.served, self.silent = 0, 0, 0
        self.selector = selectors.DefaultSelector()
        self.next_act = time.monotonic()
        for i in range(n):
            world.add_user("s%d" % i)
        # The passwd-file is read when it changed: once, now.
        self.sessions = [Session(self, i, wires[i % len(wires)]) for i in range(n)]
        start = time.monotonic()
        for s in self.sessions:
            s.connect()
            self.selector.register(s.client.sock, selectors.EVENT_READ, s)
        self.connected = n / (time.monotonic() - start)

    def begins_to_wait(self, now):
        self.waiting += 1
        if self.waiting == 1:
            self.served = now

    def took(self, seconds):
        now = time.monotonic()
        self.silent = max(self.silent, now - self.served)
        self.served = now
        self.waiting -= 1
        self.times.append(seconds)

    def act(self):
        now = time.monotonic()
        if self.next_act < now - 1:
            self.next_act = now - 1
        while self.next_act < now:
            self.next_act += 1 / self.rate
            s = random.choice(self.sessions)
            if random.random() < .5:
                s.deliver()
            else:
                s.speak()

    def run(self, seconds=None, until=None, acting=True):
        """For so long, or until a condition holds."""
        end = time.monotonic() + (seconds if seconds is not None else 600)
        while time.monotonic() < end:
            if until is not None and until():
                return
            if acting:
                self.act()
            for key, _ in self.selector.select(.02):
                try:
                    key.data.readable()
                except (EOFError, OSError) as e:
                    raise dm.Failure("%s (%s) was hung up on: %s" % (key.data.user,
                                                                     key.data.wire, e))
        if until is not None:
            raise dm.Failure("waited in vain")

    def settle(self):
        """Until nobody waits for anything."""
        self.run(until=lambda: not any(s.since for s in self.sessions), acting=False)

    def figures(self):
        t, silent = sorted(self.times), self.silent
        self.times, self.silent = [], 0
        if not t:
            return "nothing happened"
        text = "%d answers and notices, p50 %.1f ms, p99 %.0f ms, longest %.0f ms, silent %.0f ms" % (
            len(t), t[len(t) // 2] * 1e3, t[len(t) * 99 // 100] * 1e3, t[-1] * 1e3, silent * 1e3)
        if silent > SILENT_SECONDS_MAX:
            raise dm.Failure("nobody was served for too long: " + text)
        return text


def ask(crowd, *args):
    """`dormouse ARGS`, while the crowd goes on."""
    world = crowd.world
    p = upgrade.subprocess.Popen([world.program("dormouse"), "-c", world.conf] + list(args),
                                 stdout=upgrade.subprocess.PIPE, stderr=upgrade.subprocess.STDOUT,
                                 stdin=upgrade.subprocess.DEVNULL, text=True)
    start = time.monotonic()
    crowd.run(until=lambda: p.poll() is not None)
    took = time.monotonic() - start
    said = p.stdout.read().strip()
    if p.returncode != 0:
        raise dm.Failure("dormouse %s: %s" % (" ".join(args), said))
    return took


OPTIONS = dict(upgrade.OPTIONS, keepalive_interval="1m", max_user_sessions="0",
               hibernate_after="200ms", login_max_clients="4000", spares="4")


def upgrades(a):
    with upgrade.World("upgrade-soak", **OPTIONS) as world:
        crowd = Crowd(world, a.sessions, 60)
        print("%d sessions, %.0f a second logged in" % (a.sessions, crowd.connected), flush=True)
        crowd.run(2)
        crowd.settle()
        quiet = crowd.figures()
        longest = []
        for i in range(a.upgrades):
            world.installation.next()
            longest.append(ask(crowd, "upgrade"))
            crowd.run(random.uniform(.2, .8))
        crowd.settle()
        longest.sort()
        print("before:   " + quiet)
        print("%d upgrades, each %.0f ms (longest %.0f ms): %s" % (
            a.upgrades, longest[len(longest) // 2] * 1e3, longest[-1] * 1e3, crowd.figures()))


def kills(a):
    with upgrade.World("kills-soak", **OPTIONS) as world:
        crowd = Crowd(world, min(a.sessions, 500), 60)
        n = 0
        for name in a.programs or PROGRAMS:
            for _ in range(a.kills):
                world.kill(name)
                n += 1
                crowd.run(until=world.recovered)
                crowd.run(random.uniform(.02, .3))
            crowd.settle()
            print("%-15s %d kills: %s" % (name, a.kills, crowd.figures()), flush=True)


def wait_asleep(crowd):
    def asleep():
        rows = crowd.world.ctl("holder")[0]
        held = int(next((r["held"] for r in rows if "held" in r), 0))
        return held >= len(crowd.sessions)
    end = time.monotonic() + 120
    while not asleep():
        if time.monotonic() > end:
            raise dm.Failure("not all fell asleep")
        crowd.run(.3, acting=False)


def many(a):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    n = min(a.many, limit[1] - 600)
    with upgrade.World("many-soak", **OPTIONS) as world:
        crowd = Crowd(world, n, 20, wires=("tls",))
        print("%d TLS sessions, %.0f a second logged in" % (n, crowd.connected), flush=True)
        wait_asleep(crowd)
        crowd.run(2)
        crowd.settle()
        print("all asleep:              " + crowd.figures(), flush=True)
        world.installation.next()
        took = ask(crowd, "upgrade")
        crowd.run(2)
        crowd.settle()
        print("upgrade (%4.0f ms):       %s" % (took * 1e3, crowd.figures()), flush=True)
        world.kill("imap-hibernate")
        crowd.run(2)
        crowd.settle()
        print("kill of imap-hibernate:  " + crowd.figures(), flush=True)
        crowd.world.installation.next()
        ask(crowd, "stop", "--keep")
        world.process.wait(60)
        world.log_file.close()
        start = time.monotonic()
        world.start()
        crowd.run(2)
        crowd.settle()
        print("stop --keep and start:   start %.0f ms; %s" % (
            (time.monotonic() - start) * 1e3, crowd.figures()), flush=True)
        answered = 0
        for s in crowd.sessions:
            s.speak()
            if s.number % 50 == 49:
                crowd.run(.01, acting=False)
            answered += 1
        crowd.settle()
        print("each of the %d answered:  %s" % (answered, crowd.figures()), flush=True)


PARTS = {f.__name__: f for f in (upgrades, kills, many)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--sessions", type=int, default=2000)
    p.add_argument("--upgrades", type=int, default=100)
    p.add_argument("--kills", type=int, default=200)
    p.add_argument("--many", type=int, default=15000)
    p.add_argument("--programs", nargs="*", help="of `kills`: these only")
    p.add_argument("parts", nargs="*")
    a = p.parse_args()
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    random.seed(seed)
    print("SEED=%d" % seed)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    failed = 0
    for name in a.parts or PARTS:
        print("== " + name, flush=True)
        try:
            PARTS[name](a)
        except (dm.Failure, OSError, EOFError) as e:
            failed += 1
            print("FAIL  %s: %s" % (name, e), flush=True)
    print("%d passed, %d failed" % (len(a.parts or PARTS) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
