/* SPDX-License-Identifier: MIT */
/* Two kinds of connection: master's, which comes over the listener, and the
 * holder's, whose end master sends in CHANNEL.
 *
 * Of each kind one is served at a time, and the next one waits until the one
 * before it has been read to its end (handover.md, 13): what a dead master or
 * holder had sent must be in the tables before its successor asks for them.
 * For masters the listener's own queue is where they wait; holders wait in a
 * short list here.
 *
 * A connection is a small machine. It reads a request only when nothing is
 * left to send; an answer of many messages (FETCH, a new holder's welcome) is
 * a phase of its own, gone through as the socket takes it. */
#include "master/keeper.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "master/keeper-table.h"

/* Listeners, queues, key, table, inotify; a configuration has at most 32
 * listeners, and old ones stay until the keeper ends. */
#define KEEPER_ITEMS_MAX	256
#define KEEPER_NAME_MAX_BYTES	127
/* Our own listener among the items that a successor gets. */
#define LISTENER_ITEM		"(listener)"
/* Kept free for a message's descriptor, new connections and holders that wait. */
#define KEEPER_SPARE_FDS	32
/* Holders started and dead again while one is being read to its end. */
#define KEEPER_WAITING_MAX	8
/* One turn of the loop reads at most this many messages of one connection. */
#define KEEPER_TURN_MESSAGES	64
/* The old keeper is silent for so long: it hangs. */
#define SUCCEED_MS		5000
/* accept() failed, and would again at once: the connection is still there. */
#define KEEPER_ACCEPT_AGAIN_MS	100

enum conn_phase {
	CONN_REQUESTS,		/* reads the next request */
	CONN_ITEMS,		/* sends KEPT_ITEM, from next_item on */
	CONN_DUPS,		/* sends DUPS, from descriptor next_fd on */
	CONN_DUPS_OK,		/* waits for DUPS_OK */
	CONN_END,		/* sends FETCH_END */
};
enum conn_kind { CONN_MASTER, CONN_HOLDER, CONN_SUCCESSOR };
struct conn {
	struct keeper *keeper;
	struct loop_io io;
	int fd;			/* -1: nobody */
	enum conn_kind kind;
	enum conn_phase phase;
	unsigned next_item;
	int next_fd;
	struct ipc_out *unsent;	/* the socket was full */
};
struct item {
	char *name;
	int fd;
};
struct keeper {
	struct loop *loop;
	struct loop_io listen_io;
	struct loop_timer listen_timer;
	int listen_fd;
	uint32_t max_fds;
	uid_t uid;		/* before rights were dropped */
	struct conn master, holder, successor;
	struct loop_timer alone_timer;
	uint64_t alone_ms;	/* how long without a master; 0: for ever */
	int waiting[KEEPER_WAITING_MAX];
	unsigned n_waiting;
	struct item items[KEEPER_ITEMS_MAX];
	unsigned n_items;
	struct keeper_table dups;
};

static void conn_ready(void *ctx, uint32_t events);
static void keeper_accept(void *ctx, uint32_t events);
static void keeper_next_holder(struct keeper *k);
static void conn_listen(struct keeper *k, struct conn *c);
static void alone_begin(struct keeper *k);

static const char *conn_name(const struct conn *c)
{
	static const char *const names[] = { "master", "holder", "successor" };

	return names[c->kind];
}

/* ---- named descriptors ---- */

static struct item *item_find(struct keeper *k, const char *name)
{
	for (unsigned i = 0; i < k->n_items; i++) {
		if (strcmp(k->items[i].name, name) == 0)
			return &k->items[i];
	}
	return NULL;
}

/* Takes fd over in any case. */
static int item_keep(struct keeper *k, const char *name, int fd)
{
	struct item *it = item_find(k, name);
	char *copy;

	if (it) {
		close(it->fd);
		it->fd = fd;
		return 0;
	}
	copy = k->n_items < KEEPER_ITEMS_MAX &&
	       strlen(name) <= KEEPER_NAME_MAX_BYTES ? strdup(name) : NULL;
	if (!copy) {
		close(fd);
		return -ENOSPC;
	}
	k->items[k->n_items++] = (struct item){ copy, fd };
	return 0;
}

/* The table and the inotify instance are for the holder alone, the rest for
 * master alone; a successor gets all. */
