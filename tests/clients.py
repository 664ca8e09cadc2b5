# SPDX-License-Identifier: MIT
"""Clients that other people wrote, against the real server.

curl and Python's imaplib, mbsync, offlineimap and neomutt (or mutt); those that
are missing are skipped by name. What syncs does so both ways, until nothing is
to do. Sessions fall asleep after 200 ms between commands, so the slower ones
meet sleep as well.
"""
import email
import glob
import imaplib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dm  # noqa: E402

MESSAGE = ("From: Greta <greta@example.org>\r\nTo: anna@example.org\r\n"
           "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <%s@example.org>\r\n"
           "Date: Mon, 03 Nov 2025 10:00:00 +0100\r\n\r\nA line.\r\nAnother %s.\r\n")


class Skipped(Exception):
    pass


def check(true, what):
    if not true:
        raise dm.Failure(what)


def need(program):
    path = shutil.which(program)
    if path is None:
        raise Skipped(program + " is not installed")
    return path


def run(*command, **more):
    out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                         **more)
    check(out.returncode == 0, "%s ended with %d:\n%s%s" % (
        " ".join(command), out.returncode, out.stdout.decode("utf-8", "replace"),
        out.stderr.decode("utf-8", "replace")))
    return out.stdout.decode("utf-8", "replace")


