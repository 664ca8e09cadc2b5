/* SPDX-License-Identifier: MIT */
/* All mailboxes of a user: LIST, CREATE, DELETE, RENAME; mailboxes that other
 * programs move about; a Maildir that Dovecot served. */
#include "tests/maildir-util.h"

static const char mail[] = "From: anna\r\n\r\nbody\r\n";

static struct mail_store *store;

static void begin(void)
{
	top_make();
	store = store_new();
}

static void end(void)
{
	mail_store_close(&store);
	top_remove();
}

static int list_one(void *ctx, const struct mailbox_info *info)
{
	buf_printf(ctx, "%s%s%s;", info->name, info->noselect ? "!" : "",
		   info->has_children ? "+" : "");
	return 0;
}

static const char *list_all(void)
{
	static char out[4096];
	struct buf b;

	buf_init(&b, sizeof(out) - 1);
	if (mail_store_list(store, list_one, &b) != 0)
		return "error";
	snprintf(out, sizeof(out), "%.*s", (int)b.len, (char *)b.data);
	buf_deinit(&b);
	return out;
}

static void test_list_knows_parents_and_children(void)
{
	begin();
	check_str(list_all(), "INBOX;");
	check(mail_store_create(store, "b.c.d") == 0);
	check(mail_store_create(store, "a-b") == 0);
	check(mail_store_create(store, "a") == 0);
	check(mail_store_create(store, "a.z.") == 0);
	check(mail_store_create(store, "inbox.sub") == 0);
	check(mail_store_create(store, "Entw\xc3\xbcrfe & mehr") == 0);
	check_str(list_all(), "INBOX+;Entw\xc3\xbcrfe & mehr;INBOX.sub;a+;a.z;a-b;b!+;b.c!+;b.c.d;");
	end();
}

static void test_create_refuses(void)
{
	static const struct {
		const char *name;
		int rc;
	} rows[] = {
		{ "", MAILBOX_E_NAME }, { ".", MAILBOX_E_NAME }, { ".a", MAILBOX_E_NAME },
		{ "a..b", MAILBOX_E_NAME }, { "a/b", MAILBOX_E_NAME }, { "..", MAILBOX_E_NAME },
		{ "a\nb", MAILBOX_E_NAME }, { "\xff", MAILBOX_E_NAME }, { "a*", 0 },
		{ "100%", 0 },	/* RFC 9051 5.1: valid, if hard to LIST */
		{ "InBoX", MAILBOX_E_EXISTS }, { "there", MAILBOX_E_EXISTS },
		{ "dormouse", MAILBOX_E_NAME },	/* where the index is */
	};
	char name[400];
	struct mailbox *box;

	begin();
	check(mail_store_create(store, "there") == 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(mail_store_create(store, rows[i].name) == rows[i].rc, i);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	check(mail_store_create(store, name) == MAILBOX_E_NAME);
	check(mailbox_open(store, "nowhere", &box) == MAILBOX_E_NONEXISTENT);
	check(mailbox_open(store, "../Maildir", &box) == MAILBOX_E_NONEXISTENT);
	check_str(list_all(), "INBOX;100%;a*;there;");
	end();
}

static void test_deleted_mailbox_is_gone_for_those_who_have_it(void)
{
	struct mailbox *box, *again;
	uint32_t uidvalidity;
	uint8_t id[16];

	begin();
	check(mail_store_create(store, "a") == 0);
	check(mail_store_create(store, "a.b") == 0);
	append_text(store, "a", mail, 0);
	box = box_new(store, "a");
	check(mailbox_sync(box) == 0);
	uidvalidity = mailbox_uidvalidity(box);
	memcpy(id, mailbox_id(box), 16);
	check(mail_store_delete(store, "INBOX") == MAILBOX_E_NAME);
	check(mail_store_delete(store, "nowhere") == MAILBOX_E_NONEXISTENT);
	check(mail_store_delete(store, "a") == 0);
	check(mail_store_delete(store, "a") == MAILBOX_E_NONEXISTENT);
	check(mailbox_sync(box) == MAILBOX_E_GONE);
	check_str(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), mailbox_strerror(MAILBOX_E_GONE));
	check(mailbox_open_id(store, id, "a", &again) == MAILBOX_E_NONEXISTENT);
	check_str(list_all(), "INBOX;a!+;a.b;");
	/* The same name again is another mailbox. */
	check(mail_store_create(store, "a") == 0);
	check(mailbox_sync(box) == MAILBOX_E_GONE);
	again = box_new(store, "a");
	check(mailbox_sync(again) == 0);
	check(mailbox_uidvalidity(again) > uidvalidity && memcmp(mailbox_id(again), id, 16) != 0);
	check_str(box_uids(again), "");
	mailbox_close(&again);
	mailbox_close(&box);
	end();
}

