# SPDX-License-Identifier: MIT
"""The same scripts against Dormouse and the Dovecot of the system.

    differential.py [--short] [--seed N] [--area NAME]... [-v]

Both serve Maildirs of the same files (corpus_mail.py); each answer is taken
apart, what a server is free to choose is taken out (normal forms below), and
what is left must be equal. A difference is a failure unless a row of
differential_known.py, as narrow as it can be, says why it may be: each such row
is explained in doc/differences.md with the section of the RFC that decides.
A row that nothing needed is a failure of the long run, too.

Areas: fetch, search, mailboxes, messages, errors. Needs Dovecot and root:
skipped by name without.
"""
import argparse
import os
import random
import re
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus_mail  # noqa: E402
import differential_known as known  # noqa: E402
import dm  # noqa: E402
from differential_known import Atom  # noqa: E402
from differential_search import search_keys  # noqa: E402
from differential_scripts import error_lines, mailbox_script, message_script  # noqa: E402

DOVECOT = "/usr/sbin/dovecot"


# ---- what servers say, taken apart ----

class Parser:
    """Of one response line, literals included: lists, bytes (strings), Atoms, None (NIL).

    Strict where a client would stumble (RFC 3501 section 9): complaints go to
    `faults`, since both servers may be wrong in the same way.
    """

    def __init__(self, data):
        self.data, self.at, self.faults = data, 0, []

    def peek(self):
        return self.data[self.at:self.at + 1]

    def values(self, end=b""):
        found = []
        while True:
            if self.at >= len(self.data):
                if end:
                    raise ValueError("unclosed list: %r" % self.data[-60:])
                return found
            c = self.peek()
            if c == b" ":
                self.at += 1
            elif c == end:
                self.at += 1
                return found
            else:
                found.append(self.value())

    def value(self):
        c = self.peek()
        if c == b"(":
            self.at += 1
            return self.values(b")")
        if c == b'"':
            return self.quoted()
        literal = re.compile(rb"~?\{(\d+)\}\r\n").match(self.data, self.at)
        if literal:
            self.at = literal.end() + int(literal.group(1))
            if self.at > len(self.data):
                raise ValueError("literal cut")
            text = self.data[literal.end():self.at]
            if b"\0" in text:
                self.faults.append("NUL in a literal")
            return text
        return self.atom()

    def quoted(self):
        out, self.at = bytearray(), self.at + 1
        while True:
            c = self.data[self.at:self.at + 1]
            self.at += 1
            if c == b"":
                raise ValueError("unclosed string")
            if c == b'"':
                return bytes(out)
            if c == b"\\":
                c = self.data[self.at:self.at + 1]
                self.at += 1
                if c not in (b'"', b"\\"):
                    self.faults.append("backslash before %r" % c)
            elif c in b"\r\n\0" or c[0] >= 128:
                self.faults.append("%r in a quoted string" % c)
            out += c

    def atom(self):
        m = re.compile(rb"[^ ()\[\]\"{]*(\[[^\]]*\](<\d+>)?)?").match(self.data, self.at)
        if not m.group():
            raise ValueError("no value at %r" % self.data[self.at:self.at + 40])
        self.at = m.end()
        text = m.group().decode("latin-1")
        return None if text.upper() == "NIL" else Atom(text)


def shown(value, width=300):
    text = repr(value)
    return text if len(text) <= width else "%s... (%d)" % (text[:width], len(text))


def first_difference(a, b, path=""):
    """Where two values differ: (path, ours, theirs)."""
    if type(a) is list and type(b) is list and all(type(v) is str for v in a + b):
        return path, [v for v in a if v not in b], [v for v in b if v not in a]
    if type(a) is list and type(b) is list:
        for i in range(max(len(a), len(b))):
            if i >= len(a) or i >= len(b):
                return path + ".%d" % i, a[i:], b[i:]
            if a[i] != b[i]:
                return first_difference(a[i], b[i], path + ".%d" % i)
    if type(a) is bytes and type(b) is bytes and len(a) > 200:
        at = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), min(len(a), len(b)))
        return path + "@%d of %d, %d" % (at, len(a), len(b)), a[max(at - 40, 0):at + 60], \
            b[max(at - 40, 0):at + 60]
    return path, a, b


