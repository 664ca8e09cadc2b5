/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_SLEEPER_H
#define HIBERNATE_SLEEPER_H
/* One session from its SLEEP until its fence has moved (doc/handover.md). All that
 * must survive is in the table; this is what only this process needs, about 64
 * bytes. The number of a sleeper is its record's. */
#include <stdbool.h>
#include <stdint.h>

#include "imap-hibernate/table.h"
#include "imap-hibernate/watch.h"
#include "lib/ipc-proto.h"

struct holder;

enum sleeper_phase {
	SLEEPER_FREE,		/* no session */
	SLEEPER_LOCKING,	/* good state; somebody else has the lock: try again */
	SLEEPER_STORING,	/* locked; the keeper has no duplicate yet */
	SLEEPER_ASLEEP,		/* locked, kept, in the epoll set */
	SLEEPER_RESTING,	/* locked; a wake failed, the next one later */
	SLEEPER_QUEUED,		/* locked; waits for its turn to be sent */
	SLEEPER_WAKING,		/* unlocked; WAKE is on its way or with a spare */
};
const char *sleeper_phase_name(enum sleeper_phase phase);

enum sleeper_flag {
	SL_KEPT = 1,		/* the keeper has a duplicate */
	SL_DUP_SENT = 2,	/* it was sent one and has not answered */
	SL_TELL = 4,		/* conn waits for KEPT */
	SL_REFUSED = 8,		/* a spare said that no imap can serve this */
	SL_GIVE_UP = 16,	/* not even for a BYE: end it once we have the lock */
	SL_FOREIGN = 32,	/* came over a connection of a user's own making */
};

struct sleeper {
	struct watch_sub sub;
	int fd;			/* of the client */
	uint32_t conn;		/* WAKING: reply end; else who sent SLEEP; or NONE */
	uint32_t chain;		/* by_cookie */
	uint32_t next, prev;	/* of the one list that its phase has */
	uint32_t deadline;	/* holder_now(): when to look again */
	uint32_t since;		/* the wheel's tick: in this sleep since */
	uint8_t phase, flags;
	uint8_t cause;		/* enum wake_cause, from QUEUED on; 0 none */
	uint8_t looks;		/* in vain, in this phase */
};

/* A list of sleepers by number. */
struct sleeper_list { uint32_t first, last, count; };

/* Step 3: takes fd over in every case. *e is what SLEEP said, conn its sender
 * (or NONE), generation_same: what imap saw last is still the latest. 0, or 1
 * with a reason: REFUSED. */
int sleeper_take(struct holder *h, int fd, const struct table_entry *e, uint32_t conn,
		 bool generation_same, const char **reason_r);
/* Step 13: record and duplicate are both here. Takes fd over. */
void sleeper_adopt(struct holder *h, uint32_t slot, int fd);
/* Its number, or NONE. */
uint32_t sleeper_find_cookie(struct holder *h, uint64_t cookie);
uint32_t sleeper_find(struct holder *h, uint64_t sid, uint64_t cookie);
/* Next sleeper with this session id from slot on (operators have no cookie). */
uint32_t sleeper_find_sid(struct holder *h, uint64_t sid, uint32_t from);

/* The keeper has it (step 5), or will not take it. */
void sleeper_stored(struct holder *h, uint32_t slot);
void sleeper_not_stored(struct holder *h, uint32_t slot, const char *reason);
/* The keeper is gone: those that wait for it go back to their imap. */
void sleepers_no_keeper(struct holder *h);

/* There is a reason to wake it (step 8); nothing happens where it is waking
 * already. */
void sleeper_wake(struct holder *h, uint32_t slot, enum wake_cause cause);
/* Look at lock and fence now (step 12): somebody says that it was taken. */
void sleeper_look(struct holder *h, uint32_t slot);
/* The wake in progress came to nothing: the spare said so (reason), or is
 * gone. final: no other spare could do better. */
void sleeper_wake_failed(struct holder *h, uint32_t slot, const char *reason, bool final);
/* The mailbox changed; gone: its watch ended. */
void sleeper_changed(struct holder *h, uint32_t slot, bool gone);
/* conn is no more. */
void sleeper_conn_gone(struct holder *h, uint32_t slot);
/* Takes the lock that we had back after a duplicate was closed. */
void sleeper_relock(struct holder *h, uint32_t slot);

/* For handback: the phase that follows sending, or not. */
void sleeper_sent(struct holder *h, uint32_t slot, uint32_t conn, unsigned cause);
void sleeper_unsent(struct holder *h, uint32_t slot, bool locked);

bool sleeper_has_lock(const struct sleeper *sl);
/* epoll set, wheel, timers. */
int sleepers_init(struct holder *h);
void sleepers_deinit(struct holder *h);

/* Lists. */
static inline void sleeper_list_init(struct sleeper_list *l)
{
	*l = (struct sleeper_list){ NONE, NONE, 0 };
}
void sleeper_list_append(struct holder *h, struct sleeper_list *l, uint32_t slot);
void sleeper_list_prepend(struct holder *h, struct sleeper_list *l, uint32_t slot);
void sleeper_list_remove(struct holder *h, struct sleeper_list *l, uint32_t slot);
#endif
