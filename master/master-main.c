/* SPDX-License-Identifier: MIT */
/* master -c FILE [-F]: started by the launcher (launcher-proto.h), or by itself (-U, -R,
 * -r: master-upgrade.c). master --check -c FILE: would it start? */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/log.h"
#include "master/certs.h"
#include "master/config.h"
#include "master/launcher-proto.h"
#include "master/master.h"
#include "master/spawn.h"

/* What the holder and the keeper need beside their sleepers. */
#define DESCRIPTORS_BESIDE	96

static int options_read(int argc, char **argv, struct master_options *opt)
{
	int c;

	*opt = (struct master_options){ 0 };
	while ((c = getopt(argc, argv, "c:FU:R:r:k:l:")) != -1) {
		switch (c) {
		case 'U': opt->became = "U"; break;
		case 'R': opt->became = "R"; opt->became_why = optarg; break;
		case 'r': opt->became = "r"; break;
		case 'k': opt->keeper_pid = atoi(optarg); break;
		case 'l': opt->launcher_pid = atoi(optarg); break;
		case 'c': opt->config_file = optarg; break;
		case 'F': opt->foreground = true; break;
		default: return -EINVAL;
		}
	}
	return optind == argc && opt->config_file ? 0 : -EINVAL;
}

/* Soft to hard, and what that means. One descriptor a sleeper, in the holder
 * and in the keeper. */
static uint64_t limit_raise(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return 0;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) < 0 || getrlimit(RLIMIT_NOFILE, &rl) < 0)
		log_warn("limit", "error=%s", log_str(strerror(errno)));
	return rl.rlim_cur;
}

static void limit_tell(uint64_t max_fds)
{
	unsigned long long sessions = max_fds > DESCRIPTORS_BESIDE ?
				      max_fds - DESCRIPTORS_BESIDE : 0;

	log_info("limit", "descriptors=%llu sessions_asleep=%llu",
		 (unsigned long long)max_fds, sessions);
	if (sessions < 1000)
		log_warn("limit", "hint=%s", log_str("raise the hard limit of open "
			 "descriptors (LimitNOFILE=, ulimit -Hn)"));
}

/* In the foreground the log goes to standard error, whatever the file says;
 * programs read it in their settings. */
static int config_read(const struct master_options *opt, struct config *config)
{
	struct buf errors;
	int ret = config_load(opt->config_file, config, &errors);
	char *text;

	if (ret < 0) {
		/* Without its line feed. */
		log_error("configuration", "error=%.*s",
			  errors.len > 0 ? (int)errors.len - 1 : 0,
			  errors.len > 0 ? (char *)errors.data : "");
	} else if (opt->foreground && strcmp(config->settings.log, "stderr") != 0) {
		text = strdup("stderr");
		if (text) {
			free(config->settings.log);
			config->settings.log = text;
		}
	}
	buf_deinit(&errors);
	return ret;
}

/* Complaints go to descriptor 3, for whoever asked for the upgrade. */
static int check(int argc, char **argv)
{
	struct config config;
	struct buf errors, notes;
	int ret;

	if (argc != 4 || strcmp(argv[2], "-c") != 0)
		return 2;
	ret = config_load(argv[3], &config, &errors);
	if (ret == 0) {
		buf_init(&notes, CERTS_ERRORS_MAX_BYTES);
		ret = certs_check(&config, &errors, &notes);
		buf_deinit(&notes);
		config_deinit(&config);
	}
	if (ret < 0 && errors.len > 0 && write(3, errors.data, errors.len) < 0)
		return 3;
	buf_deinit(&errors);
	return ret < 0 ? MASTER_EXIT_CONFIG : 0;
}

int main(int argc, char **argv)
{
	struct master_options opt;
	struct config config;
	int status;

	if (argc > 1 && strcmp(argv[1], "--check") == 0)
		return check(argc, argv);

	if (options_read(argc, argv, &opt) < 0) {
		fprintf(stderr, "master: started by the launcher only\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);	/* a reader that gave up is an error, no end */
	log_open("master", LOG_TO_STDERR, LOG_L_INFO);
	fault_init();
	opt.max_fds = limit_raise();
	opt.with_launcher = spawn_fd_is_socket(LAUNCHER_FD_CHANNEL);
	if (config_read(&opt, &config) < 0)
		return MASTER_EXIT_CONFIG;
	log_open("master", config_log_sink(&config.settings),
		 config_log_level(&config.settings));
	log_crash_handler();
	limit_tell(opt.max_fds);
	status = master_run(&opt, &config);
	config_deinit(&config);
	return status;
}
