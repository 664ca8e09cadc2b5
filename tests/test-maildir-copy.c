/* SPDX-License-Identifier: MIT */
/* COPY and MOVE between mailboxes: what a copy keeps, all or nothing, nothing
 * lost, and two that go crosswise. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "lib/fault.h"
#include "tests/maildir-util.h"

static struct mail_store *store;
static struct mailbox *box, *other;

static void begin(void)
{
	top_make();
	store = store_new();
	require(mail_store_create(store, "Other") == 0);
	box = box_new(store, "INBOX");
	other = box_new(store, "Other");
	require(mailbox_sync(box) == 0 && mailbox_sync(other) == 0);
}

static void end(void)
{
	mailbox_close(&box);
	mailbox_close(&other);
	mail_store_close(&store);
	top_remove();
}

struct result {
	int rc;
	char copied[256], new_uids[256], gone[256];
	uint32_t uidvalidity;
	uint8_t id[16];
	uint64_t dest_modseq, modseq;
};

static struct result transfer(struct mailbox *from, const char *uids, const char *dest, bool move)
{
	struct uidset set = set_of(uids), copied, new_uids, gone;
	struct result r = { 0 };

	uidset_init(&copied);
	uidset_init(&new_uids);
	uidset_init(&gone);
	r.rc = mailbox_copy(from, &set, dest, move, &copied, &new_uids, &r.uidvalidity, r.id,
			    &r.dest_modseq, &gone, &r.modseq);
	snprintf(r.copied, sizeof(r.copied), "%s", set_text(&copied));
	snprintf(r.new_uids, sizeof(r.new_uids), "%s", set_text(&new_uids));
	snprintf(r.gone, sizeof(r.gone), "%s", set_text(&gone));
	uidset_deinit(&set);
	uidset_deinit(&copied);
	uidset_deinit(&new_uids);
	uidset_deinit(&gone);
	return r;
}

static unsigned files_in(const char *dir)
{
	static const char *const subs[] = { "cur", "new", "tmp" };
	char path[3 * PATH_MAX];
	unsigned n = 0;

	for (size_t i = 0; i < 3; i++) {
		struct dirent *de;
		DIR *d;

		snprintf(path, sizeof(path), "%s/%s/%s", mail_dir, dir, subs[i]);
		d = opendir(path);
		while (d && (de = readdir(d)))
			n += de->d_name[0] != '.';
		if (d)
			closedir(d);
	}
	return n;
}

static void read_into(struct mailbox *b, uint32_t uid, char *text, size_t size)
{
	struct mail_reader *r;
	long n = 0;

	text[0] = '\0';
	if (mailbox_read_open(b, uid, &r) != 0)
		return;
	n = mail_reader_read(r, 0, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	mail_reader_close(&r);
}

static void add_keyword(const char *uids, const char *name)
{
	struct uidset set = set_of(uids), changed;
	uint32_t n;

	uidset_init(&changed);
	check(mailbox_keyword(box, name, true, &n) == 0);
	check(mailbox_store(box, &set, FLAG_ADD, 0, &n, 1, UINT64_MAX, &changed, NULL, NULL,
			    NULL) == 0);
	uidset_deinit(&set);
	uidset_deinit(&changed);
}

static bool has_keyword(struct mailbox *b, uint32_t uid, const char *name)
{
	struct mail_row row;
	uint32_t n;

	return mailbox_keyword(b, name, false, &n) == 0 && mailbox_row(b, uid, &row) == 0 &&
	       keyword_set_has(&row.keywords, n);
}

/* ---- what a copy is ---- */

