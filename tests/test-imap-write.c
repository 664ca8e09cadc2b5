/* SPDX-License-Identifier: MIT */
/* Strings on their way out, mailbox names, dates. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/imap-parser.h"
#include "lib/imap-write.h"
#include "tests/unit.h"

static bool holds(const struct buf *b, const char *want)
{
	bool same = b->len == strlen(want) && (b->len == 0 || memcmp(b->data, want, b->len) == 0);

	if (!same)
		fprintf(stderr, "\nis:     %.*s\nwanted: %s\n", (int)b->len,
			(const char *)b->data, want);
	return same;
}

static void test_write_astring_takes_the_simplest_form(void)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "INBOX", "INBOX" },
		{ "a]b+~&c.d/e", "a]b+~&c.d/e" },
		{ "", "\"\"" },
		{ "nil", "\"nil\"" },
		{ "nilx", "nilx" },
		{ "a b", "\"a b\"" },
		{ "a*", "\"a*\"" },
		{ "a%", "\"a%\"" },
		{ "a{1}", "\"a{1}\"" },
		{ "(", "\"(\"" },
		{ "\\\"x\\", "\"\\\\\\\"x\\\\\"" },
		{ "a\tb", "\"a\tb\"" },
		{ "a\rb", "{3}\r\na\rb" },
		{ "a\n", "{2}\r\na\n" },
		{ "\xc3\xbc", "{2}\r\n\xc3\xbc" },
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct buf out;

		buf_init(&out, 100);
		check_row(imap_write_astring(&out, rows[i].in) == 0, i);
		check_row(holds(&out, rows[i].out), i);
		buf_deinit(&out);
	}
}

static void test_write_string_quotes_or_not(void)
{
	struct buf out;
	char text[1026];

	buf_init(&out, 4000);
	check(imap_write_string(&out, "abc", 3) == 0);
	check(imap_write_nstring(&out, NULL) == 0);
	check(imap_write_nstring(&out, "NIL") == 0);
	check(imap_write_nstring(&out, "") == 0);
	check(holds(&out, "\"abc\"NIL\"NIL\"\"\""));
	buf_reset(&out);
	check(imap_write_string(&out, "a\0b", 3) == 0);
	check(out.len == 8 && memcmp(out.data, "{3}\r\na\0b", 8) == 0);
	buf_reset(&out);
	memset(text, 'x', sizeof(text));
	check(imap_write_string(&out, text, 1024) == 0);
	check(out.len == 1026 && out.data[0] == '"');
	buf_reset(&out);
	check(imap_write_string(&out, text, 1025) == 0);
	check(out.len == 8 + 1025 && memcmp(out.data, "{1025}\r\nx", 9) == 0);
	buf_deinit(&out);
}

static void test_write_tells_that_it_did_not_fit(void)
{
	static const char *const names[] = { "abcdefghijk", "ab cd efgh", "a\"b\"c\"d\"",
		"ab\rcdefg", "\xe2\x98\xba\xe2\x98\xba" };

	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		struct buf out;

		buf_init(&out, 10);
		check_row(imap_write_astring(&out, names[i]) == -ENOBUFS, i);
		check_row(out.failed && out.len <= 10, i);
		buf_deinit(&out);
	}
}

/* Whatever is written is read back as it was. */
static void test_write_astring_reads_back(void)
{
	static const struct imap_parser_limits limits = { .line_max = 4000, .literal_max = 4000 };
	uint64_t seed = unit_seed();

	for (int round = 0; round < 2000; round++) {
		struct imap_parser *p = imap_parser_create(&limits);
		char s[20] = "";
		struct buf out;
		const char *back;
		enum imap_parse answer;
		size_t used, len = unit_random(&seed) % sizeof(s);

		for (size_t i = 0; i < len; i++) {
			s[i] = (char)(unit_random(&seed) % 4 ? 'a' : unit_random(&seed) % 255 + 1);
			s[i + 1 < sizeof(s) ? i + 1 : i] = '\0';
		}
		buf_init(&out, 200);
		buf_append_str(&out, "a X ");
		check_row(imap_write_astring(&out, s) == 0, round);
		buf_append_str(&out, "\r\n");
		answer = imap_parser_feed(p, out.data, out.len, &used);
		if (answer == IMAP_PARSE_CONTINUE)
			answer = imap_parser_feed(p, out.data + used, out.len - used, &used);
		check_row(answer == IMAP_PARSE_DONE, round);
		back = imap_parser_command(p)->count == 1 ?
			imap_arg_astring(imap_parser_command(p)->args) : NULL;
		check_row(back != NULL && strcmp(back, s) == 0, round);
		buf_deinit(&out);
		imap_parser_destroy(&p);
	}
}