static void test_directory_removed_by_others_is_gone(void)
{
	struct mailbox *box;
	char path[3 * PATH_MAX];

	begin();
	check(mail_store_create(store, "a") == 0);
	box = box_new(store, "a");
	check(mailbox_sync(box) == 0);
	snprintf(path, sizeof(path), "%s/.a", mail_dir);
	nftw(path, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	check(mailbox_sync(box) == MAILBOX_E_GONE);
	mailbox_close(&box);
	end();
}

static void test_open_mailbox_survives_a_rename(void)
{
	struct mailbox *box, *found;
	uint8_t id[16];

	begin();
	check(mail_store_create(store, "a") == 0);
	check(mail_store_create(store, "a.b") == 0);
	append_text(store, "a", mail, 0);
	box = box_new(store, "a");
	check(mailbox_sync(box) == 0);
	memcpy(id, mailbox_id(box), 16);
	check(mail_store_rename(store, "a", "inbox") == MAILBOX_E_EXISTS);
	check(mail_store_rename(store, "a", "a.c") == MAILBOX_E_NAME);
	check(mail_store_rename(store, "x", "y") == MAILBOX_E_NONEXISTENT);
	check(mail_store_rename(store, "a", "c.d") == 0);
	check_str(list_all(), "INBOX;c!+;c.d+;c.d.b;");
	check_str(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), "1");
	check(mailbox_sync(box) == 0);
	check(append_text(store, "c.d", mail, 0) == 2);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:2");
	/* And by hand, as an operator does it. */
	check(move_file(".c.d", ".e") == 0);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:2");
	require(mailbox_open_id(store, id, "a", &found) == 0);
	check_str(mailbox_name(found), "e");
	check(mailbox_sync(found) == 0);
	check_str(box_uids(found), "1:2");
	mailbox_close(&found);
	/* Another one has taken the name meanwhile. */
	check(mail_store_create(store, "a") == 0);
	require(mailbox_open_id(store, id, "a", &found) == 0);
	check_str(mailbox_name(found), "e");
	mailbox_close(&found);
	mailbox_close(&box);
	end();
}

/* RFC 3501 6.3.5: an error is a target that exists. A name that only has
 * mailboxes below does not. */
static void test_rename_among_children(void)
{
	static const char *const made[] = { "t.a", "t.a.c", "t.a.a.x", "t.b", "u.c", "v" };

	begin();
	for (size_t i = 0; i < UNIT_COUNT(made); i++)
		check(mail_store_create(store, made[i]) == 0);
	check(mail_store_rename(store, "t.b", "u") == 0);
	check_str(list_all(), "INBOX;t!+;t.a+;t.a.a!+;t.a.a.x;t.a.c;u+;u.c;v;");
	/* t.a.c would come where u.c is, u itself is a mailbox now. */
	check(mail_store_rename(store, "v", "u") == MAILBOX_E_EXISTS);
	check(mail_store_create(store, "w.c") == 0);
	check(mail_store_rename(store, "t.a", "w") == MAILBOX_E_EXISTS);
	check(mail_store_rename(store, "t.a", "t") == 0);
	check_str(list_all(), "INBOX;t+;t.a!+;t.a.x;t.c;u+;u.c;v;w!+;w.c;");
	end();
}

static void test_rename_inbox_moves_its_messages(void)
{
	uint32_t numbers[30];
	struct uidset set = set_of("3"), changed;
	struct mailbox *inbox, *old;
	struct mail_row row;
	char name[16];
	bool complete;
	uint64_t before;

	begin();
	inbox = box_new(store, "INBOX");
	for (int i = 0; i < 5; i++)
		append_text(store, "INBOX", mail, i == 3 ? MAIL_DELETED : MAIL_SEEN);
	for (uint32_t i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		check(mailbox_keyword(inbox, name, true, &numbers[i]) == 0);
	}
	uidset_init(&changed);
	check(mailbox_store(inbox, &set, FLAG_ADD, 0, numbers, 30, UINT64_MAX, &changed, NULL,
			    NULL, NULL) == 0);
	check_str(expunge(inbox, "4"), "4");
	before = mailbox_highestmodseq(inbox);
	check(mail_store_rename(store, "INBOX", "old") == 0);
	check(mail_store_rename(store, "INBOX", "old") == MAILBOX_E_EXISTS);
	check(mailbox_sync(inbox) == 0);
	check_str(box_uids(inbox), "");
	check_str(vanished_since(inbox, before, &complete), "1:3,5");
	check(complete && mailbox_uidnext(inbox) == 6);
	old = box_new(store, "old");
	check(mailbox_sync(old) == 0);
	check_str(box_uids(old), "1:4");
	check(mailbox_row(old, 3, &row) == 0 && row.flags == MAIL_SEEN &&
	      keyword_set_has(&row.keywords, 0) && keyword_set_has(&row.keywords, 29));
	check(mailbox_row(old, 4, &row) == 0 && !row.keywords.words);
	mailbox_close(&old);
	mailbox_close(&inbox);
	uidset_deinit(&set);
	uidset_deinit(&changed);
	end();
}

