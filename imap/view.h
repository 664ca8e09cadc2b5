/* SPDX-License-Identifier: MIT */
#ifndef IMAP_VIEW_H
#define IMAP_VIEW_H
/* The mailbox as the client knows it. Sequence number n is the n-th UID of
 * view->uids: a message that is gone but not yet told so stays in it (RFC 3501
 * 7.4.1). The session keeps no copy of flags: everything up to told_modseq is
 * told, or pending; what changed since is asked of the mailbox. So a session
 * that slept and one that stayed awake compute the same answers, by the same
 * code, from the same few values. */
#include <stdbool.h>
#include <stdint.h>
#include "lib/uidset.h"

struct session;
struct mailbox;

struct view {
	struct uidset uids;		/* what the client was told, expunged included */
	struct uidset arrived;		/* new, EXISTS not told yet; empty between commands */
	struct uidset pending;		/* flags changed, FETCH not told yet */
	struct uidset expunged;		/* gone, EXPUNGE not told yet; subset of uids */
	struct uidset recent;		/* \Recent in this session */
	struct uidset saved_search;	/* SEARCHRES, UIDs (RFC 5182) */
	bool has_saved_search;
	uint32_t uidnext;		/* all UIDs below are in uids or gone */
	uint64_t told_modseq;
	uint32_t keywords_told;
	bool recent_told;
};
void view_init(struct view *v);
void view_deinit(struct view *v);
/* Fill from a freshly synced mailbox (SELECT, EXAMINE). Claims \Recent unless
 * readonly. 0 or as mailbox.h. */
int view_open(struct view *v, struct mailbox *box, bool readonly);
uint32_t view_exists(const struct view *v);
uint32_t view_uid(const struct view *v, uint32_t seq);	/* 0: none */
uint32_t view_seq(const struct view *v, uint32_t uid);	/* 0: none */
/* A sequence-set or UID set of the client's as UIDs of the view. uid: the set
 * is of UIDs (unknown ones are dropped silently); else every number must exist:
 * -ERANGE otherwise (tagged BAD). "$" is the saved search. `*` is the last message. 0, -EINVAL, -E2BIG, -ENOMEM. */
int view_parse_set(const struct view *v, const char *text, bool uid, struct uidset *uids_r);
/* UIDs -> sequence numbers. */
int view_seqs(const struct view *v, const struct uidset *uids, struct uidset *seqs_r);

/* Sync the mailbox and take note of what changed (arrived, pending, expunged);
 * tells nothing. own: UIDs whose latest change is this session's own and needs no telling (may be NULL).
 * 0 or as mailbox_sync(). */
int view_update(struct session *s, const struct uidset *own);
/* As view_update() after a change of ours that was given own_modseq: what
 * somebody else did to the same messages after it is noted all the same. */
int view_update_own(struct session *s, const struct uidset *own, uint64_t own_modseq);
/* Writes what was noted as untagged responses, in the form that the session's
 * ENABLEd extensions call for. allow_expunge false: EXPUNGE/VANISHED wait.
 * Returns how many responses were written, or -errno / mailbox error. */
int view_tell(struct session *s, bool allow_expunge);
/* After a FETCH with FLAGS told these. */
void view_flags_told(struct view *v, const struct uidset *uids);
/* Is something noted and not told? (expunges count only if allowed) */
bool view_has_news(const struct view *v, bool allow_expunge);
/* "(\Answered \Flagged kw ...)", with \Recent when the session has it. */
struct mail_row;
struct buf;
int view_write_flags(struct session *s, const struct mail_row *row, struct buf *out);
enum view_fetch { VIEW_UID = 1, VIEW_FLAGS = 2, VIEW_MODSEQ = 4 };
/* What a FETCH has to hold that the client did not ask for (RFC 7162 3.2.4). */
unsigned view_unsolicited(const struct session *s);
/* * n FETCH (...) with what: enum view_fetch. 0 or -errno. */
int view_write_fetch(struct session *s, const struct mail_row *row, unsigned what);
/* Tells the keywords if there are some that the client does not know. 1 if so, 0, or -errno. */
int view_tell_keywords(struct session *s);
/* With QRESYNC, while an EXPUNGE has to wait: HIGHESTMODSEQ below it (RFC 7162 3.2). */
int view_tell_floor(struct session *s);
/* * FLAGS and * OK [PERMANENTFLAGS]; marks all keywords as told. */
int view_write_keywords(struct session *s);
#endif
