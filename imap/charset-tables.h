/* SPDX-License-Identifier: MIT */
#ifndef IMAP_CHARSET_TABLES_H
#define IMAP_CHARSET_TABLES_H
/* What charset-tables.py writes. In all tables of characters 0 means none. */
#include <stddef.h>
#include <stdint.h>

enum charset_kind {
	CHARSET_UTF8,		/* and ASCII, and what nobody knows */
	CHARSET_SINGLE,		/* bytes 80 to FF by charset_single[table] */
	CHARSET_UTF7,		/* RFC 2152 */
	CHARSET_UTF16,		/* big-endian if no mark says otherwise */
	CHARSET_UTF16LE,
	CHARSET_SJIS,
	CHARSET_EUC_JP,
	CHARSET_ISO2022_JP,	/* RFC 1468, RFC 2237 */
	CHARSET_ISO2022_KR,	/* RFC 1557 */
	CHARSET_BIG5,
	CHARSET_CP949,
	CHARSET_GB18030,
};
struct charset {
	const char *name;	/* upper case */
	uint8_t kind, table;
};
extern const struct charset charsets[];		/* by name */
extern const size_t n_charsets;
extern const uint16_t charset_single[][128];
/* Two bytes: lead 81 to FE times trail 40 to FE. */
extern const uint16_t charset_sjis[126 * 191], charset_big5[126 * 191],
	charset_cp949[126 * 191], charset_gbk[126 * 191];
extern const uint16_t charset_jis0212[94 * 94];
/* Four bytes of GB 18030 within the BMP, as a number. */
struct charset_range {
	uint16_t first, character;
};
extern const struct charset_range charset_gb18030_ranges[];
extern const size_t charset_gb18030_n_ranges;

/* Folding: fold_table[fold_pages[c >> 8]][c & 255] is where in fold_pool its
 * folded form stands (a byte of length, then UTF-8); 0: as it is. */
struct fold_rare {
	uint32_t character;	/* above FFFF, ascending */
	uint16_t at;
};
extern const uint8_t fold_pages[256];
extern const uint16_t fold_table[][256];
extern const uint8_t fold_pool[];
extern const struct fold_rare fold_rares[];
extern const size_t fold_n_rares;
#endif
