/* SPDX-License-Identifier: MIT */
#ifndef LIB_IPC_PROTO_H
#define LIB_IPC_PROTO_H
/* Message types and their fields, in order. doc/ipc.md says who may send what
 * when. u = u64/u32, s = str, b = bin, t = bool, a = array. */
#include <stdbool.h>
#include <stdint.h>

/* Program descriptors: the channel to master is always this one. */
#define IPC_SETUP_FD	3

enum ipc_role {
	ROLE_MASTER = 1, ROLE_KEEPER, ROLE_AUTH, ROLE_LOGIN, ROLE_IMAP, ROLE_HOLDER,
	ROLE_CONTROL,
};
enum ipc_type {
	/* setup */
	IPC_SETUP = 1,		/* then settings (settings_pack), then role data; fds as in doc/ipc.md.
				   imap-login role data: a of [s address, u port, t tls] one per listener fd, in order;
				   then the fields of CERTS (no names without TLS) */
	IPC_CHANNEL,		/* u role of the peer; 1 fd */
	IPC_READY,		/* - */
	IPC_CONTROL,		/* 1 fd: a connection on which CTL_* requests are waiting */
	IPC_STOP,		/* u how: enum ipc_stop */
	IPC_STATUS,		/* program -> master, now and then and on request: s json-free "key=value ..." line */
	IPC_CERTS,		/* master -> imap-login, instead of those before: a of s name (for SNI; the first: ""), t authorities;
				   fds: for each name chain and key as PEM, authorities as PEM if true, ticket keys if there is a name */

	/* keeper */
	IPC_KEEP = 20,		/* s name; 1 fd */
	IPC_KEEP_OK,		/* s name */
	IPC_FETCH,		/* - */
	IPC_KEPT_ITEM,		/* s name; 1 fd */
	IPC_FETCH_END,		/* - */
	IPC_DUP,		/* u sid, u cookie; 1 fd */
	IPC_DUP_OK,		/* u sid, u cookie */
	IPC_DUP_NO,		/* u sid, u cookie, s reason */
	IPC_DROP,		/* u sid, u cookie */
	IPC_DUPS,		/* a of a[u sid, u cookie]; as many fds */
	IPC_DUPS_OK,		/* - */
	IPC_ALONE,		/* u ms: master -> keeper: we stop; wait so long for another master, then end */

	/* holder and imap */
	IPC_HELLO = 40,		/* u sid, u cookie, s user, s remote ("ip" or "ip:port"), u login time (unix s), s mailbox ("" none), t idle[, u enum ipc_security] */
	IPC_WATCH,		/* u nonce, b mailbox id (16 or 0), u blind (1: file system cannot be watched); 0-2 fds */
	IPC_WATCHED,		/* u nonce, u generation, u status: enum ipc_watched */
	IPC_CHANGED,		/* u generation */
	IPC_NOTICE,		/* b mailbox id, u modseq; 0-1 fd */
	IPC_SLEEP,		/* u sid, u cookie, u generation, u flags: enum ipc_sleep_flags, u written, u consumed,
				   a of u keepalive length, b keepalives, s user, s remote, u login time, s mailbox,
				   b ticket, b sealed state; 1 fd: the client */
	IPC_KEPT,		/* u sid, u cookie, u written, u consumed */
	IPC_REFUSED,		/* u sid, u cookie, u written, u consumed, s reason */
	IPC_HAVE,		/* u sid, u cookie, u written, u consumed */
	IPC_HAVE_NOT,		/* u sid, u cookie, u written, u consumed */
	IPC_TAKEN,		/* u sid, u cookie */
	IPC_WAKE_FAILED,	/* u sid, u cookie, s reason, t final; sid and cookie 0: its ticket is refused */
	IPC_DO,			/* u verb: enum ipc_do */
	IPC_DONE_DO,		/* u verb, t ok, s reason */
	IPC_DUMPED,		/* u sid, u cookie, s text: the answer to a WAKE with WAKE_DUMP */

	/* login */
	IPC_AUTH = 60,		/* u id, s mechanism, s authzid, s user, s password, u cookie, s remote ip, s local ip, t secured,
				   s external ("" none): the name in the client's certificate, verified in the handshake */
	IPC_AUTH_OK,		/* u id, b ticket */
	IPC_AUTH_FAIL,		/* u id, u code: enum ipc_auth_fail, s text, u ms: tell the client no sooner */
	IPC_SESSION,		/* u event: enum ipc_session_event, u sid, s user, u uid of the process that says so,
				   s remote as in HELLO */
	IPC_USER,		/* anybody with a channel -> auth: u id, s user */
	IPC_USER_IS,		/* u id, t found, u uid, u gid, s home */
	/* A SASL exchange of several steps (SCRAM); it ends with AUTH_OK or AUTH_FAIL. */
	IPC_AUTH_BEGIN,		/* u id, s mechanism, u cookie, s remote ip, s local ip, t secured,
				   b tls-exporter (RFC 9266), b tls-server-end-point (RFC 5929): empty without TLS,
				   b the client's first message */
	IPC_AUTH_CHALLENGE,	/* auth -> imap-login: u id, b challenge, t last: the client's answer must be empty */
	IPC_AUTH_STEP,		/* u id, b the client's response */
	IPC_AUTH_CANCEL,	/* u id: the client cancelled or is gone; no answer */

