/* SPDX-License-Identifier: MIT */
/* The commands on a real Maildir, as conversations (imap-talk.h). */
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

#include "imap/mailbox.h"
#include "tests/imap-talk.h"

#define FLAGS_5		"\\Answered \\Flagged \\Deleted \\Seen \\Draft"
#define SELECT(tag, exists, recent, unseen) \
	"C: " tag " SELECT INBOX\n" \
	SELECTED(exists, recent, unseen) \
	"S: " tag " OK [READ-WRITE] SELECT completed.\n"
#define SELECTED(exists, recent, unseen) \
	"S: * FLAGS (@*\n" \
	"S: * OK [PERMANENTFLAGS (@*\n" \
	"S: * " exists " EXISTS\n" \
	"S: * " recent " RECENT\n" \
	unseen \
	"S: * OK [UIDVALIDITY @v] UIDs valid.\n" \
	"S: * OK [UIDNEXT @] Predicted next UID.\n" \
	"S: * OK [HIGHESTMODSEQ @] Highest.\n"
#define ALSO_SELECTED(exists, unseen) \
	"c: z SELECT INBOX\ns: * FLAGS (@*\ns: * OK [PERMANENTFLAGS (@*\n" \
	"s: * " exists " EXISTS\ns: * @ RECENT\n" unseen \
	"s: * OK [UIDVALIDITY @v] UIDs valid.\ns: * OK [UIDNEXT @] Predicted next UID.\n" \
	"s: * OK [HIGHESTMODSEQ @] Highest.\ns: z OK [READ-WRITE] SELECT completed.\n"

static const char mail_1[] =
	"From: anna@example.org\r\n"
	"Subject : one\r\n"
	"  folded\r\n"
	"X-Long: a\r\n"
	"\r\n"
	"Body 1\r\n"
	"end\r\n";
/* Stored with bare LF, told with CRLF: 5 + 1 lines. */
static const char mail_lf[] = "Subject: two\nFrom: b\n\nBody 2\n";

static void deliver_seen(struct talk *t, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		talk_deliver(t, "S", mail_1);
}

/* ---- SELECT and its kin ---- */

static void test_select_tells_the_mailbox(void)
{
	struct talk *t = talk_create();

	talk_deliver(t, "S", mail_1);
	talk_deliver(t, "F", mail_1);
	talk_deliver(t, "", mail_lf);
	talk(t,
	     "C: a1 SELECT inbox\n"
	     "S: * FLAGS (" FLAGS_5 ")\n"
	     "S: * OK [PERMANENTFLAGS (" FLAGS_5 " \\*)] Flags permitted.\n"
	     "S: * 3 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: * OK [UNSEEN 2] First unseen.\n"
	     "S: * OK [UIDVALIDITY @v] UIDs valid.\n"
	     "S: * OK [UIDNEXT 4] Predicted next UID.\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "S: a1 OK [READ-WRITE] SELECT completed.\n"
	     "C: a2 EXAMINE INBOX\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     "S: * FLAGS (" FLAGS_5 ")\n"
	     "S: * OK [PERMANENTFLAGS ()] Read-only mailbox.\n"
	     "S: * 3 EXISTS\n"
	     "S: * 0 RECENT\n"
	     "S: * OK [UNSEEN 2] First unseen.\n"
	     "S: * OK [UIDVALIDITY @v] UIDs valid.\n"
	     "S: * OK [UIDNEXT 4] Predicted next UID.\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "S: a2 OK [READ-ONLY] EXAMINE completed.\n"
	     "C: a3 STORE 1 +FLAGS (\\Deleted)\n"
	     "S: a3 NO Mailbox is read-only.\n"
	     "C: a4 EXPUNGE\n"
	     "S: a4 NO Mailbox is read-only.\n"
	     "C: a5 FETCH 3 BODY[TEXT]\n"
	     "S: * 3 FETCH (BODY[TEXT] {8}\n"
	     "S: Body 2\n"
	     "S: )\n"
	     "S: a5 OK FETCH completed.\n"
	     "C: a6 FETCH 3 FLAGS\n"
	     "S: * 3 FETCH (FLAGS ())\n"
	     "S: a6 OK FETCH completed.\n");
	talk_destroy(t);
}

static void test_select_that_fails_leaves_nothing_selected(void)
{
	struct talk *t = talk_create();

	talk(t,
	     SELECT("a1", "0", "0", "")
	     "C: a2 SELECT INBOX (NONSENSE)\n"
	     "S: a2 BAD Unknown parameter of SELECT.\n"
	     "C: a3 SELECT INBOX (QRESYNC (1 1))\n"
	     "S: a3 BAD QRESYNC is not enabled.\n"
	     "C: a4 CHECK\n"
	     "S: a4 OK CHECK completed.\n"
	     "C: a5 SELECT nowhere\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     "S: a5 NO [NONEXISTENT] Mailbox does not exist.\n"
	     "C: a6 CHECK\n"
	     "S: a6 BAD No mailbox is selected.\n"
	     "C: a7 SELECT \"&bad\"\n"
	     "S: a7 NO [CANNOT] Mailbox name is not valid modified UTF-7, or too long.\n"
	     "C: a8 SELECT\n"
	     "S: a8 BAD SELECT takes a mailbox.\n");
	talk_destroy(t);
}

static void test_close_expunges_and_unselect_does_not(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 3);
	talk(t,
	     SELECT("a1", "3", "@", "")
	     "C: a2 STORE 2 +FLAGS.SILENT (\\Deleted)\n"
	     "S: a2 OK STORE completed.\n"
	     "C: a3 UNSELECT\n"
	     "S: a3 OK UNSELECT completed.\n"
	     "C: a4 CLOSE\n"
	     "S: a4 BAD No mailbox is selected.\n"
	     "C: a5 EXAMINE INBOX\n"
	     SELECTED("3", "@", "")
	     "S: a5 OK [READ-ONLY] EXAMINE completed.\n"
	     "C: a6 CLOSE\n"
	     "S: a6 OK CLOSE completed.\n"
	     SELECT("a7", "3", "@", "")
	     "C: a8 CLOSE\n"
	     "S: a8 OK CLOSE completed.\n"
	     SELECT("a9", "2", "@", "")
	     "C: b1 UID SEARCH ALL\n"
	     "S: * SEARCH 1 3\n"
	     "S: b1 OK UID SEARCH completed.\n");
	talk_destroy(t);
}

/* ---- QRESYNC ---- */

static void test_qresync_tells_what_was_missed(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 6);
	talk(t,
	     "C: a0 ENABLE QRESYNC\n"
	     "S: * ENABLED CONDSTORE QRESYNC\n"
	     "S: a0 OK Enabled.\n"
	     "C: a1 SELECT INBOX\n"
	     "S: * FLAGS (@*\nS: * OK [PERMANENTFLAGS (@*\n"
	     "S: * 6 EXISTS\nS: * @ RECENT\n"
	     "S: * OK [UIDVALIDITY @v] UIDs valid.\n"
	     "S: * OK [UIDNEXT 7] Predicted next UID.\n"
	     "S: * OK [HIGHESTMODSEQ @m] Highest.\n"
	     "S: a1 OK [READ-WRITE] SELECT completed.\n"
	     "C: a2 UNSELECT\n"
	     "S: a2 OK UNSELECT completed.\n"
	     ALSO_SELECTED("6", "")
	     "c: b1 STORE 2,5 +FLAGS.SILENT (\\Deleted)\n"
	     "s: b1 OK STORE completed.\n"
	     "c: b2 STORE 3 +FLAGS.SILENT (\\Flagged)\n"
	     "s: b2 OK STORE completed.\n"
	     "c: b3 EXPUNGE\n"
	     "s: * 2 EXPUNGE\n"
	     "s: * 4 EXPUNGE\n"
	     "s: b3 OK EXPUNGE completed.\n"
	     "C: a3 SELECT INBOX (QRESYNC (@v @m))\n"
	     SELECTED("4", "@", "")
	     "S: * VANISHED (EARLIER) 2,5\n"
	     "S: * 2 FETCH (UID 3 FLAGS (\\Flagged \\Seen) MODSEQ (@))\n"
	     "S: a3 OK [READ-WRITE] SELECT completed.\n"
	     /* known UIDs */
	     "C: a4 SELECT INBOX (QRESYNC (@v @m 1:2,4))\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     SELECTED("4", "@", "")
	     "S: * VANISHED (EARLIER) 2\n"
	     "S: a4 OK [READ-WRITE] SELECT completed.\n"
	     /* seq 1 is UID 1, seq 3 is UID 4, seq 4 is not UID 5: known up to 4 */
	     "C: a5 SELECT INBOX (QRESYNC (@v @m 1:6 (1,3,4 1,4,5)))\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     SELECTED("4", "@", "")
	     "S: * VANISHED (EARLIER) 5\n"
	     "S: * 2 FETCH (UID 3 FLAGS (\\Flagged \\Seen) MODSEQ (@))\n"
	     "S: a5 OK [READ-WRITE] SELECT completed.\n"
	     /* older than any history: everything that is not there */
	     "C: a6 SELECT INBOX (QRESYNC (@v 1 4:6))\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     SELECTED("4", "@", "")
	     "S: * VANISHED (EARLIER) 5\n"
	     "S: * 3 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (@))\n"
	     "S: * 4 FETCH (UID 6 FLAGS (\\Seen) MODSEQ (@))\n"
	     "S: a6 OK [READ-WRITE] SELECT completed.\n"
	     /* another UIDVALIDITY: as if it had not been asked */
	     "C: a7 SELECT INBOX (QRESYNC (1 @m))\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     SELECTED("4", "@", "")
	     "S: a7 OK [READ-WRITE] SELECT completed.\n"
	     "C: a8 UID FETCH 1:* (FLAGS) (CHANGEDSINCE @m VANISHED)\n"
	     "S: * VANISHED (EARLIER) 2,5\n"
	     "S: * 2 FETCH (UID 3 FLAGS (\\Flagged \\Seen) MODSEQ (@))\n"
	     "S: a8 OK UID FETCH completed.\n");
	talk_destroy(t);
}

