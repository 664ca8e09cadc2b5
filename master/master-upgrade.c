/* SPDX-License-Identifier: MIT */
/* Upgrade and reload: one path, and it is the path of a crash. What the keeper
 * keeps outlives us all; whoever comes next takes it from there. So all that an
 * upgrade adds to a death of master is the order of things:
 *
 * 1. Check: every new program is started once, says that it can be loaded, and
 *    the new master reads the configuration. Until then nothing has happened.
 * 2. The launcher becomes the new one, in place.
 * 3. A new keeper takes everything over from the old one, which ends when its
 *    successor has it all; meanwhile the holder has every descriptor too, so
 *    that each is in two processes at any moment.
 * 4. Everybody else is told: the holder ends (its successor adopts), sessions fall
 *    asleep at the end of their command, imap-login and auth finish what they have.
 *    master executes the new master, in place, which starts new programs.
 * 5. If those do not come up, it executes the old one again, with the old programs.
 *
 * A reload is step 4 with the same executables and the new configuration, but
 * awake sessions are left as they are: what changed reaches them when they wake. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/version.h"
#include "master/control.h"
#include "master/launcher-proto.h"
#include "master/master-private.h"
#include "master/spawn.h"

/* A program that says nothing for so long hangs. */
#define CHECK_MS	10000
#define KEEPER_MS	10000
/* From exec until all programs are ready. */
#define COME_UP_MS	20000
#define LOOK_MS		10
/* They know the grace time themselves, and say BYE when it is over. */
#define LEFT_BEYOND_MS	5000
#define LEFT_KILL_MS	2000
/* Deaths of programs that never were ready. */
#define DEATHS_MAX	3

static int launcher_upgrade(struct master *m, const struct binaries *b)
{
	struct ipc_out *out = ipc_out_create(LAUNCHER_UPGRADE);

	for (unsigned i = 0; out && i < BINARY_COUNT; i++)
		ipc_out_fd(out, b->fd[i]);
	return master_launcher_send(m, &out);
}

static void upgrade_failed(struct master *m, const char *why)
{
	struct upgrade *u = &m->upgrade;

	log_error(u->reload ? "reload" : "upgrade", "error=%s", log_str(why));
	if (u->step == UPGRADE_KEEPER)
		(void)launcher_upgrade(m, &m->binaries);
	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		if (u->checks[i] > 0)
			kill(u->checks[i], SIGKILL);
		u->checks[i] = 0;
	}
	fd_close(&u->words);
	loop_timer_cancel(m->loop, &u->timer);
	binaries_close(&u->next);
	if (u->asker >= 0)
		control_end(u->asker, false, why);
	fd_close(&u->asker);
	u->step = UPGRADE_NONE;
	master_launcher_ready(m);	/* as before */
}

static void check_late(void *ctx)
{
	upgrade_failed(ctx, "a new program did not answer --check in time; the old ones go on");
}

/* ---- who is left from before ---- */

static void left_remember(struct master *m, pid_t pid, int arg)
{
	struct upgrade *u = &m->upgrade;
	pid_t *left = reallocarray(u->left, u->n_left + 1, sizeof(*left));

	(void)arg;
	if (!left)
		return;
	u->left = left;
	u->left[u->n_left++] = pid;
}

static void left_kill(void *ctx)
{
	struct master *m = ctx;

	for (size_t i = 0; i < m->upgrade.n_left; i++)
		kill(m->upgrade.left[i], SIGKILL);
}

static void grace_over(void *ctx)
{
	struct master *m = ctx;
	struct upgrade *u = &m->upgrade;

	for (size_t i = 0; i < u->n_left; i++) {
		log_warn("upgrade-grace", "pid=%d reason=%s", (int)u->left[i],
			 log_str("still runs the old program: ended"));
		kill(u->left[i], SIGTERM);
	}
	if (u->n_left > 0)
		loop_timer_set(m->loop, &u->grace, LEFT_KILL_MS, left_kill, m);
}

static bool left_ended(struct upgrade *u, pid_t pid)
{
	for (size_t i = 0; i < u->n_left; i++) {
		if (u->left[i] != pid)
			continue;
		u->left[i] = u->left[--u->n_left];
		return true;
	}
	return false;
}

/* ---- 4: master becomes the next ---- */

