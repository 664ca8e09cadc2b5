/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/loop.h"
#include "tests/unit.h"

/* A context that is text; nobody writes to it. */
#define TEXT(s)	((void *)(uintptr_t)(s))

static struct loop *loop;
static char trace[64];

static void note(const char *what)
{
	require(strlen(trace) + strlen(what) < sizeof(trace));
	strcat(trace, what);
}

static void begin(void)
{
	trace[0] = '\0';
	clock_set_us(1000000000);
	loop = loop_create();
	require(loop != NULL);
}

static void end(void)
{
	loop_destroy(&loop);
	check(loop == NULL);
	loop_destroy(&loop);
	clock_set_us(0);
}

static void pass_ms(uint64_t ms)
{
	clock_set_us(clock_us() + ms * 1000);
}

static void say(void *ctx)
{
	note(ctx);
}

/* ---- timers ---- */

static void test_loop_fires_timers_by_due_time_then_by_arming(void)
{
	struct loop_timer a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

	begin();
	check(loop_timer_set(loop, &c, 30, say, TEXT("c")) == 0);
	check(loop_timer_set(loop, &a, 10, say, TEXT("a")) == 0);
	check(loop_timer_set(loop, &d, 30, say, TEXT("d")) == 0);
	check(loop_timer_set(loop, &b, 20, say, TEXT("b")) == 0);
	check(loop_once(loop, 0) == 0);
	pass_ms(9);
	check(loop_once(loop, 0) == 0);
	pass_ms(1);
	check(loop_once(loop, 0) == 1 && strcmp(trace, "a") == 0);
	check(a.heap_index == 0);
	pass_ms(100);
	check(loop_once(loop, 0) == 3);
	check(strcmp(trace, "abcd") == 0);
	end();
}

static void test_loop_forgets_a_cancelled_timer_and_moves_a_rearmed_one(void)
{
	struct loop_timer a = { 0 }, b = { 0 };

	begin();
	loop_timer_cancel(loop, &a);
	loop_timer_set(loop, &a, 10, say, TEXT("a"));
	loop_timer_set(loop, &b, 20, say, TEXT("b"));
	loop_timer_cancel(loop, &a);
	loop_timer_cancel(loop, &a);
	loop_timer_set(loop, &b, 50, say, TEXT("B"));
	pass_ms(20);
	check(loop_once(loop, 0) == 0);
	pass_ms(30);
	check(loop_once(loop, 0) == 1 && strcmp(trace, "B") == 0);
	end();
}

struct pair {
	struct loop_timer *self, *other;
};

static void cancel_other(void *ctx)
{
	struct pair *p = ctx;

	note("x");
	loop_timer_cancel(loop, p->other);
}

static void test_loop_timer_may_cancel_one_that_is_due_in_the_same_turn(void)
{
	struct loop_timer a = { 0 }, b = { 0 };
	struct pair p = { &a, &b };

	begin();
	loop_timer_set(loop, &a, 10, cancel_other, &p);
	loop_timer_set(loop, &b, 10, say, TEXT("b"));
	pass_ms(10);
	check(loop_once(loop, 0) == 1 && strcmp(trace, "x") == 0);
	end();
}

static void rearm(void *ctx)
{
	note("r");
	loop_timer_set(loop, ctx, 0, rearm, ctx);
}

static void test_loop_runs_a_timer_that_rearms_itself_once_a_turn(void)
{
	struct loop_timer a = { 0 };

	begin();
	loop_timer_set(loop, &a, 0, rearm, &a);
	check(loop_once(loop, 0) == 1);
	check(loop_once(loop, -1) == 1 && strcmp(trace, "rr") == 0);
	/* A loop that ends leaves no timer that looks armed. */
	end();
	check(a.heap_index == 0);
}

static void test_loop_never_overflows_a_due_time(void)
{
	struct loop_timer a = { 0 };

	begin();
	loop_timer_set(loop, &a, UINT64_MAX, say, TEXT("a"));
	check(a.due_ms == UINT64_MAX);
	pass_ms(1000);
	check(loop_once(loop, 0) == 0);
	end();
}

#define MANY 500
struct counted {
	struct loop_timer timer;
	uint64_t due_ms;
	bool armed;
};
static struct counted many[MANY];
static uint64_t last_due_ms;
static unsigned fired;

static void fire_counted(void *ctx)
{
	struct counted *c = ctx;

	check(c->armed && c->due_ms >= last_due_ms && c->due_ms <= clock_ms());
	last_due_ms = c->due_ms;
	c->armed = false;
	fired++;
}