static void test_qresync_refuses_bad_arguments(void)
{
	static const char *const bad[] = {
		"(QRESYNC)", "(QRESYNC 1)", "(QRESYNC (1))", "(QRESYNC (0 1))",
		"(QRESYNC (1 0))", "(QRESYNC (1 1 1:*))", "(QRESYNC (1 1 1 (1)))",
		"(QRESYNC (1 1 1 (1 *)))", "(QRESYNC (1 1 1 (1 1) 1))", "(QRESYNC (x 1))",
		"(QRESYNC (1 1)) x", "()", "x", "(QRESYNC (1 1) QRESYNC (1 1))",
	};
	struct talk *t = talk_create();

	talk(t,
	     "C: a0 ENABLE QRESYNC\n"
	     "S: * ENABLED CONDSTORE QRESYNC\n"
	     "S: a0 OK Enabled.\n");
	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		char script[128];

		snprintf(script, sizeof(script), "C: b SELECT INBOX %s\nS: b BAD @*\n", bad[i]);
		talk(t, script);
	}
	talk_destroy(t);
}

static void test_expunge_is_vanished_with_qresync(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 4);
	talk(t,
	     "C: a0 ENABLE QRESYNC\n"
	     "S: * ENABLED CONDSTORE QRESYNC\n"
	     "S: a0 OK Enabled.\n"
	     SELECT("a1", "4", "@", "")
	     "C: a2 STORE 2:3 +FLAGS.SILENT (\\Deleted)\n"
	     "S: * 2 FETCH (UID 2 MODSEQ (@m))\n"
	     "S: * 3 FETCH (UID 3 MODSEQ (@m))\n"
	     "S: a2 OK STORE completed.\n"
	     "C: a3 UID EXPUNGE 3:4\n"
	     "S: * VANISHED 3\n"
	     "S: a3 OK [HIGHESTMODSEQ @h] UID EXPUNGE completed.\n"
	     "C: a4 UID EXPUNGE 3\n"
	     "S: a4 OK UID EXPUNGE completed.\n"
	     "C: a5 STATUS INBOX (HIGHESTMODSEQ)\n"
	     "S: * STATUS INBOX (HIGHESTMODSEQ @h)\n"
	     "S: a5 OK STATUS completed.\n"
	     "C: a6 EXPUNGE\n"
	     "S: * VANISHED 2\n"
	     "S: a6 OK [HIGHESTMODSEQ @] EXPUNGE completed.\n"
	     "C: a7 UID EXPUNGE x\n"
	     "S: a7 BAD Not a set of UIDs.\n");
	talk_destroy(t);
}

/* Flagged by a program that knows nothing of us, and unknown to the client. */
static void test_expunge_finds_what_others_deleted(void)
{
	struct talk *t = talk_create();

	talk(t, SELECT("a1", "0", "0", ""));
	talk_deliver(t, "ST", mail_1);
	talk(t,
	     "C: a2 EXPUNGE\n"
	     "S: a2 OK EXPUNGE completed.\n"
	     "C: a3 STATUS INBOX (MESSAGES UIDNEXT)\n"
	     "S: * STATUS INBOX (MESSAGES 0 UIDNEXT 2)\n"
	     "S: a3 OK STATUS completed.\n");
	talk_destroy(t);
}

/* RFC 7162 3.2: a client that leaves now must not believe that it knows of
 * the EXPUNGE. */
static void test_highestmodseq_stays_below_a_waiting_expunge(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 3);
	talk(t,
	     "C: a0 ENABLE QRESYNC\n"
	     "S: * ENABLED CONDSTORE QRESYNC\n"
	     "S: a0 OK Enabled.\n"
	     SELECT("a1", "3", "@", "")
	     ALSO_SELECTED("3", "")
	     "c: b0 FETCH 2 MODSEQ\n"
	     "s: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "s: * 2 FETCH (MODSEQ (@))\n"
	     "s: b0 OK FETCH completed.\n"
	     "c: b1 STORE 2 +FLAGS (\\Deleted)\n"
	     "s: * 2 FETCH (UID 2 FLAGS (\\Deleted \\Seen) MODSEQ (@d))\n"
	     "s: b1 OK STORE completed.\n"
	     "c: b2 EXPUNGE\n"
	     "s: * 2 EXPUNGE\n"
	     "s: b2 OK EXPUNGE completed.\n"
	     "C: a2 STORE 3 +FLAGS (\\Flagged)\n"
	     "S: * 3 FETCH (UID 3 FLAGS (\\Flagged \\Seen) MODSEQ (@))\n"
	     "S: * OK [HIGHESTMODSEQ @d] Expunges wait.\n"
	     "S: a2 OK STORE completed.\n"
	     "C: a3 NOOP\n"
	     "S: * VANISHED 2\n"
	     "S: a3 OK NOOP completed.\n"
	     "C: a4 STORE 2 -FLAGS (\\Flagged)\n"
	     "S: * 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (@))\n"
	     "S: a4 OK STORE completed.\n");
	talk_destroy(t);
}

/* ---- FETCH ---- */

static void test_fetch_answers_from_the_index(void)
{
	struct talk *t = talk_create();

	talk_deliver(t, "S", mail_1);
	talk_deliver(t, "FS", mail_lf);
	talk(t,
	     SELECT("a1", "2", "@", "")
	     "C: a2 FETCH 1:* FAST\n"
	     "S: * 1 FETCH (FLAGS (\\Seen) INTERNALDATE \" 2-Jan-2001 03:04:05 +0000\" RFC822.SIZE 75)\n"
	     "S: * 2 FETCH (FLAGS (@*\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 UID FETCH 2 (INTERNALDATE RFC822.SIZE)\n"
	     "S: * 2 FETCH (UID 2 INTERNALDATE \" 2-Jan-2001 03:04:05 +0000\" RFC822.SIZE 33)\n"
	     "S: a3 OK UID FETCH completed.\n"
	     "C: a4 UID FETCH 3:7 FLAGS\n"
	     "S: a4 OK UID FETCH completed.\n"
	     "C: a5 UID FETCH 1 MODSEQ\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "S: * 1 FETCH (UID 1 MODSEQ (@m))\n"
	     "S: a5 OK UID FETCH completed.\n"
	     "C: a6 STORE 2 -FLAGS (\\Seen)\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Flagged@* MODSEQ (@*\n"
	     "S: a6 OK STORE completed.\n"
	     "C: a7 FETCH 1:2 (UID) (CHANGEDSINCE @m)\n"
	     "S: * 2 FETCH (UID 2 MODSEQ (@))\n"
	     "S: a7 OK FETCH completed.\n");
	talk_destroy(t);
}

static void test_fetch_sends_sections(void)
{
	struct talk *t = talk_create();

	talk_deliver(t, "S", mail_1);
	talk_deliver(t, "S", mail_lf);
	talk(t,
	     SELECT("a1", "2", "@", "")
	     "C: a2 FETCH 1 BODY[HEADER.FIELDS (subject DATE)]\n"
	     "S: * 1 FETCH (BODY[HEADER.FIELDS (subject DATE)] {27}\n"
	     "S: Subject : one\n"
	     "S:   folded\n"
	     "S: \n"
	     "S: )\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (\"From\" \"subject\")]\n"
	     "S: * 1 FETCH (BODY[HEADER.FIELDS.NOT (From subject)] {13}\n"
	     "S: X-Long: a\n"
	     "S: \n"
	     "S: )\n"
	     "S: a3 OK FETCH completed.\n"
	     "C: a4 UID FETCH 2 (BODY[] BODY.PEEK[HEADER])\n"
	     "S: * 2 FETCH (UID 2 BODY[] {33}\n"
	     "S: Subject: two\n"
	     "S: From: b\n"
	     "S: \n"
	     "S: Body 2\n"
	     "S:  BODY[HEADER] {25}\n"
	     "S: Subject: two\n"
	     "S: From: b\n"
	     "S: \n"
	     "S: )\n"
	     "S: a4 OK UID FETCH completed.\n"
	     "C: a5 FETCH 2 (BODY[]<9.3> BODY[TEXT]<4.100> BODY[]<33.1>)\n"
	     "S: * 2 FETCH (BODY[]<9> {3}\n"
	     "S: two BODY[TEXT]<4> {4}\n"
	     "S:  2\n"
	     "S:  BODY[]<33> {0}\n"
	     "S: )\n"
	     "S: a5 OK FETCH completed.\n"
	     "C: a6 FETCH 2 (RFC822.HEADER RFC822.TEXT)\n"
	     "S: * 2 FETCH (RFC822.HEADER {25}\n"
	     "S: Subject: two\n"
	     "S: From: b\n"
	     "S: \n"
	     "S:  RFC822.TEXT {8}\n"
	     "S: Body 2\n"
	     "S: )\n"
	     "S: a6 OK FETCH completed.\n"
	     "C: a7 FETCH 1 BODY[HEADER.FIELDS (From)]<6.4>\n"
	     "S: * 1 FETCH (BODY[HEADER.FIELDS (From)]<6> {4}\n"
	     "S: anna)\n"
	     "S: a7 OK FETCH completed.\n");
	talk_destroy(t);
}

