# SPDX-License-Identifier: MIT
"""Command sequences for differential.py: [(client number, line as bytes)].

A literal is written with its length, and sent when the server asks for it. Each
script has mailboxes of its own, named by its prefix, so that one does not
depend on what another left.
"""


def literal(data):
    return b"{%d}\r\n%s" % (len(data), data)


# ---- mailboxes and subscriptions ----

STATUS = (b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"MESSAGES UNSEEN UIDNEXT",
          b"RECENT MESSAGES", b"SIZE", b"HIGHESTMODSEQ", b"SIZE MESSAGES")
RETURNS = (b"CHILDREN", b"SUBSCRIBED", b"SUBSCRIBED CHILDREN", b"", b"STATUS (MESSAGES UIDNEXT)",
           b"SPECIAL-USE", b"CHILDREN STATUS (UNSEEN)")
SELECTIONS = (b"", b"(SUBSCRIBED) ", b"(SUBSCRIBED RECURSIVEMATCH) ", b"(REMOTE) ", b"() ",
              b"(SPECIAL-USE) ")


def mailbox_script(rng, prefix, length):
    p = prefix.encode()
    leaves = (b"", b".a", b".b", b".a.c", b".a.c.d", b".b.e", b".U&APw-", b".with blank", b".A",
              b"x", b".q\"q")

    def name():
        text = p + rng.choice(leaves)
        if any(c in b' "%*&\\' for c in text):
            return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        return text

    def pattern():
        return rng.choice((p + b"*", p + b"%", p + b".%", p + b".%.%", p + b".*", p, p + b".a",
                           p + b".a*", b"%", p + b".%.c", p + b"*c", p + b".*.%", b"%.%", p.upper() + b"*",
                           p + b".a.", b"inbox", b"InB*", b"*" + p[-1:] + b"*", p + b".**", p + b".%%",
                           p + b"%.%"))

    def reference():
        return rng.choice((b"", b"", b"", p, p + b".", p + b".a.", b"nowhere."))

    yield 1, b"ENABLE CONDSTORE"
    for _ in range(length):
        kind = rng.randrange(20)
        if kind < 5:
            yield 1, b"CREATE " + name()
        elif kind < 7:
            yield 1, b"UNSELECT"        # theirs ends a session whose mailbox is deleted
            yield 1, b"DELETE " + name()
        elif kind < 9:
            yield 1, b"UNSELECT"
            yield 1, b"RENAME %s %s" % (name(), name())
        elif kind < 11:
            yield 1, b"SUBSCRIBE " + name()
        elif kind < 12:
            yield 1, b"UNSUBSCRIBE " + name()
        elif kind < 14:
            yield 1, b'LIST "%s" "%s"' % (reference(), pattern())
        elif kind < 15:
            yield 1, b'LSUB "%s" "%s"' % (reference(), pattern())
        elif kind < 17:
            several = b"(%s)" % b" ".join(b'"%s"' % pattern() for _ in range(rng.randint(1, 3)))
            yield 1, b'LIST %s"%s" %s RETURN (%s)' % (
                rng.choice(SELECTIONS), reference(),
                rng.choice((several, b'"%s"' % pattern())), rng.choice(RETURNS))
        elif kind < 18:
            yield 1, b"STATUS %s (%s)" % (name(), rng.choice(STATUS))
        elif kind < 19:
            yield 1, b"%s %s" % (rng.choice((b"SELECT", b"EXAMINE")), name())
        else:
            yield 1, rng.choice((b"UNSELECT", b"CLOSE", b'LIST "" ""', b'LIST "a.b" ""', b"NOOP",
                                 b"APPEND %s %s" % (name(), literal(b"Subject: x\r\n\r\ny\r\n"))))


# ---- messages ----

FLAGS = (b"\\Seen", b"\\Deleted", b"\\Flagged", b"\\Answered", b"\\Draft", b"$Forwarded", b"Work",
         b"work", b"\\seen", b"NonJunk", b"a-b.c_d")
DATES = (b"\"17-Jul-1996 02:44:25 -0700\" ", b"\" 1-Jan-2000 00:00:00 +0000\" ",
         b"\"01-Feb-2001 23:59:59 +1400\" ", b"", b"", b"")


