/* SPDX-License-Identifier: MIT */
/* STORE and EXPUNGE: renames and unlinks within one transaction. Another
 * program may have renamed or removed a file since the index was told: then
 * the directory is looked at again, and the message tried again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/fault.h"
#include "lib/uidset.h"

/* A file that somebody renames faster than we look is left to him. */
#define CHASE_MAX		20

struct store_op {
	enum flag_op op;
	uint32_t flags;
	uint64_t keywords[KEYWORD_WORDS];
	uint64_t unchanged_since;
	struct uidset changed, modified, gone, again;
	bool no_room;		/* in a file's name, for what it should say */
};

static void new_flags(const struct store_op *s, struct msg *m)
{
	switch (s->op) {
	case FLAG_SET:
		m->flags = s->flags;
		memcpy(m->keywords, s->keywords, sizeof(m->keywords));
		break;
	case FLAG_ADD:
		m->flags |= s->flags;
		for (size_t i = 0; i < KEYWORD_WORDS; i++)
			m->keywords[i] |= s->keywords[i];
		break;
	case FLAG_REMOVE:
		m->flags &= ~s->flags;
		for (size_t i = 0; i < KEYWORD_WORDS; i++)
			m->keywords[i] &= ~s->keywords[i];
		break;
	}
}

static bool unlettered_differ(const struct mailbox *box, const struct msg *a,
			      const struct msg *b)
{
	for (uint32_t n = 0; n < box->n_keywords; n++) {
		if (box->keywords[n].letter < 0 &&
		    keywords_has(a->keywords, n) != keywords_has(b->keywords, n))
			return true;
	}
	return false;
}

/* 0, -ENOENT: not there under this name; or what file_error() makes of it. */
static int msg_rename(struct change *c, const struct msg *was, const struct msg *m)
{
	char from[2 * MAILDIR_NAME_MAX + 8], to[2 * MAILDIR_NAME_MAX + 8];

	snprintf(from, sizeof(from), "%s/%s%s", dir_names[was->dir], was->base, was->info);
	snprintf(to, sizeof(to), "%s/%s%s", dir_names[m->dir], m->base, m->info);
	if (!strcmp(from, to))
		return 0;
	if (fault("store-rename"))
		return -EIO;
	if (renameat(c->box->dir_fd, from, c->box->dir_fd, to) < 0)
		return errno == ENOENT ? -ENOENT : file_error(errno);
	return 0;
}

static int store_one(struct change *c, struct store_op *s, uint32_t uid)
{
	struct index *ix = &c->box->store->index;
	struct msg was, m;
	int rc = index_msg_get(ix, c->row.box, uid, &was);

	if (rc == MAILBOX_E_EXPUNGED)
		return uidset_add(&s->gone, uid);
	if (rc)
		return rc;
	/* RFC 7162 3.1.3: higher than the client knows: not touched. */
	if (was.modseq > s->unchanged_since)
		return uidset_add(&s->modified, uid);
	m = was;
	new_flags(s, &m);
	if (m.flags == was.flags && keywords_same(m.keywords, was.keywords))
		return 0;
	m.dir = DIR_CUR;
	rc = maildir_name_info(was.info, strlen(was.base), m.flags,
			       keywords_to_letters(c->box, m.keywords),
			       keywords_known_letters(c->box), m.info);
	if (rc == -ENAMETOOLONG) {
		s->no_room = true;	/* the others come first */
		return 0;
	}
	if (rc == 0 && unlettered_differ(c->box, &was, &m)) {
		change_keywords_line(c, &m);
		rc = change_lines(c);
	}
	if (rc == 0)
		rc = msg_rename(c, &was, &m);
	if (rc == -ENOENT)
		return uidset_add(&s->again, uid);
	if (rc)
		return rc;
	m.modseq = change_modseq(c);
	rc = index_msg_set(ix, &c->row, &was, &m);
	return rc ? rc : uidset_add(&s->changed, uid);
}

/* Runs fn for each of uids; those it puts into *again once more after a look at
 * the directory. */
static int for_each_chased(struct change *c, const struct uidset *uids, struct uidset *again,
			   int (*fn)(struct change *c, void *ctx, uint32_t uid), void *ctx)
{
	struct uidset todo;
	int rc;

	uidset_init(&todo);
	rc = uidset_copy(&todo, uids);
	for (int i = 0; rc == 0 && !uidset_is_empty(&todo); i++) {
		bool clean[DIR_COUNT];
		struct uidset_iter it;

		uidset_clear(again);
		/* A look before and after each, not around all: what others do
		   between two of ours is seen. */
		for (uint32_t uid = uidset_first(&todo, &it); rc == 0 && uid;
		     uid = uidset_next(&todo, &it)) {
			change_stamps_before(c, clean);
			rc = fn(c, ctx, uid);
			change_stamps_after(c, clean);
		}
		if (rc == 0)
			rc = uidset_copy(&todo, again);
		if (rc == 0 && !uidset_is_empty(&todo))
			rc = i == CHASE_MAX ? MAILBOX_E_BUSY : sync_in_change(c, true);
	}
	uidset_deinit(&todo);
	return rc;
}

static int store_fn(struct change *c, void *ctx, uint32_t uid)
{
	return store_one(c, ctx, uid);
}

/* UIDs up to the last one there is: a set may say 1:4294967295. */
static int uids_existing(struct change *c, const struct uidset *uids, struct uidset *out)
{
	int rc = uidset_copy(out, uids);

	if (rc == 0 && c->row.uidnext < UINT32_MAX)
		rc = uidset_remove_range(out, c->row.uidnext, UINT32_MAX);
	return rc;
}

