/* SPDX-License-Identifier: MIT */
#ifndef AUTH_SYSUSER_H
#define AUTH_SYSUSER_H
/* The system's users, through PAM and the name services, whose modules do what
 * they like: read files of root's, wait for servers, never come back. So
 * they have a process of their own with the rights that auth has given up; it
 * forks one for each question, and ends those that take too long. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/limits.h"
#include "lib/list.h"

struct loop;
struct settings;
struct sysusers;

/* A question that is not answered by then has failed. */
#define SYSUSER_TIMEOUT_MS	30000
/* Answered at the same time, and waiting for that. */
#define SYSUSER_PARALLEL	4
#define SYSUSER_QUEUE_MAX	4096
#define SYSUSER_PASSWORD_MAX_BYTES	511

enum sysuser_question {
	SYSUSER_CHECK,		/* the password, and whether the account is good */
	SYSUSER_ACCOUNT,	/* whether the account is good */
	SYSUSER_LOOKUP,		/* who it is */
};
enum sysuser_result {
	SYSUSER_OK = 0,
	SYSUSER_UNKNOWN,	/* no such user: certain */
	SYSUSER_WRONG,		/* not the password */
	SYSUSER_DENIED,		/* expired, a system user, without a home ... */
	SYSUSER_FAILED,		/* nobody knows */
};
struct sysuser_facts {
	char name[USER_NAME_MAX_BYTES + 1];	/* as the system writes it */
	uid_t uid;
	gid_t gid;
	char home[USER_HOME_MAX_BYTES + 1];
};
struct sysuser_job;
typedef void sysuser_job_fn(struct sysuser_job *job, enum sysuser_result result);
/* Embedded in the caller's request, which outlives the question. */
struct sysuser_job {
	struct list node;
	enum sysuser_question question;
	const char *user, *password, *remote;
	sysuser_job_fn *done;
	struct sysuser_facts facts;	/* with SYSUSER_OK */
	uint64_t number;		/* ours */
};

/* Forks the process, if settings ask for one (else *s_r is NULL), with the
 * rights of now. Before anything secret is in memory. 0 or -errno. */
int sysusers_start(struct sysusers **s_r, const struct settings *settings);
/* From now on on the loop; lost(ctx): the process has died, nothing is answered
 * any more. */
int sysusers_attach(struct sysusers *s, struct loop *loop, void (*lost)(void *ctx), void *ctx);
/* done() is called later, never from inside. At most one password of a name is
 * checked at a time. 0, -ENOBUFS, -EPIPE. */
int sysusers_ask(struct sysusers *s, struct sysuser_job *job);
void sysusers_destroy(struct sysusers **s);

/* sysuser-pam.c, in the forked process. service: a name, or the path of the
 * service's file. */
enum sysuser_result sysuser_answer(enum sysuser_question question, const char *service,
				   const char *user, const char *password, const char *remote,
				   struct sysuser_facts *facts_r);
#endif
