/* SPDX-License-Identifier: MIT */
/* One session and everybody who can have it: the client, imap slots (one
 * serves, the others are spares), the holder (imap-hibernate) and the keeper.
 * The steps are those of handover.md and are named here by their numbers.
 *
 *   tests/model.sh              the searches that are part of the tests
 *   tests/model.sh full         the whole base case: 43.6 million states, 9 GB
 *   one flaw, its shortest way to disaster:
 *     spin -DBUG=no_fence -a handover.pml && cc -O2 -DSAFETY -DBFS -DVECTORSZ=2048 -o pan pan.c && ./pan
 *     spin -DBUG=no_fence -t -p handover.pml
 *
 * What is searched: every order of steps, with at most NCRASH kills, NSLOW
 * time-outs of somebody who waits for a living peer, NREF refusals, NSLEEP
 * sleeps, NNEED wakes without need. All that starts something is counted, so
 * every run ends. At any moment calm may set in: nobody is killed, slow,
 * refused or needlessly woken any more, the client and the mailbox do nothing;
 * what is under way goes on. Where nothing can move any more, everything that
 * was to happen "eventually" must have happened (Watcher). Without the calm
 * such an end would be seen only after the last kill and after the client's
 * farewell, and those repair or excuse what is to be found.
 *
 * What is asserted:
 *  (1) only the owner of the lock reads or writes the socket;
 *  (2) the session ends up with an owner, unless the imap serving it was killed;
 *  (3) each change of the mailbox is told: at once in IDLE, else with the next command;
 *  (4) each input is answered, once;
 *  (5) only the latest state is taken up; two good states are equal; no TLS
 *      record number is sealed for two texts;
 *  (6) when the session is over nobody keeps a descriptor of it.
 *
 * Left out: the seal, auth, a holder that lies, half-written records, the
 * planned upgrade, other sessions, overflow of inotify, states too large.
 *
 * The fence is TCP's two byte counts, here in units: wire, records written;
 * eaten, inputs consumed. A state names both (base, at). It is good while eaten
 * is the same, wire is not beyond its keepalives, and nobody called shutdown().
 * TAKEN only makes the holder look at the fence, which it may do at any time
 * here, so the message itself is left out but for its flaw.
 *
 * What is ours of the channels:
 *  - The WAKE queue is one socketpair that all spares read. Master and keeper
 *    keep its read end open, so what is in it outlives the holder and any spare:
 *    a spare may find the WAKE of a holder long dead.
 *  - Each WAKE carries one end of a pair of its own (reply). EOF there tells
 *    the holder that this WAKE was dropped or its imap is gone.
 *  - The holder has at most NOUT WAKEs that nobody answered yet.
 *  - SLEEP may be answered by REFUSED (no keeper, or the keeper said no).
 */
mtype:flaw = { nothing,
	no_fence,         /* the lock alone decides, nobody looks at the fence */
	shut_is_good,     /* a connection after shutdown() looks good */
	taken_voids,      /* the holder forgets on TAKEN without looking */
	kept_unnamed,     /* KEPT does not say which counts it answers */
	more_unsent,      /* new keepalives though not a byte went out since the old ones */
	own_number,       /* imap goes on with its own record number, not the kernel's count */
	reuse_number,     /* numbers of keepalives that were not sent serve for something else */
	no_relock,        /* a surplus descriptor is closed and the lock not taken again */
	resend,           /* SLEEP is sent again, with the descriptor */
	imap_forgets,     /* imap leaves on EAGAIN after a time-out */
	holder_forgets,   /* so does the holder, waiting for its WAKE to be taken */
	eof_forgets,      /* the holder takes EOF on the reply channel for "taken" */
	refuse_dead,      /* the holder refuses a SLEEP whose sender is gone */
	refused_serves,   /* after REFUSED imap goes on without the lock */
	no_drain,         /* the keeper serves a new holder before it read the old one's last words */
	orphan,           /* duplicates without a record stay with the keeper */
	unnoted,          /* events read and not noted when the holder died are forgotten */
	old_generation,   /* generations begin anew with a holder or a watch */
	late_watch,       /* the spare subscribes after taking up, not before comparing */
	no_rewatch        /* an awake imap does not subscribe with a new holder */
};
#ifndef BUG
#define BUG nothing
#endif
#ifndef NCRASH
#define NCRASH 1
#endif
#ifndef NSLOW
#define NSLOW 1
#endif
#ifndef NREF
#define NREF 1
#endif
#ifndef NSLEEP
#define NSLEEP 2
#endif
#ifndef NNEED
#define NNEED 1
#endif
#ifndef NIN
#define NIN 1     /* inputs of the client; the last may be LOGOUT */
#endif
#ifndef NCHG
#define NCHG 1    /* changes of the mailbox */
#endif
#ifndef K
#define K 1       /* keepalives prepared at each sleep in IDLE */
#endif
#ifndef NOUT
#define NOUT 2    /* WAKEs outstanding */
#endif
#define H 4       /* the holder as owner of the lock; imap slots are 1 to 3 */

