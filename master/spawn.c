/* SPDX-License-Identifier: MIT */
/* fork() and not posix_spawn(): who starts programs here is small, and the
 * descriptors need more care than file actions give. A close-on-exec pipe
 * tells why exec failed. */
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define SPAWN_FIRST_FD	3
#define SPAWN_ARGS_MAX	32

/* What a program may know of the surroundings. */
#define NOTIFY_VARIABLES	2
static const char *const kept_variables[] = {
	"NOTIFY_SOCKET", "WATCHDOG_USEC",	/* with spawn.notify only */
	"TZ",
#ifdef DORMOUSE_FAULTS
	"FAULTS", "FAULTS_FILE", "DORMOUSE_CORE",
#endif
#ifdef DORMOUSE_SANITIZED
	"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "ASAN_SYMBOLIZER_PATH",
#endif
};
#define KEPT_VARIABLES	(sizeof(kept_variables) / sizeof(kept_variables[0]))

static int environment_reduce(bool notify)
{
	char *values[KEPT_VARIABLES] = { NULL };
	int ret = 0;

	for (size_t i = notify ? 0 : NOTIFY_VARIABLES; i < KEPT_VARIABLES; i++) {
		const char *value = getenv(kept_variables[i]);

		values[i] = value ? strdup(value) : NULL;
	}
	if (clearenv() != 0)
		return -ENOMEM;
	if (setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1) < 0 ||
	    setenv("LANG", "C", 1) < 0)
		ret = -errno;
	for (size_t i = 0; i < KEPT_VARIABLES; i++) {
		if (values[i] && setenv(kept_variables[i], values[i], 1) < 0)
			ret = -errno;
		free(values[i]);
	}
	return ret;
}

/* Every descriptor to its number. First all go above the numbers in question,
 * so that no move steps on one that is still needed. */
static int descriptors_arrange(const struct spawn *sp, int *error_fd, int *exe_fd)
{
	int high[SPAWN_FDS_MAX], floor = SPAWN_FIRST_FD + (int)sp->n_fds + 1;

	*exe_fd = sp->binaries->fd[sp->program];
	if (*exe_fd < 0)
		return -ENOENT;
	*exe_fd = fcntl(*exe_fd, F_DUPFD_CLOEXEC, floor);
	if (*exe_fd < 0)
		return -errno;
	if (*error_fd >= 0) {
		int high_fd = fcntl(*error_fd, F_DUPFD_CLOEXEC, floor);

		if (high_fd < 0)
			return -errno;
		*error_fd = high_fd;
	}
	for (unsigned i = 0; i < sp->n_fds; i++) {
		high[i] = fcntl(sp->fds[i] >= 0 ? sp->fds[i] : STDIN_FILENO,
				F_DUPFD_CLOEXEC, floor);
		if (high[i] < 0)
			return -errno;
	}
	for (unsigned i = 0; i < sp->n_fds; i++) {
		int to = SPAWN_FIRST_FD + (int)i;

		if (dup2(high[i], to) < 0)	/* not close-on-exec */
			return -errno;
	}
	/* All else is close-on-exec already; this is the net below it. */
	close_range((unsigned)floor, ~0u, CLOSE_RANGE_CLOEXEC);
	close(floor - 1);
	return 0;
}

static void signals_reset(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* /dev/null, which also stands in for descriptors that there are none of. */
static int stdin_close(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fd != STDIN_FILENO) {
		if (dup2(fd, STDIN_FILENO) < 0)
			return -errno;
		close(fd);
		return 0;
	}
	return fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
}

/* A script is opened by its interpreter once more, by this number. */
static void script_pass_on(int exe_fd)
{
	char magic[2];

	if (pread(exe_fd, magic, 2, 0) == 2 && magic[0] == '#' && magic[1] == '!')
		fcntl(exe_fd, F_SETFD, 0);
}

/* Returns only if the program could not be started. */
static int exec_program(const struct spawn *sp, int *error_fd)
{
	const char *argv[SPAWN_ARGS_MAX + 2] = { binary_name(sp->program) };
	int exe_fd, ret;

	for (size_t i = 0; sp->args && sp->args[i]; i++) {
		if (i == SPAWN_ARGS_MAX)
			return -E2BIG;
		argv[i + 1] = sp->args[i];
	}
	ret = stdin_close();
	if (ret == 0)
		ret = descriptors_arrange(sp, error_fd, &exe_fd);
	if (ret == 0)
		ret = environment_reduce(sp->notify);
	if (ret < 0)
		return ret;
	script_pass_on(exe_fd);
	execveat(exe_fd, "", (char *const *)argv, environ, AT_EMPTY_PATH);
	return -errno;
}

int spawn_become(const struct spawn *sp)
{
	int none = -1;

	/* Signals stay blocked: what is pending is the successor's. */
	return exec_program(sp, &none);
}

int spawn_program(const struct spawn *sp, pid_t *pid_r)
{
	int fds[2], error = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		setsid();
		signals_reset();
		error = exec_program(sp, &fds[1]);
		n = write(fds[1], &error, sizeof(error));
		_exit(n == sizeof(error) ? 127 : 126);
	}
	if (pid < 0)
		error = -errno;
	close(fds[1]);
	if (pid > 0) {
		do {
			n = read(fds[0], &error, sizeof(error));
		} while (n < 0 && errno == EINTR);
		if (n == sizeof(error))
			waitpid(pid, NULL, 0);
		else
			error = 0;
	}
	close(fds[0]);
	if (error == 0)
		*pid_r = pid;
	return error;
}

int spawn_own_dir(char *dir, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", dir, size - 1);
	char *slash;

	if (n < 0)
		return -errno;
	if ((size_t)n == size - 1)
		return -ENAMETOOLONG;
	dir[n] = '\0';
	/* A replaced executable reads "... (deleted)": its directory counts. */
	slash = strrchr(dir, '/');
	if (!slash)
		return -ENOENT;
	slash[slash == dir ? 1 : 0] = '\0';
	return 0;
}

bool spawn_fd_is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}
