/* SPDX-License-Identifier: MIT */
/* Three hash tables: sessions by id; users and addresses by name, each of which
 * counts its sessions. Session ids are random, user names passed their password,
 * addresses are where such a client is: no outsider chooses what falls into a
 * bucket.
 *
 * The address of a session that this process has issued a ticket for is known.
 * Of another one it is what the session says, and any local process may call
 * itself a session of its user's: so a user can have but a few of those, lest
 * the places of an address be used up by somebody who never was there. */
#include "auth/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"

/* Addresses of one user's that nobody but his sessions vouches for. */
#define CLAIMS_MAX	16

struct reg_name {
	struct reg_name *next;
	uint32_t sessions;
	uint32_t claims;	/* of a user: sessions with a claimed address */
	char name[];
};

/* There is one for each sleeper: bytes count. */
struct reg_session {
	struct reg_session *next;
	uint64_t sid;
	struct reg_name *user;
	struct reg_name *address;	/* NULL: it has none that counts */
	uint8_t phase;			/* enum registry_phase */
	bool claimed;			/* the address */
	bool named;			/* in the list being told */
};

/* While in REGISTRY_LOGIN it is one of these. */
struct reg_login {
	struct reg_session session;
	struct list issued;		/* in registry.issued */
	uint64_t issued_ms;
};

struct registry {
	struct reg_session **sessions;
	struct reg_name **users, **addresses;
	size_t buckets;		/* of each; a power of two */
	size_t count;
	bool listing;
	struct list issued;	/* oldest first */
};

static size_t sid_bucket(uint64_t sid, size_t buckets)
{
	return (size_t)(sid ^ sid >> 32) & (buckets - 1);
}

static size_t name_bucket(const char *name, size_t buckets)
{
	uint64_t h = 14695981039346656037u;	/* FNV-1a */

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 1099511628211u;
	return (size_t)(h ^ h >> 32) & (buckets - 1);
}

struct registry *registry_create(void)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->buckets = 64;
	r->sessions = calloc(r->buckets, sizeof(*r->sessions));
	r->users = calloc(r->buckets, sizeof(*r->users));
	r->addresses = calloc(r->buckets, sizeof(*r->addresses));
	list_init(&r->issued);
	if (!r->sessions || !r->users || !r->addresses)
		registry_destroy(&r);
	return r;
}

static void names_free(struct reg_name **names, size_t buckets)
{
	for (size_t i = 0; names && i < buckets; i++)
		for (struct reg_name *n = names[i], *next; n; n = next) {
			next = n->next;
			free(n);
		}
	free(names);
}

void registry_destroy(struct registry **r_p)
{
	struct registry *r = *r_p;

	*r_p = NULL;
	if (!r)
		return;
	for (size_t i = 0; r->sessions && i < r->buckets; i++)
		for (struct reg_session *s = r->sessions[i], *next; s; s = next) {
			next = s->next;
			free(s);
		}
	free(r->sessions);
	names_free(r->users, r->buckets);
	names_free(r->addresses, r->buckets);
	free(r);
}

/* Into a new table; the old one is gone. */
static struct reg_name **names_move(struct reg_name **from, size_t n, struct reg_name **to,
	size_t buckets)
{
	for (size_t i = 0; i < n; i++)
		for (struct reg_name *u = from[i], *next; u; u = next) {
			struct reg_name **bucket = &to[name_bucket(u->name, buckets)];
			next = u->next;
			u->next = *bucket;
			*bucket = u;
		}
	free(from);
	return to;
}

/* Best effort: full buckets are slow, not wrong. */
static void registry_grow(struct registry *r)
{
	size_t buckets = r->buckets * 4;
	struct reg_session **sessions = calloc(buckets, sizeof(*sessions));
	struct reg_name **users = calloc(buckets, sizeof(*users));
	struct reg_name **addresses = calloc(buckets, sizeof(*addresses));

	if (!sessions || !users || !addresses) {
		free(sessions);
		free(users);
		free(addresses);
		return;
	}
	for (size_t i = 0; i < r->buckets; i++)
		for (struct reg_session *s = r->sessions[i], *next; s; s = next) {
			struct reg_session **to = &sessions[sid_bucket(s->sid, buckets)];
			next = s->next;
			s->next = *to;
			*to = s;
		}
	free(r->sessions);
	r->sessions = sessions;
	r->users = names_move(r->users, r->buckets, users, buckets);
	r->addresses = names_move(r->addresses, r->buckets, addresses, buckets);
	r->buckets = buckets;
}

