/* SPDX-License-Identifier: MIT */
/* From struct session_state to msgpack. Lay it beside state-unpack.c: same
 * fields, same order. A field that has its default value is left out. */
#include "state/state-wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <msgpack.h>

struct packer {
	struct buf body;	/* the pairs; the head of the map comes when they are counted */
	msgpack_packer pk;
	uint32_t pairs;
	int error;		/* -ENOMEM of a helper; body remembers its own */
};

static int packer_write(void *data, const char *bytes, size_t n)
{
	return buf_append(data, bytes, n) < 0 ? -1 : 0;
}

static void pack_key(struct packer *p, enum state_key key)
{
	p->pairs++;
	msgpack_pack_uint8(&p->pk, (uint8_t)key);
}

static void pack_uint(struct packer *p, enum state_key key, uint64_t v)
{
	if (v == 0)
		return;
	pack_key(p, key);
	msgpack_pack_uint64(&p->pk, v);
}

static void pack_true(struct packer *p, enum state_key key, bool v)
{
	if (!v)
		return;
	pack_key(p, key);
	msgpack_pack_true(&p->pk);
}

static void pack_bytes(struct packer *p, enum state_key key, const void *data, size_t len)
{
	pack_key(p, key);
	msgpack_pack_bin_with_body(&p->pk, data, len);
}

static void pack_buf(struct packer *p, enum state_key key, const struct buf *b)
{
	if (b->len > 0)
		pack_bytes(p, key, b->data, b->len);
}

static void pack_str(struct packer *p, enum state_key key, const char *s)
{
	if (!s)
		return;
	pack_key(p, key);
	msgpack_pack_str_with_body(&p->pk, s, strlen(s));
}

/* 4 or 16 bytes if that says it exactly, else the text. */
static void pack_ip(struct packer *p, enum state_key key, const char *ip)
{
	uint8_t raw[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN];

	if (ip && inet_pton(AF_INET, ip, raw) == 1)
		pack_bytes(p, key, raw, sizeof(struct in_addr));
	else if (ip && inet_pton(AF_INET6, ip, raw) == 1 &&
		 inet_ntop(AF_INET6, raw, text, sizeof(text)) && strcmp(ip, text) == 0)
		pack_bytes(p, key, raw, sizeof(raw));
	else
		pack_str(p, key, ip);
}

static void pack_uids(struct packer *p, enum state_key key, const struct uidset *set)
{
	struct buf raw;
	int ret;

	buf_init(&raw, STATE_PACK_MAX_BYTES);
	ret = uidset_encode(set, &raw);
	if (ret == 0)
		pack_bytes(p, key, raw.data, raw.len);
	else if (ret == -ENOBUFS)
		p->body.failed = true;	/* larger than a whole state may be */
	else
		p->error = ret;
	buf_deinit(&raw);
}

static void pack_uids_if_any(struct packer *p, enum state_key key, const struct uidset *set)
{
	if (!uidset_is_empty(set))
		pack_uids(p, key, set);
}

static void pack_keepalives(struct packer *p, enum state_key key, const struct session_state *s)
{
	if (s->n_keepalives == 0)
		return;
	pack_key(p, key);
	msgpack_pack_array(&p->pk, s->n_keepalives);
	for (uint32_t i = 0; i < s->n_keepalives; i++)
		msgpack_pack_uint16(&p->pk, s->keepalive_len[i]);
}

static void pack_mailbox_id(struct packer *p, enum state_key key, const uint8_t id[16])
{
	static const uint8_t none[16];

	if (memcmp(id, none, sizeof(none)) != 0)
		pack_bytes(p, key, id, sizeof(none));
}

static void pack_connection(struct packer *p, const struct session_state *s)
{
	pack_uint(p, STATE_KEY_SID, s->sid);
	pack_uint(p, STATE_KEY_WRITTEN, s->fence.written);
	pack_uint(p, STATE_KEY_CONSUMED, s->fence.consumed);
	pack_keepalives(p, STATE_KEY_KEEPALIVES, s);
	pack_ip(p, STATE_KEY_REMOTE_IP, s->remote_ip);
	pack_uint(p, STATE_KEY_REMOTE_PORT, s->remote_port);
	pack_ip(p, STATE_KEY_LOCAL_IP, s->local_ip);
	pack_uint(p, STATE_KEY_LOCAL_PORT, s->local_port);
	pack_uint(p, STATE_KEY_LOGIN_TIME, s->login_time);
	pack_uint(p, STATE_KEY_BYTES_IN, s->bytes_in);
	pack_uint(p, STATE_KEY_BYTES_OUT, s->bytes_out);
	pack_uint(p, STATE_KEY_COMMANDS, s->commands);
	pack_uint(p, STATE_KEY_SLEEPS, s->sleeps);
}