/* What a header may hold besides fields. */
static void test_fetch_filters_odd_headers(void)
{
	struct talk *t = talk_create();

	talk_deliver(t, "S", " folded at once\nno colon here\nA: 1\n\tmore\nab: 2\nA\n");
	talk_deliver(t, "S", "\nonly body\n");
	talk(t,
	     SELECT("a1", "2", "@", "")
	     "C: a2 FETCH 1 BODY[HEADER.FIELDS (A)]\n"
	     "S: * 1 FETCH (BODY[HEADER.FIELDS (A)] {13}\n"	/* no empty line in it */
	     "S: A: 1\n"
	     "S: \tmore\n"
	     "S: )\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 FETCH 1 BODY[HEADER.FIELDS.NOT (ab)]\n"
	     "S: * 1 FETCH (BODY[HEADER.FIELDS.NOT (ab)] {48}\n"
	     "S:  folded at once\n"
	     "S: no colon here\n"
	     "S: A: 1\n"
	     "S: \tmore\n"
	     "S: A\n"
	     "S: )\n"
	     "S: a3 OK FETCH completed.\n"
	     "C: a4 FETCH 1 BODY[TEXT]\n"
	     "S: * 1 FETCH (BODY[TEXT] {0}\n"
	     "S: )\n"
	     "S: a4 OK FETCH completed.\n"
	     "C: a5 FETCH 2 (BODY[HEADER] BODY[HEADER.FIELDS.NOT (x)])\n"
	     "S: * 2 FETCH (BODY[HEADER] {2}\n"
	     "S: \n"
	     "S:  BODY[HEADER.FIELDS.NOT (x)] {2}\n"
	     "S: \n"
	     "S: )\n"
	     "S: a5 OK FETCH completed.\n");
	talk_destroy(t);
}

static void test_fetch_sets_seen_and_tells_it(void)
{
	struct talk *t = talk_create();

	talk_deliver(t, "F", mail_lf);
	talk_deliver(t, "F", mail_lf);
	talk(t,
	     SELECT("a1", "2", "@", "S: * OK [UNSEEN 1] First unseen.\n")
	     ALSO_SELECTED("2", "s: * OK [UNSEEN 1] First unseen.\n")
	     "C: a2 FETCH 1 BODY.PEEK[TEXT]\n"
	     "S: * 1 FETCH (BODY[TEXT] {8}\nS: Body 2\nS: )\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 FETCH 1 BODY[TEXT]\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged \\Seen) BODY[TEXT] {8}\nS: Body 2\nS: )\n"
	     "S: a3 OK FETCH completed.\n"
	     "C: a4 FETCH 1 (FLAGS RFC822.TEXT)\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged \\Seen) RFC822.TEXT {8}\nS: Body 2\nS: )\n"
	     "S: a4 OK FETCH completed.\n"
	     "c: b1 NOOP\n"
	     "s: * 1 FETCH (FLAGS (\\Flagged \\Seen))\n"
	     "s: b1 OK NOOP completed.\n"
	     "C: a5 ENABLE CONDSTORE\n"
	     "S: * ENABLED CONDSTORE\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "S: a5 OK Enabled.\n"
	     "C: a6 FETCH 2 RFC822.TEXT\n"
	     "S: * 2 FETCH (FLAGS (\\Flagged \\Seen) UID 2 MODSEQ (@) RFC822.TEXT {8}\n"
	     "S: Body 2\nS: )\n"
	     "S: a6 OK FETCH completed.\n"
	     "C: a7 NOOP\n"
	     "S: a7 OK NOOP completed.\n");
	talk_destroy(t);
}

static void test_fetch_tells_anothers_change_once(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 2);
	talk(t,
	     SELECT("a1", "2", "0", "")
	     ALSO_SELECTED("2", "")
	     "c: b1 STORE 1:2 +FLAGS.SILENT (\\Flagged)\n"
	     "s: b1 OK STORE completed.\n"
	     "C: a2 FETCH 1 FLAGS\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged \\Seen))\n"
	     "S: * 2 FETCH (FLAGS (\\Flagged \\Seen))\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 NOOP\n"
	     "S: a3 OK NOOP completed.\n");
	talk_destroy(t);
}

static void test_fetch_refuses_by_name(void)
{
	static const struct {
		const char *args, *answer;
	} rows[] = {
		{ "1 (ALL)", "BAD Unknown item of FETCH." },
		{ "1 (FULL UID)", "BAD Unknown item of FETCH." },
		{ "1 ENVELOPE[]", "BAD Unknown item of FETCH." },
		{ "1 BODY[0]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[1.]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[.1]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[1.0.MIME]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[4294967296]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[1MIME]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[MIME]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[HEADER.FIELDS]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[HEADER.FIELDS ()]", "BAD Invalid section in BODY[]." },
		{ "1 BODY[]<1>", "BAD Invalid partial range behind BODY[]." },
		{ "1 BODY[]<1.0>", "BAD Invalid partial range behind BODY[]." },
		{ "1 BODY[]<a.1>", "BAD Invalid partial range behind BODY[]." },
		{ "1 BODY[]x", "BAD Invalid partial range behind BODY[]." },
		{ "1 (FAST)", "BAD Unknown item of FETCH." },
		{ "1 BINARY[1]", "BAD Unknown item of FETCH." },
		{ "1 NOTHING", "BAD Unknown item of FETCH." },
		{ "1 ()", "BAD FETCH takes at least one item." },
		{ "1 \"FLAGS\"", "BAD Items of FETCH are atoms." },
		{ "1", "BAD FETCH takes messages and items." },
		{ "2 FLAGS", "BAD No such message number." },
		{ "0 FLAGS", "BAD Not a set of messages." },
		{ "x FLAGS", "BAD Not a set of messages." },
		{ "1 FLAGS (CHANGEDSINCE)", "BAD Unknown modifier of FETCH." },
		{ "1 FLAGS (CHANGEDSINCE 1 VANISHED)",
		  "BAD VANISHED is for UID FETCH with CHANGEDSINCE and QRESYNC enabled." },
		{ "1 FLAGS x", "BAD Modifiers of FETCH are a list." },
	};
	struct talk *t = talk_create();

	talk_deliver(t, "F", mail_1);
	talk(t, SELECT("a1", "1", "@", "S: * OK [UNSEEN 1] First unseen.\n"));
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char script[512];

		snprintf(script, sizeof(script), "C: b FETCH %s\nS: b %s\n", rows[i].args,
			 rows[i].answer);
		talk_script(t, rows[i].args, script);
	}
	talk(t,
	     "C: c FETCH 1 FLAGS\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged))\n"
	     "S: c OK FETCH completed.\n");
	talk_destroy(t);
}

static void test_fetch_answers_what_is_known_of_a_gone_message(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 3);
	talk(t,
	     SELECT("a1", "3", "@", "")
	     "C: a2 FETCH 2 RFC822.SIZE\n"
	     "S: * 2 FETCH (RFC822.SIZE @s)\n"
	     "S: a2 OK FETCH completed.\n"
	     ALSO_SELECTED("3", "")
	     "c: b1 STORE 2 FLAGS.SILENT (\\Deleted)\n"
	     "s: b1 OK STORE completed.\n"
	     "c: b2 EXPUNGE\n"
	     "s: * 2 EXPUNGE\n"
	     "s: b2 OK EXPUNGE completed.\n"
	     "C: a3 FETCH 2:3 (UID RFC822.SIZE)\n"
	     "S: * 2 FETCH (UID 2 RFC822.SIZE @s)\n"
	     "S: * 3 FETCH (UID 3 RFC822.SIZE @s)\n"
	     "S: a3 NO [EXPUNGEISSUED] Some of the messages are gone.\n"
	     "C: a4 FETCH 2 BODY.PEEK[]\n"
	     "S: a4 NO [EXPUNGEISSUED] Some of the messages are gone.\n"
	     "C: a5 STORE 2:3 +FLAGS (\\Flagged)\n"
	     "S: * 3 FETCH (FLAGS (\\Flagged \\Seen))\n"
	     "S: a5 NO [EXPUNGEISSUED] Some of the messages are gone.\n"
	     "C: a6 SEARCH ALL\n"
	     "S: * SEARCH 1 2 3\n"
	     "S: a6 OK [EXPUNGEISSUED] SEARCH completed.\n"
	     /* by UID it can be told at once */
	     "C: a7 UID FETCH 3 UID\n"
	     "S: * 3 FETCH (UID 3)\n"
	     "S: * 2 EXPUNGE\n"
	     "S: a7 OK UID FETCH completed.\n"
	     "C: a8 FETCH 2 UID\n"
	     "S: * 2 FETCH (UID 3)\n"
	     "S: a8 OK FETCH completed.\n");
	talk_destroy(t);
}

/* More than one batch, and a message that another program removed. */
static void test_fetch_walks_large_sets(void)
{
	struct talk *t = talk_create();
	char line[64];

	deliver_seen(t, 10);
	talk(t, SELECT("a1", "10", "@", ""));
	for (int i = 0; i < 590; i++)
		talk_deliver(t, "S", mail_1);
	talk(t,
	     "C: a2 NOOP\n"
	     "S: * 600 EXISTS\n"
	     "S: * 590 RECENT\n"
	     "S: a2 OK NOOP completed.\n");
	talk_send(&t->c[0], "a3 UID FETCH 1:* (FLAGS)");
	talk_run(&t->c[0]);
	for (unsigned i = 1; i <= 600; i++) {
		snprintf(line, sizeof(line), "* %u FETCH (UID %u FLAGS (\\Seen%s))", i, i,
			 i > 10 ? " \\Recent" : "");
		talk_expect(t, &t->c[0], i, line);
	}
	talk_expect(t, &t->c[0], 601, "a3 OK UID FETCH completed.");
	talk_send(&t->c[0], "a4 STORE 1:600 +FLAGS (\\Flagged kw)");
	talk_run(&t->c[0]);
	talk_expect(t, &t->c[0], 1, "* FLAGS (" FLAGS_5 " kw)");
	talk_expect(t, &t->c[0], 2, "* OK [PERMANENTFLAGS (" FLAGS_5 " kw \\*)] Flags permitted.");
	for (unsigned i = 1; i <= 600; i++) {
		snprintf(line, sizeof(line), "* %u FETCH (FLAGS (\\Flagged \\Seen%s kw))", i,
			 i > 10 ? " \\Recent" : "");
		talk_expect(t, &t->c[0], i, line);
	}
	talk_expect(t, &t->c[0], 601, "a4 OK STORE completed.");
	talk_destroy(t);
}

