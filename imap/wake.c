/* SPDX-License-Identifier: MIT */
/* Waking is exact: the view is what the client was told, and what it is told
 * next is computed from it by the code that an awake session uses (view.c).
 * Features come first: whatever is told after must have the form that the
 * client ENABLEd. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/holder-link.h"
#include "imap/session.h"
#include "imap/view-file.h"
#include "lib/log.h"

static char *steal(char **p)
{
	char *taken = *p;

	*p = NULL;
	return taken;
}

static int restore_features(struct session *s, struct session_state *st)
{
	s->remote_ip = steal(&st->remote_ip);
	s->local_ip = steal(&st->local_ip);
	s->remote_port = st->remote_port;
	s->local_port = st->local_port;
	s->login_time = st->login_time;
	s->commands = st->commands;
	s->sleeps = st->sleeps;
	s->enabled = st->enabled;
	s->idle_tag = steal(&st->idle_tag);
	s->capabilities_asleep = st->capabilities;
	if (buf_append(&s->carried, st->unknown.data, st->unknown.len) < 0)
		return -ENOMEM;
	stream_set_bytes(s->stream, st->bytes_in, st->bytes_out);
	return stream_unread(s->stream, st->input.data, st->input.len);
}

/* Keywords are append-only; if what the client was told is no longer a prefix
 * of what there is, it is told all of them again when it next matters. */
static uint32_t keywords_told(struct mailbox *box, const struct session_state *st)
{
	const char *const *names;
	size_t count = mailbox_keywords(box, &names);

	if (st->keywords_told == 0 || count < st->keywords_told ||
	    state_keywords_hash(names, st->keywords_told) != st->keywords_hash)
		return 0;
	return st->keywords_told;
}

static int restore_uids(struct session *s, struct session_state *st)
{
	int ret;

	if (st->view_file == NULL)
		return uidset_copy(&s->view.uids, &st->uids);
	ret = view_file_read(mail_store_index_dir(s->store), st->view_file,
			     st->view_file_bytes, s->ticket.sid, &s->key, &s->view.uids);
	if (ret == -ENOENT || ret == -EBADMSG)
		return WAKE_E_VIEW_LOST;
	return ret;
}

static int restore_view(struct session *s, struct session_state *st)
{
	struct view *v = &s->view;
	int ret = restore_uids(s, st);

	if (ret != 0)
		return ret;
	if (view_exists(v) != st->exists)
		return WAKE_E_VIEW_LOST;
	v->uidnext = st->uidnext;
	v->told_modseq = st->told_modseq;
	v->has_saved_search = st->has_saved_search;
	v->keywords_told = keywords_told(s->box, st);
	if (uidset_copy(&v->recent, &st->recent) < 0 ||
	    uidset_copy(&v->pending, &st->pending) < 0 ||
	    uidset_copy(&v->expunged, &st->expunged) < 0 ||
	    uidset_copy(&v->saved_search, &st->saved_search) < 0)
		return -ENOMEM;
	/* A MODSEQ below what the client was told would hide changes: compare
	   everything (it cannot happen but by a restored backup). */
	if (mailbox_highestmodseq(s->box) < v->told_modseq) {
		log_warn("wake", "id=%016llx user=%s mailbox=%s MODSEQ went back; all flags are told again",
			 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
			 log_str(mailbox_name(s->box)));
		v->told_modseq = 0;
	}
	return 0;
}

static int restore_mailbox(struct session *s, struct session_state *st, const char **bye_r)
{
	struct mail_store *store;
	int ret = session_store(s, &store);

	if (ret == 0)
		ret = mailbox_open_id(store, st->mailbox_id, st->mailbox, &s->box);
	if (ret == MAILBOX_E_NONEXISTENT || ret == MAILBOX_E_GONE) {
		*bye_r = "Selected mailbox was deleted.";
		return MAILBOX_E_GONE;
	}
	if (ret != 0)
		return ret;
	s->readonly = st->readonly;
	/* The old view must be read before the directory is: sync comes later,
	   with the watch set (step 10). But UIDVALIDITY decides now. */
	if (mailbox_uidvalidity(s->box) != st->uidvalidity) {
		*bye_r = "UIDVALIDITY of the selected mailbox changed.";
		return MAILBOX_E_VALIDITY;
	}
	ret = restore_view(s, st);
	if (ret == WAKE_E_VIEW_LOST)
		*bye_r = "The server lost this session's view of the mailbox.";
	return ret;
}

static int restore_keepalives(struct session *s, const struct session_state *st)
{
	uint32_t total = 0;

	for (uint32_t i = 0; i < st->n_keepalives; i++)
		total += st->keepalive_len[i];
	if (s->ka.count != st->n_keepalives || s->ka.total != total ||
	    (s->ka.count > 0 && s->ka.base != st->fence.written))
		return WAKE_E_STATE;
	return keepalives_arm(s);
}

/* What is left of the state is only the mailbox's. */
static int restore_later(struct session *s, struct session_state *st)
{
	s->unrestored = malloc(sizeof(*s->unrestored));
	if (s->unrestored == NULL)
		return -ENOMEM;
	*s->unrestored = *st;
	session_state_init(st);
	return 0;
}

static void unrestored_forget(struct session *s)
{
	session_state_deinit(s->unrestored);
	free(s->unrestored);
	s->unrestored = NULL;
}

static bool may_pass(int error)
{
	return error < 0 || error == MAILBOX_E_BUSY || error == MAILBOX_E_NOSPACE;
}

int session_mailbox(struct session *s)
{
	const char *bye = NULL;
	int ret;

	if (s->unrestored == NULL)
		return 0;
	ret = restore_mailbox(s, s->unrestored, &bye);
	if (ret != 0 && may_pass(ret)) {
		mailbox_close(&s->box);
		view_deinit(&s->view);
		return ret;
	}
	unrestored_forget(s);
	if (ret != 0)
		session_bye(s, NULL, bye, bye);
	return ret;
}

const char *session_mailbox_name(const struct session *s)
{
	if (s->unrestored != NULL)
		return s->unrestored->mailbox;
	return s->box != NULL ? mailbox_name(s->box) : "";
}

int wake_restore(struct session *s, struct session_state *st, bool later,
		 const char **bye_r)
{
	int ret;

	*bye_r = "Internal error.";
	if (st->sid != s->ticket.sid)
		return WAKE_E_STATE;
	ret = restore_keepalives(s, st);
	if (ret == 0)
		ret = restore_features(s, st);
	if (ret == 0 && st->selected)
		ret = later ? restore_later(s, st) : restore_mailbox(s, st, bye_r);
	return ret;
}
