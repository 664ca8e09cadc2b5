/* SPDX-License-Identifier: MIT */
/* Order at the start: what the keeper keeps is taken, what is missing is made
 * and given to it; then the programs are started, each with SETUP; each two
 * that talk to each other get the ends of a socket pair, again whenever one of
 * them is new. From then on master only waits for deaths and requests. */
#include "master/master.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "master/launcher-proto.h"
#include "master/listeners.h"
#include "master/master-private.h"
#include "master/spawn.h"
#include "state/ticket.h"

/* A keeper reads its dead master's connection to the end first. */
#define KEEPER_FETCH_MS		10000
/* Until the launcher has started another keeper. */
#define KEEPER_RETRY_MS		50
/* Out of descriptors or memory: those two must still get to know each other. */
#define INTRODUCE_RETRY_MS	200
#define HOLDER_BACKLOG		1024
#define CONTROL_BACKLOG		16

static int keeper_begin(struct master *m);

const char *master_phase_name(enum master_phase phase)
{
	switch (phase) {
	case MASTER_STARTING:		return "starting";
	case MASTER_READY:		return "ready";
	case MASTER_STOP_SESSIONS:	return "stopping-sessions";
	case MASTER_STOP_IMAP:		return "stopping-imap";
	case MASTER_STOP_REST:		return "stopping-rest";
	case MASTER_STOP_KILL:		return "stopping-kill";
	}
	return "?";
}

void master_set_phase(struct master *m, enum master_phase to, const char *why)
{
	log_debug("phase", "%s -> %s (%s)", master_phase_name(m->phase),
		  master_phase_name(to), why);
	assert(to > m->phase);
	m->phase = to;
}

struct program *master_program(struct master *m, enum ipc_role role)
{
	for (unsigned i = 0; i < m->n_programs; i++) {
		if (m->programs[i].role == role && m->programs[i].fd >= 0)
			return &m->programs[i];
	}
	return NULL;
}

/* ---- what is kept ---- */

static int pair_make(struct items *items, const char *write_name, const char *read_name)
{
	int pair[2], ret;

	/* Both or none: half of a queue that is gone is no queue. */
	if (items_get(items, write_name) >= 0 && items_get(items, read_name) >= 0)
		return 0;
	ret = ipc_pair(pair);
	if (ret < 0)
		return ret;
	ret = items_put(items, write_name, pair[0]);
	if (ret < 0) {
		close(pair[1]);
		return ret;
	}
	return items_put(items, read_name, pair[1]);
}

static int socket_make(struct master *m, const char *name, mode_t mode, int backlog)
{
	char path[PATH_MAX];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s", m->config->settings.base_dir, name);
	/* A kept socket is of no use once its name is gone: a stop unlinks it,
	   and a keeper may have outlived the stop. */
	if (items_get(&m->items, name) >= 0 && access(path, F_OK) == 0)
		return 0;
	ret = ipc_listen(path, mode, backlog, &fd);
	return ret < 0 ? ret : items_put(&m->items, name, fd);
}

static int key_make(struct items *items)
{
	int fd, ret;

	if (items_get(items, "key") >= 0)
		return 0;
	ret = ticket_key_memfd(&fd);
	return ret < 0 ? ret : items_put(items, "key", fd);
}

static int items_complete(struct master *m)
{
	/* First what can fail for reasons of others, and leaves no trace. Where sessions are
	   held already it must not end them all. */
	bool first = items_get(&m->items, "key") < 0;
	int ret = listeners_prepare(m->config, &m->items, &m->given,
				    first ? NULL : &m->no_listener);

	if (ret == 0)
		ret = master_certs_begin(m, first);
	if (ret == 0)
		ret = key_make(&m->items);
	if (ret == 0)
		ret = pair_make(&m->items, "login-write", "login-read");
	if (ret == 0)
		ret = pair_make(&m->items, "wake-write", "wake-read");
	if (ret == 0)
		ret = socket_make(m, "holder", 0666, HOLDER_BACKLOG);
	if (ret == 0)
		ret = socket_make(m, "control", 0600, CONTROL_BACKLOG);
	if (ret == 0)
		ret = listeners_write_ports(m->config, &m->items);
	return ret;
}

/* ---- introductions ---- */

static void introduce_again(void *ctx);

static void introduce_failed(struct master *m, const char *one, struct program *p, int error)
{
	log_error("introduce", "one=%s other=%s error=%s", one, p->name,
		  log_str(strerror(-error)));
	p->alone = true;
	loop_timer_set(m->loop, &m->introduce_timer, INTRODUCE_RETRY_MS, introduce_again, m);
}

