/* SPDX-License-Identifier: MIT */
/* imap-hibernate: holds every sleeping client. Started by master, with the
 * channel to it as descriptor 3. */
#include <signal.h>
#include <stdlib.h>

#include "imap-hibernate/holder.h"
#include "lib/fault.h"
#include "lib/ipc-proto.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "lib/version.h"

static struct holder holder;

int main(int argc, char **argv)
{
	int status = EXIT_FAILURE;

	version_check(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	log_open("imap-hibernate", LOG_TO_STDERR, LOG_L_INFO);
	log_crash_handler();
	fault_init();
	if (sandbox_basics() < 0)
		return EXIT_FAILURE;
	if (holder_create(&holder, IPC_SETUP_FD) == 0 &&
	    holder_adopt(&holder) == 0 &&
	    holder_confine(&holder) == 0 &&
	    holder_start(&holder) == 0) {
		loop_run(holder.loop);
		status = EXIT_SUCCESS;
	}
	holder_destroy(&holder);
	return status;
}
