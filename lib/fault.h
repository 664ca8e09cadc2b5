/* SPDX-License-Identifier: MIT */
#ifndef LIB_FAULT_H
#define LIB_FAULT_H
/* Make the rare common. In builds with -Dfaults=true, FAULTS=name:n[,name:n...]
 * makes the n-th call of fault("name") in each process return true, once
 * (n=0: every call); `name:n:kill` raises SIGKILL there instead, and
 * `name:n:stop` sleeps 300 ms. A release build contains nothing of it.
 *
 * FAULTS_FILE=path names a file of FAULT_RULES_MAX struct fault_rule that all
 * processes map: a test arms a rule while the server runs, the calls of all
 * processes count together, and a rule strikes once (nth=0: every time). So a
 * death does not repeat in the process that comes next. */
#include <stdbool.h>
#include <stdint.h>

#define FAULT_RULES_MAX		16
#define FAULT_NAME_BYTES	40
enum fault_action {
	FAULT_FAIL = 1,		/* fault() returns true */
	FAULT_KILL,		/* SIGKILL */
	FAULT_STOP,		/* 300 ms */
	FAULT_FREEZE,		/* SIGSTOP, until somebody sends SIGCONT */
};
struct fault_rule {
	uint32_t action;	/* written last; 0: nothing */
	uint32_t nth;
	uint32_t calls;
	uint32_t struck;	/* how often it did */
	int32_t pid;		/* whom it struck last */
	uint32_t reserved;
	char name[FAULT_NAME_BYTES];
};
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
