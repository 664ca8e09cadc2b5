/* SPDX-License-Identifier: MIT */
/* A session from SLEEP until its fence has moved.
 *
 * Two rules rule everything here. Nothing but a moved fence voids a record, so
 * every path that cannot tell ends in "look again later". And the client's
 * socket is touched only under the lock: after closing any duplicate of it the
 * lock is taken again, and before each write it is made sure of.
 *
 * The record is committed as soon as the state has arrived, before the lock is
 * there: a record whose duplicate the keeper does not have is void for the
 * next holder (doc/handover.md, 13), so it promises nothing yet. */
#include "imap-hibernate/sleeper.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "imap-hibernate/handback.h"
#include "imap-hibernate/holder.h"
#include "imap-hibernate/sleeper-private.h"
#include "imap-hibernate/sleeper-verdict.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/fence.h"
#include "lib/limits.h"
#include "lib/log.h"

#define EVENTS_A_TURN		64
/* A spare that took a WAKE and neither locks nor ends: another one after this
 * many looks, WAKE_RETRY_MS apart. Mostly it still waits in the queue. */
#define WAKING_LOOKS_MAX	2
#define REST_MIN_MS		20u
#define REST_MAX_MS		60000u

const char *sleeper_phase_name(enum sleeper_phase phase)
{
	switch (phase) {
	case SLEEPER_FREE:	return "free";
	case SLEEPER_LOCKING:	return "locking";
	case SLEEPER_STORING:	return "storing";
	case SLEEPER_ASLEEP:	return "asleep";
	case SLEEPER_RESTING:	return "resting";
	case SLEEPER_QUEUED:	return "queued";
	case SLEEPER_WAKING:	return "waking";
	}
	return "?";
}

bool sleeper_has_lock(const struct sleeper *sl)
{
	switch ((enum sleeper_phase)sl->phase) {
	case SLEEPER_STORING:
	case SLEEPER_ASLEEP:
	case SLEEPER_RESTING:
	case SLEEPER_QUEUED:
		return true;
	case SLEEPER_FREE:
	case SLEEPER_LOCKING:
	case SLEEPER_WAKING:
		break;
	}
	return false;
}

static const char *user_of(struct holder *h, uint32_t slot)
{
	struct table_entry e;

	return table_read(h->table, slot, &e) ? log_str(e.user) : "-";
}

static unsigned long long id_of(struct holder *h, uint32_t slot)
{
	return (unsigned long long)table_sid(h->table, slot);
}

/* ---- lists ---- */

void sleeper_list_append(struct holder *h, struct sleeper_list *l, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	sl->next = NONE;
	sl->prev = l->last;
	if (l->last != NONE)
		h->sleepers[l->last].next = slot;
	else
		l->first = slot;
	l->last = slot;
	l->count++;
}

void sleeper_list_prepend(struct holder *h, struct sleeper_list *l, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	sl->prev = NONE;
	sl->next = l->first;
	if (l->first != NONE)
		h->sleepers[l->first].prev = slot;
	else
		l->last = slot;
	l->first = slot;
	l->count++;
}

void sleeper_list_remove(struct holder *h, struct sleeper_list *l, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	if (sl->next != NONE)
		h->sleepers[sl->next].prev = sl->prev;
	else
		l->last = sl->prev;
	if (sl->prev != NONE)
		h->sleepers[sl->prev].next = sl->next;
	else
		l->first = sl->next;
	sl->next = sl->prev = NONE;
	l->count--;
}

/* ---- phases ---- */

static struct sleeper_list *list_of(struct holder *h, enum sleeper_phase phase)
{
	switch (phase) {
	case SLEEPER_LOCKING:
	case SLEEPER_STORING:
	case SLEEPER_RESTING:
	case SLEEPER_WAKING:
		return &h->retrying;
	case SLEEPER_QUEUED:
		return &h->queued;
	case SLEEPER_FREE:
	case SLEEPER_ASLEEP:
		break;
	}
	return NULL;
}

static void leave_asleep(struct holder *h, uint32_t slot)
{
	/* Before the descriptor is closed or passed on: the registration
	   belongs to the open file, which lives on elsewhere. */
	epoll_ctl(h->sleepers_epoll, EPOLL_CTL_DEL, h->sleepers[slot].fd, NULL);
	wheel_cancel(&h->wheel, slot);
}

