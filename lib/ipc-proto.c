/* SPDX-License-Identifier: MIT */
#include "lib/ipc-proto.h"

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