def run_in_terminal(*command, env):
    """For programs that want one; until it ends by itself."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env,
                               start_new_session=True)
    os.close(theirs)
    end = time.monotonic() + 60
    screen = b""
    try:
        while time.monotonic() < end:
            if select.select([ours], [], [], 1)[0]:
                screen = (screen + os.read(ours, 4096))[-4000:]
    except OSError:
        pass            # EIO: nobody has the other end any more
    finally:
        os.close(ours)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    check(process.wait(5) == 0, "%s ended with %d: %r" % (command[0], process.returncode, screen))


# ---- curl ----

def curl(server, user, path, *more):
    return run(need("curl"), "-sS", "--user", "%s:secret" % user, *more,
               "imap://127.0.0.1:%d/%s" % (server.port, path))


def test_curl_lists(server, user):
    server.make_maildir(user, "Sent")
    out = curl(server, user, "")
    check('LIST' in out and "INBOX" in out and "Sent" in out, out)


def test_curl_examines(server, user):
    server.deliver(user)
    out = curl(server, user, "", "--request", "EXAMINE INBOX")
    check("* 1 EXISTS" in out, out)


def test_curl_fetches_a_message(server, user):
    text = (MESSAGE % ("c1", "one")).replace("\r\n", "\n")
    server.deliver(user, text)
    out = curl(server, user, "INBOX;MAILINDEX=1")
    check(out.replace("\r\n", "\n") == text, "another text: %r" % out)


def test_curl_fetches_a_header(server, user):
    server.deliver(user, (MESSAGE % ("c2", "two")).replace("\r\n", "\n"))
    out = curl(server, user, "INBOX;MAILINDEX=1;SECTION=HEADER.FIELDS%20(SUBJECT)")
    check("Subject:" in out and "Another" not in out, out)


def test_curl_appends(server, user):
    path = os.path.join(server.dir, "append.eml")
    with open(path, "w", newline="") as f:
        f.write(MESSAGE % ("c3", "three"))
    curl(server, user, "INBOX", "--upload-file", path)
    files = server.files(user)
    check(len(files) == 1, "files: %r" % files)
    with open(files[0], newline="") as f:
        check("Another three." in f.read(), "the message is not what was sent")


def test_curl_searches(server, user):
    for i in range(3):
        server.deliver(user, subject="number %d" % i)
    out = curl(server, user, "INBOX?SUBJECT%20%22number%201%22")
    check(re.search(r"\* SEARCH 2\b", out), out)


def test_curl_refused_with_wrong_password(server, user):
    out = subprocess.run([need("curl"), "-sS", "--user", user + ":wrong",
                          "imap://127.0.0.1:%d/" % server.port],
                         capture_output=True, timeout=60)
    check(out.returncode == 67, "curl ended with %d" % out.returncode)


# ---- imaplib ----

def session(server, user):
    c = imaplib.IMAP4("127.0.0.1", server.port, timeout=dm.PATIENCE)
    c.login(user, "secret")
    return c


def good(answer):
    check(answer[0] == "OK", repr(answer))
    return answer[1]


def test_imaplib_logs_in_and_out(server, user):
    c = session(server, user)
    check(b"IDLE" in good(c.capability())[0].split(), "no IDLE")
    check(c.logout()[0] == "BYE", "no BYE")


def test_imaplib_wrong_password(server, user):
    c = imaplib.IMAP4("127.0.0.1", server.port, timeout=dm.PATIENCE)
    try:
        c.login(user, "wrong")
    except imaplib.IMAP4.error:
        c.shutdown()
        return
    raise dm.Failure("a wrong password was taken")


def test_imaplib_mailboxes(server, user):
    c = session(server, user)
    good(c.create("Archive"))
    good(c.create('"A &- B"'))
    names = b" ".join(good(c.list()))
    check(b"INBOX" in names and b"Archive" in names, repr(names))
    good(c.rename("Archive", "Old"))
    good(c.subscribe("Old"))
    check(b"Old" in b" ".join(good(c.lsub())), "not subscribed")
    check(b"MESSAGES 0" in good(c.status("Old", "(MESSAGES UIDNEXT UIDVALIDITY)"))[0], "STATUS")
    good(c.delete("Old"))
    check(b"Old" not in b" ".join(good(c.list())), "still there")
    c.logout()


def test_imaplib_append_search_fetch(server, user):
    c = session(server, user)
    for i in ("one", "two", "three"):
        good(c.append("INBOX", r"(\Seen)" if i == "two" else None, None,
                      (MESSAGE % (i, i)).encode()))
    check(good(c.select())[0] == b"3", "not 3 messages")
    check(good(c.search(None, "SEEN"))[0].split() == [b"2"], "SEARCH SEEN")
    check(good(c.search(None, "BODY", '"Another three"'))[0].split() == [b"3"], "SEARCH BODY")
    check(good(c.search("UTF-8", "SUBJECT", '"Gr"'))[0].split() == [b"1", b"2", b"3"],
          "SEARCH SUBJECT of an encoded word")
    data = good(c.fetch("3", "(UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])"))
    m = email.message_from_bytes(data[0][1])
    check(m["Message-ID"] == "<three@example.org>", repr(data))
    check(b'"TEXT" "PLAIN"' in data[0][0].upper(), repr(data[0][0]))
    c.logout()


def test_imaplib_store_copy_expunge(server, user):
    for i in range(4):
        server.deliver(user, subject="m%d" % i)
    c = session(server, user)
    good(c.create("Copies"))
    good(c.select())
    good(c.store("1:2", "+FLAGS", r"(\Flagged Work)"))
    check(good(c.search(None, "KEYWORD", "Work"))[0].split() == [b"1", b"2"], "KEYWORD")
    good(c.copy("1:2", "Copies"))
    good(c.uid("STORE", "1,3", "+FLAGS.SILENT", r"(\Deleted)"))
    gone = [x for x in good(c.expunge()) if x]
    check(gone in ([b"1", b"2"], [b"3", b"1"]), "EXPUNGE %r" % gone)
    check(len(server.files(user)) == 2, "files are left")
    check(good(c.select("Copies"))[0] == b"2", "copies")
    check(good(c.search(None, "FLAGGED"))[0].split() == [b"1", b"2"], "flags of copies")
    c.logout()


def test_imaplib_idles_through_a_sleep(server, user):
    """imaplib of this age has no IDLE: by hand on its socket."""
    c = session(server, user)
    good(c.select())
    tag = c._new_tag()
    c.send(tag + b" IDLE\r\n")
    check(c.readline().startswith(b"+"), "no continuation")
    server.wait(lambda: all(r["state"].startswith("asleep") for r in server.who(user)),
                "the session to sleep")
    server.deliver(user)
    line = c.readline()
    while line.startswith(b"* OK"):     # a keepalive
        line = c.readline()
    check(line == b"* 1 EXISTS\r\n", repr(line))
    c.send(b"DONE\r\n")
    while True:
        line = c.readline()
        check(line, "the connection ended")
        if line.startswith(tag):
            break
    check(b" OK" in line, repr(line))
    check(len(good(c.fetch("1", "(FLAGS)"))) == 1, "FETCH after IDLE")
    c.logout()


def test_imaplib_sleeps_between_commands(server, user):
    server.deliver(user, subject="before")
    c = session(server, user)
    good(c.select())
    for i in range(3):
        server.wait(lambda: all(r["state"].startswith("asleep") for r in server.who(user)),
                    "the session to sleep")
        good(c.noop())
        check(b"before" in good(c.fetch("1", "(BODY.PEEK[HEADER])"))[0][1], "FETCH")
    c.logout()


# ---- programs that people read their mail with ----

def test_mbsync_mirrors(server, user):
    mbsync = need("mbsync")
    for i in range(5):
        server.deliver(user, subject="m%d" % i)
    home = os.path.join(server.dir, "mbsync-" + user)
    os.makedirs(os.path.join(home, "mail"))
    conf = os.path.join(home, "mbsyncrc")
    with open(conf, "w") as f:
        f.write("""IMAPStore far