/* The one place where a phase changes: lists, counts and the epoll set follow. */
static void set_phase(struct holder *h, uint32_t slot, enum sleeper_phase to,
		      const char *why)
{
	struct sleeper *sl = &h->sleepers[slot];
	enum sleeper_phase from = sl->phase;

	log_debug("phase", "id=%016llx %s -> %s (%s)",
		  table_used(h->table, slot) ? id_of(h, slot) : 0ull,
		  sleeper_phase_name(from), sleeper_phase_name(to), why);
	if (from == to)
		return;
	if (list_of(h, from))
		sleeper_list_remove(h, list_of(h, from), slot);
	if (from == SLEEPER_ASLEEP)
		leave_asleep(h, slot);
	if (from == SLEEPER_WAKING) {
		h->n_waking--;
		loop_timer_set(h->loop, &h->wake_timer, 0, h->wake_timer.fn, h);
	}
	sl->phase = (uint8_t)to;
	sl->looks = 0;
	if (to == SLEEPER_WAKING)
		h->n_waking++;
	if (list_of(h, to))
		sleeper_list_append(h, list_of(h, to), slot);
}

static void retry_fire(void *ctx);

static void look_again(struct holder *h, uint32_t slot, uint32_t ms)
{
	uint64_t due = clock_ms() + ms;

	h->sleepers[slot].deadline = holder_now(h) + ms;
	if (h->retry_timer.heap_index == 0 || h->retry_timer.due_ms > due)
		loop_timer_set(h->loop, &h->retry_timer, ms, retry_fire, h);
}

/* Somebody else has the lock: an imap that timed out, a spare that is slow. */
static void look_soon(struct holder *h, uint32_t slot)
{
	static const uint16_t wait_ms[] = { 1, 5, 25, 100, 250, 500, 1000 };
	struct sleeper *sl = &h->sleepers[slot];
	unsigned n = sl->looks;

	if (n >= sizeof(wait_ms) / sizeof(wait_ms[0]))
		n = sizeof(wait_ms) / sizeof(wait_ms[0]) - 1;
	else
		sl->looks++;
	look_again(h, slot, wait_ms[n]);
}

static void set_conn(struct holder *h, uint32_t slot, uint32_t number)
{
	struct sleeper *sl = &h->sleepers[slot];
	struct conn *c = conn_get(h, sl->conn);

	if (sl->conn == number)
		return;
	if (c)
		c->slot = NONE;
	sl->conn = number;
	c = conn_get(h, number);
	if (c)
		c->slot = slot;
}

/* ---- the end of a record ---- */

static void sleeper_void(struct holder *h, uint32_t slot, const char *why)
{
	struct sleeper *sl = &h->sleepers[slot];

	fault("hold-void");
	/* Before phase, lists and chain, which need the record. */
	set_phase(h, slot, SLEEPER_FREE, why);
	set_conn(h, slot, NONE);
	keeper_link_drop(h, slot);
	watch_unsubscribe(&h->watches, slot);
	chain_remove(&h->by_cookie, slot);
	table_void(h->table, slot);
	fault("hold-voided");
	close(sl->fd);
	sl->fd = -1;
	h->n_held--;
	holder_check_stopped(h);
}

/* Step 12 and 13: the fence moved. Whoever moved it serves the session, or
 * ended it; the record is history. */
void sleeper_moved(struct holder *h, uint32_t slot)
{
	struct conn *c = conn_get(h, h->sleepers[slot].conn);
	struct table_entry e;

	table_read(h->table, slot, &e);
	if (c && c->state != CONN_DUMPING) {
		conn_wakes(c, &e);
		log_info("taken", "id=%016llx user=%s", id_of(h, slot), log_str(e.user));
		h->woken++;
		holder_session_event(h, SESSION_AWAKE, e.sid, e.user, e.uid, e.remote);
		holder_ask_user(h, e.sid, e.user);
		control_event(h, e.sid, CONTROL_TAKEN, NULL);
	} else {
		log_info("ended", "id=%016llx user=%s", id_of(h, slot), log_str(e.user));
		holder_session_event(h, SESSION_GONE, e.sid, e.user, e.uid, e.remote);
		control_event(h, e.sid, CONTROL_GONE, NULL);
	}
	sleeper_void(h, slot, "fence moved");
}

