/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H
/* An event loop on epoll: descriptors, timers (monotonic milliseconds from
 * clock.h), signals. Level-triggered. Single-threaded. A callback may add and
 * remove anything, itself included; a removed io is never called again, even
 * if its event was already fetched in this turn. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;
typedef void loop_io_fn(void *ctx, uint32_t epoll_events);
typedef void loop_timer_fn(void *ctx);
typedef void loop_signal_fn(void *ctx, int signo);

/* Embedded in the owner; zero-initialise. */
struct loop_io {
	int fd;
	uint32_t events;
	bool active;
	loop_io_fn *fn;
	void *ctx;
};
struct loop_timer {
	uint64_t due_ms;
	uint32_t heap_index;	/* 0: not armed */
	loop_timer_fn *fn;
	void *ctx;
};

/* NULL with errno when out of descriptors or memory. */
struct loop *loop_create(void);
void loop_destroy(struct loop **loop);
/* Does not take ownership of fd. 0 or -errno. */
int loop_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events,
	     loop_io_fn *fn, void *ctx);
int loop_set_events(struct loop *loop, struct loop_io *io, uint32_t events);
/* EPOLL_CTL_DEL: must come before the descriptor is closed or passed on, since
 * the registration belongs to the open file description. Idempotent. */
void loop_remove(struct loop *loop, struct loop_io *io);
/* (Re)arm: fn(ctx) once, delay_ms from now. */
int loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t delay_ms,
		   loop_timer_fn *fn, void *ctx);
void loop_timer_cancel(struct loop *loop, struct loop_timer *t);
/* Deliver signo (blocked from now on, signalfd) to fn. */
int loop_signal(struct loop *loop, int signo, loop_signal_fn *fn, void *ctx);
/* Until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* One turn; waits at most timeout_ms (-1: until something happens). Returns
 * the number of callbacks run, or -errno. */
int loop_once(struct loop *loop, int timeout_ms);
#endif
