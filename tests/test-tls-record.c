/* SPDX-License-Identifier: MIT */
/* The record layer against a client written apart from it (tls-peer.h), in
 * both versions and with the three suites: what goes through, what is refused
 * with which alert, and that no nonce is ever used twice. */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/tls-record.h"
#include "lib/tls-record-private.h"
#include "tests/tls-peer.h"
#include "tests/unit.h"

#define BIG	40000	/* three records */

static struct tls_crypto *crypto;
static struct tls_record server;
static struct peer client;
static struct buf wire;		/* from client to server */
static struct buf back;		/* from server to client */
static struct buf got;		/* data that arrived at the server */
static uint8_t big[BIG];

static void begin(enum tls_version v, enum tls_suite s)
{
	tls_record_wipe(&server);
	peer_pair(crypto, v, s, &server, &client);
	buf_reset(&wire);
	buf_reset(&back);
	buf_reset(&got);
}

#define EVERY_VERSION(v)	for (unsigned v = TLS_V12; v <= TLS_V13; v++)
#define EVERY_SUITE(v, s) \
	EVERY_VERSION(v) \
		for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++)
#define ROW(v, s)	((long long)(v) * 10 + (s))

/* Opens all that lies on the wire, each time in a block of exactly the bytes
 * there are. What the last record gave. */
static enum tls_result deliver(void)
{
	enum tls_result result = TLS_NONE;

	while (wire.len > 0 && result != TLS_FAIL && result != TLS_MORE) {
		uint8_t *copy = malloc(wire.len);
		const uint8_t *plain;
		size_t used, need, len;

		peer_must(copy != NULL);
		memcpy(copy, wire.data, wire.len);
		result = tls_record_open(crypto, &server, copy, wire.len, &used, &need, &plain,
			&len);
		check((result == TLS_MORE) == (need > wire.len));
		check(result == TLS_MORE || result == TLS_FAIL || used > 0);
		check(result == TLS_DATA ? len > 0 && plain >= copy && plain + len <= copy + used
					 : len == 0);
		if (result == TLS_DATA)
			buf_append(&got, plain, len);
		buf_consume(&wire, used);
		free(copy);
	}
	buf_reset(&wire);
	return result;
}

/* The next record that the client has from us. Its type, -1 if there is none. */
static int receive(uint8_t **text, size_t *len)
{
	static uint8_t record[TLS_RECORD_MAX_BYTES];
	size_t have = back.len < sizeof(record) ? back.len : sizeof(record), used;
	int type;

	if (have)
		memcpy(record, back.data, have);
	used = peer_open(&client, record, have, &type, text, len);
	if (used == 0)
		return -1;
	buf_consume(&back, used);
	return type;
}

static bool receive_alert(int level, int alert)
{
	uint8_t *text;
	size_t len;

	return receive(&text, &len) == PEER_ALERT && len == 2 && text[0] == level &&
	       text[1] == alert;
}

static bool receive_update(bool request)
{
	uint8_t *text;
	size_t len;

	return receive(&text, &len) == PEER_HANDSHAKE && len == 5 &&
	       memcmp(text, "\x18\0\0\1", 4) == 0 && text[4] == request;
}

static bool receive_data(const void *data, size_t want)
{
	const uint8_t *p = data;

	while (want > 0) {
		uint8_t *text;
		size_t len;

		if (receive(&text, &len) != PEER_DATA || len == 0 || len > want ||
		    memcmp(text, p, len) != 0)
			return false;
		p += len;
		want -= len;
	}
	return true;
}

static void control(void)
{
	check(tls_record_control(crypto, &server, &back) == 0);
}

static void send_text(const char *s)
{
	check(tls_record_seal(crypto, &server, s, strlen(s), &back) == 0);
}

/* It is over: one alert, then silence. */
static bool dies_with(int alert)
{
	struct tls_record before;
	struct buf blob;
	bool good = server.dead && server.alert == alert;

	buf_init(&blob, 4096);
	good &= tls_record_seal(crypto, &server, "x", 1, &back) == -EPERM;
	good &= tls_record_update(crypto, &server, false, &back) == -EPERM;
	good &= tls_record_close(crypto, &server, &back) == -EPERM;
	good &= tls_record_export(&server, &blob) == -EPERM && blob.len == 0;
	good &= tls_record_control(crypto, &server, &back) == 0 && receive_alert(2, alert);
	before = server;
	good &= tls_record_control(crypto, &server, &back) == 0 && back.len == 0;
	good &= memcmp(&before, &server, sizeof(server)) == 0;
	peer_seal(&client, PEER_DATA, "x", 1, 0, &wire);
	good &= deliver() == TLS_FAIL && got.len == 0;
	/* No key is left. */
	for (size_t i = 0; i < sizeof(server.rd); i++)
		good &= ((uint8_t *)&server.rd)[i] == 0 && ((uint8_t *)&server.wr)[i] == 0;
	buf_deinit(&blob);
	return good;
}

/* --- known answers --- */

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	while (sscanf(hex + 2 * n, "%2x", &byte) == 1)
		out[n++] = (uint8_t)byte;
	return n;
}

