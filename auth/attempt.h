/* SPDX-License-Identifier: MIT */
#ifndef AUTH_ATTEMPT_H
#define AUTH_ATTEMPT_H
/* One try to log in, whatever its mechanism: what it costs, how it ends, and
 * what is told and logged then. Embedded in a request or an exchange. */
#include <stdbool.h>
#include <stdint.h>

#include "auth/address.h"
#include "auth/users.h"
#include "lib/ipc-proto.h"
#include "lib/limits.h"
#include "lib/loop.h"

struct auth;
struct channel;

/* Longest address as text, with a scope. */
#define ATTEMPT_ADDRESS_BYTES	64

struct attempt {
	struct auth *auth;
	struct channel *channel;	/* NULL: it ended, nobody waits */
	uint64_t id, cookie;
	bool possible;			/* the name could be somebody's */
	bool known;			/* there is such a user */
	bool loopback;			/* it came over a connection to loopback */
	struct user_found found;
	char user[USER_NAME_MAX_BYTES + 1];
	char remote[ATTEMPT_ADDRESS_BYTES];
	struct address address;
	bool stood_in_line;
	void (*then)(struct attempt *a);
	struct loop_timer timer;
};

void attempt_init(struct attempt *a, struct channel *ch, uint64_t id, uint64_t cookie,
		  const char *remote, const char *local);
/* No timer of its own runs any more. */
void attempt_deinit(struct attempt *a);
/* Who is it? Sets user, possible, known and found. */
void attempt_find(struct attempt *a, const char *user);
/* The same name, some time later: found.hash lives only until users_refresh(). */
void attempt_find_again(struct attempt *a);

/* then(a) once the address has stood in line for its failures: at once, from
 * inside, if it need not. False: refused instead, and answered. */
bool attempt_stand_in_line(struct attempt *a, void (*then)(struct attempt *a));

bool attempt_is_in_line(const struct attempt *a);

/* ---- its end: the answer is sent (if anybody waits), and logged ---- */

/* The ticket, if its user and its address may have one more session. */
void attempt_accept(struct attempt *a);
/* Wrong: counted and told to fail2ban. secret: what was tried, or NULL. */
void attempt_refuse(struct attempt *a, const char *secret, const char *why);
/* Not its fault. */
void attempt_fail(struct attempt *a, enum ipc_auth_fail code, const char *text);
#endif
