/* Flow: sending domains, from their creation over the records in a real DNS to the right to send,
 * and whose they are.
 *
 * The daemon keeps every DNS answer for five seconds at least. So each case has a domain of its
 * own, or the daemon starts anew.
 *
 * Not covered here: what spellings of records count (tests/unit/deliver), sending (test_send.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "support/world.h"

static struct world *world_with_account(void)
{
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    return world;
}

static struct reply *create(struct world *world, const char *domain)
{
    struct reply *reply = world_post(world, "/api/domains", "{'domain':'%s'}", domain);
    cr_assert_eq(reply->status, 201, "%s: %.*s", domain, SLICE_FMT(reply->body));
    return reply;
}

static struct reply *verify_as(struct world *world, const char *bearer, const char *id)
{
    struct world_call call = {
        .method = "POST",
        .path = world_text(world, "/api/domains/%s/verify", id),
        .bearer = bearer,
    };
    return world_call(world, &call);
}

static struct reply *delete_as(struct world *world, const char *bearer, const char *id)
{
    struct world_call call = {
        .method = "DELETE",
        .path = world_text(world, "/api/domains/%s", id),
        .bearer = bearer,
    };
    return world_call(world, &call);
}

static long send_status(struct world *world, const char *domain)
{
    return world_post(world, "/v1/send",
                      "{'from':'a@%s','to':'b@dest.test','text':'x','sandbox':true}", domain)
        ->status;
}

/* ---- rows ------------------------------------------------------------------------------------ */

Test(domains, a_domain_is_made_listed_read_and_deleted)
{
    static const struct {
        const char *type;
        const char *name;
        const char *purpose;
        const char *value; /* what it begins with */
    } records[] = {
        {"MX", "mine.test", "receiving", WORLD_HOST},
        {"TXT", "mine.test", "spf", "v=spf1 include:spf." WORLD_HOST},
        {"TXT", "mk1._domainkey.mine.test", "dkim", "v=DKIM1; k=rsa; p=MII"},
        {"TXT", "mk2._domainkey.mine.test", "dkim", "v=DKIM1; k=ed25519; p="},
        {"TXT", "_dmarc.mine.test", "dmarc", "v=DMARC1; p="},
        {"CNAME", "bounces.mine.test", "return-path", WORLD_HOST},
    };
    struct world *world = world_with_account();
    struct reply *made = create(world, "Mine.TEST.");
    const char *id = reply_text(made, "domain.id");
    cr_assert(slice_starts(slice_str(id), SLICE("dom_")));
    cr_assert_str_eq(reply_text(made, "domain.domain"), "mine.test");
    cr_assert_str_eq(reply_text(made, "domain.status"), "pending");
    cr_assert(json_is_false(reply_at(made, "domain.dkim_verified")));
    cr_assert_eq(reply_count(made, "dns"), ARRAY_LEN(records));
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        const char *at = world_text(world, "dns.%zu.", i);
        cr_expect_str_eq(reply_text(made, world_text(world, "%stype", at)), records[i].type);
        cr_expect_str_eq(reply_text(made, world_text(world, "%sname", at)), records[i].name);
        cr_expect_str_eq(reply_text(made, world_text(world, "%spurpose", at)), records[i].purpose);
        cr_expect_str_eq(reply_text(made, world_text(world, "%sstatus", at)), "pending");
        const char *value = reply_text(made, world_text(world, "%svalue", at));
        cr_expect(slice_starts(slice_str(value), slice_str(records[i].value)), "%s", value);
    }
    cr_assert_eq(reply_int(made, "dns.0.priority"), 10);
    cr_assert_eq(slice_find(made->body, SLICE("PRIVATE")), SIZE_MAX);

    struct reply *second = create(world, "second.test");
    struct reply *list = world_get(world, "/api/domains");
    cr_assert_eq(reply_count(list, ""), 2);
    cr_assert_str_eq(reply_text(list, "0.domain"), "second.test", "newest first");
    cr_assert_str_eq(reply_text(list, "1.id"), id);
    struct reply *got = world_get(world, "/api/domains/%s", id);
    cr_assert_eq(got->status, 200);
    cr_assert(json_equal(got->json, made->json));

    cr_assert_eq(world_post(world, "/api/domains", "{'domain':'MINE.test'}")->status, 409);
    struct reply *gone = delete_as(world, NULL, id);
    cr_assert_eq(gone->status, 200);
    cr_assert(json_is_true(reply_at(gone, "ok")));
    cr_assert_eq(delete_as(world, NULL, id)->status, 404);
    cr_assert_eq(world_get(world, "/api/domains/%s", id)->status, 404);
    struct reply *again = create(world, "mine.test");
    cr_assert_str_neq(reply_text(again, "dns.2.value"), reply_text(made, "dns.2.value"),
                      "the keys of a deleted domain came back");
    cr_assert_str_neq(reply_text(second, "dns.2.value"), reply_text(made, "dns.2.value"));
    world_end(world);
}

