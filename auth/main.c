/* SPDX-License-Identifier: MIT */
/* auth: checks passwords, looks users up, counts sessions, issues tickets.
 * Started by master with the setup channel as descriptor 3; what comes over
 * which channel is in doc/ipc.md. It talks to no client. */
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth.h"
#include "auth/rights.h"
#include "auth/scram.h"
#include "auth/sysuser.h"
#include "auth/users.h"
#include "auth/workers.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/hkdf.h"
#include "lib/ipc-peer.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/settings.h"
#include "lib/version.h"

struct program {
	struct loop *loop;
	struct ipc_peer *setup;
	struct settings settings;
	struct rights rights;
	struct users *users;
	struct workers *workers;
	struct sysusers *sysusers;
	struct ticket_key key;
	struct auth *auth;
	int exit_status;
};

/* ---- SETUP, before there is a loop ---- */

static int setup_read(struct settings *settings, int *key_fd_r)
{
	struct pollfd p = { .fd = IPC_SETUP_FD, .events = POLLIN };
	struct ipc_in *in = NULL;
	int ret;

	do {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		ret = ipc_recv(IPC_SETUP_FD, &in);
	} while (ret == -EAGAIN);
	if (ret < 0)
		return ret;
	ret = ipc_in_type(in) == IPC_SETUP ? settings_unpack(settings, in) : -EBADMSG;
	if (ret == 0) {
		*key_fd_r = ipc_in_fd(in);
		if (!ipc_in_done(in))
			ret = -EBADMSG;
	}
	ipc_in_destroy(&in);
	return ret;
}

/* ---- messages of master ---- */

static void program_idle(void *ctx)
{
	struct program *p = ctx;

	loop_stop(p->loop);
}

static void workers_lost(void *ctx)
{
	struct program *p = ctx;

	log_error("exit", "reason=\"no process is left that checks passwords\"");
	p->exit_status = EXIT_FAILURE;
	loop_stop(p->loop);
}

static void sysusers_lost(void *ctx)
{
	struct program *p = ctx;

	log_error("exit", "reason=\"no process is left that asks PAM\"");
	p->exit_status = EXIT_FAILURE;
	loop_stop(p->loop);
}

static bool on_channel(struct program *p, struct ipc_in *in)
{
	uint32_t role = ipc_in_u32(in);
	int fd = ipc_in_fd(in);

	if (!ipc_in_done(in)) {
		fd_close(&fd);
		return false;
	}
	switch (role) {
	case ROLE_LOGIN:
	case ROLE_IMAP:
	case ROLE_HOLDER:
	case ROLE_MASTER:
	case ROLE_CONTROL:
		break;
	default:
		close(fd);
		return false;
	}
	int ret = auth_add_channel(p->auth, (enum ipc_role)role, fd);
	if (ret < 0)
		log_error("channel", "cannot be added: %s", strerror(-ret));
	return true;
}

static bool on_control(struct program *p, struct ipc_in *in)
{
	int fd = ipc_in_fd(in);

	if (!ipc_in_done(in)) {
		fd_close(&fd);
		return false;
	}
	int ret = auth_add_channel(p->auth, ROLE_CONTROL, fd);
	if (ret < 0)
		log_error("control", "cannot be added: %s", strerror(-ret));
	return true;
}

static bool on_stop(struct program *p, struct ipc_in *in)
{
	uint32_t how = ipc_in_u32(in);

	if (!ipc_in_done(in))
		return false;
	if (how == STOP_NOW)
		loop_stop(p->loop);
	else
		auth_finish(p->auth);
	return true;
}

static bool on_status(struct program *p, struct ipc_in *in)
{
	char line[160];

	auth_status(p->auth, line, sizeof(line));
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
		/* master is gone: what was asked is answered, then it is over. */
		log_debug("setup", "master is gone");
		ipc_peer_destroy(&p->setup);
		auth_finish(p->auth);
		return;
	}
	switch (ipc_in_type(in)) {
	case IPC_CHANNEL:	good = on_channel(p, in); break;
	case IPC_CONTROL:	good = on_control(p, in); break;
	case IPC_STOP:		good = on_stop(p, in); break;
	case IPC_STATUS:	good = on_status(p, in); break;
	}
	if (!good)
		log_error("setup", "message=%u reason=\"malformed or not allowed\"",
			ipc_in_type(in));
}

/* ---- */

