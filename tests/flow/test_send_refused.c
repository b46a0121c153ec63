/* Flow: what POST /v1/send refuses, and that nothing of it is kept.
 *
 * Every case is one request; the field at fault must be named, and at the end the list of messages
 * and the sink must be as empty as at the start.
 *
 * Not covered here: requests that are no HTTP (test_http.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "support/world.h"

struct refusal {
    const char *name;
    const char *body; /* apostrophes are quotation marks */
    const char *param;
    long status; /* 0: 400 */
};

/* The rest of a good request, in front of the field at fault. */
#define FROM "'from':'a@send.test'"
#define TO   "'to':'b@dest.test'"
#define TEXT "'text':'x'"
#define GOOD "{" FROM "," TO "," TEXT ","

static const struct refusal refusals[] = {
    {"not JSON", "{'from':", "", 0},
    {"an empty body", "", "", 0},
    {"a list", "[]", "", 0},
    {"a number", "7", "", 0},
    {"bytes behind the end", "{" FROM "," TO "," TEXT "}x", "", 0},
    {"a key twice", GOOD "'subject':'a','subject':'b'}", "", 0},
    {"a NUL escape", GOOD "'subject':'a\\u0000b'}", "", 0},
    {"a lone surrogate", GOOD "'subject':'\\ud800'}", "", 0},
    {"bytes that are not UTF-8", GOOD "'subject':'\xc3\x28'}", "", 0},
    {"UTF-8 longer than needed", GOOD "'subject':'\xc0\xaf'}", "", 0},

    {"no from", "{" TO "," TEXT "}", "from", 0},
    {"from is a number", "{'from':7," TO "," TEXT "}", "from", 0},
    {"from is null", "{'from':null," TO "," TEXT "}", "from", 0},
    {"from is no address", "{'from':'nobody'," TO "," TEXT "}", "from", 0},
    {"from is two addresses", "{'from':'a@send.test,b@send.test'," TO "," TEXT "}", "from", 0},
    {"a line break in from", "{'from':'a@send.test\\r\\nBcc: x@dest.test'," TO "," TEXT "}", "from",
     0},
    {"a line break in from's name",
     "{'from':'Ann\\r\\nBcc: x@dest.test <a@send.test>'," TO "," TEXT "}", "from", 0},
    {"a line feed in from's name", "{'from':'Ann\\nX: y <a@send.test>'," TO "," TEXT "}", "from",
     0},

    {"no to", "{" FROM "," TEXT "}", "to", 0},
    {"to is empty", "{" FROM ",'to':[]," TEXT "}", "to", 0},
    {"to is an empty text", "{" FROM ",'to':''," TEXT "}", "to", 0},
    {"to is an object", "{" FROM ",'to':{'a':'b@dest.test'}," TEXT "}", "to", 0},
    {"to holds a number", "{" FROM ",'to':['b@dest.test',7]," TEXT "}", "to[1]", 0},
    {"to holds a word", "{" FROM ",'to':['b@dest.test','bob']," TEXT "}", "to[1]", 0},
    {"a line break in to", "{" FROM ",'to':'b@dest.test\\r\\nRCPT TO:<x@dest.test>'," TEXT "}",
     "to", 0},
    {"an angle bracket in to", "{" FROM ",'to':'b@dest.test>'," TEXT "}", "to", 0},
    {"a space in to", "{" FROM ",'to':'b b@dest.test'," TEXT "}", "to", 0},
    {"a local part of 65 bytes",
     "{" FROM ",'to':'a234567890b234567890c234567890d234567890e234567890f234567890abcde"
     "@dest.test'," TEXT "}",
     "to", 0},
    {"cc is no address", GOOD "'cc':'@dest.test'}", "cc", 0},
    {"bcc is no address", GOOD "'bcc':['b@']}", "bcc", 0},
    {"a line break in bcc", GOOD "'bcc':['b@dest.test\\n']}", "bcc", 0},
    {"replyTo is no address", GOOD "'replyTo':'x@y@z'}", "replyTo", 0},
    {"a line break in replyTo", GOOD "'replyTo':'A\\r\\nX: y <b@dest.test>'}", "replyTo", 0},

    {"subject is a list", GOOD "'subject':['a']}", "subject", 0},
    {"a line break in subject", GOOD "'subject':'a\\r\\nBcc: x@dest.test'}", "subject", 0},
    {"a line feed in subject", GOOD "'subject':'a\\n b'}", "subject", 0},
    {"text is a number", "{" FROM "," TO ",'text':1}", "text", 0},
    {"neither text nor html", "{" FROM "," TO "}", "text", 0},
    {"html is a boolean", "{" FROM "," TO ",'html':true}", "html", 0},
    {"a line break in inReplyTo", GOOD "'inReplyTo':'<a@b>\\r\\nX: y'}", "inReplyTo", 0},

    {"headers is a list", GOOD "'headers':[]}", "headers", 0},
    {"a header that is an object", GOOD "'headers':{'X-A':{}}}", "headers.X-A", 0},
    {"a header name with a colon", GOOD "'headers':{'X:A':'b'}}", "headers", 0},
    {"a header name with a space", GOOD "'headers':{'X A':'b'}}", "headers", 0},
    {"a header name with a line break", GOOD "'headers':{'X\\r\\nBcc':'b'}}", "headers", 0},
    {"an empty header name", GOOD "'headers':{'':'b'}}", "headers", 0},
    {"a header value with a line break", GOOD "'headers':{'X-A':'b\\r\\nBcc: c@dest.test'}}",
     "headers.X-A", 0},
    {"a header value with a carriage return", GOOD "'headers':{'X-A':'b\\rc'}}", "headers.X-A", 0},
    {"header From", GOOD "'headers':{'from':'x@y.test'}}", "headers.from", 0},
    {"header Bcc", GOOD "'headers':{'BCC':'x@y.test'}}", "headers.BCC", 0},
    {"header Content-Type", GOOD "'headers':{'Content-Type':'x/y'}}", "headers.Content-Type", 0},
    {"header Message-ID", GOOD "'headers':{'Message-Id':'<a@b>'}}", "headers.Message-Id", 0},
    {"header DKIM-Signature", GOOD "'headers':{'dkim-signature':'v=1'}}", "headers.dkim-signature",
     0},
    {"header Return-Path", GOOD "'headers':{'Return-Path':'<>'}}", "headers.Return-Path", 0},

    {"attachments is an object", GOOD "'attachments':{}}", "attachments", 0},
    {"an attachment is a text", GOOD "'attachments':['a']}", "attachments[0]", 0},
    {"an attachment without content", GOOD "'attachments':[{'filename':'a.txt'}]}",
     "attachments[0].content", 0},
    {"content that is not base64",
     GOOD "'attachments':[{'content':'YQ==','filename':'a'},"
          "{'content':'%%%%'}]}",
     "attachments[1].content", 0},
    {"base64 of a wrong length", GOOD "'attachments':[{'content':'YQ=YQ'}]}",
     "attachments[0].content", 0},
    {"a line break in a file name",
     GOOD "'attachments':[{'content':'YQ==','filename':'a\\r\\nb'}]}", "attachments[0].filename",
     0},
    {"a line break in a content type",
     GOOD "'attachments':[{'content':'YQ==','contentType':'a/b\\r\\nX: y'}]}",
     "attachments[0].contentType", 0},
    {"a content type that is none", GOOD "'attachments':[{'content':'YQ==','contentType':'text'}]}",
     "attachments[0].contentType", 0},
    {"a line break in a content id",
     GOOD "'attachments':[{'content':'YQ==','contentId':'a\\r\\nX: y'}]}",
     "attachments[0].contentId", 0},
    {"a bracket in a content id", GOOD "'attachments':[{'content':'YQ==','contentId':'a>'}]}",
     "attachments[0].contentId", 0},
    {"an attachment by url", GOOD "'attachments':[{'url':'https://x.test/a'}]}",
     "attachments[0].url", 0},

    {"metadata is a text", GOOD "'metadata':'a'}", "metadata", 0},
    {"metadata that is nested", GOOD "'metadata':{'a':{'b':1}}}", "metadata.a", 0},
    {"tags is a text", GOOD "'tags':'a'}", "tags", 0},
    {"a tag that is a number", GOOD "'tags':['a',1]}", "tags[1]", 0},
    {"a tag with a line break", GOOD "'tags':['a','b\\nc']}", "tags[1]", 0},
    {"an empty tag", GOOD "'tags':['']}", "tags[0]", 0},
    {"sandbox is a text", GOOD "'sandbox':'yes'}", "sandbox", 0},
    {"a time that is none", GOOD "'scheduledAt':'tomorrow'}", "scheduledAt", 0},
    {"a time too far ahead", GOOD "'scheduledAt':'in 31 days'}", "scheduledAt", 0},
    {"a template", GOOD "'templateId':'tpl_x'}", "templateId", 0},
    {"data without a template", GOOD "'templateData':{}}", "templateData", 0},
    {"tracking", GOOD "'trackOpens':'yes'}", "trackOpens", 0},
    {"a priority", GOOD "'priority':'urgent'}", "priority", 0},
    {"a pool", GOOD "'pool':'A b'}", "pool", 0},

    {"somebody else's domain", "{'from':'a@else.test'," TO "," TEXT "}", "", 404},
    {"a part of one's own domain", "{'from':'a@mail.send.test'," TO "," TEXT "}", "", 404},
    {"a domain that is not verified", "{'from':'a@pending.test'," TO "," TEXT "}", "", 409},
};

