/* SPDX-License-Identifier: MIT */
/* All values are strings to libconfuse and are judged by one table of ours, so
 * that each complaint names file, line, key and what would be right; its own
 * say only "invalid integer value". What it lets pass is looked for first:
 * braces that are never closed (config-text.c), files that cannot be read, and
 * keys that are given twice. It is used in config_parse() alone. */
#include "master/config.h"
#include "lib/run-user.h"

#include <arpa/inet.h>
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/memfd.h"
#include "lib/special-use.h"
#include "master/config-text.h"

/* A configuration above this is not one. */
#define CONFIG_FILE_MAX_BYTES	(1024 * 1024)
#define CONFIG_ERRORS_MAX_BYTES	(64 * 1024)
/* Paths under it become socket addresses: 108 bytes, our names included. */
#define BASE_DIR_MAX_BYTES	80

enum key_kind {
	KEY_TEXT, KEY_PATH, KEY_BASE_DIR, KEY_MAIL, KEY_USER, KEY_LOG, KEY_LEVEL,
	KEY_TIME, KEY_NUMBER, KEY_SIZE, KEY_YESNO, KEY_PASSWORD, KEY_SPECIAL_USE,
	KEY_MECHANISMS, KEY_PAM,
};
struct key {
	const char *name;	/* in the section, "section|name" below one */
	enum key_kind kind;
	size_t offset;		/* in struct settings */
	uint64_t min, max;	/* times in ms, sizes in bytes */
};
#define AT(field)	offsetof(struct settings, field)
#define SECOND		UINT64_C(1000)
#define DAY		(24 * 3600 * SECOND)

static const struct key keys[] = {
	{ "base_dir", KEY_BASE_DIR, AT(base_dir), 0, 0 },
	{ "mail", KEY_MAIL, AT(mail), 0, 0 },
	{ "index_dir", KEY_MAIL, AT(index_dir), 0, 0 },
	{ "user", KEY_USER, AT(user), 0, 0 },
	{ "login_user", KEY_USER, AT(login_user), 0, 0 },
	{ "auth_user", KEY_USER, AT(auth_user), 0, 0 },
	{ "log", KEY_LOG, AT(log), 0, 0 },
	{ "log_level", KEY_LEVEL, AT(log_level), 0, 0 },
	{ "hibernate", KEY_YESNO, AT(hibernate), 0, 0 },
	{ "hibernate_after", KEY_TIME, AT(hibernate_after_ms), 0, DAY },
	{ "keepalive_interval", KEY_TIME, AT(keepalive_interval_ms), 0, DAY },
	{ "keepalives_ahead", KEY_NUMBER, AT(keepalives_ahead), 1, KEEPALIVES_MAX },
	{ "login_timeout", KEY_TIME, AT(login_timeout_ms), SECOND, 3600 * SECOND },
	{ "poll_interval", KEY_TIME, AT(poll_interval_ms), 100, DAY },
	{ "client_timeout", KEY_TIME, AT(client_timeout_ms), SECOND, DAY },
	{ "stop_timeout", KEY_TIME, AT(stop_timeout_ms), 100, 3600 * SECOND },
	{ "upgrade_grace", KEY_TIME, AT(upgrade_grace_ms), 100, 24 * 3600 * SECOND },
	{ "keep_grace", KEY_TIME, AT(keep_grace_ms), 1000, 24 * 3600 * SECOND },
	{ "spares", KEY_NUMBER, AT(spares), 1, 1000 },
	{ "max_processes", KEY_NUMBER, AT(max_processes), 1, 1000000 },
	{ "max_sleepers", KEY_NUMBER, AT(max_sleepers), 0, 10000000 },
	{ "login_processes", KEY_NUMBER, AT(login_processes), 1, 64 },
	{ "login_max_clients", KEY_NUMBER, AT(login_max_clients), 1, 100000 },
	{ "max_user_sessions", KEY_NUMBER, AT(max_user_sessions), 0, 1000000 },
	{ "max_address_sessions", KEY_NUMBER, AT(max_address_sessions), 0, 1000000 },
	{ "zygote_max_forks", KEY_NUMBER, AT(zygote_max_forks), 1, 1000000000 },
	{ "append_max", KEY_SIZE, AT(append_max_bytes), 1024, UINT64_C(1) << 40 },
	{ "special_use", KEY_SPECIAL_USE, AT(special_use), 0, 0 },
	{ "compress_window_max", KEY_SIZE, AT(compress_window_max_bytes), 64, 64 * 1024 },
	{ "debug_hop", KEY_YESNO, AT(debug_hop), 0, 0 },
	{ "ssl_cert", KEY_PATH, AT(ssl_cert), 0, 0 },
	{ "ssl_key", KEY_PATH, AT(ssl_key), 0, 0 },
	{ "ssl_ca", KEY_PATH, AT(ssl_ca), 0, 0 },
	{ "auth|passwd_file", KEY_PATH, AT(passwd_file), 0, 0 },
	{ "auth|static_password", KEY_PASSWORD, AT(static_password), 0, 0 },
	{ "auth|static_home", KEY_PATH, AT(static_home), 0, 0 },
	{ "auth|mechanisms", KEY_MECHANISMS, AT(mechanisms), 0, 0 },
	{ "auth|pam_service", KEY_PAM, AT(pam_service), 0, 0 },
	{ "auth|first_valid_uid", KEY_NUMBER, AT(first_valid_uid), 1, UINT32_MAX - 1 },
};
#define KEYS	(sizeof(keys) / sizeof(keys[0]))
static const char *const listen_keys[] = { "address", "port", "tls" };
static const char *const name_keys[] = { "cert", "key" };

