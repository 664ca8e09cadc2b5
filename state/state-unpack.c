/* SPDX-License-Identifier: MIT */
/* From msgpack to struct session_state. Lay it beside state-pack.c: same
 * fields, same order.
 *
 * First the bytes are walked over without believing them (size, then counts,
 * then depth, keys ascending), so that msgpack-c cannot be made to allocate
 * what a count claims. Then pair after pair is unpacked. Since keys ascend as
 * the fields below do, each field just asks "is the next key mine?"; a key
 * that nobody asked for stays and is either of a later version or carried
 * along. At the end the whole must make sense. */
#include "state/state-wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

struct unpacker {
	const uint8_t *data;
	size_t len;
	size_t pair;		/* where the current pair begins */
	size_t next;		/* where the one after it does */
	bool there;		/* there is a current pair */
	uint64_t key;
	msgpack_unpacked value;	/* strings in it point into data */
	int error;		/* the first one */
};

static void unpack_fail(struct unpacker *u, int error)
{
	if (u->error == 0)
		u->error = error;
}

/* To the pair at u->next. The walk has seen it, so only memory can be short. */
static void unpack_pair(struct unpacker *u)
{
	const char *data = (const char *)u->data;

	u->pair = u->next;
	u->there = u->next < u->len;
	if (!u->there)
		return;
	if (msgpack_unpack_next(&u->value, data, u->len, &u->next) < 0)
		return unpack_fail(u, -ENOMEM);
	u->key = u->value.data.via.u64;
	if (msgpack_unpack_next(&u->value, data, u->len, &u->next) < 0)
		unpack_fail(u, -ENOMEM);
}

/* The value, if the current pair is `key`'s; NULL otherwise. It must be of
 * that type. */
static const msgpack_object *unpack_take(struct unpacker *u, enum state_key key,
	msgpack_object_type type)
{
	if (u->error != 0 || !u->there || u->key != (uint64_t)key)
		return NULL;
	if (u->value.data.type != type) {
		unpack_fail(u, STATE_E_INVALID);
		return NULL;
	}
	return &u->value.data;
}

static uint64_t unpack_uint(struct unpacker *u, enum state_key key, uint64_t max)
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_POSITIVE_INTEGER);
	uint64_t v = o ? o->via.u64 : 0;

	if (!o)
		return 0;
	if (v > max)
		unpack_fail(u, STATE_E_INVALID);
	unpack_pair(u);
	return v > max ? 0 : v;
}

static bool unpack_true(struct unpacker *u, enum state_key key)
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_BOOLEAN);
	bool v = o && o->via.boolean;

	if (o)
		unpack_pair(u);
	return v;
}

static void unpack_buf(struct unpacker *u, enum state_key key, struct buf *b)
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_BIN);

	if (!o)
		return;
	if (o->via.bin.size > b->max)
		unpack_fail(u, STATE_E_INVALID);
	else if (buf_append(b, o->via.bin.ptr, o->via.bin.size) < 0)
		unpack_fail(u, -ENOMEM);
	unpack_pair(u);
}

static char *unpack_str(struct unpacker *u, enum state_key key)
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_STR);
	char *s;

	if (!o)
		return NULL;
	/* msgpack-c points an empty string nowhere. */
	s = o->via.str.size > 0 ? strndup(o->via.str.ptr, o->via.str.size) : strdup("");
	if (!s)
		unpack_fail(u, -ENOMEM);
	else if (strlen(s) != o->via.str.size)	/* a NUL inside */
		unpack_fail(u, STATE_E_INVALID);
	unpack_pair(u);
	return s;
}

static char *unpack_ip(struct unpacker *u, enum state_key key)
{
	const msgpack_object *o;
	char text[INET6_ADDRSTRLEN] = "";
	char *ip;

	if (u->there && u->value.data.type == MSGPACK_OBJECT_STR)
		return unpack_str(u, key);
	o = unpack_take(u, key, MSGPACK_OBJECT_BIN);
	if (!o)
		return NULL;
	if (o->via.bin.size == sizeof(struct in_addr))
		(void)inet_ntop(AF_INET, o->via.bin.ptr, text, sizeof(text));
	else if (o->via.bin.size == sizeof(struct in6_addr))
		(void)inet_ntop(AF_INET6, o->via.bin.ptr, text, sizeof(text));
	else
		unpack_fail(u, STATE_E_INVALID);
	ip = strdup(text);
	if (!ip)
		unpack_fail(u, -ENOMEM);
	unpack_pair(u);
	return ip;
}

