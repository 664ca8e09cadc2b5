/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/inflate-state.h"
#include "lib/stream-deflate.h"
#include "lib/stream-tls.h"
#include "lib/zlib-wipe.h"
#include "tests/unit.h"

#define INPUT_MAX 65536
#define TEXT	"* OK Still here\r\n"

/* The server's stream, and a client that is the same record layer turned round. */
static struct stream *s;
static struct tls_crypto *crypto;
static struct tls_record theirs;
static int peer;
static struct buf wire;		/* what the client received and has not opened */
static struct buf heard;	/* what it opened */

static const struct { enum tls_version version; enum tls_suite suite; } kinds[] = {
	{ TLS_V13, TLS_AES128_GCM_SHA256 }, { TLS_V13, TLS_AES256_GCM_SHA384 },
	{ TLS_V13, TLS_CHACHA20_SHA256 }, { TLS_V12, TLS_AES128_GCM_SHA256 },
	{ TLS_V12, TLS_AES256_GCM_SHA384 }, { TLS_V12, TLS_CHACHA20_SHA256 },
};

/* A client's keys in 1.2 are the server's the other way round. */
static void turn(struct tls_record *t)
{
	struct tls_direction d = t->rd;

	t->rd = t->wr;
	t->wr = d;
}

static void keys(unsigned kind, struct tls_record *ours)
{
	static const uint8_t a[48] = { 1, 2, 3 }, b[48] = { 4, 5, 6 };

	if (kinds[kind].version == TLS_V13) {
		require(tls_record_init13(crypto, ours, kinds[kind].suite, a, 0, b, 2) == 0);
		require(tls_record_init13(crypto, &theirs, kinds[kind].suite, b, 2, a, 0) == 0);
	} else {
		require(tls_record_init12(crypto, ours, kinds[kind].suite, a, a, b, 1, 1, 77) == 0);
		require(tls_record_init12(crypto, &theirs, kinds[kind].suite, a, a, b, 1, 1, 77) == 0);
		turn(&theirs);
	}
}

static void begin_with(unsigned kind, const void *kept, size_t kept_len)
{
	struct tls_record ours;
	int fds[2], small = 4096;

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	peer = fds[1];
	s = stream_create(fds[0], INPUT_MAX);
	crypto = tls_crypto_create();
	require(s != NULL && crypto != NULL);
	keys(kind, &ours);
	buf_init(&wire, 1 << 20);
	buf_init(&heard, 1 << 20);
	require(stream_push_tls(s, crypto, &ours, kept, kept_len) == 0);
	check(ours.dead);
}

static void begin(unsigned kind)
{
	begin_with(kind, NULL, 0);
}

static void end(void)
{
	stream_destroy(&s);
	tls_crypto_destroy(&crypto);
	fd_close(&peer);
	buf_deinit(&wire);
	buf_deinit(&heard);
}

static void send_raw(const void *data, size_t len)
{
	require(write(peer, data, len) == (ssize_t)len);
}

static void seal(const char *text, struct buf *out)
{
	buf_init(out, 1 << 20);
	require(tls_record_seal(crypto, &theirs, text, strlen(text), out) == 0);
}

static void say(const char *text)
{
	struct buf b;

	seal(text, &b);
	send_raw(b.data, b.len);
	buf_deinit(&b);
}

/* Receives and opens all there is. The last result that is no data. */
static enum tls_result hear(void)
{
	enum tls_result r = TLS_MORE;
	uint8_t data[4096];
	ssize_t n;

	while ((n = read(peer, data, sizeof(data))) > 0)
		require(buf_append(&wire, data, (size_t)n) == 0);
	for (;;) {
		size_t used, need, len;
		const uint8_t *plain;
		enum tls_result now = tls_record_open(crypto, &theirs, wire.data, wire.len, &used,
						      &need, &plain, &len);

		if (now == TLS_DATA)
			buf_append(&heard, plain, len);
		else if (now != TLS_MORE)
			r = now;
		if (now == TLS_MORE || now == TLS_FAIL || now == TLS_EOF)
			return r;
		buf_consume(&wire, used);
	}
}

static bool heard_is(const char *text)
{
	(void)hear();
	return heard.len == strlen(text) && memcmp(heard.data, text, heard.len) == 0;
}

