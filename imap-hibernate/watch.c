/* SPDX-License-Identifier: MIT */
/* The library has its ways: no accessor for its descriptor, names it cannot
 * tell apart, entries that stay when a directory goes, 200 bytes for each.
 * Three things tame it.
 *
 * - inotify_init(), inotify_add_watch() and inotify_rm_watch() are defined
 *   here, and the shared library binds to them. So we give it the descriptor
 *   (also an inherited one), and set watches on the directory that was passed
 *   to us instead of on a name.
 * - Its own table is kept empty: after each add its entry is removed again,
 *   while our inotify_rm_watch() leaves the kernel's watch alone. It then has
 *   no names to confuse, nothing to leak, and costs nothing per watch. Reading
 *   events does not need its table.
 * - next_events(0, 1), until it returns NULL: next_event(0) blocks, more than one
 *   event at a time spins, and what it has read ahead is not seen by epoll.
 *
 * What we know of a watch is in the table of sleepers (struct table_watch), so
 * that it costs memory once and the next holder finds it. A kill between the
 * kernel's watch and the record leaves a watch without record: its events name
 * an unknown wd, which is then removed, and setting it again is EEXIST.
 *
 * The draining mark: events that are out of the kernel but not yet marked on
 * their sleepers would die with us (doc/handover.md, 13). */
#include "imap-hibernate/watch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inotifytools/inotifytools.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/log.h"

/* Files written in place do not matter: in a Maildir mail arrives by a rename
 * or a link, flags change by renames. */
#define WATCH_MASK	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | \
			 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
#define WD_BLIND	(-1)

/* ---- what the library finds instead of libc ---- */

static struct {
	int fd;			/* inotify_init()'s answer */
	int dir;		/* what to watch */
	uint32_t mask;
	int wd;			/* what came of it */
} tame = { .fd = -1, .dir = -1 };

int inotify_init(void)
{
	return tame.fd;
}

