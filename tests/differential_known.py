# SPDX-License-Identifier: MIT
"""Where Dormouse and Dovecot differ by right, for differential.py.

Each row is a predicate over one case; doc/differences.md explains it under its
name. Normal forms, for what both are free to choose, are at the end.
"""
import datetime
import re
import time


class Atom(str):
    """Distinct from a string of the same letters."""


class Case:
    def __init__(self, area, item, name, ours, theirs, data, more):
        self.area, self.item, self.name = area, item, name
        self.ours, self.theirs, self.data = ours, theirs, data
        self.envelope = self.number = self.structures = None
        self.__dict__.update(more)


class Row:
    def __init__(self, name, applies):
        self.name, self.applies = name, applies


ROWS = []
# What the messages of seed 1 do not have.
OF_OTHER_SEEDS = ("address-noise", "search-encoding-unknown", "search-not-of-two-alike",
                  "search-blank-name", "section-ends-the-session", "sent-of-two-dates")


def row(name, area="fetch"):
    def add(f):
        ROWS.append(Row(name, lambda case: case.area == area and f(case)))
        return f
    return add


# ---- normal forms ----

def flat_structure(body):
    """{part number: its fields without its children}; "" is the message."""
    found = {}
    walk(body, "", found, True)
    return found


def walk(body, number, found, of_message=False):
    """of_message: body is a message's own, whose parts count from its number on."""
    if type(body[0]) is list:
        n = next(i for i, value in enumerate(body) if type(value) is not list)
        for i in range(n):
            walk(body[i], (number + "." if number else "") + str(i + 1), found)
        found[number] = [Atom("multipart"), n] + lowered(body[n:], 1, None)
        return
    if of_message and number == "":         # BODY[1] of a message without parts
        found[""] = [Atom("single")]
        number = "1"
    elif of_message:
        number += ".1"
    if [v.lower() for v in body[:2]] == [b"message", b"rfc822"]:
        walk(body[8], number, found, True)
        body = body[:8] + [Atom("...")] + body[9:]
        if number in found:                 # a multipart within has the same number
            found[number + " inside"] = found[number]
    found[number] = lowered(body, 6, 2)


def lowered(fields, strings, params):
    """Types, names of parameters and encodings: RFC 2045 2 and 5.1, in any case."""
    fields = list(fields)
    for i, value in enumerate(fields):
        if i in (0, 1, 5) and i < strings and type(value) is bytes:
            fields[i] = value.lower()
    for i, value in enumerate(fields):
        if type(value) is list and value and type(value[0]) is bytes and len(value) % 2 == 0:
            fields[i] = [v.lower() if j % 2 == 0 and type(v) is bytes else v
                         for j, v in enumerate(value)]
        elif type(value) is list and len(value) == 2 and type(value[1]) is list and value[1]:
            fields[i] = [value[0], [v.lower() if j % 2 == 0 and type(v) is bytes else v
                                    for j, v in enumerate(value[1])]]
    return fields


def holds_message(fields):
    return bool(fields) and len(fields) > 8 and fields[8] == "..."


def normal_flags(m):
    return "%s(%s)" % (m.group(1), " ".join(sorted(m.group(2).split(), key=str.lower)))


def normal_untagged(text, line):
    """Flags and LIST's attributes in any order, what a session alone knows left out."""
    text = re.sub(r"(FLAGS )\(([^)]*)\)", normal_flags, text)
    if re.match(r"\* (LIST|LSUB) ", text):
        text = re.sub(r" ?\\(Unm|M)arked", "", text, flags=re.I)      # RFC 3501 7.2.2: or neither
        text = re.sub(r"(\* \w+ )\(([^)]*)\)", normal_flags, text)
        text = re.sub(r'^(\* \w+ \([^)]*\) "\.") "([^" %*(){}\\]+)"', r"\1 \2", text)
        text = text.replace('("CHILDINFO" ', "(CHILDINFO ")     # RFC 5258 section 6: both
    if text.startswith("* ID "):
        text = "* ID"
    if text.startswith("* STATUS "):
        text = re.sub(r'^\* STATUS "([^" %*(){}\\]+)" ', r"* STATUS \1 ", text)
        m = re.match(r"(.*) \((.*)\)$", text, re.S)
        if m is None:
            return text
        words = m.group(2).split()
        pairs = sorted(p for p in zip(words[::2], words[1::2]) if p[0] != "RECENT")
        text = "%s (%s)" % (m.group(1), " ".join(" ".join(p) for p in pairs))
    m = re.match(r"\* (\d+) FETCH ", text)
    if m:
        text = "* %s FETCH %s" % (m.group(1), normal_fetch(line))
    return text


