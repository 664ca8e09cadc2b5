/* SPDX-License-Identifier: MIT */
/* The pure parts of imap/maildir/: uidlist lines, file names, Dovecot's files. */
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "imap/mailbox.h"
#include "imap/maildir/dovecot-files.h"
#include "imap/maildir/maildir-name.h"
#include "imap/maildir/uidlist.h"
#include "lib/buf.h"
#include "tests/unit.h"

static const struct uidlist_line lines[] = {
	{ .kind = UIDLIST_HEADER, .uid = 1795338087, .value = UINT64_MAX >> 1,
	  .id = { 0x1f, 0xaf, 0, 0xff } },
	{ .kind = UIDLIST_NEXT, .uid = UINT32_MAX },
	{ .kind = UIDLIST_RESERVED, .uid = 1001, .value = 1795338087 },
	{ .kind = UIDLIST_MODSEQ, .value = INT64_MAX },
	{ .kind = UIDLIST_KEYWORD, .uid = 0, .letter = 'a', .text = "$Label/1", .text_len = 8 },
	{ .kind = UIDLIST_KEYWORD, .uid = 1023, .letter = '-', .text = "two words", .text_len = 9 },
	{ .kind = UIDLIST_UID, .uid = 1, .text = "1795338087.M7 P2.h", .text_len = 18 },
	{ .kind = UIDLIST_MSG_KEYWORDS, .uid = 7, .text = "26,1023", .text_len = 7 },
	{ .kind = UIDLIST_MSG_KEYWORDS, .uid = 7, .text = "", .text_len = 0 },
	{ .kind = UIDLIST_GONE, .uid = 3, .last = UINT32_MAX },
};

static bool same_line(const struct uidlist_line *a, const struct uidlist_line *b)
{
	return a->kind == b->kind && a->uid == b->uid && a->last == b->last &&
	       a->value == b->value && a->letter == b->letter &&
	       !memcmp(a->id, b->id, sizeof(a->id)) && a->text_len == b->text_len &&
	       (a->text_len == 0 || !memcmp(a->text, b->text, a->text_len));
}

static void test_lines_come_back_as_written(void)
{
	struct uidlist_line back;
	struct buf b;

	buf_init(&b, 10000);
	for (size_t i = 0; i < UNIT_COUNT(lines); i++) {
		buf_reset(&b);
		check_row(uidlist_line_write(&b, &lines[i]) == 0, i);
		check_row(b.data[b.len - 1] == '\n', i);
		check_row(uidlist_line_parse((char *)b.data, b.len - 1, &back) == UIDLIST_OK, i);
		check_row(same_line(&lines[i], &back), i);
	}
	buf_deinit(&b);
}

static void test_every_damage_is_noticed(void)
{
	struct uidlist_line back;
	struct buf b;

	buf_init(&b, 10000);
	for (size_t i = 0; i < UNIT_COUNT(lines); i++) {
		buf_reset(&b);
		uidlist_line_write(&b, &lines[i]);
		for (size_t n = 0; n < b.len - 1; n++) {
			check_row(uidlist_line_parse((char *)b.data, n, &back) != UIDLIST_OK, i);
			b.data[n] ^= 1;
			check_row(uidlist_line_parse((char *)b.data, b.len - 1, &back) !=
				  UIDLIST_OK, i);
			b.data[n] ^= 1;
		}
	}
	buf_deinit(&b);
}

/* A right check does not make it sense. */
static void test_nonsense_is_refused(void)
{
	static const struct {
		const char *body;
		enum uidlist_error error;
	} rows[] = {
		{ "N 1", UIDLIST_OK },
		{ "N 0", UIDLIST_E_INVALID },
		{ "N 01", UIDLIST_E_INVALID },
		{ "N 4294967296", UIDLIST_E_INVALID },
		{ "N -1", UIDLIST_E_INVALID },
		{ "N 1 ", UIDLIST_E_INVALID },
		{ "N", UIDLIST_E_INVALID },
		{ "", UIDLIST_E_INVALID },
		{ "Z 1", UIDLIST_E_INVALID },
		{ "U 1 ../x", UIDLIST_E_INVALID },
		{ "U 1 ", UIDLIST_E_INVALID },
		{ "X 5 4", UIDLIST_E_INVALID },
		{ "K 5 1,", UIDLIST_E_INVALID },
		{ "K 5 1024", UIDLIST_E_INVALID },
		{ "K 5 1;2", UIDLIST_E_INVALID },
		{ "W 1024 a x", UIDLIST_E_INVALID },
		{ "W 1 A x", UIDLIST_E_INVALID },
		{ "W 1 ax", UIDLIST_E_INVALID },
		{ "M 9223372036854775808", UIDLIST_E_INVALID },
		{ "H 2 what comes later", UIDLIST_E_FORMAT },
		{ "H 1 0 1faf6f2267af026b1ca1030083ecc375 1", UIDLIST_E_INVALID },
		{ "H 1 5 1faf6f2267af026b1ca1030083ecc37 1", UIDLIST_E_INVALID },
		{ "H 1 5 1faf6f2267af026b1ca1030083ecc375 1", UIDLIST_OK },
	};
	struct uidlist_line back;
	char line[128];

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		snprintf(line, sizeof(line), "%08lx %s", crc32(0, (const Bytef *)rows[i].body,
			 (uInt)strlen(rows[i].body)), rows[i].body);
		check_row(uidlist_line_parse(line, strlen(line), &back) == rows[i].error, i);
	}
}

