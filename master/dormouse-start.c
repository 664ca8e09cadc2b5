/* SPDX-License-Identifier: MIT */
/* `dormouse start` reads the configuration, so that its mistakes are told to
 * whoever typed the command, and becomes the launcher; or starts it and says where
 * the reason is to be read if nothing comes of it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "master/certs.h"
#include "master/config.h"
#include "master/dormouse.h"
#include "master/spawn.h"

/* In ../libexec/dormouse (an installation, wherever it was moved), where it was
 * configured to be, or beside us (a build). */
int dormouse_program(const char *name, char *path, size_t size)
{
	const char *const places[] = { "/../libexec/dormouse", NULL, "" };
	char dir[PATH_MAX];
	int ret = spawn_own_dir(dir, sizeof(dir));

	for (size_t i = 0; i < 3 && ret == 0; i++) {
		int n = snprintf(path, size, "%s%s/%s",
				 places[i] ? dir : DORMOUSE_LIBEXECDIR,
				 places[i] ? places[i] : "", name);

		if (n > 0 && (size_t)n < size && access(path, X_OK) == 0)
			return 0;
	}
	return ret < 0 ? ret : -ENOENT;
}

/* In the background the log file is descriptor 2 of everybody. */
static int log_redirect(const struct settings *s)
{
	const char *file = config_log_file(s);
	cleanup_fd int fd = -1;

	if (!file)
		return 0;
	fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		return -errno;
	return dup2(fd, STDERR_FILENO) < 0 ? -errno : 0;
}

/* Certificates and keys, as the server would read them. False: told. */
static bool certs_good(const struct config *config)
{
	struct buf errors, notes;
	int ret;

	buf_init(&errors, CERTS_ERRORS_MAX_BYTES);
	buf_init(&notes, CERTS_ERRORS_MAX_BYTES);
	ret = certs_check(config, &errors, &notes);
	if (errors.len > 0)
		fwrite(errors.data, 1, errors.len, stderr);
	if (notes.len > 0)
		fwrite(notes.data, 1, notes.len, stderr);
	buf_deinit(&errors);
	buf_deinit(&notes);
	return ret == 0;
}

/* It may come later, and is read then: no reason not to start. */
static bool passwd_file_there(const struct config *config, const char *file)
{
	const char *path = config->settings.passwd_file;

	if (!*path || access(path, R_OK) == 0)
		return true;
	fprintf(stderr, "%s: passwd_file = \"%s\": %s; until it can be read nobody in it can "
		"log in\n", file, path, strerror(errno));
	return false;
}

/* With a log file the launcher has that for its standard error. */
static int launcher_run(const struct settings *s, const char *const argv[], const char *launcher)
{
	const char *file = config_log_file(s);
	int ret, status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return dormouse_fail("%s", strerror(errno));
	if (pid == 0) {
		ret = log_redirect(s);
		if (ret == 0)
			execv(launcher, (char *const *)argv);
		_exit(dormouse_fail("%s: %s", ret < 0 ? file : launcher,
				    strerror(ret < 0 ? -ret : errno)));
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status == 0)
		return DORMOUSE_OK;
	dormouse_fail("the server did not start; %s says why", file);
	return WIFEXITED(status) ? WEXITSTATUS(status) : DORMOUSE_FAILED;
}

int cmd_start(struct invocation *inv)
{
	char launcher[PATH_MAX], file[PATH_MAX], user[32], level[4];
	const char *argv[16] = { "launcher", "-b" };
	struct config config;
	unsigned n = 2;
	int ret = dormouse_config(inv, &config);

	if (ret < 0 || !certs_good(&config))
		return DORMOUSE_FAILED;
	(void)passwd_file_there(&config, inv->config_file);
	if (!realpath(inv->config_file, file))
		return dormouse_fail("%s: %s", inv->config_file, strerror(errno));
	ret = dormouse_program("launcher", launcher, sizeof(launcher));
	if (ret < 0)
		return dormouse_fail("the program launcher was not found beside this "
				     "one nor in " DORMOUSE_LIBEXECDIR);
	argv[n++] = config.settings.base_dir;
	argv[n++] = "-c";
	argv[n++] = file;
	snprintf(level, sizeof(level), "%d", (int)config_log_level(&config.settings));
	argv[n++] = "-L";
	argv[n++] = level;
	if (inv->foreground)
		argv[n++] = "-F";
	else if (config_log_sink(&config.settings) == LOG_TO_SYSLOG)
		argv[n++] = "-S";
	if (config_keeper_user(&config.settings, user, sizeof(user))) {
		argv[n++] = "-u";
		argv[n++] = user;
	}
	/* What systemd passes on is for this very process. */
	if (!inv->foreground && config_log_file(&config.settings) && !getenv("LISTEN_PID"))
		return launcher_run(&config.settings, argv, launcher);
	if (!inv->foreground && (ret = log_redirect(&config.settings)) < 0)
		return dormouse_fail("%s: %s", config_log_file(&config.settings),
				     strerror(-ret));
	execv(launcher, (char *const *)argv);
	return dormouse_fail("%s: %s", launcher, strerror(errno));
}

int cmd_check_config(struct invocation *inv)
{
	struct config config;

	if (dormouse_config(inv, &config) < 0)
		return DORMOUSE_FAILED;
	if (!certs_good(&config) || !passwd_file_there(&config, inv->config_file)) {
		config_deinit(&config);
		return DORMOUSE_FAILED;
	}
	printf("%s: good (%u listener%s, run directory %s)\n", inv->config_file,
	       config.n_listeners, config.n_listeners == 1 ? "" : "s",
	       config.settings.base_dir);
	config_deinit(&config);
	return DORMOUSE_OK;
}
