/* SPDX-License-Identifier: MIT */
/* Channels and what may come over each: a row says which message a peer of
 * which role may send; everything else ends the channel. */
#include "auth/auth.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/address.h"
#include "auth/auth-private.h"
#include "auth/penalty.h"
#include "auth/registry.h"
#include "auth/users.h"
#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"

/* Roles as bits. */
#define R(role)		(1u << (role))

/* False: malformed. */
typedef bool message_fn(struct channel *ch, struct ipc_in *in);

/* Any local process may call itself a session of anybody, and the holder, which
 * knows no users, passes that on with the process's uid. A name that is not
 * that uid's would use up what its owner may have. One that is nobody's (any
 * more) takes nothing from anybody. */
static bool session_is_true(const struct auth *auth, enum ipc_session_event event,
	uint64_t sid, const char *user, uint64_t uid)
{
	enum registry_phase phase;
	struct user_found f;
	const char *known;

	if (registry_get(auth->registry, sid, &known, &phase) && strcmp(known, user) != 0)
		return false;
	if (event == SESSION_GONE)
		return true;
	if (users_find(auth->parts.users, user, true, &f))
		return f.uid == uid;
	/* Of a system user's name as much as can be said from within the sandbox. */
	const struct passwd *pw = auth->parts.sysusers ? getpwnam(user) : NULL;
	return !pw || pw->pw_uid == uid;
}

static bool on_session(struct channel *ch, struct ipc_in *in)
{
	struct auth *auth = ch->auth;
	uint64_t event = ipc_in_u64(in);
	uint64_t sid = ipc_in_u64(in);
	const char *user = ipc_in_str(in);
	uint64_t uid = ipc_in_u64(in);
	struct address address;

	address_parse(ipc_in_str(in), &address);
	if (!ipc_in_done(in) || event > SESSION_LIST_ENDS)
		return false;
	if ((event == SESSION_AWAKE || event == SESSION_ASLEEP) && (sid == 0 || !*user))
		return false;
	if (event <= SESSION_GONE &&
	    !session_is_true(auth, (enum ipc_session_event)event, sid, user, uid)) {
		log_warn("session", "id=%016llx user=%s uid=%llu reason=\"not that user's\"",
			(unsigned long long)sid, log_str(user), (unsigned long long)uid);
		return true;
	}
	int ret = registry_report(auth->registry, (enum ipc_session_event)event, sid, user,
		address.key);
	if (ret < 0)
		log_error("session", "id=%016llx user=%s not registered: %s",
			(unsigned long long)sid, log_str(user), strerror(-ret));
	return true;
}

static bool user_answer(struct channel *ch, uint64_t id, const char *user,
	const struct user_found *found, bool certain)
{
	/* No answer is no reason to end anybody's session. */
	if (!found && !certain)
		return true;
	struct ipc_out *out = ipc_out_create(IPC_USER_IS);
	if (out) {
		ipc_out_u64(out, id);
		ipc_out_bool(out, found != NULL);
		ipc_out_u64(out, found ? found->uid : 0);
		ipc_out_u64(out, found ? found->gid : 0);
		ipc_out_str(out, found ? found->home : "");
	}
	return ipc_peer_send(ch->peer, &out) == 0;
}

static bool on_user(struct channel *ch, struct ipc_in *in)
{
	uint64_t id = ipc_in_u64(in);
	const char *name = ipc_in_str(in);

	return ipc_in_done(in) && lookup_begin(ch, id, name, user_answer);
}

static const struct {
	enum ipc_type type;
	unsigned roles;
	message_fn *fn;
} messages[] = {
	{ IPC_AUTH,	R(ROLE_LOGIN),						request_begin },
	{ IPC_AUTH_BEGIN, R(ROLE_LOGIN),					exchange_begin },
	{ IPC_AUTH_STEP, R(ROLE_LOGIN),						exchange_step },
	{ IPC_AUTH_CANCEL, R(ROLE_LOGIN),					exchange_cancel },
	{ IPC_USER,	R(ROLE_LOGIN) | R(ROLE_IMAP) | R(ROLE_HOLDER) | R(ROLE_MASTER),	on_user },
	{ IPC_SESSION,	R(ROLE_HOLDER),						on_session },
	{ CTL_REQUEST,	R(ROLE_CONTROL),					control_begin },
};

static message_fn *message_find(const struct channel *ch, uint32_t type)
{
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		if (messages[i].type == type && (messages[i].roles & R(ch->role)))
			return messages[i].fn;
	return NULL;
}

static const char *role_name(enum ipc_role role)
{
	switch (role) {
	case ROLE_MASTER:	return "master";
	case ROLE_KEEPER:	return "keeper";
	case ROLE_AUTH:		return "auth";
	case ROLE_LOGIN:	return "imap-login";
	case ROLE_IMAP:		return "imap";
	case ROLE_HOLDER:	return "imap-hibernate";
	case ROLE_CONTROL:	return "dormouse";
	}
	return "unknown";
}