struct walked {
	uint32_t uids[8];
	size_t n;
};

static int walk_line(void *ctx, const struct uidlist_line *l)
{
	struct walked *w = ctx;

	if (w->n < 8)
		w->uids[w->n++] = l->uid;
	return l->uid == 99 ? 99 : 0;
}

static void test_walk_skips_torn_lines_and_waits_for_the_last(void)
{
	struct walked w = { .n = 0 };
	size_t count, bad, used, torn;
	struct buf b;
	int stop;

	buf_init(&b, 10000);
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_NEXT, .uid = 5 });
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_NEXT, .uid = 6 });
	b.len -= 4;	/* torn; the next writer begins a line */
	buf_append_str(&b, "\n");
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_NEXT, .uid = 7 });
	torn = b.len;
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_NEXT, .uid = 8 });
	b.len--;	/* not ended yet */
	used = uidlist_walk((char *)b.data, b.len, walk_line, &w, &count, &bad, &stop);
	check(used == torn && count == 3 && bad == 1 && stop == 0);
	check(w.n == 2 && w.uids[0] == 5 && w.uids[1] == 7);
	buf_deinit(&b);
}

static void test_name_is_taken_apart(void)
{
	static const struct {
		const char *name;
		bool ok;
		size_t base_len;
		uint32_t flags, letters;
	} rows[] = {
		{ "1.M2P3.h", true, 8, 0, 0 },
		{ "1.M2P3.h:2,", true, 8, 0, 0 },
		{ "1.M2P3.h,S=5:2,DFPRSTab", true, 12, MAIL_FLAGS_ALL, 3 },
		{ "1.M2P3.h:2,Sz,Fb", true, 8, MAIL_SEEN, 1u << 25 },
		{ "1.M2P3.h:1,S", true, 8, 0, 0 },
		{ "x:2,S:2,F", true, 1, MAIL_SEEN, 0 },
		{ ":2,S", false, 0, 0, 0 },
		{ ".hidden", false, 0, 0, 0 },
		{ "a\rb", false, 0, 0, 0 },
		{ "a\nb", false, 0, 0, 0 },
		{ "", false, 0, 0, 0 },
	};
	struct maildir_name n;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		check_row(maildir_name_parse(rows[i].name, &n) == rows[i].ok, i);
		if (!rows[i].ok)
			continue;
		check_row(n.base_len == rows[i].base_len, i);
		check_row(n.flags == rows[i].flags && n.letters == rows[i].letters, i);
	}
}

static void test_info_is_sorted_and_keeps_what_it_does_not_know(void)
{
	static const struct {
		const char *old;
		uint32_t flags, letters, known;
		const char *out;
	} rows[] = {
		{ "", 0, 0, 0, ":2," },
		{ "", MAIL_FLAGS_ALL, 0, 0, ":2,DFRST" },
		{ ":2,ST", MAIL_SEEN, 0, 0, ":2,S" },
		{ ":2,PS", MAIL_FLAGGED, 0, 0, ":2,FP" },
		{ ":2,SXP", MAIL_DRAFT | MAIL_DELETED, 0, 0, ":2,DPTX" },
		{ ":2,Sabz", 0, 1, 3, ":2,az" },	/* b is ours, z is not */
		{ ":2,S,more:2,x", MAIL_ANSWERED, 2, 3, ":2,Rb,more:2,x" },
		{ ":1,S", MAIL_SEEN, 0, 0, ":2,S" },
		{ ":2,SS", MAIL_SEEN, 0, 0, ":2,S" },
	};
	char info[MAILDIR_NAME_MAX + 1];

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		check_row(maildir_name_info(rows[i].old, 10, rows[i].flags, rows[i].letters,
					    rows[i].known, info) == 0, i);
		check_row(!strcmp(info, rows[i].out), i);
	}
	check(maildir_name_info("", 251, MAIL_SEEN, 0, 0, info) == 0);
	check(maildir_name_info("", 252, MAIL_SEEN, 0, 0, info) < 0);
}

static void test_names_sort_by_time(void)
{
	static const char *const sorted[] = {
		"no-number", "1.M5P1.h", "1.M10P1.h", "1.M10P2.h", "1.P1M11.h", "2.M1P1.h",
		"10.h", "10.h2",
	};

	for (size_t i = 0; i < UNIT_COUNT(sorted); i++) {
		for (size_t j = 0; j < UNIT_COUNT(sorted); j++) {
			int order = maildir_name_cmp(sorted[i], strlen(sorted[i]), sorted[j],
						     strlen(sorted[j]));

			check_row((order < 0) == (i < j) && (order > 0) == (i > j), i * 100 + j);
		}
	}
}

