/* SPDX-License-Identifier: MIT */
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/maildir-unique.h"
#include "master/deliver.h"
#include "master/dormouse-rows.h"

/* ---- rows ---- */

static void add_row(struct rows *rows, const char *const *cells, uint32_t n)
{
	struct ipc_out *out = ipc_out_create(CTL_ROW);
	struct ipc_in *in = NULL;
	const void *data;
	size_t len;

	ipc_out_array(out, n);
	for (uint32_t i = 0; i < n; i++) {
		ipc_out_array(out, 2);
		ipc_out_str(out, cells[2 * i]);
		ipc_out_str(out, cells[2 * i + 1]);
	}
	data = ipc_out_data(out, &len);
	require(data && ipc_in_decode(data, len, &in) == 0);
	check(rows_add(rows, in) == 0);
	ipc_in_destroy(&in);
	ipc_out_destroy(&out);
}

static bool text_is(struct buf *out, const char *wanted)
{
	bool same;

	buf_append_u8(out, 0);
	same = strcmp((char *)out->data, wanted) == 0;
	if (!same)
		fprintf(stderr, "\n--- got\n%s--- wanted\n%s", out->data, wanted);
	buf_reset(out);
	return same;
}

static void test_rows_are_tables_for_people(void)
{
	static const char *const one[] = { "kind", "x", "id", "a1", "user", "anna" };
	static const char *const two[] = { "kind", "x", "id", "b22222", "user", "" };
	static const char *const other[] = { "port", "143" };
	struct rows rows = { 0 };
	struct buf out;

	buf_init(&out, 65536);
	add_row(&rows, one, 3);
	add_row(&rows, two, 3);
	add_row(&rows, other, 1);
	rows_print(&rows, &out);
	check(text_is(&out, "id      user\na1      anna\nb22222  -\n\nport\n143\n"));
	rows_deinit(&rows);
	buf_deinit(&out);
}

/* A user name or a mailbox is a stranger's text. */
static void test_rows_cannot_move_the_cursor(void)
{
	static const char *const bad[] = { "user", "a\x1b[2J\nroot\xc2\x9b" "1\xff\xe9\xc3\xa9" };
	struct rows rows = { 0 };
	struct buf out;

	buf_init(&out, 65536);
	add_row(&rows, bad, 1);
	rows_print(&rows, &out);
	check(text_is(&out, "user\na?[2J?root?1??\xc3\xa9\n"));
	rows_deinit(&rows);
	buf_deinit(&out);
}

static void test_json_strings(void)
{
	static const struct {
		const char *text, *json;
	} rows[] = {
		{ "", "\"\"" },
		{ "anna", "\"anna\"" },
		{ "a\"b\\c/", "\"a\\\"b\\\\c/\"" },
		{ "\n\t\x01\x7f", "\"\\u000a\\u0009\\u0001\\u007f\"" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xad",
		  "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xad\"" },
		{ "\xff", "\"\\ufffd\"" },
		{ "\xc0\x80", "\"\\ufffd\\ufffd\"" },	/* too long a form */
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },	/* surrogate */
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },	/* cut */
	};
	struct buf out;

	buf_init(&out, 65536);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		json_string(rows[i].text, &out);
		check_row(text_is(&out, rows[i].json), i);
	}
	buf_deinit(&out);
}

static void test_rows_as_json(void)
{
	static const char *const one[] = { "id", "a1", "user", "x\"y" };
	struct rows rows = { 0 };
	struct buf out;

	buf_init(&out, 65536);
	rows_json(&rows, false, "no", &out);
	check(text_is(&out, "{\"ok\": false, \"text\": \"no\", \"rows\": []}\n"));
	add_row(&rows, one, 2);
	rows_json(&rows, true, "", &out);
	check(text_is(&out, "{\"ok\": true, \"text\": \"\", \"rows\": [\n"
		      " {\"id\": \"a1\", \"user\": \"x\\\"y\"}]}\n"));
	rows_deinit(&rows);
	buf_deinit(&out);
}

/* ---- deliver ---- */

