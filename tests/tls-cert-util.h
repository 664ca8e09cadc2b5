/* SPDX-License-Identifier: MIT */
#ifndef TESTS_TLS_CERT_UTIL_H
#define TESTS_TLS_CERT_UTIL_H
/* Certificates and keys for tests, made on the spot. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct test_cert {
	X509 *x509;
	EVP_PKEY *key;
	char *pem;		/* both */
	size_t len;
};

static inline void test_cert_extension(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	if (!e || !X509_add_ext(x, e, -1))
		abort();
	X509_EXTENSION_free(e);
}

static inline void test_cert_pem(struct test_cert *c)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;

	if (!PEM_write_bio_X509(bio, c->x509) ||
	    !PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL))
		abort();
	c->len = (size_t)BIO_get_mem_data(bio, &data);
	c->pem = strndup(data, c->len);
	BIO_free(bio);
}

/* issuer NULL: signed by itself, and an authority. alt: subjectAltName or NULL.
 * days: how long from now, negative: expired. hash: of the signature; NULL: one
 * that has none, Ed25519's, by a key that nobody else has. */
static inline struct test_cert test_cert_make_signed(const char *cn, const char *alt, int days,
						     const struct test_cert *issuer,
						     const char *hash)
{
	struct test_cert c = { .x509 = X509_new(), .key = EVP_EC_gen("P-256") };
	X509_NAME *name = X509_get_subject_name(c.x509);

	X509_set_version(c.x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.x509), 1 + rand());
	X509_gmtime_adj(X509_getm_notBefore(c.x509), -86400L * 400);
	X509_gmtime_adj(X509_getm_notAfter(c.x509), 86400L * days);
	X509_set_pubkey(c.x509, c.key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1,
				   0);
	X509_set_issuer_name(c.x509, issuer ? X509_get_subject_name(issuer->x509) : name);
	if (!issuer)
		test_cert_extension(c.x509, NID_basic_constraints, "critical,CA:TRUE");
	if (alt)
		test_cert_extension(c.x509, NID_subject_alt_name, alt);
	EVP_PKEY *own = hash ? NULL : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (!X509_sign(c.x509, own ? own : issuer ? issuer->key : c.key,
		       hash ? EVP_get_digestbyname(hash) : NULL))
		abort();
	EVP_PKEY_free(own);
	test_cert_pem(&c);
	return c;
}

static inline struct test_cert test_cert_make(const char *cn, const char *alt, int days,
					      const struct test_cert *issuer)
{
	return test_cert_make_signed(cn, alt, days, issuer, "SHA256");
}

static inline void test_cert_free(struct test_cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	free(c->pem);
}
#endif