static void test_copy_keeps_all_but_the_uid(void)
{
	struct mail_row was, row;
	struct result r;
	char text[100];
	uint32_t n;

	begin();
	/* The same keyword has another number and another letter there. */
	check(mailbox_keyword(other, "zero", true, &n) == 0 && n == 0);
	append_text(store, "INBOX", "A: 1\r\n\r\none\r\n", 0);
	append_text(store, "INBOX", "A: 2\r\n\r\ntwo\r\n", MAIL_SEEN | MAIL_FLAGGED);
	check(mailbox_sync(box) == 0);
	add_keyword("2", "work");
	check(mailbox_row(box, 2, &was) == 0);
	r = transfer(box, "1:2", "Other", false);
	check(r.rc == 0);
	check_str(r.copied, "1:2");
	check_str(r.new_uids, "1:2");
	check_str(r.gone, "");
	check(r.uidvalidity == mailbox_uidvalidity(other) && r.modseq == 0);
	check(!memcmp(r.id, mailbox_id(other), 16));
	check_str(box_uids(box), "1:2");
	check(mailbox_sync(other) == 0);
	check_str(box_uids(other), "1:2");
	check(mailbox_row(other, 2, &row) == 0);
	check(row.flags == (MAIL_SEEN | MAIL_FLAGGED) && row.internaldate == 1000000000);
	check(row.size_known && row.size == was.size && row.modseq == r.dest_modseq);
	check(has_keyword(other, 2, "work") && !has_keyword(other, 2, "zero"));
	check(!has_keyword(other, 1, "work"));
	read_into(other, 2, text, sizeof(text));
	check_str(text, "A: 2\r\n\r\ntwo\r\n");
	/* What the files say is the same. */
	remove_index();
	check(mailbox_sync(other) == 0);
	check_str(box_uids(other), "1:2");
	check(mailbox_row(other, 2, &row) == 0 && row.flags == (MAIL_SEEN | MAIL_FLAGGED) &&
	      row.internaldate == 1000000000 && row.size == was.size);
	check(has_keyword(other, 2, "work"));
	end();
}

static int cached_one(void *ctx, uint32_t uid, const void *data, size_t len)
{
	buf_printf(ctx, "%u=%.*s;", uid, (int)len, (const char *)data);
	return 0;
}

static const char *cached(struct mailbox *b, enum mail_cache what)
{
	static char text[256];
	struct uidset all = set_of("1:999");
	struct buf out;

	buf_init(&out, sizeof(text) - 1);
	if (mailbox_cache_rows(b, &all, what, cached_one, &out) != 0)
		return "error";
	snprintf(text, sizeof(text), "%.*s", (int)out.len, out.len ? (char *)out.data : "");
	buf_deinit(&out);
	uidset_deinit(&all);
	return text;
}

static void test_copies_have_what_is_cached(void)
{
	begin();
	for (int i = 0; i < 3; i++)
		append_text(store, "INBOX", "x", 0);
	check(mailbox_sync(box) == 0);
	check(mailbox_cache_put(box, 2, MAIL_CACHE_ENVELOPE, "two", 3) == 0);
	check(mailbox_cache_put(box, 3, MAIL_CACHE_STRUCTURE, "three", 5) == 0);
	check(transfer(box, "2:3", "Other", false).rc == 0);
	check(transfer(box, "1:2", "Other", true).rc == 0);
	check_str(cached(other, MAIL_CACHE_ENVELOPE), "1=two;4=two;");
	check_str(cached(other, MAIL_CACHE_STRUCTURE), "2=three;");
	check_str(cached(box, MAIL_CACHE_ENVELOPE), "");
	check_str(cached(box, MAIL_CACHE_STRUCTURE), "3=three;");
	end();
}

static void test_copies_are_recent_and_their_own(void)
{
	struct uidset recent;
	struct mail_row row;

	begin();
	append_text(store, "INBOX", "x", 0);
	check(transfer(box, "1", "Other", false).rc == 0);
	uidset_init(&recent);
	check(mailbox_claim_recent(other, true, &recent) == 0);
	check_str(set_text(&recent), "1");
	uidset_deinit(&recent);
	/* Flags of the one are not those of the other; nor is its end. */
	check_str(store_flags(other, "1", FLAG_ADD, MAIL_DELETED), "1");
	check(mailbox_sync(box) == 0 && mailbox_row(box, 1, &row) == 0 && row.flags == 0);
	check_str(expunge(other, "1"), "1");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1");
	end();
}

