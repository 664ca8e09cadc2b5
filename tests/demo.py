# SPDX-License-Identifier: MIT
"""A show: sessions fall asleep, wake, and survive an upgrade and a kill. demo.py [options]

Starts the server on loopback with a few accounts and some mail in a temporary
directory; many clients IDLE until they sleep. Then it stays up, to be tried
with a client of one's own, until Ctrl-C. Without a terminal it ends after the
show. Whatever it prints was measured in this run; if something that it claims
was not true, it says so and exits with status 1.
"""
import argparse
import email.message
import email.policy
import email.utils
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402
import memory  # noqa: E402
import upgrade  # noqa: E402

PASSWORD = "secret"
ACCOUNTS = ("anna", "ben", "carla", "david", "emma", "felix", "greta", "hugo", "ida", "jonas")
AFTER_SECONDS = 3
PORTS = range(1143, 1164)
HERE = os.path.dirname(os.path.abspath(__file__))

MAIL = (
    ("Greta Lindqvist <greta@example.org>", "Kanelbullar on Friday?",
     "Hej!\n\nI am baking on Friday, far too much as always. Come by after five.\n\nGreta\n"),
    ("Hugo Bérenger <hugo@example.org>", "Re: the boat",
     "The hull is dry at last. If the weather holds we can paint on Sunday;\n"
     "bring old clothes, and the radio.\n\n> shall I order the blue, or the other blue?\n\n"
     "The other one.\n\nHugo\n"),
    ("Stadtbibliothek <mahnung@bibliothek.example>", "Ihre Ausleihe läuft ab",
     "Guten Tag,\n\ndie Leihfrist für »Der Siebenschläfer« endet in drei Tagen.\n\n"
     "Ihre Stadtbibliothek\n"),
    ("Ida Moreau <ida@example.org>", "Photos from the hut",
     "Only the one that is not blurred. The dormouse was in the sugar again.\n\nIda\n"),
    ("Cron Daemon <root@alm.example>", "backup: 0 errors, 14 files",
     "sent 1,204,911 bytes  received 344 bytes\ntotal size is 88,120,331\n"),
)


# ---- what is said ----

class Show:
    """Prints, and remembers what turned out not to be true."""

    def __init__(self):
        self.untrue = []
        self.began = time.monotonic()

    def step(self, text):
        print("\n%6.1f s  %s" % (time.monotonic() - self.began, text), flush=True)

    def say(self, text=""):
        print("          " + text if text else "", flush=True)

    def claim(self, true, text):
        print("   %s  %s" % ("  ok  " if true else " FALSE", text), flush=True)
        if not true:
            self.untrue.append(text)


# ---- mail ----

def message(sender, to, subject, body, days_ago=0.0, picture=False):
    m = email.message.EmailMessage(policy=email.policy.SMTP.clone(linesep="\n"))
    m["From"] = sender
    m["To"] = "%s <%s@example.org>" % (to.capitalize(), to)
    m["Subject"] = subject
    m["Date"] = email.utils.formatdate(time.time() - days_ago * 86400, localtime=True)
    m["Message-ID"] = email.utils.make_msgid(domain="example.org")
    m.set_content(body)
    if picture:
        # A grey picture of 64 by 64: PGM needs no library.
        pixels = bytes((x * y) % 256 for x in range(64) for y in range(64))
        m.add_attachment(b"P5 64 64 255\n" + pixels, maintype="image",
                         subtype="x-portable-graymap", filename="dormouse.pgm")
    return m.as_bytes()


def fill_mailboxes(server):
    for user in server.users:
        server.make_maildir(user)
        for i, (sender, subject, body) in enumerate(MAIL):
            server.deliver(user, message(sender, user, subject, body, 9.3 - i * 2,
                                         picture="Photos" in subject))
        for box in ("Sent", "Archive"):
            server.make_maildir(user, box)
        server.deliver(user, message("%s <%s@example.org>" % (user.capitalize(), user), "hugo",
                                     "the boat", "shall I order the blue, or the other blue?\n",
                                     7.5), "Sent")


# ---- the server ----

