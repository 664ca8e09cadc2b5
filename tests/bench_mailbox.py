# SPDX-License-Identifier: MIT
"""One large mailbox, side by side with Dovecot: a part of bench.py.

Both servers run at the same time, each on a Maildir of its own with links to the
same files, and take turns at each step. Both have seen all of the mailbox before
(warm): what can be cached is. One session; what is timed is from the first byte
of the command to the last of the tagged answer.
"""
import os
import random
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

BATCH = 1000        # messages that are appended, stored and expunged
PEOPLE = ["%s %s <%s.%s@example.%s>" % (a, b, a.lower(), b.lower(), c)
          for a in ("Anna", "Bert", "Clara", "Dora", "Emil", "Frida", "Gustav", "Hanna")
          for b in ("Ahrens", "Becker", "Conrad", "Dietz", "Engel", "Fuchs", "Graf", "Huber")
          for c in ("org", "net", "com")]
WORDS = ("report meeting invoice draft budget question update weekly holiday plan server backup "
         "contract review travel offer reminder schedule minutes photo".split())


def message(number, rng):
    """2 to 10 KB, as a mailing system hands them over; every fourth has two parts."""
    sender, to = rng.choice(PEOPLE), rng.choice(PEOPLE)
    subject = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(2, 7)))
    head = ["Return-Path: <%s>" % sender.split("<")[1].rstrip(">")]
    for hop in range(rng.randrange(2, 4)):
        head += ["Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])" % (
            hop, hop, rng.randrange(1, 250)),
            "\tby mail.example.org (Postfix) with ESMTPS id %08X" % rng.randrange(1 << 32),
            "\tfor <you@example.org>; Mon, %d Nov 2025 10:00:00 +0100 (CET)" % (
                number % 28 + 1)]
    head += ["DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=k1;", "\tb=" + "x" * 72,
             "From: " + sender, "To: " + to,
             "Cc: " + ", ".join(rng.sample(PEOPLE, rng.randrange(1, 4))),
             "Subject: %s%s %d" % ("Re: " if rng.random() < 0.4 else "", subject, number),
             "Message-ID: <%d.%08x@example.net>" % (number, rng.randrange(1 << 32)),
             "In-Reply-To: <%d.%08x@example.net>" % (number - 1, rng.randrange(1 << 32)),
             "Date: Mon, %d Nov 2025 %02d:00:00 +0100" % (number % 28 + 1, number % 24),
             "MIME-Version: 1.0"]
    lines = [" ".join(rng.choice(WORDS) for _ in range(9))
             for _ in range(rng.randrange(2000, 10000) // 62 - 14)]
    if number % 4:
        head.append("Content-Type: text/plain; charset=utf-8")
        body = lines
    else:
        head.append('Content-Type: multipart/alternative; boundary="=_%d"' % number)
        half = len(lines) // 2
        body = ["--=_%d" % number, "Content-Type: text/plain; charset=utf-8", ""] + \
            lines[:half] + ["--=_%d" % number, "Content-Type: text/html; charset=utf-8", ""] + \
            lines[half:] + ["--=_%d--" % number]
    return "\n".join(head + [""] + body) + "\n"


def make_mail(path, count):
    """Once: the files in cur/, of which the servers get links."""
    rng = random.Random(7)
    os.makedirs(path)
    for i in range(count):
        flags = "".join(f for f, part in (("F", 0.02), ("R", 0.2), ("S", 0.9))
                        if rng.random() < part)
        with open(os.path.join(path, "%d.M%dP1.bench:2,%s" % (1700000000 + i, i, flags)),
                  "w") as f:
            f.write(message(i, rng))


def link_mail(path, maildir, uid):
    for name in os.listdir(path):
        to = os.path.join(maildir, "cur", name)
        os.link(os.path.join(path, name), to)
        os.chown(to, uid, uid)


class Wire:
    """As little client as can be: it reads until the tagged answer."""

    def __init__(self, port, user):
        self.sock = socket.create_connection(("127.0.0.1", port), 600)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tag = 0
        self.sock.recv(4096)
        self.ok("LOGIN %s secret" % user)

    def send(self, text):
        self.tag += 1
        self.sock.sendall(b"a%d " % self.tag + text.encode() + b"\r\n")

    def answer(self):
        """The end of what came, and how much that was."""
        tail, size, want = b"", 0, b"a%d " % self.tag
        while True:
            data = self.sock.recv(1 << 20)
            if not data:
                raise dm.Failure("the connection ended")
            size += len(data)
            tail = (tail + data)[-1000:] if len(data) < 1000 else data[-1000:]
            last = tail.rstrip(b"\r\n").rsplit(b"\n", 1)[-1]
            if tail.endswith(b"\n") and last.startswith(want):
                if not last.startswith(want + b"OK"):
                    raise dm.Failure(last.decode())
                return tail.decode("utf-8", "replace"), size

    def ok(self, text):
        self.send(text)
        return self.answer()

    def append(self, text, mailbox="INBOX"):
        self.send("APPEND %s {%d+}\r\n%s" % (mailbox, len(text), text))
        return self.answer()

    def close(self):
        self.sock.close()


class Side:
    """One of the two servers with its mailbox and its session."""

    def __init__(self, name, port, user):
        self.name, self.port, self.user = name, port, user
        self.wire = None
        self.took = {}

    def again(self):
        if self.wire is not None:
            self.wire.close()
        self.wire = Wire(self.port, self.user)

    def time(self, what, call):
        began = time.monotonic()
        answer = call()
        self.took.setdefault(what, []).append((time.monotonic() - began) * 1e3)
        return answer


def warm(side, count, log):
    """All of it was seen, and is in the caches."""
    side.again()
    began = time.monotonic()
    side.wire.ok("SELECT INBOX")
    log("%s: first SELECT %.1f s" % (side.name, time.monotonic() - began))
    began = time.monotonic()
    for attribute in ("ENVELOPE", "RFC822.SIZE", "BODYSTRUCTURE"):
        side.wire.ok("FETCH 1:* (%s)" % attribute)
    for key in ("FLAGGED", "UNSEEN", 'SUBJECT "nowhere to be found"'):
        side.wire.ok("SEARCH " + key)
    log("%s: first ENVELOPE, size, structure %.1f s" % (side.name, time.monotonic() - began))


def settle(sides):
    """What the last run changed was seen, and is long enough ago that a directory's time of
    change is believed."""
    for _ in range(2):
        time.sleep(3)
        for side in sides:
            side.again()
            side.wire.ok("SELECT INBOX")


def one_run(side, texts, count):
    w = None

    def run(what, text):
        return side.time(what, lambda: w.ok(text))

    side.again()
    w = side.wire
    run("`SELECT`, first of a session", "SELECT INBOX")
    yield
    run("`SELECT` again", "SELECT INBOX")
    yield
    run("`FETCH 1:* (UID FLAGS)`", "FETCH 1:* (UID FLAGS)")
    yield
    run("`FETCH 1:* (ENVELOPE)`, cached", "FETCH 1:* (ENVELOPE)")
    yield
    for key in ("FLAGGED", "UNSEEN"):
        run("`SEARCH %s`" % key, "SEARCH " + key)
        yield
    for key in ('SUBJECT "budget meeting"', 'FROM "clara"'):
        run("`SEARCH %s`" % key, "SEARCH " + key)
        yield
    side.time("`APPEND` of %d, one by one" % BATCH, lambda: [w.append(t) for t in texts])
    yield
    w.ok("NOOP")
    last = "%d:%d" % (count + 1, count + BATCH)
    run("`STORE` of %d (`+FLAGS (\\Answered)`)" % BATCH, "STORE %s +FLAGS (\\Answered)" % last)
    yield
    w.ok("STORE %s +FLAGS.SILENT (\\Deleted)" % last)
    run("`EXPUNGE` of %d" % BATCH, "EXPUNGE")
    yield


def figures(sides, count, runs, log):
    """{side name: {step: [ms]}}; the sides take turns at each step."""
    rng = random.Random(8)
    texts = [message(count + i, rng).replace("\n", "\r\n") for i in range(BATCH)]
    for side in sides:
        warm(side, count, log)
    for i in range(runs):
        settle(sides)
        turns = [one_run(side, texts, count) for side in sides]
        while all([next(turn, "end") != "end" for turn in turns]):
            pass
        log("run %d of %d" % (i + 1, runs))
    return {side.name: side.took for side in sides}


def rows(took, names):
    """(step, our median, theirs or None, ratio or None)"""
    ours = took[names[0]]
    for step, ms in ours.items():
        mine = statistics.median(ms)
        other = statistics.median(took[names[1]][step]) if len(names) > 1 else None
        yield step, mine, other, mine / other if other else None
