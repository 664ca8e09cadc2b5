/* SPDX-License-Identifier: MIT */
#ifndef AUTH_WORKERS_H
#define AUTH_WORKERS_H
/* Slow password hashes are checked by a few processes of auth's own, so that
 * nobody waits for somebody else's. They know no user, no key and no file. */
#include <stdbool.h>
#include <sys/types.h>

#include "auth/password.h"
#include "lib/list.h"

struct loop;
struct scram_keys;
struct workers;

#define WORKERS_COUNT		2
/* More checks than this waiting: the next one is refused. */
#define WORKERS_QUEUE_MAX	4096

enum job_result { JOB_MATCH, JOB_MISMATCH, JOB_FAILED };
struct worker_job;
typedef void worker_job_fn(struct worker_job *job, enum job_result result);
/* Embedded in the caller's request, which outlives the check. */
struct worker_job {
	struct list node;
	const char *user;	/* at most one check of a name runs at a time */
	enum password_scheme scheme;
	const char *hash;
	const char *password;
	/* Not NULL: no check, but scram_keys_derive(); the keys are there when
	   the result is JOB_MATCH. hash is not used. */
	struct scram_keys *keys;
	worker_job_fn *done;
};

/* Forks them; each becomes uid:gid (when root) and enters its sandbox. Call
 * it before anything secret is in memory and before there are threads.
 * 0 or -errno. */
int workers_start(struct workers **w_r, uid_t uid, gid_t gid);
/* From now on on the loop. lost(ctx) is called when the last one has died. */
int workers_attach(struct workers *w, struct loop *loop, void (*lost)(void *ctx), void *ctx);
/* done() is called later, never from inside. 0, -ENOBUFS, -EPIPE. */
int workers_submit(struct workers *w, struct worker_job *job);
void workers_destroy(struct workers **w);	/* they exit */
#endif
