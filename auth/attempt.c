/* SPDX-License-Identifier: MIT */
/* What is refused is told to imap-login without saying whether the name or the
 * password was wrong, and takes as long in both cases; the log says it, in the
 * words that Dovecot's fail2ban filter knows. */
#include "auth/attempt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "auth/auth-private.h"
#include "auth/penalty.h"
#include "auth/registry.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/settings.h"

void attempt_init(struct attempt *a, struct channel *ch, uint64_t id, uint64_t cookie,
	const char *remote, const char *local)
{
	struct address own;

	*a = (struct attempt){ .auth = ch->auth, .channel = ch, .id = id, .cookie = cookie };
	snprintf(a->remote, sizeof(a->remote), "%s", remote);
	address_parse(remote, &a->address);
	address_parse(local, &own);
	a->loopback = own.loopback;
	a->found.source = "passwd-file";
}

void attempt_deinit(struct attempt *a)
{
	loop_timer_cancel(a->auth->parts.loop, &a->timer);
}

/* Names that cannot be anybody's are looked up all the same, as "", so that
 * they cost as much as others. */
static bool name_is_possible(const char *user)
{
	size_t len = strlen(user);

	if (len == 0 || len > USER_NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)user[i] < 0x20 || user[i] == 0x7f)
			return false;
	return true;
}

void attempt_find_again(struct attempt *a)
{
	struct users *users = a->auth->parts.users;

	users_refresh(users);
	a->known = users_find(users, a->possible ? a->user : "", a->loopback, &a->found);
}

void attempt_find(struct attempt *a, const char *user)
{
	a->possible = name_is_possible(user);
	snprintf(a->user, sizeof(a->user), "%s", user);
	attempt_find_again(a);
}

/* ---- the line ---- */

static void line_is_through(void *ctx)
{
	struct attempt *a = ctx;

	a->then(a);
}

bool attempt_stand_in_line(struct attempt *a, void (*then)(struct attempt *a))
{
	struct auth *auth = a->auth;
	uint64_t wait = 0;

	/* On loopback there are proxies and web mail: all of their users have that
	   one address. And one try stands in line once. */
	if (!a->address.loopback && !a->stood_in_line)
		wait = penalty_wait(auth->penalty, a->address.key, clock_ms());
	if (wait == PENALTY_REFUSE) {
		log_info("line", "user=%s remote=%s reason=\"too many failures from there\"",
			log_str(a->user), log_str(a->remote));
		attempt_fail(a, AUTH_FAIL_TEMPORARY,
			"Too many failed logins from your address, try later.");
		return false;
	}
	if (wait == 0) {
		then(a);
		return true;
	}
	a->stood_in_line = true;
	a->then = then;
	if (loop_timer_set(auth->parts.loop, &a->timer, wait, line_is_through, a) == 0)
		return true;
	attempt_fail(a, AUTH_FAIL_TEMPORARY, "");
	return false;
}

bool attempt_is_in_line(const struct attempt *a)
{
	return a->timer.heap_index != 0;
}

/* ---- answers ---- */

static void answer(struct attempt *a, struct ipc_out *out)
{
	if (!a->channel) {
		ipc_out_destroy(&out);
		return;
	}
	int ret = ipc_peer_send(a->channel->peer, &out);
	if (ret < 0)
		log_error("answer", "lost: %s", strerror(-ret));
}

static void answer_fail(struct attempt *a, enum ipc_auth_fail code, const char *text,
	uint64_t late_ms)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_FAIL);

	if (out) {
		ipc_out_u64(out, a->id);
		ipc_out_u64(out, code);
		ipc_out_str(out, text);
		ipc_out_u64(out, late_ms);
	}
	answer(a, out);
}

void attempt_fail(struct attempt *a, enum ipc_auth_fail code, const char *text)
{
	answer_fail(a, code, text, 0);
}

/* The user's name inside a line that others take apart: `passwd-file(NAME,IP)`.
 * Foreign bytes must not end the name or the line. */
static const char *name_for_filter(const char *name, char out[static USER_NAME_MAX_BYTES + 1])
{
	size_t n = strnlen(name, USER_NAME_MAX_BYTES);

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		bool plain = c > 0x20 && c < 0x7f && !strchr("(),\"\\", c);
		out[i] = plain ? (char)c : '?';
	}
	out[n] = '\0';
	return out;
}

