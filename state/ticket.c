/* SPDX-License-Identifier: MIT */
/* The ticket: fixed layout, MAC first. What is read before the MAC is checked
 * is five bytes: magic, format, length. Everything else is believed only once
 * it is known to be ours, and even then it is checked, since a spare turns
 * uid and home into rights. */
#include "state/ticket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/cursor.h"
#include "lib/hkdf.h"

#define TICKET_FORMAT	    1
#define TICKET_HEAD_BYTES   5	/* magic, format, length */
#define TICKET_MAC_BYTES    32
#define TICKET_FIXED_BYTES  (TICKET_HEAD_BYTES + 8 + 16 + 8 + 4 + 4 + 2 + 2 + TICKET_MAC_BYTES)
#define TICKET_MIN_BYTES    (TICKET_FIXED_BYTES + 1 + 1)

_Static_assert(TICKET_MAX_BYTES == TICKET_FIXED_BYTES + USER_NAME_MAX_BYTES +
		       USER_HOME_MAX_BYTES, "ticket layout");
_Static_assert(TICKET_MAX_BYTES <= UINT16_MAX, "the length has 16 bits");
_Static_assert(sizeof(struct seal_key) == SEAL_KEY_BYTES, "no padding in a key");

/* NUL cannot be in a packed name by accident: it would cut the user's name
 * short where C strings are used. Control characters would reach logs. */
static bool ticket_name_good(const uint8_t *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (name[i] < 0x20 || name[i] == 0x7f)
			return false;
	return len > 0;
}

static bool ticket_good(uint64_t sid, const void *user, size_t user_len, const void *home,
	size_t home_len)
{
	return sid != 0 && user_len <= USER_NAME_MAX_BYTES &&
	       home_len <= USER_HOME_MAX_BYTES && ticket_name_good(user, user_len) &&
	       ticket_name_good(home, home_len) && *(const char *)home == '/';
}

int ticket_issue(const struct ticket_key *key, const struct ticket *t, struct buf *out)
{
	size_t user_len = strnlen(t->user, sizeof(t->user));
	size_t home_len = strnlen(t->home, sizeof(t->home));
	uint8_t mac[TICKET_MAC_BYTES];

	if (!ticket_good(t->sid, t->user, user_len, t->home, home_len))
		return -EINVAL;
	size_t start = out->len;
	size_t total = TICKET_FIXED_BYTES + user_len + home_len;
	/* All the room first, so that nothing half-written stays in out. */
	if (out->failed || !buf_reserve(out, total))
		return -ENOBUFS;
	buf_append(out, "DT", 2);
	buf_append_u8(out, TICKET_FORMAT);
	buf_append_u16(out, (uint16_t)total);
	buf_append_u64(out, t->sid);
	buf_append(out, t->boot_id, sizeof(t->boot_id));
	buf_append_u64(out, t->cookie);
	buf_append_u32(out, t->uid);
	buf_append_u32(out, t->gid);
	buf_append_u16(out, (uint16_t)user_len);
	buf_append(out, t->user, user_len);
	buf_append_u16(out, (uint16_t)home_len);
	buf_append(out, t->home, home_len);
	if (hmac_sha256(key->bytes, sizeof(key->bytes), out->data + start, out->len - start,
		    mac) < 0) {
		out->len = start;
		return -EIO;
	}
	return buf_append(out, mac, sizeof(mac));
}

/* Magic, format and length; 0 if it cannot be a ticket. */
static size_t ticket_head(struct cursor *c)
{
	const uint8_t *magic = cursor_bytes(c, 2);
	uint8_t format = cursor_u8(c);
	size_t total = cursor_u16(c);

	if (c->bad || memcmp(magic, "DT", 2) != 0 || format != TICKET_FORMAT)
		return 0;
	return total;
}

size_t ticket_length(const void *data, size_t len)
{
	struct cursor c;

	cursor_init(&c, data, len);
	size_t total = ticket_head(&c);
	if (total < TICKET_MIN_BYTES || total > TICKET_MAX_BYTES || total > len)
		return 0;
	return total;
}

/* The fields, once the MAC has been found good. */
static enum ticket_error ticket_parse(struct cursor *c, struct ticket *t)
{
	t->sid = cursor_u64(c);
	cursor_copy(c, t->boot_id, sizeof(t->boot_id));
	t->cookie = cursor_u64(c);
	t->uid = cursor_u32(c);
	t->gid = cursor_u32(c);
	size_t user_len = cursor_u16(c);
	const uint8_t *user = cursor_bytes(c, user_len);
	size_t home_len = cursor_u16(c);
	const uint8_t *home = cursor_bytes(c, home_len);
	if (!cursor_done(c) || !ticket_good(t->sid, user, user_len, home, home_len))
		return TICKET_E_INVALID;
	memcpy(t->user, user, user_len);
	memcpy(t->home, home, home_len);
	return TICKET_OK;
}