static struct slice quoted(struct world *world, const char *text)
{
    struct slice copy = arena_dup(&world->arena, slice_str(text));
    for (size_t i = 0; i < copy.len; i++) {
        if (copy.data[i] == '\'') {
            ((char *)(uintptr_t)copy.data)[i] = '"';
        }
    }
    return copy;
}

static struct reply *send_body(struct world *world, struct slice body)
{
    struct world_call call = {
        .method = "POST",
        .path = "/v1/send",
        .body = body.len > 0 ? body : SLICE(""),
    };
    return world_call(world, &call);
}

static void expect_refusal(struct world *world, const struct refusal *refusal, struct slice body)
{
    struct reply *reply = send_body(world, body);
    long status = refusal->status != 0 ? refusal->status : 400;
    cr_expect_eq(reply->status, status, "%s: status %ld: %.*s", refusal->name, reply->status,
                 SLICE_FMT(slice_head(reply->body, 300)));
    cr_expect_str_eq(reply_text(reply, "param"), refusal->param, "%s: %.*s", refusal->name,
                     SLICE_FMT(slice_head(reply->body, 300)));
    cr_expect_gt(strlen(reply_text(reply, "error")), 0, "%s: no sentence", refusal->name);
    cr_expect_gt(strlen(reply_text(reply, "code")), 0, "%s: no code", refusal->name);
}

