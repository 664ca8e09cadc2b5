/* SPDX-License-Identifier: MIT */
/* It does as little as it can, so that it has no reason to die: it waits for
 * the ends of two processes and for signals, and reads a few kinds of message
 * from master. Processes are watched by pidfd in all cases, because after
 * --adopt they are not its children.
 *
 * At a fresh start it takes the lock on the run directory. A keeper whose
 * launcher and master both died still runs and holds its clients: it answers
 * on its socket and its pid stands in BASE/keeper.pid, and is adopted. */
#include "master/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ipc.h"
#include "lib/loop.h"
#include "master/backoff.h"
#include "master/launcher-proto.h"
#include "master/notify.h"
#include "master/spawn.h"

/* A keeper has nothing to do at its end but to close descriptors. */
#define KEEPER_END_MS	5000
/* For a master whose launcher has just died to have another one. */
#define POINT_OUT_MS	15000
#define POINT_OUT_LOOK_MS 20
#define BARRIER_MS	5000

struct launcher;
struct watched {
	struct launcher *launcher;
	const char *program;
	pid_t pid;			/* 0: does not run */
	int pidfd;
	struct loop_io io;
	struct loop_timer timer;	/* until the next start */
	struct backoff backoff;
	uint64_t started_ms;
	void (*start)(struct launcher *l);
};
struct launcher {
	const struct launcher_options *opt;
	struct loop *loop;
	struct binaries binaries;
	int lock_fd, keeper_listen_fd;
	struct watched keeper, master;
	struct watched successor;	/* a keeper that takes over (upgrade) */
	int channel;			/* to master */
	struct loop_io channel_io;
	struct loop_timer end_timer;
	int ready_fd;
	unsigned stops;			/* how often we were told to stop */
	bool was_ready;			/* it came up once */
	bool ending;			/* master is not started again */
	bool keeper_stays;		/* for another start to adopt */
	/* the service manager */
	uint64_t watchdog_ms;		/* 0: there is none, or it does not watch */
	struct loop_timer watchdog_timer;
	uint64_t heard_ms, ticked_ms;	/* of master, by us */
	bool master_speaks;		/* it says ALIVE */
	char status[128];
	int exit_status;
};

static void launcher_end(struct launcher *l, int status);

/* ---- the run directory ---- */

static int path_in_base(const struct launcher *l, const char *name, char *path,
			size_t size)
{
	int n = snprintf(path, size, "%s/%s", l->opt->base_dir, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static int base_dir_make(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
		log_error("base-dir", "path=%s error=%s hint=%s", log_str(dir),
			  log_str(strerror(errno)),
			  log_str("set base_dir to a directory whose parent exists "
				  "and is writable"));
		return -errno;
	}
	if (lstat(dir, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022))
		return chmod(dir, 0755) < 0 ? -errno : 0;
	log_error("base-dir", "path=%s owner=%u mode=%o error=%s", log_str(dir),
		  st.st_uid, st.st_mode & 07777,
		  log_str("it must be a directory of our own that nobody else can "
			  "write to"));
	return -EPERM;
}

static bool pid_is(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	cleanup_fd int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, comm, sizeof(comm) - 1) : -1;
	return n > 1 && comm[n - 1] == '\n' && strncmp(comm, name, (size_t)n - 1) == 0 &&
	       name[n - 1] == '\0';
}

/* Of the same service, so that a manager's word about us is one about it. */
static bool pid_is_beside_us(pid_t pid)
{
	char paths[2][64] = { "/proc/self/cgroup" }, texts[2][4096];
	ssize_t n[2];

	snprintf(paths[1], sizeof(paths[1]), "/proc/%d/cgroup", (int)pid);
	for (int i = 0; i < 2; i++) {
		cleanup_fd int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		n[i] = fd >= 0 ? read(fd, texts[i], sizeof(texts[i])) : -1;
	}
	return n[0] > 0 && n[0] == n[1] && memcmp(texts[0], texts[1], (size_t)n[0]) == 0;
}

/* The lock is held, but the service manager wants a start: it saw the launcher die, and
 * master has started another one already. It is told whom to watch from now on, and there
 * is nothing to start. 0: the lock is ours after all. 1: told. -EBUSY: it is none of ours. */