/* libconfuse's callbacks have no context of their own: this is it, while
 * config_parse() runs. */
static struct parse {
	struct config *config;
	struct buf *errors;
	int first_line[KEYS];
	int password_line;
	char *password_file;
	int tls_line;
	char *tls_file;
	char *cert_where, *ca_where;
	cfg_t *root;
} *parse;

/* The file that is being read. A section that is not CFGF_MULTI was made before
 * there was any file, and knows none. */
static const char *file_of(const cfg_t *cfg)
{
	if (cfg->filename)
		return cfg->filename;
	return parse->root->filename ? parse->root->filename : "configuration";
}

/* ---- complaints ---- */

__attribute__((format(printf, 4, 5)))
static int complain(struct buf *errors, const char *file, int line,
		    const char *fmt, ...)
{
	va_list ap;

	if (line > 0)
		buf_printf(errors, "%s:%d: ", file, line);
	else
		buf_printf(errors, "%s: ", file);
	va_start(ap, fmt);
	buf_vprintf(errors, fmt, ap);
	va_end(ap);
	buf_append_str(errors, "\n");
	return -EINVAL;
}

/* The known name nearest to word, if it is near at all. */
static const char *key_near(const char *word, bool section_listen, bool section_name,
			    bool section_auth)
{
	unsigned best = strlen(word) < 6 ? 3 : 4;
	const char *found = NULL;

	if (section_name) {
		for (size_t i = 0; i < 2; i++)
			if (strstr(word, name_keys[i]))
				found = name_keys[i];
		return found;
	}
	for (size_t i = 0; !section_listen && i < KEYS; i++) {
		const char *bar = strchr(keys[i].name, '|');
		const char *name = bar ? bar + 1 : keys[i].name;

		if ((bar != NULL) == section_auth && word_distance(word, name) < best) {
			best = word_distance(word, name);
			found = name;
		}
	}
	for (size_t i = 0; section_listen && i < 3; i++) {
		if (word_distance(word, listen_keys[i]) < best) {
			best = word_distance(word, listen_keys[i]);
			found = listen_keys[i];
		}
	}
	return found;
}

static void complain_unknown(cfg_t *cfg, const char *word)
{
	const char *section = cfg->name && strcmp(cfg->name, "root") != 0 ?
			      cfg->name : NULL;
	const char *near = key_near(word, section && strcmp(section, "listen") == 0,
				    section && strcmp(section, "tls_name") == 0,
				    section && strcmp(section, "auth") == 0);

	if (near)
		complain(parse->errors, file_of(cfg), cfg->line,
			 "unknown setting \"%s\"; did you mean %s?", word, near);
	else
		complain(parse->errors, file_of(cfg), cfg->line,
			 "unknown setting \"%s\"%s%s%s; known ones are in "
			 "the manual and in dormouse.conf's example", word,
			 section ? " in section \"" : "", section ? section : "",
			 section ? "\"" : "");
}

/* All of libconfuse's own messages come here. */
__attribute__((format(printf, 2, 0)))
static void confuse_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	struct buf text;

	/* The first complaint counts; what follows from it only confuses. */
	if (parse->errors->len > 0)
		return;
	if (strcmp(fmt, "no such option '%s'") == 0) {
		complain_unknown(cfg, va_arg(ap, const char *));
		return;
	}
	buf_init(&text, CONFIG_ERRORS_MAX_BYTES);
	buf_vprintf(&text, fmt, ap);
	complain(parse->errors, file_of(cfg), cfg->line, "%.*s; settings look like  name = value  and sections "
		 "like  name { ... }", (int)text.len, text.data ? (char *)text.data : "");
	buf_deinit(&text);
}

