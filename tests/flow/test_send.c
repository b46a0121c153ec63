/* Flow: sending, from POST /v1/send to the mail that a server received, and what can be read of it
 * afterwards.
 *
 * Not covered here: what is refused (test_send_refused.c), what servers may answer
 * (test_delivery.c), TLS and signatures as real peers see them (test_peers.c). Batches, schedules,
 * templates and attachments by URL do not exist yet.
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/limits.h"
#include "support/client.h"
#include "support/verify.h"
#include "support/world.h"

#define PIXEL "iVBORw0KGgo=" /* the eight bytes that begin a PNG */

/* The mail as the client wrote it: without the sink's lines. */
static struct slice without_sink_lines(struct slice mail)
{
    while (slice_starts(mail, SLICE("X-Sink-"))) {
        (void)slice_cut(&mail, '\n');
    }
    return mail;
}

static bool has_line(struct slice mail, const char *line)
{
    while (mail.data != NULL) {
        if (slice_equal(slice_trim(slice_cut(&mail, '\n')), slice_str(line))) {
            return true;
        }
    }
    return false;
}

static void put_addr(FILE *pipe, const char *field, const char *name, const char *address)
{
    char value[512];
    int len = snprintf(value, sizeof value, "%s%c%s%c%s", field, '\0', name, '\0', address);
    verify_put(pipe, "addr", slice_of(value, (size_t)len));
}

static void put_pair(FILE *pipe, const char *key, const char *first, const char *second)
{
    char value[512];
    int len = snprintf(value, sizeof value, "%s%c%s", first, '\0', second);
    verify_put(pipe, key, slice_of(value, (size_t)len));
}

struct file {
    const char *filename;
    const char *type;
    const char *content_id;
    const char *content;
};

static void put_file(FILE *pipe, const struct file *file, size_t content_len)
{
    char value[1024];
    int len = snprintf(value, sizeof value, "%s%c%s%c%s%c", file->filename, '\0', file->type, '\0',
                       file->content_id, '\0');
    cr_assert_lt((size_t)len + content_len, sizeof value);
    memcpy(value + len, file->content, content_len);
    verify_put(pipe, "file", slice_of(value, (size_t)len + content_len));
}

static FILE *start_case(const char *name, struct slice mail)
{
    FILE *pipe = verify_start("verify_mime.py");
    cr_assert_not_null(pipe);
    verify_put(pipe, "name", slice_str(name));
    verify_put(pipe, "mail", mail);
    return pipe;
}

static void end_case(FILE *pipe)
{
    verify_end_case(pipe);
    cr_assert_eq(verify_finish(pipe), 0, "the mail differs from what was asked for");
}

/* ---- one simple mail ------------------------------------------------------------------------- */

Test(send, a_mail_arrives_and_can_be_read_back)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    struct reply *sent =
        world_post(world, "/v1/send",
                   "{'from':'Ann <ann@send.test>','to':'bob@dest.test','subject':'Hello',"
                   "'text':'A line.\\n.dot\\n\\nLast'}");
    cr_assert_eq(sent->status, 202);
    cr_assert_str_eq(reply_text(sent, "status"), "queued");
    cr_assert(slice_starts(slice_str(reply_text(sent, "id")), SLICE("msg_")));
    const char *id = reply_text(sent, "id");

    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_assert_str_eq(reply_text(read, "message.id"), id);
    cr_assert_str_eq(reply_text(read, "message.direction"), "outbound");
    cr_assert_str_eq(reply_text(read, "message.mode"), "live");
    cr_assert_str_eq(reply_text(read, "message.from_addr"), "ann@send.test");
    cr_assert_str_eq(reply_text(read, "message.from.name"), "Ann");
    cr_assert_str_eq(reply_text(read, "message.to_addr"), "bob@dest.test");
    cr_assert_str_eq(reply_text(read, "message.subject"), "Hello");
    cr_assert_str_eq(reply_text(read, "deliveries.0.status"), "delivered");
    cr_assert_str_eq(reply_text(read, "message.text_body"), "A line.\n.dot\n\nLast");
    cr_assert_gt(reply_int(read, "message.received_at"), 1500000000000);
    cr_assert_eq(reply_count(read, "deliveries"), 1);
    cr_assert_str_eq(reply_text(read, "deliveries.0.recipient"), "bob@dest.test");
    cr_assert_str_eq(reply_text(read, "deliveries.0.kind"), "smtp");
    cr_assert_str_eq(reply_text(read, "deliveries.0.remote_host"), "mx.dest.test");
    cr_assert_eq(reply_int(read, "deliveries.0.last_status_code"), 250);
    cr_assert_eq(reply_int(read, "deliveries.0.attempts"), 1);
    cr_assert(json_is_null(reply_at(read, "deliveries.0.next_attempt_at")));
    cr_assert_eq(reply_count(read, "deliveries.0.log"), 1);
    cr_assert_str_eq(reply_text(read, "events.0.type"), "email.sent");
    cr_assert_str_eq(reply_text(read, "events.1.type"), "email.delivered");

    struct slice mail = without_sink_lines(world_sink_mail(world, sink, 1));
    struct reply *raw = world_get(world, "/api/messages/%s/raw", id);
    cr_assert_eq(raw->status, 200);
    cr_assert(slice_equal(reply_header(raw, "content-type"), SLICE("message/rfc822")));
    cr_assert(slice_ends(mail, raw->body), "what was sent is not what is kept");
    cr_assert_eq(reply_int(read, "message.size_bytes"), (long long)raw->body.len);
    world_end(world);
}

