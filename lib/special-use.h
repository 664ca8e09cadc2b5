/* SPDX-License-Identifier: MIT */
#ifndef LIB_SPECIAL_USE_H
#define LIB_SPECIAL_USE_H
/* What mailboxes are for (RFC 6154), as the setting special_use says it: "NAME=USE, NAME=USE". A
 * name is as people write it, in UTF-8; a use is Sent or \Sent, in any case. */
#include <stdbool.h>

/* "\Sent", as IMAP writes it; NULL: this name has no use. */
const char *special_use_of(const char *setting, const char *name);
/* Can it be read? *error_r: why not. */
bool special_use_valid(const char *setting, const char **error_r);
#endif
