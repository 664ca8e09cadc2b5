/* SPDX-License-Identifier: MIT */
/* One request per connection. Long answers are produced as the operator's
 * socket takes them, from a cursor over sleepers, then connections; a request
 * that waits for a session (sleep, wake, state-dump) is answered by
 * control_event(). */
#include "imap-hibernate/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imap-hibernate/handback.h"
#include "imap-hibernate/holder.h"
#include "lib/cleanup.h"
#include "lib/ipc.h"
#include "lib/log.h"

#define ROWS_A_TURN	256

enum control_wait { WAIT_REQUEST, WAIT_SLEEP, WAIT_WAKE, WAIT_DUMP, WAIT_ROWS };

struct control {
	struct holder *holder;
	struct list node;
	struct loop_io io;
	int fd;
	enum control_wait wait;
	uint64_t sid;
	uint32_t conn;		/* WAIT_DUMP */
	char *user;		/* who: only this one's */
	uint32_t slot, number;	/* who: the next to look at */
};

static void control_close(struct control *ctl)
{
	loop_remove(ctl->holder->loop, &ctl->io);
	list_remove(&ctl->node);
	fd_close(&ctl->fd);
	free(ctl->user);
	free(ctl);
}

/* ---- answers ---- */

struct row { const char *key, *value; };

/* 0, -EAGAIN: later; or -errno. */
static int send_row(struct control *ctl, const struct row *row, uint32_t n)
{
	struct ipc_out *out = ipc_out_create(CTL_ROW);

	if (out) {
		ipc_out_array(out, n);
		for (uint32_t i = 0; i < n; i++) {
			ipc_out_array(out, 2);
			ipc_out_str(out, row[i].key);
			ipc_out_str(out, row[i].value);
		}
	}
	return ipc_send_free(ctl->fd, &out);
}

static void control_end(struct control *ctl, bool ok, const char *text)
{
	struct ipc_out *out = ipc_out_create(CTL_END);

	if (out) {
		ipc_out_bool(out, ok);
		ipc_out_str(out, text);
	}
	ipc_send_free(ctl->fd, &out);
	control_close(ctl);
}

/* ---- who ---- */

/* uid: of the process that gave the label. Anybody may write any user's name
 * on a session of his own; the uid shows it. */
static int row_who(struct control *ctl, uint64_t sid, const char *user, uint32_t uid,
		   const char *state, const char *mailbox, const char *remote,
		   uint64_t login_time, uint32_t since, unsigned security)
{
	char id[20], owner[16], login[24], at[24];
	struct row row[] = {
		{ "id", id }, { "user", user }, { "uid", owner }, { "state", state },
		{ "mailbox", mailbox }, { "remote", remote },
		{ "login_time", login }, { "since", at },
		{ "security", security_name(security) },
	};

	if (ctl->user && strcmp(ctl->user, user) != 0)
		return 0;
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)sid);
	snprintf(owner, sizeof(owner), "%u", uid);
	snprintf(login, sizeof(login), "%llu", (unsigned long long)login_time);
	snprintf(at, sizeof(at), "%u", since);
	return send_row(ctl, row, sizeof(row) / sizeof(row[0]));
}

static int row_sleeper(struct control *ctl, uint32_t slot)
{
	struct holder *h = ctl->holder;
	const struct sleeper *sl = &h->sleepers[slot];
	struct table_entry e;
	const char *state;

	if (sl->phase == SLEEPER_FREE || !table_read(h->table, slot, &e))
		return 0;
	if (sl->phase == SLEEPER_WAKING || sl->phase == SLEEPER_QUEUED)
		state = "waking";
	else
		state = e.flags & SLEEP_IDLE ? "asleep-idle" : "asleep";
	return row_who(ctl, e.sid, e.user, e.uid, state, e.mailbox, e.remote, e.login_time,
		       e.since, e.flags >> SLEEP_SECURITY_SHIFT);
}

static int row_conn(struct control *ctl, uint32_t number)
{
	struct conn *c = conn_get(ctl->holder, number);

	/* One that is falling asleep is a sleeper already. */
	if (!c || c->state != CONN_AWAKE || c->slot != NONE || !c->user)
		return 0;
	return row_who(ctl, c->sid, c->user, c->uid, c->idle ? "idle" : "awake",
		       c->mailbox, c->remote, c->login_time, c->since, c->security);
}

/* As many rows as the socket takes. */
static void who_rows(struct control *ctl)
{
	struct holder *h = ctl->holder;
	int ret = 0;

	for (int n = 0; n < ROWS_A_TURN && ret == 0; n++) {
		if (ctl->slot < table_slots(h->table)) {
			ret = row_sleeper(ctl, ctl->slot);
			ctl->slot += ret == 0;
		} else if (ctl->number < h->conns.used) {
			ret = row_conn(ctl, ctl->number);
			ctl->number += ret == 0;
		} else {
			control_end(ctl, true, "");
			return;
		}
	}
	if (ret < 0 && ret != -EAGAIN)
		control_close(ctl);
	else
		loop_set_events(h->loop, &ctl->io, EPOLLIN | EPOLLOUT);
}