/* Step 17: the owner ends the session. The lock must be ours. */
static void sleeper_end(struct holder *h, uint32_t slot, const char *reason)
{
	struct table_entry e;

	table_read(h->table, slot, &e);
	shutdown(h->sleepers[slot].fd, SHUT_RDWR);
	fault("hold-shutdown");
	log_info("disconnect", "id=%016llx user=%s reason=%s asleep_s=%lld", id_of(h, slot),
		 log_str(e.user), reason, (long long)time(NULL) - (long long)e.since);
	h->disconnects++;
	holder_session_event(h, SESSION_GONE, e.sid, e.user, e.uid, e.remote);
	control_event(h, e.sid, CONTROL_GONE, NULL);
	sleeper_void(h, slot, reason);
}

/* ---- lock and fence ---- */

int sleeper_fence(struct holder *h, uint32_t slot, uint64_t *done_r)
{
	struct fence_counts counts;
	uint32_t keepalive_bytes;
	uint64_t written = 0;
	int ret;

	table_counts(h->table, slot, &counts.written, &counts.consumed, &keepalive_bytes);
	ret = fence_look(h->sleepers[slot].fd, &counts, keepalive_bytes, &written);
	if (ret == FENCE_GOOD && done_r)
		*done_r = written - counts.written;
	return ret;
}

static void sleeper_settle(struct holder *h, uint32_t slot);

/* The lock is ours and the fence is good. */
static void sleeper_locked(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];
	struct conn *c = conn_get(h, sl->conn);

	/* The reply end of a wake that came to nothing. */
	if (c && c->state == CONN_WAKING) {
		set_conn(h, slot, NONE);
		conn_close(c, NULL);
	}
	if (sl->flags & SL_GIVE_UP) {
		sleeper_end(h, slot, "unserved");
		return;
	}
	set_phase(h, slot, SLEEPER_STORING, "locked");
	look_again(h, slot, KEPT_TIMEOUT_MS);
	if (sl->flags & SL_KEPT)
		sleeper_settle(h, slot);
	else
		keeper_link_store(h, slot);
}

/* Steps 3, 12, 13: look, lock, look again under the lock. */
static void sleeper_try(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];
	int look = sleeper_fence(h, slot, NULL), ret = 0;

	assert(!sleeper_has_lock(sl) && sl->phase != SLEEPER_FREE);
	if (look == FENCE_GOOD) {
		fault("hold-lock");
		ret = fence_lock(sl->fd);
		if (ret == 0)
			look = sleeper_fence(h, slot, NULL);
	}
	if (look == FENCE_MOVED) {
		sleeper_moved(h, slot);
		return;
	}
	if (ret == 0 && look == FENCE_GOOD) {
		sleeper_locked(h, slot);
		return;
	}
	if (ret == 0)
		fence_unlock(sl->fd);
	if (ret < 0 && ret != -EAGAIN)
		log_warn("lock", "id=%016llx error=%s", id_of(h, slot), strerror(-ret));
	set_phase(h, slot, SLEEPER_LOCKING, "somebody else has the lock");
	look_soon(h, slot);
}

void sleeper_look(struct holder *h, uint32_t slot)
{
	if (!sleeper_has_lock(&h->sleepers[slot]))
		sleeper_try(h, slot);
	else if (sleeper_fence(h, slot, NULL) == FENCE_MOVED)
		sleeper_moved(h, slot);
}

void sleeper_relock(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	if (!sleeper_has_lock(sl) || fence_lock(sl->fd) == 0)
		return;
	set_phase(h, slot, SLEEPER_LOCKING, "lock lost");
	look_soon(h, slot);
}

/* ---- asleep ---- */