static void test_sizes_in_names(void)
{
	static const struct {
		const char *base;
		int64_t size, vsize;
	} rows[] = {
		{ "1.h,S=12,W=34", 12, 34 },
		{ "1.h,W=34,S=12", 12, 34 },
		{ "1.h", -1, -1 },
		{ "1.h,S=", -1, -1 },
		{ "1.h,S=99999999999999999999999", -1, -1 },
		{ "S=3", -1, -1 },
	};
	int64_t size, vsize;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		maildir_name_sizes(rows[i].base, strlen(rows[i].base), &size, &vsize);
		check_row(size == rows[i].size && vsize == rows[i].vsize, i);
	}
}

struct records {
	char text[512];
};

static int add_text(void *ctx, uint32_t uid, const char *base, size_t len)
{
	struct records *r = ctx;
	size_t at = strlen(r->text);

	snprintf(r->text + at, sizeof(r->text) - at, "%u=%.*s;", uid, (int)len, base);
	return 0;
}

static int add_record(void *ctx, const struct dovecot_record *r)
{
	return add_text(ctx, r->uid, r->base, r->base_len);
}

static int add_words(void *ctx, const struct dovecot_record *r)
{
	return add_text(ctx, r->uid, r->words, r->words_len);
}

static int add_letter(void *ctx, int letter, const char *name, size_t len)
{
	return add_text(ctx, (uint32_t)letter, name, len);
}

static void test_dovecot_uidlists_are_read(void)
{
	static const struct {
		const char *text;
		int rc;
		uint32_t uidvalidity, next;
		bool has_id;
		const char *records;
	} rows[] = {
		{ "3 V1795338087 N1 G1faf6f2267af026b1ca1030083ecc375\n1 :1795338087.M7P232483.h\n",
		  0, 1795338087, 1, true, "1=1795338087.M7P232483.h;" },
		{ "3 V5 N9 Xother\n2 S12 W34 :a b,S=1:2,S\n7 Gid :c\n", 0, 5, 9, false,
		  "2=a b,S=1;7=c;" },
		{ "1 77 12\n3 name\n11 other:2,S\n", 0, 77, 12, false, "3=name;11=other;" },
		/* What is no record is left out; so is a line without its end. */
		{ "3 V5 N9\n0 :a\n4294967295 :b\nx\n3\n3 :\n4 :d/e\n5 :.f\n6 :g\n7 :h", 0, 5, 9,
		  false, "6=g;" },
		{ "3 N9\n1 :a\n", -EINVAL, 0, 0, false, "" },
		{ "2 V5 N9\n1 :a\n", -EINVAL, 0, 0, false, "" },
		{ "3 V5 N9", -EINVAL, 0, 0, false, "" },
		{ "", -EINVAL, 0, 0, false, "" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct dovecot_uidlist h;
		struct records r = { "" };

		check_row(dovecot_uidlist_parse(rows[i].text, strlen(rows[i].text), &h, add_record,
						&r) == rows[i].rc, i);
		check_row(!strcmp(r.text, rows[i].records), i);
		if (rows[i].rc == 0)
			check_row(h.uidvalidity == rows[i].uidvalidity &&
				  h.next_uid == rows[i].next && h.has_id == rows[i].has_id, i);
	}
}

/* What is not ours goes home unchanged. */
static void test_dovecot_words_are_kept(void)
{
	static const char text[] = "3 V5 N9 P3 G1faf6f2267af026b1ca1030083ecc375 Xy\n"
				   "1 S5 W6 Ppop-1 :a\n2 :b\n3 Gid  :c d\n";
	struct dovecot_uidlist h;
	struct records r = { "" };

	check(dovecot_uidlist_parse(text, strlen(text), &h, add_words, &r) == 0);
	check(!strcmp(r.text, "1=S5 W6 Ppop-1;2=;3=Gid ;"));
	check(!strcmp(h.other, " P3 Xy"));
}

static void test_dovecot_keywords_are_read(void)
{
	static const char text[] =
		"0 $Label1\n3 gap\n3 again\n26 none\nx y\n25 with blank\n4\n5 \n6 torn";
	struct records r = { "" };

	check(dovecot_keywords_parse(text, strlen(text), add_letter, &r) == 0);
	check(!strcmp(r.text, "0=$Label1;3=gap;25=with blank;"));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_lines_come_back_as_written),
		UNIT_TEST(test_every_damage_is_noticed),
		UNIT_TEST(test_nonsense_is_refused),
		UNIT_TEST(test_walk_skips_torn_lines_and_waits_for_the_last),
		UNIT_TEST(test_name_is_taken_apart),
		UNIT_TEST(test_info_is_sorted_and_keeps_what_it_does_not_know),
		UNIT_TEST(test_names_sort_by_time),
		UNIT_TEST(test_sizes_in_names),
		UNIT_TEST(test_dovecot_uidlists_are_read),
		UNIT_TEST(test_dovecot_words_are_kept),
		UNIT_TEST(test_dovecot_keywords_are_read),
	};
	return unit_run("uidlist", tests, UNIT_COUNT(tests));
}
