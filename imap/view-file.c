/* SPDX-License-Identifier: MIT */
#include "imap/view-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/limits.h"

/* Ten bytes a range at the very worst, and the seal. */
#define VIEW_FILE_MAX_BYTES	((size_t)UIDSET_MAX_RANGES * 10 + 64)

/* The file belongs to one session and one sleep of it: its name is sealed in. */
static int write_all(int fd, const uint8_t *data, size_t len)
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

int view_file_write(int dir_fd, uint64_t sid, uint64_t n, const struct seal_key *key,
		    const struct uidset *uids, char **name_r, uint64_t *bytes_r)
{
	struct buf plain, sealed;
	char name[64];
	int ret;

	snprintf(name, sizeof(name), "view-%016llx-%llu", (unsigned long long)sid,
		 (unsigned long long)n);
	buf_init(&plain, VIEW_FILE_MAX_BYTES);
	buf_init(&sealed, VIEW_FILE_MAX_BYTES + SEAL_OVERHEAD);
	ret = uidset_encode(uids, &plain);
	if (ret == 0)
		ret = seal_close(key, name, strlen(name), plain.data, plain.len, &sealed);
	if (ret == 0) {
		cleanup_fd int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC |
					   O_NOFOLLOW | O_CLOEXEC, 0600);

		ret = fd < 0 ? -errno : write_all(fd, sealed.data, sealed.len);
		if (ret < 0)
			unlinkat(dir_fd, name, 0);
	}
	if (ret == 0 && (*name_r = strdup(name)) == NULL)
		ret = -ENOMEM;
	if (ret == 0)
		*bytes_r = sealed.len;
	buf_deinit(&plain);
	buf_deinit(&sealed);
	return ret;
}

static int read_all(int fd, uint64_t bytes, struct buf *out)
{
	uint8_t *to = buf_reserve(out, bytes);
	size_t have = 0;

	if (to == NULL)
		return -ENOMEM;
	while (have < bytes) {
		ssize_t n = read(fd, to + have, bytes - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		have += (size_t)n;
	}
	buf_added(out, have);
	return 0;
}

int view_file_read(int dir_fd, const char *name, uint64_t bytes, uint64_t sid,
		   const struct seal_key *key, struct uidset *uids_r)
{
	char prefix[32];
	struct buf sealed, plain;
	struct stat st;
	int ret;

	/* The name comes from the state, which is sealed; still, no path. */
	snprintf(prefix, sizeof(prefix), "view-%016llx-", (unsigned long long)sid);
	if (strncmp(name, prefix, strlen(prefix)) != 0 || strchr(name, '/') != NULL ||
	    bytes > VIEW_FILE_MAX_BYTES + SEAL_OVERHEAD)
		return -EBADMSG;
	cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes)
		return -EBADMSG;
	buf_init(&sealed, VIEW_FILE_MAX_BYTES + SEAL_OVERHEAD);
	buf_init(&plain, VIEW_FILE_MAX_BYTES);
	ret = read_all(fd, bytes, &sealed);
	if (ret == 0) {
		ret = seal_open(key, name, strlen(name), sealed.data, sealed.len, &plain);
		if (ret > 0)
			ret = -EBADMSG;
	}
	if (ret == 0 && uidset_decode(uids_r, plain.data, plain.len, UIDSET_MAX_RANGES) < 0)
		ret = -EBADMSG;
	buf_deinit(&sealed);
	buf_deinit(&plain);
	return ret;
}

/* The sleep's number in a file's name, or UINT64_MAX if it is no such name. */
static uint64_t name_number(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	if (strncmp(name, prefix, len) != 0)
		return UINT64_MAX;
	return strtoull(name + len, NULL, 10);
}

void view_file_forget(int dir_fd, uint64_t sid, uint64_t n)
{
	char prefix[32];
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	snprintf(prefix, sizeof(prefix), "view-%016llx-", (unsigned long long)sid);
	while ((e = readdir(dir)) != NULL) {
		if (name_number(e->d_name, prefix) < n)
			unlinkat(dir_fd, e->d_name, 0);
	}
	closedir(dir);
}
