/* SPDX-License-Identifier: MIT */
/* Order: DROPs that wait go before any DUP, since one may concern the same
 * session; among DUPs order does not matter, so those that wait are found by a
 * cursor over all sleepers. A keeper that comes back tells first what it has
 * (another keeper may have handed over to it), then gets a DUP for every
 * record that it lacks (doc/handover.md, 14). */
#include "imap-hibernate/keeper-link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imap-hibernate/holder.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/ipc.h"
#include "lib/log.h"

#define MESSAGES_A_TURN	64
#define SHORT_RETRY_MS	20u

static void keeper_push(struct holder *h);

static void push_fire(void *ctx)
{
	keeper_push(ctx);
}

/* What could not be sent for -EAGAIN or another shortage. */
static void push_later(struct holder *h, int error)
{
	struct keeper_link *k = &h->keeper;

	if (error == -EAGAIN && k->io.active)
		loop_set_events(h->loop, &k->io, EPOLLIN | EPOLLOUT);
	else
		loop_timer_set(h->loop, &k->timer, SHORT_RETRY_MS, push_fire, h);
}

static int send_dup(struct holder *h, uint32_t slot)
{
	struct keeper_link *k = &h->keeper;
	struct sleeper *sl = &h->sleepers[slot];
	uint64_t sid = table_sid(h->table, slot), cookie = table_cookie(h->table, slot);
	struct ipc_out *out = ipc_out_create(IPC_DUP);
	uint32_t at = (k->sent_first + k->sent_count) % KEEPER_WINDOW;
	int ret;

	if (out) {
		ipc_out_u64(out, sid);
		ipc_out_u64(out, cookie);
		ipc_out_fd(out, sl->fd);
	}
	ret = ipc_send_free(k->fd, &out);
	if (ret < 0)
		return ret;
	fault("hold-dup");
	k->sent[at].sid = sid;
	k->sent[at].cookie = cookie;
	k->sent[at].slot = slot;
	k->sent_count++;
	sl->flags |= SL_DUP_SENT;
	return 0;
}

static int send_drop(struct holder *h, const struct keeper_drop *drop)
{
	struct ipc_out *out = ipc_out_create(IPC_DROP);

	if (out) {
		ipc_out_u64(out, drop->sid);
		ipc_out_u64(out, drop->cookie);
	}
	return ipc_send_free(h->keeper.fd, &out);
}

static int push_drops(struct holder *h)
{
	struct keeper_link *k = &h->keeper;
	int ret = 0;

	while (k->drops_count > 0 && ret == 0) {
		ret = send_drop(h, &k->drops[k->drops_first]);
		if (ret == 0) {
			k->drops_first++;
			k->drops_count--;
		}
	}
	if (k->drops_count == 0)
		k->drops_first = 0;
	return ret;
}

static int push_dups(struct holder *h)
{
	struct keeper_link *k = &h->keeper;
	int ret = 0;

	for (; k->cursor < table_slots(h->table) && k->sent_count < KEEPER_WINDOW; k->cursor++) {
		const struct sleeper *sl = &h->sleepers[k->cursor];

		if (sl->phase == SLEEPER_FREE || (sl->flags & (SL_KEPT | SL_DUP_SENT)))
			continue;
		/* Its lock first; nothing to keep until then (step 3). */
		if (sl->phase == SLEEPER_LOCKING && (sl->flags & SL_TELL))
			continue;
		ret = send_dup(h, k->cursor);
		if (ret < 0)
			break;
	}
	return ret;
}

static void keeper_push(struct holder *h)
{
	int ret;

	if (!h->keeper.up)
		return;
	ret = push_drops(h);
	if (ret == 0)
		ret = push_dups(h);
	if (ret < 0 && ret != -EPIPE)
		push_later(h, ret);
}

void keeper_link_store(struct holder *h, uint32_t slot)
{
	struct keeper_link *k = &h->keeper;

	/* Mostly nothing waits. */
	if (k->up && k->drops_count == 0 && k->cursor >= table_slots(h->table) &&
	    k->sent_count < KEEPER_WINDOW && send_dup(h, slot) == 0) {
		k->cursor = table_slots(h->table);
		return;
	}
	if (slot < k->cursor)
		k->cursor = slot;
	keeper_push(h);
}

