/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_CONTROL_H
#define HIBERNATE_CONTROL_H
/* The operator: `dormouse who`, `sleep`, `wake`, `kick`, `holder`,
 * `state-dump`. master hands the connection on, its request unread. */
#include <stdbool.h>
#include <stdint.h>

struct holder;

/* Takes fd over. */
void control_accept(struct holder *h, int fd);
void control_deinit(struct holder *h);
/* Something happened to a session that an operator may wait for. */
enum control_event {
	CONTROL_KEPT,		/* it sleeps */
	CONTROL_TAKEN,		/* it is awake */
	CONTROL_GONE,		/* it ended */
	CONTROL_NOT,		/* it will not sleep; text says why */
};
void control_event(struct holder *h, uint64_t sid, enum control_event event,
		   const char *text);
/* The answer to state-dump came on this connection; NULL: none will. */
void control_dumped(struct holder *h, uint32_t conn, const char *text);
#endif
