/* Flow: templates, from the API to the mail that arrives.
 *
 * Not covered here: what tags become (tests/unit/mail/test_template.c), mistakes in requests
 * (tests/unit/edge/test_api_template.c), credentials (test_cross.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/world.h"

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    struct world_call wanted = {.method = method, .path = path, .body = slice_str(body)};
    return world_call(world, &wanted);
}

Test(template, becomes_the_mail_that_arrives)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    struct reply *made = world_post(
        world, "/api/templates",
        "{'name':'Receipt','subject':'Order {{order.id}} for {{name}}',"
        "'html':'<h1>{{name}}</h1><ul>{{#items}}<li>{{title}}: {{price}}</li>{{/items}}</ul>',"
        "'text':'Dear {{name}},\\n{{#items}}\\n- {{title}}: {{price}}\\n{{/items}}\\nBye\\n'}");
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    const char *id = reply_text(made, "id");
    const char *values = "{\"name\":\"Ann <ann@x.test>\\r\\nBcc: evil@dest.test\","
                         "\"order\":{\"id\":1700},\"items\":[{\"title\":\"Tea\",\"price\":3.50},"
                         "{\"title\":\"Cup & saucer\",\"price\":12}]}";
    world_kill(world);
    world_start(world);
    struct reply *preview = world_post(world, world_text(world, "/api/templates/%s/preview", id),
                                       "{'data':%s}", values);
    cr_assert_eq(preview->status, 200, "%.*s", SLICE_FMT(preview->body));
    cr_expect_str_eq(reply_text(preview, "subject"),
                     "Order 1700 for Ann <ann@x.test> Bcc: evil@dest.test");
    const char *mail = world_send(
        world, "{'from':'a@send.test','to':'b@dest.test','templateId':'%s','templateData':%s}", id,
        values);
    struct slice got = world_sink_mail(world, sink, 1);
    size_t body = slice_find(got, SLICE("\r\n\r\n"));
    cr_expect_neq(slice_find(got, SLICE("- Tea: 3.50\r\n- Cup & saucer: 12\r\nBye\r\n")), SIZE_MAX);
    cr_expect_neq(slice_find(got, SLICE("<li>Cup &amp; saucer: 12</li>")), SIZE_MAX);
    cr_expect_neq(slice_find(got, SLICE("<h1>Ann &lt;ann@x.test&gt;")), SIZE_MAX);
    cr_expect_eq(slice_find(slice_head(got, body), SLICE("\nBcc:")), SIZE_MAX);
    struct reply *read = world_await(world, mail, "message.send_status", "delivered");
    cr_expect_str_eq(reply_text(read, "message.subject"),
                     "Order 1700 for Ann <ann@x.test> Bcc: evil@dest.test");
    cr_expect_eq(reply_count(read, "deliveries"), 1);
    world_end(world);
}

Test(template, gives_way_to_the_request_and_is_gone_when_deleted)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    struct reply *made =
        world_post(world, "/api/templates", "{'name':'n','subject':'S {{x}}','text':'T {{x}}'}");
    const char *id = reply_text(made, "id");
    const char *path = world_text(world, "/api/templates/%s", id);
    cr_expect_eq(call(world, "PUT", path, "{\"text\":\"U {{x}}\"}")->status, 200);
    (void)world_send(world,
                     "{'from':'a@send.test','to':'b@dest.test','templateId':'%s',"
                     "'subject':'Own {{x}}','templateData':{'x':1}}",
                     id);
    struct slice got = world_sink_mail(world, sink, 1);
    cr_expect_neq(slice_find(got, SLICE("Subject: Own {{x}}\r\n")), SIZE_MAX);
    cr_expect_neq(slice_find(got, SLICE("U 1\r\n")), SIZE_MAX);
    cr_expect_eq(reply_count(world_get(world, "/api/templates"), ""), 1);
    cr_expect_eq(call(world, "DELETE", path, "")->status, 200);
    cr_expect_eq(world_get(world, "%s", path)->status, 404);
    struct reply *refused = world_post(
        world, "/v1/send", "{'from':'a@send.test','to':'b@dest.test','templateId':'%s'}", id);
    cr_expect_eq(refused->status, 404);
    cr_expect_str_eq(reply_text(refused, "code"), "template_not_found");
    cr_expect_str_eq(reply_text(refused, "param"), "templateId");
    world_end(world);
}
