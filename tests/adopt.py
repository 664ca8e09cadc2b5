# SPDX-License-Identifier: MIT
"""A Maildir that Dovecot served, before, with us, and with Dovecot again: adopt.py [-v]

The Dovecot of the system, private and on loopback, makes a Maildir; Dormouse
serves it; `dormouse export-uidlist` gives it back; and once more there and back.
A client with QRESYNC and one that knows UIDs only live through all of it, and
neither may see a message under two UIDs or two messages under one. Dovecot's
own files must stay as they were, bytes and times, until they are exported.

Needs Dovecot and root (it will not start as an ordinary user): skipped by name
without.
"""
import glob
import gzip
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

DOVECOT = "/usr/sbin/dovecot"
MODULES = "/usr/lib/dovecot/modules"
VERBOSE = "-v" in sys.argv[1:]


class Skipped(Exception):
    pass


def check(true, what):
    if not true:
        raise dm.Failure(what)


def message(n, extra=""):
    return ("From: Greta <greta@example.org>\r\nTo: anna@example.org\r\nSubject: number %s\r\n"
            "Message-ID: <%s@example.org>\r\n\r\nA line.\r\n%sEnd.\r\n" % (n, n, extra)).encode()


# ---- Dovecot ----

class Dovecot:
    """On the mail of a dm.Server that is not running."""
    tls = deflate = False

    def __init__(self, server, plugins="", settings=""):
        self.server = server
        self.dir = tempfile.mkdtemp(prefix="dm-adopt-")
        os.chmod(self.dir, 0o755)
        self.log_path = os.path.join(self.dir, "log")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        with open(os.path.join(self.dir, "dovecot.conf"), "w") as f:
            f.write(self.configuration(plugins, settings))

    def configuration(self, plugins, settings):
        return """
base_dir = {dir}/run
state_dir = {dir}/state
instance_name = adopt
log_path = {dir}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
maildir_stat_dirs = yes
mail_plugins = {plugins}
first_valid_uid = 500
plugin {{
{settings}
}}
passdb {{
  driver = passwd-file
  args = {passwd}
}}
userdb {{
  driver = passwd-file
  args = {passwd}
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""".format(dir=self.dir, plugins=plugins, settings=settings, passwd=self.server.passwd,
           port=self.port)

    def __enter__(self):
        self.process = subprocess.Popen([DOVECOT, "-F", "-c", self.dir + "/dovecot.conf"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + dm.PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.__exit__(Exception, None, None)
                    raise dm.Failure("Dovecot did not start; see " + self.log_path)
                time.sleep(0.05)

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # Its children end with it; their last writes come before that.
        end = time.monotonic() + 15
        while self.children() and time.monotonic() < end:
            time.sleep(0.02)
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print("Dovecot's log is kept in " + self.dir, file=sys.stderr)

    def children(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if self.dir.encode() in f.read():
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()


# ---- clients ----

FETCH = re.compile(r"^\* (\d+) FETCH \((.*)\)$", re.S)


class Client(dm.Client):
    def append(self, mailbox, data, flags=""):
        self.tag += 1
        tag = "t%d" % self.tag
        self.send("%s APPEND %s (%s) {%d}\r\n" % (tag, mailbox, flags, len(data)))
        check(self.line().startswith("+"), "no continuation")
        self.send(data + b"\r\n")
        tagged = self.answer(tag)[1]
        check(tagged.split()[1] == "OK", tagged)
        return int(re.search(r"APPENDUID \d+ (\d+)", tagged).group(1))

    def code(self, lines, name):
        for line in lines:
            m = re.search(r"\[%s (\d+)" % name, line)
            if m:
                return int(m.group(1))
        raise dm.Failure("no %s in %r" % (name, lines))

    def all(self, mailbox):
        """{uid: (Message-ID, flags)} as a client without any memory sees it."""
        lines = self.ok("EXAMINE " + mailbox)
        found = {}
        for line in self.ok("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"):
            m = FETCH.match(line)
            if m:
                uid, flags, mid = parts(m.group(2))
                found[uid] = (mid, flags)
        return self.code(lines, "UIDVALIDITY"), found


def parts(text):
    uid = re.search(r"UID (\d+)", text)
    flags = re.search(r"FLAGS \(([^)]*)\)", text)
    mid = re.search(r"<([^>]*)@", text)
    return (int(uid.group(1)) if uid else None,
            frozenset(f.lower() for f in flags.group(1).split() if f.lower() != "\\recent")
            if flags else None,
            mid.group(1) if mid else None)


def uid_set(text):
    uids = set()
    for part in text.split(","):
        first, _, last = part.partition(":")
        uids |= set(range(int(first), int(last or first) + 1))
    return uids


class Follower:
    """A client with QRESYNC and a memory (RFC 7162)."""

    def __init__(self, mailbox="INBOX"):
        self.mailbox = mailbox
        self.validity = self.modseq = None
        self.messages = {}      # uid: [Message-ID, flags]
        self.seen = {}          # Message-ID: uid, for all time
        self.restarts = 0

    def fetched(self, line):
        m = FETCH.match(line)
        if not m:
            return
        uid, flags, mid = parts(m.group(2))
        check(uid is not None, "FETCH without UID: " + line)
        entry = self.messages.setdefault(uid, [None, None])
        if flags is not None:
            entry[1] = flags
        if mid is not None:
            self.met(uid, mid)

    def met(self, uid, mid):
        """The heart of it."""
        other = self.seen.setdefault(mid, uid)
        check(other == uid, "%s: message %s had UID %d and has %d now" % (
            self.mailbox, mid, other, uid))
        entry = self.messages.setdefault(uid, [None, None])
        check(entry[0] in (None, mid), "%s: UID %d was %s and is %s" % (
            self.mailbox, uid, entry[0], mid))
        entry[0] = mid

    def sync(self, client, fresh=False):
        client.ok("ENABLE QRESYNC")
        known = ""
        if self.validity and not fresh:
            known = " (QRESYNC (%d %d%s))" % (self.validity, self.modseq,
                                             " 1:%d" % max(self.messages) if self.messages else "")
        lines = client.ok("SELECT %s%s" % (self.mailbox, known))
        validity = client.code(lines, "UIDVALIDITY")
        check(self.validity in (None, validity), "UIDVALIDITY was %s and is %s" % (
            self.validity, validity))
        modseq = client.code(lines, "HIGHESTMODSEQ")
        if self.modseq and not fresh:
            check(modseq >= self.modseq, "MODSEQ went back from %d to %d" % (self.modseq, modseq))
        self.validity, self.modseq = validity, modseq
        if fresh:               # a server that knows nothing of our MODSEQ
            self.restarts += 1
            there = {parts(FETCH.match(line).group(2))[0]
                     for line in client.ok("UID FETCH 1:* (UID FLAGS)") if FETCH.match(line)}
            self.messages = {u: e for u, e in self.messages.items() if u in there}
            lines += client.ok("UID FETCH 1:* (UID FLAGS)")
        for line in lines:
            m = re.match(r"\* VANISHED (?:\(EARLIER\) )?([0-9:,]+)", line)
            for uid in uid_set(m.group(1)) if m else ():
                self.messages.pop(uid, None)
        for line in lines:
            self.fetched(line)
        wanted = sorted(u for u, e in self.messages.items() if e[0] is None)
        top = max((u for u, e in self.messages.items() if e[0]), default=0)
        for what in ([",".join(map(str, wanted))] if wanted else []) + ["%d:*" % (top + 1)]:
            for line in client.ok("UID FETCH %s (UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
                                  % what):
                self.fetched(line)

    def compare(self, client, what):
        """The memory and the truth are one."""
        validity, truth = client.all(self.mailbox)
        mine = {u: (e[0], e[1]) for u, e in self.messages.items()}
        check(validity == self.validity, "UIDVALIDITY, " + what)
        check(mine == truth, "%s %s: the client has\n%r\nand should have\n%r" % (
            self.mailbox, what, sorted(set(mine.items()) - set(truth.items())),
            sorted(set(truth.items()) - set(mine.items()))))


# ---- files ----

def dovecots_files(maildir):
    found = {}
    for path in glob.glob(maildir + "/**", recursive=True, include_hidden=True):
        name = os.path.basename(path)
        if os.path.isfile(path) and (name.startswith("dovecot") or name == "subscriptions"):
            st = os.stat(path)
            with open(path, "rb") as f:
                found[path] = (hashlib.sha256(f.read()).hexdigest(), st.st_mtime_ns, st.st_mode,
                               st.st_ino)
    return found


def server_new(name):
    return dm.Server("adopt-" + name)


def dormouse(server, *args):
    return subprocess.run([server.program("dormouse"), "-c", server.conf, *args],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


class Running:
    """The server between two of Dovecot's turns; its directory stays."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        return self.server.start()

    def __exit__(self, kind, value, trace):
        self.server.stop()


def delivered(server, n, mailbox="INBOX"):
    server.make_maildir("anna", mailbox)
    server.deliver("anna", message(n).replace(b"\r\n", b"\n"), mailbox)


# ---- the tests ----

UMLAUT = '"Gr&APwA3w-e"'
MAILBOXES = ("INBOX", "Work", "Work.Sub", UMLAUT)


def dovecot_fills(server, followers):
    with Dovecot(server) as d:
        c = Client(d, "anna")
        for mailbox in MAILBOXES[1:]:
            c.ok("CREATE " + mailbox)
        c.ok("CREATE Gone")
        for mailbox in ("INBOX", "Work.Sub", UMLAUT, "Gone"):
            c.ok("SUBSCRIBE " + mailbox)
        c.ok("DELETE Gone")
        for i in range(12):
            c.append("INBOX", message("d%d" % i), ("\\Seen", "\\Flagged $Label1", "")[i % 3])
        c.append("Work", message("w0"), "$Label1 Other")
        c.append("Work", message("w1"), "\\Answered")
        c.append(UMLAUT, message("u0"))
        c.ok("SELECT INBOX")
        c.ok("UID STORE 1:3 +FLAGS (%s)" % " ".join("key%d" % i for i in range(30)))
        followers["INBOX"].sync(Client(d, "anna"))
        c.ok("UID STORE 2,5 +FLAGS (\\Deleted)")
        c.ok("EXPUNGE")
        c.ok("UID STORE 7 FLAGS (\\Draft late)")
        c.ok("UID MOVE 9 Work")
        for f in followers.values():
            f.sync(Client(d, "anna"))
            f.compare(Client(d, "anna"), "with Dovecot")
        check("key29" in " ".join(sorted(followers["INBOX"].messages[1][1])), "30 keywords")
        for client in (c,):
            client.command("LOGOUT")
    # While neither runs.
    delivered(server, "between")
    for path in glob.glob(server.maildir("anna") + "/cur/*:2,*S*")[:1]:
        os.rename(path, path + "T")


def letters_only(followers, maildir):
    """Keywords beyond the 26th stand in Dovecot's index only: they cannot come along."""
    for mailbox, f in followers.items():
        path = os.path.join(maildir, "" if mailbox == "INBOX" else "." + mailbox.strip('"'),
                            "dovecot-keywords")
        names = set()
        if os.path.exists(path):
            with open(path) as file:
                names = {line.split(" ", 1)[1].strip().lower() for line in file}
        for entry in f.messages.values():
            entry[1] = frozenset(k for k in entry[1] if k[0] == "\\" or k in names)


def we_serve(server, followers, first):
    before = dovecots_files(server.maildir("anna"))
    with Running(server):
        c = Client(server, "anna")
        letters_only(followers, server.maildir("anna"))
        for f in followers.values():
            f.sync(Client(server, "anna"))
            f.compare(Client(server, "anna"), "with us")
        names = " ".join(c.ok('LSUB "" *'))
        for name in ("INBOX", "Work.Sub", "Gr&APwA3w-e", "Gone"):
            check(name in names, "%s is not subscribed: %s" % (name, names))
        names = " ".join(c.ok('LIST "" *'))
        for name in MAILBOXES:
            check(name.strip('"') in names, "%s is not listed: %s" % (name, names))
        tag = "a" if first else "b"
        c.append("INBOX", message(tag + "-appended"), "\\Seen $Label1")
        c.append("INBOX", message(tag + "-new-keyword"), "mine")
        c.ok("CREATE Ours" + tag)
        c.append("Ours" + tag, message(tag + "-ours"))
        delivered(server, tag + "-delivered")
        delivered(server, tag + "-delivered", "Work")
        c.ok("SELECT INBOX")
        top = max(followers["INBOX"].messages)
        c.ok("UID STORE %d +FLAGS (\\Deleted)" % top)
        c.ok("UID STORE 1 -FLAGS (key3)")
        c.ok("EXPUNGE")
        for f in followers.values():
            f.sync(Client(server, "anna"))
            f.compare(Client(server, "anna"), "with us, after changes")
        new = followers["Ours" + tag] = Follower("Ours" + tag)
        new.sync(Client(server, "anna"))
        c.command("LOGOUT")
    after = dovecots_files(server.maildir("anna"))
    check(before == after, "Dovecot's files were touched: %r" % [
        p for p in set(before) | set(after) if before.get(p) != after.get(p)])


def we_give_back(server):
    before = dovecots_files(server.maildir("anna"))
    out = dormouse(server, "export-uidlist", server.maildir("anna"))
    check(out.returncode == 0, "export-uidlist: " + out.stdout + out.stderr)
    if VERBOSE:
        print(out.stdout + out.stderr)
    after = dovecots_files(server.maildir("anna"))
    check(before != after, "nothing was exported")
    uid = server.users["anna"][0]
    for path in after:
        check(os.stat(path).st_uid == uid, path + " is not the owner's")
        check(not path.endswith(".lock"), path + " was left")
    check(not glob.glob(server.maildir("anna") + "/**/dormouse-uidlist", recursive=True,
                        include_hidden=True), "our list is still there")


def dovecot_again(server, followers, tag):
    with Dovecot(server) as d:
        c = Client(d, "anna")
        for f in followers.values():
            f.sync(Client(d, "anna"), fresh=True)
            f.compare(Client(d, "anna"), "with Dovecot again")
        names = " ".join(c.ok('LSUB "" *'))
        for name in ("INBOX", "Work.Sub", "Gr&APwA3w-e", "Gone"):
            check(name in names, "%s is not subscribed: %s" % (name, names))
        old = max(followers["INBOX"].seen.values())
        uid = c.append("INBOX", message(tag + "-dovecot"), "$Label1 dovecots")
        check(uid > old, "UID %d was given again (%d)" % (uid, old))
        delivered(server, tag + "-delivered-to-dovecot")
        c.ok("CREATE Theirs" + tag)
        validity = c.code(c.ok("SELECT Theirs" + tag), "UIDVALIDITY")
        check(validity not in [f.validity for f in followers.values()], "UIDVALIDITY given twice")
        for f in followers.values():
            f.sync(Client(d, "anna"))
            f.compare(Client(d, "anna"), "with Dovecot again, after changes")
        errors = [line for line in d.log().splitlines()
                  if re.search(r"Error|Panic|Fatal", line) and "SIGTERM" not in line]
        check(not errors, "Dovecot complains:\n" + "\n".join(errors))
        c.command("LOGOUT")


def test_there_and_back_twice(server):
    followers = {m: Follower(m) for m in MAILBOXES}
    dovecot_fills(server, followers)
    we_serve(server, followers, first=True)
    we_give_back(server)
    dovecot_again(server, followers, "x")
    we_serve(server, followers, first=False)
    we_give_back(server)
    dovecot_again(server, followers, "y")


def test_sizes_in_names_that_are_wrong(server):
    texts = [message("s%d" % i, "x" * 100 * i + "\r\n") for i in range(4)]
    with Dovecot(server) as d:
        c = Client(d, "anna")
        for data in texts:
            c.append("INBOX", data)
    paths = sorted(server.files("anna"))
    for path, new in zip(paths, (",S=1,", ",S=999999,", ",S=17,")):
        os.rename(path, re.sub(r",S=\d+,", new, path))
    with Running(server):
        c = Client(server, "anna")
        c.ok("SELECT INBOX")
        # Another name is another message, with a new UID.
        lines = [x for x in c.ok("UID FETCH 1:* (RFC822.SIZE BODY.PEEK[])") if "FETCH" in x]
        check(len(lines) == 4, "4 messages: %r" % lines)
        for data in texts:
            check(any("RFC822.SIZE %d " % len(data) in x and data.decode() in x for x in lines),
                  "size or text: %r" % lines)


def fetch_all(c, uid, data):
    """All of it, and any piece."""
    line = [x for x in c.ok("UID FETCH %d (RFC822.SIZE)" % uid) if "FETCH" in x][0]
    check("RFC822.SIZE %d)" % len(data) in line or "RFC822.SIZE %d " % len(data) in line, line)
    line = [x for x in c.ok("UID FETCH %d BODY.PEEK[]" % uid) if "FETCH" in x][0]
    check("{%d}\r\n%s" % (len(data), data.decode()) in line, "another text")
    for at, n in ((0, 10), (len(data) - 7, 100), (len(data) // 2, 1000), (len(data), 5)):
        line = [x for x in c.ok("UID FETCH %d BODY.PEEK[]<%d.%d>" % (uid, at, n))
                if "FETCH" in x][0]
        piece = data[at:at + n].decode()
        check("<%d> {%d}\r\n%s" % (at, len(piece), piece) in line or
              (not piece and '<%d> ""' % at in line), "another piece: %r" % line[:100])


def test_compressed_messages_are_read(server):
    if not os.path.exists(MODULES + "/lib20_zlib_plugin.so"):
        raise Skipped("no zlib plugin")
    texts = {}
    with Dovecot(server, "zlib", "  zlib_save = gz\n  zlib_save_level = 6\n") as d:
        c = Client(d, "anna")
        for i in range(3):
            data = message("z%d" % i, "".join("line %d\r\n" % n for n in range(5 ** (i + 2))))
            texts[c.append("INBOX", data, "\\Seen")] = data
    files = server.files("anna")
    for path in files:
        with open(path, "rb") as f:
            check(f.read(2) == b"\x1f\x8b", "Dovecot did not compress")
    with Running(server):
        c = Client(server, "anna")
        c.ok("SELECT INBOX")
        for uid, data in texts.items():
            fetch_all(c, uid, data)
        found, tagged = c.command("UID SEARCH BODY \"line 24\"")
        check("* SEARCH 1 2 3" in found or "not supported" in tagged, "SEARCH BODY: %r" % found)
        c.ok("CREATE Copies")
        c.ok("UID COPY 1:* Copies")
        c.ok("SELECT Copies")
        for n, data in enumerate(texts.values()):
            fetch_all(c, n + 1, data)
        status = [x for x in c.ok("STATUS INBOX (SIZE)") if "STATUS" in x][0]
        check("SIZE %d" % sum(map(len, texts.values())) in status, status)
    # The copies are as good for Dovecot.
    check(dormouse(server, "export-uidlist", server.maildir("anna")).returncode == 0, "export")
    with Dovecot(server, "zlib", "  zlib_save = gz\n") as d:
        c = Client(d, "anna")
        c.ok("SELECT Copies")
        for n, data in enumerate(texts.values()):
            fetch_all(c, n + 1, data)


def refused(server, c, uid):
    """Never a byte of it."""
    untagged, tagged = c.command("UID FETCH %d (FLAGS BODY.PEEK[])" % uid)
    check(tagged.split()[1] == "NO", "not refused: " + tagged)
    check(not any("{" in x for x in untagged), "it was served: %r" % untagged)
    untagged, tagged = c.command("UID FETCH %d (RFC822.SIZE)" % uid)
    check(tagged.split()[1] == "NO" or "RFC822.SIZE" in " ".join(untagged), tagged)
    with open(server.log_path) as f:
        check(re.search(r"message-unreadable .*uid=%d " % uid, f.read()), "no log line")


def test_encrypted_messages_are_refused(server):
    if not os.path.exists(MODULES + "/lib10_mail_crypt_plugin.so") or not shutil.which("openssl"):
        raise Skipped("no mail_crypt plugin, or no openssl to make a key with")
    keys = tempfile.mkdtemp(prefix="dm-adopt-keys-")
    try:
        os.chmod(keys, 0o755)
        subprocess.run("openssl ecparam -name prime256v1 -genkey | openssl pkey -out private.pem &&"
                       "openssl pkey -in private.pem -pubout -out public.pem && chmod 644 *.pem",
                       shell=True, cwd=keys, check=True, capture_output=True)
        with Dovecot(server, "mail_crypt", "  mail_crypt_global_private_key = <%s/private.pem\n"
                     "  mail_crypt_global_public_key = <%s/public.pem\n"
                     "  mail_crypt_save_version = 2\n" % (keys, keys)) as d:
            c = Client(d, "anna")
            uid = c.append("INBOX", message("secret"))
    finally:
        shutil.rmtree(keys)
    with open(server.files("anna")[0], "rb") as f:
        check(f.read(9) == b"CRYPTED\x03\x07", "Dovecot did not encrypt")
    delivered(server, "plain")
    with Running(server):
        c = Client(server, "anna")
        c.ok("SELECT INBOX")
        refused(server, c, uid)
        check("number plain" in " ".join(c.ok("UID FETCH %d BODY.PEEK[]" % (uid + 1))), "the other")
        c.ok("UID STORE %d +FLAGS (\\Seen)" % uid)
        check(c.command("UID SEARCH BODY secret")[1].split()[1] in ("OK", "NO"), "SEARCH")


def test_other_compressions_are_refused(server):
    server.make_maildir("anna")
    forms = [b"BZh91AY&SY" + os.urandom(99), b"\xfd7zXZ\0" + os.urandom(99),
             b"\x28\xb5\x2f\xfd" + os.urandom(99), b"Dovecot-LZ4\x0d\x2a\x9b\xc5" + os.urandom(99),
             gzip.compress(message("cut" + "x" * 5000))[:-12], b"\x1f\x8bnonsense"]
    for data in forms:
        server.deliver("anna", data)
        time.sleep(0.001)
    with Running(server):
        c = Client(server, "anna")
        c.ok("SELECT INBOX")
        for uid in range(1, len(forms) + 1):
            refused(server, c, uid)
        # Nor may a client put such a thing there.
        c.tag += 1
        tag = "t%d" % c.tag
        c.send(b"%s APPEND INBOX {12}\r\n" % tag.encode())
        check(c.line().startswith("+"), "no continuation")
        c.send(b"\x1f\x8b\x08aaaaaaaaa\r\n")
        check(c.answer(tag)[1].split()[1:3] == ["NO", "[CANNOT]"], "APPEND of gzip was taken")


def main():
    tests = [(n[5:], f) for n, f in sorted(globals().items()) if n.startswith("test_")]
    if not os.path.exists(DOVECOT):
        print("0 passed, 0 failed, %d skipped: Dovecot is not installed" % len(tests))
        return 0
    if os.geteuid() != 0:
        print("0 passed, 0 failed, %d skipped: Dovecot needs root" % len(tests))
        return 0
    passed = failed = skipped = 0
    wanted = [a for a in sys.argv[1:] if a != "-v"]
    for name, test in tests:
        if wanted and name not in wanted:
            continue
        server = server_new(name[:12])
        try:
            test(server)
            passed += 1
            print("ok    " + name, flush=True)
        except Skipped as e:
            skipped += 1
            print("skip  %s: %s" % (name, e), flush=True)
        except Exception:
            failed += 1
            server.keep = True
            print("FAIL  %s (kept: %s)" % (name, server.dir), flush=True)
            traceback.print_exc()
        finally:
            server.stop()
            server.remove()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
