/* SPDX-License-Identifier: MIT */
/* Clients live in slots; a question to auth carries its client's slot and a
 * serial number, so that an answer finds its client, or finds that the client
 * has gone, without a search.
 *
 * Channels to auth overlap when auth is replaced in an orderly way: questions
 * that went over the old one are answered over it. A channel that ends takes
 * its questions with it.
 *
 * When all places are taken, the next to come gets the place of one that has
 * not logged in: of the address that has most of them the one that was here
 * longest. So a crowd from one address displaces itself, and nobody can keep
 * others out by sitting still.
 *
 * Who has his ticket waits in line for the login queue, first come first
 * served; the queue is shared with other imap-login processes, and the spares
 * empty it. */
#include "imap-login/login.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "imap-login/client.h"
#include "imap-login/tls-handshake.h"
#include "lib/cleanup.h"
#include "lib/ipc-peer.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/settings.h"

/* Connections taken from one listener in a turn: others want their turn too. */
#define ACCEPTS_PER_TURN	16
/* Out of descriptors or memory: look again after this long. */
#define ACCEPT_PAUSE_MS		500
/* The kernel limits descriptors in flight (ETOOMANYREFS): no event tells
 * when there are fewer. */
#define QUEUE_RETRY_MS		50
/* The slot's part of a question's number. */
#define SLOT_BITS		24
#define SLOT_MAX		(1u << SLOT_BITS)

struct listener {
	struct list node;
	struct login *login;
	struct loop_io io;
	int fd;
	bool tls;
};

struct auth_link {
	struct list node;
	struct login *login;
	struct ipc_peer *peer;	/* NULL: ended */
	size_t asked;		/* clients that wait for its answers */
};

struct login {
	struct login_parts parts;
	struct list listeners;
	struct loop_timer pause;
	bool paused, started, finishing;
	bool crowded;			/* all places taken, by such as must stay */
	struct client **slots;
	uint64_t *since;		/* by slot: n_accepted when it came */
	unsigned *free_slots;
	unsigned n_slots, n_free;
	struct list links;
	struct auth_link *link;		/* the newest, or NULL */
	uint64_t serial;
	struct loop_io queue_io;
	struct loop_timer queue_retry;
	struct list line;		/* waiting for the queue */
	uint64_t n_accepted, n_handed_over;
	struct tls_server *tls;		/* or NULL */
	uint64_t n_tls, n_tls_resumed, n_tls_failed;
};

struct loop *login_loop(struct login *login)
{
	return login->parts.loop;
}

const struct settings *login_settings(const struct login *login)
{
	return login->parts.settings;
}

static void login_update_listeners(struct login *login);

struct tls_server *login_tls(const struct login *login)
{
	return login->tls;
}

struct tls_crypto *login_crypto(const struct login *login)
{
	return login->parts.crypto;
}

void login_set_tls(struct login *login, struct tls_server *server)
{
	tls_server_unref(&login->tls);
	login->tls = server;
	login_update_listeners(login);
}

void login_count_tls(struct login *login, bool good, bool resumed)
{
	login->n_tls += good;
	login->n_tls_resumed += good && resumed;
	login->n_tls_failed += !good;
}

/* ---- accepting ---- */

static void listener_ready(void *ctx, uint32_t events);

/* Who cannot take a client does not ask for one: else the loop would spin. */
static void login_update_listeners(struct login *login)
{
	bool want = login->started && !login->finishing && !login->paused &&
		    !login->crowded;

	list_for_each(node, &login->listeners) {
		struct listener *l = container_of(node, struct listener, node);
		/* Without a certificate (it cannot be read since a restart) its
		   clients wait: they must not be served in clear text. */
		if (!want || (l->tls && !login->tls))
			loop_remove(login->parts.loop, &l->io);
		else if (!l->io.active &&
			 /* One connection wakes one process, not all of them. */
			 loop_add(login->parts.loop, &l->io, l->fd,
				 EPOLLIN | EPOLLEXCLUSIVE, listener_ready, l) < 0)
			log_error("listen", "cannot poll: %s", strerror(errno));
	}
}

static void pause_over(void *ctx)
{
	struct login *login = ctx;

	login->paused = false;
	login_update_listeners(login);
}

static void login_pause(struct login *login, int error)
{
	log_warn("accept", "reason=%s clients=%u pause_ms=%d", log_str(strerror(error)),
		login->n_slots - login->n_free, ACCEPT_PAUSE_MS);
	login->paused = true;
	if (loop_timer_set(login->parts.loop, &login->pause, ACCEPT_PAUSE_MS, pause_over,
		    login) < 0)
		login->paused = false;
	login_update_listeners(login);
}

