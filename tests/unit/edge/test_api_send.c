/* POST /v1/send: what becomes of each field, and the sentence for each mistake.
 *
 * Not covered here: what the account's shard makes of it (tests/unit/shards/test_outbound), the
 * composed mail (tests/unit/mail/test_mime_write), the parsers of addresses, headers and JSON
 * (their own tests).
 */
#include "unit/edge/edge_rig.h"

static void post_bytes(struct client *client, const char *more, struct slice body)
{
    client_say(client,
               "POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Length: %zu\r\n%s\r\n",
               client->rig->key.text, body.len, more);
    client_write(client, body);
}

/* The body with ' for ". */
static void post(struct client *client, const char *more, const char *body)
{
    struct buf json;
    buf_init(&json, MIB);
    buf_add_str(&json, body);
    for (size_t i = 0; i < json.len; i++) {
        json.data[i] = json.data[i] == '\'' ? '"' : json.data[i];
    }
    post_bytes(client, more, buf_slice(&json));
    buf_fini(&json);
}

static bool is(struct slice s, const char *text)
{
    return slice_equal(s, slice_str(text));
}

static struct slice item(struct slice pack, size_t index)
{
    struct slice out = {0};
    for (size_t i = 0; i <= index; i++) {
        cr_assert(get_slice(&pack, &out));
    }
    return out;
}

/* ---- what arrives --------------------------------------------------------------------------- */

static const char full[] =
    "{'from':'Ann \\u00c4 <a@Send.test>','to':['b@dest.test','Bob <c@dest.test>'],"
    "'cc':'d@dest.test','bcc':['e@dest.test'],'replyTo':'f@send.test','subject':'h\\u00e9llo',"
    "'html':'<p>hi</p>','text':'hi','inReplyTo':'<1@x>','headers':{'X-One':'1','X-Two':'zwei'},"
    "'attachments':[{'filename':'a.txt','content':'aGVsbG8=','contentType':'text/plain'},"
    "{'filename':'e','content':''},{'content':'AA','contentId':'logo'}],"
    "'metadata':{'order':42,'paid':true,'who':'ann'},'tags':['one','two'],'sandbox':true,"
    "'unknown':{'is':['ignored']}}";

static void check_people(const struct shard_send *send)
{
    cr_assert(is(send->from.name, "Ann \xc3\x84"));
    cr_assert(is(send->from.text, "a@send.test"));
    cr_assert_eq(send->to_count, 2);
    cr_assert(is(send->to[1].name, "Bob"));
    cr_assert(is(send->to[1].text, "c@dest.test"));
    cr_assert_eq(send->cc_count, 1);
    cr_assert(is(send->cc[0].text, "d@dest.test"));
    cr_assert_eq(send->bcc_count, 1);
    cr_assert(is(send->bcc[0].text, "e@dest.test"));
    cr_assert_eq(send->reply_to_count, 1);
}

static void check_labels(const struct shard_send *send)
{
    static const char *const metadata[] = {"order", "42",  "n",   "paid", "true",
                                           "n",     "who", "ann", "t"};
    cr_assert_eq(pack_count(send->metadata), ARRAY_LEN(metadata));
    for (size_t i = 0; i < ARRAY_LEN(metadata); i++) {
        cr_assert(is(item(send->metadata, i), metadata[i]), "metadata %zu", i);
    }
    cr_assert_eq(pack_count(send->tags), 2);
    cr_assert(is(item(send->tags, 1), "two"));
}

static void check_content(const struct shard_send *send)
{
    cr_assert(is(send->subject, "h\xc3\xa9llo"));
    cr_assert(is(send->html, "<p>hi</p>"));
    cr_assert(is(send->text, "hi"));
    cr_assert(is(send->in_reply_to, "<1@x>"));
    cr_assert(send->is_sandbox);
    cr_assert_eq(send->header_count, 2);
    cr_assert_eq(send->attachment_count, 3);
    cr_assert(is(send->attachments[0].data, "hello"));
    cr_assert(is(send->attachments[0].content_type, "text/plain"));
    cr_assert_eq(send->attachments[1].data.len, 0, "an empty file is one, too");
    cr_assert_eq(send->attachments[2].data.len, 1, "missing padding is forgiven");
    cr_assert(is(send->attachments[2].content_id, "logo"));
}

