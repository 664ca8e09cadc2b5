/* SPDX-License-Identifier: MIT */
#ifndef LIB_ARENA_H
#define LIB_ARENA_H
/* Memory that dies together. For `imap` only: running out of memory ends the
 * process (with a log line), and so one session. */
#include <stddef.h>
struct arena;
struct arena *arena_create(void);
void arena_destroy(struct arena **a);
/* Frees everything allocated from it, keeps the first block. */
void arena_reset(struct arena *a);
/* Zeroed, aligned for any type; never NULL. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_memdup(struct arena *a, const void *p, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
