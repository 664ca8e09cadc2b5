/* SPDX-License-Identifier: MIT */
/* Messages of imap processes. One table says which message may come in which
 * state of a connection and how many descriptors it has; what does not fit
 * ends the connection with one line. What a message claims is believed only
 * for sessions of its sender's uid, which the kernel tells.
 *
 * A connection is never written to with patience: answers that do not fit end
 * it (nobody reads there), CHANGED and DO wait as a flag. A closed connection
 * stays in memory until the turn is over, since its callers may be below us. */
#include "imap-hibernate/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "imap-hibernate/holder.h"
#include "imap-hibernate/notice.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/fence.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/log.h"

#define MESSAGES_A_TURN		16
#define ACCEPTS_A_TURN		64
/* All processes of a user's imap, and as many deliverers. */
#define UID_CONNS_EXTRA		64u
#define ACCEPT_RETRY_MS		100u

struct conn *conn_get(struct holder *h, uint32_t number)
{
	return number < h->conns.used ? h->conns.list[number] : NULL;
}

/* ---- life ---- */

static int number_take(struct conns *cs, struct conn *c)
{
	uint32_t n = cs->hint;

	while (n < cs->used && cs->list[n])
		n++;
	if (n == cs->room) {
		uint32_t room = cs->room ? cs->room * 2 : 64;
		struct conn **list = reallocarray(cs->list, room, sizeof(*list));

		if (!list)
			return -ENOMEM;
		cs->list = list;
		cs->room = room;
	}
	cs->list[n] = c;
	cs->hint = n + 1;
	if (n == cs->used)
		cs->used++;
	c->number = n;
	return 0;
}

static void conn_ready(void *ctx, uint32_t events);

struct conn *conn_create(struct holder *h, int fd, uid_t uid, enum conn_state state)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c || number_take(&h->conns, c) < 0) {
		close(fd);
		free(c);
		return NULL;
	}
	c->holder = h;
	c->fd = fd;
	c->uid = uid;
	c->state = state;
	c->slot = NONE;
	c->since = (uint32_t)time(NULL);
	watch_sub_init(&c->sub);
	h->conns.count++;
	if (loop_add(h->loop, &c->io, fd, EPOLLIN, conn_ready, c) < 0) {
		conn_close(c, NULL);
		return NULL;
	}
	return c;
}

static void graveyard_fire(void *ctx)
{
	struct holder *h = ctx;
	struct conn *c;

	while ((c = h->conns.dead)) {
		h->conns.dead = c->next_dead;
		free(c->user);
		free(c->remote);
		free(c->mailbox);
		free(c);
	}
}

/* A session may have connected anew before its old connection's end is seen. */
static bool session_is_elsewhere(struct holder *h, const struct conn *c)
{
	if (sleeper_find(h, c->sid, c->cookie) != NONE)
		return true;
	for (uint32_t i = 0; i < h->conns.used; i++) {
		const struct conn *other = h->conns.list[i];

		if (other && other != c && other->state == CONN_AWAKE &&
		    other->sid == c->sid && other->cookie == c->cookie)
			return true;
	}
	return false;
}

void conn_close(struct conn *c, const char *why)
{
	struct holder *h = c->holder;
	uint32_t slot = c->slot;

	if (c->fd < 0)
		return;
	if (why)
		log_warn("bad-peer", "uid=%u id=%016llx reason=%s", (unsigned)c->uid,
			 (unsigned long long)c->sid, log_str(why));
	watch_unsubscribe(&h->watches, conn_id(c));
	loop_remove(h->loop, &c->io);
	fd_close(&c->fd);
	h->conns.list[c->number] = NULL;
	if (c->number < h->conns.hint)
		h->conns.hint = c->number;
	h->conns.count--;
	c->next_dead = h->conns.dead;
	h->conns.dead = c;
	loop_timer_set(h->loop, &h->conns.timer, 0, graveyard_fire, h);
	if (c->state == CONN_DUMPING)
		control_dumped(h, c->number, NULL);
	if (c->state == CONN_AWAKE && !session_is_elsewhere(h, c)) {
		holder_session_event(h, SESSION_GONE, c->sid, c->user, c->uid, c->remote);
		control_event(h, c->sid, CONTROL_GONE, NULL);
	}
	conn_set_state(c, CONN_NEW);
	c->slot = NONE;
	if (slot != NONE)
		sleeper_conn_gone(h, slot);
	holder_check_stopped(h);
}

