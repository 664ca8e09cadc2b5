# SPDX-License-Identifier: MIT
"""Faults between any two steps of falling asleep, waking and adopting.

    faults.py [-v] [-t WIRE] [NAME...]

Needs a build with -Dfaults=true. Rules are armed in a file that all processes
share (lib/fault.h), so each strikes one process once and the test sees that it
did. What must hold is judged from the client's side: it gets its answer (the
end of its connection only where its own serving imap died), nobody hangs, and
nothing is told twice or lost.
"""
import argparse
import mmap
import os
import queue
import signal
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
from watcher import Run, Watcher, in_parallel, no_crash, wait_no_sockets  # noqa: E402

RULES, RULE_BYTES = 16, 64
FAIL, KILL, STOP, FREEZE = 1, 2, 3, 4
ACTIONS = {"fail": FAIL, "kill": KILL, "stop": STOP, "freeze": FREEZE}
WORKERS = 4
# Programs that die often are started again late: a new server for the next.
DEATHS_MAX = 3


class World(dm.Server):
    """A server whose fault points are armed while it runs."""
    wire = "plain"

    def __init__(self, name="faults", **options):
        fd, self.rules_path = tempfile.mkstemp(prefix="dormouse-rules-")
        os.ftruncate(fd, RULES * RULE_BYTES)
        os.fchmod(fd, 0o666)
        self.rules = mmap.mmap(fd, RULES * RULE_BYTES)
        os.close(fd)
        options.setdefault("hibernate_after", "60ms")
        options.setdefault("tls", World.wire in ("tls", "both"))
        options.setdefault("deflate", World.wire in ("deflate", "both"))
        super().__init__(name, users=(), env={"FAULTS_FILE": self.rules_path}, **options)
        self.deaths = 0

    def arm(self, name, action, nth=1, slot=0):
        at = slot * RULE_BYTES
        self.rules[at:at + 4] = struct.pack("I", 0)
        self.rules[at + 4:at + RULE_BYTES] = struct.pack("IIIiI40s", nth, 0, 0, 0, 0,
                                                         name.encode())
        self.rules[at:at + 4] = struct.pack("I", ACTIONS[action])

    def disarm(self, slot=0):
        self.rules[slot * RULE_BYTES:slot * RULE_BYTES + 4] = struct.pack("I", 0)

    def struck(self, slot=0):
        return struct.unpack_from("I", self.rules, slot * RULE_BYTES + 12)[0]

    def victim(self, slot=0):
        return struct.unpack_from("i", self.rules, slot * RULE_BYTES + 16)[0]

    def wait_struck(self, what, slot=0):
        self.wait(lambda: self.struck(slot), "the fault point " + what, 20)

    def remove(self):
        super().remove()
        if not self.keep:
            os.unlink(self.rules_path)


# ---- every point: name, who dies, when it is reached ----

# The owner of the connection dies: the client may see its end.
OWNER_DIES = {"sleep-watched", "sleep-keepalives", "stream-prelude", "sleep-compared", "sleep-unlock", "sleep-send", "sleep-again",
              "wake-told", "wake-taken"}
FALLING = ["sleep-compared", "sleep-unlock", "sleep-send", "sleep-sent", "sleep-done",
           "table-commit", "table-committed", "hold-commit", "hold-lock", "hold-dup",
           "hold-kept", "keeper-dup", "keeper-duped"]
WAKING = ["hold-unlocked", "hold-wake", "wake-got", "wake-locked", "wake-user",
          "wake-restored", "wake-byte", "wake-told", "wake-taken", "hold-void",
          "hold-voided", "keeper-drop"]
# Reached only when a change wakes.
EVENTS = ["watch-event", "watch-drained"]
# Reached by what the holder's death starts.
ADOPTING = ["hold-adopt", "master-introduced", "program-spawn"]
# Keeper and holder dying together is not promised (handover.md): slow only.
ADOPTING_KEEPER = ["keeper-item", "keeper-dups", "keeper-end"]


