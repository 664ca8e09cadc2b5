/* SPDX-License-Identifier: MIT */
#include <stdalign.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/arena.h"
#include "lib/log.h"
#include "tests/unit.h"

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != 0)
			return false;
	}
	return true;
}

/* Every piece is filled with its own byte: an overlap would show. */
static void test_arena_gives_zeroed_aligned_memory_that_never_overlaps(void)
{
	struct arena *a = arena_create();
	uint8_t *pieces[300];
	size_t sizes[300];

	for (unsigned round = 0; round < 3; round++) {
		uint64_t seed = 42 + round;

		for (unsigned i = 0; i < UNIT_COUNT(pieces); i++) {
			sizes[i] = unit_random(&seed) % (i % 50 == 0 ? 200000 : 700);
			pieces[i] = arena_alloc(a, sizes[i]);
			check_row((uintptr_t)pieces[i] % alignof(max_align_t) == 0, i);
			check_row(is_zero(pieces[i], sizes[i]), i);
			memset(pieces[i], (int)(i % 255 + 1), sizes[i]);
		}
		for (unsigned i = 0; i < UNIT_COUNT(pieces); i++) {
			for (size_t n = 0; n < sizes[i]; n++) {
				if (pieces[i][n] == i % 255 + 1)
					continue;
				check_row(false, i);
				break;
			}
		}
		arena_reset(a);
	}
	arena_destroy(&a);
	check(a == NULL);
	arena_destroy(&a);
}

static void test_arena_reset_keeps_the_first_block(void)
{
	struct arena *a = arena_create();
	void *first = arena_alloc(a, 100);

	for (unsigned i = 0; i < 100; i++)
		arena_alloc(a, 1000);
	arena_reset(a);
	check(arena_alloc(a, 100) == first);
	arena_destroy(&a);
}

static void test_arena_gives_distinct_addresses_for_nothing(void)
{
	struct arena *a = arena_create();
	void *p = arena_alloc(a, 0), *q = arena_alloc(a, 0);

	check(p != NULL && q != NULL && p != q);
	check(arena_memdup(a, NULL, 0) != NULL);
	arena_destroy(&a);
}

static void test_arena_copies(void)
{
	struct arena *a = arena_create();
	char *long_text;

	check(memcmp(arena_memdup(a, "a\0b", 3), "a\0b", 3) == 0);
	check(strcmp(arena_strdup(a, "text"), "text") == 0);
	check(strcmp(arena_strdup(a, ""), "") == 0);
	check(strcmp(arena_strndup(a, "text", 2), "te") == 0);
	check(strcmp(arena_strndup(a, "text", 20), "text") == 0);
	check(strcmp(arena_printf(a, "%s-%d", "x", 7), "x-7") == 0);
	check(strcmp(arena_printf(a, "%s", ""), "") == 0);
	long_text = arena_printf(a, "%*s", 100000, "x");
	check(strlen(long_text) == 100000 && long_text[99999] == 'x');
	arena_destroy(&a);
}

static void test_arena_ends_the_process_when_memory_is_out(void)
{
	struct arena *a = arena_create();
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	require(pid >= 0);
	if (pid == 0) {
		close(STDERR_FILENO);
		arena_alloc(a, SIZE_MAX - 5);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid);
	check(WIFEXITED(status) && WEXITSTATUS(status) == EX_OSERR);
	arena_destroy(&a);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_arena_gives_zeroed_aligned_memory_that_never_overlaps),
		UNIT_TEST(test_arena_reset_keeps_the_first_block),
		UNIT_TEST(test_arena_gives_distinct_addresses_for_nothing),
		UNIT_TEST(test_arena_copies),
		UNIT_TEST(test_arena_ends_the_process_when_memory_is_out),
	};
	return unit_run("arena", tests, UNIT_COUNT(tests));
}
