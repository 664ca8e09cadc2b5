/* SPDX-License-Identifier: MIT */
#include "master/config-text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Above this a time is a slip of the keyboard, and far from overflow. */
#define DURATION_MAX_MS		(UINT64_C(100) * 366 * 24 * 3600 * 1000)
#define BRACES_MAX_DEPTH	32
#define WORD_MAX_BYTES		63

static const struct duration_unit {
	const char *name;
	uint64_t ms;
} duration_units[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 3600 * 1000 },
	{ "d", 24 * 3600 * 1000 },
};
#define DURATION_UNITS	(sizeof(duration_units) / sizeof(duration_units[0]))

/* Digits at *text, which moves behind them. */
static int digits_parse(const char **text, uint64_t max, uint64_t *value_r)
{
	const char *p = *text;
	uint64_t value = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		unsigned digit = (unsigned)(*p - '0');

		if (digit > max || value > (max - digit) / 10)
			return -ERANGE;
		value = value * 10 + digit;
	}
	*text = p;
	*value_r = value;
	return 0;
}

int number_parse(const char *text, uint64_t max, uint64_t *value_r)
{
	uint64_t value;
	int ret = digits_parse(&text, max, &value);

	/* "99x" above max is still no number. */
	if (ret == -ERANGE)
		return text[strspn(text, "0123456789")] ? -EINVAL : ret;
	if (ret < 0)
		return ret;
	if (*text)
		return -EINVAL;
	*value_r = value;
	return 0;
}

int duration_parse(const char *text, uint64_t *ms_r)
{
	uint64_t value;
	int ret = digits_parse(&text, DURATION_MAX_MS, &value);

	if (ret < 0)
		return ret;
	while (*text == ' ')
		text++;
	if (!*text)
		text = "s";
	for (size_t i = 0; i < DURATION_UNITS; i++) {
		if (strcmp(text, duration_units[i].name) != 0)
			continue;
		if (value > DURATION_MAX_MS / duration_units[i].ms)
			return -ERANGE;
		*ms_r = value * duration_units[i].ms;
		return 0;
	}
	return -EINVAL;
}

const char *duration_format(uint64_t ms, char out[32])
{
	size_t i = DURATION_UNITS - 1;

	while (i > 0 && (ms < duration_units[i].ms || ms % duration_units[i].ms))
		i--;
	snprintf(out, 32, "%" PRIu64 "%s", ms / duration_units[i].ms,
		 ms ? duration_units[i].name : "");
	return out;
}

/* The last one is tried first by size_format(). */
static const struct size_unit {
	const char *name;
	unsigned shift;
} size_units[] = {
	{ "", 0 }, { "k", 10 }, { "M", 20 }, { "G", 30 },
};
#define SIZE_UNITS	(sizeof(size_units) / sizeof(size_units[0]))

int size_parse(const char *text, uint64_t max, uint64_t *bytes_r)
{
	uint64_t value;
	int ret = digits_parse(&text, max, &value);

	if (ret == -ERANGE)
		text += strspn(text, "0123456789");
	else if (ret < 0)
		return ret;
	while (*text == ' ')
		text++;
	for (size_t i = 0; i < SIZE_UNITS; i++) {
		if (strcmp(text, size_units[i].name) != 0)
			continue;
		if (ret < 0 || value > max >> size_units[i].shift)
			return -ERANGE;
		*bytes_r = value << size_units[i].shift;
		return 0;
	}
	return -EINVAL;
}

const char *size_format(uint64_t bytes, char out[32])
{
	size_t i = bytes ? SIZE_UNITS - 1 : 0;

	while (bytes & ((UINT64_C(1) << size_units[i].shift) - 1))
		i--;
	snprintf(out, 32, "%" PRIu64 "%s", bytes >> size_units[i].shift,
		 size_units[i].name);
	return out;
}

