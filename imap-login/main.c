/* SPDX-License-Identifier: MIT */
/* imap-login: accepts connections, serves the few commands before login, asks
 * auth, and gives the client away to a spare imap process. Started by master
 * with the setup channel as descriptor 3; what comes over which channel is in
 * doc/ipc.md. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "imap-login/certs.h"
#include "imap-login/client.h"
#include "imap-login/login.h"
#include "imap-login/tls-handshake.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/ipc-peer.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/run-user.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/sandbox.h"
#include "lib/settings.h"
#include "lib/tls-record.h"
#include "lib/version.h"

struct program {
	struct loop *loop;
	struct ipc_peer *setup;
	struct settings settings;
	int listeners[IPC_FDS_MAX];
	bool listener_tls[IPC_FDS_MAX];
	unsigned n_listeners;
	struct tls_server *tls;		/* until there is a login */
	struct tls_crypto *crypto;
	int queue_fd;
	struct login *login;
	struct loop_timer stop;
};

/* ---- SETUP, before there is a loop ---- */

static bool listener_read(struct program *p, struct ipc_in *in)
{
	if (ipc_in_array(in) != 3)
		return false;
	(void)ipc_in_str(in);	/* address and port are the kernel's to tell */
	(void)ipc_in_u32(in);
	p->listener_tls[p->n_listeners] = ipc_in_bool(in);
	int fd = ipc_in_fd(in);
	if (fd < 0)
		return false;
	p->listeners[p->n_listeners++] = fd;
	return true;
}

static int setup_fields(struct program *p, struct ipc_in *in)
{
	if (ipc_in_type(in) != IPC_SETUP)
		return -EBADMSG;
	int ret = settings_unpack(&p->settings, in);
	if (ret < 0)
		return ret;
	uint32_t n = ipc_in_array(in);
	if (n > IPC_FDS_MAX - 1)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++)
		if (!listener_read(p, in))
			return -EBADMSG;
	p->queue_fd = ipc_in_fd(in);
	ret = certs_read(in, &p->tls);
	if (ret < 0)
		return ret;
	return ipc_in_done(in) ? 0 : -EBADMSG;
}

static int setup_read(struct program *p)
{
	struct pollfd pfd = { .fd = IPC_SETUP_FD, .events = POLLIN };
	struct ipc_in *in = NULL;
	int ret;

	do {
		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			return -errno;
		ret = ipc_recv(IPC_SETUP_FD, &in);
	} while (ret == -EAGAIN);
	if (ret == 0)
		ret = setup_fields(p, in);
	ipc_in_destroy(&in);
	return ret;
}

/* ---- messages of master ---- */

static void program_idle(void *ctx)
{
	struct program *p = ctx;

	loop_stop(p->loop);
}

static bool on_channel(struct program *p, struct ipc_in *in)
{
	uint32_t role = ipc_in_u32(in);
	int fd = ipc_in_fd(in);

	if (!ipc_in_done(in) || role != ROLE_AUTH) {
		fd_close(&fd);
		return false;
	}
	int ret = login_set_auth(p->login, fd);
	if (ret < 0)
		log_error("auth", "channel cannot be added: %s", strerror(-ret));
	return true;
}

/* Who has not logged in until now never will, over this connection. */
static void grace_over(void *ctx)
{
	struct program *p = ctx;

	(void)loop_timer_set(p->loop, &p->stop, 2 * CLIENT_LINGER_MS, program_idle, p);
	login_finish(p->login, true);
}

/* New files, or new ticket keys. Who is here stays with what it has. */
static bool on_certs(struct program *p, struct ipc_in *in)
{
	struct tls_server *server;
	int ret = certs_read(in, &server);

	if (ret == -EBADMSG || (ret == 0 && !ipc_in_done(in))) {
		tls_server_unref(&server);
		return false;
	}
	/* master has looked at them; should they not do all the same, what was
	   there before goes on. */
	if (server)
		login_set_tls(p->login, server);
	else if (ret == 0)
		log_error("certificates", "error=\"none came, the old ones stay\"");
	return true;
}

static bool on_stop(struct program *p, struct ipc_in *in)
{
	uint32_t how = ipc_in_u32(in);

	if (!ipc_in_done(in))
		return false;
	if (how == STOP_NOW) {
		loop_stop(p->loop);
		return true;
	}
	if (how == STOP_REPLACE || how == STOP_RELOAD) {
		/* Who is here may log in; the next one accepts. */
		(void)loop_timer_set(p->loop, &p->stop, p->settings.upgrade_grace_ms,
				     grace_over, p);
		login_finish(p->login, false);
		return true;
	}
	/* Clients that neither read nor close are not waited for longer. */
	(void)loop_timer_set(p->loop, &p->stop, p->settings.stop_timeout_ms, program_idle, p);
	login_finish(p->login, true);
	return true;
}

static bool on_status(struct program *p, struct ipc_in *in)
{
	char line[200];

	login_status(p->login, line, sizeof(line));
	struct ipc_out *out = ipc_out_create(IPC_STATUS);
	if (out)
		ipc_out_str(out, line);
	(void)ipc_peer_send(p->setup, &out);
	return true;
}

