/* clock.c - the kernel's clocks, and the civil calendar by arithmetic.
 *
 * libc's gmtime, strftime and strptime are not used: they look at locale and TZ, and strptime
 * accepts what the standards do not. Days and dates convert by counting years from March, so that
 * the leap day is the last of its year (Howard Hinnant, "chrono-compatible low-level date
 * algorithms").
 */
#include "base/clock.h"

#include "base/check.h"

#include <stdio.h>
#include <time.h>

#define MS_PER_SECOND 1000u
#define MS_PER_DAY    86400000u
#define DAYS_PER_ERA  146097u /* 400 years */
#define DAYS_TO_EPOCH 719468u /* from 0000-03-01 to 1970-01-01 */

struct civil {
    uint64_t year;
    uint32_t month;   /* 1 to 12 */
    uint32_t day;     /* 1 to 31 */
    uint32_t weekday; /* 0 is Sunday */
    uint32_t hour;
    uint32_t minute;
    uint32_t second;
    uint32_t ms;
};

/* Written before threads start (offset) or by single-threaded tests (the fakes); read by all. */
static uint64_t offset_ms;
static uint64_t fake_mono_ms;
static uint64_t fake_unix_ms;

static bool is_fake(void);
static struct timespec read_clock(clockid_t which);
static struct civil civil_of(uint64_t unix_ms);
static uint64_t days_of(const struct civil *date);
static uint32_t days_in_month(uint64_t year, uint32_t month);
static bool take_number(struct slice *rest, size_t digits, uint32_t *out);
static bool take_byte(struct slice *rest, const char *choices, char *out);
static bool take_date(struct slice *rest, struct civil *out);
static bool take_time(struct slice *rest, struct civil *out);
static bool take_zone(struct slice *rest, int64_t *offset_minutes);

uint64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

uint64_t clock_mono_us(void)
{
    if (is_fake()) {
        return fake_mono_ms * 1000;
    }
    struct timespec now = read_clock(CLOCK_MONOTONIC);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_unix_ms(void)
{
    if (is_fake()) {
        return fake_unix_ms;
    }
    struct timespec now = read_clock(CLOCK_REALTIME);
    return (uint64_t)now.tv_sec * MS_PER_SECOND + (uint64_t)now.tv_nsec / 1000000 + offset_ms;
}

void clock_set_offset(uint64_t wall_offset_ms)
{
    offset_ms = wall_offset_ms;
}

uint32_t clock_day_of(uint64_t unix_ms)
{
    uint64_t days = unix_ms / MS_PER_DAY;
    return days > UINT32_MAX ? UINT32_MAX : (uint32_t)days;
}

size_t clock_rfc3339(uint64_t unix_ms, char out[CLOCK_TEXT_MAX])
{
    struct civil at = civil_of(unix_ms);
    int len = snprintf(out, CLOCK_TEXT_MAX, "%04llu-%02u-%02uT%02u:%02u:%02u.%03uZ",
                       (unsigned long long)at.year, at.month, at.day, at.hour, at.minute, at.second,
                       at.ms);
    CHECK(len > 0 && len < CLOCK_TEXT_MAX);
    return (size_t)len;
}

size_t clock_rfc5322(uint64_t unix_ms, char out[CLOCK_TEXT_MAX])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil at = civil_of(unix_ms);
    int len = snprintf(out, CLOCK_TEXT_MAX, "%s, %02u %s %04llu %02u:%02u:%02u +0000",
                       days[at.weekday], at.day, months[at.month - 1], (unsigned long long)at.year,
                       at.hour, at.minute, at.second);
    CHECK(len > 0 && len < CLOCK_TEXT_MAX);
    return (size_t)len;
}

/* RFC 3339 5.6: date "T" time ("Z" or offset). The letters may be lower case and a space may stand
 * for the T, as the notes there allow. Instants before 1970 have no place in unix_ms. */
enum err clock_parse_rfc3339(struct slice text, uint64_t *unix_ms)
{
    struct civil at = {.year = 0};
    int64_t zone_minutes = 0;
    char separator = '\0';
    if (!take_date(&text, &at) || !take_byte(&text, "Tt ", &separator) || !take_time(&text, &at) ||
        !take_zone(&text, &zone_minutes) || text.len != 0) {
        return ERR_INVALID;
    }
    int64_t minutes = (int64_t)days_of(&at) - DAYS_TO_EPOCH;
    minutes = minutes * 1440 + at.hour * 60 + at.minute - zone_minutes;
    if (minutes < 0) {
        return ERR_INVALID;
    }
    /* RFC 3339 5.7: a leap second ends a UTC day. It counts as the first second of the next. */
    if (at.second == 60 && minutes % 1440 != 1439) {
        return ERR_INVALID;
    }
    *unix_ms = ((uint64_t)minutes * 60 + at.second) * MS_PER_SECOND + at.ms;
    return ERR_OK;
}

