/* SPDX-License-Identifier: MIT */
/* COPY and MOVE. A copy is a second link to the message's file, under a name
 * of its own; a move renames the file, so that it is at no moment in both
 * mailboxes or in none. Only where the kernel allows neither (another file
 * system) are bytes copied, by way of tmp/.
 *
 * Order: both mailboxes locked, one transaction; the new UIDs on disk in the
 * destination's list; the links or renames, on disk; the index. A crash after
 * any of these leaves each message where it was, where it should be, or (bytes
 * that were copied) in both; those in the destination have the UIDs that the
 * list says. A failure undoes all of it before the locks are given up.
 *
 * Road not taken: all links in tmp/ first, then renames. It makes the time in
 * which a crash leaves some of the copies visible shorter, not zero, and costs
 * a third of the speed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "lib/maildir-unique.h"

/* A file that somebody renames faster than we look is left to him. */
#define CHASE_MAX		20
#define COPY_BUF_BYTES		(64 * 1024)
#define COPY_NAMES_MAX_BYTES	(1u << 30)
#define ALL_LETTERS		((UINT32_C(1) << 26) - 1)
#define PATH_BYTES		(2 * MAILDIR_NAME_MAX + 8)

enum copy_state {
	COPY_WAITS,		/* its file was not found yet */
	COPY_GONE,		/* the message is */
	COPY_PLACED,		/* there is a file of the new name */
	COPY_MOVED,		/* and none of the old one */
};
struct copy_item {
	uint32_t uid, new_uid;
	uint32_t base, to, from;	/* in names; from: of a move only */
	enum copy_state state;
};
struct copy {
	struct change changes[2];
	struct change *src, *dst;	/* the same if it is one mailbox */
	bool move;
	struct copy_item *items;	/* ascending, in both UIDs */
	size_t n_items, cap;
	struct buf names;
	int32_t keywords[KEYWORDS_MAX];	/* number here -> there; -1: not asked yet */
	bool touched[DIR_COUNT];	/* of the destination */
};

static const char *name_at(const struct copy *k, uint32_t at)
{
	return (const char *)k->names.data + at;
}

/* ---- what is to be copied ---- */

static int keywords_translate(struct copy *k, struct msg *m)
{
	const struct mailbox *from = k->src->box;
	uint64_t words[KEYWORD_WORDS] = { 0 };
	int rc = 0;

	if (k->src == k->dst)
		return 0;
	for (uint32_t n = 0; rc == 0 && n < from->n_keywords; n++) {
		uint32_t there = 0;

		if (!keywords_has(m->keywords, n))
			continue;
		if (k->keywords[n] < 0) {
			rc = change_keyword(k->dst, from->keywords[n].name, &there);
			if (rc == 0)
				k->keywords[n] = (int32_t)there;
		}
		if (rc == 0)
			keywords_put(words, (uint32_t)k->keywords[n], true);
	}
	memcpy(m->keywords, words, sizeof(words));
	return rc;
}

/* The new name says the sizes if the old one did, and was right. */
static void base_make(const struct msg *m, char base[MAILDIR_UNIQUE_MAX_BYTES])
{
	char unique[MAILDIR_UNIQUE_MAX_BYTES];
	int64_t size, vsize;

	maildir_unique_name(unique);
	maildir_name_sizes(m->base, strlen(m->base), &size, &vsize);
	if (size >= 0 && vsize >= 0 && vsize == m->size)
		maildir_unique_sized(unique, (uint64_t)size, (uint64_t)vsize, base);
	else
		strcpy(base, unique);
}

static int names_add(struct copy *k, const char *name, uint32_t *at_r)
{
	if (k->names.len > UINT32_MAX / 2)
		return -ENOMEM;
	*at_r = (uint32_t)k->names.len;
	return buf_append(&k->names, name, strlen(name) + 1) < 0 ? -ENOMEM : 0;
}

static struct copy_item *item_add(struct copy *k)
{
	if (k->n_items == k->cap) {
		size_t cap = k->cap ? k->cap * 2 : 64;
		void *items = reallocarray(k->items, cap, sizeof(*k->items));

		if (!items)
			return NULL;
		k->items = items;
		k->cap = cap;
	}
	k->items[k->n_items] = (struct copy_item){ 0 };
	return &k->items[k->n_items++];
}

