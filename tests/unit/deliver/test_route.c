/* Where mail for a domain goes, by a table of records.
 *
 * Not covered here: the look-ups themselves (tests/unit/net/test_dns), which of the targets is
 * tried and for how long (test_trip).
 */
#include "deliver/route.h"

#include "support/fake_dns.h"

#include <criterion/criterion.h>

struct story {
    struct dns *dns;
    struct route route;
    uint32_t found;
};

static void on_found(struct route *route)
{
    CONTAINER_OF(route, struct story, route)->found += 1;
}

static void story_init(struct story *story, const struct fake_row *rows, size_t count)
{
    *story = (struct story){.found = 0};
    cr_assert_eq(dns_open(NULL, slice_of(NULL, 0), &story->dns), ERR_OK);
    fake_dns_add(story->dns, rows, count);
}

static void find_with(struct story *story, struct route_options options)
{
    options.dns = story->dns;
    options.tcp_port = options.tcp_port == 0 ? 25 : options.tcp_port;
    if (options.name.len == 0) {
        options.name = SLICE("dest.test");
    }
    route_find(&story->route, &options, on_found);
    cr_assert_eq(story->found, 0, "found comes later, never inside");
    while (fake_dns_turn(story->dns) > 0) {
    }
    cr_assert_eq(story->found, 1, "found comes once");
}

static void find(struct story *story)
{
    find_with(story, (struct route_options){.tcp_port = 25});
}

static void story_fini(struct story *story)
{
    free(story->dns);
}

/* "host address, host address" */
static void expect_targets(const struct story *story, const char *expected)
{
    char text[4096] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < story->route.target_count; i++) {
        const struct route_target *target = &story->route.targets[i];
        char addr[ADDR_TEXT_MAX];
        (void)conn_addr_text(&target->addr, addr);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s %s", i > 0 ? ", " : "",
                                target->host, addr);
    }
    cr_assert_str_eq(text, expected);
}

static void expect_verdict(const struct story *story, enum verdict_class class,
                           const char *enhanced)
{
    cr_assert_eq(story->route.target_count, 0);
    cr_assert_eq(story->route.verdict.class, class);
    cr_assert_eq(story->route.verdict.step, SMTP_STEP_RESOLVE);
    cr_assert_str_eq(story->route.verdict.enhanced, enhanced);
    cr_assert_str_neq(story->route.verdict.text, "");
}

#define STORY(story, rows)                                                                         \
    struct story story;                                                                            \
    story_init(&story, rows, ARRAY_LEN(rows))

Test(route, takes_mail_hosts_by_preference)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "c.test", .priority = 65535},
        {.type = DNS_MX, .name = "dest.test", .text = "a.test", .priority = 0},
        {.type = DNS_MX, .name = "dest.test", .text = "b.test", .priority = 20},
        {.type = DNS_A, .name = "a.test", .text = "198.18.0.1"},
        {.type = DNS_A, .name = "b.test", .text = "198.18.0.2"},
        {.type = DNS_A, .name = "c.test", .text = "198.18.0.3"},
        {.type = DNS_A, .name = "dest.test", .text = "198.18.0.9"}, /* not asked: there are MX */
    };
    STORY(story, rows);
    find_with(&story, (struct route_options){.allows_private = true});
    expect_targets(&story, "a.test 198.18.0.1, b.test 198.18.0.2, c.test 198.18.0.3");
    story_fini(&story);
}

Test(route, gives_every_target_the_port)
{
    static const struct fake_row rows[] = {
        {.type = DNS_A, .name = "dest.test", .text = "8.8.4.4"},
        {.type = DNS_AAAA, .name = "dest.test", .text = "2001:4860::1"},
    };
    STORY(story, rows);
    find_with(&story, (struct route_options){.tcp_port = 2525});
    cr_assert_eq(story.route.target_count, 2);
    cr_assert_eq(conn_addr_port(&story.route.targets[0].addr), 2525);
    cr_assert_eq(conn_addr_port(&story.route.targets[1].addr), 2525);
    story_fini(&story);
}

/* RFC 5321 5.1: the load is spread. Sixty-four times the same of two is a chance of 2^-63. */
Test(route, shuffles_hosts_of_equal_preference)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "last.test", .priority = 20},
        {.type = DNS_MX, .name = "dest.test", .text = "a.test", .priority = 10},
        {.type = DNS_MX, .name = "dest.test", .text = "b.test", .priority = 10},
        {.type = DNS_A, .name = "a.test", .text = "8.8.4.1"},
        {.type = DNS_A, .name = "b.test", .text = "8.8.4.2"},
        {.type = DNS_A, .name = "last.test", .text = "8.8.4.3"},
    };
    uint32_t a_first = 0;
    for (uint32_t i = 0; i < 64; i++) {
        STORY(story, rows);
        find(&story);
        cr_assert_eq(story.route.target_count, 3);
        a_first += strcmp(story.route.targets[0].host, "a.test") == 0;
        cr_assert_str_eq(story.route.targets[2].host, "last.test");
        story_fini(&story);
    }
    cr_assert_gt(a_first, 0);
    cr_assert_lt(a_first, 64);
}