#define CROWD_BUCKETS	1024u

static unsigned crowd_bucket(const char *ip)
{
	uint32_t h = 2166136261u;	/* FNV-1a */

	for (; *ip; ip++)
		h = (h ^ (uint8_t)*ip) * 16777619u;
	return (h ^ h >> 16) % CROWD_BUCKETS;
}

/* Whose place the next one gets; n_slots: nobody's. Addresses that fall into
 * one bucket pass for one. */
static unsigned login_whose_place(const struct login *login)
{
	unsigned crowd[CROWD_BUCKETS] = { 0 }, best = login->n_slots, most = 0;

	for (unsigned i = 0; i < login->n_slots; i++) {
		const char *ip = login->slots[i] ? client_spare_address(login->slots[i]) : NULL;
		if (ip)
			crowd[crowd_bucket(ip)]++;
	}
	for (unsigned i = 0; i < login->n_slots; i++) {
		const char *ip = login->slots[i] ? client_spare_address(login->slots[i]) : NULL;
		unsigned n = ip ? crowd[crowd_bucket(ip)] : 0;
		if (n < most || n == 0 || (n == most && login->since[i] > login->since[best]))
			continue;
		most = n;
		best = i;
	}
	return best;
}

/* False: there is no place, and nobody who could give his up. */
static bool login_has_place(struct login *login, unsigned *victim)
{
	*victim = login->n_slots;
	if (login->n_free > 0)
		return true;
	*victim = login_whose_place(login);
	if (*victim < login->n_slots)
		return true;
	log_warn("full", "clients=%u: login_max_clients is reached", login->n_slots);
	login->crowded = true;
	login_update_listeners(login);
	return false;
}

static void login_new_client(struct login *login, int fd, const struct sockaddr_storage *sa,
	bool tls)
{
	unsigned slot = login->free_slots[--login->n_free];

	login->since[slot] = ++login->n_accepted;
	login->slots[slot] = client_create(login, slot, fd, sa, tls);
}

/* False: no more now. */
static bool listener_accept(struct listener *l)
{
	struct login *login = l->login;
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	unsigned victim;

	if (!login_has_place(login, &victim))
		return false;
	int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		if (victim < login->n_slots)
			client_send_away(&login->slots[victim]);
		login_new_client(login, fd, &sa, l->tls);
		return true;
	}
	switch (errno) {
	case EAGAIN:
		return false;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		login_pause(login, errno);
		return false;
	default:
		/* accept(2): errors of the connection that is gone already. */
		return true;
	}
}

static void listener_ready(void *ctx, uint32_t events)
{
	struct listener *l = ctx;

	for (int i = 0; i < ACCEPTS_PER_TURN && listener_accept(l); i++)
		;
}

int login_add_listener(struct login *login, int fd, bool tls)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	l->login = login;
	l->fd = fd;
	l->tls = tls;
	list_append(&login->listeners, &l->node);
	/* Shared with other processes: one of them may be quicker. */
	return ipc_set_blocking(fd, false);
}

void login_start(struct login *login)
{
	login->started = true;
	login_update_listeners(login);
}

static void login_close_listeners(struct login *login)
{
	list_for_each_safe(node, &login->listeners) {
		struct listener *l = container_of(node, struct listener, node);
		loop_remove(login->parts.loop, &l->io);
		fd_close(&l->fd);
		list_remove(&l->node);
		free(l);
	}
}

void login_client_is_spare(struct login *login)
{
	if (!login->crowded)
		return;
	login->crowded = false;
	login_update_listeners(login);
}

void login_client_gone(struct login *login, unsigned slot)
{
	login->slots[slot] = NULL;
	login->free_slots[login->n_free++] = slot;
	login_client_is_spare(login);
	if (login->finishing && login->n_free == login->n_slots)
		login->parts.idle(login->parts.ctx);
}

/* ---- auth ---- */

uint64_t login_question_id(struct login *login, const struct client *c, unsigned slot)
{
	return ++login->serial << SLOT_BITS | slot;
}

static struct client *login_client_of(const struct login *login, uint64_t id)
{
	unsigned slot = (unsigned)(id & (SLOT_MAX - 1));

	return slot < login->n_slots ? login->slots[slot] : NULL;
}

/* Links stay while clients point at them. */
static void link_check(struct auth_link *link)
{
	struct login *login = link->login;

	if (link->asked > 0 || (link == login->link && link->peer))
		return;
	if (link == login->link)
		login->link = NULL;
	ipc_peer_destroy(&link->peer);
	list_remove(&link->node);
	free(link);
}

