/* SPDX-License-Identifier: MIT */
#ifndef LIB_SETTINGS_H
#define LIB_SETTINGS_H
/* What every program may need to know of the configuration. master reads the
 * file, and sends this struct in SETUP to each program it starts. */
#include <stdbool.h>
#include <stdint.h>
struct ipc_out;
struct ipc_in;

struct settings {
	char *base_dir;			/* run directory: sockets */
	char *mail;			/* "~/Maildir"; ~ is the user's home */
	char *index_dir;		/* "" : .dormouse in the mail directory; may contain ~ and %u */
	char *user, *login_user, *auth_user;	/* for the holder; imap-login; auth */
	char *log;			/* "stderr", "syslog" or "file:PATH" */
	char *log_level;		/* debug, info, warn, error */
	char *passwd_file;		/* "" : none */
	char *static_password;		/* "" : none; loopback listeners only */
	char *static_home;		/* home for static_password users; %u */
	char *ssl_cert, *ssl_key;	/* "" : no TLS; master alone opens them */
	char *ssl_ca;			/* "" : clients are not asked for a certificate */
	char *mechanisms;		/* words: plain, login, scram-sha-256 */
	char *pam_service;		/* "" : system users cannot log in; a name, or a path */
	uint64_t hibernate_after_ms;	/* 0: sessions never sleep by themselves */
	bool hibernate;			/* false: sleeping is off altogether */
	uint64_t keepalive_interval_ms;	/* 0: no keepalives */
	uint32_t keepalives_ahead;
	uint64_t login_timeout_ms;
	uint64_t poll_interval_ms;	/* where inotify is blind */
	uint64_t client_timeout_ms;	/* a client that reads nothing while we write */
	uint64_t stop_timeout_ms;
	uint64_t upgrade_grace_ms;	/* for commands and log-ins that are under way */
	uint64_t keep_grace_ms;		/* stop --keep: so long the keeper waits for a start */
	uint32_t spares;		/* imap processes waiting */
	uint32_t max_processes;		/* imap processes at once, spares included */
	uint32_t max_sleepers;		/* 0: as the descriptor limit allows */
	uint32_t login_processes;
	uint32_t login_max_clients;	/* per imap-login process */
	uint32_t max_user_sessions;	/* 0: no limit; sleepers count */
	uint32_t max_address_sessions;	/* the same for an address, or an IPv6 network of 64 bits */
	uint32_t first_valid_uid;	/* of system users */
	uint32_t zygote_max_forks;	/* then it is executed anew */
	uint64_t append_max_bytes;	/* a larger message is refused */
	char *special_use;		/* "NAME=USE, ...": what mailboxes are for (RFC 6154) */
	uint64_t compress_window_max_bytes;	/* packed; a session with more stays awake */
	bool debug_hop;			/* to sleep after every command, for tests */
	bool user_mode;			/* all run as one ordinary user */
};
/* Defaults as in dormouse.conf(5). Strings are heap; 0 or -ENOMEM. */
int settings_init(struct settings *s);
void settings_deinit(struct settings *s);
void settings_pack(const struct settings *s, struct ipc_out *out);
/* 0 or -EBADMSG / -ENOMEM. *s must be fresh (it is initialised here). */
int settings_unpack(struct settings *s, struct ipc_in *in);
/* Is word one of the words, in lower case? */
bool settings_has_word(const char *words, const char *word);
#endif