/* how: -U upgraded, -R gone back, -r reloaded. Returns if it cannot be. */
static int master_become(struct master *m, const struct binaries *next,
			 const struct binaries *old, const char *how, const char *why)
{
	char keeper[16], launcher[16];
	const char *args[] = { "-c", m->opt->config_file, how, why, "-k", keeper, "-l", launcher,
			       NULL, NULL };
	struct spawn sp = { .binaries = next, .program = BINARY_MASTER, .args = args,
			    .n_fds = 4 + 2 * BINARY_COUNT, .notify = true };

	snprintf(keeper, sizeof(keeper), "%d", (int)m->keeper_pid);
	snprintf(launcher, sizeof(launcher), "%d", (int)m->launcher_pid);
	if (m->opt->foreground)
		args[8] = "-F";
	sp.fds[0] = m->launcher_fd;
	sp.fds[1] = LAUNCHER_FD_LOCK;
	sp.fds[2] = spawn_fd_is_socket(LAUNCHER_FD_KEEPER) ? LAUNCHER_FD_KEEPER : -1;
	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		sp.fds[MASTER_FD_BINARIES - 3 + i] = next->fd[i];
		sp.fds[MASTER_FD_OLD - 3 + i] = old != NULL ? old->fd[i] : -1;
	}
	sp.fds[MASTER_FD_ASKER - 3] = m->upgrade.asker;
	log_info("become", "how=%s", how);
	(void)fault("master-become");
	return spawn_become(&sp);
}

/* Their channels end with the exec, and that alone would do for a crash. */
static void programs_tell(struct master *m, enum ipc_stop how)
{
	for (unsigned i = 0; i < m->n_programs; i++) {
		if (m->programs[i].fd >= 0)
			(void)program_stop(&m->programs[i], how);
	}
}

/* What a new configuration may not change while the server runs. An upgrade's may be one
 * that we cannot read. */
static bool config_moves(struct master *m)
{
	struct config config;
	struct buf errors;
	bool moves = false;

	if (config_load(m->opt->config_file, &config, &errors) == 0) {
		moves = strcmp(config.settings.base_dir, m->config->settings.base_dir) != 0;
		config_deinit(&config);
	}
	buf_deinit(&errors);
	return moves;
}

static void upgrade_go(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	int ret;

	programs_tell(m, u->reload ? STOP_RELOAD : STOP_REPLACE);
	if (!u->reload)
		master_orphans_signal(m, SIGHUP);
	(void)fault("master-upgrade-told");
	ret = master_become(m, u->reload ? &m->binaries : &u->next,
			    u->reload ? NULL : &m->binaries, u->reload ? "-r" : "-U", "");
	/* Descriptors are in disorder now. The launcher starts us again. */
	log_error("upgrade", "program=master error=%s", log_str(strerror(-ret)));
	_exit(EXIT_FAILURE);
}

/* ---- 2 and 3: launcher and keeper ---- */

static void keeper_late(void *ctx)
{
	upgrade_failed(ctx, "the new keeper did not take over; the old programs go on");
}

static void keeper_look(void *ctx)
{
	struct master *m = ctx;
	struct upgrade *u = &m->upgrade;

	if (clock_ms() - u->since_ms > KEEPER_MS) {
		keeper_late(m);
		return;
	}
	if (u->keeper_took_over && m->keeper_fd >= 0 && m->keeper_connects > u->connects) {
		upgrade_go(m);
		return;
	}
	loop_timer_set(m->loop, &u->timer, LOOK_MS, keeper_look, m);
}

void master_upgrade_keeper(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->step != UPGRADE_KEEPER || u->keeper_took_over)
		return;
	if (m->keeper_pid == u->old_keeper) {
		keeper_late(m);
		return;
	}
	u->keeper_took_over = true;
}

/* One end to the old keeper, the other to the launcher for the new one. */
static int keeper_replace(struct master *m)
{
	cleanup_fd int one = -1, other = -1;
	struct ipc_out *out;
	int pair[2], ret = ipc_pair(pair);

	if (ret < 0)
		return ret;
	one = pair[0];
	other = pair[1];
	out = ipc_out_create(LAUNCHER_SUCCESSOR);
	if (out)
		ipc_out_fd(out, other);
	ret = master_launcher_send(m, &out);
	if (ret < 0)
		return ret;
	out = ipc_out_create(IPC_CHANNEL);
	if (out) {
		ipc_out_u64(out, ROLE_KEEPER);
		ipc_out_fd(out, one);
	}
	return ipc_send_free(m->keeper_fd, &out);
}

