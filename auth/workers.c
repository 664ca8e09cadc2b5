/* SPDX-License-Identifier: MIT */
/* Processes, not threads: each keeps its own sandbox, a hash that crashes
 * libcrypt takes one check with it, and secrets of one check are never in the
 * memory of auth's main process longer than it takes to hand them over. They
 * are forked at the start, since the sandbox permits no fork: a worker that
 * dies is not replaced, and without any auth ends and is started anew.
 *
 * Jobs wait in one queue, first come first served, but a name that is being
 * checked already is passed over: whoever hammers one account, or sends names
 * that do not exist, keeps one worker busy and not all of them. */
#include "auth/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/password.h"
#include "auth/scram-keys.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/sandbox.h"

/* One packet each; both ends are this program. */
struct wire_job {
	enum password_scheme scheme;
	bool derive;
	struct scram_keys keys;
	char hash[PASSWORD_HASH_MAX_BYTES + 1];
	char password[PASSWORD_MAX_BYTES + 1];
};
struct wire_answer {
	bool yes;
	struct scram_keys keys;
};

struct worker {
	struct workers *pool;
	struct loop_io io;
	int fd;			/* -1: dead */
	struct worker_job *job;	/* being checked */
	bool too_long;		/* its password: no match, whatever comes back */
};

struct workers {
	struct loop *loop;
	struct worker worker[WORKERS_COUNT];
	struct list queue;
	unsigned queued;
	void (*lost)(void *ctx);
	void *ctx;
};

/* ---- in the worker ---- */

static int worker_enter(int *fd, uid_t uid, gid_t gid)
{
	/* Everything that auth inherited or opened is none of ours. */
	if (dup2(*fd, 3) < 0)
		return -errno;
	*fd = 3;
	if (close_range(4, ~0u, 0) < 0)
		return -errno;
	/* Interrupts from a terminal are master's affair. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	int ret = sandbox_basics();
	if (ret == 0)
		ret = sandbox_become(uid, gid, NULL, 0);
	if (ret < 0)
		return ret;
	/* Without Landlock there is still seccomp and another user. */
	(void)sandbox_landlock(NULL, 0);
	return sandbox_seccomp(SANDBOX_AUTH);
}

static void worker_do(struct wire_job *job, struct wire_answer *answer)
{
	job->hash[sizeof(job->hash) - 1] = '\0';
	job->password[sizeof(job->password) - 1] = '\0';
	if (job->derive) {
		answer->yes = scram_keys_derive(job->password, &job->keys);
		answer->keys = job->keys;
	} else {
		answer->yes = password_matches(job->scheme, job->hash, job->password);
	}
	explicit_bzero(job, sizeof(*job));
}

static int worker_serve(int fd)
{
	struct wire_job job;

	for (;;) {
		ssize_t n = recv(fd, &job, sizeof(job), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(job))
			return n == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		struct wire_answer answer = { .yes = false };
		worker_do(&job, &answer);
		ssize_t sent = send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
		explicit_bzero(&answer, sizeof(answer));
		if (sent != (ssize_t)sizeof(answer))
			return EXIT_FAILURE;
	}
}

static void worker_main(int fd, uid_t uid, gid_t gid)
{
	char ready = 1;

	int ret = worker_enter(&fd, uid, gid);
	if (ret < 0) {
		log_error("worker", "cannot enter its sandbox: %s", strerror(-ret));
		_exit(EXIT_FAILURE);
	}
	if (send(fd, &ready, 1, MSG_NOSIGNAL) != 1)
		_exit(EXIT_FAILURE);
	_exit(worker_serve(fd));
}

/* ---- in auth ---- */

