/* SPDX-License-Identifier: MIT */
#ifndef IMAP_COMMAND_H
#define IMAP_COMMAND_H
/* The command table and how a command is run. A row says what a command is and
 * when it may run; the dispatcher checks the row. After the function returns,
 * the dispatcher notes and tells what changed in the mailbox (EXPUNGE only
 * where the row allows it), then writes the tagged line.
 *
 * A function writes its untagged responses to cmd->session->stream and its
 * result with exactly one cmd_ok/no/bad (a missing one is cmd_ok). Memory from
 * session->arena is gone afterwards. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "imap/session.h"

enum command_flags {
	CMD_IN_AUTH = 1,		/* authenticated, nothing selected */
	CMD_IN_SELECTED = 2,
	CMD_ANY = 3,
	CMD_UID = 4,			/* also as UID <name> */
	CMD_NO_EXPUNGE = 8,		/* without UID: no EXPUNGE while it runs (RFC 3501 7.4.1) */
	CMD_NO_SYNC = 16,		/* tell nothing after it (LOGOUT, IDLE, SELECT ...) */
};
struct cmd {
	struct session *session;
	const char *tag;
	const char *name;
	bool uid;			/* the UID form */
	const struct imap_arg *args;	/* without FETCH of UID FETCH */
	size_t count;
	/* result */
	enum { CMD_NONE, CMD_OK, CMD_NO, CMD_BAD } result;
	const char *code;		/* "READ-ONLY", "APPENDUID 1 2": without brackets; or NULL */
	const char *text;
	bool no_tagged;			/* the function answers the tag itself later (IDLE) */
	bool expunge_issued;		/* set by FETCH/STORE/...: something asked for is gone: OK becomes NO [EXPUNGEISSUED] */
	bool seqs_used;			/* UID SEARCH with sequence numbers in it: no EXPUNGE either (RFC 7162 3.2.10.2) */
};
struct command {
	const char *name;
	unsigned flags;
	void (*fn)(struct cmd *cmd);
};
const struct command *command_find(const char *name);
void command_run(struct session *s, const struct imap_command *parsed);
/* The tagged line of cmd's result, for a command that is refused before its end. */
void command_answer(struct cmd *cmd);

void cmd_ok(struct cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cmd_no(struct cmd *cmd, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cmd_bad(struct cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The answer to a mailbox.h or -errno failure, with its response code (RFC 5530) and a log line where it is our trouble. */
void cmd_mailbox_error(struct cmd *cmd, int error);
/* Mailbox name argument -> UTF-8 in the arena; NULL: cmd_bad or cmd_no was called. */
const char *cmd_mailbox_arg(struct cmd *cmd, const struct imap_arg *arg);
/* sequence-set argument, of UIDs in the UID form, or "$" -> UIDs of the client's view in *uids.
 * False: cmd_bad or cmd_no was called. */
bool cmd_set_arg(struct cmd *cmd, const struct imap_arg *arg, struct uidset *uids);
/* RFC 3501 6.3.3: without a separator at its end, which only says that there will be mailboxes below it. */
struct mail_store;
const char *cmd_mailbox_trim(struct cmd *cmd, struct mail_store *store, const char *name);

/* cmd-*.c */
void cmd_capability(struct cmd *cmd);
void cmd_noop(struct cmd *cmd);
void cmd_logout(struct cmd *cmd);
void cmd_id(struct cmd *cmd);
void cmd_enable(struct cmd *cmd);
void cmd_idle(struct cmd *cmd);
void cmd_compress(struct cmd *cmd);
void cmd_select(struct cmd *cmd);	/* and EXAMINE: cmd->name tells */
void cmd_close(struct cmd *cmd);
void cmd_unselect(struct cmd *cmd);
void cmd_list(struct cmd *cmd);		/* and LSUB */
void cmd_subscribe(struct cmd *cmd);	/* and UNSUBSCRIBE */
void cmd_namespace(struct cmd *cmd);
void cmd_status(struct cmd *cmd);
void cmd_create(struct cmd *cmd);
void cmd_delete(struct cmd *cmd);
void cmd_rename(struct cmd *cmd);
void cmd_fetch(struct cmd *cmd);
void cmd_store(struct cmd *cmd);
void cmd_search(struct cmd *cmd);
void cmd_expunge(struct cmd *cmd);	/* and UID EXPUNGE (RFC 4315) */
void cmd_copy(struct cmd *cmd);		/* and MOVE */
void cmd_append(struct cmd *cmd);	/* runs at the end of the line */
/* At IMAP_PARSE_STREAM: the arguments so far are parsed, the message follows. Reads all
 * of the literal (or refuses it: a tagged NO instead of the continuation, returns false and the session resets the
 * parser). */
bool cmd_append_stream(struct session *s, const struct imap_command *parsed);
/* Forgets a message that was read and whose command will not be run. */
void cmd_append_abort(struct session *s);

/* IDLE's lines (cmd-idle.c): consumes complete lines of the input. */
void idle_input(struct session *s);
/* The mailbox changed, or the session was just restored, in IDLE. Returns responses written or < 0. */
int idle_news(struct session *s);
#endif
