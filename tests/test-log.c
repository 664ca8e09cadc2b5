/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "tests/unit.h"

static char text[20000];
static int read_end = -1, saved_stderr = -1;

/* Standard error goes into a pipe until captured(). */
static void capture(void)
{
	int fds[2];

	fflush(NULL);
	require(pipe2(fds, O_CLOEXEC) == 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	require(dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
	close(fds[1]);
	read_end = fds[0];
}

static const char *captured(void)
{
	size_t at = 0;
	ssize_t n;

	dup2(saved_stderr, STDERR_FILENO);
	fd_close(&saved_stderr);
	while ((n = read(read_end, text + at, sizeof(text) - 1 - at)) > 0)
		at += (size_t)n;
	text[at] = '\0';
	fd_close(&read_end);
	return text;
}

/* 2026-11-24T05:41:08.123Z and a space: 25 bytes. */
static bool has_time(const char *line)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ ";

	for (size_t i = 0; i < sizeof(shape) - 1; i++) {
		if (shape[i] == 'd' ? line[i] < '0' || line[i] > '9'
				    : line[i] != shape[i])
			return false;
	}
	return true;
}
#define TIME_BYTES 25

static void test_log_writes_one_line_for_one_event(void)
{
	capture();
	log_open("imap", LOG_TO_STDERR, LOG_L_INFO);
	log_info("sleep", "id=%s user=%s quiet_ms=%d", "7f3a", "anna", 30012);
	captured();
	require(has_time(text));
	check(strcmp(text + TIME_BYTES,
		     "imap: sleep id=7f3a user=anna quiet_ms=30012\n") == 0);
}

static void test_log_takes_an_event_without_details(void)
{
	capture();
	log_open("imap", LOG_TO_STDERR, LOG_L_INFO);
	log_info("ready", "%s", "");
	check(strcmp(captured() + TIME_BYTES, "imap: ready\n") == 0);
}

static void test_log_leaves_out_what_is_below_its_level(void)
{
	capture();
	log_open("imap", LOG_TO_STDERR, LOG_L_WARN);
	log_debug("a", "x=1");
	log_info("b", "x=1");
	log_warn("c", "x=1");
	log_error("d", "x=1");
	log_set_level(LOG_L_DEBUG);
	log_debug("e", "x=1");
	captured();
	check(!strstr(text, "a x") && !strstr(text, "b x"));
	check(strstr(text, "c x") && strstr(text, "d x") && strstr(text, "e x"));
	check(log_enabled(LOG_L_DEBUG));
}

static void test_log_keeps_errno(void)
{
	capture();
	log_open("imap", LOG_TO_STDERR, LOG_L_INFO);
	close(STDERR_FILENO);
	errno = ENOENT;
	log_error("x", "a=1");
	check(errno == ENOENT);
	captured();
}

static void test_log_cuts_a_line_that_is_too_long_and_says_so(void)
{
	static char value[9000];

	memset(value, 'v', sizeof(value) - 1);
	capture();
	log_open("imap", LOG_TO_STDERR, LOG_L_INFO);
	log_info("x", "a=%s", value);
	log_info("next", "a=1");
	captured();
	char *end = strchr(text, '\n');
	require(end != NULL);
	check(end - text <= 4096 && memcmp(end - 6, " [cut]", 6) == 0);
	check(strstr(end, "imap: next a=1\n") != NULL);
}

static void test_log_never_lets_a_value_begin_a_line(void)
{
	capture();
	log_open("imap", LOG_TO_STDERR, LOG_L_INFO);
	log_info("x", "a=%s", "1\nimap: forged\r\t\x1b[2J\x7f");
	captured();
	check(strchr(text, '\n') == text + strlen(text) - 1);
	check(!strpbrk(text, "\r\t\x1b\x7f"));
}

static void test_log_str_escapes_hostile_values(void)
{
	static const struct {
		const char *value, *want;
	} rows[] = {
		{ "anna", "anna" },
		{ "anna@example.org", "anna@example.org" },
		{ "", "\"\"" },
		{ NULL, "-" },
		{ "a b", "\"a b\"" },
		{ "a=b", "\"a=b\"" },
		{ "a\"b", "\"a\\\"b\"" },
		{ "a\\b", "\"a\\\\b\"" },
		{ "a\nb", "\"a\\x0ab\"" },
		{ "a\r\n\t", "\"a\\x0d\\x0a\\x09\"" },
		{ "\x1b[2J", "\"\\x1b[2J\"" },
		{ "\x7f", "\"\\x7f\"" },
		{ "\xc3\xa4", "\"\\xc3\\xa4\"" },
		{ "\xff", "\"\\xff\"" },
		{ "%s%n", "%s%n" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(strcmp(log_str(rows[i].value), rows[i].want) == 0, i);
	check(strcmp(log_mem("a\0b", 3), "\"a\\x00b\"") == 0);
	check(strcmp(log_mem("abc", 2), "ab") == 0);
	check(strcmp(log_mem("", 0), "\"\"") == 0);
}

static void test_log_str_cuts_at_its_limit(void)
{
	char value[600];
	const char *s;

	memset(value, 'v', sizeof(value));
	value[256] = '\0';
	check(strlen(log_str(value)) == 256);
	value[256] = 'v';
	value[257] = '\0';
	s = log_str(value);
	check(strlen(s) == 256 + 5 && strcmp(s + 257, "\"...") == 0);
	/* The worst case of each byte needs four. */
	memset(value, '\xff', 599);
	value[599] = '\0';
	s = log_str(value);
	check(strlen(s) == 256 * 4 + 5 && strcmp(s + 1025, "\"...") == 0);
}

static void test_log_str_serves_eight_values_in_one_line(void)
{
	const char *s[8];
	char value[2] = "0";

	for (int i = 0; i < 8; i++) {
		value[0] = (char)('0' + i);
		s[i] = log_str(value);
	}
	for (int i = 0; i < 8; i++)
		check_row(s[i][0] == '0' + i, i);
}

static void test_log_sends_datagrams_to_syslog_even_when_the_path_is_gone(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/test-log-XXXXXX", want[64];
	cleanup_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ssize_t n;

	require(fd >= 0 && mkdtemp(dir) != NULL);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/log", dir);
	require(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	log_set_syslog_path(sun.sun_path);
	log_open("imap", LOG_TO_SYSLOG, LOG_L_INFO);
	unlink(sun.sun_path);
	rmdir(dir);
	log_warn("x", "a=1");
	n = recv(fd, text, sizeof(text) - 1, 0);
	require(n > 0);
	text[n] = '\0';
	/* mail.warning = 2 * 8 + 4 */
	check(memcmp(text, "<20>", 4) == 0);
	snprintf(want, sizeof(want), " imap[%ld]: x a=1", (long)getpid());
	check(strstr(text, want) != NULL);
	check(text[n - 1] == '1');
	/* The daemon is gone: the line is lost, we are not. */
	fd_close(&fd);
	errno = 0;
	log_warn("x", "a=2");
	check(errno == 0);
	/* No daemon at all: standard error. */
	capture();
	log_open("imap", LOG_TO_SYSLOG, LOG_L_INFO);
	log_warn("x", "a=3");
	check(strstr(captured(), "imap: x a=3\n") != NULL);
}

static void test_log_crash_prints_a_backtrace_and_dies_by_the_signal(void)
{
	int status;
	pid_t pid;

	capture();
	pid = fork();
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		log_open("imap", LOG_TO_STDERR, LOG_L_INFO);
		log_crash_handler();
		abort();
	}
	waitpid(pid, &status, 0);
	captured();
	require(pid > 0);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	check(strstr(text, "imap: crash signal=06\n") != NULL);
	check(strstr(text, "[0x") != NULL);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_log_writes_one_line_for_one_event),
		UNIT_TEST(test_log_takes_an_event_without_details),
		UNIT_TEST(test_log_leaves_out_what_is_below_its_level),
		UNIT_TEST(test_log_keeps_errno),
		UNIT_TEST(test_log_cuts_a_line_that_is_too_long_and_says_so),
		UNIT_TEST(test_log_never_lets_a_value_begin_a_line),
		UNIT_TEST(test_log_str_escapes_hostile_values),
		UNIT_TEST(test_log_str_cuts_at_its_limit),
		UNIT_TEST(test_log_str_serves_eight_values_in_one_line),
		UNIT_TEST(test_log_sends_datagrams_to_syslog_even_when_the_path_is_gone),
		UNIT_TEST(test_log_crash_prints_a_backtrace_and_dies_by_the_signal),
	};
	return unit_run("log", tests, UNIT_COUNT(tests));
}