static bool item_is_for(const struct item *it, const struct conn *c)
{
	bool holders = strcmp(it->name, "table") == 0 ||
		       strcmp(it->name, "inotify") == 0;

	return c->kind == CONN_SUCCESSOR || holders == (c->kind == CONN_HOLDER);
}

/* ---- a connection's end ---- */

static void conn_close(struct conn *c, const char *why)
{
	struct keeper *k = c->keeper;

	log_info("connection-end", "peer=%s reason=%s held=%u", conn_name(c),
		 log_str(why), k->dups.count);
	loop_remove(k->loop, &c->io);
	ipc_out_destroy(&c->unsent);
	fd_close(&c->fd);
	switch (c->kind) {
	case CONN_HOLDER:
		keeper_next_holder(k);
		return;
	case CONN_MASTER:
		loop_set_events(k->loop, &k->listen_io, EPOLLIN);
		alone_begin(k);
		return;
	case CONN_SUCCESSOR:
		/* It did not come up: we go on as if nothing had been. */
		conn_listen(k, &k->master);
		conn_listen(k, &k->holder);
		return;
	}
}

static int conn_open(struct conn *c, int fd)
{
	struct keeper *k = c->keeper;
	int ret = loop_add(k->loop, &c->io, fd, EPOLLIN, conn_ready, c);

	if (ret < 0) {
		log_error("connection", "peer=%s error=%s", conn_name(c),
			  log_str(strerror(-ret)));
		close(fd);
		return ret;
	}
	c->fd = fd;
	c->phase = CONN_REQUESTS;
	log_info("connection", "peer=%s held=%u", conn_name(c), k->dups.count);
	return 0;
}

/* The holder that has waited longest is served once the one before is gone. */
static void keeper_next_holder(struct keeper *k)
{
	while (k->holder.fd < 0 && k->n_waiting > 0 && k->successor.fd < 0) {
		int fd = k->waiting[0];

		memmove(k->waiting, k->waiting + 1,
			--k->n_waiting * sizeof(k->waiting[0]));
		if (conn_open(&k->holder, fd) < 0)
			continue;
		k->holder.phase = CONN_ITEMS;
		k->holder.next_item = 0;
		/* Sending starts when the socket says that it can. */
		loop_set_events(k->loop, &k->holder.io, EPOLLOUT);
	}
}

/* ---- sending ---- */

/* 0: sent; 1: kept for later; -errno: the connection is of no use. */
static int conn_send(struct conn *c, struct ipc_out *out)
{
	int ret = out ? ipc_send(c->fd, out) : -ENOMEM;

	if (ret == -EAGAIN) {
		c->unsent = out;
		return 1;
	}
	ipc_out_destroy(&out);
	return ret;
}

static int send_item(struct conn *c, const char *name, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_KEPT_ITEM);

	if (out) {
		ipc_out_str(out, name);
		ipc_out_fd(out, fd);
	}
	return conn_send(c, out);
}

static int conn_send_item(struct conn *c)
{
	struct keeper *k = c->keeper;
	struct item *it;

	while (c->next_item < k->n_items && !item_is_for(&k->items[c->next_item], c))
		c->next_item++;
	if (c->next_item == k->n_items) {
		c->phase = c->kind != CONN_MASTER ? CONN_DUPS : CONN_END;
		c->next_fd = 0;
		return c->kind == CONN_SUCCESSOR ?
		       send_item(c, LISTENER_ITEM, k->listen_fd) : 0;
	}
	it = &k->items[c->next_item++];
	(void)fault(c->kind == CONN_MASTER ? "keeper-master-item" : "keeper-item");
	return send_item(c, it->name, it->fd);
}

/* The next batch of duplicates; the holder says OK before it gets another, so
 * that the number of descriptors in flight stays below any limit. */
static int conn_send_dups(struct conn *c)
{
	struct keeper *k = c->keeper;
	struct keeper_key keys[IPC_FDS_MAX];
	int fds[IPC_FDS_MAX], fd = c->next_fd;
	struct ipc_out *out;
	unsigned n = 0;

	while (n < IPC_FDS_MAX &&
	       (fd = keeper_table_next(&k->dups, fd, &keys[n].sid, &keys[n].cookie)) >= 0)
		fds[n++] = fd++;
	if (n == 0) {
		c->phase = CONN_END;
		return 0;
	}
	(void)fault("keeper-dups");
	c->next_fd = fds[n - 1] + 1;
	c->phase = CONN_DUPS_OK;
	out = ipc_out_create(IPC_DUPS);
	if (!out)
		return -ENOMEM;
	ipc_out_array(out, n);
	for (unsigned i = 0; i < n; i++) {
		ipc_out_array(out, 2);
		ipc_out_u64(out, keys[i].sid);
		ipc_out_u64(out, keys[i].cookie);
		ipc_out_fd(out, fds[i]);
	}
	return conn_send(c, out);
}

