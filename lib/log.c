/* SPDX-License-Identifier: MIT */
/* One event, one line, one write(): lines of several processes on one
 * descriptor do not mix. A line has a bound; what is longer is cut and says
 * so. Nothing allocates after log_open().
 *
 * Not syslog(3): when its socket fails it opens a new one, which a sandbox
 * answers with death, and when the daemon hangs, it hangs too. A line that the
 * daemon does not take at once is lost. */
#include "lib/log.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES		4096
#define LOG_VALUE_BYTES		256
#define LOG_CUT			" [cut]"
/* Each byte may become \xHH, then quotes, dots, NUL. */
#define LOG_STR_BYTES		(LOG_VALUE_BYTES * 4 + 8)
#define LOG_STR_COUNT		8

static const char *log_program = "dormouse";
static enum log_sink log_sink = LOG_TO_STDERR;
static enum log_level log_least = LOG_L_INFO;
static const char *log_syslog_path = "/dev/log";
static int log_syslog_fd = -1;

void log_set_syslog_path(const char *path)
{
	log_syslog_path = path;
}

/* Before chroot: the connection stays, the path does not. */
static int log_syslog_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(log_syslog_path) >= sizeof(sun.sun_path))
		return -1;
	memcpy(sun.sun_path, log_syslog_path, strlen(log_syslog_path) + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void log_open(const char *program, enum log_sink sink, enum log_level least)
{
	log_program = program;
	/* Started by descriptor, a program's name would be a number. */
	prctl(PR_SET_NAME, program);
	log_sink = sink;
	log_least = least;
	tzset();
	if (log_syslog_fd >= 0)
		close(log_syslog_fd);
	log_syslog_fd = sink == LOG_TO_SYSLOG ? log_syslog_connect() : -1;
	/* Better a line in the wrong place than none. */
	if (log_syslog_fd < 0)
		log_sink = LOG_TO_STDERR;
}

void log_set_level(enum log_level least)
{
	log_least = least;
}

bool log_enabled(enum log_level level)
{
	return level >= log_least;
}

static int log_priority(enum log_level level)
{
	switch (level) {
	case LOG_L_DEBUG:	return LOG_DEBUG;
	case LOG_L_INFO:	return LOG_INFO;
	case LOG_L_WARN:	return LOG_WARNING;
	case LOG_L_ERROR:	return LOG_ERR;
	}
	return LOG_ERR;
}

/* What a printf-like call added to a line of `size` bytes at `at`. */
static size_t log_advance(size_t at, size_t size, int n)
{
	if (n < 0)
		return at;
	return (size_t)n >= size - at ? size - 1 : at + (size_t)n;
}

static size_t log_prefix(char *line, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t at;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	at = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return log_advance(at, size,
			   snprintf(line + at, size - at, ".%03ldZ %s: ",
				    now.tv_nsec / 1000000, log_program));
}

/* RFC 3164 section 4.1, as daemons expect it on a local socket: local time,
 * no host name. */
static size_t log_prefix_syslog(char *line, size_t size, enum log_level level)
{
	time_t now = time(NULL);
	struct tm tm;
	char when[32];
	int n;

	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%b %e %H:%M:%S", &tm);
	n = snprintf(line, size, "<%d>%s %s[%ld]: ",
		     LOG_MAIL | log_priority(level), when, log_program,
		     (long)getpid());
	return log_advance(0, size, n);
}

static void log_put(int fd, const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, line, len);

		if (n < 0 && errno == EINTR)
			continue;
		/* Nobody is left to tell that telling failed. */
		if (n <= 0)
			return;
		line += n;
		len -= (size_t)n;
	}
}

/* A line feed inside would let a value forge a second line. log_str() has
 * escaped values; this is the net below it. */
static void log_flatten(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	}
}

__attribute__((format(printf, 3, 0)))
static void log_vwrite(enum log_level level, const char *event,
		       const char *fmt, va_list ap)
{
	char line[LOG_LINE_BYTES];
	const size_t size = sizeof(line) - sizeof(LOG_CUT);
	size_t start, at;

	start = log_sink == LOG_TO_SYSLOG ? log_prefix_syslog(line, size, level)
					  : log_prefix(line, size);
	at = log_advance(start, size,
			 snprintf(line + start, size - start, "%s ", event));
	at = log_advance(at, size, vsnprintf(line + at, size - at, fmt, ap));
	if (at == size - 1) {
		memcpy(line + at, LOG_CUT, sizeof(LOG_CUT) - 1);
		at += sizeof(LOG_CUT) - 1;
	}
	while (at > start && line[at - 1] == ' ')
		at--;
	log_flatten(line + start, at - start);
	if (log_sink == LOG_TO_SYSLOG) {
		log_put(log_syslog_fd, line, at);
		return;
	}
	line[at++] = '\n';
	log_put(STDERR_FILENO, line, at);
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (log_enabled(level)) {
		va_start(ap, fmt);
		log_vwrite(level, event, fmt, ap);
		va_end(ap);
	}
	errno = saved;
}

static bool log_byte_is_plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '=';
}

static size_t log_escape(char *out, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	if (c == '"' || c == '\\') {
		out[0] = '\\';
		out[1] = (char)c;
		return 2;
	}
	if (c >= 0x20 && c < 0x7f) {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = hex[c >> 4];
	out[3] = hex[c & 15];
	return 4;
}

const char *log_mem(const void *data, unsigned len)
{
	static char ring[LOG_STR_COUNT][LOG_STR_BYTES];
	static unsigned turn;
	char *out = ring[turn++ % LOG_STR_COUNT];
	const unsigned char *p = data;
	unsigned n = len > LOG_VALUE_BYTES ? LOG_VALUE_BYTES : len;
	bool plain = len > 0 && n == len;
	size_t at = 0;

	for (unsigned i = 0; i < n && plain; i++)
		plain = log_byte_is_plain(p[i]);
	if (plain) {
		memcpy(out, p, n);
		out[n] = '\0';
		return out;
	}
	out[at++] = '"';
	for (unsigned i = 0; i < n; i++)
		at += log_escape(out + at, p[i]);
	out[at++] = '"';
	if (n < len) {
		memcpy(out + at, "...", 3);
		at += 3;
	}
	out[at] = '\0';
	return out;
}

const char *log_str(const char *s)
{
	if (!s)
		return "-";
	/* One more than we show is enough to know that it is cut. */
	return log_mem(s, (unsigned)strnlen(s, LOG_VALUE_BYTES + 1));
}

/* ---- crash ---- */

static void log_crash_text(const char *text)
{
	log_put(STDERR_FILENO, text, strlen(text));
}

static void log_crash(int signo)
{
	char number[3] = { (char)('0' + signo / 10 % 10),
			   (char)('0' + signo % 10), '\0' };
	void *frames[64];
	int n;

	log_crash_text(log_program);
	log_crash_text(": crash signal=");
	log_crash_text(number);
	log_crash_text("\n");
	n = backtrace(frames, (int)(sizeof(frames) / sizeof(frames[0])));
	backtrace_symbols_fd(frames, n, STDERR_FILENO);
	/* SA_RESETHAND gave the default action back. */
	raise(signo);
}

void log_crash_handler(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
	struct sigaction sa = { .sa_handler = log_crash,
				.sa_flags = SA_RESETHAND | SA_NODEFER };
	void *frames[2];

	/* The first call loads libgcc_s and allocates: do it while we may. */
	backtrace(frames, 2);
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}
