/* SPDX-License-Identifier: MIT */
/* The other half of launcher.c: if the launcher dies, another one is started
 * that adopts us and the keeper. The end of its channel tells: only the
 * launcher has the other end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "master/launcher-proto.h"
#include "master/master-private.h"
#include "master/spawn.h"

/* So often it is told how many sessions there are, if nobody wants it more often. */
#define ALIVE_MS	5000

static void launcher_ready_io(void *ctx, uint32_t events);

static int launcher_channel(struct master *m, int fd)
{
	m->launcher_fd = fd;
	m->launcher_started_ms = clock_ms();
	return loop_add(m->loop, &m->launcher_io, fd, EPOLLIN, launcher_ready_io, m);
}

int master_launcher_send(struct master *m, struct ipc_out **out)
{
	if (m->launcher_fd >= 0)
		return ipc_send_free(m->launcher_fd, out);
	ipc_out_destroy(out);
	return -ENOTCONN;
}

/* From the holder's own words, for people. */
static void alive_text(struct master *m, char *text, size_t size)
{
	const struct program *holder = master_program(m, ROLE_HOLDER);
	const char *held = holder ? strstr(holder->report, "held=") : NULL;
	const char *awake = holder ? strstr(holder->report, "awake=") : NULL;

	if (m->phase == MASTER_READY && held && awake)
		snprintf(text, size, "Sessions: %u asleep, %u awake",
			 (unsigned)strtoul(held + 5, NULL, 10),
			 (unsigned)strtoul(awake + 6, NULL, 10));
	else
		snprintf(text, size, "%s", master_phase_name(m->phase));
}

static void alive_tell(void *ctx)
{
	struct master *m = ctx;
	struct ipc_out *out;
	char text[80];

	if (m->alive_ms == 0)
		return;
	loop_timer_set(m->loop, &m->alive_timer, m->alive_ms, alive_tell, m);
	out = ipc_out_create(LAUNCHER_ALIVE);
	if (out) {
		alive_text(m, text, sizeof(text));
		ipc_out_str(out, text);
	}
	(void)master_launcher_send(m, &out);
}

void master_launcher_ready(struct master *m)
{
	struct ipc_out *out = ipc_out_create(LAUNCHER_READY);

	(void)master_launcher_send(m, &out);
	alive_tell(m);
}

void master_launcher_reloading(struct master *m)
{
	struct ipc_out *out = ipc_out_create(LAUNCHER_RELOADING);

	(void)master_launcher_send(m, &out);
}

void master_launcher_ending(struct master *m, int status, uint64_t keep_ms)
{
	struct ipc_out *out = ipc_out_create(LAUNCHER_ENDING);

	if (out) {
		ipc_out_u64(out, (uint64_t)status);
		ipc_out_u64(out, keep_ms);
	}
	(void)master_launcher_send(m, &out);
}

/* ---- starting another ---- */

/* Descriptors and arguments as launcher-proto.h has them. */
static int launcher_spawn(struct master *m, int channel, int own_pidfd)
{
	char own[16], keeper[16], level[4], user[32];
	const struct settings *s = &m->config->settings;
	const char *args[24] = {
		"--adopt", "-b", s->base_dir, "-c", m->opt->config_file,
		"--master-pid", own, "-L", level,
	};
	struct spawn sp = {
		.binaries = &m->binaries, .program = BINARY_LAUNCHER, .args = args,
		.n_fds = 5 + BINARY_COUNT, .notify = true,
		.fds = { channel, LAUNCHER_FD_LOCK,
			 spawn_fd_is_socket(LAUNCHER_FD_KEEPER) ? LAUNCHER_FD_KEEPER : -1,
			 own_pidfd, m->keeper_pidfd },
	};
	unsigned n = 9;

	snprintf(own, sizeof(own), "%d", (int)getpid());
	snprintf(level, sizeof(level), "%d", (int)config_log_level(s));
	if (m->keeper_pidfd >= 0) {
		snprintf(keeper, sizeof(keeper), "%d", (int)m->keeper_pid);
		args[n++] = "--keeper-pid";
		args[n++] = keeper;
	}
	if (m->opt->foreground)
		args[n++] = "-F";
	else if (config_log_sink(s) == LOG_TO_SYSLOG)
		args[n++] = "-S";
	if (config_keeper_user(s, user, sizeof(user))) {
		args[n++] = "-u";
		args[n++] = user;
	}
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		sp.fds[5 + i] = m->binaries.fd[i];
	return spawn_program(&sp, &m->launcher_pid);
}

