/* SPDX-License-Identifier: MIT */
/* APPEND and reading: bytes in, the same bytes out in CRLF form, nothing left
 * behind by what fails. */
#include <signal.h>
#include <sys/resource.h>

#include "tests/maildir-util.h"

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

/* All of a message, read in pieces of step bytes. */
static struct buf read_all(uint32_t uid, size_t step)
{
	struct mail_reader *r = NULL;
	uint64_t offset = 0;
	struct buf b;
	long n = -1;

	buf_init(&b, 64 << 20);
	if (mailbox_read_open(box, uid, &r) != 0)
		return b;
	do {
		void *room = buf_reserve(&b, step);

		n = mail_reader_read(r, offset, room, step);
		if (n > 0) {
			buf_added(&b, (size_t)n);
			offset += (uint64_t)n;
		}
	} while (n > 0);
	check(n == 0);
	mail_reader_close(&r);
	return b;
}

/* What the CRLF form of some bytes is, said as simply as can be. */
static struct buf crlf_form(const char *data, size_t len)
{
	struct buf b;

	buf_init(&b, 64 << 20);
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n' && (i == 0 || data[i - 1] != '\r'))
			buf_append_u8(&b, '\r');
		buf_append_u8(&b, (uint8_t)data[i]);
	}
	return b;
}

static uint64_t header_of(const struct buf *b)
{
	const uint8_t *p;

	if (b->len >= 2 && !memcmp(b->data, "\r\n", 2))
		return 2;
	p = b->len ? memmem(b->data, b->len, "\r\n\r\n", 4) : NULL;
	return p ? (uint64_t)(p + 4 - b->data) : b->len;
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || !memcmp(a->data, b->data, a->len));
}

static void check_message(uint32_t uid, const struct buf *want, size_t row)
{
	static const size_t steps[] = { 1, 2, 3, 7, 4096, 1 << 20 };
	struct mail_reader *r = NULL;
	uint64_t header = 0, total = 0;

	for (size_t i = want->len > 10000 ? 3 : 0; i < UNIT_COUNT(steps); i++) {
		struct buf got = read_all(uid, steps[i]);

		check_row(same(&got, want), row * 100 + i);
		buf_deinit(&got);
	}
	if (!check_row(mailbox_read_open(box, uid, &r) == 0, row))
		return;
	check_row(mail_reader_sizes(r, &header, &total) == 0, row);
	check_row(total == want->len, row);
	check_row(header == header_of(want), row);
	mail_reader_close(&r);
}

static const char *const texts[] = {
	"", "\n", "\r", "\r\n", "a", "a\n", "a\r\n", "\n\n", "\r\n\r\n", "\r\r\n", "\r\r\r\n\n",
	"A: b\r\n\r\nbody\r\n", "A: b\n\nbody\n", "A: b\r\n\nbody\n\r\n", "A: b\r\n\r\n\r\r\nx\r",
	"A: b\r\nC: d", "A: b\r\n\r\n\rbare\rcr\r\n", "\n\r\n\r", "a\r\n\r\r\n\r\nb\n\r\r\nc\r\r",
};

static void test_append_gives_back_the_bytes(void)
{
	struct mail_row row;

	begin();
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct buf want = crlf_form(texts[i], strlen(texts[i]));
		uint32_t uid = append_text(store, "INBOX", texts[i], MAIL_SEEN);

		check_row(uid == i + 1, i);
		check_message(uid, &want, i);
		check_row(mailbox_row(box, uid, &row) == 0 && row.size_known &&
			  row.size == want.len && row.internaldate == 1000000000, i);
		buf_deinit(&want);
	}
	/* The directory and the index agree on what was stored. */
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:19");
	check_str(changed_since(box, mailbox_highestmodseq(box)), "");
	end();
}

static void test_files_of_others_are_read_in_crlf_form(void)
{
	char name[64];

	begin();
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		snprintf(name, sizeof(name), "new/%zu.M1P1.host", 1700000000 + i);
		put_file(name, texts[i]);
	}
	check(mailbox_sync(box) == 0);
	for (int round = 0; round < 2; round++) {	/* the second knows the sizes */
		for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
			struct buf want = crlf_form(texts[i], strlen(texts[i]));

			check_message((uint32_t)i + 1, &want, i);
			buf_deinit(&want);
		}
	}
	end();
}

