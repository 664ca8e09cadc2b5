/* SPDX-License-Identifier: MIT */
/* Who we are: no new privileges, another user, an empty root, few
 * capabilities. The other halves are sandbox-landlock.c (which files) and
 * sandbox-seccomp.c (which system calls).
 *
 * Every step is checked by reading back what the kernel says afterwards. */
#include "lib/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/sandbox-private.h"

#if SANDBOX_SANITIZED
/* The leak check at exit reads /proc and traces its own process: it would be
 * the one to be refused. Asked by the sanitizer just before. */
int __lsan_is_turned_off(void);
static bool leak_check_off;
int __lsan_is_turned_off(void)
{
	return leak_check_off;
}
#endif

int sandbox_basics(void)
{
	const struct rlimit none = { 0, 0 };

#if SANDBOX_SANITIZED
	leak_check_off = true;
#endif
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
#if SANDBOX_TEST_BUILD
	if (getenv("DORMOUSE_CORE") != NULL)
		return 0;
#endif
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	/* Also: nobody but root may trace us or read our memory. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

/* ---- capabilities ---- */

struct caps {
	struct __user_cap_data_struct set[2];	/* version 3: 64 bits */
};

static int caps_get(struct caps *caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (syscall(SYS_capget, &head, caps->set) < 0)
		return -errno;
	return 0;
}

static int caps_set(const struct caps *caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (syscall(SYS_capset, &head, caps->set) < 0)
		return -errno;
	return 0;
}

static int caps_wanted(struct caps *caps, const int *keep, size_t n)
{
	memset(caps, 0, sizeof(*caps));
	for (size_t i = 0; i < n; i++) {
		uint32_t bit;

		if (keep[i] < 0 || keep[i] > CAP_LAST_CAP)
			return -EINVAL;
		bit = (uint32_t)CAP_TO_MASK(keep[i]);
		caps->set[CAP_TO_INDEX(keep[i])].permitted |= bit;
		caps->set[CAP_TO_INDEX(keep[i])].effective |= bit;
	}
	return 0;
}

/* Permitted and effective as wanted, nothing inheritable or ambient. */
static int caps_reduce(const struct caps *wanted)
{
	struct caps now;
	int ret = caps_set(wanted);

	if (ret < 0)
		return ret;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	ret = caps_get(&now);
	if (ret < 0)
		return ret;
	return memcmp(&now, wanted, sizeof(now)) == 0 ? 0 : -EPERM;
}

int sandbox_drop_bounding(void)
{
	/* Survives fork as the set itself does, and neither survives exec. */
	static bool dropped;

	if (dropped || geteuid() != 0)
		return 0;
	for (int cap = 0; cap < 64; cap++) {
		int ret = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (ret < 0 && errno == EINVAL)
			break;		/* the kernel knows no more */
		if (ret < 0 || (ret > 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0))
			return -errno;
	}
	dropped = true;
	return 0;
}

/* ---- identity ---- */

static int identity_verify(uid_t uid, gid_t gid)
{
	uid_t ru, eu, su;
	gid_t rg, eg, sg;

	if (getresuid(&ru, &eu, &su) < 0 || getresgid(&rg, &eg, &sg) < 0)
		return -errno;
	if (ru != uid || eu != uid || su != uid || rg != gid || eg != gid || sg != gid)
		return -EPERM;
	return 0;
}

/* Root must be out of reach, whatever the kernel said before. */
static int identity_is_final(void)
{
	const uid_t same = (uid_t)-1;

	if (setresuid(same, 0, same) == 0 || setresuid(0, same, same) == 0 ||
	    setresuid(same, same, 0) == 0)
		return -EPERM;
	return 0;
}

static int identity_take(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return -errno;
	if (getgroups(0, NULL) != 0)
		return -EPERM;
	return identity_verify(uid, gid);
}

static int identity_change(uid_t uid, gid_t gid, const int *keep_caps, size_t n_caps)
{
	struct caps wanted;
	int ret = caps_wanted(&wanted, keep_caps, n_caps);

	if (ret < 0)
		return ret;
	/* Dropping needs CAP_SETPCAP, which goes with root. */
	ret = sandbox_drop_bounding();
	if (ret < 0)
		return ret;
	if (n_caps > 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	ret = identity_take(uid, gid);
	if (ret < 0)
		return ret;
	ret = caps_reduce(&wanted);
	if (ret < 0)
		return ret;
	if (n_caps > 0 && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return -errno;
	return uid != 0 ? identity_is_final() : 0;
}

int sandbox_become(uid_t uid, gid_t gid, const int *keep_caps, size_t n_caps)
{
	int ret;

	/* The kernel takes -1 as "leave it". */
	if (uid == (uid_t)-1 || gid == (gid_t)-1)
		return -EINVAL;
	if (geteuid() != 0)
		return identity_verify(uid, gid);
	ret = identity_change(uid, gid, keep_caps, n_caps);
	/* The change of user set this from a sysctl. */
	if (ret == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return ret;
}

/* ---- an empty root ---- */

int sandbox_chroot_empty(const char *dir)
{
	char path[PATH_MAX];

	if (geteuid() != 0)
		return 0;
	if ((size_t)snprintf(path, sizeof(path), "%s/.empty-XXXXXX", dir) >= sizeof(path))
		return -ENAMETOOLONG;
	if (mkdtemp(path) == NULL)
		return -errno;
	cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int opened = fd < 0 ? -errno : 0;
	/* A directory that is gone stays empty: nothing can be made in it. */
	if (rmdir(path) < 0 && opened == 0)
		return -errno;
	if (opened < 0)
		return opened;
	if (fchdir(fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}
