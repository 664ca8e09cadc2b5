/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LIST_MATCH_H
#define IMAP_LIST_MATCH_H
/* Patterns of LIST and LSUB (RFC 3501 6.3.8): pure. Names are compared as the
 * client would write them: in modified UTF-7 an encoded name holds no wildcard
 * and no separator. */
#include <stdbool.h>
#include <stddef.h>
#include "lib/arena.h"

/* Longer patterns match nothing (RFC 5258 3 lets them be ignored). */
#define LIST_PATTERN_MAX_BYTES	2048

struct list_pattern;
/* Memory is the arena's. Not longer than LIST_PATTERN_MAX_BYTES. */
struct list_pattern *list_pattern_create(struct arena *a, const char *text, char separator);
/* The time is bounded by pattern times name. INBOX, also as the first level of a name, in any case. */
bool list_pattern_match(struct list_pattern *p, const char *name);
bool list_pattern_has_percent(const struct list_pattern *p);

/* Order of names: INBOX, then each before what is below it. */
int list_name_cmp(const char *a, const char *b, char separator);
#endif
