/* SPDX-License-Identifier: MIT */
#include "master/program.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "master/spawn.h"

/* Between the end of its channel and its own. */
#define PROGRAM_END_MS	2000

const char *program_phase_name(enum program_phase phase)
{
	switch (phase) {
	case PROGRAM_DOWN:	return "down";
	case PROGRAM_STARTING:	return "starting";
	case PROGRAM_READY:	return "ready";
	}
	return "?";
}

void program_init(struct program *p, const struct program_host *host,
		  enum ipc_role role, enum binary binary, const char *name)
{
	*p = (struct program){ .host = host, .role = role, .binary = binary,
			       .fd = -1 };
	snprintf(p->name, sizeof(p->name), "%s", name);
}

static void program_set_phase(struct program *p, enum program_phase to)
{
	log_debug("program", "program=%s %s -> %s", p->name,
		  program_phase_name(p->phase), program_phase_name(to));
	assert(p->phase != to);
	p->phase = to;
}

/* ---- what it says ---- */

static void program_end_channel(struct program *p)
{
	loop_remove(p->host->loop, &p->io);
	fd_close(&p->fd);
}

static bool program_message(struct program *p, struct ipc_in *in)
{
	const char *text;

	switch (ipc_in_type(in)) {
	case IPC_READY:
		if (!ipc_in_done(in) || p->phase != PROGRAM_STARTING)
			return false;
		program_set_phase(p, PROGRAM_READY);
		log_info("program-ready", "program=%s pid=%d start_ms=%llu", p->name,
			 (int)p->pid,
			 (unsigned long long)(clock_ms() - p->started_ms));
		p->host->ready(p->host->ctx, p);
		return true;
	case IPC_STATUS:
		text = ipc_in_str(in);
		if (!ipc_in_done(in))
			return false;
		snprintf(p->report, sizeof(p->report), "%s", text);
		return true;
	default:
		return false;
	}
}

static void program_kill_later(void *ctx)
{
	struct program *p = ctx;

	log_warn("hangs", "program=%s pid=%d", p->name, (int)p->pid);
	program_kill(p, SIGKILL);
}

/* A program without its channel is of no use to anybody; usually it is dead
 * already or just ending. */
static void program_channel_over(struct program *p, int error)
{
	program_end_channel(p);
	if (error == -EBADMSG)
		program_kill(p, SIGKILL);
	else
		loop_timer_set(p->host->loop, &p->timer, PROGRAM_END_MS,
			       program_kill_later, p);
}

static void program_ready_io(void *ctx, uint32_t events)
{
	struct program *p = ctx;
	struct ipc_in *in;
	int ret = 0;

	(void)events;
	while (p->fd >= 0 && (ret = ipc_recv(p->fd, &in)) == 0) {
		bool good = program_message(p, in);
		uint32_t type = ipc_in_type(in);

		ipc_in_destroy(&in);
		if (!good) {
			log_error("protocol", "program=%s type=%u", p->name, type);
			ret = -EBADMSG;
			break;
		}
	}
	if (ret != 0 && ret != -EAGAIN)
		program_channel_over(p, ret);
}

/* ---- starting ---- */

static int program_send_setup(struct program *p)
{
	struct ipc_out *out = ipc_out_create(IPC_SETUP);

	if (!out)
		return -ENOMEM;
	p->host->setup(p->host->ctx, p, out);
	return ipc_send_free(p->fd, &out);
}

static int program_spawn(struct program *p)
{
	struct spawn sp = { .binaries = p->host->binaries, .program = p->binary, .n_fds = 1 };
	int pair[2], ret;

	if (fault("program-spawn"))
		return -EAGAIN;
	ret = ipc_pair(pair);
	if (ret < 0)
		return ret;
	sp.fds[0] = pair[1];
	ret = spawn_program(&sp, &p->pid);
	close(pair[1]);
	if (ret < 0) {
		close(pair[0]);
		return ret;
	}
	p->fd = pair[0];
	program_set_phase(p, PROGRAM_STARTING);
	ret = loop_add(p->host->loop, &p->io, p->fd, EPOLLIN, program_ready_io, p);
	if (ret == 0)
		ret = program_send_setup(p);
	if (ret < 0)	/* the rest is done when its death is seen */
		program_kill(p, SIGKILL);
	return ret;
}

static void program_start_later(void *ctx)
{
	program_start(ctx);
}

static void program_start_again(struct program *p)
{
	uint64_t delay = backoff_next_ms(&p->backoff, clock_ms() - p->started_ms);

	if (delay > 0)
		log_info("program-wait", "program=%s delay_ms=%llu", p->name,
			 (unsigned long long)delay);
	loop_timer_set(p->host->loop, &p->timer, delay, program_start_later, p);
}

void program_start(struct program *p)
{
	int ret;

	assert(p->phase == PROGRAM_DOWN);
	loop_timer_cancel(p->host->loop, &p->timer);
	p->started_ms = clock_ms();
	p->starts++;
	p->report[0] = '\0';
	ret = program_spawn(p);
	if (ret < 0) {
		log_error("start", "program=%s error=%s", p->name,
			  log_str(strerror(-ret)));
		if (p->phase == PROGRAM_DOWN)
			program_start_again(p);
		return;
	}
	log_info("started", "program=%s pid=%d", p->name, (int)p->pid);
	p->host->started(p->host->ctx, p);
}

void program_reaped(struct program *p, int wait_status)
{
	bool killed = WIFSIGNALED(wait_status);
	pid_t pid = p->pid;

	p->pid = 0;	/* the number may be somebody else's from now on */
	/* Its last words may still be in the channel. */
	if (p->fd >= 0)
		program_ready_io(p, EPOLLIN);
	log_write(killed || WEXITSTATUS(wait_status) != 0 ? LOG_L_WARN : LOG_L_INFO,
		  "died", "program=%s pid=%d %s=%d lived_ms=%llu", p->name, (int)pid,
		  killed ? "signal" : "status",
		  killed ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
		  (unsigned long long)(clock_ms() - p->started_ms));
	program_end_channel(p);
	loop_timer_cancel(p->host->loop, &p->timer);
	program_set_phase(p, PROGRAM_DOWN);
	if (p->host->died(p->host->ctx, p))
		program_start_again(p);
}

/* ---- telling it ---- */

int program_send(struct program *p, struct ipc_out **out)
{
	int ret;

	if (p->fd < 0) {
		ipc_out_destroy(out);
		return -ENOTCONN;
	}
	ret = ipc_send_free(p->fd, out);
	if (ret < 0 && ret != -EPIPE)
		log_warn("send", "program=%s error=%s", p->name,
			 log_str(strerror(-ret)));
	/* Hundreds of messages unread: it hangs. */
	if (ret == -EAGAIN)
		program_kill(p, SIGKILL);
	return ret;
}

int program_introduce(struct program *p, enum ipc_role role, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_CHANNEL);

	if (out) {
		ipc_out_u64(out, role);
		ipc_out_fd(out, fd);
	}
	return program_send(p, &out);
}

int program_stop(struct program *p, enum ipc_stop how)
{
	struct ipc_out *out = ipc_out_create(IPC_STOP);

	if (out)
		ipc_out_u64(out, how);
	return program_send(p, &out);
}

void program_kill(struct program *p, int signo)
{
	if (p->pid > 0)
		kill(p->pid, signo);
}

void program_deinit(struct program *p)
{
	loop_timer_cancel(p->host->loop, &p->timer);
	program_end_channel(p);
}
