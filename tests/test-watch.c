/* SPDX-License-Identifier: MIT */
/* The tamed library, on real directories. */
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap-hibernate/watch.h"
#include "tests/unit.h"

#define SUBS	64

/* inotify_init() of libc, which watch.c replaces, is not to be called here. */
static struct table *table;
static struct watch_set ws;
static struct watch_sub subs[SUBS];
static unsigned told[SUBS], told_gone[SUBS];
static char root[] = "/tmp/test-watch-XXXXXX";

static struct watch_sub *sub_at(void *ctx, uint32_t id)
{
	return &subs[id];
}

static void changed(void *ctx, uint32_t id, bool gone)
{
	check(table_draining(table) || !gone);
	told[id]++;
	told_gone[id] += gone;
}

static void begin(struct table *t, int inherited)
{
	int low = watch_reserve();

	require(low >= 0);
	table = t;
	for (unsigned i = 0; i < SUBS; i++)
		watch_sub_init(&subs[i]);
	memset(told, 0, sizeof(told));
	memset(told_gone, 0, sizeof(told_gone));
	require(watch_init(&ws, t, low, inherited, sub_at, changed, NULL) == 0);
}

static void begin_fresh(void)
{
	struct table *t = NULL;

	require(table_create(&t) == 0);
	begin(t, -1);
}

static void finish(void)
{
	watch_deinit(&ws);
	table_destroy(&table);
}

static const char *path(const char *name, unsigned n)
{
	static char p[128];

	snprintf(p, sizeof(p), "%s/%s%u", root, name, n);
	return p;
}

