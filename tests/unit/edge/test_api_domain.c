/* test_api_domain.c - how the edge takes a domain's days: what is posted, what is answered, what is
 * refused before a shard hears of it.
 *
 * Not covered here: what the days do (tests/unit/shards/test_retention).
 */
#include "unit/edge/edge_rig.h"

#define TIMEOUT 60

static void patch(struct client *client, const char *body)
{
    char id[ID_TEXT_MAX];
    (void)id_text(ID_DOMAIN, mail_id(1), id);
    client_say(client,
               "PATCH /api/domains/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               id, client->rig->key.text, strlen(body), body);
}

Test(domain, days_are_posted_and_the_row_answered, .timeout = TIMEOUT)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    patch(&client, "{\"retentionDays\":30,\"zeroRetention\":true}");
    struct msg *msg = rig_await(&rig, 1);
    struct shard_domain *body = &msg->body.domain;
    cr_assert_eq(msg->kind, MSG_SHARD_DOMAIN);
    cr_expect_eq(body->op, DOMAIN_CHANGE);
    cr_expect_eq(body->caller.right, RIGHT_DOMAINS_WRITE);
    cr_expect(id_equal(body->id, mail_id(1)));
    cr_expect_eq(body->given, DOMAIN_FIELD_RETENTION | DOMAIN_FIELD_ZERO_RETENTION);
    cr_expect_eq(body->retention_days, 30);
    cr_expect(body->is_zero_retention);
    body->rows = arena_array(&msg->arena, 1, sizeof(*body->rows));
    body->rows[0] = (struct row_domain){
        .id = body->id,
        .name = SLICE("a.test"),
        .retention_days = 30,
        .is_zero_retention = true,
    };
    body->row_count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1, "\"retentionDays\":30,\"zeroRetention\":true"));
    patch(&client, "{\"zeroRetention\":false}");
    msg = rig_await(&rig, 2);
    cr_expect_eq(msg->body.domain.given, DOMAIN_FIELD_ZERO_RETENTION);
    cr_expect(!msg->body.domain.is_zero_retention);
    rig_answer(&rig, 2, ERR_NOT_FOUND);
    client_expect(&client, 2, 404);
    client_close(&client);
    rig_end(&rig);
}

Test(domain, days_that_are_none_are_refused, .timeout = TIMEOUT)
{
    static const char *const bad[] = {"{\"retentionDays\":-1}", "{\"retentionDays\":36501}",
                                      "{\"retentionDays\":\"3\"}", "{\"zeroRetention\":1}", "[]"};
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(bad); i++) {
        patch(&client, bad[i]);
        client_expect(&client, i + 1, 400);
    }
    cr_expect_eq(rig.got_count, 0, "no shard was asked");
    client_close(&client);
    rig_end(&rig);
}
