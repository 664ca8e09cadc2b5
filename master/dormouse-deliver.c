/* SPDX-License-Identifier: MIT */
/* `dormouse deliver`: a message from standard input into a mailbox, with the
 * rights of the user whose mailbox it is. Whoever sleeps on the mailbox is told
 * by the file system; where that is blind, by a NOTICE. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/limits.h"
#include "lib/sandbox.h"
#include "master/config.h"
#include "master/deliver.h"
#include "master/dormouse-client.h"
#include "master/dormouse.h"
#include "master/owned-dir.h"
#include "master/recipient.h"

#define USER_TIMEOUT_MS	10000
#define ID_BYTES	16

/* ---- who ---- */

static int number_of(const struct row *row, const char *key, unsigned *value_r)
{
	const char *text = row_get(row, key);
	char *end;
	unsigned long value;

	if (!text || !*text || text[strspn(text, "0123456789")])
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || value >= UINT_MAX)
		return -EINVAL;
	*value_r = (unsigned)value;
	return 0;
}

static int recipient_from(const struct answer *answer, struct recipient *r)
{
	const struct row *row = answer->rows.n == 1 ? &answer->rows.v[0] : NULL;
	const char *home = row ? row_get(row, "home") : NULL;

	if (!home || strlen(home) > USER_HOME_MAX_BYTES ||
	    number_of(row, "uid", &r->uid) < 0 || number_of(row, "gid", &r->gid) < 0)
		return -EBADMSG;
	snprintf(r->home, sizeof(r->home), "%s", home);
	return 0;
}

int recipient_ask(const struct invocation *inv, const char *user, const char *base_dir,
		  struct recipient *r)
{
	char *args[] = { r->user };
	struct answer answer;
	int ret;

	if (strlen(user) > USER_NAME_MAX_BYTES)
		return dormouse_fail("%s: the user name is too long", inv->command->name);
	snprintf(r->user, sizeof(r->user), "%s", user);
	ret = client_ask(base_dir, "user", args, 1, USER_TIMEOUT_MS, &answer);
	if (ret < 0)
		return dormouse_fail("%s: %s", base_dir, client_strerror(ret));
	if (!answer.ok)
		ret = dormouse_fail("%s: %s", r->user, answer.text);
	else if (recipient_from(&answer, r) < 0)
		ret = dormouse_fail("%s: the server's answer makes no sense", r->user);
	answer_deinit(&answer);
	return ret;
}

static int recipient_self(struct recipient *r)
{
	const struct passwd *pw = getpwuid(geteuid());

	if (!pw)
		return dormouse_fail("deliver: uid %u has no user; name one with -u, or "
				     "a directory with -m", geteuid());
	snprintf(r->user, sizeof(r->user), "%s", pw->pw_name);
	snprintf(r->home, sizeof(r->home), "%s", pw->pw_dir);
	r->uid = pw->pw_uid;
	r->gid = pw->pw_gid;
	return 0;
}

int recipient_become(const struct recipient *r)
{
	int ret;

	umask(077);
	if (geteuid() != 0)
		return 0;
	if (r->uid == 0)
		return 0;
	ret = sandbox_become(r->uid, r->gid, NULL, 0);
	return ret < 0 ? dormouse_fail("%s: cannot become uid %u: %s", r->user, r->uid,
				       strerror(-ret)) : 0;
}

/* ---- telling ---- */

