#!/usr/bin/python3 -I
# SPDX-License-Identifier: MIT
"""Stands in for auth, imap, imap-hibernate and imap-login in test_master.py:
speaks the setup channel, writes down what it is told, and does what a file in
the run directory asks of it. Which program it is, its own name says."""
import array
import json
import os
import select
import socket
import struct
import sys
import time

SETUP, CHANNEL, READY, CONTROL, STOP, STATUS = range(1, 7)
KEEP, KEEP_OK, FETCH, KEPT_ITEM, FETCH_END, DUP, DUP_OK, DUP_NO, DROP, DUPS, DUPS_OK = range(20, 31)
CTL_REQUEST, CTL_ROW, CTL_END = range(80, 83)
ROLE_KEEPER = 2


def pack(v):
    if v is True or v is False:
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return b"\xcf" + struct.pack(">Q", v)
    if isinstance(v, str):
        v = v.encode()
        return b"\xda" + struct.pack(">H", len(v)) + v
    if isinstance(v, bytes):
        return b"\xc5" + struct.pack(">H", len(v)) + v
    return b"\xdc" + struct.pack(">H", len(v)) + b"".join(map(pack, v))


def unpack(b, at=0):
    def take(n, fmt):
        return struct.unpack_from(fmt, b, at + 1)[0], at + 1 + n
    t = b[at]
    if t <= 0x7f:
        return t, at + 1
    if t in (0xc2, 0xc3):
        return t == 0xc3, at + 1
    for first, n, fmt in ((0xcc, 1, ">B"), (0xcd, 2, ">H"), (0xce, 4, ">I"), (0xcf, 8, ">Q")):
        if t == first:
            return take(n, fmt)
    if 0x90 <= t <= 0x9f:
        count, at = t & 15, at + 1
    elif t == 0xdc:
        count, at = take(2, ">H")
    else:
        count = None
    if count is not None:
        out = []
        for _ in range(count):
            v, at = unpack(b, at)
            out.append(v)
        return out, at
    text = 0xa0 <= t <= 0xbf or t in (0xd9, 0xda)
    if 0xa0 <= t <= 0xbf:
        n, at = t & 31, at + 1
    elif t in (0xd9, 0xc4):
        n, at = take(1, ">B")
    elif t in (0xda, 0xc5):
        n, at = take(2, ">H")
    else:
        raise ValueError("type %#x" % t)
    v = b[at:at + n]
    return (v.decode("utf-8", "replace") if text else v), at + n


def send(sock, *msg, fds=()):
    anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([pack(list(msg))], anc)


def recv(sock):
    """(message, descriptors), or (None, []) at the end."""
    data, anc, flags, _ = sock.recvmsg(1 << 19, socket.CMSG_SPACE(4 * 253))
    assert not flags & socket.MSG_CTRUNC
    fds = array.array("i")
    for level, kind, payload in anc:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[:len(payload) - len(payload) % 4])
    return (unpack(data)[0] if data else None), list(fds)


