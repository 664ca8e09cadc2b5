/* SPDX-License-Identifier: MIT */
/* Users of the passwd-file are known at once; those of the system are asked for
 * in the process that may do so (sysuser.c), and answered when it has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth-private.h"
#include "auth/sysuser.h"
#include "auth/users.h"

struct lookup {
	struct list node;
	struct auth *auth;
	struct channel *channel;	/* NULL: it ended */
	uint64_t id;
	lookup_fn *fn;
	struct sysuser_job job;
	char user[USER_NAME_MAX_BYTES + 1];
};

static void lookup_done(struct sysuser_job *job, enum sysuser_result result)
{
	struct lookup *l = container_of(job, struct lookup, job);
	struct user_found found = { .scheme = PASSWORD_LOCKED, .hash = "", .source = "pam" };
	struct auth *auth = l->auth;
	struct channel *ch = l->channel;
	bool good = true;

	if (result == SYSUSER_OK) {
		found.uid = job->facts.uid;
		found.gid = job->facts.gid;
		strcpy(found.home, job->facts.home);
	}
	/* What is denied now was let in once: it is another user by now. */
	if (ch)
		good = l->fn(ch, l->id, l->user, result == SYSUSER_OK ? &found : NULL,
			result != SYSUSER_FAILED);
	list_remove(&l->node);
	free(l);
	if (good)
		return;
	channel_destroy(&ch);
	auth_check_idle(auth);
}

bool lookup_begin(struct channel *ch, uint64_t id, const char *user, lookup_fn *fn)
{
	struct auth *auth = ch->auth;
	struct user_found found;

	users_refresh(auth->parts.users);
	if (users_find(auth->parts.users, user, true, &found))
		return fn(ch, id, user, &found, true);
	bool certain = users_definite(auth->parts.users);
	if (!auth->parts.sysusers || !*user || strlen(user) > USER_NAME_MAX_BYTES)
		return fn(ch, id, user, NULL, certain);
	struct lookup *l = calloc(1, sizeof(*l));
	if (!l)
		return fn(ch, id, user, NULL, false);
	l->auth = auth;
	l->channel = ch;
	l->id = id;
	l->fn = fn;
	snprintf(l->user, sizeof(l->user), "%s", user);
	l->job = (struct sysuser_job){
		.question = SYSUSER_LOOKUP, .user = l->user, .done = lookup_done,
	};
	list_append(&auth->lookups, &l->node);
	if (sysusers_ask(auth->parts.sysusers, &l->job) == 0)
		return true;
	list_remove(&l->node);
	free(l);
	return fn(ch, id, user, NULL, false);
}

void lookup_forget_channel(struct auth *auth, const struct channel *ch)
{
	list_for_each(node, &auth->lookups) {
		struct lookup *l = container_of(node, struct lookup, node);
		if (l->channel == ch)
			l->channel = NULL;
	}
}

void lookup_destroy_all(struct auth *auth)
{
	list_for_each_safe(node, &auth->lookups) {
		struct lookup *l = container_of(node, struct lookup, node);
		list_remove(&l->node);
		free(l);
	}
}
