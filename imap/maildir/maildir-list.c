/* SPDX-License-Identifier: MIT */
/* LIST, and CREATE. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"

struct names {
	struct mailbox_info *v;
	size_t n, cap;
};

static int names_add(struct names *names, const char *name, size_t len, bool noselect)
{
	char *copy = strndup(name, len);

	if (names->n == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 32;
		void *v = reallocarray(names->v, cap, sizeof(*names->v));

		if (v) {
			names->v = v;
			names->cap = cap;
		}
	}
	if (!copy || names->n == names->cap) {
		free(copy);
		return -ENOMEM;
	}
	names->v[names->n++] = (struct mailbox_info){ .name = copy, .noselect = noselect };
	return 0;
}

static void names_free(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free((char *)names->v[i].name);
	free(names->v);
}

/* The mailbox, and those above it; doubles go later. */
static int names_add_path(struct names *names, const char *name)
{
	int rc = names_add(names, name, strlen(name), false);

	for (const char *dot = strchr(name, '.'); dot && rc == 0; dot = strchr(dot + 1, '.'))
		rc = names_add(names, name, (size_t)(dot - name), true);
	return rc;
}

/* The separator sorts before all else, so that children follow their parent;
 * INBOX before everything; what can be selected before its double. */
static int info_cmp(const void *a, const void *b)
{
	const struct mailbox_info *x = a, *y = b;
	const unsigned char *p = (const unsigned char *)x->name;
	const unsigned char *q = (const unsigned char *)y->name;
	bool x_inbox = !strcmp(x->name, "INBOX"), y_inbox = !strcmp(y->name, "INBOX");

	if (x_inbox != y_inbox)
		return x_inbox ? -1 : 1;
	while (*p && *p == *q)
		p++, q++;
	if (*p != *q)
		return (*p == '.' ? 1 : *p) - (*q == '.' ? 1 : *q);
	return x->noselect - y->noselect;
}

static bool is_child(const char *name, const char *of)
{
	size_t len = strlen(of);

	return !strncmp(name, of, len) && name[len] == '.';
}

static int names_read(struct mail_store *store, struct names *names)
{
	int fd = openat(store->mail_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	struct buf name;
	int rc;

	if (!d) {
		fd_close(&fd);
		return -errno;
	}
	buf_init(&name, MAILBOX_NAME_MAX_BYTES + 1);
	rc = names_add(names, "INBOX", 5, false);
	while (rc == 0 && (de = readdir(d))) {
		cleanup_fd int box_fd = -1;

		if (de->d_name[0] == '.' && de->d_name[1] != '\0' &&
		    mailbox_name_from_dir(de->d_name, &name) &&
		    mailbox_dir_open(store, de->d_name, &box_fd) == 0)
			rc = names_add_path(names, (const char *)name.data);
	}
	buf_deinit(&name);
	closedir(d);
	return rc;
}

int mail_store_list(struct mail_store *store,
		    int (*fn)(void *ctx, const struct mailbox_info *info), void *ctx)
{
	struct names names = { 0 };
	int rc = names_read(store, &names);
	size_t next;

	if (rc == 0)
		qsort(names.v, names.n, sizeof(names.v[0]), info_cmp);
	for (size_t i = 0; rc == 0 && i < names.n; i = next) {
		struct mailbox_info *info = &names.v[i];

		for (next = i + 1; next < names.n && !strcmp(names.v[next].name, info->name); )
			next++;
		/* Behind INBOX come all others, its children anywhere. */
		for (size_t j = next; j < names.n && !info->has_children; j++) {
			info->has_children = is_child(names.v[j].name, info->name);
			if (i > 0)
				break;
		}
		rc = fn(ctx, info);
	}
	names_free(&names);
	return rc;
}

/* ---- CREATE ---- */

static int box_make(struct mail_store *store, int fd, const char *name)
{
	uint32_t uidvalidity;
	uint8_t id[16];
	int rc;

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return -EIO;
	rc = mailbox_dir_mark(fd);
	if (rc == 0)
		rc = uidvalidity_next(store, &uidvalidity);
	if (rc == 0)
		rc = list_create(store, fd, name, NULL, uidvalidity, id);
	/* cur/ comes last and makes it a mailbox. */
	return rc ? rc : mailbox_dir_populate(fd);
}

int mail_store_create(struct mail_store *store, const char *name)
{
	char dir[MAILDIR_NAME_MAX + 1];
	cleanup_free char *plain = strdup(name);
	size_t len = strlen(name);
	cleanup_fd int fd = -1;
	struct stat st, index_st;
	int rc;

	if (!plain)
		return -ENOMEM;
	/* RFC 9051 6.3.4: a separator at the end says only that there will be
	   mailboxes below. */
	if (len > 1 && plain[len - 1] == '.')
		plain[len - 1] = '\0';
	rc = mailbox_dir_name(plain, dir);
	if (rc)
		return rc;
	if (!strcmp(dir, "."))
		return MAILBOX_E_EXISTS;
	if (mkdirat(store->mail_fd, dir, 0700) < 0 && errno != EEXIST)
		return errno == ENAMETOOLONG ? MAILBOX_E_NAME : file_error(errno);
	fd = openat(store->mail_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (fstatat(fd, "cur", &st, 0) == 0)
		return MAILBOX_E_EXISTS;
	if (fstat(fd, &st) == 0 && fstat(store->index_fd, &index_st) == 0 &&
	    st.st_ino == index_st.st_ino && st.st_dev == index_st.st_dev)
		return MAILBOX_E_NAME;
	rc = box_make(store, fd, plain);
	return rc ? rc : dir_fsync(store->mail_fd, ".");
}
