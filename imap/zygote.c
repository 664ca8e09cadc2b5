/* SPDX-License-Identifier: MIT */
/* A fork of a warm process costs 0.34 ms of CPU, fork and exec with all
 * libraries 3 ms: a storm of wakes lives on forks. But children of one zygote
 * share its memory layout, so after zygote_max_forks it executes itself: same
 * pid, same children, same descriptors, new layout. What it must remember goes
 * through a socketpair, as the SETUP message that it once got. */
#include "imap/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "imap/mailbox.h"
#include "imap/spare.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/sandbox.h"
#include "lib/seal.h"
#include "lib/tls-record.h"

#define RESUME_ENV	"DORMOUSE_ZYGOTE_FD"
#define FORK_BACKOFF_MS	200
#define REFILL_DELAY_MS	3
/* With no room for a spare: how often, and, with work waiting, how many at least of
 * the sessions that were woken longest ago are asked to sleep if they are quiet. */
#define PRESSURE_MS	5
#define PRESSURE_CALM_MS	100
#define PRESSURE_ASKS	8
/* Each time no spare is left, twice as many are kept, up to this many more
 * than configured; each second without that, one fewer. */
#define SPARES_EXTRA_MAX	14
#define SPARES_CALM_MS		1000

struct child {
	pid_t pid;
	bool idle;
	uint64_t asked_ms;	/* busy since, or last asked to sleep */
};
struct zygote {
	struct settings set;
	struct tls_crypto *crypto;	/* for the spares */
	struct loop *loop;
	struct loop_io setup_io, status_io;
	struct loop_timer retry, pressure, calm;
	uint32_t spares;		/* how many to keep waiting now */
	int setup_fd, key_fd, login_fd, wake_fd;
	int status_r, status_w;
	struct child *children;
	uint32_t n_children, n_idle;
	uint32_t forks;
	bool stopping;
	bool resumed;		/* after exec: master knows us ready */
};

const struct settings *zygote_settings(const struct zygote *z)
{
	return &z->set;
}

/* ---- starting, and starting again ---- */

static int setup_read(struct zygote *z, struct ipc_in *in)
{
	int ret;

	if (ipc_in_type(in) != IPC_SETUP)
		return -EBADMSG;
	ret = settings_unpack(&z->set, in);
	if (ret < 0)
		return ret;
	z->key_fd = ipc_in_fd(in);
	z->login_fd = ipc_in_fd(in);
	z->wake_fd = ipc_in_fd(in);
	return ipc_in_bad(in) ? -EBADMSG : 0;
}

static int recv_wait(int fd, struct ipc_in **in_r)
{
	int ret;

	while ((ret = ipc_recv(fd, in_r)) == -EAGAIN) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
	}
	return ret;
}

static int children_alloc(struct zygote *z)
{
	z->children = calloc(z->set.max_processes, sizeof(*z->children));
	return z->children == NULL ? -ENOMEM : 0;
}

/* After exec: SETUP with five descriptors, then the children as raw bytes. */
static int zygote_resume(struct zygote *z, int fd)
{
	struct ipc_in *in = NULL;
	ssize_t len;
	unsigned n_fds = 0;
	int ret = recv_wait(fd, &in), none[1];

	if (ret == 0)
		ret = setup_read(z, in);
	if (ret == 0) {
		z->status_r = ipc_in_fd(in);
		z->status_w = ipc_in_fd(in);
		ret = children_alloc(z);
	}
	ipc_in_destroy(&in);
	if (ret < 0)
		return ret;
	len = ipc_recv_raw(fd, z->children, z->set.max_processes * sizeof(*z->children), none, 0,
			   &n_fds);
	if (len < 0 && len != -EAGAIN)
		return (int)len;
	z->n_children = len > 0 ? (uint32_t)((size_t)len / sizeof(*z->children)) : 0;
	for (uint32_t i = 0; i < z->n_children; i++)
		z->n_idle += z->children[i].idle;
	return 0;
}

static int zygote_first(struct zygote *z)
{
	struct ipc_in *in = NULL;
	int ret = recv_wait(z->setup_fd, &in), fds[2];

	if (ret == 0)
		ret = setup_read(z, in);
	ipc_in_destroy(&in);
	if (ret == 0)
		ret = children_alloc(z);
	if (ret < 0)
		return ret;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	z->status_r = fds[0];
	z->status_w = fds[1];
	return 0;
}

