/* SPDX-License-Identifier: MIT */
#ifndef IMAP_SPARE_H
#define IMAP_SPARE_H
/* A spare: a warm imap process that waits, as root, for one session, new or
 * asleep; becomes its user for good; serves it; and exits. */
#include "lib/settings.h"

struct tls_crypto;

struct spare {
	const struct settings *set;
	struct tls_crypto *crypto;	/* its algorithms were fetched by the zygote */
	int key_fd;		/* the ticket key's memfd */
	int login_fd;		/* login queue, read end */
	int wake_fd;		/* wake queue, read end */
	int queues_fd;		/* epoll set of the two; spare_run() makes it */
	int retire_fd;		/* signalfd of SIGUSR2: one spare too many */
	int status_fd;		/* a pid goes here when a session was taken; its reader is the zygote */
};
/* Does not return. */
void spare_run(struct spare *sp) __attribute__((noreturn));
#endif
