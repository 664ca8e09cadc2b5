/* SPDX-License-Identifier: MIT */
/* Fault points of test builds. A rule counts the calls of its own name; with
 * two rules of one name both count every call. */
#include "lib/fault.h"

#ifdef DORMOUSE_FAULTS
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FAULT_STOP_NS		300000000L

static_assert(sizeof(struct fault_rule) == 64, "tests/faults.py writes it");

static struct fault_rule fault_rules[FAULT_RULES_MAX];
static unsigned fault_count;
static struct fault_rule *fault_shared;

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
	rule.nth = (uint32_t)strtoul(n, &end, 10);
	if (end == n || *end || !*text || strlen(text) >= sizeof(rule.name))
		fault_refuse(text);
	memcpy(rule.name, text, strlen(text) + 1);
	if (action && strcmp(action, "kill") == 0)
		rule.action = FAULT_KILL;
	else if (action && strcmp(action, "stop") == 0)
		rule.action = FAULT_STOP;
	else if (action && strcmp(action, "freeze") == 0)
		rule.action = FAULT_FREEZE;
	else if (action)
		fault_refuse(action);
	fault_rules[fault_count++] = rule;
}

static void fault_map(const char *path)
{
	size_t bytes = FAULT_RULES_MAX * sizeof(struct fault_rule);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *map;

	if (fd < 0)
		fault_refuse(path);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		fault_refuse(path);
	fault_shared = map;
}

void fault_init(void)
{
	const char *env = getenv("FAULTS"), *path = getenv("FAULTS_FILE");
	char *copy, *next, *rule;

	if (path && *path && !fault_shared)
		fault_map(path);
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
	case FAULT_FREEZE:
		raise(SIGSTOP);
		return false;
	}
	return true;
}

/* Who reaches the n-th call is one process only, whoever else runs. */
static bool fault_shared_act(struct fault_rule *r, const char *name)
{
	uint32_t action = __atomic_load_n(&r->action, __ATOMIC_ACQUIRE), calls;

	if (action == 0 || strncmp(r->name, name, sizeof(r->name)) != 0)
		return false;
	calls = __atomic_add_fetch(&r->calls, 1, __ATOMIC_RELAXED);
	if (r->nth != 0 && r->nth != calls)
		return false;
	r->pid = getpid();
	__atomic_add_fetch(&r->struck, 1, __ATOMIC_RELEASE);
	return fault_act((enum fault_action)action);
}

bool fault(const char *name)
{
	bool fail = false;

	for (unsigned i = 0; fault_shared && i < FAULT_RULES_MAX; i++)
		fail |= fault_shared_act(&fault_shared[i], name);
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
