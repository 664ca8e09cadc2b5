/* SPDX-License-Identifier: MIT */
/* launcher -b BASE -c FILE [-F] [-u UID:GID] [-L LEVEL] [-S]: started by the
 * `dormouse` command, which has read the configuration; again with --adopt by
 * master when it died. Without -F it goes to the background, and the parent
 * waits until the server is up, so that its exit status says whether it is. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/log.h"
#include "lib/version.h"
#include "master/launcher.h"

/* Longer than any start; then the parent no longer waits. */
#define READY_TIMEOUT_MS	60000

static int options_read(int argc, char **argv, struct launcher_options *opt)
{
	static const struct option longs[] = {
		{ "adopt", no_argument, NULL, 'A' },
		{ "master-pid", required_argument, NULL, 'm' },
		{ "keeper-pid", required_argument, NULL, 'k' },
		{ 0 },
	};
	int c;

	*opt = (struct launcher_options){ .level = LOG_L_INFO, .ready_fd = -1,
					  .sink = LOG_TO_STDERR };
	while ((c = getopt_long(argc, argv, "b:c:u:L:FS", longs, NULL)) != -1) {
		switch (c) {
		case 'A': opt->adopt = true; break;
		case 'm': opt->master_pid = atoi(optarg); break;
		case 'k': opt->keeper_pid = atoi(optarg); break;
		case 'b': opt->base_dir = optarg; break;
		case 'c': opt->config = optarg; break;
		case 'u': opt->keeper_user = optarg; break;
		case 'L': opt->level = (enum log_level)atoi(optarg); break;
		case 'F': opt->foreground = true; break;
		case 'S': opt->sink = LOG_TO_SYSLOG; break;
		default: return -EINVAL;
		}
	}
	return optind == argc && opt->base_dir && opt->config ? 0 : -EINVAL;
}

/* In the parent: its status is the server's first news. */
static int ready_wait(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	unsigned char status = EXIT_FAILURE;

	if (poll(&pfd, 1, READY_TIMEOUT_MS) == 0) {
		fprintf(stderr, "dormouse: not ready after %d s, still trying; "
			"see its log\n", READY_TIMEOUT_MS / 1000);
		return EXIT_FAILURE;
	}
	if (read(fd, &status, 1) != 1)
		return EXIT_FAILURE;
	return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Goes on in the background. Descriptor 2 stays: it is the log, or where the
 * caller wants it. */
static int background(struct launcher_options *opt)
{
	int fds[2], null;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(fds[1]);
		_exit(ready_wait(fds[0]));
	}
	close(fds[0]);
	opt->ready_fd = fds[1];
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    chdir("/") < 0)
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	struct activation activation;
	struct launcher_options opt;
	int ret = 0;

	version_check(argc, argv);
	if (options_read(argc, argv, &opt) < 0) {
		fprintf(stderr, "launcher: started by `dormouse start` only\n");
		return 2;
	}
	activation_take(&activation);	/* by our pid, so before another has it */
	opt.activation = &activation;
	if (!opt.foreground && !opt.adopt)
		ret = background(&opt);
	signal(SIGPIPE, SIG_IGN);	/* a reader that gave up is an error, no end */
	log_open("launcher", opt.sink, opt.level);
	log_crash_handler();
	fault_init();
	if (ret < 0) {
		log_error("background", "error=%s", log_str(strerror(-ret)));
		return EXIT_FAILURE;
	}
	return launcher_run(&opt);
}
