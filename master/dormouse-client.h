/* SPDX-License-Identifier: MIT */
#ifndef MASTER_DORMOUSE_CLIENT_H
#define MASTER_DORMOUSE_CLIENT_H
/* One question to the running server. */
#include <stdbool.h>

#include "master/dormouse-rows.h"

struct answer {
	struct rows rows;
	bool ok;
	char text[1024];	/* why not, or a remark */
};
/* Asks verb with its arguments at BASE/control. 0: there is an answer (ok or
 * not), to be given to answer_deinit(). -ENOENT, -ECONNREFUSED: no server runs;
 * -EPIPE: it ended in the middle; -ETIMEDOUT. */
int client_ask(const char *base_dir, const char *verb, char *const *args, int n_args,
	       int timeout_ms, struct answer *answer);
void answer_deinit(struct answer *answer);
/* What such an error means, as a sentence for people. */
const char *client_strerror(int error);
#endif
