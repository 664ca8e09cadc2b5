/* SPDX-License-Identifier: MIT */
#ifndef MASTER_OWNED_DIR_H
#define MASTER_OWNED_DIR_H
/* A mail directory that root names, and whose it is. Users can put links into
 * it and above it, and whatever they like in its place at any moment. */
#include <limits.h>
#include <sys/types.h>

struct owned_dir {
	char path[PATH_MAX];	/* absolute, without links as of now */
	uid_t uid;
	gid_t gid;
};
/* Links lead to it only if they are root's or its owner's own. And if it is
 * root's, nobody else can put another one in its place. 0, or -errno; -ELOOP,
 * -EPERM: somebody else leads there. Run by anybody but root it is as realpath(). */
int owned_dir_find(const char *dir, struct owned_dir *d);
#endif
