/* SPDX-License-Identifier: MIT */
#ifndef MASTER_DELIVER_H
#define MASTER_DELIVER_H
/* A message into a Maildir, safely: written to tmp, on disk, then renamed. */
#include <stdint.h>

/* The directory of mailbox (UTF-8, "INBOX" or with '.' between levels) in
 * maildir. 0, -EINVAL (no possible name), -ENAMETOOLONG. */
int deliver_mailbox_dir(const char *maildir, const char *mailbox, char *dir,
			uint32_t size);
/* mail with its ~ and %u filled in. 0, -EINVAL, -ENAMETOOLONG. */
int deliver_mail_dir(const char *mail, const char *user, const char *home, char *dir,
		     uint32_t size);
/* Reads the message from fd to its end, CR LF becoming LF, and stores it. The
 * directory is opened into *dir_fd_r on success, for the caller to close. 0;
 * -ENODATA: empty; -errno. name_r: the file's name in new. */
int deliver_store(const char *dir, int fd, char name_r[256], int *dir_fd_r);
/* tmp, new, cur in dir, itself included. 0 or -errno. */
int deliver_make_maildir(const char *dir);
#endif
