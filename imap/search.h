/* SPDX-License-Identifier: MIT */
#ifndef IMAP_SEARCH_H
#define IMAP_SEARCH_H
/* Search keys: parsed to a tree (search-keys.c), asked of one row at a time. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/uidset.h"

struct cmd;
struct imap_arg;
struct mail_row;
struct session;
struct search_key;

struct search {
	struct cmd *cmd;
	struct search_key *root;
	struct search_key *sets;	/* keys that hold a set, to be freed */
	bool uses_modseq, uses_size, uses_seqs;
	unsigned depth;
};
/* Keys of args[0 .. count), all of which must hold. False: cmd_bad or cmd_no was called.
 * search_deinit() is due in both cases. */
bool search_parse(struct search *q, struct cmd *cmd, const struct imap_arg *args, size_t count);
void search_deinit(struct search *q);
bool search_matches(const struct search *q, const struct mail_row *row);
#endif