Test(route, tries_ipv4_first_at_each_host)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "a.test", .priority = 1},
        {.type = DNS_MX, .name = "dest.test", .text = "b.test", .priority = 2},
        {.type = DNS_AAAA, .name = "a.test", .text = "2001:4860::1"},
        {.type = DNS_A, .name = "a.test", .text = "8.8.4.1"},
        {.type = DNS_AAAA, .name = "b.test", .text = "2001:4860::2"},
        {.type = DNS_A, .name = "b.test", .text = "8.8.4.2"},
    };
    STORY(story, rows);
    find(&story);
    expect_targets(&story, "a.test 8.8.4.1, a.test 2001:4860::1, "
                           "b.test 8.8.4.2, b.test 2001:4860::2");
    story_fini(&story);
}

Test(route, goes_to_the_domain_itself_without_mx)
{
    static const struct fake_row rows[] = {
        {.type = DNS_AAAA, .name = "dest.test", .text = "2001:4860::1"},
    };
    STORY(story, rows);
    find(&story);
    expect_targets(&story, "dest.test 2001:4860::1");
    story_fini(&story);
}

Test(route, of_a_host_asks_for_no_mx)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "relay.test", .text = "wrong.test"},
        {.type = DNS_A, .name = "relay.test", .text = "10.0.0.1"},
    };
    STORY(story, rows);
    find_with(&story, (struct route_options){
                          .name = SLICE("relay.test"), .is_host = true, .allows_private = true});
    expect_targets(&story, "relay.test 10.0.0.1");
    cr_assert_eq(story.dns->question_count, 2);
    story_fini(&story);
}

Test(route, passes_over_hosts_without_an_address)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "missing.test", .priority = 1},
        {.type = DNS_MX,
         .name = "dest.test",
         .text = "",
         .priority = 2}, /* a null MX among others */
        {.type = DNS_MX, .name = "dest.test", .text = "slow.test", .priority = 3},
        {.type = DNS_MX, .name = "dest.test", .text = "good.test", .priority = 4},
        {.type = DNS_A, .name = "slow.test", .err = ERR_DNS_TEMP},
        {.type = DNS_AAAA, .name = "slow.test", .err = ERR_DNS_TEMP},
        {.type = DNS_A, .name = "good.test", .text = "8.8.4.1"},
    };
    STORY(story, rows);
    find(&story);
    expect_targets(&story, "good.test 8.8.4.1");
    story_fini(&story);
}

static const struct fake_row null_mx[] = {{.type = DNS_MX, .name = "dest.test", .text = ""}};
static const struct fake_row other_name[] = {
    {.type = DNS_A, .name = "other.test", .text = "8.8.4.1"}};