class DemoServer(dm.Server):
    def __init__(self, port, after):
        self.wanted_port = port
        super().__init__("demo", users=ACCOUNTS, hibernate_after=after, tls=True,
                         max_user_sessions="0",     # --clients may be thousands
                         upgrade_grace="10s")
        # Programs of its own, so that they can be replaced by a next version.
        self.installation = upgrade.Installation(self.dir)
        self.stage = self.installation.stage

    def write_conf(self):
        super().write_conf()
        with open(self.conf) as f:
            text = f.read()
        with open(self.conf, "w") as f:
            # The first is the one without TLS.
            f.write(text.replace("port = 0", "port = %d" % self.wanted_port, 1)
                    .replace('log_level = "debug"', 'log_level = "info"'))

    def pids(self, program):
        """Each program leads a session of its own: by descent."""
        return [p for p, n in memory.processes({self.process.pid}).items() if n == program]

    def states(self):
        """{session id: state}"""
        return {row["id"]: row["state"] for row in self.who()}

    def count_asleep(self):
        return sum(s.startswith("asleep") for s in self.states().values())

    def all_asleep(self, clients, patience=60):
        """How many sleep, once all do or patience is at its end."""
        end = time.monotonic() + patience
        while True:
            try:
                asleep = self.count_asleep()
            except OSError:
                asleep = 0      # the holder is just being started again
            if asleep >= clients or time.monotonic() > end:
                return asleep
            time.sleep(0.1)


def free_port():
    for port in PORTS:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    return 0


def measured(server):
    """memory.py's figures, or None where they cannot be read."""
    try:
        return memory.measure({server.process.pid})
    except memory.Unreadable:
        return None


# ---- clients ----

