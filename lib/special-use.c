/* SPDX-License-Identifier: MIT */
#include "lib/special-use.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* RFC 6154 section 2 */
static const char *const uses[] = {
	"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash",
};

struct piece {
	const char *p;
	size_t len;
};

static struct piece trimmed(const char *p, const char *end)
{
	while (p < end && *p == ' ')
		p++;
	while (p < end && end[-1] == ' ')
		end--;
	return (struct piece){ p, (size_t)(end - p) };
}

/* The next "name=use" of the setting; false at its end. */
static bool next_use(const char **at, struct piece *name, struct piece *use)
{
	const char *end, *equals;

	while (**at == ' ' || **at == ',')
		(*at)++;
	if (**at == '\0')
		return false;
	end = *at + strcspn(*at, ",");
	/* The last one: a name may hold it, a use does not. */
	equals = memrchr(*at, '=', (size_t)(end - *at));
	*name = trimmed(*at, equals != NULL ? equals : end);
	*use = equals != NULL ? trimmed(equals + 1, end) : (struct piece){ end, 0 };
	*at = end;
	return true;
}

static const char *use_find(struct piece use)
{
	if (use.len > 0 && use.p[0] == '\\')
		use = (struct piece){ use.p + 1, use.len - 1 };
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		if (strlen(uses[i] + 1) == use.len &&
		    strncasecmp(uses[i] + 1, use.p, use.len) == 0)
			return uses[i];
	}
	return NULL;
}

const char *special_use_of(const char *setting, const char *name)
{
	struct piece n, use;

	while (next_use(&setting, &n, &use)) {
		if (strlen(name) == n.len && memcmp(name, n.p, n.len) == 0)
			return use_find(use);
	}
	return NULL;
}

bool special_use_valid(const char *setting, const char **error_r)
{
	struct piece name, use;

	while (next_use(&setting, &name, &use)) {
		*error_r = "expected NAME=USE, and more of them behind commas";
		if (name.len == 0 || use.len == 0)
			return false;
		*error_r = "a use is All, Archive, Drafts, Flagged, Junk, Sent or Trash";
		if (use_find(use) == NULL)
			return false;
	}
	return true;
}
