# SPDX-License-Identifier: MIT
"""Weather: full disks, limits, stopped processes, lost events, rude clients.

    weather.py [-v] [NAME...]

Each scenario has a server of its own and judges from the client's side: an
answer or an honest BYE, nobody hangs, nothing told twice or lost.
"""
import argparse
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
from watcher import Run, Watcher, new_user, wait_no_sockets  # noqa: E402

ROOT = os.geteuid() == 0
SCENARIOS, ALONE = [], []


def scenario(fn=None, alone=False, root=False, **options):
    """Options of the server; alone: it changes something of the whole system."""
    def note(fn):
        fn.options = options
        if ROOT or not (alone or root):
            (ALONE if alone else SCENARIOS).append(fn)
        return fn
    return note(fn) if fn else note


def world_for(fn):
    return dm.Server("weather", users=(), **dict({"hibernate_after": "60ms"}, **fn.options))


# ---- stopped processes ----

class Stopped:
    """SIGSTOP for the time of a with-block."""

    def __init__(self, pids):
        self.pids = pids

    def __enter__(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *_):
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


@scenario(hibernate_after="1s")
def holder_stopped_for_ten_seconds_costs_nobody(world):
    asleep, awake = Watcher(world), Watcher(world)
    asleep.client.idle()
    asleep.wait_asleep()
    awake.wait_asleep()
    awake.noop(False)       # awake, and about to sleep again
    with Stopped(world.pids("imap-hibernate")):
        end = time.monotonic() + 10
        asleep.deliver()
        time.sleep(2)
        # Its imap has given SLEEP away and nobody answers: it goes on itself.
        awake.deliver()
        awake.noop(True)
        time.sleep(max(0, end - time.monotonic()))
    asleep.idle_told()
    awake.noop(False)
    awake.deliver()
    awake.noop(True)
    asleep.done()
    asleep.noop(False)
    asleep.wait_asleep()
    awake.wait_asleep()


@scenario(hibernate_after="1h")
def awake_session_hears_of_mail_after_the_holder_was_stopped(world):
    w = Watcher(world)
    with Stopped(world.pids("imap-hibernate")):
        w.client.idle()     # WATCH is not answered
        time.sleep(6)
    w.deliver()
    w.idle_told()
    w.deliver()
    w.idle_told()
    w.done()


@scenario
def keeper_stopped_delays_but_loses_nothing(world):
    asleep, awake = Watcher(world), Watcher(world)
    asleep.client.idle()
    asleep.wait_asleep()
    with Stopped(world.pids("keeper")):
        asleep.deliver()
        asleep.idle_told()      # waking needs no keeper
        awake.client.idle()     # falling asleep does
        time.sleep(1)
        awake.deliver()
        time.sleep(6)
    awake.idle_told()
    awake.done()
    awake.noop(False)
    asleep.done()
    asleep.wait_asleep()
    awake.wait_asleep()


# ---- descriptors ----

def open_fds(pid):
    return [int(n) for n in os.listdir("/proc/%d/fd" % pid)]


class Limited:
    """The process can open `more` further descriptors during the with-block."""

    def __init__(self, pid, more):
        self.pid = pid
        fds = set(open_fds(pid))
        n = 0
        while more or n in fds:
            more -= n not in fds
            n += 1
        self.limit = n

    def set(self, soft):
        """As the process's own user: root may lack the capability for others."""
        status = os.stat("/proc/%d" % self.pid)
        with open("/proc/%d/status" % self.pid) as f:
            ids = dict(line.split(":", 1) for line in f)
        child = os.fork()
        if child == 0:
            ok = 1
            try:
                if ROOT:
                    os.setgroups([])
                    os.setgid(int(ids["Gid"].split()[0]))
                    os.setuid(int(ids["Uid"].split()[0]))
                hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]
                resource.prlimit(self.pid, resource.RLIMIT_NOFILE,
                                 (hard if soft is None else soft, hard))
                ok = 0
            finally:
                os._exit(ok)
        if os.waitpid(child, 0)[1] != 0:
            raise dm.Failure("cannot set the limit of %d, uid %d" % (self.pid, status.st_uid))

    def __enter__(self):
        self.set(self.limit)

    def __exit__(self, *_):
        self.set(None)