__attribute__((format(printf, 2, 3)))
static int refuse(cfg_t *cfg, const char *fmt, ...)
{
	struct buf text;
	va_list ap;

	if (parse->errors->len > 0)
		return -1;
	buf_init(&text, CONFIG_ERRORS_MAX_BYTES);
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	complain(parse->errors, file_of(cfg), cfg->line, "%.*s", (int)text.len,
		 text.data ? (char *)text.data : "");
	buf_deinit(&text);
	return -1;
}

/* ---- single values ---- */

static int set_text(char **field, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static bool text_is_clean(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

/* The first word that is none of the mechanisms; or NULL. */
static const char *mechanism_unknown(const char *text, size_t *len_r)
{
	static const char *const known[] = { "plain", "login", "scram-sha-256" };
	bool found;

	while (*(text += strspn(text, " "))) {
		found = false;
		*len_r = strcspn(text, " ");
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found |= strlen(known[i]) == *len_r &&
				 strncasecmp(known[i], text, *len_r) == 0;
		if (!found)
			return text;
		text += *len_r;
	}
	return NULL;
}

static int check_mechanisms(cfg_t *cfg, const char *name, const char *text)
{
	size_t len = 0;
	const char *unknown = mechanism_unknown(text, &len);

	if (unknown)
		return refuse(cfg, "%s = \"%s\": %.*s is none; write some of plain, login "
			      "and scram-sha-256", name, text, (int)len, unknown);
	if (text[strspn(text, " ")])
		return 0;
	return refuse(cfg, "%s is empty; write some of plain, login and scram-sha-256", name);
}

static int check_text(cfg_t *cfg, const struct key *key, const char *name,
		      const char *text)
{
	const char *why;

	if (!text_is_clean(text))
		return refuse(cfg, "%s has a control character in it; write it in "
			      "one line, without tabs", name);
	switch (key->kind) {
	case KEY_BASE_DIR:
		if (text[0] == '/' && text[1] && strlen(text) <= BASE_DIR_MAX_BYTES)
			return 0;
		return refuse(cfg, "%s = \"%s\" will not do; write an absolute path of "
			      "at most %d bytes, such as \"/run/dormouse\"", name, text,
			      BASE_DIR_MAX_BYTES);
	case KEY_PATH:
		if (text[0] == '/' || !*text)
			return 0;
		return refuse(cfg, "%s = \"%s\" is no absolute path; it has to begin "
			      "with /", name, text);
	case KEY_MAIL:
		if (text[0] == '/' || strncmp(text, "~/", 2) == 0 ||
		    (!*text && key->offset == AT(index_dir)))
			return 0;
		return refuse(cfg, "%s = \"%s\" is no absolute path; begin with / or "
			      "~/ (the user's home), as in \"~/Maildir\"", name, text);
	case KEY_USER:
		if (*text && strlen(text) <= 32 && !strpbrk(text, ":/ "))
			return 0;
		return refuse(cfg, "%s = \"%s\" is no user name; write one such as "
			      "\"dormouse\"", name, text);
	case KEY_LOG:
		if (strcmp(text, "stderr") == 0 || strcmp(text, "syslog") == 0 ||
		    strncmp(text, "file:/", 6) == 0)
			return 0;
		return refuse(cfg, "%s = \"%s\" is no place for the log; write "
			      "\"stderr\", \"syslog\" or \"file:/absolute/path\"",
			      name, text);
	case KEY_LEVEL:
		if (strcmp(text, "debug") == 0 || strcmp(text, "info") == 0 ||
		    strcmp(text, "warn") == 0 || strcmp(text, "error") == 0)
			return 0;
		return refuse(cfg, "%s = \"%s\" is no level; write \"debug\", "
			      "\"info\", \"warn\" or \"error\"", name, text);
	case KEY_SPECIAL_USE:
		if (special_use_valid(text, &why))
			return 0;
		return refuse(cfg, "%s = \"%s\": %s; write \"Sent=Sent, My Drafts=Drafts\"",
			      name, text, why);
	case KEY_MECHANISMS:
		return check_mechanisms(cfg, name, text);
	case KEY_PAM:
		/* pam_start() would look for a path below /etc/pam.d. */
		if (text[0] == '/' ? text[strlen(text) - 1] != '/' : !strchr(text, '/'))
			return 0;
		return refuse(cfg, "%s = \"%s\" is no service of PAM; write the name of a "
			      "file in /etc/pam.d, or the absolute path of one elsewhere",
			      name, text);
	case KEY_PASSWORD:
		parse->password_line = cfg->line;
		return set_text(&parse->password_file, file_of(cfg)) < 0 ? -1 : 0;
	case KEY_TEXT:
		return 0;
	case KEY_TIME: case KEY_NUMBER: case KEY_SIZE: case KEY_YESNO:
		break;
	}
	abort();	/* the table is wrong */
}

/* "FILE:LINE" of what is being read. */
static int note_where(const cfg_t *cfg, char **where)
{
	free(*where);
	if (asprintf(where, "%s:%d", file_of(cfg), cfg->line) < 0)
		*where = NULL;
	return *where ? 0 : -1;
}

static int take_time(cfg_t *cfg, const struct key *key, const char *name,
		     const char *text, void *field)
{
	char low[32], high[32];
	uint64_t ms;
	int ret = duration_parse(text, &ms);

	if (ret == -EINVAL)
		return refuse(cfg, "%s = \"%s\" is not a time; write a number with "
			      "ms, s, m, h or d, such as 30s (a plain number is "
			      "seconds)", name, text);
	if (ret < 0 || ms < key->min || ms > key->max)
		return refuse(cfg, "%s = \"%s\" is out of range; %s to %s will do",
			      name, text, duration_format(key->min, low),
			      duration_format(key->max, high));
	*(uint64_t *)field = ms;
	return 0;
}

static int take_number(cfg_t *cfg, const struct key *key, const char *name,
		       const char *text, void *field)
{
	uint64_t value;
	int ret = number_parse(text, key->max, &value);

	if (ret == -EINVAL)
		return refuse(cfg, "%s = \"%s\" is not a number; %" PRIu64 " to %"
			      PRIu64 " will do", name, text, key->min, key->max);
	if (ret < 0 || value < key->min)
		return refuse(cfg, "%s = \"%s\" is out of range; %" PRIu64 " to %"
			      PRIu64 " will do", name, text, key->min, key->max);
	*(uint32_t *)field = (uint32_t)value;
	return 0;
}

static int take_size(cfg_t *cfg, const struct key *key, const char *name,
		     const char *text, void *field)
{
	char low[32], high[32];
	uint64_t bytes;
	int ret = size_parse(text, key->max, &bytes);

	if (ret == -EINVAL)
		return refuse(cfg, "%s = \"%s\" is not a size; write a number with "
			      "k, M or G, such as 64M (a plain number is bytes)",
			      name, text);
	if (ret < 0 || bytes < key->min)
		return refuse(cfg, "%s = \"%s\" is out of range; %s to %s will do",
			      name, text, size_format(key->min, low),
			      size_format(key->max, high));
	*(uint64_t *)field = bytes;
	return 0;
}

static int take_yesno(cfg_t *cfg, const char *name, const char *text, bool *field)
{
	if (yesno_parse(text, field) < 0)
		return refuse(cfg, "%s = \"%s\" is neither yes nor no; write one of "
			      "them", name, text);
	return 0;
}

static const struct key *key_find(const cfg_t *cfg, const char *name)
{
	bool in_auth = cfg->name && strcmp(cfg->name, "auth") == 0;

	for (size_t i = 0; i < KEYS; i++) {
		const char *bar = strchr(keys[i].name, '|');

		if ((bar != NULL) == in_auth &&
		    strcmp(bar ? bar + 1 : keys[i].name, name) == 0)
			return &keys[i];
	}
	abort();	/* only keys of the table get here */
}

/* libconfuse calls this after each `name = value` of the table. */
static int take_value(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0), *name = cfg_opt_name(opt);
	const struct key *key = key_find(cfg, name);
	void *field = (char *)&parse->config->settings + key->offset;
	int *first_line = &parse->first_line[key - keys];

	if (*first_line)
		return refuse(cfg, "%s is given twice; the first one is in line %d%s",
			      name, *first_line, " (of this or an included file)");
	*first_line = cfg->line;
	switch (key->kind) {
	case KEY_TIME:
		return take_time(cfg, key, name, text, field);
	case KEY_NUMBER:
		return take_number(cfg, key, name, text, field);
	case KEY_SIZE:
		return take_size(cfg, key, name, text, field);
	case KEY_YESNO:
		return take_yesno(cfg, name, text, field);
	case KEY_TEXT: case KEY_PATH: case KEY_BASE_DIR: case KEY_MAIL: case KEY_USER:
	case KEY_LOG: case KEY_LEVEL: case KEY_PASSWORD: case KEY_SPECIAL_USE:
	case KEY_MECHANISMS: case KEY_PAM:
		break;
	}
	if (check_text(cfg, key, name, text) < 0)
		return -1;
	if (key->offset == AT(ssl_cert) && note_where(cfg, &parse->cert_where) < 0)
		return -1;
	if (key->offset == AT(ssl_ca) && note_where(cfg, &parse->ca_where) < 0)
		return -1;
	return set_text(field, text) < 0 ? -1 : 0;
}

/* ---- listen sections ---- */

static int address_parse(const char *text, struct sockaddr_storage *sa,
			 socklen_t *len_r)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		*len_r = sizeof(*in4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		*len_r = sizeof(*in6);
		return 0;
	}
	return -EINVAL;
}

