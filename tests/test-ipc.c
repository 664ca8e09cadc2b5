/* SPDX-License-Identifier: MIT */
/* Messages between programs: what was sent arrives, and nothing else does.
 * Every error path is followed by a count of our open descriptors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "tests/unit.h"

static int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	require(dir != NULL);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static int memfd_with(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	require(fd >= 0);
	require(pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
	return fd;
}

static struct ipc_out *sample(void)
{
	struct ipc_out *out = ipc_out_create(77);

	require(out != NULL);
	ipc_out_u64(out, UINT64_MAX);
	ipc_out_str(out, "anna");
	ipc_out_array(out, 2);
	ipc_out_array(out, 2);
	ipc_out_u64(out, 1);
	ipc_out_str(out, "one");
	ipc_out_array(out, 0);
	ipc_out_bin(out, "\0\1\2", 3);
	ipc_out_bool(out, true);
	ipc_out_bool(out, false);
	ipc_out_str(out, NULL);
	ipc_out_bin(out, NULL, 0);
	return out;
}

static void check_sample(struct ipc_in *in)
{
	size_t len;
	const void *bin;

	check(ipc_in_type(in) == 77);
	check(ipc_in_u64(in) == UINT64_MAX);
	check(strcmp(ipc_in_str(in), "anna") == 0);
	check(ipc_in_array(in) == 2);
	check(ipc_in_array(in) == 2);
	check(ipc_in_u32(in) == 1);
	check(strcmp(ipc_in_str(in), "one") == 0);
	check(ipc_in_array(in) == 0);
	bin = ipc_in_bin(in, &len);
	check(len == 3 && memcmp(bin, "\0\1\2", 3) == 0);
	check(ipc_in_bool(in));
	check(!ipc_in_bool(in));
	check(ipc_in_str(in)[0] == '\0');
	check(!ipc_in_done(in));
	bin = ipc_in_bin(in, &len);
	check(len == 0 && bin != NULL);
	check(ipc_in_done(in));
	check(!ipc_in_bad(in));
}

static void test_ipc_carries_fields_and_descriptors(void)
{
	int before = fds_open();
	int pair[2];
	struct ipc_in *in = NULL;
	struct ipc_out *out = sample();
	char text[8];

	require(ipc_pair(pair) == 0);
	cleanup_fd int a = memfd_with("first");
	cleanup_fd int b = memfd_with("second");
	ipc_out_fd(out, a);
	ipc_out_fd(out, b);
	check(ipc_send(pair[0], out) == 0);
	check(ipc_send_free(pair[0], &out) == 0);	/* may be sent again */
	check(out == NULL);
	for (int i = 0; i < 2; i++) {
		require(ipc_recv(pair[1], &in) == 0);
		check(ipc_in_fd_count(in) == 2);
		int fd = ipc_in_fd(in);

		require(fd >= 0);
		check(fcntl(fd, F_GETFD) == FD_CLOEXEC);
		memset(text, 0, sizeof(text));
		check(pread(fd, text, sizeof(text), 0) == 5);
		check(memcmp(text, "first", 5) == 0);
		close(fd);
		check(!ipc_in_done(in));	/* one descriptor not taken */
		ipc_in_destroy(&in);
		check(in == NULL);
	}
	check(ipc_recv(pair[1], &in) == -EAGAIN);
	close(pair[0]);
	check(ipc_recv(pair[1], &in) == -EPIPE);
	close(pair[1]);
	check(fds_open() == before + 2);
}

static void test_ipc_decodes_what_it_packed(void)
{
	struct ipc_out *out = sample();
	struct ipc_in *in;
	size_t len;
	const void *data = ipc_out_data(out, &len);

	require(data != NULL);
	require(ipc_in_decode(data, len, &in) == 0);
	check_sample(in);
	ipc_in_destroy(&in);
	ipc_out_destroy(&out);
	ipc_out_destroy(&out);
}