	/* dormouse <-> master, holder */
	CTL_REQUEST = 80,	/* s verb, a of s arguments */
	CTL_ROW,		/* a of a[s key, s value]: one row of the answer */
	CTL_END,		/* t ok, s text: the answer is complete */
};
enum ipc_stop {
	STOP_NOW = 0, STOP_BYE = 1,
	STOP_REPLACE,	/* another one follows: the holder ends, sessions fall asleep, imap-login and auth finish within upgrade_grace */
	STOP_RELOAD,	/* the same, but awake sessions go on */
};
enum ipc_watched { WATCHED_OK = 0, WATCHED_BLIND = 1, WATCHED_REFUSED = 2 };
enum ipc_sleep_flags {
	SLEEP_IDLE = 1,		/* in IDLE or NOTIFY: a change wakes it; else a change only marks it */
	SLEEP_SELECTED = 2,	/* its watch counts */
	SLEEP_POLL = 4,		/* its mailbox is where inotify is blind: wake it every poll interval */
	SLEEP_SECURITY = 0xf0,	/* enum ipc_security, shifted by SLEEP_SECURITY_SHIFT */
};
#define SLEEP_SECURITY_SHIFT	4
/* What the connection is wrapped in, in four bits: version and suite in three of
 * them (0: no TLS), and whether COMPRESS is on. */
enum ipc_security { SECURITY_TLS = 7, SECURITY_DEFLATE = 8, SECURITY_MAX = 15 };
/* From enum tls_version and enum tls_suite (lib/tls-record.h), 0 without TLS. */
unsigned security_make(unsigned version, unsigned suite, bool deflate);
/* "TLSv1.3 TLS_AES_128_GCM_SHA256 DEFLATE", parts of it, or "". */
const char *security_name(unsigned security);
enum ipc_do { DO_SLEEP = 1, DO_KICK, DO_STOP };
enum ipc_auth_fail {
	AUTH_FAIL_CREDENTIALS = 1,	/* NO [AUTHENTICATIONFAILED] */
	AUTH_FAIL_TEMPORARY,		/* NO [UNAVAILABLE] */
	AUTH_FAIL_LIMIT,		/* NO [LIMIT] */
	AUTH_FAIL_POLICY,		/* NO [PRIVACYREQUIRED] / not allowed here */
};
enum ipc_session_event {
	SESSION_AWAKE = 0, SESSION_ASLEEP, SESSION_GONE, SESSION_LIST_BEGINS, SESSION_LIST_ENDS,
};

/* The raw packets on the queues. Big-endian, read with lib/cursor.h.
 *
 * LOGIN: u8 RAW_LOGIN, ticket (its own length inside), then [user rights:] msgpack-free:
 *	u16+bytes remote ip text, u16 remote port, u16+bytes local ip text, u16 local port,
 *	u64 login time (unix s), u16+bytes tag of the LOGIN/AUTHENTICATE command (imap answers it),
 *	u32+bytes input read but not used, u32+bytes TLS state: stream_tls_export() (empty without TLS).
 *	1 descriptor: the client. imap-login has written everything it had to write; imap
 *	sends the tagged OK.
 * WAKE: u8 RAW_WAKE, ticket, u64 written, u64 consumed, u8 number of keepalives,
 *	u16 length of each, their bytes; u8 cause: enum wake_cause; u8 tries so far;
 *	u64 generation (0: the mailbox changed, or may have, since the session fell asleep); u32+bytes sealed state.
 *	2 descriptors: the client; the reply channel.
 */
#define RAW_LOGIN	1
#define RAW_WAKE	2
enum wake_cause {
	WAKE_INPUT = 1,		/* the client spoke (or half-closed with bytes unread) */
	WAKE_CHANGE,		/* the mailbox changed */
	WAKE_KEEPALIVES,	/* the prepared ones are used up */
	WAKE_KICK,		/* end with BYE */
	WAKE_STOP,		/* the server stops: BYE */
	WAKE_OPERATOR,		/* dormouse wake */
	WAKE_POLL,		/* look whether something changed */
	WAKE_FAILED_BEFORE,	/* too many tries: only say BYE [UNAVAILABLE] */
	WAKE_DUMP,		/* print the state on the reply channel (IPC_DUMPED), touch nothing */
};
const char *wake_cause_name(unsigned cause);
#endif
