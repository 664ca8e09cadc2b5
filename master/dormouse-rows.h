/* SPDX-License-Identifier: MIT */
#ifndef MASTER_DORMOUSE_ROWS_H
#define MASTER_DORMOUSE_ROWS_H
/* The rows of an answer, for people and for machines. */
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct ipc_in;

struct row {
	struct row_cell {
		char *key, *value;
	} *cells;
	unsigned n;
};
struct rows {
	struct row *v;
	size_t n, room;
};
/* A CTL_ROW, its type already read. 0, -EBADMSG, -ENOMEM. */
int rows_add(struct rows *rows, struct ipc_in *in);
void rows_deinit(struct rows *rows);
/* The value of key, or NULL. */
const char *row_get(const struct row *row, const char *key);
/* Tables, one for each run of rows with the same keys; a single row with many
 * keys is written as lines. Nothing in a value can move the cursor. */
void rows_print(const struct rows *rows, struct buf *out);
/* Only the values, a line each: text that came as rows. */
void rows_print_text(const struct rows *rows, struct buf *out);
/* {"ok": true, "text": "", "rows": [{"key": "value"}]} */
void rows_json(const struct rows *rows, bool ok, const char *text, struct buf *out);
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void json_string(const char *s, struct buf *out);
#endif