def limited(world, program, wakes):
    """Serve through it, then recover; `wakes`: also who sleeps is served meanwhile."""
    first = Watcher(world)
    first.client.idle()
    first.wait_asleep()
    second = Watcher(world)
    second.client.idle()
    with Limited(world.pids(program)[0], 0):
        time.sleep(1.5)     # it wants to sleep, and cannot
        second.deliver()
        second.idle_told()
        first.deliver()
        if wakes:
            first.idle_told()
        second.deliver()
        second.idle_told()
        second.done()
        second.noop(False)
    if not wakes:
        first.idle_told()
    first.done()
    first.noop(False)
    first.wait_asleep()
    second.wait_asleep()
    second.deliver()
    second.noop(True)


# The descriptors of a process that is not dumpable are root's to count.
@scenario(root=True, hibernate_after="1s")
def holder_without_descriptors_leaves_sessions_awake(world):
    limited(world, "imap-hibernate", False)


# The descriptors of a process that is not dumpable are root's to count.
@scenario(root=True, hibernate_after="1s")
def keeper_without_descriptors_leaves_sessions_awake(world):
    limited(world, "keeper", True)


# The descriptors of a process that is not dumpable are root's to count.
@scenario(root=True)
def login_without_descriptors_serves_later(world):
    pid = world.pids("imap-login")[0]
    with Limited(pid, 0):
        sock = socket.create_connection(("127.0.0.1", world.port), dm.PATIENCE)
        sock.settimeout(0.5)
        try:
            early = sock.recv(1)
        except (socket.timeout, TimeoutError):
            early = None
        if early == b"":
            raise dm.Failure("hung up on")
    sock.settimeout(dm.PATIENCE)
    if early is None and sock.recv(1) != b"*":
        raise dm.Failure("no greeting")
    sock.close()
    Watcher(world).noop(False)


def zygote(world):
    """The imap that has children."""
    return min(world.pids("imap"))


# 0 to 2, status pipe, both queues, their epoll set, the signal to retire.
SPARE_FDS = 8


@scenario
def spares_without_descriptors_answer_or_say_bye(world):
    w = Watcher(world)
    w.wait_asleep()
    pid = zygote(world)
    limits = [(p, resource.prlimit(p, resource.RLIMIT_NOFILE)) for p in world.pids("imap")]
    for p, old in limits:
        try:
            # What a spare has open, the two of a WAKE, and no more.
            resource.prlimit(p, resource.RLIMIT_NOFILE, (SPARE_FDS + 2, old[1]))
        except (ProcessLookupError, PermissionError):
            pass        # gone, or somebody's session by now
    w.client.send("x NOOP\r\n")
    line = w.client.line()
    if not line.startswith("x OK") and not line.startswith("x NO") and "BYE" not in line:
        raise dm.Failure("neither answer nor BYE: " + line)
    # The zygote first; then those that it forks meanwhile, until all are as before.
    for _ in range(8):
        for p in [pid] + world.pids("imap"):
            try:
                resource.prlimit(p, resource.RLIMIT_NOFILE, limits[0][1])
            except (ProcessLookupError, PermissionError):
                pass        # gone, or somebody's session by now
        time.sleep(0.05)
    again = Watcher(world, w.user)
    again.noop(False)
    again.wait_asleep()
    again.deliver()
    again.noop(True)
    assert zygote(world) == pid


@scenario(max_processes=4, hibernate_after="20ms")
def fifty_wake_at_once_with_four_processes(world):
    watchers = []
    for i in range(50):
        w = Watcher(world)
        if i % 2:
            w.client.idle()
        watchers.append(w)
    for w in watchers:
        w.wait_asleep()
    for w in watchers:
        w.deliver()
    for i, w in enumerate(watchers):
        if not i % 2:
            w.client.send("q NOOP\r\n")
    for i, w in enumerate(watchers):
        if i % 2:
            w.idle_told()
            continue
        untagged, tagged = w.client.answer("q")
        if " OK " not in tagged or len([u for u in untagged if w.exists(u)]) != 1:
            raise dm.Failure("%s %s" % (untagged, tagged))
    for i, w in enumerate(watchers):
        if i % 2:
            w.done()


@scenario(max_processes=4, spares=2, hibernate_after="1h")
def a_spare_waits_though_all_processes_are_there(world):
    """Who came first makes room before anybody has to wait for it."""
    watchers = [Watcher(world) for _ in range(3)]
    watchers[0].wait_asleep()
    for w in watchers:
        w.noop(False)