/* RFC 8448 3: after the handshake each side sends the bytes 0 to 49. The
 * server's first record was a ticket. */
static void test_tls_gives_the_published_records(void)
{
	static const char client_record[] =
		"1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8"
		"a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
	static const char server_record[] =
		"17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf9"
		"7d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
	uint8_t cs[48], ss[48], want[128], text[50];

	unhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", cs);
	unhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", ss);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)i;
	begin(TLS_V13, TLS_AES128_GCM_SHA256);
	require(tls_record_init13(crypto, &server, TLS_AES128_GCM_SHA256, cs, 0, ss, 1) == 0);
	unhex("17422dda596ed5d9acd890e3c63f5051", want);
	check(memcmp(server.rd.key, want, 16) == 0);
	unhex("5b78923dee08579033e523d9", want);
	check(memcmp(server.rd.iv, want, 12) == 0);
	unhex("9f02283b6c9c07efc26bb9f2ac92e356", want);
	check(memcmp(server.wr.key, want, 16) == 0);
	unhex("cf782b88dd83549aadf1e984", want);
	check(memcmp(server.wr.iv, want, 12) == 0);

	buf_append(&wire, want, unhex(client_record, want));
	check(deliver() == TLS_DATA);
	check(got.len == sizeof(text) && memcmp(got.data, text, sizeof(text)) == 0);
	check(tls_record_seal(crypto, &server, text, sizeof(text), &back) == 0);
	check(back.len == unhex(server_record, want) && memcmp(back.data, want, back.len) == 0);
}

/* --- what goes through --- */

static void test_tls_carries_data_both_ways(void)
{
	static const size_t sizes[] = { 1, 2, 19, 20, 500, 16383, 16384, 16385, BIG };

	EVERY_SUITE(v, s) {
		begin(v, s);
		for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
			size_t n = sizes[i];

			for (size_t at = 0; at < n; at += 16384)
				peer_seal(&client, PEER_DATA, big + at, n - at < 16384 ? n - at : 16384,
					0, &wire);
			check_row(deliver() == TLS_DATA, ROW(v, s));
			check_row(got.len == n && memcmp(got.data, big, n) == 0, ROW(v, s));
			buf_reset(&got);
			check_row(tls_record_seal(crypto, &server, big, n, &back) == 0, ROW(v, s));
			check_row(back.len == tls_record_size(&server, n), ROW(v, s));
			check_row(n > 16384 || back.len <= n + TLS_SEAL_OVERHEAD, ROW(v, s));
			check_row(receive_data(big, n) && back.len == 0, ROW(v, s));
		}
		check(tls_record_seal(crypto, &server, "", 0, &back) == 0 && back.len == 0);
	}
}

/* The layer against itself: nothing here but the two directions swapped. */
static void test_tls_understands_itself(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record other;
		const uint8_t *plain;
		size_t used, need, len;

		begin(v, s);
		other = server;
		other.rd = server.wr;
		other.wr = server.rd;
		for (int i = 0; i < 20; i++) {
			struct tls_record *from = i % 3 ? &server : &other;
			struct tls_record *to = i % 3 ? &other : &server;

			buf_reset(&back);
			check(tls_record_seal(crypto, from, big, 100, &back) == 0);
			check_row(tls_record_open(crypto, to, back.data, back.len, &used, &need,
					  &plain, &len) == TLS_DATA, ROW(v, s));
			check_row(used == back.len && len == 100 && memcmp(plain, big, 100) == 0,
				ROW(v, s));
		}
	}
}

static void test_tls_strips_padding(void)
{
	static const size_t pads[] = { 1, 2, 255, 256, 16000, 16379 };

	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		begin(TLS_V13, s);
		for (size_t i = 0; i < UNIT_COUNT(pads); i++) {
			/* zeros at the end of the text are text */
			peer_seal(&client, PEER_DATA, "ab\0\0", 4, pads[i], &wire);
			check_row(deliver() == TLS_DATA, i);
			check_row(got.len == 4 && memcmp(got.data, "ab\0\0", 4) == 0, i);
			buf_reset(&got);
		}
	}
}

static void test_tls_keeps_to_a_smaller_record(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		server.send_max = server.recv_max = 512;
		check(tls_record_seal(crypto, &server, big, 1500, &back) == 0);
		check(back.len == tls_record_size(&server, 1500));
		for (int i = 0; i < 3; i++) {
			uint8_t *text;
			size_t len;

			check_row(receive(&text, &len) == PEER_DATA && len == (i < 2 ? 512 : 476),
				ROW(v, s));
		}
		peer_seal(&client, PEER_DATA, big, 512, v == TLS_V13 ? 100 : 0, &wire);
		check_row(deliver() == TLS_DATA && got.len == 512, ROW(v, s));
		peer_seal(&client, PEER_DATA, big, 513, 0, &wire);
		check_row(deliver() == TLS_FAIL, ROW(v, s));
		buf_reset(&got);
		check_row(dies_with(22), ROW(v, s));
	}
}

