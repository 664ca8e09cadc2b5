/* SPDX-License-Identifier: MIT */
#ifndef AUTH_AUTH_PRIVATE_H
#define AUTH_AUTH_PRIVATE_H
/* Between auth.c (channels), request.c (log-ins) and control.c (`dormouse`). */
#include "auth/auth.h"
#include "lib/ipc-peer.h"
#include "lib/list.h"
#include "lib/loop.h"

struct channel {
	struct list node;
	struct auth *auth;
	struct ipc_peer *peer;
	enum ipc_role role;
	/* ROLE_CONTROL, while it is being answered. */
	uint64_t *sids;
	size_t n_sids, at;
	struct loop_timer timeout;
};

struct auth {
	struct auth_parts parts;
	struct registry *registry;
	struct list channels;
	struct list requests;
	size_t n_requests;
	struct loop_timer expiry;
	bool finishing;
	uint64_t n_good, n_bad;		/* log-ins so far */
};

void channel_destroy(struct channel **ch);
/* Perhaps that was the last thing to wait for. May end the loop. */
void auth_check_idle(struct auth *auth);

/* request.c: IPC_AUTH. False: the message is malformed. */
bool request_begin(struct channel *ch, struct ipc_in *in);
/* Nobody waits for the channel's answers any more. */
void request_forget_channel(struct auth *auth, const struct channel *ch);
void request_destroy_all(struct auth *auth);
void auth_arm_expiry(struct auth *auth);

/* control.c: CTL_REQUEST. False: the message is malformed. */
bool control_begin(struct channel *ch, struct ipc_in *in);
void control_go_on(void *ch);
#endif
