/* POST /v1/send/batch: items read, refused, sent a few at a time, and answered in their order.
 *
 * Not covered here: the fields of one message (test_api_send.c), what a shard makes of the keys
 * (tests/unit/shards/test_idempotency.c), the daemon (tests/flow/test_batch.c).
 */
#include "unit/edge/edge_rig.h"

#define GOOD "{'from':'a@send.test','to':'b@dest.test','text':'hi'}"

static void post(struct client *client, const char *more, const char *body)
{
    struct buf json;
    buf_init(&json, MIB);
    buf_add_str(&json, body);
    for (size_t i = 0; i < json.len; i++) {
        json.data[i] = json.data[i] == '\'' ? '"' : json.data[i];
    }
    client_say(client,
               "POST /v1/send/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\n%s\r\n",
               client->rig->key.text, json.len, more);
    client_write(client, buf_slice(&json));
    buf_fini(&json);
}

static void post_many(struct client *client, const char *more, uint32_t count)
{
    struct buf body;
    buf_init(&body, MIB);
    buf_add_str(&body, "[");
    for (uint32_t i = 0; i < count; i++) {
        buf_add_str(&body, i == 0 ? GOOD : "," GOOD);
    }
    buf_add_str(&body, "]");
    buf_add_byte(&body, '\0');
    post(client, more, body.data);
    buf_fini(&body);
}

static const char *result(char text[64], uint32_t number)
{
    char id[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, mail_id(number), id);
    (void)snprintf(text, 64, "{\"id\":\"%s\",\"status\":\"queued\"}", id);
    return text;
}

Test(batch, answers_each_message_in_its_place)
{
    struct rig rig;
    struct client client;
    char first[64];
    char second[64];
    char whole[512];
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post(&client, "",
         "{'messages':[" GOOD ",{'from':'a@send.test','to':'no','text':'x'}," GOOD
         ",{'from':7}," GOOD "]}");
    (void)rig_await(&rig, 3);
    cr_expect_eq(rig.check_count, 1, "who sends is asked once, first");
    cr_expect_eq(rig.got[0]->kind, MSG_SHARD_SEND);
    cr_expect(rig.got[0]->body.send.caller.is_charged);
    rig_answer(&rig, 3, ERR_QUOTA);
    rig_answer(&rig, 2, ERR_OK);
    settle(&rig);
    cr_expect_eq(client_answers(&client), 0, "not before all are home");
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    struct slice got = client_answer(&client, 1);
    (void)snprintf(whole, sizeof whole, "\r\n\r\n{\"results\":[%s,{\"error\":", result(first, 1));
    cr_expect_neq(slice_find(got, slice_str(whole)), SIZE_MAX, "%.*s", SLICE_FMT(got));
    (void)snprintf(whole, sizeof whole,
                   "\"code\":\"invalid_field\",\"param\":\"to\",\"statusCode\":400},%s,{\"error\":",
                   result(second, 2));
    cr_expect_neq(slice_find(got, slice_str(whole)), SIZE_MAX, "%.*s", SLICE_FMT(got));
    cr_expect(client_says(&client, 1, "\"param\":\"from\",\"statusCode\":400},{\"error\":"));
    cr_expect(client_says(&client, 1, "\"code\":\"quota\",\"statusCode\":429}]}"));
    cr_expect_eq(rig.edge->body_bytes, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(batch, sends_a_few_at_a_time_up_to_a_hundred)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post_many(&client, "Idempotency-Key: k\r\n", BATCH_MESSAGES);
    for (uint32_t i = 1; i <= BATCH_MESSAGES; i++) {
        char key[16];
        struct msg *msg = rig_await(&rig, i);
        settle(&rig);
        cr_expect_leq(rig.got_count, i - 1 + BATCH_FAN_OUT);
        (void)snprintf(key, sizeof key, "k\t%u", (unsigned)(i - 1));
        cr_expect(slice_equal(msg->body.send.idempotency_key, slice_str(key)));
        rig_answer(&rig, i, ERR_OK);
    }
    client_expect(&client, 1, 200);
    cr_expect_eq(client_count(&client, "\"queued\""), BATCH_MESSAGES);
    client_close(&client);
    rig_end(&rig);
}

static const struct {
    const char *body;
    int status;
} wholes[] = {
    {"[]", 400},
    {"{}", 400},
    {"{'messages':{}}", 400},
    {"{'messages':[]}", 400},
    {"", 400},
    {"7", 400},
    {"[" GOOD, 400},
    {"[" GOOD ",{'from':tru}]", 400},
    {"[" GOOD ",7]", 400},
    {"[" GOOD "] x", 400},
};

Test(batch, refuses_as_a_whole_what_is_no_list_of_messages)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(wholes); i++) {
        post(&client, "", wholes[i].body);
        client_expect(&client, i + 1, wholes[i].status);
    }
    post_many(&client, "", BATCH_MESSAGES + 1);
    client_expect(&client, ARRAY_LEN(wholes) + 1, 400);
    cr_expect_eq(rig.got_count, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(batch, is_refused_as_a_whole_when_its_shard_says_so)
{
    static const struct {
        enum err err;
        int status;
    } refusals[] = {
        {ERR_IDEMPOTENCY_REUSED, 409}, {ERR_SCOPE, 403}, {ERR_RATE, 429}, {ERR_UNAUTHORIZED, 401}};
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(refusals); i++) {
        rig.check_err = refusals[i].err;
        post(&client, "Idempotency-Key: k\r\n", "[" GOOD "," GOOD "]");
        client_expect(&client, i + 1, refusals[i].status);
    }
    cr_expect_eq(rig.got_count, 0);
    client_close(&client);
    rig_end(&rig);
}

/* What is under way comes home to nobody; what was not begun is not sent. */
Test(batch, ends_with_its_client)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post_many(&client, "", BATCH_MESSAGES);
    (void)rig_await(&rig, BATCH_FAN_OUT);
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    for (uint32_t i = 1; i <= BATCH_FAN_OUT; i++) {
        rig_answer(&rig, i, ERR_OK);
    }
    settle(&rig);
    cr_expect_eq(rig.got_count, BATCH_FAN_OUT);
    cr_expect_eq(rig.edge->body_bytes, 0);
    rig_end(&rig);
}
