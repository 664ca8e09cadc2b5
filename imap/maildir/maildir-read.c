/* SPDX-License-Identifier: MIT */
/* A message's bytes in CRLF form. The file may have LF, CRLF or both: a LF
 * without a CR before it gets one, nothing else changes. Where in the file an
 * offset of the CRLF form is, only reading tells, so a few places are
 * remembered on the way; memory stays the same for any size. "The file" is
 * what mail-file.c makes of it: it may be kept compressed. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/mail-file.h"
#include "imap/maildir/maildir-scan.h"
#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define RAW_BYTES		(32 * 1024)
#define PLACES_MAX		64
#define PLACES_STEP		(256 * 1024)
/* A file renamed faster than we look it up. */
#define CHASE_MAX		20

struct place {
	uint64_t offset;	/* in CRLF form */
	uint64_t raw;		/* in the file */
	bool after_cr;		/* the byte before raw is CR */
	bool owes_lf;		/* the CR of a bare LF was given, the LF not yet */
};
struct mail_reader {
	struct mailbox *box;
	uint32_t uid;
	struct mail_file file;
	uint64_t file_size;
	int64_t size, header_size;	/* -1: not known */
	struct place at;
	struct place places[PLACES_MAX];
	size_t n_places;
	uint64_t step;
	uint64_t buf_raw;		/* where buf begins in the file */
	size_t buf_len;
	char buf[RAW_BYTES];
};

