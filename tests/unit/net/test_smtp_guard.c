/* test_smtp_guard.c - limits per address on a clock that the tests move.
 *
 * Not covered here: who asks the guard, and what is said to who is refused (edge).
 */
#include "net/smtp_guard.h"

#include "base/crypto.h"

#include <criterion/criterion.h>
#include <signal.h>

#define DAY_MS UINT64_C(86400000)

static const struct smtp_guard_options usual = {
    .sessions_max = 3,
    .connects_max = 6,
    .auth_failures_max = 3,
    .rcpt_failures_max = 4,
    .window_ms = 60000,
    .ban_ms = 10000,
};

static struct smtp_guard *guard_with(const struct smtp_guard_options *options)
{
    crypto_init();
    return smtp_guard_new(options);
}

static struct ip6 ip_of(const char *text)
{
    struct ip6 ip;
    cr_assert_eq(ip6_parse(slice_str(text), &ip), ERR_OK);
    return ip;
}

/* The n-th address of 10.0.0.0/8. */
static struct ip6 nth_ip(uint32_t n)
{
    struct ip6 ip = {.bytes = {[10] = 0xff, [11] = 0xff, [12] = 10}};
    ip.bytes[13] = (uint8_t)(n >> 16);
    ip.bytes[14] = (uint8_t)(n >> 8);
    ip.bytes[15] = (uint8_t)n;
    return ip;
}

static void come_and_go(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms)
{
    cr_assert_eq(smtp_guard_enter(guard, ip, now_ms), SMTP_GUARD_OK);
    smtp_guard_leave(guard, ip, now_ms);
}

Test(smtp_guard, counts_sessions_at_once)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    const struct ip6 other = ip_of("192.0.2.2");
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    }
    cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_BUSY);
    cr_expect_eq(smtp_guard_enter(guard, &other, DAY_MS), SMTP_GUARD_OK);
    smtp_guard_leave(guard, &ip, DAY_MS);
    cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    cr_expect_eq(smtp_guard_count(guard), 2);
    smtp_guard_free(guard);
}

Test(smtp_guard, slows_connections_to_their_rate)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    uint64_t now_ms = DAY_MS;
    for (int i = 0; i < 6; i++) {
        come_and_go(guard, &ip, now_ms);
    }
    for (int i = 0; i < 100; i++) { /* asking too early costs nothing */
        cr_expect_eq(smtp_guard_enter(guard, &ip, now_ms + 9999), SMTP_GUARD_FAST);
    }
    /* One every ten seconds. */
    for (int i = 0; i < 5; i++) {
        now_ms += 10000;
        come_and_go(guard, &ip, now_ms);
        cr_expect_eq(smtp_guard_enter(guard, &ip, now_ms), SMTP_GUARD_FAST);
    }
    now_ms += 60000;
    for (int i = 0; i < 6; i++) {
        come_and_go(guard, &ip, now_ms);
    }
    cr_expect_eq(smtp_guard_enter(guard, &ip, now_ms), SMTP_GUARD_FAST);
    smtp_guard_free(guard);
}

Test(smtp_guard, bans_who_guesses_credentials_for_a_while)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    uint64_t now_ms = DAY_MS;
    cr_assert_eq(smtp_guard_enter(guard, &ip, now_ms), SMTP_GUARD_OK);
    cr_expect_not(smtp_guard_auth_failed(guard, &ip, now_ms));
    cr_expect_not(smtp_guard_auth_failed(guard, &ip, now_ms));
    cr_expect_eq(smtp_guard_ban_left_ms(guard, &ip, now_ms), 0);
    cr_expect(smtp_guard_auth_failed(guard, &ip, now_ms));
    cr_expect_eq(smtp_guard_ban_left_ms(guard, &ip, now_ms), 10000);
    smtp_guard_leave(guard, &ip, now_ms);
    cr_expect_eq(smtp_guard_enter(guard, &ip, now_ms + 9999), SMTP_GUARD_BANNED);
    cr_expect_eq(smtp_guard_ban_left_ms(guard, &ip, now_ms + 9999), 1);
    cr_expect_eq(smtp_guard_ban_count(guard), 1);
    now_ms += 10000;
    cr_expect_eq(smtp_guard_enter(guard, &ip, now_ms), SMTP_GUARD_OK);
    cr_expect_eq(smtp_guard_ban_count(guard), 0);
    cr_expect_not(smtp_guard_auth_failed(guard, &ip, now_ms)); /* counted anew */
    smtp_guard_free(guard);
}