# ---- the two ----

class Client(dm.Client):
    other = property(lambda self: isinstance(self.server, Dovecot))

    def bytes_of(self, text):
        """(untagged lines as bytes, tagged line)"""
        untagged, tagged = self.command(text)
        return [u.encode("utf-8", "surrogateescape") for u in untagged], tagged

    def with_literals(self, line):
        """A command with literals in it (`{3}\r\nabc`), sent whole. As bytes_of()."""
        pieces = re.split(rb"(?<=\})\r\n", line)
        self.tag += 1
        tag = "t%d" % self.tag
        self.send(tag.encode() + b" " + pieces[0] + b"\r\n")
        untagged = []
        for piece in pieces[1:]:
            while True:
                got = self.line()
                if got.startswith("+"):
                    break
                if got.startswith(tag + " "):
                    return [u.encode("utf-8", "surrogateescape") for u in untagged], got
                untagged.append(got)
            self.send(piece + b"\r\n")
        more, tagged = self.answer(tag)
        return [u.encode("utf-8", "surrogateescape") for u in untagged + more], tagged


class Dovecot:
    """Private, on loopback, on the mail of a dm.Server that is not running."""
    tls = deflate = False

    def __init__(self, server):
        import adopt
        self.inner = adopt.Dovecot(server)

    def __enter__(self):
        self.inner.__enter__()
        self.port = self.inner.port
        return self

    def __exit__(self, kind, value, trace):
        self.inner.__exit__(None, value, trace)


class Sides:
    """Both servers, each with the same files below."""

    def __init__(self):
        self.ours = dm.Server("differential")
        self.theirs_home = dm.Server("differential-other")
        self.names = []         # of the message with UID i + 1

    def fill(self, seed, count):
        rng = random.Random("fill %d" % seed)
        flags = ["".join(sorted(f for f in "DFRST" if rng.random() < 0.25)) for _ in range(count)]
        for server in (self.ours, self.theirs_home):
            server.make_maildir("anna")
        for i, (name, data) in enumerate(corpus_mail.messages(seed, count)):
            self.names.append(name)
            when = 1000000000 + i * 86400 * 3 + rng.randrange(86400)
            for server in (self.ours, self.theirs_home):
                path = os.path.join(server.maildir("anna"), "cur", "%d.M1P1.test:2,%s" % (
                    when, flags[i]))
                with open(path, "wb") as f:
                    f.write(data)
                os.utime(path, (when, when))
                server.own("anna", path)

    def __enter__(self):
        self.ours.__enter__()
        try:
            self.theirs = Dovecot(self.theirs_home).__enter__()
        except BaseException:
            self.ours.stop()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.theirs.__exit__(kind, value, trace)
        self.theirs_home.remove()
        self.ours.keep = self.ours.keep and kind is not None
        self.ours.__exit__(None, None, None)

    def clients(self):
        return Client(self.ours, "anna"), Client(self.theirs, "anna")


# ---- the verdict ----

class Report:
    def __init__(self, verbose):
        self.verbose = verbose
        self.compared = 0
        self.open = 0
        self.used = {}
        self.examples = {}

    def compare(self, area, item, name, ours, theirs, data=None, **more):
        """item: what was asked; name: of whom; data: the message; more: for the rows."""
        self.compared += 1
        if ours == theirs:
            return True
        case = known.Case(area, item, name, ours, theirs, data, more)
        for row in known.ROWS:
            if row.applies(case):
                self.used[row.name] = self.used.get(row.name, 0) + 1
                if self.verbose:
                    print("known %s: %s %s %s" % (row.name, area, item, name))
                return False
        self.open += 1
        path, a, b = first_difference(ours, theirs)
        print("DIFF  %s %s [%s] at %s\n      ours   %s\n      theirs %s" % (
            area, item.replace("\r\n", "~"), name, path or ".", shown(a), shown(b)), flush=True)
        return False

    def fault(self, item, name, what):
        self.open += 1
        print("FAULT %s [%s] %s" % (item, name, what), flush=True)


# ---- fetch ----

