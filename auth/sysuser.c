/* SPDX-License-Identifier: MIT */
/* Three kinds of process: auth, which asks; the one that auth forked before it
 * gave its rights up, which does nothing but fork and wait; and its children,
 * which ask PAM once and end. The middle one is why a module that hangs, crashes
 * or leaks costs one answer: it sees only our own packets and exit statuses.
 *
 * A child answers straight to auth (one packet) and exits with 0; when it ends
 * in any other way, its parent answers for it that it failed. */
#include "auth/sysuser.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/passwd-file.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/sandbox.h"
#include "lib/settings.h"

/* One packet each; both ends are this program. */
struct wire_job {
	uint64_t number;
	enum sysuser_question question;
	char user[USER_NAME_MAX_BYTES + 1];
	char password[SYSUSER_PASSWORD_MAX_BYTES + 1];
	char remote[64];
};
struct wire_answer {
	uint64_t number;
	enum sysuser_result result;
	struct sysuser_facts facts;
};

struct sysusers {
	const struct settings *settings;
	struct loop *loop;
	struct loop_io io;
	int fd;				/* -1: it has died */
	struct list queue, asked;
	unsigned n_queued, n_asked;
	uint64_t last;
	void (*lost)(void *ctx);
	void *ctx;
};

/* ---- a child: one question ---- */

__attribute__((noreturn))
static void child_main(int fd, const struct settings *settings, struct wire_job *job)
{
	struct wire_answer answer = { .number = job->number };

	/* Modules that read their input, or keep what they find open, find nothing. */
	(void)close_range(fd + 1, ~0u, 0);
	answer.result = sysuser_answer(job->question, settings->pam_service, job->user,
		job->password, job->remote, &answer.facts);
	explicit_bzero(job, sizeof(*job));
	ssize_t n = send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
	_exit(n == (ssize_t)sizeof(answer) ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ---- the parent of children ---- */

struct child {
	pid_t pid;			/* 0: none */
	uint64_t number;
	uint64_t end_ms;
};
struct parent {
	const struct settings *settings;
	int fd, signals;
	struct child child[SYSUSER_PARALLEL];
};

static int parent_fail(const struct parent *p, uint64_t number)
{
	const struct wire_answer answer = { .number = number, .result = SYSUSER_FAILED };

	return send(p->fd, &answer, sizeof(answer), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* 0, or -errno: auth is gone. */
static int parent_reap(struct parent *p)
{
	struct signalfd_siginfo info;
	int ret = 0, status;
	pid_t pid;

	(void)!read(p->signals, &info, sizeof(info));
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < SYSUSER_PARALLEL; i++) {
			struct child *c = &p->child[i];
			if (c->pid != pid)
				continue;
			c->pid = 0;
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
				log_error("pam", "a process that asked PAM ended by %s %d",
					WIFEXITED(status) ? "status" : "signal",
					WIFEXITED(status) ? WEXITSTATUS(status)
							  : WTERMSIG(status));
				ret = parent_fail(p, c->number);
			}
		}
	return ret;
}

static int parent_fork(struct parent *p, struct child *c, struct wire_job *job)
{
	sigset_t none;

	pid_t pid = fork();
	if (pid < 0)
		return parent_fail(p, job->number);
	if (pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child_main(p->fd, p->settings, job);
	}
	*c = (struct child){ .pid = pid, .number = job->number,
		.end_ms = clock_ms() + SYSUSER_TIMEOUT_MS };
	return 0;
}

static int parent_read(struct parent *p)
{
	struct wire_job job;

	ssize_t n = recv(p->fd, &job, sizeof(job), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != (ssize_t)sizeof(job))
		return -EPIPE;
	job.user[sizeof(job.user) - 1] = '\0';
	job.password[sizeof(job.password) - 1] = '\0';
	job.remote[sizeof(job.remote) - 1] = '\0';
	struct child *c = NULL;
	for (int i = 0; i < SYSUSER_PARALLEL && !c; i++)
		if (p->child[i].pid == 0)
			c = &p->child[i];
	/* auth counts too, but an answer is quicker than its sender's end. */
	int ret = c ? parent_fork(p, c, &job) : -EAGAIN;
	explicit_bzero(&job, sizeof(job));
	return ret;
}

static bool parent_has_room(const struct parent *p)
{
	for (int i = 0; i < SYSUSER_PARALLEL; i++)
		if (p->child[i].pid == 0)
			return true;
	return false;
}

/* Ends those whose time is up; how long until the next one is, or -1. */
static int parent_time(struct parent *p)
{
	uint64_t now = clock_ms();
	int wait = -1;

	for (int i = 0; i < SYSUSER_PARALLEL; i++) {
		struct child *c = &p->child[i];
		if (c->pid == 0)
			continue;
		if (c->end_ms <= now) {
			log_error("pam", "no answer in %d s: its process is killed",
				SYSUSER_TIMEOUT_MS / 1000);
			kill(c->pid, SIGKILL);
			c->end_ms = now + 1000;	/* so that it is said once */
		}
		if (wait < 0 || c->end_ms - now < (uint64_t)wait)
			wait = (int)(c->end_ms - now);
	}
	return wait;
}

static int parent_serve(struct parent *p)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = p->fd, .events = parent_has_room(p) ? POLLIN : 0 },
			{ .fd = p->signals, .events = POLLIN },
		};
		int ret = poll(fds, 2, parent_time(p));
		if (ret < 0 && errno != EINTR)
			return -errno;
		ret = fds[1].revents ? parent_reap(p) : 0;
		if (ret == 0 && (fds[0].revents & (POLLHUP | POLLERR)) &&
			!(fds[0].revents & POLLIN))
			return 0;
		if (ret == 0 && (fds[0].revents & POLLIN))
			ret = parent_read(p);
		if (ret < 0)
			return ret == -EPIPE ? 0 : ret;
	}
}

