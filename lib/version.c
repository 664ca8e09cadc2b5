/* SPDX-License-Identifier: MIT */
#include "lib/version.h"

#include <stdlib.h>
#include <string.h>

#ifndef DORMOUSE_VERSION
#error "meson.build defines DORMOUSE_VERSION for this file"
#endif
const char dormouse_version[] = DORMOUSE_VERSION;

void version_check(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--check") == 0)
		exit(EXIT_SUCCESS);
}
