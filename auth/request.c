/* SPDX-License-Identifier: MIT */
/* Mechanisms of one message: a password (PLAIN, LOGIN), or a name that the
 * client's certificate vouches for (EXTERNAL). A request passes
 *
 *	its place in the line (attempt.c) -> the check -> the line again -> the answer
 *
 * where each step may be through at once. The line is asked again after the
 * check, since of many tries that come at the same time the first failures are
 * only known then: those that were let in before must not all be answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/attempt.h"
#include "auth/auth-private.h"
#include "auth/sysuser.h"
#include "auth/workers.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/settings.h"

struct request {
	struct list node;
	struct attempt attempt;		/* found.hash points into this request */
	struct worker_job job;
	struct sysuser_job sysuser;
	enum sysuser_question question;
	char *hash, *password;
	enum job_result result;
	const char *why;		/* not JOB_MATCH */
	bool checked;			/* result and why are set */
};

static struct request *request_of(struct attempt *a)
{
	return container_of(a, struct request, attempt);
}

static void request_destroy(struct request *req)
{
	attempt_deinit(&req->attempt);
	list_remove(&req->node);
	req->attempt.auth->n_requests--;
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

/* Nobody waits for those in the line any more. A failure counts all the same. */
void request_forget_channel(struct auth *auth, const struct channel *ch)
{
	list_for_each_safe(node, &auth->requests) {
		struct request *req = container_of(node, struct request, node);
		if (req->attempt.channel != ch)
			continue;
		req->attempt.channel = NULL;
		if (!attempt_is_in_line(&req->attempt))
			continue;
		if (req->checked && req->result == JOB_MISMATCH)
			attempt_refuse(&req->attempt, req->password, req->why);
		request_destroy(req);
	}
}

static void request_end(struct request *req)
{
	struct auth *auth = req->attempt.auth;

	request_destroy(req);
	auth_check_idle(auth);
}

/* ---- the answer ---- */

static void request_tell(struct attempt *a)
{
	struct request *req = request_of(a);

	switch (req->result) {
	case JOB_MATCH:
		attempt_accept(a);
		break;
	case JOB_MISMATCH:
		attempt_refuse(a, req->password, req->why);
		break;
	case JOB_FAILED:
		attempt_fail(a, AUTH_FAIL_TEMPORARY, "");
		break;
	}
	request_end(req);
}

static void request_result(struct request *req, enum job_result result, const char *why)
{
	req->checked = true;
	req->result = result;
	req->why = why;
	if (!attempt_stand_in_line(&req->attempt, request_tell))
		request_end(req);
}

/* ---- the check ---- */

static void password_result(struct request *req, enum job_result result)
{
	bool known = req->attempt.known;

	if (result == JOB_MATCH && !known)
		result = JOB_MISMATCH;		/* the hash was somebody else's */
	request_result(req, result, known ? "Password mismatch" : "unknown user");
}

static void worker_done(struct worker_job *job, enum job_result result)
{
	password_result(container_of(job, struct request, job), result);
}

static void sysuser_done(struct sysuser_job *job, enum sysuser_result result)
{
	struct request *req = container_of(job, struct request, sysuser);
	struct attempt *a = &req->attempt;

	switch (result) {
	case SYSUSER_OK:
		a->known = true;
		a->found.uid = job->facts.uid;
		a->found.gid = job->facts.gid;
		strcpy(a->found.home, job->facts.home);
		/* One user, however the client has written it. */
		strcpy(a->user, job->facts.name);
		request_result(req, JOB_MATCH, NULL);
		break;
	case SYSUSER_UNKNOWN:
		request_result(req, JOB_MISMATCH, "unknown user");
		break;
	case SYSUSER_WRONG:
		request_result(req, JOB_MISMATCH, "Password mismatch");
		break;
	case SYSUSER_DENIED:
		request_result(req, JOB_MISMATCH, "invalid credentials (account not allowed)");
		break;
	case SYSUSER_FAILED:
		request_result(req, JOB_FAILED, NULL);
		break;
	}
}

/* 0, or -errno: it could not be asked. */
static int sysuser_check(struct request *req)
{
	struct attempt *a = &req->attempt;

	a->found.source = "pam";
	req->sysuser = (struct sysuser_job){
		.question = req->question,
		.user = a->user,
		.password = req->password,
		.remote = a->remote,
		.done = sysuser_done,
	};
	return sysusers_ask(a->auth->parts.sysusers, &req->sysuser);
}

/* 0, or -errno: it could not be checked. */
static int password_check(struct request *req)
{
	struct attempt *a = &req->attempt;

	req->hash = strdup(a->found.hash);
	if (!req->hash || !req->password)
		return -ENOMEM;
	if (a->found.scheme == PASSWORD_PLAIN || a->found.scheme == PASSWORD_LOCKED) {
		bool match = password_matches(a->found.scheme, req->hash, req->password);
		password_result(req, match ? JOB_MATCH : JOB_MISMATCH);
		return 0;
	}
	req->job = (struct worker_job){
		.user = a->user,
		.scheme = a->found.scheme,
		.hash = req->hash,
		.password = req->password,
		.done = worker_done,
	};
	return workers_submit(a->auth->parts.workers, &req->job);
}

/* A certificate is no password: but a locked account is locked. */
static int external_check(struct request *req)
{
	struct attempt *a = &req->attempt;

	if (a->known && a->found.scheme != PASSWORD_LOCKED)
		request_result(req, JOB_MATCH, NULL);
	else
		request_result(req, JOB_MISMATCH,
			a->known ? "invalid credentials (the account is locked)"
				 : "unknown user");
	return 0;
}

/* Not those whose name or password is longer than any that PAM is asked. */
static bool is_sysuser(const struct request *req)
{
	return !req->attempt.known && req->attempt.auth->parts.sysusers &&
	       req->attempt.possible &&
	       (!req->password || strlen(req->password) <= SYSUSER_PASSWORD_MAX_BYTES);
}

static void request_check(struct attempt *a)
{
	struct request *req = request_of(a);
	int ret;

	/* The file may be another one since the line was entered. */
	attempt_find_again(a);
	if (is_sysuser(req))
		ret = sysuser_check(req);
	else if (req->question == SYSUSER_ACCOUNT)
		ret = external_check(req);
	else
		ret = password_check(req);
	if (ret < 0)
		request_result(req, JOB_FAILED, NULL);
}

/* ---- the question ---- */

struct question {
	uint64_t id, cookie;
	const char *mechanism, *authzid, *user, *password, *remote, *local, *external;
	bool secured;
};

static bool question_external(const struct question *q)
{
	return strcmp(q->mechanism, "EXTERNAL") == 0;
}

/* Why it is not even looked at, or NULL. */
static const char *question_policy(const struct question *q, const char *user)
{
	if (strcmp(q->mechanism, "PLAIN") != 0 && strcmp(q->mechanism, "LOGIN") != 0 &&
		!question_external(q))
		return "This mechanism is not supported.";
	/* imap-login checks that too: a mistake there must not open this. */
	if (!q->secured) {
		log_warn("policy", "user=%s remote=%s reason=\"log-in without encryption\"",
			log_str(user), log_str(q->remote));
		return "Encryption is required.";
	}
	return NULL;
}

static struct request *request_create(struct channel *ch, const struct question *q)
{
	struct request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	attempt_init(&req->attempt, ch, q->id, q->cookie, q->remote, q->local);
	list_append(&ch->auth->requests, &req->node);
	ch->auth->n_requests++;
	if (question_external(q))
		req->question = SYSUSER_ACCOUNT;
	else
		req->password = strdup(q->password);
	return req;
}

static void request_start(struct request *req, const struct question *q)
{
	const char *user = question_external(q) ? q->external : q->user;
	struct attempt *a = &req->attempt;

	attempt_find(a, user);
	const char *policy = question_policy(q, user);
	if (policy) {
		attempt_fail(a, AUTH_FAIL_POLICY, policy);
		request_end(req);
	} else if (*q->authzid && strcmp(q->authzid, user) != 0) {
		/* RFC 4616 section 2, RFC 4422 appendix A.1: nobody here may act
		   for somebody else. */
		request_result(req, JOB_MISMATCH,
			"invalid credentials (authorization as another user)");
	} else if (question_external(q) && !*user) {
		request_result(req, JOB_MISMATCH, "invalid credentials (no certificate)");
	} else if (!attempt_stand_in_line(a, request_check)) {
		request_end(req);
	}
}

bool request_begin(struct channel *ch, struct ipc_in *in)
{
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
	struct request *req = request_create(ch, &q);
	if (req) {
		request_start(req, &q);
		return true;
	}
	struct attempt a;
	attempt_init(&a, ch, q.id, q.cookie, q.remote, q.local);
	attempt_fail(&a, AUTH_FAIL_TEMPORARY, "");
	return true;
}
