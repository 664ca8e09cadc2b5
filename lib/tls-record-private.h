/* SPDX-License-Identifier: MIT */
#ifndef LIB_TLS_RECORD_PRIVATE_H
#define LIB_TLS_RECORD_PRIVATE_H
/* Between the files of the record layer: tls-record.c (records),
 * tls-record-content.c (what they say), tls-crypto.c (all that asks libcrypto),
 * tls-record-move.c (from the handshake and from one process to another). */
#include "lib/tls-record.h"

#define TLS_TAG_BYTES		16
#define TLS_NONCE_BYTES		12
#define TLS_EXPLICIT_BYTES	8	/* RFC 5288 3: the part of a nonce that travels */
#define TLS_FIXED_BYTES		4	/* and the part that does not */
/* Seals and opens no data any more; left for an alert. None may wrap (RFC 8446 5.3). */
#define TLS_SEQ_MAX		(UINT64_MAX - 1)
/* RFC 8446 5.5: 2^24.5 full records with AES-GCM. Ours come long before. */
#define TLS_GCM_UPDATE_AFTER	(UINT64_C(1) << 23)
/* 1.2 cannot change keys: the connection ends. */
#define TLS_GCM_RECORDS_MAX	(UINT64_C(1) << 32)
/* In a row, without data between them. */
#define TLS_EMPTY_MAX		32
#define TLS_WARNINGS_MAX	5
#define TLS_RENEGOTIATIONS_MAX	3	/* in all */
/* KeyUpdates ahead of data. Each record that we seal allows one more, since a
 * client at its key limit asks with every record until our answer gets there. */
#define TLS_UPDATE_CREDIT	32
#define TLS_HS_HEADER_BYTES	4

enum tls_content { CONTENT_CCS = 20, CONTENT_ALERT, CONTENT_HANDSHAKE, CONTENT_DATA };
enum tls_alert {
	ALERT_CLOSE_NOTIFY = 0, ALERT_UNEXPECTED_MESSAGE = 10, ALERT_BAD_RECORD_MAC = 20,
	ALERT_RECORD_OVERFLOW = 22, ALERT_HANDSHAKE_FAILURE = 40,
	ALERT_ILLEGAL_PARAMETER = 47, ALERT_DECODE_ERROR = 50,
	ALERT_PROTOCOL_VERSION = 70, ALERT_INTERNAL_ERROR = 80, ALERT_USER_CANCELED = 90,
	ALERT_NO_RENEGOTIATION = 100,
};
enum tls_alert_level { LEVEL_WARNING = 1, LEVEL_FATAL };
enum tls_handshake { HS_CLIENT_HELLO = 1, HS_KEY_UPDATE = 24 };

#define HS_KEY_UPDATE_BYTES	(TLS_HS_HEADER_BYTES + 1)

/* What a suite is: sizes, and whether the nonce has an explicit part in 1.2. */
struct tls_suite_info {
	const char *cipher, *digest;	/* as OpenSSL calls them */
	const char *name13, *name12;
	uint8_t key_bytes, secret_bytes;
	bool gcm;
};
/* NULL: no such suite. */
const struct tls_suite_info *tls_suite_info(unsigned suite);

static inline bool tls_has_explicit_nonce(const struct tls_record *t)
{
	return t->version == TLS_V12 && tls_suite_info(t->suite)->gcm;
}

static inline uint32_t tls_get_be(const uint8_t *in, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | in[i];
	return v;
}

/* Kills: no more is read, the alert is all that is still written. TLS_FAIL. */
enum tls_result tls_record_fail(struct tls_record *t, enum tls_alert alert);
/* The same without an alert: the client sent one, or none can be sealed. */
enum tls_result tls_record_die(struct tls_record *t, int alert);
/* Acts on the content of a record: counters, keys, what is owed. */
enum tls_result tls_record_content(struct tls_crypto *c, struct tls_record *t,
				   unsigned type, const uint8_t *text, size_t len);

/* One record's inputs but its text. */
struct tls_sealing {
	enum tls_suite suite;
	const struct tls_direction *dir;
	uint8_t nonce[TLS_NONCE_BYTES];
	uint8_t aad[13];
	size_t aad_len;
};
/* Writes len bytes, the type too if it is not negative, and the tag to out. 0 or -EIO. */
int tls_crypto_seal(struct tls_crypto *c, const struct tls_sealing *s,
		    const uint8_t *plain, size_t len, int type, uint8_t *out);
/* In place: text[0..len), the tag behind it. 0, -EBADMSG (then the text is wiped) or -EIO. */
int tls_crypto_open(struct tls_crypto *c, const struct tls_sealing *s, uint8_t *text,
		    size_t len);
/* RFC 8446 7.1: HKDF-Expand-Label(secret, label, "", n). 0 or -EIO. */
int tls_crypto_expand(struct tls_crypto *c, enum tls_suite suite, const uint8_t *secret,
		      const char *label, uint8_t *out, size_t n);
/* RFC 5246 5: PRF(master, seed), the label being the start of the seed. 0 or -EIO. */
int tls_crypto_prf(struct tls_crypto *c, enum tls_suite suite, const uint8_t master[48],
		   const uint8_t *seed, size_t seed_len, uint8_t *out, size_t n);
/* A key's number that this process has not used before. */
uint64_t tls_key_id(void);
/* 1.3: key and iv follow from the secret; sequence numbers begin. 0 or -EIO. */
int tls_direction_derive(struct tls_crypto *c, enum tls_suite suite,
			 struct tls_direction *d, uint64_t seq);
/* RFC 8446 7.2: the next generation of a secret, and what follows from it. 0 or -EIO. */
int tls_direction_update(struct tls_crypto *c, const struct tls_record *t,
			 struct tls_direction *d);
#endif