static void test_ipc_refuses_every_truncation(void)
{
	struct ipc_out *out = sample();
	struct ipc_in *in;
	size_t len;
	const uint8_t *data = ipc_out_data(out, &len);

	for (size_t n = 0; n < len; n++) {
		/* On the heap, so that a step too far is noticed. */
		uint8_t *part = malloc(n > 0 ? n : 1);

		memcpy(part, data, n);
		check_row(ipc_in_decode(part, n, &in) == -EBADMSG, n);
		free(part);
	}
	ipc_out_destroy(&out);
}

static void test_ipc_refuses_what_follows_the_message(void)
{
	static const uint8_t two[] = { 0x91, 0x01, 0x91, 0x02 };
	static const uint8_t one[] = { 0x91, 0x01, 0x00 };
	struct ipc_in *in;

	check(ipc_in_decode(two, sizeof(two), &in) == -EBADMSG);
	check(ipc_in_decode(one, sizeof(one), &in) == -EBADMSG);
	require(ipc_in_decode(two, 2, &in) == 0);
	ipc_in_destroy(&in);
}

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })
static const struct {
	const uint8_t *data;
	size_t len;
	int want;
} shapes[] = {
	{ BYTES(0x91, 0x07), 0 },
	{ BYTES(0xdc, 0, 1, 0x07), 0 },
	{ BYTES(0xdd, 0, 0, 0, 1, 0x07), 0 },
	{ BYTES(0x91, 0xce, 0xff, 0xff, 0xff, 0xff), 0 },
	/* the type: a number of 32 bits */
	{ BYTES(0x91, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0), -EBADMSG },
	{ BYTES(0x90), -EBADMSG },
	{ BYTES(0x91, 0xa0), -EBADMSG },
	{ BYTES(0x91, 0xff), -EBADMSG },
	{ BYTES(0x91, 0x91, 0x01), -EBADMSG },
	{ BYTES(0x07), -EBADMSG },
	{ BYTES(0xa1, 'x'), -EBADMSG },
	/* kinds we do not speak: nil, negative, float, map, extension */
	{ BYTES(0x92, 1, 0xc0), -EBADMSG },
	{ BYTES(0x92, 1, 0xc1), -EBADMSG },
	{ BYTES(0x92, 1, 0xe0), -EBADMSG },
	{ BYTES(0x92, 1, 0xd0, 0x80), -EBADMSG },
	{ BYTES(0x92, 1, 0xca, 0, 0, 0, 0), -EBADMSG },
	{ BYTES(0x92, 1, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0), -EBADMSG },
	{ BYTES(0x92, 1, 0x80), -EBADMSG },
	{ BYTES(0x92, 1, 0x81, 1, 1), -EBADMSG },
	{ BYTES(0x92, 1, 0xde, 0, 0), -EBADMSG },
	{ BYTES(0x92, 1, 0xd4, 0, 0), -EBADMSG },
	{ BYTES(0x92, 1, 0xc7, 0, 0), -EBADMSG },
	/* counts that memory would be taken for */
	{ BYTES(0xdd, 0xff, 0xff, 0xff, 0xff), -EBADMSG },
	{ BYTES(0xdd, 0x05, 0x00, 0x00, 0x00, 1), -EBADMSG },
	{ BYTES(0x92, 1, 0xdd, 0x7f, 0xff, 0xff, 0xff), -EBADMSG },
	{ BYTES(0x92, 1, 0xdc, 0, 2, 1), -EBADMSG },
	{ BYTES(0x92, 1, 0xdb, 0xff, 0xff, 0xff, 0xff, 'x'), -EBADMSG },
	{ BYTES(0x92, 1, 0xc6, 0xff, 0xff, 0xff, 0xff, 'x'), -EBADMSG },
	{ BYTES(0x92, 1, 0xc4, 2, 'x'), -EBADMSG },
	{ BYTES(0x92, 1, 0xc4), -EBADMSG },
	/* a NUL would end a string early */
	{ BYTES(0x92, 1, 0xa3, 'a', 0, 'b'), -EBADMSG },
	{ BYTES(0x92, 1, 0xc4, 3, 'a', 0, 'b'), 0 },
	/* nesting of four, the outermost counted, and of five */
	{ BYTES(0x92, 1, 0x91, 0x91, 0x91, 1), 0 },
	{ BYTES(0x92, 1, 0x91, 0x91, 0x91, 0x90), 0 },
	{ BYTES(0x92, 1, 0x91, 0x91, 0x91, 0x91, 1), -EBADMSG },
};

