/* SPDX-License-Identifier: MIT */
/* APPEND. The message goes to tmp/ as it comes, with LF for CRLF as other
 * servers keep it (less to store, grep works), unless the way back would not
 * give the same bytes: CR CR LF would come back as CR LF. Then the file is
 * turned into CRLF form and goes on so.
 *
 * Commit: file on disk; lock and transaction; its UID on disk in the list; the
 * rename, on disk; the index. A crash after any of these loses nothing that
 * was acknowledged and gives no UID twice: either the file is not there and
 * its UID stays unused, or the next sync finds it with the UID that the list
 * has for it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/mail-file.h"
#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/maildir-unique.h"

#define APPEND_BUF_BYTES	(32 * 1024)
#define PATH_BYTES		(2 * MAILDIR_NAME_MAX + 8)

struct mail_append {
	struct mailbox *box;
	bool shares_box;		/* it is another message's */
	char base[MAILDIR_UNIQUE_MAX_BYTES];
	char tmp[MAILDIR_UNIQUE_MAX_BYTES + 8];	/* tmp/NAME; "": no file */
	int fd;
	bool crlf;			/* kept in CRLF form */
	bool after_cr;			/* a CR came, what follows decides */
	bool stored_cr;			/* the last byte stored is a CR */
	uint64_t vsize, in_line;	/* CRLF form: all, the line so far */
	uint64_t header_size;		/* 0: no empty line yet */
	int error;			/* the first; sticky */
	size_t len;
	char *buf;			/* APPEND_BUF_BYTES, while it is written */
	/* finished */
	bool finished;
	struct msg m;
	bool placed;			/* it is m's, not tmp's, name that it has */
};

static int write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = fault("append-write") ? (errno = ENOSPC, -1) : write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_error(errno);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static void append_flush(struct mail_append *a)
{
	if (a->error == 0 && a->len > 0)
		a->error = write_all(a->fd, a->buf, a->len);
	a->len = 0;
}

static void put(struct mail_append *a, char ch)
{
	if (a->len == APPEND_BUF_BYTES)
		append_flush(a);
	a->buf[a->len++] = ch;
	a->stored_cr = ch == '\r';
}

