/* SPDX-License-Identifier: MIT */
/* Blocks in a chain, the newest first; what does not fit makes a new block,
 * twice as large up to a limit, or as large as the request. Nothing is freed
 * one by one. Under AddressSanitizer the free part of a block is poisoned, so
 * a use after arena_reset() or beyond an allocation's end is still found. */
#include "lib/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/log.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN	1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(ARENA_ASAN)
#include <sanitizer/asan_interface.h>
/* Bytes between two allocations that may not be touched. */
#define ARENA_GAP_BYTES	16
#else
#define ASAN_POISON_MEMORY_REGION(p, n)		((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)	((void)(p), (void)(n))
#define ARENA_GAP_BYTES	0
#endif

#define ARENA_FIRST_BYTES	((size_t)4096)
#define ARENA_BLOCK_MAX_BYTES	((size_t)65536)
#define ARENA_ALIGN		alignof(max_align_t)

struct arena_block {
	struct arena_block *older;
	size_t size, used;
	alignas(max_align_t) uint8_t data[];
};

struct arena {
	struct arena_block *newest, *first;
};

/* One session ends, and says so. */
__attribute__((noreturn)) static void arena_no_memory(size_t n)
{
	log_error("out-of-memory", "bytes=%zu", n);
	_exit(EX_OSERR);
}

static struct arena_block *arena_add_block(struct arena *a, size_t size)
{
	struct arena_block *b = NULL;

	if (size <= SIZE_MAX - sizeof(*b))
		b = malloc(sizeof(*b) + size);
	if (!b)
		arena_no_memory(size);
	*b = (struct arena_block){ .older = a->newest, .size = size };
	ASAN_POISON_MEMORY_REGION(b->data, size);
	a->newest = b;
	return b;
}

static void arena_free_block(struct arena_block *b)
{
	ASAN_UNPOISON_MEMORY_REGION(b->data, b->size);
	free(b);
}

struct arena *arena_create(void)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (!a)
		arena_no_memory(sizeof(*a));
	a->first = arena_add_block(a, ARENA_FIRST_BYTES);
	return a;
}

void arena_reset(struct arena *a)
{
	while (a->newest != a->first) {
		struct arena_block *b = a->newest;

		a->newest = b->older;
		arena_free_block(b);
	}
	a->first->used = 0;
	ASAN_POISON_MEMORY_REGION(a->first->data, a->first->size);
}

void arena_destroy(struct arena **a)
{
	if (!*a)
		return;
	arena_reset(*a);
	arena_free_block((*a)->first);
	free(*a);
	*a = NULL;
}

static size_t arena_next_size(const struct arena *a, size_t need)
{
	size_t size = a->newest->size * 2;

	if (size > ARENA_BLOCK_MAX_BYTES)
		size = ARENA_BLOCK_MAX_BYTES;
	return need > size ? need : size;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = a->newest;
	size_t need;
	void *p;

	/* Distinct addresses even for nothing. */
	if (n == 0)
		n = 1;
	if (n > SIZE_MAX / 2)
		arena_no_memory(n);
	need = (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN + ARENA_GAP_BYTES;
	if (need > b->size - b->used)
		b = arena_add_block(a, arena_next_size(a, need));
	p = b->data + b->used;
	b->used += need;
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	return memset(p, 0, n);
}

void *arena_memdup(struct arena *a, const void *data, size_t n)
{
	void *p = arena_alloc(a, n);

	if (n > 0)
		memcpy(p, data, n);
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *p = arena_alloc(a, len + 1);

	memcpy(p, s, len);
	return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_memdup(a, s, strlen(s) + 1);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	p = arena_alloc(a, n < 0 ? 1 : (size_t)n + 1);
	if (n > 0)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return p;
}
