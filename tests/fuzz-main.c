/* SPDX-License-Identifier: MIT */
/* Replays inputs through a fuzz target: each argument is a file, or a
 * directory whose files are all run. So every input that ever broke something
 * is part of the ordinary test run, with any compiler. With -Dfuzz=true
 * libFuzzer's own main() takes this one's place. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define INPUT_MAX_BYTES	(16 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int complain(const char *name, int error)
{
	fprintf(stderr, "%s: %s\n", name, strerror(error));
	return -error;
}

/* In a block of exactly its size, so that a step too far is noticed. */
static int replay_fd(int fd, size_t size, const char *name)
{
	cleanup_free uint8_t *data = malloc(size > 0 ? size : 1);
	size_t at = 0;

	if (data == NULL)
		return complain(name, ENOMEM);
	while (at < size) {
		ssize_t n = read(fd, data + at, size - at);

		if (n <= 0)
			return complain(name, n < 0 ? errno : EIO);
		at += (size_t)n;
	}
	/* Named beforehand: a crash ends everything. */
	printf("%s: %zu bytes\n", name, size);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, size);
	return 1;
}

static int replay_dir(int fd, const char *name);

/* How many inputs were run, or -errno. */
static int replay_at(int dir, const char *name)
{
	struct stat st;

	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return complain(name, errno);
	if (S_ISDIR(st.st_mode))
		return replay_dir(fd, name);
	if (!S_ISREG(st.st_mode) || st.st_size > INPUT_MAX_BYTES)
		return complain(name, EINVAL);
	return replay_fd(fd, (size_t)st.st_size, name);
}

static int replay_dir(int fd, const char *name)
{
	int copy = dup(fd), sum = 0;
	DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *de;

	if (dir == NULL) {
		if (copy >= 0)
			close(copy);
		return complain(name, EIO);
	}
	while ((de = readdir(dir)) != NULL) {
		int n;

		if (de->d_name[0] == '.')
			continue;
		n = replay_at(fd, de->d_name);
		if (n < 0) {
			sum = n;
			break;
		}
		sum += n;
	}
	closedir(dir);
	return sum;
}

int main(int argc, char **argv)
{
	int sum = 0;

	for (int i = 1; i < argc; i++) {
		int n = replay_at(AT_FDCWD, argv[i]);

		if (n < 0)
			return EXIT_FAILURE;
		sum += n;
	}
	printf("%d inputs\n", sum);
	/* A test that replayed nothing has shown nothing. */
	return sum > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
