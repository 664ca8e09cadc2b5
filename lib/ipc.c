/* SPDX-License-Identifier: MIT */
/* One msgpack message and its descriptors.
 *
 * Sending packs straight into a bounded buffer behind three bytes that hold
 * the number of fields so far. The calls count along what
 * each array still wants, so a message that was built wrongly is refused here
 * and not by its reader.
 *
 * Receiving trusts nothing. msgpack_unpack() allocates a whole array when it
 * has read only the array's length, so shape_check() walks the bytes first:
 * kinds, nesting, every count against the bytes left, and the total. Then the
 * message is unpacked into a zone that has just the size it needs. Fields are
 * views into the message; a string gets its NUL at the first look, over the
 * next item's header, which nobody needs any more.
 *
 * Messages carry passwords and sealed states: they are wiped when done with. */
#include "lib/ipc.h"

#include <assert.h>
#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/ipc-packet.h"
#include "lib/limits.h"

/* The outer array counts as the first level. */
#define NESTING_MAX	4
/* array 16: 0xdc and a big-endian count. */
#define HEAD_BYTES	3
#define FIRST_BYTES	256

static_assert(IPC_ITEMS_MAX <= UINT16_MAX, "the head has 16 bits for the count");

/* ==== sending ==== */

struct ipc_out {
	struct buf buf;
	msgpack_packer pk;
	int error;			/* -errno, sticky */
	uint32_t n_items;		/* everything, nested or not */
	uint32_t n_fields;		/* of the outer array */
	unsigned depth;			/* of open nested arrays */
	uint32_t wanted[NESTING_MAX - 1];	/* items still to come in each */
	int *fds;
	unsigned n_fds, fds_room;
};

static int out_write(void *data, const char *bytes, size_t len)
{
	struct ipc_out *out = data;
	int ret = buf_append(&out->buf, bytes, len);

	if (ret < 0 && out->error == 0)
		out->error = ret == -ENOBUFS ? -EMSGSIZE : ret;
	return ret < 0 ? -1 : 0;
}

static void out_count_field(struct ipc_out *out)
{
	out->n_fields++;
	out->buf.data[1] = (uint8_t)(out->n_fields >> 8);
	out->buf.data[2] = (uint8_t)out->n_fields;
}

/* Accounts for the next item. False: do not pack it. */
static bool out_item(struct ipc_out *out)
{
	if (out->error != 0)
		return false;
	if (out->n_items == IPC_ITEMS_MAX) {
		out->error = -EMSGSIZE;
		return false;
	}
	out->n_items++;
	while (out->depth > 0 && out->wanted[out->depth - 1] == 0)
		out->depth--;
	if (out->depth > 0)
		out->wanted[out->depth - 1]--;
	else
		out_count_field(out);
	return true;
}

struct ipc_out *ipc_out_create(uint32_t type)
{
	static const uint8_t head[HEAD_BYTES] = { 0xdc, 0, 0 };
	struct ipc_out *out = calloc(1, sizeof(*out));

	if (out == NULL)
		return NULL;
	buf_init(&out->buf, IPC_MESSAGE_MAX);
	msgpack_packer_init(&out->pk, out, out_write);
	/* Most messages fit, so the buffer need not grow step by step. */
	if (buf_reserve(&out->buf, FIRST_BYTES) == NULL ||
	    buf_append(&out->buf, head, sizeof(head)) < 0) {
		ipc_out_destroy(&out);
		return NULL;
	}
	ipc_out_u64(out, type);
	return out;
}

void ipc_out_destroy(struct ipc_out **outp)
{
	struct ipc_out *out = *outp;

	*outp = NULL;
	if (out == NULL)
		return;
	buf_wipe(&out->buf);
	free(out->fds);
	free(out);
}

void ipc_out_u64(struct ipc_out *out, uint64_t v)
{
	if (out_item(out))
		msgpack_pack_uint64(&out->pk, v);
}

