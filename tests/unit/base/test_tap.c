/* Live dialogues: which lines come into which ring, and what ends them.
 *
 * Not covered here: what is said at all (tests/flow/test_trace.c).
 */
#include "base/tap.h"

#include <criterion/criterion.h>
#include <string.h>

#define ALL_KINDS ((1U << TAP_KIND_COUNT) - 1)

struct scene {
    struct tap_table table;
    struct arena arena;
    struct account_id account;
    struct tap_facts facts;
};

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.account = {7}};
    arena_init(&scene->arena, 4096, 8 << 20);
    scene->facts = (struct tap_facts){.kind = TAP_SMTP_OUT,
                                      .accounts = &scene->account,
                                      .account_count = 1,
                                      .site = SLICE("pool|dest.test"),
                                      .domain = SLICE("in.dest.test"),
                                      .sender = SLICE("a@send.test")};
}

static void scene_fini(struct scene *scene)
{
    tap_fini(&scene->table);
    cr_expect_eq(scene->table.on_count, 0);
    arena_fini(&scene->arena);
}

static void start(struct scene *scene, const struct tap_rule *rule)
{
    struct tap_rule wanted = *rule;
    wanted.kinds = wanted.kinds == 0 ? ALL_KINDS : wanted.kinds;
    cr_assert_eq(tap_start(&scene->table, &wanted, 1000), ERR_OK);
}

static struct tap_page read_page(struct scene *scene, uint64_t id, uint64_t after)
{
    struct tap_page page;
    cr_assert_eq(tap_read(&scene->table, id, after, &scene->arena, &page), ERR_OK);
    return page;
}

static void say(struct scene *scene, struct tap_talk *talk, const char *text)
{
    tap_say(&scene->table, talk, &scene->facts, "C: ", slice_str(text));
}

Test(tap, without_a_trace_nothing_is_kept)
{
    struct scene scene;
    struct tap_talk talk = {.number = 0};
    scene_init(&scene);
    cr_expect_not(tap_is_on(&scene.table));
    say(&scene, &talk, "hello");
    cr_expect_eq(talk.number, 0);
    tap_talk_end(&scene.table, &talk);
    scene_fini(&scene);
}

static const struct {
    struct tap_rule rule;
    bool fits;
} rules[] = {
    {{.account = {7}}, true},
    {{.account = {8}}, false},
    {{.site = {"pool|dest.test", 14}}, true},
    {{.site = {"DEST.test", 9}}, true},
    {{.site = {"in.dest.test", 12}}, true},
    {{.site = {"est.test", 8}}, false},
    {{.email = {"A@send.test", 11}}, true},
    {{.email = {"b@send.test", 11}}, false},
    {{.has_ip = true, .ip = {{1}}}, false},
    {{.account = {7}, .site = {"else.test", 9}}, false},
    {{.account = {7}, .kinds = 1U << TAP_HTTP}, false},
    {{.account = {7}, .kinds = 1U << TAP_SMTP_OUT}, true},
};

Test(tap, a_rule_wants_all_that_it_names)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct scene scene;
        struct tap_rule rule = rules[i].rule;
        struct tap_talk talk = {.number = 0};
        scene_init(&scene);
        rule.id = 1;
        start(&scene, &rule);
        say(&scene, &talk, "hello");
        cr_expect_eq(read_page(&scene, 1, 0).line_count, rules[i].fits ? 1 : 0, "%zu", i);
        tap_talk_end(&scene.table, &talk);
        scene_fini(&scene);
    }
}

Test(tap, what_was_said_before_it_fitted_follows_in_order)
{
    struct scene scene;
    struct tap_talk talk = {.number = 0};
    scene_init(&scene);
    start(&scene, &(struct tap_rule){.id = 1, .account = {7}});
    scene.facts.account_count = 0;
    say(&scene, &talk, "EHLO\nMAIL");
    cr_expect_eq(read_page(&scene, 1, 0).line_count, 0);
    scene.facts.account_count = 1;
    say(&scene, &talk, "RCPT");
    scene.facts.account_count = 0; /* it has fitted once */
    say(&scene, &talk, "DATA");
    struct tap_page page = read_page(&scene, 1, 0);
    static const char *const wanted[] = {"C: EHLO", "C: MAIL", "C: RCPT", "C: DATA"};
    cr_assert_eq(page.line_count, ARRAY_LEN(wanted));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_expect(slice_equal(page.lines[i].text, slice_str(wanted[i])), "%.*s",
                  SLICE_FMT(page.lines[i].text));
        cr_expect_eq(page.lines[i].number, i + 1);
        cr_expect_eq(page.lines[i].talk, talk.number);
    }
    cr_expect_eq(read_page(&scene, 1, page.last).line_count, 0);
    cr_expect_eq(scene.table.aside_bytes, 0, "nobody wants them later");
    tap_talk_end(&scene.table, &talk);
    scene_fini(&scene);
}

Test(tap, a_dialogue_of_an_earlier_trace_is_not_the_next_ones)
{
    struct scene scene;
    struct tap_talk talk = {.number = 0};
    scene_init(&scene);
    start(&scene, &(struct tap_rule){.id = 1, .account = {7}});
    say(&scene, &talk, "one");
    tap_stop(&scene.table, 1);
    start(&scene, &(struct tap_rule){.id = 2, .account = {8}});
    say(&scene, &talk, "two");
    cr_expect_eq(read_page(&scene, 2, 0).line_count, 0);
    struct tap_page page;
    cr_expect_eq(tap_read(&scene.table, 1, 0, &scene.arena, &page), ERR_NOT_FOUND);
    tap_talk_end(&scene.table, &talk);
    cr_expect_eq(scene.table.aside_bytes, 0);
    scene_fini(&scene);
}

