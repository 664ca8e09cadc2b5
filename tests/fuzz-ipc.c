/* SPDX-License-Identifier: MIT */
/* Any bytes as a message between programs. What is accepted is then read in
 * an order that the bytes choose, as a careless or a hostile peer's would be. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void touch(const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sink ^= p[i];
}

/* Reads one field; a reader that says "good" must have moved on. */
static void read_one(struct ipc_in *in, unsigned how)
{
	const char *s;
	const void *bin;
	size_t len;

	switch (how % 6) {
	case 0:
		ipc_in_u64(in);
		break;
	case 1:
		ipc_in_u32(in);
		break;
	case 2:
		ipc_in_bool(in);
		break;
	case 3:
		s = ipc_in_str(in);
		touch(s, strlen(s) + 1);
		break;
	case 4:
		bin = ipc_in_bin(in, &len);
		if (bin == NULL)
			abort();
		touch(bin, len);
		break;
	case 5:
		ipc_in_array(in);
		break;
	}
}

static void read_in_order(const uint8_t *data, size_t size, unsigned salt)
{
	struct ipc_in *in;

	if (ipc_in_decode(data, size, &in) != 0)
		return;
	/* More items than bytes cannot be: this must come to an end. */
	for (size_t i = 0; i <= size && !ipc_in_bad(in); i++)
		read_one(in, data[(i + salt) % size] >> 4);
	if (!ipc_in_bad(in) || ipc_in_fd_count(in) != 0 || ipc_in_fd(in) != -1)
		abort();
	ipc_in_destroy(&in);
}

/* By type of the item that is next in the bytes: gets far into a good one. */
static void read_by_trial(const uint8_t *data, size_t size)
{
	unsigned order[64];
	size_t n = 0;

	while (n < sizeof(order) / sizeof(order[0])) {
		bool found = false;

		for (unsigned how = 0; how < 6 && !found; how++) {
			struct ipc_in *in;

			if (ipc_in_decode(data, size, &in) != 0)
				return;
			for (size_t i = 0; i < n; i++)
				read_one(in, order[i]);
			read_one(in, how);
			found = !ipc_in_bad(in);
			ipc_in_destroy(&in);
			if (found)
				order[n++] = how;
		}
		if (!found)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_in_order(data, size, 0);
	read_in_order(data, size, 1);
	if (size <= 4096)
		read_by_trial(data, size);
	return 0;
}
