/* SPDX-License-Identifier: MIT */
/* The keeper has read its old connection to the end before it hands over, so
 * what comes here is all there is: table, inotify, duplicates in batches.
 *
 * Record and duplicate: look at fence and lock as ever. Record alone: its DUP
 * never arrived, so KEPT was never said and the imap has the session: void.
 * Duplicate alone: its record was voided, the DROP never arrived: drop it. */
#include "imap-hibernate/adopt.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "imap-hibernate/holder.h"
#include "imap-hibernate/notice.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/fence.h"
#include "lib/ipc.h"
#include "lib/log.h"

struct dup { uint64_t sid, cookie; int fd; };
struct legacy {
	int table, inotify;
	struct dup *dups;
	size_t n, room;
};

/* The next message from the keeper; also ends when master does. */
static int keeper_recv(struct holder *h, int fd, struct ipc_in **in_r)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = h->setup_fd } };
	int ret;

	for (;;) {
		ret = ipc_recv(fd, in_r);
		if (ret != -EAGAIN)
			return ret;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents & (POLLHUP | POLLERR))
			return -ECANCELED;
	}
}

static int take_item(struct legacy *l, struct ipc_in *in)
{
	const char *name = ipc_in_str(in);
	int fd = ipc_in_fd(in), *at;

	if (!ipc_in_done(in)) {
		fd_close(&fd);
		return -EBADMSG;
	}
	at = strcmp(name, "table") == 0 ? &l->table :
	     strcmp(name, "inotify") == 0 ? &l->inotify : NULL;
	if (at && *at < 0)
		*at = fd_steal(&fd);
	fd_close(&fd);
	return 0;
}

static int take_dups(struct legacy *l, int keeper, struct ipc_in *in)
{
	uint32_t n = ipc_in_array(in);
	struct ipc_out *out;

	if (n != ipc_in_fd_count(in))
		return -EBADMSG;
	if (l->n + n > l->room) {
		size_t room = (l->n + n) * 2;
		struct dup *dups = reallocarray(l->dups, room, sizeof(*dups));

		if (!dups)
			return -ENOMEM;
		l->dups = dups;
		l->room = room;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct dup d = { .fd = -1 };

		if (ipc_in_array(in) == 2) {
			d.sid = ipc_in_u64(in);
			d.cookie = ipc_in_u64(in);
			d.fd = ipc_in_fd(in);
		}
		if (d.fd < 0)
			return -EBADMSG;
		l->dups[l->n++] = d;
	}
	if (!ipc_in_done(in))
		return -EBADMSG;
	out = ipc_out_create(IPC_DUPS_OK);
	return ipc_send_free(keeper, &out);
}

/* 1: that was all. */
static int take_message(struct legacy *l, int keeper, struct ipc_in *in)
{
	switch (ipc_in_type(in)) {
	case IPC_KEPT_ITEM:
		return take_item(l, in);
	case IPC_DUPS:
		return take_dups(l, keeper, in);
	case IPC_FETCH_END:
		return 1;
	default:
		return -EBADMSG;
	}
}

static int take_all(struct holder *h, struct legacy *l, int keeper)
{
	int ret = 0;

	while (ret == 0) {
		struct ipc_in *in;

		ret = keeper_recv(h, keeper, &in);
		if (ret < 0)
			break;
		ret = take_message(l, keeper, in);
		ipc_in_destroy(&in);
	}
	return ret < 0 ? ret : 0;
}

/* ---- table and watches ---- */

static int adopt_table(struct holder *h, struct legacy *l)
{
	unsigned damaged = 0;
	int ret;

	if (l->table < 0)
		return table_create(&h->table);
	ret = table_adopt(&h->table, l->table, &damaged);
	fd_close(&l->table);
	if (damaged > 0)
		log_error("adopt", "damaged=%u", damaged);
	if (ret < 0) {
		/* A table that we cannot read: the sessions cannot be saved,
		   the service can. */
		log_error("adopt", "error=table reason=%s lost=%zu", strerror(-ret), l->n);
		return table_create(&h->table);
	}
	return 0;
}

static int allocate(struct holder *h)
{
	uint32_t cap = table_slots(h->table);

	/* A predecessor with a higher limit may have used more records. */
	if (cap < h->sleepers_max)
		cap = h->sleepers_max;
	h->sleepers = calloc(cap + 1, sizeof(*h->sleepers));
	if (!h->sleepers)
		return -ENOMEM;
	return wheel_init(&h->wheel, cap + 1);
}