void ipc_out_bool(struct ipc_out *out, bool v)
{
	if (!out_item(out))
		return;
	if (v)
		msgpack_pack_true(&out->pk);
	else
		msgpack_pack_false(&out->pk);
}

void ipc_out_str(struct ipc_out *out, const char *s)
{
	size_t len = s != NULL ? strlen(s) : 0;

	if (!out_item(out))
		return;
	msgpack_pack_str(&out->pk, len);
	if (len > 0)
		msgpack_pack_str_body(&out->pk, s, len);
}

void ipc_out_bin(struct ipc_out *out, const void *data, size_t len)
{
	if (!out_item(out))
		return;
	msgpack_pack_bin(&out->pk, len);
	if (len > 0)
		msgpack_pack_bin_body(&out->pk, data, len);
}

void ipc_out_array(struct ipc_out *out, uint32_t n)
{
	if (!out_item(out))
		return;
	if (n > 0 && out->depth == NESTING_MAX - 1) {
		out->error = -EINVAL;
		return;
	}
	if (n > IPC_ITEMS_MAX) {
		out->error = -EMSGSIZE;
		return;
	}
	msgpack_pack_array(&out->pk, n);
	if (n > 0)
		out->wanted[out->depth++] = n;
}

void ipc_out_fd(struct ipc_out *out, int fd)
{
	if (out->error != 0)
		return;
	if (fd < 0) {
		out->error = -EBADF;
		return;
	}
	if (out->n_fds == IPC_FDS_MAX) {
		out->error = -EMSGSIZE;
		return;
	}
	if (out->n_fds == out->fds_room) {
		unsigned room = out->fds_room > 0 ? 2 * out->fds_room : 2;
		int *fds = reallocarray(out->fds, room, sizeof(int));

		if (fds == NULL) {
			out->error = -ENOMEM;
			return;
		}
		out->fds = fds;
		out->fds_room = room;
	}
	out->fds[out->n_fds++] = fd;
}

/* 0, or why the message cannot be sent. */
static int out_check(const struct ipc_out *out)
{
	if (out->error != 0)
		return out->error;
	for (unsigned i = 0; i < out->depth; i++)
		if (out->wanted[i] > 0)
			return -EINVAL;		/* an array was left incomplete */
	return 0;
}

int ipc_send(int sock, struct ipc_out *out)
{
	int ret = out_check(out);

	if (ret < 0)
		return ret;
	return ipc_send_raw(sock, out->buf.data, out->buf.len, out->fds, out->n_fds);
}

int ipc_send_free(int sock, struct ipc_out **out)
{
	int ret = *out != NULL ? ipc_send(sock, *out) : -ENOMEM;

	ipc_out_destroy(out);
	return ret;
}

const void *ipc_out_data(const struct ipc_out *out, size_t *len_r)
{
	if (out_check(out) < 0)
		return NULL;
	*len_r = out->buf.len;
	return out->buf.data;
}

/* ==== the shape of foreign bytes ==== */

enum item_kind { ITEM_BAD, ITEM_PLAIN, ITEM_BYTES, ITEM_ARRAY };
struct item {
	enum item_kind kind;
	bool text;		/* bytes without a NUL */
	uint32_t n;		/* bytes that follow, or items */
};

/* The kinds whose first byte has the whole story, or names how many bytes of
 * number follow. Numbers below zero, fractions, nil, maps and extensions are
 * not of our language. */
static struct item item_read(struct cursor *c)
{
	uint8_t b = cursor_u8(c);