/* Returns whether it was there: an empty set may say something. */
static bool unpack_uids(struct unpacker *u, enum state_key key, struct uidset *set)
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_BIN);
	int ret;

	if (!o)
		return false;
	ret = uidset_decode(set, o->via.bin.ptr, o->via.bin.size, UIDSET_MAX_RANGES);
	if (ret != 0)
		unpack_fail(u, ret == -ENOMEM ? -ENOMEM : STATE_E_INVALID);
	unpack_pair(u);
	return true;
}

static void unpack_keepalives(struct unpacker *u, enum state_key key, struct session_state *s)
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_ARRAY);

	if (!o)
		return;
	if (o->via.array.size > KEEPALIVES_MAX)
		return unpack_fail(u, STATE_E_INVALID);
	for (uint32_t i = 0; i < o->via.array.size; i++) {
		const msgpack_object *len = &o->via.array.ptr[i];

		if (len->type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
		    len->via.u64 > KEEPALIVE_MAX_BYTES)
			return unpack_fail(u, STATE_E_INVALID);
		s->keepalive_len[i] = (uint16_t)len->via.u64;
	}
	s->n_keepalives = o->via.array.size;
	unpack_pair(u);
}

static void unpack_mailbox_id(struct unpacker *u, enum state_key key, uint8_t id[16])
{
	const msgpack_object *o = unpack_take(u, key, MSGPACK_OBJECT_BIN);

	if (!o)
		return;
	if (o->via.bin.size == 16)
		memcpy(id, o->via.bin.ptr, 16);
	else
		unpack_fail(u, STATE_E_INVALID);
	unpack_pair(u);
}

static void unpack_connection(struct unpacker *u, struct session_state *s)
{
	s->sid = unpack_uint(u, STATE_KEY_SID, UINT64_MAX);
	s->fence.written = unpack_uint(u, STATE_KEY_WRITTEN, UINT64_MAX);
	s->fence.consumed = unpack_uint(u, STATE_KEY_CONSUMED, UINT64_MAX);
	unpack_keepalives(u, STATE_KEY_KEEPALIVES, s);
	s->remote_ip = unpack_ip(u, STATE_KEY_REMOTE_IP);
	s->remote_port = (uint16_t)unpack_uint(u, STATE_KEY_REMOTE_PORT, UINT16_MAX);
	s->local_ip = unpack_ip(u, STATE_KEY_LOCAL_IP);
	s->local_port = (uint16_t)unpack_uint(u, STATE_KEY_LOCAL_PORT, UINT16_MAX);
	s->login_time = unpack_uint(u, STATE_KEY_LOGIN_TIME, UINT64_MAX);
	s->bytes_in = unpack_uint(u, STATE_KEY_BYTES_IN, UINT64_MAX);
	s->bytes_out = unpack_uint(u, STATE_KEY_BYTES_OUT, UINT64_MAX);
	s->commands = unpack_uint(u, STATE_KEY_COMMANDS, UINT64_MAX);
	s->sleeps = unpack_uint(u, STATE_KEY_SLEEPS, UINT64_MAX);
}

static void unpack_session(struct unpacker *u, struct session_state *s)
{
	s->enabled = (uint32_t)unpack_uint(u, STATE_KEY_ENABLED, UINT32_MAX);
	unpack_buf(u, STATE_KEY_INPUT, &s->input);
	s->idle_tag = unpack_str(u, STATE_KEY_IDLE_TAG);
}

