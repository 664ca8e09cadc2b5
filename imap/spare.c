/* SPDX-License-Identifier: MIT */
/* With root's rights exactly three things happen to foreign bytes: the ticket's
 * MAC is checked, the ticket's fixed fields and the fence's numbers are read.
 * Everything else waits until the process is the user (doc/architecture.md). */
#include "imap/spare.h"

#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "imap/layers.h"
#include "imap/session.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/cursor.h"
#include "lib/fault.h"
#include "lib/inflate-state.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "lib/stream-tls.h"

/* Should the one that a packet woke die before it reads: the others look too. */
#define QUEUE_LOOK_MS	5000
#define WARM_DELAY_MS	2

static uint8_t boot_id[16];	/* read once, before waiting */
static uint8_t packet[IPC_MESSAGE_MAX + TICKET_MAX_BYTES];

struct job {
	struct cursor c;
	struct ticket ticket;
	const uint8_t *ticket_packed;
	size_t ticket_len;
	struct seal_key key;
	int client, reply;
	/* of a wake */
	struct fence_counts counts;
	struct keepalives ka;
	uint64_t started_us;
	unsigned cause, tries;
	bool unchanged;		/* the holder saw no change since it fell asleep */
};

/* ---- while still root ---- */

static int job_ticket(struct job *job, const struct ticket_key *key)
{
	uint64_t cookie;
	enum ticket_error e;
	size_t at = job->c.pos;

	job->ticket_len = ticket_length(job->c.data + at, job->c.len - at);
	job->ticket_packed = cursor_bytes(&job->c, job->ticket_len);
	if (job->ticket_len == 0 || job->ticket_packed == NULL) {
		log_error("ticket", "reason=%s", log_str("message without a ticket refused"));
		return -EBADMSG;
	}
	e = ticket_verify(key, job->ticket_packed, job->ticket_len, boot_id, &job->ticket);
	if (e != TICKET_OK) {
		log_error("ticket", "reason=%s", log_str(ticket_strerror(e)));
		return -EACCES;
	}
	if (fence_cookie(job->client, &cookie) < 0 || cookie != job->ticket.cookie) {
		log_error("ticket", "id=%016llx reason=%s",
			  (unsigned long long)job->ticket.sid,
			  log_str("ticket of another connection refused"));
		return -EACCES;
	}
	return ticket_session_key(key, &job->ticket, &job->key);
}

static void job_drop(struct job *job)
{
	fd_close(&job->client);
	fd_close(&job->reply);
	seal_key_wipe(&job->key);
}

/* The zygote makes a new spare as soon as this one is busy. The server's key
 * has done its work: from here on the process knows its own session's only. */
static void tell_busy(struct spare *sp, struct ticket_key *key)
{
	pid_t pid = getpid();

	ticket_key_wipe(key);
	while (write(sp->status_fd, &pid, sizeof(pid)) < 0 && errno == EINTR)
		;
	fd_close(&sp->queues_fd);
	fd_close(&sp->retire_fd);
	fd_close(&sp->status_fd);
	fd_close(&sp->login_fd);
	fd_close(&sp->wake_fd);
}

static char *expand(const char *pattern, const struct ticket *t)
{
	struct buf b;

	buf_init(&b, 4096);
	if (pattern[0] == '~' && (pattern[1] == '/' || pattern[1] == '\0')) {
		buf_append_str(&b, t->home);
		pattern++;
	}
	for (; *pattern != '\0'; pattern++) {
		if (pattern[0] == '%' && pattern[1] == 'u') {
			buf_append_str(&b, t->user);
			pattern++;
		} else {
			buf_append_u8(&b, (uint8_t)*pattern);
		}
	}
	buf_append_u8(&b, 0);
	if (b.failed) {
		buf_deinit(&b);
		return NULL;
	}
	return (char *)b.data;
}

/* A user name goes into a path with %u only if it can do no harm there. */
static bool user_fits_path(const char *user)
{
	return strchr(user, '/') == NULL && strcmp(user, ".") != 0 && strcmp(user, "..") != 0;
}

