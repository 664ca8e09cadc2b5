/* SPDX-License-Identifier: MIT */
/* Start, rights, master's channel, auth's channel, status, the end. */
#include "imap-hibernate/holder.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "imap-hibernate/adopt.h"
#include "imap-hibernate/handback.h"
#include "imap-hibernate/notice.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/fence.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/run-user.h"
#include "lib/sandbox.h"

/* Listener, queue, channels, epoll, operators, adoption's extra. */
#define FDS_FIXED	96u
/* On the way out: so long a keeper may take to have everything. */
#define LEAVE_MS	2000
#define LEAVE_LOOK_MS	5
#define STATUS_MS	3000u
/* Garbage with descriptors must not keep us busy. */
#define RELOCK_MS	100u

uint32_t holder_now(const struct holder *h)
{
	return (uint32_t)(clock_ms() - h->epoch_ms);
}

uint64_t holder_next_generation(struct holder *h)
{
	table_set_generation(h->table, ++h->generation);
	return h->generation;
}

void holder_close_foreign(struct holder *h, int fd)
{
	uint64_t cookie = 0;
	uint32_t slot = NONE;

	if (fence_cookie(fd, &cookie) == 0)
		slot = sleeper_find_cookie(h, cookie);
	close(fd);
	if (slot != NONE)
		sleeper_relock(h, slot);
}

static void relock_fire(void *ctx)
{
	struct holder *h = ctx;

	for (uint32_t slot = 0; slot < table_slots(h->table); slot++)
		sleeper_relock(h, slot);
}

void holder_locks_unsure(struct holder *h)
{
	if (h->relock_timer.heap_index == 0)
		loop_timer_set(h->loop, &h->relock_timer, RELOCK_MS, relock_fire, h);
}

/* ---- auth ---- */

static void auth_lost(struct holder *h)
{
	loop_remove(h->loop, &h->auth_io);
	fd_close(&h->auth_fd);
}

/* 0, or -errno; -EAGAIN: later. */
static int auth_tell(struct holder *h, unsigned event, uint64_t sid, const char *user,
		     uid_t uid, const char *remote)
{
	struct ipc_out *out = ipc_out_create(IPC_SESSION);

	if (out) {
		ipc_out_u64(out, event);
		ipc_out_u64(out, sid);
		ipc_out_str(out, user);
		ipc_out_u64(out, uid);
		ipc_out_str(out, remote);
	}
	return ipc_send_free(h->auth_fd, &out);
}

/* The next of the list. 0, or -errno; the step moves on. */
static int auth_tell_next(struct holder *h)
{
	uint32_t i = h->auth_cursor;
	struct table_entry e;
	struct conn *c;

	switch (h->auth_step) {
	case AUTH_BEGINS:
		return auth_tell(h, SESSION_LIST_BEGINS, 0, "", 0, "");
	case AUTH_SLEEPERS:
		if (h->sleepers[i].phase == SLEEPER_FREE || !table_read(h->table, i, &e))
			return 0;
		return auth_tell(h, SESSION_ASLEEP, e.sid, e.user, e.uid, e.remote);
	case AUTH_CONNS:
		c = conn_get(h, i);
		if (!c || c->state != CONN_AWAKE || c->slot != NONE)
			return 0;
		return auth_tell(h, SESSION_AWAKE, c->sid, c->user, c->uid, c->remote);
	case AUTH_ENDS:
		return auth_tell(h, SESSION_LIST_ENDS, 0, "", 0, "");
	case AUTH_TOLD:
		break;
	}
	return 0;
}

static uint32_t auth_step_items(const struct holder *h)
{
	switch (h->auth_step) {
	case AUTH_SLEEPERS:
		return table_slots(h->table);
	case AUTH_CONNS:
		return h->conns.used;
	case AUTH_BEGINS:
	case AUTH_ENDS:
	case AUTH_TOLD:
		break;
	}
	return 1;
}