/* ---- STORE ---- */

static void test_store_changes_flags(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 2);
	talk(t,
	     SELECT("a1", "2", "0", "")
	     "C: a2 STORE 1:2 +FLAGS \\Flagged $Forwarded\n"
	     "S: * FLAGS (" FLAGS_5 " $Forwarded)\n"
	     "S: * OK [PERMANENTFLAGS (" FLAGS_5 " $Forwarded \\*)] Flags permitted.\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged \\Seen $Forwarded))\n"
	     "S: * 2 FETCH (FLAGS (\\Flagged \\Seen $Forwarded))\n"
	     "S: a2 OK STORE completed.\n"
	     "C: a3 UID STORE 2 -FLAGS (\\Seen $forwarded nosuch)\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Flagged))\n"
	     "S: a3 OK UID STORE completed.\n"
	     "C: a4 STORE 1 FLAGS ()\n"
	     "S: * 1 FETCH (FLAGS ())\n"
	     "S: a4 OK STORE completed.\n"
	     "C: a5 STORE 1 FLAGS.SILENT (\\Draft)\n"
	     "S: a5 OK STORE completed.\n"
	     "C: a6 UID STORE 77 +FLAGS (\\Draft)\n"
	     "S: a6 OK UID STORE completed.\n"
	     "C: a7 NOOP\n"
	     "S: a7 OK NOOP completed.\n"
	     "C: a8 FETCH 1 FLAGS\n"
	     "S: * 1 FETCH (FLAGS (\\Draft))\n"
	     "S: a8 OK FETCH completed.\n"
	     "C: b1 STORE 1 +FLAGS (\\Recent)\n"
	     "S: b1 BAD \\Recent cannot be changed.\n"
	     "C: b2 STORE 1 +FLAGS (\\Nonsense)\n"
	     "S: b2 BAD Not a flag that can be set.\n"
	     "C: b3 STORE 1 *FLAGS (\\Seen)\n"
	     "S: b3 BAD Unknown item of STORE.\n"
	     "C: b4 STORE 3 FLAGS (\\Seen)\n"
	     "S: b4 BAD No such message number.\n"
	     "C: b5 STORE 1 FLAGS\n"
	     "S: b5 BAD STORE takes messages, an item and flags.\n"
	     "C: b6 STORE 1\n"
	     "S: b6 BAD STORE takes messages, an item and flags.\n"
	     "C: b7 STORE 1 (UNCHANGEDSINCE x) FLAGS ()\n"
	     "S: b7 BAD STORE knows only the modifier (UNCHANGEDSINCE n).\n");
	talk_destroy(t);
}

static void test_store_silent_tells_what_others_did(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 2);
	talk(t,
	     SELECT("a1", "2", "0", "")
	     ALSO_SELECTED("2", "")
	     "c: b1 STORE 1 +FLAGS.SILENT (\\Flagged)\n"
	     "s: b1 OK STORE completed.\n"
	     "C: a2 STORE 1:2 +FLAGS.SILENT (\\Draft)\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged \\Seen \\Draft))\n"
	     "S: a2 OK STORE completed.\n"
	     "c: b2 NOOP\n"
	     "s: * 1 FETCH (FLAGS (\\Flagged \\Seen \\Draft))\n"
	     "s: * 2 FETCH (FLAGS (\\Seen \\Draft))\n"
	     "s: b2 OK NOOP completed.\n");
	talk_destroy(t);
}

static void test_store_checks_unchangedsince(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 4);
	talk(t,
	     SELECT("a1", "4", "0", "")
	     ALSO_SELECTED("4", "")
	     "c: b1 STORE 2 +FLAGS.SILENT (\\Flagged)\n"
	     "s: b1 OK STORE completed.\n"
	     "C: a2 FETCH 1 MODSEQ\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "S: * 1 FETCH (MODSEQ (@m))\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen) MODSEQ (@f))\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 STORE 1:3 (UNCHANGEDSINCE @m) +FLAGS.SILENT (\\Draft)\n"
	     "S: * 1 FETCH (UID 1 MODSEQ (@n))\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen) MODSEQ (@f))\n"
	     "S: * 3 FETCH (UID 3 MODSEQ (@n))\n"
	     "S: a3 OK [MODIFIED 2] Some were changed meanwhile.\n"
	     "C: a4 UID STORE 1:* (UNCHANGEDSINCE 0) +FLAGS.SILENT (\\Draft)\n"
	     "S: * 1 FETCH (UID 1 FLAGS (\\Seen \\Draft) MODSEQ (@n))\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen) MODSEQ (@f))\n"
	     "S: * 3 FETCH (UID 3 FLAGS (\\Seen \\Draft) MODSEQ (@n))\n"
	     "S: * 4 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (@m))\n"
	     "S: a4 OK [MODIFIED 1:4] Some were changed meanwhile.\n"
	     "C: a5 STORE 4 +FLAGS.SILENT (\\Draft)\n"
	     "S: * 4 FETCH (UID 4 MODSEQ (@))\n"
	     "S: a5 OK STORE completed.\n"
	     "C: a6 STORE 4 +FLAGS.SILENT (\\Draft)\n"
	     "S: a6 OK STORE completed.\n"
	     "c: b2 STORE 4 +FLAGS.SILENT (\\Deleted)\n"
	     "s: * 1 FETCH (FLAGS (\\Seen \\Draft))\n"
	     "s: * 3 FETCH (FLAGS (\\Seen \\Draft))\n"
	     "s: * 4 FETCH (FLAGS (\\Deleted \\Seen \\Draft))\n"
	     "s: b2 OK STORE completed.\n"
	     "c: b3 EXPUNGE\n"
	     "s: * 4 EXPUNGE\n"
	     "s: b3 OK EXPUNGE completed.\n"
	     /* RFC 7162, example 11 */
	     "C: a7 STORE 2:4 (UNCHANGEDSINCE @m) +FLAGS.SILENT (\\Answered)\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen) MODSEQ (@f))\n"
	     "S: * 3 FETCH (UID 3 FLAGS (\\Seen \\Draft) MODSEQ (@n))\n"
	     "S: a7 NO [MODIFIED 2:3] Some were changed meanwhile, some are gone.\n");
	talk_destroy(t);
}

/* ---- SEARCH ---- */

static void test_search_knows_its_keys(void)
{
	static const struct {
		const char *keys, *answer;
	} rows[] = {
		{ "ALL", "* SEARCH 1 2 3 4" },
		{ "FLAGGED", "* SEARCH 2 3" },
		{ "UNFLAGGED", "* SEARCH 1 4" },
		{ "SEEN", "* SEARCH 1 3" },
		{ "UNSEEN", "* SEARCH 2 4" },
		{ "ANSWERED", "* SEARCH 4" },
		{ "UNANSWERED", "* SEARCH 1 2 3" },
		{ "DRAFT", "* SEARCH 3" },
		{ "UNDRAFT", "* SEARCH 1 2 4" },
		{ "DELETED", "* SEARCH" },
		{ "UNDELETED", "* SEARCH 1 2 3 4" },
		{ "KEYWORD kw", "* SEARCH 2 4" },
		{ "UNKEYWORD KW", "* SEARCH 1 3" },
		{ "KEYWORD other", "* SEARCH" },
		{ "RECENT", "* SEARCH 4" },
		{ "OLD", "* SEARCH 1 2 3" },
		{ "NEW", "* SEARCH 4" },
		{ "NOT FLAGGED", "* SEARCH 1 4" },
		{ "NOT NOT FLAGGED", "* SEARCH 2 3" },
		{ "OR ANSWERED DRAFT", "* SEARCH 3 4" },
		{ "OR (FLAGGED SEEN) OR ANSWERED NOT 2:*", "* SEARCH 1 3 4" },
		{ "(FLAGGED SEEN)", "* SEARCH 3" },
		{ "FLAGGED (SEEN)", "* SEARCH 3" },
		{ "2:3", "* SEARCH 2 3" },
		{ "*", "* SEARCH 4" },
		{ "UID 1,4:9", "* SEARCH 1 4" },
		{ "UID 90:99", "* SEARCH" },
		{ "NOT UID 90:99 1", "* SEARCH 1" },
		{ "LARGER 40", "* SEARCH 1" },
		{ "SMALLER 40", "* SEARCH 2 3 4" },
		{ "LARGER 33", "* SEARCH 1" },
		{ "SMALLER 33", "* SEARCH" },
		{ "BEFORE 2-Jan-2001", "* SEARCH" },
		{ "BEFORE \"3-Jan-2001\"", "* SEARCH 1 2 3 4" },
		{ "ON 2-Jan-2001", "* SEARCH 1 2 3 4" },
		{ "ON 31-Dec-2000", "* SEARCH" },
		{ "SINCE 2-Jan-2001", "* SEARCH 1 2 3 4" },
		{ "SINCE 3-Jan-2001", "* SEARCH" },
		{ "CHARSET UTF-8 FLAGGED", "* SEARCH 2 3" },
		{ "charset us-ascii flagged", "* SEARCH 2 3" },
		{ "RETURN (MIN MAX COUNT) FLAGGED", "* ESEARCH (TAG \"b\") MIN 2 MAX 3 COUNT 2" },
		{ "RETURN () FLAGGED", "* ESEARCH (TAG \"b\") ALL 2:3" },
		{ "RETURN (ALL) CHARSET UTF-8 NOT 2", "* ESEARCH (TAG \"b\") ALL 1,3:4" },
		{ "RETURN (MIN COUNT) DELETED", "* ESEARCH (TAG \"b\") COUNT 0" },
	};
	struct talk *t = talk_create();

	talk_deliver(t, "S", mail_1);
	talk_deliver(t, "F", mail_lf);
	talk_deliver(t, "DFS", mail_lf);
	talk_deliver(t, "", mail_lf);
	talk(t,
	     SELECT("a1", "4", "1", "S: * OK [UNSEEN 2] First unseen.\n")
	     "C: a2 STORE 4 +FLAGS.SILENT (\\Answered)\n"
	     "S: a2 OK STORE completed.\n"
	     "C: a3 STORE 2,4 +FLAGS.SILENT (kw)\n"
	     "S: a3 OK STORE completed.\n");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char script[256];

		snprintf(script, sizeof(script), "C: b SEARCH %s\nS: %s\nS: b OK SEARCH completed.\n",
			 rows[i].keys, rows[i].answer);
		talk_script(t, rows[i].keys, script);
	}
	talk(t,
	     "C: c1 UID SEARCH RETURN (COUNT MAX) ALL\n"
	     "S: * ESEARCH (TAG \"c1\") UID MAX 4 COUNT 4\n"
	     "S: c1 OK UID SEARCH completed.\n"
	     "C: c2 FETCH 3 MODSEQ\n"
	     "S: * OK [HIGHESTMODSEQ @h] Highest.\n"
	     "S: * 3 FETCH (MODSEQ (@m))\n"
	     "S: c2 OK FETCH completed.\n"
	     "C: c3 SEARCH MODSEQ \"/flags/\\\\draft\" all @m\n"
	     "S: * SEARCH 1 2 3 4 (MODSEQ @h)\n"
	     "S: c3 OK SEARCH completed.\n"
	     "C: c4 SEARCH MODSEQ @h\n"
	     "S: * SEARCH 2 4 (MODSEQ @h)\n"
	     "S: c4 OK SEARCH completed.\n"
	     "C: c5 SEARCH RETURN (MIN) MODSEQ @m\n"
	     "S: * ESEARCH (TAG \"c5\") MIN 1 MODSEQ @m\n"
	     "S: c5 OK SEARCH completed.\n"
	     "C: c6 SEARCH MODSEQ @h NOT ALL\n"
	     "S: * SEARCH\n"
	     "S: c6 OK SEARCH completed.\n");
	talk_destroy(t);
}