static int launcher_start_now(struct master *m)
{
	cleanup_fd int own_pidfd = pidfd_open(getpid(), 0), mine = -1, theirs = -1;
	int pair[2], ret;

	if (own_pidfd < 0)
		return -errno;
	ret = ipc_pair(pair);
	if (ret < 0)
		return ret;
	mine = pair[0];
	theirs = pair[1];
	ret = launcher_spawn(m, theirs, own_pidfd);
	if (ret < 0)
		return ret;
	log_info("started", "program=launcher pid=%d", (int)m->launcher_pid);
	ret = launcher_channel(m, fd_steal(&mine));
	if (ret == 0 && m->phase == MASTER_READY)
		master_launcher_ready(m);
	return ret;
}

static void launcher_start(void *ctx);

static void launcher_start_later(struct master *m)
{
	uint64_t lived = clock_ms() - m->launcher_started_ms;

	loop_timer_set(m->loop, &m->launcher_timer,
		       backoff_next_ms(&m->launcher_backoff, lived), launcher_start, m);
}

static void launcher_start(void *ctx)
{
	struct master *m = ctx;
	int ret;

	m->launcher_started_ms = clock_ms();
	ret = launcher_start_now(m);
	if (ret < 0) {
		log_error("start", "program=launcher error=%s",
			  log_str(strerror(-ret)));
		launcher_start_later(m);
	}
}

/* ---- listening to it ---- */

static void listeners_take(struct master *m, struct ipc_in *in)
{
	size_t n = ipc_in_fd_count(in);

	activation_close(&m->given);
	for (size_t i = 0; i < n && i < ACTIVATION_MAX; i++)
		m->given.fd[m->given.n++] = ipc_in_fd(in);
}

static void launcher_message(struct master *m, struct ipc_in *in)
{
	uint32_t pid;
	int fd;

	if (ipc_in_type(in) == LAUNCHER_LISTENERS) {
		listeners_take(m, in);
		return;
	}
	if (ipc_in_type(in) != LAUNCHER_KEEPER) {
		log_error("protocol", "program=launcher type=%u", ipc_in_type(in));
		return;
	}
	pid = ipc_in_u32(in);
	fd = ipc_in_fd(in);
	if (!ipc_in_done(in)) {
		fd_close(&fd);
		return;
	}
	fd_close(&m->keeper_pidfd);
	m->keeper_pidfd = fd;
	m->keeper_pid = (pid_t)pid;
	master_upgrade_keeper(m);
}

static void launcher_ready_io(void *ctx, uint32_t events)
{
	struct master *m = ctx;
	struct ipc_in *in;
	int ret;

	(void)events;
	while ((ret = ipc_recv(m->launcher_fd, &in)) == 0) {
		launcher_message(m, in);
		ipc_in_destroy(&in);
	}
	if (ret == -EAGAIN)
		return;
	loop_remove(m->loop, &m->launcher_io);
	fd_close(&m->launcher_fd);
	log_warn("died", "program=launcher pid=%d", (int)m->launcher_pid);
	m->launcher_pid = 0;
	if (!master_is_stopping(m))
		launcher_start_later(m);
}

/* The launcher's patience is half of the service manager's. */
static uint64_t alive_interval_ms(void)
{
	uint64_t watchdog_ms = notify_watchdog_ms();

	if (watchdog_ms > 0 && watchdog_ms / 6 < ALIVE_MS)
		return watchdog_ms / 6 > 0 ? watchdog_ms / 6 : 1;
	return notify_wanted() ? ALIVE_MS : 0;
}

int master_launcher_begin(struct master *m)
{
	int ret;

	if (!m->opt->with_launcher)
		return 0;
	/* Another than the one that started us may be there by now. */
	m->launcher_pid = m->opt->launcher_pid > 0 ? m->opt->launcher_pid : getppid();
	for (int fd = LAUNCHER_FD_CHANNEL; fd <= LAUNCHER_FD_KEEPER; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	}
	/* The launcher tells of a keeper once, and may have told our predecessor. */
	if (m->opt->keeper_pid > 0) {
		m->keeper_pidfd = pidfd_open(m->opt->keeper_pid, 0);
		m->keeper_pid = m->keeper_pidfd >= 0 ? m->opt->keeper_pid : 0;
	}
	ret = launcher_channel(m, LAUNCHER_FD_CHANNEL);
	if (ret < 0)
		return ret;
	/* From the loop: what is done before has time-outs of its own. */
	m->alive_ms = alive_interval_ms();
	if (m->alive_ms > 0)
		loop_timer_set(m->loop, &m->alive_timer, 0, alive_tell, m);
	/* Listening sockets are there already if there are any. */
	launcher_ready_io(m, EPOLLIN);
	return 0;
}

void master_launcher_end(struct master *m)
{
	loop_timer_cancel(m->loop, &m->launcher_timer);
	loop_timer_cancel(m->loop, &m->alive_timer);
	loop_remove(m->loop, &m->launcher_io);
	fd_close(&m->launcher_fd);
	fd_close(&m->keeper_pidfd);
}
