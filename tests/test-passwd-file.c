/* SPDX-License-Identifier: MIT */
/* The passwd-file: what a good line says, and that no bad one lets anybody in
 * with more than it says. Password schemes, too. */
#include <crypt.h>
#include <errno.h>
#include <string.h>

#include "auth/passwd-file.h"
#include "tests/unit.h"

static unsigned complaints, last_line;
static char last[600];

static void complain(void *ctx, unsigned line, const char *what)
{
	complaints++;
	last_line = line;
	snprintf(last, sizeof(last), "%s", what);
}

static int find_uid(const char *name, uid_t *uid_r)
{
	if (strcmp(name, "vmail") == 0)
		*uid_r = 5000;
	else if (strcmp(name, "root") == 0)
		*uid_r = 0;
	else
		return -ENOENT;
	return 0;
}

static int find_gid(const char *name, gid_t *gid_r)
{
	if (strcmp(name, "mail") != 0)
		return -ENOENT;
	*gid_r = 8;
	return 0;
}

static const struct passwd_rules as_root = {
	.find_uid = find_uid, .find_gid = find_gid, .complain = complain,
};
static const struct passwd_rules as_user = {
	.user_mode = true, .own_uid = 1000, .own_gid = 1001,
	.find_uid = find_uid, .find_gid = find_gid, .complain = complain,
};

static struct passwd_table *parsed_len(const char *text, size_t len,
	const struct passwd_rules *rules)
{
	complaints = last_line = 0;
	last[0] = '\0';
	struct passwd_table *t = passwd_table_parse(text, len, rules);
	require(t != NULL);
	return t;
}

static struct passwd_table *parsed(const char *text, const struct passwd_rules *rules)
{
	return parsed_len(text, strlen(text), rules);
}

static void test_a_line_says_who_a_user_is(void)
{
	struct passwd_table *t = parsed("anna:{PLAIN}geheim:1001:1002:Anna:/home/anna:/bin/sh:\n",
		&as_root);
	const struct passwd_user *u = passwd_table_find(t, "anna");

	require(u != NULL);
	check(u->uid == 1001 && u->gid == 1002);
	check(strcmp(u->home, "/home/anna") == 0);
	check(u->scheme == PASSWORD_PLAIN && strcmp(u->hash, "geheim") == 0);
	check(complaints == 0);
	check(passwd_table_find(t, "Anna") == NULL);
	check(passwd_table_find(t, "ann") == NULL);
	check(passwd_table_find(t, "") == NULL);
	passwd_table_destroy(&t);
	check(t == NULL);
}

static void test_names_stand_for_numbers(void)
{
	struct passwd_table *t = parsed("a:{PLAIN}p:vmail:mail::/h", &as_root);
	const struct passwd_user *u = passwd_table_find(t, "a");

	require(u != NULL);
	check(u->uid == 5000 && u->gid == 8);
	passwd_table_destroy(&t);
}

static void test_comments_and_blank_lines_are_nothing(void)
{
	struct passwd_table *t = parsed("# a comment: with:colons\n\n  \t\n#\n\r\n"
		"a:{PLAIN}p:500:500::/h\r\n# end", &as_root);

	check(passwd_table_count(t) == 1 && complaints == 0);
	passwd_table_destroy(&t);
	t = parsed("", &as_root);
	check(passwd_table_count(t) == 0 && complaints == 0);
	check(passwd_table_find(t, "a") == NULL);
	passwd_table_destroy(&t);
}