/* An imap slot. A slot that ends is a spare again at once (the zygote). The
 * later in this list, the smaller the number. */
mtype:imap = {
	SENT,     /* SLEEP is sent; waits for the answer */
	UNLK,     /* sealed and unlocked, about to send it */
	READ,     /* has read a command that wants its answer */
	AWAKE,
	READY,    /* has compared: nothing can fail any more */
	SUBBED,   /* ticket verified, is the user, watches */
	LOCKED,
	GOTW,     /* has a WAKE: descriptor, state, reply end */
	SPARE
};
/* The holder, for this session. */
mtype:holder = {
	FORGOT,   /* record void; the keeper is to be told */
	REFUSING, /* said REFUSED, about to let go */
	DOUBT,    /* has the record and not the lock */
	WAKING,   /* WAKE is out */
	UNLKH,    /* unlocked, about to send it */
	ASLEEP,
	WAITK,    /* duplicate sent to the keeper */
	REC,      /* record committed */
	GOT,      /* has SLEEP, lock, good fence */
	NONE
};

/* The kernel's, there while anybody has the socket or the inotify instance. */
byte lock, wire = 1, eaten, inq;
bit  shut, gone;                        /* shutdown() by us; the client hung up */
bit  watch, evq;
/* The table of sleepers: a memfd, outlives the holder. */
bit  re, rdirty;
byte rbase, reaten, rtold;
bit  busy;                              /* "draining": events read, not noted yet */
/* The truth, for the assertions. */
byte mbox, told, sent, answered;
byte burnt;                             /* record numbers below were sealed at some time */
bit  idle, logout;
bit  calm;                              /* nothing disturbs any more */
bit  lost, died;                        /* session lost by a second crash; its serving imap killed */
byte crashes, slow, refusals, sleeps, needless;
/* imap slots. */
mtype:imap pc[4] = SPARE;
byte base[4], at[4], mine[4];           /* of its state; mine: what it told */
byte seen[4], gn[4];                    /* mailbox as last compared; generation */
bit  sub[4], notice[4];
byte impatient[4];                      /* waits for KEPT no longer: 1 time-out or EOF, 2 REFUSED */
bit  waits[4];                          /* its connection is up and owed an answer to SLEEP */
byte reply[4];                          /* its WAKE: 2 the current one, 1 an older one, 0 a dead holder's */
/* Between a slot and the holder. qbase 0: no SLEEP under way. */
byte qbase[4], qat[4], qtold[4], qgen[4];
bit  taken[4], kept[4], refused[4];
/* The holder. */
bit  hup = 1;
mtype:holder hs = NONE;
bit  hfd, hkept, hev, hslow, hreg = 1;
byte gen = 1, hout;
/* The WAKE queue. Oldest first: those of a dead holder, then older ones of
 * this one, last (if posted) the one that it waits for now. */
chan wake = [3] of { byte, byte, byte };
byte stale;
bit  posted;
/* The keeper; to it: 1 DUP with descriptor, 0 DROP. */
bit  kup = 1, kfd, kyes, kno;
chan tok = [4] of { bit };

