/* SPDX-License-Identifier: MIT */
/* PLAIN in base64, and addresses as text: what imap-login reads of strangers
 * besides commands. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "imap-login/netaddr.h"
#include "imap-login/sasl-plain.h"
#include "tests/unit.h"

static const struct {
	const char *text;
	enum sasl_plain result;
	const char *authzid, *authcid, *password;
} cases[] = {
	/* RFC 4616 section 4 */
	{ "AHRpbQB0YW5zdGFhZnRhbnN0YWFm", SASL_PLAIN_OK, "", "tim", "tanstaaftanstaaf" },
	{ "VXJzZWwAS3VydAB4aXBqM3BsbXE=", SASL_PLAIN_OK, "Ursel", "Kurt", "xipj3plmq" },
	{ "AGEAYg==", SASL_PLAIN_OK, "", "a", "b" },
	{ "", SASL_PLAIN_MESSAGE },
	{ "AA==", SASL_PLAIN_MESSAGE },		/* NUL */
	{ "AAA=", SASL_PLAIN_MESSAGE },		/* NUL NUL */
	{ "AGEA", SASL_PLAIN_MESSAGE },		/* no password */
	{ "AABh", SASL_PLAIN_MESSAGE },		/* no user */
	{ "YQBhAGEAYQ==", SASL_PLAIN_MESSAGE },	/* three NULs */
	{ "YWJj", SASL_PLAIN_MESSAGE },
	{ "AGEAYg=", SASL_PLAIN_BASE64 },	/* not a multiple of four */
	{ "AGEAYg", SASL_PLAIN_BASE64 },
	{ "AGEAYh==", SASL_PLAIN_BASE64 },	/* bits left over */
	{ "AGEAYmN=", SASL_PLAIN_BASE64 },
	{ "AGE=AGEA", SASL_PLAIN_BASE64 },	/* padding in the middle */
	{ "A===", SASL_PLAIN_BASE64 },
	{ "====", SASL_PLAIN_BASE64 },
	{ "AGEA*g==", SASL_PLAIN_BASE64 },
	{ "AGE AYg=", SASL_PLAIN_BASE64 },
	{ "AGEA-_==", SASL_PLAIN_BASE64 },	/* the other alphabet */
	{ "\xff\xff\xff\xff", SASL_PLAIN_BASE64 },
};

static void test_plain_messages_are_taken_apart(void)
{
	struct sasl_plain_message m;

	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		enum sasl_plain got = sasl_plain_parse(cases[i].text, strlen(cases[i].text), &m);
		check_row(got == cases[i].result, i);
		if (got != SASL_PLAIN_OK || cases[i].result != SASL_PLAIN_OK)
			continue;
		check_row(strcmp(m.authzid, cases[i].authzid) == 0, i);
		check_row(strcmp(m.authcid, cases[i].authcid) == 0, i);
		check_row(strcmp(m.password, cases[i].password) == 0, i);
	}
}

static void test_a_message_has_a_greatest_size(void)
{
	static char text[8192];
	struct sasl_plain_message m;

	memset(text, 'A', sizeof(text));
	for (size_t n = 0; n <= sizeof(text); n += 4)
		check_row(sasl_plain_parse(text, n, &m) == SASL_PLAIN_MESSAGE, n);
	/* "\0a\0" and then b to the brim: 2046 bytes are 682 quartets. */
	memcpy(text, "AGEA", 4);
	for (size_t i = 4; i < 682 * 4; i += 4)
		memcpy(text + i, "YmJi", 4);
	require(sasl_plain_parse(text, 682 * 4, &m) == SASL_PLAIN_OK);
	check(strlen(m.password) == 2046 - 3);
	memcpy(text + 682 * 4, "YmJi", 4);
	check(sasl_plain_parse(text, 683 * 4, &m) == SASL_PLAIN_MESSAGE);
}

static void test_nothing_of_a_message_stays(void)
{
	static const struct sasl_plain_message zero;
	struct sasl_plain_message m;

	check(sasl_plain_parse("AGEAYg==", 8, &m) == SASL_PLAIN_OK);
	sasl_plain_wipe(&m);
	check(memcmp(&m, &zero, sizeof(m)) == 0);
	check(sasl_plain_parse("AGEAYgBj", 8, &m) == SASL_PLAIN_MESSAGE);
	check(memcmp(&m, &zero, sizeof(m)) == 0);
}

static void test_addresses_are_shown_as_people_write_them(void)
{
	static const struct {
		int family;
		const char *in, *out;
		bool loopback;
	} rows[] = {
		{ AF_INET, "192.0.2.7", "192.0.2.7", false },
		{ AF_INET, "127.0.0.1", "127.0.0.1", true },
		{ AF_INET, "127.255.0.9", "127.255.0.9", true },
		{ AF_INET, "128.0.0.1", "128.0.0.1", false },
		{ AF_INET6, "2001:db8::7", "2001:db8::7", false },
		{ AF_INET6, "::1", "::1", true },
		{ AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", true },
		{ AF_INET6, "::ffff:192.0.2.7", "192.0.2.7", false },
		{ AF_INET6, "::127.0.0.1", "::127.0.0.1", false },
		{ AF_INET6, "fe80::1", "fe80::1%3", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sockaddr_storage sa = { .ss_family = (sa_family_t)rows[i].family };
		struct sockaddr_in *sin = (struct sockaddr_in *)&sa;
		struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&sa;
		struct netaddr a;
		if (rows[i].family == AF_INET) {
			inet_pton(AF_INET, rows[i].in, &sin->sin_addr);
			sin->sin_port = htons(143);
		} else {
			inet_pton(AF_INET6, rows[i].in, &sin6->sin6_addr);
			sin6->sin6_port = htons(143);
			sin6->sin6_scope_id = 3;
		}
		check_row(netaddr_from(&sa, &a), i);
		check_row(strcmp(a.ip, rows[i].out) == 0 && a.port == 143, i);
		check_row(a.loopback == rows[i].loopback, i);
	}
	struct sockaddr_storage un = { .ss_family = AF_UNIX };
	struct netaddr a;
	check(!netaddr_from(&un, &a) && !a.loopback && strcmp(a.ip, "unknown") == 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_plain_messages_are_taken_apart),
		UNIT_TEST(test_a_message_has_a_greatest_size),
		UNIT_TEST(test_nothing_of_a_message_stays),
		UNIT_TEST(test_addresses_are_shown_as_people_write_them),
	};
	return unit_run("sasl-plain", tests, UNIT_COUNT(tests));
}