static int lock_holder_point_out(struct launcher *l)
{
	uint64_t until_ms = clock_ms() + POINT_OUT_MS;

	while (clock_ms() < until_ms) {
		char text[16] = "";
		pid_t pid = pread(l->lock_fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 0;

		if (pid > 1 && pid_is(pid, "launcher")) {
			if (!pid_is_beside_us(pid))
				return -EBUSY;
			log_info("runs-already", "launcher=%d", (int)pid);
			notify_send("READY=1\nMAINPID=%d\n", (int)pid);
			/* Before it is seen that we end. */
			(void)notify_barrier(BARRIER_MS);
			return 1;
		}
		if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		poll(NULL, 0, POINT_OUT_LOOK_MS);
	}
	return -EBUSY;
}

/* Whoever lives of launcher and master has the lock's description open. 0, -errno, or 1:
 * the server runs, and that is as well. */
static int lock_take(struct launcher *l)
{
	char path[PATH_MAX], pid[16] = "?";
	ssize_t n;
	int ret = path_in_base(l, "lock", path, sizeof(path));

	if (ret < 0)
		return ret;
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (l->lock_fd < 0)
		return -errno;
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (notify_wanted() && (ret = lock_holder_point_out(l)) >= 0)
		return ret;
	n = pread(l->lock_fd, pid, sizeof(pid) - 1, 0);
	if (n > 0)
		pid[strcspn(pid, "\n")] = '\0';
	log_error("already-running", "base_dir=%s pid=%s hint=%s",
		  log_str(l->opt->base_dir), log_str(pid),
		  log_str("stop it with: dormouse stop"));
	return -EBUSY;
}

static void lock_write_pid(struct launcher *l)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(l->lock_fd, 0) < 0 || pwrite(l->lock_fd, text, (size_t)n, 0) != n)
		log_warn("lock", "error=%s", log_str(strerror(errno)));
}

static void keeper_pid_write(struct launcher *l)
{
	char path[PATH_MAX], text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)l->keeper.pid);
	cleanup_fd int fd = -1;

	if (path_in_base(l, "keeper.pid", path, sizeof(path)) < 0)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		log_warn("keeper-pid", "error=%s", log_str(strerror(errno)));
}

static int keeper_listen(struct launcher *l)
{
	char path[PATH_MAX];
	int ret = path_in_base(l, "keeper", path, sizeof(path));

	if (ret == 0)
		ret = ipc_listen(path, 0600, 16, &l->keeper_listen_fd);
	if (ret < 0)
		log_error("keeper-listener", "error=%s", log_str(strerror(-ret)));
	return ret;
}

/* ---- watching ---- */

static void watched_gone(void *ctx, uint32_t events);

static int watched_begin(struct watched *w, pid_t pid, int pidfd)
{
	int ret;

	w->pid = pid;
	w->pidfd = pidfd;
	w->started_ms = clock_ms();
	ret = loop_add(w->launcher->loop, &w->io, pidfd, EPOLLIN, watched_gone, w);
	if (ret < 0)
		log_error("watch", "program=%s error=%s", w->program,
			  log_str(strerror(-ret)));
	return ret;
}

static void watched_start_later(void *ctx)
{
	struct watched *w = ctx;

	if (w->pid == 0)
		w->start(w->launcher);
}

static void watched_restart(struct watched *w)
{
	uint64_t delay = backoff_next_ms(&w->backoff, clock_ms() - w->started_ms);

	loop_timer_set(w->launcher->loop, &w->timer, delay, watched_start_later, w);
}

