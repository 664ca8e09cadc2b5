/* SPDX-License-Identifier: MIT */
/* Plays master, a spare and the holder for the real auth and imap-login:
 * starts them as master would, takes sessions from the login queue, answers
 * the client's tag and closes. Obeys words on standard input, tells what
 * happens in lines on standard output. tests/test_login.py drives it.
 *
 *	login-harness AUTH IMAP-LOGIN [setting=value...]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/cursor.h"
#include "lib/fence.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/memfd.h"
#include "lib/settings.h"
#include "lib/stream-tls.h"
#include "lib/stream.h"
#include "lib/tls-cert.h"
#include "lib/tls-tickets.h"
#include "state/ticket.h"

struct child {
	const char *path;
	pid_t pid;
	int setup;
};

static struct child auth, login;
static struct settings settings;
static struct ticket_key key;
static uint8_t boot_id[16];
static int key_fd, queue_read, queue_write, holder = -1;
static int listeners[4];
static bool listener_tls[4];
static unsigned n_listeners;
static bool queue_paused;
static struct {
	const char *name, *file;	/* chain and key in one file */
} certs[TLS_IDENTITIES_MAX];
static unsigned n_certs;
static const char *ca_file;
static struct tls_ticket_keys tickets;
static int tickets_fd = -1;
static struct tls_crypto *crypto;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "login-harness: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(EXIT_FAILURE);
}

static void must(int ret, const char *what)
{
	if (ret < 0)
		die("%s: %s", what, strerror(ret == -1 ? errno : -ret));
}

/* ---- programs ---- */

