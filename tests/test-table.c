/* SPDX-License-Identifier: MIT */
/* The table must be whole whatever instruction its writer died at. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "imap-hibernate/table-space.h"
#include "imap-hibernate/table.h"
#include "tests/unit.h"

#define SESSIONS	200
#define STATE_MAX	3000

static uint8_t state_bytes[STATE_MAX];
static char ticket_bytes[TABLE_TICKET_MAX];

/* All of an entry follows from session and version. */
static struct table_entry entry_make(uint64_t sid, uint64_t version)
{
	static char user[32], remote[32], mailbox[64];
	static const char keepalives[] = "keepalive-onekeepalive-2";
	uint64_t rnd = sid * 31 + version;
	struct table_entry e = {
		.sid = sid, .cookie = sid ^ 0xabcd, .written = version, .consumed = ~version,
		.login_time = 1700000000 + sid, .since = (uint32_t)version, .uid = (uint32_t)sid,
		.watch = { (uint32_t)sid, NONE }, .flags = (uint8_t)(version & 3),
		.keepalives = keepalives, .user = user, .remote = remote, .mailbox = mailbox,
		.ticket = ticket_bytes, .state = state_bytes,
	};

	unit_random(&rnd);
	snprintf(user, sizeof(user), "user%llu", (unsigned long long)sid);
	snprintf(remote, sizeof(remote), "10.0.0.%u:1", (unsigned)(sid % 256));
	snprintf(mailbox, sizeof(mailbox), "box-%0*u", (int)(unit_random(&rnd) % 40), 1u);
	e.ticket_len = 20 + unit_random(&rnd) % 100;
	e.state_len = unit_random(&rnd) % 20 ? unit_random(&rnd) % 400 : unit_random(&rnd) % STATE_MAX;
	memset(state_bytes, (int)(version & 0xff), e.state_len);
	memset(ticket_bytes, (int)(sid & 0xff), e.ticket_len);
	if (version % 3) {
		e.n_keepalives = 2;
		e.keepalive_len[0] = 13;
		e.keepalive_len[1] = 11;
		e.keepalives_len = 24;
	}
	return e;
}

static bool entry_is(const struct table *t, uint32_t slot, uint64_t sid, uint64_t version)
{
	struct table_entry got, want = entry_make(sid, version);

	return table_read(t, slot, &got) && got.sid == want.sid && got.cookie == want.cookie &&
	       got.written == want.written && got.consumed == want.consumed &&
	       got.login_time == want.login_time && got.since == want.since &&
	       got.uid == want.uid && got.watch[0] == want.watch[0] &&
	       got.watch[1] == want.watch[1] && got.flags == want.flags &&
	       got.n_keepalives == want.n_keepalives &&
	       got.keepalives_len == want.keepalives_len &&
	       memcmp(got.keepalive_len, want.keepalive_len, sizeof(got.keepalive_len)) == 0 &&
	       memcmp(got.keepalives, want.keepalives, want.keepalives_len) == 0 &&
	       strcmp(got.user, want.user) == 0 && strcmp(got.remote, want.remote) == 0 &&
	       strcmp(got.mailbox, want.mailbox) == 0 && got.ticket_len == want.ticket_len &&
	       memcmp(got.ticket, want.ticket, want.ticket_len) == 0 &&
	       got.state_len == want.state_len &&
	       memcmp(got.state, want.state, want.state_len) == 0;
}

static struct table *fresh(void)
{
	struct table *t = NULL;

	require(table_create(&t) == 0);
	return t;
}

/* As the next process sees it. */
static struct table *adopted(struct table **old, unsigned *damaged)
{
	struct table *t = NULL;
	int fd = fcntl(table_fd(*old), F_DUPFD_CLOEXEC, 0);

	table_destroy(old);
	require(fd >= 0 && table_adopt(&t, fd, damaged) == 0);
	close(fd);
	return t;
}