	if (b <= 0x7f || b == 0xc2 || b == 0xc3)
		return (struct item){ .kind = ITEM_PLAIN };
	if (b >= 0x90 && b <= 0x9f)
		return (struct item){ .kind = ITEM_ARRAY, .n = b & 0x0f };
	if (b >= 0xa0 && b <= 0xbf)
		return (struct item){ .kind = ITEM_BYTES, .text = true, .n = b & 0x1f };
	switch (b) {
	case 0xc4: return (struct item){ .kind = ITEM_BYTES, .n = cursor_u8(c) };
	case 0xc5: return (struct item){ .kind = ITEM_BYTES, .n = cursor_u16(c) };
	case 0xc6: return (struct item){ .kind = ITEM_BYTES, .n = cursor_u32(c) };
	case 0xcc: return (struct item){ .kind = ITEM_BYTES, .n = 1 };
	case 0xcd: return (struct item){ .kind = ITEM_BYTES, .n = 2 };
	case 0xce: return (struct item){ .kind = ITEM_BYTES, .n = 4 };
	case 0xcf: return (struct item){ .kind = ITEM_BYTES, .n = 8 };
	case 0xd9: return (struct item){ .kind = ITEM_BYTES, .text = true, .n = cursor_u8(c) };
	case 0xda: return (struct item){ .kind = ITEM_BYTES, .text = true, .n = cursor_u16(c) };
	case 0xdb: return (struct item){ .kind = ITEM_BYTES, .text = true, .n = cursor_u32(c) };
	case 0xdc: return (struct item){ .kind = ITEM_ARRAY, .n = cursor_u16(c) };
	case 0xdd: return (struct item){ .kind = ITEM_ARRAY, .n = cursor_u32(c) };
	default: return (struct item){ .kind = ITEM_BAD };
	}
}

struct shape {
	uint32_t n_items;		/* all of them: what unpacking allocates for */
	uint32_t n_arrays;
	unsigned depth;
	uint32_t left[NESTING_MAX];	/* items still to come, by level */
};

static bool shape_enter(struct shape *s, const struct cursor *c, uint32_t n)
{
	/* Each item takes a byte at least. */
	if (n > cursor_left(c) || n > IPC_ITEMS_MAX - s->n_items)
		return false;
	s->n_items += n;
	s->n_arrays++;
	if (n == 0)
		return true;
	if (s->depth == NESTING_MAX)
		return false;
	s->left[s->depth++] = n;
	return true;
}

static bool shape_item(struct shape *s, struct cursor *c)
{
	struct item it = item_read(c);
	const uint8_t *p;

	switch (it.kind) {
	case ITEM_PLAIN:
		return !c->bad;
	case ITEM_BYTES:
		p = cursor_bytes(c, it.n);
		if (c->bad)
			return false;
		return !it.text || it.n == 0 || memchr(p, 0, it.n) == NULL;
	case ITEM_ARRAY:
		return !c->bad && shape_enter(s, c, it.n);
	case ITEM_BAD:
		return false;
	}
	return false;
}

/* True if the bytes are exactly one array of ours. */
static bool shape_check(struct shape *s, const void *data, size_t len)
{
	struct cursor c;
	struct item top;

	memset(s, 0, sizeof(*s));
	cursor_init(&c, data, len);
	top = item_read(&c);
	if (c.bad || top.kind != ITEM_ARRAY || top.n == 0 || !shape_enter(s, &c, top.n))
		return false;
	while (s->depth > 0) {
		if (s->left[s->depth - 1] == 0) {
			s->depth--;
			continue;
		}
		s->left[s->depth - 1]--;
		if (!shape_item(s, &c))
			return false;
	}
	return cursor_done(&c);
}

/* ==== receiving ==== */

struct level {
	const msgpack_object *next;
	uint32_t left;
};

struct ipc_in {
	uint32_t type;
	bool bad;
	bool has_zone;
	unsigned depth;			/* levels in use; the outermost is never left */
	struct level level[NESTING_MAX];
	msgpack_zone zone;
	struct ipc_cred cred;
	unsigned n_fds, fds_taken;
	int *fds;
	size_t len;
	char *data;			/* len bytes and room for a NUL */
};

/* The message, its bytes and its descriptors are one piece of memory. */
static struct ipc_in *in_create(const void *data, size_t len, const struct ipc_packet *pkt)
{
	size_t fds_size = pkt->n_fds * sizeof(int);
	struct ipc_in *in = malloc(sizeof(*in) + fds_size + len + 1);

