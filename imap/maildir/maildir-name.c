/* SPDX-License-Identifier: MIT */
#include "imap/maildir/maildir-name.h"

#include <errno.h>
#include <string.h>

#include "imap/mailbox.h"

static const struct {
	char letter;
	uint32_t flag;
} flag_letters[] = {
	{ 'D', MAIL_DRAFT },
	{ 'F', MAIL_FLAGGED },
	{ 'R', MAIL_ANSWERED },
	{ 'S', MAIL_SEEN },
	{ 'T', MAIL_DELETED },
};

static uint32_t flag_of(char letter)
{
	for (size_t i = 0; i < sizeof(flag_letters) / sizeof(flag_letters[0]); i++) {
		if (flag_letters[i].letter == letter)
			return flag_letters[i].flag;
	}
	return 0;
}

static bool has_flags(const char *info)
{
	return info[0] == ':' && info[1] == '2' && info[2] == ',';
}

bool maildir_name_parse(const char *name, struct maildir_name *n)
{
	size_t len = strlen(name);
	const char *colon = strchr(name, ':');

	if (name[0] == '.' || len > MAILDIR_NAME_MAX || strpbrk(name, "\r\n"))
		return false;
	*n = (struct maildir_name){ .base = name };
	n->base_len = colon ? (size_t)(colon - name) : len;
	n->info = name + n->base_len;
	if (n->base_len == 0)
		return false;
	if (!has_flags(n->info))
		return true;
	for (const char *p = n->info + 3; *p && *p != ','; p++) {
		if (*p >= 'a' && *p <= 'z')
			n->letters |= UINT32_C(1) << (*p - 'a');
		else
			n->flags |= flag_of(*p);
	}
	return true;
}

int maildir_name_info(const char *old_info, size_t base_len, uint32_t flags,
		      uint32_t letters, uint32_t known, char info_r[MAILDIR_NAME_MAX + 1])
{
	bool there[256] = { false };
	const char *rest = "";
	size_t len;

	if (has_flags(old_info)) {
		const char *p = old_info + 3;

		for (; *p && *p != ','; p++) {
			unsigned char c = (unsigned char)*p;
			bool ours = c >= 'a' && c <= 'z' ? known >> (c - 'a') & 1
							 : flag_of(*p) != 0;
			there[c] = !ours;
		}
		rest = p;
	}
	for (size_t i = 0; i < sizeof(flag_letters) / sizeof(flag_letters[0]); i++) {
		if (flags & flag_letters[i].flag)
			there[(unsigned char)flag_letters[i].letter] = true;
	}
	for (unsigned int i = 0; i < 26; i++) {
		if (letters >> i & 1)
			there['a' + i] = true;
	}
	memcpy(info_r, ":2,", 3);
	len = 3;
	for (unsigned int c = 1; c < 256; c++) {
		if (there[c] && len < MAILDIR_NAME_MAX)
			info_r[len++] = (char)c;
	}
	if (strlen(rest) > MAILDIR_NAME_MAX - len ||
	    base_len > MAILDIR_NAME_MAX - len - strlen(rest))
		return -ENAMETOOLONG;
	strcpy(info_r + len, rest);
	return 0;
}

static int64_t number_at(const char *s, size_t len)
{
	int64_t v = 0;
	size_t i;

	for (i = 0; i < len && s[i] >= '0' && s[i] <= '9'; i++) {
		if (v > (INT64_MAX - 9) / 10)
			return -1;
		v = v * 10 + (s[i] - '0');
	}
	return i > 0 ? v : -1;
}

void maildir_name_sizes(const char *base, size_t len, int64_t *size_r, int64_t *vsize_r)
{
	*size_r = *vsize_r = -1;
	for (size_t i = 0; i + 3 < len; i++) {
		if (base[i] != ',' || base[i + 2] != '=')
			continue;
		if (base[i + 1] == 'S')
			*size_r = number_at(base + i + 3, len - i - 3);
		else if (base[i + 1] == 'W')
			*vsize_r = number_at(base + i + 3, len - i - 3);
	}
}

void maildir_name_time(const char *base, size_t len, int64_t *secs_r, int64_t *usecs_r)
{
	const char *dot = memchr(base, '.', len), *end = base + len;
	int64_t v = number_at(base, len);

	*secs_r = v > 0 ? v : 0;
	*usecs_r = 0;
	/* The middle part: letters, each with a number; M is microseconds. */
	for (const char *p = dot ? dot + 1 : end; p < end && *p != '.'; p++) {
		if (*p != 'M' || p + 1 == end)
			continue;
		v = number_at(p + 1, (size_t)(end - p - 1));
		if (v >= 0)
			*usecs_r = v;
		return;
	}
}

int maildir_name_cmp(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int64_t a_secs, a_usecs, b_secs, b_usecs;
	int order;

	maildir_name_time(a, a_len, &a_secs, &a_usecs);
	maildir_name_time(b, b_len, &b_secs, &b_usecs);
	if (a_secs != b_secs)
		return a_secs < b_secs ? -1 : 1;
	if (a_usecs != b_usecs)
		return a_usecs < b_usecs ? -1 : 1;
	order = memcmp(a, b, a_len < b_len ? a_len : b_len);
	if (order)
		return order;
	return a_len < b_len ? -1 : a_len > b_len;
}

uint64_t maildir_name_hash(const char *s, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
	/* FNV mixes its high bits badly; names differ in few places. */
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	return h;
}
