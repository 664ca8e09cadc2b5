/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_HOLDER_H
#define HIBERNATE_HOLDER_H
/* The holder: every sleeping client, and the watches of all.
 *
 * It is dumb, and that is its strength: no IMAP, no TLS, no keys. A sleeper is
 * a descriptor, an opaque state and ready-made keepalives; everything else
 * wakes an imap. The protocol is doc/handover.md; its step numbers stand in the
 * comments. Files: sleeper (a session from SLEEP to void), handback (WAKE),
 * conn (messages of imap processes), notice (changes), keeper-link (the
 * duplicates that outlive us), adopt (taking over), control (the operator).
 *
 * One thread, so one struct that all of them share. */
#include <stdbool.h>
#include <stdint.h>

#include "imap-hibernate/chain.h"
#include "imap-hibernate/conn.h"
#include "imap-hibernate/control.h"
#include "imap-hibernate/keeper-link.h"
#include "imap-hibernate/sleeper.h"
#include "imap-hibernate/table.h"
#include "imap-hibernate/watch.h"
#include "imap-hibernate/wheel.h"
#include "lib/buf.h"
#include "lib/list.h"
#include "lib/loop.h"
#include "lib/settings.h"

struct ipc_in;

struct holder {
	struct loop *loop;
	struct settings settings;
	struct table *table;
	struct watch_set watches;
	struct loop_io watch_io;
	uint64_t generation;		/* the last one handed out */

	/* sleepers; number = record of the table */
	struct sleeper *sleepers;
	uint32_t sleepers_max;		/* as descriptors and settings allow */
	uint32_t n_held;
	struct chain by_cookie;
	struct wheel wheel;
	struct loop_timer wheel_timer;
	uint32_t tick_ms;
	int sleepers_epoll;
	struct loop_io sleepers_io;
	struct sleeper_list retrying;	/* LOCKING, WAKING, RESTING: have a deadline */
	struct loop_timer retry_timer;
	uint64_t epoch_ms;		/* zero of all 32-bit times */

	/* waking */
	int wake_queue;
	struct loop_io wake_io;		/* only while the queue is full */
	struct loop_timer wake_timer;	/* short of descriptors or memory */
	struct sleeper_list queued;
	uint32_t n_waking, waking_max;
	struct buf wake_buf;

	/* connections */
	int listener;
	struct loop_io listener_io;
	struct loop_timer listener_timer;
	struct conns conns;
	uint32_t conns_max;

	struct keeper_link keeper;
	int first_keeper;		/* until it is adopted from; -1 */
	int low_fd;			/* reserved for inotify */
	int setup_fd;
	struct loop_io setup_io;
	int auth_fd;
	struct loop_io auth_io;
	enum auth_step {
		AUTH_BEGINS, AUTH_SLEEPERS, AUTH_CONNS, AUTH_ENDS, AUTH_TOLD,
	} auth_step;			/* of telling it the whole list */
	uint32_t auth_cursor;
	struct list controls;		/* of operators */

	bool stopping;
	bool leaving;			/* for the next one to adopt: nobody new, then the end */
	uint64_t leave_by_ms;
	struct loop_timer leave_timer;
	struct loop_timer status_timer, relock_timer;
	uint64_t kept, woken, wakes_sent, wakes_failed, disconnects, refused, keepalives;
	char status[256];		/* what was reported last */
};

/* SETUP from master (blocks for it), limits, memory. 0 or -errno, logged. */
int holder_create(struct holder *h, int setup_fd);
/* Waits for the keeper, takes over what it has. 0 or -errno, logged. */
int holder_adopt(struct holder *h);
/* Gives up rights for good. 0 or -errno, logged. */
int holder_confine(struct holder *h);
/* Opens for business: listener, timers, READY. 0 or -errno, logged. */
int holder_start(struct holder *h);
void holder_destroy(struct holder *h);

/* ---- for the parts ---- */

/* Milliseconds since the holder started; wraps after 49 days, so compare by
 * difference only. */
uint32_t holder_now(const struct holder *h);
uint64_t holder_next_generation(struct holder *h);
/* Is this user still who he was? Asked at each wake; auth answers when it can;
 * conns_user_is() then hands it to the session, which knows its ticket. */
void holder_ask_user(struct holder *h, uint64_t sid, const char *user);
/* Tells auth, if it is there. enum ipc_session_event. */
void holder_session_event(struct holder *h, unsigned event, uint64_t sid, const char *user,
			  uid_t uid, const char *remote);
/* One message from master; also while adopting. 0 or -errno. */
int holder_setup_message(struct holder *h, struct ipc_in *in);
/* Closes a descriptor that somebody passed to us and that may be another one
 * of a client's socket: closing it takes our lock along, so lock again. */
void holder_close_foreign(struct holder *h, int fd);
/* The same after a message whose descriptors were closed unseen: looks after
 * all locks, soon and once for many of them (it takes half a microsecond a
 * sleeper). Meanwhile one may be free, which harms nobody: whoever takes it has
 * a good state, or sees that he has none. */
void holder_locks_unsure(struct holder *h);
/* Ends the process if everything that had to end has. */
void holder_check_stopped(struct holder *h);
#endif