def normal_date(date):
    """A blank or a zero in front (RFC 3501 section 9, date-day-fixed); of what was just
    appended without a date, the second is by chance."""
    date = re.sub(rb"^ (?=\d-)", b"0", date)
    when = datetime.datetime.strptime(date.decode(), "%d-%b-%Y %H:%M:%S %z")
    return b"now" if abs(time.time() - when.timestamp()) < 3600 else date


def normal_fetch(line):
    """Items in any order; MODSEQ by its being there."""
    from differential import Parser
    values = Parser(line).values()[3]
    items = dict(zip((v.upper() for v in values[::2]), values[1::2]))
    if "FLAGS" in items:
        items["FLAGS"] = sorted(f.lower() for f in items["FLAGS"] if f.lower() != "\\recent")
    if "MODSEQ" in items:
        items["MODSEQ"] = "N"
    if "INTERNALDATE" in items:
        items["INTERNALDATE"] = normal_date(items["INTERNALDATE"])
    return " ".join("%s=%r" % item for item in sorted(items.items()))


def only_asked(command, lines):
    """Without what a server tells when it likes, and as often: flags, numbers, expunges."""
    kept = []
    for line in lines:
        m = re.match(r"\* \d+ FETCH ", line)
        if m:
            line = re.sub(r"\b(UID='\d+'|MODSEQ='N'|FLAGS=\[[^]]*\]) ?", "", line)
            if line.strip() == m.group(0).strip():
                continue
        if not re.match(r"\* (\d+ EXISTS|\d+ EXPUNGE|FLAGS |VANISHED )|\* OK \[(PERMANENT|HIGHEST)", line):
            kept.append(line.rstrip())
    return kept


def normal_order(command, lines):
    """Which messages were expunged, by their numbers before it; the rest sorted."""
    kept, gone = [], []
    for line in lines:
        m = re.match(r"\* (\d+) EXPUNGE$", line)
        if not m:
            kept.append(line)
            continue
        n = int(m.group(1))
        for g in sorted(gone):
            n += g <= n
        gone.append(n)
    return sorted(kept) + (["expunged %s" % sorted(gone)] if gone else [])


# ---- FETCH: envelopes ----

ENVELOPE = ("date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to",
            "message-id")

NOBODY = [None, None, b"MISSING_MAILBOX", b"MISSING_DOMAIN"]


def fields_of(data, name):
    """Bodies of the header fields of that name, folded as they are."""
    header = re.split(rb"\n\r?\n", data.replace(b"\r\n", b"\n"), 1)[0] + b"\n"
    return re.findall(rb"(?mi)^" + name.encode() + rb"[ \t]*:((?:.*\n)(?:[ \t].*\n)*)", header)


def envelope_field(case, *names):
    return case.area == "fetch" and case.item.startswith("ENVELOPE ") and \
        case.item.split()[1] in (names or ("from", "sender", "reply-to", "to", "cc", "bcc"))


def source(case):
    """The field that an address list was made of; From stands in for two (RFC 3501 7.4.2)."""
    name = case.item.split()[1]
    found = fields_of(case.data, name)
    if name in ("sender", "reply-to") and not any(f.strip() for f in found):
        found = fields_of(case.data, "from")
    return b",".join(found)


def unclosed(text):
    """Does a comment or a quoted string have no end?"""
    depth, quoted, at = 0, False, 0
    while at < len(text):
        c = text[at:at + 1]
        if c == b"\\":
            at += 1
        elif c == b'"' and not depth:
            quoted = not quoted
        elif not quoted:
            depth += (c == b"(") - (c == b")" and depth > 0)
        at += 1
    return quoted or depth > 0


@row("date-folded-first")
def _(case):
    return envelope_field(case, "date") and case.theirs == b" " + case.ours and \
        fields_of(case.data, "date")[0].startswith(b" \n ")


