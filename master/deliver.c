/* SPDX-License-Identifier: MIT */
#include "master/deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/imap-write.h"
#include "lib/limits.h"
#include "lib/maildir-unique.h"

#define CHUNK_BYTES	65536

static int path_format(char *out, uint32_t size, int n)
{
	(void)out;
	return n < 0 || (uint32_t)n >= size ? -ENAMETOOLONG : 0;
}

int deliver_mailbox_dir(const char *maildir, const char *mailbox, char *dir,
			uint32_t size)
{
	struct buf name;
	int ret;

	if (strcasecmp(mailbox, "INBOX") == 0)
		return path_format(dir, size, snprintf(dir, size, "%s", maildir));
	/* Each level has a name, and none leaves the directory. */
	if (!*mailbox || *mailbox == '.' || mailbox[strlen(mailbox) - 1] == '.' ||
	    strstr(mailbox, "..") || strchr(mailbox, '/') ||
	    !imap_utf8_valid(mailbox, strlen(mailbox)))
		return -EINVAL;
	for (const char *p = mailbox; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return -EINVAL;
	}
	buf_init(&name, MAILBOX_NAME_MAX_BYTES);
	ret = imap_utf7_encode(mailbox, &name);
	if (ret == 0)
		ret = path_format(dir, size, snprintf(dir, size, "%s/.%.*s", maildir,
						      (int)name.len,
						      (const char *)name.data));
	buf_deinit(&name);
	return ret;
}

int deliver_mail_dir(const char *mail, const char *user, const char *home, char *dir,
		     uint32_t size)
{
	uint32_t at = 0;

	if (mail[0] == '~') {
		if (home[0] != '/')
			return -EINVAL;
		at = (uint32_t)snprintf(dir, size, "%s", home);
		mail++;
	}
	for (; *mail; mail++) {
		const char one[2] = { *mail, '\0' }, *add = one;

		if (mail[0] == '%' && mail[1] == 'u') {
			if (!*user || strchr(user, '/') || user[0] == '.')
				return -EINVAL;
			add = user;
			mail++;
		}
		if (at >= size)
			return -ENAMETOOLONG;
		at += (uint32_t)snprintf(dir + at, size - at, "%s", add);
	}
	return at < size ? 0 : -ENAMETOOLONG;
}

int deliver_make_maildir(const char *dir)
{
	static const char *const parts[] = { "tmp", "new", "cur" };
	cleanup_fd int fd = -1;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < 3; i++) {
		if (mkdirat(fd, parts[i], 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* ---- the text ---- */

struct text {
	uint64_t size, lines;
	bool cr;		/* a CR that waits for what follows it */
};

/* LF line ends in place; a CR before LF goes, any other stays. out has room
 * for one byte more than in. Returns the length. */
static size_t text_convert(struct text *t, const char *in, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (t->cr && in[i] != '\n')
			out[n++] = '\r';
		t->cr = in[i] == '\r';
		if (t->cr)
			continue;
		t->lines += in[i] == '\n';
		out[n++] = in[i];
	}
	t->size += n;
	return n;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int text_copy(int from, int to, struct text *t)
{
	static char in[CHUNK_BYTES], out[CHUNK_BYTES + 1];
	ssize_t n;
	int ret = 0;

	while (ret == 0 && (n = read(from, in, sizeof(in))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		ret = write_all(to, out, text_convert(t, in, (size_t)n, out));
	}
	if (ret == 0 && t->cr) {
		t->size++;
		ret = write_all(to, "\r", 1);
	}
	if (ret == 0 && t->size == 0)
		return -ENODATA;
	return ret < 0 || fsync(to) == 0 ? ret : -errno;
}

/* ---- the file ---- */

static int store_in(int dir_fd, int fd, char name_r[256])
{
	char unique[MAILDIR_UNIQUE_MAX_BYTES], sized[MAILDIR_UNIQUE_MAX_BYTES];
	char from[256], to[256];
	struct text text = { 0 };
	cleanup_fd int file = -1, new_fd = -1;
	int ret;

	maildir_unique_name(unique);
	snprintf(from, sizeof(from), "tmp/%s", unique);
	file = openat(dir_fd, from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		      0600);
	if (file < 0)
		return -errno;
	ret = text_copy(fd, file, &text);
	/* Each LF counts as CR LF. */
	maildir_unique_sized(unique, text.size, text.size + text.lines, sized);
	snprintf(to, sizeof(to), "new/%s", sized);
	if (ret == 0 && renameat(dir_fd, from, dir_fd, to) < 0)
		ret = -errno;
	if (ret < 0) {
		unlinkat(dir_fd, from, 0);
		return ret;
	}
	snprintf(name_r, 256, "%s", sized);
	/* The name is on disk too before we say that it is stored. */
	new_fd = openat(dir_fd, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return new_fd >= 0 && fsync(new_fd) == 0 ? 0 : -errno;
}

int deliver_store(const char *dir, int fd, char name_r[256], int *dir_fd_r)
{
	cleanup_fd int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (dir_fd < 0)
		return -errno;
	ret = store_in(dir_fd, fd, name_r);
	if (ret == 0)
		*dir_fd_r = fd_steal(&dir_fd);
	return ret;
}
