/* SPDX-License-Identifier: MIT */
#include "lib/tls-cert.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

/* What OpenSSL's security level 2, which imap-login sets, asks of a key. */
#define KEY_SECURITY_BITS	112

static int refuse(const char **why_r, const char *why)
{
	ERR_clear_error();
	*why_r = why;
	return -EINVAL;
}

/* Nobody is there who could be asked for a password. */
static int no_password(char *text, int size, int rwflag, void *ctx)
{
	return -1;
}

static BIO *pem_open(const void *pem, size_t len)
{
	return len > INT_MAX ? NULL : BIO_new_mem_buf(pem, (int)len);
}

void tls_cert_list_free(STACK_OF(X509) **list)
{
	sk_X509_pop_free(*list, X509_free);
	*list = NULL;
}

static int read_certs(BIO *bio, size_t max, STACK_OF(X509) *list, const char **why_r)
{
	X509 *one;

	while ((one = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
		if ((size_t)sk_X509_num(list) >= max || !sk_X509_push(list, one)) {
			X509_free(one);
			return refuse(why_r, "holds too many certificates");
		}
	}
	/* The end of the text is an error, too; any other is one. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return refuse(why_r, "holds a certificate that cannot be read");
	ERR_clear_error();
	if (sk_X509_num(list) == 0)
		return refuse(why_r, "holds no certificate in PEM form");
	return 0;
}

int tls_cert_read_list(const void *pem, size_t len, STACK_OF(X509) **list_r,
		       const char **why_r)
{
	BIO *bio = pem_open(pem, len);
	STACK_OF(X509) *list = sk_X509_new_null();
	int ret = -ENOMEM;

	if (bio && list)
		ret = read_certs(bio, INT_MAX, list, why_r);
	BIO_free(bio);
	if (ret < 0)
		tls_cert_list_free(&list);
	*list_r = list;
	return ret;
}

static int read_key(const void *pem, size_t len, EVP_PKEY **key_r, const char **why_r)
{
	BIO *bio = pem_open(pem, len);

	if (!bio)
		return -ENOMEM;
	*key_r = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	BIO_free(bio);
	if (*key_r) {
		ERR_clear_error();
		return 0;
	}
	if (len > 0 && memmem(pem, len, "ENCRYPTED", 9))
		return refuse(why_r, "holds a key that is encrypted; store it without a password");
	return refuse(why_r, "holds no private key in PEM form");
}

static int cert_fits(const struct tls_cert *cert, const char **why_r)
{
	if (X509_check_private_key(cert->leaf, cert->key) != 1)
		return refuse(why_r, "certificate and key do not belong together (the server's own certificate must be the first)");
	if (EVP_PKEY_get_security_bits(cert->key) < KEY_SECURITY_BITS)
		return refuse(why_r, "the key is too short; RSA needs 2048 bits");
	return 0;
}

int tls_cert_read(const void *pem, size_t len, struct tls_cert *cert_r, const char **why_r)
{
	BIO *bio = pem_open(pem, len);
	int ret = -ENOMEM;

	*cert_r = (struct tls_cert){ .chain = sk_X509_new_null() };
	if (bio && cert_r->chain)
		ret = read_certs(bio, TLS_CHAIN_MAX, cert_r->chain, why_r);
	BIO_free(bio);
	if (ret == 0) {
		cert_r->leaf = sk_X509_shift(cert_r->chain);
		ret = read_key(pem, len, &cert_r->key, why_r);
	}
	if (ret == 0)
		ret = cert_fits(cert_r, why_r);
	if (ret < 0)
		tls_cert_deinit(cert_r);
	return ret;
}

void tls_cert_deinit(struct tls_cert *cert)
{
	X509_free(cert->leaf);
	tls_cert_list_free(&cert->chain);
	EVP_PKEY_free(cert->key);
	*cert = (struct tls_cert){ 0 };
}

int tls_cert_when(const struct tls_cert *cert)
{
	if (X509_cmp_current_time(X509_get0_notAfter(cert->leaf)) < 0)
		return 1;
	return X509_cmp_current_time(X509_get0_notBefore(cert->leaf)) > 0 ? -1 : 0;
}