def message_script(rng, prefix, length):
    p = prefix.encode()
    boxes = (p, p + b".to", p + b".none")
    serial = 0

    def message():
        nonlocal serial
        serial += 1
        lines = b"line\r\n" * rng.randrange(20)
        text = b"From: a@b\r\nSubject: number %d\r\n\r\n%s" % (serial, lines)
        return text.replace(b"\r\n", b"\n") if rng.random() < 0.2 else text

    def flags():
        return b"(%s)" % b" ".join(rng.sample(FLAGS, rng.randrange(4)))

    def numbers():
        return rng.choice((b"%d" % rng.randint(1, 9), b"1:*", b"*", b"%d:%d" % (
            rng.randint(1, 6), rng.randint(1, 12)), b"1,3,5", b"2:4,1", b"*:2", b"$"))

    def append(box):
        # Theirs loses a keyword behind one that is given twice, "Work work".
        def flags():
            some = {f.lower(): f for f in rng.sample(FLAGS, rng.randrange(4))}
            return b"(%s)" % b" ".join(some.values())

        count = 2 if rng.random() < 0.15 else 1
        return b"APPEND " + box + b" " + b" ".join(
            rng.choice((b"", flags() + b" ")) + rng.choice(DATES) + literal(message())
            for _ in range(count))

    for box in boxes[:2]:
        yield 1, b"CREATE " + box
    for n in (1, 2):
        yield n, b"ENABLE CONDSTORE"
    for _ in range(5):
        yield 1, append(p)
    yield 1, b"SELECT " + p
    yield 2, b"SELECT " + p
    for _ in range(length):
        n = 1 if rng.random() < 0.7 else 2
        kind = rng.randrange(24)
        uid = rng.choice((b"", b"UID "))
        if kind < 4:
            yield n, append(rng.choice(boxes[:2] + boxes))
        elif kind < 10:
            yield n, b"%sSTORE %s %s%sFLAGS%s %s" % (
                uid, numbers(), rng.choice((b"", b"", b"", b"(UNCHANGEDSINCE 1) ")),
                rng.choice((b"", b"+", b"-")), rng.choice((b"", b"", b".SILENT")), flags())
        elif kind < 13:
            yield n, b"%s%s %s %s" % (uid, rng.choice((b"COPY", b"MOVE")), numbers(),
                                      rng.choice(boxes))
        elif kind < 15:
            yield n, rng.choice((b"EXPUNGE", b"UID EXPUNGE " + numbers()))
        elif kind < 18:
            yield n, b"%sFETCH %s (%s)" % (uid, numbers(), rng.choice((
                b"FLAGS", b"FLAGS INTERNALDATE", b"UID RFC822.SIZE", b"BODY.PEEK[TEXT]<0.3>",
                b"BODY[HEADER.FIELDS (SUBJECT)]", b"FLAGS BODY[TEXT]<0.1>", b"MODSEQ", b"RFC822.TEXT")))
        elif kind < 19:
            yield n, b"%sSEARCH %s" % (uid, rng.choice((b"ALL", b"SEEN", b"KEYWORD work",
                                                         b"DELETED", b"UNDELETED", b"RETURN (SAVE) SEEN",
                                                         b"SUBJECT \"number 1\"")))
        elif kind < 20:
            yield n, b"STATUS %s (MESSAGES UIDNEXT UNSEEN UIDVALIDITY)" % rng.choice(boxes)
        elif kind < 22:
            yield n, rng.choice((b"NOOP", b"CHECK"))
        else:
            yield n, rng.choice((b"CLOSE", b"UNSELECT", b"EXAMINE %s" % rng.choice(boxes),
                                 b"SELECT %s (CONDSTORE)" % rng.choice(boxes)))
            yield n, b"SELECT " + rng.choice(boxes[:2])


# ---- what is wrong ----