void conn_set_state(struct conn *c, enum conn_state to)
{
	struct conns *cs = &c->holder->conns;

	if (c->state == CONN_AWAKE)
		cs->awake--;
	if (to == CONN_AWAKE)
		cs->awake++;
	if (c->state != to)
		c->since = (uint32_t)time(NULL);
	c->state = to;
}

void conns_deinit(struct holder *h)
{
	for (uint32_t i = 0; i < h->conns.used; i++) {
		struct conn *c = h->conns.list[i];

		if (!c)
			continue;
		c->slot = NONE;
		c->state = CONN_NEW;
		conn_close(c, NULL);
	}
	loop_timer_cancel(h->loop, &h->conns.timer);
	graveyard_fire(h);
	free(h->conns.list);
	h->conns = (struct conns){ 0 };
}

/* ---- sending ---- */

bool conn_send(struct conn *c, struct ipc_out **out)
{
	int ret;

	if (c->fd < 0) {
		ipc_out_destroy(out);
		return false;
	}
	ret = ipc_send_free(c->fd, out);
	/* EPIPE: what it sent before its end is still to be read. */
	if (ret < 0 && ret != -EPIPE)
		conn_close(c, ret == -EAGAIN ? "does not read" : strerror(-ret));
	return ret == 0;
}

bool conn_answer(struct conn *c, uint32_t type, uint64_t written, uint64_t consumed,
		 const char *reason)
{
	struct ipc_out *out = ipc_out_create(type);

	if (out) {
		ipc_out_u64(out, c->sid);
		ipc_out_u64(out, c->cookie);
		ipc_out_u64(out, written);
		ipc_out_u64(out, consumed);
		if (reason)
			ipc_out_str(out, reason);
	}
	return conn_send(c, &out);
}

/* CHANGED and DO. False: it must wait. */
static bool send_waiting(struct conn *c, uint32_t type, uint64_t value)
{
	struct ipc_out *out = ipc_out_create(type);

	if (out)
		ipc_out_u64(out, value);
	return ipc_send_free(c->fd, &out) != -EAGAIN;
}

static void send_flags(struct conn *c)
{
	if (c->fd < 0)
		return;
	if (c->changed_waits && send_waiting(c, IPC_CHANGED, c->generation))
		c->changed_waits = false;
	if (c->do_waits && send_waiting(c, IPC_DO, c->do_waits))
		c->do_waits = 0;
	loop_set_events(c->holder->loop, &c->io,
			EPOLLIN | (c->changed_waits || c->do_waits ? EPOLLOUT : 0u));
}

void conn_changed(struct conn *c, bool gone)
{
	/* Nothing that imap knows is equal to a watch that is gone. */
	c->generation = holder_next_generation(c->holder);
	c->watch_gone = c->watch_gone || gone;
	c->changed_waits = true;
	send_flags(c);
}

void conn_do(struct conn *c, unsigned verb)
{
	c->do_waits = (uint8_t)verb;
	send_flags(c);
}

void conns_user_is(struct holder *h, const struct user_answer *a)
{
	for (uint32_t i = 0; i < h->conns.used; i++) {
		struct conn *c = h->conns.list[i];
		struct ipc_out *out;

		if (!c || c->state != CONN_AWAKE || c->sid != a->sid || !c->ours)
			continue;
		out = ipc_out_create(IPC_USER_IS);
		if (out) {
			ipc_out_u64(out, a->sid);
			ipc_out_bool(out, a->found);
			ipc_out_u64(out, a->uid);
			ipc_out_u64(out, a->gid);
			ipc_out_str(out, a->home);
		}
		conn_send(c, &out);
		return;
	}
}

/* ---- who and what ---- */

