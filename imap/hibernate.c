/* SPDX-License-Identifier: MIT */
/* Falling asleep: steps 1, 2 and 6 of doc/handover.md. The road not taken is
 * "send and exit": a message that nobody read yet, and a holder that died with
 * it, would both lose the client. Descriptor and state are kept until a KEPT
 * names them, or the fence says that somebody else has served the session. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "imap/layers.h"
#include "imap/session.h"
#include "imap/view-file.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/stream-tls.h"

#define KEEPALIVE_TEXT	"* OK Still here\r\n"
/* The lock is somebody's for a moment only (the holder looking): ask again. */
#define LOCK_RETRY_MS	20
/* News keep coming: after so many rounds of compare and tell, stay awake. */
#define COMPARE_ROUNDS	5

const char *hibernate_refusal(struct session *s)
{
	struct fence_counts now;
	const uint8_t *partial;
	const char *why;
	size_t len;
	bool ended;

	if (!s->set->hibernate && s->replace_by_ms == 0)
		return "sleeping is switched off";
	if (s->dead || s->logout)
		return "session ends";
	if (s->idle_skip_line)
		return "in the middle of a line";
	if (!imap_parser_idle(s->parser) &&
	    !imap_parser_partial(s->parser, &partial, &len, STATE_INPUT_MAX_BYTES))
		return "in the middle of a command";
	if (stream_pending(s->stream) > 0)
		return "output pending";
	why = layers_refusal(s);
	if (why != NULL)
		return why;
	if (fence_read(stream_fd(s->stream), &now, &ended) < 0)
		return "not a TCP connection";
	if (ended)
		return "connection ended";
	if (session_input_waits(s))
		return "input waiting";
	if (s->holder == NULL || s->holder->fd < 0)
		return "no imap-hibernate";
	return NULL;
}

/* ---- keepalives ---- */

/* How much went out follows from the kernel's count alone. */
int keepalives_arm(struct session *s)
{
	struct fence_counts now;
	uint64_t gone;
	int ret;

	if (s->ka.count == 0)
		return 0;
	ret = fence_read(stream_fd(s->stream), &now, NULL);
	if (ret < 0)
		return ret;
	gone = now.written - s->ka.base;
	if (now.written < s->ka.base || gone > s->ka.total)
		return 0;	/* the fence has moved: not ours any more */
	if (fault("keepalives-arm"))
		return -ENOMEM;
	return stream_set_prelude(s->stream, s->ka.bytes + gone, s->ka.total - gone);
}

/* What is written without the keepalives that are spent would stand in their
 * place: nothing may be. */
static void keepalives_arm_or_end(struct session *s)
{
	int ret = keepalives_arm(s);

	if (ret == 0)
		return;
	(void)shutdown(stream_fd(s->stream), SHUT_RDWR);
	s->dead = true;
	s->end_reason = strerror(-ret);
	loop_stop(s->loop);
}

/* Still the ones made before, with nothing written beyond them? */
static bool keepalives_current(struct session *s, uint64_t written)
{
	return s->ka.count > 0 && written >= s->ka.base &&
	       written - s->ka.base <= s->ka.total;
}

static bool keepalives_wanted(const struct session *s)
{
	return s->idle_tag != NULL && s->set->keepalive_interval_ms > 0 &&
	       s->set->keepalives_ahead > 0;
}

/* Step 11: used-up keepalives are followed by one written at once, before new
 * ones are made: two states must not be good with different bytes. The same
 * behind a state that had none, and that may be in a late WAKE still (the
 * settings have changed since). */
static int keepalives_renew(struct session *s)
{
	struct fence_counts now;
	int ret = fence_read(stream_fd(s->stream), &now, NULL);

	if (ret < 0)
		return ret;
	if (s->idle_tag != NULL && (s->ka.count > 0 || keepalives_wanted(s)) &&
	    now.written == s->ka.base + s->ka.total) {
		stream_puts(s->stream, KEEPALIVE_TEXT);
		ret = stream_drain(s->stream);
	}
	return ret;
}

static int keepalives_make(struct session *s, uint64_t written)
{
	if (keepalives_current(s, written))
		return 0;	/* unspent: the same ones go back to sleep */
	memset(&s->ka, 0, sizeof(s->ka));
	s->ka.base = written;
	if (!keepalives_wanted(s))
		return 0;
	return layers_keepalives(s, s->set->keepalives_ahead, &s->ka);
}

/* ---- the state ---- */

static char *dup_or_null(const char *text)
{
	return text != NULL ? strdup(text) : NULL;
}

