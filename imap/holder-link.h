/* SPDX-License-Identifier: MIT */
#ifndef IMAP_HOLDER_LINK_H
#define IMAP_HOLDER_LINK_H
/* An imap process's connection to imap-hibernate: subscribe, be told of
 * changes, fall asleep. Connects again by itself when the holder was replaced
 * (doc/handover.md, 13); the subscription of the old one counts no more. */
#include <stdbool.h>
#include <stdint.h>
#include "lib/fence.h"
#include "lib/loop.h"

struct session;
struct settings;
struct ipc_in;
/* Messages that came while a command waits for the client. */
#define HOLDER_HELD_MAX	8
struct holder_link {
	struct session *session;
	int fd;				/* -1: not connected */
	struct loop_io io;
	struct loop_timer retry;
	uint64_t nonce;			/* of the last WATCH */
	uint32_t retry_ms;
	uint64_t generation;		/* of the last WATCHED or CHANGED */
	bool watching;			/* subscribed to this very holder for the session's mailbox */
	bool asked;			/* a WATCH is not answered yet */
	bool blind;			/* its file system cannot be watched: poll */
	uint64_t cookie;		/* of the client's socket */
	struct loop_timer poll;
	struct ipc_in *held[HOLDER_HELD_MAX];
	unsigned n_held;
	bool held_end;			/* and then the end of the connection */
	struct loop_timer held_timer;
};
/* A connection to BASE/holder, or -errno. One that was made with root's rights
 * proves to the holder that it is the server's, also when it is the user's later. */
int holder_link_dial(const struct settings *set);
/* fd: a reply channel of a WAKE, one that was dialled, or -1 to connect now. */
struct holder_link *holder_link_create(struct session *s, int fd);
void holder_link_destroy(struct holder_link **l);
/* Sends the label (HELLO): at start and when the selected mailbox or IDLE changes. */
void holder_link_hello(struct holder_link *l);
/* Subscribes to the selected mailbox and waits for WATCHED. 0 (watching or blind), -errno. */
int holder_link_watch(struct holder_link *l);
/* The same without waiting, for a session in IDLE: it compares when WATCHED comes, and
 * every second until then. */
void holder_link_subscribe(struct holder_link *l);
/* The mailbox could not be compared: again in a second. */
void holder_link_compare_later(struct holder_link *l);
/* The mailbox was closed. */
void holder_link_unwatch(struct holder_link *l);
/* Tells the others that we changed the mailbox. */
void holder_link_notice(struct holder_link *l, const uint8_t mailbox_id[16], uint64_t modseq);
/* For a command that is under way, and waits for its client (lib/stream.h): the
 * descriptor to look at, and whether the session must end. All else that comes is
 * kept until the command is done, as what it says is news to nobody before. */
int holder_link_interrupt_fd(const struct holder_link *l);
bool holder_link_interrupted(struct holder_link *l);
/* Handles what has arrived, without waiting. */
void holder_link_drain(struct holder_link *l);
/* Waits for a message of the given types about this session until timeout; others are handled as usual.
 * 0 with *in_r, -ETIMEDOUT, -EPIPE. */
int holder_link_wait(struct holder_link *l, uint64_t timeout_ms, const uint32_t *types, unsigned n_types,
		     struct ipc_in **in_r);
#endif
