/* SPDX-License-Identifier: MIT */
/* An event loop on epoll.
 *
 * One turn: fetch events, run due timers, call the descriptors' callbacks.
 * A callback may remove (and free) any io, also one whose event was fetched
 * in this turn: loop_remove() crosses it out of the fetched batch, so nothing
 * stale is called and nothing freed is looked at. Crossing out walks a batch
 * of at most LOOP_BATCH entries, and only while one is being worked off.
 *
 * Timers are a binary heap of pointers; index 0 is unused, so that heap_index
 * 0 can mean "not armed". Equal due times fire in the order of arming, for
 * which each entry carries a serial number.
 *
 * Signals are blocked and read from one signalfd, an io like any other. */
#include "lib/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/clock.h"

#define LOOP_BATCH	64

struct loop_heap_entry {
	struct loop_timer *timer;
	uint64_t serial;
};

struct loop_handler {
	loop_signal_fn *fn;
	void *ctx;
};

struct loop {
	int epoll_fd;
	bool stop;
	/* The batch being worked off: entries [batch_at, batch_len). */
	struct epoll_event batch[LOOP_BATCH];
	int batch_at, batch_len;
	struct loop_heap_entry *heap;	/* [1, heap_len] */
	uint32_t heap_len, heap_cap;
	uint64_t serial;
	struct loop_io signal_io;
	sigset_t signals;
	struct loop_handler handlers[NSIG];
};

struct loop *loop_create(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		int saved = errno;

		free(loop);
		errno = saved;
		return NULL;
	}
	loop->signal_io.fd = -1;
	sigemptyset(&loop->signals);
	return loop;
}

/* Timers and ios that are still there belong to their owners; they must not
 * look armed to them any more. */
void loop_destroy(struct loop **loop_p)
{
	struct loop *loop = *loop_p;

	if (!loop)
		return;
	for (uint32_t i = 1; i <= loop->heap_len; i++)
		loop->heap[i].timer->heap_index = 0;
	if (loop->signal_io.fd >= 0)
		close(loop->signal_io.fd);
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
	*loop_p = NULL;
}

/* ---- descriptors ---- */

int loop_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events,
	     loop_io_fn *fn, void *ctx)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	assert(!io->active);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	*io = (struct loop_io){ .fd = fd, .events = events, .active = true,
				.fn = fn, .ctx = ctx };
	return 0;
}

