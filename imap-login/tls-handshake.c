/* SPDX-License-Identifier: MIT */
/* OpenSSL sees no socket: between two memory BIOs it is given exactly one whole
 * record for each step, and never asked to read application data. So it cannot
 * have taken a byte that belongs behind the handshake; what is not fed yet stays
 * with the caller. What is no TLS record does not reach it at all.
 *
 * The state of its record layer comes out by documented ways only: in TLS 1.3 the
 * traffic secrets by the key log callback, in 1.2 the master secret and the two
 * randoms; the sequence numbers by counting record headers behind Finished in the
 * message callback. A wrong count would be fatal and silent, so it is checked: the
 * last record that OpenSSL wrote must open with the key and number that come out.
 * Versions and suites are pinned: what we have not looked at is not exported.
 *
 * Ticket, SNI, ALPN and key log callbacks belong to a context, and SNI changes
 * the context: all contexts of a server are set up alike. */
#include "imap-login/tls-handshake.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/buf.h"
#include "lib/seal.h"
#include "lib/tls-cert.h"
#include "lib/tls-tickets.h"

#define SUITES_12	"ECDHE+AESGCM:ECDHE+CHACHA20"
#define SUITES_13	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CLIENT_RANDOM	"CLIENT_TRAFFIC_SECRET_0 "
#define SERVER_RANDOM	"SERVER_TRAFFIC_SECRET_0 "

/* ---- the library ---- */

static void wiping_free(void *p, const char *file, int line)
{
	if (!p)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *plain_malloc(size_t n, const char *file, int line)
{
	return n > 0 ? malloc(n) : NULL;
}

/* realloc() would leave the old place as it is. */
static void *wiping_realloc(void *p, size_t n, const char *file, int line)
{
	size_t have = p ? malloc_usable_size(p) : 0;
	void *to;

	if (n == 0) {
		wiping_free(p, file, line);
		return NULL;
	}
	if (have >= n)
		return p;
	to = malloc(n);
	if (to && p) {
		memcpy(to, p, have);
		wiping_free(p, file, line);
	}
	return to;
}

bool tls_library_init(void)
{
	bool wiping = CRYPTO_set_mem_functions(plain_malloc, wiping_realloc, wiping_free) == 1;

	/* The system's openssl.cnf must not change what is pinned here. */
	OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS |
			 OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
	return wiping;
}

/* ---- a server ---- */

struct identity {
	char *name;
	SSL_CTX *ctx;
};
struct tls_server {
	unsigned refs;
	struct identity *identities;
	size_t n_identities;
	X509_STORE *store;		/* NULL: no client certificates */
	uint8_t session_context[32];
	struct tls_ticket_keys tickets;
	EVP_CIPHER *ticket_cipher;
};

struct tls_handshake {
	struct tls_server *server;
	SSL *ssl;
	BIO *in, *out;			/* ssl's */
	uint8_t record[TLS_RECORD_MAX_BYTES];	/* from the client, until it is whole */
	size_t record_len;
	uint8_t last[TLS_RECORD_MAX_BYTES];	/* the last one that OpenSSL wrote */
	size_t last_len;
	size_t fed;
	bool answered;			/* OpenSSL has said something */
	bool done, failed;
	bool finished[2];		/* read, written */
	uint64_t seq[2];
	uint8_t secret[2][48];		/* 1.3: client's, server's */
	size_t secret_len[2];
	char reason[160];
};

static struct tls_handshake *handshake_of(const SSL *ssl)
{
	return SSL_get_app_data(ssl);
}

/* RFC 6125 6.4.3, as far as it is used: "*." stands for one label. */
static bool name_matches(const char *pattern, const char *name)
{
	const char *dot;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, name) == 0;
	dot = strchr(name, '.');
	return dot && dot > name && strcasecmp(pattern + 1, dot) == 0;
}

/* RFC 6066 3. An unknown name gets the first certificate, not an alert: many
 * clients send names that the administrator never heard of. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *server = handshake_of(ssl)->server;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (!name)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 1; i < server->n_identities; i++) {
		if (!name_matches(server->identities[i].name, name))
			continue;
		if (!SSL_set_SSL_CTX(ssl, server->identities[i].ctx))
			return SSL_TLSEXT_ERR_ALERT_FATAL;
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

/* RFC 7301 3.2; a client that means another protocol was led here by somebody
 * who wants us to misunderstand each other (RFC 9325 3.7). */