static bool address_is_loopback(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
}

static int check_address(cfg_t *cfg, cfg_opt_t *opt)
{
	struct sockaddr_storage sa;
	socklen_t len;

	if (address_parse(cfg_opt_getnstr(opt, 0), &sa, &len) == 0)
		return 0;
	return refuse(cfg, "address = \"%s\" is no IP address; write one such as "
		      "\"127.0.0.1\", \"0.0.0.0\" (all of IPv4) or \"::\" (all of IPv6)",
		      cfg_opt_getnstr(opt, 0));
}

static int check_port(cfg_t *cfg, cfg_opt_t *opt)
{
	uint64_t port;

	if (number_parse(cfg_opt_getnstr(opt, 0), 65535, &port) == 0)
		return 0;
	return refuse(cfg, "port = \"%s\" is no port; write a number from 1 to 65535, "
		      "usually 143 (or 0 for any free one)", cfg_opt_getnstr(opt, 0));
}

static int check_tls(cfg_t *cfg, cfg_opt_t *opt)
{
	bool tls;

	if (take_yesno(cfg, "tls", cfg_opt_getnstr(opt, 0), &tls) < 0)
		return -1;
	if (tls) {
		parse->tls_line = cfg->line;
		return set_text(&parse->tls_file, file_of(cfg));
	}
	return 0;
}