Test(domains, names_are_checked_and_normalised)
{
    static const char *const bad[] = {
        "",
        "x",
        "-a.test",
        "a..test",
        "a b.test",
        "a_b.test\\n",
        "127.0.0.1",
        "a@b.test",
        "*.a.test",
        ".test",
        "a.test\\u0000b",
        "[::1]",
        "http://a.test",
        "a234567890b234567890c234567890d234567890e234567890f234567890abcd.test",
    };
    struct world *world = world_with_account();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply *reply = world_post(world, "/api/domains", "{'domain':'%s'}", bad[i]);
        cr_expect_eq(reply->status, 400, "\"%s\": %ld", bad[i], reply->status);
    }
    cr_expect_eq(world_post(world, "/api/domains", "{'domain':7}")->status, 400);
    cr_expect_eq(world_post(world, "/api/domains", "{}")->status, 400);
    cr_assert_eq(reply_count(world_get(world, "/api/domains"), ""), 0);
    struct reply *made = create(world, "B\xc3\x9c"
                                       "CHER.test");
    cr_assert_str_eq(reply_text(made, "domain.domain"), "xn--bcher-kva.test");
    cr_assert_eq(world_post(world, "/api/domains", "{'domain':'xn--bcher-kva.test'}")->status, 409);
    world_end(world);
}

/* ---- verification ---------------------------------------------------------------------------- */

enum check { CHECK_MX, CHECK_SPF, CHECK_DKIM, CHECK_DMARC, CHECK_COUNT };

struct published {
    const char *purposes; /* of Meerkat's own records, with spaces around each */
    const char *more;     /* lines of dnsmasq, %s is the domain; may be empty */
    bool checks[CHECK_COUNT];
    const char *status;
};

static const struct published published[] = {
    {"", "txt-record=%s,unrelated\n", {false, false, false, false}, "failed"},
    {" receiving ", "", {true, false, false, false}, "failed"},
    {" spf ", "", {false, true, false, false}, "failed"},
    {" dkim ", "", {false, false, true, false}, "failed"},
    {" dmarc ", "", {false, false, false, true}, "failed"},
    {" spf dkim ", "", {false, true, true, false}, "verified"},
    {" receiving spf dkim dmarc return-path ", "", {true, true, true, true}, "verified"},
    {" dkim ",
     "txt-record=%s,\"v=spf1 a include:spf.other.test ~all\"\n",
     {false, false, true, false},
     "failed"},
    {" spf dkim ", "txt-record=%s,\"v=spf1 -all\"\n", {false, false, true, false}, "failed"},
    {" dkim ",
     "txt-record=%s,\"V=SPF1 a mx ?include:spf." WORLD_HOST " -all\"\n",
     {false, false, true, false},
     "failed"},
    {" dkim ",
     "txt-record=%s,\"v=spf1 a +include:SPF." WORLD_HOST " -all\"\n",
     {false, true, true, false},
     "verified"},
    {" spf ",
     "txt-record=mk1._domainkey.%s,\"v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG\"\n",
     {false, true, false, false},
     "failed"},
    {" spf ",
     "txt-record=mk1._domainkey.%s,\"v=DKIM1; p=\"\n",
     {false, true, false, false},
     "failed"},
    {"", "mx-host=%s,mx.other.test,10\n", {false, false, false, false}, "failed"},
};

