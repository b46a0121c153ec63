/* test_hook_body.c - the JSON that a webhook gets of a received mail.
 *
 * Not covered here: events of sent mail (tests/flow/test_webhook), signatures (test_hook_sign),
 * claims and outcomes (test_claim).
 */
#include "unit/shards/receive_rig.h"

#include <jansson.h>

#define TIMEOUT 60

static struct msg *claim_of(struct receiver *to, struct id mail, uint32_t index)
{
    struct msg *msg = rig_claim_msg(to->rig, rig_entry(to->rig, mail, HOOK_GROUP | index));
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    cr_assert(msg->body.claim.is_hook);
    return msg;
}

static json_t *body_of(const struct msg *msg)
{
    struct slice text = msg->body.claim.hook_body;
    json_t *body = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(body, "%.*s", SLICE_FMT(text));
    return body;
}

static void expect_keys(json_t *object, const char *keys)
{
    char have[400] = "";
    const char *key;
    json_t *value;
    cr_assert(json_is_object(object));
    json_object_foreach(object, key, value)
    {
        size_t len = strlen(have);
        snprintf(have + len, sizeof(have) - len, "%s%s", len ? " " : "", key);
    }
    cr_expect_str_eq(have, keys);
}

static const char *text_at(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "%s", key);
    return text;
}

static const char full[] =
    "From: =?utf-8?q?J=C3=BCrgen?= <j@example.net>\r\nTo: \"In, Fo\" <INFO@example.com>, "
    "x@y.example\r\n"
    "Subject: Hello\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    "--x\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
    "--x\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n"
    "--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\npdf\r\n--x--\r\n";

Test(hook_body, of_a_received_mail_has_these_keys_and_no_others, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    cr_assert(conf_set(&to.rig->conf, SLICE("public_url"), SLICE("https://m.example/")));
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    struct msg *msg = claim_of(&to, receive(&to, "info@example.com", full), 0);
    json_t *body = body_of(msg);
    expect_keys(body, "id type from to subject text html threadId receivedAt receivedAtIso auth "
                      "attachments");
    cr_expect_str_eq(text_at(body, "type"), "email.received");
    cr_expect(slice_starts(slice_str(text_at(body, "id")), SLICE("evt_")));
    cr_expect(slice_starts(slice_str(text_at(body, "threadId")), SLICE("thr_")));
    expect_keys(json_object_get(body, "from"), "address name");
    cr_expect_str_eq(text_at(json_object_get(body, "from"), "address"), "j@example.net");
    cr_expect_str_eq(text_at(json_object_get(body, "from"), "name"), "J\xc3\xbcrgen");
    json_t *list = json_object_get(body, "to");
    cr_expect_eq(json_array_size(list), 1, "the recipient of this delivery");
    cr_expect_str_eq(text_at(json_array_get(list, 0), "address"), "info@example.com");
    cr_expect_str_eq(text_at(json_array_get(list, 0), "name"), "In, Fo");
    cr_expect(slice_starts(slice_str(text_at(body, "text")), SLICE("plain")));
    cr_expect(slice_starts(slice_str(text_at(body, "html")), SLICE("<p>html</p>")));
    expect_keys(json_object_get(body, "auth"), "spf dkim dmarc spam");
    cr_expect_str_eq(text_at(json_object_get(body, "auth"), "spf"), "pass");
    cr_expect(json_is_null(json_object_get(json_object_get(body, "auth"), "spam")));
    list = json_object_get(body, "attachments");
    cr_assert_eq(json_array_size(list), 1);
    expect_keys(json_array_get(list, 0), "id filename contentType size url");
    cr_expect_str_eq(text_at(json_array_get(list, 0), "contentType"), "application/pdf");
    cr_expect(slice_starts(slice_str(text_at(json_array_get(list, 0), "url")),
                           SLICE("https://m.example/att/msg_")));
    json_decref(body);
    rig_put(to.rig, msg);
    receiver_close(&to);
}

Test(hook_body, says_null_for_what_a_mail_does_not_have, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    struct msg *msg = claim_of(&to, receive(&to, "b@example.com", "X: y\r\n\r\n"), 0);
    json_t *body = body_of(msg);
    const char *empty[] = {"subject", "html"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        cr_expect(json_is_null(json_object_get(body, empty[i])), "%s", empty[i]);
    }
    expect_keys(json_object_get(body, "from"), "address");
    cr_expect_str_eq(text_at(json_object_get(body, "from"), "address"), "ann@example.net",
                     "the envelope's");
    cr_expect_eq(json_array_size(json_object_get(body, "attachments")), 0);
    json_decref(body);
    rig_put(to.rig, msg);
    receiver_close(&to);
}

Test(hook_body, is_for_each_recipient_and_the_same_at_each_try, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    struct id mail = receive(&to, "a@example.com,b@example.com", RECEIVE_MAIL);
    struct msg *first = claim_of(&to, mail, 0);
    struct msg *second = claim_of(&to, mail, 1);
    json_t *one = body_of(first);
    json_t *two = body_of(second);
    cr_expect_str_neq(text_at(one, "id"), text_at(two, "id"));
    cr_expect_str_eq(text_at(json_array_get(json_object_get(two, "to"), 0), "address"),
                     "b@example.com");
    struct verdict verdict = rig_verdict(VERDICT_DEFERRED, 500, "");
    cr_assert_eq(rig_outcome(to.rig, rig_entry(to.rig, mail, HOOK_GROUP | 0), &verdict, 1,
                             clock_unix_ms() + 5000),
                 ERR_OK);
    struct msg *again = claim_of(&to, mail, 0);
    cr_expect(slice_equal(again->body.claim.hook_body, first->body.claim.hook_body));
    json_decref(one);
    json_decref(two);
    rig_put(to.rig, first);
    rig_put(to.rig, second);
    rig_put(to.rig, again);
    receiver_close(&to);
}

Test(hook_body, obeys_an_endpoint_that_blocks_the_sender, .timeout = TIMEOUT)
{
    struct receiver to = receiver_open();
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://h.example.net/");
    struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
    struct msg *msg = claim_of(&to, mail, 0);
    rig_put(to.rig, msg);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 200, "");
    msg = rig_take(to.rig, MSG_SHARD_OUTCOME);
    msg->body.outcome = (struct shard_outcome){
        .entry = *rig_entry(to.rig, mail, HOOK_GROUP | 0),
        .verdicts = &verdict,
        .verdict_count = 1,
        .command = SLICE("block-sender"),
    };
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    rig_put(to.rig, msg);
    struct id next = receive(&to, "a@example.com", "From: ann@example.net\r\n\r\nagain\r\n");
    struct row_mail row = received_row(&to, next, &arena);
    cr_expect(slice_equal(row.spam, SLICE("blocked")));
    cr_expect_eq(row.hook_count, 0);
    arena_fini(&arena);
    receiver_close(&to);
}