static void on_terminate(void *ctx, int signo)
{
	struct program *p = ctx;

	auth_finish(p->auth);
}

static void on_dump(void *ctx, int signo)
{
	struct program *p = ctx;

	auth_dump(p->auth);
}

static void program_log(const struct settings *s)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	enum log_level least = LOG_L_INFO;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(s->log_level, names[i]) == 0)
			least = (enum log_level)i;
	log_open("auth", strcmp(s->log, "syslog") == 0 ? LOG_TO_SYSLOG : LOG_TO_STDERR, least);
}

static int program_signals(struct program *p)
{
	signal(SIGPIPE, SIG_IGN);
	/* From a terminal: master is interrupted too, and tells us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);	/* meant for sessions */
	/* Workers are not waited for. */
	signal(SIGCHLD, SIG_IGN);
	int ret = loop_signal(p->loop, SIGTERM, on_terminate, p);
	return ret < 0 ? ret : loop_signal(p->loop, SIGUSR1, on_dump, p);
}

/* What loads files at its first use does it now. */
static void warm_up(void)
{
	uint8_t mac[32];

	(void)hmac_sha256("", 0, "", 0, mac);
	(void)getpwnam("root");
	(void)getgrnam("root");
	(void)scram_init();		/* tried again when it is needed */
}

/* One that the next auth has, too. */
static struct users *program_users(const struct program *p)
{
	uint8_t secret[32];

	if (hkdf_sha256(p->key.bytes, sizeof(p->key.bytes), NULL, 0, "auth users", 10, secret,
		    sizeof(secret)) < 0)
		return NULL;
	struct users *users = users_create(&p->settings, secret);
	explicit_bzero(secret, sizeof(secret));
	return users;
}

/* The workers come first: they must know no key and no user. */
static int program_prepare(struct program *p, int key_fd)
{
	struct auth_parts parts = { .idle = program_idle, .ctx = p };

	int ret = rights_plan(&p->settings, &p->rights);
	if (ret == 0)
		ret = workers_start(&p->workers, p->rights.uid, p->rights.gid);
	if (ret == 0)
		ret = sysusers_start(&p->sysusers, &p->settings);
	if (ret == 0)
		ret = ticket_key_read(key_fd, &p->key);
	if (ret == 0)
		ret = ticket_boot_id(parts.boot_id);
	if (ret < 0)
		return ret;
	warm_up();
	p->users = program_users(p);
	p->loop = loop_create();
	if (!p->users || !p->loop)
		return -ENOMEM;
	parts.loop = p->loop;
	parts.settings = &p->settings;
	parts.key = &p->key;
	parts.users = p->users;
	parts.workers = p->workers;
	parts.sysusers = p->sysusers;
	p->auth = auth_create(&parts);
	if (!p->auth)
		return -ENOMEM;
	ret = program_signals(p);
	if (ret == 0)
		ret = workers_attach(p->workers, p->loop, workers_lost, p);
	if (ret == 0)
		ret = sysusers_attach(p->sysusers, p->loop, sysusers_lost, p);
	return ret;
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
	auth_destroy(&p->auth);
	workers_destroy(&p->workers);
	sysusers_destroy(&p->sysusers);
	users_destroy(&p->users);
	ipc_peer_destroy(&p->setup);
	loop_destroy(&p->loop);
	settings_deinit(&p->settings);
	ticket_key_wipe(&p->key);
}

int main(int argc, char **argv)
{
	struct program p = { .exit_status = EXIT_SUCCESS };
	int key_fd = -1;

	version_check(argc, argv);
	log_open("auth", LOG_TO_STDERR, LOG_L_INFO);
	log_crash_handler();
	fault_init();
	int ret = setup_read(&p.settings, &key_fd);
	if (ret < 0) {
		log_error("start", "no SETUP on descriptor %d (auth is started by master): %s",
			IPC_SETUP_FD, strerror(-ret));
		return EXIT_FAILURE;
	}
	program_log(&p.settings);
	ret = program_prepare(&p, key_fd);
	fd_close(&key_fd);
	if (ret == 0)
		ret = rights_drop(&p.settings, &p.rights);
	if (ret == 0)
		ret = program_ready(&p);
	if (ret == 0) {
		loop_run(p.loop);
	} else {
		log_error("start", "failed: %s", strerror(-ret));
		p.exit_status = EXIT_FAILURE;
	}
	program_end(&p);
	return p.exit_status;
}