/* The exit status of a child, or -1: unknown, or killed. */
static int watched_reap(struct watched *w)
{
	int status;

	if (waitpid(w->pid, &status, 0) != w->pid) {
		log_warn("died", "program=%s pid=%d lived_ms=%llu", w->program,
			 (int)w->pid,
			 (unsigned long long)(clock_ms() - w->started_ms));
		return -1;
	}
	log_warn("died", "program=%s pid=%d %s=%d lived_ms=%llu", w->program,
		 (int)w->pid, WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		 (unsigned long long)(clock_ms() - w->started_ms));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool status_is_final(const struct launcher *l, int status)
{
	/* What once came up is tried for ever: a configuration that was broken
	 * since must not cost the sleepers their connections. */
	return status == MASTER_EXIT_STOPPED ||
	       ((status == MASTER_EXIT_CONFIG || status == MASTER_EXIT_START) &&
		!l->was_ready);
}

static void channel_ready(void *ctx, uint32_t events);
static void master_tell_keeper(struct launcher *l);
static void keeper_succeeded(struct launcher *l);
static void launcher_become(struct launcher *l);
static void successor_start(struct launcher *l, int fd);

static void master_gone(struct launcher *l, int status)
{
	/* Its last words first: an adopted master's status is only there. */
	if (l->channel_io.active)
		channel_ready(l, EPOLLIN);
	if (l->channel_io.active)
		loop_remove(l->loop, &l->channel_io);
	fd_close(&l->channel);
	if (status_is_final(l, status) && !l->ending) {
		l->exit_status = status;
		l->ending = true;
	}
	if (l->ending || l->stops > 0)
		launcher_end(l, l->exit_status);
	else
		watched_restart(&l->master);
}

static void watched_gone(void *ctx, uint32_t events)
{
	struct watched *w = ctx;
	struct launcher *l = w->launcher;
	int status;

	(void)events;
	loop_remove(l->loop, &w->io);
	status = watched_reap(w);
	fd_close(&w->pidfd);
	w->pid = 0;
	if (w == &l->master) {
		master_gone(l, status);
	} else if (w == &l->successor) {
		/* The old one goes on, and master hears of no other. */
		log_error("upgrade", "program=keeper error=%s",
			  log_str("the new one did not take over"));
		master_tell_keeper(l);
	} else if (l->ending && l->master.pid == 0) {
		loop_stop(l->loop);
	} else if (l->successor.pid != 0) {
		keeper_succeeded(l);
	} else {
		watched_restart(w);
	}
}

/* ---- the service manager ---- */

/* It is pinged as long as we run and master answers. A master that hangs is ours to
 * kill: the manager would kill us, who are not to blame, and then find the lock held. */
static void watchdog_tick(void *ctx)
{
	struct launcher *l = ctx;
	uint64_t now = clock_ms();

	/* If we were held up ourselves, what master said is still unread. */
	if (now - l->ticked_ms > l->watchdog_ms / 2)
		l->heard_ms = now;
	l->ticked_ms = now;
	loop_timer_set(l->loop, &l->watchdog_timer, l->watchdog_ms / 4, watchdog_tick, l);
	if (l->master.pid == 0 || !l->master_speaks || now - l->heard_ms <= l->watchdog_ms / 2) {
		notify_send("WATCHDOG=1\n");
		return;
	}
	log_error("hangs", "program=master pid=%d silent_ms=%llu", (int)l->master.pid,
		  (unsigned long long)(now - l->heard_ms));
	pidfd_send_signal(l->master.pidfd, SIGKILL, NULL, 0);
	l->master_speaks = false;
}

static void watchdog_begin(struct launcher *l)
{
	l->watchdog_ms = notify_watchdog_ms();
	l->ticked_ms = l->heard_ms = clock_ms();
	if (l->watchdog_ms > 0)
		watchdog_tick(l);
}

static int alive_read(struct launcher *l, struct ipc_in *in)
{
	const char *text = ipc_in_str(in);

	if (!ipc_in_done(in))
		return -EBADMSG;
	l->heard_ms = clock_ms();
	l->master_speaks = true;
	if (strncmp(text, l->status, sizeof(l->status) - 1) == 0)
		return 0;
	snprintf(l->status, sizeof(l->status), "%s", text);
	notify_send("STATUS=%s\n", l->status);
	return 0;
}

/* ---- the channel to master ---- */

static void ready_tell(struct launcher *l, int status)
{
	unsigned char byte = (unsigned char)status;

	if (l->ready_fd < 0)
		return;
	if (write(l->ready_fd, &byte, 1) != 1)
		log_warn("ready", "error=%s", log_str(strerror(errno)));
	close(l->ready_fd);
	l->ready_fd = -1;
}

static void master_tell_keeper(struct launcher *l)
{
	struct ipc_out *out;
	int ret;

	if (l->channel < 0 || l->keeper.pid == 0)
		return;
	out = ipc_out_create(LAUNCHER_KEEPER);
	if (out) {
		ipc_out_u64(out, (uint64_t)l->keeper.pid);
		ipc_out_fd(out, l->keeper.pidfd);
	}
	ret = ipc_send_free(l->channel, &out);
	if (ret < 0 && ret != -EPIPE)
		log_warn("channel", "error=%s", log_str(strerror(-ret)));
}

static int ending_read(struct launcher *l, struct ipc_in *in)
{
	uint64_t status = ipc_in_u64(in), keep_ms = ipc_in_u64(in);

	if (!ipc_in_done(in))
		return -EBADMSG;
	if (status_is_final(l, (int)status)) {
		l->ending = true;
		l->exit_status = (int)status;
		l->keeper_stays = keep_ms > 0;
		notify_send("STOPPING=1\n");
	}
	return 0;
}

/* From now on everything is started from these. */
static int upgrade_read(struct launcher *l, struct ipc_in *in)
{
	struct binaries b;

	if (ipc_in_fd_count(in) != BINARY_COUNT)
		return -EBADMSG;
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		b.fd[i] = ipc_in_fd(in);
	binaries_replace(&l->binaries, &b);
	if (!ipc_in_done(in))
		return -EBADMSG;
	launcher_become(l);
	return 0;
}

static int successor_read(struct launcher *l, struct ipc_in *in)
{
	cleanup_fd int fd = ipc_in_fd(in);

	if (!ipc_in_done(in))
		return -EBADMSG;
	successor_start(l, fd);
	return 0;
}

static void channel_message(struct launcher *l, struct ipc_in *in)
{
	uint32_t type = ipc_in_type(in);
	int ret = 0;

	switch (type) {
	case LAUNCHER_READY:
		log_debug("ready", "master=%d", (int)l->master.pid);
		l->was_ready = true;
		activation_close(l->opt->activation);	/* the keeper has them now */
		ready_tell(l, 0);
		notify_send("READY=1\n");
		break;
	case LAUNCHER_ENDING:
		ret = ending_read(l, in);
		break;
	case LAUNCHER_UPGRADE:
		ret = upgrade_read(l, in);
		break;
	case LAUNCHER_SUCCESSOR:
		ret = successor_read(l, in);
		break;
	case LAUNCHER_ALIVE:
		ret = alive_read(l, in);
		break;
	case LAUNCHER_RELOADING:
		notify_send("RELOADING=1\n");
		break;
	default:
		ret = -EBADMSG;
	}
	if (ret < 0)
		log_warn("channel", "type=%u error=%s", type, log_str(strerror(-ret)));
}

static void channel_ready(void *ctx, uint32_t events)
{
	struct launcher *l = ctx;
	struct ipc_in *in;
	int ret;

	(void)events;
	while ((ret = ipc_recv(l->channel, &in)) == 0) {
		channel_message(l, in);
		ipc_in_destroy(&in);
	}
	/* Its end is seen by the pidfd. */
	if (ret != -EAGAIN)
		loop_remove(l->loop, &l->channel_io);
}

/* ---- starting ---- */

/* successor: the end of a channel to the keeper that it takes over from, or -1. */
static int keeper_spawn(struct launcher *l, int successor, struct watched *w)
{
	const char *args[12] = { "-b", l->opt->base_dir };
	char level[4];
	struct spawn sp = { .binaries = &l->binaries, .program = BINARY_KEEPER, .args = args,
			    .n_fds = successor >= 0 ? 2 : 1 };
	unsigned n = 2;
	pid_t pid = 0;
	int ret, pidfd;

	snprintf(level, sizeof(level), "%d", (int)l->opt->level);
	args[n++] = "-L";
	args[n++] = level;
	if (l->opt->sink == LOG_TO_SYSLOG)
		args[n++] = "-S";
	if (l->opt->keeper_user) {
		args[n++] = "-u";
		args[n++] = l->opt->keeper_user;
	}
	if (successor >= 0)
		args[n++] = "-a";
	sp.fds[0] = l->keeper_listen_fd;
	sp.fds[1] = successor;
	w->started_ms = clock_ms();
	ret = spawn_program(&sp, &pid);
	if (ret < 0)
		return ret;
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return -errno;
	log_info("started", "program=keeper pid=%d", (int)pid);
	return watched_begin(w, pid, pidfd);
}

static void keeper_start(struct launcher *l)
{
	int ret = l->keeper_listen_fd < 0 ? keeper_listen(l) : 0;

	if (ret == 0)
		ret = keeper_spawn(l, -1, &l->keeper);
	if (ret < 0) {
		log_error("start", "program=keeper error=%s", log_str(strerror(-ret)));
		watched_restart(&l->keeper);
		return;
	}
	keeper_pid_write(l);
	master_tell_keeper(l);
}

/* Without a listener of ours the old keeper's comes along. */
static void successor_start(struct launcher *l, int fd)
{
	int ret = l->successor.pid != 0 ? -EBUSY : keeper_spawn(l, fd, &l->successor);

	if (ret == 0)
		return;
	log_error("upgrade", "program=keeper error=%s", log_str(strerror(-ret)));
	master_tell_keeper(l);
}

static void keeper_succeeded(struct launcher *l)
{
	pid_t pid = l->successor.pid;
	int pidfd = l->successor.pidfd;

	loop_remove(l->loop, &l->successor.io);
	l->successor.pid = 0;
	l->successor.pidfd = -1;
	(void)watched_begin(&l->keeper, pid, pidfd);
	keeper_pid_write(l);
	master_tell_keeper(l);
}

static int channel_open(struct launcher *l, int fd)
{
	l->channel = fd;
	l->heard_ms = clock_ms();
	l->master_speaks = false;
	return loop_add(l->loop, &l->channel_io, fd, EPOLLIN, channel_ready, l);
}

static int listeners_send(struct launcher *l, int fd)
{
	const struct activation *a = l->opt->activation;
	struct ipc_out *out;

	if (a->n == 0)
		return 0;
	out = ipc_out_create(LAUNCHER_LISTENERS);
	for (unsigned i = 0; out && i < a->n; i++)
		ipc_out_fd(out, a->fd[i]);
	return ipc_send_free(fd, &out);
}

static int master_spawn(struct launcher *l, pid_t *pid_r)
{
	const char *args[] = { "-c", l->opt->config, NULL, NULL };
	struct spawn sp = { .binaries = &l->binaries, .program = BINARY_MASTER, .args = args,
			    .n_fds = 3 + BINARY_COUNT, .notify = true };
	int pair[2], ret;

	if (l->opt->foreground)
		args[2] = "-F";
	ret = ipc_pair(pair);
	if (ret < 0)
		return ret;
	sp.fds[0] = pair[1];
	sp.fds[1] = l->lock_fd;
	sp.fds[2] = l->keeper_listen_fd;
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		sp.fds[3 + i] = l->binaries.fd[i];
	ret = listeners_send(l, pair[0]);
	if (ret == 0)
		ret = spawn_program(&sp, pid_r);
	close(pair[1]);
	if (ret < 0) {
		close(pair[0]);
		return ret;
	}
	return channel_open(l, pair[0]);
}

static void master_start(struct launcher *l)
{
	pid_t pid = 0;
	int ret, pidfd;

	l->master.started_ms = clock_ms();
	ret = master_spawn(l, &pid);
	pidfd = ret == 0 ? pidfd_open(pid, 0) : -1;
	if (ret < 0 || pidfd < 0 || watched_begin(&l->master, pid, pidfd) < 0) {
		log_error("start", "program=master error=%s",
			  log_str(strerror(ret < 0 ? -ret : errno)));
		if (l->channel_io.active)
			loop_remove(l->loop, &l->channel_io);
		fd_close(&l->channel);
		watched_restart(&l->master);
		return;
	}
	log_info("started", "program=master pid=%d", (int)pid);
	master_tell_keeper(l);
}

/* ---- ending ---- */

static void keeper_kill(void *ctx)
{
	struct launcher *l = ctx;

	if (l->keeper.pid)
		pidfd_send_signal(l->keeper.pidfd, SIGKILL, NULL, 0);
	loop_stop(l->loop);
}

/* master is gone for good; the keeper has nobody left to keep for. */
static void launcher_end(struct launcher *l, int status)
{
	l->ending = true;
	l->exit_status = status;
	loop_timer_cancel(l->loop, &l->master.timer);
	loop_timer_cancel(l->loop, &l->keeper.timer);
	ready_tell(l, status == 0 ? EXIT_FAILURE : status);
	if (!l->keeper.pid || l->keeper_stays) {
		loop_stop(l->loop);
		return;
	}
	pidfd_send_signal(l->keeper.pidfd, SIGTERM, NULL, 0);
	loop_timer_set(l->loop, &l->end_timer, KEEPER_END_MS, keeper_kill, l);
}

/* The first asks master to stop kindly, the second to stop at once (master
 * counts too), the third does not ask. */
static void on_stop(void *ctx, int signo)
{
	struct launcher *l = ctx;

	l->stops++;
	log_info("stop", "signal=%d times=%u", signo, l->stops);
	notify_send("STOPPING=1\n");
	if (!l->master.pid)
		launcher_end(l, 0);
	else
		pidfd_send_signal(l->master.pidfd, l->stops < 3 ? SIGTERM : SIGKILL,
				  NULL, 0);
}

static void on_hup(void *ctx, int signo)
{
	struct launcher *l = ctx;

	if (l->master.pid)
		pidfd_send_signal(l->master.pidfd, signo, NULL, 0);
}

static void on_usr1(void *ctx, int signo)
{
	struct launcher *l = ctx;

	(void)signo;
	log_info("report", "master=%d keeper=%d stops=%u", (int)l->master.pid,
		 (int)l->keeper.pid, l->stops);
}

/* ---- becoming the next version ---- */

/* In place: same pid, same children. Descriptors and arguments are those of --adopt.
 * Should it fail, master sees our end and starts another. */
static void launcher_become(struct launcher *l)
{
	char master[16], keeper[16], level[4];
	const char *args[24] = { "--adopt", "-b", l->opt->base_dir, "-c", l->opt->config,
				 "--master-pid", master, "-L", level };
	struct spawn sp = { .binaries = &l->binaries, .program = BINARY_LAUNCHER, .args = args,
			    .n_fds = 5 + BINARY_COUNT, .notify = true,
			    .fds = { l->channel, l->lock_fd, l->keeper_listen_fd,
				     l->master.pidfd, l->keeper.pidfd } };
	unsigned n = 9;
	int ret;

	snprintf(master, sizeof(master), "%d", (int)l->master.pid);
	snprintf(level, sizeof(level), "%d", (int)l->opt->level);
	if (l->keeper.pid != 0) {
		snprintf(keeper, sizeof(keeper), "%d", (int)l->keeper.pid);
		args[n++] = "--keeper-pid";
		args[n++] = keeper;
	}
	if (l->opt->foreground)
		args[n++] = "-F";
	if (l->opt->sink == LOG_TO_SYSLOG)
		args[n++] = "-S";
	if (l->opt->keeper_user) {
		args[n++] = "-u";
		args[n++] = l->opt->keeper_user;
	}
	for (unsigned i = 0; i < BINARY_COUNT; i++)
		sp.fds[5 + i] = l->binaries.fd[i];
	log_info("upgrade", "program=launcher");
	(void)fault("launcher-become");
	ret = spawn_become(&sp);
	log_error("upgrade", "program=launcher error=%s", log_str(strerror(-ret)));
	_exit(EXIT_FAILURE);
}

/* ---- adopting ---- */

static int pid_file_read(const char *path, pid_t *pid_r)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[16] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || atoi(text) <= 1)
		return -ENOENT;
	*pid_r = atoi(text);
	return 0;
}

