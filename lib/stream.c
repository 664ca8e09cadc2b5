/* SPDX-License-Identifier: MIT */
/* Two queues of bytes over a chain of layers, the lowest of which is the
 * socket. Nothing here knows of lines or commands.
 *
 * Output has two manners. Without a wait (imap-login, which serves many) bytes
 * gather up to a hard maximum. With one (imap, which serves one) a writer that
 * is ahead of the client waits for it, so that an answer of any size passes
 * through a queue of constant size. */
#include "lib/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/list.h"
#include "lib/stream-layer.h"

/* Above this, output is written without being asked for. */
#define STREAM_HIGH_WATER_BYTES	(64 * 1024)
/* A writer that waits goes on below this. */
#define STREAM_LOW_WATER_BYTES	(32 * 1024)
/* Without a wait: more than this for one client is refused. */
#define STREAM_OUT_MAX_BYTES	(1024 * 1024)
/* Reads start small and grow for clients that send much. */
#define STREAM_READ_MIN_BYTES	1024
#define STREAM_READ_MAX_BYTES	(64 * 1024)
/* KEEPALIVES_MAX of them under TLS. */
#define STREAM_PRELUDE_MAX_BYTES (8 * 1024)
/* An empty queue larger than this gives its memory back. */
#define STREAM_KEEP_BYTES	(8 * 1024)

/* Bytes [at, b.len) are in the queue. */
struct stream_queue {
	struct buf b;
	size_t at;
};

struct stream {
	struct stream_layer socket;
	struct stream_layer *top;
	int fd;
	int error;
	uint64_t wait_ms;
	struct stream_queue in, out;
	size_t in_max;
	size_t read_size;
	uint64_t bytes_in, bytes_out;
	struct stream_counts wire;
	struct stream_queue prelude;
	int (*interrupt_fd)(void *ctx);
	bool (*interrupt)(void *ctx);
	void *interrupt_ctx;
};

/* ---- queues ---- */

static size_t queue_len(const struct stream_queue *q)
{
	return q->b.len - q->at;
}

static void queue_drop(struct stream_queue *q, size_t n)
{
	q->at += n;
	if (q->at < q->b.len)
		return;
	q->at = 0;
	/* Commands carry passwords, answers carry mail. */
	if (q->b.cap > STREAM_KEEP_BYTES)
		buf_wipe(&q->b);
	else
		buf_reset(&q->b);
}

/* Room for n bytes behind; moves the rest down when the front is mostly
 * used up, so each byte is moved a bounded number of times. */
static void *queue_room(struct stream_queue *q, size_t n)
{
	if (q->at > 0 && (q->at >= q->b.len / 2 || n > q->b.max - q->b.len)) {
		buf_consume(&q->b, q->at);
		q->at = 0;
	}
	return buf_reserve(&q->b, n);
}

static int queue_append(struct stream_queue *q, const void *data, size_t n)
{
	void *room = queue_room(q, n);

	if (!room)
		return -ENOMEM;
	memcpy(room, data, n);
	buf_added(&q->b, n);
	return 0;
}

/* ---- the socket, lowest of layers ---- */

static long socket_read(struct stream_layer *l, void *data, size_t size)
{
	struct stream *s = container_of(l, struct stream, socket);
	ssize_t n;

	do
		n = read(s->fd, data, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	s->wire.read += (uint64_t)n;
	return n;
}

/* sendmsg() for MSG_NOSIGNAL: a client that is gone is an error, no signal. */
static long socket_send(struct stream *s, const void *data, size_t len)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	s->wire.written += (uint64_t)n;
	return n;
}

/* The prelude goes below all layers: under TLS it is sealed already. */
static long socket_write(struct stream_layer *l, const void *data, size_t len)
{
	struct stream *s = container_of(l, struct stream, socket);
	bool first = queue_len(&s->prelude) > 0;

	while (queue_len(&s->prelude) > 0) {
		long n = socket_send(s, s->prelude.b.data + s->prelude.at,
				     queue_len(&s->prelude));

		if (n < 0)
			return n;
		queue_drop(&s->prelude, (size_t)n);
	}
	if (first)
		(void)fault("stream-prelude");
	return socket_send(s, data, len);
}

