/* SPDX-License-Identifier: MIT */
#include "master/dormouse-rows.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/ipc.h"

/* More columns than this in a table of one row are hard to read. */
#define LINES_FROM_COLUMNS	10
#define ROW_CELLS_MAX		64
#define ROWS_MAX		(1u << 22)

/* ---- collecting ---- */

static void row_deinit(struct row *row)
{
	for (unsigned i = 0; i < row->n; i++) {
		free(row->cells[i].key);
		free(row->cells[i].value);
	}
	free(row->cells);
}

static int row_read(struct row *row, struct ipc_in *in)
{
	uint32_t n = ipc_in_array(in);

	if (n > ROW_CELLS_MAX)
		return -EBADMSG;
	row->cells = calloc(n ? n : 1, sizeof(*row->cells));
	if (!row->cells)
		return -ENOMEM;
	for (; row->n < n; row->n++) {
		struct row_cell *cell = &row->cells[row->n];

		if (ipc_in_array(in) != 2)
			return -EBADMSG;
		cell->key = strdup(ipc_in_str(in));
		cell->value = strdup(ipc_in_str(in));
		if (!cell->key || !cell->value) {
			row->n++;
			return -ENOMEM;
		}
	}
	return ipc_in_done(in) ? 0 : -EBADMSG;
}

int rows_add(struct rows *rows, struct ipc_in *in)
{
	struct row row = { 0 };
	int ret;

	if (rows->n == rows->room) {
		size_t room = rows->room ? rows->room * 2 : 16;
		struct row *v = room <= ROWS_MAX ?
				reallocarray(rows->v, room, sizeof(*v)) : NULL;

		if (!v)
			return -ENOMEM;
		rows->v = v;
		rows->room = room;
	}
	ret = row_read(&row, in);
	if (ret < 0) {
		row_deinit(&row);
		return ret;
	}
	rows->v[rows->n++] = row;
	return 0;
}

void rows_deinit(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		row_deinit(&rows->v[i]);
	free(rows->v);
	*rows = (struct rows){ 0 };
}

const char *row_get(const struct row *row, const char *key)
{
	for (unsigned i = 0; i < row->n; i++) {
		if (strcmp(row->cells[i].key, key) == 0)
			return row->cells[i].value;
	}
	return NULL;
}

/* ---- UTF-8 ---- */

/* Length of the valid sequence at s (RFC 3629), or 0. */
static unsigned utf8_length(const unsigned char *s)
{
	static const struct {
		unsigned char from, to, second_from, second_to;
		unsigned len;
	} forms[] = {
		{ 0x01, 0x7f, 0, 0, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		unsigned len = forms[i].len;

		if (s[0] < forms[i].from || s[0] > forms[i].to)
			continue;
		if (len > 1 && (s[1] < forms[i].second_from ||
				s[1] > forms[i].second_to))
			return 0;
		for (unsigned k = 2; k < len; k++) {
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		}
		return len;
	}
	return 0;
}

void json_string(const char *text, struct buf *out)
{
	const unsigned char *s = (const unsigned char *)text;

	buf_append_str(out, "\"");
	while (*s) {
		unsigned len = utf8_length(s);

		if (len == 0)
			buf_append_str(out, "\\ufffd");
		else if (*s == '"' || *s == '\\')
			buf_printf(out, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			buf_printf(out, "\\u%04x", *s);
		else
			buf_append(out, s, len);
		s += len ? len : 1;
	}
	buf_append_str(out, "\"");
}

void rows_json(const struct rows *rows, bool ok, const char *text, struct buf *out)
{
	buf_printf(out, "{\"ok\": %s, \"text\": ", ok ? "true" : "false");
	json_string(text, out);
	buf_append_str(out, ", \"rows\": [");
	for (size_t i = 0; i < rows->n; i++) {
		buf_append_str(out, i ? ",\n {" : "\n {");
		for (unsigned k = 0; k < rows->v[i].n; k++) {
			if (k)
				buf_append_str(out, ", ");
			json_string(rows->v[i].cells[k].key, out);
			buf_append_str(out, ": ");
			json_string(rows->v[i].cells[k].value, out);
		}
		buf_append_str(out, "}");
	}
	buf_append_str(out, "]}\n");
}

/* ---- tables ---- */

/* Appends a value as people may see it; returns its width. Control characters
 * (C1 among them) and bytes that are no UTF-8 become question marks. */
static size_t cell_print(const char *text, struct buf *out)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t width = 0;

	if (!*s) {
		buf_append_str(out, "-");
		return 1;
	}
	for (; *s; width++) {
		unsigned len = utf8_length(s);
		bool c1 = len == 2 && s[0] == 0xc2 && s[1] < 0xa0;

		if (len == 0 || c1 || *s < 0x20 || *s == 0x7f)
			buf_append_str(out, "?");
		else
			buf_append(out, s, len);
		s += len ? len : 1;
	}
	return width;
}

/* Times come as seconds since 1970. */
static const char *cell_value(const struct row_cell *cell, char text[32])
{
	bool is_time = strcmp(cell->key, "login_time") == 0 ||
		       strcmp(cell->key, "since") == 0;
	struct tm tm;
	time_t t;

	if (!is_time || !*cell->value ||
	    cell->value[strspn(cell->value, "0123456789")] || strlen(cell->value) > 12)
		return cell->value;
	t = (time_t)atoll(cell->value);
	if (!localtime_r(&t, &tm) || !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm))
		return cell->value;
	return text;
}