Host 127.0.0.1
Port {port}
User {user}
Pass secret
SSLType None
AuthMechs LOGIN

MaildirStore near
Path {home}/mail/
Inbox {home}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""".format(port=server.port, user=user, home=home))
    sync = [mbsync, "-c", conf, "all"]
    env = dict(os.environ, HOME=home)
    run(*sync, env=env)
    near = glob.glob(home + "/mail/INBOX/*/*")
    check(len(near) == 5, "mirrored: %r" % near)
    os.unlink(near[0])
    run(*sync, env=env)
    check(len(server.files(user)) == 4, "the deletion did not arrive")


def both_ways(server, user, sync, near_path):
    """Mail, flags, deletions and a new mailbox from either side; then nothing to do.

    near_path(mailbox): its Maildir on this side."""
    def near(box="INBOX"):
        return sorted(glob.glob("%s/[nc]*/*" % near_path(box)))

    def state():
        return near(), near("Here"), near("There"), server.files(user), \
            server.files(user, "Here"), server.files(user, "There")

    for i in range(4):
        server.deliver(user, subject="far%d" % i)
    sync()
    check(len(near()) == 4, "mirrored: %r" % near())
    # near: a new message, one read, one deleted, a new mailbox
    with open(near_path("INBOX") + "/new/1700000000.M1P1.near", "w") as f:
        f.write("Subject: near\n\nfrom here\n")
    first, second = near()[1], near()[2]
    os.unlink(first)
    os.rename(second, os.path.join(near_path("INBOX"), "cur",
                                   os.path.basename(second).split(":")[0] + ":2,S"))
    for sub in ("", "/cur", "/new", "/tmp"):
        os.mkdir(near_path("Here") + sub)
    with open(near_path("Here") + "/cur/1700000001.M1P1.here:2,", "w") as f:
        f.write("Subject: here\n\nx\n")
    # far: one flagged, one new, a new mailbox
    c = session(server, user)
    good(c.select())
    good(c.store("4", "+FLAGS", r"(\Flagged)"))
    good(c.create("There"))
    good(c.append("There", None, None, (MESSAGE % ("there", "one")).encode()))
    c.logout()
    server.deliver(user, subject="late")
    sync()
    check(len(server.files(user)) == 5, "far: %r" % server.files(user))
    check(len(near()) == 5, "near: %r" % near())
    check(sum(p.endswith("S") for p in server.files(user)) == 1, "the flag did not arrive")
    check(sum(":2,F" in p for p in near()) == 1, "the flag did not come")
    check(len(server.files(user, "Here")) == 1, "the mailbox did not arrive")
    check(len(near("There")) == 1, "the mailbox did not come")
    sync()
    before = state()
    sync()
    check(state() == before, "there was still something to do")


def test_mbsync_goes_both_ways(server, user):
    mbsync = need("mbsync")
    home = os.path.join(server.dir, "both-" + user)
    conf = os.path.join(home, "mbsyncrc")
    os.makedirs(os.path.join(home, "mail"))
    with open(conf, "w") as f:
        f.write("""IMAPStore far
