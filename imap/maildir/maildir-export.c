/* SPDX-License-Identifier: MIT */
/* The way home: what we know of the mailboxes is written into the files from
 * which Dovecot reads it: `dovecot-uidlist` version 3, `dovecot-keywords`,
 * `subscriptions`, `dovecot-uidvalidity`. Whole files, written aside and
 * renamed, under Dovecot's own lock. What its old list says of a message that
 * is still there (POP3 UIDLs, ids) is kept.
 *
 * Our own list then goes out of the way, to `dormouse-uidlist.exported`: should
 * the mail come back to us, what Dovecot has done meanwhile counts, and it is
 * adopted anew. An old list of ours would give UIDs that Dovecot gave already. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "imap/maildir/dovecot-files.h"
#include "imap/maildir/maildir-export.h"
#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/imap-write.h"
#include "lib/log.h"

#define DOVECOT_LIST		"dovecot-uidlist"
#define DOVECOT_LIST_MAX	(1u << 30)
#define DOVECOT_LOCK		"dovecot-uidlist.lock"
#define DOVECOT_KEYWORDS	"dovecot-keywords"
#define DOVECOT_VALIDITY	"dovecot-uidvalidity"
/* A Dovecot that is at work has it for milliseconds. */
#define DOVECOT_LOCK_MS		20000
#define OUR_SUBSCRIPTIONS	"dormouse-subscriptions"
#define EXPORTED_NAME		UIDLIST_NAME ".exported"

/* ---- Dovecot's lock ---- */

/* "pid:host" of a process of this host that is gone. */
static bool lock_is_stale(int dir_fd)
{
	cleanup_fd int fd = openat(dir_fd, DOVECOT_LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[512] = "", host[256] = "", *colon;
	long pid;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || gethostname(host, 255) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	colon = strchr(text, ':');
	pid = strtol(text, NULL, 10);
	return colon && !strcmp(colon + 1, host) && pid > 0 && kill((pid_t)pid, 0) < 0 &&
	       errno == ESRCH;
}

static int dovecot_lock(int dir_fd)
{
	uint64_t end_ms = clock_ms() + DOVECOT_LOCK_MS;
	struct timespec pause = { .tv_nsec = 20000000 };
	char host[256] = "", text[512];
	cleanup_fd int fd = -1;
	int len;

	for (;;) {
		fd = openat(dir_fd, DOVECOT_LOCK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0)
			break;
		if (errno != EEXIST)
			return file_error(errno);
		if (lock_is_stale(dir_fd))
			unlinkat(dir_fd, DOVECOT_LOCK, 0);
		else if (clock_ms() >= end_ms)
			return MAILBOX_E_BUSY;
		nanosleep(&pause, NULL);
	}
	gethostname(host, sizeof(host) - 1);
	len = snprintf(text, sizeof(text), "%ld:%s", (long)getpid(), host);
	if (write(fd, text, (size_t)len) != len) {
		unlinkat(dir_fd, DOVECOT_LOCK, 0);
		return MAILBOX_E_NOSPACE;
	}
	return 0;
}

/* ---- a whole file ---- */

static int file_write(int fd, const struct buf *b)
{
	for (size_t at = 0; at < b->len; ) {
		ssize_t n = fault("export-write") ? (errno = ENOSPC, -1)
						  : write(fd, b->data + at, b->len - at);

		if (n < 0 && errno != EINTR)
			return file_error(errno);
		at += n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

/* With the rights of the one it replaces. Dovecot sees a change of some of its
 * files by the seconds of their mtime alone: they must grow. */
static int file_replace(int dir_fd, const char *name, const struct buf *b)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) } };
	cleanup_fd int fd = -1;
	char tmp[64];
	struct stat st;
	int rc;

	if (b->failed)
		return -ENOMEM;
	snprintf(tmp, sizeof(tmp), "%s.dormouse", name);
	fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return file_error(errno);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (st.st_mtim.tv_sec >= times[1].tv_sec)
			times[1].tv_sec = st.st_mtim.tv_sec + 1;
		(void)fchmod(fd, st.st_mode & 0666);
	}
	rc = file_write(fd, b);
	if (rc == 0 && (futimens(fd, times) < 0 || fsync(fd) < 0))
		rc = file_error(errno);
	if (rc == 0 && fault("export-rename"))
		rc = -EIO;
	if (rc == 0 && renameat(dir_fd, tmp, dir_fd, name) < 0)
		rc = file_error(errno);
	if (rc)
		unlinkat(dir_fd, tmp, 0);
	return rc ? rc : dir_fsync(dir_fd, ".");
}

/* ---- dovecot-uidlist ---- */

/* Its present list, to take words from. */
struct old_list {
	struct buf data;
	struct dovecot_uidlist header;
	struct dovecot_record *records;
	size_t n, cap, at;
};

static int old_record(void *ctx, const struct dovecot_record *r)
{
	struct old_list *o = ctx;

	if (r->words_len == 0 || (o->n && r->uid <= o->records[o->n - 1].uid))
		return 0;
	if (o->n == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 256;
		void *records = reallocarray(o->records, cap, sizeof(*o->records));

		if (!records)
			return -ENOMEM;
		o->records = records;
		o->cap = cap;
	}
	o->records[o->n++] = *r;
	return 0;
}

