# SPDX-License-Identifier: MIT
"""Many sessions on shared mailboxes that everybody changes.

    mailbox_soak.py [-n EVENTS] [--sessions N] [--mailboxes N] [--seconds S] [--late S]

Each user has two mailboxes, and four sessions on each: plain, TLS, COMPRESS, both;
with nothing, CONDSTORE or QRESYNC enabled; most idle, some sit between commands; all
fall asleep at once. In rounds, a burst of events changes the user's mailboxes: other
programs do it in the Maildirs, the sessions by commands; some hang up and come back, with
QRESYNC if they can. Then it is quiet, and everybody's view (mailbox_model.py: made of
nothing but what it was told) is compared with the files, then with the view of a fresh
session. Lost: never told, or mail that is gone and that nobody removed. Late: told more
than --late seconds after the last event. Wrong: all else. Prints its seed and takes SEED=.
"""
import argparse
import asyncio
import collections
import os
import random
import re
import resource
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
import watcher  # noqa: E402
from mailbox_model import SYSTEM, Session, set_of  # noqa: E402

AFTER_MS = 120
WIRES = ("plain", "tls", "deflate", "both")
EXTENSIONS = ("none", "condstore", "qresync")
BOXES = ("INBOX", "Other")
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Draft", "Work", "$Label1", "Later")
LETTERS = {letter: flag for flag, letter in SYSTEM.items()}
KEYWORD_LETTERS = "ab"      # of keywords that the sessions set before all else


class Found(Exception):
    """Something that must not be."""


class Stats:
    def __init__(self):
        self.events = collections.Counter()
        self.times, self.wrong = [], []
        self.late = self.rounds = self.views = self.resyncs = 0

    def count(self):
        return sum(self.events.values())


def fresh_view(server, user, mailbox):
    """{uid: (flags, modseq)}, {uid: token}: what a new session sees."""
    client = dm.Client(server, user)
    client.ok("EXAMINE " + mailbox)
    view, tokens = {}, {}
    for line in client.ok("UID FETCH 1:* (FLAGS MODSEQ ENVELOPE)"):
        m = re.match(r"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) MODSEQ \((\d+)\) "
                     r'ENVELOPE \(\S+ "([^"]*)"', line)
        if m:
            uid = int(m.group(1))
            view[uid] = (frozenset(f for f in m.group(2).split() if f != "\\Recent"),
                         int(m.group(3)))
            tokens[uid] = m.group(4)
    client.ok("LOGOUT")
    client.close()
    return view, tokens


class Box:
    """One mailbox as its files are."""

    def __init__(self, group, name):
        self.group, self.name = group, name
        self.path = group.server.maildir(group.user, name)
        self.tokens = {}        # uid: token, as a fresh session last saw it
        self.known = {}         # file base: token
        self.sessions = []

    def files(self):
        """[(directory, name)]"""
        return sorted((d, name) for d in ("new", "cur")
                      for name in os.listdir(os.path.join(self.path, d)))

    def token(self, d, name):
        base = name.split(":")[0]
        if base not in self.known:
            with open(os.path.join(self.path, d, name)) as f:
                self.known[base] = re.search(r"^Subject: (\S+)", f.read(), re.M).group(1)
        return self.known[base]

    def truth(self):
        """[(token, system flags)] of all files; None: one went away meanwhile."""
        try:
            return sorted((self.token(d, name), "".join(
                c for c in name.partition(":2,")[2] if c.isupper())) for d, name in self.files())
        except FileNotFoundError:
            return None

    def rename(self, d, name, to_d, to_name, to=None):
        to = to or self
        os.rename(os.path.join(self.path, d, name), os.path.join(to.path, to_d, to_name))


def letters(flags):
    return "".join(sorted(SYSTEM[f] for f in flags if f in SYSTEM))