static bool drop_queue(struct keeper_link *k, uint64_t sid, uint64_t cookie)
{
	if (k->drops_first + k->drops_count == k->drops_room) {
		uint32_t room = k->drops_room ? k->drops_room * 2 : 64;
		struct keeper_drop *drops = reallocarray(k->drops, room, sizeof(*drops));

		if (!drops)
			return false;
		k->drops = drops;
		k->drops_room = room;
	}
	k->drops[k->drops_first + k->drops_count++] = (struct keeper_drop){ sid, cookie };
	return true;
}

void keeper_link_drop(struct holder *h, uint32_t slot)
{
	struct keeper_link *k = &h->keeper;
	struct sleeper *sl = &h->sleepers[slot];

	for (uint32_t i = 0; i < k->sent_count; i++) {
		uint32_t at = (k->sent_first + i) % KEEPER_WINDOW;

		if (k->sent[at].slot == slot)
			k->sent[at].slot = NONE;
	}
	/* Without a keeper there is nothing to take back: the next one is told
	   of what we have, or tells what it has. */
	if ((sl->flags & (SL_KEPT | SL_DUP_SENT)) && k->fd >= 0)
		keeper_link_drop_other(h, table_sid(h->table, slot),
				       table_cookie(h->table, slot));
}

void keeper_link_drop_other(struct holder *h, uint64_t sid, uint64_t cookie)
{
	if (!drop_queue(&h->keeper, sid, cookie))
		log_error("drop", "id=%016llx error=memory", (unsigned long long)sid);
	keeper_push(h);
}

/* ---- from the keeper ---- */

static void keeper_lost(struct holder *h, const char *why)
{
	struct keeper_link *k = &h->keeper;

	if (k->fd < 0)
		return;
	log_warn("keeper-lost", "reason=%s held=%u", why, h->n_held);
	holder_locks_unsure(h);
	loop_remove(h->loop, &k->io);
	loop_timer_cancel(h->loop, &k->timer);
	fd_close(&k->fd);
	k->up = false;
	k->sent_count = k->drops_count = k->drops_first = 0;
	for (uint32_t slot = 0; slot < table_slots(h->table); slot++)
		h->sleepers[slot].flags &= (uint8_t)~(SL_KEPT | SL_DUP_SENT);
	/* Who was about to sleep stays awake meanwhile. */
	sleepers_no_keeper(h);
}

/* The answer to the oldest DUP of that session; its sleeper, or NONE. */
static uint32_t answered(struct keeper_link *k, uint64_t sid, uint64_t cookie)
{
	for (uint32_t i = 0; i < k->sent_count; i++) {
		uint32_t at = (k->sent_first + i) % KEEPER_WINDOW;
		uint32_t slot = k->sent[at].slot;

		if (k->sent[at].sid != sid || k->sent[at].cookie != cookie)
			continue;
		/* The keeper answers in order; what is older is not coming. */
		k->sent_first = (at + 1) % KEEPER_WINDOW;
		k->sent_count -= i + 1;
		return slot;
	}
	return NONE;
}

static bool dup_answer(struct holder *h, struct ipc_in *in, bool ok)
{
	uint64_t sid = ipc_in_u64(in), cookie = ipc_in_u64(in);
	const char *reason = ok ? "" : ipc_in_str(in);
	uint32_t slot;

	if (!ipc_in_done(in))
		return false;
	slot = answered(&h->keeper, sid, cookie);
	if (slot == NONE)
		return true;
	if (ok)
		sleeper_stored(h, slot);
	else
		sleeper_not_stored(h, slot, reason);
	return true;
}