static void test_ipc_decides_by_shape(void)
{
	for (size_t i = 0; i < UNIT_COUNT(shapes); i++) {
		struct ipc_in *in = NULL;

		check_row(ipc_in_decode(shapes[i].data, shapes[i].len, &in) ==
			shapes[i].want, i);
		ipc_in_destroy(&in);
	}
}

static void test_ipc_bounds_the_number_of_items(void)
{
	static uint8_t data[IPC_ITEMS_MAX + 64];
	struct ipc_in *in = NULL;

	for (unsigned n = IPC_ITEMS_MAX; n <= IPC_ITEMS_MAX + 1; n++) {
		memset(data, 0x01, sizeof(data));
		data[0] = 0xdd;
		data[1] = data[2] = 0;
		data[3] = (uint8_t)(n >> 8);
		data[4] = (uint8_t)n;
		check_row(ipc_in_decode(data, n + 5, &in) ==
			(n <= IPC_ITEMS_MAX ? 0 : -EBADMSG), n);
		ipc_in_destroy(&in);
	}
}

static void test_ipc_in_remembers_the_first_failure(void)
{
	static const uint8_t data[] = { 0x94, 1, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0, 0xa1, 'x', 2 };
	struct ipc_in *in;
	size_t len = 1;

	require(ipc_in_decode(data, sizeof(data), &in) == 0);
	check(ipc_in_u32(in) == 0);		/* too large */
	check(ipc_in_bad(in));
	check(ipc_in_str(in)[0] == '\0');	/* though it would be next */
	check(ipc_in_u64(in) == 0);
	check(!ipc_in_bool(in));
	check(ipc_in_array(in) == 0);
	check(ipc_in_bin(in, &len) != NULL && len == 0);
	check(ipc_in_fd(in) == -1);
	check(!ipc_in_done(in));
	ipc_in_destroy(&in);
	/* Missing fields and missing descriptors. */
	require(ipc_in_decode(data + 12, 0, &in) == -EBADMSG);
	require(ipc_in_decode("\x91\x01", 2, &in) == 0);
	check(ipc_in_done(in));
	check(ipc_in_u64(in) == 0 && ipc_in_bad(in));
	ipc_in_destroy(&in);
	require(ipc_in_decode("\x91\x01", 2, &in) == 0);
	check(ipc_in_fd(in) == -1 && ipc_in_bad(in));
	ipc_in_destroy(&in);
}

static void test_ipc_strings_end_before_the_next_field(void)
{
	static const uint8_t data[] = { 0x94, 1, 0xa2, 'a', 'b', 0xa1, 'c', 0xc4, 1, 'd' };
	struct ipc_in *in;
	const char *ab, *c;
	size_t len;

	require(ipc_in_decode(data, sizeof(data), &in) == 0);
	ab = ipc_in_str(in);
	c = ipc_in_str(in);
	check(memcmp(ipc_in_bin(in, &len), "d", 1) == 0 && len == 1);
	check(strcmp(ab, "ab") == 0);
	check(strcmp(c, "c") == 0);
	check(ipc_in_done(in));
	ipc_in_destroy(&in);
}