/* One context of a process serves all its sessions. */
static void test_tls_sessions_do_not_mix(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record servers[5];
		struct peer clients[5];

		for (size_t i = 0; i < 5; i++) {
			uint8_t a[48], b[48];

			memset(a, (int)i, sizeof(a));
			memset(b, (int)i + 50, sizeof(b));
			if (v == TLS_V13) {
				tls_record_init13(crypto, &servers[i], s, a, 0, b, 0);
				peer_init13(&clients[i], s, a, b);
			} else {
				tls_record_init12(crypto, &servers[i], s, a, b, b, 1, 1, 5);
				peer_init12(&clients[i], s, a, b, b);
			}
		}
		for (size_t k = 0; k < 40; k++) {
			size_t i = k * k % 5;

			server = servers[i];
			client = clients[i];
			buf_reset(&got);
			buf_reset(&back);
			peer_seal(&client, PEER_DATA, big, k + 1, 0, &wire);
			check_row(deliver() == TLS_DATA && got.len == k + 1, ROW(v, s));
			send_text("hello");
			if (k % 7 == 0)
				tls_crypto_forget(crypto);
			check_row(receive_data("hello", 5), ROW(v, s));
			servers[i] = server;
			clients[i] = client;
		}
	}
}

/* --- what is refused --- */

struct said {
	int type;
	const char *text;
	size_t len;
};
#define S(type, text)	{ type, text, sizeof(text) - 1 }
#define BOTH	0

/* What the records said in order, and what became of the last. */
static const struct {
	int version;
	struct said said[3];
	enum tls_result result;
	int alert;
} contents[] = {
	/* alerts */
	{ BOTH, { S(PEER_ALERT, "\1\0") }, TLS_EOF, 0 },
	{ BOTH, { S(PEER_ALERT, "\2\0") }, TLS_EOF, 0 },
	{ BOTH, { S(PEER_ALERT, "\1\132") }, TLS_NONE, 0 },	/* user_canceled */
	{ TLS_V12, { S(PEER_ALERT, "\1\144") }, TLS_NONE, 0 },	/* no_renegotiation */
	{ TLS_V13, { S(PEER_ALERT, "\2\132") }, TLS_NONE, 0 },
	{ TLS_V12, { S(PEER_ALERT, "\3\132") }, TLS_FAIL, 47 },
	{ BOTH, { S(PEER_ALERT, "\1") }, TLS_FAIL, 50 },
	{ BOTH, { S(PEER_ALERT, "\1\0\1\0") }, TLS_FAIL, 50 },
	{ BOTH, { S(PEER_ALERT, "") }, TLS_FAIL, 10 },
	/* types */
	{ BOTH, { S(PEER_CCS, "\1") }, TLS_FAIL, 10 },
	{ BOTH, { S(PEER_HEARTBEAT, "\1\0\3abc") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(255, "abc") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(0, "") }, TLS_FAIL, 10 },	/* nothing but zeros */
	{ TLS_V13, { S(0, "\0\0\0") }, TLS_FAIL, 10 },
	/* messages */
	{ BOTH, { S(PEER_HANDSHAKE, "") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\1\0\0\1x") }, TLS_FAIL, 10 },	/* ClientHello */
	{ TLS_V13, { S(PEER_HANDSHAKE, "\4\0\0\1x") }, TLS_FAIL, 10 },	/* a ticket */
	{ TLS_V13, { S(PEER_HANDSHAKE, "\13") }, TLS_FAIL, 10 },	/* Certificate begins */
	{ TLS_V13, { S(PEER_HANDSHAKE, "\24\0\0\1x") }, TLS_FAIL, 10 },	/* Finished */
	{ TLS_V12, { S(PEER_HANDSHAKE, "\0\0\0\0") }, TLS_FAIL, 10 },	/* HelloRequest */
	{ TLS_V12, { S(PEER_HANDSHAKE, "\20\0\0\1x") }, TLS_FAIL, 10 },	/* ClientKeyExchange */
	{ TLS_V12, { S(PEER_HANDSHAKE, "\30\0\0\1\1") }, TLS_FAIL, 10 },	/* KeyUpdate */
	/* KeyUpdate */
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\1\0") }, TLS_NONE, 0 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\1\1") }, TLS_REPLY, 0 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\1\2") }, TLS_FAIL, 47 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\0") }, TLS_FAIL, 50 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\2\0\0") }, TLS_FAIL, 50 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\1\0\1\0") }, TLS_FAIL, 50 },
	/* it ends with its record */
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\1\0\30") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0\0\1\0\30\0\0\1\0") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0"), S(PEER_HANDSHAKE, "\0\1\0\0") }, TLS_FAIL, 10 },
	/* in pieces, with nothing between them */
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30"), S(PEER_HANDSHAKE, "\0\0\1"),
		     S(PEER_HANDSHAKE, "\1") }, TLS_REPLY, 0 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0"), S(PEER_DATA, "x") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0"), S(PEER_DATA, "") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0"), S(PEER_ALERT, "\1\0") }, TLS_FAIL, 10 },
	{ TLS_V13, { S(PEER_HANDSHAKE, "\30\0"), S(PEER_HANDSHAKE, "") }, TLS_FAIL, 10 },
	/* renegotiation */
	{ TLS_V12, { S(PEER_HANDSHAKE, "\1\0\0\1x") }, TLS_REPLY, 0 },
	{ TLS_V12, { S(PEER_HANDSHAKE, "\1\0"), S(PEER_HANDSHAKE, "\0\2x"),
		     S(PEER_HANDSHAKE, "y") }, TLS_NONE, 0 },
	{ TLS_V12, { S(PEER_HANDSHAKE, "\1\0\0\2x"), S(PEER_DATA, "data") }, TLS_DATA, 0 },
	{ TLS_V12, { S(PEER_HANDSHAKE, "\1\0\0\0\1\0\0\1x") }, TLS_REPLY, 0 },
	{ TLS_V12, { S(PEER_HANDSHAKE, "\1\0\0\0\13\0\0\1x") }, TLS_FAIL, 10 },
	/* after the end nothing counts */
	{ BOTH, { S(PEER_ALERT, "\1\0"), S(PEER_CCS, "\1"), S(PEER_DATA, "x") }, TLS_EOF, 0 },
};

