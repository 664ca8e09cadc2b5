/* SPDX-License-Identifier: MIT */
/* seccomp: which system calls. One table says which profile may call what;
 * the few calls whose arguments matter have a function each below it. What is
 * in neither ends the process, with the call's name in the log.
 *
 * Never in any profile: exec, fork, ptrace, io_uring, open_by_handle_at,
 * mount, bpf, keyctl, kill. seccomp cannot look at a path, so what a file
 * call may touch is Landlock's business.
 *
 * A filter is compiled once per process and profile and then only loaded: the
 * zygote compiles IMAP's (sandbox_seccomp_prepare), its children, forked a
 * few hundred times a second when everybody wakes, pay for the load alone. */
#include "lib/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/sandbox-private.h"
#if SANDBOX_SANITIZED
#include <sanitizer/asan_interface.h>
#endif

/* ---- the table ---- */

#define K	(1u << SANDBOX_KEEPER)
#define H	(1u << SANDBOX_HOLDER)
#define L	(1u << SANDBOX_LOGIN)
#define A	(1u << SANDBOX_AUTH)
#define I	(1u << SANDBOX_IMAP)
#define ALL	(K | H | L | A | I)

struct rule {
	int nr;
	unsigned who;
};
#define ROW(name, who)	{ SCMP_SYS(name), (who) }

static const struct rule rules[] = {
	/* Bytes and messages over what is open already. */
	ROW(read, ALL), ROW(readv, ALL), ROW(write, ALL), ROW(writev, ALL),
	ROW(recvmsg, ALL), ROW(sendmsg, ALL), ROW(recvfrom, ALL), ROW(sendto, ALL),
	ROW(shutdown, ALL), ROW(getsockopt, ALL), ROW(setsockopt, ALL),
	ROW(getsockname, ALL), ROW(getpeername, ALL),
	ROW(close, ALL), ROW(close_range, ALL), ROW(fstat, ALL),
	ROW(accept4, K | H | L),
	ROW(dup, L | A | I), ROW(dup2, L | A | I), ROW(dup3, L | A | I),
	/* The loop. */
	ROW(epoll_create1, ALL), ROW(epoll_ctl, ALL), ROW(epoll_wait, ALL),
	ROW(epoll_pwait, ALL), ROW(epoll_pwait2, ALL), ROW(poll, ALL), ROW(ppoll, ALL),
	ROW(timerfd_create, ALL), ROW(timerfd_settime, ALL), ROW(timerfd_gettime, ALL),
	ROW(signalfd4, ALL), ROW(eventfd2, ALL),
	/* libinotifytools waits with select(). */
	ROW(select, H | A), ROW(pselect6, H | A),
	ROW(pidfd_open, K | H),
	/* Memory, time, signals, the end; what libc wants for itself. */
	ROW(mmap, A), ROW(mprotect, A), ROW(brk, ALL), ROW(munmap, ALL), ROW(mremap, ALL), ROW(madvise, ALL),
	ROW(futex, ALL), ROW(membarrier, ALL), ROW(sched_yield, ALL),
	ROW(sched_getaffinity, ALL), ROW(getcpu, ALL), ROW(sysinfo, ALL), ROW(uname, ALL),
	ROW(clock_gettime, ALL), ROW(clock_getres, ALL), ROW(clock_nanosleep, ALL),
	ROW(nanosleep, ALL), ROW(gettimeofday, ALL), ROW(time, ALL), ROW(getrandom, ALL),
	ROW(restart_syscall, ALL), ROW(rt_sigaction, ALL), ROW(rt_sigprocmask, ALL),
	ROW(rt_sigreturn, ALL), ROW(sigaltstack, ALL), ROW(exit, ALL), ROW(exit_group, ALL),
	ROW(getpid, ALL), ROW(gettid, ALL), ROW(getppid, ALL), ROW(getrusage, ALL),
	ROW(getrlimit, ALL), ROW(getuid, ALL), ROW(geteuid, ALL), ROW(getgid, ALL),
	ROW(getegid, ALL), ROW(getresuid, ALL), ROW(getresgid, ALL), ROW(getgroups, ALL),
	ROW(mlock, L | A | I), ROW(munlock, L | A | I),
	/* Threads of auth; none is made elsewhere. */
	ROW(set_robust_list, A), ROW(rseq, A),
	/* The table of sleepers. */
	ROW(memfd_create, H | I), ROW(ftruncate, H | I), ROW(fallocate, H | I),
	/* pread: imap-login, certificates in memfds. */
	ROW(pread64, H | L | A | I), ROW(pwrite64, H | I), ROW(lseek, H | A | I),
	ROW(fstatfs, H | A | I), ROW(msync, H | I),
	/* Watches. */
	ROW(inotify_init1, H), ROW(inotify_add_watch, H), ROW(inotify_rm_watch, H),
	ROW(lstat, H | A | I),
	/* Files to read. */
	ROW(stat, A | I), ROW(newfstatat, A | I), ROW(statx, A | I),
	ROW(access, A | I), ROW(faccessat, A | I), ROW(faccessat2, A | I), ROW(readlink, A | I), ROW(readlinkat, A | I),
	ROW(getdents64, A | I), ROW(statfs, A | I), ROW(getcwd, A | I),
	ROW(fadvise64, A | I), ROW(preadv, A | I), ROW(connect, A | I),
	/* Files to write. */
	ROW(open, I), ROW(openat, I), ROW(creat, I), ROW(pwritev, I), ROW(truncate, I),
	ROW(fsync, I), ROW(fdatasync, I), ROW(sync_file_range, I),
	ROW(copy_file_range, I), ROW(sendfile, I), ROW(readahead, I), ROW(mincore, I),
	ROW(rename, I), ROW(renameat, I), ROW(renameat2, I), ROW(link, I), ROW(linkat, I),
	ROW(unlink, I), ROW(unlinkat, I), ROW(mkdir, I), ROW(mkdirat, I), ROW(rmdir, I),
	ROW(chmod, I), ROW(fchmod, I), ROW(fchmodat, I), ROW(fchown, I), ROW(umask, I),
	ROW(utimensat, I), ROW(utime, I), ROW(utimes, I), ROW(futimesat, I),
	ROW(flock, I), ROW(chdir, I), ROW(fchdir, I),
	/* Becoming the user, after the filter is in place. */
	ROW(setgroups, I), ROW(setresgid, I), ROW(setresuid, I), ROW(capget, I),
	ROW(capset, I), ROW(landlock_create_ruleset, I), ROW(landlock_add_rule, I),
	ROW(landlock_restrict_self, I),
};