/* Each is left out, with one reason; its neighbours are not. */
static void test_a_bad_line_lets_nobody_in(void)
{
	static const struct {
		const char *line, *why;
	} rows[] = {
		{ "bad", "no password" },
		{ ":{PLAIN}p:500:500::/h", "no user name" },
		{ "bad::500:500::/h", "no password" },
		{ "bad:{PLAIN}:500:500::/h", "no password" },
		{ "bad:{PLAINp:500:500::/h", "no }" },
		{ "bad:{ARGON9}p:500:500::/h", "not known" },
		{ "bad:{PLAIN-MD5}p:500:500::/h", "not known" },
		{ "bad:{SHA512-CRYPT}$5$ab$x:500:500::/h", "not one of its scheme" },
		{ "bad:{CRYPT}$99$ab$x:500:500::/h", "libcrypt" },
		{ "bad:plain text:500:500::/h", "libcrypt" },
		{ "bad:{PLAIN}p::500::/h", "no uid" },
		{ "bad:{PLAIN}p:500:::/h", "no gid" },
		{ "bad:{PLAIN}p:0:500::/h", "uid 0" },
		{ "bad:{PLAIN}p:00:500::/h", "uid 0" },
		{ "bad:{PLAIN}p:root:500::/h", "uid 0" },
		{ "bad:{PLAIN}p:500:0::/h", "gid 0" },
		{ "bad:{PLAIN}p:99:500::/h", "below 100" },
		{ "bad:{PLAIN}p:-1:500::/h", "neither" },
		{ "bad:{PLAIN}p:4294967295:500::/h", "neither" },
		{ "bad:{PLAIN}p:4294967296:500::/h", "neither" },
		{ "bad:{PLAIN}p:18446744073709552116:500::/h", "neither" },
		{ "bad:{PLAIN}p:500:4294967295::/h", "neither" },
		{ "bad:{PLAIN}p:500 :500::/h", "neither" },
		{ "bad:{PLAIN}p:nobody-knows:500::/h", "neither" },
		{ "bad:{PLAIN}p:500:500::", "no home" },
		{ "bad:{PLAIN}p:500:500", "no home" },
		{ "bad:{PLAIN}p:500:500::home", "begin with /" },
		{ "bad:{PLAIN}p:500:500::/h\x01", "control" },
		{ "b\x7f" "ad:{PLAIN}p:500:500::/h", "control" },
		{ "../bad:{PLAIN}p:500:500::/h", "must not" },
		{ ".bad:{PLAIN}p:500:500::/h", "must not" },
		{ "bad:{PLAIN}p:500:500::/h::nologin", "nologin" },
		{ "bad:{PLAIN}p:500:500::/h::userdb_x=1 nologin=y", "nologin" },
		{ "bad:{PLAIN}p:500:500::/h::allow_nets=192.0.2.0/24", "allow_nets" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char text[512];
		snprintf(text, sizeof(text), "one:{PLAIN}p:500:500::/h\n%s\n"
			"two:{PLAIN}p:500:500::/h\n", rows[i].line);
		struct passwd_table *t = parsed(text, &as_root);
		check_row(passwd_table_count(t) == 2, i);
		check_row(passwd_table_find(t, "one") && passwd_table_find(t, "two"), i);
		check_row(complaints >= 1 && last_line == 2, i);
		check_row(strstr(last, rows[i].why) != NULL, i);
		passwd_table_destroy(&t);
	}
}

static void test_a_nul_is_no_end_of_line(void)
{
	static const char text[] = "a:{PLAIN}p:500:500::/h\0:x\nb:{PLAIN}p:500:500::/h";
	struct passwd_table *t = parsed_len(text, sizeof(text) - 1, &as_root);

	check(passwd_table_count(t) == 1 && passwd_table_find(t, "b"));
	check(last_line == 1 && strstr(last, "NUL"));
	passwd_table_destroy(&t);
}

static void test_harmless_extra_fields_are_told_and_overlooked(void)
{
	struct passwd_table *t = parsed(
		"a:{PLAIN}p:500:500::/h::userdb_mail=maildir:/x  userdb_quota=1", &as_root);

	check(passwd_table_find(t, "a") != NULL && complaints == 2);
	passwd_table_destroy(&t);
}

static void test_the_first_of_two_equal_names_counts(void)
{
	struct passwd_table *t = parsed("b:{PLAIN}x:500:500::/h\na:{PLAIN}first:500:500::/h\n"
		"c:{PLAIN}x:500:500::/h\na:{PLAIN}second:500:500::/h\n", &as_root);
	const struct passwd_user *u = passwd_table_find(t, "a");

	require(u != NULL);
	check(strcmp(u->hash, "first") == 0);
	check(passwd_table_count(t) == 3 && complaints == 1 && last_line == 4);
	passwd_table_destroy(&t);
}

static void test_user_mode_serves_nobody_but_its_user(void)
{
	struct passwd_table *t = parsed("a:{PLAIN}p::::/h\nb:{PLAIN}p:1000:1001::/h\n"
		"c:{PLAIN}p:1002:1001::/h\nd:{PLAIN}p:1000:8::/h\ne:{PLAIN}p:0:::/h\n", &as_user);
	const struct passwd_user *u = passwd_table_find(t, "a");

	require(u != NULL);
	check(u->uid == 1000 && u->gid == 1001);
	check(passwd_table_find(t, "b") != NULL);
	check(passwd_table_count(t) == 2 && complaints == 3);
	passwd_table_destroy(&t);
}

static void test_every_user_of_many_is_found(void)
{
	static char text[200000];
	size_t at = 0;

	for (unsigned i = 0; i < 3000; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
			"u%u:{PLAIN}p:%u:500::/h\n", i * 7919 % 3000, 1000 + i * 7919 % 3000);
	struct passwd_table *t = parsed(text, &as_root);
	check(passwd_table_count(t) == 3000);
	for (unsigned i = 0; i < 3000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "u%u", i);
		const struct passwd_user *u = passwd_table_find(t, name);
		check_row(u && u->uid == 1000 + i, i);
	}
	passwd_table_destroy(&t);
}