enum ticket_error ticket_verify(const struct ticket_key *key, const void *data, size_t len,
	const uint8_t boot_id[16], struct ticket *t_r)
{
	const uint8_t *bytes = data;
	uint8_t mac[TICKET_MAC_BYTES];
	struct ticket t = { 0 };
	struct cursor c;

	if (len < TICKET_HEAD_BYTES)
		return TICKET_E_TRUNCATED;
	cursor_init(&c, data, len);
	size_t total = ticket_head(&c);
	if (total == 0)
		return TICKET_E_FORMAT;
	if (total != len || total < TICKET_MIN_BYTES || total > TICKET_MAX_BYTES)
		return TICKET_E_TRUNCATED;
	if (hmac_sha256(key->bytes, sizeof(key->bytes), bytes, len - sizeof(mac), mac) < 0)
		return TICKET_E_FORGED;
	int differs = CRYPTO_memcmp(mac, bytes + len - sizeof(mac), sizeof(mac));
	explicit_bzero(mac, sizeof(mac));
	if (differs)
		return TICKET_E_FORGED;

	cursor_init(&c, bytes + TICKET_HEAD_BYTES,
		len - TICKET_HEAD_BYTES - TICKET_MAC_BYTES);
	enum ticket_error e = ticket_parse(&c, &t);
	if (e != TICKET_OK)
		return e;
	if (boot_id && memcmp(boot_id, t.boot_id, sizeof(t.boot_id)) != 0)
		return TICKET_E_BOOT;
	*t_r = t;
	return TICKET_OK;
}

int ticket_session_key(const struct ticket_key *key, const struct ticket *t,
	struct seal_key *key_r)
{
	static const char info[] = "dormouse session";
	uint8_t salt[16];

	/* Session id, then cookie, big-endian. */
	for (unsigned i = 0; i < 8; i++) {
		salt[i] = (uint8_t)(t->sid >> (56 - 8 * i));
		salt[8 + i] = (uint8_t)(t->cookie >> (56 - 8 * i));
	}
	return hkdf_sha256(key->bytes, sizeof(key->bytes), salt, sizeof(salt), info,
		sizeof(info) - 1, key_r->bytes, sizeof(key_r->bytes));
}

const char *ticket_strerror(enum ticket_error e)
{
	switch (e) {
	case TICKET_OK:		 return "ok";
	case TICKET_E_TRUNCATED: return "ticket has the wrong length";
	case TICKET_E_FORMAT:	 return "not a ticket of a known format";
	case TICKET_E_FORGED:	 return "ticket was not issued by this server";
	case TICKET_E_INVALID:	 return "ticket makes no sense";
	case TICKET_E_BOOT:	 return "ticket is of another boot";
	}
	return "unknown ticket error";
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int ticket_boot_id(uint8_t boot_id[16])
{
	char text[64];	/* 36 characters and a newline */
	uint8_t id[16];
	size_t digits = 0;

	cleanup_fd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, sizeof(text));
	if (n < 0)
		return -errno;
	for (ssize_t i = 0; i < n && digits < 32; i++) {
		int d = hex_digit(text[i]);
		if (d < 0)
			continue;
		if (digits % 2 == 0)
			id[digits / 2] = (uint8_t)(d << 4);
		else
			id[digits / 2] |= (uint8_t)d;
		digits++;
	}
	if (digits != 32)
		return -EINVAL;
	memcpy(boot_id, id, sizeof(id));
	return 0;
}

#define TICKET_KEY_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int ticket_key_memfd(int *fd_r)
{
	struct ticket_key key;

	cleanup_fd int fd =
		memfd_create("dormouse-ticket-key", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	int ret = seal_random(key.bytes, sizeof(key.bytes));
	if (ret == 0) {
		ssize_t n = pwrite(fd, key.bytes, sizeof(key.bytes), 0);
		if (n != (ssize_t)sizeof(key.bytes))
			ret = n < 0 ? -errno : -EIO;
	}
	ticket_key_wipe(&key);
	if (ret < 0)
		return ret;
	if (fcntl(fd, F_ADD_SEALS, TICKET_KEY_SEALS) < 0)
		return -errno;
	*fd_r = fd_steal(&fd);
	return 0;
}

int ticket_key_read(int fd, struct ticket_key *key_r)
{
	struct ticket_key key;
	struct stat st;

	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return -errno;
	/* Whoever could still write to it could choose everybody's key. */
	if ((seals & TICKET_KEY_SEALS) != TICKET_KEY_SEALS)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size != (off_t)sizeof(key.bytes))
		return -EINVAL;
	ssize_t n = pread(fd, key.bytes, sizeof(key.bytes), 0);
	int ret = n < 0 ? -errno : n != (ssize_t)sizeof(key.bytes) ? -EIO : 0;
	if (ret == 0)
		*key_r = key;
	ticket_key_wipe(&key);
	return ret;
}

void ticket_key_wipe(struct ticket_key *key)
{
	explicit_bzero(key, sizeof(*key));
}
