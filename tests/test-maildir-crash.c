/* SPDX-License-Identifier: MIT */
/* Several processes at one mailbox, and processes that die: nothing that was
 * acknowledged is lost, no UID stands for two messages, and whoever follows
 * the MODSEQs knows in the end what is there. */
#include "tests/maildir-util.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "imap/maildir/maildir-export.h"
#include "imap/maildir/uidlist.h"
#include "lib/fault.h"

static struct mail_store *store;
static struct mailbox *box;

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

static int wait_for(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* ---- kill -9 ---- */

/* What a dying process has acknowledged. */
struct ack {
	uint32_t uid;
	uint32_t serial;	/* stands in the message */
	uint32_t flags;
};
#define ACKS_MAX	20000
static struct ack acks[ACKS_MAX];	/* by UID */
static uint32_t next_serial = 1;

static uint32_t append_serial(uint32_t serial, uint32_t flags)
{
	char text[64];

	snprintf(text, sizeof(text), "Serial: %u\r\n\r\nbody\r\n", serial);
	return append_text(store, "INBOX", text, flags);
}

static uint32_t read_serial(struct mailbox *b, uint32_t uid)
{
	struct mail_reader *r;
	unsigned int serial = 0;
	char text[64] = "";

	if (mailbox_read_open(b, uid, &r) != 0)
		return 0;
	if (mail_reader_read(r, 0, text, sizeof(text) - 1) < 0 ||
	    sscanf(text, "Serial: %u", &serial) != 1)
		serial = 0;
	mail_reader_close(&r);
	return serial;
}

/* Appends and sets flags until it dies; says what it has done. */
static void work_until_killed(int fd, uint32_t serial)
{
	open_all();
	for (uint32_t i = 0; ; i++) {
		uint32_t flags = i % 2 ? MAIL_SEEN : 0;
		struct ack a = { append_serial(serial + i, flags), serial + i, flags };

		if (a.uid == 0 || write(fd, &a, sizeof(a)) != sizeof(a))
			_exit(1);
		if (i % 3 == 0) {
			char uid[16];

			snprintf(uid, sizeof(uid), "%u", a.uid);
			a.flags |= MAIL_FLAGGED;
			if (strcmp(store_flags(box, uid, FLAG_ADD, MAIL_FLAGGED), uid) != 0 ||
			    write(fd, &a, sizeof(a)) != sizeof(a))
				_exit(1);
		}
	}
}

static void take_acks(int fd)
{
	struct ack a;

	while (read(fd, &a, sizeof(a)) == sizeof(a)) {
		if (a.uid >= ACKS_MAX)
			continue;
		/* Never one UID for two. */
		check(acks[a.uid].serial == 0 || acks[a.uid].serial == a.serial);
		acks[a.uid] = a;
		if (a.serial >= next_serial)
			next_serial = a.serial + 1;
	}
}

static int verify_row(void *ctx, const struct mail_row *row)
{
	uint32_t *last = ctx;

	if (row->uid < ACKS_MAX && acks[row->uid].serial) {
		/* An unacknowledged flag may or may not have been set. */
		check((row->flags & acks[row->uid].flags) == acks[row->uid].flags);
		acks[row->uid].flags |= UINT32_C(1) << 31;
	}
	check(row->uid > *last);
	*last = row->uid;
	return 0;
}

static void verify_acks(void)
{
	struct uidset all;
	uint32_t last = 0;

	uidset_init(&all);
	check(mailbox_sync(box) == 0);
	check(mailbox_uids(box, &all) == 0);
	check(mailbox_rows(box, &all, false, verify_row, &last) == 0);
	for (uint32_t uid = 1; uid < ACKS_MAX; uid++) {
		if (!acks[uid].serial)
			continue;
		check_row(acks[uid].flags >> 31 == 1, uid);	/* it was there */
		acks[uid].flags &= MAIL_FLAGS_ALL;
	}
	uidset_deinit(&all);
}

/* Some of them: all would take long. */
static void verify_contents(uint32_t from)
{
	for (uint32_t uid = from; uid < ACKS_MAX; uid++) {
		if (acks[uid].serial)
			check_row(read_serial(box, uid) == acks[uid].serial, uid);
	}
}

static void tear_list(void)
{
	char path[3 * PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/dormouse-uidlist", mail_dir);
	f = fopen(path, "a");
	fprintf(f, "deadbeef U 4000000000 17");
	fclose(f);
}

static void cut_list(uint64_t *seed)
{
	char path[3 * PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/dormouse-uidlist", mail_dir);
	require(stat(path, &st) == 0);
	if (unit_random(seed) % 3 == 0) {
		require(unlink(path) == 0);
		return;
	}
	require(truncate(path, (off_t)(unit_random(seed) % (uint64_t)st.st_size)) == 0);
}

static void test_kill_loses_nothing_acknowledged(void)
{
	uint64_t seed = unit_seed(), modseq = 0;

	begin();
	memset(acks, 0, sizeof(acks));
	for (int round = 0; round < 25; round++) {
		uint32_t from = mailbox_uidnext(box);
		int fds[2];
		pid_t pid;

		require(pipe(fds) == 0);
		close_all();
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			work_until_killed(fds[1], next_serial + 1000);
		}
		close(fds[1]);
		usleep((useconds_t)(unit_random(&seed) % 40000));
		kill(pid, SIGKILL);
		wait_for(pid);
		take_acks(fds[0]);
		close(fds[0]);
		next_serial += 2000;	/* what was not acknowledged has one too */
		if (round % 4 == 3)
			remove_index();
		if (round % 5 == 4)
			tear_list();
		if (round % 4 == 1)	/* the index still knows */
			cut_list(&seed);
		open_all();
		verify_acks();
		verify_contents(from);
		check(mailbox_highestmodseq(box) >= modseq);
		modseq = mailbox_highestmodseq(box);
	}
	verify_contents(1);
	end();
}

/* ---- followers ---- */

#define UIDS_MAX	6000
struct view {
	uint64_t modseq;
	bool must_be_complete;		/* the index is left alone */
	uint32_t flags[UIDS_MAX];	/* with bit 31: it is there */
};

static int view_row(void *ctx, const struct mail_row *row)
{
	struct view *v = ctx;

	if (row->uid < UIDS_MAX)
		v->flags[row->uid] = row->flags | UINT32_C(1) << 31;
	return 0;
}

/* What a session does when it looks for news. */
static bool view_follow(struct view *v, bool all)
{
	struct uidset set, gone;
	struct uidset_iter it;
	struct mailbox_status st;
	bool complete = false, ok;

	uidset_init(&set);
	uidset_init(&gone);
	ok = mailbox_sync(box) == 0 && mailbox_status(box, false, &st) == 0 &&
	     st.highestmodseq >= v->modseq;
	if (ok && !all)
		ok = mailbox_vanished_since(box, v->modseq, &gone, &complete) == 0;
	if (ok && !all && v->must_be_complete && !complete)
		ok = false;
	if (ok && complete) {
		ok = mailbox_changed_since(box, v->modseq, &set) == 0;
		for (uint32_t uid = uidset_first(&gone, &it); uid; uid = uidset_next(&gone, &it)) {
			if (uid < UIDS_MAX)
				v->flags[uid] = 0;
		}
	} else if (ok) {
		ok = mailbox_uids(box, &set) == 0;
		memset(v->flags, 0, sizeof(v->flags));
	}
	ok = ok && mailbox_rows(box, &set, false, view_row, v) == 0;
	if (ok)
		v->modseq = st.highestmodseq;
	uidset_deinit(&set);
	uidset_deinit(&gone);
	return ok;
}

static uint32_t view_pick(const struct view *v, uint64_t *seed)
{
	uint32_t max = mailbox_uidnext(box), uid;

	for (int i = 0; i < 50; i++) {
		uid = (uint32_t)(unit_random(seed) % max) + 1;
		if (uid < UIDS_MAX && v->flags[uid])
			return uid;
	}
	return 0;
}

/* A program that knows nothing of us. */
static void foreign_step(uint64_t *seed, uint32_t serial)
{
	char name[PATH_MAX], to[PATH_MAX + 8], path[3 * PATH_MAX];
	struct dirent *de;
	char *colon;
	DIR *d;
	int skip;

	if (unit_random(seed) % 3 == 0) {
		snprintf(name, sizeof(name), "tmp/%u.M%uP%d.foreign", 1700000000 + serial, serial,
			 (int)getpid());
		put_file(name, "Serial: 0\n\nx\n");
		snprintf(to, sizeof(to), "new/%s", name + 4);
		move_file(name, to);
		return;
	}
	snprintf(path, sizeof(path), "%s/cur", mail_dir);
	d = opendir(path);
	skip = (int)(unit_random(seed) % 30);
	name[0] = '\0';
	while (d && (de = readdir(d)) && skip-- >= 0) {
		if (de->d_name[0] != '.')
			snprintf(name, sizeof(name), "cur/%s", de->d_name);
	}
	if (d)
		closedir(d);
	colon = strchr(name, ':');
	if (!colon)
		return;
	if (unit_random(seed) % 6 == 0) {
		remove_file(name);
		return;
	}
	snprintf(to, sizeof(to), "%.*s:2,%s", (int)(colon - name), name,
		 unit_random(seed) % 2 ? "S" : "FS");
	move_file(name, to);
}

static bool step(struct view *v, uint64_t *seed, int who, uint32_t serial)
{
	uint64_t what = unit_random(seed) % 100;
	uint32_t uid = view_pick(v, seed);
	char text[16];
	const char *result;

	snprintf(text, sizeof(text), "%u", uid);
	if (who == 0 && what < 60) {
		foreign_step(seed, serial);
		return true;
	}
	if (what < 20)
		return append_serial(serial, what % 2 ? MAIL_SEEN : 0) != 0;
	if (what < 22 && who == 1 && !v->must_be_complete) {
		remove_index();
		return true;
	}
	if (what < 70) {
		result = what < 60 && uid ? store_flags(box, text, what % 3 ? FLAG_ADD : FLAG_SET,
							what % 4 ? MAIL_SEEN : MAIL_DELETED)
					  : expunge(box, "1:4294967295");
		if (strspn(result, "0123456789,:") == strlen(result))
			return true;
		fprintf(stderr, "\n%s\n", result);
		return false;
	}
	return view_follow(v, false);
}

static void follower(int who, uint64_t seed, bool removals, int go_fd, int out_fd)
{
	static struct view v;
	char ch;

	open_all();
	v.must_be_complete = !removals;
	if (!view_follow(&v, true))
		_exit(2);
	for (uint32_t i = 0; i < 150; i++) {
		if (!step(&v, &seed, who, (uint32_t)who * 100000 + i)) {
			fprintf(stderr, "\nfollower %d stops at step %u\n", who, i);
			_exit(3);
		}
	}
	/* When all are done, one last look must make all of them equal. */
	if (write(out_fd, "x", 1) != 1 || read(go_fd, &ch, 1) != 1)
		_exit(4);
	if (!view_follow(&v, false))
		_exit(5);
	for (size_t at = 0; at < sizeof(v.flags); ) {
		ssize_t n = write(out_fd, (char *)v.flags + at, sizeof(v.flags) - at);

		if (n <= 0)
			_exit(6);
		at += (size_t)n;
	}
	close_all();
	_exit(0);
}

#define FOLLOWERS	3
static void followers_agree(bool removals)
{
	static struct view mine, theirs;
	uint64_t seed = unit_seed();
	int go[2], out[FOLLOWERS][2], status;
	pid_t pids[FOLLOWERS];
	char ch;

	begin();
	close_all();
	require(pipe(go) == 0);
	for (int i = 0; i < FOLLOWERS; i++) {
		require(pipe(out[i]) == 0);
		pids[i] = fork();
		if (pids[i] == 0) {
			close(out[i][0]);
			close(go[1]);
			follower(i, seed + (uint64_t)i * 977, removals, go[0], out[i][1]);
		}
		close(out[i][1]);
	}
	for (int i = 0; i < FOLLOWERS; i++)
		check_row(read(out[i][0], &ch, 1) == 1, i);
	check(write(go[1], "xxx", FOLLOWERS) == FOLLOWERS);
	open_all();
	memset(&mine, 0, sizeof(mine));
	check(view_follow(&mine, true));
	for (int i = 0; i < FOLLOWERS; i++) {
		size_t at = 0;
		ssize_t n;

		memset(&theirs, 0, sizeof(theirs));
		while (at < sizeof(theirs.flags) &&
		       (n = read(out[i][0], (char *)theirs.flags + at,
				 sizeof(theirs.flags) - at)) > 0)
			at += (size_t)n;
		close(out[i][0]);
		status = wait_for(pids[i]);
		if (!check_row(status == 0, i))
			fprintf(stderr, "follower %d: status %x\n", i, status);
		for (uint32_t uid = 0; uid < UIDS_MAX; uid++)
			check_row(mine.flags[uid] == theirs.flags[uid], uid);
	}
	close(go[0]);
	close(go[1]);
	/* And a rebuilt index says the same. */
	remove_index();
	memset(&theirs, 0, sizeof(theirs));
	check(view_follow(&theirs, true));
	check(!memcmp(mine.flags, theirs.flags, sizeof(mine.flags)));
	end();
}

static void test_followers_agree_in_the_end(void)
{
	followers_agree(false);
}

static void test_followers_agree_without_a_lasting_index(void)
{
	followers_agree(true);
}

/* ---- an index that is not there ---- */

/* Many connections of a client whose index was deleted come at once. */
static void test_an_index_made_by_many_at_once_waits_for_nobody_in_vain(void)
{
	enum { MANY = 4, ROUNDS = 30 };

	begin();
	close_all();
	for (int round = 0; round < ROUNDS; round++) {
		pid_t pids[MANY];
		int go[2];
		char ch;

		remove_index();
		require(pipe(go) == 0);
		for (int i = 0; i < MANY; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				close(go[1]);
				if (read(go[0], &ch, 1) != 0)
					_exit(2);
				open_all();
				_exit(mailbox_sync(box) != 0);
			}
		}
		close(go[1]);
		for (int i = 0; i < MANY; i++)
			check_row(wait_for(pids[i]) == 0, i);
		close(go[0]);
	}
	open_all();
	end();
}

/* It may vanish at any moment, also while it is being opened. */
static void test_an_index_deleted_again_and_again_is_no_error(void)
{
	uint64_t seed = unit_seed();
	pid_t pid;

	begin();
	put_file("new/1700000000.M1P1.host", "x\n");
	pid = fork();
	if (pid == 0) {
		for (;;) {
			usleep((useconds_t)(unit_random(&seed) % 20000));
			remove_index();
		}
	}
	for (int i = 0; i < 400; i++)
		check_row(mailbox_sync(box) == 0, i);
	kill(pid, SIGKILL);
	wait_for(pid);
	check_str(box_uids(box), "1");
	end();
}

/* One that cannot be opened is said in the log, once a try and with its reason. */
static void test_an_index_that_cannot_be_opened_is_logged(void)
{
	char path[3 * PATH_MAX], text[4096];
	int saved = dup(STDERR_FILENO), log = memfd_create("log", 0), lines = 0;
	ssize_t n;

	begin();
	close_all();
	remove_index();
	snprintf(path, sizeof(path), "%s/index.db", index_dir);
	require(mkdir(path, 0700) == 0);
	store = store_new();
	require(dup2(log, STDERR_FILENO) >= 0);
	check(mailbox_open(store, "INBOX", &box) != 0 || mailbox_sync(box) != 0);
	dup2(saved, STDERR_FILENO);
	n = pread(log, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	for (char *at = text; (at = strstr(at, "index-error file=")) != NULL; at++)
		lines++;
	check(lines == 1 && strstr(text, "code=14"));	/* SQLITE_CANTOPEN */
	require(rmdir(path) == 0);
	close(log);
	close(saved);
	end();
}

/* ---- renames while the directory is read ---- */

static void rename_for_ever(int files)
{
	char a[64], b[64];

	for (unsigned int i = 0; ; i++) {
		int n = (int)(i * 7919u % (unsigned int)files);

		snprintf(a, sizeof(a), "cur/%d.M1P1.host:2,", 1700000000 + n);
		snprintf(b, sizeof(b), "cur/%d.M1P1.host:2,S", 1700000000 + n);
		if (move_file(a, b) != 0)
			move_file(b, a);
	}
}

static void test_renames_in_mid_scan_are_no_expunges(void)
{
	enum { FILES = 1500 };
	char name[64];
	pid_t pid;

	begin();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "cur/%d.M1P1.host:2,", 1700000000 + i);
		put_file(name, "x\n");
	}
	check(mailbox_sync(box) == 0);
	pid = fork();
	if (pid == 0)
		rename_for_ever(FILES);
	for (int i = 0; i < 60; i++) {
		check(mailbox_sync(box) == 0);
		check_str(box_uids(box), "1:1500");
		snprintf(name, sizeof(name), "%d", i * 20 + 1);
		store_flags(box, name, FLAG_ADD, MAIL_FLAGGED);
	}
	kill(pid, SIGKILL);
	wait_for(pid);
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:1500");
	end();
}

