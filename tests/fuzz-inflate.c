/* SPDX-License-Identifier: MIT */
/* A saved reader of a deflate stream, restored from anything, and what a client
 * then sends: first the length of the state (u16), it, and the rest is input. */
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/inflate-state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads on, as far as a bounded output goes; then it must save what it can restore. */
static void read_on(struct inflate_state *z, const uint8_t *data, size_t len)
{
	uint8_t out[700];
	size_t used = 0, got = 0;
	int ret = 0;

	for (int i = 0; i < 64 && ret == 0; i++) {
		ret = inflate_state_run(z, data, len, &used, out, 1 + (size_t)i * 10, &got);
		data += used;
		len -= used;
		if (len == 0 && !inflate_state_is_full(z))
			break;
	}
}

static void save_again(struct inflate_state *z)
{
	struct inflate_state *back = NULL;
	struct buf blob;

	buf_init(&blob, 65536);
	if (inflate_state_save(z, 65536, &blob) == 0) {
		if (inflate_state_restore(&back, blob.data, blob.len) != 0)
			abort();
		inflate_state_destroy(&back);
	}
	buf_deinit(&blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct inflate_state *z = NULL;
	size_t n;
	uint8_t *copy;

	if (size < 2)
		return 0;
	n = (size_t)(data[0] << 8 | data[1]);
	data += 2;
	size -= 2;
	if (n > size)
		n = size;
	copy = malloc(n + 1);
	if (copy == NULL)
		return 0;
	memcpy(copy, data, n);
	if (inflate_state_restore(&z, copy, n) == 0) {
		save_again(z);
		read_on(z, data + n, size - n);
		save_again(z);
		inflate_state_destroy(&z);
	}
	free(copy);
	return 0;
}
