/* SPDX-License-Identifier: MIT */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H
/* Where users come from: the passwd-file, read again when it changes, and
 * for load tests one password for everybody (static_password). System users:
 * auth/sysuser.h. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "auth/password.h"
#include "lib/limits.h"

struct settings;
struct users;

struct user_found {
	enum password_scheme scheme;
	const char *hash;	/* valid until the next users_refresh() */
	uid_t uid;
	gid_t gid;
	char home[USER_HOME_MAX_BYTES + 1];
	const char *source;	/* "passwd-file", "static", "pam": for the log */
};

/* Reads the passwd-file for the first time; one that cannot be read is told
 * and tried again at each refresh. settings must outlive it. secret: the same for
 * all auth processes of this server, from which others can follow; copied.
 * NULL: no memory. */
struct users *users_create(const struct settings *settings, const uint8_t secret[32]);
void users_destroy(struct users **users);
/* Reads the passwd-file again if it is not the one that was read. */
void users_refresh(struct users *users);
/* May "no such user" be believed? Not while the passwd-file cannot be read, nor
 * right after it was changed: an editor may be writing it. */
bool users_definite(const struct users *users);
/* static_users: those of static_password count too. False: no such user;
 * source and a hash of the usual cost are set even then, so that refusing an
 * unknown user can take as long as refusing a wrong password. */
bool users_find(const struct users *users, const char *name, bool static_users,
		struct user_found *found_r);
/* Another user, always the same one for one name, for whom a name is taken that
 * must not show whether it is a user. Sets scheme and hash. */
void users_stand_in(const struct users *users, const char *name, struct user_found *found);
/* A secret that stays the same as long as can be: from the file's keys for SCRAM
 * if it has any, which outlive us as the salts there do; else the one from the
 * beginning. */
void users_secret(const struct users *users, uint8_t secret_r[32]);
#endif