/* Landlock wants its directories to exist. */
static int make_dir(const char *path)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return -errno;
}

static int restrict_files(struct session *s)
{
	struct sandbox_path paths[] = {
		{ s->mail_dir, SANDBOX_READ | SANDBOX_WRITE },
		{ s->index_dir, SANDBOX_READ | SANDBOX_WRITE },
	};
	int ret = make_dir(s->mail_dir);

	if (ret == 0)
		ret = make_dir(s->index_dir);
	if (ret < 0) {
		log_error("user", "user=%s dir=%s error=%s", log_str(s->ticket.user),
			  log_str(s->mail_dir), log_str(strerror(-ret)));
		return ret;
	}
	ret = sandbox_landlock(paths, 2);
	if (ret == -ENOSYS || ret == -EOPNOTSUPP) {
		log_debug("sandbox", "kernel has no Landlock");
		ret = 0;
	}
	return ret;
}

/* From here on nothing of root is left. */
static int become_user(struct session *s)
{
	const struct ticket *t = &s->ticket;
	char name[16];
	int ret;

	if (t->uid == 0 || (s->set->user_mode && t->uid != geteuid())) {
		log_error("user", "user=%s uid=%u reason=%s", log_str(t->user), t->uid,
			  log_str(t->uid == 0 ? "uid 0 is refused" :
				  "run by an ordinary user: all mail must be that user's"));
		return -EPERM;
	}
	ret = fault("become") ? -EPERM : sandbox_become(t->uid, t->gid, NULL, 0);
	if (ret < 0)
		return ret;
	snprintf(name, sizeof(name), "imap:%.10s", t->user);
	prctl(PR_SET_NAME, name);
	if (!user_fits_path(t->user))
		return -EINVAL;
	s->mail_dir = expand(s->set->mail, t);
	s->index_dir = *s->set->index_dir != '\0' ? expand(s->set->index_dir, t) : NULL;
	if (s->mail_dir != NULL && s->index_dir == NULL &&
	    asprintf(&s->index_dir, "%s/.dormouse", s->mail_dir) < 0)
		s->index_dir = NULL;
	if (s->mail_dir == NULL || s->index_dir == NULL)
		return -ENOMEM;
	return restrict_files(s);
}

/* The session with its identity; the client's descriptor is the stream's now. */
static struct session *job_session(struct spare *sp, struct job *job)
{
	struct session *s = session_create(sp->set, job->client);

	if (s == NULL) {
		log_error("session", "reason=%s", log_str("out of memory or descriptors"));
		_exit(EXIT_FAILURE);
	}
	s->crypto = sp->crypto;
	s->ticket = job->ticket;
	s->key = job->key;
	memcpy(s->ticket_packed, job->ticket_packed, job->ticket_len);
	s->ticket_len = job->ticket_len;
	return s;
}

/* ---- a new session ---- */

static char *cursor_text(struct cursor *c)
{
	size_t len = cursor_u16(c);
	const uint8_t *data = cursor_bytes(c, len);

	if (c->bad || memchr(data, '\0', len) != NULL) {
		c->bad = true;
		return NULL;
	}
	return strndup((const char *)data, len);
}

