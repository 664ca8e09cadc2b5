/* SPDX-License-Identifier: MIT */
#include "imap/holder-link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imap/command.h"
#include "imap/layers.h"
#include "imap/session.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/log.h"

/* A new holder is there within a moment; the socket itself never goes. */
#define CONNECT_RETRY_MS	100
/* Whoever idles and is not watched for compares that often by itself: a holder
 * that is away, stopped or out of descriptors must not keep mail from anybody. */
#define UNWATCHED_POLL_MS	1000

static void link_lost(struct holder_link *l);
static void link_readable(void *ctx, uint32_t events);

static unsigned long long link_id(const struct holder_link *l)
{
	return (unsigned long long)l->session->ticket.sid;
}

/* ---- connecting ---- */

static int link_listen(struct holder_link *l)
{
	return loop_add(l->session->loop, &l->io, l->fd, EPOLLIN, link_readable, l);
}

int holder_link_dial(const struct settings *set)
{
	char path[512];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/holder", set->base_dir);
	ret = ipc_connect(path, &fd);
	return ret < 0 ? ret : fd;
}

static int link_connect(struct holder_link *l)
{
	int ret = holder_link_dial(l->session->set);

	if (ret < 0)
		return ret;
	l->fd = ret;
	ret = link_listen(l);
	if (ret < 0)
		fd_close(&l->fd);
	else
		holder_link_hello(l);
	return ret;
}

static void link_retry(void *ctx);

static void retry_after(struct holder_link *l, uint32_t ms)
{
	l->retry_ms = ms;
	loop_timer_set(l->session->loop, &l->retry, ms, link_retry, l);
}

static uint32_t retry_longer(const struct holder_link *l)
{
	uint32_t ms = 2 * l->retry_ms;

	return ms < UNWATCHED_POLL_MS ? ms : UNWATCHED_POLL_MS;
}

/* In IDLE what is new is told at once; else with the next command. */
static void link_compare(struct holder_link *l)
{
	struct session *s = l->session;

	if (s->idle_tag == NULL || s->box == NULL || s->logout || s->dead)
		return;
	(void)idle_news(s);
	if (stream_drain(s->stream) < 0) {
		s->dead = true;
		s->end_reason = "client does not read or is gone";
	}
	if (s->dead || s->logout)
		loop_stop(s->loop);
}

/* Step 13: connect, WATCH and compare again. */
static void link_retry(void *ctx)
{
	struct holder_link *l = ctx;
	struct session *s = l->session;
	bool idles = s->idle_tag != NULL && s->box != NULL;

	if (l->fd < 0 && link_connect(l) < 0) {
		retry_after(l, retry_longer(l));
	} else if (idles && l->fd >= 0 && !l->watching && !l->blind) {
		holder_link_subscribe(l);
	}
	link_compare(l);
}

void holder_link_compare_later(struct holder_link *l)
{
	retry_after(l, UNWATCHED_POLL_MS);
}

static void held_drop(struct holder_link *l)
{
	while (l->n_held > 0)
		ipc_in_destroy(&l->held[--l->n_held]);
	l->held_end = false;
	loop_timer_cancel(l->session->loop, &l->held_timer);
}

static void link_lost(struct holder_link *l)
{
	bool was_well = l->watching || l->blind || l->retry_ms == 0;

	loop_remove(l->session->loop, &l->io);
	fd_close(&l->fd);
	held_drop(l);
	l->watching = l->blind = l->asked = false;
	l->generation = 0;
	loop_timer_cancel(l->session->loop, &l->poll);
	/* One that takes connections and drops them is not asked ten times a second. */
	retry_after(l, was_well ? CONNECT_RETRY_MS : retry_longer(l));
}

struct holder_link *holder_link_create(struct session *s, int fd)
{
	struct holder_link *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->session = s;
	l->fd = fd;
	l->cookie = s->ticket.cookie;
	if (fd >= 0 && link_listen(l) < 0)
		fd_close(&l->fd);
	if (l->fd < 0 && link_connect(l) < 0)
		retry_after(l, CONNECT_RETRY_MS);
	return l;
}

void holder_link_destroy(struct holder_link **lp)
{
	struct holder_link *l = *lp;

	if (l == NULL)
		return;
	loop_remove(l->session->loop, &l->io);
	loop_timer_cancel(l->session->loop, &l->retry);
	loop_timer_cancel(l->session->loop, &l->poll);
	held_drop(l);
	fd_close(&l->fd);
	free(l);
	*lp = NULL;
}

