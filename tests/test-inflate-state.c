/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/inflate-state.h"
#include "lib/zlib-wipe.h"
#include "tests/unit.h"

#define BUDGET		(64 * 1024)
#define TEXT_MAX	60000

/* ---- a client ---- */

struct client {
	z_stream z;
	int flush;		/* -1: another one each time */
};

static void client_begin(struct client *c, int level, int window, int memory, int strategy,
			 int flush)
{
	*c = (struct client){ .flush = flush };
	require(deflateInit2(&c->z, level, Z_DEFLATED, -window, memory, strategy) == Z_OK);
}

static void client_say(struct client *c, const void *text, size_t len, int flush, struct buf *out)
{
	uint8_t chunk[512];

	c->z.next_in = text;
	c->z.avail_in = (uInt)len;
	do {
		c->z.next_out = chunk;
		c->z.avail_out = sizeof(chunk);
		deflate(&c->z, flush);
		require(buf_append(out, chunk, sizeof(chunk) - c->z.avail_out) == 0);
	} while (c->z.avail_out == 0);
}

static int some_flush(const struct client *c, uint64_t *rnd)
{
	static const int flushes[] = { Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH };

	return c->flush >= 0 ? c->flush : flushes[unit_random(rnd) % 3];
}

/* What clients say: much alike, sometimes long, sometimes noise. */
static size_t some_text(uint8_t *text, unsigned n, uint64_t *rnd)
{
	size_t len = (size_t)snprintf((char *)text, 200,
		"A%04u UID FETCH %u:%u (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n", n,
		(unsigned)(unit_random(rnd) % 1000), (unsigned)(unit_random(rnd) % 100000));

	if (unit_random(rnd) % 8 == 0) {
		size_t more = unit_random(rnd) % (TEXT_MAX - 200);
		bool noise = unit_random(rnd) % 2 == 0;

		for (size_t i = 0; i < more; i++)
			text[len + i] = noise ? (uint8_t)unit_random(rnd) : text[i];
		len += more;
	}
	return len;
}

/* ---- a reader, in pieces of random size ---- */

static struct inflate_state *reader;

/* Appends what comes of data; the reader stays. */
static int reader_feed(const uint8_t *data, size_t len, uint64_t *rnd, struct buf *out)
{
	int ret = 0;

	while (ret == 0 && (len > 0 || inflate_state_is_full(reader))) {
		size_t piece = 1 + unit_random(rnd) % (unit_random(rnd) % 4 == 0 ? 3 : 5000);
		size_t room = 1 + unit_random(rnd) % (unit_random(rnd) % 4 == 0 ? 3 : 9000);
		size_t used, got;
		uint8_t text[9001];

		piece = piece < len ? piece : len;
		ret = inflate_state_run(reader, data, piece, &used, text, room, &got);
		require(used <= piece && got <= room);
		require(buf_append(out, text, got) == 0);
		data += used;
		len -= used;
	}
	return ret;
}

/* As another process would go on. */
static void reader_move(size_t *size_r)
{
	struct buf blob;

	buf_init(&blob, BUDGET);
	require(inflate_state_save(reader, BUDGET, &blob) == 0);
	inflate_state_destroy(&reader);
	require(inflate_state_restore(&reader, blob.data, blob.len) == 0);
	*size_r = blob.len;
	buf_deinit(&blob);
}

/* ---- tests ---- */

static void one_stream(uint64_t *rnd, unsigned row)
{
	static uint8_t text[TEXT_MAX];
	struct client c;
	struct buf wire, got;
	size_t size;

	client_begin(&c, (int)(unit_random(rnd) % 10), 9 + (int)(unit_random(rnd) % 7),
		     1 + (int)(unit_random(rnd) % 9), (int)(unit_random(rnd) % 5),
		     (int[]){ -1, Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH }[row % 4]);
	reader = inflate_state_create();
	buf_init(&wire, 4 * TEXT_MAX);
	buf_init(&got, 4 * TEXT_MAX);
	for (unsigned n = 0; n < 12; n++) {
		size_t len = some_text(text, n, rnd);

		buf_reset(&wire);
		buf_reset(&got);
		client_say(&c, text, len, some_flush(&c, rnd), &wire);
		check_row(reader_feed(wire.data, wire.len, rnd, &got) == 0, row);
		check_row(got.len == len && memcmp(got.data, text, len) == 0, row);
		reader_move(&size);
	}
	inflate_state_destroy(&reader);
	deflateEnd(&c.z);
	buf_deinit(&wire);
	buf_deinit(&got);
}