static void expect_nothing_kept(struct world *world, const struct peer *sink)
{
    struct reply *list = world_get(world, "/api/messages");
    cr_assert_eq(list->status, 200);
    cr_assert_eq(reply_count(list, ""), 0, "kept: %.*s", SLICE_FMT(list->body));
    cr_assert_eq(world_sink_count(world, sink, "connections"), 0);
}

static struct world *world_of_refusals(struct peer **sink)
{
    struct world *world = world_new();
    *sink = world_ready_to_send(world);
    struct reply *pending = world_post(world, "/api/domains", "{'domain':'pending.test'}");
    cr_assert_eq(pending->status, 201);
    return world;
}

Test(send_refused, each_mistake_names_its_field_and_nothing_is_kept)
{
    struct peer *sink;
    struct world *world = world_of_refusals(&sink);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        expect_refusal(world, &refusals[i], quoted(world, refusals[i].body));
    }
    expect_nothing_kept(world, sink);
    world_end(world);
}

/* One field made of so many of the same. */
struct crowd {
    struct refusal refusal;
    const char *head;
    const char *item; /* with one %u */
    const char *tail;
    uint32_t count;
};

static const struct crowd crowds[] = {
    {{"51 recipients", NULL, "to", 0}, "{" FROM "," TEXT ",'to':[", "'b%u@dest.test'", "]}", 51},
    {{"51 recipients in all", NULL, "to", 0}, GOOD "'bcc':[", "'b%u@dest.test'", "]}", 50},
    {{"51 headers", NULL, "headers", 0}, GOOD "'headers':{", "'X-%u':'y'", "}}", 51},
    {{"21 tags", NULL, "tags", 0}, GOOD "'tags':[", "'t%u'", "]}", 21},
    {{"21 metadata", NULL, "metadata", 0}, GOOD "'metadata':{", "'m%u':1", "}}", 21},
    {{"101 attachments", NULL, "attachments", 0},
     GOOD "'attachments':[",
     "{'content':'YQ==','filename':'%u'}",
     "]}",
     101},
    {{"5000 keys", NULL, "", 0}, GOOD "'x':{", "'k%u':1", "}}", 5000},
};

static struct slice crowd_body(struct world *world, const struct crowd *crowd)
{
    struct buf body;
    buf_init(&body, MIB);
    buf_add_str(&body, crowd->head);
    for (uint32_t i = 0; i < crowd->count; i++) {
        struct slice item = slice_str(crowd->item);
        size_t at = slice_find(item, SLICE("%u"));
        buf_add_format(&body, "%s%.*s%u%s", i > 0 ? "," : "", SLICE_FMT(slice_head(item, at)),
                       (unsigned)i, item.data + at + 2);
    }
    buf_add_str(&body, crowd->tail);
    buf_add_byte(&body, '\0');
    struct slice made = quoted(world, body.data);
    buf_fini(&body);
    return made;
}

Test(send_refused, too_many_of_anything_is_refused)
{
    struct peer *sink;
    struct world *world = world_of_refusals(&sink);
    for (size_t i = 0; i < ARRAY_LEN(crowds); i++) {
        expect_refusal(world, &crowds[i].refusal, crowd_body(world, &crowds[i]));
    }
    expect_nothing_kept(world, sink);
    world_end(world);
}

