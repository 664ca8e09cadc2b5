/* SPDX-License-Identifier: MIT */
/* See table.h for the design. Order of stores is what makes it survive a kill:
 * block, then commit word; wd of a watch last, and cleared first. One process
 * writes; a store that was executed is in the shared pages whatever happens to
 * the process after, so a compiler barrier (release) is all that is needed. */
#include "imap-hibernate/table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap-hibernate/table-space.h"
#include "lib/cleanup.h"
#include "lib/fault.h"

#define EXTENT_BYTES	(64u * 1024)
#define KINDS_OFFSET	4096u
#define EXTENTS_MAX	(sizeof(void *) >= 8 ? EXTENT_BYTES - KINDS_OFFSET : 8192u)
#define UNITS_PER_EXTENT (EXTENT_BYTES / SPACE_UNIT)
#define TABLE_FORMAT	1u

enum extent_kind { EXTENT_NONE, EXTENT_HEAD, EXTENT_RECORDS, EXTENT_WATCHES, EXTENT_BLOCKS };

struct head {
	char magic[8];
	uint32_t format;
	uint32_t draining;
	uint64_t generation;
};
static const char table_magic[8] = "DMTABLE";

struct record {
	uint64_t commit;	/* unit of its block | check sum << 32; 0: void */
	uint8_t changed, tries;
	uint16_t unused;
	uint32_t free_next;	/* our own, while it is void */
};
static_assert(sizeof(struct record) == 16, "in the file");
static_assert(sizeof(struct table_watch) == 48, "in the file");
static_assert(sizeof(struct head) <= KINDS_OFFSET, "in the file");

/* Then: length of each keepalive (a byte), user, remote, mailbox with a NUL
 * each, ticket, keepalives, state. */
struct block {
	uint64_t sid, cookie, written, consumed;
	uint32_t login_time, since, uid;
	uint32_t watch[SLEEPER_WATCHES];
	uint32_t bytes;		/* of the whole block */
	uint32_t state_len;
	uint16_t ticket_len, mailbox_len;
	uint16_t keepalives_len;
	uint8_t user_len, remote_len;
	uint8_t flags, n_keepalives;
	uint8_t unused[2];
};
static_assert(sizeof(struct block) == 72, "in the file");
static_assert(KEEPALIVES_MAX * KEEPALIVE_MAX_BYTES <= UINT16_MAX, "keepalives_len");
static_assert(KEEPALIVE_MAX_BYTES <= UINT8_MAX, "a byte each");

/* Items of one kind, spread over extents. */
struct items {
	uint32_t *extents;	/* the number of each */
	uint32_t n_extents;
	uint32_t per_extent, size;
	uint32_t used;		/* high-water mark */
	uint32_t free;		/* first free one below it, or NONE */
};

struct table {
	int fd;
	uint8_t *base;
	uint32_t extents;	/* of the file */
	struct items records, watches;
	struct space space;
};

/* ---- extents ---- */

static struct head *head(const struct table *t)
{
	return (struct head *)(void *)t->base;
}

static uint8_t *kinds(const struct table *t)
{
	return t->base + KINDS_OFFSET;
}

static size_t map_bytes(void)
{
	return (size_t)EXTENTS_MAX * EXTENT_BYTES;
}

/* n more extents at the end; the first one's number, or 0. */
static uint32_t extents_add(struct table *t, uint32_t n, enum extent_kind kind)
{
	uint32_t first = t->extents;

	if (n > EXTENTS_MAX - t->extents || fault("table-grow"))
		return 0;
	if (ftruncate(t->fd, (off_t)(first + n) * EXTENT_BYTES) < 0)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		kinds(t)[first + i] = (uint8_t)kind;
	t->extents += n;
	return first;
}

