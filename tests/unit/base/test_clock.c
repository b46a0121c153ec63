/* Not covered here: that the kernel's clocks are right. Texts and instants come from `date -u` of
 * GNU coreutils unless a standard is named.
 */
#include "base/clock.h"

#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    uint64_t unix_ms;
    const char *rfc3339;
    const char *rfc5322;
} dates[] = {
    {0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 +0000"},
    {UINT64_C(951782399999), "2000-02-28T23:59:59.999Z", "Mon, 28 Feb 2000 23:59:59 +0000"},
    {UINT64_C(951782400000), "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 +0000"},
    {UINT64_C(951868800000), "2000-03-01T00:00:00.000Z", "Wed, 01 Mar 2000 00:00:00 +0000"},
    {UINT64_C(1735689599000), "2024-12-31T23:59:59.000Z", "Tue, 31 Dec 2024 23:59:59 +0000"},
    {UINT64_C(1795243131123), "2026-11-21T06:38:51.123Z", "Sat, 21 Nov 2026 06:38:51 +0000"},
    {UINT64_C(4107542400000), "2100-03-01T00:00:00.000Z", "Mon, 01 Mar 2100 00:00:00 +0000"},
    {UINT64_C(253402300799999), "9999-12-31T23:59:59.999Z", "Fri, 31 Dec 9999 23:59:59 +0000"},
};

Test(clock, writes_dates_as_the_standards_do)
{
    for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
        char text[CLOCK_TEXT_MAX];
        cr_assert_eq(clock_rfc3339(dates[i].unix_ms, text), strlen(dates[i].rfc3339));
        cr_assert_str_eq(text, dates[i].rfc3339);
        cr_assert_eq(clock_rfc5322(dates[i].unix_ms, text), strlen(dates[i].rfc5322));
        cr_assert_str_eq(text, dates[i].rfc5322);
    }
}

Test(clock, ignores_the_time_zone_of_the_process)
{
    cr_assert(setenv("TZ", "Pacific/Kiritimati", 1) == 0);
    tzset();
    char text[CLOCK_TEXT_MAX];
    (void)clock_rfc3339(0, text); /* the length is tested above */
    cr_assert_str_eq(text, "1970-01-01T00:00:00.000Z");
}

Test(clock, finds_room_for_any_instant)
{
    char text[CLOCK_TEXT_MAX];
    cr_assert(clock_rfc3339(UINT64_MAX, text) < CLOCK_TEXT_MAX);
    cr_assert(clock_rfc5322(UINT64_MAX, text) < CLOCK_TEXT_MAX);
}

Test(clock, reads_back_every_day_it_writes)
{
    for (uint64_t day = 0; day < 200000; day += 13) { /* to the year 2517 */
        uint64_t unix_ms = day * 86400000 + day * 431 % 86400000;
        char text[CLOCK_TEXT_MAX];
        size_t len = clock_rfc3339(unix_ms, text);
        uint64_t back = 0;
        cr_assert_eq(clock_parse_rfc3339(slice_of(text, len), &back), ERR_OK, "%s", text);
        cr_assert_eq(back, unix_ms, "%s", text);
    }
}

Test(clock, agrees_with_libc_on_every_day)
{
    for (uint64_t day = 0; day < 150000; day += 7) {
        time_t seconds = (time_t)(day * 86400);
        struct tm date;
        cr_assert_not_null(gmtime_r(&seconds, &date));
        char wanted[CLOCK_TEXT_MAX];
        cr_assert(strftime(wanted, sizeof(wanted), "%a, %d %b %Y %H:%M:%S +0000", &date) > 0);
        char text[CLOCK_TEXT_MAX];
        (void)clock_rfc5322(day * 86400000, text); /* the length is tested above */
        cr_assert_str_eq(text, wanted);
    }
}

