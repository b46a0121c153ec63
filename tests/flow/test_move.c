/* Flow: an account moves to another server, with its mails, keys, queue and DKIM keys.
 *
 * Not covered here: files that were tampered with (kv_test_account_file), what the shard refuses
 * (shards_test_import).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/verify.h"
#include "support/world.h"

#define PASSPHRASE "a horse that is correct\n"

static int run(struct world *world, const char *input, const char *words, struct slice *text)
{
    return world_ctl(world, NULL, words, slice_str(input), text);
}

static void good(struct world *world, const char *input, const char *words)
{
    struct slice text = {0};
    int status = run(world, input, words, &text);
    cr_assert_eq(status, 0, "%s: %d %.*s", words, status, SLICE_FMT(text));
}

/* The other server: its own folder, ports, DNS and sink, and no account. */
static struct world *make_other(struct peer **sink)
{
    struct world *world = world_new();
    *sink = world_sink(world, "127.0.0.1", NULL);
    world_dns(world,
              "host-record=%s,127.0.0.1\nmx-host=dest.test,mx.dest.test,10\n"
              "host-record=mx.dest.test,127.0.0.1\n",
              WORLD_HOST);
    world_set(world, "log_level", "info");
    world_start(world);
    return world;
}

static const char *account_of(struct world *world)
{
    struct world_call call = {.method = "GET", .path = "/v1/me", .bearer = world->token};
    struct reply *me = world_call(world, &call);
    const char *id = reply_text(me, "account.id");
    cr_assert_gt(strlen(id), 4, "%.*s", SLICE_FMT(me->body));
    return id;
}

/* Signed so that the records which were published for the old server prove it. */
static void check_signatures(const struct reply *domain, struct slice mail)
{
    static const char *const keys[] = {"mk1._domainkey.send.test", "mk2._domainkey.send.test"};
    FILE *pipe = verify_start("verify_dkim.py");
    cr_assert_not_null(pipe);
    while (slice_starts(mail, SLICE("X-Sink-"))) {
        (void)slice_cut(&mail, '\n'); /* it is dropped */
    }
    verify_put(pipe, "name", SLICE("moved"));
    verify_put(pipe, "mail", mail);
    verify_put(pipe, "expect", SLICE("pass"));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char entry[2048];
        int len =
            snprintf(entry, sizeof entry, "%s%c%s", keys[i], '\0', reply_record(domain, keys[i]));
        cr_assert_lt((size_t)len, sizeof entry);
        verify_put(pipe, "record", slice_of(entry, (size_t)len));
    }
    verify_end_case(pipe);
    cr_assert_eq(verify_finish(pipe), 0, "dkimpy rejects the mail");
}

Test(move, account_goes_on_at_the_other_server, .timeout = 180)
{
    struct world *here = world_new();
    world_set(here, "log_level", "info");
    world_set(here, "retry_first_ms", "1800000");
    struct peer *here_sink = world_ready_to_send(here);
    const char *sent = world_send(here, "{'from':'a@send.test','to':'r@dest.test','subject':'s',"
                                        "'text':'hello','attachments':[{'filename':'a.txt',"
                                        "'content':'aGVsbG8=','contentType':'text/plain'}]}");
    (void)world_await(here, sent, "message.send_status", "delivered");
    world_sink_profile(here, here_sink, "tempfail:1000");
    const char *put_off =
        world_send(here, "{'from':'a@send.test','to':'p@dest.test','subject':'s','text':'later'}");
    (void)world_await(here, put_off, "deliveries.0.status", "deferred");
    const char *account = account_of(here);
    struct reply *domains = world_get(here, "/api/domains");
    struct reply *domain = world_get(here, "/api/domains/%s", reply_text(domains, "0.id"));
    const char *file = world_text(here, "%s/account", here->dir);
    const char *export =
        world_text(here, "export %s --to %s --move --passphrase-stdin", account, file);
    const char *nowhere =
        world_text(here, "export %s --to %s/no/folder --move", account, here->dir);
    cr_expect_eq(run(here, "", nowhere, NULL), 4);
    (void)world_send(here, "{'from':'a@send.test','to':'r@dest.test','subject':'s','text':'x',"
                           "'scheduledAt':'in 3 hours'}"); /* it goes on after what failed */
    good(here, PASSPHRASE, export);
    struct reply *refused = world_post(here, "/v1/send",
                                       "{'from':'a@send.test','to':'r@dest.test',"
                                       "'subject':'s','text':'x'}");
    cr_expect_eq(refused->status, 403, "%.*s", SLICE_FMT(refused->body));

    struct peer *there_sink;
    struct world *there = make_other(&there_sink);
    const char *import = world_text(there, "import %s", file);
    cr_expect_eq(run(there, "another passphrase\n", import, NULL), 4);
    cr_expect_eq(run(here, PASSPHRASE, import, NULL), 4, "it is there already");
    good(there, PASSPHRASE, import);
    cr_expect_eq(run(there, PASSPHRASE, import, NULL), 4, "it is here now");

    there->key = arena_cstr(&there->arena, slice_str(here->key));
    struct reply *read = world_get(there, "/api/messages/%s", sent);
    cr_assert_eq(read->status, 200, "%.*s", SLICE_FMT(read->body));
    cr_expect_str_eq(reply_text(read, "message.text_body"), "hello");
    cr_expect_eq(reply_count(read, "attachments"), 1);
    cr_expect_str_eq(reply_text(read, "message.send_status"), "delivered");
    good(there, "", world_text(there, "queue retry --account %s", account));
    (void)world_await(there, put_off, "message.send_status", "delivered");
    const char *fresh =
        world_send(there, "{'from':'a@send.test','to':'n@dest.test','subject':'new','text':'x'}");
    (void)world_await(there, fresh, "message.send_status", "delivered");
    check_signatures(domain, world_sink_mail(there, there_sink, 2));
    good(there, "", "verify");
    world_stop(there);
    world_start(there);
    cr_expect_eq(world_get(there, "/api/messages/%s", fresh)->status, 200);
    world_end(there);
    world_end(here);
}