int loop_set_events(struct loop *loop, struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	assert(io->active);
	if (io->events == events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void loop_remove(struct loop *loop, struct loop_io *io)
{
	if (!io->active)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	io->active = false;
	for (int i = loop->batch_at; i < loop->batch_len; i++) {
		if (loop->batch[i].data.ptr == io)
			loop->batch[i].data.ptr = NULL;
	}
}

/* What was fetched is masked by what the owner wants now: an earlier callback
 * of this turn may have switched reading or writing off. */
static uint32_t loop_still_wanted(const struct loop_io *io, uint32_t events)
{
	return events & (io->events | EPOLLERR | EPOLLHUP);
}

static int loop_work_off(struct loop *loop, int n)
{
	int called = 0;

	loop->batch_len = n;
	for (loop->batch_at = 0; loop->batch_at < loop->batch_len;) {
		struct epoll_event *ev = &loop->batch[loop->batch_at++];
		struct loop_io *io = ev->data.ptr;
		uint32_t events = io ? loop_still_wanted(io, ev->events) : 0;

		if (!events)
			continue;
		io->fn(io->ctx, events);
		called++;
	}
	loop->batch_at = loop->batch_len = 0;
	return called;
}

/* ---- timers ---- */

static bool loop_before(const struct loop_heap_entry *a,
			const struct loop_heap_entry *b)
{
	if (a->timer->due_ms != b->timer->due_ms)
		return a->timer->due_ms < b->timer->due_ms;
	return a->serial < b->serial;
}

static void loop_heap_put(struct loop *loop, uint32_t i,
			  struct loop_heap_entry e)
{
	loop->heap[i] = e;
	e.timer->heap_index = i;
}

static void loop_heap_up(struct loop *loop, uint32_t i)
{
	struct loop_heap_entry e = loop->heap[i];

	for (; i > 1 && loop_before(&e, &loop->heap[i / 2]); i /= 2)
		loop_heap_put(loop, i, loop->heap[i / 2]);
	loop_heap_put(loop, i, e);
}

static void loop_heap_down(struct loop *loop, uint32_t i)
{
	struct loop_heap_entry e = loop->heap[i];

	while (i <= loop->heap_len / 2) {
		uint32_t child = i * 2;

		if (child < loop->heap_len &&
		    loop_before(&loop->heap[child + 1], &loop->heap[child]))
			child++;
		if (!loop_before(&loop->heap[child], &e))
			break;
		loop_heap_put(loop, i, loop->heap[child]);
		i = child;
	}
	loop_heap_put(loop, i, e);
}

static int loop_heap_room(struct loop *loop)
{
	struct loop_heap_entry *heap;
	uint32_t cap;

	if (loop->heap_len + 1 < loop->heap_cap)
		return 0;
	if (loop->heap_cap > UINT32_MAX / 4)
		return -ENOMEM;
	cap = loop->heap_cap ? loop->heap_cap * 2 : 16;
	heap = reallocarray(loop->heap, cap, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	loop->heap = heap;
	loop->heap_cap = cap;
	return 0;
}

int loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t delay_ms,
		   loop_timer_fn *fn, void *ctx)
{
	uint64_t now = clock_ms();
	int ret;

	/* Taken out first: only due_ms tells where it stands in the heap. Its
	 * place stays allocated, so rearming cannot fail. */
	loop_timer_cancel(loop, t);
	ret = loop_heap_room(loop);
	if (ret < 0)
		return ret;
	t->due_ms = delay_ms > UINT64_MAX - now ? UINT64_MAX : now + delay_ms;
	t->fn = fn;
	t->ctx = ctx;
	loop->heap[++loop->heap_len] = (struct loop_heap_entry){
		.timer = t, .serial = ++loop->serial };
	loop_heap_up(loop, loop->heap_len);
	return 0;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
	uint32_t i = t->heap_index;

	if (!i)
		return;
	assert(i <= loop->heap_len && loop->heap[i].timer == t);
	t->heap_index = 0;
	if (i == loop->heap_len--)
		return;
	loop->heap[i] = loop->heap[loop->heap_len + 1];
	loop->heap[i].timer->heap_index = i;
	if (i > 1 && loop_before(&loop->heap[i], &loop->heap[i / 2]))
		loop_heap_up(loop, i);
	else
		loop_heap_down(loop, i);
}

/* A timer armed by a timer's callback waits for the next turn, even with delay
 * 0: else a timer that rearms itself would starve the descriptors. */
static int loop_run_timers(struct loop *loop)
{
	uint64_t now = clock_ms(), last = loop->serial;
	int called = 0;

	while (loop->heap_len > 0) {
		struct loop_timer *t = loop->heap[1].timer;

		if (t->due_ms > now || loop->heap[1].serial > last)
			break;
		loop_timer_cancel(loop, t);
		t->fn(t->ctx);
		called++;
	}
	return called;
}

/* The caller's time-out, shortened to the next timer. */
static int loop_wait_ms(const struct loop *loop, int timeout_ms)
{
	uint64_t now, due, wait;

	if (loop->heap_len == 0)
		return timeout_ms;
	now = clock_ms();
	due = loop->heap[1].timer->due_ms;
	wait = due > now ? due - now : 0;
	if (timeout_ms >= 0 && (uint64_t)timeout_ms < wait)
		return timeout_ms;
	return wait > INT_MAX ? INT_MAX : (int)wait;
}

/* ---- signals ---- */

static void loop_signal_ready(void *ctx, uint32_t events)
{
	struct loop *loop = ctx;
	struct signalfd_siginfo info;

	(void)events;
	/* One a turn: level-triggered epoll brings the next one. The callback
	 * may stop the loop, so there is no going on here. */
	if (read(loop->signal_io.fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo < NSIG && loop->handlers[info.ssi_signo].fn)
		loop->handlers[info.ssi_signo].fn(
			loop->handlers[info.ssi_signo].ctx,
			(int)info.ssi_signo);
}

int loop_signal(struct loop *loop, int signo, loop_signal_fn *fn, void *ctx)
{
	sigset_t all = loop->signals, one;
	int fd, ret;

	if (signo < 1 || signo >= NSIG)
		return -EINVAL;
	sigaddset(&all, signo);
	sigemptyset(&one);
	sigaddset(&one, signo);
	if (sigprocmask(SIG_BLOCK, &one, NULL) < 0)
		return -errno;
	fd = signalfd(loop->signal_io.fd, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (!loop->signal_io.active) {
		ret = loop_add(loop, &loop->signal_io, fd, EPOLLIN,
			       loop_signal_ready, loop);
		if (ret < 0) {
			close(fd);
			loop->signal_io.fd = -1;
			return ret;
		}
	}
	loop->signals = all;
	loop->handlers[signo] = (struct loop_handler){ fn, ctx };
	return 0;
}

/* ---- turning ---- */

int loop_once(struct loop *loop, int timeout_ms)
{
	int n, called;

	assert(loop->batch_len == 0);	/* not from inside a callback */
	n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH,
		       loop_wait_ms(loop, timeout_ms));
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	/* Before the timers: they may remove ios of this batch. */
	loop->batch_at = 0;
	loop->batch_len = n;
	called = loop_run_timers(loop);
	return called + loop_work_off(loop, n);
}

void loop_run(struct loop *loop)
{
	loop->stop = false;
	while (!loop->stop) {
		if (loop_once(loop, -1) < 0)
			abort();	/* only EBADF, EFAULT, EINVAL: our mistake */
	}
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}