static void unpack_mailbox(struct unpacker *u, struct session_state *s)
{
	s->mailbox = unpack_str(u, STATE_KEY_MAILBOX);
	s->selected = s->mailbox != NULL;
	s->readonly = unpack_true(u, STATE_KEY_READONLY);
	unpack_mailbox_id(u, STATE_KEY_MAILBOX_ID, s->mailbox_id);
	s->uidvalidity = (uint32_t)unpack_uint(u, STATE_KEY_UIDVALIDITY, UINT32_MAX);
	s->uidnext = (uint32_t)unpack_uint(u, STATE_KEY_UIDNEXT, UINT32_MAX);
	s->told_modseq = unpack_uint(u, STATE_KEY_TOLD_MODSEQ, UINT64_MAX);
	s->exists = (uint32_t)unpack_uint(u, STATE_KEY_EXISTS, UINT32_MAX);
	(void)unpack_uids(u, STATE_KEY_UIDS, &s->uids);
	s->view_file = unpack_str(u, STATE_KEY_VIEW_FILE);
	s->view_file_bytes = unpack_uint(u, STATE_KEY_VIEW_FILE_BYTES, UINT64_MAX);
	(void)unpack_uids(u, STATE_KEY_RECENT, &s->recent);
	(void)unpack_uids(u, STATE_KEY_PENDING, &s->pending);
	(void)unpack_uids(u, STATE_KEY_EXPUNGED, &s->expunged);
	s->has_saved_search = unpack_uids(u, STATE_KEY_SAVED_SEARCH, &s->saved_search);
	s->keywords_told = (uint32_t)unpack_uint(u, STATE_KEY_KEYWORDS_TOLD, UINT32_MAX);
	s->keywords_hash = unpack_uint(u, STATE_KEY_KEYWORDS_HASH, UINT64_MAX);
}

static void unpack_layers(struct unpacker *u, struct session_state *s)
{
	unpack_buf(u, STATE_KEY_TLS, &s->tls);
	unpack_buf(u, STATE_KEY_COMPRESS, &s->compress);
	unpack_buf(u, STATE_KEY_NOTIFY, &s->notify);
}

/* What is left over was not ours. Keys ascend: if this one may be ignored,
 * so may all that follow. */
static void unpack_unknown(struct unpacker *u, struct buf *unknown)
{
	if (u->error != 0 || !u->there)
		return;
	if (u->key < STATE_KEY_OPTIONAL)
		unpack_fail(u, STATE_E_VERSION);
	else if (buf_append(unknown, u->data + u->pair, u->len - u->pair) < 0)
		unpack_fail(u, -ENOMEM);
}

/* Nothing is believed here but that the bytes are a map of `pairs` pairs with
 * ascending keys and no bytes behind it. *start_r: where the pairs begin. */
static int unpack_walk(const void *data, size_t len, size_t *start_r)
{
	struct cursor c;
	uint32_t pairs, found;
	int ret;

	if (len > STATE_PACK_MAX_BYTES)
		return STATE_E_INVALID;
	cursor_init(&c, data, len);
	if ((ret = state_walk_map(&c, &pairs)) != 0)
		return ret;
	*start_r = c.pos;
	if ((ret = state_walk_pairs(&c, 0, pairs, &found)) != 0)
		return ret;
	if (found < pairs)
		return STATE_E_TRUNCATED;
	return cursor_done(&c) ? 0 : STATE_E_INVALID;
}

static void unpack_format(struct unpacker *u)
{
	const msgpack_object *o =
		unpack_take(u, STATE_KEY_FORMAT, MSGPACK_OBJECT_POSITIVE_INTEGER);

	if (!o)
		unpack_fail(u, STATE_E_INVALID);	/* without one: not a state */
	else if (o->via.u64 != STATE_FORMAT)
		unpack_fail(u, STATE_E_VERSION);
	else
		unpack_pair(u);
}

int session_state_unpack(struct session_state *s, const void *data, size_t len)
{
	struct unpacker u = { .data = data, .len = len };
	int ret = unpack_walk(data, len, &u.next);

	if (ret != 0)
		return ret;
	msgpack_unpacked_init(&u.value);
	unpack_pair(&u);
	unpack_format(&u);
	unpack_connection(&u, s);
	unpack_session(&u, s);
	unpack_mailbox(&u, s);
	unpack_layers(&u, s);
	s->capabilities = unpack_uint(&u, STATE_KEY_CAPABILITIES, UINT64_MAX);
	unpack_unknown(&u, &s->unknown);
	msgpack_unpacked_destroy(&u.value);

	ret = u.error != 0 ? u.error : session_state_check(s);
	if (ret == STATE_E_TOO_LARGE)
		ret = STATE_E_INVALID;
	if (ret != 0)
		session_state_deinit(s);
	return ret;
}
