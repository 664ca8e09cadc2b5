/* SPDX-License-Identifier: MIT */
/* All that a session does with its mail works where a session runs: Landlock
 * on its own directories, the system call filter of imap. */
#include "tests/maildir-util.h"

#include <signal.h>
#include <sys/wait.h>

#include "lib/sandbox.h"

static int list_one(void *ctx, const struct mailbox_info *info)
{
	(void)info;
	(*(int *)ctx)++;
	return 0;
}

/* Returns the line where something went wrong. */
/* A link and a rename between two mailboxes, and bytes by way of tmp/ are all the same
 * to the caller: the number of links tells. */
static bool copy_is_a_link(void)
{
	char path[3 * PATH_MAX];
	struct stat st = { 0 };
	struct dirent *de;
	DIR *d;

	snprintf(path, sizeof(path), "%s/new", mail_dir);
	d = opendir(path);
	while (d && (de = readdir(d))) {
		if (de->d_name[0] != '.')
			fstatat(dirfd(d), de->d_name, &st, 0);
	}
	if (d)
		closedir(d);
	return st.st_nlink == 2;
}

static int transfer(struct mailbox *box, uint32_t uid, bool move)
{
	struct uidset uids, copied, new_uids;
	uint64_t dest_modseq, modseq;
	uint32_t uidvalidity;
	uint8_t id[16];
	int rc;

	uidset_init(&uids);
	uidset_init(&copied);
	uidset_init(&new_uids);
	rc = uidset_add(&uids, uid);
	if (rc == 0)
		rc = mailbox_copy(box, &uids, "old", move, &copied, &new_uids, &uidvalidity, id,
				  &dest_modseq, NULL, &modseq);
	if (rc == 0 && uidset_count(&new_uids) != 1)
		rc = MAILBOX_E_EXPUNGED;
	uidset_deinit(&uids);
	uidset_deinit(&copied);
	uidset_deinit(&new_uids);
	return rc;
}

static int everything(void)
{
	struct mail_store *store = store_new();
	struct mailbox *box = box_new(store, "INBOX"), *other;
	struct mail_reader *r;
	struct mailbox_status st;
	struct uidset recent;
	uint64_t header, total;
	uint32_t n;
	int count = 0;

	uidset_init(&recent);
	put_file("new/1700000000.M1P1.host", "A: b\n\n");
	if (mailbox_sync(box) || mailbox_claim_recent(box, true, &recent))
		return __LINE__;
	if (append_text(store, "INBOX", "x\r\r\ny", MAIL_SEEN) != 2)
		return __LINE__;
	if (strcmp(store_flags(box, "1:2", FLAG_ADD, MAIL_DELETED), "1:2") != 0)
		return __LINE__;
	if (mailbox_keyword(box, "$Work", true, &n))
		return __LINE__;
	if (mailbox_read_open(box, 1, &r) || mail_reader_sizes(r, &header, &total))
		return __LINE__;
	mail_reader_close(&r);
	if (strcmp(expunge(box, "1"), "1") != 0)
		return __LINE__;
	if (mail_store_create(store, "a.b") || mail_store_rename(store, "a.b", "c") ||
	    mail_store_rename(store, "INBOX", "old") || mail_store_status(store, "old", true, &st))
		return __LINE__;
	if (st.messages != 1 || mailbox_open_id(store, mailbox_id(box), "x", &other))
		return __LINE__;
	mailbox_close(&other);
	if (mail_store_delete(store, "c") || mail_store_list(store, list_one, &count) || count != 2)
		return __LINE__;
	remove_index();
	if (mailbox_sync(box) || append_text(store, "INBOX", "z", 0) != 3)
		return __LINE__;
	if (transfer(box, 3, false) || !copy_is_a_link() || transfer(box, 3, true))
		return __LINE__;
	if (mail_store_subscribe(store, "old", true) || mail_store_subscribe(store, "x", true) ||
	    mail_store_subscribe(store, "x", false))
		return __LINE__;
	mailbox_close(&box);
	mail_store_close(&store);
	uidset_deinit(&recent);
	return 0;
}

static void test_everything_works_in_the_sandbox(void)
{
	struct sandbox_path paths[] = {
		{ mail_dir, SANDBOX_READ | SANDBOX_WRITE },
		{ index_dir, SANDBOX_READ | SANDBOX_WRITE },
	};
	struct mail_store *store;
	int status = -1, rc;
	pid_t pid;

	top_make();
	store = store_new();	/* the directories are there */
	mail_store_close(&store);
	pid = fork();
	if (pid == 0) {
		rc = sandbox_basics();
		if (rc == 0)
			rc = sandbox_seccomp(SANDBOX_IMAP);
		if (rc == 0)
			rc = sandbox_landlock(paths, UNIT_COUNT(paths));
		if (rc == -ENOSYS || rc == -EOPNOTSUPP)
			rc = 0;	/* a kernel without Landlock */
		if (rc == 0)
			rc = everything();
		if (rc)
			fprintf(stderr, "\nfailed at %d\n", rc);
		_exit(rc ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	top_remove();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_everything_works_in_the_sandbox),
	};
	return unit_run("maildir-sandbox", tests, UNIT_COUNT(tests));
}