int inotify_add_watch(int fd, const char *name, uint32_t mask)
{
	char path[40];

	/* The name only serves the library. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", tame.dir);
	tame.wd = (int)syscall(SYS_inotify_add_watch, fd, path, tame.mask);
	return tame.wd;
}

/* The library removes its entry; the kernel's watch stays. */
int inotify_rm_watch(int fd, int wd)
{
	return 0;
}

static void kernel_remove(struct watch_set *ws, int wd)
{
	/* EINVAL: it went by itself. */
	syscall(SYS_inotify_rm_watch, ws->fd, wd);
}

/* The wd, or -errno. */
static int kernel_add(int dir, uint32_t mask)
{
	tame.dir = dir;
	tame.mask = mask;
	tame.wd = -1;
	if (!inotifytools_watch_file("w", (int)mask))
		return inotifytools_error() > 0 ? -inotifytools_error() : -EIO;
	if (!inotifytools_remove_watch_by_wd(tame.wd))
		log_warn("watch", "error=library-entry wd=%d", tame.wd);
	return tame.wd;
}

/* ---- keys ---- */

/* Linux device numbers: 12 bits major, 20 bits minor. */
static uint32_t dev_fold(dev_t dev)
{
	return (uint32_t)(major(dev) & 0xfff) << 20 | (uint32_t)(minor(dev) & 0xfffff);
}

static uint64_t inode_hash(uint32_t dev, uint64_t ino)
{
	return chain_mix(ino ^ (uint64_t)dev << 32);
}

uint64_t watch_mailbox(const void *id, size_t len)
{
	uint64_t half = 0;

	memcpy(&half, id, len < sizeof(half) ? len : sizeof(half));
	return half;
}

static uint32_t *next_by_wd(void *ctx, uint32_t i)
{
	return &table_watch(((struct watch_set *)ctx)->table, i)->by_wd;
}
static uint64_t hash_by_wd(void *ctx, uint32_t i)
{
	return chain_mix((uint32_t)table_watch(((struct watch_set *)ctx)->table, i)->wd);
}
static uint32_t *next_by_inode(void *ctx, uint32_t i)
{
	return &table_watch(((struct watch_set *)ctx)->table, i)->by_inode;
}
static uint64_t hash_by_inode(void *ctx, uint32_t i)
{
	const struct table_watch *w = table_watch(((struct watch_set *)ctx)->table, i);

	return inode_hash(w->dev, w->ino);
}
static uint32_t *next_by_mailbox(void *ctx, uint32_t i)
{
	return &table_watch(((struct watch_set *)ctx)->table, i)->by_mailbox;
}
static uint64_t hash_by_mailbox(void *ctx, uint32_t i)
{
	return chain_mix(table_watch(((struct watch_set *)ctx)->table, i)->mailbox);
}

static uint32_t find_wd(const struct watch_set *ws, int wd)
{
	uint32_t i = chain_first(&ws->by_wd, chain_mix((uint32_t)wd));

	while (i != NONE && table_watch(ws->table, i)->wd != wd)
		i = chain_next(&ws->by_wd, i);
	return i;
}

static uint32_t find_inode(const struct watch_set *ws, uint32_t dev, uint64_t ino)
{
	uint32_t i = chain_first(&ws->by_inode, inode_hash(dev, ino));
	const struct table_watch *w;

	for (; i != NONE; i = chain_next(&ws->by_inode, i)) {
		w = table_watch(ws->table, i);
		if (w->wd > 0 && w->dev == dev && w->ino == ino)
			break;
	}
	return i;
}

static uint32_t find_blind(const struct watch_set *ws, uint64_t mailbox, uid_t uid)
{
	uint32_t i = chain_first(&ws->by_inode, inode_hash(0, mailbox));
	const struct table_watch *w;

	for (; i != NONE; i = chain_next(&ws->by_inode, i)) {
		w = table_watch(ws->table, i);
		if (w->wd == WD_BLIND && w->ino == mailbox && w->owner == uid)
			break;
	}
	return i;
}

/* ---- life ---- */

int watch_reserve(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return -errno;
	if (fd < FD_SETSIZE)
		return fd;
	close(fd);
	return -EMFILE;
}

static void index_watch(struct watch_set *ws, uint32_t i)
{
	const struct table_watch *w = table_watch(ws->table, i);

	if (w->wd > 0) {
		chain_insert(&ws->by_wd, i);
		ws->count++;
	}
	chain_insert(&ws->by_inode, i);
	if (w->mailbox)
		chain_insert(&ws->by_mailbox, i);
}

static void unindex_watch(struct watch_set *ws, uint32_t i)
{
	const struct table_watch *w = table_watch(ws->table, i);

	if (w->wd > 0) {
		chain_remove(&ws->by_wd, i);
		ws->count--;
	}
	chain_remove(&ws->by_inode, i);
	if (w->mailbox)
		chain_remove(&ws->by_mailbox, i);
}

int watch_init(struct watch_set *ws, struct table *table, int reserved, int inherited,
	       watch_sub_fn *sub, watch_changed_fn *changed, void *ctx)
{
	*ws = (struct watch_set){ .table = table, .fd = -1, .sub = sub,
				  .changed = changed, .ctx = ctx };
	cleanup_fd int low = reserved;
	cleanup_fd int fd = inherited >= 0 ? inherited :
			    (int)syscall(SYS_inotify_init1, IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0 || dup3(fd, low, O_CLOEXEC) < 0)
		return -errno;
	if (chain_init(&ws->by_wd, next_by_wd, hash_by_wd, ws) < 0 ||
	    chain_init(&ws->by_inode, next_by_inode, hash_by_inode, ws) < 0 ||
	    chain_init(&ws->by_mailbox, next_by_mailbox, hash_by_mailbox, ws) < 0)
		return -ENOMEM;
	tame.fd = ws->fd = fd_steal(&low);
	if (!inotifytools_initialize())
		return -EIO;
	for (uint32_t i = 0; i < table_watches(table); i++) {
		struct table_watch *w = table_watch(table, i);

		if (w->wd == 0)
			continue;
		w->first = NONE;
		w->refs = 0;
		index_watch(ws, i);
	}
	return 0;
}

void watch_deinit(struct watch_set *ws)
{
	bool was_draining, any = false;

	if (ws->fd < 0)
		return;
	/* What the library has read ahead it would serve to its next instance.
	   But the kernel's queue is the next holder's too: what is read here
	   is lost to it, so it must be told, before (doc/handover.md, 13). */
	was_draining = table_draining(ws->table);
	table_set_draining(ws->table, true);
	while (inotifytools_next_events(0, 1))
		any = true;
	if (!any && !was_draining)
		table_set_draining(ws->table, false);
	inotifytools_cleanup();	/* closes the descriptor */
	ws->fd = tame.fd = -1;
	chain_deinit(&ws->by_wd);
	chain_deinit(&ws->by_inode);
	chain_deinit(&ws->by_mailbox);
}

void watch_leave(struct watch_set *ws)
{
	if (ws->fd < 0)
		return;
	/* Between two drains the library holds nothing. */
	ws->fd = tame.fd = -1;
	chain_deinit(&ws->by_wd);
	chain_deinit(&ws->by_inode);
	chain_deinit(&ws->by_mailbox);
}

static void watch_end(struct watch_set *ws, uint32_t i)
{
	int wd = table_watch(ws->table, i)->wd;

	assert(table_watch(ws->table, i)->first == NONE);
	unindex_watch(ws, i);
	/* The record first: one that names a dead watch would be trusted by
	   the next holder, a watch without record does no harm. */
	table_watch_free(ws->table, i);
	fault("watch-end");
	if (wd > 0)
		kernel_remove(ws, wd);
}

/* ---- subscribers ---- */

bool watch_subscribed(const struct watch_sub *sub)
{
	for (unsigned k = 0; k < SLEEPER_WATCHES; k++) {
		if (sub->watch[k] != NONE)
			return true;
	}
	return false;
}

/* Which of its links is in this watch's list. */
static unsigned link_of(const struct watch_sub *sub, uint32_t watch)
{
	unsigned k = 0;

	while (sub->watch[k] != watch)
		k++;
	assert(k < SLEEPER_WATCHES);
	return k;
}

static void link_sub(struct watch_set *ws, uint32_t id, unsigned k, uint32_t watch)
{
	struct table_watch *w = table_watch(ws->table, watch);
	struct watch_sub *sub = ws->sub(ws->ctx, id), *next;

	sub->watch[k] = watch;
	sub->prev[k] = NONE;
	sub->next[k] = w->first;
	if (w->first != NONE) {
		next = ws->sub(ws->ctx, w->first);
		next->prev[link_of(next, watch)] = id;
	}
	w->first = id;
}

static void unlink_sub(struct watch_set *ws, uint32_t id, unsigned k)
{
	struct watch_sub *sub = ws->sub(ws->ctx, id), *other;
	uint32_t watch = sub->watch[k];

	if (sub->next[k] != NONE) {
		other = ws->sub(ws->ctx, sub->next[k]);
		other->prev[link_of(other, watch)] = sub->prev[k];
	}
	if (sub->prev[k] != NONE) {
		other = ws->sub(ws->ctx, sub->prev[k]);
		other->next[link_of(other, watch)] = sub->next[k];
	} else {
		table_watch(ws->table, watch)->first = sub->next[k];
	}
	sub->watch[k] = sub->next[k] = sub->prev[k] = NONE;
}

static void watch_unref(struct watch_set *ws, uint32_t watch)
{
	struct table_watch *w = table_watch(ws->table, watch);

	assert(w->refs > 0);
	if (--w->refs == 0)
		watch_end(ws, watch);
}

void watch_unsubscribe(struct watch_set *ws, uint32_t id)
{
	struct watch_sub *sub = ws->sub(ws->ctx, id);

	for (unsigned k = 0; k < SLEEPER_WATCHES; k++) {
		uint32_t watch = sub->watch[k];

		if (watch == NONE)
			continue;
		unlink_sub(ws, id, k);
		watch_unref(ws, watch);
	}
}

void watch_copy(struct watch_set *ws, uint32_t from, uint32_t to)
{
	const struct watch_sub *sub = ws->sub(ws->ctx, from);

	watch_adopt(ws, to, sub->watch);
}

void watch_adopt(struct watch_set *ws, uint32_t id, const uint32_t watch[SLEEPER_WATCHES])
{
	for (unsigned k = 0; k < SLEEPER_WATCHES; k++) {
		if (watch[k] >= table_watches(ws->table) ||
		    table_watch(ws->table, watch[k])->wd == 0 ||
		    (k > 0 && watch[k] == watch[0]))
			continue;
		table_watch(ws->table, watch[k])->refs++;
		link_sub(ws, id, k, watch[k]);
	}
}

void watch_adopt_done(struct watch_set *ws)
{
	for (uint32_t i = 0; i < table_watches(ws->table); i++) {
		const struct table_watch *w = table_watch(ws->table, i);

		if (w->wd != 0 && w->refs == 0)
			watch_end(ws, i);
	}
}

void watch_forget_all(struct watch_set *ws)
{
	for (uint32_t i = 0; i < table_watches(ws->table); i++) {
		if (table_watch(ws->table, i)->wd != 0)
			watch_end(ws, i);
	}
}

/* ---- setting a watch ---- */

/* A new record, referred to once; wd is stored last. */
static uint32_t watch_record(struct watch_set *ws, const struct table_watch *content)
{
	uint32_t i = table_watch_new(ws->table);
	struct table_watch *w;

	if (i == NONE)
		return NONE;
	w = table_watch(ws->table, i);
	w->dev = content->dev;
	w->ino = content->ino;
	w->mailbox = content->mailbox;
	w->owner = content->owner;
	w->first = NONE;
	w->refs = 1;
	fault("watch-record");
	__atomic_store_n(&w->wd, content->wd, __ATOMIC_RELEASE);
	index_watch(ws, i);
	return i;
}

static void log_full(struct watch_set *ws, int error)
{
	if (ws->full)
		return;
	ws->full = true;
	log_warn("watches-full", "watches=%u error=%s action=\"raise "
		 "fs.inotify.max_user_watches; until then further mailboxes are polled\"",
		 ws->count, strerror(-error));
}

static int watch_set_new(struct watch_set *ws, int dir, const struct stat *st,
			 uint64_t mailbox, uint32_t *watch_r)
{
	struct table_watch content = { .dev = dev_fold(st->st_dev), .ino = st->st_ino,
				       .owner = st->st_uid, .mailbox = mailbox };
	int wd = kernel_add(dir, WATCH_MASK | IN_MASK_CREATE);

	/* A predecessor died between the watch and its record. */
	if (wd == -EEXIST)
		wd = kernel_add(dir, WATCH_MASK);
	if (wd < 0)
		return wd;
	if (find_wd(ws, wd) != NONE)
		return -EEXIST;	/* two identities of one inode: never seen */
	content.wd = wd;
	fault("watch-set");
	*watch_r = watch_record(ws, &content);
	if (*watch_r == NONE) {
		kernel_remove(ws, wd);
		return -ENOMEM;
	}
	ws->full = false;
	return 0;
}

/* The first to watch names the mailbox; who owns it may correct that. */
static void watch_rename(struct watch_set *ws, uint32_t i, uint64_t mailbox, uid_t uid)
{
	struct table_watch *w = table_watch(ws->table, i);

	if (!mailbox || w->mailbox == mailbox ||
	    (w->mailbox && uid != w->owner && uid != 0))
		return;
	unindex_watch(ws, i);
	w->mailbox = mailbox;
	index_watch(ws, i);
}

/* A reference to the watch on this directory. 0 with *watch_r or -errno. */
static int watch_ref_dir(struct watch_set *ws, int dir, const struct watch_wish *wish,
			 uint32_t *watch_r)
{
	int flags = fcntl(dir, F_GETFL);
	struct stat st;
	uint32_t i;

	/* An ordinary descriptor open for reading proves that the sender may
	   read the directory; O_PATH proves nothing. */
	if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) != O_RDONLY)
		return -EPERM;
	if (fstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_nlink == 0)
		return -ENOTDIR;
	i = find_inode(ws, dev_fold(st.st_dev), st.st_ino);
	if (i == NONE)
		return watch_set_new(ws, dir, &st, wish->mailbox, watch_r);
	watch_rename(ws, i, wish->mailbox, wish->uid);
	table_watch(ws->table, i)->refs++;
	*watch_r = i;
	return 0;
}