Test(api_send, hands_every_field_to_the_shard)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    post(&client, "Idempotency-Key: once\r\n", full);
    struct msg *msg = rig_await(&rig, 1);
    cr_assert_eq(msg->kind, MSG_SHARD_SEND);
    const struct shard_send *send = &msg->body.send;
    cr_assert_eq(send->caller.kind, CALLER_KEY);
    cr_assert_eq(send->caller.account.value, RIG_ACCOUNT);
    cr_assert_eq(send->caller.right, RIGHT_MAIL_SEND);
    cr_assert(crypto_equal(sha256_slice(&send->caller.key_hash), sha256_slice(&rig.key.hash)));
    cr_assert(is(send->idempotency_key, "once"));
    check_people(send);
    check_content(send);
    check_labels(send);
    /* The client is gone and its buffers with it: the message owns every byte. */
    client_close(&client);
    WAIT_FOR(&rig, rig.edge->session_count == 0);
    check_people(send);
    check_content(send);
    check_labels(send);
    rig_answer(&rig, 1, ERR_OK);
    rig_end(&rig);
}

Test(api_send, answers_202_with_the_id)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    (void)rig_await(&rig, 1);
    settle(&rig);
    cr_assert_eq(client_answers(&client), 0, "not before the shard says so");
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    char id[ID_TEXT_MAX];
    char body[128];
    (void)id_text(ID_MESSAGE, mail_id(1), id);
    (void)snprintf(body, sizeof body, "\r\n\r\n{\"id\":\"%s\",\"status\":\"queued\"}", id);
    cr_assert(slice_ends(client_answer(&client, 1), slice_str(body)));
    client_close(&client);
    rig_end(&rig);
}

/* ---- how it is to be sent ------------------------------------------------------------------- */

Test(api_send, hands_the_options_to_the_shard)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    struct id template = mail_id(5);
    char text[ID_TEXT_MAX];
    char body[512];
    (void)id_text(ID_TEMPLATE, template, text);
    (void)snprintf(body, sizeof body,
                   "{'from':'a@send.test','to':'b@dest.test','templateId':'%s',"
                   "'templateData':{'name':'Ann','items':[1,{'a':null}]},'trackOpens':true,"
                   "'trackClicks':false,'listUnsubscribe':true,'priority':'bulk',"
                   "'requireTls':true,'pool':'news-2'}",
                   text);
    post(&client, "", body);
    const struct shard_send *send = &rig_await(&rig, 1)->body.send;
    cr_expect(id_equal(send->template, template));
    cr_expect(is(send->template_data, "{\"name\":\"Ann\",\"items\":[1,{\"a\":null}]}"));
    cr_expect_eq(send->tracks_opens, CHOICE_YES);
    cr_expect_eq(send->tracks_clicks, CHOICE_NO);
    cr_expect(send->has_unsubscribe);
    cr_expect_eq(send->priority, PRIORITY_BULK);
    cr_expect(send->requires_tls);
    cr_expect(is(send->pool, "news-2"));
    rig_answer(&rig, 1, ERR_OK);
    client_send(&client, "");
    send = &rig_await(&rig, 2)->body.send;
    cr_expect_eq(send->tracks_opens, CHOICE_DEFAULT);
    cr_expect_eq(send->priority, PRIORITY_TRANSACTIONAL);
    cr_expect(id_is_none(send->template));
    cr_expect_eq(send->scheduled_unix_ms, 0);
    rig_answer(&rig, 2, ERR_OK);
    client_close(&client);
    rig_end(&rig);
}

