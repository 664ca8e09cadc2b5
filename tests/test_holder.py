#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""imap-hibernate as a black box: test_holder.py BINARY faults|plain [NAME...]
(faults: it was built with fault points).

Scenarios, one function each; then random runs (RUNS=, SEED=) in which holders,
spares and sleeping imap processes are killed while clients talk: the numbers on
the records show that there were never two owners and never none."""
import os, random, signal, socket, struct, sys, time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from holder_world import *

BINARY, FAULTS, NAMES = sys.argv[1], sys.argv[2] == 'faults', sys.argv[3:]
tests = []


def test(fn=None, **opts):
    def add(f):
        tests.append((f, opts))
        return f
    return add(fn) if fn else add


def asleep(w, n=1):
    """Until the holder holds n sessions, all asleep."""
    def ok():
        rows, good, _ = w.control('who')
        return good and sum(r['state'].startswith('asleep') for r in rows) == n and len(rows) == n
    w.until(ok, '%d asleep' % n)


def put_to_sleep(w, **kw):
    """A client whose session was put to sleep by a proper imap, which exits."""
    c, s = w.client()
    a = Actor(w, s, w.state(**kw))
    a.lock()
    a.connect()
    a.watch()
    a.set_st(told=a.count())
    a.prepare()
    a.unlock()
    a.send_sleep()
    assert a.recv_wait()[0] == KEPT
    a.st = a.get_st()
    return c, a


def deliver(d, name=None):
    tmp = '%s.tmp%d' % (d, random.getrandbits(30))
    open(tmp, 'w').close()
    os.rename(tmp, '%s/%s' % (d, name or random.getrandbits(40)))


@test(spares=0)
def sleep_is_kept_and_named(w):
    c, a = put_to_sleep(w)
    assert len(w.dups) == 1 and set(w.items) == {'table', 'inotify'}
    rows, ok, _ = w.control('who')
    assert ok and rows[0]['id'] == '%016x' % a.st['sid'] and rows[0]['user'] == 'anna'
    assert rows[0]['state'] == 'asleep-idle' and rows[0]['mailbox'] == 'INBOX'
    assert rows[0]['uid'] == str(os.geteuid()), rows
    assert not a.lock()		# the holder has it
    assert w.control('who', 'bert')[0] == []


@test
def input_wakes(w):
    c, a = put_to_sleep(w)
    a.kill()
    c.ask()
    asleep(w)
    c.ask('done')
    asleep(w)
    for _ in range(20):
        c.ask()


@test
def change_wakes_idle(w):
    d = w.mailbox()
    c, a = put_to_sleep(w, dir=d)
    a.kill()
    deliver(d)
    c.expect('EXISTS 1')
    asleep(w)
    deliver(d)
    deliver(d)
    w.until(lambda: 'EXISTS 3' in c.look().lines, 'both')


@test
def change_marks_others(w):
    d = w.mailbox()
    c, a = put_to_sleep(w, dir=d, idle=False)
    a.kill()
    deliver(d)
    asleep(w)
    assert w.logged('wake id=') == 0
    c.ask()
    asleep(w)


@test(spares=0)
def change_between_compare_and_sleep(w):
    """The event is in the kernel when SLEEP is read: woken at once."""
    d = w.mailbox()
    c, s = w.client()
    a = Actor(w, s, w.state(dir=d))
    a.lock(); a.connect(); a.watch(); a.prepare()
    os.kill(w.holder.pid, signal.SIGSTOP)
    deliver(d)
    a.unlock()
    a.send_sleep()
    os.kill(w.holder.pid, signal.SIGCONT)
    while a.recv_wait()[0] != KEPT: pass
    a.kill()
    w.want_spares = 1
    c.expect('EXISTS 1')


@test(settings={'keepalive': 100})
def keepalives_go_out_in_order_and_are_renewed(w):
    c, a = put_to_sleep(w)
    a.kill()
    w.until(lambda: c.look().k >= 9, 'keepalives')
    assert w.logged('cause=keepalives') >= 1
    c.ask()


@test(settings={'keepalive': 60}, env={'FAULTS': 'hold-keepalive-short:1'}, faults=True)
def half_a_keepalive_is_completed(w):
    c, a = put_to_sleep(w)
    a.kill()
    w.until(lambda: c.look().k >= 4, 'keepalives')
    c.ask()


@test(settings={'poll': 100})
def poll_wakes(w):
    c, a = put_to_sleep(w, flags=POLL)
    a.kill()
    w.until(lambda: w.logged('cause=poll') >= 2, 'polls')
    c.ask()


@test(spares=0)
def client_gone_is_logged_and_dropped(w):
    c, a = put_to_sleep(w)
    a.kill()
    c.s.close()
    w.until(lambda: not w.dups, 'DROP')
    assert w.logged('disconnect id=') == 1 and w.logged('wake id=') == 0
    c, a = put_to_sleep(w)
    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.s.close()
    a.kill()
    w.until(lambda: not w.dups, 'DROP')
    assert w.logged('reason=reset') == 1


@test
def last_command_before_half_close_is_answered(w):
    c, a = put_to_sleep(w)
    a.kill()
    c.say('x')
    c.s.shutdown(socket.SHUT_WR)
    c.expect('A 1')
    w.until(lambda: c.look().over, 'end')
    w.until(lambda: not w.dups, 'DROP')


@test(spares=1)
def spare_killed_before_its_first_byte(w):
    w.die_once = ('spare-start', 'spare-locked', 'spare-watched')
    w.renew_spares()
    c, a = put_to_sleep(w)
    a.kill()
    c.ask()
    assert w.logged('wake-failed') == 3
    asleep(w)


@test(spares=0)
def taken_is_a_hint_only(w):
    c, a = put_to_sleep(w)
    st = a.st
    a.raw(TAKEN, st['sid'], st['cookie'])
    c.say('x')
    data, fds = w.until(lambda: w.wake_r.recv_raw(0), 'WAKE')
    reply = Chan(socket.socket(fileno=fds[1]))
    reply.send(TAKEN, st['sid'], st['cookie'])
    # A lie: the holder takes the lock back and asks another.
    os.close(fds[0])
    w.want_spares = 1
    c.expect('A 1')


@test(spares=0)
def resent_sleep_is_one_session(w):
    c, a = put_to_sleep(w)
    for _ in range(5):
        a.send_sleep()
        assert a.recv_wait()[0] == KEPT
        assert not a.lock()	# closing the surplus one did not drop it
    assert len(w.dups) == 1
    assert w.control('holder')[0][0]['held'] == '1'
    a.raw(HAVE, a.st['sid'], a.st['cookie'], a.st['written'], a.st['consumed'])
    assert a.recv_wait()[0] == KEPT
    a.raw(HAVE, a.st['sid'], a.st['cookie'], a.st['written'] + 1, a.st['consumed'])
    assert a.recv_wait()[0] == HAVE_NOT
    a.kill()
    w.want_spares = 2
    c.ask()


@test(spares=0)
def stale_sleep_is_ignored(w):
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.lock(); a.connect(); a.watch(); a.prepare()
    a.unlock()
    os.kill(w.holder.pid, signal.SIGSTOP)
    a.send_sleep()
    assert a.lock()		# it timed out, and serves on
    a.record('A 1')
    os.kill(w.holder.pid, signal.SIGCONT)
    c.expect('A 1')
    a.raw(HAVE, a.get_st()['sid'], a.get_st()['cookie'], 0, 0)
    assert a.recv_wait()[0] == HAVE_NOT
    assert w.control('holder')[0][0]['held'] == '0' and not w.dups


@test(spares=0)
def lock_of_another_is_waited_for(w):
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.lock(); a.connect(); a.watch(); a.prepare()
    a.send_sleep()		# it did not let go
    w.until(lambda: w.logged('locking') >= 1, 'retry')
    assert a.recv() is None and not w.dups
    a.unlock()
    assert a.recv_wait()[0] == KEPT


@test(spares=0)
def no_keeper_no_sleep(w):
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.lock(); a.connect(); a.watch(); a.prepare()
    w.keeper.close()
    w.until(lambda: w.logged('keeper-lost'), 'lost')
    a.unlock()
    a.send_sleep()
    m = a.recv_wait()
    assert m[0] == REFUSED and m[5] == 'no keeper', m
    assert a.lock()
    w.items, old, w.dups, od = {}, w.items, {}, w.dups
    w.keeper = None
    w.new_keeper_channel()
    w.until(lambda: len(w.items) == 2, 'KEEP')
    a.unlock()
    a.send_sleep()
    assert a.recv_wait()[0] == KEPT
    for fd in list(old.values()) + list(od.values()): os.close(fd)


@test(spares=0)
def new_keeper_gets_everything(w):
    cs = [put_to_sleep(w) for _ in range(5)]
    w.keeper.close()
    for fd in list(w.dups.values()) + list(w.items.values()): os.close(fd)
    w.items, w.dups, w.keeper = {}, {}, None
    w.new_keeper_channel()
    w.until(lambda: len(w.items) == 2 and len(w.dups) == 5, 'all again')
    # One that has adopted from the old one: nothing twice, no lock lost.
    w.new_keeper_channel()
    w.until(lambda: w.logged('imap-hibernate: keeper held=5') == 2, 'up')
    for c, a in cs:
        assert not a.lock()
    assert len(w.dups) == 5


@test(spares=0)
def keeper_refuses(w):
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.lock(); a.connect(); a.watch(); a.prepare()
    a.unlock()
    w.dup_refuse = 'limit'
    a.send_sleep()
    m = a.recv_wait()
    assert m[0] == REFUSED and m[5] == 'limit'
    assert a.lock() and not w.dups
    a.unlock()
    w.dup_refuse = None
    a.send_sleep()
    assert a.recv_wait()[0] == KEPT


@test(settings={'max_sleepers': 2}, spares=0)
def full(w):
    cs = [put_to_sleep(w) for _ in range(2)]
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.lock(); a.connect(); a.watch(); a.prepare()
    a.unlock()
    a.send_sleep()
    m = a.recv_wait()
    assert m[0] == REFUSED and m[5] == 'full'
    cs[0][0].s.close()
    w.until(lambda: len(w.dups) == 1, 'room')
    a.send_sleep()
    assert a.recv_wait()[0] == KEPT


@test(spares=0)
def unix_socket_stays_awake(w):
    x, y = socket.socketpair()
    a = Actor(w, y, w.state())
    a.connect()
    a.set_st(written=0, consumed=0)
    a.send_sleep()
    m = a.recv_wait()
    assert m[0] == REFUSED, m


@test(spares=0)
def imap_dead_after_sleep(w):
    """Step 16: the message still arrives."""
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.lock(); a.connect(); a.watch(); a.prepare()
    os.kill(w.holder.pid, signal.SIGSTOP)
    a.unlock()
    a.send_sleep()
    a.kill()
    os.kill(w.holder.pid, signal.SIGCONT)
    asleep(w)
    w.want_spares = 1
    c.ask()


@test
def holder_killed_and_adopted(w):
    ds = [w.mailbox() for _ in range(8)]
    cs = [put_to_sleep(w, dir=d) for d in ds]
    for c, a in cs: a.kill()
    w.kill_holder()
    deliver(ds[3])		# in the gap
    w.begin()
    assert w.logged('held=8') or w.logged('adopted')
    cs[3][0].expect('EXISTS 1')
    asleep(w, 8)
    deliver(ds[4])
    cs[4][0].expect('EXISTS 1')
    asleep(w, 8)
    assert w.logged('wake id=') == 2	# and nobody else
    for c, a in cs: c.ask()
    cs[0][0].s.close()
    w.until(lambda: len(w.dups) == 7, 'DROP')


@test(spares=0)
def record_or_duplicate_alone(w):
    (c1, a1), (c2, a2) = put_to_sleep(w), put_to_sleep(w)
    w.kill_holder()
    # Its DUP never came: the imap that has it goes on.
    k1 = (a1.st['sid'], a1.st['cookie'])
    os.close(w.dups.pop(k1))
    # A duplicate of a session whose record was voided.
    x, y = w.client()
    w.dups[(5, 6)] = os.dup(y.fileno())
    y.close()
    w.begin()
    assert w.control('holder')[0][0]['held'] == '1'
    w.until(lambda: list(w.dups) == [(a2.st['sid'], a2.st['cookie'])], 'DROP')
    assert a1.lock() and not a2.lock()


@test(faults=True)
def draining_mark_means_everybody_changed(w):
    w.kill_holder()
    w.begin(env={'FAULTS': 'watch-event:1:kill'})
    ds = [w.mailbox() for _ in range(3)]
    cs = [put_to_sleep(w, dir=d) for d in ds]
    for c, a in cs: a.kill()
    deliver(ds[0])
    w.until(lambda: w.holder.poll() is not None, 'death')
    w.begin()
    cs[0][0].expect('EXISTS 1')
    w.until(lambda: w.logged('cause=change') == 3, 'all woken')
    asleep(w, 3)
    deliver(ds[1])
    cs[1][0].expect('EXISTS 1')


@test(faults=True)
def kill_at_every_step(w):
    """A kill at each fault point, once; then the next holder goes on."""
    d = w.mailbox()
    c, s = w.client()
    a = Actor(w, s, w.state(dir=d, idle=True))
    a.lock(); a.connect(); a.watch()
    # From here on it is a whole imap.
    pickle.dump(('serve', (), {}), a.f); a.f.flush()
    for point in ('hold-commit', 'hold-lock', 'hold-dup', 'hold-kept', 'hold-unlocked', 'hold-wake',
                  'hold-void', 'hold-voided', 'table-commit', 'table-committed', 'hold-keepalive',
                  'watch-event', 'watch-drained'):
        asleep(w)
        w.kill_holder()
        w.settings['keepalive'] = 60 if point == 'hold-keepalive' else 0
        w.start_holder(env={'FAULTS': point + ':1:kill'})
        w.until(lambda: w.ready or w.holder.poll() is not None, 'READY')
        if w.holder.poll() is not None:
            c.say('x')		# it died adopting
        elif point.startswith('watch'):
            deliver(d)
            w.until(lambda: c.look().lines or w.holder.poll() is not None, point)
            if w.holder.poll() is None: c.ask()
        elif point != 'hold-keepalive':
            c.say('x')
        w.until(lambda: w.holder.poll() is not None, point)
        w.settings['keepalive'] = 0
        w.begin()
        if point.startswith('watch'):
            w.until(lambda: c.look() and any(x.startswith('EXISTS') for x in c.lines) or
                    w.control('who')[0][0]['state'].startswith('asleep'), point)
        elif point != 'hold-keepalive':
            c.expect('A %d' % c.n)
        c.lines = []
        c.ask()


@test(spares=0, faults=True)
def kill_around_watches(w):
    """A watch without a record, and the other way round."""
    d = w.mailbox()
    for point in ('watch-set', 'watch-record', 'watch-end'):
        w.kill_holder()
        w.begin()	# ends the watches that nobody wants
        w.kill_holder()
        w.begin(env={'FAULTS': point + ':1:kill'})
        c, s = w.client()
        a = Actor(w, s, w.state(dir=d))
        a.connect()
        try:
            a.watch()
            a.set_st(dir='')
            a.watch()	# no longer
            assert False, point
        except Eof:
            pass
        w.until(lambda: w.holder.poll() is not None, point)
        w.begin()
        a.set_st(dir=d)
        a.connect()
        assert a.watch() == 0
        deliver(d)
        assert a.recv_wait()[0] == CHANGED


@test(spares=0)
def watch_wants_real_directories(w):
    d = w.mailbox()
    open(d + '/f', 'w').close()
    c, s = w.client()
    a = Actor(w, s, w.state(dir=d))
    a.connect()
    assert a.watch() == 0
    ch = Chan(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    ch.sock.setblocking(True); ch.sock.connect(w.path); ch.sock.setblocking(False)
    def ask(fds, blind=0, box=b''):
        ch.send(WATCH, 7, box, blind, fds=fds)
        w.turn(0)
        m = ch.recv()[0]
        return m[3]
    opath = os.open(d, os.O_PATH)
    f = os.open(d + '/f', os.O_RDONLY)
    rw = os.open(d + '/f', os.O_RDWR)
    ok = os.open(d, os.O_RDONLY)
    p, q = os.pipe()
    gone = w.mailbox()
    g = os.open(gone, os.O_RDONLY)
    os.rmdir(gone)
    for fd in (opath, f, rw, p, q, g): assert ask([fd]) == 2, fd
    assert ask([ok]) == 0 and ask([ok, ok]) == 0 and ask([]) == 0
    assert ask([], 1, b'm' * 16) == 1
    assert ask([ok, f]) == 2
    assert w.control('holder')[0][0]['watches'] == '1'


@test(spares=0)
def notices_reach_the_others(w):
    d = w.mailbox()
    box = 'm' * 16
    acts = []
    for i in range(3):
        c, s = w.client()
        a = Actor(w, s, w.state(dir=d))
        a.connect()
        a.set_st(dir=d)
        acts.append(a)
    for a in acts:
        a.watch_as(box.encode())
    acts[0].raw(NOTICE, box.encode(), 5)
    assert acts[1].recv_wait()[0] == CHANGED and acts[2].recv_wait()[0] == CHANGED
    acts[0].raw(HAVE, *[acts[0].get_st()['sid'], acts[0].cookie(), 0, 0])
    assert acts[0].recv_wait()[0] == HAVE_NOT	# nothing before it


Actor.extra['watch_as'] = lambda im, box: (im.st.update(mailbox=box.hex()), im.watch())[1]


@test
def control_verbs(w):
    d = w.mailbox()
    c, s = w.client()
    a = Actor(w, s, w.state(dir=d))
    a.lock(); a.connect(); a.watch()
    sid = '%016x' % a.get_st()['sid']
    rows, ok, _ = w.control('who')
    assert [(r['state'], r['uid']) for r in rows] == [('idle', str(os.geteuid()))]
    ch = w.ctl('sleep', sid)
    w.until(lambda: (a.recv() or [0])[:2] == [DO, DO_SLEEP], 'DO')
    a.prepare(); a.unlock(); a.send_sleep()
    rows, ok, text = w.ctl_wait(ch)
    assert ok, text
    a.kill()
    # Nothing to say: it sleeps again.
    rows, ok, text = w.control('wake', sid)
    assert ok and text == 'asleep again', text
    assert w.noted('reconnected') == 0		# KEPT came on the reply end
    deliver(d)
    c.expect('EXISTS 1')
    asleep(w)
    assert w.control('sleep', sid)[1:] == (True, 'asleep already')
    assert w.control('wake', 'ffff')[1:] == (False, 'no such session')
    assert w.control('wake', 'zz')[1] is False
    assert w.control('nonsense')[1] is False and w.control('wake')[1] is False
    rows, ok, _ = w.control('kick', 'bert')
    assert not ok and rows[0]['sessions'] == '0'
    rows, ok, _ = w.control('kick', 'anna')
    assert ok and rows[0]['sessions'] == '1'
    c.expect('BYE')
    w.until(lambda: not w.dups, 'DROP')
    assert w.control('who')[0] == []


@test(spares=0)
def state_dump(w):
    c, a = put_to_sleep(w)
    ch = w.ctl('state-dump', '%016x' % a.st['sid'])
    data, fds = w.until(lambda: w.wake_r.recv_raw(0), 'WAKE')
    assert wake_unpack(data)[3] == W_DUMP
    reply = Chan(socket.socket(fileno=fds[1]))
    os.close(fds[0])
    assert not a.lock()
    reply.send(DUMPED, a.st['sid'], a.st['cookie'], 'a=1\nb=2')
    rows, ok, _ = w.ctl_wait(ch)
    assert ok and [r['line'] for r in rows] == ['a=1', 'b=2']
    ch = w.ctl('state-dump', '%016x' % a.st['sid'])
    data, fds = w.until(lambda: w.wake_r.recv_raw(0), 'WAKE')
    for fd in fds: os.close(fd)
    assert w.ctl_wait(ch)[1] is False
    assert not a.lock()


@test
def stop_says_bye(w):
    cs = [put_to_sleep(w) for _ in range(30)]
    for c, a in cs: a.kill()
    w.setup.send(STOP, 1)
    for c, a in cs: c.expect('BYE')
    w.until(lambda: w.holder.poll() is not None, 'exit')
    assert w.holder.returncode == 0
    w.read_keeper_to_end()
    assert not w.dups


@test(spares=0)
def auth_hears_of_sessions(w):
    c, a = put_to_sleep(w)
    mine, theirs = pair()
    w.auth = mine
    w.setup.send(CHANNEL, ROLE_AUTH, fds=[theirs.sock.fileno()])
    theirs.close()
    sid = a.st['sid']
    w.until(lambda: w.sessions_heard[-1:] == [[4, 0, '', 0, '']], 'list')
    assert w.sessions_heard == [[3, 0, '', 0, ''], [1, sid, 'anna', os.getuid(), '127.0.0.1:1'],
                                [4, 0, '', 0, '']]
    a.kill()
    c.s.close()
    w.until(lambda: w.sessions_heard[-1] == [2, sid, 'anna', os.getuid(), '127.0.0.1:1'],
            'gone')
    assert len(w.sessions_heard) == 4


@test(spares=0)
def foreign_uid_is_refused(w):
    """Run by root only: another user names this user's session."""
    if os.geteuid() != 0: return
    os.chmod(w.dir, 0o755)
    os.chmod(w.path, 0o666)
    c, s = w.client()
    a = Actor(w, s, w.state())
    a.setuid(12345)
    a.lock(); a.connect(); a.watch(); a.prepare(); a.unlock()
    a.send_sleep()
    assert a.recv_wait()[0] == KEPT
    st = a.get_st()
    def stranger(uid, *m):
        b = Actor(w, w.client()[1], w.state())
        b.setuid(uid)
        b.connect_only_new()
        b.raw(*m)
        try:
            return b.recv_wait()
        except Eof:
            return 'closed'
    have = (HAVE, st['sid'], st['cookie'], st['written'], st['consumed'])
    assert stranger(12346, *have) == 'closed'
    assert stranger(12346, TAKEN, st['sid'], st['cookie']) == 'closed'
    assert stranger(12346, HELLO, st['sid'], st['cookie'], 'anna', '', 0, '', False) == 'closed'
    assert stranger(12345, *have)[0] == KEPT
    assert stranger(0, *have)[0] == KEPT
    assert not a.lock()


