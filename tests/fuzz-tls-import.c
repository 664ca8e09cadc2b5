/* SPDX-License-Identifier: MIT */
/* Any bytes as the blob of a record state. What is accepted says exactly what
 * it was made from, and can be worked with. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/tls-record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_crypto *crypto;

static void must(bool good)
{
	if (!good)
		abort();
}

static void work(struct tls_record *t, const uint8_t *data, size_t size)
{
	uint8_t record[TLS_RECORD_MAX_BYTES];
	size_t n = size < sizeof(record) ? size : sizeof(record), used, need, len;
	const uint8_t *plain;
	struct buf out;

	buf_init(&out, 1 << 20);
	(void)tls_record_seal(crypto, t, data, size, &out);
	(void)tls_record_control(crypto, t, &out);
	(void)tls_record_update(crypto, t, true, &out);
	/* Its own bytes, as a record that nobody sealed. */
	memcpy(record, data, n);
	record[0] = 23;
	record[1] = record[2] = 3;
	record[3] = 0;
	record[4] = (uint8_t)(n - 5);
	must(tls_record_open(crypto, t, record, n, &used, &need, &plain, &len) != TLS_DATA);
	(void)tls_record_close(crypto, t, &out);
	(void)tls_record_control(crypto, t, &out);
	buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_record t = { 0 }, untouched = { 0 };
	struct buf again;

	if (!crypto)
		must((crypto = tls_crypto_create()) != NULL);
	if (tls_record_import(crypto, &t, data, size) != 0) {
		must(memcmp(&t, &untouched, sizeof(t)) == 0);
		return 0;
	}
	buf_init(&again, 256);
	must(!t.dead && tls_record_export(&t, &again) == 0);
	must(again.len == size && memcmp(again.data, data, size) == 0);
	work(&t, data, size);
	buf_deinit(&again);
	tls_record_wipe(&t);
	return 0;
}