static void auth_push(struct holder *h)
{
	int ret = 0;

	while (h->auth_fd >= 0 && h->auth_step != AUTH_TOLD && ret == 0) {
		if (h->auth_cursor >= auth_step_items(h)) {
			h->auth_step++;
			h->auth_cursor = 0;
			continue;
		}
		ret = auth_tell_next(h);
		if (ret == 0)
			h->auth_cursor++;
	}
	if (ret == -EAGAIN)
		loop_set_events(h->loop, &h->auth_io, EPOLLIN | EPOLLOUT);
	else if (ret < 0)
		auth_lost(h);
}

void holder_session_event(struct holder *h, unsigned event, uint64_t sid, const char *user,
			  uid_t uid, const char *remote)
{
	int ret;

	if (h->auth_fd < 0)
		return;
	ret = auth_tell(h, event, sid, user, uid, remote);
	if (ret == 0)
		return;
	if (ret != -EAGAIN) {
		auth_lost(h);
		return;
	}
	/* What did not fit is not remembered: the whole list again. */
	h->auth_step = AUTH_BEGINS;
	h->auth_cursor = 0;
	loop_set_events(h->loop, &h->auth_io, EPOLLIN | EPOLLOUT);
}

void holder_ask_user(struct holder *h, uint64_t sid, const char *user)
{
	struct ipc_out *out;

	if (h->auth_fd < 0 || !(out = ipc_out_create(IPC_USER)))
		return;
	ipc_out_u64(out, sid);
	ipc_out_str(out, user);
	/* Lost where the queue is full: the next wake asks again. */
	(void)ipc_send_free(h->auth_fd, &out);
}

/* Of auth only one message is awaited. */
static bool auth_message(struct holder *h, struct ipc_in *in)
{
	struct user_answer a;

	if (ipc_in_type(in) != IPC_USER_IS)
		return false;
	a.sid = ipc_in_u64(in);
	a.found = ipc_in_bool(in);
	a.uid = ipc_in_u64(in);
	a.gid = ipc_in_u64(in);
	a.home = ipc_in_str(in);
	if (!ipc_in_done(in))
		return false;
	conns_user_is(h, &a);
	return true;
}

static void auth_ready(void *ctx, uint32_t events)
{
	struct holder *h = ctx;
	struct ipc_in *in;
	int ret;

	if (events & EPOLLOUT) {
		loop_set_events(h->loop, &h->auth_io, EPOLLIN);
		auth_push(h);
		return;
	}
	ret = ipc_recv(h->auth_fd, &in);
	if (ret == -EAGAIN)
		return;
	if (ret == 0) {
		bool good = auth_message(h, in);

		ipc_in_destroy(&in);
		if (good)
			return;
	}
	auth_lost(h);
}

static void auth_attach(struct holder *h, int fd)
{
	auth_lost(h);
	h->auth_fd = fd;
	h->auth_step = AUTH_BEGINS;
	h->auth_cursor = 0;
	/* Told on the loop: while adopting there is nothing to tell yet. */
	if (ipc_set_blocking(fd, false) < 0 ||
	    loop_add(h->loop, &h->auth_io, fd, EPOLLIN | EPOLLOUT, auth_ready, h) < 0)
		auth_lost(h);
}

/* ---- master ---- */

void holder_check_stopped(struct holder *h)
{
	if (!h->stopping || h->n_held > 0 || h->conns.awake > 0)
		return;
	log_info("stopped", "kept=%llu woken=%llu", (unsigned long long)h->kept,
		 (unsigned long long)h->woken);
	loop_stop(h->loop);
}

/* STOP_BYE: everybody is woken to say so, as fast as spares come. */
static void stop_bye(struct holder *h)
{
	h->stopping = true;
	log_info("stopping", "held=%u awake=%u", h->n_held, h->conns.awake);
	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		if (h->sleepers[slot].phase != SLEEPER_FREE)
			sleeper_wake(h, slot, WAKE_STOP);
	}
	for (uint32_t i = 0; i < h->conns.used; i++) {
		struct conn *c = h->conns.list[i];

		if (c && c->state == CONN_AWAKE && c->slot == NONE)
			conn_do(c, DO_STOP);
	}
	holder_check_stopped(h);
}

static int on_channel(struct holder *h, uint64_t role, int fd)
{
	if (role == ROLE_KEEPER && !h->table) {
		fd_close(&h->first_keeper);
		h->first_keeper = fd;
	} else if (role == ROLE_KEEPER) {
		keeper_link_attach(h, fd);
	} else if (role == ROLE_AUTH) {
		auth_attach(h, fd);
	} else {
		close(fd);
		return -EBADMSG;
	}
	return 0;
}

