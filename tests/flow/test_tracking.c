/* Flow: opens and clicks, from the mail that a server received to what its sender is told.
 *
 * Not covered here: which HTML changes how (tests/unit/mail/test_track_html.c), who is taken for a
 * program (tests/unit/shards/test_track.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <string.h>

#include "support/client.h"
#include "support/world.h"

#define BROWSER "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
#define TARGET  "https://shop.example/?a=1&b=%C3%BC#x"

struct scene {
    struct world *world;
    struct peer *sink;
    const char *domain;
};

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    char *text = arena_bytes(&world->arena, strlen(body) + 1);
    for (size_t i = 0; i <= strlen(body); i++) {
        text[i] = body[i] == '\'' ? '"' : body[i];
    }
    struct world_call request = {.method = method, .path = path, .body = slice_str(text)};
    return world_call(world, &request);
}

static struct scene begin(void)
{
    struct scene scene = {.world = world_new()};
    world_set(scene.world, "track_bot_ms", "0"); /* tests click at once */
    scene.sink = world_ready_to_send(scene.world);
    scene.domain = reply_text(world_get(scene.world, "/api/domains"), "0.id");
    return scene;
}

static const char *send_shop(struct scene *scene, const char *more)
{
    struct world *world = scene->world;
    struct reply *sent =
        call(world, "POST", "/v1/send",
             world_text(world,
                        "{'from':'a@send.test','to':'b@dest.test','subject':'s',"
                        "'html':'<body><a href=\\'https://shop.example/?a=1&amp;b=\xc3\xbc#x\\'>"
                        "shop</a><a href=\\'mailto:a@send.test\\'>m</a></body>'%s}",
                        more));
    cr_assert_eq(sent->status, 202, "%.*s", SLICE_FMT(sent->body));
    return reply_text(sent, "id");
}

/* The first link of that kind in the html as it was sent. */
static const char *cut_link(struct world *world, struct reply *read, const char *kind)
{
    const char *at = strstr(reply_text(read, "message.html_body"), kind);
    cr_assert_not_null(at, "no link %s in %s", kind, reply_text(read, "message.html_body"));
    struct slice rest = slice_str(at);
    return world_text(world, "%.*s", SLICE_FMT(slice_head(rest, slice_find_byte(rest, '"'))));
}

static struct reply *follow(struct world *world, const char *method, const char *path)
{
    struct world_call request = {
        .method = method, .path = path, .bearer = "", .headers = {BROWSER}};
    return world_call(world, &request);
}

/* Waits until the member is that number; what is counted comes after the answer. */
static struct reply *await_count(struct world *world, const char *id, const char *path,
                                 long long want)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct reply *read;
    do {
        read = world_get(world, "/api/messages/%s", id);
    } while (reply_int(read, path) != want && wait_more(&wait));
    cr_assert_eq(reply_int(read, path), want, "%s: %.*s", path, SLICE_FMT(read->body));
    return read;
}

Test(tracking, an_open_and_a_click_come_back_to_the_sender)
{
    struct scene scene = begin();
    struct world *world = scene.world;
    struct reply *set = call(
        world, "PUT", world_text(world, "/api/domains/%s/webhook", scene.domain),
        world_text(world, "{'url':'http://127.0.0.1:%u/in'}", (unsigned)scene.sink->http_port));
    cr_assert_eq(set->status, 200);
    set = call(world, "PUT", world_text(world, "/api/domains/%s/webhook-events", scene.domain),
               "{'events':['email.clicked']}");
    cr_assert_eq(set->status, 200);
    const char *id = send_shop(&scene, ",'trackOpens':true,'trackClicks':true");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_expect_eq(reply_int(read, "message.opens"), 0);
    cr_expect_not_null(strstr(reply_text(read, "message.html_body"), "mailto:a@send.test"));
    cr_expect_not_null(strstr(reply_text(read, "message.text_body"), "https://shop.example/"),
                       "the text leads there itself");

    const char *picture = cut_link(world, read, "/t/o/");
    struct reply *shown = follow(world, "GET", picture);
    cr_assert_eq(shown->status, 200);
    cr_expect_eq(shown->body.len, 43);
    cr_expect(slice_starts(shown->body, SLICE("GIF89a")));
    cr_expect(slice_equal(reply_header(shown, "content-type"), SLICE("image/gif")));
    cr_expect(slice_equal(reply_header(shown, "cache-control"), SLICE("no-store")));
    read = await_count(world, id, "message.opens", 1);
    cr_expect_eq(reply_int(read, "deliveries.0.opens"), 1);
    cr_expect_gt(reply_int(read, "deliveries.0.opened_at"), 0);

    struct reply *led = follow(world, "GET", cut_link(world, read, "/t/c/"));
    cr_assert_eq(led->status, 302);
    cr_expect(slice_equal(reply_header(led, "location"), SLICE(TARGET)), "%.*s",
              SLICE_FMT(reply_header(led, "location")));
    read = await_count(world, id, "message.clicks", 1);
    cr_expect_str_eq(reply_text(read, "events.3.type"), "email.clicked");
    cr_expect_str_eq(reply_text(read, "events.3.to"), "b@dest.test");
    cr_expect_str_eq(reply_text(read, "events.3.data.url"), TARGET);
    cr_expect_str_eq(reply_text(read, "events.3.data.ip"), "127.0.0.1");
    cr_expect(json_is_false(reply_at(read, "events.3.data.bot")));

    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (world_sink_count(world, scene.sink, "hooks") < 1 && wait_more(&wait)) {
    }
    struct slice hook =
        world_read_file(world, world_text(world, "%s/000001-hook.http", scene.sink->store));
    cr_expect_neq(slice_find(hook, SLICE("\"type\":\"email.clicked\"")), SIZE_MAX, "%.*s",
                  SLICE_FMT(hook));
    cr_expect_neq(slice_find(hook, SLICE("\"click\":{\"url\":\"" TARGET "\"")), SIZE_MAX, "%.*s",
                  SLICE_FMT(hook));
    world_end(world);
}

