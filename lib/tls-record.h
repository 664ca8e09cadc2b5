/* SPDX-License-Identifier: MIT */
#ifndef LIB_TLS_RECORD_H
#define LIB_TLS_RECORD_H
/* The TLS record layer after the handshake: TLS 1.3 (RFC 8446, 5 and 4.6.3)
 * and 1.2 (RFC 5246, 6; RFC 5288, RFC 7905) with the three AEAD suites.
 * Server's side. Pure: no descriptor, no I/O, no allocation for a record. The
 * state is a plain struct that moves between processes as a blob; it must
 * never be copied (two holders would use a nonce twice).
 *
 * Everything fails closed: after any error the state is dead, seals at most
 * one alert, and cannot be exported. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct buf;

#define TLS_PLAIN_MAX_BYTES	16384
#define TLS_HEADER_BYTES	5
/* Whole record on the wire: header, nonce or type byte, tag, 1.3's padding allowance. */
#define TLS_RECORD_MAX_BYTES	(TLS_HEADER_BYTES + TLS_PLAIN_MAX_BYTES + 2048)
/* What sealing adds to n <= TLS_PLAIN_MAX_BYTES bytes at most. */
#define TLS_SEAL_OVERHEAD	29
#define TLS_CONTROL_MAX_BYTES	64	/* a sealed alert or KeyUpdate */

enum tls_version { TLS_V12 = 3, TLS_V13 = 4 };
enum tls_suite { TLS_AES128_GCM_SHA256 = 1, TLS_AES256_GCM_SHA384, TLS_CHACHA20_SHA256 };
const char *tls_version_name(enum tls_version v);	/* "TLSv1.3" */
const char *tls_suite_name(enum tls_version v, enum tls_suite s);	/* "TLS_AES_128_GCM_SHA256", "AES128-GCM" for 1.2 */

struct tls_direction {
	uint64_t seq;
	uint64_t id;		/* which key this is, in this process; never exported */
	uint64_t nonce_base;	/* 1.2 GCM: explicit nonce = base + seq */
	uint8_t secret[48];	/* 1.3 traffic secret */
	uint8_t key[32], iv[12];
};
struct tls_record {
	uint8_t version, suite;
	uint8_t alert;		/* received or sent, for the log */
	bool update_owed;	/* client asked for our KeyUpdate */
	bool read_closed;	/* close_notify came */
	bool write_closed;	/* ours went */
	bool dead;
	bool alert_owed;	/* of a failure; the only thing that the dead still seal */
	bool refusal_owed;	/* 1.2: no_renegotiation */
	uint8_t n_empty, n_warn, n_reneg;
	uint8_t hs[8], hs_len;	/* a post-handshake message in pieces */
	uint32_t hs_skip;
	uint16_t update_credit;
	uint16_t send_max;	/* plain bytes a record (max_fragment_length) */
	uint16_t recv_max;
	struct tls_direction rd, wr;
};

/* Fetched algorithms and keyed contexts; one per process. NULL: OpenSSL refused. */
struct tls_crypto;
struct tls_crypto *tls_crypto_create(void);
void tls_crypto_destroy(struct tls_crypto **c);
/* Drops expanded keys that contexts still hold (call when a session was given away). */
void tls_crypto_forget(struct tls_crypto *c);

/* From the handshake. 0 or -errno (-EINVAL: unknown suite or length). Secrets are copied. */
int tls_record_init13(struct tls_crypto *c, struct tls_record *t, enum tls_suite suite,
		      const void *read_secret, uint64_t read_seq,
		      const void *write_secret, uint64_t write_seq);
/* next_nonce: the explicit nonce that comes next (suites with GCM). */
int tls_record_init12(struct tls_crypto *c, struct tls_record *t, enum tls_suite suite,
		      const uint8_t master[48], const uint8_t client_random[32],
		      const uint8_t server_random[32], uint64_t read_seq,
		      uint64_t write_seq, uint64_t next_nonce);
void tls_record_wipe(struct tls_record *t);

enum tls_result {
	TLS_MORE,	/* not a whole record yet: *need_r bytes of it in all are wanted */
	TLS_DATA,	/* *plain_r, *len_r: application data, within buf */
	TLS_NONE,	/* a record without data; go on */
	TLS_REPLY,	/* go on, but a control record is owed: tls_record_control() */
	TLS_EOF,	/* close_notify */
	TLS_FAIL,	/* dead; an alert may be owed: tls_record_control() */
};
/* Opens the record at buf, in place. *used_r: bytes of buf that it took; none
 * with TLS_MORE and TLS_FAIL, all of them after close_notify (they are ignored). */
enum tls_result tls_record_open(struct tls_crypto *c, struct tls_record *t, uint8_t *buf,
				size_t len, size_t *used_r, size_t *need_r,
				const uint8_t **plain_r, size_t *len_r);
/* Appends plain[0..len) as one or more records; an owed KeyUpdate, or one of
 * our own when the key is used up (2^23 records with GCM), goes first. len 0
 * appends nothing; plain must not lie in out. -EPERM: dead already, -EPIPE:
 * closed. Any other failure (-ENOBUFS, -EOVERFLOW: 2^32 records with 1.2 and
 * GCM, -EIO) kills: what was spent is never tried again. */
int tls_record_seal(struct tls_crypto *c, struct tls_record *t, const void *plain,
		    size_t len, struct buf *out);
/* Appends what is owed, if anything: KeyUpdate, no_renegotiation, the alert of a failure. */
int tls_record_control(struct tls_crypto *c, struct tls_record *t, struct buf *out);
/* Appends close_notify, once: later calls append nothing. Reading goes on. */
int tls_record_close(struct tls_crypto *c, struct tls_record *t, struct buf *out);
/* Appends a KeyUpdate of ours (1.3; a no-op in 1.2). */
int tls_record_update(struct tls_crypto *c, struct tls_record *t, bool request, struct buf *out);
/* Bytes on the wire of n plain bytes, in as many records as they take, without
 * a KeyUpdate that is due before them (tls_record_control() puts it out). */
size_t tls_record_size(const struct tls_record *t, size_t n);

/* Appends the blob: "TR", format 1, ... 96-136 bytes. -EPERM when dead. */
int tls_record_export(const struct tls_record *t, struct buf *out);
/* 0, or -EBADMSG (format, length, contents). */
int tls_record_import(struct tls_crypto *c, struct tls_record *t, const void *blob, size_t len);
#endif
