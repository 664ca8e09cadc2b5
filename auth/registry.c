/* SPDX-License-Identifier: MIT */
/* Two hash tables, sessions by id and users by name, each session counted by
 * its user. Session ids are random, user names passed their password: no
 * outsider chooses what falls into a bucket. */
#include "auth/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"

struct reg_user {
	struct reg_user *next;
	size_t sessions;
	char name[];
};

struct reg_session {
	struct reg_session *next;
	struct list issued;	/* in registry.issued while in REGISTRY_LOGIN */
	uint64_t sid;
	uint64_t issued_ms;
	struct reg_user *user;
	enum registry_phase phase;
	bool named;		/* in the list being told */
};

struct registry {
	struct reg_session **sessions;
	struct reg_user **users;
	size_t buckets;		/* of both; a power of two */
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
	list_init(&r->issued);
	if (!r->sessions || !r->users)
		registry_destroy(&r);
	return r;
}

void registry_destroy(struct registry **r_p)
{
	struct registry *r = *r_p;

	*r_p = NULL;
	if (!r)
		return;
	for (size_t i = 0; i < r->buckets; i++) {
		for (struct reg_session *s, *next = r->sessions ? r->sessions[i] : NULL;
			(s = next);) {
			next = s->next;
			free(s);
		}
		for (struct reg_user *u, *next = r->users ? r->users[i] : NULL;
			(u = next);) {
			next = u->next;
			free(u);
		}
	}
	free(r->sessions);
	free(r->users);
	free(r);
}

/* Best effort: full buckets are slow, not wrong. */
static void registry_grow(struct registry *r)
{
	size_t buckets = r->buckets * 4;
	struct reg_session **sessions = calloc(buckets, sizeof(*sessions));
	struct reg_user **users = calloc(buckets, sizeof(*users));

	if (!sessions || !users) {
		free(sessions);
		free(users);
		return;
	}
	for (size_t i = 0; i < r->buckets; i++) {
		for (struct reg_session *s = r->sessions[i], *next; s; s = next) {
			struct reg_session **to = &sessions[sid_bucket(s->sid, buckets)];
			next = s->next;
			s->next = *to;
			*to = s;
		}
		for (struct reg_user *u = r->users[i], *next; u; u = next) {
			struct reg_user **to = &users[name_bucket(u->name, buckets)];
			next = u->next;
			u->next = *to;
			*to = u;
		}
	}
	free(r->sessions);
	free(r->users);
	r->sessions = sessions;
	r->users = users;
	r->buckets = buckets;
}

static struct reg_user *user_find(const struct registry *r, const char *name)
{
	struct reg_user *u = r->users[name_bucket(name, r->buckets)];

	while (u && strcmp(u->name, name) != 0)
		u = u->next;
	return u;
}

static struct reg_user *user_ref(struct registry *r, const char *name)
{
	struct reg_user *u = user_find(r, name);

	if (!u) {
		size_t size = strlen(name) + 1;
		u = malloc(sizeof(*u) + size);
		if (!u)
			return NULL;
		struct reg_user **bucket = &r->users[name_bucket(name, r->buckets)];
		*u = (struct reg_user){ .next = *bucket };
		memcpy(u->name, name, size);
		*bucket = u;
	}
	u->sessions++;
	return u;
}

static void user_unref(struct registry *r, struct reg_user *u)
{
	if (--u->sessions > 0)
		return;
	struct reg_user **at = &r->users[name_bucket(u->name, r->buckets)];
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

static struct reg_session *session_add(struct registry *r, uint64_t sid, const char *user)
{
	struct reg_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (r->count >= r->buckets)
		registry_grow(r);
	s->user = user_ref(r, user);
	if (!s->user) {
		free(s);
		return NULL;
	}
	s->sid = sid;
	list_init(&s->issued);
	struct reg_session **bucket = &r->sessions[sid_bucket(sid, r->buckets)];
	s->next = *bucket;
	*bucket = s;
	r->count++;
	return s;
}

static void session_remove(struct registry *r, struct reg_session *s)
{
	struct reg_session **at = &r->sessions[sid_bucket(s->sid, r->buckets)];

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	list_remove(&s->issued);
	user_unref(r, s->user);
	free(s);
	r->count--;
}

int registry_issue(struct registry *r, uint64_t sid, const char *user, uint64_t now_ms)
{
	if (session_find(r, sid))
		return -EEXIST;
	struct reg_session *s = session_add(r, sid, user);
	if (!s)
		return -ENOMEM;
	s->phase = REGISTRY_LOGIN;
	s->issued_ms = now_ms;
	list_append(&r->issued, &s->issued);
	return 0;
}

static int registry_seen(struct registry *r, enum registry_phase phase, uint64_t sid,
	const char *user)
{
	struct reg_session *s = session_find(r, sid);

	/* An id that changes its user would be a mistake of the holder's: what
	   it says last holds, as after a restart of ours. */
	if (s && strcmp(s->user->name, user) != 0) {
		session_remove(r, s);
		s = NULL;
	}
	if (!s)
		s = session_add(r, sid, user);
	if (!s)
		return -ENOMEM;
	list_remove(&s->issued);
	s->phase = phase;
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
	const char *user)
{
	struct reg_session *s;

	switch (event) {
	case SESSION_AWAKE:
		return registry_seen(r, REGISTRY_AWAKE, sid, user);
	case SESSION_ASLEEP:
		return registry_seen(r, REGISTRY_ASLEEP, sid, user);
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
	const struct reg_user *u = user_find(r, user);

	return u ? u->sessions : 0;
}

uint64_t registry_expire(struct registry *r, uint64_t now_ms)
{
	while (!list_empty(&r->issued)) {
		struct reg_session *s =
			container_of(r->issued.next, struct reg_session, issued);
		uint64_t age = now_ms - s->issued_ms;
		if (age < REGISTRY_LOGIN_MS)
			return REGISTRY_LOGIN_MS - age;
		session_remove(r, s);
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
	*phase_r = s->phase;
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