static void test_entries_come_back_after_adoption(void)
{
	struct table *t = fresh();
	uint32_t slot[SESSIONS], other;
	unsigned damaged = 9;

	for (uint64_t i = 0; i < SESSIONS; i++) {
		struct table_entry e = entry_make(i + 1, i);

		require(table_commit(t, NONE, &e, i % 5 == 0, &slot[i]) == 0);
	}
	for (uint64_t i = 0; i < SESSIONS; i += 3)
		table_void(t, slot[i]);
	for (uint64_t i = 1; i < SESSIONS; i += 3) {
		struct table_entry e = entry_make(i + 1, i + 1000);

		require(table_commit(t, slot[i], &e, false, &other) == 0);
		check_row(other == slot[i], i);
	}
	table_set_generation(t, 77);
	t = adopted(&t, &damaged);
	check(damaged == 0 && table_generation(t) == 77 && !table_draining(t));
	for (uint64_t i = 0; i < SESSIONS; i++) {
		if (i % 3 == 0)
			check_row(slot[i] >= table_slots(t) || !table_used(t, slot[i]), i);
		else
			check_row(entry_is(t, slot[i], i + 1, i % 3 == 1 ? i + 1000 : i), i);
		if (i % 3 == 2)
			check_row(table_changed(t, slot[i]) == (i % 5 == 0), i);
	}
	table_destroy(&t);
}

static void test_free_records_and_space_are_used_again(void)
{
	struct table *t = fresh();
	struct stat before, after;
	uint64_t rnd = unit_seed();
	uint32_t slot[64];
	unsigned damaged;

	for (unsigned i = 0; i < 64; i++)
		slot[i] = NONE;
	for (unsigned round = 0; round < 200000; round++) {
		unsigned i = (unsigned)(unit_random(&rnd) % 64);
		struct table_entry e = entry_make(i + 1, unit_random(&rnd) % 1000);

		if (slot[i] != NONE && unit_random(&rnd) % 3 == 0) {
			table_void(t, slot[i]);
			slot[i] = NONE;
		} else {
			require(table_commit(t, slot[i], &e, false, &slot[i]) == 0);
		}
		if (round == 20000)
			fstat(table_fd(t), &before);
		if (round % 10000 == 9999)
			t = adopted(&t, &damaged);
	}
	fstat(table_fd(t), &after);
	check(after.st_size <= before.st_size + 2 * 65536);
	check(table_slots(t) <= 64);
	for (unsigned i = 0; i < 64; i++) {
		if (slot[i] != NONE)
			table_void(t, slot[i]);
	}
	check(table_bytes(t) <= 64 * 16);
	table_destroy(&t);
}

static void test_the_largest_state_fits_and_a_larger_one_does_not(void)
{
	struct table *t = fresh();
	struct table_entry e = entry_make(1, 1), got;
	uint32_t slot = NONE, other;
	uint8_t *big = calloc(1, STATE_MAX_BYTES + 1);

	e.state = big;
	e.state_len = STATE_MAX_BYTES;
	for (int i = 0; i < 20; i++)
		check_row(table_commit(t, slot, &e, false, &slot) == 0, i);
	check(table_read(t, slot, &got) && got.state_len == STATE_MAX_BYTES);
	e.state_len++;
	check(table_commit(t, slot, &e, false, &other) == -EINVAL);
	e.state_len = 1;
	e.keepalives_len++;
	check(table_commit(t, slot, &e, false, &other) == -EINVAL);
	check(table_read(t, slot, &got) && got.state_len == STATE_MAX_BYTES);
	free(big);
	table_destroy(&t);
}

