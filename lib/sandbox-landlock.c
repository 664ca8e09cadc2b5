/* SPDX-License-Identifier: MIT */
/* Landlock: which files. Raw system calls and our own numbers, because the
 * header of Debian bookworm ends at ABI 2: the access bits are part of the
 * kernel's ABI and never change their meaning.
 *
 * Every right that the running kernel knows is handled, so whatever is not
 * granted below is refused, TCP bind and connect (ABI 4) included. Scopes
 * (ABI 6) are left alone: signals and abstract sockets play no part here. */
#include "lib/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define FS(bit)		((uint64_t)1 << (bit))
enum {
	FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR, FS_REMOVE_DIR,
	FS_REMOVE_FILE, FS_MAKE_CHAR, FS_MAKE_DIR, FS_MAKE_REG, FS_MAKE_SOCK,
	FS_MAKE_FIFO, FS_MAKE_BLOCK, FS_MAKE_SYM,	/* ABI 1 ends here */
	FS_REFER,					/* 2 */
	FS_TRUNCATE,					/* 3 */
	FS_IOCTL_DEV,					/* 5 */
	FS_BITS
};
#define NET_BIND_TCP	1u
#define NET_CONNECT_TCP	2u

#define READ_ACCESS	(FS(FS_READ_FILE) | FS(FS_READ_DIR))
/* What a Maildir and its index ask for: REFER is rename() from new/ to cur/. */
#define WRITE_ACCESS	(FS(FS_WRITE_FILE) | FS(FS_REMOVE_DIR) | FS(FS_REMOVE_FILE) | \
			 FS(FS_MAKE_DIR) | FS(FS_MAKE_REG) | FS(FS_REFER) | FS(FS_TRUNCATE))
/* The rights that make sense for something that is no directory. */
#define FILE_ACCESS	(FS(FS_EXECUTE) | FS(FS_WRITE_FILE) | FS(FS_READ_FILE) | \
			 FS(FS_TRUNCATE) | FS(FS_IOCTL_DEV))

#define RULE_PATH_BENEATH	1
#define CREATE_VERSION		1u

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset	444
#define SYS_landlock_add_rule		445
#define SYS_landlock_restrict_self	446
#endif

struct ruleset_attr {
	uint64_t fs, net;
};
struct path_attr {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

/* The rights that ABI number `abi` knows. */
static uint64_t fs_known(int abi)
{
	if (abi >= 5)
		return FS(FS_BITS) - 1;
	if (abi >= 3)
		return FS(FS_IOCTL_DEV) - 1;
	if (abi == 2)
		return FS(FS_TRUNCATE) - 1;
	return FS(FS_REFER) - 1;
}

static uint64_t access_bits(unsigned access)
{
	return (access & SANDBOX_READ ? READ_ACCESS : 0) |
	       (access & SANDBOX_WRITE ? WRITE_ACCESS : 0) |
	       (access & SANDBOX_EXEC ? FS(FS_EXECUTE) : 0);
}

static int rule_add(int ruleset, const struct sandbox_path *p, uint64_t known)
{
	struct path_attr rule = { .access = access_bits(p->access) & known };
	struct stat st;

	cleanup_fd int fd = open(p->path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		rule.access &= FILE_ACCESS;
	if (rule.access == 0)
		return 0;
	rule.fd = fd;
	if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

int sandbox_landlock(const struct sandbox_path *paths, size_t n)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
	struct ruleset_attr attr;

	if (abi < 0)
		return -errno;
	attr.fs = fs_known((int)abi);
	attr.net = abi >= 4 ? NET_BIND_TCP | NET_CONNECT_TCP : 0;
	/* An older kernel is told of no more than it knows. */
	cleanup_fd int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
		abi >= 4 ? sizeof(attr) : sizeof(attr.fs), 0);
	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		int ret;

		/* Before REFER, no file could move between directories at
		   all: a Maildir would not work. */
		if (abi < 2 && (paths[i].access & SANDBOX_WRITE))
			return -EOPNOTSUPP;
		ret = rule_add(ruleset, &paths[i], attr.fs);
		if (ret < 0)
			return ret;
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	return 0;
}
