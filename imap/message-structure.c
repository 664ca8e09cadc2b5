/* SPDX-License-Identifier: MIT */
/* A message's structure on the way out: as BODY and BODYSTRUCTURE, and as the
 * blob that is kept. The blob has the BODYSTRUCTURE as ready text in front,
 * because that is what clients ask for again and again; behind it the parts,
 * each before its children. Strings stand with their NUL, so that reading
 * copies the blob once and points into it. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "imap/message-parse.h"
#include "lib/cursor.h"
#include "lib/imap-write.h"

#define BLOB_VERSION	1
/* What is larger is read from the message each time. */
#define BLOB_MAX_BYTES	(4 * 1024 * 1024)
/* No message is that long; sums of two cannot wrap. */
#define PLACE_MAX	(UINT64_MAX / 4)
/* ---- RFC 3501 7.4.2, section 9: body ---- */

static void write_nstring(struct buf *out, const char *s)
{
	buf_append_u8(out, ' ');
	if (s != NULL)
		imap_write_string(out, s, strlen(s));
	else
		buf_append_str(out, "NIL");
}

static void write_params(struct buf *out, const struct message_param *p)
{
	if (p == NULL) {
		buf_append_str(out, " NIL");
		return;
	}
	buf_append_str(out, " (");
	for (; p != NULL; p = p->next) {
		imap_write_string(out, p->name, strlen(p->name));
		write_nstring(out, p->value);
		if (p->next != NULL)
			buf_append_u8(out, ' ');
	}
	buf_append_u8(out, ')');
}

/* body-fld-dsp, -lang and -loc, which end both forms of the extension data. */
static void write_extension(struct buf *out, const struct message_part *p)
{
	if (p->disposition != NULL) {
		buf_append_str(out, " (");
		imap_write_string(out, p->disposition, strlen(p->disposition));
		write_params(out, p->disposition_params);
		buf_append_u8(out, ')');
	} else {
		buf_append_str(out, " NIL");
	}
	if (p->languages != NULL) {
		buf_append_str(out, " (");
		for (size_t i = 0; p->languages[i] != NULL; i++) {
			if (i > 0)
				buf_append_u8(out, ' ');
			imap_write_string(out, p->languages[i], strlen(p->languages[i]));
		}
		buf_append_u8(out, ')');
	} else {
		buf_append_str(out, " NIL");
	}
	write_nstring(out, p->location);
}

static void write_part(struct buf *out, const struct message_part *p, bool extended);

static void write_multipart(struct buf *out, const struct message_part *p, bool extended)
{
	for (const struct message_part *c = p->children; c != NULL; c = c->next)
		write_part(out, c, extended);
	write_nstring(out, p->subtype);
	if (extended) {
		write_params(out, p->params);
		write_extension(out, p);
	}
}

static void write_single(struct buf *out, const struct message_part *p, bool extended)
{
	imap_write_string(out, p->type, strlen(p->type));
	write_nstring(out, p->subtype);
	write_params(out, p->params);
	write_nstring(out, p->id);
	write_nstring(out, p->description);
	write_nstring(out, p->encoding);
	buf_printf(out, " %llu", (unsigned long long)p->body_len);
	if (p->rfc822) {
		buf_printf(out, " %s ", p->envelope);
		write_part(out, p->children, extended);
	}
	if (p->rfc822 || strcasecmp(p->type, "text") == 0)
		buf_printf(out, " %u", p->body_lines);
	if (extended) {
		write_nstring(out, p->md5);
		write_extension(out, p);
	}
}

static void write_part(struct buf *out, const struct message_part *p, bool extended)
{
	buf_append_u8(out, '(');
	if (p->multipart)
		write_multipart(out, p, extended);
	else
		write_single(out, p, extended);
	buf_append_u8(out, ')');
}

void message_structure_write(const struct message *m, bool extended, struct buf *out)
{
	write_part(out, m->root, extended);
}

/* ---- into the blob ---- */

/* Seven bits a byte, the lowest first. */
static void pack_number(struct buf *out, uint64_t n)
{
	for (; n > 0x7f; n >>= 7)
		buf_append_u8(out, (uint8_t)(n | 0x80));
	buf_append_u8(out, (uint8_t)n);
}

/* Its length and 1; 0 is none. */
static void pack_string(struct buf *out, const char *s)
{
	size_t len = s != NULL ? strlen(s) : 0;

	pack_number(out, s != NULL ? len + 1 : 0);
	if (s != NULL)
		buf_append(out, s, len + 1);
}

static void pack_params(struct buf *out, const struct message_param *p)
{
	uint32_t n = 0;

	for (const struct message_param *q = p; q != NULL; q = q->next)
		n++;
	pack_number(out, n);
	for (; p != NULL; p = p->next) {
		pack_string(out, p->name);
		pack_string(out, p->value);
	}
}