def fetched(client, uid, items, report=None, name=None):
    """{item: value} of one UID FETCH; the tagged answer under ''."""
    untagged, tagged = client.bytes_of("UID FETCH %d (%s)" % (uid, items))
    result = {"": " ".join(tagged.split()[1:2]) + (re.search(r"\[[^]]*\]", tagged) or [""])[0]}
    for line in untagged:
        if not re.match(rb"\* \d+ FETCH ", line):
            continue
        p = Parser(line)
        values = p.values()[3]
        for what in p.faults if report else ():
            report.fault(items, name, what)
        for key, value in zip(values[::2], values[1::2]):
            result[key.upper()] = value
    return result


def compare_envelope(report, name, ours, theirs, data):
    """Field by field (RFC 3501 7.4.2)."""
    names = known.ENVELOPE
    for value in (ours, theirs):
        if type(value) is not list or len(value) != len(names):
            report.fault("ENVELOPE", name, value)
            return
    for field, a, b in zip(names, ours, theirs):
        report.compare("fetch", "ENVELOPE " + field, name, a, b, data,
                       envelope=dict(zip(names, ours)))


def compare_structure(report, item, name, ours, theirs, data):
    """Part by part, as numbered by RFC 3501 6.4.5; "" is the message itself."""
    for value in (ours, theirs):
        if type(value) is not list:
            report.fault(item, name, value)
            return
    a, b = known.flat_structure(ours), known.flat_structure(theirs)
    for number in sorted(set(a) | set(b)):
        report.compare("fetch", "%s %s" % (item, number), name, a.get(number), b.get(number), data,
                       number=number, structures=(a, b))


FIELDS = ("From", "subject", "TO", "Content-Type", "X-None", "Received", "message-id", "X-Level",
          "date", "Content-Disposition")


def sections_of(rng, numbers):
    """What is asked of a message beyond its structure."""
    some = " ".join(sorted(rng.sample(FIELDS, 3)))
    items = ["BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "RFC822.HEADER",
             "BODY.PEEK[HEADER.FIELDS (%s)]" % some, "BODY.PEEK[HEADER.FIELDS.NOT (%s)]" % some,
             "BODY.PEEK[]<%d.%d>" % (rng.choice((0, 1, 30, 5000, 10 ** 7)), rng.choice((1, 77, 9999))),
             "BODY.PEEK[TEXT]<%d.%d>" % (rng.choice((0, 1, 3, 500)), rng.choice((1, 10, 9999))),
             "BODY.PEEK[HEADER]<%d.%d>" % (rng.choice((0, 1, 50)), rng.choice((1, 10, 9999))),
             "BODY.PEEK[HEADER.FIELDS (%s)]<%d.%d>" % (some, rng.choice((0, 5)), rng.choice((4, 99)))]
    for number, kind in numbers:
        items += ["BODY.PEEK[%s]" % number, "BODY.PEEK[%s.MIME]" % number]
        if kind == "rfc822" or rng.random() < 0.1:
            items += ["BODY.PEEK[%s.HEADER]" % number, "BODY.PEEK[%s.TEXT]" % number,
                      "BODY.PEEK[%s.HEADER.FIELDS (%s)]" % (number, some),
                      "BODY.PEEK[%s.HEADER.FIELDS.NOT (%s)]" % (number, some),
                      "BODY.PEEK[%s.TEXT]<2.9>" % number]
        if rng.random() < 0.3:
            items.append("BODY.PEEK[%s]<%d.%d>" % (number, rng.choice((0, 1, 9)), rng.choice((1, 99))))
    for number in rng.sample(("1", "2", "1.1", "2.1", "1.2.3", "9", "300"), 3):
        items += ["BODY.PEEK[%s]" % number, "BODY.PEEK[%s.MIME]" % number,
                  "BODY.PEEK[%s.HEADER]" % number, "BODY.PEEK[%s.TEXT]" % number]
    return list(dict.fromkeys(items))


PLAIN = ("UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE")