static void test_a_torn_block_is_seen(void)
{
	struct table *t = fresh();
	struct table_entry e, got;
	uint32_t slot[3];
	unsigned damaged = 0;

	for (unsigned i = 0; i < 3; i++) {
		e = entry_make(i + 1, 5);
		require(table_commit(t, NONE, &e, false, &slot[i]) == 0);
	}
	require(table_read(t, slot[1], &got));
	((char *)(uintptr_t)got.ticket)[3] ^= 1;
	t = adopted(&t, &damaged);
	check(damaged == 1);
	check(!table_used(t, slot[1]));
	check(entry_is(t, slot[0], 1, 5) && entry_is(t, slot[2], 3, 5));
	table_destroy(&t);
}

static void test_what_is_no_table_is_refused(void)
{
	int fd = memfd_create("x", MFD_CLOEXEC);
	struct table *t = NULL;
	unsigned damaged;

	check(table_adopt(&t, fd, &damaged) == -EBADMSG);
	check(ftruncate(fd, 65536) == 0);
	check(table_adopt(&t, fd, &damaged) == -EBADMSG);
	check(ftruncate(fd, 65537) == 0);
	check(table_adopt(&t, fd, &damaged) == -EBADMSG);
	check(t == NULL);
	close(fd);
}

/* Any bytes where records and blocks should be: no crash, no sense made of them. */
static void test_garbage_in_a_table_is_survived(void)
{
	uint64_t rnd = unit_seed();

	for (unsigned round = 0; round < 300; round++) {
		struct table *t = fresh(), *again = NULL;
		struct table_entry e;
		unsigned damaged;
		uint32_t slot;
		uint8_t *map;
		struct stat st;
		int fd, ret;

		for (uint64_t i = 0; i < 20; i++) {
			e = entry_make(i + 1, i);
			require(table_commit(t, NONE, &e, false, &slot) == 0);
		}
		fd = fcntl(table_fd(t), F_DUPFD_CLOEXEC, 0);
		table_destroy(&t);
		fstat(fd, &st);
		map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		for (unsigned n = 0; n < 1 + round % 40; n++) {
			/* Mostly where there is something. */
			size_t at = (unit_random(&rnd) % (size_t)(st.st_size / 65536)) * 65536 +
				    unit_random(&rnd) % (n % 2 ? 400 : 65536);

			map[at] = (uint8_t)unit_random(&rnd);
		}
		munmap(map, (size_t)st.st_size);
		ret = table_adopt(&again, fd, &damaged);
		check_row(ret == 0 || ret == -EBADMSG, round);
		for (uint32_t i = 0; ret == 0 && i < table_slots(again); i++) {
			if (table_used(again, i))
				check_row(table_read(again, i, &e), round);
		}
		if (ret == 0) {
			e = entry_make(99, 99);
			check_row(table_commit(again, NONE, &e, false, &slot) == 0, round);
		}
		table_destroy(&again);
		close(fd);
	}
}

/* ---- killed at any instruction ---- */

struct diary {
	/* Per session: the version that is in, the one that is about to be
	   (0: none); done is written after the call returned. */
	volatile uint64_t done[SESSIONS], doing[SESSIONS];
	volatile uint32_t slot[SESSIONS];
	volatile uint64_t operations;
};

static void writer(struct table *t, struct diary *d, uint64_t rnd)
{
	for (uint64_t version = d->operations + 1;; version++) {
		unsigned i = (unsigned)(unit_random(&rnd) % SESSIONS);
		bool away = d->done[i] != 0 && unit_random(&rnd) % 3 == 0;
		struct table_entry e = entry_make(i + 1, version);
		uint32_t slot = d->done[i] ? d->slot[i] : NONE;

		d->doing[i] = away ? UINT64_MAX : version;
		if (away)
			table_void(t, slot);
		else if (table_commit(t, slot, &e, false, &slot) < 0)
			_exit(1);
		d->slot[i] = slot;
		d->done[i] = away ? 0 : version;
		d->doing[i] = 0;
		d->operations = version;
	}
}

