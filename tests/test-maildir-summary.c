/* SPDX-License-Identifier: MIT */
/* The sets of UIDs that are kept for large mailboxes say what the rows say. */
#include <sqlite3.h>

#include "tests/maildir-util.h"

#define MESSAGES	(MAILBOX_LARGE + 50)

static const enum mail_flag flags[] = { MAIL_ANSWERED, MAIL_FLAGGED, MAIL_DELETED, MAIL_SEEN,
					MAIL_DRAFT };

struct model {
	enum mail_flag flag;
	struct uidset has, lacks;
};

static int model_row(void *ctx, const struct mail_row *row)
{
	struct model *m = ctx;

	return uidset_add(row->flags & m->flag ? &m->has : &m->lacks, row->uid);
}

static bool same(const struct uidset *a, const struct uidset *b)
{
	return a->count == b->count &&
	       (a->count == 0 || !memcmp(a->ranges, b->ranges, a->count * sizeof(a->ranges[0])));
}

static void check_flag(struct mailbox *box, enum mail_flag flag, unsigned step)
{
	struct model m = { .flag = flag };
	struct uidset all, uids;
	uint32_t first;

	uidset_init(&uids);
	uidset_init(&all);
	check(uidset_add_range(&all, 1, UINT32_MAX) == 0);
	check_row(mailbox_rows(box, &all, false, model_row, &m) == 0, step);
	/* Before the sets are asked for, since that mends them. */
	if (flag == MAIL_SEEN)
		check_row(mailbox_first_unseen(box, &first) == 0 &&
			  first == uidset_nth(&m.lacks, 0), step);
	check_row(mailbox_uids_by_flag(box, flag, true, &uids) == 0 && same(&uids, &m.has), step);
	check_row(mailbox_uids_by_flag(box, flag, false, &uids) == 0 && same(&uids, &m.lacks), step);
	check_row(uidset_add_set(&m.has, &m.lacks) == 0, step);
	check_row(mailbox_uids(box, &uids) == 0 && same(&uids, &m.has), step);
	uidset_deinit(&m.has);
	uidset_deinit(&m.lacks);
	uidset_deinit(&uids);
	uidset_deinit(&all);
}

static void check_all(struct mailbox *box, unsigned step)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		check_flag(box, flags[i], step);
}

static struct mailbox *large_box(struct mail_store *store)
{
	static const char *const infos[] = { "", "S", "FS", "RS", "DST" };
	struct mailbox *box = box_new(store, "INBOX");

	for (int i = 1; i <= MESSAGES; i++) {
		char path[64];

		snprintf(path, sizeof(path), "cur/%d.M%dP1.host:2,%s", 1700000000 + i, i,
			 infos[(unsigned)i * 7 % 5]);
		put_file(path, "Subject: x\n\ny\n");
	}
	check(mailbox_sync(box) == 0);
	return box;
}

static void db_exec(const char *sql)
{
	char path[PATH_MAX + 64];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/index.db", index_dir);
	check(sqlite3_open(path, &db) == SQLITE_OK);
	check(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
	sqlite3_close(db);
}

/* Of one session the flags, of the other the expunges; both look now and then, so that sets of
 * all ages are met. */
static void test_sets_follow_every_change(void)
{
	static const enum flag_op ops[] = { FLAG_ADD, FLAG_REMOVE, FLAG_SET };
	struct mail_store *store, *other;
	struct mailbox *box, *box2;
	unsigned seed = 12345;

	top_make();
	store = store_new();
	other = store_new();
	box = large_box(store);
	box2 = box_new(other, "INBOX");
	for (unsigned step = 0; step < 40; step++) {
		char set[64], set2[64];
		unsigned at, n;

		seed = seed * 1103515245 + 12345;
		at = seed / 65536 % MESSAGES + 1;
		n = step % 8 == 7 ? 300 : seed / 1024 % 20;
		snprintf(set, sizeof(set), "%u:%u", at, at + n);
		snprintf(set2, sizeof(set2), "%u", at + n / 2);
		store_flags(box, set, ops[step % 3], (uint32_t)flags[seed / 4096 % 5]);
		if (step % 4 == 3) {
			check(mailbox_sync(box2) == 0);
			store_flags(box2, set2, FLAG_ADD, MAIL_DELETED);
			expunge(box2, set2);
		}
		if (step % 5 == 4)
			append_text(other, "INBOX", "Subject: new\n\nx\n", MAIL_FLAGGED);
		check(mailbox_sync(step % 2 ? box : box2) == 0);
		check_all(step % 2 ? box : box2, step);
	}
	mailbox_close(&box);
	mailbox_close(&box2);
	mail_store_close(&store);
	mail_store_close(&other);
	top_remove();
}

static void test_what_is_of_no_use_is_made_anew(void)
{
	static const char *const harm[] = {
		"UPDATE summaries SET data = x'ffffffffffff'",
		"UPDATE summaries SET data = NULL, modseq = 1",
		"UPDATE summaries SET modseq = 0, data = x''",
		"UPDATE summaries SET modseq = 9223372036854775807, data = x''",
		("UPDATE mailboxes SET history = highestmodseq; UPDATE summaries SET"
		 " modseq = modseq - 1, data = x''"),
		"DELETE FROM summaries",
		"DROP TABLE summaries; PRAGMA user_version = 2",
		"DROP TABLE summaries; DROP TABLE cache; PRAGMA user_version = 1",
	};
	struct mail_store *store;
	struct mailbox *box;
	uint64_t modseq;

	top_make();
	store = store_new();
	box = large_box(store);
	check_all(box, 0);
	modseq = mailbox_highestmodseq(box);
	for (unsigned i = 0; i < sizeof(harm) / sizeof(harm[0]); i++) {
		mailbox_close(&box);
		mail_store_close(&store);
		db_exec(harm[i]);
		store = store_new();
		box = box_new(store, "INBOX");
		check(mailbox_sync(box) == 0);
		check_all(box, i);
		check_row(mailbox_highestmodseq(box) == modseq, i);
	}
	mailbox_close(&box);
	mail_store_close(&store);
	remove_index();
	store = store_new();
	box = box_new(store, "INBOX");
	check(mailbox_sync(box) == 0);
	check_all(box, 99);
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_sets_follow_every_change),
		UNIT_TEST(test_what_is_of_no_use_is_made_anew),
	};

	return unit_run("maildir-summary", tests, UNIT_COUNT(tests));
}