static void test_ipc_out_refuses_a_message_built_wrongly(void)
{
	struct ipc_out *out = ipc_out_create(1);
	size_t len;

	ipc_out_array(out, 2);
	ipc_out_u64(out, 1);
	check(ipc_send(-1, out) == -EINVAL);	/* one is missing */
	check(ipc_out_data(out, &len) == NULL);
	ipc_out_u64(out, 1);
	check(ipc_out_data(out, &len) != NULL);
	ipc_out_array(out, 1);
	ipc_out_array(out, 1);
	ipc_out_array(out, 1);
	ipc_out_array(out, 1);			/* too deep; sticks */
	ipc_out_u64(out, 1);
	check(ipc_send_free(-1, &out) == -EINVAL);

	out = ipc_out_create(1);
	ipc_out_fd(out, -1);
	check(ipc_send_free(-1, &out) == -EBADF);
	check(ipc_send_free(-1, &out) == -ENOMEM);	/* as if creating had failed */
}

static void test_ipc_passes_the_largest_message_and_no_larger(void)
{
	static char big[IPC_MESSAGE_MAX];
	/* head of 3, type of 9 at most, bin's head of 5 */
	static const size_t sizes[] = { 1, 16 * 1024, 64 * 1024, IPC_MESSAGE_MAX - 17 };
	int pair[2];

	require(ipc_pair(pair) == 0);
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		struct ipc_out *out = ipc_out_create(1);
		struct ipc_in *in;
		const char *got;
		size_t len;

		memset(big, 'a' + (int)i, sizes[i]);
		ipc_out_bin(out, big, sizes[i]);
		check_row(ipc_send_free(pair[0], &out) == 0, i);
		require(ipc_recv(pair[1], &in) == 0);
		got = ipc_in_bin(in, &len);
		check_row(len == sizes[i] && memcmp(got, big, len) == 0, i);
		ipc_in_destroy(&in);
	}
	struct ipc_out *out = ipc_out_create(1);

	ipc_out_bin(out, big, IPC_MESSAGE_MAX);
	check(ipc_send_free(pair[0], &out) == -EMSGSIZE);
	check(ipc_send_raw(pair[0], big, 0, NULL, 0) == -EINVAL);
	check(ipc_send_raw(pair[0], big, IPC_MESSAGE_MAX, NULL, 0) == 0);
	close(pair[0]);
	close(pair[1]);
}

static void test_ipc_full_queue_keeps_the_message(void)
{
	static char big[100000];
	struct ipc_out *out = ipc_out_create(5);
	struct ipc_in *in;
	int pair[2], n = 0, ret;

	require(ipc_pair(pair) == 0);
	ipc_out_bin(out, big, sizeof(big));
	while ((ret = ipc_send(pair[0], out)) == 0)
		n++;
	check(ret == -EAGAIN);
	check(n >= 2);
	for (int i = 0; i < n; i++) {
		require(ipc_recv(pair[1], &in) == 0);
		ipc_in_destroy(&in);
	}
	check(ipc_send_free(pair[0], &out) == 0);
	require(ipc_recv(pair[1], &in) == 0);
	check(ipc_in_type(in) == 5);
	ipc_in_destroy(&in);
	close(pair[0]);
	close(pair[1]);
}

static void test_ipc_malformed_message_closes_its_descriptors(void)
{
	int before = fds_open();
	int pair[2];

	require(ipc_pair(pair) == 0);
	cleanup_fd int fd = memfd_with("x");
	for (size_t i = 0; i < UNIT_COUNT(shapes); i++) {
		struct ipc_in *in = NULL;
		int fds[3] = { fd, fd, fd };

		require(ipc_send_raw(pair[0], shapes[i].data, shapes[i].len, fds, 3) == 0);
		check_row(ipc_recv(pair[1], &in) == shapes[i].want, i);
		ipc_in_destroy(&in);
		check_row(fds_open() == before + 3, i);
	}
	close(pair[0]);
	close(pair[1]);
}