def pair_kind(a, b, text):
    """Why one address is not the other; None: no reason."""
    if b[2:] == NOBODY[2:] and a[0] is None and a[2] and b"." in a[2] and \
            a[2].startswith(re.sub(rb"\W", b"", b[0] or b"")[:1]) and \
            re.search(rb'("|\w) ?\. ?("|\w)', text):
        return "address-dots-and-quotes"
    if a[2:] == NOBODY[2:] and re.search(rb"\w\(\w\)\w@", text):
        return "address-comment-in-a-word"
    if unclosed(text) and a[0] is None and b[0] is not None and a[1:] == b[1:]:
        return "address-unclosed"
    return None


def address_kinds(case):
    """Names of the rows that explain the difference of two lists; None: not all of it."""
    if not envelope_field(case):
        return None
    ours, theirs = list(case.ours or []), list(case.theirs or [])
    text, kinds = source(case), set()
    bare = re.sub(rb"\((?:[^()\\]|\\.)*\)", b"", text)
    empty = re.search(rb"(^|[,:])\s*(,|$)", bare.strip()) is not None
    while ours or theirs:
        if ours and theirs and ours[0] == theirs[0]:
            kind = ""
        elif ours and "address-dots-and-quotes" in kinds and ours[0] not in theirs:
            ours.pop(0)         # what is behind such a one is lost, too
            continue
        elif theirs and theirs[0] == NOBODY and (empty or unclosed(text)):
            kind = "address-list-empty-elements"
        else:
            kind = pair_kind(ours[0], theirs[0], text) if ours and theirs else None
        if kind is None:
            return None
        kinds.add(kind)
        theirs.pop(0)
        if kind != "address-list-empty-elements":
            ours.pop(0)
    return kinds - {""}


for _name in ("address-list-empty-elements", "address-dots-and-quotes", "address-comment-in-a-word",
              "address-unclosed"):
    row(_name)(lambda case, name=_name: name in (address_kinds(case) or ()))


@row("address-noise")
def _(case):
    """Forty random marks, made to be survived."""
    return envelope_field(case) and case.name.startswith("addresses-noise-")


# ---- FETCH: structures ----

PLAIN = [b"text", b"plain", [b"charset", b"us-ascii"]]


def structure_item(case):
    return case.area == "fetch" and case.item.split()[:1] in (["BODY"], ["BODYSTRUCTURE"]) and \
        case.number is not None


def rest_of(fields):
    """Without type, parameters and the count of lines, which a text has."""
    fields = list(fields)
    if fields[0] in (b"text",):
        del fields[7]
    return fields[3:]


def type_is_invalid(ours, theirs):
    return bool(ours) and bool(theirs) and ours[:3] == PLAIN and \
        (b"" in theirs[:2] or theirs[:3] == [b"application", b"octet-stream", None]) and \
        rest_of(ours) == rest_of(theirs)


def boundary_is_invalid(fields):
    """A multipart's parameter that is not there, or empty, or longer than can be."""
    if not fields or fields[0] != "multipart":
        return False
    params = fields[3] or [] if len(fields) > 3 else []
    values = [v for n, v in zip(params[::2], params[1::2]) if n == b"boundary"]
    return not values or values[0] == b"" or len(values[0]) > 70


def without_parts(structures, number):
    """Part `number`, or what it is in, is a multipart without boundary: text to us."""
    ours, theirs = structures
    while True:
        parent = number.rpartition(".")[0]
        if boundary_is_invalid(theirs.get(number)) and (
                ours.get(number, [None])[0] in (b"text", "single")):
            return True
        if not number:
            return False
        number = parent


@row("type-invalid")
def _(case):
    return structure_item(case) and type_is_invalid(case.ours, case.theirs)


@row("multipart-without-boundary")
def _(case):
    return structure_item(case) and without_parts(case.structures, case.number)


@row("boundary-too-long")
def _(case):
    return structure_item(case) and boundary_is_invalid(case.structures[0].get("")) and \
        case.structures[0][""][1] + 1 == case.structures[1][""][1] and \
        case.number in ("", str(case.structures[1][""][1]))


# ---- FETCH: sections ----

def section(case):
    """(part number, specifier) or None"""
    m = re.match(r"BODY\.PEEK\[([0-9.]*?)\.?([A-Z][A-Z.]*)?(?: \(.*\))?\](<.*>)?$", case.item)
    return (m.group(1), m.group(2) or "") if m and case.area == "fetch" else None