/* ---- sending ---- */

/* A queue that is full for long belongs to a holder that hangs: give it up and
 * come again, rather than wait with the client. */
static int link_send(struct holder_link *l, struct ipc_out **out)
{
	int ret;

	if (l->fd < 0 || *out == NULL) {
		ipc_out_destroy(out);
		return l->fd < 0 ? -ENOTCONN : -ENOMEM;
	}
	ret = ipc_send(l->fd, *out);
	for (int tries = 0; ret == -EAGAIN && tries < 10; tries++) {
		struct pollfd p = { .fd = l->fd, .events = POLLOUT };

		(void)poll(&p, 1, 100);
		ret = ipc_send(l->fd, *out);
	}
	ipc_out_destroy(out);
	if (ret < 0)
		link_lost(l);
	return ret;
}

void holder_link_hello(struct holder_link *l)
{
	struct session *s = l->session;
	struct ipc_out *out;

	if (l->fd < 0 || (out = ipc_out_create(IPC_HELLO)) == NULL)
		return;
	ipc_out_u64(out, s->ticket.sid);
	ipc_out_u64(out, s->ticket.cookie);
	ipc_out_str(out, s->ticket.user);
	ipc_out_str(out, session_remote(s));
	ipc_out_u64(out, s->login_time);
	ipc_out_str(out, session_mailbox_name(s));
	ipc_out_bool(out, s->idle_tag != NULL);
	ipc_out_u64(out, layers_security(s));
	(void)link_send(l, &out);
}

void holder_link_notice(struct holder_link *l, const uint8_t id[16], uint64_t modseq)
{
	struct ipc_out *out;

	if (l->fd < 0 || (out = ipc_out_create(IPC_NOTICE)) == NULL)
		return;
	ipc_out_bin(out, id, 16);
	ipc_out_u64(out, modseq);
	(void)link_send(l, &out);
}

/* ---- receiving ---- */

static void answer_do(struct holder_link *l, unsigned verb, bool ok, const char *reason)
{
	struct ipc_out *out = ipc_out_create(IPC_DONE_DO);

	if (out == NULL)
		return;
	ipc_out_u64(out, verb);
	ipc_out_bool(out, ok);
	ipc_out_str(out, reason);
	(void)link_send(l, &out);
}

/* Out of the receiving path: falling asleep waits on this very connection. */
static void sleep_asked(void *ctx)
{
	struct holder_link *l = ctx;
	struct session *s = l->session;
	const char *why;

	s->sleep_wanted = false;
	why = hibernate_try(s);
	if (l->fd >= 0)
		answer_do(l, DO_SLEEP, false, why);
}

static void obey(struct holder_link *l, uint32_t verb)
{
	struct session *s = l->session;

	switch (verb) {
	case DO_SLEEP:
		s->sleep_wanted = true;
		loop_timer_set(s->loop, &s->retry_timer, 0, sleep_asked, l);
		return;
	case DO_KICK:
		answer_do(l, DO_KICK, true, "");
		session_bye(s, NULL, "Disconnected by the administrator.", "kicked");
		return;
	case DO_STOP:
		session_bye(s, "UNAVAILABLE", "Server is shutting down.", "server stops");
		return;
	default:
		log_warn("ipc", "id=%016llx unknown verb=%u from imap-hibernate", link_id(l),
			 verb);
	}
}

static void watched(struct holder_link *l, struct ipc_in *in);

/* Asked at each waking (doc/architecture.md): the rights of login time are not for
 * ever. Only a definite answer comes. */
static bool user_is(struct holder_link *l, struct ipc_in *in)
{
	struct session *s = l->session;
	const struct ticket *t = &s->ticket;
	uint64_t sid = ipc_in_u64(in);
	bool found = ipc_in_bool(in);
	uint64_t uid = ipc_in_u64(in), gid = ipc_in_u64(in);
	const char *home = ipc_in_str(in);

	if (!ipc_in_done(in))
		return false;
	if (sid != t->sid || (found && uid == t->uid && gid == t->gid &&
			      strcmp(home, t->home) == 0))
		return true;
	session_bye(s, NULL, found ? "Your account was changed; log in again." :
		    "Your account is gone.", found ? "account changed" : "account gone");
	return true;
}

