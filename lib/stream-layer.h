/* SPDX-License-Identifier: MIT */
#ifndef LIB_STREAM_LAYER_H
#define LIB_STREAM_LAYER_H
/* How a layer fits into a stream: only for those who write one.
 *
 * The stream reads from and writes to its top layer; a layer reads from and
 * writes to the one below; at the bottom is the socket. A layer keeps what it
 * cannot pass on: input that is no whole record yet, output that the layer
 * below did not take. */
#include <stddef.h>

struct stream;
struct stream_layer;
struct stream_layer_ops {
	/* >0 bytes, 0 at the end, -EAGAIN, other -errno. Must try the layer
	 * below before it says -EAGAIN. */
	long (*read)(struct stream_layer *l, void *data, size_t size);
	/* How many bytes it took (>0), -EAGAIN, other -errno. What it took is
	 * its own to deliver. */
	long (*write)(struct stream_layer *l, const void *data, size_t len);
	/* Passes on what it keeps. 0: nothing is left; 1: below is full; -errno.
	 * The layer below is flushed by the stream. */
	int (*flush)(struct stream_layer *l);
	/* Bytes kept: in (read from below, not handed up), out (taken, not
	 * written below). */
	size_t (*kept_in)(const struct stream_layer *l);
	size_t (*kept_out)(const struct stream_layer *l);
	/* Frees the layer, wipes its secrets. */
	void (*destroy)(struct stream_layer *l);
};
/* Embedded in the layer's own struct. */
struct stream_layer {
	const struct stream_layer_ops *ops;
	struct stream_layer *below;
};
/* Puts l on top, which the stream owns from now on. Everything written before
 * must be flushed (0), else -EBUSY. Input that is buffered already stays as it
 * is, above the new layer: it must be consumed (or put below) by then. */
int stream_push_layer(struct stream *s, struct stream_layer *l);
/* The layer of that kind, or NULL. */
struct stream_layer *stream_find_layer(struct stream *s, const struct stream_layer_ops *ops);
#endif
