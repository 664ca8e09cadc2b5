/* SPDX-License-Identifier: MIT */
#include "master/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/ipc.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"

/* A verb and a few arguments. */
#define REQUEST_MAX_BYTES	8192
/* Operators, scripts and monitoring; more is a loop gone wild. */
#define CONTROL_CONNS_MAX	64
#define CONTROL_TIMEOUT_MS	10000
/* accept() failed, and would again at once: the connection is still there. */
#define CONTROL_ACCEPT_AGAIN_MS	100

struct conn {
	struct list node;
	struct control *control;
	int fd;
	struct loop_io io;
	struct loop_timer timer;
	bool waits_for_stop;
};
struct control {
	struct loop *loop;
	int listen_fd;
	struct loop_io io;
	struct loop_timer timer;
	const struct control_host *host;
	struct list conns;
	unsigned n_conns;
	uid_t uid;
};

static const struct verb {
	const char *name;
	enum ipc_role role;
} verbs[] = {
	{ "status", ROLE_MASTER },
	{ "stop", ROLE_MASTER },
	{ "upgrade", ROLE_MASTER },
	{ "reload", ROLE_MASTER },
	{ "who", ROLE_HOLDER },
	{ "sleep", ROLE_HOLDER },
	{ "wake", ROLE_HOLDER },
	{ "kick", ROLE_HOLDER },
	{ "holder", ROLE_HOLDER },
	{ "state-dump", ROLE_HOLDER },
	{ "sessions", ROLE_AUTH },
	{ "user", ROLE_AUTH },
};

void control_end(int fd, bool ok, const char *text)
{
	struct ipc_out *out = ipc_out_create(CTL_END);

	if (out) {
		ipc_out_bool(out, ok);
		ipc_out_str(out, text);
	}
	(void)ipc_send_free(fd, &out);
}

static void conn_destroy(struct conn *c)
{
	loop_remove(c->control->loop, &c->io);
	loop_timer_cancel(c->control->loop, &c->timer);
	list_remove(&c->node);
	c->control->n_conns--;
	close(c->fd);
	free(c);
}

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

/* The request, left in the connection. 0 or -errno. */
static int request_peek(int fd, struct ipc_in **in_r)
{
	char data[REQUEST_MAX_BYTES];
	ssize_t n = recv(fd, data, sizeof(data), MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	if ((size_t)n > sizeof(data))
		return -EMSGSIZE;
	return ipc_in_decode(data, (size_t)n, in_r);
}

static void serve_stop(struct conn *c, const char *how)
{
	struct control *ctl = c->control;

	c->waits_for_stop = true;
	loop_timer_cancel(ctl->loop, &c->timer);
	ctl->host->stop(ctl->host->ctx,
			strcmp(how, "now") == 0 ? STOP_NOW :
			strcmp(how, "keep") == 0 ? STOP_REPLACE : STOP_BYE);
}

static void serve(struct conn *c, const struct verb *verb, struct ipc_in *in)
{
	const struct control_host *host = c->control->host;
	uint32_t n_args = ipc_in_array(in);

	if (verb->role != ROLE_MASTER) {
		if (host->hand_on(host->ctx, verb->role, c->fd) < 0)
			control_end(c->fd, false, verb->role == ROLE_HOLDER ?
				    "imap-hibernate does not run at the moment; "
				    "try again" : "auth does not run at the moment; "
				    "try again");
		conn_destroy(c);
		return;
	}
	if (strcmp(verb->name, "stop") == 0) {
		const char *how = n_args > 0 ? ipc_in_str(in) : "bye";

		if (!ipc_in_bad(in) && n_args <= 1) {
			serve_stop(c, how);
			return;
		}
		control_end(c->fd, false, "stop takes \"bye\", \"now\" or \"keep\"");
	} else if (strcmp(verb->name, "upgrade") == 0 || strcmp(verb->name, "reload") == 0) {
		int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);

		if (fd >= 0)
			host->upgrade(host->ctx, *verb->name == 'r', fd);
		else
			control_end(c->fd, false, strerror(errno));
	} else {
		host->status(host->ctx, c->fd);
	}
	conn_destroy(c);
}

