# SPDX-License-Identifier: MIT
"""300 odd messages, the same ones for the same seed.

    for name, data in corpus_mail.messages(seed=1): ...
    python3 tests/corpus_mail.py DIR [SEED]     writes them as files

What mail really looks like (lists, digests, bounces, invitations, S/MIME,
forwards in forwards), each rule of RFC 5322 and 2045-2047 and 2231 broken in
turn, then random trees of parts with random damage. No message here is larger
than about 1.2 MB; what must only be survived (20 MB headers, 20 000 parts) is
made by huge().
"""
import base64
import os
import random
import sys

COUNT = 300
SEED = 1

DATE = "Mon, 7 Feb 1994 21:52:25 -0800 (PST)"
TOP = ("Return-Path: <fred@example.org>\n"
       "Date: " + DATE + "\n"
       "From: Fred Foobar <foobar@Blurdybloop.example>\n"
       "Subject: afternoon meeting\n"
       "To: mooch@owatagu.example\n"
       "Message-Id: <B27397-0100000@Blurdybloop.example>\n")
MIME = "MIME-Version: 1.0\n"


def b(text):
    """Characters are bytes here."""
    return text if isinstance(text, bytes) else text.encode("latin-1")


def crlf(data):
    return b(data).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def message(header, body="", top=TOP):
    return b(top) + b(header) + b"\n" + b(body)


def multipart(parts, boundary="sep", subtype="mixed", preamble="", epilogue="",
              more="", end=True):
    """Header fields and body of a multipart whose parts are whole texts."""
    out = b"Content-Type: multipart/%s; boundary=\"%s\"%s\n" % (b(subtype), b(boundary), b(more))
    out += b"\n" + b(preamble)
    for part in parts:
        out += b"\n--" + b(boundary) + b"\n" + b(part)
    return out + (b"\n--" + b(boundary) + b"--\n" if end else b"") + b(epilogue)


def part(text, header="Content-Type: text/plain\n"):
    return b(header) + b"\n" + b(text)


def base64_of(data, width=76):
    text = base64.b64encode(b(data)).decode()
    return "\n".join(text[i:i + width] for i in range(0, len(text), width)) + "\n"


def filler(rng, size):
    words = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "dormouse",
             "sleeps", "in", "the", "teapot", "while", "mail", "arrives")
    out, line = [], ""
    while size > 0:
        line += rng.choice(words) + " "
        if len(line) > 60:
            out.append(line.rstrip())
            size -= len(line)
            line = ""
    return "\n".join(out) + "\n"


# ---- plain ----