static bool label_set(char **at, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return false;
	free(*at);
	*at = copy;
	return true;
}

static void conn_label(struct conn *c, const char *user, const char *remote,
		       const char *mailbox, uint64_t login_time, bool idle, unsigned security)
{
	label_set(&c->user, user);
	label_set(&c->remote, remote);
	label_set(&c->mailbox, mailbox);
	c->login_time = login_time;
	c->idle = idle;
	c->security = (uint8_t)(security & SECURITY_MAX);
}

void conn_wakes(struct conn *c, const struct table_entry *e)
{
	conn_label(c, e->user, e->remote, e->mailbox, e->login_time,
		   (e->flags & SLEEP_IDLE) != 0, e->flags >> SLEEP_SECURITY_SHIFT);
	c->sid = e->sid;
	c->cookie = e->cookie;
	conn_set_state(c, CONN_AWAKE);
}

/* A connection has one session for its life, and that session's records
 * belong to its uid. */
static bool conn_names(struct conn *c, uint64_t sid, uint64_t cookie, uid_t uid)
{
	struct holder *h = c->holder;
	uint32_t slot = sleeper_find(h, sid, cookie);

	if (cookie == 0 || (c->cookie != 0 && (c->sid != sid || c->cookie != cookie)))
		return false;
	if (slot != NONE && uid != 0 && table_uid(h->table, slot) != uid)
		return false;
	c->sid = sid;
	c->cookie = cookie;
	return true;
}

/* ---- messages ---- */

static bool on_hello(struct conn *c, struct ipc_in *in, uid_t uid)
{
	struct holder *h = c->holder;
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in), login_time;
	const char *user = ipc_in_str(in), *remote = ipc_in_str(in), *mailbox;
	uint32_t slot, security = 0;
	bool idle;

	login_time = ipc_in_u64(in);
	mailbox = ipc_in_str(in);
	idle = ipc_in_bool(in);
	/* An imap of an earlier version knows nothing of it. */
	if (!ipc_in_done(in))
		security = ipc_in_u32(in);
	if (!ipc_in_done(in) || strlen(user) > TABLE_USER_MAX ||
	    strlen(remote) > TABLE_REMOTE_MAX || strlen(mailbox) > TABLE_MAILBOX_MAX ||
	    !conn_names(c, sid, cookie, uid))
		return false;
	conn_label(c, user, remote, mailbox, login_time, idle, security);
	if (c->state == CONN_WAKING || c->state == CONN_AWAKE)
		return true;
	conn_set_state(c, CONN_AWAKE);
	/* It serves the session, it says; if so the record is history. */
	slot = sleeper_find(h, sid, cookie);
	if (slot != NONE)
		sleeper_look(h, slot);
	holder_session_event(h, SESSION_AWAKE, sid, user, c->uid, remote);
	if (h->stopping)
		conn_do(c, DO_STOP);
	return true;
}

static bool on_watch(struct conn *c, struct ipc_in *in, uid_t uid)
{
	c->watch_gone = false;
	return notice_watch(c, in);
}

static bool on_notice(struct conn *c, struct ipc_in *in, uid_t uid)
{
	return notice_notice(c, in, uid);
}

static bool sleep_keepalives(struct ipc_in *in, struct table_entry *e)
{
	uint32_t n = ipc_in_array(in);

	if (n > KEEPALIVES_MAX)
		return false;
	e->n_keepalives = (uint8_t)n;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = ipc_in_u32(in);

		if (len == 0 || len > KEEPALIVE_MAX_BYTES)
			return false;
		e->keepalive_len[i] = (uint16_t)len;
	}
	e->keepalives = ipc_in_bin(in, &e->keepalives_len);
	return true;
}