def leaf(fields):
    return bool(fields) and fields[0] not in ("multipart", "single") and not holds_message(fields)


@row("section-absent")
def _(case):
    """Theirs is an empty text."""
    s = section(case)
    if s is None or case.ours is not None or case.theirs != b"":
        return False
    fields = case.structures[0].get(s[0])
    return fields is None or not (holds_message(fields) or s[1] in ("", "MIME"))


@row("section-ends-the-session")
def _(case):
    return section(case) is not None and case.theirs == "ended" and type(case.ours) is bytes


@row("section-below-a-leaf")
def _(case):
    """Part 2.1, where 2 is a leaf of a multipart: theirs is 2 once more."""
    s = section(case)
    if s is None or case.ours is not None or s[1] not in ("", "MIME"):
        return False
    above, _, last = s[0].rpartition(".")
    return last == "1" and all(leaf(x.get(above)) and s[0] not in x for x in case.structures) and \
        all(x.get("", ["single"])[0] == "multipart" for x in case.structures)


@row("section-of-text-without-boundary")
def _(case):
    s = section(case)
    return s is not None and without_parts(case.structures, s[0])


@row("fields-without-empty-line")
def _(case):
    """A header that has none, since nothing follows; theirs ends with one, made up."""
    s = section(case)
    if s is None or not s[1].startswith("HEADER.FIELDS"):
        return False
    whole = case.item.split("<")[0]
    a, b = case.answers[0][whole], case.answers[1][whole]
    if a is None or b != a + b"\r\n" or case.theirs != cut(b, case.item):
        return False
    if not s[0]:
        return not re.search(rb"(^|\n)\r?\n", case.data)
    header = case.answers[0]["BODY.PEEK[%s.HEADER]" % s[0]]
    return header is not None and not re.search(rb"(^|\n)\r\n$", header)


def cut(text, item):
    m = re.search(r"<(\d+)\.(\d+)>$", item)
    return text[int(m.group(1)):int(m.group(1)) + int(m.group(2))] if m else text


@row("message-without-body")
def _(case):
    """A message in a multipart that ends with its header: the last line end is the
    boundary's, which theirs counts here but not for other parts."""
    if structure_item(case):
        if not (holds_message(case.ours) and holds_message(case.theirs)):
            return False
        a, b = list(case.ours), list(case.theirs)
        return int(a[6]) + 2 == int(b[6]) and int(a[9]) + 1 == int(b[9]) and \
            a[:6] + a[7:9] + a[10:] == b[:6] + b[7:9] + b[10:]
    s = section(case)
    fields = case.structures[0].get(s[0]) if s else None
    if not fields or not (holds_message(fields) or (fields[0] == "multipart" and not s[1])):
        return False
    if s[1] == "HEADER.FIELDS.NOT":         # theirs goes on with the boundary line
        return case.ours is not None and re.match(rb"(\r\n)?--", case.theirs[len(case.ours):]) and \
            case.theirs.startswith(case.ours)
    if s[1] not in ("", "TEXT"):
        return False
    a, b = (x[case.item.split("<")[0]] for x in case.answers)
    return a is not None and a + b"\r\n" == b and \
        (case.ours, case.theirs) == (cut(a, case.item), cut(b, case.item)) and \
        last_leaf(case.structures[0], s[0])[6] == "0"


def last_leaf(structure, number):
    inside = [n for n in structure if n.startswith(number + ".") and "inside" not in n]
    return structure[max(inside, key=lambda n: [int(x) for x in n.split(".")])]


# ---- SEARCH ----

def search_key(case):
    """(name, argument) of a search for one key, without charset; a literal's length is left out."""
    m = re.match(r"(?:CHARSET \S+ )?(HEADER \S+|\w+) (?:\{\d+\}\r\n)?(.*)$", case.item, re.S)
    return (m.group(1), m.group(2).strip('"')) if m and case.data is not None else ("", "")


def is_date(text):
    return re.match(rb"\s*(\w+, )?7 Feb 1994 ", text) is not None


@row("sent-without-date", "search")
def _(case):
    """Theirs takes no date for 1-Jan-1970."""
    found = fields_of(case.data or b"", "date")
    return search_key(case)[0] in ("SENTBEFORE", "SENTON", "SENTSINCE") and \
        not (found and is_date(found[-1]))