static bool input_is(const char *text)
{
	size_t len;
	const uint8_t *data = stream_input(s, &len);

	return len == strlen(text) && memcmp(data, text, len) == 0;
}

/* As another process would go on with the same socket. */
static void move(void)
{
	struct buf blob;
	int fd;

	buf_init(&blob, 1 << 20);
	require(stream_tls_export(s, &blob) == 0);
	fd = dup(stream_fd(s));
	stream_destroy(&s);
	s = stream_create(fd, INPUT_MAX);
	require(stream_push_tls_blob(s, crypto, blob.data, blob.len) == 0);
	buf_deinit(&blob);
}

/* ---- tests ---- */

static void test_tls_carries_text_both_ways_in_every_suite(void)
{
	for (unsigned k = 0; k < UNIT_COUNT(kinds); k++) {
		begin(k);
		say("a1 NOOP\r\n");
		check_row(stream_fill(s) == 9, k);
		check_row(input_is("a1 NOOP\r\n"), k);
		stream_puts(s, "a1 OK done\r\n");
		check_row(stream_flush(s) == 0 && stream_pending(s) == 0, k);
		check_row(heard_is("a1 OK done\r\n"), k);
		end();
	}
}

/* Byte by byte, and another process after each byte. */
static void test_tls_moves_within_a_record(void)
{
	for (unsigned k = 0; k < UNIT_COUNT(kinds); k++) {
		struct buf b;

		begin(k);
		seal("a1 NOOP\r\n", &b);
		for (size_t i = 0; i < b.len; i++) {
			long n;

			send_raw(b.data + i, 1);
			n = stream_fill(s);
			check_row(n == (i + 1 < b.len ? -EAGAIN : 9), k * 1000 + i);
			if (n < 0) {
				check_row(stream_has_input(s) && !stream_tls_has_record(s), i);
				move();
			}
		}
		check_row(input_is("a1 NOOP\r\n"), k);
		buf_deinit(&b);
		stream_puts(s, "a1 OK done\r\n");
		check_row(stream_flush(s) == 0, k);
		move();
		stream_puts(s, "* BYE\r\n");
		check_row(stream_flush(s) == 0, k);
		check_row(heard_is("a1 OK done\r\n* BYE\r\n"), k);
		end();
	}
}

/* Records that nobody read yet: poll() is silent, refill is not. */
static void test_tls_reads_what_came_behind_the_handshake(void)
{
	struct buf b, more;

	begin(0);
	seal("a1 NOOP\r\n", &b);
	seal("a2 NOOP\r\n", &more);
	buf_append(&b, more.data, more.len);
	buf_deinit(&more);
	seal("a3 NOOP\r\n", &more);
	buf_append(&b, more.data, 7);
	end();
	begin_with(0, b.data, b.len);
	check(stream_tls_has_record(s));
	move();
	check(stream_has_input(s));
	check(stream_refill(s) == 9);
	check(stream_refill(s) == 9);
	check(stream_refill(s) == -EAGAIN);
	check(input_is("a1 NOOP\r\na2 NOOP\r\n"));
	send_raw(more.data + 7, more.len - 7);
	check(stream_fill(s) == 9);
	check(stream_refill(s) == -EAGAIN);
	buf_deinit(&more);
	buf_deinit(&b);
	end();
}

/* What is asked for in small pieces of a large record. */
static void test_tls_hands_up_no_more_than_asked(void)
{
	static char text[16001];
	size_t got = 0;
	long n;

	memset(text, 'x', 16000);
	begin(0);
	say(text);
	n = stream_fill(s);
	check(n > 0 && n < 16000);
	got += (size_t)n;
	check(stream_tls_may_export(s) == -EBUSY);
	while ((n = stream_refill(s)) > 0)
		got += (size_t)n;
	check(n == -EAGAIN && got == 16000);
	check(stream_tls_may_export(s) == 0);
	end();
}