static int open_by_row(struct mailbox *box, uint32_t uid, struct msg *m, int *fd_r)
{
	char path[2 * MAILDIR_NAME_MAX + 8];
	int rc = box_load(box);

	if (rc == 0)
		rc = index_msg_get(&box->store->index, box->row.box, uid, m);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/%s%s", dir_names[m->dir], m->base, m->info);
	*fd_r = openat(box->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return *fd_r < 0 ? -errno : 0;
}

/* The index is behind and cannot be written (a full disk): by its base, then. */
static int open_by_scan(struct mailbox *box, struct msg *m, int *fd_r)
{
	const struct scan_entry *e = NULL;
	char path[MAILDIR_NAME_MAX + 8];
	struct scan s;
	int rc;

	scan_init(&s);
	rc = scan_dir(&s, box->dir_fd, DIR_NEW);
	if (rc == 0)
		rc = scan_dir(&s, box->dir_fd, DIR_CUR);
	if (rc == 0)
		e = scan_find(&s, m->base, strlen(m->base));
	if (rc == 0 && !e)
		rc = MAILBOX_E_EXPUNGED;
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/%s", dir_names[e->dir], scan_name(&s, e));
		*fd_r = openat(box->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		rc = *fd_r < 0 ? -errno : 0;
	}
	scan_deinit(&s);
	return rc;
}

static int open_chased(struct mailbox *box, uint32_t uid, struct msg *m, int *fd_r)
{
	int rc;

	for (int i = 0; ; i++) {
		BOX_RETRY(rc, open_by_row(box, uid, m, fd_r));
		if (rc != -ENOENT || i == CHASE_MAX)
			break;
		BOX_RETRY(rc, sync_box(box, true));
		if (rc == MAILBOX_E_NOSPACE || rc == MAILBOX_E_READONLY)
			return open_by_scan(box, m, fd_r);
		if (rc)
			break;
	}
	return rc == -ENOENT ? MAILBOX_E_BUSY : rc;
}

/* The log names the file: whoever reads it has to find it. */
static int refuse(struct mailbox *box, const struct msg *m, int error, const char *why)
{
	log_error("message-unreadable", "user=%s mailbox=%s uid=%u file=%s/%s%s reason=%s",
		  log_str(box->store->user), log_str(box->name), m->uid, dir_names[m->dir],
		  log_str(m->base), log_str(m->info), log_str(why));
	return error;
}

static int read_begin(struct mail_reader *r, const struct msg *m, int *fd)
{
	struct stat st;
	int rc;

	if (fstat(*fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return refuse(r->box, m, MAILBOX_E_CORRUPT, "not a file");
	rc = mail_file_open(&r->file, fd_steal(fd));
	if (rc == MAILBOX_E_FOREIGN)
		return refuse(r->box, m, rc, mail_form_name(r->file.form));
	r->uid = m->uid;
	r->file_size = (uint64_t)st.st_size;
	r->size = m->size;
	r->header_size = m->header_size;
	r->step = PLACES_STEP;
	return rc;
}

int mailbox_read_open(struct mailbox *box, uint32_t uid, struct mail_reader **r_r)
{
	cleanup_fd int fd = -1;
	struct mail_reader *r;
	struct msg m;
	int rc = open_chased(box, uid, &m, &fd);

	if (rc == -EACCES || rc == -EPERM || rc == -ELOOP)
		return refuse(box, &m, MAILBOX_E_CORRUPT, strerror(-rc));
	if (rc)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->box = box;
	r->file.fd = -1;
	rc = read_begin(r, &m, &fd);
	if (rc)
		mail_reader_close(&r);
	else
		*r_r = r;
	return rc;
}

void mail_reader_close(struct mail_reader **rp)
{
	struct mail_reader *r = *rp;

	if (!r)
		return;
	mail_file_close(&r->file);
	free(r);
	*rp = NULL;
}

/* Bytes of the file from r->at.raw on. Returns how many, 0 at the end. */
static long raw_view(struct mail_reader *r, const char **p)
{
	uint64_t raw = r->at.raw;
	long n;

	if (raw < r->buf_raw || raw >= r->buf_raw + r->buf_len) {
		n = mail_file_read(&r->file, raw, r->buf, sizeof(r->buf));
		r->buf_raw = raw;
		r->buf_len = n < 0 ? 0 : (size_t)n;
		if (n < 0)
			return n;
	}
	*p = r->buf + (raw - r->buf_raw);
	return (long)(r->buf_raw + r->buf_len - raw);
}

static void place_remember(struct mail_reader *r)
{
	uint64_t last = r->n_places ? r->places[r->n_places - 1].offset : 0;

	if (r->at.offset < last || r->at.offset - last < r->step)
		return;
	if (r->n_places == PLACES_MAX) {
		for (size_t i = 0; i < PLACES_MAX / 2; i++)
			r->places[i] = r->places[2 * i + 1];
		r->n_places = PLACES_MAX / 2;
		r->step *= 2;
	}
	r->places[r->n_places++] = r->at;
}

/* Converts up to len bytes at r->at into out (NULL: only moves on). Returns
 * how many, 0 at the end. */
static long convert(struct mail_reader *r, char *out, size_t len)
{
	struct place *at = &r->at;
	const char *p = NULL, *lf;
	long have;
	size_t run;

	if (at->owes_lf) {
		if (out)
			*out = '\n';
		at->owes_lf = false;
		at->offset++;
		at->raw++;
		return 1;
	}
	have = raw_view(r, &p);
	if (have <= 0)
		return have;
	if ((size_t)have > len)
		have = (long)len;
	if (*p == '\n' && !at->after_cr) {
		if (out)
			*out = '\r';
		at->owes_lf = true;
		at->offset++;
		return 1;
	}
	/* Up to the next LF that needs something. */
	lf = p;
	do
		lf = memchr(lf + 1, '\n', (size_t)(p + have - lf - 1));
	while (lf && lf[-1] == '\r');
	run = lf ? (size_t)(lf - p) : (size_t)have;
	if (out)
		memcpy(out, p, run);
	at->offset += run;
	at->raw += run;
	at->after_cr = p[run - 1] == '\r';
	return (long)run;
}

static void seek_near(struct mail_reader *r, uint64_t offset)
{
	struct place best = { 0 };

	if (r->at.offset <= offset)
		best = r->at;
	for (size_t i = 0; i < r->n_places; i++) {
		if (r->places[i].offset <= offset && r->places[i].offset > best.offset)
			best = r->places[i];
	}
	r->at = best;
}

/* Without a bare LF both forms are the same. */
static bool is_plain(const struct mail_reader *r)
{
	return r->file.form == MAIL_FORM_PLAIN && r->size >= 0 && r->header_size >= 0 && (uint64_t)r->size == r->file_size;
}

long mail_reader_read(struct mail_reader *r, uint64_t offset, void *data, size_t len)
{
	char *out = data;
	size_t got = 0;

	if (is_plain(r)) {
		ssize_t n = pread(r->file.fd, data, len, (off_t)offset);

		return n < 0 ? -errno : n;
	}
	seek_near(r, offset);
	while (got < len) {
		bool skip = r->at.offset < offset;
		uint64_t ahead = offset - r->at.offset;
		size_t want = !skip ? len - got : ahead < RAW_BYTES ? (size_t)ahead : RAW_BYTES;
		long n = convert(r, skip ? NULL : out + got, want);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		if (!skip)
			got += (size_t)n;
		place_remember(r);
	}
	return (long)got;
}

static void sizes_keep(struct mail_reader *r)
{
	struct index *ix = &r->box->store->index;
	int rc = index_begin_soon(ix);

	if (rc == 0)
		rc = box_row_is_ours(r->box);
	if (rc == 0)
		rc = index_msg_sizes(ix, r->box->row.box, r->uid, r->size, r->header_size);
	if (rc == 0)
		rc = index_commit(ix);
	index_rollback(ix);
}

/* One pass: lines of the header, then all. RFC 5322 2.1: the first empty line
 * ends the header; without one, all is header. */
static int sizes_compute(struct mail_reader *r)
{
	int64_t total = 0, header = -1;
	bool after_cr = false;
	uint64_t in_line = 0;
	struct place start = r->at;
	const char *p = NULL;
	long n;

	r->at = (struct place){ 0 };
	for (; (n = raw_view(r, &p)) > 0; r->at.raw += (uint64_t)n) {
		for (long i = 0; i < n; i++) {
			total++;
			if (p[i] != '\n') {
				in_line++;
			} else {
				if (!after_cr)
					total++;
				else
					in_line--;
				if (in_line == 0 && header < 0)
					header = total;
				in_line = 0;
			}
			after_cr = p[i] == '\r';
		}
	}
	r->at = start;
	if (n < 0)
		return (int)n;
	r->size = total;
	r->header_size = header < 0 ? total : header;
	return 0;
}

int mail_reader_sizes(struct mail_reader *r, uint64_t *header_r, uint64_t *total_r)
{
	int rc;

	if (r->size < 0 || r->header_size < 0) {
		rc = sizes_compute(r);
		if (rc == -EBADMSG || rc == -EFBIG) {
			log_error("message-unreadable", "user=%s mailbox=%s uid=%u reason=%s",
				  log_str(r->box->store->user), log_str(r->box->name), r->uid,
				  rc == -EFBIG ? "compressed and too large" : "damaged gzip");
			return MAILBOX_E_CORRUPT;
		}
		if (rc)
			return rc;
		sizes_keep(r);
	}
	*header_r = (uint64_t)r->header_size;
	*total_r = (uint64_t)r->size;
	return 0;
}

void mail_reader_learn(struct mail_reader *r, uint64_t header, uint64_t total)
{
	if (r->size >= 0 && r->header_size >= 0)
		return;
	r->header_size = (int64_t)header;
	r->size = (int64_t)total;
	cache_put_sizes(r->box, r->uid, r->size, r->header_size);
}