Test(send, the_list_is_newest_first_without_bodies_and_turns_pages)
{
    struct world *world = world_new();
    const char *ids[5];
    (void)world_ready_to_send(world); /* nobody asks the sink here */
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = world_send(world,
                            "{'from':'a@send.test','to':'bob@dest.test','subject':'Number %zu',"
                            "'html':'<p>x</p>'}",
                            i);
    }
    struct reply *all = world_get(world, "/api/messages");
    cr_assert_eq(reply_count(all, ""), ARRAY_LEN(ids));
    cr_assert_str_eq(reply_text(all, "0.id"), ids[4]);
    cr_assert_str_eq(reply_text(all, "4.id"), ids[0]);
    cr_assert_str_eq(reply_text(all, "4.subject"), "Number 0");
    cr_assert_null(reply_at(all, "0.html_body"));
    cr_assert_null(reply_at(all, "0.headers_json"));

    struct reply *first = world_get(world, "/api/messages?limit=2");
    cr_assert_eq(reply_count(first, ""), 2);
    struct reply *second =
        world_get(world, "/api/messages?limit=2&before=%s", reply_text(first, "1.id"));
    cr_assert_eq(reply_count(second, ""), 2);
    cr_assert_str_eq(reply_text(second, "0.id"), ids[2]);
    struct reply *found = world_get(world, "/api/messages?search=number%%203");
    cr_assert_eq(reply_count(found, ""), 1);
    cr_assert_str_eq(reply_text(found, "0.id"), ids[3]);
    cr_assert_eq(reply_count(world_get(world, "/api/messages?direction=inbound"), ""), 0);
    cr_assert_eq(reply_count(world_get(world, "/api/messages?domain=send.test"), ""), 5);
    cr_assert_eq(reply_count(world_get(world, "/api/messages?domain=other.test"), ""), 0);
    (void)world_await(world, ids[2], "message.send_status", "delivered"); /* the reply is ids[2] */
    struct reply *delivered = world_get(world, "/api/messages?status=delivered&limit=200");
    cr_assert_geq(reply_count(delivered, ""), 1);
    cr_assert_eq(world_get(world, "/api/messages?limit=0")->status, 400);
    cr_assert_eq(world_get(world, "/api/messages?limit=201")->status, 400);
    cr_assert_eq(world_get(world, "/api/messages?status=odd")->status, 400);
    world_end(world);
}

/* ---- every field ----------------------------------------------------------------------------- */

static void check_every_field(struct slice mail)
{
    static const struct file logo = {"logo.png", "image/png", "logo", "\x89PNG\r\n\x1a\n"};
    static const struct file notes = {"notes.txt", "text/plain", "", "one\ntwo\n"};
    static const struct file bare = {"", "application/octet-stream", "", "\0\1\2\3"};
    FILE *pipe = start_case("every field", mail);
    verify_put(pipe, "subject", SLICE("All of it"));
    put_addr(pipe, "from", "Ann, the Sender", "ann@send.test");
    put_addr(pipe, "to", "Bob", "bob@dest.test");
    put_addr(pipe, "to", "", "bert@dest.test");
    put_addr(pipe, "cc", "Carl \"C\" Cee", "carl@dest.test");
    put_addr(pipe, "reply-to", "Help", "help@send.test");
    put_addr(pipe, "reply-to", "", "more@elsewhere.test");
    put_pair(pipe, "header", "X-Order", "4711");
    put_pair(pipe, "header", "List-Unsubscribe", "<https://send.test/u?x=1>");
    put_pair(pipe, "header", "In-Reply-To", "<parent@dest.test>");
    put_pair(pipe, "header", "References", "<parent@dest.test>");
    verify_put(pipe, "text", SLICE("Plain words\n"));
    verify_put(pipe, "html", SLICE("<p>Rich <img src=\"cid:logo\"></p>"));
    put_file(pipe, &logo, 8);
    put_file(pipe, &notes, 8);
    put_file(pipe, &bare, 4);
    verify_put(pipe, "tree",
               SLICE("mixed(related(alternative(plain,html),png),plain,octet-stream)"));
    end_case(pipe);
}

