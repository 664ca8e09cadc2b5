/* SPDX-License-Identifier: MIT */
/* TLS and COMPRESS of a session, at rest and back. In what order things are
 * written down: what the parser has, what was inflated, the inflate window, the
 * TLS record state, the beginning of a record; restored from the bottom up.
 *
 * Keepalives are sealed before the record state is written down, so it stands
 * behind them: whoever goes on from it, be it this process again or another,
 * first sends what is left of them. No number seals two texts, then. */
#include "imap/layers.h"

#include <errno.h>
#include <string.h>

#include "imap/session.h"
#include "lib/fault.h"
#include "lib/ipc-proto.h"
#include "lib/stream-deflate.h"
#include "lib/stream-tls.h"

#define KEEPALIVE_TEXT	"* OK Still here\r\n"

unsigned layers_security(struct session *s)
{
	const struct tls_record *t = stream_tls(s->stream);

	return security_make(t != NULL ? t->version : 0, t != NULL ? t->suite : 0,
			     stream_has_deflate(s->stream));
}

const char *layers_name(struct session *s)
{
	return security_name(layers_security(s));
}

const char *layers_refusal(struct session *s)
{
	int ret;

	if (stream_tls(s->stream) == NULL)
		return NULL;
	ret = stream_tls_may_export(s->stream);
	if (ret == 0)
		return stream_tls_has_record(s->stream) ? "input waiting" : NULL;
	return ret == -EBUSY ? "in the middle of a TLS record" : "TLS is closed";
}

int layers_window(struct session *s, struct buf *out)
{
	/* An upgrade is worth any window (doc/architecture.md). */
	size_t budget = s->replace_by_ms != 0 ? SIZE_MAX : s->set->compress_window_max_bytes;

	return stream_has_deflate(s->stream) ? stream_deflate_export(s->stream, budget, out) : 0;
}

int layers_tls(struct session *s, struct buf *out)
{
	return stream_tls(s->stream) != NULL ? stream_tls_export(s->stream, out) : 0;
}

void layers_resume(struct session *s)
{
	stream_tls_resume(s->stream);
}

/* One keepalive as it will be on the wire; appended to out. */
static int keepalive_make(struct session *s, struct buf *out)
{
	const void *text = KEEPALIVE_TEXT;
	size_t len = sizeof(KEEPALIVE_TEXT) - 1;

	if (stream_has_deflate(s->stream)) {
		text = deflate_keepalive;
		len = sizeof(deflate_keepalive);
	}
	return stream_tls(s->stream) != NULL ? stream_tls_seal_ahead(s->stream, text, len, out) :
		buf_append(out, text, len);
}

int layers_keepalives(struct session *s, uint32_t n, struct keepalives *ka)
{
	struct buf out;
	int ret = 0;

	/* They go around the compressor, which would not know of them. */
	stream_deflate_forget(s->stream);
	for (uint32_t i = 0; i < n && i < KEEPALIVES_MAX && ret == 0; i++) {
		buf_init(&out, KEEPALIVE_MAX_BYTES);
		ret = keepalive_make(s, &out);
		if (ret == 0) {
			memcpy(ka->bytes + ka->total, out.data, out.len);
			ka->len[i] = (uint16_t)out.len;
			ka->total += ka->len[i];
			ka->count++;
		}
		buf_deinit(&out);
	}
	(void)fault("sleep-keepalives");
	return ret;
}

int layers_restore(struct session *s, struct session_state *st)
{
	int ret = 0;

	if (st->tls.len > 0)
		ret = stream_push_tls_blob(s->stream, s->crypto, st->tls.data, st->tls.len);
	if (ret == 0 && st->compress.len > 0)
		ret = stream_push_deflate_blob(s->stream, st->compress.data, st->compress.len);
	buf_wipe(&st->tls);
	buf_wipe(&st->compress);
	return ret;
}

const char *layers_reason(struct session *s, long error)
{
	const char *tls = stream_tls_reason(s->stream);

	if (*tls != '\0')
		return tls;
	if (error == -EBADMSG)
		return "what the client sent is not compressed";
	return error == 0 ? "client closed the connection" : strerror((int)-error);
}