static void verb_who(struct control *ctl, const char *arg)
{
	if (*arg)
		ctl->user = strdup(arg);
	ctl->wait = WAIT_ROWS;
	who_rows(ctl);
}

/* ---- the other verbs ---- */

/* False: answered already. */
static bool parse_id(struct control *ctl, const char *arg)
{
	char *end;

	errno = 0;
	ctl->sid = strtoull(arg, &end, 16);
	if (*arg && !*end && errno == 0)
		return true;
	control_end(ctl, false, "not a session id");
	return false;
}

static struct conn *awake_conn(struct holder *h, uint64_t sid)
{
	for (uint32_t i = 0; i < h->conns.used; i++) {
		struct conn *c = h->conns.list[i];

		if (c && c->state == CONN_AWAKE && c->sid == sid)
			return c;
	}
	return NULL;
}

static void verb_sleep(struct control *ctl, const char *arg)
{
	struct holder *h = ctl->holder;
	struct conn *c;
	uint32_t slot;

	if (!parse_id(ctl, arg))
		return;
	c = awake_conn(h, ctl->sid);
	slot = sleeper_find_sid(h, ctl->sid, 0);
	if (slot != NONE && h->sleepers[slot].phase == SLEEPER_ASLEEP) {
		control_end(ctl, true, "asleep already");
		return;
	}
	if (!c && slot == NONE) {
		control_end(ctl, false, "no such session");
		return;
	}
	ctl->wait = WAIT_SLEEP;
	/* One that is on its way there needs no telling; one that wakes gets
	   it when it has. */
	if (c && slot == NONE)
		conn_do(c, DO_SLEEP);
}

static void verb_wake(struct control *ctl, const char *arg)
{
	struct holder *h = ctl->holder;
	uint32_t slot;

	if (!parse_id(ctl, arg))
		return;
	slot = sleeper_find_sid(h, ctl->sid, 0);
	if (slot == NONE) {
		bool awake = awake_conn(h, ctl->sid) != NULL;

		control_end(ctl, awake, awake ? "awake already" : "no such session");
		return;
	}
	ctl->wait = WAIT_WAKE;
	sleeper_wake(h, slot, WAKE_OPERATOR);
}

static bool is_kicked(const char *arg, uint64_t sid, bool is_id, const char *user)
{
	return is_id ? strtoull(arg, NULL, 16) == sid : user && strcmp(user, arg) == 0;
}

/* A session id has 16 digits; anything else is a user, whose every session
 * is meant, and nobody else's. */
static void verb_kick(struct control *ctl, const char *arg)
{
	struct holder *h = ctl->holder;
	bool is_id = strlen(arg) == 16 && strspn(arg, "0123456789abcdefABCDEF") == 16;
	struct table_entry e;
	unsigned n = 0;
	char count[16];

	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase == SLEEPER_FREE ||
		    !table_read(h->table, slot, &e) || !is_kicked(arg, e.sid, is_id, e.user))
			continue;
		sleeper_wake(h, slot, WAKE_KICK);
		n++;
	}
	for (uint32_t i = 0; i < h->conns.used; i++) {
		struct conn *c = h->conns.list[i];

		if (!c || c->state != CONN_AWAKE || c->slot != NONE ||
		    !is_kicked(arg, c->sid, is_id, c->user))
			continue;
		conn_do(c, DO_KICK);
		n++;
	}
	log_info("kick", "what=%s sessions=%u", log_str(arg), n);
	snprintf(count, sizeof(count), "%u", n);
	send_row(ctl, &(struct row){ "sessions", count }, 1);
	control_end(ctl, n > 0, n > 0 ? "" : "no such session");
}

#define COUNTERS	13
static void verb_holder(struct control *ctl, const char *arg)
{
	struct holder *h = ctl->holder;
	const struct { const char *key; uint64_t value; } counters[COUNTERS] = {
		{ "held", h->n_held }, { "max", h->sleepers_max },
		{ "awake", h->conns.awake }, { "watches", h->watches.count },
		{ "table_bytes", table_bytes(h->table) },
		{ "waking", h->n_waking }, { "queued", h->queued.count },
		{ "kept", h->kept }, { "woken", h->woken },
		{ "wakes_failed", h->wakes_failed }, { "disconnects", h->disconnects },
		{ "refused", h->refused }, { "keepalives", h->keepalives },
	};
	char text[COUNTERS][24];
	struct row row[COUNTERS];

	for (unsigned i = 0; i < COUNTERS; i++) {
		snprintf(text[i], sizeof(text[i]), "%llu", (unsigned long long)counters[i].value);
		row[i] = (struct row){ counters[i].key, text[i] };
	}
	send_row(ctl, row, COUNTERS);
	control_end(ctl, true, "");
}

