/* SPDX-License-Identifier: MIT */
#include "lib/ipc-proto.h"

#include <stdio.h>

/* One word for the log and for `dormouse who`. */
const char *wake_cause_name(unsigned cause)
{
	static const char *const names[] = {
		[WAKE_INPUT] = "input",
		[WAKE_CHANGE] = "change",
		[WAKE_KEEPALIVES] = "keepalives",
		[WAKE_KICK] = "kick",
		[WAKE_STOP] = "stop",
		[WAKE_OPERATOR] = "operator",
		[WAKE_POLL] = "poll",
		[WAKE_FAILED_BEFORE] = "failed-before",
		[WAKE_DUMP] = "dump",
	};

	if (cause < sizeof(names) / sizeof(names[0]) && names[cause])
		return names[cause];
	return "unknown";
}

/* The record layer's own numbers (lib/tls-record.h), which imap-hibernate does
 * not link: TLSv1.2 is 3, TLSv1.3 is 4, suites count from 1. */
#define VERSION_FIRST	3u
#define SUITES		3u

unsigned security_make(unsigned version, unsigned suite, bool deflate)
{
	unsigned tls = 0;

	if (version >= VERSION_FIRST && version < VERSION_FIRST + 2 && suite >= 1 &&
	    suite <= SUITES)
		tls = (version - VERSION_FIRST) * SUITES + suite;
	return tls | (deflate ? SECURITY_DEFLATE : 0);
}

const char *security_name(unsigned security)
{
	static const char *const names[SECURITY_TLS + 1] = {
		"", "TLSv1.2 AES128-GCM", "TLSv1.2 AES256-GCM", "TLSv1.2 CHACHA20-POLY1305",
		"TLSv1.3 TLS_AES_128_GCM_SHA256", "TLSv1.3 TLS_AES_256_GCM_SHA384",
		"TLSv1.3 TLS_CHACHA20_POLY1305_SHA256", "",
	};
	static char text[64];
	const char *tls = names[security & SECURITY_TLS];

	snprintf(text, sizeof(text), "%s%s%s", tls,
		 *tls != '\0' && (security & SECURITY_DEFLATE) ? " " : "",
		 security & SECURITY_DEFLATE ? "DEFLATE" : "");
	return text;
}
