/* SPDX-License-Identifier: MIT */
#include "imap/list-match.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define INBOX_LEN	5

struct list_pattern {
	const char *text;
	size_t len;
	char separator;
	uint8_t *reach, *next;		/* len + 1 each */
};

struct list_pattern *list_pattern_create(struct arena *a, const char *text, char separator)
{
	struct list_pattern *p = arena_alloc(a, sizeof(*p));

	p->text = arena_strdup(a, text);
	p->len = strlen(text);
	p->separator = separator;
	p->reach = arena_alloc(a, p->len + 1);
	p->next = arena_alloc(a, p->len + 1);
	return p;
}

bool list_pattern_has_percent(const struct list_pattern *p)
{
	return strchr(p->text, '%') != NULL;
}

static char fold(char c, bool inbox)
{
	return inbox && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* Wildcards match nothing at first, so a place before one is one behind it. */
static void skip_wildcards(const struct list_pattern *p, uint8_t *reach)
{
	for (size_t i = 0; i < p->len; i++) {
		if (reach[i] && (p->text[i] == '*' || p->text[i] == '%'))
			reach[i + 1] = 1;
	}
}

/* All places of the pattern that the name read so far can have led to. */
bool list_pattern_match(struct list_pattern *p, const char *name)
{
	bool inbox_name = strncasecmp(name, "INBOX", INBOX_LEN) == 0 &&
			  (name[INBOX_LEN] == '\0' || name[INBOX_LEN] == p->separator);

	memset(p->reach, 0, p->len + 1);
	p->reach[0] = 1;
	skip_wildcards(p, p->reach);
	for (size_t n = 0; name[n] != '\0'; n++) {
		bool inbox = inbox_name && n < INBOX_LEN;
		uint8_t *swap = p->reach;

		memset(p->next, 0, p->len + 1);
		for (size_t i = 0; i < p->len; i++) {
			char c = p->text[i];

			if (!p->reach[i])
				continue;
			if (c == '*' || (c == '%' && name[n] != p->separator))
				p->next[i] = 1;
			else if (c != '%' && fold(c, inbox) == fold(name[n], inbox))
				p->next[i + 1] = 1;
		}
		skip_wildcards(p, p->next);
		p->reach = p->next;
		p->next = swap;
	}
	return p->reach[p->len];
}

int list_name_cmp(const char *a, const char *b, char separator)
{
	const unsigned char *p = (const unsigned char *)a, *q = (const unsigned char *)b;
	bool a_inbox = strcmp(a, "INBOX") == 0, b_inbox = strcmp(b, "INBOX") == 0;

	if (a_inbox != b_inbox)
		return a_inbox ? -1 : 1;
	while (*p != '\0' && *p == *q)
		p++, q++;
	if (*p == *q)
		return 0;
	return (*p == (unsigned char)separator ? 1 : *p) -
	       (*q == (unsigned char)separator ? 1 : *q);
}