static void upgrade_keeper(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	int ret;

	u->step = UPGRADE_KEEPER;
	u->since_ms = clock_ms();
	u->connects = m->keeper_connects;
	u->old_keeper = m->keeper_pid;
	u->keeper_took_over = false;
	ret = launcher_upgrade(m, &u->next);
	(void)fault("master-upgrade-launcher");
	if (ret == 0)
		ret = keeper_replace(m);
	if (ret < 0) {
		upgrade_failed(m, strerror(-ret));
		return;
	}
	loop_timer_set(m->loop, &u->timer, LOOK_MS, keeper_look, m);
}

/* ---- 1: the check ---- */

static int check_start(struct master *m, enum binary which, int words)
{
	struct upgrade *u = &m->upgrade;
	const char *args[] = { "--check", NULL, NULL, NULL };
	struct spawn sp = { .binaries = &u->next, .program = which, .args = args,
			    .n_fds = 1, .fds = { words } };

	if (which == BINARY_MASTER) {
		args[1] = "-c";
		args[2] = m->opt->config_file;
	}
	return spawn_program(&sp, &u->checks[which]);
}

static void check_begin(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	cleanup_fd int words = -1;
	char why[256];
	int fds[2], ret;

	u->step = UPGRADE_CHECK;
	u->since_ms = clock_ms();
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		upgrade_failed(m, strerror(errno));
		return;
	}
	u->words = fds[0];
	words = fds[1];
	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		/* A reload has no new programs, but a new configuration. */
		if (u->reload && i != BINARY_MASTER)
			continue;
		ret = check_start(m, (enum binary)i, words);
		if (ret < 0) {
			snprintf(why, sizeof(why), "the new %s cannot be started: %s",
				 binary_name((enum binary)i), strerror(-ret));
			upgrade_failed(m, why);
			return;
		}
	}
	loop_timer_set(m->loop, &u->timer, CHECK_MS, check_late, m);
}

static bool checks_pending(const struct upgrade *u)
{
	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		if (u->checks[i] > 0)
			return true;
	}
	return false;
}

bool master_upgrade_reaped(struct master *m, pid_t pid, int status)
{
	struct upgrade *u = &m->upgrade;
	char said[512], why[640];
	ssize_t n;

	if (left_ended(u, pid))
		return true;
	for (unsigned i = 0; i < BINARY_COUNT; i++) {
		if (u->checks[i] != pid)
			continue;
		u->checks[i] = 0;
		if (status == 0) {
			if (checks_pending(u))
				return true;
			fd_close(&u->words);
			loop_timer_cancel(m->loop, &u->timer);
			if (config_moves(m))
				upgrade_failed(m, "base_dir cannot be changed while the server "
					       "runs; stop it, and start it again");
			else if (u->reload)
				upgrade_go(m);
			else
				upgrade_keeper(m);
			return true;
		}
		n = read(u->words, said, sizeof(said) - 1);
		said[n > 0 ? n : 0] = '\0';
		said[strcspn(said, "\n")] = '\0';
		if (*said != '\0')
			snprintf(why, sizeof(why), "%s", said);
		else
			snprintf(why, sizeof(why), "the new %s does not start (status %d); "
				 "its log lines tell more", binary_name((enum binary)i), status);
		upgrade_failed(m, why);
		return true;
	}
	return false;
}

void master_upgrade(struct master *m, bool reload, int asker)
{
	struct upgrade *u = &m->upgrade;
	const char *refusal = NULL;
	char dir[PATH_MAX];

	if (m->phase != MASTER_READY)
		refusal = "the server is starting or stopping; try again";
	else if (u->step != UPGRADE_NONE)
		refusal = "an upgrade or a reload is going on; try again";
	else if (m->launcher_fd < 0 || m->keeper_fd < 0)
		refusal = "launcher or keeper are being started again; try again";
	else if (spawn_own_dir(dir, sizeof(dir)) < 0)
		refusal = "cannot tell where the programs are";
	if (refusal != NULL) {
		log_warn(reload ? "reload" : "upgrade", "error=%s", log_str(refusal));
		if (asker >= 0)
			control_end(asker, false, refusal);
		fd_close(&asker);
		return;
	}
	log_info(reload ? "reload" : "upgrade", "version=%s dir=%s", dormouse_version,
		 log_str(dir));
	u->reload = reload;
	u->asker = asker;
	master_launcher_reloading(m);
	binaries_open(&u->next, dir);
	check_begin(m);
}

/* ---- 5: afterwards ---- */