static void publish(struct world *world, const struct published *wanted, const char *domain,
                    const struct reply *made)
{
    static const char *const purposes[] = {"receiving", "spf", "dkim", "dmarc", "return-path"};
    for (size_t i = 0; i < ARRAY_LEN(purposes); i++) {
        if (strstr(wanted->purposes, world_text(world, " %s ", purposes[i])) != NULL) {
            world_publish(world, made, purposes[i]);
        }
    }
    struct slice more = slice_str(wanted->more);
    size_t at = slice_find(more, SLICE("%s"));
    if (at != SIZE_MAX) {
        world_dns(world, "%.*s%s%s", SLICE_FMT(slice_head(more, at)), domain, more.data + at + 2);
    }
}

Test(domains, each_record_is_checked_for_itself)
{
    static const char *const names[CHECK_COUNT] = {"mx", "spf", "dkim", "dmarc"};
    struct world *world = world_with_account();
    for (size_t i = 0; i < ARRAY_LEN(published); i++) {
        const char *domain = world_text(world, "case%zu.test", i);
        struct reply *made = create(world, domain);
        const char *id = reply_text(made, "domain.id");
        publish(world, &published[i], domain, made);
        struct reply *reply = verify_as(world, NULL, id);
        cr_assert_eq(reply->status, 200, "%s: %.*s", domain, SLICE_FMT(reply->body));
        struct reply *row = world_get(world, "/api/domains/%s", id);
        for (size_t n = 0; n < CHECK_COUNT; n++) {
            json_t *check = reply_at(reply, world_text(world, "checks.%s", names[n]));
            json_t *flag = reply_at(row, world_text(world, "domain.%s_verified", names[n]));
            cr_expect_eq(json_is_true(check), published[i].checks[n], "%s: %s", domain, names[n]);
            cr_expect_eq(json_is_true(flag), published[i].checks[n], "%s: %s", domain, names[n]);
        }
        cr_expect_str_eq(reply_text(reply, "status"), published[i].status, "%s", domain);
        cr_expect_str_eq(reply_text(row, "domain.status"), published[i].status, "%s", domain);
        cr_expect_gt(reply_int(reply, "checkedAt"), 1500000000000);
        bool may_send = strcmp(published[i].status, "verified") == 0;
        cr_expect_eq(send_status(world, domain), may_send ? 202 : 409, "%s", domain);
    }
    world_end(world);
}

Test(domains, one_signing_key_is_enough_and_the_other_is_not_used)
{
    struct world *world = world_with_account();
    struct reply *made = create(world, "half.test");
    world_publish(world, made, "spf");
    json_t *ed = reply_at(made, "dns.3");
    cr_assert_str_eq(reply_text(made, "dns.3.name"), "mk2._domainkey.half.test");
    world_dns(world, "txt-record=mk2._domainkey.half.test,\"%s\"\n",
              json_string_value(json_object_get(ed, "value")));
    struct reply *reply = verify_as(world, NULL, reply_text(made, "domain.id"));
    cr_expect_str_eq(reply_text(reply, "status"), "verified");
    cr_expect_eq(send_status(world, "half.test"), 202);
    world_end(world);
}

/* The record of a purpose with that name; NULL when there is none. */
static json_t *record_of(const struct reply *reply, const char *name, const char *purpose)
{
    size_t index;
    json_t *record;
    json_array_foreach(reply_at(reply, "dns"), index, record)
    {
        if (strcmp(json_string_value(json_object_get(record, "name")), name) == 0 &&
            strcmp(json_string_value(json_object_get(record, "purpose")), purpose) == 0) {
            return record;
        }
    }
    return NULL;
}

static struct slice signature_of(struct world *world, struct peer *sink, uint32_t number)
{
    struct slice mail = world_sink_mail(world, sink, number);
    return slice_head(mail, slice_find(mail, SLICE("Message-ID:")));
}