/* A client that reads slowly, and more than any buffer takes. */
static void test_tls_large_answers_pass_a_full_socket(void)
{
	static char text[200001];
	struct buf blob;

	for (size_t i = 0; i < 200000; i++)
		text[i] = (char)('a' + i % 23);
	buf_init(&blob, 4096);
	begin(0);
	stream_puts(s, text);
	check(stream_flush(s) == 1);
	check(stream_pending(s) > 0);
	check(stream_tls_export(s, &blob) == -EBUSY);
	for (int i = 0; i < 10000 && stream_flush(s) == 1; i++)
		(void)hear();
	check(heard_is(text));
	check(stream_tls_export(s, &blob) == 0);
	buf_wipe(&blob);
	end();
}

static void test_tls_keepalives_are_sealed_ahead_and_go_first(void)
{
	for (unsigned k = 0; k < UNIT_COUNT(kinds); k++) {
		struct buf ahead, blob;
		size_t half;

		begin(k);
		buf_init(&ahead, 4096);
		buf_init(&blob, 4096);
		check_row(stream_tls_seal_ahead(s, TEXT, 17, &ahead) == 0, k);
		half = ahead.len;
		check_row(half == tls_record_size(stream_tls(s), 17), k);
		check_row(stream_tls_seal_ahead(s, TEXT, 17, &ahead) == 0, k);
		/* The holder wrote one, and part of the next. */
		move();
		require(write(stream_fd(s), ahead.data, half + 5) == (ssize_t)half + 5);
		require(stream_set_prelude(s, ahead.data + half + 5, half - 5) == 0);
		say("DONE\r\n");
		check_row(stream_fill(s) == 6, k);
		stream_puts(s, "a1 OK\r\n");
		check_row(stream_flush(s) == 0, k);
		check_row(heard_is(TEXT TEXT "a1 OK\r\n"), k);
		/* A sleep that came to nothing: the same process goes on. */
		buf_reset(&ahead);
		check_row(stream_tls_seal_ahead(s, TEXT, 17, &ahead) == 0, k);
		check_row(stream_tls_export(s, &blob) == 0, k);
		check_row(stream_tls_export(s, &blob) == -EBUSY, k);
		stream_tls_resume(s);
		require(stream_set_prelude(s, ahead.data, ahead.len) == 0);
		stream_puts(s, "* BYE\r\n");
		check_row(stream_flush(s) == 0, k);
		check_row(heard_is(TEXT TEXT "a1 OK\r\n" TEXT "* BYE\r\n"), k);
		buf_deinit(&ahead);
		buf_wipe(&blob);
		end();
	}
}

static void test_tls_answers_a_key_update_at_once(void)
{
	struct buf b;

	begin(0);
	buf_init(&b, 4096);
	require(tls_record_update(crypto, &theirs, true, &b) == 0);
	send_raw(b.data, b.len);
	check(stream_fill(s) == -EAGAIN);
	check(stream_pending(s) == 0);
	check(stream_wire(s).read == b.len && stream_wire(s).written > 0);
	check(stream_bytes_in(s) == 0 && stream_bytes_out(s) == 0);
	check(hear() == TLS_NONE);
	move();
	say("a1 NOOP\r\n");
	check(stream_fill(s) == 9);
	stream_puts(s, "a1 OK\r\n");
	check(stream_flush(s) == 0);
	check(heard_is("a1 OK\r\n"));
	buf_deinit(&b);
	end();
}

static void test_tls_close_notify_ends_both_directions(void)
{
	struct buf b;

	begin(1);
	buf_init(&b, 4096);
	require(tls_record_close(crypto, &theirs, &b) == 0);
	send_raw(b.data, b.len);
	check(stream_fill(s) == 0);
	check(stream_error(s) == 0);
	stream_puts(s, "* BYE\r\n");
	stream_tls_close(s);
	stream_tls_close(s);
	check(hear() == TLS_EOF);
	check(heard_is("* BYE\r\n"));
	check(stream_tls_export(s, &b) == -EPERM);
	buf_deinit(&b);
	end();
}

static void test_tls_forgery_ends_with_an_alert(void)
{
	struct buf b;

	begin(0);
	seal("a1 NOOP\r\n", &b);
	b.data[b.len - 1] ^= 1;
	send_raw(b.data, b.len);
	check(stream_fill(s) == -EPROTO);
	check(stream_error(s) == -EPROTO);
	check(strcmp(stream_tls_reason(s), "TLS alert 20") == 0);
	check(hear() == TLS_FAIL && theirs.alert == 20);
	check(stream_tls_export(s, &b) == -EPERM);
	buf_deinit(&b);
	end();
}