static int conn_send_end(struct conn *c)
{
	c->phase = CONN_REQUESTS;
	(void)fault("keeper-end");
	return conn_send(c, ipc_out_create(IPC_FETCH_END));
}

/* ---- requests ---- */

static int request_keep(struct conn *c, struct ipc_in *in)
{
	const char *name = ipc_in_str(in);
	int fd = ipc_in_fd(in), ret;
	struct ipc_out *out;

	if (!ipc_in_done(in) || !*name) {
		if (fd >= 0)
			close(fd);
		return -EBADMSG;
	}
	ret = item_keep(c->keeper, name, fd);
	if (ret < 0)
		return ret;
	log_debug("keep", "name=%s fd=%d", log_str(name), fd);
	out = ipc_out_create(IPC_KEEP_OK);
	if (out)
		ipc_out_str(out, name);
	return conn_send(c, out);
}

static int request_fetch(struct conn *c, struct ipc_in *in)
{
	if (!ipc_in_done(in))
		return -EBADMSG;
	c->phase = CONN_ITEMS;
	c->next_item = 0;
	c->keeper->alone_ms = 0;	/* a start, not only somebody who looks */
	return 0;
}

/* An upgrade. Nothing changes here until the successor has it all (or is gone): the
 * others are not read, so what they say waits for it, or for us. */
static int successor_begin(struct keeper *k, int fd)
{
	int ret;

	if (k->successor.fd >= 0) {
		close(fd);
		return -EBADMSG;
	}
	ret = conn_open(&k->successor, fd);
	if (ret < 0)
		return 0;	/* it sees its end, and we go on */
	k->successor.phase = CONN_ITEMS;
	k->successor.next_item = 0;
	loop_set_events(k->loop, &k->successor.io, EPOLLOUT);
	loop_set_events(k->loop, &k->listen_io, 0);
	return 0;
}

static int request_channel(struct conn *c, struct ipc_in *in)
{
	struct keeper *k = c->keeper;
	uint32_t role = ipc_in_u32(in);
	int fd = ipc_in_fd(in);

	if (!ipc_in_done(in) || (role != ROLE_HOLDER && role != ROLE_KEEPER)) {
		if (fd >= 0)
			close(fd);
		return -EBADMSG;
	}
	if (role == ROLE_KEEPER)
		return successor_begin(k, fd);
	if (k->n_waiting == KEEPER_WAITING_MAX) {
		/* The last of them cannot have been told anything yet. */
		close(k->waiting[--k->n_waiting]);
		log_warn("holder-dropped", "waiting=%d", KEEPER_WAITING_MAX);
	}
	k->waiting[k->n_waiting++] = fd;
	keeper_next_holder(k);
	return 0;
}

static int answer_dup(struct conn *c, uint64_t sid, uint64_t cookie, const char *refusal)
{
	struct ipc_out *out = ipc_out_create(refusal ? IPC_DUP_NO : IPC_DUP_OK);

	if (out) {
		ipc_out_u64(out, sid);
		ipc_out_u64(out, cookie);
		if (refusal)
			ipc_out_str(out, refusal);
	}
	return conn_send(c, out);
}

static int request_dup(struct conn *c, struct ipc_in *in)
{
	struct keeper *k = c->keeper;
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	int fd = ipc_in_fd(in), old;

	if (!ipc_in_done(in)) {
		if (fd >= 0)
			close(fd);
		return -EBADMSG;
	}
	(void)fault("keeper-dup");
	/* Repeated: the new one replaces the old one. */
	old = keeper_table_remove(&k->dups, sid, cookie);
	if (old >= 0)
		close(old);
	if ((uint32_t)fd >= k->max_fds - KEEPER_SPARE_FDS || fault("keeper-full")) {
		close(fd);
		return answer_dup(c, sid, cookie, "the keeper's descriptors are used up");
	}
	keeper_table_add(&k->dups, sid, cookie, fd);
	(void)fault("keeper-duped");
	return answer_dup(c, sid, cookie, NULL);
}