static void introduce(struct master *m, struct program *a, struct program *b)
{
	cleanup_fd int one = -1, other = -1;
	int pair[2], ret = fault("master-pair") ? -EMFILE : ipc_pair(pair);

	if (ret < 0) {
		introduce_failed(m, a->name, b, ret);
		return;
	}
	one = pair[0];
	other = pair[1];
	program_introduce(a, b->role, one);
	program_introduce(b, a->role, other);
}

static int keeper_introduce(struct master *m, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_CHANNEL);

	if (out) {
		ipc_out_u64(out, ROLE_HOLDER);
		ipc_out_fd(out, fd);
	}
	return ipc_send_free(m->keeper_fd, &out);
}

static void introduce_holder_to_keeper(struct master *m)
{
	struct program *holder = master_program(m, ROLE_HOLDER);
	cleanup_fd int one = -1, other = -1;
	int pair[2], ret;

	if (!holder || m->keeper_fd < 0)
		return;		/* whoever comes later brings us here again */
	ret = fault("master-pair") ? -EMFILE : ipc_pair(pair);
	if (ret == 0) {
		one = pair[0];
		other = pair[1];
		ret = keeper_introduce(m, one);
		(void)fault("master-introduced");
	}
	if (ret < 0)
		introduce_failed(m, "keeper", holder, ret);
	else
		program_introduce(holder, ROLE_KEEPER, other);
}

/* Who talks to whom; both ways. */
static bool roles_talk(enum ipc_role a, enum ipc_role b)
{
	if (a == ROLE_AUTH)
		return b == ROLE_LOGIN || b == ROLE_HOLDER;
	return b == ROLE_AUTH && (a == ROLE_LOGIN || a == ROLE_HOLDER);
}

static void on_program_started(void *ctx, struct program *p)
{
	struct master *m = ctx;

	if (p->role == ROLE_HOLDER)
		introduce_holder_to_keeper(m);
	for (unsigned i = 0; i < m->n_programs; i++) {
		struct program *other = &m->programs[i];

		if (other != p && other->fd >= 0 && roles_talk(p->role, other->role))
			introduce(m, p, other);
	}
}

static void introduce_again(void *ctx)
{
	struct master *m = ctx;

	for (unsigned i = 0; i < m->n_programs; i++) {
		struct program *p = &m->programs[i];
		bool alone = p->alone;

		p->alone = false;
		if (alone && p->fd >= 0)
			on_program_started(m, p);
	}
}

/* ---- the programs ---- */

static int listener_fd(const struct master *m, const struct config_listener *l)
{
	char name[128];

	listener_item_name(l, name, sizeof(name));
	return items_get(&m->items, name);
}

static void setup_login(struct master *m, struct ipc_out *out)
{
	const struct config_listener *open[CONFIG_LISTENERS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < m->config->n_listeners; i++) {
		if (listener_listens(listener_fd(m, &m->config->listeners[i])))
			open[n++] = &m->config->listeners[i];
	}
	ipc_out_array(out, n);
	for (unsigned i = 0; i < n; i++) {
		const struct config_listener *l = open[i];
		int fd = listener_fd(m, l);

		ipc_out_array(out, 3);
		ipc_out_str(out, l->address);
		ipc_out_u64(out, listener_port(fd));
		ipc_out_bool(out, l->tls);
		ipc_out_fd(out, fd);
	}
	ipc_out_fd(out, items_get(&m->items, "login-write"));
	master_certs_pack(m, out);
}

static void on_program_setup(void *ctx, struct program *p, struct ipc_out *out)
{
	struct master *m = ctx;

	settings_pack(&m->config->settings, out);
	switch (p->role) {
	case ROLE_AUTH:
		ipc_out_fd(out, items_get(&m->items, "key"));
		return;
	case ROLE_LOGIN:
		setup_login(m, out);
		return;
	case ROLE_IMAP:
		ipc_out_fd(out, items_get(&m->items, "key"));
		ipc_out_fd(out, items_get(&m->items, "login-read"));
		ipc_out_fd(out, items_get(&m->items, "wake-read"));
		return;
	case ROLE_HOLDER:
		ipc_out_fd(out, items_get(&m->items, "holder"));
		ipc_out_fd(out, items_get(&m->items, "wake-write"));
		return;
	case ROLE_MASTER: case ROLE_KEEPER: case ROLE_CONTROL:
		break;
	}
	abort();
}

static void on_program_ready(void *ctx, struct program *p)
{
	struct master *m = ctx;

	(void)p;
	if (m->phase != MASTER_STARTING)
		return;
	for (unsigned i = 0; i < m->n_programs; i++) {
		if (m->programs[i].phase != PROGRAM_READY)
			return;
	}
	master_set_phase(m, MASTER_READY, "all programs are ready");
	log_info("ready", "start_ms=%llu",
		 (unsigned long long)(clock_ms() - m->started_ms));
	master_launcher_ready(m);
	master_upgrade_ready(m);
}

