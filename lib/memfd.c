/* SPDX-License-Identifier: MIT */
/* Read with pread(): the receivers of one descriptor share its offset. */
#include "lib/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"

#define MEMFD_SEALS	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int memfd_make(const char *name, const void *data, size_t len, int *fd_r)
{
	cleanup_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t at = 0;

	if (fd < 0)
		return -errno;
	while (at < len) {
		ssize_t n = pwrite(fd, (const char *)data + at, len - at, (off_t)at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, MEMFD_SEALS) < 0)
		return -errno;
	*fd_r = fd_steal(&fd);
	return 0;
}

int memfd_read(int fd, struct buf *out)
{
	struct stat st;
	size_t at = 0, size;
	uint8_t *room;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((seals & MEMFD_SEALS) != MEMFD_SEALS)
		return -EPERM;
	size = (size_t)st.st_size;
	if (size == 0)
		return 0;
	room = buf_reserve(out, size);
	if (!room)
		return -ENOBUFS;
	while (at < size) {
		ssize_t n = pread(fd, room + at, size - at, (off_t)at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	buf_added(out, size);
	return 0;
}
