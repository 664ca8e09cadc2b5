/* SPDX-License-Identifier: MIT */
/* The file is known by device, inode, size and both times. Whoever edits it
 * in place may be read in the middle; a rename into place is not.
 *
 * A file that cannot be read leaves the last good table in force: a moment
 * of bad rights must not lock everybody out. */
#include "auth/users.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "auth/passwd-file.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/hkdf.h"
#include "lib/log.h"
#include "lib/settings.h"

/* Broken lines of one reading that are told one by one. */
#define COMPLAINTS_MAX	50
/* A file changed this recently may be changed again with the same time. */
#define RACY_MS		1000

struct users {
	const struct settings *settings;
	struct passwd_table *table;
	struct stat seen;
	bool racy;
	uint64_t read_ms;
	bool failed;		/* said so already */
	unsigned complaints;
	uint8_t first_secret[32], secret[32];
};

/* ---- numbers for names ---- */

/* Once known, always known: in its sandbox auth may not be able to ask again
 * (main.c), and users must not vanish for it when the file is edited. */
#define NAMES_MAX	256

struct known_name {
	char name[33];
	bool group;
	uint32_t id;
};
static struct known_name known[NAMES_MAX];
static size_t n_known;

static struct known_name *known_find(const char *name, bool group)
{
	for (size_t i = 0; i < n_known; i++)
		if (known[i].group == group && strcmp(known[i].name, name) == 0)
			return &known[i];
	return NULL;
}

static void known_put(const char *name, bool group, uint32_t id)
{
	struct known_name *k = known_find(name, group);

	if (!k && (n_known == NAMES_MAX || strlen(name) >= sizeof(k->name)))
		return;
	if (!k)
		k = &known[n_known++];
	strcpy(k->name, name);
	k->group = group;
	k->id = id;
}

static int known_get(const char *name, bool group, uint32_t *id_r)
{
	const struct known_name *k = known_find(name, group);

	if (!k)
		return -ENOENT;
	*id_r = k->id;
	return 0;
}

static int find_uid(const char *name, uid_t *uid_r)
{
	const struct passwd *pw = getpwnam(name);

	if (!pw)
		return known_get(name, false, uid_r);
	known_put(name, false, pw->pw_uid);
	*uid_r = pw->pw_uid;
	return 0;
}

static int find_gid(const char *name, gid_t *gid_r)
{
	const struct group *gr = getgrnam(name);

	if (!gr)
		return known_get(name, true, gid_r);
	known_put(name, true, gr->gr_gid);
	*gid_r = gr->gr_gid;
	return 0;
}

/* ---- the passwd-file ---- */

static void users_complain(void *ctx, unsigned line, const char *what)
{
	struct users *u = ctx;

	if (++u->complaints <= COMPLAINTS_MAX)
		log_warn("passwd-file", "%s:%u: %s", u->settings->passwd_file, line, what);
	else if (u->complaints == COMPLAINTS_MAX + 1)
		log_warn("passwd-file", "%s: more lines are not good", u->settings->passwd_file);
}

/* 0 with the text, or -errno. */
static int file_read(const char *path, struct buf *text, struct stat *st_r)
{
	/* Not waiting for a pipe that somebody has put there. */
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, st_r) < 0)
		return -errno;
	if (!S_ISREG(st_r->st_mode))
		return -EINVAL;
	for (;;) {
		uint8_t *room = buf_reserve(text, 16384);
		if (!room)
			return -EFBIG;
		ssize_t n = read(fd, room, 16384);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_added(text, (size_t)n);
	}
}

static bool changed_within(const struct stat *st, uint64_t ms)
{
	uint64_t changed_us = (uint64_t)st->st_mtim.tv_sec * 1000000 +
			      (uint64_t)st->st_mtim.tv_nsec / 1000;
	uint64_t now_us = clock_wall_us();

	return changed_us > now_us || now_us - changed_us < ms * 1000;
}

static void users_failed(struct users *u, int error)
{
	if (!u->failed)
		log_error("passwd-file", "cannot read %s: %s%s", u->settings->passwd_file,
			strerror(-error), u->table ? "; what was read before stays in force" : "");
	u->failed = true;
}

static void users_set_secret(struct users *u)
{
	size_t n = passwd_table_count(u->table);

	memcpy(u->secret, u->first_secret, sizeof(u->secret));
	for (size_t i = 0; i < n; i++) {
		const struct passwd_user *user = passwd_table_at(u->table, i);
		if (user->scheme != PASSWORD_SCRAM)
			continue;
		(void)hmac_sha256("users", 5, user->hash, strlen(user->hash), u->secret);
		return;
	}
}