static int old_read(struct mailbox *box, struct old_list *o)
{
	int rc;

	buf_init(&o->data, DOVECOT_LIST_MAX);
	rc = dovecot_file_read(box->dir_fd, DOVECOT_LIST, &o->data);
	if (rc == 0)
		rc = dovecot_uidlist_parse((const char *)o->data.data, o->data.len, &o->header,
					   old_record, o);
	if (rc == -ENOENT || rc == -EINVAL || o->header.uidvalidity != box->uidvalidity) {
		o->n = 0;
		o->header.other[0] = '\0';
		return rc == -ENOMEM ? rc : 0;
	}
	return rc;
}

/* UIDs are asked for in ascending order. */
static const struct dovecot_record *old_find(struct old_list *o, const struct msg *m)
{
	const struct dovecot_record *r;

	while (o->at < o->n && o->records[o->at].uid < m->uid)
		o->at++;
	if (o->at == o->n)
		return NULL;
	r = &o->records[o->at];
	if (r->uid != m->uid || r->base_len != strlen(m->base) ||
	    memcmp(r->base, m->base, r->base_len) != 0)
		return NULL;
	return r;
}

static void record_write(struct buf *b, struct old_list *o, const struct msg *m)
{
	const struct dovecot_record *r = old_find(o, m);

	buf_printf(b, "%u", m->uid);
	if (r) {
		buf_append_u8(b, ' ');
		buf_append(b, r->words, r->words_len);
	}
	buf_append_str(b, " :");
	buf_append_str(b, m->base);
	buf_append_u8(b, '\n');
}

static int list_make(struct change *c, struct old_list *o, struct buf *b, uint32_t *messages_r)
{
	struct mailbox *box = c->box;
	struct msg batch[16];
	uint32_t uid = 0;
	int n;

	buf_printf(b, "3 V%u N%u G", box->uidvalidity,
		   c->row.uidnext > c->row.list_uidnext ? c->row.uidnext : c->row.list_uidnext);
	for (size_t i = 0; i < sizeof(box->id); i++)
		buf_printf(b, "%02x", box->id[i]);
	buf_append_str(b, o->header.other);
	buf_append_u8(b, '\n');
	*messages_r = 0;
	while ((n = index_msg_range(&box->store->index, c->row.box, uid + 1, UINT32_MAX, false,
				    batch, 16)) > 0) {
		for (int i = 0; i < n; i++)
			record_write(b, o, &batch[i]);
		uid = batch[n - 1].uid;
		*messages_r += (uint32_t)n;
	}
	return n;
}

/* ---- dovecot-keywords ---- */

static void keywords_make(const struct mailbox *box, struct buf *b, uint32_t *lost_r)
{
	*lost_r = 0;
	for (int letter = 0; letter < 26; letter++) {
		for (size_t i = 0; i < box->n_keywords; i++) {
			if (box->keywords[i].letter == letter)
				buf_printf(b, "%d %s\n", letter, box->keywords[i].name);
		}
	}
	for (size_t i = 0; i < box->n_keywords; i++)
		*lost_r += box->keywords[i].letter < 0;
}

/* ---- one mailbox ---- */

static int export_write(struct change *c, struct mailbox_export *e)
{
	struct mailbox *box = c->box;
	struct old_list old = { 0 };
	struct buf list, keywords;
	int rc = old_read(box, &old);

	buf_init(&list, DOVECOT_LIST_MAX);
	buf_init(&keywords, 1u << 20);
	if (rc == 0)
		rc = list_make(c, &old, &list, &e->messages);
	keywords_make(box, &keywords, &e->keywords_lost);
	e->keywords = (uint32_t)box->n_keywords - e->keywords_lost;
	/* Keywords first: their letters are in the names already. */
	if (rc == 0 && keywords.len)
		rc = file_replace(box->dir_fd, DOVECOT_KEYWORDS, &keywords);
	if (rc == 0)
		rc = file_replace(box->dir_fd, DOVECOT_LIST, &list);
	buf_deinit(&list);
	buf_deinit(&keywords);
	buf_deinit(&old.data);
	free(old.records);
	return rc;
}

/* Whoever has it open sees that the list is gone, and with it the mailbox. */
static int retire(struct change *c)
{
	struct mailbox *box = c->box;
	int rc = index_box_drop(&box->store->index, c->row.box);

	/* Nor may the lock file lead back to what the index knew; before the
	   list goes, lest a crash leaves a way. */
	if (rc == 0 && ftruncate(box->lock_fd, 0) < 0)
		rc = file_error(errno);
	if (rc == 0 && fault("export-retire"))
		rc = -EIO;
	if (rc == 0 && renameat(box->dir_fd, UIDLIST_NAME, box->dir_fd, EXPORTED_NAME) < 0)
		rc = file_error(errno);
	return rc ? rc : dir_fsync(box->dir_fd, ".");
}