static void link_message(struct holder_link *l, struct ipc_in *in)
{
	uint64_t generation;

	switch (ipc_in_type(in)) {
	case IPC_CHANGED:
		generation = ipc_in_u64(in);
		if (!ipc_in_done(in))
			break;
		l->generation = generation;
		l->session->changed = true;
		return;
	case IPC_USER_IS:
		if (user_is(l, in))
			return;
		break;
	case IPC_DO: {
		uint32_t verb = ipc_in_u32(in);

		if (!ipc_in_done(in))
			break;
		obey(l, verb);
		return;
	}
	case IPC_WATCHED:
		/* Nobody waits for it here; an older one is no more. */
		if (ipc_in_u64(in) == l->nonce) {
			watched(l, in);
			l->session->changed = true;
		}
		return;
	case IPC_KEPT:
	case IPC_REFUSED:
	case IPC_HAVE_NOT:
		return;		/* the answer to a question that is no more */
	default:
		break;
	}
	log_error("ipc", "id=%016llx bad message type=%u from imap-hibernate", link_id(l),
		  ipc_in_type(in));
}

/* What was kept comes first. */
static int link_recv(struct holder_link *l, struct ipc_in **in_r)
{
	if (l->n_held == 0)
		return l->held_end ? -EPIPE : ipc_recv(l->fd, in_r);
	*in_r = l->held[0];
	memmove(l->held, l->held + 1, --l->n_held * sizeof(l->held[0]));
	return 0;
}

/* ---- in mid-command ---- */

int holder_link_interrupt_fd(const struct holder_link *l)
{
	return l->held_end || l->n_held == HOLDER_HELD_MAX ? -1 : l->fd;
}

static void held_due(void *ctx)
{
	link_readable(ctx, 0);
}

/* DO is obeyed at once. True: by an end, without a word, which might stand in
 * the middle of a literal. */
static bool ends_now(struct holder_link *l, struct ipc_in *in)
{
	struct session *s = l->session;
	uint32_t verb = ipc_in_u32(in);

	if (!ipc_in_done(in))
		return false;
	if (verb != DO_KICK && verb != DO_STOP) {
		obey(l, verb);
		return false;
	}
	if (verb == DO_KICK)
		answer_do(l, DO_KICK, true, "");
	s->end_reason = verb == DO_KICK ? "kicked" : "server stops";
	s->dead = true;
	loop_stop(s->loop);
	return true;
}

bool holder_link_interrupted(struct holder_link *l)
{
	while (holder_link_interrupt_fd(l) >= 0) {
		struct ipc_in *in = NULL;
		int ret = ipc_recv(l->fd, &in);
		bool ends;

		if (ret == -EAGAIN)
			return false;
		loop_timer_set(l->session->loop, &l->held_timer, 0, held_due, l);
		if (ret < 0) {
			l->held_end = true;
			return false;
		}
		if (ipc_in_type(in) != IPC_DO) {
			l->held[l->n_held++] = in;
			continue;
		}
		ends = ends_now(l, in);
		ipc_in_destroy(&in);
		if (ends)
			return true;
	}
	return false;
}

void holder_link_drain(struct holder_link *l)
{
	while (l->fd >= 0) {
		struct ipc_in *in = NULL;
		int ret = link_recv(l, &in);

		if (ret == -EAGAIN)
			return;
		if (ret < 0) {
			link_lost(l);
			return;
		}
		link_message(l, in);
		ipc_in_destroy(&in);
	}
}

static void link_readable(void *ctx, uint32_t events)
{
	struct holder_link *l = ctx;
	struct session *s = l->session;

	(void)events;
	holder_link_drain(l);
	if (s->changed && s->idle_tag != NULL && !s->logout && !s->dead) {
		link_compare(l);
		s->last_activity_ms = clock_ms();
	}
}

static bool type_is_one_of(uint32_t type, const uint32_t *types, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (types[i] == type)
			return true;
	}
	return false;
}