static void test_write_mailbox_encodes_names(void)
{
	static const struct {
		const char *in, *utf7, *utf8;
	} rows[] = {
		{ "INBOX", "INBOX", "INBOX" },
		{ "", "\"\"", "\"\"" },
		{ "A&B", "A&-B", "A&B" },
		{ "a b", "\"a b\"", "\"a b\"" },
		/* the example of RFC 3501 5.1.3 */
		{ "~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		  "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
		  "\"~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\"" },
		{ "\xc3\xbc \"", "\"&APw- \\\"\"", "\"\xc3\xbc \\\"\"" },
		{ "a\nb", "a&AAo-b", "{3}\r\na\nb" },
		{ "\x01", "&AAE-", "\"\x01\"" },
		{ "\xff", NULL, NULL },
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int want = rows[i].utf7 ? 0 : -EINVAL;
		struct buf out;

		buf_init(&out, 200);
		check_row(imap_write_mailbox(&out, rows[i].in, false) == want, i);
		check_row(holds(&out, rows[i].utf7 ? rows[i].utf7 : ""), i);
		buf_reset(&out);
		check_row(imap_write_mailbox(&out, rows[i].in, true) == want, i);
		check_row(holds(&out, rows[i].utf8 ? rows[i].utf8 : ""), i);
		buf_deinit(&out);
	}
}

static void test_utf7_decodes_one_spelling_only(void)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },
		{ "INBOX", "INBOX" },
		{ "a&-b", "a&b" },
		{ "&-&-", "&&" },
		{ "&U,BTFw-", "\xe5\x8f\xb0\xe5\x8c\x97" },
		{ "&Jjo-!", "\xe2\x98\xba!" },
		{ "&2D3eAA-", "\xf0\x9f\x98\x80" },
		{ "&AH8-", "\x7f" },
		{ "&AQA-", "\xc4\x80" },
		{ "&Jjo-&-", "\xe2\x98\xba&" },
		{ "&Jjo-&-&Jjo-", "\xe2\x98\xba&\xe2\x98\xba" },
		{ "&", NULL },			/* ends inside */
		{ "&Jjo", NULL },
		{ "&Jjo!", NULL },
		{ "&Jj-", NULL },		/* half a character */
		{ "&J-", NULL },
		{ "&Jjp-", NULL },		/* fill bits set */
		{ "&JjoA-", NULL },		/* one too many */
		{ "&JjoAAA-", NULL },		/* NUL */
		{ "&AAA-", NULL },
		{ "&AGE-", NULL },		/* "a" is its own sign */
		{ "&ACY-", NULL },		/* and "&" is "&-" */
		{ "&Jjo-&Jjo-", NULL },		/* null shift */
		{ "&2D0-", NULL },		/* half a pair */
		{ "&3gDYPQ-", NULL },		/* the wrong way round */
		{ "&2D0AYQ-", NULL },
		{ "&2D3YPd4A-", NULL },
		{ "&J/o-", NULL },		/* "/" of another base64 */
		{ "a\xc3\xbc", NULL },		/* 8-bit */
		{ "a\tb", NULL },
		{ "a\x7f", NULL },
		{ "&Jj\xc3-", NULL },
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct buf out;

		buf_init(&out, 100);
		buf_append_str(&out, "x");
		check_row(imap_utf7_decode(rows[i].in, &out) == (rows[i].out ? 0 : -EINVAL), i);
		buf_append_u8(&out, '\0');
		check_row(strcmp((char *)out.data + 1, rows[i].out ? rows[i].out : "") == 0, i);
		buf_deinit(&out);
	}
}