/* Beyond the 26th a keyword has no letter, here, there, or in both. */
static void test_copy_translates_keywords_without_letters(void)
{
	char name[16];
	uint32_t n;

	begin();
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "there%u", i);
		check(mailbox_keyword(other, name, true, &n) == 0);
	}
	append_text(store, "INBOX", "x", 0);
	check(mailbox_sync(box) == 0);
	for (unsigned i = 0; i < 28; i++) {
		snprintf(name, sizeof(name), "here%u", i);
		add_keyword("1", name);
	}
	add_keyword("1", "there3");	/* no letter here, one there */
	check(transfer(box, "1", "Other", false).rc == 0);
	for (int again = 0; again < 2; again++) {
		check(mailbox_sync(other) == 0);
		check(has_keyword(other, 1, "here0") && has_keyword(other, 1, "here27"));
		check(has_keyword(other, 1, "there3") && !has_keyword(other, 1, "there29"));
		remove_index();
	}
	end();
}

static void test_copy_into_itself(void)
{
	struct result r;

	begin();
	append_text(store, "INBOX", "one", 0);
	append_text(store, "INBOX", "two", MAIL_SEEN);
	r = transfer(box, "1:2", "inbox", false);
	check(r.rc == 0);
	check_str(r.new_uids, "3:4");
	check_str(box_uids(box), "1:4");
	r = transfer(box, "2:3", "INBOX", true);
	check(r.rc == 0);
	check_str(r.copied, "2:3");
	check_str(r.new_uids, "5:6");
	check_str(r.gone, "2:3");
	check(r.modseq == r.dest_modseq);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,4:6");
	remove_index();
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,4:6");
	end();
}

static void test_copy_to_nowhere(void)
{
	begin();
	append_text(store, "INBOX", "x", 0);
	check(transfer(box, "1", "Nowhere", false).rc == MAILBOX_E_NONEXISTENT);
	check(transfer(box, "1", "../x", true).rc == MAILBOX_E_NONEXISTENT);
	check_str(box_uids(box), "1");
	end();
}

/* ---- gone messages ---- */

static void test_copy_is_all_or_nothing(void)
{
	struct result r;

	begin();
	for (int i = 0; i < 3; i++)
		append_text(store, "INBOX", "x", i == 1 ? MAIL_DELETED : 0);
	check_str(expunge(box, "2"), "2");
	r = transfer(box, "1:3", "Other", false);
	check(r.rc == MAILBOX_E_EXPUNGED && r.dest_modseq == 0);
	check_str(r.copied, "");
	check(files_in(".Other") == 0 && mailbox_sync(other) == 0);
	check_str(box_uids(other), "");
	r = transfer(box, "1:3", "Other", true);
	check(r.rc == 0);
	check_str(r.copied, "1,3");
	check_str(r.gone, "1,3");
	check(files_in(".Other") == 2 && files_in(".") == 0);
	/* All gone: nothing to do, no MODSEQ used. */
	r = transfer(box, "1:3", "Other", true);
	check(r.rc == 0 && r.dest_modseq == 0 && r.modseq == 0);
	check_str(r.copied, "");
	end();
}