static struct reg_name *name_find(const struct registry *r, struct reg_name *const *table,
	const char *name)
{
	struct reg_name *u = table[name_bucket(name, r->buckets)];

	while (u && strcmp(u->name, name) != 0)
		u = u->next;
	return u;
}

static struct reg_name *name_ref(struct registry *r, struct reg_name **table,
	const char *name)
{
	struct reg_name *u = name_find(r, table, name);

	if (!u) {
		size_t size = strlen(name) + 1;
		u = malloc(sizeof(*u) + size);
		if (!u)
			return NULL;
		struct reg_name **bucket = &table[name_bucket(name, r->buckets)];
		*u = (struct reg_name){ .next = *bucket };
		memcpy(u->name, name, size);
		*bucket = u;
	}
	u->sessions++;
	return u;
}

static void name_unref(struct registry *r, struct reg_name **table, struct reg_name *u)
{
	if (--u->sessions > 0)
		return;
	struct reg_name **at = &table[name_bucket(u->name, r->buckets)];
	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	free(u);
}

static struct reg_session *session_find(const struct registry *r, uint64_t sid)
{
	struct reg_session *s = r->sessions[sid_bucket(sid, r->buckets)];

	while (s && s->sid != sid)
		s = s->next;
	return s;
}

/* size: of what it is part of */
static struct reg_session *session_add(struct registry *r, uint64_t sid, const char *user,
	size_t size)
{
	struct reg_session *s = calloc(1, size);

	if (!s)
		return NULL;
	if (r->count >= r->buckets)
		registry_grow(r);
	s->user = name_ref(r, r->users, user);
	if (!s->user) {
		free(s);
		return NULL;
	}
	s->sid = sid;
	s->phase = REGISTRY_AWAKE;
	struct reg_session **bucket = &r->sessions[sid_bucket(sid, r->buckets)];
	s->next = *bucket;
	*bucket = s;
	r->count++;
	return s;
}

static struct reg_session **session_at(struct registry *r, const struct reg_session *s)
{
	struct reg_session **at = &r->sessions[sid_bucket(s->sid, r->buckets)];

	while (*at != s)
		at = &(*at)->next;
	return at;
}

static struct reg_login *login_of(struct reg_session *s)
{
	return container_of(s, struct reg_login, session);
}

/* It has shown up: what is left of it takes less room, if there is any to move to. */
static struct reg_session *session_settle(struct registry *r, struct reg_session *s)
{
	struct reg_session *small;

	if (s->phase != REGISTRY_LOGIN)
		return s;
	list_remove(&login_of(s)->issued);
	small = malloc(sizeof(*small));
	if (!small)
		return s;
	*session_at(r, s) = small;
	*small = *s;
	free(login_of(s));
	return small;
}

static void session_remove(struct registry *r, struct reg_session *s)
{
	*session_at(r, s) = s->next;
	if (s->phase == REGISTRY_LOGIN)
		list_remove(&login_of(s)->issued);
	if (s->claimed)
		s->user->claims--;
	if (s->address)
		name_unref(r, r->addresses, s->address);
	name_unref(r, r->users, s->user);
	free(s);
	r->count--;
}

int registry_issue(struct registry *r, uint64_t sid, const char *user, const char *address,
	uint64_t now_ms)
{
	if (session_find(r, sid))
		return -EEXIST;
	struct reg_session *s = session_add(r, sid, user, sizeof(struct reg_login));
	if (!s)
		return -ENOMEM;
	s->address = *address ? name_ref(r, r->addresses, address) : NULL;
	if (*address && !s->address) {
		session_remove(r, s);
		return -ENOMEM;
	}
	s->phase = REGISTRY_LOGIN;
	login_of(s)->issued_ms = now_ms;
	list_append(&r->issued, &login_of(s)->issued);
	return 0;
}

