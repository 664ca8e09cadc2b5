/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_SYNC_H
#define IMAP_MAILDIR_SYNC_H
/* Between maildir-sync.c, which finds the difference, and maildir-apply.c. */
#include "imap/maildir/maildir-scan.h"

struct uid_list {
	uint32_t *uids;
	size_t n, cap;
};
struct sync {
	struct change *c;
	struct scan scan;
	bool full;			/* cur/ was read too */
	bool unchanged;			/* by the sum of all names */
	bool changed_dir;		/* we did: the stamps are void */
	bool left_out;			/* something waits for the next sync */
	struct uid_list missing;	/* UIDs whose file was not found */
	struct uid_list moved;		/* UIDs whose file has another name now, */
	struct uid_list moved_to;	/* and which entry of the scan that is */
};
/* Entries of the scan that are not matched are new. */
int sync_apply(struct sync *y);
#endif