int zygote_create(int setup_fd, struct zygote **z_r)
{
	struct zygote *z = calloc(1, sizeof(*z));
	const char *resume = getenv(RESUME_ENV);
	int ret;

	if (z == NULL)
		return -ENOMEM;
	z->setup_fd = setup_fd;
	fcntl(setup_fd, F_SETFD, FD_CLOEXEC);
	ipc_set_blocking(setup_fd, false);
	if (resume != NULL) {
		int fd = atoi(resume);

		unsetenv(RESUME_ENV);
		ret = zygote_resume(z, fd);
		z->resumed = true;
		close(fd);
	} else {
		ret = zygote_first(z);
	}
	if (ret < 0)
		return ret;
	fcntl(z->status_r, F_SETFL, O_NONBLOCK);
	*z_r = z;
	return 0;
}

/* Does not return if it works. */
static void zygote_exec_again(struct zygote *z)
{
	struct ipc_out *out = ipc_out_create(IPC_SETUP);
	char text[16];
	char *argv[] = { (char *)"imap", NULL };
	int pair[2], ret;

	if (out == NULL || ipc_pair(pair) < 0) {
		ipc_out_destroy(&out);
		return;
	}
	settings_pack(&z->set, out);
	ipc_out_fd(out, z->key_fd);
	ipc_out_fd(out, z->login_fd);
	ipc_out_fd(out, z->wake_fd);
	ipc_out_fd(out, z->status_r);
	ipc_out_fd(out, z->status_w);
	ret = ipc_send_free(pair[0], &out);
	if (ret == 0 && z->n_children > 0)
		ret = ipc_send_raw(pair[0], z->children, z->n_children * sizeof(*z->children),
				   NULL, 0);
	if (ret == 0) {
		fcntl(pair[1], F_SETFD, 0);
		fcntl(z->setup_fd, F_SETFD, 0);
		snprintf(text, sizeof(text), "%d", pair[1]);
		setenv(RESUME_ENV, text, 1);
		log_debug("zygote", "event=exec forks=%u", z->forks);
		execv("/proc/self/exe", argv);
		log_error("zygote", "event=exec error=%s", log_str(strerror(errno)));
		unsetenv(RESUME_ENV);
		fcntl(z->setup_fd, F_SETFD, FD_CLOEXEC);
	}
	close(pair[0]);
	close(pair[1]);
}

/* ---- children ---- */

static void spare_main(struct zygote *z)
{
	struct spare sp = {
		.set = &z->set,
		.crypto = z->crypto,
		.key_fd = z->key_fd,
		.login_fd = z->login_fd,
		.wake_fd = z->wake_fd,
		.status_fd = z->status_w,
	};
	sigset_t blocked;

	loop_destroy(&z->loop);
	close(z->setup_fd);
	close(z->status_r);
	signal(SIGUSR1, SIG_IGN);	/* a spare has nothing to report */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);	/* spare_run() waits for it */
	sigaddset(&blocked, SIGHUP);	/* pending until the session looks */
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	spare_run(&sp);
}

static void spares_refill(void *ctx)
{
	struct zygote *z = ctx;

	while (!z->stopping && z->n_idle < z->spares &&
	       z->n_children < z->set.max_processes) {
		pid_t pid;

		if (z->set.zygote_max_forks > 0 && z->forks >= z->set.zygote_max_forks)
			zygote_exec_again(z);
		if (fault("zygote-fork"))
			errno = EAGAIN, pid = -1;
		else
			pid = fork();
		if (pid == 0)
			spare_main(z);
		if (pid < 0) {
			log_error("zygote", "event=fork error=%s", log_str(strerror(errno)));
			loop_timer_set(z->loop, &z->retry, FORK_BACKOFF_MS, spares_refill, z);
			return;
		}
		z->children[z->n_children++] = (struct child){ .pid = pid, .idle = true };
		z->n_idle++;
		z->forks++;
	}
}

static struct child *child_find(struct zygote *z, pid_t pid)
{
	for (uint32_t i = 0; i < z->n_children; i++) {
		if (z->children[i].pid == pid)
			return &z->children[i];
	}
	return NULL;
}