/* ---- the list ---- */

static long list_size(void)
{
	char path[3 * PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/dormouse-uidlist", mail_dir);
	return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

static void test_list_is_compacted(void)
{
	enum { FILES = 2500 };
	char name[64];
	uint64_t modseq;
	uint32_t n;
	long before;
	int rc;

	begin();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "cur/%d.M1P1.host:2,", 1700000000 + i);
		put_file(name, "x\n");
	}
	check(mailbox_sync(box) == 0);
	for (uint32_t i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		check(mailbox_keyword(box, name, true, &n) == 0);
	}
	append_bytes(store, "INBOX", "y\n", 2, 0, "k29", &rc);
	check(mailbox_sync(box) == 0);
	before = list_size();
	for (int i = 5; i < FILES; i++) {
		snprintf(name, sizeof(name), "cur/%d.M1P1.host:2,", 1700000000 + i);
		remove_file(name);
	}
	check(mailbox_sync(box) == 0);
	check(list_size() < before / 10);
	/* Whoever had read the old one goes on, and a new index says the same. */
	check_str(box_uids(box), "1:5,2501");
	modseq = mailbox_highestmodseq(box);
	remove_index();
	check_str(box_uids(box), "1:5,2501");
	check(mailbox_highestmodseq(box) > modseq);
	struct mail_row row;
	check(mailbox_row(box, 2501, &row) == 0 && keyword_set_has(&row.keywords, 29));
	put_file("new/1700000007.M1P1.host", "x\n");
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1:5,2501:2502");
	end();
}

