/* SPDX-License-Identifier: MIT */
#ifndef MASTER_BINARIES_H
#define MASTER_BINARIES_H
/* The executables of all programs as descriptors, opened once, at the start or
 * by an upgrade. Whatever a package manager does to the files meanwhile: what
 * dies is started again in the version that the others have, and an upgrade that
 * fails can go back. */
#include <sys/types.h>

enum binary {
	BINARY_LAUNCHER, BINARY_KEEPER, BINARY_MASTER, BINARY_AUTH, BINARY_LOGIN,
	BINARY_IMAP, BINARY_HOLDER, BINARY_COUNT
};
struct binaries {
	int fd[BINARY_COUNT];	/* -1: there is no such file */
};
const char *binary_name(enum binary which);
/* Opens what is in dir. A file that is missing is logged by whoever wants to start it. */
void binaries_open(struct binaries *b, const char *dir);
/* Those inherited as first, first + 1, ... (/dev/null stands for a missing one). */
void binaries_inherit(struct binaries *b, int first);
void binaries_close(struct binaries *b);
/* Takes the descriptors of *from over; those of b are closed. */
void binaries_replace(struct binaries *b, struct binaries *from);
#endif