def connect(server, number):
    """Over TLS, half of an account's clients with COMPRESS."""
    client = dm.Client(server, ACCOUNTS[number % len(ACCOUNTS)], PASSWORD,
                       deflate=number // len(ACCOUNTS) % 2 == 1)
    for line in client.ok("SELECT INBOX"):
        m = re.match(r"\* (\d+) EXISTS", line)
        if m:
            client.exists = int(m.group(1))
    client.idle()
    return client


def until_exists(client, count):
    """The EXISTS line that says so."""
    while True:
        line = client.line()
        m = re.match(r"\* (\d+) EXISTS", line)
        if m:
            client.exists = int(m.group(1))
            if client.exists >= count:
                return line


def told(clients, counts):
    """How many of the clients are told of as many messages as are there."""
    reached = 0
    for client in clients:
        try:
            until_exists(client, counts[client.user])
            reached += 1
        except (OSError, EOFError):
            pass
    return reached


def milliseconds(since):
    return (time.monotonic() - since) * 1e3


# ---- the acts ----

class Demo:
    def __init__(self, show, server, n):
        self.show, self.server, self.n = show, server, n
        self.clients = []
        self.alone = self.awake = self.slept = None

    def deliver(self, user, sender, subject, body):
        text = message(sender, user, subject, body)
        self.server.deliver(user, text)

    def warm_up(self):
        """One client that comes, sleeps, wakes and leaves: what a server needs
        once does not belong to the clients."""
        with_one = connect(self.server, 0)
        with_one.must_sleep()
        with_one.done()
        with_one.ok("LOGOUT")
        with_one.close()
        self.server.wait(lambda: not self.server.who(), "the session to be forgotten")
        time.sleep(0.5)

    def act_connect(self):
        show = self.show
        self.warm_up()
        self.alone = measured(self.server)
        show.step("%d clients of %d accounts log in, select INBOX and IDLE" % (
            self.n, len(ACCOUNTS)))
        start = time.monotonic()
        for i in range(self.n):
            self.clients.append(connect(self.server, i))
        show.say("connected in %.1f s" % (time.monotonic() - start))
        self.awake = measured(self.server)

    def act_sleep(self):
        show = self.show
        show.step("they have nothing to say; after %d s each falls asleep" % AFTER_SECONDS)
        start = time.monotonic()
        asleep = self.server.all_asleep(self.n)
        show.claim(asleep == self.n, "%d of %d sleep, %.1f s later" % (
            asleep, self.n, time.monotonic() - start))
        time.sleep(0.5)
        self.slept = measured(self.server)
        if None in (self.alone, self.awake, self.slept):
            show.say("(memory can only be measured as root)")
            return
        show.say()
        for line in self.table():
            show.say(line)
        # Without mapped files: other users of the same libraries would show.
        alone, awake, slept = (m["total"] - m["files"] for m in (self.alone, self.awake,
                                                                 self.slept))
        each = [(m - alone) / self.n / 1024 for m in (awake, slept)]
        show.claim(each[1] < each[0], "a client costs %.2f kB asleep, %.0f kB awake "
                   "(files of programs and libraries left out)" % (each[1], each[0]))

    def table(self):
        columns = (("nobody", self.alone), ("awake", self.awake), ("asleep", self.slept))
        yield "%-18s" % "processes, memory" + "".join("%19s" % name for name, _ in columns)
        for name in sorted(set().union(*(m["programs"] for _, m in columns))):
            cells = [m["programs"].get(name, (0, 0)) for _, m in columns]
            yield "%-18s" % name + "".join("%6d %9.0f kB" % (c, b / 1024) for c, b in cells)
        yield "%-18s" % "together" + "".join("%6d %9.0f kB" % (
            sum(c for c, _ in m["programs"].values()), m["total"] / 1024) for _, m in columns)

    def act_mail(self):
        show, user = self.show, self.clients[0].user
        theirs = [c for c in self.clients if c.user == user]
        show.step("mail for %s, whose %d clients sleep" % (user, len(theirs)))
        asleep = sum(c.asleep() for c in theirs)
        want = theirs[0].exists + 1
        self.deliver(user, "Ben <ben@example.org>", "Are you asleep?",
                     "Then this wakes you.\n\nBen\n")
        start = time.monotonic()
        took = []
        waiting = list(theirs)
        while waiting:
            for sock in select.select([c.sock for c in waiting], [], [], dm.PATIENCE)[0]:
                client = next(c for c in waiting if c.sock is sock)
                line = until_exists(client, want)
                took.append(milliseconds(start))
                waiting.remove(client)
        show.say("S: " + line)
        show.claim(asleep == len(theirs), "%d slept; the first was told %.1f ms after the mail "
                   "was there, the last %.1f ms" % (asleep, took[0], took[-1]))

    def act_command(self):
        show, client = self.show, self.clients[0]
        show.step("a command after a sleep: first DONE, then a FETCH out of a sleep "
                  "between two commands")
        self.server.all_asleep(self.n)
        asleep = client.asleep()
        start = time.monotonic()
        _, tagged = client.done()
        took = milliseconds(start)
        show.say("C: DONE")
        show.say("S: " + tagged)
        show.claim(asleep and " OK" in tagged, "answered out of the sleep in %.1f ms" % took)
        self.server.all_asleep(self.n)
        asleep = client.asleep()
        command = "FETCH %d (FLAGS BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)])" % client.exists
        start = time.monotonic()
        untagged, tagged = client.command(command)
        took = milliseconds(start)
        show.say("C: t%d %s" % (client.tag, command))
        for line in "\r\n".join(untagged).split("\r\n"):
            show.say("S: " + line)
        show.say("S: " + tagged)
        show.claim(asleep and " OK" in tagged and "Are you asleep?" in "".join(untagged),
                   "answered out of the sleep in %.1f ms" % took)
        client.idle()

    def act_upgrade(self):
        show, server = self.show, self.server
        asleep = server.all_asleep(self.n)
        before = server.installation.version
        version = server.installation.next()
        pid = server.pids("master")
        show.step("$ dormouse upgrade     from version %s to %s (the same programs under another "
                  "name); %d clients sleep" % (before, version, asleep))
        start = time.monotonic()
        done = subprocess.run([server.program("dormouse"), "-c", server.conf, "upgrade"],
                              capture_output=True, text=True, timeout=120)
        took = milliseconds(start)
        running = server.ctl("status")[0][0]["version"]
        show.claim(done.returncode == 0 and running == version and server.pids("master") == pid,
                   "every program is of version %s, %.0f ms later%s" % (
                       running, took, done.stderr and ": " + done.stderr.strip()))
        reached = self.mail_to_all("News of the new version", "Did you notice?\n")
        show.claim(reached == self.n, "mail for everybody: %d of %d clients, on the connections "
                   "that they had, are told" % (reached, self.n))
        show.claim(self.answered() == self.n, "DONE is answered OK to all of them")

    def answered(self):
        n = 0
        for client in self.clients:
            try:
                n += " OK" in client.done()[1]
                client.idle()
            except (OSError, EOFError):
                pass
        return n

    def act_kill(self):
        show = self.show
        asleep = self.server.all_asleep(self.n)
        pids = self.server.pids("imap-hibernate")
        show.step("kill -9 of imap-hibernate (pid %s), which holds %d sleepers" % (
            ", ".join(map(str, pids)), asleep))
        start = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        reached = self.mail_to_all("To the survivors", "Still with us?\n")
        show.claim(reached == self.n, "mail for everybody: %d of %d clients are told, "
                   "%.0f ms after the kill" % (reached, self.n, milliseconds(start)))
        answered = self.answered()
        show.claim(answered == self.n, "DONE is answered OK to %d of %d" % (answered, self.n))
        show.claim(self.server.pids("imap-hibernate") not in ([], pids),
                   "a new imap-hibernate runs (pid %s)" % ", ".join(
                       map(str, self.server.pids("imap-hibernate"))))

    def mail_to_all(self, subject, body):
        counts = {}
        for client in self.clients:
            counts[client.user] = max(counts.get(client.user, 0), client.exists + 1)
        for user in counts:
            self.deliver(user, "Hugo <hugo@example.org>", subject, body)
        return told(self.clients, counts)

    def act_many(self):
        show = self.show
        asleep = self.server.all_asleep(self.n)
        show.step("mail for all accounts at once; %d clients sleep" % asleep)
        start = time.monotonic()
        reached = self.mail_to_all("Good morning", "Everybody up!\n")
        took = time.monotonic() - start
        show.claim(reached == self.n == asleep, "%d of %d are told within %.0f ms "
                   "(%.0f a second)" % (reached, self.n, took * 1e3, reached / took))

    def run(self):
        for act in (self.act_connect, self.act_sleep, self.act_mail, self.act_command,
                    self.act_many, self.act_upgrade, self.act_kill):
            act()


# ---- afterwards ----

def how_to(show, server):
    port, conf, dormouse = server.port, server.conf, server.program("dormouse")
    show.step("it is yours: 127.0.0.1 port %d, STARTTLS if you like, or TLS on port %d; "
              "users %s; password %s" % (port, server.tls_port, ", ".join(ACCOUNTS), PASSWORD))
    for text in (
            "",
            "with a client of your own, for example",
            "  curl -s 'imap://anna:%s@127.0.0.1:%d/'" % (PASSWORD, port),
            "  curl -s 'imap://anna:%s@127.0.0.1:%d/INBOX;MAILINDEX=1'" % (PASSWORD, port),
            "  curl -s --cacert %s 'imaps://anna:%s@localhost:%d/'" % (
                server.pem + ".crt", PASSWORD, server.tls_port),
            "  mutt -f imap://anna@127.0.0.1:%d/INBOX" % port,
            "  python3 -c 'import imaplib; c = imaplib.IMAP4(\"127.0.0.1\", %d); "
            "print(c.login(\"anna\", \"%s\"), c.select())'" % (port, PASSWORD),
            "",
            "who sleeps, what runs",
            "  %s who -c %s" % (dormouse, conf),
            "  %s status -c %s" % (dormouse, conf),
            "its log:           %s" % server.log_path,
            "mail, as Maildir:  %s" % os.path.join(server.dir, "home"),
    ):
        show.say(text)


def show_who(show, server):
    out = subprocess.run([server.program("dormouse"), "who", "-c", server.conf, "anna"],
                         capture_output=True, text=True)
    show.step("$ dormouse who anna")
    for line in (out.stdout + out.stderr).splitlines()[:6]:
        show.say(line)
    show.claim(out.returncode == 0, "dormouse who ended with status %d" % out.returncode)


class Ended(Exception):
    pass


def end(signo, frame):
    raise Ended


def show_all(show, a, interactive):
    with DemoServer(a.port or free_port(), "%ds" % AFTER_SECONDS) as server:
        try:
            fill_mailboxes(server)
            show.step("the server runs in %s, as %s" % (
                server.dir, "root, each program as a user of its own" if server.root else
                "an ordinary user"))
            demo = Demo(show, server, a.clients)
            demo.run()
            show_who(show, server)
            if show.untrue:
                print("\n--- the server's log ends ---\n" + server.tail())
                server.keep = True
            if interactive:
                how_to(show, server)
                show.say()
                show.say("Ctrl-C ends it and removes everything.")
                while server.process.poll() is None:
                    time.sleep(0.5)
                raise dm.Failure("the server ended")
        except (Ended, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            show.step("ending")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clients", type=int, default=100)
    p.add_argument("--port", type=int, default=0, help="default: 1143 or the next free one")
    p.add_argument("--end", action="store_true", help="end after the show")
    a = p.parse_args()
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not a.end
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    show = Show()
    try:
        show_all(show, a, interactive)
    except (dm.Failure, EOFError, OSError) as e:
        print("\ndemo: %s" % e)
        return 1
    except (Ended, KeyboardInterrupt):
        return 130      # while it was still starting
    if show.untrue:
        print("\ndemo: not true in this run:\n  " + "\n  ".join(show.untrue))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
