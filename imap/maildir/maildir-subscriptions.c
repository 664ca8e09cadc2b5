/* SPDX-License-Identifier: MIT */
/* Subscriptions: `dormouse-subscriptions` in the mail directory, the number of
 * its format in the first line, then one name in each, as UTF-8, sorted. It is
 * written anew, aside, at each change. As long as it is not there, Dovecot's
 * `subscriptions` counts, which is read and never written: so the way back
 * to it is open until the first change, and what it said is not lost after. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imap/maildir/dovecot-files.h"
#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/log.h"

#define SUBSCRIPTIONS_NAME	"dormouse-subscriptions"
#define SUBSCRIPTIONS_TEMP_NAME	SUBSCRIPTIONS_NAME ".tmp"
#define SUBSCRIPTIONS_LOCK_NAME	SUBSCRIPTIONS_NAME ".lock"
#define DOVECOT_NAME		"subscriptions"
#define FORMAT_LINE		"1\n"
/* A hundred thousand names of mailboxes. */
#define SUBSCRIPTIONS_MAX_BYTES	(16u << 20)

struct subscriptions {
	char **names;
	size_t n, cap;
};

static void subscriptions_free(struct subscriptions *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->names[i]);
	free(s->names);
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The one way of writing a name. 0, MAILBOX_E_NAME. */
static int canonical(const char *name, struct buf *out)
{
	char dir[MAILDIR_NAME_MAX + 1];
	int rc = mailbox_dir_name(name, dir);

	if (rc)
		return rc;
	return mailbox_name_from_dir(dir, out) ? 0 : MAILBOX_E_NAME;
}

/* One that cannot be a name (any more) is left out. */
static int subscriptions_add(struct subscriptions *s, const char *name)
{
	char *copy = NULL;
	struct buf b;

	buf_init(&b, MAILBOX_NAME_MAX_BYTES + 1);
	if (canonical(name, &b) != 0) {
		buf_deinit(&b);
		return 0;
	}
	copy = strdup((const char *)b.data);
	buf_deinit(&b);
	if (copy && s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 32;
		void *names = reallocarray(s->names, cap, sizeof(*s->names));

		if (names) {
			s->names = names;
			s->cap = cap;
		}
	}
	if (!copy || s->n == s->cap) {
		free(copy);
		return -ENOMEM;
	}
	s->names[s->n++] = copy;
	return 0;
}

static void subscriptions_sort(struct subscriptions *s)
{
	size_t n = 0;

	if (s->n == 0)
		return;
	qsort(s->names, s->n, sizeof(*s->names), name_cmp);
	for (size_t i = 1; i < s->n; i++) {
		if (!strcmp(s->names[n], s->names[i]))
			free(s->names[i]);
		else
			s->names[++n] = s->names[i];
	}
	s->n = n + 1;
}

/* ---- files ---- */

