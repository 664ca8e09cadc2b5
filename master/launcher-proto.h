/* SPDX-License-Identifier: MIT */
#ifndef MASTER_LAUNCHER_PROTO_H
#define MASTER_LAUNCHER_PROTO_H
/* Between launcher and master, over a socket pair (lib/ipc.h). They watch each
 * other: the launcher watches master by pidfd, master watches the launcher by
 * the end of this connection, and each starts the other again.
 *
 * Descriptors: master is started with 3 = this channel, 4 = the lock on the
 * run directory (held by whoever of the two lives), 5 = the keeper's listener
 * (/dev/null with an adopted keeper, whose listener only it has). `launcher --adopt` gets 3, 4, 5 the
 * same way, 6 = pidfd of master, 7 = pidfd of the keeper. */
enum launcher_message {
	LAUNCHER_KEEPER = 200,	/* launcher -> master: u pid of the keeper; 1 fd: its pidfd.
				   At master's start, and for each new keeper */
	LAUNCHER_READY,		/* master -> launcher: everything runs */
	LAUNCHER_ENDING,	/* master -> launcher: u exit status; do not start me again */
};
#define LAUNCHER_FD_CHANNEL	3
#define LAUNCHER_FD_LOCK	4
#define LAUNCHER_FD_KEEPER	5
#define LAUNCHER_FD_MASTER_PID	6
#define LAUNCHER_FD_KEEPER_PID	7

/* Exit statuses of master that mean "do not start me again"; the last two only
 * as long as the server has never been ready. */
#define MASTER_EXIT_STOPPED	0
#define MASTER_EXIT_CONFIG	78	/* EX_CONFIG: the configuration is bad */
#define MASTER_EXIT_START	69	/* EX_UNAVAILABLE: could not start at all */
#endif