def compare_fetch(sides, report, seed, short):
    ours, theirs = sides.clients()
    ours.ok("EXAMINE INBOX")
    theirs.ok("EXAMINE INBOX")
    corpus = dict(corpus_mail.messages(seed, len(sides.names)))
    for uid, name in enumerate(sides.names, 1):
        data = corpus[name]
        a = fetched(ours, uid, " ".join(PLAIN), report, name)
        b = fetched(theirs, uid, " ".join(PLAIN))
        for item in ("", "UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE"):
            report.compare("fetch", item, name, normal_item(item, a.get(item)),
                           normal_item(item, b.get(item)), data)
        compare_envelope(report, name, a.get("ENVELOPE"), b.get("ENVELOPE"), data)
        for item in ("BODY", "BODYSTRUCTURE"):
            compare_structure(report, item, name, a.get(item), b.get(item), data)
        structures = [known.flat_structure(side["BODYSTRUCTURE"]) for side in (a, b)]
        kinds = dict(structures[1], **structures[0])
        numbers = [(n, "rfc822" if known.holds_message(kinds[n]) else "") for n in sorted(kinds)
                   if n and not n.endswith("inside")]
        rng = random.Random("sections %d %s" % (seed, name))
        if short and len(numbers) > 12:
            numbers = rng.sample(numbers, 12)
        items = sections_of(rng, numbers)
        a, b = section_answers(ours, uid, items), section_answers(theirs, uid, items)
        for item in items:
            report.compare("fetch", item, name, a.get(item), b.get(item), data,
                           structures=structures, answers=(a, b))


def section_answers(client, uid, items):
    """{item: bytes, None, or how it was refused}"""
    found = {}
    for at in range(0, len(items), 40):
        some = items[at:at + 40]
        try:
            got = fetched(client, uid, " ".join(some))
        except EOFError:
            if not client.other:
                raise
            got = {"": "ended"}
            server = client.server
            client.__dict__.clear()
            client.__init__(server, "anna")
            client.ok("EXAMINE INBOX")
        if got[""] != "OK" and len(some) > 1:       # one is refused: each for itself
            for item in some:
                found.update(section_answers(client, uid, [item]))
            continue
        for item in some:
            key = re.sub(r"<(\d+)\.\d+>", r"<\1>", item.upper().replace(".PEEK", ""))
            found[item] = got.get(key, "nothing") if got[""] == "OK" else got[""]
    return found


def normal_item(item, value):
    """What may differ by right: \\Recent is of the session (RFC 3501 2.3.2), and the day
    of a date has a blank or a zero in front (section 9, date-day-fixed)."""
    if item == "FLAGS" and value is not None:
        return sorted(f.lower() for f in value if f.lower() != "\\recent")
    if item == "INTERNALDATE" and value is not None:
        return re.sub(rb"^ (?=\d-)", b"0", value)
    return value


# ---- search ----

def searched(client, args):
    untagged, tagged = client.with_literals(b"UID SEARCH " + args)
    words = tagged.split()
    code = re.search(r"\[([A-Z]+)[ \]]", tagged)
    if words[1] != "OK":
        return [words[1]] + ([code.group(1)] if code else [])
    for line in untagged:
        if line.startswith(b"* SEARCH"):
            return sorted(int(n) for n in re.sub(rb"\(.*", b"", line[8:]).split())
        if line.startswith(b"* ESEARCH"):
            return normal_esearch(line)
    return ["nothing"]


def normal_esearch(line):
    """Order of the results is free (RFC 4466 2.6.2), the tag is the client's."""
    words = re.sub(r'\(TAG "[^"]*"\)', "", line.decode()).split()[2:]
    uid = words[:1] == ["UID"]
    words = words[1:] if uid else words
    pairs = sorted(zip(words[::2], words[1::2]))
    return ["UID" if uid else "seq"] + [p for p in pairs if p[0] != "MODSEQ"]


