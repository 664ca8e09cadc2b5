/* SPDX-License-Identifier: MIT */
#ifndef IMAP_ZYGOTE_H
#define IMAP_ZYGOTE_H
/* The zygote: warmed once (libraries, SQLite, time zone), it forks spares, so
 * that one is always waiting; never more than max_processes live. Re-executed
 * every so many forks so that no memory layout lasts. Single-threaded. */
#include "lib/settings.h"

struct zygote;
/* setup_fd: channel to master. Waits for SETUP on it (or takes over from the
 * process image before, see zygote.c). 0 or -errno. */
int zygote_create(int setup_fd, struct zygote **z_r);
const struct settings *zygote_settings(const struct zygote *z);
/* Until master says stop or goes away; returns the exit status. */
int zygote_run(struct zygote *z);
#endif
