# SPDX-License-Identifier: MIT
"""kill -9 of sender or receiver while sessions change hands, at random moments.

    kills.py [-n KILLS] [-c CLIENTS] [-t WIRE] [--keepalive MS]

Clients idle with a hibernate_after so short that they change hands all the
time, get mail and send DONE. Meanwhile `imap` processes are killed (serving
ones, ones about to sleep, spares about to wake), and now and then
imap-hibernate, the keeper, master, launcher. What must hold:
  never none:  every client gets its answer, or the end of its connection
               (allowed only when an imap process was killed); nobody hangs
  never two:   no answer comes twice, no tag is answered that is not pending,
               EXISTS never counts more than was delivered
  a kill of imap-hibernate, keeper, master or launcher costs no connection
  over TLS and COMPRESS (-t): the client can read every byte that came, so no
               record is missing, out of order or there twice; with --keepalive
               many of the kills happen while keepalives are written
Prints its seed and takes SEED=.
"""
import argparse
import os
import random
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

AFTER_MS = 15


class Idler(threading.Thread):
    def __init__(self, test, user, seed):
        super().__init__(daemon=True)
        self.test, self.server, self.user = test, test.server, user
        self.random = random.Random(seed)
        self.error = None
        self.turns = self.lost = self.count = self.keepalives = 0

    def run(self):
        try:
            self.server.make_maildir(self.user)
            while not self.test.stop:
                self.connection()
        except Exception as e:
            self.error = "%s: %s: %s" % (self.user, type(e).__name__, e)

    def connection(self):
        try:
            client = dm.Client(self.server, self.user)
            client.ok("SELECT INBOX")
            self.known = self.count
            client.idle()
            while not self.test.stop:
                self.turn(client)
                self.turns += 1
            client.close()
        except (EOFError, ConnectionError):
            # Only the kill of an imap process may do this.
            if not self.test.imap_killed():
                raise dm.Failure("the connection ended though no imap was killed")
            self.lost += 1

    def turn(self, client):
        time.sleep(self.random.uniform(0, 3 * AFTER_MS / 1000))
        what = self.random.random()
        if what < 0.6:
            self.server.deliver(self.user)
            self.count += 1
            while True:
                line = client.line()
                self.keepalives += line == "* OK Still here"
                m = re.match(r"\* (\d+) EXISTS", line)
                if m and int(m.group(1)) > self.count:
                    raise dm.Failure("EXISTS %s of %d" % (m.group(1), self.count))
                if m and int(m.group(1)) == self.count:
                    return
                if not m and not re.match(r"\* (\d+ RECENT|OK Still here)", line):
                    raise dm.Failure("unexpected: " + line)
        untagged, tagged = client.done()
        self.keepalives += untagged.count("* OK Still here")
        if " OK " not in tagged:
            raise dm.Failure("DONE answered: " + tagged)
        if what < 0.8:
            time.sleep(self.random.uniform(0, 3 * AFTER_MS / 1000))
            untagged, tagged = client.command("NOOP")
            for line in untagged:
                if re.match(r"[a-z]\d+ ", line):
                    raise dm.Failure("a tag that is not pending: " + line)
        client.idle()


class Test:
    def __init__(self, a, seed):
        self.a, self.random = a, random.Random(seed)
        self.stop = False
        self.kills = {}
        self.last_imap_kill = 0

    def imap_killed(self):
        return time.monotonic() - self.last_imap_kill < dm.PATIENCE + 5

    def kill_one(self, program):
        pids = self.server.pids(program)
        if not pids:
            return
        if program == "imap":
            self.last_imap_kill = time.monotonic()
            zygote = min(pids)
            pids = [p for p in pids if p != zygote] or pids
        try:
            os.kill(self.random.choice(pids), signal.SIGKILL)
            self.kills[program] = self.kills.get(program, 0) + 1
        except ProcessLookupError:
            pass

    def phase(self, idlers, programs, kills, pause):
        wanted = sum(self.kills.values()) + kills
        while sum(self.kills.values()) < wanted:
            time.sleep(self.random.uniform(0, pause))
            self.kill_one(self.random.choice(programs))
            if programs != ["imap"]:
                self.recover()
            if any(t.error for t in idlers):
                break

    def recover(self):
        """One death at a time: keeper and holder dying together is not promised."""
        self.server.wait(self.server.recovered, "the server to recover")
        time.sleep(0.1)     # the holder gives a new keeper its duplicates

    def run(self):
        users = ["k%d" % i for i in range(self.a.c)]
        options = {"keepalive_interval": "%dms" % self.a.keepalive} if self.a.keepalive else {}
        with dm.Server("kills", users=users, hibernate_after="%dms" % AFTER_MS, spares="6",
                       tls=self.a.wire in ("tls", "both"),
                       deflate=self.a.wire in ("deflate", "both"), **options) as self.server:
            idlers = [Idler(self, u, self.random.random()) for u in users]
            for t in idlers:
                t.start()
            # Those that no client may notice, first: no imap was killed yet.
            self.phase(idlers, ["imap-hibernate", "keeper", "master", "launcher"],
                       self.a.others, 0.4)
            time.sleep(1)
            lost = sum(t.lost for t in idlers)
            if lost:
                raise dm.Failure("%d connections lost by a kill of others" % lost)
            self.phase(idlers, ["imap"], self.a.n - self.a.others, 0.03)
            self.stop = True
            for t in idlers:
                t.join(dm.PATIENCE + 10)
            errors = [t.error for t in idlers if t.error]
            errors += ["%s hangs" % t.user for t in idlers if t.is_alive()]
            print("kills: %s; turns %d, keepalives %d, connections that ended with their imap %d"
                  % (self.kills, sum(t.turns for t in idlers), sum(t.keepalives for t in idlers),
                     sum(t.lost for t in idlers)))
            if self.a.keepalive and not sum(t.keepalives for t in idlers):
                errors.append("no keepalive came: this run proves nothing")
            if errors:
                print(self.server.tail(80))
                raise dm.Failure("\n".join(errors))
            print("%d passed, 0 failed" % sum(self.kills.values()))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=2000)
    p.add_argument("-c", type=int, default=12)
    p.add_argument("--others", type=int, default=24)
    p.add_argument("-t", "--wire", choices=("plain", "tls", "deflate", "both"), default="plain")
    p.add_argument("--keepalive", type=int, default=0, metavar="MS")
    a = p.parse_args()
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("SEED=%d" % seed)
    Test(a, seed).run()


try:
    main()
except dm.Failure as e:
    print(e)
    sys.exit(1)