int holder_setup_message(struct holder *h, struct ipc_in *in)
{
	uint64_t value = 0;
	int fd;

	switch (ipc_in_type(in)) {
	case IPC_CHANNEL:
		value = ipc_in_u64(in);
		fd = ipc_in_fd(in);
		return fd < 0 ? -EBADMSG : on_channel(h, value, fd);
	case IPC_CONTROL:
		fd = ipc_in_fd(in);
		if (fd < 0)
			return -EBADMSG;
		control_accept(h, fd);
		return 0;
	case IPC_STOP:
		value = ipc_in_u64(in);
		if (!ipc_in_done(in))
			return -EBADMSG;
		if (value == STOP_BYE && h->table) {
			stop_bye(h);
			return 0;
		}
		return value == STOP_REPLACE || value == STOP_RELOAD ? -EINPROGRESS : -ECANCELED;
	default:
		return -EBADMSG;
	}
}

static void leave_look(void *ctx)
{
	struct holder *h = ctx;

	if (keeper_link_settled(h) || clock_ms() >= h->leave_by_ms) {
		loop_stop(h->loop);
		return;
	}
	loop_timer_set(h->loop, &h->leave_timer, LEAVE_LOOK_MS, leave_look, h);
}

/* master is gone, or wants another holder in our place: the next one adopts from the
 * keeper. It may be a keeper that was started a moment ago, and lacks much: then we
 * are the only ones who have it. */
static void holder_leave(struct holder *h)
{
	if (h->leaving)
		return;
	h->leaving = true;
	h->leave_by_ms = clock_ms() + LEAVE_MS;
	loop_remove(h->loop, &h->setup_io);
	if (h->table)
		leave_look(h);
	else
		loop_stop(h->loop);
}

static void setup_ready(void *ctx, uint32_t events)
{
	struct holder *h = ctx;
	struct ipc_in *in;
	int ret = ipc_recv(h->setup_fd, &in);

	if (ret == -EAGAIN)
		return;
	if (ret == 0) {
		ret = holder_setup_message(h, in);
		ipc_in_destroy(&in);
	}
	/* Without master nobody would restart what dies: the next master's
	   holder adopts. */
	if (ret < 0 && ret != -ECANCELED && ret != -EINPROGRESS)
		log_error("setup", "error=%s", ret == -EPIPE ? "master-ended" : strerror(-ret));
	if (ret == -EPIPE || ret == -EINPROGRESS)
		holder_leave(h);
	else if (ret < 0)
		loop_stop(h->loop);
}

static void status_fire(void *ctx)
{
	struct holder *h = ctx;
	char line[sizeof(h->status)];
	struct ipc_out *out;

	loop_timer_set(h->loop, &h->status_timer, STATUS_MS, status_fire, h);
	snprintf(line, sizeof(line), "held=%u max=%u awake=%u watches=%u waking=%u queued=%u "
		 "kept=%llu woken=%llu wakes_failed=%llu disconnects=%llu refused=%llu",
		 h->n_held, h->sleepers_max, h->conns.awake, h->watches.count, h->n_waking,
		 h->queued.count, (unsigned long long)h->kept, (unsigned long long)h->woken,
		 (unsigned long long)h->wakes_failed, (unsigned long long)h->disconnects,
		 (unsigned long long)h->refused);
	if (strcmp(line, h->status) == 0)
		return;
	out = ipc_out_create(IPC_STATUS);
	if (out)
		ipc_out_str(out, line);
	if (ipc_send_free(h->setup_fd, &out) == 0)
		memcpy(h->status, line, sizeof(line));
}

/* ---- SIGUSR1 ---- */

