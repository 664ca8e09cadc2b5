/* SPDX-License-Identifier: MIT */
/* One mailbox: finding it, by name or by id, and letting go of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/log.h"

/* File systems where inotify does not see what other hosts do, and where mtimes
 * are those of another clock. */
#define NFS_MAGIC	0x6969
#define CIFS_MAGIC	0xff534d42
#define SMB2_MAGIC	0xfe534d42
#define FUSE_MAGIC	0x65735546
#define CEPH_MAGIC	0x00c36400
#define AFS_MAGIC	0x5346414f
#define V9FS_MAGIC_NR	0x01021997
#define OCFS2_MAGIC	0x7461636f
#define GFS2_MAGIC	0x01161970

static bool is_remote(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	switch ((unsigned long)fs.f_type & 0xffffffff) {
	case NFS_MAGIC:
	case CIFS_MAGIC:
	case SMB2_MAGIC:
	case FUSE_MAGIC:
	case CEPH_MAGIC:
	case AFS_MAGIC:
	case V9FS_MAGIC_NR:
	case OCFS2_MAGIC:
	case GFS2_MAGIC:
		return true;
	default:
		return false;
	}
}

static struct mailbox *box_alloc(struct mail_store *store, const char *name, int *dir_fd)
{
	struct mailbox *box = calloc(1, sizeof(*box));

	if (!box)
		return NULL;
	box->store = store;
	box->dir_fd = fd_steal(dir_fd);
	box->list_fd = box->lock_fd = -1;
	box->remote = is_remote(box->dir_fd);
	box->name = strdup(name);
	if (!box->name)
		mailbox_close(&box);
	return box;
}

void mailbox_close(struct mailbox **boxp)
{
	struct mailbox *box = *boxp;

	if (!box)
		return;
	if (box->tmp_due)
		tmp_clean(box);
	cache_close(box);
	fd_close(&box->dir_fd);
	fd_close(&box->list_fd);
	fd_close(&box->lock_fd);
	keywords_free(box);
	free(box->name);
	free(box);
	*boxp = NULL;
}

/* What an index remembers of a mailbox of this id is from before it was
 * Dovecot's again. */
static int index_forget(struct mail_store *store, const uint8_t id[16])
{
	struct index *ix = &store->index;
	struct box_row row;
	int rc = index_check(ix);

	if (rc == 0)
		rc = index_box_get(ix, id, &row);
	if (rc || !row.box)
		return rc;
	rc = index_begin(ix, false);
	if (rc == 0)
		rc = index_box_drop(ix, row.box);
	if (rc == 0)
		rc = index_commit(ix);
	index_rollback(ix);
	return rc;
}

/* A mailbox that nobody served yet, or whose list is beyond reading: a new id
 * and UIDVALIDITY, or Dovecot's. */
static int box_adopt(struct mailbox *box, bool served)
{
	uint32_t uidvalidity = 0;
	uint8_t id[16];
	struct buf lines;
	int rc;

	buf_init(&lines, 1u << 30);
	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return -EIO;
	/* What Dovecot's list says is old if we have served the mailbox since. */
	rc = served ? 0 : dovecot_adopt(box->dir_fd, &lines, &uidvalidity, id);
	if (rc == 0 && !uidvalidity)
		rc = uidvalidity_next(box->store, &uidvalidity);
	if (rc == 0)
		rc = mailbox_dir_populate(box->dir_fd);
	if (rc == 0)
		rc = list_create(box->store, box->dir_fd, box->name, &lines, uidvalidity, id);
	buf_deinit(&lines);
	if (rc == 0)
		list_lock_name(box, id, uidvalidity);
	if (rc == 0)
		BOX_RETRY(rc, index_forget(box->store, id));
	return rc;
}

static int box_adopt_locked(struct mailbox *box, struct uidlist_line *header)
{
	int rc = list_lock(box);

	if (rc)
		return rc;
	rc = list_header(box->dir_fd, header);
	if (rc == MAILBOX_E_CORRUPT) {
		log_error("uidlist-unreadable", "mailbox=%s", log_str(box->name));
		if (renameat(box->dir_fd, UIDLIST_NAME, box->dir_fd, UIDLIST_NAME ".bad") == 0)
			rc = MAILBOX_E_NONEXISTENT;
	}
	if (rc == MAILBOX_E_NONEXISTENT) {
		bool served;

		rc = list_recover(box, &served);
		if (rc == MAILBOX_E_NONEXISTENT || (rc > 0 && !served))
			rc = box_adopt(box, served);
		if (rc == 0)
			rc = list_header(box->dir_fd, header);
	}
	list_unlock(box);
	return rc;
}

