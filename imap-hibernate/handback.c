/* SPDX-License-Identifier: MIT */
/* WAKE is a raw packet, since its reader still is root when it looks at the
 * head (lib/ipc-proto.h has the layout). The reply end that goes along is made
 * for each wake: its end of file tells that the spare is gone, also when the
 * packet was never read. */
#include "imap-hibernate/handback.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "imap-hibernate/holder.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/fence.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/log.h"

/* More than one packet per spare waits, so that none runs dry. */
#define WAKING_SPARE_EXTRA	8u
#define SHORT_RETRY_MS		100u

/* 0, or -errno. */
static int packet_build(struct holder *h, const struct table_entry *e, unsigned cause,
			unsigned tries, bool unchanged)
{
	struct buf *b = &h->wake_buf;

	buf_reset(b);
	buf_append_u8(b, RAW_WAKE);
	buf_append(b, e->ticket, e->ticket_len);
	buf_append_u64(b, e->written);
	buf_append_u64(b, e->consumed);
	buf_append_u8(b, e->n_keepalives);
	for (unsigned i = 0; i < e->n_keepalives; i++)
		buf_append_u16(b, e->keepalive_len[i]);
	buf_append(b, e->keepalives, e->keepalives_len);
	buf_append_u8(b, (uint8_t)cause);
	buf_append_u8(b, (uint8_t)tries);
	buf_append_u64(b, unchanged ? h->generation : 0);
	buf_append_u32(b, (uint32_t)e->state_len);
	buf_append(b, e->state, e->state_len);
	return b->failed ? -ENOMEM : 0;
}

/* Sends the packet in wake_buf with the client and a fresh reply end. */
static int packet_send(struct holder *h, int client, uid_t uid, enum conn_state state,
		       struct conn **c_r)
{
	int pair[2], fds[2], ret;
	struct conn *c;

	ret = ipc_pair(pair);
	if (ret < 0)
		return ret;
	/* Before the other end can have sent anything. */
	ret = ipc_set_passcred(pair[0]);
	c = conn_create(h, pair[0], uid, state);
	if (c)
		c->ours = true;
	if (!c || ret < 0) {
		close(pair[1]);
		if (c)
			conn_close(c, NULL);
		return ret < 0 ? ret : -ENOMEM;
	}
	fds[0] = client;
	fds[1] = pair[1];
	ret = ipc_send_raw(h->wake_queue, h->wake_buf.data, h->wake_buf.len, fds, 2);
	close(pair[1]);
	if (ret < 0) {
		conn_close(c, NULL);
		return ret;
	}
	*c_r = c;
	return 0;
}

/* What the spare is told to do. */
static unsigned cause_of(struct holder *h, uint32_t slot)
{
	const struct sleeper *sl = &h->sleepers[slot];

	if (sl->cause == WAKE_KICK || sl->cause == WAKE_STOP)
		return sl->cause;
	if ((sl->flags & SL_REFUSED) || table_tries(h->table, slot) >= WAKE_TRIES_MAX)
		return WAKE_FAILED_BEFORE;
	return sl->cause;
}

/* Its mailbox was watched all the time and nothing happened, or it has none. */
static bool is_unchanged(struct holder *h, uint32_t slot)
{
	unsigned flags = table_flags(h->table, slot);

	if (table_changed(h->table, slot) || (flags & SLEEP_POLL))
		return false;
	if (!(flags & SLEEP_SELECTED))
		return true;
	return watch_subscribed(&h->sleepers[slot].sub);
}

/* Step 8. 0; -EAGAIN: the queue is full; or -errno. */
static int handback_send(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];
	unsigned cause = cause_of(h, slot);
	struct table_entry e;
	struct conn *c;
	int ret;

	/* What is known until now, and no more than that: when many wake, their watches go,
	   and each that goes is an event, too. */
	watch_drain(&h->watches);
	table_read(h->table, slot, &e);
	ret = packet_build(h, &e, cause, table_tries(h->table, slot), is_unchanged(h, slot));
	if (ret < 0)
		return ret;
	/* It left the epoll set when it was queued. */
	fence_unlock(sl->fd);
	fault("hold-unlocked");
	ret = packet_send(h, sl->fd, e.uid, CONN_WAKING, &c);
	if (ret < 0) {
		sleeper_unsent(h, slot, fence_lock(sl->fd) == 0);
		return ret;
	}
	c->sid = e.sid;
	c->cookie = e.cookie;
	fault("hold-wake");
	sleeper_sent(h, slot, c->number, cause);
	return 0;
}

static void queue_writable(void *ctx, uint32_t events)
{
	struct holder *h = ctx;

	loop_remove(h->loop, &h->wake_io);
	handback_pump(h);
}

static void wake_fire(void *ctx)
{
	handback_pump(ctx);
}

void handback_pump(struct holder *h)
{
	int ret = 0;

	while (ret == 0 && h->queued.first != NONE && h->n_waking < h->waking_max &&
	       !h->wake_io.active)
		ret = handback_send(h, h->queued.first);
	if (ret == -EAGAIN)
		ret = loop_add(h->loop, &h->wake_io, h->wake_queue, EPOLLOUT,
			       queue_writable, h);
	if (ret < 0) {
		log_warn("wake-queue", "error=%s queued=%u", strerror(-ret), h->queued.count);
		loop_timer_set(h->loop, &h->wake_timer, SHORT_RETRY_MS, wake_fire, h);
	}
}

int handback_dump(struct holder *h, uint32_t slot, uint32_t *conn_r)
{
	struct table_entry e;
	struct conn *c;
	int ret;

	table_read(h->table, slot, &e);
	ret = packet_build(h, &e, WAKE_DUMP, 0, false);
	if (ret == 0)
		ret = packet_send(h, h->sleepers[slot].fd, e.uid, CONN_DUMPING, &c);
	if (ret < 0)
		return ret;
	c->sid = e.sid;
	c->cookie = e.cookie;
	*conn_r = c->number;
	return 0;
}

int handback_init(struct holder *h)
{
	buf_init(&h->wake_buf, IPC_MESSAGE_MAX);
	h->waking_max = h->settings.spares + WAKING_SPARE_EXTRA;
	h->wake_timer.fn = wake_fire;
	return 0;
}

void handback_deinit(struct holder *h)
{
	loop_timer_cancel(h->loop, &h->wake_timer);
	loop_remove(h->loop, &h->wake_io);
	buf_deinit(&h->wake_buf);
}
