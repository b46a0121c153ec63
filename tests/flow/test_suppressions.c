/* Flow: addresses that get no more mail, from the API and from bounces, and what sends make of
 * them.
 *
 * Not covered here: pages and ceilings (tests/unit/shards/test_suppression.c), mistakes in requests
 * (tests/unit/edge/test_api_suppression.c), credentials (test_cross.c).
 */
#include <criterion/criterion.h>

#include "base/buf.h"
#include "base/limits.h"

#include "support/world.h"

#define AREA "/api/contacts/suppressions"

static struct reply *remove_one(struct world *world, const char *path)
{
    struct world_call call = {.method = "DELETE", .path = path};
    return world_call(world, &call);
}

Test(suppressions, keep_mail_from_an_address_until_they_are_removed)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    struct reply *made = world_post(world, AREA, "{'email':'Bob@dest.test','note':'asked'}");
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    cr_expect_str_eq(reply_text(made, "reason"), "manual");
    cr_expect_eq(world_post(world, AREA, "{'email':'bob@dest.test'}")->status, 200);
    struct reply *refused =
        world_post(world, "/v1/send", "{'from':'a@send.test','to':'bob@dest.test','text':'x'}");
    cr_expect_eq(refused->status, 409);
    cr_expect_str_eq(reply_text(refused, "code"), "suppressed");
    const char *mail = world_send(
        world, "{'from':'a@send.test','to':['bob@dest.test','ann@dest.test'],'text':'x'}");
    struct reply *read = world_await(world, mail, "message.send_status", "delivered");
    cr_expect_str_eq(reply_text(read, "deliveries.0.recipient"), "ann@dest.test");
    cr_expect_str_eq(reply_text(read, "deliveries.1.status"), "suppressed");
    world_kill(world);
    world_start(world);
    struct reply *shown = world_get(world, AREA "/BOB%%40dest.test");
    cr_assert_eq(shown->status, 200);
    cr_expect_str_eq(reply_text(shown, "note"), "asked");
    cr_expect_eq(remove_one(world, AREA "/bob@dest.test")->status, 200);
    cr_expect_eq(remove_one(world, AREA "/bob@dest.test")->status, 404);
    mail = world_send(world, "{'from':'a@send.test','to':'bob@dest.test','text':'x'}");
    (void)world_await(world, mail, "message.send_status", "delivered");
    struct reply *log = world_get(world, "/api/audit?limit=2");
    cr_expect_str_eq(reply_text(log, "0.type"), "suppression.deleted");
    cr_expect_str_eq(reply_text(log, "1.target"), "bob@dest.test");
    world_end(world);
}

Test(suppressions, come_by_the_thousand_and_in_pages)
{
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    struct buf body;
    buf_init(&body, MIB);
    for (int i = 0; i < 1000; i++) {
        buf_add_format(&body, "%s\"user%04d@dest.test\"", i > 0 ? "," : "", i);
    }
    struct reply *made = world_post(world, AREA, "{'emails':[%.*s],'reason':'unsubscribe'}",
                                    SLICE_FMT(buf_slice(&body)));
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    cr_expect_eq(reply_int(made, "added"), 1000);
    made =
        world_post(world, AREA, "{'emails':[%.*s,'one@more.test']}", SLICE_FMT(buf_slice(&body)));
    cr_expect_eq(made->status, 400, "more than a thousand");
    buf_fini(&body);
    const char *after = "";
    size_t seen = 0;
    for (int pages = 0; pages < 10; pages++) {
        struct reply *list = world_get(world, AREA "?limit=200&after=%s", after);
        cr_assert_eq(list->status, 200);
        size_t count = reply_count(list, "");
        if (count == 0) {
            break;
        }
        seen += count;
        after = reply_text(list, world_text(world, "%zu.email", count - 1));
    }
    cr_expect_eq(seen, 1000);
    struct reply *found = world_get(world, AREA "?search=USER0123");
    cr_expect_eq(reply_count(found, ""), 1);
    cr_expect_str_eq(reply_text(found, "0.reason"), "unsubscribe");
    world_end(world);
}