/* Short of memory it does not count. */
static void session_claim(struct registry *r, struct reg_session *s, const char *address)
{
	if (!*address || s->user->claims >= CLAIMS_MAX)
		return;
	s->address = name_ref(r, r->addresses, address);
	s->claimed = s->address != NULL;
	s->user->claims += s->claimed;
}

static int registry_seen(struct registry *r, enum registry_phase phase, uint64_t sid,
	const char *user, const char *address)
{
	struct reg_session *s = session_find(r, sid);

	/* An id that changes its user would be a mistake of the holder's: what
	   it says last holds, as after a restart of ours. */
	if (s && strcmp(s->user->name, user) != 0) {
		session_remove(r, s);
		s = NULL;
	}
	if (!s) {
		s = session_add(r, sid, user, sizeof(*s));
		if (!s)
			return -ENOMEM;
		session_claim(r, s, address);
	}
	s = session_settle(r, s);
	s->phase = (uint8_t)phase;
	s->named = true;
	return 0;
}

static void registry_sweep(struct registry *r,
	void (*fn)(struct registry *r, struct reg_session *s))
{
	for (size_t i = 0; i < r->buckets; i++)
		for (struct reg_session *s = r->sessions[i], *next; s; s = next) {
			next = s->next;
			fn(r, s);
		}
}

static void sweep_forget_named(struct registry *r, struct reg_session *s)
{
	s->named = false;
}

static void sweep_drop_unnamed(struct registry *r, struct reg_session *s)
{
	if (!s->named && s->phase != REGISTRY_LOGIN)
		session_remove(r, s);
}

int registry_report(struct registry *r, enum ipc_session_event event, uint64_t sid,
	const char *user, const char *address)
{
	struct reg_session *s;

	switch (event) {
	case SESSION_AWAKE:
		return registry_seen(r, REGISTRY_AWAKE, sid, user, address);
	case SESSION_ASLEEP:
		return registry_seen(r, REGISTRY_ASLEEP, sid, user, address);
	case SESSION_GONE:
		s = session_find(r, sid);
		if (s)
			session_remove(r, s);
		return 0;
	case SESSION_LIST_BEGINS:
		registry_sweep(r, sweep_forget_named);
		r->listing = true;
		return 0;
	case SESSION_LIST_ENDS:
		if (r->listing)
			registry_sweep(r, sweep_drop_unnamed);
		r->listing = false;
		return 0;
	}
	return -EINVAL;
}

size_t registry_count(const struct registry *r)
{
	return r->count;
}

size_t registry_user_count(const struct registry *r, const char *user)
{
	const struct reg_name *u = name_find(r, r->users, user);

	return u ? u->sessions : 0;
}

size_t registry_address_count(const struct registry *r, const char *address)
{
	const struct reg_name *a = name_find(r, r->addresses, address);

	return a ? a->sessions : 0;
}

uint64_t registry_expire(struct registry *r, uint64_t now_ms)
{
	while (!list_empty(&r->issued)) {
		struct reg_login *login =
			container_of(r->issued.next, struct reg_login, issued);
		uint64_t age = now_ms - login->issued_ms;
		if (age < REGISTRY_LOGIN_MS)
			return REGISTRY_LOGIN_MS - age;
		session_remove(r, &login->session);
	}
	return 0;
}

int registry_list(const struct registry *r, uint64_t **sids_r, size_t *count_r)
{
	size_t n = 0;
	uint64_t *sids = calloc(r->count + 1, sizeof(*sids));

	if (!sids)
		return -ENOMEM;
	for (size_t i = 0; i < r->buckets; i++)
		for (const struct reg_session *s = r->sessions[i]; s; s = s->next)
			sids[n++] = s->sid;
	*sids_r = sids;
	*count_r = n;
	return 0;
}

bool registry_get(const struct registry *r, uint64_t sid, const char **user_r,
	enum registry_phase *phase_r)
{
	const struct reg_session *s = session_find(r, sid);

	if (!s)
		return false;
	*user_r = s->user->name;
	*phase_r = (enum registry_phase)s->phase;
	return true;
}

const char *registry_phase_name(enum registry_phase phase)
{
	switch (phase) {
	case REGISTRY_LOGIN:	return "login";
	case REGISTRY_AWAKE:	return "awake";
	case REGISTRY_ASLEEP:	return "asleep";
	}
	return "unknown";
}