Test(send, every_field_arrives_as_it_was_given)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *id = world_send(
        world,
        "{'from':'\\'Ann, the Sender\\' <ann@send.test>',"
        "'to':['Bob <bob@dest.test>','bert@dest.test'],"
        "'cc':'\\'Carl \\\\\\'C\\\\\\' Cee\\' <carl@dest.test>','bcc':['dora@dest.test'],"
        "'replyTo':['Help <help@send.test>','more@elsewhere.test'],"
        "'subject':'All of it','text':'Plain words\\n',"
        "'html':'<p>Rich <img src=\\'cid:logo\\'></p>','inReplyTo':'<parent@dest.test>',"
        "'headers':{'X-Order':'4711','List-Unsubscribe':'<https://send.test/u?x=1>'},"
        "'attachments':[{'filename':'logo.png','content':'" PIXEL "','contentType':'image/png',"
        "'contentId':'logo'},{'filename':'notes.txt','content':'b25lCnR3bwo=',"
        "'contentType':'text/plain'},{'content':'AAECAw=='}],"
        "'metadata':{'order':4711,'paid':true,'who':'a \\'b\\''},'tags':['receipt','spring'],"
        "'unknown':{'is':['ignored']}}");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");

    struct slice stored = world_sink_mail(world, sink, 1);
    cr_assert(has_line(stored, "X-Sink-RcptTo: <dora@dest.test>"));
    cr_assert_eq(slice_find(stored, SLICE("X-Sink-Flaw")), SIZE_MAX);
    struct slice mail = without_sink_lines(stored);
    cr_assert_eq(slice_find(mail, SLICE("dora")), SIZE_MAX, "a Bcc recipient shows");
    check_every_field(mail);

    cr_assert_eq(reply_count(read, "deliveries"), 4);
    cr_assert_str_eq(reply_text(read, "message.bcc.0"), "dora@dest.test");
    cr_assert_eq(reply_int(read, "message.metadata.order"), 4711);
    cr_assert(json_is_true(reply_at(read, "message.metadata.paid")));
    cr_assert_str_eq(reply_text(read, "message.metadata.who"), "a \"b\"");
    cr_assert_str_eq(reply_text(read, "message.tags.1"), "spring");
    cr_assert_str_eq(reply_text(read, "message.html_body"), "<p>Rich <img src=\"cid:logo\"></p>");
    cr_assert_eq(reply_count(read, "attachments"), 3);
    cr_assert_str_eq(reply_text(read, "attachments.0.filename"), "logo.png");
    cr_assert_str_eq(reply_text(read, "attachments.0.contentId"), "logo");
    cr_assert_str_eq(reply_text(read, "attachments.0.disposition"), "inline");
    cr_assert_eq(reply_int(read, "attachments.0.size"), 8);
    cr_assert_str_eq(reply_text(read, "attachments.1.contentType"), "text/plain");
    cr_assert_str_eq(reply_text(read, "attachments.1.disposition"), "attachment");
    world_end(world);
}

Test(send, text_is_made_from_html_when_it_is_missing)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *id = world_send(world, "{'from':'a@send.test','to':'bob@dest.test',"
                                       "'html':'<h1>Sale</h1><p>50&nbsp;%% &amp; more</p>'}");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    const char *text = reply_text(read, "message.text_body");
    cr_assert_not_null(strstr(text, "Sale"));
    cr_assert_not_null(strstr(text, "% & more"));
    cr_assert_null(strchr(text, '<'));
    struct slice mail = world_sink_mail(world, sink, 1);
    cr_assert_neq(slice_find(mail, SLICE("multipart/alternative")), SIZE_MAX);
    cr_assert_eq(slice_find(mail, SLICE("\nSubject:")), SIZE_MAX);
    world_end(world);
}

/* ---- the whole world's alphabets ------------------------------------------------------------- */