@test(spares=0, settings={'user': 'nobody'} if os.geteuid() == 0 else {})
def unprivileged_holder_watches_what_it_cannot_read(w):
    os.chmod(w.dir, 0o755)
    os.chmod(w.path, 0o666)
    d = w.mailbox()	# mode 0700, of another user
    c, a = put_to_sleep(w, dir=d)
    status = open('/proc/%d/status' % w.holder.pid).read()
    if os.geteuid() == 0:
        assert 'Uid:\t0' not in status and 'CapEff:\t0000000000000004' in status, status
    assert 'Seccomp:\t2' in status and 'NoNewPrivs:\t1' in status
    deliver(d)
    w.want_spares = 1
    a.kill()
    c.expect('EXISTS 1')
    asleep(w)


def connect_only_new(im):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(im.w.path)
    im.hold = Chan(s)


Actor.extra['connect_only_new'] = connect_only_new


@test
def a_crowd_wakes(w):
    """Many at once, few spares: first come, first served, nobody dropped."""
    n = 60
    cs = [put_to_sleep(w) for _ in range(n)]
    for c, a in cs: a.kill()
    for c, a in cs: c.say('x')
    for c, a in cs: c.expect('A 1')
    asleep(w, n)


@test(spares=0)
def no_spare_for_long(w):
    """The WAKE waits in the queue; nobody is dropped, and it is not sent again
    and again."""
    c, a = put_to_sleep(w)
    a.kill()
    c.say('x')
    w.until(lambda: w.logged('wake id='), 'WAKE')
    w.want_spares = 1
    c.expect('A 1')


