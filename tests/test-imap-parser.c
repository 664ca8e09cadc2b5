/* SPDX-License-Identifier: MIT */
/* What goes in and what the parser says to it stand beside each other (the
 * notation is in imap-drive.h); every row is tried whole, byte by byte, at
 * every single cut, and with sleep. malloc and its kin are wrapped by the
 * linker, to be short of memory at will. */
#include <stdlib.h>
#include <string.h>

#include "lib/limits.h"
#include "tests/imap-drive.h"
#include "tests/unit.h"

struct row {
	const char *in;
	size_t len;
	const char *out;
};
#define ROW(in, out)	{ in, sizeof(in) - 1, out }

static const struct imap_parser_limits session_limits = {
	.line_max = 400, .literal_max = 64, .stream_command = "APPEND" };

/* One cut at the given place. */
static size_t cut_once(void *context, size_t left)
{
	size_t *first = context;
	size_t n = *first;

	if (n == 0 || n > left)
		return left;
	*first = 0;
	return n;
}

static bool says(const struct drive *d, const struct row *row)
{
	struct buf out;
	bool same;

	buf_init(&out, 1 << 24);
	drive_run(d, row->in, row->len, &out);
	same = out.len == strlen(row->out) && memcmp(out.data, row->out, out.len) == 0;
	if (!same)
		fprintf(stderr, "\nsaid:\n%.*swanted:\n%s", (int)out.len,
			(const char *)out.data, row->out);
	buf_deinit(&out);
	return same;
}

static bool says_however_cut(const struct imap_parser_limits *limits, const struct row *row)
{
	struct drive d = { .limits = *limits, .cut = drive_cut_whole };
	size_t first;
	bool ok = says(&d, row);

	d.cut = drive_cut_bytes;
	ok = ok && says(&d, row);
	d.sleeps = true;
	ok = ok && says(&d, row);
	d.cut = cut_once;
	d.context = &first;
	for (size_t at = 1; ok && at < row->len; at++) {
		first = at;
		ok = says(&d, row);
	}
	return ok;
}

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_row(says_however_cut(&session_limits, &rows[i]), i);
}

