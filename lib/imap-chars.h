/* SPDX-License-Identifier: MIT */
#ifndef LIB_IMAP_CHARS_H
#define LIB_IMAP_CHARS_H
/* The character classes of RFC 9051 section 9, for those who read commands
 * and those who write responses. They take an int so that "no character
 * left" (-1) belongs to no class. */
#include <stdbool.h>

/* ATOM-CHAR: CHAR without atom-specials. */
static inline bool imap_is_atom_char(int c)
{
	if (c <= 0x20 || c >= 0x7f)
		return false;
	switch (c) {
	case '(': case ')': case '{': case '%': case '*': case '"': case '\\':
	case ']':
		return false;
	}
	return true;
}
/* ASTRING-CHAR: resp-specials are fine in it. */
static inline bool imap_is_astring_char(int c)
{
	return imap_is_atom_char(c) || c == ']';
}
/* list-char: a pattern of LIST; sequence sets and \* need its "*" too. */
static inline bool imap_is_list_char(int c)
{
	return imap_is_astring_char(c) || c == '*' || c == '%';
}
/* tag: ASTRING-CHAR except "+". */
static inline bool imap_is_tag_char(int c)
{
	return imap_is_astring_char(c) && c != '+';
}
static inline bool imap_is_digit(int c)
{
	return c >= '0' && c <= '9';
}
#endif
