/* SPDX-License-Identifier: MIT */
#include "imap-hibernate/notice.h"

#include <unistd.h>

#include "imap-hibernate/holder.h"
#include "lib/ipc.h"

struct watch_sub *notice_sub(void *ctx, uint32_t id)
{
	struct holder *h = ctx;

	return id_is_conn(id) ? &conn_get(h, id & ~CONN_BIT)->sub : &h->sleepers[id].sub;
}

void notice_changed(void *ctx, uint32_t id, bool gone)
{
	struct holder *h = ctx;

	if (id_is_conn(id))
		conn_changed(conn_get(h, id & ~CONN_BIT), gone);
	else
		sleeper_changed(h, id, gone);
}

void notice_readable(void *ctx, uint32_t events)
{
	watch_drain(&((struct holder *)ctx)->watches);
}

static void watched(struct conn *c, uint64_t nonce, enum ipc_watched status)
{
	struct ipc_out *out = ipc_out_create(IPC_WATCHED);

	if (out) {
		ipc_out_u64(out, nonce);
		ipc_out_u64(out, c->generation);
		ipc_out_u64(out, status);
	}
	conn_send(c, &out);
}

/* Step 1 and 10. */
bool notice_watch(struct conn *c, struct ipc_in *in)
{
	struct holder *h = c->holder;
	uint64_t nonce = ipc_in_u64(in);
	size_t id_len, n = ipc_in_fd_count(in);
	const void *id = ipc_in_bin(in, &id_len);
	bool blind = ipc_in_u64(in) != 0;
	int dirs[SLEEPER_WATCHES] = { -1, -1 };
	struct watch_wish wish = { .dirs = dirs, .uid = c->uid };
	enum ipc_watched status = WATCHED_OK;

	if (ipc_in_bad(in) || n > SLEEPER_WATCHES || (id_len != 0 && id_len != 16))
		return false;
	for (size_t k = 0; k < n; k++)
		dirs[k] = ipc_in_fd(in);
	wish.n_dirs = (unsigned)n;
	wish.blind = blind;
	wish.mailbox = watch_mailbox(id, id_len);
	/* Neither directories nor blind: it wants nothing more. */
	if (n == 0 && !blind)
		watch_unsubscribe(&h->watches, conn_id(c));
	else
		status = watch_subscribe(&h->watches, conn_id(c), &wish);
	for (size_t k = 0; k < n; k++)
		holder_close_foreign(h, dirs[k]);
	/* A number that no earlier watch had. */
	c->generation = holder_next_generation(h);
	c->changed_waits = false;
	c->watching = status != WATCHED_REFUSED && (n > 0 || blind);
	watched(c, nonce, status);
	return true;
}

bool notice_notice(struct conn *c, struct ipc_in *in, uid_t uid)
{
	struct holder *h = c->holder;
	size_t id_len;
	const void *id = ipc_in_bin(in, &id_len);

	ipc_in_u64(in);		/* modseq: who is told looks for himself */
	if (ipc_in_bad(in) || id_len != 16 || ipc_in_fd_count(in) > 1)
		return false;
	/* A directory may come along as proof of ownership. What decides is
	   the owner of the directory that is watched, which we know. */
	if (ipc_in_fd_count(in) == 1)
		holder_close_foreign(h, ipc_in_fd(in));
	watch_notice(&h->watches, watch_mailbox(id, id_len), conn_id(c), uid);
	return true;
}