static void dump(void *ctx, int signo)
{
	struct holder *h = ctx;

	log_info("dump", "held=%u waking=%u queued=%u awake=%u conns=%u watches=%u "
		 "generation=%llu keeper=%d", h->n_held, h->n_waking, h->queued.count,
		 h->conns.awake, h->conns.count, h->watches.count,
		 (unsigned long long)h->generation, h->keeper.up);
	for (uint32_t slot = 0; slot < table_slots(h->table); slot++) {
		const struct sleeper *sl = &h->sleepers[slot];
		struct fence_counts now = { 0, 0 };
		struct table_entry e;

		if (sl->phase == SLEEPER_FREE || !table_read(h->table, slot, &e))
			continue;
		fence_read(sl->fd, &now, NULL);
		log_info("dump", "id=%016llx user=%s phase=%s owner=%d changed=%d tries=%u "
			 "kept=%d cause=%u written=%llu/%llu consumed=%llu/%llu keepalives=%u",
			 (unsigned long long)e.sid, log_str(e.user),
			 sleeper_phase_name(sl->phase), fence_owner(sl->fd),
			 table_changed(h->table, slot), table_tries(h->table, slot),
			 !!(sl->flags & SL_KEPT), sl->cause, (unsigned long long)e.written,
			 (unsigned long long)now.written, (unsigned long long)e.consumed,
			 (unsigned long long)now.consumed, e.n_keepalives);
	}
}

static void end(void *ctx, int signo)
{
	loop_stop(((struct holder *)ctx)->loop);
}

/* ---- start ---- */

/* One message from master; waits for it. */
static int setup_recv(int fd, struct ipc_in **in_r)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ret;

	while ((ret = ipc_recv(fd, in_r)) == -EAGAIN) {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
	}
	return ret;
}

static int on_setup(struct holder *h, struct ipc_in *in)
{
	int ret;

	if (ipc_in_type(in) != IPC_SETUP)
		return -EBADMSG;
	ret = settings_unpack(&h->settings, in);
	if (ret < 0)
		return ret;
	h->listener = ipc_in_fd(in);
	h->wake_queue = ipc_in_fd(in);
	if (ipc_in_bad(in))
		return -EBADMSG;
	ret = ipc_set_blocking(h->listener, false);
	if (ret == 0)
		ret = ipc_set_blocking(h->wake_queue, false);
	/* Also for those who connect before we accept. */
	if (ret == 0)
		ret = ipc_set_passcred(h->listener);
	return ret;
}

/* One descriptor a sleeper; awake sessions and the wakes under way need some. */
static void count_descriptors(struct holder *h)
{
	struct rlimit lim;
	uint64_t all = 1024, awake;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
		all = lim.rlim_cur;
	}
	if (all > 16u << 20)
		all = 16u << 20;
	awake = h->settings.max_processes + h->settings.spares + 2u * h->waking_max;
	if (awake > all / 4)
		awake = all / 4;
	h->conns_max = (uint32_t)awake + FDS_FIXED / 2;
	h->sleepers_max = all > FDS_FIXED + awake ? (uint32_t)(all - FDS_FIXED - awake) : 1;
	if (h->settings.max_sleepers > 0 && h->settings.max_sleepers < h->sleepers_max)
		h->sleepers_max = h->settings.max_sleepers;
	log_info("limits", "descriptors=%llu sleepers_max=%u", (unsigned long long)all,
		 h->sleepers_max);
}

static void log_settle(const struct settings *s)
{
	static const char *const names[] = {
		[LOG_L_DEBUG] = "debug", [LOG_L_INFO] = "info",
		[LOG_L_WARN] = "warn", [LOG_L_ERROR] = "error",
	};
	enum log_level level = LOG_L_INFO;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(s->log_level, names[i]) == 0)
			level = (enum log_level)i;
	}
	log_open("imap-hibernate", strcmp(s->log, "syslog") == 0 ? LOG_TO_SYSLOG : LOG_TO_STDERR,
		 level);
}

static int holder_parts(struct holder *h)
{
	int ret;

	h->loop = loop_create();
	if (!h->loop)
		return -errno;
	ret = loop_signal(h->loop, SIGUSR1, dump, h);
	if (ret == 0)
		ret = loop_signal(h->loop, SIGTERM, end, h);
	if (ret == 0)
		ret = handback_init(h);
	if (ret == 0)
		ret = sleepers_init(h);
	if (ret == 0)
		count_descriptors(h);
	return ret;
}

