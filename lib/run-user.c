/* SPDX-License-Identifier: MIT */
#include "lib/run-user.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>

static int by_number(const char *text, uid_t *uid_r, gid_t *gid_r)
{
	unsigned long n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(text, &end, 10);
	/* (uid_t)-1 means "leave it" to setresuid(). */
	if (errno != 0 || *end != '\0' || n >= UINT32_MAX)
		return -EINVAL;
	if (n == 0)
		return -EPERM;
	*uid_r = (uid_t)n;
	*gid_r = (gid_t)n;
	return 0;
}

int run_user_lookup(const char *name, uid_t *uid_r, gid_t *gid_r)
{
	const struct passwd *pw;

	if (*name == '#')
		return by_number(name + 1, uid_r, gid_r);
	pw = getpwnam(name);
	if (pw == NULL)
		return -ENOENT;
	if (pw->pw_uid == 0)
		return -EPERM;
	*uid_r = pw->pw_uid;
	*gid_r = pw->pw_gid;
	return 0;
}