static int state_of_view(struct session *s, struct session_state *st)
{
	const struct view *v = &s->view;
	const char *const *names;
	struct buf coded;
	int ret;

	/* The view file, if there is one, is the one that it had. */
	if (s->unrestored != NULL)
		return session_state_copy_mailbox(st, s->unrestored);
	if (s->box == NULL)
		return 0;
	st->selected = true;
	st->readonly = s->readonly;
	st->mailbox = strdup(mailbox_name(s->box));
	memcpy(st->mailbox_id, mailbox_id(s->box), sizeof(st->mailbox_id));
	st->uidvalidity = mailbox_uidvalidity(s->box);
	st->uidnext = v->uidnext;
	st->told_modseq = v->told_modseq;
	st->exists = view_exists(v);
	st->has_saved_search = v->has_saved_search;
	mailbox_keywords(s->box, &names);
	st->keywords_told = v->keywords_told;
	if (v->keywords_told > 0)
		st->keywords_hash = state_keywords_hash(names, v->keywords_told);
	if (uidset_copy(&st->recent, &v->recent) < 0 ||
	    uidset_copy(&st->pending, &v->pending) < 0 ||
	    uidset_copy(&st->expunged, &v->expunged) < 0 ||
	    uidset_copy(&st->saved_search, &v->saved_search) < 0)
		return -ENOMEM;
	buf_init(&coded, STATE_VIEW_INLINE_MAX_BYTES);
	ret = uidset_encode(&v->uids, &coded);
	buf_deinit(&coded);
	if (ret == 0)
		return uidset_copy(&st->uids, &v->uids);
	return view_file_write(mail_store_index_dir(s->store), s->ticket.sid, s->sleeps + 1,
			       &s->key, &v->uids, &st->view_file, &st->view_file_bytes);
}

static int state_of_session(struct session *s, struct session_state *st)
{
	const uint8_t *partial;
	size_t len;
	int ret;

	st->sid = s->ticket.sid;
	st->remote_ip = dup_or_null(s->remote_ip);
	st->local_ip = dup_or_null(s->local_ip);
	st->remote_port = s->remote_port;
	st->local_port = s->local_port;
	st->login_time = s->login_time;
	st->bytes_in = stream_bytes_in(s->stream);
	st->bytes_out = stream_bytes_out(s->stream);
	st->commands = s->commands;
	st->sleeps = s->sleeps + 1;
	st->enabled = s->enabled;
	st->idle_tag = dup_or_null(s->idle_tag);
	st->capabilities = session_capabilities_hash(s);
	if (buf_append(&st->unknown, s->carried.data, s->carried.len) < 0)
		return -ENOMEM;
	st->n_keepalives = s->ka.count;
	memcpy(st->keepalive_len, s->ka.len, sizeof(st->keepalive_len));
	if (imap_parser_partial(s->parser, &partial, &len, STATE_INPUT_MAX_BYTES))
		buf_append(&st->input, partial, len);
	partial = stream_input(s->stream, &len);
	buf_append(&st->input, partial, len);
	if (st->input.failed)
		return -ENOBUFS;
	ret = state_of_view(s, st);
	return ret;
}

/* In this order: what may refuse; the fence, when nothing is written any more;
 * keepalives, which are spent with that; the TLS state, which stands behind them. */
static int state_of_connection(struct session *s, struct session_state *st)
{
	int ret = layers_window(s, &st->compress);

	if (ret == 0)
		ret = fence_read(stream_fd(s->stream), &st->fence, NULL);
	if (ret == 0)
		ret = keepalives_make(s, st->fence.written);
	if (ret == 0 && s->ka.count > 0)
		st->fence.written = s->ka.base;
	return ret == 0 ? layers_tls(s, &st->tls) : ret;
}

/* Packs and seals. */
static int state_make(struct session *s, struct buf *sealed, struct fence_counts *counts_r)
{
	struct session_state st;
	struct buf plain;
	int ret;

	session_state_init(&st);
	buf_init(&plain, STATE_MAX_BYTES);
	ret = state_of_connection(s, &st);
	*counts_r = st.fence;
	if (ret == 0)
		ret = state_of_session(s, &st);
	if (ret == 0)
		ret = session_state_pack(&st, &plain);
	if (ret == 0)
		ret = seal_close(&s->key, s->ticket_packed, s->ticket_len, plain.data,
				 plain.len, sealed);
	session_state_deinit(&st);
	buf_wipe(&plain);
	return ret > 0 ? -EMSGSIZE : ret;
}

