/* SPDX-License-Identifier: MIT */
/* What stands in a user's files: `dormouse-uidlist`, Dovecot's lists, file
 * names. A line's check keeps random bytes out of the parser, so each line is
 * also tried with its check put right. What parses must come back the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "imap/maildir/dovecot-files.h"
#include "imap/maildir/maildir-name.h"
#include "imap/maildir/uidlist.h"
#include "lib/buf.h"
#include "lib/imap-write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_line(void *ctx, const struct uidlist_line *l)
{
	struct buf b;

	(void)ctx;
	buf_init(&b, 2 * UIDLIST_LINE_MAX);
	if (uidlist_line_write(&b, l) != 0)	/* asserts that it parses */
		abort();
	buf_deinit(&b);
	return 0;
}

static int on_record(void *ctx, const struct dovecot_record *r)
{
	(void)ctx;
	if (r->uid == 0 || r->base_len == 0 || memchr(r->base, '/', r->base_len) ||
	    memchr(r->base, ':', r->base_len) || memchr(r->words, ':', r->words_len))
		abort();
	return 0;
}

static int on_keyword(void *ctx, int letter, const char *name, size_t len)
{
	(void)ctx;
	if (letter < 0 || letter > 25 || len == 0 || memchr(name, '\n', len))
		abort();
	return 0;
}

static int on_subscription(void *ctx, const char *name)
{
	(void)ctx;
	if (*name == '\0' || !imap_utf8_valid(name, strlen(name)))
		abort();
	return 0;
}

static void with_right_check(const char *body, size_t len)
{
	struct uidlist_line l;
	char *line = malloc(len + 9);

	if (!line)
		return;
	snprintf(line, 9, "%08lx", crc32(0, (const Bytef *)body, (uInt)len));
	line[8] = ' ';
	memcpy(line + 9, body, len);
	if (!memchr(body, '\n', len) && uidlist_line_parse(line, len + 9, &l) == UIDLIST_OK)
		on_line(NULL, &l);
	free(line);
}

static void name(const uint8_t *data, size_t size)
{
	char text[400], info[MAILDIR_NAME_MAX + 1];
	struct maildir_name n, back;
	int64_t a, b;

	if (size >= sizeof(text))
		return;
	memcpy(text, data, size);
	text[size] = '\0';
	maildir_name_sizes(text, size, &a, &b);
	maildir_name_time(text, size, &a, &b);
	if (!maildir_name_parse(text, &n) ||
	    maildir_name_info(n.info, n.base_len, n.flags, n.letters, 0x3ffffff, info) != 0)
		return;
	memmove(text + n.base_len, info, strlen(info) + 1);
	if (!maildir_name_parse(text, &back) || back.flags != n.flags ||
	    back.letters != n.letters || back.base_len != n.base_len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dovecot_uidlist header;
	size_t lines, bad;
	int stop;

	if (size > 0)
		uidlist_walk((const char *)data, size, on_line, NULL, &lines, &bad, &stop);
	with_right_check((const char *)data, size);
	dovecot_uidlist_parse((const char *)data, size, &header, on_record, NULL);
	dovecot_keywords_parse((const char *)data, size, on_keyword, NULL);
	dovecot_subscriptions_parse((const char *)data, size, on_subscription, NULL);
	name(data, size);
	return 0;
}