/* What was done is done, also if more could not be: commit it. */
static int change_finish(struct change *c, int rc, uint64_t *modseq_r)
{
	uint64_t modseq = c->modseq;
	int commit;

	if (rc == -EUCLEAN || rc == -ENOMEM) {
		change_abort(c);
		return rc;
	}
	commit = change_commit(c);
	if (commit == 0 && modseq_r)
		*modseq_r = modseq;
	return rc ? rc : commit;
}

static int store_run(struct mailbox *box, const struct uidset *uids, struct store_op *s,
		     const uint32_t *keywords, size_t n_keywords, uint64_t *modseq_r)
{
	struct uidset todo;
	struct change c;
	int rc = change_begin(box, false, false, &c);

	if (rc)
		return rc;
	uidset_init(&todo);
	rc = uids_existing(&c, uids, &todo);
	for (size_t i = 0; i < n_keywords && rc == 0; i++) {
		if (keywords[i] >= box->n_keywords)
			rc = -EINVAL;
		else
			keywords_put(s->keywords, keywords[i], true);
	}
	if (rc == 0)
		rc = for_each_chased(&c, &todo, &s->again, store_fn, s);
	uidset_deinit(&todo);
	if (rc == 0 && s->no_room)
		rc = MAILBOX_E_KEYWORDS;
	return change_finish(&c, rc, modseq_r);
}

static int store_once(struct mailbox *box, const struct uidset *uids, struct store_op *s,
		      const uint32_t *keywords, size_t n_keywords, uint64_t *modseq_r)
{
	uidset_clear(&s->changed);
	uidset_clear(&s->modified);
	uidset_clear(&s->gone);
	memset(s->keywords, 0, sizeof(s->keywords));
	*modseq_r = 0;
	return store_run(box, uids, s, keywords, n_keywords, modseq_r);
}

static void give_set(struct uidset *to, struct uidset *from)
{
	if (to) {
		struct uidset t = *to;

		*to = *from;
		*from = t;
	}
	uidset_deinit(from);
}

int mailbox_store(struct mailbox *box, const struct uidset *uids, enum flag_op op,
		  uint32_t flags, const uint32_t *keywords, size_t n_keywords,
		  uint64_t unchanged_since, struct uidset *changed_r,
		  struct uidset *modified_r, struct uidset *gone_r, uint64_t *modseq_r)
{
	struct store_op s = {
		.op = op,
		.flags = flags & MAIL_FLAGS_ALL,
		.unchanged_since = unchanged_since,
	};
	uint64_t modseq = 0;
	int rc;

	uidset_init(&s.changed);
	uidset_init(&s.modified);
	uidset_init(&s.gone);
	uidset_init(&s.again);
	BOX_RETRY(rc, store_once(box, uids, &s, keywords, n_keywords, &modseq));
	give_set(changed_r, &s.changed);
	give_set(modified_r, &s.modified);
	give_set(gone_r, &s.gone);
	uidset_deinit(&s.again);
	if (modseq_r)
		*modseq_r = modseq;
	return rc;
}

/* ---- EXPUNGE ---- */

struct expunge_op {
	struct uidset gone, again;
};

static int expunge_one(struct change *c, void *ctx, uint32_t uid)
{
	struct expunge_op *e = ctx;
	struct index *ix = &c->box->store->index;
	char path[2 * MAILDIR_NAME_MAX + 8];
	struct msg m;
	int rc = index_msg_get(ix, c->row.box, uid, &m);

	if (rc)
		return rc == MAILBOX_E_EXPUNGED ? 0 : rc;
	if (!(m.flags & MAIL_DELETED))
		return 0;
	snprintf(path, sizeof(path), "%s/%s%s", dir_names[m.dir], m.base, m.info);
	if (fault("expunge-unlink"))
		return -EIO;
	if (unlinkat(c->box->dir_fd, path, 0) < 0)
		return errno == ENOENT ? uidset_add(&e->again, uid) : file_error(errno);
	rc = index_msg_expunge(ix, &c->row, &m, change_modseq(c));
	return rc ? rc : uidset_add(&e->gone, uid);
}

static int expunge_run(struct mailbox *box, const struct uidset *uids, struct expunge_op *e,
		       uint64_t *modseq_r)
{
	struct uidset todo;
	struct change c;
	int rc = change_begin(box, false, false, &c);

	if (rc)
		return rc;
	uidset_clear(&e->gone);
	uidset_init(&todo);
	rc = uids_existing(&c, uids, &todo);
	if (rc == 0)
		rc = for_each_chased(&c, &todo, &e->again, expunge_one, e);
	uidset_deinit(&todo);
	for (size_t i = 0; i < e->gone.count; i++)
		change_line(&c, &(struct uidlist_line){ .kind = UIDLIST_GONE,
			.uid = e->gone.ranges[i].first, .last = e->gone.ranges[i].last }, false);
	return change_finish(&c, rc, modseq_r);
}

int mailbox_expunge(struct mailbox *box, const struct uidset *uids, struct uidset *gone_r,
		    uint64_t *modseq_r)
{
	struct expunge_op e;
	uint64_t modseq = 0;
	int rc;

	uidset_init(&e.gone);
	uidset_init(&e.again);
	BOX_RETRY(rc, expunge_run(box, uids, &e, &modseq));
	give_set(gone_r, &e.gone);
	uidset_deinit(&e.again);
	if (modseq_r)
		*modseq_r = modseq;
	return rc;
}