@test(spares=0)
def wake_that_cannot_be_served_ends(w):
    c, a = put_to_sleep(w)
    st = a.st
    a.kill()
    c.say('x')
    for n in range(2):
        data, fds = w.until(lambda: w.wake_r.recv_raw(0), 'WAKE')
        cause = wake_unpack(data)[3]
        assert cause == (W_INPUT, W_FAILED_BEFORE)[n], cause
        reply = Chan(socket.socket(fileno=fds[1]))
        os.close(fds[0])
        reply.send(WAKE_FAILED, st['sid'], st['cookie'], 'forged', True)
        reply.close()
    w.until(lambda: c.look().over, 'end')
    w.until(lambda: not w.dups, 'DROP')
    assert w.logged('reason=unserved') == 1


def hostile_peers(w, rounds, st, d, dup, uid):
    rng = w.rng
    dfd = os.open(d, os.O_RDONLY)
    if uid: os.setresuid(uid, uid, uid)
    def value(depth=0):
        k = rng.randrange(8 if depth < 2 else 7)
        return (rng.getrandbits(rng.choice((1, 8, 64))), True, 'x' * rng.randrange(40),
                os.urandom(rng.randrange(20)), st['sid'], st['cookie'], 'anna',
                [value(depth + 1) for _ in range(rng.randrange(4))] if depth < 2 else 0)[k]
    shapes = {HELLO: [st['sid'], st['cookie'], 'anna', 'r', 1, 'INBOX', True],
              WATCH: [1, b'', 0], NOTICE: [b'm' * 16, 1],
              SLEEP: [st['sid'], st['cookie'], 1, 3, 0, 0, [3], b'abc', 'u', 'r', 1, 'm', b't', b's'],
              HAVE: [st['sid'], st['cookie'], 0, 0], TAKEN: [st['sid'], st['cookie']],
              WAKE_FAILED: [st['sid'], st['cookie'], 'r', True], DONE_DO: [1, True, 'x'],
              DUMPED: [st['sid'], st['cookie'], 'x']}
    for i in range(rounds):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(w.path)
        ch = Chan(s)
        try:
            for _ in range(rng.randrange(1, 5)):
                t = rng.choice(list(shapes) + [rng.randrange(120)])
                f = list(shapes.get(t, [value() for _ in range(rng.randrange(6))]))
                while rng.random() < 0.5 and f:
                    j = rng.randrange(len(f))
                    if rng.random() < 0.3: del f[j]
                    elif rng.random() < 0.3: f.insert(j, value())
                    else: f[j] = value()
                data = bytearray(pack([t] + f))
                if rng.random() < 0.2:
                    for _ in range(rng.randrange(1, 4)): data[rng.randrange(len(data))] = rng.randrange(256)
                if rng.random() < 0.1: data = data[:rng.randrange(1, len(data) + 1)]
                fds = [rng.choice((dfd, dup, s.fileno())) for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 9)))]
                ch.send_raw(bytes(data), fds)
        except Eof:
            pass
        ch.close()