/* The highest UID is not given again, not even when nothing else remembers. */
static void test_next_uid_outlives_compaction(void)
{
	enum { FILES = 2100 };
	char name[64];

	begin();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "cur/%d.M1P1.host:2,", 1700000000 + i);
		put_file(name, "x\n");
	}
	check(mailbox_sync(box) == 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "cur/%d.M1P1.host:2,", 1700000000 + i);
		remove_file(name);
	}
	check(mailbox_sync(box) == 0);
	check(list_size() < 1000);
	remove_index();
	check(append_text(store, "INBOX", "x", 0) == FILES + 1);
	end();
}

/* ---- power failure ---- */

static void run_sql(const char *text)
{
	char path[3 * PATH_MAX];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/index.db", index_dir);
	check(sqlite3_open(path, &db) == SQLITE_OK);
	check(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
	sqlite3_close(db);
}

/* After a reboot the index may lack commits of which clients know. */
static void test_reboot_skips_what_may_have_been_told(void)
{
	uint64_t modseq;
	uint32_t uidnext;

	begin();
	put_file("new/1700000000.M1P1.host", "x\n");
	check(mailbox_sync(box) == 0);
	modseq = mailbox_highestmodseq(box);
	uidnext = mailbox_uidnext(box);
	run_sql("UPDATE mailboxes SET boot = boot - 1000");
	check(mailbox_sync(box) == 0);
	check(mailbox_highestmodseq(box) > modseq + 1000);
	check_str(changed_since(box, modseq), "");
	modseq = mailbox_highestmodseq(box);
	put_file("new/1700000001.M1P1.host", "x\n");
	check(mailbox_sync(box) == 0);
	check(mailbox_highestmodseq(box) > modseq);
	check(mailbox_uidnext(box) > uidnext + 500);
	end();
}

/* A list whose last lines were lost with the power: the UIDs that they may have
 * given are not given again. */
static void test_lost_lines_lose_no_uids(void)
{
	struct uidlist_line header = { .kind = UIDLIST_HEADER, .uid = 5, .id = { 7 }, .value = 9 };
	struct buf b;

	begin();
	close_all();
	remove_index();
	buf_init(&b, 10000);
	uidlist_line_write(&b, &header);
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_MODSEQ, .value = 99 });
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_RESERVED, .uid = 1001,
		.value = 1600000000 });
	uidlist_line_write(&b, &(struct uidlist_line){ .kind = UIDLIST_UID, .uid = 1,
		.text = "1700000000.M1P1.host", .text_len = 20 });
	buf_append_u8(&b, 0);
	put_file("dormouse-uidlist", (char *)b.data);
	buf_deinit(&b);
	put_file("cur/1700000000.M1P1.host:2,", "x\n");
	put_file("cur/1700000001.M1P1.host:2,", "x\n");
	open_all();
	check(mailbox_sync(box) == 0);
	check_str(box_uids(box), "1,1001");
	check(mailbox_highestmodseq(box) == 100);
	end();
}

