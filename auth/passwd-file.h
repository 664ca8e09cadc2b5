/* SPDX-License-Identifier: MIT */
#ifndef AUTH_PASSWD_FILE_H
#define AUTH_PASSWD_FILE_H
/* Dovecot's passwd-file: user:{SCHEME}hash:uid:gid:gecos:home:shell:extra
 *
 * Text in, table of users out; no descriptor, no system call but through the
 * two look-ups in the rules. A line that is not good is told and left out: it
 * never gives anybody more than it says. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "auth/password.h"

/* More than this is not a passwd-file. */
#define PASSWD_FILE_MAX_BYTES	(32 * 1024 * 1024)
/* System users begin below: mail of those is not served. */
#define PASSWD_UID_MIN		100

struct passwd_user {
	const char *name;
	enum password_scheme scheme;
	const char *hash;	/* without {SCHEME} */
	uid_t uid;
	gid_t gid;
	const char *home;	/* absolute */
	unsigned line;
};

struct passwd_rules {
	/* All users are the one who runs us: uid and gid may be left out, and
	   no other ones will do. */
	bool user_mode;
	uid_t own_uid;
	gid_t own_gid;
	/* Numbers for names. 0, or -errno: there is no such name. */
	int (*find_uid)(const char *name, uid_t *uid_r);
	int (*find_gid)(const char *name, gid_t *gid_r);
	/* Told once for each thing that is wrong; line counts from 1. */
	void (*complain)(void *ctx, unsigned line, const char *what);
	void *ctx;
};

struct passwd_table;
/* Copies what it needs of text. NULL: no memory. */
struct passwd_table *passwd_table_parse(const char *text, size_t len,
					const struct passwd_rules *rules);
/* Wipes the passwords. */
void passwd_table_destroy(struct passwd_table **table);
/* Exact match, or NULL. Valid until the table is destroyed. */
const struct passwd_user *passwd_table_find(const struct passwd_table *table,
					    const char *name);
size_t passwd_table_count(const struct passwd_table *table);
/* The i-th, in the order of their names. */
const struct passwd_user *passwd_table_at(const struct passwd_table *table, size_t i);
#endif