/* Others rename and remove files, and nobody has told the index. */
static void test_copy_finds_files_under_their_new_names(void)
{
	struct mail_row row;
	struct result r;

	begin();
	put_file("cur/1700000000.M1P1.host:2,", "one\n");
	put_file("cur/1700000001.M1P1.host:2,", "two\n");
	put_file("cur/1700000002.M1P1.host:2,", "three\n");
	check(mailbox_sync(box) == 0);
	move_file("cur/1700000001.M1P1.host:2,", "cur/1700000001.M1P1.host:2,PS");
	r = transfer(box, "1:3", "Other", false);
	check(r.rc == 0);
	check_str(r.new_uids, "1:3");
	check(mailbox_row(other, 2, &row) == 0 && row.flags == MAIL_SEEN);
	/* COPYUID pairs them in order. */
	char text[16];
	read_into(other, 2, text, sizeof(text));
	check_str(text, "two\r\n");
	read_into(other, 3, text, sizeof(text));
	check_str(text, "three\r\n");

	remove_file("cur/1700000000.M1P1.host:2,");
	check(transfer(box, "1:3", "Other", false).rc == MAILBOX_E_EXPUNGED);
	check(files_in(".Other") == 3);
	check(mailbox_sync(other) == 0);
	check_str(box_uids(other), "1:3");
	move_file("cur/1700000002.M1P1.host:2,", "cur/1700000002.M1P1.host:2,F");
	remove_file("cur/1700000001.M1P1.host:2,PS");
	r = transfer(box, "2:3", "Other", true);
	check(r.rc == 0);
	check_str(r.gone, "3");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "");
	end();
}

static void test_move_tells_followers(void)
{
	struct result r;
	uint64_t since, there;
	bool complete;

	begin();
	for (int i = 0; i < 5; i++)
		append_text(store, "INBOX", "x", 0);
	check(mailbox_sync(box) == 0 && mailbox_sync(other) == 0);
	since = mailbox_highestmodseq(box);
	there = mailbox_highestmodseq(other);
	r = transfer(box, "2,4", "Other", true);
	check(r.rc == 0 && r.modseq > since && r.dest_modseq > there);
	check(mailbox_sync(box) == 0 && mailbox_sync(other) == 0);
	check_str(vanished_since(box, since, &complete), "2,4");
	check(complete);
	check_str(changed_since(other, there), "1:2");
	/* UIDs stay used, also when nothing but the list remembers. */
	remove_index();
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,3,5");
	check(append_text(store, "INBOX", "x", 0) == 6);
	end();
}

/* ---- no space ---- */

