/* SPDX-License-Identifier: MIT */
#ifndef LIB_CURSOR_H
#define LIB_CURSOR_H
/* Bytes in: a bounded reader over foreign bytes. It cannot pass the end, and
 * it remembers the first failure: once bad, every read returns zero / NULL. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	const uint8_t *data;
	size_t len, pos;
	bool bad;
};
void cursor_init(struct cursor *c, const void *data, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);	/* big-endian, as all below */
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
/* A view into the data (not a copy) of n bytes, or NULL and bad. */
const uint8_t *cursor_bytes(struct cursor *c, size_t n);
/* Copies n bytes; zero-fills when bad. */
void cursor_copy(struct cursor *c, void *out, size_t n);
/* Bytes not read yet. */
size_t cursor_left(const struct cursor *c);
/* True if nothing failed and nothing is left over. */
bool cursor_done(const struct cursor *c);
#endif