static int choose_one(struct copy *k, uint32_t uid)
{
	char base[MAILDIR_UNIQUE_MAX_BYTES];
	struct copy_item *it;
	struct msg m;
	int rc = index_msg_get(&k->src->box->store->index, k->src->row.box, uid, &m);

	/* RFC 3501 6.4.7: a copy is of all or nothing. RFC 6851 3.3 lets a move
	   be of what is there. */
	if (rc == MAILBOX_E_EXPUNGED && k->move)
		return 0;
	if (rc)
		return rc;
	rc = keywords_translate(k, &m);
	if (rc)
		return rc;
	base_make(&m, base);
	it = item_add(k);
	if (!it)
		return -ENOMEM;
	it->uid = uid;
	rc = names_add(k, base, &it->base);
	if (rc == 0)
		rc = change_uid(k->dst, base, true, &it->new_uid);
	m.uid = it->new_uid;
	if (rc == 0 && keywords_beyond_letters(k->dst->box, m.keywords))
		change_keywords_line(k->dst, &m);
	return rc;
}

/* Are all files where the index says? RFC 3501 2.3.1.1: UIDNEXT changes only
 * when a message is added; so a copy that cannot be should use up no UIDs. */
static int look_at_files(struct copy *k, const struct uidset *uids, bool *stale_r)
{
	struct index *ix = &k->src->box->store->index;
	struct uidset_iter it;
	char path[PATH_BYTES];
	struct stat st;
	struct msg m;

	*stale_r = false;
	for (uint32_t uid = uidset_first(uids, &it); uid && uid < k->src->row.uidnext;
	     uid = uidset_next(uids, &it)) {
		int rc = index_msg_get(ix, k->src->row.box, uid, &m);

		if (rc && !(rc == MAILBOX_E_EXPUNGED && k->move))
			return rc;
		if (rc)
			continue;
		snprintf(path, sizeof(path), "%s/%s%s", dir_names[m.dir], m.base, m.info);
		if (fstatat(k->src->box->dir_fd, path, &st, 0) < 0) {
			*stale_r = errno == ENOENT;
			return *stale_r ? 0 : -errno;
		}
	}
	return 0;
}

static int find_files(struct copy *k, const struct uidset *uids)
{
	bool stale = true;
	int rc = 0;

	for (int round = 0; rc == 0 && stale; round++) {
		rc = look_at_files(k, uids, &stale);
		if (rc == 0 && stale)
			rc = round == CHASE_MAX ? MAILBOX_E_BUSY : sync_in_change(k->src, true);
	}
	return rc;
}

/* The UIDs, in the order of the old ones, as COPYUID (RFC 4315 3) needs them. */
static int choose(struct copy *k, const struct uidset *uids)
{
	uint32_t end = k->src->row.uidnext;
	struct uidset_iter it;
	int rc = 0;

	for (uint32_t uid = uidset_first(uids, &it); rc == 0 && uid && uid < end;
	     uid = uidset_next(uids, &it))
		rc = choose_one(k, uid);
	if (rc || k->n_items == 0)
		return rc;
	k->dst->row.uidnext = k->dst->row.list_uidnext;
	change_modseq(k->dst);
	if (k->move)
		change_modseq(k->src);
	rc = change_lines(k->dst);
	if (rc == 0 && k->src != k->dst)
		rc = change_lines(k->src);
	return rc == 0 && fault("copy-lines") ? -EIO : rc;
}

/* ---- files ---- */

static int bytes_copy(int in, int out)
{
	char buf[COPY_BUF_BYTES];
	ssize_t n, done;

	while ((n = read(in, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (ssize_t at = 0; at < n; at += done) {
			done = fault("copy-write") ? (errno = ENOSPC, -1)
						   : write(out, buf + at, (size_t)(n - at));
			if (done < 0 && errno != EINTR)
				return file_error(errno);
			if (done < 0)
				done = 0;
		}
	}
	return 0;
}

/* 0, -ENOENT: the source is not there. */
static int place_bytes(struct copy *k, const char *from, const char *to, const char *base,
		       int64_t internaldate)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = internaldate } };
	int src_fd = k->src->box->dir_fd, dst_fd = k->dst->box->dir_fd;
	cleanup_fd int in = openat(src_fd, from, O_RDONLY | O_CLOEXEC), out = -1;
	char tmp[MAILDIR_NAME_MAX + 8];
	int rc;

	if (in < 0)
		return -errno;
	snprintf(tmp, sizeof(tmp), "tmp/%s", base);
	out = openat(dst_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return errno == ENOENT ? MAILBOX_E_NONEXISTENT : file_error(errno);
	rc = bytes_copy(in, out);
	if (rc == 0 && (futimens(out, times) < 0 || fsync(out) < 0 ||
			renameat(dst_fd, tmp, dst_fd, to) < 0))
		rc = file_error(errno);
	if (rc)
		unlinkat(dst_fd, tmp, 0);
	return rc;
}