static bool work_waits(const struct zygote *z)
{
	struct pollfd p[] = {
		{ .fd = z->wake_fd, .events = POLLIN },
		{ .fd = z->login_fd, .events = POLLIN },
	};

	return poll(p, 2, 0) > 0;
}

static struct child *busy_longest(struct zygote *z, uint64_t before_ms)
{
	struct child *longest = NULL;

	for (uint32_t i = 0; i < z->n_children; i++) {
		struct child *c = &z->children[i];

		if (!c->idle && c->asked_ms < before_ms &&
		    (longest == NULL || c->asked_ms < longest->asked_ms))
			longest = c;
	}
	return longest;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* How many processes too few are left for spares: of few, at most half are to wait. */
static uint32_t spares_without_room(const struct zygote *z)
{
	uint32_t wanted = smaller(z->set.spares, z->set.max_processes / 2);
	uint32_t storm = smaller(z->spares, z->set.max_processes / 16);

	if (storm > wanted)
		wanted = storm;
	if (z->n_idle >= wanted || z->n_children < z->set.max_processes)
		return 0;
	return wanted - z->n_idle;
}

/* All processes are there that may be. Most of them serve sessions that said what they
 * had to say and wait out their hibernate_after: some make room, so that whoever speaks
 * next finds a spare and need not wait for this. */
static void pressure_look(void *ctx)
{
	struct zygote *z = ctx;
	uint32_t asks = spares_without_room(z);
	uint64_t now = clock_ms();
	bool urgent;

	if (z->stopping || !z->set.hibernate || asks == 0 || z->n_idle == z->n_children)
		return;
	urgent = z->n_idle == 0 && work_waits(z);
	if (urgent && asks < PRESSURE_ASKS)
		asks = PRESSURE_ASKS;
	for (uint32_t i = 0; i < asks; i++) {
		struct child *c = busy_longest(z, urgent ? now : now - SESSION_QUIET_MS);

		if (c == NULL)
			break;
		c->asked_ms = now;
		kill(c->pid, urgent ? SIGUSR2 : SIGWINCH);
	}
	loop_timer_set(z->loop, &z->pressure, urgent ? PRESSURE_MS : PRESSURE_CALM_MS,
		       pressure_look, z);
}

static void spares_calm(void *ctx)
{
	struct zygote *z = ctx;

	z->spares--;
	for (uint32_t i = 0; i < z->n_children && z->n_idle > z->spares; i++) {
		/* It leaves if it still waits; a session takes the signal for
		   a wish to sleep. */
		if (z->children[i].idle) {
			kill(z->children[i].pid, SIGUSR2);
			break;
		}
	}
	if (z->spares > z->set.spares)
		loop_timer_set(z->loop, &z->calm, SPARES_CALM_MS, spares_calm, z);
}

/* The spares follow the rate of wakes and log-ins: two are enough for
 * a quiet server, and a storm must not wait for each fork in turn). */
static void spares_more(struct zygote *z)
{
	uint32_t most = z->set.spares + SPARES_EXTRA_MAX;

	z->spares = z->spares * 2 < most ? z->spares * 2 : most;
	if (z->spares > z->set.spares)
		loop_timer_set(z->loop, &z->calm, SPARES_CALM_MS, spares_calm, z);
}

static void child_busy(void *ctx, uint32_t events)
{
	struct zygote *z = ctx;
	pid_t pids[64];
	ssize_t n;

	(void)events;
	while ((n = read(z->status_r, pids, sizeof(pids))) > 0) {
		for (size_t i = 0; i < (size_t)n / sizeof(pids[0]); i++) {
			struct child *c = child_find(z, pids[i]);

			if (c == NULL || !c->idle)
				continue;
			c->idle = false;
			c->asked_ms = clock_ms();
			z->n_idle--;
		}
	}
	if (z->n_idle == 0)
		spares_more(z);
	/* While another one waits, let the one that was taken run first: a fork
	   would share the cores with the very wake that caused it. */
	if (z->n_idle == 0)
		spares_refill(z);
	else if (z->retry.heap_index == 0)
		loop_timer_set(z->loop, &z->retry, REFILL_DELAY_MS, spares_refill, z);
	pressure_look(z);
}

static void child_gone(struct zygote *z, pid_t pid, int status)
{
	struct child *c = child_find(z, pid);

	if (WIFSIGNALED(status))
		log_error("imap", "pid=%d signal=%d %s", (int)pid, WTERMSIG(status),
			  "ended by a signal");
	if (c == NULL)
		return;
	z->n_idle -= c->idle;
	if (c->idle && (WIFSIGNALED(status) || WEXITSTATUS(status) != 0))
		z->forks++;	/* a spare that cannot even start must not spin */
	*c = z->children[--z->n_children];
}

static void children_reap(void *ctx, int signo)
{
	struct zygote *z = ctx;
	bool spare_failed = false;
	int status;
	pid_t pid;

	(void)signo;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *c = child_find(z, pid);

		spare_failed |= c != NULL && c->idle && status != 0;
		child_gone(z, pid, status);
	}
	if (spare_failed)
		loop_timer_set(z->loop, &z->retry, FORK_BACKOFF_MS, spares_refill, z);
	else
		spares_refill(z);
}

