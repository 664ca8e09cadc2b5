/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_H
#define LIB_LOG_H
/* One event, one line, always the same keys:
 *     imap: sleep id=7f3a... user=anna mailbox=INBOX uidnext=43 quiet_ms=30012
 * Line = [time] program: event key=value ... Values with spaces, quotes,
 * control characters or bytes >= 0x80 are quoted and escaped by log_str().
 * Lines go out with one write() each: to descriptor 2 (which master points to
 * standard error or the log file), or to syslog. Never a secret. */
#include <stdbool.h>
#include <stdarg.h>

enum log_level { LOG_L_DEBUG, LOG_L_INFO, LOG_L_WARN, LOG_L_ERROR };
enum log_sink { LOG_TO_STDERR, LOG_TO_SYSLOG };

/* Call before chroot and sandbox: opens the syslog socket and loads the time
 * zone, and names the process. program must outlive the process's logging. */
void log_open(const char *program, enum log_sink sink, enum log_level least);
/* For tests, before log_open(): instead of /dev/log. */
void log_set_syslog_path(const char *path);
void log_set_level(enum log_level least);
bool log_enabled(enum log_level level);
/* Keeps errno. event is the word after the program's name. */
void log_write(enum log_level level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define log_debug(event, ...) \
	(log_enabled(LOG_L_DEBUG) ? log_write(LOG_L_DEBUG, event, __VA_ARGS__) : (void)0)
#define log_info(event, ...) log_write(LOG_L_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_write(LOG_L_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_write(LOG_L_ERROR, event, __VA_ARGS__)
/* A value made safe for a log line (quoted only if it must be, cut at 256
 * bytes). The result lives in one of eight rotating static buffers. */
const char *log_str(const char *s);
const char *log_mem(const void *data, unsigned len);
/* Print a backtrace on SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, then die by
 * the signal. Async-signal-safe; warm it up before a sandbox. */
void log_crash_handler(void);
#endif