/* 0, -ENOENT, other -errno. */
static int file_read(struct mail_store *store, const char *name, struct buf *b)
{
	cleanup_fd int fd = openat(store->mail_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	for (;;) {
		void *room = buf_reserve(b, 16384);
		ssize_t n;

		if (!room)
			return -EFBIG;
		n = read(fd, room, 16384);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_added(b, (size_t)n);
	}
}

static int ours_parse(struct subscriptions *s, char *text, size_t len)
{
	char *end = text + len, *line = text + strlen(FORMAT_LINE), *lf;
	int rc = 0;

	if (len < strlen(FORMAT_LINE) || memcmp(text, FORMAT_LINE, strlen(FORMAT_LINE)) != 0)
		return -EBADMSG;
	while (rc == 0 && line < end && (lf = memchr(line, '\n', (size_t)(end - line)))) {
		*lf = '\0';
		rc = subscriptions_add(s, line);
		line = lf + 1;
	}
	return rc;
}

static int take_name(void *ctx, const char *name)
{
	return subscriptions_add(ctx, name);
}

static int load(struct mail_store *store, struct subscriptions *s)
{
	struct buf b;
	int rc;

	buf_init(&b, SUBSCRIPTIONS_MAX_BYTES);
	rc = file_read(store, SUBSCRIPTIONS_NAME, &b);
	if (rc == 0) {
		rc = ours_parse(s, (char *)b.data, b.len);
	} else if (rc == -ENOENT) {
		buf_reset(&b);
		rc = file_read(store, DOVECOT_NAME, &b);
		if (rc == 0)
			rc = dovecot_subscriptions_parse((const char *)b.data, b.len, take_name,
							 s);
		else if (rc == -ENOENT)
			rc = 0;
	}
	buf_deinit(&b);
	subscriptions_sort(s);
	if (rc == -EBADMSG)
		log_error("subscriptions-unreadable", "user=%s file=%s/" SUBSCRIPTIONS_NAME,
			  log_str(store->user), log_str(store->mail_dir));
	return rc;
}

static int write_all(int fd, const struct buf *b)
{
	for (size_t at = 0; at < b->len; ) {
		ssize_t n = fault("subscriptions-write") ? (errno = ENOSPC, -1)
			: write(fd, b->data + at, b->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_error(errno);
		at += (size_t)n;
	}
	return fsync(fd) < 0 ? file_error(errno) : 0;
}

static int save(struct mail_store *store, const struct subscriptions *s)
{
	cleanup_fd int fd = openat(store->mail_fd, SUBSCRIPTIONS_TEMP_NAME,
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct buf b;
	int rc;

	if (fd < 0)
		return file_error(errno);
	buf_init(&b, SUBSCRIPTIONS_MAX_BYTES);
	buf_append_str(&b, FORMAT_LINE);
	for (size_t i = 0; i < s->n; i++)
		buf_printf(&b, "%s\n", s->names[i]);
	rc = b.failed ? MAILBOX_E_NOSPACE : write_all(fd, &b);
	buf_deinit(&b);
	if (rc == 0 && renameat(store->mail_fd, SUBSCRIPTIONS_TEMP_NAME, store->mail_fd,
				SUBSCRIPTIONS_NAME) < 0)
		rc = file_error(errno);
	if (rc == 0)
		return dir_fsync(store->mail_fd, ".");
	unlinkat(store->mail_fd, SUBSCRIPTIONS_TEMP_NAME, 0);
	return rc;
}

/* Held for milliseconds, by our own programs only; it goes with the descriptor. */
static int lock(struct mail_store *store, int *fd_r)
{
	cleanup_fd int fd = openat(store->mail_fd, SUBSCRIPTIONS_LOCK_NAME,
				   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0)
		return file_error(errno);
	while (fcntl(fd, F_OFD_SETLKW, &l) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	*fd_r = fd_steal(&fd);
	return 0;
}

/* ---- the mailbox interface ---- */

int mail_store_subscriptions(struct mail_store *store, int (*fn)(void *ctx, const char *name),
			     void *ctx)
{
	struct subscriptions s = { 0 };
	int rc = load(store, &s);

	for (size_t i = 0; rc == 0 && i < s.n; i++)
		rc = fn(ctx, s.names[i]);
	subscriptions_free(&s);
	return rc;
}

/* Adds or removes; *changed_r false: it was so already. */
static int change(struct subscriptions *s, const char *name, bool on, bool *changed_r)
{
	char **found = s->n == 0 ? NULL :
		bsearch(&name, s->names, s->n, sizeof(*s->names), name_cmp);
	int rc = 0;

	*changed_r = on == !found;
	if (!*changed_r)
		return 0;
	if (on) {
		rc = subscriptions_add(s, name);
		subscriptions_sort(s);
		return rc;
	}
	free(*found);
	memmove(found, found + 1, (size_t)(s->names + s->n - found - 1) * sizeof(*found));
	s->n--;
	return 0;
}

static int subscribe_locked(struct mail_store *store, const char *name, bool on)
{
	struct subscriptions s = { 0 };
	bool changed = false;
	int rc = load(store, &s);

	if (rc == 0)
		rc = change(&s, name, on, &changed);
	if (rc == 0 && changed)
		rc = save(store, &s);
	subscriptions_free(&s);
	return rc;
}

int mail_store_subscribe(struct mail_store *store, const char *name, bool on)
{
	cleanup_fd int fd = -1;
	struct buf b;
	int rc;

	buf_init(&b, MAILBOX_NAME_MAX_BYTES + 1);
	rc = canonical(name, &b);
	if (rc == 0)
		rc = lock(store, &fd);
	if (rc == 0)
		rc = subscribe_locked(store, (const char *)b.data, on);
	buf_deinit(&b);
	return rc;
}
