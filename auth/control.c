/* SPDX-License-Identifier: MIT */
/* The operator's questions. An answer may have many rows and its reader may be
 * slow: rows are sent until some wait, and go on when those are through. The
 * list of ids is taken at the beginning; who has gone meanwhile is left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth-private.h"
#include "auth/registry.h"
#include "auth/users.h"
#include "lib/ipc.h"

#define ROWS_PER_TURN	256

struct pair {
	const char *key, *value;
};

static bool send_row(struct channel *ch, const struct pair *pairs, uint32_t n)
{
	struct ipc_out *out = ipc_out_create(CTL_ROW);

	if (out) {
		ipc_out_array(out, n);
		for (uint32_t i = 0; i < n; i++) {
			ipc_out_array(out, 2);
			ipc_out_str(out, pairs[i].key);
			ipc_out_str(out, pairs[i].value);
		}
	}
	return ipc_peer_send(ch->peer, &out) == 0;
}

static bool send_end(struct channel *ch, bool ok, const char *text)
{
	struct ipc_out *out = ipc_out_create(CTL_END);

	if (out) {
		ipc_out_bool(out, ok);
		ipc_out_str(out, text);
	}
	return ipc_peer_send(ch->peer, &out) == 0;
}

static bool user_row(struct channel *ch, uint64_t id, const char *name,
	const struct user_found *f, bool certain)
{
	char uid[16], gid[16], sessions[24];

	if (!f)
		return send_end(ch, false, "no such user");
	snprintf(uid, sizeof(uid), "%u", f->uid);
	snprintf(gid, sizeof(gid), "%u", f->gid);
	snprintf(sessions, sizeof(sessions), "%zu",
		registry_user_count(ch->auth->registry, name));
	const struct pair row[] = {
		{ "user", name }, { "uid", uid }, { "gid", gid }, { "home", f->home },
		{ "source", f->source }, { "sessions", sessions },
	};
	return send_row(ch, row, sizeof(row) / sizeof(row[0])) && send_end(ch, true, "");
}

static bool send_session(struct channel *ch, uint64_t sid)
{
	enum registry_phase phase;
	const char *user;
	char id[20];

	if (!registry_get(ch->auth->registry, sid, &user, &phase))
		return true;
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)sid);
	const struct pair row[] = {
		{ "id", id }, { "user", user }, { "phase", registry_phase_name(phase) },
	};
	return send_row(ch, row, sizeof(row) / sizeof(row[0]));
}

/* False: the answer cannot be completed. */
static bool sessions_go_on(struct channel *ch)
{
	while (ch->at < ch->n_sids) {
		if (!send_session(ch, ch->sids[ch->at++]))
			return false;
		/* The queue's end calls again. */
		if (ipc_peer_queued(ch->peer) >= ROWS_PER_TURN)
			return true;
	}
	free(ch->sids);
	ch->sids = NULL;
	return send_end(ch, true, "");
}

void control_go_on(void *ctx)
{
	struct channel *ch = ctx;
	struct auth *auth = ch->auth;

	if (!ch->sids || sessions_go_on(ch))
		return;
	channel_destroy(&ch);
	auth_check_idle(auth);
}

static bool ctl_sessions(struct channel *ch)
{
	if (ch->sids)
		return false;	/* one question at a time */
	ch->at = 0;
	if (registry_list(ch->auth->registry, &ch->sids, &ch->n_sids) < 0)
		return send_end(ch, false, "out of memory");
	return sessions_go_on(ch);
}

bool control_begin(struct channel *ch, struct ipc_in *in)
{
	const char *verb = ipc_in_str(in);
	uint32_t n = ipc_in_array(in);
	const char *argument = n == 1 ? ipc_in_str(in) : "";

	if (!ipc_in_done(in))
		return n > 1 && !ipc_in_bad(in) && send_end(ch, false, "too many arguments");
	if (strcmp(verb, "user") == 0)
		return lookup_begin(ch, 0, argument, user_row);
	if (strcmp(verb, "sessions") == 0)
		return ctl_sessions(ch);
	return send_end(ch, false, "auth does not know this verb");
}
