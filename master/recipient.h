/* SPDX-License-Identifier: MIT */
#ifndef MASTER_RECIPIENT_H
#define MASTER_RECIPIENT_H
/* Whose mail a subcommand is about, and becoming that user (dormouse-deliver.c).
 * Each returns 0 or, having said why, DORMOUSE_FAILED. */
#include <sys/types.h>

#include "lib/limits.h"

struct invocation;
struct owned_dir;
struct recipient {
	char user[USER_NAME_MAX_BYTES + 1];
	char home[USER_HOME_MAX_BYTES + 1];
	uid_t uid;
	gid_t gid;
};
/* Asks auth, so that both agree about every user. */
int recipient_ask(const struct invocation *inv, const char *user, const char *base_dir,
		  struct recipient *r);
/* The owner of a mail directory; there is no home then. root does not write into
 * somebody's directory as root: links in it would lead anywhere. Where it is to
 * be found then is in *found: its way there was looked at. */
int recipient_of_dir(const char *dir, struct owned_dir *found, struct recipient *r);
/* Before the mail is touched. A server that runs as one ordinary user keeps
 * everybody's mail as that user. */
int recipient_become(const struct recipient *r);
#endif
