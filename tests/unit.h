/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H
/* What CUnit lacks: an exit status, one call to run a table of tests, and an
 * assertion that names the row of a table. A test program is
 *
 *	int main(void)
 *	{
 *		static const struct unit_test tests[] = {
 *			UNIT_TEST(test_buf_refuses_more_than_max),
 *		};
 *		return unit_run("buf", tests, UNIT_COUNT(tests));
 *	}
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <CUnit/Basic.h>

struct unit_test {
	const char *name;
	void (*fn)(void);
};
#define UNIT_TEST(fn)	{ #fn, fn }
#define UNIT_COUNT(a)	(sizeof(a) / sizeof((a)[0]))

#define check(cond) CU_ASSERT(cond)
/* A failure prints the row too, and the test goes on with the next one. */
#define check_row(cond, row) \
	unit_check_row((cond), #cond, (long long)(row), __FILE__, __LINE__)
/* Ends the test when the rest of it would make no sense. */
#define require(cond) CU_ASSERT_FATAL(cond)

static inline bool unit_check_row(bool ok, const char *cond, long long row,
				  const char *file, unsigned line)
{
	if (!ok)
		fprintf(stderr, "\n%s:%u: row %lld: %s\n", file, line, row, cond);
	CU_assertImplementation(ok, line, cond, file, "", CU_FALSE);
	return ok;
}

/* The seed of a random test: SEED= from the environment, or a new one. It is
 * printed, so that a failure can be repeated. */
static inline uint64_t unit_seed(void)
{
	const char *given = getenv("SEED");
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 10)
		     : (uint64_t)now.tv_sec * 1000003u ^ (uint64_t)now.tv_nsec;
	printf("SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

/* splitmix64: the same numbers from the same seed everywhere. */
static inline uint64_t unit_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline int unit_run(const char *suite_name, const struct unit_test *tests,
			   size_t count)
{
	CU_pSuite suite;
	bool failed = true;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	suite = CU_add_suite(suite_name, NULL, NULL);
	for (size_t i = 0; suite && i < count; i++) {
		if (!CU_add_test(suite, tests[i].name, tests[i].fn))
			suite = NULL;
	}
	if (suite) {
		CU_basic_set_mode(CU_BRM_VERBOSE);
		failed = CU_basic_run_tests() != CUE_SUCCESS ||
			 CU_get_number_of_failures() > 0 ||
			 CU_get_number_of_tests_run() != count;
	}
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