/* What the table has of a session must be what was in, or what was about to be. */
static void check_session(const struct table *t, struct diary *d, unsigned i,
			  const uint64_t *found, const uint32_t *at)
{
	uint64_t old = d->done[i], new = d->doing[i];

	if (new == UINT64_MAX)
		check_row(found[i] == old || found[i] == 0, i);
	else if (new)
		check_row(found[i] == old || found[i] == new, i);
	else
		check_row(found[i] == old, i);
	if (found[i])
		check_row(entry_is(t, at[i], i + 1, found[i]), i);
	d->done[i] = found[i];
	d->doing[i] = 0;
	d->slot[i] = at[i];
}

static void check_all(const struct table *t, struct diary *d)
{
	uint64_t found[SESSIONS] = { 0 };
	uint32_t at[SESSIONS] = { 0 };
	struct table_entry e;

	for (uint32_t slot = 0; slot < table_slots(t); slot++) {
		if (!table_read(t, slot, &e))
			continue;
		require(e.sid >= 1 && e.sid <= SESSIONS);
		check_row(found[e.sid - 1] == 0, e.sid);	/* no session twice */
		found[e.sid - 1] = e.written;
		at[e.sid - 1] = slot;
	}
	for (unsigned i = 0; i < SESSIONS; i++)
		check_session(t, d, i, found, at);
}

static void test_a_writer_killed_anywhere_leaves_a_whole_table(void)
{
	struct diary *d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct table *t = fresh();
	uint64_t rnd = unit_seed(), operations = 0;
	unsigned damaged = 0;

	for (unsigned round = 0; round < 150; round++) {
		uint64_t seed = unit_random(&rnd), target;
		int status;
		pid_t pid = fork();

		if (pid == 0)
			writer(t, d, seed);
		/* Not by the clock: after some operations, in the midst of one. */
		target = operations + 1 + unit_random(&rnd) % 3000;
		while (d->operations < target)
			;
		kill(pid, SIGKILL);
		require(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		operations = d->operations;
		t = adopted(&t, &damaged);
		check_row(damaged == 0, round);
		check_all(t, d);
	}
	table_destroy(&t);
	munmap(d, sizeof(*d));
}

/* ---- the space below ---- */

static void test_space_merges_back_into_one(void)
{
	static _Alignas(16) uint8_t memory[65536];
	uint64_t rnd = unit_seed();
	uint32_t units[300];
	size_t lens[300];
	struct space s;

	space_init(&s, memory);
	space_add(&s, 1, 2048, false);
	space_add(&s, 2048, 4096, true);
	for (unsigned round = 0; round < 50; round++) {
		unsigned n = 0;

		for (; n < 300; n++) {
			lens[n] = 1 + unit_random(&rnd) % 600;
			units[n] = space_take(&s, lens[n]);
			if (!units[n])
				break;
			memset(space_at(&s, units[n]), (int)n, lens[n]);
		}
		for (unsigned left = n; left > 0; left--) {
			unsigned i = (unsigned)(unit_random(&rnd) % left);
			const uint8_t *p = space_at(&s, units[i]);

			for (size_t k = 0; k < lens[i]; k++)
				require(p[k] == p[0]);
			space_give(&s, units[i]);
			units[i] = units[left - 1];
			lens[i] = lens[left - 1];
		}
		check_row(s.used_units == 0, round);
	}
	/* All in one piece again: first unit to last, closing piece left out. */
	check(space_take(&s, (4096 - 2) * 16 - 8) == 1);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_entries_come_back_after_adoption),
		UNIT_TEST(test_free_records_and_space_are_used_again),
		UNIT_TEST(test_the_largest_state_fits_and_a_larger_one_does_not),
		UNIT_TEST(test_a_torn_block_is_seen),
		UNIT_TEST(test_what_is_no_table_is_refused),
		UNIT_TEST(test_garbage_in_a_table_is_survived),
		UNIT_TEST(test_a_writer_killed_anywhere_leaves_a_whole_table),
		UNIT_TEST(test_space_merges_back_into_one),
	};
	return unit_run("table", tests, UNIT_COUNT(tests));
}