static int on_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x04imap";
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int ticket_key_use(const struct tls_server *server, const struct tls_ticket_key *key,
			  const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
			  int encrypt)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY,
			(void *)(uintptr_t)key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	if (!EVP_CipherInit_ex(cipher, server->ticket_cipher, NULL, key->aes, iv, encrypt) ||
	    !EVP_MAC_CTX_set_params(mac, params))
		return -1;
	return 1;
}

/* -1: failure; 0: not ours, a full handshake follows; 1; 2: ours, but make a new one. */
static int on_ticket(SSL *ssl, unsigned char name[TLS_TICKET_NAME_BYTES],
		     unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int make)
{
	const struct tls_server *server = handshake_of(ssl)->server;
	const struct tls_ticket_key *key = server->tickets.key;

	if (make) {
		memcpy(name, key->name, sizeof(key->name));
		if (seal_random(iv, (size_t)EVP_CIPHER_get_iv_length(server->ticket_cipher)) < 0)
			return -1;
		return ticket_key_use(server, key, iv, cipher, mac, 1);
	}
	for (int i = 0; i < TLS_TICKET_KEYS; i++) {
		int ret;

		if (memcmp(name, key[i].name, sizeof(key->name)) != 0)
			continue;
		ret = ticket_key_use(server, &key[i], iv, cipher, mac, 0);
		/* RFC 8446 C.4: a ticket of 1.3 is for one use, so a new one goes along. */
		return ret == 1 && (i > 0 || SSL_version(ssl) == TLS1_3_VERSION) ? 2 : ret;
	}
	return 0;
}

static bool from_hex(const char *hex, uint8_t *out, size_t max, size_t *len_r)
{
	size_t n = 0;

	for (; hex[0] && hex[1]; hex += 2) {
		int high = OPENSSL_hexchar2int((unsigned char)hex[0]);
		int low = OPENSSL_hexchar2int((unsigned char)hex[1]);

		if (high < 0 || low < 0 || n == max)
			return false;
		out[n++] = (uint8_t)(high << 4 | low);
	}
	*len_r = n;
	return !*hex;
}

/* The key log's lines: LABEL client-random secret, the last two in hex. */
static void on_secret(const SSL *ssl, const char *line)
{
	struct tls_handshake *hs = handshake_of(ssl);
	int which;

	if (strncmp(line, CLIENT_RANDOM, sizeof(CLIENT_RANDOM) - 1) == 0)
		which = 0;
	else if (strncmp(line, SERVER_RANDOM, sizeof(SERVER_RANDOM) - 1) == 0)
		which = 1;
	else
		return;
	line = strchr(line + sizeof(CLIENT_RANDOM) - 1, ' ');
	if (!line || !from_hex(line + 1, hs->secret[which], sizeof(hs->secret[which]),
			       &hs->secret_len[which]))
		hs->secret_len[which] = 0;
}

static void on_message(int written, int version, int type, const void *data, size_t len,
		       SSL *ssl, void *arg)
{
	struct tls_handshake *hs = arg;
	int way = written ? 1 : 0;

	if (type == SSL3_RT_HEADER && hs->finished[way])
		hs->seq[way]++;
	if (type == SSL3_RT_HANDSHAKE && len > 0 &&
	    *(const uint8_t *)data == SSL3_MT_FINISHED)
		hs->finished[way] = true;
}

static int context_client_certs(SSL_CTX *ctx, const struct tls_server *server,
				STACK_OF(X509) *authorities)
{
	SSL_CTX_set1_cert_store(ctx, server->store);
	for (int i = 0; i < sk_X509_num(authorities); i++) {
		if (!SSL_CTX_add_client_CA(ctx, sk_X509_value(authorities, i)))
			return -ENOMEM;
	}
	/* One that is given must be good; none is good as well. */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return 0;
}