Test(domains, new_keys_sign_when_their_records_are_there_and_not_before)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    const char *id = reply_text(world_get(world, "/api/domains"), "0.id");
    const char *path = world_text(world, "/api/domains/%s/dkim/rotate", id);
    struct reply *rotated = world_post(world, path, "{}");
    cr_assert_eq(rotated->status, 200, "%.*s", SLICE_FMT(rotated->body));
    cr_assert_not_null(record_of(rotated, "mk1._domainkey.send.test", "dkim"));
    json_t *next = record_of(rotated, "mk3._domainkey.send.test", "dkim-next");
    cr_assert_not_null(next);
    cr_assert_not_null(record_of(rotated, "mk4._domainkey.send.test", "dkim-next"));
    (void)world_send(world, "{'from':'a@send.test','to':'b@dest.test','text':'x'}");
    struct slice before = signature_of(world, sink, 1);
    cr_expect_neq(slice_find(before, SLICE("s=mk1;")), SIZE_MAX, "%.*s", SLICE_FMT(before));
    cr_expect_eq(slice_find(before, SLICE("s=mk3;")), SIZE_MAX);

    world_publish(world, rotated, "dkim-next");
    cr_assert_eq(verify_as(world, NULL, id)->status, 200);
    struct reply *after = world_get(world, "/api/domains/%s", id);
    cr_expect_str_eq(reply_text(after, "domain.status"), "verified");
    json_t *now = record_of(after, "mk3._domainkey.send.test", "dkim");
    cr_assert_not_null(now);
    cr_expect_str_eq(json_string_value(json_object_get(now, "value")),
                     json_string_value(json_object_get(next, "value")));
    json_t *old = record_of(after, "mk1._domainkey.send.test", "dkim-old");
    cr_assert_not_null(old);
    cr_expect_str_eq(json_string_value(json_object_get(old, "status")), "retired");
    cr_expect_gt(json_integer_value(json_object_get(old, "removeAfter")), 1500000000000);
    (void)world_send(world, "{'from':'a@send.test','to':'b@dest.test','text':'x'}");
    struct slice signed_anew = signature_of(world, sink, 2);
    cr_expect_neq(slice_find(signed_anew, SLICE("s=mk3;")), SIZE_MAX, "%.*s",
                  SLICE_FMT(signed_anew));
    cr_expect_neq(slice_find(signed_anew, SLICE("s=mk4;")), SIZE_MAX);
    cr_expect_eq(slice_find(signed_anew, SLICE("s=mk1;")), SIZE_MAX);
    cr_expect_eq(world_post(world, path, "{}")->status, 409);
    world_end(world);
}

/* The check with that name in a health report. */
static const char *status_of(const struct reply *health, const char *name)
{
    size_t index;
    json_t *check;
    json_array_foreach(reply_at(health, "checks"), index, check)
    {
        if (strcmp(json_string_value(json_object_get(check, "name")), name) == 0) {
            return json_string_value(json_object_get(check, "status"));
        }
    }
    return "";
}

static struct reply *await_audit(struct world *world, const char *type)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct reply *log;
    do {
        log = world_get(world, "/api/audit");
    } while (strcmp(reply_text(log, "0.type"), type) != 0 && wait_more(&wait));
    cr_assert_str_eq(reply_text(log, "0.type"), type, "%.*s", SLICE_FMT(log->body));
    return log;
}

static void days_later(struct world *world, unsigned days)
{
    world_stop(world);
    world_set(world, "test_clock_offset_ms", "%llu", days * 86400000ull);
    world_start(world);
}

Test(domains, each_is_looked_at_daily_and_may_fail_for_three_days)
{
    struct world *world = world_with_account();
    const char *id = world_domain(world, "watch.test");
    const char *path = world_text(world, "/api/domains/%s/health", id);
    struct reply *health = world_get(world, "%s", path);
    cr_assert_eq(health->status, 200, "%.*s", SLICE_FMT(health->body));
    long long first = reply_int(health, "checkedAt");
    cr_expect_gt(first, 1500000000000);
    cr_expect_eq(reply_count(health, "checks"), 9);
    cr_expect_str_eq(status_of(health, "dkim_rsa"), "ok");
    cr_expect_str_eq(status_of(health, "return_path"), "ok");
    cr_expect_str_eq(status_of(health, "dmarc"), "warn");
    cr_expect_str_eq(status_of(health, "blocklists"), "unknown");

    world_dns_forget(world);
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
    days_later(world, 1);
    struct reply *log = await_audit(world, "domain.failing");
    cr_expect_str_eq(reply_text(log, "0.actor.type"), "system");
    cr_expect_str_eq(reply_text(log, "0.target"), id);
    cr_expect_eq(send_status(world, "watch.test"), 202, "it sends on");
    health = world_get(world, "%s", path);
    cr_expect_gt(reply_int(health, "checkedAt"), first);
    cr_expect_str_eq(status_of(health, "dkim_rsa"), "fail");
    cr_expect_str_eq(status_of(health, "spf"), "fail");

    days_later(world, 5);
    (void)await_audit(world, "domain.failed"); /* its line was seen */
    cr_expect_eq(send_status(world, "watch.test"), 409);
    world_end(world);
}

