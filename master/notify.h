/* SPDX-License-Identifier: MIT */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H
/* What a service manager is told, and what it hands over: the protocols of
 * sd_notify(3) and sd_listen_fds(3), which are a datagram and three variables. Without a
 * service manager all of this does nothing. */
#include <stdbool.h>
#include <stdint.h>

/* Somebody listens: NOTIFY_SOCKET is set. */
bool notify_wanted(void);
/* Lines "KEY=value\n", as sd_notify(3) has them. A failure is logged at debug
 * level: nothing depends on it. */
void notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Returns when all that was sent has been read, or after timeout_ms: then -ETIMEDOUT. */
int notify_barrier(int timeout_ms);
/* The time within which pings are expected, in milliseconds; 0: none are. */
uint64_t notify_watchdog_ms(void);

/* Listening sockets that came with the start (LISTEN_FDS). */
#define ACTIVATION_MAX	64
struct activation {
	int fd[ACTIVATION_MAX];
	unsigned n;
};
/* Takes those meant for this very process, close-on-exec. */
void activation_take(struct activation *a);
void activation_close(struct activation *a);
#endif