/* A keeper that has outlived its launcher and master. The pid file could be
 * of another boot and the number somebody else's by now: it is believed only
 * if something listens on the keeper's socket and the process has its name. */
static bool keeper_adopt_orphan(struct launcher *l)
{
	char path[PATH_MAX];
	cleanup_fd int fd = -1, pidfd = -1;
	pid_t pid;

	if (path_in_base(l, "keeper.pid", path, sizeof(path)) < 0 ||
	    pid_file_read(path, &pid) < 0)
		return false;
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0 || !pid_is(pid, "keeper") ||
	    path_in_base(l, "keeper", path, sizeof(path)) < 0 ||
	    ipc_connect(path, &fd) < 0)
		return false;
	log_info("adopted", "program=keeper pid=%d", (int)pid);
	return watched_begin(&l->keeper, pid, fd_steal(&pidfd)) == 0;
}

static int begin_fresh(struct launcher *l)
{
	int ret = base_dir_make(l->opt->base_dir);

	if (ret == 0)
		ret = lock_take(l);
	if (ret != 0)
		return ret;
	lock_write_pid(l);
	watchdog_begin(l);
	if (!keeper_adopt_orphan(l)) {
		ret = keeper_listen(l);
		if (ret < 0)
			return ret;
		keeper_start(l);
	}
	master_start(l);
	return 0;
}

