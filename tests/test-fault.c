/* SPDX-License-Identifier: MIT */
/* The library has fault points in test builds only; here they always are. */
#ifndef DORMOUSE_FAULTS
#define DORMOUSE_FAULTS 1
#endif
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fault.c"
#include "tests/unit.h"

static void faults(const char *rules)
{
	setenv("FAULTS", rules, 1);
	fault_init();
}

static void test_fault_fails_the_nth_call_once(void)
{
	faults("send:2,recv:1");
	check(!fault("send"));
	check(fault("recv") && !fault("recv"));
	check(!fault("other"));
	check(fault("send") && !fault("send"));
}

static void test_fault_with_zero_fails_every_call(void)
{
	faults("send:0");
	check(fault("send") && fault("send") && fault("send"));
	check(!fault("sen") && !fault("sender"));
}

static void test_fault_does_nothing_without_rules(void)
{
	unsetenv("FAULTS");
	fault_init();
	check(!fault("send"));
	faults("");
	check(!fault("send"));
}

static void test_fault_stop_delays_but_does_not_fail(void)
{
	faults("send:1:stop");
	check(!fault("send"));
}

static int child_status(const char *rules)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(STDERR_FILENO);
		faults(rules);
		fault("send");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void test_fault_kill_ends_the_process(void)
{
	int status = child_status("send:1:kill");

	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	check(child_status("send:2:kill") == 0);
}

/* A rule that nobody understands must not look like a passed test. */
static void test_fault_refuses_rules_it_cannot_read(void)
{
	static const char *const rows[] = {
		"send", "send:", "send:x", ":1", "send:1:", "send:1:explode",
		"send:1,", "send:1x",
		"name-that-is-longer-than-any-name-of-ours-could-ever-be:1",
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int status = child_status(rows[i]);

		check_row(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE, i);
	}
}

/* A test arms a rule while others run; one of them is struck, once. */
static void test_fault_file_is_shared_and_strikes_once(void)
{
	char path[] = "/tmp/dm-fault-XXXXXX";
	struct fault_rule *rules;
	size_t bytes = FAULT_RULES_MAX * sizeof(*rules);
	int fd = mkstemp(path);

	check(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	rules = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(rules != MAP_FAILED);
	setenv("FAULTS_FILE", path, 1);
	faults("");
	check(!fault("send"));
	rules[1] = (struct fault_rule){ .action = FAULT_KILL, .nth = 2, .name = "send" };
	check(!fault("send") && !fault("sen"));
	check(child_status("") == SIGKILL && rules[1].struck == 1);
	check(rules[1].pid > 0 && rules[1].pid != getpid());
	check(child_status("") == 0 && !fault("send") && rules[1].struck == 1);
	rules[1].action = 0;
	rules[2] = (struct fault_rule){ .action = FAULT_FAIL, .name = "recv" };
	check(fault("recv") && fault("recv") && rules[2].struck == 2);
	unsetenv("FAULTS_FILE");
	munmap(rules, bytes);
	close(fd);
	unlink(path);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_fault_fails_the_nth_call_once),
		UNIT_TEST(test_fault_with_zero_fails_every_call),
		UNIT_TEST(test_fault_does_nothing_without_rules),
		UNIT_TEST(test_fault_stop_delays_but_does_not_fail),
		UNIT_TEST(test_fault_kill_ends_the_process),
		UNIT_TEST(test_fault_refuses_rules_it_cannot_read),
		UNIT_TEST(test_fault_file_is_shared_and_strikes_once),
	};
	return unit_run("fault", tests, UNIT_COUNT(tests));
}