def plain(rng):
    yield "plain", message("", "Hello Joe, do you think we can meet at 3:30 tomorrow?\n")
    yield "plain-crlf", crlf(message("", "One\nTwo\n"))
    yield "plain-mixed-ends", b(TOP).replace(b"\n", b"\r\n") + b"\r\nOne\nTwo\r\nThree\n\r\n"
    yield "plain-no-last-newline", message("", "no newline at the end")
    yield "plain-only-cr", message("", "a\rb\rc\r")
    yield "plain-cr-cr-lf", message("", "a\r\r\nb\r\r\n\r\r\n")
    yield "plain-empty-body", message("")
    yield "plain-no-empty-line", b(TOP)
    yield "plain-header-cut", b(TOP)[:-1]
    yield "plain-header-cut-in-name", b(TOP) + b"X-Cu"
    yield "empty", b""
    yield "one-newline", b"\n"
    yield "one-crlf", b"\r\n"
    yield "one-byte", b"x"
    yield "one-cr", b"\r"
    yield "no-header", b"\nOnly a body\nof two lines\n"
    yield "body-first", b"This is not a header at all\nneither is this\n\nand this is body\n"
    yield "only-colon", b": nothing\n:\n\nbody\n"
    yield "mbox-from-line", b"From fred@example.org Mon Feb  7 21:52:25 1994\n" + message("", "x\n")
    yield "escaped-from-line", b">From fred@example.org Mon Feb  7\n" + message("", "x\n")
    yield "long-line", message("", "x" * 1000000 + "\n")
    yield "many-lines", message("", "\n" * 30000)
    yield "many-crlf", message("", "\r\n" * 30000)
    yield "nul-bytes", message("X-Nul: a\0b\n", "a\0b\0\0\n\0")
    yield "nul-in-subject", b"Subject: a\0b\nFrom: \0 <a\0b@c>\nTo: \"q\0r\" <x@y>\n\nx\n"
    yield "all-bytes", message("", bytes(range(256)) * 4)
    yield "eight-bit-body", message(MIME + "Content-Type: text/plain; charset=iso-8859-1\n"
                                    "Content-Transfer-Encoding: 8bit\n", "gr\xfc\xdfe\n")
    yield "eight-bit-header", b("Subject: gr\xfc\xdfe\nFrom: J\xfcrgen <j@example.org>\n"
                                "To: \"M\xfcller\" <m\xfc@example.org>\n\nx\n")
    yield "utf8-header", ("Subject: grüße — ok\nFrom: Jürgen <jürgen@exämple.org>\n"
                          "To: \"山田\" <y@example.org>\n\nx\n").encode()
    yield "utf8-broken-header", b"Subject: \xc3( \xe2\x82 \xff\nFrom: \xc3 <a@b>\n\nx\n"
    yield "binary", message(MIME + "Content-Type: application/octet-stream\n"
                            "Content-Transfer-Encoding: binary\n", rng.randbytes(3000))
    yield "blank-lines-first", b"\n\n" + message("", "x\n")
    yield "space-line-in-header", b"From: a@b\n \nSubject: s\n\t\nTo: c@d\n\nx\n"
    yield "space-line-ends-header", b"From: a@b\nSubject: s\n   \n\nx\n"
    yield "tab-folds", b"Subject:\n\ta\n\tb\n \tc\nFrom:\n\ta@b\n\nx\n"
    yield "fold-at-start", b" folded first\nFrom: a@b\n\nx\n"
    yield "trailing-blanks", b"Subject:  a b  \nFrom: a@b   \nTo:\t<c@d>\t\n\nx\n"
    yield "blank-before-colon", b"Subject : s\nFrom\t: a@b\nContent-Type : text/html\n\n<p>\n"
    yield "no-blank-after-colon", b"Subject:s\nFrom:a@b\nDate:now\n\nx\n"
    yield "empty-fields", b"Subject:\nFrom:\nTo:\nCc: \nDate:\nMessage-ID:\nIn-Reply-To:\n\nx\n"
    yield "blank-fields", b"Subject: \t \nFrom: \t\nDate: \n Mon\n\nx\n"
    yield "lower-case-fields", b"subject: s\nfrom: a@b\ndate: d\nmessage-id: <m>\n\nx\n"
    yield "upper-case-fields", b"SUBJECT: s\nFROM: a@b\nDATE: d\nMESSAGE-ID: <m>\n\nx\n"
    yield "doubled-fields", (b"Subject: one\nSubject: two\nFrom: a@b\nFrom: c@d\nTo: e@f\n"
                             b"To: g@h\nDate: 1\nDate: 2\nMessage-ID: <1>\nMessage-ID: <2>\n\nx\n")
    yield "doubled-mime", message(MIME + "Content-Type: text/plain\nContent-Type: text/html\n"
                                  "Content-Transfer-Encoding: 7bit\n"
                                  "Content-Transfer-Encoding: base64\n"
                                  "Content-Id: <1>\nContent-Id: <2>\n", "x\n")
    yield "long-header-line", b"Subject: " + b"y" * 100000 + b"\nFrom: a@b\n\nx\n"
    yield "long-folded", b"Subject: " + b"word\n " * 5000 + b"\nFrom: a@b\n\nx\n"
    yield "many-fields", b"".join(b"X-%d: %d\n" % (i, i) for i in range(2000)) + b"Subject: s\n\nx\n"
    yield "line-without-colon", b"From: a@b\nno colon here\nSubject: s\n\nx\n"
    yield "field-name-odd", b"From: a@b\nX y z: 1\n(c): 2\n\"q\": 3\nSubject: s\n\nx\n"
    yield "references", message("In-Reply-To: <a@b> (comment)\n <c@d>\nReferences: <a@b>\n\t<c@d>\n")
    yield "bcc-and-all", message("Sender: s@x.example\nReply-To: r@x.example, q@x.example\n"
                                 "Cc: c@x.example\nBcc: b@x.example, \n d@x.example\n")
    yield "resent", message("Resent-From: x@y.example\nResent-To: z@y.example\n"
                            "Resent-Date: " + DATE + "\n")
    yield "quoted-printable", message(MIME + "Content-Type: text/plain; charset=utf-8\n"
                                      "Content-Transfer-Encoding: quoted-printable\n",
                                      "gr=C3=BC=C3=9Fe=\n soft\n=\nx=3D=zz\n")
    yield "format-flowed", message(MIME + "Content-Type: text/plain; format=flowed; delsp=yes\n",
                                   "flowed \ntext\n-- \nsig\n")
    yield "html", message(MIME + "Content-Type: TEXT/HTML; CHARSET=US-ASCII\n", "<p>hi</p>\n")
    yield "large-text", message("", filler(rng, 200000))


# ---- addresses ----

