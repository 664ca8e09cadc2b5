/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ITEMS_H
#define MASTER_ITEMS_H
/* The named descriptors that master works with and the keeper keeps, and the
 * talk with the keeper about them. */
#include <stdint.h>

#define ITEMS_MAX	128

struct items {
	struct item {
		char *name;
		int fd;
	} v[ITEMS_MAX];
	unsigned n;
};
/* The descriptor (still the items'), or -1. */
int items_get(const struct items *items, const char *name);
/* Takes fd over in any case; an older one of that name is closed. 0 or -errno. */
int items_put(struct items *items, const char *name, int fd);
void items_deinit(struct items *items);

/* Connected to BASE/keeper. 0 or -errno. */
int keeper_connect(const char *base_dir, int *fd_r);
/* All that is kept, into items. Waits at most timeout_ms. 0 or -errno. */
int keeper_fetch(int fd, struct items *items, int timeout_ms);
/* Sends KEEP for each item; the answers come later. 0 or -errno. */
int keeper_keep_all(int fd, const struct items *items);
#endif
