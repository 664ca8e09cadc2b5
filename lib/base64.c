/* SPDX-License-Identifier: MIT */
#include "lib/base64.h"

#include <stdint.h>
#include <string.h>

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters into at most three bytes: how many, or -1. Padding only
 * in the last quartet. */
static int base64_quartet(const char *in, bool last, uint8_t out[3])
{
	uint32_t bits = 0;
	int pad = 0;

	if (last && in[3] == '=')
		pad = in[2] == '=' ? 2 : 1;
	for (int i = 0; i < 4; i++) {
		int v = i < 4 - pad ? base64_value(in[i]) : 0;
		if (v < 0)
			return -1;
		bits = bits << 6 | (uint32_t)v;
	}
	/* RFC 4648 3.5: bits that stand for nothing are zero. */
	if (bits & ((1u << 8 * pad) - 1))
		return -1;
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	return 3 - pad;
}

bool base64_decode(const char *in, size_t len, void *out, size_t *len_r)
{
	uint8_t *to = out;
	size_t at = 0;

	if (len % 4 != 0)
		return false;
	for (size_t i = 0; i < len; i += 4) {
		uint8_t part[3];
		int n = base64_quartet(in + i, i + 4 == len, part);
		if (n < 0)
			return false;
		memcpy(to + at, part, (size_t)n);
		at += (size_t)n;
		explicit_bzero(part, sizeof(part));
	}
	*len_r = at;
	return true;
}

void base64_encode(const void *in, size_t len, char *out)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *from = in;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)from[i] << 16;
		if (n > 1)
			bits |= (uint32_t)from[i + 1] << 8;
		if (n > 2)
			bits |= from[i + 2];
		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = n > 1 ? alphabet[bits >> 6 & 63] : '=';
		*out++ = n > 2 ? alphabet[bits & 63] : '=';
	}
	*out = '\0';
}