class Searcher:
    """Asks both, and remembers for which messages their answers differ."""

    def __init__(self, sides, report, seed):
        self.sides, self.report = sides, report
        self.clients = sides.clients()
        for client in self.clients:
            client.ok("SELECT INBOX")
        self.corpus = dict(corpus_mail.messages(seed, len(sides.names)))
        self.differing = {}
        self.facts = {}         # of a message that some search differs for

    def facts_of(self, uid):
        if uid not in self.facts:
            a, b = (fetched(c, uid, "ENVELOPE BODYSTRUCTURE") for c in self.clients)
            self.facts[uid] = {
                "envelopes": [dict(zip(known.ENVELOPE, x["ENVELOPE"])) for x in (a, b)],
                "structures": [known.flat_structure(x["BODYSTRUCTURE"]) for x in (a, b)]}
        return self.facts[uid]

    def ask(self, args, leaves=()):
        if args in self.differing:
            return
        self.differing[args] = set()
        a, b = (searched(c, args) for c in self.clients)
        item = args.decode("latin-1")
        if not all(type(n) is int for n in a + b):
            self.report.compare("search", item, "-", a, b)
            return
        self.differing[args] = set(a) ^ set(b)
        self.report.compared += 1
        for leaf in leaves if self.differing[args] else ():
            self.ask(leaf)
        for uid in sorted(self.differing[args]):
            if any(uid in self.differing[leaf] for leaf in leaves):
                continue        # said already
            name = self.sides.names[uid - 1]
            self.report.compare("search", item, name, uid in a, uid in b, self.corpus[name],
                                **self.facts_of(uid))


def compare_search(sides, report, seed, short):
    s = Searcher(sides, report, seed)
    for args, leaves in search_keys(random.Random("search %d" % seed), len(sides.names), short):
        s.ask(args, leaves)


# ---- scripts: the same lines, one after the other, to both ----

class Normal:
    """Numbers that a server chooses become names, by first appearance (UIDVALIDITY); what
    it is free to tell is taken out: texts, \\Recent, MODSEQ, PERMANENTFLAGS' keywords."""

    def __init__(self):
        self.validities = {}

    def validity(self, m):
        return "%s V%d" % (m.group(1), self.validities.setdefault(m.group(2), len(self.validities)))

    def line(self, line):
        text = line.decode("latin-1")
        text = re.sub(r"\b(UIDVALIDITY|APPENDUID|COPYUID) (\d+)", self.validity, text)
        text = re.sub(r"(HIGHESTMODSEQ|NOMODSEQ|MODSEQ) \(?\d+\)?", r"\1 N", text)
        text = re.sub(r" ?\\Recent", "", text, flags=re.I)
        # Keywords that a mailbox has had are listed for as long as a server likes.
        text = re.sub(r"(\* FLAGS |\[PERMANENTFLAGS )\(([^)]*)\)", lambda m: "%s(%s)" % (
            m.group(1), " ".join(f for f in m.group(2).split() if f[0] == "\\")), text)
        return text

    def tagged(self, tagged):
        """OK, NO or BAD and the code."""
        text = self.line(tagged.encode("utf-8", "surrogateescape"))
        m = re.match(r"\S+ (\S+)(?: (\[[^]]*\]))?", text)
        return m.group(1) + (" " + m.group(2) if m.group(2) else "")

    def untagged(self, lines):
        kept = []
        for line in lines:
            text = self.line(line)
            m = re.match(r"\* (OK|NO|BAD|BYE)(?: (\[[^]]*\]))?", text)
            if m:
                if m.group(2):
                    kept.append("* %s %s" % m.groups())
                continue
            if re.match(r"\* \d+ RECENT", text):
                continue
            kept.append(known.normal_untagged(text, line))
        return kept


def answer_of(client, normal, line):
    """(tagged, untagged), as far as both must say the same."""
    client.ended = getattr(client, "ended", False)
    if client.ended:
        return "ended", []
    try:
        untagged, tagged = client.with_literals(line)
    except (EOFError, ConnectionError):
        client.ended = True
        return "ended", []
    except TimeoutError:
        client.ended = True
        return "no answer", []
    return normal.tagged(tagged), normal.untagged(untagged)


STATE = (b"NOOP", b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)")