static void fall_asleep(struct holder *h, uint32_t slot)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.u32 = slot };
	struct sleeper *sl = &h->sleepers[slot];

	if (fault("hold-epoll") ||
	    epoll_ctl(h->sleepers_epoll, EPOLL_CTL_ADD, sl->fd, &ev) < 0) {
		log_error("epoll", "id=%016llx error=%s", id_of(h, slot), strerror(errno));
		set_phase(h, slot, SLEEPER_RESTING, "no room in the epoll set");
		look_again(h, slot, REST_MAX_MS / 60);
		return;
	}
	set_phase(h, slot, SLEEPER_ASLEEP, "kept");
	sleeper_schedule(h, slot);
}

/* How long after a wake that failed for the n-th time. */
static uint32_t rest_ms(unsigned tries)
{
	unsigned shift;

	if (tries == 0)
		return 0;
	shift = tries < WAKE_TRIES_MAX ? tries - 1 : tries - WAKE_TRIES_MAX + 5;
	return shift > 11 || REST_MIN_MS << shift > REST_MAX_MS ? REST_MAX_MS :
								  REST_MIN_MS << shift;
}

static void queue_wake(struct holder *h, uint32_t slot, enum wake_cause cause)
{
	h->sleepers[slot].cause = (uint8_t)cause;
	set_phase(h, slot, SLEEPER_QUEUED, wake_cause_name(cause));
	loop_timer_set(h->loop, &h->wake_timer, 0, h->wake_timer.fn, h);
}

static void tell_kept(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];
	struct conn *c = conn_get(h, sl->conn);
	struct table_entry e;

	if (!(sl->flags & SL_TELL))
		return;
	sl->flags &= (uint8_t)~SL_TELL;
	table_read(h->table, slot, &e);
	log_info("kept", "id=%016llx user=%s held=%u", id_of(h, slot), log_str(e.user),
		 h->n_held);
	h->kept++;
	fault("hold-kept");
	holder_session_event(h, SESSION_ASLEEP, e.sid, e.user, e.uid, e.remote);
	control_event(h, e.sid, CONTROL_KEPT, NULL);
	if (!c)
		return;
	conn_set_state(c, CONN_ASLEEP);
	conn_answer(c, IPC_KEPT, e.written, e.consumed, NULL);
}

/* Locked and kept: what now? Step 5's end; step 12's "asleep again". */
static void sleeper_settle(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];
	unsigned tries = table_tries(h->table, slot);

	tell_kept(h, slot);
	if (h->stopping)
		sl->cause = WAKE_STOP;
	if (sl->cause) {
		/* The cause of a wake that came to nothing is still there. */
		if (rest_ms(tries) == 0) {
			queue_wake(h, slot, sl->cause);
			return;
		}
		set_phase(h, slot, SLEEPER_RESTING, "wake failed");
		look_again(h, slot, rest_ms(tries));
		return;
	}
	if ((table_flags(h->table, slot) & SLEEP_IDLE) && table_changed(h->table, slot))
		queue_wake(h, slot, WAKE_CHANGE);
	else
		fall_asleep(h, slot);
}

/* ---- events ---- */

static void sleeper_event(struct holder *h, uint32_t slot, uint32_t events)
{
	struct sleeper *sl = &h->sleepers[slot];
	int unread = 0;

	if (sl->phase != SLEEPER_ASLEEP)
		return;
	if (ioctl(sl->fd, FIONREAD, &unread) < 0)
		unread = 0;
	switch (sleeper_verdict(events, unread)) {
	case SLEEPER_STAY:
		break;
	case SLEEPER_WAKE:
		sleeper_wake(h, slot, WAKE_INPUT);
		break;
	case SLEEPER_GONE:
		sleeper_relock(h, slot);
		if (sl->phase == SLEEPER_ASLEEP)
			sleeper_end(h, slot, events & (EPOLLERR | EPOLLHUP) ? "reset" : "closed");
		break;
	}
}

static void sleepers_ready(void *ctx, uint32_t events)
{
	struct holder *h = ctx;
	struct epoll_event ev[EVENTS_A_TURN];
	int n = epoll_wait(h->sleepers_epoll, ev, EVENTS_A_TURN, 0);

	for (int i = 0; i < n; i++)
		sleeper_event(h, ev[i].data.u32, ev[i].events);
}

