/* SPDX-License-Identifier: MIT */
/* One log-in: who is it, is it the password, may he have one more session,
 * then a ticket. What is refused is told to imap-login without saying whether
 * the name or the password was wrong, and takes as long in both cases; the log
 * says it, in the words that Dovecot's fail2ban filter knows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth-private.h"
#include "auth/registry.h"
#include "auth/users.h"
#include "auth/workers.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/settings.h"

/* Longest address as text, with a scope. */
#define ADDRESS_BYTES	64

struct request {
	struct list node;
	struct auth *auth;
	struct channel *channel;	/* NULL: it ended, nobody waits */
	struct worker_job job;
	uint64_t id;
	uint64_t cookie;
	bool known;			/* there is such a user */
	struct user_found found;	/* hash points into this request */
	char *hash, *password;
	char user[USER_NAME_MAX_BYTES + 1];
	char remote[ADDRESS_BYTES];
};

static void request_destroy(struct request *req)
{
	list_remove(&req->node);
	req->auth->n_requests--;
	if (req->password)
		explicit_bzero(req->password, strlen(req->password));
	if (req->hash)
		explicit_bzero(req->hash, strlen(req->hash));
	free(req->password);
	free(req->hash);
	free(req);
}

void request_destroy_all(struct auth *auth)
{
	list_for_each_safe(node, &auth->requests)
		request_destroy(container_of(node, struct request, node));
}

void request_forget_channel(struct auth *auth, const struct channel *ch)
{
	list_for_each(node, &auth->requests) {
		struct request *req = container_of(node, struct request, node);
		if (req->channel == ch)
			req->channel = NULL;
	}
}

/* ---- answers ---- */

static void answer_fail(struct channel *ch, uint64_t id, enum ipc_auth_fail code,
	const char *text)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_FAIL);

	if (out) {
		ipc_out_u64(out, id);
		ipc_out_u64(out, code);
		ipc_out_str(out, text);
	}
	int ret = ipc_peer_send(ch->peer, &out);
	if (ret < 0)
		log_error("answer", "lost: %s", strerror(-ret));
}

static void answer_ticket(struct channel *ch, uint64_t id, const struct buf *ticket)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_OK);

	if (out) {
		ipc_out_u64(out, id);
		ipc_out_bin(out, ticket->data, ticket->len);
	}
	int ret = ipc_peer_send(ch->peer, &out);
	if (ret < 0)
		log_error("answer", "lost: %s", strerror(-ret));
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

static void log_refused(const char *source, const char *user, const char *remote,
	const char *why)
{
	char name[USER_NAME_MAX_BYTES + 1], address[ADDRESS_BYTES + 1];
	char event[USER_NAME_MAX_BYTES + ADDRESS_BYTES + 32];

	/* An address is hex digits, dots, colons and a scope. */
	snprintf(address, sizeof(address), "%.*s",
		(int)strspn(remote, "0123456789abcdefABCDEF.:%ghijklmnopqrstuvwxyz"), remote);
	snprintf(event, sizeof(event), "%s(%s,%s):", source, name_for_filter(user, name),
		address);
	log_info(event, "%s", why);
}

/* ---- the right password ---- */

static int ticket_make(const struct request *req, uint64_t *sid_r, struct buf *out)
{
	const struct auth *auth = req->auth;
	struct ticket t = {
		.cookie = req->cookie,
		.uid = req->found.uid,
		.gid = req->found.gid,
	};

	while (t.sid == 0) {
		int ret = seal_random(&t.sid, sizeof(t.sid));
		if (ret < 0)
			return ret;
	}
	memcpy(t.boot_id, auth->parts.boot_id, sizeof(t.boot_id));
	strcpy(t.user, req->user);
	strcpy(t.home, req->found.home);
	*sid_r = t.sid;
	return ticket_issue(auth->parts.key, &t, out);
}

static void request_accept(struct request *req)
{
	struct auth *auth = req->auth;
	struct channel *ch = req->channel;
	uint32_t limit = auth->parts.settings->max_user_sessions;
	struct buf ticket;
	uint64_t sid = 0;

	if (limit > 0 && registry_user_count(auth->registry, req->user) >= limit) {
		log_info("limit", "user=%s remote=%s reason=\"max_user_sessions=%u reached\"",
			log_str(req->user), log_str(req->remote), limit);
		answer_fail(ch, req->id, AUTH_FAIL_LIMIT, "Too many sessions of this user.");
		return;
	}
	buf_init(&ticket, TICKET_MAX_BYTES);
	int ret = ticket_make(req, &sid, &ticket);
	if (ret == 0)
		ret = registry_issue(auth->registry, sid, req->user, clock_ms());
	if (ret == 0) {
		auth->n_good++;
		auth_arm_expiry(auth);
		log_debug("ticket", "id=%016llx user=%s remote=%s uid=%u",
			(unsigned long long)sid, log_str(req->user), log_str(req->remote),
			req->found.uid);
		answer_ticket(ch, req->id, &ticket);
	} else {
		log_error("ticket", "user=%s cannot be issued: %s", log_str(req->user),
			strerror(-ret));
		answer_fail(ch, req->id, AUTH_FAIL_TEMPORARY, "Internal error.");
	}
	buf_deinit(&ticket);
}

