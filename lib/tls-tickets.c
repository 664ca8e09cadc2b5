/* SPDX-License-Identifier: MIT */
/* In the memfd: format 1 byte, the time u64, the keys. */
#include "lib/tls-tickets.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/memfd.h"
#include "lib/seal.h"

#define FORMAT	1
#define BYTES	(1 + 8 + TLS_TICKET_KEYS * sizeof(struct tls_ticket_key))

static_assert(sizeof(struct tls_ticket_key) == 80, "no padding goes out");

int tls_ticket_keys_make(struct tls_ticket_keys *keys_r, const struct tls_ticket_keys *old,
			 uint64_t now_s)
{
	struct tls_ticket_key before = { 0 };
	int ret;

	if (old)
		before = old->key[0];
	keys_r->made_s = now_s;
	ret = seal_random(keys_r->key, sizeof(keys_r->key));
	if (old)
		keys_r->key[1] = before;
	explicit_bzero(&before, sizeof(before));
	return ret;
}

int tls_ticket_keys_memfd(const struct tls_ticket_keys *keys, int *fd_r)
{
	struct buf b;
	int ret = -ENOMEM;

	buf_init(&b, BYTES);
	buf_append_u8(&b, FORMAT);
	buf_append_u64(&b, keys->made_s);
	buf_append(&b, keys->key, sizeof(keys->key));
	if (!b.failed)
		ret = memfd_make("dormouse-tls-tickets", b.data, b.len, fd_r);
	buf_wipe(&b);
	return ret;
}

int tls_ticket_keys_read(int fd, struct tls_ticket_keys *keys_r)
{
	struct cursor c;
	struct buf b;
	const uint8_t *key;
	int ret;

	buf_init(&b, BYTES);
	ret = memfd_read(fd, &b);
	if (ret == 0) {
		cursor_init(&c, b.data, b.len);
		if (cursor_u8(&c) != FORMAT)
			c.bad = true;
		keys_r->made_s = cursor_u64(&c);
		key = cursor_bytes(&c, sizeof(keys_r->key));
		ret = cursor_done(&c) && key ? 0 : -EBADMSG;
		if (ret == 0)
			memcpy(keys_r->key, key, sizeof(keys_r->key));
	}
	buf_wipe(&b);
	return ret;
}

void tls_ticket_keys_wipe(struct tls_ticket_keys *keys)
{
	explicit_bzero(keys, sizeof(*keys));
}
