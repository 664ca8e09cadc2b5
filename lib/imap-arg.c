/* SPDX-License-Identifier: MIT */
/* What a command may ask of its arguments. The parser accepts the union of
 * all argument rules; these say which of them it was. */
#include <string.h>
#include <strings.h>

#include "lib/imap-chars.h"
#include "lib/imap-parser.h"

bool imap_arg_is_atom(const struct imap_arg *a, const char *upper)
{
	return a->type == IMAP_ARG_ATOM && strcasecmp(a->data, upper) == 0;
}

static const char *arg_text(const struct imap_arg *a, bool (*is)(int))
{
	if (a->type == IMAP_ARG_STRING)
		return memchr(a->data, '\0', a->len) == NULL ? a->data : NULL;
	if (a->type != IMAP_ARG_ATOM)
		return NULL;
	for (size_t i = 0; i < a->len; i++) {
		if (!is((unsigned char)a->data[i]))
			return NULL;
	}
	return a->data;
}

/* astring = 1*ASTRING-CHAR / string (RFC 9051 section 9). NIL is one too. */
const char *imap_arg_astring(const struct imap_arg *a)
{
	return arg_text(a, imap_is_astring_char);
}

/* list-mailbox = 1*list-char / string (RFC 9051 section 9) */
const char *imap_arg_list_mailbox(const struct imap_arg *a)
{
	return arg_text(a, imap_is_list_char);
}

static bool arg_number(const struct imap_arg *a, uint64_t max, uint64_t *v_r)
{
	uint64_t v = 0;

	if (a->type != IMAP_ARG_ATOM || a->len == 0)
		return false;
	for (size_t i = 0; i < a->len; i++) {
		unsigned int digit = (unsigned char)a->data[i] - '0';

		if (digit > 9 || v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*v_r = v;
	return true;
}

/* number: 0 <= n < 4,294,967,296 */
bool imap_arg_u32(const struct imap_arg *a, uint32_t *v_r)
{
	uint64_t v;

	if (!arg_number(a, UINT32_MAX, &v))
		return false;
	*v_r = (uint32_t)v;
	return true;
}

/* number64: 63 bits, so that it fits an off_t too */
bool imap_arg_u64(const struct imap_arg *a, uint64_t *v_r)
{
	return arg_number(a, INT64_MAX, v_r);
}
