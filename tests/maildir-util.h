/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MAILDIR_UTIL_H
#define TESTS_MAILDIR_UTIL_H
/* A mail store in a temporary directory, for the tests of imap/maildir/. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/mailbox.h"
#include "lib/buf.h"
#include "lib/uidset.h"
#include "tests/unit.h"

static char top[PATH_MAX], mail_dir[PATH_MAX + 32], index_dir[PATH_MAX + 32];

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void top_remove(void)
{
	if (top[0])
		nftw(top, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	top[0] = '\0';
}

static inline void top_make(void)
{
	const char *tmp = getenv("TMPDIR");

	top_remove();
	snprintf(top, sizeof(top), "%s/dormouse-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(top)) {
		perror(top);
		exit(1);
	}
	snprintf(mail_dir, sizeof(mail_dir), "%s/Maildir", top);
	snprintf(index_dir, sizeof(index_dir), "%s/Maildir/.dormouse", top);
}

static inline struct mail_store *store_new(void)
{
	const struct mail_store_options opt = {
		.user = "anna", .mail_dir = mail_dir, .index_dir = index_dir,
	};
	struct mail_store *store = NULL;

	if (mail_store_open(&opt, &store) != 0) {
		fprintf(stderr, "cannot open a store in %s\n", top);
		exit(1);
	}
	return store;
}

static inline struct mailbox *box_new(struct mail_store *store, const char *name)
{
	struct mailbox *box = NULL;
	int rc = mailbox_open(store, name, &box);

	if (rc != 0) {
		fprintf(stderr, "mailbox_open %s: %s\n", name, mailbox_strerror(rc));
		exit(1);
	}
	return box;
}

/* A file in the Maildir, as another program would put it there. */
static inline void put_file(const char *path, const char *text)
{
	char full[3 * PATH_MAX];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", mail_dir, path);
	f = fopen(full, "w");
	if (!f) {
		perror(full);
		exit(1);
	}
	fputs(text, f);
	fclose(f);
}

static inline int move_file(const char *from, const char *to)
{
	char a[3 * PATH_MAX], b[3 * PATH_MAX];

	snprintf(a, sizeof(a), "%s/%s", mail_dir, from);
	snprintf(b, sizeof(b), "%s/%s", mail_dir, to);
	return rename(a, b);
}

static inline int remove_file(const char *path)
{
	char a[3 * PATH_MAX];

	snprintf(a, sizeof(a), "%s/%s", mail_dir, path);
	return remove(a);
}

static inline void remove_index(void)
{
	static const char *const names[] = { "index.db", "index.db-wal", "index.db-shm" };
	char a[3 * PATH_MAX];

	for (size_t i = 0; i < 3; i++) {
		snprintf(a, sizeof(a), "%s/%s", index_dir, names[i]);
		remove(a);
	}
}

/* Makes the directories' times old, so that equal means unchanged. */
static inline void age_dirs(const char *box)
{
	static const char *const names[] = { "cur", "new" };
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	char a[3 * PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < 2; i++) {
		snprintf(a, sizeof(a), "%s/%s/%s", mail_dir, box, names[i]);
		if (stat(a, &st) == 0) {
			times[1] = st.st_mtim;
			times[1].tv_sec -= 10;
			utimensat(AT_FDCWD, a, times, 0);
		}
	}
}

/* The set as text, in a static buffer (four of them). */
static inline const char *set_text(const struct uidset *s)
{
	static char out[4][4096];
	static unsigned int n;
	struct buf b;
	char *o = out[n++ % 4];

	buf_init(&b, 4000);
	uidset_print(s, &b);
	buf_append_u8(&b, 0);
	snprintf(o, 4096, "%s", b.failed ? "too long" : (char *)b.data);
	buf_deinit(&b);
	return o;
}

static inline const char *box_uids(struct mailbox *box)
{
	struct uidset s;
	const char *text;

	uidset_init(&s);
	if (mailbox_uids(box, &s) != 0)
		return "error";
	text = set_text(&s);
	uidset_deinit(&s);
	return text;
}

static inline struct uidset set_of(const char *text)
{
	struct uidset s;

	uidset_init(&s);
	if (uidset_parse(&s, text, strlen(text), 0, 1000) != 0)
		abort();
	return s;
}

#define check_str(a, b) unit_check_str((a), (b), __FILE__, __LINE__)
static inline void unit_check_str(const char *a, const char *b, const char *file, unsigned line)
{
	bool ok = !strcmp(a, b);

	if (!ok)
		fprintf(stderr, "\n%s:%u: is \"%s\", should be \"%s\"\n", file, line, a, b);
	CU_assertImplementation(ok, line, "equal strings", file, "", CU_FALSE);
}

/* APPEND; returns the UID, 0 if it failed (*rc_r says how). */
static inline uint32_t append_bytes(struct mail_store *store, const char *name, const void *data,
				    size_t len, uint32_t flags, const char *keyword, int *rc_r)
{
	struct mail_append *a;
	uint32_t validity, uid = 0;
	uint64_t modseq;
	uint8_t id[16];
	int rc = mailbox_append_begin(store, name, &a);

	if (rc == 0) {
		rc = mailbox_append_write(a, data, len);
		if (rc)
			mailbox_append_abort(&a);
		else
			rc = mailbox_append_commit(&a, 1000000000, flags, &keyword,
						   keyword ? 1 : 0, &validity, &uid, id, &modseq);
	}
	if (rc_r)
		*rc_r = rc;
	return rc ? 0 : uid;
}

static inline uint32_t append_text(struct mail_store *store, const char *name, const char *text,
				   uint32_t flags)
{
	return append_bytes(store, name, text, strlen(text), flags, NULL, NULL);
}

/* STORE; returns what changed. */
static inline const char *store_flags(struct mailbox *box, const char *uids, enum flag_op op,
				      uint32_t flags)
{
	struct uidset set = set_of(uids), changed;
	const char *text;
	int rc;

	uidset_init(&changed);
	rc = mailbox_store(box, &set, op, flags, NULL, 0, UINT64_MAX, &changed, NULL, NULL, NULL);
	text = rc ? mailbox_strerror(rc) : set_text(&changed);
	uidset_deinit(&set);
	uidset_deinit(&changed);
	return text;
}

static inline const char *expunge(struct mailbox *box, const char *uids)
{
	struct uidset set = set_of(uids), gone;
	const char *text;
	int rc;

	uidset_init(&gone);
	rc = mailbox_expunge(box, &set, &gone, NULL);
	text = rc ? mailbox_strerror(rc) : set_text(&gone);
	uidset_deinit(&set);
	uidset_deinit(&gone);
	return text;
}

static inline const char *changed_since(struct mailbox *box, uint64_t since)
{
	struct uidset s;
	const char *text;

	uidset_init(&s);
	text = mailbox_changed_since(box, since, &s) ? "error" : set_text(&s);
	uidset_deinit(&s);
	return text;
}

static inline const char *vanished_since(struct mailbox *box, uint64_t since, bool *complete)
{
	struct uidset s;
	const char *text;

	uidset_init(&s);
	text = mailbox_vanished_since(box, since, &s, complete) ? "error" : set_text(&s);
	uidset_deinit(&s);
	return text;
}
#endif