static int cloexec(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : fd;
}

/* Our predecessor died; master started us. */
static int begin_adopted(struct launcher *l)
{
	int ret;

	l->lock_fd = cloexec(LAUNCHER_FD_LOCK);
	l->keeper_listen_fd = spawn_fd_is_socket(LAUNCHER_FD_KEEPER) ?
			      cloexec(LAUNCHER_FD_KEEPER) : -1;
	if (l->lock_fd < 0 || cloexec(LAUNCHER_FD_CHANNEL) < 0 ||
	    cloexec(LAUNCHER_FD_MASTER_PID) < 0 || l->opt->master_pid <= 0)
		return -EBADF;
	lock_write_pid(l);
	notify_send("MAINPID=%d\n", (int)getpid());
	watchdog_begin(l);
	ret = channel_open(l, LAUNCHER_FD_CHANNEL);
	if (ret < 0)
		return ret;
	ret = watched_begin(&l->master, l->opt->master_pid, LAUNCHER_FD_MASTER_PID);
	if (ret < 0)
		return ret;
	if (l->opt->keeper_pid > 0 && cloexec(LAUNCHER_FD_KEEPER_PID) >= 0)
		return watched_begin(&l->keeper, l->opt->keeper_pid,
				     LAUNCHER_FD_KEEPER_PID);
	keeper_start(l);
	return 0;
}