static int context_limits(SSL_CTX *ctx)
{
	SSL_CTX_set_security_level(ctx, 2);
	SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_KTLS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_read_ahead(ctx, 0);
	SSL_CTX_set_max_early_data(ctx, 0);
	/* Sessions are in tickets: the next connection is another process's. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, TLS_TICKET_ROTATE_S);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_cipher_list(ctx, SUITES_12) ||
	    !SSL_CTX_set_ciphersuites(ctx, SUITES_13))
		return -EINVAL;
	return 0;
}

static int context_identity(SSL_CTX *ctx, const struct tls_identity *id, const char **why_r)
{
	struct tls_cert cert;
	int ret = tls_cert_read(id->pem, id->len, &cert, why_r);

	if (ret < 0)
		return ret;
	if (SSL_CTX_use_cert_and_key(ctx, cert.leaf, cert.key, cert.chain, 1) != 1) {
		const char *text = ERR_reason_error_string(ERR_peek_last_error());

		*why_r = text ? text : "cannot be used";
		ret = -EINVAL;
	}
	tls_cert_deinit(&cert);
	return ret;
}

static int context_make(struct tls_server *server, const struct tls_identity *id,
			STACK_OF(X509) *authorities, SSL_CTX **ctx_r, const char **why_r)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int ret = -ENOMEM;

	*ctx_r = ctx;
	if (!ctx)
		return ret;
	ret = context_limits(ctx);
	if (ret == 0)
		ret = context_identity(ctx, id, why_r);
	if (ret == 0 && server->store)
		ret = context_client_certs(ctx, server, authorities);
	if (ret == 0 && !SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket))
		ret = -EINVAL;
	SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
	SSL_CTX_set_alpn_select_cb(ctx, on_protocols, NULL);
	SSL_CTX_set_keylog_callback(ctx, on_secret);
	return ret;
}

static int server_authorities(struct tls_server *server, const struct tls_server_parts *parts,
			      STACK_OF(X509) **list_r, const char **why_r)
{
	int ret;

	*list_r = NULL;
	if (!parts->ca)
		return 0;
	ret = tls_cert_read_list(parts->ca, parts->ca_len, list_r, why_r);
	if (ret < 0)
		return ret;
	server->store = X509_STORE_new();
	if (!server->store)
		return -ENOMEM;
	for (int i = 0; i < sk_X509_num(*list_r); i++) {
		if (!X509_STORE_add_cert(server->store, sk_X509_value(*list_r, i)))
			return -ENOMEM;
	}
	return 0;
}

static int server_identities(struct tls_server *server, const struct tls_server_parts *parts,
			     STACK_OF(X509) *authorities, const char **why_r)
{
	server->identities = calloc(parts->n_identities, sizeof(*server->identities));
	if (!server->identities)
		return -ENOMEM;
	for (size_t i = 0; i < parts->n_identities; i++) {
		struct identity *id = &server->identities[server->n_identities++];
		int ret;

		id->name = strdup(parts->identities[i].name);
		if (!id->name)
			return -ENOMEM;
		ret = context_make(server, &parts->identities[i], authorities, &id->ctx, why_r);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* A session of clients that other authorities vouched for is not resumed, nor one
 * that began with another certificate than there is now: a client binds to the
 * one that it was shown then (RFC 5929 4). One for all names, since TLS 1.2 looks
 * for the session before it looks at the name. */
static int server_sessions(struct tls_server *server, const struct tls_server_parts *parts)
{
	uint8_t *context = server->session_context, digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned len;
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
		EVP_DigestUpdate(md, parts->ca, parts->ca ? parts->ca_len : 0);

	for (size_t i = 0; ok && i < server->n_identities; i++)
		ok = X509_digest(SSL_CTX_get0_certificate(server->identities[i].ctx),
				 EVP_sha256(), digest, &len) &&
			EVP_DigestUpdate(md, digest, len);
	ok = ok && EVP_DigestFinal_ex(md, context, NULL);
	EVP_MD_CTX_free(md);
	for (size_t i = 0; ok && i < server->n_identities; i++)
		ok = SSL_CTX_set_session_id_context(server->identities[i].ctx, context,
						    sizeof(server->session_context));
	return ok ? 0 : -ENOMEM;
}

int tls_server_create(const struct tls_server_parts *parts, struct tls_server **server_r,
		      const char **why_r)
{
	struct tls_server *server = calloc(1, sizeof(*server));
	STACK_OF(X509) *authorities = NULL;
	int ret;

	*why_r = "out of memory";
	*server_r = NULL;
	if (!server)
		return -ENOMEM;
	assert(parts->n_identities > 0);
	server->refs = 1;
	server->tickets = *parts->tickets;
	server->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	ret = server->ticket_cipher ? 0 : -ENOMEM;
	if (ret == 0)
		ret = server_authorities(server, parts, &authorities, why_r);
	if (ret == 0)
		ret = server_identities(server, parts, authorities, why_r);
	if (ret == 0)
		ret = server_sessions(server, parts);
	tls_cert_list_free(&authorities);
	ERR_clear_error();
	if (ret < 0)
		tls_server_unref(&server);
	*server_r = server;
	return ret;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
	server->refs++;
	return server;
}

void tls_server_unref(struct tls_server **server_p)
{
	struct tls_server *server = *server_p;

	*server_p = NULL;
	if (!server || --server->refs > 0)
		return;
	for (size_t i = 0; i < server->n_identities; i++) {
		free(server->identities[i].name);
		SSL_CTX_free(server->identities[i].ctx);
	}
	free(server->identities);
	X509_STORE_free(server->store);
	EVP_CIPHER_free(server->ticket_cipher);
	tls_ticket_keys_wipe(&server->tickets);
	free(server);
}

/* ---- one handshake ---- */

static bool handshake_init(struct tls_handshake *hs)
{
	hs->ssl = SSL_new(hs->server->identities[0].ctx);
	hs->in = BIO_new(BIO_s_mem());
	hs->out = BIO_new(BIO_s_mem());
	if (!hs->ssl || !hs->in || !hs->out) {
		BIO_free(hs->in);
		BIO_free(hs->out);
		return false;
	}
	/* Empty is "not yet", not the end. */
	BIO_set_mem_eof_return(hs->in, -1);
	SSL_set_bio(hs->ssl, hs->in, hs->out);
	SSL_set_app_data(hs->ssl, hs);
	SSL_set_msg_callback(hs->ssl, on_message);
	SSL_set_msg_callback_arg(hs->ssl, hs);
	SSL_set_accept_state(hs->ssl);
	return true;
}

struct tls_handshake *tls_handshake_create(struct tls_server *server)
{
	struct tls_handshake *hs = calloc(1, sizeof(*hs));

	if (!hs)
		return NULL;
	hs->server = tls_server_ref(server);
	if (!handshake_init(hs))
		tls_handshake_destroy(&hs);
	return hs;
}

void tls_handshake_destroy(struct tls_handshake **hs_p)
{
	struct tls_handshake *hs = *hs_p;

	*hs_p = NULL;
	if (!hs)
		return;
	if (hs->ssl) {
		/* It is not over, only no longer OpenSSL's. */
		SSL_set_shutdown(hs->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(hs->ssl);
	}
	ERR_clear_error();
	tls_server_unref(&hs->server);
	explicit_bzero(hs, sizeof(*hs));
	free(hs);
}

const char *tls_handshake_reason(const struct tls_handshake *hs)
{
	return hs->reason;
}

static enum tls_handshake_result handshake_fail(struct tls_handshake *hs, const char *reason)
{
	hs->failed = true;
	snprintf(hs->reason, sizeof(hs->reason), "%s", reason);
	return TLS_HANDSHAKE_FAILED;
}

/* What is refused before OpenSSL saw it. An alert in clear text is of use only
 * as long as nothing is sealed. */
static enum tls_handshake_result handshake_refuse(struct tls_handshake *hs, uint8_t alert,
						  const char *reason, struct buf *out)
{
	const uint8_t record[] = { SSL3_RT_ALERT, 3, 1, 0, 2, SSL3_AL_FATAL, alert };

	if (!hs->answered)
		buf_append(out, record, sizeof(record));
	return handshake_fail(hs, reason);
}

/* OpenSSL writes whole records. */
static void handshake_note_last(struct tls_handshake *hs, const uint8_t *data, size_t len)
{
	size_t n;

	for (; len >= TLS_HEADER_BYTES; data += n, len -= n) {
		n = TLS_HEADER_BYTES + ((size_t)data[3] << 8 | data[4]);
		if (n > len || n > sizeof(hs->last))
			break;
		memcpy(hs->last, data, n);
		hs->last_len = n;
	}
	if (len > 0)
		hs->last_len = 0;
}

static bool handshake_collect(struct tls_handshake *hs, struct buf *out)
{
	char *data;
	long len = BIO_get_mem_data(hs->out, &data);

	if (len <= 0)
		return true;
	hs->answered = true;
	handshake_note_last(hs, (const uint8_t *)data, (size_t)len);
	buf_append(out, data, (size_t)len);
	(void)BIO_reset(hs->out);
	return !out->failed;
}

static enum tls_handshake_result handshake_fail_openssl(struct tls_handshake *hs, int error)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(e);
	long verdict = SSL_get_verify_result(hs->ssl);

	if (error == SSL_ERROR_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
	    verdict != X509_V_OK)
		reason = X509_verify_cert_error_string(verdict);
	handshake_fail(hs, reason ? reason : "OpenSSL gives no reason");
	ERR_clear_error();
	return TLS_HANDSHAKE_FAILED;
}

/* One whole record. */
static enum tls_handshake_result handshake_step(struct tls_handshake *hs, struct buf *out)
{
	int ret, error;

	if (BIO_write(hs->in, hs->record, (int)hs->record_len) != (int)hs->record_len)
		return handshake_fail(hs, "out of memory");
	hs->record_len = 0;
	ERR_clear_error();
	ret = SSL_do_handshake(hs->ssl);
	error = SSL_get_error(hs->ssl, ret);
	if (!handshake_collect(hs, out))
		return handshake_fail(hs, "out of memory");
	if (ret == 1) {
		/* In 1.2 application data might stand in Finished's own record. */
		if (BIO_pending(hs->in) > 0 || SSL_has_pending(hs->ssl))
			return handshake_fail(hs, "data glued to the handshake");
		hs->done = true;
		return TLS_HANDSHAKE_DONE;
	}
	return error == SSL_ERROR_WANT_READ ? TLS_HANDSHAKE_MORE
					    : handshake_fail_openssl(hs, error);
}

static const char *header_reason(const struct tls_handshake *hs)
{
	/* A client that knows nothing of TLS begins with a letter. */
	if (hs->record[0] < SSL3_RT_CHANGE_CIPHER_SPEC ||
	    hs->record[0] > SSL3_RT_APPLICATION_DATA)
		return "not a TLS record";
	return hs->record[1] == 3 ? NULL : "not a record of TLS 1.x";
}

/* Fills hs->record up to want bytes. True: it is there. */
static bool handshake_take(struct tls_handshake *hs, const uint8_t *data, size_t len,
			   size_t *used, size_t want)
{
	size_t n = want - hs->record_len;

	if (n > len - *used)
		n = len - *used;
	memcpy(hs->record + hs->record_len, data + *used, n);
	hs->record_len += n;
	hs->fed += n;
	*used += n;
	return hs->record_len == want;
}

/* The next record, as far as it goes. */
static enum tls_handshake_result handshake_next(struct tls_handshake *hs, const uint8_t *data,
						size_t len, size_t *used, struct buf *out,
						bool *more)
{
	size_t n;

	*more = false;
	if (hs->record_len < TLS_HEADER_BYTES) {
		bool whole = handshake_take(hs, data, len, used, TLS_HEADER_BYTES);
		const char *reason = hs->record_len > 1 ? header_reason(hs) : NULL;

		if (reason)
			return handshake_refuse(hs, SSL3_AD_UNEXPECTED_MESSAGE, reason, out);
		if (!whole)
			return TLS_HANDSHAKE_MORE;
	}
	n = (size_t)hs->record[3] << 8 | hs->record[4];
	if (n > TLS_RECORD_MAX_BYTES - TLS_HEADER_BYTES)
		return handshake_refuse(hs, TLS1_AD_RECORD_OVERFLOW, "record too long", out);
	if (!handshake_take(hs, data, len, used, TLS_HEADER_BYTES + n))
		return TLS_HANDSHAKE_MORE;
	if (hs->fed > TLS_HANDSHAKE_MAX_BYTES)
		return handshake_refuse(hs, SSL3_AD_UNEXPECTED_MESSAGE, "handshake too long", out);
	*more = true;
	return handshake_step(hs, out);
}

enum tls_handshake_result tls_handshake_feed(struct tls_handshake *hs, const void *data,
					     size_t len, size_t *used_r, struct buf *out)
{
	enum tls_handshake_result result;
	bool more;

	assert(!hs->done && !hs->failed);
	*used_r = 0;
	do
		result = handshake_next(hs, data, len, used_r, out, &more);
	while (result == TLS_HANDSHAKE_MORE && more && *used_r < len);
	return result;
}

/* ---- what comes out ---- */

static int export_fail(struct tls_handshake *hs, int error, const char *reason)
{
	handshake_fail(hs, reason);
	ERR_clear_error();
	return error;
}

static int suite_of(const SSL *ssl, enum tls_suite *suite_r)
{
	switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl))) {
	case NID_aes_128_gcm:		*suite_r = TLS_AES128_GCM_SHA256; return 0;
	case NID_aes_256_gcm:		*suite_r = TLS_AES256_GCM_SHA384; return 0;
	case NID_chacha20_poly1305:	*suite_r = TLS_CHACHA20_SHA256; return 0;
	default:			return -EINVAL;
	}
}

