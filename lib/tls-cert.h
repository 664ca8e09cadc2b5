/* SPDX-License-Identifier: MIT */
#ifndef LIB_TLS_CERT_H
#define LIB_TLS_CERT_H
/* Certificates and keys as PEM text, for master, which checks them, and for
 * imap-login, which uses them. libcrypto only. */
#include <stddef.h>
#include <openssl/types.h>

/* A chain and its key, or a list of authorities, above this is none. */
#define TLS_PEM_MAX_BYTES	(1024 * 1024)
#define TLS_CHAIN_MAX		16
/* Certificates that one server may show (by SNI). Each is a descriptor. */
#define TLS_IDENTITIES_MAX	64

struct tls_cert {
	X509 *leaf;
	STACK_OF(X509) *chain;	/* what goes between leaf and root, perhaps empty */
	EVP_PKEY *key;
};
/* From text that holds the chain, leaf first, and the key, in any order. 0;
 * -EINVAL: *why_r (static) says what is wrong; -ENOMEM. */
int tls_cert_read(const void *pem, size_t len, struct tls_cert *cert_r, const char **why_r);
void tls_cert_deinit(struct tls_cert *cert);
/* Not after, not before: 0, or 1 expired, -1 not valid yet. */
int tls_cert_when(const struct tls_cert *cert);
/* All certificates in the text: at least one. */
int tls_cert_read_list(const void *pem, size_t len, STACK_OF(X509) **list_r,
		       const char **why_r);
void tls_cert_list_free(STACK_OF(X509) **list);
#endif
