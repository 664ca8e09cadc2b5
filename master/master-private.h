/* SPDX-License-Identifier: MIT */
#ifndef MASTER_MASTER_PRIVATE_H
#define MASTER_MASTER_PRIVATE_H
/* struct master, shared by master.c (starting, introducing, watching),
 * master-launcher.c (the launcher), master-status.c and master-stop.c. */
#include <limits.h>

#include "lib/loop.h"
#include "master/config.h"
#include "master/control.h"
#include "master/items.h"
#include "master/master.h"
#include "master/program.h"

#define MASTER_PROGRAMS_MAX	(3 + 64)

enum master_phase {
	MASTER_STARTING,
	MASTER_READY,		/* all programs have been ready at one time */
	MASTER_STOP_SESSIONS,	/* the holder and imap-login say BYE to everybody */
	MASTER_STOP_IMAP,	/* zygote and spares end */
	MASTER_STOP_REST,	/* all others end */
	MASTER_STOP_KILL,	/* who is left is killed */
};
struct master {
	const struct master_options *opt;
	const struct config *config;
	struct loop *loop;
	char dir[PATH_MAX];		/* of the executables */
	struct program_host program_host;
	struct program programs[MASTER_PROGRAMS_MAX];
	unsigned n_programs;
	struct items items;
	enum master_phase phase;
	uint64_t started_ms;
	int exit_status;

	int keeper_fd;
	struct loop_io keeper_io;
	struct loop_timer keeper_timer, introduce_timer;
	uint32_t keeper_connects;

	/* the launcher */
	int launcher_fd;
	struct loop_io launcher_io;
	struct loop_timer launcher_timer;
	struct backoff launcher_backoff;
	uint64_t launcher_started_ms;
	pid_t launcher_pid, keeper_pid;
	int keeper_pidfd;

	struct control *control;
	struct control_host control_host;
	struct loop_timer stop_timer;
};
/* The first program of that role that runs, or NULL. */
struct program *master_program(struct master *m, enum ipc_role role);
void master_set_phase(struct master *m, enum master_phase to, const char *why);
const char *master_phase_name(enum master_phase phase);

/* master-launcher.c */
int master_launcher_begin(struct master *m);
void master_launcher_ready(struct master *m);
void master_launcher_ending(struct master *m, int status);
void master_launcher_end(struct master *m);

/* master-status.c */
void master_status(void *ctx, int fd);

/* master-stop.c */
bool master_is_stopping(const struct master *m);
void master_stop(void *ctx, enum ipc_stop how);
/* A program died: is that what the stop waits for? */
void master_stop_check(struct master *m);
#endif