static void login_serve(struct spare *sp, struct job *job)
{
	struct session *s = job_session(sp, job);
	struct cursor *c = &job->c;
	const uint8_t *input, *tls;
	uint32_t input_len, tls_len;
	char *tag;
	int link = holder_link_dial(sp->set), ret = become_user(s);

	/* Root still (a uid that this name space does not know, say): nothing of what
	   imap-login and the client sent is looked at, not even to say no. */
	if (ret < 0 && geteuid() == 0) {
		log_error("login", "id=%016llx user=%s uid=%u error=%s",
			  (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
			  s->ticket.uid, log_str(strerror(-ret)));
		shutdown(stream_fd(s->stream), SHUT_RDWR);
		_exit(EXIT_FAILURE);
	}
	s->remote_ip = cursor_text(c);
	s->remote_port = cursor_u16(c);
	s->local_ip = cursor_text(c);
	s->local_port = cursor_u16(c);
	s->login_time = cursor_u64(c);
	tag = cursor_text(c);
	input_len = cursor_u32(c);
	input = cursor_bytes(c, input_len);
	tls_len = cursor_u32(c);
	tls = cursor_bytes(c, tls_len);
	/* Before a byte is read or written. */
	if (!cursor_done(c) || tag == NULL ||
	    (tls_len > 0 && stream_push_tls_blob(s->stream, s->crypto, tls, tls_len) < 0)) {
		log_error("login", "id=%016llx reason=%s",
			  (unsigned long long)s->ticket.sid, log_str("malformed LOGIN message"));
		shutdown(stream_fd(s->stream), SHUT_RDWR);
		_exit(EXIT_FAILURE);
	}
	log_info("login", "id=%016llx user=%s remote=%s uid=%u security=%s",
		 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
		 log_str(s->remote_ip), s->ticket.uid, log_str(layers_name(s)));
	if (ret < 0) {
		stream_printf(s->stream, "%s NO [UNAVAILABLE] Mail directory is not accessible.\r\n",
			      tag);
		session_bye(s, "UNAVAILABLE", "Mail directory is not accessible.",
			    strerror(-ret));
	} else {
		s->holder = holder_link_create(s, link < 0 ? -1 : link);
		if (s->holder != NULL && link >= 0)
			holder_link_hello(s->holder);
		stream_printf(s->stream, "%s OK [CAPABILITY %s] Logged in.\r\n", tag,
			      session_capabilities(s));
		(void)stream_unread(s->stream, input, input_len);
	}
	explicit_bzero(packet, sizeof(packet));
	free(tag);
	(void)stream_drain(s->stream);
	session_run(s);
	_exit(EXIT_SUCCESS);
}

static void queue_failed(const char *queue, int error)
{
	if (error == -EAGAIN)
		return;
	log_error("ipc", "queue=%s error=%s", queue, log_str(strerror(-error)));
	/* Nobody is left who could write: it would be readable for ever. */
	if (error == -EPIPE)
		_exit(EXIT_SUCCESS);
}

static void take_login(struct spare *sp, struct ticket_key *key)
{
	struct job job = { .client = -1, .reply = -1 };
	unsigned n_fds = 0;
	ssize_t len = ipc_recv_raw(sp->login_fd, packet, sizeof(packet), &job.client, 1, &n_fds);

	if (len < 0) {
		queue_failed("login", (int)len);
		return;
	}
	cursor_init(&job.c, packet, (size_t)len);
	if (n_fds != 1 || cursor_u8(&job.c) != RAW_LOGIN || job_ticket(&job, key) < 0 ||
	    fence_lock(job.client) < 0) {
		if (n_fds == 1)
			shutdown(job.client, SHUT_RDWR);
		job_drop(&job);
		return;
	}
	tell_busy(sp, key);
	login_serve(sp, &job);
}

/* ---- a sleeper ---- */

/* Numbers only; the state itself is sealed and read by the user. */
static int wake_head(struct job *job)
{
	struct cursor *c = &job->c;
	const uint8_t *bytes;

	job->counts.written = cursor_u64(c);
	job->counts.consumed = cursor_u64(c);
	job->ka.count = cursor_u8(c);
	if (job->ka.count > KEEPALIVES_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < job->ka.count; i++) {
		job->ka.len[i] = cursor_u16(c);
		job->ka.total += job->ka.len[i];
	}
	if (job->ka.total > sizeof(job->ka.bytes))
		return -EBADMSG;
	job->ka.base = job->counts.written;
	bytes = cursor_bytes(c, job->ka.total);
	if (bytes != NULL)
		memcpy(job->ka.bytes, bytes, job->ka.total);
	job->cause = cursor_u8(c);
	job->tries = cursor_u8(c);
	job->unchanged = cursor_u64(c) != 0;
	return c->bad ? -EBADMSG : 0;
}

static void wake_failed(struct job *job, const char *reason, bool final)
{
	struct ipc_out *out = ipc_out_create(IPC_WAKE_FAILED);

	log_warn("wake-failed", "id=%016llx user=%s tries=%u final=%s reason=%s",
		 (unsigned long long)job->ticket.sid, log_str(job->ticket.user), job->tries,
		 final ? "yes" : "no", log_str(reason));
	if (out == NULL)
		return;
	ipc_out_u64(out, job->ticket.sid);
	ipc_out_u64(out, job->ticket.cookie);
	ipc_out_str(out, reason);
	ipc_out_bool(out, final);
	(void)ipc_send_free(job->reply, &out);
}

/* Of a ticket that is not ours nothing is believed, so it is not named; the
 * holder knows whose reply end this is. Only while root: nobody else's word
 * ends a session so. */
static void wake_refused(struct job *job)
{
	struct ipc_out *out = ipc_out_create(IPC_WAKE_FAILED);

	if (out == NULL)
		return;
	ipc_out_u64(out, 0);
	ipc_out_u64(out, 0);
	ipc_out_str(out, "not a ticket of this server");
	ipc_out_bool(out, true);
	(void)ipc_send_free(job->reply, &out);
}

static void send_taken(struct session *s)
{
	struct ipc_out *out;

	if (s->holder == NULL || s->holder->fd < 0 ||
	    (out = ipc_out_create(IPC_TAKEN)) == NULL)
		return;
	ipc_out_u64(out, s->ticket.sid);
	ipc_out_u64(out, s->ticket.cookie);
	(void)ipc_send_free(s->holder->fd, &out);
}

static int unseal(struct session *s, struct job *job, struct session_state *st)
{
	struct cursor *c = &job->c;
	uint32_t len = cursor_u32(c);
	const uint8_t *sealed = cursor_bytes(c, len);
	struct buf plain;
	int ret;

	if (!cursor_done(c))
		return -EBADMSG;
	buf_init(&plain, STATE_MAX_BYTES);
	ret = seal_open(&s->key, s->ticket_packed, s->ticket_len, sealed, len, &plain);
	if (ret == 0)
		ret = session_state_unpack(st, plain.data, plain.len);
	buf_wipe(&plain);
	if (ret > 0)
		ret = -EBADMSG;
	/* The clear numbers must be the sealed ones: the holder may lie. */
	if (ret == 0 && (st->fence.written != job->counts.written ||
			 st->fence.consumed != job->counts.consumed))
		ret = -EBADMSG;
	return ret;
}

/* Causes that end the session need no mailbox. True: BYE was said. */
static bool wake_to_end(struct session *s, unsigned cause)
{
	switch (cause) {
	case WAKE_KICK:
		session_bye(s, NULL, "Disconnected by the administrator.", "kicked");
		return true;
	case WAKE_STOP:
		session_bye(s, "UNAVAILABLE", "Server is shutting down.", "server stops");
		return true;
	case WAKE_FAILED_BEFORE:
		session_bye(s, "UNAVAILABLE", "The session could not be woken.",
			    "wake failed too often");
		return true;
	default:
		return false;
	}
}

static const char *wake_reason(int error)
{
	return error > 0 ? mailbox_strerror(error) : strerror(-error);
}

/* Step 11. What there is to read and to tell; then TAKEN if a byte moved. */
static void wake_go_on(struct session *s, struct job *job)
{
	uint64_t in = stream_bytes_in(s->stream), out = stream_bytes_out(s->stream);
	struct stream_counts wire;
	const char *why = NULL;
	bool moved, said;

	session_tell_capabilities(s);
	if (job->cause == WAKE_INPUT)
		session_readable(s);
	if (s->idle_tag != NULL && !s->logout && !s->dead) {
		(void)session_mailbox(s);
		if (s->box != NULL && !s->holder->watching)
			(void)holder_link_watch(s->holder);
		(void)idle_news(s);
	}
	if (!s->dead && stream_drain(s->stream) < 0)
		s->dead = true;
	/* Half a TLS record, or one without text, moves the fence and says nothing. */
	wire = stream_wire(s->stream);
	moved = wire.read > 0 || wire.written > 0;
	said = in != stream_bytes_in(s->stream) || out != stream_bytes_out(s->stream);
	(void)fault("wake-told");
	if (moved)
		send_taken(s);
	(void)fault("wake-taken");
	log_info("wake", "id=%016llx user=%s mailbox=%s cause=%s told=%llu took_us=%llu",
		 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
		 log_str(session_mailbox_name(s)),
		 wake_cause_name(job->cause),
		 (unsigned long long)(stream_bytes_out(s->stream) - out),
		 (unsigned long long)(clock_us() - job->started_us));
	/* Nothing to say, or only a keepalive that was due: straight back. Not after
	   half a TLS record: the rest may come byte by byte, and each would be a wake. */
	if (((!said && wire.read == 0) || job->cause == WAKE_KEEPALIVES) && !s->logout &&
	    !s->dead)
		why = hibernate_try(s);
	if (why != NULL)
		log_debug("awake", "id=%016llx reason=%s",
			  (unsigned long long)s->ticket.sid, log_str(why));
}

static void wake_serve(struct spare *sp, struct job *job)
{
	struct session *s = job_session(sp, job);
	struct session_state st;
	const char *bye = NULL;
	int ret = become_user(s);

	if (ret < 0) {
		wake_failed(job, strerror(-ret), false);
		_exit(EXIT_FAILURE);
	}
	session_state_init(&st);
	if (fault("wake-user")) {
		wake_failed(job, strerror(ENOMEM), false);
		_exit(EXIT_FAILURE);
	}
	ret = unseal(s, job, &st);
	if (ret == 0)
		ret = layers_restore(s, &st);
	if (ret == -ENOMEM) {
		wake_failed(job, strerror(ENOMEM), false);
		_exit(EXIT_FAILURE);
	}
	if (ret < 0) {
		/* We own it, and nobody ever will be able to serve it. */
		wake_failed(job, "the state cannot be read", true);
		shutdown(stream_fd(s->stream), SHUT_RDWR);
		_exit(EXIT_FAILURE);
	}
	s->ka = job->ka;
	s->holder = holder_link_create(s, job->reply);
	if (wake_to_end(s, job->cause)) {
		st.selected = false;
		/* BYE must not stand where keepalives belong. */
		if (wake_restore(s, &st, false, &bye) != 0) {
			(void)shutdown(stream_fd(s->stream), SHUT_RDWR);
			s->dead = true;
		}
	} else {
		s->changed = !job->unchanged;
		ret = wake_restore(s, &st, job->cause == WAKE_INPUT && job->unchanged &&
				   st.idle_tag != NULL, &bye);
		(void)fault("wake-restored");
	}
	session_state_deinit(&st);
	if (ret < 0 || ret == MAILBOX_E_BUSY || ret == MAILBOX_E_NOSPACE) {
		job->reply = s->holder->fd;
		wake_failed(job, wake_reason(ret), false);
		_exit(EXIT_FAILURE);	/* not a byte was read or written */
	}
	if (ret > 0)
		session_bye(s, NULL, bye, bye);
	(void)fault("wake-byte");
	if (!s->logout)
		wake_go_on(s, job);
	session_run(s);
	_exit(EXIT_SUCCESS);
}

/* For `dormouse state-dump`: no lock, no byte, no mailbox. */
static void wake_dump(struct spare *sp, struct job *job)
{
	struct session *s = job_session(sp, job);
	struct session_state st;
	struct ipc_out *out = ipc_out_create(IPC_DUMPED);
	struct buf text;

	buf_init(&text, STATE_MAX_BYTES);
	session_state_init(&st);
	if (become_user(s) < 0 || unseal(s, job, &st) < 0)
		buf_append_str(&text, "error: the state cannot be read\n");
	else
		(void)session_state_dump(&st, &text);
	buf_append_u8(&text, 0);
	if (out != NULL && !text.failed) {
		ipc_out_u64(out, s->ticket.sid);
		ipc_out_u64(out, s->ticket.cookie);
		ipc_out_str(out, (char *)text.data);
		(void)ipc_send_free(job->reply, &out);
	}
	session_state_deinit(&st);
	buf_wipe(&text);
	_exit(EXIT_SUCCESS);
}

/* Step 9. Whoever is not the owner of the latest state leaves without a word. */
static void take_wake(struct spare *sp, struct ticket_key *key)
{
	int fds[2] = { -1, -1 };
	struct job job = { .started_us = clock_us() };
	unsigned n_fds = 0;
	int ret = -EBADMSG;
	ssize_t len = ipc_recv_raw(sp->wake_fd, packet, sizeof(packet), fds, 2, &n_fds);

	if (len < 0) {
		queue_failed("wake", (int)len);
		return;
	}
	(void)fault("wake-got");
	job.client = fds[0];
	job.reply = fds[1];
	cursor_init(&job.c, packet, (size_t)len);
	if (n_fds == 2 && cursor_u8(&job.c) == RAW_WAKE)
		ret = job_ticket(&job, key);
	if (ret == 0)
		ret = wake_head(&job);
	if (ret < 0) {
		log_error("wake", "reason=%s", log_str("malformed WAKE message refused"));
		if (n_fds == 2 && (ret == -EBADMSG || ret == -EACCES))
			wake_refused(&job);
		job_drop(&job);
		return;
	}
	if (job.cause == WAKE_DUMP) {
		tell_busy(sp, key);
		wake_dump(sp, &job);
	}
	if (fence_lock(job.client) < 0) {
		job_drop(&job);
		return;
	}
	(void)fault("wake-locked");
	if (fence_look(job.client, &job.counts, job.ka.total, NULL) != FENCE_GOOD) {
		job_drop(&job);
		return;
	}
	tell_busy(sp, key);
	wake_serve(sp, &job);
}

/* ---- waiting ---- */

/* Of root's rights only those to become somebody else. */
static int keep_becoming(void)
{
	static const int caps[] = { CAP_SETGID, CAP_SETUID };

	return geteuid() == 0 ? sandbox_become(0, 0, caps, 2) : 0;
}

/* The same for TLS and COMPRESS: a record and a window, there and back. */
static void warm_up_layers(struct tls_crypto *crypto)
{
	static const uint8_t secret[48] = { 1 };
	struct tls_record t, back;
	struct inflate_state *z = inflate_state_create();
	struct buf blob, sealed, window;

	buf_init(&blob, 1024);
	buf_init(&sealed, 1024);
	buf_init(&window, 1024);
	if (tls_record_init13(crypto, &t, TLS_AES256_GCM_SHA384, secret, 0, secret, 0) == 0 &&
	    tls_record_seal(crypto, &t, "warm", 4, &sealed) == 0 &&
	    tls_record_export(&t, &blob) == 0 &&
	    tls_record_import(crypto, &back, blob.data, blob.len) == 0) {
		size_t used, need, len;
		const uint8_t *plain;

		(void)tls_record_open(crypto, &back, sealed.data, sealed.len, &used, &need,
				      &plain, &len);
		tls_record_wipe(&back);
	}
	tls_record_wipe(&t);
	tls_crypto_forget(crypto);
	if (z != NULL && inflate_state_save(z, window.max, &window) == 0) {
		inflate_state_destroy(&z);
		(void)inflate_state_restore(&z, window.data, window.len);
	}
	inflate_state_destroy(&z);
	buf_deinit(&blob);
	buf_deinit(&sealed);
	buf_deinit(&window);
}

/* A fork does not inherit page tables of library code, nor its own copies of
 * pages: what a wake will touch is touched before, with a made-up session. */
static void warm_up(const struct ticket_key *key)
{
	struct ticket t = { .sid = 1, .uid = 1, .gid = 1, .user = "warm", .home = "/" }, back;
	struct session_state st, woken;
	struct seal_key session_key;
	struct buf ticket, plain, sealed, opened;

	buf_init(&ticket, TICKET_MAX_BYTES);
	buf_init(&plain, STATE_MAX_BYTES);
	buf_init(&sealed, STATE_MAX_BYTES + SEAL_OVERHEAD);
	buf_init(&opened, STATE_MAX_BYTES);
	session_state_init(&st);
	session_state_init(&woken);
	st.sid = 1;
	if (ticket_issue(key, &t, &ticket) == 0)
		(void)ticket_verify(key, ticket.data, ticket.len, NULL, &back);
	if (ticket_session_key(key, &t, &session_key) == 0 &&
	    session_state_pack(&st, &plain) == 0 &&
	    seal_close(&session_key, ticket.data, ticket.len, plain.data, plain.len,
		       &sealed) == 0 &&
	    seal_open(&session_key, ticket.data, ticket.len, sealed.data, sealed.len,
		      &opened) == 0)
		(void)session_state_unpack(&woken, opened.data, opened.len);
	session_state_deinit(&st);
	session_state_deinit(&woken);
	seal_key_wipe(&session_key);
	buf_deinit(&ticket);
	buf_deinit(&plain);
	buf_deinit(&sealed);
	buf_deinit(&opened);
	mail_store_warm();
}

static int queue_add(int epoll_fd, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* All spares wait on the same two queues: a packet wakes one of them. */
static int queues_watch(struct spare *sp)
{
	int fd = epoll_create1(EPOLL_CLOEXEC), ret;
	sigset_t usr2;

	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sp->retire_fd = signalfd(-1, &usr2, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || sp->retire_fd < 0)
		return -errno;
	ret = queue_add(fd, sp->retire_fd, EPOLLIN);
	if (ret == 0)
		ret = queue_add(fd, sp->wake_fd, EPOLLIN | EPOLLEXCLUSIVE);
	if (ret == 0)
		ret = queue_add(fd, sp->login_fd, EPOLLIN | EPOLLEXCLUSIVE);
	if (ret == 0)
		ret = queue_add(fd, sp->status_fd, 0);	/* EPOLLERR: no reader */
	return ret < 0 ? ret : fd;
}

void spare_run(struct spare *sp)
{
	struct ticket_key key;
	bool warm = false;

	if (ticket_key_read(sp->key_fd, &key) < 0 || sandbox_basics() < 0 ||
	    sandbox_drop_bounding() < 0 || keep_becoming() < 0 || sandbox_seccomp(SANDBOX_IMAP) < 0) {
		log_error("spare", "reason=%s", log_str("no key or no sandbox"));
		_exit(EXIT_FAILURE);
	}
	fd_close(&sp->key_fd);
	(void)ticket_boot_id(boot_id);
	sp->queues_fd = queues_watch(sp);
	if (sp->queues_fd < 0) {
		log_error("spare", "reason=%s", log_str(strerror(-sp->queues_fd)));
		_exit(EXIT_FAILURE);
	}
	for (;;) {
		struct epoll_event ev;
		int n = epoll_wait(sp->queues_fd, &ev, 1, warm ? QUEUE_LOOK_MS : WARM_DELAY_MS);

		if (n < 0 && errno != EINTR)
			_exit(EXIT_FAILURE);
		/* In a storm there is work before that, and it is done cold. */
		if (n == 0 && !warm) {
			warm_up(&key);
			warm_up_layers(sp->crypto);
			warm = true;
		}
		if (n <= 0)
			continue;
		/* The zygote is gone: so is who would count us. */
		if (ev.data.fd == sp->status_fd || ev.data.fd == sp->retire_fd)
			_exit(EXIT_SUCCESS);
		if (ev.data.fd == sp->wake_fd && (ev.events & EPOLLIN))
			take_wake(sp, &key);
		else if (ev.data.fd == sp->login_fd && (ev.events & EPOLLIN))
			take_login(sp, &key);
		else
			_exit(EXIT_SUCCESS);
	}
}
