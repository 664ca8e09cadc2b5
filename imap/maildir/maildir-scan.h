/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_SCAN_H
#define IMAP_MAILDIR_SCAN_H
/* What is in cur/ and new/ now: the names, findable by base. new/ is read
 * first, so that a message which somebody moves from new/ to cur/ meanwhile is
 * seen twice rather than not at all. readdir() is not atomic: a name that is
 * missing proves nothing (maildir-sync.c looks again). */
#include "imap/maildir/maildir.h"

struct scan_entry {
	uint32_t name;			/* offset in names */
	uint16_t base_len;
	uint8_t dir;
	bool matched;			/* belongs to a message of the index */
	bool dropped;			/* turned out not to be there */
	uint32_t next;			/* hash chain, index + 1 */
	uint32_t twin;			/* the same base once more, index + 1 */
	ino_t ino;
};
struct scan {
	struct buf names;
	struct scan_entry *entries;
	size_t n, cap, twins;
	uint32_t *table;
	size_t table_size;
	uint64_t sum[DIR_COUNT];	/* as box_row.name_sum */
	struct dir_stamp stamps[DIR_COUNT];	/* from before reading */
	int64_t started_us;
	bool ignored;			/* there were names that are no messages */
};
void scan_init(struct scan *s);
void scan_deinit(struct scan *s);
void scan_clear(struct scan *s);
/* Reads one directory. 0, MAILBOX_E_GONE, -errno. */
int scan_dir(struct scan *s, int dir_fd, int dir);
/* Sum of hashes alone: no names are kept. */
int scan_sum(int dir_fd, int dir, uint64_t *sum_r);
struct scan_entry *scan_find(struct scan *s, const char *base, size_t len);
static inline const char *scan_name(const struct scan *s, const struct scan_entry *e)
{
	return (const char *)s->names.data + e->name;
}
#endif
