/* SPDX-License-Identifier: MIT */
/* DELETE. The directory first gets a name that is no mailbox's, then its list
 * goes, by which sessions that have it open know, then the rest. What a crash
 * leaves is swept up by the next DELETE. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define DYING_PREFIX	"..dormouse-deleted-"
#define DEPTH_MAX	8
#define RMDIR_TRIES	20

static int remove_tree(int parent_fd, const char *name, int depth)
{
	cleanup_fd int fd = openat(parent_fd, name,
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	int rc = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	fd_steal(&fd);
	while ((de = readdir(d))) {
		const char *n = de->d_name;

		if (!strcmp(n, ".") || !strcmp(n, ".."))
			continue;
		if (unlinkat(dirfd(d), n, 0) == 0 || errno == ENOENT)
			continue;
		rc = (errno == EISDIR || errno == EPERM) && depth < DEPTH_MAX
			? remove_tree(dirfd(d), n, depth + 1) : -errno;
		if (rc)
			break;
	}
	closedir(d);
	if (rc == 0 && unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

/* A delivery may put a file there while we remove. */
static int remove_dying(struct mail_store *store, const char *dir)
{
	int rc = -ENOTEMPTY;

	for (int i = 0; i < RMDIR_TRIES && (rc == -ENOTEMPTY || rc == -EEXIST); i++)
		rc = remove_tree(store->mail_fd, dir, 0);
	return rc;
}

static void sweep(struct mail_store *store)
{
	int fd = openat(store->mail_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		fd_close(&fd);
		return;
	}
	while ((de = readdir(d))) {
		if (!strncmp(de->d_name, DYING_PREFIX, strlen(DYING_PREFIX)))
			remove_dying(store, de->d_name);
	}
	closedir(d);
}

static void forget(struct mail_store *store, const uint8_t id[16])
{
	struct index *ix = &store->index;
	struct box_row row;
	int rc = index_begin(ix, false);

	if (rc == 0)
		rc = index_box_get(ix, id, &row);
	if (rc == 0 && row.box)
		rc = index_box_drop(ix, row.box);
	if (rc == 0)
		index_commit(ix);
	index_rollback(ix);
}

static int delete_locked(struct mailbox *box, const char *dir)
{
	struct mail_store *store = box->store;
	char dying[MAILDIR_NAME_MAX + 1];
	struct stat by_fd, by_name;

	/* Still the one that was opened? */
	if (fstat(box->dir_fd, &by_fd) < 0 || fstatat(store->mail_fd, dir, &by_name, 0) < 0 ||
	    by_fd.st_ino != by_name.st_ino)
		return MAILBOX_E_NONEXISTENT;
	snprintf(dying, sizeof(dying), DYING_PREFIX);
	for (size_t i = 0; i < sizeof(box->id); i++)
		snprintf(dying + strlen(dying), sizeof(dying) - strlen(dying), "%02x",
			 box->id[i]);
	if (renameat(store->mail_fd, dir, store->mail_fd, dying) < 0)
		return file_error(errno);
	unlinkat(box->dir_fd, UIDLIST_NAME, 0);
	return dir_fsync(store->mail_fd, ".");
}

int mail_store_delete(struct mail_store *store, const char *name)
{
	char dir[MAILDIR_NAME_MAX + 1];
	struct mailbox *box;
	uint8_t id[16];
	int rc = mailbox_open(store, name, &box);

	if (rc == 0)
		rc = mailbox_dir_name(name, dir);
	else
		return rc;
	if (rc == 0 && !strcmp(dir, "."))
		rc = MAILBOX_E_NAME;	/* RFC 9051 6.3.5: never INBOX */
	if (rc == 0)
		rc = list_lock(box);
	if (rc == 0) {
		rc = delete_locked(box, dir);
		list_unlock(box);
	}
	memcpy(id, box->id, sizeof(id));
	mailbox_close(&box);
	if (rc == 0) {
		sweep(store);
		forget(store, id);
		log_info("mailbox-deleted", "user=%s mailbox=%s", log_str(store->user),
			 log_str(name));
	}
	return rc;
}
