/* SPDX-License-Identifier: MIT */
/* What strangers, and files that strangers may have written, say before a
 * session begins. The first byte chooses the reader: a PLAIN message, a ticket
 * (under a MAC that fits, so that the fields are reached), a passwd-file. */
#include <stdlib.h>
#include <string.h>

#include "auth/passwd-file.h"
#include "imap-login/sasl-plain.h"
#include "lib/hkdf.h"
#include "state/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void complain(void *ctx, unsigned line, const char *what)
{
	if (line == 0 || *what == '\0')
		abort();
}

static int find_nobody(const char *name, uid_t *id_r)
{
	return -1;
}

static void read_plain(const uint8_t *data, size_t size)
{
	struct sasl_plain_message m;

	if (sasl_plain_parse((const char *)data, size, &m) == SASL_PLAIN_OK &&
		(*m.authcid == '\0' || *m.password == '\0'))
		abort();
	sasl_plain_wipe(&m);
}

static void read_ticket(const uint8_t *data, size_t size)
{
	static const struct ticket_key key;
	struct ticket t;
	size_t total = size + 32;
	uint8_t *bytes = malloc(total);

	if (!bytes)
		return;
	memcpy(bytes, data, size);
	if (size > 4) {
		bytes[3] = (uint8_t)(total >> 8);
		bytes[4] = (uint8_t)total;
	}
	(void)hmac_sha256(key.bytes, sizeof(key.bytes), bytes, size, bytes + size);
	if (ticket_verify(&key, bytes, total, NULL, &t) == TICKET_OK &&
		(t.sid == 0 || *t.user == '\0' || *t.home != '/'))
		abort();
	free(bytes);
}

static void read_passwd_file(const uint8_t *data, size_t size)
{
	const struct passwd_rules rules = {
		.find_uid = find_nobody, .find_gid = find_nobody, .complain = complain,
	};
	struct passwd_table *t = passwd_table_parse((const char *)data, size, &rules);

	if (!t)
		return;
	for (size_t i = 0; i < passwd_table_count(t); i++) {
		const struct passwd_user *u = passwd_table_at(t, i);
		if (u->uid < PASSWD_UID_MIN || u->gid == 0 || *u->home != '/' ||
			passwd_table_find(t, u->name) != u)
			abort();
	}
	passwd_table_destroy(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0: read_plain(data + 1, size - 1); break;
	case 1: read_ticket(data + 1, size - 1); break;
	case 2: read_passwd_file(data + 1, size - 1); break;
	}
	return 0;
}
