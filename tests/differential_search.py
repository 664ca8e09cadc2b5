# SPDX-License-Identifier: MIT
"""SEARCH commands for differential.py, as bytes behind "UID SEARCH ".

All keys of RFC 3501 6.4.4 on what corpus_mail.py holds, then random trees of
them with NOT, OR and parentheses, charsets, ESEARCH (RFC 4731) and SEARCHRES
(RFC 5182). With each command come the text keys it is made of: what is known of
one of them for a message need not be known of each tree it stands in.
"""
import re

FLAGS = (b"ANSWERED", b"DELETED", b"DRAFT", b"FLAGGED", b"SEEN", b"UNANSWERED", b"UNDELETED",
         b"UNDRAFT", b"UNFLAGGED", b"UNSEEN")
DATES = (b"1-Jan-1970", b"7-Feb-1994", b"07-Feb-1994", b"8-Feb-1994", b"6-Feb-1994",
         b"9-Sep-2001", b"10-Sep-2001", b"15-Mar-2002", b"28-Feb-2003", b"1-Jan-2010",
         b"29-Feb-2004", b"\"12-Sep-2001\"")
WORDS = (b"meeting", b"MEETING", b"afternoon", b"dormouse", b"eti", b"fox jumps", b"lazy\xc2\xa0dog",
         b"multipart", b"x", b"a@b", b"@", b"Person 999", b"p17@example.org", b"gr\xc3\xbc\xc3\x9fe",
         b"GR\xc3\x9c\xc3\x9fE", b"\xc3\xbc", b"J\xc3\xbcrgen", b"\xc3\xa4\xc3\xb6", b"boundary", b"=?utf-8",
         b"text/plain", b"VCALENDAR", b"phantom", b"cut", b"nothing of the kind", b"soft",
         b"x=zz", b"d@x.example", b"\xe5\xb1\xb1\xe7\x94\xb0", b"level 7", b"core", b"%", b"*",
         b"Undelivered", b"signed", b"Delivery report", b"\xe2\x82\xac", b"one", b"i1", b"word word",
         b"Fred Foobar", b"foobar@", b"blurdybloop.example", b"inner", b"just body", b"text 2",
         b"mx.example.org", b"PGP", b"  ", b"\xd0\xbf\xd1\x80\xd0\xb8", b"unclosed", b"group",
         b"quoted only", b"--sep", b"5.1.1", b"Bericht", b"winmail")
FIELDS = (b"Subject", b"subject", b"Message-ID", b"X-Level", b"Content-Type", b"To", b"Received",
          b"X-None", b"From", b"In-Reply-To", b"List-Unsubscribe", b"MIME-Version", b"Resent-From",
          b"DKIM-Signature", b"Date", b"Content-Language", b"X", b"Subjec")
SIZES = (0, 1, 2, 3, 100, 190, 299, 300, 301, 650, 1000, 5000, 100000, 1000000, 1500000, 4294967295)


def literal(text):
    return b"{%d}\r\n%s" % (len(text), text)


def string(rng, text):
    if any(c >= 128 or c in b"\"\\%*" for c in text) or rng.random() < 0.1:
        return literal(text)
    return b'"' + text + b'"'


def key(rng, count, leaves, depth=0):
    text = any_key(rng, count, leaves, depth)
    if re.match(rb"SENT|FROM|TO|CC|BCC|SUBJECT|HEADER|BODY|TEXT", text):
        leaves.append(text)
    return text


def any_key(rng, count, leaves, depth):
    kind = rng.randrange(17 if depth < 3 else 13)
    word = rng.choice(WORDS)
    if kind < 2:
        return rng.choice(FLAGS)
    if kind == 2:
        return b"%s %s" % (rng.choice((b"BEFORE", b"ON", b"SINCE", b"SENTBEFORE", b"SENTON",
                                       b"SENTSINCE")), rng.choice(DATES))
    if kind == 3:
        return b"%s %d" % (rng.choice((b"LARGER", b"SMALLER")), rng.choice(SIZES))
    if kind == 4:
        return rng.choice((b"%d:%d", b"UID %d:%d")) % tuple(
            rng.randint(1, count) for _ in range(2))
    if kind == 5:
        return rng.choice((b"ALL", b"UID *", b"1:*", b"UID 9999:*", b"KEYWORD nope",
                           b"UNKEYWORD nope", b"2,4:7,9", b"UID 100,200:299"))
    if kind < 9:
        return b"%s %s" % (rng.choice((b"FROM", b"TO", b"CC", b"BCC", b"SUBJECT")),
                           string(rng, word))
    if kind == 9:
        return b"HEADER %s %s" % (rng.choice(FIELDS), string(rng, rng.choice((b"", word, word))))
    if kind < 12:
        return b"%s %s" % (rng.choice((b"BODY", b"TEXT")), string(rng, word))
    if kind == 12:
        return b"NOT " + key(rng, count, leaves, depth + 1)
    if kind < 15:
        return b"OR %s %s" % (key(rng, count, leaves, depth + 1), key(rng, count, leaves, depth + 1))
    return b"(%s)" % b" ".join(key(rng, count, leaves, depth + 1) for _ in range(rng.randint(1, 3)))


