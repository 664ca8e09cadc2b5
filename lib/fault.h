/* SPDX-License-Identifier: MIT */
#ifndef LIB_FAULT_H
#define LIB_FAULT_H
/* Make the rare common. In builds with -Dfaults=true, FAULTS=name:n[,name:n...]
 * makes the n-th call of fault("name") in each process return true, once
 * (n=0: every call); `name:n:kill` raises SIGKILL there instead, and
 * `name:n:stop` sleeps 300 ms. A release build contains nothing of it. */
#include <stdbool.h>
#ifdef DORMOUSE_FAULTS
bool fault(const char *name);
/* Read FAULTS (call once in main, before the sandbox). */
void fault_init(void);
#else
static inline bool fault(const char *name)
{
	(void)name;
	return false;
}
static inline void fault_init(void)
{
}
#endif
#endif