@test(spares=0)
def hostile_messages(w):
    os.chmod(w.dir, 0o755)
    os.chmod(w.path, 0o666)
    d = w.mailbox()
    c, a = put_to_sleep(w, dir=d)
    # The child closes its copies of what we keep.
    dup = os.dup(list(w.dups.values())[0])
    rounds = int(os.environ.get('HOSTILE', 400))
    for uid in (12345, 0):
        if uid and os.geteuid() != 0: continue
        pid = w.child(lambda: hostile_peers(w, rounds, a.st, d, dup, uid))
        w.until(lambda: pid not in w.children, 'end of attack')
        w.until(lambda: w.control('holder')[1], 'alive')
        if uid:
            # Of another user: nothing happened to the session.
            w.until(lambda: not a.lock_probe(), 'the lock is held')
            w.until(lambda: w.control('who')[0][0]['state'] in ('asleep-idle', 'waking'), 'held')
            a.raw(HAVE, a.st['sid'], a.st['cookie'], a.st['written'], a.st['consumed'])
            assert a.recv_wait()[0] == KEPT
    os.close(dup)


Actor.extra['lock_probe'] = lambda im: lock(im.c.fd) and (unlock(im.c.fd), True)[1]


def random_run(seed):
    rng = random.Random(seed)
    w = World(BINARY, seed=seed, spares=rng.choice((1, 2, 3)), ahead=rng.choice((1, 2, 3)),
              settings={'keepalive': rng.choice((0, 0, 40, 80)), 'level': 'debug'})
    kind = rng.choice(('holder', 'imap', 'both-spare'))
    if kind != 'holder':
        # Five in a row would rightly end in BYE.
        w.die = {'spare-start': 0.03, 'spare-locked': 0.03, 'spare-watched': 0.03}
    if kind == 'imap':
        w.die['sleep-sent'] = 0.1
        w.die['step6'] = 0.1
    w.kept_timeout = rng.choice((0.002, 0.02, 1.0))
    w.restarts = True
    failed = True
    try:
        w.begin()
        n = rng.choice((1, 2, 4))
        cs = []
        for i in range(n):
            d = w.mailbox()
            c, s = w.client()
            def run(s=s, d=d):
                im = Imap(w, Sock(os.dup(s.fileno())), None, dict(st, dir=d))
                s.close()
                im.st['cookie'] = im.c.cookie()
                assert lock(im.c.fd)
                im.resume()
                im.notices = 1
                im.serve()
            st = w.state()
            w.child(run)
            s.close()
            c.dir, c.files = d, 0
            cs.append(c)
        for step in range(rng.choice((8, 20))):
            c = rng.choice(cs)
            act = rng.random()
            if act < 0.4:
                c.ask(rng.choice(('x', 'x', 'idle', 'done')))
            elif act < 0.6:
                deliver(c.dir)
                c.files += 1
            elif act < 0.75:
                time.sleep(rng.random() * 0.03)
            elif act < 0.8:
                for c in cs: c.say('x')
                for c in cs: c.expect('A %d' % c.n)
            if kind != 'imap' and rng.random() < 0.35:
                w.turn(rng.choice((0, 0.001, 0.01)))
                w.kill_holder()
                if rng.random() < 0.3: time.sleep(0.01)
                w.start_holder(random_fault(rng))
            w.turn(0)
        w.until(lambda: w.ready, 'READY')
        # Everybody answers, hears of all mail, and sleeps.
        for c in cs:
            ask_through(w, c, 'idle')
            c.files_told = '%d' % c.files
            if c.files:
                def told():
                    c.look()
                    return any(x == 'EXISTS %d' % c.files for x in c.lines + c.seen)
                w.until(told, 'mail told, seed %d' % seed)
        failed = False
    finally:
        if failed: print('SEED=%d' % seed)
        w.close(failed)


