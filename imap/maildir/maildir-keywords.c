/* SPDX-License-Identifier: MIT */
/* Keywords of a mailbox: numbers for the session, letters in file names. The
 * two are told apart: Dovecot's list has gaps, a letter that somebody else put
 * into file names must not get a meaning by chance, and the 27th keyword has
 * no letter at all (its messages stand in the uidlist). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "imap/maildir/maildir.h"

static int keyword_find(const struct mailbox *box, const char *name, size_t len)
{
	for (size_t i = 0; i < box->n_keywords; i++) {
		const char *k = box->keywords[i].name;

		if (strlen(k) == len && !strncasecmp(k, name, len))
			return (int)i;
	}
	return -1;
}

/* Numbers come in order; one that is known is not news. */
int keywords_add(struct mailbox *box, uint32_t n, int letter, const char *name, size_t len)
{
	if (n != box->n_keywords || n >= KEYWORDS_MAX)
		return 0;
	if (box->n_keywords == box->keywords_cap) {
		size_t cap = box->keywords_cap ? box->keywords_cap * 2 : 32;
		void *k = reallocarray(box->keywords, cap, sizeof(*box->keywords));
		void *names;

		if (!k)
			return -ENOMEM;
		box->keywords = k;
		names = reallocarray(box->keyword_names, cap, sizeof(*box->keyword_names));
		if (!names)
			return -ENOMEM;
		box->keyword_names = names;
		box->keywords_cap = cap;
	}
	box->keywords[n].name = strndup(name, len);
	if (!box->keywords[n].name)
		return -ENOMEM;
	box->keywords[n].letter = letter;
	box->keyword_names[n] = box->keywords[n].name;
	box->n_keywords++;
	return 0;
}

void keywords_free(struct mailbox *box)
{
	for (size_t i = 0; i < box->n_keywords; i++)
		free(box->keywords[i].name);
	free(box->keywords);
	free(box->keyword_names);
	box->keywords = NULL;
	box->keyword_names = NULL;
	box->n_keywords = box->keywords_cap = 0;
}

int keywords_load(struct mailbox *box, const struct box_row *row)
{
	struct index *ix = &box->store->index;
	sqlite3_stmt *st;
	int step, rc;

	/* The list only grows: as many as there are means the same ones. */
	if (row->n_keywords <= box->n_keywords)
		return 0;
	rc = index_stmt(ix, SQL_KEYWORDS, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	while (rc == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
		const char *letter = (const char *)sqlite3_column_text(st, 1);
		const char *name = sqlite3_column_blob(st, 2);

		if (!letter || !name)
			continue;
		rc = keywords_add(box, (uint32_t)sqlite3_column_int(st, 0),
				  *letter >= 'a' && *letter <= 'z' ? *letter - 'a' : -1,
				  name, (size_t)sqlite3_column_bytes(st, 2));
	}
	sqlite3_reset(st);
	return rc ? rc : index_result(ix, step);
}

uint32_t keywords_known_letters(const struct mailbox *box)
{
	uint32_t known = 0;

	for (size_t i = 0; i < box->n_keywords; i++) {
		if (box->keywords[i].letter >= 0)
			known |= UINT32_C(1) << box->keywords[i].letter;
	}
	return known;
}

void keywords_from_letters(const struct mailbox *box, uint32_t letters, uint64_t *words)
{
	for (uint32_t i = 0; i < box->n_keywords; i++) {
		if (box->keywords[i].letter >= 0)
			keywords_put(words, i, letters >> box->keywords[i].letter & 1);
	}
}

uint32_t keywords_to_letters(const struct mailbox *box, const uint64_t *words)
{
	uint32_t letters = 0;

	for (uint32_t i = 0; i < box->n_keywords; i++) {
		if (box->keywords[i].letter >= 0 && keywords_has(words, i))
			letters |= UINT32_C(1) << box->keywords[i].letter;
	}
	return letters;
}

bool keywords_same(const uint64_t *a, const uint64_t *b)
{
	return !memcmp(a, b, KEYWORD_WORDS * sizeof(*a));
}

bool keywords_beyond_letters(const struct mailbox *box, const uint64_t *words)
{
	for (uint32_t i = 0; i < box->n_keywords; i++) {
		if (box->keywords[i].letter < 0 && keywords_has(words, i))
			return true;
	}
	return false;
}

static int free_letter(const struct change *c)
{
	uint32_t taken = keywords_known_letters(c->box) | c->row.odd_letters;

	for (int i = 0; i < 26; i++) {
		if (!(taken >> i & 1))
			return i;
	}
	return -1;
}

int change_keyword(struct change *c, const char *name, uint32_t *n_r)
{
	struct mailbox *box = c->box;
	size_t len = strlen(name);
	int n = keyword_find(box, name, len), letter, rc;
	struct uidlist_line l = { .kind = UIDLIST_KEYWORD, .text = name, .text_len = len };

	if (n >= 0) {
		*n_r = (uint32_t)n;
		return 0;
	}
	if (box->n_keywords >= KEYWORDS_MAX)
		return MAILBOX_E_KEYWORDS;
	if (len == 0 || len > KEYWORD_MAX_BYTES || strpbrk(name, "\r\n"))
		return -EINVAL;
	letter = free_letter(c);
	l.uid = (uint32_t)box->n_keywords;
	l.letter = letter < 0 ? '-' : (char)('a' + letter);
	change_line(c, &l, true);
	/* On disk before it is in memory: a number must never change its name. */
	rc = change_lines(c);
	if (rc == 0)
		rc = keywords_add(box, l.uid, letter, name, len);
	if (rc == 0)
		*n_r = l.uid;
	return rc;
}

/* ---- the mailbox interface ---- */

bool keyword_set_has(const struct keyword_set *k, uint32_t n)
{
	return n / 64 < k->n_words && keywords_has(k->words, n);
}

size_t mailbox_keywords(struct mailbox *box, const char *const **names_r)
{
	if (box_load(box) == 0)
		keywords_load(box, &box->row);
	*names_r = box->keyword_names;
	return box->n_keywords;
}

static int keyword_create(struct mailbox *box, const char *name, uint32_t *n_r)
{
	struct change c;
	int rc = change_begin(box, false, false, &c);

	if (rc)
		return rc;
	rc = change_keyword(&c, name, n_r);
	if (rc) {
		change_abort(&c);
		return rc;
	}
	return change_commit(&c);
}

int mailbox_keyword(struct mailbox *box, const char *name, bool create, uint32_t *n_r)
{
	int rc, n;

	BOX_RETRY(rc, box_load(box));
	if (rc == 0)
		rc = keywords_load(box, &box->row);
	if (rc)
		return rc;
	n = keyword_find(box, name, strlen(name));
	if (n >= 0) {
		*n_r = (uint32_t)n;
		return 0;
	}
	if (!create)
		return MAILBOX_E_NONEXISTENT;
	BOX_RETRY(rc, keyword_create(box, name, n_r));
	return rc;
}