Host 127.0.0.1
Port {port}
User {user}
Pass secret
SSLType None
AuthMechs LOGIN

MaildirStore near
Inbox {home}/mail/INBOX
SubFolders Maildir++

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""".format(port=server.port, user=user, home=home))
    both_ways(server, user,
              lambda: run(mbsync, "-c", conf, "all", env=dict(os.environ, HOME=home)),
              lambda box: home + "/mail/INBOX" + ("" if box == "INBOX" else "/." + box))


def test_offlineimap_goes_both_ways(server, user):
    program = need("offlineimap")
    home = os.path.join(server.dir, "offlineimap-" + user)
    os.makedirs(home)
    conf = os.path.join(home, "rc")
    with open(conf, "w") as f:
        f.write("""[general]
accounts = a
metadata = {home}/meta
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {home}/mail
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {port}
remoteuser = {user}
remotepass = secret
ssl = no
starttls = no
auth_mechanisms = PLAIN
""".format(home=home, port=server.port, user=user))
    both_ways(server, user, lambda: run(program, "-c", conf, "-o", "-u", "quiet",
                                        env=dict(os.environ, HOME=home)),
              lambda box: home + "/mail/" + box)


def test_mutt_reads_and_saves(server, user):
    mutt = shutil.which("neomutt") or need("mutt")
    for i in range(3):
        server.deliver(user, subject="m%d" % i)
    server.make_maildir(user, "Saved")
    url = "imap://%s@127.0.0.1:%d" % (user, server.port)
    home = os.path.join(server.dir, "mutt-" + user)
    os.makedirs(home)
    conf = os.path.join(home, "rc")
    with open(conf, "w") as f:
        f.write("set ssl_starttls=no\nset ssl_force_tls=no\nset folder=%s\nset confirmappend=no\n"
                "set header_cache=\nset quit=yes\nset delete=yes\nset imap_user=%s\n"
                "set imap_pass=secret\nset imap_authenticators=login\n" % (url, user))
    keys = "push '<tag-pattern>~A<enter><tag-prefix><copy-message>=Saved<enter><quit>'"
    run_in_terminal(mutt, "-n", "-F", conf, "-f", url + "/INBOX", "-e", keys,
                    env=dict(os.environ, HOME=home, TERM="xterm"))
    check(len(server.files(user, "Saved")) == 3, "saved: %r" % server.files(user, "Saved"))
    # A second time: one deleted, one flagged; then nothing to do.
    keys = "push '<first-entry><delete-message><next-entry><flag-message><quit>'"
    for _ in range(2):
        run_in_terminal(mutt, "-n", "-F", conf, "-f", url + "/Saved", "-e", keys,
                        env=dict(os.environ, HOME=home, TERM="xterm"))
        files = server.files(user, "Saved")
        check(len(files) == 2, "left: %r" % files)
        check(sum("F" in f.partition(":2,")[2] for f in files) == 1, "flagged: %r" % files)
        keys = "push '<sync-mailbox><quit>'"


def main():
    passed = failed = 0
    tests = sorted((n[5:], f) for n, f in globals().items() if n.startswith("test_"))
    only = sys.argv[1:]
    with dm.Server("clients", users=(), hibernate_after="200ms") as server:
        for number, (name, test) in enumerate(tests):
            if only and name not in only:
                continue
            user = "c%d" % number
            server.add_user(user)
            server.make_maildir(user)
            try:
                test(server, user)
                passed += 1
                print("ok      " + name)
            except Skipped as e:
                print("skipped %s: %s" % (name, e))
            except Exception as e:
                failed += 1
                server.keep = True
                print("FAIL    %s: %s: %s" % (name, type(e).__name__, e))
                if not isinstance(e, (dm.Failure, imaplib.IMAP4.error)):
                    traceback.print_exc(limit=-2)
        if failed:
            print("--- the server's log ends ---\n" + server.tail(30))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except dm.Failure as e:
        print(e)
        sys.exit(1)
