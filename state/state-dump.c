/* SPDX-License-Identifier: MIT */
/* A state as text, for people. Same fields, same order as state-pack.c. What
 * is secret (keys of the TLS layer, the client's own input) is only measured. */
#include "state/state-wire.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Whatever a client made its tag or mailbox name of: one line stays one, and
 * says nothing to the terminal (for which U+0080 to U+009F are controls too). */
static void dump_str(struct buf *out, const char *key, const char *s)
{
	unsigned char before = 0;

	if (!s)
		return;
	buf_printf(out, "%s: ", key);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < ' ' || c == 0x7f || c == '\\' || (before == 0xc2 && c < 0xa0) ||
		    (c == 0xc2 && (unsigned char)s[1] < 0xa0))
			buf_printf(out, "\\x%02x", (unsigned)c);
		else
			buf_append(out, s, 1);
		before = c;
	}
	buf_append_str(out, "\n");
}

static void dump_uint(struct buf *out, const char *key, uint64_t v)
{
	buf_printf(out, "%s: %" PRIu64 "\n", key, v);
}

static void dump_size(struct buf *out, const char *key, const struct buf *b)
{
	if (b->len > 0)
		buf_printf(out, "%s: %zu bytes\n", key, b->len);
}

static void dump_uids(struct buf *out, const char *key, const struct uidset *set)
{
	if (uidset_is_empty(set))
		return;
	buf_printf(out, "%s: ", key);
	uidset_print(set, out);
	buf_printf(out, " (%" PRIu64 ")\n", uidset_count(set));
}

static void dump_time(struct buf *out, const char *key, uint64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[64] = "";

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), " (%Y-%m-%d %H:%M:%S UTC)", &tm);
	buf_printf(out, "%s: %" PRIu64 "%s\n", key, seconds, text);
}

static void dump_keepalives(struct buf *out, const struct session_state *s)
{
	if (s->n_keepalives == 0)
		return;
	buf_append_str(out, "keepalives:");
	for (uint32_t i = 0; i < s->n_keepalives; i++)
		buf_printf(out, " %u", s->keepalive_len[i]);
	buf_append_str(out, " bytes\n");
}

static void dump_enabled(struct buf *out, uint32_t enabled)
{
	static const struct { uint32_t bit; const char *name; } names[] = {
		{ ENABLED_CONDSTORE, "CONDSTORE" },
		{ ENABLED_QRESYNC, "QRESYNC" },
		{ ENABLED_UTF8, "UTF8=ACCEPT" },
		{ ENABLED_IMAP4REV2, "IMAP4rev2" },
	};

	if (enabled == 0)
		return;
	buf_append_str(out, "enabled:");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (enabled & names[i].bit)
			buf_printf(out, " %s", names[i].name);
	buf_append_str(out, "\n");
}

static void dump_id(struct buf *out, const char *key, const uint8_t id[16])
{
	buf_printf(out, "%s: ", key);
	for (unsigned i = 0; i < 16; i++)
		buf_printf(out, "%02x", id[i]);
	buf_append_str(out, "\n");
}

static void dump_connection(struct buf *out, const struct session_state *s)
{
	buf_printf(out, "sid: %016" PRIx64 "\n", s->sid);
	dump_uint(out, "written", s->fence.written);
	dump_uint(out, "consumed", s->fence.consumed);
	dump_keepalives(out, s);
	dump_str(out, "remote_ip", s->remote_ip);
	dump_uint(out, "remote_port", s->remote_port);
	dump_str(out, "local_ip", s->local_ip);
	dump_uint(out, "local_port", s->local_port);
	dump_time(out, "login_time", s->login_time);
	dump_uint(out, "bytes_in", s->bytes_in);
	dump_uint(out, "bytes_out", s->bytes_out);
	dump_uint(out, "commands", s->commands);
	dump_uint(out, "sleeps", s->sleeps);
}

static void dump_mailbox(struct buf *out, const struct session_state *s)
{
	dump_str(out, "mailbox", s->mailbox);
	buf_printf(out, "readonly: %s\n", s->readonly ? "yes" : "no");
	dump_id(out, "mailbox_id", s->mailbox_id);
	dump_uint(out, "uidvalidity", s->uidvalidity);
	dump_uint(out, "uidnext", s->uidnext);
	dump_uint(out, "told_modseq", s->told_modseq);
	dump_uint(out, "exists", s->exists);
	dump_uids(out, "uids", &s->uids);
	dump_str(out, "view_file", s->view_file);
	if (s->view_file)
		dump_uint(out, "view_file_bytes", s->view_file_bytes);
	dump_uids(out, "recent", &s->recent);
	dump_uids(out, "pending", &s->pending);
	dump_uids(out, "expunged", &s->expunged);
	if (s->has_saved_search && uidset_is_empty(&s->saved_search))
		buf_append_str(out, "saved_search: empty\n");
	dump_uids(out, "saved_search", &s->saved_search);
	dump_uint(out, "keywords_told", s->keywords_told);
	buf_printf(out, "keywords_hash: %016" PRIx64 "\n", s->keywords_hash);
}

int session_state_dump(const struct session_state *s, struct buf *out)
{
	buf_printf(out, "format: %d\n", STATE_FORMAT);
	dump_connection(out, s);
	dump_enabled(out, s->enabled);
	dump_size(out, "input", &s->input);
	dump_str(out, "idle_tag", s->idle_tag);
	if (s->selected)
		dump_mailbox(out, s);
	dump_size(out, "tls", &s->tls);
	dump_size(out, "compress", &s->compress);
	dump_size(out, "notify", &s->notify);
	dump_uint(out, "capabilities", s->capabilities);
	dump_size(out, "unknown", &s->unknown);
	return out->failed ? -ENOBUFS : 0;
}