#define KA              (idle * K)      /* only IDLE has keepalives */
#define MOVED(b, e)     (BUG != no_fence && (eaten != (e) || wire > (b) + KA || \
			 shut && BUG != shut_is_good))
#define RMOVED          MOVED(rbase, reaten)
#define ANY(x)          (x(1) || x(2) || x(3))
#define EACH(m)         m(1); m(2); m(3)

#define SUB(n)          (sub[n])
#define WAITS(n)        (waits[n])
#define CURRENT(n)      (reply[n] == 2)
#define OWNER(n)        (pc[n] == AWAKE || pc[n] == READ)
#define WORKS(n)        (pc[n] >= GOTW && pc[n] <= READY)
#define SERVES(n)       (pc[n] == AWAKE && lock == n)
#define HAS_FD(n)       (pc[n] != SPARE || qbase[n] != 0)
#define HAS_STATE(n)    (OWNER(n) || pc[n] != SPARE && !MOVED(base[n], at[n]) || \
			 qbase[n] != 0 && !MOVED(qbase[n], qat[n]))
#define FD_LEFT         (ANY(HAS_FD) || hfd || kfd || len(wake) > 0 || tok??[1])
#define STATE_LEFT      (ANY(HAS_STATE) || re && !RMOVED && (hfd || kfd || tok??[1]))
#define REPLY_EOF       (!posted && !ANY(CURRENT))

/* (1) */
inline act(me) { assert(lock == me && !shut && !lost) }

/* After a kill: one alone must not take the last good state, but the serving
 * imap's. (Two can: both ends of a SLEEP before the keeper has its duplicate.) */
inline survives()
{
	if
	:: !STATE_LEFT && !shut && !lost ->
		assert(crashes > 1 || died);
		lost = 1
	:: else
	fi
}

/* ---- imap ---- */

inline subscribe(i)
{
	if
	:: hup ->
		sub[i] = 1; watch = 1; gn[i] = gen
	:: else
	fi
}

/* A WAKE that somebody answered or dropped is not outstanding any more. */
inline answered_wake(i)
{
	if
	:: WORKS(i) && reply[i] != 0 -> hout--
	:: else
	fi
}

/* exit or kill: the kernel closes everything; what was sent stays sent. */
inline leave(i)
{
	if
	:: lock == i -> lock = 0
	:: else
	fi;
	answered_wake(i);
	pc[i] = SPARE; reply[i] = 0;
	base[i] = 0; at[i] = 0; mine[i] = 0; seen[i] = 0; gn[i] = 0;
	sub[i] = 0; notice[i] = 0; impatient[i] = 0;
	waits[i] = 0; kept[i] = 0; refused[i] = 0
}

/* Which WAKE of the queue is this? (before it is taken out) */
inline accept_reply(i)
{
	if
	:: stale > 0 -> stale--; reply[i] = 0
	:: stale == 0 && posted && len(wake) == 1 -> posted = 0; reply[i] = 2
	:: else -> reply[i] = 1
	fi
}

/* Under the lock, with a good fence: it is the owner. Not a byte yet. */
inline take_up(i)
{
	act(i);
	assert(at[i] == eaten && mine[i] == told);      /* (5) */
	if
	:: BUG == taken_voids && hup -> taken[i] = 1
	:: else
	fi;
	answered_wake(i);
	if
	:: reply[i] == 1 -> reply[i] = 0
	:: else
	fi;
	impatient[i] = 0; waits[i] = 0; pc[i] = AWAKE
}

/* The counts have changed: an answer that names the old ones is not for us. */
inline counts_changed(i)
{
	refused[i] = 0;
	if
	:: BUG != kept_unnamed -> kept[i] = 0
	:: else
	fi
}

/* Step 11: what is left of the prepared keepalives goes out first. */
inline write_keepalives(i)
{
	act(i);
	if
	:: BUG != reuse_number && base[i] != 0 && wire < base[i] + KA ->
		wire = base[i] + KA
	:: else
	fi
}