static int request_drop(struct conn *c, struct ipc_in *in)
{
	struct keeper *k = c->keeper;
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	int fd;

	if (!ipc_in_done(in))
		return -EBADMSG;
	(void)fault("keeper-drop");
	fd = keeper_table_remove(&k->dups, sid, cookie);
	if (fd >= 0)
		close(fd);
	return 0;
}

static int request_dups_ok(struct conn *c, struct ipc_in *in)
{
	if (!ipc_in_done(in) || c->phase != CONN_DUPS_OK)
		return -EBADMSG;
	c->phase = CONN_DUPS;
	return 0;
}

/* The successor has everything: the end of our life, and of nothing else. */
static int request_ready(struct conn *c, struct ipc_in *in)
{
	if (!ipc_in_done(in) || c->phase != CONN_REQUESTS)
		return -EBADMSG;
	(void)fault("keeper-succeeded");
	log_info("succeeded", "held=%u", c->keeper->dups.count);
	loop_stop(c->keeper->loop);
	return -EAGAIN;
}

static int request_alone(struct conn *c, struct ipc_in *in)
{
	uint64_t ms = ipc_in_u64(in);

	if (!ipc_in_done(in))
		return -EBADMSG;
	c->keeper->alone_ms = ms;
	return 0;
}

/* A DUP whose descriptor our limit cut off is refused by name; nothing else of
 * it is at fault, and the holder has nobody else to turn to. */
static int request_cut(struct conn *c, struct ipc_in *in)
{
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	int old;

	if (c->kind != CONN_HOLDER || ipc_in_type(in) != IPC_DUP || !ipc_in_done(in))
		return -EBADMSG;
	log_warn("descriptors", "held=%u error=%s", c->keeper->dups.count,
		 log_str(strerror(EMFILE)));
	/* As ever: the new one replaces the old one, and there is none. */
	old = keeper_table_remove(&c->keeper->dups, sid, cookie);
	if (old >= 0)
		close(old);
	return answer_dup(c, sid, cookie, "the keeper's descriptors are used up");
}

/* Who may ask for what. */
static const struct request {
	uint32_t type;
	enum conn_kind who[2];
	int (*fn)(struct conn *c, struct ipc_in *in);
} requests[] = {
	{ IPC_KEEP,	{ CONN_HOLDER, CONN_MASTER },		request_keep },
	{ IPC_FETCH,	{ CONN_MASTER, CONN_MASTER },		request_fetch },
	{ IPC_CHANNEL,	{ CONN_MASTER, CONN_MASTER },		request_channel },
	{ IPC_DUP,	{ CONN_HOLDER, CONN_HOLDER },		request_dup },
	{ IPC_DROP,	{ CONN_HOLDER, CONN_HOLDER },		request_drop },
	{ IPC_DUPS_OK,	{ CONN_HOLDER, CONN_SUCCESSOR },	request_dups_ok },
	{ IPC_ALONE,	{ CONN_MASTER, CONN_MASTER },		request_alone },
	{ IPC_READY,	{ CONN_SUCCESSOR, CONN_SUCCESSOR },	request_ready },
};

static int conn_request(struct conn *c, struct ipc_in *in)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const enum conn_kind *who = requests[i].who;

		if (requests[i].type == ipc_in_type(in) &&
		    (who[0] == c->kind || who[1] == c->kind))
			return requests[i].fn(c, in);
	}
	return -EBADMSG;
}

/* A peer that died cannot be answered any more, and what it sent before it
 * died still counts: such failures to send are no reason to stop reading. */
static int conn_forgive_deafness(struct conn *c, int error)
{
	if (error != -EPIPE && error != -ECONNRESET)
		return error;
	c->phase = CONN_REQUESTS;
	return 0;
}

/* 0; -EAGAIN: nothing there; -EPIPE: all is read and the peer is gone;
 * otherwise the connection is of no use. */
static int conn_receive(struct conn *c)
{
	struct ipc_in *in;
	bool cut;
	int ret = ipc_recv_cut(c->fd, &in, &cut);

	if (ret < 0)
		return ret;
	ret = cut ? request_cut(c, in) : conn_request(c, in);
	ipc_in_destroy(&in);
	return conn_forgive_deafness(c, ret);
}

/* ---- the machine ---- */

static int conn_step(struct conn *c)
{
	switch (c->phase) {
	case CONN_REQUESTS:
	case CONN_DUPS_OK:
		return conn_receive(c);
	case CONN_ITEMS:
		return conn_forgive_deafness(c, conn_send_item(c));
	case CONN_DUPS:
		return conn_forgive_deafness(c, conn_send_dups(c));
	case CONN_END:
		return conn_forgive_deafness(c, conn_send_end(c));
	}
	abort();
}

