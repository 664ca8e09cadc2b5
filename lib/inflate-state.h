/* SPDX-License-Identifier: MIT */
#ifndef LIB_INFLATE_STATE_H
#define LIB_INFLATE_STATE_H
/* A raw deflate stream (RFC 1951) that is read in one process and read on in
 * another: between two blocks all that a reader needs is the window, less than
 * a byte of bits, and what it took since. Pure: no descriptor. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct buf;

/* Bytes taken since the last block boundary that a saved state may hold; the
 * empty block of a partial flush needs two. */
#define INFLATE_TAIL_MAX_BYTES	16

struct inflate_state;
/* NULL: no memory. */
struct inflate_state *inflate_state_create(void);
void inflate_state_destroy(struct inflate_state **z);
/* Inflates from in to out until the one is used up or the other is full.
 * 0; 1: the stream ended (its last block was read); -EBADMSG: no deflate
 * stream; -ENOMEM. */
int inflate_state_run(struct inflate_state *z, const uint8_t *in, size_t in_len, size_t *used_r,
		      uint8_t *out, size_t out_size, size_t *got_r);
/* The last run filled its output: more may come without more input. */
bool inflate_state_is_full(const struct inflate_state *z);
/* Appends what another process needs to read on. 0; -EBUSY: in the middle of a
 * block, never so after a flush of the writer's (any kind); -E2BIG: more than
 * budget bytes; -ENOMEM. */
int inflate_state_save(const struct inflate_state *z, size_t budget, struct buf *out);
/* 0, -EBADMSG, -ENOMEM. */
int inflate_state_restore(struct inflate_state **z_r, const void *blob, size_t len);
#endif