/* Does it only say that it cannot be done this way? */
static bool needs_bytes(int err)
{
	return err == EXDEV || err == EPERM || err == EMLINK || err == EOPNOTSUPP ||
	       err == EACCES || err == ENOSYS;
}

/* 0, -ENOENT: the source is not there under this name. */
static int place(struct copy *k, struct copy_item *it, const char *from, const char *to,
		 int64_t internaldate)
{
	int src_fd = k->src->box->dir_fd, dst_fd = k->dst->box->dir_fd, rc;
	struct stat st;

	if (fault("copy-place"))
		return -EIO;
	it->state = k->move ? COPY_MOVED : COPY_PLACED;
	if (fault("copy-bytes"))
		rc = -1, errno = EXDEV;
	else if (k->move)
		rc = renameat(src_fd, from, dst_fd, to);
	else
		rc = linkat(src_fd, from, dst_fd, to, AT_SYMLINK_FOLLOW);
	if (rc == 0)
		return 0;
	it->state = COPY_WAITS;
	if (needs_bytes(errno)) {
		rc = place_bytes(k, from, to, name_at(k, it->base), internaldate);
		if (rc == 0)
			it->state = COPY_PLACED;
		return rc;
	}
	if (errno != ENOENT)
		return file_error(errno);
	return fstatat(dst_fd, "cur", &st, 0) < 0 ? MAILBOX_E_NONEXISTENT : -ENOENT;
}

/* The copy as the destination has it: its name and row. */
static int msg_make(struct copy *k, const struct copy_item *it, const struct msg *was,
		    struct msg *m)
{
	uint32_t letters;
	int rc;

	*m = *was;
	m->uid = it->new_uid;
	strcpy(m->base, name_at(k, it->base));
	m->modseq = change_modseq(k->dst);
	rc = keywords_translate(k, m);
	if (rc)
		return rc;
	letters = keywords_to_letters(k->dst->box, m->keywords);
	/* new/ is for mail that nobody has touched; and cheaper to sync. */
	m->dir = DIR_NEW;
	m->info[0] = '\0';
	if (!m->flags && !letters && (!was->info[0] || !strcmp(was->info, ":2,")))
		return 0;
	m->dir = DIR_CUR;
	/* What other letters mean is a matter of the mailbox they are in. */
	return maildir_name_info(was->info, strlen(m->base), m->flags, letters, ALL_LETTERS,
				 m->info);
}

static int expunge_source(struct copy *k, const struct msg *was)
{
	return index_msg_expunge(&k->src->box->store->index, &k->src->row, was,
				 change_modseq(k->src));
}

static int copy_one(struct copy *k, struct copy_item *it, bool chased)
{
	struct index *ix = &k->src->box->store->index;
	char from[PATH_BYTES], to[PATH_BYTES];
	struct msg was, m;
	int rc = index_msg_get(ix, k->src->row.box, it->uid, &was);

	if (rc == MAILBOX_E_EXPUNGED && k->move) {
		it->state = COPY_GONE;
		return 0;
	}
	if (rc == 0)
		rc = msg_make(k, it, &was, &m);
	if (rc)
		return rc;
	/* Its keywords may be others by now. */
	if (chased && k->dst->box->n_keywords > 26)
		change_keywords_line(k->dst, &m);
	snprintf(from, sizeof(from), "%s/%s%s", dir_names[was.dir], was.base, was.info);
	snprintf(to, sizeof(to), "%s/%s%s", dir_names[m.dir], m.base, m.info);
	rc = names_add(k, to, &it->to);
	if (rc == 0 && k->move)
		rc = names_add(k, from, &it->from);
	if (rc == 0)
		rc = place(k, it, from, to, was.internaldate);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	k->touched[m.dir] = true;
	rc = index_msg_add(ix, &k->dst->row, &m);
	if (rc == 0)
		rc = index_msg_cache_copy(ix, k->src->row.box, it->uid, k->dst->row.box,
					  it->new_uid);
	if (rc == 0 && it->state == COPY_MOVED)
		rc = expunge_source(k, &was);
	return rc;
}

