/* SPDX-License-Identifier: MIT */
#include "imap/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "imap/layers.h"
#include "lib/clock.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/stream-deflate.h"
#include "lib/stream-tls.h"

/* Input waits, or the next imap-hibernate is not there yet. */
#define REPLACE_RETRY_MS	20
/* The last words of a session are not waited for as the others. */
#define END_WAIT_MS		10000
#define KEEPALIVE_TEXT	"* OK Still here\r\n"
#define CAPABILITIES	\
	"IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN LIST-EXTENDED " \
	"LIST-STATUS SPECIAL-USE UNSELECT UIDPLUS MULTIAPPEND MOVE CONDSTORE " \
	"QRESYNC ESEARCH SEARCHRES"

int session_store(struct session *s, struct mail_store **store_r)
{
	if (s->store == NULL) {
		struct mail_store_options opt = {
			.user = s->ticket.user,
			.mail_dir = s->mail_dir,
			.index_dir = s->index_dir,
		};
		int ret = mail_store_open(&opt, &s->store);

		if (ret != 0)
			return ret;
	}
	*store_r = s->store;
	return 0;
}

void session_bye(struct session *s, const char *code, const char *text, const char *reason)
{
	if (s->dead || s->logout)
		return;
	if (code != NULL)
		stream_printf(s->stream, "* BYE [%s] %s\r\n", code, text);
	else
		stream_printf(s->stream, "* BYE %s\r\n", text);
	s->logout = true;
	s->end_reason = reason;
	loop_stop(s->loop);
}

void session_unselect(struct session *s, bool tell_closed)
{
	if (s->box == NULL)
		return;
	if (s->holder != NULL)
		holder_link_unwatch(s->holder);
	mailbox_close(&s->box);
	view_deinit(&s->view);
	/* RFC 7162 3.2.11: what comes after it is about the next mailbox. To
	   every client, also without an enabling command. */
	if (tell_closed)
		stream_puts(s->stream, "* OK [CLOSED] Previous mailbox closed.\r\n");
}

const char *session_remote(const struct session *s)
{
	static char text[80];
	const char *ip = s->remote_ip != NULL ? s->remote_ip : "";

	snprintf(text, sizeof(text), strchr(ip, ':') != NULL ? "[%s]:%u" : "%s:%u", ip,
		 s->remote_port);
	return text;
}

const char *session_capabilities(const struct session *s)
{
	/* Not when it is active already (RFC 4978 3). */
	return stream_has_deflate(s->stream) ? CAPABILITIES : CAPABILITIES " COMPRESS=DEFLATE";
}

uint64_t session_capabilities_hash(const struct session *s)
{
	const char *text = session_capabilities(s);

	return state_keywords_hash(&text, 1);
}

void session_tell_capabilities(struct session *s)
{
	uint64_t before = s->capabilities_asleep;

	s->capabilities_asleep = 0;
	if (before != 0 && before != session_capabilities_hash(s))
		stream_printf(s->stream, "* CAPABILITY %s\r\n", session_capabilities(s));
}

bool session_condstore(const struct session *s)
{
	return (s->enabled & (ENABLED_CONDSTORE | ENABLED_QRESYNC)) != 0;
}

void session_enable_condstore(struct session *s)
{
	if (session_condstore(s))
		return;
	s->enabled |= ENABLED_CONDSTORE;
	/* RFC 7162 3.1.2.2: told when the first enabling command is given in
	   the selected state. */
	if (s->box != NULL)
		stream_printf(s->stream, "* OK [HIGHESTMODSEQ %llu] Highest.\r\n",
			      (unsigned long long)s->view.told_modseq);
}

static void session_dead(struct session *s, const char *reason)
{
	if (!s->dead && !s->logout)
		s->end_reason = reason;
	s->dead = true;
	loop_stop(s->loop);
}

/* ---- input ---- */

static void parse_failed(struct session *s, enum imap_parse result)
{
	const char *tag = imap_parser_tag(s->parser);
	const char *reason = imap_parser_reason(s->parser);

	cmd_append_abort(s);
	if (result == IMAP_PARSE_FATAL) {
		session_bye(s, NULL, reason, "input beyond every limit");
		return;
	}
	stream_printf(s->stream, "%s BAD %s\r\n", *tag != '\0' ? tag : "*", reason);
}

/* One step of the parser. False: it needs bytes that are not here. */
static bool session_parse(struct session *s)
{
	size_t len, used = 0;
	const uint8_t *data = stream_input(s->stream, &len);
	enum imap_parse result = imap_parser_feed(s->parser, data, len, &used);

	stream_consume(s->stream, used);
	switch (result) {
	case IMAP_PARSE_MORE:
		return false;
	case IMAP_PARSE_CONTINUE:
		stream_puts(s->stream, "+ Ready for literal data.\r\n");
		return len > used;
	case IMAP_PARSE_DONE:
		command_run(s, imap_parser_command(s->parser));
		return true;
	case IMAP_PARSE_STREAM:
		if (!cmd_append_stream(s, imap_parser_command(s->parser)))
			imap_parser_reset(s->parser);
		return true;
	case IMAP_PARSE_BAD:
	case IMAP_PARSE_FATAL:
		parse_failed(s, result);
		return true;
	}
	return false;
}

