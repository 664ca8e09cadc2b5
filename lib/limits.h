/* SPDX-License-Identifier: MIT */
#ifndef LIB_LIMITS_H
#define LIB_LIMITS_H
/* Every size and time limit, with its reason. */

/* A sealed state above this is not worth moving: the session stays awake.
 * It must pass a Unix socket in one message, with its label and keepalives. */
#define STATE_MAX_BYTES			(256 * 1024)
/* The largest message between our programs: a state and what names it. A
 * socket with SO_SNDBUF at the kernel's default wmem_max takes it whole. */
#define IPC_MESSAGE_MAX			(STATE_MAX_BYTES + 16 * 1024)
/* The kernel passes at most 253 descriptors in one message (SCM_MAX_FD). */
#define IPC_FDS_MAX			253
/* UIDs as the client knows them go into the state up to this size, above it
 * into one file per session. */
#define STATE_VIEW_INLINE_MAX_BYTES	2048
/* Ranges in any set of UIDs we take from outside. */
#define UIDSET_MAX_RANGES		(1u << 20)
/* Prepared keepalives: more would be spent in vain at each wake. */
#define KEEPALIVES_MAX			8
#define KEEPALIVE_MAX_BYTES		128
/* More changed names than this are not worth carrying: the waker rescans. */
#define SLEEPER_HINTS_MAX_NAMES		64
/* A command line without its literals (RFC 2683 3.2.1.5 asks for 8000). */
#define IMAP_LINE_MAX_BYTES		65536
/* A tag: 100 is far above what any client sends. */
#define IMAP_TAG_MAX_BYTES		128
/* Arguments nest (SEARCH, FETCH, ENABLE): deeper is an attack. */
#define IMAP_NESTING_MAX		32
/* Before login: all literals of one command together. */
#define LOGIN_LITERAL_MAX_BYTES		4096
/* In one command after login, APPEND's message left out. */
#define IMAP_LITERAL_MAX_BYTES		(512 * 1024)
/* Bad commands in a row before login, then BYE. */
#define LOGIN_BAD_COMMANDS_MAX		10
/* Input that was read but not used may sleep along up to this size. */
#define STATE_INPUT_MAX_BYTES		8192
#define USER_NAME_MAX_BYTES		255
#define USER_HOME_MAX_BYTES		1024
/* One message of a SASL exchange, decoded: a name and a password of any
 * length that can be right, or a SCRAM message with long nonces. */
#define SASL_MESSAGE_MAX_BYTES		2048
/* Longest channel binding: a hash of the certificate (RFC 5929 4.1). */
#define SASL_CBIND_MAX_BYTES		64
#define MAILBOX_NAME_MAX_BYTES		1024
#define KEYWORD_MAX_BYTES		128
/* What a compressed file may become: more is an attack on our time. */
#define MAIL_INFLATED_MAX_BYTES		(UINT64_C(4) << 30)
#define KEYWORDS_MAX			1024
/* How often a wake is tried before the session ends with BYE. */
#define WAKE_TRIES_MAX			5
/* The holder looks again at a session that it waits for. */
#define WAKE_RETRY_MS			2000
/* imap waits this long for KEPT before it asks (handover.md, 6). */
#define KEPT_TIMEOUT_MS			5000
/* Who has said nothing for so long may be put to sleep to make room for a spare. */
#define SESSION_QUIET_MS		250
#endif