static void conn_request(struct conn *c, struct ipc_in *in)
{
	const struct verb *verb;
	struct ipc_in *taken;

	if (ipc_in_type(in) != CTL_REQUEST) {
		conn_destroy(c);
		return;
	}
	verb = verb_find(ipc_in_str(in));
	if (!verb) {
		control_end(c->fd, false, "no such verb in this version");
		conn_destroy(c);
		return;
	}
	/* What is served here is taken out; what is not stays for its server. */
	if (verb->role == ROLE_MASTER && ipc_recv(c->fd, &taken) == 0)
		ipc_in_destroy(&taken);
	serve(c, verb, in);
}

static void conn_ready(void *ctx, uint32_t events)
{
	struct conn *c = ctx;
	struct ipc_in *in = NULL;
	int ret = request_peek(c->fd, &in);

	(void)events;
	if (ret == -EAGAIN)
		return;
	if (ret < 0 || c->waits_for_stop) {
		if (ret < 0 && ret != -EPIPE)
			log_warn("control", "error=%s", log_str(strerror(-ret)));
		conn_destroy(c);
	} else {
		conn_request(c, in);
	}
	ipc_in_destroy(&in);
}

static void conn_timeout(void *ctx)
{
	conn_destroy(ctx);
}

static bool peer_is_permitted(const struct control *ctl, int fd)
{
	struct ipc_cred cred;

	if (ipc_peer_cred(fd, &cred) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == ctl->uid)
		return true;
	log_warn("control-refused", "uid=%u pid=%d", cred.uid, (int)cred.pid);
	control_end(fd, false, "only root and the server's own user may ask");
	return false;
}

static void control_take(struct control *ctl, int fd)
{
	struct conn *c = ctl->n_conns < CONTROL_CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		control_end(fd, false, "too many at once; try again");
		close(fd);
		return;
	}
	c->control = ctl;
	c->fd = fd;
	list_append(&ctl->conns, &c->node);
	ctl->n_conns++;
	if (loop_add(ctl->loop, &c->io, fd, EPOLLIN, conn_ready, c) < 0 ||
	    loop_timer_set(ctl->loop, &c->timer, CONTROL_TIMEOUT_MS, conn_timeout, c) < 0)
		conn_destroy(c);
}

static void control_accept_again(void *ctx)
{
	struct control *ctl = ctx;

	loop_set_events(ctl->loop, &ctl->io, EPOLLIN);
}

static void control_accept(void *ctx, uint32_t events)
{
	struct control *ctl = ctx;
	int fd, ret = ipc_accept(ctl->listen_fd, &fd);

	(void)events;
	if (ret < 0) {
		if (ret == -EAGAIN)
			return;
		log_warn("control", "error=%s", log_str(strerror(-ret)));
		loop_set_events(ctl->loop, &ctl->io, 0);
		loop_timer_set(ctl->loop, &ctl->timer, CONTROL_ACCEPT_AGAIN_MS,
			       control_accept_again, ctl);
		return;
	}
	if (peer_is_permitted(ctl, fd))
		control_take(ctl, fd);
	else
		close(fd);
}

struct control *control_create(struct loop *loop, int listen_fd,
			       const struct control_host *host)
{
	struct control *ctl = calloc(1, sizeof(*ctl));
	int ret;

	if (!ctl)
		return NULL;
	ctl->loop = loop;
	ctl->listen_fd = listen_fd;
	ctl->host = host;
	ctl->uid = geteuid();
	list_init(&ctl->conns);
	ret = loop_add(loop, &ctl->io, listen_fd, EPOLLIN, control_accept, ctl);
	if (ret < 0) {
		free(ctl);
		errno = -ret;
		return NULL;
	}
	return ctl;
}

void control_stopped(struct control *ctl)
{
	list_for_each(node, &ctl->conns) {
		struct conn *c = container_of(node, struct conn, node);

		if (c->waits_for_stop)
			control_end(c->fd, true, "");
	}
}

void control_destroy(struct control **control)
{
	struct control *ctl = *control;

	if (!ctl)
		return;
	list_for_each_safe(node, &ctl->conns)
		conn_destroy(container_of(node, struct conn, node));
	loop_remove(ctl->loop, &ctl->io);
	loop_timer_cancel(ctl->loop, &ctl->timer);
	free(ctl);
	*control = NULL;
}