/* It holds these already; the descriptors are more duplicates of ours. */
static bool dups(struct holder *h, struct ipc_in *in)
{
	uint32_t n = ipc_in_array(in);
	struct ipc_out *out;

	if (n != ipc_in_fd_count(in))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot;
		uint64_t sid, cookie;
		int fd;

		if (ipc_in_array(in) != 2)
			return false;
		sid = ipc_in_u64(in);
		cookie = ipc_in_u64(in);
		fd = ipc_in_fd(in);
		if (ipc_in_bad(in))
			return false;
		slot = sleeper_find(h, sid, cookie);
		holder_close_foreign(h, fd);
		if (slot != NONE)
			h->sleepers[slot].flags |= SL_KEPT;
		else
			drop_queue(&h->keeper, sid, cookie);
	}
	out = ipc_out_create(IPC_DUPS_OK);
	return ipc_send_free(h->keeper.fd, &out) == 0;
}

static int keep_item(struct holder *h, const char *name, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_KEEP);

	if (out) {
		ipc_out_str(out, name);
		ipc_out_fd(out, fd);
	}
	return ipc_send_free(h->keeper.fd, &out);
}

void keeper_link_up(struct holder *h)
{
	struct keeper_link *k = &h->keeper;
	int ret = keep_item(h, "table", table_fd(h->table));

	if (ret == 0)
		ret = keep_item(h, "inotify", h->watches.fd);
	if (ret < 0) {
		keeper_lost(h, strerror(-ret));
		return;
	}
	k->up = true;
	k->cursor = 0;
	log_info("keeper", "held=%u", h->n_held);
	keeper_push(h);
	/* Those that came before it and wait for nothing but this. */
	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase == SLEEPER_STORING &&
		    (h->sleepers[slot].flags & SL_KEPT))
			sleeper_stored(h, slot);
	}
}

static bool keeper_message(struct holder *h, struct ipc_in *in)
{
	switch (ipc_in_type(in)) {
	case IPC_DUP_OK:
		return dup_answer(h, in, true);
	case IPC_DUP_NO:
		return dup_answer(h, in, false);
	case IPC_KEEP_OK:
		return true;
	case IPC_KEPT_ITEM:
		return !h->keeper.up;	/* we have them: closed with the message */
	case IPC_DUPS:
		return !h->keeper.up && dups(h, in);
	case IPC_FETCH_END:
		if (h->keeper.up)
			return false;
		keeper_link_up(h);
		return true;
	default:
		return false;
	}
}

static void keeper_ready(void *ctx, uint32_t events)
{
	struct holder *h = ctx;
	struct keeper_link *k = &h->keeper;
	int ret = 0;

	if (events & EPOLLOUT) {
		loop_set_events(h->loop, &k->io, EPOLLIN);
		keeper_push(h);
	}
	for (int i = 0; i < MESSAGES_A_TURN && k->fd >= 0; i++) {
		struct ipc_in *in;
		bool good;

		ret = ipc_recv(k->fd, &in);
		if (ret < 0)
			break;
		good = keeper_message(h, in);
		ipc_in_destroy(&in);
		if (!good)
			ret = -EBADMSG;
		if (!good)
			break;
	}
	if (ret < 0 && ret != -EAGAIN)
		keeper_lost(h, ret == -EPIPE ? "ended" : strerror(-ret));
	else if (k->fd >= 0 && k->up && k->cursor < table_slots(h->table))
		keeper_push(h);
}

bool keeper_link_settled(const struct holder *h)
{
	const struct keeper_link *k = &h->keeper;

	return k->up && k->cursor >= table_slots(h->table) && k->sent_count == 0 &&
	       k->drops_count == 0;
}

/* ---- life ---- */

void keeper_link_init(struct keeper_link *k)
{
	k->fd = -1;
}

void keeper_link_attach(struct holder *h, int fd)
{
	struct keeper_link *k = &h->keeper;
	int ret;

	if (k->fd >= 0)
		keeper_lost(h, "replaced");
	k->fd = fd;
	ret = ipc_set_blocking(fd, false);
	if (ret == 0)
		ret = loop_add(h->loop, &k->io, fd, EPOLLIN, keeper_ready, h);
	if (ret < 0)
		keeper_lost(h, strerror(-ret));
}

void keeper_link_deinit(struct holder *h)
{
	struct keeper_link *k = &h->keeper;

	loop_remove(h->loop, &k->io);
	loop_timer_cancel(h->loop, &k->timer);
	fd_close(&k->fd);
	free(k->drops);
	k->drops = NULL;
}