static void test_search_refuses_what_it_does_not_know(void)
{
	static const struct {
		const char *keys, *answer;
	} rows[] = {
		{ "CHARSET X-NOBODYS ALL",
		  "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset." },
		{ "CHARSET UTF-8", "BAD Search key expected." },
		{ "NONSENSE", "BAD Unknown search key." },
		{ "()", "BAD Search key expected." },
		{ "NOT", "BAD Search key expected." },
		{ "OR SEEN", "BAD Search key expected." },
		{ "UID", "BAD Search key without its argument." },
		{ "UID x", "BAD Not a set of messages." },
		{ "2", "BAD No such message number." },
		{ "0", "BAD Not a set of messages." },
		{ "LARGER x", "BAD Number expected." },
		{ "ON 30-Feb-2001", "BAD Date expected." },
		{ "KEYWORD \\Seen", "BAD Keyword expected." },
		{ "MODSEQ x", "BAD MODSEQ: number expected." },
		{ "MODSEQ \"/flags/x\" 1", "BAD MODSEQ: entry type expected." },
		{ "\"ALL\"", "BAD Search keys are atoms." },
	};
	struct talk *t = talk_create();
	char deep[8192];
	size_t n = 0;

	deliver_seen(t, 1);
	talk(t, SELECT("a1", "1", "0", ""));
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char script[256];

		snprintf(script, sizeof(script), "C: b SEARCH %s\nS: b %s\n", rows[i].keys,
			 rows[i].answer);
		talk_script(t, rows[i].keys, script);
	}
	n += (size_t)snprintf(deep, sizeof(deep), "C: d SEARCH");
	while (n < 4000)
		n += (size_t)snprintf(deep + n, sizeof(deep) - n, " NOT");
	snprintf(deep + n, sizeof(deep) - n, " ALL\nS: d BAD Search keys are nested too deeply.\n");
	talk(t, deep);
	talk_destroy(t);
}

/* RFC 7162 3.2.10.2: numbers in the keys would change their meaning. */
static void test_uid_search_with_numbers_lets_expunges_wait(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 3);
	talk(t, SELECT("a1", "3", "0", ""));
	talk_remove(t, 0);
	talk(t,
	     "C: a2 UID SEARCH 2:3\n"
	     "S: * SEARCH 2 3\n"
	     "S: a2 OK UID SEARCH completed.\n"
	     "C: a3 UID SEARCH UID 2:3\n"
	     "S: * SEARCH 2 3\n"
	     "S: * 1 EXPUNGE\n"
	     "S: a3 OK UID SEARCH completed.\n");
	talk_destroy(t);
}

/* ---- APPEND ---- */

static void test_append_stores_and_tells(void)
{
	struct talk *t = talk_create();

	talk(t,
	     SELECT("a1", "0", "0", "")
	     "C- a2 APPEND INBOX (\\Flagged kw) \" 2-Feb-2002 02:02:02 +0200\" {12}\n"
	     "C: Subject: x\n"
	     "S: + Ready for the message.\n"
	     "C: \n"
	     "S: * FLAGS (" FLAGS_5 " kw)\n"
	     "S: * OK [PERMANENTFLAGS (" FLAGS_5 " kw \\*)] Flags permitted.\n"
	     "S: * 1 EXISTS\n"
	     "S: * 1 RECENT\n"
	     "S: a2 OK [APPENDUID @v 1] APPEND completed.\n"
	     "C- a3 APPEND inbox {3+}\n"
	     "C: abc\n"
	     "S: * 2 EXISTS\n"
	     "S: * 2 RECENT\n"
	     "S: a3 OK [APPENDUID @v 2] APPEND completed.\n"
	     "C: a4 FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])\n"
	     "S: * 1 FETCH (FLAGS (\\Flagged \\Recent kw) INTERNALDATE "
	     "\" 2-Feb-2002 00:02:02 +0000\" BODY[] {12}\n"
	     "S: Subject: x\n"
	     "S: )\n"
	     "S: a4 OK FETCH completed.\n"
	     "C: a5 FETCH 2 (BODY.PEEK[])\n"
	     "S: * 2 FETCH (BODY[] {3}\n"
	     "S: abc)\n"
	     "S: a5 OK FETCH completed.\n");
	talk_destroy(t);
}

static void test_append_refuses_before_the_message(void)
{
	struct talk *t = talk_create();

	talk(t,
	     /* synchronising: the client sends nothing after the answer */
	     "C: a1 APPEND nowhere {3}\n"
	     "S: a1 NO [TRYCREATE] Mailbox does not exist.\n"
	     "C: a2 APPEND INBOX (\\Recent) {3}\n"
	     "S: a2 BAD \\Recent cannot be changed.\n"
	     "C: a3 APPEND INBOX \"yesterday\" {3}\n"
	     "S: a3 BAD Not a date and time.\n"
	     "C: a4 APPEND INBOX {0}\n"
	     "S: a4 NO [CANNOT] A message has at least one byte.\n"
	     "C: a5 APPEND INBOX ~{3}\n"
	     "S: a5 BAD APPEND takes no literal8.\n"
	     "C: a6 APPEND INBOX UTF8 (~{3}\n"
	     "S: a6 BAD APPEND takes no UTF8 message.\n"
	     /* the other kind: its bytes are no command */
	     "C- b1 APPEND nowhere {9+}\n"
	     "C: x1 LOGOUT\n"
	     "S: b1 NO [TRYCREATE] Mailbox does not exist.\n"
	     "C- b2 APPEND INBOX (\\Recent) {9+}\n"
	     "C: x2 LOGOUT\n"
	     "S: b2 BAD \\Recent cannot be changed.\n"
	     /* wrong behind the message: nothing is stored */
	     "C- b3 APPEND INBOX {3+}\n"
	     "C: abc x\n"
	     "S: b3 BAD APPEND takes messages, each with flags and date before it.\n"
	     "C- b4 APPEND INBOX {3+}\n"
	     "C: abc(\n"
	     "S: b4 BAD Invalid character in argument\n"
	     "C- b5 APPEND INBOX {3+}\n"
	     "C- abc {3+}\n"
	     "C: def (\\Seen)\n"
	     "S: b5 BAD APPEND takes messages, each with flags and date before it.\n"
	     "C: b6 APPEND INBOX \"abc\"\n"
	     "S: b6 BAD @*\n"
	     "C: b7 APPEND INBOX\n"
	     "S: b7 BAD APPEND takes a mailbox and a message.\n"
	     "C: b8 STATUS INBOX (MESSAGES UIDNEXT)\n"
	     "S: * STATUS INBOX (MESSAGES 0 UIDNEXT 1)\n"
	     "S: b8 OK STATUS completed.\n");
	talk_destroy(t);
}