/* Generations start anew, above all that were ever told. */
static void start_generation(struct holder *h)
{
	struct timespec now;
	uint64_t start;

	clock_gettime(CLOCK_REALTIME, &now);
	start = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	h->generation = table_generation(h->table);
	if (h->generation < start)
		h->generation = start;
	holder_next_generation(h);
}

static int adopt_watches(struct holder *h, struct legacy *l, int low_fd)
{
	bool lost = table_draining(h->table) || l->inotify < 0;
	int inotify = fd_steal(&l->inotify), ret;

	ret = watch_init(&h->watches, h->table, low_fd, inotify, notice_sub, notice_changed, h);
	if (ret < 0 || !lost)
		return ret;
	/* Events are lost: everybody counts as changed, and a watch may have
	   ended without anybody knowing. */
	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		if (table_used(h->table, slot))
			table_mark_changed(h->table, slot);
	}
	watch_forget_all(&h->watches);
	table_set_draining(h->table, false);
	return 0;
}

/* ---- sessions ---- */

static int dup_cmp(const void *a, const void *b)
{
	const struct dup *x = a, *y = b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

/* Whoever has something to tell wakes in this order. It begins elsewhere each time:
 * with one crash after the other, the last ones would never have their turn. */
static void adopt_sessions(struct holder *h, struct legacy *l, unsigned *alone_r)
{
	uint32_t slots = table_slots(h->table);
	unsigned alone = 0;

	if (l->n > 1)
		qsort(l->dups, l->n, sizeof(*l->dups), dup_cmp);
	for (uint32_t i = 0; i < slots; i++) {
		uint32_t slot = (uint32_t)((h->generation + i) % slots);
		struct dup key = { .fd = -1 }, *d = NULL;

		if (!table_used(h->table, slot))
			continue;
		key.cookie = table_cookie(h->table, slot);
		if (l->n > 0)
			d = bsearch(&key, l->dups, l->n, sizeof(*l->dups), dup_cmp);
		if (!d || d->fd < 0 || d->sid != table_sid(h->table, slot)) {
			table_void(h->table, slot);
			alone++;
			continue;
		}
		fault("hold-adopt");
		sleeper_adopt(h, slot, fd_steal(&d->fd));
	}
	*alone_r = alone;
}

/* What is left in the list has no record. The keeper must be told. */
static void drop_the_rest(struct holder *h, struct legacy *l)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->dups[i].fd < 0)
			continue;
		holder_close_foreign(h, fd_steal(&l->dups[i].fd));
		keeper_link_drop_other(h, l->dups[i].sid, l->dups[i].cookie);
	}
}

static void legacy_deinit(struct legacy *l)
{
	fd_close(&l->table);
	fd_close(&l->inotify);
	for (size_t i = 0; i < l->n; i++)
		fd_close(&l->dups[i].fd);
	free(l->dups);
}

int adopt(struct holder *h, int fd, int low_fd)
{
	struct legacy l = { .table = -1, .inotify = -1 };
	unsigned alone = 0;
	size_t n;
	int ret;

	cleanup_fd int keeper = fd;
	cleanup_fd int low = low_fd;
	ret = ipc_set_blocking(keeper, false);
	if (ret == 0)
		ret = take_all(h, &l, keeper);
	if (ret == 0)
		ret = adopt_table(h, &l);
	if (ret == 0)
		ret = allocate(h);
	if (ret == 0)
		ret = adopt_watches(h, &l, fd_steal(&low));
	if (ret < 0) {
		log_error("adopt", "error=%s", strerror(-ret));
		legacy_deinit(&l);
		return ret;
	}
	start_generation(h);
	n = l.n;
	/* Voided ones are dropped there, so it comes before them. */
	keeper_link_attach(h, fd_steal(&keeper));
	adopt_sessions(h, &l, &alone);
	watch_adopt_done(&h->watches);
	drop_the_rest(h, &l);
	legacy_deinit(&l);
	if (n > 0 || alone > 0)
		log_info("adopted", "duplicates=%zu held=%u records_alone=%u watches=%u", n,
			 h->n_held, alone, h->watches.count);
	keeper_link_up(h);
	return 0;
}