class Group:
    """A user with two mailboxes and the sessions on them."""

    def __init__(self, soak, number, seed):
        self.soak, self.server = soak, soak.server
        self.user = "m%d" % number
        self.random = random.Random(seed)
        self.stats = soak.stats
        self.serial = 0
        self.removable = set()      # tokens that may be gone
        self.tokens = set()         # all that were there or came since
        self.copies = collections.Counter()     # how many more files may have a token
        self.trace = []
        self.boxes = []
        for name in BOXES:
            self.server.make_maildir(self.user, name)
            self.boxes.append(Box(self, name))

    def note(self, text):
        self.trace = self.trace[-80:] + ["%.3f %s" % (time.monotonic() % 1000, text)]

    def happened(self, kind, what):
        self.stats.events[kind] += 1
        self.last = time.monotonic()
        self.note("%s: %s" % (kind, what))

    def message(self):
        self.serial += 1
        token = "%s-%d" % (self.user, self.serial)
        return token, "From: a@example.org\nSubject: %s\n\nbody of %s\n" % (token, token)

    # ---- what other programs do ----

    def deliver(self, box):
        token, text = self.message()
        self.server.deliver(self.user, text, box.name)
        self.tokens.add(token)
        self.happened("deliver", "%s to %s" % (token, box.name))

    def deliver_flagged(self, box):
        """Into cur/, as a program does that moves mail here."""
        token, text = self.message()
        name = "%d.M%dP%dV.soak" % (time.time(), self.serial, os.getpid())
        tmp = os.path.join(box.path, "tmp", name)
        with open(tmp, "w") as f:
            f.write(text)
        self.server.own(self.user, tmp)
        flags = "".join(c for c in "FRS" if self.random.random() < 0.4)
        os.rename(tmp, os.path.join(box.path, "cur", name + ":2," + flags))
        self.tokens.add(token)
        self.happened("deliver to cur", "%s to %s, %s" % (token, box.name, flags))

    def a_file(self, box, d=None):
        files = [f for f in box.files() if d in (None, f[0])]
        return self.random.choice(files) if files else (None, None)

    def to_cur(self, box):
        d, name = self.a_file(box, "new")
        if name:
            box.rename(d, name, "cur", name + ":2," + self.random.choice(("", "S")))
            self.happened("new to cur", "%s %s" % (box.name, name))

    def reflag(self, box):
        d, name = self.a_file(box)
        if not name:
            return
        base, _, old = name.partition(":2,")
        flags = set(old) ^ set(self.random.sample("DFRST", self.random.choice((1, 1, 2))))
        if box.name in self.soak.with_keywords(self) and self.random.random() < 0.3:
            flags ^= {self.random.choice(KEYWORD_LETTERS)}
        if "T" in flags:
            self.removable.add(box.token(d, name))
        to = base + ":2," + "".join(sorted(flags))
        box.rename(d, name, "cur", to)
        self.happened("flags by rename", "%s %s -> %s" % (box.name, name, to))

    def unlink(self, box):
        d, name = self.a_file(box)
        if name:
            self.removable.add(box.token(d, name))
            os.unlink(os.path.join(box.path, d, name))
            self.happened("unlink", "%s %s" % (box.name, name))

    def move_file(self, box):
        d, name = self.a_file(box)
        to = self.other(box)
        if name:
            token = box.token(d, name)
            self.copies[token] += 1     # a MOVE of it that is under way may have linked it
            box.rename(d, name, "cur", name if ":2," in name else name + ":2,", to)
            self.happened("mv", "%s of %s to %s" % (name, box.name, to.name))

    def other(self, box):
        return self.boxes[1 - self.boxes.index(box)]

    # ---- what sessions do ----

    def a_session(self, box):
        ready = [s for s in box.sessions if not s.away]
        return self.random.choice(ready) if ready else None

    def some(self, session):
        """Some UIDs of its view; in the order of its numbers."""
        uids = [m.uid for m in session.model.messages if m.uid]
        n = min(len(uids), self.random.choice((1, 1, 1, 2, 5)))
        if not n:
            return []
        if self.random.random() < 0.5:
            at = self.random.randrange(len(uids) - n + 1)
            return uids[at:at + n]
        return sorted(self.random.sample(uids, n))

    def name_them(self, session, uids):
        """("UID " or "", set)"""
        if self.random.random() < 0.5:
            return "UID ", set_of(uids)
        seqs = [i + 1 for i, m in enumerate(session.model.messages) if m.uid in set(uids)]
        return "", set_of(seqs)

    async def store(self, session, box, deleted=False):
        uids = self.some(session)
        if deleted:
            uids = [u for u in uids if u in box.tokens]
        if not uids:
            return
        how = "+" if deleted else self.random.choice(("+", "+", "-", "-", ""))
        flags = {"\\Deleted"} if deleted else set(
            self.random.sample(FLAGS, self.random.choice((1, 1, 2))))
        self.removable |= {box.tokens[u] for u in uids if deleted}
        silent = self.random.random() < 0.4
        prefix, text = self.name_them(session, uids)
        if silent:
            session.model.stored(set(uids), how, flags)
        line = await session.command("%sSTORE %s %sFLAGS%s (%s)" % (
            prefix, text, how, ".SILENT" if silent else "", " ".join(sorted(flags))))
        self.must(line, session, ("OK", "NO"))
        if silent and " OK " not in line:
            # Some of them are gone: what was stored is not known.
            await session.ok("UID FETCH %s (FLAGS)" % set_of(uids), "[EXPUNGEISSUED]")
        self.happened("STORE", "%s %s%s %s by %s" % (text, how, sorted(flags), line, session))

    async def expunge(self, session, box):
        if self.random.random() < 0.5:
            await self.store(session, box, True)
        uid = self.random.random() < 0.4
        uids = [m.uid for m in session.model.messages if m.uid]
        # Messages that this client never saw with \Deleted may go too: all are removable.
        line = await session.command("UID EXPUNGE " + set_of(uids) if uid and uids
                                     else "EXPUNGE")
        self.must(line, session, ("OK",))
        self.happened("EXPUNGE", "%s by %s" % (line, session))

    async def copy(self, session, box, verb="COPY"):
        uids = self.some(session)
        if not uids:
            return
        for uid in uids:
            token = box.tokens.get(uid)
            if token:
                self.copies[token] += 1
            else:
                self.copies["?"] += 1
        prefix, text = self.name_them(session, uids)
        line = await session.command("%s%s %s %s" % (prefix, verb, text, self.other(box).name))
        self.must(line, session, ("OK", "NO"))
        self.happened(verb, "%s of %s: %s by %s" % (text, box.name, line, session))

    async def move(self, session, box):
        await self.copy(session, box, "MOVE")

    async def append(self, session, box):
        token, text = self.message()
        flags = self.random.sample(FLAGS, self.random.choice((0, 1, 2)))
        line = await session.append(" ".join(flags), text.replace("\n", "\r\n"))
        self.must(line, session, ("OK",))
        self.tokens.add(token)
        self.happened("APPEND", "%s to %s by %s" % (token, box.name, session))

    async def reselect(self, session, box):
        if self.random.random() < 0.5:
            await session.ok("UNSELECT")
        await session.select()
        self.stats.resyncs += 1

    def must(self, line, session, good):
        if line.split(" ")[1] not in good:
            raise Found("%s: %s\n    %s" % (session, line, "\n    ".join(session.trace[-12:])))

    async def by_session(self, box, work):
        session = self.a_session(box)
        if session is None:
            return
        try:
            await session.do(lambda: work(session, box))
        except ConnectionResetError:
            pass        # it hung up meanwhile, in the middle of that
        if session.error:
            raise session.error

    async def absence(self, box):
        """A client hangs up, and comes back after more has happened."""
        session = self.a_session(box)
        if session is None:
            return
        self.note("%s goes" % session)
        session.away = True
        if self.random.random() < 0.5:
            async with session.lock:
                session.hang_up()
        else:
            session.hang_up()       # in the middle of whatever it does
        await asyncio.sleep(self.random.choice((0, 0.05, 0.3, 0.8)))
        if session.extension != "qresync":
            session.forget()
        async with session.lock:
            await session.connect()
            await session.select()
            await session.rest()
        session.away, session.back = False, time.monotonic()
        self.note("%s is back" % session)
        self.stats.resyncs += session.extension == "qresync"

    async def event(self):
        box = self.random.choice(self.boxes)
        n = len(box.files())
        if n < 8 or n < 40 and self.random.random() < 0.2:
            direct = self.random.choice((self.deliver, self.deliver, self.deliver_flagged))
        elif n > 60:
            direct = self.unlink
        else:
            direct = self.random.choice((self.deliver, self.to_cur, self.to_cur, self.reflag,
                                         self.reflag, self.reflag, self.unlink, self.move_file))
        if self.random.random() < 0.6:
            try:
                direct(box)
            except FileNotFoundError:
                pass        # a session was faster
            return
        work = self.random.choice((self.store, self.store, self.store, self.expunge, self.move,
                                   self.copy if n < 40 else self.expunge, self.append,
                                   self.reselect))
        await self.by_session(box, work)

    # ---- a round ----

    async def begin(self, sessions, kinds):
        for box in self.boxes:
            for _ in range(6):
                self.deliver(box)
            for i in range(sessions // 2):
                wire, extension = next(kinds)
                s = Session(self.server, self.user, box.name, wire, extension,
                            self.random.random() < 0.75)
                await s.begin()
                box.sessions.append(s)
            # The letters of two keywords are known from here on.
            await box.sessions[0].do(lambda s=box.sessions[0]: s.ok("STORE 1 +FLAGS (Work Later)"))
        await self.quiet()

    async def round(self):
        self.last = time.monotonic()
        tasks = []
        try:
            for _ in range(self.random.choice((1, 2, 4, 8, 12))):
                if self.stats.count() >= self.soak.wanted:
                    break
                if self.random.random() < 0.06:
                    tasks.append(asyncio.create_task(
                        self.absence(self.random.choice(self.boxes))))
                tasks.append(asyncio.create_task(self.event()))
                pause = self.random.choice((0, 0, 0.002, 0.03, AFTER_MS / 1e3,
                                            self.random.uniform(0, 3 * AFTER_MS / 1e3)))
                await asyncio.sleep(pause)
        finally:
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException):
                raise result
        await self.quiet()
        self.stats.rounds += 1

    async def until(self, condition, limit):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                return False
            for box in self.boxes:
                for s in box.sessions:
                    if s.error:
                        raise s.error
            await asyncio.sleep(0.01)
        return True

    def idlers(self, box):
        return [s for s in box.sessions if s.idles]

    async def quiet(self):
        last = self.last
        for box in self.boxes:
            # What is here was told to those who listen, before anybody else looks.
            truth = box.truth()
            want = sorted(flags for _, flags in truth)
            for s in self.idlers(box):
                def same(s=s):
                    return s.idling and sorted(letters(m.flags or ()) for m
                                               in s.model.messages) == want
                if not await self.until(same, dm.PATIENCE):
                    raise Found("lost: %s was never told of all; it knows %s, the files are %s\n"
                                "    %s" % (s, s.model.messages, truth,
                                            "\n    ".join(s.trace[-30:])))
        for box in self.boxes:
            for s in box.sessions:
                if not s.idles:
                    await s.do(lambda s=s: s.ok("NOOP"))
            loop = asyncio.get_running_loop()
            view, box.tokens = await loop.run_in_executor(None, fresh_view, self.server,
                                                          self.user, box.name)
            for s in box.sessions:
                await self.compare(s, view, last)
            self.disk_agrees(box, view)
        self.nothing_lost()

    async def compare(self, s, view, last):
        def same():
            return self.same(s, view)
        patience = dm.PATIENCE if s.idles else 0
        if not await self.until(same, patience):
            mine = s.model.view()
            raise Found("wrong: %s\n    differs: %s\n    %s" % (s, {
                uid: (mine.get(uid), view.get(uid)) for uid in set(mine) | set(view)
                if mine.get(uid) != view.get(uid)}, "\n    ".join(s.trace[-40:])))
        self.stats.views += 1
        if s.idles:
            took = max(0, s.model.changed - max(last, s.back))
            self.stats.times.append(took)
            if took > self.soak.late:
                self.stats.late += 1
                self.note("late: %s, %.2f s" % (s, took))

    @staticmethod
    def same(s, view):
        mine = s.model.view()
        if len(s.model.messages) != len(view) or list(mine) != sorted(view):
            return False
        for uid, (flags, modseq) in view.items():
            if mine[uid][0] != flags or s.model.condstore and mine[uid][1] != modseq:
                return False
        return True

    def disk_agrees(self, box, view):
        files = box.truth()
        seen = sorted((box.tokens[uid], letters(flags)) for uid, (flags, _) in view.items())
        if files != seen:
            raise Found("wrong: a fresh session of %s/%s sees %s, the files are %s" % (
                self.user, box.name, [x for x in seen if x not in files],
                [x for x in files if x not in seen]))

    def nothing_lost(self):
        there = collections.Counter(t for box in self.boxes for t, _ in box.truth())
        lost = self.tokens - set(there) - self.removable
        if lost:
            raise Found("lost: mail of %s that nobody removed: %s" % (self.user, lost))
        if not self.copies["?"]:
            many = [t for t, n in there.items() if n > 1 + self.copies[t]]
            if many:
                raise Found("wrong: more of %s than anybody copied" % many)
        self.tokens &= set(there)
        self.removable &= set(there)
        self.copies = collections.Counter({t: n - 1 for t, n in there.items() if n > 1})


