/* SPDX-License-Identifier: MIT */
#ifndef MASTER_KEEPER_H
#define MASTER_KEEPER_H
/* What must outlive everybody else: named descriptors, and a duplicate of each
 * sleeper's. It parses nothing of a client's, opens nothing, locks nothing. */
#include <stdint.h>

struct keeper;
struct loop;

/* listen_fd stays the caller's and must outlive the keeper; -1: it comes with
 * keeper_succeed(). Descriptors below
 * max_fds are handed out; some of them are left free for messages that come.
 * NULL with errno. */
struct keeper *keeper_create(struct loop *loop, int listen_fd, uint32_t max_fds);
/* At an upgrade, before the loop runs: takes everything over from the keeper at
 * the other end of peer (which then ends), its listener included. 0 or -errno:
 * then that one goes on, and we must not. */
int keeper_succeed(struct keeper *keeper, int peer);
/* Closes everything that is kept. */
void keeper_destroy(struct keeper **keeper);
/* One line on standard error: what it holds. */
void keeper_report(const struct keeper *keeper);
#endif
