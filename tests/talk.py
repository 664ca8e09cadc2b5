# SPDX-License-Identifier: MIT
"""Conversations against the real server: talk.py [-v] [-m MODE] [-t WIRE] [FILE...]

Each talk runs three times, and the client must not be able to tell:
    off      with sleeping switched off
    written  asleep where the talk says so
    always   put to sleep between every two steps
and with -t over TLS, over COMPRESS (from the log-in on), or over both.

    # a comment
    C: a1 SELECT INBOX          the client sends a line
    C~ DO                       ... without a line end
    S: * 3 EXISTS               the server's next line
    C2: / S2:                   a second client of the same user; 3 to 9 likewise
    ! sleep [n]                 client n (all) is put to sleep now
    ! deliver [n] [MAILBOX]     other programs change the mail: see class Steps

In S lines <n> stands for a number, <...> for anything, <name:n> remembers a
number, and {name} in any line is what was remembered. Keepalives are dropped,
so are RECENT responses that the talk does not mention; of several EXISTS, or
FETCH of one message, in a row the last must match.
"""
import argparse
import glob
import os
import re
import shutil
import signal
import socket
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus_mail  # noqa: E402
import dm  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = ("off", "written", "always")
WIRES = ("plain", "tls", "deflate", "both")


def parse(path):
    steps = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            m = re.match(r"(C|S)(\d?)(:|~) ?(.*)$", line)
            if m:
                steps.append((number, m.group(1) + m.group(3), int(m.group(2) or 1), m.group(4)))
            elif line.startswith("!"):
                steps.append((number, "!", 0, line[1:].split("#")[0].strip()))
            else:
                raise dm.Failure("%s:%d: not a step: %s" % (path, number, line))
    return steps


def kind_of(line):
    m = re.match(r"\* (\d+) (EXISTS|RECENT|FETCH)\b", line)
    if not m:
        return None
    return (m.group(2), m.group(1) if m.group(2) == "FETCH" else None)