static void test_tls_refuses_every_truncated_blob(void)
{
	struct buf blob;
	struct stream *other;
	int fds[2];

	begin(0);
	send_raw("\x17\x03", 2);
	check(stream_fill(s) == -EAGAIN);
	buf_init(&blob, 4096);
	require(stream_tls_export(s, &blob) == 0);
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	other = stream_create(fds[0], INPUT_MAX);
	for (size_t n = 0; n < blob.len; n++)
		check_row(stream_push_tls_blob(other, crypto, blob.data, n) == -EBADMSG, n);
	check(stream_tls(other) == NULL && *stream_tls_name(other) == '\0');
	check(strcmp(stream_tls_name(s), "TLSv1.3 TLS_AES_128_GCM_SHA256") == 0);
	stream_destroy(&other);
	close(fds[1]);
	buf_wipe(&blob);
	end();
}

/* What hibernate.c and the holder do, in any order: keepalives are made and the
 * state is written down; some of them are written, perhaps one by half; then
 * this process goes on, or another, or another after one that died before it
 * wrote (or after it wrote what was left of them); the next text, or none. The
 * client opens it all in order: no number was used twice, none left out. */
static struct buf said, prepared;
static size_t gone;	/* of prepared */

static void random_text(uint64_t *rnd, struct buf *text)
{
	size_t n = unit_random(rnd) % (unit_random(rnd) % 8 == 0 ? 40000 : 60);

	buf_init(text, 1 << 16);
	for (size_t i = 0; i <= n; i++)
		buf_append_u8(text, (uint8_t)('a' + unit_random(rnd) % 26));
}

static void write_ahead(size_t n)
{
	n = n < prepared.len - gone ? n : prepared.len - gone;
	if (n == 0)
		return;
	require(write(stream_fd(s), prepared.data + gone, n) == (ssize_t)n);
	gone += n;
}

static void go_on(const struct buf *blob, bool other)
{
	int fd;

	if (!other) {
		stream_tls_resume(s);
	} else {
		fd = dup(stream_fd(s));
		stream_destroy(&s);
		s = stream_create(fd, INPUT_MAX);
		require(stream_push_tls_blob(s, crypto, blob->data, blob->len) == 0);
	}
	require(stream_set_prelude(s, prepared.len > 0 ? prepared.data + gone : NULL,
				   prepared.len - gone) == 0);
}

static void say_something(uint64_t *rnd)
{
	struct buf text;

	random_text(rnd, &text);
	buf_append(&said, text.data, text.len);
	require(stream_write(s, text.data, text.len) == 0);
	while (stream_flush(s) == 1)
		(void)hear();
	buf_deinit(&text);
	/* Whatever was ahead went first. */
	buf_reset(&prepared);
	gone = 0;
}

static void make_ahead(uint64_t *rnd)
{
	for (uint64_t i = unit_random(rnd) % 3 + 1; i > 0; i--) {
		require(stream_tls_seal_ahead(s, TEXT, 17, &prepared) == 0);
		buf_append(&said, TEXT, 17);
	}
}

static void client_says_key_update(uint64_t *rnd)
{
	struct buf b;

	buf_init(&b, 4096);
	require(tls_record_update(crypto, &theirs, unit_random(rnd) % 2, &b) == 0);
	if (b.len > 0) {
		struct stream_counts before = stream_wire(s);

		send_raw(b.data, b.len);
		check(stream_fill(s) == -EAGAIN);
		/* An answer takes what was ahead with it. */
		if (stream_wire(s).written > before.written) {
			buf_reset(&prepared);
			gone = 0;
		}
	}
	buf_deinit(&b);
}