static int watch_ref_blind(struct watch_set *ws, const struct watch_wish *wish,
			   uint32_t *watch_r)
{
	struct table_watch content = { .wd = WD_BLIND, .ino = wish->mailbox,
				       .mailbox = wish->mailbox, .owner = wish->uid };
	uint32_t i = find_blind(ws, wish->mailbox, wish->uid);

	if (i == NONE)
		i = watch_record(ws, &content);
	else
		table_watch(ws->table, i)->refs++;
	*watch_r = i;
	return i == NONE ? -ENOMEM : 0;
}

static int watch_ref_all(struct watch_set *ws, const struct watch_wish *wish,
			 uint32_t watch[SLEEPER_WATCHES])
{
	int ret = 0;

	if (wish->blind)
		return wish->mailbox ? watch_ref_blind(ws, wish, &watch[0]) : 0;
	for (unsigned k = 0; k < wish->n_dirs && ret == 0; k++)
		ret = watch_ref_dir(ws, wish->dirs[k], wish, &watch[k]);
	/* The same directory twice is one. */
	if (ret == 0 && watch[0] != NONE && watch[1] == watch[0]) {
		watch_unref(ws, watch[1]);
		watch[1] = NONE;
	}
	return ret;
}

enum ipc_watched watch_subscribe(struct watch_set *ws, uint32_t id,
				 const struct watch_wish *wish)
{
	uint32_t watch[SLEEPER_WATCHES] = { NONE, NONE };
	struct watch_wish blind = *wish;
	int ret;

	assert(wish->n_dirs <= SLEEPER_WATCHES);
	/* The inode number of a directory that is gone may be used again: hear
	   of its end first. */
	watch_drain(ws);
	ret = watch_ref_all(ws, wish, watch);
	if (ret == -ENOSPC || ret == -ENOMEM) {
		log_full(ws, ret);
		if (watch[0] != NONE)
			watch_unref(ws, watch[0]);
		watch[0] = watch[1] = NONE;
		blind.blind = true;
		watch_ref_all(ws, &blind, watch);
	}
	/* The old ones only now: they may be the same. */
	watch_unsubscribe(ws, id);
	for (unsigned k = 0; k < SLEEPER_WATCHES; k++) {
		if (watch[k] != NONE)
			link_sub(ws, id, k, watch[k]);
	}
	if (ret == 0)
		return wish->blind ? WATCHED_BLIND : WATCHED_OK;
	if (ret == -ENOSPC || ret == -ENOMEM)
		return WATCHED_BLIND;
	watch_unsubscribe(ws, id);
	log_info("watch-refused", "uid=%u error=%s", (unsigned)wish->uid, strerror(-ret));
	return WATCHED_REFUSED;
}