static void pack_languages(struct buf *out, const char **languages)
{
	uint32_t n = 0;

	while (languages != NULL && languages[n] != NULL)
		n++;
	pack_number(out, n);
	for (uint32_t i = 0; i < n; i++)
		pack_string(out, languages[i]);
}

static void pack_part(struct buf *out, const struct message_part *p)
{
	uint32_t n = 0;

	buf_append_u8(out, (uint8_t)(p->multipart | p->rfc822 << 1));
	pack_number(out, p->header_at);
	pack_number(out, p->header_len);
	pack_number(out, p->body_len);
	pack_number(out, p->body_lines);
	pack_string(out, p->type);
	pack_string(out, p->subtype);
	pack_params(out, p->params);
	pack_string(out, p->id);
	pack_string(out, p->description);
	pack_string(out, p->encoding);
	pack_string(out, p->md5);
	pack_string(out, p->location);
	pack_string(out, p->disposition);
	pack_params(out, p->disposition_params);
	pack_languages(out, p->languages);
	pack_string(out, p->envelope);
	for (const struct message_part *c = p->children; c != NULL; c = c->next)
		n++;
	pack_number(out, n);
	for (const struct message_part *c = p->children; c != NULL; c = c->next)
		pack_part(out, c);
}

int message_pack(const struct message *m, struct buf *out)
{
	struct buf text;
	bool fits;

	buf_init(&text, BLOB_MAX_BYTES);
	message_structure_write(m, true, &text);
	buf_append_u8(out, BLOB_VERSION);
	buf_append_u32(out, (uint32_t)text.len);
	if (text.len > 0)
		buf_append(out, text.data, text.len);
	fits = !text.failed;
	buf_deinit(&text);
	if (fits)
		pack_part(out, m->root);
	if (out->failed)
		return -ENOMEM;
	return !fits || out->len > BLOB_MAX_BYTES ? -ENOBUFS : 0;
}

/* ---- out of the blob ---- */

struct unpack {
	struct cursor c;
	struct arena *arena;
	uint32_t parts, depth;
};

static bool refuse(struct unpack *u)
{
	u->c.bad = true;
	return false;
}

static uint64_t unpack_number(struct unpack *u, uint64_t max)
{
	uint64_t n = 0;
	uint8_t b;

	for (unsigned shift = 0; ; shift += 7) {
		b = cursor_u8(&u->c);
		if (shift > 56)
			refuse(u);
		if (u->c.bad)
			return 0;
		n |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			break;
	}
	if (n <= max)
		return n;
	refuse(u);
	return 0;
}

static const char *unpack_nstring(struct unpack *u)
{
	size_t len = (size_t)unpack_number(u, BLOB_MAX_BYTES);
	const uint8_t *s;

	if (len == 0)
		return NULL;
	s = cursor_bytes(&u->c, len);
	if (s == NULL || memchr(s, 0, len) != s + len - 1) {
		refuse(u);
		return NULL;
	}
	return (const char *)s;
}

/* Never NULL. */
static const char *unpack_string(struct unpack *u)
{
	const char *s = unpack_nstring(u);

	if (s == NULL)
		refuse(u);
	return s != NULL ? s : "";
}

static struct message_param *unpack_params(struct unpack *u)
{
	struct message_param *first = NULL, **next = &first;
	/* Each has two lengths and two NULs at least. */
	uint64_t n = unpack_number(u, cursor_left(&u->c) / 4);

	for (; n > 0 && !u->c.bad; n--) {
		struct message_param *p = arena_alloc(u->arena, sizeof(*p));

		p->name = unpack_string(u);
		p->value = unpack_string(u);
		*next = p;
		next = &p->next;
	}
	return first;
}

static const char **unpack_languages(struct unpack *u)
{
	uint64_t n = unpack_number(u, MESSAGE_LANGUAGES_MAX);
	const char **languages;

	if (n == 0)
		return NULL;
	languages = arena_alloc(u->arena, (n + 1) * sizeof(*languages));
	for (uint64_t i = 0; i < n; i++)
		languages[i] = unpack_string(u);
	return languages;
}

/* Parts lie in their parent's body one behind the other. */
static bool place_valid(const struct message_part *p, const struct message_part *before)
{
	const struct message_part *up = p->parent;
	uint64_t at = before != NULL ? before->body_at + before->body_len :
		up != NULL ? up->body_at : 0;
	uint64_t end = up != NULL ? up->body_at + up->body_len : PLACE_MAX;

	if (p->header_at < at || p->header_at > end || p->header_len > end - p->header_at)
		return false;
	return p->body_len <= end - p->header_at - p->header_len &&
		(up != NULL || p->header_at == 0);
}

static struct message_part *unpack_part(struct unpack *u, struct message_part *parent,
					const struct message_part *before);

