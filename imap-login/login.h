/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_LOGIN_H
#define IMAP_LOGIN_LOGIN_H
/* All that one imap-login process holds: listeners, clients, its channel to
 * auth, the login queue. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/loop.h"

struct client;
struct ipc_in;
struct ipc_out;
struct login;
struct settings;
struct tls_crypto;
struct tls_server;

struct login_parts {
	struct loop *loop;
	const struct settings *settings;
	int queue_fd;		/* write end of the login queue; taken */
	struct tls_crypto *crypto;	/* the caller's */
	/* login_finish() was called and no client is left. */
	void (*idle)(void *ctx);
	void *ctx;
};
/* NULL: no memory (queue_fd is not taken then). */
struct login *login_create(const struct login_parts *parts);
void login_destroy(struct login **login);
/* Takes fd, a listening socket; tls: from the first byte on. 0 or -errno. */
int login_add_listener(struct login *login, int fd, bool tls);
/* What is shown to clients from now on; takes the caller's reference. */
void login_set_tls(struct login *login, struct tls_server *server);
/* Begins to accept. */
void login_start(struct login *login);
/* A channel to auth, also a newer one; takes fd. 0 or -errno. */
int login_set_auth(struct login *login, int fd);
/* No new clients; idle() when the last one is gone. bye: those that have not
 * logged in are sent away at once. */
void login_finish(struct login *login, bool bye);
void login_status(const struct login *login, char *line, size_t size);
void login_dump(const struct login *login);

/* ---- for client.c ---- */

struct auth_link;	/* one channel to auth, and who waits for it */

struct loop *login_loop(struct login *login);
struct tls_server *login_tls(const struct login *login);	/* NULL: there is no TLS */
struct tls_crypto *login_crypto(const struct login *login);
/* A handshake is over. */
void login_count_tls(struct login *login, bool good, bool resumed);
const struct settings *login_settings(const struct login *login);
/* 0, -EAGAIN: auth is not there now (login_set_auth() calls
 * client_auth_is_back()), -errno: it will not do. *out is destroyed but for
 * -EAGAIN. *link_r: to be released when the wait ends, answered or not. */
int login_ask(struct login *login, struct ipc_out **out, struct auth_link **link_r);
/* Another message of a question that was asked over link. 0 or -errno. */
int login_ask_on(struct auth_link *link, struct ipc_out **out);
void login_release(struct login *login, struct auth_link **link);
/* A number for a question of this client's that no other question has. */
uint64_t login_question_id(struct login *login, const struct client *c, unsigned slot);
/* Into the queue; the descriptor is duplicated by it. 0, -EAGAIN: full (and
 * node is in line: client_queue_is_free() is called), -errno. */
int login_hand_over(struct login *login, const void *packet, size_t len, int fd,
		    struct list *node);
/* The client is gone (but its memory still there). */
/* One that could not be sent away before now can. */
void login_client_is_spare(struct login *login);
void login_client_gone(struct login *login, unsigned slot);
#endif