static void request_finish(struct request *req, enum job_result result)
{
	struct auth *auth = req->auth;

	if (result == JOB_MATCH && !req->known)
		result = JOB_MISMATCH;		/* the hash was somebody else's */
	switch (result) {
	case JOB_MATCH:
		if (req->channel)
			request_accept(req);
		break;
	case JOB_MISMATCH:
		auth->n_bad++;
		log_refused(req->found.source, req->user, req->remote,
			req->known ? "Password mismatch" : "unknown user");
		if (req->channel)
			answer_fail(req->channel, req->id, AUTH_FAIL_CREDENTIALS, "");
		break;
	case JOB_FAILED:
		if (req->channel)
			answer_fail(req->channel, req->id, AUTH_FAIL_TEMPORARY, "");
		break;
	}
	request_destroy(req);
	auth_check_idle(auth);
}

static void request_checked(struct worker_job *job, enum job_result result)
{
	request_finish(container_of(job, struct request, job), result);
}

/* ---- the question ---- */

static bool is_loopback(const char *ip)
{
	return strncmp(ip, "127.", 4) == 0 || strcmp(ip, "::1") == 0;
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

static struct request *request_create(struct channel *ch, uint64_t id, const char *user,
	const char *password, const char *remote)
{
	struct request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	req->auth = ch->auth;
	req->channel = ch;
	req->id = id;
	list_append(&ch->auth->requests, &req->node);
	ch->auth->n_requests++;
	req->password = strdup(password);
	snprintf(req->user, sizeof(req->user), "%s", user);
	snprintf(req->remote, sizeof(req->remote), "%s", remote);
	return req;
}

/* 0, or -errno: it could not be checked. */
static int request_check(struct request *req)
{
	struct auth *auth = req->auth;

	req->hash = strdup(req->found.hash);
	if (!req->hash || !req->password)
		return -ENOMEM;
	if (req->found.scheme != PASSWORD_CRYPT) {
		bool match = password_matches(req->found.scheme, req->hash, req->password);
		request_finish(req, match ? JOB_MATCH : JOB_MISMATCH);
		return 0;
	}
	req->job = (struct worker_job){
		.user = req->user,
		.hash = req->hash,
		.password = req->password,
		.done = request_checked,
	};
	return workers_submit(auth->parts.workers, &req->job);
}

struct question {
	uint64_t id, cookie;
	const char *mechanism, *authzid, *user, *password, *remote, *local, *external;
	bool secured;
};

/* True: answered already. */
static bool question_refused(struct channel *ch, const struct question *q)
{
	if (strcmp(q->mechanism, "PLAIN") != 0 && strcmp(q->mechanism, "LOGIN") != 0) {
		answer_fail(ch, q->id, AUTH_FAIL_POLICY, "This mechanism is not supported.");
		return true;
	}
	/* imap-login checks that too: a mistake there must not open this. */
	if (!q->secured) {
		log_warn("policy", "user=%s remote=%s reason=\"plain text password without encryption\"",
			log_str(q->user), log_str(q->remote));
		answer_fail(ch, q->id, AUTH_FAIL_POLICY, "Encryption is required.");
		return true;
	}
	/* RFC 4616 section 2: nobody here may act for somebody else. */
	if (*q->authzid && strcmp(q->authzid, q->user) != 0) {
		log_refused("passwd-file", q->user, q->remote,
			"invalid credentials (authorization as another user)");
		answer_fail(ch, q->id, AUTH_FAIL_CREDENTIALS, "");
		return true;
	}
	return false;
}

bool request_begin(struct channel *ch, struct ipc_in *in)
{
	struct auth *auth = ch->auth;
	struct question q;

	q.id = ipc_in_u64(in);
	q.mechanism = ipc_in_str(in);
	q.authzid = ipc_in_str(in);
	q.user = ipc_in_str(in);
	q.password = ipc_in_str(in);
	q.cookie = ipc_in_u64(in);
	q.remote = ipc_in_str(in);
	q.local = ipc_in_str(in);
	q.secured = ipc_in_bool(in);
	q.external = ipc_in_str(in);
	if (!ipc_in_done(in))
		return false;
	if (question_refused(ch, &q))
		return true;
	struct request *req = request_create(ch, q.id, q.user, q.password, q.remote);
	if (!req) {
		answer_fail(ch, q.id, AUTH_FAIL_TEMPORARY, "");
		return true;
	}
	req->cookie = q.cookie;
	users_refresh(auth->parts.users);
	req->known = users_find(auth->parts.users, name_is_possible(q.user) ? q.user : "",
		is_loopback(q.local), &req->found);
	if (request_check(req) < 0)
		request_finish(req, JOB_FAILED);
	return true;
}