static void test_full_disk_undoes_a_copy(void)
{
	struct rlimit old, none = { 0, 0 };
	struct result r;

	begin();
	for (int i = 0; i < 4; i++)
		append_text(store, "INBOX", "x", 0);
	check(mailbox_sync(box) == 0);
	/* No file may grow: the list of the destination cannot. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	none.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &none);
	r = transfer(box, "1:4", "Other", false);
	check(r.rc != 0);
	r = transfer(box, "1:4", "Other", true);
	setrlimit(RLIMIT_FSIZE, &old);
	check(r.rc != 0);
	check_str(r.copied, "");
	check(files_in(".Other") == 0 && files_in(".") == 4);
	check(mailbox_sync(box) == 0 && mailbox_sync(other) == 0);
	check_str(box_uids(box), "1:4");
	check_str(box_uids(other), "");
	check(transfer(box, "1:4", "Other", true).rc == 0);
	end();
}

/* ---- crosswise ---- */

#define MESSAGES	12

static int step(struct mailbox *from, const char *dest, uint64_t *seed)
{
	struct result r = { 0 };
	struct uidset uids;
	struct uidset_iter it;
	char set[256] = "";

	uidset_init(&uids);
	if (mailbox_sync(from) != 0 || mailbox_uids(from, &uids) != 0)
		return 1;
	for (uint32_t uid = uidset_first(&uids, &it); uid && strlen(set) < 200;
	     uid = uidset_next(&uids, &it)) {
		if (unit_random(seed) % 3 == 0)
			snprintf(set + strlen(set), 16, "%s%u", *set ? "," : "", uid);
	}
	uidset_deinit(&uids);
	if (*set)
		r = transfer(from, set, dest, true);
	if (*set && unit_random(seed) % 4 == 0)
		r = transfer(from, set, dest, true);	/* all gone by now */
	return r.rc;
}

static void open_all(void)
{
	store = store_new();
	box = box_new(store, "INBOX");
	other = box_new(store, "Other");
}

static void close_all(void)
{
	mailbox_close(&box);
	mailbox_close(&other);
	mail_store_close(&store);
}

static void move_some(uint64_t seed)
{
	open_all();
	for (int i = 0; i < 40; i++) {
		if (unit_random(&seed) % 2 ? step(box, "Other", &seed) : step(other, "INBOX", &seed))
			_exit(1);
	}
	close_all();
}

/* Opens all and looks. */
static void each_is_once(void)
{
	bool seen[MESSAGES] = { false };
	char text[32];

	open_all();
	for (int b = 0; b < 2; b++) {
		struct mailbox *at = b ? other : box;
		struct uidset uids;
		struct uidset_iter it;

		uidset_init(&uids);
		check(mailbox_sync(at) == 0 && mailbox_uids(at, &uids) == 0);
		for (uint32_t uid = uidset_first(&uids, &it); uid; uid = uidset_next(&uids, &it)) {
			int n = -1;

			read_into(at, uid, text, sizeof(text));
			if (sscanf(text, "S: %d", &n) == 1 && n >= 0 && n < MESSAGES) {
				check_row(!seen[n], n);
				seen[n] = true;
			}
		}
		uidset_deinit(&uids);
	}
	for (int i = 0; i < MESSAGES; i++)
		check_row(seen[i], i);
}

/* Sessions that move the same messages to and fro: each message is always in
 * exactly one mailbox. */
static void test_crosswise_moves_lose_and_double_nothing(void)
{
	uint64_t seed = unit_seed();
	char text[32];
	pid_t pids[4];
	int status;

	begin();
	for (int i = 0; i < MESSAGES; i++) {
		snprintf(text, sizeof(text), "S: %d\r\n\r\nx\r\n", i);
		append_text(store, i % 2 ? "INBOX" : "Other", text, 0);
	}
	close_all();
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			move_some(seed + (uint64_t)i * 7919);
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		check_row(waitpid(pids[i], &status, 0) == pids[i] && status == 0, i);
	check(files_in(".") + files_in(".Other") == MESSAGES);
	each_is_once();
	end();
}

/* Killed at any moment: a move leaves each message in one of the two. */
static void test_killed_moves_lose_and_double_nothing(void)
{
	uint64_t seed = unit_seed();
	char text[32];

	begin();
	for (int i = 0; i < MESSAGES; i++) {
		snprintf(text, sizeof(text), "S: %d\r\n\r\nx\r\n", i);
		append_text(store, "INBOX", text, i % 2 ? MAIL_SEEN : 0);
	}
	for (int round = 0; round < 20; round++) {
		pid_t pid;
		int status;

		close_all();
		pid = fork();
		if (pid == 0) {
			for (;;)
				move_some(seed++);
		}
		usleep((useconds_t)(unit_random(&seed) % 40000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		check_row(WIFSIGNALED(status), round);
		if (round % 5 == 4)
			remove_index();
		check(files_in(".") + files_in(".Other") == MESSAGES);
		each_is_once();
	}
	end();
}

/* ---- faults ---- */

#ifdef DORMOUSE_FAULTS
/* What is where, by the numbers in the messages. */
static void count_serials(struct mailbox *b, unsigned count[8])
{
	struct uidset uids;
	struct uidset_iter it;
	char text[32];
	unsigned n;

	uidset_init(&uids);
	memset(count, 0, 8 * sizeof(*count));
	check(mailbox_sync(b) == 0 && mailbox_uids(b, &uids) == 0);
	for (uint32_t uid = uidset_first(&uids, &it); uid; uid = uidset_next(&uids, &it)) {
		read_into(b, uid, text, sizeof(text));
		if (sscanf(text, "S: %u", &n) == 1 && n < 8)
			count[n]++;
	}
	uidset_deinit(&uids);
}

/* One transfer of three messages, in a process that meets a fault. */
static int fault_transfer(const char *faults, bool move)
{
	int status;
	pid_t pid;

	close_all();
	pid = fork();
	if (pid == 0) {
		setenv("FAULTS", faults, 1);
		fault_init();
		open_all();
		_exit(transfer(box, "1:3", "Other", move).rc == 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	open_all();
	return status;
}

static void fault_check(const char *faults, bool move)
{
	unsigned here[8], there[8], total_there = 0;
	bool bytes = strstr(faults, "copy-bytes") != NULL;
	int status;

	begin();
	append_text(store, "INBOX", "S: 1\r\n\r\nx", 0);
	append_text(store, "INBOX", "S: 2\r\n\r\nx", MAIL_SEEN);
	append_text(store, "INBOX", "S: 3\r\n\r\nx", 0);
	check(mailbox_sync(box) == 0);
	add_keyword("1", "kw");
	status = fault_transfer(faults, move);
	count_serials(box, here);
	count_serials(other, there);
	for (unsigned n = 1; n <= 3; n++) {
		total_there += there[n];
		/* Nothing lost, nothing twice in one place. */
		check(here[n] + there[n] >= 1 && here[n] <= 1 && there[n] <= 1);
		/* A move of bytes that was killed may leave both. */
		if (move && (WIFEXITED(status) || !bytes))
			check(here[n] + there[n] == 1);
		if (!move)
			check(here[n] == 1);
	}
	/* It was done, or it was undone; only a death may leave it by half, and
	   a move to another file system, whose sources are gone. */
	if (WIFEXITED(status) && (!move || !bytes || WEXITSTATUS(status) == 0))
		check(total_there == (WEXITSTATUS(status) == 0 ? 3 : 0));
	/* And now it goes through. */
	check(transfer(box, "1:3", "Other", true).rc == 0);
	count_serials(other, there);
	count_serials(box, here);
	for (unsigned n = 1; n <= 3; n++)
		check(here[n] == 0 && there[n] >= 1);
	check(files_in(".") == 0);
	end();
}

static void test_every_fault_point(void)
{
	static const char *const points[] = {
		"uidlist-write", "uidlist-sync", "copy-lines", "copy-place", "copy-placed",
		"copy-write", "index-commit", "copy-unlink",
	};
	static const char *const with[] = { "", "copy-bytes:0," };
	char what[96];

	for (size_t i = 0; i < UNIT_COUNT(points); i++) {
		for (unsigned n = 1; n <= 3; n++) {
			for (int v = 0; v < 8; v++) {
				snprintf(what, sizeof(what), "%s%s:%u%s", with[v & 1], points[i],
					 n, v & 2 ? ":kill" : "");
				fault_check(what, (v & 4) != 0);
			}
		}
	}
}
#endif

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_copy_keeps_all_but_the_uid),
		UNIT_TEST(test_copies_are_recent_and_their_own),
		UNIT_TEST(test_copies_have_what_is_cached),
		UNIT_TEST(test_copy_translates_keywords_without_letters),
		UNIT_TEST(test_copy_into_itself),
		UNIT_TEST(test_copy_to_nowhere),
		UNIT_TEST(test_copy_is_all_or_nothing),
		UNIT_TEST(test_copy_finds_files_under_their_new_names),
		UNIT_TEST(test_move_tells_followers),
		UNIT_TEST(test_full_disk_undoes_a_copy),
		UNIT_TEST(test_crosswise_moves_lose_and_double_nothing),
		UNIT_TEST(test_killed_moves_lose_and_double_nothing),
#ifdef DORMOUSE_FAULTS
		UNIT_TEST(test_every_fault_point),
#endif
	};
	return unit_run("maildir-copy", tests, UNIT_COUNT(tests));
}