@scenario(hibernate_after="1s")
def a_change_wakes_the_other_session_once_and_its_own_never(world):
    """Of renames inotify tells, and then a notice: one wake tells of both."""
    user = new_user(world)
    for _ in range(4):
        world.deliver(user)
    ours, other = dm.Client(world, user), dm.Client(world, user)
    for client in (ours, other):
        client.ok("SELECT INBOX")
    other.idle()

    def both_asleep():
        for client in (ours, other):
            world.wait(client.asleep, "the session to sleep", 20)
    for command in ("STORE 1 +FLAGS (\\Seen)", "STORE 2:4 +FLAGS (\\Flagged word)",
                    "STORE 3 -FLAGS (word)", "COPY 2 INBOX"):
        both_asleep()
        with open(world.log_path) as f:
            before = len(f.read())
        ours.ok(command)
        other.line(20)
        both_asleep()
        with open(world.log_path) as f:
            log = f.read()[before:]
        wakes = sorted(re.findall(r"imap: wake id=.* cause=(\w+) told=", log))
        if wakes != ["change", "input"]:
            raise dm.Failure("%s: woken: %s" % (command, wakes))


# ---- full disks ----

class SmallDisk:
    def __init__(self, path, bytes_):
        self.path = path
        os.makedirs(path, exist_ok=True)
        subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=%d,mode=755" % bytes_,
                               "none", path])
        self.filler = os.path.join(path, "filler")

    def fill(self):
        with open(self.filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

    def empty(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)

    def unmount(self):
        subprocess.call(["umount", "-l", self.path])


def honest(w, command):
    """The tagged answer, or the BYE; anything but silence or a bare end."""
    w.client.send("x %s\r\n" % command)
    while True:
        line = w.client.line()
        if line.startswith("x ") or "BYE" in line:
            return line


@scenario(root=True)
def full_index_disk_gets_answers_and_recovers(world):
    disk = SmallDisk(os.path.join(world.dir, "index"), 1 << 20)
    try:
        os.chmod(disk.path, 0o1777)
        world.options["index_dir"] = disk.path + "/%u"
        world.stop()
        world.write_conf()
        world.start()
        idler, quiet, awake = Watcher(world), Watcher(world), Watcher(world)
        for w in (idler, quiet, awake):
            w.deliver()
            w.noop(True)
        idler.client.idle()
        idler.wait_asleep()
        quiet.wait_asleep()
        disk.fill()
        idler.deliver()
        quiet.deliver()
        awake.deliver()
        lines = [honest(quiet, "NOOP"), honest(awake, "FETCH 1 BODY[]")]
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.1)
        disk.empty()
        for w in (idler, quiet, awake):
            again = dm.Client(world, w.user)
            untagged = again.ok("SELECT INBOX")
            if "* %d EXISTS" % w.count not in untagged:
                raise dm.Failure("after the disk had room again: %s" % untagged)
            again.close()
        # Told, or told that it ended.
        while True:
            line = idler.client.line()
            if "BYE" in line or idler.exists(line):
                break
        return lines
    finally:
        disk.unmount()


@scenario(root=True)
def full_mail_disk_gets_answers_and_recovers(world):
    user = new_user(world)
    home = world.users[user][1]
    shutil.rmtree(os.path.join(home, "Maildir"))
    disk = SmallDisk(home, 1 << 20)
    try:
        os.chown(home, world.users[user][0], world.users[user][0])
        world.make_maildir(user)
        w = Watcher(world, user)
        w.deliver()
        w.noop(True)
        w.client.idle()
        w.wait_asleep()
        world.deliver(user, text="")    # no byte: there is room for that
        w.count += 1
        w.idle_told()
        disk.fill()
        world.deliver(user, text="")
        w.count += 1
        time.sleep(1.5)
        disk.empty()
        world.deliver(user, text="")
        # One EXISTS for both or one each, or an honest end.
        seen = w.count - 1
        w.count += 1
        while seen < w.count:
            line = w.client.line()
            if "BYE" in line:
                break
            m = re.match(r"\* (\d+) EXISTS", line)
            if m:
                if not seen <= int(m.group(1)) <= w.count:
                    raise dm.Failure(line)
                seen = int(m.group(1))
        again = dm.Client(world, user)
        if "* %d EXISTS" % w.count not in again.ok("SELECT INBOX"):
            raise dm.Failure("messages are missing")
        disk.fill()
        again.send("a APPEND INBOX {100}\r\n")
        line = again.line()
        if line.startswith("+"):
            again.send("From: a@b\r\n\r\n" + "x" * 87 + "\r\n")
            while not line.startswith("a "):
                line = again.line()
        if not line.startswith("a NO"):
            raise dm.Failure("APPEND to a full disk: " + line)
    finally:
        disk.unmount()


# ---- events ----

def sysctl(name, value=None):
    path = "/proc/sys/fs/inotify/" + name
    with open(path) as f:
        old = f.read().strip()
    if value is not None:
        with open(path, "w") as f:
            f.write(str(value))
    return old


