/* SPDX-License-Identifier: MIT */
/* Directories of mailboxes: Maildir++ names, and what must be in them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/imap-write.h"

/* RFC 9051 5.1: INBOX in any case; its children too, lest two spellings name
 * two mailboxes. */
static bool is_inbox(const char *name, char end)
{
	return !strncasecmp(name, "INBOX", 5) && name[5] == end;
}

static bool name_possible(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > MAILBOX_NAME_MAX_BYTES || !imap_utf8_valid(name, len) ||
	    name[0] == '.' || name[len - 1] == '.' || strstr(name, "..") || strchr(name, '/'))
		return false;
	for (size_t i = 0; i < len; i++) {
		/* RFC 9051 5.1: no control characters. Wildcards are valid, and
		   in names that other programs gave. */
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return false;
	}
	return true;
}

int mailbox_dir_name(const char *name, char dir_r[MAILDIR_NAME_MAX + 1])
{
	struct buf b;
	int rc;

	if (is_inbox(name, '\0')) {
		strcpy(dir_r, ".");
		return 0;
	}
	if (!name_possible(name))
		return MAILBOX_E_NAME;
	buf_init(&b, MAILDIR_NAME_MAX);
	buf_append_u8(&b, '.');
	rc = imap_utf7_encode(name, &b);
	if (rc == 0 && is_inbox(name, '.'))
		memcpy(b.data + 1, "INBOX", 5);
	if (rc == 0) {
		memcpy(dir_r, b.data, b.len);
		dir_r[b.len] = '\0';
	}
	buf_deinit(&b);
	return rc ? MAILBOX_E_NAME : 0;
}

bool mailbox_name_from_dir(const char *dir, struct buf *name)
{
	char back[MAILDIR_NAME_MAX + 1];

	buf_reset(name);
	if (!strcmp(dir, "."))
		return buf_append(name, "INBOX", 6) == 0;
	if (dir[0] != '.' || imap_utf7_decode(dir + 1, name) != 0 ||
	    buf_append_u8(name, 0) != 0)
		return false;
	/* Only what can be named again: `.inbox` would be a second INBOX. */
	return mailbox_dir_name((const char *)name->data, back) == 0 && !strcmp(back, dir);
}

int mailbox_dir_open(struct mail_store *store, const char *dir, int *fd_r)
{
	cleanup_fd int fd = openat(store->mail_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st, self, index;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? MAILBOX_E_NONEXISTENT : -errno;
	if (fstatat(fd, "cur", &st, 0) < 0)
		return errno == ENOENT ? MAILBOX_E_NONEXISTENT : -errno;
	/* `.dormouse` is no mailbox, even if another server made one of it. */
	if (fstat(fd, &self) < 0 || fstat(store->index_fd, &index) < 0)
		return -errno;
	if (self.st_ino == index.st_ino && self.st_dev == index.st_dev)
		return MAILBOX_E_NONEXISTENT;
	*fd_r = fd_steal(&fd);
	return 0;
}

int mailbox_dir_populate(int dir_fd)
{
	/* cur last: with it, it is a mailbox. */
	static const char *const names[] = { "tmp", "new", "cur" };

	for (size_t i = 0; i < 3; i++) {
		if (mkdirat(dir_fd, names[i], 0700) < 0 && errno != EEXIST)
			return file_error(errno);
	}
	return 0;
}

/* Maildir++ quota programs look for it. */
int mailbox_dir_mark(int dir_fd)
{
	cleanup_fd int fd = openat(dir_fd, "maildirfolder", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? file_error(errno) : 0;
}

int dir_fsync(int dir_fd, const char *name)
{
	cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

/* ---- UIDVALIDITY ---- */

/* The last one that Dovecot gave, if it was here. */
static uint32_t dovecots_uidvalidity(struct mail_store *store)
{
	unsigned long last = 0;
	struct buf b;

	buf_init(&b, 1u << 16);
	if (dovecot_file_read(store->mail_fd, "dovecot-uidvalidity", &b) == 0 &&
	    buf_append_u8(&b, 0) == 0)
		last = strtoul((const char *)b.data, NULL, 16);
	buf_deinit(&b);
	return last < UINT32_MAX ? (uint32_t)last : 0;
}

/* Each mailbox gets another one, even two of the same name in one second. The
 * file holds the last one given, for all mailboxes of the user. */
int uidvalidity_next(struct mail_store *store, uint32_t *uidvalidity_r)
{
	cleanup_fd int fd = openat(store->mail_fd, UIDVALIDITY_NAME,
				   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	uint32_t next = (uint32_t)(clock_wall_us() / 1000000);
	char text[16] = "";
	unsigned long last;

	if (fd < 0)
		return file_error(errno);
	/* Held for microseconds, by our own programs only. */
	if (fcntl(fd, F_OFD_SETLKW, &lock) < 0 || pread(fd, text, sizeof(text) - 1, 0) < 0)
		return -errno;
	last = text[0] ? strtoul(text, NULL, 16) : dovecots_uidvalidity(store);
	if (last < UINT32_MAX && last >= next)
		next = (uint32_t)last + 1;
	snprintf(text, sizeof(text), "%08x\n", next);
	if (pwrite(fd, text, 9, 0) != 9 || fdatasync(fd) < 0)
		return file_error(errno);
	*uidvalidity_r = next;
	return 0;
}
