/* SPDX-License-Identifier: MIT */
/* Reading the structure of messages: tables of what comes out, the same for all
 * ways to cut the bytes, bounds that hold, and a blob that is believed whole or
 * not at all. In expected texts ` stands for ". */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "imap/message-parse.h"
#include "tests/unit.h"

/* LF becomes CRLF. Bytes go in in pieces of n. */
static struct message *parse_pieces(struct arena *arena, const char *text, size_t len, size_t n)
{
	struct message_parser *p = message_parser_create(arena);
	struct message *m = NULL;
	struct buf b;

	buf_init(&b, SIZE_MAX);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))
			buf_append_u8(&b, '\r');
		buf_append_u8(&b, (uint8_t)text[i]);
	}
	for (size_t i = 0; i < b.len; i += n)
		message_parser_feed(p, b.data + i, b.len - i < n ? b.len - i : n);
	require(message_parser_finish(&p, &m) == 0);
	buf_deinit(&b);
	return m;
}

static struct message *parse(struct arena *arena, const char *text)
{
	return parse_pieces(arena, text, strlen(text), SIZE_MAX);
}

/* "(...)" of text with ` for ", as it is told. */
static bool text_is(const char *text, size_t len, const char *wanted)
{
	bool same = strlen(wanted) == len;

	for (size_t i = 0; i < len && same; i++)
		same = text[i] == (wanted[i] == '`' ? '"' : wanted[i]);
	if (!same)
		fprintf(stderr, "\nwanted %s\ngot    %.*s\n", wanted, (int)len, text);
	return same;
}

static bool structure_is(const struct message *m, bool extended, const char *wanted)
{
	struct buf b;
	bool same;

	buf_init(&b, SIZE_MAX);
	message_structure_write(m, extended, &b);
	same = text_is((const char *)b.data, b.len, wanted) && message_text_valid(b.data, b.len);
	buf_deinit(&b);
	return same;
}

/* ---- ENVELOPE ---- */

