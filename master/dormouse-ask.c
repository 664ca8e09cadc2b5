/* SPDX-License-Identifier: MIT */
/* Subcommands that put one question to the running server and print rows. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "master/config.h"
#include "master/dormouse-client.h"
#include "master/dormouse.h"

#define ASK_TIMEOUT_MS	30000
/* A stop is bounded by the server; this is only for one that hangs. */
#define STOP_BEYOND_MS	30000
#define LOCK_LOOK_MS	10
#define UPGRADE_TIMEOUT_MS 120000

static int answer_print(const struct invocation *inv, const struct answer *answer)
{
	struct buf out;

	buf_init(&out, SIZE_MAX);
	if (inv->json)
		rows_json(&answer->rows, answer->ok, answer->text, &out);
	else if (inv->command->fn == cmd_state_dump)
		rows_print_text(&answer->rows, &out);
	else
		rows_print(&answer->rows, &out);
	if (out.failed) {
		buf_deinit(&out);
		return dormouse_fail("out of memory");
	}
	if (out.len > 0)
		fwrite(out.data, 1, out.len, stdout);
	buf_deinit(&out);
	if (!answer->ok)
		return inv->json ? DORMOUSE_FAILED :
		       dormouse_fail("%s: %s", inv->command->name, answer->text);
	if (!inv->json && *answer->text)
		printf("%s\n", answer->text);
	if (fflush(stdout) != 0)
		return dormouse_fail("standard output: %s", strerror(errno));
	return DORMOUSE_OK;
}

static int ask(struct invocation *inv, const char *base_dir, char *const *args,
	       int n_args, uint64_t timeout_ms)
{
	struct answer answer;
	int ret = client_ask(base_dir, inv->command->verb, args, n_args,
			     (int)timeout_ms, &answer);

	if (ret < 0)
		return dormouse_fail("%s: %s", base_dir, client_strerror(ret));
	ret = answer_print(inv, &answer);
	answer_deinit(&answer);
	return ret;
}

int cmd_ask(struct invocation *inv)
{
	struct config config;
	int ret;

	if (inv->base_dir)
		return ask(inv, inv->base_dir, inv->argv, inv->argc, ASK_TIMEOUT_MS);
	if (dormouse_config(inv, &config) < 0)
		return DORMOUSE_FAILED;
	ret = ask(inv, config.settings.base_dir, inv->argv, inv->argc, ASK_TIMEOUT_MS);
	config_deinit(&config);
	return ret;
}

/* Longer than each of its steps may take. */
int cmd_upgrade(struct invocation *inv)
{
	struct config config;
	int ret;

	if (inv->base_dir)
		return ask(inv, inv->base_dir, inv->argv, inv->argc, UPGRADE_TIMEOUT_MS);
	/* A broken file is what a reload is to complain of. */
	if (dormouse_config(inv, &config) < 0)
		return DORMOUSE_FAILED;
	ret = ask(inv, config.settings.base_dir, inv->argv, inv->argc, UPGRADE_TIMEOUT_MS);
	config_deinit(&config);
	return ret;
}

/* When the launcher has gone too, the next start finds the lock free. */
static void lock_wait(const char *base_dir)
{
	uint64_t until_ms = clock_ms() + STOP_BEYOND_MS;
	cleanup_fd int fd = -1;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/lock", base_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK &&
	       clock_ms() < until_ms)
		poll(NULL, 0, LOCK_LOOK_MS);
}

int cmd_stop(struct invocation *inv)
{
	char how[] = "bye", now[] = "now", keep[] = "keep";
	char *args[] = { inv->now ? now : inv->keep ? keep : how };
	struct config config = { 0 };
	const char *base_dir = inv->base_dir;
	uint64_t timeout_ms = 3600 * 1000;
	int ret;

	if (!base_dir) {
		if (dormouse_config(inv, &config) < 0)
			return DORMOUSE_FAILED;
		base_dir = config.settings.base_dir;
		timeout_ms = config.settings.stop_timeout_ms + STOP_BEYOND_MS;
	}
	ret = ask(inv, base_dir, args, 1, timeout_ms);
	if (ret == DORMOUSE_OK)
		lock_wait(base_dir);
	if (!inv->base_dir)
		config_deinit(&config);
	return ret;
}
