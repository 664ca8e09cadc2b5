/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H
/* Start a program of ours: nothing of the parent comes along but descriptors 0
 * to 2 (0 is /dev/null), those named, and a reduced environment. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "master/binaries.h"

#define SPAWN_FDS_MAX	24

struct spawn {
	const struct binaries *binaries;
	enum binary program;
	const char *const *args;	/* after argv[0], NULL-terminated; NULL: none */
	/* They become 3, 4, ... in this order. For -1 the program finds /dev/null
	 * there: a closed number would soon be something else's. */
	int fds[SPAWN_FDS_MAX];
	unsigned n_fds;
	/* launcher and master alone are told where the service manager listens. */
	bool notify;
};
/* 0 once the program runs (exec succeeded), else -errno. Its session is its
 * own, so that a terminal's interrupt reaches only whom the shell started. */
int spawn_program(const struct spawn *sp, pid_t *pid_r);
/* Becomes the program: same pid, same children. Returns only when that failed, -errno,
 * and then descriptors are in disorder: the process should end. */
int spawn_become(const struct spawn *sp);
/* The directory of the running executable. 0 or -errno. */
int spawn_own_dir(char *dir, size_t size);
/* True if fd is a socket, and not the /dev/null of a start without one. */
bool spawn_fd_is_socket(int fd);
#endif