/* ---- calls whose arguments matter ---- */

/* One row allows the call when each test holds; several rows add up. */
struct arg_rule {
	int nr;
	unsigned who;
	unsigned n;
	struct {
		unsigned arg;
		uint32_t mask, value;
	} test[2];
};
#define WHOLE			UINT32_MAX
#define FCNTL(cmd, who)		{ SCMP_SYS(fcntl), (who), 1, { { 1, WHOLE, (cmd) } } }
#define IOCTL(req, who)		{ SCMP_SYS(ioctl), (who), 1, { { 1, WHOLE, (req) } } }
#define PRCTL(op, who)		{ SCMP_SYS(prctl), (who), 1, { { 0, WHOLE, (op) } } }
#define ONE(name, who, a, m, v)	{ SCMP_SYS(name), (who), 1, { { (a), (m), (v) } } }
#define RAISE(sig)		ONE(tgkill, ALL, 2, WHOLE, (sig))

#define SOCK_FLAGS		((uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK))
#define OPEN_WRITES		(O_ACCMODE | O_CREAT | O_TRUNC)
#define THREAD			(CLONE_VM | CLONE_THREAD | CLONE_SIGHAND)
#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS		1033
#define F_GET_SEALS		1034
#endif

static const struct arg_rule arg_rules[] = {
	/* The keeper never locks: closing its duplicates must never matter. */
	FCNTL(F_GETFD, ALL), FCNTL(F_SETFD, ALL), FCNTL(F_GETFL, ALL), FCNTL(F_SETFL, ALL),
	FCNTL(F_DUPFD_CLOEXEC, ALL), FCNTL(F_ADD_SEALS, H | I), FCNTL(F_GET_SEALS, ALL),
	FCNTL(F_SETLK, H | L | I), FCNTL(F_GETLK, H | L | I), FCNTL(F_SETLKW, I),
	FCNTL(F_OFD_SETLK, I), FCNTL(F_OFD_SETLKW, I), FCNTL(F_OFD_GETLK, I),
	IOCTL(FIONREAD, ALL), IOCTL(FIONBIO, ALL), IOCTL(SIOCOUTQ, ALL), IOCTL(TCGETS, ALL),

	PRCTL(PR_SET_NAME, ALL), PRCTL(PR_GET_NAME, ALL), PRCTL(PR_SET_PDEATHSIG, ALL),
	PRCTL(PR_GET_DUMPABLE, ALL), PRCTL(PR_GET_NO_NEW_PRIVS, ALL),
	PRCTL(PR_SET_NO_NEW_PRIVS, ALL), PRCTL(PR_SET_VMA, ALL),
	{ SCMP_SYS(prctl), ALL, 2, { { 0, WHOLE, PR_SET_DUMPABLE }, { 1, WHOLE, 0 } } },
	PRCTL(PR_SET_KEEPCAPS, I), PRCTL(PR_CAPBSET_READ, I), PRCTL(PR_CAPBSET_DROP, I),
	PRCTL(PR_CAP_AMBIENT, I),

	/* abort(), and a crash handler that dies by its signal. */
	RAISE(SIGABRT), RAISE(SIGSEGV), RAISE(SIGBUS), RAISE(SIGFPE), RAISE(SIGILL),
	RAISE(SIGSYS),
#if SANDBOX_TEST_BUILD
	RAISE(SIGKILL), RAISE(SIGSTOP),	/* fault points */
	ONE(kill, ALL, 1, WHOLE, SIGKILL),
#endif

	/* No new code, but for the modules of auth's libraries. */
	ONE(mmap, ALL & ~A, 2, PROT_EXEC, 0), ONE(mprotect, ALL & ~A, 2, PROT_EXEC, 0),

	/* libc's fstat() and, for the holder's library, lstat(). */
	ONE(newfstatat, K | H | L, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
	ONE(newfstatat, H, 3, WHOLE, AT_SYMLINK_NOFOLLOW),

	ONE(open, A, 1, OPEN_WRITES, O_RDONLY), ONE(openat, A, 2, OPEN_WRITES, O_RDONLY),
	ONE(clone, A, 0, THREAD, THREAD),

	/* Its limits are the process's own, and read or lowered at most. */
	ONE(prlimit64, ALL, 0, WHOLE, 0),

	/* How a program reaches its peers, or the system's name services. */
	ONE(socketpair, H, 0, WHOLE, AF_UNIX),
	ONE(socket, A, 0, WHOLE, AF_UNIX),
	{ SCMP_SYS(socket), I, 2, {
		{ 0, WHOLE, AF_UNIX }, { 1, ~SOCK_FLAGS, SOCK_SEQPACKET } } },
};

/* ---- compiling ---- */

static int table_add(scmp_filter_ctx ctx, unsigned who)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		int ret;

		if (!(rules[i].who & who))
			continue;
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rules[i].nr, 0);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int args_add(scmp_filter_ctx ctx, unsigned who)
{
	for (size_t i = 0; i < sizeof(arg_rules) / sizeof(arg_rules[0]); i++) {
		const struct arg_rule *r = &arg_rules[i];
		struct scmp_arg_cmp cmp[2];
		int ret;

		if (!(r->who & who))
			continue;
		/* 32 bits: these arguments are ints, their upper half is noise. */
		for (unsigned j = 0; j < r->n; j++)
			cmp[j] = (struct scmp_arg_cmp){
				.arg = r->test[j].arg, .op = SCMP_CMP_MASKED_EQ,
				.datum_a = r->test[j].mask, .datum_b = r->test[j].value,
			};
		ret = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, r->nr, r->n, cmp);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int filter_fill(scmp_filter_ctx ctx, unsigned who)
{
	int ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (ret == 0)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (ret == 0)
		ret = table_add(ctx, who);
	if (ret == 0)
		ret = args_add(ctx, who);
	/* libc makes threads with clone() where clone3() is unknown; the
	   flags of clone3() are in memory, out of the filter's sight. */
	if (ret == 0 && (who & A))
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return ret;
}

/* libseccomp writes a program only to a descriptor. */
static int filter_export(scmp_filter_ctx ctx, struct sock_fprog *prog)
{
	struct stat st;
	void *code;
	int ret;

	cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = seccomp_export_bpf(ctx, fd);
	if (ret < 0)
		return ret;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > BPF_MAXINSNS * (off_t)sizeof(struct sock_filter))
		return -E2BIG;
	code = malloc((size_t)st.st_size);
	if (code == NULL)
		return -ENOMEM;
	if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size) {
		free(code);
		return -EIO;
	}
	prog->filter = code;
	prog->len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
	return 0;
}