/* ---- faults ---- */

#ifdef DORMOUSE_FAULTS
static const char *const points[] = {
	"index-open", "index-commit", "uidlist-write", "uidlist-sync", "append-write",
	"append-rename", "store-rename", "expunge-unlink",
};

/* Some of everything; acknowledges what succeeded. */
static void work_with_faults(int fd, uint32_t serial)
{
	open_all();
	for (uint32_t i = 0; i < 6; i++) {
		struct ack a = { append_serial(serial + i, 0), serial + i, 0 };
		char uid[16];

		if (!a.uid)
			continue;
		if (write(fd, &a, sizeof(a)) != sizeof(a))
			_exit(1);
		snprintf(uid, sizeof(uid), "%u", a.uid);
		if (i == 2) {
			append_text(store, "INBOX", "to go\r\n", MAIL_DELETED);
			expunge(box, "1:4294967295");
		}
		a.flags = MAIL_SEEN;
		if (!strcmp(store_flags(box, uid, FLAG_ADD, MAIL_SEEN), uid) &&
		    write(fd, &a, sizeof(a)) != sizeof(a))
			_exit(1);
	}
	close_all();
	_exit(0);
}

/* Returns how the process ended. */
static int fault_round(const char *what)
{
	uint32_t from = mailbox_uidnext(box);
	int fds[2], status;
	pid_t pid;

	require(pipe(fds) == 0);
	close_all();
	pid = fork();
	if (pid == 0) {
		setenv("FAULTS", what, 1);
		fault_init();
		work_with_faults(fds[1], next_serial + 1000);
	}
	close(fds[1]);
	take_acks(fds[0]);
	close(fds[0]);
	status = wait_for(pid);
	next_serial += 2000;
	open_all();
	verify_acks();
	verify_contents(from);
	return status;
}