void sleeper_changed(struct holder *h, uint32_t slot, bool gone)
{
	if (!table_changed(h->table, slot))
		table_mark_changed(h->table, slot);
	/* Between commands a change is only marked. */
	if (h->sleepers[slot].phase == SLEEPER_ASLEEP &&
	    (table_flags(h->table, slot) & SLEEP_IDLE))
		sleeper_wake(h, slot, WAKE_CHANGE);
}

/* ---- waking ---- */

void sleeper_wake(struct holder *h, uint32_t slot, enum wake_cause cause)
{
	struct sleeper *sl = &h->sleepers[slot];
	struct conn *c = conn_get(h, sl->conn);
	bool ends = cause == WAKE_KICK || cause == WAKE_STOP;

	switch ((enum sleeper_phase)sl->phase) {
	case SLEEPER_ASLEEP:
		queue_wake(h, slot, cause);
		break;
	case SLEEPER_QUEUED:
	case SLEEPER_RESTING:
	case SLEEPER_LOCKING:
	case SLEEPER_STORING:
		if (ends || !sl->cause)
			sl->cause = (uint8_t)cause;
		break;
	case SLEEPER_WAKING:
		if (!ends)
			break;
		sl->cause = (uint8_t)cause;
		if (c)
			conn_do(c, cause == WAKE_KICK ? DO_KICK : DO_STOP);
		break;
	case SLEEPER_FREE:
		break;
	}
}

void sleeper_sent(struct holder *h, uint32_t slot, uint32_t conn, unsigned cause)
{
	set_conn(h, slot, conn);
	set_phase(h, slot, SLEEPER_WAKING, "sent");
	look_again(h, slot, WAKE_RETRY_MS);
	log_info("wake", "id=%016llx user=%s cause=%s tries=%u", id_of(h, slot),
		 user_of(h, slot), wake_cause_name(cause), table_tries(h->table, slot));
	h->wakes_sent++;
}

void sleeper_unsent(struct holder *h, uint32_t slot, bool locked)
{
	if (locked)
		return;		/* stays the first in the queue */
	set_phase(h, slot, SLEEPER_LOCKING, "somebody was faster");
	look_soon(h, slot);
}

/* Was this the wake of last resort? */
static bool was_last_resort(struct holder *h, uint32_t slot)
{
	return (h->sleepers[slot].flags & SL_REFUSED) ||
	       table_tries(h->table, slot) >= WAKE_TRIES_MAX;
}

void sleeper_wake_failed(struct holder *h, uint32_t slot, const char *reason, bool final)
{
	struct sleeper *sl = &h->sleepers[slot];
	bool last = was_last_resort(h, slot);

	if (sl->phase != SLEEPER_WAKING)
		return;
	/* First of all: did it serve the session, and end? (step 15) */
	if (sleeper_fence(h, slot, NULL) == FENCE_MOVED) {
		sleeper_moved(h, slot);
		return;
	}
	table_set_tries(h->table, slot, table_tries(h->table, slot) + 1);
	log_warn("wake-failed", "id=%016llx user=%s tries=%u reason=%s", id_of(h, slot),
		 user_of(h, slot), table_tries(h->table, slot),
		 reason ? log_str(reason) : "process-ended");
	h->wakes_failed++;
	if (final)
		sl->flags |= SL_REFUSED;
	/* Not even a BYE was possible, and a spare says so (step 10). Spares
	   that just die are no reason to end a session. */
	if (last && reason)
		sl->flags |= SL_GIVE_UP;
	/* It may still hold the lock for a moment. */
	set_phase(h, slot, SLEEPER_LOCKING, "wake failed");
	sleeper_try(h, slot);
}

void sleeper_conn_gone(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	set_conn(h, slot, NONE);
	/* A dead sender of SLEEP changes nothing (step 16); KEPT is still
	   logged and reported when it comes to that. */
	if (sl->phase == SLEEPER_WAKING)
		sleeper_wake_failed(h, slot, NULL, false);
}

static void waking_look(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	if (sleeper_fence(h, slot, NULL) == FENCE_MOVED) {
		sleeper_moved(h, slot);
		return;
	}
	/* With the lock taken a spare is at work; without, the WAKE most
	   probably still waits in the queue. Its end would be an EOF. */
	if (fence_owner(sl->fd) != 0 || ++sl->looks < WAKING_LOOKS_MAX)
		look_again(h, slot, WAKE_RETRY_MS);
	else
		sleeper_try(h, slot);
}

