/* SPDX-License-Identifier: MIT */
#ifndef LIB_SANDBOX_H
#define LIB_SANDBOX_H
/* Drop rights: identity, chroot, capabilities, Landlock, seccomp. Each step
 * fails closed: -errno, and the program must end. A refused system call is
 * logged by name (SIGSYS handler via SECCOMP_RET_TRAP) and ends the process. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* no_new_privs, not dumpable, RLIMIT_CORE 0 (unless DORMOUSE_CORE is set in a
 * test build). */
int sandbox_basics(void);
/* setgroups(0)/setresgid/setresuid, verified by reading back and by trying to get root back. No-op if we
 * are that user already and not root. keep_caps: capability numbers (linux/capability.h) that stay, made
 * permitted+effective only (bounding set dropped). */
int sandbox_become(uid_t uid, gid_t gid, const int *keep_caps, size_t n_caps);
/* The bounding set alone: 80 calls that sandbox_become() then does not repeat.
 * For a spare, while it still waits. No-op returning 0 without root. */
int sandbox_drop_bounding(void);
/* chroot to a fresh empty directory (a deleted one: mkdtemp under dir, chroot, rmdir from
 * outside is done by name before chroot via its descriptor). Needs root; no-op returning 0 without it. */
int sandbox_chroot_empty(const char *dir);

enum sandbox_access { SANDBOX_READ = 1, SANDBOX_WRITE = 2, SANDBOX_EXEC = 4 };
struct sandbox_path { const char *path; unsigned access; };
/* Landlock: nothing but these paths (beneath each). n = 0: no file at all.
 * Paths that do not exist are skipped. 0; -ENOSYS/-EOPNOTSUPP where the kernel has no Landlock (caller decides
 * and logs). Uses all access bits the running ABI knows (bookworm's header ends at ABI 2). */
int sandbox_landlock(const struct sandbox_path *paths, size_t n);

enum sandbox_profile {
	SANDBOX_KEEPER,		/* descriptors in, descriptors out; no file, no socket */
	SANDBOX_HOLDER,		/* as the keeper, plus inotify, fcntl locks, lstat, ftruncate/mremap on the table */
	SANDBOX_LOGIN,		/* accept, read, write; no open, no connect */
	SANDBOX_AUTH,		/* reads its password file (open), no exec, no inet socket */
	SANDBOX_IMAP,		/* files of its user (Landlock decides which), AF_UNIX SEQPACKET connect only; no exec, no fork.
				   Loaded BEFORE the identity changes: setgroups/setresuid/setresgid/landlock stay allowed */
};
/* Loads the filter (no_new_privs must be set). Allow-list by libseccomp;
 * clone/fork/execve/ptrace/io_uring/open_by_handle_at never. With sanitizers
 * built in, the profile adds what they need. 0 or -errno. */
int sandbox_seccomp(enum sandbox_profile profile);
/* The exit status after a refused system call: 128 + SIGSYS. */
#define SANDBOX_EXIT_REFUSED	159
/* Compiles a filter ahead, so that children forked later only load it (the
 * zygote, for SANDBOX_IMAP). 0 or -errno. */
int sandbox_seccomp_prepare(enum sandbox_profile profile);
#endif
