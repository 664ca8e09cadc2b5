/* SPDX-License-Identifier: MIT */
/* Two calls of one process in one microsecond differ in Q; two processes in
 * their number; a number used again within a microsecond does not happen. */
#include "lib/maildir-unique.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"

/* Room for the rest of a name, whatever the host is called. */
#define HOST_MAX_BYTES	48

/* '/' cannot be in a name, ':' begins the flags, ',' a size. */
static void host_name(char host[HOST_MAX_BYTES + 1])
{
	if (gethostname(host, HOST_MAX_BYTES) < 0 || !host[0])
		strcpy(host, "localhost");
	host[HOST_MAX_BYTES] = '\0';
	for (char *p = host; *p; p++) {
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '.')
			*p = '_';
	}
}

const char *maildir_unique_name(char out[MAILDIR_UNIQUE_MAX_BYTES])
{
	static uint64_t last_us;
	static unsigned repeated;
	char host[HOST_MAX_BYTES + 1] = "", again[16] = "";
	uint64_t now_us = clock_wall_us();

	if (now_us == last_us)
		snprintf(again, sizeof(again), "Q%u", ++repeated);
	else
		repeated = 0;
	last_us = now_us;
	host_name(host);
	snprintf(out, MAILDIR_UNIQUE_MAX_BYTES, "%" PRIu64 ".M%" PRIu64 "P%d%s.%s",
		 now_us / 1000000, now_us % 1000000, (int)getpid(), again, host);
	return out;
}

const char *maildir_unique_sized(const char *unique, uint64_t size, uint64_t vsize,
				 char out[MAILDIR_UNIQUE_MAX_BYTES])
{
	snprintf(out, MAILDIR_UNIQUE_MAX_BYTES, "%.100s,S=%" PRIu64 ",W=%" PRIu64,
		 unique, size, vsize);
	return out;
}
