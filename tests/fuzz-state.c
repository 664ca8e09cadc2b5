/* SPDX-License-Identifier: MIT */
/* Any bytes as a packed state: refused with nothing left behind, or a state
 * that can be packed, read again and is the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz-state: %s\n", what);
	abort();
}

static void dump(const struct session_state *s, struct buf *out)
{
	buf_init(out, 64u << 20);
	expect(session_state_dump(s, out) == 0, "no dump");
}

static void repack(const struct session_state *s)
{
	struct session_state back;
	struct buf first, second, text, text_back;
	int ret;

	buf_init(&first, STATE_MAX_BYTES);
	buf_init(&second, STATE_MAX_BYTES);
	session_state_init(&back);
	ret = session_state_pack(s, &first);
	/* Our integers are the shortest, our sets are not shorter than theirs. */
	expect(ret == STATE_OK || ret == STATE_E_TOO_LARGE, "does not pack");
	if (ret == STATE_OK) {
		expect(session_state_unpack(&back, first.data, first.len) == STATE_OK,
			"does not unpack");
		expect(session_state_pack(&back, &second) == STATE_OK, "does not pack again");
		expect(first.len == second.len &&
			       memcmp(first.data, second.data, first.len) == 0,
			"packs differently");
		dump(s, &text);
		dump(&back, &text_back);
		expect(text.len == text_back.len &&
			       memcmp(text.data, text_back.data, text.len) == 0,
			"reads differently");
		buf_deinit(&text);
		buf_deinit(&text_back);
	}
	session_state_deinit(&back);
	buf_deinit(&first);
	buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_state s;
	int ret;

	session_state_init(&s);
	ret = session_state_unpack(&s, data, size);
	if (ret == STATE_OK)
		repack(&s);
	else
		expect(s.sid == 0 && !s.mailbox && !s.uids.ranges && !s.tls.data,
			"something is left behind");
	session_state_deinit(&s);
	return 0;
}
