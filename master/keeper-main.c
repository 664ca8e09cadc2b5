/* SPDX-License-Identifier: MIT */
/* keeper [-a] [-u UID:GID] [-L LEVEL] [-S]: started by the launcher with its
 * listener as descriptor 3. Ends on SIGTERM, and on nothing else. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/ipc-proto.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/sandbox.h"
#include "lib/version.h"
#include "master/keeper.h"

struct options {
	uid_t uid;
	gid_t gid;
	bool become;
	const char *chroot_in;
	enum log_level level;
	enum log_sink sink;
	bool succeed;		/* an upgrade: the old keeper is descriptor 4 */
};

static int options_read(int argc, char **argv, struct options *opt)
{
	unsigned uid, gid;
	int c;

	*opt = (struct options){ .level = LOG_L_INFO, .sink = LOG_TO_STDERR };
	while ((c = getopt(argc, argv, "au:b:L:S")) != -1) {
		switch (c) {
		case 'a':
			opt->succeed = true;
			break;
		case 'u':
			if (sscanf(optarg, "%u:%u", &uid, &gid) != 2)
				return -EINVAL;
			opt->uid = uid;
			opt->gid = gid;
			opt->become = true;
			break;
		case 'b':
			opt->chroot_in = optarg;
			break;
		case 'L':
			opt->level = (enum log_level)atoi(optarg);
			break;
		case 'S':
			opt->sink = LOG_TO_SYSLOG;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

/* Soft to hard. Above a million the table's address space would only look odd. */
static uint32_t limit_raise(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return 1024;
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	getrlimit(RLIMIT_NOFILE, &rl);
	return rl.rlim_cur > 1 << 22 ? 1 << 22 : (uint32_t)rl.rlim_cur;
}

static int rights_drop(const struct options *opt)
{
	int ret = sandbox_basics();

	if (ret == 0 && opt->chroot_in)
		ret = sandbox_chroot_empty(opt->chroot_in);
	if (ret == 0 && opt->become)
		ret = sandbox_become(opt->uid, opt->gid, NULL, 0);
	if (ret == 0) {
		ret = sandbox_landlock(NULL, 0);
		if (ret == -ENOSYS || ret == -EOPNOTSUPP) {
			log_warn("landlock", "state=missing");
			ret = 0;
		}
	}
	return ret == 0 ? sandbox_seccomp(SANDBOX_KEEPER) : ret;
}

static void on_term(void *ctx, int signo)
{
	log_info("end", "signal=%d", signo);
	loop_stop(ctx);
}

static void on_usr1(void *ctx, int signo)
{
	(void)signo;
	keeper_report(ctx);
}

static void on_ignored(void *ctx, int signo)
{
	(void)ctx;
	(void)signo;
}

/* A launcher that adopted a keeper after a restart has not its listener; the keeper
 * that we succeed has. */
static int listener(const struct options *opt)
{
	struct stat st;

	return opt->succeed && (fstat(IPC_SETUP_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) ?
	       -1 : IPC_SETUP_FD;
}

int main(int argc, char **argv)
{
	struct options opt;
	struct keeper *keeper;
	struct loop *loop;
	uint32_t max_fds = limit_raise();
	int ret;

	version_check(argc, argv);
	if (options_read(argc, argv, &opt) < 0) {
		fprintf(stderr, "keeper: started by the launcher only\n");
		return 2;
	}
	log_open("keeper", opt.sink, opt.level);
	log_crash_handler();
	fault_init();
	loop = loop_create();
	keeper = loop ? keeper_create(loop, listener(&opt), max_fds) : NULL;
	if (!keeper || loop_signal(loop, SIGTERM, on_term, loop) < 0 ||
	    loop_signal(loop, SIGUSR1, on_usr1, keeper) < 0 ||
	    loop_signal(loop, SIGHUP, on_ignored, NULL) < 0 ||
	    loop_signal(loop, SIGINT, on_ignored, NULL) < 0) {
		log_error("start", "error=%s", log_str(strerror(errno)));
		return EXIT_FAILURE;
	}
	ret = rights_drop(&opt);
	if (ret < 0) {
		log_error("sandbox", "error=%s", log_str(strerror(-ret)));
		return EXIT_FAILURE;
	}
	if (opt.succeed) {
		ret = keeper_succeed(keeper, IPC_SETUP_FD + 1);
		close(IPC_SETUP_FD + 1);
	}
	if (ret < 0) {
		log_error("succeed", "error=%s", log_str(strerror(-ret)));
		return EXIT_FAILURE;
	}
	log_info("start", "limit_descriptors=%u", max_fds);
	loop_run(loop);
	keeper_destroy(&keeper);
	loop_destroy(&loop);
	return EXIT_SUCCESS;
}