static void check_alphabets(struct slice mail)
{
    static const struct file menu = {"Men\xc3\xbc \xe2\x82\xac.txt", "text/plain", "", "x"};
    FILE *pipe = start_case("alphabets", mail);
    verify_put(pipe, "utf8", SLICE("yes"));
    verify_put(pipe, "subject",
               SLICE("Gr\xc3\xbc\xc3\x9f"
                     "e \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80"));
    put_addr(pipe, "from", "J\xc3\xb6rg M\xc3\xbcller", "joerg@xn--mnchen-3ya.test");
    put_addr(pipe, "to", "\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd",
             "\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@dest.test");
    put_pair(pipe, "header", "X-City", "K\xc3\xb6ln");
    verify_put(pipe, "text",
               SLICE("\xe3\x81\x93\xe3\x82\x93\xe3\x81\xab\xe3\x81\xa1\xe3\x81\xaf\n"));
    put_file(pipe, &menu, 1);
    end_case(pipe);
}

Test(send, names_addresses_domains_and_texts_may_be_of_any_alphabet)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    (void)world_domain(world, "m\xc3\xbcnchen.test"); /* its id is not needed */
    const char *id = world_send(
        world,
        "{'from':'J\xc3\xb6rg M\xc3\xbcller <joerg@m\xc3\xbcnchen.test>',"
        "'to':'\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd <\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@dest.test>',"
        "'subject':'Gr\xc3\xbc\\u00dfe \xe6\x97\xa5\xe6\x9c\xac \\ud83d\\ude00',"
        "'text':'\xe3\x81\x93\xe3\x82\x93\xe3\x81\xab\xe3\x81\xa1\xe3\x81\xaf\\n',"
        "'headers':{'X-City':'K\xc3\xb6ln'},"
        "'attachments':[{'filename':'Men\xc3\xbc \xe2\x82\xac.txt','content':'eA==',"
        "'contentType':'text/plain'}],"
        "'metadata':{'\xc3\xa4':'\xc3\xb6'},'tags':['\xc3\xbc']}");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    struct slice stored = world_sink_mail(world, sink, 1);
    cr_assert(has_line(stored, "X-Sink-RcptTo: <\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@dest.test>"));
    cr_assert_eq(slice_find(stored, SLICE("X-Sink-Flaw")), SIZE_MAX);
    check_alphabets(without_sink_lines(stored));
    cr_assert_not_null(strstr(reply_text(read, "deliveries.0.log.0.transcript"), "SMTPUTF8"));
    cr_assert_str_eq(reply_text(read, "message.metadata.\xc3\xa4"), "\xc3\xb6");
    cr_assert_str_eq(reply_text(read, "message.tags.0"), "\xc3\xbc");
    cr_assert_eq(reply_count(world_get(world, "/api/messages?search=gR%%C3%%BC"), ""), 1);
    world_end(world);
}

/* ---- large ----------------------------------------------------------------------------------- */

Test(send, a_mail_of_twenty_mebibytes_arrives_whole)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    size_t len = (size_t)(15 * MIB);
    char *data = arena_bytes(&world->arena, len);
    crypto_init();
    crypto_random(data, len);
    struct slice content = base64_arena(&world->arena, slice_of(data, len));
    const char *id = world_send(world,
                                "{'from':'a@send.test','to':'bob@dest.test','text':'x',"
                                "'attachments':[{'filename':'big.bin','content':'%.*s'}]}",
                                SLICE_FMT(content));
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_assert_gt(reply_int(read, "message.size_bytes"), (long long)(20 * MIB));
    struct slice mail = without_sink_lines(world_sink_mail(world, sink, 1));
    struct reply *raw = world_get(world, "/api/messages/%s/raw", id);
    cr_assert_eq(raw->status, 200);
    cr_assert_eq((long long)raw->body.len, reply_int(read, "message.size_bytes"));
    cr_assert(slice_ends(mail, raw->body), "what was sent is not what is kept");
    struct slice lines = raw->body;
    size_t at = slice_find(lines, SLICE("big.bin"));
    lines = slice_from(lines, at);
    lines = slice_from(lines, slice_find(lines, SLICE("\r\n\r\n")) + 4);
    for (size_t done = 0; done < content.len; done += 76) {
        cr_assert(slice_equal(slice_trim(slice_cut(&lines, '\n')), slice_sub(content, done, 76)));
    }
    world_end(world);
}

/* ---- idempotency ----------------------------------------------------------------------------- */

static struct reply *send_with_key(struct world *world, const char *key, const char *body)
{
    struct world_call call = {
        .method = "POST",
        .path = "/v1/send",
        .body = slice_str(body),
        .headers = {world_text(world, "Idempotency-Key: %s", key)},
    };
    return world_call(world, &call);
}