static void test_inflate_moves_after_each_command_whatever_the_writer_does(void)
{
	uint64_t rnd = unit_seed();

	for (unsigned row = 0; row < 400; row++)
		one_stream(&rnd, row);
}

/* The bytes of one command come one by one, and the reader moves wherever it
 * can: in the middle it either cannot or reads on rightly. */
static void test_inflate_moves_in_the_middle_or_refuses(void)
{
	static const char *const words[] = { "a1 NOOP\r\n", "a2 SELECT INBOX\r\n", "a3 NOOP\r\n" };
	static const int flushes[] = { Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH };
	unsigned moved = 0, refused = 0;

	for (unsigned f = 0; f < 3; f++) {
		struct client c;
		struct buf wire, got;

		client_begin(&c, 6, 15, 8, Z_DEFAULT_STRATEGY, flushes[f]);
		buf_init(&wire, 4096);
		buf_init(&got, 4096);
		for (unsigned i = 0; i < 3; i++)
			client_say(&c, words[i], strlen(words[i]), flushes[f], &wire);
		reader = inflate_state_create();
		for (size_t i = 0; i < wire.len; i++) {
			uint64_t rnd = 1;
			struct buf blob;

			require(reader_feed(wire.data + i, 1, &rnd, &got) == 0);
			buf_init(&blob, BUDGET);
			if (inflate_state_save(reader, BUDGET, &blob) == 0) {
				inflate_state_destroy(&reader);
				require(inflate_state_restore(&reader, blob.data, blob.len) == 0);
				moved++;
			} else {
				refused++;
			}
			buf_deinit(&blob);
		}
		check_row(got.len == 35 && memcmp(got.data, "a1 NOOP\r\na2 SELECT INBOX\r\na3 NOOP\r\n",
						  35) == 0, f);
		inflate_state_destroy(&reader);
		deflateEnd(&c.z);
		buf_deinit(&wire);
		buf_deinit(&got);
	}
	check(moved > 20);
	check(refused > 20);
}

static void test_inflate_of_a_phone_is_small(void)
{
	uint64_t rnd = 42;
	struct client c;
	struct buf wire, got;
	size_t size = 0;

	client_begin(&c, 6, 15, 8, Z_DEFAULT_STRATEGY, Z_SYNC_FLUSH);
	reader = inflate_state_create();
	buf_init(&wire, BUDGET);
	buf_init(&got, BUDGET);
	for (unsigned n = 0; n < 30; n++) {
		char line[80];
		int len = snprintf(line, sizeof(line), "%u UID FETCH %u:* (UID FLAGS)\r\n", n,
				   4000 + n);

		buf_reset(&wire);
		client_say(&c, line, (size_t)len, Z_SYNC_FLUSH, &wire);
		require(reader_feed(wire.data, wire.len, &rnd, &got) == 0);
	}
	reader_move(&size);
	printf("30 commands: %zu bytes of text, %zu kept\n", got.len, size);
	check(size < 600);
	inflate_state_destroy(&reader);
	deflateEnd(&c.z);
	buf_deinit(&wire);
	buf_deinit(&got);
}