void clock_set_fake(uint64_t mono_ms, uint64_t unix_ms)
{
    fake_mono_ms = mono_ms;
    fake_unix_ms = unix_ms;
}

static bool is_fake(void)
{
    return fake_mono_ms != 0 || fake_unix_ms != 0;
}

static struct timespec read_clock(clockid_t which)
{
    struct timespec now;
    int result = clock_gettime(which, &now);
    CHECK(result == 0); /* both clocks exist on every Linux */
    return now;
}

static struct civil civil_of(uint64_t unix_ms)
{
    uint64_t day = unix_ms / MS_PER_DAY;
    uint32_t ms = (uint32_t)(unix_ms % MS_PER_DAY);
    uint64_t shifted = day + DAYS_TO_EPOCH;
    uint64_t era = shifted / DAYS_PER_ERA;
    uint32_t day_of_era = (uint32_t)(shifted % DAYS_PER_ERA);
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t march_month = (5 * day_of_year + 2) / 153; /* 0 is March */
    uint32_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    return (struct civil){
        .year = era * 400 + year_of_era + (month <= 2 ? 1 : 0),
        .month = month,
        .day = day_of_year - (153 * march_month + 2) / 5 + 1,
        .weekday = (uint32_t)((day + 4) % 7), /* 1970-01-01 was a Thursday */
        .hour = ms / 3600000,
        .minute = ms / 60000 % 60,
        .second = ms / 1000 % 60,
        .ms = ms % 1000,
    };
}

/* Days since 0000-03-01. January and February of year 0 lie before it and wrap; the caller's
 * arithmetic is signed and takes them for what they are: long before 1970. */
static uint64_t days_of(const struct civil *date)
{
    uint64_t year = date->year + 400; /* stay positive in January of year 0 */
    if (date->month <= 2) {
        year--;
    }
    uint64_t era = year / 400;
    uint32_t year_of_era = (uint32_t)(year % 400);
    uint32_t march_month = date->month > 2 ? date->month - 3 : date->month + 9;
    uint32_t day_of_year = (153 * march_month + 2) / 5 + date->day - 1;
    uint32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_PER_ERA;
}

static uint32_t days_in_month(uint64_t year, uint32_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap ? 29 : days[month - 1];
}

static bool take_number(struct slice *rest, size_t digits, uint32_t *out)
{
    uint64_t value = 0;
    if (rest->len < digits || slice_u64(slice_head(*rest, digits), &value) != ERR_OK) {
        return false;
    }
    *out = (uint32_t)value; /* four digits at most */
    *rest = slice_from(*rest, digits);
    return true;
}

static bool take_byte(struct slice *rest, const char *choices, char *out)
{
    if (rest->len == 0 || !slice_has_byte(slice_str(choices), rest->data[0])) {
        return false;
    }
    *out = rest->data[0];
    *rest = slice_from(*rest, 1);
    return true;
}

static bool take_date(struct slice *rest, struct civil *out)
{
    uint32_t year = 0;
    char dash = '\0';
    if (!take_number(rest, 4, &year) || !take_byte(rest, "-", &dash) ||
        !take_number(rest, 2, &out->month) || !take_byte(rest, "-", &dash) ||
        !take_number(rest, 2, &out->day)) {
        return false;
    }
    out->year = year;
    return out->month >= 1 && out->month <= 12 && out->day >= 1 &&
           out->day <= days_in_month(year, out->month);
}

static bool take_time(struct slice *rest, struct civil *out)
{
    char mark = '\0';
    if (!take_number(rest, 2, &out->hour) || !take_byte(rest, ":", &mark) ||
        !take_number(rest, 2, &out->minute) || !take_byte(rest, ":", &mark) ||
        !take_number(rest, 2, &out->second)) {
        return false;
    }
    if (out->hour > 23 || out->minute > 59 || out->second > 60) {
        return false;
    }
    out->ms = 0;
    if (!take_byte(rest, ".", &mark)) {
        return true;
    }
    size_t digits = 0;
    uint32_t digit = 0;
    while (take_number(rest, 1, &digit)) {
        static const uint32_t weights[] = {100, 10, 1};
        if (digits < ARRAY_LEN(weights)) { /* finer than a millisecond is cut off */
            out->ms += digit * weights[digits];
        }
        digits++;
    }
    return digits > 0;
}

static bool take_zone(struct slice *rest, int64_t *offset_minutes)
{
    char mark = '\0';
    if (take_byte(rest, "Zz", &mark)) {
        *offset_minutes = 0;
        return true;
    }
    char sign = '\0';
    uint32_t hours = 0;
    uint32_t minutes = 0;
    if (!take_byte(rest, "+-", &sign) || !take_number(rest, 2, &hours) ||
        !take_byte(rest, ":", &mark) || !take_number(rest, 2, &minutes) || hours > 23 ||
        minutes > 59) {
        return false;
    }
    int64_t total = (int64_t)hours * 60 + minutes;
    *offset_minutes = sign == '-' ? -total : total;
    return true;
}