@row("sent-of-two-dates", "search")
def _(case):
    return search_key(case)[0] in ("SENTBEFORE", "SENTON", "SENTSINCE") and \
        len(fields_of(case.data or b"", "date")) > 1


@row("sent-with-broken-time", "search")
def _(case):
    """The day is there, the time or zone behind it is not one."""
    found = fields_of(case.data or b"", "date")
    return search_key(case)[0] in ("SENTBEFORE", "SENTON", "SENTSINCE") and bool(found) and \
        is_date(found[-1]) and re.match(rb"\s*\w+, 7 Feb 1994 \d\d:\d\d:\d\d [+-]\d{4}( \(.*\))?\s*$", found[-1]) is None


@row("search-of-an-envelope-that-differs", "search")
def _(case):
    name = search_key(case)[0].lower()
    return name in ("from", "to", "cc", "bcc") and \
        case.envelopes[0][name] != case.envelopes[1][name]


@row("search-subject-twice", "search")
def _(case):
    """SUBJECT is the ENVELOPE's; theirs looks into all fields of that name."""
    name, text = search_key(case)
    return name == "SUBJECT" and len(fields_of(case.data, "subject")) > 1 and not case.ours and \
        text.lower().encode() not in case.envelopes[0]["subject"].lower()


@row("search-nothing-in-nothing", "search")
def _(case):
    """FROM "" where the field has no address: NIL has no text, not even an empty one."""
    name, text = search_key(case)
    return name in ("FROM", "TO", "CC", "BCC") and text == "" and not case.ours and \
        case.envelopes[0][name.lower()] is None and fields_of(case.data, name.lower()) != []


@row("search-of-a-structure-that-differs", "search")
def _(case):
    """A part that is text to us only."""
    return search_key(case)[0] in ("BODY", "TEXT") and case.ours and \
        case.structures[0] != case.structures[1]


@row("search-base64-of-something-else", "search")
def _(case):
    """Theirs stops where a character is not of the alphabet."""
    return search_key(case)[0] in ("BODY", "TEXT") and any(
        f[0] == b"text" and f[5] == b"base64" for f in case.structures[0].values())