/* RFC 3502 */
static void test_multiappend_is_all_or_nothing(void)
{
	struct talk *t = talk_create();

	talk(t,
	     "C- a1 APPEND INBOX (\\Seen kw) {5+}\n"
	     "C- one\n"
	     "C-  \" 1-Jan-2001 00:00:00 +0000\" {5+}\n"
	     "C- two\n"
	     "C-  (\\Flagged) {7+}\n"
	     "C- three\n"
	     "C: \n"
	     "S: a1 OK [APPENDUID @v 1:3] APPEND completed.\n"
	     SELECT("a2", "3", "@", "S: * OK [UNSEEN 2] First unseen.\n")
	     "C: a3 FETCH 1:3 (UID FLAGS INTERNALDATE RFC822.SIZE)\n"
	     "S: * 1 FETCH (UID 1 FLAGS (\\Seen \\Recent kw) INTERNALDATE @*\n"
	     "S: * 2 FETCH (UID 2 FLAGS (\\Recent) INTERNALDATE \" 1-Jan-2001 00:00:00 +0000\" RFC822.SIZE 5)\n"
	     "S: * 3 FETCH (UID 3 FLAGS (\\Flagged \\Recent) INTERNALDATE @*\n"
	     "S: a3 OK FETCH completed.\n"
	     /* cancelled by an empty message, asked for or not */
	     "C- b1 APPEND INBOX {5+}\n"
	     "C- one\n"
	     "C:  {0}\n"
	     "S: b1 NO [CANNOT] A message has at least one byte.\n"
	     "C- b2 APPEND INBOX {5+}\n"
	     "C- one\n"
	     "C-  {0+}\n"
	     "C-  {5+}\n"
	     "C- two\n"
	     "C: \n"
	     "S: b2 NO [CANNOT] A message has at least one byte.\n"
	     /* the first cannot be: the second is not asked for any more */
	     "C- b3 APPEND nowhere {5+}\n"
	     "C- one\n"
	     "C:  {5}\n"
	     "S: b3 NO [TRYCREATE] Mailbox does not exist.\n"
	     "C- b4 APPEND INBOX {5+}\n"
	     "C- one\n"
	     "C:  (\\Recent) {5}\n"
	     "S: b4 BAD \\Recent cannot be changed.\n"
	     "C: b5 STATUS INBOX (MESSAGES UIDNEXT)\n"
	     "S: * STATUS INBOX (MESSAGES 3 UIDNEXT 4)\n"
	     "S: b5 OK STATUS completed.\n");
	talk_destroy(t);
}

static void test_append_with_more_keywords_than_letters(void)
{
	struct talk *t = talk_create();

	talk(t,
	     "C- a1 APPEND INBOX (k01 k02 k03 k04 k05 k06 k07 k08 k09 k10 k11 k12 k13 k14 k15 "
	     "k16 k17 k18 k19 k20 k21 k22 k23 k24 k25 k26 k27 k28 k29) {3+}\n"
	     "C- x\n"
	     "C: \n"
	     "S: a1 OK [APPENDUID @v 1] APPEND completed.\n"
	     SELECT("a2", "1", "@", "S: * OK [UNSEEN 1] First unseen.\n")
	     "C: a3 FETCH 1 FLAGS\n"
	     "S: * 1 FETCH (FLAGS (\\Recent k01 k02 k03 k04 k05 k06 k07 k08 k09 k10 k11 k12 k13 "
	     "k14 k15 k16 k17 k18 k19 k20 k21 k22 k23 k24 k25 k26 k27 k28 k29))\n"
	     "S: a3 OK FETCH completed.\n"
	     "C: a4 COPY 1 INBOX\n"
	     "S: * 2 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: a4 OK [COPYUID @v 1 2] COPY completed.\n"
	     "C: a5 SEARCH KEYWORD k29 KEYWORD k26\n"
	     "S: * SEARCH 1 2\n"
	     "S: a5 OK SEARCH completed.\n");
	talk_destroy(t);
}

static void test_append_refuses_nul_bytes(void)
{
	struct talk *t = talk_create();
	struct talk_client *c = &t->c[0];

	talk_send(c, "a1 APPEND INBOX {3+}");
	check(write(c->fd, "a\0b\r\n", 5) == 5);
	talk_run(c);
	talk_expect(t, c, 1, "a1 NO [CANNOT] A message has no NUL bytes.");
	talk(t,
	     "C: a2 STATUS INBOX (MESSAGES)\n"
	     "S: * STATUS INBOX (MESSAGES 0)\n"
	     "S: a2 OK STATUS completed.\n");
	talk_destroy(t);
}

static void test_append_refuses_what_is_too_large(void)
{
	struct talk *t = talk_create();

	t->set.append_max_bytes = 10;
	talk(t,
	     "C: a1 APPEND INBOX {11}\n"
	     "S: a1 NO [TOOBIG] Message is too large.\n"
	     "C: a2 APPEND INBOX {9223372036854775807}\n"
	     "S: a2 NO [TOOBIG] Message is too large.\n"
	     /* on its way: passed over, and no command */
	     "C- a3 APPEND INBOX {11+}\n"
	     "C: xx1 LOGOUT!\n"
	     "S: a3 NO [TOOBIG] Message is too large.\n"
	     "C- a4 APPEND INBOX {10}\n"
	     "C: 1234567890\n"
	     "S: + Ready for the message.\n"
	     "S: a4 OK [APPENDUID @ 1] APPEND completed.\n"
	     "C: a5 STATUS INBOX (MESSAGES)\n"
	     "S: * STATUS INBOX (MESSAGES 1)\n"
	     "S: a5 OK STATUS completed.\n"
	     /* on its way, too much to pass over; refused for whatever reason */
	     "C: a6 APPEND INBOX {524289+}\n"
	     "S: * BYE [TOOBIG] Message is too large.\n"
	     "c: b1 APPEND INBOX (\\Recent) {524289+}\n"
	     "s: * BYE [TOOBIG] Message is too large.\n");
	check(t->c[0].s->logout && t->c[1].s->logout);
	talk_destroy(t);
}

/* A client that leaves in the middle of a message leaves nothing behind. */
static void test_append_that_breaks_off_leaves_nothing(void)
{
	struct talk *t = talk_create();
	struct talk_client *c = &t->c[0];

	talk_send(c, "a1 APPEND INBOX {100+}");
	talk_send(c, "half");
	shutdown(c->fd, SHUT_WR);
	talk_run(c);
	check(c->s->dead);
	talk(t,
	     "c: b1 STATUS INBOX (MESSAGES UIDNEXT)\n"
	     "s: * STATUS INBOX (MESSAGES 0 UIDNEXT 1)\n"
	     "s: b1 OK STATUS completed.\n");
	talk_destroy(t);
}

/* The client's side of a long conversation: another process, as it has to
 * write and read while the session does. */
static pid_t client_fork(struct talk_client *c, const char *send, const char *expect)
{
	pid_t pid = fork();
	size_t at = 0, len = strlen(send != NULL ? send : expect);

	if (pid != 0)
		return pid;
	while (at < len) {
		struct pollfd p = { .fd = c->fd, .events = send != NULL ? POLLOUT : POLLIN };
		char data[16384];
		ssize_t n;

		poll(&p, 1, 30000);
		n = send != NULL ? write(c->fd, send + at, len - at) :
			read(c->fd, data, sizeof(data));
		if (n <= 0 || (send == NULL && ((size_t)n > len - at ||
						memcmp(data, expect + at, (size_t)n) != 0)))
			_exit(EXIT_FAILURE);
		at += (size_t)n;
	}
	_exit(EXIT_SUCCESS);
}