static int parent_enter(struct parent *p)
{
	sigset_t set;

	if (dup2(p->fd, 3) < 0)
		return -errno;
	p->fd = 3;
	if (close_range(4, ~0u, 0) < 0)
		return -errno;
	/* Descriptors 0 to 2 stay: the log. Modules get a small environment. */
	clearenv();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	p->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (p->signals < 0)
		return -errno;
	/* An ordinary user's check needs the set-uid helper of pam_unix. */
	if (geteuid() == 0)
		return sandbox_basics();
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}

__attribute__((noreturn))
static void parent_main(int fd, const struct settings *settings)
{
	struct parent p = { .settings = settings, .fd = fd };
	char ready = 1;

	int ret = parent_enter(&p);
	if (ret < 0) {
		log_error("pam", "cannot start: %s", strerror(-ret));
		_exit(EXIT_FAILURE);
	}
	if (send(p.fd, &ready, 1, MSG_NOSIGNAL) != 1)
		_exit(EXIT_FAILURE);
	ret = parent_serve(&p);
	for (int i = 0; i < SYSUSER_PARALLEL; i++)
		if (p.child[i].pid > 0)
			kill(p.child[i].pid, SIGKILL);
	if (ret < 0)
		log_error("pam", "ends: %s", strerror(-ret));
	_exit(ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- in auth ---- */

static int sysusers_fork(struct sysusers *s)
{
	int fds[2];
	char ready;
	ssize_t n;

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
		parent_main(fds[1], s->settings);
	close(fds[1]);
	s->fd = fds[0];
	do
		n = recv(s->fd, &ready, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		return -ECHILD;
	return fcntl(s->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int sysusers_start(struct sysusers **s_r, const struct settings *settings)
{
	struct sysusers *s;

	*s_r = NULL;
	if (!*settings->pam_service)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->settings = settings;
	s->fd = -1;
	list_init(&s->queue);
	list_init(&s->asked);
	int ret = sysusers_fork(s);
	if (ret < 0)
		sysusers_destroy(&s);
	*s_r = s;
	return ret;
}

static bool sysusers_send(struct sysusers *s, struct sysuser_job *job)
{
	struct wire_job wire = { .number = job->number = ++s->last, .question = job->question };

	strncpy(wire.user, job->user, sizeof(wire.user) - 1);
	if (job->password)
		strncpy(wire.password, job->password, sizeof(wire.password) - 1);
	if (job->remote)
		strncpy(wire.remote, job->remote, sizeof(wire.remote) - 1);
	/* It has few others to read: there is room, or it is dead. */
	ssize_t n = send(s->fd, &wire, sizeof(wire), MSG_NOSIGNAL | MSG_DONTWAIT);
	explicit_bzero(&wire, sizeof(wire));
	return n == (ssize_t)sizeof(wire);
}

/* Whoever hammers one account keeps one process busy, not all of them. */
static bool name_is_asked(const struct sysusers *s, const struct sysuser_job *job)
{
	list_for_each(node, &s->asked) {
		const struct sysuser_job *other = container_of(node, struct sysuser_job, node);
		if (other->question == SYSUSER_CHECK && job->question == SYSUSER_CHECK &&
			strcmp(other->user, job->user) == 0)
			return true;
	}
	return false;
}

static void sysusers_dispatch(struct sysusers *s)
{
	list_for_each_safe(node, &s->queue) {
		struct sysuser_job *job = container_of(node, struct sysuser_job, node);
		if (s->n_asked >= SYSUSER_PARALLEL)
			return;
		if (name_is_asked(s, job) || !sysusers_send(s, job))
			continue;
		list_remove(&job->node);
		list_append(&s->asked, &job->node);
		s->n_queued--;
		s->n_asked++;
	}
}

static void sysusers_fail(struct list *jobs)
{
	while (!list_empty(jobs)) {
		struct sysuser_job *job = container_of(jobs->next, struct sysuser_job, node);
		list_remove(&job->node);
		job->done(job, SYSUSER_FAILED);
	}
}

static void sysusers_dead(struct sysusers *s)
{
	log_error("pam", "the process that asks PAM has died");
	loop_remove(s->loop, &s->io);
	fd_close(&s->fd);
	sysusers_fail(&s->asked);
	sysusers_fail(&s->queue);
	s->n_asked = s->n_queued = 0;
	s->lost(s->ctx);
}

/* What PAM and the name services say is one thing, whom we serve another. */
static enum sysuser_result facts_verdict(const struct sysusers *s,
	const struct sysuser_facts *f)
{
	const struct settings *set = s->settings;
	const char *why = NULL;

	if (f->uid == 0)
		why = "uid 0: mail of root is not served";
	else if (set->user_mode && f->uid != getuid())
		why = "not the user that this server runs as";
	else if (!set->user_mode && f->uid < set->first_valid_uid)
		why = "its uid is below first_valid_uid";
	else if (!set->user_mode && f->gid == 0)
		why = "gid 0: the group of root is not given away";
	else if (f->home[0] != '/')
		why = "it has no home";
	else if (*f->name == '\0' || *f->name == '.' || strchr(f->name, '/'))
		why = "its name could not be part of a path";
	if (!why)
		return SYSUSER_OK;
	log_info("pam", "user=%s uid=%u refused: %s", log_str(f->name), f->uid, why);
	return SYSUSER_DENIED;
}

static struct sysuser_job *job_find(const struct sysusers *s, uint64_t number)
{
	list_for_each(node, &s->asked) {
		struct sysuser_job *job = container_of(node, struct sysuser_job, node);
		if (job->number == number)
			return job;
	}
	return NULL;
}

static void sysusers_event(void *ctx, uint32_t events)
{
	struct sysusers *s = ctx;
	struct wire_answer answer;

	ssize_t n = recv(s->fd, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof(answer)) {
		sysusers_dead(s);
		return;
	}
	/* None: it answered, and was killed before it could end. */
	struct sysuser_job *job = job_find(s, answer.number);
	if (!job)
		return;
	list_remove(&job->node);
	s->n_asked--;
	answer.facts.name[sizeof(answer.facts.name) - 1] = '\0';
	answer.facts.home[sizeof(answer.facts.home) - 1] = '\0';
	if (answer.result == SYSUSER_OK) {
		job->facts = answer.facts;
		answer.result = facts_verdict(s, &job->facts);
	}
	sysusers_dispatch(s);
	job->done(job, answer.result);
}

int sysusers_attach(struct sysusers *s, struct loop *loop, void (*lost)(void *ctx), void *ctx)
{
	if (!s)
		return 0;
	s->loop = loop;
	s->lost = lost;
	s->ctx = ctx;
	return loop_add(loop, &s->io, s->fd, EPOLLIN, sysusers_event, s);
}

int sysusers_ask(struct sysusers *s, struct sysuser_job *job)
{
	if (s->fd < 0)
		return -EPIPE;
	if (s->n_queued >= SYSUSER_QUEUE_MAX)
		return -ENOBUFS;
	list_append(&s->queue, &job->node);
	s->n_queued++;
	sysusers_dispatch(s);
	return 0;
}

void sysusers_destroy(struct sysusers **s_p)
{
	struct sysusers *s = *s_p;

	*s_p = NULL;
	if (!s)
		return;
	if (s->loop)
		loop_remove(s->loop, &s->io);
	fd_close(&s->fd);
	free(s);
}