static void test_inflate_above_its_budget_stays(void)
{
	uint64_t rnd = 7;
	uint8_t noise[20000];
	struct client c;
	struct buf wire, got, blob;

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)unit_random(&rnd);
	client_begin(&c, 6, 15, 8, Z_DEFAULT_STRATEGY, Z_SYNC_FLUSH);
	reader = inflate_state_create();
	buf_init(&wire, BUDGET);
	buf_init(&got, BUDGET);
	buf_init(&blob, BUDGET);
	client_say(&c, noise, sizeof(noise), Z_SYNC_FLUSH, &wire);
	require(reader_feed(wire.data, wire.len, &rnd, &got) == 0);
	check(inflate_state_save(reader, 8192, &blob) == -E2BIG);
	check(blob.len == 0);
	check(inflate_state_save(reader, BUDGET, &blob) == 0);
	inflate_state_destroy(&reader);
	deflateEnd(&c.z);
	buf_deinit(&wire);
	buf_deinit(&got);
	buf_deinit(&blob);
}

/* A stream that says it ends is no reason to wait for more. */
static void test_inflate_tells_the_end_and_does_not_move(void)
{
	uint64_t rnd = 7;
	struct client c;
	struct buf wire, got, blob;

	client_begin(&c, 6, 15, 8, Z_DEFAULT_STRATEGY, Z_SYNC_FLUSH);
	reader = inflate_state_create();
	buf_init(&wire, BUDGET);
	buf_init(&got, BUDGET);
	buf_init(&blob, BUDGET);
	client_say(&c, "bye", 3, Z_FINISH, &wire);
	check(reader_feed(wire.data, wire.len, &rnd, &got) == 1);
	check(got.len == 3);
	check(inflate_state_save(reader, BUDGET, &blob) == -EBUSY);
	inflate_state_destroy(&reader);
	deflateEnd(&c.z);
	buf_deinit(&wire);
	buf_deinit(&got);
	buf_deinit(&blob);
}

static void test_inflate_refuses_what_is_no_deflate(void)
{
	static const uint8_t bad[] = { 0xff, 0xff, 0xff };
	size_t used, got;
	uint8_t out[16];

	reader = inflate_state_create();
	check(inflate_state_run(reader, bad, sizeof(bad), &used, out, sizeof(out), &got) ==
	      -EBADMSG);
	inflate_state_destroy(&reader);
}

static void test_inflate_refuses_every_truncated_state(void)
{
	uint64_t rnd = 3;
	struct client c;
	struct buf wire, got, blob;

	client_begin(&c, 6, 15, 8, Z_DEFAULT_STRATEGY, Z_PARTIAL_FLUSH);
	reader = inflate_state_create();
	buf_init(&wire, BUDGET);
	buf_init(&got, BUDGET);
	buf_init(&blob, BUDGET);
	for (unsigned n = 0; n < 20; n++)
		client_say(&c, "a1 FETCH 1:* (FLAGS)\r\n", 22, Z_PARTIAL_FLUSH, &wire);
	require(reader_feed(wire.data, wire.len, &rnd, &got) == 0);
	require(inflate_state_save(reader, BUDGET, &blob) == 0);
	inflate_state_destroy(&reader);
	for (size_t n = 0; n < blob.len; n++) {
		uint8_t *copy = malloc(n + 1);

		memcpy(copy, blob.data, n);
		check_row(inflate_state_restore(&reader, copy, n) == -EBADMSG, n);
		free(copy);
	}
	require(buf_append_u8(&blob, 0) == 0);
	check(inflate_state_restore(&reader, blob.data, blob.len) == -EBADMSG);
	deflateEnd(&c.z);
	buf_deinit(&wire);
	buf_deinit(&got);
	buf_deinit(&blob);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_inflate_moves_after_each_command_whatever_the_writer_does),
		UNIT_TEST(test_inflate_moves_in_the_middle_or_refuses),
		UNIT_TEST(test_inflate_of_a_phone_is_small),
		UNIT_TEST(test_inflate_above_its_budget_stays),
		UNIT_TEST(test_inflate_tells_the_end_and_does_not_move),
		UNIT_TEST(test_inflate_refuses_what_is_no_deflate),
		UNIT_TEST(test_inflate_refuses_every_truncated_state),
	};
	return unit_run("inflate-state", tests, UNIT_COUNT(tests));
}
