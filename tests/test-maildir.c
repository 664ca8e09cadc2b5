/* SPDX-License-Identifier: MIT */
/* The mailbox interface on a Maildir: what a session does, what other programs
 * do to the directory meanwhile. */
#include "tests/maildir-util.h"

static const char mail[] = "From: anna\nSubject: hello\n\nbody\n";

static struct mail_store *store;
static struct mailbox *box;

static void begin(void)
{
	top_make();
	store = store_new();
	box = box_new(store, "INBOX");
	require(mailbox_sync(box) == 0);
}

static void end(void)
{
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

static void test_new_files_get_uids_by_time(void)
{
	begin();
	put_file("new/1700000002.M5P1.host", mail);
	put_file("new/1700000001.M9P1.host", mail);
	put_file("cur/1700000002.M10P1.host:2,S", mail);
	put_file("new/1700000002.M4P9.host", mail);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:4");
	struct mail_row row;
	check(mailbox_row(box, 4, &row) == 0 && row.flags == MAIL_SEEN);
	check(mailbox_row(box, 1, &row) == 0 && row.flags == 0);
	end();
}

static void test_empty_mailbox_has_a_modseq(void)
{
	struct mailbox_status st;

	begin();
	check(mailbox_status(box, true, &st) == 0);
	check(st.messages == 0 && st.uidnext == 1 && st.highestmodseq > UINT64_C(1600000000000000));
	check(st.uidvalidity != 0 && st.size == 0);
	end();
}

static void test_unchanged_sync_changes_nothing(void)
{
	uint64_t modseq;

	begin();
	put_file("new/1700000001.M1P1.host", mail);
	check(mailbox_sync(box) == 0);
	modseq = mailbox_highestmodseq(box);
	for (int i = 0; i < 3; i++) {
		check(mailbox_sync(box) == 0);
		age_dirs(".");
	}
	check(mailbox_highestmodseq(box) == modseq);
	check_str(changed_since(box, modseq), "");
	check_str(changed_since(box, modseq - 1), "1");
	end();
}

static void test_foreign_flag_change_gets_a_modseq(void)
{
	uint64_t before;
	struct mail_row row;

	begin();
	put_file("cur/1700000001.M1P1.host:2,", mail);
	put_file("cur/1700000002.M1P1.host:2,", mail);
	check(mailbox_sync(box) == 0);
	before = mailbox_highestmodseq(box);
	move_file("cur/1700000002.M1P1.host:2,", "cur/1700000002.M1P1.host:2,FS");
	check(mailbox_sync(box) == 0);
	check(mailbox_highestmodseq(box) > before);
	check_str(changed_since(box, before), "2");
	check(mailbox_row(box, 2, &row) == 0 && row.flags == (MAIL_SEEN | MAIL_FLAGGED));
	check(row.modseq == mailbox_highestmodseq(box));
	end();
}

static void test_move_to_cur_is_no_change(void)
{
	uint64_t before;

	begin();
	put_file("new/1700000001.M1P1.host", mail);
	check(mailbox_sync(box) == 0);
	before = mailbox_highestmodseq(box);
	move_file("new/1700000001.M1P1.host", "cur/1700000001.M1P1.host:2,");
	check(mailbox_sync(box) == 0);
	check(mailbox_highestmodseq(box) == before);
	check_str(box_uids(box), "1");
	/* And it is found under its new name. */
	check_str(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), "1");
	end();
}

static void test_vanished_file_is_expunged_for_good(void)
{
	uint64_t before;
	struct mail_row row;
	bool complete;

	begin();
	put_file("cur/1700000001.M1P1.host:2,S", mail);
	put_file("cur/1700000002.M1P1.host:2,", mail);
	check(mailbox_sync(box) == 0);
	before = mailbox_highestmodseq(box);
	remove_file("cur/1700000001.M1P1.host:2,S");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "2");
	check_str(vanished_since(box, before, &complete), "1");
	check(complete);
	check(mailbox_row(box, 1, &row) == MAILBOX_E_EXPUNGED && row.uid == 1 &&
	      row.flags == MAIL_SEEN);
	/* Should it come back, it is another message, even for a new index. */
	put_file("cur/1700000001.M1P1.host:2,S", mail);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "2:3");
	remove_index();
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "2:3");
	end();
}

