/* SPDX-License-Identifier: MIT */
/* However a conversation is cut on its way, and if it sleeps in between, the
 * parser says the same. */
#include <stdio.h>

#include "tests/imap-drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct imap_parser_limits limits[] = {
	/* a session, a login, and limits that short inputs reach */
	{ .line_max = 65536, .literal_max = 512 * 1024, .stream_command = "APPEND" },
	{ .line_max = 8192, .literal_max = 4096 },
	{ .line_max = 48, .literal_max = 8, .stream_command = "APPEND" },
};

static void compare(struct drive *d, const uint8_t *data, size_t size,
		    const struct buf *whole)
{
	struct buf other;

	buf_init(&other, SIZE_MAX / 2);
	drive_run(d, data, size, &other);
	if (other.len != whole->len || memcmp(other.data, whole->data, whole->len) != 0) {
		fprintf(stderr, "whole:\n%.*s\ncut:\n%.*s\n", (int)whole->len,
			(const char *)whole->data, (int)other.len,
			(const char *)other.data);
		abort();
	}
	buf_deinit(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t seed = size;

	for (size_t i = 0; i < size; i++)
		seed = (seed ^ data[i]) * 1099511628211u;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct drive d = { .limits = limits[i], .cut = drive_cut_whole,
			.context = &seed };
		struct buf whole;

		buf_init(&whole, SIZE_MAX / 2);
		drive_run(&d, data, size, &whole);
		if (size < 4096) {
			d.cut = drive_cut_bytes;
			compare(&d, data, size, &whole);
		}
		d.cut = drive_cut_random;
		compare(&d, data, size, &whole);
		d.sleeps = true;
		compare(&d, data, size, &whole);
		buf_deinit(&whole);
	}
	return 0;
}