static void test_dovecot_maildir_is_adopted(void)
{
	static const uint8_t id[16] = { 0x1f, 0xaf, 0x6f, 0x22, 0x67, 0xaf, 0x02, 0x6b,
					0x1c, 0xa1, 0x03, 0x00, 0x83, 0xec, 0xc3, 0x75 };
	struct mailbox *box;
	struct mail_row row;
	uint32_t n;

	begin();
	put_file("dovecot-uidlist", "3 V1795338087 N1 G1faf6f2267af026b1ca1030083ecc375\n"
		 "7 :1700000001.M1P1.host\n12 W30 :1700000000.M1P1.host,S=3\n");
	put_file("dovecot-keywords", "0 $Label1\n2 Gap\n");
	put_file("cur/1700000001.M1P1.host:2,Sa", "x");
	put_file("cur/1700000000.M1P1.host,S=3:2,cb", "x");
	put_file("new/1600000000.M1P1.host", "x");
	box = box_new(store, "INBOX");
	check(mailbox_sync(box) == 0);
	check(mailbox_uidvalidity(box) == 1795338087);
	check(!memcmp(mailbox_id(box), id, 16));
	check_str(box_uids(box), "7,12:13");
	check(mailbox_row(box, 7, &row) == 0 && row.flags == MAIL_SEEN &&
	      keyword_set_has(&row.keywords, 0) && !keyword_set_has(&row.keywords, 1));
	check(mailbox_row(box, 12, &row) == 0 && keyword_set_has(&row.keywords, 1) &&
	      !keyword_set_has(&row.keywords, 0));
	/* b is nobody's: it gets no meaning by a new keyword. */
	check(mailbox_keyword(box, "New", true, &n) == 0 && n == 2);
	check(mailbox_sync(box) == 0);
	check(mailbox_row(box, 12, &row) == 0 && !keyword_set_has(&row.keywords, 2));
	mailbox_close(&box);
	end();
}

static void test_unreadable_list_is_put_aside(void)
{
	struct mailbox *box;
	uint32_t before;

	begin();
	append_text(store, "INBOX", mail, 0);
	box = box_new(store, "INBOX");
	before = mailbox_uidvalidity(box);
	put_file("dormouse-uidlist", "nothing that we wrote\n");
	check(mailbox_sync(box) == 0);	/* mended: the index knows it all */
	mailbox_close(&box);
	/* With the index gone too, nobody knows what it said. */
	put_file("dormouse-uidlist", "nothing that we wrote\n");
	remove_index();
	box = box_new(store, "INBOX");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1");
	check(mailbox_uidvalidity(box) > before);
	mailbox_close(&box);
	end();
}

static void test_watched_directories(void)
{
	struct mailbox *box;
	struct stat st, want;
	char path[3 * PATH_MAX];
	int fds[2];

	begin();
	box = box_new(store, "INBOX");
	require(mailbox_watch_dirs(box, fds) == 2);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", mail_dir, i ? "cur" : "new");
		check(fstat(fds[i], &st) == 0 && stat(path, &want) == 0 && st.st_ino == want.st_ino);
		check((fcntl(fds[i], F_GETFL) & (O_ACCMODE | O_PATH)) == O_RDONLY);
		close(fds[i]);
	}
	mailbox_close(&box);
	end();
}

/* ---- subscriptions ---- */

static int subscription_one(void *ctx, const char *name)
{
	buf_printf(ctx, "%s;", name);
	return 0;
}

static const char *subscribed(void)
{
	static char out[4096];
	struct buf b;
	int rc;

	buf_init(&b, sizeof(out) - 1);
	rc = mail_store_subscriptions(store, subscription_one, &b);
	if (rc != 0)
		return mailbox_strerror(rc);
	snprintf(out, sizeof(out), "%.*s", (int)b.len, b.len ? (char *)b.data : "");
	buf_deinit(&b);
	return out;
}