static int items_extent(struct items *it, uint32_t extent)
{
	uint32_t *list = reallocarray(it->extents, it->n_extents + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	it->extents = list;
	list[it->n_extents++] = extent;
	return 0;
}

static void *items_at(const struct table *t, const struct items *it, uint32_t i)
{
	return t->base + (size_t)it->extents[i / it->per_extent] * EXTENT_BYTES +
	       (size_t)(i % it->per_extent) * it->size;
}

/* Room for item number it->used, whose memory is zero. 0 or -errno. */
static int items_grow(struct table *t, struct items *it, enum extent_kind kind)
{
	uint32_t extent;

	if (it->used < it->n_extents * it->per_extent)
		return 0;
	/* The list first: its failure must not strand an extent. */
	if (items_extent(it, 0) < 0)
		return -ENOMEM;
	extent = extents_add(t, 1, kind);
	if (!extent) {
		it->n_extents--;
		return -ENOSPC;
	}
	it->extents[it->n_extents - 1] = extent;
	return 0;
}

/* ---- life ---- */

static struct table *table_new(int fd)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->fd = -1;
	t->records = (struct items){ .size = sizeof(struct record), .free = NONE,
		.per_extent = EXTENT_BYTES / sizeof(struct record) };
	t->watches = (struct items){ .size = sizeof(struct table_watch), .free = NONE,
		.per_extent = EXTENT_BYTES / sizeof(struct table_watch) };
	t->base = mmap(NULL, map_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (t->base == MAP_FAILED) {
		free(t);
		return NULL;
	}
	/* Huge pages would cost a small table megabytes. */
	madvise(t->base, map_bytes(), MADV_NOHUGEPAGE);
	space_init(&t->space, t->base);
	return t;
}

void table_destroy(struct table **tp)
{
	struct table *t = *tp;

	if (!t)
		return;
	munmap(t->base, map_bytes());
	fd_close(&t->fd);
	free(t->records.extents);
	free(t->watches.extents);
	free(t);
	*tp = NULL;
}

int table_create(struct table **t_r)
{
	struct table *t;

	cleanup_fd int fd = memfd_create("sleepers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* Nobody may take pages away from under a holder. */
	if (ftruncate(fd, EXTENT_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return -errno;
	t = table_new(fd);
	if (!t)
		return -ENOMEM;
	t->fd = fd_steal(&fd);
	t->extents = 1;
	kinds(t)[0] = EXTENT_HEAD;
	head(t)->format = TABLE_FORMAT;
	memcpy(head(t)->magic, table_magic, sizeof(table_magic));
	*t_r = t;
	return 0;
}

int table_fd(const struct table *t)
{
	return t->fd;
}

uint64_t table_bytes(const struct table *t)
{
	return (uint64_t)t->records.used * sizeof(struct record) +
	       (uint64_t)t->watches.used * sizeof(struct table_watch) +
	       t->space.used_units * SPACE_UNIT;
}

/* ---- records ---- */

static struct record *record(const struct table *t, uint32_t slot)
{
	assert(slot < t->records.used);
	return items_at(t, &t->records, slot);
}

static uint64_t commit_get(const struct record *r)
{
	return __atomic_load_n(&r->commit, __ATOMIC_ACQUIRE);
}

static void commit_set(struct record *r, uint64_t word)
{
	__atomic_store_n(&r->commit, word, __ATOMIC_RELEASE);
}

static const struct block *record_block(const struct table *t, const struct record *r)
{
	return space_at(&t->space, (uint32_t)commit_get(r));
}

/* Not against an adversary: against a store that was never made. */
static uint32_t check_sum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t sum = len, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
		sum ^= sum >> 29;
	}
	word = 0;
	memcpy(&word, p, len);
	return (uint32_t)(chain_mix(sum ^ word) >> 32);
}

/* 0: it does not fit our limits. */
static size_t entry_bytes(const struct table_entry *e)
{
	size_t sum = 0;

	if (e->n_keepalives > KEEPALIVES_MAX || e->ticket_len > TABLE_TICKET_MAX ||
	    e->state_len > STATE_MAX_BYTES || strlen(e->user) > TABLE_USER_MAX ||
	    strlen(e->remote) > TABLE_REMOTE_MAX || strlen(e->mailbox) > TABLE_MAILBOX_MAX)
		return 0;
	for (unsigned i = 0; i < e->n_keepalives; i++) {
		if (e->keepalive_len[i] == 0 || e->keepalive_len[i] > KEEPALIVE_MAX_BYTES)
			return 0;
		sum += e->keepalive_len[i];
	}
	if (sum != e->keepalives_len)
		return 0;
	return sizeof(struct block) + e->n_keepalives + strlen(e->user) + 1 +
	       strlen(e->remote) + 1 + strlen(e->mailbox) + 1 + e->ticket_len + sum +
	       e->state_len;
}

static void put(uint8_t **at, const void *data, size_t len)
{
	if (len > 0)
		memcpy(*at, data, len);
	*at += len;
}

static void block_write(struct block *b, const struct table_entry *e, size_t bytes)
{
	uint8_t *at = (uint8_t *)(b + 1);

	*b = (struct block){
		.sid = e->sid, .cookie = e->cookie,
		.written = e->written, .consumed = e->consumed,
		.login_time = (uint32_t)e->login_time, .since = e->since, .uid = e->uid,
		.watch = { e->watch[0], e->watch[1] },
		.bytes = (uint32_t)bytes,
		.state_len = (uint32_t)e->state_len,
		.ticket_len = (uint16_t)e->ticket_len,
		.mailbox_len = (uint16_t)strlen(e->mailbox),
		.keepalives_len = (uint16_t)e->keepalives_len,
		.user_len = (uint8_t)strlen(e->user), .remote_len = (uint8_t)strlen(e->remote),
		.flags = e->flags, .n_keepalives = e->n_keepalives,
	};
	for (unsigned i = 0; i < e->n_keepalives; i++)
		*at++ = (uint8_t)e->keepalive_len[i];
	put(&at, e->user, b->user_len + 1u);
	put(&at, e->remote, b->remote_len + 1u);
	put(&at, e->mailbox, b->mailbox_len + 1u);
	put(&at, e->ticket, e->ticket_len);
	put(&at, e->keepalives, e->keepalives_len);
	put(&at, e->state, e->state_len);
	assert(at == (uint8_t *)b + bytes);
}

/* A unit with room for so many bytes; 0: no room. */
static uint32_t block_space(struct table *t, size_t bytes)
{
	uint32_t unit = space_take(&t->space, bytes), n, first;
	bool joins;

	if (unit)
		return unit;
	/* One more unit closes the area. */
	n = (space_units(bytes) + 1 + UNITS_PER_EXTENT - 1) / UNITS_PER_EXTENT;
	joins = kinds(t)[t->extents - 1] == EXTENT_BLOCKS;
	first = extents_add(t, n, EXTENT_BLOCKS);
	if (!first)
		return 0;
	space_add(&t->space, first * UNITS_PER_EXTENT, (first + n) * UNITS_PER_EXTENT, joins);
	return space_take(&t->space, bytes);
}

static int record_new(struct table *t, uint32_t *slot_r)
{
	uint32_t slot = t->records.free;
	int ret;

	if (slot != NONE) {
		t->records.free = record(t, slot)->free_next;
		*slot_r = slot;
		return 0;
	}
	ret = items_grow(t, &t->records, EXTENT_RECORDS);
	if (ret < 0)
		return ret;
	*slot_r = t->records.used++;
	return 0;
}

static void record_free(struct table *t, uint32_t slot)
{
	record(t, slot)->free_next = t->records.free;
	t->records.free = slot;
}

int table_commit(struct table *t, uint32_t slot, const struct table_entry *e,
		 bool changed, uint32_t *slot_r)
{
	size_t bytes = entry_bytes(e);
	uint32_t unit, old;
	struct record *r;
	int ret;

	if (!bytes)
		return -EINVAL;
	unit = block_space(t, bytes);
	if (!unit)
		return -ENOSPC;
	if (slot == NONE) {
		ret = record_new(t, &slot);
		if (ret < 0) {
			space_give(&t->space, unit);
			return ret;
		}
	}
	block_write(space_at(&t->space, unit), e, bytes);
	r = record(t, slot);
	old = (uint32_t)commit_get(r);
	/* Rather one needless mark than one missing. */
	if (changed || !old)
		r->changed = changed;
	if (!old)
		r->tries = 0;
	fault("table-commit");
	commit_set(r, unit | (uint64_t)check_sum(space_at(&t->space, unit), bytes) << 32);
	fault("table-committed");
	r->changed = changed;
	if (old)
		space_give(&t->space, old);
	*slot_r = slot;
	return 0;
}

void table_void(struct table *t, uint32_t slot)
{
	struct record *r = record(t, slot);
	uint32_t unit = (uint32_t)commit_get(r);

	assert(unit);
	commit_set(r, 0);
	space_give(&t->space, unit);
	record_free(t, slot);
}

bool table_read(const struct table *t, uint32_t slot, struct table_entry *e)
{
	const struct record *r = record(t, slot);
	const struct block *b;
	const uint8_t *at;

	if (!commit_get(r))
		return false;
	b = record_block(t, r);
	at = (const uint8_t *)(b + 1);
	*e = (struct table_entry){
		.sid = b->sid, .cookie = b->cookie,
		.written = b->written, .consumed = b->consumed,
		.login_time = b->login_time, .since = b->since, .uid = b->uid,
		.watch = { b->watch[0], b->watch[1] },
		.flags = b->flags, .n_keepalives = b->n_keepalives,
		.keepalives_len = b->keepalives_len,
		.ticket_len = b->ticket_len, .state_len = b->state_len,
	};
	for (unsigned i = 0; i < b->n_keepalives; i++)
		e->keepalive_len[i] = *at++;
	e->user = (const char *)at;
	at += b->user_len + 1u;
	e->remote = (const char *)at;
	at += b->remote_len + 1u;
	e->mailbox = (const char *)at;
	at += b->mailbox_len + 1u;
	e->ticket = at;
	at += b->ticket_len;
	e->keepalives = at;
	at += b->keepalives_len;
	e->state = at;
	return true;
}

uint32_t table_slots(const struct table *t)
{
	return t->records.used;
}

bool table_used(const struct table *t, uint32_t slot)
{
	return slot < t->records.used && commit_get(record(t, slot)) != 0;
}

uint64_t table_sid(const struct table *t, uint32_t slot)
{
	return record_block(t, record(t, slot))->sid;
}

uint64_t table_cookie(const struct table *t, uint32_t slot)
{
	return record_block(t, record(t, slot))->cookie;
}

uint32_t table_uid(const struct table *t, uint32_t slot)
{
	return record_block(t, record(t, slot))->uid;
}

unsigned table_flags(const struct table *t, uint32_t slot)
{
	return record_block(t, record(t, slot))->flags;
}

void table_counts(const struct table *t, uint32_t slot, uint64_t *written_r,
		  uint64_t *consumed_r, uint32_t *keepalive_bytes_r)
{
	const struct block *b = record_block(t, record(t, slot));

	*written_r = b->written;
	*consumed_r = b->consumed;
	*keepalive_bytes_r = b->keepalives_len;
}

bool table_changed(const struct table *t, uint32_t slot)
{
	return record(t, slot)->changed != 0;
}

void table_mark_changed(struct table *t, uint32_t slot)
{
	record(t, slot)->changed = 1;
}

unsigned table_tries(const struct table *t, uint32_t slot)
{
	return record(t, slot)->tries;
}

void table_set_tries(struct table *t, uint32_t slot, unsigned tries)
{
	record(t, slot)->tries = tries > UINT8_MAX ? UINT8_MAX : (uint8_t)tries;
}

/* ---- marks of the whole ---- */

bool table_draining(const struct table *t)
{
	return __atomic_load_n(&head(t)->draining, __ATOMIC_ACQUIRE) != 0;
}

void table_set_draining(struct table *t, bool draining)
{
	__atomic_store_n(&head(t)->draining, draining, __ATOMIC_SEQ_CST);
}

uint64_t table_generation(const struct table *t)
{
	return head(t)->generation;
}

void table_set_generation(struct table *t, uint64_t generation)
{
	__atomic_store_n(&head(t)->generation, generation, __ATOMIC_RELEASE);
}

/* ---- watches ---- */

uint32_t table_watches(const struct table *t)
{
	return t->watches.used;
}

struct table_watch *table_watch(const struct table *t, uint32_t i)
{
	assert(i < t->watches.used);
	return items_at(t, &t->watches, i);
}

uint32_t table_watch_new(struct table *t)
{
	uint32_t i = t->watches.free;

	if (i != NONE) {
		t->watches.free = table_watch(t, i)->first;
		return i;
	}
	if (items_grow(t, &t->watches, EXTENT_WATCHES) < 0)
		return NONE;
	return t->watches.used++;
}

void table_watch_free(struct table *t, uint32_t i)
{
	struct table_watch *w = table_watch(t, i);

	__atomic_store_n(&w->wd, 0, __ATOMIC_RELEASE);
	w->first = t->watches.free;
	t->watches.free = i;
}

/* ---- adoption ---- */

/* Is [unit, unit + len) within one run of block extents? */
static bool units_are_blocks(const struct table *t, uint64_t unit, uint64_t len)
{
	uint64_t first = unit / UNITS_PER_EXTENT, last = (unit + len) / UNITS_PER_EXTENT;

	/* `last` of the unit behind: the area's closing piece is there at least. */
	for (uint64_t e = first; e <= last; e++) {
		if (e >= t->extents || kinds(t)[e] != EXTENT_BLOCKS)
			return false;
	}
	return true;
}

/* The block's length, or 0 if it makes no sense. */
static uint32_t record_check(const struct table *t, const struct record *r)
{
	uint64_t commit = commit_get(r);
	uint32_t unit = (uint32_t)commit;
	const struct block *b;
	uint64_t sum;

	if (!units_are_blocks(t, unit, space_units(sizeof(*b))))
		return 0;
	b = space_at(&t->space, unit);
	if (b->bytes < sizeof(*b) || b->bytes > 2 * STATE_MAX_BYTES ||
	    !units_are_blocks(t, unit, space_units(b->bytes)))
		return 0;
	sum = sizeof(*b) + b->n_keepalives + b->user_len + 1u + b->remote_len + 1u +
	      b->mailbox_len + 1u + b->ticket_len + b->keepalives_len + (uint64_t)b->state_len;
	if (sum != b->bytes || b->n_keepalives > KEEPALIVES_MAX ||
	    check_sum(b, b->bytes) != commit >> 32)
		return 0;
	return b->bytes;
}

static int piece_cmp(const void *a, const void *b)
{
	const struct space_piece *x = a, *y = b;

	return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* The extents by kind. One without a kind was being added: room for blocks. */
static int adopt_extents(struct table *t)
{
	int ret = 0;

	for (uint32_t e = 1; e < t->extents && ret == 0; e++) {
		if (kinds(t)[e] == EXTENT_NONE)
			kinds(t)[e] = EXTENT_BLOCKS;
		if (kinds(t)[e] == EXTENT_RECORDS)
			ret = items_extent(&t->records, e);
		else if (kinds(t)[e] == EXTENT_WATCHES)
			ret = items_extent(&t->watches, e);
		else if (kinds(t)[e] != EXTENT_BLOCKS)
			ret = -EBADMSG;
	}
	return ret;
}

/* High-water mark and pieces; what makes no sense is voided. */
static int adopt_records(struct table *t, struct space_piece **pieces_r, size_t *n_r,
			 unsigned *damaged)
{
	uint32_t all = t->records.n_extents * t->records.per_extent;
	struct space_piece *pieces = malloc((all + 1) * sizeof(*pieces));
	size_t n = 0;

	if (!pieces)
		return -ENOMEM;
	t->records.used = all;
	for (uint32_t slot = all; slot-- > 0;) {
		struct record *r = record(t, slot);
		uint32_t bytes;

		if (!commit_get(r))
			continue;
		bytes = record_check(t, r);
		if (!bytes) {
			commit_set(r, 0);
			(*damaged)++;
			continue;
		}
		pieces[n++] = (struct space_piece){ (uint32_t)commit_get(r), bytes };
	}
	qsort(pieces, n, sizeof(*pieces), piece_cmp);
	*pieces_r = pieces;
	*n_r = n;
	return 0;
}

/* Two records that claim the same bytes: neither is to be believed, and the
 * table with them. It would take a bug of ours. */
static bool pieces_overlap(const struct space_piece *p, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (p[i].unit - p[i - 1].unit < space_units(p[i - 1].bytes))
			return true;
	}
	return false;
}

static void adopt_space(struct table *t, const struct space_piece *p, size_t n)
{
	for (uint32_t e = 1, to; e < t->extents; e = to) {
		size_t mine = 0;

		to = e + 1;
		if (kinds(t)[e] != EXTENT_BLOCKS)
			continue;
		while (to < t->extents && kinds(t)[to] == EXTENT_BLOCKS)
			to++;
		while (mine < n && p[mine].unit < to * UNITS_PER_EXTENT)
			mine++;
		space_rebuild(&t->space, e * UNITS_PER_EXTENT, to * UNITS_PER_EXTENT, p, mine);
		p += mine;
		n -= mine;
	}
}

static void adopt_free_lists(struct table *t)
{
	uint32_t used = t->records.used;

	while (used > 0 && !commit_get(record(t, used - 1)))
		used--;
	t->records.used = used;
	for (uint32_t slot = used; slot-- > 0;) {
		if (!commit_get(record(t, slot)))
			record_free(t, slot);
	}
	used = t->watches.used = t->watches.n_extents * t->watches.per_extent;
	while (used > 0 && table_watch(t, used - 1)->wd == 0)
		used--;
	t->watches.used = used;
	for (uint32_t i = used; i-- > 0;) {
		if (table_watch(t, i)->wd == 0)
			table_watch_free(t, i);
	}
}

static int table_adopt_parts(struct table *t, unsigned *damaged)
{
	struct space_piece *pieces = NULL;
	size_t n = 0;
	int ret;

	if (memcmp(head(t)->magic, table_magic, sizeof(table_magic)) != 0 ||
	    head(t)->format != TABLE_FORMAT)
		return -EBADMSG;
	ret = adopt_extents(t);
	if (ret == 0)
		ret = adopt_records(t, &pieces, &n, damaged);
	if (ret == 0 && pieces_overlap(pieces, n))
		ret = -EBADMSG;
	if (ret == 0) {
		adopt_space(t, pieces, n);
		adopt_free_lists(t);
	}
	free(pieces);
	return ret;
}

int table_adopt(struct table **t_r, int fd, unsigned *damaged_r)
{
	unsigned damaged = 0;
	struct table *t;
	struct stat st;
	int ret;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)EXTENT_BYTES || st.st_size % EXTENT_BYTES != 0 ||
	    st.st_size / EXTENT_BYTES > (off_t)EXTENTS_MAX)
		return -EBADMSG;
	t = table_new(fd);
	if (!t)
		return -ENOMEM;
	t->extents = (uint32_t)(st.st_size / EXTENT_BYTES);
	t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	ret = t->fd < 0 ? -errno : table_adopt_parts(t, &damaged);
	if (ret < 0) {
		table_destroy(&t);
		return ret;
	}
	*damaged_r = damaged;
	*t_r = t;
	return 0;
}
