/* SPDX-License-Identifier: MIT */
/* A stop in steps, each bounded: first the holder and imap-login, which say
 * BYE to everybody (for that the holder needs spares, so the zygote stays);
 * then the zygote; then the rest; what is left is killed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "master/launcher-proto.h"
#include "master/master-private.h"

/* Beyond what the sessions got: for processes with nothing left to do. */
#define STOP_STEP_MS	2000
/* The holder waits for the keeper to have everything. */
#define STOP_KEEP_MS	5000

static void stop_step(void *ctx);

bool master_is_stopping(const struct master *m)
{
	return m->phase >= MASTER_STOP_SESSIONS;
}

/* Only programs of these roles count in this phase. */
static bool stop_concerns(const struct master *m, const struct program *p)
{
	switch (m->phase) {
	case MASTER_STOP_SESSIONS:
		return p->role == (m->keep ? ROLE_IMAP : ROLE_HOLDER) ||
		       p->role == ROLE_LOGIN;
	case MASTER_STOP_IMAP:
		return p->role == ROLE_IMAP;
	case MASTER_STOP_REST:
	case MASTER_STOP_KILL:
		return true;
	case MASTER_STARTING:
	case MASTER_READY:
		return false;
	}
	abort();
}

void master_orphans_each(struct master *m, void (*fn)(struct master *m, pid_t pid, int arg),
			 int arg)
{
	char path[64], text[4096];
	cleanup_fd int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *save, *word = strtok_r(text, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		pid_t pid = (pid_t)atoi(word);
		bool ours = pid <= 1 || pid == m->launcher_pid;

		for (unsigned i = 0; i < m->n_programs && !ours; i++)
			ours = m->programs[i].pid == pid;
		if (!ours)
			fn(m, pid, arg);
	}
}

static void orphan_kill(struct master *m, pid_t pid, int signo)
{
	(void)m;
	kill(pid, signo);
}

static void orphan_count(struct master *m, pid_t pid, int arg)
{
	(void)pid;
	(void)arg;
	m->n_orphans++;
}

static unsigned orphans_count(struct master *m)
{
	m->n_orphans = 0;
	master_orphans_each(m, orphan_count, 0);
	return m->n_orphans;
}

void master_orphans_signal(struct master *m, int signo)
{
	master_orphans_each(m, orphan_kill, signo);
}

static void stop_tell(struct master *m, enum ipc_stop how)
{
	for (unsigned i = 0; i < m->n_programs; i++) {
		struct program *p = &m->programs[i];

		loop_timer_cancel(m->loop, &p->timer);
		if (!stop_concerns(m, p))
			continue;
		if (m->phase == MASTER_STOP_KILL)
			program_kill(p, SIGKILL);
		else
			program_stop(p, p->role == ROLE_LOGIN && how == STOP_REPLACE ?
				     STOP_BYE : how);
	}
	if (how == STOP_REPLACE)
		master_orphans_signal(m, SIGHUP);
	if (m->phase == MASTER_STOP_REST)
		master_orphans_signal(m, SIGTERM);
	else if (m->phase == MASTER_STOP_KILL)
		master_orphans_signal(m, SIGKILL);
}

static void stop_enter(struct master *m, enum master_phase phase, enum ipc_stop how,
		       uint64_t bound_ms, const char *why)
{
	master_set_phase(m, phase, why);
	stop_tell(m, how);
	loop_timer_set(m->loop, &m->stop_timer, bound_ms, stop_step, m);
	master_stop_check(m);
}

/* How long the keeper will wait, in milliseconds; 0: there is none to wait. */
static uint64_t keeper_leave(struct master *m)
{
	uint64_t ms = m->config->settings.keep_grace_ms;
	struct ipc_out *out = m->keeper_fd >= 0 ? ipc_out_create(IPC_ALONE) : NULL;
	int ret = -ENOTCONN;

	if (out) {
		ipc_out_u64(out, ms);
		ret = ipc_send_free(m->keeper_fd, &out);
	}
	if (ret == 0)
		return ms;
	log_error("keep", "error=%s", log_str(strerror(-ret)));
	return 0;
}

static void stop_finish(struct master *m)
{
	uint64_t keep_ms = m->keep ? keeper_leave(m) : 0;

	loop_timer_cancel(m->loop, &m->stop_timer);
	log_info("stopped", "uptime_ms=%llu keep_ms=%llu",
		 (unsigned long long)(clock_ms() - m->started_ms),
		 (unsigned long long)keep_ms);
	control_stopped(m->control);
	master_launcher_ending(m, MASTER_EXIT_STOPPED, keep_ms);
	m->exit_status = MASTER_EXIT_STOPPED;
	loop_stop(m->loop);
}

static void stop_next(struct master *m, const char *why)
{
	switch (m->phase) {
	case MASTER_STOP_SESSIONS:
		stop_enter(m, MASTER_STOP_IMAP, STOP_BYE, STOP_STEP_MS, why);
		return;
	case MASTER_STOP_IMAP:
		stop_enter(m, MASTER_STOP_REST, m->keep ? STOP_REPLACE : STOP_NOW,
			   m->keep ? STOP_KEEP_MS : STOP_STEP_MS, why);
		return;
	case MASTER_STOP_REST:
		stop_enter(m, MASTER_STOP_KILL, STOP_NOW, STOP_STEP_MS, why);
		return;
	case MASTER_STOP_KILL:
		stop_finish(m);
		return;
	case MASTER_STARTING:
	case MASTER_READY:
		break;
	}
	abort();
}

static void stop_step(void *ctx)
{
	stop_next(ctx, "time is up");
}

void master_stop_check(struct master *m)
{
	bool all_down = true;

	for (unsigned i = 0; i < m->n_programs; i++) {
		if (m->programs[i].phase == PROGRAM_DOWN)
			continue;
		all_down = false;
		if (stop_concerns(m, &m->programs[i]))
			return;
	}
	/* Sessions that are not asleep yet. */
	if (m->keep && m->phase == MASTER_STOP_SESSIONS && orphans_count(m) > 0)
		return;
	if (!all_down) {
		stop_next(m, "done");
		return;
	}
	master_orphans_signal(m, SIGKILL);
	stop_finish(m);
}

void master_stop(void *ctx, enum ipc_stop how)
{
	struct master *m = ctx;

	if (m->phase >= MASTER_STOP_REST)
		return;		/* it cannot go faster */
	master_upgrade_stop(m);
	/* Asked twice, or asked to hurry. */
	if (how == STOP_NOW || m->phase >= MASTER_STOP_SESSIONS) {
		stop_enter(m, MASTER_STOP_REST, STOP_NOW, STOP_STEP_MS, "at once");
		return;
	}
	m->keep = how == STOP_REPLACE && m->phase < MASTER_STOP_SESSIONS;
	stop_enter(m, MASTER_STOP_SESSIONS, m->keep ? STOP_REPLACE : STOP_BYE,
		   m->config->settings.stop_timeout_ms, m->keep ? "asked to keep" : "asked to");
}