void login_release(struct login *login, struct auth_link **link_p)
{
	struct auth_link *link = *link_p;

	*link_p = NULL;
	link->asked--;
	link_check(link);
}

int login_ask(struct login *login, struct ipc_out **out, struct auth_link **link_r)
{
	struct auth_link *link = login->link;

	if (!*out)
		return -ENOMEM;
	if (!link || !link->peer)
		return -EAGAIN;
	int ret = ipc_peer_send(link->peer, out);
	/* Its end will be told in a moment; the question is gone with it. */
	if (ret < 0)
		return ret == -EAGAIN ? -ENOBUFS : ret;
	link->asked++;
	*link_r = link;
	return 0;
}

int login_ask_on(struct auth_link *link, struct ipc_out **out)
{
	if (!*out)
		return -ENOMEM;
	if (link->peer)
		return ipc_peer_send(link->peer, out);
	ipc_out_destroy(out);
	return -EPIPE;
}

static void link_lost(struct auth_link *link, int error)
{
	struct login *login = link->login;

	if (link == login->link) {
		log_warn("auth", "channel ended: %s", error ? strerror(-error) : "auth is gone");
		login->link = NULL;
	}
	ipc_peer_destroy(&link->peer);
	link->asked++;		/* keeps it while its clients are told */
	for (unsigned i = 0; i < login->n_slots; i++)
		if (login->slots[i])
			client_auth_lost(login->slots[i], link);
	link->asked--;
	link_check(link);
}

/* False: malformed. */
static bool link_answer(struct login *login, struct ipc_in *in)
{
	uint64_t id = ipc_in_u64(in);
	struct client *c = login_client_of(login, id);

	if (ipc_in_type(in) == IPC_AUTH_OK) {
		size_t len;
		const void *ticket = ipc_in_bin(in, &len);
		if (!ipc_in_done(in))
			return false;
		if (c)
			client_auth_ok(c, id, ticket, len);
		return true;
	}
	if (ipc_in_type(in) == IPC_AUTH_FAIL) {
		uint64_t code = ipc_in_u64(in);
		const char *text = ipc_in_str(in);
		uint64_t late_ms = ipc_in_u64(in);
		if (!ipc_in_done(in))
			return false;
		if (c)
			client_auth_fail(c, id, code, text, late_ms);
		return true;
	}
	if (ipc_in_type(in) == IPC_AUTH_CHALLENGE) {
		size_t len;
		const void *challenge = ipc_in_bin(in, &len);
		(void)ipc_in_bool(in);		/* auth looks whether the answer is empty */
		if (!ipc_in_done(in) || len > 2 * SASL_MESSAGE_MAX_BYTES)
			return false;
		if (c)
			client_auth_challenge(c, id, challenge, len);
		return true;
	}
	return false;
}

static void link_message(void *ctx, struct ipc_in *in, int error)
{
	struct auth_link *link = ctx;

	if (!in) {
		link_lost(link, error);
		return;
	}
	if (link_answer(link->login, in))
		return;
	log_error("auth", "message=%u reason=\"malformed or not allowed\"", ipc_in_type(in));
	link_lost(link, -EBADMSG);
}

int login_set_auth(struct login *login, int fd)
{
	struct auth_link *link = calloc(1, sizeof(*link)), *old = login->link;

	if (!link) {
		close(fd);
		return -ENOMEM;
	}
	link->login = login;
	list_append(&login->links, &link->node);
	link->peer = ipc_peer_create(login->parts.loop, fd, link_message, link);
	if (!link->peer) {
		list_remove(&link->node);
		free(link);
		return -ENOMEM;
	}
	login->link = link;
	if (old)
		link_check(old);
	/* A client that is gone after this leaves its slot empty. */
	for (unsigned i = 0; i < login->n_slots; i++)
		if (login->slots[i])
			client_auth_is_back(login->slots[i]);
	return 0;
}

/* ---- the login queue ---- */

static void queue_ready(void *ctx, uint32_t events);

static void queue_retry(void *ctx)
{
	queue_ready(ctx, EPOLLOUT);
}

static void queue_wait(struct login *login, int error)
{
	struct loop *loop = login->parts.loop;

	if (error == -ETOOMANYREFS) {
		(void)loop_timer_set(loop, &login->queue_retry, QUEUE_RETRY_MS, queue_retry,
			login);
		return;
	}
	if (!login->queue_io.active && loop_add(loop, &login->queue_io, login->parts.queue_fd,
					       EPOLLOUT, queue_ready, login) < 0)
		(void)loop_timer_set(loop, &login->queue_retry, QUEUE_RETRY_MS, queue_retry,
			login);
}

