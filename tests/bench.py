# SPDX-License-Identifier: MIT
"""The figures of doc/figures.md, measured here: bench.py [quick|full|mailbox|tls] [--write]

quick   100 clients, one run: does it work, and about how fast
full    1 000 clients, five runs; then as many asleep as the descriptor limit
        allows, at most 15 000 (some ten minutes in all)
mailbox one mailbox of 100 000 messages (--messages), step by step in turns with
        Dovecot (bench_mailbox.py); a section of its own in doc/figures.md
tls     memory, hand-off, log-in rate and sealing over TLS and COMPRESS, 1 000
        clients and as many as fit (bench_tls.py); a section of its own
--write     put the table into doc/figures.md
--only      a part: dormouse, many or dovecot
--clients   instead of 1 000; --many instead of 15 000

Each client has a user and a mailbox of its own. Memory is that of memory.py;
per client: (with N asleep - same server with none) / N. p50 is over all runs,
p99 is that of the best run. The clients live in a process of their own
(load.py). If Dovecot is installed, a private instance of it on loopback is put
through the same.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench_mailbox  # noqa: E402
import dm  # noqa: E402
import memory  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
FIGURES = os.path.join(dm.ROOT, "doc", "figures.md")
DOVECOT = "/usr/sbin/dovecot"
INSTANCES = "/proc/sys/fs/inotify/max_user_instances"
SETTLE_SECONDS = 1.0
WARM_UP = 10


def say(text):
    print(text, flush=True)


def log(text):
    print("  .. " + text, file=sys.stderr, flush=True)


# ---- statistics ----

def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


class Runs:
    """Latencies of several runs."""

    def __init__(self):
        self.runs = []

    def p50(self):
        return percentile([x for run in self.runs for x in run], 50)

    def p99(self):
        return min(percentile(run, 99) for run in self.runs)

    def text(self):
        return "p50 %.2f ms, p99 %.2f ms" % (self.p50(), self.p99())


# ---- load.py ----

class Load:
    def __init__(self, server, user, maildir, **how):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "load.py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.call("begin", port=server.port, user=user, password="secret", maildir=maildir,
                  **how)

    def call(self, verb, **arguments):
        self.process.stdin.write(json.dumps([verb, arguments]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise dm.Failure("load.py ended in " + verb)
        reply = json.loads(line)
        if "error" in reply:
            raise dm.Failure(reply["error"])
        return reply["ok"]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- the servers ----

class Dormouse(dm.Server):
    """The defaults, but for how soon a session sleeps."""
    name = "Dormouse"
    ENOUGH = 1.0        # of the clients must sleep

    def __init__(self, clients, after, **options):
        super().__init__("bench", users=["b%d" % i for i in range(clients)],
                         hibernate_after=after, **options)
        for user in self.users:
            self.make_maildir(user)

    def write_conf(self):
        super().write_conf()
        with open(self.conf) as f:
            text = f.read()
        with open(self.conf, "w") as f:
            f.write(text.replace('log_level = "debug"', 'log_level = "info"'))

    def load(self):
        return Load(self, "b%d", os.path.join(self.dir, "home", "b%d", "Maildir"))

    def leaders(self):
        return {self.process.pid}

    def pids(self, program):
        """Each program leads a session of its own: by descent."""
        return [p for p, n in memory.processes(self.leaders()).items() if n == program]

    def holder(self):
        rows, ok, text = self.ctl("holder")
        if not ok:
            raise dm.Failure("`dormouse holder`: " + text)
        return {k: v for row in rows for k, v in row.items()}

    def asleep(self):
        """How many sleep; only when no session is between two states."""
        row = self.holder()
        return int(row["held"]) if int(row["awake"]) == 0 else 0

    def busy(self):
        row = self.holder()
        return int(row["held"]) + int(row["awake"]) > 0

    def holder_pid(self):
        return self.pids("imap-hibernate")[0]


class Dovecot:
    """A private instance, tuned for many clients as its manual says."""
    name = "Dovecot"
    SPARES = 2
    ENOUGH = 0.98       # one that failed to sleep once stays awake for good

    def __init__(self, clients, after):
        self.dir = tempfile.mkdtemp(prefix="dovecot-bench-")
        os.chmod(self.dir, 0o755)
        self.process = None
        self.clients = clients
        self.passwd = os.path.join(self.dir, "passwd")
        self.log_path = os.path.join(self.dir, "log")
        with open(self.passwd, "w") as f:
            for i in range(clients):
                uid = dm.Server.MAIL_UID + i
                home = os.path.join(self.dir, "home", "b%d" % i)
                for sub in ("new", "cur", "tmp"):
                    os.makedirs(os.path.join(home, "Maildir", sub))
                for at, _, _ in os.walk(home):
                    os.chown(at, uid, uid)
                f.write("b%d:{PLAIN}secret:%d:%d::%s::\n" % (i, uid, uid, home))
        with dm.socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.conf = os.path.join(self.dir, "dovecot.conf")
        with open(self.conf, "w") as f:
            f.write(self.configuration(after))
        with open(INSTANCES) as f:
            self.instances = f.read()

    def configuration(self, after):
        many = self.clients * 4 + 1000
        return """
