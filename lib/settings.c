/* SPDX-License-Identifier: MIT */
/* One table says what a setting is called, where it lies and what it is by
 * default; packing, unpacking and freeing walk it. A message holds the fields
 * in the table's order inside an array of its length, so that a sender with
 * another table is refused instead of misread. */
#include "lib/settings.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/ipc.h"

enum setting_kind { SETTING_STR, SETTING_U64, SETTING_U32, SETTING_BOOL };

struct setting {
	enum setting_kind kind;
	size_t offset;
	const char *text;	/* the default of a string */
	uint64_t number;	/* the default of all others */
};
#define STR(field, def)	{ SETTING_STR, offsetof(struct settings, field), def, 0 }
#define U64(field, def)	{ SETTING_U64, offsetof(struct settings, field), NULL, def }
#define U32(field, def)	{ SETTING_U32, offsetof(struct settings, field), NULL, def }
#define BOOL(field, def) { SETTING_BOOL, offsetof(struct settings, field), NULL, def }
#define SECONDS		((uint64_t)1000)
#define MINUTES		(60 * SECONDS)
#define MIB		((uint64_t)1024 * 1024)

static const struct setting settings_table[] = {
	STR(base_dir, "/run/dormouse"),
	STR(mail, "~/Maildir"),
	STR(index_dir, ""),
	STR(user, "dormouse"),
	STR(login_user, "dormouse-login"),
	STR(auth_user, "dormouse-auth"),
	STR(log, "stderr"),
	STR(log_level, "info"),
	STR(passwd_file, ""),
	STR(static_password, ""),
	STR(static_home, ""),
	STR(ssl_cert, ""),
	STR(ssl_key, ""),
	STR(ssl_ca, ""),
	STR(mechanisms, "plain login"),
	STR(pam_service, ""),
	U64(hibernate_after_ms, 30 * SECONDS),
	BOOL(hibernate, true),
	U64(keepalive_interval_ms, 2 * MINUTES),
	U32(keepalives_ahead, 2),
	U64(login_timeout_ms, 60 * SECONDS),
	U64(poll_interval_ms, 30 * SECONDS),
	U64(client_timeout_ms, 5 * MINUTES),
	U64(stop_timeout_ms, 60 * SECONDS),
	U64(upgrade_grace_ms, 60 * SECONDS),
	U64(keep_grace_ms, 5 * MINUTES),
	U32(spares, 2),
	U32(max_processes, 256),
	U32(max_sleepers, 0),
	U32(login_processes, 2),
	U32(login_max_clients, 1000),
	U32(max_user_sessions, 100),
	U32(max_address_sessions, 0),
	U32(first_valid_uid, 1000),
	U32(zygote_max_forks, 1000),
	U64(append_max_bytes, 512 * MIB),
	STR(special_use, "Archive=Archive, Drafts=Drafts, Junk=Junk, Sent=Sent, Trash=Trash"),
	U64(compress_window_max_bytes, 8 * 1024),
	BOOL(debug_hop, false),
	BOOL(user_mode, false),
};
#define SETTINGS_COUNT	(sizeof(settings_table) / sizeof(settings_table[0]))

static void *setting_at(const struct setting *t, struct settings *s)
{
	return (char *)s + t->offset;
}

static const void *setting_in(const struct setting *t, const struct settings *s)
{
	return (const char *)s + t->offset;
}

/* 0 or -ENOMEM. */
static int setting_store_text(const struct setting *t, struct settings *s,
			      const char *text)
{
	char **at = setting_at(t, s), *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*at);
	*at = copy;
	return 0;
}

static void setting_store_number(const struct setting *t, struct settings *s,
				 uint64_t number)
{
	void *at = setting_at(t, s);

	switch (t->kind) {
	case SETTING_STR:
		break;
	case SETTING_U64:
		*(uint64_t *)at = number;
		break;
	case SETTING_U32:
		*(uint32_t *)at = (uint32_t)number;
		break;
	case SETTING_BOOL:
		*(bool *)at = number != 0;
		break;
	}
}

int settings_init(struct settings *s)
{
	int ret = 0;

	*s = (struct settings){ 0 };
	for (size_t i = 0; i < SETTINGS_COUNT && ret == 0; i++) {
		const struct setting *t = &settings_table[i];

		if (t->text)
			ret = setting_store_text(t, s, t->text);
		else
			setting_store_number(t, s, t->number);
	}
	if (ret < 0)
		settings_deinit(s);
	return ret;
}

void settings_deinit(struct settings *s)
{
	/* static_password is in plain text. */
	if (s->static_password)
		explicit_bzero(s->static_password, strlen(s->static_password));
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		if (settings_table[i].kind == SETTING_STR)
			free(*(char **)setting_at(&settings_table[i], s));
	}
	*s = (struct settings){ 0 };
}

static void setting_pack(const struct setting *t, const struct settings *s,
			 struct ipc_out *out)
{
	const void *at = setting_in(t, s);

	switch (t->kind) {
	case SETTING_STR:
		ipc_out_str(out, *(char *const *)at);
		break;
	case SETTING_U64:
		ipc_out_u64(out, *(const uint64_t *)at);
		break;
	case SETTING_U32:
		ipc_out_u64(out, *(const uint32_t *)at);
		break;
	case SETTING_BOOL:
		ipc_out_bool(out, *(const bool *)at);
		break;
	}
}

void settings_pack(const struct settings *s, struct ipc_out *out)
{
	ipc_out_array(out, SETTINGS_COUNT);
	for (size_t i = 0; i < SETTINGS_COUNT; i++)
		setting_pack(&settings_table[i], s, out);
}

static int setting_unpack(const struct setting *t, struct settings *s,
			  struct ipc_in *in)
{
	switch (t->kind) {
	case SETTING_STR:
		return setting_store_text(t, s, ipc_in_str(in));
	case SETTING_U64:
		setting_store_number(t, s, ipc_in_u64(in));
		return 0;
	case SETTING_U32:
		setting_store_number(t, s, ipc_in_u32(in));
		return 0;
	case SETTING_BOOL:
		setting_store_number(t, s, ipc_in_bool(in));
		return 0;
	}
	return -EINVAL;
}

int settings_unpack(struct settings *s, struct ipc_in *in)
{
	int ret = 0;

	*s = (struct settings){ 0 };
	if (ipc_in_array(in) != SETTINGS_COUNT)
		return -EBADMSG;
	for (size_t i = 0; i < SETTINGS_COUNT && ret == 0; i++)
		ret = setting_unpack(&settings_table[i], s, in);
	if (ret == 0 && ipc_in_bad(in))
		ret = -EBADMSG;
	if (ret < 0)
		settings_deinit(s);
	return ret;
}

bool settings_has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	while (*(words += strspn(words, " "))) {
		size_t n = strcspn(words, " ");

		if (n == len && strncasecmp(words, word, n) == 0)
			return true;
		words += n;
	}
	return false;
}