/* The fields of SLEEP, descriptor left out. */
static bool sleep_read(struct ipc_in *in, struct table_entry *e, uint64_t *generation_r)
{
	size_t sum = 0;

	*e = (struct table_entry){ .watch = { NONE, NONE } };
	e->sid = ipc_in_u64(in);
	e->cookie = ipc_in_u64(in);
	*generation_r = ipc_in_u64(in);
	e->flags = (uint8_t)(ipc_in_u64(in) & (SLEEP_IDLE | SLEEP_SELECTED | SLEEP_POLL |
					     SLEEP_SECURITY));
	e->written = ipc_in_u64(in);
	e->consumed = ipc_in_u64(in);
	if (!sleep_keepalives(in, e))
		return false;
	e->user = ipc_in_str(in);
	e->remote = ipc_in_str(in);
	e->login_time = ipc_in_u64(in);
	e->mailbox = ipc_in_str(in);
	e->ticket = ipc_in_bin(in, &e->ticket_len);
	e->state = ipc_in_bin(in, &e->state_len);
	for (unsigned i = 0; i < e->n_keepalives; i++)
		sum += e->keepalive_len[i];
	return !ipc_in_bad(in) && sum == e->keepalives_len &&
	       e->ticket_len <= TABLE_TICKET_MAX && e->state_len <= STATE_MAX_BYTES &&
	       strlen(e->user) <= TABLE_USER_MAX && strlen(e->remote) <= TABLE_REMOTE_MAX &&
	       strlen(e->mailbox) <= TABLE_MAILBOX_MAX;
}

/* Step 3. */
static bool on_sleep(struct conn *c, struct ipc_in *in, uid_t uid)
{
	struct holder *h = c->holder;
	struct table_entry e;
	uint64_t generation, cookie = 0;
	const char *reason = NULL;
	uint32_t slot;
	int fd;

	if (!sleep_read(in, &e, &generation))
		return false;
	fd = ipc_in_fd(in);
	if (fd < 0)
		return false;
	if (!conn_names(c, e.sid, e.cookie, uid) || !ipc_in_done(in) ||
	    fence_cookie(fd, &cookie) < 0 || cookie != e.cookie) {
		holder_close_foreign(h, fd);
		return false;
	}
	/* The record stays the user's, also when root sends. */
	slot = sleeper_find(h, e.sid, e.cookie);
	e.uid = slot != NONE ? table_uid(h->table, slot) : uid;
	e.since = (uint32_t)time(NULL);
	memcpy(e.watch, c->sub.watch, sizeof(e.watch));
	conn_label(c, e.user, e.remote, e.mailbox, e.login_time, (e.flags & SLEEP_IDLE) != 0,
		   e.flags >> SLEEP_SECURITY_SHIFT);
	/* An event may wait in the kernel; then the generation is old. */
	watch_drain(&h->watches);
	if (h->leaving) {
		/* The next one takes it. */
		holder_close_foreign(h, fd);
		conn_answer(c, IPC_REFUSED, e.written, e.consumed, "being replaced");
		return true;
	}
	if (sleeper_take(h, fd, &e, c->number,
			 c->watching && !c->watch_gone && generation == c->generation, &reason) > 0) {
		log_info("refused", "id=%016llx user=%s reason=%s",
			 (unsigned long long)e.sid, log_str(e.user), log_str(reason));
		h->refused++;
		control_event(h, e.sid, CONTROL_NOT, reason);
		conn_answer(c, IPC_REFUSED, e.written, e.consumed, reason);
	}
	return true;
}

/* Step 6: "do you have it?", without a descriptor. */
static bool on_have(struct conn *c, struct ipc_in *in, uid_t uid)
{
	struct holder *h = c->holder;
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	uint64_t written = ipc_in_u64(in), consumed = ipc_in_u64(in);
	uint64_t have_written, have_consumed;
	uint32_t slot, bytes;
	bool have = false;

	if (!ipc_in_done(in) || !conn_names(c, sid, cookie, uid))
		return false;
	slot = sleeper_find(h, sid, cookie);
	if (slot != NONE && (h->sleepers[slot].flags & SL_KEPT)) {
		table_counts(h->table, slot, &have_written, &have_consumed, &bytes);
		have = have_written == written && have_consumed == consumed;
	}
	if (have)
		conn_set_state(c, CONN_ASLEEP);
	conn_answer(c, have ? IPC_KEPT : IPC_HAVE_NOT, written, consumed, NULL);
	return true;
}

