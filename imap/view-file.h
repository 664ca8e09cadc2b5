/* SPDX-License-Identifier: MIT */
#ifndef IMAP_VIEW_FILE_H
#define IMAP_VIEW_FILE_H
/* UIDs of a large view, outside the state: one sealed file per sleep in the
 * user's index directory, `view-SID-N`. Two states of a session can be good at
 * once (equal counts), so a file is removed only when a newer sleep was
 * acknowledged or the session ends. */
#include <stdint.h>
#include "lib/seal.h"
#include "lib/uidset.h"
/* Writes it; name_r is heap. 0 or -errno. */
int view_file_write(int dir_fd, uint64_t sid, uint64_t n, const struct seal_key *key,
		    const struct uidset *uids, char **name_r, uint64_t *bytes_r);
/* 0; -ENOENT; -EBADMSG: not what was written; -errno. */
int view_file_read(int dir_fd, const char *name, uint64_t bytes, uint64_t sid,
		   const struct seal_key *key, struct uidset *uids_r);
/* Removes those of this session's sleeps before the n-th; UINT64_MAX: all. One
 * who speaks of his own n cannot take a newer one away, however late he is. */
void view_file_forget(int dir_fd, uint64_t sid, uint64_t n);
#endif