static const struct fake_row mx_temp[] = {
    {.type = DNS_MX, .name = "dest.test", .err = ERR_DNS_TEMP},
    {.type = DNS_A, .name = "dest.test", .text = "8.8.4.1"}, /* RFC 5321 5.1: not instead of MX */
};
static const struct fake_row hosts_temp[] = {
    {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
    {.type = DNS_A, .name = "a.test", .err = ERR_DNS_TEMP},
    {.type = DNS_AAAA, .name = "a.test", .err = ERR_DNS_NONE},
};
static const struct fake_row no_address[] = {
    {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
    {.type = DNS_MX, .name = "dest.test", .text = "b.test"},
};
static const struct fake_row nothing_at_all[] = {
    {.type = DNS_TXT, .name = "dest.test", .text = "v=spf1 -all"},
};
static const struct fake_row only_private[] = {
    {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
    {.type = DNS_A, .name = "a.test", .text = "127.0.0.1"},
    {.type = DNS_A, .name = "a.test", .text = "192.168.1.1"},
    {.type = DNS_AAAA, .name = "a.test", .text = "::1"},
    {.type = DNS_AAAA, .name = "a.test", .text = "::ffff:10.0.0.1"},
};
static const struct fake_row private_or_temp[] = {
    {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
    {.type = DNS_A, .name = "a.test", .text = "127.0.0.1"},
    {.type = DNS_AAAA, .name = "a.test", .err = ERR_DNS_TEMP},
};

#define DEAD_END(label, rows, class, enhanced)                                                     \
    {                                                                                              \
        label, rows, ARRAY_LEN(rows), class, enhanced                                              \
    }
static const struct {
    const char *name;
    const struct fake_row *rows;
    size_t count;
    enum verdict_class class;
    const char *enhanced;
} dead_ends[] = {
    DEAD_END("null MX, RFC 7505", null_mx, VERDICT_BOUNCED, "5.1.10"),
    DEAD_END("the domain does not exist", other_name, VERDICT_BOUNCED, "5.1.2"),
    DEAD_END("MX not known for now", mx_temp, VERDICT_DEFERRED, "4.4.3"),
    DEAD_END("addresses not known for now", hosts_temp, VERDICT_DEFERRED, "4.4.3"),
    DEAD_END("hosts that do not exist", no_address, VERDICT_DEFERRED, "4.4.4"),
    DEAD_END("neither MX nor address", nothing_at_all, VERDICT_DEFERRED, "4.4.4"),
    DEAD_END("private addresses", only_private, VERDICT_BOUNCED, "5.4.4"),
    DEAD_END("private, but more is to be known", private_or_temp, VERDICT_DEFERRED, "4.4.3"),
};

Test(route, says_why_there_is_none)
{
    for (size_t i = 0; i < ARRAY_LEN(dead_ends); i++) {
        struct story story;
        story_init(&story, dead_ends[i].rows, dead_ends[i].count);
        find(&story);
        cr_assert_eq(story.route.target_count, 0, "%s", dead_ends[i].name);
        expect_verdict(&story, dead_ends[i].class, dead_ends[i].enhanced);
        enum verdict_scope scope =
            dead_ends[i].class == VERDICT_BOUNCED ? VERDICT_MAIL : VERDICT_HOST;
        cr_assert_eq(story.route.verdict.scope, scope, "%s", dead_ends[i].name);
        story_fini(&story);
    }
}

Test(route, leaves_private_addresses_out_unless_they_are_allowed)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
        {.type = DNS_A, .name = "a.test", .text = "10.1.2.3"},
        {.type = DNS_AAAA, .name = "a.test", .text = "2001:4860::1"},
    };
    for (int allowed = 0; allowed < 2; allowed++) {
        STORY(story, rows);
        find_with(&story, (struct route_options){.allows_private = allowed == 1});
        expect_targets(&story,
                       allowed ? "a.test 10.1.2.3, a.test 2001:4860::1" : "a.test 2001:4860::1");
        story_fini(&story);
    }
}

/* c-ares writes an unprintable byte as \255, so a name of the wire may be four times too long. */
Test(route, ends_when_no_host_has_a_name_that_fits)
{
    char name[4 * DNS_NAME_MAX];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const struct fake_row rows[] = {{.type = DNS_MX, .name = "dest.test", .text = name}};
    STORY(story, rows);
    find(&story);
    expect_verdict(&story, VERDICT_DEFERRED, "4.4.4");
    story_fini(&story);
}

Test(route, keeps_to_its_ceilings_of_hosts_and_addresses)
{
    static char names[20][16];
    struct fake_row rows[60];
    for (size_t i = 0; i < 20; i++) {
        (void)snprintf(names[i], sizeof names[i], "h%02zu.test", i);
        rows[i] = (struct fake_row){
            .type = DNS_MX, .name = "dest.test", .text = names[i], .priority = (uint16_t)i};
        rows[20 + i] = (struct fake_row){.type = DNS_A, .name = names[i], .text = "8.8.4.1"};
        rows[40 + i] = (struct fake_row){.type = DNS_A, .name = "h00.test", .text = "8.8.8.8"};
    }
    STORY(story, rows);
    find(&story);
    cr_assert_eq(story.route.host_count, ROUTE_HOSTS_MAX);
    cr_assert_eq(story.route.target_count, ROUTE_ADDRS_MAX);
    cr_assert_eq(story.dns->question_count, 1 + 2 * ROUTE_HOSTS_MAX);
    cr_assert_str_eq(story.route.targets[0].host, "h00.test");
    story_fini(&story);
}

/* At every step of the way: nothing comes afterwards. */
Test(route, is_silent_once_cancelled)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
        {.type = DNS_A, .name = "a.test", .text = "8.8.4.1"},
    };
    for (uint32_t turns = 0; turns < 2; turns++) {
        STORY(story, rows);
        struct route_options options = {
            .dns = story.dns, .name = SLICE("dest.test"), .tcp_port = 25};
        route_find(&story.route, &options, on_found);
        for (uint32_t i = 0; i < turns; i++) {
            cr_assert_gt(fake_dns_turn(story.dns), 0);
        }
        route_cancel(&story.route);
        cr_assert_eq(fake_dns_turn(story.dns), 0, "every question was taken back");
        cr_assert_eq(story.found, 0);
        story_fini(&story);
    }
}

Test(route, may_be_found_again_in_the_same_place)
{
    static const struct fake_row rows[] = {
        {.type = DNS_MX, .name = "dest.test", .text = "a.test"},
        {.type = DNS_A, .name = "a.test", .text = "8.8.4.1"},
    };
    STORY(story, rows);
    find(&story);
    story.found = 0;
    find(&story);
    expect_targets(&story, "a.test 8.8.4.1");
    story_fini(&story);
}