class Soak:
    def __init__(self, server, args, seed):
        self.server, self.args, self.stats = server, args, Stats()
        self.seed, self.wanted, self.late = seed, args.n, args.late

    @staticmethod
    def with_keywords(group):
        return BOXES if group.boxes[1].sessions else ()

    async def one(self, group, sessions, kinds):
        try:
            await group.begin(sessions, kinds)
            self.ready += 1
            while self.ready < self.groups and not self.stats.wrong:
                await asyncio.sleep(0.05)
            self.began = self.began or time.monotonic()
            self.stats.events.clear()
            while self.stats.count() < self.wanted and not self.stats.wrong:
                await group.round()
                await asyncio.sleep(max(0, self.due() - time.monotonic()))
        except (Found, dm.Failure, asyncio.TimeoutError, OSError, EOFError) as e:
            self.stats.wrong.append("%s %s: %s\n  its events:\n    %s" % (
                group.user, type(e).__name__, e, "\n    ".join(group.trace[-40:])))

    def due(self):
        """When as many events as there were should have happened."""
        return self.began + self.args.seconds * self.stats.count() / self.wanted

    async def run(self):
        self.groups = max(1, self.args.mailboxes // 2)
        self.ready = 0
        kinds = self.kinds()
        self.began = None
        await asyncio.gather(*(self.one(Group(self, i, self.seed + i),
                                        self.args.sessions // self.groups, kinds)
                               for i in range(self.groups)))

    def kinds(self):
        i = 0
        while True:
            yield WIRES[i % 4], EXTENSIONS[i // 4 % 3]
            i += 1


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=1500)
    p.add_argument("--sessions", type=int, default=40)
    p.add_argument("--mailboxes", type=int, default=10)
    p.add_argument("--seconds", type=float, default=0, help="spread the events over so long")
    p.add_argument("--late", type=float, default=30)
    a = p.parse_args()
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("SEED=%d" % seed, flush=True)
    random.seed(seed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    users = ["m%d" % i for i in range(max(1, a.mailboxes // 2))]
    began = time.monotonic()
    with dm.Server("mailboxes", users=users, tls=True, hibernate_after="%dms" % AFTER_MS,
                   max_user_sessions=1000) as server:
        soak = Soak(server, a, seed)
        asyncio.run(soak.run())
        watcher.no_crash(server)
        stats = soak.stats
        with open(server.log_path, errors="replace") as f:
            sleeps = sum("imap-hibernate: kept " in line for line in f)
        times = sorted(stats.times) or [0]
        print("%d events in %.0f s: %s" % (stats.count(), time.monotonic() - began, ", ".join(
            "%d %s" % (n, kind) for kind, n in sorted(stats.events.items()))))
        print("%d sleeps, %d rounds, %d views compared, %d resyncs; told after p50 %.0f ms, "
              "p99 %.0f ms, longest %.0f ms" % (
                  sleeps, stats.rounds, stats.views, stats.resyncs, times[len(times) // 2] * 1e3,
                  times[len(times) * 99 // 100] * 1e3, times[-1] * 1e3))
        for text in stats.wrong[:3]:
            print(text)
        bad = len(stats.wrong) + stats.late + (sleeps < a.n // 20) + (stats.count() < a.n)
        print("lost or wrong %d, late %d" % (len(stats.wrong), stats.late))
        print("%d passed, %d failed" % (stats.views, bad))
        if bad:
            raise dm.Failure("not everybody was told all, or nobody slept")


if __name__ == "__main__":
    try:
        main()
    except dm.Failure as e:
        print(e)
        sys.exit(1)
