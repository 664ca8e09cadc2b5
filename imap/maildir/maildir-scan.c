/* SPDX-License-Identifier: MIT */
#include "imap/maildir/maildir-scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"

/* Behind the last change of ours, and behind the first. */
#define BELIEVED_US		2000000
#define BELIEVED_MAX_US		30000000
#define SCAN_NAMES_MAX	(1u << 30)	/* bytes of names: four million messages */

void scan_init(struct scan *s)
{
	*s = (struct scan){ 0 };
	buf_init(&s->names, SCAN_NAMES_MAX);
}

void scan_deinit(struct scan *s)
{
	buf_deinit(&s->names);
	free(s->entries);
	free(s->table);
	scan_init(s);
}

void scan_clear(struct scan *s)
{
	buf_reset(&s->names);
	s->n = s->twins = 0;
	memset(s->sum, 0, sizeof(s->sum));
	if (s->table)
		memset(s->table, 0, s->table_size * sizeof(s->table[0]));
	s->ignored = false;
}

static size_t scan_slot(const struct scan *s, const char *base, size_t len)
{
	return (size_t)maildir_name_hash(base, len) & (s->table_size - 1);
}

static void scan_link(struct scan *s, size_t i)
{
	struct scan_entry *e = &s->entries[i];
	size_t slot = scan_slot(s, scan_name(s, e), e->base_len);

	e->next = s->table[slot];
	s->table[slot] = (uint32_t)i + 1;
}

static int scan_grow(struct scan *s)
{
	size_t cap = s->cap ? s->cap * 2 : 64;
	struct scan_entry *entries = reallocarray(s->entries, cap, sizeof(*entries));
	uint32_t *table;

	if (!entries)
		return -ENOMEM;
	s->entries = entries;
	table = calloc(cap * 2, sizeof(*table));
	if (!table)
		return -ENOMEM;
	free(s->table);
	s->table = table;
	s->table_size = cap * 2;
	s->cap = cap;
	for (size_t i = 0; i < s->n; i++) {
		if (!s->entries[i].twin)
			scan_link(s, i);
	}
	return 0;
}

struct scan_entry *scan_find(struct scan *s, const char *base, size_t len)
{
	if (!s->table)
		return NULL;
	for (uint32_t i = s->table[scan_slot(s, base, len)]; i; i = s->entries[i - 1].next) {
		struct scan_entry *e = &s->entries[i - 1];

		if (e->base_len == len && !memcmp(scan_name(s, e), base, len))
			return e;
	}
	return NULL;
}

static int scan_add(struct scan *s, int dir, const char *name, const struct maildir_name *n,
		    ino_t ino)
{
	struct scan_entry *e, *twin;
	int rc;

	if (s->n == s->cap) {
		rc = scan_grow(s);
		if (rc)
			return rc;
	}
	e = &s->entries[s->n];
	*e = (struct scan_entry){
		.name = (uint32_t)s->names.len,
		.base_len = (uint16_t)n->base_len,
		.dir = (uint8_t)dir,
		.ino = ino,
	};
	rc = buf_append(&s->names, name, strlen(name) + 1);
	if (rc)
		return rc;
	twin = scan_find(s, n->base, n->base_len);
	if (twin) {
		e->twin = (uint32_t)(twin - s->entries) + 1;
		s->twins++;
	} else {
		scan_link(s, s->n);
	}
	s->n++;
	return 0;
}