static int dir_make(unsigned n)
{
	mkdir(path("d", n), 0700);
	return open(path("d", n), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void dir_remove(unsigned n)
{
	require(rmdir(path("d", n)) == 0);
}

/* Something happens in directory n. */
static void stir(unsigned n)
{
	char p[160];

	snprintf(p, sizeof(p), "%s/x", path("d", n));
	close(open(p, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	unlink(p);
}

static enum ipc_watched subscribe(uint32_t id, int a, int b)
{
	int dirs[2] = { a, b };
	struct watch_wish wish = { .dirs = dirs, .n_dirs = b >= 0 ? 2 : 1, .uid = getuid() };

	return watch_subscribe(&ws, id, &wish);
}

static void test_a_change_is_told_to_all_who_share(void)
{
	int a, b;

	begin_fresh();
	a = dir_make(1);
	b = dir_make(2);
	check(subscribe(1, a, b) == WATCHED_OK);
	check(subscribe(2, a, b) == WATCHED_OK);
	check(subscribe(3, b, -1) == WATCHED_OK);
	check(ws.count == 2);
	close(a);
	close(b);
	stir(1);
	watch_drain(&ws);
	check(told[1] > 0 && told[2] > 0 && told[3] == 0);
	told[1] = told[2] = 0;
	watch_unsubscribe(&ws, 1);
	stir(2);
	watch_drain(&ws);
	check(told[1] == 0 && told[2] > 0 && told[3] > 0);
	watch_unsubscribe(&ws, 2);
	check(ws.count == 1);
	watch_unsubscribe(&ws, 3);
	check(ws.count == 0 && !table_draining(table));
	dir_remove(1);
	dir_remove(2);
	finish();
}

static void test_renames_in_and_out_are_seen(void)
{
	char in[200], out[200];
	int a;

	begin_fresh();
	a = dir_make(1);
	check(subscribe(1, a, -1) == WATCHED_OK);
	close(a);
	snprintf(out, sizeof(out), "%s/mail", root);
	snprintf(in, sizeof(in), "%s/d1/mail", root);
	close(open(out, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	check(rename(out, in) == 0);
	watch_drain(&ws);
	check(told[1] == 1);
	check(rename(in, out) == 0);
	watch_drain(&ws);
	check(told[1] == 2);
	unlink(out);
	dir_remove(1);
	finish();
}

static void test_a_copy_has_no_gap(void)
{
	int a;

	begin_fresh();
	a = dir_make(1);
	subscribe(1, a, -1);
	watch_copy(&ws, 1, 2);
	watch_unsubscribe(&ws, 1);
	check(ws.count == 1);
	stir(1);
	/* The same directory again: the watch must not be set anew. */
	check(subscribe(2, a, -1) == WATCHED_OK);
	check(told[2] > 0);
	close(a);
	watch_unsubscribe(&ws, 2);
	check(ws.count == 0);
	dir_remove(1);
	finish();
}

static void test_a_directory_that_goes_is_told(void)
{
	int a;

	begin_fresh();
	for (unsigned round = 0; round < 50; round++) {
		a = dir_make(1);
		told_gone[1] = told_gone[2] = 0;
		check_row(subscribe(1, a, -1) == WATCHED_OK, round);
		check_row(subscribe(2, a, -1) == WATCHED_OK, round);
		close(a);
		dir_remove(1);
		if (round % 2)
			watch_drain(&ws);
		/* Its inode number may come back at once. */
		a = dir_make(1);
		check_row(subscribe(3, a, -1) == WATCHED_OK, round);
		check_row(told_gone[1] == 1 && told_gone[2] == 1, round);
		check_row(!watch_subscribed(&subs[1]) && ws.count == 1, round);
		told[3] = 0;
		stir(1);
		watch_drain(&ws);
		check_row(told[3] > 0, round);
		watch_unsubscribe(&ws, 3);
		close(a);
		dir_remove(1);
	}
	finish();
}

static void test_cycles_do_not_grow(void)
{
	size_t before = 0;
	int a;

	begin_fresh();
	for (unsigned round = 0; round < 3000; round++) {
		a = dir_make(round % 7);
		check_row(subscribe(round % SUBS, a, -1) == WATCHED_OK, round);
		close(a);
		dir_remove(round % 7);
		if (round == 1000)
			before = mallinfo2().uordblks;
	}
	watch_drain(&ws);
	check(ws.count == 0);
	check(table_watches(table) <= 8);
	check(mallinfo2().uordblks <= before + 4096);
	finish();
}

static void test_overflow_tells_everybody(void)
{
	int a, b;

	begin_fresh();
	a = dir_make(1);
	b = dir_make(2);
	subscribe(1, a, -1);
	subscribe(2, b, -1);
	close(a);
	close(b);
	/* Events of two directories in turn are not merged. */
	for (unsigned i = 0; i < 20000 && ws.overflows == 0; i++) {
		stir(1);
		if (i % 9000 == 8999)
			watch_drain(&ws);
	}
	watch_drain(&ws);
	check(ws.overflows > 0 && told[1] > 0 && told[2] > 0);
	dir_remove(1);
	dir_remove(2);
	finish();
}

static void test_only_directories_open_for_reading(void)
{
	int fds[2], a, file;

	begin_fresh();
	a = dir_make(1);
	close(a);
	a = open(path("d", 1), O_PATH | O_CLOEXEC);
	check(subscribe(1, a, -1) == WATCHED_REFUSED);
	close(a);
	file = open(path("f", 1), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	check(subscribe(1, file, -1) == WATCHED_REFUSED);
	close(file);
	file = open(path("f", 1), O_RDONLY | O_CLOEXEC);
	check(subscribe(1, file, -1) == WATCHED_REFUSED);
	close(file);
	unlink(path("f", 1));
	require(pipe(fds) == 0);
	check(subscribe(1, fds[0], -1) == WATCHED_REFUSED);
	close(fds[0]);
	close(fds[1]);
	check(ws.count == 0 && !watch_subscribed(&subs[1]));
	/* One good, one bad: nothing is kept of it. */
	a = dir_make(1);
	file = open(path("d", 1), O_PATH | O_CLOEXEC);
	check(subscribe(1, a, file) == WATCHED_REFUSED && ws.count == 0);
	check(subscribe(1, a, a) == WATCHED_OK && ws.count == 1);
	close(a);
	close(file);
	dir_remove(1);
	finish();
}

static void test_the_next_process_takes_the_watches_over(void)
{
	struct table *next = NULL;
	unsigned damaged;
	uint32_t watch[3][2];
	int a, b, inotify, fd;

	begin_fresh();
	a = dir_make(1);
	b = dir_make(2);
	subscribe(1, a, b);
	subscribe(2, a, -1);
	subscribe(3, b, -1);
	close(a);
	close(b);
	for (unsigned i = 0; i < 3; i++)
		memcpy(watch[i], subs[i + 1].watch, sizeof(watch[i]));
	inotify = fcntl(ws.fd, F_DUPFD_CLOEXEC, 0);
	fd = fcntl(table_fd(table), F_DUPFD_CLOEXEC, 0);
	finish();
	stir(1);		/* in the gap */
	require(table_adopt(&next, fd, &damaged) == 0);
	close(fd);
	begin(next, inotify);
	watch_adopt(&ws, 11, watch[0]);
	watch_adopt(&ws, 12, watch[1]);
	watch_adopt_done(&ws);
	check(ws.count == 2);
	watch_drain(&ws);
	check(told[11] > 0 && told[12] > 0);
	watch_unsubscribe(&ws, 12);
	watch_unsubscribe(&ws, 11);
	check(ws.count == 0);
	/* Set anew on the same instance. */
	a = dir_make(1);
	check(subscribe(5, a, -1) == WATCHED_OK);
	stir(1);
	watch_drain(&ws);
	check(told[5] > 0);
	close(a);
	dir_remove(1);
	dir_remove(2);
	finish();
}

static void test_a_watch_without_record_is_found_again(void)
{
	struct table *next = NULL;
	int a, inotify;

	begin_fresh();
	a = dir_make(1);
	subscribe(1, a, -1);
	inotify = fcntl(ws.fd, F_DUPFD_CLOEXEC, 0);
	finish();
	/* The same instance, a table that knows nothing. */
	require(table_create(&next) == 0);
	begin(next, inotify);
	check(subscribe(1, a, -1) == WATCHED_OK);
	stir(1);
	watch_drain(&ws);
	check(told[1] > 0);
	close(a);
	dir_remove(1);
	finish();
}

static void test_a_notice_reaches_subscribers_but_the_sender(void)
{
	int a, dirs[1];
	struct watch_wish wish = { .dirs = dirs, .n_dirs = 1, .mailbox = 77, .uid = getuid() };
	struct watch_wish blind = { .blind = true, .mailbox = 77, .uid = getuid() };

	begin_fresh();
	a = dir_make(1);
	dirs[0] = a;
	check(watch_subscribe(&ws, 1, &wish) == WATCHED_OK);
	check(watch_subscribe(&ws, 2, &wish) == WATCHED_OK);
	check(watch_subscribe(&ws, 3, &blind) == WATCHED_BLIND);
	check(watch_notice(&ws, 77, 1, getuid()) == 2);
	check(told[1] == 0 && told[2] == 1 && told[3] == 1);
	/* A stranger's does not count; a subscriber's does. */
	check(watch_notice(&ws, 77, NONE, getuid() + 1) == 0);
	check(watch_notice(&ws, 77, 2, getuid() + 1) == 1 && told[1] == 1);
	check(watch_notice(&ws, 78, NONE, getuid()) == 0);
	close(a);
	dir_remove(1);
	finish();
}

static void test_random_subscriptions_stay_consistent(void)
{
	uint64_t rnd = unit_seed();
	int dirs[8];
	int want[SUBS][2];

	begin_fresh();
	for (unsigned i = 0; i < 8; i++)
		dirs[i] = dir_make(i);
	memset(want, -1, sizeof(want));
	for (unsigned round = 0; round < 3000; round++) {
		uint32_t id = (uint32_t)(unit_random(&rnd) % SUBS);
		int a = (int)(unit_random(&rnd) % 8), b = (int)(unit_random(&rnd) % 9) - 1;

		if (unit_random(&rnd) % 3 == 0) {
			watch_unsubscribe(&ws, id);
			a = b = -1;
		} else {
			check_row(subscribe(id, dirs[a], b >= 0 ? dirs[b] : -1) == WATCHED_OK, round);
		}
		want[id][0] = a;
		want[id][1] = b;
		if (round % 500)
			continue;
		a = (int)(unit_random(&rnd) % 8);
		watch_drain(&ws);
		memset(told, 0, sizeof(told));
		stir((unsigned)a);
		watch_drain(&ws);
		for (unsigned i = 0; i < SUBS; i++)
			check_row((told[i] > 0) == (want[i][0] == a || want[i][1] == a), i);
	}
	for (unsigned i = 0; i < SUBS; i++)
		watch_unsubscribe(&ws, i);
	check(ws.count == 0);
	for (unsigned i = 0; i < 8; i++) {
		close(dirs[i]);
		dir_remove(i);
	}
	finish();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_a_change_is_told_to_all_who_share),
		UNIT_TEST(test_renames_in_and_out_are_seen),
		UNIT_TEST(test_a_copy_has_no_gap),
		UNIT_TEST(test_a_directory_that_goes_is_told),
		UNIT_TEST(test_cycles_do_not_grow),
		UNIT_TEST(test_overflow_tells_everybody),
		UNIT_TEST(test_only_directories_open_for_reading),
		UNIT_TEST(test_the_next_process_takes_the_watches_over),
		UNIT_TEST(test_a_watch_without_record_is_found_again),
		UNIT_TEST(test_a_notice_reaches_subscribers_but_the_sender),
		UNIT_TEST(test_random_subscriptions_stay_consistent),
	};
	int ret;

	if (!mkdtemp(root))
		return EXIT_FAILURE;
	ret = unit_run("watch", tests, UNIT_COUNT(tests));
	rmdir(root);
	return ret;
}