	if (in == NULL)
		return NULL;
	memset(in, 0, sizeof(*in));
	in->cred = pkt->cred;
	in->n_fds = pkt->n_fds;
	in->fds = (int *)(in + 1);
	if (fds_size > 0)
		memcpy(in->fds, pkt->fds, fds_size);
	in->len = len;
	in->data = (char *)(in + 1) + fds_size;
	memcpy(in->data, data, len);
	in->data[len] = '\0';
	return in;
}

static int in_parse(struct ipc_in *in)
{
	struct shape shape;
	msgpack_object top;
	size_t off = 0, room;
	uint64_t type;

	if (!shape_check(&shape, in->data, in->len))
		return -EBADMSG;
	/* Each array is a piece of the zone, aligned. */
	room = shape.n_items * sizeof(msgpack_object) + shape.n_arrays * sizeof(void *);
	if (!msgpack_zone_init(&in->zone, room))
		return -ENOMEM;
	in->has_zone = true;
	if (msgpack_unpack(in->data, in->len, &off, &in->zone, &top) !=
	    MSGPACK_UNPACK_SUCCESS || off != in->len || top.type != MSGPACK_OBJECT_ARRAY)
		return -EBADMSG;
	in->level[0].next = top.via.array.ptr;
	in->level[0].left = top.via.array.size;
	in->depth = 1;
	type = ipc_in_u64(in);
	if (in->bad || type > UINT32_MAX)
		return -EBADMSG;
	in->type = (uint32_t)type;
	return 0;
}

void ipc_in_destroy(struct ipc_in **inp)
{
	struct ipc_in *in = *inp;

	*inp = NULL;
	if (in == NULL)
		return;
	while (in->fds_taken < in->n_fds)
		close(in->fds[in->fds_taken++]);
	if (in->has_zone)
		msgpack_zone_destroy(&in->zone);
	explicit_bzero(in->data, in->len);
	free(in);
}

static int in_from(const void *data, size_t len, struct ipc_packet *pkt,
	struct ipc_in **in_r)
{
	struct ipc_in *in = in_create(data, len, pkt);
	int ret;

	if (in == NULL) {
		ipc_packet_close(pkt);
		return -ENOMEM;
	}
	ret = in_parse(in);
	if (ret < 0) {
		ipc_in_destroy(&in);
		return ret;
	}
	*in_r = in;
	return 0;
}

int ipc_in_decode(const void *data, size_t len, struct ipc_in **in_r)
{
	struct ipc_packet none = { .cred = { .uid = (uid_t)-1 } };

	if (len == 0 || len > IPC_MESSAGE_MAX)
		return -EBADMSG;
	return in_from(data, len, &none, in_r);
}

/* Where packets land before their size is known. Mapped, not static: only the
 * pages that a message really touched are memory, and a large one gives its
 * pages back. One for each thread, for the workers of auth. */
#define LANDING_KEEP	(16 * 1024)
static _Thread_local void *landing;

static void *landing_get(void)
{
	void *p;

	if (landing != NULL)
		return landing;
	p = mmap(NULL, IPC_MESSAGE_MAX, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED)
		landing = p;
	return landing;
}

static void landing_clear(void *data, size_t len)
{
	if (len <= LANDING_KEEP || madvise(data, IPC_MESSAGE_MAX, MADV_DONTNEED) < 0)
		explicit_bzero(data, len);
}

static int in_recv(int sock, struct ipc_in **in_r, bool *cut_r)
{
	struct ipc_packet pkt = { .cut_len = 0 };
	void *data = landing_get();
	ssize_t len;
	int ret;

	if (data == NULL)
		return -ENOMEM;
	len = ipc_packet_recv(sock, data, IPC_MESSAGE_MAX, &pkt);
	if (cut_r)
		*cut_r = len == -EBADMSG && pkt.cut_len > 0;
	if (cut_r && *cut_r)
		len = (ssize_t)pkt.cut_len;
	if (len < 0)
		return (int)len;
	ret = in_from(data, (size_t)len, &pkt, in_r);
	landing_clear(data, (size_t)len);
	return ret;
}

