/* SPDX-License-Identifier: MIT */
/* What is computed of messages and kept in the index beside them. */
#include <sqlite3.h>

#include "tests/maildir-util.h"

struct found {
	char text[1024];
	int stop_at;
};

static int on_row(void *ctx, uint32_t uid, const void *data, size_t len)
{
	struct found *f = ctx;
	size_t at = strlen(f->text);

	snprintf(f->text + at, sizeof(f->text) - at, "%u=%.*s ", uid, (int)len, (const char *)data);
	return f->stop_at == (int)uid ? 7 : 0;
}

/* "uid=data uid=data " */
static const char *cached(struct mailbox *box, const char *set_text, enum mail_cache what)
{
	static struct found f;
	struct uidset set = set_of(set_text);

	f = (struct found){ .stop_at = 0 };
	check(mailbox_cache_rows(box, &set, what, on_row, &f) == 0);
	uidset_deinit(&set);
	return f.text;
}

static void put(struct mailbox *box, uint32_t uid, enum mail_cache what, const char *data)
{
	check(mailbox_cache_put(box, uid, what, data, data ? strlen(data) : 0) == 0);
}

static struct mailbox *box_of(struct mail_store *store, int messages)
{
	struct mailbox *box = box_new(store, "INBOX");

	for (int i = 1; i <= messages; i++) {
		char path[64];

		snprintf(path, sizeof(path), "cur/%d.M%dP1.host:2,", 1700000000 + i, i);
		put_file(path, "Subject: x\n\ny\n");
	}
	check(mailbox_sync(box) == 0);
	return box;
}