@scenario(alone=True)
def overflow_of_the_event_queue_makes_everybody_compare(world):
    old = sysctl("max_queued_events", 64)
    try:
        # The limit is taken at the instance's birth: the next start has it.
        world.stop()
        world.start()
        quiet, idler = Watcher(world), Watcher(world)
        noise = new_user(world)
        n = Watcher(world, noise)
        n.client.idle()
        idler.client.idle()
        for w in (n, idler, quiet):
            w.wait_asleep()
        with Stopped(world.pids("imap-hibernate")):
            for i in range(200):
                n.deliver()
            # Beyond the queue's end: its event is lost.
            idler.deliver()
            quiet.deliver()
        idler.idle_told()
        quiet.noop(True)
        while not re.match(r"\* 200 EXISTS", n.client.line()):
            pass
        n.done()
        idler.done()
    finally:
        sysctl("max_queued_events", old)


@scenario(alone=True, poll_interval="300ms")
def without_watches_sessions_poll(world):
    held = Watcher(world)
    old = sysctl("max_user_watches", 0)
    try:
        asleep, awake = Watcher(world), Watcher(world)
        asleep.client.idle()
        asleep.wait_asleep()
        for _ in range(3):
            asleep.deliver()
            asleep.idle_told()
        asleep.done()
        asleep.wait_asleep()
        asleep.deliver()
        asleep.noop(True)
        awake.noop(False)
    finally:
        sysctl("max_user_watches", old)
    held.deliver()
    held.noop(True)
    held.client.idle()
    held.wait_asleep()
    held.deliver()
    held.idle_told()
    # Who polled is watched again in time, or goes on polling.
    asleep.client.idle()
    asleep.deliver()
    asleep.idle_told()


@scenario(alone=True, poll_interval="300ms", hibernate_after="1h")
def without_watches_awake_sessions_poll(world):
    old = sysctl("max_user_watches", 0)
    try:
        w = Watcher(world)
        w.client.idle()
        for _ in range(3):
            w.deliver()
            w.idle_told()
        w.done()
        w.noop(False)
    finally:
        sysctl("max_user_watches", old)


def folder_session(world):
    w = Watcher(world)
    w.client.ok("CREATE Work")
    w.client.ok("SELECT Work")
    w.path = world.maildir(w.user, "Work")
    return w


def bye(w, why):
    """The session ends with a BYE that says why, after no news."""
    while True:
        line = w.client.line()
        if line.startswith("* BYE"):
            break
        if not re.match(r"\* (OK Still|\d+ EXPUNGE|\d+ (EXISTS|RECENT))", line):
            raise dm.Failure("%s: %s" % (why, line))


@scenario
def deleted_folder_ends_the_session_with_bye(world):
    idler, quiet = folder_session(world), folder_session(world)
    idler.client.idle()
    for w in (idler, quiet):
        w.wait_asleep()
        shutil.rmtree(w.path)
    bye(idler, "IDLE in a deleted mailbox")
    line = honest(quiet, "NOOP")
    if "BYE" not in line:
        raise dm.Failure(line)


@scenario
def renamed_folder_is_no_accident(world):
    w = folder_session(world)
    w.client.idle()
    w.wait_asleep()
    os.rename(w.path, w.path + "2")
    world.wait(w.asleep, "sleep after the rename", 20)
    world.deliver(w.user, mailbox="Work2")
    w.count += 1
    w.idle_told()
    w.done()
    w.wait_asleep()
    world.deliver(w.user, mailbox="Work2")
    w.count += 1
    w.noop(True)


@scenario
def replaced_folder_ends_the_session_with_bye(world):
    w = folder_session(world)
    w.client.idle()
    w.wait_asleep()
    os.rename(w.path, os.path.join(world.dir, "away"))
    world.make_maildir(w.user, "Work")
    world.deliver(w.user, mailbox="Work")
    # Nothing that is watched has changed, so DONE may be answered without a
    # look; the next word is not.
    w.client.send("DONE\r\nlast NOOP\r\n")
    line = w.client.line()
    while line.startswith("* OK Still here"):
        line = w.client.line()
    if not line.startswith("* BYE"):
        if not line.startswith(w.client.idle_tag + " OK"):
            raise dm.Failure("DONE: " + line)
        bye(w, "another mailbox of the same name")


# ---- clients ----

