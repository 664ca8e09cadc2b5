# SPDX-License-Identifier: MIT
"""A world around one real imap-hibernate: this process plays master, keeper and
the clients; imap processes and spares are forked, since locks belong to
processes. They follow the steps of the hand-over with a toy protocol in place
of IMAP:

every record that goes to a client is a line with the next number ("000007 A 3"),
prepared keepalives too, just as TLS numbers its records. A client that sees the
numbers in order has seen no text twice, none skipped, and never two owners.
"""
import array, ctypes, errno, fcntl, json, os, pickle, random, re, select, shutil, signal
import socket, struct, subprocess, sys, tempfile, time

# ---- messages: msgpack, as far as lib/ipc.h speaks it ----
SETUP, CHANNEL, READY, CONTROL, STOP, STATUS = 1, 2, 3, 4, 5, 6
KEEP, KEEP_OK, FETCH, KEPT_ITEM, FETCH_END, DUP, DUP_OK, DUP_NO, DROP, DUPS, DUPS_OK = range(20, 31)
(HELLO, WATCH, WATCHED, CHANGED, NOTICE, SLEEP, KEPT, REFUSED, HAVE, HAVE_NOT, TAKEN,
 WAKE_FAILED, DO, DONE_DO, DUMPED) = range(40, 55)
SESSION = 63
CTL_REQUEST, CTL_ROW, CTL_END = 80, 81, 82
ROLE_KEEPER, ROLE_AUTH = 2, 3
IDLE, SELECTED, POLL = 1, 2, 4
(W_INPUT, W_CHANGE, W_KEEPALIVES, W_KICK, W_STOP, W_OPERATOR, W_POLL, W_FAILED_BEFORE,
 W_DUMP) = range(1, 10)
DO_SLEEP, DO_KICK, DO_STOP = 1, 2, 3
DEADLINE = 30.0		# never reached unless something is broken


def pack(v):
    if v is True or v is False:
        return b'\xc3' if v else b'\xc2'
    if isinstance(v, int):
        return bytes([v]) if v < 128 else b'\xcf' + struct.pack('>Q', v)
    if isinstance(v, str):
        b = v.encode()
        return b'\xdb' + struct.pack('>I', len(b)) + b
    if isinstance(v, (bytes, bytearray)):
        return b'\xc6' + struct.pack('>I', len(v)) + bytes(v)
    return b'\xdd' + struct.pack('>I', len(v)) + b''.join(pack(x) for x in v)


def unpack(b):
    def take(n):
        nonlocal at
        at += n
        return b[at - n:at]

    def num(n):
        return int.from_bytes(take(n), 'big')

    def item():
        t = num(1)
        if t < 128: return t
        if 0x90 <= t < 0xa0: return [item() for _ in range(t & 15)]
        if 0xa0 <= t < 0xc0: return take(t & 31).decode('utf8', 'replace')
        if t in (0xc2, 0xc3): return t == 0xc3
        if t in (0xc4, 0xc5, 0xc6): return take(num(1 << (t - 0xc4)))
        if t in (0xcc, 0xcd, 0xce, 0xcf): return num(1 << (t - 0xcc))
        if t in (0xd9, 0xda, 0xdb): return take(num(1 << (t - 0xd9))).decode('utf8', 'replace')
        if t in (0xdc, 0xdd): return [item() for _ in range(num(2 << (t - 0xdc)))]
        raise ValueError(hex(t))
    at = 0
    return item()


class Eof(Exception):
    pass


def ready(fds, timeout, what=select.POLLIN):
    """poll(), since select() ends at descriptor 1023."""
    p = select.poll()
    for fd in fds:
        p.register(fd, what)
    return p.poll(timeout * 1000)