int holder_create(struct holder *h, int setup_fd)
{
	struct ipc_in *in;
	int ret;

	*h = (struct holder){ .setup_fd = setup_fd, .listener = -1, .wake_queue = -1,
			      .auth_fd = -1, .first_keeper = -1, .sleepers_epoll = -1,
			      .watches = { .fd = -1 } };
	list_init(&h->controls);
	keeper_link_init(&h->keeper);
	/* Before anything else is opened: it must be a low one. */
	h->low_fd = watch_reserve();
	ret = h->low_fd < 0 ? h->low_fd : setup_recv(setup_fd, &in);
	if (ret == 0) {
		ret = on_setup(h, in);
		ipc_in_destroy(&in);
	}
	if (ret == 0) {
		log_settle(&h->settings);
		ret = holder_parts(h);
	}
	if (ret < 0)
		log_error("start", "error=%s", strerror(-ret));
	return ret;
}

int holder_adopt(struct holder *h)
{
	int ret = 0;

	while (ret == 0 && h->first_keeper < 0) {
		struct ipc_in *in;

		ret = setup_recv(h->setup_fd, &in);
		if (ret == 0) {
			ret = holder_setup_message(h, in);
			ipc_in_destroy(&in);
		}
	}
	if (ret < 0) {
		log_error("start", "error=%s", strerror(-ret));
		return ret;
	}
	return adopt(h, fd_steal(&h->first_keeper), fd_steal(&h->low_fd));
}

static int become(const struct settings *s)
{
	/* To watch what the users' own processes have opened. */
	static const int caps[] = { CAP_DAC_READ_SEARCH };
	uid_t uid;
	gid_t gid;
	int ret;

	if (geteuid() != 0 || s->user_mode)
		return 0;
	ret = run_user_lookup(s->user, &uid, &gid);
	if (ret < 0) {
		log_error("user", "name=%s error=%s", log_str(s->user), strerror(-ret));
		return ret;
	}
	return sandbox_become(uid, gid, caps, 1);
}

int holder_confine(struct holder *h)
{
	int ret = become(&h->settings);

	if (ret == 0) {
		ret = sandbox_landlock(NULL, 0);
		if (ret == -ENOSYS || ret == -EOPNOTSUPP) {
			log_warn("landlock", "error=%s", strerror(-ret));
			ret = 0;
		}
	}
	if (ret == 0)
		ret = sandbox_seccomp(SANDBOX_HOLDER);
	if (ret < 0)
		log_error("sandbox", "error=%s", strerror(-ret));
	return ret;
}

int holder_start(struct holder *h)
{
	struct ipc_out *out = ipc_out_create(IPC_READY);
	int ret = ipc_set_blocking(h->setup_fd, false);

	if (ret == 0)
		ret = loop_add(h->loop, &h->setup_io, h->setup_fd, EPOLLIN, setup_ready, h);
	if (ret == 0)
		ret = loop_add(h->loop, &h->watch_io, h->watches.fd, EPOLLIN, notice_readable, h);
	if (ret == 0)
		ret = loop_add(h->loop, &h->listener_io, h->listener, EPOLLIN, conns_accept, h);
	if (ret == 0)
		ret = loop_timer_set(h->loop, &h->status_timer, STATUS_MS, status_fire, h);
	if (ret == 0)
		ret = ipc_send_free(h->setup_fd, &out);
	else
		ipc_out_destroy(&out);
	if (ret < 0)
		log_error("start", "error=%s", strerror(-ret));
	return ret;
}

void holder_destroy(struct holder *h)
{
	fault("hold-end");
	if (h->loop) {
		control_deinit(h);
		h->stopping = false;
		if (h->table)
			conns_deinit(h);
		handback_deinit(h);
		sleepers_deinit(h);
		keeper_link_deinit(h);
		auth_lost(h);
		loop_remove(h->loop, &h->watch_io);
		loop_timer_cancel(h->loop, &h->leave_timer);
		if (h->leaving)
			watch_leave(&h->watches);
		else
			watch_deinit(&h->watches);
	}
	table_destroy(&h->table);
	fd_close(&h->listener);
	fd_close(&h->wake_queue);
	fd_close(&h->first_keeper);
	fd_close(&h->low_fd);
	settings_deinit(&h->settings);
	loop_destroy(&h->loop);
}