static void child_start(struct child *c)
{
	int fds[2];

	must(ipc_pair(fds), "setup pair");
	c->pid = fork();
	must(c->pid, "fork");
	if (c->pid == 0) {
		if (fds[1] == IPC_SETUP_FD)
			must(fcntl(fds[1], F_SETFD, 0), "setup end");
		else
			must(dup2(fds[1], IPC_SETUP_FD), "dup2");
		close_range(IPC_SETUP_FD + 1, ~0u, 0);
		execl(c->path, c->path, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	c->setup = fds[0];
}

static struct ipc_in *wait_message(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct ipc_in *in = NULL;

	if (poll(&p, 1, 20000) <= 0)
		die("no message in 20 seconds");
	int ret = ipc_recv(fd, &in);
	return ret < 0 ? NULL : in;
}

static void child_wait_ready(struct child *c)
{
	struct ipc_in *in = wait_message(c->setup);

	if (!in || ipc_in_type(in) != IPC_READY)
		die("%s did not become ready", c->path);
	ipc_in_destroy(&in);
}

static void send_channel(struct child *c, enum ipc_role role, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_CHANNEL);

	ipc_out_u64(out, role);
	ipc_out_fd(out, fd);
	must(ipc_send_free(c->setup, &out), "CHANNEL");
	close(fd);
}

static void introduce(void)
{
	int fds[2];

	must(ipc_pair(fds), "pair");
	send_channel(&auth, ROLE_LOGIN, fds[0]);
	send_channel(&login, ROLE_AUTH, fds[1]);
	fd_close(&holder);
	must(ipc_pair(fds), "pair");
	send_channel(&auth, ROLE_HOLDER, fds[0]);
	holder = fds[1];
}

static void auth_start(void)
{
	child_start(&auth);
	struct ipc_out *out = ipc_out_create(IPC_SETUP);
	settings_pack(&settings, out);
	ipc_out_fd(out, key_fd);
	must(ipc_send_free(auth.setup, &out), "SETUP");
	child_wait_ready(&auth);
}

static int file_memfd(const char *path)
{
	static char text[TLS_PEM_MAX_BYTES];
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	int memfd;

	must(fd, path);
	ssize_t n = read(fd, text, sizeof(text));
	if (n < 0)
		die("%s: %s", path, strerror(errno));
	must(memfd_make("pem", text, (size_t)n, &memfd), "memfd");
	return memfd;
}

static void rotate_tickets(void)
{
	must(tls_ticket_keys_make(&tickets, tickets_fd >= 0 ? &tickets : NULL, 1), "tickets");
	fd_close(&tickets_fd);
	must(tls_ticket_keys_memfd(&tickets, &tickets_fd), "tickets");
}

/* The descriptors stay open until the message is gone: they are few. */
static void certs_put(struct ipc_out *out)
{
	ipc_out_array(out, n_certs);
	for (unsigned i = 0; i < n_certs; i++)
		ipc_out_str(out, certs[i].name);
	ipc_out_bool(out, ca_file != NULL);
	for (unsigned i = 0; i < n_certs; i++)
		ipc_out_fd(out, file_memfd(certs[i].file));
	if (ca_file)
		ipc_out_fd(out, file_memfd(ca_file));
	if (n_certs > 0)
		ipc_out_fd(out, tickets_fd);
}

static void login_start(void)
{
	child_start(&login);
	struct ipc_out *out = ipc_out_create(IPC_SETUP);
	settings_pack(&settings, out);
	ipc_out_array(out, n_listeners);
	for (unsigned i = 0; i < n_listeners; i++) {
		ipc_out_array(out, 3);
		ipc_out_str(out, "");
		ipc_out_u64(out, 143);
		ipc_out_bool(out, listener_tls[i]);
		ipc_out_fd(out, listeners[i]);
	}
	ipc_out_fd(out, queue_write);
	certs_put(out);
	must(ipc_send_free(login.setup, &out), "SETUP");
	child_wait_ready(&login);
}

static void child_reap(struct child *c, const char *name)
{
	int status;

	must(waitpid(c->pid, &status, 0), "waitpid");
	fd_close(&c->setup);
	c->pid = 0;
	printf("exited %s %d\n", name,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* ---- listeners ---- */

/* tls: what it is called, else NULL. */
static void listen_on(int family, const char *name, const char *tls)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	struct sockaddr *sa = family == AF_INET ? (void *)&sin : (void *)&sin6;
	socklen_t len = family == AF_INET ? sizeof(sin) : sizeof(sin6);
	int zero = 0;

	inet_pton(family, name, family == AF_INET ? (void *)&sin.sin_addr
						  : (void *)&sin6.sin6_addr);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (fd < 0 || bind(fd, sa, len) < 0 || listen(fd, 512) < 0) {
		printf("no-listen %s %s\n", name, strerror(errno));
		fd_close(&fd);
		return;
	}
	getsockname(fd, sa, &len);
	printf("listen %s %u\n", tls ? tls : name, ntohs(family == AF_INET ? sin.sin_port : sin6.sin6_port));
	listener_tls[n_listeners] = tls != NULL;
	listeners[n_listeners++] = fd;
}

/* ---- an imap-login of our own, that asks auth whatever the test wants ---- */

static int direct = -1;

static void direct_open(void)
{
	int fds[2];

	if (direct >= 0)
		return;
	must(ipc_pair(fds), "pair");
	send_channel(&auth, ROLE_LOGIN, fds[0]);
	direct = fds[1];
}

/* Words are text; "-" is an empty one, "hex:..." bytes. */
static size_t word_bytes(const char *word, uint8_t *out, size_t max)
{
	size_t n = 0;

	if (strcmp(word, "-") == 0)
		return 0;
	if (strncmp(word, "hex:", 4) != 0) {
		n = strlen(word);
		memcpy(out, word, n < max ? n : max);
		return n;
	}
	for (const char *p = word + 4; p[0] && p[1] && n < max; p += 2) {
		unsigned byte = 0;
		sscanf(p, "%2x", &byte);
		out[n++] = (uint8_t)byte;
	}
	return n;
}

static void out_text(struct ipc_out *out, const char *word)
{
	uint8_t bytes[4096] = { 0 };

	bytes[word_bytes(word, bytes, sizeof(bytes) - 1)] = '\0';
	ipc_out_str(out, (const char *)bytes);
}

static void out_bytes(struct ipc_out *out, const char *word)
{
	uint8_t bytes[4096];

	ipc_out_bin(out, bytes, word_bytes(word, bytes, sizeof(bytes)));
}

static unsigned split(char *args, char *words[], unsigned max)
{
	unsigned n = 0;

	for (char *save = NULL, *w = strtok_r(args, " ", &save); w && n < max;
		w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	return n;
}

static void direct_send(struct ipc_out **out)
{
	struct pollfd p = { .fd = direct, .events = POLLOUT };
	int ret;

	while ((ret = ipc_send(direct, *out)) == -EAGAIN && poll(&p, 1, 20000) > 0)
		;
	ipc_out_destroy(out);
	printf("sent %s\n", ret < 0 ? strerror(-ret) : "ok");
}

static void do_ask(char *args)
{
	char *w[7];

	if (split(args, w, 7) != 7)
		die("ask ID MECHANISM AUTHZID USER PASSWORD REMOTE EXTERNAL");
	direct_open();
	struct ipc_out *out = ipc_out_create(IPC_AUTH);
	ipc_out_u64(out, strtoull(w[0], NULL, 10));
	for (int i = 1; i < 5; i++)
		out_text(out, w[i]);
	ipc_out_u64(out, 4711);
	ipc_out_str(out, w[5]);
	ipc_out_str(out, "198.51.100.99");
	ipc_out_bool(out, true);
	out_text(out, w[6]);
	direct_send(&out);
}

static void do_begin(char *args)
{
	char *w[7];

	if (split(args, w, 7) != 7)
		die("begin ID MECHANISM REMOTE SECURED EXPORTER ENDPOINT MESSAGE");
	direct_open();
	struct ipc_out *out = ipc_out_create(IPC_AUTH_BEGIN);
	ipc_out_u64(out, strtoull(w[0], NULL, 10));
	ipc_out_str(out, w[1]);
	ipc_out_u64(out, 4711);
	ipc_out_str(out, w[2]);
	ipc_out_str(out, "198.51.100.99");
	ipc_out_bool(out, w[3][0] == '1');
	out_bytes(out, w[4]);
	out_bytes(out, w[5]);
	out_bytes(out, w[6]);
	direct_send(&out);
}

static void do_step(char *args)
{
	char *w[2];

	if (split(args, w, 2) != 2)
		die("step ID MESSAGE");
	struct ipc_out *out = ipc_out_create(IPC_AUTH_STEP);
	ipc_out_u64(out, strtoull(w[0], NULL, 10));
	out_bytes(out, w[1]);
	direct_send(&out);
}

static void do_cancel(const char *args)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_CANCEL);

	ipc_out_u64(out, strtoull(args, NULL, 10));
	direct_send(&out);
}

static void direct_print(struct ipc_in *in)
{
	uint64_t id = ipc_in_u64(in);
	struct ticket t;
	size_t len;

	if (ipc_in_type(in) == IPC_AUTH_OK) {
		const void *ticket = ipc_in_bin(in, &len);
		enum ticket_error e = ticket_verify(&key, ticket, len, boot_id, &t);
		if (e != TICKET_OK)
			die("bad ticket: %s", ticket_strerror(e));
		printf("direct %" PRIu64 " ok sid=%016" PRIx64 " user=%s uid=%u gid=%u home=%s\n",
			id, t.sid, t.user, t.uid, t.gid, t.home);
	} else if (ipc_in_type(in) == IPC_AUTH_CHALLENGE) {
		const char *text = ipc_in_bin(in, &len);
		printf("direct %" PRIu64 " challenge %.*s last=", id, (int)len, text);
		printf("%d\n", ipc_in_bool(in));
	} else {
		uint64_t code = ipc_in_u64(in);
		const char *text = ipc_in_str(in);
		printf("direct %" PRIu64 " fail code=%" PRIu64 " late=%" PRIu64 " %s\n", id, code,
			ipc_in_u64(in), text);
	}
}

static void direct_read(void)
{
	struct ipc_in *in = NULL;

	while (direct >= 0) {
		int ret = ipc_recv(direct, &in);
		if (ret == -EAGAIN)
			return;
		if (ret < 0) {
			printf("direct ended\n");
			fd_close(&direct);
			return;
		}
		direct_print(in);
		ipc_in_destroy(&in);
	}
}

/* ---- the spare ---- */

/* Goes on where imap-login stopped: answers each line with its tag, up to
 * LOGOUT. What imap-login had read comes first. */
static void tls_serve(int fd, const char *tag, const uint8_t *input, size_t input_len,
	const uint8_t *blob, size_t blob_len)
{
	struct stream *s = stream_create(fcntl(fd, F_DUPFD_CLOEXEC, 0), 1 << 20);
	bool out = false;

	must(stream_push_tls_blob(s, crypto, blob, blob_len), "TLS state");
	must(stream_unread(s, input, input_len), "input");
	stream_set_wait(s, 20000);
	stream_printf(s, "%s OK Logged in.\r\n", tag);
	while (!out && stream_drain(s) == 0) {
		size_t len;
		const uint8_t *data = stream_input(s, &len), *lf = memchr(data, '\n', len);
		if (!lf) {
			if (stream_fill_wait(s) <= 0)
				break;
			continue;
		}
		len = (size_t)(lf + 1 - data);
		out = len >= 8 && memcmp(lf - 7, "LOGOUT\r", 7) == 0;
		stream_printf(s, "%.*s OK %zu bytes\r\n", (int)strcspn((const char *)data, " "),
			data, len);
		stream_consume(s, len);
	}
	(void)stream_drain(s);
	stream_tls_close(s);
	stream_destroy(&s);
}

static void print_text(struct cursor *c, const char *name)
{
	size_t len = cursor_u16(c);
	const uint8_t *text = cursor_bytes(c, len);

	printf(" %s=%.*s", name, (int)len, text ? (const char *)text : "");
}

static void session_print(const struct ticket *t, struct cursor *c, int fd)
{
	uint64_t cookie = 0;

	fence_cookie(fd, &cookie);
	printf("LOGIN sid=%016" PRIx64 " user=%s uid=%u gid=%u home=%s cookie=%s", t->sid, t->user,
		t->uid, t->gid, t->home, cookie == t->cookie && cookie != 0 ? "good" : "BAD");
	print_text(c, "remote");
	printf(" rport=%u", cursor_u16(c));
	print_text(c, "local");
	printf(" lport=%u", cursor_u16(c));
	printf(" time=%" PRIu64, cursor_u64(c));
	print_text(c, "tag");
	size_t n = cursor_u32(c);
	const uint8_t *input = cursor_bytes(c, n);
	printf(" input=");
	for (size_t i = 0; input && i < n; i++)
		printf("%02x", input[i]);
	n = cursor_u32(c);
	cursor_bytes(c, n);
	printf(" tls=%zu", n);
	printf(" %s\n", cursor_done(c) ? "complete" : "MALFORMED");
}

static void session_answer(struct cursor c, int fd)
{
	char line[256];

	/* Past both addresses, ports and the time to the tag. */
	cursor_bytes(&c, cursor_u16(&c));
	cursor_u16(&c);
	cursor_bytes(&c, cursor_u16(&c));
	cursor_u16(&c);
	cursor_u64(&c);
	size_t len = cursor_u16(&c);
	const uint8_t *tag = cursor_bytes(&c, len);
	size_t input_len = cursor_u32(&c);
	const uint8_t *input = cursor_bytes(&c, input_len);
	size_t blob_len = cursor_u32(&c);
	if (blob_len > 0 && tag) {
		snprintf(line, sizeof(line), "%.*s", (int)len, tag);
		tls_serve(fd, line, input, input_len, cursor_bytes(&c, blob_len), blob_len);
		return;
	}
	int n = snprintf(line, sizeof(line), "%.*s OK Logged in.\r\n", (int)len,
		tag ? (const char *)tag : "?");
	if (write(fd, line, (size_t)n) != n)
		printf("client-gone\n");
}

/* False: the queue is empty. */
static bool session_take(void)
{
	static uint8_t packet[IPC_MESSAGE_MAX];
	struct ticket t;
	struct cursor c;
	unsigned n_fds;
	int fd;

	ssize_t len = ipc_recv_raw(queue_read, packet, sizeof(packet), &fd, 1, &n_fds);
	if (len == -EAGAIN)
		return false;
	if (len < 1 || n_fds != 1 || packet[0] != RAW_LOGIN)
		die("bad packet in the login queue: %zd, %u descriptors", len, n_fds);
	size_t ticket_len = ticket_length(packet + 1, (size_t)len - 1);
	enum ticket_error e = ticket_verify(&key, packet + 1, ticket_len, boot_id, &t);
	if (e != TICKET_OK)
		die("bad ticket: %s", ticket_strerror(e));
	cursor_init(&c, packet + 1 + ticket_len, (size_t)len - 1 - ticket_len);
	struct cursor answer = c;
	session_print(&t, &c, fd);
	fflush(stdout);
	session_answer(answer, fd);
	explicit_bzero(packet, sizeof(packet));
	close(fd);
	return true;
}

/* ---- words ---- */

static void do_session(char *args)
{
	char user[256] = "", remote[64] = "";
	unsigned event, uid = 0;
	uint64_t sid;

	if (sscanf(args, "%u %" SCNx64 " %255s %u %63s", &event, &sid, user, &uid, remote) < 2)
		die("session EVENT SID USER [UID [REMOTE]]");
	struct ipc_out *out = ipc_out_create(IPC_SESSION);
	ipc_out_u64(out, event);
	ipc_out_u64(out, sid);
	ipc_out_str(out, user);
	ipc_out_u64(out, uid);
	ipc_out_str(out, remote);
	must(ipc_send_free(holder, &out), "SESSION");
	printf("sent\n");
}

static void user_ask(const char *name)
{
	struct ipc_out *out = ipc_out_create(IPC_USER);

	ipc_out_u64(out, 77);
	ipc_out_str(out, name);
	must(ipc_send_free(holder, &out), "USER");
}

/* The first answer that comes; to user_ask() there may be none. */
static void do_user(const char *name)
{
	user_ask(name);
	struct ipc_in *in = wait_message(holder);
	if (!in || ipc_in_type(in) != IPC_USER_IS)
		die("no USER_IS");
	uint64_t id = ipc_in_u64(in);
	bool found = ipc_in_bool(in);
	uint32_t uid = ipc_in_u32(in), gid = ipc_in_u32(in);
	printf("user id=%" PRIu64 " found=%d uid=%u gid=%u home=%s\n", id, found, uid, gid,
		ipc_in_str(in));
	ipc_in_destroy(&in);
}

static void print_row(struct ipc_in *in)
{
	uint32_t n = ipc_in_array(in);

	printf("row");
	for (uint32_t i = 0; i < n; i++) {
		ipc_in_array(in);
		printf(" %s", ipc_in_str(in));
		printf("=%s", ipc_in_str(in));
	}
	printf("\n");
}

static void do_control(char *args)
{
	int fds[2];
	char *argument = strchr(args, ' ');

	if (argument)
		*argument++ = '\0';
	must(ipc_pair(fds), "pair");
	struct ipc_out *out = ipc_out_create(CTL_REQUEST);
	ipc_out_str(out, args);
	ipc_out_array(out, argument ? 1 : 0);
	if (argument)
		ipc_out_str(out, argument);
	must(ipc_send_free(fds[1], &out), "CTL_REQUEST");
	out = ipc_out_create(IPC_CONTROL);
	ipc_out_fd(out, fds[0]);
	must(ipc_send_free(auth.setup, &out), "CONTROL");
	close(fds[0]);
	for (bool end = false; !end;) {
		struct ipc_in *in = wait_message(fds[1]);
		if (!in)
			die("control ended without CTL_END");
		end = ipc_in_type(in) == CTL_END;
		if (!end) {
			print_row(in);
		} else {
			printf("end ok=%d", ipc_in_bool(in));
			printf(" %s\n", ipc_in_str(in));
		}
		ipc_in_destroy(&in);
	}
	close(fds[1]);
}

static void do_stop(struct child *c, const char *name, unsigned how)
{
	struct ipc_out *out = ipc_out_create(IPC_STOP);

	ipc_out_u64(out, how);
	must(ipc_send_free(c->setup, &out), "STOP");
	child_reap(c, name);
}

static void do_status(struct child *c)
{
	struct ipc_out *out = ipc_out_create(IPC_STATUS);

	must(ipc_send_free(c->setup, &out), "STATUS");
	struct ipc_in *in = wait_message(c->setup);
	if (!in || ipc_in_type(in) != IPC_STATUS)
		die("no STATUS");
	printf("status %s\n", ipc_in_str(in));
	ipc_in_destroy(&in);
}

/* A message that no peer may send, over a channel of imap-login's. */
static void do_nonsense(void)
{
	int fds[2];
	struct ipc_in *in = NULL;

	must(ipc_pair(fds), "pair");
	send_channel(&auth, ROLE_LOGIN, fds[0]);
	struct ipc_out *out = ipc_out_create(IPC_SESSION);
	ipc_out_u64(out, SESSION_GONE);
	ipc_out_u64(out, 1);
	ipc_out_str(out, "anna");
	ipc_out_u64(out, 0);
	ipc_out_str(out, "");
	must(ipc_send_free(fds[1], &out), "SESSION");
	in = wait_message(fds[1]);
	printf("nonsense %s\n", in ? "answered" : "ended");
	ipc_in_destroy(&in);
	close(fds[1]);
}

/* The files again; imap-login has them when it answers what comes next. */
static void do_certs(bool rotate)
{
	struct ipc_out *out = ipc_out_create(IPC_CERTS);

	if (rotate)
		rotate_tickets();
	certs_put(out);
	must(ipc_send_free(login.setup, &out), "CERTS");
	do_status(&login);
}

static void obey(char *line)
{
	char *args = strchr(line, ' ');

	if (args)
		*args++ = '\0';
	else
		args = line + strlen(line);
	if (strcmp(line, "kill-auth") == 0) {
		kill(auth.pid, SIGKILL);
		child_reap(&auth, "auth");
	} else if (strcmp(line, "start-auth") == 0) {
		auth_start();
		introduce();
		printf("started\n");
	} else if (strcmp(line, "replace-auth") == 0) {
		/* As at an upgrade: the old one finishes what it has. */
		struct child old = auth;
		auth_start();
		introduce();
		struct ipc_out *out = ipc_out_create(IPC_STOP);
		ipc_out_u64(out, STOP_BYE);
		must(ipc_send_free(old.setup, &out), "STOP");
		printf("replaced\n");
		fflush(stdout);
		child_reap(&old, "old-auth");
	} else if (strcmp(line, "queue") == 0) {
		queue_paused = strcmp(args, "off") == 0;
		printf("queue %s\n", args);
	} else if (strcmp(line, "session") == 0) {
		do_session(args);
	} else if (strcmp(line, "ask-user") == 0) {
		user_ask(args);
		printf("asked\n");
	} else if (strcmp(line, "user") == 0) {
		do_user(args);
	} else if (strcmp(line, "control") == 0) {
		do_control(args);
	} else if (strcmp(line, "stop-login") == 0) {
		do_stop(&login, "imap-login", (unsigned)atoi(args));
	} else if (strcmp(line, "stop-auth") == 0) {
		do_stop(&auth, "auth", (unsigned)atoi(args));
	} else if (strcmp(line, "restart-login") == 0) {
		kill(login.pid, SIGKILL);
		child_reap(&login, "imap-login");
		login_start();
		introduce();
		printf("restarted %d\n", (int)login.pid);
	} else if (strcmp(line, "certs") == 0) {
		do_certs(strcmp(args, "rotate") == 0);
	} else if (strcmp(line, "leave-login") == 0) {
		fd_close(&login.setup);
		printf("left\n");
	} else if (strcmp(line, "wait-login") == 0) {
		child_reap(&login, "imap-login");
	} else if (strcmp(line, "wait-auth") == 0) {
		child_reap(&auth, "auth");
	} else if (strcmp(line, "status") == 0) {
		do_status(strcmp(args, "auth") == 0 ? &auth : &login);
	} else if (strcmp(line, "ask") == 0) {
		do_ask(args);
	} else if (strcmp(line, "begin") == 0) {
		do_begin(args);
	} else if (strcmp(line, "step") == 0) {
		do_step(args);
	} else if (strcmp(line, "cancel") == 0) {
		do_cancel(args);
	} else if (strcmp(line, "end-direct") == 0) {
		fd_close(&direct);
		printf("direct closed\n");
	} else if (strcmp(line, "nonsense") == 0) {
		do_nonsense();
	} else {
		die("unknown word: %s", line);
	}
}

/* ---- */

static void set(const char *assignment)
{
	static const struct {
		const char *name;
		char **text;
		uint64_t *u64;
		uint32_t *u32;
	} names[] = {
		{ "base_dir", &settings.base_dir },
		{ "passwd_file", &settings.passwd_file },
		{ "static_password", &settings.static_password },
		{ "static_home", &settings.static_home },
		{ "auth_user", &settings.auth_user },
		{ "login_user", &settings.login_user },
		{ "log_level", &settings.log_level },
		{ "mechanisms", &settings.mechanisms },
		{ "pam_service", &settings.pam_service },
		{ "login_timeout_ms", NULL, &settings.login_timeout_ms },
		{ "stop_timeout_ms", NULL, &settings.stop_timeout_ms },
		{ "login_max_clients", NULL, NULL, &settings.login_max_clients },
		{ "max_user_sessions", NULL, NULL, &settings.max_user_sessions },
		{ "max_address_sessions", NULL, NULL, &settings.max_address_sessions },
		{ "first_valid_uid", NULL, NULL, &settings.first_valid_uid },
	};
	const char *value = strchr(assignment, '=');

	if (strncmp(assignment, "ca=", 3) == 0) {
		ca_file = value + 1;
		return;
	}
	/* cert=FILE, cert=NAME:FILE */
	if (strncmp(assignment, "cert", 4) == 0 && value && n_certs < TLS_IDENTITIES_MAX) {
		char *colon = strchr(value, ':');
		certs[n_certs].file = colon ? colon + 1 : value + 1;
		certs[n_certs++].name = colon ? strndup(value + 1, (size_t)(colon - value - 1)) : "";
		return;
	}
	for (size_t i = 0; value && i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i].name);
		if (strncmp(assignment, names[i].name, len) != 0 || assignment + len != value)
			continue;
		if (names[i].text) {
			free(*names[i].text);
			*names[i].text = strdup(value + 1);
		} else if (names[i].u64) {
			*names[i].u64 = strtoull(value + 1, NULL, 10);
		} else {
			*names[i].u32 = (uint32_t)strtoul(value + 1, NULL, 10);
		}
		return;
	}
	die("unknown setting: %s", assignment);
}

