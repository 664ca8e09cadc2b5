/* SPDX-License-Identifier: MIT */
/* What the kernel's counters do, and the lock between processes. The fence
 * stands or falls with these facts, so each is a test (handover.md). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fence.h"
#include "lib/ipc.h"
#include "tests/unit.h"

/* Our side of a connection and the client's. */
struct conn {
	int us, peer;
};

static void conn_open(struct conn *c)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	require(bind(listener, (struct sockaddr *)&sin, len) == 0);
	require(listen(listener, 1) == 0);
	require(getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
	c->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	require(connect(c->peer, (struct sockaddr *)&sin, len) == 0);
	c->us = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	require(c->us >= 0);
	close(listener);
}

static void conn_close(struct conn *c)
{
	if (c->peer >= 0)
		close(c->peer);
	close(c->us);
}

static void wait_event(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	require(poll(&pfd, 1, 10000) == 1);
	require((pfd.revents & (events | POLLHUP | POLLERR)) != 0);
}

/* Until n bytes lie unread. */
static void wait_unread(int fd, int n)
{
	int unread = 0;

	for (int i = 0; i < 1000000 && unread < n; i++) {
		require(ioctl(fd, FIONREAD, &unread) == 0);
		if (unread < n)
			wait_event(fd, POLLIN);
	}
	require(unread == n);
}

static void put(int fd, const char *s)
{
	require(send(fd, s, strlen(s), MSG_NOSIGNAL) == (ssize_t)strlen(s));
}

static void take(int fd, size_t n)
{
	char buf[64];

	require(n <= sizeof(buf));
	require(recv(fd, buf, n, MSG_WAITALL) == (ssize_t)n);
}

