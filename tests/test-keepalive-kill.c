/* SPDX-License-Identifier: MIT */
/* A holder that is killed while it writes sealed keepalives, 4 000 times: how
 * much of them went out is the kernel's count, and whoever comes next goes on
 * with the byte after it. The client opens every record, in order. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fence.h"
#include "lib/stream-tls.h"
#include "tests/unit.h"

#define KILLS		4000
#define KEEPALIVES	4
#define TEXT		"* OK Still here\r\n"

static struct tls_crypto *crypto;
static struct tls_record theirs;
static struct stream *s;
static int peer;
static struct buf wire, heard;
static _Atomic uint64_t *written;	/* shared with the one that writes */

static void tcp_pair(int fds[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	cleanup_fd int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require(bind(listener, (struct sockaddr *)&sin, len) == 0 && listen(listener, 1) == 0);
	require(getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	require(connect(fds[1], (struct sockaddr *)&sin, len) == 0);
	fds[0] = accept(listener, NULL, NULL);
	require(fds[0] >= 0);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
}

static void begin(enum tls_suite suite)
{
	static const uint8_t a[48] = { 1 }, b[48] = { 2 };
	struct tls_record ours;
	int fds[2];

	tcp_pair(fds);
	peer = fds[1];
	crypto = tls_crypto_create();
	require(crypto != NULL);
	require(tls_record_init13(crypto, &ours, suite, a, 0, b, 2) == 0);
	require(tls_record_init13(crypto, &theirs, suite, b, 2, a, 0) == 0);
	s = stream_create(fds[0], 4096);
	require(s != NULL && stream_push_tls(s, crypto, &ours, NULL, 0) == 0);
	buf_init(&wire, 1 << 20);
	buf_init(&heard, 1 << 20);
}

static void end(void)
{
	stream_destroy(&s);
	tls_record_wipe(&theirs);
	tls_crypto_destroy(&crypto);
	fd_close(&peer);
	buf_deinit(&wire);
	buf_deinit(&heard);
}

/* Until so many bytes of text came. */
static bool hear(size_t want)
{
	while (heard.len < want) {
		size_t used, need, len;
		const uint8_t *plain;
		enum tls_result r = tls_record_open(crypto, &theirs, wire.data, wire.len, &used,
						    &need, &plain, &len);
		ssize_t n;

		if (r == TLS_FAIL || r == TLS_EOF)
			return false;
		if (r == TLS_DATA)
			buf_append(&heard, plain, len);
		buf_consume(&wire, used);
		if (r != TLS_MORE)
			continue;
		n = read(peer, buf_reserve(&wire, 4096), 4096);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		buf_added(&wire, n > 0 ? (size_t)n : 0);
	}
	return true;
}

/* A few bytes at a time, so that it dies within a record as often as not. */
__attribute__((noreturn))
static void holder_writes(const struct buf *prepared, unsigned piece)
{
	for (size_t at = 0; at < prepared->len;) {
		size_t n = piece < prepared->len - at ? piece : prepared->len - at;
		ssize_t done = send(stream_fd(s), prepared->data + at, n, MSG_NOSIGNAL);

		if (done > 0)
			at += (size_t)done;
		atomic_store(written, at);
		sched_yield();
	}
	_exit(0);
}

/* True if it died within a record. */
static bool one_kill(uint64_t *rnd, unsigned row)
{
	struct fence_counts before, after;
	struct buf prepared;
	uint64_t gone, until;
	pid_t pid;

	buf_init(&prepared, 4096);
	for (int i = 0; i < KEEPALIVES; i++)
		require(stream_tls_seal_ahead(s, TEXT, 17, &prepared) == 0);
	require(fence_read(stream_fd(s), &before, NULL) == 0);
	atomic_store(written, 0);
	until = unit_random(rnd) % prepared.len;
	pid = fork();
	require(pid >= 0);
	if (pid == 0)
		holder_writes(&prepared, 1 + row % 11);
	while (atomic_load(written) < until)
		sched_yield();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	require(fence_read(stream_fd(s), &after, NULL) == 0);
	gone = after.written - before.written;
	require(gone <= prepared.len);
	require(stream_set_prelude(s, prepared.data + gone, prepared.len - gone) == 0);
	stream_puts(s, "a1 OK\r\n");
	require(stream_flush(s) == 0);
	check_row(hear(KEEPALIVES * 17 + 7), row);
	check_row(heard.len == KEEPALIVES * 17 + 7 &&
		  memcmp(heard.data, TEXT TEXT TEXT TEXT "a1 OK\r\n", heard.len) == 0, row);
	buf_reset(&heard);
	buf_deinit(&prepared);
	return gone % tls_record_size(stream_tls(s), 17) != 0;
}

static void test_keepalives_go_on_where_a_killed_holder_stopped(void)
{
	uint64_t rnd = unit_seed();
	unsigned within = 0;

	written = mmap(NULL, sizeof(*written), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(written != MAP_FAILED);
	begin(TLS_AES128_GCM_SHA256);
	for (unsigned row = 0; row < KILLS; row++)
		within += one_kill(&rnd, row);
	printf("%u of %u died within a record\n", within, KILLS);
	check(within > 0);
	end();
	munmap(written, sizeof(*written));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_keepalives_go_on_where_a_killed_holder_stopped),
	};
	return unit_run("keepalive-kill", tests, UNIT_COUNT(tests));
}