static int socket_flush(struct stream_layer *l)
{
	return 0;
}

static size_t socket_kept(const struct stream_layer *l)
{
	return 0;
}

static void socket_destroy(struct stream_layer *l)
{
}

static const struct stream_layer_ops socket_ops = {
	.read = socket_read,
	.write = socket_write,
	.flush = socket_flush,
	.kept_in = socket_kept,
	.kept_out = socket_kept,
	.destroy = socket_destroy,
};

/* ---- making and ending ---- */

struct stream *stream_create(int fd, size_t input_max)
{
	struct stream *s = calloc(1, sizeof(*s));
	int flags, on = 1;

	if (!s)
		return NULL;
	s->fd = fd;
	s->socket.ops = &socket_ops;
	s->top = &s->socket;
	s->in_max = input_max;
	s->read_size = STREAM_READ_MIN_BYTES;
	buf_init(&s->in.b, input_max);
	buf_init(&s->out.b, STREAM_OUT_MAX_BYTES);
	buf_init(&s->prelude.b, STREAM_PRELUDE_MAX_BYTES);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		s->error = -errno;
	else if (!(flags & O_NONBLOCK) &&
		 fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		s->error = -errno;
	/* We gather ourselves: what is flushed is to leave at once, not after
	 * the acknowledgement of what was flushed before. No matter if it is
	 * no TCP socket. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return s;
}

void stream_destroy(struct stream **s_p)
{
	struct stream *s = *s_p;

	if (!s)
		return;
	while (s->top != &s->socket) {
		struct stream_layer *l = s->top;

		s->top = l->below;
		l->ops->destroy(l);
	}
	if (s->fd >= 0)
		close(s->fd);
	buf_wipe(&s->in.b);
	buf_wipe(&s->out.b);
	buf_deinit(&s->prelude.b);
	free(s);
	*s_p = NULL;
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}

int stream_steal_fd(struct stream *s)
{
	int fd = s->fd;

	s->fd = -1;
	s->error = -EBADF;
	return fd;
}

int stream_push_layer(struct stream *s, struct stream_layer *l)
{
	if (stream_pending(s) > 0)
		return -EBUSY;
	l->below = s->top;
	s->top = l;
	return 0;
}

struct stream_layer *stream_find_layer(struct stream *s, const struct stream_layer_ops *ops)
{
	for (struct stream_layer *l = s->top; l != NULL; l = l->below) {
		if (l->ops == ops)
			return l;
	}
	return NULL;
}

static int stream_fail(struct stream *s, int error)
{
	if (!s->error)
		s->error = error;
	return s->error;
}

static bool stream_is_full(long error)
{
	return error == -EAGAIN || error == -EWOULDBLOCK;
}

/* ---- input ---- */

long stream_fill(struct stream *s)
{
	size_t room = s->in_max - queue_len(&s->in);
	size_t size = s->read_size < room ? s->read_size : room;
	void *to;
	long n;

	if (s->error)
		return s->error;
	if (room == 0)
		return -ENOBUFS;
	to = queue_room(&s->in, size);
	if (!to)
		return stream_fail(s, -ENOMEM);
	n = s->top->ops->read(s->top, to, size);
	if (n < 0)
		return stream_is_full(n) ? -EAGAIN : stream_fail(s, (int)n);
	buf_added(&s->in.b, (size_t)n);
	s->bytes_in += (uint64_t)n;
	if ((size_t)n == s->read_size && s->read_size < STREAM_READ_MAX_BYTES)
		s->read_size *= 2;
	return n;
}

long stream_refill(struct stream *s)
{
	for (const struct stream_layer *l = s->top; l != NULL; l = l->below) {
		if (l->ops->kept_in(l) > 0)
			return stream_fill(s);
	}
	return -EAGAIN;
}

static int stream_interrupt_fd(struct stream *s)
{
	return s->interrupt != NULL ? s->interrupt_fd(s->interrupt_ctx) : -1;
}

static bool stream_interrupted(struct stream *s)
{
	return stream_interrupt_fd(s) >= 0 && s->interrupt(s->interrupt_ctx);
}

static int stream_poll(struct stream *s, short events)
{
	uint64_t due = clock_ms() + (s->wait_ms < INT_MAX ? s->wait_ms : INT_MAX);

	for (;;) {
		struct pollfd p[] = {
			{ .fd = s->fd, .events = events },
			{ .fd = stream_interrupt_fd(s), .events = POLLIN },
		};
		uint64_t now = clock_ms(), left = now < due ? due - now : 0;
		int n = poll(p, 2, (int)left);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[1].revents != 0 && stream_interrupted(s))
			return -ECANCELED;
		if (n > 0 && p[0].revents != 0)
			return 0;
		if (left == 0)
			return -ETIMEDOUT;
	}
}

long stream_fill_wait(struct stream *s)
{
	long n;
	int ret;

	/* Who sends without a pause is never waited for. */
	if (stream_interrupted(s))
		return -ECANCELED;
	while ((n = stream_fill(s)) == -EAGAIN) {
		ret = stream_poll(s, POLLIN);
		if (ret < 0)
			return ret;
	}
	return n;
}

const uint8_t *stream_input(const struct stream *s, size_t *len_r)
{
	static const uint8_t nothing[1];

	*len_r = queue_len(&s->in);
	return *len_r ? s->in.b.data + s->in.at : nothing;
}

void stream_consume(struct stream *s, size_t n)
{
	queue_drop(&s->in, n);
}

int stream_unread(struct stream *s, const void *data, size_t len)
{
	size_t have = queue_len(&s->in);

	if (len == 0)
		return 0;
	if (len > s->in_max - have)
		return -ENOBUFS;
	if (len > s->in.at) {
		if (!queue_room(&s->in, len))
			return -ENOMEM;
		memmove(s->in.b.data + s->in.at + len,
			s->in.b.data + s->in.at, have);
		buf_added(&s->in.b, len);
	} else {
		s->in.at -= len;
	}
	memcpy(s->in.b.data + s->in.at, data, len);
	return 0;
}

bool stream_has_input(const struct stream *s)
{
	if (queue_len(&s->in) > 0)
		return true;
	for (const struct stream_layer *l = s->top; l; l = l->below) {
		if (l->ops->kept_in(l) > 0)
			return true;
	}
	return false;
}

/* ---- output ---- */

/* The queue into the top layer. 0 when it is empty, 1, -errno. */
static int stream_flush_queue(struct stream *s)
{
	while (queue_len(&s->out) > 0) {
		long n = s->top->ops->write(s->top, s->out.b.data + s->out.at,
					    queue_len(&s->out));

		if (n < 0)
			return stream_is_full(n) ? 1 : (int)n;
		queue_drop(&s->out, (size_t)n);
		s->bytes_out += (uint64_t)n;
	}
	return 0;
}

int stream_flush(struct stream *s)
{
	int ret;

	if (s->error)
		return s->error;
	ret = stream_flush_queue(s);
	for (struct stream_layer *l = s->top; l && ret >= 0; l = l->below) {
		int more = l->ops->flush(l);

		if (more != 0)
			ret = more;
	}
	return ret < 0 ? stream_fail(s, ret) : ret;
}

int stream_set_prelude(struct stream *s, const void *data, size_t len)
{
	queue_drop(&s->prelude, queue_len(&s->prelude));
	return len > 0 ? queue_append(&s->prelude, data, len) : 0;
}

size_t stream_prelude_left(const struct stream *s)
{
	return queue_len(&s->prelude);
}

/* Until at most `most` bytes wait. */
static int stream_drain_to(struct stream *s, size_t most)
{
	int ret;

	while ((ret = stream_flush(s)) > 0 && stream_pending(s) > most) {
		ret = stream_poll(s, POLLOUT);
		if (ret < 0)
			return ret;
	}
	return ret < 0 ? ret : 0;
}

int stream_drain(struct stream *s)
{
	return stream_drain_to(s, 0);
}

static int stream_write_waiting(struct stream *s, const uint8_t *p, size_t len)
{
	while (len > 0) {
		size_t room, n;
		int ret = 0;

		if (queue_len(&s->out) >= STREAM_HIGH_WATER_BYTES)
			ret = stream_interrupted(s) ? -ECANCELED :
				stream_drain_to(s, STREAM_LOW_WATER_BYTES);
		if (ret == 0) {
			room = STREAM_HIGH_WATER_BYTES - queue_len(&s->out);
			n = len < room ? len : room;
			ret = queue_append(&s->out, p, n);
			p += n;
			len -= n;
		}
		/* Part of an answer is lost: nothing may follow it. */
		if (ret < 0)
			return stream_fail(s, ret);
	}
	return 0;
}

static int stream_write_gathering(struct stream *s, const void *data, size_t len)
{
	int ret;

	if (len > STREAM_HIGH_WATER_BYTES ||
	    queue_len(&s->out) > STREAM_HIGH_WATER_BYTES - len) {
		ret = stream_flush(s);
		if (ret < 0)
			return ret;
	}
	if (len > STREAM_OUT_MAX_BYTES - queue_len(&s->out))
		return stream_fail(s, -ENOBUFS);
	ret = queue_append(&s->out, data, len);
	return ret < 0 ? stream_fail(s, ret) : 0;
}

int stream_write(struct stream *s, const void *data, size_t len)
{
	if (s->error)
		return s->error;
	if (len == 0)
		return 0;
	return s->wait_ms > 0 ? stream_write_waiting(s, data, len)
			      : stream_write_gathering(s, data, len);
}

int stream_puts(struct stream *s, const char *text)
{
	return stream_write(s, text, strlen(text));
}

int stream_printf(struct stream *s, const char *fmt, ...)
{
	char text[1024], *copy = NULL;
	va_list ap;
	int n, ret;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return stream_fail(s, -EINVAL);
	if ((size_t)n < sizeof(text))
		return stream_write(s, text, (size_t)n);
	va_start(ap, fmt);
	n = vasprintf(&copy, fmt, ap);
	va_end(ap);
	if (n < 0)
		return stream_fail(s, -ENOMEM);
	ret = stream_write(s, copy, (size_t)n);
	free(copy);
	return ret;
}

void stream_set_wait(struct stream *s, uint64_t wait_ms)
{
	s->wait_ms = wait_ms;
}

void stream_set_interrupt(struct stream *s, int (*fd)(void *ctx), bool (*fn)(void *ctx),
			  void *ctx)
{
	s->interrupt_fd = fd;
	s->interrupt = fn;
	s->interrupt_ctx = ctx;
}

size_t stream_pending(const struct stream *s)
{
	size_t n = queue_len(&s->out);

	for (const struct stream_layer *l = s->top; l; l = l->below)
		n += l->ops->kept_out(l);
	return n;
}

int stream_error(const struct stream *s)
{
	return s->error;
}

uint64_t stream_bytes_in(const struct stream *s)
{
	return s->bytes_in;
}

uint64_t stream_bytes_out(const struct stream *s)
{
	return s->bytes_out;
}

struct stream_counts stream_wire(const struct stream *s)
{
	return s->wire;
}

void stream_set_bytes(struct stream *s, uint64_t in, uint64_t out)
{
	s->bytes_in = in;
	s->bytes_out = out;
}