static const struct {
    const char *given;
    uint64_t unix_ms;
} times[] = {
    {"'2025-06-15T17:06:40Z'", RIG_UNIX_MS + 7200000},
    {"'2025-06-15T19:06:40.250+02:00'", RIG_UNIX_MS + 7200250},
    {"1750007200000", RIG_UNIX_MS + 7200000},
    {"'in 2 hours'", RIG_UNIX_MS + 7200000},
    {"'In 1 Minute'", RIG_UNIX_MS + 60000},
    {"'in 30 secs'", RIG_UNIX_MS + 30000},
    {"'in 30 days'", RIG_UNIX_MS + SCHEDULE_MAX_MS},
    {"'in 4 weeks'", RIG_UNIX_MS + UINT64_C(28) * 86400000},
    {"1", 1},
};

Test(api_send, reads_a_time_however_it_is_written)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(times); i++) {
        char body[256];
        (void)snprintf(body, sizeof body,
                       "{'from':'a@send.test','to':'b@dest.test','text':'x','scheduledAt':%s}",
                       times[i].given);
        post(&client, "", body);
        struct msg *msg = rig_await(&rig, i + 1);
        cr_expect_eq(msg->body.send.scheduled_unix_ms, times[i].unix_ms, "%s", times[i].given);
        msg->body.send.is_scheduled = true;
        rig_answer(&rig, i + 1, ERR_OK);
        client_expect(&client, i + 1, 202);
        cr_expect(client_says(&client, i + 1, "{\"id\":\"ssnd_"));
        cr_expect(client_says(&client, i + 1, "\"status\":\"scheduled\"}"));
    }
    client_close(&client);
    rig_end(&rig);
}

Test(api_send, hashes_the_body_for_an_idempotency_key_only)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_send(&client, "Idempotency-Key: a\r\n");
    client_send(&client, "idempotency-key:   a  \r\n");
    (void)rig_await(&rig, 3);
    const struct shard_send *sends[3];
    for (uint32_t i = 0; i < 3; i++) {
        sends[i] = &rig.got[i]->body.send;
    }
    struct sha256 hash = crypto_sha256(SLICE(SEND_BODY));
    cr_assert_eq(sends[0]->idempotency_key.len, 0);
    for (uint32_t i = 1; i < 3; i++) {
        cr_assert(is(sends[i]->idempotency_key, "a"));
        cr_assert_eq(memcmp(&sends[i]->body_hash, &hash, sizeof hash), 0);
    }
    for (uint32_t i = 1; i <= 3; i++) {
        rig_answer(&rig, i, ERR_OK);
    }
    client_expect(&client, 3, 202);
    client_close(&client);
    rig_end(&rig);
}

/* ---- the shard's refusals ------------------------------------------------------------------- */

static const struct {
    enum err err;
    int status;
    const char *code;
} refusals[] = {
    {ERR_UNAUTHORIZED, 401, "unauthorized"},
    {ERR_SCOPE, 403, "scope"},
    {ERR_DOMAIN_NOT_OWNED, 404, "domain_not_owned"},
    {ERR_DOMAIN_UNVERIFIED, 409, "domain_unverified"},
    {ERR_SUPPRESSED, 409, "suppressed"},
    {ERR_IDEMPOTENCY_REUSED, 409, "idempotency_reused"},
    {ERR_IDEMPOTENCY_RUNNING, 409, "idempotency_running"},
    {ERR_CONFLICT, 409, "conflict"},
    {ERR_TOO_LARGE, 413, "too_large"},
    {ERR_QUOTA, 429, "quota"},
    {ERR_STORAGE, 503, "storage"},
};

Test(api_send, prints_the_shards_refusals)
{
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    for (uint32_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct client client; /* 401 ends a connection */
        char code[64];
        client_open(&rig, &client);
        client_send(&client, "");
        (void)rig_await(&rig, i + 1);
        rig_answer(&rig, i + 1, refusals[i].err);
        client_expect(&client, 1, refusals[i].status);
        (void)snprintf(code, sizeof code, "\"code\":\"%s\"", refusals[i].code);
        cr_assert(client_says(&client, 1, code), "%s", code);
        bool is_later = refusals[i].status == 429 || refusals[i].status == 503;
        cr_assert_eq(client_says(&client, 1, "retry-after: "), is_later, "%s", code);
        client_close(&client);
        WAIT_FOR(&rig, rig.edge->session_count == 0);
    }
    rig_end(&rig);
}

