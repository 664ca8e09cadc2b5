# SPDX-License-Identifier: MIT
"""What a client knows of its mailbox, from nothing but what it is told.

Model: the messages in order, each with what was told of it; refuses whatever a
server may not say. Session: a client in an asyncio loop that keeps one. It is told
of new messages by EXISTS alone and asks for the rest itself, as clients do.
"""
import asyncio
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

SYSTEM = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}


def numbers(text):
    """Of a sequence set without `*`."""
    for part in text.split(","):
        a, _, b = part.partition(":")
        a, b = int(a), int(b or a)
        yield from range(min(a, b), max(a, b) + 1)


class Message:
    __slots__ = ("uid", "flags", "modseq")

    def __init__(self, uid=None, flags=None, modseq=None):
        self.uid, self.flags, self.modseq = uid, flags, modseq

    def __repr__(self):
        return "%s(%s)%s" % (self.uid, " ".join(sorted(self.flags or ("?",))), self.modseq or "")


class Model:
    """Of one selected mailbox."""

    def __init__(self, condstore, qresync):
        self.condstore, self.qresync = condstore, qresync
        self.messages = []
        self.validity = None
        self.modseq = self.seen = 0     # what a QRESYNC client would come back with; not yet
        self.resync = None          # while a SELECT (QRESYNC ...) is answered: {uid: Message}
        self.changed = time.monotonic()

    def wrong(self, what, line):
        raise dm.Failure("%s: %s; the client's view: %s" % (what, line, self.messages))

    def begin(self, resync, all_uids):
        """SELECT was sent. all_uids: news are asked for too (RFC 7162 3.2.5.2)."""
        self.resync_all = all_uids
        self.resync = {m.uid: m for m in self.messages if m.uid} if resync else {}
        self.resync_exists = None
        self.resync_validity = self.validity

    def selected(self, line):
        """... and is answered. What was told of the mailbox as it was applies to UIDs."""
        if self.validity != self.resync_validity and self.resync_validity is not None:
            self.wrong("UIDVALIDITY was %s" % self.resync_validity, line)
        old, self.resync = self.resync, None
        if old:
            self.messages = [old[uid] for uid in sorted(old)]
            if not self.resync_all:     # what is new comes after all that was known
                self.messages += [Message() for _ in range(self.resync_exists -
                                                           len(self.messages))]
            if len(self.messages) != self.resync_exists:
                self.wrong("QRESYNC leaves %d messages, but EXISTS was %s" % (
                    len(self.messages), self.resync_exists), line)
        else:
            self.messages = [Message() for _ in range(self.resync_exists)]
        self.changed = time.monotonic()

    def unknown(self):
        """The first sequence number of which the UID or the flags are not known; 0 none."""
        return next((i + 1 for i, m in enumerate(self.messages)
                     if m.uid is None or m.flags is None), 0)

    def view(self):
        return {m.uid: (m.flags, m.modseq) for m in self.messages}

    def told(self, line, expunge_may):
        """An untagged response. True if it was about messages."""
        m = re.match(r"\* (\d+) (EXISTS|RECENT|EXPUNGE|FETCH)\b ?(.*)$", line, re.S)
        if m:
            n, what, rest = int(m.group(1)), m.group(2), m.group(3)
            if what == "EXISTS":
                self.exists(n, line)
            elif what == "EXPUNGE":
                self.expunge(n, line, expunge_may)
            elif what == "FETCH":
                self.fetch(n, rest, line)
            if what != "RECENT":
                self.changed = time.monotonic()
            return what != "RECENT"
        m = re.match(r"\* VANISHED (\(EARLIER\) )?([\d:,]+)$", line)
        if m:
            self.vanished(m.group(2), bool(m.group(1)), line, expunge_may)
            self.changed = time.monotonic()
            return True
        self.code(line)
        return False

    def code(self, line):
        m = re.search(r"\[(HIGHESTMODSEQ|UIDVALIDITY) (\d+)\]", line)
        if m and m.group(1) == "UIDVALIDITY" and line.startswith("* "):
            self.validity = int(m.group(2))
        elif m and m.group(1) == "HIGHESTMODSEQ":
            self.modseq, self.seen = int(m.group(2)), 0

    def settle(self):
        """A command ended, or all that came in IDLE was read: nothing is missing
        below the highest MODSEQ seen (RFC 7162 6)."""
        self.modseq = max(self.modseq, self.seen)

    def exists(self, n, line):
        if self.resync is not None:
            self.resync_exists = n
            return
        if n < len(self.messages):
            self.wrong("fewer than before", line)
        self.messages += [Message() for _ in range(n - len(self.messages))]

    def expunge(self, n, line, may):
        if self.qresync or not may or self.resync is not None:
            self.wrong("EXPUNGE may not come here", line)
        if not 1 <= n <= len(self.messages):
            self.wrong("no such message", line)
        del self.messages[n - 1]

    def vanished(self, text, earlier, line, may):
        if self.resync is not None and earlier:
            for uid in numbers(text):
                self.resync.pop(uid, None)
            return
        if not self.qresync or not may or self.resync is not None:
            self.wrong("VANISHED may not come here", line)
        gone = set(numbers(text))
        known = {m.uid for m in self.messages if m.uid}
        news = sum(1 for m in self.messages if m.uid is None)
        if not earlier and len(gone - known) > news:
            self.wrong("VANISHED of messages that the client never saw", line)
        # A UID that the client had not asked for yet: with news in between it can only ask.
        unseen = gone - known
        self.messages = [m for m in self.messages if m.uid not in gone]
        for _ in range(len(unseen)):
            at = next(i for i, m in enumerate(self.messages) if m.uid is None)
            del self.messages[at]

    def fetch(self, n, rest, line):
        uid = re.search(r"\bUID (\d+)", rest)
        flags = re.search(r"\bFLAGS \(([^)]*)\)", rest)
        modseq = re.search(r"\bMODSEQ \((\d+)\)", rest)
        uid = int(uid.group(1)) if uid else None
        if self.resync is not None:
            if uid is None:
                self.wrong("FETCH in a resync without UID", line)
            message = self.resync.setdefault(uid, Message(uid))
        else:
            if not 1 <= n <= len(self.messages):
                self.wrong("no such message", line)
            message = self.messages[n - 1]
            if uid is not None and message.uid not in (None, uid):
                self.wrong("number %d is UID %d" % (n, message.uid), line)
            if uid is not None:
                message.uid = uid
                around = [m.uid for m in self.messages[max(0, n - 2):n + 1] if m.uid]
                if around != sorted(set(around)):
                    self.wrong("UIDs do not ascend", line)
        if flags:
            message.flags = frozenset(f for f in flags.group(1).split() if f != "\\Recent")
        if modseq:
            modseq = int(modseq.group(1))
            if message.modseq and modseq < message.modseq:
                self.wrong("MODSEQ was %d" % message.modseq, line)
            message.modseq = modseq
            self.seen = max(self.seen, modseq)
        elif flags and self.condstore and not uid:
            self.wrong("FLAGS without MODSEQ", line)

    def stored(self, uids, how, flags):
        """A STORE of ours that nobody will tell us about, as if it succeeded."""
        for m in self.messages:
            if m.uid in uids and m.flags is not None:
                m.flags = {"+": m.flags | flags, "-": m.flags - flags, "": flags}[how]