static void test_every_fault_point(void)
{
	char what[64];
	int status;

	begin();
	memset(acks, 0, sizeof(acks));
	for (size_t i = 0; i < UNIT_COUNT(points); i++) {
		for (int n = 1; n <= 4; n++) {
			snprintf(what, sizeof(what), "%s:%d", points[i], n);
			check_row(fault_round(what) == 0, i * 10 + (size_t)n);
			snprintf(what, sizeof(what), "%s:%d:kill", points[i], n);
			status = fault_round(what);
			/* Each point is passed at least once. */
			check_row(n > 1 || WTERMSIG(status) == SIGKILL, i);
		}
	}
	end();
}

/* ---- giving back, with a death at each step ---- */

static int count_export(void *ctx, const struct mailbox_export *e)
{
	(void)ctx;
	return e->error;
}

static int export_with_fault(const char *what)
{
	pid_t pid = fork();

	if (pid == 0) {
		int rc;

		setenv("FAULTS", what, 1);
		fault_init();
		store = store_new();
		rc = mail_store_export(store, count_export, NULL);
		mail_store_close(&store);
		_exit(rc != 0);
	}
	return wait_for(pid);
}

/* Whatever it was cut short by: opened again, the messages have their UIDs; and
 * the next try finishes it. */
static void test_export_cut_short_loses_no_uid(void)
{
	static const char *const cuts[] = { "export-write", "export-rename", "export-retire",
					    "index-commit", "uidlist-write" };
	char what[64], command[4 * PATH_MAX];
	uint32_t validity;

	for (size_t i = 0; i < UNIT_COUNT(cuts); i++) {
		for (int n = 1; n <= 4; n++) {
			for (int kill_it = 0; kill_it < 2; kill_it++) {
				begin();
				for (int k = 0; k < 4; k++)
					append_bytes(store, "INBOX", "x\r\n", 3, 0, k ? NULL : "$Work", NULL);
				store_flags(box, "2", FLAG_ADD, MAIL_DELETED);
				expunge(box, "2");
				validity = mailbox_uidvalidity(box);
				close_all();
				snprintf(what, sizeof(what), "%s:%d%s", cuts[i], n, kill_it ? ":kill" : "");
				export_with_fault(what);
				open_all();
				check_row(mailbox_sync(box) == 0, i);
				check_row(mailbox_uidvalidity(box) == validity, i);
				check_row(!strcmp(box_uids(box), "1,3:4"), i);
				check_row(append_serial(1, 0) == 5, i);
				close_all();
				check_row(export_with_fault("") == 0, i);
				snprintf(command, sizeof(command), "test ! -e %s/dormouse-uidlist -a "
					 "! -e %s/dovecot-uidlist.lock && test $(wc -l < %s/dovecot-uidlist) = 5",
					 mail_dir, mail_dir, mail_dir);
				check_row(system(command) == 0, i);
				top_remove();
			}
		}
	}
}
#endif

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_kill_loses_nothing_acknowledged),
		UNIT_TEST(test_followers_agree_in_the_end),
		UNIT_TEST(test_followers_agree_without_a_lasting_index),
		UNIT_TEST(test_an_index_made_by_many_at_once_waits_for_nobody_in_vain),
		UNIT_TEST(test_an_index_deleted_again_and_again_is_no_error),
		UNIT_TEST(test_an_index_that_cannot_be_opened_is_logged),
		UNIT_TEST(test_renames_in_mid_scan_are_no_expunges),
		UNIT_TEST(test_list_is_compacted),
		UNIT_TEST(test_next_uid_outlives_compaction),
		UNIT_TEST(test_reboot_skips_what_may_have_been_told),
		UNIT_TEST(test_lost_lines_lose_no_uids),
#ifdef DORMOUSE_FAULTS
		UNIT_TEST(test_every_fault_point),
		UNIT_TEST(test_export_cut_short_loses_no_uid),
#endif
	};
	return unit_run("maildir-crash", tests, UNIT_COUNT(tests));
}