static int export_13(struct tls_handshake *hs, struct tls_crypto *crypto, enum tls_suite suite,
		     struct tls_record *record)
{
	size_t len = suite == TLS_AES256_GCM_SHA384 ? 48 : 32;

	if (hs->secret_len[0] != len || hs->secret_len[1] != len)
		return -EINVAL;
	return tls_record_init13(crypto, record, suite, hs->secret[0], hs->seq[0],
				 hs->secret[1], hs->seq[1]);
}

/* OpenSSL numbers its explicit nonces from a random beginning: ours go on. */
static uint64_t next_nonce(const struct tls_handshake *hs)
{
	uint64_t nonce = 0;

	for (size_t i = 0; hs->last_len >= TLS_HEADER_BYTES + 8 && i < 8; i++)
		nonce = nonce << 8 | hs->last[TLS_HEADER_BYTES + i];
	return nonce + 1;
}

static int export_12(struct tls_handshake *hs, struct tls_crypto *crypto, enum tls_suite suite,
		     struct tls_record *record)
{
	uint8_t master[48], client_random[32], server_random[32];
	int ret = -EINVAL;

	/* Finished is the first record under the new keys. */
	if (SSL_SESSION_get_master_key(SSL_get0_session(hs->ssl), master, sizeof(master)) ==
		    sizeof(master) &&
	    SSL_get_client_random(hs->ssl, client_random, 32) == 32 &&
	    SSL_get_server_random(hs->ssl, server_random, 32) == 32)
		ret = tls_record_init12(crypto, record, suite, master, client_random,
					server_random, hs->seq[0] + 1, hs->seq[1] + 1,
					next_nonce(hs));
	explicit_bzero(master, sizeof(master));
	return ret;
}

