/* SPDX-License-Identifier: MIT */
/* SEARCH by what stands in messages, and what is saved of its results. */
#include <string.h>

#include "imap/search.h"
#include "lib/arena.h"
#include "tests/imap-talk.h"

/* ---- dates of messages ---- */

static void test_sent_days(void)
{
	static const struct {
		const char *text;
		int year, month, day;	/* 0: none */
	} rows[] = {
		{ "Mon, 03 Nov 2025 10:00:00 +0100", 2025, 11, 3 },
		{ "3 Nov 2025 23:59:59 -1200", 2025, 11, 3 },
		{ "Mon,3 nov 2025 10:00", 2025, 11, 3 },
		{ "Monday, 3-Nov-25 10:00:00 GMT", 2025, 11, 3 },
		{ "Mon (a day), 3 (or 4) Nov (or Dec) 2025 10:00:00 +0100", 2025, 11, 3 },
		{ "Mon, 3 November 2025 10:00:00", 2025, 11, 3 },
		{ "1 Jan 99 0:00", 1999, 1, 1 },
		{ "1 Jan 49", 2049, 1, 1 },
		{ "1 Jan 103", 2003, 1, 1 },
		{ "  \t3 Nov 2025", 2025, 11, 3 },
		{ "", 0, 0, 0 }, { "yesterday", 0, 0, 0 }, { "3 Now 2025", 0, 0, 0 },
		{ "Mon, Nov 3 2025", 0, 0, 0 }, { "32 Nov 2025", 0, 0, 0 },
		{ "0 Nov 2025", 0, 0, 0 }, { "3 Nov", 0, 0, 0 }, { "3 N", 0, 0, 0 },
		{ "(((", 0, 0, 0 }, { "3 Nov 5", 0, 0, 0 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int64_t day = 0;
		bool got = search_sent_day(rows[i].text, strlen(rows[i].text), &day);

		check_row(got == (rows[i].day != 0), i);
		if (got)
			check_row(day == search_day(rows[i].year, rows[i].month, rows[i].day), i);
	}
	check(search_day(2025, 11, 3) < search_day(2025, 11, 4));
	check(search_day(2025, 11, 30) < search_day(2025, 12, 1));
	check(search_day(2025, 12, 31) < search_day(2026, 1, 1));
	/* The day after the 31st is what SENTON ends with. */
	check(search_day(2025, 12, 32) <= search_day(2026, 1, 1));
}

/* ---- envelopes ---- */

#define ENVELOPE	"(\"Mon, 3 Nov 2025 10:00:00 +0100\" \"=?utf-8?q?Gr=C3=BC=C3=9Fe?= \\\"x\\\"\" " \
	"((\"Greta \\\"G\\\" Garbo\" NIL \"greta\" \"example.org\")) " \
	"((\"Greta\" NIL \"greta\" \"example.org\")) NIL " \
	"((NIL NIL \"friends\" NIL)({4}\r\nAnna NIL \"anna\" \"example.org\")(NIL NIL NIL NIL)" \
	"(NIL NIL \"bob\" \"example.net\")) NIL NIL NIL \"<1@example.org>\")"

static enum search_answer ask_envelope(const char *envelope, enum envelope_field field,
				       const char *needle)
{
	struct arena *arena = arena_create();
	struct search_key *k = arena_alloc(arena, sizeof(*k));
	struct search q = { .texts = k, .n_texts = 1 };
	uint8_t answer = SEARCH_UNKNOWN;

	k->type = KEY_ENVELOPE;
	k->field = field;
	require(text_needle_init(&k->needle, arena, charset_bytes, needle, strlen(needle)));
	check(search_envelope(&q, envelope, strlen(envelope), 0, &answer) ==
	      (answer != SEARCH_UNKNOWN));
	arena_destroy(&arena);
	return answer;
}

static void test_fields_of_an_envelope(void)
{
	static const struct {
		enum envelope_field field;
		const char *needle;
		bool found;
	} rows[] = {
		{ ENVELOPE_SUBJECT, "grüße \"X\"", true },
		{ ENVELOPE_SUBJECT, "=?utf", false },
		{ ENVELOPE_FROM, "greta \"g\" garbo <GRETA@example.org>", true },
		{ ENVELOPE_FROM, "bob", false },
		{ ENVELOPE_SENDER, "Greta", true },
		{ ENVELOPE_REPLY_TO, "", false },
		{ ENVELOPE_TO, "friends", true },
		{ ENVELOPE_TO, "anna <anna@example.org>", true },
		{ ENVELOPE_TO, "bob@example.net", true },
		{ ENVELOPE_TO, "", true },
		{ ENVELOPE_CC, "", false },
		{ ENVELOPE_CC, "x", false },
		{ ENVELOPE_MESSAGE_ID, "<1@", true },
		{ ENVELOPE_DATE, "10:00", true },
	};
	char part[sizeof(ENVELOPE)];

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(ask_envelope(ENVELOPE, rows[i].field, rows[i].needle) ==
			  (rows[i].found ? SEARCH_YES : SEARCH_NO), i);
	/* Damaged, it answers nothing. */
	for (size_t n = 0; n < sizeof(ENVELOPE) - 1; n++) {
		snprintf(part, sizeof(part), "%.*s", (int)n, ENVELOPE);
		check_row(ask_envelope(part, ENVELOPE_TO, "x") == SEARCH_UNKNOWN, n);
	}
	check(ask_envelope("({99999999999999999999}\r\n", ENVELOPE_TO, "") == SEARCH_UNKNOWN);
}

/* ---- headers ---- */

#define HEADER	"From nobody\r\nSubject : one\r\n two\r\nX-A: =?utf-8?q?=C3=BC?=\r\nno name\r\n more\r\n" \
	"x-a:\tsecond\r\nX-Empty:\r\nX-A-B: third\r\n\r\nX-Body: fourth\r\n"

static enum search_answer ask_header(const char *name, const char *needle, size_t cut)
{
	struct arena *arena = arena_create();
	struct search_key *k = arena_alloc(arena, sizeof(*k));
	struct header_scan *h = arena_alloc(arena, sizeof(*h));
	struct search q = { .texts = k, .n_texts = 1 };
	uint8_t answer = SEARCH_UNKNOWN;
	const char *at = HEADER, *end = at + strlen(at);

	k->type = KEY_HEADER;
	k->name = name;
	k->name_len = strlen(name);
	require(text_needle_init(&k->needle, arena, charset_bytes, needle, strlen(needle)));
	header_scan_begin(h, &q, &answer);
	while (at < end && header_scan_feed(h, at, (size_t)(end - at) < cut ?
					    (size_t)(end - at) : cut))
		at += (size_t)(end - at) < cut ? (size_t)(end - at) : cut;
	header_scan_end(h);
	arena_destroy(&arena);
	return answer;
}

static void test_fields_of_a_header(void)
{
	static const struct {
		const char *name, *needle;
		bool found;
	} rows[] = {
		{ "SUBJECT", "one two", true },
		{ "Subject", "two\n", false },
		{ "X-A", "Ü", true },
		{ "X-A", "second", true },
		{ "X-A", "third", false },
		{ "X-A-B", "third", true },
		{ "X-Empty", "", true },
		{ "X-Empty", "x", false },
		{ "X-", "", false },
		{ "X-Body", "", false },
		{ "no name", "", false },
		{ "", "", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (size_t cut = 1; cut < 200; cut += cut < 5 ? 1 : 37)
			check_row(ask_header(rows[i].name, rows[i].needle, cut) ==
				  (rows[i].found ? SEARCH_YES : SEARCH_NO), i);
}

/* ---- whole searches ---- */

#define SELECT(exists) \
	"C: a1 SELECT INBOX\nS: * FLAGS (@*\nS: * OK [PERMANENTFLAGS (@*\n" \
	"S: * " exists " EXISTS\nS: * 0 RECENT\nS: * OK [UIDVALIDITY @v] UIDs valid.\n" \
	"S: * OK [UIDNEXT @] Predicted next UID.\nS: * OK [HIGHESTMODSEQ @] Highest.\n" \
	"S: a1 OK [READ-WRITE] SELECT completed.\n"

static const char *const mails[] = {
	/* 1 */
	"From: Greta Garbo <greta@example.org>\nTo: anna@example.org\nCc: Bob <bob@example.net>\n"
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus\n =?iso-8859-1?q?K=F6ln?=\n"
	"Date: Mon, 03 Nov 2025 23:30:00 -0800\nMessage-ID: <m1@example.org>\n"
	"X-Spam: =?koi8-r?b?8NLJ18XU?=\nReply-To: other@example.org\n\nPlain text. Needle.\n",
	/* 2 */
	"From: bob@example.net\nTo: Friends: anna@example.org, greta@example.org;\n"
	"Bcc: secret@example.org\nSubject: Zwei\nDate: 4 Nov 25 00:00 GMT\n"
	"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
	"the preamble\n--b\nContent-Type: text/plain; charset=koi8-r\n"
	"Content-Transfer-Encoding: base64\nContent-Description: descriptive\n\n"
	"8NLJ18XULCDN\nydIhCg==\n"
	"--b\nContent-Type: text/html; charset=iso-8859-1\n"
	"Content-Transfer-Encoding: quoted-printable\n\n<p>Stra=DFe und Caf=E9, ein lan=\nges Wort</p>\n"
	"--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
	"bmVlZGxl\n"				/* needle */
	"--b\nContent-Type: message/rfc822\n\nFrom: inner@example.org\nSubject: Innermost\n\n"
	"Inner needle.\n--b--\nthe epilogue\n",
	/* 3 */
	("From: c@example.org\nSubject: three\nMIME-Version: 1.0\n"
	 "Content-Type: text/plain; charset=x-nobodys\n\nbytes \xff\xfe, \xc3\xbc\n"),
	/* 4 */
	"\nNo header at all: only a body. 100% of it.\n",
};

static const struct {
	const char *keys, *found;
} text_rows[] = {
	{ "SUBJECT \"gr\xc3\xbc\xc3\x9f" "e aus k\xc3\xb6ln\"", " 1" },
	{ "SUBJECT zwei", " 2" },
	{ "SUBJECT \"\"", " 1 2 3" },
	{ "SUBJECT xyz", "" },
	{ "NOT SUBJECT zwei", " 1 3 4" },
	{ "FROM garbo", " 1" },
	{ "FROM \"greta@\"", " 1" },
	{ "TO anna", " 1 2" },
	{ "TO friends", " 2" },
	/* (an @ before a small letter is a variable of the talk) */
	{ "CC \"bob <bob@Example.net>\"", " 1" },
	{ "BCC secret", " 2" },
	{ "HEADER subject zwei", " 2" },
	{ "HEADER Message-ID \"<m1@\"", " 1" },
	{ "HEADER x-spam \"\xd0\xbf\xd1\x80\xd0\xb8\"", " 1" },
	{ "HEADER X-Spam \"\"", " 1" },
	{ "HEADER Reply-To other", " 1" },
	/* What the ENVELOPE leaves out, or has twice. */
	{ "HEADER To \"friends: anna\"", " 2" },
	{ "HEADER From \"\"", " 1 2 3" },
	{ "HEADER Cc \"bob <\"", " 1" },
	{ "HEADER Cc \"bob <bob@Example.net>, \"", "" },
	{ "HEADER From \"missing\"", "" },
	{ "HEADER Subject \"e aus k\"", " 1" },
	{ "HEADER Sender \"\"", "" },
	{ "HEADER Content-Type multipart", " 2" },
	{ "SENTON 3-Nov-2025", " 1" },
	{ "SENTON 4-Nov-2025", " 2" },
	{ "SENTBEFORE 4-Nov-2025", " 1" },
	{ "SENTSINCE 3-Nov-2025", " 1 2" },
	{ "SENTSINCE 5-Nov-2025", "" },
	{ "NOT SENTON 3-Nov-2025", " 2 3 4" },
	{ "BODY needle", " 1 2" },
	{ "BODY \"inner needle\"", " 2" },
	{ "BODY innermost", "" },
	{ "TEXT innermost", " 2" },
	{ "TEXT descriptive", " 2" },
	{ "TEXT \"subject: zwei\"", " 2" },
	{ "BODY zwei", "" },
	{ "BODY \"\xd0\xbc\xd0\xb8\xd1\x80\"", " 2" },
	{ "BODY \"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, \xd0\x9c\xd0\x98\xd0\xa0!\"", " 2" },
	{ "BODY \"stra\xc3\x9f" "e\"", " 2" },
	{ "BODY \"caf\xc3\xa9, EIN langes wort\"", " 2" },
	{ "BODY cafe", " 2" },
	{ "BODY preamble", "" },
	{ "BODY epilogue", "" },
	{ "BODY \"\xc3\x9c\"", " 3" },
	{ "TEXT garbo", " 1" },
	{ "TEXT \"100%\"", " 4" },
	{ "BODY \"100%\"", " 4" },
	{ "BODY \"\"", " 1 2 3 4" },
	{ "OR SUBJECT zwei BODY bytes", " 2 3" },
	{ "OR SEEN BODY bytes", " 1 2 3 4" },
	{ "UNSEEN BODY needle", "" },
	{ "2:4 BODY needle", " 2" },
	{ "NOT (SUBJECT zwei FROM bob)", " 1 3 4" },
	{ "SUBJECT e FROM bob NOT BODY xyz HEADER X-Spam \"\"", "" },
	{ "TEXT needle TEXT plain NOT TEXT inner", " 1" },
	{ "LARGER 200 BODY needle", " 1 2" },
	{ "CHARSET UTF-8 SUBJECT \"k\xc3\xb6ln\"", " 1" },
	{ "CHARSET US-ASCII SUBJECT zwei", " 2" },
	{ "CHARSET ISO-8859-1 SUBJECT \"k\xf6ln\"", " 1" },
	{ "CHARSET koi8-r BODY \"\xcd\xc9\xd2\"", " 2" },
	{ "CHARSET windows-1252 BODY \"stra\xdf" "e\"", " 2" },
};

static struct talk *mailbox_of_mails(void)
{
	struct talk *t = talk_create();

	for (size_t i = 0; i < UNIT_COUNT(mails); i++)
		talk_deliver(t, "S", mails[i]);
	talk(t, SELECT("4"));
	return t;
}

/* All in one mailbox, and some twice in one of their own: cached or not, it
 * is the same. */
static void test_search_by_text(void)
{
	struct talk *t = mailbox_of_mails();
	char script[512];

	for (size_t i = 0; i < UNIT_COUNT(text_rows); i++) {
		snprintf(script, sizeof(script), "C: b SEARCH %s\nS: * SEARCH%s\n"
			 "S: b OK SEARCH completed.\n", text_rows[i].keys, text_rows[i].found);
		talk_script(t, text_rows[i].keys, script);
	}
	talk_destroy(t);
	for (size_t i = 0; i < UNIT_COUNT(text_rows); i += 4) {
		t = mailbox_of_mails();
		snprintf(script, sizeof(script), "C: b UID SEARCH %s\nS: * SEARCH%s\n"
			 "S: b OK UID SEARCH completed.\n", text_rows[i].keys, text_rows[i].found);
		talk_script(t, text_rows[i].keys, script);
		talk_script(t, text_rows[i].keys, script);
		talk_destroy(t);
	}
}

static void test_search_refuses_texts(void)
{
	static const struct {
		const char *keys, *answer;
	} rows[] = {
		{ "CHARSET UTF-8 SUBJECT \"\xff\"", "BAD A string is not of the charset named." },
		{ "CHARSET NOBODYS SUBJECT x",
		  "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset." },
		{ "CHARSET (x) SUBJECT x", "BAD CHARSET takes a name." },
		{ "SUBJECT", "BAD Search key without its argument." },
		{ "SUBJECT (x)", "BAD String expected." },
		{ "HEADER", "BAD HEADER takes a field name and a string." },
		{ "HEADER x", "BAD HEADER takes a field name and a string." },
		{ "HEADER (x) y", "BAD HEADER takes a field name and a string." },
		{ "SENTON x", "BAD Date expected." },
		{ "BODY", "BAD Search key without its argument." },
	};
	struct talk *t = mailbox_of_mails();

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char script[256];

		snprintf(script, sizeof(script), "C: b SEARCH %s\nS: b %s\n", rows[i].keys,
			 rows[i].answer);
		talk_script(t, rows[i].keys, script);
	}
	talk_destroy(t);
}

/* More than a batch, more than a block; the needle across every border. */
static void test_search_across_borders(void)
{
	static char text[200000];
	struct talk *t = talk_create();

	for (int n = 0; n < 40; n++) {
		size_t len = 16300 + (size_t)n * 4;	/* around 16 KiB with the header */

		snprintf(text, sizeof(text), "Subject: m%d\n\n", n);
		while (strlen(text) < len)
			strncat(text, "0123456789abcde\n", len - strlen(text));
		strcat(text, "Needle in it\n");
		talk_deliver(t, "S", text);
	}
	talk(t, SELECT("40")
	     "C: b UID SEARCH RETURN (COUNT) BODY \"needle IN it\"\n"
	     "S: * ESEARCH (TAG \"b\") UID COUNT 40\n"
	     "S: b OK UID SEARCH completed.\n");
	talk_destroy(t);
}

static void test_search_meets_messages_that_are_gone(void)
{
	struct talk *t = mailbox_of_mails();

	talk(t, "C: b SEARCH SUBJECT \"\"\nS: * SEARCH 1 2 3\nS: b OK SEARCH completed.\n");
	talk_remove(t, 1);
	talk(t,
	     "C: c SEARCH BODY needle\n"
	     "S: * SEARCH 1\n"
	     "S: c OK [EXPUNGEISSUED] SEARCH completed.\n"
	     "C: d UID SEARCH NOT BODY xyz\n"
	     "S: * SEARCH 1 3 4\n"
	     "S: * 2 EXPUNGE\n"
	     "S: d OK UID SEARCH completed.\n"
	     "C: e SEARCH BODY needle\n"
	     "S: * SEARCH 1\n"
	     "S: e OK SEARCH completed.\n");
	talk_destroy(t);
}

/* ---- results ---- */

static void test_esearch_answers(void)
{
	struct talk *t = mailbox_of_mails();

	talk(t,
	     "C: b1 SEARCH RETURN (MIN MAX COUNT ALL) BODY needle\n"
	     "S: * ESEARCH (TAG \"b1\") MIN 1 MAX 2 ALL 1:2 COUNT 2\n"
	     "S: b1 OK SEARCH completed.\n"
	     "C: b2 SEARCH RETURN (MIN MAX ALL) BODY xyz\n"
	     "S: * ESEARCH (TAG \"b2\")\n"
	     "S: b2 OK SEARCH completed.\n"
	     "C: b3 UID SEARCH RETURN () CHARSET UTF-8 BODY xyz\n"
	     "S: * ESEARCH (TAG \"b3\") UID\n"
	     "S: b3 OK UID SEARCH completed.\n"
	     "C: b4 SEARCH RETURN ALL BODY xyz\n"
	     "S: b4 BAD RETURN takes a list.\n"
	     "C: b5 STORE 2 +FLAGS.SILENT (\\Flagged)\n"
	     "S: b5 OK STORE completed.\n"
	     "C: b6 SEARCH RETURN (MIN) MODSEQ 1 2:4\n"
	     "S: * OK [HIGHESTMODSEQ @h] Highest.\n"
	     "S: * ESEARCH (TAG \"b6\") MIN 2 MODSEQ @h\n"
	     "S: b6 OK SEARCH completed.\n"
	     "C: b7 SEARCH RETURN (MAX) MODSEQ 1 2:4\n"
	     "S: * ESEARCH (TAG \"b7\") MAX 4 MODSEQ @l\n"
	     "S: b7 OK SEARCH completed.\n"
	     "C: b8 SEARCH RETURN (MIN MAX) MODSEQ 1 1:2\n"
	     "S: * ESEARCH (TAG \"b8\") MIN 1 MAX 2 MODSEQ @h\n"
	     "S: b8 OK SEARCH completed.\n"
	     "C: b9 SEARCH RETURN (MIN COUNT) MODSEQ 1 1,3\n"
	     "S: * ESEARCH (TAG \"b9\") MIN 1 COUNT 2 MODSEQ @l\n"
	     "S: b9 OK SEARCH completed.\n"
	     "C: c1 SEARCH MODSEQ 1 BODY needle\n"
	     "S: * SEARCH 1 2 (MODSEQ @h)\n"
	     "S: c1 OK SEARCH completed.\n"
	     "C: c2 SEARCH RETURN (ALL) MODSEQ \"/flags/\\\\draft\" all 1 BODY xyz\n"
	     "S: * ESEARCH (TAG \"c2\")\n"
	     "S: c2 OK SEARCH completed.\n");
	talk_destroy(t);
}

/* RFC 5182 2.4 */
static void test_saved_results(void)
{
	static const struct {
		const char *options, *keys, *answer, *saved;
	} rows[] = {
		{ "SAVE", "2:3", NULL, " 2 3" },
		{ "SAVE MIN", "2:4", " MIN 2", " 2" },
		{ "MAX SAVE", "2:4", " MAX 4", " 4" },
		{ "SAVE MIN MAX", "2:4", " MIN 2 MAX 4", " 2 4" },
		{ "SAVE MIN MAX", "3", " MIN 3 MAX 3", " 3" },
		{ "SAVE MIN MAX COUNT", "2:4", " MIN 2 MAX 4 COUNT 3", " 2 3 4" },
		{ "SAVE ALL MIN", "2:4", " MIN 2 ALL 2:4", " 2 3 4" },
		{ "SAVE COUNT", "NOT ALL", " COUNT 0", "" },
		{ "SAVE MIN", "NOT ALL", "", "" },
		{ "SAVE", "BODY needle", NULL, " 1 2" },
		{ "SAVE", "$ SUBJECT zwei", NULL, " 2" },
		{ "SAVE", "UID $", NULL, " 2" },
		{ "SAVE", "OR $ 4", NULL, " 2 4" },
		{ "SAVE", "NOT $", NULL, " 1 3" },
	};
	struct talk *t = mailbox_of_mails();

	talk(t, "C: b SEARCH $\nS: * SEARCH\nS: b OK SEARCH completed.\n"
	     "C: b FETCH $ UID\nS: b OK FETCH completed.\n");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char script[512], answer[128] = "";

		if (rows[i].answer != NULL)
			snprintf(answer, sizeof(answer), "S: * ESEARCH (TAG \"b\")%s\n",
				 rows[i].answer);
		snprintf(script, sizeof(script),
			 "C: b SEARCH RETURN (%s) %s\n%sS: b OK SEARCH completed.\n"
			 "C: c SEARCH $\nS: * SEARCH%s\nS: c OK SEARCH completed.\n",
			 rows[i].options, rows[i].keys, answer, rows[i].saved);
		talk_script(t, rows[i].keys, script);
	}
	talk_destroy(t);
}

/* RFC 5182 2.1 and 2.2 */
static void test_what_changes_a_saved_result(void)
{
	struct talk *t = mailbox_of_mails();

	talk(t,
	     "C: b1 UID SEARCH RETURN (SAVE) 1:3\n"
	     "S: b1 OK UID SEARCH completed.\n"
	     "C: b2 SEARCH NONSENSE\n"
	     "S: b2 BAD Unknown search key.\n"
	     "C: b3 SEARCH RETURN (SAVE) NONSENSE\n"
	     "S: b3 BAD Unknown search key.\n"
	     "C: b4 SEARCH CHARSET NOBODYS $ TEXT x\n"
	     "S: b4 NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset.\n"
	     "C: b5 SEARCH 4\n"
	     "S: * SEARCH 4\n"
	     "S: b5 OK SEARCH completed.\n"
	     "C: b6 UID FETCH $ UID\n"
	     "S: * 1 FETCH (UID 1)\n"
	     "S: * 2 FETCH (UID 2)\n"
	     "S: * 3 FETCH (UID 3)\n"
	     "S: b6 OK UID FETCH completed.\n"
	     "C: b7 STORE 2 +FLAGS.SILENT (\\Deleted)\n"
	     "S: b7 OK STORE completed.\n"
	     "C: b8 UID EXPUNGE $\n"
	     "S: * 2 EXPUNGE\n"
	     "S: b8 OK UID EXPUNGE completed.\n"
	     "C: b9 FETCH $ UID\n"
	     "S: * 1 FETCH (UID 1)\n"
	     "S: * 2 FETCH (UID 3)\n"
	     "S: b9 OK FETCH completed.\n"
	     "C: c1 STORE $ +FLAGS.SILENT (\\Flagged)\n"
	     "S: c1 OK STORE completed.\n"
	     "C: c2 UID SEARCH $ FLAGGED\n"
	     "S: * SEARCH 1 3\n"
	     "S: c2 OK UID SEARCH completed.\n"
	     "C: c3 SEARCH RETURN (SAVE COUNT) CHARSET NOBODYS $ TEXT x\n"
	     "S: c3 NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset.\n"
	     "C: c4 FETCH $ UID\n"
	     "S: c4 OK FETCH completed.\n"
	     "C: c5 SEARCH RETURN (SAVE) ALL\n"
	     "S: c5 OK SEARCH completed.\n"
	     "C: c6 SELECT INBOX\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     "S: * FLAGS (@*\nS: * OK [PERMANENTFLAGS (@*\nS: * 3 EXISTS\nS: * 0 RECENT\n"
	     "S: * OK [UIDVALIDITY @v] UIDs valid.\nS: * OK [UIDNEXT @] Predicted next UID.\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\nS: c6 OK [READ-WRITE] SELECT completed.\n"
	     "C: c7 SEARCH $\n"
	     "S: * SEARCH\n"
	     "S: c7 OK SEARCH completed.\n"
	     "C: c8 SEARCH $,1\n"
	     "S: c8 BAD Not a set of messages.\n");
	talk_destroy(t);
}

static void test_sets_of_numbers(void)
{
	static const struct {
		const char *set, *answer;
	} rows[] = {
		{ "*", "* SEARCH 4" },		{ "*:1", "* SEARCH 1 2 3 4" },
		{ "3:1", "* SEARCH 1 2 3" },	{ "4:*", "* SEARCH 4" },
		{ "*:*", "* SEARCH 4" },	{ "1,1:2,2", "* SEARCH 1 2" },
		{ "UID 9:*", "* SEARCH 4" },	{ "UID *:9", "* SEARCH 4" },
		{ "UID 9", "* SEARCH" },	{ "UID 4294967295", "* SEARCH" },
		{ "5", "BAD No such message number." },
		{ "5:*", "BAD No such message number." },
		{ "1:5", "BAD No such message number." },
		{ "4294967296", "BAD Not a set of messages." },
		{ "1:", "BAD Not a set of messages." },
		{ "1,,2", "BAD Not a set of messages." },
		{ "UID 0", "BAD Not a set of messages." },
	};
	struct talk *t = mailbox_of_mails();

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		bool good = rows[i].answer[0] == '*';
		char script[256];

		snprintf(script, sizeof(script), "C: b SEARCH %s\nS: %s%s%s\n", rows[i].set,
			 good ? "" : "b ", rows[i].answer,
			 good ? "\nS: b OK SEARCH completed." : "");
		talk_script(t, rows[i].set, script);
	}
	talk_destroy(t);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_sent_days),
		UNIT_TEST(test_fields_of_an_envelope),
		UNIT_TEST(test_fields_of_a_header),
		UNIT_TEST(test_search_by_text),
		UNIT_TEST(test_search_refuses_texts),
		UNIT_TEST(test_search_across_borders),
		UNIT_TEST(test_search_meets_messages_that_are_gone),
		UNIT_TEST(test_esearch_answers),
		UNIT_TEST(test_saved_results),
		UNIT_TEST(test_what_changes_a_saved_result),
		UNIT_TEST(test_sets_of_numbers),
	};
	return unit_run("search", tests, UNIT_COUNT(tests));
}