@scenario
def client_that_stops_reading_is_told_later(world):
    w = Watcher(world)
    w.client.close()
    w.client = dm.Client.__new__(dm.Client)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", world.port))
    c = w.client
    c.server, c.user, c.sock, c.buffer, c.tag = world, w.user, sock, b"", 0
    c.local_port = sock.getsockname()[1]
    c.line()
    c.ok("LOGIN %s secret" % w.user)
    world.deliver(w.user, text="Subject: big\n\n" + "x" * 8_000_000)
    w.count = 1
    c.ok("SELECT INBOX")
    c.send("f FETCH 1 BODY.PEEK[]\r\ni IDLE\r\n")
    time.sleep(1)               # the socket is full, IDLE waits behind
    w.deliver()
    w.deliver()
    lines = []
    while not lines or not lines[-1].startswith("+"):
        lines.append(c.line())
    if not any(line.startswith("f OK") for line in lines):
        raise dm.Failure("FETCH was not answered")
    told = [line for line in lines if re.match(r"\* \d+ EXISTS", line)]
    while not told or told[-1] != "* 3 EXISTS":
        line = c.line()
        if re.match(r"\* \d+ EXISTS", line):
            told.append(line)
    c.idle_tag = "i"
    w.count = 3
    w.done()
    w.wait_asleep()


@scenario
def client_gone_while_it_is_woken_leaves_no_process(world):
    w = Watcher(world)
    for _ in range(3):
        w.deliver()
    w.noop(True)
    w.wait_asleep()
    idle_processes = len(world.pids("imap"))
    w.client.send("f FETCH 1:* BODY.PEEK[]\r\n")
    w.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    w.close()
    world.wait(lambda: not world.who(w.user), "the session to end", 20)
    wait_no_sockets(world)
    world.wait(lambda: len(world.pids("imap")) <= idle_processes, "its process to end", 20)


class Reader(threading.Thread):
    """All bytes that come, and when the last did."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.data = sock, b""
        sock.settimeout(None)
        self.start()

    def run(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                return
            if not data:
                return
            self.data += data


ALIVE = b"* OK Still here\r\n"


def keepalive_stream(world, disturb):
    w = Watcher(world)
    w.client.idle()
    start = time.monotonic()
    reader = Reader(w.client.sock)
    for n in range(1, 9):
        world.wait(lambda: len(reader.data) >= n * len(ALIVE), "keepalive %d" % n, 20)
        disturb(n)
    w.client.send("DONE\r\n")
    world.wait(lambda: reader.data.endswith(b"completed.\r\n"), "the answer to DONE", 20)
    elapsed_ms = (time.monotonic() - start) * 1000
    rest = reader.data
    n = 0
    while rest.startswith(ALIVE):
        rest = rest[len(ALIVE):]
        n += 1
    tag = w.client.idle_tag.encode()
    if rest != tag + b" OK Idle completed.\r\n":
        raise dm.Failure("after %d keepalives: %r" % (n, rest))
    # Never sooner than half an interval, but those that a sleeper had left.
    if n > elapsed_ms / 100 + 4:
        raise dm.Failure("%d keepalives in %d ms" % (n, elapsed_ms))
    w.client.sock.shutdown(socket.SHUT_RDWR)


@scenario(keepalive_interval="200ms")
def keepalives_are_renewed_and_none_is_doubled(world):
    keepalive_stream(world, lambda n: None)


@scenario(keepalive_interval="200ms")
def keepalives_survive_the_death_of_the_holder(world):
    keepalive_stream(world, lambda n: world.kill("imap-hibernate") if n in (2, 5) else None)


@scenario(keepalive_interval="200ms")
def keepalives_go_on_while_awake_and_asleep_in_turns(world):
    w = Watcher(world)
    w.client.idle()
    seen = 0
    while seen < 6:
        w.deliver()
        while not w.exists(line := w.client.line(20)):
            if line != "* OK Still here":
                continue
            seen += 1
        for _ in range(2):
            line = w.client.line(20)
            if w.exists(line):
                raise dm.Failure("told twice")
            seen += "Still here" in line
    w.client.send("DONE\r\n")
    while not (line := w.client.line()).startswith(w.client.idle_tag):
        if w.exists(line):
            raise dm.Failure("told twice")
    w.noop(False)


# ---- auth ----

@scenario
def auth_killed_while_sessions_sleep_costs_nothing(world):
    w = Watcher(world)
    w.client.idle()
    w.wait_asleep()
    world.kill("auth")
    w.deliver()
    w.idle_told()
    w.done()
    w.wait_asleep()
    other = Watcher(world)      # and logins work again
    other.noop(False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    run = Run(args.v, args.names)
    run.scenarios(SCENARIOS, world_for, 4)
    run.scenarios(ALONE, world_for, 1)
    return run.verdict()


if __name__ == "__main__":
    sys.exit(main())