def ask_through(w, c, line):
    c.say(line)
    w.until(lambda: c.look() and 'A %d' % c.n in c.lines + c.seen, 'answer')


def random_fault(rng):
    if rng.random() < 0.5 or not FAULTS: return None
    point = rng.choice(('hold-commit', 'hold-lock', 'hold-dup', 'hold-kept', 'hold-unlocked', 'hold-wake',
                        'hold-void', 'hold-voided', 'table-commit', 'table-committed', 'hold-replaced',
                        'hold-adopt', 'watch-event', 'watch-drained', 'watch-set', 'watch-end', 'watch-record'))
    return {'FAULTS': '%s:%d:%s' % (point, rng.randrange(1, 4), rng.choice(('kill', 'stop')))}


def main():
    names = NAMES
    seed = int(os.environ.get('SEED', time.time_ns() % 1000000))
    for fn, opts in tests:
        if names and fn.__name__ not in names: continue
        if opts.pop('faults', False) and not FAULTS: continue
        print(fn.__name__, flush=True)
        w = World(BINARY, seed=seed, **opts)
        failed = True
        try:
            w.begin()
            fn(w)
            failed = False
        finally:
            if failed: print('FAILED', fn.__name__, 'SEED=%d' % seed)
            w.close(failed)
    if not names or 'random' in names:
        for i in range(int(os.environ.get('RUNS', 25))):
            random_run(seed + i)
        print('random runs from SEED=%d' % seed)


main()