static void one_life(uint64_t *rnd, unsigned kind)
{
	struct buf blob;

	begin(kind);
	buf_init(&said, 1 << 20);
	buf_init(&prepared, 4096);
	buf_init(&blob, 4096);
	gone = 0;
	for (unsigned i = 0; i < 40 && said.len < 900000; i++) {
		buf_reset(&blob);
		if (prepared.len == 0 && unit_random(rnd) % 4 != 0)
			make_ahead(rnd);
		require(stream_tls_export(s, &blob) == 0);
		write_ahead(unit_random(rnd) % 3 == 0 ? 0 : unit_random(rnd) % 150);
		go_on(&blob, unit_random(rnd) % 3 != 0);
		/* One that dies before its first byte, or right behind the keepalives. */
		if (unit_random(rnd) % 4 == 0) {
			if (unit_random(rnd) % 2)
				write_ahead(prepared.len);
			go_on(&blob, true);
		}
		if (unit_random(rnd) % 5 == 0)
			client_says_key_update(rnd);
		if (unit_random(rnd) % 3 != 0)
			say_something(rnd);
		(void)hear();
	}
	say_something(rnd);
	(void)hear();
	check_row(heard.len == said.len && memcmp(heard.data, said.data, said.len) == 0, kind);
	buf_deinit(&said);
	buf_deinit(&prepared);
	buf_wipe(&blob);
	end();
}

static void test_tls_numbers_go_on_whoever_goes_on(void)
{
	uint64_t rnd = unit_seed();

	for (unsigned row = 0; row < 60; row++)
		one_life(&rnd, row % UNIT_COUNT(kinds));
}

/* ---- COMPRESS ---- */

static z_stream client_z;
static struct inflate_state *client_reader;

