/* SPDX-License-Identifier: MIT */
#ifndef LIB_VERSION_H
#define LIB_VERSION_H
/* "0.1.0": in one place of each program's file. */
extern const char dormouse_version[];
/* For each main(): `PROGRAM --check` proves that it can be loaded (before an
 * upgrade), and does no more. */
void version_check(int argc, char **argv);
#endif
