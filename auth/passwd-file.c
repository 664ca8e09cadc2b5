/* SPDX-License-Identifier: MIT */
/* One copy of the text is cut into fields in place, and the users point into
 * it; sorted by name, found by bisection. With a broken line the question is
 * always "might it give more than was meant?", so whatever is not understood
 * in it leaves the whole line out. */
#include "auth/passwd-file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/limits.h"

enum field { F_USER, F_PASSWORD, F_UID, F_GID, F_GECOS, F_HOME, F_SHELL, F_EXTRA, F_COUNT };

struct passwd_table {
	char *text;
	size_t len;
	struct passwd_user *users;
	size_t count, cap;
};

struct line {
	const struct passwd_rules *rules;
	unsigned number;
	char *field[F_COUNT];
};

__attribute__((format(printf, 2, 3)))
static bool refuse(const struct line *l, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	l->rules->complain(l->rules->ctx, l->number, what);
	return false;
}

static void line_split(struct line *l, char *text)
{
	static char empty[1];

	for (int i = 0; i < F_COUNT; i++) {
		l->field[i] = text ? text : empty;
		/* The last field holds colons. */
		char *colon = text && i < F_COUNT - 1 ? strchr(text, ':') : NULL;
		if (colon)
			*colon++ = '\0';
		text = colon;
	}
}

static bool text_is_clean(const char *s)
{
	for (; *s; s++)
		if ((uint8_t)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

/* The name becomes part of paths (%u), of log lines and of the ticket. */
static bool name_parse(const struct line *l, struct passwd_user *u)
{
	u->name = l->field[F_USER];
	u->line = l->number;
	if (*u->name == '\0')
		return refuse(l, "there is no user name");
	if (strlen(u->name) > USER_NAME_MAX_BYTES)
		return refuse(l, "the user name is longer than %d bytes",
			USER_NAME_MAX_BYTES);
	if (!text_is_clean(u->name) || strchr(u->name, '/') || u->name[0] == '.')
		return refuse(l, "a user name must not begin with . nor hold / or control characters");
	return true;
}

/* Digits only, and not the -1 that means "no change" to setresuid(). */
static bool id_number(const char *text, uint32_t *id_r)
{
	uint64_t n = 0;

	if (*text == '\0')
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n >= UINT32_MAX)
			return false;
	}
	*id_r = (uint32_t)n;
	return true;
}

static bool uid_parse(const struct line *l, struct passwd_user *u)
{
	const struct passwd_rules *r = l->rules;
	const char *text = l->field[F_UID];
	uint32_t id = 0;

	if (*text == '\0') {
		if (!r->user_mode)
			return refuse(l, "user %s has no uid: write one into the third field",
				u->name);
		u->uid = r->own_uid;
	} else if (id_number(text, &id)) {
		u->uid = id;
	} else if (r->find_uid(text, &u->uid) < 0) {
		return refuse(l, "uid %s of user %s is neither a number nor a known user",
			text, u->name);
	}
	if (u->uid == 0)
		return refuse(l, "user %s has uid 0: mail of root is not served", u->name);
	if (r->user_mode && u->uid != r->own_uid)
		return refuse(l, "user %s has uid %u, but this server runs as uid %u: leave the uid empty",
			u->name, u->uid, r->own_uid);
	if (!r->user_mode && u->uid < PASSWD_UID_MIN)
		return refuse(l, "user %s has uid %u: those below %d are system users",
			u->name, u->uid, PASSWD_UID_MIN);
	return true;
}

static bool gid_parse(const struct line *l, struct passwd_user *u)
{
	const struct passwd_rules *r = l->rules;
	const char *text = l->field[F_GID];
	uint32_t id = 0;

	if (*text == '\0') {
		if (!r->user_mode)
			return refuse(l, "user %s has no gid: write one into the fourth field",
				u->name);
		u->gid = r->own_gid;
	} else if (id_number(text, &id)) {
		u->gid = id;
	} else if (r->find_gid(text, &u->gid) < 0) {
		return refuse(l, "gid %s of user %s is neither a number nor a known group",
			text, u->name);
	}
	if (u->gid == 0 && !r->user_mode)
		return refuse(l, "user %s has gid 0: the group of root is not given away",
			u->name);
	if (r->user_mode && u->gid != r->own_gid)
		return refuse(l, "user %s has gid %u, but this server runs as gid %u: leave the gid empty",
			u->name, u->gid, r->own_gid);
	return true;
}

static bool home_parse(const struct line *l, struct passwd_user *u)
{
	u->home = l->field[F_HOME];
	if (*u->home == '\0')
		return refuse(l, "user %s has no home: write one into the sixth field",
			u->name);
	if (*u->home != '/')
		return refuse(l, "the home of user %s does not begin with /", u->name);
	if (strlen(u->home) > USER_HOME_MAX_BYTES || !text_is_clean(u->home))
		return refuse(l, "the home of user %s is too long or holds control characters",
			u->name);
	return true;
}