static void test_tls_content_table(void)
{
	for (size_t i = 0; i < UNIT_COUNT(contents); i++) {
		EVERY_SUITE(v, s) {
			if (contents[i].version != BOTH && contents[i].version != (int)v)
				continue;
			begin(v, s);
			for (size_t k = 0; k < 3 && contents[i].said[k].text; k++)
				peer_seal(&client, contents[i].said[k].type,
					contents[i].said[k].text, contents[i].said[k].len, 0,
					&wire);
			check_row(deliver() == contents[i].result, i);
			if (contents[i].result == TLS_FAIL) {
				check_row(dies_with(contents[i].alert), i);
				continue;
			}
			check_row(!server.dead, i);
			check_row(server.read_closed == (contents[i].result == TLS_EOF), i);
			control();
			buf_reset(&back);
		}
	}
}

static void test_tls_fatal_alert_is_not_answered(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		peer_seal(&client, PEER_ALERT, "\2\60", 2, 0, &wire);	/* unknown_ca */
		check_row(deliver() == TLS_FAIL && server.dead && server.alert == 48, ROW(v, s));
		control();
		check_row(back.len == 0, ROW(v, s));
		check(tls_record_seal(crypto, &server, "x", 1, &back) == -EPERM);
	}
}

/* Not even sealed: refused by the header, before anything is waited for. */
static const struct {
	int version;
	const char *bytes;
	int alert;
} headers[] = {
	{ TLS_V13, "\24\3\3\0\1", 10 },		/* ChangeCipherSpec */
	{ TLS_V13, "\25\3\3\0\2", 10 },		/* an alert that is not sealed */
	{ TLS_V13, "\26\3\3\0\40", 10 },
	{ BOTH, "\30\3\3\0\40", 10 },		/* heartbeat */
	{ TLS_V12, "\24\3\3\0\40", 10 },
	{ BOTH, "LOGIN", 10 },
	{ BOTH, "\200\56\1\0\2", 10 },		/* SSL 2 */
	{ TLS_V12, "\27\3\1\0\40", 70 },
	{ TLS_V12, "\27\3\4\0\40", 70 },
	{ TLS_V12, "\27\2\3\0\40", 70 },
	{ TLS_V13, "\27\3\3\0\20", 20 },	/* no room for a type and a tag */
	{ BOTH, "\27\3\3\0\17", 20 },
	{ BOTH, "\27\3\3\0\0", 20 },
	{ TLS_V13, "\27\3\3\101\1", 22 },	/* 2^14 + 257 */
	{ BOTH, "\27\3\3\377\377", 22 },
	{ TLS_V12, "\27\3\3\100\31", 22 },	/* 2^14 + 25: explicit nonce, tag, one more */
};

static void test_tls_header_table(void)
{
	for (size_t i = 0; i < UNIT_COUNT(headers); i++) {
		EVERY_SUITE(v, s) {
			if (headers[i].version != BOTH && headers[i].version != (int)v)
				continue;
			begin(v, s);
			buf_append(&wire, headers[i].bytes, TLS_HEADER_BYTES);
			check_row(deliver() == TLS_FAIL, i);
			check_row(dies_with(headers[i].alert), i);
		}
	}
	/* One byte less than too much is waited for. */
	EVERY_SUITE(v, s) {
		unsigned most = 16384 + (v == TLS_V13 ? 256 : s == TLS_CHACHA20_SHA256 ? 16 : 24);

		for (unsigned more = 0; more < 2; more++) {
			begin(v, s);
			buf_append(&wire, "\27\3\3", 3);
			buf_append_u16(&wire, (uint16_t)(most + more));
			check_row(deliver() == (more ? TLS_FAIL : TLS_MORE), ROW(v, s));
		}
	}
}