/* ---- schemes ---- */

static void test_schemes_check_their_passwords(void)
{
	static const struct {
		const char *scheme, *setting;
	} rows[] = {
		{ "{SHA512-CRYPT}", "$6$rounds=1000$saltsalt" },
		{ "{sha256-crypt}", "$5$rounds=1000$saltsalt" },
		{ "{BLF-CRYPT}", "$2y$04$abcdefghijklmnopqrstuu" },
		{ "{MD5-CRYPT}", "$1$saltsalt" },
		{ "{CRYPT}", "$6$rounds=1000$saltsalt" },
		{ "", "$6$rounds=1000$saltsalt" },	/* CRYPT is the default */
		{ "{CRYPT}", "$y$j75$saltsalt" },	/* yescrypt */
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		enum password_scheme scheme;
		const char *hash, *made = crypt("right", rows[i].setting);
		char field[512];
		require(made != NULL);
		snprintf(field, sizeof(field), "%s%s", rows[i].scheme, made);
		check_row(password_parse(field, &scheme, &hash) == NULL, i);
		check_row(scheme == PASSWORD_CRYPT, i);
		check_row(password_matches(scheme, hash, "right"), i);
		check_row(!password_matches(scheme, hash, "wrong"), i);
		check_row(!password_matches(scheme, hash, "righ"), i);
		check_row(!password_matches(scheme, hash, ""), i);
	}
}

static void test_plain_compares_all_of_it(void)
{
	check(password_matches(PASSWORD_PLAIN, "geheim", "geheim"));
	check(!password_matches(PASSWORD_PLAIN, "geheim", "geheim2"));
	check(!password_matches(PASSWORD_PLAIN, "geheim", "gehei"));
	check(!password_matches(PASSWORD_PLAIN, "geheim", ""));
	check(!password_matches(PASSWORD_PLAIN, "geheim", "Geheim"));
}

static void test_nothing_opens_a_locked_account(void)
{
	static const char *const fields[] = { "*", "!", "!$6$rounds=1000$a$b", "{CRYPT}!!" };

	for (size_t i = 0; i < UNIT_COUNT(fields); i++) {
		enum password_scheme scheme;
		const char *hash;
		check_row(password_parse(fields[i], &scheme, &hash) == NULL, i);
		check_row(scheme == PASSWORD_LOCKED, i);
		check_row(!password_matches(scheme, hash, hash), i);
		check_row(!password_matches(scheme, hash, ""), i);
	}
	/* What libcrypt returns at a failure is no hash of anything. */
	check(!password_matches(PASSWORD_CRYPT, "*0", "x"));
	check(!password_matches(PASSWORD_CRYPT, "*1", "x"));
	check(!password_matches(PASSWORD_CRYPT, "", "x"));
	check(!password_matches(PASSWORD_CRYPT, "$99$x$y", "x"));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_a_line_says_who_a_user_is),
		UNIT_TEST(test_names_stand_for_numbers),
		UNIT_TEST(test_comments_and_blank_lines_are_nothing),
		UNIT_TEST(test_a_bad_line_lets_nobody_in),
		UNIT_TEST(test_a_nul_is_no_end_of_line),
		UNIT_TEST(test_harmless_extra_fields_are_told_and_overlooked),
		UNIT_TEST(test_the_first_of_two_equal_names_counts),
		UNIT_TEST(test_user_mode_serves_nobody_but_its_user),
		UNIT_TEST(test_every_user_of_many_is_found),
		UNIT_TEST(test_schemes_check_their_passwords),
		UNIT_TEST(test_plain_compares_all_of_it),
		UNIT_TEST(test_nothing_opens_a_locked_account),
	};
	return unit_run("passwd-file", tests, UNIT_COUNT(tests));
}
