/* SPDX-License-Identifier: MIT */
#ifndef TESTS_IMAP_TALK_H
#define TESTS_IMAP_TALK_H
/* Conversations with real sessions on a real Maildir, in one process: the
 * client's end is the other side of a socket pair, nobody waits for anybody.
 *
 *	C: a1 NOOP		the first session is sent a line, and works on it
 *	C- a2 APPEND x {3}	sent, but it works only when the next C: was sent
 *	S: a1 OK NOOP completed.	it must have answered these lines and no more
 *	c: s:			the same for the second session
 *
 * In an S line @ matches digits; @x too, and keeps them under the name x, or
 * compares them if there is an x already; @* matches the rest of the line. In
 * a C line @x is what was kept. */
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/command.h"
#include "imap/session.h"
#include "lib/settings.h"
#include "tests/unit.h"

struct talk_client {
	struct session *s;
	int fd;			/* the client's end */
	char *out;		/* answered and not yet expected */
	size_t out_len;
	char out_mark;
};
struct talk {
	char dir[64];
	struct settings set;
	struct talk_client c[2];
	char vars[128][24];
	unsigned delivered;
	const char *name;
};

static inline void talk_client_open(struct talk *t, int n)
{
	struct talk_client *c = &t->c[n];
	int fds[2], size = 4 << 20;
	char path[128];

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	require(fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
	c->fd = fds[1];
	c->s = session_create(&t->set, fds[0]);
	require(c->s != NULL);
	snprintf(c->s->ticket.user, sizeof(c->s->ticket.user), "anna");
	snprintf(path, sizeof(path), "%s/Maildir", t->dir);
	c->s->mail_dir = strdup(path);
	snprintf(path, sizeof(path), "%s/Maildir/.dormouse", t->dir);
	c->s->index_dir = strdup(path);
}

static inline void talk_client_close(struct talk_client *c)
{
	if (c->s == NULL)
		return;
	cmd_append_abort(c->s);
	session_unselect(c->s, false);
	mail_store_close(&c->s->store);
	stream_destroy(&c->s->stream);
	imap_parser_destroy(&c->s->parser);
	arena_destroy(&c->s->arena);
	loop_destroy(&c->s->loop);
	free(c->s->idle_tag);
	free(c->s->mail_dir);
	free(c->s->index_dir);
	free(c->s);
	c->s = NULL;
	close(c->fd);
	free(c->out);
	c->out = NULL;
	c->out_len = 0;
}

static inline struct talk *talk_create(void)
{
	struct talk *t = calloc(1, sizeof(*t));

	require(t != NULL);
	setenv("TZ", "UTC", 1);
	tzset();
	snprintf(t->dir, sizeof(t->dir), "/tmp/dormouse-talk-XXXXXX");
	require(mkdtemp(t->dir) != NULL);
	require(settings_init(&t->set) == 0);
	talk_client_open(t, 0);
	talk_client_open(t, 1);
	return t;
}

static inline int talk_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void talk_destroy(struct talk *t)
{
	talk_client_close(&t->c[0]);
	talk_client_close(&t->c[1]);
	settings_deinit(&t->set);
	nftw(t->dir, talk_unlink, 16, FTW_DEPTH | FTW_PHYS);
	free(t);
}

/* Puts a message into INBOX as another program would: flags are Maildir's
 * letters, "" puts it into new/. Its file is from 2 Jan 2001, 03:04:05. */
static inline void talk_deliver(struct talk *t, const char *flags, const char *text)
{
	struct timespec times[2] = { { .tv_sec = 978404645 }, { .tv_sec = 978404645 } };
	char path[256];
	FILE *f;

	for (const char *const *sub = (const char *const []){ "", "/cur", "/new", "/tmp", NULL };
	     *sub != NULL; sub++) {
		snprintf(path, sizeof(path), "%s/Maildir%s", t->dir, *sub);
		mkdir(path, 0700);
	}
	snprintf(path, sizeof(path), "%s/Maildir/%s/9784046%02u.M%uP1.test%s%s", t->dir,
		 *flags ? "cur" : "new", t->delivered, t->delivered, *flags ? ":2," : "", flags);
	t->delivered++;
	f = fopen(path, "w");
	require(f != NULL);
	check(fputs(text, f) >= 0);
	check(fclose(f) == 0);
	check(utimensat(AT_FDCWD, path, times, 0) == 0);
}

/* Another program removes what talk_deliver() put there as the n-th, from 0. */
static inline void talk_remove(struct talk *t, unsigned n)
{
	char command[256];

	snprintf(command, sizeof(command), "rm %s/Maildir/*/9784046%02u.*", t->dir, n);
	check(system(command) == 0);
}

/* ---- lines ---- */

static inline bool talk_line_matches(struct talk *t, const char *want, const char *got)
{
	while (*want != '\0') {
		char digits[24];
		size_t n;
		char *var;

		if (*want != '@') {
			if (*want++ != *got++)
				return false;
			continue;
		}
		if (*++want == '*')
			return true;
		n = strspn(got, "0123456789");
		if (n == 0 || n >= sizeof(digits))
			return false;
		snprintf(digits, sizeof(digits), "%.*s", (int)n, got);
		got += n;
		if (*want < 'a' || *want > 'z')
			continue;
		var = t->vars[(unsigned char)*want++];
		if (*var != '\0' && strcmp(var, digits) != 0)
			return false;
		strcpy(var, digits);
	}
	return *got == '\0';
}

static inline void talk_substitute(struct talk *t, const char *line, char *out, size_t size)
{
	size_t n = 0;

	for (; *line != '\0' && n + 32 < size; line++) {
		if (line[0] == '@' && line[1] >= 'a' && line[1] <= 'z')
			n += (size_t)snprintf(out + n, size - n, "%s",
					      t->vars[(unsigned char)*++line]);
		else
			out[n++] = *line;
	}
	out[n] = '\0';
}

/* The session reads what was sent, and we what it wrote. */
static inline void talk_run(struct talk_client *c)
{
	char data[65536];
	ssize_t n;

	while (!c->s->dead && !c->s->logout && stream_fill(c->s->stream) > 0)
		session_input(c->s);
	(void)stream_flush(c->s->stream);
	while ((n = read(c->fd, data, sizeof(data))) > 0) {
		c->out = realloc(c->out, c->out_len + (size_t)n + 1);
		require(c->out != NULL);
		memcpy(c->out + c->out_len, data, (size_t)n);
		c->out_len += (size_t)n;
		c->out[c->out_len] = '\0';
	}
}

static inline void talk_send(struct talk_client *c, const char *line)
{
	check(write(c->fd, line, strlen(line)) == (ssize_t)strlen(line));
	check(write(c->fd, "\r\n", 2) == 2);
}

/* Takes one line of what was answered; NULL: there is none. */
static inline char *talk_take(struct talk_client *c)
{
	char *end = c->out_len > 0 ? strstr(c->out, "\r\n") : NULL;
	char *line;

	if (end == NULL)
		return NULL;
	line = strndup(c->out, (size_t)(end - c->out));
	c->out_len -= (size_t)(end + 2 - c->out);
	memmove(c->out, end + 2, c->out_len + 1);
	return line;
}

static inline void talk_fail(struct talk *t, unsigned row, const char *want, const char *got)
{
	fprintf(stderr, "\n%s, line %u: wanted <%s>, got <%s>\n", t->name, row, want, got);
	CU_assertImplementation(CU_FALSE, row, want, t->name, "", CU_FALSE);
}

static inline void talk_expect(struct talk *t, struct talk_client *c, unsigned row,
			       const char *want)
{
	char *got = talk_take(c);

	if (got == NULL || !talk_line_matches(t, want, got))
		talk_fail(t, row, want, got != NULL ? got : "nothing");
	else
		check(true);
	free(got);
}

/* Nothing may be left of the answers. */
static inline void talk_nothing_left(struct talk *t, struct talk_client *c, unsigned row)
{
	char *got;

	while ((got = talk_take(c)) != NULL) {
		talk_fail(t, row, "nothing more", got);
		free(got);
	}
}

static inline void talk_step(struct talk *t, unsigned row, const char *line)
{
	struct talk_client *c = &t->c[line[0] == 'c' || line[0] == 's'];
	char sent[8192];

	if (line[0] == 'S' || line[0] == 's') {
		talk_expect(t, c, row, line + 3);
		return;
	}
	talk_nothing_left(t, c, row);
	talk_substitute(t, line + 3, sent, sizeof(sent));
	talk_send(c, sent);
	if (line[1] == ':')
		talk_run(c);
}

static inline void talk_script(struct talk *t, const char *name, const char *script)
{
	unsigned row = 0;

	t->name = name;
	while (*script != '\0') {
		size_t len = strcspn(script, "\n");
		char *line = strndup(script, len);

		row++;
		if (len >= 3)
			talk_step(t, row, line);
		free(line);
		script += len + (script[len] == '\n');
	}
	talk_nothing_left(t, &t->c[0], row);
	talk_nothing_left(t, &t->c[1], row);
}
#define talk(t, script)	talk_script(t, __func__, script)
#endif