static void test_tls_refuses_text_too_long(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		peer_seal(&client, PEER_DATA, big, 16384, 0, &wire);
		check_row(deliver() == TLS_DATA, ROW(v, s));
		peer_seal(&client, PEER_DATA, big, 16385, 0, &wire);
		buf_reset(&got);
		check_row(deliver() == TLS_FAIL && dies_with(22), ROW(v, s));
	}
	/* RFC 8446 5.4: padding counts towards 2^14 + 1, whatever the text. */
	begin(TLS_V13, TLS_AES128_GCM_SHA256);
	peer_seal(&client, PEER_DATA, "x", 1, 16384, &wire);
	check(deliver() == TLS_FAIL && dies_with(22));
}

static void test_tls_waits_for_every_byte(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		peer_seal(&client, PEER_DATA, "hello", 5, 0, &wire);
		for (size_t n = 0; n < wire.len; n++) {
			uint8_t *copy = malloc(n + 1);
			const uint8_t *plain;
			size_t used, need, len;
			struct tls_record before = server;

			memcpy(copy, wire.data, n);
			check_row(tls_record_open(crypto, &server, copy, n, &used, &need, &plain,
					  &len) == TLS_MORE, n);
			check_row(used == 0 && need == (n < 5 ? 5 : wire.len), n);
			check_row(memcmp(&before, &server, sizeof(server)) == 0, n);
			free(copy);
		}
		check_row(deliver() == TLS_DATA && got.len == 5, ROW(v, s));
	}
}

static void test_tls_refuses_every_flipped_bit(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		peer_seal(&client, PEER_DATA, "hello", 5, 3, &wire);
		size_t bits = wire.len * 8;

		for (size_t bit = 0; bit < bits; bit++) {
			begin(v, s);
			peer_seal(&client, PEER_DATA, "hello", 5, 3, &wire);
			wire.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			/* What promises to be longer is waited for. */
			size_t claim = 5 + ((size_t)wire.data[3] << 8 | wire.data[4]);
			bool longer = claim > wire.len &&
				      claim <= (v == TLS_V13 ? 5 + 16384 + 256
							     : tls_record_size(&server, 16384));
			enum tls_result result = deliver();

			check_row(result == (longer ? TLS_MORE : TLS_FAIL), bit);
			check_row(got.len == 0, bit);
			if (result == TLS_FAIL)
				check_row(dies_with(server.alert), bit);
		}
	}
}

/* What failed to open must not be seen by anybody. */
static void test_tls_wipes_what_is_not_authentic(void)
{
	EVERY_SUITE(v, s) {
		const uint8_t *plain;
		size_t used, need, len;

		begin(v, s);
		memset(big, 'P', 1000);
		peer_seal(&client, PEER_DATA, big, 1000, 0, &wire);
		wire.data[wire.len - 1] ^= 1;
		check(tls_record_open(crypto, &server, wire.data, wire.len, &used, &need, &plain,
			      &len) == TLS_FAIL);
		check_row(memmem(wire.data, wire.len, "PPPP", 4) == NULL, ROW(v, s));
		check_row(dies_with(20), ROW(v, s));
	}
}

static void test_tls_refuses_replay_and_reorder(void)
{
	EVERY_SUITE(v, s) {
		struct buf first;

		buf_init(&first, 4096);
		begin(v, s);
		peer_seal(&client, PEER_DATA, "a", 1, 0, &first);
		buf_append(&wire, first.data, first.len);
		buf_append(&wire, first.data, first.len);
		check_row(deliver() == TLS_FAIL && got.len == 1, ROW(v, s));
		buf_reset(&got);
		check_row(dies_with(20), ROW(v, s));
		begin(v, s);
		buf_reset(&first);
		peer_seal(&client, PEER_DATA, "a", 1, 0, &first);
		peer_seal(&client, PEER_DATA, "b", 1, 0, &wire);
		check_row(deliver() == TLS_FAIL && dies_with(20), ROW(v, s));
		buf_deinit(&first);
	}
}

/* --- KeyUpdate --- */

static void test_tls_answers_many_requests_with_one_update(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		begin(TLS_V13, s);
		for (int i = 0; i < 5; i++)
			peer_seal_update(&client, true, &wire);
		check(deliver() == TLS_REPLY && server.update_owed);
		send_text("hello");	/* the answer goes before it by itself */
		check_row(receive_update(false) && receive_data("hello", 5), s);
		send_text("more");
		check_row(receive_data("more", 4), s);

		peer_seal_update(&client, true, &wire);
		peer_seal_update(&client, false, &wire);
		peer_seal(&client, PEER_DATA, "x", 1, 0, &wire);
		check(deliver() == TLS_DATA);
		control();
		check_row(receive_update(false) && back.len == 0, s);
		control();
		check_row(back.len == 0, s);
		send_text("end");
		check_row(receive_data("end", 3), s);
	}
}

static void test_tls_old_key_opens_nothing_after_an_update(void)
{
	struct peer old;
	uint8_t secret[48];

	begin(TLS_V13, TLS_AES256_GCM_SHA384);
	old = client;
	memcpy(secret, server.rd.secret, sizeof(secret));
	peer_seal_update(&client, false, &wire);
	check(deliver() == TLS_NONE);
	check(memmem(&server, sizeof(server), secret, sizeof(secret)) == NULL);
	check(memmem(&server, sizeof(server), old.wr.key, 32) == NULL);
	old.wr.seq = 0;
	peer_seal(&old, PEER_DATA, "x", 1, 0, &wire);
	check(deliver() == TLS_FAIL && dies_with(20));
}