def set_of(values):
    values = sorted(values)
    parts, i = [], 0
    while i < len(values):
        j = i
        while j + 1 < len(values) and values[j + 1] == values[j] + 1:
            j += 1
        parts.append(str(values[i]) if i == j else "%d:%d" % (values[i], values[j]))
        i = j + 1
    return ",".join(parts)


class Session:
    """One client. Commands one at a time; in between it idles, or just sits there."""
    KEEPS = ("FETCH", "STORE", "SEARCH")    # no EXPUNGE while these are answered (RFC 3501 7.4.1)

    def __init__(self, server, user, mailbox, wire, extension, idles):
        self.server, self.user, self.mailbox, self.wire = server, user, mailbox, wire
        self.extension, self.idles = extension, idles
        self.loop = asyncio.get_running_loop()
        self.lock = asyncio.Lock()
        self.client = self.error = self.waiting = None
        self.idling = self.away = False
        self.back = 0                   # when it last returned from an absence
        self.asking = None              # the task that asks for news
        self.trace = []
        self.forget()

    def forget(self):
        self.model = Model(self.extension != "none", self.extension == "qresync")

    def __str__(self):
        return "%s/%s :%s %s %s %s" % (self.user, self.mailbox,
                                       self.client.local_port if self.client else "-", self.wire,
                                       self.extension, "IDLE" if self.idles else "polls")

    # ---- the wire ----

    def log_in(self):
        client = dm.Client(self.server, self.user, tls=self.wire in ("tls", "both"),
                           deflate=self.wire in ("deflate", "both"))
        client.wire.pieces = 0
        if self.extension != "none":
            client.ok("ENABLE " + ("QRESYNC" if self.extension == "qresync" else "CONDSTORE"))
        client.sock.setblocking(False)
        return client

    async def connect(self):
        self.client = await self.loop.run_in_executor(None, self.log_in)
        self.note("-- connected")
        self.command_now = ""
        self.loop.add_reader(self.client.sock, self.readable)

    def hang_up(self):
        """Without a word. What it knows, it keeps."""
        if self.client is not None:
            self.loop.remove_reader(self.client.sock)
            self.client.close()
            self.client = None
            self.idling = False
            self.note("-- hung up")
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(ConnectionResetError())
        if self.asking is not None:
            self.asking.cancel()
            self.asking = None

    def note(self, line):
        self.trace = self.trace[-60:] + ["%.3f %s" % (time.monotonic() % 1000, line)]

    def readable(self):
        client, wire = self.client, self.client.wire
        try:
            more = True
            while more:
                client._more()
                while b"\r\n" in client.buffer:
                    line, client.buffer = client.buffer.split(b"\r\n", 1)
                    self.line(line.decode("utf-8", "surrogateescape"))
                more = wire.tls is not None and (wire.tls.pending() or wire.come.pending)
        except BlockingIOError:
            if self.idling:
                self.model.settle()
        except Exception as e:
            self.fail(e)

    def fail(self, error):
        if self.error is None:
            self.error = dm.Failure("%s: %s: %s\n    %s" % (self, type(error).__name__, error,
                                                         "\n    ".join(self.trace[-30:])))
        self.loop.remove_reader(self.client.sock)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(self.error)

    def line(self, line):
        self.note("S: " + line)
        if line.startswith("* BYE"):
            raise dm.Failure(line)
        if line.startswith("* "):
            verb = self.command_now.split(" ")[0]
            if not self.model.told(line, verb not in self.KEEPS):
                return
            if self.idling and self.asking is None and self.model.unknown():
                self.asking = self.loop.create_task(self.ask_in_idle())
            return
        # +, or the tagged answer
        self.model.code(line)
        self.model.settle()
        if self.waiting is None or self.waiting.done():
            raise dm.Failure("nobody waits for: " + line)
        self.waiting.set_result(line)

    def send(self, text):
        self.note("C: " + text[:300])
        self.client.send(text + "\r\n")
        self.waiting = self.loop.create_future()
        return self.waiting

    async def answer(self, text, command_now):
        self.command_now = command_now
        self.client.tag += 1
        line = await asyncio.wait_for(self.send("t%d %s" % (self.client.tag, text)), dm.PATIENCE)
        self.command_now = ""
        return line

    # ---- under the lock ----

    async def command(self, text):
        """The tagged answer."""
        line = await self.answer(text, text)
        if not line.startswith("t%d " % self.client.tag):
            raise dm.Failure("%s: %s: %s" % (self, text, line))
        return line

    async def ok(self, text, or_code=None):
        line = await self.command(text)
        if line.split(" ")[1] != "OK" and not (or_code and or_code in line):
            raise dm.Failure("%s: %s: %s\n    %s" % (self, text, line,
                                                   "\n    ".join(self.trace[-30:])))
        return line

    async def append(self, flags, text):
        data = text.encode()
        self.command_now = "APPEND"
        self.client.tag += 1
        line = await asyncio.wait_for(self.send("t%d APPEND %s (%s) {%d}" % (
            self.client.tag, self.mailbox, flags, len(data))), dm.PATIENCE)
        if not line.startswith("+"):
            raise dm.Failure("APPEND: " + line)
        line = await asyncio.wait_for(self.send(text), dm.PATIENCE)
        self.command_now = ""
        return line

    async def select(self):
        known = [m.uid for m in self.model.messages if m.uid and m.flags is not None]
        resync = self.extension == "qresync" and self.model.validity and self.model.modseq and known
        # Of what it was told by EXISTS and has not asked for, QRESYNC would say nothing.
        how, all_uids = "", random.random() < 0.5 and len(known) == len(self.model.messages)
        if resync:
            self.model.messages = [m for m in self.model.messages
                                   if m.uid and m.flags is not None]
            how = " (QRESYNC (%d %d%s))" % (self.model.validity, self.model.modseq,
                                            "" if all_uids else " " + set_of(known))
        elif self.extension == "condstore":
            how = " (CONDSTORE)"
        self.model.begin(bool(resync), all_uids)
        line = await self.ok("SELECT " + self.mailbox + how)
        try:
            self.model.selected(line)
        except dm.Failure as e:
            self.fail(e)
            raise self.error
        await self.ask()

    async def ask(self):
        """For what is not known of new messages."""
        before = 0
        while True:
            first = self.model.unknown()
            if not first:
                return
            if first == before:         # gone meanwhile, which FETCH may not say
                await self.ok("NOOP")
                before = 0
                continue
            await self.ok("FETCH %d:* (UID FLAGS%s)" % (
                first, " MODSEQ" if self.model.condstore else ""), "[EXPUNGEISSUED]")
            before = first

    async def idle(self):
        line = await self.answer("IDLE", "IDLE")
        if not line.startswith("+"):
            raise dm.Failure("%s: IDLE: %s" % (self, line))
        self.idling = True

    async def end_idle(self):
        if self.idling:
            self.idling = False
            line = await asyncio.wait_for(self.send("DONE"), dm.PATIENCE)
            if " OK " not in line:
                raise dm.Failure("%s: DONE: %s" % (self, line))

    async def rest(self):
        """Back to what it does when it does nothing."""
        while True:
            await self.ask()
            if not self.idles:
                return
            await self.idle()
            if not self.model.unknown():
                return
            await self.end_idle()

    # ---- whole steps ----

    async def ask_in_idle(self):
        try:
            async with self.lock:
                if self.idling:
                    await self.end_idle()
                    await self.rest()
        except (asyncio.CancelledError, ConnectionResetError):
            pass
        except Exception as e:
            if self.client is not None:
                self.fail(e)
        finally:
            self.asking = None

    async def begin(self):
        async with self.lock:
            await self.connect()
            await self.select()
            await self.rest()

    async def do(self, work):
        """work() between two commands; None if the client is not there."""
        async with self.lock:
            if self.client is None:
                return None
            try:
                await self.end_idle()
                result = await work()
                if self.client is not None:
                    await self.rest()
                return result
            except (AttributeError, ConnectionError):
                if self.client is not None:
                    raise
                return None     # it hung up in the middle of this