static void setup_message(void *ctx, struct ipc_in *in, int error)
{
	struct program *p = ctx;
	bool good = false;

	if (!in) {
		/* master is gone: who is here may log in, nobody new comes. */
		log_debug("setup", "master is gone");
		ipc_peer_destroy(&p->setup);
		login_finish(p->login, false);
		return;
	}
	switch (ipc_in_type(in)) {
	case IPC_CHANNEL:	good = on_channel(p, in); break;
	case IPC_STOP:		good = on_stop(p, in); break;
	case IPC_STATUS:	good = on_status(p, in); break;
	case IPC_CERTS:		good = on_certs(p, in); break;
	}
	if (!good)
		log_error("setup", "message=%u reason=\"malformed or not allowed\"",
			ipc_in_type(in));
}

/* ---- */

static void on_terminate(void *ctx, int signo)
{
	struct program *p = ctx;

	login_finish(p->login, false);
}

static void on_dump(void *ctx, int signo)
{
	struct program *p = ctx;

	login_dump(p->login);
}

static void program_log(const struct settings *s)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	enum log_level least = LOG_L_INFO;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(s->log_level, names[i]) == 0)
			least = (enum log_level)i;
	log_open("imap-login", strcmp(s->log, "syslog") == 0 ? LOG_TO_SYSLOG : LOG_TO_STDERR,
		least);
}

/* A descriptor a client; the rest is a handful. */
static void program_descriptors(const struct settings *s)
{
	struct rlimit limit;
	rlim_t need = s->login_max_clients + 64;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
		return;
	limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < need)
		log_warn("start", "login_max_clients=%u needs %llu descriptors, the limit is %llu",
			s->login_max_clients, (unsigned long long)need,
			(unsigned long long)limit.rlim_cur);
}

static int program_signals(struct program *p)
{
	signal(SIGPIPE, SIG_IGN);
	/* From a terminal: master is interrupted too, and tells us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);	/* meant for sessions */
	int ret = loop_signal(p->loop, SIGTERM, on_terminate, p);
	return ret < 0 ? ret : loop_signal(p->loop, SIGUSR1, on_dump, p);
}

static int program_prepare(struct program *p)
{
	struct login_parts parts = { .idle = program_idle, .ctx = p };

	program_descriptors(&p->settings);
	p->loop = loop_create();
	if (!p->loop)
		return -ENOMEM;
	parts.loop = p->loop;
	parts.settings = &p->settings;
	parts.queue_fd = p->queue_fd;
	parts.crypto = p->crypto = tls_crypto_create();
	if (!p->crypto)
		return -ENOMEM;
	p->login = login_create(&parts);
	if (!p->login)
		return -ENOMEM;
	p->queue_fd = -1;
	login_set_tls(p->login, p->tls);
	p->tls = NULL;
	for (unsigned i = 0; i < p->n_listeners; i++) {
		int ret = login_add_listener(p->login, p->listeners[i], p->listener_tls[i]);
		if (ret < 0)
			return ret;
	}
	return program_signals(p);
}

/* Everything is open: into an empty directory, another user, few calls. */
static int program_drop_rights(const struct settings *s, const char **step)
{
	bool change = geteuid() == 0 && !s->user_mode;
	uid_t uid = getuid();
	gid_t gid = getgid();
	int ret;

	*step = "login_user";
	if (change) {
		ret = run_user_lookup(s->login_user, &uid, &gid);
		if (ret < 0)
			return ret;
	}
	*step = "basics";
	if ((ret = sandbox_basics()) < 0)
		return ret;
	*step = "chroot";
	if (change && (ret = sandbox_chroot_empty(s->base_dir)) < 0)
		return ret;
	*step = "becoming login_user";
	if (change && (ret = sandbox_become(uid, gid, NULL, 0)) < 0)
		return ret;
	*step = "Landlock";
	ret = sandbox_landlock(NULL, 0);
	if (ret == -ENOSYS || ret == -EOPNOTSUPP)
		log_warn("start", "this kernel has no Landlock: going on without");
	else if (ret < 0)
		return ret;
	*step = "seccomp";
	return sandbox_seccomp(SANDBOX_LOGIN);
}

static int program_ready(struct program *p)
{
	p->setup = ipc_peer_create(p->loop, IPC_SETUP_FD, setup_message, p);
	if (!p->setup)
		return -ENOMEM;
	struct ipc_out *out = ipc_out_create(IPC_READY);
	return ipc_peer_send(p->setup, &out);
}

static void program_end(struct program *p)
{
	login_destroy(&p->login);
	tls_server_unref(&p->tls);
	tls_crypto_destroy(&p->crypto);
	ipc_peer_destroy(&p->setup);
	loop_destroy(&p->loop);
	settings_deinit(&p->settings);
	fd_close(&p->queue_fd);
}

int main(int argc, char **argv)
{
	struct program p = { .queue_fd = -1 };
	const char *step = "SETUP";

	version_check(argc, argv);
	if (!tls_library_init())
		return EXIT_FAILURE;
	log_open("imap-login", LOG_TO_STDERR, LOG_L_INFO);
	log_crash_handler();
	fault_init();
	int ret = setup_read(&p);
	if (ret == 0) {
		program_log(&p.settings);
		step = "preparing";
		ret = program_prepare(&p);
	}
	if (ret == 0)
		ret = program_drop_rights(&p.settings, &step);
	if (ret == 0) {
		step = "READY";
		ret = program_ready(&p);
	}
	if (ret == 0) {
		login_start(p.login);
		loop_run(p.loop);
	} else {
		log_error("start", "failed (%s): %s", step, strerror(-ret));
	}
	program_end(&p);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
