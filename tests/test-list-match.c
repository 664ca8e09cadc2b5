/* SPDX-License-Identifier: MIT */
/* Patterns of LIST, the order of names, and what mailboxes are for. */
#include <string.h>

#include "imap/list-match.h"
#include "lib/special-use.h"
#include "tests/unit.h"

static void test_patterns_match(void)
{
	static const struct {
		const char *pattern, *name;
		bool match;
	} rows[] = {
		{ "*", "INBOX", true }, { "*", "a.b.c", true }, { "%", "a", true },
		{ "%", "a.b", false }, { "%.%", "a.b", true }, { "%.%", "a", false },
		{ "%.%", "a.b.c", false }, { "a*", "a.b", true }, { "a%", "a.b", false },
		{ "a%", "ab", true }, { "a.%", "a.", true }, { "a", "a", true },
		{ "a", "A", false }, { "A", "a", false }, { "", "a", false },
		{ "inbox", "INBOX", true }, { "InBoX", "INBOX", true },
		{ "inb*", "INBOX", true }, { "in%ox", "INBOX", true },
		{ "inbox.a", "INBOX.a", true }, { "inbox.A", "INBOX.a", false },
		{ "inbox*", "INBOX.a", true }, { "inboxes", "INBOXes", false },
		{ "INBOXes", "INBOXes", true }, { "*x", "INBOX", true },
		{ "*.b", "a.b", true }, { "*.b", "b", false }, { "**", "a", true },
		{ "%%", "a", true }, { "%*%", "a.b.c", true }, { "*%", "a.b", true },
		{ "a*c*e", "abcde", true }, { "a*c*e", "abcdef", false },
		{ "&APw-%", "&APw-x", true }, { "\xc3\xbc*", "\xc3\xbc""ber", true },
		{ "a.*", "a", false }, { "a*", "a", true },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct arena *a = arena_create();
		struct list_pattern *p = list_pattern_create(a, rows[i].pattern, '.');

		check_row(list_pattern_match(p, rows[i].name) == rows[i].match, i);
		/* It can be asked again. */
		check_row(list_pattern_match(p, rows[i].name) == rows[i].match, i);
		check_row(list_pattern_has_percent(p) ==
			  (strchr(rows[i].pattern, '%') != NULL), i);
		arena_destroy(&a);
	}
}

/* Wildcards in a row must not multiply: 2000 of them against a long name. */
static void test_time_is_bounded(void)
{
	char pattern[LIST_PATTERN_MAX_BYTES + 1], name[1025];
	struct arena *a = arena_create();
	struct list_pattern *p;

	for (size_t i = 0; i < LIST_PATTERN_MAX_BYTES; i++)
		pattern[i] = "*a%"[i % 3];
	pattern[LIST_PATTERN_MAX_BYTES] = '\0';
	memset(name, 'a', 1024);
	name[1024] = '\0';
	p = list_pattern_create(a, pattern, '.');
	check(list_pattern_match(p, name));
	name[1023] = 'b';
	pattern[LIST_PATTERN_MAX_BYTES - 2] = 'c';
	pattern[LIST_PATTERN_MAX_BYTES - 1] = 'c';
	p = list_pattern_create(a, pattern, '.');
	check(!list_pattern_match(p, name));
	arena_destroy(&a);
}

static void test_children_follow_their_parent(void)
{
	static const char *const order[] = {
		"INBOX", "A", "A.b", "A.b.c", "A b", "A-b", "INBOX.x", "a", "a.z", "a-a", "b",
	};

	for (size_t i = 0; i < UNIT_COUNT(order); i++) {
		for (size_t j = 0; j < UNIT_COUNT(order); j++) {
			int cmp = list_name_cmp(order[i], order[j], '.');

			check_row((cmp > 0) - (cmp < 0) == (i > j) - (i < j), i * 100 + j);
		}
	}
}

static void test_special_use_is_found_by_name(void)
{
	static const char setting[] =
		"Sent=Sent, Sent Items = \\sent ,a=b=Junk,,\xc3\x9c=ARCHIVE, late=Trash";
	static const struct {
		const char *name, *use;
	} rows[] = {
		{ "Sent", "\\Sent" }, { "Sent Items", "\\Sent" }, { "a=b", "\\Junk" },
		{ "\xc3\x9c", "\\Archive" }, { "late", "\\Trash" }, { "sent", NULL },
		{ "Sen", NULL }, { "Sentt", NULL }, { "", NULL }, { "Items", NULL },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const char *use = special_use_of(setting, rows[i].name);

		check_row(use == rows[i].use ||
			  (use != NULL && rows[i].use != NULL && strcmp(use, rows[i].use) == 0),
			  i);
	}
	check(special_use_of("", "Sent") == NULL);
}

static void test_special_use_is_checked(void)
{
	static const struct {
		const char *setting;
		bool valid;
	} rows[] = {
		{ "", true }, { " , ", true }, { "Sent=Sent", true }, { "a=\\All,b=flagged", true },
		{ "Sent", false }, { "=Sent", false }, { "Sent=", false }, { "a=Inbox", false },
		{ "a=Sent b=Junk", true }, { "a=Sent,b", false }, { "a=\\", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const char *why = NULL;

		check_row(special_use_valid(rows[i].setting, &why) == rows[i].valid, i);
		check_row(rows[i].valid || why != NULL, i);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_patterns_match),
		UNIT_TEST(test_time_is_bounded),
		UNIT_TEST(test_children_follow_their_parent),
		UNIT_TEST(test_special_use_is_found_by_name),
		UNIT_TEST(test_special_use_is_checked),
	};
	return unit_run("list-match", tests, UNIT_COUNT(tests));
}