int yesno_parse(const char *text, bool *value_r)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{ "yes", true }, { "no", false }, { "true", true },
		{ "false", false }, { "on", true }, { "off", false },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i].word) == 0) {
			*value_r = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- braces ---- */

struct scan {
	char *p, *end;
	unsigned line;
	unsigned open_line[BRACES_MAX_DEPTH];
	unsigned depth;
};

static bool scan_at(const struct scan *s, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(s->end - s->p) >= len && memcmp(s->p, word, len) == 0;
}

static void scan_step(struct scan *s)
{
	if (*s->p++ == '\n')
		s->line++;
}

static void scan_blank(struct scan *s)
{
	if (*s->p != '\n')
		*s->p = ' ';
	scan_step(s);
}

static void scan_rest_of_line(struct scan *s)
{
	while (s->p < s->end && *s->p != '\n')
		scan_blank(s);
}

/* Behind the closing quote; false at the end of the text. A backslash guards
 * the next byte in both kinds of quotes, as in libconfuse. */
static bool scan_string(struct scan *s, char quote)
{
	scan_step(s);
	while (s->p < s->end && *s->p != quote) {
		if (*s->p == '\\' && s->end - s->p > 1)
			scan_step(s);
		scan_step(s);
	}
	if (s->p == s->end)
		return false;
	s->p++;
	return true;
}

static bool scan_comment(struct scan *s)
{
	scan_blank(s);
	scan_blank(s);
	while (s->p < s->end && !scan_at(s, "*/"))
		scan_blank(s);
	if (s->p == s->end)
		return false;
	scan_blank(s);
	scan_blank(s);
	return true;
}

/* A word without quotes: # and / inside it begin no comment (a path!). */
static void scan_word(struct scan *s)
{
	while (s->p < s->end && *s->p && !strchr(" \"'\t\r\n={}()+,", *s->p))
		s->p++;
}

static enum config_text_error scan_brace(struct scan *s)
{
	if (*s->p++ == '}') {
		if (s->depth == 0)
			return CONFIG_TEXT_STRAY_BRACE;
		s->depth--;
		return CONFIG_TEXT_OK;
	}
	/* Our sections do not nest; deeper is left to the parser to refuse. */
	if (s->depth < BRACES_MAX_DEPTH)
		s->open_line[s->depth] = s->line;
	s->depth++;
	return CONFIG_TEXT_OK;
}

enum config_text_error config_text_check(char *text, size_t len, unsigned *line_r)
{
	struct scan s = { .p = text, .end = text + len, .line = 1 };
	enum config_text_error err = CONFIG_TEXT_OK;

	while (s.p < s.end && err == CONFIG_TEXT_OK) {
		*line_r = s.line;
		if (*s.p == '"' || *s.p == '\'') {
			if (!scan_string(&s, *s.p))
				err = CONFIG_TEXT_OPEN_STRING;
		} else if (scan_at(&s, "/*")) {
			if (!scan_comment(&s))
				err = CONFIG_TEXT_OPEN_COMMENT;
		} else if (*s.p == '#' || scan_at(&s, "//")) {
			scan_rest_of_line(&s);
		} else if (*s.p == '{' || *s.p == '}') {
			err = scan_brace(&s);
		} else if (!*s.p || strchr(" \t\r\n=()+,", *s.p)) {
			scan_step(&s);
		} else {
			scan_word(&s);
		}
	}
	if (err == CONFIG_TEXT_OK && s.depth > 0) {
		unsigned top = s.depth < BRACES_MAX_DEPTH ? s.depth : BRACES_MAX_DEPTH;

		*line_r = s.open_line[top - 1];
		return CONFIG_TEXT_OPEN_BRACE;
	}
	return err;
}

/* ---- did you mean ---- */

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein, one row at a time. */
unsigned word_distance(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	unsigned row[WORD_MAX_BYTES + 1];

	if (a_len > WORD_MAX_BYTES || b_len > WORD_MAX_BYTES)
		return WORD_MAX_BYTES + 1;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned above = row[j];

			row[j] = least(above + 1, row[j - 1] + 1,
				       diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[b_len];
}
