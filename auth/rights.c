/* SPDX-License-Identifier: MIT */
/* auth runs as auth_user, and has to read the passwd-file again when it
 * changes. Two cases:
 *
 * auth_user may read it: then nothing more is needed. Landlock leaves the
 * file's directory and what the name services need.
 *
 * Only root may read it: then auth keeps CAP_DAC_READ_SEARCH, and Landlock
 * leaves the directory of the passwd-file and nothing else, so that the
 * capability opens no other door. The price: names in the uid and gid fields
 * that were not there at the start cannot be looked up any more; numbers can
 * be used, or auth started again. Without Landlock in the kernel the
 * capability is not kept, and a changed file is read at the next start.
 *
 * Not taken: a descriptor of the file (it shows the old file after a rename,
 * which is how careful people replace it) or of its directory (openat() asks
 * for rights like any other open). */
#include "auth/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/run-user.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "lib/settings.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset	444
#endif

static bool kernel_has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
}

/* Can the planned user read the file? Asked by being him for a moment. */
static bool readable_as(const char *path, uid_t uid, gid_t gid)
{
	bool readable = false;

	if (setgroups(0, NULL) < 0 || setegid(gid) < 0)
		return false;
	if (seteuid(uid) == 0) {
		cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		readable = fd >= 0 || errno == ENOENT;
		if (seteuid(0) < 0)
			abort();	/* neither one nor the other */
	}
	if (setegid(0) < 0)
		abort();
	return readable;
}

int rights_plan(const struct settings *s, struct rights *rights_r)
{
	struct rights r = { .uid = getuid(), .gid = getgid() };

	if (geteuid() != 0 || s->user_mode) {
		*rights_r = r;
		return 0;
	}
	uid_t uid;
	gid_t gid;
	int ret = run_user_lookup(s->auth_user, &uid, &gid);
	if (ret < 0 && ret != -EPERM) {
		log_error("start", "auth_user %s does not exist: create it, or name another one",
			log_str(s->auth_user));
		return -ENOENT;
	}
	if (ret == -EPERM) {
		log_error("start", "auth_user %s is root: name another one", log_str(s->auth_user));
		return -EPERM;
	}
	r = (struct rights){ .change = true, .uid = uid, .gid = gid };
	if (*s->passwd_file && !readable_as(s->passwd_file, r.uid, r.gid)) {
		r.read_all = kernel_has_landlock();
		if (!r.read_all)
			log_warn("start", "%s can be read by root only, and this kernel has no Landlock: changes need a restart",
				s->passwd_file);
	}
	*rights_r = r;
	return 0;
}

/* The directory of a file, in a buffer of PATH_MAX. */
static const char *directory_of(const char *path, char *out)
{
	snprintf(out, PATH_MAX, "%s", path);
	char *slash = strrchr(out, '/');
	if (!slash)
		return ".";
	slash[slash == out ? 1 : 0] = '\0';
	return out;
}

static int rights_landlock(const struct settings *s, const struct rights *r)
{
	struct sandbox_path paths[8];
	char named[PATH_MAX], real[PATH_MAX], target[PATH_MAX];
	size_t n = 0;

	if (*s->passwd_file) {
		paths[n++] = (struct sandbox_path){ directory_of(s->passwd_file, named),
			SANDBOX_READ };
		/* It may be a link to elsewhere. */
		if (realpath(s->passwd_file, target))
			paths[n++] = (struct sandbox_path){ directory_of(target, real),
				SANDBOX_READ };
	}
	if (!r->read_all) {
		/* Name services: configuration, and modules that load late. */
		paths[n++] = (struct sandbox_path){ "/etc", SANDBOX_READ };
		paths[n++] = (struct sandbox_path){ "/usr/lib", SANDBOX_READ };
		paths[n++] = (struct sandbox_path){ "/lib", SANDBOX_READ };
		paths[n++] = (struct sandbox_path){ "/lib64", SANDBOX_READ };
	}
	return sandbox_landlock(paths, n);
}

int rights_drop(const struct settings *s, const struct rights *r)
{
	static const int read_all[] = { CAP_DAC_READ_SEARCH };
	const char *step = "basics";

	int ret = sandbox_basics();
	if (ret == 0 && r->change) {
		step = "becoming auth_user";
		ret = sandbox_become(r->uid, r->gid, read_all, r->read_all ? 1 : 0);
	}
	if (ret == 0) {
		step = "Landlock";
		ret = rights_landlock(s, r);
		if ((ret == -ENOSYS || ret == -EOPNOTSUPP) && !r->read_all) {
			log_warn("start", "this kernel has no Landlock: going on without");
			ret = 0;
		}
	}
	if (ret == 0) {
		step = "seccomp";
		ret = sandbox_seccomp(SANDBOX_AUTH);
	}
	if (ret < 0)
		log_error("start", "cannot enter the sandbox (%s): %s", step, strerror(-ret));
	return ret;
}