Test(tracking, a_link_that_is_not_ours_leads_nowhere)
{
    struct scene scene = begin();
    struct world *world = scene.world;
    const char *id = send_shop(&scene, ",'trackOpens':true,'trackClicks':true");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    const char *link = cut_link(world, read, "/t/c/");
    char *changed = arena_bytes(&world->arena, strlen(link) + 1);
    memcpy(changed, link, strlen(link) + 1);
    changed[strlen(link) - 3] = changed[strlen(link) - 3] == 'A' ? 'B' : 'A';
    const char *token = link + strlen("/t/c/");
    const char *bad[] = {changed, "/t/c/x", "/t/o/x", world_text(world, "/t/o/%s", token),
                         world_text(world, "/t/c/%sAAAA", token)};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply *got = follow(world, "GET", bad[i]);
        cr_expect_eq(got->status, 404, "%s: %ld", bad[i], got->status);
        cr_expect_eq(reply_header(got, "location").len, 0);
    }
    cr_expect_eq(follow(world, "HEAD", link)->status, 302);
    /* Only asked: written down as a program's. */
    struct wait wait = wait_start(WORLD_WAIT_MS);
    do {
        read = world_get(world, "/api/messages/%s", id);
    } while (reply_count(read, "events") < 3 && wait_more(&wait));
    cr_expect(json_is_true(reply_at(read, "events.2.data.bot")));
    cr_expect_eq(reply_int(read, "message.clicks"), 0);
    world_end(world);
}

Test(tracking, a_domain_has_a_host_of_its_own_for_its_links)
{
    struct scene scene = begin();
    struct world *world = scene.world;
    const char *path = world_text(world, "/api/domains/%s/tracking", scene.domain);
    cr_expect_eq(call(world, "PUT", path, "{'host':'no name'}")->status, 400);
    struct reply *set =
        call(world, "PUT", path, "{'host':'Link.send.test','opens':true,'clicks':true}");
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    cr_expect_str_eq(reply_text(set, "domain.tracking.host"), "link.send.test");
    cr_expect(json_is_false(reply_at(set, "domain.tracking.verified")));
    const char *id = send_shop(&scene, "");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_expect_not_null(strstr(reply_text(read, "message.html_body"), "http://127.0.0.1:"),
                       "until it is verified, links are the server's");
    world_publish(world, set, "tracking");
    struct reply *verify =
        call(world, "POST", world_text(world, "/api/domains/%s/verify", scene.domain), "{}");
    cr_assert_eq(verify->status, 200);
    cr_assert(json_is_true(reply_at(verify, "checks.tracking")), "%.*s", SLICE_FMT(verify->body));
    id = send_shop(&scene, "");
    read = world_await(world, id, "message.send_status", "delivered");
    cr_expect_not_null(strstr(reply_text(read, "message.html_body"), "http://link.send.test:"));
    cr_expect_not_null(cut_link(world, read, "/t/o/"));
    id = send_shop(&scene, ",'trackOpens':false,'trackClicks':false");
    read = world_await(world, id, "message.send_status", "delivered");
    cr_expect_null(strstr(reply_text(read, "message.html_body"), "/t/"));
    struct reply *off = call(world, "DELETE", path, "");
    cr_expect_eq(off->status, 200);
    cr_expect(json_is_null(reply_at(off, "domain.tracking.host")));
    cr_expect(json_is_false(reply_at(off, "domain.tracking.opens")));
    world_end(world);
}
