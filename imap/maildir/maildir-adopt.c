/* SPDX-License-Identifier: MIT */
/* A Maildir that Dovecot served: its UIDVALIDITY, UIDs, mailbox id and
 * keywords are taken over once, when a mailbox has no list of ours. Its files
 * are read, never written. What does not parse is left out: a message without
 * a line gets a new UID, as Dovecot does it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "imap/maildir/maildir.h"
#include "imap/maildir/dovecot-files.h"
#include "lib/cleanup.h"
#include "lib/log.h"

/* 64 bytes for each of four million messages. */
#define FOREIGN_BYTES_MAX	(1u << 28)
#define KEYWORDS_BYTES_MAX	(1u << 18)

int dovecot_file_read(int dir_fd, const char *name, struct buf *b)
{
	cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	for (;;) {
		void *room = buf_reserve(b, 65536);
		ssize_t n;

		if (!room)
			return -EFBIG;
		n = read(fd, room, 65536);
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_added(b, (size_t)n);
	}
}

struct adopt {
	struct buf *lines;
	uint32_t last_uid, next_uid;
	uint32_t n_keywords;
	size_t left_out;
};

static int take_uid(void *ctx, const struct dovecot_record *r)
{
	struct adopt *a = ctx;

	/* They ascend; a file that does not is damaged. */
	if (r->uid <= a->last_uid) {
		a->left_out++;
		return 0;
	}
	a->last_uid = r->uid;
	return uidlist_line_write(a->lines, &(struct uidlist_line){ .kind = UIDLIST_UID,
		.uid = r->uid, .text = r->base, .text_len = r->base_len });
}

static int take_keyword(void *ctx, int letter, const char *name, size_t len)
{
	struct adopt *a = ctx;

	return uidlist_line_write(a->lines, &(struct uidlist_line){
		.kind = UIDLIST_KEYWORD, .uid = a->n_keywords++,
		.letter = (char)('a' + letter), .text = name, .text_len = len });
}

static void adopt_keywords(int dir_fd, struct adopt *a)
{
	struct buf b;

	buf_init(&b, KEYWORDS_BYTES_MAX);
	if (dovecot_file_read(dir_fd, "dovecot-keywords", &b) == 0)
		dovecot_keywords_parse((const char *)b.data, b.len, take_keyword, a);
	buf_deinit(&b);
}

int dovecot_adopt(int dir_fd, struct buf *lines, uint32_t *uidvalidity, uint8_t id[16])
{
	struct adopt a = { .lines = lines };
	struct dovecot_uidlist header;
	struct buf b;
	int rc;

	buf_init(&b, FOREIGN_BYTES_MAX);
	rc = dovecot_file_read(dir_fd, "dovecot-uidlist", &b);
	if (rc == 0)
		rc = dovecot_uidlist_parse((const char *)b.data, b.len, &header, take_uid, &a);
	buf_deinit(&b);
	if (rc == -ENOENT)
		return 0;
	if (rc || lines->failed) {
		log_warn("dovecot-uidlist-unreadable", "error=%s",
			 log_str(rc < 0 ? strerror(-rc) : "format"));
		buf_reset(lines);
		return 0;
	}
	/* Its own "next" may be stale: the higher of the two. */
	a.next_uid = header.next_uid > a.last_uid ? header.next_uid : a.last_uid + 1;
	uidlist_line_write(lines, &(struct uidlist_line){
		.kind = UIDLIST_NEXT, .uid = a.next_uid });
	adopt_keywords(dir_fd, &a);
	*uidvalidity = header.uidvalidity;
	if (header.has_id)
		memcpy(id, header.id, 16);
	log_info("dovecot-adopted", "uidvalidity=%u next_uid=%u keywords=%u left_out=%zu",
		 header.uidvalidity, a.next_uid, a.n_keywords, a.left_out);
	return 0;
}