/* The session goes back to its imap, which has descriptor and state still: it
 * was never told KEPT. Unlocked first, so that it can. False: there is nobody
 * who waits for an answer and can hear it (step 16; doc/handover.pml,
 * refuse_dead), and the session stays here. */
static bool sleeper_refuse(struct holder *h, uint32_t slot, const char *reason)
{
	struct sleeper *sl = &h->sleepers[slot];
	struct conn *c = conn_get(h, sl->conn);
	struct table_entry e;

	if (!c || !(sl->flags & SL_TELL))
		return false;
	table_read(h->table, slot, &e);
	fence_unlock(sl->fd);
	if (!conn_answer(c, IPC_REFUSED, e.written, e.consumed, reason)) {
		if (fence_lock(sl->fd) < 0) {
			set_phase(h, slot, SLEEPER_LOCKING, "somebody was faster");
			look_soon(h, slot);
		}
		return false;
	}
	set_conn(h, slot, NONE);
	h->refused++;
	sleeper_void(h, slot, "refused");
	return true;
}

static void retry_due(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	switch ((enum sleeper_phase)sl->phase) {
	case SLEEPER_LOCKING:
		sleeper_try(h, slot);
		break;
	case SLEEPER_WAKING:
		waking_look(h, slot);
		break;
	case SLEEPER_RESTING:
		if (sl->cause)
			queue_wake(h, slot, sl->cause);
		else
			sleeper_settle(h, slot);
		break;
	case SLEEPER_STORING:
		/* A keeper that hangs: while we wait for it nobody serves the
		   client. */
		if (!sleeper_refuse(h, slot, "keeper does not answer"))
			look_again(h, slot, KEPT_TIMEOUT_MS);
		break;
	case SLEEPER_FREE:
	case SLEEPER_ASLEEP:
	case SLEEPER_QUEUED:
		break;
	}
}

static void retry_fire(void *ctx)
{
	struct holder *h = ctx;
	uint32_t now = holder_now(h), slot, next, wait = NONE;

	/* What is appended meanwhile arms the timer by itself. */
	for (slot = h->retrying.first; slot != NONE; slot = next) {
		next = h->sleepers[slot].next;
		if ((int32_t)(h->sleepers[slot].deadline - now) <= 0)
			retry_due(h, slot);
	}
	now = holder_now(h);
	for (slot = h->retrying.first; slot != NONE; slot = h->sleepers[slot].next) {
		int32_t left = (int32_t)(h->sleepers[slot].deadline - now);

		if (left < 1)
			left = 1;
		if ((uint32_t)left < wait)
			wait = (uint32_t)left;
	}
	if (wait != NONE)
		loop_timer_set(h->loop, &h->retry_timer, wait, retry_fire, h);
}

/* ---- arriving ---- */

static uint32_t *next_by_cookie(void *ctx, uint32_t slot)
{
	return &((struct holder *)ctx)->sleepers[slot].chain;
}

static uint64_t hash_by_cookie(void *ctx, uint32_t slot)
{
	return chain_mix(table_cookie(((struct holder *)ctx)->table, slot));
}

uint32_t sleeper_find_cookie(struct holder *h, uint64_t cookie)
{
	uint32_t slot = chain_first(&h->by_cookie, chain_mix(cookie));

	while (slot != NONE && table_cookie(h->table, slot) != cookie)
		slot = chain_next(&h->by_cookie, slot);
	return slot;
}

uint32_t sleeper_find(struct holder *h, uint64_t sid, uint64_t cookie)
{
	uint32_t slot = sleeper_find_cookie(h, cookie);

	return slot != NONE && table_sid(h->table, slot) == sid ? slot : NONE;
}

uint32_t sleeper_find_sid(struct holder *h, uint64_t sid, uint32_t from)
{
	for (uint32_t slot = from; slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase != SLEEPER_FREE &&
		    table_sid(h->table, slot) == sid)
			return slot;
	}
	return NONE;
}