static void users_read(struct users *u)
{
	const struct passwd_rules rules = {
		.user_mode = u->settings->user_mode,
		.own_uid = getuid(),
		.own_gid = getgid(),
		.find_uid = find_uid,
		.find_gid = find_gid,
		.complain = users_complain,
		.ctx = u,
	};
	struct stat st;
	struct buf text;

	buf_init(&text, PASSWD_FILE_MAX_BYTES);
	int ret = file_read(u->settings->passwd_file, &text, &st);
	u->complaints = 0;
	struct passwd_table *table = NULL;
	if (ret == 0) {
		table = passwd_table_parse(text.data ? (char *)text.data : "", text.len, &rules);
		if (!table)
			ret = -ENOMEM;
	}
	buf_wipe(&text);
	if (ret < 0) {
		users_failed(u, ret);
		return;
	}
	passwd_table_destroy(&u->table);
	u->table = table;
	users_set_secret(u);
	u->seen = st;
	u->racy = changed_within(&st, RACY_MS);
	u->read_ms = clock_ms();
	u->failed = false;
	log_info("passwd-file", "read %s users=%zu", u->settings->passwd_file,
		passwd_table_count(table));
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

void users_refresh(struct users *u)
{
	struct stat st;

	if (!*u->settings->passwd_file)
		return;
	if (stat(u->settings->passwd_file, &st) < 0) {
		users_failed(u, -errno);
		return;
	}
	bool again = u->racy && clock_ms() - u->read_ms >= RACY_MS;
	if (u->table && !u->failed && !again && same_file(&st, &u->seen))
		return;
	users_read(u);
}

struct users *users_create(const struct settings *settings, const uint8_t secret[32])
{
	struct users *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->settings = settings;
	memcpy(u->first_secret, secret, sizeof(u->first_secret));
	memcpy(u->secret, secret, sizeof(u->secret));
	if (*settings->passwd_file)
		users_read(u);
	return u;
}

void users_destroy(struct users **u_p)
{
	struct users *u = *u_p;

	*u_p = NULL;
	if (!u)
		return;
	passwd_table_destroy(&u->table);
	explicit_bzero(u, sizeof(*u));
	free(u);
}

/* ---- static_password ---- */

static bool name_is_safe(const char *name)
{
	if (*name == '.' || *name == '-' || *name == '\0')
		return false;
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789._@+-")] == '\0';
}

/* static_home with each %u replaced. */
static bool static_home(const char *pattern, const char *name, char home[], size_t size)
{
	size_t at = 0;

	for (; *pattern; pattern++) {
		bool user = pattern[0] == '%' && pattern[1] == 'u';
		const char *part = user ? name : pattern;
		size_t len = user ? strlen(name) : 1;
		if (len >= size - at)
			return false;
		memcpy(home + at, part, len);
		at += len;
		pattern += user;
	}
	home[at] = '\0';
	return home[0] == '/';
}

/* Whoever owns the directory that the homes lie in owns the mail. */
static bool static_owner(const char *home, struct user_found *f)
{
	char parent[USER_HOME_MAX_BYTES + 1];
	struct stat st;

	strcpy(parent, home);
	size_t len = strlen(parent);
	while (len > 1 && parent[len - 1] == '/')
		parent[--len] = '\0';
	char *slash = strrchr(parent, '/');
	slash[slash == parent ? 1 : 0] = '\0';
	if (stat(parent, &st) < 0) {
		log_warn("static", "cannot look at %s, whose owner would own the mail: %s",
			log_str(parent), strerror(errno));
		return false;
	}
	if (st.st_uid < PASSWD_UID_MIN || st.st_gid == 0) {
		log_warn("static", "%s belongs to uid %u gid %u: static_home needs a directory of an ordinary user",
			log_str(parent), st.st_uid, st.st_gid);
		return false;
	}
	f->uid = st.st_uid;
	f->gid = st.st_gid;
	return true;
}

static bool static_find(const struct settings *s, const char *name, struct user_found *f)
{
	if (!name_is_safe(name) || strlen(name) > USER_NAME_MAX_BYTES)
		return false;
	if (!static_home(s->static_home, name, f->home, sizeof(f->home))) {
		log_warn("static", "static_home is too long, or does not begin with /");
		return false;
	}
	f->source = "static";
	f->scheme = PASSWORD_PLAIN;
	f->hash = s->static_password;
	if (!s->user_mode)
		return static_owner(f->home, f);
	f->uid = getuid();
	f->gid = getgid();
	if (f->uid == 0) {
		log_warn("static", "uid 0: mail of root is not served");
		return false;
	}
	return true;
}

/* ---- looking up ---- */

/* Which user's hash is used to refuse this unknown name: the same one each
 * time, and nobody outside can tell which. So unknown names cost what the
 * known ones cost, also where the file mixes schemes. */
void users_stand_in(const struct users *u, const char *name, struct user_found *f)
{
	uint64_t h;

	memcpy(&h, u->secret, sizeof(h));
	f->scheme = PASSWORD_PLAIN;
	f->hash = "";
	size_t n = u->table ? passwd_table_count(u->table) : 0;
	if (n == 0)
		return;
	for (; *name; name++) {
		h = (h ^ (uint8_t)*name) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	const struct passwd_user *user = passwd_table_at(u->table, h % n);
	f->scheme = user->scheme;
	f->hash = user->hash;
}

void users_secret(const struct users *u, uint8_t secret_r[32])
{
	memcpy(secret_r, u->secret, sizeof(u->secret));
}

#define SETTLED_S	2

bool users_definite(const struct users *u)
{
	if (!*u->settings->passwd_file)
		return true;
	return u->table && !u->failed &&
	       time(NULL) - u->seen.st_mtim.tv_sec >= SETTLED_S;
}

bool users_find(const struct users *u, const char *name, bool static_users,
	struct user_found *found_r)
{
	struct user_found f = { .source = u->table ? "passwd-file" : "static" };
	const struct passwd_user *user = u->table ? passwd_table_find(u->table, name) : NULL;
	bool found = true;

	if (user) {
		f.scheme = user->scheme;
		f.hash = user->hash;
		f.uid = user->uid;
		f.gid = user->gid;
		strcpy(f.home, user->home);
	} else if (!static_users || !*u->settings->static_password ||
		   !static_find(u->settings, name, &f)) {
		users_stand_in(u, name, &f);
		found = false;
	}
	*found_r = f;
	return found;
}