static void log_refused(const struct attempt *a, const char *why)
{
	char name[USER_NAME_MAX_BYTES + 1], address[ATTEMPT_ADDRESS_BYTES + 1];
	char event[USER_NAME_MAX_BYTES + ATTEMPT_ADDRESS_BYTES + 32];

	/* An address is hex digits, dots, colons and a scope. */
	snprintf(address, sizeof(address), "%.*s", (int)strspn(a->remote,
		"0123456789abcdefABCDEF.:%ghijklmnopqrstuvwxyz"), a->remote);
	snprintf(event, sizeof(event), "%s(%s,%s):", a->found.source,
		name_for_filter(a->user, name), address);
	log_info(event, "%s", why);
}

void attempt_refuse(struct attempt *a, const char *secret, const char *why)
{
	struct auth *auth = a->auth;

	auth->n_bad++;
	log_refused(a, why);
	uint64_t late = penalty_failed(auth->penalty, a->address.key, a->user, secret,
		clock_ms());
	answer_fail(a, AUTH_FAIL_CREDENTIALS, "", late);
}

/* ---- the ticket ---- */

static int ticket_make(const struct attempt *a, uint64_t *sid_r, struct buf *out)
{
	const struct auth *auth = a->auth;
	struct ticket t = {
		.cookie = a->cookie,
		.uid = a->found.uid,
		.gid = a->found.gid,
	};

	while (t.sid == 0) {
		int ret = seal_random(&t.sid, sizeof(t.sid));
		if (ret < 0)
			return ret;
	}
	memcpy(t.boot_id, auth->parts.boot_id, sizeof(t.boot_id));
	strcpy(t.user, a->user);
	strcpy(t.home, a->found.home);
	*sid_r = t.sid;
	return ticket_issue(auth->parts.key, &t, out);
}

/* True: answered. */
static bool limit_reached(struct attempt *a)
{
	const struct auth *auth = a->auth;
	const struct settings *s = auth->parts.settings;

	if (s->max_user_sessions > 0 &&
		registry_user_count(auth->registry, a->user) >= s->max_user_sessions) {
		log_info("limit", "user=%s remote=%s reason=\"max_user_sessions=%u reached\"",
			log_str(a->user), log_str(a->remote), s->max_user_sessions);
		attempt_fail(a, AUTH_FAIL_LIMIT, "Too many sessions of this user.");
		return true;
	}
	if (s->max_address_sessions > 0 && !a->address.loopback &&
		registry_address_count(auth->registry, a->address.key) >=
			s->max_address_sessions) {
		log_info("limit", "user=%s remote=%s reason=\"max_address_sessions=%u reached\"",
			log_str(a->user), log_str(a->remote), s->max_address_sessions);
		attempt_fail(a, AUTH_FAIL_LIMIT, "Too many sessions from this address.");
		return true;
	}
	return false;
}

void attempt_accept(struct attempt *a)
{
	struct auth *auth = a->auth;
	struct buf ticket;
	uint64_t sid = 0;

	if (!a->channel || limit_reached(a))
		return;
	buf_init(&ticket, TICKET_MAX_BYTES);
	int ret = ticket_make(a, &sid, &ticket);
	if (ret == 0)
		ret = registry_issue(auth->registry, sid, a->user, a->address.key, clock_ms());
	if (ret == 0) {
		auth->n_good++;
		auth_arm_expiry(auth);
		log_debug("ticket", "id=%016llx user=%s remote=%s uid=%u",
			(unsigned long long)sid, log_str(a->user), log_str(a->remote),
			a->found.uid);
		struct ipc_out *out = ipc_out_create(IPC_AUTH_OK);
		if (out) {
			ipc_out_u64(out, a->id);
			ipc_out_bin(out, ticket.data, ticket.len);
		}
		answer(a, out);
	} else {
		log_error("ticket", "user=%s cannot be issued: %s", log_str(a->user),
			strerror(-ret));
		attempt_fail(a, AUTH_FAIL_TEMPORARY, "Internal error.");
	}
	buf_deinit(&ticket);
}