static void test_ipc_passes_the_most_descriptors_and_no_more(void)
{
	int before = fds_open();
	struct ipc_out *out = ipc_out_create(1);
	struct ipc_in *in;
	int pair[2], fds[IPC_FDS_MAX + 1];

	require(ipc_pair(pair) == 0);
	for (int i = 0; i < IPC_FDS_MAX; i++)
		ipc_out_fd(out, pair[0]);
	check(ipc_send(pair[0], out) == 0);
	require(ipc_recv(pair[1], &in) == 0);
	check(ipc_in_fd_count(in) == IPC_FDS_MAX);
	check(fds_open() == before + 2 + IPC_FDS_MAX);
	ipc_in_destroy(&in);
	check(fds_open() == before + 2);
	ipc_out_fd(out, pair[0]);
	check(ipc_send_free(pair[0], &out) == -EMSGSIZE);
	for (int i = 0; i <= IPC_FDS_MAX; i++)
		fds[i] = pair[0];
	check(ipc_send_raw(pair[0], "x", 1, fds, IPC_FDS_MAX + 1) == -EMSGSIZE);
	close(pair[0]);
	close(pair[1]);
}

static void test_ipc_raw_packet_is_whole_or_refused(void)
{
	int before = fds_open();
	int pair[2], fds[2], got[2];
	unsigned n = 99;
	char data[8];

	require(ipc_pair(pair) == 0);
	fds[0] = fds[1] = pair[0];
	require(ipc_send_raw(pair[0], "12345678", 8, fds, 2) == 0);
	check(ipc_recv_raw(pair[1], data, 8, got, 2, &n) == 8);
	check(n == 2 && memcmp(data, "12345678", 8) == 0);
	check(fcntl(got[0], F_GETFD) == FD_CLOEXEC);
	close(got[0]);
	close(got[1]);
	/* too long, too many descriptors, none expected */
	require(ipc_send_raw(pair[0], "123456789", 9, fds, 2) == 0);
	check(ipc_recv_raw(pair[1], data, 8, got, 2, &n) == -EBADMSG);
	require(ipc_send_raw(pair[0], "1", 1, fds, 2) == 0);
	check(ipc_recv_raw(pair[1], data, 8, got, 1, &n) == -EBADMSG);
	require(ipc_send_raw(pair[0], "1", 1, fds, 1) == 0);
	check(ipc_recv_raw(pair[1], data, 8, NULL, 0, &n) == -EBADMSG);
	check(fds_open() == before + 2);
	require(ipc_send_raw(pair[0], "1", 1, NULL, 0) == 0);
	check(ipc_recv_raw(pair[1], data, 8, NULL, 0, &n) == 1 && n == 0);
	check(ipc_recv_raw(pair[1], data, 8, NULL, 0, &n) == -EAGAIN);
	/* an empty packet counts as the end */
	require(send(pair[0], "", 0, 0) == 0);
	check(ipc_recv_raw(pair[1], data, 8, NULL, 0, &n) == -EPIPE);
	close(pair[0]);
	check(ipc_recv_raw(pair[1], data, 8, NULL, 0, &n) == -EPIPE);
	close(pair[1]);
}

static void test_ipc_own_descriptor_limit_refuses_the_message(void)
{
	int before = fds_open();
	struct ipc_out *out = sample();
	struct ipc_in *in = NULL;
	struct rlimit old, low;
	int pair[2];

	require(ipc_pair(pair) == 0);
	for (int i = 0; i < 20; i++)
		ipc_out_fd(out, pair[0]);
	require(ipc_send_free(pair[0], &out) == 0);
	require(getrlimit(RLIMIT_NOFILE, &old) == 0);
	low = old;
	low.rlim_cur = (rlim_t)pair[1] + 10;	/* some fit, not all */
	require(setrlimit(RLIMIT_NOFILE, &low) == 0);
	check(ipc_recv(pair[1], &in) == -EBADMSG);
	require(setrlimit(RLIMIT_NOFILE, &old) == 0);
	check(fds_open() == before + 2);
	close(pair[0]);
	close(pair[1]);
}

