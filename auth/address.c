/* SPDX-License-Identifier: MIT */
#include "auth/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* The bare address: no brackets, no port, no scope. */
static void address_bare(const char *text, char out[static ADDRESS_KEY_BYTES])
{
	size_t len = strlen(text);
	const char *colon = strchr(text, ':');

	if (*text == '[') {
		text++;
		len = strcspn(text, "]");
	} else if (colon && strchr(colon + 1, ':') == NULL) {
		len = (size_t)(colon - text);	/* one colon: a port */
	}
	snprintf(out, ADDRESS_KEY_BYTES, "%.*s", (int)(len > 255 ? 255 : len), text);
	out[strcspn(out, "%")] = '\0';
}

static void address_v4(const struct in_addr *in, struct address *a)
{
	inet_ntop(AF_INET, in, a->key, sizeof(a->key));
	a->loopback = ntohl(in->s_addr) >> 24 == 127;
}

static void address_v6(struct in6_addr *in6, struct address *a)
{
	if (IN6_IS_ADDR_V4MAPPED(in6)) {
		struct in_addr in;
		memcpy(&in, &in6->s6_addr[12], sizeof(in));
		address_v4(&in, a);
		return;
	}
	a->loopback = IN6_IS_ADDR_LOOPBACK(in6);
	memset(&in6->s6_addr[8], 0, 8);
	inet_ntop(AF_INET6, in6, a->key, sizeof(a->key) - 4);
	strcat(a->key, "/64");
}

void address_parse(const char *text, struct address *address_r)
{
	struct address a = { .key = "" };
	struct in6_addr in6;
	struct in_addr in;

	address_bare(text, a.key);
	if (inet_pton(AF_INET, a.key, &in) == 1)
		address_v4(&in, &a);
	else if (inet_pton(AF_INET6, a.key, &in6) == 1)
		address_v6(&in6, &a);
	*address_r = a;
}