/* As if we were the client: the record opens if key and number are right. What
 * is in it (a ticket, or Finished) is then refused, for it comes from a server. */
static bool export_is_right(struct tls_handshake *hs, struct tls_crypto *crypto,
			    const struct tls_record *record)
{
	struct tls_record probe = *record;
	size_t used, need, len;
	const uint8_t *plain;
	bool right = false;

	if (hs->last_len == 0)
		return false;
	/* A client of 1.3 that wants no ticket: nothing is sealed with the new key. */
	if (record->wr.seq == 0)
		return record->version == TLS_V13;
	probe.rd = record->wr;
	probe.rd.seq--;
	switch (tls_record_open(crypto, &probe, hs->last, hs->last_len, &used, &need, &plain,
				&len)) {
	case TLS_NONE: case TLS_REPLY: case TLS_DATA: case TLS_EOF:
		right = true;
		break;
	case TLS_FAIL:	/* of all that is said only after the MAC was right */
		right = probe.alert == SSL3_AD_UNEXPECTED_MESSAGE ||
			probe.alert == SSL3_AD_ILLEGAL_PARAMETER ||
			probe.alert == TLS1_AD_DECODE_ERROR;
		break;
	case TLS_MORE:
		break;
	}
	tls_record_wipe(&probe);
	hs->last_len = 0;
	return right;
}

