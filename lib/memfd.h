/* SPDX-License-Identifier: MIT */
#ifndef LIB_MEMFD_H
#define LIB_MEMFD_H
/* Bytes that travel as a descriptor: a memfd that nobody can change any more.
 * For secrets and for what is too large for a message. */
#include <stddef.h>
struct buf;

/* 0 or -errno. */
int memfd_make(const char *name, const void *data, size_t len, int *fd_r);
/* Appends all of it to out, whose max is the limit. One that could still be
 * changed is refused: -EPERM. 0 or -errno. */
int memfd_read(int fd, struct buf *out);
#endif