class Steps:
    """What `!` lines do."""

    def __init__(self, talk):
        self.talk = talk
        self.server = talk.server
        self.user = talk.user

    def mail(self, count):
        self.server.make_maildir(self.user)
        for _ in range(int(count)):
            self.server.deliver(self.user)

    def mailbox(self, name):
        self.server.make_maildir(self.user, name)

    def deliver(self, count=1, mailbox="INBOX"):
        for _ in range(int(count)):
            self.server.deliver(self.user, mailbox=mailbox)

    def corpus(self, name, mailbox="INBOX"):
        """One of the odd messages."""
        self.server.make_maildir(self.user, mailbox)
        self.server.deliver(self.user, dict(corpus_mail.messages())[name], mailbox=mailbox)

    def sleep(self, n=None):
        for number, client in sorted(self.talk.clients.items()):
            if n is None or number == int(n):
                self.talk.put_to_sleep(client)

    def flag(self, nth, letters, mailbox="INBOX"):
        """Another program sets the flags of the nth file."""
        path = sorted(self.server.files(self.user, mailbox), key=os.path.basename)[int(nth) - 1]
        base = os.path.basename(path).split(":2,")[0]
        os.rename(path, os.path.join(self.server.maildir(self.user, mailbox), "cur",
                                     base + ":2," + letters.strip("-")))

    def unlink(self, nth, mailbox="INBOX"):
        os.unlink(sorted(self.server.files(self.user, mailbox),
                         key=os.path.basename)[int(nth) - 1])

    def rmmailbox(self, name):
        shutil.rmtree(self.server.maildir(self.user, name))

    def mvmailbox(self, old, new):
        os.rename(self.server.maildir(self.user, old), self.server.maildir(self.user, new))

    def rmindex(self):
        path = os.path.join(self.server.maildir(self.user), ".dormouse")
        for name in os.listdir(path):
            if name.startswith("index.db"):
                os.unlink(os.path.join(path, name))

    def rmviews(self):
        """View files of sleepers; only where sleeping is on."""
        path = os.path.join(self.server.maildir(self.user), ".dormouse")
        for name in os.listdir(path):
            if name.startswith("view-"):
                try:
                    os.unlink(os.path.join(path, name))
                except FileNotFoundError:
                    pass        # an older one, that its imap has just removed

    def views(self, count):
        """So many view files are there."""
        path = os.path.join(self.server.maildir(self.user), ".dormouse")
        self.server.wait(lambda: len([n for n in os.listdir(path) if n.startswith("view-")]) ==
                         int(count), count + " view files")

    def kill(self, program):
        if self.talk.mode == "off" and program == "imap":
            return
        self.server.kill(program)
        self.server.wait(self.server.recovered, program + " to come back")

    def wait(self, seconds):
        time.sleep(float(seconds))

    def quiet(self, n=1, seconds=0.15):
        client = self.talk.clients[int(n)]
        if not client.quiet(float(seconds)):
            line = client.line()
            if not re.match(r"\* OK Still here|\* \d+ RECENT", line):
                raise dm.Failure("expected nothing, got: " + line)

    def eof(self, n=1):
        client = self.talk.clients.pop(int(n))
        try:
            line = client.line()
        except (EOFError, ConnectionError):
            client.close()
            return
        raise dm.Failure("expected the end of the connection, got: " + line)

    def reset(self, n=1):
        client = self.talk.clients.pop(int(n))
        client.close()

    def kill_and_deliver(self, program):
        self.server.kill(program)
        self.deliver(1)
        self.server.wait(self.server.recovered, program + " to come back")

    def master_dies_with_mail(self):
        """The holder learns of its master's end and of new mail in one turn."""
        self.server.kill("imap-hibernate", signal.SIGSTOP)
        self.server.kill("master")
        self.deliver(1)
        self.server.kill("imap-hibernate", signal.SIGCONT)
        self.server.wait(self.server.recovered, "master to come back")

    def unlink_every_second(self):
        for path in self.server.files(self.user)[1::2]:
            os.unlink(path)

    def skip_to(self, *words):
        client = self.talk.clients[1]
        while not client.line().startswith(" ".join(words)):
            pass
        self.talk.busy.discard(1)

    def rmuser(self):
        """The account is deleted; long enough ago to be believed."""
        with open(self.server.passwd) as f:
            lines = [line for line in f if not line.startswith(self.user + ":")]
        with open(self.server.passwd, "w") as f:
            f.writelines(lines)
        old = time.time() - 60
        os.utime(self.server.passwd, (old, old))

    def gone(self):
        """The server has noticed that a client left."""
        self.server.wait(lambda: not self.server.who(self.user), "the session to be forgotten")

    def plain_until_told(self):
        """The talk itself asks for COMPRESS."""
        self.talk.client(1).wants_deflate = False

    def compress(self, n=1):
        """The answer to COMPRESS came: from here on."""
        self.talk.clients[int(n)].wire.start_deflate()

    def capability_lacks(self, word, n=1):
        line = self.talk.clients[int(n)].ok("CAPABILITY")[0]
        if word in line:
            raise dm.Failure("offered: " + line)

    def halfclose(self, n):
        self.talk.clients[int(n)].sock.shutdown(socket.SHUT_WR)

    def only(self, *modes):
        if self.talk.mode not in modes:
            raise Skipped()


class Skipped(Exception):
    pass