inline write_record(i)
{
	write_keepalives(i);
	assert(wire >= burnt);                          /* (5) */
	wire++; base[i] = 0;
	counts_changed(i)
}

proctype Imap(byte i)
{
end:	do
	/* 9, 10: waking. Spares are alike, so the lowest free one reads. */
	:: d_step { pc[i] == SPARE && nempty(wake) &&
		    (i < 2 || pc[1] != SPARE) && (i < 3 || pc[2] != SPARE) ->
		accept_reply(i);
		wake?base[i],at[i],mine[i]; pc[i] = GOTW }
	:: d_step { pc[i] == GOTW ->
		if
		:: lock != 0 -> leave(i)                /* EAGAIN; the holder sees EOF */
		:: else -> lock = i; pc[i] = LOCKED
		fi }
	:: d_step { pc[i] == LOCKED ->
		if
		:: MOVED(base[i], at[i]) -> leave(i)
		:: else ->
			pc[i] = SUBBED;
			if
			:: BUG != late_watch -> subscribe(i)
			:: else
			fi
		fi }
	:: d_step { pc[i] == SUBBED -> seen[i] = mbox; pc[i] = READY }
	:: d_step { pc[i] == READY ->
		take_up(i);
		if
		:: BUG == late_watch -> subscribe(i)
		:: else
		fi }

	/* awake */
	:: d_step { pc[i] == AWAKE && inq > 0 ->
		act(i); inq--; eaten++; counts_changed(i); pc[i] = READ }
	:: d_step { pc[i] == READ ->
		write_record(i); answered++;
		seen[i] = mbox; mine[i] = mbox; told = mbox;
		if
		:: logout && answered == sent -> shut = 1; leave(i)     /* 17 */
		:: else -> pc[i] = AWAKE
		fi }
	:: d_step { pc[i] == AWAKE && gone && inq == 0 -> shut = 1; leave(i) }
	:: d_step { pc[i] == AWAKE && notice[i] ->
		notice[i] = 0; gn[i] = gen; seen[i] = mbox }
	/* 13: a new holder; connect, watch, compare */
	:: d_step { pc[i] == AWAKE && !sub[i] && hup && BUG != no_rewatch ->
		subscribe(i); seen[i] = mbox }
	:: d_step { pc[i] == AWAKE && idle && seen[i] != mine[i] &&
		    base[i] != 0 && wire < base[i] + KA -> write_keepalives(i) }
	:: d_step { pc[i] == AWAKE && idle && seen[i] != mine[i] ->
		write_record(i); mine[i] = seen[i]; told = mine[i] }

	/* 1, 2: falling asleep. The same keepalives if nothing was written; if
	 * they are used up one more goes out before new ones are made. */
	:: d_step { pc[i] == AWAKE && sub[i] && !notice[i] && sleeps < NSLEEP &&
		    (!idle || seen[i] == mine[i]) ->
		act(i); sleeps++;
		if
		:: idle && base[i] != 0 && wire == base[i] + KA ->
			if
			:: BUG != more_unsent -> write_record(i)
			:: else -> base[i] = 0
			fi
		:: else
		fi;
		if
		:: base[i] == 0 -> base[i] = wire; burnt = wire + KA
		:: else
		fi;
		at[i] = eaten; lock = 0; pc[i] = UNLK }
	:: d_step { pc[i] == UNLK && qbase[i] == 0 ->
		pc[i] = SENT;
		if
		:: hup -> qbase[i] = base[i]; qat[i] = at[i]; qtold[i] = mine[i]; qgen[i] = gn[i]
		:: else -> impatient[i] = 1
		fi }

	/* 6: the answer, or none */
	:: d_step { pc[i] == SENT && (kept[i] || MOVED(base[i], at[i])) -> leave(i) }
	:: d_step { pc[i] == SENT && refused[i] && !kept[i] && !MOVED(base[i], at[i]) ->
		refused[i] = 0;
		if
		:: BUG == refused_serves -> take_up(i)
		:: else -> impatient[i] = 2             /* then just as after a time-out */
		fi }
	:: d_step { pc[i] == SENT && impatient[i] == 0 && !kept[i] && slow < NSLOW && !calm ->
		slow++; impatient[i] = 1 }
	:: d_step { pc[i] == SENT && impatient[i] != 0 && !MOVED(base[i], at[i]) && lock == 0 ->
		assert(BUG != own_number || wire == base[i]);
		lock = i; take_up(i) }                  /* KEPT may still be on its way */
	:: d_step { pc[i] == SENT && impatient[i] != 0 && lock != 0 && BUG == imap_forgets ->
		leave(i) }
	/* HAVE, without a descriptor: who sleeps it by now says KEPT */
	:: d_step { pc[i] == SENT && impatient[i] != 0 && hup && hs == ASLEEP &&
		    !MOVED(base[i], at[i]) ->
		if
		:: BUG == resend -> lock = 0
		:: else
		fi;
		assert(BUG != nothing || rbase == base[i] && rtold == mine[i]); /* (5) */
		leave(i) }

	/* 15, 16: kill -9. Whose SLEEP was refused serves the session again. */
	:: d_step { pc[i] != SPARE && crashes < NCRASH && !calm ->
		crashes++;
		if
		:: OWNER(i) || pc[i] == UNLK || pc[i] == SENT && (refused[i] || impatient[i] == 2) ->
			died = 1
		:: else
		fi;
		leave(i); survives() }
	od
}

