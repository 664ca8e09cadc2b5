/* SPDX-License-Identifier: MIT */
/* `dormouse state-dump`: a pack from a file is printed here, that of a running
 * session by the server (a spare unseals it). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "master/dormouse.h"
#include "state/state.h"

#define DUMP_MAX_BYTES	(64u * 1024 * 1024)

static int file_read(const char *file, struct buf *data)
{
	cleanup_fd int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (n > 0) {
		void *room = buf_reserve(data, 4096);

		if (!room)
			return -EFBIG;
		n = read(fd, room, 4096);
		if (n < 0)
			return -errno;
		buf_added(data, (size_t)n);
	}
	return 0;
}

static int pack_print(const char *file, const struct buf *data)
{
	struct session_state state;
	struct buf text;
	int ret;

	session_state_init(&state);
	ret = session_state_unpack(&state, data->data, data->len);
	if (ret != STATE_OK)
		return dormouse_fail("%s: %s", file, ret < 0 ? strerror(-ret) :
				     session_state_strerror(ret));
	buf_init(&text, DUMP_MAX_BYTES);
	ret = session_state_dump(&state, &text);
	if (ret == 0 && text.len > 0)
		fwrite(text.data, 1, text.len, stdout);
	buf_deinit(&text);
	session_state_deinit(&state);
	return ret == 0 ? DORMOUSE_OK : dormouse_fail("%s: out of memory", file);
}

int cmd_state_dump(struct invocation *inv)
{
	const char *what = inv->argv[0];
	struct buf data;
	int ret;

	/* Session ids are hexadecimal digits; anything else is a file. */
	if (!strchr(what, '/') && what[strspn(what, "0123456789abcdefABCDEF")] == '\0' &&
	    access(what, F_OK) < 0)
		return cmd_ask(inv);
	buf_init(&data, STATE_MAX_BYTES + 4096);
	ret = file_read(what, &data);
	if (ret < 0)
		ret = dormouse_fail("%s: %s", what, strerror(-ret));
	else
		ret = pack_print(what, &data);
	buf_wipe(&data);
	return ret;
}