ENCODINGS = (b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable")


@row("search-encoding-unknown", "search")
def _(case):
    """Theirs leaves such a part out."""
    return search_key(case)[0] in ("BODY", "TEXT") and bool(case.ours) and any(
        e.strip().lower() not in ENCODINGS for e in re.findall(
            rb"(?mi)^content-transfer-encoding:(.*)", case.data))


@row("search-not-of-two-alike", "search")
def _(case):
    """Theirs makes one of two keys, the wrong one, behind NOT."""
    return re.search(r"NOT \(*(SMALLER|LARGER|(?:SENT)?(?:BEFORE|SINCE)) .*\b\1 ",
                     case.item) is not None


@row("search-blank-name", "search")
def _(case):
    """A name of blanks alone."""
    name, text = search_key(case)
    return name in ("FROM", "TO", "CC", "BCC") and text.strip() == "" and bool(case.ours) and any(
        a[0] is not None and not a[0].strip() for a in case.envelopes[0][name.lower()] or ())


@row("search-encoding-twice", "search")
def _(case):
    return search_key(case)[0] in ("BODY", "TEXT") and \
        len(fields_of(case.data, "content-transfer-encoding")) > 1


@row("search-word-not-encoded", "search")
def _(case):
    """Theirs decodes what has a fold within, or no charset."""
    return re.search(rb"=\?[\w-]*\?.\?[^? ]*\n [^?]*\?=|=\?\?", case.data or b"") is not None and \
        search_key(case)[0] in ("TEXT", "TO", "FROM", "SUBJECT")


@row("search-impossible-date", "search")
def _(case):
    return case.item == "ON 32-Jan-2000" and (case.ours, case.theirs) == (["BAD"], [])


@row("search-number-out-of-range", "search")
def _(case):
    return case.item in ("301", "300:301", "SMALLER 18446744073709551615") and \
        case.ours == ["BAD"] and "BAD" not in case.theirs


@row("search-keyword-not-an-atom", "search")
def _(case):
    return case.item == "KEYWORD \\Seen" and (case.ours, case.theirs) == (["BAD"], [])


@row("search-two-blanks", "search")
def _(case):
    return case.item == "SEEN  FLAGGED" and case.ours == ["BAD"] and "BAD" not in case.theirs


# ---- commands ----

COMMANDS = ("errors", "mailboxes", "messages")
CODES = {       # of RFC 5530, for what its section 3 says
    "NONEXISTENT": ("SELECT", "EXAMINE", "STATUS", "DELETE", "RENAME"),
    "CANNOT": ("CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "STATUS", "APPEND"),
}


def command_row(name):
    def add(f):
        ROWS.append(Row(name, lambda case: case.area in COMMANDS and type(case.ours) is str and
                        f(case)))
        return f
    return add


@command_row("code-where-theirs-has-none")
def _(case):
    m = re.match(r"NO \[(\w+)\]$", case.ours)
    return case.theirs == "NO" and m is not None and \
        case.item.split()[0] in CODES.get(m.group(1), ())


@command_row("subscribe-to-what-is-not")
def _(case):
    return case.item.startswith("SUBSCRIBE ") and (case.ours, case.theirs) == ("OK", "NO")


@command_row("status-of-the-selected")
def _(case):
    """A hint to the client that theirs gives (RFC 5530: CLIENTBUG)."""
    return case.item.startswith("STATUS ") and (case.ours, case.theirs) == ("OK", "OK [CLIENTBUG]")


@command_row("no-message-for-no-mailbox")
def _(case):
    """Neither the messages nor the mailbox are there."""
    return re.match(r"(UID )?(COPY|MOVE) \S+ \S+$", case.item) is not None and \
        (case.ours, case.theirs) == ("NO [TRYCREATE]", "OK")


@row("list-root", "mailboxes")
def _(case):
    return case.item == 'LIST "a.b" "" (untagged)' and case.ours == ['* LIST (\\Noselect) "." ""'] and \
        case.theirs == ['* LIST (\\Noselect) "." a.']


@row("list-children-unasked", "mailboxes")
def _(case):
    """Extended LIST without CHILDREN: of mailboxes that are none we say it all the same."""
    m = re.match(r'LIST .* RETURN \((.*)\) \(untagged\)$', case.item)
    return m is not None and "CHILDREN" not in m.group(1) and \
        sorted(x.replace("\\HasChildren \\NonExistent", "\\NonExistent") for x in case.ours) == \
        sorted(case.theirs)


def lines_row(name, lines):
    """lines: {command: (ours, theirs)}. What theirs tells untagged goes with it."""
    def applies(case):
        line = case.item[:-len(" (untagged)")] if case.item.endswith(" (untagged)") else case.item
        if case.area != "errors" or line not in lines:
            return False
        return case.ours == [] if line != case.item else (case.ours, case.theirs) == lines[line]
    ROWS.append(Row(name, applies))


BAD_OK = ("BAD", "OK")
lines_row("arguments-too-many-or-few", {
    "SELECT a b": ("BAD", "NO"), "SELECT INBOX ()": ("BAD", "OK [READ-WRITE]"), "CREATE a b": BAD_OK,
    'LIST "" ()': BAD_OK, "ENABLE": BAD_OK, "ID": BAD_OK, "NAMESPACE x": BAD_OK,
    "CAPABILITY x": BAD_OK, "NOOP x": BAD_OK, "STORE 1 FLAGS": BAD_OK, "EXPUNGE 1": BAD_OK,
    "CHECK x": BAD_OK, "CLOSE x": BAD_OK,
})
lines_row("fetch-grammar", {
    "FETCH 1, FLAGS": BAD_OK, "FETCH 1 BODY[0]": BAD_OK, "FETCH 1 BODY[1.0]": BAD_OK,
    "FETCH 1 BODY[]<0>": BAD_OK, "FETCH 1 BODY[]<0.0>": BAD_OK,
    "FETCH 1 BODY[99999999999]": BAD_OK,
})
lines_row("not-an-atom", {
    "STORE 1 +FLAGS (a]b)": ("BAD", "NO [CANNOT]"), "CREATE odd.x\\y": BAD_OK,
    "SUBSCRIBE odd.x\\y": BAD_OK, "STATUS odd.x\\y (MESSAGES)": BAD_OK,
    "UNSUBSCRIBE odd.x\\y": BAD_OK, "DELETE odd.x\\y": BAD_OK,
})
lines_row("examine-is-read-only", {
    "STORE 1 +FLAGS (a)": ("NO", "OK"), "STORE 1 +FLAGS.SILENT (a)": ("NO", "OK"),
    "UID STORE 1 FLAGS ()": ("NO", "OK"), "EXPUNGE": ("NO", "OK"), "UID EXPUNGE 1": ("NO", "OK"),
})
lines_row("code-another", {
    'DELETE ""': ("NO [NONEXISTENT]", "NO [CANNOT]"),
    "RENAME nowhere INBOX": ("NO [ALREADYEXISTS]", "NO [NONEXISTENT]"),
    'COPY 1 ""': ("NO [TRYCREATE]", "NO [CANNOT]"), "COPY 1 a..b": ("NO [TRYCREATE]", "NO [CANNOT]"),
    "STATUS odd.trail. (MESSAGES)": ("NO [NONEXISTENT]", "NO [CANNOT]"),
    "DELETE odd.trail.": ("NO [NONEXISTENT]", "NO [CANNOT]"),
})
lines_row("unsubscribe-with-a-separator-behind", {
    "UNSUBSCRIBE odd.trail.": ("OK", "NO [CANNOT]"),
})
lines_row("mutf7-padding", {'CREATE "&AOT-"': ("NO [CANNOT]", "OK")})
lines_row("append-impossible-date", {
    'APPEND INBOX "32-Jan-2000 00:00:00 +0000" {8}\r\na: b\r\n\r\n': ("BAD", "OK [APPENDUID V1 301]"),
    'APPEND INBOX " 1-Jan-2000 25:00:00 +0000" {8}\r\na: b\r\n\r\n': ("BAD", "OK [APPENDUID V1 302]"),
})


@row("enabled-always", "errors")
def _(case):
    return case.item in ("ENABLE NONSENSE (untagged)", "ENABLE CONDSTORE NONSENSE (untagged)") and \
        case.ours == ["* ENABLED"] and case.theirs in ([], ["* ENABLED CONDSTORE"])


@row("closed-only-when-closed", "errors")
def _(case):
    return case.item == "SELECT (untagged)" and (case.ours, case.theirs) == ([], ["* OK [CLOSED]"])



def list_names(lines):
    return {re.sub(r'^\* LIST \([^)]*\) "\." ', "", line): line for line in lines}


@row("deleted-above-others", "mailboxes")
def _(case):
    """A mailbox that was deleted and has others below: to theirs it can still be selected."""
    if not re.match(r"LIST .* \(untagged\)$", case.item) or type(case.ours) is not list:
        return False
    a, b = list_names(case.ours), list_names(case.theirs)
    unlike = [n for n in a if a[n] != b.get(n)]
    return unlike != [] and all(
        re.search(r"\\(NonExistent|Noselect)", a[n]) and n in b and bare(a[n]) == bare(b[n])
        for n in unlike) and all(n in a or not_listed(n, b, case.item) for n in b)


@row("list-of-what-is-not", "mailboxes")
def _(case):
    """Extended LIST: no mailbox, and neither of the conditions of RFC 5258 section 3."""
    if not re.match(r"LIST .* \(untagged\)$", case.item) or type(case.ours) is not list:
        return False
    a, b = list_names(case.ours), list_names(case.theirs)
    return all(b.get(n) == a[n] for n in a) and all(
        n in a or not_listed(n, b, case.item) for n in b)


def not_listed(name, lines, item):
    """A name that is only above others, in an extended LIST."""
    return re.search(r"RETURN \(|^LIST \(", item) is not None and \
        ("\\NonExistent" in lines[name] or any(n.strip('"').startswith(name.strip('"') + ".")
                                               for n in lines))


def bare(line):
    return re.sub(r"\\HasChildren ?|\\NonExistent ?|\\Noselect ?", "", line).replace(" )", ")")


@row("lsub-percent-within", "mailboxes")
def _(case):
    """A name above a subscribed one, where the pattern has its % further left."""
    return re.match(r'LSUB "[^"]*" "[^"]*%[^"]*[^%"]" \(untagged\)$', case.item) is not None and \
        case.theirs == [x for x in case.ours if not x.startswith("* LSUB (\\Noselect)")]
