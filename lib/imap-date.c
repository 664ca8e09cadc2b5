/* SPDX-License-Identifier: MIT */
/* date and date-time (RFC 9051 section 9). Days are counted here and not by
 * timegm(): it accepts what is no date, and normalises. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/imap-chars.h"
#include "lib/imap-write.h"

static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
	"Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

/* Years with four digits, a day off each end for the zone. */
#define WRITE_MIN_SECONDS	(-62167132800LL)	/* 2 Jan 0000 */
#define WRITE_MAX_SECONDS	253402214399LL		/* 30 Dec 9999 */

static bool is_leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int month_days(int year, int month)
{
	static const int days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1 January 1970, Gregorian for every year from 0 on. */
static int64_t days_from_epoch(int year, int month, int day)
{
	int64_t before = year > 0 ? year - 1 : 0;
	/* Year 0 is a leap year of 366 days. */
	int64_t days = year > 0 ? 366 + before * 365 + before / 4 - before / 100 +
		before / 400 : 0;

	for (int m = 1; m < month; m++)
		days += month_days(year, m);
	return days + day - 1 - 719528;
}

/* From least to most digits. The text is NUL-terminated: no class has NUL. */
static bool read_digits(const char **s, int least, int most, int *v_r)
{
	int v = 0, n = 0;

	while (n < most && imap_is_digit((unsigned char)**s)) {
		v = v * 10 + (**s - '0');
		(*s)++;
		n++;
	}
	*v_r = v;
	return n >= least;
}

static bool read_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static bool read_month(const char **s, int *month_r)
{
	for (int i = 0; i < 12; i++) {
		if (strncasecmp(*s, months[i], 3) == 0) {
			*s += 3;
			*month_r = i + 1;
			return true;
		}
	}
	return false;
}

static bool read_date(const char **s, int *year_r, int *month_r, int *day_r)
{
	return read_digits(s, 1, 2, day_r) && read_char(s, '-') &&
		read_month(s, month_r) && read_char(s, '-') &&
		read_digits(s, 4, 4, year_r) && *day_r >= 1 &&
		*day_r <= month_days(*year_r, *month_r);
}

int imap_parse_date(const char *s, int *year_r, int *month_r, int *day_r)
{
	int year, month, day;

	if (!read_date(&s, &year, &month, &day) || *s != '\0')
		return -EINVAL;
	*year_r = year;
	*month_r = month;
	*day_r = day;
	return 0;
}

/* time = 2DIGIT ":" 2DIGIT ":" 2DIGIT; 60 is a leap second */
static bool read_time(const char **s, int *seconds_r)
{
	int hour, minute, second;

	if (!read_digits(s, 2, 2, &hour) || !read_char(s, ':') ||
	    !read_digits(s, 2, 2, &minute) || !read_char(s, ':') ||
	    !read_digits(s, 2, 2, &second))
		return false;
	*seconds_r = (hour * 60 + minute) * 60 + second;
	return hour <= 23 && minute <= 59 && second <= 60;
}

/* zone = ("+" / "-") 4DIGIT */
static bool read_zone(const char **s, int *seconds_r)
{
	bool west = **s == '-';
	int hour, minute;

	if (!west && **s != '+')
		return false;
	(*s)++;
	if (!read_digits(s, 2, 2, &hour) || !read_digits(s, 2, 2, &minute))
		return false;
	*seconds_r = (hour * 60 + minute) * (west ? -60 : 60);
	return hour <= 23 && minute <= 59;
}

int imap_parse_datetime(const char *s, int64_t *unix_seconds_r)
{
	int year, month, day, time_s, zone_s;

	/* date-day-fixed = (SP DIGIT) / 2DIGIT; one digit alone is taken too. */
	if (read_char(&s, ' ') && s[0] != '\0' && s[1] != '-')
		return -EINVAL;
	if (!read_date(&s, &year, &month, &day) || !read_char(&s, ' ') ||
	    !read_time(&s, &time_s) || !read_char(&s, ' ') ||
	    !read_zone(&s, &zone_s) || *s != '\0')
		return -EINVAL;
	*unix_seconds_r = days_from_epoch(year, month, day) * 86400 + time_s - zone_s;
	return 0;
}

int imap_write_datetime(struct buf *out, int64_t unix_seconds)
{
	int64_t t64 = unix_seconds;
	struct tm tm;
	time_t t;
	long minutes;

	/* A file's time may be anything; a FETCH must not fail for it. */
	if (t64 < WRITE_MIN_SECONDS)
		t64 = WRITE_MIN_SECONDS;
	if (t64 > WRITE_MAX_SECONDS)
		t64 = WRITE_MAX_SECONDS;
	t = (time_t)t64;
	if (localtime_r(&t, &tm) == NULL)
		return -errno;
	/* Zones of long ago had seconds, which this form cannot say: show the
	   time in the zone as it is shown, so that it reads back exactly. */
	minutes = tm.tm_gmtoff / 60;
	t += minutes * 60;
	if (gmtime_r(&t, &tm) == NULL)
		return -errno;
	return buf_printf(out, "\"%2d-%s-%04d %02d:%02d:%02d %c%02ld%02ld\"", tm.tm_mday,
		months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
		minutes < 0 ? '-' : '+', labs(minutes) / 60, labs(minutes) % 60);
}