static int tmp_create(struct mail_append *a)
{
	maildir_unique_name(a->base);
	snprintf(a->tmp, sizeof(a->tmp), "tmp/%s", a->base);
	a->fd = openat(a->box->dir_fd, a->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (a->fd >= 0)
		return 0;
	a->tmp[0] = '\0';
	return errno == ENOENT ? MAILBOX_E_GONE : file_error(errno);
}

/* Everything so far had LF only where CRLF was meant. */
static void turn_to_crlf(struct mail_append *a)
{
	cleanup_fd int old = -1;
	char old_tmp[sizeof(a->tmp)], in[4096];
	off_t at = 0;
	ssize_t n;

	append_flush(a);
	old = fd_steal(&a->fd);
	strcpy(old_tmp, a->tmp);
	if (a->error == 0)
		a->error = tmp_create(a);
	while (a->error == 0 && (n = pread(old, in, sizeof(in), at)) != 0) {
		if (n < 0) {
			a->error = -errno;
			break;
		}
		for (ssize_t i = 0; i < n; i++) {
			if (in[i] == '\n')
				put(a, '\r');
			put(a, in[i]);
		}
		at += n;
	}
	if (old_tmp[0])
		unlinkat(a->box->dir_fd, old_tmp, 0);
	a->crlf = true;
}

static void line_end(struct mail_append *a)
{
	if (!a->crlf && a->stored_cr)
		turn_to_crlf(a);
	if (a->crlf)
		put(a, '\r');
	put(a, '\n');
	a->vsize += 2;
	if (a->in_line == 0 && a->header_size == 0)
		a->header_size = a->vsize;
	a->in_line = 0;
}

static void other_byte(struct mail_append *a, char ch)
{
	put(a, ch);
	a->vsize++;
	a->in_line++;
}

int mailbox_append_write(struct mail_append *a, const void *data, size_t len)
{
	const char *p = data;

	for (size_t i = 0; i < len && a->error == 0; i++) {
		/* A LF on its own is a line end too: it cannot be told later. */
		if (p[i] == '\n') {
			line_end(a);
			a->after_cr = false;
			continue;
		}
		if (a->after_cr)
			other_byte(a, '\r');
		a->after_cr = p[i] == '\r';
		if (!a->after_cr)
			other_byte(a, p[i]);
	}
	return a->error;
}

static int append_create(struct mail_append **a_r)
{
	struct mail_append *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->fd = -1;
	a->buf = malloc(APPEND_BUF_BYTES);
	if (!a->buf) {
		free(a);
		return -ENOMEM;
	}
	*a_r = a;
	return 0;
}

int mailbox_append_begin(struct mail_store *store, const char *name, struct mail_append **a_r)
{
	struct mail_append *a;
	int rc = append_create(&a);

	if (rc)
		return rc;
	rc = mailbox_open(store, name, &a->box);
	if (rc == 0)
		rc = tmp_create(a);
	if (rc)
		mailbox_append_abort(&a);
	else
		*a_r = a;
	return rc;
}

int mailbox_append_more(struct mail_append *first, struct mail_append **a_r)
{
	struct mail_append *a;
	int rc = append_create(&a);

	if (rc)
		return rc;
	a->box = first->box;
	a->shares_box = true;
	rc = tmp_create(a);
	if (rc)
		mailbox_append_abort(&a);
	else
		*a_r = a;
	return rc;
}

void mailbox_append_abort(struct mail_append **ap)
{
	struct mail_append *a = *ap;

	if (!a)
		return;
	if (a->box && a->tmp[0])
		unlinkat(a->box->dir_fd, a->tmp, 0);
	fd_close(&a->fd);
	if (!a->shares_box)
		mailbox_close(&a->box);
	free(a->buf);
	free(a);
	*ap = NULL;
}

/* Bytes that would be taken for a compressed or encrypted message when they
 * are read are none that a client may store. */
static int form_check(const struct mail_append *a)
{
	char head[MAIL_FORM_BYTES];
	ssize_t n = pread(a->fd, head, sizeof(head), 0);

	if (n < 0)
		return -errno;
	return mail_form_of(head, (size_t)n) == MAIL_FORM_PLAIN ? 0 : MAILBOX_E_FOREIGN;
}

static int file_finish(struct mail_append *a, int64_t internaldate)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };
	struct msg *m = &a->m;
	struct stat st;

	if (a->after_cr)
		other_byte(a, '\r');
	append_flush(a);
	if (a->error == 0)
		a->error = form_check(a);
	if (a->error)
		return a->error;
	if (internaldate != INT64_MIN)
		times[1] = (struct timespec){ .tv_sec = internaldate };
	if (futimens(a->fd, times) < 0 || fsync(a->fd) < 0 || fstat(a->fd, &st) < 0)
		return file_error(errno);
	/* The file system may not know dates that far away. */
	m->internaldate = st.st_mtim.tv_sec;
	m->size = (int64_t)a->vsize;
	m->header_size = (int64_t)(a->header_size ? a->header_size : a->vsize);
	maildir_unique_sized(a->base, (uint64_t)st.st_size, a->vsize, m->base);
	return 0;
}

int mailbox_append_finish(struct mail_append *a, int64_t internaldate)
{
	int rc = file_finish(a, internaldate);

	if (rc)
		return rc;
	/* Many may wait for their command's end. */
	a->finished = true;
	fd_close(&a->fd);
	free(a->buf);
	a->buf = NULL;
	return 0;
}

static int flags_set(struct change *c, struct msg *m, const struct mail_append_flags *f)
{
	int rc = 0;

	m->flags = f->flags & MAIL_FLAGS_ALL;
	for (size_t i = 0; rc == 0 && i < f->n_keywords; i++) {
		uint32_t n;

		rc = change_keyword(c, f->keywords[i], &n);
		if (rc == 0)
			keywords_put(m->keywords, n, true);
	}
	if (rc)
		return rc;
	/* new/ is for mail that nobody has touched; and cheaper to sync. */
	m->dir = DIR_NEW;
	if (m->flags || keywords_to_letters(c->box, m->keywords)) {
		m->dir = DIR_CUR;
		rc = maildir_name_info("", strlen(m->base), m->flags,
				       keywords_to_letters(c->box, m->keywords),
				       keywords_known_letters(c->box), m->info);
	}
	return rc;
}