static void test_store_renames_and_counts(void)
{
	struct mailbox_status st;
	struct mail_row row;
	uint64_t before;

	begin();
	put_file("new/1700000001.M1P1.host", mail);
	put_file("cur/1700000002.M1P1.host:2,XS", mail);
	check(mailbox_sync(box) == 0);
	check(mailbox_status(box, false, &st) == 0 && st.unseen == 1 && st.messages == 2);
	before = st.highestmodseq;
	check_str(store_flags(box, "1:2", FLAG_ADD, MAIL_SEEN), "1");
	check_str(changed_since(box, before), "1");
	check_str(store_flags(box, "1:2", FLAG_ADD, MAIL_SEEN), "");
	check_str(store_flags(box, "2", FLAG_SET, MAIL_DELETED), "2");
	check(mailbox_status(box, false, &st) == 0 && st.unseen == 1 && st.deleted == 1);
	/* Letters nobody knows stay. */
	check(remove_file("cur/1700000002.M1P1.host:2,TX") == 0);
	check(remove_file("cur/1700000001.M1P1.host:2,S") == 0);
	check(mailbox_sync(box) == 0);
	check(mailbox_row(box, 2, &row) == MAILBOX_E_EXPUNGED);
	end();
}

static void test_store_finds_a_renamed_file(void)
{
	struct mail_row row;

	begin();
	put_file("cur/1700000001.M1P1.host:2,", mail);
	check(mailbox_sync(box) == 0);
	move_file("cur/1700000001.M1P1.host:2,", "cur/1700000001.M1P1.host:2,F");
	check_str(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), "1");
	check(mailbox_row(box, 1, &row) == 0 && row.flags == (MAIL_SEEN | MAIL_FLAGGED));
	/* Gone altogether: said to be gone, not an error. */
	remove_file("cur/1700000001.M1P1.host:2,FS");
	struct uidset set = set_of("1,7"), changed, gone;
	uidset_init(&changed);
	uidset_init(&gone);
	check(mailbox_store(box, &set, FLAG_ADD, MAIL_DRAFT, NULL, 0, UINT64_MAX, &changed, NULL,
			    &gone, NULL) == 0);
	check_str(set_text(&changed), "");
	check_str(set_text(&gone), "1");
	uidset_deinit(&set);
	uidset_deinit(&changed);
	uidset_deinit(&gone);
	end();
}

static void test_store_unchanged_since(void)
{
	struct uidset set = set_of("1:2"), changed, modified;
	uint64_t before, modseq = 1;

	begin();
	uidset_init(&changed);
	uidset_init(&modified);
	append_text(store, "INBOX", mail, 0);
	append_text(store, "INBOX", mail, 0);
	check(mailbox_sync(box) == 0);
	before = mailbox_highestmodseq(box);
	check_str(store_flags(box, "2", FLAG_ADD, MAIL_FLAGGED), "2");
	check(mailbox_store(box, &set, FLAG_ADD, MAIL_SEEN, NULL, 0, before, &changed, &modified,
			    NULL, &modseq) == 0);
	check_str(set_text(&changed), "1");
	check_str(set_text(&modified), "2");
	check(modseq == mailbox_highestmodseq(box) && modseq > before + 1);
	uidset_deinit(&set);
	uidset_deinit(&changed);
	uidset_deinit(&modified);
	end();
}

static void test_expunge_takes_only_deleted(void)
{
	uint64_t before;
	bool complete;

	begin();
	for (int i = 0; i < 5; i++)
		append_text(store, "INBOX", mail, i == 1 || i == 3 ? MAIL_DELETED : 0);
	check(mailbox_sync(box) == 0);
	before = mailbox_highestmodseq(box);
	check_str(expunge(box, "1:3"), "2");
	check_str(expunge(box, "1:4294967295"), "4");
	check_str(expunge(box, "1:4294967295"), "");
	check_str(box_uids(box), "1,3,5");
	check_str(vanished_since(box, before, &complete), "2,4");
	check_str(vanished_since(box, before + 1, &complete), "4");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,3,5");
	check(mailbox_uidnext(box) == 6);
	end();
}

