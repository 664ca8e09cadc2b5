/* SPDX-License-Identifier: MIT */
/* A mailbox of a million messages, and a message of two gigabytes: what a
 * SELECT reads of the directory, and how much memory a transfer takes.
 * bench-million [MESSAGES [MEGABYTES [DIRECTORY]]]; no verdict but the last. */
#include "tests/maildir-util.h"

#include <sys/resource.h>
#include <time.h>

static long entries_read;

struct dirent *__real_readdir64(DIR *d);
struct dirent *__wrap_readdir64(DIR *d);
struct dirent *__wrap_readdir64(DIR *d)
{
	entries_read++;
	return __real_readdir64(d);
}
struct dirent *__real_readdir(DIR *d);
struct dirent *__wrap_readdir(DIR *d);
struct dirent *__wrap_readdir(DIR *d)
{
	entries_read++;
	return __real_readdir(d);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long peak_kb(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_maxrss;
}

static double started;

static void begin(void)
{
	entries_read = 0;
	started = now_s();
}

static void report(const char *what)
{
	printf("%-44s %9.3f ms %9ld entries read, peak %ld kB\n", what,
	       (now_s() - started) * 1e3, entries_read, peak_kb());
	fflush(stdout);
}

static void fill(int n)
{
	char path[3 * PATH_MAX];

	for (int i = 0; i < n; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/cur/%d.M%dP%d.host,S=0,W=0:2,S", mail_dir,
			 1700000000 + i / 7, i, i % 977);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		if (fd < 0) {
			perror(path);
			exit(1);
		}
		close(fd);
	}
}

static void million(int n)
{
	struct mail_store *store = store_new();
	struct mailbox *box;
	struct mailbox_status st;

	begin();
	fill(n);
	report("files made");
	box = box_new(store, "INBOX");
	begin();
	if (mailbox_sync(box))
		exit(1);
	report("first sync");
	age_dirs(".");
	begin();
	if (mailbox_sync(box) || mailbox_sync(box))
		exit(1);
	report("sync after cur/ had another mtime");
	mailbox_close(&box);
	mail_store_close(&store);
	store = store_new();
	begin();
	box = box_new(store, "INBOX");
	if (mailbox_sync(box) || mailbox_status(box, false, &st))
		exit(1);
	report("opened and synced, nothing changed");
	put_file("new/1790000000.M1P1.host", "A: b\n\n");
	begin();
	if (mailbox_sync(box))
		exit(1);
	report("a delivery");
	begin();
	store_flags(box, "77", FLAG_ADD, MAIL_FLAGGED);
	report("a flag set");
	begin();
	if (mailbox_sync(box))
		exit(1);
	report("sync after it");
	begin();
	store_flags(box, "78", FLAG_ADD, MAIL_DELETED);
	expunge(box, "78");
	if (mailbox_sync(box))
		exit(1);
	report("deleted, expunged, synced");
	mailbox_close(&box);
	mail_store_close(&store);
}

/* Both ways, and a piece from the end. */
static bool gigabytes(uint64_t megabytes)
{
	struct mail_store *store = store_new();
	static char line[1 << 20], got[1 << 16];
	uint64_t header, total, at = 0, modseq;
	uint32_t validity, uid;
	struct mail_append *a;
	struct mail_reader *r;
	struct mailbox *box;
	long before, n;
	uint8_t id[16];

	for (size_t i = 0; i < sizeof(line); i++)
		line[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : 'x';
	memcpy(line, "A: b\r\n\r\n", 8);
	box = box_new(store, "INBOX");
	before = peak_kb();
	begin();
	if (mailbox_append_begin(store, "INBOX", &a))
		exit(1);
	for (uint64_t i = 0; i < megabytes; i++) {
		if (mailbox_append_write(a, line, sizeof(line)))
			exit(1);
	}
	if (mailbox_append_commit(&a, INT64_MIN, 0, NULL, 0, &validity, &uid, id, &modseq))
		exit(1);
	report("APPEND");
	begin();
	if (mailbox_sync(box) || mailbox_read_open(box, uid, &r) ||
	    mail_reader_sizes(r, &header, &total))
		exit(1);
	while ((n = mail_reader_read(r, at, got, sizeof(got))) > 0)
		at += (uint64_t)n;
	report("FETCH");
	begin();
	if (mail_reader_read(r, total - 1000, got, sizeof(got)) != 1000)
		exit(1);
	report("its last bytes");
	mail_reader_close(&r);
	mailbox_close(&box);
	mail_store_close(&store);
	printf("%llu bytes; memory grew by %ld kB\n", (unsigned long long)total, peak_kb() - before);
	return at == total && total >= megabytes << 20 && peak_kb() - before < 8192;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1000000;
	bool ok;

	if (argc > 3)
		setenv("TMPDIR", argv[3], 1);
	top_make();
	ok = gigabytes(argc > 2 ? (uint64_t)atoi(argv[2]) : 2048);
	top_remove();
	top_make();
	if (n > 0)
		million(n);
	top_remove();
	if (!ok)
		printf("a large message took more memory than it may\n");
	return ok ? 0 : 1;
}