static struct slice long_text(struct world *world, const char *head, size_t count, const char *tail)
{
    size_t len = strlen(head) + count + strlen(tail);
    char *text = arena_bytes(&world->arena, len + 1);
    memcpy(text, head, strlen(head));
    memset(text + strlen(head), 'A', count);
    memcpy(text + strlen(head) + count, tail, strlen(tail) + 1);
    return quoted(world, text);
}

Test(send_refused, too_long_and_too_large_are_refused)
{
    static const struct refusal subject = {"a subject of 999 bytes", NULL, "subject", 0};
    static const struct refusal value = {"a long header", NULL, "headers.X-A", 0};
    static const struct refusal tag = {"a long tag", NULL, "tags[0]", 0};
    static const struct refusal name = {"a long file name", NULL, "attachments[0].filename", 0};
    static const struct refusal text = {"a text of 11 MiB", NULL, "text", 0};
    static const struct refusal files = {"26 MiB attached", NULL, "attachments", 413};
    static const struct refusal body = {"a body over the ceiling", NULL, "", 413};
    static const struct refusal mail = {"a mail over mail_max", NULL, "", 413};
    struct peer *sink;
    struct world *world = world_of_refusals(&sink);
    expect_refusal(world, &subject, long_text(world, GOOD "'subject':'", 999, "'}"));
    expect_refusal(world, &value, long_text(world, GOOD "'headers':{'X-A':'", 4097, "'}}"));
    expect_refusal(world, &tag, long_text(world, GOOD "'tags':['", 129, "']}"));
    expect_refusal(
        world, &name,
        long_text(world, GOOD "'attachments':[{'content':'YQ==','filename':'", 256, "'}]}"));
    expect_refusal(world, &text,
                   long_text(world, "{" FROM "," TO ",'text':'", (size_t)(11 * MIB), "'}"));
    expect_refusal(
        world, &files,
        long_text(world, GOOD "'attachments':[{'content':'", (size_t)(36 * MIB), "'}]}"));
    expect_refusal(world, &body, long_text(world, GOOD "'x':'", (size_t)(40 * MIB), "'}"));
    world_stop(world);
    world_set(world, "mail_max", "65536");
    world_start(world);
    expect_refusal(world, &mail,
                   long_text(world, "{" FROM "," TO ",'text':'", (size_t)(100 * KIB), "'}"));
    expect_nothing_kept(world, sink);
    world_end(world);
}

Test(send_refused, raw_nul_bytes_deep_nesting_and_bad_keys_are_refused)
{
    static const char with_nul[] =
        "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\0\"text\":\"x\"}";
    static const char in_text[] =
        "{\"from\":\"a@send.test\",\"to\":\"b@dest.test\",\"text\":\"x\0y\"}";
    struct peer *sink;
    struct world *world = world_of_refusals(&sink);
    cr_expect_eq(send_body(world, slice_of(with_nul, sizeof with_nul - 1))->status, 400);
    cr_expect_eq(send_body(world, slice_of(in_text, sizeof in_text - 1))->status, 400);

    char deep[4096] = "{\"x\":";
    memset(deep + 5, '[', 2000);
    memset(deep + 2005, ']', 2000);
    memcpy(deep + 4005, "}", 2);
    cr_expect_eq(send_body(world, slice_str(deep))->status, 400);

    struct slice key = long_text(world, "Idempotency-Key: ", 257, "");
    struct world_call call = {
        .method = "POST",
        .path = "/v1/send",
        .body = quoted(world, "{" FROM "," TO "," TEXT "}"),
        .headers = {key.data},
    };
    struct reply *reply = world_call(world, &call);
    cr_expect_eq(reply->status, 400);
    cr_expect_str_eq(reply_text(reply, "param"), "Idempotency-Key");
    expect_nothing_kept(world, sink);
    world_end(world);
}

Test(send_refused, without_a_good_credential_nothing_is_looked_at)
{
    static const char bad_body[] = "{";
    struct peer *sink;
    struct world *world = world_of_refusals(&sink);
    char typo[128];
    (void)snprintf(typo, sizeof typo, "%s", world->key); /* keys are shorter */
    typo[20] = typo[20] == 'a' ? 'b' : 'a';
    const char *const bearers[] = {"",
                                   "x",
                                   "mk_live_",
                                   typo,
                                   world_text(world, "%sx", world->key),
                                   world_text(world, "%sx", world->token),
                                   "eyJhbGciOiJub25lIn0.e30."};
    for (size_t i = 0; i < ARRAY_LEN(bearers); i++) {
        struct world_call call = {.method = "POST",
                                  .path = "/v1/send",
                                  .bearer = bearers[i],
                                  .body = slice_str(bad_body)};
        struct reply *reply = world_call(world, &call);
        cr_expect_eq(reply->status, 401, "bearer \"%s\": %ld", bearers[i], reply->status);
        cr_expect_str_eq(reply_text(reply, "code"), "unauthorized");
    }
    expect_nothing_kept(world, sink);
    world_end(world);
}