base_dir = {dir}/run
state_dir = {dir}/state
instance_name = bench
log_path = {dir}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_max_userip_connections = 0
imap_hibernate_timeout = {after}
default_client_limit = {many}
default_process_limit = {many}
default_vsz_limit = 2G
passdb {{
  driver = passwd-file
  args = {dir}/passwd
}}
userdb {{
  driver = passwd-file
  args = {dir}/passwd
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  service_count = 0
  process_min_avail = 1
  client_limit = {many}
}}
service imap {{
  process_min_avail = {spares}
  process_limit = {many}
  unix_listener imap-master {{
    user = $default_internal_user
  }}
}}
service imap-hibernate {{
  client_limit = {many}
  unix_listener imap-hibernate {{
    mode = 0666
  }}
}}
service stats {{
  client_limit = {many}
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""".format(dir=self.dir, after=after, many=many, port=self.port, spares=self.SPARES)

    def __enter__(self):
        try:
            # One inotify instance a sleeper: with the default of 128 it jams.
            with open(INSTANCES, "w") as f:
                f.write(str(max(int(self.instances), self.clients * 2 + 256)))
            self.process = subprocess.Popen([DOVECOT, "-F", "-c", self.conf],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, start_new_session=True)
            end = time.monotonic() + dm.PATIENCE
            while True:
                try:
                    dm.socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return self
                except OSError:
                    if time.monotonic() > end or self.process.poll() is not None:
                        raise dm.Failure("Dovecot did not start:\n" + self.tail())
                    time.sleep(0.05)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, kind, value, trace):
        if self.process is not None:
            ours = memory.processes(self.leaders())
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                pass
            for pid in ours:
                if pid in memory.processes(self.leaders()):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        with open(INSTANCES, "w") as f:
            f.write(self.instances)
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            log("logs are kept in " + self.dir)

    def tail(self, lines=20):
        try:
            with open(self.log_path, errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    def load(self):
        return Load(self, "b%d", os.path.join(self.dir, "home", "b%d", "Maildir"))

    def leaders(self):
        return {self.process.pid}

    def named(self, program):
        return [p for p, n in memory.processes(self.leaders()).items() if n == program]

    def busy(self):
        """imap-hibernate has nobody either: it ends by itself."""
        return len(self.named("imap")) > self.SPARES

    def asleep(self):
        return self.clients - max(0, len(self.named("imap")) - self.SPARES)

    def holder_pid(self):
        return self.named("imap-hibernate")[0]


# ---- measuring one of them ----

def until_asleep(server, clients):
    began = time.monotonic()
    while True:
        asleep, waited = server.asleep(), time.monotonic() - began
        if asleep >= clients:
            break
        if asleep >= clients * server.ENOUGH and waited > 20:
            log("%s: %d of %d clients do not sleep" % (server.name, clients - asleep, clients))
            break
        if waited > 120:
            raise dm.Failure("not all of %d clients of %s sleep:\n%s" % (
                clients, server.name, server.tail(10)))
        time.sleep(0.1)
    time.sleep(SETTLE_SECONDS)


def processes_of(server):
    return sum(1 for _ in memory.processes(server.leaders()))


def memory_now(server):
    """When the number of processes stands still: the spares that a storm called
    for retire one a second."""
    before, since = None, time.monotonic()
    while time.monotonic() - since < SETTLE_SECONDS + 2:
        now = processes_of(server)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.2)
    return memory.measure(server.leaders())


def warm_up(server, load):
    """Some clients that come and leave: what a server needs once for its first
    clients does not belong to the others."""
    load.call("connect", first=0, count=WARM_UP)
    load.call("done", first=0, count=WARM_UP)
    load.call("close", first=0, count=WARM_UP)
    end = time.monotonic() + 60
    while server.busy():
        if time.monotonic() > end:
            raise dm.Failure("clients that left are not forgotten by " + server.name)
        time.sleep(0.1)


def fill(server, load, clients, figures):
    """All clients connected and asleep; memory on the way."""
    warm_up(server, load)
    none = memory_now(server)
    rate = load.call("connect", first=0, count=clients)
    until_asleep(server, clients)
    full = memory_now(server)
    figures["none"] = none["total"]
    figures["parts"] = {name: (size[1] - none["programs"].get(name, [0, 0])[1]) / clients
                        for name, size in full["programs"].items()}
    figures["parts"]["memfds that nobody maps"] = (full["unmapped"] - none["unmapped"]) / clients
    figures["full"] = full
    figures["each"] = (full["total"] - none["total"]) / clients
    figures["own"] = (full["total"] - full["files"] - none["total"] + none["files"]) / clients
    figures["logins"] = clients / rate["seconds"]
    log("%s: %d asleep, %.2f KiB each (%.2f without files), fixed %.1f MiB, "
        "%.0f log-ins a second" % (server.name, clients, figures["each"] / 1024,
                                   figures["own"] / 1024, none["total"] / 2 ** 20,
                                   figures["logins"]))


def one_by_one(server, load, verb, clients, runs, asleep=True):
    result = Runs()
    for _ in range(runs):
        if asleep:
            until_asleep(server, clients)
        result.runs.append(load.call(verb, first=0, count=clients, pause_ms=2)["ms"])
    log("%s: %s %s: %s" % (server.name, verb, "asleep" if asleep else "awake", result.text()))
    return result


def storm(server, load, verb, clients, runs):
    """The best run of some, as a dict."""
    best = None
    for _ in range(runs):
        until_asleep(server, clients)
        r = load.call(verb, first=0, count=clients)
        r["rate"] = clients / r["seconds"]
        load.call("idle", first=0, count=clients)
        log("%s: %s: %.0f a second, p50 %.0f ms; out of turn p50 %d, p99 %d, most %d places" % (
            server.name, verb, r["rate"], percentile(r["ms"], 50),
            percentile(r["out_of_turn"], 50), percentile(r["out_of_turn"], 99),
            r["out_of_turn"][-1]))
        if best is None or r["rate"] > best["rate"]:
            best = r
    return best


def sleeping_figures(make, clients, runs, f):
    """Of one server, into the dict f; if something fails, as far as it got."""
    with make(clients, asleep=True) as server, server.load() as load:
        fill(server, load, clients, f)
        f["done"] = one_by_one(server, load, "done", clients, runs)
        f["exists"] = one_by_one(server, load, "exists", clients, runs)
        f["storm_done"] = storm(server, load, "storm_done", clients, min(runs, 3))
        f["storm_mail"] = storm(server, load, "storm_mail", clients, min(runs, 3))
        until_asleep(server, clients)
        f["cycles"] = 2 * runs + 2 * min(runs, 3)
        f["again"] = (memory_now(server)["total"] - f["none"]) / clients
        log("%s: %.2f KiB each after all that" % (server.name, f["again"] / 1024))
    few = min(clients, 100)
    with make(few, asleep=False) as server, server.load() as load:
        load.call("connect", first=0, count=few)
        f["awake"] = one_by_one(server, load, "exists", few, runs, asleep=False)


def kill_figures(server, load, clients, runs, figures):
    """kill -9 of the holder; a sleeper speaks at that moment."""
    times, alive = [], clients
    for i in range(runs):
        # Long enough that it counts as a first death (master/backoff.h).
        time.sleep(11)
        until_asleep(server, clients)
        times.append(load.call("kill_done", pid=server.holder_pid(), client=i)["ms"])
        alive = min(alive, load.call("alive", first=0, count=clients)["alive"])
        log("%s: kill -9 of imap-hibernate with %d asleep: served after %.0f ms, "
            "%d connections alive" % (server.name, clients, times[-1], alive))
    figures["kill"], figures["alive"] = times, alive


def make_dormouse(clients, asleep):
    return Dormouse(clients, after="1s" if asleep else "1h")


def make_dovecot(clients, asleep):
    return Dovecot(clients, after="1s" if asleep else "0")


def many_figures(clients, runs):
    f = {"clients": clients}
    with make_dormouse(clients, asleep=True) as server, server.load() as load:
        fill(server, load, clients, f)
        f["holder"] = server.holder()
        kill_figures(server, load, clients, runs, f)
        until_asleep(server, clients)
        f["adopted"] = (memory_now(server)["total"] - f["none"]) / clients
        # Each one of them is still served.
        start = time.monotonic()
        f["done"] = Runs()
        f["done"].runs.append(load.call("done", first=0, count=clients)["ms"])
        log("each of %d answered DONE: %s (%.0f s)" % (clients, f["done"].text(),
                                                      time.monotonic() - start))
    return f


# ---- the table ----

class Row:
    def __init__(self, what, bar, value, met, other=""):
        self.what, self.bar, self.value, self.met, self.other = what, bar, value, met, other

    def verdict(self):
        return "" if self.met is None else "met" if self.met else "MISSED"

    def line(self):
        return "%-62s %-52s %-7s %s" % (self.what, self.value, self.verdict(),
                                        self.other and "[Dovecot: %s]" % self.other)


def kib(size):
    return "%.2f KiB" % (size / 1024)


def memory_met(f):
    """Mapped files that others began to share meanwhile do not help."""
    return max(f["each"], f["own"]) <= 1024


def storm_text(r):
    return "%.0f a second; p50 %.0f ms; out of turn p99 %d places" % (
        r["rate"], percentile(r["ms"], 50), percentile(r["out_of_turn"], 99))


def rows_sleeping(ours, theirs, clients):
    def other(key, text):
        return text(theirs[key]) if theirs and theirs.get(key) else ""

    runs = Runs.text
    yield Row("memory a sleeper, %d asleep (plain TCP)" % clients, "≤ 1 KiB (the bar for TLS)",
              kib(ours["each"]), memory_met(ours), other("each", kib))
    yield Row("... of it in anonymous and shared memory, not in mapped files", "",
              kib(ours["own"]), None, other("own", kib))
    yield Row("the same after every one woke and slept again %d times" % ours["cycles"], "",
              kib(ours["again"]), None, other("again", kib))
    yield Row("fixed part: the server with nobody", "", "%.1f MiB" % (ours["none"] / 2 ** 20),
              None, other("none", lambda b: "%.1f MiB" % (b / 2 ** 20)))
    yield Row("`DONE` → tagged OK, asleep", "p50 ≤ 0.5 ms, p99 ≤ 3 ms", ours["done"].text(),
              ours["done"].p50() <= 0.5 and ours["done"].p99() <= 3, other("done", runs))
    for key, state in (("exists", "asleep"), ("awake", "awake")):
        r = ours[key]
        yield Row("rename into `new/` → `EXISTS`, " + state, "p50 ≤ 2 ms, p99 ≤ 10 ms", r.text(),
                  r.p50() <= 2 and r.p99() <= 10, other(key, runs))
    for key, how in (("storm_done", "all send `DONE`"), ("storm_mail", "all get mail")):
        r = ours[key]
        yield Row("%d woken at once: %s" % (clients, how), "≥ 1000 a second, in turn",
                  storm_text(r), r["rate"] >= 1000, other(key, storm_text))


def rows_many(many):
    n = many["clients"]
    yield Row("memory a sleeper, %d asleep (plain TCP)" % n, "≤ 1 KiB (the bar for TLS)",
              kib(many["each"]), memory_met(many))
    yield Row("... of it in anonymous and shared memory, not in mapped files", "",
              kib(many["own"]), None)
    table = int(many["holder"]["table_bytes"]) / n
    parts = many["parts"]
    yield Row("... where it goes", "", "%.0f bytes in the holder's table, %.0f in its heap, "
              "%.0f in the keeper, %.0f elsewhere" % (
                  table, parts["imap-hibernate"] - table, parts["keeper"],
                  many["each"] - parts["imap-hibernate"] - parts["keeper"]), None)
    yield Row("the same after %d adoptions" % len(many["kill"]), "", kib(many["adopted"]), None)
    yield Row("kill -9 of imap-hibernate with %d asleep: sleepers lost" % n, "0",
              "%d" % (n - many["alive"]), many["alive"] == n)
    yield Row("... until a sleeper that speaks at that moment is answered", "≤ 1 s",
              "%.0f ms (best %.0f, worst %.0f of %d)" % (
                  percentile(many["kill"], 50), min(many["kill"]), max(many["kill"]),
                  len(many["kill"])), max(many["kill"]) <= 1000)
    yield Row("... then `DONE` → tagged OK for each of them", "p50 ≤ 0.5 ms, p99 ≤ 3 ms",
              many["done"].text(), many["done"].p50() <= 0.5 and many["done"].p99() <= 3)


def machine():
    model = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as f:
        total = int(f.readline().split()[1]) / 2 ** 20
    return "%d cores (%s), %.0f GiB, kernel %s" % (os.cpu_count(), model, total,
                                                 platform.release())


def dovecot_version():
    out = subprocess.run([DOVECOT, "--version"], capture_output=True, text=True).stdout
    return out.split()[0] if out.split() else "?"


def table(rows):
    lines = ["| figure | bar | measured | | %s |" % "Dovecot, same run",
             "| --- | --- | --- | --- | --- |"]
    for r in rows:
        lines.append("| %s | %s | %s | %s | %s |" % (r.what, r.bar, r.value, r.verdict(),
                                                    r.other))
    return lines


def page(rows, command, notes):
    with open(FIGURES, errors="replace") if os.path.exists(FIGURES) else open(os.devnull) as f:
        old = f.read()
    mark = "<!-- below this line: written by hand, kept -->"
    kept = old.split(mark, 1)[1] if mark in old else "\n"
    lines = ["# Figures", "",
             "Measured by `%s` on %s." % (command, datetime.date.today().isoformat()),
             "Machine: %s; clients, mail and servers on the same one, over loopback." % machine(),
             ""] + table(rows) + [""] + notes + ["", mark]
    with open(FIGURES, "w") as f:
        f.write("\n".join(lines) + kept)


def section(name, lines):
    """Into the part that is kept: between marks of its own."""
    first, last = "<!-- %s: begin -->" % name, "<!-- %s: end -->" % name
    with open(FIGURES, errors="replace") as f:
        old = f.read()
    text = "\n".join([first] + lines + [last])
    if first in old:
        before, rest = old.split(first, 1)
        new = before + text + rest.split(last, 1)[1]
    else:
        new = old.rstrip("\n") + "\n\n" + text + "\n"
    with open(FIGURES, "w") as f:
        f.write(new)


NOTES = """\
How it is measured (`tests/bench.py`, `tests/load.py`, `tests/memory.py`):
- Memory: the sum of Pss over all processes of the server, plus memfd pages that no process has mapped; a sleeper's part is
  (with N asleep − the same server with none) / N. The kernel's own memory (sockets, watches) is not counted.
- p50 is over all runs, p99 is that of the best run of %d. Rates are of the best of %d.
- A latency is that of one client with nothing else in flight, all the others asleep. Each of the clients in turn.
- "Out of turn": how many places from its turn a client was served, when all woke at once.
- Each client has a user (uid), a mailbox and a loopback address of its own."""


def notes_of(runs, dovecot):
    lines = (NOTES % (runs, min(runs, 3))).split("\n")
    if dovecot is not None:
        lines.append("- Dovecot %s: a private instance, plain TCP, `imap_hibernate_timeout = 1s` (0 for awake), "
                     "`imap-login` with `service_count = 0`," % dovecot_version())
        lines.append("  two spare `imap` processes; `fs.inotify.max_user_instances` raised for the run, as it needs "
                     "one for each sleeper.")
        if dovecot.get("alive") is not None:
            lines.append("  kill -9 of its imap-hibernate: %d of %d clients left." % (
                dovecot["alive"], dovecot["clients"]))
    return lines


def why_no_dovecot():
    if not os.path.exists(DOVECOT):
        return "Dovecot is not installed (Debian: dovecot-imapd)"
    if os.geteuid() != 0:
        return "Dovecot needs root here"
    return None


def dovecot_figures(clients, runs):
    f = {}
    try:
        sleeping_figures(make_dovecot, clients, runs, f)
        with make_dovecot(100, asleep=True) as server, server.load() as load:
            load.call("connect", first=0, count=100)
            until_asleep(server, 100)
            os.kill(server.holder_pid(), signal.SIGKILL)
            time.sleep(2)
            f["clients"], f["alive"] = 100, load.call("alive", first=0, count=100)["alive"]
    except dm.Failure as e:
        say("Dovecot could not be measured to the end: %s" % e)
    return f


def tls_section(a):
    import bench_tls    # it builds upon this file
    lines, good = bench_tls.section(a.clients or 1000, most_sleepers(a.many or 15000),
                                    (a.runs or 5) * 20, (a.runs or 5) * 200,
                                    not why_no_dovecot() and a.only != "dormouse")
    if a.write:
        section("tls", lines)
        say("written to " + FIGURES)
    return 0 if good else 1


def mailbox_section(a):
    """One large mailbox: ours and, if it is there, Dovecot's."""
    runs = a.runs or 5
    with contextlib.ExitStack() as stack:
        mail = a.mail or os.path.join(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bench-mail-")), "cur")
        if not os.path.isdir(mail):
            bench_mailbox.make_mail(mail, a.messages)
            log("%d messages made" % a.messages)
        makers = [Dormouse] + ([Dovecot] if not why_no_dovecot() else [])
        if why_no_dovecot():
            say("no comparison: " + why_no_dovecot())
        sides = []
        for make in makers:
            server = make(1, after="1h" if make is Dormouse else "0")
            bench_mailbox.link_mail(mail, os.path.join(server.dir, "home", "b0", "Maildir"),
                                    dm.Server.MAIL_UID if os.geteuid() == 0 else os.geteuid())
            stack.enter_context(server)
            sides.append(bench_mailbox.Side(server.name, server.port, "b0"))
        names = [side.name for side in sides]
        took = bench_mailbox.figures(sides, a.messages, runs, log)
    rows = list(bench_mailbox.rows(took, names))
    for step, mine, other, ratio in rows:
        say("%-44s %10.1f ms%s" % (step, mine, "" if other is None else
                                   " %10.1f ms  %.2f" % (other, ratio)))
    if a.write:
        lines = ["## One mailbox of %d messages, side by side with Dovecot" % a.messages, "",
                 "Measured by `./run bench mailbox` on %s. Machine: %s." % (
                     datetime.date.today().isoformat(), machine()), "",
                 "| step | Dormouse | Dovecot %s | ratio |" % dovecot_version(),
                 "| --- | --- | --- | --- |"]
        lines += ["| %s | %.1f ms | %s | %s |" % (
            step, mine, "" if other is None else "%.1f ms" % other,
            "" if other is None else "%.2f" % ratio) for step, mine, other, ratio in rows]
        lines += ["", "Medians of %d runs, the two servers in turn at each step; both had seen the whole "
                  "mailbox before. Messages of 2 to 10 KB," % runs,
                  "plain TCP, one session, no other load; Dovecot with its default settings for Maildir."]
        section("bench mailbox", lines)
        say("written to " + FIGURES)
    return 1 if any(ratio is not None and ratio > 1.5 for _, _, _, ratio in rows) else 0


def most_sleepers(wish):
    """One descriptor each in holder, keeper and load.py, and some to spare."""
    return min(wish, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("size", nargs="?", choices=("quick", "full", "mailbox", "tls"),
                   default="quick")
    p.add_argument("--write", action="store_true")
    p.add_argument("--only", choices=("dormouse", "many", "dovecot"))
    p.add_argument("--clients", type=int)
    p.add_argument("--many", type=int)
    p.add_argument("--runs", type=int)
    p.add_argument("--messages", type=int, default=100000)
    p.add_argument("--mail", help="where the messages of `mailbox` are kept, or made if not there")
    a = p.parse_args()
    if a.size == "mailbox":
        return mailbox_section(a)
    if a.size == "tls":
        return tls_section(a)
    full = a.size == "full"
    clients = a.clients or (1000 if full else 100)
    runs = a.runs or (5 if full else 1)
    many_clients = most_sleepers(a.many or (15000 if full else 300))

    ours = theirs = many = None
    if a.only in (None, "dormouse"):
        ours = {}
        sleeping_figures(make_dormouse, clients, runs, ours)
    if a.only in (None, "dovecot"):
        if why_no_dovecot():
            say("skipped: " + why_no_dovecot())
        else:
            theirs = dovecot_figures(clients, runs)
    if a.only in (None, "many"):
        many = many_figures(many_clients, runs)
    rows = []
    if ours:
        rows += rows_sleeping(ours, theirs, clients)
    if many:
        rows += rows_many(many)
    for r in rows:
        say(r.line())
    if a.write:
        page(rows, "./run bench " + a.size, notes_of(runs, theirs))
        say("written to " + FIGURES)
    return 1 if any(r.met is False for r in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except dm.Failure as e:
        print("bench: %s" % e)
        sys.exit(1)