ADDRESSES = (
    "a@b", "<a@b>", "A <a@b>", "\"A\" <a@b>", "\"A B\" C <a@b>", "a@b (comment)", "(pre) a@b",
    "a@b (c1) (c2)", "A (c) <a@b>", "a (in) @ (between) b", "a@b, c@d", "a@b,, c@d", ",a@b,",
    "a", "a, b", "<a>", "A <a>", "A", "A B C", "\"quoted only\"", "<>", "<@>", "@b", "a@", "<a@>",
    "<@b>", "A <>", "<@r1:a@b>", "<@r1,@r2:a@b>", "A <@r1,@r2 : a@b>", "<@r1:@r2:a@b>", "<@r:>",
    "group:;", "group: a@b;", "group: a@b, C <c@d>;", "\"q g\": a@b;", "g: a@b", "g: ; , x@y",
    "x@y, g: a@b; , z@w", "g: h: a@b; ;", "undisclosed-recipients:;",
    "undisclosed-recipients: ;", "Undisclosed recipients:;", ":;", ":", ";", "a;b", "a@b; c@d",
    "\"a b\"@c", "\"a\\\"b\"@c", "\"a@b\"@c", "\"\"@c", "\"a\".b@c", "a.\"b\"@c", "a . b @ c . d",
    "a.b.@c", ".a@b", "a..b@c", "a@b.", "a@.b", "a@b..c", "a@[1.2.3.4]", "a@[IPv6:::1]",
    "a@[x\\]y]", "a@[ 1 . 2 ]", "a@[unclosed", "a@b c@d", "a b@c", "a b c <d@e>", "A. B. <a@b>",
    "A.B <a@b>", "Dr. A <a@b>", "\"A\\\\B\" <a@b>", "\"A\\B\" <a@b>", "\"unclosed <a@b>",
    "\"unclosed", "(unclosed a@b", "a@b (unclosed", "(a (nested) b) a@b", "(a \\) b) a@b",
    "a@b )", "A <a@b", "A <a@b> B", "A <a@b> <c@d>", "A <a@b>>", "A <<a@b>>", "A < a@b >",
    "A <a@b> (c)", "A <a @ b>", "A <a b@c>", "A <mailto:a@b>", "mailto:a@b", "A<a@b>", "A\"B\"<a@b>",
    "\"A\"\"B\" <a@b>", "=?utf-8?Q?J=C3=BC?= <a@b>", "\"=?utf-8?Q?J=C3=BC?=\" <a@b>",
    "=?utf-8?B?SsO8?= =?utf-8?B?SsO8?= <a@b>", "a@b (=?utf-8?Q?J=C3=BC?=)", "a@=?utf-8?Q?x?=",
    "a%b@c", "a!b!c", "a@b@c", "<a@b@c>", "/o=X/ou=Y <x400@gw>", "/G=A/S=B/@gw", "a:b@c",
    "\"A, B\" <a@b>, C <c@d>", "A, B <a@b>", "A; B <a@b>", "a@b\tc", "'a@b'", "'A' <a@b>",
    "A's <a@b>", "a+b@c", "a=b@c", "a/b@c", "a b", "a\\b@c", "A \\<a@b\\>", "[list] <a@b>",
    "A [x] <a@b>", "A <a@b>; B <c@d>", "A <a@b>, <c@d> B", "A\x01B <a@b>", "A\x7f <a@b>",
    "\"A\x01\" <a@b>", "A \"\" <a@b>", "\"\" <a@b>", "\" \" <a@b>", "\" A \" <a@b>", "() a@b",
    "( ) <a@b>", "a@b ()", "(only comment)", "\"A\" (c) \"B\" <a@b>", "A (c", "A. <a@b>",
    "<a@b>, , , <c@d>", "  ,  ", "a@b,", "A <a@b>,B <c@d>,C<e@f>", "..@b", "a@..", "a(b)c@d",
    "a@b(c)d", "\"a\" b@c", "a \"b\"@c", "a@b <c@d>", "<a@b> c", "A <\"a b\"@c>", "A <a@b.c.>",
    "A:B <a@b>", "A: B <a@b>;", "A@B <a@b>", "\xe4 <a@b>", "\"\xe4\" <\xe4@b>", "a@\xe4",
)


