/* SPDX-License-Identifier: MIT */
/* imap: started by master as the zygote; its children are the spares, and each
 * of those becomes one session. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "imap/zygote.h"
#include "lib/buf.h"
#include "lib/fault.h"
#include "lib/hkdf.h"
#include "lib/ipc-proto.h"
#include "lib/log.h"
#include "lib/seal.h"
#include "lib/version.h"

static enum log_level level_of(const char *name)
{
	if (strcmp(name, "debug") == 0)
		return LOG_L_DEBUG;
	if (strcmp(name, "warn") == 0)
		return LOG_L_WARN;
	return strcmp(name, "error") == 0 ? LOG_L_ERROR : LOG_L_INFO;
}

/* What would have to be opened or allocated later, behind Landlock. */
static void warm(void)
{
	struct seal_key key;
	struct buf out;
	uint8_t mac[32];

	tzset();
	(void)hmac_sha256("", 0, "warm", 4, mac);
	buf_init(&out, 256);
	if (seal_random(&key, sizeof(key)) == 0)
		(void)seal_close(&key, "", 0, "warm", 4, &out);
	buf_deinit(&out);
}

int main(int argc, char **argv)
{
	struct zygote *z = NULL;
	const struct settings *set;
	int ret;

	version_check(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "imap");	/* after an exec of /proc/self/exe, too */
	fault_init();
	ret = zygote_create(IPC_SETUP_FD, &z);
	if (ret < 0) {
		fprintf(stderr, "imap: is started by dormouse, not by hand (%s)\n",
			strerror(-ret));
		return EXIT_FAILURE;
	}
	set = zygote_settings(z);
	log_open("imap", strcmp(set->log, "syslog") == 0 ? LOG_TO_SYSLOG : LOG_TO_STDERR,
		 level_of(set->log_level));
	log_crash_handler();
	warm();
	return zygote_run(z);
}
