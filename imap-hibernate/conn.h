/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_CONN_H
#define HIBERNATE_CONN_H
/* Connections of imap processes (and of deliverers): accepted from the
 * listener, or the reply end of a WAKE. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "imap-hibernate/watch.h"
#include "lib/loop.h"

struct holder;
struct ipc_out;

/* Connections and sleepers share the numbers of watch.h's subscribers. */
#define CONN_BIT	0x80000000u

enum conn_state {
	CONN_NEW,		/* no session is named yet */
	CONN_AWAKE,		/* serves a session */
	CONN_WAKING,		/* reply end; its sleeper may still come back */
	CONN_ASLEEP,		/* its session sleeps: the process is about to exit */
	CONN_DUMPING,		/* answers state-dump */
};

struct conn {
	struct holder *holder;
	struct loop_io io;
	int fd;
	uint32_t number;
	uint32_t slot;		/* of its sleeper, or NONE */
	uid_t uid;		/* whose messages are heard; root's are too */
	enum conn_state state;
	struct watch_sub sub;
	uint64_t generation;	/* last one told */
	bool ours;		/* made by the server itself, not by some user's process */
	bool watching;		/* its last WATCH was not refused */
	bool watch_gone;	/* a directory that it watches was deleted */
	bool changed_waits;	/* CHANGED did not fit */
	uint8_t do_waits;	/* DO of this verb did not fit */
	uint64_t sid, cookie;
	char *user, *remote, *mailbox;
	uint64_t login_time;
	uint32_t since;		/* unix seconds */
	bool idle;
	uint8_t security;	/* enum ipc_security */
	struct conn *next_dead;
};
struct conns {
	struct conn **list;	/* by number; NULL: free */
	uint32_t used, room, count, awake;
	uint32_t hint;		/* no free number below */
	struct conn *dead;	/* closed in this turn */
	struct loop_timer timer;
};

static inline bool id_is_conn(uint32_t id)
{
	return (id & CONN_BIT) != 0;
}
static inline uint32_t conn_id(const struct conn *c)
{
	return CONN_BIT | c->number;
}
/* By number; NULL for NONE. */
struct conn *conn_get(struct holder *h, uint32_t number);
/* Takes fd over, also on failure. NULL: no memory. */
struct conn *conn_create(struct holder *h, int fd, uid_t uid, enum conn_state state);
/* Ends it. why: NULL for the peer's own end. */
void conn_close(struct conn *c, const char *why);
/* Sends and destroys the message; false: it did not go out. A peer that does
 * not read loses its connection. */
bool conn_send(struct conn *c, struct ipc_out **out);
/* KEPT, REFUSED, HAVE_NOT: all name session and counts. */
bool conn_answer(struct conn *c, uint32_t type, uint64_t written, uint64_t consumed,
		 const char *reason);
/* CHANGED with a new generation; waits while the socket is full. */
void conn_changed(struct conn *c, bool gone);
/* DO; waits while the socket is full. */
void conn_do(struct conn *c, unsigned verb);
/* What one user's processes may have here: an imap that lost its holder comes
 * again as that user, and so may anybody else of that uid. */
uint32_t conns_of_user_max(const struct holder *h);
/* The session of its sleeper is its own now: label and all (step 12). */
void conn_wakes(struct conn *c, const struct table_entry *e);
/* What auth says of the user of an awake session. */
struct user_answer {
	uint64_t sid;
	bool found;
	uint64_t uid, gid;
	const char *home;
};
void conns_user_is(struct holder *h, const struct user_answer *a);
void conn_set_state(struct conn *c, enum conn_state to);
/* Whoever connects. */
void conns_accept(void *ctx, uint32_t events);
void conns_deinit(struct holder *h);
#endif