def addresses(rng):
    for at in range(0, len(ADDRESSES), 8):
        some = ADDRESSES[at:at + 8]
        fields = ("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "From", "To")
        text = "".join("%s: %s\n" % pair for pair in zip(fields, some))
        yield "addresses-%d" % at, b(text + "Date: d\n\nx\n")
    for i in range(12):
        text = ""
        for field in ("From", "Sender", "Reply-To", "To", "Cc", "Bcc"):
            several = [rng.choice(ADDRESSES) for _ in range(rng.randint(1, 6))]
            text += "%s: %s\n" % (field, rng.choice((", ", ",", ",\n ", ";", " ")).join(several))
        yield "addresses-joined-%d" % i, b(text + "\nx\n")
    for i in range(8):
        odd = "ab .,;:@<>()\"\\[]\t\n =?"
        text = "".join("%s: %s\n" % (field, "".join(rng.choice(odd) for _ in range(40)).replace(
            "\n", "\n ")) for field in ("From", "To", "Cc"))
        yield "addresses-noise-%d" % i, b(text + "Subject: s\n\nx\n")
    yield "thousand-recipients", message(
        "Cc: " + ",\n ".join("Person %d <p%d@example.org>" % (i, i) for i in range(1000)) + "\n")


# ---- what a Content-Type can be ----

TYPES = (
    "text/plain", "TEXT/Plain", "text", "text/", "/plain", "/", "", "text plain", "text/plain;",
    "text/plain;;", "text/plain; charset", "text/plain; charset=", "text/plain; =x",
    "text/plain; charset=\"\"", "text/plain; charset=utf-8; charset=latin1",
    "text/plain; charset=\"utf-8", "text/plain; charset=\"a\\\"b\"", "text/plain; charset=\"a\\b\"",
    "text/plain; charset = utf-8", "text/plain ; charset=utf-8", "text / plain; charset=utf-8",
    "text/plain; charset=utf-8 (comment)", "text/plain (c); (d) charset=(e)utf-8",
    "(c) text/plain", "text/(c)plain", "text/plain charset=utf-8", "text/plain, charset=utf-8",
    "text/plain; charset=utf-8 format=flowed", "text/plain; charset='utf-8'",
    "text/plain; charset=x-unknown-9", "text/plain; charset=a/b", "text/plain; name=a b c",
    "text/plain; name=a@b; x=y", "text/plain; name=\"a;b\"; x=y", "text/plain; name=\"a\n b\"",
    "text/plain; name=\"=?utf-8?Q?=C3=BC?=\"", "text/plain; name==?utf-8?Q?=C3=BC?=",
    "text/plain; name*=utf-8''%C3%BC", "text/plain; name*=utf-8'en'%C3%BC%zz; name=u",
    "text/plain; name*0=\"a\"; name*1=\"b\"; name*2=c", "text/plain; name*0*=utf-8''a%20; name*1=b",
    "text/plain; name*1=b; name*0=a", "text/plain; name*0=a; name*2=c", "text/plain; name*=x",
    "text/plain; name=\xfc", "text/plain; name=\"\xfc\"", "x/y; a=" + "z" * 2000,
    "application/octet-stream; name=\"a\\\\b.txt\"", "text/html; charset=\"utf-8\"; x=\"\"",
    "message/rfc822", "message/rfc822; name=x", "message/delivery-status", "message/partial; id=1",
    "message/global", "message/external-body; access-type=URL; url=\"http://example.org/\"",
    "multipart/mixed", "multipart/mixed; boundary", "multipart/mixed; boundary=",
    "multipart/mixed; boundary=\"\"", "multipart/digest; boundary=x", "multipart", "multipart/",
    "image/svg+xml; name=a.svg", "a/b/c", "text/plain/x; charset=y", "text/pl\0ain", "text=plain",
    "\"text\"/plain", "\"text/plain\"", "text/\"plain\"", "text/plain; \"charset\"=utf-8",
)
DISPOSITIONS = (
    "inline", "attachment", "ATTACHMENT; FILENAME=x", "attachment; filename=\"a b.txt\"",
    "attachment; filename=a b.txt", "", ";", "; filename=x", "attachment; filename*=utf-8''%C3%BC",
    "attachment; filename*0=a; filename*1=b", "attachment; size=12; creation-date=\"now\"",
    "\"attachment\"", "attachment filename=x", "form-data; name=x", "(c) inline", "inline (c)",
    "attachment; filename=\"unclosed", "attach ment; a=b", "attachment; filename=\xfc",
)
ENCODINGS = ("7bit", "8BIT", "base64", "BASE64 ", "quoted-printable", "x-uuencode", "", "7bit;",
             "\"base64\"", "base64 (c)", "(c) base64", "base 64", "binary", "7-bit", "\xfc")
LANGUAGES = ("en", "en, de", "en,de (German),fr", "", ",", "en;q=1", "\"en\"", "i-klingon, mn")


def content_fields(rng):
    for at in range(0, len(TYPES), 6):
        parts = [part("text %d\n" % i, "Content-Type: %s\n" % t)
                 for i, t in enumerate(TYPES[at:at + 6])]
        yield "types-%d" % at, message(MIME, top=TOP)[:-1] + multipart(parts)
    for i, t in enumerate(TYPES[:12] + TYPES[52:66]):
        yield "type-alone-%d" % i, message(MIME + "Content-Type: %s\n" % t, "\n--x\n\ny\n--x--\n")
    parts = [part("d\n", "Content-Disposition: %s\n" % d) for d in DISPOSITIONS]
    yield "dispositions", message(MIME)[:-1] + multipart(parts)
    parts = [part("ZAo=\n", "Content-Transfer-Encoding: %s\n" % e) for e in ENCODINGS]
    yield "encodings", message(MIME)[:-1] + multipart(parts)
    parts = [part("x\n", "Content-Language: %s\nContent-Location: http://example.org/\n\t%d\n"
                  "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-ID: <%d@x>\n"
                  "Content-Description: part \"%d\" (x)\n" % (lang, i, i, i))
             for i, lang in enumerate(LANGUAGES)]
    yield "languages", message(MIME)[:-1] + multipart(parts)
    yield "content-without-version", message("Content-Type: text/html\n", "<p>\n")
    yield "multipart-without-version", message("")[:-1] + multipart([part("a\n"), part("b\n")])
    yield "version-odd", message("MIME-Version: (x) 2.7\nContent-Type: text/html\n", "<p>\n")
    yield "multipart-base64", message(MIME + "Content-Transfer-Encoding: base64\n")[:-1] + \
        multipart([part("a\n")])


# ---- multiparts ----

def multiparts(rng):
    two = [part("one\n"), part("<p>\n", "Content-Type: text/html\n")]
    head = message(MIME)[:-1]
    yield "multipart", head + multipart(two)
    yield "multipart-crlf", crlf(head + multipart(two))
    yield "multipart-mixed-ends", head + multipart(two).replace(b"\n--sep", b"\r\n--sep\r", 1)
    yield "multipart-preamble", head + multipart(two, preamble="This is MIME.\nReally.\n")
    yield "multipart-epilogue", head + multipart(two, epilogue="left\nover\n")
    yield "multipart-both", head + multipart(two, preamble="p", epilogue="e")
    yield "multipart-no-end", head + multipart(two, end=False)
    yield "multipart-cut-in-boundary", (head + multipart(two))[:-6]
    yield "multipart-no-parts", head + multipart([])
    yield "multipart-only-text", message(MIME + "Content-Type: multipart/mixed; boundary=x\n", "no\n")
    yield "multipart-empty-body", message(MIME + "Content-Type: multipart/mixed; boundary=x\n")
    yield "multipart-no-boundary", message(MIME + "Content-Type: multipart/mixed\n", "--\n\nx\n----\n")
    yield "multipart-empty-parts", head + multipart(["", "", "\n", "\n\n"])
    yield "multipart-no-part-header", head + multipart(["\nbody\n", "\n\nbody\n", "body\n"])
    yield "multipart-part-header-only", head + multipart(["Content-Type: text/html\n"] * 2)
    yield "multipart-part-header-cut", head + multipart(["Content-Type: text/html", "X"])
    yield "multipart-end-twice", head + multipart(two) + b"--sep--\n--sep\n\nmore\n--sep--\n"
    yield "multipart-boundary-blanks", head + multipart(two).replace(b"--sep", b"--sep \t")
    yield "multipart-boundary-junk", head + multipart(two).replace(b"\n--sep\n", b"\n--sepjunk\n", 1)
    yield "multipart-boundary-dashes", head + multipart(two, boundary="----=_x--")
    yield "multipart-boundary-blank-end", head + multipart(two, boundary="a b ")
    yield "multipart-boundary-inside", head + multipart(two, boundary="a'()+_,-./:=?b")
    yield "multipart-boundary-long", head + multipart(two, boundary="b" * 200)
    yield "multipart-boundary-very-long", head + multipart(two, boundary="b" * 5000)
    yield "multipart-boundary-case", head + multipart(two).replace(b"\n--sep--", b"\n--SEP--")
    yield "multipart-boundary-not-at-start", head + multipart(two).replace(b"\n--sep\n", b"\n --sep\n", 1)
    yield "multipart-boundary-8bit", head + multipart(two, boundary="s\xe4p")
    yield "multipart-boundary-quoted", head + multipart(two, boundary="a\\\"b").replace(b"--a\\", b"--a")
    yield "multipart-boundary-first", head + multipart(two).replace(b"\n\n\n--sep", b"\n\n--sep", 1)
    yield "multipart-boundary-cr", head + multipart(two).replace(b"\n--sep\n", b"\r--sep\r", 1)
    yield "multipart-body-dashes", head + multipart([part("--\n-- \n--se\n--\n--s\nx\n")])
    yield "multipart-two-boundaries", message(
        MIME + "Content-Type: multipart/mixed; boundary=a; boundary=b\n",
        "--a\n\nA\n--b\n\nB\n--a--\n")
    inner = multipart([part("i1\n"), part("i2\n")], boundary="in", subtype="alternative")
    yield "multipart-nested", head + multipart([inner, part("after\n")])
    yield "multipart-nested-no-end", head + multipart(
        [multipart([part("i1\n")], boundary="in", end=False), part("after\n")])
    yield "multipart-nested-same", head + multipart([multipart([part("i\n")]), part("after\n")])
    yield "multipart-nested-prefix", head + multipart(
        [multipart([part("i\n")], boundary="sepx"), part("after\n")])
    yield "multipart-nested-longer-outer", head + multipart(
        [multipart([part("i\n")], boundary="s"), part("after\n")])
    yield "multipart-nested-epilogues", head + multipart(
        [multipart([part("i\n")], boundary="in", preamble="p1\n", epilogue="e1\n")], epilogue="e2")
    yield "multipart-outer-ends-inner", head + (
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed;"
        b" boundary=i\n\n--i\n\nx\n--o--\n--i\n\ny\n--i--\n")
    yield "multipart-header-hits-boundary", head + multipart(["Content-Type: text/html\n--sep\n\nx\n"])
    yield "multipart-inner-header-cut", head + multipart(
        ["Content-Type: multipart/mixed; boundary=in", part("after\n")])
    deep = part("core\n")
    for i in range(30):
        deep = multipart([deep, part("level %d\n" % i)], boundary="d%d" % i)
    yield "multipart-deep-30", head + deep
    deep = part("core\n")
    for i in range(30):
        deep = multipart([deep], boundary="same")
    yield "multipart-deep-same", head + deep
    yield "multipart-parts-300", head + multipart([part("p\n")] * 300)
    yield "multipart-digest", head + multipart(
        ["\nSubject: a\n\nx\n", "Content-Type: text/plain\n\nSubject: b\n\nx\n",
         "Content-Type: message/rfc822\n\nSubject: c\n\nx\n", "\n", ""], subtype="digest")
    yield "multipart-unknown-subtype", head + multipart(two, subtype="x-strange")
    yield "multipart-lines", head + multipart([part("a"), part("a\n"), part("a\n\n"), part("\n"),
                                               part("")])
    yield "multipart-cr-before-boundary", head + multipart([part("a\r"), part("a\r\n")])
    yield "multipart-nul", head + multipart([part("a\0b\n--s\0ep\n"), part("\0")])
    yield "multipart-eight-bit", head + multipart([part("\xe4\xf6\n", "Content-Type: text/plain; "
                                                        "charset=iso-8859-1\nX: \xe4\n")])


# ---- messages in messages ----

def nested_messages(rng):
    head = message(MIME)[:-1]
    rfc822 = "Content-Type: message/rfc822\n"
    inner = message("", "inner\n")
    yield "rfc822", message(MIME + rfc822) + inner
    yield "rfc822-in-multipart", head + multipart([part("see\n"), part(inner, rfc822)])
    yield "rfc822-of-multipart", head + multipart(
        [part(message(MIME)[:-1] + multipart([part("a\n"), part("b\n")], boundary="in"), rfc822)])
    yield "rfc822-empty", message(MIME + rfc822)
    yield "rfc822-empty-in-multipart", head + multipart([b(rfc822), part("", rfc822), part("\n", rfc822)])
    yield "rfc822-header-only", message(MIME + rfc822) + b(TOP)
    yield "rfc822-header-cut", head + multipart([part("Subject: cut", rfc822)])
    yield "rfc822-no-header", message(MIME + rfc822) + b"\njust body\n"
    yield "rfc822-base64", message(MIME + rfc822 + "Content-Transfer-Encoding: base64\n",
                                   base64_of(inner))
    yield "rfc822-qp", message(MIME + rfc822 + "Content-Transfer-Encoding: quoted-printable\n") + inner
    yield "rfc822-boundary-inside", head + multipart(
        [part(message(MIME)[:-1] + multipart([part("a\n")], boundary="in", end=False), rfc822),
         part("after\n")])
    yield "rfc822-same-boundary", head + multipart(
        [part(message(MIME)[:-1] + multipart([part("a\n")]), rfc822), part("after\n")])
    text = inner
    for i in range(20):
        text = message("X-Level: %d\n" % i + MIME + rfc822) + text
    yield "rfc822-deep-20", text
    text = part("core\n")
    for i in range(12):
        text = multipart([part("fwd\n"), part(message(MIME)[:-1] + text, rfc822 +
                                              "Content-Disposition: inline; filename=f.eml\n")],
                         boundary="f%d" % i)
    yield "forwards-nested", head + text
    yield "message-global", message(MIME + "Content-Type: message/global\n") + inner
    yield "message-partial", message(MIME + "Content-Type: message/partial; number=1; total=2\n") + inner
    yield "message-news", message(MIME + "Content-Type: message/news\n") + inner
    yield "message-external", message(
        MIME + "Content-Type: message/external-body; access-type=ANON-FTP;\n site=example.org;"
        " name=f\n", "Content-Type: image/png\n\nphantom\n")
    yield "attached-digest", head + multipart(
        [part("Digest\n"), multipart([b"\n" + inner] * 3, boundary="dg", subtype="digest")])


# ---- as it is really sent ----

def real_life(rng):
    head = message(MIME)[:-1]
    png = rng.randbytes(900)
    html = part("<html><img src=\"cid:i@x\"></html>\n", "Content-Type: text/html; charset=\"utf-8\"\n"
                "Content-Transfer-Encoding: 8bit\n")
    image = part(base64_of(png), "Content-Type: image/png;\n\tname=\"i.png\"\nContent-ID: <i@x>\n"
                 "Content-Transfer-Encoding: base64\nContent-Disposition: inline; filename=\"i.png\"\n")
    related = multipart([html, image], boundary="rel", subtype="related",
                        more="; type=\"text/html\"; start=\"<h@x>\"")
    alternative = multipart([part("plain\n"), related], boundary="alt", subtype="alternative")
    yield "newsletter", b"List-Unsubscribe: <mailto:u@x>, <https://x/>\nPrecedence: bulk\n" + \
        head + alternative
    yield "attachments", head + multipart([alternative, part(
        base64_of(rng.randbytes(5000)), "Content-Type: application/pdf; name=\"Bericht M\xe4rz.pdf\"\n"
        "Content-Disposition: attachment;\n filename*0*=UTF-8''Bericht%20;\n filename*1*=M%C3%A4rz.pdf;\n"
        " size=5000; modification-date=\"" + DATE + "\"\nContent-Transfer-Encoding: base64\n")])
    ics = ("BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1@x\r\nEND:VEVENT\r\n"
           "END:VCALENDAR\r\n")
    yield "calendar", head + multipart(
        [part("You are invited\n"), part(ics, "Content-Type: text/calendar; charset=utf-8;"
                                         " method=REQUEST; component=VEVENT\n"),
         part(base64_of(ics), "Content-Type: application/ics; name=invite.ics\nContent-Disposition:"
              " attachment; filename=invite.ics\nContent-Transfer-Encoding: base64\n")],
        subtype="alternative")
    yield "bounce", b"Auto-Submitted: auto-replied\n" + head + multipart(
        [part("This is the mail system at host mx.example.org.\n",
              "Content-Description: Notification\nContent-Type: text/plain; charset=us-ascii\n"),
         part("Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; u@x\nAction: failed\n"
              "Status: 5.1.1\n", "Content-Description: Delivery report\n"
              "Content-Type: message/delivery-status\n"),
         part(message("", "lost\n"), "Content-Description: Undelivered Message\n"
              "Content-Type: message/rfc822\n")],
        subtype="report", more="; report-type=delivery-status")
    yield "bounce-headers-only", head + multipart(
        [part("failed\n"), part("Reporting-MTA: dns; x\n", "Content-Type: message/delivery-status\n"),
         part(TOP, "Content-Type: text/rfc822-headers\n")],
        subtype="report", more="; report-type=delivery-status")
    yield "read-receipt", head + multipart(
        [part("read\n"), part("Disposition: manual-action/MDN-sent-manually; displayed\n",
                              "Content-Type: message/disposition-notification\n")],
        subtype="report", more=";\n\treport-type=disposition-notification")
    yield "smime-signed", head + multipart(
        [part("signed\r\n"), part(base64_of(rng.randbytes(1500)),
                                  "Content-Type: application/pkcs7-signature; name=smime.p7s\n"
                                  "Content-Transfer-Encoding: base64\nContent-Disposition: "
                                  "attachment; filename=smime.p7s\n")],
        subtype="signed", more="; protocol=\"application/pkcs7-signature\";\n micalg=sha-256")
    yield "smime-opaque", message(MIME + "Content-Type: application/pkcs7-mime; smime-type=enveloped-"
                                  "data;\n name=smime.p7m\nContent-Transfer-Encoding: base64\n",
                                  base64_of(rng.randbytes(2000)))
    yield "pgp-signed", head + multipart(
        [part("signed\n"), part("-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n",
                                "Content-Type: application/pgp-signature; name=\"signature.asc\"\n")],
        subtype="signed", more="; micalg=pgp-sha512;\n\tprotocol=\"application/pgp-signature\"")
    yield "pgp-encrypted", head + multipart(
        [part("Version: 1\n", "Content-Type: application/pgp-encrypted\n"),
         part("-----BEGIN PGP MESSAGE-----\n", "Content-Type: application/octet-stream\n")],
        subtype="encrypted", more="; protocol=\"application/pgp-encrypted\"")
    body = "".join("----------\n\nDate: %s\nFrom: p%d@x\nSubject: s%d\n\n%s\n" % (
        DATE, i, i, filler(rng, 300)) for i in range(5))
    yield "list-digest-1153", b"Subject: list Digest, Vol 1\n" + head + multipart(
        [part("Today's topics\n"), multipart(
            [part(message("Subject: s%d\n" % i, filler(rng, 300), top="From: p%d@x\n" % i),
                  "Content-Type: message/rfc822\n") for i in range(6)],
            boundary="dig", subtype="digest"), part("_____\nlist mailing list\n")])
    yield "list-digest-plain", message("Subject: list Digest\n", body)
    yield "list-footer", message(MIME)[:-1] + multipart(
        [part("text\n"), part("_______\nlist@x\n", "Content-Type: text/plain; charset=\"us-ascii\"\n"
                              "MIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n"
                              "Content-Disposition: inline\n")],
        boundary="===============1234567890==")
    yield "uuencode", message("", "begin 644 f\n#0V%T\n`\nend\n")
    yield "tnef", head + multipart([part("x\n"), part(
        base64_of(rng.randbytes(600)), "Content-Type: application/ms-tnef; name=\"winmail.dat\"\n"
        "Content-Transfer-Encoding: base64\n")])
    yield "apple-double", head + multipart([multipart(
        [part(base64_of(png), "Content-Type: application/applefile\n"
              "Content-Transfer-Encoding: base64\n"), part(base64_of(png), "Content-Type: image/png\n"
                                                           "Content-Transfer-Encoding: base64\n")],
        boundary="ad", subtype="appledouble")])
    yield "voice", head + multipart([part(base64_of(png), "Content-Type: audio/basic\n"
                                          "Content-Transfer-Encoding: base64\nContent-Duration: 3\n")],
                                    subtype="voice-message")
    yield "received-many", "".join(
        "Received: from a%d (b [192.0.2.%d])\n\tby c%d with ESMTP id %d\n\tfor <u@x>; %s\n" % (
            i, i % 250, i, i, DATE) for i in range(40)).encode() + message("", "x\n")
    yield "dkim", b("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=x;\n\tb=" +
                    "\n\t ".join("A" * 60 for _ in range(6)) + "\n") + message("", "x\n")
    charsets = (("iso-8859-1", "=E4=F6"), ("koi8-r", "=F0=D2=C9"), ("iso-2022-jp", "=1B$B%F=1B(B"),
                ("gb2312", "=C4=E3"), ("big5", "=A7A"), ("windows-1252", "=80"), ("x-mac", "=8A"),
                ("utf-7", "+AOQ-"), ("utf-16", "=FE=FF=00a"), ("unknown-8bit", "=E4"), ("", "=E4"))
    for name, text in charsets:
        yield "charset-" + (name or "none"), b(
            "From: =?%s?Q?%s?= <a@b>\nTo: =?%s?B?5Pb8?= <c@d>\nSubject: =?%s?q?%s?= =?%s?Q?%s?=\n"
            % (name, text, name, name, text, name, text) + MIME +
            "Content-Type: text/plain; charset=%s\nContent-Transfer-Encoding: quoted-printable\n\n%s\n"
            % (name, text))
    subjects = ("=?utf-8?Q?a?=b", "=?utf-8?Q?a b?=", "=?utf-8?X?a?=", "=?utf-8?B?YQ", "=?utf-8?Q??=",
                "=?utf-8*en?Q?a?=", "a =?utf-8?Q?b?=\n =?utf-8?Q?c?= d", "=?utf-8?B?4oKs\n 4oKs?=",
                "\"=?utf-8?Q?a?=\"", "[=?utf-8?Q?a?=]", "=?=?=?=", "?=", "a\tb", "a\\b\"c", "{5}",
                "NIL", "\"", "\\", "%s%n", "Re: Re: [x] Fwd: y", "( ) { % * ]")
    for at in range(0, len(subjects), 3):
        yield "subjects-%d" % at, b("Subject: %s\nMessage-ID: %s\nIn-Reply-To: %s\nFrom: a@b\n\nx\n" % (
            (subjects + subjects)[at], (subjects + subjects)[at + 1], (subjects + subjects)[at + 2]))
    yield "large-attachment", head + multipart([part("see\n"), part(
        base64_of(rng.randbytes(200000)), "Content-Type: application/zip\n"
        "Content-Transfer-Encoding: base64\n")])


# ---- random trees, random damage ----

def random_part(rng, depth):
    kind = rng.random()
    if depth > 0 and kind < 0.35:
        return random_multipart(rng, depth)
    if depth > 0 and kind < 0.5:
        return part(message(MIME)[:-1] + random_part(rng, depth - 1), "Content-Type: message/rfc822\n")
    header = ""
    if rng.random() < 0.8:
        header += "Content-Type: %s\n" % rng.choice(TYPES)
    if rng.random() < 0.3:
        header += "Content-Disposition: %s\n" % rng.choice(DISPOSITIONS)
    if rng.random() < 0.3:
        header += "Content-Transfer-Encoding: %s\n" % rng.choice(ENCODINGS)
    if rng.random() < 0.2:
        header += "Content-Language: %s\n" % rng.choice(LANGUAGES)
    return part(filler(rng, rng.randint(0, 200)) if rng.random() < 0.8 else "", header)


def random_multipart(rng, depth):
    boundary = rng.choice(("sep", "a", "ab", "b%d" % depth, "x" * rng.randint(1, 75)))
    parts = [random_part(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    return multipart(parts, boundary, rng.choice(("mixed", "alternative", "digest", "related")),
                     rng.choice(("", "", "preamble\n")), rng.choice(("", "", "epilogue\n")),
                     end=rng.random() < 0.8)


def damage(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(0, 6)):
        if len(data) < 4:
            break
        at = rng.randrange(len(data))
        what = rng.randrange(5)
        if what == 0:
            del data[at:at + rng.randint(1, 20)]
        elif what == 1:
            data[at:at] = rng.choice((b"\n", b"\r\n", b"\r", b"\0", b"--sep\n", b"--", b":", b"\"", b";"))
        elif what == 2:
            data[at] = rng.randrange(256)
        elif what == 3:
            data[at:at] = data[at // 2:at // 2 + rng.randint(1, 60)]
        else:
            del data[rng.randrange(len(data)):]
    return bytes(data)


def random_trees(rng):
    number = 0
    while True:
        data = message(MIME)[:-1] + random_multipart(rng, rng.randint(1, 4))
        if number % 2:
            data = damage(rng, data)
        yield "random-%d" % number, crlf(data) if number % 5 == 4 else data
        number += 1


KINDS = (plain, addresses, content_fields, multiparts, nested_messages, real_life, random_trees)


def messages(seed=SEED, count=COUNT):
    """Yields (name, bytes)."""
    given = 0
    for kind in KINDS:
        for name, data in kind(random.Random("%s %s" % (seed, kind.__name__))):
            if given == count:
                return
            yield name, b(data)
            given += 1


def huge():
    """Messages to be survived in bounded time, with (name, bytes)."""
    yield "header-20mb", b"Subject: s\nX: " + b"y\n " * 7000000 + b"\nFrom: a@b\n\nx\n"
    yield "fields-20mb", b"Subject: s\n" + b"X-Field: value\n" * 1400000 + b"From: a@b\n\nx\n"
    deep = b""
    for i in range(20000):
        deep += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i)
    yield "multiparts-20000-deep", b(TOP) + deep + b"\nx\n"
    yield "parts-20000", message(MIME)[:-1] + multipart([part("p\n")] * 20000)
    yield "rfc822-1000-deep", b"Subject: s\nContent-Type: message/rfc822\n\n" * 1000 + b"\nx\n"
    yield "recipients-1mb", b"To: " + b"a@b,\n " * 170000 + b"c@d\n\nx\n"
    yield "parameters-1mb", b"Content-Type: text/plain" + b";\n a=b" * 150000 + b"\n\nx\n"


def main():
    where = sys.argv[1]
    os.makedirs(where, exist_ok=True)
    seed = sys.argv[2] if len(sys.argv) > 2 else SEED
    for name, data in messages(seed):
        with open(os.path.join(where, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
