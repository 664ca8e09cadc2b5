/* SPDX-License-Identifier: MIT */
/* A channel on the loop: order, patience with a slow reader, and its end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/ipc-peer.h"
#include "lib/ipc.h"
#include "lib/loop.h"
#include "tests/unit.h"

struct seen {
	struct ipc_peer *peer;
	uint64_t next;		/* number of the message that comes now */
	unsigned messages, ends, drained;
	int error;
	bool destroy_at_first;
};

static void on_message(void *ctx, struct ipc_in *in, int error)
{
	struct seen *s = ctx;

	if (!in) {
		s->ends++;
		s->error = error;
		ipc_peer_destroy(&s->peer);
		return;
	}
	s->messages++;
	if (ipc_in_u64(in) == s->next)
		s->next++;
	if (s->destroy_at_first)
		ipc_peer_destroy(&s->peer);
}

static void on_drained(void *ctx)
{
	struct seen *s = ctx;

	s->drained++;
}

static struct ipc_out *numbered(uint64_t n, size_t padding)
{
	static const char zeros[8192];
	struct ipc_out *out = ipc_out_create(1);

	ipc_out_u64(out, n);
	ipc_out_bin(out, zeros, padding);
	return out;
}

static struct loop *loop;
static int fds[2];

static struct seen start(void)
{
	struct seen s = { 0 };

	loop = loop_create();
	require(loop != NULL);
	require(ipc_pair(fds) == 0);
	return s;
}

static void turn_until_idle(void)
{
	while (loop_once(loop, 50) > 0)
		;
}

static void test_a_slow_reader_gets_everything_in_order(void)
{
	enum { COUNT = 1500 };
	struct seen writer = start(), reader = { 0 };

	writer.peer = ipc_peer_create(loop, fds[0], on_message, &writer);
	require(writer.peer != NULL);
	ipc_peer_on_drained(writer.peer, on_drained);
	for (uint64_t i = 0; i < COUNT; i++) {
		struct ipc_out *out = numbered(i, 8000);
		check_row(ipc_peer_send(writer.peer, &out) == 0, i);
		check_row(out == NULL, i);
	}
	check(ipc_peer_queued(writer.peer) > 0);	/* the socket is smaller */
	reader.peer = ipc_peer_create(loop, fds[1], on_message, &reader);
	require(reader.peer != NULL);
	turn_until_idle();
	check(reader.messages == COUNT && reader.next == COUNT);
	check(ipc_peer_queued(writer.peer) == 0 && writer.drained >= 1);
	ipc_peer_destroy(&writer.peer);
	turn_until_idle();
	check(reader.ends == 1 && reader.error == 0 && reader.peer == NULL);
	loop_destroy(&loop);
}

static void test_a_queue_has_an_end(void)
{
	struct seen writer = start();
	unsigned sent = 0;
	int ret = 0;

	writer.peer = ipc_peer_create(loop, fds[0], on_message, &writer);
	require(writer.peer != NULL);
	while (ret == 0 && sent < 100000) {
		struct ipc_out *out = numbered(sent++, 4000);
		ret = ipc_peer_send(writer.peer, &out);
		check(out == NULL);
	}
	check(ret == -ENOBUFS && ipc_peer_queued(writer.peer) == IPC_PEER_QUEUE_MAX);
	ipc_peer_destroy(&writer.peer);
	close(fds[1]);
	loop_destroy(&loop);
}

/* What the other side said before it went is heard, although we cannot answer. */
static void test_last_words_are_heard(void)
{
	struct seen s = start();
	struct ipc_out *out;

	s.peer = ipc_peer_create(loop, fds[0], on_message, &s);
	require(s.peer != NULL);
	while (ipc_peer_queued(s.peer) == 0) {
		out = numbered(0, 8000);
		require(ipc_peer_send(s.peer, &out) == 0);
	}
	out = numbered(0, 0);
	require(ipc_send_free(fds[1], &out) == 0);
	close(fds[1]);
	turn_until_idle();
	check(s.messages == 1 && s.ends == 1 && s.peer == NULL);
	loop_destroy(&loop);
}

static void test_a_malformed_message_ends_the_channel(void)
{
	struct seen s = start();

	s.peer = ipc_peer_create(loop, fds[0], on_message, &s);
	require(s.peer != NULL);
	check(write(fds[1], "\xc1garbage", 8) == 8);
	turn_until_idle();
	check(s.messages == 0 && s.ends == 1 && s.error == -EBADMSG);
	close(fds[1]);
	loop_destroy(&loop);
}

static void test_a_peer_may_be_destroyed_by_its_own_message(void)
{
	struct seen s = start();

	s.destroy_at_first = true;
	s.peer = ipc_peer_create(loop, fds[0], on_message, &s);
	require(s.peer != NULL);
	for (uint64_t i = 0; i < 3; i++) {
		struct ipc_out *out = numbered(i, 10);
		require(ipc_send_free(fds[1], &out) == 0);
	}
	turn_until_idle();
	check(s.messages == 1 && s.ends == 0);
	close(fds[1]);
	loop_destroy(&loop);
}

static void test_no_message_is_an_error_not_a_crash(void)
{
	struct seen s = start();
	struct ipc_out *none = NULL;

	s.peer = ipc_peer_create(loop, fds[0], on_message, &s);
	require(s.peer != NULL);
	check(ipc_peer_send(s.peer, &none) == -ENOMEM);
	ipc_peer_destroy(&s.peer);
	ipc_peer_destroy(&s.peer);
	close(fds[1]);
	loop_destroy(&loop);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_a_slow_reader_gets_everything_in_order),
		UNIT_TEST(test_a_queue_has_an_end),
		UNIT_TEST(test_last_words_are_heard),
		UNIT_TEST(test_a_malformed_message_ends_the_channel),
		UNIT_TEST(test_a_peer_may_be_destroyed_by_its_own_message),
		UNIT_TEST(test_no_message_is_an_error_not_a_crash),
	};
	return unit_run("ipc-peer", tests, UNIT_COUNT(tests));
}