static void serve(void)
{
	static char words[16384];
	size_t have = 0;

	for (;;) {
		struct pollfd p[3] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = queue_paused ? -1 : queue_read, .events = POLLIN },
			{ .fd = direct, .events = POLLIN },
		};
		fflush(stdout);
		must(poll(p, 3, -1), "poll");
		if (p[2].revents)
			direct_read();
		while (p[1].revents && session_take())
			;
		if (!p[0].revents)
			continue;
		ssize_t n = read(STDIN_FILENO, words + have, sizeof(words) - have - 1);
		if (n <= 0)
			return;
		have += (size_t)n;
		words[have] = '\0';
		for (char *lf; (lf = strchr(words, '\n'));) {
			*lf = '\0';
			obey(words);
			fflush(stdout);
			have -= (size_t)(lf + 1 - words);
			memmove(words, lf + 1, have + 1);
		}
	}
}

int main(int argc, char **argv)
{
	int fds[2];

	if (argc < 3)
		die("usage: login-harness AUTH IMAP-LOGIN [setting=value...]");
	signal(SIGPIPE, SIG_IGN);
	must(settings_init(&settings), "settings");
	settings.user_mode = geteuid() != 0;
	for (int i = 3; i < argc; i++)
		set(argv[i]);
	auth.path = argv[1];
	login.path = argv[2];
	must(ticket_key_memfd(&key_fd), "ticket key");
	must(ticket_key_read(key_fd, &key), "ticket key");
	must(ticket_boot_id(boot_id), "boot id");
	must(ipc_pair(fds), "login queue");
	queue_read = fds[0];
	queue_write = fds[1];
	crypto = tls_crypto_create();
	if (!crypto)
		die("no crypto");
	listen_on(AF_INET, "127.0.0.1", NULL);
	listen_on(AF_INET, "0.0.0.0", NULL);
	listen_on(AF_INET6, "::", NULL);
	if (n_certs > 0) {
		rotate_tickets();
		listen_on(AF_INET, "127.0.0.1", "tls");
	}
	auth_start();
	login_start();
	introduce();
	printf("ready %d %d\n", (int)auth.pid, (int)login.pid);
	serve();
	fd_close(&direct);
	fd_close(&auth.setup);
	fd_close(&login.setup);
	fd_close(&holder);
	if (login.pid > 0)
		kill(login.pid, SIGKILL);
	if (login.pid > 0)
		waitpid(login.pid, NULL, 0);
	/* Without master and imap-login auth ends by itself: sanitizers want to
	   say their last word. */
	if (auth.pid > 0)
		child_reap(&auth, "auth");
	settings_deinit(&settings);
	tls_crypto_destroy(&crypto);
	return EXIT_SUCCESS;
}
