/* SPDX-License-Identifier: MIT */
/* All of a user's mail: opening it, and warming up before there is a user. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"
#include "lib/log.h"

const char *mailbox_strerror(int error)
{
	if (error < 0)
		return strerror(-error);
	switch ((enum mailbox_error)error) {
	case MAILBOX_E_NONEXISTENT:	return "mailbox does not exist";
	case MAILBOX_E_GONE:		return "mailbox was deleted";
	case MAILBOX_E_NAME:		return "not a possible mailbox name";
	case MAILBOX_E_EXISTS:		return "mailbox exists";
	case MAILBOX_E_EXPUNGED:	return "message is gone";
	case MAILBOX_E_READONLY:	return "mailbox is read-only";
	case MAILBOX_E_NOSPACE:		return "no space left";
	case MAILBOX_E_VALIDITY:	return "UIDVALIDITY changed";
	case MAILBOX_E_CORRUPT:		return "mailbox is damaged";
	case MAILBOX_E_BUSY:		return "mailbox is in use";
	case MAILBOX_E_KEYWORDS:	return "too many keywords";
	case MAILBOX_E_FOREIGN:		return "message is kept in a form that cannot be read";
	}
	return "no error";
}

/* mkdir -p with 0700, then the directory's descriptor. */
static int dir_make(const char *path, int *fd_r)
{
	cleanup_free char *p = strdup(path);
	int fd;

	if (!p)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (char *s = p + 1; fd < 0 && errno == ENOENT; ) {
		s = strchr(s, '/');
		if (s)
			*s = '\0';
		if (mkdir(p, 0700) < 0 && errno != EEXIST && (!s || access(p, F_OK) < 0))
			return file_error(errno);
		if (!s) {
			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			break;
		}
		*s++ = '/';
		errno = ENOENT;
	}
	if (fd < 0)
		return -errno;
	*fd_r = fd;
	return 0;
}

static int store_open(struct mail_store *s)
{
	struct stat st;
	int rc = dir_make(s->mail_dir, &s->mail_fd);

	if (rc == 0)
		rc = dir_make(s->index_dir, &s->index_fd);
	if (rc == 0 && fstatat(s->mail_fd, "cur", &st, 0) < 0)
		rc = mailbox_dir_populate(s->mail_fd);
	return rc;
}

int mail_store_open(const struct mail_store_options *opt, struct mail_store **store_r)
{
	struct mail_store *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->mail_fd = s->index_fd = -1;
	s->user = strdup(opt->user);
	s->mail_dir = strdup(opt->mail_dir);
	s->index_dir = strdup(opt->index_dir);
	rc = s->user && s->mail_dir && s->index_dir ? index_init(&s->index, opt->index_dir)
						    : -ENOMEM;
	if (rc == 0)
		rc = store_open(s);
	if (rc) {
		log_error("mail-store", "user=%s mail_dir=%s index_dir=%s error=%s",
			  log_str(opt->user), log_str(opt->mail_dir), log_str(opt->index_dir),
			  log_str(mailbox_strerror(rc)));
		mail_store_close(&s);
		return rc;
	}
	*store_r = s;
	return 0;
}

void mail_store_prepare(struct mail_store *store)
{
	index_prepare(&store->index);
}

void mail_store_close(struct mail_store **store)
{
	struct mail_store *s = *store;

	if (!s)
		return;
	index_deinit(&s->index);
	fd_close(&s->mail_fd);
	fd_close(&s->index_fd);
	free(s->user);
	free(s->mail_dir);
	free(s->index_dir);
	free(s);
	*store = NULL;
}

int mail_store_index_dir(struct mail_store *store)
{
	return store->index_fd;
}

char mail_store_separator(const struct mail_store *store)
{
	return '.';
}

/* SQLite's first open allocates and initialises, its first statement faults
 * in the parser and the code generator: pages that a fork then shares. */
void mail_store_warm(void)
{
	index_warm();
}