Test(api_send, names_the_field_that_the_shard_found_at_fault)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_send(&client, "");
    client_send(&client, "");
    (void)rig_await(&rig, 2);
    rig.got[0]->param = SLICE("from");
    rig.got[0]->sentence = SLICE("say \"please\"");
    rig.got[1]->param = SLICE("mail:send");
    rig_answer(&rig, 1, ERR_BAD_FIELD);
    rig_answer(&rig, 2, ERR_SCOPE);
    client_expect(&client, 2, 403);
    cr_assert(client_says(&client, 1,
                          "{\"error\":\"say \\\"please\\\"\",\"code\":\"invalid_field\","
                          "\"param\":\"from\"}"));
    cr_assert(client_says(&client, 2, "\"required\":\"mail:send\"}"));
    client_close(&client);
    rig_end(&rig);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

#define FT "{'from':'a@send.test','to':'b@dest.test'"

static const struct {
    const char *body;
    const char *param; /* "": none */
} mistakes[] = {
    {"", ""},
    {"{", ""},
    {"[]", ""},
    {"{} x", ""},
    {FT ",'text':'\xff'}", ""},
    {FT ",'text':'a\\u0000b'}", ""},
    {FT ",'text':'a','text':'b'}", ""},
    {"{}", "from"},
    {"{'from':null,'to':'b@dest.test','text':'x'}", "from"},
    {"{'from':7,'to':'b@dest.test','text':'x'}", "from"},
    {"{'from':'nobody','to':'b@dest.test','text':'x'}", "from"},
    {"{'from':'a@send.test\\r\\nBcc: x@y.test','to':'b@dest.test','text':'x'}", "from"},
    {"{'from':'a@send.test','text':'x'}", "to"},
    {"{'from':'a@send.test','to':[],'text':'x'}", "to"},
    {"{'from':'a@send.test','to':{},'text':'x'}", "to"},
    {"{'from':'a@send.test','to':[1],'text':'x'}", "to[0]"},
    {"{'from':'a@send.test','to':'b@@dest.test','text':'x'}", "to"},
    {"{'from':'a@send.test','to':['b@dest.test','no'],'text':'x'}", "to[1]"},
    {FT ",'cc':['c@dest.test',''],'text':'x'}", "cc[1]"},
    {FT ",'bcc':'no','text':'x'}", "bcc"},
    {FT ",'replyTo':'no','text':'x'}", "replyTo"},
    {FT "}", "text"},
    {FT ",'text':'','html':''}", "text"},
    {FT ",'text':7}", "text"},
    {FT ",'text':'x','subject':'a\\nb'}", "subject"},
    {FT ",'text':'x','inReplyTo':'a\\r\\nb'}", "inReplyTo"},
    {FT ",'text':'x','inReplyTo':'<\\u00e4@x>'}", "inReplyTo"},
    {FT ",'text':'x','headers':{'X Y':'1'}}", "headers"},
    {FT ",'text':'x','headers':{'X:Y':'1'}}", "headers"},
    {FT ",'text':'x','headers':{'':'1'}}", "headers"},
    {FT ",'text':'x','headers':{'X-A':'1\\r\\nBcc: x@y.test'}}", "headers.X-A"},
    {FT ",'text':'x','headers':{'From':'x@y.test'}}", "headers.From"},
    {FT ",'text':'x','headers':{'dkim-signature':'x'}}", "headers.dkim-signature"},
    {FT ",'text':'x','headers':{'X-A':{}}}", "headers.X-A"},
    {FT ",'text':'x','attachments':{}}", "attachments"},
    {FT ",'text':'x','attachments':[{'filename':'a'}]}", "attachments[0].content"},
    {FT ",'text':'x','attachments':[{'content':'AAAA'},{'content':'%'}]}",
     "attachments[1].content"},
    {FT ",'text':'x','attachments':[{'url':'https://x.test/a','content':''}]}",
     "attachments[0].url"},
    {FT ",'text':'x','attachments':[{'url':'http://x.test/a'}]}", "attachments[0].url"},
    {FT ",'text':'x','attachments':[{'content':'','filename':'a\\nb'}]}",
     "attachments[0].filename"},
    {FT ",'text':'x','attachments':[{'content':'','contentType':'text'}]}",
     "attachments[0].contentType"},
    {FT ",'text':'x','attachments':[{'content':'','contentType':'a/b\\r\\nX: y'}]}",
     "attachments[0].contentType"},
    {FT ",'text':'x','attachments':[{'content':'','contentId':'<x>'}]}",
     "attachments[0].contentId"},
    {FT ",'text':'x','attachments':[{'content':'','filename':1}]}", "attachments[0].filename"},
    {FT ",'text':'x','metadata':{'':'1'}}", "metadata"},
    {FT ",'text':'x','metadata':{'a':[]}}", "metadata.a"},
    {FT ",'text':'x','metadata':'no'}", "metadata"},
    {FT ",'text':'x','tags':['']}", "tags[0]"},
    {FT ",'text':'x','tags':['a','b\\u0007']}", "tags[1]"},
    {FT ",'text':'x','tags':'one'}", "tags"},
    {FT ",'text':'x','sandbox':'yes'}", "sandbox"},
    {FT ",'text':'x','templateId':'tpl_1'}", "templateId"},
    {FT ",'text':'x','templateId':'msg_1','templateData':{}}", "templateId"},
    {FT ",'text':'x','templateData':{}}", "templateData"},
    {FT ",'text':'x','templateData':[]}", "templateData"},
    {FT ",'text':'x','scheduledAt':'tomorrow'}", "scheduledAt"},
    {FT ",'text':'x','scheduledAt':'in two hours'}", "scheduledAt"},
    {FT ",'text':'x','scheduledAt':'in 2 years'}", "scheduledAt"},
    {FT ",'text':'x','scheduledAt':'in 721 hours'}", "scheduledAt"},
    {FT ",'text':'x','scheduledAt':'in 99999999999999999999 hours'}", "scheduledAt"},
    {FT ",'text':'x','scheduledAt':1752592000001}", "scheduledAt"},
    {FT ",'text':'x','scheduledAt':true}", "scheduledAt"},
    {FT ",'text':'x','trackOpens':'no'}", "trackOpens"},
    {FT ",'text':'x','priority':'urgent'}", "priority"},
    {FT ",'text':'x','pool':'Marketing'}", "pool"},
    {FT ",'text':'x','pool':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}", "pool"},
    {FT ",'text':'x','requireTls':1}", "requireTls"},
    {FT ",'text':'x','trackClicks':1}", "trackClicks"},
};

