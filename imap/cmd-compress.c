/* SPDX-License-Identifier: MIT */
/* COMPRESS (RFC 4978). Only after login: what a client says before is not to
 * be in a window that sleeps along with the session. */
#include <string.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "lib/stream-deflate.h"

static void compress_failed(struct session *s, const char *reason)
{
	s->dead = true;
	s->end_reason = reason;
	loop_stop(s->loop);
}

/* RFC 4978 3: compressed is what follows the CRLF of the tagged OK. */
static void compress_begin(struct cmd *cmd)
{
	struct session *s = cmd->session;

	cmd->no_tagged = true;
	stream_printf(s->stream, "%s OK DEFLATE active.\r\n", cmd->tag);
	if (stream_drain(s->stream) < 0)
		compress_failed(s, "client does not read or is gone");
	else if (stream_push_deflate(s->stream) < 0)
		compress_failed(s, "out of memory for COMPRESS");
	else if (s->holder != NULL)
		holder_link_hello(s->holder);
}

void cmd_compress(struct cmd *cmd)
{
	if (cmd->count != 1 || cmd->args[0].type != IMAP_ARG_ATOM)
		cmd_bad(cmd, "COMPRESS takes the name of a mechanism.");
	else if (!imap_arg_is_atom(&cmd->args[0], "DEFLATE"))
		cmd_bad(cmd, "The only mechanism is DEFLATE.");
	else if (stream_has_deflate(cmd->session->stream))
		cmd_no(cmd, "COMPRESSIONACTIVE", "DEFLATE is active already.");
	else
		compress_begin(cmd);
}
