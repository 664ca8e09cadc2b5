/* SPDX-License-Identifier: MIT */
#include <iconv.h>
#include <string.h>

#include "imap/text-match.h"
#include "lib/arena.h"
#include "tests/decode-drive.h"
#include "tests/unit.h"

struct row {
	const char *in, *out;
	const char *charset;
};

/* In one piece, byte by byte, and by three: the same must come out. */
static void check_decoded(enum drive_kind kind, bool fold, const struct row *r, int row)
{
	static const size_t cuts[] = { 0, 1, 3 };

	for (size_t i = 0; i < UNIT_COUNT(cuts); i++) {
		struct drive d = { kind, r->charset, fold, cuts[i] };
		struct buf got;

		buf_init(&got, SIZE_MAX);
		drive_decode(&d, r->in, strlen(r->in), &got);
		buf_append_u8(&got, 0);
		if (!check_row(strcmp((char *)got.data, r->out) == 0, row))
			fprintf(stderr, "cut %zu: <%.200s> instead of <%.200s>\n", cuts[i],
				(char *)got.data, r->out);
		buf_deinit(&got);
	}
}

static void test_base64(void)
{
	static const struct row rows[] = {
		{ "", "" },
		{ "R3LDvMOfZQ==", "Grüße" },
		{ "R3LD\r\nvMOf\r\nZQ==\r\n", "Grüße" },
		{ "R3LDvMOfZQ", "Grüße" },		/* no padding */
		{ "R3L DvM!OfZQ==", "Grüße" },		/* what does not belong there */
		{ "YQ==Yg==", "ab" },			/* two texts put together */
		{ "YQ==\r\nYg==\r\n", "ab" },
		{ "Y", "" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_decoded(DRIVE_BASE64, false, &rows[i], (int)i);
}

static void test_quoted_printable(void)
{
	static const struct row rows[] = {
		{ "a=3Db", "a=b" },
		{ "=47r=C3=BC=c3=9fe", "Grüße" },
		{ "one=\r\ntwo", "onetwo" },
		{ "one= \t\r\ntwo", "onetwo" },		/* blanks a gateway added */
		{ "one=\ntwo", "onetwo" },
		{ "end \t \r\nnext", "end\r\nnext" },	/* RFC 2045 6.7, rule 3 */
		{ "a \tb", "a \tb" },
		{ "a=zb", "a=zb" },
		{ "a=4", "a=4" },
		{ "a=4zb", "a=4zb" },
		{ "a==41", "a=A" },
		{ "a=", "a" },
		{ "end ", "end" },
		{ "= x", "= x" },
		{ "=\r=41", "=\rA" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_decoded(DRIVE_QP, false, &rows[i], (int)i);
}

static void test_blanks_beyond_reason_are_not_kept(void)
{
	char text[600], soft[602];

	memset(text, ' ', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	text[sizeof(text) - 2] = 'x';
	check_decoded(DRIVE_QP, false, &(struct row){ text, text }, 0);
	snprintf(soft, sizeof(soft), "=%s", text);
	check_decoded(DRIVE_QP, false, &(struct row){ soft, soft }, 1);
}

static void test_encoded_words(void)
{
	static const struct row rows[] = {
		{ "plain text", "plain text" },
		{ "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße" },
		{ "=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße" },
		{ "=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße" },		/* RFC 2231 5 */
		{ "=?iso-8859-1?Q?a_b=FC?=", "a bü" },
		{ "x =?utf-8?q?a?= y", "x a y" },
		/* RFC 2047 8 */
		{ "(=?ISO-8859-1?Q?a?=)", "(a)" },
		{ "(=?ISO-8859-1?Q?a?= b)", "(a b)" },
		{ "(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)" },
		{ "(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)" },
		{ "(=?ISO-8859-1?Q?a?=\r\n   =?ISO-8859-1?Q?b?=)", "(ab)" },
		{ "(=?ISO-8859-1?Q?a_b?=)", "(a b)" },
		{ "(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)" },
		/* A character cut in two. */
		{ "=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü" },
		{ "=?utf-8?B?w7w=?= =?utf-8?q?=C3?= x", "ü\xc3 x" },
		{ "=?utf-8?q?" "?=", "" },
		{ "=?utf-8?q?=41?=", "A" },
		{ "a=?utf-8?q?b?=c", "abc" },		/* nobody's rule, many senders' way */
		/* Folding, and tabs that fold. */
		{ "one\r\n two", "one two" },
		{ "one\r\n\ttwo", "one two" },
		{ "one\n two", "one two" },
		{ "one\ttwo", "one\ttwo" },
		{ "A: x\r\nB: =?utf-8?q?=C3=BC?=\r\nC: y\r\n", "A: x\nB: ü\nC: y" },
		/* No words, however they look. */
		{ "a = b =? c", "a = b =? c" },
		{ "=?utf-8?x?a?=", "=?utf-8?x?a?=" },
		{ "=?utf-8?q?a b?=", "=?utf-8?q?a b?=" },
		{ "=?utf-8?q?a?b?=", "=?utf-8?q?a?b?=" },
		{ "=?utf-8?q?a", "=?utf-8?q?a" },
		{ "=??q?a?=", "=??q?a?=" },
		{ "=?" "?=", "=?" "?=" },
		{ "==?utf-8?q?a?=", "=a" },
		/* Nobody knows the charset: bytes. */
		{ "=?x-unknown?q?=C3=BC=FF?=", "ü\xff" },
		{ "caf\xc3\xa9 caf\xe9", "café caf\xe9" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_decoded(DRIVE_WORDS, false, &rows[i], (int)i);
}

static void test_a_word_without_end_is_text(void)
{
	static char text[100000];

	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "=?utf-8?q?", 10);
	check_decoded(DRIVE_WORDS, false, &(struct row){ text, text }, 0);
	memset(text, ' ', sizeof(text) - 1);
	memcpy(text, "=?utf-8?q?a?=", 13);
	text[sizeof(text) - 2] = 'b';
	{
		const char *want = text + 12;

		text[12] = 'a';		/* what is wanted begins with it */
		char *in = malloc(sizeof(text));

		require(in != NULL);
		memcpy(in, text, sizeof(text));
		in[12] = '=';
		check_decoded(DRIVE_WORDS, false, &(struct row){ in, want }, 1);
		free(in);
	}
}

static void test_charsets(void)
{
	static const struct row rows[] = {
		{ "Gr\xfc\xdf", "Grüß", "ISO-8859-1" },
		{ "\x80\x93", "€“", "latin1" },
		{ "\xa4", "€", "iso-8859-15" },
		{ "\xf0\xd2\xc9", "При", "koi8-r" },
		{ "caf\xc3\xa9", "café", "us-ascii" },
		{ "caf\xe9!", "caf\xe9!", "utf-8" },
		{ "\xed\xa0\x80", "\xed\xa0\x80", "utf-8" },	/* a surrogate is none */
		{ "\xc0\xaf", "\xc0\xaf", "utf-8" },		/* too long a form */
		{ "\xf0\x9f\x98\x80", "😀", "utf-8" },
		{ "\xe2\x82", "\xe2\x82", "utf-8" },
		{ "\x1b$B8!:w\x1b(B.", "検索.", "iso-2022-jp" },
		{ "\x1b(I1\x1b(B", "ｱ", "iso-2022-jp" },
		{ "\x8c\x9f\x8d\xf5\xb1", "検索ｱ", "shift_jis" },
		{ "\xb8\xa1\xba\xf7\x8e\xb1", "検索ｱ", "euc-jp" },
		{ "\x8f\xb0\xa1", "丂", "euc-jp" },
		{ "\xd6\xd0\xce\xc4", "中文", "gb2312" },
		{ "\x81\x30\x81\x30\x90\x30\x81\x30", "\xc2\x80\xf0\x90\x80\x80", "gb18030" },
		{ "\xa4\xa4\xa4\xe5", "中文", "big5" },
		{ "\xc7\xd1\xb1\xdb", "한글", "euc-kr" },
		{ "\x1b$)C\x0eGQ1[\x0f.", "한글.", "iso-2022-kr" },
		{ "Hi Mom -+Jjo--!", "Hi Mom -☺-!", "utf-7" },	/* RFC 2152 */
		{ "A+ImIDkQ.", "A≢Α.", "utf-7" },
		{ "+2D3eAA-", "😀", "utf-7" },
		{ "a+-b", "a+b", "utf-7" },
		{ "\xfe\xff\x20\xac", "€", "utf-16" },
		{ "\xff\xfe\xac\x20\x3d\xd8\x01\xde", "€😁", "utf-16" },
		{ "\xac\x20", "€", "utf-16le" },
		{ "\xac", "\xef\xbf\xbd", "utf-16le" },
		{ "\x81", "\xef\xbf\xbd", "gbk" },
		{ "\xff", "\xef\xbf\xbd", "euc-jp" },
		{ "\xa1x", "\xef\xbf\xbdx", "euc-jp" },
		{ "\x81 x", "\xef\xbf\xbd x", "shift_jis" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_decoded(DRIVE_CHARSET, false, &rows[i], (int)i);
}

/* The C library's own tables are the judges. */
static void test_charsets_as_iconv_has_them(void)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{ "ISO-8859-2", "Příliš žluťoučký kůň" },	{ "ISO-8859-5", "Съешь ещё" },
		{ "ISO-8859-7", "Γαζίες" },		{ "ISO-8859-8", "דג סקרן" },
		{ "ISO-8859-9", "Pijamalı hasta yağız" },	{ "ISO-8859-13", "Įlinkdama ąžuolą" },
		{ "ISO-8859-15", "œuvre €" },			{ "WINDOWS-1250", "Zażółć gęślą" },
		{ "WINDOWS-1251", "Съешь же ещё №" },		{ "WINDOWS-1252", "“Fée” – œ €" },
		{ "WINDOWS-1253", "Ξεσκεπάζω" },		{ "WINDOWS-1254", "ığüşöç" },
		{ "WINDOWS-1255", "דג סקרן שט" },		{ "WINDOWS-1256", "نص حكيم" },
		{ "WINDOWS-1257", "Glāžšķūņa" },		{ "KOI8-R", "Съешь же ещё" },
		{ "KOI8-U", "Чуєш їх, доцю" },			{ "TIS-620", "เป็นมนุษย์" },
		{ "IBM850", "Zwölf Boxkämpfer" },		{ "IBM866", "Съешь ещё" },
		{ "MACINTOSH", "Zwölf “Boxkämpfer”" },		{ "SHIFT_JIS", "いろはにほへと漢字ｱｲ" },
		{ "EUC-JP", "いろはにほへと漢字、丂侊" },	{ "ISO-2022-JP", "いろはabc漢字" },
		{ "EUC-KR", "키스의 고유조건은" },		{ "UHC", "똠방각하 펲시콜라" },
		{ "ISO-2022-KR", "키스의 abc" },		{ "BIG5", "視野無限廣，窗外有藍天" },
		{ "GB2312", "视野无限广，窗外有蓝天" },	{ "GBK", "視野无限廣漢" },
		{ "GB18030", "视野😀ǹ€ 𠀀㐀" },		{ "UTF-7", "Grüße, 漢字 +/- 😀" },
		{ "UTF-16BE", "Grüße 😀" },			{ "UTF-16LE", "Grüße 😀" },
		{ "BIG5-HKSCS", "視野無限廣嘅" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char coded[256], *in = (char *)(uintptr_t)rows[i].text, *out = coded;
		size_t in_len = strlen(rows[i].text), out_len = sizeof(coded);
		iconv_t cd = iconv_open(rows[i].name, "UTF-8");

		if (!check_row(cd != (iconv_t)-1, i))
			continue;
		if (iconv(cd, &in, &in_len, &out, &out_len) == 0 &&
		    iconv(cd, NULL, NULL, &out, &out_len) == 0) {
			for (size_t cut = 0; cut < 4; cut++) {
				struct drive d = { DRIVE_CHARSET, rows[i].name, false, cut };
				struct buf got;

				buf_init(&got, SIZE_MAX);
				drive_decode(&d, coded, sizeof(coded) - out_len, &got);
				check_row(got.len == strlen(rows[i].text) &&
					  memcmp(got.data, rows[i].text, got.len) == 0, i);
				buf_deinit(&got);
			}
		} else {
			check_row(false, i);
		}
		iconv_close(cd);
	}
}

static void test_charset_names(void)
{
	static const char *const known[] = {
		"utf-8", "UTF8", "us-ascii", "Iso-8859-1", "windows-1252", "gb_2312-80", "GBK",
		"ks_c_5601-1987", "MS_Kanji", "x-mac-roman", "utf-8*en", "TIS-620", "big5",
	};
	static const char *const unknown[] = { "", "x", "utf-", "utf-88", "*", "iso-8859-12", "zzz" };

	for (size_t i = 0; i < UNIT_COUNT(known); i++)
		check_row(charset_find(known[i], strlen(known[i])) != NULL, i);
	for (size_t i = 0; i < UNIT_COUNT(unknown); i++)
		check_row(charset_find(unknown[i], strlen(unknown[i])) == NULL, i);
	check(charset_find("utf-8\0x", 7) == NULL);
}

static void test_folding(void)
{
	static const struct row rows[] = {
		{ "Hello, [World]!", "HELLO, [WORLD]!" },
		{ "grüße", "GRU\xcc\x88ßE" },
		{ "GRÜßE", "GRU\xcc\x88ßE" },
		{ "gru\xcc\x88ße", "GRU\xcc\x88ßE" },
		{ "привет", "ПРИВЕТ" },
		{ "ΣΊΣΥΦΟΣ σίσυφος", "ΣΙ\xcc\x81ΣΥΦΟΣ ΣΙ\xcc\x81ΣΥΦΟΣ" },
		{ "ｆｕｌｌ ﬁ", "FULL FI" },
		{ "한", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab" },
		{ "가", "\xe1\x84\x80\xe1\x85\xa1" },
		{ "a\xc2\xa0" "b", "A B" },		/* no-break space */
		{ "𐐨", "𐐀" },			/* beyond the BMP */
		{ "漢字", "漢字" },
		{ "\xff\xc3", "\xff\xc3" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_decoded(DRIVE_CHARSET, true, &rows[i], (int)i);
}

/* ---- finding ---- */

static bool found(const char *needle, const char *text, size_t cut)
{
	struct drive d = { DRIVE_CHARSET, NULL, true, 0 };
	struct arena *arena = arena_create();
	struct text_needle n;
	struct text_match m;
	struct buf folded;

	require(text_needle_init(&n, arena, charset_bytes, needle, strlen(needle)));
	buf_init(&folded, SIZE_MAX);
	drive_decode(&d, text, strlen(text), &folded);
	text_match_begin(&m, &n);
	for (size_t at = 0; at < folded.len; at += cut)
		text_match_feed(&m, folded.data + at,
				folded.len - at < cut ? folded.len - at : cut);
	buf_deinit(&folded);
	arena_destroy(&arena);
	return m.found;
}

static void test_finding_across_any_cut(void)
{
	static const struct {
		const char *needle, *text;
		bool found;
	} rows[] = {
		{ "needle", "hay neeNEEDLEstack", true },
		{ "needlez", "hay neeNEEDLEstack", false },
		{ "aab", "aaaaaaab", true },
		{ "aabaaab", "aabaaabaaab", true },
		{ "abcabd", "abcabcabd", true },
		{ "abcabe", "abcabcabd", false },
		{ "", "anything", true },
		{ "ü", "GRÜSSE", true },
		{ "gru", "Grüße", true },
		{ "ß", "GRUSS", false },
		{ "x", "", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (size_t cut = 1; cut < 20; cut++)
			check_row(found(rows[i].needle, rows[i].text, cut) == rows[i].found, i);
}

/* Random words of two letters: strstr() is the judge. */
static void test_finding_as_strstr_does(void)
{
	uint64_t seed = unit_seed();

	for (int i = 0; i < 20000; i++) {
		char needle[9] = "", text[41] = "";

		for (int k = 0; k < 40; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			text[k] = (char)('A' + (seed >> 60 > 7));
			if (k < (int)(seed >> 33) % 8 + 1 && k < 8 && strlen(needle) == (size_t)k)
				needle[k] = (char)('A' + (seed >> 59 & 1));
		}
		check_row(found(needle, text, 7) == (strstr(text, needle) != NULL), i);
	}
}

static void test_needles_in_their_charset(void)
{
	struct arena *arena = arena_create();
	struct text_needle n;

	check(text_needle_init(&n, arena, charset_find("koi8-r", 6), "\xd0\xd2\xc9", 3));
	check(n.len == 6 && memcmp(n.bytes, "ПРИ", 6) == 0);
	check(text_needle_init(&n, arena, charset_find("utf-8", 5), "\xc3\xbc", 2));
	check(!text_needle_init(&n, arena, charset_find("utf-8", 5), "\xfc", 1));
	check(!text_needle_init(&n, arena, charset_find("gbk", 3), "\x81", 1));
	check(text_needle_init(&n, arena, charset_bytes, "\xfc", 1));
	arena_destroy(&arena);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_base64),
		UNIT_TEST(test_quoted_printable),
		UNIT_TEST(test_blanks_beyond_reason_are_not_kept),
		UNIT_TEST(test_encoded_words),
		UNIT_TEST(test_a_word_without_end_is_text),
		UNIT_TEST(test_charsets),
		UNIT_TEST(test_charsets_as_iconv_has_them),
		UNIT_TEST(test_charset_names),
		UNIT_TEST(test_folding),
		UNIT_TEST(test_finding_across_any_cut),
		UNIT_TEST(test_finding_as_strstr_does),
		UNIT_TEST(test_needles_in_their_charset),
	};
	return unit_run("decode", tests, UNIT_COUNT(tests));
}
