/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_CLIENT_H
#define IMAP_LOGIN_CLIENT_H
/* One connection before it has a user. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/list.h"
#include "lib/tls-record.h"

struct client;
struct login;

/* Unread input of one client. What is behind LOGIN goes to imap with it: the
 * line that is being read, and the record that its end was in. */
#define CLIENT_INPUT_MAX_BYTES	(8192 + TLS_PLAIN_MAX_BYTES)
/* RAW_LOGIN's TLS field: a blob, and what the record layer keeps: a record that
 * was read in part, one that was opened in part, input behind the handshake. */
#define CLIENT_TLS_STATE_MAX_BYTES	(64 * 1024)
/* Answers that may wait for a client that sends and does not read. */
#define CLIENT_OUTPUT_MAX_BYTES	4096
/* A command line before login: a tag, two names, an ID of some length. */
#define CLIENT_LINE_MAX_BYTES	8192
/* One line of a SASL exchange: a PLAIN message of SASL_PLAIN_MAX_BYTES. */
#define CLIENT_SASL_MAX_BYTES	4096
/* Wrong passwords over one connection, then BYE. */
#define CLIENT_FAILURES_MAX	10
/* The answer to the n-th wrong password is late by 1, 2, 4, 8, then 15 s. */
#define CLIENT_DELAY_MS		1000
#define CLIENT_DELAY_MAX_MS	15000
/* auth is being started again: so long a log-in waits for it. */
#define CLIENT_AUTH_WAIT_MS	3000
/* After BYE the client has so long to close, so that it reads the BYE: a
 * close with input unread would reset the connection. */
#define CLIENT_LINGER_MS	2000
#define CLIENT_LINGER_BYTES	65536
/* Dead peers are found by the kernel, for the whole life of the connection.
 * The time-out counts from the last byte heard: it must leave room for several
 * probes, or one lost packet would end a session that slept. */
#define CLIENT_KEEPIDLE_S	300
#define CLIENT_KEEPINTVL_S	60
#define CLIENT_USER_TIMEOUT_MS	600000

/* Takes fd (non-blocking, close-on-exec), greets; with tls after a handshake.
 * NULL: it could not, and login_client_gone() was called. */
struct client *client_create(struct login *login, unsigned slot, int fd,
			     const struct sockaddr_storage *peer, bool tls);
/* Says why in the log, unless that was said. Forgets everything. */
void client_destroy(struct client **c, const char *reason);
/* The server stops: `* BYE`, then close. May be gone afterwards. */
void client_stop(struct client *c);

/* The address of one that may be sent away when all places are taken: it has
 * not said yet who it is, or is on its way out. Else NULL. */
const char *client_spare_address(const struct client *c);
/* `* BYE` if there is room for it, and gone. */
void client_send_away(struct client **c);

/* ---- what login.c has to tell; the client may be gone afterwards ---- */
void client_auth_ok(struct client *c, uint64_t id, const void *ticket, size_t len);
/* late_ms: the client is told no sooner. */
void client_auth_fail(struct client *c, uint64_t id, uint64_t code, const char *text,
		      uint64_t late_ms);
void client_auth_challenge(struct client *c, uint64_t id, const void *challenge, size_t len);
/* The channel that the question went over is gone. */
struct auth_link;
void client_auth_lost(struct client *c, const struct auth_link *link);
void client_auth_is_back(struct client *c);
/* node is the one given to login_hand_over(). False: still full. */
bool client_queue_is_free(struct list *node);
void client_dump(const struct client *c);
#endif