Test(smtp_guard, forgives_failures_that_are_rare)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    cr_assert_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    for (uint64_t i = 0; i < 100; i++) {
        cr_expect_not(smtp_guard_auth_failed(guard, &ip, DAY_MS + i * 20000));
    }
    smtp_guard_free(guard);
}

Test(smtp_guard, counts_unknown_recipients_apart)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    cr_assert_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    cr_expect_not(smtp_guard_auth_failed(guard, &ip, DAY_MS));
    cr_expect_not(smtp_guard_auth_failed(guard, &ip, DAY_MS));
    for (int i = 0; i < 3; i++) {
        cr_expect_not(smtp_guard_rcpt_failed(guard, &ip, DAY_MS));
    }
    cr_expect(smtp_guard_rcpt_failed(guard, &ip, DAY_MS));
    smtp_guard_leave(guard, &ip, DAY_MS);
    cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_BANNED);
    cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS + 10000), SMTP_GUARD_OK);
    cr_expect_not(smtp_guard_rcpt_failed(guard, &ip, DAY_MS + 10000)); /* counted anew */
    cr_expect_not(smtp_guard_rcpt_failed(guard, &ip, DAY_MS + 10000));
    smtp_guard_free(guard);
}

Test(smtp_guard, keeps_a_ban_while_sessions_go_on)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    cr_assert_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    cr_assert_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    for (int i = 0; i < 3; i++) {
        (void)smtp_guard_auth_failed(guard, &ip, DAY_MS);
    }
    cr_expect(smtp_guard_rcpt_failed(guard, &ip, DAY_MS + 1)); /* the other session learns it */
    smtp_guard_leave(guard, &ip, DAY_MS + 2);
    smtp_guard_leave(guard, &ip, DAY_MS + 2);
    cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS + 3), SMTP_GUARD_BANNED);
    cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS + 10000), SMTP_GUARD_OK);
    smtp_guard_free(guard);
}

Test(smtp_guard, takes_a_v6_network_for_one_and_v4_for_each)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ips[] = {ip_of("2001:db8:1:2::1"), ip_of("2001:db8:1:2::2"),
                              ip_of("2001:db8:1:2:ffff::3")};
    const struct ip6 next = ip_of("2001:db8:1:3::1");
    const struct ip6 v4s[] = {ip_of("192.0.2.1"), ip_of("192.0.2.2"), ip_of("192.0.2.3"),
                              ip_of("192.0.2.4")};
    for (size_t i = 0; i < ARRAY_LEN(ips); i++) {
        cr_expect_eq(smtp_guard_enter(guard, &ips[i], DAY_MS), SMTP_GUARD_OK);
    }
    cr_expect_eq(smtp_guard_enter(guard, &ips[0], DAY_MS), SMTP_GUARD_BUSY);
    cr_expect_eq(smtp_guard_enter(guard, &next, DAY_MS), SMTP_GUARD_OK);
    for (size_t i = 0; i < ARRAY_LEN(v4s); i++) {
        cr_expect_eq(smtp_guard_enter(guard, &v4s[i], DAY_MS), SMTP_GUARD_OK);
    }
    cr_expect_eq(smtp_guard_count(guard), 6);
    smtp_guard_free(guard);
}

Test(smtp_guard, limits_nothing_that_is_switched_off)
{
    static const struct smtp_guard_options off = {.window_ms = 60000, .ban_ms = 10000};
    struct smtp_guard *guard = guard_with(&off);
    const struct ip6 ip = ip_of("192.0.2.1");
    for (int i = 0; i < 1000; i++) {
        cr_expect_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
        cr_expect_not(smtp_guard_auth_failed(guard, &ip, DAY_MS));
        cr_expect_not(smtp_guard_rcpt_failed(guard, &ip, DAY_MS));
    }
    smtp_guard_free(guard);
}