static void test_loop_keeps_order_among_random_timers(void)
{
	uint64_t seed = unit_seed();
	unsigned armed = 0;

	begin();
	memset(many, 0, sizeof(many));
	for (unsigned i = 0; i < 5000; i++) {
		struct counted *c = &many[unit_random(&seed) % MANY];
		uint64_t delay = unit_random(&seed) % 1000;

		c->armed = unit_random(&seed) % 3 != 0;
		c->due_ms = clock_ms() + delay;
		if (c->armed)
			loop_timer_set(loop, &c->timer, delay, fire_counted, c);
		else
			loop_timer_cancel(loop, &c->timer);
	}
	for (unsigned i = 0; i < MANY; i++)
		armed += many[i].armed;
	last_due_ms = 0;
	fired = 0;
	for (unsigned i = 0; i < 10; i++) {
		pass_ms(100);
		loop_once(loop, 0);
	}
	check(armed > 0 && fired == armed);
	end();
}

/* ---- descriptors ---- */

struct end_point {
	struct loop_io io;
	int fds[2];
	struct end_point *victim;
	const char *name;
};

static void point_open(struct end_point *p, const char *name)
{
	memset(p, 0, sizeof(*p));
	p->name = name;
	require(pipe2(p->fds, O_CLOEXEC | O_NONBLOCK) == 0);
}

static void point_close(struct end_point *p)
{
	loop_remove(loop, &p->io);
	close(p->fds[0]);
	close(p->fds[1]);
}

static void drain(void *ctx, uint32_t events)
{
	struct end_point *p = ctx;
	char c;

	check(events & EPOLLIN);
	check(read(p->fds[0], &c, 1) == 1);
	note(p->name);
}

static void test_loop_calls_when_readable_and_not_otherwise(void)
{
	struct end_point a;

	begin();
	point_open(&a, "a");
	check(loop_add(loop, &a.io, a.fds[0], EPOLLIN, drain, &a) == 0);
	check(a.io.active && loop_once(loop, 0) == 0);
	check(write(a.fds[1], "12", 2) == 2);
	/* Level-triggered: what is left is told again. */
	check(loop_once(loop, -1) == 1 && loop_once(loop, -1) == 1);
	check(loop_once(loop, 0) == 0 && strcmp(trace, "aa") == 0);
	loop_remove(loop, &a.io);
	loop_remove(loop, &a.io);
	check(!a.io.active);
	check(write(a.fds[1], "3", 1) == 1);
	check(loop_once(loop, 0) == 0);
	point_close(&a);
	end();
}

static void kill_victim(void *ctx, uint32_t events)
{
	struct end_point *p = ctx;

	note(p->name);
	loop_remove(loop, &p->victim->io);
	/* As if its owner had freed it. */
	memset(&p->victim->io, 0xee, sizeof(p->victim->io));
	p->victim->io.active = false;
}

/* Both are readable in one turn; whoever comes first removes the other. */
static void test_loop_never_calls_an_io_removed_in_the_same_turn(void)
{
	struct end_point a, b;

	begin();
	point_open(&a, "x");
	point_open(&b, "x");
	a.victim = &b;
	b.victim = &a;
	loop_add(loop, &a.io, a.fds[0], EPOLLIN, kill_victim, &a);
	loop_add(loop, &b.io, b.fds[0], EPOLLIN, kill_victim, &b);
	check(write(a.fds[1], "1", 1) == 1 && write(b.fds[1], "1", 1) == 1);
	check(loop_once(loop, -1) == 1);
	check(strcmp(trace, "x") == 0);
	point_close(&a);
	point_close(&b);
	end();
}

static void kill_victim_by_timer(void *ctx)
{
	kill_victim(ctx, 0);
}

static void test_loop_timer_may_remove_an_io_whose_event_is_fetched(void)
{
	struct loop_timer t = { 0 };
	struct end_point a, b;

	begin();
	point_open(&a, "a");
	point_open(&b, "t");
	b.victim = &a;
	loop_add(loop, &a.io, a.fds[0], EPOLLIN, drain, &a);
	loop_timer_set(loop, &t, 0, kill_victim_by_timer, &b);
	check(write(a.fds[1], "1", 1) == 1);
	check(loop_once(loop, -1) == 1);
	check(strcmp(trace, "t") == 0);
	point_close(&a);
	point_close(&b);
	end();
}

static void replace_victim(void *ctx, uint32_t events)
{
	struct end_point *p = ctx;
	char c;

	check(read(p->fds[0], &c, 1) == 1);
	note(p->name);
	loop_remove(loop, &p->victim->io);
	loop_add(loop, &p->victim->io, p->victim->fds[0], EPOLLIN, drain, p->victim);
}