static bool conn_reads(const struct conn *c)
{
	return c->phase == CONN_REQUESTS || c->phase == CONN_DUPS_OK;
}

/* Reading, or a rest to send, never both; nothing while a successor takes over. */
static void conn_listen(struct keeper *k, struct conn *c)
{
	uint32_t events = !c->unsent && conn_reads(c) ? EPOLLIN : EPOLLOUT;

	if (c->fd >= 0)
		loop_set_events(k->loop, &c->io,
				k->successor.fd >= 0 && c != &k->successor ? 0 : events);
}

static int conn_unsent(struct conn *c)
{
	struct ipc_out *out = c->unsent;

	c->unsent = NULL;
	return out ? conn_forgive_deafness(c, conn_send(c, out)) : 0;
}

static void conn_ready(void *ctx, uint32_t events)
{
	struct conn *c = ctx;
	struct keeper *k = c->keeper;
	int ret = conn_unsent(c);

	(void)events;
	for (int i = 0; i < KEEPER_TURN_MESSAGES && ret >= 0 && !c->unsent &&
	     (k->successor.fd < 0 || c == &k->successor); i++)
		ret = conn_step(c);
	if (ret < 0 && ret != -EAGAIN) {
		conn_close(c, ret == -EPIPE ? "closed" : strerror(-ret));
		return;
	}
	conn_listen(k, c);
}

/* A master stopped and asked us to wait for the next one. */
static void alone_over(void *ctx)
{
	struct keeper *k = ctx;

	log_warn("alone", "waited_ms=%llu lost=%u reason=%s", (unsigned long long)k->alone_ms,
		 k->dups.count, log_str("no other start came"));
	loop_stop(k->loop);
}

static void alone_begin(struct keeper *k)
{
	if (k->alone_ms > 0)
		loop_timer_set(k->loop, &k->alone_timer, k->alone_ms, alone_over, k);
}

static bool peer_is_permitted(const struct keeper *k, int fd)
{
	struct ipc_cred cred;

	if (ipc_peer_cred(fd, &cred) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == k->uid)
		return true;
	log_warn("refused", "uid=%u pid=%d", cred.uid, (int)cred.pid);
	return false;
}

static void keeper_accept_again(void *ctx)
{
	struct keeper *k = ctx;

	if (k->master.fd < 0)
		loop_set_events(k->loop, &k->listen_io, EPOLLIN);
}

static void keeper_accept(void *ctx, uint32_t events)
{
	struct keeper *k = ctx;
	int fd, ret = ipc_accept(k->listen_fd, &fd);

	(void)events;
	if (ret < 0) {
		if (ret == -EAGAIN)
			return;
		log_warn("accept", "error=%s", log_str(strerror(-ret)));
		loop_set_events(k->loop, &k->listen_io, 0);
		loop_timer_set(k->loop, &k->listen_timer, KEEPER_ACCEPT_AGAIN_MS,
			       keeper_accept_again, k);
		return;
	}
	if (!peer_is_permitted(k, fd)) {
		close(fd);
		return;
	}
	if (conn_open(&k->master, fd) < 0)
		return;
	loop_set_events(k->loop, &k->listen_io, 0);
	loop_timer_cancel(k->loop, &k->alone_timer);
}

struct keeper *keeper_create(struct loop *loop, int listen_fd, uint32_t max_fds)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int ret;

	if (!k)
		return NULL;
	assert(max_fds > 2 * KEEPER_SPARE_FDS);
	k->loop = loop;
	k->listen_fd = listen_fd;
	k->max_fds = max_fds;
	k->uid = geteuid();
	k->master = (struct conn){ .keeper = k, .kind = CONN_MASTER, .fd = -1 };
	k->holder = (struct conn){ .keeper = k, .kind = CONN_HOLDER, .fd = -1 };
	k->successor = (struct conn){ .keeper = k, .kind = CONN_SUCCESSOR, .fd = -1 };
	ret = keeper_table_init(&k->dups, max_fds);
	if (ret == 0 && listen_fd >= 0)
		ret = loop_add(loop, &k->listen_io, listen_fd, EPOLLIN, keeper_accept, k);
	if (ret < 0) {
		keeper_table_deinit(&k->dups);
		free(k);
		errno = -ret;
		return NULL;
	}
	return k;
}