Test(clock, parses_what_rfc_3339_allows)
{
    static const struct {
        const char *text;
        uint64_t unix_ms;
    } table[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:01z", 1000},
        {"1970-01-01 00:00:01Z", 1000},
        {"1970-01-01T00:00:00.5Z", 500},
        {"1970-01-01T00:00:00.123456789Z", 123},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:00:00-01:00", 0},
        {"1969-12-31T23:59:00-23:59", UINT64_C(86280000)},
        {"1970-01-01T00:00:00-00:00", 0},
        /* RFC 3339 5.8: the examples */
        {"1985-04-12T23:20:50.52Z", UINT64_C(482196050520)},
        {"1996-12-19T16:39:57-08:00", UINT64_C(851042397000)},
        {"1990-12-31T23:59:60Z", UINT64_C(662688000000)},
        {"1990-12-31T15:59:60-08:00", UINT64_C(662688000000)},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint64_t unix_ms = 1;
        cr_assert_eq(clock_parse_rfc3339(slice_str(table[i].text), &unix_ms), ERR_OK, "%s",
                     table[i].text);
        cr_assert_eq(unix_ms, table[i].unix_ms, "%s: %" PRIu64, table[i].text, unix_ms);
    }
}

Test(clock, refuses_what_rfc_3339_does_not_allow)
{
    static const char *const table[] = {
        "",
        "2026",
        "2026-11-21",
        "2026-11-21T06:38:51",       /* no zone */
        "2026-11-21T06:38Z",         /* no seconds */
        "2026-11-21T06:38:51.Z",     /* no digit behind the point */
        "2026-11-21T06:38:51,5Z",    /* ISO 8601, not RFC 3339 */
        "2026-11-21T06:38:51+0100",  /* no colon */
        "2026-11-21T06:38:51+24:00", /* no such zone */
        "2026-11-21T06:38:51+01:60", /* no such zone */
        "2026-11-21T06:38:51Zx",     /* more behind it */
        " 2026-11-21T06:38:51Z",     /* more before it */
        "26-11-21T06:38:51Z",        /* two digits of year */
        "+026-11-21T06:38:51Z",      /* a sign for a digit */
        "2026-13-21T06:38:51Z",      /* no such month */
        "2026-00-21T06:38:51Z",      /* no such month */
        "2026-11-31T06:38:51Z",      /* no such day */
        "2026-11-00T06:38:51Z",      /* no such day */
        "2025-02-29T06:38:51Z",      /* no leap year */
        "2100-02-29T06:38:51Z",      /* no leap year either */
        "2026-11-21T24:00:00Z",      /* no such hour */
        "2026-11-21T06:60:51Z",      /* no such minute */
        "2026-11-21T06:38:61Z",      /* no such second */
        "2026-11-21T06:38:60Z",      /* a leap second ends a day */
        "1969-12-31T23:59:59Z",      /* before the epoch */
        "1970-01-01T00:00:00+00:01", /* before the epoch */
        "0000-01-01T00:00:00Z",      /* long before the epoch */
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint64_t unix_ms = 42;
        cr_assert_eq(clock_parse_rfc3339(slice_str(table[i]), &unix_ms), ERR_INVALID, "%s",
                     table[i]);
        cr_assert_eq(unix_ms, 42, "%s", table[i]);
    }
}

Test(clock, never_runs_backwards)
{
    uint64_t last_us = clock_mono_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t now_us = clock_mono_us();
        cr_assert(now_us >= last_us);
        last_us = now_us;
    }
    cr_assert(clock_unix_ms() > UINT64_C(1700000000000), "wall time is milliseconds since 1970");
}

Test(clock, shows_the_fake_time_until_told_otherwise)
{
    clock_set_fake(5000, 1000000);
    cr_assert_eq(clock_mono_ms(), 5000);
    cr_assert_eq(clock_mono_us(), 5000000);
    cr_assert_eq(clock_unix_ms(), 1000000);
    clock_set_fake(0, 0);
    cr_assert(clock_unix_ms() > UINT64_C(1700000000000));
}

Test(clock, adds_the_offset_to_wall_time_only)
{
    uint64_t before_mono_ms = clock_mono_ms();
    uint64_t before_unix_ms = clock_unix_ms();
    clock_set_offset(UINT64_C(86400000));
    cr_assert(clock_unix_ms() >= before_unix_ms + 86400000);
    cr_assert(clock_mono_ms() < before_mono_ms + 86400000);
}

Test(clock, numbers_days_from_the_epoch)
{
    cr_assert_eq(clock_day_of(0), 0);
    cr_assert_eq(clock_day_of(86399999), 0);
    cr_assert_eq(clock_day_of(86400000), 1);
    cr_assert_eq(clock_day_of(UINT64_C(1795243131123)), 20778);
}