def drive(world, w, idle, before_change, before_input):
    """Mail, told; then DONE or NOOP; both may be where the fault strikes."""
    if before_change:
        before_change()
    if idle:
        w.deliver()
        w.idle_told()
        w.deliver()
        w.idle_told()
        if before_input:
            before_input()
        w.done()
    else:
        w.deliver()
        w.noop(True)
        if before_input:
            before_input()
        w.noop(False)
        w.deliver()
        w.noop(True)
    w.noop(False)


def falling(world, w, point, action, idle):
    world.arm(point, action)
    if idle:
        w.client.idle()
    else:
        w.noop(False)
    world.wait_struck(point)
    drive(world, w, idle, None, None)


def waking(world, w, point, action, idle):
    if idle:
        w.client.idle()
    w.wait_asleep()
    world.arm(point, action)
    drive(world, w, idle, None, None)
    world.wait_struck(point)


def input_waking(world, w, point, action, idle):
    """The same points, reached by DONE instead of mail."""
    w.client.idle()
    w.wait_asleep()
    world.arm(point, action)
    w.done()
    w.noop(False)
    w.deliver()
    w.noop(True)
    world.wait_struck(point)


def adopting(world, w, point, action, idle):
    if idle:
        w.client.idle()
    w.wait_asleep()
    world.arm(point, action)
    world.kill("imap-hibernate")
    world.deaths += 1
    world.wait_struck(point)
    drive(world, w, idle, None, None)


# Between any two steps of an upgrade: the holder has what a keeper loses, a keeper
# what the holder loses.
UPGRADING = ["launcher-become", "keeper-dups", "keeper-end", "keeper-succeeds",
             "keeper-succeeded", "master-upgrade-launcher", "master-upgrade-told",
             "master-become", "hold-adopt"]


def upgrading(world, w, point, action, idle):
    """Asleep, or awake and in the way of it, with mail that comes in the middle."""
    if idle:
        w.client.idle()
    w.wait_asleep()
    world.arm(point, action)
    try:
        world.ctl("upgrade")
    except OSError:
        pass        # who was asked is dead
    world.wait_struck(point)
    drive(world, w, idle, None, None)
    world.wait(world.recovered, "the server to be whole")


def upgrading_awake(world, w, point, action, idle):
    # Armed first: on a busy machine it may be asleep before the upgrade is asked for.
    world.arm(point, action)
    if idle:
        w.client.idle()
    else:
        w.noop(False)
    try:
        world.ctl("upgrade")
    except OSError:
        pass
    world.wait_struck(point)
    drive(world, w, idle, None, None)
    world.wait(world.recovered, "the server to be whole")


def killed_mid_change(world, w, point, action, idle):
    """The holder has read an event and dies: the next one must know."""
    waking(world, w, point, action, idle)


def one_point(world, how, point, action, idle):
    w = Watcher(world)
    try:
        how(world, w, point, action, idle)
    except (EOFError, ConnectionError):
        if action != "kill" or point not in OWNER_DIES or not world.struck():
            raise
    finally:
        world.disarm()
        if action == "kill":
            world.deaths += 1
    w.close()
    # Whoever comes next is served: nothing is left behind that hangs.
    again = Watcher.__new__(Watcher)
    again.world, again.user, again.count = world, w.user, w.count
    again.client = dm.Client(world, w.user)
    again.client.ok("SELECT INBOX")
    again.noop(False)
    again.close()
    wait_no_sockets(world)
    no_crash(world)


