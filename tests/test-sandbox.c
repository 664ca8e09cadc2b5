/* SPDX-License-Identifier: MIT */
/* What each profile allows and refuses, tried in children that enter it. As
 * root the children also give up root first; as an ordinary user that part is
 * skipped, the rest is the same. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fence.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "tests/unit.h"

#define SOME_UID	12345
#define SOME_GID	12346

static const enum sandbox_profile profiles[] = {
	SANDBOX_KEEPER, SANDBOX_HOLDER, SANDBOX_LOGIN, SANDBOX_AUTH, SANDBOX_IMAP,
};
#define FEW	((1u << SANDBOX_KEEPER) | (1u << SANDBOX_HOLDER) | (1u << SANDBOX_LOGIN))
#define NOT_IMAP (FEW | (1u << SANDBOX_AUTH))
#define EVERY	(NOT_IMAP | (1u << SANDBOX_IMAP))

/* ---- children ---- */

struct child {
	int status;		/* of exit, or 1000 + signal */
	char text[4096];	/* what it wrote to descriptor 2 */
};

/* Runs fn(arg) in a child; its result is the exit status. */
static void child_run(struct child *c, int (*fn)(void *arg), void *arg)
{
	int err[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	require(pipe2(err, O_CLOEXEC) == 0);
	fflush(NULL);
	pid = fork();
	require(pid >= 0);
	if (pid == 0) {
		dup2(err[1], STDERR_FILENO);
		_exit(fn(arg));
	}
	close(err[1]);
	while (len < sizeof(c->text) - 1 &&
	       (n = read(err[0], c->text + len, sizeof(c->text) - 1 - len)) > 0)
		len += (size_t)n;
	c->text[len] = '\0';
	close(err[0]);
	require(waitpid(pid, &status, 0) == pid);
	c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* A child says which of its steps failed. */
#define STEP(cond) do { \
	if (!(cond)) { \
		dprintf(STDERR_FILENO, "line %d: %s: errno %d\n", __LINE__, #cond, errno); \
		return 1; \
	} \
} while (0)

static bool passed(int (*fn)(void *arg), void *arg)
{
	struct child c;

	child_run(&c, fn, arg);
	if (c.status != 0)
		fprintf(stderr, "\nstatus %d: %s", c.status, c.text);
	return c.status == 0;
}

static char dir[64];	/* where the tests may write */

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static bool opens(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* ---- identity ---- */

static int basics(void *arg)
{
	struct rlimit core;

	STEP(sandbox_basics() == 0);
	STEP(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	STEP(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	STEP(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
	return 0;
}

static void test_sandbox_basics(void)
{
	check(passed(basics, NULL));
}

static int become(void *arg)
{
	static const int bad_cap[] = { 1000 };
	uid_t r, e, s;

	STEP(sandbox_basics() == 0);
	STEP(sandbox_become((uid_t)-1, 1, NULL, 0) == -EINVAL);
	STEP(sandbox_become(SOME_UID, (gid_t)-1, NULL, 0) == -EINVAL);
	STEP(sandbox_become(SOME_UID, SOME_GID, bad_cap, 1) == -EINVAL);
	STEP(geteuid() == 0);
	STEP(sandbox_become(SOME_UID, SOME_GID, NULL, 0) == 0);
	STEP(getresuid(&r, &e, &s) == 0 && r == SOME_UID && e == r && s == r);
	STEP(getgid() == SOME_GID && getgroups(0, NULL) == 0);
	STEP(setuid(0) < 0 && errno == EPERM);
	STEP(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0);
	STEP(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	STEP(open("/etc/shadow", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	/* Again is fine, another is not. */
	STEP(sandbox_become(SOME_UID, SOME_GID, NULL, 0) == 0);
	STEP(sandbox_become(SOME_UID + 1, SOME_GID, NULL, 0) == -EPERM);
	STEP(sandbox_become(SOME_UID, SOME_GID + 1, NULL, 0) == -EPERM);
	return 0;
}

static int become_with_cap(void *arg)
{
	static const int caps[] = { CAP_DAC_READ_SEARCH };
	char text[4096];
	ssize_t n;

	STEP(sandbox_basics() == 0);
	STEP(sandbox_become(SOME_UID, SOME_GID, caps, 1) == 0);
	cleanup_fd int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	STEP(fd >= 0);
	STEP((n = read(fd, text, sizeof(text) - 1)) > 0);
	text[n] = '\0';
	STEP(strstr(text, "CapInh:\t0000000000000000\n") != NULL);
	STEP(strstr(text, "CapPrm:\t0000000000000004\n") != NULL);
	STEP(strstr(text, "CapEff:\t0000000000000004\n") != NULL);
	STEP(strstr(text, "CapBnd:\t0000000000000000\n") != NULL);
	STEP(strstr(text, "CapAmb:\t0000000000000000\n") != NULL);
	STEP(opens("/etc/shadow", O_RDONLY));
	STEP(!opens("/etc/shadow", O_WRONLY) && errno == EACCES);
	STEP(setuid(0) < 0);
	return 0;
}

/* A capability that leads back to root is refused. */
static int become_with_way_back(void *arg)
{
	static const int caps[] = { CAP_SETUID };

	STEP(sandbox_become(SOME_UID, SOME_GID, caps, 1) == -EPERM);
	return 0;
}

static int become_as_user(void *arg)
{
	if (geteuid() == 0)
		STEP(setgroups(0, NULL) == 0 && setresgid(SOME_GID, SOME_GID, SOME_GID) == 0 &&
			setresuid(SOME_UID, SOME_UID, SOME_UID) == 0);
	STEP(sandbox_basics() == 0);
	STEP(sandbox_become(geteuid(), getegid(), NULL, 0) == 0);
	STEP(sandbox_become(geteuid() + 1, getegid(), NULL, 0) == -EPERM);
	STEP(sandbox_become(0, 0, NULL, 0) == -EPERM);
	STEP(sandbox_chroot_empty(dir) == 0);
	STEP(access("/proc", F_OK) == 0);
	return 0;
}

static void test_sandbox_becomes_another_user_for_good(void)
{
	check(passed(become_as_user, NULL));
	if (geteuid() != 0)
		return;
	check(passed(become, NULL));
	check(passed(become_with_cap, NULL));
	check(passed(become_with_way_back, NULL));
}

static int empty_root(void *arg)
{
	STEP(sandbox_chroot_empty(dir) == 0);
	STEP(access("/etc", F_OK) < 0 && errno == ENOENT);
	STEP(open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 && errno == ENOENT);
	STEP(mkdir("/sub", 0700) < 0 && errno == ENOENT);
	STEP(access("..", F_OK) == 0 && access("../etc", F_OK) < 0);
	return 0;
}

static void test_sandbox_root_is_empty_and_stays_so(void)
{
	if (geteuid() != 0)
		return;
	check(passed(empty_root, NULL));
	check(rmdir(in_dir("inner")) < 0);
	/* Nothing is left behind, or main() could not remove the directory. */
}

/* ---- Landlock ---- */

static int landlock_paths(void *arg)
{
	const struct sandbox_path paths[] = {
		{ in_dir("rw"), SANDBOX_READ | SANDBOX_WRITE },
		{ in_dir("ro"), SANDBOX_READ },
		{ in_dir("one-file"), SANDBOX_READ | SANDBOX_WRITE },
		{ in_dir("not-there"), SANDBOX_READ },
	};

	STEP(sandbox_basics() == 0);
	STEP(sandbox_landlock(paths, 4) == 0);
	STEP(opens(in_dir("rw/new/a"), O_CREAT | O_RDWR));
	/* What a Maildir does: from new/ to cur/. */
	STEP(rename(in_dir("rw/new/a"), in_dir("rw/cur/a:2,S")) == 0);
	STEP(link(in_dir("rw/cur/a:2,S"), in_dir("rw/new/b")) == 0);
	STEP(truncate(in_dir("rw/new/b"), 10) == 0);
	STEP(unlink(in_dir("rw/new/b")) == 0 && unlink(in_dir("rw/cur/a:2,S")) == 0);
	STEP(mkdir(in_dir("rw/.Sent"), 0700) == 0 && rmdir(in_dir("rw/.Sent")) == 0);
	STEP(symlink("x", in_dir("rw/link")) < 0 && errno == EACCES);
	STEP(opens(in_dir("ro/file"), O_RDONLY));
	STEP(opens(in_dir("ro"), O_RDONLY | O_DIRECTORY));
	STEP(!opens(in_dir("ro/file"), O_WRONLY) && errno == EACCES);
	STEP(!opens(in_dir("ro/other"), O_CREAT | O_WRONLY) && errno == EACCES);
	STEP(rename(in_dir("ro/file"), in_dir("rw/file")) < 0);
	STEP(opens(in_dir("one-file"), O_RDWR | O_TRUNC));
	STEP(!opens(dir, O_RDONLY) && errno == EACCES);
	STEP(!opens("/etc/passwd", O_RDONLY) && errno == EACCES);
	return 0;
}

static int landlock_nothing(void *arg)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	STEP(fd >= 0);
	STEP(sandbox_basics() == 0);
	STEP(sandbox_landlock(NULL, 0) == 0);
	STEP(!opens("/", O_RDONLY) && errno == EACCES);
	STEP(!opens("/etc/passwd", O_RDONLY) && errno == EACCES);
	STEP(!opens(in_dir("rw/x"), O_CREAT | O_RDWR) && errno == EACCES);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin.sin_port = htons(9);
	STEP(connect(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0);
	/* ABI 4 on; an older kernel says that nobody listens there. */
	STEP(errno == EACCES || errno == ECONNREFUSED);
	return 0;
}

static void test_sandbox_landlock_leaves_the_named_paths(void)
{
	check(passed(landlock_paths, NULL));
	check(passed(landlock_nothing, NULL));
}

/* ---- seccomp: what is refused ---- */

static int enter(enum sandbox_profile profile)
{
	STEP(sandbox_basics() == 0);
	if (geteuid() == 0 && profile != SANDBOX_IMAP)
		STEP(sandbox_become(SOME_UID, SOME_GID, NULL, 0) == 0);
	STEP(sandbox_seccomp(profile) == 0);
	return 0;
}

static void try_open(void)		{ opens("/etc/passwd", O_RDONLY); }
static void try_open_write(void)	{ opens(in_dir("x"), O_CREAT | O_WRONLY); }
static void try_stat(void)		{ struct stat st; stat("/etc", &st); }
static void try_unlink(void)		{ unlink(in_dir("x")); }
static void try_inet(void)		{ socket(AF_INET, SOCK_STREAM, 0); }
static void try_unix_stream(void)	{ socket(AF_UNIX, SOCK_STREAM, 0); }
static void try_unix_packet(void)	{ socket(AF_UNIX, SOCK_SEQPACKET, 0); }
static void try_connect(void)
{
	struct sockaddr sa = { .sa_family = AF_UNIX };
	connect(0, &sa, sizeof(sa));
}
static void try_bind(void)
{
	struct sockaddr sa = { .sa_family = AF_UNIX };
	bind(0, &sa, sizeof(sa));
}
static void try_fork(void)
{
	/* Bare: a sanitizer's or libc's fork() does more. */
	if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
		_exit(0);
}
static void try_clone3(void)		{ syscall(SYS_clone3, NULL, 0); }
static void try_exec(void)
{
	char *argv[] = { (char *)"true", NULL };
	execv("/bin/true", argv);
}
static void try_ptrace(void)		{ syscall(SYS_ptrace, 0, 0, 0, 0); }
static void try_io_uring(void)		{ syscall(SYS_io_uring_setup, 1, NULL); }
static void try_by_handle(void)		{ syscall(SYS_open_by_handle_at, 0, NULL, 0); }
static void try_exec_memory(void)
{
	mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void try_kill(void)		{ syscall(SYS_kill, getppid(), SIGTERM); }
static void try_signal(void)		{ syscall(SYS_tgkill, getppid(), getppid(), SIGTERM); }
static void try_setuid(void)		{ syscall(SYS_setresuid, 0, 0, 0); }
static void try_dumpable(void)		{ prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
static void try_watch(void)		{ inotify_init1(0); }
static void try_lock(void)		{ fence_lock(0); }
static void try_own(void)		{ fcntl(0, F_SETOWN, getpid()); }
static void try_tty(void)		{ ioctl(0, TIOCSTI, "x"); }
static void try_accept(void)		{ accept4(0, NULL, NULL, 0); }
static void try_readdir(void)		{ syscall(SYS_getdents64, 0, NULL, 0); }
static void try_limit(void)
{
	struct rlimit rl;
	syscall(SYS_prlimit64, getppid(), RLIMIT_NOFILE, NULL, &rl);
}

static const struct refusal {
	unsigned profiles;	/* that refuse it */
	void (*try)(void);
	const char *name;	/* as the log must say */
} refusals[] = {
	{ FEW, try_open, "openat" },
	{ NOT_IMAP, try_open_write, "openat" },
	{ FEW, try_stat, "newfstatat" },
	{ NOT_IMAP, try_unlink, "unlink" },
	{ EVERY, try_inet, "socket" },
	{ FEW | 1u << SANDBOX_IMAP, try_unix_stream, "socket" },
	{ FEW, try_unix_packet, "socket" },
	{ FEW, try_connect, "connect" },
	{ EVERY, try_bind, "bind" },
	{ EVERY, try_fork, "clone" },
	{ FEW | 1u << SANDBOX_IMAP, try_clone3, "clone3" },
	{ EVERY, try_exec, "execve" },
	{ EVERY, try_ptrace, "ptrace" },
	{ EVERY, try_io_uring, "io_uring_setup" },
	{ EVERY, try_by_handle, "open_by_handle_at" },
	{ FEW | 1u << SANDBOX_IMAP, try_exec_memory, "mmap" },
	{ EVERY, try_kill, "kill" },
	{ EVERY, try_signal, "tgkill" },
	{ NOT_IMAP, try_setuid, "setresuid" },
	{ EVERY, try_dumpable, "prctl" },
	{ EVERY & ~(1u << SANDBOX_HOLDER), try_watch, "inotify_init1" },
	{ 1u << SANDBOX_KEEPER | 1u << SANDBOX_AUTH, try_lock, "fcntl" },
	{ EVERY, try_own, "fcntl" },
	{ EVERY, try_tty, "ioctl" },
	{ 1u << SANDBOX_AUTH | 1u << SANDBOX_IMAP, try_accept, "accept4" },
	{ FEW, try_readdir, "getdents64" },
	{ EVERY, try_limit, "prlimit64" },
};

struct attempt {
	enum sandbox_profile profile;
	const struct refusal *refusal;
};

static int attempt(void *arg)
{
	const struct attempt *a = arg;

	if (enter(a->profile) != 0)
		return 1;
	a->refusal->try();
	return 42;
}

static void test_sandbox_refuses_and_says_what(void)
{
	for (size_t i = 0; i < UNIT_COUNT(refusals); i++) {
		for (size_t p = 0; p < UNIT_COUNT(profiles); p++) {
			struct attempt a = { profiles[p], &refusals[i] };
			bool refused = refusals[i].profiles & (1u << profiles[p]);
			char line[64];
			struct child c;

			child_run(&c, attempt, &a);
			snprintf(line, sizeof(line), ": refused syscall=%s pid=",
				refusals[i].name);
			check_row(c.status == (refused ? SANDBOX_EXIT_REFUSED : 42),
				i * 10 + profiles[p]);
			check_row((strstr(c.text, line) != NULL) == refused,
				i * 10 + profiles[p]);
		}
	}
}

static int without_no_new_privs(void *arg)
{
	STEP(sandbox_seccomp(SANDBOX_KEEPER) == -EPERM);
	STEP(opens("/etc/passwd", O_RDONLY));
	return 0;
}

static void test_sandbox_filter_wants_no_new_privs(void)
{
	check(passed(without_no_new_privs, NULL));
}

static int filter_then_child(void *arg)
{
	pid_t pid;
	int status;

	/* As the zygote does: compile once, load in the child. */
	STEP(sandbox_basics() == 0);
	STEP(sandbox_seccomp_prepare(SANDBOX_IMAP) == 0);
	STEP((pid = fork()) >= 0);
	if (pid == 0)
		_exit(sandbox_seccomp(SANDBOX_IMAP) == 0 &&
			prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ? 1 : 2);
	STEP(waitpid(pid, &status, 0) == pid);
	/* PR_GET_SECCOMP is not on the list: the filter is there. */
	STEP(WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_REFUSED);
	/* And it is not here. */
	STEP(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0);
	return 0;
}

static void test_sandbox_filter_is_compiled_ahead(void)
{
	check(passed(filter_then_child, NULL));
}

static int die_by_assert(void *arg)
{
	enum sandbox_profile *profile = arg;

	if (enter(*profile) != 0)
		return 1;
	abort();
}

static void test_sandbox_lets_a_program_abort(void)
{
	for (size_t p = 0; p < UNIT_COUNT(profiles); p++) {
		enum sandbox_profile profile = profiles[p];
		struct child c;

		child_run(&c, die_by_assert, &profile);
		check_row(c.status == 1000 + SIGABRT, p);
	}
}

/* ---- seccomp: what each program needs ---- */

/* Messages, the loop, memory, time: common to all. */
static int use_common(const int pair[2])
{
	struct ipc_out *out = ipc_out_create(3);
	struct epoll_event ev = { .events = EPOLLIN };
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	struct pollfd pfd = { .fd = pair[1], .events = POLLIN };
	struct timespec ts;
	struct ipc_in *in;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	sigset_t set;
	int fd, unread;
	struct stat st;
	uint64_t ticks;

	STEP(out != NULL);
	ipc_out_fd(out, pair[0]);
	STEP(ipc_send_free(pair[0], &out) == 0);
	STEP(poll(&pfd, 1, 0) == 1);
	STEP(ipc_recv(pair[1], &in) == 0);
	STEP((fd = ipc_in_fd(in)) >= 0);
	ipc_in_destroy(&in);
	STEP(fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode));
	STEP((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	STEP(ipc_set_blocking(fd, false) == 0);
	STEP(ioctl(fd, FIONREAD, &unread) == 0);
	STEP(ipc_set_passcred(fd) == 0);
	STEP(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0);
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 20);

	STEP(copy >= 20);
	close(copy);
	STEP(shutdown(fd, SHUT_RDWR) == 0);
	close(fd);
	STEP((fd = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	STEP(timer >= 0 && timerfd_settime(timer, 0, &soon, NULL) == 0);
	STEP(epoll_ctl(fd, EPOLL_CTL_ADD, timer, &ev) == 0);
	STEP(epoll_wait(fd, &ev, 1, 1000) == 1);
	STEP(read(timer, &ticks, sizeof(ticks)) == sizeof(ticks));
	STEP(epoll_pwait(fd, &ev, 1, 0, NULL) == 0);
	close(timer);
	close(fd);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	STEP(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	STEP((fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) >= 0);
	close(fd);
	STEP((fd = eventfd(0, EFD_CLOEXEC)) >= 0);
	close(fd);
	STEP(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	for (size_t size = 16; size < 8u << 20; size *= 3) {
		char *p = malloc(size);

		STEP(p != NULL);
		memset(p, 1, size);
		p = realloc(p, size * 2);
		STEP(p != NULL);
		free(p);
	}
	STEP(prctl(PR_SET_NAME, "test", 0, 0, 0) == 0);
	log_info("sandbox", "user=%s", log_str("an na"));
	fprintf(stderr, "printed\n");
	return 0;
}

static int keeper(void *arg)
{
	struct ipc_cred cred;
	int pair[2], listener, conn, client;

	STEP(ipc_pair(pair) == 0);
	STEP(ipc_listen(in_dir("keeper"), 0666, 5, &listener) == 0);
	STEP(ipc_connect(in_dir("keeper"), &client) == 0);
	if (enter(SANDBOX_KEEPER) != 0)
		return 1;
	STEP(use_common(pair) == 0);
	STEP(ipc_accept(listener, &conn) == 0);
	STEP(ipc_peer_cred(conn, &cred) == 0);
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	STEP(fd >= 0);
	return 0;
}

/* A TCP connection to this process; returns our side. */
static int tcp_pair(int *peer_r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int us;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&sin, len) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&sin, &len) < 0)
		return -1;
	*peer_r = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(*peer_r, (struct sockaddr *)&sin, len) < 0)
		return -1;
	us = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	return us;
}

static int use_fence(int fd)
{
	struct fence_counts at;
	uint64_t cookie;

	STEP(fence_lock(fd) == 0);
	STEP(fence_read(fd, &at, NULL) == 0);
	STEP(fence_look(fd, &at, 0, NULL) == FENCE_GOOD);
	STEP(fence_cookie(fd, &cookie) == 0);
	STEP(fence_owner(fd) == 0);
	STEP(fence_unlock(fd) == 0);
	return 0;
}

/* The library's way: select(), FIONREAD, read(); lstat() before each add. */
static int use_inotify(int fd, int dirfd)
{
	struct timeval now = { 0, 0 };
	char path[64], buf[4096];
	struct statfs fs;
	struct stat st;
	fd_set set;
	int unread, wd;

	STEP((fcntl(dirfd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	STEP(fstatfs(dirfd, &fs) == 0);
	STEP(lstat("/nowhere", &st) < 0 && errno == ENOENT);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
	STEP((wd = inotify_add_watch(fd, path, IN_DELETE_SELF | IN_CREATE)) >= 0);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	STEP(select(fd + 1, &set, NULL, NULL, &now) == 0);
	STEP(ioctl(fd, FIONREAD, &unread) == 0 && unread == 0);
	STEP(read(fd, buf, sizeof(buf)) < 0 && errno == EAGAIN);
	STEP(inotify_rm_watch(fd, wd) == 0);
	return 0;
}

/* The directory belongs to another and is closed to us: the capability and
 * the descriptor let it be watched, and nothing lets it be read. */
static int holder(void *arg)
{
	static const int caps[] = { CAP_DAC_READ_SEARCH };
	int pair[2], more[2], peer, us, watch;
	size_t size = 4096;
	char *map;

	STEP(ipc_pair(pair) == 0);
	STEP((us = tcp_pair(&peer)) >= 0);
	cleanup_fd int dirfd = open(in_dir("closed"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	STEP(dirfd >= 0);
	STEP(sandbox_basics() == 0);
	if (geteuid() == 0)
		STEP(sandbox_become(SOME_UID, SOME_GID, caps, 1) == 0);
	STEP(sandbox_landlock(NULL, 0) == 0);
	STEP(sandbox_seccomp(SANDBOX_HOLDER) == 0);
	STEP(use_common(pair) == 0);
	STEP(use_fence(us) == 0);
	STEP((watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) >= 0);
	STEP(use_inotify(watch, dirfd) == 0);
	/* The reply channel and the table. */
	STEP(ipc_pair(more) == 0);
	cleanup_fd int table = memfd_create("table", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	STEP(table >= 0 && ftruncate(table, (off_t)size) == 0);
	STEP((map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, table, 0)) != MAP_FAILED);
	map[0] = 1;
	STEP(ftruncate(table, (off_t)size * 4) == 0);
	STEP((map = mremap(map, size, size * 4, MREMAP_MAYMOVE)) != MAP_FAILED);
	map[size * 3] = 1;
	STEP(munmap(map, size * 4) == 0);
	STEP(send(us, "keepalive", 9, MSG_NOSIGNAL | MSG_DONTWAIT) == 9);
	STEP(write(us, "keepalive", 9) == 9);
	STEP(ioctl(us, SIOCOUTQ, &watch) == 0);
	return 0;
}

static int login(void *arg)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int pair[2], peer, us;

	STEP(ipc_pair(pair) == 0);
	STEP((us = tcp_pair(&peer)) >= 0);
	if (geteuid() == 0)
		STEP(sandbox_chroot_empty(dir) == 0);
	if (enter(SANDBOX_LOGIN) != 0)
		return 1;
	STEP(use_common(pair) == 0);
	STEP(use_fence(us) == 0);
	STEP(getpeername(us, (struct sockaddr *)&ss, &len) == 0);
	STEP(accept4(pair[0], NULL, NULL, SOCK_CLOEXEC) < 0 && errno == EINVAL);
	STEP(writev(us, &(struct iovec){ (void *)"x", 1 }, 1) == 1);
	return 0;
}

static void *thread(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static int auth(void *arg)
{
	int pair[2], ran = 0;
	pthread_t tid;
	struct stat st;

	STEP(ipc_pair(pair) == 0);
	if (enter(SANDBOX_AUTH) != 0)
		return 1;
	STEP(use_common(pair) == 0);
	FILE *f = fopen("/etc/passwd", "re");

	STEP(f != NULL);
	STEP(fgetc(f) != EOF);
	fclose(f);
	STEP(stat("/etc/passwd", &st) == 0);
	STEP(getpwnam("root") != NULL);
	STEP(pthread_create(&tid, NULL, thread, &ran) == 0);
	STEP(pthread_join(tid, NULL) == 0 && ran == 1);
	return 0;
}

static int sql(sqlite3 *db, const char *text)
{
	char *error = NULL;
	int ret = sqlite3_exec(db, text, NULL, NULL, &error);

	if (ret != SQLITE_OK)
		dprintf(STDERR_FILENO, "%s: %s\n", text, error);
	sqlite3_free(error);
	return ret;
}

static int use_index(const char *path)
{
	sqlite3 *db, *second;

	STEP(sqlite3_open(path, &db) == SQLITE_OK);
	STEP(sql(db, "PRAGMA journal_mode=WAL") == 0);
	STEP(sql(db, "PRAGMA synchronous=FULL") == 0);
	STEP(sql(db, "PRAGMA mmap_size=1048576") == 0);
	STEP(sql(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)") == 0);
	STEP(sql(db, "CREATE VIRTUAL TABLE f USING fts5(x)") == 0);
	STEP(sqlite3_open(path, &second) == SQLITE_OK);
	STEP(sql(db, "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(randomblob(100000)); COMMIT") == 0);
	STEP(sql(second, "BEGIN IMMEDIATE; INSERT INTO t(b) SELECT b FROM t; COMMIT") == 0);
	STEP(sql(second, "PRAGMA wal_checkpoint(TRUNCATE)") == 0);
	STEP(sql(db, "DELETE FROM t; VACUUM") == 0);
	STEP(sqlite3_close(second) == SQLITE_OK);
	STEP(sqlite3_close(db) == SQLITE_OK);
	/* A second time, as the next session finds it. */
	STEP(sqlite3_open(path, &db) == SQLITE_OK);
	STEP(sql(db, "SELECT count(*) FROM t") == 0);
	STEP(sqlite3_close(db) == SQLITE_OK);
	return 0;
}

static int use_maildir(const char *home)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = 1000 } };
	struct flock lock = { .l_type = F_WRLCK };
	struct statfs fs;
	struct stat st;
	DIR *d;
	int n = 0;

	cleanup_fd int h = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	STEP(h >= 0);
	STEP(mkdirat(h, "tmp", 0700) == 0 && mkdirat(h, "new", 0700) == 0);
	STEP(mkdir(in_dir("home/cur"), 0700) == 0);
	cleanup_fd int f = openat(h, "tmp/m", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	STEP(f >= 0);
	STEP(fcntl(f, F_SETLKW, &lock) == 0);
	STEP(fcntl(f, F_OFD_GETLK, &lock) == 0 || errno == EINVAL);
	STEP(write(f, "mail", 4) == 4 && pwrite(f, "M", 1, 0) == 1);
	STEP(ftruncate(f, 3) == 0 && lseek(f, 0, SEEK_END) == 3);
	STEP(posix_fallocate(f, 0, 100) == 0);
	STEP(fsync(f) == 0 && fdatasync(f) == 0);
	STEP(futimens(f, times) == 0 && utimensat(h, "tmp/m", times, 0) == 0);
	STEP(fchmod(f, 0600) == 0 && fchown(f, (uid_t)-1, (gid_t)-1) == 0);
	STEP(renameat(h, "tmp/m", h, "new/m") == 0);
	STEP(linkat(h, "new/m", h, "cur/m:2,", 0) == 0);
	STEP(renameat2(h, "new/m", h, "new/o", RENAME_NOREPLACE) == 0);
	STEP(unlinkat(h, "new/o", 0) == 0 && unlink(in_dir("home/cur/m:2,")) == 0);
	STEP(rmdir(in_dir("home/tmp")) == 0 && unlinkat(h, "new", AT_REMOVEDIR) == 0);
	STEP(fstat(f, &st) == 0 && stat(home, &st) == 0 && lstat(home, &st) == 0);
	STEP(fstatat(h, "cur", &st, 0) == 0 && access(home, R_OK) == 0);
	STEP(faccessat(h, "cur", F_OK, 0) == 0);
	struct statx stx;
	STEP(statx(h, "cur", 0, STATX_BTIME, &stx) == 0);
	STEP(statfs(home, &fs) == 0 && fstatfs(h, &fs) == 0);
	STEP((d = opendir(home)) != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	STEP(n >= 3);
	STEP(rmdir(in_dir("home/cur")) == 0);
	return 0;
}

static int imap(void *arg)
{
	const struct sandbox_path paths[] = {
		{ in_dir("home"), SANDBOX_READ | SANDBOX_WRITE },
	};
	uint8_t random[16];
	int pair[2], peer, us, fd;

	STEP(ipc_pair(pair) == 0);
	STEP((us = tcp_pair(&peer)) >= 0);
	STEP(sandbox_basics() == 0);
	/* The filter first; the user's name is known only later. */
	STEP(sandbox_seccomp(SANDBOX_IMAP) == 0);
	STEP(use_common(pair) == 0);
	STEP(use_fence(us) == 0);
	STEP(sandbox_drop_bounding() == 0);
	if (geteuid() == 0)
		STEP(sandbox_become(SOME_UID, SOME_GID, NULL, 0) == 0);
	STEP(sandbox_landlock(paths, 1) == 0);
	STEP(use_maildir(in_dir("home")) == 0);
	STEP(use_index(in_dir("home/index.db")) == 0);
	STEP(ipc_connect(in_dir("holder"), &fd) == 0);
	STEP(ipc_send_raw(fd, "x", 1, &us, 1) == 0);
	STEP(syscall(SYS_getrandom, random, sizeof(random), 0) == sizeof(random));
	STEP(!opens("/etc/passwd", O_RDONLY) && errno == EACCES);
	STEP(!opens(in_dir("ro/file"), O_RDONLY) && errno == EACCES);
	return 0;
}

static void test_sandbox_keeper_can_do_its_work(void)
{
	check(passed(keeper, NULL));
	unlink(in_dir("keeper"));
}

static void test_sandbox_holder_can_do_its_work(void)
{
	check(passed(holder, NULL));
}

static void test_sandbox_login_can_do_its_work(void)
{
	check(passed(login, NULL));
}

static void test_sandbox_auth_can_do_its_work(void)
{
	check(passed(auth, NULL));
}

static void test_sandbox_imap_can_do_its_work(void)
{
	int listener;

	require(ipc_listen(in_dir("holder"), 0666, 5, &listener) == 0);
	check(passed(imap, NULL));
	close(listener);
	unlink(in_dir("holder"));
}

/* ---- the place for it all ---- */

static const char *const folders[] = { "rw", "rw/new", "rw/cur", "ro", "home", "closed" };
static const char *const files[] = { "ro/file", "one-file", "home/index.db" };

static bool place_make(void)
{
	strcpy(dir, "/tmp/test-sandbox-XXXXXX");
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0)
		return false;
	for (size_t i = 0; i < UNIT_COUNT(folders); i++)
		if (mkdir(in_dir(folders[i]), 0700) < 0)
			return false;
	for (size_t i = 0; i < 2; i++)
		if (!opens(in_dir(files[i]), O_CREAT | O_WRONLY))
			return false;
	if (geteuid() == 0)
		return chown(in_dir("home"), SOME_UID, SOME_GID) == 0;
	return true;
}

static void place_remove(void)
{
	unlink(in_dir("x"));	/* written by a row of the refusals */
	for (size_t i = 0; i < UNIT_COUNT(files); i++)
		unlink(in_dir(files[i]));
	for (size_t i = UNIT_COUNT(folders); i-- > 0;)
		rmdir(in_dir(folders[i]));
	if (rmdir(dir) < 0)
		perror(dir);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_sandbox_basics),
		UNIT_TEST(test_sandbox_becomes_another_user_for_good),
		UNIT_TEST(test_sandbox_root_is_empty_and_stays_so),
		UNIT_TEST(test_sandbox_landlock_leaves_the_named_paths),
		UNIT_TEST(test_sandbox_refuses_and_says_what),
		UNIT_TEST(test_sandbox_filter_wants_no_new_privs),
		UNIT_TEST(test_sandbox_filter_is_compiled_ahead),
		UNIT_TEST(test_sandbox_lets_a_program_abort),
		UNIT_TEST(test_sandbox_keeper_can_do_its_work),
		UNIT_TEST(test_sandbox_holder_can_do_its_work),
		UNIT_TEST(test_sandbox_login_can_do_its_work),
		UNIT_TEST(test_sandbox_auth_can_do_its_work),
		UNIT_TEST(test_sandbox_imap_can_do_its_work),
	};
	int ret;

	if (!place_make())
		return EXIT_FAILURE;
	/* Opened before any sandbox, as in every program. */
	log_open("test-sandbox", LOG_TO_STDERR, LOG_L_INFO);
	ret = unit_run("sandbox", tests, UNIT_COUNT(tests));
	place_remove();
	return ret;
}