/* Nothing of a refused request reaches a shard, and the connection goes on. */
Test(api_send, names_the_field_of_each_mistake)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        char param[96];
        buf_clear(&client.in);
        post(&client, "", mistakes[i].body);
        client_expect(&client, 1, 400);
        (void)snprintf(param, sizeof param, "\"param\":\"%s\"}", mistakes[i].param);
        bool is_named = client_says(&client, 1, "\"param\":");
        cr_assert_eq(is_named, mistakes[i].param[0] != '\0', "%s: %.*s", mistakes[i].body,
                     SLICE_FMT(buf_slice(&client.in)));
        cr_assert(!is_named || client_says(&client, 1, param), "%s: %.*s", mistakes[i].body,
                  SLICE_FMT(buf_slice(&client.in)));
    }
    cr_assert_eq(rig.got_count, 0);
    cr_assert_eq(edge_actor(rig.edge)->pools[MSG_POOL_REQUEST].free_count, EDGE_POOL_MSGS);
    client_close(&client);
    rig_end(&rig);
}

/* ---- ceilings ------------------------------------------------------------------------------- */

static void add_times(struct buf *body, const char *one, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        buf_add_str(body, i == 0 ? "" : ",");
        buf_add_format(body, one, (unsigned)i);
    }
}

/* `before`, then `one` up to `max` times separated by commas, then `after`. */
struct list {
    const char *before;
    const char *one;
    const char *after;
    uint32_t max;
};

