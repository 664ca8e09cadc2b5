/* SPDX-License-Identifier: MIT */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H
/* Bytes to and from a client. Everything that a session or imap-login reads or
 * writes goes through one stream, so that layers (TLS records, deflate) can be
 * put in between without anybody above noticing. Today there is only the
 * socket. The layers' place: struct stream_layer, pushed on top of the socket.
 *
 * Input: bytes are read into a buffer; the user looks at it and consumes.
 * Output: bytes are gathered, and written by stream_flush(). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream;
struct stream_counts { uint64_t read, written; };
/* Takes fd over (non-blocking is set). input_max: the most bytes that are
 * buffered unread. NULL: no memory (fd is not taken then). */
struct stream *stream_create(int fd, size_t input_max);
/* Closes the descriptor too, unless it was stolen. */
void stream_destroy(struct stream **s);
int stream_fd(const struct stream *s);
/* Gives the descriptor away; the stream can only be destroyed after. */
int stream_steal_fd(struct stream *s);

/* Reads what is there. >0: that many new bytes; 0: the peer's end (EOF);
 * -EAGAIN; -ENOBUFS: the buffer is full, consume first; other -errno: dead. */
long stream_fill(struct stream *s);
/* Layers hand up no more than was asked for, and keep the rest, of which poll()
 * knows nothing: call this until -EAGAIN when the input was used and more is
 * wanted. Reads what layers keep; -EAGAIN if that is nothing (whole), else as stream_fill(). */
long stream_refill(struct stream *s);
/* What is unread. Valid until the next fill/consume. */
const uint8_t *stream_input(const struct stream *s, size_t *len_r);
void stream_consume(struct stream *s, size_t n);
/* Puts bytes in front of what will be read (input that slept along, or that
 * imap-login had read). 0 or -errno. */
int stream_unread(struct stream *s, const void *data, size_t len);
/* True if bytes are waiting that were read from the socket and not used. */
bool stream_has_input(const struct stream *s);

/* Gathers output. When more than high_water bytes wait, it writes and, in
 * blocking mode, waits for the peer (see stream_set_wait). 0 or -errno; an error sticks. */
int stream_write(struct stream *s, const void *data, size_t len);
int stream_puts(struct stream *s, const char *text);
int stream_printf(struct stream *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes what it can. 0: all written; 1: the socket is full, try again on
 * POLLOUT; -errno: dead. */
int stream_flush(struct stream *s);
/* Flushes all, waiting for POLLOUT up to the stream's wait. 0 or -errno
 * (-ETIMEDOUT when the peer took nothing for that long). */
int stream_drain(struct stream *s);
/* Waits until at least one more byte can be read or EOF, then fills; like stream_fill() but -ETIMEDOUT instead of -EAGAIN. */
long stream_fill_wait(struct stream *s);
/* wait_ms 0 (default): never wait, as imap-login wants it. Otherwise
 * stream_write() above the high-water mark, stream_drain() and
 * stream_fill_wait() wait this long for progress. */
void stream_set_wait(struct stream *s, uint64_t wait_ms);
/* Who waits, or reads or writes much, is still to hear of something else: on what
 * fd() says (-1: nothing) fn() is asked whether it is a reason to give up. Then
 * the call fails with -ECANCELED, for good if it was a write. fn() must not use the
 * stream, and reads what is there, or fd() says -1 from then on. */
void stream_set_interrupt(struct stream *s, int (*fd)(void *ctx), bool (*fn)(void *ctx),
			  void *ctx);
/* Bytes that must go out before any other byte, but only when there is one:
 * keepalives that were prepared and are spent (doc/handover.md, 11). They go
 * to the socket in front of the first output, below all layers. Replaces an
 * earlier prelude. 0 or -errno. */
int stream_set_prelude(struct stream *s, const void *data, size_t len);
/* Bytes of it not written yet. */
size_t stream_prelude_left(const struct stream *s);
size_t stream_pending(const struct stream *s);	/* bytes gathered, not written */
int stream_error(const struct stream *s);	/* 0, or the -errno that stuck */
uint64_t stream_bytes_in(const struct stream *s);
uint64_t stream_bytes_out(const struct stream *s);
/* Bytes read from and written to the socket itself since stream_create(), a
 * prelude and the layers' own (TLS records without data) included. */
struct stream_counts stream_wire(const struct stream *s);
/* For counters that go on after a sleep. */
void stream_set_bytes(struct stream *s, uint64_t in, uint64_t out);
#endif