static void test_addresses(void)
{
	static const struct {
		const char *value, *list;
	} rows[] = {
		{ "a@b", "((NIL NIL `a` `b`))" },
		{ "<a@b>", "((NIL NIL `a` `b`))" },
		{ "A <a@b>", "((`A` NIL `a` `b`))" },
		{ "\"A\" <a@b>", "((`A` NIL `a` `b`))" },
		{ "\"A B\" C <a@b>", "((`A B C` NIL `a` `b`))" },
		{ "a@b (comment)", "((`comment` NIL `a` `b`))" },
		{ "(pre) a@b", "((NIL NIL `a` `b`))" },
		{ "a@b (c1) (c2)", "((`c2` NIL `a` `b`))" },
		{ "A (c) <a@b>", "((`A` NIL `a` `b`))" },
		{ "a (in) @ (between) b", "((`between` NIL `a` `b`))" },
		{ "a@b, c@d", "((NIL NIL `a` `b`)(NIL NIL `c` `d`))" },
		{ "a@b,, c@d", "((NIL NIL `a` `b`)(NIL NIL `c` `d`))" },
		{ ",a@b,", "((NIL NIL `a` `b`))" },
		{ "a", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a, b", "((NIL NIL `a` `MISSING_DOMAIN`)(NIL NIL `b` `MISSING_DOMAIN`))" },
		{ "<a>", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "A <a>", "((`A` NIL `a` `MISSING_DOMAIN`))" },
		{ "A", "((NIL NIL `A` `MISSING_DOMAIN`))" },
		{ "A B C", "((`A B C` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "\"quoted only\"", "((`quoted only` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "<>", "((NIL NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "<@>", "((NIL `INVALID_ROUTE` `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "@b", "((NIL NIL `MISSING_MAILBOX` `b`))" },
		{ "a@", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "<a@>", "((NIL NIL `a` `SYNTAX_ERROR`))" },
		{ "<@b>", "((NIL `INVALID_ROUTE` `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "A <>", "((`A` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "<@r1:a@b>", "((NIL `@r1` `a` `b`))" },
		{ "<@r1,@r2:a@b>", "((NIL `@r1,@r2` `a` `b`))" },
		{ "A <@r1,@r2 : a@b>", "((`A` `@r1,@r2` `a` `b`))" },
		{ "<@r1:@r2:a@b>", "((NIL `@r1` `MISSING_MAILBOX` `SYNTAX_ERROR`))" },
		{ "<@r:>", "((NIL `@r` `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "group:;", "((NIL NIL `group` NIL)(NIL NIL NIL NIL))" },
		{ "group: a@b;", "((NIL NIL `group` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "group: a@b, C <c@d>;",
		  "((NIL NIL `group` NIL)(NIL NIL `a` `b`)(`C` NIL `c` `d`)(NIL NIL NIL NIL))" },
		{ "\"q g\": a@b;", "((NIL NIL `q g` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "g: a@b", "((NIL NIL `g` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "g: ; , x@y", "((NIL NIL `g` NIL)(NIL NIL NIL NIL)(NIL NIL `x` `y`))" },
		{ "x@y, g: a@b; , z@w",
		  "((NIL NIL `x` `y`)(NIL NIL `g` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL)(NIL NIL `z` `w`))" },
		{ "g: h: a@b; ;",
		  "((NIL NIL `g` NIL)(NIL NIL `h` `MISSING_DOMAIN`)(NIL NIL NIL NIL))" },
		{ "undisclosed-recipients:;",
		  "((NIL NIL `undisclosed-recipients` NIL)(NIL NIL NIL NIL))" },
		{ "undisclosed-recipients: ;",
		  "((NIL NIL `undisclosed-recipients` NIL)(NIL NIL NIL NIL))" },
		{ "Undisclosed recipients:;",
		  "((NIL NIL `Undisclosed recipients` NIL)(NIL NIL NIL NIL))" },
		{ ":;", "((NIL NIL `` NIL)(NIL NIL NIL NIL))" },
		{ ":", "((NIL NIL `` NIL)(NIL NIL NIL NIL))" },
		{ ";", "((NIL NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "a;b", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a@b; c@d", "((NIL NIL `a` `b`))" },
		{ "\"a b\"@c", "((NIL NIL `a b` `c`))" },
		{ "\"a\\\"b\"@c", "((NIL NIL `a\\`b` `c`))" },
		{ "\"a@b\"@c", "((NIL NIL `a@b` `c`))" },
		{ "\"\"@c", "((NIL NIL `` `c`))" },
		{ "\"a\".b@c", "((NIL NIL `a.b` `c`))" },
		{ "a.\"b\"@c", "((NIL NIL `a.b` `c`))" },
		{ "a . b @ c . d", "((NIL NIL `a.b` `c.d`))" },
		{ "a.b.@c", "((NIL NIL `a.b.` `c`))" },
		{ ".a@b", "((NIL NIL `.a` `b`))" },
		{ "a..b@c", "((NIL NIL `a..b` `c`))" },
		{ "a@b.", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a@.b", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a@b..c", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a@[1.2.3.4]", "((NIL NIL `a` `[1.2.3.4]`))" },
		{ "a@[IPv6:::1]", "((NIL NIL `a` `[IPv6:::1]`))" },
		{ "a@[x\\]y]", "((NIL NIL `a` `[x\\\\]y]`))" },
		{ "a@[ 1 . 2 ]", "((NIL NIL `a` `[ 1 . 2 ]`))" },
		{ "a@[unclosed", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a@b c@d", "((NIL NIL `a` `b`))" },
		{ "a b@c", "((`a b` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "a b c <d@e>", "((`a b c` NIL `d` `e`))" },
		{ "A. B. <a@b>", "((`A. B.` NIL `a` `b`))" },
		{ "A.B <a@b>", "((`A.B` NIL `a` `b`))" },
		{ "Dr. A <a@b>", "((`Dr. A` NIL `a` `b`))" },
		{ "\"A\\\\B\" <a@b>", "((`A\\\\B` NIL `a` `b`))" },
		{ "\"A\\B\" <a@b>", "((`AB` NIL `a` `b`))" },
		{ "\"unclosed <a@b>", "((NIL NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "\"unclosed", "((NIL NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "(unclosed a@b", "NIL" },
		{ "a@b (unclosed", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "(a (nested) b) a@b", "((NIL NIL `a` `b`))" },
		{ "(a \\) b) a@b", "((NIL NIL `a` `b`))" },
		{ "a@b )", "((NIL NIL `a` `b`))" },
		{ "A <a@b", "((`A` NIL `a` `SYNTAX_ERROR`))" },
		{ "A <a@b> B", "((`A` NIL `a` `b`))" },
		{ "A <a@b> <c@d>", "((`A` NIL `a` `b`))" },
		{ "A <a@b>>", "((`A` NIL `a` `b`))" },
		{ "A <<a@b>>", "((`A` NIL `MISSING_MAILBOX` `SYNTAX_ERROR`))" },
		{ "A < a@b >", "((`A` NIL `a` `b`))" },
		{ "A <a@b> (c)", "((`A` NIL `a` `b`))" },
		{ "A <a @ b>", "((`A` NIL `a` `b`))" },
		{ "A <a b@c>", "((`A` NIL `a` `SYNTAX_ERROR`))" },
		{ "A <mailto:a@b>", "((`A` NIL `mailto` `SYNTAX_ERROR`))" },
		{ "mailto:a@b", "((NIL NIL `mailto` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "A<a@b>", "((`A` NIL `a` `b`))" },
		{ "A\"B\"<a@b>", "((`A B` NIL `a` `b`))" },
		{ "\"A\"\"B\" <a@b>", "((`A B` NIL `a` `b`))" },
		{ "=?utf-8?Q?J=C3=BC?= <a@b>", "((`=?utf-8?Q?J=C3=BC?=` NIL `a` `b`))" },
		{ "\"=?utf-8?Q?J=C3=BC?=\" <a@b>", "((`=?utf-8?Q?J=C3=BC?=` NIL `a` `b`))" },
		{ "=?utf-8?B?SsO8?= =?utf-8?B?SsO8?= <a@b>",
		  "((`=?utf-8?B?SsO8?= =?utf-8?B?SsO8?=` NIL `a` `b`))" },
		{ "a@b (=?utf-8?Q?J=C3=BC?=)", "((`=?utf-8?Q?J=C3=BC?=` NIL `a` `b`))" },
		{ "a@=?utf-8?Q?x?=", "((NIL NIL `a` `=?utf-8?Q?x?=`))" },
		{ "a%b@c", "((NIL NIL `a%b` `c`))" },
		{ "a!b!c", "((NIL NIL `a!b!c` `MISSING_DOMAIN`))" },
		{ "a@b@c", "((NIL NIL `a` `b`))" },
		{ "<a@b@c>", "((NIL NIL `a` `SYNTAX_ERROR`))" },
		{ "/o=X/ou=Y <x400@gw>", "((`/o=X/ou=Y` NIL `x400` `gw`))" },
		{ "/G=A/S=B/@gw", "((NIL NIL `/G=A/S=B/` `gw`))" },
		{ "a:b@c", "((NIL NIL `a` NIL)(NIL NIL `b` `c`)(NIL NIL NIL NIL))" },
		{ "\"A, B\" <a@b>, C <c@d>", "((`A, B` NIL `a` `b`)(`C` NIL `c` `d`))" },
		{ "A, B <a@b>", "((NIL NIL `A` `MISSING_DOMAIN`)(`B` NIL `a` `b`))" },
		{ "A; B <a@b>", "((NIL NIL `A` `MISSING_DOMAIN`))" },
		{ "a@b\tc", "((NIL NIL `a` `b`))" },
		{ "'a@b'", "((NIL NIL `'a` `b'`))" },
		{ "'A' <a@b>", "((`'A'` NIL `a` `b`))" },
		{ "A's <a@b>", "((`A's` NIL `a` `b`))" },
		{ "a+b@c", "((NIL NIL `a+b` `c`))" },
		{ "a=b@c", "((NIL NIL `a=b` `c`))" },
		{ "a/b@c", "((NIL NIL `a/b` `c`))" },
		{ "a b", "((`a b` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "a\\b@c", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "A \\<a@b\\>", "((NIL NIL `A` `MISSING_DOMAIN`))" },
		{ "[list] <a@b>", "((NIL NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "A [x] <a@b>", "((NIL NIL `A` `MISSING_DOMAIN`))" },
		{ "A <a@b>; B <c@d>", "((`A` NIL `a` `b`))" },
		{ "A <a@b>, <c@d> B", "((`A` NIL `a` `b`)(NIL NIL `c` `d`))" },
		{ "A\001B <a@b>", "((NIL NIL `A` `MISSING_DOMAIN`))" },
		{ "A\177 <a@b>", "((NIL NIL `A` `MISSING_DOMAIN`))" },
		{ "\"A\001\" <a@b>", "((`A\001` NIL `a` `b`))" },
		{ "A \"\" <a@b>", "((`A` NIL `a` `b`))" },
		{ "\"\" <a@b>", "((NIL NIL `a` `b`))" },
		{ "\" \" <a@b>", "((`` NIL `a` `b`))" },
		{ "\" A \" <a@b>", "((`A` NIL `a` `b`))" },
		{ "() a@b", "((NIL NIL `a` `b`))" },
		{ "( ) <a@b>", "((NIL NIL `a` `b`))" },
		{ "a@b ()", "((NIL NIL `a` `b`))" },
		{ "(only comment)", "NIL" },
		{ "\"A\" (c) \"B\" <a@b>", "((`A B` NIL `a` `b`))" },
		{ "A (c", "((NIL NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "A. <a@b>", "((`A.` NIL `a` `b`))" },
		{ "<a@b>, , , <c@d>", "((NIL NIL `a` `b`)(NIL NIL `c` `d`))" },
		{ "  ,  ", "NIL" },
		{ "a@b,", "((NIL NIL `a` `b`))" },
		{ "A <a@b>,B <c@d>,C<e@f>",
		  "((`A` NIL `a` `b`)(`B` NIL `c` `d`)(`C` NIL `e` `f`))" },
		{ "..@b", "((NIL NIL `..` `b`))" },
		{ "a@..", "((NIL NIL `a` `MISSING_DOMAIN`))" },
		{ "a(b)c@d", "((`a c` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "a@b(c)d", "((`c` NIL `a` `b`))" },
		{ "\"a\" b@c", "((`a b` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "a \"b\"@c", "((`a b` NIL `MISSING_MAILBOX` `MISSING_DOMAIN`))" },
		{ "a@b <c@d>", "((NIL NIL `a` `b`))" },
		{ "<a@b> c", "((NIL NIL `a` `b`))" },
		{ "A <\"a b\"@c>", "((`A` NIL `a b` `c`))" },
		{ "A <a@b.c.>", "((`A` NIL `a` `SYNTAX_ERROR`))" },
		{ "A:B <a@b>", "((NIL NIL `A` NIL)(`B` NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "A: B <a@b>;", "((NIL NIL `A` NIL)(`B` NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "A@B <a@b>", "((NIL NIL `A` `B`))" },
		{ "\344 <a@b>", "(({1}\r\n\344 NIL `a` `b`))" },
		{ "\"\344\" <\344@b>", "(({1}\r\n\344 NIL {1}\r\n\344 `b`))" },
		{ "a@\344", "((NIL NIL `a` {1}\r\n\344))" },
		{ "<a@b> (c)", "((NIL NIL `a` `b`))" },
		{ "a@b (x (y) z)", "((`x (y) z` NIL `a` `b`))" },
		{ "x@y junk, z@w", "((NIL NIL `x` `y`))" },
		{ "a@b (c \\) d)", "((`c ) d` NIL `a` `b`))" },
		{ "a@b ( c  d )", "((`c d` NIL `a` `b`))" },
		{ "\"a\r\n b\" <c@d>", "((`a b` NIL `c` `d`))" },
		{ "a  b\tc <d@e>", "((`a b c` NIL `d` `e`))" },
		{ "\"a  b\" <d@e>", "((`a b` NIL `d` `e`))" },
		{ "A (c) B <a@b>", "((`A B` NIL `a` `b`))" },
		{ "a@(c)b", "((`c` NIL `a` `b`))" },
		{ "<a(c)@b>", "((NIL NIL `a` `b`))" },
		{ "a.(c)b@d", "((`c` NIL `a.b` `d`))" },
		{ "<x . y @ z . w>", "((NIL NIL `x.y` `z.w`))" },
		{ "g: a, b <c@d>;, e@f",
		  "((NIL NIL `g` NIL)(NIL NIL `a` `MISSING_DOMAIN`)(`b` NIL `c` `d`)(NIL NIL NIL NIL)(NIL NIL `e` `f`))" },
		{ "g (c): a@b;", "((NIL NIL `g` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "g:a@b x;, d@e", "((NIL NIL `g` NIL)(NIL NIL `a` `b`)(NIL NIL NIL NIL))" },
		{ "A <@r a@b>", "((`A` `INVALID_ROUTE` `a` `b`))" },
		{ "a@b.c (d) . e", "((`d` NIL `a` `b.c.e`))" },
		{ "a@[x\r\n y]", "((NIL NIL `a` `[x y]`))" },
		{ ". @b", "((NIL NIL `.` `b`))" },
		{ "a@b (c) , d@e (f)", "((`c` NIL `a` `b`)(`f` NIL `d` `e`))" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct buf out;
		const uint8_t *v = (const uint8_t *)rows[i].value;

		buf_init(&out, SIZE_MAX);
		if (rows[i].list[0] == '(')
			buf_append_u8(&out, '(');
		else
			buf_append_str(&out, "NIL");
		message_addresses(v, strlen(rows[i].value), &out);
		if (rows[i].list[0] == '(')
			buf_append_u8(&out, ')');
		check_row(text_is((const char *)out.data, out.len, rows[i].list), i);
		buf_deinit(&out);
	}
}

static void test_envelopes(void)
{
	static const struct {
		const char *text, *envelope;
	} rows[] = {
		{ "", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "\nSubject: body\n", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)" },
		/* RFC 3501 7.4.2: empty is not NIL */
		{ "Subject:\nDate: \n\n", "(`` `` NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Subject: x", "(NIL `x` NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Subject : a\n  b\n\tc  \n  \n\n", "(NIL `a b c` NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Subject: a\nno colon\n b\nDate: d\n\n", "(`d` `a` NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ " Subject: folded\nDate: d\n", "(`d` NIL NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Subject: \xe4\n\n", "(NIL {1}\r\n\xe4 NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Subject: =?utf-8?Q?=C3=A4?=\n\n",
		  "(NIL `=?utf-8?Q?=C3=A4?=` NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Subject: one\nSubject: two\nTo: a@b\nTo: c@d\nMessage-ID: <1>\nMessage-id: <2>\n\n",
		  "(NIL `two` NIL NIL NIL ((NIL NIL `a` `b`)(NIL NIL `c` `d`)) NIL NIL NIL `<2>`)" },
		{ "From: a@b\nSender: ()\nReply-To: c@d\n\n",
		  "(NIL NIL ((NIL NIL `a` `b`)) ((NIL NIL `a` `b`)) ((NIL NIL `c` `d`)) NIL NIL NIL NIL NIL)" },
		{ "FROM: A <a@b>\nCC: c@d\nBcc: e@f\nIn-Reply-To: <x@y>\n <z@w>\n\n",
		  "(NIL NIL ((`A` NIL `a` `b`)) ((`A` NIL `a` `b`)) ((`A` NIL `a` `b`)) NIL"
		  " ((NIL NIL `c` `d`)) ((NIL NIL `e` `f`)) `<x@y> <z@w>` NIL)" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct arena *arena = arena_create();
		const struct message *m = parse(arena, rows[i].text);

		check_row(text_is(m->envelope, strlen(m->envelope), rows[i].envelope), i);
		check_row(message_text_valid(m->envelope, strlen(m->envelope)), i);
		arena_destroy(&arena);
	}
}

static void test_nul_becomes_a_character(void)
{
	static const char text[] = "Subject: a\0b\n\n";
	struct arena *arena = arena_create();
	const struct message *m = parse_pieces(arena, text, sizeof(text) - 1, 1);

	check(text_is(m->envelope, strlen(m->envelope),
		      "(NIL {5}\r\na\xef\xbf\xbd" "b NIL NIL NIL NIL NIL NIL NIL NIL)"));
	arena_destroy(&arena);
}

/* ---- BODYSTRUCTURE ---- */

#define PLAIN(size, lines) \
	"(`text` `plain` (`charset` `us-ascii`) NIL NIL `7bit` " #size " " #lines " NIL NIL NIL NIL)"
#define NO_ENVELOPE "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
#define MIXED	"Content-Type: multipart/mixed; boundary=x\n\n"
#define END_MIXED " `mixed` (`boundary` `x`) NIL NIL NIL)"

/* Content-Type and what becomes of it, in a message with an empty body. */
static void test_types(void)
{
	static const struct {
		const char *value, *structure;
	} rows[] = {
		{ "text/plain", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "TEXT/Html; CHARSET=x", "(`TEXT` `Html` (`CHARSET` `x`)" },
		{ "(c) text (d) / (e) html (f)", "(`text` `html` (`charset` `us-ascii`)" },
		{ "image/svg+xml;name=a", "(`image` `svg+xml` (`name` `a`)" },
		/* RFC 2045 5.2: what is no Content-Type is text/plain */
		{ "", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "image", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "image/", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "/png", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "image/png name=x", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "image/png/x; charset=y", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "\"image/png\"", "(`text` `plain` (`charset` `us-ascii`)" },
		/* RFC 2046 5.1.1: and so is a multipart without a boundary */
		{ "multipart/mixed", "(`text` `plain` (`charset` `us-ascii`)" },
		{ "multipart/mixed; boundary=\"\"", "(`text` `plain` (`charset` `us-ascii`)" },
		/* parameters */
		{ "a/b;", "(`a` `b` NIL" },
		{ "a/b; n = 1 (c); m=\"2;3\" x; ; k=4", "(`a` `b` (`n` `1` `m` `2;3` `k` `4`)" },
		{ "a/b; n; m=1; \"q\"=2; k@=3; l=", "(`a` `b` (`m` `1` `l` ``)" },
		{ "a/b; n=a b c; m=x@y; =z", "(`a` `b` (`n` `a` `m` `x` `` `z`)" },
		{ "a/b; n=\"a\\\"b\\c\"; m=\"un", "(`a` `b` (`n` `a\\\"bc`)" },
		{ "a/b; n=\"a\n b\"; n=2", "(`a` `b` (`n` `a b` `n` `2`)" },
		{ "a/b; n=\"=?utf-8?Q?x?=\"; m==?utf-8?Q?x?=",
		  "(`a` `b` (`n` `=?utf-8?Q?x?=` `m` `=?utf-8?Q?x?=`)" },
		/* RFC 2231 section 6 */
		{ "a/b; n*=utf-8'en'%C3", "(`a` `b` (`n*` `utf-8'en'%C3`)" },
		{ "a/b; n*1=b; z=1; N*0=a; n*2=c", "(`a` `b` (`z` `1` `N` `abc`)" },
		{ "a/b; n*0*=utf-8''a%20; n*1=\"b c%\"", "(`a` `b` (`n*` `utf-8''a%20b%20c%25`)" },
		{ "a/b; n*0=a; n*1*=%20", "(`a` `b` (`n*` `''a%20`)" },
		{ "a/b; n*0=a; n*2=c", "(`a` `b` (`n*0` `a` `n*2` `c`)" },
		{ "a/b; n*1=a", "(`a` `b` (`n*1` `a`)" },
		{ "a/b; n*00=a; n*x=b; *0=c", "(`a` `b` (`n*00` `a` `n*x` `b` `*0` `c`)" },
		{ "a/b; n*0=a; n=b; n*=c", "(`a` `b` (`n` `b` `n*` `c` `n` `a`)" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct arena *arena = arena_create();
		char wanted[512];

		snprintf(wanted, sizeof(wanted), "%s NIL NIL `7bit` 0%s)", rows[i].structure,
			 strncasecmp(rows[i].structure, "(`text`", 7) == 0 ? " 0" : "");
		check_row(structure_is(parse(arena, arena_printf(arena, "Content-Type: %s\n\n",
								 rows[i].value)), false, wanted), i);
		arena_destroy(&arena);
	}
}

static void test_structures(void)
{
	static const struct {
		const char *text, *structure;
	} rows[] = {
		{ "", PLAIN(0, 0) },
		{ "\n", PLAIN(0, 0) },
		{ "Subject: cut", PLAIN(0, 0) },
		{ "\nabc", PLAIN(3, 0) },
		{ "\na\n\nb\n", PLAIN(8, 3) },
		{ "A: b\n \n\nx\n", PLAIN(3, 1) },
		/* what is not MIME has no MIME fields (RFC 2045 section 4) */
		{ "Content-ID: x\nContent-Disposition: inline\n\n", PLAIN(0, 0) },
		{ "MIME-Version: 1.0\nContent-ID: <x>\nContent-Description: a\n\tb \nContent-MD5: m\n"
		  "Content-Location: l\nContent-Language: en, (c) de\nContent-Transfer-Encoding: (c) BASE64\n"
		  "Content-Disposition: attachment; filename*0=a; filename*1=b\n\n",
		  "(`text` `plain` (`charset` `us-ascii`) `<x>` `a\tb` `BASE64` 0 0 `m`"
		  " (`attachment` (`filename` `ab`)) (`en` `de`) `l`)" },
		/* the first that can be read counts */
		{ "MIME-Version: 1.0\nContent-Transfer-Encoding: a b\nContent-Transfer-Encoding: 8bit\n"
		  "Content-Language: ,\nContent-Language: fr\nContent-ID: 1\nContent-ID: 2\n"
		  "Content-Disposition: ;a=b\nContent-Disposition: inline\nContent-Disposition: x\n\n",
		  "(`text` `plain` (`charset` `us-ascii`) `1` NIL `8bit` 0 0 NIL (`inline` NIL) (`fr`) NIL)" },
		/* multiparts: the last line end belongs to the boundary */
		{ MIXED "pre\n--x\n\none\n\n--x\nContent-Type: a/b\n\ntwo\n--x--\nepi\n",
		  "(" PLAIN(5, 1) "(`a` `b` NIL NIL NIL `7bit` 3 NIL NIL NIL NIL)" END_MIXED },
		{ MIXED "--x\n\none\n--x\n\ntwo", "(" PLAIN(3, 0) PLAIN(3, 0) END_MIXED },
		{ MIXED "--x\n--x\n\n--x\n\n\n--x\n\n\n\n--x",
		  "(" PLAIN(0, 0) PLAIN(0, 0) PLAIN(0, 0) PLAIN(2, 1) PLAIN(0, 0) END_MIXED },
		{ MIXED "no part\n", "(" PLAIN(0, 0) END_MIXED },
		{ MIXED "--x--\n", "(" PLAIN(0, 0) END_MIXED },
		{ MIXED "--x\n\na\n--x--\n--x\n\nb\n--x--\n", "(" PLAIN(1, 0) END_MIXED },
		{ MIXED "--xyz\n\na\n--x --\n\nb\n--X\n", "(" PLAIN(1, 0) PLAIN(8, 2) END_MIXED },
		{ MIXED " --x\n--x\rA: b\n\na\n--\n--y\nb\r--x\n",
		  "(" PLAIN(19, 4) END_MIXED },
		{ MIXED "--x\nContent-Type: a/b\n--x--\n",
		  "((`a` `b` NIL NIL NIL `7bit` 0 NIL NIL NIL NIL)" END_MIXED },
		/* the outer boundary ends the inner multipart, whatever its own state */
		{ MIXED "--x\nContent-Type: multipart/y; boundary=z\n\n--z\n\na\n--x\n\nb\n--x--\n",
		  "((" PLAIN(1, 0) " `y` (`boundary` `z`) NIL NIL NIL)" PLAIN(1, 0) END_MIXED },
		{ MIXED "--x\nContent-Type: multipart/y; boundary=z\n--x\n\nb\n--x--\n",
		  "((" PLAIN(0, 0) " `y` (`boundary` `z`) NIL NIL NIL)" PLAIN(1, 0) END_MIXED },
		/* one boundary begins with the other: the longer one is meant */
		{ MIXED "--x\nContent-Type: multipart/y; boundary=xx\n\n--xx\n\na\n--xx--\n--x\n\nb\n--x--\n",
		  "((" PLAIN(1, 0) " `y` (`boundary` `xx`) NIL NIL NIL)" PLAIN(1, 0) END_MIXED },
		{ "Content-Type: multipart/mixed; boundary=xx\n\n--xx\nContent-Type: multipart/y; boundary=x\n\n"
		  "--x\n\na\n--x--\n--xx\n\nb\n--xx--\n",
		  "((" PLAIN(1, 0) " `y` (`boundary` `x`) NIL NIL NIL)" PLAIN(1, 0)
		  " `mixed` (`boundary` `xx`) NIL NIL NIL)" },
		/* of equal ones the inner */
		{ MIXED "--x\n" MIXED "--x\n\na\n--x--\n--x\n\nb\n--x--\n",
		  "((" PLAIN(1, 0) END_MIXED PLAIN(1, 0) END_MIXED },
		/* messages in messages */
		{ "Content-Type: message/rfc822\n\nSubject: s\n\na\n",
		  "(`message` `rfc822` NIL NIL NIL `7bit` 17 (NIL `s` NIL NIL NIL NIL NIL NIL NIL NIL) "
		  PLAIN(3, 1) " 3 NIL NIL NIL NIL)" },
		{ MIXED "--x\nContent-Type: message/rfc822\n\nSubject: s\n--x--\n",
		  "((`message` `rfc822` NIL NIL NIL `7bit` 10 (NIL `s` NIL NIL NIL NIL NIL NIL NIL NIL) "
		  PLAIN(0, 0) " 0 NIL NIL NIL NIL)" END_MIXED },
		{ MIXED "--x\nContent-Type: message/rfc822\n\n" MIXED "--x\n\na\n--x--\n--x--\n",
		  "((`message` `rfc822` NIL NIL NIL `7bit` 60 " NO_ENVELOPE " (" PLAIN(1, 0) END_MIXED
		  " 5 NIL NIL NIL NIL)" END_MIXED },
		/* RFC 2046 5.1.5 */
		{ "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: s\n\na\n--x\n"
		  "Content-Type: text/plain\n\nb\n--x--\n",
		  "((`message` `rfc822` NIL NIL NIL `7bit` 15 (NIL `s` NIL NIL NIL NIL NIL NIL NIL NIL) "
		  PLAIN(1, 0) " 2 NIL NIL NIL NIL)" PLAIN(1, 0)
		  " `digest` (`boundary` `x`) NIL NIL NIL)" },
		{ "Content-Type: message/partial\n\nSubject: s\n\na\n",
		  "(`message` `partial` NIL NIL NIL `7bit` 17 NIL NIL NIL NIL)" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		size_t len = strlen(rows[i].text);

		/* all in one, and each way to cut it */
		for (size_t n = 1; n <= len + 1; n++) {
			struct arena *arena = arena_create();

			if (!check_row(structure_is(parse_pieces(arena, rows[i].text, len, n), true,
						    rows[i].structure), i))
				n = len + 1;
			arena_destroy(&arena);
		}
	}
}

/* ---- places ---- */

static bool bytes_are(const char *text, uint64_t at, uint64_t len, const char *wanted)
{
	return len == strlen(wanted) && memcmp(text + at, wanted, len) == 0;
}

static void test_parts_are_found_by_number(void)
{
	static const char text[] = "Content-Type: multipart/mixed; boundary=x\r\n\r\n"
		"--x\r\nA: 1\r\n\r\none\r\n"
		"--x\r\nContent-Type: message/rfc822\r\n\r\nB: 2\r\n\r\nin\r\n"
		"--x\r\nContent-Type: multipart/y; boundary=z\r\n\r\n--z\r\n\r\nthree\r\n--z--\r\nepi\r\n"
		"--x\r\nContent-Type: message/rfc822\r\n\r\n"
		"Content-Type: multipart/y; boundary=z\r\n\r\n--z\r\n\r\nfour\r\n--z--\r\n--x--\r\n";
	static const struct {
		uint32_t numbers[4];
		size_t n;
		const char *header, *body;	/* NULL: there is no such part */
	} rows[] = {
		{ { 1 }, 1, "A: 1\r\n\r\n", "one" },
		{ { 1, 1 }, 2, NULL, NULL },
		{ { 2 }, 1, "Content-Type: message/rfc822\r\n\r\n", "B: 2\r\n\r\nin" },
		{ { 2, 1 }, 2, "B: 2\r\n\r\n", "in" },
		{ { 2, 2 }, 2, NULL, NULL },
		{ { 2, 1, 1 }, 3, NULL, NULL },
		{ { 3 }, 1, "Content-Type: multipart/y; boundary=z\r\n\r\n",
		  "--z\r\n\r\nthree\r\n--z--\r\nepi" },
		{ { 3, 1 }, 2, "\r\n", "three" },
		{ { 4, 1 }, 2, "\r\n", "four" },
		{ { 4, 1, 1 }, 3, NULL, NULL },
		{ { 5 }, 1, NULL, NULL },
		{ { UINT32_MAX }, 1, NULL, NULL },
		{ { 0 }, 1, NULL, NULL },
	};
	struct arena *arena = arena_create();
	const struct message *m = parse(arena, text);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct message_part *p = message_part_find(m, rows[i].numbers, rows[i].n);

		if (!check_row((p != NULL) == (rows[i].body != NULL), i) || p == NULL)
			continue;
		check_row(bytes_are(text, p->header_at, p->header_len, rows[i].header), i);
		check_row(bytes_are(text, p->body_at, p->body_len, rows[i].body), i);
	}
	arena_destroy(&arena);
}

/* The line end before a boundary is the boundary's (RFC 2046 5.1.1), also where
 * it could be the empty line of a header. */
static void test_the_line_end_before_a_boundary_is_no_empty_line(void)
{
	static const char text[] = "Content-Type: multipart/mixed; boundary=x\r\n\r\n"
		"--x\r\nA: 1\r\n\r\n--x\r\nA: 2\r\n\r\n\r\n--x\r\n\r\n--x\r\n"
		"Content-Type: message/rfc822\r\n\r\n--x\r\n"
		"Content-Type: message/rfc822\r\n\r\n\r\n--x\r\n"
		"Content-Type: message/rfc822\r\n\r\nB: 6\r\n\r\n--x\r\n"
		"Content-Type: multipart/y; boundary=z\r\n\r\n--x\r\n--x--\r\n";
	static const struct {
		uint32_t numbers[2];
		size_t n;
		const char *header, *body;
	} rows[] = {
		{ { 1 }, 1, "A: 1\r\n", "" },
		{ { 2 }, 1, "A: 2\r\n\r\n", "" },
		{ { 3 }, 1, "", "" },
		{ { 4 }, 1, "Content-Type: message/rfc822\r\n", "" },
		{ { 4, 1 }, 2, "", "" },
		{ { 5 }, 1, "Content-Type: message/rfc822\r\n\r\n", "" },
		{ { 5, 1 }, 2, "", "" },
		{ { 6 }, 1, "Content-Type: message/rfc822\r\n\r\n", "B: 6\r\n" },
		{ { 6, 1 }, 2, "B: 6\r\n", "" },
		{ { 7 }, 1, "Content-Type: multipart/y; boundary=z\r\n", "" },
		{ { 7, 1 }, 2, "", "" },
		{ { 8 }, 1, "", "" },
	};
	struct arena *arena = arena_create();

	for (size_t cut = 1; cut <= sizeof(text); cut++) {
		const struct message *m = parse_pieces(arena, text, sizeof(text) - 1, cut);

		for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
			const struct message_part *p = message_part_find(m, rows[i].numbers, rows[i].n);

			if (!check_row(p != NULL, i) || p == NULL)
				continue;
			check_row(bytes_are(text, p->header_at, p->header_len, rows[i].header), i);
			check_row(bytes_are(text, p->body_at, p->body_len, rows[i].body), i);
		}
	}
	arena_destroy(&arena);
}

static void test_what_the_envelope_tells(void)
{
	static const struct {
		const char *header;
		bool told;
	} rows[] = {
		{ "Subject: a b\n", true }, { "Subject: a\n b\n", true }, { "Subject:a\n", true },
		{ "Subject: \n", true }, { "Subject: gr\xfc\n", true }, { "X: a\n", true },
		{ "Subject: a  b\n", false }, { "Subject: a\tb\n", false }, { "Subject: a \n", false },
		{ "Subject: a\n  b\n", false }, { "Subject: a\n\tb\n", false },
		{ "Subject: a\nSubject: b\n", false }, { "Subject : a\nsubject: b\n", false },
		{ "From: a@b\n", true }, { "From: A. B <a.b@c.d>\n", true },
		{ "From: \"A, B\" <a@b>, c@d,\n e@f\n", true }, { "From: =?utf-8?q?=C3=BC?= <a@b>\n", true },
		{ "From:\n", false }, { "From: a@b (c)\n", false }, { "From: a@b,c@d\n", false },
		{ "From: \"A\" B <a@b>\n", false }, { "From: \"A\\\"B\" <a@b>\n", false },
		{ "From: \"=?utf-8?q?x?=\" <a@b>\n", false }, { "From: A<a@b>\n", false },
		{ "From: A  B <a@b>\n", false }, { "From: g: a@b;\n", false }, { "From: a\n", false },
		{ "From: a..b@c\n", false }, { "From: a@b.\n", false }, { "From: <@x:a@b>\n", false },
		{ "From: A <a@b>, \n", false }, { "From: a@b\nFrom: c@d\n", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct arena *arena = arena_create();
		unsigned bit = strncasecmp(rows[i].header, "From", 4) == 0 ? MESSAGE_TOLD_FROM
									   : MESSAGE_TOLD_SUBJECT;

		check_row(((parse(arena, rows[i].header)->told & bit) != 0) == rows[i].told, i);
		arena_destroy(&arena);
	}
}

static void test_what_is_cached_of_an_envelope(void)
{
	uint8_t told;

	check(message_cached_envelope("(a)", 3, &told) == 3 && told == 0);
	check(message_cached_envelope("(a))", 4, &told) == 3 && told == ')');
	check(message_cached_envelope("(a)\0", 4, &told) == 3 && told == 0);
	check(message_cached_envelope("(a)xx", 5, &told) == 0);
	check(message_cached_envelope("(a", 2, &told) == 0);
	check(message_cached_envelope("", 0, &told) == 0);
}

static void test_a_message_of_one_part_has_part_1(void)
{
	static const uint32_t ones[] = { 1, 1, 1 };
	struct arena *arena = arena_create();
	const struct message *m = parse(arena, "Content-Type: message/rfc822\n\nA: b\n\nx\n");

	check(message_part_find(m, ones, 1) == m->root);
	check(message_part_find(m, ones, 2) == m->root->children);
	check(message_part_find(m, ones, 3) == NULL);
	arena_destroy(&arena);
}

/* ---- bounds ---- */

/* Feeds text n times. */
static void feed_many(struct message_parser *p, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		message_parser_feed(p, text, strlen(text));
}

static struct message *finish(struct message_parser *p)
{
	struct message *m = NULL;

	require(message_parser_finish(&p, &m) == 0);
	return m;
}

static void test_a_header_of_20_mb_is_looked_at_in_part(void)
{
	static const char *const fillers[] = { "X: y\r\n", " y\r\n", "y", ";a=b", "a@b, ", "(", "\"" };

	for (size_t i = 0; i < UNIT_COUNT(fillers); i++) {
		struct arena *arena = arena_create();
		struct message_parser *p = message_parser_create(arena);
		size_t n = 20u * 1024 * 1024 / strlen(fillers[i]);
		struct message *m;

		feed_many(p, "Subject: first\r\nContent-Type: a/b\r\nTo: ", 1);
		feed_many(p, fillers[i], n);
		feed_many(p, "Z: \r\nDate: last\r\n\r\nbody", 1);
		m = finish(p);
		check_row(m->root->body_len == 4, i);
		check_row(strncmp(m->envelope, "(NIL \"first\" ", 13) == 0, i);
		check_row(strlen(m->envelope) < 2 * MESSAGE_LIST_MAX_BYTES, i);
		check_row(message_text_valid(m->envelope, strlen(m->envelope)), i);
		arena_destroy(&arena);
	}
}

static size_t part_count(const struct message_part *p, size_t depth, size_t *deepest)
{
	size_t n = 1;

	if (depth > *deepest)
		*deepest = depth;
	for (const struct message_part *c = p->children; c != NULL; c = c->next)
		n += part_count(c, depth + 1, deepest);
	return n;
}

/* Packs, unpacks and compares. */
static bool survives_the_blob(const struct message *m, struct arena *arena)
{
	struct buf blob, a, b;
	struct message *back;
	bool same;

	buf_init(&blob, SIZE_MAX);
	buf_init(&a, SIZE_MAX);
	buf_init(&b, SIZE_MAX);
	same = message_pack(m, &blob) == 0 && message_unpack(blob.data, blob.len, arena, &back) == 0;
	if (same) {
		message_structure_write(m, true, &a);
		message_structure_write(back, true, &b);
		same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	}
	buf_deinit(&blob);
	buf_deinit(&a);
	buf_deinit(&b);
	return same;
}

static void test_depth_and_parts_are_bounded(void)
{
	static const struct {
		const char *text;
		size_t n, parts, depth;
	} rows[] = {
		{ "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", 20000,
		  MESSAGE_PARTS_MAX, MESSAGE_DEPTH_MAX },
		{ "Content-Type: message/rfc822\r\n\r\n", 1000, MESSAGE_DEPTH_MAX + 1,
		  MESSAGE_DEPTH_MAX },
		{ "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822"
		  "\r\n\r\n", 1000, 1, MESSAGE_DEPTH_MAX },
		{ "--y\r\n\r\na\r\n", 20000, MESSAGE_PARTS_MAX, 1 },
		{ "--y\r\n", 20000, MESSAGE_PARTS_MAX, 1 },
		{ "--y\r\nContent-Type: multipart/x; boundary=z\r\n\r\n", 20000, MESSAGE_PARTS_MAX, 2 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct arena *arena = arena_create();
		struct message_parser *p = message_parser_create(arena);
		size_t deepest = 0, parts;
		struct message *m;

		if (rows[i].text[0] == '-')
			feed_many(p, "Content-Type: multipart/mixed; boundary=y\r\n\r\n", 1);
		feed_many(p, rows[i].text, rows[i].n);
		m = finish(p);
		parts = part_count(m->root, 0, &deepest);
		check_row(parts >= rows[i].parts && parts <= 2 * MESSAGE_PARTS_MAX + 1, i);
		check_row(deepest == rows[i].depth, i);
		check_row(survives_the_blob(m, arena), i);
		arena_destroy(&arena);
	}
}

static void test_words_are_bounded(void)
{
	struct arena *arena = arena_create();
	struct message_parser *p = message_parser_create(arena);
	size_t len = 100 * 1000;
	char *line = arena_alloc(arena, len + 1);
	struct message *m;
	struct buf text;

	memset(line, 'y', len);
	feed_many(p, "Content-Type: multipart/mixed; boundary=x\r\n\r\n", 1);
	for (size_t i = 0; i < 200; i++) {
		feed_many(p, "--x\r\nContent-Description: ", 1);
		feed_many(p, line, 1);
		feed_many(p, "\r\nContent-Type: a/b; n=\"", 1);
		feed_many(p, line, 1);
		feed_many(p, "\"\r\n\r\n\r\n", 1);
	}
	m = finish(p);
	buf_init(&text, SIZE_MAX);
	message_structure_write(m, true, &text);
	check(text.len > MESSAGE_WORDS_MAX_BYTES / 2 && text.len < MESSAGE_WORDS_MAX_BYTES + 100000);
	check(message_text_valid(text.data, text.len));
	buf_deinit(&text);
	arena_destroy(&arena);
}

/* ---- the blob ---- */

static const char blob_text[] =
	"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n"
	"Content-Language: en, de\nContent-Disposition: a; b=c\n\nSubject: s\n\nx\n"
	"--x\nContent-ID: i\n\ny\n--x--\n";

static void blob_make(struct buf *blob)
{
	struct arena *arena = arena_create();

	buf_init(blob, SIZE_MAX);
	check(survives_the_blob(parse(arena, blob_text), arena));
	check(message_pack(parse(arena, blob_text), blob) == 0);
	arena_destroy(&arena);
}

static void test_a_blob_cut_or_longer_is_refused(void)
{
	struct arena *arena = arena_create();
	struct message *m;
	struct buf blob;

	blob_make(&blob);
	for (size_t n = 0; n < blob.len; n++)
		check_row(message_unpack(blob.data, n, arena, &m) == -EINVAL, n);
	buf_append_u8(&blob, 0);
	check(message_unpack(blob.data, blob.len, arena, &m) == -EINVAL);
	buf_deinit(&blob);
	arena_destroy(&arena);
}

/* Whatever is read from a damaged one is a tree whose places lie in each other. */
static bool tree_is_sound(const struct message_part *p)
{
	uint64_t at = p->body_at, end = p->body_at + p->body_len;

	for (const struct message_part *c = p->children; c != NULL; c = c->next) {
		if (c->parent != p || c->header_at < at || c->body_at + c->body_len > end ||
		    c->body_at != c->header_at + c->header_len || !tree_is_sound(c))
			return false;
		at = c->body_at + c->body_len;
	}
	return p->rfc822 ? p->children != NULL && p->children->next == NULL :
		p->multipart == (p->children != NULL);
}

static void test_a_damaged_blob_is_refused_or_sound(void)
{
	struct buf blob;

	blob_make(&blob);
	for (size_t i = 0; i < blob.len * 8; i++) {
		struct arena *arena = arena_create();
		struct message *m;

		blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		if (message_unpack(blob.data, blob.len, arena, &m) == 0)
			check_row(tree_is_sound(m->root), i);
		blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		arena_destroy(&arena);
	}
	buf_deinit(&blob);
}

static void test_texts_are_checked(void)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{ "()", true }, { "(NIL \"a\" (1 2)(3))", true }, { "(\"a\\\"b\\\\\")", true },
		{ "({3}\r\n)\"\r)", true }, { "({0}\r\n)", true },
		{ "", false }, { "(", false }, { ")", false }, { "())", false }, { "()()", false },
		{ "() ", false }, { " ()", false }, { "NIL", false }, { "(\"a)", false },
		{ "(\"a\\\")", false }, { "(\"a\r\n\")", false }, { "(\r\n)", false },
		{ "({4}\r\nabc)", false }, { "({3}\nabc)", false }, { "({x}\r\n)", false },
		{ "({99999999999999999999}\r\n)", false }, { "({3}\r\n", false }, { "(\xe4)", false },
		{ "(\"a\\\n\")", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(message_text_valid(rows[i].text, strlen(rows[i].text)) == rows[i].ok, i);
	check(!message_text_valid("(\"\0\")", 5));
	check(!message_text_valid("({1}\r\n\0)", 8));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_addresses),
		UNIT_TEST(test_envelopes),
		UNIT_TEST(test_nul_becomes_a_character),
		UNIT_TEST(test_types),
		UNIT_TEST(test_structures),
		UNIT_TEST(test_parts_are_found_by_number),
		UNIT_TEST(test_the_line_end_before_a_boundary_is_no_empty_line),
		UNIT_TEST(test_what_the_envelope_tells),
		UNIT_TEST(test_what_is_cached_of_an_envelope),
		UNIT_TEST(test_a_message_of_one_part_has_part_1),
		UNIT_TEST(test_a_header_of_20_mb_is_looked_at_in_part),
		UNIT_TEST(test_depth_and_parts_are_bounded),
		UNIT_TEST(test_words_are_bounded),
		UNIT_TEST(test_a_blob_cut_or_longer_is_refused),
		UNIT_TEST(test_a_damaged_blob_is_refused_or_sound),
		UNIT_TEST(test_texts_are_checked),
	};

	return unit_run("message", tests, UNIT_COUNT(tests));
}
