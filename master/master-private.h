/* SPDX-License-Identifier: MIT */
#ifndef MASTER_MASTER_PRIVATE_H
#define MASTER_MASTER_PRIVATE_H
/* struct master, shared by master.c (starting, introducing, watching),
 * master-launcher.c (the launcher), master-status.c and master-stop.c. */
#include <limits.h>

#include "lib/loop.h"
#include "master/binaries.h"
#include "master/certs.h"
#include "master/config.h"
#include "master/control.h"
#include "master/items.h"
#include "master/master.h"
#include "master/notify.h"
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
/* master-upgrade.c */
struct upgrade {
	enum { UPGRADE_NONE, UPGRADE_CHECK, UPGRADE_KEEPER } step;
	bool reload;
	struct binaries next;		/* to become */
	struct binaries old;		/* after the exec: to go back to */
	bool can_go_back, keeper_took_over;
	pid_t checks[BINARY_COUNT];	/* --check that run; 0 */
	int words;			/* what they say */
	int asker;			/* a control connection, or -1 */
	uint64_t since_ms;
	uint32_t connects;
	pid_t old_keeper;
	unsigned deaths;
	struct loop_timer timer;
	pid_t *left;			/* processes from before, until they end */
	size_t n_left;
	struct loop_timer grace;
};
struct master {
	const struct master_options *opt;
	const struct config *config;
	struct loop *loop;
	struct binaries binaries;
	struct program_host program_host;
	struct program programs[MASTER_PROGRAMS_MAX];
	unsigned n_programs;
	struct items items;
	const char *no_listener;	/* one that could not be opened, or NULL */
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
	struct activation given;	/* listening sockets from the start's caller */
	uint64_t alive_ms;		/* 0: nobody wants to know */
	struct loop_timer alive_timer;

	struct certs certs;
	struct certs_stamp certs_stamp;	/* of the files that were tried last */
	struct loop_timer certs_timer;

	struct control *control;
	struct control_host control_host;
	struct loop_timer stop_timer;
	unsigned n_orphans;
	bool keep;			/* stopping: the keeper stays for another start */
	struct upgrade upgrade;
};
/* The first program of that role that runs, or NULL. */
struct program *master_program(struct master *m, enum ipc_role role);
void master_set_phase(struct master *m, enum master_phase to, const char *why);
const char *master_phase_name(enum master_phase phase);

/* master-launcher.c */
int master_launcher_begin(struct master *m);
void master_launcher_ready(struct master *m);
void master_launcher_reloading(struct master *m);
void master_launcher_ending(struct master *m, int status, uint64_t keep_ms);
/* 0 or -errno; destroys *out. */
int master_launcher_send(struct master *m, struct ipc_out **out);
void master_launcher_end(struct master *m);

/* master-upgrade.c */
/* Begins an upgrade or a reload. asker: a connection that waits for the outcome (taken),
 * or -1. */
void master_upgrade(struct master *m, bool reload, int asker);
void master_upgrade_init(struct master *m);
/* The programs are being started: after an upgrade they had better come up. */
void master_upgrade_begin(struct master *m);
void master_upgrade_ready(struct master *m);
void master_upgrade_died(struct master *m, const struct program *p);
/* Does not return after an upgrade: the old master has another go. */
void master_upgrade_start_failed(struct master *m, int error);
/* The launcher told of a keeper. */
void master_upgrade_keeper(struct master *m);
/* True: pid was one of ours. */
bool master_upgrade_reaped(struct master *m, pid_t pid, int status);
/* The server stops: no upgrade any more. */
void master_upgrade_stop(struct master *m);
void master_upgrade_deinit(struct master *m);
/* master-certs.c. Reads certificates and ticket keys; once the latter are among the
 * items they are for the keeper. first: files that will not do are an error; else,
 * with sessions held already, they are waited for. 0 or -errno, logged. */
int master_certs_begin(struct master *m, bool first);
void master_certs_end(struct master *m);
/* SETUP's last fields for imap-login. */
void master_certs_pack(struct master *m, struct ipc_out *out);

/* master-status.c */
void master_status(void *ctx, int fd);

/* master-stop.c */
bool master_is_stopping(const struct master *m);
void master_stop(void *ctx, enum ipc_stop how);
/* Our children that are no program of ours now: sessions whose zygote died, and who is
 * left from before an upgrade. */
void master_orphans_each(struct master *m, void (*fn)(struct master *m, pid_t pid, int arg),
			 int arg);
void master_orphans_signal(struct master *m, int signo);
/* A program died: is that what the stop waits for? */
void master_stop_check(struct master *m);
#endif
