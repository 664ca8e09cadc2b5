/* SPDX-License-Identifier: MIT */
#ifndef AUTH_ADDRESS_H
#define AUTH_ADDRESS_H
/* Whom an address stands for: one IPv4 address, or an IPv6 network of 64 bits,
 * since whoever has one address of it has all of them. Pure. */
#include <stdbool.h>

/* "2001:db8:1:2::/64" */
#define ADDRESS_KEY_BYTES	64

struct address {
	char key[ADDRESS_KEY_BYTES];
	bool loopback;		/* this machine: stands for nobody in particular */
};
/* text: an address, perhaps with a port behind it ("192.0.2.7:1024",
 * "[2001:db8::7]:1024") or a scope. What is none of these is its own key. */
void address_parse(const char *text, struct address *address_r);
#endif
