/* SPDX-License-Identifier: MIT */
#ifndef AUTH_REGISTRY_H
#define AUTH_REGISTRY_H
/* Which sessions are there, and how many of each user and from each address? The holder tells; a
 * registry that was lost with its process is told again. Pure: no descriptor,
 * no clock. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ipc-proto.h"

/* A ticket whose session never showed up is forgotten after this long: the
 * client hung up, or imap-login died with it. */
#define REGISTRY_LOGIN_MS	60000

enum registry_phase {
	REGISTRY_LOGIN,		/* ticket issued, session not seen yet */
	REGISTRY_AWAKE,
	REGISTRY_ASLEEP,
};
struct registry;
struct registry *registry_create(void);	/* NULL: no memory */
void registry_destroy(struct registry **r);
/* A ticket was issued. address: the key of one (auth/address.h), "" counts for
 * none. 0, -EEXIST, -ENOMEM. */
int registry_issue(struct registry *r, uint64_t sid, const char *user, const char *address,
		   uint64_t now_ms);
/* SESSION_AWAKE and _ASLEEP put it in whether known or not; SESSION_GONE takes
 * it out. Between SESSION_LIST_BEGINS and _ENDS the holder names all that it
 * knows: who was not named is taken out at the end, but for those in
 * REGISTRY_LOGIN, which it cannot know yet. address is believed only for sessions
 * whose ticket was not issued here, and only for a few of each user.
 * 0, -EINVAL, -ENOMEM. */
int registry_report(struct registry *r, enum ipc_session_event event, uint64_t sid,
		    const char *user, const char *address);
size_t registry_count(const struct registry *r);
size_t registry_user_count(const struct registry *r, const char *user);
size_t registry_address_count(const struct registry *r, const char *address);
/* Forgets what is older than REGISTRY_LOGIN_MS; returns when to ask again, in
 * ms from now, 0: no need. */
uint64_t registry_expire(struct registry *r, uint64_t now_ms);
/* All session ids, unordered: the caller frees *sids_r. 0 or -ENOMEM. */
int registry_list(const struct registry *r, uint64_t **sids_r, size_t *count_r);
/* False: not there (any more). *user_r is valid until the next change. */
bool registry_get(const struct registry *r, uint64_t sid, const char **user_r,
		  enum registry_phase *phase_r);
const char *registry_phase_name(enum registry_phase phase);
#endif
