/* SPDX-License-Identifier: MIT */
/* Two roads were not taken. iconv() loads a module for each charset: after
 * the sandbox is closed it cannot, and warmed ones would cost every fork their
 * mappings. And converting whole parts would need memory as large as they are.
 *
 * A decoder looks at the bytes it has: enough for a character, it takes them;
 * too few, it keeps them (8 are enough for any) and puts the next ones behind. */
#include "imap/charset.h"

#include <string.h>
#include <strings.h>

#include "imap/charset-tables.h"

#define REPLACEMENT	0xfffd
#define LEAD_FIRST	0x81
#define TRAIL_FIRST	0x40
#define TRAILS		191

static const struct charset bytes = { "", CHARSET_UTF8, 0 };
const struct charset *const charset_bytes = &bytes;

/* ---- out ---- */

void text_out_init(struct text_out *o, void (*write)(void *ctx, const void *data, size_t len),
		   void *ctx)
{
	o->write = write;
	o->ctx = ctx;
	o->len = 0;
}

void text_out_flush(struct text_out *o)
{
	if (o->len > 0)
		o->write(o->ctx, o->data, o->len);
	o->len = 0;
}

static void put_bytes(struct text_out *o, const void *data, size_t len)
{
	if (sizeof(o->data) - o->len < len)
		text_out_flush(o);
	memcpy(o->data + o->len, data, len);	/* 255 at most: fold_pool's lengths */
	o->len += len;
}

static void put_byte(struct text_out *o, uint8_t byte)
{
	if (o->len == sizeof(o->data))
		text_out_flush(o);
	o->data[o->len++] = byte;
}