def matrix():
    rows = []
    for action in ("kill", "stop"):
        for idle in (True, False):
            rows += [(falling, p, action, idle) for p in FALLING]
            rows += [(waking, p, action, idle) for p in WAKING]
            rows += [(adopting, p, action, idle) for p in ADOPTING]
            rows += [(upgrading, p, action, idle) for p in UPGRADING]
            rows += [(upgrading_awake, p, action, idle) for p in
                     ("keeper-succeeds", "master-upgrade-told", "sleep-send", "hold-kept")]
            if action == "stop":
                rows += [(adopting, p, action, idle) for p in ADOPTING_KEEPER]
        rows += [(input_waking, p, action, True) for p in WAKING]
        rows.append((falling, "sleep-keepalives", action, True))
        rows.append((waking, "stream-prelude", action, True))
        rows.append((input_waking, "stream-prelude", action, True))
        rows += [(killed_mid_change, p, action, True) for p in EVENTS]
        rows.append((falling, "sleep-watched", action, True))
    for idle in (True, False):
        rows += [(how, point, "fail", idle) for how, point in FAILS
                 if idle or point not in IDLE_ONLY]
    return rows


# ---- one call fails ----

def failing_falling(world, w, point, action, idle):
    """What fails once is tried again, and the session serves meanwhile."""
    falling(world, w, point, action, idle)
    w.wait_asleep()


def failing_waking(world, w, point, action, idle):
    waking(world, w, point, action, idle)
    w.wait_asleep()


def failing_adopting(world, w, point, action, idle):
    adopting(world, w, point, action, idle)
    w.wait_asleep()


IDLE_ONLY = {"keepalives-arm"}
FAILS = [(failing_falling, "sleep-memory"), (failing_falling, "keeper-full"),
         (failing_falling, "hold-epoll"),
         (failing_waking, "wake-user"), (failing_waking, "zygote-fork"),
         (failing_waking, "index-open"),
         (failing_waking, "keepalives-arm"),
         (failing_adopting, "program-spawn"), (failing_adopting, "master-pair")]


# ---- stories ----

SCENARIOS = []


def scenario(fn):
    SCENARIOS.append(fn)
    return fn


def frozen_until(world, point):
    world.arm(point, "freeze")
    return lambda: os.kill(world.victim(), signal.SIGCONT)


def gaps(w, messages):
    """A view too large for the state: every other message goes."""
    for _ in range(messages):
        w.world.deliver(w.user)
    w.client.ok("NOOP")
    w.client.ok("STORE %s +FLAGS.SILENT (\\Deleted)" % ",".join(
        str(n) for n in range(1, messages, 2)))
    w.client.ok("EXPUNGE")
    w.count = messages // 2


@scenario
def imap_that_slept_through_its_kept_acts_no_more(world):
    w = Watcher(world)
    gaps(w, 2600)
    thaw = frozen_until(world, "sleep-sent")
    w.wait_asleep()
    world.wait_struck("sleep-sent")
    world.disarm()
    for _ in range(2):          # others serve it, and it sleeps again
        w.deliver()
        w.noop(True)
        w.wait_asleep()
    before = len(world.pids("imap"))
    thaw()
    world.wait(lambda: len(world.pids("imap")) < before, "the stale imap to leave", 20)
    w.deliver()
    w.noop(True)
    w.wait_asleep()
    w.noop(False)


@scenario
def imap_frozen_before_it_unlocked_stays_the_owner(world):
    w = Watcher(world)
    w.client.idle()
    thaw = frozen_until(world, "sleep-unlock")
    world.wait_struck("sleep-unlock")
    world.disarm()
    w.deliver()
    time.sleep(1)
    thaw()
    w.idle_told()
    w.done()
    w.noop(False)


@scenario
def imap_frozen_before_it_sent_stays_the_owner(world):
    w = Watcher(world)
    w.client.idle()
    thaw = frozen_until(world, "sleep-send")
    world.wait_struck("sleep-send")
    world.disarm()
    w.deliver()
    w.client.send("DONE\r\n")
    time.sleep(1)
    thaw()
    w.idle_told()
    untagged, tagged = w.client.answer(w.client.idle_tag)
    if " OK " not in tagged or [u for u in untagged if w.exists(u)]:
        raise dm.Failure("%s %s" % (untagged, tagged))