static void test_deliver_finds_the_mailbox(void)
{
	static const struct {
		const char *mailbox;
		int ret;
		const char *dir;
	} rows[] = {
		{ "INBOX", 0, "/m" },
		{ "inbox", 0, "/m" },
		{ "Lists", 0, "/m/.Lists" },
		{ "Lists.debian", 0, "/m/.Lists.debian" },
		{ "Entw\xc3\xbcrfe", 0, "/m/.Entw&APw-rfe" },
		{ "a&b", 0, "/m/.a&-b" },
		{ "", -EINVAL, "" },
		{ ".", -EINVAL, "" },
		{ "..", -EINVAL, "" },
		{ "a..b", -EINVAL, "" },
		{ ".a", -EINVAL, "" },
		{ "a.", -EINVAL, "" },
		{ "a/b", -EINVAL, "" },
		{ "../x", -EINVAL, "" },
		{ "a\nb", -EINVAL, "" },
		{ "\xff", -EINVAL, "" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char dir[PATH_MAX] = "";
		int ret = deliver_mailbox_dir("/m", rows[i].mailbox, dir, sizeof(dir));

		check_row(ret == rows[i].ret, i);
		if (ret == 0)
			check_row(strcmp(dir, rows[i].dir) == 0, i);
	}
}

static void test_deliver_fills_in_the_mail_directory(void)
{
	static const struct {
		const char *mail, *user, *home;
		int ret;
		const char *dir;
	} rows[] = {
		{ "~/Maildir", "anna", "/home/anna", 0, "/home/anna/Maildir" },
		{ "/var/mail/%u/x", "anna", "/home/anna", 0, "/var/mail/anna/x" },
		{ "/var/mail/%u", "../root", "/h", -EINVAL, "" },
		{ "/var/mail/%u", ".", "/h", -EINVAL, "" },
		{ "/var/mail/%u", "", "/h", -EINVAL, "" },
		{ "~/Maildir", "anna", "relative", -EINVAL, "" },
		{ "/100%", "anna", "/h", 0, "/100%" },
	};
	char dir[PATH_MAX];

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int ret = deliver_mail_dir(rows[i].mail, rows[i].user, rows[i].home, dir,
					   sizeof(dir));

		check_row(ret == rows[i].ret, i);
		if (ret == 0)
			check_row(strcmp(dir, rows[i].dir) == 0, i);
	}
	check(deliver_mail_dir("~/Maildir", "a", "/home/a", dir, 10) == -ENAMETOOLONG);
}

static void test_unique_names_are_unique(void)
{
	char last[MAILDIR_UNIQUE_MAX_BYTES] = "", name[MAILDIR_UNIQUE_MAX_BYTES];

	for (int i = 0; i < 10000; i++) {
		maildir_unique_name(name);
		check_row(strcmp(name, last) != 0, i);
		check_row(!strpbrk(name, "/:, "), i);
		strcpy(last, name);
	}
}

static int pipe_with(const char *text)
{
	int fds[2];

	require(pipe2(fds, O_CLOEXEC) == 0);
	require(write(fds[1], text, strlen(text)) == (ssize_t)strlen(text));
	close(fds[1]);
	return fds[0];
}

static void test_deliver_stores_lf_and_both_sizes(void)
{
	static const struct {
		const char *text, *stored, *sizes;
	} rows[] = {
		{ "a\r\nb\r\n", "a\nb\n", ",S=4,W=6" },
		{ "a\nb\n", "a\nb\n", ",S=4,W=6" },
		{ "a\r\nb", "a\nb", ",S=3,W=4" },
		{ "a\rb\r", "a\rb\r", ",S=4,W=4" },
		{ "a\r\r\n", "a\r\n", ",S=3,W=4" },
		{ "\r\n", "\n", ",S=1,W=2" },
	};
	char dir[] = "/tmp/test-dormouse-XXXXXX", box[64], name[256], path[400], got[64];

	require(mkdtemp(dir) != NULL);
	snprintf(box, sizeof(box), "%s/m", dir);
	require(deliver_make_maildir(box) == 0 && deliver_make_maildir(box) == 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		cleanup_fd int fd = pipe_with(rows[i].text), dir_fd = -1, file = -1;
		ssize_t n;

		require(deliver_store(box, fd, name, &dir_fd) == 0);
		snprintf(path, sizeof(path), "%s/new/%s", box, name);
		file = open(path, O_RDONLY);
		require(file >= 0);
		n = read(file, got, sizeof(got));
		check_row(n == (ssize_t)strlen(rows[i].stored) &&
			  memcmp(got, rows[i].stored, (size_t)n) == 0, i);
		check_row(strstr(name, rows[i].sizes) &&
			  strlen(strstr(name, rows[i].sizes)) == strlen(rows[i].sizes), i);
		unlink(path);
	}
	{
		cleanup_fd int fd = pipe_with("");
		int dir_fd = -1;

		check(deliver_store(box, fd, name, &dir_fd) == -ENODATA);
		check(dir_fd == -1);
	}
	/* Nothing was left in tmp, or these would fail. */
	for (int i = 0; i < 3; i++) {
		static const char *const parts[] = { "tmp", "new", "cur" };

		snprintf(path, sizeof(path), "%s/%s", box, parts[i]);
		check_row(rmdir(path) == 0, i);
	}
	check(rmdir(box) == 0 && rmdir(dir) == 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_rows_are_tables_for_people),
		UNIT_TEST(test_rows_cannot_move_the_cursor),
		UNIT_TEST(test_json_strings),
		UNIT_TEST(test_rows_as_json),
		UNIT_TEST(test_deliver_finds_the_mailbox),
		UNIT_TEST(test_deliver_fills_in_the_mail_directory),
		UNIT_TEST(test_unique_names_are_unique),
		UNIT_TEST(test_deliver_stores_lf_and_both_sizes),
	};
	return unit_run("dormouse", tests, UNIT_COUNT(tests));
}