static void test_ipc_peer_gone_is_an_answer_not_a_signal(void)
{
	struct ipc_out *out = sample();
	int pair[2];

	require(ipc_pair(pair) == 0);
	close(pair[1]);
	check(ipc_send(pair[0], out) == -EPIPE);
	check(ipc_send_free(pair[0], &out) == -EPIPE);
	close(pair[0]);
}

/* handover.md, 6: what the peer sent before it died is still read, also when
 * it died with something of ours unread. */
static void test_ipc_what_was_sent_before_the_end_arrives(void)
{
	for (int unread = 0; unread < 2; unread++) {
		struct ipc_out *out = sample();
		struct ipc_in *in = NULL;
		int pair[2];

		require(ipc_pair(pair) == 0);
		require(ipc_send(pair[1], out) == 0);
		if (unread)
			require(ipc_send(pair[0], out) == 0);
		close(pair[1]);
		require(ipc_recv(pair[0], &in) == 0);
		check_sample(in);
		ipc_in_destroy(&in);
		check_row(ipc_recv(pair[0], &in) == -EPIPE, unread);
		check_row(ipc_send_free(pair[0], &out) == -EPIPE, unread);
		close(pair[0]);
	}
}

/* A directory of our own for the listening socket. */
static char test_dir[64];
static const char *test_path(const char *name)
{
	static char path[128];

	if (test_dir[0] == '\0') {
		strcpy(test_dir, "/tmp/test-ipc-XXXXXX");
		require(mkdtemp(test_dir) != NULL);
	}
	snprintf(path, sizeof(path), "%s/%s", test_dir, name);
	return path;
}