/* A file that was copied to another file system, now that the copy is on disk. */
static int unlink_one(struct copy *k, struct copy_item *it)
{
	char from[PATH_BYTES];
	struct msg was;
	int rc = index_msg_get(&k->src->box->store->index, k->src->row.box, it->uid, &was);

	if (rc && rc != MAILBOX_E_EXPUNGED)
		return rc;
	snprintf(from, sizeof(from), "%s/%s%s", dir_names[was.dir], was.base, was.info);
	if (rc == 0 && fault("copy-unlink"))
		return -EIO;
	if (rc == 0 && unlinkat(k->src->box->dir_fd, from, 0) < 0)
		return errno == ENOENT ? 0 : file_error(errno);
	it->state = COPY_MOVED;
	/* Nothing leads back: from is for undoing. */
	it->from = UINT32_MAX;
	return rc == 0 ? expunge_source(k, &was) : 0;
}

static int one_round(struct copy *k, bool unlinks, int round, size_t *left_r)
{
	enum copy_state todo = unlinks ? COPY_PLACED : COPY_WAITS;
	bool src_clean[DIR_COUNT], dst_clean[DIR_COUNT];
	int rc = 0;

	change_stamps_before(k->src, src_clean);
	change_stamps_before(k->dst, dst_clean);
	*left_r = 0;
	for (size_t i = 0; rc == 0 && i < k->n_items; i++) {
		struct copy_item *it = &k->items[i];

		if (it->state != todo)
			continue;
		rc = unlinks ? unlink_one(k, it) : copy_one(k, it, round > 0);
		*left_r += it->state == todo;
	}
	change_stamps_after(k->src, src_clean);
	if (k->dst != k->src)
		change_stamps_after(k->dst, dst_clean);
	return rc;
}

/* Another program may have renamed or removed a file since the index was told:
 * then the directory is looked at again, and the message tried again. */
static int chase(struct copy *k, bool unlinks)
{
	size_t left = 1;
	int rc = 0;

	for (int round = 0; rc == 0 && left > 0; round++) {
		rc = one_round(k, unlinks, round, &left);
		if (rc == 0 && left > 0)
			rc = round == CHASE_MAX ? MAILBOX_E_BUSY : sync_in_change(k->src, true);
	}
	return rc;
}

static int on_disk(struct copy *k)
{
	int rc = fault("copy-placed") ? -EIO : 0;

	for (int d = 0; rc == 0 && d < DIR_COUNT; d++) {
		if (k->touched[d])
			rc = dir_fsync(k->dst->box->dir_fd, dir_names[d]);
	}
	return rc;
}

static void undo(struct copy *k)
{
	int src_fd = k->src->box->dir_fd, dst_fd = k->dst->box->dir_fd;

	for (size_t i = k->n_items; i-- > 0; ) {
		const struct copy_item *it = &k->items[i];

		if (it->state == COPY_PLACED)
			unlinkat(dst_fd, name_at(k, it->to), 0);
		/* One that cannot go back stays where it is safe: the next
		   sync of both mailboxes sees that it was moved. */
		if (it->state == COPY_MOVED && it->from != UINT32_MAX &&
		    renameat(dst_fd, name_at(k, it->to), src_fd, name_at(k, it->from)) < 0)
			log_warn("move-not-undone", "mailbox=%s to=%s error=%s",
				 log_str(k->src->box->name), log_str(k->dst->box->name),
				 log_str(strerror(errno)));
	}
}

/* Their files, should they come back, are new messages. Only known for sure
 * when all is committed; a list without these lines is as good for all else. */
static void gone_lines(struct copy *k)
{
	struct mailbox *box = k->src->box;
	struct uidlist_line l = { .kind = UIDLIST_GONE };
	struct buf lines;

	buf_init(&lines, COPY_NAMES_MAX_BYTES);
	for (size_t i = 0; i < k->n_items; i++) {
		uint32_t uid = k->items[i].uid;

		if (k->items[i].state != COPY_MOVED)
			continue;
		if (l.uid && uid != l.last + 1) {
			uidlist_line_write(&lines, &l);
			l.uid = 0;
		}
		if (!l.uid)
			l.uid = uid;
		l.last = uid;
	}
	if (l.uid)
		uidlist_line_write(&lines, &l);
	if (!lines.failed && lines.len > 0)
		(void)list_append(box, &box->row, &lines, false);
	buf_deinit(&lines);
}

