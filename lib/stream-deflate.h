/* SPDX-License-Identifier: MIT */
#ifndef LIB_STREAM_DEFLATE_H
#define LIB_STREAM_DEFLATE_H
/* COMPRESS=DEFLATE (RFC 4978) as the uppermost layer of a stream. Towards the
 * client every flush ends with a sync flush and a sleep starts a fresh
 * compressor, so nothing has to be remembered; from the client only the
 * inflate window and some bits have to be. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/stream.h"
struct buf;

/* The keepalive "* OK Still here\r\n" as one stored block, byte aligned. */
extern const uint8_t deflate_keepalive[22];
/* 0 or -errno. What the client sent behind its COMPRESS command is compressed
 * already: input that is buffered in s is taken and read through the layer. */
int stream_push_deflate(struct stream *s);
/* From a blob of stream_deflate_export(). -EBADMSG. */
int stream_push_deflate_blob(struct stream *s, const void *blob, size_t len);
bool stream_has_deflate(struct stream *s);
/* Appends what another process needs to go on. 0; -EBUSY: in the middle of a
 * block (try later); -E2BIG: more than budget bytes even when deflated. */
int stream_deflate_export(struct stream *s, size_t budget, struct buf *out);
/* A fresh compressor from here on (what was written is flushed). */
void stream_deflate_forget(struct stream *s);
#endif
