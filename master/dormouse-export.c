/* SPDX-License-Identifier: MIT */
/* `dormouse export-uidlist`: finds the mail, becomes its owner, and leaves the
 * work to the program that knows mailboxes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/config.h"
#include "master/deliver.h"
#include "master/dormouse.h"
#include "master/owned-dir.h"
#include "master/recipient.h"

/* What the user may see of root's: he can trace the program that runs as him. */
static const char *const kept_variables[] = {
	"FAULTS", "FAULTS_FILE", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",
};

static int environment_reduce(void)
{
	char *values[sizeof(kept_variables) / sizeof(kept_variables[0])];
	size_t n = sizeof(values) / sizeof(values[0]);
	int ret = 0;

	for (size_t i = 0; i < n; i++) {
		const char *value = getenv(kept_variables[i]);

		values[i] = value ? strdup(value) : NULL;
	}
	if (clearenv() != 0 || setenv("PATH", "/usr/bin:/bin", 1) < 0 ||
	    setenv("LC_ALL", "C", 1) < 0)
		ret = -1;
	for (size_t i = 0; i < n; i++) {
		if (values[i] && setenv(kept_variables[i], values[i], 1) < 0)
			ret = -1;
		free(values[i]);
	}
	return ret;
}

/* Opened before the rights go: the user need not be able to reach it. */
static int program_fd = -1;

static int program_open(void)
{
	char program[PATH_MAX] = "export-uidlist";
	int ret = dormouse_program("export-uidlist", program, sizeof(program));

	if (ret < 0)
		return dormouse_fail("%s: %s", program, strerror(-ret));
	/* Above the numbers that the child's descriptors take. */
	program_fd = open(program, O_RDONLY | O_CLOEXEC);
	if (program_fd >= 0)
		program_fd = fcntl(program_fd, F_DUPFD_CLOEXEC, 10);
	return program_fd < 0 ? dormouse_fail("%s: %s", program, strerror(errno)) : 0;
}

/* Its own session, with pipes for descriptors: nothing of root's terminal,
 * which whoever traces it could read from and type into. */
static void run_child(const char *mail_dir, const char *index_dir, int out, int err)
{
	const char *argv[] = { "export-uidlist", mail_dir, index_dir, NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0 && setsid() >= 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 &&
	    environment_reduce() == 0 && dup2(null, 0) >= 0 && dup2(out, 1) >= 0 &&
	    dup2(err, 2) >= 0 && dup3(program_fd, 3, O_CLOEXEC) >= 0 &&
	    close_range(4, ~0u, 0) == 0)
		execveat(3, "", (char *const *)argv, environ, AT_EMPTY_PATH);
	dormouse_fail("export-uidlist: %s", strerror(errno));
	_exit(DORMOUSE_FAILED);
}

/* Its lines name the user's mailboxes; they go to a terminal, perhaps, which
 * takes U+0080 to U+009F for controls too. */
static bool pass_on(int from, FILE *to)
{
	static unsigned char before;
	unsigned char text[4096];
	ssize_t n = read(from, text, sizeof(text));

	for (ssize_t i = 0; i < n; i++) {
		unsigned char c = text[i];
		bool control = (c < 0x20 && c != '\n') || c == 0x7f ||
			       (before == 0xc2 && c >= 0x80 && c < 0xa0);

		putc(control ? '?' : c, to);
		before = c;
	}
	return n > 0 || (n < 0 && errno == EINTR);
}

static int run_parent(pid_t pid, int out, int err)
{
	struct pollfd p[] = { { .fd = out, .events = POLLIN }, { .fd = err, .events = POLLIN } };
	int status;

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[0].fd >= 0 && p[0].revents != 0 && !pass_on(p[0].fd, stdout))
			p[0].fd = -1;
		if (p[1].fd >= 0 && p[1].revents != 0 && !pass_on(p[1].fd, stderr))
			p[1].fd = -1;
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return DORMOUSE_FAILED;
	}
	if (WIFSIGNALED(status))
		return dormouse_fail("export-uidlist: ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static int run(const char *mail_dir, const char *index_dir)
{
	char own[PATH_MAX];
	int out[2], err[2];
	pid_t pid;

	if (!*index_dir) {
		if (snprintf(own, sizeof(own), "%s/.dormouse", mail_dir) >= (int)sizeof(own))
			return dormouse_fail("%s: %s", mail_dir, strerror(ENAMETOOLONG));
		index_dir = own;
	}
	if (access(mail_dir, R_OK | W_OK | X_OK) < 0)
		return dormouse_fail("%s: %s", mail_dir, strerror(errno));
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return dormouse_fail("export-uidlist: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return dormouse_fail("export-uidlist: %s", strerror(errno));
	if (pid == 0)
		run_child(mail_dir, index_dir, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	return run_parent(pid, out[0], err[0]);
}

static int export_dir(const char *dir)
{
	struct owned_dir found;
	struct recipient r = { 0 };
	int ret = recipient_of_dir(dir, &found, &r);

	if (ret == 0)
		ret = recipient_become(&r);
	return ret == 0 ? run(found.path, "") : ret;
}

static int export_user(const struct invocation *inv, const struct settings *s, const char *user)
{
	char mail_dir[PATH_MAX], index_dir[PATH_MAX] = "";
	struct recipient r = { 0 };
	int ret = recipient_ask(inv, user, s->base_dir, &r);

	if (ret == 0 && (deliver_mail_dir(s->mail, r.user, r.home, mail_dir,
					  sizeof(mail_dir)) < 0 ||
			 (*s->index_dir && deliver_mail_dir(s->index_dir, r.user, r.home, index_dir,
							    sizeof(index_dir)) < 0)))
		ret = dormouse_fail("%s: no mail directory can be made of mail = \"%s\" "
				    "and home \"%s\"", r.user, s->mail, r.home);
	if (ret == 0)
		ret = recipient_become(&r);
	return ret == 0 ? run(mail_dir, index_dir) : ret;
}

int cmd_export_uidlist(struct invocation *inv)
{
	const char *what = inv->argc > 0 ? inv->argv[0] : NULL;
	struct config config;
	int ret;

	if (!what == !inv->maildir)
		return dormouse_fail("export-uidlist: name a user or a directory");
	if (program_open() != 0)
		return DORMOUSE_FAILED;
	if (inv->maildir || strchr(what, '/'))
		return export_dir(inv->maildir ? inv->maildir : what);
	if (dormouse_config(inv, &config) < 0)
		return DORMOUSE_FAILED;
	ret = export_user(inv, &config.settings, what);
	config_deinit(&config);
	return ret;
}