static void test_ipc_listens_with_the_mode_it_was_given(void)
{
	const char *path = test_path("sock");
	struct stat st;
	int fd, again, conn;
	mode_t mask = umask(0077);

	require(ipc_listen(path, 0666, 5, &fd) == 0);
	require(stat(path, &st) == 0);
	check((st.st_mode & 07777) == 0666);
	check(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	check(ipc_accept(fd, &conn) == -EAGAIN);
	/* An old one is replaced; something else is not. */
	require(ipc_listen(path, 0600, 5, &again) == 0);
	require(stat(path, &st) == 0);
	check((st.st_mode & 07777) == 0600);
	close(fd);
	close(again);
	check(ipc_connect(path, &conn) == -ECONNREFUSED);
	unlink(path);
	check(ipc_connect(path, &conn) == -ENOENT);
	path = test_path("file");
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	check(ipc_listen(path, 0600, 5, &fd) == -EADDRINUSE);
	check(access(path, F_OK) == 0);
	unlink(path);
	char longer[256];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	check(ipc_listen(longer, 0600, 5, &fd) == -ENAMETOOLONG);
	check(ipc_connect("", &fd) == -ENAMETOOLONG);
	umask(mask);
}

/* The uid is the sender's own, also for a message sent before accept(). */
static void test_ipc_credentials_come_from_the_kernel(void)
{
	const char *path = test_path("cred");
	struct ipc_cred cred = { 0 };
	struct ipc_in *in;
	int listener, conn, status;
	uid_t uid = geteuid() == 0 ? 12345 : geteuid();
	pid_t pid;

	require(ipc_listen(path, 0666, 5, &listener) == 0);
	require(chmod(test_dir, 0755) == 0);
	pid = fork();
	require(pid >= 0);
	if (pid == 0) {
		struct ipc_out *out = ipc_out_create(1);
		int fd;

		if (geteuid() == 0 && setresuid(uid, uid, uid) < 0)
			_exit(1);
		_exit(ipc_connect(path, &fd) == 0 && ipc_send(fd, out) == 0 ? 0 : 1);
	}
	require(waitpid(pid, &status, 0) == pid);
	check(status == 0);
	require(ipc_accept(listener, &conn) == 0);
	check(ipc_peer_cred(conn, &cred) == 0);
	check(cred.pid == pid && cred.uid == uid);
	require(ipc_set_passcred(conn) == 0);
	memset(&cred, 0, sizeof(cred));
	require(ipc_recv(conn, &in) == 0);
	check(ipc_in_cred(in, &cred));
	check(cred.pid == pid && cred.uid == uid && cred.gid == getegid());
	ipc_in_destroy(&in);
	check(ipc_recv(conn, &in) == -EPIPE);
	close(conn);
	check(ipc_peer_cred(listener, &cred) < 0 || cred.uid == geteuid());
	close(listener);
	unlink(path);
}

static void test_ipc_no_credentials_unless_asked_for(void)
{
	struct ipc_out *out = sample();
	struct ipc_cred cred;
	struct ipc_in *in;
	int pair[2];

	require(ipc_pair(pair) == 0);
	require(ipc_send(pair[0], out) == 0);
	require(ipc_recv(pair[1], &in) == 0);
	check(!ipc_in_cred(in, &cred));
	ipc_in_destroy(&in);
	/* Queued before we asked: nobody vouched for the sender. */
	require(ipc_send(pair[0], out) == 0);
	require(ipc_set_passcred(pair[1]) == 0);
	require(ipc_recv(pair[1], &in) == 0);
	check(!ipc_in_cred(in, &cred));
	ipc_in_destroy(&in);
	/* With descriptors and credentials both. */
	ipc_out_fd(out, pair[0]);
	require(ipc_send_free(pair[0], &out) == 0);
	require(ipc_recv(pair[1], &in) == 0);
	check(ipc_in_cred(in, &cred) && cred.pid == getpid() && cred.uid == getuid());
	check(ipc_in_fd_count(in) == 1);
	ipc_in_destroy(&in);
	close(pair[0]);
	close(pair[1]);
}

static void test_ipc_sockets_are_nonblocking_until_asked(void)
{
	int pair[2];

	require(ipc_pair(pair) == 0);
	check(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	check(fcntl(pair[1], F_GETFD) == FD_CLOEXEC);
	check(ipc_set_blocking(pair[0], true) == 0);
	check(!(fcntl(pair[0], F_GETFL) & O_NONBLOCK));
	check(ipc_set_blocking(pair[0], false) == 0);
	check(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	close(pair[0]);
	close(pair[1]);
	check(ipc_set_blocking(pair[0], true) == -EBADF);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_ipc_carries_fields_and_descriptors),
		UNIT_TEST(test_ipc_decodes_what_it_packed),
		UNIT_TEST(test_ipc_refuses_every_truncation),
		UNIT_TEST(test_ipc_refuses_what_follows_the_message),
		UNIT_TEST(test_ipc_decides_by_shape),
		UNIT_TEST(test_ipc_bounds_the_number_of_items),
		UNIT_TEST(test_ipc_in_remembers_the_first_failure),
		UNIT_TEST(test_ipc_strings_end_before_the_next_field),
		UNIT_TEST(test_ipc_out_refuses_a_message_built_wrongly),
		UNIT_TEST(test_ipc_passes_the_largest_message_and_no_larger),
		UNIT_TEST(test_ipc_full_queue_keeps_the_message),
		UNIT_TEST(test_ipc_malformed_message_closes_its_descriptors),
		UNIT_TEST(test_ipc_passes_the_most_descriptors_and_no_more),
		UNIT_TEST(test_ipc_raw_packet_is_whole_or_refused),
		UNIT_TEST(test_ipc_own_descriptor_limit_refuses_the_message),
		UNIT_TEST(test_ipc_peer_gone_is_an_answer_not_a_signal),
		UNIT_TEST(test_ipc_what_was_sent_before_the_end_arrives),
		UNIT_TEST(test_ipc_listens_with_the_mode_it_was_given),
		UNIT_TEST(test_ipc_credentials_come_from_the_kernel),
		UNIT_TEST(test_ipc_no_credentials_unless_asked_for),
		UNIT_TEST(test_ipc_sockets_are_nonblocking_until_asked),
	};
	int ret = unit_run("ipc", tests, UNIT_COUNT(tests));

	if (test_dir[0] != '\0')
		rmdir(test_dir);
	return ret;
}