static void test_keywords_live_in_names_and_beyond(void)
{
	char name[32];
	uint32_t n, numbers[40];
	struct uidset set = set_of("1"), changed;
	struct mail_row row;
	const char *const *names;

	begin();
	append_text(store, "INBOX", mail, 0);
	for (uint32_t i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "Label%u", i);
		check(mailbox_keyword(box, name, false, &n) == MAILBOX_E_NONEXISTENT);
		check(mailbox_keyword(box, name, true, &numbers[i]) == 0 && numbers[i] == i);
	}
	check(mailbox_keyword(box, "LABEL39", true, &n) == 0 && n == 39);
	uidset_init(&changed);
	check(mailbox_store(box, &set, FLAG_ADD, 0, numbers, 40, UINT64_MAX, &changed, NULL, NULL,
			    NULL) == 0);
	check(mailbox_store(box, &set, FLAG_REMOVE, 0, numbers + 38, 1, UINT64_MAX, &changed, NULL,
			    NULL, NULL) == 0);
	for (int round = 0; round < 2; round++) {
		check(mailbox_row(box, 1, &row) == 0);
		for (uint32_t i = 0; i < 40; i++)
			check_row(keyword_set_has(&row.keywords, i) == (i != 38), i);
		check(!keyword_set_has(&row.keywords, 64));
		/* Those without a letter outlive the index too. */
		mailbox_close(&box);
		remove_index();
		box = box_new(store, "INBOX");
		check(mailbox_sync(box) == 0);
	}
	check(mailbox_keywords(box, &names) == 40);
	check_str(names[39], "Label39");
	uidset_deinit(&set);
	uidset_deinit(&changed);
	end();
}

static void test_foreign_letters_get_no_meaning(void)
{
	struct mail_row row;
	uint32_t n;

	begin();
	put_file("cur/1700000001.M1P1.host:2,Sab", mail);
	check(mailbox_sync(box) == 0);
	check(mailbox_row(box, 1, &row) == 0 && row.keywords.words == NULL);
	check(mailbox_keyword(box, "$Junk", true, &n) == 0 && n == 0);
	check(mailbox_sync(box) == 0);
	check(mailbox_row(box, 1, &row) == 0 && !keyword_set_has(&row.keywords, 0));
	check_str(store_flags(box, "1", FLAG_SET, 0), "1");
	check(remove_file("cur/1700000001.M1P1.host:2,ab") == 0);
	end();
}

static void test_recent_is_claimed_once(void)
{
	struct mailbox *other;
	struct uidset recent;
	struct mailbox_status st;

	begin();
	uidset_init(&recent);
	put_file("new/1700000001.M1P1.host", mail);
	put_file("new/1700000002.M1P1.host", mail);
	check(mailbox_sync(box) == 0);
	check(mailbox_status(box, false, &st) == 0 && st.recent == 2);
	check(mailbox_claim_recent(box, false, &recent) == 0);
	check_str(set_text(&recent), "1:2");
	check(mailbox_claim_recent(box, true, &recent) == 0);
	check_str(set_text(&recent), "1:2");
	other = box_new(store, "INBOX");
	check(mailbox_claim_recent(other, true, &recent) == 0);
	check_str(set_text(&recent), "");
	mailbox_close(&other);
	uidset_deinit(&recent);
	end();
}

static void test_odd_names_are_ignored_or_kept(void)
{
	begin();
	put_file("cur/.hidden", mail);
	put_file("cur/with\nline", mail);
	put_file("cur/1700000001.plain", mail);
	put_file("cur/1700000002.x:1,S", mail);
	put_file("cur/1700000003.x:2,S,extra", mail);
	put_file("new/no-time-at-all", mail);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:4");
	check_str(store_flags(box, "1:4", FLAG_ADD, MAIL_FLAGGED), "1:4");
	check(remove_file("cur/1700000003.x:2,FS,extra") == 0);
	check(remove_file("cur/no-time-at-all:2,F") == 0);
	check(remove_file("cur/1700000001.plain:2,F") == 0);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "3");
	end();
}

