/* SPDX-License-Identifier: MIT */
#ifndef AUTH_RIGHTS_H
#define AUTH_RIGHTS_H
/* What auth keeps when it gives root up. */
#include <stdbool.h>
#include <sys/types.h>

struct settings;

struct rights {
	bool change;		/* started by root: become uid:gid */
	uid_t uid;
	gid_t gid;
	bool read_all;		/* keep CAP_DAC_READ_SEARCH */
};
/* Looks at the user and the passwd-file, still with all rights. 0, or -errno
 * after a log line. */
int rights_plan(const struct settings *settings, struct rights *rights_r);
/* 0, or -errno after a log line. */
int rights_drop(const struct settings *settings, const struct rights *rights);
#endif
