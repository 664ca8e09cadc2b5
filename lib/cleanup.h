/* SPDX-License-Identifier: MIT */
#ifndef LIB_CLEANUP_H
#define LIB_CLEANUP_H
/* Ownership by scope. A variable marked cleanup_fd closes its descriptor when
 * the scope ends; fd_steal() moves it out, visibly. */
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_fn(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}
#define cleanup_fd __attribute__((cleanup(cleanup_fd_fn)))
#define cleanup_free __attribute__((cleanup(cleanup_free_fn)))

static inline int fd_steal(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}
/* Closes *fd if it is open and leaves -1. */
static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
#endif