/* While the holder wakes everybody to say BYE, it needs spares. */
static bool on_program_died(void *ctx, struct program *p)
{
	struct master *m = ctx;

	if (!master_is_stopping(m)) {
		master_upgrade_died(m, p);
		return true;
	}
	/* The one whom sessions need to say BYE, or to fall asleep. */
	if (m->phase == MASTER_STOP_SESSIONS &&
	    p->role == (m->keep ? ROLE_HOLDER : ROLE_IMAP))
		return true;
	return false;
}

static void programs_init(struct master *m)
{
	struct program *p = m->programs;
	char name[24];

	m->program_host = (struct program_host){
		.loop = m->loop, .binaries = &m->binaries, .ctx = m,
		.setup = on_program_setup, .started = on_program_started,
		.ready = on_program_ready, .died = on_program_died,
	};
	program_init(p++, &m->program_host, ROLE_AUTH, BINARY_AUTH, "auth");
	program_init(p++, &m->program_host, ROLE_HOLDER, BINARY_HOLDER,
		     "imap-hibernate");
	program_init(p++, &m->program_host, ROLE_IMAP, BINARY_IMAP, "imap");
	for (uint32_t i = 1; i <= m->config->settings.login_processes; i++) {
		snprintf(name, sizeof(name), "imap-login/%u", i);
		program_init(p++, &m->program_host, ROLE_LOGIN, BINARY_LOGIN, name);
	}
	m->n_programs = (unsigned)(p - m->programs);
	assert(m->n_programs <= MASTER_PROGRAMS_MAX);
}

/* ---- the keeper ---- */

static void keeper_lost(struct master *m)
{
	loop_remove(m->loop, &m->keeper_io);
	fd_close(&m->keeper_fd);
}

/* Comes back with everything: another keeper knows nothing yet. */
static void keeper_again(void *ctx)
{
	struct master *m = ctx;
	int ret = keeper_begin(m);

	if (ret == 0)
		ret = keeper_keep_all(m->keeper_fd, &m->items);
	if (ret == 0) {
		log_info("keeper-back", "connects=%u", m->keeper_connects);
		introduce_holder_to_keeper(m);
		return;
	}
	log_debug("keeper", "error=%s", log_str(strerror(-ret)));
	keeper_lost(m);
	loop_timer_set(m->loop, &m->keeper_timer, KEEPER_RETRY_MS, keeper_again, m);
}

static void keeper_ready_io(void *ctx, uint32_t events)
{
	struct master *m = ctx;
	struct ipc_in *in;
	int ret;

	(void)events;
	while ((ret = ipc_recv(m->keeper_fd, &in)) == 0) {
		if (ipc_in_type(in) != IPC_KEEP_OK)
			log_error("protocol", "program=keeper type=%u",
				  ipc_in_type(in));
		ipc_in_destroy(&in);
	}
	if (ret == -EAGAIN)
		return;
	log_warn("keeper-lost", "error=%s", log_str(strerror(-ret)));
	keeper_lost(m);
	if (m->phase < MASTER_STOP_REST)
		keeper_again(m);
}

static int keeper_begin(struct master *m)
{
	int ret = keeper_connect(m->config->settings.base_dir, &m->keeper_fd);

	if (ret < 0)
		return ret;
	m->keeper_connects++;
	return loop_add(m->loop, &m->keeper_io, m->keeper_fd, EPOLLIN,
			keeper_ready_io, m);
}

/* ---- control ---- */

static int on_hand_on(void *ctx, enum ipc_role role, int fd)
{
	struct program *p = master_program(ctx, role);
	struct ipc_out *out;

	if (!p || p->phase != PROGRAM_READY)
		return -ENOTCONN;
	out = ipc_out_create(IPC_CONTROL);
	if (out)
		ipc_out_fd(out, fd);
	return program_send(p, &out);
}

static void on_upgrade(void *ctx, bool reload, int fd)
{
	master_upgrade(ctx, reload, fd);
}

static int control_begin(struct master *m)
{
	m->control_host = (struct control_host){
		.ctx = m, .hand_on = on_hand_on, .status = master_status,
		.stop = master_stop, .upgrade = on_upgrade,
	};
	m->control = control_create(m->loop, items_get(&m->items, "control"),
				    &m->control_host);
	return m->control ? 0 : -errno;
}

/* ---- signals ---- */

static struct program *program_by_pid(struct master *m, pid_t pid)
{
	for (unsigned i = 0; i < m->n_programs; i++) {
		if (m->programs[i].pid == pid)
			return &m->programs[i];
	}
	return NULL;
}

