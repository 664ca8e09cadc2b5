/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CONTROL_H
#define MASTER_CONTROL_H
/* BASE/control: what an operator asks for. A request is looked at without
 * being taken out of its connection, so that the connection can be handed to
 * the program that serves the verb. */
#include <stdbool.h>
#include <stdint.h>

#include "lib/ipc-proto.h"

struct control;
struct ipc_in;
struct loop;

struct control_host {
	void *ctx;
	/* Hand fd (not taken over) to the program of that role. 0, or -errno:
	 * it does not run. */
	int (*hand_on)(void *ctx, enum ipc_role role, int fd);
	/* Send the rows of `status` to fd. */
	void (*status)(void *ctx, int fd);
	/* The server is to stop. STOP_REPLACE: sleepers are kept for another start. */
	void (*stop)(void *ctx, enum ipc_stop how);
	/* Upgrade or reload; fd (taken over) waits for the outcome. */
	void (*upgrade)(void *ctx, bool reload, int fd);
};
/* listen_fd stays the caller's. NULL with errno. */
struct control *control_create(struct loop *loop, int listen_fd,
			       const struct control_host *host);
/* Everybody who waits for the stop hears that it is done. */
void control_stopped(struct control *control);
void control_destroy(struct control **control);
/* The end of an answer. Failures do not matter: nobody listens then. */
void control_end(int fd, bool ok, const char *text);
#endif