/* ---- events ---- */

static void tell(struct watch_set *ws, uint32_t watch, uint32_t but)
{
	uint32_t id = table_watch(ws->table, watch)->first, next;

	for (; id != NONE; id = next) {
		const struct watch_sub *sub = ws->sub(ws->ctx, id);

		next = sub->next[link_of(sub, watch)];
		if (id != but)
			ws->changed(ws->ctx, id, false);
	}
}

static void watch_gone(struct watch_set *ws, uint32_t watch)
{
	uint32_t id;

	while ((id = table_watch(ws->table, watch)->first) != NONE) {
		unlink_sub(ws, id, link_of(ws->sub(ws->ctx, id), watch));
		ws->changed(ws->ctx, id, true);
	}
	watch_end(ws, watch);
}

static void tell_everybody(struct watch_set *ws)
{
	ws->overflows++;
	log_warn("overflow", "watches=%u", ws->count);
	for (uint32_t i = 0; i < table_watches(ws->table); i++) {
		if (table_watch(ws->table, i)->wd > 0)
			tell(ws, i, NONE);
	}
}

static void watch_event(struct watch_set *ws, int wd, uint32_t mask)
{
	uint32_t watch;

	ws->events++;
	if (mask & IN_Q_OVERFLOW) {
		tell_everybody(ws);
		return;
	}
	watch = find_wd(ws, wd);
	if (watch == NONE) {
		if (!(mask & IN_IGNORED))
			kernel_remove(ws, wd);
		return;
	}
	if (mask & IN_IGNORED)
		watch_gone(ws, watch);
	else
		tell(ws, watch, NONE);
}