static void queue_ready(void *ctx, uint32_t events)
{
	struct login *login = ctx;

	loop_remove(login->parts.loop, &login->queue_io);
	loop_timer_cancel(login->parts.loop, &login->queue_retry);
	/* The first in line takes itself out of it, or is still in it. */
	while (!list_empty(&login->line) && client_queue_is_free(login->line.next))
		;
}

int login_hand_over(struct login *login, const void *packet, size_t len, int fd,
	struct list *node)
{
	bool in_line = !list_empty(node);
	bool first = login->line.next == node;

	if (!list_empty(&login->line) && !first) {
		if (!in_line)
			list_append(&login->line, node);
		return -EAGAIN;
	}
	int ret = ipc_send_raw(login->parts.queue_fd, packet, len, &fd, 1);
	if (ret == -EAGAIN || ret == -ETOOMANYREFS) {
		if (!in_line)
			list_append(&login->line, node);
		queue_wait(login, ret);
		return -EAGAIN;
	}
	if (ret == 0)
		login->n_handed_over++;
	return ret;
}

/* ---- making and ending ---- */

static int login_make_slots(struct login *login)
{
	unsigned n = login->parts.settings->login_max_clients;

	if (n == 0 || n >= SLOT_MAX)
		return -EINVAL;
	login->slots = calloc(n, sizeof(struct client *));
	login->free_slots = calloc(n, sizeof(*login->free_slots));
	login->since = calloc(n, sizeof(*login->since));
	if (!login->slots || !login->free_slots || !login->since)
		return -ENOMEM;
	/* The lowest slots are used first. */
	for (unsigned i = 0; i < n; i++)
		login->free_slots[i] = n - 1 - i;
	login->n_slots = login->n_free = n;
	return 0;
}

struct login *login_create(const struct login_parts *parts)
{
	struct login *login = calloc(1, sizeof(*login));

	if (!login)
		return NULL;
	login->parts = *parts;
	list_init(&login->listeners);
	list_init(&login->links);
	list_init(&login->line);
	if (login_make_slots(login) < 0 || ipc_set_blocking(parts->queue_fd, false) < 0) {
		login->parts.queue_fd = -1;
		login_destroy(&login);
	}
	return login;
}

void login_destroy(struct login **login_p)
{
	struct login *login = *login_p;

	*login_p = NULL;
	if (!login)
		return;
	login->finishing = false;	/* nobody is to be told */
	login->started = false;
	for (unsigned i = 0; login->slots && i < login->n_slots; i++)
		client_destroy(&login->slots[i], "imap-login ends");
	login_close_listeners(login);
	list_for_each_safe(node, &login->links) {
		struct auth_link *link = container_of(node, struct auth_link, node);
		ipc_peer_destroy(&link->peer);
		link_check(link);
	}
	loop_timer_cancel(login->parts.loop, &login->pause);
	loop_timer_cancel(login->parts.loop, &login->queue_retry);
	loop_remove(login->parts.loop, &login->queue_io);
	fd_close(&login->parts.queue_fd);
	tls_server_unref(&login->tls);
	free(login->slots);
	free(login->since);
	free(login->free_slots);
	free(login);
}

void login_finish(struct login *login, bool bye)
{
	login->finishing = true;
	login_close_listeners(login);
	for (unsigned i = 0; bye && i < login->n_slots; i++)
		if (login->slots[i])
			client_stop(login->slots[i]);
	if (login->n_free == login->n_slots)
		login->parts.idle(login->parts.ctx);
}

static unsigned line_length(const struct login *login)
{
	unsigned n = 0;

	list_for_each(node, &login->line)
		n++;
	return n;
}

void login_status(const struct login *login, char *line, size_t size)
{
	snprintf(line, size, "clients=%u accepted=%llu handed_over=%llu queue=%u auth=%s "
		"tls=%llu tls_resumed=%llu tls_failed=%llu",
		login->n_slots - login->n_free, (unsigned long long)login->n_accepted,
		(unsigned long long)login->n_handed_over, line_length(login),
		login->link ? "yes" : "no", (unsigned long long)login->n_tls,
		(unsigned long long)login->n_tls_resumed,
		(unsigned long long)login->n_tls_failed);
}

void login_dump(const struct login *login)
{
	char line[200];

	login_status(login, line, sizeof(line));
	log_info("dump", "%s paused=%d finishing=%d", line, login->paused, login->finishing);
	for (unsigned i = 0; i < login->n_slots; i++)
		if (login->slots[i])
			client_dump(login->slots[i]);
}