static const struct list lists[] = {
    {"{'from':'a@send.test','text':'x','to':[", "'r%u@dest.test'", "]}", API_RCPT_MAX},
    {FT ",'text':'x','cc':[", "'r%u@dest.test'", "]}", API_RCPT_MAX - 1},
    {FT ",'text':'x','headers':{", "'X-%u':'v'", "}}", CUSTOM_HEADER_COUNT},
    {FT ",'text':'x','metadata':{", "'m%u':1", "}}", METADATA_COUNT},
    {FT ",'text':'x','tags':[", "'t%u'", "]}", TAG_COUNT},
    {FT ",'text':'x','attachments':[", "{'filename':'f%u','content':'AAAA'}", "]}",
     ATTACHMENT_COUNT_MAX},
};

Test(api_send, takes_lists_up_to_their_ceilings)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    uint32_t answers = 0;
    uint32_t accepted = 0;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (uint32_t more = 0; more < 2; more++) {
            struct buf body;
            buf_init(&body, MIB);
            buf_add_str(&body, lists[i].before);
            add_times(&body, lists[i].one, lists[i].max + more);
            buf_add_str(&body, lists[i].after);
            buf_add_byte(&body, '\0');
            post(&client, "", body.data);
            buf_fini(&body);
            answers += 1;
            if (more == 0) {
                accepted += 1;
                (void)rig_await(&rig, accepted);
                rig_answer(&rig, accepted, ERR_OK);
            }
            client_expect(&client, answers, more == 0 ? 202 : 400);
        }
    }
    cr_assert_eq(rig.got_count, accepted);
    client_close(&client);
    rig_end(&rig);
}

Test(api_send, bounds_an_idempotency_key)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    char header[IDEMPOTENCY_KEY_MAX + 64];
    (void)snprintf(header, sizeof header, "Idempotency-Key: %0*d\r\n", IDEMPOTENCY_KEY_MAX, 0);
    client_send(&client, header);
    cr_assert_eq(rig_await(&rig, 1)->body.send.idempotency_key.len, IDEMPOTENCY_KEY_MAX);
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    (void)snprintf(header, sizeof header, "Idempotency-Key: %0*d\r\n", IDEMPOTENCY_KEY_MAX + 1, 0);
    client_send(&client, header);
    client_expect(&client, 2, 400);
    cr_assert(client_says(&client, 2, "\"param\":\"Idempotency-Key\""));
    client_close(&client);
    rig_end(&rig);
}

/* 25 MiB of attachments fit the body's ceiling and the message's arena; more is 413. */
Test(api_send, takes_attachments_up_to_25_mib_together)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t more = 0; more < 2; more++) {
        struct buf body;
        size_t len = (ATTACHMENT_BYTES_MAX + more * KIB) / 3 * 4;
        buf_init(&body, 40 * MIB);
        buf_add_str(&body, "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"x\","
                           "\"attachments\":[{\"content\":\"");
        char *data = buf_room(&body, len);
        cr_assert_not_null(data);
        memset(data, 'A', len);
        buf_grew(&body, len);
        buf_add_str(&body, "\"}]}");
        post_bytes(&client, "", buf_slice(&body));
        buf_fini(&body);
        if (more == 0) {
            cr_assert_eq(rig_await(&rig, 1)->body.send.attachments[0].data.len, len / 4 * 3);
            rig_answer(&rig, 1, ERR_OK);
        }
        client_expect(&client, more + 1, more == 0 ? 202 : 413);
    }
    cr_assert(client_says(&client, 2, "\"param\":\"attachments\""));
    client_close(&client);
    rig_end(&rig);
}
