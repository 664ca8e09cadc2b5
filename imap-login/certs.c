/* SPDX-License-Identifier: MIT */
/* Each pair comes as one sealed memfd, PEM text as it was in the files: they may
 * be larger together than a message. What was read is wiped; OpenSSL has it. */
#include "imap-login/certs.h"

#include <errno.h>
#include <string.h>

#include "imap-login/tls-handshake.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/memfd.h"
#include "lib/tls-cert.h"
#include "lib/tls-tickets.h"

struct certs {
	const char *names[TLS_IDENTITIES_MAX];
	struct buf pem[TLS_IDENTITIES_MAX];
	uint32_t n;
	bool with_ca;
	struct buf ca;
	struct tls_ticket_keys tickets;
};

static int pem_read(struct ipc_in *in, struct buf *pem)
{
	cleanup_fd int fd = ipc_in_fd(in);

	return fd < 0 ? -EBADMSG : memfd_read(fd, pem);
}

static int tickets_read(struct ipc_in *in, struct tls_ticket_keys *keys)
{
	cleanup_fd int fd = ipc_in_fd(in);

	return fd < 0 ? -EBADMSG : tls_ticket_keys_read(fd, keys);
}

static int fields_read(struct ipc_in *in, struct certs *certs)
{
	int ret = 0;

	certs->n = ipc_in_array(in);
	if (certs->n > TLS_IDENTITIES_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < certs->n; i++)
		certs->names[i] = ipc_in_str(in);
	certs->with_ca = ipc_in_bool(in);
	for (uint32_t i = 0; i < certs->n && ret == 0; i++)
		ret = pem_read(in, &certs->pem[i]);
	if (ret == 0 && certs->with_ca)
		ret = pem_read(in, &certs->ca);
	if (ret == 0 && certs->n > 0)
		ret = tickets_read(in, &certs->tickets);
	return ret == 0 && ipc_in_bad(in) ? -EBADMSG : ret;
}

static int server_make(const struct certs *certs, struct tls_server **server_r)
{
	struct tls_identity identities[TLS_IDENTITIES_MAX];
	struct tls_server_parts parts = {
		.identities = identities, .n_identities = certs->n,
		.ca = certs->with_ca ? certs->ca.data : NULL, .ca_len = certs->ca.len,
		.tickets = &certs->tickets,
	};
	const char *why;

	for (uint32_t i = 0; i < certs->n; i++)
		identities[i] = (struct tls_identity){
			.name = certs->names[i],
			.pem = certs->pem[i].data, .len = certs->pem[i].len,
		};
	int ret = tls_server_create(&parts, server_r, &why);
	if (ret < 0)
		log_error("certificates", "error=%s", log_str(why));
	return ret;
}

int certs_read(struct ipc_in *in, struct tls_server **server_r)
{
	struct certs certs = { 0 };
	int ret;

	*server_r = NULL;
	buf_init(&certs.ca, TLS_PEM_MAX_BYTES);
	for (unsigned i = 0; i < TLS_IDENTITIES_MAX; i++)
		buf_init(&certs.pem[i], 2 * TLS_PEM_MAX_BYTES);
	ret = fields_read(in, &certs);
	if (ret == 0 && certs.n > 0)
		ret = server_make(&certs, server_r);
	for (unsigned i = 0; i < TLS_IDENTITIES_MAX; i++)
		buf_wipe(&certs.pem[i]);
	buf_wipe(&certs.ca);
	tls_ticket_keys_wipe(&certs.tickets);
	return ret;
}