static void sleeper_appear(struct holder *h, uint32_t slot, int fd)
{
	struct sleeper *sl = &h->sleepers[slot];

	*sl = (struct sleeper){ .fd = fd, .conn = NONE, .next = NONE, .prev = NONE,
				.since = sleeper_tick_now(h) };
	watch_sub_init(&sl->sub);
	chain_insert(&h->by_cookie, slot);
	h->n_held++;
	set_phase(h, slot, SLEEPER_LOCKING, "new");
}

static int commit_error(int ret, const char **reason_r)
{
	*reason_r = ret == -EINVAL ? "state too large" : "no memory";
	return 1;
}

static bool is_foreign(struct holder *h, uint32_t conn)
{
	struct conn *c = conn_get(h, conn);

	return c && !c->ours;
}

/* Of two good states of one session the later wins. Our descriptor stays. */
static int sleeper_replace(struct holder *h, uint32_t slot, int surplus,
			   const struct table_entry *e, uint32_t conn, bool changed,
			   const char **reason_r)
{
	struct sleeper *sl = &h->sleepers[slot];
	int ret = table_commit(h->table, slot, e, changed, &slot);
	struct conn *c;

	close(surplus);
	sleeper_relock(h, slot);
	if (ret < 0)
		return commit_error(ret, reason_r);
	fault("hold-replaced");
	table_set_tries(h->table, slot, 0);
	sl->flags &= (uint8_t)~(SL_REFUSED | SL_GIVE_UP | SL_FOREIGN);
	if (is_foreign(h, conn))
		sl->flags |= SL_FOREIGN;
	sl->since = sleeper_tick_now(h);
	watch_unsubscribe(&h->watches, slot);
	if (conn_get(h, conn))
		watch_copy(&h->watches, CONN_BIT | conn, slot);
	set_conn(h, slot, conn);
	/* The reply end of a wake is an imap's own by now. */
	c = conn_get(h, conn);
	if (c && c->state == CONN_WAKING)
		conn_set_state(c, CONN_AWAKE);
	sl->flags |= SL_TELL;
	if (!sleeper_has_lock(sl)) {
		/* An imap looked and had nothing to say: the cause is gone. */
		sl->cause = 0;
		set_phase(h, slot, SLEEPER_LOCKING, "slept again");
		sleeper_try(h, slot);
	} else if (sl->phase == SLEEPER_ASLEEP) {
		sleeper_locked(h, slot);
	} else if (sl->phase != SLEEPER_STORING && (sl->flags & SL_KEPT)) {
		tell_kept(h, slot);
	}
	return 0;
}

/* A ticket is checked by the spare that wakes the session; until then nobody
 * can tell what a user's process made up. So no user may have more of them than
 * he could have had processes when the last holder died. */
static bool user_has_room(struct holder *h, uint32_t uid)
{
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase != SLEEPER_FREE &&
		    (h->sleepers[slot].flags & SL_FOREIGN) && table_uid(h->table, slot) == uid)
			n++;
	}
	return n < conns_of_user_max(h);
}

static const char *no_room(struct holder *h, const struct table_entry *e, uint32_t conn)
{
	if (h->stopping)
		return "stopping";
	if (!h->keeper.up)
		return "no keeper";
	if (h->n_held >= h->sleepers_max)
		return "full";
	if (is_foreign(h, conn) && !user_has_room(h, e->uid))
		return "too many of this user";
	return NULL;
}

static int sleeper_new(struct holder *h, int fd, const struct table_entry *e,
		       uint32_t conn, bool changed, const char **reason_r)
{
	uint32_t slot;
	int ret = table_commit(h->table, NONE, e, changed, &slot);

	if (ret < 0) {
		close(fd);
		return commit_error(ret, reason_r);
	}
	fault("hold-commit");
	sleeper_appear(h, slot, fd);
	if (conn_get(h, conn))
		watch_copy(&h->watches, CONN_BIT | conn, slot);
	set_conn(h, slot, conn);
	h->sleepers[slot].flags = SL_TELL;
	if (is_foreign(h, conn))
		h->sleepers[slot].flags |= SL_FOREIGN;
	sleeper_try(h, slot);
	return 0;
}

