/* SPDX-License-Identifier: MIT */
/* SEARCH in a large mailbox: flags that all matches must have, or lack, are not
 * asked of each message but of the sets that the mailbox keeps. */
#include "imap/search.h"

#include <errno.h>

#include "imap/command.h"
#include "imap/mailbox.h"

static bool is_flag(const struct search_key *k)
{
	return k->type == KEY_FLAG && (k->number & (k->number - 1)) == 0;
}

/* 1: uids are narrowed by it; 0: it is still to be asked. */
static int narrow_by(struct search *q, const struct search_key *k, struct uidset *uids)
{
	bool has = k->type != KEY_NOT;
	struct uidset set;
	int ret;

	if (k->type == KEY_ALL)
		return 1;
	if (k->type == KEY_UIDS) {
		ret = uidset_intersect(uids, &k->set);
		return ret != 0 ? ret : 1;
	}
	if (!has)
		k = k->children;
	if (!is_flag(k))
		return 0;
	uidset_init(&set);
	ret = mailbox_uids_by_flag(q->cmd->session->box, (enum mail_flag)k->number, has, &set);
	if (ret == 0)
		ret = uidset_intersect(uids, &set);
	uidset_deinit(&set);
	return ret > 0 ? -EIO : ret < 0 ? ret : 1;
}

int search_narrow(struct search *q, struct uidset *uids, struct uidset *gone, bool *decided_r)
{
	const struct uidset *view = &q->cmd->session->view.uids;
	bool all_of = q->root->type == KEY_AND, decided = true;
	const struct search_key *k = all_of ? q->root->children : q->root;
	int ret = mailbox_uids(q->cmd->session->box, uids);

	if (ret == 0)
		ret = uidset_intersect(uids, view);
	if (ret == 0)
		ret = uidset_copy(gone, view);
	if (ret == 0)
		ret = uidset_remove_set(gone, uids);
	for (; k != NULL && ret == 0; k = all_of ? k->next : NULL) {
		ret = narrow_by(q, k, uids);
		decided &= ret == 1;
		ret = ret > 0 ? 0 : ret;
	}
	*decided_r = decided;
	return ret;
}