static void test_duplicate_base_becomes_two_messages(void)
{
	char a[3 * PATH_MAX], b[3 * PATH_MAX];

	begin();
	put_file("new/1700000001.M1P1.host", "new\n");
	put_file("cur/1700000001.M1P1.host:2,S", "cur\n");
	for (int i = 0; i < 3; i++)
		check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:2");
	/* Two links to one file are one message. */
	put_file("new/1700000009.M1P1.host", "new\n");
	snprintf(a, sizeof(a), "%s/new/1700000009.M1P1.host", mail_dir);
	snprintf(b, sizeof(b), "%s/cur/1700000009.M1P1.host:2,", mail_dir);
	check(link(a, b) == 0);
	for (int i = 0; i < 3; i++)
		check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:3");
	/* Also when only new/ needs to be looked at. */
	check_str(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), "1");
	for (int i = 0; i < 2; i++) {
		age_dirs(".");
		check(mailbox_sync(box) == 0);
	}
	put_file("new/1700000001.M1P1.host", "again\n");
	for (int i = 0; i < 3; i++)
		check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:4");
	end();
}

static void test_full_new_is_emptied(void)
{
	char name[64];
	uint64_t before;

	begin();
	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "new/%d.M1P1.host", 1700000000 + i);
		put_file(name, mail);
	}
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:150");
	before = mailbox_highestmodseq(box);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:150");
	check(mailbox_highestmodseq(box) == before);
	check(remove_file("cur/1700000149.M1P1.host:2,") == 0);
	end();
}

static void test_index_may_vanish_under_an_open_mailbox(void)
{
	uint64_t before;
	bool complete = true;

	begin();
	for (int i = 0; i < 4; i++)
		append_text(store, "INBOX", mail, MAIL_SEEN);
	check_str(store_flags(box, "2", FLAG_ADD, MAIL_DELETED), "2");
	check_str(expunge(box, "2"), "2");
	before = mailbox_highestmodseq(box);
	remove_index();
	check_str(box_uids(box), "1,3:4");
	check(mailbox_highestmodseq(box) > before);
	check_str(vanished_since(box, before, &complete), "");
	check(!complete);
	check_str(changed_since(box, before), "1,3:4");
	remove_index();
	check_str(store_flags(box, "3", FLAG_ADD, MAIL_FLAGGED), "3");
	remove_index();
	check(append_text(store, "INBOX", mail, 0) == 5);
	check_str(box_uids(box), "1,3:5");
	end();
}

static void test_damaged_index_is_rebuilt(void)
{
	char path[3 * PATH_MAX];
	FILE *f;

	begin();
	for (int i = 0; i < 3; i++)
		append_text(store, "INBOX", mail, 0);
	mailbox_close(&box);
	mail_store_close(&store);
	snprintf(path, sizeof(path), "%s/index.db-wal", index_dir);
	remove(path);
	snprintf(path, sizeof(path), "%s/index.db", index_dir);
	f = fopen(path, "w");
	require(f != NULL);
	for (int i = 0; i < 5000; i++)
		fprintf(f, "this is no database\n");
	fclose(f);
	store = store_new();
	box = box_new(store, "INBOX");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:3");
	check(append_text(store, "INBOX", mail, 0) == 4);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_new_files_get_uids_by_time),
		UNIT_TEST(test_empty_mailbox_has_a_modseq),
		UNIT_TEST(test_unchanged_sync_changes_nothing),
		UNIT_TEST(test_foreign_flag_change_gets_a_modseq),
		UNIT_TEST(test_move_to_cur_is_no_change),
		UNIT_TEST(test_vanished_file_is_expunged_for_good),
		UNIT_TEST(test_store_renames_and_counts),
		UNIT_TEST(test_store_finds_a_renamed_file),
		UNIT_TEST(test_store_unchanged_since),
		UNIT_TEST(test_expunge_takes_only_deleted),
		UNIT_TEST(test_keywords_live_in_names_and_beyond),
		UNIT_TEST(test_foreign_letters_get_no_meaning),
		UNIT_TEST(test_recent_is_claimed_once),
		UNIT_TEST(test_odd_names_are_ignored_or_kept),
		UNIT_TEST(test_duplicate_base_becomes_two_messages),
		UNIT_TEST(test_full_new_is_emptied),
		UNIT_TEST(test_index_may_vanish_under_an_open_mailbox),
		UNIT_TEST(test_damaged_index_is_rebuilt),
	};
	return unit_run("maildir", tests, UNIT_COUNT(tests));
}