Test(tap, a_ring_has_a_ceiling_and_tells_what_was_lost)
{
    struct scene scene;
    struct tap_talk talk = {.number = 0};
    char text[401];
    scene_init(&scene);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    start(&scene, &(struct tap_rule){.id = 1, .account = {7}});
    for (int i = 0; i < 2000; i++) {
        say(&scene, &talk, text);
    }
    struct tap_page page = read_page(&scene, 1, 0);
    cr_expect_gt(page.lost, 1000);
    cr_expect_gt(page.line_count, 100);
    while (page.last < 2000) {
        page = read_page(&scene, 1, page.last);
        cr_expect_eq(page.lost, 0);
    }
    tap_talk_end(&scene.table, &talk);
    scene_fini(&scene);
}

Test(tap, traces_are_few_and_end_by_themselves)
{
    struct scene scene;
    struct tap_talk talk = {.number = 0};
    struct tap_rule rule = {.id = 1, .account = {7}, .kinds = ALL_KINDS};
    scene_init(&scene);
    for (uint64_t i = 1; i <= TRACES_MAX; i++) {
        rule.id = i;
        cr_assert_eq(tap_start(&scene.table, &rule, 1000 * i), ERR_OK);
        cr_assert_eq(tap_start(&scene.table, &rule, 5), ERR_OK, "again changes nothing");
    }
    rule.id = 99;
    cr_expect_eq(tap_start(&scene.table, &rule, 1000), ERR_QUOTA);
    say(&scene, &talk, "hello");
    cr_expect_eq(tap_expire(&scene.table, 999), 1000);
    cr_expect_eq(tap_expire(&scene.table, 1000), 2000);
    say(&scene, &talk, "more");
    struct tap_page page = read_page(&scene, 1, 0);
    cr_expect(page.is_over);
    cr_expect_eq(page.line_count, 1, "what is over takes nothing more, and can be read");
    cr_expect_eq(read_page(&scene, 2, 0).line_count, 2);
    cr_expect_eq(tap_expire(&scene.table, 1000000), UINT64_MAX);
    cr_expect_not(tap_is_on(&scene.table));
    tap_talk_end(&scene.table, &talk);
    scene_fini(&scene);
}

static const struct {
    const char *path;
    const char *shown;
} paths[] = {
    {"/v1/send", "/v1/send"},
    {"/", "/"},
    {"", ""},
    {"/api/messages/msg_0351aIRRbk7tkkO4uwEvSa", "/api/messages/msg_0351aIRRbk7tkkO4uwEvSa"},
    {"/api/admin/users/somebody.long@customer.test",
     "/api/admin/users/somebody.long@customer.test"},
    {"/u/AbCdEfGhIjKlMnOpQrStUvWxYz", "/u/(hidden)"},
    {"/a?exp=1&sig=abc", "/a?exp=(hidden)&sig=(hidden)"},
    {"/a?secret", "/a?(hidden)"},
    {"?limit=5", "?limit=(hidden)"},
    {"//AbCdEfGhIjKlMnOpQrStUvWxYz/x?", "//(hidden)/x"},
};

Test(tap, tokens_in_paths_and_queries_are_hidden)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct buf out;
        buf_init(&out, 1000);
        tap_path(slice_str(paths[i].path), &out);
        cr_expect(slice_equal(buf_slice(&out), slice_str(paths[i].shown)), "%s: %.*s",
                  paths[i].path, SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
}

Test(tap, secrets_in_urls_are_hidden_wherever_they_stand)
{
    static const struct {
        const char *url;
        const char *shown;
    } urls[] = {
        {"https://hooks.test/in?token=SECRET", "hooks.test/in?token=(hidden)"},
        {"https://hooks.test?token=SECRET", "hooks.test/?token=(hidden)"},
        {"https://hooks.test?u=/SECRET&SECRET", "hooks.test/?u=(hidden)&(hidden)"},
        {"https://hooks.test:8443#SECRET", "hooks.test:8443/"},
        {"https://user:SECRET@hooks.test/in", "hooks.test/in"},
        {"https://hooks.test", "hooks.test/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct buf out;
        buf_init(&out, 1000);
        tap_url(slice_str(urls[i].url), &out);
        cr_expect(slice_equal(buf_slice(&out), slice_str(urls[i].shown)), "%s: %.*s", urls[i].url,
                  SLICE_FMT(buf_slice(&out)));
        buf_fini(&out);
    }
}

Test(tap, what_a_terminal_would_obey_is_replaced)
{
    struct scene scene;
    struct tap_talk talk = {.number = 0};
    scene_init(&scene);
    start(&scene, &(struct tap_rule){.id = 1, .account = {7}});
    say(&scene, &talk, "a\x1b[2Jb\r\n\tc\x7f\xc2\x9b\xc3\xa9");
    struct tap_page page = read_page(&scene, 1, 0);
    cr_assert_eq(page.line_count, 2);
    cr_expect(slice_equal(page.lines[0].text, SLICE("C: a?[2Jb")), "%.*s",
              SLICE_FMT(page.lines[0].text));
    cr_expect(slice_equal(page.lines[1].text, SLICE("C: c???\xc3\xa9")));
    tap_talk_end(&scene.table, &talk);
    scene_fini(&scene);
}
