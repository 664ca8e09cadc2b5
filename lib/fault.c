/* SPDX-License-Identifier: MIT */
/* Fault points of test builds. A rule counts the calls of its own name; with
 * two rules of one name both count every call. */
#include "lib/fault.h"

#ifdef DORMOUSE_FAULTS
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAULT_RULES_MAX		16
#define FAULT_NAME_BYTES	48
#define FAULT_STOP_NS		300000000L

enum fault_action { FAULT_FAIL, FAULT_KILL, FAULT_STOP };

struct fault_rule {
	char name[FAULT_NAME_BYTES];
	unsigned long nth;	/* 0: every call */
	unsigned long calls;
	enum fault_action action;
};

static struct fault_rule fault_rules[FAULT_RULES_MAX];
static unsigned fault_count;

/* A test with a rule that means nothing would pass for no reason. */
static void fault_refuse(const char *rule)
{
	fprintf(stderr, "FAULTS: cannot read %s\n", rule);
	exit(EXIT_FAILURE);
}

static void fault_add(char *text)
{
	struct fault_rule rule = { .action = FAULT_FAIL };
	char *n = strchr(text, ':'), *action, *end;

	if (fault_count == FAULT_RULES_MAX || !n)
		fault_refuse(text);
	*n++ = '\0';
	action = strchr(n, ':');
	if (action)
		*action++ = '\0';
	rule.nth = strtoul(n, &end, 10);
	if (end == n || *end || !*text || strlen(text) >= sizeof(rule.name))
		fault_refuse(text);
	memcpy(rule.name, text, strlen(text) + 1);
	if (action && strcmp(action, "kill") == 0)
		rule.action = FAULT_KILL;
	else if (action && strcmp(action, "stop") == 0)
		rule.action = FAULT_STOP;
	else if (action)
		fault_refuse(action);
	fault_rules[fault_count++] = rule;
}

void fault_init(void)
{
	const char *env = getenv("FAULTS");
	char *copy, *next, *rule;

	fault_count = 0;
	if (!env || !*env)
		return;
	next = copy = strdup(env);
	if (!copy)
		fault_refuse("(no memory)");
	while ((rule = strsep(&next, ",")))
		fault_add(rule);
	free(copy);
}

static bool fault_act(enum fault_action action)
{
	struct timespec left = { .tv_nsec = FAULT_STOP_NS };

	switch (action) {
	case FAULT_FAIL:
		return true;
	case FAULT_KILL:
		raise(SIGKILL);
		return true;
	case FAULT_STOP:
		while (nanosleep(&left, &left) < 0 && errno == EINTR)
			;
		return false;
	}
	return true;
}

bool fault(const char *name)
{
	bool fail = false;

	for (unsigned i = 0; i < fault_count; i++) {
		struct fault_rule *r = &fault_rules[i];

		if (strcmp(r->name, name) != 0)
			continue;
		r->calls++;
		if (r->nth == 0 || r->nth == r->calls)
			fail |= fault_act(r->action);
	}
	return fail;
}
#endif