static bool name_is_good(const char *name)
{
	return *name && strlen(name) <= 32 &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789-_")] == '\0';
}

/* After the closing brace of a listen section: take it as a whole. */
static int take_listener(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	struct config *c = parse->config;
	struct config_listener *l = &c->listeners[c->n_listeners];
	const char *address = cfg_getstr(sec, "address"), *title = cfg_title(sec);
	uint64_t port = 0;

	if (c->n_listeners == CONFIG_LISTENERS_MAX)
		return refuse(cfg, "more than %d listen sections; use fewer",
			      CONFIG_LISTENERS_MAX);
	if (!title || !name_is_good(title))
		return refuse(cfg, "listen \"%s\": a name has 1 to 32 letters, digits, "
			      "- or _", title ? title : "");
	if (!address || !cfg_getstr(sec, "port"))
		return refuse(cfg, "listen %s has no %s; write  listen %s { address = "
			      "\"127.0.0.1\" port = 143 tls = no }", title,
			      address ? "port" : "address", title);
	if (number_parse(cfg_getstr(sec, "port"), 65535, &port) < 0 ||
	    address_parse(address, &l->sa, &l->sa_len) < 0)
		abort();	/* check_port(), check_address() were here */
	for (unsigned i = 0; i < c->n_listeners; i++) {
		if (strcmp(c->listeners[i].name, title) == 0)
			return refuse(cfg, "listen %s is there twice; give each a name "
				      "of its own", title);
		if (port && c->listeners[i].port == port &&
		    strcmp(c->listeners[i].address, address) == 0)
			return refuse(cfg, "listen %s has the address and port of "
				      "listen %s; use another port", title,
				      c->listeners[i].name);
	}
	/* The port lies at the same place in both families. */
	((struct sockaddr_in *)&l->sa)->sin_port = htons((uint16_t)port);
	if (cfg_getstr(sec, "tls") && yesno_parse(cfg_getstr(sec, "tls"), &l->tls) < 0)
		abort();	/* check_tls() was here */
	l->port = (uint16_t)port;
	l->name = strdup(title);
	l->address = strdup(address);
	c->n_listeners++;
	return l->name && l->address ? 0 : -1;
}

/* ---- tls_name sections ---- */

/* A host name as a client sends it (RFC 6066 3), or "*." and one. */
static bool host_is_good(const char *name)
{
	if (strncmp(name, "*.", 2) == 0)
		name += 2;
	return *name && strlen(name) <= 253 && *name != '.' && strchr(name, '.') &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789-.")] == '\0';
}

static int check_cert_path(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);

	if (text[0] == '/' && text_is_clean(text))
		return 0;
	return refuse(cfg, "%s = \"%s\" is no absolute path; it has to begin with /",
		      cfg_opt_name(opt), text);
}

