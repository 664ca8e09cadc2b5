/* SPDX-License-Identifier: MIT */
/* A session at rest: what was packed comes back; whatever else comes is
 * refused whole, in bounded memory.
 *
 * tests/states/ keeps packs of every format that was ever released. They are
 * written once (`test-state --write DIR`) and never again: a later version has
 * to read them as they are. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <msgpack.h>

#include "lib/buf.h"
#include "lib/seal.h"
#include "state/state-wire.h"
#include "state/state.h"
#include "tests/unit.h"

/* ---- states to play with ---- */

static void state_connection(struct session_state *s)
{
	s->sid = 0xfedcba9876543210u;
	s->fence = (struct fence_counts){ .written = 5321, .consumed = 812 };
	s->remote_ip = strdup("203.0.113.77");
	s->remote_port = 51234;
	s->local_ip = strdup("198.51.100.5");
	s->local_port = 993;
	s->login_time = 1760000000;
	s->bytes_in = 812;
	s->bytes_out = 5321;
	s->commands = 9;
	s->sleeps = 1;
}

/* A phone in IDLE on INBOX with 10 messages: what most sleepers are. */
static void state_idle(struct session_state *s)
{
	session_state_init(s);
	state_connection(s);
	s->n_keepalives = 2;
	s->keepalive_len[0] = s->keepalive_len[1] = 17;
	s->enabled = ENABLED_CONDSTORE | ENABLED_QRESYNC;
	s->idle_tag = strdup("a9");
	s->selected = true;
	s->mailbox = strdup("INBOX");
	memcpy(s->mailbox_id, "\x01\x02\x03\x04\x05\x06\x07\x08" "mailbox!", 16);
	s->uidvalidity = 1759990000;
	s->uidnext = 11;
	s->told_modseq = 1760000000123456;
	s->exists = 10;
	require(uidset_add_range(&s->uids, 1, 10) == 0);
}

static void state_unselected(struct session_state *s)
{
	session_state_init(s);
	state_connection(s);
	free(s->remote_ip);
	s->remote_ip = strdup("2001:db8::17");
	require(buf_append_str(&s->input, "a7 NOOP\r\na8 ") == 0);
}

/* Every field has a value of its own. */
static void state_full(struct session_state *s)
{
	state_idle(s);
	free(s->local_ip);
	s->local_ip = strdup("fe80::1%eth0");
	s->enabled = ENABLED_UTF8 | ENABLED_IMAP4REV2;
	s->readonly = true;
	s->uidnext = 4000000000u;
	require(uidset_add_range(&s->uids, 100, 199) == 0);
	require(uidset_add(&s->uids, 3999999999u) == 0);
	s->exists = 111;
	require(uidset_add_range(&s->recent, 198, 199) == 0);
	require(uidset_add(&s->pending, 5) == 0);
	require(uidset_add_range(&s->expunged, 100, 120) == 0);
	s->has_saved_search = true;
	require(uidset_add_range(&s->saved_search, 2, 3) == 0);
	s->keywords_told = 3;
	s->keywords_hash = 0x123456789abcdef0u;
	require(buf_append_str(&s->input, "DO") == 0);
	require(buf_append_str(&s->tls, "a key of TLS that nobody may see") == 0);
	require(buf_append_str(&s->compress, "window") == 0);
	require(buf_append_str(&s->notify, "notify") == 0);
	/* key 200: "new", key 300: [1, {2: 3}] */
	require(buf_append(&s->unknown, "\xcc\xc8\xa3new\xcd\x01\x2c\x92\x01\x81\x02\x03", 14) == 0);
}

static void state_view_file(struct session_state *s)
{
	state_idle(s);
	uidset_clear(&s->uids);
	s->exists = 90000;
	s->uidnext = 4000000;
	s->view_file = strdup("view-fedcba9876543210");
	s->view_file_bytes = 181234;
	require(uidset_add_range(&s->recent, 3999000, 3999999) == 0);
}

static void state_capabilities(struct session_state *s)
{
	state_idle(s);
	s->capabilities = 0xfedcba9876543210u;
}

static const struct {
	const char *name;
	void (*make)(struct session_state *s);
} samples[] = {
	{ "idle", state_idle },
	{ "unselected", state_unselected },
	{ "full", state_full },
	{ "view-file", state_view_file },
	{ "capabilities", state_capabilities },
};

static char *random_text(uint64_t *seed, size_t min, size_t max)
{
	size_t len = min + unit_random(seed) % (max - min + 1);
	char *s = malloc(len + 1);

	require(s != NULL);
	for (size_t i = 0; i < len; i++)
		s[i] = (char)('a' + unit_random(seed) % 26);
	s[len] = '\0';
	return s;
}

/* Any width: a msgpack integer has nine. */
static uint64_t random_uint(uint64_t *seed)
{
	return unit_random(seed) >> unit_random(seed) % 64;
}

static void random_bytes(uint64_t *seed, struct buf *b, size_t max)
{
	for (size_t n = unit_random(seed) % 4 ? 0 : unit_random(seed) % max; n > 0; n--)
		require(buf_append_u8(b, (uint8_t)unit_random(seed)) == 0);
}

static char *random_ip(uint64_t *seed)
{
	static const char *const ips[] = { NULL, "", "127.0.0.1", "::1", "::ffff:10.0.0.1",
		"2001:db8:0:1::9", "2001:DB8::1", "fe80::1%eth0", "unix", "1.2.3.4.5" };
	const char *ip = ips[unit_random(seed) % (sizeof(ips) / sizeof(ips[0]))];

	return ip ? strdup(ip) : NULL;
}