static void export_limits(const SSL *ssl, struct tls_record *record)
{
	/* RFC 6066 4: 1 to 4 stand for 512 to 4096. */
	unsigned code = SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl));

	if (code >= 1 && code <= 4)
		record->send_max = record->recv_max = (uint16_t)(256u << code);
}

/* RFC 9266 3: in 1.2 unique only with the extended master secret. */
static void facts_exporter(SSL *ssl, struct tls_facts *facts)
{
	static const char label[] = "EXPORTER-Channel-Binding";

	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
		return;
	if (SSL_export_keying_material(ssl, facts->exporter, 32, label, sizeof(label) - 1,
				       (const unsigned char *)"", 0, 1) == 1)
		facts->exporter_len = 32;
}

/* RFC 5929 4.1: the hash of the signature, but SHA-256 for MD5 and SHA-1; not
 * defined for signatures without one. RFC 7677 4: not on a session that was
 * resumed without the extended master secret. */
static void facts_endpoint(SSL *ssl, struct tls_facts *facts)
{
	X509 *cert = SSL_get_certificate(ssl);
	int nid = NID_undef;
	unsigned len = 0;
	const EVP_MD *md;

	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_session_reused(ssl) &&
	    SSL_get_extms_support(ssl) != 1)
		return;
	if (!cert || !X509_get_signature_info(cert, &nid, NULL, NULL, NULL) || nid == NID_undef)
		return;
	if (nid == NID_md5 || nid == NID_sha1)
		nid = NID_sha256;
	md = EVP_get_digestbynid(nid);
	if (md && EVP_MD_get_size(md) <= (int)sizeof(facts->endpoint) &&
	    X509_digest(cert, md, facts->endpoint, &len))
		facts->endpoint_len = len;
}

