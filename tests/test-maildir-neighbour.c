/* SPDX-License-Identifier: MIT */
/* What other programs, and accidents, do to a Maildir; and that looking at a
 * large one costs what changed. Directory entries that the store reads are
 * counted: readdir() is wrapped by the linker. */
#include "tests/maildir-util.h"

#include "lib/clock.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <utime.h>
#include <zlib.h>

static const char mail[] = "From: anna\nSubject: hello\n\nbody\n";

static struct mail_store *store;
static struct mailbox *box;
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

static void open_all(void)
{
	store = store_new();
	box = box_new(store, "INBOX");
}

static void close_all(void)
{
	mailbox_close(&box);
	mail_store_close(&store);
}

static void begin(void)
{
	top_make();
	open_all();
	require(mailbox_sync(box) == 0);
}

static void end(void)
{
	close_all();
	top_remove();
}

static char *path_of(const char *name)
{
	static char path[3 * PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", mail_dir, name);
	return path;
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(path_of(name), &st) == 0;
}

/* ---- dormouse-uidlist, lost or cut ---- */

static void three_messages(void)
{
	put_file("cur/1700000001.M1P1.host:2,S", mail);
	put_file("cur/1700000002.M1P1.host:2,", mail);
	put_file("cur/1700000003.M1P1.host:2,F", mail);
	check(mailbox_sync(box) == 0);
	remove_file("cur/1700000002.M1P1.host:2,");
	check(mailbox_sync(box) == 0);
	check(append_text(store, "INBOX", mail, MAIL_DRAFT) == 4);
	check_str(box_uids(box), "1,3:4");
}

static void test_list_that_was_cut_is_written_again(void)
{
	struct mailbox_status st;
	struct stat size;
	uint64_t modseq;

	begin();
	three_messages();
	for (int i = 1; i < 5; i++) {
		modseq = mailbox_highestmodseq(box);
		close_all();
		require(stat(path_of("dormouse-uidlist"), &size) == 0);
		/* From a torn last line to little more than the header. */
		require(truncate(path_of("dormouse-uidlist"), size.st_size * (4 - i) / 4 + 70 + i) == 0);
		open_all();
		put_file("new/1700000009.M1P1.host", mail);	/* someone has to look */
		check(mailbox_sync(box) == 0);
		remove_file("new/1700000009.M1P1.host");
		check(mailbox_sync(box) == 0);
		check_row(!strcmp(box_uids(box), "1,3:4"), (size_t)i);
		/* Now the list alone knows it again. */
		remove_index();
		check(mailbox_sync(box) == 0);
		check_row(!strcmp(box_uids(box), "1,3:4"), (size_t)i);
		check(mailbox_status(box, false, &st) == 0);
		check_row(st.highestmodseq >= modseq && st.uidnext > 4, (size_t)i);
	}
	end();
}

static void test_list_from_a_backup_gives_no_uid_twice(void)
{
	char command[4 * PATH_MAX];
	uint32_t uid;

	begin();
	three_messages();
	snprintf(command, sizeof(command), "cd %s && cp dormouse-uidlist ../old", mail_dir);
	require(system(command) == 0);
	/* As another file: the list is written anew in between. */
	for (int i = 0; i < 3; i++)
		append_text(store, "INBOX", mail, 0);
	check_str(box_uids(box), "1,3:7");
	close_all();
	snprintf(command, sizeof(command), "cd %s && mv ../old dormouse-uidlist", mail_dir);
	require(system(command) == 0);
	open_all();
	uid = append_text(store, "INBOX", mail, 0);
	check(uid == 8);
	close_all();
	remove_index();
	open_all();
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,3:8");
	end();
}

static void test_removed_list_comes_back_from_the_index(void)
{
	uint32_t validity, n;
	uint64_t modseq;
	struct mail_row row;
	uint8_t id[16];
	int rc;

	begin();
	three_messages();
	check(append_bytes(store, "INBOX", "x\n", 2, 0, "$Work", &rc) == 5);
	validity = mailbox_uidvalidity(box);
	check(mailbox_sync(box) == 0);
	modseq = mailbox_highestmodseq(box);
	memcpy(id, mailbox_id(box), 16);
	close_all();
	check(remove_file("dormouse-uidlist") == 0);
	open_all();
	check(mailbox_uidvalidity(box) == validity && !memcmp(mailbox_id(box), id, 16));
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,3:5");
	check(mailbox_highestmodseq(box) >= modseq);
	remove_index();
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,3:5");
	check(mailbox_keyword(box, "$Work", false, &n) == 0);
	check(mailbox_row(box, 5, &row) == 0 && keyword_set_has(&row.keywords, n));
	check(append_text(store, "INBOX", mail, 0) == 6);
	end();
}

/* Dovecot's list is believed once only. */
static void test_lost_list_is_not_adopted_twice(void)
{
	begin();
	close_all();
	remove_file("dormouse-uidlist");
	remove_file("dormouse-uidlist.lock");
	remove_index();
	put_file("dovecot-uidlist", "3 V1700000000 N2 G1faf6f2267af026b1ca1030083ecc375\n"
		 "1 :1700000001.M1P1.host\n");
	put_file("cur/1700000001.M1P1.host:2,", mail);
	open_all();
	check(mailbox_sync(box) == 0 && mailbox_uidvalidity(box) == 1700000000);
	check(append_text(store, "INBOX", mail, 0) == 2);
	check_str(store_flags(box, "2", FLAG_ADD, MAIL_DELETED), "2");
	check_str(expunge(box, "2"), "2");
	close_all();
	/* With the index: as it was. */
	remove_file("dormouse-uidlist");
	open_all();
	check(mailbox_uidvalidity(box) == 1700000000);
	check(append_text(store, "INBOX", mail, 0) == 3);
	close_all();
	/* Without: UID 2 was somebody once, so nothing holds any more. */
	remove_file("dormouse-uidlist");
	remove_index();
	open_all();
	check(mailbox_uidvalidity(box) > 1700000000);
	end();
}

/* ---- names and kinds ---- */

static void test_known_message_keeps_its_uid_against_a_double(void)
{
	struct mail_reader *r;
	struct mail_row row;
	char text[64] = "";

	begin();
	put_file("cur/1700000001.M1P1.host:2,S", "Subject: first\n\n");
	check(mailbox_sync(box) == 0);
	put_file("new/1700000001.M1P1.host", "Subject: second\n\n");
	check(mailbox_sync(box) == 0);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:2");
	for (uint32_t uid = 1; uid <= 2; uid++) {
		require(mailbox_read_open(box, uid, &r) == 0);
		check(mail_reader_read(r, 0, text, sizeof(text) - 1) > 0);
		check_row(!strncmp(text, uid == 1 ? "Subject: first" : "Subject: second", 14), uid);
		mail_reader_close(&r);
	}
	check(mailbox_row(box, 1, &row) == 0 && row.flags == MAIL_SEEN);
	end();
}

static void test_odd_names_and_kinds(void)
{
	static const char *const messages[] = {
		"cur/with blanks in it:2,S", "cur/no-flags", "cur/1.twice:2,F,2,S", "cur/2.unknown:2,XSQ",
		"cur/3.\xff\xfe.bytes:2,", "new/4.with:2,flags", "cur/5.info:1,odd",
	};
	char name[300], full[3 * PATH_MAX];
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct mail_row row;
	int fd;

	begin();
	for (size_t i = 0; i < UNIT_COUNT(messages); i++)
		put_file(messages[i], mail);
	memset(name, 'l', sizeof(name));
	memcpy(name, "new/", 4);
	name[4 + 255] = '\0';
	put_file(name, mail);
	/* None of these is a message. */
	put_file("cur/.hidden", mail);
	put_file("cur/line\nbreak", mail);
	put_file("cur/return\r:2,", mail);
	check(mkdir(path_of("cur/directory:2,S"), 0700) == 0);
	check(mkfifo(path_of("new/fifo"), 0600) == 0);
	check(symlink("/nonexistent", path_of("cur/dangling:2,")) == 0);
	snprintf(full, sizeof(full), "%s/kept-elsewhere", top);
	fd = open(full, O_WRONLY | O_CREAT, 0600);
	check(write(fd, mail, strlen(mail)) > 0);
	close(fd);
	check(symlink(full, path_of("cur/6.link:2,S")) == 0);	/* this is one */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.60s/Maildir/cur/sock", top);
	check(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	close(fd);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:9");
	for (uint32_t uid = 1; uid <= 9; uid++)
		check_row(mailbox_row(box, uid, &row) == 0, uid);
	/* They do not make every look a long one. */
	age_dirs(".");
	check(mailbox_sync(box) == 0 && mailbox_sync(box) == 0);
	entries_read = 0;
	check(mailbox_sync(box) == 0);
	check(entries_read == 0);
	/* Flags of all but the longest can be set; what we do not know stays. */
	check_str(store_flags(box, "1:9", FLAG_ADD, MAIL_ANSWERED),
		  mailbox_strerror(MAILBOX_E_KEYWORDS));
	for (uint32_t uid = 1; uid <= 9; uid++)
		check_row(mailbox_row(box, uid, &row) == 0 &&
			  !(row.flags & MAIL_ANSWERED) == (uid == 1), uid);
	check(exists("cur/2.unknown:2,QRSX") && exists("cur/1.twice:2,FR,2,S"));
	check(exists("cur/directory:2,S") && exists("cur/sock") && exists("new/fifo"));
	end();
}

static void test_files_that_may_not_be_read(void)
{
	int status = -1;
	pid_t pid;

	begin();
	put_file("cur/1700000001.M1P1.host:2,", mail);
	put_file("cur/1700000002.M1P1.host:2,", mail);
	check(mailbox_sync(box) == 0);
	close_all();
	check(chmod(path_of("cur/1700000001.M1P1.host:2,"), 0) == 0);
	pid = fork();
	if (pid == 0) {
		struct mail_reader *r = NULL;
		struct mailbox_status st;
		char chown_all[PATH_MAX + 64];

		snprintf(chown_all, sizeof(chown_all), "chown -R 64299 %s", top);
		if (geteuid() == 0 && (system(chown_all) != 0 || setuid(64299) != 0))
			_exit(9);
		open_all();
		if (mailbox_read_open(box, 1, &r) != MAILBOX_E_CORRUPT)
			_exit(1);
		if (mailbox_read_open(box, 2, &r) != 0)
			_exit(2);
		mail_reader_close(&r);
		if (mailbox_status(box, true, &st) != 0 || st.size != strlen(mail) + 4)
			_exit(3);
		if (strcmp(store_flags(box, "1", FLAG_ADD, MAIL_SEEN), "1") != 0)
			_exit(4);
		close_all();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	check(WIFEXITED(status));
	check(WEXITSTATUS(status) == 0);
	open_all();
	end();
}

static void test_tmp_is_looked_into_at_the_end(void)
{
	begin();
	put_file("tmp/young", "x");
	put_file("cur/1700000001.M1P1.host:2,", mail);
	entries_read = 0;
	check(mailbox_sync(box) == 0);
	check(entries_read <= 8);	/* cur/ and new/, dots and ends */
	entries_read = 0;
	mailbox_close(&box);
	check(entries_read == 4);	/* its dots, the file, the end */
	check(exists("tmp/young"));
	end();
}

/* ---- a large mailbox ---- */

#define LARGE	6000

static void large(void)
{
	char name[64];

	begin();
	for (int i = 0; i < LARGE; i++) {
		snprintf(name, sizeof(name), "cur/%d.M1P1.host,S=33,W=37:2,", 1700000000 + i);
		put_file(name, mail);
	}
	check(mailbox_sync(box) == 0);
}

/* One look to see that only the times changed, then they are old enough. */
static void settle(void)
{
	age_dirs(".");
	check(mailbox_sync(box) == 0 && mailbox_sync(box) == 0);
	entries_read = 0;
}

static void nothing_changed_nothing_read(void)
{
	settle();
	close_all();
	entries_read = 0;
	open_all();
	check(mailbox_sync(box) == 0);
	mailbox_close(&box);
	check(entries_read == 0);
	box = box_new(store, "INBOX");
}

static void delivery_reads_new_alone(void)
{
	settle();
	for (int i = 0; i < 3; i++) {
		char name[64];

		snprintf(name, sizeof(name), "new/1790000000.M%dP1.host", i);
		put_file(name, mail);
		check(mailbox_sync(box) == 0);
		check(mailbox_uidnext(box) == LARGE + 2 + (uint32_t)i);
	}
	check(entries_read > 0 && entries_read < 100);
}

static void own_changes_do_not_read_all_again(void)
{
	struct mailbox *other;
	uint64_t modseq;
	char uid[16];

	settle();
	other = box_new(store, "INBOX");
	clock_set_us(clock_us());	/* no rename takes long */
	modseq = mailbox_highestmodseq(box);
	for (int i = 1; i <= 20; i++) {
		snprintf(uid, sizeof(uid), "%d", i * 17);
		check_str(store_flags(box, uid, FLAG_ADD, MAIL_FLAGGED | (i % 5 ? 0 : MAIL_DELETED)), uid);
		check(mailbox_sync(box) == 0);
		/* Another session hears of it as cheaply. */
		check(mailbox_sync(other) == 0);
		check(mailbox_highestmodseq(other) == mailbox_highestmodseq(box));
	}
	check_str(expunge(box, "1:4294967295"), "85,170,255,340");
	append_text(store, "INBOX", mail, MAIL_SEEN);
	check(mailbox_sync(box) == 0 && mailbox_sync(other) == 0);
	check(mailbox_highestmodseq(box) > modseq);
	/* new/ is read, which is small. A machine that stands still for seconds
	   has all of cur/ read as well; without trust it is 42 times. */
	check(entries_read < 20 * LARGE);
	clock_set_us(0);
	mailbox_close(&other);
}

/* Somebody renames in the very moment: our look before and after brackets it. */
static void doubt_finds_what_hid_behind_ours(void)
{
	struct timespec times[2];
	struct mail_row row;
	struct stat st;

	settle();
	check_str(store_flags(box, "5", FLAG_ADD, MAIL_SEEN), "5");
	require(stat(path_of("cur"), &st) == 0);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	/* The same mtime, as if it had been within the bracket. */
	check(move_file("cur/1700000009.M1P1.host,S=33,W=37:2,",
			"cur/1700000009.M1P1.host,S=33,W=37:2,F") == 0);
	check(utimensat(AT_FDCWD, path_of("cur"), times, 0) == 0);
	check(mailbox_sync(box) == 0);
	if (mailbox_doubt(box)) {	/* else it was found at once */
		check(mailbox_row(box, 10, &row) == 0 && row.flags == 0);
		check(mailbox_sync(box) == 0);
		check(!mailbox_doubt(box));
	}
	check(mailbox_row(box, 10, &row) == 0 && row.flags == MAIL_FLAGGED);
}

static void test_large_mailbox_costs_what_changed(void)
{
	large();
	nothing_changed_nothing_read();
	delivery_reads_new_alone();
	own_changes_do_not_read_all_again();
	doubt_finds_what_hid_behind_ours();
	end();
}

/* ---- compressed ---- */

static void put_gzip(const char *name, const struct buf *plain, size_t members)
{
	for (size_t i = 0; i < members; i++) {
		size_t from = plain->len * i / members, to = plain->len * (i + 1) / members;
		gzFile f = gzopen(path_of(name), i ? "ab" : "wb");

		require(f != NULL);
		check(gzwrite(f, plain->data + from, (unsigned)(to - from)) == (int)(to - from));
		gzclose(f);
	}
}

static void test_gzip_is_read_like_any_other(void)
{
	uint64_t seed = unit_seed(), header, total;
	struct mail_reader *r;
	struct buf plain, want;
	char got[3000];

	begin();
	buf_init(&plain, 4 << 20);
	buf_init(&want, 4 << 20);
	buf_append_str(&plain, "A: b\n\n");
	while (plain.len < 700000)
		buf_printf(&plain, "%llx%s", (unsigned long long)unit_random(&seed),
			   plain.len % 5 ? "\n" : "\r\n");
	for (size_t i = 0; i < plain.len; i++) {
		if (plain.data[i] == '\n' && (i == 0 || plain.data[i - 1] != '\r'))
			buf_append_u8(&want, '\r');
		buf_append_u8(&want, plain.data[i]);
	}
	put_gzip("cur/1700000001.M1P1.host,S=700000,W=1:2,S", &plain, 1);
	put_gzip("cur/1700000002.M1P1.host:2,S", &plain, 4);
	check(mailbox_sync(box) == 0);
	for (uint32_t uid = 1; uid <= 2; uid++) {
		require(mailbox_read_open(box, uid, &r) == 0);
		check(mail_reader_sizes(r, &header, &total) == 0);
		check(header == 8 && total == want.len);
		for (int i = 0; i < 60; i++) {
			uint64_t at = unit_random(&seed) % (want.len + 10);
			size_t there = at < want.len ? want.len - (size_t)at : 0;
			long n = mail_reader_read(r, at, got, sizeof(got));

			check_row(n == (long)(there < sizeof(got) ? there : sizeof(got)), (size_t)i);
			check_row(n <= 0 || !memcmp(got, want.data + at, (size_t)n), (size_t)i);
		}
		mail_reader_close(&r);
	}
	/* Cached: the second time nothing is read for it. */
	struct mail_row row;
	check(mailbox_row(box, 1, &row) == 0 && row.size_known && row.size == want.len);
	buf_deinit(&plain);
	buf_deinit(&want);
	end();
}

static void test_damaged_gzip_is_an_error(void)
{
	uint64_t header, total;
	struct mail_reader *r;
	struct buf plain;
	struct stat st;
	char got[100];
	int fd;

	begin();
	buf_init(&plain, 1 << 20);
	for (int i = 0; i < 20000; i++)
		buf_printf(&plain, "line %d\n", i);
	put_gzip("cur/1.cut:2,", &plain, 1);
	put_gzip("cur/2.flipped:2,", &plain, 1);
	require(stat(path_of("cur/1.cut:2,"), &st) == 0);
	require(truncate(path_of("cur/1.cut:2,"), st.st_size - 100) == 0);
	fd = open(path_of("cur/2.flipped:2,"), O_RDWR);
	require(pwrite(fd, "\xff\xff\xff\xff", 4, st.st_size - 8) == 4);	/* its check sum */
	close(fd);
	check(mailbox_sync(box) == 0);
	for (uint32_t uid = 1; uid <= 2; uid++) {
		require(mailbox_read_open(box, uid, &r) == 0);
		check(mail_reader_read(r, 0, got, sizeof(got)) == 100);
		check_row(mail_reader_sizes(r, &header, &total) == MAILBOX_E_CORRUPT, uid);
		mail_reader_close(&r);
	}
	buf_deinit(&plain);
	end();
}

static void test_what_we_cannot_read_is_refused(void)
{
	static const struct {
		const char *data;
		size_t len;
		int rc;
	} rows[] = {
		{ "CRYPTED\x03\x07rest", 13, MAILBOX_E_FOREIGN },
		{ "BZh91AY&SYrest", 14, MAILBOX_E_FOREIGN },
		{ "BZh: a field\n\n", 14, 0 },
		{ "\xfd" "7zXZ\0rest", 10, MAILBOX_E_FOREIGN },
		{ "\x28\xb5\x2f\xfdrest", 8, MAILBOX_E_FOREIGN },
		{ "Dovecot-LZ4\x0d\x2a\x9b\xc5rest", 19, MAILBOX_E_FOREIGN },
		{ "Dovecot-LZ4: x\n\n", 16, 0 },
		{ "]\0\0\x80rest", 8, MAILBOX_E_FOREIGN },
		{ "CRYPTED: no\n\n", 13, 0 },
		{ "\x1f", 1, 0 },
	};
	char name[64];
	struct mail_reader *r;
	int rc;

	begin();
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int fd;

		snprintf(name, sizeof(name), "cur/%zu.M1P1.host:2,", 1700000000 + i);
		fd = open(path_of(name), O_WRONLY | O_CREAT, 0600);
		check(write(fd, rows[i].data, rows[i].len) == (ssize_t)rows[i].len);
		close(fd);
	}
	check(mailbox_sync(box) == 0);
	for (uint32_t i = 0; i < UNIT_COUNT(rows); i++) {
		rc = mailbox_read_open(box, i + 1, &r);
		check_row(rc == rows[i].rc, i);
		if (rc == 0)
			mail_reader_close(&r);
		/* And no client can put it there. */
		append_bytes(store, "INBOX", rows[i].data, rows[i].len, 0, NULL, &rc);
		check_row(rc == rows[i].rc, i);
	}
	append_bytes(store, "INBOX", "\x1f\x8b\x08 and so on", 13, 0, NULL, &rc);
	check(rc == MAILBOX_E_FOREIGN);
	end();
}

/* ---- disks ---- */

/* In a mount name space of its own. Returns the line where something went wrong. */
static int on_small_disk(void)
{
	char text[65536], path[PATH_MAX + 32];
	struct mailbox_status st;
	struct mail_reader *r;
	uint64_t modseq;
	uint32_t uid = 0, last = 0;
	int rc = 0, fill;

	memset(text, 'x', sizeof(text));
	memcpy(text, "A: b\n\n", 6);
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", top, "tmpfs", 0, "size=16m"))
		return -1;
	snprintf(path, sizeof(path), "%s/filler", top);
	fill = open(path, O_WRONLY | O_CREAT, 0600);
	for (int i = 0; i < 32; i++)
		rc |= write(fill, text, sizeof(text)) != sizeof(text);
	if (rc)
		return __LINE__;
	open_all();
	if (mailbox_sync(box))
		return __LINE__;
	for (int i = 0; i < 1000 && rc == 0; i++) {
		uid = append_bytes(store, "INBOX", text, sizeof(text), 0, NULL, &rc);
		last = uid ? uid : last;
	}
	if (rc != MAILBOX_E_NOSPACE || last < 50)
		return __LINE__;
	/* To the last byte. */
	while (write(fill, text, sizeof(text)) > 0)
		;
	while (write(fill, text, 1) > 0)
		;
	append_bytes(store, "INBOX", text, 100, 0, NULL, &rc);
	if (rc != MAILBOX_E_NOSPACE)
		return __LINE__;
	/* What is there can be read. */
	if (mailbox_status(box, false, &st) || st.messages != last)
		return __LINE__;
	put_file("new/1700000001.M1P1.host", "");	/* needs no block */
	modseq = st.highestmodseq;
	close_all();
	open_all();
	if (mailbox_sync(box) || mailbox_status(box, true, &st) || st.messages != last)
		return __LINE__;
	if (mailbox_read_open(box, last, &r) || mail_reader_read(r, 0, text, 100) != 100)
		return __LINE__;
	mail_reader_close(&r);
	close(fill);
	unlink(path);
	if (mailbox_sync(box) || mailbox_status(box, true, &st) || st.messages != last + 1)
		return __LINE__;
	check_str(store_flags(box, "1:20", FLAG_ADD, MAIL_DELETED), "1:20");
	if (strcmp(expunge(box, "1:20"), "1:20") != 0)
		return __LINE__;
	uid = append_bytes(store, "INBOX", text, sizeof(text), 0, NULL, &rc);
	if (rc || uid <= last)
		return __LINE__;
	if (mailbox_sync(box) || mailbox_highestmodseq(box) <= modseq)
		return __LINE__;
	/* A file system that turned read-only. */
	if (mailbox_status(box, false, &st))
		return __LINE__;
	close_all();
	if (mount("none", top, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0) {
		struct mail_store_options opt = { .user = "anna", .mail_dir = mail_dir,
						  .index_dir = index_dir };

		rc = mail_store_open(&opt, &store);
		if (rc == 0) {
			append_bytes(store, "INBOX", text, 100, 0, NULL, &rc);
			mail_store_close(&store);
		}
		if (rc != MAILBOX_E_READONLY)
			return __LINE__;
		if (mount("none", top, NULL, MS_REMOUNT, NULL))
			return __LINE__;
	}
	open_all();
	if (mailbox_sync(box) || mailbox_uidnext(box) != uid + 1)
		return __LINE__;
	close_all();
	return 0;
}

static void test_full_and_read_only_disks(void)
{
	int status = -1;
	pid_t pid;

	if (geteuid() != 0) {
		fprintf(stderr, "skipped: full_and_read_only_disks needs root\n");
		return;
	}
	top_make();
	pid = fork();
	if (pid == 0) {
		int line = on_small_disk();

		if (line > 0)
			fprintf(stderr, "\nfailed at line %d\n", line);
		_exit(line < 0 ? 77 : line ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		fprintf(stderr, "skipped: no mount name space\n");
	else
		check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	top_remove();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_list_that_was_cut_is_written_again),
		UNIT_TEST(test_list_from_a_backup_gives_no_uid_twice),
		UNIT_TEST(test_removed_list_comes_back_from_the_index),
		UNIT_TEST(test_lost_list_is_not_adopted_twice),
		UNIT_TEST(test_known_message_keeps_its_uid_against_a_double),
		UNIT_TEST(test_odd_names_and_kinds),
		UNIT_TEST(test_files_that_may_not_be_read),
		UNIT_TEST(test_tmp_is_looked_into_at_the_end),
		UNIT_TEST(test_large_mailbox_costs_what_changed),
		UNIT_TEST(test_gzip_is_read_like_any_other),
		UNIT_TEST(test_damaged_gzip_is_an_error),
		UNIT_TEST(test_what_we_cannot_read_is_refused),
		UNIT_TEST(test_full_and_read_only_disks),
	};
	return unit_run("maildir-neighbour", tests, UNIT_COUNT(tests));
}
