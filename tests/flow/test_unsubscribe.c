/* Flow: mails with one-click unsubscribe, from the signed fields to the address that gets no more.
 *
 * Not covered here: wishes for mails that are gone, webhooks
 * (tests/unit/shards/test_unsubscribe.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/verify.h"
#include "support/world.h"

#define BASE "https://" WORLD_HOST

static const char *const key_names[] = {"mk1._domainkey.send.test", "mk2._domainkey.send.test"};

static struct reply *call(struct world *world, const char *method, const char *path)
{
    struct world_call wanted = {
        .method = method,
        .path = path,
        .bearer = "",
        .body = strcmp(method, "POST") == 0 ? SLICE("List-Unsubscribe=One-Click") : SLICE(""),
    };
    return world_call(world, &wanted);
}

/* The path of the link in a mail's List-Unsubscribe. */
static const char *path_in(struct world *world, struct slice mail)
{
    size_t at = slice_find(mail, SLICE("\r\nList-Unsubscribe: <" BASE "/u/"));
    cr_assert_neq(at, SIZE_MAX, "%.*s", SLICE_FMT(mail));
    struct slice rest = slice_from(mail, at + sizeof("\r\nList-Unsubscribe: <" BASE) - 1);
    struct slice path = slice_cut(&rest, '>');
    return world_text(world, "%.*s", SLICE_FMT(path));
}

/* Every signature of the mail, as dkimpy sees it. */
static void check_signatures(struct world *world, struct slice mail, const char *expect)
{
    struct reply *domains = world_get(world, "/api/domains");
    struct reply *domain = world_get(world, "/api/domains/%s", reply_text(domains, "0.id"));
    FILE *pipe = verify_start("verify_dkim.py");
    cr_assert_not_null(pipe);
    verify_put(pipe, "name", slice_str(expect));
    verify_put(pipe, "mail", mail);
    verify_put(pipe, "expect", slice_str(expect));
    for (size_t i = 0; i < reply_count(domain, "dns"); i++) {
        const char *name = reply_text(domain, world_text(world, "dns.%zu.name", i));
        const char *value = reply_text(domain, world_text(world, "dns.%zu.value", i));
        for (size_t n = 0; n < ARRAY_LEN(key_names); n++) {
            char entry[2048];
            if (strcmp(name, key_names[n]) == 0) {
                int len = snprintf(entry, sizeof entry, "%s%c%s", name, '\0', value);
                verify_put(pipe, "record", slice_of(entry, (size_t)len));
            }
        }
    }
    verify_end_case(pipe);
    cr_expect_eq(verify_finish(pipe), 0, "dkimpy finds otherwise: %s", expect);
}

/* As it left: without the sink's own lines in front. */
static struct slice sent(struct world *world, struct peer *sink, uint32_t number)
{
    struct slice mail = world_sink_mail(world, sink, number);
    size_t at = slice_find(mail, SLICE("DKIM-Signature:"));
    cr_assert_neq(at, SIZE_MAX);
    return slice_from(mail, at);
}

Test(unsubscribe, with_one_click_ends_the_mail_to_one_recipient)
{
    struct world *world = world_new();
    world_set(world, "public_url", BASE);
    struct peer *sink = world_ready_to_send(world);
    const char *mail = world_send(world, "{'from':'a@send.test','to':['ann@dest.test',"
                                         "'bob@dest.test'],'text':'x','listUnsubscribe':true}");
    (void)world_await(world, mail, "message.send_status", "delivered");
    struct slice first = sent(world, sink, 1);
    struct slice second = sent(world, sink, 2);
    const char *path = path_in(world, first);
    cr_expect_str_neq(path, path_in(world, second), "each has a link of his own");
    cr_expect_neq(
        slice_find(first, SLICE("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")),
        SIZE_MAX);
    check_signatures(world, first, "pass");
    check_signatures(world, second, "pass");
    struct slice forged = arena_dup(&world->arena, first);
    ((char *)(uintptr_t)forged.data)[slice_find(forged, SLICE("/u/")) + 8] ^= 1;
    check_signatures(world, forged, "fail");

    struct reply *page = call(world, "GET", path);
    cr_assert_eq(page->status, 200);
    cr_expect(slice_starts(reply_header(page, "content-type"), SLICE("text/html")));
    cr_expect_neq(slice_find(page->body, SLICE("<form method=\"post\">")), SIZE_MAX);
    cr_expect_eq(reply_count(world_get(world, "/api/contacts/suppressions"), ""), 0,
                 "who looks has not asked");
    cr_expect_eq(call(world, "POST", path)->status, 200);
    cr_expect_eq(call(world, "POST", path)->status, 200);
    cr_expect_eq(call(world, "POST", world_text(world, "%sA", path))->status, 404);
    cr_expect_eq(call(world, "GET", "/u/x")->status, 404);
    struct reply *list = world_get(world, "/api/contacts/suppressions");
    cr_assert_eq(reply_count(list, ""), 1);
    cr_expect_str_eq(reply_text(list, "0.reason"), "unsubscribe");
    const char *gone = reply_text(list, "0.email");
    struct reply *read = world_get(world, "/api/messages/%s", mail);
    uint32_t told = 0;
    for (size_t i = 0; i < reply_count(read, "events"); i++) {
        const char *type = reply_text(read, world_text(world, "events.%zu.type", i));
        told += strcmp(type, "email.unsubscribed") == 0;
    }
    cr_expect_eq(told, 1);
    struct reply *refused =
        world_post(world, "/v1/send", "{'from':'a@send.test','to':'%s','text':'x'}", gone);
    cr_expect_eq(refused->status, 409);
    world_end(world);
}

Test(unsubscribe, can_be_tried_out_with_a_test_key)
{
    struct world *world = world_new();
    world_set(world, "public_url", BASE);
    (void)world_ready_to_send(world);
    const char *mail = world_send(world, "{'from':'a@send.test','to':'ann@dest.test','text':'x',"
                                         "'listUnsubscribe':true,'sandbox':true}");
    struct reply *read = world_await(world, mail, "message.send_status", "delivered");
    cr_expect(json_is_false(reply_at(read, "deliveries.0.unsubscribed")));
    const char *url = reply_text(read, "deliveries.0.unsubscribe_url");
    cr_assert(slice_starts(slice_str(url), SLICE(BASE "/u/")));
    cr_expect_eq(call(world, "POST", url + sizeof(BASE) - 1)->status, 200);
    read = world_get(world, "/api/messages/%s", mail);
    cr_expect(json_is_true(reply_at(read, "deliveries.0.unsubscribed")));
    cr_expect_eq(reply_count(world_get(world, "/api/contacts/suppressions"), ""), 0);
    world_end(world);
}