static int worker_start(struct worker *w, uid_t uid, gid_t gid)
{
	int fds[2];
	char ready;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid < 0) {
		int ret = -errno;
		close(fds[0]);
		close(fds[1]);
		return ret;
	}
	if (pid == 0)
		worker_main(fds[1], uid, gid);
	close(fds[1]);
	w->fd = fds[0];
	/* Its end is the answer of one that could not start. */
	ssize_t n;
	do
		n = recv(w->fd, &ready, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		return -ECHILD;
	if (fcntl(w->fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int workers_start(struct workers **w_r, uid_t uid, gid_t gid)
{
	struct workers *pool = calloc(1, sizeof(*pool));
	int ret = 0;

	if (!pool)
		return -ENOMEM;
	list_init(&pool->queue);
	for (int i = 0; i < WORKERS_COUNT; i++)
		pool->worker[i] = (struct worker){ .pool = pool, .fd = -1 };
	for (int i = 0; i < WORKERS_COUNT && ret == 0; i++)
		ret = worker_start(&pool->worker[i], uid, gid);
	if (ret < 0)
		workers_destroy(&pool);
	else
		*w_r = pool;
	return ret;
}

static bool worker_give(struct worker *w, struct worker_job *job)
{
	struct wire_job wire = { 0 };

	size_t len = strlen(job->password);
	w->too_long = len > PASSWORD_MAX_BYTES;
	memcpy(wire.password, job->password, w->too_long ? PASSWORD_MAX_BYTES : len);
	wire.scheme = job->scheme;
	wire.derive = job->keys != NULL;
	if (job->keys)
		wire.keys = *job->keys;
	else
		memcpy(wire.hash, job->hash, strnlen(job->hash, sizeof(wire.hash) - 1));
	/* It has nothing else to read: there is room, or it is dead. */
	ssize_t n = send(w->fd, &wire, sizeof(wire), MSG_NOSIGNAL | MSG_DONTWAIT);
	explicit_bzero(&wire, sizeof(wire));
	if (n != (ssize_t)sizeof(wire))
		return false;
	w->job = job;
	return true;
}

static bool workers_has_name(const struct workers *pool, const char *user)
{
	for (int i = 0; i < WORKERS_COUNT; i++)
		if (pool->worker[i].job && strcmp(pool->worker[i].job->user, user) == 0)
			return true;
	return false;
}

static struct worker_job *workers_next(struct workers *pool)
{
	list_for_each(node, &pool->queue) {
		struct worker_job *job = container_of(node, struct worker_job, node);
		if (!workers_has_name(pool, job->user))
			return job;
	}
	return NULL;
}

static void workers_dispatch(struct workers *pool)
{
	for (int i = 0; i < WORKERS_COUNT; i++) {
		struct worker *w = &pool->worker[i];
		if (w->fd < 0 || w->job)
			continue;
		struct worker_job *job = workers_next(pool);
		if (!job)
			return;
		/* A dead one is noticed by its end of file, just below. */
		if (!worker_give(w, job))
			continue;
		list_remove(&job->node);
		pool->queued--;
	}
}

static void workers_fail_all(struct workers *pool)
{
	while (!list_empty(&pool->queue)) {
		struct worker_job *job =
			container_of(pool->queue.next, struct worker_job, node);
		list_remove(&job->node);
		pool->queued--;
		job->done(job, JOB_FAILED);
	}
}

static bool workers_alive(const struct workers *pool)
{
	for (int i = 0; i < WORKERS_COUNT; i++)
		if (pool->worker[i].fd >= 0)
			return true;
	return false;
}

static void worker_dead(struct worker *w)
{
	struct workers *pool = w->pool;
	struct worker_job *job = w->job;

	log_error("worker", "a process that checks passwords has died");
	loop_remove(pool->loop, &w->io);
	fd_close(&w->fd);
	w->job = NULL;
	if (job)
		job->done(job, JOB_FAILED);
	if (workers_alive(pool)) {
		workers_dispatch(pool);
		return;
	}
	workers_fail_all(pool);
	pool->lost(pool->ctx);
}

static void worker_event(void *ctx, uint32_t events)
{
	struct worker *w = ctx;
	struct worker_job *job = w->job;
	struct wire_answer answer;

	ssize_t n = recv(w->fd, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof(answer)) {
		worker_dead(w);
		return;
	}
	w->job = NULL;
	workers_dispatch(w->pool);
	bool match = answer.yes && !w->too_long;
	if (job && job->keys && match)
		*job->keys = answer.keys;
	explicit_bzero(&answer, sizeof(answer));
	if (job)
		job->done(job, match ? JOB_MATCH : JOB_MISMATCH);
}

int workers_attach(struct workers *pool, struct loop *loop, void (*lost)(void *ctx), void *ctx)
{
	pool->loop = loop;
	pool->lost = lost;
	pool->ctx = ctx;
	for (int i = 0; i < WORKERS_COUNT; i++) {
		struct worker *w = &pool->worker[i];
		int ret = loop_add(loop, &w->io, w->fd, EPOLLIN, worker_event, w);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int workers_submit(struct workers *pool, struct worker_job *job)
{
	if (!workers_alive(pool))
		return -EPIPE;
	if (pool->queued >= WORKERS_QUEUE_MAX)
		return -ENOBUFS;
	list_append(&pool->queue, &job->node);
	pool->queued++;
	workers_dispatch(pool);
	return 0;
}

void workers_destroy(struct workers **pool_p)
{
	struct workers *pool = *pool_p;

	*pool_p = NULL;
	if (!pool)
		return;
	for (int i = 0; i < WORKERS_COUNT; i++) {
		if (pool->loop)
			loop_remove(pool->loop, &pool->worker[i].io);
		fd_close(&pool->worker[i].fd);
	}
	free(pool);
}
