/* SPDX-License-Identifier: MIT */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H
/* Monotonic time; tests set it by hand. */
#include <stdint.h>
uint64_t clock_ms(void);	/* CLOCK_MONOTONIC, milliseconds */
uint64_t clock_us(void);	/* CLOCK_MONOTONIC, microseconds */
uint64_t clock_wall_us(void);	/* CLOCK_REALTIME, microseconds since 1970 */
/* From now on clock_ms() and clock_us() return this time; 0: the real one. */
void clock_set_us(uint64_t now_us);
#endif