static void test_parser_reads_commands(void)
{
	static const struct row rows[] = {
		ROW("a1 NOOP\r\n", "DONE@9 a1 NOOP\nCUT idle\n"),
		ROW("a1 noOp\n", "DONE@8 a1 NOOP\nCUT idle\n"),
		ROW("a NOOP\r\nb CHECK\r\nc",
		    "DONE@8 a NOOP\nDONE@17 b CHECK\nCUT partial\n"),
		ROW("a uid fetch 1:*,7 (FLAGS UID)\r\n",
		    "DONE@31 a UID fetch 1:*,7 (FLAGS UID)\nCUT idle\n"),
		ROW("a STORE 1 +FLAGS.SILENT (\\Seen \\* $Junk)\r\n",
		    "DONE@42 a STORE 1 +FLAGS.SILENT (\\Seen \\* $Junk)\nCUT idle\n"),
		ROW("a LIST (SUBSCRIBED) \"\" (% *.b \"c d\") RETURN ()\r\n",
		    "DONE@48 a LIST (SUBSCRIBED) \"\" (% *.b \"c d\") RETURN ()\nCUT idle\n"),
		ROW("a SEARCH (OR (1 2) (3)) $\r\n",
		    "DONE@27 a SEARCH (OR (1 2) (3)) $\nCUT idle\n"),
		ROW("a ID (\"name\" nil x NiL)\r\n",
		    "DONE@25 a ID (\"name\" nil! x NiL!)\nCUT idle\n"),
		ROW("a ID \"NIL\"\r\n", "DONE@12 a ID \"NIL\"\nCUT idle\n"),
		ROW("a LIST \"\" ~%/~x\r\n", "DONE@17 a LIST \"\" ~%/~x\nCUT idle\n"),
		ROW("a X {3}\r\n", "CONT@9\nCUT literal\n"),
		ROW("DONE\r\n", "BAD@6 DONE Missing command\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_reads_quoted_strings(void)
{
	static const struct row rows[] = {
		ROW("a X \"a\\\"b\\\\c\" \"\"\r\n", "DONE@18 a X \"a\"b\\c\" \"\"\nCUT idle\n"),
		ROW("a X \"gr\xc3\xbc\xc3\x9f\tq (){5}\"\r\n",
		    "DONE@22 a X \"gr\xc3\xbc\xc3\x9f\tq (){5}\"\nCUT idle\n"),
		ROW("a X \"\xff\"\r\n", "DONE@9 a X \"\xff\"\nCUT idle\n"),
		ROW("a X \"a\\n\"\r\n", "BAD@11 a Invalid escape in quoted string\nCUT idle\n"),
		ROW("a X \"a\\\r\n", "BAD@9 a Invalid escape in quoted string\nCUT idle\n"),
		ROW("a X \"a\r\nb\"\r\n", "BAD@8 a Quoted string without end\n"
		    "BAD@12  Invalid tag\nCUT idle\n"),
		ROW("a X \"a\"b\r\n", "BAD@10 a Invalid character in argument\nCUT idle\n"),
		ROW("a X b\"a\"\r\n", "BAD@10 a Invalid character in argument\nCUT idle\n"),
		ROW("a X \"a\0b\"\r\n", "BAD@11 a NUL in command\nCUT idle\n"),
		ROW("a X \"a\rb\"\r\n", "BAD@11 a CR without LF in command\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_reads_literals(void)
{
	static const struct row rows[] = {
		ROW("a LOGIN {3}\r\nfoo {3}\r\nba\"\r\n",
		    "CONT@13\nCONT@22\nDONE@27 a LOGIN {3}foo {3}ba\"\nCUT idle\n"),
		ROW("a LOGIN {3+}\r\nfoo {3+}\r\n\r\n)\r\n",
		    "DONE@29 a LOGIN {3}foo {3}\r\n)\nCUT idle\n"),
		ROW("a LOGIN {3+}\nfoo {01+}\nx\n", "DONE@25 a LOGIN {3}foo {1}x\nCUT idle\n"),
		ROW("a X {0}\r\n\r\n", "CONT@9\nDONE@11 a X {0}\nCUT idle\n"),
		ROW("a X {0+}\r\n (~{0+}\r\n)\r\n", "DONE@22 a X {0} (~{0})\nCUT idle\n"),
		ROW("a X (a ({2}\r\n()) b)\r\n",
		    "CONT@13\nDONE@21 a X (a ({2}()) b)\nCUT idle\n"),
		ROW("a X ~{2+}\r\n\xff\n\r\n", "DONE@15 a X ~{2}\xff\n\nCUT idle\n"),
		ROW("a X {2+}\r\nab{2+}\r\ncd\r\n", "BAD@22 a Unexpected literal\nCUT idle\n"),
		ROW("a X {2+}\r\nabc\r\n", "BAD@15 a Invalid character in argument\nCUT idle\n"),
		ROW("a X {64+}\r\n0123456789abcdef0123456789abcdef"
		    "0123456789abcdef0123456789abcdef\r\n",
		    "DONE@77 a X {64}0123456789abcdef0123456789abcdef"
		    "0123456789abcdef0123456789abcdef\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_keeps_nul_of_literal8_only(void)
{
	static const char good[] = "a X ~{3}\r\na\0b\r\n";
	static const struct row rows[] = {
		ROW("a X {3+}\r\na\0b\r\n", "BAD@15 a NUL in literal\nCUT idle\n"),
		ROW("a X {3+}\r\na\0b {2+}\r\nxx y\r\n", "BAD@26 a NUL in literal\nCUT idle\n"),
		ROW("a X {3+}\r\na\0b {2}\r\n", "BAD@19 a NUL in literal\nCUT idle\n"),
		ROW("\0a X\r\n", "BAD@6  Invalid tag\nCUT idle\n"),
		ROW("a X b\0\r\n", "BAD@8 a NUL in command\nCUT idle\n"),
	};
	struct imap_parser *p = imap_parser_create(&session_limits);
	const uint8_t *in = (const uint8_t *)good;
	const struct imap_command *c;
	size_t used;

	require(imap_parser_feed(p, in, sizeof(good) - 1, &used) == IMAP_PARSE_CONTINUE);
	check(used == 10);
	require(imap_parser_feed(p, in + 10, sizeof(good) - 11, &used) == IMAP_PARSE_DONE);
	c = imap_parser_command(p);
	require(c->count == 1);
	check(c->args[0].is_literal8 && c->args[0].is_literal);
	check(c->args[0].len == 3 && memcmp(c->args[0].data, "a\0b", 4) == 0);
	check(imap_arg_astring(&c->args[0]) == NULL);
	imap_parser_destroy(&p);
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_never_runs_a_refused_literal(void)
{
	static const struct row rows[] = {
		/* the literal's bytes look like a command */
		ROW("a X {98+}\r\n"
		    "0123456789012345678901234567890123456789\r\nb DELETE INBOX\r\n"
		    "0123456789012345678901234567890123456789\r\nc NOOP\r\n",
		    "BAD@111 a [TOOBIG] Literal too large\nDONE@119 c NOOP\nCUT idle\n"),
		ROW("a X ( ) {10+}\r\nb DELETE\r\n y {1+}\r\n\n z\r\nc NOOP\r\n",
		    "BAD@39 a Unexpected space\nDONE@47 c NOOP\nCUT idle\n"),
		ROW("+ X {10+}\r\nb DELETE\r\n\r\nc NOOP\r\n",
		    "BAD@23  Invalid tag\nDONE@31 c NOOP\nCUT idle\n"),
		ROW("a X \"b {10+}\r\nb DELETE\r\n\r\n", "BAD@26 a Quoted string without end\nCUT idle\n"),
		ROW("a {10+}\r\nb DELETE\r\n\r\n", "BAD@21 a Unexpected literal\nCUT idle\n"),
		ROW("{10+}\r\nb DELETE\r\n\r\n", "BAD@19  Unexpected literal\nCUT idle\n"),
		ROW("a X b{10+}\r\nb DELETE\r\n\r\n", "BAD@24 a Unexpected literal\nCUT idle\n"),
		ROW("a X ( {0+}\r\n\r\n", "BAD@14 a Unexpected space\nCUT idle\n"),
		ROW("a X\0{10+}\r\nb DELETE\r\n\r\n", "BAD@23 a NUL in command\nCUT idle\n"),
		/* a synchronising one is not sent after BAD: what follows is
		   a command */
		ROW("a X {65}\r\nb NOOP\r\n",
		    "BAD@10 a [TOOBIG] Literal too large\nDONE@18 b NOOP\nCUT idle\n"),
		ROW("a X ( {4}\r\nb NOOP\r\n", "BAD@11 a Unexpected space\nDONE@19 b NOOP\nCUT idle\n"),
		ROW("a X {60+}\r\n"
		    "012345678901234567890123456789012345678901234567890123456789 {5}\r\n"
		    "b NOOP\r\n", "BAD@77 a [TOOBIG] Literal too large\nDONE@85 b NOOP\nCUT idle\n"),
		ROW("a X b) {3+}\r\nabc {4}\r\nb NOOP\r\n",
		    "BAD@22 a Unexpected )\nDONE@30 b NOOP\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_checks_literal_sizes(void)
{
	static const struct row rows[] = {
		ROW("a X {4294967296}\r\n", "BAD@18 a [TOOBIG] Literal too large\nCUT idle\n"),
		ROW("a X {4294967296+}\r\n", "FATAL [TOOBIG] Literal too large\n"),
		ROW("a X {18446744073709551616}\r\n",
		    "BAD@28 a [TOOBIG] Literal too large\nCUT idle\n"),
		ROW("a X {18446744073709551617+}\r\n", "FATAL [TOOBIG] Literal too large\n"),
		ROW("a X {99999999999999999999}\r\n",
		    "BAD@28 a [TOOBIG] Literal too large\nCUT idle\n"),
		ROW("a X {99999999999999999999+}\r\n", "FATAL [TOOBIG] Literal too large\n"),
		ROW("a X ( {99999999999999999999+}\r\n", "FATAL [TOOBIG] Literal too large\n"),
		ROW("a X {-1}\r\n", "BAD@10 a Invalid literal\nCUT idle\n"),
		ROW("a X {}\r\n", "BAD@8 a Invalid literal\nCUT idle\n"),
		ROW("a X {+}\r\n", "BAD@9 a Invalid literal\nCUT idle\n"),
		ROW("a X {1+ }\r\n", "BAD@11 a Invalid literal\nCUT idle\n"),
		ROW("a X {1-}\r\n", "BAD@10 a Invalid literal\nCUT idle\n"),
		ROW("a X {1} \r\n", "BAD@10 a Invalid literal\nCUT idle\n"),
		ROW("a X ~{1} \r\n", "BAD@11 a Invalid character in argument\nCUT idle\n"),
		ROW("a X {1}\r\r\n", "BAD@10 a CR without LF in command\nCUT idle\n"),
		/* APPEND's own: number64 has 63 bits */
		ROW("a APPEND b {9223372036854775807}\r\n",
		    "STREAM@34 a APPEND b <9223372036854775807+>\nCUT literal\n"),
		ROW("a APPEND b {9223372036854775808}\r\n",
		    "BAD@34 a [TOOBIG] Literal too large\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_bounds_what_it_skips(void)
{
	struct drive d = { .limits = session_limits, .cut = drive_cut_whole };
	char *in = malloc(IMAP_LITERAL_MAX_BYTES + 100);
	struct row row = { .in = in };
	char want[64];
	int n;

	drive_require(in != NULL);
	n = sprintf(in, "a X ( {%d+}\r\n", IMAP_LITERAL_MAX_BYTES);
	memset(in + n, '\n', IMAP_LITERAL_MAX_BYTES);
	row.len = (size_t)n + IMAP_LITERAL_MAX_BYTES;
	strcpy(in + row.len, "\r\nb X\r\n");
	row.len += 7;
	snprintf(want, sizeof(want), "BAD@%zu a Unexpected space\nDONE@%zu b X\nCUT idle\n",
		row.len - 5, row.len);
	row.out = want;
	check(says(&d, &row));
	/* one byte more, in a second literal */
	strcpy(in + row.len - 7, " {1+}\r\n");
	row.out = "FATAL [TOOBIG] Literal too large\n";
	check(says(&d, &row));
	free(in);
}

static void test_parser_reads_sections(void)
{
	static const struct row rows[] = {
		ROW("a FETCH 1 BODY[]<0.10>\r\n", "DONE@24 a FETCH 1 BODY[]<0.10>\nCUT idle\n"),
		ROW("a FETCH 1 (body.peek[1.2.HEADER.FIELDS.NOT (To \"C c\" a]b)]<1.2> UID)\r\n",
		    "DONE@70 a FETCH 1 (body.peek[1.2.HEADER.FIELDS.NOT (To \"C c\" a]b)]<1.2> UID)\n"
		    "CUT idle\n"),
		ROW("a FETCH 1 BODY[HEADER.FIELDS (\"a\\\"])\" \"\\\\\")]\r\n",
		    "DONE@46 a FETCH 1 BODY[HEADER.FIELDS (\"a\\\"])\" \"\\\\\")]\nCUT idle\n"),
		ROW("a FETCH 1 (BODY.PEEK[HEADER.FIELDS ({5}\r\nDa\"te {2+}\r\nTo)] UID)\r\n",
		    "CONT@41\nDONE@64 a FETCH 1 (BODY.PEEK[HEADER.FIELDS (\"Da\\\"te\" \"To\")] UID)\n"
		    "CUT idle\n"),
		ROW("a UID FETCH 1 BINARY.SIZE[1.2]\r\n",
		    "DONE@32 a UID FETCH 1 BINARY.SIZE[1.2]\nCUT idle\n"),
		/* elsewhere a bracket is a character */
		ROW("a LOGIN body[ [Gmail]/x\r\n", "DONE@25 a LOGIN body[ [Gmail]/x\nCUT idle\n"),
		ROW("a FETCH 1 xbody[\r\n", "DONE@18 a FETCH 1 xbody[\nCUT idle\n"),
		ROW("a FETCH 1 BODY[HEADER\r\n",
		    "BAD@23 a Missing end of list or section\nCUT idle\n"),
		ROW("a FETCH 1 BODY[(()]\r\n", "BAD@21 a Invalid character in section\nCUT idle\n"),
		ROW("a FETCH 1 BODY[\"x\"]\r\n", "BAD@21 a Invalid character in section\nCUT idle\n"),
		ROW("a FETCH 1 BODY[\x80]\r\n", "BAD@19 a Invalid character in section\nCUT idle\n"),
		ROW("a FETCH 1 BODY[({1+}\r\nx\r\n",
		    "BAD@25 a Missing end of list or section\nCUT idle\n"),
		ROW("a FETCH 1 BODY[{1+}\r\nx]\r\n", "BAD@25 a Unexpected literal\nCUT idle\n"),
		ROW("a FETCH 1 BODY[(x{1+}\r\nx)]\r\n", "BAD@28 a Unexpected literal\nCUT idle\n"),
		ROW("a FETCH 1 BODY[(x {3+}\r\n\\\"\\)]\r\n",
		    "DONE@31 a FETCH 1 BODY[(x \"\\\\\\\"\\\\\")]\nCUT idle\n"),
		ROW("a FETCH 1 BODY[(~{1+}\r\nx)]\r\n", "BAD@28 a Unexpected literal\nCUT idle\n"),
		/* quoted text cannot hold these */
		ROW("a FETCH 1 BODY[({2+}\r\n\r\n)]\r\n", "BAD@28 a Line end in field name\nCUT idle\n"),
		ROW("a FETCH 1 BODY[({1+}\r\n\0)]\r\n", "BAD@27 a NUL in literal\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_streams_append(void)
{
	static const struct row rows[] = {
		ROW("a APPEND in (\\Seen) \" 1-Feb-2020 00:00:00 +0000\" {4}\r\nab\r\n\r\n",
		    "STREAM@54 a APPEND in (\\Seen) \" 1-Feb-2020 00:00:00 +0000\" <4+>\n"
		    "DONE@60 a APPEND in (\\Seen) \" 1-Feb-2020 00:00:00 +0000\" <4>\nCUT idle\n"),
		/* far above literal_max; its bytes look like commands */
		ROW("a append in {66+}\r\n0123456789012345678901234567890123456789012345678"
		    "\r\nb DELETE INBOX\n\r\nc X\r\n",
		    "STREAM@19 a APPEND in <66>\nDONE@87 a APPEND in <66>\nDONE@92 c X\nCUT idle\n"),
		/* the mailbox as a literal is an ordinary one */
		ROW("a APPEND {2}\r\nin ~{2+}\r\n\0\n\r\n",
		    "CONT@14\nSTREAM@24 a APPEND {2}in ~<2>\nDONE@28 a APPEND {2}in ~<2>\nCUT idle\n"),
		/* RFC 3502 */
		ROW("a APPEND in {1}\r\nx (\\Seen) {0+}\r\n {2}\r\nyz\r\n",
		    "STREAM@17 a APPEND in <1+>\nSTREAM@33 a APPEND in <1> (\\Seen) <0>\n"
		    "STREAM@39 a APPEND in <1> (\\Seen) <0> <2+>\n"
		    "DONE@43 a APPEND in <1> (\\Seen) <0> <2>\nCUT idle\n"),
		/* RFC 6855 */
		ROW("a APPEND in UTF8 (~{3+}\r\nabc)\r\n",
		    "STREAM@25 a APPEND in UTF8 (~<3>)\nDONE@31 a APPEND in UTF8 (~<3>)\nCUT idle\n"),
		ROW("a APPEND in CATENATE (TEXT {3+}\r\nabc)\r\n",
		    "DONE@39 a APPEND in CATENATE (TEXT {3}abc)\nCUT idle\n"),
		ROW("a APPEND in {1}\r\nxy\r\n",
		    "STREAM@17 a APPEND in <1+>\nBAD@21 a Invalid character in argument\nCUT idle\n"),
		ROW("a APPEND in ( {9+}\r\nb DELETE\n\r\n", "BAD@31 a Unexpected space\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_may_drop_a_streamed_command(void)
{
	static const uint8_t in[] = "a APPEND in {9}\r\nb NOOP\r\n";
	struct imap_parser *p = imap_parser_create(&session_limits);
	size_t used, more;

	require(imap_parser_feed(p, in, sizeof(in) - 1, &used) == IMAP_PARSE_STREAM);
	check(used == 17 && imap_parser_needs_continue(p) && !imap_parser_idle(p));
	check(strcmp(imap_parser_tag(p), "a") == 0);
	imap_parser_reset(p);
	check(imap_parser_idle(p) && !imap_parser_needs_continue(p));
	check(imap_parser_feed(p, in + used, sizeof(in) - 1 - used, &more) == IMAP_PARSE_DONE);
	check(strcmp(imap_parser_command(p)->tag, "b") == 0);
	imap_parser_destroy(&p);
	check(p == NULL);
	imap_parser_destroy(&p);
}

static void test_parser_without_streams_keeps_append(void)
{
	static const struct imap_parser_limits limits = { .line_max = 100, .literal_max = 4 };
	static const struct row rows[] = {
		ROW("a APPEND in {2}\r\nab\r\n", "CONT@17\nDONE@21 a APPEND in {2}ab\nCUT idle\n"),
		ROW("a APPEND in {5}\r\n", "BAD@17 a [TOOBIG] Literal too large\nCUT idle\n"),
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(says_however_cut(&limits, &rows[i]), i);
}

static void test_parser_refuses_bad_lines(void)
{
	static const struct row rows[] = {
		ROW("\r\n", "BAD@2  Empty line\nCUT idle\n"),
		ROW("\n", "BAD@1  Empty line\nCUT idle\n"),
		ROW("a\r\n", "BAD@3 a Missing command\nCUT idle\n"),
		ROW("a \r\n", "BAD@4 a Missing command\nCUT idle\n"),
		ROW(" a X\r\n", "BAD@6  Missing tag\nCUT idle\n"),
		ROW("a  X\r\n", "BAD@6 a Missing command\nCUT idle\n"),
		ROW("a X \r\n", "BAD@6 a Missing argument\nCUT idle\n"),
		ROW("a X  b\r\n", "BAD@8 a Unexpected space\nCUT idle\n"),
		ROW("a X\tb\r\n", "BAD@7 a Invalid character in argument\nCUT idle\n"),
		ROW("a X(b)\r\n", "BAD@8 a Invalid character in argument\nCUT idle\n"),
		ROW("a X (b\r\n", "BAD@8 a Missing )\nCUT idle\n"),
		ROW("a X (b \r\n", "BAD@9 a Missing argument\nCUT idle\n"),
		ROW("a X (\r\n", "BAD@7 a Missing end of list or section\nCUT idle\n"),
		ROW("a X (b )\r\n", "BAD@10 a Invalid character\nCUT idle\n"),
		ROW("a X b)\r\n", "BAD@8 a Unexpected )\nCUT idle\n"),
		ROW("a X (b)(c)\r\n", "BAD@12 a Invalid character in argument\nCUT idle\n"),
		ROW("a X (b)c\r\n", "BAD@10 a Invalid character in argument\nCUT idle\n"),
		ROW("a X \\\r\n", "BAD@7 a Invalid flag\nCUT idle\n"),
		ROW("a X \\a\\b\r\n", "BAD@10 a Invalid character in argument\nCUT idle\n"),
		ROW("a X gr\xc3\xbc\r\n", "BAD@10 a Invalid character in argument\nCUT idle\n"),
		ROW("a X b\rc\r\n", "BAD@9 a CR without LF in command\nCUT idle\n"),
		ROW("a X\r\r\n", "BAD@6 a CR without LF in command\nCUT idle\n"),
		ROW("\r\r\n", "BAD@3  Invalid tag\nCUT idle\n"),
		ROW("* X\r\n", "BAD@5  Invalid tag\nCUT idle\n"),
		ROW("a+ X\r\n", "BAD@6  Invalid tag\nCUT idle\n"),
		ROW("a\x7f X\r\n", "BAD@6  Invalid tag\nCUT idle\n"),
		ROW("\xc3\xbc X\r\n", "BAD@6  Invalid tag\nCUT idle\n"),
		ROW("a]&!~ X\r\n", "DONE@9 a]&!~ X\nCUT idle\n"),
		ROW("a \xc3\xbc\r\n", "BAD@6 a Missing command\nCUT idle\n"),
	};
	check_rows(rows, UNIT_COUNT(rows));
}

static void test_parser_bounds_the_tag(void)
{
	char in[IMAP_TAG_MAX_BYTES + 16], want[sizeof(in) + 32];
	struct row row = { .in = in, .out = want };

	memset(in, 't', IMAP_TAG_MAX_BYTES + 1);
	strcpy(in + IMAP_TAG_MAX_BYTES, " X\r\n");
	row.len = strlen(in);
	snprintf(want, sizeof(want), "DONE@%zu %.*s X\nCUT idle\n", row.len,
		IMAP_TAG_MAX_BYTES, in);
	check(says_however_cut(&session_limits, &row));
	strcpy(in + IMAP_TAG_MAX_BYTES, "t X\r\n");
	row.len++;
	snprintf(want, sizeof(want), "BAD@%zu  Tag too long\nCUT idle\n", row.len);
	check(says_however_cut(&session_limits, &row));
}

static void test_parser_bounds_nesting(void)
{
	for (size_t depth = IMAP_NESTING_MAX; depth <= IMAP_NESTING_MAX + 1; depth++) {
		char in[200] = "a X ", want[200];
		struct row row = { .in = in, .out = want };

		memset(in + 4, '(', depth);
		memset(in + 4 + depth, ')', depth);
		strcpy(in + 4 + 2 * depth, "\r\n");
		row.len = strlen(in);
		if (depth <= IMAP_NESTING_MAX)
			snprintf(want, sizeof(want), "DONE@%zu %.*s\nCUT idle\n", row.len,
				(int)row.len - 2, in);
		else
			snprintf(want, sizeof(want),
				"BAD@%zu a Too many nested lists\nCUT idle\n", row.len);
		check_row(says_however_cut(&session_limits, &row), depth);
	}
}

static void test_parser_survives_a_nesting_bomb(void)
{
	static const struct imap_parser_limits limits = {
		.line_max = IMAP_LINE_MAX_BYTES, .literal_max = 64 };
	struct drive d = { .limits = limits, .cut = drive_cut_whole };
	char *in = malloc(IMAP_LINE_MAX_BYTES + 1);
	struct row row = { in, IMAP_LINE_MAX_BYTES,
		"BAD@65536 a Too many nested lists\nCUT idle\n" };

	drive_require(in != NULL);
	memset(in, '(', IMAP_LINE_MAX_BYTES);
	memcpy(in, "a X ", 4);
	in[IMAP_LINE_MAX_BYTES - 1] = '\n';
	check(says(&d, &row));
	free(in);
}

static void test_parser_reads_as_many_arguments_as_fit(void)
{
	static const struct imap_parser_limits limits = {
		.line_max = IMAP_LINE_MAX_BYTES, .literal_max = 64 };
	struct imap_parser *p = imap_parser_create(&limits);
	uint8_t *in = malloc(IMAP_LINE_MAX_BYTES);
	const struct imap_command *c = imap_parser_command(p);
	size_t used;

	drive_require(in != NULL);
	for (size_t i = 0; i < IMAP_LINE_MAX_BYTES; i += 2)
		memcpy(in + i, i % 4096 == 6 ? " b" : " c", 2);
	memcpy(in, "a X (", 5);
	memcpy(in + IMAP_LINE_MAX_BYTES - 4, "c)\r\n", 4);
	in[5] = 'd';
	require(imap_parser_feed(p, in, IMAP_LINE_MAX_BYTES, &used) == IMAP_PARSE_DONE);
	check(used == IMAP_LINE_MAX_BYTES);
	require(c->count == 1 && c->args[0].type == IMAP_ARG_LIST);
	/* "d", then one in two bytes from 6 to the "c)" above */
	require(c->args[0].count == 1 + (IMAP_LINE_MAX_BYTES - 4 - 6) / 2);
	check(imap_arg_is_atom(&c->args[0].items[0], "D"));
	check(imap_arg_is_atom(&c->args[0].items[1], "B"));
	check(imap_arg_is_atom(&c->args[0].items[2], "C"));
	check(imap_arg_is_atom(&c->args[0].items[c->args[0].count - 1], "CC"));
	/* and a small command behind it, when the memory has been given back */
	require(imap_parser_feed(p, (const uint8_t *)"b Y z\n", 6, &used) == IMAP_PARSE_DONE);
	check(c->count == 1 && imap_arg_is_atom(&c->args[0], "Z"));
	imap_parser_destroy(&p);
	free(in);
}

static void test_parser_bounds_the_line(void)
{
	static const struct imap_parser_limits limits = { .line_max = 20, .literal_max = 9 };
	static const struct row rows[] = {
		ROW("a X 5678901234567890", "CUT partial\n"),
		ROW("a X 56789012345678\r\n", "DONE@20 a X 56789012345678\nCUT idle\n"),
		ROW("a X 567890123456789\r\n", "FATAL Command line too long\n"),
		ROW("a X 56789012345678901", "FATAL Command line too long\n"),
		/* the lines of one command count together, literals apart */
		ROW("a X {9+}\r\n123456789 2345678\r\n",
		    "DONE@29 a X {9}123456789 2345678\nCUT idle\n"),
		ROW("a X {9+}\r\n123456789 23456789\r\n", "FATAL Command line too long\n"),
		ROW("a X ( {9+}\r\n123456789 {1+}\r\nx\r\n", "FATAL Command line too long\n"),
		ROW("a 3456789012345678\r\nb 3456789012345678\r\n",
		    "DONE@20 a 3456789012345678\nDONE@40 b 3456789012345678\nCUT idle\n"),
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(says_however_cut(&limits, &rows[i]), i);
}

static void test_parser_stays_dead_until_reset(void)
{
	static const struct imap_parser_limits limits = { .line_max = 10, .literal_max = 9 };
	struct imap_parser *p = imap_parser_create(&limits);
	const uint8_t *in = (const uint8_t *)"a 3456789012345\r\n", *data;
	size_t used = 9, len;

	check(imap_parser_feed(p, in, 17, &used) == IMAP_PARSE_FATAL);
	check(imap_parser_feed(p, in + 15, 2, &used) == IMAP_PARSE_FATAL && used == 0);
	check(imap_parser_feed(p, in, 0, &used) == IMAP_PARSE_FATAL && used == 0);
	check(!imap_parser_idle(p) && !imap_parser_partial(p, &data, &len, 100));
	imap_parser_reset(p);
	check(imap_parser_feed(p, (const uint8_t *)"a X\n", 4, &used) == IMAP_PARSE_DONE);
	check(used == 4);
	imap_parser_destroy(&p);
}

static void test_parser_tells_its_partial_line(void)
{
	struct imap_parser *p = imap_parser_create(&session_limits);
	const uint8_t *data;
	size_t len, used;

	check(imap_parser_idle(p));
	check(imap_parser_partial(p, &data, &len, 0) && len == 0);
	check(imap_parser_feed(p, NULL, 0, &used) == IMAP_PARSE_MORE && used == 0);
	check(imap_parser_feed(p, (const uint8_t *)"a lo\r", 5, &used) == IMAP_PARSE_MORE);
	check(!imap_parser_idle(p));
	check(!imap_parser_partial(p, &data, &len, 4));
	require(imap_parser_partial(p, &data, &len, 5));
	check(len == 5 && memcmp(data, "a lo\r", 5) == 0);
	check(imap_parser_feed(p, (const uint8_t *)"\nb X {1+}\r\n", 11, &used) == IMAP_PARSE_DONE);
	check(used == 1);
	check(imap_parser_partial(p, &data, &len, 0) && len == 0);
	check(imap_parser_feed(p, (const uint8_t *)"b X {1+}\r\n", 10, &used) == IMAP_PARSE_MORE);
	check(!imap_parser_partial(p, &data, &len, 100) && !imap_parser_idle(p));
	check(imap_parser_feed(p, (const uint8_t *)"y z", 3, &used) == IMAP_PARSE_MORE);
	check(!imap_parser_partial(p, &data, &len, 100));
	imap_parser_destroy(&p);
}

static void test_parser_says_the_same_for_random_bytes(void)
{
	static const char *const words[] = { "a ", "APPEND ", "FETCH 1 ", "x", " ", "(", ")",
		"\"", "\\", "{2+}\r\n", "{2}\r\n", "~{3+}\n", "\r\n", "\n", "\r", "BODY[", "]",
		"(UTF8 ", "{70+}\r\n", "*", "NIL", "ab" };
	uint64_t seed = unit_seed();

	for (int round = 0; round < 1000; round++) {
		struct drive d = { .limits = session_limits, .cut = drive_cut_whole,
			.context = &seed };
		struct buf in, whole;
		struct row row;

		buf_init(&in, 1 << 20);
		buf_init(&whole, 1 << 20);
		for (uint64_t n = unit_random(&seed) % 40; n > 0; n--) {
			if (unit_random(&seed) % 50 == 0)
				buf_append_u8(&in, (uint8_t)unit_random(&seed));
			buf_append_str(&in, words[unit_random(&seed) % UNIT_COUNT(words)]);
		}
		buf_append_str(&in, "\n");
		drive_run(&d, in.data, in.len, &whole);
		buf_append_u8(&whole, '\0');
		row = (struct row){ (const char *)in.data, in.len, (const char *)whole.data };
		/* says() compares texts: NULs of literal8 are the fuzzer's part */
		if (strlen(row.out) == whole.len - 1) {
			d.cut = drive_cut_random;
			d.sleeps = round % 2 == 0;
			check_row(says(&d, &row), round);
			check_row(says_however_cut(&session_limits, &row), round);
		}
		buf_deinit(&in);
		buf_deinit(&whole);
	}
}

/* ---- arguments ---- */

static const struct imap_arg *parse_arg(struct imap_parser *p, const char *in)
{
	char line[100];
	size_t used;

	snprintf(line, sizeof(line), "a X %s\r\n", in);
	if (imap_parser_feed(p, (const uint8_t *)line, strlen(line), &used) != IMAP_PARSE_DONE)
		return NULL;
	return &imap_parser_command(p)->args[0];
}

static void test_arg_tells_what_it_is(void)
{
	static const struct {
		const char *in, *astring, *pattern;
		bool is_abc;
	} rows[] = {
		{ "abc", "abc", "abc", true },
		{ "aBC", "aBC", "aBC", true },
		{ "abcd", "abcd", "abcd", false },
		{ "\"abc\"", "abc", "abc", false },
		{ "{3+}\r\nabc", "abc", "abc", false },
		{ "a]b", "a]b", "a]b", false },
		{ "NIL", "NIL", "NIL", false },
		{ "\"\"", "", "", false },
		{ "a*", NULL, "a*", false },
		{ "%", NULL, "%", false },
		{ "\\Seen", NULL, NULL, false },
		{ "()", NULL, NULL, false },
	};
	struct imap_parser *p = imap_parser_create(&session_limits);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct imap_arg *a = parse_arg(p, rows[i].in);
		const char *s, *pattern;

		require(a != NULL);
		s = imap_arg_astring(a);
		pattern = imap_arg_list_mailbox(a);
		check_row(rows[i].astring ? s && !strcmp(s, rows[i].astring) : !s, i);
		check_row(rows[i].pattern ? pattern && !strcmp(pattern, rows[i].pattern) :
			!pattern, i);
		check_row(imap_arg_is_atom(a, "ABC") == rows[i].is_abc, i);
		check_row(a->is_nil == (i == 6), i);
	}
	imap_parser_destroy(&p);
}

static void test_arg_section_is_no_astring(void)
{
	static const uint8_t in[] = "a FETCH 1 BODY[HEADER.FIELDS (X)]\r\n";
	struct imap_parser *p = imap_parser_create(&session_limits);
	size_t used;

	require(imap_parser_feed(p, in, sizeof(in) - 1, &used) == IMAP_PARSE_DONE);
	check(imap_arg_astring(&imap_parser_command(p)->args[1]) == NULL);
	check(imap_arg_list_mailbox(&imap_parser_command(p)->args[1]) == NULL);
	imap_parser_destroy(&p);
}

static void test_arg_reads_numbers(void)
{
	static const struct {
		const char *in;
		bool is32, is64;
		uint64_t v;
	} rows[] = {
		{ "0", true, true, 0 },
		{ "007", true, true, 7 },
		{ "4294967295", true, true, 4294967295u },
		{ "4294967296", false, true, 4294967296u },
		{ "42949672950", false, true, 42949672950u },
		{ "9223372036854775807", false, true, 9223372036854775807u },
		{ "9223372036854775808", false, false, 0 },
		{ "18446744073709551616", false, false, 0 },
		{ "99999999999999999999", false, false, 0 },
		{ "-1", false, false, 0 },
		{ "+1", false, false, 0 },
		{ "1x", false, false, 0 },
		{ "1:2", false, false, 0 },
		{ "\"1\"", false, false, 0 },
		{ "(1)", false, false, 0 },
		{ "NIL", false, false, 0 },
	};
	struct imap_parser *p = imap_parser_create(&session_limits);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct imap_arg *a = parse_arg(p, rows[i].in);
		uint32_t v32 = 77;
		uint64_t v64 = 77;

		require(a != NULL);
		check_row(imap_arg_u32(a, &v32) == rows[i].is32, i);
		check_row(v32 == (rows[i].is32 ? rows[i].v : 77), i);
		check_row(imap_arg_u64(a, &v64) == rows[i].is64, i);
		check_row(v64 == (rows[i].is64 ? rows[i].v : 77), i);
	}
	imap_parser_destroy(&p);
}

/* ---- short of memory ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

static bool fail_armed, fail_happened;
static int fail_after;

static bool fails(void)
{
	if (!fail_armed || fail_after-- > 0)
		return false;
	fail_happened = true;
	return true;
}
void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}
void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

/* Feeds it all, without mercy; what was said last. */
static enum imap_parse feed_through(struct imap_parser *p, const char *in)
{
	const uint8_t *data = (const uint8_t *)in;
	size_t left = strlen(in), used;
	enum imap_parse answer = IMAP_PARSE_MORE;

	while (left > 0 && answer != IMAP_PARSE_FATAL) {
		answer = imap_parser_feed(p, data, left, &used);
		data += used;
		left -= used;
		if (answer == IMAP_PARSE_STREAM)
			imap_parser_stream_done(p);
	}
	return answer;
}

static void test_parser_is_fatal_when_memory_is_short(void)
{
	static const char in[] = "b APPEND box {0}\r\n (\\c \\d \\e) {0+}\r\n\r\n"
		"tag FETCH 1 (a b c (d e) {30+}\r\n"
		"012345678901234567890123456789 BODY[HEADER.FIELDS ({32}\r\n"
		"01234567890123456789\"\"\"\"\"\"\"\"\"\"\"\" \"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq\")])\r\n";
	int n = 0;

	do {
		struct imap_parser *p;
		enum imap_parse answer = IMAP_PARSE_FATAL;

		fail_after = n;
		fail_happened = false;
		fail_armed = true;
		p = imap_parser_create(&session_limits);
		if (p != NULL)
			answer = feed_through(p, in);
		fail_armed = false;
		check_row(answer == (fail_happened ? IMAP_PARSE_FATAL : IMAP_PARSE_DONE), n);
		check_row((p == NULL) == (n == 0), n);
		if (p != NULL) {
			imap_parser_reset(p);
			check_row(feed_through(p, in) == IMAP_PARSE_DONE, n);
		}
		imap_parser_destroy(&p);
	} while (fail_happened && ++n < 1000);
	/* it did run out at several places, and at the end no more */
	check(!fail_happened && n > 8);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_parser_reads_commands),
		UNIT_TEST(test_parser_reads_quoted_strings),
		UNIT_TEST(test_parser_reads_literals),
		UNIT_TEST(test_parser_keeps_nul_of_literal8_only),
		UNIT_TEST(test_parser_never_runs_a_refused_literal),
		UNIT_TEST(test_parser_checks_literal_sizes),
		UNIT_TEST(test_parser_bounds_what_it_skips),
		UNIT_TEST(test_parser_reads_sections),
		UNIT_TEST(test_parser_streams_append),
		UNIT_TEST(test_parser_may_drop_a_streamed_command),
		UNIT_TEST(test_parser_without_streams_keeps_append),
		UNIT_TEST(test_parser_refuses_bad_lines),
		UNIT_TEST(test_parser_bounds_the_tag),
		UNIT_TEST(test_parser_bounds_nesting),
		UNIT_TEST(test_parser_survives_a_nesting_bomb),
		UNIT_TEST(test_parser_reads_as_many_arguments_as_fit),
		UNIT_TEST(test_parser_bounds_the_line),
		UNIT_TEST(test_parser_stays_dead_until_reset),
		UNIT_TEST(test_parser_tells_its_partial_line),
		UNIT_TEST(test_parser_says_the_same_for_random_bytes),
		UNIT_TEST(test_arg_tells_what_it_is),
		UNIT_TEST(test_arg_section_is_no_astring),
		UNIT_TEST(test_arg_reads_numbers),
		UNIT_TEST(test_parser_is_fatal_when_memory_is_short),
	};
	return unit_run("imap-parser", tests, UNIT_COUNT(tests));
}