/* ---- the holder ---- */

/* It does not wait for its WAKE any more; whoever has it, has an old one. */
inline wake_settled()
{
	posted = 0;
	EACH(reply_old)
}
inline reply_old(n)
{
	if
	:: reply[n] == 2 && WORKS(n) -> reply[n] = 1
	:: reply[n] == 2 && !WORKS(n) -> reply[n] = 0
	:: else
	fi
}

/* The record first, then the keeper's duplicate. */
inline forget()
{
	re = 0; rbase = 0; reaten = 0; rtold = 0; rdirty = 0;
	hfd = 0; hkept = 0; hslow = 0;
	wake_settled();
	hs = FORGOT
}

/* It has the record, and F_SETLK worked. */
inline relock()
{
	lock = H; hslow = 0;
	wake_settled();
	if
	:: hkept -> hs = ASLEEP
	:: else -> hs = REC
	fi
}

inline sleep_gone(j) { qbase[j] = 0; qat[j] = 0; qtold[j] = 0; qgen[j] = 0 }

/* Closing any descriptor of the socket drops our lock on it. */
inline sleep_stale(j)
{
	sleep_gone(j);
	if
	:: lock == H ->
		lock = 0;
		assert(hs != REFUSING);
		hs = DOUBT
	:: else
	fi
}

inline sleep_take(j)
{
	hfd = 1;
	waits[j] = (pc[j] == SENT);
	re = 1; rbase = qbase[j]; reaten = qat[j]; rtold = qtold[j];
	rdirty = (qgen[j] != gen || !watch && BUG != old_generation);
	if
	:: BUG == old_generation -> watch = 1
	:: else
	fi;
	sleep_gone(j)
}

/* It has the session already: the later state wins. */
inline sleep_merge(j)
{
	assert(BUG != nothing || RMOVED || rbase == qbase[j] && rtold == qtold[j]);     /* (5) */
	sleep_take(j);
	if
	:: hkept -> kept[j] = waits[j]; waits[j] = 0
	:: else
	fi;
	wake_settled();
	lock = 0;                               /* the surplus descriptor is closed */
	if
	:: BUG == no_relock -> hs = ASLEEP
	:: else -> hs = DOUBT
	fi
}

/* 3. EAGAIN with a good fence: it stays where it is and is tried again. */
#define SLEEP_FROM(j) \
	:: d_step { hup && qbase[j] != 0 && MOVED(qbase[j], qat[j]) && hs != REFUSING -> \
		sleep_stale(j) } \
	:: d_step { hup && qbase[j] != 0 && !MOVED(qbase[j], qat[j]) && lock == 0 && hs == NONE -> \
		sleep_take(j); lock = H; hs = GOT } \
	:: d_step { hup && qbase[j] != 0 && !MOVED(qbase[j], qat[j]) && (lock == 0 || lock == H) && \
		    hs >= ASLEEP && hs <= DOUBT -> \
		sleep_merge(j) } \
	:: d_step { hup && taken[j] -> \
		taken[j] = 0; \
		if \
		:: hs == WAKING || hs == DOUBT -> forget() \
		:: else \
		fi }