static void utf8_put(struct buf *out, uint32_t c)
{
	if (c < 0x80) {
		buf_append_u8(out, (uint8_t)c);
	} else if (c < 0x800) {
		buf_append_u8(out, (uint8_t)(0xc0 + c / 64));
		buf_append_u8(out, (uint8_t)(0x80 + c % 64));
	} else if (c < 0x10000) {
		buf_append_u8(out, (uint8_t)(0xe0 + c / 4096));
		buf_append_u8(out, (uint8_t)(0x80 + c / 64 % 64));
		buf_append_u8(out, (uint8_t)(0x80 + c % 64));
	} else {
		buf_append_u8(out, (uint8_t)(0xf0 + c / 262144));
		buf_append_u8(out, (uint8_t)(0x80 + c / 4096 % 64));
		buf_append_u8(out, (uint8_t)(0x80 + c / 64 % 64));
		buf_append_u8(out, (uint8_t)(0x80 + c % 64));
	}
}

static void test_utf7_comes_back_from_every_character(void)
{
	for (uint32_t c = 1; c < 0x110000; c += c < 0x900 ? 1 : 251) {
		struct buf name, coded, back;

		if (c >= 0xd800 && c < 0xe000)
			continue;
		buf_init(&name, 100);
		buf_init(&coded, 100);
		buf_init(&back, 100);
		utf8_put(&name, c);
		utf8_put(&name, 'a' + c % 2 * 0x100);
		utf8_put(&name, c);
		check_row(imap_utf8_valid((char *)name.data, name.len), c);
		buf_append_u8(&name, '\0');
		check_row(imap_utf7_encode((char *)name.data, &coded) == 0, c);
		buf_append_u8(&coded, '\0');
		check_row(imap_utf7_decode((char *)coded.data, &back) == 0, c);
		buf_append_u8(&back, '\0');
		check_row(back.len == name.len && !memcmp(back.data, name.data, name.len), c);
		buf_deinit(&name);
		buf_deinit(&coded);
		buf_deinit(&back);
	}
}

/* One name, one spelling: what decodes is what its decoding encodes to. */
static void test_utf7_that_decodes_encodes_to_itself(void)
{
	static const char chars[] = "&&&-----AAJoEG2D3gQ4,+/a !\x7f\xc3";
	uint64_t seed = unit_seed();
	int valid = 0;

	for (int round = 0; round < 60000; round++) {
		struct buf name, again;
		char s[12];
		size_t len = unit_random(&seed) % sizeof(s);

		for (size_t i = 0; i < len; i++)
			s[i] = chars[unit_random(&seed) % (sizeof(chars) - 1)];
		s[len] = '\0';
		buf_init(&name, 100);
		buf_init(&again, 100);
		if (imap_utf7_decode(s, &name) == 0) {
			valid++;
			check_row(imap_utf8_valid((char *)name.data, name.len), round);
			buf_append_u8(&name, '\0');
			check_row(imap_utf7_encode((char *)name.data, &again) == 0, round);
			check_row(holds(&again, s), round);
		} else {
			check_row(name.len == 0, round);
		}
		buf_deinit(&name);
		buf_deinit(&again);
	}
	check(valid > 1000);
}

static void test_utf7_leaves_nothing_when_it_does_not_fit(void)
{
	struct buf out;

	buf_init(&out, 6);
	buf_append_str(&out, "x");
	check(imap_utf7_decode("abcdef", &out) == -ENOBUFS && out.len == 1);
	buf_reset(&out);
	check(imap_utf7_decode("abcdef", &out) == 0 && out.len == 6);
	buf_reset(&out);
	check(imap_utf7_encode("\xe2\x98\xba\xe2\x98\xba", &out) == -ENOBUFS && out.len == 0);
	buf_reset(&out);
	check(imap_utf7_encode("a\xe2\x98\xba", &out) == 0);
	check(holds(&out, "a&Jjo-"));
	buf_deinit(&out);
}