static void test_append_takes_any_pieces(void)
{
	static const char text[] = "A: b\r\n\r\n\r\r\nx\ry\nz\r\n";
	struct buf want = crlf_form(text, strlen(text));
	uint32_t validity, uid = 0;
	struct mail_append *a;
	uint64_t modseq;
	uint8_t id[16];

	begin();
	require(mailbox_append_begin(store, "inbox", &a) == 0);
	for (size_t i = 0; i < strlen(text); i++)
		check(mailbox_append_write(a, text + i, 1) == 0);
	check(mailbox_append_commit(&a, INT64_MIN, 0, NULL, 0, &validity, &uid, id, &modseq) == 0);
	check(a == NULL && !memcmp(id, mailbox_id(box), 16));
	check(validity == mailbox_uidvalidity(box) && modseq > 0);
	check_message(uid, &want, 0);
	buf_deinit(&want);
	end();
}

/* Offsets anywhere in a large message with line ends of both kinds. */
static void test_random_access(void)
{
	uint64_t seed = unit_seed();
	struct mail_reader *r;
	struct buf text, want;
	char got[5000];

	begin();
	buf_init(&text, 16 << 20);
	while (text.len < (3u << 20)) {
		uint64_t v = unit_random(&seed);

		for (unsigned int i = 0; i < v % 60; i++)
			buf_append_u8(&text, 'x');
		buf_append_str(&text, v % 3 ? "\n" : v % 5 ? "\r\n" : "\r");
	}
	buf_append_u8(&text, 0);
	put_file("new/1700000000.M1P1.host", (char *)text.data);
	want = crlf_form((char *)text.data, text.len - 1);
	check(mailbox_sync(box) == 0);
	require(mailbox_read_open(box, 1, &r) == 0);
	for (int i = 0; i < 400; i++) {
		uint64_t offset = unit_random(&seed) % (want.len + 100);
		size_t len = unit_random(&seed) % sizeof(got) + 1;
		size_t there = offset >= want.len ? 0 : want.len - (size_t)offset;
		long n;

		if (i == 200) {
			uint64_t header, total;

			check(mail_reader_sizes(r, &header, &total) == 0 && total == want.len);
		}
		n = mail_reader_read(r, offset, got, len);
		check_row(n == (long)(there < len ? there : len), i);
		check_row(n <= 0 || !memcmp(got, want.data + offset, (size_t)n), i);
	}
	mail_reader_close(&r);
	buf_deinit(&text);
	buf_deinit(&want);
	end();
}

static void test_reader_outlives_rename_and_expunge(void)
{
	struct mail_reader *r;
	char got[100];

	begin();
	append_text(store, "INBOX", "A: b\r\n\r\nbody\r\n", MAIL_DELETED);
	require(mailbox_read_open(box, 1, &r) == 0);
	check_str(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), "1");
	check(mail_reader_read(r, 8, got, 4) == 4 && !memcmp(got, "body", 4));
	check_str(expunge(box, "1"), "1");
	check(mail_reader_read(r, 0, got, 100) == 14);
	mail_reader_close(&r);
	check(mailbox_read_open(box, 1, &r) == MAILBOX_E_EXPUNGED);
	end();
}

static void test_read_finds_a_renamed_file(void)
{
	struct mail_reader *r;

	begin();
	put_file("cur/1700000001.M1P1.host:2,", "A: b\n\n");
	put_file("cur/1700000002.M1P1.host:2,", "A: b\n\n");
	check(mailbox_sync(box) == 0);
	move_file("cur/1700000001.M1P1.host:2,", "cur/1700000001.M1P1.host:2,S");
	require(mailbox_read_open(box, 1, &r) == 0);
	mail_reader_close(&r);
	remove_file("cur/1700000002.M1P1.host:2,");
	check(mailbox_read_open(box, 2, &r) == MAILBOX_E_EXPUNGED);
	end();
}

static void test_append_with_flags_and_keywords(void)
{
	struct mail_row row;
	uint32_t n, uid;
	int rc;

	begin();
	uid = append_bytes(store, "INBOX", "x\r\n", 3, MAIL_SEEN | MAIL_DRAFT, "$Work", &rc);
	check(rc == 0 && uid == 1);
	check(mailbox_keyword(box, "$work", false, &n) == 0);
	check(mailbox_row(box, uid, &row) == 0 && row.flags == (MAIL_SEEN | MAIL_DRAFT) &&
	      keyword_set_has(&row.keywords, n));
	/* Into the same mailbox by another way, then a new index: the same. */
	remove_index();
	check(mailbox_row(box, uid, &row) == 0 && row.flags == (MAIL_SEEN | MAIL_DRAFT) &&
	      keyword_set_has(&row.keywords, n) && row.size == 3);
	check(append_bytes(store, "nowhere", "x", 1, 0, NULL, &rc) == 0 &&
	      rc == MAILBOX_E_NONEXISTENT);
	end();
}