class Talk:
    def __init__(self, server, path, mode, verbose=False):
        self.server, self.path, self.mode, self.verbose = server, path, mode, verbose
        self.user = "u%s" % re.sub(r"[^a-z0-9]", "", os.path.basename(path).split(".")[0])
        self.clients = {}
        self.busy = set()       # clients in the middle of a command
        self.names = {}
        self.slept = 0
        self.transcript = []

    def note(self, line):
        self.transcript.append(line)
        if self.verbose:
            print(line)

    def client(self, n):
        if n not in self.clients:
            self.clients[n] = dm.Client(self.server)
            self.clients[n].user = self.user
            self.clients[n].logged_in = False
        return self.clients[n]

    def put_to_sleep(self, client):
        if self.mode == "off" or not client.logged_in:
            return
        client.must_sleep()
        self.slept += 1

    def between_steps(self):
        for n, client in self.clients.items():
            if n not in self.busy and client.logged_in:
                self.put_to_sleep(client)

    def fill(self, text):
        return re.sub(r"\{([a-z]\w*)\}", lambda m: self.names.get(m.group(1), m.group(0)), text)

    def pattern(self, text):
        out = ""
        for part in re.split(r"(<[^<>]*>)", self.fill(text)):
            named = re.match(r"<(\w+):n>$", part)
            if part == "<n>":
                out += r"\d+"
            elif part == "<...>":
                out += r".*"
            elif named:
                out += r"(?P<%s>\d+)" % named.group(1)
            else:
                out += re.escape(part.replace("\\r\\n", "\r\n"))
        return re.compile(out + r"$", re.S)

    def expect(self, n, text):
        client = self.client(n)
        wanted = self.pattern(text)
        skipped = []
        while True:
            try:
                line = client.line()
            except (EOFError, TimeoutError, OSError) as e:
                raise dm.Failure("expected: %s\n  got: %s%s" % (text, e, "".join(
                    "\n  skipped: " + s for s in skipped)))
            self.note("S%d: %s" % (n, line))
            m = wanted.match(line)
            if m:
                self.names.update(m.groupdict())
                break
            if line.startswith("* OK Still here"):
                continue
            kind = kind_of(line)
            if kind and (kind[0] == "RECENT" or kind == kind_of(self.fill(text))):
                skipped.append(line)
                continue
            raise dm.Failure("expected: %s\n  got:      %s" % (self.fill(text), line))
        if re.match(r"[a-z]\d+ (OK|NO|BAD)", line) or line.startswith("+ idling"):
            self.busy.discard(n)
            if re.match(r"[a-z]\d+ OK .*Logged in", line):
                if client.wants_deflate:
                    client.compress()
                client.logged_in = True

    def step(self, number, what, n, text):
        if what == "!":
            words = text.split()
            self.note("!  " + text)
            if self.mode == "always" and words[0] not in ("eof", "only", "mail", "mailbox"):
                self.between_steps()
            getattr(Steps(self), words[0])(*words[1:])
        elif what in ("C:", "C~"):
            client = self.client(n)
            if not client.__dict__.setdefault("greeted", False):
                client.greeted = True
            if self.mode == "always":
                self.between_steps()
            text = self.fill(text).replace("{USER}", self.user)
            self.note("C%d: %s" % (n, text))
            # A line that begins a command, or goes on with one, is busy until its answer.
            self.busy.add(n)
            client.send(text.replace("\\r\\n", "\r\n") + ("\r\n" if what == "C:" else ""))
        else:
            self.expect(n, text)

    def run(self):
        self.server.add_user(self.user)
        number = 0
        try:
            for number, what, n, text in parse(self.path):
                self.step(number, what, n, text)
            if self.mode == "always" and not self.slept:
                raise dm.Failure("no session ever slept: this run proves nothing")
        except Skipped:
            return
        except Exception as e:
            if not isinstance(e, dm.Failure):
                traceback.print_exc()
            raise dm.Failure("%s:%d (%s): %s\n  --- so far ---\n  %s" % (
                os.path.relpath(self.path), number, self.mode, e,
                "\n  ".join(self.transcript[-30:])))
        finally:
            for client in self.clients.values():
                client.close()


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("-m", "--mode", choices=MODES)
    p.add_argument("-t", "--wire", choices=WIRES, default="plain")
    p.add_argument("-k", "--keep", action="store_true", help="keep logs and mail")
    p.add_argument("files", nargs="*")
    a = p.parse_args()
    files = a.files or sorted(glob.glob(os.path.join(HERE, "talks", "*.talk")))
    passed = failed = 0
    for mode in [a.mode] if a.mode else MODES:
        options = {"hibernate": "no"} if mode == "off" else {}
        with dm.Server("talk-" + mode, users=(), keep=a.keep, tls=a.wire in ("tls", "both"),
                       deflate=a.wire in ("deflate", "both"), **options) as server:
            for path in files:
                try:
                    Talk(server, path, mode, a.verbose).run()
                    passed += 1
                except dm.Failure as e:
                    failed += 1
                    print("FAIL " + str(e))
                    server.keep = True
            if failed:
                print("--- the server's log ends ---\n" + server.tail())
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
