/* SPDX-License-Identifier: MIT */
/* A client of the record layer that does what the input says: bytes that are
 * no records, records with any content and padding sealed as they should be,
 * broken ones, KeyUpdates, while the server seals, answers, closes and moves
 * to another process in between. The client has the right keys throughout: a
 * sealed record that nobody broke must not fail for its tag. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/tls-record.h"
#include "tests/tls-peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX		(1 << 20)
#define BAD_RECORD_MAC	20

static struct tls_crypto *crypto;
static struct tls_record server;
static struct peer client;
static struct buf out;		/* from the server, not opened yet */
static uint8_t filler[TLS_PLAIN_MAX_BYTES + 300];

enum op {
	OP_RAW, OP_SEALED, OP_LONG, OP_BROKEN, OP_CUT, OP_UPDATE, OP_SEAL, OP_SEAL_LONG,
	OP_CONTROL, OP_CLOSE, OP_OUR_UPDATE, OP_MOVE, OP_AGE, OP_COUNT,
};

static void open_one(const uint8_t *record, size_t len, bool authentic)
{
	uint8_t *copy = malloc(len + !len);
	bool was_dead = server.dead, was_closed = server.read_closed;
	uint64_t id = server.rd.id;
	size_t used, need, n;
	const uint8_t *plain;

	peer_must(copy != NULL);
	if (len)
		memcpy(copy, record, len);
	enum tls_result result = tls_record_open(crypto, &server, copy, len, &used, &need,
		&plain, &n);
	peer_must(used <= len);
	switch (result) {
	case TLS_MORE:
		peer_must(used == 0 && need > len && need <= TLS_RECORD_MAX_BYTES);
		break;
	case TLS_DATA:
		peer_must(n > 0 && n <= server.recv_max && plain >= copy &&
			  plain + n <= copy + used);
		break;
	case TLS_NONE:
	case TLS_REPLY:
		peer_must(used > 0);
		break;
	case TLS_EOF:
		peer_must(server.read_closed);
		break;
	case TLS_FAIL:
		peer_must(server.dead);
		break;
	}
	/* Data is what a client has sealed, nothing else. */
	peer_must(result != TLS_DATA || authentic);
	peer_must(!was_dead || result == TLS_FAIL);
	if (authentic && !was_dead && !was_closed) {
		peer_must(result != TLS_MORE);
		/* Not for its tag; but its text may be that very alert. */
		peer_must(!server.alert_owed || server.alert != BAD_RECORD_MAC);
	}
	if (!server.dead && server.rd.id != id)
		peer_update(client.suite, &client.wr);
	free(copy);
}

/* Everything that the server sealed opens. */
static void drain(void)
{
	size_t at = 0, n, len;
	uint8_t *text;
	int type;

	while (at < out.len) {
		n = peer_open(&client, out.data + at, out.len - at, &type, &text, &len);
		peer_must(n > 0);
		at += n;
	}
	buf_reset(&out);
}

static void move_state(void)
{
	struct tls_record next;
	struct buf blob, again;
	int ret;

	buf_init(&blob, 256);
	buf_init(&again, 256);
	ret = tls_record_export(&server, &blob);
	peer_must(ret == (server.dead ? -EPERM : 0));
	if (ret == 0) {
		peer_must(tls_record_import(crypto, &next, blob.data, blob.len) == 0);
		tls_record_wipe(&server);
		server = next;
		peer_must(tls_record_export(&server, &again) == 0);
		peer_must(again.len == blob.len && memcmp(again.data, blob.data, blob.len) == 0);
	}
	buf_deinit(&blob);
	buf_deinit(&again);
}

/* The content of a record: n bytes of the input. */
static void seal_input(struct cursor *in, size_t n, size_t pad, struct buf *wire)
{
	int type = cursor_u8(in);
	const uint8_t *text;

	if (n > cursor_left(in))
		n = cursor_left(in);
	text = cursor_bytes(in, n);
	peer_seal(&client, type, text, n, pad, wire);
}

static void break_record(struct cursor *in, struct buf *wire)
{
	size_t at = cursor_u16(in) % wire->len;
	uint8_t with = cursor_u8(in);

	wire->data[at] ^= with ? with : 1;
}

static void seal_ours(size_t n)
{
	int ret = tls_record_seal(crypto, &server, filler, n, &out);

	peer_must(ret == 0 || server.dead || (ret == -EPIPE && server.write_closed));
}

