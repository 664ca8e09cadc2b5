/* SPDX-License-Identifier: MIT */
#ifndef MASTER_PROGRAM_H
#define MASTER_PROGRAM_H
/* One program under supervision: started with a setup channel, told what it
 * needs, started again with growing delays when it dies. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/ipc-proto.h"
#include "lib/loop.h"
#include "master/backoff.h"
#include "master/binaries.h"

struct ipc_out;
struct ipc_in;
struct program;

#define PROGRAM_REPORT_MAX_BYTES	512

enum program_phase {
	PROGRAM_DOWN,		/* not started, or dead */
	PROGRAM_STARTING,	/* runs; SETUP was sent */
	PROGRAM_READY,
};
/* What its owner does for it. */
struct program_host {
	struct loop *loop;
	const struct binaries *binaries;
	void *ctx;
	/* Add role data and descriptors to SETUP, settings included. */
	void (*setup)(void *ctx, struct program *p, struct ipc_out *out);
	/* It runs and has SETUP: introduce it to the others. */
	void (*started)(void *ctx, struct program *p);
	void (*ready)(void *ctx, struct program *p);
	/* It died. True: start it again. */
	bool (*died)(void *ctx, struct program *p);
};
struct program {
	const struct program_host *host;
	enum ipc_role role;
	enum binary binary;
	char name[24];		/* "auth", "imap-login/2" */
	enum program_phase phase;
	pid_t pid;
	int fd;			/* setup channel; -1 */
	struct loop_io io;
	struct loop_timer timer;
	struct backoff backoff;
	uint64_t started_ms;
	uint32_t starts;
	bool alone;		/* an introduction failed: master tries again */
	char report[PROGRAM_REPORT_MAX_BYTES];	/* its last STATUS */
};
void program_init(struct program *p, const struct program_host *host,
		  enum ipc_role role, enum binary binary, const char *name);
/* Failures are logged and tried again later. */
void program_start(struct program *p);
/* A child's end, from waitpid(). */
void program_reaped(struct program *p, int wait_status);
/* Sends and destroys; without effect if it does not run. 0 or -errno. */
int program_send(struct program *p, struct ipc_out **out);
/* CHANNEL: from now on fd (not taken over) is its connection to role. */
int program_introduce(struct program *p, enum ipc_role role, int fd);
int program_stop(struct program *p, enum ipc_stop how);
void program_kill(struct program *p, int signo);
/* Closes the channel, cancels timers; the process goes on. */
void program_deinit(struct program *p);
const char *program_phase_name(enum program_phase phase);
#endif