@scenario
def spare_frozen_before_the_lock_is_replaced_and_leaves(world):
    w = Watcher(world)
    w.client.idle()
    w.wait_asleep()
    thaw = frozen_until(world, "wake-got")
    w.deliver()
    world.wait_struck("wake-got")
    world.disarm()
    w.idle_told()               # another one, some seconds later
    w.deliver()
    w.idle_told()
    thaw()
    w.done()
    w.noop(False)
    w.wait_asleep()
    w.deliver()
    w.noop(True)


@scenario
def spare_frozen_with_the_lock_keeps_the_client_waiting_only(world):
    for point in ("wake-locked", "wake-restored", "wake-byte"):
        w = Watcher(world)
        w.client.idle()
        w.wait_asleep()
        thaw = frozen_until(world, point)
        w.deliver()
        world.wait_struck(point)
        world.disarm()
        time.sleep(5)           # longer than the holder looks
        thaw()
        w.idle_told()
        w.done()
        w.noop(False)


@scenario
def mail_that_comes_while_the_holder_ends_in_order_is_told_by_the_next(world):
    w = Watcher(world)
    w.client.idle()
    w.wait_asleep()
    thaw = frozen_until(world, "hold-end")
    world.kill("master")
    world.wait_struck("hold-end")
    world.disarm()
    w.deliver()
    thaw()
    w.idle_told()
    w.done()
    w.noop(False)


@scenario
def imap_whose_holder_dies_when_it_sleeps_again_with_nothing_told(world):
    w = Watcher(world)
    w.client.idle()
    w.wait_asleep()
    world.arm("table-commit", "kill")
    try:
        world.ctl("wake", w.client.id())
    except OSError:
        pass                    # who would answer has died
    world.wait_struck("table-commit")
    world.disarm()
    w.deliver()
    w.idle_told()
    w.done()
    w.noop(False)
    w.wait_asleep()


@scenario
def wake_that_always_fails_ends_with_bye(world):
    w = Watcher(world)
    w.client.idle()
    w.wait_asleep()
    world.arm("wake-user", "fail", 0)
    w.deliver()
    world.wait(lambda: world.struck() >= 5, "the tries", 20)
    world.disarm()
    while "BYE" not in (line := w.client.line()):
        w.exists(line)


@scenario
def spare_that_cannot_become_the_user_reads_nothing_from_outside(world):
    """Of a new session not even the tag; a sleeper is for another spare."""
    w = Watcher(world)
    w.wait_asleep()
    world.arm("become", "fail")
    c = dm.Client(world)
    c.send("a LOGIN %s secret\r\n" % w.user)
    world.wait_struck("become")
    if os.geteuid() == 0:
        try:
            raise dm.Failure("it said " + c.line())
        except (EOFError, ConnectionResetError):
            pass
    c.close()
    world.disarm()
    world.arm("become", "fail", slot=1)
    w.noop(False)
    world.wait_struck("become", slot=1)
    world.disarm(1)
    dm.Client(world, w.user).ok("LOGOUT")


@scenario
def mail_that_could_not_be_written_down_is_told_later(world):
    points = ["index-commit", "uidlist-write", "uidlist-sync"]
    for point in points:
        idler, quiet = Watcher(world), Watcher(world)
        for w, idle in ((idler, True), (quiet, False)):
            if idle:
                w.client.idle()
            w.wait_asleep()
            world.arm(point, "fail")
            w.deliver()
            if idle:
                w.idle_told()
                w.done()
            else:           # with this command or with the next
                told = []
                for _ in range(2):
                    untagged, tagged = w.client.command("NOOP")
                    told += [u for u in untagged if w.exists(u)]
                if len(told) != 1:
                    raise dm.Failure("told %s" % told)
            world.wait_struck(point)
            world.disarm()
            w.noop(False)


