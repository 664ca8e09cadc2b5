/* SPDX-License-Identifier: MIT */
/* `dormouse export-uidlist`: finds the mail, becomes its owner, and leaves the
 * work to the program that knows mailboxes. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/config.h"
#include "master/deliver.h"
#include "master/dormouse.h"
#include "master/recipient.h"

static int run(const char *mail_dir, const char *index_dir)
{
	static const char program[] = DORMOUSE_LIBEXECDIR "/export-uidlist";
	char own[PATH_MAX];

	if (!*index_dir) {
		if (snprintf(own, sizeof(own), "%s/.dormouse", mail_dir) >= (int)sizeof(own))
			return dormouse_fail("%s: %s", mail_dir, strerror(ENAMETOOLONG));
		index_dir = own;
	}
	if (access(mail_dir, R_OK | W_OK | X_OK) < 0)
		return dormouse_fail("%s: %s", mail_dir, strerror(errno));
	execl(program, program, mail_dir, index_dir, (char *)NULL);
	return dormouse_fail("%s: %s", program, strerror(errno));
}

static int export_dir(const char *dir)
{
	struct recipient r = { 0 };
	char *path = realpath(dir, NULL);
	int ret = path ? recipient_of_dir(path, &r) :
			 dormouse_fail("%s: %s", dir, strerror(errno));

	if (ret == 0)
		ret = recipient_become(&r);
	if (ret == 0)
		ret = run(path, "");
	free(path);
	return ret;
}

static int export_user(const struct invocation *inv, const struct settings *s, const char *user)
{
	char mail_dir[PATH_MAX], index_dir[PATH_MAX] = "";
	struct recipient r = { 0 };
	int ret = recipient_ask(inv, user, s->base_dir, &r);

	if (ret == 0 && (deliver_mail_dir(s->mail, r.user, r.home, mail_dir,
					  sizeof(mail_dir)) < 0 ||
			 (*s->index_dir && deliver_mail_dir(s->index_dir, r.user, r.home, index_dir,
							    sizeof(index_dir)) < 0)))
		ret = dormouse_fail("%s: no mail directory can be made of mail = \"%s\" "
				    "and home \"%s\"", r.user, s->mail, r.home);
	if (ret == 0)
		ret = recipient_become(&r);
	return ret == 0 ? run(mail_dir, index_dir) : ret;
}

int cmd_export_uidlist(struct invocation *inv)
{
	const char *what = inv->argc > 0 ? inv->argv[0] : NULL;
	struct config config;
	int ret;

	if (!what == !inv->maildir)
		return dormouse_fail("export-uidlist: name a user or a directory");
	if (inv->maildir || strchr(what, '/'))
		return export_dir(inv->maildir ? inv->maildir : what);
	if (dormouse_config(inv, &config) < 0)
		return DORMOUSE_FAILED;
	ret = export_user(inv, &config.settings, what);
	config_deinit(&config);
	return ret;
}