/* Step 12: a hint to look, no more. */
static bool on_taken(struct conn *c, struct ipc_in *in, uid_t uid)
{
	struct holder *h = c->holder;
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	uint32_t slot;

	if (!ipc_in_done(in) || !conn_names(c, sid, cookie, uid))
		return false;
	slot = sleeper_find(h, sid, cookie);
	if (slot != NONE)
		sleeper_look(h, slot);
	return true;
}

static bool on_wake_failed(struct conn *c, struct ipc_in *in, uid_t uid)
{
	struct holder *h = c->holder;
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	const char *reason = ipc_in_str(in);
	bool final = ipc_in_bool(in);
	uint32_t slot = c->slot;

	if (!ipc_in_done(in))
		return false;
	/* The ticket is not the server's, says a spare that still has the
	   server's own rights: it named nobody, and no imap ever will serve
	   it. Some user's process put it here. */
	if (sid == 0 && cookie == 0 && c->state == CONN_WAKING && slot != NONE &&
	    (uid == 0 || uid == geteuid())) {
		h->sleepers[slot].flags |= SL_REFUSED;
		sleeper_wake_failed(h, slot, reason, true);
		return true;
	}
	if (!conn_names(c, sid, cookie, uid))
		return false;
	if (c->state == CONN_DUMPING)
		control_dumped(h, c->number, NULL);
	else if (slot != NONE)
		sleeper_wake_failed(h, slot, reason, final);
	return true;
}

static bool on_done_do(struct conn *c, struct ipc_in *in, uid_t uid)
{
	uint64_t verb = ipc_in_u64(in);
	bool ok = ipc_in_bool(in);
	const char *reason = ipc_in_str(in);

	if (!ipc_in_done(in))
		return false;
	if (verb == DO_SLEEP && !ok)
		control_event(c->holder, c->sid, CONTROL_NOT, reason);
	return true;
}

static bool on_dumped(struct conn *c, struct ipc_in *in, uid_t uid)
{
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	const char *text = ipc_in_str(in);

	if (!ipc_in_done(in) || !conn_names(c, sid, cookie, uid))
		return false;
	control_dumped(c->holder, c->number, text);
	return true;
}

#define IN(state)	(1u << (state))
#define IN_ANY		(IN(CONN_NEW) | IN(CONN_AWAKE) | IN(CONN_WAKING) | IN(CONN_ASLEEP))

static const struct {
	uint32_t type;
	unsigned states;
	size_t fds_min, fds_max;
	bool (*fn)(struct conn *c, struct ipc_in *in, uid_t uid);
} messages[] = {
	{ IPC_HELLO,	IN_ANY,	0, 0, on_hello },
	{ IPC_WATCH,	IN_ANY,	0, SLEEPER_WATCHES, on_watch },
	{ IPC_NOTICE,	IN_ANY,	0, 1, on_notice },
	{ IPC_SLEEP,	IN_ANY,	1, 1, on_sleep },
	{ IPC_HAVE,	IN_ANY,	0, 0, on_have },
	{ IPC_TAKEN,	IN_ANY,	0, 0, on_taken },
	{ IPC_WAKE_FAILED, IN(CONN_WAKING) | IN(CONN_NEW) | IN(CONN_DUMPING), 0, 0, on_wake_failed },
	{ IPC_DONE_DO,	IN_ANY,	0, 0, on_done_do },
	{ IPC_DUMPED,	IN(CONN_DUMPING), 0, 0, on_dumped },
};

/* Whose message is it? Root's, or the connection's own user's; a process that
 * connected as root and became a user since is that user. */
static bool sender_is_right(struct conn *c, const struct ipc_in *in, uid_t *uid_r)
{
	struct ipc_cred cred;

	if (!ipc_in_cred(in, &cred))
		return false;
	if (c->uid == 0 && cred.uid != 0)
		c->uid = cred.uid;
	*uid_r = cred.uid;
	return cred.uid == 0 || cred.uid == c->uid;
}

