/* SPDX-License-Identifier: MIT */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H
/* Answers the questions of the other programs: is this the password, who is
 * this user, which sessions are there. */
#include "lib/ipc-proto.h"
#include "state/ticket.h"

struct auth;
struct loop;
struct settings;
struct sysusers;
struct users;
struct workers;

struct auth_parts {
	struct loop *loop;
	const struct settings *settings;
	const struct ticket_key *key;
	struct users *users;		/* these three stay the caller's */
	struct workers *workers;
	struct sysusers *sysusers;	/* NULL: not asked for */
	uint8_t boot_id[16];
	/* auth_finish() was called, and nothing is left to do. */
	void (*idle)(void *ctx);
	void *ctx;
};
/* NULL: no memory. */
struct auth *auth_create(const struct auth_parts *parts);
void auth_destroy(struct auth **auth);
/* A channel to a program of that role; takes fd. 0 or -errno. */
int auth_add_channel(struct auth *auth, enum ipc_role role, int fd);
/* Answers what was asked; idle() is called when that is done and no
 * imap-login is left that could ask more. */
void auth_finish(struct auth *auth);
/* One line for `dormouse status`. */
void auth_status(const struct auth *auth, char *line, size_t size);
void auth_dump(const struct auth *auth);
#endif
