/* SPDX-License-Identifier: MIT */
/* Mailbox names and dates from clients: what is taken can be written, and
 * reads back as the same. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/imap-write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok)
{
	if (!ok)
		abort();
}

static void try_name(const char *s)
{
	struct buf name, again;

	buf_init(&name, 1 << 20);
	buf_init(&again, 1 << 20);
	if (imap_utf7_decode(s, &name) == 0) {
		require(imap_utf8_valid((char *)name.data, name.len));
		buf_append_u8(&name, '\0');
		require(strlen((char *)name.data) == name.len - 1);
		require(imap_utf7_encode((char *)name.data, &again) == 0);
		require(again.len == strlen(s));
		require(again.len == 0 || memcmp(again.data, s, again.len) == 0);
	}
	buf_reset(&again);
	if (imap_utf7_encode(s, &again) == 0) {
		buf_append_u8(&again, '\0');
		buf_reset(&name);
		require(imap_utf7_decode((char *)again.data, &name) == 0);
		require(name.len == strlen(s));
		require(name.len == 0 || memcmp(name.data, s, name.len) == 0);
	}
	buf_deinit(&name);
	buf_deinit(&again);
}

static void try_date(const char *s)
{
	int year, month, day;
	int64_t t, back;
	struct buf out;

	if (imap_parse_date(s, &year, &month, &day) == 0)
		require(year <= 9999 && month >= 1 && month <= 12 && day >= 1 && day <= 31);
	/* the ends of time are written as the nearest that can be */
	if (imap_parse_datetime(s, &t) < 0 || t < -62167000000 || t > 253402000000)
		return;
	buf_init(&out, 100);
	require(imap_write_datetime(&out, t) == 0);
	require(out.len == 28);
	out.data[27] = '\0';
	require(imap_parse_datetime((char *)out.data + 1, &back) == 0 && back == t);
	buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	require(s != NULL);
	if (size > 0)
		memcpy(s, data, size);
	s[size] = '\0';
	try_name(s);
	try_date(s);
	free(s);
	return 0;
}