static int copy_in_change(struct copy *k, const struct uidset *uids)
{
	int rc = find_files(k, uids);

	if (rc == 0)
		rc = choose(k, uids);
	if (rc == 0)
		rc = chase(k, false);
	if (rc == 0)
		rc = on_disk(k);
	if (rc == 0 && k->move)
		rc = chase(k, true);
	return rc ? rc : change_commit_pair(k->src, k->dst);
}

static int copy_once(struct copy *k, struct mailbox *from, struct mailbox *to,
		     const struct uidset *uids)
{
	int rc;

	k->n_items = 0;
	buf_reset(&k->names);
	memset(k->keywords, 0xff, sizeof(k->keywords));
	memset(k->touched, 0, sizeof(k->touched));
	k->src = &k->changes[0];
	k->dst = from == to ? k->src : &k->changes[1];
	rc = change_begin_pair(from, to, k->src, k->dst);
	if (rc)
		return rc;
	rc = copy_in_change(k, uids);
	if (rc) {
		undo(k);
		change_abort_pair(k->src, k->dst);
		return rc;
	}
	if (k->move)
		gone_lines(k);
	change_end_pair(k->src, k->dst);
	return 0;
}

/* ---- the mailbox interface ---- */

/* The mailbox itself if that is the destination: its lock excludes a second
 * opening too. */
static int dest_open(struct mailbox *box, const char *name, struct mailbox **to_r)
{
	struct mailbox *to;
	int rc = mailbox_open(box->store, name, &to);

	if (rc)
		return rc == MAILBOX_E_GONE ? MAILBOX_E_NONEXISTENT : rc;
	if (!memcmp(to->id, box->id, sizeof(to->id))) {
		mailbox_close(&to);
		to = box;
	}
	*to_r = to;
	return 0;
}

static int copy_result(const struct copy *k, struct uidset *copied, struct uidset *new,
		       struct uidset *gone)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < k->n_items; i++) {
		const struct copy_item *it = &k->items[i];

		if (it->state != COPY_PLACED && it->state != COPY_MOVED)
			continue;
		rc = uidset_add(copied, it->uid);
		if (rc == 0)
			rc = uidset_add(new, it->new_uid);
		if (rc == 0 && gone)
			rc = uidset_add(gone, it->uid);
	}
	return rc;
}

int mailbox_copy(struct mailbox *box, const struct uidset *uids, const char *dest, bool move,
		 struct uidset *copied_r, struct uidset *new_r, uint32_t *uidvalidity_r,
		 uint8_t dest_id_r[16], uint64_t *dest_modseq_r, struct uidset *gone_r,
		 uint64_t *modseq_r)
{
	struct copy *k;
	struct mailbox *to;
	int rc;

	uidset_clear(copied_r);
	uidset_clear(new_r);
	if (gone_r)
		uidset_clear(gone_r);
	*dest_modseq_r = 0;
	*modseq_r = 0;
	rc = dest_open(box, dest, &to);
	if (rc)
		return rc;
	k = calloc(1, sizeof(*k));
	if (!k)
		rc = -ENOMEM;
	else {
		k->move = move;
		(void)mailbox_cache_flush(box);
		buf_init(&k->names, COPY_NAMES_MAX_BYTES);
		BOX_RETRY(rc, copy_once(k, box, to, uids));
	}
	if (rc == 0)
		rc = copy_result(k, copied_r, new_r, move ? gone_r : NULL);
	if (rc == 0 && !uidset_is_empty(new_r)) {
		*dest_modseq_r = k->dst->modseq;
		*modseq_r = move ? k->src->modseq : 0;
	}
	if (rc == 0) {
		*uidvalidity_r = to->uidvalidity;
		memcpy(dest_id_r, to->id, 16);
	}
	if (k) {
		buf_deinit(&k->names);
		free(k->items);
		free(k);
	}
	if (to != box)
		mailbox_close(&to);
	return rc;
}