static void test_tls_updates_without_data_run_out(void)
{
	begin(TLS_V13, TLS_AES128_GCM_SHA256);
	for (int i = 0; i < TLS_UPDATE_CREDIT; i++) {
		peer_seal_update(&client, i & 1, &wire);
		check_row(deliver() == (i & 1 ? TLS_REPLY : TLS_NONE), i);
	}
	/* Data is what they are for. */
	peer_seal(&client, PEER_DATA, "x", 1, 0, &wire);
	check(deliver() == TLS_DATA);
	buf_reset(&got);
	/* Answers are no data of ours. */
	for (int i = 0; i < TLS_UPDATE_CREDIT; i++) {
		peer_seal_update(&client, true, &wire);
		check_row(deliver() == TLS_REPLY, i);
		control();
		check_row(receive_update(false), i);
	}
	peer_seal_update(&client, false, &wire);
	check(deliver() == TLS_FAIL && dies_with(10));
}

/* A client at its key limit asks with each record that it sends until it has
 * read our answer, which lies behind all that we are sending. */
static void test_tls_allows_an_update_for_each_record_sent(void)
{
	begin(TLS_V13, TLS_AES128_GCM_SHA256);
	for (int i = 0; i < 75; i++)
		check(tls_record_seal(crypto, &server, big, 16384, &back) == 0);
	for (int i = 0; i < 41; i++)
		peer_seal_update(&client, true, &wire);
	peer_seal(&client, PEER_DATA, "x", 1, 0, &wire);	/* takes none of it away */
	for (int i = 0; i < 75 + TLS_UPDATE_CREDIT - 41; i++)
		peer_seal_update(&client, true, &wire);
	check(deliver() == TLS_REPLY);
	for (int i = 0; i < 75; i++)
		check_row(receive_data(big, 16384), i);
	peer_seal_update(&client, true, &wire);
	buf_reset(&got);
	check(deliver() == TLS_FAIL && dies_with(10));
	/* However much was sent, it is a number of 16 bits. */
	begin(TLS_V13, TLS_AES128_GCM_SHA256);
	server.update_credit = UINT16_MAX;
	send_text("x");
	check(server.update_credit == UINT16_MAX);
}

static void test_tls_updates_its_own_key(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		bool gcm = s != TLS_CHACHA20_SHA256;

		begin(TLS_V13, s);
		server.wr.seq = client.rd.seq = TLS_GCM_UPDATE_AFTER - 1;
		send_text("a");
		check_row(receive_data("a", 1), s);
		send_text("b");
		check_row(!gcm || receive_update(false), s);
		check_row(receive_data("b", 1) && back.len == 0, s);
		check_row(server.wr.seq == (gcm ? 1 : TLS_GCM_UPDATE_AFTER + 1), s);
		/* ahead, for who wants to know what data will take */
		server.wr.seq = client.rd.seq = TLS_GCM_UPDATE_AFTER;
		control();
		check_row(!gcm || receive_update(false), s);
		check_row(back.len == 0, s);
		/* in the middle of one call, too */
		server.wr.seq = client.rd.seq = TLS_GCM_UPDATE_AFTER - 1;
		check(tls_record_seal(crypto, &server, big, 32768, &back) == 0);
		check_row(receive_data(big, 16384), s);
		check_row(!gcm || receive_update(false), s);
		check_row(receive_data(big + 16384, 16384) && back.len == 0, s);
	}
}

static void test_tls_asks_for_an_update(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		begin(TLS_V13, s);
		check(tls_record_update(crypto, &server, true, &back) == 0);
		check(back.len <= TLS_CONTROL_MAX_BYTES);
		send_text("a");
		check_row(receive_update(true) && receive_data("a", 1), s);
		/* Requests that cross are both answered (RFC 8446 4.6.3). */
		peer_seal_update(&client, true, &wire);
		check(deliver() == TLS_REPLY);
		check(tls_record_update(crypto, &server, true, &back) == 0);
		control();
		check_row(receive_update(true) && receive_update(false) && back.len == 0, s);
		/* One that asks nothing is an answer. */
		peer_seal_update(&client, true, &wire);
		check(deliver() == TLS_REPLY);
		check(tls_record_update(crypto, &server, false, &back) == 0);
		control();
		check_row(receive_update(false) && back.len == 0, s);

		begin(TLS_V12, s);
		check(tls_record_update(crypto, &server, true, &back) == 0 && back.len == 0);
	}
}

/* --- what is allowed a few times --- */

static void test_tls_empty_records_run_out(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		for (int round = 0; round < 2; round++) {
			for (int i = 0; i < TLS_EMPTY_MAX; i++) {
				peer_seal(&client, PEER_DATA, "", 0, 5, &wire);
				check_row(deliver() == TLS_NONE, i);
			}
			peer_seal(&client, PEER_DATA, "x", round == 0, 0, &wire);
			check(deliver() == (round == 0 ? TLS_DATA : TLS_FAIL));
			buf_reset(&got);
		}
		check_row(dies_with(10), ROW(v, s));
	}
}