static void zygote_report(void *ctx, int signo)
{
	struct zygote *z = ctx;

	(void)signo;
	log_info("report", "children=%u idle=%u forks=%u max=%u", z->n_children, z->n_idle,
		 z->forks, z->set.max_processes);
}

/* ---- master ---- */

/* An upgrade: each session falls asleep as soon as it can, and wakes as a process of
 * the next version. */
static void children_replace(struct zygote *z)
{
	for (uint32_t i = 0; i < z->n_children; i++)
		kill(z->children[i].pid, SIGHUP);
}

static void setup_readable(void *ctx, uint32_t events)
{
	struct zygote *z = ctx;
	struct ipc_in *in = NULL;
	int ret = ipc_recv(z->setup_fd, &in);

	(void)events;
	if (ret == -EAGAIN)
		return;
	if (ret == 0 && ipc_in_type(in) != IPC_STOP)
		log_warn("zygote", "message=%u ignored", ipc_in_type(in));
	if (ret == 0 && ipc_in_type(in) == IPC_STOP && ipc_in_u32(in) == STOP_REPLACE)
		children_replace(z);
	if (ret < 0 || ipc_in_type(in) == IPC_STOP) {
		/* Idle spares see our end of the pipe go; sessions are told by
		   imap-hibernate. */
		z->stopping = true;
		loop_stop(z->loop);
	}
	ipc_in_destroy(&in);
}

int zygote_run(struct zygote *z)
{
	struct ipc_out *ready = ipc_out_create(IPC_READY);

	z->loop = loop_create();
	if (z->loop == NULL || ready == NULL ||
	    loop_signal(z->loop, SIGCHLD, children_reap, z) < 0 ||
	    loop_signal(z->loop, SIGUSR1, zygote_report, z) < 0 ||
	    loop_add(z->loop, &z->setup_io, z->setup_fd, EPOLLIN, setup_readable, z) < 0 ||
	    loop_add(z->loop, &z->status_io, z->status_r, EPOLLIN, child_busy, z) < 0) {
		log_error("zygote", "reason=%s", log_str("out of descriptors or memory"));
		return EXIT_FAILURE;
	}
	z->spares = z->set.spares > 0 ? z->set.spares : 1;
	z->crypto = tls_crypto_create();
	if (z->crypto == NULL) {
		log_error("zygote", "reason=%s", log_str("OpenSSL has no AEAD for TLS"));
		return EXIT_FAILURE;
	}
	if (z->set.debug_hop && !z->resumed)
		log_warn("zygote", "debug_hop=yes reason=%s",
			 log_str("every command is served by another process; for tests only"));
	mail_store_warm();
	/* The filter's rules are compiled once, here; a spare only loads them. */
	if (sandbox_seccomp_prepare(SANDBOX_IMAP) < 0) {
		log_error("zygote", "reason=%s", log_str("seccomp filter cannot be made"));
		return EXIT_FAILURE;
	}
	children_reap(z, SIGCHLD);	/* who ended during an exec */
	if (z->resumed)
		ipc_out_destroy(&ready);
	else
		(void)ipc_send_free(z->setup_fd, &ready);
	loop_run(z->loop);
	return EXIT_SUCCESS;
}