static void pack_session(struct packer *p, const struct session_state *s)
{
	pack_uint(p, STATE_KEY_ENABLED, s->enabled);
	pack_buf(p, STATE_KEY_INPUT, &s->input);
	pack_str(p, STATE_KEY_IDLE_TAG, s->idle_tag);
}

static void pack_mailbox(struct packer *p, const struct session_state *s)
{
	pack_str(p, STATE_KEY_MAILBOX, s->mailbox);	/* there: selected */
	pack_true(p, STATE_KEY_READONLY, s->readonly);
	pack_mailbox_id(p, STATE_KEY_MAILBOX_ID, s->mailbox_id);
	pack_uint(p, STATE_KEY_UIDVALIDITY, s->uidvalidity);
	pack_uint(p, STATE_KEY_UIDNEXT, s->uidnext);
	pack_uint(p, STATE_KEY_TOLD_MODSEQ, s->told_modseq);
	pack_uint(p, STATE_KEY_EXISTS, s->exists);
	pack_uids_if_any(p, STATE_KEY_UIDS, &s->uids);
	pack_str(p, STATE_KEY_VIEW_FILE, s->view_file);
	pack_uint(p, STATE_KEY_VIEW_FILE_BYTES, s->view_file_bytes);
	pack_uids_if_any(p, STATE_KEY_RECENT, &s->recent);
	pack_uids_if_any(p, STATE_KEY_PENDING, &s->pending);
	pack_uids_if_any(p, STATE_KEY_EXPUNGED, &s->expunged);
	if (s->has_saved_search)	/* an empty result is a result */
		pack_uids(p, STATE_KEY_SAVED_SEARCH, &s->saved_search);
	pack_uint(p, STATE_KEY_KEYWORDS_TOLD, s->keywords_told);
	pack_uint(p, STATE_KEY_KEYWORDS_HASH, s->keywords_hash);
}

static void pack_layers(struct packer *p, const struct session_state *s)
{
	pack_buf(p, STATE_KEY_TLS, &s->tls);
	pack_buf(p, STATE_KEY_COMPRESS, &s->compress);
	pack_buf(p, STATE_KEY_NOTIFY, &s->notify);
}

static int pack_unknown(struct packer *p, const struct buf *unknown)
{
	struct cursor c;
	uint32_t pairs;

	cursor_init(&c, unknown->data, unknown->len);
	if (state_walk_pairs(&c, STATE_KEY_UNKNOWN, STATE_PACK_MAX_BYTES, &pairs) != 0 ||
	    !cursor_done(&c))
		return STATE_E_INVALID;
	p->pairs += pairs;
	(void)buf_append(&p->body, unknown->data, unknown->len);
	return 0;
}

/* The head of a map and its pairs, all or nothing. */
static int pack_finish(struct packer *p, struct buf *out)
{
	const size_t before = out->len;
	msgpack_packer pk;

	if (p->body.failed || p->body.len > STATE_PACK_MAX_BYTES - 5)
		return STATE_E_TOO_LARGE;
	msgpack_packer_init(&pk, out, packer_write);
	if (msgpack_pack_map(&pk, p->pairs) == 0 &&
	    buf_append(out, p->body.data, p->body.len) == 0)
		return 0;
	out->len = before;
	return p->body.len + 5 > out->max - before ? STATE_E_TOO_LARGE : -ENOMEM;
}

int session_state_pack(const struct session_state *s, struct buf *out)
{
	struct packer p = { .error = 0 };
	int ret = session_state_check(s);

	if (ret != 0)
		return ret;
	buf_init(&p.body, STATE_PACK_MAX_BYTES);
	msgpack_packer_init(&p.pk, &p.body, packer_write);
	pack_key(&p, STATE_KEY_FORMAT);
	msgpack_pack_uint8(&p.pk, STATE_FORMAT);
	pack_connection(&p, s);
	pack_session(&p, s);
	pack_mailbox(&p, s);
	pack_layers(&p, s);
	pack_uint(&p, STATE_KEY_CAPABILITIES, s->capabilities);
	ret = pack_unknown(&p, &s->unknown);
	if (ret == 0)
		ret = p.error;
	if (ret == 0)
		ret = pack_finish(&p, out);
	buf_wipe(&p.body);	/* TLS secrets were in it */
	return ret;
}
