/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/list.h"
#include "lib/stream.h"
#include "lib/stream-layer.h"
#include "tests/unit.h"

#define INPUT_MAX 4096

static struct stream *s;
static int peer;

/* Small socket buffers: a peer that does not read is felt soon. */
static void begin(void)
{
	int fds[2], small = 4096;

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	peer = fds[1];
	s = stream_create(fds[0], INPUT_MAX);
	require(s != NULL && stream_error(s) == 0);
}

static void end(void)
{
	stream_destroy(&s);
	check(s == NULL);
	stream_destroy(&s);
	fd_close(&peer);
}

static bool input_is(const char *want)
{
	size_t len;
	const uint8_t *data = stream_input(s, &len);

	return len == strlen(want) && memcmp(data, want, len) == 0;
}

static void say(const char *text)
{
	require(write(peer, text, strlen(text)) == (ssize_t)strlen(text));
}

/* The byte at this place of an endless text. */
static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + at / 251);
}

/* Reads what is there for the peer and compares it. */
static uint64_t peer_take(uint64_t at)
{
	uint8_t data[5000];
	ssize_t n;
	bool same = true;

	while ((n = read(peer, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			same &= data[i] == pattern(at + (uint64_t)i);
		at += (uint64_t)n;
	}
	check(same);
	return at;
}

/* ---- input ---- */

static void test_stream_reads_byte_by_byte_as_in_one_piece(void)
{
	static const char text[] = "a1 IDLE\r\nDONE\r\n";

	begin();
	check(stream_fill(s) == -EAGAIN && !stream_has_input(s));
	for (size_t i = 0; i < strlen(text); i++) {
		check_row(write(peer, text + i, 1) == 1, i);
		check_row(stream_fill(s) == 1, i);
	}
	check(input_is(text) && stream_has_input(s));
	stream_consume(s, 9);
	check(input_is("DONE\r\n"));
	stream_consume(s, 6);
	check(input_is("") && !stream_has_input(s));
	check(stream_bytes_in(s) == strlen(text));
	end();
}

static void test_stream_tells_the_end_after_the_last_byte(void)
{
	begin();
	say("bye");
	fd_close(&peer);
	check(stream_fill(s) == 3);
	check(stream_fill(s) == 0 && stream_fill(s) == 0);
	check(stream_fill_wait(s) == 0);
	check(input_is("bye") && stream_error(s) == 0);
	end();
}

static void test_stream_bounds_what_is_unread(void)
{
	static uint8_t data[INPUT_MAX + 100];
	long n, sum = 0;
	size_t len;

	begin();
	memset(data, 'x', sizeof(data));
	require(write(peer, data, sizeof(data)) == (ssize_t)sizeof(data));
	while ((n = stream_fill(s)) > 0)
		sum += n;
	check(n == -ENOBUFS && sum == INPUT_MAX);
	check(stream_error(s) == 0);
	stream_consume(s, 60);
	check(stream_fill(s) == 60);
	stream_consume(s, INPUT_MAX);
	check(stream_fill(s) == 40 && stream_fill(s) == -EAGAIN);
	stream_input(s, &len);
	check(len == 40);
	end();
}

static void test_stream_unread_goes_in_front(void)
{
	static char big[INPUT_MAX];

	begin();
	check(stream_unread(s, "", 0) == 0);
	check(stream_unread(s, "later", 5) == 0 && input_is("later"));
	check(stream_unread(s, "first,", 6) == 0 && input_is("first,later"));
	stream_consume(s, 6);
	check(stream_unread(s, "again,", 6) == 0 && input_is("again,later"));
	say(",last");
	check(stream_fill(s) == 5 && input_is("again,later,last"));
	stream_consume(s, 6);
	check(stream_unread(s, "much more,", 10) == 0);
	check(input_is("much more,later,last"));
	check(stream_unread(s, big, INPUT_MAX - 19) == -ENOBUFS);
	check(input_is("much more,later,last"));
	check(stream_unread(s, big, INPUT_MAX - 20) == 0);
	check(stream_fill(s) == -ENOBUFS);
	/* What was only put back did not come from the peer now. */
	check(stream_bytes_in(s) == 5);
	end();
}

/* Random fills, uses and unreads against the plain text. */
static void test_stream_keeps_order_whatever_is_read_used_and_put_back(void)
{
	uint64_t seed = unit_seed(), sent = 0, used = 0;

	begin();
	for (unsigned step = 0; step < 3000; step++) {
		uint8_t chunk[700];
		size_t n = unit_random(&seed) % sizeof(chunk), len;
		const uint8_t *data;

		for (size_t i = 0; i < n; i++)
			chunk[i] = pattern(sent + i);
		ssize_t put = write(peer, chunk, n);
		sent += put > 0 ? (uint64_t)put : 0;
		stream_fill(s);
		data = stream_input(s, &len);
		for (size_t i = 0; i < len; i++) {
			if (data[i] != pattern(used + i)) {
				check_row(false, step);
				break;
			}
		}
		n = unit_random(&seed) % (len + 1);
		stream_consume(s, n);
		used += n;
		n = unit_random(&seed) % 20;
		if (n > used)
			continue;
		for (size_t i = 0; i < n; i++)
			chunk[i] = pattern(used - n + i);
		if (stream_unread(s, chunk, n) == 0)
			used -= n;
	}
	check(used > 100000);
	end();
}

/* ---- output ---- */

static void test_stream_gathers_output_until_flushed(void)
{
	char data[64] = { 0 };

	begin();
	check(stream_puts(s, "* 1 EXISTS\r\n") == 0);
	check(stream_printf(s, "%s OK %d\r\n", "a1", 7) == 0);
	check(stream_pending(s) == 21 && stream_bytes_out(s) == 0);
	check(read(peer, data, sizeof(data)) == -1);
	check(stream_flush(s) == 0 && stream_pending(s) == 0);
	check(read(peer, data, sizeof(data)) == 21);
	check(strcmp(data, "* 1 EXISTS\r\na1 OK 7\r\n") == 0);
	check(stream_bytes_out(s) == 21);
	end();
}

static void test_stream_printf_takes_any_length(void)
{
	static char text[5001];

	begin();
	/* Around the size of its own first buffer, and far above it. */
	for (size_t len = 1000; len <= 1040; len++) {
		size_t before = stream_pending(s);

		memset(text, 'y', len);
		text[len] = '\0';
		check_row(stream_printf(s, "<%s>", text) == 0, len);
		check_row(stream_pending(s) == before + len + 2, len);
	}
	memset(text, 'y', 5000);
	check(stream_printf(s, "<%s>", text) == 0);
	end();
}

/* Without a wait: nothing blocks, and nothing is lost up to the maximum. */
static void test_stream_without_wait_gathers_for_a_peer_that_does_not_read(void)
{
	uint64_t sent = 0, got = 0;
	uint8_t chunk[1000];
	int ret = 0;

	begin();
	for (;;) {
		for (size_t i = 0; i < sizeof(chunk); i++)
			chunk[i] = pattern(sent + i);
		if (sent == 900000)
			break;
		ret = stream_write(s, chunk, sizeof(chunk));
		if (ret < 0)
			break;
		sent += sizeof(chunk);
	}
	check(ret == 0 && stream_flush(s) == 1);
	check(stream_pending(s) + stream_bytes_out(s) == sent);
	while (stream_flush(s) == 1)
		got = peer_take(got);
	got = peer_take(got);
	check(got == sent && stream_pending(s) == 0);
	end();
}

static void test_stream_without_wait_refuses_more_than_its_maximum(void)
{
	static uint8_t chunk[100000];
	int ret = 0;

	begin();
	for (unsigned i = 0; i < 20 && ret == 0; i++)
		ret = stream_write(s, chunk, sizeof(chunk));
	check(ret == -ENOBUFS && stream_error(s) == -ENOBUFS);
	/* Part of an answer is lost: nothing goes out any more. */
	check(stream_puts(s, "x") == -ENOBUFS && stream_flush(s) == -ENOBUFS);
	end();
}

/* The other side runs in a process of its own and reads slowly, in odd pieces. */
static void test_stream_with_wait_writes_any_amount_in_constant_memory(void)
{
	const uint64_t total = 20 * 1024 * 1024;
	uint8_t chunk[3000];
	size_t most = 0;
	pid_t pid;

	begin();
	fflush(NULL);
	pid = fork();
	require(pid >= 0);
	if (pid == 0) {
		uint64_t at = 0;
		ssize_t n;

		close(stream_fd(s));
		fcntl(peer, F_SETFL, 0);
		while ((n = read(peer, chunk, 1 + at % sizeof(chunk))) > 0) {
			for (ssize_t i = 0; i < n; i++) {
				if (chunk[i] != pattern(at++))
					_exit(1);
			}
		}
		_exit(at == total ? 0 : 2);
	}
	fd_close(&peer);
	stream_set_wait(s, 20000);
	for (uint64_t at = 0; at < total;) {
		size_t n = total - at < sizeof(chunk) ? (size_t)(total - at)
						      : sizeof(chunk);

		for (size_t i = 0; i < n; i++)
			chunk[i] = pattern(at + i);
		if (stream_write(s, chunk, n) < 0)
			break;
		at += n;
		if (stream_pending(s) > most)
			most = stream_pending(s);
	}
	check(stream_drain(s) == 0);
	check(stream_bytes_out(s) == total);
	check(most <= 64 * 1024);
	end();
	int status;
	check(waitpid(pid, &status, 0) == pid && status == 0);
}

static void test_stream_with_wait_gives_up_on_a_peer_that_takes_nothing(void)
{
	static uint8_t data[300000];

	begin();
	stream_set_wait(s, 1);
	check(stream_fill_wait(s) == -ETIMEDOUT && stream_error(s) == 0);
	check(stream_write(s, data, sizeof(data)) == -ETIMEDOUT);
	check(stream_error(s) == -ETIMEDOUT);
	check(stream_puts(s, "x") == -ETIMEDOUT);
	end();
}

static void test_stream_drain_that_times_out_loses_nothing(void)
{
	static uint8_t data[60000];
	uint64_t got = 0;

	begin();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	stream_set_wait(s, 1);
	check(stream_write(s, data, sizeof(data)) == 0);
	check(stream_drain(s) == -ETIMEDOUT && stream_error(s) == 0);
	while (stream_flush(s) == 1)
		got = peer_take(got);
	check(peer_take(got) == sizeof(data));
	end();
}

static void test_stream_reports_a_peer_that_is_gone_without_a_signal(void)
{
	begin();
	fd_close(&peer);
	check(stream_puts(s, "x") == 0);
	check(stream_flush(s) == -EPIPE && stream_error(s) == -EPIPE);
	check(stream_puts(s, "x") == -EPIPE);
	end();
}

static void test_stream_wait_sends_what_was_gathered_before_it(void)
{
	static uint8_t data[500000];
	uint64_t got = 0;
	int ret = 1;

	begin();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	check(stream_write(s, data, sizeof(data) - 1) == 0);
	stream_set_wait(s, 20000);
	while (stream_pending(s) > 30000 && ret >= 0) {
		got = peer_take(got);
		ret = stream_flush(s);
	}
	check(stream_write(s, data + sizeof(data) - 1, 1) == 0);
	while (stream_flush(s) == 1)
		got = peer_take(got);
	check(peer_take(got) == sizeof(data));
	end();
}

/* ---- ownership ---- */

/* A second channel: its bytes are read; 'k' is a reason to give up. */
struct other {
	int fd, asked;
};

static int other_fd(void *ctx)
{
	return ((struct other *)ctx)->fd;
}

static bool other_says(void *ctx)
{
	struct other *o = ctx;
	char c = 0;

	o->asked++;
	return read(o->fd, &c, 1) == 1 && c == 'k';
}

static void test_stream_interrupt_ends_a_wait(void)
{
	static const char big[200000];
	struct other o = { .fd = -1 };
	int fds[2];

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	o.fd = fds[0];
	for (int writes = 0; writes < 2; writes++) {
		begin();
		stream_set_wait(s, 60000);
		stream_set_interrupt(s, other_fd, other_says, &o);
		/* One that is none, while it waits; then one that is. */
		require(write(fds[1], "xxk", 3) == 3);
		check((writes ? stream_write(s, big, sizeof(big)) : stream_fill_wait(s)) ==
		      -ECANCELED);
		/* A write is cut off: for good. A read is not. */
		check((stream_error(s) == -ECANCELED) == (writes == 1));
		end();
	}
	/* Nobody who never waits gets by. */
	begin();
	stream_set_wait(s, 60000);
	stream_set_interrupt(s, other_fd, other_says, &o);
	say("abc");
	o.asked = 0;
	check(stream_fill_wait(s) == 3 && o.asked == 1);
	say("abc");
	require(write(fds[1], "k", 1) == 1);
	check(stream_fill_wait(s) == -ECANCELED);
	/* And no descriptor, no question. */
	o.fd = -1;
	o.asked = 0;
	check(stream_fill_wait(s) == 3 && o.asked == 0);
	end();
	close(fds[0]);
	close(fds[1]);
}

static void test_stream_steal_leaves_the_descriptor_open(void)
{
	char c;
	int fd;

	begin();
	fd = stream_steal_fd(s);
	check(stream_fd(s) == -1 && stream_fill(s) == -EBADF);
	check(stream_puts(s, "x") == -EBADF);
	stream_destroy(&s);
	check(write(fd, "y", 1) == 1 && read(peer, &c, 1) == 1 && c == 'y');
	close(fd);
	end();
}

static void test_stream_counters_go_on_after_a_sleep(void)
{
	begin();
	stream_set_bytes(s, 1000, 2000);
	say("abc");
	stream_fill(s);
	stream_puts(s, "xy");
	stream_flush(s);
	check(stream_bytes_in(s) == 1003 && stream_bytes_out(s) == 2002);
	end();
}

/* ---- layers ---- */

/* A cipher for children in records of at most 8 bytes: length, then the bytes
 * each plus one. It keeps a record until the layer below takes all of it. */
struct toy {
	struct stream_layer layer;
	uint8_t out[9], in[9];
	size_t out_at, out_len, in_len, in_given;
	bool *destroyed;
};

static int toy_flush(struct stream_layer *l)
{
	struct toy *t = container_of(l, struct toy, layer);

	while (t->out_at < t->out_len) {
		long n = l->below->ops->write(l->below, t->out + t->out_at,
					      t->out_len - t->out_at);

		if (n < 0)
			return n == -EAGAIN ? 1 : (int)n;
		t->out_at += (size_t)n;
	}
	t->out_at = t->out_len = 0;
	return 0;
}

static long toy_write(struct stream_layer *l, const void *data, size_t len)
{
	struct toy *t = container_of(l, struct toy, layer);
	int ret = toy_flush(l);

	if (ret != 0)
		return ret < 0 ? ret : -EAGAIN;
	len = len > 8 ? 8 : len;
	t->out[0] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		t->out[1 + i] = (uint8_t)(((const uint8_t *)data)[i] + 1);
	t->out_len = len + 1;
	ret = toy_flush(l);
	return ret < 0 ? ret : (long)len;
}

static long toy_read(struct stream_layer *l, void *data, size_t size)
{
	struct toy *t = container_of(l, struct toy, layer);
	size_t i;

	while (t->in_len == 0 || t->in_len < t->in[0] + 1u) {
		size_t want = t->in_len ? t->in[0] + 1u - t->in_len : 1;
		long n = l->below->ops->read(l->below, t->in + t->in_len, want);

		if (n <= 0)
			return n;
		t->in_len += (size_t)n;
		if (t->in[0] == 0 || t->in[0] > 8)
			return -EPROTO;
	}
	for (i = 0; i < size && t->in_given < t->in[0]; i++)
		((uint8_t *)data)[i] = (uint8_t)(t->in[1 + t->in_given++] - 1);
	if (t->in_given == t->in[0])
		t->in_len = t->in_given = 0;
	return (long)i;
}

static size_t toy_kept_in(const struct stream_layer *l)
{
	const struct toy *t = container_of(l, struct toy, layer);

	return t->in_len - t->in_given;
}

static size_t toy_kept_out(const struct stream_layer *l)
{
	const struct toy *t = container_of(l, struct toy, layer);

	return t->out_len - t->out_at;
}

static void toy_destroy(struct stream_layer *l)
{
	*container_of(l, struct toy, layer)->destroyed = true;
}

static const struct stream_layer_ops toy_ops = {
	.read = toy_read, .write = toy_write, .flush = toy_flush,
	.kept_in = toy_kept_in, .kept_out = toy_kept_out, .destroy = toy_destroy,
};

static void test_stream_layers_stack(void)
{
	bool gone1 = false, gone2 = false;
	struct toy one = { .layer.ops = &toy_ops, .destroyed = &gone1 };
	struct toy two = { .layer.ops = &toy_ops, .destroyed = &gone2 };
	uint8_t data[64];

	begin();
	check(stream_puts(s, "x") == 0);
	check(stream_push_layer(s, &one.layer) == -EBUSY);
	check(stream_flush(s) == 0 && read(peer, data, 64) == 1);
	check(stream_push_layer(s, &one.layer) == 0);
	check(stream_puts(s, "0123456789") == 0 && stream_flush(s) == 0);
	check(read(peer, data, 64) == 12);
	check(memcmp(data, "\x08" "12345678" "\x02" "9:", 12) == 0);

	/* Half a record is kept below, and counts as input. */
	say("\x03" "bc");
	check(stream_fill(s) == -EAGAIN && stream_has_input(s) && input_is(""));
	say("d" "\x01" "{");
	check(stream_fill(s) == 3 && stream_fill(s) == 1 && input_is("abcz"));

	check(stream_push_layer(s, &two.layer) == 0);
	check(stream_puts(s, "ab") == 0 && stream_flush(s) == 0);
	check(read(peer, data, 64) == 4);
	check(memcmp(data, "\x03" "\x03" "cd", 4) == 0);
	end();
	check(gone1 && gone2);
}

static void test_stream_layer_loses_nothing_when_the_socket_is_full(void)
{
	bool gone = false;
	struct toy one = { .layer.ops = &toy_ops, .destroyed = &gone };
	static uint8_t data[100000], raw[200000];
	size_t got = 0, bad = 0, at = 0;
	ssize_t n;
	int ret;

	begin();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	check(stream_push_layer(s, &one.layer) == 0);
	check(stream_write(s, data, sizeof(data)) == 0);
	do {
		ret = stream_flush(s);
		while ((n = read(peer, raw + got, sizeof(raw) - got)) > 0)
			got += (size_t)n;
	} while (ret == 1);
	check(ret == 0 && stream_pending(s) == 0);
	for (size_t i = 0; i < got; i += raw[i] + 1u) {
		for (size_t k = 0; k < raw[i]; k++)
			bad += (uint8_t)(raw[i + 1 + k] - 1) != pattern(at++);
	}
	check(at == sizeof(data) && bad == 0);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_stream_reads_byte_by_byte_as_in_one_piece),
		UNIT_TEST(test_stream_tells_the_end_after_the_last_byte),
		UNIT_TEST(test_stream_bounds_what_is_unread),
		UNIT_TEST(test_stream_unread_goes_in_front),
		UNIT_TEST(test_stream_keeps_order_whatever_is_read_used_and_put_back),
		UNIT_TEST(test_stream_gathers_output_until_flushed),
		UNIT_TEST(test_stream_printf_takes_any_length),
		UNIT_TEST(test_stream_without_wait_gathers_for_a_peer_that_does_not_read),
		UNIT_TEST(test_stream_without_wait_refuses_more_than_its_maximum),
		UNIT_TEST(test_stream_with_wait_writes_any_amount_in_constant_memory),
		UNIT_TEST(test_stream_with_wait_gives_up_on_a_peer_that_takes_nothing),
		UNIT_TEST(test_stream_drain_that_times_out_loses_nothing),
		UNIT_TEST(test_stream_reports_a_peer_that_is_gone_without_a_signal),
		UNIT_TEST(test_stream_wait_sends_what_was_gathered_before_it),
		UNIT_TEST(test_stream_interrupt_ends_a_wait),
		UNIT_TEST(test_stream_steal_leaves_the_descriptor_open),
		UNIT_TEST(test_stream_counters_go_on_after_a_sleep),
		UNIT_TEST(test_stream_layers_stack),
		UNIT_TEST(test_stream_layer_loses_nothing_when_the_socket_is_full),
	};
	return unit_run("stream", tests, UNIT_COUNT(tests));
}
