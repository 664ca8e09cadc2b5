/* SPDX-License-Identifier: MIT */
#ifndef IMAP_FLAGS_H
#define IMAP_FLAGS_H
/* Flags as a client writes them: STORE, APPEND, SEARCH KEYWORD. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmd;
struct imap_arg;
struct flag_list {
	uint32_t flags;			/* enum mail_flag */
	const char **keywords;		/* in the arena, none twice */
	size_t n_keywords;
};
/* Of args[0 .. count), each one flag. False: cmd_bad or cmd_no was called. */
bool flag_list_parse(struct cmd *cmd, const struct imap_arg *args, size_t count,
		     struct flag_list *list_r);
/* Could it be a keyword's name? */
bool flag_is_keyword(const struct imap_arg *arg);
#endif