static size_t cell_width(const char *text)
{
	struct buf scratch;
	size_t width;

	buf_init(&scratch, SIZE_MAX);
	width = cell_print(text, &scratch);
	buf_deinit(&scratch);
	return width;
}

static bool rows_alike(const struct row *a, const struct row *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++) {
		if (strcmp(a->cells[i].key, b->cells[i].key) != 0)
			return false;
	}
	return true;
}

/* "kind" tells tables apart for machines; people see that. */
static bool column_shows(const struct row *row, unsigned k)
{
	return strcmp(row->cells[k].key, "kind") != 0;
}

static void pad(struct buf *out, size_t width, size_t to)
{
	for (; width < to + 2; width++)
		buf_append_str(out, " ");
}

static void lines_print(const struct row *row, struct buf *out)
{
	char text[32];

	for (unsigned k = 0; k < row->n; k++) {
		if (!column_shows(row, k))
			continue;
		pad(out, cell_print(row->cells[k].key, out), 18);
		cell_print(cell_value(&row->cells[k], text), out);
		buf_append_str(out, "\n");
	}
}

static void table_line(const struct row *row, bool head, const size_t *widths,
		       struct buf *out)
{
	char text[32];
	size_t width = 0, pending = 0;

	for (unsigned k = 0; k < row->n; k++) {
		if (!column_shows(row, k))
			continue;
		/* Padding comes before the next cell: no blanks at the end. */
		if (pending)
			pad(out, width, pending);
		width = cell_print(head ? row->cells[k].key :
				   cell_value(&row->cells[k], text), out);
		pending = widths[k] ? widths[k] : 1;
	}
	buf_append_str(out, "\n");
}

static void table_print(const struct row *rows, size_t n, struct buf *out)
{
	size_t widths[ROW_CELLS_MAX] = { 0 };
	char text[32];

	for (unsigned k = 0; k < rows->n; k++) {
		widths[k] = cell_width(rows->cells[k].key);
		for (size_t i = 0; i < n; i++) {
			size_t w = cell_width(cell_value(&rows[i].cells[k], text));

			if (w > widths[k])
				widths[k] = w;
		}
	}
	table_line(rows, true, widths, out);
	for (size_t i = 0; i < n; i++)
		table_line(&rows[i], false, widths, out);
}

void rows_print(const struct rows *rows, struct buf *out)
{
	for (size_t i = 0, n; i < rows->n; i += n) {
		for (n = 1; i + n < rows->n; n++) {
			if (!rows_alike(&rows->v[i], &rows->v[i + n]))
				break;
		}
		if (i > 0)
			buf_append_str(out, "\n");
		if (n == 1 && rows->v[i].n >= LINES_FROM_COLUMNS)
			lines_print(&rows->v[i], out);
		else
			table_print(&rows->v[i], n, out);
	}
}

void rows_print_text(const struct rows *rows, struct buf *out)
{
	for (size_t i = 0; i < rows->n; i++) {
		for (unsigned k = 0; k < rows->v[i].n; k++) {
			cell_print(rows->v[i].cells[k].value, out);
			buf_append_str(out, "\n");
		}
	}
}
