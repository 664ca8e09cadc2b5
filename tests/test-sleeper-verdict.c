/* SPDX-License-Identifier: MIT */
#include <sys/epoll.h>

#include "imap-hibernate/sleeper-verdict.h"
#include "tests/unit.h"

static void test_an_event_is_understood(void)
{
	static const struct {
		uint32_t events;
		int unread;
		enum sleeper_verdict want;
	} rows[] = {
		{ 0,				0,	SLEEPER_STAY },
		{ EPOLLIN,			6,	SLEEPER_WAKE },
		{ EPOLLIN | EPOLLRDHUP,		0,	SLEEPER_GONE },
		{ EPOLLIN | EPOLLRDHUP,		6,	SLEEPER_WAKE },	/* a last command */
		{ EPOLLRDHUP,			0,	SLEEPER_GONE },
		{ EPOLLIN | EPOLLRDHUP | EPOLLHUP, 0,	SLEEPER_GONE },
		{ EPOLLIN | EPOLLERR | EPOLLHUP, 6,	SLEEPER_GONE },	/* reset: nobody to answer */
		{ EPOLLERR,			0,	SLEEPER_GONE },
		{ EPOLLIN,			0,	SLEEPER_WAKE },	/* must not spin */
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(sleeper_verdict(rows[i].events, rows[i].unread) == rows[i].want, i);
}

static void test_the_next_keepalive_follows_from_the_count(void)
{
	static const uint16_t lengths[] = { 10, 1, 20 };
	static const struct { unsigned n; uint64_t done; size_t offset, len; } rows[] = {
		{ 3, 0, 0, 10 }, { 3, 4, 4, 6 }, { 3, 9, 9, 1 }, { 3, 10, 10, 1 },
		{ 3, 11, 11, 20 }, { 3, 30, 30, 1 }, { 3, 31, 31, 0 }, { 1, 10, 10, 0 },
		{ 0, 0, 0, 0 }, { 3, 1000, 31, 0 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct keepalive_turn t = keepalive_next(lengths, rows[i].n, rows[i].done);

		check_row(t.offset == rows[i].offset && t.len == rows[i].len, i);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_an_event_is_understood),
		UNIT_TEST(test_the_next_keepalive_follows_from_the_count),
	};
	return unit_run("sleeper-verdict", tests, UNIT_COUNT(tests));
}
