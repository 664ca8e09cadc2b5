/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_WATCH_H
#define HIBERNATE_WATCH_H
/* Watched directories: libinotifytools, tamed. One instance in the process,
 * one watch per directory however many sessions share it.
 *
 * Subscribers are numbers; each has a struct watch_sub somewhere and is told
 * of changes through one function, which may do anything but subscribe or
 * unsubscribe. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "imap-hibernate/chain.h"
#include "imap-hibernate/table.h"
#include "lib/ipc-proto.h"

struct watch_sub {
	uint32_t watch[SLEEPER_WATCHES];	/* NONE: unused */
	uint32_t next[SLEEPER_WATCHES], prev[SLEEPER_WATCHES];
};
typedef struct watch_sub *watch_sub_fn(void *ctx, uint32_t id);
/* Something changed for subscriber `id`. gone: a directory is no longer
 * watched (it was deleted), nothing will be told of it again. */
typedef void watch_changed_fn(void *ctx, uint32_t id, bool gone);

struct watch_set {
	struct table *table;
	int fd;			/* of inotify; always readable for epoll */
	struct chain by_wd, by_inode, by_mailbox;
	watch_sub_fn *sub;
	watch_changed_fn *changed;
	void *ctx;
	uint32_t count;		/* watched directories */
	uint64_t events, overflows;
	bool full;		/* the kernel's limit was reached; logged once */
};

/* The library uses select(): its descriptor must be below 1024. Call this
 * before anything else is opened; the result goes to watch_init(). Or -errno. */
int watch_reserve(void);
/* reserved is taken over, and so is inherited: an inotify descriptor that the
 * table's watches belong to, or -1 for a fresh one. 0 or -errno. */
int watch_init(struct watch_set *ws, struct table *table, int reserved, int inherited,
	       watch_sub_fn *sub, watch_changed_fn *changed, void *ctx);
void watch_deinit(struct watch_set *ws);
/* The same when the process ends and another one adopts: reads nothing more, so that
 * what waits in the kernel is the next one's, who then need not take everybody for changed. */
void watch_leave(struct watch_set *ws);
/* Adoption: first subscribers by the numbers that the table names, then this,
 * which ends watches that nobody wants. forget: end them all, since events may
 * have been lost. */
void watch_adopt(struct watch_set *ws, uint32_t id, const uint32_t watch[SLEEPER_WATCHES]);
void watch_adopt_done(struct watch_set *ws);
void watch_forget_all(struct watch_set *ws);

static inline void watch_sub_init(struct watch_sub *sub)
{
	for (unsigned k = 0; k < SLEEPER_WATCHES; k++)
		sub->watch[k] = sub->next[k] = sub->prev[k] = NONE;
}
bool watch_subscribed(const struct watch_sub *sub);
/* What a subscriber wants to be told of. The descriptors stay the caller's. */
struct watch_wish {
	const int *dirs;
	unsigned n_dirs;	/* at most SLEEPER_WATCHES */
	bool blind;		/* by notices alone */
	uint64_t mailbox;	/* watch_mailbox() of its id */
	uid_t uid;		/* who asks */
};
/* Replaces what it was subscribed to; on WATCHED_REFUSED (not a directory open for
 * reading alone) that is nothing. */
enum ipc_watched watch_subscribe(struct watch_set *ws, uint32_t id,
				 const struct watch_wish *wish);
void watch_unsubscribe(struct watch_set *ws, uint32_t id);
/* `to` (not subscribed) becomes subscribed to the same: no gap. */
void watch_copy(struct watch_set *ws, uint32_t from, uint32_t to);
/* Mailbox ids are random; half of one is enough to find it by. 0: none. */
uint64_t watch_mailbox(const void *id, size_t len);

/* Tells subscribers of everything that the kernel has queued. */
void watch_drain(struct watch_set *ws);
/* One of our own programs changed a mailbox: tells all its subscribers but
 * `sender` (NONE: it is none). A notice counts from a subscriber, from the owner
 * of the directory, and from root. Returns how many mailboxes it counted for. */
unsigned watch_notice(struct watch_set *ws, uint64_t mailbox, uint32_t sender, uid_t uid);
#endif