/* Their UIDs, on disk. */
static int uids_give(struct change *c, struct mail_append **a,
		     const struct mail_append_flags *flags, size_t n)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = flags_set(c, &a[i]->m, &flags[i]);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct msg *m = &a[i]->m;

		rc = change_uid(c, m->base, true, &m->uid);
		if (rc == 0 && keywords_beyond_letters(c->box, m->keywords))
			change_keywords_line(c, m);
		m->modseq = change_modseq(c);
	}
	c->row.uidnext = c->row.list_uidnext;
	return rc ? rc : change_lines(c);
}

static void msg_path(const struct msg *m, char path[PATH_BYTES])
{
	snprintf(path, PATH_BYTES, "%s/%s%s", dir_names[m->dir], m->base, m->info);
}

static int file_place(struct mail_append *a, struct change *c)
{
	char path[PATH_BYTES];

	msg_path(&a->m, path);
	if (fault("append-rename"))
		return -EIO;
	if (renameat(a->box->dir_fd, a->tmp, a->box->dir_fd, path) < 0)
		return file_error(errno);
	a->placed = true;
	return index_msg_add(&a->box->store->index, &c->row, &a->m);
}

static int files_place(struct mail_append **a, struct change *c, size_t n)
{
	bool clean[DIR_COUNT], touched[DIR_COUNT] = { false };
	int rc = 0;

	change_stamps_before(c, clean);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = file_place(a[i], c);
		touched[a[i]->m.dir] = true;
	}
	for (int d = 0; rc == 0 && d < DIR_COUNT; d++) {
		if (touched[d])
			rc = dir_fsync(c->box->dir_fd, dir_names[d]);
	}
	if (rc == 0)
		change_stamps_after(c, clean);
	return rc;
}

/* It failed: the files go back to tmp/ before the lock is given up. The client
 * is told so, and nobody saw them. */
static void files_back(struct mail_append **a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char path[PATH_BYTES];

		if (!a[i]->placed)
			continue;
		msg_path(&a[i]->m, path);
		renameat(a[i]->box->dir_fd, path, a[i]->box->dir_fd, a[i]->tmp);
		a[i]->placed = false;
	}
}

static int append_place(struct mail_append **a, const struct mail_append_flags *flags, size_t n)
{
	struct change c;
	int rc = change_begin(a[0]->box, true, false, &c);

	if (rc)
		return rc;
	rc = uids_give(&c, a, flags, n);
	if (rc == 0)
		rc = files_place(a, &c, n);
	if (rc == 0)
		rc = change_commit_pair(&c, &c);
	if (rc) {
		files_back(a, n);
		change_abort_pair(&c, &c);
		return rc;
	}
	change_end_pair(&c, &c);
	for (size_t i = 0; i < n; i++)
		a[i]->tmp[0] = '\0';
	return 0;
}

int mailbox_append_commit_all(struct mail_append **a, const struct mail_append_flags *flags,
			      size_t n, uint32_t *uidvalidity_r, uint32_t *first_uid_r,
			      uint8_t mailbox_id_r[16], uint64_t *modseq_r)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!a[i]->finished)
			rc = mailbox_append_finish(a[i], INT64_MIN);
	}
	if (rc == 0)
		BOX_RETRY(rc, append_place(a, flags, n));
	if (rc == 0) {
		*uidvalidity_r = a[0]->box->uidvalidity;
		*first_uid_r = a[0]->m.uid;
		memcpy(mailbox_id_r, a[0]->box->id, 16);
		*modseq_r = a[0]->m.modseq;
	}
	/* The first one's mailbox is the others'. */
	while (n > 0)
		mailbox_append_abort(&a[--n]);
	return rc;
}

int mailbox_append_commit(struct mail_append **a, int64_t internaldate, uint32_t flags,
			  const char *const *keywords, size_t n_keywords,
			  uint32_t *uidvalidity_r, uint32_t *uid_r, uint8_t mailbox_id_r[16],
			  uint64_t *modseq_r)
{
	struct mail_append_flags f = { flags, keywords, n_keywords };
	int rc = mailbox_append_finish(*a, internaldate);

	if (rc) {
		mailbox_append_abort(a);
		return rc;
	}
	return mailbox_append_commit_all(a, &f, 1, uidvalidity_r, uid_r, mailbox_id_r, modseq_r);
}