int holder_link_wait(struct holder_link *l, uint64_t timeout_ms, const uint32_t *types,
		     unsigned n_types, struct ipc_in **in_r)
{
	uint64_t due = clock_ms() + timeout_ms;

	for (;;) {
		struct ipc_in *in = NULL;
		struct pollfd p = { .fd = l->fd, .events = POLLIN };
		uint64_t now = clock_ms();
		int ret;

		if (l->fd < 0) {
			/* Without a connection there is still the time. */
			if (now < due)
				(void)poll(NULL, 0, (int)(due - now));
			if (link_connect(l) < 0)
				return -EPIPE;
			return -ETIMEDOUT;
		}
		ret = link_recv(l, &in);
		if (ret == 0 && type_is_one_of(ipc_in_type(in), types, n_types)) {
			*in_r = in;
			return 0;
		}
		if (ret == 0) {
			link_message(l, in);
			ipc_in_destroy(&in);
			continue;
		}
		if (ret != -EAGAIN) {
			link_lost(l);
			return -EPIPE;
		}
		if (now >= due)
			return -ETIMEDOUT;
		(void)poll(&p, 1, (int)(due - now));
	}
}

/* ---- subscribing ---- */

static void poll_due(void *ctx)
{
	struct holder_link *l = ctx;
	struct session *s = l->session;

	loop_timer_set(s->loop, &l->poll, s->set->poll_interval_ms, poll_due, l);
	if (s->idle_tag == NULL || s->dead || s->logout)
		return;
	(void)idle_news(s);
	(void)stream_drain(s->stream);
}

static void watched(struct holder_link *l, struct ipc_in *in)
{
	uint64_t generation = ipc_in_u64(in);
	uint32_t status = ipc_in_u32(in);

	if (!ipc_in_done(in))
		status = WATCHED_REFUSED;
	l->asked = false;
	l->watching = status == WATCHED_OK;
	l->blind = !l->watching;
	l->generation = generation;
	loop_timer_cancel(l->session->loop, &l->retry);
	l->retry_ms = 0;
	if (l->blind && l->session->set->poll_interval_ms > 0)
		loop_timer_set(l->session->loop, &l->poll, l->session->set->poll_interval_ms,
			       poll_due, l);
	else
		loop_timer_cancel(l->session->loop, &l->poll);
}

static int watch_send(struct holder_link *l, int *fds, int n, uint64_t nonce)
{
	struct ipc_out *out = ipc_out_create(IPC_WATCH);

	if (out == NULL)
		return -ENOMEM;
	ipc_out_u64(out, nonce);
	ipc_out_bin(out, mailbox_id(l->session->box), 16);
	ipc_out_u64(out, n == 0);
	for (int i = 0; i < n; i++)
		ipc_out_fd(out, fds[i]);
	return link_send(l, &out);
}

/* For the selected mailbox; 0 or -errno. */
static int watch_ask(struct holder_link *l)
{
	int fds[2] = { -1, -1 }, n, ret;

	l->watching = l->blind = false;
	n = mailbox_watch_dirs(l->session->box, fds);
	if (n < 0)
		return n;
	ret = watch_send(l, fds, n, ++l->nonce);
	l->asked = ret == 0;
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	return ret;
}

void holder_link_subscribe(struct holder_link *l)
{
	/* Not yet answered: asking again would only fill its queue. */
	if (!l->asked)
		(void)watch_ask(l);
	if (l->fd >= 0)
		retry_after(l, UNWATCHED_POLL_MS);
}

int holder_link_watch(struct holder_link *l)
{
	static const uint32_t types[] = { IPC_WATCHED };
	uint64_t due = clock_ms() + KEPT_TIMEOUT_MS;
	int ret = watch_ask(l);

	while (ret == 0) {
		struct ipc_in *in = NULL;
		uint64_t now = clock_ms();

		ret = holder_link_wait(l, due > now ? due - now : 0, types, 1, &in);
		if (ret < 0)
			break;
		if (ipc_in_u64(in) == l->nonce) {
			watched(l, in);
			ipc_in_destroy(&in);
			return 0;
		}
		ipc_in_destroy(&in);
	}
	/* It may come yet; meanwhile nobody may be left unwatched. */
	if (l->fd >= 0)
		retry_after(l, UNWATCHED_POLL_MS);
	return ret;
}

void holder_link_unwatch(struct holder_link *l)
{
	struct ipc_out *out;

	loop_timer_cancel(l->session->loop, &l->poll);
	l->generation = 0;
	if (!l->watching && !l->blind && !l->asked)
		return;
	l->asked = false;
	l->watching = l->blind = false;
	if ((out = ipc_out_create(IPC_WATCH)) == NULL)
		return;
	ipc_out_u64(out, ++l->nonce);
	ipc_out_bin(out, NULL, 0);
	ipc_out_u64(out, 0);
	(void)link_send(l, &out);
}
