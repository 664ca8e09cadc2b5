/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CONFIG_H
#define MASTER_CONFIG_H
/* The configuration file. Complaints have the form
 *	FILE:LINE: what is wrong; what would be right
 * and the first one ends the reading. */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "lib/settings.h"
#include "lib/tls-cert.h"

#define CONFIG_DEFAULT_FILE	"/etc/dormouse/dormouse.conf"
/* imap-login gets them all in one message; nobody needs as many. */
#define CONFIG_LISTENERS_MAX	32

struct config_listener {
	char *name;
	char *address;			/* as the file says it */
	uint16_t port;			/* 0: any */
	bool tls;
	struct sockaddr_storage sa;
	socklen_t sa_len;
};
struct config_cert {
	char *name;			/* for SNI; the first: "" */
	char *cert, *key;		/* files */
	char *where;			/* "FILE:LINE" */
};
struct config {
	struct settings settings;
	struct config_cert certs[TLS_IDENTITIES_MAX];
	unsigned n_certs;		/* 0: no TLS */
	char *ca_where;			/* of ssl_ca */
	struct config_listener listeners[CONFIG_LISTENERS_MAX];
	unsigned n_listeners;
};
/* Reads and checks file. 0, or -EINVAL with the complaint in errors (one line,
 * LF at its end; not yet initialised is fine, the caller deinits), or -ENOMEM.
 * config is to be given to config_deinit() after success only. */
int config_load(const char *file, struct config *config, struct buf *errors);
void config_deinit(struct config *config);
/* settings.log_level and settings.log as lib/log.h wants them. */
enum log_level config_log_level(const struct settings *s);
enum log_sink config_log_sink(const struct settings *s);
/* The path of log = "file:PATH", or NULL. */
const char *config_log_file(const struct settings *s);
/* "UID:GID" that the keeper becomes, into out; false: it stays who we are. */
bool config_keeper_user(const struct settings *s, char *out, size_t size);
#endif
