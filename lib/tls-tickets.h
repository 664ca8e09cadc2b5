/* SPDX-License-Identifier: MIT */
#ifndef LIB_TLS_TICKETS_H
#define LIB_TLS_TICKETS_H
/* The keys of TLS session tickets (RFC 5077, RFC 8446 4.6.1): one for all
 * imap-login processes, made by master and kept by the keeper, so that a client
 * may come back to any of them, also after a restart. Two keys: tickets are made
 * with the first; those of the second, which was the first before, are still
 * read. */
#include <stddef.h>
#include <stdint.h>

#define TLS_TICKET_NAME_BYTES	16
#define TLS_TICKET_KEYS		2
/* A key is used for this long, and then as long again for reading. */
#define TLS_TICKET_ROTATE_S	(12 * 3600)

struct tls_ticket_key {
	uint8_t name[TLS_TICKET_NAME_BYTES];	/* goes in clear text */
	uint8_t aes[32], hmac[32];
};
struct tls_ticket_keys {
	uint64_t made_s;		/* when the first was made, wall clock */
	struct tls_ticket_key key[TLS_TICKET_KEYS];
};
/* A new first key; old's first (NULL: a random one) becomes the second. 0 or -errno. */
int tls_ticket_keys_make(struct tls_ticket_keys *keys_r, const struct tls_ticket_keys *old,
			 uint64_t now_s);
/* In a sealed memfd. 0 or -errno. */
int tls_ticket_keys_memfd(const struct tls_ticket_keys *keys, int *fd_r);
int tls_ticket_keys_read(int fd, struct tls_ticket_keys *keys_r);
void tls_ticket_keys_wipe(struct tls_ticket_keys *keys);
#endif
