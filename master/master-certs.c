/* SPDX-License-Identifier: MIT */
/* Certificates are renewed by other programs, which replace the files and tell
 * nobody: every few seconds master looks at them, and sends a new set to all
 * imap-login processes. A set that will not do (a certificate is there, its key
 * is not yet) is told once, and the one before stays. Connections are not
 * touched. The keys of session tickets go along. */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/tls-tickets.h"
#include "master/master-private.h"

#define CERTS_LOOK_MS		3000
#define TICKETS_ITEM		"tls-tickets"

static uint64_t wall_s(void)
{
	return clock_wall_us() / 1000000;
}

/* ---- ticket keys ---- */

/* A new pair of keys among the items; old: the one before, or NULL. */
static int tickets_make(struct master *m, const struct tls_ticket_keys *old)
{
	struct tls_ticket_keys keys;
	int fd = -1, ret = tls_ticket_keys_make(&keys, old, wall_s());

	if (ret == 0)
		ret = tls_ticket_keys_memfd(&keys, &fd);
	tls_ticket_keys_wipe(&keys);
	return ret < 0 ? ret : items_put(&m->items, TICKETS_ITEM, fd);
}

/* 1: there are new ones; 0: the old ones will do; -errno. */
static int tickets_renew(struct master *m)
{
	struct tls_ticket_keys keys;
	int fd = items_get(&m->items, TICKETS_ITEM);
	int ret = fd < 0 ? -ENOENT : tls_ticket_keys_read(fd, &keys);

	if (ret < 0) {
		ret = tickets_make(m, NULL);
		return ret < 0 ? ret : 1;
	}
	/* A clock that was set back is no reason to keep a key for ever. */
	if (wall_s() - keys.made_s >= TLS_TICKET_ROTATE_S) {
		ret = tickets_make(m, &keys);
		ret = ret < 0 ? ret : 1;
	}
	tls_ticket_keys_wipe(&keys);
	return ret;
}

/* ---- files ---- */

static void log_lines(enum log_level level, const struct buf *lines)
{
	const char *p = (const char *)lines->data, *end = p ? p + lines->len : NULL, *lf;

	for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1)
		log_write(level, "certificates", "error=%.*s", (int)(lf - p), p);
}

/* 0: loaded; -errno: told, and what was there before stays. */
static int certs_read(struct master *m)
{
	struct buf errors, notes;
	struct certs certs;
	int ret;

	buf_init(&errors, CERTS_ERRORS_MAX_BYTES);
	buf_init(&notes, CERTS_ERRORS_MAX_BYTES);
	certs_stamp(m->config, &m->certs_stamp);
	ret = certs_load(m->config, &certs, &errors, &notes);
	log_lines(LOG_L_ERROR, &errors);
	log_lines(LOG_L_WARN, &notes);
	if (ret == 0) {
		certs_deinit(&m->certs);
		m->certs = certs;
		if (certs.n > 0)
			log_info("certificates", "names=%u authorities=%s", certs.n,
				 certs.ca_fd >= 0 ? "yes" : "no");
	} else if (errors.len == 0) {
		log_error("certificates", "error=%s", log_str(strerror(-ret)));
	}
	buf_deinit(&errors);
	buf_deinit(&notes);
	return ret;
}

static void certs_send(struct master *m)
{
	for (unsigned i = 0; i < m->n_programs; i++) {
		struct ipc_out *out;

		if (m->programs[i].role != ROLE_LOGIN || m->programs[i].fd < 0 ||
		    !(out = ipc_out_create(IPC_CERTS)))
			continue;
		master_certs_pack(m, out);
		program_send(&m->programs[i], &out);
	}
}

static void certs_look(void *ctx)
{
	struct master *m = ctx;
	struct certs_stamp now;
	bool news = false;
	int ret;

	certs_stamp(m->config, &now);
	if (!certs_stamp_equal(&now, &m->certs_stamp))
		news = certs_read(m) == 0;
	ret = tickets_renew(m);
	if (ret < 0)
		log_error("tls-tickets", "error=%s", log_str(strerror(-ret)));
	if (ret > 0 && m->keeper_fd >= 0)
		(void)keeper_keep_all(m->keeper_fd, &m->items);
	if (news || ret > 0)
		certs_send(m);
	loop_timer_set(m->loop, &m->certs_timer, CERTS_LOOK_MS, certs_look, m);
}

/* ---- for master.c ---- */

void master_certs_pack(struct master *m, struct ipc_out *out)
{
	certs_pack(m->config, &m->certs, items_get(&m->items, TICKETS_ITEM), out);
}

int master_certs_begin(struct master *m, bool first)
{
	int ret = certs_read(m);

	if (ret < 0 && first)
		return ret;
	if (m->config->n_certs == 0)
		return 0;
	ret = tickets_renew(m);
	if (ret < 0)
		return ret;
	return loop_timer_set(m->loop, &m->certs_timer, CERTS_LOOK_MS, certs_look, m);
}

void master_certs_end(struct master *m)
{
	if (m->loop)
		loop_timer_cancel(m->loop, &m->certs_timer);
	certs_deinit(&m->certs);
}