static void test_tls_warnings_run_out(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		for (int round = 0; round < 2; round++) {
			for (int i = 0; i < TLS_WARNINGS_MAX; i++) {
				peer_seal(&client, PEER_ALERT, "\1\132", 2, 0, &wire);
				check_row(deliver() == TLS_NONE, i);
			}
			peer_seal(&client, round ? PEER_ALERT : PEER_DATA, "\1\132", 2, 0, &wire);
			check(deliver() == (round ? TLS_FAIL : TLS_DATA));
			buf_reset(&got);
		}
		check_row(dies_with(10), ROW(v, s));
	}
}

/* Also in pieces of any size, and with data in between. */
static void test_tls_refuses_renegotiation(void)
{
	uint8_t hello[4 + 1000] = { 1, 0, 1000 >> 8, 1000 & 255 };

	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		begin(TLS_V12, s);
		for (size_t i = 0; i < TLS_RENEGOTIATIONS_MAX; i++) {
			static const size_t pieces[] = { 1004, 1, 300 };

			for (size_t at = 0, n; at < sizeof(hello); at += n) {
				n = sizeof(hello) - at;
				if (n > pieces[i])
					n = pieces[i];
				peer_seal(&client, PEER_HANDSHAKE, hello + at, n, 0, &wire);
				check(deliver() != TLS_FAIL);
			}
			check(server.refusal_owed);
			control();
			check_row(receive_alert(1, 100) && back.len == 0, i);
			control();
			check_row(back.len == 0, i);
			peer_seal(&client, PEER_DATA, "x", 1, 0, &wire);
			check_row(deliver() == TLS_DATA, i);
			send_text("still here");
			check_row(receive_data("still here", 10), i);
		}
		peer_seal(&client, PEER_HANDSHAKE, hello, sizeof(hello), 0, &wire);
		buf_reset(&got);
		check_row(deliver() == TLS_FAIL && dies_with(40), s);
	}
}

/* --- the end --- */

static void test_tls_closes_once(void)
{
	EVERY_SUITE(v, s) {
		begin(v, s);
		check(tls_record_close(crypto, &server, &back) == 0);
		check(back.len <= TLS_CONTROL_MAX_BYTES);
		check(tls_record_close(crypto, &server, &back) == 0);
		check_row(receive_alert(1, 0) && back.len == 0, ROW(v, s));
		check(tls_record_seal(crypto, &server, "x", 1, &back) == -EPIPE);
		check(tls_record_update(crypto, &server, true, &back) == -EPIPE);
		/* What the client had sent before it knew is still read. */
		if (v == TLS_V13)
			peer_seal_update(&client, true, &wire);
		else
			peer_seal(&client, PEER_HANDSHAKE, "\1\0\0\0", 4, 0, &wire);
		peer_seal(&client, PEER_DATA, "x", 1, 0, &wire);
		check_row(deliver() == TLS_DATA, ROW(v, s));
		control();
		check_row(back.len == 0, ROW(v, s));
		peer_seal(&client, PEER_ALERT, "\1\0", 2, 0, &wire);
		check_row(deliver() == TLS_EOF, ROW(v, s));

		/* The other way round, and no alert behind ours. */
		begin(v, s);
		peer_seal(&client, PEER_ALERT, "\1\0", 2, 0, &wire);
		check_row(deliver() == TLS_EOF && !server.write_closed, ROW(v, s));
		send_text("bye");
		check(tls_record_close(crypto, &server, &back) == 0);
		check_row(receive_data("bye", 3) && receive_alert(1, 0), ROW(v, s));
		begin(v, s);
		check(tls_record_close(crypto, &server, &back) == 0);
		check(receive_alert(1, 0));
		peer_seal(&client, PEER_CCS, "\1", 1, 0, &wire);
		check_row(deliver() == TLS_FAIL, ROW(v, s));
		control();
		check_row(back.len == 0, ROW(v, s));
	}
}

static void test_tls_sequence_numbers_end(void)
{
	EVERY_SUITE(v, s) {
		bool gcm = s != TLS_CHACHA20_SHA256;
		uint64_t last = v == TLS_V12 && gcm ? (UINT64_C(1) << 32) - 1 : UINT64_MAX - 2;

		begin(v, s);
		if (gcm && v == TLS_V13)
			continue;	/* its key ends first */
		server.wr.seq = client.rd.seq = last;
		send_text("a");
		check_row(receive_data("a", 1), ROW(v, s));
		check_row(tls_record_seal(crypto, &server, "b", 1, &back) == -EOVERFLOW, ROW(v, s));
		check_row(dies_with(80), ROW(v, s));
	}
	EVERY_SUITE(v, s) {
		begin(v, s);
		server.rd.seq = client.wr.seq = UINT64_MAX - 2;
		peer_seal(&client, PEER_DATA, "a", 1, 0, &wire);
		check_row(deliver() == TLS_DATA, ROW(v, s));
		buf_reset(&got);
		peer_seal(&client, PEER_DATA, "a", 1, 0, &wire);
		check_row(deliver() == TLS_FAIL && dies_with(80), ROW(v, s));
		/* The very last number is never used. */
		begin(v, s);
		server.wr.seq = UINT64_MAX;
		check_row(tls_record_close(crypto, &server, &back) == -EOVERFLOW, ROW(v, s));
		check_row(server.dead && back.len == 0, ROW(v, s));
	}
}