static void conn_deinit(struct keeper *k, struct conn *c)
{
	loop_remove(k->loop, &c->io);
	ipc_out_destroy(&c->unsent);
	fd_close(&c->fd);
}

void keeper_destroy(struct keeper **keeper)
{
	struct keeper *k = *keeper;
	uint64_t sid, cookie;
	int fd = -1;

	if (!k)
		return;
	loop_remove(k->loop, &k->listen_io);
	loop_timer_cancel(k->loop, &k->listen_timer);
	conn_deinit(k, &k->master);
	conn_deinit(k, &k->holder);
	conn_deinit(k, &k->successor);
	loop_timer_cancel(k->loop, &k->alone_timer);
	while (k->n_waiting > 0)
		close(k->waiting[--k->n_waiting]);
	while ((fd = keeper_table_next(&k->dups, fd + 1, &sid, &cookie)) >= 0)
		close(fd);
	for (unsigned i = 0; i < k->n_items; i++) {
		close(k->items[i].fd);
		free(k->items[i].name);
	}
	keeper_table_deinit(&k->dups);
	free(k);
	*keeper = NULL;
}

void keeper_report(const struct keeper *k)
{
	log_info("report", "held=%u items=%u master=%s holder=%s waiting=%u",
		 k->dups.count, k->n_items, k->master.fd >= 0 ? "yes" : "no",
		 k->holder.fd >= 0 ? "yes" : "no", k->n_waiting);
	for (unsigned i = 0; i < k->n_items; i++)
		log_info("report-item", "name=%s fd=%d", log_str(k->items[i].name),
			 k->items[i].fd);
}

/* ---- taking over ---- */

static int successor_item(struct keeper *k, struct ipc_in *in)
{
	const char *name = ipc_in_str(in);
	int fd = ipc_in_fd(in);

	if (!ipc_in_done(in) || !*name) {
		fd_close(&fd);
		return -EBADMSG;
	}
	if (strcmp(name, LISTENER_ITEM) != 0)
		return item_keep(k, name, fd);
	/* The same socket as ours if the launcher had it. */
	loop_remove(k->loop, &k->listen_io);
	k->listen_fd = fd;
	return loop_add(k->loop, &k->listen_io, fd, EPOLLIN, keeper_accept, k);
}

static int successor_dups(struct keeper *k, int peer, struct ipc_in *in)
{
	uint32_t n = ipc_in_array(in);
	struct ipc_out *out;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t sid, cookie;
		int fd;

		if (ipc_in_array(in) != 2)
			return -EBADMSG;
		sid = ipc_in_u64(in);
		cookie = ipc_in_u64(in);
		fd = ipc_in_fd(in);
		if (ipc_in_bad(in))
			return -EBADMSG;
		if ((uint32_t)fd >= k->max_fds - KEEPER_SPARE_FDS) {
			close(fd);
			return -EMFILE;
		}
		keeper_table_add(&k->dups, sid, cookie, fd);
	}
	if (!ipc_in_done(in))
		return -EBADMSG;
	out = ipc_out_create(IPC_DUPS_OK);
	return ipc_send_free(peer, &out);
}

/* 1: that was all. */
static int successor_message(struct keeper *k, int peer, struct ipc_in *in)
{
	switch (ipc_in_type(in)) {
	case IPC_KEPT_ITEM:
		return successor_item(k, in);
	case IPC_DUPS:
		return successor_dups(k, peer, in);
	case IPC_FETCH_END:
		return 1;
	default:
		return -EBADMSG;
	}
}

int keeper_succeed(struct keeper *k, int peer)
{
	struct pollfd p = { .fd = peer, .events = POLLIN };
	struct ipc_out *out;
	int ret = 0;

	while (ret == 0) {
		struct ipc_in *in;

		ret = ipc_recv(peer, &in);
		if (ret == -EAGAIN) {
			ret = poll(&p, 1, SUCCEED_MS) > 0 ? 0 : -ETIMEDOUT;
			continue;
		}
		if (ret < 0)
			break;
		ret = successor_message(k, peer, in);
		ipc_in_destroy(&in);
	}
	if (ret < 0)
		return ret;
	(void)fault("keeper-succeeds");
	out = ipc_out_create(IPC_READY);
	ret = ipc_send_free(peer, &out);
	log_info("succeeds", "held=%u items=%u", k->dups.count, k->n_items);
	return ret;
}
