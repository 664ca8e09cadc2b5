/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_ADOPT_H
#define HIBERNATE_ADOPT_H
/* Step 13: a new holder takes over what the keeper has, or begins with
 * nothing. Blocks: it comes before all else. */
struct holder;
/* Reads the keeper's hand-over on fd (taken over), creates or adopts table and
 * watches. low_fd is watch_reserve()'s (taken over). 0 or -errno, logged. */
int adopt(struct holder *h, int fd, int low_fd);
#endif
