/* SPDX-License-Identifier: MIT */
/* The way is gone step by step, as the kernel goes it, since realpath() does
 * not say over whose links it went. What changes after that is the owner's own
 * doing, with whose rights all the rest happens; only for root's own
 * directories nobody else may be able to change anything. */
#include "master/owned-dir.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* As many as the kernel follows. */
#define LINKS_MAX	40

/* Somebody else than root could put another thing in the place of what is in it. */
static bool is_shared(const struct stat *st)
{
	return st->st_uid != 0 || ((st->st_mode & 022) && !(st->st_mode & S_ISVTX));
}

/* path[0..end) is a link: what it says, with the rest behind it, in its place. */
static int link_follow(char path[PATH_MAX], size_t end)
{
	char target[PATH_MAX], rest[PATH_MAX];
	size_t dir;
	ssize_t n;
	int len;

	snprintf(rest, sizeof(rest), "%s", path + end);
	path[end] = '\0';
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	dir = target[0] == '/' ? 0 : (size_t)(strrchr(path, '/') - path) + 1;
	len = snprintf(path + dir, PATH_MAX - dir, "%s%s", target, rest);
	return len < 0 || (size_t)len >= PATH_MAX - dir ? -ENAMETOOLONG : 0;
}

/* The link that path goes over first: 1 and where it ends, or 0. */
static int first_link(const char *path, uid_t owner, size_t *end_r)
{
	struct stat st;
	char part[PATH_MAX];

	for (size_t at = 1; path[at - 1] != '\0'; at += strcspn(path + at, "/") + 1) {
		size_t end = at + strcspn(path + at, "/");

		snprintf(part, sizeof(part), "%.*s", (int)end, path);
		if (lstat(part, &st) < 0)
			return -errno;
		if (S_ISLNK(st.st_mode)) {
			*end_r = end;
			return st.st_uid == 0 || st.st_uid == owner ? 1 : -ELOOP;
		}
		if (owner == 0 && is_shared(&st))
			return -EPERM;
		if (path[end] == '\0')
			return 0;
	}
	return 0;
}

static int way_check(const char *dir, uid_t owner)
{
	char path[PATH_MAX], cwd[PATH_MAX] = "";
	size_t end = 0;
	int ret;

	if (dir[0] != '/' && getcwd(cwd, sizeof(cwd)) == NULL)
		return -errno;
	if (snprintf(path, sizeof(path), "%s%s%s", cwd, *cwd ? "/" : "", dir) >= PATH_MAX)
		return -ENAMETOOLONG;
	for (int n = 0; n <= LINKS_MAX; n++) {
		ret = first_link(path, owner, &end);
		if (ret <= 0)
			return ret;
		ret = link_follow(path, end);
		if (ret < 0)
			return ret;
	}
	return -ELOOP;
}

int owned_dir_find(const char *dir, struct owned_dir *d)
{
	cleanup_free char *path = realpath(dir, NULL);
	struct stat st;

	if (path == NULL || lstat(path, &st) < 0)
		return -errno;
	if (strlen(path) >= sizeof(d->path))
		return -ENAMETOOLONG;
	strcpy(d->path, path);
	d->uid = st.st_uid;
	d->gid = st.st_gid;
	return geteuid() == 0 ? way_check(dir, st.st_uid) : 0;
}