static void file_is(const char *name, const char *text)
{
	char path[3 * PATH_MAX], got[512] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", mail_dir, name);
	f = fopen(path, "r");
	if (f) {
		got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
		fclose(f);
	}
	check_str(got, text);
}

static void test_subscriptions_last(void)
{
	begin();
	check_str(subscribed(), "");
	check(mail_store_subscribe(store, "b.c", true) == 0);
	check(mail_store_subscribe(store, "inbox", true) == 0);
	check(mail_store_subscribe(store, "Entw\xc3\xbcrfe & mehr", true) == 0);
	check(mail_store_subscribe(store, "iNBox.x", true) == 0);
	check(mail_store_subscribe(store, "b.c", true) == 0);
	check_str(subscribed(), "Entw\xc3\xbcrfe & mehr;INBOX;INBOX.x;b.c;");
	mail_store_close(&store);
	store = store_new();
	check(mail_store_subscribe(store, "INBOX", false) == 0);
	check(mail_store_subscribe(store, "nothing", false) == 0);
	check_str(subscribed(), "Entw\xc3\xbcrfe & mehr;INBOX.x;b.c;");
	check(mail_store_subscribe(store, "a..b", true) == MAILBOX_E_NAME);
	check(mail_store_subscribe(store, "a\nb", true) == MAILBOX_E_NAME);
	check(mail_store_subscribe(store, "", true) == MAILBOX_E_NAME);
	file_is("dormouse-subscriptions", "1\nEntw\xc3\xbcrfe & mehr\nINBOX.x\nb.c\n");
	check(mail_store_subscribe(store, "b.c", false) == 0);
	check(mail_store_subscribe(store, "INBOX.x", false) == 0);
	check(mail_store_subscribe(store, "Entw\xc3\xbcrfe & mehr", false) == 0);
	check_str(subscribed(), "");
	/* One we cannot read is left as it is. */
	put_file("dormouse-subscriptions", "2\nwhat\n");
	check(mail_store_subscribe(store, "a", true) == -EBADMSG);
	file_is("dormouse-subscriptions", "2\nwhat\n");
	end();
}

static void test_subscriptions_begin_with_dovecots(void)
{
	/* As Dovecot 2.3.19 writes them, and as older ones did. */
	static const char v2[] = "V\t2\n\nINBOX\nGr&-APwA3w-e\na\tb\nx&-y\n"
		"Gr&APwA3w-e\t&ANw-\nwith\001ttab\nno.level\n";
	static const char v1[] = "INBOX\na.b\nGr&APwA3w-e\n\n../x\nunfinished";

	begin();
	put_file("subscriptions", v2);
	check_str(subscribed(),
		  "Gr&APwA3w-e;Gr\xc3\xbc\xc3\x9f" "e.\xc3\x9c;INBOX;a.b;x&y;");
	/* No change writes nothing. */
	check(mail_store_subscribe(store, "a.b", true) == 0);
	file_is("dormouse-subscriptions", "");
	check(mail_store_subscribe(store, "a.b", false) == 0);
	check_str(subscribed(), "Gr&APwA3w-e;Gr\xc3\xbc\xc3\x9f" "e.\xc3\x9c;INBOX;x&y;");
	file_is("subscriptions", v2);
	/* What Dovecot's says later is not ours any more. */
	put_file("subscriptions", v1);
	check_str(subscribed(), "Gr&APwA3w-e;Gr\xc3\xbc\xc3\x9f" "e.\xc3\x9c;INBOX;x&y;");
	remove_file("dormouse-subscriptions");
	check_str(subscribed(), "Gr\xc3\xbc\xc3\x9f" "e;INBOX;a.b;");
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_list_knows_parents_and_children),
		UNIT_TEST(test_create_refuses),
		UNIT_TEST(test_deleted_mailbox_is_gone_for_those_who_have_it),
		UNIT_TEST(test_directory_removed_by_others_is_gone),
		UNIT_TEST(test_open_mailbox_survives_a_rename),
		UNIT_TEST(test_rename_among_children),
		UNIT_TEST(test_rename_inbox_moves_its_messages),
		UNIT_TEST(test_dovecot_maildir_is_adopted),
		UNIT_TEST(test_unreadable_list_is_put_aside),
		UNIT_TEST(test_watched_directories),
		UNIT_TEST(test_subscriptions_last),
		UNIT_TEST(test_subscriptions_begin_with_dovecots),
	};
	return unit_run("maildir-list", tests, UNIT_COUNT(tests));
}
