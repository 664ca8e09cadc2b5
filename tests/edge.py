# SPDX-License-Identifier: MIT
"""The edge: deliveries at random moments around falling asleep and waking.

    edge.py [-n DELIVERIES] [-c CLIENTS] [-t WIRE] [--late SECONDS]

Each client idles on a mailbox of its own; hibernate_after is so short that the
session falls asleep all the time. Lost: never announced. Late: announced after
more than --late seconds. Either fails the run; so does an EXISTS that counts
wrong. Prints its seed and takes SEED=.
"""
import argparse
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

AFTER_MS = 25


class Idler(threading.Thread):
    def __init__(self, server, user, deliveries, late, seed):
        super().__init__(daemon=True)
        self.server, self.user, self.left, self.late = server, user, deliveries, late
        self.random = random.Random(seed)
        self.times, self.error, self.max_ms = [], None, 0
        self.count = 0

    def exists(self, client, want, since):
        """Until EXISTS says `want`; the seconds it took."""
        while True:
            line = client.line(dm.PATIENCE)
            m = re.match(r"\* (\d+) EXISTS", line)
            if m:
                n = int(m.group(1))
                if n > want:
                    raise dm.Failure("EXISTS %d, but only %d were delivered" % (n, want))
                if n == want:
                    return time.monotonic() - since
            elif not re.match(r"\* (\d+ RECENT|OK Still here)", line):
                raise dm.Failure("unexpected: " + line)

    def run(self):
        try:
            self.converse()
        except Exception as e:
            self.error = "%s: %s: %s" % (self.user, type(e).__name__, e)

    def converse(self):
        self.server.make_maildir(self.user)
        client = dm.Client(self.server, self.user)
        client.ok("SELECT INBOX")
        client.idle()
        while self.left > 0:
            # Around the moment of falling asleep, and of being just asleep.
            pause_ms = self.random.choice((0, self.random.uniform(0, 2.5 * AFTER_MS),
                                           abs(self.random.gauss(AFTER_MS, 3))))
            time.sleep(pause_ms / 1000)
            burst = min(self.left, self.random.choice((1, 1, 1, 2, 3)))
            since = time.monotonic()
            for i in range(burst):
                if i:
                    time.sleep(self.random.uniform(0, 0.003))
                self.server.deliver(self.user)
                since = time.monotonic()
            self.left -= burst
            self.count += burst
            took = self.exists(client, self.count, since)
            self.times.append(took)
            if self.random.random() < 0.1:
                _, tagged = client.done()
                if " OK " not in tagged:
                    raise dm.Failure(tagged)
                time.sleep(self.random.uniform(0, 2 * AFTER_MS / 1000))
                untagged, tagged = client.command("NOOP")
                client.idle()
        client.done()
        untagged, _ = client.command("UID SEARCH ALL")
        found = untagged[-1].split()[2:]
        if len(found) != self.count:
            raise dm.Failure("%d delivered, %d found" % (self.count, len(found)))
        client.ok("LOGOUT")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=2000)
    p.add_argument("-c", type=int, default=16)
    p.add_argument("-t", "--wire", choices=("plain", "tls", "deflate", "both"), default="plain")
    p.add_argument("--late", type=float, default=30)
    a = p.parse_args()
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("SEED=%d" % seed)
    users = ["e%d" % i for i in range(a.c)]
    with dm.Server("edge", users=users, hibernate_after="%dms" % AFTER_MS,
                   tls=a.wire in ("tls", "both"),
                   deflate=a.wire in ("deflate", "both")) as server:
        idlers = [Idler(server, u, a.n // a.c, a.late, seed + i) for i, u in enumerate(users)]
        for t in idlers:
            t.start()
        for t in idlers:
            t.join()
        rows, _, _ = server.ctl("holder")
        errors = [t.error for t in idlers if t.error]
        times = sorted(x for t in idlers for x in t.times)
        late = [x for x in times if x > a.late]
        if errors:
            print("\n".join(errors))
            print(server.tail())
        print("%d deliveries: p50 %.2f ms, p99 %.2f ms, longest %.0f ms; lost %d, late %d" % (
            sum(t.count for t in idlers), times[len(times) // 2] * 1e3,
            times[len(times) * 99 // 100] * 1e3, times[-1] * 1e3, len(errors), len(late)))
        with open(server.log_path, errors="replace") as f:
            log = f.read()
        sleeps = len(re.findall(r"imap-hibernate: kept ", log))
        print("%d sleeps" % sleeps)
        bad = len(errors) + len(late) + (sleeps < a.n // 20)
        print("%d passed, %d failed" % (len(times) - len(late), bad))
        if bad:
            raise dm.Failure("deliveries were lost or late, or nobody slept")


try:
    main()
except dm.Failure as e:
    print(e)
    sys.exit(1)