class Fake:
    def __init__(self):
        # Started by descriptor: argv[0] is /dev/fd/N.
        self.name = os.path.basename(os.path.realpath(sys.argv[0]))
        if sys.argv[0].startswith("/dev/fd/"):
            os.close(int(os.path.basename(sys.argv[0])))
        self.setup = socket.socket(fileno=3)
        self.setup.setblocking(True)
        msg, self.fds = recv(self.setup)
        assert msg[0] == SETUP, msg
        self.base = msg[1][0]
        self.keeper = None
        self.say("setup", fds=len(self.fds), args=len(msg),
                 inherited=sorted(int(f) for f in os.listdir("/proc/self/fd")
                                  if 3 < int(f) and int(f) not in self.fds and self.is_open(f)),
                 env=sorted(os.environ))
        if os.path.exists(self.path("die")):
            os._exit(7)
        send(self.setup, STATUS, "hello=%s" % self.name)
        send(self.setup, READY)

    @staticmethod
    def is_open(fd):
        # the directory that listdir() had open is closed again
        try:
            os.fstat(int(fd))
            return True
        except OSError:
            return False

    def path(self, what):
        return os.path.join(self.base, "%s.%s" % (what, self.name))

    def say(self, what, **more):
        line = json.dumps(dict(pid=os.getpid(), name=self.name, what=what, **more)) + "\n"
        fd = os.open(os.path.join(self.base, "fake.log"),
                     os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(fd, line.encode())
        os.close(fd)

    def on_setup(self):
        msg, fds = recv(self.setup)
        if msg is None:
            self.say("eof")
            os._exit(0)
        if msg[0] == CHANNEL:
            self.say("channel", role=msg[1])
            if msg[1] == ROLE_KEEPER:
                self.keeper_begin(socket.socket(fileno=fds[0]))
        elif msg[0] == STOP:
            self.say("stop", how=msg[1])
            if os.path.exists(self.path("slow-end")):
                # the channel goes first, and master sees that
                self.setup.close()
                time.sleep(0.2)
                os._exit(3)
            if not os.path.exists(self.path("hang")):
                os._exit(0)
        elif msg[0] == CONTROL:
            self.control(socket.socket(fileno=fds[0]))

    def control(self, conn):
        conn.setblocking(True)
        msg, _ = recv(conn)
        verb, args = msg[1], msg[2]
        self.say("control", verb=verb, args=args)
        if verb == "user":
            with open(self.path("users")) as f:
                users = json.load(f)
            if args[0] not in users:
                send(conn, CTL_END, False, "no such user")
                return
            send(conn, CTL_ROW, [["user", args[0]]] + [[k, str(v)] for k, v in users[args[0]].items()])
        elif verb == "who":
            send(conn, CTL_ROW, [["id", "00000000000000a1"], ["user", "an\"na\n\x1b[31m"]])
            send(conn, CTL_ROW, [["id", "00000000000000a2"], ["user", "b\u00e9a"]])
        elif verb == "state-dump":
            for line in ("format: 1", "uids: 1:\x1b4 (4)"):
                send(conn, CTL_ROW, [["line", line]])
        send(conn, CTL_END, True, "")

    # the holder's talk with the keeper
    def keeper_begin(self, sock):
        sock.setblocking(True)
        items, dups = {}, {}
        while True:
            msg, fds = recv(sock)
            if msg is None:
                return
            if msg[0] == KEPT_ITEM:
                items[msg[1]] = fds[0]
            elif msg[0] == DUPS:
                for (sid, cookie), fd in zip(msg[1], fds):
                    dups[sid] = fd
                send(sock, DUPS_OK)
            elif msg[0] == FETCH_END:
                break
        self.keeper = sock
        self.say("adopted", items=sorted(items), dups=sorted(dups),
                 inodes={str(sid): os.fstat(fd).st_ino for sid, fd in dups.items()})
        if os.path.exists(self.path("dup")):
            self.dup_some(int(open(self.path("dup")).read()))
        for fd in list(items.values()) + list(dups.values()):
            os.close(fd)

    def dup_some(self, n):
        """n sockets, kept; every third dropped again; then the table."""
        inodes = {}
        for sid in range(1, n + 1):
            a, b = socket.socketpair()
            send(self.keeper, DUP, sid, sid * 7, fds=[a.fileno()])
            msg, _ = recv(self.keeper)
            assert msg[:3] == [DUP_OK, sid, sid * 7], msg
            inodes[sid] = os.fstat(a.fileno()).st_ino
            a.close()
            b.close()
        for sid in range(3, n + 1, 3):
            send(self.keeper, DROP, sid, sid * 7)
            del inodes[sid]
        memfd = os.memfd_create("table")
        os.write(memfd, b"table")
        send(self.keeper, KEEP, "table", fds=[memfd])
        msg, _ = recv(self.keeper)
        assert msg == [KEEP_OK, "table"], msg
        self.say("dupped", inodes={str(k): v for k, v in inodes.items()})

    def run(self):
        while True:
            self.on_setup()


if __name__ == "__main__" and "--check" not in sys.argv:
    Fake().run()
