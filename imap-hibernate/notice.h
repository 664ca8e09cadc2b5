/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_NOTICE_H
#define HIBERNATE_NOTICE_H
/* "This mailbox changed": from inotify, and from our own programs to the
 * others. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct conn;
struct holder;
struct ipc_in;
struct watch_sub;

/* For watch_init(). */
struct watch_sub *notice_sub(void *holder, uint32_t id);
void notice_changed(void *holder, uint32_t id, bool gone);
/* inotify is readable. */
void notice_readable(void *holder, uint32_t events);
/* Messages: WATCH, NOTICE. False: out of order, end the connection. */
bool notice_watch(struct conn *c, struct ipc_in *in);
bool notice_notice(struct conn *c, struct ipc_in *in, uid_t uid);
#endif
