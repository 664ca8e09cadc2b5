/* SPDX-License-Identifier: MIT */
#ifndef STATE_TICKET_H
#define STATE_TICKET_H
/* Who a session belongs to, under a MAC. auth issues it at login; it travels
 * with the session for its whole life. A spare parses it, and only it, with
 * root's rights (doc/architecture.md, "the ticket and the seal").
 *
 * Layout (big-endian), fixed order: magic "DT", format 1 byte, total length u16,
 * session id u64, boot id 16, cookie u64, uid u32, gid u32,
 * user length u16, user, home length u16, home, MAC 32 (HMAC-SHA256 of all before it).
 * User and home hold no NUL, no control characters; home is absolute. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/limits.h"
#include "lib/seal.h"
struct buf;

#define TICKET_KEY_BYTES	32
#define TICKET_MAX_BYTES	(2 + 1 + 2 + 8 + 16 + 8 + 4 + 4 + 2 + USER_NAME_MAX_BYTES + \
				 2 + USER_HOME_MAX_BYTES + 32)
struct ticket_key { uint8_t bytes[TICKET_KEY_BYTES]; };

struct ticket {
	uint64_t sid;			/* session id, random */
	uint8_t boot_id[16];		/* the kernel's, /proc/sys/kernel/random/boot_id */
	uint64_t cookie;		/* SO_COOKIE of the client's socket */
	uint32_t uid, gid;
	char user[USER_NAME_MAX_BYTES + 1];
	char home[USER_HOME_MAX_BYTES + 1];
};
enum ticket_error {
	TICKET_OK = 0,
	TICKET_E_TRUNCATED,	/* fewer bytes than it says, or left-over bytes */
	TICKET_E_FORMAT,	/* not a ticket, or of a format we do not know */
	TICKET_E_FORGED,	/* the MAC is wrong */
	TICKET_E_INVALID,	/* MAC right, content makes no sense */
	TICKET_E_BOOT,		/* of another boot */
};
/* Appends the packed, MACed ticket. 0 or -errno (-EINVAL: names too long or bad). */
int ticket_issue(const struct ticket_key *key, const struct ticket *t, struct buf *out);
/* Looks only at magic and length: how many bytes of data are the ticket, 0 if none. */
size_t ticket_length(const void *data, size_t len);
/* MAC first, constant time, then the fields. data must be exactly one ticket. boot_id NULL: not compared. */
enum ticket_error ticket_verify(const struct ticket_key *key, const void *data, size_t len,
				const uint8_t boot_id[16], struct ticket *t_r);
/* K_s = HKDF(key, salt = session id, cookie, info "dormouse session"). 0 or -errno. */
int ticket_session_key(const struct ticket_key *key, const struct ticket *t,
		       struct seal_key *key_r);
const char *ticket_strerror(enum ticket_error e);
/* Reads the running kernel's boot id. 0 or -errno. */
int ticket_boot_id(uint8_t boot_id[16]);
/* The key lives in a sealed memfd (F_SEAL_WRITE etc.): make one with a random key / read one. */
int ticket_key_memfd(int *fd_r);
int ticket_key_read(int fd, struct ticket_key *key_r);
void ticket_key_wipe(struct ticket_key *key);
#endif