/* Dovecot's extra fields can take rights away. Those we do not have, so a line
 * with one must not let anybody in; other ones are harmless to overlook, but
 * whoever wrote them will want to know. */
static bool extra_parse(const struct line *l, const struct passwd_user *u)
{
	static const char *const restricting[] = {
		"nologin", "allow_nets", "allow_real_nets", "proxy", "proxy_maybe", "host",
		"userdb_nologin",
	};
	const char *p = l->field[F_EXTRA];

	while (*(p += strspn(p, " \t"))) {
		size_t len = strcspn(p, " \t"), key = strcspn(p, "= \t");
		for (size_t i = 0; i < sizeof(restricting) / sizeof(restricting[0]); i++)
			if (strlen(restricting[i]) == key &&
				strncmp(restricting[i], p, key) == 0)
				return refuse(l, "user %s has %s, which is not supported: left out",
					u->name, restricting[i]);
		refuse(l, "user %s: extra field %.*s is not used", u->name, (int)key, p);
		p += len;
	}
	return true;
}

static bool password_field_parse(const struct line *l, struct passwd_user *u)
{
	const char *wrong = password_parse(l->field[F_PASSWORD], &u->scheme, &u->hash);

	if (wrong)
		return refuse(l, "password of user %s: %s", u->name, wrong);
	return true;
}

static int table_add(struct passwd_table *t, const struct passwd_user *u)
{
	if (t->count == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 16;
		struct passwd_user *users = reallocarray(t->users, cap, sizeof(*users));
		if (!users)
			return -ENOMEM;
		t->users = users;
		t->cap = cap;
	}
	t->users[t->count++] = *u;
	return 0;
}

/* 0 or -ENOMEM; a bad line is no error. */
static int line_parse(struct passwd_table *t, struct line *l, char *text)
{
	struct passwd_user u = { 0 };

	size_t len = strlen(text);
	if (len > 0 && text[len - 1] == '\r')
		text[len - 1] = '\0';
	if (text[strspn(text, " \t")] == '\0' || text[0] == '#')
		return 0;
	line_split(l, text);
	if (name_parse(l, &u) && password_field_parse(l, &u) && uid_parse(l, &u) &&
		gid_parse(l, &u) && home_parse(l, &u) && extra_parse(l, &u))
		return table_add(t, &u);
	return 0;
}

static int user_compare(const void *a, const void *b)
{
	const struct passwd_user *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	/* Equal names stay in the order of the file. */
	return order ? order : x->line < y->line ? -1 : x->line > y->line;
}

/* Two lines for one name: only one can be meant, and nobody knows which. The
 * first is used, the others are told. */
static void table_unique(struct passwd_table *t, const struct passwd_rules *rules)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (kept > 0 && strcmp(t->users[kept - 1].name, t->users[i].name) == 0) {
			struct line l = { rules, t->users[i].line, { NULL } };
			refuse(&l, "user %s stands in an earlier line already",
				t->users[i].name);
			continue;
		}
		t->users[kept++] = t->users[i];
	}
	t->count = kept;
}

static int table_fill(struct passwd_table *t, const struct passwd_rules *rules)
{
	struct line l = { .rules = rules };
	char *text = t->text, *end = t->text + t->len;

	while (text < end) {
		char *lf = memchr(text, '\n', (size_t)(end - text));
		char *stop = lf ? lf : end;	/* *end is a NUL of ours */
		l.number++;
		*stop = '\0';
		if (strlen(text) != (size_t)(stop - text)) {
			refuse(&l, "the line holds a NUL");
		} else {
			int ret = line_parse(t, &l, text);
			if (ret < 0)
				return ret;
		}
		text = stop + 1;
	}
	return 0;
}

struct passwd_table *passwd_table_parse(const char *text, size_t len,
	const struct passwd_rules *rules)
{
	struct passwd_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->text = malloc(len + 1);
	if (!t->text) {
		passwd_table_destroy(&t);
		return NULL;
	}
	memcpy(t->text, text, len);
	t->text[len] = '\0';
	t->len = len;
	if (table_fill(t, rules) < 0) {
		passwd_table_destroy(&t);
		return NULL;
	}
	if (t->count > 0)
		qsort(t->users, t->count, sizeof(*t->users), user_compare);
	table_unique(t, rules);
	return t;
}

void passwd_table_destroy(struct passwd_table **table)
{
	struct passwd_table *t = *table;

	*table = NULL;
	if (!t)
		return;
	if (t->text)
		explicit_bzero(t->text, t->len);
	free(t->text);
	free(t->users);
	free(t);
}

const struct passwd_user *passwd_table_find(const struct passwd_table *t, const char *name)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, t->users[middle].name);
		if (order == 0)
			return &t->users[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

size_t passwd_table_count(const struct passwd_table *t)
{
	return t->count;
}

const struct passwd_user *passwd_table_at(const struct passwd_table *t, size_t i)
{
	return &t->users[i];
}
