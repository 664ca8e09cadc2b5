/* SPDX-License-Identifier: MIT */
/* RENAME: a mailbox keeps its id and UIDs, its children go with it. INBOX is
 * another matter: its messages move, itself stays (RFC 9051 6.3.6). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/log.h"

/* ---- mailboxes but INBOX ---- */

struct dirs {
	char **v;
	size_t n;
};

static void dirs_free(struct dirs *dirs)
{
	for (size_t i = 0; i < dirs->n; i++)
		free(dirs->v[i]);
	free(dirs->v);
}

static int dirs_add(struct dirs *dirs, const char *name)
{
	char **v = reallocarray(dirs->v, dirs->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	dirs->v = v;
	v[dirs->n] = strdup(name);
	if (!v[dirs->n])
		return -ENOMEM;
	dirs->n++;
	return 0;
}

/* dir itself and what is below it. */
static int dirs_read(struct mail_store *store, const char *dir, struct dirs *dirs)
{
	int fd = openat(store->mail_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t len = strlen(dir);
	struct dirent *de;
	int rc = 0;

	if (!d) {
		fd_close(&fd);
		return -errno;
	}
	while (rc == 0 && (de = readdir(d))) {
		if (!strncmp(de->d_name, dir, len) &&
		    (de->d_name[len] == '\0' || de->d_name[len] == '.'))
			rc = dirs_add(dirs, de->d_name);
	}
	closedir(d);
	return rc;
}

static int rename_all(struct mail_store *store, const struct dirs *dirs, size_t old_len,
		      const char *to)
{
	char name[2 * MAILDIR_NAME_MAX + 1];

	for (size_t i = 0; i < dirs->n; i++) {
		if (strlen(dirs->v[i]) - old_len > MAILDIR_NAME_MAX - strlen(to))
			return MAILBOX_E_NAME;
	}
	for (size_t i = 0; i < dirs->n; i++) {
		snprintf(name, sizeof(name), "%s%s", to, dirs->v[i] + old_len);
		if (renameat2(store->mail_fd, dirs->v[i], store->mail_fd, name,
			      RENAME_NOREPLACE) < 0)
			return errno == EEXIST ? MAILBOX_E_EXISTS : file_error(errno);
	}
	return dir_fsync(store->mail_fd, ".");
}

static bool dirs_have(const struct dirs *dirs, const char *name)
{
	for (size_t i = 0; i < dirs->n; i++) {
		if (!strcmp(dirs->v[i], name))
			return true;
	}
	return false;
}

/* Would one of old come where another mailbox is? The target itself may be a
 * name above mailboxes that is none (RFC 5258 3: \NonExistent). */
static bool in_the_way(const struct dirs *old, size_t old_len, const struct dirs *target,
		       const char *to)
{
	char name[2 * MAILDIR_NAME_MAX + 1];

	for (size_t i = 0; i < old->n; i++) {
		snprintf(name, sizeof(name), "%s%s", to, old->v[i] + old_len);
		if (dirs_have(target, name) && !dirs_have(old, name))
			return true;
	}
	return false;
}

static int by_length(const void *a, const void *b)
{
	size_t x = strlen(*(char *const *)a), y = strlen(*(char *const *)b);

	return x < y ? -1 : x > y;
}

static int rename_tree(struct mail_store *store, const char *from, const char *to)
{
	struct dirs old = { 0 }, target = { 0 };
	size_t from_len = strlen(from);
	int rc = dirs_read(store, from, &old);

	if (rc == 0)
		rc = dirs_read(store, to, &target);
	if (rc == 0 && old.n == 0)
		rc = MAILBOX_E_NONEXISTENT;
	/* Not into itself. */
	else if (rc == 0 && !strncmp(to, from, from_len) && to[from_len] == '.')
		rc = MAILBOX_E_NAME;
	else if (rc == 0 && in_the_way(&old, from_len, &target, to))
		rc = MAILBOX_E_EXISTS;
	/* Up into what is above it: each makes room for a longer one. */
	if (rc == 0)
		qsort(old.v, old.n, sizeof(old.v[0]), by_length);
	if (rc == 0)
		rc = rename_all(store, &old, from_len, to);
	dirs_free(&old);
	dirs_free(&target);
	return rc;
}

/* ---- INBOX ---- */

/* The new mailbox's list says beforehand which UIDs the messages will have:
 * a crash in mid-move leaves each of them in one of the two. */
static int inbox_lines(struct change *c, struct buf *lines)
{
	struct mailbox *box = c->box;
	uint32_t uid = 0, new_uid = 1;
	struct msg batch[16];
	int n;

	for (uint32_t i = 0; i < box->n_keywords; i++) {
		const struct keyword *k = &box->keywords[i];

		uidlist_line_write(lines, &(struct uidlist_line){
			.kind = UIDLIST_KEYWORD, .uid = i,
			.letter = k->letter < 0 ? '-' : (char)('a' + k->letter),
			.text = k->name, .text_len = strlen(k->name) });
	}
	while ((n = index_msg_range(&box->store->index, c->row.box, uid + 1, UINT32_MAX, false,
				    batch, 16)) > 0) {
		for (int i = 0; i < n; i++) {
			uid = batch[i].uid;
			batch[i].uid = new_uid++;
			uidlist_line_write(lines, &(struct uidlist_line){
				.kind = UIDLIST_UID, .uid = batch[i].uid,
				.text = batch[i].base, .text_len = strlen(batch[i].base) });
			if (keywords_beyond_letters(box, batch[i].keywords))
				change_keywords_line(c, &batch[i]);
		}
	}
	/* K lines were gathered where changes gather theirs. */
	buf_append(lines, c->lines.data, c->lines.len);
	buf_reset(&c->lines);
	return n < 0 ? n : lines->failed ? -ENOMEM : 0;
}

static int inbox_move(struct change *c, int to_fd)
{
	struct index *ix = &c->box->store->index;
	struct msg batch[16];
	uint32_t uid = 0;
	int n, rc = 0;

	while (rc == 0 && (n = index_msg_range(ix, c->row.box, uid + 1, UINT32_MAX, false,
					       batch, 16)) > 0) {
		for (int i = 0; i < n && rc == 0; i++) {
			char path[2 * MAILDIR_NAME_MAX + 8];

			uid = batch[i].uid;
			snprintf(path, sizeof(path), "%s/%s%s", dir_names[batch[i].dir],
				 batch[i].base, batch[i].info);
			if (renameat(c->box->dir_fd, path, to_fd, path) < 0) {
				if (errno != ENOENT)
					rc = file_error(errno);
				continue;	/* the next sync will know */
			}
			rc = index_msg_expunge(ix, &c->row, &batch[i], change_modseq(c));
			change_line(c, &(struct uidlist_line){ .kind = UIDLIST_GONE,
				.uid = uid, .last = uid }, false);
		}
	}
	return rc ? rc : n < 0 ? n : 0;
}

static int inbox_to(struct change *c, const char *dir, const char *name)
{
	struct mail_store *store = c->box->store;
	cleanup_fd int fd = -1;
	struct buf lines;
	uint32_t uidvalidity;
	uint8_t id[16];
	int rc;

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return -EIO;
	if (mkdirat(store->mail_fd, dir, 0700) < 0)
		return errno == EEXIST ? MAILBOX_E_EXISTS : file_error(errno);
	fd = openat(store->mail_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	buf_init(&lines, 1u << 30);
	rc = mailbox_dir_mark(fd);
	if (rc == 0)
		rc = inbox_lines(c, &lines);
	if (rc == 0)
		rc = uidvalidity_next(store, &uidvalidity);
	if (rc == 0)
		rc = list_create(store, fd, name, &lines, uidvalidity, id);
	buf_deinit(&lines);
	if (rc == 0)
		rc = mailbox_dir_populate(fd);
	return rc ? rc : inbox_move(c, fd);
}

static int rename_inbox(struct mail_store *store, const char *dir, const char *name)
{
	struct mailbox *box;
	struct change c;
	int rc = mailbox_open(store, "INBOX", &box), done;

	if (rc)
		return rc;
	rc = change_begin(box, false, true, &c);
	if (rc == 0) {
		rc = sync_in_change(&c, true);
		if (rc == 0)
			rc = inbox_to(&c, dir, name);
		done = change_commit(&c);
		rc = rc ? rc : done;
	}
	mailbox_close(&box);
	return rc;
}

int mail_store_rename(struct mail_store *store, const char *from, const char *to)
{
	char from_dir[MAILDIR_NAME_MAX + 1], to_dir[MAILDIR_NAME_MAX + 1];
	int rc = mailbox_dir_name(from, from_dir);

	if (rc)
		return MAILBOX_E_NONEXISTENT;
	rc = mailbox_dir_name(to, to_dir);
	if (rc)
		return rc;
	if (!strcmp(to_dir, ".") || !strcmp(from_dir, to_dir))
		return MAILBOX_E_EXISTS;
	rc = strcmp(from_dir, ".") ? rename_tree(store, from_dir, to_dir)
				   : rename_inbox(store, to_dir, to);
	if (rc == 0)
		log_info("mailbox-renamed", "user=%s from=%s to=%s", log_str(store->user),
			 log_str(from), log_str(to));
	return rc;
}
