/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_CLIENT_PRIVATE_H
#define IMAP_LOGIN_CLIENT_PRIVATE_H
/* Between client.c (the connection) and command.c (what it says). */
#include "imap-login/client.h"
#include "imap-login/netaddr.h"
#include "lib/buf.h"
#include "lib/limits.h"
#include "lib/list.h"
#include "lib/loop.h"

enum client_phase {
	CLIENT_HANDSHAKE,	/* TLS, from the first byte or after STARTTLS */
	CLIENT_COMMANDS,	/* reads commands */
	CLIENT_SASL,		/* waits for the line that AUTHENTICATE asked for */
	CLIENT_AUTH,		/* waits for auth; reads nothing */
	CLIENT_DELAY,		/* a refusal that is not told yet; reads nothing */
	CLIENT_LEAVING,		/* has its ticket; output, then the queue */
	CLIENT_CLOSING,		/* BYE is being written */
	CLIENT_LINGER,		/* BYE is written, waits for the client to close */
};

enum sasl_mechanism { SASL_PLAIN, SASL_LOGIN, SASL_EXTERNAL, SASL_SCRAM, SASL_SCRAM_PLUS };

struct client {
	struct login *login;
	unsigned slot;
	enum client_phase phase;
	struct stream *stream;
	struct imap_parser *parser;
	struct loop_io io;
	struct loop_timer timer;	/* what it means goes by the phase */
	struct netaddr remote, local;
	uint64_t cookie;
	struct tls_handshake *handshake;	/* CLIENT_HANDSHAKE */
	bool handshake_done;		/* its last bytes are being written */
	bool greeted;
	bool tls;			/* the stream has its record layer */
	bool secured;			/* TLS, or a client on this machine */
	/* Set by the handshake, for the SASL mechanisms: the user that the client's
	   certificate names, if it was asked for and is good ("" else), and what
	   binds an exchange to this very connection (RFC 9266, RFC 5929 4). */
	char external[USER_NAME_MAX_BYTES + 1];
	struct client_cbind {
		uint8_t bytes[SASL_CBIND_MAX_BYTES];
		size_t len;		/* 0: not there */
	} cbind_exporter, cbind_endpoint;
	bool eof, logged;
	char tls_log[80];		/* "tls=... suite=..." */
	bool again;			/* stopped reading for the others' sake */
	uint64_t deadline_ms;		/* to log in */
	uint64_t question;		/* CLIENT_AUTH: its id */
	struct ipc_out *request;	/* not sent: auth is not there */
	struct auth_link *link;		/* sent over this one */
	struct list waiting;		/* CLIENT_LEAVING: in line for the queue */
	struct buf packet;		/* RAW_LOGIN */
	enum sasl_mechanism sasl;	/* CLIENT_SASL: whose line is awaited */
	bool sasl_begun;		/* auth knows of the exchange, which c->question names */
	char sasl_user[USER_NAME_MAX_BYTES + 2];	/* LOGIN's first answer */
	unsigned commands, bad_commands, failures;
	size_t lingered;
	char tag[IMAP_TAG_MAX_BYTES + 1];	/* of LOGIN or AUTHENTICATE */
	char user[USER_NAME_MAX_BYTES + 1];	/* as given, for the log */
	char answer[256];		/* CLIENT_DELAY */
};

/* Static storage. */
const char *client_capabilities(const struct client *c);
/* May it be used, over this connection? */
bool client_offers(const struct client *c, enum sasl_mechanism mechanism);
const char *sasl_name(enum sasl_mechanism mechanism);
void client_set_phase(struct client *c, enum client_phase to, const char *why);
/* `TAG text` */
void client_answer(struct client *c, const char *tag, const char *text);
/* `* BYE text`, then close; written and done by client_run(). */
void client_bye(struct client *c, const char *text, const char *reason);
/* Counts it; the last straw is BYE. */
void client_bad(struct client *c, const char *tag, const char *text);
/* Asks auth; the answer has this command's tag. Copies what it needs. */
void client_ask(struct client *c, const char *tag, const char *mechanism,
		const char *authzid, const char *user, const char *password);
/* The same with a mechanism of several steps and the client's first message. */
void client_ask_exchange(struct client *c, const char *mechanism, const void *message,
			 size_t len);
/* The client's next message; or none, ever. */
void client_exchange_step(struct client *c, const void *message, size_t len);
void client_exchange_cancel(struct client *c);
/* A refusal: told after a while that grows, and not before late_ms. */
void client_refuse(struct client *c, const char *text, const char *reason,
		   uint64_t late_ms);
void client_log(const struct client *c, const char *event, const char *reason);

void client_greet(struct client *c);

/* client-tls.c. Begins a handshake. False: no memory. */
bool client_tls_begin(struct client *c);
/* Goes on with what the stream has read. False: needs more bytes. */
bool client_tls_step(struct client *c);
/* Its last bytes are written: from here on the stream reads and writes records. */
void client_tls_finish(struct client *c);
/* Of a record that was opened in part the rest is to go as text: into the
 * stream's input with it. 0 or -errno. */
int client_tls_drain(struct client *c);
/* RAW_LOGIN's TLS field. 0 or -errno; then nothing may be read or written. */
int client_tls_pack(struct client *c, struct buf *packet);
/* close_notify, all else being written. */
void client_tls_close(struct client *c);
/* "tls=TLSv1.3 suite=..." */
const char *client_tls_log(const struct client *c);

/* command.c: the parser has a whole command. */
void command_run(struct client *c);
/* The line of a SASL exchange, without its end. */
void command_sasl_line(struct client *c, const char *line, size_t len);
/* auth's next challenge. */
void command_sasl_challenge(struct client *c, const void *challenge, size_t len);
#endif