static int launcher_signals(struct launcher *l)
{
	static const struct {
		int signo;
		loop_signal_fn *fn;
	} signals[] = {
		{ SIGTERM, on_stop }, { SIGINT, on_stop }, { SIGHUP, on_hup },
		{ SIGUSR1, on_usr1 },
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]) && ret == 0; i++)
		ret = loop_signal(l->loop, signals[i].signo, signals[i].fn, l);
	return ret;
}

static int binaries_begin(struct launcher *l)
{
	char dir[PATH_MAX];
	int ret;

	if (l->opt->adopt) {
		binaries_inherit(&l->binaries, LAUNCHER_FD_BINARIES);
		return 0;
	}
	ret = spawn_own_dir(dir, sizeof(dir));
	if (ret == 0)
		binaries_open(&l->binaries, dir);
	return ret;
}

/* 0, -errno, or 1: there is nothing to do. */
static int launcher_begin(struct launcher *l)
{
	int ret;

	l->loop = loop_create();
	if (!l->loop)
		return -errno;
	ret = binaries_begin(l);
	if (ret == 0)
		ret = launcher_signals(l);
	if (ret == 0)
		ret = l->opt->adopt ? begin_adopted(l) : begin_fresh(l);
	return ret;
}

/* The lock's file stays: removing it would race with the next start. */
static void launcher_tidy(const struct launcher *l)
{
	static const char *const names[] = { "keeper", "keeper.pid" };
	char path[PATH_MAX];

	for (size_t i = 0; i < 2; i++) {
		if (path_in_base(l, names[i], path, sizeof(path)) == 0)
			unlink(path);
	}
}

int launcher_run(const struct launcher_options *opt)
{
	struct launcher l = {
		.opt = opt, .lock_fd = -1, .keeper_listen_fd = -1, .channel = -1,
		.ready_fd = opt->ready_fd, .was_ready = opt->adopt,
		.keeper = { .program = "keeper", .pidfd = -1, .start = keeper_start },
		.master = { .program = "master", .pidfd = -1, .start = master_start },
		.successor = { .program = "keeper", .pidfd = -1 },
	};
	int ret;

	l.keeper.launcher = l.master.launcher = l.successor.launcher = &l;
	ret = launcher_begin(&l);
	if (ret != 0) {
		/* What is known better has been logged where it was known. */
		if (ret < 0)
			log_error("start", "error=%s", log_str(strerror(-ret)));
		ready_tell(&l, ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
		loop_destroy(&l.loop);
		return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	loop_run(l.loop);
	if (!l.keeper_stays)
		launcher_tidy(&l);
	log_info("end", "status=%d", l.exit_status);
	loop_destroy(&l.loop);
	return l.exit_status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