int sleeper_take(struct holder *h, int fd, const struct table_entry *e, uint32_t conn,
		 bool generation_same, const char **reason_r)
{
	struct fence_counts counts = { e->written, e->consumed };
	uint32_t slot = sleeper_find_cookie(h, e->cookie);
	/* Step 4. */
	bool changed = (e->flags & SLEEP_SELECTED) && !generation_same;
	int look = fence_look(fd, &counts, e->keepalives_len, NULL);

	/* Step 3: a late message; the session has gone on without it. */
	if (look == FENCE_MOVED) {
		log_debug("stale", "id=%016llx", (unsigned long long)e->sid);
		holder_close_foreign(h, fd);
		return 0;
	}
	*reason_r = NULL;
	if (look < 0 && look != -EAGAIN)
		*reason_r = "not a TCP connection";
	else if (slot != NONE && table_sid(h->table, slot) != e->sid)
		*reason_r = "socket of another session";
	else if (slot == NONE)
		*reason_r = no_room(h, e, conn);
	if (*reason_r) {
		holder_close_foreign(h, fd);
		return 1;
	}
	if (slot != NONE)
		return sleeper_replace(h, slot, fd, e, conn, changed, reason_r);
	return sleeper_new(h, fd, e, conn, changed, reason_r);
}

void sleeper_adopt(struct holder *h, uint32_t slot, int fd)
{
	struct table_entry e;

	sleeper_appear(h, slot, fd);
	h->sleepers[slot].flags = SL_KEPT;
	table_read(h->table, slot, &e);
	/* One that is marked needs no watch any more, and its watch's record
	   may be another directory's by now. */
	if (!table_changed(h->table, slot))
		watch_adopt(&h->watches, slot, e.watch);
	/* A blind one may have none, and is polled. */
	if (!watch_subscribed(&h->sleepers[slot].sub) && (e.flags & SLEEP_SELECTED) &&
	    !(e.flags & SLEEP_POLL))
		table_mark_changed(h->table, slot);
	sleeper_try(h, slot);
}

/* ---- kept ---- */

void sleeper_stored(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];

	sl->flags = (uint8_t)((sl->flags | SL_KEPT) & ~SL_DUP_SENT);
	if (sl->phase == SLEEPER_STORING)
		sleeper_settle(h, slot);
	else if (sleeper_has_lock(sl))
		tell_kept(h, slot);
}

void sleeper_not_stored(struct holder *h, uint32_t slot, const char *reason)
{
	struct sleeper *sl = &h->sleepers[slot];

	sl->flags &= (uint8_t)~SL_DUP_SENT;
	log_warn("not-stored", "id=%016llx reason=%s", id_of(h, slot), log_str(reason));
	if (sl->phase != SLEEPER_STORING || sleeper_refuse(h, slot, reason))
		return;
	/* There is nobody to give it to: the next keeper will be asked. */
	sl->flags |= SL_KEPT;
	set_phase(h, slot, SLEEPER_LOCKING, "nobody to refuse it to");
	sleeper_try(h, slot);
}

void sleepers_no_keeper(struct holder *h)
{
	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase == SLEEPER_STORING)
			(void)sleeper_refuse(h, slot, "no keeper");
	}
}

/* ---- all of them ---- */

int sleepers_init(struct holder *h)
{
	int ret;

	sleeper_ticks_init(h);
	sleeper_list_init(&h->retrying);
	sleeper_list_init(&h->queued);
	h->sleepers_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->sleepers_epoll < 0)
		return -errno;
	ret = chain_init(&h->by_cookie, next_by_cookie, hash_by_cookie, h);
	if (ret == 0)
		ret = loop_add(h->loop, &h->sleepers_io, h->sleepers_epoll, EPOLLIN,
			       sleepers_ready, h);
	return ret;
}

void sleepers_deinit(struct holder *h)
{
	loop_timer_cancel(h->loop, &h->wheel_timer);
	loop_timer_cancel(h->loop, &h->retry_timer);
	loop_remove(h->loop, &h->sleepers_io);
	for (uint32_t slot = 0; h->sleepers && h->table && slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase != SLEEPER_FREE)
			close(h->sleepers[slot].fd);
	}
	if (h->sleepers_epoll >= 0)
		close(h->sleepers_epoll);
	wheel_deinit(&h->wheel);
	chain_deinit(&h->by_cookie);
	free(h->sleepers);
	h->sleepers = NULL;
}
