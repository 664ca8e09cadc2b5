/* SPDX-License-Identifier: MIT */
/* What the client is told and what there is. The last tests keep a client's
 * model of the mailbox, fed by nothing but the responses, while two sessions
 * and other programs do what they like; then it is compared with the store. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "imap/mailbox.h"
#include "imap/view.h"
#include "lib/buf.h"
#include "tests/imap-talk.h"

/* ---- sets ---- */

static bool set_is(const struct uidset *s, const char *want)
{
	struct buf b;
	bool same;

	buf_init(&b, 4096);
	check(uidset_print(s, &b) == 0);
	buf_append_u8(&b, 0);
	same = strcmp((char *)b.data, want) == 0;
	if (!same)
		fprintf(stderr, "\nis \"%s\", not \"%s\"\n", (char *)b.data, want);
	buf_deinit(&b);
	return same;
}

static void view_of(struct view *v, const char *uids)
{
	view_init(v);
	require(uidset_parse(&v->uids, uids, strlen(uids), 0, 1000) == 0);
}

static void test_view_parses_sets(void)
{
	static const struct {
		const char *uids, *text;
		bool uid;
		int ret;
		const char *want;
	} rows[] = {
		{ "3:5,9,20:22", "1", false, 0, "3" },
		{ "3:5,9,20:22", "*", false, 0, "22" },
		{ "3:5,9,20:22", "1:7", false, 0, "3:5,9,20:22" },
		{ "3:5,9,20:22", "1:*", false, 0, "3:5,9,20:22" },
		{ "3:5,9,20:22", "*:6", false, 0, "21:22" },
		{ "3:5,9,20:22", "2:4,6", false, 0, "4:5,9,21" },
		{ "3:5,9,20:22", "6,2,4:3", false, 0, "4:5,9,21" },
		{ "3:5,9,20:22", "8", false, -ERANGE, "" },
		{ "3:5,9,20:22", "1:8", false, -ERANGE, "" },
		{ "3:5,9,20:22", "0", false, -EINVAL, "" },
		{ "3:5,9,20:22", "", false, -EINVAL, "" },
		{ "3:5,9,20:22", "a", false, -EINVAL, "" },
		{ "3:5,9,20:22", "1,", false, -EINVAL, "" },
		{ "3:5,9,20:22", "4294967296", false, -EINVAL, "" },
		{ "3:5,9,20:22", "1:10", true, 0, "3:5,9" },
		{ "3:5,9,20:22", "10:19", true, 0, "" },
		{ "3:5,9,20:22", "*", true, 0, "22" },
		{ "3:5,9,20:22", "100:*", true, 0, "22" },
		{ "3:5,9,20:22", "21:*", true, 0, "21:22" },
		{ "3:5,9,20:22", "4294967295", true, 0, "" },
		{ "3:5,9,20:22", "1:4294967295", true, 0, "3:5,9,20:22" },
		{ "", "1", false, -ERANGE, "" },
		{ "", "1:5", true, 0, "" },
		{ "", "*", true, 0, "" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct uidset got;
		struct view v;

		view_init(&v);
		if (*rows[i].uids != '\0')
			view_of(&v, rows[i].uids);
		uidset_init(&got);
		check_row(view_parse_set(&v, rows[i].text, rows[i].uid, &got) == rows[i].ret, i);
		if (rows[i].ret == 0)
			check_row(set_is(&got, rows[i].want), i);
		uidset_deinit(&got);
		view_deinit(&v);
	}
}

static void test_view_maps_numbers_both_ways(void)
{
	struct uidset uids, seqs, back;
	struct view v;

	view_of(&v, "3:5,9,20:22");
	check(view_exists(&v) == 7);
	check(view_uid(&v, 0) == 0 && view_uid(&v, 1) == 3 && view_uid(&v, 4) == 9 &&
	      view_uid(&v, 7) == 22 && view_uid(&v, 8) == 0);
	check(view_seq(&v, 3) == 1 && view_seq(&v, 9) == 4 && view_seq(&v, 22) == 7);
	check(view_seq(&v, 2) == 0 && view_seq(&v, 6) == 0 && view_seq(&v, 23) == 0);
	for (uint32_t seq = 1; seq <= 7; seq++)
		check_row(view_seq(&v, view_uid(&v, seq)) == seq, seq);

	uidset_init(&uids);
	uidset_init(&seqs);
	uidset_init(&back);
	require(uidset_parse(&uids, "1:4,8:21,30", 11, 0, 100) == 0);
	check(view_seqs(&v, &uids, &seqs) == 0);
	check(set_is(&seqs, "1:2,4:6"));
	check(view_parse_set(&v, "1:2,4:6", false, &back) == 0);
	check(set_is(&back, "3:4,9,20:21"));
	uidset_deinit(&uids);
	uidset_deinit(&seqs);
	uidset_deinit(&back);
	view_deinit(&v);
}

/* ---- expunges ---- */

static void deliver(struct talk *t, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		talk_deliver(t, "S", "Subject: x\n\nb\n");
}

#define SELECTED(exists) \
	"S: * FLAGS (@*\nS: * OK [PERMANENTFLAGS (@*\nS: * " exists " EXISTS\n" \
	"S: * @ RECENT\nS: * OK [UIDVALIDITY @v] UIDs valid.\n" \
	"S: * OK [UIDNEXT @] Predicted next UID.\nS: * OK [HIGHESTMODSEQ @] Highest.\n"

static void test_view_tells_expunges_by_number(void)
{
	struct talk *t = talk_create();

	deliver(t, 7);
	talk(t, "C: a1 SELECT INBOX\n" SELECTED("7")
	     "S: a1 OK [READ-WRITE] SELECT completed.\n");
	talk_remove(t, 1);
	talk_remove(t, 2);
	talk_remove(t, 6);
	talk_remove(t, 4);
	talk_deliver(t, "S", "x\n");
	talk(t,
	     "C: a2 FETCH 7 UID\n"
	     "S: * 7 FETCH (UID 7)\n"
	     "S: * 8 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: a2 OK FETCH completed.\n"
	     "C: a3 SEARCH UID 8\n"
	     "S: * SEARCH 8\n"
	     "S: a3 OK [EXPUNGEISSUED] SEARCH completed.\n"
	     "C: a4 NOOP\n"
	     "S: * 2 EXPUNGE\n"
	     "S: * 2 EXPUNGE\n"
	     "S: * 3 EXPUNGE\n"
	     "S: * 4 EXPUNGE\n"
	     "S: a4 OK NOOP completed.\n"
	     "C: a5 FETCH 1:* UID\n"
	     "S: * 1 FETCH (UID 1)\n"
	     "S: * 2 FETCH (UID 4)\n"
	     "S: * 3 FETCH (UID 6)\n"
	     "S: * 4 FETCH (UID 8)\n"
	     "S: a5 OK FETCH completed.\n");
	talk_destroy(t);
}

static void test_view_tells_expunges_as_vanished(void)
{
	struct talk *t = talk_create();

	deliver(t, 7);
	talk(t,
	     "C: a0 ENABLE QRESYNC\n"
	     "S: * ENABLED CONDSTORE QRESYNC\n"
	     "S: a0 OK Enabled.\n"
	     "C: a1 SELECT INBOX\n" SELECTED("7")
	     "S: a1 OK [READ-WRITE] SELECT completed.\n");
	talk_remove(t, 1);
	talk_remove(t, 2);
	talk_remove(t, 6);
	talk_deliver(t, "S", "x\n");
	talk(t,
	     "C: a2 NOOP\n"
	     "S: * VANISHED 2:3,7\n"
	     "S: * 5 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: a2 OK NOOP completed.\n");
	talk_destroy(t);
}

/* RFC 7162 3.2.10.2: what was never announced does not vanish. */
static void test_view_keeps_quiet_about_what_came_and_went(void)
{
	struct talk *t = talk_create();

	deliver(t, 1);
	talk(t, "C: a1 SELECT INBOX\n" SELECTED("1")
	     "S: a1 OK [READ-WRITE] SELECT completed.\n");
	deliver(t, 2);
	talk(t,
	     "c: b1 STATUS INBOX (MESSAGES)\n"
	     "s: * STATUS INBOX (MESSAGES 3)\n"
	     "s: b1 OK STATUS completed.\n");
	talk_remove(t, 1);
	talk(t,
	     "c: b2 STATUS INBOX (MESSAGES)\n"
	     "s: * STATUS INBOX (MESSAGES 2)\n"
	     "s: b2 OK STATUS completed.\n"
	     "C: a2 NOOP\n"
	     "S: * 2 EXISTS\n"
	     "S: * @ RECENT\n"
	     "S: a2 OK NOOP completed.\n"
	     "C: a3 FETCH 2 UID\n"
	     "S: * 2 FETCH (UID 3)\n"
	     "S: a3 OK FETCH completed.\n");
	talk_destroy(t);
}

/* Noted, not told yet, and gone. */
static void test_view_forgets_what_went_before_it_was_told(void)
{
	struct talk *t = talk_create();
	struct session *a = t->c[0].s;

	deliver(t, 1);
	talk(t, "C: a1 SELECT INBOX\n" SELECTED("1")
	     "S: a1 OK [READ-WRITE] SELECT completed.\n");
	deliver(t, 2);
	check(view_update(a, NULL) == 0);
	check(set_is(&a->view.arrived, "2:3"));
	talk_remove(t, 1);
	check(view_update(a, NULL) == 0);
	check(set_is(&a->view.arrived, "3"));
	check(uidset_is_empty(&a->view.expunged));
	talk_remove(t, 2);
	talk(t,
	     "C: a2 NOOP\n"
	     "S: a2 OK NOOP completed.\n");
	talk_destroy(t);
}

/* Two changes of the same message: ours, and before the end of the command
 * somebody else's, which is not lost with ours. */
static void test_view_tells_a_change_right_after_ours(void)
{
	struct talk *t = talk_create();
	struct session *a = NULL, *b = NULL;
	struct uidset uids, changed_a, changed_b;
	uint64_t modseq_a, modseq_b;

	deliver(t, 2);
	talk(t,
	     "C: a1 SELECT INBOX\n" SELECTED("2")
	     "S: a1 OK [READ-WRITE] SELECT completed.\n"
	     "c: b1 EXAMINE INBOX\n"
	     "s: * FLAGS (@*\ns: * OK [PERMANENTFLAGS ()] Read-only mailbox.\n"
	     "s: * 2 EXISTS\ns: * @ RECENT\ns: * OK [UIDVALIDITY @] UIDs valid.\n"
	     "s: * OK [UIDNEXT @] Predicted next UID.\ns: * OK [HIGHESTMODSEQ @] Highest.\n"
	     "s: b1 OK [READ-ONLY] EXAMINE completed.\n");
	a = t->c[0].s;
	b = t->c[1].s;
	uidset_init(&uids);
	uidset_init(&changed_a);
	uidset_init(&changed_b);
	check(uidset_add_range(&uids, 1, 2) == 0);
	check(mailbox_store(a->box, &uids, FLAG_ADD, MAIL_FLAGGED, NULL, 0, UINT64_MAX,
			    &changed_a, NULL, NULL, &modseq_a) == 0);
	check(set_is(&changed_a, "1:2"));
	check(uidset_remove_range(&uids, 1, 1) == 0);
	check(mailbox_store(b->box, &uids, FLAG_ADD, MAIL_DRAFT, NULL, 0, UINT64_MAX, &changed_b,
			    NULL, NULL, &modseq_b) == 0);
	check(modseq_b > modseq_a);
	check(view_update_own(a, &changed_a, modseq_a) == 0);
	check(set_is(&a->view.pending, "2"));
	uidset_deinit(&uids);
	uidset_deinit(&changed_a);
	uidset_deinit(&changed_b);
	talk(t,
	     "C: a2 NOOP\n"
	     "S: * 2 FETCH (FLAGS (\\Flagged \\Seen \\Draft))\n"
	     "S: a2 OK NOOP completed.\n");
	talk_destroy(t);
}

/* ---- a client's model ---- */

#define MESSAGES_MAX	4096
#define UNKNOWN		UINT32_MAX
enum { FLAG_NAMES = 8 };
static const char *const flag_names[FLAG_NAMES] = {
	"\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "k0", "k1", "k2",
};

struct model {
	uint32_t uid[MESSAGES_MAX];	/* by number - 1; UNKNOWN */
	uint32_t flags[MESSAGES_MAX];	/* bits of flag_names; UNKNOWN */
	size_t count;
	uint64_t highestmodseq;		/* as RFC 7162 section 6 has it */
	uint64_t code_modseq, seen_modseq;	/* of the command that runs */
	uint32_t uidvalidity;
	bool qresync, selected;
	bool shrank;			/* EXPUNGE or VANISHED in this command */
	bool resync;			/* responses of SELECT (QRESYNC) */
	size_t exists;			/* told during resync */
};
struct world {
	struct talk *t;
	struct model m[2];
	uint64_t seed;
	unsigned step;
	bool wrong;
};

static void wrong(struct world *w, const char *what, const char *line)
{
	if (!w->wrong)
		fprintf(stderr, "\nstep %u: %s: %s\n", w->step, what, line);
	w->wrong = true;
}

static uint32_t parse_flags(const char *line)
{
	const char *p = strstr(line, "FLAGS ("), *end;
	uint32_t flags = 0;

	if (p == NULL)
		return UNKNOWN;
	p += strlen("FLAGS (");
	end = strchr(p, ')');
	while (p < end) {
		size_t len = strcspn(p, " )");

		for (int i = 0; i < FLAG_NAMES; i++) {
			if (strlen(flag_names[i]) == len && strncmp(p, flag_names[i], len) == 0)
				flags |= 1u << i;
		}
		p += len + 1;
	}
	return flags;
}

static void model_remove(struct model *m, size_t i)
{
	m->count--;
	memmove(&m->uid[i], &m->uid[i + 1], (m->count - i) * sizeof(m->uid[0]));
	memmove(&m->flags[i], &m->flags[i + 1], (m->count - i) * sizeof(m->flags[0]));
	m->shrank = true;
}

/* Where a UID is, or would be. */
static size_t model_find(const struct model *m, uint32_t uid)
{
	size_t i = 0;

	while (i < m->count && m->uid[i] < uid)
		i++;
	return i;
}

static void model_vanished(struct world *w, struct model *m, const char *text, bool earlier,
			   const char *line)
{
	struct uidset set;
	struct uidset_iter it;

	uidset_init(&set);
	if (uidset_parse(&set, text, strlen(text), 0, MESSAGES_MAX) < 0)
		wrong(w, "not a set", line);
	for (uint32_t uid = uidset_first(&set, &it); uid != 0; uid = uidset_next(&set, &it)) {
		size_t i = model_find(m, uid);

		if (i < m->count && m->uid[i] == uid)
			model_remove(m, i);
		else if (!earlier)
			wrong(w, "vanished twice", line);
	}
	uidset_deinit(&set);
}

static void model_fetch(struct world *w, struct model *m, size_t seq, const char *line)
{
	const char *uid_text = strstr(line, "UID "), *modseq = strstr(line, "MODSEQ (");
	uint32_t uid = uid_text != NULL ? (uint32_t)strtoul(uid_text + 4, NULL, 10) : 0;
	uint32_t flags = parse_flags(line);

	if (modseq != NULL && strtoull(modseq + 8, NULL, 10) > m->seen_modseq)
		m->seen_modseq = strtoull(modseq + 8, NULL, 10);
	if (m->resync) {	/* a message that is new, or known by UID */
		size_t i = model_find(m, uid);

		if (i == m->count || m->uid[i] != uid) {
			memmove(&m->uid[i + 1], &m->uid[i], (m->count - i) * sizeof(m->uid[0]));
			memmove(&m->flags[i + 1], &m->flags[i],
				(m->count - i) * sizeof(m->flags[0]));
			m->count++;
			m->uid[i] = uid;
		}
		m->flags[i] = flags;
		return;
	}
	if (seq == 0 || seq > m->count) {
		wrong(w, "no such number", line);
		return;
	}
	if (uid != 0 && m->uid[seq - 1] != UNKNOWN && m->uid[seq - 1] != uid)
		wrong(w, "number means another message", line);
	if (uid != 0)
		m->uid[seq - 1] = uid;
	if (flags != UNKNOWN)
		m->flags[seq - 1] = flags;
}

static void model_exists(struct world *w, struct model *m, size_t n, const char *line)
{
	if (m->resync) {
		m->exists = n;
		return;
	}
	if (n < m->count || n > MESSAGES_MAX) {
		wrong(w, "EXISTS shrinks", line);
		return;
	}
	for (; m->count < n; m->count++)
		m->uid[m->count] = m->flags[m->count] = UNKNOWN;
}

static void model_line(struct world *w, struct model *m, const char *line)
{
	const char *code = strstr(line, "[HIGHESTMODSEQ ");
	char word[32] = "";
	size_t n;

	if (code != NULL)
		m->code_modseq = strtoull(code + 15, NULL, 10);
	if (strncmp(line, "* OK [UIDVALIDITY ", 18) == 0)
		m->uidvalidity = (uint32_t)strtoul(line + 18, NULL, 10);
	if (strncmp(line, "* VANISHED (EARLIER) ", 21) == 0)
		model_vanished(w, m, line + 21, true, line);
	else if (strncmp(line, "* VANISHED ", 11) == 0)
		model_vanished(w, m, line + 11, false, line);
	if (sscanf(line, "* %zu %31s", &n, word) != 2)
		return;
	if (strcmp(word, "EXISTS") == 0)
		model_exists(w, m, n, line);
	else if (strcmp(word, "FETCH") == 0)
		model_fetch(w, m, n, line);
	else if (strcmp(word, "EXPUNGE") == 0 && (n == 0 || n > m->count || m->qresync))
		wrong(w, "EXPUNGE of nothing", line);
	else if (strcmp(word, "EXPUNGE") == 0)
		model_remove(m, n - 1);
}

/* Runs a command of client i, and has the model read what comes back. */
static void model_command(struct world *w, int i, const char *command)
{
	struct talk_client *c = &w->t->c[i];
	struct model *m = &w->m[i];
	bool done = false;
	char *line;

	if (getenv("TALK"))
		fprintf(stderr, "%d C: %s\n", i, command);
	m->shrank = false;
	m->code_modseq = m->seen_modseq = 0;
	talk_send(c, command);
	talk_run(c);
	while ((line = talk_take(c)) != NULL) {
		if (getenv("TALK"))
			fprintf(stderr, "%d S: %s\n", i, line);
		done |= strncmp(line, "t ", 2) == 0;
		if (strncmp(line, "t BAD", 5) == 0 || strncmp(line, "* BYE", 5) == 0)
			wrong(w, command, line);
		model_line(w, m, line);
		free(line);
	}
	if (!done)
		wrong(w, "no tagged answer", command);
	if (m->code_modseq != 0)
		m->highestmodseq = m->code_modseq;
	else if (m->seen_modseq > m->highestmodseq)
		m->highestmodseq = m->seen_modseq;
}

static unsigned pick(struct world *w, unsigned n)
{
	return (unsigned)(unit_random(&w->seed) % n);
}

/* A client that wants to know all: asks about what it was told exists. */
static void model_learn(struct world *w, int i)
{
	struct model *m = &w->m[i];
	size_t first = 0;
	char command[64];

	while (first < m->count && m->uid[first] != UNKNOWN)
		first++;
	if (first == m->count)
		return;
	snprintf(command, sizeof(command), "t FETCH %zu:%zu (UID FLAGS)", first + 1, m->count);
	model_command(w, i, command);
	if (m->shrank)
		wrong(w, "EXPUNGE in FETCH", command);
}

static void op_store(struct world *w, int i)
{
	struct model *m = &w->m[i];
	unsigned first = pick(w, (unsigned)m->count), last = first + pick(w, 4), op = pick(w, 3);
	uint32_t flags = 1u << pick(w, FLAG_NAMES);
	bool uid = pick(w, 2);
	char command[256], list[128] = "";

	if (last >= m->count)
		last = (unsigned)m->count - 1;
	if (pick(w, 2))
		flags |= 1u << pick(w, FLAG_NAMES);
	for (int n = 0; n < FLAG_NAMES; n++) {
		if (flags & 1u << n) {
			strcat(list, *list ? " " : "");
			strcat(list, flag_names[n]);
		}
	}
	if (uid && (m->uid[first] == UNKNOWN || m->uid[last] == UNKNOWN))
		return;
	snprintf(command, sizeof(command), "t %sSTORE %u:%u %sFLAGS%s (%s)", uid ? "UID " : "",
		 uid ? m->uid[first] : first + 1, uid ? m->uid[last] : last + 1,
		 op == 0 ? "" : op == 1 ? "+" : "-", pick(w, 2) ? ".SILENT" : "", list);
	/* What .SILENT will not tell. */
	for (unsigned n = first; n <= last; n++) {
		if (m->flags[n] == UNKNOWN)
			continue;
		m->flags[n] = op == 0 ? flags : op == 1 ? m->flags[n] | flags :
			m->flags[n] & ~flags;
	}
	model_command(w, i, command);
	if (m->shrank && !uid)
		wrong(w, "EXPUNGE in STORE", command);
}

static void op_fetch(struct world *w, int i)
{
	static const char *const items[] = { "FLAGS", "(UID FLAGS)", "BODY[TEXT]", "RFC822.SIZE" };
	struct model *m = &w->m[i];
	char command[64];

	snprintf(command, sizeof(command), "t FETCH %u %s", 1 + pick(w, (unsigned)m->count),
		 items[pick(w, 4)]);
	model_command(w, i, command);
	if (m->shrank)
		wrong(w, "EXPUNGE in FETCH", command);
}

/* RFC 7162 3.2.5: away for a while, then only what was missed. */
static void op_resync(struct world *w, int i)
{
	struct model *m = &w->m[i];
	char command[128];

	if (m->selected) {
		model_command(w, i, "t UNSELECT");
		m->selected = false;
		return;
	}
	snprintf(command, sizeof(command), "t SELECT INBOX (QRESYNC (%u %llu))", m->uidvalidity,
		 (unsigned long long)m->highestmodseq);
	m->resync = true;
	model_command(w, i, command);
	m->resync = false;
	m->selected = true;
	if (m->exists != m->count)
		wrong(w, "resync missed messages", command);
}

/* ---- other programs ---- */

/* Takes away a random message's file, or turns its \Flagged round. */
static void op_other_program(struct world *w)
{
	char dir[128], path[512], to[512];
	struct dirent *d;
	unsigned n = 0;
	DIR *all;

	snprintf(dir, sizeof(dir), "%s/Maildir/cur", w->t->dir);
	*path = '\0';
	all = opendir(dir);
	require(all != NULL);
	while ((d = readdir(all)) != NULL) {
		if (d->d_name[0] != '.' && pick(w, ++n) == 0)
			snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
	}
	closedir(all);
	if (*path == '\0')
		return;
	if (pick(w, 2)) {
		check(unlink(path) == 0);
		return;
	}
	if (strstr(path, ":2,F") != NULL) {
		char *flags = strstr(path, ":2,F") + 3;

		snprintf(to, sizeof(to), "%.*s%s", (int)(flags - path), path, flags + 1);
	} else {
		char *flags = strstr(path, ":2,");

		if (flags == NULL || flags[3] == 'D')	/* letters are sorted */
			return;
		snprintf(to, sizeof(to), "%.*s:2,F%s", (int)(flags - path), path, flags + 3);
	}
	check(rename(path, to) == 0);
}

static void world_step(struct world *w)
{
	int i = (int)pick(w, 2);
	struct model *m = &w->m[i];

	switch (pick(w, 12)) {
	case 0:
		talk_deliver(w->t, pick(w, 2) ? "" : "S", "Subject: x\n\nb\n");
		return;
	case 1:
		op_other_program(w);
		return;
	case 2:
		if (m->qresync)
			op_resync(w, i);
		return;
	default:
		break;
	}
	if (!m->selected)
		return;
	switch (pick(w, 8)) {
	case 0:
		model_command(w, i, "t NOOP");
		break;
	case 1:
		model_command(w, i, pick(w, 2) ? "t EXPUNGE" : "t UID EXPUNGE 1:*");
		break;
	case 2:
		model_command(w, i, "t UID SEARCH ALL");
		break;
	case 3:
		talk_send(&w->t->c[i], "t APPEND INBOX (\\Draft k0) {5+}");
		model_command(w, i, "a: b\r");
		break;
	case 4:
	case 5:
		if (m->count > 0)
			op_fetch(w, i);
		break;
	default:
		if (m->count > 0)
			op_store(w, i);
		break;
	}
	if (m->qresync)
		model_learn(w, i);
}

/* ---- the truth ---- */

struct truth {
	struct mailbox *box;
	struct model *m;
	size_t count;
	bool differs;
};

static int truth_row(void *ctx, const struct mail_row *row)
{
	struct truth *tr = ctx;
	const char *const *names;
	uint32_t flags = row->flags;
	size_t n = mailbox_keywords(tr->box, &names);

	for (uint32_t k = 0; k < n; k++) {
		for (int i = 5; i < FLAG_NAMES; i++) {
			if (keyword_set_has(&row->keywords, k) &&
			    strcmp(names[k], flag_names[i]) == 0)
				flags |= 1u << i;
		}
	}
	if (tr->count >= tr->m->count || tr->m->uid[tr->count] != row->uid ||
	    tr->m->flags[tr->count] != flags) {
		if (!tr->differs)
			fprintf(stderr, "\nuid %u flags %x; client: number %zu of %zu, uid %u flags %x\n",
				row->uid, flags, tr->count + 1, tr->m->count,
				tr->m->uid[tr->count], tr->m->flags[tr->count]);
		tr->differs = true;
	}
	tr->count++;
	return 0;
}

static void compare(struct world *w, int i)
{
	struct session *s = w->t->c[i].s;
	struct truth tr = { .m = &w->m[i] };
	struct uidset uids;

	model_command(w, i, "t NOOP");
	model_learn(w, i);
	uidset_init(&uids);
	require(session_store(s, &s->store) == 0);
	require(mailbox_open(s->store, "INBOX", &tr.box) == 0);
	require(mailbox_sync(tr.box) == 0);
	require(mailbox_uids(tr.box, &uids) == 0);
	check(mailbox_rows(tr.box, &uids, false, truth_row, &tr) == 0);
	if (tr.differs || tr.count != w->m[i].count)
		wrong(w, "the client believes something else", i ? "second" : "first");
	uidset_deinit(&uids);
	mailbox_close(&tr.box);
}

static void world_run(uint64_t seed, unsigned steps)
{
	struct world *w = calloc(1, sizeof(*w));

	require(w != NULL);
	w->seed = seed;
	w->t = talk_create();
	deliver(w->t, 5);
	w->m[1].qresync = true;
	model_command(w, 1, "t ENABLE QRESYNC");
	for (int i = 0; i < 2; i++) {
		model_command(w, i, "t SELECT INBOX");
		w->m[i].selected = true;
		model_learn(w, i);
	}
	while (w->step < steps && !w->wrong) {
		w->step++;
		world_step(w);
		if (w->step % 20 != 0)
			continue;
		if (!w->m[1].selected)
			op_resync(w, 1);
		compare(w, 0);
		compare(w, 1);
	}
	check(!w->wrong);
	talk_destroy(w->t);
	free(w);
}

static void test_clients_know_the_truth(void)
{
	uint64_t seed = unit_seed();

	for (int i = 0; i < 8; i++)
		world_run(unit_random(&seed), 300);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_view_parses_sets),
		UNIT_TEST(test_view_maps_numbers_both_ways),
		UNIT_TEST(test_view_tells_expunges_by_number),
		UNIT_TEST(test_view_tells_expunges_as_vanished),
		UNIT_TEST(test_view_keeps_quiet_about_what_came_and_went),
		UNIT_TEST(test_view_forgets_what_went_before_it_was_told),
		UNIT_TEST(test_view_tells_a_change_right_after_ours),
		UNIT_TEST(test_clients_know_the_truth),
	};
	return unit_run("view", tests, UNIT_COUNT(tests));
}
