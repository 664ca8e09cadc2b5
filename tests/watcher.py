# SPDX-License-Identifier: MIT
"""A client that counts what it is told, and a runner of scenarios by name."""
import os
import queue
import re
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402


class Watcher:
    """A client that counts: what it was told must be what was delivered."""

    def __init__(self, world, user=None):
        self.world = world
        self.user = user or new_user(world)
        self.count = 0
        self.client = dm.Client(world, self.user)
        self.client.ok("SELECT INBOX")

    def exists(self, line):
        m = re.match(r"\* (\d+) EXISTS", line)
        if m:
            if int(m.group(1)) != self.count:
                raise dm.Failure("EXISTS %s, not %d" % (m.group(1), self.count))
            return True
        if not re.match(r"\* (\d+ RECENT|OK Still here)", line):
            raise dm.Failure("unexpected: " + line)
        return False

    def deliver(self):
        self.world.deliver(self.user)
        self.count += 1

    def idle_told(self):
        while not self.exists(self.client.line(20)):
            pass

    def done(self):
        untagged, tagged = self.client.done()
        if " OK " not in tagged:
            raise dm.Failure("DONE: " + tagged)
        if [u for u in untagged if self.exists(u)]:
            raise dm.Failure("told twice: %s" % untagged)

    def noop(self, news):
        """The answer; EXISTS once if there is news, else not."""
        untagged, tagged = self.client.command("NOOP")
        if " OK " not in tagged:
            raise dm.Failure("NOOP: " + tagged)
        n = len([u for u in untagged if self.exists(u)])
        if n != (1 if news else 0):
            raise dm.Failure("NOOP told %d times, news: %s: %s" % (n, news, untagged))

    def wait_asleep(self):
        self.world.wait(self.asleep, "the session to sleep", 20)

    def asleep(self):
        try:
            return self.client.asleep()
        except OSError:
            return False     # whoever answers is being restarted

    def close(self):
        self.client.close()


def new_user(world):
    user = "u%d" % (len(world.users) + 1)
    world.add_user(user)
    world.make_maildir(user)
    return user


def sockets(world):
    """Ends of client connections that some process of the server still holds."""
    n = 0
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            words = line.split()
            if words[1] == "0100007F:%04X" % world.port and words[3] not in ("0A", "06"):
                n += 1
    return n


def wait_no_sockets(world):
    try:
        world.wait(lambda: sockets(world) == 0, "all descriptors of the session to close", 20)
    except dm.Failure:
        with open("/proc/net/tcp") as f:
            rows = [row for row in f if "0100007F:%04X " % world.port in row[:20]]
        names = world.processes()
        holders = []
        for pid in names:
            for fd in os.listdir("/proc/%d/fd" % pid):
                try:
                    to = os.readlink("/proc/%d/fd/%s" % (pid, fd))
                except OSError:
                    continue
                if any("socket:[%s]" % row.split()[9] == to for row in rows):
                    holders.append("%s %d fd %s %s" % (names[pid], pid, fd, to))
        raise dm.Failure("descriptors left open:\n" + "".join(rows) + "\n".join(holders))


def no_crash(world):
    """A session may outlive a crash; the test may not."""
    with open(world.log_path, errors="replace") as f:
        for line in f:
            if re.search(r"Assertion|crash signal=|Sanitizer|runtime error|refused system call",
                         line):
                raise dm.Failure("in the log: " + line)


def in_parallel(items, work, workers):
    """work(items of a queue) in so many threads."""
    todo = queue.Queue()
    for item in items:
        todo.put(item)
    threads = [threading.Thread(target=work, args=(todo,)) for _ in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


class Run:
    def __init__(self, verbose, names):
        self.verbose, self.names = verbose, names
        self.passed, self.failed = 0, []
        self.lock = threading.Lock()

    def wanted(self, name):
        return not self.names or any(n in name for n in self.names)

    def one(self, name, call, where):
        """False if it failed; says so."""
        start, error = time.monotonic(), None
        try:
            call()
        except Exception:
            error = traceback.format_exc() + "logs: " + where()
        with self.lock:
            if error is None:
                self.passed += 1
            else:
                self.failed.append(name)
            if error is not None or self.verbose:
                print("%-6s %s (%.1f s)%s" % ("ok" if error is None else "FAIL", name,
                                              time.monotonic() - start,
                                              "" if error is None else "\n" + error), flush=True)
        return error is None

    def scenario(self, fn, make):
        """A server of its own for each."""
        world = make(fn)
        name = fn.__name__.replace("_", " ")

        def call():
            world.start()
            fn(world)
            no_crash(world)
        try:
            world.keep = not self.one(name, call, lambda: world.dir)
        finally:
            if world.process is not None:
                world.stop()
            world.remove()

    def scenarios(self, fns, make, workers):
        def work(todo):
            while True:
                try:
                    fn = todo.get_nowait()
                except queue.Empty:
                    return
                self.scenario(fn, make)
        in_parallel([f for f in fns if self.wanted(f.__name__.replace("_", " "))], work, workers)

    def verdict(self):
        print("%d passed, %d failed" % (self.passed, len(self.failed)))
        return 1 if self.failed else 0
