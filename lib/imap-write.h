/* SPDX-License-Identifier: MIT */
#ifndef LIB_IMAP_WRITE_H
#define LIB_IMAP_WRITE_H
/* Atoms, strings and literals on the way out (RFC 9051 section 9). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct buf;
/* As atom if it can be one, else quoted, else literal {n}. "" is quoted. */
int imap_write_astring(struct buf *out, const char *s);
/* Quoted if it can be (no CR, LF, NUL, no 8-bit, <= 1024 bytes), else literal. */
int imap_write_string(struct buf *out, const void *data, size_t len);
/* NULL -> NIL. */
int imap_write_nstring(struct buf *out, const char *s);
/* UTF-8 mailbox name -> astring in modified UTF-7 (RFC 3501 5.1.3), or as UTF-8 quoted string if utf8.
 * -EINVAL if it is not UTF-8. */
int imap_write_mailbox(struct buf *out, const char *utf8_name, bool utf8);
/* Modified UTF-7 -> UTF-8. 0, -EINVAL if it is not valid mUTF-7, -ENOBUFS.
 * Appends no NUL; nothing at all on failure. One name has one spelling. */
int imap_utf7_decode(const char *name, struct buf *out);
int imap_utf7_encode(const char *utf8, struct buf *out);
bool imap_utf8_valid(const char *s, size_t len);
/* "17-Jul-1996 02:44:25 +0000" (date-time, RFC 9051 section 9) with quotes; local zone offset in minutes. */
int imap_write_datetime(struct buf *out, int64_t unix_seconds);
/* Parses date-time (with or without leading blank day). 0 or -EINVAL. */
int imap_parse_datetime(const char *s, int64_t *unix_seconds_r);
/* date "1-Feb-1994" -> year, month 1-12, day. 0 or -EINVAL. */
int imap_parse_date(const char *s, int *year_r, int *month_r, int *day_r);
/* ALERT-free text for a response: control characters and 8-bit replaced by ?. */
int imap_write_text(struct buf *out, const char *s);
#endif