inline tell(n)
{
	if
	:: sub[n] -> notice[n] = 1
	:: else
	fi
}
inline say_kept(n)
{
	if
	:: waits[n] -> kept[n] = 1; waits[n] = 0
	:: else
	fi
}
inline say_refused(n)
{
	if
	:: waits[n] -> refused[n] = 1; waits[n] = 0
	:: else
	fi
}
/* The holder dies, its connections end; who waits for an answer sees EOF after
 * what is queued for it. */
inline cut(n)
{
	sub[n] = 0; taken[n] = 0; waits[n] = 0; reply[n] = 0;
	sleep_gone(n);
	if
	:: pc[n] == SENT && impatient[n] == 0 -> impatient[n] = 1
	:: else
	fi
}

/* REFUSED is said while the lock and the record are still ours, and only to
 * somebody who is there to hear it: nobody else has the state. */
#define MAY_REFUSE      (refusals < NREF && !calm && (ANY(WAITS) || BUG == refuse_dead))

inline refuse() { refusals++; EACH(say_refused); hs = REFUSING }

proctype Holder()
{
end:	do
	SLEEP_FROM(1) SLEEP_FROM(2) SLEEP_FROM(3)

	/* 4, 5 */
	:: d_step { hup && hs == GOT -> hs = REC }
	:: d_step { hup && hs == REC && kup && hreg -> tok!1; kyes = 0; kno = 0; hs = WAITK }
	:: d_step { hup && hs == WAITK && kyes -> kyes = 0; hkept = 1; hs = ASLEEP; EACH(say_kept) }
	:: d_step { hup && (hs == GOT || hs == REC) && MAY_REFUSE -> refuse() }
	:: d_step { hup && hs == WAITK && kno ->
		kno = 0;
		if
		:: ANY(WAITS) || BUG == refuse_dead -> refuse()
		:: else -> hs = REC                     /* try again, it is all there is */
		fi }
	:: d_step { hup && hs == REFUSING ->
		if
		:: lock == H -> lock = 0                /* close() */
		:: else
		fi;
		forget() }

	/* 7: which keepalive is next follows from the kernel's count */
	:: d_step { hup && hs == ASLEEP && wire < rbase + KA -> act(H); wire++ }
	:: d_step { hup && hs == ASLEEP && gone && inq == 0 ->
		act(H); shut = 1; lock = 0; forget() }

	/* 8 */
	:: d_step { hup && hs == ASLEEP && (inq > 0 || idle && rdirty) -> lock = 0; hs = UNLKH }
	:: d_step { hup && hs == ASLEEP && needless < NNEED && !calm ->  /* used up, or nothing at all */
		needless++; lock = 0; hs = UNLKH }
	:: d_step { hup && hs == UNLKH && hout < NOUT && nfull(wake) ->
		wake!rbase,reaten,rtold; hout++; posted = 1; hs = WAKING }

	/* 12 */
	:: d_step { hup && hs == WAKING && !hslow && slow < NSLOW && !calm -> slow++; hslow = 1 }
	:: d_step { hup && (hs == DOUBT || hs == WAKING) && RMOVED -> forget() }
	:: d_step { hup && (hs == DOUBT || hs == WAKING && (hslow || REPLY_EOF)) &&
		    !RMOVED && lock == 0 -> relock() }
	:: d_step { hup && (hs == DOUBT || hs == WAKING && hslow) && lock != 0 &&
		    BUG == holder_forgets -> forget() }
	:: d_step { hup && hs == WAKING && REPLY_EOF && BUG == eof_forgets -> forget() }
	:: d_step { hup && hs == FORGOT ->
		if
		:: kup -> tok!0
		:: else
		fi;
		hs = NONE }

	/* The mailbox. Noted before and after events are read; a watch that goes
	 * takes its generation along. */
	:: d_step { hup && evq && !hev -> busy = 1; evq = 0; hev = 1 }
	:: d_step { hup && hev ->
		hev = 0; busy = 0; gen++;
		EACH(tell);
		if
		:: re -> rdirty = 1
		:: else
		fi }
	:: d_step { hup && watch && !re && !ANY(SUB) ->
		watch = 0; evq = 0;
		if
		:: BUG != old_generation -> gen++
		:: else
		fi }

	/* 14 */
	:: d_step { hup && kup && !hreg ->
		hreg = 1;
		if
		:: hs == WAITK -> hs = REC
		:: hs >= ASLEEP && hs <= DOUBT && hkept -> tok!1
		:: else
		fi }

	/* 13: kill -9. (With the keeper gone too sleepers are lost: not promised.) */
	:: d_step { hup && crashes < NCRASH && !calm && kup && hreg ->
		crashes++;
		hup = 0; hs = NONE; hfd = 0; hkept = 0; hev = 0; hslow = 0; kyes = 0; kno = 0;
		posted = 0; hout = 0; stale = len(wake);
		if
		:: lock == H -> lock = 0
		:: else
		fi;
		EACH(cut);
		survives() }
	:: d_step { !hup && kup && (empty(tok) || BUG == no_drain) ->
		hup = 1;
		if
		:: BUG == old_generation -> gen = 1
		:: else -> gen++
		fi;
		if
		:: busy && re && BUG != unnoted -> rdirty = 1
		:: else
		fi;
		busy = 0;
		if
		:: re && kfd -> hfd = 1; hkept = 1; hs = DOUBT
		:: else ->
			re = 0; rbase = 0; reaten = 0; rtold = 0; rdirty = 0;
			if
			:: BUG != orphan -> kfd = 0
			:: else
			fi
		fi }
	od
}