void watch_drain(struct watch_set *ws)
{
	const struct inotify_event *e;
	int queued = 0;

	if (ioctl(ws->fd, FIONREAD, &queued) == 0 && queued == 0)
		return;
	table_set_draining(ws->table, true);
	while ((e = inotifytools_next_events(0, 1))) {
		fault("watch-event");
		watch_event(ws, e->wd, e->mask);
	}
	fault("watch-drained");
	table_set_draining(ws->table, false);
}

static bool may_notice(struct watch_set *ws, uint32_t watch, uint32_t sender, uid_t uid)
{
	const struct table_watch *w = table_watch(ws->table, watch);
	const struct watch_sub *sub;

	if (uid == 0 || uid == w->owner)
		return true;
	if (sender == NONE)
		return false;
	sub = ws->sub(ws->ctx, sender);
	for (unsigned k = 0; k < SLEEPER_WATCHES; k++) {
		if (sub->watch[k] == watch)
			return true;
	}
	return false;
}

unsigned watch_notice(struct watch_set *ws, uint64_t mailbox, uint32_t sender, uid_t uid)
{
	uint32_t i = chain_first(&ws->by_mailbox, chain_mix(mailbox));
	unsigned n = 0;

	for (; i != NONE; i = chain_next(&ws->by_mailbox, i)) {
		if (table_watch(ws->table, i)->mailbox != mailbox ||
		    !may_notice(ws, i, sender, uid))
			continue;
		tell(ws, i, sender);
		n++;
	}
	return n;
}