static const char *conn_message(struct conn *c, struct ipc_in *in)
{
	uid_t uid;

	if (!sender_is_right(c, in, &uid))
		return "wrong user";
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		if (messages[i].type != ipc_in_type(in))
			continue;
		if (!(messages[i].states & IN(c->state)))
			return "message out of order";
		if (ipc_in_fd_count(in) < messages[i].fds_min ||
		    ipc_in_fd_count(in) > messages[i].fds_max)
			return "wrong number of descriptors";
		return messages[i].fn(c, in, uid) ? NULL : "bad message";
	}
	return "unknown message";
}

/* Descriptors that nobody took may be a client's socket too. */
static void close_rest(struct holder *h, struct ipc_in *in)
{
	bool unseen = ipc_in_bad(in) && ipc_in_fd_count(in) > 0;
	int fd;

	while (!unseen && (fd = ipc_in_fd(in)) >= 0)
		holder_close_foreign(h, fd);
	ipc_in_destroy(&in);
	if (unseen)
		holder_locks_unsure(h);
}

static void conn_ready(void *ctx, uint32_t events)
{
	struct conn *c = ctx;
	struct holder *h = c->holder;

	if (events & EPOLLOUT)
		send_flags(c);
	for (int i = 0; i < MESSAGES_A_TURN && c->fd >= 0; i++) {
		struct ipc_in *in;
		const char *bad;
		int ret = ipc_recv(c->fd, &in);

		if (ret == -EAGAIN)
			break;
		if (ret < 0) {
			conn_close(c, ret == -EPIPE ? NULL : "malformed message");
			/* It may have had descriptors, closed unseen. */
			if (ret != -EPIPE)
				holder_locks_unsure(h);
			break;
		}
		bad = conn_message(c, in);
		close_rest(h, in);
		if (bad)
			conn_close(c, bad);
	}
}

/* ---- the listener ---- */

uint32_t conns_of_user_max(const struct holder *h)
{
	return h->settings.max_processes + UID_CONNS_EXTRA;
}

/* Anybody may connect: one user must not use up the descriptors of all, and
 * all of them not those of the sleepers. */
static bool uid_has_room(struct holder *h, uid_t uid)
{
	uint32_t n = 0;

	if (uid == 0 || uid == geteuid())
		return true;
	if (h->conns.count >= h->conns_max)
		return false;
	for (uint32_t i = 0; i < h->conns.used; i++) {
		if (h->conns.list[i] && h->conns.list[i]->uid == uid)
			n++;
	}
	return n < conns_of_user_max(h);
}

static void listener_again(void *ctx)
{
	struct holder *h = ctx;

	loop_add(h->loop, &h->listener_io, h->listener, EPOLLIN, conns_accept, h);
}

static int accept_one(struct holder *h)
{
	struct ipc_cred cred;
	struct conn *c;
	int ret;

	cleanup_fd int fd = -1;
	ret = ipc_accept(h->listener, &fd);
	if (ret < 0)
		return ret;
	ret = ipc_set_passcred(fd);
	if (ret == 0)
		ret = ipc_peer_cred(fd, &cred);
	if (ret < 0)
		return 0;
	if (!uid_has_room(h, cred.uid)) {
		log_warn("bad-peer", "uid=%u reason=connections", (unsigned)cred.uid);
		return 0;
	}
	c = conn_create(h, fd_steal(&fd), cred.uid, CONN_NEW);
	if (!c)
		return -ENOMEM;
	/* A spare connects while it still is root. */
	c->ours = cred.uid == 0 || cred.uid == geteuid();
	return 0;
}

void conns_accept(void *ctx, uint32_t events)
{
	struct holder *h = ctx;
	int ret = 0;

	for (int i = 0; i < ACCEPTS_A_TURN && ret == 0; i++)
		ret = accept_one(h);
	if (ret == 0 || ret == -EAGAIN)
		return;
	/* Out of descriptors: spinning would not help. */
	log_error("accept", "error=%s conns=%u", strerror(-ret), h->conns.count);
	loop_remove(h->loop, &h->listener_io);
	loop_timer_set(h->loop, &h->listener_timer, ACCEPT_RETRY_MS, listener_again, h);
}