Test(domains, records_that_vanish_take_the_right_to_send_with_them)
{
    struct world *world = world_with_account();
    const char *id = world_domain(world, "brief.test");
    cr_assert_eq(send_status(world, "brief.test"), 202);
    world_stop(world);
    world_dns_forget(world);
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
    world_start(world); /* without its DNS cache */
    cr_assert_eq(send_status(world, "brief.test"), 202, "nobody has looked yet");
    cr_assert_str_eq(reply_text(verify_as(world, NULL, id), "status"), "failed");
    cr_assert_eq(send_status(world, "brief.test"), 409);
    struct reply *row = world_get(world, "/api/domains/%s", id);
    cr_assert_str_eq(reply_text(row, "dns.1.status"), "failed");
    world_end(world);
}

Test(domains, a_dns_that_is_down_changes_nothing)
{
    struct world *world = world_with_account();
    const char *id = world_domain(world, "steady.test");
    world_stop(world);
    world_start(world); /* without its DNS cache */
    world_dns_stop(world);
    struct reply *reply = verify_as(world, NULL, id);
    cr_assert_eq(reply->status, 502, "%.*s", SLICE_FMT(reply->body));
    cr_assert_str_eq(reply_text(world_get(world, "/api/domains/%s", id), "domain.status"),
                     "verified");
    cr_assert_eq(send_status(world, "steady.test"), 202);
    world_end(world);
}

Test(domains, the_sandbox_domain_needs_no_dns)
{
    struct world *world = world_new();
    world_set(world, "sandbox_domain", "try.test");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    struct reply *made = create(world, "try.test");
    world_dns_stop(world);
    struct reply *reply = verify_as(world, NULL, reply_text(made, "domain.id"));
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    cr_assert_str_eq(reply_text(reply, "status"), "verified");
    cr_assert_eq(send_status(world, "try.test"), 202);
    world_end(world);
}

/* ---- whose it is ----------------------------------------------------------------------------- */

Test(domains, the_first_to_prove_a_domain_keeps_it_until_it_lets_go)
{
    struct world *world = world_with_account();
    const char *rival = reply_text(world_signup(world, "rival@other.test"), "apiKey");
    struct world_call claim = {
        .method = "POST",
        .path = "/api/domains",
        .bearer = rival,
        .body = SLICE("{\"domain\":\"wanted.test\"}"),
    };
    struct reply *theirs = world_call(world, &claim);
    cr_assert_eq(theirs->status, 201, "anybody may try");
    const char *their_id = reply_text(theirs, "domain.id");

    const char *id = world_domain(world, "wanted.test");
    world_publish(world, theirs, "dkim"); /* both keys are in the DNS now */
    struct reply *late = verify_as(world, rival, their_id);
    cr_assert_eq(late->status, 409, "%.*s", SLICE_FMT(late->body));
    cr_assert_eq(delete_as(world, rival, their_id)->status, 200);
    cr_assert_eq(world_call(world, &claim)->status, 409, "it is taken");
    cr_assert_eq(send_status(world, "wanted.test"), 202, "deleting a mere wish took it away");

    cr_assert_eq(delete_as(world, NULL, id)->status, 200);
    struct reply *free_now = world_call(world, &claim);
    cr_assert_eq(free_now->status, 201, "%.*s", SLICE_FMT(free_now->body));
    world_stop(world);
    world_dns_forget(world);
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
    world_publish(world, free_now, NULL);
    world_start(world); /* without its DNS cache */
    struct reply *proved = verify_as(world, rival, reply_text(free_now, "domain.id"));
    cr_assert_eq(proved->status, 200);
    cr_assert_str_eq(reply_text(proved, "status"), "verified");
    cr_assert_eq(world_post(world, "/api/domains", "{'domain':'wanted.test'}")->status, 409);
    world_end(world);
}
