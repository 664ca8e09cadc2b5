/* SPDX-License-Identifier: MIT */
#ifndef LIB_MAILDIR_UNIQUE_H
#define LIB_MAILDIR_UNIQUE_H
/* Names for new files in a Maildir: SECS.MusecPpid[Qn].host, as every Maildir
 * program makes them, so that names sort by arrival and never repeat. */
#include <stddef.h>
#include <stdint.h>

#define MAILDIR_UNIQUE_MAX_BYTES	160

/* A name that no other call, process or host makes. Returns out. */
const char *maildir_unique_name(char out[MAILDIR_UNIQUE_MAX_BYTES]);
/* The same with ,S=size,W=size with CR LF line ends. Returns out. */
const char *maildir_unique_sized(const char *unique, uint64_t size, uint64_t vsize,
				 char out[MAILDIR_UNIQUE_MAX_BYTES]);
#endif
