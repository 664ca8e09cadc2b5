/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CONFIG_TEXT_H
#define MASTER_CONFIG_TEXT_H
/* The pure parts of reading the configuration: text in, values or a complaint
 * out. No file, no libconfuse. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "30s", "500ms", "2m", "1h", "1d"; a plain number is seconds. One number, one
 * unit, blanks only between them. 0, -EINVAL, -ERANGE (above 100 years). */
int duration_parse(const char *text, uint64_t *ms_r);
/* The other way, in the largest unit that is exact. Returns out. */
const char *duration_format(uint64_t ms, char out[32]);
/* "512M", "64k", "1G": powers of 1024; a plain number is bytes. 0, -EINVAL,
 * -ERANGE (above max). */
int size_parse(const char *text, uint64_t max, uint64_t *bytes_r);
/* The other way, in the largest unit that is exact. Returns out. */
const char *size_format(uint64_t bytes, char out[32]);
/* Decimal digits only. 0, -EINVAL, -ERANGE (above max). */
int number_parse(const char *text, uint64_t max, uint64_t *value_r);
/* yes/no, true/false, on/off. 0 or -EINVAL. */
int yesno_parse(const char *text, bool *value_r);

enum config_text_error {
	CONFIG_TEXT_OK = 0,
	CONFIG_TEXT_OPEN_BRACE,		/* line_r: where it was opened */
	CONFIG_TEXT_STRAY_BRACE,	/* line_r: the } that closes nothing */
	CONFIG_TEXT_OPEN_STRING,	/* line_r: where the string begins */
	CONFIG_TEXT_OPEN_COMMENT,	/* line_r: where the comment begins */
};
/* Are braces balanced, outside strings and comments? libconfuse takes the end
 * of the file for any number of closing braces without a word. Comments become
 * blanks: libconfuse would count their lines more than once. */
enum config_text_error config_text_check(char *text, size_t len, unsigned *line_r);
/* Edits (insert, delete, replace) that turn a into b; for "did you mean".
 * Words above 63 bytes are as far as can be. */
unsigned word_distance(const char *a, const char *b);
#endif
