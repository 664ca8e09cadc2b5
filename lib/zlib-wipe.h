/* SPDX-License-Identifier: MIT */
#ifndef LIB_ZLIB_WIPE_H
#define LIB_ZLIB_WIPE_H
/* Memory for zlib that is overwritten when it is freed: its windows hold what
 * was said, and zlib itself only frees them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

/* The size, in front; as large as any alignment needs. */
#define ZLIB_WIPE_HEAD	16

static inline voidpf zlib_wipe_alloc(voidpf opaque, uInt items, uInt size)
{
	size_t n = (size_t)items * size;
	uint8_t *p = n > SIZE_MAX - ZLIB_WIPE_HEAD ? NULL : malloc(n + ZLIB_WIPE_HEAD);

	if (p == NULL)
		return Z_NULL;
	memcpy(p, &n, sizeof(n));
	return p + ZLIB_WIPE_HEAD;
}

static inline void zlib_wipe_free(voidpf opaque, voidpf at)
{
	uint8_t *p = (uint8_t *)at - ZLIB_WIPE_HEAD;
	size_t n;

	memcpy(&n, p, sizeof(n));
	explicit_bzero(p, n + ZLIB_WIPE_HEAD);
	free(p);
}

static inline z_stream zlib_wipe_stream(void)
{
	return (z_stream){ .zalloc = zlib_wipe_alloc, .zfree = zlib_wipe_free };
}
#endif
