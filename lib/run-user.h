/* SPDX-License-Identifier: MIT */
#ifndef LIB_RUN_USER_H
#define LIB_RUN_USER_H
/* The user that a program becomes, as the configuration names it: a name of
 * the system's, or "#1234", a number that needs no entry in passwd (tests, the
 * demo, containers); the group then has the same number. */
#include <sys/types.h>
/* 0; -ENOENT: no such user; -EPERM: it is root; -EINVAL: not a number after #. */
int run_user_lookup(const char *name, uid_t *uid_r, gid_t *gid_r);
#endif