static void test_tls_a_full_buffer_kills(void)
{
	EVERY_SUITE(v, s) {
		struct buf small;

		for (size_t max = 0; max < 100; max += 33) {
			begin(v, s);
			buf_init(&small, max);
			check_row(tls_record_seal(crypto, &server, big, 200, &small) == -ENOBUFS,
				ROW(v, s));
			check_row(server.dead && small.len == 0, ROW(v, s));
			buf_deinit(&small);
			control();
			check_row(back.len == 0, ROW(v, s));
		}
	}
}

static void test_tls_refuses_bad_beginnings(void)
{
	uint8_t z[48] = { 0 };

	check(tls_record_init13(crypto, &server, 0, z, 0, z, 0) == -EINVAL);
	check(tls_record_init13(crypto, &server, 4, z, 0, z, 0) == -EINVAL);
	check(tls_record_init13(crypto, &server, 1, z, UINT64_MAX, z, 0) == -EINVAL);
	check(tls_record_init13(crypto, &server, 1, z, 0, z, UINT64_MAX) == -EINVAL);
	check(tls_record_init12(crypto, &server, 0, z, z, z, 1, 1, 1) == -EINVAL);
	check(tls_record_init12(crypto, &server, 4, z, z, z, 1, 1, 1) == -EINVAL);
	check(tls_record_init12(crypto, &server, 1, z, z, z, UINT64_MAX, 1, 1) == -EINVAL);
	check(tls_record_init12(crypto, &server, 1, z, z, z, 1, UINT64_MAX, 1) == -EINVAL);
	tls_record_wipe(&server);
	check(tls_record_seal(crypto, &server, "x", 1, &back) == -EPERM);
	check(strcmp(tls_version_name(TLS_V13), "TLSv1.3") == 0);
	check(strcmp(tls_version_name(TLS_V12), "TLSv1.2") == 0);
	check(strcmp(tls_suite_name(TLS_V13, TLS_CHACHA20_SHA256),
		      "TLS_CHACHA20_POLY1305_SHA256") == 0);
	check(strcmp(tls_suite_name(TLS_V12, TLS_AES256_GCM_SHA384), "AES256-GCM") == 0);
	check(strcmp(tls_suite_name(TLS_V12, 9), "?") == 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_tls_gives_the_published_records),
		UNIT_TEST(test_tls_carries_data_both_ways),
		UNIT_TEST(test_tls_understands_itself),
		UNIT_TEST(test_tls_strips_padding),
		UNIT_TEST(test_tls_keeps_to_a_smaller_record),
		UNIT_TEST(test_tls_sessions_do_not_mix),
		UNIT_TEST(test_tls_content_table),
		UNIT_TEST(test_tls_fatal_alert_is_not_answered),
		UNIT_TEST(test_tls_header_table),
		UNIT_TEST(test_tls_refuses_text_too_long),
		UNIT_TEST(test_tls_waits_for_every_byte),
		UNIT_TEST(test_tls_refuses_every_flipped_bit),
		UNIT_TEST(test_tls_wipes_what_is_not_authentic),
		UNIT_TEST(test_tls_refuses_replay_and_reorder),
		UNIT_TEST(test_tls_answers_many_requests_with_one_update),
		UNIT_TEST(test_tls_old_key_opens_nothing_after_an_update),
		UNIT_TEST(test_tls_updates_without_data_run_out),
		UNIT_TEST(test_tls_allows_an_update_for_each_record_sent),
		UNIT_TEST(test_tls_updates_its_own_key),
		UNIT_TEST(test_tls_asks_for_an_update),
		UNIT_TEST(test_tls_empty_records_run_out),
		UNIT_TEST(test_tls_warnings_run_out),
		UNIT_TEST(test_tls_refuses_renegotiation),
		UNIT_TEST(test_tls_closes_once),
		UNIT_TEST(test_tls_sequence_numbers_end),
		UNIT_TEST(test_tls_a_full_buffer_kills),
		UNIT_TEST(test_tls_refuses_bad_beginnings),
	};
	int status;

	crypto = tls_crypto_create();
	if (!crypto)
		return EXIT_FAILURE;
	buf_init(&wire, 4 << 20);
	buf_init(&back, 4 << 20);
	buf_init(&got, 4 << 20);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31 + (i >> 8));
	status = unit_run("tls-record", tests, UNIT_COUNT(tests));
	buf_deinit(&wire);
	buf_deinit(&back);
	buf_deinit(&got);
	tls_crypto_destroy(&crypto);
	return status;
}