static void put_utf8(struct text_out *o, uint32_t c)
{
	uint8_t b[4];

	if (c < 0x80) {
		put_byte(o, (uint8_t)c);
	} else if (c < 0x800) {
		b[0] = (uint8_t)(0xc0 | c >> 6);
		b[1] = (uint8_t)(0x80 | (c & 0x3f));
		put_bytes(o, b, 2);
	} else if (c < 0x10000) {
		b[0] = (uint8_t)(0xe0 | c >> 12);
		b[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		b[2] = (uint8_t)(0x80 | (c & 0x3f));
		put_bytes(o, b, 3);
	} else {
		b[0] = (uint8_t)(0xf0 | c >> 18);
		b[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
		b[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		b[3] = (uint8_t)(0x80 | (c & 0x3f));
		put_bytes(o, b, 4);
	}
}

/* ---- folding ---- */

static uint16_t fold_rare(uint32_t c)
{
	size_t low = 0, high = fold_n_rares;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (fold_rares[mid].character < c)
			low = mid + 1;
		else
			high = mid;
	}
	return low < fold_n_rares && fold_rares[low].character == c ? fold_rares[low].at : 0;
}

/* Unicode 3.12: a syllable is its two or three letters. */
static void put_hangul(struct text_out *o, uint32_t c)
{
	uint32_t n = c - 0xac00;

	put_utf8(o, 0x1100 + n / 588);
	put_utf8(o, 0x1161 + n % 588 / 28);
	if (n % 28 != 0)
		put_utf8(o, 0x11a7 + n % 28);
}

static void put_folded(struct text_out *o, uint32_t c)
{
	uint16_t at;

	if (c >= 0xac00 && c < 0xac00 + 11172) {
		put_hangul(o, c);
		return;
	}
	at = c < 0x10000 ? fold_table[fold_pages[c >> 8]][c & 0xff] : fold_rare(c);
	if (at != 0)
		put_bytes(o, fold_pool + at + 1, fold_pool[at]);
	else
		put_utf8(o, c);
}

void charset_put(struct text_out *o, bool fold, uint32_t c)
{
	if (!fold)
		put_utf8(o, c);
	else if (c < 0x80)
		put_byte(o, (uint8_t)(c >= 'a' && c <= 'z' ? c - 32 : c));
	else
		put_folded(o, c);
}

static void put_char(struct charset_decoder *d, uint32_t c)
{
	if (c == 0) {
		d->invalid = true;
		c = REPLACEMENT;
	}
	charset_put(d->out, d->fold, c);
}

/* ---- finding ---- */

static int name_compare(const char *name, size_t len, const char *upper)
{
	int ret = strncasecmp(name, upper, len);

	return ret != 0 ? ret : upper[len] == '\0' ? 0 : -1;
}

const struct charset *charset_find(const char *name, size_t len)
{
	const char *star = memchr(name, '*', len);
	size_t low = 0, high = n_charsets;

	if (star != NULL)
		len = (size_t)(star - name);
	if (len == 0 || memchr(name, '\0', len) != NULL)
		return NULL;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int ret = name_compare(name, len, charsets[mid].name);

		if (ret == 0)
			return &charsets[mid];
		if (ret > 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* ---- one character ----
 * Each looks at p[0 .. n), n >= 1: how many bytes it used, 0 if there must be
 * more. *c_r 0: no character. */

static size_t two_bytes(const uint16_t *table, const uint8_t *p, size_t n, uint32_t *c_r)
{
	if (p[0] < LEAD_FIRST || p[0] == 0xff) {
		*c_r = 0;
		return 1;
	}
	if (n < 2)
		return 0;
	*c_r = 0;
	/* What cannot be a second byte may begin something else. */
	if (p[1] < TRAIL_FIRST || p[1] == 0xff)
		return 1;
	*c_r = table[(p[0] - LEAD_FIRST) * TRAILS + p[1] - TRAIL_FIRST];
	return *c_r == 0 && p[1] < 0x80 ? 1 : 2;
}

static size_t take_sjis(const uint8_t *p, size_t n, uint32_t *c_r)
{
	if (p[0] >= 0xa1 && p[0] <= 0xdf) {
		*c_r = 0xff61 + p[0] - 0xa1u;
		return 1;
	}
	return two_bytes(charset_sjis, p, n, c_r);
}

/* JIS X 0208 by its row and cell, 21 to 7E each, from the table of Shift_JIS,
 * which lays two rows into one. */
static uint32_t jis0208(uint8_t row, uint8_t cell)
{
	uint8_t lead, trail;

	if (row < 0x21 || row > 0x7e || cell < 0x21 || cell > 0x7e)
		return 0;
	lead = (uint8_t)((row - 0x21) / 2 + 0x81);
	if (lead > 0x9f)
		lead = (uint8_t)(lead + 0x40);
	if (row & 1)
		trail = (uint8_t)(cell + 0x1f + (cell >= 0x60));
	else
		trail = (uint8_t)(cell + 0x7e);
	return charset_sjis[(lead - LEAD_FIRST) * TRAILS + trail - TRAIL_FIRST];
}

static uint32_t jis0212(uint8_t row, uint8_t cell)
{
	if (row < 0x21 || row > 0x7e || cell < 0x21 || cell > 0x7e)
		return 0;
	return charset_jis0212[(row - 0x21) * 94 + cell - 0x21];
}

static size_t take_euc_jp(const uint8_t *p, size_t n, uint32_t *c_r)
{
	size_t need = p[0] == 0x8f ? 3 : 2;

	*c_r = 0;
	if (p[0] != 0x8e && p[0] != 0x8f && (p[0] < 0xa1 || p[0] == 0xff))
		return 1;
	for (size_t i = 1; i < need; i++) {
		if (i == n)
			return 0;
		if (p[i] < 0xa1 || p[i] == 0xff)
			return i;
	}
	if (p[0] == 0x8e)
		*c_r = p[1] <= 0xdf ? 0xff61 + p[1] - 0xa1u : 0;
	else if (p[0] == 0x8f)
		*c_r = jis0212(p[1] & 0x7f, p[2] & 0x7f);
	else
		*c_r = jis0208(p[0] & 0x7f, p[1] & 0x7f);
	return need;
}

static uint32_t gb18030_character(uint32_t number)
{
	size_t low = 0, high = charset_gb18030_n_ranges;

	if (number >= 189000 && number - 189000 <= 0xfffff)
		return 0x10000 + number - 189000;
	if (number >= 39420)
		return 0;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (charset_gb18030_ranges[mid].first <= number)
			low = mid;
		else
			high = mid;
	}
	if (charset_gb18030_ranges[low].character == 0)
		return 0;
	return charset_gb18030_ranges[low].character + number - charset_gb18030_ranges[low].first;
}

static size_t take_gb18030(const uint8_t *p, size_t n, uint32_t *c_r)
{
	if (p[0] < LEAD_FIRST || p[0] == 0xff || n < 2 || p[1] < '0' || p[1] > '9')
		return two_bytes(charset_gbk, p, n, c_r);
	*c_r = 0;
	if (n > 2 && (p[2] < LEAD_FIRST || p[2] == 0xff))
		return 1;
	if (n > 3 && (p[3] < '0' || p[3] > '9'))
		return 1;
	if (n < 4)
		return 0;
	*c_r = gb18030_character((((p[0] - 0x81u) * 10 + p[1] - '0') * 126 + p[2] - 0x81u) * 10 +
				 p[3] - '0');
	return 4;
}

/* RFC 3629 4, as its table has it. 0 bytes wrong: *c_r 0, 1 used. */
static size_t take_utf8(const uint8_t *p, size_t n, uint32_t *c_r)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t need = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	uint32_t c = p[0] & (0x7fu >> need);

	*c_r = 0;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 1;
	for (size_t i = 1; i < need; i++) {
		if (i == n)
			return 0;
		if ((p[i] & 0xc0) != 0x80)
			return 1;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[need] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 1;
	*c_r = c;
	return need;
}

/* ---- shifting charsets ---- */

enum jis_mode { JIS_ASCII, JIS_KANA, JIS_0208, JIS_0212 };

/* An escape sequence; 0 if there must be more. */
static size_t jis_escape(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	static const struct {
		const char *bytes;
		enum jis_mode mode;
	} sets[] = {
		{ "\x1b(B", JIS_ASCII }, { "\x1b(J", JIS_ASCII }, { "\x1b(I", JIS_KANA },
		{ "\x1b$@", JIS_0208 }, { "\x1b$B", JIS_0208 }, { "\x1b$(D", JIS_0212 },
		{ "\x1b$(@", JIS_0208 }, { "\x1b$(B", JIS_0208 },
	};

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		size_t len = strlen(sets[i].bytes), some = n < len ? n : len;

		if (memcmp(p, sets[i].bytes, some) != 0)
			continue;
		if (some == len)
			d->mode = (uint8_t)sets[i].mode;
		return some == len ? len : 0;
	}
	return 1;
}

static size_t take_iso2022_jp(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	if (p[0] == 0x1b)
		return jis_escape(d, p, n);
	if (p[0] == '\n' || p[0] == '\r')
		d->mode = JIS_ASCII;
	if (p[0] <= 0x20 || p[0] >= 0x7f || d->mode == JIS_ASCII || d->mode == JIS_KANA) {
		if (d->mode == JIS_KANA && p[0] > 0x20 && p[0] < 0x60)
			put_char(d, 0xff61 + p[0] - 0x21u);
		else
			put_char(d, p[0] < 0x80 ? p[0] : 0);
		return 1;
	}
	if (n < 2)
		return 0;
	put_char(d, d->mode == JIS_0212 ? jis0212(p[0], p[1]) : jis0208(p[0], p[1]));
	return p[1] > 0x20 ? 2 : 1;
}

static size_t take_iso2022_kr(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	uint8_t high[2];
	uint32_t c;

	if (p[0] == 0x0e || p[0] == 0x0f) {
		d->mode = p[0] == 0x0e;
		return 1;
	}
	if (p[0] == 0x1b) {	/* the announcement, ESC $ ) C */
		if (memcmp(p, "\x1b$)C", n < 4 ? n : 4) != 0)
			return 1;
		return n < 4 ? 0 : 4;
	}
	if (p[0] == '\n')
		d->mode = 0;
	if (d->mode == 0 || p[0] <= 0x20 || p[0] >= 0x7f) {
		put_char(d, p[0] < 0x80 ? p[0] : 0);
		return 1;
	}
	if (n < 2)
		return 0;
	high[0] = p[0] | 0x80;
	high[1] = p[1] | 0x80;
	two_bytes(charset_cp949, high, 2, &c);
	put_char(d, p[1] > 0x20 ? c : 0);
	return p[1] > 0x20 ? 2 : 1;
}

/* A unit of UTF-16; its pair is put when both are there. */
static void put_unit(struct charset_decoder *d, uint16_t unit)
{
	if (unit >= 0xdc00 && unit < 0xe000) {
		put_char(d, d->high != 0 ?
			 0x10000 + ((d->high & 0x3ffu) << 10) + (unit & 0x3ffu) : 0);
		d->high = 0;
		return;
	}
	if (d->high != 0)
		put_char(d, 0);
	d->high = 0;
	if (unit >= 0xd800 && unit < 0xdc00)
		d->high = unit;
	else
		charset_put(d->out, d->fold, unit);
}

static size_t take_utf16(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	enum { BEGIN, BIG, LITTLE };
	bool begins = d->mode == BEGIN;
	uint16_t unit;

	if (n < 2)
		return 0;
	if (begins)
		d->mode = d->charset->kind == CHARSET_UTF16LE || (p[0] == 0xff && p[1] == 0xfe) ?
			LITTLE : BIG;
	unit = (uint16_t)(d->mode == LITTLE ? p[1] << 8 | p[0] : p[0] << 8 | p[1]);
	if (!begins || unit != 0xfeff)
		put_unit(d, unit);
	return 2;
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 2152: mode 1 is just behind the "+", mode 2 further on. */
static size_t take_utf7(struct charset_decoder *d, const uint8_t *p)
{
	int value = d->mode != 0 ? base64_value(p[0]) : -1;

	if (value >= 0) {
		d->mode = 2;
		d->bits = d->bits << 6 | (uint32_t)value;
		d->n_bits = (uint8_t)(d->n_bits + 6);
		if (d->n_bits >= 16) {
			d->n_bits = (uint8_t)(d->n_bits - 16);
			put_unit(d, (uint16_t)(d->bits >> d->n_bits));
		}
	} else if (d->mode != 0) {
		bool empty = d->mode == 1;

		d->mode = d->n_bits = 0;
		if (d->high != 0)
			put_char(d, 0);
		d->high = 0;
		if (p[0] != '-')
			return take_utf7(d, p);
		if (empty)
			put_char(d, '+');
	} else if (p[0] == '+') {
		d->mode = 1;
	} else {
		put_char(d, p[0] < 0x80 ? p[0] : 0);
	}
	return 1;
}

/* ---- decoding ---- */

void charset_begin(struct charset_decoder *d, const struct charset *charset, bool fold,
		   struct text_out *out)
{
	memset(d, 0, sizeof(*d));
	d->charset = charset;
	d->fold = fold;
	d->out = out;
}

static size_t take_bytes(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	uint32_t c;
	size_t used = take_utf8(p, n, &c);

	if (used > 0 && c != 0) {
		charset_put(d->out, d->fold, c);
	} else if (used > 0) {
		put_byte(d->out, p[0]);
		d->invalid = true;
	}
	return used;
}

static size_t take_ascii_based(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	uint32_t c = 0;
	size_t used;

	switch (d->charset->kind) {
	case CHARSET_SINGLE:
		c = charset_single[d->charset->table][p[0] - 0x80];
		used = 1;
		break;
	case CHARSET_SJIS:
		used = take_sjis(p, n, &c);
		break;
	case CHARSET_EUC_JP:
		used = take_euc_jp(p, n, &c);
		break;
	case CHARSET_BIG5:
		used = two_bytes(charset_big5, p, n, &c);
		break;
	case CHARSET_CP949:
		used = two_bytes(charset_cp949, p, n, &c);
		break;
	case CHARSET_GB18030:
		used = take_gb18030(p, n, &c);
		break;
	default:
		return take_bytes(d, p, n);
	}
	if (used > 0)
		put_char(d, c);
	return used;
}

static size_t take_char(struct charset_decoder *d, const uint8_t *p, size_t n)
{
	switch (d->charset->kind) {
	case CHARSET_UTF7:
		return take_utf7(d, p);
	case CHARSET_UTF16:
	case CHARSET_UTF16LE:
		return take_utf16(d, p, n);
	case CHARSET_ISO2022_JP:
		return take_iso2022_jp(d, p, n);
	case CHARSET_ISO2022_KR:
		return take_iso2022_kr(d, p, n);
	default:
		break;
	}
	if (p[0] >= 0x80)
		return take_ascii_based(d, p, n);
	charset_put(d->out, d->fold, p[0]);
	return 1;
}

/* Most text is ASCII, and in most charsets that is itself. */
static const uint8_t *take_ascii(struct charset_decoder *d, const uint8_t *p, const uint8_t *end)
{
	struct text_out *o = d->out;

	switch (d->charset->kind) {
	case CHARSET_UTF7:
	case CHARSET_UTF16:
	case CHARSET_UTF16LE:
	case CHARSET_ISO2022_JP:
	case CHARSET_ISO2022_KR:
		return p;
	default:
		break;
	}
	while (p < end && *p < 0x80) {
		size_t len = o->len, room = sizeof(o->data) - len;
		size_t n = (size_t)(end - p) < room ? (size_t)(end - p) : room, i;

		for (i = 0; i < n && p[i] < 0x80; i++)
			o->data[len + i] = (uint8_t)(d->fold && p[i] >= 'a' && p[i] <= 'z' ?
						     p[i] - 32 : p[i]);
		o->len += i;
		p += i;
		if (o->len == sizeof(o->data))
			text_out_flush(o);
	}
	return p;
}

/* Bytes of data, one at a time, behind those that were too few. */
static size_t feed_pending(struct charset_decoder *d, const uint8_t *data, size_t len)
{
	size_t at = 0;

	while (d->n_pending > 0) {
		size_t used = take_char(d, d->pending, d->n_pending);

		if (used > 0) {
			d->n_pending = (uint8_t)(d->n_pending - used);
			memmove(d->pending, d->pending + used, d->n_pending);
		} else if (at < len) {
			d->pending[d->n_pending++] = data[at++];
		} else {
			break;
		}
	}
	return at;
}

void charset_feed(struct charset_decoder *d, const void *data, size_t len)
{
	const uint8_t *p = data, *end;

	if (len == 0)
		return;
	end = p + len;
	if (d->n_pending > 0)
		p += feed_pending(d, p, len);
	while ((p = take_ascii(d, p, end)) < end) {
		size_t used = take_char(d, p, (size_t)(end - p));

		if (used == 0) {	/* never more than 3 are too few */
			d->n_pending = (uint8_t)(end - p);
			memcpy(d->pending, p, d->n_pending);
			break;
		}
		p += used;
	}
}

void charset_end(struct charset_decoder *d)
{
	for (size_t i = 0; i < d->n_pending; i++) {
		d->invalid = true;
		if (d->charset->kind == CHARSET_UTF8)
			put_byte(d->out, d->pending[i]);
		else
			put_char(d, 0);
	}
	if (d->high != 0)
		put_char(d, 0);
	d->n_pending = d->mode = d->n_bits = 0;
	d->high = 0;
}
