/* SPDX-License-Identifier: MIT */
#include "master/binaries.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

static const char *const names[BINARY_COUNT] = {
	[BINARY_LAUNCHER] = "launcher",
	[BINARY_KEEPER] = "keeper",
	[BINARY_MASTER] = "master",
	[BINARY_AUTH] = "auth",
	[BINARY_LOGIN] = "imap-login",
	[BINARY_IMAP] = "imap",
	[BINARY_HOLDER] = "imap-hibernate",
};

const char *binary_name(enum binary which)
{
	return names[which];
}

void binaries_open(struct binaries *b, const char *dir)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		b->fd[i] = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	}
}

void binaries_inherit(struct binaries *b, int first)
{
	struct stat st;

	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		int fd = first + (int)i;

		b->fd[i] = -1;
		if (fstat(fd, &st) < 0)
			continue;
		if (S_ISREG(st.st_mode) && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			b->fd[i] = fd;
		else
			close(fd);
	}
}

void binaries_close(struct binaries *b)
{
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		fd_close(&b->fd[i]);
}

void binaries_replace(struct binaries *b, struct binaries *from)
{
	binaries_close(b);
	*b = *from;
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		from->fd[i] = -1;
}
