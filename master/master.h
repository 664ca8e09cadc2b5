/* SPDX-License-Identifier: MIT */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H
/* Starts the programs, introduces them to each other, starts them again. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct config;

struct master_options {
	const char *config_file;	/* absolute */
	bool foreground;
	bool with_launcher;		/* descriptors as in launcher-proto.h */
	uint64_t max_fds;		/* a process may open */
	const char *became;		/* "U" by an upgrade, "R" back from one, "r" by a reload; NULL */
	pid_t keeper_pid, launcher_pid;	/* after that; 0 */
	const char *became_why;		/* "R": what went wrong */
};
/* Until the server has stopped. Returns the exit status (launcher-proto.h). */
int master_run(const struct master_options *opt, const struct config *config);
#endif