def play(sides, report, area, name, script, state=False):
    """script: [(client number, line)]. Clients come as they are named. state: what is told
    unasked, and when, is each server's own; that nothing is missing must show in the state
    of each session after each command."""
    clients, normals = {}, (Normal(), Normal())
    for number, line in script:
        if number not in clients:
            if area == "errors":
                for client in clients.pop(number - 1, ()):
                    client.close()
            clients[number] = sides.clients()
        answers = [answer_of(c, n, line) for c, n in zip(clients[number], normals)]
        item = line.decode("latin-1")
        report.compare(area, item, name, answers[0][0], answers[1][0])
        told = [a[1] for a in answers]
        if state or area == "errors":
            told = [known.only_asked(line, lines) for lines in told]
        report.compare(area, item + " (untagged)", name,
                       known.normal_order(line, told[0]), known.normal_order(line, told[1]),
                       tagged=(answers[0][0], answers[1][0]))
        # Where both were free, they go on as one.
        if line.startswith(b"SUBSCRIBE ") and answers[0][0] == "OK" != answers[1][0]:
            name_only = line[len(b"SUBSCRIBE "):].decode()
            if not clients[number][1].ok('LSUB "" ' + name_only):
                clients[number][0].ok("UNSUBSCRIBE " + name_only)
        for n in clients if state else ():
            for check in STATE:
                answers = [answer_of(c, normal, check) for c, normal in zip(clients[n], normals)]
            states = [[tagged] + [line for line in lines if " FETCH " in line]
                      for tagged, lines in answers]
            report.compare(area, "state of %d after %s" % (n, item), name, *states)
    for pair in clients.values():
        for client in pair:
            client.close()


def compare_mailboxes(sides, report, seed, short):
    for n in range(2 if short else 12):
        play(sides, report, "mailboxes", "script %d" % n,
             mailbox_script(random.Random("mailboxes %d %d" % (seed, n)), "s%d" % n,
                            60 if short else 150))


def compare_messages(sides, report, seed, short):
    for n in range(2 if short else 12):
        play(sides, report, "messages", "script %d" % n,
             message_script(random.Random("messages %d %d" % (seed, n)), "m%d" % n,
                            60 if short else 150), state=True)


def compare_errors(sides, report, seed, short):
    play(sides, report, "errors", "lines", error_lines())


AREAS = {"fetch": compare_fetch, "search": compare_search, "mailboxes": compare_mailboxes,
         "messages": compare_messages, "errors": compare_errors}


# ---- what is known, and said ----

def check_document(report):
    with open(os.path.join(dm.ROOT, "doc", "differences.md")) as f:
        text = f.read()
    headings = set(re.findall(r"^### `([^`]+)`", text, re.M))
    for name in sorted({row.name for row in known.ROWS} ^ headings):
        print("FAIL  %s is only in one of doc/differences.md and differential_known.py" % name)
        report.open += 1


def why_not():
    if not os.path.exists(DOVECOT):
        return "Dovecot is not installed (Debian: dovecot-imapd)"
    return None if os.geteuid() == 0 else "Dovecot needs root"


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--short", action="store_true")
    p.add_argument("--seed", type=int, default=int(os.environ.get("SEED", corpus_mail.SEED)))
    p.add_argument("--area", action="append", choices=sorted(AREAS))
    p.add_argument("-v", action="store_true")
    a = p.parse_args()
    if why_not():
        print("0 passed, 0 failed, %d skipped (%s): %s" % (len(AREAS), ", ".join(AREAS), why_not()))
        return 0
    report = Report(a.v)
    check_document(report)
    sides = Sides()
    sides.fill(a.seed, corpus_mail.COUNT)
    passed = failed = 0
    with sides:
        for area in a.area or AREAS:
            before, compared, start = report.open, report.compared, time.monotonic()
            try:
                AREAS[area](sides, report, a.seed, a.short)
            except Exception:
                traceback.print_exc()
                report.open += 1
            failed += report.open > before
            passed += report.open == before
            print("%s  %s: %d comparisons, %d differences open (%d s)" % (
                "ok  " if report.open == before else "FAIL", area, report.compared - compared,
                report.open - before, time.monotonic() - start), flush=True)
    if not a.short and not a.area and a.seed == corpus_mail.SEED:
        for row in known.ROWS:
            if row.name not in report.used and row.name not in known.OF_OTHER_SEEDS:
                print("FAIL  nothing needed the known difference " + row.name)
                report.open += 1
    for name, count in sorted(report.used.items()):
        print("      known: %4d x %s" % (count, name))
    if report.open:
        print("seed %d" % a.seed)
    print("%d passed, %d failed: %d comparisons, %d known differences, %d open" % (
        passed, failed, report.compared, sum(report.used.values()), report.open))
    return 1 if report.open else 0


if __name__ == "__main__":
    sys.exit(main())
