/* SPDX-License-Identifier: MIT */
#ifndef MASTER_LAUNCHER_PROTO_H
#define MASTER_LAUNCHER_PROTO_H
/* Between launcher and master, over a socket pair (lib/ipc.h). They watch each
 * other: the launcher watches master by pidfd, master watches the launcher by
 * the end of this connection, and each starts the other again.
 *
 * Descriptors: master is started with 3 = this channel, 4 = the lock on the
 * run directory (held by whoever of the two lives), 5 = the keeper's listener
 * (/dev/null if only the keeper has it), from 6 on the executables in the order of
 * enum binary; after an upgrade from MASTER_FD_OLD on those from before.
 * `launcher --adopt` gets 3, 4, 5 the same way, 6 = pidfd of master, 7 = pidfd of
 * the keeper, from 8 on the executables. */
#include "master/binaries.h"

enum launcher_message {
	LAUNCHER_KEEPER = 200,	/* launcher -> master: u pid of the keeper; 1 fd: its pidfd.
				   At master's start, and for each new keeper */
	LAUNCHER_READY,		/* master -> launcher: everything runs */
	LAUNCHER_ENDING,	/* master -> launcher: u exit status, u keep: milliseconds that the keeper is to wait
				   for another start, 0: it ends too. Do not start me again */
	LAUNCHER_UPGRADE,	/* master -> launcher: BINARY_COUNT fds: become that launcher, start
				   everything from these from now on */
	LAUNCHER_SUCCESSOR,	/* master -> launcher: 1 fd: start another keeper that takes over from
				   the old one through it */
	LAUNCHER_LISTENERS,	/* launcher -> master: sockets that came with the start. Before any other
				   message to a master that it starts; until it has been ready once */
	LAUNCHER_ALIVE,		/* master -> launcher: s what the service manager may show. Now and then, if
				   there is one; the launcher kills a master that said it once and falls silent */
	LAUNCHER_RELOADING,	/* master -> launcher: an upgrade or a reload begins; LAUNCHER_READY follows */
};
#define LAUNCHER_FD_CHANNEL	3
#define LAUNCHER_FD_LOCK	4
#define LAUNCHER_FD_KEEPER	5
#define LAUNCHER_FD_MASTER_PID	6
#define LAUNCHER_FD_KEEPER_PID	7
#define LAUNCHER_FD_BINARIES	8
#define MASTER_FD_BINARIES	6
#define MASTER_FD_OLD		(MASTER_FD_BINARIES + BINARY_COUNT)
/* The connection of whoever asked for the upgrade, or /dev/null. */
#define MASTER_FD_ASKER		(MASTER_FD_OLD + BINARY_COUNT)

/* Exit statuses of master that mean "do not start me again"; the last two only
 * as long as the server has never been ready. */
#define MASTER_EXIT_STOPPED	0
#define MASTER_EXIT_CONFIG	78	/* EX_CONFIG: the configuration is bad */
#define MASTER_EXIT_START	69	/* EX_UNAVAILABLE: could not start at all */
#endif
