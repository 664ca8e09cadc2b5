/* SPDX-License-Identifier: MIT */
#ifndef IMAP_SESSION_H
#define IMAP_SESSION_H
/* One session of one user: its stream, its mailbox, its command. The process
 * has no other; it may wait for its client in the middle of a command. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/arena.h"
#include "lib/buf.h"
#include "lib/fence.h"
#include "lib/imap-parser.h"
#include "lib/loop.h"
#include "lib/seal.h"
#include "lib/settings.h"
#include "lib/stream.h"
#include "imap/mailbox.h"
#include "imap/view.h"
#include "state/state.h"
#include "state/ticket.h"

struct holder_link;
struct tls_crypto;

/* Keepalives that were prepared for a sleep, and what is left of them. They are spent once made. */
struct keepalives {
	uint64_t base;			/* bytes written when they were made */
	uint16_t len[KEEPALIVES_MAX];
	uint32_t count;			/* 0: none */
	uint8_t bytes[KEEPALIVES_MAX * KEEPALIVE_MAX_BYTES];
	uint32_t total;			/* sum of len */
};

struct session {
	const struct settings *set;
	struct loop *loop;
	struct loop_io client_io;
	struct stream *stream;
	struct tls_crypto *crypto;	/* the process's; NULL in tests */
	struct imap_parser *parser;
	struct arena *arena;		/* dies with each command */

	/* who */
	struct ticket ticket;
	uint8_t ticket_packed[TICKET_MAX_BYTES];
	size_t ticket_len;
	struct seal_key key;		/* K_s */
	char *mail_dir, *index_dir;
	char *remote_ip, *local_ip;
	uint16_t remote_port, local_port;
	uint64_t login_time;		/* unix seconds */
	uint64_t commands, sleeps;

	/* mail */
	struct mail_store *store;	/* NULL until first used: session_store() */
	struct mailbox *box;		/* NULL: nothing selected, or see below */
	struct session_state *unrestored;	/* woken, and nobody has needed the mailbox yet:
						   the state that has it, `selected` */
	struct view view;
	bool readonly;
	struct buf carried;		/* state of a later version: goes back to sleep with us */
	uint32_t enabled;		/* enum state_enabled */
	uint64_t capabilities_asleep;	/* woken: as they were; 0 none */

	/* IDLE (RFC 2177) */
	char *idle_tag;			/* NULL: not in IDLE */
	bool idle_skip_line;		/* garbage was answered; drop until LF */

	/* the holder */
	struct holder_link *holder;
	struct keepalives ka;
	struct loop_timer sleep_timer, keepalive_timer, retry_timer;
	uint64_t last_activity_ms;
	bool changed;			/* a CHANGED came since the last comparison */
	bool sleep_wanted;		/* operator asked */
	uint64_t replace_by_ms;		/* an upgrade: asleep by then, or BYE; 0: no */
	struct loop_timer replace_timer;
	bool window_told;		/* the log was told that it is too large to sleep */

	struct append *append;		/* cmd-append.c: a message is read, its command not yet */

	/* ending */
	bool logout;			/* the tagged OK of LOGOUT is written: end */
	bool dead;			/* the stream failed or the client left */
	const char *end_reason;		/* for the log line */
};

/* The mail store, opened when first needed. 0 or mailbox error. */
int session_store(struct session *s, struct mail_store **store_r);
/* A session that woke for its client's word alone has its mailbox restored when
 * something first needs it: session_mailbox() does, before s->box is looked at.
 * 0; else a mailbox error or -errno, and either BYE was said (s->logout) or it
 * may be tried again. */
int session_mailbox(struct session *s);
/* Of the selected mailbox, restored or not; "" if none is selected. */
const char *session_mailbox_name(const struct session *s);
/* Ends the session after what is written now: `* BYE text`. reason is for the log. */
void session_bye(struct session *s, const char *code, const char *text, const char *reason);
/* Closes the selected mailbox, if any (no expunge); tells `* OK [CLOSED]` if tell_closed (RFC 7162 3.2.11). */
void session_unselect(struct session *s, bool tell_closed);
/* "192.0.2.7:4711" or "[2001:db8::1]:4711", for labels. Static buffer. */
const char *session_remote(const struct session *s);
/* The text after CAPABILITY, for the session as it is. */
const char *session_capabilities(const struct session *s);
uint64_t session_capabilities_hash(const struct session *s);
/* A woken session has others than it had (reload, upgrade): tells them, once. */
void session_tell_capabilities(struct session *s);
bool session_condstore(const struct session *s);	/* CONDSTORE or QRESYNC enabled */
/* Turn CONDSTORE on by an enabling command (RFC 7162 3.1): writes HIGHESTMODSEQ when a mailbox is selected. */
void session_enable_condstore(struct session *s);
/* Handles what is in the input buffer, and what layers keep. */
void session_input(struct session *s);
/* Has the client sent something that was not read yet? */
bool session_input_waits(const struct session *s);
/* The client's socket is readable: reads, and handles what was read. */
void session_readable(struct session *s);
/* Until the session ends. Returns when the process should exit. */
void session_run(struct session *s);
/* Has the loop watch the client. 0 or -errno. */
int session_listen(struct session *s);
void session_start_timers(struct session *s);

/* ---- hibernate.c ---- */
/* Why it may not sleep now; NULL if it may. */
const char *hibernate_refusal(struct session *s);
/* Steps 1-6 of doc/handover.md. Does not return when the session sleeps (the process exits).
 * Returns why not otherwise, and the session goes on. */
const char *hibernate_try(struct session *s);
/* Unlinks this session's view files (imap/view-file.h), but the one of its newest sleep. */
void hibernate_forget_views(struct session *s);
/* Keepalives were made: what of them is not written yet goes before the next
 * byte of output. 0, or -errno: then nothing may be written at all. */
int keepalives_arm(struct session *s);

/* ---- wake.c ---- */
/* Step 10: rebuild from the unsealed state, features first, mailbox second.
 * 0; -errno (try again later); or a mailbox error or WAKE_E_*: *bye_r is then
 * the reason for the client, in plain words. later: the mailbox may wait for
 * session_mailbox(). */
enum wake_error {
	WAKE_E_VIEW_LOST = 100,		/* the view file is gone or not ours */
	WAKE_E_STATE,			/* the state contradicts the message or the ticket */
};
int wake_restore(struct session *s, struct session_state *st, bool later,
		 const char **bye_r);

/* ---- main.c's parts ---- */
/* A session on fd (taken over on success), user's rights in force. NULL: out of memory. */
struct session *session_create(const struct settings *set, int fd);
#endif