static void test_what_was_put_is_found_again(void)
{
	struct mail_store *store;
	struct mailbox *box, *other;
	struct found f = { .stop_at = 2 };
	struct uidset set;

	top_make();
	store = store_new();
	box = box_of(store, 5);
	put(box, 4, MAIL_CACHE_ENVELOPE, "four");
	put(box, 2, MAIL_CACHE_ENVELOPE, "two");
	put(box, 2, MAIL_CACHE_STRUCTURE, "(two)");
	put(box, 3, MAIL_CACHE_ENVELOPE, NULL);
	/* gathered, and still found */
	check_str(cached(box, "1:5", MAIL_CACHE_ENVELOPE), "2=two 4=four ");
	put(box, 2, MAIL_CACHE_ENVELOPE, "TWO");
	check(mailbox_cache_flush(box) == 0);
	check(mailbox_cache_flush(box) == 0);
	check_str(cached(box, "1:2,4", MAIL_CACHE_ENVELOPE), "2=TWO 4=four ");
	check_str(cached(box, "3", MAIL_CACHE_ENVELOPE), "");
	check_str(cached(box, "1:5", MAIL_CACHE_STRUCTURE), "2=(two) ");
	/* another session */
	other = box_new(store, "INBOX");
	check_str(cached(other, "1:5", MAIL_CACHE_ENVELOPE), "2=TWO 4=four ");
	mailbox_close(&other);
	/* it ends when the function says so, with its answer */
	set = set_of("1:5");
	check(mailbox_cache_rows(box, &set, MAIL_CACHE_ENVELOPE, on_row, &f) == 7);
	check_str(f.text, "2=TWO ");
	uidset_deinit(&set);
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

static void test_close_writes_what_was_gathered(void)
{
	struct mail_store *store;
	struct mailbox *box;

	top_make();
	store = store_new();
	box = box_of(store, 2);
	put(box, 1, MAIL_CACHE_ENVELOPE, "one");
	mailbox_close(&box);
	box = box_new(store, "INBOX");
	check_str(cached(box, "1:2", MAIL_CACHE_ENVELOPE), "1=one ");
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

static void test_more_than_is_gathered(void)
{
	static char large[300000];
	struct mail_store *store;
	struct mailbox *box;
	struct uidset set = set_of("1:1000");
	size_t n = 0;

	top_make();
	store = store_new();
	box = box_of(store, 1000);
	for (uint32_t uid = 1; uid <= 1000; uid++) {
		char text[16];

		snprintf(text, sizeof(text), "e%u", uid);
		put(box, uid, MAIL_CACHE_ENVELOPE, text);
	}
	memset(large, 'x', sizeof(large));
	for (uint32_t uid = 1; uid <= 20; uid++)
		check(mailbox_cache_put(box, uid, MAIL_CACHE_STRUCTURE, large, sizeof(large)) == 0);
	check_str(cached(box, "1:2,767:770,999:1000", MAIL_CACHE_ENVELOPE),
		  "1=e1 2=e2 767=e767 768=e768 769=e769 770=e770 999=e999 1000=e1000 ");
	for (uint32_t uid = 1; uid <= 20; uid++) {
		char one[16];

		snprintf(one, sizeof(one), "%u", uid);
		n += strlen(cached(box, one, MAIL_CACHE_STRUCTURE)) > 1000;
	}
	check(n == 20);
	uidset_deinit(&set);
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

static void test_it_goes_with_the_message(void)
{
	struct mail_store *store;
	struct mailbox *box, *other;

	top_make();
	store = store_new();
	box = box_of(store, 3);
	for (uint32_t uid = 1; uid <= 3; uid++)
		put(box, uid, MAIL_CACHE_ENVELOPE, "e");
	check(mailbox_cache_flush(box) == 0);
	check(remove_file("cur/1700000002.M2P1.host:2,") == 0);
	check(mailbox_sync(box) == 0);
	check_str(cached(box, "1:3", MAIL_CACHE_ENVELOPE), "1=e 3=e ");
	/* computed by one session while another expunges it */
	other = box_new(store, "INBOX");
	check_str(cached(other, "1:3", MAIL_CACHE_ENVELOPE), "1=e 3=e ");
	put(other, 3, MAIL_CACHE_STRUCTURE, "s");
	check(remove_file("cur/1700000003.M3P1.host:2,") == 0);
	check(mailbox_sync(box) == 0);
	check(mailbox_cache_flush(other) == 0);
	check_str(cached(box, "1:3", MAIL_CACHE_STRUCTURE), "");
	check_str(cached(box, "1:3", MAIL_CACHE_ENVELOPE), "1=e ");
	mailbox_close(&other);
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

static void test_what_is_for_a_mailbox_that_went_is_dropped(void)
{
	struct mail_store *store, *second;
	struct mailbox *box, *next;

	top_make();
	store = store_new();
	second = store_new();
	check(mail_store_create(store, "a") == 0);
	box = box_new(store, "a");
	put_file(".a/cur/1700000001.M1P1.host:2,", "\nx\n");
	check(mailbox_sync(box) == 0);
	put(box, 1, MAIL_CACHE_ENVELOPE, "of the old one");
	check(mail_store_delete(second, "a") == 0);
	/* most likely with the number of the old one in the index */
	check(mail_store_create(second, "b") == 0);
	next = box_new(second, "b");
	put_file(".b/cur/1700000001.M1P1.host:2,", "\nx\n");
	check(mailbox_sync(next) == 0);
	mailbox_cache_flush(box);
	check_str(cached(next, "1", MAIL_CACHE_ENVELOPE), "");
	mailbox_close(&next);
	mailbox_close(&box);
	mail_store_close(&second);
	mail_store_close(&store);
	top_remove();
}

static void test_a_lost_index_is_an_empty_cache(void)
{
	struct mail_store *store;
	struct mailbox *box;

	top_make();
	store = store_new();
	box = box_of(store, 2);
	put(box, 1, MAIL_CACHE_ENVELOPE, "one");
	check(mailbox_cache_flush(box) == 0);
	put(box, 2, MAIL_CACHE_ENVELOPE, "two");
	remove_index();
	check_str(cached(box, "1:2", MAIL_CACHE_ENVELOPE), "");
	put(box, 2, MAIL_CACHE_ENVELOPE, "two");
	check_str(cached(box, "1:2", MAIL_CACHE_ENVELOPE), "2=two ");
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
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

static void test_an_index_from_before_gets_the_table(void)
{
	struct mail_store *store;
	struct mailbox *box;
	uint64_t modseq;

	top_make();
	store = store_new();
	box = box_of(store, 2);
	modseq = mailbox_highestmodseq(box);
	mailbox_close(&box);
	mail_store_close(&store);
	db_exec("DROP TABLE cache; DROP TABLE summaries; PRAGMA user_version = 1");
	store = store_new();
	box = box_new(store, "INBOX");
	check(mailbox_sync(box) == 0);
	/* not made anew, which would have given new MODSEQs */
	check(mailbox_highestmodseq(box) == modseq);
	put(box, 1, MAIL_CACHE_ENVELOPE, "one");
	check_str(cached(box, "1:2", MAIL_CACHE_ENVELOPE), "1=one ");
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

static void test_sizes_learned_are_kept(void)
{
	struct mail_store *store;
	struct mailbox *box;
	struct mail_reader *r;
	struct mail_row row;

	top_make();
	store = store_new();
	box = box_of(store, 1);
	check(mailbox_row(box, 1, &row) == 0 && !row.size_known);
	require(mailbox_read_open(box, 1, &r) == 0);
	mail_reader_learn(r, 14, 17);
	mail_reader_learn(r, 1, 2);	/* known already */
	mail_reader_close(&r);
	check(mailbox_cache_flush(box) == 0);
	check(mailbox_row(box, 1, &row) == 0 && row.size_known && row.size == 17);
	mailbox_close(&box);
	mail_store_close(&store);
	top_remove();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_what_was_put_is_found_again),
		UNIT_TEST(test_close_writes_what_was_gathered),
		UNIT_TEST(test_more_than_is_gathered),
		UNIT_TEST(test_it_goes_with_the_message),
		UNIT_TEST(test_what_is_for_a_mailbox_that_went_is_dropped),
		UNIT_TEST(test_a_lost_index_is_an_empty_cache),
		UNIT_TEST(test_an_index_from_before_gets_the_table),
		UNIT_TEST(test_sizes_learned_are_kept),
	};

	return unit_run("maildir-cache", tests, UNIT_COUNT(tests));
}