void channel_destroy(struct channel **ch_p)
{
	struct channel *ch = *ch_p;

	*ch_p = NULL;
	if (!ch)
		return;
	request_forget_channel(ch->auth, ch);
	exchange_forget_channel(ch->auth, ch);
	lookup_forget_channel(ch->auth, ch);
	loop_timer_cancel(ch->auth->parts.loop, &ch->timeout);
	ipc_peer_destroy(&ch->peer);
	list_remove(&ch->node);
	free(ch->sids);
	free(ch);
}

static void channel_message(void *ctx, struct ipc_in *in, int error)
{
	struct channel *ch = ctx;
	struct auth *auth = ch->auth;

	if (!in) {
		if (error < 0)
			log_warn("channel", "peer=%s reason=%s", role_name(ch->role),
				log_str(strerror(-error)));
		channel_destroy(&ch);
		auth_check_idle(auth);
		return;
	}
	uint32_t type = ipc_in_type(in);
	message_fn *fn = message_find(ch, type);
	if (fn && fn(ch, in))
		return;
	log_error("channel", "peer=%s message=%u reason=\"%s\"", role_name(ch->role), type,
		fn ? "malformed, or its answer could not be sent" : "not allowed");
	channel_destroy(&ch);
	auth_check_idle(auth);
}

/* Somebody who neither asks nor reads must not stay for ever. */
#define CONTROL_TIMEOUT_MS	30000

static void control_timeout(void *ctx)
{
	struct channel *ch = ctx;
	struct auth *auth = ch->auth;

	channel_destroy(&ch);
	auth_check_idle(auth);
}

int auth_add_channel(struct auth *auth, enum ipc_role role, int fd)
{
	struct channel *ch = calloc(1, sizeof(*ch));

	if (!ch) {
		close(fd);
		return -ENOMEM;
	}
	ch->auth = auth;
	ch->role = role;
	list_append(&auth->channels, &ch->node);
	ch->peer = ipc_peer_create(auth->parts.loop, fd, channel_message, ch);
	if (!ch->peer) {
		channel_destroy(&ch);
		return -ENOMEM;
	}
	if (role != ROLE_CONTROL)
		return 0;
	ipc_peer_on_drained(ch->peer, control_go_on);
	return loop_timer_set(auth->parts.loop, &ch->timeout, CONTROL_TIMEOUT_MS,
		control_timeout, ch);
}

static bool auth_has_role(const struct auth *auth, enum ipc_role role)
{
	list_for_each(node, &auth->channels)
		if (container_of(node, struct channel, node)->role == role)
			return true;
	return false;
}

void auth_check_idle(struct auth *auth)
{
	if (auth->finishing && auth->n_requests == 0 && !auth_has_role(auth, ROLE_LOGIN))
		auth->parts.idle(auth->parts.ctx);
}

void auth_finish(struct auth *auth)
{
	auth->finishing = true;
	auth_check_idle(auth);
}

/* ---- tickets that nobody used ---- */

static void auth_expire(void *ctx)
{
	auth_arm_expiry(ctx);
}

void auth_arm_expiry(struct auth *auth)
{
	uint64_t wait = registry_expire(auth->registry, clock_ms());

	if (wait == 0)
		loop_timer_cancel(auth->parts.loop, &auth->expiry);
	else if (auth->expiry.heap_index == 0)
		/* Short of memory it is armed at the next log-in. */
		(void)loop_timer_set(auth->parts.loop, &auth->expiry, wait, auth_expire, auth);
}

/* ---- making and ending ---- */

struct auth *auth_create(const struct auth_parts *parts)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return NULL;
	auth->parts = *parts;
	list_init(&auth->channels);
	list_init(&auth->requests);
	list_init(&auth->exchanges);
	list_init(&auth->lookups);
	uint64_t seed = 0;
	(void)seal_random(&seed, sizeof(seed));
	auth->registry = registry_create();
	auth->penalty = penalty_create(seed);
	if (!auth->registry || !auth->penalty)
		auth_destroy(&auth);
	return auth;
}

void auth_destroy(struct auth **auth_p)
{
	struct auth *auth = *auth_p;

	*auth_p = NULL;
	if (!auth)
		return;
	list_for_each_safe(node, &auth->channels) {
		struct channel *ch = container_of(node, struct channel, node);
		channel_destroy(&ch);
	}
	loop_timer_cancel(auth->parts.loop, &auth->expiry);
	request_destroy_all(auth);
	exchange_destroy_all(auth);
	lookup_destroy_all(auth);
	penalty_destroy(&auth->penalty);
	registry_destroy(&auth->registry);
	free(auth);
}

void auth_status(const struct auth *auth, char *line, size_t size)
{
	snprintf(line, size, "sessions=%zu pending=%zu exchanges=%zu logins=%llu failures=%llu",
		registry_count(auth->registry), auth->n_requests, auth->n_exchanges,
		(unsigned long long)auth->n_good, (unsigned long long)auth->n_bad);
}

void auth_dump(const struct auth *auth)
{
	char line[160];

	auth_status(auth, line, sizeof(line));
	log_info("dump", "%s finishing=%d", line, auth->finishing);
	list_for_each(node, &auth->channels) {
		const struct channel *ch = container_of(node, struct channel, node);
		log_info("dump", "channel peer=%s queued=%zu", role_name(ch->role),
			ipc_peer_queued(ch->peer));
	}
}
