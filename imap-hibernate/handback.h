/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_HANDBACK_H
#define HIBERNATE_HANDBACK_H
/* Step 8: hand a sleeper to the next free spare. First come, first served; a
 * bounded number is under way at once, so that nobody starves in a crowd. */
#include <stdint.h>

struct holder;
/* Sends as many of the queued as may go now. */
void handback_pump(struct holder *h);
/* Sends the state to a spare to be printed (WAKE_DUMP); lock and sleep stay.
 * 0 with the connection that its answer will come on, or -errno. */
int handback_dump(struct holder *h, uint32_t slot, uint32_t *conn_r);
int handback_init(struct holder *h);
void handback_deinit(struct holder *h);
#endif