/* ---- the others ---- */

proctype Keeper()
{
	bit dup;
end:	do
	:: atomic { kup && nempty(tok) ->
		tok?dup;
		if
		:: dup && hup && hs == WAITK && !kfd && refusals < NREF && !calm -> kno = 1
		:: kfd = dup; kyes = dup
		fi;
		dup = 0 }
	:: d_step { kup && crashes < NCRASH && !calm && hup ->
		crashes++;
		kup = 0; kfd = 0; kyes = 0; kno = 0; hreg = 0;
		do
		:: tok?dup
		:: empty(tok) -> break
		od;
		dup = 0;
		survives() }
	:: d_step { !kup -> kup = 1 }
	od
}

proctype Client()
{
end:	do
	:: atomic { !calm && sent < NIN && !logout && !gone && !shut && !lost ->
		sent++; inq++;
		if
		:: true
		:: sent == NIN -> logout = 1
		fi }
	:: d_step { !calm && !gone && !logout && !shut && !lost -> gone = 1 }
	od
}

proctype Mailbox()
{
end:	do
	:: d_step { !calm && mbox < NCHG ->
		mbox++;
		if
		:: watch -> evq = 1
		:: else
		fi }
	od
}

active proctype Watcher()
{
	atomic {
		if
		:: idle = 1
		:: idle = 0
		fi;
		pc[1] = AWAKE; lock = 1;
		subscribe(1);
		run Imap(1); run Imap(2); run Imap(3);
		run Holder(); run Keeper(); run Client(); run Mailbox()
	}
	/* At any moment; the budgets do not matter from here on. */
	d_step { calm = 1; crashes = 0; slow = 0; refusals = 0; needless = 0 }
	atomic { timeout ->     /* nothing can move any more */
		if
		:: shut || lost || died && !STATE_LEFT -> assert(!FD_LEFT)      /* (6) */
		:: else ->
			assert(ANY(SERVES) || lock == H && hs == ASLEEP && re && !RMOVED && kfd);
			assert(inq == 0 && answered == sent && !gone);          /* (4) */
			assert(!idle || told == mbox)                           /* (3) */
		fi }
}