static void conn_reset(struct conn *c)
{
	struct linger hard = { 1, 0 };

	require(setsockopt(c->peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
	close(c->peer);
	c->peer = -1;
	wait_event(c->us, POLLHUP);
}

static bool counts_are(int fd, uint64_t written, uint64_t consumed, bool ended)
{
	struct fence_counts now = { 99, 99 };
	bool over = !ended;

	if (fence_read(fd, &now, &over) < 0)
		return false;
	if (now.written != written || now.consumed != consumed || over != ended)
		fprintf(stderr, "written=%llu consumed=%llu ended=%d\n",
			(unsigned long long)now.written,
			(unsigned long long)now.consumed, over);
	return now.written == written && now.consumed == consumed && over == ended;
}

static void test_fence_counts_only_what_went_through(void)
{
	struct conn c;

	conn_open(&c);
	check(counts_are(c.us, 0, 0, false));
	check(counts_are(c.peer, 0, 0, false));	/* a connecting socket too */
	put(c.us, "hello");
	check(counts_are(c.us, 5, 0, false));
	put(c.peer, "abc");
	wait_unread(c.us, 3);
	check(counts_are(c.us, 5, 0, false));	/* arrived is not consumed */
	take(c.us, 2);
	check(counts_are(c.us, 5, 2, false));
	conn_close(&c);
}

static void test_fence_does_not_count_a_peek(void)
{
	struct conn c;
	char byte;

	conn_open(&c);
	put(c.peer, "abc");
	wait_unread(c.us, 3);
	require(recv(c.us, &byte, 1, MSG_PEEK) == 1);
	check(counts_are(c.us, 0, 0, false));
	conn_close(&c);
}

/* The FIN is one of tcpi_bytes_received and none of FIONREAD's. */
static void test_fence_peers_fin_is_no_byte(void)
{
	struct conn c;

	conn_open(&c);
	put(c.peer, "abc");
	require(shutdown(c.peer, SHUT_WR) == 0);
	wait_event(c.us, POLLRDHUP);
	check(counts_are(c.us, 0, 0, false));
	take(c.us, 2);
	check(counts_are(c.us, 0, 2, false));
	take(c.us, 1);
	check(counts_are(c.us, 0, 3, false));
	char byte;

	require(recv(c.us, &byte, 1, 0) == 0);	/* the end itself */
	check(counts_are(c.us, 0, 3, false));
	/* Such a peer may still read. */
	put(c.us, "hello");
	check(counts_are(c.us, 5, 3, false));
	take(c.peer, 5);
	conn_close(&c);
}

static void test_fence_fin_with_nothing_unread(void)
{
	struct conn c;

	conn_open(&c);
	put(c.peer, "ab");
	take(c.us, 2);
	require(shutdown(c.peer, SHUT_WR) == 0);
	wait_event(c.us, POLLRDHUP);
	check(counts_are(c.us, 0, 2, false));
	conn_close(&c);
}

static void test_fence_counts_what_waits_to_be_sent(void)
{
	static char big[65536];
	struct conn c;
	uint64_t sum = 0;
	ssize_t n;

	conn_open(&c);
	while ((n = send(c.us, big, sizeof(big), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		sum += (uint64_t)n;
	check(sum > 65536);
	check(counts_are(c.us, sum, 0, false));
	/* The peer takes all of it: its window was closed and opens again. */
	for (uint64_t got = 0; got < sum; got += (uint64_t)n) {
		n = recv(c.peer, big, sizeof(big), 0);
		require(n > 0);
		struct fence_counts now;

		require(fence_read(c.us, &now, NULL) == 0);
		check(now.written == sum);
	}
	conn_close(&c);
}

static void test_fence_urgent_data_is_ordinary(void)
{
	struct conn c;

	conn_open(&c);
	put(c.peer, "abc");
	require(send(c.peer, "!", 1, MSG_OOB) == 1);
	put(c.peer, "def");
	wait_event(c.us, POLLIN);
	check(counts_are(c.us, 0, 0, false));
	wait_unread(c.us, 7);
	check(counts_are(c.us, 0, 0, false));
	take(c.us, 3);		/* a read ends before the urgent byte */
	take(c.us, 4);
	check(counts_are(c.us, 0, 7, false));
	conn_close(&c);
}

static void test_fence_our_shutdown_ends_it(void)
{
	static const int how[] = { SHUT_WR, SHUT_RDWR };

	for (size_t i = 0; i < UNIT_COUNT(how); i++) {
		for (int fin = 0; fin < 2; fin++) {
			struct fence_counts at;
			struct conn c;

			conn_open(&c);
			put(c.us, "hello");
			if (fin) {
				require(shutdown(c.peer, SHUT_WR) == 0);
				wait_event(c.us, POLLRDHUP);
			}
			require(fence_read(c.us, &at, NULL) == 0);
			check_row(fence_look(c.us, &at, 0, NULL) == FENCE_GOOD, i);
			require(shutdown(c.us, how[i]) == 0);
			check_row(fence_look(c.us, &at, 1000, NULL) == FENCE_MOVED, i);
			/* In CLOSE the kernel no longer says that a FIN came. */
			check_row(counts_are(c.us, 5, 0, true) ||
				(fin && counts_are(c.us, 5, 1, true)), i);
			conn_close(&c);
		}
	}
}

static void test_fence_reset_ends_it(void)
{
	for (int unread = 0; unread < 2; unread++) {
		struct fence_counts at;
		struct conn c;

		conn_open(&c);
		put(c.us, "hello");
		take(c.peer, 5);
		if (unread) {
			put(c.peer, "abc");
			wait_unread(c.us, 3);
		}
		require(fence_read(c.us, &at, NULL) == 0);
		conn_reset(&c);
		check_row(counts_are(c.us, 5, 0, true), unread);
		check_row(fence_look(c.us, &at, 1000, NULL) == FENCE_MOVED, unread);
		conn_close(&c);
	}
}

/* A process that reads through a passed duplicate moves the count for all. */
static void test_fence_sees_what_another_process_did(void)
{
	static const struct {
		bool write;
		const char *bytes;
		int verdict;
	} rows[] = {
		{ false, "x", FENCE_MOVED },
		{ true, "12345", FENCE_GOOD },		/* a prepared keepalive */
		{ true, "1234", FENCE_GOOD },		/* part of one */
		{ true, "123456", FENCE_MOVED },
		{ true, "", FENCE_GOOD },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct fence_counts at;
		struct conn c;
		int pair[2], fd, status;
		uint64_t written = 0;
		unsigned n;
		char byte;
		pid_t pid;

		conn_open(&c);
		put(c.peer, "abc");
		wait_unread(c.us, 3);
		require(fence_read(c.us, &at, NULL) == 0);
		require(ipc_pair(pair) == 0);
		require(ipc_send_raw(pair[0], "f", 1, &c.us, 1) == 0);
		pid = fork();
		require(pid >= 0);
		if (pid == 0) {
			close(c.us);
			if (ipc_recv_raw(pair[1], &byte, 1, &fd, 1, &n) != 1)
				_exit(1);
			if (rows[i].write)
				_exit(write(fd, rows[i].bytes, strlen(rows[i].bytes)) < 0);
			_exit(read(fd, &byte, 1) != 1);
		}
		require(waitpid(pid, &status, 0) == pid);
		check_row(status == 0, i);
		check_row(fence_look(c.us, &at, 5, &written) == rows[i].verdict, i);
		check_row(written == (rows[i].write ? strlen(rows[i].bytes) : 0), i);
		close(pair[0]);
		close(pair[1]);
		conn_close(&c);
	}
}

/* While bytes arrive without pause, not one may look consumed. */
static void test_fence_is_right_while_bytes_arrive(void)
{
	static char block[16384];
	struct fence_counts at = { 0, 0 };
	struct conn c;
	int status, n = 0;
	pid_t pid;

	conn_open(&c);
	pid = fork();
	require(pid >= 0);
	if (pid == 0) {
		close(c.us);
		for (int i = 0; i < 20000; i++)
			if (send(c.peer, block, 7, MSG_NOSIGNAL) < 0)
				break;
		_exit(0);
	}
	close(c.peer);
	c.peer = -1;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		int ret = fence_look(c.us, &at, 0, NULL);

		/* -EAGAIN would be honest, a wrong verdict not. */
		check(ret == FENCE_GOOD || ret == -EAGAIN);
		n += ret == FENCE_GOOD;
		if (n % 16 == 0) {
			ssize_t got = recv(c.us, block, sizeof(block), MSG_DONTWAIT);

			at.consumed += got > 0 ? (uint64_t)got : 0;
		}
	}
	check(n > 0);
	conn_close(&c);
}

static void test_fence_counts_are_of_64_bits(void)
{
	struct fence_counts at = { .written = 0, .consumed = (uint64_t)1 << 32 };
	struct conn c;

	conn_open(&c);
	/* Equal in the lower half is not equal. */
	check(fence_look(c.us, &at, 0, NULL) == FENCE_MOVED);
	at = (struct fence_counts){ .written = (uint64_t)1 << 32 };
	check(fence_look(c.us, &at, UINT64_MAX, NULL) == FENCE_MOVED);
	at = (struct fence_counts){ 0, 0 };
	put(c.us, "x");
	check(fence_look(c.us, &at, 0, NULL) == FENCE_MOVED);
	check(fence_look(c.us, &at, UINT64_MAX, NULL) == FENCE_GOOD);
	conn_close(&c);
}

static void test_fence_needs_tcp(void)
{
	struct fence_counts at = { 0, 0 };
	int pair[2];
	int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	require(ipc_pair(pair) == 0);
	check(fence_read(pair[0], &at, NULL) == -EOPNOTSUPP);
	check(fence_read(file, &at, NULL) == -EOPNOTSUPP);
	check(fence_read(udp, &at, NULL) == -EOPNOTSUPP);
	check(fence_look(pair[0], &at, 0, NULL) == -EOPNOTSUPP);
	check(fence_read(-1, &at, NULL) == -EBADF);
	close(pair[0]);
	close(pair[1]);
	close(file);
	close(udp);
}

static void test_fence_cookie_names_the_socket(void)
{
	struct conn c;
	uint64_t a = 0, b = 0, d = 0;
	int copy;

	conn_open(&c);
	copy = dup(c.us);
	check(fence_cookie(c.us, &a) == 0 && a != 0);
	check(fence_cookie(copy, &b) == 0 && a == b);
	check(fence_cookie(c.peer, &d) == 0 && a != d);
	check(fence_cookie(-1, &d) == -EBADF);
	close(copy);
	conn_close(&c);
}

/* ---- the lock ---- */

/* Another process that does as it is told: L lock, U unlock, O owner, D dup
 * and close, and answers with what came of it. */
struct other {
	pid_t pid;
	int chan;
};

static void other_run(int chan, int fd)
{
	char order;

	while (recv(chan, &order, 1, 0) == 1) {
		int ret = -EINVAL;

		if (order == 'L')
			ret = fence_lock(fd);
		else if (order == 'U')
			ret = fence_unlock(fd);
		else if (order == 'O')
			ret = fence_owner(fd);
		else if (order == 'D')
			ret = close(dup(fd));
		if (send(chan, &ret, sizeof(ret), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

static void other_start(struct other *o, int fd)
{
	int pair[2], got;
	unsigned n;
	char byte;

	require(ipc_pair(pair) == 0);
	require(ipc_set_blocking(pair[0], true) == 0);
	require(ipc_set_blocking(pair[1], true) == 0);
	require(ipc_send_raw(pair[0], "f", 1, &fd, 1) == 0);
	o->pid = fork();
	require(o->pid >= 0);
	if (o->pid == 0) {
		close(pair[0]);
		if (ipc_recv_raw(pair[1], &byte, 1, &got, 1, &n) != 1 || n != 1)
			_exit(1);
		other_run(pair[1], got);
	}
	close(pair[1]);
	o->chan = pair[0];
}

static int other_do(struct other *o, char order)
{
	int ret = -EPIPE;

	require(send(o->chan, &order, 1, MSG_NOSIGNAL) == 1);
	require(recv(o->chan, &ret, sizeof(ret), 0) == sizeof(ret));
	return ret;
}

static void other_end(struct other *o)
{
	close(o->chan);
	require(waitpid(o->pid, NULL, 0) == o->pid);
}

static void test_lock_excludes_other_processes(void)
{
	struct other o;
	struct conn c;

	conn_open(&c);
	other_start(&o, c.us);
	check(fence_owner(c.us) == 0);
	check(fence_lock(c.us) == 0);
	check(fence_lock(c.us) == 0);		/* ours already: fine */
	check(fence_owner(c.us) == 0);		/* we are not told of ourselves */
	check(other_do(&o, 'L') == -EAGAIN);
	check(other_do(&o, 'O') == getpid());
	check(fence_unlock(c.us) == 0);
	check(other_do(&o, 'O') == 0);
	check(other_do(&o, 'L') == 0);
	check(fence_lock(c.us) == -EAGAIN);
	check(fence_owner(c.us) == o.pid);
	check(other_do(&o, 'U') == 0);
	check(fence_lock(c.us) == 0);
	other_end(&o);
	conn_close(&c);
}

/* What travels is the socket, not the lock. */
static void test_lock_stays_when_the_descriptor_is_passed(void)
{
	struct other o;
	struct conn c;

	conn_open(&c);
	require(fence_lock(c.us) == 0);
	other_start(&o, c.us);			/* passed while locked */
	check(other_do(&o, 'O') == getpid());
	check(other_do(&o, 'L') == -EAGAIN);
	/* The receiver's close() of what it got does not touch our lock. */
	check(other_do(&o, 'D') == 0);
	check(other_do(&o, 'L') == -EAGAIN);
	other_end(&o);
	other_start(&o, c.us);
	check(other_do(&o, 'L') == -EAGAIN);
	other_end(&o);
	conn_close(&c);
}

static void test_lock_goes_with_any_duplicate_closed(void)
{
	struct other o;
	struct conn c;

	conn_open(&c);
	other_start(&o, c.us);
	require(fence_lock(c.us) == 0);
	check(other_do(&o, 'L') == -EAGAIN);
	close(dup(c.us));
	check(other_do(&o, 'O') == 0);		/* the trap: it is free now */
	check(fence_lock(c.us) == 0);		/* so lock again */
	check(other_do(&o, 'L') == -EAGAIN);
	other_end(&o);
	conn_close(&c);
}

static void test_lock_goes_with_its_process(void)
{
	struct other o;
	struct conn c;
	int status;

	conn_open(&c);
	other_start(&o, c.us);
	check(other_do(&o, 'L') == 0);
	check(fence_lock(c.us) == -EAGAIN);
	require(kill(o.pid, SIGKILL) == 0);
	require(waitpid(o.pid, &status, 0) == o.pid);
	check(WIFSIGNALED(status));
	check(fence_lock(c.us) == 0);
	close(o.chan);
	conn_close(&c);
}

static void test_lock_is_not_inherited_by_a_child(void)
{
	struct conn c;
	int status;
	pid_t pid;

	conn_open(&c);
	require(fence_lock(c.us) == 0);
	pid = fork();
	require(pid >= 0);
	if (pid == 0)
		_exit(fence_lock(c.us) == -EAGAIN && fence_owner(c.us) == getppid() ? 0 : 1);
	require(waitpid(pid, &status, 0) == pid);
	check(status == 0);
	conn_close(&c);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_fence_counts_only_what_went_through),
		UNIT_TEST(test_fence_does_not_count_a_peek),
		UNIT_TEST(test_fence_peers_fin_is_no_byte),
		UNIT_TEST(test_fence_fin_with_nothing_unread),
		UNIT_TEST(test_fence_counts_what_waits_to_be_sent),
		UNIT_TEST(test_fence_urgent_data_is_ordinary),
		UNIT_TEST(test_fence_our_shutdown_ends_it),
		UNIT_TEST(test_fence_reset_ends_it),
		UNIT_TEST(test_fence_sees_what_another_process_did),
		UNIT_TEST(test_fence_is_right_while_bytes_arrive),
		UNIT_TEST(test_fence_counts_are_of_64_bits),
		UNIT_TEST(test_fence_needs_tcp),
		UNIT_TEST(test_fence_cookie_names_the_socket),
		UNIT_TEST(test_lock_excludes_other_processes),
		UNIT_TEST(test_lock_stays_when_the_descriptor_is_passed),
		UNIT_TEST(test_lock_goes_with_any_duplicate_closed),
		UNIT_TEST(test_lock_goes_with_its_process),
		UNIT_TEST(test_lock_is_not_inherited_by_a_child),
	};

	return unit_run("fence", tests, UNIT_COUNT(tests));
}
