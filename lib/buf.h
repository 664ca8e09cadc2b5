/* SPDX-License-Identifier: MIT */
#ifndef LIB_BUF_H
#define LIB_BUF_H
/* Bytes out: a byte buffer that grows up to a hard maximum and remembers
 * failure, so that building a message is straight-line code with one question
 * at the end. */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;	/* NULL while empty */
	size_t len;	/* bytes in use */
	size_t cap;
	size_t max;	/* never grows beyond this many bytes */
	bool failed;	/* an append did not fit or memory was short; sticky */
};

/* An empty buffer of at most max_bytes. Allocates nothing yet. */
void buf_init(struct buf *b, size_t max_bytes);
/* Frees the memory; the buffer may be used again as after buf_init(). */
void buf_deinit(struct buf *b);
/* As buf_deinit(), but overwrites the content first: for secrets. */
void buf_wipe(struct buf *b);
/* Empties it, keeps memory, clears failed. */
void buf_reset(struct buf *b);
/* Append n bytes. 0, or -ENOBUFS (over max) / -ENOMEM; nothing is appended
 * then and b->failed is set; later appends fail too until buf_reset(). */
int buf_append(struct buf *b, const void *data, size_t n);
int buf_append_str(struct buf *b, const char *s);
int buf_append_u8(struct buf *b, uint8_t v);
/* Big-endian integers. */
int buf_append_u16(struct buf *b, uint16_t v);
int buf_append_u32(struct buf *b, uint32_t v);
int buf_append_u64(struct buf *b, uint64_t v);
/* In decimal: what printf would do, for lines that are written by the thousand. */
int buf_append_decimal(struct buf *b, uint64_t v);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Room for n more bytes; returns where to write them, or NULL (failed is set).
 * Call buf_added() with what was really written. */
void *buf_reserve(struct buf *b, size_t n);
void buf_added(struct buf *b, size_t n);
/* Drops n bytes (n <= len) from the front. */
void buf_consume(struct buf *b, size_t n);
#endif