static bool client_wait(pid_t pid)
{
	int status = -1;

	require(pid > 0);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* Larger than every buffer on the way, in both directions. */
static void test_large_messages_pass(void)
{
	enum { LINES = 100000, LINE = 52, LEN = LINES * LINE };
	struct talk *t = talk_create();
	struct talk_client *c = &t->c[0];
	char *text = malloc(LEN + 256), *p = text;
	pid_t pid;

	require(text != NULL);
	talk(t, SELECT("a1", "0", "0", ""));
	p += sprintf(p, "a2 APPEND INBOX {%d+}\r\n", LEN);
	for (int i = 0; i < LINES; i++)
		p += sprintf(p, "%08d: %040d\r\n", i, i);
	strcpy(p, "\r\n");
	pid = client_fork(c, text, NULL);
	while (strstr(c->out_len > 0 ? c->out : "", "a2 ") == NULL && !c->s->dead) {
		struct pollfd in = { .fd = stream_fd(c->s->stream), .events = POLLIN };

		require(poll(&in, 1, 30000) == 1);
		talk_run(c);
	}
	check(client_wait(pid));
	talk_expect(t, c, 1, "* 1 EXISTS");
	talk_expect(t, c, 2, "* 1 RECENT");
	talk_expect(t, c, 3, "a2 OK [APPENDUID @v 1] APPEND completed.");

	p = text + sprintf(text, "* 1 FETCH (BODY[] {%d}\r\n", LEN);
	for (int i = 0; i < LINES; i++)
		p += sprintf(p, "%08d: %040d\r\n", i, i);
	strcpy(p, ")\r\na3 OK FETCH completed.\r\n");
	talk_send(c, "a3 FETCH 1 BODY.PEEK[]");
	pid = client_fork(c, NULL, text);
	while (stream_fill(c->s->stream) > 0)
		session_input(c->s);
	check(client_wait(pid));
	check(!c->s->dead);
	free(text);
	talk_destroy(t);
}

/* ---- mailboxes ---- */

static void test_list_matches_patterns(void)
{
	static const struct {
		const char *args, *names;
	} rows[] = {
		{ "\"\" *", "INBOX a a.b a.b.c x x.y" },
		{ "\"\" %", "INBOX a x" },
		{ "\"\" %.%", "a.b x.y" },
		{ "\"\" *b*", "INBOX a.b a.b.c" },
		{ "a. %", "a.b" },
		{ "\"\" inbox", "INBOX" },
		{ "in box", "INBOX" },
		{ "\"\" A", "" },
		{ "\"\" a.%", "a.b" },
		{ "\"\" a*c", "a.b.c" },
		{ "\"\" %%*%%*%%*%%*y", "x.y" },
		{ "\"\" nothing", "" },
		{ "\"\" \"a.b\"", "a.b" },
	};
	struct talk *t = talk_create();
	struct talk_client *c = &t->c[0];

	talk(t,
	     "C: a1 CREATE a.b.c\nS: a1 OK CREATE completed.\n"
	     "C: a2 CREATE a.b\nS: a2 OK CREATE completed.\n"
	     "C: a3 CREATE a.\nS: a3 OK CREATE completed.\n"
	     "C: a4 CREATE x.y\nS: a4 OK CREATE completed.\n"
	     "C: a5 CREATE x.y\nS: a5 NO [ALREADYEXISTS] Mailbox exists already.\n"
	     "C: b1 LIST \"\" \"\"\n"
	     "S: * LIST (\\Noselect) \".\" \"\"\n"
	     "S: b1 OK LIST completed.\n"
	     "C: b2 LIST \"\" x*\n"
	     "S: * LIST (\\Noselect \\HasChildren) \".\" x\n"
	     "S: * LIST (\\HasNoChildren) \".\" x.y\n"
	     "S: b2 OK LIST completed.\n"
	     "C: b3 LSUB \"\" *\n"
	     "S: b3 OK LSUB completed.\n"
	     "C: b4 LIST x\n"
	     "S: b4 BAD LIST takes a reference and a pattern.\n"
	     "C: b5 LIST (SUBSCRIBED) \"\"\n"
	     "S: b5 BAD LIST takes a reference and a pattern.\n"
	     "C: b6 LSUB \"\" (a b)\n"
	     "S: b6 BAD LSUB takes a reference and a pattern.\n");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char line[128], names[256] = "", *got;

		snprintf(line, sizeof(line), "c LIST %s", rows[i].args);
		talk_send(c, line);
		talk_run(c);
		while ((got = talk_take(c)) != NULL && strncmp(got, "* LIST ", 7) == 0) {
			strcat(names, *names ? " " : "");
			strcat(names, strrchr(got, ' ') + 1);
			free(got);
		}
		check_row(got != NULL && strcmp(got, "c OK LIST completed.") == 0, i);
		free(got);
		if (!check_row(strcmp(names, rows[i].names) == 0, i))
			fprintf(stderr, "%s: %s\n", rows[i].args, names);
	}
	talk_destroy(t);
}

static void test_lsub_and_extended_list(void)
{
	struct talk *t = talk_create();

	talk(t,
	     "C: a1 CREATE Foo\nS: a1 OK CREATE completed.\n"
	     "C: a2 CREATE Foo.Bar\nS: a2 OK CREATE completed.\n"
	     "C: a3 CREATE Sent\nS: a3 OK CREATE completed.\n"
	     "C: a4 CREATE Moo.x\nS: a4 OK CREATE completed.\n"
	     "C: a5 SUBSCRIBE Foo.Bar\nS: a5 OK SUBSCRIBE completed.\n"
	     "C: a6 SUBSCRIBE Lost.One\nS: a6 OK SUBSCRIBE completed.\n"
	     "C: a7 SUBSCRIBE a*b\n"
	     "S: a7 BAD @*\n"
	     "C: a8 SUBSCRIBE \"a..b\"\nS: a8 NO [CANNOT] Not a possible mailbox name.\n"
	     "C: a9 SUBSCRIBE Sent.\nS: a9 OK SUBSCRIBE completed.\n"
	     /* RFC 3501 6.3.9 */
	     "C: b1 LSUB \"\" *\n"
	     "S: * LSUB () \".\" Foo.Bar\n"
	     "S: * LSUB () \".\" Lost.One\n"
	     "S: * LSUB () \".\" Sent\n"
	     "S: b1 OK LSUB completed.\n"
	     "C: b2 LSUB \"\" %\n"
	     "S: * LSUB (\\Noselect) \".\" Foo\n"
	     "S: * LSUB (\\Noselect) \".\" Lost\n"
	     "S: * LSUB () \".\" Sent\n"
	     "S: b2 OK LSUB completed.\n"
	     "C: b3 LSUB \"Foo.\" %\n"
	     "S: * LSUB () \".\" Foo.Bar\n"
	     "S: b3 OK LSUB completed.\n"
	     /* RFC 5258 */
	     "C: c1 LIST (SUBSCRIBED) \"\" *\n"
	     "S: * LIST (\\Subscribed) \".\" Foo.Bar\n"
	     "S: * LIST (\\NonExistent \\Subscribed) \".\" Lost.One\n"
	     "S: * LIST (\\Subscribed \\Sent) \".\" Sent\n"
	     "S: c1 OK LIST completed.\n"
	     "C: c2 LIST (SUBSCRIBED) \"\" %\n"
	     "S: * LIST (\\Subscribed \\Sent) \".\" Sent\n"
	     "S: c2 OK LIST completed.\n"
	     "C: c3 LIST (RECURSIVEMATCH SUBSCRIBED) \"\" % RETURN (CHILDREN)\n"
	     "S: * LIST (\\HasChildren) \".\" Foo (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
	     "S: * LIST (\\NonExistent \\HasNoChildren) \".\" Lost (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
	     "S: * LIST (\\Subscribed \\HasNoChildren \\Sent) \".\" Sent\n"
	     "S: c3 OK LIST completed.\n"
	     /* Redundant CHILDINFO is not told (3.5): all below match themselves. */
	     "C: c4 LIST (RECURSIVEMATCH SUBSCRIBED) \"\" *\n"
	     "S: * LIST (\\Subscribed) \".\" Foo.Bar\n"
	     "S: * LIST (\\NonExistent \\Subscribed) \".\" Lost.One\n"
	     "S: * LIST (\\Subscribed \\Sent) \".\" Sent\n"
	     "S: c4 OK LIST completed.\n"
	     "C: c5 LIST \"\" (Foo Moo \"\" Foo*) RETURN (SUBSCRIBED)\n"
	     "S: * LIST () \".\" Foo\n"
	     "S: * LIST (\\Subscribed) \".\" Foo.Bar\n"
	     "S: * LIST (\\NonExistent \\HasChildren) \".\" Moo\n"
	     "S: c5 OK LIST completed.\n"
	     "C: c6 LIST (SPECIAL-USE) \"\" *\n"
	     "S: * LIST (\\Sent) \".\" Sent\n"
	     "S: c6 OK LIST completed.\n"
	     "C: c7 LIST () \"\" \"\"\n"
	     "S: c7 OK LIST completed.\n"
	     "C: c8 LIST (REMOTE) \"\" (M*) RETURN ()\n"
	     "S: * LIST () \".\" Moo.x\n"
	     "S: c8 OK LIST completed.\n"
	     "C: d1 LIST (RECURSIVEMATCH) \"\" *\n"
	     "S: d1 BAD RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE.\n"
	     "C: d2 LIST (RECURSIVEMATCH REMOTE) \"\" *\n"
	     "S: d2 BAD RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE.\n"
	     "C: d3 LIST (NONSENSE) \"\" *\n"
	     "S: d3 BAD Unknown option of LIST.\n"
	     "C: d4 LIST \"\" * RETURN (NONSENSE)\n"
	     "S: d4 BAD Unknown option of LIST.\n"
	     "C: d5 LIST \"\" * RETURN (STATUS)\n"
	     "S: d5 BAD STATUS needs a list of items.\n"
	     "C: d6 LIST \"\" ()\n"
	     "S: d6 BAD LIST takes a reference and a pattern.\n"
	     /* RFC 5819 */
	     "C: e1 LIST \"\" (Moo% Sent) RETURN (STATUS (MESSAGES UNSEEN))\n"
	     "S: * LIST (\\NonExistent \\HasChildren) \".\" Moo\n"
	     "S: * LIST (\\Sent) \".\" Sent\n"
	     "S: * STATUS Sent (MESSAGES 0 UNSEEN 0)\n"
	     "S: e1 OK LIST completed.\n"
	     "C: f1 UNSUBSCRIBE Lost.One\nS: f1 OK UNSUBSCRIBE completed.\n"
	     "C: f2 UNSUBSCRIBE Lost.One\nS: f2 OK UNSUBSCRIBE completed.\n"
	     "C: f3 LSUB \"\" L*\nS: f3 OK LSUB completed.\n"
	     "C: g1 NAMESPACE\n"
	     "S: * NAMESPACE ((\"\" \".\")) NIL NIL\n"
	     "S: g1 OK NAMESPACE completed.\n");
	talk_destroy(t);
}

