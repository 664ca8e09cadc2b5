/* SPDX-License-Identifier: MIT */
/* Sessions are counted once each, by what the holder says last. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/registry.h"
#include "tests/unit.h"

static enum registry_phase phase_of(const struct registry *r, uint64_t sid)
{
	enum registry_phase phase = (enum registry_phase)99;
	const char *user;

	(void)registry_get(r, sid, &user, &phase);
	return phase;
}

static void test_a_session_counts_from_its_ticket_to_its_end(void)
{
	struct registry *r = registry_create();

	check(registry_issue(r, 7, "anna", "192.0.2.7", 0) == 0);
	check(registry_issue(r, 7, "anna", "192.0.2.7", 0) == -EEXIST);
	check(registry_user_count(r, "anna") == 1 && phase_of(r, 7) == REGISTRY_LOGIN);
	check(registry_report(r, SESSION_AWAKE, 7, "anna", "") == 0);
	check(registry_user_count(r, "anna") == 1 && phase_of(r, 7) == REGISTRY_AWAKE);
	check(registry_report(r, SESSION_ASLEEP, 7, "anna", "") == 0);
	check(registry_user_count(r, "anna") == 1 && phase_of(r, 7) == REGISTRY_ASLEEP);
	check(registry_user_count(r, "bert") == 0);
	check(registry_report(r, SESSION_GONE, 7, "anna", "") == 0);
	check(registry_user_count(r, "anna") == 0 && registry_count(r) == 0);
	check(registry_report(r, SESSION_GONE, 7, "anna", "") == 0);	/* twice is harmless */
	registry_destroy(&r);
	check(r == NULL);
}

static void test_a_ticket_that_nobody_used_is_forgotten(void)
{
	struct registry *r = registry_create();

	registry_issue(r, 1, "anna", "192.0.2.7", 1000);
	registry_issue(r, 2, "anna", "192.0.2.7", 1500);
	registry_issue(r, 3, "anna", "192.0.2.7", 2000);
	registry_report(r, SESSION_AWAKE, 2, "anna", "");
	check(registry_expire(r, 1000 + REGISTRY_LOGIN_MS - 1) == 1);
	check(registry_count(r) == 3);
	check(registry_expire(r, 1000 + REGISTRY_LOGIN_MS) == 1000);
	check(registry_count(r) == 2 && phase_of(r, 2) == REGISTRY_AWAKE);
	check(registry_expire(r, 2000 + REGISTRY_LOGIN_MS) == 0);
	check(registry_user_count(r, "anna") == 1);
	check(registry_expire(r, UINT64_MAX) == 0);	/* the one that showed up stays */
	check(registry_user_count(r, "anna") == 1);
	registry_destroy(&r);
}

static void test_a_list_replaces_what_was_known(void)
{
	struct registry *r = registry_create();

	registry_issue(r, 1, "anna", "192.0.2.7", 0);		/* the holder cannot know it */
	registry_report(r, SESSION_AWAKE, 2, "anna", "");
	registry_report(r, SESSION_ASLEEP, 3, "bert", "");
	check(registry_report(r, SESSION_LIST_BEGINS, 0, "", "") == 0);
	registry_report(r, SESSION_ASLEEP, 3, "bert", "");
	registry_report(r, SESSION_AWAKE, 4, "carl", "");
	check(registry_count(r) == 4);
	check(registry_report(r, SESSION_LIST_ENDS, 0, "", "") == 0);
	check(registry_count(r) == 3);
	check(phase_of(r, 1) == REGISTRY_LOGIN && phase_of(r, 3) == REGISTRY_ASLEEP &&
	      phase_of(r, 4) == REGISTRY_AWAKE);
	/* An end without a beginning says nothing. */
	registry_report(r, SESSION_LIST_ENDS, 0, "", "");
	check(registry_count(r) == 3);
	registry_destroy(&r);
}

static void test_an_id_has_one_user(void)
{
	struct registry *r = registry_create();
	enum registry_phase phase;
	const char *user;

	registry_report(r, SESSION_AWAKE, 1, "anna", "");
	registry_report(r, SESSION_AWAKE, 1, "bert", "");
	check(registry_get(r, 1, &user, &phase) && strcmp(user, "bert") == 0);
	check(registry_user_count(r, "anna") == 0 && registry_count(r) == 1);
	check(registry_report(r, (enum ipc_session_event)9, 1, "x", "") == -EINVAL);
	registry_destroy(&r);
}