/* How many files are in a directory of the Maildir. */
static int count_files(const char *dir)
{
	char path[3 * PATH_MAX];
	struct dirent *de;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", mail_dir, dir);
	d = opendir(path);
	while (d && (de = readdir(d)))
		n += de->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static void test_abort_leaves_nothing(void)
{
	struct mail_append *a;

	begin();
	require(mailbox_append_begin(store, "INBOX", &a) == 0);
	check(mailbox_append_write(a, "x\r\r\n", 4) == 0);
	check(count_files("tmp") == 1);
	mailbox_append_abort(&a);
	mailbox_append_abort(&a);
	check(count_files("tmp") + count_files("new") + count_files("cur") == 0);
	end();
}

static void test_full_disk_leaves_nothing(void)
{
	struct rlimit old, small = { 100000, RLIM_INFINITY };
	struct buf text;
	int rc;

	begin();
	append_text(store, "INBOX", "first\r\n", 0);
	buf_init(&text, 1 << 20);
	while (text.len < 500000)
		buf_append_str(&text, "a line of some length\r\n");
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	check(append_bytes(store, "INBOX", text.data, text.len, 0, NULL, &rc) == 0);
	check(rc == MAILBOX_E_NOSPACE);
	setrlimit(RLIMIT_FSIZE, &old);
	check(count_files("tmp") + count_files("cur") == 0 && count_files("new") == 1);
	check(append_bytes(store, "INBOX", text.data, text.len, 0, NULL, &rc) == 2);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:2");
	buf_deinit(&text);
	end();
}

/* No room for a line in the uidlist or a page in the index: the failure is
 * said, nothing is to be seen of the message, and the UID is not given twice. */
static void test_full_disk_at_commit(void)
{
	struct rlimit old, limit;
	char path[3 * PATH_MAX];
	struct stat st;
	int rc, failed = 0, uid = 0;

	begin();
	signal(SIGXFSZ, SIG_IGN);
	for (int i = 0; i < 10; i++)
		append_text(store, "INBOX", "x\r\n", 0);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), i ? "%s/../dormouse-uidlist" : "%s/index.db-wal",
			 index_dir);
		require(stat(path, &st) == 0);
		limit.rlim_cur = (rlim_t)st.st_size + 10;
		setrlimit(RLIMIT_FSIZE, &limit);
		uid = (int)append_bytes(store, "INBOX", "y\r\n", 3, 0, NULL, &rc);
		setrlimit(RLIMIT_FSIZE, &old);
		failed += uid == 0 && rc == MAILBOX_E_NOSPACE;
		check(count_files("tmp") == 0 && count_files("new") == 10);
		check(mailbox_sync(box) == 0);
		check_str(box_uids(box), "1:10");
	}
	check(failed == 2);
	uid = (int)append_text(store, "INBOX", "z\r\n", 0);
	check(uid >= 11 && uid <= 13);
	end();
}

static void test_status_size_counts_crlf(void)
{
	struct mailbox_status st;

	begin();
	put_file("new/1700000001.M1P1.host", "A: b\n\nx\n");
	put_file("new/1700000002.M1P1.host,S=8,W=11", "A: b\n\ny\n");
	append_text(store, "INBOX", "A: b\r\n\r\n", 0);
	check(mail_store_status(store, "INBOX", true, &st) == 0);
	check(st.messages == 3 && st.size == 11 + 11 + 8);
	end();
}

static void test_old_files_in_tmp_are_removed(void)
{
	char path[3 * PATH_MAX];
	struct timespec times[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1600000000 } };

	begin();
	put_file("tmp/young", "x");
	put_file("tmp/old", "x");
	snprintf(path, sizeof(path), "%s/tmp/old", mail_dir);
	check(utimensat(AT_FDCWD, path, times, 0) == 0);
	put_file("cur/1700000001.M1P1.host:2,", "x");
	check(mailbox_sync(box) == 0);
	/* Its mtime was made old just now: the status change was not. */
	check(count_files("tmp") == 2);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_append_gives_back_the_bytes),
		UNIT_TEST(test_files_of_others_are_read_in_crlf_form),
		UNIT_TEST(test_append_takes_any_pieces),
		UNIT_TEST(test_random_access),
		UNIT_TEST(test_reader_outlives_rename_and_expunge),
		UNIT_TEST(test_read_finds_a_renamed_file),
		UNIT_TEST(test_append_with_flags_and_keywords),
		UNIT_TEST(test_abort_leaves_nothing),
		UNIT_TEST(test_full_disk_leaves_nothing),
		UNIT_TEST(test_full_disk_at_commit),
		UNIT_TEST(test_status_size_counts_crlf),
		UNIT_TEST(test_old_files_in_tmp_are_removed),
	};
	return unit_run("maildir-append", tests, UNIT_COUNT(tests));
}
