/* SPDX-License-Identifier: MIT */
/* export-uidlist MAIL-DIR INDEX-DIR: gives a Maildir back to Dovecot. Started
 * by `dormouse export-uidlist`, as the mail's owner. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imap/mailbox.h"
#include "imap/maildir/maildir-export.h"
#include "lib/log.h"
#include "lib/sandbox.h"

static int on_mailbox(void *ctx, const struct mailbox_export *e)
{
	(void)ctx;
	if (e->error)
		fprintf(stderr, "%s: %s\n", e->name, mailbox_strerror(e->error));
	else
		printf("%s: uidvalidity %u, %u messages, %u keywords\n", e->name, e->uidvalidity,
		       e->messages, e->keywords);
	if (!e->error && e->keywords_lost)
		fprintf(stderr, "%s: %u keywords have no letter and are left out (Dovecot keeps "
			"26 in a Maildir)\n", e->name, e->keywords_lost);
	return 0;
}

/* An index directory that is not there is made: in the mail directory, or by
 * the server before. */
static int restrict_files(const char *mail_dir, const char *index_dir)
{
	const struct sandbox_path paths[] = {
		{ mail_dir, SANDBOX_READ | SANDBOX_WRITE },
		{ index_dir, SANDBOX_READ | SANDBOX_WRITE },
	};
	int rc = sandbox_basics();

	if (rc == 0)
		rc = sandbox_landlock(paths, access(index_dir, F_OK) == 0 ? 2 : 1);

	return rc == -ENOSYS || rc == -EOPNOTSUPP ? 0 : rc;
}

/* What an index says of mailboxes that are Dovecot's again is of no use, and in
 * the mail directory Dovecot would take its directory for a mailbox. */
static void index_remove(const char *index_dir)
{
	DIR *d = opendir(index_dir);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		if (!strncmp(de->d_name, "index.db", 8) || !strncmp(de->d_name, "view-", 5))
			unlinkat(dirfd(d), de->d_name, 0);
	}
	if (d)
		closedir(d);
	rmdir(index_dir);	/* if there is nothing else in it */
}

int main(int argc, char **argv)
{
	struct mail_store_options opt = { .user = "-" };
	struct mail_store *store;
	int rc;

	log_open("export-uidlist", LOG_TO_STDERR, LOG_L_WARN);
	if (argc != 3) {
		fprintf(stderr, "usage: export-uidlist MAIL-DIR INDEX-DIR\n");
		return 2;
	}
	opt.mail_dir = argv[1];
	opt.index_dir = argv[2];
	rc = restrict_files(opt.mail_dir, opt.index_dir);
	if (rc == 0)
		rc = mail_store_open(&opt, &store);
	if (rc == 0) {
		rc = mail_store_export(store, on_mailbox, NULL);
		mail_store_close(&store);
		if (rc == 0)
			index_remove(opt.index_dir);
	}
	if (rc)
		fprintf(stderr, "%s: %s\n", opt.mail_dir, mailbox_strerror(rc));
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