static void compress_begin(void)
{
	client_z = (z_stream){ 0 };
	require(deflateInit2(&client_z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	client_reader = inflate_state_create();
	require(stream_push_deflate(s) == 0 && stream_has_deflate(s));
}

static void compress_end(void)
{
	deflateEnd(&client_z);
	inflate_state_destroy(&client_reader);
}

static size_t squeeze(const char *text, uint8_t *out, size_t size)
{
	client_z.next_in = (const uint8_t *)text;
	client_z.avail_in = (uInt)strlen(text);
	client_z.next_out = out;
	client_z.avail_out = (uInt)size;
	require(deflate(&client_z, Z_SYNC_FLUSH) == Z_OK);
	return size - client_z.avail_out;
}

static void say_compressed(const char *text)
{
	uint8_t out[4096];
	size_t n = squeeze(text, out, sizeof(out));
	struct buf b;

	buf_init(&b, 1 << 16);
	require(tls_record_seal(crypto, &theirs, out, n, &b) == 0);
	send_raw(b.data, b.len);
	buf_deinit(&b);
}

static bool heard_compressed_is(const char *text)
{
	uint8_t out[4096];
	size_t used, got;

	(void)hear();
	if (inflate_state_run(client_reader, heard.data, heard.len, &used, out, sizeof(out),
			      &got) != 0)
		return false;
	buf_reset(&heard);
	return got == strlen(text) && memcmp(out, text, got) == 0;
}

static void move_compressed(void)
{
	struct buf tls, window;
	int fd;

	buf_init(&tls, 1 << 16);
	buf_init(&window, 1 << 16);
	require(stream_deflate_export(s, 1 << 16, &window) == 0);
	require(stream_tls_export(s, &tls) == 0);
	fd = dup(stream_fd(s));
	stream_destroy(&s);
	s = stream_create(fd, INPUT_MAX);
	require(stream_push_tls_blob(s, crypto, tls.data, tls.len) == 0);
	require(stream_push_deflate_blob(s, window.data, window.len) == 0);
	buf_deinit(&tls);
	buf_deinit(&window);
}

static void test_compress_over_tls_moves_after_each_command(void)
{
	begin(0);
	compress_begin();
	for (unsigned n = 0; n < 20; n++) {
		char text[80];

		snprintf(text, sizeof(text), "a%u UID FETCH %u (FLAGS)\r\n", n, n * 7);
		say_compressed(text);
		check_row(stream_fill(s) == (long)strlen(text), n);
		check_row(stream_refill(s) == -EAGAIN, n);
		check_row(input_is(text), n);
		stream_consume(s, strlen(text));
		snprintf(text, sizeof(text), "a%u OK Fetched\r\n", n);
		stream_puts(s, text);
		check_row(stream_pending(s) > 0, n);
		check_row(stream_flush(s) == 0 && stream_pending(s) == 0, n);
		check_row(heard_compressed_is(text), n);
		move_compressed();
	}
	compress_end();
	end();
}

/* The stored block is what zlib makes of nothing else, and a compressor that
 * knows nothing of it is not used on. */
static void test_compress_keepalive_goes_around_the_compressor(void)
{
	struct buf ahead;

	begin(0);
	compress_begin();
	buf_init(&ahead, 4096);
	stream_puts(s, "* 1 EXISTS\r\n* 2 EXISTS\r\n");
	check(stream_flush(s) == 0);
	check(heard_compressed_is("* 1 EXISTS\r\n* 2 EXISTS\r\n"));
	check(stream_tls_seal_ahead(s, deflate_keepalive, sizeof(deflate_keepalive), &ahead) == 0);
	check(ahead.len == 44);
	stream_deflate_forget(s);
	require(stream_set_prelude(s, ahead.data, ahead.len) == 0);
	stream_puts(s, "* 1 EXISTS\r\n* 2 EXISTS\r\n");
	check(stream_flush(s) == 0);
	check(heard_compressed_is(TEXT "* 1 EXISTS\r\n* 2 EXISTS\r\n"));
	stream_puts(s, "* 1 EXISTS\r\n* 2 EXISTS\r\n");
	check(stream_flush(s) == 0);
	check(heard_compressed_is("* 1 EXISTS\r\n* 2 EXISTS\r\n"));
	buf_deinit(&ahead);
	compress_end();
	end();
}

/* A few bytes that claim to be a gigabyte are read as far as they are asked for. */
static void test_compress_bomb_costs_no_memory(void)
{
	static uint8_t zeros[1 << 20], out[1 << 16];
	uint64_t got = 0;
	size_t len;
	long n;

	begin(0);
	compress_begin();
	client_z.next_in = zeros;
	client_z.avail_in = sizeof(zeros);
	client_z.next_out = out;
	client_z.avail_out = sizeof(out);
	require(deflate(&client_z, Z_SYNC_FLUSH) == Z_OK && client_z.avail_out > 0);
	len = sizeof(out) - client_z.avail_out;
	check(len < 2000);
	require(tls_record_seal(crypto, &theirs, out, len, &wire) == 0);
	send_raw(wire.data, wire.len);
	buf_reset(&wire);
	n = stream_fill(s);
	check(n > 0 && n <= 1024);
	while (n > 0) {
		got += (uint64_t)n;
		stream_input(s, &len);
		check(len <= INPUT_MAX);
		stream_consume(s, len);
		n = stream_refill(s);
	}
	check(n == -EAGAIN && got == sizeof(zeros));
	compress_end();
	end();
}

/* What came behind the command is compressed already. */
static void test_compress_takes_what_is_buffered(void)
{
	uint8_t out[512];
	size_t n;

	begin(0);
	client_z = (z_stream){ 0 };
	require(deflateInit2(&client_z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	n = squeeze("a2 NOOP\r\n", out, sizeof(out));
	require(stream_unread(s, out, n) == 0);
	require(stream_push_deflate(s) == 0);
	check(stream_refill(s) == 9);
	check(input_is("a2 NOOP\r\n"));
	deflateEnd(&client_z);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_tls_carries_text_both_ways_in_every_suite),
		UNIT_TEST(test_tls_moves_within_a_record),
		UNIT_TEST(test_tls_reads_what_came_behind_the_handshake),
		UNIT_TEST(test_tls_hands_up_no_more_than_asked),
		UNIT_TEST(test_tls_large_answers_pass_a_full_socket),
		UNIT_TEST(test_tls_keepalives_are_sealed_ahead_and_go_first),
		UNIT_TEST(test_tls_answers_a_key_update_at_once),
		UNIT_TEST(test_tls_close_notify_ends_both_directions),
		UNIT_TEST(test_tls_forgery_ends_with_an_alert),
		UNIT_TEST(test_tls_refuses_every_truncated_blob),
		UNIT_TEST(test_tls_numbers_go_on_whoever_goes_on),
		UNIT_TEST(test_compress_over_tls_moves_after_each_command),
		UNIT_TEST(test_compress_keepalive_goes_around_the_compressor),
		UNIT_TEST(test_compress_bomb_costs_no_memory),
		UNIT_TEST(test_compress_takes_what_is_buffered),
	};
	return unit_run("stream-tls", tests, UNIT_COUNT(tests));
}
