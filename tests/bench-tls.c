/* SPDX-License-Identifier: MIT */
/* Figures for lib/tls-record.c, no verdict: bench-tls [SESSIONS]. Microseconds
 * for each call. "others" takes each time another session, so that the shared
 * context gets its key anew; "same" stays with one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/tls-record.h"

#define BIG_BYTES	16384

static struct tls_crypto *crypto;
static struct tls_record *servers, *clients;
static size_t n_sessions = 10000;
static uint8_t text[BIG_BYTES];
static struct buf out;

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(int good)
{
	if (!good)
		abort();
}

/* Both ends of a session; a client is a server with its directions swapped. */
static void session_init(size_t i, enum tls_version v, enum tls_suite s)
{
	uint8_t secrets[3][48];

	memset(secrets, (int)s, sizeof(secrets));
	memcpy(secrets[0], &i, sizeof(i));
	memcpy(secrets[1], &i, sizeof(i));
	secrets[1][9] = 1;
	if (v == TLS_V13)
		must(tls_record_init13(crypto, &servers[i], s, secrets[0], 0, secrets[1], 0) == 0);
	else
		must(tls_record_init12(crypto, &servers[i], s, secrets[0], secrets[1], secrets[2],
			     1, 1, 1) == 0);
	clients[i] = servers[i];
	clients[i].rd = servers[i].wr;
	clients[i].wr = servers[i].rd;
}

static double seal(size_t rounds, size_t len, size_t stride)
{
	double t = now_us();

	for (size_t i = 0; i < rounds; i++) {
		buf_reset(&out);
		must(tls_record_seal(crypto, &servers[i * stride % n_sessions], text, len, &out) == 0);
	}
	return (now_us() - t) / (double)rounds;
}

/* Sealed ahead, so that only opening is timed. */
static double open_all(size_t rounds, size_t len, size_t stride)
{
	size_t size = tls_record_size(&clients[0], len), used, need, n;
	const uint8_t *plain;
	double t;

	buf_reset(&out);
	for (size_t i = 0; i < rounds; i++)
		must(tls_record_seal(crypto, &clients[i * stride % n_sessions], text, len, &out) == 0);
	must(out.len == rounds * size);
	t = now_us();
	for (size_t i = 0; i < rounds; i++)
		must(tls_record_open(crypto, &servers[i * stride % n_sessions],
			     out.data + i * size, size, &used, &need, &plain, &n) == TLS_DATA);
	return (now_us() - t) / (double)rounds;
}

static void move_all(double us[2])
{
	uint8_t blob[256];
	double t = now_us();
	size_t len;

	for (size_t i = 0; i < n_sessions; i++) {
		buf_reset(&out);
		must(tls_record_export(&servers[i], &out) == 0);
	}
	us[0] = (now_us() - t) / (double)n_sessions;
	len = out.len;
	memcpy(blob, out.data, len);
	t = now_us();
	for (size_t i = 0; i < n_sessions; i++)
		must(tls_record_import(crypto, &servers[i], blob, len) == 0);
	us[1] = (now_us() - t) / (double)n_sessions;
}

static void bench(enum tls_version v, enum tls_suite s)
{
	double move[2], small[4], big[2];

	for (size_t i = 0; i < n_sessions; i++)
		session_init(i, v, s);
	seal(1000, BIG_BYTES, 0);	/* warm, and the buffer as large as it gets */
	small[0] = seal(n_sessions, 20, 1);
	small[1] = seal(n_sessions, 20, 0);
	big[0] = seal(n_sessions / 4, BIG_BYTES, 0);
	for (size_t i = 0; i < n_sessions; i++)
		session_init(i, v, s);
	small[2] = open_all(n_sessions, 20, 1);
	for (size_t i = 0; i < n_sessions; i++)
		session_init(i, v, s);
	small[3] = open_all(n_sessions, 20, 0);
	session_init(0, v, s);
	big[1] = open_all(n_sessions / 20, BIG_BYTES, 0);
	move_all(move);
	printf("%s %-29s %7.2f %7.2f %7.2f %7.2f %7.2f %7.2f %7.2f %7.2f\n", tls_version_name(v),
		tls_suite_name(v, s), small[0], small[1], small[2], small[3], big[0], big[1],
		move[0], move[1]);
	fflush(stdout);
}

int main(int argc, char *argv[])
{
	if (argc > 1)
		n_sessions = strtoul(argv[1], NULL, 10);
	must(n_sessions >= 20);
	must((crypto = tls_crypto_create()) != NULL);
	must((servers = calloc(n_sessions, sizeof(*servers))) != NULL);
	must((clients = calloc(n_sessions, sizeof(*clients))) != NULL);
	buf_init(&out, SIZE_MAX);
	printf("%zu sessions, %zu bytes each; microseconds\n", n_sessions, sizeof(*servers));
	printf("%37s %15s %15s %15s\n", "", "seal 20 B", "open 20 B", "16 kB");
	printf("%37s %7s %7s %7s %7s %7s %7s %7s %7s\n", "", "others", "same", "others", "same",
		"seal", "open", "export", "import");
	for (unsigned v = TLS_V13; v >= TLS_V12; v--)
		for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++)
			bench(v, s);
	buf_deinit(&out);
	free(servers);
	free(clients);
	tls_crypto_destroy(&crypto);
	return 0;
}