void hibernate_forget_views(struct session *s)
{
	/* One that ends before it needed its mailbox has no store open. */
	cleanup_fd int dir = s->store == NULL && s->sleeps > 0 && s->index_dir != NULL ?
		open(s->index_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (s->store != NULL)
		view_file_forget(mail_store_index_dir(s->store), s->ticket.sid, UINT64_MAX);
	else if (dir >= 0)
		view_file_forget(dir, s->ticket.sid, UINT64_MAX);
}

/* ---- the hand-over ---- */

static struct ipc_out *sleep_message(struct session *s, const struct buf *sealed,
				     const struct fence_counts *counts)
{
	struct ipc_out *out = ipc_out_create(IPC_SLEEP);
	unsigned flags = 0;

	if (out == NULL)
		return NULL;
	if (s->idle_tag != NULL)
		flags |= SLEEP_IDLE;
	if (s->box != NULL || s->unrestored != NULL)
		flags |= SLEEP_SELECTED;
	if (s->box != NULL && s->holder->blind)
		flags |= SLEEP_POLL;
	flags |= layers_security(s) << SLEEP_SECURITY_SHIFT;
	ipc_out_u64(out, s->ticket.sid);
	ipc_out_u64(out, s->ticket.cookie);
	ipc_out_u64(out, s->holder->generation);
	ipc_out_u64(out, flags);
	ipc_out_u64(out, counts->written);
	ipc_out_u64(out, counts->consumed);
	ipc_out_array(out, s->ka.count);
	for (uint32_t i = 0; i < s->ka.count; i++)
		ipc_out_u64(out, s->ka.len[i]);
	ipc_out_bin(out, s->ka.bytes, s->ka.total);
	ipc_out_str(out, s->ticket.user);
	ipc_out_str(out, session_remote(s));
	ipc_out_u64(out, s->login_time);
	ipc_out_str(out, session_mailbox_name(s));
	ipc_out_bin(out, s->ticket_packed, s->ticket_len);
	ipc_out_bin(out, sealed->data, sealed->len);
	ipc_out_fd(out, stream_fd(s->stream));
	return out;
}

/* It sleeps elsewhere, or somebody served it since: this process is done. */
static void sleep_done(struct session *s, const char *how)
{
	log_info("sleep", "id=%016llx user=%s mailbox=%s idle=%s uidnext=%u quiet_ms=%llu "
		 "how=%s security=%s",
		 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
		 log_str(session_mailbox_name(s)), s->idle_tag != NULL ? "yes" : "no",
		 s->unrestored != NULL ? s->unrestored->uidnext : s->view.uidnext,
		 (unsigned long long)(clock_ms() - s->last_activity_ms), how,
		 log_str(layers_name(s)));
	if (s->store != NULL && s->unrestored == NULL)
		view_file_forget(mail_store_index_dir(s->store), s->ticket.sid, s->sleeps + 1);
	mailbox_close(&s->box);
	mail_store_close(&s->store);
	(void)fault("sleep-done");
	/* The keys are another's. No shutdown(): the connection lives on. */
	stream_destroy(&s->stream);
	_exit(EXIT_SUCCESS);
}

/* Step 6, second half: the lock was obtained, so this process is the owner
 * again, of a state whose keepalives are spent all the same. */
static const char *awake_again(struct session *s, const char *why)
{
	int ret;

	(void)fault("sleep-again");
	layers_resume(s);
	keepalives_arm_or_end(s);
	ret = session_listen(s);
	if (ret < 0)
		session_bye(s, "UNAVAILABLE", "Out of resources.", strerror(-ret));
	return why;
}

static bool names_us(struct session *s, struct ipc_in *in, const struct fence_counts *counts)
{
	return ipc_in_u64(in) == s->ticket.sid && ipc_in_u64(in) == s->ticket.cookie &&
	       ipc_in_u64(in) == counts->written && ipc_in_u64(in) == counts->consumed;
}

static void ask_have(struct session *s, const struct fence_counts *counts)
{
	struct ipc_out *out = ipc_out_create(IPC_HAVE);

	if (out == NULL)
		return;
	ipc_out_u64(out, s->ticket.sid);
	ipc_out_u64(out, s->ticket.cookie);
	ipc_out_u64(out, counts->written);
	ipc_out_u64(out, counts->consumed);
	(void)ipc_send_free(s->holder->fd, &out);
}

/* What is queued is read first; a KEPT that answers another SLEEP is nothing. */
static const char *answer_read(struct session *s, const struct fence_counts *counts,
			       uint64_t timeout_ms, bool *in_doubt_r)
{
	static const uint32_t types[] = { IPC_KEPT, IPC_REFUSED, IPC_HAVE_NOT };
	static char reason[128];
	struct ipc_in *in = NULL;
	const char *why = NULL;

	*in_doubt_r = true;
	if (holder_link_wait(s->holder, timeout_ms, types, 3, &in) < 0)
		return NULL;
	*in_doubt_r = false;
	if (!names_us(s, in, counts))
		;
	else if (ipc_in_type(in) == IPC_KEPT && ipc_in_done(in))
		sleep_done(s, "kept");
	else if (ipc_in_type(in) == IPC_REFUSED) {
		snprintf(reason, sizeof(reason), "refused: %s", ipc_in_str(in));
		why = reason;
		*in_doubt_r = true;
	} else {
		*in_doubt_r = true;
	}
	ipc_in_destroy(&in);
	return why;
}

static const char *sleep_wait(struct session *s, const struct fence_counts *counts,
			      uint64_t timeout)
{
	const char *why = "imap-hibernate did not answer", *refused;
	bool in_doubt;
	int ret;

	for (;;) {
		refused = answer_read(s, counts, timeout, &in_doubt);
		if (refused != NULL)
			why = refused;
		if (!in_doubt)
			continue;
		/* Step 6: time-out, EOF, or a refusal. */
		ret = fence_look(stream_fd(s->stream), counts, s->ka.total, NULL);
		if (ret == FENCE_MOVED)
			sleep_done(s, "served elsewhere");
		if (ret == FENCE_GOOD && fence_lock(stream_fd(s->stream)) == 0) {
			ret = fence_look(stream_fd(s->stream), counts, s->ka.total, NULL);
			if (ret == FENCE_MOVED)
				sleep_done(s, "served elsewhere");
			return awake_again(s, why);
		}
		/* EAGAIN with a good fence: keep everything, ask, try again. */
		timeout = LOCK_RETRY_MS;
		if (s->holder->fd >= 0)
			ask_have(s, counts);
	}
}

/* Step 1. NULL: watched, compared, told, nothing new since. */
static const char *compare_and_tell(struct session *s)
{
	for (int round = 0; round < COMPARE_ROUNDS; round++) {
		if (s->box != NULL && !s->holder->watching && !s->holder->blind &&
		    holder_link_watch(s->holder) < 0)
			return "cannot subscribe";
		(void)fault("sleep-watched");
		holder_link_drain(s->holder);
		if (s->idle_tag == NULL)
			return NULL;
		s->changed = false;
		if (idle_news(s) < 0)
			return "mailbox cannot be compared";
		if (stream_drain(s->stream) < 0) {
			s->dead = true;
			loop_stop(s->loop);
			return "client is gone";
		}
		holder_link_drain(s->holder);
		if (!s->changed && s->holder->fd >= 0)
			return NULL;
	}
	return "mailbox keeps changing";
}

static const char *state_refusal(struct session *s, int error)
{
	switch (error) {
	case -EMSGSIZE:
		return "state too large";
	case -EBUSY:
		return "in the middle of a compressed block";
	case -E2BIG:
		break;
	default:
		return "cannot write the state down";
	}
	if (!s->window_told)
		log_info("awake", "id=%016llx user=%s reason=%s",
			 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
			 log_str("COMPRESS window above compress_window_max"));
	s->window_told = true;
	return "COMPRESS window above compress_window_max";
}

static const char *sleep_attempt(struct session *s)
{
	struct fence_counts counts;
	struct ipc_out *out;
	struct buf sealed;
	const char *why = hibernate_refusal(s);
	int ret;

	if (why != NULL)
		return why;
	/* Whoever was woken, did not need its mailbox and is told nothing of it goes back
	   as it came. Unwatched, so the next wake compares: the holder counts that as a change. */
	if (s->idle_tag != NULL && session_mailbox(s) != 0)
		return "mailbox cannot be restored";
	why = compare_and_tell(s);
	if (why != NULL)
		return why;
	if (keepalives_renew(s) < 0)
		return "client is gone";
	why = hibernate_refusal(s);
	if (why != NULL)
		return why;
	(void)fault("sleep-compared");
	buf_init(&sealed, STATE_MAX_BYTES + SEAL_OVERHEAD);
	ret = fault("sleep-memory") ? -ENOMEM : state_make(s, &sealed, &counts);
	out = ret == 0 ? sleep_message(s, &sealed, &counts) : NULL;
	buf_deinit(&sealed);
	if (out == NULL) {
		layers_resume(s);
		keepalives_arm_or_end(s);
		return state_refusal(s, ret);
	}
	/* Step 2: out of epoll before the descriptor travels; unlock; send. */
	loop_remove(s->loop, &s->client_io);
	(void)fault("sleep-unlock");
	fence_unlock(stream_fd(s->stream));
	(void)fault("sleep-send");
	ret = ipc_send_free(s->holder->fd, &out);
	(void)fault("sleep-sent");
	return sleep_wait(s, &counts, ret < 0 ? 0 : KEPT_TIMEOUT_MS);
}

const char *hibernate_try(struct session *s)
{
	const char *why = sleep_attempt(s);

	/* A change that was read while it tried, and that nobody looked at. */
	if (s->changed && s->idle_tag != NULL && !s->dead && !s->logout) {
		s->changed = false;
		(void)idle_news(s);
		if (stream_drain(s->stream) < 0) {
			s->dead = true;
			loop_stop(s->loop);
		}
	}
	return why;
}