Test(smtp_guard, forgets_the_least_recent_first_and_no_open_session)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 open = ip_of("192.0.2.1");
    const struct ip6 banned = ip_of("192.0.2.2");
    const struct ip6 seen = nth_ip(0);
    cr_assert_eq(smtp_guard_enter(guard, &open, DAY_MS), SMTP_GUARD_OK);
    cr_assert_eq(smtp_guard_enter(guard, &banned, DAY_MS), SMTP_GUARD_OK);
    for (int i = 0; i < 3; i++) {
        (void)smtp_guard_auth_failed(guard, &banned, DAY_MS);
    }
    smtp_guard_leave(guard, &banned, DAY_MS);
    for (uint32_t i = 0; i < 6; i++) {
        come_and_go(guard, &seen, DAY_MS);
    }
    for (uint32_t i = 1; i <= 2 * SMTP_GUARD_ENTRIES; i++) {
        const struct ip6 ip = nth_ip(i);
        come_and_go(guard, &ip, DAY_MS);
        if (i < SMTP_GUARD_ENTRIES) { /* whoever is seen again stays */
            cr_expect_eq(smtp_guard_enter(guard, &seen, DAY_MS), SMTP_GUARD_FAST);
        }
        cr_assert_leq(smtp_guard_count(guard), SMTP_GUARD_ENTRIES);
    }
    cr_expect_eq(smtp_guard_count(guard), SMTP_GUARD_ENTRIES);
    cr_expect_eq(smtp_guard_enter(guard, &seen, DAY_MS), SMTP_GUARD_OK); /* forgotten by now */
    cr_expect_eq(smtp_guard_enter(guard, &banned, DAY_MS), SMTP_GUARD_BANNED);
    smtp_guard_leave(guard, &open, DAY_MS);
    smtp_guard_free(guard);
}

Test(smtp_guard, ends_the_oldest_ban_when_there_are_too_many)
{
    static const struct smtp_guard_options strict = {
        .auth_failures_max = 1, .window_ms = 60000, .ban_ms = 10000};
    struct smtp_guard *guard = guard_with(&strict);
    const struct ip6 first = nth_ip(0);
    const struct ip6 second = nth_ip(1);
    for (uint32_t i = 0; i <= SMTP_GUARD_BANS; i++) {
        const struct ip6 ip = nth_ip(i);
        if (i > 0) { /* knocking does not make a ban younger */
            cr_assert_eq(smtp_guard_enter(guard, &first, DAY_MS), SMTP_GUARD_BANNED);
        }
        cr_assert_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
        cr_assert(smtp_guard_auth_failed(guard, &ip, DAY_MS));
        smtp_guard_leave(guard, &ip, DAY_MS);
    }
    cr_expect_eq(smtp_guard_ban_count(guard), SMTP_GUARD_BANS);
    cr_expect_eq(smtp_guard_enter(guard, &first, DAY_MS), SMTP_GUARD_OK);
    cr_expect_eq(smtp_guard_enter(guard, &second, DAY_MS), SMTP_GUARD_BANNED);
    smtp_guard_free(guard);
}

Test(smtp_guard, refuses_new_addresses_when_all_have_sessions)
{
    struct smtp_guard *guard = guard_with(&usual);
    for (uint32_t i = 0; i < SMTP_GUARD_ENTRIES; i++) {
        const struct ip6 ip = nth_ip(i);
        cr_assert_eq(smtp_guard_enter(guard, &ip, DAY_MS), SMTP_GUARD_OK);
    }
    const struct ip6 one_more = ip_of("192.0.2.1");
    cr_expect_eq(smtp_guard_enter(guard, &one_more, DAY_MS), SMTP_GUARD_BUSY);
    const struct ip6 known = nth_ip(7);
    cr_expect_eq(smtp_guard_enter(guard, &known, DAY_MS), SMTP_GUARD_OK);
    smtp_guard_leave(guard, &known, DAY_MS);
    smtp_guard_leave(guard, &known, DAY_MS);
    cr_expect_eq(smtp_guard_enter(guard, &one_more, DAY_MS), SMTP_GUARD_OK);
    smtp_guard_free(guard);
}

Test(smtp_guard, stops_at_a_leave_without_a_session, .signal = SIGABRT)
{
    struct smtp_guard *guard = guard_with(&usual);
    const struct ip6 ip = ip_of("192.0.2.1");
    come_and_go(guard, &ip, DAY_MS);
    smtp_guard_leave(guard, &ip, DAY_MS);
}