static void verb_state_dump(struct control *ctl, const char *arg)
{
	struct holder *h = ctl->holder;
	uint32_t slot;
	int ret;

	if (!parse_id(ctl, arg))
		return;
	slot = sleeper_find_sid(h, ctl->sid, 0);
	if (slot == NONE) {
		control_end(ctl, false, "no such sleeping session");
		return;
	}
	ret = handback_dump(h, slot, &ctl->conn);
	if (ret < 0) {
		control_end(ctl, false, strerror(-ret));
		return;
	}
	ctl->wait = WAIT_DUMP;
}

static const struct {
	const char *verb;
	unsigned args_min, args_max;
	void (*fn)(struct control *ctl, const char *arg);
} verbs[] = {
	{ "who",	0, 1, verb_who },
	{ "sleep",	1, 1, verb_sleep },
	{ "wake",	1, 1, verb_wake },
	{ "kick",	1, 1, verb_kick },
	{ "holder",	0, 0, verb_holder },
	{ "state-dump",	1, 1, verb_state_dump },
};

static void control_request(struct control *ctl, struct ipc_in *in)
{
	const char *verb = ipc_in_str(in), *arg = "";
	uint32_t n = ipc_in_array(in);

	if (n == 1)
		arg = ipc_in_str(in);
	if (ipc_in_type(in) != CTL_REQUEST || n > 1 || !ipc_in_done(in)) {
		control_end(ctl, false, "bad request");
		return;
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].verb, verb) != 0)
			continue;
		if (n < verbs[i].args_min || n > verbs[i].args_max)
			control_end(ctl, false, "wrong number of arguments");
		else
			verbs[i].fn(ctl, arg);
		return;
	}
	control_end(ctl, false, "unknown verb");
}

/* ---- the connection ---- */

static void control_ready(void *ctx, uint32_t events)
{
	struct control *ctl = ctx;
	struct ipc_in *in;
	int ret;

	if (events & EPOLLOUT) {
		who_rows(ctl);
		return;
	}
	ret = ipc_recv(ctl->fd, &in);
	if (ret == -EAGAIN)
		return;
	/* One request; after that only the end is awaited. */
	if (ret < 0 || ctl->wait != WAIT_REQUEST) {
		if (ret == 0)
			ipc_in_destroy(&in);
		control_close(ctl);
		return;
	}
	control_request(ctl, in);
	ipc_in_destroy(&in);
}

void control_accept(struct holder *h, int fd)
{
	struct control *ctl = calloc(1, sizeof(*ctl));

	if (!ctl) {
		close(fd);
		return;
	}
	ctl->holder = h;
	ctl->fd = fd;
	list_init(&ctl->node);
	if (ipc_set_blocking(fd, false) < 0 ||
	    loop_add(h->loop, &ctl->io, fd, EPOLLIN, control_ready, ctl) < 0) {
		control_close(ctl);
		return;
	}
	list_append(&h->controls, &ctl->node);
}

void control_deinit(struct holder *h)
{
	list_for_each_safe(node, &h->controls)
		control_close(container_of(node, struct control, node));
}

/* ---- what they wait for ---- */

static void sleep_event(struct control *ctl, enum control_event event, const char *text)
{
	struct conn *c;

	switch (event) {
	case CONTROL_KEPT:
		control_end(ctl, true, "");
		break;
	case CONTROL_TAKEN:
		/* It was waking when the operator spoke. */
		c = awake_conn(ctl->holder, ctl->sid);
		if (c)
			conn_do(c, DO_SLEEP);
		break;
	case CONTROL_GONE:
		control_end(ctl, false, "session ended");
		break;
	case CONTROL_NOT:
		control_end(ctl, false, text);
		break;
	}
}

static void wake_event(struct control *ctl, enum control_event event)
{
	switch (event) {
	case CONTROL_KEPT:
		control_end(ctl, true, "asleep again");
		break;
	case CONTROL_TAKEN:
		control_end(ctl, true, "");
		break;
	case CONTROL_GONE:
		control_end(ctl, false, "session ended");
		break;
	case CONTROL_NOT:
		break;
	}
}

void control_event(struct holder *h, uint64_t sid, enum control_event event,
		   const char *text)
{
	list_for_each_safe(node, &h->controls) {
		struct control *ctl = container_of(node, struct control, node);

		if (ctl->sid != sid)
			continue;
		if (ctl->wait == WAIT_SLEEP)
			sleep_event(ctl, event, text);
		else if (ctl->wait == WAIT_WAKE)
			wake_event(ctl, event);
	}
}

static void dump_rows(struct control *ctl, const char *text)
{
	char *copy = strdup(text), *at = copy, *line;

	while (copy && (line = strsep(&at, "\n"))) {
		if (*line && send_row(ctl, &(struct row){ "line", line }, 1) < 0)
			break;
	}
	free(copy);
	control_end(ctl, copy != NULL, "");
}

void control_dumped(struct holder *h, uint32_t conn, const char *text)
{
	list_for_each_safe(node, &h->controls) {
		struct control *ctl = container_of(node, struct control, node);

		if (ctl->wait != WAIT_DUMP || ctl->conn != conn)
			continue;
		if (text)
			dump_rows(ctl, text);
		else
			control_end(ctl, false, "no spare could open it");
	}
}