/* RFC 3501 6.4.7, RFC 4315 3, RFC 6851 */
static void test_copy_and_move(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 5);
	talk(t,
	     SELECT("a1", "5", "@", "")
	     "C: a2 COPY 1:2 Other\n"
	     "S: a2 NO [TRYCREATE] Mailbox does not exist.\n"
	     "C: a3 CREATE Other\nS: a3 OK CREATE completed.\n"
	     "C: a4 COPY 1:2,4 Other\n"
	     "S: a4 OK [COPYUID @o 1:2,4 1:3] COPY completed.\n"
	     "C: a5 UID COPY 17:20 Other\n"
	     "S: a5 OK UID COPY completed.\n"
	     "C: a6 COPY 9 Other\n"
	     "S: a6 BAD No such message number.\n"
	     "C: a7 COPY x Other\n"
	     "S: a7 BAD Not a set of messages.\n"
	     "C: a8 COPY 1\n"
	     "S: a8 BAD COPY takes messages and a mailbox.\n"
	     "C: b1 UID MOVE 2:3 Other\n"
	     "S: * OK [COPYUID @o 2:3 4:5] Moved.\n"
	     "S: * 2 EXPUNGE\n"
	     "S: * 2 EXPUNGE\n"
	     "S: b1 OK UID MOVE completed.\n"
	     "C: b2 COPY 1 INBOX\n"
	     "S: * 4 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: b2 OK [COPYUID @v 1 6] COPY completed.\n"
	     "C: b3 MOVE 1 inbox\n"
	     "S: * OK [COPYUID @v 1 7] Moved.\n"
	     "S: * 1 EXPUNGE\n"
	     "S: * 4 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: b3 OK MOVE completed.\n"
	     "C: b4 ENABLE QRESYNC\n"
	     "S: * ENABLED CONDSTORE QRESYNC\n"
	     "S: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "S: b4 OK Enabled.\n"
	     "C: b5 MOVE 1:2 Other\n"
	     "S: * OK [COPYUID @o 4:5 6:7] Moved.\n"
	     "S: * VANISHED 4:5\n"
	     "S: b5 OK [HIGHESTMODSEQ @] MOVE completed.\n"
	     "C: c1 STATUS Other (MESSAGES UIDNEXT)\n"
	     "S: * STATUS Other (MESSAGES 7 UIDNEXT 8)\n"
	     "S: c1 OK STATUS completed.\n"
	     "C: c2 EXAMINE INBOX\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     SELECTED("2", "0", "")
	     "S: c2 OK [READ-ONLY] EXAMINE completed.\n"
	     "C: c3 MOVE 1 Other\n"
	     "S: c3 NO Mailbox is read-only.\n"
	     "C: c4 COPY 1 Other\n"
	     "S: c4 OK [COPYUID @o 6 8] COPY completed.\n");
	talk_destroy(t);
}

/* Another session expunged them and this one has not heard of it. */
static void test_copy_of_a_gone_message_copies_none(void)
{
	struct talk *t = talk_create();

	deliver_seen(t, 4);
	talk(t,
	     SELECT("a1", "4", "@", "")
	     "C: a2 CREATE Other\nS: a2 OK CREATE completed.\n"
	     ALSO_SELECTED("4", "")
	     "c: b1 STORE 2 +FLAGS.SILENT \\Deleted\ns: b1 OK STORE completed.\n"
	     "c: b2 EXPUNGE\ns: * 2 EXPUNGE\ns: b2 OK EXPUNGE completed.\n"
	     "C: a3 COPY 1:3 Other\n"
	     "S: * 2 EXPUNGE\n"
	     "S: a3 NO [EXPUNGEISSUED] Some of the messages are gone; none was copied.\n"
	     "C: a4 STATUS Other (MESSAGES)\n"
	     "S: * STATUS Other (MESSAGES 0)\n"
	     "S: a4 OK STATUS completed.\n"
	     "c: b3 STORE 3 +FLAGS.SILENT \\Deleted\ns: b3 OK STORE completed.\n"
	     "c: b4 EXPUNGE\ns: * 3 EXPUNGE\ns: b4 OK EXPUNGE completed.\n"
	     "C: a5 UID MOVE 3:4 Other\n"
	     "S: * OK [COPYUID @ 3 1] Moved.\n"
	     "S: * 2 EXPUNGE\n"
	     "S: * 2 EXPUNGE\n"
	     "S: a5 NO [EXPUNGEISSUED] Some of the messages are gone.\n");
	talk_destroy(t);
}

static void test_status_counts(void)
{
	struct talk *t = talk_create();

	talk_deliver(t, "", mail_lf);
	talk_deliver(t, "ST", mail_lf);
	talk_deliver(t, "", mail_lf);
	talk(t,
	     "C: a1 STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE DELETED)\n"
	     "S: * STATUS INBOX (MESSAGES 3 RECENT @ UIDNEXT 4 UIDVALIDITY @v UNSEEN 2 DELETED 1 SIZE 99)\n"
	     "S: a1 OK STATUS completed.\n"
	     "C: a2 STATUS INBOX (HIGHESTMODSEQ)\n"
	     "S: * STATUS INBOX (HIGHESTMODSEQ @)\n"
	     "S: a2 OK STATUS completed.\n"
	     "C: a3 STATUS nowhere (MESSAGES)\n"
	     "S: a3 NO [NONEXISTENT] Mailbox does not exist.\n"
	     "C: a4 STATUS INBOX (NONSENSE)\n"
	     "S: a4 BAD Unknown item of STATUS.\n"
	     "C: a5 STATUS INBOX ()\n"
	     "S: a5 BAD STATUS takes a mailbox and a list of items.\n"
	     "C: a6 STATUS INBOX\n"
	     "S: a6 BAD STATUS takes a mailbox and a list of items.\n"
	     "C: a7 CREATE &AOQ-\n"
	     "S: a7 OK CREATE completed.\n"
	     "C: a8 STATUS \"&AOQ-\" (MESSAGES)\n"
	     "S: * STATUS &AOQ- (MESSAGES 0)\n"
	     "S: a8 OK STATUS completed.\n");
	check(session_condstore(t->c[0].s));
	talk_destroy(t);
}

static void test_rename_and_delete_under_a_selected_mailbox(void)
{
	struct talk *t = talk_create();

	talk(t,
	     "C: a1 CREATE box\nS: a1 OK CREATE completed.\n"
	     "C: a2 SELECT box\n"
	     SELECTED("0", "0", "")
	     "S: a2 OK [READ-WRITE] SELECT completed.\n"
	     "C: a3 RENAME box other\n"
	     "S: a3 OK RENAME completed.\n"
	     "C: a4 RENAME box other\n"
	     "S: a4 NO @*\n"
	     "C- a5 APPEND other {3+}\n"
	     "C: abc\n"
	     "S: * 1 EXISTS\n"
	     "S: * 1 RECENT\n"
	     "S: a5 OK [APPENDUID @ 1] APPEND completed.\n"
	     "C: a6 DELETE other\n"
	     "S: * OK [CLOSED] Previous mailbox closed.\n"
	     "S: a6 OK DELETE completed.\n"
	     "C: a7 CHECK\n"
	     "S: a7 BAD No mailbox is selected.\n"
	     "C: a8 DELETE INBOX\n"
	     "S: a8 NO @*\n"
	     "C: a9 DELETE\n"
	     "S: a9 BAD DELETE takes a mailbox.\n"
	     "C: b1 RENAME x\n"
	     "S: b1 BAD RENAME takes two mailboxes.\n"
	     "C: b2 CREATE \"a/../b\"\n"
	     "S: b2 NO @*\n");
	talk_destroy(t);
}

static void test_delete_by_another_session_ends_with_bye(void)
{
	struct talk *t = talk_create();

	talk(t,
	     "C: a1 CREATE box\nS: a1 OK CREATE completed.\n"
	     "C: a2 SELECT box\n"
	     SELECTED("0", "0", "")
	     "S: a2 OK [READ-WRITE] SELECT completed.\n"
	     "c: b1 DELETE box\n"
	     "s: b1 OK DELETE completed.\n"
	     "C: a3 NOOP\n"
	     "S: * BYE Selected mailbox was deleted.\n");
	check(t->c[0].s->logout);
	talk_destroy(t);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_select_tells_the_mailbox),
		UNIT_TEST(test_select_that_fails_leaves_nothing_selected),
		UNIT_TEST(test_close_expunges_and_unselect_does_not),
		UNIT_TEST(test_qresync_tells_what_was_missed),
		UNIT_TEST(test_qresync_refuses_bad_arguments),
		UNIT_TEST(test_expunge_is_vanished_with_qresync),
		UNIT_TEST(test_expunge_finds_what_others_deleted),
		UNIT_TEST(test_highestmodseq_stays_below_a_waiting_expunge),
		UNIT_TEST(test_fetch_answers_from_the_index),
		UNIT_TEST(test_fetch_sends_sections),
		UNIT_TEST(test_fetch_filters_odd_headers),
		UNIT_TEST(test_fetch_sets_seen_and_tells_it),
		UNIT_TEST(test_fetch_tells_anothers_change_once),
		UNIT_TEST(test_fetch_refuses_by_name),
		UNIT_TEST(test_fetch_answers_what_is_known_of_a_gone_message),
		UNIT_TEST(test_fetch_walks_large_sets),
		UNIT_TEST(test_store_changes_flags),
		UNIT_TEST(test_store_silent_tells_what_others_did),
		UNIT_TEST(test_store_checks_unchangedsince),
		UNIT_TEST(test_search_knows_its_keys),
		UNIT_TEST(test_search_refuses_what_it_does_not_know),
		UNIT_TEST(test_uid_search_with_numbers_lets_expunges_wait),
		UNIT_TEST(test_append_stores_and_tells),
		UNIT_TEST(test_append_refuses_before_the_message),
		UNIT_TEST(test_multiappend_is_all_or_nothing),
		UNIT_TEST(test_append_with_more_keywords_than_letters),
		UNIT_TEST(test_append_refuses_nul_bytes),
		UNIT_TEST(test_append_refuses_what_is_too_large),
		UNIT_TEST(test_append_that_breaks_off_leaves_nothing),
		UNIT_TEST(test_large_messages_pass),
		UNIT_TEST(test_list_matches_patterns),
		UNIT_TEST(test_lsub_and_extended_list),
		UNIT_TEST(test_copy_and_move),
		UNIT_TEST(test_copy_of_a_gone_message_copies_none),
		UNIT_TEST(test_status_counts),
		UNIT_TEST(test_rename_and_delete_under_a_selected_mailbox),
		UNIT_TEST(test_delete_by_another_session_ends_with_bye),
	};
	return unit_run("imap-commands", tests, UNIT_COUNT(tests));
}