static int export_locked(struct change *c, struct mailbox_export *e)
{
	int rc = sync_in_change(c, true);

	if (rc == 0)
		rc = change_lines(c);
	if (rc == 0)
		rc = dovecot_lock(c->box->dir_fd);
	if (rc)
		return rc;
	rc = export_write(c, e);
	if (rc == 0)
		rc = retire(c);
	unlinkat(c->box->dir_fd, DOVECOT_LOCK, 0);
	return rc;
}

static int export_box(struct mailbox *box, struct mailbox_export *e)
{
	struct index *ix = &box->store->index;
	struct change c;
	int rc = change_begin(box, false, true, &c);

	if (rc)
		return rc;
	rc = export_locked(&c, e);
	if (rc == 0)
		rc = index_commit(ix);
	/* Nothing of it is left to commit. */
	change_abort(&c);
	e->name = box->name;
	e->uidvalidity = box->uidvalidity;
	return rc;
}

/* ---- what is not a mailbox's ---- */

static void tab_escaped(struct buf *b, const char *p)
{
	for (; *p; p++) {
		if (*p == '\001')
			buf_append_str(b, "\001" "1");
		else if (*p == '\t')
			buf_append_str(b, "\001" "t");
		else if (*p == '\r')
			buf_append_str(b, "\001" "r");
		else
			buf_append_u8(b, *p == '.' ? '\t' : (uint8_t)*p);
	}
	buf_append_u8(b, '\n');
}

static int add_subscription(void *ctx, const char *name)
{
	struct buf *b = ctx, utf7;
	int rc;

	buf_init(&utf7, 4 * MAILBOX_NAME_MAX_BYTES);
	rc = imap_utf7_encode(name, &utf7);
	if (rc == 0 && buf_append_u8(&utf7, 0) == 0 && !strchr(name, '\n'))
		tab_escaped(b, (const char *)utf7.data);
	buf_deinit(&utf7);
	return 0;
}

static int export_subscriptions(struct mail_store *store)
{
	struct buf b;
	int rc;

	buf_init(&b, 1u << 24);
	buf_append_str(&b, "V\t2\n\n");
	rc = mail_store_subscriptions(store, add_subscription, &b);
	if (rc == 0)
		rc = file_replace(store->mail_fd, "subscriptions", &b);
	if (rc == 0 && renameat(store->mail_fd, OUR_SUBSCRIPTIONS, store->mail_fd,
				OUR_SUBSCRIPTIONS ".exported") < 0 && errno != ENOENT)
		rc = file_error(errno);
	buf_deinit(&b);
	return rc;
}

/* The name of an empty file says which UIDVALIDITY was the last. */
static int export_uidvalidity(struct mail_store *store, uint32_t last)
{
	struct buf b;
	char name[64];
	int fd, rc;

	buf_init(&b, 64);
	rc = dovecot_file_read(store->mail_fd, DOVECOT_VALIDITY, &b);
	buf_append_u8(&b, 0);
	if (rc == 0 && !b.failed && strtoul((char *)b.data, NULL, 16) >= last) {
		buf_deinit(&b);
		return 0;
	}
	buf_reset(&b);
	buf_printf(&b, "%08x", last);
	snprintf(name, sizeof(name), DOVECOT_VALIDITY ".%08x", last);
	fd = openat(store->mail_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	rc = fd < 0 && errno != EEXIST ? file_error(errno) : 0;
	fd_close(&fd);
	if (rc == 0)
		rc = file_replace(store->mail_fd, DOVECOT_VALIDITY, &b);
	buf_deinit(&b);
	return rc;
}

/* ---- all of them ---- */

struct export_ctx {
	struct mail_store *store;
	int (*fn)(void *ctx, const struct mailbox_export *e);
	void *ctx;
	uint32_t last;		/* the highest UIDVALIDITY */
	int failed;
};

static int export_one(void *ctx, const struct mailbox_info *info)
{
	struct export_ctx *x = ctx;
	struct mailbox_export e = { .name = info->name };
	struct mailbox *box = NULL;
	int rc;

	if (info->noselect)
		return 0;
	rc = mailbox_open(x->store, info->name, &box);
	if (rc == 0)
		BOX_RETRY(rc, export_box(box, &e));
	if (rc == MAILBOX_E_NONEXISTENT || rc == MAILBOX_E_GONE)
		rc = 0;		/* deleted meanwhile */
	e.error = rc;
	if (rc && !x->failed)
		x->failed = rc;
	if (e.uidvalidity > x->last)
		x->last = e.uidvalidity;
	rc = x->fn(x->ctx, &e);
	mailbox_close(&box);
	return rc;
}

int mail_store_export(struct mail_store *store,
		      int (*fn)(void *ctx, const struct mailbox_export *e), void *ctx)
{
	struct export_ctx x = { .store = store, .fn = fn, .ctx = ctx };
	int rc = mail_store_list(store, export_one, &x);

	if (rc == 0)
		rc = x.failed;
	if (rc == 0)
		rc = export_subscriptions(store);
	return rc ? rc : export_uidvalidity(store, x.last);
}