static int dir_open(int dir_fd, int dir, DIR **d_r)
{
	cleanup_fd int fd = openat(dir_fd, dir_names[dir], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? MAILBOX_E_GONE : -errno;
	*d_r = fdopendir(fd);
	if (!*d_r)
		return -errno;
	fd_steal(&fd);
	return 0;
}

/* A link to a file is a message as well (mail that somebody keeps elsewhere);
 * a directory, a socket or a link to nowhere is none. */
static bool is_file(DIR *d, const struct dirent *de)
{
	struct stat st;

	if (de->d_type == DT_REG)
		return true;
	if (de->d_type != DT_LNK && de->d_type != DT_UNKNOWN)
		return false;
	return fstatat(dirfd(d), de->d_name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

/* Each message's name, through a function. */
static int dir_walk(DIR *d, int (*fn)(void *ctx, const char *name, ino_t ino,
				      const struct maildir_name *n),
		    void *ctx, bool *ignored_r)
{
	struct dirent *de;
	int rc = 0;

	for (errno = 0; rc == 0 && (de = readdir(d)); errno = 0) {
		struct maildir_name n;

		if (de->d_name[0] == '.' || !is_file(d, de))
			continue;
		if (maildir_name_parse(de->d_name, &n))
			rc = fn(ctx, de->d_name, de->d_ino, &n);
		else
			*ignored_r = true;
	}
	return rc ? rc : -errno;
}

struct walk_ctx {
	struct scan *s;
	int dir;
};

static int walk_add(void *ctx, const char *name, ino_t ino, const struct maildir_name *n)
{
	struct walk_ctx *w = ctx;

	w->s->sum[w->dir] += maildir_name_hash(name, strlen(name));
	return scan_add(w->s, w->dir, name, n, ino);
}

int scan_dir(struct scan *s, int dir_fd, int dir)
{
	struct walk_ctx w = { s, dir };
	DIR *d;
	int rc;

	s->started_us = (int64_t)clock_wall_us();
	rc = dir_stamp_get(dir_fd, dir, &s->stamps[dir]);
	if (rc == 0)
		rc = dir_open(dir_fd, dir, &d);
	if (rc)
		return rc;
	rc = dir_walk(d, walk_add, &w, &s->ignored);
	closedir(d);
	return rc;
}

static int walk_sum(void *ctx, const char *name, ino_t ino, const struct maildir_name *n)
{
	uint64_t *sum = ctx;

	*sum += maildir_name_hash(name, strlen(name));
	return 0;
}

int scan_sum(int dir_fd, int dir, uint64_t *sum_r)
{
	bool ignored;
	DIR *d;
	int rc = dir_open(dir_fd, dir, &d);

	if (rc)
		return rc;
	*sum_r = 0;
	rc = dir_walk(d, walk_sum, sum_r, &ignored);
	closedir(d);
	return rc;
}

int dir_stamp_get(int dir_fd, int dir, struct dir_stamp *stamp_r)
{
	struct stat st;

	if (fstatat(dir_fd, dir_names[dir], &st, 0) < 0)
		return errno == ENOENT ? MAILBOX_E_GONE : -errno;
	*stamp_r = (struct dir_stamp){
		.secs = st.st_mtim.tv_sec,
		.nsecs = st.st_mtim.tv_nsec,
		.ino = st.st_ino,
	};
	return 0;
}

bool dir_stamp_same(const struct dir_stamp *a, const struct dir_stamp *b)
{
	return a->secs == b->secs && a->nsecs == b->nsecs && a->ino == b->ino;
}

bool dir_stamp_believed(const struct mailbox *box, const struct dir_stamp *s, int64_t now_us)
{
	int64_t age_us = now_us - (s->secs * 1000000 + s->nsecs / 1000);
	int64_t since_us = now_us - s->trust * 1000000;

	if (s->trust == TRUST_FULL)
		return true;
	return s->trust > TRUST_FULL && !box->doubt && age_us >= 0 && age_us < BELIEVED_US &&
	       since_us >= 0 && since_us < BELIEVED_MAX_US;
}

/* Kernels before 6.13 stamp by the tick, some file systems by the second: a
 * change right after the scan may leave the same mtime. Two seconds on, it
 * cannot. A stamp from the future proves nothing either, nor does one that
 * another host's clock made. */
bool dir_stamp_old(const struct mailbox *box, const struct dir_stamp *s, int64_t now_us)
{
	return !box->remote && s->secs * 1000000 + s->nsecs / 1000 <= now_us - 2000000;
}