@scenario
def awake_session_is_told_of_mail_that_could_not_be_written_down(world):
    w = Watcher(world)
    w.client.idle()
    for point in ("index-commit", "uidlist-write", "uidlist-sync"):
        world.arm(point, "fail")
        w.deliver()
        world.wait_struck(point)
        world.disarm()
        w.idle_told()
    w.done()


awake_session_is_told_of_mail_that_could_not_be_written_down.options = {"hibernate_after": "1h"}


@scenario
def forks_that_fail_for_a_while_delay_wakes_only(world):
    watchers = [Watcher(world) for _ in range(24)]     # more than the wake queue takes
    for w in watchers:
        w.client.idle()
    for w in watchers:
        w.wait_asleep()
    world.arm("zygote-fork", "fail", 0)
    for w in watchers:
        w.deliver()
    world.wait(lambda: world.struck() >= 3, "forks that fail", 20)
    world.disarm()
    for w in watchers:
        w.idle_told()
        w.done()


@scenario
def keepalive_written_by_half_is_finished_first(world):
    w = Watcher(world)
    w.client.idle()
    w.wait_asleep()
    world.arm("hold-keepalive-short", "fail")
    world.wait_struck("hold-keepalive-short")
    w.deliver()
    w.idle_told()
    w.done()


@scenario
def imap_dead_between_keepalives_and_answer_is_replaced(world):
    """What was prepared is out, and nothing beyond: the state is still good, and
    the answer that was sealed was never seen. Another imap seals it again."""
    w = Watcher(world)
    for _ in range(3):
        w.client.idle()
        w.wait_asleep()
        world.arm("stream-prelude", "kill")
        w.deliver()
        world.wait_struck("stream-prelude")
        world.disarm()
        w.idle_told()
        w.done()
        w.noop(False)


keepalive_written_by_half_is_finished_first.options = {"keepalive_interval": "300ms"}


@scenario
def keepalive_and_death_of_the_holder(world):
    w = Watcher(world)
    w.client.idle()
    seen = 0
    for point in ("hold-keepalive", "hold-keepalive-short", "hold-replaced"):
        world.arm(point, "kill")
        world.wait_struck(point)
        world.disarm()
        for _ in range(3):
            if w.exists(w.client.line(20)):
                raise dm.Failure("told of mail that is not there")
            seen += 1
    w.deliver()
    w.idle_told()
    w.done()


keepalive_and_death_of_the_holder.options = {"keepalive_interval": "300ms"}


# ---- running ----

def run_points(run, rows):
    def work(todo):
        world = None
        while True:
            try:
                how, point, action, idle = todo.get_nowait()
            except queue.Empty:
                break
            if world is None:
                world = World().start()
            if not run.one(row_name((how, point, action, idle)),
                           lambda: one_point(world, how, point, action, idle),
                           lambda: world.dir):
                world.keep = True
            if world.keep or world.deaths >= DEATHS_MAX:
                world.stop()
                world.remove()
                world = None
        if world is not None:
            world.stop()
            world.remove()

    in_parallel([r for r in rows if run.wanted(row_name(r))], work, WORKERS)


def row_name(row):
    return "%s %s:%s %s" % (row[0].__name__.replace("_", " "), row[1], row[2],
                            "idle" if row[3] else "quiet")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", action="store_true")
    parser.add_argument("-t", "--wire", choices=("plain", "tls", "deflate", "both"),
                        default="plain")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    World.wire = args.wire
    with open(os.path.join(dm.STAGE, "libexec", "dormouse", "imap"), "rb") as f:
        if b"sleep-compared" not in f.read():
            print("no fault points in this build (-Dfaults=true)\n0 passed, 1 failed")
            return 1
    run = Run(args.v, args.names)
    run_points(run, matrix())
    run.scenarios(SCENARIOS, lambda fn: World(**getattr(fn, "options", {})), WORKERS)
    return run.verdict()


if __name__ == "__main__":
    sys.exit(main())
