/* SPDX-License-Identifier: MIT */
/* The session at rest: memory, and what must be true of it. The check stands
 * here and not in state-unpack.c because a session that could not be unpacked
 * must not fall asleep in the first place. */
#include "state/state-wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/imap-chars.h"

void session_state_init(struct session_state *s)
{
	*s = (struct session_state){ 0 };
	buf_init(&s->input, STATE_INPUT_MAX_BYTES);
	buf_init(&s->tls, STATE_MAX_BYTES);
	buf_init(&s->compress, STATE_MAX_BYTES);
	buf_init(&s->notify, STATE_MAX_BYTES);
	buf_init(&s->unknown, STATE_MAX_BYTES);
	uidset_init(&s->uids);
	uidset_init(&s->recent);
	uidset_init(&s->pending);
	uidset_init(&s->expunged);
	uidset_init(&s->saved_search);
}

static void string_wipe(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void session_state_deinit(struct session_state *s)
{
	string_wipe(&s->remote_ip);
	string_wipe(&s->local_ip);
	string_wipe(&s->idle_tag);
	string_wipe(&s->mailbox);
	string_wipe(&s->view_file);
	buf_wipe(&s->input);
	buf_wipe(&s->tls);
	buf_wipe(&s->compress);
	buf_wipe(&s->notify);
	buf_wipe(&s->unknown);
	uidset_deinit(&s->uids);
	uidset_deinit(&s->recent);
	uidset_deinit(&s->pending);
	uidset_deinit(&s->expunged);
	uidset_deinit(&s->saved_search);
	explicit_bzero(s, sizeof(*s));
	session_state_init(s);
}

static int string_copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int session_state_copy_mailbox(struct session_state *to, const struct session_state *from)
{
	to->selected = from->selected;
	to->readonly = from->readonly;
	memcpy(to->mailbox_id, from->mailbox_id, sizeof(to->mailbox_id));
	to->uidvalidity = from->uidvalidity;
	to->uidnext = from->uidnext;
	to->told_modseq = from->told_modseq;
	to->exists = from->exists;
	to->view_file_bytes = from->view_file_bytes;
	to->has_saved_search = from->has_saved_search;
	to->keywords_told = from->keywords_told;
	to->keywords_hash = from->keywords_hash;
	if (string_copy(&to->mailbox, from->mailbox) < 0 ||
	    string_copy(&to->view_file, from->view_file) < 0 ||
	    uidset_copy(&to->uids, &from->uids) < 0 ||
	    uidset_copy(&to->recent, &from->recent) < 0 ||
	    uidset_copy(&to->pending, &from->pending) < 0 ||
	    uidset_copy(&to->expunged, &from->expunged) < 0 ||
	    uidset_copy(&to->saved_search, &from->saved_search) < 0)
		return -ENOMEM;
	return 0;
}

static bool string_fits(const char *s, size_t min, size_t max)
{
	return !s || (strlen(s) >= min && strlen(s) <= max);
}

/* A tag is printed into a response as it is: RFC 9051, section 9, "tag". */
static bool tag_good(const char *tag)
{
	for (; tag && *tag; tag++)
		if (!imap_is_tag_char((unsigned char)*tag))
			return false;
	return true;
}

/* It is opened in a directory of ours: a name, not a way elsewhere. */
static bool file_name_good(const char *name)
{
	return !name || (!strchr(name, '/') && strcmp(name, ".") != 0 &&
			 strcmp(name, "..") != 0);
}

static int check_strings(const struct session_state *s)
{
	if (!string_fits(s->remote_ip, 0, STATE_IP_MAX_BYTES) ||
	    !string_fits(s->local_ip, 0, STATE_IP_MAX_BYTES) ||
	    !string_fits(s->idle_tag, 1, IMAP_TAG_MAX_BYTES) ||
	    !string_fits(s->mailbox, 1, MAILBOX_NAME_MAX_BYTES) ||
	    !string_fits(s->view_file, 1, STATE_VIEW_FILE_MAX_BYTES))
		return STATE_E_INVALID;
	if (!tag_good(s->idle_tag) || !file_name_good(s->view_file))
		return STATE_E_INVALID;
	return 0;
}

static int check_connection(const struct session_state *s)
{
	const uint32_t known = ENABLED_CONDSTORE | ENABLED_QRESYNC | ENABLED_UTF8 |
			       ENABLED_IMAP4REV2;

	if (s->sid == 0 || s->n_keepalives > KEEPALIVES_MAX)
		return STATE_E_INVALID;
	for (uint32_t i = 0; i < s->n_keepalives; i++)
		if (s->keepalive_len[i] == 0 || s->keepalive_len[i] > KEEPALIVE_MAX_BYTES)
			return STATE_E_INVALID;
	if (s->enabled & ~known)	/* a promise to the client that we cannot keep */
		return STATE_E_INVALID;
	return s->input.len > STATE_INPUT_MAX_BYTES ? STATE_E_TOO_LARGE : 0;
}

static bool mailbox_untouched(const struct session_state *s)
{
	static const uint8_t no_id[sizeof(s->mailbox_id)];

	return !s->readonly && !s->mailbox && !s->view_file && !s->has_saved_search &&
	       memcmp(s->mailbox_id, no_id, sizeof(no_id)) == 0 && s->uidvalidity == 0 &&
	       s->uidnext == 0 && s->told_modseq == 0 && s->exists == 0 &&
	       s->view_file_bytes == 0 && s->keywords_told == 0 && s->keywords_hash == 0 &&
	       uidset_is_empty(&s->uids) && uidset_is_empty(&s->recent) &&
	       uidset_is_empty(&s->pending) && uidset_is_empty(&s->expunged) &&
	       uidset_is_empty(&s->saved_search);
}

static bool uids_below(const struct uidset *set, uint32_t uidnext)
{
	return set->count == 0 || set->ranges[set->count - 1].last < uidnext;
}

/* Both sorted: a range of the part lies in one range of the whole, since
 * neighbours are merged. */
static bool uids_within(const struct uidset *part, const struct uidset *whole)
{
	size_t w = 0;

	for (size_t i = 0; i < part->count; i++) {
		const struct uid_range *r = &part->ranges[i];

		while (w < whole->count && whole->ranges[w].last < r->first)
			w++;
		if (w == whole->count || whole->ranges[w].first > r->first ||
		    whole->ranges[w].last < r->last)
			return false;
	}
	return true;
}

static int check_mailbox(const struct session_state *s)
{
	if (!s->selected)
		return mailbox_untouched(s) ? 0 : STATE_E_INVALID;
	if (!s->mailbox || s->keywords_told > KEYWORDS_MAX)
		return STATE_E_INVALID;
	if (!s->has_saved_search && !uidset_is_empty(&s->saved_search))
		return STATE_E_INVALID;
	if (!uids_below(&s->uids, s->uidnext) || !uids_below(&s->recent, s->uidnext) ||
	    !uids_below(&s->pending, s->uidnext) || !uids_below(&s->expunged, s->uidnext) ||
	    !uids_below(&s->saved_search, s->uidnext))
		return STATE_E_INVALID;
	/* The rest can be said only when the file has been read. */
	if (s->view_file)
		return uidset_is_empty(&s->uids) ? 0 : STATE_E_INVALID;
	/* A saved result may name what has been expunged since: RFC 5182, 2.1
	   lets it shrink later, so it is not compared. */
	if (s->view_file_bytes != 0 || uidset_count(&s->uids) != s->exists ||
	    !uids_within(&s->recent, &s->uids) || !uids_within(&s->pending, &s->uids) ||
	    !uids_within(&s->expunged, &s->uids))
		return STATE_E_INVALID;
	return 0;
}

int session_state_check(const struct session_state *s)
{
	int ret = check_strings(s);

	if (ret == 0)
		ret = check_connection(s);
	if (ret == 0)
		ret = check_mailbox(s);
	return ret;
}

const char *session_state_strerror(int error)
{
	switch (error) {
	case STATE_OK:		return "no error";
	case STATE_E_VERSION:	return "state of a version that we cannot read";
	case STATE_E_TRUNCATED:	return "state is cut short";
	case STATE_E_INVALID:	return "state makes no sense";
	case STATE_E_TOO_LARGE:	return "state is too large";
	}
	return error < 0 ? strerror(-error) : "unknown state error";
}

/* FNV-1a, 64 bits: not against an enemy, the seal does that; only to see
 * whether the list that the client was told is still the mailbox's. */
uint64_t state_keywords_hash(const char *const *names, size_t count)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < count; i++) {
		const unsigned char *p = (const unsigned char *)names[i];

		do {	/* the NUL between names counts too: "ab" is not "a", "b" */
			if (*p == '\0' && i + 1 == count)
				break;
			hash = (hash ^ *p) * 0x100000001b3u;
		} while (*p++ != '\0');
	}
	return hash;
}
