/* SPDX-License-Identifier: MIT */
#include "imap-login/netaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void from_v4(const struct in_addr *in, struct netaddr *a)
{
	inet_ntop(AF_INET, in, a->ip, sizeof(a->ip));
	a->loopback = (ntohl(in->s_addr) >> 24) == 127;
}

static void from_v6(const struct sockaddr_in6 *sin6, struct netaddr *a)
{
	const struct in6_addr *in6 = &sin6->sin6_addr;

	if (IN6_IS_ADDR_V4MAPPED(in6)) {
		struct in_addr in;
		memcpy(&in, &in6->s6_addr[12], sizeof(in));
		from_v4(&in, a);
		return;
	}
	inet_ntop(AF_INET6, in6, a->ip, sizeof(a->ip));
	a->loopback = IN6_IS_ADDR_LOOPBACK(in6);
	if (IN6_IS_ADDR_LINKLOCAL(in6) && sin6->sin6_scope_id != 0) {
		size_t len = strlen(a->ip);
		snprintf(a->ip + len, sizeof(a->ip) - len, "%%%u", sin6->sin6_scope_id);
	}
}

bool netaddr_from(const struct sockaddr_storage *sa, struct netaddr *addr_r)
{
	struct netaddr a = { .ip = "unknown" };

	if (sa->ss_family == AF_INET) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;
		from_v4(&sin->sin_addr, &a);
		a.port = ntohs(sin->sin_port);
	} else if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;
		from_v6(sin6, &a);
		a.port = ntohs(sin6->sin6_port);
	}
	*addr_r = a;
	return sa->ss_family == AF_INET || sa->ss_family == AF_INET6;
}
