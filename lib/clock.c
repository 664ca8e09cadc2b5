/* SPDX-License-Identifier: MIT */
/* The one place that asks for the time, so that a test can set it. */
#include "lib/clock.h"

#include <time.h>

static uint64_t clock_fixed_us;

static uint64_t clock_read_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_us(void)
{
	return clock_fixed_us ? clock_fixed_us : clock_read_us(CLOCK_MONOTONIC);
}

uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

uint64_t clock_wall_us(void)
{
	return clock_read_us(CLOCK_REALTIME);
}

void clock_set_us(uint64_t now_us)
{
	clock_fixed_us = now_us;
}