static void session_flush(struct session *s)
{
	if (!s->dead && stream_drain(s->stream) < 0)
		session_dead(s, "client does not read or is gone");
}

/* A last command without a line end is no command. */
static void session_gone(struct session *s, long n)
{
	s->last_activity_ms = clock_ms();
	session_dead(s, layers_reason(s, n));
}

/* More of what the client has sent, that a layer kept. */
static bool session_refill(struct session *s)
{
	long n = stream_refill(s->stream);

	if (n <= 0 && n != -EAGAIN && n != -ENOBUFS)
		session_gone(s, n);
	return n > 0;
}

void session_input(struct session *s)
{
	while (!s->dead && !s->logout && stream_has_input(s->stream)) {
		bool went_on;

		if (s->idle_tag != NULL) {
			idle_input(s);
			went_on = s->idle_tag == NULL;	/* else no whole line is left */
		} else {
			went_on = session_parse(s);
		}
		if (!went_on && !session_refill(s))
			break;
	}
	session_flush(s);
}

/* For tests (debug_hop): another process for every command. */
static void session_hop(struct session *s)
{
	const char *why;

	if (!s->set->debug_hop || s->dead || s->logout)
		return;
	why = hibernate_try(s);
	log_debug("awake", "id=%016llx user=%s reason=%s", (unsigned long long)s->ticket.sid,
		  log_str(s->ticket.user), log_str(why));
}

void session_readable(struct session *s)
{
	long n = stream_fill(s->stream);

	if (n == -EAGAIN) {
		session_flush(s);	/* TLS may have had something to answer */
	} else if (n > 0 || n == -ENOBUFS) {
		s->last_activity_ms = clock_ms();
		session_input(s);
	} else {
		session_gone(s, n);
	}
}

static void client_readable(void *ctx, uint32_t events)
{
	struct session *s = ctx;

	(void)events;
	session_readable(s);
	session_hop(s);
}

int session_listen(struct session *s)
{
	return loop_add(s->loop, &s->client_io, stream_fd(s->stream), EPOLLIN, client_readable,
			s);
}

/* ---- timers ---- */

bool session_input_waits(const struct session *s)
{
	int unread = 0;

	return ioctl(stream_fd(s->stream), FIONREAD, &unread) < 0 || unread > 0;
}

static void sleep_due(void *ctx)
{
	struct session *s = ctx;
	uint64_t quiet = clock_ms() - s->last_activity_ms;
	uint64_t after = s->set->hibernate_after_ms;
	const char *why;

	/* With input that nobody had the time to read yet it was not quiet. */
	if (quiet < after || session_input_waits(s)) {
		loop_timer_set(s->loop, &s->sleep_timer, quiet < after ? after - quiet : after,
			       sleep_due, s);
		return;
	}
	why = hibernate_try(s);
	if (s->dead || s->logout)
		return;
	log_debug("awake", "id=%016llx user=%s reason=%s", (unsigned long long)s->ticket.sid,
		  log_str(s->ticket.user), log_str(why));
	loop_timer_set(s->loop, &s->sleep_timer, after > 1000 ? after : 1000, sleep_due, s);
}

static void keepalive_due(void *ctx)
{
	struct session *s = ctx;

	loop_timer_set(s->loop, &s->keepalive_timer, s->set->keepalive_interval_ms,
		       keepalive_due, s);
	if (s->idle_tag == NULL || s->dead)
		return;
	/* Only when nothing else kept the path open meanwhile. */
	if (clock_ms() - s->last_activity_ms < s->set->keepalive_interval_ms - 1)
		return;
	stream_puts(s->stream, KEEPALIVE_TEXT);
	if (stream_drain(s->stream) < 0)
		session_dead(s, "client does not read or is gone");
}

void session_start_timers(struct session *s)
{
	if (s->set->hibernate && s->set->hibernate_after_ms > 0)
		loop_timer_set(s->loop, &s->sleep_timer, s->set->hibernate_after_ms,
			       sleep_due, s);
	if (s->set->keepalive_interval_ms > 0)
		loop_timer_set(s->loop, &s->keepalive_timer, s->set->keepalive_interval_ms,
			       keepalive_due, s);
}

/* ---- life ---- */

static int interrupt_fd(void *ctx)
{
	const struct session *s = ctx;

	return s->holder != NULL && !s->dead && !s->logout ?
		holder_link_interrupt_fd(s->holder) : -1;
}

static bool interrupted(void *ctx)
{
	const struct session *s = ctx;

	return holder_link_interrupted(s->holder);
}

struct session *session_create(const struct settings *set, int fd)
{
	static const struct imap_parser_limits limits = {
		.line_max = IMAP_LINE_MAX_BYTES,
		.literal_max = IMAP_LITERAL_MAX_BYTES,
		.stream_command = "APPEND",
	};
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->set = set;
	buf_init(&s->carried, STATE_MAX_BYTES);
	view_init(&s->view);
	s->arena = arena_create();
	s->loop = loop_create();
	s->parser = imap_parser_create(&limits);
	if (s->loop == NULL || s->parser == NULL ||
	    (s->stream = stream_create(fd, IMAP_LINE_MAX_BYTES)) == NULL)
		return NULL;	/* the process ends, and everything with it */
	stream_set_wait(s->stream, set->client_timeout_ms);
	stream_set_interrupt(s->stream, interrupt_fd, interrupted, s);
	s->last_activity_ms = clock_ms();
	return s;
}