/* Where a change by one host is not seen by another, or not at all. */
static bool is_blind(int dir_fd)
{
	static const unsigned long blind[] = {
		0x6969, 0x65735546, 0x517b, 0xfe534d42, 0xff534d42, 0x01021997,
		0x00c36400, 0x5346414f, 0x7461636f, 0x01161970,
	};	/* NFS, FUSE, SMB, SMB 2, CIFS, 9p, Ceph, AFS, OCFS2, GFS2 */
	struct statfs fs;

	if (fstatfs(dir_fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < sizeof(blind) / sizeof(blind[0]); i++) {
		if (((unsigned long)fs.f_type & 0xffffffff) == blind[i])
			return true;
	}
	return false;
}

/* From the first line of the mailbox's list: CRC H 1 UIDVALIDITY ID ... */
static int mailbox_id_read(int dir_fd, uint8_t id[ID_BYTES])
{
	cleanup_fd int fd = openat(dir_fd, "dormouse-uidlist", O_RDONLY | O_CLOEXEC);
	char line[128] = "", hex[33];

	if (fd < 0 || read(fd, line, sizeof(line) - 1) <= 0 ||
	    sscanf(line, "%*8[0-9a-f] H 1 %*u %32[0-9a-f]", hex) != 1 ||
	    strlen(hex) != 2 * ID_BYTES)
		return -ENOENT;
	for (int i = 0; i < ID_BYTES; i++) {
		unsigned byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return -ENOENT;
		id[i] = (uint8_t)byte;
	}
	return 0;
}

/* No harm if it fails: the poll finds the message. */
static void notice_send(const char *base_dir, int dir_fd)
{
	uint8_t id[ID_BYTES];
	cleanup_fd int fd = -1;
	struct ipc_out *out;
	char path[PATH_MAX];

	if (!is_blind(dir_fd) || mailbox_id_read(dir_fd, id) < 0)
		return;
	snprintf(path, sizeof(path), "%s/holder", base_dir);
	if (ipc_connect(path, &fd) < 0)
		return;
	out = ipc_out_create(IPC_NOTICE);
	if (out) {
		ipc_out_bin(out, id, sizeof(id));
		ipc_out_u64(out, 0);	/* we know of no MODSEQ: "look" */
		ipc_out_fd(out, dir_fd);
	}
	(void)ipc_send_free(fd, &out);
}

/* ---- the whole ---- */

static int store(const char *maildir, const char *mailbox, const char *base_dir)
{
	char dir[PATH_MAX], name[256];
	cleanup_fd int dir_fd = -1;
	int ret = deliver_mailbox_dir(maildir, mailbox, dir, sizeof(dir));

	if (ret < 0)
		return dormouse_fail("%s: no possible mailbox name", mailbox);
	if (strcmp(dir, maildir) == 0)
		ret = deliver_make_maildir(dir);
	if (ret == 0)
		ret = deliver_store(dir, STDIN_FILENO, name, &dir_fd);
	if (ret == -ENODATA)
		return dormouse_fail("deliver: standard input is empty; the message is "
				     "read from there");
	if (ret == -ENOENT)
		return dormouse_fail("%s: there is no such mailbox", mailbox);
	if (ret < 0)
		return dormouse_fail("%s: %s", dir, strerror(-ret));
	if (base_dir)
		notice_send(base_dir, dir_fd);
	return DORMOUSE_OK;
}

static int deliver_to_user(struct invocation *inv, const struct settings *s,
			   const char *mailbox)
{
	struct recipient r = { 0 };
	char maildir[PATH_MAX];
	int ret = inv->user ? recipient_ask(inv, inv->user, s->base_dir, &r) :
			      recipient_self(&r);

	if (ret == 0 && deliver_mail_dir(s->mail, r.user, r.home, maildir,
					 sizeof(maildir)) < 0)
		ret = dormouse_fail("%s: no mail directory can be made of mail = \"%s\" "
				    "and home \"%s\"", r.user, s->mail, r.home);
	if (ret == 0)
		ret = recipient_become(&r);
	return ret == 0 ? store(maildir, mailbox, s->base_dir) : ret;
}

int recipient_of_dir(const char *dir, struct owned_dir *found, struct recipient *r)
{
	int ret = owned_dir_find(dir, found);

	if (ret == -ELOOP)
		return dormouse_fail("%s: a symbolic link of somebody who is not the "
				     "directory's owner leads there", dir);
	if (ret == -EPERM)
		return dormouse_fail("%s: it is root's, and lies in a directory that others "
				     "can change", dir);
	if (ret < 0)
		return dormouse_fail("%s: %s", dir, strerror(-ret));
	snprintf(r->user, sizeof(r->user), "uid %u", found->uid);
	r->uid = found->uid;
	r->gid = found->gid;
	return 0;
}

static int deliver_to_dir(struct invocation *inv, const char *mailbox)
{
	struct owned_dir dir;
	struct recipient r = { 0 };
	int ret = recipient_of_dir(inv->maildir, &dir, &r);

	if (ret == 0)
		ret = recipient_become(&r);
	return ret == 0 ? store(dir.path, mailbox, inv->base_dir) : ret;
}

int cmd_deliver(struct invocation *inv)
{
	const char *mailbox = inv->argc > 0 ? inv->argv[0] : "INBOX";
	struct config config;
	int ret;

	if (inv->user && inv->maildir)
		return dormouse_fail("deliver: -u and -m exclude each other");
	if (inv->maildir)
		return deliver_to_dir(inv, mailbox);
	if (dormouse_config(inv, &config) < 0)
		return DORMOUSE_FAILED;
	ret = deliver_to_user(inv, &config.settings, mailbox);
	config_deinit(&config);
	return ret;
}
