/* SPDX-License-Identifier: MIT */
/* Figures for imap/maildir/, no verdict: bench-maildir [MESSAGES [DIRECTORY]].
 * Times are p50 and p99 in microseconds, page cache warm. */
#include "tests/maildir-util.h"

#include <sys/wait.h>

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *what, double *us, int n)
{
	qsort(us, (size_t)n, sizeof(*us), cmp);
	printf("%-58s %9.0f %9.0f  (%d)\n", what, us[n / 2], us[n * 99 / 100], n);
	fflush(stdout);
}

static struct mail_store *store;
static struct mailbox *box;
static double us[2000];

#define MEASURE(what, n, before, code) do { \
		for (int i_ = 0; i_ < (n); i_++) { \
			double t_; \
			before; \
			t_ = now_us(); \
			code; \
			us[i_] = now_us() - t_; \
		} \
		report(what, us, n); \
	} while (0)

static void fill(int n)
{
	char name[64];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "cur/%d.M%dP%d.host,S=6,W=8:2,S", 1700000000 + i / 7,
			 i, i % 977);
		put_file(name, "A: b\n\n");
	}
}

static void wake_path(const uint8_t id[16], uint64_t since)
{
	struct mailbox_status st;
	struct uidset a, b;
	bool complete;

	uidset_init(&a);
	uidset_init(&b);
	if (mailbox_open_id(store, id, "INBOX", &box) || mailbox_sync(box) ||
	    mailbox_status(box, false, &st) || mailbox_changed_since(box, since, &a) ||
	    mailbox_vanished_since(box, since, &b, &complete))
		abort();
	uidset_deinit(&a);
	uidset_deinit(&b);
}

static void close_all(void)
{
	mailbox_close(&box);
	mail_store_close(&store);
}

int main(int argc, char *argv[])
{
	int n = argc > 1 ? atoi(argv[1]) : 100000, serial = 0;
	uint64_t since;
	struct uidset s;
	uint8_t id[16];
	char name[64];
	double t;

	if (argc > 2)
		setenv("TMPDIR", argv[2], 1);
	top_make();
	store = store_new();
	t = now_us();
	fill(n);
	printf("%d messages written in %.1f s\n", n, (now_us() - t) / 1e6);
	t = now_us();
	box = box_new(store, "INBOX");
	if (mailbox_sync(box))
		return 1;
	printf("first sync %.2f s\n", (now_us() - t) / 1e6);
	memcpy(id, mailbox_id(box), 16);
	uidset_init(&s);
	MEASURE("sync, mtimes young (names summed)", 20, (void)0, mailbox_sync(box));
	age_dirs(".");
	MEASURE("sync after a change in cur/ (all compared)", 5, age_dirs("."), mailbox_sync(box));
	mailbox_sync(box);
	MEASURE("sync, nothing changed", 1000, (void)0, mailbox_sync(box));
	MEASURE("all uids", 10, (void)0, mailbox_uids(box, &s));
	since = mailbox_highestmodseq(box);
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%d", n / 5 * (i + 1));
		store_flags(box, name, FLAG_ADD, MAIL_FLAGGED);
	}
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%d", n / 7 * (i + 1));
		store_flags(box, name, FLAG_ADD, MAIL_DELETED);
		expunge(box, name);
	}
	sleep(3);
	mailbox_sync(box);
	mailbox_sync(box);
	MEASURE("changed + vanished since, 5 changes", 1000, (void)0, {
		bool complete;
		mailbox_changed_since(box, since, &s);
		mailbox_vanished_since(box, since, &s, &complete);
	});
	MEASURE("open by name, sync, close (store open)", 1000, (void)0, {
		struct mailbox *b = box_new(store, "INBOX");
		mailbox_sync(b);
		mailbox_close(&b);
	});
	close_all();
	MEASURE("wake: store, open_id, sync, status, changed, vanished", 1000,
		close_all(), { store = store_new(); wake_path(id, since); });
	close_all();
	fflush(stdout);
	for (int warm = 0; warm < 2; warm++) {
		int fds[2];

		if (warm)
			mail_store_warm();
		if (pipe(fds))
			return 1;
		for (int i = 0; i < 200; i++) {
			pid_t pid = fork();

			if (pid == 0) {
				t = now_us();
				store = store_new();
				wake_path(id, since);
				t = now_us() - t;
				if (write(fds[1], &t, sizeof(t)) < 0)
					_exit(1);
				_exit(0);
			}
			waitpid(pid, NULL, 0);
			if (read(fds[0], &us[i], sizeof(us[i])) != sizeof(us[i]))
				return 1;
		}
		report(warm ? "the same in a fork of a warmed process" :
		       "the same in a fork of this process", us, 200);
		close(fds[0]);
		close(fds[1]);
	}
	store = store_new();
	box = box_new(store, "INBOX");
	MEASURE("delivery into new/, sync", 50, {
		snprintf(name, sizeof(name), "new/%d.M%dP1.host", 1790000000, serial++);
		put_file(name, "A: b\n\n");
	}, mailbox_sync(box));
	MEASURE("store one flag", 50, (void)0, {
		snprintf(name, sizeof(name), "%d", 100 + serial++);
		store_flags(box, name, FLAG_ADD, MAIL_FLAGGED);
	});
	MEASURE("sync after it", 10, {
		snprintf(name, sizeof(name), "%d", 100 + serial++);
		store_flags(box, name, FLAG_ADD, MAIL_FLAGGED);
	}, mailbox_sync(box));
	MEASURE("append", 200, (void)0, append_text(store, "INBOX", "A: b\r\n\r\n", MAIL_SEEN));
	MEASURE("row of one", 500, (void)0, {
		struct mail_row row;
		mailbox_row(box, 77, &row);
	});
	close_all();
	top_remove();
	uidset_deinit(&s);
	return 0;
}