static void unpack_children(struct unpack *u, struct message_part *p)
{
	struct message_part **next = &p->children, *before = NULL;
	uint64_t n = unpack_number(u, 2 * MESSAGE_PARTS_MAX);

	if (p->rfc822 ? n != 1 : p->multipart ? n == 0 : n != 0)
		refuse(u);
	if (++u->depth > MESSAGE_DEPTH_MAX + 2)
		refuse(u);
	for (; n > 0 && !u->c.bad; n--) {
		*next = unpack_part(u, p, before);
		before = *next;
		next = &before->next;
	}
	u->depth--;
}

static struct message_part *unpack_part(struct unpack *u, struct message_part *parent,
					const struct message_part *before)
{
	struct message_part *p = arena_alloc(u->arena, sizeof(*p));
	uint8_t kind = cursor_u8(&u->c);

	p->parent = parent;
	p->multipart = kind & 1;
	p->rfc822 = kind >> 1 & 1;
	p->header_at = unpack_number(u, PLACE_MAX);
	p->header_len = unpack_number(u, PLACE_MAX);
	p->body_len = unpack_number(u, PLACE_MAX);
	p->body_lines = (uint32_t)unpack_number(u, UINT32_MAX);
	if (kind > 2 || ++u->parts > 2 * MESSAGE_PARTS_MAX + 1 || !place_valid(p, before))
		refuse(u);
	p->body_at = p->header_at + p->header_len;
	p->type = unpack_string(u);
	p->subtype = unpack_string(u);
	p->params = unpack_params(u);
	p->id = unpack_nstring(u);
	p->description = unpack_nstring(u);
	p->encoding = unpack_string(u);
	p->md5 = unpack_nstring(u);
	p->location = unpack_nstring(u);
	p->disposition = unpack_nstring(u);
	p->disposition_params = unpack_params(u);
	p->languages = unpack_languages(u);
	p->envelope = unpack_nstring(u);
	if (p->rfc822 && (p->envelope == NULL ||
			  !message_text_valid(p->envelope, strlen(p->envelope))))
		refuse(u);
	unpack_children(u, p);
	return p;
}

const char *message_packed_structure(const void *data, size_t len, size_t *len_r)
{
	struct cursor c;
	uint8_t version;
	const uint8_t *text;
	uint32_t n;

	cursor_init(&c, data, len);
	version = cursor_u8(&c);
	n = cursor_u32(&c);
	text = cursor_bytes(&c, n);
	if (c.bad || version != BLOB_VERSION || !message_text_valid(text, n))
		return NULL;
	*len_r = n;
	return (const char *)text;
}

int message_unpack(const void *data, size_t len, struct arena *arena, struct message **m_r)
{
	struct unpack u = { .arena = arena };
	struct message *m;
	size_t text_len;

	if (len > BLOB_MAX_BYTES || message_packed_structure(data, len, &text_len) == NULL)
		return -EINVAL;
	m = arena_alloc(arena, sizeof(*m));
	cursor_init(&u.c, arena_memdup(arena, data, len), len);
	cursor_bytes(&u.c, 5 + text_len);
	m->root = unpack_part(&u, NULL, NULL);
	if (!cursor_done(&u.c))
		return -EINVAL;
	*m_r = m;
	return 0;
}

/* ---- ready text from the index ---- */

/* "{n}" CRLF and n bytes; *pos is at the brace. */
static bool skip_literal(const uint8_t *data, size_t len, size_t *pos)
{
	size_t i = *pos + 1, n = 0;

	while (i < len && data[i] >= '0' && data[i] <= '9' && n <= len)
		n = n * 10 + (size_t)(data[i++] - '0');
	if (len - i < 3 || memcmp(data + i, "}\r\n", 3) != 0 || n > len - i - 3 ||
	    memchr(data + i + 3, 0, n) != NULL)
		return false;
	*pos = i + 3 + n;
	return true;
}

static bool skip_quoted(const uint8_t *data, size_t len, size_t *pos)
{
	for (size_t i = *pos + 1; i < len; i++) {
		if (data[i] == '"') {
			*pos = i + 1;
			return true;
		}
		if (data[i] == '\\')
			i++;
		if (i >= len || data[i] == '\r' || data[i] == '\n' || data[i] == 0)
			return false;
	}
	return false;
}

bool message_text_valid(const void *text, size_t len)
{
	const uint8_t *data = text;
	size_t depth = 0;

	for (size_t i = 0; i < len; ) {
		switch (data[i]) {
		case '(':
			depth++;
			i++;
			break;
		case ')':
			if (depth-- <= 1)
				return depth == 0 && i + 1 == len;
			i++;
			break;
		case '"':
			if (depth == 0 || !skip_quoted(data, len, &i))
				return false;
			break;
		case '{':
			if (depth == 0 || !skip_literal(data, len, &i))
				return false;
			break;
		default:
			if (depth == 0 || data[i] < ' ' || data[i] >= 0x7f)
				return false;
			i++;
		}
	}
	return false;
}