def error_lines():
    """Before a mailbox is selected, then with one selected."""
    wrong = [
        b"NONSENSE", b"UID", b"UID NONSENSE 1", b"UID NOOP", b"SELECT", b"SELECT a b", b"SELECT ()",
        b"SELECT nowhere", b"EXAMINE nowhere", b"SELECT INBOX (NONSENSE)", b"SELECT INBOX ()",
        b"CREATE", b"CREATE a b", b"CREATE INBOX", b"CREATE inbox", b"CREATE \"\"", b"CREATE .a", b"CREATE a..b",
        b"CREATE a/b", b"CREATE \"&\"", b"CREATE \"&-\"", b"CREATE \"&AOT-\"", b"CREATE \"&AGE-\"", b"CREATE \"&AOT\"",
        b"CREATE " + literal(b"a\nb"), b"CREATE " + literal(b"\xfc"), b"CREATE \"" + b"n" * 300 + b"\"",
        b"DELETE", b"DELETE INBOX", b"DELETE nowhere", b"DELETE \"\"", b"RENAME", b"RENAME a", b"RENAME nowhere b",
        b"RENAME INBOX INBOX", b"RENAME nowhere INBOX", b"RENAME INBOX \"\"", b"SUBSCRIBE", b"SUBSCRIBE \"\"",
        b"UNSUBSCRIBE nowhere", b"UNSUBSCRIBE", b"LIST", b"LIST \"\"", b"LIST \"\" (a", b"LIST \"\" ()",
        b"LIST (NONSENSE) \"\" *", b"LIST \"\" * RETURN (NONSENSE)", b"LIST \"\" * RETURN", b"LIST (RECURSIVEMATCH) \"\" *",
        b"LSUB", b"LSUB \"\"", b"LSUB \"\" * x", b"STATUS", b"STATUS INBOX", b"STATUS INBOX ()",
        b"STATUS INBOX (NONSENSE)", b"STATUS nowhere (MESSAGES)", b"STATUS INBOX MESSAGES", b"APPEND", b"APPEND INBOX",
        b"APPEND INBOX x", b"APPEND nowhere {1}", b"APPEND INBOX (\\Nonsense) " + literal(b"a: b\r\n\r\n"),
        b"APPEND INBOX (\\Recent) " + literal(b"a: b\r\n\r\n"),
        b"APPEND INBOX (a) \"nonsense\" " + literal(b"a: b\r\n\r\n"), b"APPEND INBOX " + literal(b""),
        b"APPEND INBOX \"32-Jan-2000 00:00:00 +0000\" " + literal(b"a: b\r\n\r\n"),
        b"APPEND INBOX \" 1-Jan-2000 25:00:00 +0000\" " + literal(b"a: b\r\n\r\n"),
        b"ENABLE", b"ENABLE NONSENSE", b"ENABLE CONDSTORE NONSENSE", b"ID", b"ID NIL", b"ID (a)", b"ID (\"a\" \"b\")",
        b"ID (\"a\" NIL)", b"NAMESPACE x", b"CAPABILITY x", b"NOOP x", b"LOGIN a b", b"AUTHENTICATE PLAIN",
        b"STARTTLS", b"COMPRESS", b"COMPRESS NONSENSE",
        b"FETCH 1 FLAGS", b"STORE 1 FLAGS (\\Seen)", b"SEARCH ALL", b"COPY 1 INBOX", b"MOVE 1 INBOX", b"EXPUNGE",
        b"CHECK", b"CLOSE", b"UNSELECT", b"UID FETCH 1 FLAGS", b"UID EXPUNGE 1",
    ]
    selected = [
        b"FETCH", b"FETCH 1", b"FETCH 1 ()", b"FETCH 1 NONSENSE", b"FETCH x FLAGS", b"FETCH 0 FLAGS", b"FETCH 1:0 FLAGS",
        b"FETCH 999 FLAGS", b"FETCH 999:1000 FLAGS", b"FETCH 1, FLAGS", b"FETCH ,1 FLAGS", b"FETCH 1:2:3 FLAGS",
        b"FETCH 1 (FLAGS", b"FETCH 1 FLAGS)", b"FETCH 1 FLAGS UID", b"FETCH 1 BODY[", b"FETCH 1 BODY[]", b"FETCH 1 BODY[x]",
        b"FETCH 1 BODY[0]", b"FETCH 1 BODY[1.]", b"FETCH 1 BODY[1.0]", b"FETCH 1 BODY[.1]", b"FETCH 1 BODY[MIME]",
        b"FETCH 1 BODY[1.NONSENSE]", b"FETCH 1 BODY[HEADER.FIELDS]", b"FETCH 1 BODY[HEADER.FIELDS ()]",
        b"FETCH 1 BODY[HEADER.FIELDS (]", b"FETCH 1 BODY[HEADER.FIELDS (a)", b"FETCH 1 BODY[]<>", b"FETCH 1 BODY[]<0>",
        b"FETCH 1 BODY[]<0.0>", b"FETCH 1 BODY[]<x.1>", b"FETCH 1 BODY[]<1.x>", b"FETCH 1 BODY[]<1.2", b"FETCH 1 BODY[]<1.2>x",
        b"FETCH 1 BODY[]<0.99999999999999999999>", b"FETCH 1 BODY[99999999999]", b"FETCH 1 BODY[TEXT.1]",
        b"FETCH 1 BODY.PEEK", b"FETCH 1 RFC822.PEEK", b"FETCH 1 ALL", b"FETCH 1 FAST", b"FETCH 1 FULL", b"FETCH 1 (ALL)",
        b"FETCH 1 (FLAGS FULL)", b"FETCH 1 (FLAGS FLAGS)", b"FETCH 1 FLAGS (CHANGEDSINCE)", b"FETCH 1 FLAGS (CHANGEDSINCE x)",
        b"FETCH 1 FLAGS (CHANGEDSINCE 99999999999999999999)", b"FETCH 1 FLAGS (NONSENSE 1)", b"FETCH $ FLAGS",
        b"FETCH 1 (FLAGS) (VANISHED)", b"UID FETCH 1 FLAGS (VANISHED)", b"UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        b"UID FETCH 0 FLAGS", b"UID FETCH 4294967295 UID", b"UID FETCH 4294967296 UID", b"UID FETCH 9999 FLAGS",
        b"UID FETCH 9999:10000 UID", b"FETCH 4294967296 UID",
        b"STORE", b"STORE 1", b"STORE 1 FLAGS", b"STORE 1 FLAGS ()", b"STORE 1 NONSENSE (\\Seen)", b"STORE 1 FLAGS (\\Nonsense)",
        b"STORE 1 FLAGS (\\Recent)", b"STORE 1 +FLAGS (\\*)", b"STORE 1 +FLAGS \\Seen", b"STORE 1 +FLAGS \\Seen \\Flagged",
        b"STORE 1 +FLAGS (a b", b"STORE 1 +FLAGS ((a))", b"STORE 999 +FLAGS (a)", b"STORE 0 +FLAGS (a)", b"STORE x +FLAGS (a)",
        b"STORE 1 (UNCHANGEDSINCE) +FLAGS (a)", b"STORE 1 (UNCHANGEDSINCE x) +FLAGS (a)", b"STORE 1 (NONSENSE 1) +FLAGS (a)",
        b"STORE 1 FLAGS.NONSENSE (a)", b"STORE 1 +FLAGS \"a\"", b"STORE 1 +FLAGS (\"a\")", b"STORE 1 -FLAGS.SILENT (a)",
        b"UID STORE 9999 +FLAGS (a)", b"STORE 1 +FLAGS (a]b)", b"STORE 1 +FLAGS (a{b)",
        b"COPY", b"COPY 1", b"COPY 1 nowhere", b"COPY x INBOX", b"COPY 999 INBOX", b"COPY 1 \"\"", b"COPY 1 a..b",
        b"UID COPY 9999 INBOX", b"UID COPY 9999 nowhere", b"MOVE", b"MOVE 1", b"MOVE 1 nowhere", b"MOVE 999 INBOX",
        b"UID MOVE 9999 INBOX", b"UID MOVE 9999 nowhere", b"EXPUNGE 1", b"UID EXPUNGE", b"UID EXPUNGE x", b"UID EXPUNGE 9999",
        b"SEARCH", b"UID SEARCH", b"CHECK x", b"CLOSE x", b"UNSELECT x", b"UID FETCH", b"UID STORE", b"UID COPY",
        b"SELECT nowhere", b"FETCH 1 FLAGS",
    ]
    examined = [b"STORE 1 +FLAGS (a)", b"STORE 1 +FLAGS.SILENT (a)", b"UID STORE 1 FLAGS ()", b"EXPUNGE", b"UID EXPUNGE 1",
                b"FETCH 1 BODY[]<0.1>", b"FETCH 1 RFC822.TEXT", b"CLOSE",
                b"APPEND errors \"1-Jan-2000 00:00:00 +0000\" " + literal(b"a: b\r\n\r\n")]
    names = [b"%s %s" % (command, name) for name in (
        b"\"odd.a%\"", b"\"odd.c*d\"", b"odd.trail.", b"\"odd. x\"", b"\"odd.x \"", b"odd.~x", b"odd.x\\y")
        for command in (b"CREATE", b"SUBSCRIBE", b"STATUS", b"UNSUBSCRIBE", b"DELETE")]
    names = [line + b" (MESSAGES)" if line.startswith(b"STATUS") else line for line in names]
    # A server may end a connection that it hears only nonsense from.
    number = 0
    yield 0, b"CREATE errors"
    for i in range(3):
        yield 0, b"APPEND errors " + literal(b"Subject: %d\r\n\r\nbody\r\n" % i)
    for lines, first in ((wrong, None), (names, None), (selected, b"SELECT errors"),
                         (wrong[:5], b"SELECT errors"), (examined, b"EXAMINE errors")):
        for i, line in enumerate(lines):
            if i % 8 == 0:
                number += 1
                yield number, b"ENABLE CONDSTORE"
                if first:
                    yield number, first
            yield number, line