static void test_utf8_is_checked_by_rfc_3629(void)
{
	static const struct {
		const char *in;
		bool valid;
	} rows[] = {
		{ "", true },
		{ "abc\x7f", true },
		{ "\xc2\x80\xdf\xbf", true },
		{ "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", true },
		{ "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true },
		{ "\x80", false },
		{ "\xbf", false },
		{ "\xc0\x80", false },
		{ "\xc1\xbf", false },
		{ "\xc3", false },
		{ "\xc3(", false },
		{ "\xe0\x9f\xbf", false },
		{ "\xe2\x82", false },
		{ "\xe2\x82(", false },
		{ "\xed\xa0\x80", false },
		{ "\xed\xbf\xbf", false },
		{ "\xf0\x8f\xbf\xbf", false },
		{ "\xf0\x9f\x98", false },
		{ "\xf4\x90\x80\x80", false },
		{ "\xf5\x80\x80\x80", false },
		{ "\xf8\x88\x80\x80\x80", false },
		{ "\xff", false },
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(imap_utf8_valid(rows[i].in, strlen(rows[i].in)) == rows[i].valid, i);
	/* not beyond the given length */
	check(!imap_utf8_valid("\xc3\xbc", 1));
}

static void zone_set(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

static void test_write_datetime_in_the_local_zone(void)
{
	static const struct {
		const char *tz;
		int64_t t;
		const char *out;
	} rows[] = {
		{ "UTC0", 0, "\" 1-Jan-1970 00:00:00 +0000\"" },
		{ "UTC0", 837571465, "\"17-Jul-1996 02:44:25 +0000\"" },
		{ "XXX+7", 837596665, "\"17-Jul-1996 02:44:25 -0700\"" },
		{ "XXX-5:45", 837571465, "\"17-Jul-1996 08:29:25 +0545\"" },
		/* a zone of long ago, with seconds: shown without them */
		{ "XXX-0:53:28", 0, "\" 1-Jan-1970 00:53:00 +0053\"" },
		{ "XXX+0:00:30", 0, "\" 1-Jan-1970 00:00:00 +0000\"" },
		{ "UTC0", -1, "\"31-Dec-1969 23:59:59 +0000\"" },
		{ "UTC0", INT64_MAX, "\"30-Dec-9999 23:59:59 +0000\"" },
		{ "UTC0", INT64_MIN, "\" 2-Jan-0000 00:00:00 +0000\"" },
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct buf out;

		buf_init(&out, 100);
		zone_set(rows[i].tz);
		check_row(imap_write_datetime(&out, rows[i].t) == 0, i);
		check_row(holds(&out, rows[i].out), i);
		buf_deinit(&out);
	}
	zone_set("UTC0");
}

static void test_datetime_comes_back(void)
{
	static const char *const zones[] = { "UTC0", "XXX-5:45", "XXX+11:30", "XXX-13",
		"XXX-0:53:28", "XXX+3:00:01" };
	uint64_t seed = unit_seed();

	for (int round = 0; round < 5000; round++) {
		int64_t back, t = (int64_t)(unit_random(&seed) % 315569000000u) - 62167132800;
		char text[40];
		struct buf out;

		buf_init(&out, 100);
		zone_set(zones[round % (int)UNIT_COUNT(zones)]);
		check_row(imap_write_datetime(&out, t) == 0, round);
		require(out.len == 28);
		memcpy(text, out.data + 1, 26);
		text[26] = '\0';
		check_row(imap_parse_datetime(text, &back) == 0 && back == t, round);
		buf_deinit(&out);
	}
	zone_set("UTC0");
}

static void test_parse_datetime_takes_only_dates(void)
{
	static const struct {
		const char *in;
		bool valid;
		int64_t t;
	} rows[] = {
		{ "17-Jul-1996 02:44:25 +0000", true, 837571465 },
		{ "17-jul-1996 02:44:25 -0700", true, 837596665 },
		{ " 1-Jan-1970 00:00:00 +0000", true, 0 },
		{ "1-Jan-1970 00:00:00 +0000", true, 0 },
		{ "01-Jan-1970 00:00:00 +0030", true, -1800 },
		{ "29-Feb-2000 23:59:60 +0000", true, 951868800 },
		{ "01-Jan-0000 00:00:00 +0000", true, -62167219200 },
		{ "31-Dec-9999 23:59:59 +0000", true, 253402300799 },
		{ "29-Feb-1900 00:00:00 +0000", false, 0 },
		{ "31-Apr-2000 00:00:00 +0000", false, 0 },
		{ "00-Apr-2000 00:00:00 +0000", false, 0 },
		{ " 11-Apr-2000 00:00:00 +0000", false, 0 },
		{ "  1-Apr-2000 00:00:00 +0000", false, 0 },
		{ " ", false, 0 },
		{ "", false, 0 },
		{ "11-Avr-2000 00:00:00 +0000", false, 0 },
		{ "11-Apr-00 00:00:00 +0000", false, 0 },
		{ "11-Apr-20000 00:00:00 +0000", false, 0 },
		{ "11-Apr-2000 24:00:00 +0000", false, 0 },
		{ "11-Apr-2000 00:60:00 +0000", false, 0 },
		{ "11-Apr-2000 00:00:61 +0000", false, 0 },
		{ "11-Apr-2000 0:00:00 +0000", false, 0 },
		{ "11-Apr-2000 00:00:00 +2400", false, 0 },
		{ "11-Apr-2000 00:00:00 +0060", false, 0 },
		{ "11-Apr-2000 00:00:00 0000", false, 0 },
		{ "11-Apr-2000 00:00:00 GMT", false, 0 },
		{ "11-Apr-2000 00:00:00", false, 0 },
		{ "11-Apr-2000 00:00:00 +00000", false, 0 },
		{ "11-Apr-2000 00:00:00 +0000 ", false, 0 },
		{ "11-Ap", false, 0 },
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int64_t t = 77;

		check_row(imap_parse_datetime(rows[i].in, &t) == (rows[i].valid ? 0 : -EINVAL), i);
		check_row(t == (rows[i].valid ? rows[i].t : 77), i);
	}
}

static void test_parse_date_takes_only_dates(void)
{
	static const char *const bad[] = { "", "1", "1-Feb", "1-Feb-", "1-Feb-94", "0-Feb-1994",
		"30-Feb-1994", "29-Feb-1994", "001-Feb-1994", " 1-Feb-1994", "1-Feb-1994 ",
		"1-February-1994", "-1-Feb-1994", "1 Feb 1994" };
	int y, m, d;

	check(imap_parse_date("1-Feb-1994", &y, &m, &d) == 0 && y == 1994 && m == 2 && d == 1);
	check(imap_parse_date("09-dEC-2026", &y, &m, &d) == 0 && y == 2026 && m == 12 && d == 9);
	check(imap_parse_date("29-Feb-2024", &y, &m, &d) == 0 && d == 29);
	y = m = d = 77;
	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		check_row(imap_parse_date(bad[i], &y, &m, &d) == -EINVAL, i);
	check(y == 77 && m == 77 && d == 77);
}

static void test_write_text_is_one_plain_line(void)
{
	struct buf out;

	buf_init(&out, 20);
	check(imap_write_text(&out, "a\r\nb\tc\x7f" "d\xc3\xbc ~\x01") == 0);
	check(holds(&out, "a??b?c?d?? ~?"));
	check(imap_write_text(&out, "12345678") == -ENOBUFS);
	buf_deinit(&out);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_write_astring_takes_the_simplest_form),
		UNIT_TEST(test_write_string_quotes_or_not),
		UNIT_TEST(test_write_tells_that_it_did_not_fit),
		UNIT_TEST(test_write_astring_reads_back),
		UNIT_TEST(test_write_mailbox_encodes_names),
		UNIT_TEST(test_utf7_decodes_one_spelling_only),
		UNIT_TEST(test_utf7_comes_back_from_every_character),
		UNIT_TEST(test_utf7_that_decodes_encodes_to_itself),
		UNIT_TEST(test_utf7_leaves_nothing_when_it_does_not_fit),
		UNIT_TEST(test_utf8_is_checked_by_rfc_3629),
		UNIT_TEST(test_write_datetime_in_the_local_zone),
		UNIT_TEST(test_datetime_comes_back),
		UNIT_TEST(test_parse_datetime_takes_only_dates),
		UNIT_TEST(test_parse_date_takes_only_dates),
		UNIT_TEST(test_write_text_is_one_plain_line),
	};
	return unit_run("imap-write", tests, UNIT_COUNT(tests));
}