/* An io removed and added anew is a new one: its old event is not its own. */
static void test_loop_forgets_the_old_event_of_an_io_added_anew(void)
{
	struct end_point a, b;

	begin();
	point_open(&a, "a");
	point_open(&b, "b");
	a.victim = &b;
	loop_add(loop, &a.io, a.fds[0], EPOLLIN, replace_victim, &a);
	loop_add(loop, &b.io, b.fds[0], EPOLLIN, drain, &b);
	check(write(a.fds[1], "1", 1) == 1 && write(b.fds[1], "1", 1) == 1);
	/* Whatever order epoll has: once each, and both are read in the end. */
	while (loop_once(loop, 0) > 0)
		;
	check(strcmp(trace, "ab") == 0 || strcmp(trace, "ba") == 0);
	point_close(&a);
	point_close(&b);
	end();
}

static void mute_victim(void *ctx, uint32_t events)
{
	struct end_point *p = ctx;

	note(p->name);
	check(loop_set_events(loop, &p->victim->io, 0) == 0);
}

static void test_loop_masks_a_fetched_event_nobody_wants_any_more(void)
{
	struct end_point a, b;

	begin();
	point_open(&a, "m");
	point_open(&b, "m");
	a.victim = &b;
	b.victim = &a;
	loop_add(loop, &a.io, a.fds[0], EPOLLIN, mute_victim, &a);
	loop_add(loop, &b.io, b.fds[0], EPOLLIN, mute_victim, &b);
	check(write(a.fds[1], "1", 1) == 1 && write(b.fds[1], "1", 1) == 1);
	check(loop_once(loop, -1) == 1 && strcmp(trace, "m") == 0);
	point_close(&a);
	point_close(&b);
	end();
}

static void test_loop_add_reports_a_bad_descriptor(void)
{
	struct loop_io io = { 0 };

	begin();
	check(loop_add(loop, &io, -1, EPOLLIN, drain, NULL) == -EBADF);
	check(!io.active);
	end();
}

static void stop(void *ctx)
{
	note(ctx);
	loop_stop(loop);
}

static void test_loop_run_ends_after_the_turn_that_stops_it(void)
{
	struct loop_timer a = { 0 };

	begin();
	loop_timer_set(loop, &a, 0, stop, TEXT("s"));
	loop_run(loop);
	check(strcmp(trace, "s") == 0);
	end();
}

/* ---- signals ---- */

static void on_signal(void *ctx, int signo)
{
	check(signo == SIGUSR1 || signo == SIGUSR2);
	note(signo == SIGUSR1 ? "1" : "2");
	note(ctx);
}

static void test_loop_delivers_signals_as_events(void)
{
	sigset_t before;

	sigprocmask(SIG_SETMASK, NULL, &before);
	begin();
	check(loop_signal(loop, SIGUSR1, on_signal, TEXT("x")) == 0);
	check(loop_signal(loop, SIGUSR2, on_signal, TEXT("y")) == 0);
	check(loop_once(loop, 0) == 0);
	check(raise(SIGUSR1) == 0 && raise(SIGUSR2) == 0);
	while (loop_once(loop, 0) > 0)
		;
	check(strcmp(trace, "1x2y") == 0);
	check(loop_signal(loop, 0, on_signal, NULL) == -EINVAL);
	end();
	sigprocmask(SIG_SETMASK, &before, NULL);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_loop_fires_timers_by_due_time_then_by_arming),
		UNIT_TEST(test_loop_forgets_a_cancelled_timer_and_moves_a_rearmed_one),
		UNIT_TEST(test_loop_timer_may_cancel_one_that_is_due_in_the_same_turn),
		UNIT_TEST(test_loop_runs_a_timer_that_rearms_itself_once_a_turn),
		UNIT_TEST(test_loop_never_overflows_a_due_time),
		UNIT_TEST(test_loop_keeps_order_among_random_timers),
		UNIT_TEST(test_loop_calls_when_readable_and_not_otherwise),
		UNIT_TEST(test_loop_never_calls_an_io_removed_in_the_same_turn),
		UNIT_TEST(test_loop_timer_may_remove_an_io_whose_event_is_fetched),
		UNIT_TEST(test_loop_forgets_the_old_event_of_an_io_added_anew),
		UNIT_TEST(test_loop_masks_a_fetched_event_nobody_wants_any_more),
		UNIT_TEST(test_loop_add_reports_a_bad_descriptor),
		UNIT_TEST(test_loop_run_ends_after_the_turn_that_stops_it),
		UNIT_TEST(test_loop_delivers_signals_as_events),
	};
	return unit_run("loop", tests, UNIT_COUNT(tests));
}
