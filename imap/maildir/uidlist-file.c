/* SPDX-License-Identifier: MIT */
/* `dormouse-uidlist` on disk: lock, header, append, rewrite. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/log.h"

#define LIST_LOCK_MS		15000	/* longer than any honest change takes */
#define LIST_BYTES_MAX		(1u << 30)
#define LIST_HEADER_BYTES	256	/* the first line is shorter */

/* ---- the lock ---- */

static int lock_open(struct mailbox *box)
{
	struct stat st;

	if (box->lock_fd >= 0)
		return 0;
	box->lock_fd = openat(box->dir_fd, UIDLIST_LOCK_NAME,
			      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (box->lock_fd >= 0)
		return 0;
	/* In a directory that was removed nothing can be created. */
	if (errno == ENOENT && fstat(box->dir_fd, &st) == 0 && st.st_nlink == 0)
		return MAILBOX_E_GONE;
	return file_error(errno);
}

/* Somebody may have removed the file: then the lock is worth nothing. */
static bool lock_is_current(const struct mailbox *box)
{
	struct stat by_fd, by_name;

	return fstat(box->lock_fd, &by_fd) == 0 &&
	       fstatat(box->dir_fd, UIDLIST_LOCK_NAME, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
	       by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev;
}

static int lock_taken(struct mailbox *box)
{
	struct stat st;

	if (box->uidvalidity && !box->lock_named && fstat(box->lock_fd, &st) == 0) {
		if (st.st_size == 0)
			list_lock_name(box, box->id, box->uidvalidity);
		box->lock_named = true;
	}
	return 0;
}

/* An open file description's lock: it goes with the process, however that
 * ends, and two mailboxes of one process exclude each other. There is no wait
 * with a time limit, so ask again, ever less often. */
int list_lock(struct mailbox *box)
{
	uint64_t end_ms = clock_ms() + LIST_LOCK_MS;
	struct timespec pause = { .tv_nsec = 100000 };

	for (;;) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		int rc = lock_open(box);

		if (rc)
			return rc;
		if (fcntl(box->lock_fd, F_OFD_SETLK, &lock) == 0) {
			if (lock_is_current(box))
				return lock_taken(box);
			fd_close(&box->lock_fd);
			continue;
		}
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return -errno;
		if (clock_ms() >= end_ms)
			return MAILBOX_E_BUSY;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 5000000)
			pause.tv_nsec *= 2;
	}
}

void list_unlock(struct mailbox *box)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (box->lock_fd >= 0)
		fcntl(box->lock_fd, F_OFD_SETLK, &lock);
}

/* ---- header ---- */

static int header_read(int fd, struct uidlist_line *header_r)
{
	char line[LIST_HEADER_BYTES];
	ssize_t n = pread(fd, line, sizeof(line), 0);
	char *end;

	if (n < 0)
		return -errno;
	end = memchr(line, '\n', (size_t)n);
	if (!end || uidlist_line_parse(line, (size_t)(end - line), header_r) != UIDLIST_OK ||
	    header_r->kind != UIDLIST_HEADER)
		return MAILBOX_E_CORRUPT;
	return 0;
}

int list_header(int dir_fd, struct uidlist_line *header_r)
{
	cleanup_fd int fd = openat(dir_fd, UIDLIST_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT ? MAILBOX_E_NONEXISTENT : -errno;
	return header_read(fd, header_r);
}

int list_open(struct mailbox *box)
{
	struct uidlist_line header;
	struct stat st;
	int rc;

	if (fstatat(box->dir_fd, UIDLIST_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? MAILBOX_E_GONE : -errno;
	if (box->list_fd >= 0 && st.st_ino == box->list_ino)
		return 0;
	fd_close(&box->list_fd);
	box->list_fd = openat(box->dir_fd, UIDLIST_NAME,
			      O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (box->list_fd < 0)
		return errno == ENOENT ? MAILBOX_E_GONE : -errno;
	rc = header_read(box->list_fd, &header);
	if (rc == 0 && memcmp(header.id, box->id, sizeof(box->id)) != 0)
		rc = MAILBOX_E_GONE;
	if (rc == 0 && header.uid != box->uidvalidity)
		rc = MAILBOX_E_VALIDITY;
	if (rc == 0 && fstat(box->list_fd, &st) < 0)
		rc = -errno;
	if (rc) {
		fd_close(&box->list_fd);
		return rc;
	}
	box->list_ino = st.st_ino;
	box->list_generation = header.value;
	return 0;
}

/* ---- writing ---- */

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = fault("uidlist-write") ? (errno = ENOSPC, -1) : write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int list_append(struct mailbox *box, struct box_row *row, const struct buf *lines, bool durable)
{
	struct stat st;
	int rc = 0;

	if (fstat(box->list_fd, &st) < 0)
		return -errno;
	/* A torn last line gets its line feed now, and is a bad line for ever. */
	if ((uint64_t)st.st_size != row->list_offset)
		rc = write_all(box->list_fd, "\n", 1);
	if (rc == 0)
		rc = write_all(box->list_fd, lines->data, lines->len);
	if (rc == 0 && durable && fdatasync(box->list_fd) < 0)
		rc = -errno;
	if (rc == 0 && fault("uidlist-sync"))
		rc = -EIO;
	if (rc) {
		if (ftruncate(box->list_fd, st.st_size) < 0)
			log_warn("uidlist-torn", "mailbox=%s errno=%d", log_str(box->name), errno);
		return file_error(-rc);
	}
	row->list_offset = (uint64_t)st.st_size + lines->len +
			   ((uint64_t)st.st_size != row->list_offset);
	for (size_t i = 0; i < lines->len; i++)
		row->list_lines += lines->data[i] == '\n';
	return 0;
}

int list_replace(int dir_fd, const struct buf *b)
{
	cleanup_fd int fd = openat(dir_fd, UIDLIST_TEMP_NAME,
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return file_error(errno);
	rc = b->failed ? -ENOMEM : write_all(fd, b->data, b->len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0 && renameat(dir_fd, UIDLIST_TEMP_NAME, dir_fd, UIDLIST_NAME) < 0)
		rc = -errno;
	if (rc == 0)
		return dir_fsync(dir_fd, ".");
	unlinkat(dir_fd, UIDLIST_TEMP_NAME, 0);
	return file_error(-rc);
}

int list_create(struct mail_store *store, int dir_fd, const char *name, const struct buf *more,
		uint32_t uidvalidity, const uint8_t id[16])
{
	struct uidlist_line header = { .kind = UIDLIST_HEADER, .uid = uidvalidity };
	struct uidlist_line modseq = { .kind = UIDLIST_MODSEQ, .value = clock_wall_us() };
	struct buf b;
	int rc;

	memcpy(header.id, id, sizeof(header.id));
	if (getrandom(&header.value, sizeof(header.value), 0) != sizeof(header.value))
		return -EIO;
	header.value >>= 1;
	buf_init(&b, LIST_BYTES_MAX);
	uidlist_line_write(&b, &header);
	uidlist_line_write(&b, &modseq);
	if (more && more->len)
		buf_append(&b, more->data, more->len);
	rc = list_replace(dir_fd, &b);
	buf_deinit(&b);
	if (rc == 0)
		log_info("mailbox-new", "mailbox=%s uidvalidity=%u", log_str(name), uidvalidity);
	return rc;
}