static struct sock_fprog prepared[SANDBOX_IMAP + 1];

static int filter_prepare(enum sandbox_profile profile)
{
	scmp_filter_ctx ctx;
	int ret;

	if (prepared[profile].filter != NULL)
		return 0;
	ctx = seccomp_init(SCMP_ACT_TRAP);
	if (ctx == NULL)
		return -ENOMEM;
	ret = filter_fill(ctx, 1u << profile);
	if (ret == 0)
		ret = filter_export(ctx, &prepared[profile]);
	seccomp_release(ctx);
	return ret;
}

/* ---- the refused call's name ---- */

/* Looked up beforehand: the handler may run inside malloc(). */
#define CALLS_MAX	512
#define CALL_NAME_MAX	28
static char (*call_names)[CALL_NAME_MAX];

static int names_prepare(void)
{
	if (call_names != NULL)
		return 0;
	call_names = calloc(CALLS_MAX, sizeof(*call_names));
	if (call_names == NULL)
		return -ENOMEM;
	for (int nr = 0; nr < CALLS_MAX; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

		if (name != NULL)
			snprintf(call_names[nr], CALL_NAME_MAX, "%s", name);
		free(name);
	}
	return 0;
}

struct line {
	char text[160];
	size_t len;
};

static void line_str(struct line *l, const char *s)
{
	while (*s != '\0' && l->len < sizeof(l->text))
		l->text[l->len++] = *s++;
}