int ipc_recv(int sock, struct ipc_in **in_r)
{
	return in_recv(sock, in_r, NULL);
}

int ipc_recv_cut(int sock, struct ipc_in **in_r, bool *cut_r)
{
	return in_recv(sock, in_r, cut_r);
}

uint32_t ipc_in_type(const struct ipc_in *in)
{
	return in->type;
}

/* ==== fields ==== */

/* The next item if it is of this kind, else NULL and bad. */
static const msgpack_object *in_next(struct ipc_in *in, msgpack_object_type type)
{
	const msgpack_object *obj;
	struct level *lv;

	if (in->bad)
		return NULL;
	while (in->depth > 1 && in->level[in->depth - 1].left == 0)
		in->depth--;
	lv = &in->level[in->depth - 1];
	if (lv->left == 0 || lv->next->type != type) {
		in->bad = true;
		return NULL;
	}
	obj = lv->next++;
	lv->left--;
	return obj;
}

uint64_t ipc_in_u64(struct ipc_in *in)
{
	const msgpack_object *obj = in_next(in, MSGPACK_OBJECT_POSITIVE_INTEGER);

	return obj != NULL ? obj->via.u64 : 0;
}

uint32_t ipc_in_u32(struct ipc_in *in)
{
	uint64_t v = ipc_in_u64(in);

	if (v > UINT32_MAX) {
		in->bad = true;
		return 0;
	}
	return (uint32_t)v;
}

bool ipc_in_bool(struct ipc_in *in)
{
	const msgpack_object *obj = in_next(in, MSGPACK_OBJECT_BOOLEAN);

	return obj != NULL && obj->via.boolean;
}

const char *ipc_in_str(struct ipc_in *in)
{
	const msgpack_object *obj = in_next(in, MSGPACK_OBJECT_STR);
	char *s;

	/* msgpack points an empty string anywhere. */
	if (obj == NULL || obj->via.str.size == 0)
		return "";
	/* Ours to write: it points into in->data, which has a byte more. */
	s = in->data + (obj->via.str.ptr - in->data);
	s[obj->via.str.size] = '\0';
	return s;
}

const void *ipc_in_bin(struct ipc_in *in, size_t *len_r)
{
	const msgpack_object *obj = in_next(in, MSGPACK_OBJECT_BIN);

	*len_r = obj != NULL ? obj->via.bin.size : 0;
	return *len_r > 0 ? obj->via.bin.ptr : "";
}

uint32_t ipc_in_array(struct ipc_in *in)
{
	const msgpack_object *obj = in_next(in, MSGPACK_OBJECT_ARRAY);

	if (obj == NULL || obj->via.array.size == 0)
		return 0;
	/* shape_check() has seen that it does not go deeper. */
	in->level[in->depth++] = (struct level){
		.next = obj->via.array.ptr, .left = obj->via.array.size,
	};
	return obj->via.array.size;
}

size_t ipc_in_fd_count(const struct ipc_in *in)
{
	return in->n_fds;
}

int ipc_in_fd(struct ipc_in *in)
{
	if (in->bad)
		return -1;
	if (in->fds_taken == in->n_fds) {
		in->bad = true;
		return -1;
	}
	return in->fds[in->fds_taken++];
}

bool ipc_in_bad(const struct ipc_in *in)
{
	return in->bad;
}

bool ipc_in_done(const struct ipc_in *in)
{
	if (in->bad || in->fds_taken < in->n_fds)
		return false;
	for (unsigned i = 0; i < in->depth; i++)
		if (in->level[i].left > 0)
			return false;
	return true;
}

bool ipc_in_cred(const struct ipc_in *in, struct ipc_cred *cred_r)
{
	if (in->cred.uid == (uid_t)-1)
		return false;
	*cred_r = in->cred;
	return true;
}