static void on_child(void *ctx, int signo)
{
	struct master *m = ctx;
	int status;
	pid_t pid;

	(void)signo;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct program *p = program_by_pid(m, pid);

		if (p)
			program_reaped(p, status);
		else if (!master_upgrade_reaped(m, pid, status))	/* the launcher, or a session whose zygote died */
			log_debug("reaped", "pid=%d status=%d", (int)pid, status);
	}
	if (master_is_stopping(m))
		master_stop_check(m);
}

static void on_stop(void *ctx, int signo)
{
	log_info("stop", "signal=%d", signo);
	master_stop(ctx, STOP_BYE);
}

static void on_hup(void *ctx, int signo)
{
	(void)signo;
	master_upgrade(ctx, true, -1);
}

static void on_usr2(void *ctx, int signo)
{
	(void)signo;
	master_upgrade(ctx, false, -1);
}

static void on_usr1(void *ctx, int signo)
{
	struct master *m = ctx;

	(void)signo;
	log_info("report", "phase=%s keeper=%s launcher=%d",
		 master_phase_name(m->phase), m->keeper_fd >= 0 ? "yes" : "no",
		 (int)m->launcher_pid);
	for (unsigned i = 0; i < m->n_programs; i++)
		log_info("report-program", "program=%s phase=%s pid=%d starts=%u",
			 m->programs[i].name,
			 program_phase_name(m->programs[i].phase),
			 (int)m->programs[i].pid, m->programs[i].starts);
}

static int master_signals(struct master *m)
{
	static const struct {
		int signo;
		loop_signal_fn *fn;
	} signals[] = {
		{ SIGCHLD, on_child }, { SIGTERM, on_stop }, { SIGINT, on_stop },
		{ SIGHUP, on_hup }, { SIGUSR1, on_usr1 }, { SIGUSR2, on_usr2 },
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]) && ret == 0; i++)
		ret = loop_signal(m->loop, signals[i].signo, signals[i].fn, m);
	return ret;
}

/* ---- the whole ---- */

static int master_begin(struct master *m)
{
	int ret;

	m->loop = loop_create();
	if (!m->loop)
		return -errno;
	/* Sessions whose zygote died come to us, so that a stop finds them. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	ret = master_signals(m);
	if (ret == 0)
		ret = master_launcher_begin(m);
	if (ret == 0)
		ret = keeper_begin(m);
	if (ret == 0)
		ret = keeper_fetch(m->keeper_fd, &m->items, KEEPER_FETCH_MS);
	if (ret == 0)
		ret = items_complete(m);
	if (ret == 0)
		ret = keeper_keep_all(m->keeper_fd, &m->items);
	if (ret == 0)
		ret = control_begin(m);
	return ret;
}

static void master_deinit(struct master *m)
{
	static const char *const names[] = { "control", "holder", "ports" };
	char path[PATH_MAX];

	for (unsigned i = 0; i < m->n_programs; i++)
		program_deinit(&m->programs[i]);
	control_destroy(&m->control);
	master_certs_end(m);
	if (m->loop) {
		loop_timer_cancel(m->loop, &m->keeper_timer);
		loop_timer_cancel(m->loop, &m->introduce_timer);
		keeper_lost(m);
		master_launcher_end(m);
	}
	for (size_t i = 0; m->phase >= MASTER_STOP_SESSIONS && i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", m->config->settings.base_dir,
			 names[i]);
		unlink(path);
	}
	master_upgrade_deinit(m);
	binaries_close(&m->binaries);
	items_deinit(&m->items);
	loop_destroy(&m->loop);
}

int master_run(const struct master_options *opt, const struct config *config)
{
	struct master *m = calloc(1, sizeof(*m));
	int ret;

	if (!m)
		return MASTER_EXIT_START;
	m->opt = opt;
	m->config = config;
	m->certs.ca_fd = -1;
	m->keeper_fd = m->launcher_fd = m->keeper_pidfd = -1;
	m->started_ms = clock_ms();
	binaries_inherit(&m->binaries, MASTER_FD_BINARIES);
	master_upgrade_init(m);
	ret = master_begin(m);
	if (ret < 0)
		master_upgrade_start_failed(m, ret);
	if (ret < 0) {
		log_error("start", "error=%s", log_str(strerror(-ret)));
		m->exit_status = MASTER_EXIT_START;
	} else {
		programs_init(m);
		master_upgrade_begin(m);
		for (unsigned i = 0; i < m->n_programs; i++)
			program_start(&m->programs[i]);
		loop_run(m->loop);
	}
	ret = m->exit_status;
	master_deinit(m);
	free(m);
	return ret;
}
