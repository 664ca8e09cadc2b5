/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_NETADDR_H
#define IMAP_LOGIN_NETADDR_H
/* Addresses as text. Pure. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* An IPv6 address with a scope's number. */
#define NETADDR_BYTES	64

struct netaddr {
	char ip[NETADDR_BYTES];	/* "192.0.2.7", "2001:db8::7", "fe80::1%2" */
	uint16_t port;
	bool loopback;
};
/* IPv4 addresses mapped into IPv6 (RFC 4291 2.5.5.2) are IPv4 here. False:
 * neither of the two families; *addr_r then says "unknown". */
bool netaddr_from(const struct sockaddr_storage *sa, struct netaddr *addr_r);
#endif
