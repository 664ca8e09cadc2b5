/* SPDX-License-Identifier: MIT */
#ifndef MASTER_DORMOUSE_H
#define MASTER_DORMOUSE_H
/* The `dormouse` command: one function for each subcommand. */
#include <stdbool.h>
#include <stdio.h>

struct config;

/* Exit statuses. */
#define DORMOUSE_OK	0
#define DORMOUSE_FAILED	1
#define DORMOUSE_USAGE	2

struct invocation {
	const struct command *command;
	const char *config_file;
	const char *base_dir;	/* -b: instead of the configuration's */
	bool json, foreground, now, keep;
	const char *user, *maildir;	/* deliver */
	int argc;		/* what is left after the options */
	char **argv;
};
struct command {
	const char *name, *args, *summary, *help;
	int min_args, max_args;
	const char *options;	/* letters beside c, b and h: F J N u m */
	int (*fn)(struct invocation *inv);
	const char *verb;	/* for those that ask the running server */
};
/* "dormouse: ..." on standard error. Returns DORMOUSE_FAILED. */
int dormouse_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Reads the configuration; its complaint goes to standard error. 0 or -errno. */
int dormouse_config(const struct invocation *inv, struct config *config);

/* Where the program called name is: see dormouse-start.c. 0 or -errno. */
int dormouse_program(const char *name, char *path, size_t size);

int cmd_start(struct invocation *inv);		/* dormouse-start.c */
int cmd_check_config(struct invocation *inv);
int cmd_ask(struct invocation *inv);		/* dormouse-ask.c */
int cmd_stop(struct invocation *inv);
int cmd_upgrade(struct invocation *inv);
int cmd_state_dump(struct invocation *inv);	/* dormouse-state.c */
int cmd_deliver(struct invocation *inv);	/* dormouse-deliver.c */
int cmd_export_uidlist(struct invocation *inv);	/* dormouse-export.c */
#endif