static void random_part(uint64_t *seed, struct uidset *part, const struct uidset *whole)
{
	struct uidset_iter it;

	for (uint32_t u = uidset_first(whole, &it); u; u = uidset_next(whole, &it))
		if (unit_random(seed) % 8 == 0)
			require(uidset_add(part, u) == 0);
}

static void random_mailbox(uint64_t *seed, struct session_state *s)
{
	uint32_t uid = (uint32_t)(random_uint(seed) % 4000000000u);

	s->selected = true;
	s->mailbox = random_text(seed, 1, 40);
	s->readonly = unit_random(seed) & 1;
	for (unsigned i = 0; i < 16; i++)
		s->mailbox_id[i] = (uint8_t)unit_random(seed);
	s->uidvalidity = (uint32_t)random_uint(seed);
	s->told_modseq = random_uint(seed);
	for (size_t n = unit_random(seed) % 50; n > 0; n--) {
		uid += 1 + (uint32_t)(unit_random(seed) % 3 ? 0 : unit_random(seed) % 900);
		require(uidset_add(&s->uids, uid) == 0);
	}
	s->uidnext = uid + 1 + (uint32_t)(unit_random(seed) % 5);
	s->exists = (uint32_t)uidset_count(&s->uids);
	random_part(seed, &s->recent, &s->uids);
	random_part(seed, &s->pending, &s->uids);
	random_part(seed, &s->expunged, &s->uids);
	s->has_saved_search = unit_random(seed) & 1;
	if (s->has_saved_search)
		random_part(seed, &s->saved_search, &s->uids);
	s->keywords_told = (uint32_t)(unit_random(seed) % 20);
	s->keywords_hash = random_uint(seed);
}

static void state_random(uint64_t *seed, struct session_state *s)
{
	session_state_init(s);
	s->sid = random_uint(seed) | 1;
	s->fence = (struct fence_counts){ random_uint(seed), random_uint(seed) };
	s->n_keepalives = (uint32_t)(unit_random(seed) % (KEEPALIVES_MAX + 1));
	for (uint32_t i = 0; i < s->n_keepalives; i++)
		s->keepalive_len[i] = (uint16_t)(1 + unit_random(seed) % KEEPALIVE_MAX_BYTES);
	s->remote_ip = random_ip(seed);
	s->local_ip = random_ip(seed);
	s->remote_port = (uint16_t)random_uint(seed);
	s->local_port = (uint16_t)random_uint(seed);
	s->login_time = random_uint(seed);
	s->bytes_in = random_uint(seed);
	s->bytes_out = random_uint(seed);
	s->commands = random_uint(seed);
	s->sleeps = random_uint(seed);
	s->enabled = (uint32_t)(unit_random(seed) % 16);
	random_bytes(seed, &s->input, 300);
	if (unit_random(seed) & 1)
		s->idle_tag = random_text(seed, 1, 12);
	if (unit_random(seed) % 4)
		random_mailbox(seed, s);
	random_bytes(seed, &s->tls, 200);
	random_bytes(seed, &s->compress, 3000);
	random_bytes(seed, &s->notify, 70000);
	s->capabilities = unit_random(seed) % 2 ? random_uint(seed) : 0;
}

/* ---- comparing ---- */