static int box_identify(struct mailbox *box)
{
	struct uidlist_line header;
	int rc = list_header(box->dir_fd, &header);

	if (rc > 0)
		rc = box_adopt_locked(box, &header);
	if (rc)
		return rc;
	memcpy(box->id, header.id, sizeof(box->id));
	box->uidvalidity = header.uid;
	return 0;
}

int mailbox_open_dir(struct mail_store *store, const char *dir, const char *name,
		     struct mailbox **box_r)
{
	cleanup_fd int fd = -1;
	struct mailbox *box;
	int rc = mailbox_dir_open(store, dir, &fd);

	if (rc)
		return rc;
	box = box_alloc(store, name, &fd);
	if (!box)
		return -ENOMEM;
	rc = box_identify(box);
	if (rc)
		mailbox_close(&box);
	else
		*box_r = box;
	return rc;
}

int mailbox_open(struct mail_store *store, const char *name, struct mailbox **box_r)
{
	char dir[MAILDIR_NAME_MAX + 1];
	int rc = mailbox_dir_name(name, dir);

	/* A name that cannot be is one that is not there. */
	if (rc)
		return rc == MAILBOX_E_NAME ? MAILBOX_E_NONEXISTENT : rc;
	return mailbox_open_dir(store, dir, strcmp(dir, ".") ? name : "INBOX", box_r);
}

/* Has the directory this id? 1, 0, or -errno. Nothing is created. A directory
 * that could not be read may be the one: to say no would tell the client that
 * its mailbox was deleted. */
static int dir_has_id(struct mail_store *store, const char *dir, const uint8_t id[16])
{
	cleanup_fd int fd = -1;
	struct uidlist_line header;
	int rc = mailbox_dir_open(store, dir, &fd);

	if (rc == 0)
		rc = list_header(fd, &header);
	if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -EIO)
		return rc;
	return rc == 0 && !memcmp(header.id, id, 16);
}

static int open_renamed(struct mail_store *store, const uint8_t id[16], struct mailbox **box_r)
{
	int fd = openat(store->mail_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int rc = MAILBOX_E_NONEXISTENT;
	struct dirent *de;
	struct buf name;

	if (!d) {
		fd_close(&fd);
		return -errno;
	}
	buf_init(&name, MAILBOX_NAME_MAX_BYTES + 1);
	while (rc == MAILBOX_E_NONEXISTENT && (de = readdir(d))) {
		int has = 0;

		if (de->d_name[0] == '.' && mailbox_name_from_dir(de->d_name, &name))
			has = dir_has_id(store, de->d_name, id);
		if (has > 0)
			rc = mailbox_open_dir(store, de->d_name, (const char *)name.data, box_r);
		else if (has < 0)
			rc = has;
	}
	buf_deinit(&name);
	closedir(d);
	return rc;
}

int mailbox_open_id(struct mail_store *store, const uint8_t id[16], const char *hint,
		    struct mailbox **box_r)
{
	char dir[MAILDIR_NAME_MAX + 1];
	int rc = 0;

	if (hint && mailbox_dir_name(hint, dir) == 0)
		rc = dir_has_id(store, dir, id);
	if (rc < 0)
		return rc;
	if (rc > 0) {
		rc = mailbox_open(store, hint, box_r);
		if (rc == 0 && memcmp((*box_r)->id, id, 16) != 0) {
			mailbox_close(box_r);	/* replaced just now */
			rc = MAILBOX_E_NONEXISTENT;
		}
		if (rc != MAILBOX_E_NONEXISTENT)
			return rc;
	}
	return open_renamed(store, id, box_r);
}

const char *mailbox_name(const struct mailbox *box)
{
	return box->name;
}

const uint8_t *mailbox_id(const struct mailbox *box)
{
	return box->id;
}

int mailbox_watch_dirs(struct mailbox *box, int fds_r[2])
{
	cleanup_fd int new_fd = openat(box->dir_fd, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int cur_fd = openat(box->dir_fd, "cur", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (new_fd < 0 || cur_fd < 0)
		return -errno;
	if (box->remote || is_remote(new_fd) || is_remote(cur_fd))
		return 0;
	fds_r[0] = fd_steal(&new_fd);
	fds_r[1] = fd_steal(&cur_fd);
	return 2;
}