/* A name with anything in it that is no text is none. */
static bool name_take(const ASN1_STRING *from, char *name)
{
	unsigned char *text = NULL;
	int len = ASN1_STRING_to_UTF8(&text, from);
	bool good = len > 0 && len <= USER_NAME_MAX_BYTES;

	for (int i = 0; good && i < len; i++)
		good = text[i] >= 0x20 && text[i] != 0x7f;
	if (good) {
		memcpy(name, text, (size_t)len);
		name[len] = '\0';
	}
	OPENSSL_free(text);
	return good;
}

static bool name_from_mail(X509 *cert, char *name)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);

		if (one->type == GEN_EMAIL)
			found = name_take(one->d.rfc822Name, name);
	}
	GENERAL_NAMES_free(names);
	return found;
}

static bool name_from_subject(X509 *cert, char *name)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	/* Of two it could be either. */
	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return false;
	return name_take(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), name);
}

/* A resumed session brings its certificate along: it may have expired since. */
static void facts_external(SSL *ssl, struct tls_facts *facts)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	if (!cert || SSL_get_verify_result(ssl) != X509_V_OK ||
	    !(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) ||
	    X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return;
	if (!name_from_mail(cert, facts->external))
		(void)name_from_subject(cert, facts->external);
}

int tls_handshake_export(struct tls_handshake *hs, struct tls_crypto *crypto,
			 struct tls_record *record, struct tls_facts *facts_r)
{
	enum tls_suite suite;
	int ret;

	assert(hs->done);
	*facts_r = (struct tls_facts){ .resumed = SSL_session_reused(hs->ssl) == 1 };
	if (suite_of(hs->ssl, &suite) < 0 || !hs->finished[0] || !hs->finished[1])
		return export_fail(hs, -EINVAL, "unknown cipher suite");
	switch (SSL_version(hs->ssl)) {
	case TLS1_3_VERSION:	ret = export_13(hs, crypto, suite, record); break;
	case TLS1_2_VERSION:	ret = export_12(hs, crypto, suite, record); break;
	default:		ret = -EINVAL; break;
	}
	if (ret < 0)
		return export_fail(hs, ret, "keys cannot be taken out");
	export_limits(hs->ssl, record);
	if (!export_is_right(hs, crypto, record)) {
		tls_record_wipe(record);
		return export_fail(hs, -EPROTO, "keys taken out do not fit");
	}
	facts_exporter(hs->ssl, facts_r);
	facts_endpoint(hs->ssl, facts_r);
	facts_external(hs->ssl, facts_r);
	ERR_clear_error();
	return 0;
}