Test(send, an_idempotency_key_sends_once_and_refuses_another_body)
{
    static const char body[] =
        "{\"from\":\"a@send.test\",\"to\":\"bob@dest.test\",\"text\":\"once\"}";
    static const char other[] =
        "{\"from\":\"a@send.test\",\"to\":\"bob@dest.test\",\"text\":\"twice\"}";
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    struct reply *first = send_with_key(world, "order-1", body);
    cr_assert_eq(first->status, 202);
    const char *id = reply_text(first, "id");
    struct reply *again = send_with_key(world, "order-1", body);
    cr_assert_eq(again->status, 202);
    cr_assert_str_eq(reply_text(again, "id"), id);
    struct reply *reused = send_with_key(world, "order-1", other);
    cr_assert_eq(reused->status, 409);
    cr_assert_str_eq(reply_text(reused, "code"), "idempotency_reused");
    struct reply *fresh = send_with_key(world, "order-2", other);
    cr_assert_eq(fresh->status, 202);
    (void)world_await(world, reply_text(fresh, "id"), "message.send_status", "delivered");
    (void)world_await(world, id, "message.send_status", "delivered");

    world_stop(world);
    world_start(world); /* the key outlives the process */
    cr_assert_str_eq(reply_text(send_with_key(world, "order-1", body), "id"), id);
    cr_assert_eq(reply_count(world_get(world, "/api/messages"), ""), 2);
    cr_assert_eq(world_sink_count(world, sink, "mails"), 2);

    /* Another account's keys are its own: there, the domain is what is wrong. */
    struct world_call call = {
        .method = "POST",
        .path = "/v1/send",
        .body = slice_str(body),
        .bearer = reply_text(world_signup(world, "else@other.test"), "apiKey"),
        .headers = {"Idempotency-Key: order-1"},
    };
    cr_assert_eq(world_call(world, &call)->status, 404);
    world_end(world);
}

Test(send, two_sends_with_one_key_at_once_are_one_mail)
{
    static const char body[] = "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"x\"}";
    struct world *world = world_new();
    world_set(world, "test_commit_delay_ms", "200"); /* the first is on its way to the disk */
    struct peer *sink = world_ready_to_send(world);
    struct client clients[4];
    const char *request = world_text(world,
                                     "POST /v1/send HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                                     "Authorization: Bearer %s\r\nIdempotency-Key: k\r\n"
                                     "Content-Length: %zu\r\n\r\n%s",
                                     world->key, sizeof body - 1, body);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_open(world, &clients[i], INADDR_LOOPBACK);
        client_say(&clients[i], slice_str(request));
    }
    struct slice id = SLICE("");
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        client_await_end(&clients[i]);
        int status = client_status(&clients[i], 0);
        cr_expect(status == 202 || status == 409, "%d", status);
        struct slice in = buf_slice(&clients[i].in);
        size_t at = slice_find(in, SLICE("\"msg_"));
        if (status == 202) {
            struct slice mine = arena_dup(&world->arena, slice_sub(in, at, 27));
            cr_expect(id.len == 0 || slice_equal(id, mine), "%.*s", SLICE_FMT(in));
            id = mine;
        }
        client_close(&clients[i]);
    }
    struct reply *list = world_get(world, "/api/messages");
    cr_assert_eq(reply_count(list, ""), 1);
    (void)world_await(world, reply_text(list, "0.id"), "message.send_status", "delivered");
    cr_assert_eq(world_sink_count(world, sink, "mails"), 1);
    world_end(world);
}

Test(send, recipients_are_grouped_by_domain_and_named_once)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    world_dns(world, "mx-host=two.test,mx.dest.test,10\n");
    const char *id = world_send(world, "{'from':'a@send.test','to':['x@dest.test','y@two.test'],"
                                       "'cc':['X@DEST.test','z@dest.test'],'text':'x'}");
    struct reply *read = world_await(world, id, "message.send_status", "delivered");
    cr_assert_eq(reply_count(read, "deliveries"), 3, "somebody gets it twice");
    (void)world_sink_mail(world, sink, 2); /* waits */
    cr_assert_eq(world_sink_count(world, sink, "mails"), 2, "one copy for each domain");
    cr_assert_eq(world_sink_count(world, sink, "rcpts"), 3);
    world_end(world);
}

Test(send, a_sandbox_mail_never_leaves)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *id = world_send(world, "{'from':'a@send.test','to':'bob@dest.test','text':'x',"
                                       "'sandbox':true}");
    (void)world_await(world, id, "message.send_status", "delivered");
    cr_assert_eq(world_sink_count(world, sink, "connections"), 0);
    world_end(world);
}