static void session_end(struct session *s)
{
	int fd = stream_fd(s->stream);

	if (s->set->client_timeout_ms > END_WAIT_MS)
		stream_set_wait(s->stream, END_WAIT_MS);
	if (!s->dead)
		(void)stream_drain(s->stream);
	stream_tls_close(s->stream);
	log_info("disconnect", "id=%016llx user=%s remote=%s reason=%s commands=%llu "
		 "sleeps=%llu in=%llu out=%llu security=%s",
		 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
		 log_str(s->remote_ip), log_str(s->end_reason ? s->end_reason : "unknown"),
		 (unsigned long long)s->commands, (unsigned long long)s->sleeps,
		 (unsigned long long)stream_bytes_in(s->stream),
		 (unsigned long long)stream_bytes_out(s->stream), log_str(layers_name(s)));
	/* Step 17: shut down, or a duplicate elsewhere keeps the client waiting
	   and an old state looking good. */
	loop_remove(s->loop, &s->client_io);
	shutdown(fd, SHUT_RDWR);
	cmd_append_abort(s);
	session_unselect(s, false);
	hibernate_forget_views(s);
	mail_store_close(&s->store);
}

/* SIGUSR1: what this process holds, in one line; never a secret. */
static void session_report(void *ctx, int signo)
{
	struct session *s = ctx;
	struct fence_counts now = { 0 };

	(void)signo;
	(void)fence_read(stream_fd(s->stream), &now, NULL);
	log_info("report", "id=%016llx user=%s mailbox=%s idle=%s lock_owner=%d generation=%llu "
		 "written=%llu consumed=%llu pending=%zu holder=%s quiet_ms=%llu",
		 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
		 log_str(session_mailbox_name(s)),
		 s->idle_tag != NULL ? "yes" : "no", fence_owner(stream_fd(s->stream)),
		 (unsigned long long)(s->holder != NULL ? s->holder->generation : 0),
		 (unsigned long long)now.written, (unsigned long long)now.consumed,
		 stream_pending(s->stream),
		 s->holder != NULL && s->holder->fd >= 0 ? "connected" : "away",
		 (unsigned long long)(clock_ms() - s->last_activity_ms));
}

/* SIGUSR2, from the zygote: others wait for a process. */
static void session_make_room(void *ctx, int signo)
{
	struct session *s = ctx;

	(void)signo;
	if (!s->dead && !s->logout)
		(void)hibernate_try(s);
}

/* SIGWINCH, from the zygote: others will want a process. */
static void session_make_room_if_quiet(void *ctx, int signo)
{
	struct session *s = ctx;

	if (clock_ms() - s->last_activity_ms >= SESSION_QUIET_MS)
		session_make_room(s, signo);
}

static void replace_try(void *ctx)
{
	struct session *s = ctx;
	const char *why;

	if (s->dead || s->logout)
		return;
	why = hibernate_try(s);
	if (s->dead || s->logout)
		return;
	if (clock_ms() >= s->replace_by_ms) {
		session_bye(s, "UNAVAILABLE", "The server was upgraded; connect again.", why);
		return;
	}
	loop_timer_set(s->loop, &s->replace_timer, REPLACE_RETRY_MS, replace_try, s);
}

/* SIGHUP, at an upgrade: the process is to end, the session goes on in one of the next
 * version, if it can sleep within the grace time. */
static void session_replace(void *ctx, int signo)
{
	struct session *s = ctx;

	(void)signo;
	if (s->replace_by_ms != 0)
		return;
	s->replace_by_ms = clock_ms() + s->set->upgrade_grace_ms;
	replace_try(s);
}

/* Who has just logged in will select a mailbox next. */
static void session_prepare(struct session *s)
{
	struct mail_store *store;

	if (s->sleeps == 0 && s->store == NULL && !s->dead && !s->logout &&
	    session_store(s, &store) == 0)
		mail_store_prepare(store);
}

void session_run(struct session *s)
{
	(void)loop_signal(s->loop, SIGHUP, session_replace, s);
	(void)loop_signal(s->loop, SIGUSR1, session_report, s);
	(void)loop_signal(s->loop, SIGUSR2, session_make_room, s);
	(void)loop_signal(s->loop, SIGWINCH, session_make_room_if_quiet, s);
	/* One that was woken and could not go back to sleep listens already. */
	if (!s->logout && !s->dead && !s->client_io.active) {
		int ret = session_listen(s);

		if (ret < 0)
			session_bye(s, "UNAVAILABLE", "Out of resources.", strerror(-ret));
	}
	session_start_timers(s);
	session_input(s);
	session_prepare(s);
	session_hop(s);
	if (!s->logout && !s->dead)
		loop_run(s->loop);
	session_end(s);
}