static void go_back(struct master *m, const char *why)
{
	struct upgrade *u = &m->upgrade;
	int ret;

	log_error("upgrade", "error=%s", log_str(why));
	(void)launcher_upgrade(m, &u->old);
	programs_tell(m, STOP_REPLACE);
	ret = master_become(m, &u->old, NULL, "-R", why);
	log_error("upgrade", "program=master error=%s", log_str(strerror(-ret)));
	_exit(EXIT_FAILURE);
}

static void come_up_late(void *ctx)
{
	struct master *m = ctx;
	struct upgrade *u = &m->upgrade;
	const char *late = "";
	char why[256];

	for (unsigned i = 0; i < m->n_programs; i++) {
		if (m->programs[i].phase != PROGRAM_READY)
			late = m->programs[i].name;
	}
	if (u->can_go_back) {
		snprintf(why, sizeof(why), "the new %s did not come up; the old programs go on",
			 late);
		go_back(m, why);
	}
	/* Nobody to go back to: it is tried on and on, and the operator is told. */
	snprintf(why, sizeof(why), "%s does not come up; its log lines tell more", late);
	log_error("reload", "error=%s", log_str(why));
	if (u->asker >= 0)
		control_end(u->asker, false, why);
	fd_close(&u->asker);
}

void master_upgrade_init(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	u->words = -1;
	u->asker = m->opt->became != NULL && spawn_fd_is_socket(MASTER_FD_ASKER) ?
		   fcntl(MASTER_FD_ASKER, F_DUPFD_CLOEXEC, 3) : -1;
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		u->old.fd[i] = u->next.fd[i] = -1;
	if (m->opt->became == NULL)
		return;
	binaries_inherit(&u->old, MASTER_FD_OLD);
	close(MASTER_FD_ASKER);
	u->can_go_back = strcmp(m->opt->became, "U") == 0 && u->old.fd[BINARY_MASTER] >= 0;
}

void master_upgrade_begin(struct master *m)
{
	if (m->opt->became != NULL && *m->opt->became != 'r') {
		master_orphans_each(m, left_remember, 0);
		loop_timer_set(m->loop, &m->upgrade.grace,
			       m->config->settings.upgrade_grace_ms + LEFT_BEYOND_MS,
			       grace_over, m);
	}
	if (m->opt->became != NULL)
		loop_timer_set(m->loop, &m->upgrade.timer, COME_UP_MS, come_up_late, m);
}

void master_upgrade_died(struct master *m, const struct program *p)
{
	struct upgrade *u = &m->upgrade;
	char why[256];

	if (!u->can_go_back || p->phase == PROGRAM_READY || ++u->deaths < DEATHS_MAX)
		return;
	snprintf(why, sizeof(why), "the new %s dies at its start; the old programs go on",
		 p->name);
	go_back(m, why);
}

void master_upgrade_start_failed(struct master *m, int error)
{
	char why[256];

	if (!m->upgrade.can_go_back)
		return;
	snprintf(why, sizeof(why), "the new master cannot start: %s; the old programs go on",
		 strerror(-error));
	go_back(m, why);
}

static void answer(struct master *m, bool good, const char *text)
{
	struct upgrade *u = &m->upgrade;
	char words[256];

	if (good && m->no_listener != NULL) {
		good = false;
		snprintf(words, sizeof(words), "done, but listener %s cannot be opened; the log "
			 "says why", m->no_listener);
		text = words;
	}
	if (u->asker >= 0)
		control_end(u->asker, good, text);
	fd_close(&u->asker);
}

void master_upgrade_ready(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	bool good = m->opt->became == NULL || strcmp(m->opt->became, "R") != 0;

	u->can_go_back = false;
	loop_timer_cancel(m->loop, &u->timer);
	binaries_close(&u->old);
	if (m->opt->became != NULL)
		log_info(strcmp(m->opt->became, "r") == 0 ? "reloaded" :
			 good ? "upgraded" : "went-back",
			 "version=%s", dormouse_version);
	answer(m, good, good ? dormouse_version : m->opt->became_why);
}

void master_upgrade_stop(struct master *m)
{
	if (m->upgrade.step != UPGRADE_NONE)
		upgrade_failed(m, "the server stops");
}

void master_upgrade_deinit(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (m->loop)
		loop_timer_cancel(m->loop, &u->timer);
	if (m->loop)
		loop_timer_cancel(m->loop, &u->grace);
	free(u->left);
	fd_close(&u->words);
	fd_close(&u->asker);
	binaries_close(&u->old);
	binaries_close(&u->next);
}