class Chan:
    """One SEQPACKET connection."""
    def __init__(self, sock):
        self.sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 600000)

    def send(self, *fields, fds=()):
        self.send_raw(pack(list(fields)), fds)

    def send_raw(self, data, fds=()):
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        end = time.monotonic() + DEADLINE
        while True:
            try:
                self.sock.sendmsg([data], anc)
                return
            except BlockingIOError:
                if time.monotonic() > end: raise
                ready([self.sock], 1, select.POLLOUT)
            except (BrokenPipeError, ConnectionResetError):
                raise Eof()

    def recv_raw(self, timeout=DEADLINE):
        """(bytes, fds) or None after the time-out."""
        if not ready([self.sock], timeout):
            return None
        try:
            data, anc, flags, _ = self.sock.recvmsg(1 << 19, 4096, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return self.recv_raw(timeout)
        fds = []
        for level, kind, d in anc:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds += list(array.array('i', d[:len(d) // 4 * 4]))
        if not data:
            raise Eof()
        return data, fds

    def recv(self, timeout=DEADLINE):
        """[type, fields...], fds; or None."""
        got = self.recv_raw(timeout)
        return got and (unpack(got[0]), got[1])

    def close(self):
        self.sock.close()


def pair():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Chan(a), Chan(b)


# ---- lock and fence, from the kernel ----
def lock(fd):
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as e:
        if e.errno not in (errno.EAGAIN, errno.EACCES): raise
        return False


def unlock(fd):
    fcntl.lockf(fd, fcntl.LOCK_UN)




class Sock:
    """A client's socket by number, with no duplicate ever made."""
    def __init__(self, fd):
        self.s = socket.socket(fileno=fd)
        self.s.setblocking(False)
        self.fd = fd

    def fence(self):
        while True:
            i1 = self.s.getsockopt(socket.IPPROTO_TCP, 11, 232)
            unread = struct.unpack('i', fcntl.ioctl(self.fd, 0x541B, b'\0' * 4))[0]
            i2 = self.s.getsockopt(socket.IPPROTO_TCP, 11, 232)
            if i1[128:136] == i2[128:136] and i1[0] == i2[0]:
                break
        received, = struct.unpack_from('Q', i2, 128)
        notsent, = struct.unpack_from('I', i2, 144)
        sent, retrans = struct.unpack_from('QQ', i2, 200)
        fin = i2[0] in (8, 9, 11, 6)
        return sent - retrans + notsent, received - fin - unread, i2[0] not in (1, 8)

    def cookie(self):
        return struct.unpack('Q', self.s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]

    def close(self):
        self.s.close()


class Free(Exception):
    """A spare has nothing to do with this one."""


class Imap:
    """One session in one process. Methods are steps; run() is a whole imap."""
    def __init__(self, world, sock, hold, st):
        self.w, self.c, self.hold, self.st = world, sock, hold, st
        self.gen, self.nonce, self.notices = 0, 0, 0
        self.rng = random.Random(os.getpid() * 7919 + world.seed)
        self.do = None

    # -- holder's channel
    def connect(self):
        if self.hold:
            self.hold.close()
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(self.w.path)
        self.hold = Chan(s)
        self.hello()

    def hello(self):
        st = self.st
        self.hold.send(HELLO, st['sid'], st['cookie'], st['user'], '127.0.0.1:1', 1700000000,
                       'INBOX', bool(st['idle']))

    def die(self, where):
        if where in self.w.die_once and not self.w.noted('died ' + where):
            self.w.note('died ' + where)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.rng.random() < self.w.die.get(where, 0):
            os.kill(os.getpid(), signal.SIGKILL)

    def take(self, m):
        """A message that is no answer."""
        if m[0] == CHANGED:
            self.notices += 1
        elif m[0] == DO:
            self.do = m[1]

    def watch(self):
        st = self.st
        self.nonce += 1
        fds = []
        if st['dir']:
            fds = [os.open(st['dir'], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        self.hold.send(WATCH, self.nonce, bytes.fromhex(st['mailbox']), 0, fds=fds)
        for fd in fds:
            os.close(fd)
        while True:
            got = self.hold.recv()
            assert got, 'no WATCHED'
            if got[0][0] == WATCHED and got[0][1] == self.nonce:
                self.gen = got[0][2]
                self.notices = 0
                return got[0][3]
            self.take(got[0])

    def poll(self, timeout=0):
        """Messages that wait."""
        while True:
            got = self.hold.recv(timeout)
            if not got:
                return
            if got[0][0] == CHANGED:
                self.gen = got[0][1]
            self.take(got[0])
            timeout = 0

    # -- the mailbox: how many files
    def count(self):
        return len(os.listdir(self.st['dir'])) if self.st['dir'] else 0

    # -- records
    def record(self, text):
        self.st['seq'] += 1
        return b'%06d %s\n' % (self.st['seq'], text.encode())

    def write(self, data):
        while data:
            try:
                n = self.c.s.send(data)
            except BlockingIOError:
                ready([self.c.fd], 1, select.POLLOUT)
                continue
            data = data[n:]

    def flush_keepalives(self):
        """Step 11: what is left of the prepared ones, before anything else."""
        st = self.st
        if not st['ka']:
            return
        done = self.c.fence()[0] - st['written']
        self.write(b''.join(bytes.fromhex(k) for k in st['ka'])[done:])
        st['seq'] += len(st['ka'])
        st['ka'] = []

    def keepalives_used(self):
        st = self.st
        return self.c.fence()[0] - st['written'] >= sum(len(k) // 2 for k in st['ka'])

    def good(self):
        w, r, ended = self.c.fence()
        st = self.st
        n = sum(len(k) // 2 for k in st['ka'])
        return not ended and r == st['consumed'] and st['written'] <= w <= st['written'] + n

    def prepare(self):
        """Step 2: counts and keepalives that belong together."""
        st = self.st
        st['written'], st['consumed'], _ = self.c.fence()
        seq = st['seq']
        st['ka'] = []
        if st['idle']:
            for i in range(self.w.ahead):
                st['ka'].append((b'%06d K\n' % (seq + i + 1)).hex())

    def send_sleep(self, hold=None, fd=None, cookie=None, sid=None, gen=None):
        st = self.st
        ka = [bytes.fromhex(k) for k in st['ka']]
        flags = (IDLE if st['idle'] else 0) | (SELECTED if st['dir'] else 0) | st.get('flags', 0)
        (hold or self.hold).send(
            SLEEP, st['sid'] if sid is None else sid, st['cookie'] if cookie is None else cookie,
            self.gen if gen is None else gen, flags, st['written'], st['consumed'],
            [len(k) for k in ka], b''.join(ka), st['user'], st.get('remote', '127.0.0.1:1'),
            1700000000, 'INBOX', b'DT\x01\x00\x10' + b'T' * 11, json.dumps(st).encode(),
            fds=[self.c.fd if fd is None else fd])

    # -- falling asleep: steps 1-6. True: exit.
    def sleep(self):
        st = self.st
        self.poll()
        if self.notices or self.do:
            return False
        self.die('before-sleep')
        unlock(self.c.fd)
        try:
            self.send_sleep()
        except Eof:
            return self.step6(eof=True)
        self.die('sleep-sent')
        return self.step6()

    def step6(self, eof=False):
        st = self.st
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            try:
                if eof:
                    raise Eof()
                got = self.hold.recv(self.w.kept_timeout)
                if got and got[0][0] == KEPT and got[0][3:5] == [st['written'], st['consumed']]:
                    return True
                if got and got[0][0] not in (KEPT, REFUSED, HAVE_NOT):
                    self.take(got[0])
                    continue
                if got and got[0][0] == KEPT:
                    continue
            except Eof:
                eof = True
            if not self.good():
                return True
            self.die('step6')
            if lock(self.c.fd):
                if not self.good():
                    return True
                if eof:
                    self.resume()
                return False
            if eof:
                try:
                    self.connect_only()
                    eof = False
                except OSError:
                    time.sleep(0.002)
                    continue
            try:
                self.hold.send(HAVE, st['sid'], st['cookie'], st['written'], st['consumed'])
            except Eof:
                eof = True
        raise AssertionError('nobody has the session')

    def connect_only(self):
        self.w.note('reconnected')
        self.hold.close()
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(self.w.path)
        self.hold = Chan(s)

    def resume(self):
        """A new holder: connect, WATCH; the caller compares."""
        while True:
            try:
                self.connect()
                self.watch()
                self.notices += 1	# compare
                return
            except (Eof, OSError):
                time.sleep(0.002)

    # -- serving
    def tell(self, text):
        self.flush_keepalives()
        self.write(self.record(text))

    def taken(self):
        try:
            self.hold.send(TAKEN, self.st['sid'], self.st['cookie'])
        except Eof:
            self.resume()

    def bye(self, text='BYE'):
        self.flush_keepalives()
        self.write(self.record(text))
        self.c.s.shutdown(socket.SHUT_RDWR)

    def compare(self):
        self.notices = 0
        n = self.count()
        if n != self.st['told'] and self.st['idle']:
            self.st['told'] = n
            self.tell('EXISTS %d' % n)
            return True
        return False

    def read(self):
        """Commands: one a line. None at the end."""
        try:
            data = self.c.s.recv(4096)
        except BlockingIOError:
            return b''
        except ConnectionResetError:
            return None
        return data or None

    def serve(self):
        """Owner, awake: until asleep or over."""
        while True:
            try:
                did = self.turn()
            except Eof:
                self.resume()
                continue
            if did == 'over':
                return
            if did:
                self.taken()
                continue
            # Nothing to do: sleep.
            if self.st['ka'] and self.keepalives_used():
                self.flush_keepalives()
                self.write(self.record('K'))
                self.taken()
                self.st['ka'] = []
            if not self.st['ka'] or not self.good():
                self.flush_keepalives()
                self.prepare()
            try:
                if self.sleep():
                    return
            except Eof:		# before it let go of the lock
                self.resume()

    def turn(self):
        self.poll()
        if self.do in (DO_KICK, DO_STOP):
            self.bye()
            return 'over'
        if self.do == DO_SLEEP:
            self.do = None
        if ready([self.c.fd], 0):
            self.flush_keepalives()
            data = self.read()
            if data is None:
                self.c.s.shutdown(socket.SHUT_RDWR)
                return 'over'
            self.st['input'] = self.st.get('input', '') + data.decode()
            while '\n' in self.st['input']:
                line, self.st['input'] = self.st['input'].split('\n', 1)
                self.st['n'] += 1
                if line == 'logout':
                    self.bye()
                    return 'over'
                if line in ('idle', 'done'):
                    self.st['idle'] = line == 'idle'
                self.tell('A %d' % self.st['n'])
            self.compare()
            return True
        if self.notices or self.st.get('compare'):
            self.st['compare'] = 0
            return self.compare()
        return False


def wake_unpack(data):
    assert data[0] == 1 + 1
    at = 1
    tlen = struct.unpack('>H', data[at + 3:at + 5])[0]
    ticket = data[at:at + tlen]
    at += tlen
    written, consumed, n = struct.unpack_from('>QQB', data, at)
    at += 17
    lens = struct.unpack_from('>%dH' % n, data, at)
    at += 2 * n + sum(lens)
    cause, tries, gen, slen = struct.unpack_from('>BBQI', data, at)
    at += 14
    assert at + slen == len(data), (at, slen, len(data))
    return ticket, written, consumed, cause, tries, gen, data[at:]


def settings(**more):
    """The settings as master packs them: the table of lib/settings.c, in its order."""
    units = {"SECONDS": 1000, "MINUTES": 60000, "MIB": 1 << 20}
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                        "lib", "settings.c")
    with open(path) as f:
        rows = re.findall(r"^\t(STR|U64|U32|BOOL)\((\w+), (.*)\),$", f.read(), re.M)
    fields = []
    for kind, name, default in rows:
        if name in more:
            value = more.pop(name)
        elif kind == "STR":
            value = default.strip('"')
        elif kind == "BOOL":
            value = default == "true"
        else:
            value = eval(default, {}, units)
        fields.append(value)
    if len(fields) < 20 or more:
        raise AssertionError("settings of %s: %s %s" % (path, fields, more))
    return fields


class World:
    def __init__(self, binary, seed=0, settings=None, spares=2, ahead=2, env=None):
        self.binary, self.seed, self.ahead = binary, seed, ahead
        self.rng = random.Random(seed)
        self.die, self.die_once = {}, ()
        self.kept_timeout = 1.0
        self.dir = tempfile.mkdtemp(prefix='dm-holder-')
        self.path = self.dir + '/holder'
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(512)
        self.wake_r, self.wake_w = pair()
        self.wake_r.sock.setblocking(True)
        self.items, self.dups = {}, {}
        self.keeper, self.setup, self.holder = None, None, None
        self.ready = False
        self.log = open(self.dir + '/log', 'wb')
        self.settings = dict(keepalive=0, poll=0, max_sleepers=0, level='debug', user='')
        self.settings.update(settings or {})
        self.env = env or {}
        self.children, self.want_spares, self.spares = set(), spares, set()
        self.tcp = socket.socket()
        self.tcp.bind(('127.0.0.1', 0))
        self.tcp.listen(128)
        self.dup_refuse = None
        self.restarts = False	# as master does
        self.clients = []
        self.sessions_heard = []
        self.auth = None
        self.status = None
        self.keeper_up = True

    def note(self, what):
        """For tests that want to know how something came about."""
        with open(self.dir + '/notes', 'a') as f:
            f.write(what + '\n')

    def noted(self, what):
        try:
            with open(self.dir + '/notes') as f:
                return f.read().split('\n').count(what)
        except FileNotFoundError:
            return 0

    # ---- processes
    def child(self, fn):
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            return pid
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for x in [self.keeper, self.setup, self.auth] + self.clients:
                if x: x.close()
            for fd in list(self.items.values()) + list(self.dups.values()):
                os.close(fd)
            fn()
            code = 0
        except Free:
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)

    def start_holder(self, env=None):
        mine, theirs = pair()
        theirs.sock.setblocking(True)
        fd = theirs.sock.fileno()
        e = dict(os.environ)
        e.update(self.env)
        e.update(env or {})

        def place():
            os.dup2(fd, 3)
        self.setup = mine
        self.ready = False
        self.holder = subprocess.Popen([self.binary], stderr=self.log, preexec_fn=place, env=e,
                                       pass_fds=[3] if fd != 3 else [fd])
        theirs.close()
        s = self.settings
        fields = settings(base_dir=self.dir, user=s['user'] or 'nobody', log_level=s['level'],
                          keepalive_interval_ms=s['keepalive'], poll_interval_ms=s['poll'],
                          max_sleepers=s['max_sleepers'], user_mode=not s['user'])
        try:
            mine.send(SETUP, fields, fds=[self.listener.fileno(), self.wake_w.sock.fileno()])
            self.new_keeper_channel()
        except Eof:
            pass		# it died as it was told to

    def new_keeper_channel(self):
        mine, theirs = pair()
        if self.keeper:
            self.read_keeper_to_end()
        self.keeper = mine
        self.setup.send(CHANNEL, ROLE_KEEPER, fds=[theirs.sock.fileno()])
        theirs.close()
        for name, fd in self.items.items():
            mine.send(KEPT_ITEM, name, fds=[fd])
        self.batches = [list(self.dups.items())[i:i + 253] for i in range(0, len(self.dups), 253)]
        self.next_batch()

    def next_batch(self):
        try:
            if self.batches:
                b = self.batches.pop(0)
                self.keeper.send(DUPS, [list(k) for k, _ in b], fds=[fd for _, fd in b])
            else:
                self.keeper.send(FETCH_END)
        except Eof:
            pass

    def read_keeper_to_end(self):
        try:
            while True:
                got = self.keeper.recv(0)
                if not got:
                    break
                self.keeper_message(*got)
        except Eof:
            pass
        self.keeper.close()
        self.keeper = None

    def keeper_message(self, m, fds):
        def answer(*f):
            try:
                self.keeper.send(*f)
            except Eof:
                pass
        if m[0] == KEEP:
            if m[1] in self.items: os.close(self.items[m[1]])
            self.items[m[1]] = fds.pop()
            answer(KEEP_OK, m[1])
        elif m[0] == DUP:
            if self.dup_refuse:
                answer(DUP_NO, m[1], m[2], self.dup_refuse)
            else:
                k = (m[1], m[2])
                if k in self.dups: os.close(self.dups[k])
                self.dups[k] = fds.pop()
                answer(DUP_OK, m[1], m[2])
        elif m[0] == DROP:
            fd = self.dups.pop((m[1], m[2]), None)
            if fd is not None: os.close(fd)
        elif m[0] == DUPS_OK:
            self.next_batch()
        for fd in fds:
            os.close(fd)

    def kill_holder(self):
        self.holder.kill()
        self.holder.wait()
        self.setup.close()

    def spare(self):
        w = self

        def run():
            # Shared by all spares, so never made non-blocking.
            while True:
                data, anc, _, _ = w.wake_r.sock.recvmsg(1 << 19, 4096, socket.MSG_CMSG_CLOEXEC)
                fds = []
                for _, _, d in anc:
                    fds += list(array.array('i', d))
                if not data:
                    return
                if len(fds) != 2:
                    print('spare: fds', fds)
                    continue
                w.woken(data, fds)
        pid = self.child(run)
        self.spares.add(pid)
        return pid

    def renew_spares(self):
        """Those that wait know an older die."""
        old = set(self.spares)
        for pid in old: os.kill(pid, signal.SIGKILL)
        self.until(lambda: not (old & self.children), 'spares')

    def woken(self, data, fds):
        """A spare's whole life after a WAKE (steps 9-12)."""
        ticket, written, consumed, cause, tries, gen, state = wake_unpack(data)
        st = json.loads(state)
        im = Imap(self, Sock(fds[0]), Chan(socket.socket(fileno=fds[1])), st)
        im.die('spare-start')
        if not lock(im.c.fd) or not im.good():
            im.c.close()
            im.hold.close()
            return
        im.die('spare-locked')
        try:
            im.watch()
        except Eof:
            im.resume()
        im.die('spare-watched')
        im.notices = 1		# compare
        if cause in (W_KICK, W_STOP, W_FAILED_BEFORE):
            im.bye()
            raise Free()
        im.serve()
        raise Free()

    # ---- the loop: keeper, master, children
    def turn(self, timeout=0.01):
        for ch, fn in ((self.keeper, self.keeper_message), (self.setup, self.setup_message),
                       (self.auth, self.auth_message)):
            if ch is None or ch.sock.fileno() < 0: continue
            if ch is self.keeper and not self.keeper_up: continue
            try:
                for _ in range(64):
                    got = ch.recv(0)
                    if not got: break
                    fn(*got)
            except Eof:
                pass
        self.reap()
        if self.restarts and self.holder and self.holder.poll() is not None:
            self.setup.close()
            self.start_holder()
        while len(self.spares) < self.want_spares:
            self.spare()
        if timeout:
            rs = [c.sock for c in (self.keeper, self.setup, self.auth) if c and c.sock.fileno() >= 0]
            ready(rs, timeout)

    def reap(self):
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0: break
            self.children.discard(pid)
            self.spares.discard(pid)
            if pid == getattr(self.holder, 'pid', None):
                self.holder.returncode = status
            elif os.WIFEXITED(status) and os.WEXITSTATUS(status):
                raise AssertionError('a child failed')

    def setup_message(self, m, fds):
        if m[0] == READY: self.ready = True
        if m[0] == STATUS: self.status = m[1]

    def auth_message(self, m, fds):
        self.sessions_heard.append(m[1:])

    def until(self, cond, what):
        end = time.monotonic() + DEADLINE
        while True:
            self.turn(0.002)
            v = cond()
            if v: return v
            if time.monotonic() > end:
                raise AssertionError('never: ' + what)

    def begin(self, env=None):
        self.start_holder(env)
        self.until(lambda: self.ready, 'READY')

    def logged(self, text):
        self.log.flush()
        with open(self.dir + '/log', 'rb') as f:
            return f.read().count(text.encode())

    def ctl(self, verb, *args):
        mine, theirs = pair()
        mine.send(CTL_REQUEST, verb, list(args))
        self.setup.send(CONTROL, fds=[theirs.sock.fileno()])
        theirs.close()
        return mine

    def ctl_wait(self, ch):
        rows = []

        def got():
            m = ch.recv(0)
            while m:
                if m[0][0] == CTL_END: return m[0]
                rows.append(dict(m[0][1]))
                m = ch.recv(0)
        e = self.until(got, 'CTL_END')
        ch.close()
        return rows, e[1], e[2]

    def control(self, verb, *args):
        return self.ctl_wait(self.ctl(verb, *args))

    def state(self, **kw):
        st = dict(sid=self.rng.getrandbits(64) | 1, cookie=0, user='anna', idle=True, dir='',
                  mailbox=b''.hex(), seq=0, n=0, ka=[], written=0, consumed=0, told=0)
        st.update(kw)
        return st

    def client(self):
        c = socket.create_connection(self.tcp.getsockname())
        s, _ = self.tcp.accept()
        for x in (c, s):
            x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(self, c), s

    def mailbox(self):
        d = tempfile.mkdtemp(dir=self.dir)
        return d

    def close(self, failed=False):
        for pid in list(self.children):
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass
        for pid in list(self.children):
            try: os.waitpid(pid, 0)
            except ChildProcessError: pass
        code = None
        if self.holder and self.holder.returncode is None:
            if not self.ready:
                self.holder.kill()	# it waits for us, its keeper
            try:
                self.setup.send(STOP, 0)
            except Eof:
                pass
            try:
                code = self.holder.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.holder.kill()
                self.holder.wait()
                code = 'hung'
        for ch in (self.keeper, self.setup, self.auth, self.wake_r, self.wake_w):
            if ch: ch.close()
        for fd in list(self.items.values()) + list(self.dups.values()):
            os.close(fd)
        self.listener.close()
        self.tcp.close()
        self.log.close()
        if failed:
            print('left behind:', self.dir)
        else:
            with open(self.dir + '/log', 'rb') as f:
                text = f.read()
            shutil.rmtree(self.dir, ignore_errors=True)
            assert b'Sanitizer' not in text and b'runtime error' not in text, text[-4000:]
            assert code in (0, None, -9), 'holder exit %r' % code


class Client:
    """The far end: every record has the next number."""
    def __init__(self, world, s):
        self.w, self.s, self.seq, self.lines, self.buf = world, s, 0, [], b''
        self.n, self.over, self.k, self.seen = 0, False, 0, []
        world.clients.append(self)
        s.setblocking(False)

    def close(self):
        self.s.close()

    def look(self):
        try:
            while not self.over:
                d = self.s.recv(65536)
                if not d:
                    self.over = True
                self.buf += d
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.over = True
        while b'\n' in self.buf:
            line, self.buf = self.buf.split(b'\n', 1)
            num, text = line.decode().split(' ', 1)
            assert int(num) == self.seq + 1, 'record %s after %d: %r' % (num, self.seq, line)
            self.seq += 1
            self.k += text == 'K'
            if text != 'K':
                self.lines.append(text)
        return self

    def say(self, line):
        self.n += 1
        self.s.send(line.encode() + b'\n')

    def expect(self, text):
        """Reads on until this line; lines before it are kept in .lines"""
        def got():
            self.look()
            if text in self.lines: return True
            assert not self.over, 'connection over, wanted %r, had %r' % (text, self.lines)
        self.w.until(got, text)
        i = self.lines.index(text)
        before, self.lines = self.lines[:i], self.lines[i + 1:]
        self.seen += before + [text]
        return before

    def ask(self, line='x'):
        self.say(line)
        return self.expect('A %d' % self.n)


class Actor:
    """An Imap in a process of its own, driven step by step."""
    def __init__(self, world, sock, st, hold=None):
        mine, theirs = socket.socketpair()
        fd = sock.fileno() if sock is not None else -1

        def run():
            mine.close()
            f = theirs.makefile('rwb')
            im = Imap(world, Sock(fd), hold, st) if fd >= 0 else None
            if im:
                st['cookie'] = im.c.cookie()
            while True:
                try:
                    name, a, kw = pickle.load(f)
                except EOFError:
                    raise Free()
                try:
                    r = self.extra[name](im, *a, **kw) if name in self.extra else getattr(im, name)(*a, **kw)
                    r = ('ok', r)
                except Eof:
                    r = ('eof', None)
                pickle.dump(r, f)
                f.flush()
        self.w = world
        self.pid = world.child(run)
        theirs.close()
        self.f = mine.makefile('rwb')
        self.mine = mine
        if sock is not None:
            sock.detach()
            os.close(fd)

    extra = {
        'lock': lambda im: lock(im.c.fd),
        'unlock': lambda im: unlock(im.c.fd),
        'get_st': lambda im: im.st,
        'set_st': lambda im, **kw: im.st.update(kw),
        'recv': lambda im, t=0: (im.hold.recv(t) or [None])[0],
        'recv_wait': lambda im: im.hold.recv()[0],
        'fence': lambda im: im.c.fence(),
        'get_gen': lambda im: im.gen,
        'raw': lambda im, *f: im.hold.send(*f),
        'close_fd': lambda im: im.c.close(),
        'hold_close': lambda im: im.hold.close(),
        'write': lambda im, d: im.write(d),
        'record': lambda im, t: im.tell(t),
        'shutdown': lambda im: im.c.s.shutdown(socket.SHUT_RDWR),
        'cookie': lambda im: im.c.cookie(),
        'setuid': lambda im, u: os.setresuid(u, u, u),
    }

    def __getattr__(self, name):
        def call(*a, **kw):
            pickle.dump((name, a, kw), self.f)
            self.f.flush()
            end = time.monotonic() + DEADLINE
            while not ready([self.mine], 0.001):
                self.w.turn(0)
                assert time.monotonic() < end, 'actor: ' + name
            kind, r = pickle.load(self.f)
            if kind == 'eof': raise Eof()
            return r
        return call

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.w.until(lambda: self.pid not in self.w.children, 'kill')
        self.mine.close()