static bool same_str(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_buf(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool same_uids(const struct uidset *a, const struct uidset *b)
{
	return a->count == b->count &&
	       (a->count == 0 ||
		memcmp(a->ranges, b->ranges, a->count * sizeof(a->ranges[0])) == 0);
}

static bool same_state(const struct session_state *a, const struct session_state *b)
{
	return a->sid == b->sid && a->fence.written == b->fence.written &&
	       a->fence.consumed == b->fence.consumed && a->n_keepalives == b->n_keepalives &&
	       memcmp(a->keepalive_len, b->keepalive_len, sizeof(a->keepalive_len)) == 0 &&
	       same_str(a->remote_ip, b->remote_ip) && same_str(a->local_ip, b->local_ip) &&
	       a->remote_port == b->remote_port && a->local_port == b->local_port &&
	       a->login_time == b->login_time && a->bytes_in == b->bytes_in &&
	       a->bytes_out == b->bytes_out && a->commands == b->commands &&
	       a->sleeps == b->sleeps && a->enabled == b->enabled &&
	       same_buf(&a->input, &b->input) && same_str(a->idle_tag, b->idle_tag) &&
	       a->selected == b->selected && a->readonly == b->readonly &&
	       same_str(a->mailbox, b->mailbox) &&
	       memcmp(a->mailbox_id, b->mailbox_id, sizeof(a->mailbox_id)) == 0 &&
	       a->uidvalidity == b->uidvalidity && a->uidnext == b->uidnext &&
	       a->told_modseq == b->told_modseq && a->exists == b->exists &&
	       same_uids(&a->uids, &b->uids) && same_str(a->view_file, b->view_file) &&
	       a->view_file_bytes == b->view_file_bytes && same_uids(&a->recent, &b->recent) &&
	       same_uids(&a->pending, &b->pending) && same_uids(&a->expunged, &b->expunged) &&
	       a->has_saved_search == b->has_saved_search &&
	       same_uids(&a->saved_search, &b->saved_search) &&
	       a->keywords_told == b->keywords_told && a->keywords_hash == b->keywords_hash &&
	       same_buf(&a->tls, &b->tls) && same_buf(&a->compress, &b->compress) &&
	       same_buf(&a->notify, &b->notify) && a->capabilities == b->capabilities &&
	       same_buf(&a->unknown, &b->unknown);
}

static bool state_is_empty(const struct session_state *s)
{
	struct session_state empty;

	session_state_init(&empty);
	return same_state(s, &empty);
}

static struct buf packed(const struct session_state *s)
{
	struct buf b;

	buf_init(&b, STATE_MAX_BYTES);
	require(session_state_pack(s, &b) == STATE_OK);
	return b;
}

/* What unpack says to these bytes; a failure must leave nothing behind. */
static int unpack_says(const void *data, size_t len)
{
	struct session_state s;
	/* Of exactly this size, so that ASan sees a step too far. */
	uint8_t *copy = malloc(len ? len : 1);
	int ret;

	require(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	session_state_init(&s);
	ret = session_state_unpack(&s, copy, len);
	if (ret != STATE_OK)
		check(state_is_empty(&s));
	session_state_deinit(&s);
	free(copy);
	return ret;
}

/* ---- a mailbox goes back as it came ---- */

static char *copy_string(const char *s)
{
	return s ? strdup(s) : NULL;
}

static void test_state_copies_the_mailbox_and_nothing_else(void)
{
	uint64_t seed = unit_seed();
	struct session_state s, copy;

	for (size_t i = 0; i < 500; i++) {
		state_random(&seed, &s);
		session_state_init(&copy);
		check_row(session_state_copy_mailbox(&copy, &s) == 0, i);
		/* What it must not have taken along, and then it is the same. */
		check_row(copy.sid == 0 && copy.tls.len == 0 && copy.input.len == 0 &&
			  !copy.idle_tag && !copy.remote_ip, i);
		copy.remote_ip = copy_string(s.remote_ip);
		copy.local_ip = copy_string(s.local_ip);
		copy.idle_tag = copy_string(s.idle_tag);
		copy.sid = s.sid;
		copy.fence = s.fence;
		copy.n_keepalives = s.n_keepalives;
		memcpy(copy.keepalive_len, s.keepalive_len, sizeof(copy.keepalive_len));
		copy.remote_port = s.remote_port;
		copy.local_port = s.local_port;
		copy.login_time = s.login_time;
		copy.bytes_in = s.bytes_in;
		copy.bytes_out = s.bytes_out;
		copy.commands = s.commands;
		copy.sleeps = s.sleeps;
		copy.enabled = s.enabled;
		copy.capabilities = s.capabilities;
		buf_append(&copy.input, s.input.data, s.input.len);
		buf_append(&copy.tls, s.tls.data, s.tls.len);
		buf_append(&copy.compress, s.compress.data, s.compress.len);
		buf_append(&copy.notify, s.notify.data, s.notify.len);
		buf_append(&copy.unknown, s.unknown.data, s.unknown.len);
		check_row(same_state(&copy, &s), i);
		session_state_deinit(&copy);
		session_state_deinit(&s);
	}
}

/* ---- what was packed comes back ---- */

static void check_round_trip(const struct session_state *s, size_t row)
{
	struct buf first = packed(s), second;
	struct session_state back;

	session_state_init(&back);
	check_row(session_state_unpack(&back, first.data, first.len) == STATE_OK, row);
	check_row(same_state(s, &back), row);
	second = packed(&back);
	check_row(same_buf(&first, &second), row);
	session_state_deinit(&back);
	buf_deinit(&first);
	buf_deinit(&second);
}

static void test_state_comes_back_as_it_was(void)
{
	uint64_t seed = unit_seed();
	struct session_state s;

	for (size_t i = 0; i < UNIT_COUNT(samples); i++) {
		samples[i].make(&s);
		check_round_trip(&s, i);
		session_state_deinit(&s);
	}
	for (size_t i = 0; i < 1500; i++) {
		state_random(&seed, &s);
		check_round_trip(&s, 1000 + i);
		session_state_deinit(&s);
	}
}

static void test_state_of_a_phone_in_idle_is_small(void)
{
	struct session_state s;
	struct buf b;

	state_idle(&s);
	b = packed(&s);
	printf("(%zu bytes) ", b.len);
	check(b.len <= 130);
	session_state_deinit(&s);
	buf_deinit(&b);
}

static void test_state_with_defaults_is_its_id(void)
{
	struct session_state s;
	struct buf b;

	session_state_init(&s);
	s.sid = 5;
	b = packed(&s);
	check(b.len == 5 && memcmp(b.data, "\x82\x00\x01\x01\x05", 5) == 0);
	check_round_trip(&s, 0);
	session_state_deinit(&s);
	buf_deinit(&b);
}

static void test_state_is_appended_after_what_is_there(void)
{
	struct session_state s;
	struct buf b, alone;

	state_idle(&s);
	alone = packed(&s);
	buf_init(&b, STATE_MAX_BYTES);
	require(buf_append_str(&b, "head") == 0);
	check(session_state_pack(&s, &b) == STATE_OK);
	check(b.len == 4 + alone.len && memcmp(b.data + 4, alone.data, alone.len) == 0);
	session_state_deinit(&s);
	buf_deinit(&b);
	buf_deinit(&alone);
}

/* ---- kept packs ---- */

#define KEPT_FORMATS	1

static void kept_path(char *path, size_t size, const char *dir, int format, const char *name)
{
	int n = snprintf(path, size, "%s/v%d-%s.bin", dir, format, name);

	require(n > 0 && (size_t)n < size);
}

static size_t kept_read(const char *path, uint8_t *data, size_t size)
{
	FILE *f = fopen(path, "rb");
	size_t len;

	require(f != NULL);
	len = fread(data, 1, size, f);
	fclose(f);
	return len;
}

static void test_state_reads_packs_of_released_formats(void)
{
	uint8_t data[4096];
	char path[512];
	struct session_state want, got;

	for (size_t i = 0; i < UNIT_COUNT(samples) * KEPT_FORMATS; i++) {
		int format = 1 + (int)(i / UNIT_COUNT(samples));
		size_t n = i % UNIT_COUNT(samples), len;

		kept_path(path, sizeof(path), TESTS_DIR "/states", format, samples[n].name);
		len = kept_read(path, data, sizeof(data));
		check_row(len > 0 && len < sizeof(data), i);
		samples[n].make(&want);
		session_state_init(&got);
		check_row(session_state_unpack(&got, data, len) == STATE_OK, i);
		check_row(same_state(&want, &got), i);
		session_state_deinit(&want);
		session_state_deinit(&got);
	}
}

static const char *kept_dir;

static void kept_write(void)
{
	char path[512];
	struct session_state s;

	for (size_t i = 0; i < UNIT_COUNT(samples); i++) {
		struct buf b;
		FILE *f;

		samples[i].make(&s);
		b = packed(&s);
		kept_path(path, sizeof(path), kept_dir, STATE_FORMAT, samples[i].name);
		f = fopen(path, "wbx");		/* never over an old one */
		require(f && fwrite(b.data, 1, b.len, f) == b.len && fclose(f) == 0);
		session_state_deinit(&s);
		buf_deinit(&b);
	}
}

/* ---- damage ---- */

static void test_state_refuses_every_truncation(void)
{
	for (size_t i = 0; i < UNIT_COUNT(samples); i++) {
		struct session_state s;
		struct buf b;

		samples[i].make(&s);
		b = packed(&s);
		for (size_t n = 0; n < b.len; n++)
			check_row(unpack_says(b.data, n) == STATE_E_TRUNCATED, 1000 * i + n);
		session_state_deinit(&s);
		buf_deinit(&b);
	}
}

static void test_state_refuses_bytes_left_over(void)
{
	struct session_state s;
	struct buf b;

	state_full(&s);
	b = packed(&s);
	for (unsigned byte = 0; byte < 256; byte++) {
		require(buf_append_u8(&b, (uint8_t)byte) == 0);
		check_row(unpack_says(b.data, b.len) == STATE_E_INVALID, byte);
		b.len--;
	}
	session_state_deinit(&s);
	buf_deinit(&b);
}

static void test_state_sealed_refuses_every_flipped_bit(void)
{
	static const struct seal_key key = { { 1, 2, 3 } };
	struct session_state s;
	struct buf b, sealed, plain;

	state_full(&s);
	b = packed(&s);
	buf_init(&sealed, STATE_MAX_BYTES);
	buf_init(&plain, STATE_MAX_BYTES);
	require(seal_close(&key, "aad", 3, b.data, b.len, &sealed) == 0);
	check(sealed.len == b.len + SEAL_OVERHEAD);
	for (size_t bit = 0; bit < 8 * sealed.len; bit++) {
		sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		check_row(seal_open(&key, "aad", 3, sealed.data, sealed.len, &plain) > 0, bit);
		check_row(plain.len == 0, bit);
		sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	/* and the untouched one opens, or the above proves nothing */
	check(seal_open(&key, "aad", 3, sealed.data, sealed.len, &plain) == 0);
	check(same_buf(&plain, &b));
	session_state_deinit(&s);
	buf_deinit(&b);
	buf_deinit(&sealed);
	buf_deinit(&plain);
}

/* Damaged without a seal: refused, or a state that is good in itself. */
static void check_damaged(const uint8_t *data, size_t len, size_t row)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct session_state s;

	require(copy != NULL);
	memcpy(copy, data, len);
	session_state_init(&s);
	if (session_state_unpack(&s, copy, len) == STATE_OK)
		check_round_trip(&s, row);
	else
		check_row(state_is_empty(&s), row);
	session_state_deinit(&s);
	free(copy);
}

static void test_state_survives_every_flipped_bit(void)
{
	for (size_t i = 0; i < UNIT_COUNT(samples); i++) {
		struct session_state s;
		struct buf b;

		samples[i].make(&s);
		b = packed(&s);
		for (size_t bit = 0; bit < 8 * b.len; bit++) {
			b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			check_damaged(b.data, b.len, 10000 * i + bit);
			b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		session_state_deinit(&s);
		buf_deinit(&b);
	}
}

static void test_state_survives_random_damage(void)
{
	uint64_t seed = unit_seed();

	for (size_t i = 0; i < 3000; i++) {
		struct session_state s;
		struct buf b;

		samples[i % UNIT_COUNT(samples)].make(&s);
		b = packed(&s);
		for (size_t n = 1 + unit_random(&seed) % 4; n > 0; n--)
			b.data[unit_random(&seed) % b.len] = (uint8_t)unit_random(&seed);
		check_damaged(b.data, b.len - unit_random(&seed) % 3, i);
		session_state_deinit(&s);
		buf_deinit(&b);
	}
}

/* ---- bytes by hand ---- */

struct raw_row {
	const char *bytes;
	size_t len;
	int says;
};
#define RAW(bytes, says)	{ bytes, sizeof(bytes) - 1, says }

static void check_raw(const struct raw_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_row(unpack_says(rows[i].bytes, rows[i].len) == rows[i].says, i);
}

static void test_state_refuses_what_it_must_understand(void)
{
	static const struct raw_row rows[] = {
		RAW("\x82\x00\x01\x01\x05", STATE_OK),
		RAW("\x82\x00\x02\x01\x05", STATE_E_VERSION),		/* format 2 */
		RAW("\x82\x00\x00\x01\x05", STATE_E_VERSION),
		RAW("\x83\x00\x01\x01\x05\x7f\x01", STATE_E_VERSION),	/* key 127 */
		RAW("\x83\x00\x01\x01\x05\x24\xc0", STATE_E_VERSION),	/* key 36 */
		RAW("\x84\x00\x01\x01\x05\x7f\x01\xcc\x82\x01", STATE_E_VERSION),
		RAW("\x83\x00\x01\x01\x05\xcc\x82\x01", STATE_OK),	/* key 130 */
		RAW("\x83\x00\x02\x7f\x01\xcc\x82\x01", STATE_E_VERSION),
	};

	check_raw(rows, UNIT_COUNT(rows));
}

static void test_state_refuses_nonsense(void)
{
	static const struct raw_row rows[] = {
		RAW("\x80", STATE_E_INVALID),				/* no format */
		RAW("\x81\x01\x05", STATE_E_INVALID),
		RAW("\x81\x00\x01", STATE_E_INVALID),			/* no sid */
		RAW("\x82\x00\x01\x01\x00", STATE_E_INVALID),
		RAW("\x82\x01\x05\x00\x01", STATE_E_INVALID),		/* format not first */
		RAW("\x92\x00\x01", STATE_E_INVALID),			/* an array */
		RAW("\x05", STATE_E_INVALID),
		RAW("\xc1", STATE_E_INVALID),
		RAW("\x82\x00\x01\x01\xc1", STATE_E_INVALID),
		RAW("\x82\x00\x01\xff\x05", STATE_E_INVALID),		/* key -1 */
		RAW("\x82\x00\x01\xa1z\x05", STATE_E_INVALID),		/* key "z" */
		RAW("\x82\xa1z\x01\x01\x05", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x01\x05", STATE_E_INVALID),	/* sid twice */
		RAW("\x83\x00\x01\x00\x01\x01\x05", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\xcc\x01\x05", STATE_E_INVALID),
		RAW("\x84\x00\x01\x01\x05\x0b\x01\x0a\x01", STATE_E_INVALID),	/* order */
		RAW("\x84\x00\x01\x01\x05\xcc\x82\x01\xcc\x82\x01", STATE_E_INVALID),
		RAW("\x84\x00\x01\x01\x05\xcc\x83\x01\xcc\x82\x01", STATE_E_INVALID),
		RAW("\x82\x00\x01\x01\xff", STATE_E_INVALID),		/* sid -1 */
		RAW("\x82\x00\x01\x01\xa1""5", STATE_E_INVALID),	/* sid "5" */
		RAW("\x82\x00\x01\x01\xca\x40\xa0\x00\x00", STATE_E_INVALID),	/* 5.0 */
		RAW("\x82\x00\xa1""1\x01\x05", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x04\x05", STATE_E_INVALID),	/* keepalives */
		RAW("\x83\x00\x01\x01\x05\x04\x91\x00", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x04\x91\xcc\x81", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x04\x91\xff", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x04\x99\1\1\1\1\1\1\1\1\1", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x04\x98\1\1\1\1\1\1\1\1", STATE_OK),
		RAW("\x83\x00\x01\x01\x05\x05\xc4\x05""abcde", STATE_E_INVALID), /* an ip of 5 */
		RAW("\x83\x00\x01\x01\x05\x06\xce\x00\x01\x00\x00", STATE_E_INVALID), /* port */
		RAW("\x83\x00\x01\x01\x05\x06\xcd\xff\xff", STATE_OK),
		RAW("\x83\x00\x01\x01\x05\x0e\x10", STATE_E_INVALID),	/* enabled */
		RAW("\x83\x00\x01\x01\x05\x0f\xa1z", STATE_E_INVALID),	/* input as str */
		RAW("\x83\x00\x01\x01\x05\x10\xa3""a\0b", STATE_E_INVALID),	/* tag */
		RAW("\x83\x00\x01\x01\x05\x10\xa3""a b", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x10\xa3""a\r\n", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x10\xa1+", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x10\xa0", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x10\xc4\x01z", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x11\xa1m", STATE_OK),		/* mailbox "m" */
		RAW("\x83\x00\x01\x01\x05\x11\xa0", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x12\xc3", STATE_E_INVALID),	/* without a mailbox */
		RAW("\x83\x00\x01\x01\x05\x17\x01", STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\x1e\xc4\x00", STATE_E_INVALID),
		RAW("\x84\x00\x01\x01\x05\x11\xa1m\x1e\xc4\x00", STATE_OK),	/* saved: empty */
		RAW("\x84\x00\x01\x01\x05\x11\xa1m\x12\x01", STATE_E_INVALID),	/* readonly: 1 */
		RAW("\x84\x00\x01\x01\x05\x11\xa1m\x13\xc4\x01z", STATE_E_INVALID),	/* id */
		RAW("\x84\x00\x01\x01\x05\x11\xa1m\x17\x01", STATE_E_INVALID),	/* exists, no uids */
		/* uids 1:3: exists and uidnext fit, one is too low, one is too high */
		RAW("\x86\x00\x01\x01\x05\x11\xa1m\x15\x04\x17\x03\x18\xc4\x02\x00\x02", STATE_OK),
		RAW("\x86\x00\x01\x01\x05\x11\xa1m\x15\x03\x17\x03\x18\xc4\x02\x00\x02",
		    STATE_E_INVALID),
		RAW("\x86\x00\x01\x01\x05\x11\xa1m\x15\x04\x17\x04\x18\xc4\x02\x00\x02",
		    STATE_E_INVALID),
		/* a range cut after its first half; a range beyond 2^32 */
		RAW("\x86\x00\x01\x01\x05\x11\xa1m\x15\x04\x17\x03\x18\xc4\x01\x00",
		    STATE_E_INVALID),
		RAW("\x86\x00\x01\x01\x05\x11\xa1m\x15\x04\x17\x03\x18\xc4\x06\x01"
		    "\xff\xff\xff\xff\x0f", STATE_E_INVALID),
		/* recent 4 is not in uids 1:3 */
		RAW("\x87\x00\x01\x01\x05\x11\xa1m\x15\x05\x17\x03\x18\xc4\x02\x00\x02"
		    "\x1b\xc4\x02\x03\x00", STATE_E_INVALID),
		/* nor are 3:4 */
		RAW("\x87\x00\x01\x01\x05\x11\xa1m\x15\x05\x17\x03\x18\xc4\x02\x00\x02"
		    "\x1b\xc4\x02\x02\x01", STATE_E_INVALID),
		RAW("\x87\x00\x01\x01\x05\x11\xa1m\x15\x05\x17\x03\x18\xc4\x02\x00\x02"
		    "\x1b\xc4\x02\x02\x00", STATE_OK),
		/* a view file is a name, and stands instead of uids */
		RAW("\x85\x00\x01\x01\x05\x11\xa1m\x17\x03\x19\xa1v", STATE_OK),
		RAW("\x85\x00\x01\x01\x05\x11\xa1m\x17\x03\x19\xa2..", STATE_E_INVALID),
		RAW("\x85\x00\x01\x01\x05\x11\xa1m\x17\x03\x19\xa3""a/b", STATE_E_INVALID),
		RAW("\x85\x00\x01\x01\x05\x11\xa1m\x17\x03\x1a\x05", STATE_E_INVALID),
		RAW("\x87\x00\x01\x01\x05\x11\xa1m\x15\x04\x17\x03\x18\xc4\x02\x00\x02"
		    "\x19\xa1v", STATE_E_INVALID),
	};

	check_raw(rows, UNIT_COUNT(rows));
}

static void test_state_carries_unknown_keys_along(void)
{
	/* 200: 1, 300: [[]], 2^32: "x" */
	static const char extra[] = "\xcc\xc8\x01\xcd\x01\x2c\x91\x90"
				    "\xcf\0\0\0\1\0\0\0\0\xa1x";
	struct session_state s, back;
	struct buf b;

	state_idle(&s);
	require(buf_append(&s.unknown, extra, sizeof(extra) - 1) == 0);
	b = packed(&s);
	check(b.len > sizeof(extra) &&
	      memcmp(b.data + b.len - (sizeof(extra) - 1), extra, sizeof(extra) - 1) == 0);
	session_state_init(&back);
	check(session_state_unpack(&back, b.data, b.len) == STATE_OK);
	check(same_buf(&s.unknown, &back.unknown));
	check_round_trip(&back, 0);
	session_state_deinit(&s);
	session_state_deinit(&back);
	buf_deinit(&b);
}

static void test_state_packs_no_broken_unknown_keys(void)
{
	static const struct raw_row rows[] = {
		RAW("\x05\x01", STATE_E_INVALID),			/* below 128 */
		RAW("\xcc\xc8", STATE_E_INVALID),			/* no value */
		RAW("\xcc\xc8\x01\xcc\xc8\x01", STATE_E_INVALID),
		RAW("\xcc\xc9\x01\xcc\xc8\x01", STATE_E_INVALID),
		RAW("\xcc\xc8\x01\xcc\xc9\x01", STATE_OK),
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct session_state s;
		struct buf b;

		state_idle(&s);
		buf_init(&b, STATE_MAX_BYTES);
		require(buf_append(&s.unknown, rows[i].bytes, rows[i].len) == 0);
		check_row(session_state_pack(&s, &b) == rows[i].says, i);
		check_row((b.len == 0) == (rows[i].says != STATE_OK), i);
		session_state_deinit(&s);
		buf_deinit(&b);
	}
}

/* ---- bombs: a few bytes that claim much ---- */

/* Bytes of address space in use now. */
static rlim_t address_space(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	require(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* unpack_says() in a child that may map only a little more than it has. */
static int unpack_says_in_little_memory(const void *data, size_t len)
{
	const rlim_t room = 16 * 1024 * 1024;
	int status;
	pid_t pid = fork();

	require(pid >= 0);
	if (pid == 0) {
		struct rlimit limit = { address_space() + room, RLIM_INFINITY };

		if (setrlimit(RLIMIT_AS, &limit) < 0)
			_exit(100);
		_exit(unpack_says(data, len) & 0x7f);
	}
	require(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_state_count_bombs_cost_no_memory(void)
{
	static const struct raw_row rows[] = {
		RAW("\xdf\xff\xff\xff\xff", STATE_E_TRUNCATED),
		RAW("\xde\xff\xff", STATE_E_TRUNCATED),
		RAW("\x82\x00\x01\x01\xdd\xff\xff\xff\xff", STATE_E_TRUNCATED),
		RAW("\x83\x00\x01\x01\x05\xcc\x82\xdf\xff\xff\xff\xff", STATE_E_TRUNCATED),
		RAW("\x83\x00\x01\x01\x05\xcc\x82\xdb\xff\xff\xff\xff", STATE_E_TRUNCATED),
		RAW("\x83\x00\x01\x01\x05\xcc\x82\xc6\xff\xff\xff\xff", STATE_E_TRUNCATED),
		RAW("\x83\x00\x01\x01\x05\xcc\x82\xc9\xff\xff\xff\xff", STATE_E_TRUNCATED),
		/* deeper than we go */
		RAW("\x83\x00\x01\x01\x05\xcc\x82\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01",
		    STATE_E_INVALID),
		RAW("\x83\x00\x01\x01\x05\xcc\x82\x91\x91\x91\x91\x91\x91\x91\x91\x01", STATE_OK),
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(unpack_says_in_little_memory(rows[i].bytes, rows[i].len) ==
			  rows[i].says, i);
}

/* Arrays in arrays, each claiming 65535 members: 2 MB for 3 bytes. */
static void test_state_nested_bombs_cost_no_memory(void)
{
	struct buf b;

	buf_init(&b, STATE_MAX_BYTES);
	require(buf_append(&b, "\x83\x00\x01\x01\x05\xcc\x82", 7) == 0);
	for (unsigned i = 0; i < 60000; i++)
		require(buf_append(&b, "\xdc\xff\xff", 3) == 0);
	check(unpack_says_in_little_memory(b.data, b.len) == STATE_E_INVALID);
	check(unpack_says_in_little_memory(b.data, 7 + 3 * 30) == STATE_E_TRUNCATED);
	buf_deinit(&b);
}

/* ---- too large ---- */

static void check_too_large(struct session_state *s, size_t row)
{
	struct buf b;

	buf_init(&b, 2 * STATE_MAX_BYTES);
	require(buf_append_str(&b, "head") == 0);
	check_row(session_state_pack(s, &b) == STATE_E_TOO_LARGE, row);
	check_row(b.len == 4, row);
	buf_deinit(&b);
}

static void fill(struct buf *b, size_t n)
{
	uint8_t *p;

	if (b->max < b->len + n)
		b->max = b->len + n;
	p = buf_reserve(b, n);
	require(p != NULL);
	memset(p, 'x', n);
	buf_added(b, n);
}

static void test_state_too_large_stays_awake(void)
{
	struct session_state s;

	state_idle(&s);
	fill(&s.tls, STATE_MAX_BYTES);
	check_too_large(&s, 1);
	session_state_deinit(&s);

	state_idle(&s);
	fill(&s.input, STATE_INPUT_MAX_BYTES + 1);
	check_too_large(&s, 2);
	session_state_deinit(&s);

	state_idle(&s);	/* every other UID */
	for (uint32_t uid = 12; uid < 12 + 2 * 140000; uid += 2)
		require(uidset_add(&s.uids, uid) == 0);
	s.exists = 10 + 140000;
	s.uidnext = 1000000;
	check_too_large(&s, 3);
	session_state_deinit(&s);

	state_idle(&s);
	fill(&s.tls, 200000);
	fill(&s.compress, 100000);
	check_too_large(&s, 4);
	session_state_deinit(&s);
}

static void test_state_of_the_largest_size_fits(void)
{
	struct session_state s;
	struct buf b;
	size_t small;

	state_idle(&s);
	fill(&s.tls, 70000);
	b = packed(&s);
	small = b.len;
	buf_deinit(&b);
	/* 5 bytes are set aside for the head of the map, 3 are used */
	fill(&s.tls, STATE_PACK_MAX_BYTES - 2 - small);
	b = packed(&s);
	check(b.len == STATE_PACK_MAX_BYTES - 2);
	check(unpack_says(b.data, b.len) == STATE_OK);
	buf_deinit(&b);
	fill(&s.tls, 1);
	check_too_large(&s, 0);
	session_state_deinit(&s);
}

static void test_state_refuses_more_than_the_maximum(void)
{
	struct buf b;

	buf_init(&b, 4 * STATE_MAX_BYTES);
	require(buf_append(&b, "\x83\x00\x01\x01\x05\xcc\x82\xc6", 8) == 0);
	require(buf_append_u32(&b, STATE_PACK_MAX_BYTES - 12) == 0);
	fill(&b, STATE_PACK_MAX_BYTES - 12);
	check(b.len == STATE_PACK_MAX_BYTES);
	check(unpack_says(b.data, b.len) == STATE_OK);
	b.data[11]++;		/* one byte more, and it is there */
	fill(&b, 1);
	check(unpack_says(b.data, b.len) == STATE_E_INVALID);
	buf_deinit(&b);
}

/* ---- what could not wake does not sleep ---- */

static void no_sid(struct session_state *s) { s->sid = 0; }
static void long_keepalive(struct session_state *s) { s->keepalive_len[1] = 129; }
static void empty_keepalive(struct session_state *s) { s->keepalive_len[0] = 0; }
static void many_keepalives(struct session_state *s) { s->n_keepalives = KEEPALIVES_MAX + 1; }
static void bad_tag(struct session_state *s) { strcpy(s->idle_tag, "\n"); }
static void not_selected(struct session_state *s) { s->selected = false; }
static void no_name(struct session_state *s) { s->mailbox[0] = '\0'; }
static void wrong_exists(struct session_state *s) { s->exists++; }
static void low_uidnext(struct session_state *s) { s->uidnext--; }
static void many_keywords(struct session_state *s) { s->keywords_told = KEYWORDS_MAX + 1; }
static void unsaid_search(struct session_state *s)
{
	s->has_saved_search = false;
	require(uidset_add(&s->saved_search, 1) == 0);
}
static void strange_enabled(struct session_state *s) { s->enabled |= 16; }

static void test_state_that_could_not_wake_does_not_pack(void)
{
	static void (*const spoil[])(struct session_state *s) = {
		no_sid, long_keepalive, empty_keepalive, many_keepalives, bad_tag,
		not_selected, no_name, wrong_exists, low_uidnext, many_keywords,
		unsaid_search, strange_enabled,
	};

	for (size_t i = 0; i < UNIT_COUNT(spoil); i++) {
		struct session_state s;
		struct buf b;

		state_idle(&s);
		spoil[i](&s);
		buf_init(&b, STATE_MAX_BYTES);
		check_row(session_state_pack(&s, &b) == STATE_E_INVALID, i);
		check_row(b.len == 0, i);
		session_state_deinit(&s);
		buf_deinit(&b);
	}
}

/* ---- the rest ---- */

static bool text_has(const struct buf *b, const char *part)
{
	return memmem(b->data, b->len, part, strlen(part)) != NULL;
}

static void test_state_dump_tells_all_but_secrets(void)
{
	struct session_state s;
	struct buf b;

	state_full(&s);
	free(s.mailbox);
	s.mailbox = strdup("a\nsid: 1\xc2\x9b" "31m\xc3\x9b");
	buf_init(&b, 65536);
	check(session_state_dump(&s, &b) == 0);
	check(text_has(&b, "sid: fedcba9876543210\n"));
	check(text_has(&b, "\nmailbox: a\\x0asid: 1\\xc2\\x9b31m\xc3\x9b\n"));
	check(text_has(&b, "\nuids: 1:10,100:199,3999999999 (111)\n"));
	check(text_has(&b, "\nexpunged: 100:120 (21)\n"));
	check(text_has(&b, "\nenabled: UTF8=ACCEPT IMAP4rev2\n"));
	check(text_has(&b, "\ntls: 32 bytes\n"));
	check(text_has(&b, "\ninput: 2 bytes\n"));
	check(text_has(&b, "\nidle_tag: a9\n"));
	check(text_has(&b, "\nunknown: 14 bytes\n"));
	check(!text_has(&b, "nobody may see"));
	session_state_deinit(&s);
	buf_deinit(&b);
}

static void test_state_dump_says_when_it_does_not_fit(void)
{
	struct session_state s;
	struct buf b;

	state_idle(&s);
	buf_init(&b, 50);
	check(session_state_dump(&s, &b) == -ENOBUFS);
	session_state_deinit(&s);
	buf_deinit(&b);
}

static void test_state_deinit_leaves_an_empty_one(void)
{
	struct session_state s;

	state_full(&s);
	session_state_deinit(&s);
	check(state_is_empty(&s));
	session_state_deinit(&s);	/* again: harmless */
	check(buf_append_str(&s.input, "usable") == 0);
	session_state_deinit(&s);
}

static void test_state_keywords_hash(void)
{
	static const char *const foobar[] = { "foobar" };
	static const char *const ab_c[] = { "ab", "c" }, *const a_bc[] = { "a", "bc" };
	static const char *const c_ab[] = { "c", "ab" };

	/* FNV's own test vectors */
	check(state_keywords_hash(foobar, 0) == 0xcbf29ce484222325u);
	check(state_keywords_hash(foobar, 1) == 0x85944171f73967e8u);
	check(state_keywords_hash(ab_c, 2) != state_keywords_hash(a_bc, 2));
	check(state_keywords_hash(ab_c, 2) != state_keywords_hash(c_ab, 2));
	check(state_keywords_hash(ab_c, 1) != state_keywords_hash(ab_c, 2));
}

static void test_state_errors_have_texts(void)
{
	for (int i = STATE_OK; i <= STATE_E_TOO_LARGE; i++)
		check_row(strcmp(session_state_strerror(i), session_state_strerror(99)) != 0, i);
	check(strcmp(session_state_strerror(-ENOMEM), strerror(ENOMEM)) == 0);
}

int main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_state_copies_the_mailbox_and_nothing_else),
		UNIT_TEST(test_state_comes_back_as_it_was),
		UNIT_TEST(test_state_of_a_phone_in_idle_is_small),
		UNIT_TEST(test_state_with_defaults_is_its_id),
		UNIT_TEST(test_state_is_appended_after_what_is_there),
		UNIT_TEST(test_state_reads_packs_of_released_formats),
		UNIT_TEST(test_state_refuses_every_truncation),
		UNIT_TEST(test_state_refuses_bytes_left_over),
		UNIT_TEST(test_state_sealed_refuses_every_flipped_bit),
		UNIT_TEST(test_state_survives_every_flipped_bit),
		UNIT_TEST(test_state_survives_random_damage),
		UNIT_TEST(test_state_refuses_what_it_must_understand),
		UNIT_TEST(test_state_refuses_nonsense),
		UNIT_TEST(test_state_carries_unknown_keys_along),
		UNIT_TEST(test_state_packs_no_broken_unknown_keys),
		UNIT_TEST(test_state_count_bombs_cost_no_memory),
		UNIT_TEST(test_state_nested_bombs_cost_no_memory),
		UNIT_TEST(test_state_too_large_stays_awake),
		UNIT_TEST(test_state_of_the_largest_size_fits),
		UNIT_TEST(test_state_refuses_more_than_the_maximum),
		UNIT_TEST(test_state_that_could_not_wake_does_not_pack),
		UNIT_TEST(test_state_dump_tells_all_but_secrets),
		UNIT_TEST(test_state_dump_says_when_it_does_not_fit),
		UNIT_TEST(test_state_deinit_leaves_an_empty_one),
		UNIT_TEST(test_state_keywords_hash),
		UNIT_TEST(test_state_errors_have_texts),
	};

	static const struct unit_test writer = UNIT_TEST(kept_write);

	if (argc == 3 && strcmp(argv[1], "--write") == 0) {
		kept_dir = argv[2];
		return unit_run("state --write", &writer, 1);
	}
	return unit_run("state", tests, UNIT_COUNT(tests));
}