static void step(struct cursor *in)
{
	enum op op = cursor_u8(in) % OP_COUNT;
	struct peer before = client;
	struct buf wire;
	size_t n;

	buf_init(&wire, OUT_MAX);
	switch (op) {
	case OP_RAW:
		n = cursor_u8(in);
		if (n > cursor_left(in))
			n = cursor_left(in);
		open_one(cursor_bytes(in, n), n, false);
		break;
	case OP_SEALED:
		n = cursor_u8(in);
		seal_input(in, n, cursor_u8(in), &wire);
		open_one(wire.data, wire.len, true);
		break;
	case OP_LONG:
		n = cursor_u16(in) % sizeof(filler);
		peer_seal(&client, cursor_u8(in), filler, n, cursor_u8(in), &wire);
		open_one(wire.data, wire.len, true);
		break;
	case OP_BROKEN:
		seal_input(in, cursor_u8(in), 0, &wire);
		break_record(in, &wire);
		open_one(wire.data, wire.len, false);
		/* One that claims to be longer was not taken. */
		if (!server.dead)
			client = before;
		break;
	case OP_CUT:
		seal_input(in, cursor_u8(in), 0, &wire);
		n = cursor_u8(in) % wire.len;
		open_one(wire.data, n, false);
		open_one(wire.data, wire.len, true);
		break;
	case OP_UPDATE: {
		const uint8_t text[5] = { 24, 0, 0, 1, cursor_u8(in) & 1 };

		n = cursor_u8(in) % 5;
		if (n)
			peer_seal(&client, PEER_HANDSHAKE, text, n, 0, &wire);
		if (n)
			open_one(wire.data, wire.len, true);
		buf_reset(&wire);
		peer_seal(&client, PEER_HANDSHAKE, text + n, 5 - n, 0, &wire);
		open_one(wire.data, wire.len, true);
		break;
	}
	case OP_SEAL:
		seal_ours(cursor_u8(in));
		break;
	case OP_SEAL_LONG:
		seal_ours(cursor_u16(in) % sizeof(filler));
		break;
	case OP_CONTROL:
		peer_must(tls_record_control(crypto, &server, &out) == 0 || server.dead);
		break;
	case OP_CLOSE:
		tls_record_close(crypto, &server, &out);
		peer_must(server.dead || server.write_closed);
		break;
	case OP_OUR_UPDATE:
		tls_record_update(crypto, &server, cursor_u8(in) & 1, &out);
		break;
	case OP_MOVE:
		move_state();
		break;
	case OP_AGE:	/* later in the life of a key, for both sides */
		drain();
		n = cursor_u8(in);
		if (server.dead || server.wr.seq > 1000 || server.rd.seq > 1000)
			break;
		server.wr.seq = client.rd.seq = n & 1 ? (1u << 23) - 2 : UINT64_MAX - n;
		if (n & 2)
			server.rd.seq = client.wr.seq = UINT64_MAX - n;
		break;
	case OP_COUNT:
		break;
	}
	drain();
	buf_deinit(&wire);
}

/* The dead say nothing more than they have. */
static void end(void)
{
	if (server.dead) {
		peer_must(tls_record_control(crypto, &server, &out) == 0 || server.wr.seq == 0);
		drain();
		peer_must(tls_record_control(crypto, &server, &out) == 0 && out.len == 0);
		peer_must(tls_record_seal(crypto, &server, "x", 1, &out) == -EPERM);
	}
	move_state();
	tls_record_wipe(&server);
	buf_reset(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor in;
	uint8_t first;

	if (!crypto) {
		crypto = tls_crypto_create();
		peer_must(crypto != NULL);
		buf_init(&out, OUT_MAX);
		for (size_t i = 0; i < sizeof(filler); i++)
			filler[i] = (uint8_t)(i * 31);
	}
	cursor_init(&in, data, size);
	first = cursor_u8(&in);
	peer_pair(crypto, first & 1 ? TLS_V13 : TLS_V12, 1 + (first >> 1) % 3, &server, &client);
	if (first & 8)
		server.send_max = server.recv_max = 512;
	for (int steps = 0; cursor_left(&in) > 0 && steps < 300; steps++)
		step(&in);
	end();
	return 0;
}