/* After the closing brace. The first place is ssl_cert's. */
static int take_tls_name(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	struct config *c = parse->config;
	const char *title = cfg_title(sec), *cert = cfg_getstr(sec, "cert");
	const char *key = cfg_getstr(sec, "key");
	struct config_cert *to;

	if (c->n_certs == 0)
		c->n_certs = 1;
	if (c->n_certs == TLS_IDENTITIES_MAX)
		return refuse(cfg, "more than %d tls_name sections; use fewer",
			      TLS_IDENTITIES_MAX - 1);
	if (!title || !host_is_good(title))
		return refuse(cfg, "tls_name \"%s\": no host name; write one such as "
			      "\"mail.example.org\" or \"*.example.org\"", title ? title : "");
	if (!cert || !key)
		return refuse(cfg, "tls_name %s has no %s; write  tls_name \"%s\" { cert = "
			      "\"/FILE\" key = \"/FILE\" }", title, cert ? "key" : "cert", title);
	for (unsigned i = 1; i < c->n_certs; i++) {
		if (strcasecmp(c->certs[i].name, title) == 0)
			return refuse(cfg, "tls_name %s is there twice; keep one", title);
	}
	to = &c->certs[c->n_certs++];
	to->name = strdup(title);
	to->cert = strdup(cert);
	to->key = strdup(key);
	return to->name && to->cert && to->key ? note_where(cfg, &to->where) : -1;
}

/* ---- files ---- */

static int file_read(const char *file, struct buf *text, struct buf *errors)
{
	cleanup_fd int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return complain(errors, file, 0, "cannot be read: %s",
				strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain(errors, file, 0, "is not a plain file");
	do {
		void *room = buf_reserve(text, 4096);

		if (!room)
			return complain(errors, file, 0, "is larger than %d bytes",
					CONFIG_FILE_MAX_BYTES);
		n = read(fd, room, 4096);
		if (n < 0)
			return complain(errors, file, 0, "cannot be read: %s",
					strerror(errno));
		buf_added(text, (size_t)n);
	} while (n > 0);
	return 0;
}

/* What libconfuse would let pass. text is then what it should read. */
static int file_check(const char *file, struct buf *text, struct buf *errors)
{
	static const char *const what[] = {
		[CONFIG_TEXT_OPEN_BRACE] =
			"the section opened here is never closed; add a }",
		[CONFIG_TEXT_STRAY_BRACE] = "this } closes nothing; remove it",
		[CONFIG_TEXT_OPEN_STRING] =
			"the string that begins here never ends; add a quote",
		[CONFIG_TEXT_OPEN_COMMENT] =
			"the comment that begins here never ends; add */",
	};
	enum config_text_error err = CONFIG_TEXT_OK;
	unsigned line = 0;
	int ret = file_read(file, text, errors);

	if (ret == 0 && text->len > 0)
		err = config_text_check((char *)text->data, text->len, &line);
	if (err != CONFIG_TEXT_OK)
		ret = complain(errors, file, (int)line, "%s", what[err]);
	return ret;
}

/* libconfuse opens what it includes by name, and goes by that name. */
static int include_text(cfg_t *cfg, cfg_opt_t *opt, const char *path, const struct buf *text)
{
	char name[64];
	const char *names[] = { name };
	int fd = -1, ret = memfd_make("config", text->data, text->len, &fd);

	if (ret < 0)
		return refuse(cfg, "include(\"%s\"): %s", path, strerror(-ret));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	ret = cfg_include(cfg, opt, 1, names);
	fd_close(&fd);
	if (ret == 0) {
		free(cfg->filename);
		cfg->filename = strdup(path);
	}
	return ret;
}

/* include("NAME"): relative to the file that includes. */
static int take_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	cleanup_free char *path = NULL;
	const char *slash = strrchr(file_of(cfg), '/');
	struct buf inner, text;
	int ret;

	if (argc != 1)
		return refuse(cfg, "include takes one file; write include(\"FILE\")");
	if (asprintf(&path, "%.*s%s",
		     argv[0][0] == '/' || !slash ? 0 : (int)(slash + 1 - file_of(cfg)),
		     file_of(cfg), argv[0]) < 0) {
		path = NULL;
		return -1;
	}
	buf_init(&inner, CONFIG_ERRORS_MAX_BYTES);
	buf_init(&text, CONFIG_FILE_MAX_BYTES + 8192);
	ret = file_check(path, &text, &inner);
	if (ret < 0 && access(path, R_OK) < 0)
		refuse(cfg, "include(\"%s\"): %s", argv[0], strerror(errno));
	else if (ret < 0)
		buf_append(parse->errors, inner.data, inner.len);
	ret = ret < 0 ? -1 : include_text(cfg, opt, path, &text);
	buf_deinit(&inner);
	buf_deinit(&text);
	return ret;
}

static int take_root_only(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	(void)opt;
	(void)argc;
	(void)argv;
	return refuse(cfg, "include is not possible inside a section; put it outside");
}