static void line_number(struct line *l, unsigned v)
{
	char digits[12];
	size_t n = sizeof(digits);

	digits[--n] = '\0';
	do {
		digits[--n] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	line_str(l, digits + n);
}

#if SANDBOX_SANITIZED && defined(__x86_64__)
/* A sanitizer's report tries to open files and to fork; let it fail there and
 * go on, the report is worth more. */
static bool call_fails_instead(void *context)
{
	ucontext_t *uc = context;

	if (!__asan_report_present())
		return false;
	uc->uc_mcontext.gregs[REG_RAX] = -EACCES;
	return true;
}
#else
static bool call_fails_instead(void *context)
{
	return false;
}
#endif

static void call_refused(int sig, siginfo_t *info, void *context)
{
	struct line l = { .len = 0 };
	int nr = info->si_syscall;

	(void)sig;
	if (call_fails_instead(context))
		return;
	line_str(&l, program_invocation_short_name);
	line_str(&l, ": refused syscall=");
	if (nr >= 0 && nr < CALLS_MAX && call_names[nr][0] != '\0')
		line_str(&l, call_names[nr]);
	else
		line_number(&l, (unsigned)nr);
	line_str(&l, " pid=");
	line_number(&l, (unsigned)getpid());
	line_str(&l, "\n");
	if (write(STDERR_FILENO, l.text, l.len) < 0) {
		/* Nobody to tell. */
	}
	_exit(SANDBOX_EXIT_REFUSED);
}

static int handler_install(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_NODEFER };
	sigset_t set;

	sa.sa_sigaction = call_refused;
	sigemptyset(&sa.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	if (sigaction(SIGSYS, &sa, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
		return -errno;
	return 0;
}

/* ---- loading ---- */

int sandbox_seccomp_prepare(enum sandbox_profile profile)
{
	int ret = names_prepare();

	assert(profile <= SANDBOX_IMAP);
	return ret < 0 ? ret : filter_prepare(profile);
}

int sandbox_seccomp(enum sandbox_profile profile)
{
	int ret = sandbox_seccomp_prepare(profile);

	if (ret < 0)
		return ret;
	/* Root could load a filter without, and a program with set-user-id
	   bits would then run under it. */
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return -EPERM;
	ret = handler_install();
	if (ret < 0)
		return ret;
	ret = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_TSYNC, &prepared[profile]);
	if (ret < 0)
		return -errno;
	return ret == 0 ? 0 : -EBUSY;	/* a thread that cannot follow */
}
