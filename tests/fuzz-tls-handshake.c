/* SPDX-License-Identifier: MIT */
/* What a stranger sends before there are keys. The first byte says in what pieces
 * the rest arrives; the feeder must not depend on it. OpenSSL's own reader of a
 * ClientHello gets its share too. */
#include <stdlib.h>
#include <string.h>

#include "imap-login/tls-handshake.h"
#include "lib/buf.h"
#include "lib/tls-tickets.h"
#include "tests/tls-cert-util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_server *server_get(void)
{
	static struct tls_server *server;
	const char *why;

	if (!server) {
		struct test_cert cert = test_cert_make("localhost", "DNS:localhost", 30, NULL);
		const struct tls_identity id = { .name = "", .pem = cert.pem, .len = cert.len };
		const struct tls_ticket_keys tickets = { .made_s = 1 };
		const struct tls_server_parts parts = {
			.identities = &id, .n_identities = 1, .tickets = &tickets,
		};

		if (tls_server_create(&parts, &server, &why) < 0)
			abort();
		test_cert_free(&cert);
	}
	return server;
}

struct outcome {
	enum tls_handshake_result result;
	size_t used, said;
	uint8_t first;
};

static struct outcome handshake_run(const uint8_t *data, size_t size, size_t piece)
{
	struct tls_handshake *hs = tls_handshake_create(server_get());
	struct outcome o = { .result = TLS_HANDSHAKE_MORE };
	struct buf out;

	if (!hs)
		abort();
	buf_init(&out, 1 << 20);
	while (o.result == TLS_HANDSHAKE_MORE && o.used < size) {
		size_t n = size - o.used < piece ? size - o.used : piece, used = 0;

		o.result = tls_handshake_feed(hs, data + o.used, n, &used, &out);
		/* While it wants more it has taken all. */
		if (used > n || (o.result == TLS_HANDSHAKE_MORE && used != n))
			abort();
		o.used += used;
	}
	/* Nobody proves here that he knows the keys. */
	if (o.result == TLS_HANDSHAKE_DONE ||
	    (o.result == TLS_HANDSHAKE_FAILED && !*tls_handshake_reason(hs)))
		abort();
	o.said = out.len;
	o.first = out.len > 0 ? out.data[0] : 0;
	buf_wipe(&out);
	tls_handshake_destroy(&hs);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, pieces;

	if (size < 2)
		return 0;
	whole = handshake_run(data + 1, size - 1, size);
	pieces = handshake_run(data + 1, size - 1, (size_t)data[0] + 1);
	if (whole.result != pieces.result || whole.first != pieces.first)
		abort();
	return 0;
}