/* ---- the whole ---- */

static void opts_init(cfg_opt_t *root, cfg_opt_t *auth)
{
	size_t n_root = 0, n_auth = 0;

	for (size_t i = 0; i < KEYS; i++) {
		const char *bar = strchr(keys[i].name, '|');
		cfg_opt_t opt = CFG_STR(bar ? bar + 1 : keys[i].name, NULL, CFGF_NONE);

		if (bar)
			auth[n_auth++] = opt;
		else
			root[n_root++] = opt;
	}
	auth[n_auth] = (cfg_opt_t)CFG_END();
	root[n_root] = (cfg_opt_t)CFG_END();
}

static void callbacks_set(cfg_t *cfg)
{
	cfg_set_error_function(cfg, confuse_error);
	for (size_t i = 0; i < KEYS; i++)
		cfg_set_validate_func(cfg, keys[i].name, take_value);
	cfg_set_validate_func(cfg, "listen|address", check_address);
	cfg_set_validate_func(cfg, "listen|port", check_port);
	cfg_set_validate_func(cfg, "listen|tls", check_tls);
	cfg_set_validate_func(cfg, "listen", take_listener);
	cfg_set_validate_func(cfg, "tls_name|cert", check_cert_path);
	cfg_set_validate_func(cfg, "tls_name|key", check_cert_path);
	cfg_set_validate_func(cfg, "tls_name", take_tls_name);
}

static int text_parse(cfg_t *cfg, const char *file, struct buf *text)
{
	FILE *f;
	int ret;

	if (buf_append_u8(text, '\n') < 0 || !(cfg->filename = strdup(file)))
		return CFG_FILE_ERROR;
	f = fmemopen(text->data, text->len, "r");
	if (!f)
		return CFG_FILE_ERROR;
	ret = cfg_parse_fp(cfg, f);
	fclose(f);
	return ret;
}