def single_keys(rng):
    yield from FLAGS
    for name in (b"BEFORE", b"ON", b"SINCE", b"SENTBEFORE", b"SENTON", b"SENTSINCE"):
        for date in DATES:
            yield b"%s %s" % (name, date)
    for size in SIZES:
        yield b"LARGER %d" % size
        yield b"SMALLER %d" % size
    for word in WORDS + (b"",):
        for name in (b"FROM", b"TO", b"CC", b"BCC", b"SUBJECT", b"BODY", b"TEXT"):
            yield b"CHARSET UTF-8 %s %s" % (name, string(rng, word))
    for field in FIELDS:
        yield b"HEADER %s \"\"" % field
        yield b"HEADER %s %s" % (field, string(rng, rng.choice(WORDS)))


CHARSETS = (b"CHARSET US-ASCII", b"CHARSET utf-8", b"CHARSET \"UTF-8\"", b"CHARSET ISO-8859-1",
            b"CHARSET iso-8859-15", b"CHARSET WINDOWS-1252", b"CHARSET KOI8-R", b"CHARSET X-UNKNOWN",
            b"CHARSET US-ASCII")
IN_CHARSET = ((b"ISO-8859-1", b"gr\xfc\xdfe"), (b"iso-8859-1", b"\xe4\xf6"), (b"koi8-r", b"\xf0\xd2\xc9"),
              (b"windows-1252", b"\x80"), (b"utf-8", b"\xff\xfe"), (b"us-ascii", b"\xfc"))


def special_keys():
    """Charsets, and results in RFC 4731's forms; what is wrong, too."""
    for charset in CHARSETS:
        yield charset + b" FROM foobar"
    for charset, text in IN_CHARSET:
        for name in (b"SUBJECT", b"TEXT", b"BODY"):
            yield b"CHARSET %s %s %s" % (charset, name, literal(text))
    yield b"SUBJECT " + literal(b"gr\xc3\xbc\xc3\x9fe")
    for returns in (b"", b"MIN", b"MAX", b"COUNT", b"ALL", b"MIN MAX", b"MIN COUNT", b"ALL COUNT",
                    b"MIN MAX ALL COUNT", b"COUNT MAX"):
        for what in (b"ALL", b"SEEN", b"UID 9999", b"FROM foobar", b"UID 9999:*"):
            yield b"RETURN (%s) %s" % (returns, what)
    yield b"RETURN (SAVE) SEEN"
    yield b"$"
    yield b"NOT $"
    yield b"UID $"
    yield b"RETURN (SAVE MIN) FLAGGED"
    yield b"$"
    yield b"RETURN (SAVE MIN MAX) FLAGGED"
    yield b"$"
    yield b"RETURN (SAVE ALL COUNT) DELETED"
    yield b"RETURN (COUNT) $"
    yield b"OR $ SEEN"
    yield b"RETURN (SAVE) UID 9999"
    yield b"$"
    yield b"RETURN (SAVE) SEEN"
    yield b"RETURN (SAVE) CHARSET X-NONE ALL"
    yield b"$"
    yield b"RETURN (SAVE) NONSENSE"
    yield b"RETURN (COUNT) $"
    for wrong in (b"", b"NOT", b"OR SEEN", b"OR", b"()", b"FROM", b"LARGER x", b"LARGER -1", b"ON x",
                  b"ON 32-Jan-2000", b"ON 1-Foo-2000", b"SINCE 1-Jan-20000", b"UID", b"UID 0", b"0",
                  b"UID x", b"1:", b"HEADER", b"HEADER Subject", b"KEYWORD", b"KEYWORD \\Seen",
                  b"NONSENSE", b"RETURN", b"RETURN (NONSENSE) ALL", b"RETURN (MIN", b"CHARSET",
                  b"CHARSET UTF-8", b"(SEEN", b"SEEN)", b"SEEN  FLAGGED", b"CHARSET UTF-8 CHARSET UTF-8 ALL",
                  b"SUBJECT (a)", b"BEFORE", b"MODSEQ", b"MODSEQ x", b"MODSEQ 1 SEEN", b"RETURN () ALL",
                  b"return (min) seen", b"not seen", b"Or sEEn unSeen", b"LARGER 4294967296",
                  b"SMALLER 18446744073709551615", b"301", b"300:301",
                  b"* 1", b"UID 4294967295", b"UID 4294967296", b"RECENT", b"OLD", b"NEW", b"KEYWORD a,b",
                  b"SUBJECT {3}", b"SUBJECT \"a", b"FROM a TO b", b"TEXT \"\"", b"BODY \"\""):
        if wrong not in (b"RECENT", b"OLD", b"NEW", b"SUBJECT {3}"):
            yield wrong


def search_keys(rng, count, short):
    single = list(single_keys(rng))
    for args in rng.sample(single, 150) if short else single:
        yield args, []
    for args in special_keys():
        yield args, [b"FROM a", b"TO b"] if args == b"FROM a TO b" else []
    for _ in range(100 if short else 1200):
        leaves = []
        args = b" ".join(key(rng, count, leaves) for _ in range(rng.choice((1, 1, 2, 3))))
        yield in_utf8(args), [in_utf8(leaf) for leaf in leaves]


def in_utf8(args):
    return b"CHARSET UTF-8 " + args if any(c >= 128 for c in args) else args
