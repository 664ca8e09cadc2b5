/* SPDX-License-Identifier: MIT */
#include "master/keeper-table.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define KEEPER_END		UINT32_MAX
#define KEEPER_HEADS_MIN	256
/* Two entries a chain, on average, before the heads double. */
#define KEEPER_LOAD		2

/* Session ids are random already, but a holder names them: mix. */
static uint32_t keeper_hash(uint64_t sid, uint64_t cookie)
{
	uint64_t z = sid ^ cookie * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(z ^ z >> 31);
}

/* Address space without memory: pages come when they are written. */
static void *reserve(size_t n, size_t size)
{
	void *p = mmap(NULL, n * size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int keeper_table_init(struct keeper_table *t, uint32_t limit)
{
	assert(limit > 0 && limit < KEEPER_END);
	*t = (struct keeper_table){ .n_heads = KEEPER_HEADS_MIN, .limit = limit };
	t->keys = reserve(limit, sizeof(*t->keys));
	t->next = reserve(limit, sizeof(*t->next));
	t->heads = reserve((size_t)limit + KEEPER_HEADS_MIN, sizeof(*t->heads));
	if (t->keys && t->next && t->heads)
		return 0;
	keeper_table_deinit(t);
	return -ENOMEM;
}

void keeper_table_deinit(struct keeper_table *t)
{
	if (t->keys)
		munmap(t->keys, t->limit * sizeof(*t->keys));
	if (t->next)
		munmap(t->next, t->limit * sizeof(*t->next));
	if (t->heads)
		munmap(t->heads, ((size_t)t->limit + KEEPER_HEADS_MIN) *
			sizeof(*t->heads));
	*t = (struct keeper_table){ 0 };
}

static uint32_t *keeper_head(const struct keeper_table *t, uint64_t sid,
			     uint64_t cookie)
{
	return &t->heads[keeper_hash(sid, cookie) & (t->n_heads - 1)];
}

static void keeper_link(struct keeper_table *t, uint32_t fd)
{
	uint32_t *head = keeper_head(t, t->keys[fd].sid, t->keys[fd].cookie);

	t->next[fd] = *head ? *head : KEEPER_END;
	*head = fd + 1;
}

static void keeper_grow(struct keeper_table *t)
{
	memset(t->heads, 0, t->n_heads * sizeof(*t->heads));
	t->n_heads *= 2;
	for (uint32_t fd = 0; fd < t->limit; fd++) {
		if (t->next[fd])
			keeper_link(t, fd);
	}
}

void keeper_table_add(struct keeper_table *t, uint64_t sid, uint64_t cookie, int fd)
{
	assert(fd >= 0 && (uint32_t)fd < t->limit && !t->next[fd]);
	if (t->count >= t->n_heads * KEEPER_LOAD && t->n_heads * 2 <= t->limit)
		keeper_grow(t);
	t->keys[fd] = (struct keeper_key){ sid, cookie };
	keeper_link(t, (uint32_t)fd);
	t->count++;
}

static bool keeper_is(const struct keeper_table *t, uint32_t fd, uint64_t sid,
		      uint64_t cookie)
{
	return t->keys[fd].sid == sid && t->keys[fd].cookie == cookie;
}

int keeper_table_find(const struct keeper_table *t, uint64_t sid, uint64_t cookie)
{
	uint32_t at = *keeper_head(t, sid, cookie);

	while (at && at != KEEPER_END && !keeper_is(t, at - 1, sid, cookie))
		at = t->next[at - 1];
	return at && at != KEEPER_END ? (int)(at - 1) : -1;
}

int keeper_table_remove(struct keeper_table *t, uint64_t sid, uint64_t cookie)
{
	uint32_t *link = keeper_head(t, sid, cookie), fd;
	bool first = true;

	while (*link && *link != KEEPER_END && !keeper_is(t, *link - 1, sid, cookie)) {
		link = &t->next[*link - 1];
		first = false;
	}
	if (!*link || *link == KEEPER_END)
		return -1;
	fd = *link - 1;
	/* A head says "empty" with 0, a link with KEEPER_END. */
	*link = first && t->next[fd] == KEEPER_END ? 0 : t->next[fd];
	t->next[fd] = 0;
	t->count--;
	return (int)fd;
}

int keeper_table_next(const struct keeper_table *t, int fd, uint64_t *sid_r,
		      uint64_t *cookie_r)
{
	for (uint32_t i = (uint32_t)fd; i < t->limit; i++) {
		if (!t->next[i])
			continue;
		*sid_r = t->keys[i].sid;
		*cookie_r = t->keys[i].cookie;
		return (int)i;
	}
	return -1;
}
