/* SPDX-License-Identifier: MIT */
#ifndef AUTH_AUTH_PRIVATE_H
#define AUTH_AUTH_PRIVATE_H
/* Between auth.c (channels), request.c and exchange.c (log-ins), lookup.c (system
 * users) and control.c (`dormouse`). */
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
	struct penalty *penalty;
	struct list channels;
	struct list requests;
	size_t n_requests;
	struct list exchanges;
	size_t n_exchanges;
	struct list lookups;
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

/* exchange.c: IPC_AUTH_BEGIN, _STEP, _CANCEL. False: malformed, or not the time
 * for it. */
bool exchange_begin(struct channel *ch, struct ipc_in *in);
bool exchange_step(struct channel *ch, struct ipc_in *in);
bool exchange_cancel(struct channel *ch, struct ipc_in *in);
void exchange_forget_channel(struct auth *auth, const struct channel *ch);
void exchange_destroy_all(struct auth *auth);

/* lookup.c: who is this user? Asks the passwd-file, then the system; fn is called
 * from inside, or later, or never if the channel ends before. found is NULL when
 * there is no such user; nobody knows: certain is false. */
struct user_found;
typedef bool lookup_fn(struct channel *ch, uint64_t id, const char *user,
		       const struct user_found *found, bool certain);
/* What fn returned, or true. */
bool lookup_begin(struct channel *ch, uint64_t id, const char *user, lookup_fn *fn);
void lookup_forget_channel(struct auth *auth, const struct channel *ch);
void lookup_destroy_all(struct auth *auth);

/* control.c: CTL_REQUEST. False: the message is malformed. */
bool control_begin(struct channel *ch, struct ipc_in *in);
void control_go_on(void *ch);
#endif