/* Against a plain array that is obviously right. */
static void test_many_sessions_are_counted_right(void)
{
	enum { SIDS = 3000, USERS = 40 };
	static int user_of[SIDS];
	static size_t per_user[USERS];
	struct registry *r = registry_create();
	uint64_t seed = unit_seed(), *sids;
	size_t total = 0, n;

	for (int i = 0; i < 60000; i++) {
		uint64_t x = unit_random(&seed);
		unsigned sid = x % SIDS, user = (x >> 16) % USERS;
		char name[16];
		snprintf(name, sizeof(name), "user%u", user);
		int *have = &user_of[sid];
		if (*have) {
			per_user[*have - 1]--;
			total--;
			*have = 0;
		}
		if ((x >> 32) % 3) {
			registry_report(r, SESSION_ASLEEP, (uint64_t)sid << 40 | 1, name, "");
			*have = (int)user + 1;
			per_user[user]++;
			total++;
		} else {
			registry_report(r, SESSION_GONE, (uint64_t)sid << 40 | 1, name, "");
		}
		check_row(registry_user_count(r, name) == per_user[user], i);
	}
	check(registry_count(r) == total);
	check(registry_list(r, &sids, &n) == 0 && n == total);
	for (size_t i = 0; i < n; i++)
		check_row(user_of[sids[i] >> 40] != 0, i);
	free(sids);
	registry_destroy(&r);
}

/* From its ticket on, asleep and awake, like those of its user. */
static void test_sessions_of_an_address_are_counted(void)
{
	struct registry *r = registry_create();

	for (uint64_t sid = 1; sid <= 300; sid++)	/* the tables grow */
		registry_issue(r, sid, sid % 2 ? "anna" : "bert", sid % 3 ? "a" : "b", 0);
	check(registry_address_count(r, "a") == 200 && registry_address_count(r, "b") == 100);
	check(registry_address_count(r, "c") == 0 && registry_address_count(r, "") == 0);
	/* What the holder says of a session from here does not move it. */
	registry_report(r, SESSION_ASLEEP, 3, "anna", "c");
	check(registry_address_count(r, "b") == 100 && registry_address_count(r, "c") == 0);
	registry_report(r, SESSION_GONE, 3, "anna", "c");
	check(registry_address_count(r, "b") == 99);
	registry_report(r, SESSION_AWAKE, 1, "anna", "");
	registry_expire(r, REGISTRY_LOGIN_MS);
	check(registry_address_count(r, "a") == 1 && registry_address_count(r, "b") == 0);
	registry_issue(r, 1000, "carl", "", 0);		/* of no address */
	check(registry_address_count(r, "") == 0);
	registry_destroy(&r);
}

/* After a restart addresses are what sessions say, and one user cannot say much. */
static void test_claimed_addresses_count_a_little(void)
{
	struct registry *r = registry_create();

	registry_report(r, SESSION_ASLEEP, 1, "anna", "a");
	registry_report(r, SESSION_AWAKE, 2, "bert", "a");
	registry_report(r, SESSION_AWAKE, 2, "bert", "b");	/* said once */
	check(registry_address_count(r, "a") == 2 && registry_address_count(r, "b") == 0);
	for (uint64_t sid = 100; sid < 200; sid++)
		registry_report(r, SESSION_AWAKE, sid, "mallory", "victim");
	check(registry_address_count(r, "victim") == 16);
	check(registry_user_count(r, "mallory") == 100);
	for (uint64_t sid = 100; sid < 200; sid++)
		registry_report(r, SESSION_GONE, sid, "mallory", "victim");
	check(registry_address_count(r, "victim") == 0);
	/* The user has its few again. */
	registry_report(r, SESSION_AWAKE, 300, "mallory", "c");
	check(registry_address_count(r, "c") == 1);
	registry_destroy(&r);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_a_session_counts_from_its_ticket_to_its_end),
		UNIT_TEST(test_a_ticket_that_nobody_used_is_forgotten),
		UNIT_TEST(test_a_list_replaces_what_was_known),
		UNIT_TEST(test_an_id_has_one_user),
		UNIT_TEST(test_many_sessions_are_counted_right),
		UNIT_TEST(test_sessions_of_an_address_are_counted),
		UNIT_TEST(test_claimed_addresses_count_a_little),
	};
	return unit_run("registry", tests, UNIT_COUNT(tests));
}
