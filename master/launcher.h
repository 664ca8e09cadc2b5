/* SPDX-License-Identifier: MIT */
#ifndef MASTER_LAUNCHER_H
#define MASTER_LAUNCHER_H
/* Parent of master and keeper: starts them again when they die. */
#include <stdbool.h>
#include <sys/types.h>

#include "lib/log.h"
#include "master/notify.h"

struct launcher_options {
	const char *base_dir;
	const char *config;		/* handed to master */
	const char *keeper_user;	/* "UID:GID", or NULL: as we are */
	bool foreground;
	enum log_level level;
	enum log_sink sink;
	/* --adopt: master and keeper run already. */
	bool adopt;
	pid_t master_pid, keeper_pid;	/* 0: none */
	struct activation *activation;	/* a fresh start's; taken over */
	/* A byte is written here when the server is up (its exit status, 0) or
	 * will not come up; -1: nobody waits. */
	int ready_fd;
};
/* Until the server has ended. Returns the exit status. */
int launcher_run(const struct launcher_options *opt);
#endif