static int config_parse(const char *file, struct buf *text, struct buf *errors)
{
	cfg_opt_t listen_opts[] = {
		CFG_STR("address", NULL, CFGF_NONE),
		CFG_STR("port", NULL, CFGF_NONE),
		CFG_STR("tls", NULL, CFGF_NONE),
		CFG_FUNC("include", take_root_only),
		CFG_END()
	};
	cfg_opt_t name_opts[] = {
		CFG_STR("cert", NULL, CFGF_NONE),
		CFG_STR("key", NULL, CFGF_NONE),
		CFG_FUNC("include", take_root_only),
		CFG_END()
	};
	cfg_opt_t root[KEYS + 5], auth_opts[KEYS + 1];
	cfg_opt_t sections[] = {
		CFG_SEC("listen", listen_opts, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("tls_name", name_opts, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("auth", auth_opts, CFGF_NONE),
		CFG_FUNC("include", take_include),
		CFG_END()
	};
	size_t n = 0;
	cfg_t *cfg;
	int ret;

	opts_init(root, auth_opts);
	while (root[n].name)
		n++;
	memcpy(&root[n], sections, sizeof(sections));
	cfg = cfg_init(root, CFGF_NONE);
	if (!cfg)
		return -ENOMEM;
	parse->root = cfg;
	callbacks_set(cfg);
	ret = text_parse(cfg, file, text);
	cfg_free(cfg);
	if (ret == CFG_SUCCESS && errors->len == 0)
		return 0;
	if (errors->len == 0)
		complain(errors, file, 0, "cannot be read");
	return -EINVAL;
}

static int check_passwords(const struct config *c, const char *file)
{
	const struct settings *s = &c->settings;

	for (unsigned i = 0; *s->static_password && i < c->n_listeners; i++) {
		if (address_is_loopback(&c->listeners[i].sa))
			continue;
		return complain(parse->errors, parse->password_file,
				parse->password_line, "static_password lets everybody in, "
				"but listen %s (%s) can be reached from outside; remove "
				"it, or listen on 127.0.0.1 and ::1 only",
				c->listeners[i].name, c->listeners[i].address);
	}
	if (c->n_listeners == 0)
		return complain(parse->errors, file, 0, "has no listen section; add  "
				"listen imap { address = \"127.0.0.1\" port = 143 "
				"tls = no }");
	return 0;
}

/* What TLS needs: a certificate and its key, both or neither. */
static int check_certs(struct config *c, const char *file)
{
	const struct settings *s = &c->settings;
	struct config_cert *first = &c->certs[0];

	if (!*s->ssl_cert != !*s->ssl_key)
		return complain(parse->errors, file, 0, "has %s and no %s; a certificate needs "
				"its key", *s->ssl_cert ? "ssl_cert" : "ssl_key",
				*s->ssl_cert ? "ssl_key" : "ssl_cert");
	for (unsigned i = 0; !*s->ssl_cert && i < c->n_listeners; i++) {
		if (c->listeners[i].tls)
			return complain(parse->errors, parse->tls_file, parse->tls_line,
					"tls = yes, and there is no certificate; add ssl_cert "
					"and ssl_key");
	}
	if (!*s->ssl_cert && (c->n_certs > 0 || *s->ssl_ca))
		return complain(parse->errors, file, 0, "has %s and no ssl_cert; add ssl_cert and "
				"ssl_key, which everybody else gets to see",
				*s->ssl_ca ? "ssl_ca" : "a tls_name section");
	if (!*s->ssl_cert)
		return 0;
	if (c->n_certs == 0)
		c->n_certs = 1;
	first->name = strdup("");
	first->cert = strdup(s->ssl_cert);
	first->key = strdup(s->ssl_key);
	first->where = parse->cert_where;
	c->ca_where = parse->ca_where;
	parse->cert_where = parse->ca_where = NULL;
	return first->name && first->cert && first->key ? 0 : -ENOMEM;
}

/* As root the programs become these users; as anybody else they stay. */
static int check_users(const struct config *c, const char *file)
{
	const struct { const char *key, *name; } users[] = {
		{ "user", c->settings.user },
		{ "login_user", c->settings.login_user },
		{ "auth_user", c->settings.auth_user },
	};

	for (size_t i = 0; !c->settings.user_mode && i < 3; i++) {
		uid_t uid;
		gid_t gid;
		int ret = run_user_lookup(users[i].name, &uid, &gid);

		if (ret == -ENOENT || ret == -EINVAL)
			return complain(parse->errors, file, 0, "%s = \"%s\": there is "
					"no such user; make it with  useradd --system "
					"--user-group --no-create-home --home-dir "
					"/nonexistent --shell /usr/sbin/nologin %s",
					users[i].key, users[i].name, users[i].name);
		if (ret == -EPERM)
			return complain(parse->errors, file, 0, "%s = \"%s\" is root; "
					"name a user without rights", users[i].key,
					users[i].name);
	}
	return 0;
}

int config_load(const char *file, struct config *config, struct buf *errors)
{
	struct parse p = { .config = config, .errors = errors };
	struct buf text;
	int ret;

	buf_init(errors, CONFIG_ERRORS_MAX_BYTES);
	memset(config, 0, sizeof(*config));
	if (settings_init(&config->settings) < 0)
		return -ENOMEM;
	config->settings.user_mode = geteuid() != 0;
	parse = &p;
	buf_init(&text, CONFIG_FILE_MAX_BYTES + 8192);
	ret = file_check(file, &text, errors);
	if (ret == 0)
		ret = config_parse(file, &text, errors);
	buf_deinit(&text);
	if (ret == 0)
		ret = check_passwords(config, file);
	if (ret == 0)
		ret = check_certs(config, file);
	if (ret == 0)
		ret = check_users(config, file);
	parse = NULL;
	free(p.password_file);
	free(p.tls_file);
	free(p.cert_where);
	free(p.ca_where);
	if (ret < 0)
		config_deinit(config);
	return ret;
}

void config_deinit(struct config *config)
{
	for (unsigned i = 0; i < config->n_listeners; i++) {
		free(config->listeners[i].name);
		free(config->listeners[i].address);
	}
	for (unsigned i = 0; i < config->n_certs; i++) {
		free(config->certs[i].name);
		free(config->certs[i].cert);
		free(config->certs[i].key);
		free(config->certs[i].where);
	}
	free(config->ca_where);
	settings_deinit(&config->settings);
	memset(config, 0, sizeof(*config));
}

enum log_level config_log_level(const struct settings *s)
{
	if (strcmp(s->log_level, "debug") == 0)
		return LOG_L_DEBUG;
	if (strcmp(s->log_level, "warn") == 0)
		return LOG_L_WARN;
	if (strcmp(s->log_level, "error") == 0)
		return LOG_L_ERROR;
	return LOG_L_INFO;
}

enum log_sink config_log_sink(const struct settings *s)
{
	return strcmp(s->log, "syslog") == 0 ? LOG_TO_SYSLOG : LOG_TO_STDERR;
}

const char *config_log_file(const struct settings *s)
{
	return strncmp(s->log, "file:", 5) == 0 ? s->log + 5 : NULL;
}

bool config_keeper_user(const struct settings *s, char *out, size_t size)
{
	uid_t uid;
	gid_t gid;

	if (s->user_mode || run_user_lookup(s->user, &uid, &gid) < 0)
		return false;
	snprintf(out, size, "%u:%u", uid, gid);
	return true;
}
